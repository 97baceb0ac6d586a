//! One target, body by body.

use super::FakeStore;
use crate::scrape::batch::Scratch;
use crate::scrape::config::{Globals, ScrapeConfig};
use crate::scrape::engine::{Done, Engine, Moment, Reply};
use crate::scrape::meters::Meters;
use crate::scrape::state::{JobRuntime, Switches, TargetState};
use crate::scrape::target::populate;
use meter::Registry;
use model::relabel::{Action, RelabelConfig};
use model::{Labels, MetricType};
use std::sync::Arc;
use std::time::Instant;
use storage::WriterSource;

struct Bench {
    store: FakeStore,
    registry: Registry,
    state: Arc<TargetState>,
    engine: Engine,
    scratch: Scratch,
    t: i64,
}

const OPENMETRICS: &str = "application/openmetrics-text";

impl Bench {
    fn new(edit: impl FnOnce(&mut ScrapeConfig)) -> Bench {
        Bench::with(edit, Switches::default())
    }

    fn with(edit: impl FnOnce(&mut ScrapeConfig), switches: Switches) -> Bench {
        let mut config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
        edit(&mut config);
        let job = config.resolve(&Globals::default()).unwrap();
        let registry = Registry::new();
        let job = JobRuntime::new(job, Meters::new(&registry), None, Arc::default(), switches).unwrap();
        let job = Arc::new(job);
        let own = Labels::from_pairs([("__address__", "h:1")]);
        let target = populate(&job.job, &job.rules, &own, &Labels::empty()).unwrap().unwrap();
        let state = Arc::new(TargetState::new(target, own, Labels::empty()));
        let store = FakeStore::default();
        let engine = Engine::new(Arc::clone(&job), Arc::clone(&state), store.writer());
        Bench { store, registry, state, engine, scratch: Scratch::default(), t: 0 }
    }

    fn moment(&mut self) -> Moment {
        self.t += 1000;
        Moment { t: self.t, start: Instant::now(), now_ms: self.t }
    }

    fn scrape_as(&mut self, content_type: &str, body: &str) -> Done {
        let at = self.moment();
        let reply = Reply { body: body.as_bytes(), content_type };
        self.engine.scrape(Ok(reply), 0, at, &mut self.scratch)
    }

    #[track_caller]
    fn check(&mut self, body: &str, want: &[&str]) {
        let done = self.scrape_as("text/plain", body);
        assert_eq!(done.error, None, "{body}");
        let got: Vec<_> =
            self.store.take(false).iter().map(|l| l.replace("instance=\"h:1\", job=\"j\"", "…")).collect();
        assert_eq!(got, want, "{body}");
    }

    /// The error and what was stored besides the report.
    #[track_caller]
    fn refused(&mut self, body: &str, error: &str, want: &[&str]) {
        let done = self.scrape_as("text/plain", body);
        assert_eq!(done.error.as_deref(), Some(error), "{body}");
        let got: Vec<_> =
            self.store.take(false).iter().map(|l| l.replace("instance=\"h:1\", job=\"j\"", "…")).collect();
        assert_eq!(got, want, "{body}");
    }

    /// What the report of a scrape says.
    fn report_of(&mut self, body: &str, name: &str) -> f64 {
        assert_eq!(self.scrape_as("text/plain", body).error, None);
        let lines = self.store.take(true);
        let line = lines.iter().find(|l| l.starts_with(name)).unwrap();
        line.split(' ').rev().nth(1).unwrap().parse().unwrap()
    }

    fn meter(&self, name: &str) -> f64 {
        let families = self.registry.snapshot();
        let family = families.iter().find(|f| f.name == name).unwrap();
        family.points.iter().map(|p| p.value).sum()
    }
}

#[test]
fn start_timestamps_go_with_their_samples() {
    let body = "# TYPE c counter\nc_total{a=\"x\"} 1\nc_created{a=\"x\"} 0.5\n# TYPE g gauge\ng 2\n# TYPE d counter\nd_total 3\nd_created 0.25\n# EOF\n";
    let mut b = Bench::with(|_| (), Switches { start_timestamps: true, ..Switches::default() });
    for t in [1000, 2000] {
        assert_eq!(b.scrape_as(OPENMETRICS, body).error, None);
        let lines: Vec<_> =
            b.store.take(false).iter().map(|l| l.replace("instance=\"h:1\", job=\"j\"", "…")).collect();
        let want = ["c_total{a=\"x\", …} 1", "g{…} 2", "d_total{…} 3"];
        let starts = [" from 500", "", " from 250"];
        let want: Vec<_> = want.iter().zip(starts).map(|(w, start)| format!("{w} @{t}{start}")).collect();
        assert_eq!(lines[..3], want);
    }
}

