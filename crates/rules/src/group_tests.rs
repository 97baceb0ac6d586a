//! Rounds of evaluation over a store in memory.

use crate::{AlertState, Evaluator, Group, GroupOptions, ReadOptions, parse};
use model::{Labels, Matcher, TimeRange};
use query::{Engine, EngineOptions};
use storage::{Batch, Queryable, SampleBuf, SelectHints, SeriesId, WriteError, WriteOutcome, Writer, key};
use testkit::MemStore;

const MINUTE: i64 = 60_000;

/// Writes floats to the store in memory.
struct Into<'a>(&'a MemStore);

impl Writer for Into<'_> {
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        outcome.clear();
        for series in &batch.series {
            let SeriesId::Key(bytes) = series.id else { continue };
            let labels = Labels::from_pairs(key::iter(bytes).flatten());
            for sample in &batch.samples[series.samples.start as usize..series.samples.end as usize] {
                self.0.add(&labels, sample.t, sample.v);
            }
        }
        Ok(())
    }
}

fn values(store: &MemStore, name: &str) -> Vec<(i64, String)> {
    let querier = store.querier(TimeRange::ALL).expect("opens");
    let mut set =
        querier.select(&[Matcher::equal("__name__", name)], &SelectHints::default()).expect("selects");
    let mut all = Vec::new();
    while let Some(series) = set.next().expect("reads") {
        let mut buf = SampleBuf::default();
        series.read(TimeRange::ALL, &mut buf).expect("reads");
        let shown = |v: &f64| if model::is_stale_nan(*v) { "stale".to_owned() } else { v.to_string() };
        all.extend(buf.times.iter().zip(&buf.floats).map(|(t, v)| (t / MINUTE, shown(v))));
    }
    all
}

#[test]
fn rules_see_each_other_and_alerts_go_their_way() {
    let store = MemStore::new();
    let up = Labels::from_pairs([("__name__", "up"), ("job", "x")]);
    for (i, v) in [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0].into_iter().enumerate() {
        store.add(&up, i as i64 * MINUTE, v);
    }
    let text = "groups:\n- name: g\n  rules:\n  - {record: down, expr: up == 0}\n  - {record: twice, expr: down + 2}\n  \
                - {alert: Down, expr: down == 0, for: 1m, keep_firing_for: 2m, annotations: {a: '{{ $value }}'}}\n";
    let read = parse(text, ReadOptions::default()).expect("reads");
    let mut group = Group::new(&read[0], &GroupOptions::default()).expect("builds");
    group.set_restored();
    let engine = Engine::new(EngineOptions::default());
    let evaluator = Evaluator { engine: &engine, queryable: &store, external_url: None };
    let mut states = Vec::new();
    for i in 0..7 {
        group.evaluate(&evaluator, &mut Into(&store), i * MINUTE);
        assert_eq!(group.errors().count(), 0);
        let rule = group.alerting().next().expect("one");
        let alert = rule.active_alerts().next();
        states.push(alert.map(|a| a.state));
        if let Some(alert) = alert {
            assert_eq!(alert.annotations, [("a".to_owned(), "0".to_owned())]);
            assert_eq!(alert.active_at, MINUTE);
        }
    }
    use AlertState::{Firing, Pending};
    assert_eq!(states, [None, Some(Pending), Some(Firing), Some(Firing), Some(Firing), Some(Firing), None]);
    let each = |pairs: &[(i64, &str)]| pairs.iter().map(|(t, v)| (*t, (*v).to_owned())).collect::<Vec<_>>();
    assert_eq!(values(&store, "twice"), each(&[(1, "2"), (2, "2"), (3, "2"), (4, "stale")]));
    assert_eq!(
        values(&store, "ALERTS"),
        each(&[(2, "1"), (3, "1"), (4, "1"), (5, "1"), (6, "stale"), (1, "1"), (2, "stale")])
    );
    assert_eq!(
        values(&store, "ALERTS_FOR_STATE"),
        each(&[(1, "60"), (2, "60"), (3, "60"), (4, "60"), (5, "60"), (6, "stale")])
    );
}
