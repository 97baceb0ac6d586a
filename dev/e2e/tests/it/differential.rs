//! A small run of the differential test of the query language; `--bin differential` is the large one.

use e2e::differential::run::{FEATURES, Outcome, Pair};
use e2e::peers::{Peer, version_of};

/// Queries of each set of feature flags.
const QUERIES: usize = 250;

#[test]
fn random_queries_have_the_answers_of_prometheus() {
    let Some(peer) = Peer::Prometheus.find_for("differential") else { return };
    if version_of(&peer).starts_with("2.") {
        return eprintln!("differential: SKIPPED, Prometheus 2 does not receive native histograms");
    }
    let mut out = Outcome::default();
    for (i, features) in FEATURES.iter().take(2).enumerate() {
        let mut pair =
            Pair::start(&e2e::pyrrha(), &peer, *features, 7).expect("both start and take the data");
        pair.compare(100 + i as u64, QUERIES, 15, 20, &mut out);
    }
    assert!(out.finds.is_empty(), "{} differences, see above", out.finds.len());
    assert!(out.with_values * 4 > out.queries, "most queries find nothing: {out:?}");
}