#[test]
fn starts_are_made_up_where_targets_give_none() {
    let mut b = Bench::with(|_| (), Switches { start_synthesis: true, ..Switches::default() });
    let check = |b: &mut Bench, body: &str, want: &[&str]| {
        assert_eq!(b.scrape_as("text/plain", body).error, None, "{body}");
        let mut got = b.store.take(false);
        got.retain(|line| !line.contains(" metadata "));
        let got: Vec<_> = got.iter().map(|l| l.replace("instance=\"h:1\", job=\"j\"", "…")).collect();
        assert_eq!(got, want, "{body}");
    };
    let family = "# TYPE c_total counter\n# TYPE g gauge\ng 7\n# TYPE c_total counter\n";
    check(&mut b, &format!("{family}c_total 10\n"), &["g{…} 7 @1000"]);
    assert_eq!(b.report_of(&format!("{family}c_total 10\n"), "scrape_series_added"), 0.0);
    check(
        &mut b,
        &format!("{family}c_total 15\nd_total 1\n"),
        &["g{…} 7 @3000", "c_total{…} 5 @3000 from 1000", "d_total{…} 1 @3000"],
    );
    // A value that fell: as it is from now on.
    check(
        &mut b,
        &format!("{family}c_total 4\n"),
        &["g{…} 7 @4000", "c_total{…} 4 @4000 from 3999", "d_total{…} stale @4000"],
    );
    check(&mut b, &format!("{family}c_total 6\n"), &["g{…} 7 @5000", "c_total{…} 6 @5000 from 3999"]);
    // Gone and back: a new beginning.
    check(&mut b, "x 1\n", &["x{…} 1 @6000", "g{…} stale @6000", "c_total{…} stale @6000"]);
    check(&mut b, &format!("{family}c_total 100\n"), &["g{…} 7 @7000", "x{…} stale @7000"]);
    check(&mut b, &format!("{family}c_total 101\n"), &["g{…} 7 @8000", "c_total{…} 1 @8000 from 7000"]);
    // The same text twice is a failure, after which nothing is known.
    check(
        &mut b,
        &format!("{family}c_total 102\nc_total 103\n"),
        &["g{…} 7 @9000", "c_total{…} 2 @9000 from 7000"],
    );
    check(&mut b, &format!("{family}c_total 104\n"), &["g{…} 7 @10000"]);
}

#[test]
fn samples_and_report_are_stored_in_one_write() {
    let mut b = Bench::new(|_| ());
    let done = b.scrape_as("text/plain", "m 1\nn{a=\"b\"} 2 500\n");
    assert_eq!(done.error, None);
    let lines = b.store.take(true);
    assert_eq!(lines[0], "m{instance=\"h:1\", job=\"j\"} 1 @1000");
    assert_eq!(lines[1], "n{a=\"b\", instance=\"h:1\", job=\"j\"} 2 @500");
    assert_eq!(lines[2], "up{instance=\"h:1\", job=\"j\"} 1 @1000");
    assert!(lines[3].starts_with("scrape_duration_seconds{"));
    assert_eq!(lines[4], "scrape_samples_scraped{instance=\"h:1\", job=\"j\"} 2 @1000");
    assert_eq!(lines[5], "scrape_samples_post_metric_relabeling{instance=\"h:1\", job=\"j\"} 2 @1000");
    assert_eq!(lines[6], "scrape_series_added{instance=\"h:1\", job=\"j\"} 2 @1000");
    assert_eq!((lines.len(), b.store.writes()), (7, 1));
    b.scrape_as("text/plain", "m 1\nn{a=\"b\"} 2 600\n");
    assert!(b.store.take(true).contains(&"scrape_series_added{instance=\"h:1\", job=\"j\"} 0 @2000".into()));
}

#[test]
fn vanished_series_are_marked_stale() {
    let mut b = Bench::new(|_| ());
    b.check("a 1\nb 1\n", &["a{…} 1 @1000", "b{…} 1 @1000"]);
    b.check("b 1\n", &["b{…} 1 @2000", "a{…} stale @2000"]);
    b.check("b 1\n", &["b{…} 1 @3000"]);
    b.check("a 1\n", &["a{…} 1 @4000", "b{…} stale @4000"]);
    assert_eq!(b.store.writes(), 5);
}

#[test]
fn series_with_their_own_time_are_not_marked_unless_asked() {
    let mut b = Bench::new(|_| ());
    b.check("a 1 900\n", &["a{…} 1 @900"]);
    b.check("b 1\n", &["b{…} 1 @2000"]);
    let mut b = Bench::new(|c| c.track_timestamps_staleness = true);
    b.check("a 1 900\n", &["a{…} 1 @900"]);
    b.check("b 1\n", &["b{…} 1 @2000", "a{…} stale @2000"]);
    let mut b = Bench::new(|c| c.honor_timestamps = false);
    b.check("a 1 900\n", &["a{…} 1 @1000"]);
}

#[test]
fn the_same_series_under_another_text_is_not_stale() {
    let mut b = Bench::new(|_| ());
    b.check("a{x=\"1\",y=\"2\"} 1\n", &["a{…, x=\"1\", y=\"2\"} 1 @1000"]);
    b.check("a{y=\"2\",x=\"1\"} 1\n", &["a{…, x=\"1\", y=\"2\"} 1 @2000"]);
    b.check("a{x=\"1\", y=\"2\"} 1\n", &["a{…, x=\"1\", y=\"2\"} 1 @3000"]);
}

#[test]
fn failed_scrapes_mark_everything_stale() {
    let mut b = Bench::new(|_| ());
    b.check("a 1\nb 1\n", &["a{…} 1 @1000", "b{…} 1 @1000"]);
    let at = b.moment();
    let done = b.engine.scrape(Err("connection refused".into()), 0, at, &mut b.scratch);
    assert_eq!(done.error.as_deref(), Some("connection refused"));
    let lines = b.store.take(true);
    assert_eq!(lines[0], "a{instance=\"h:1\", job=\"j\"} stale @2000");
    assert_eq!(lines[1], "b{instance=\"h:1\", job=\"j\"} stale @2000");
    assert_eq!(lines[2], "up{instance=\"h:1\", job=\"j\"} 0 @2000");
    b.check("a 1\nb 1\n", &["a{…} 1 @3000", "b{…} 1 @3000"]);
    let error = "expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"bad\\n\"";
    b.refused("a 2\nnew 1\nbad\n", error, &["a{…} stale @4000", "b{…} stale @4000"]);
    b.check("a 1\n", &["a{…} 1 @5000"]);
}

#[test]
fn the_same_line_twice_counts_as_duplicate() {
    let mut b = Bench::new(|_| ());
    b.check("a 1\na 2\nb 1\n", &["a{…} 1 @1000", "b{…} 1 @1000"]);
    // With times of their own both are stored, and `a` leaves the tracking of vanished series.
    let want = ["a{…} 1 @1500", "a{…} 2 @1600", "a{…} stale @2000", "b{…} stale @2000"];
    b.check("a 1 1500\na 2 1600\n", &want);
    assert_eq!(b.meter("prometheus_target_scrapes_sample_duplicate_timestamp_total"), 1.0);
}

#[test]
fn refusals_of_the_store_are_counted_and_harm_nobody() {
    let mut b = Bench::new(|_| ());
    b.check("a 1 900\nb 1\n", &["a{…} 1 @900", "b{…} 1 @1000"]);
    b.check("a 2 800\nb 1\n", &["b{…} 1 @2000"]);
    b.check("a 3 900\nb 1\n", &["b{…} 1 @3000"]);
    b.check("a 3 9999999999\nb 1\n", &["b{…} 1 @4000"]);
    assert_eq!(b.meter("prometheus_target_scrapes_sample_out_of_order_total"), 1.0);
    assert_eq!(b.meter("prometheus_target_scrapes_sample_duplicate_timestamp_total"), 1.0);
    assert_eq!(b.meter("prometheus_target_scrapes_sample_out_of_bounds_total"), 1.0);
}

#[test]
fn series_that_the_store_forgot_come_again_with_labels() {
    let mut b = Bench::new(|_| ());
    b.check("a 1\nb 1\n", &["a{…} 1 @1000", "b{…} 1 @1000"]);
    b.store.forget("a{instance=\"h:1\", job=\"j\"}");
    b.store.forget("up{instance=\"h:1\", job=\"j\"}");
    b.scrape_as("text/plain", "a 1\nb 1\n");
    let lines = b.store.take(true);
    assert!(lines.contains(&"a{instance=\"h:1\", job=\"j\"} 1 @2000".into()), "{lines:?}");
    assert!(lines.contains(&"up{instance=\"h:1\", job=\"j\"} 1 @2000".into()), "{lines:?}");
    b.check("b 1\n", &["b{…} 1 @3000", "a{…} stale @3000"]);
}

#[test]
fn a_failed_write_is_forgotten_by_the_cache() {
    let mut b = Bench::new(|_| ());
    b.store.fail(true);
    b.scrape_as("text/plain", "a 1\n");
    b.store.fail(false);
    b.check("a 1\n", &["a{…} 1 @2000"]);
    b.store.fail(true);
    b.scrape_as("text/plain", "a 1\n");
    b.store.fail(false);
    b.check("", &["a{…} stale @4000"]);
}

#[test]
fn sample_limit_refuses_the_whole_scrape() {
    let mut b = Bench::new(|c| c.sample_limit = 2);
    b.check("a 1\nb 1\n", &["a{…} 1 @1000", "b{…} 1 @1000"]);
    b.refused("a 1\nb 1\nc 1\n", "sample limit exceeded", &["a{…} stale @2000", "b{…} stale @2000"]);
    assert_eq!(b.meter("prometheus_target_scrapes_exceeded_sample_limit_total"), 1.0);
    b.check("c 1\n", &["c{…} 1 @3000"]);
}

#[test]
fn dropped_series_do_not_count_for_the_limit() {
    let mut b = Bench::new(|c| {
        c.sample_limit = 1;
        c.metric_relabel_configs = vec![RelabelConfig {
            source_labels: Some(vec!["__name__".into()]),
            regex: Some("go_.*".into()),
            action: Action::Drop,
            ..RelabelConfig::default()
        }];
    });
    for t in [1000, 2000] {
        b.check("go_a 1\ngo_b 1\na 1\n", &[&format!("a{{…}} 1 @{t}")]);
    }
}

#[test]
fn label_limits_refuse_the_whole_scrape() {
    let mut b = Bench::new(|c| c.label_limit = 4);
    b.refused(
        "a 1\nb{x=\"1\",y=\"2\"} 1\n",
        "label_limit exceeded (metric: b, number of labels: 5, limit: 4)",
        &[],
    );
    assert_eq!(b.meter("prometheus_target_scrape_pool_exceeded_label_limits_total"), 1.0);
}

#[test]
fn content_types_decide() {
    let mut b = Bench::new(|_| ());
    let done = b.scrape_as("", "a 1\n");
    let text = "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target";
    assert_eq!(done.error.as_deref(), Some(text));
    let mut b = Bench::new(|c| c.fallback_scrape_protocol = "PrometheusText0.0.4".into());
    assert_eq!(b.scrape_as("", "a 1\n").error, None);
    assert_eq!(b.scrape_as("text/html", "a 1\n").error, None);
}

/// A delimited family `h` with a native histogram of two buckets.
fn native_body() -> Vec<u8> {
    use wire::proto::{put_bytes, put_double, put_uint, put_varint};
    let (mut span, mut histogram, mut metric, mut family) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    put_uint(&mut span, 1, 2);
    put_uint(&mut span, 2, 2);
    put_uint(&mut histogram, 1, 3);
    put_double(&mut histogram, 6, 0.5);
    put_bytes(&mut histogram, 12, &span);
    put_bytes(&mut histogram, 13, &[4, 1]);
    put_bytes(&mut metric, 7, &histogram);
    put_bytes(&mut family, 1, b"h");
    put_uint(&mut family, 3, 4);
    put_bytes(&mut family, 4, &metric);
    let mut body = Vec::new();
    put_varint(&mut body, family.len() as u64);
    body.extend(family);
    body
}

#[test]
fn native_histograms_are_stored_and_limited() {
    let scrape = |b: &mut Bench| {
        let at = b.moment();
        let reply = Reply { body: &native_body(), content_type: "application/vnd.google.protobuf" };
        let done = b.engine.scrape(Ok(reply), 0, at, &mut b.scratch);
        (done.error, b.store.take(false))
    };
    let mut b = Bench::new(|c| c.scrape_native_histograms = Some(true));
    let (error, lines) = scrape(&mut b);
    assert_eq!(error, None);
    assert_eq!(lines[0], "h{instance=\"h:1\", job=\"j\"} histogram 3 @1000");
    let (_, again) = scrape(&mut b);
    assert_eq!(again[0], "h{instance=\"h:1\", job=\"j\"} histogram 3 @2000");
    let mut b = Bench::new(|c| {
        c.scrape_native_histograms = Some(true);
        c.native_histogram_bucket_limit = 1;
    });
    assert_eq!(scrape(&mut b).0, None, "two buckets become one at a coarser schema");
    let mut b = Bench::new(|_| ());
    let (_, lines) = scrape(&mut b);
    assert!(lines.iter().any(|l| l.starts_with("h_bucket{") && l.contains("+Inf")), "{lines:?}");
}

#[test]
fn exemplars_and_metadata_go_with_the_samples() {
    let mut b = Bench::new(|_| ());
    let body = "# TYPE c_seconds counter\n# UNIT c_seconds seconds\n# HELP c_seconds Help.\n\
                c_seconds_total 1 # {trace_id=\"x\"} 0.5 0.9\n# EOF\n";
    assert_eq!(b.scrape_as(OPENMETRICS, body).error, None);
    assert_eq!(
        b.store.take(false),
        [
            "c_seconds_total{instance=\"h:1\", job=\"j\"} 1 @1000",
            "c_seconds_total{instance=\"h:1\", job=\"j\"} exemplar {trace_id=\"x\"} 0.5 @900",
            "c_seconds metadata counter \"seconds\" \"Help.\"",
        ]
    );
    b.scrape_as(OPENMETRICS, body);
    assert_eq!(b.store.take(false).len(), 2, "unchanged metadata is not written again");
    let cache = b.state.metadata.lock();
    let (family, meta) = cache.iter().next().unwrap();
    assert_eq!((family, meta.kind), ("c_seconds", MetricType::Counter));
}

#[test]
fn extra_metrics_are_reported_when_asked() {
    let mut b = Bench::new(|c| {
        c.extra_scrape_metrics = Some(true);
        c.sample_limit = 9;
    });
    b.scrape_as("text/plain", "a 1\n");
    let lines = b.store.take(true);
    assert!(lines.contains(&"scrape_timeout_seconds{instance=\"h:1\", job=\"j\"} 10 @1000".into()));
    assert!(lines.contains(&"scrape_sample_limit{instance=\"h:1\", job=\"j\"} 9 @1000".into()));
    assert!(lines.contains(&"scrape_body_size_bytes{instance=\"h:1\", job=\"j\"} 4 @1000".into()));
}

#[test]
fn a_target_that_is_gone_leaves_markers() {
    let mut b = Bench::new(|_| ());
    b.check("a 1\n", &["a{…} 1 @1000"]);
    b.engine.mark_gone(2500, &mut b.scratch);
    let lines = b.store.take(true);
    assert_eq!(lines[0], "a{instance=\"h:1\", job=\"j\"} stale @2500");
    assert_eq!(lines[1], "up{instance=\"h:1\", job=\"j\"} stale @2500");
    assert_eq!(lines.len(), 6);
}

/// By hand: `cargo test --release -p ingest cost_per_sample -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_per_sample() {
    struct Sink;
    impl storage::Writer for Sink {
        fn write(
            &mut self,
            batch: &storage::Batch<'_>,
            outcome: &mut storage::WriteOutcome,
        ) -> Result<(), storage::WriteError> {
            outcome.clear();
            outcome.refs.extend((1..=batch.series.len() as u64).map(storage::SeriesRef));
            Ok(())
        }
    }
    let body: String = (0..2000)
        .map(|i| {
            format!(
                "http_requests_total{{handler=\"/api/v1/{}\",code=\"200\",pod=\"p-{i}\"}} {}.5\n",
                i % 50,
                i * 37
            )
        })
        .collect();
    let mut b = Bench::new(|_| ());
    b.engine.replace_writer(Box::new(Sink));
    for round in 0..6 {
        let rounds = if round == 0 { 1 } else { 200 };
        let start = Instant::now();
        for _ in 0..rounds {
            assert_eq!(b.scrape_as("text/plain", &body).error, None);
        }
        let ns = start.elapsed().as_nanos() as f64 / f64::from(rounds) / 2000.0;
        println!("round {round}: {ns:.1} ns per sample");
    }
}
