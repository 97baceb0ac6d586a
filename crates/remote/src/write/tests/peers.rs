//! Against a real receiver: `REMOTE_WRITE_URL=http://127.0.0.1:9090/api/v1/write cargo test -p remote peer -- --ignored`.

use super::fakes::*;
use crate::write::reader::now;
use model::histogram::Span;
use model::{FloatHistogram, Labels};
use std::sync::Arc;
use std::time::Duration;
use storage::SeriesRef;
use storage::feed::{FeedBatch, FeedExemplar, FeedHistogram, FeedSample};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a receiver"]
async fn a_peer_takes_everything() {
    let url = std::env::var("REMOTE_WRITE_URL").expect("REMOTE_WRITE_URL");
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
        let agent = Agent::start(dir.path(), &log);
        let more = format!(
            r#","protobuf_message":"{message}","send_exemplars":true,"send_native_histograms":true,"write_relabel_configs":[{{"target_label":"via","replacement":"{message}"}}]"#
        );
        let mut config = config(&url, r#","min_shards":3"#, &more);
        config.metadata_config.send = true;
        config.metadata_config.send_interval = model::duration::DurationMs(200);
        agent.apply(&[config]);
        log.series(500);
        let t = now() - 10_000;
        for row in 0..4 {
            let samples =
                (0..499).map(|i| FeedSample { series: SeriesRef(i), t: t + row * 1000, v: row as f64 });
            let mut record = FeedBatch { samples: samples.collect(), ..FeedBatch::default() };
            if row == 3 {
                let labels = Labels::from_pairs([("trace_id", "abc")]);
                record.exemplars = vec![FeedExemplar { series: SeriesRef(3), t: t + 3500, v: 0.5, labels }];
            }
            log.push(record);
        }
        let histogram = FloatHistogram {
            schema: 3,
            zero_threshold: 1e-128,
            count: 6.0,
            sum: 12.0,
            positive_spans: vec![Span { offset: 2, length: 3 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            ..FloatHistogram::default()
        };
        let row = FeedHistogram { series: SeriesRef(499), t, start: 0, histogram: Arc::new(histogram) };
        log.push(FeedBatch { histograms: vec![row], ..FeedBatch::default() });
        agent.settled().await;
        let failed = ["samples_failed_total", "exemplars_failed_total", "histograms_failed_total"];
        assert_eq!(failed.map(|name| agent.metric(name)), [0.0; 3], "{:?}", agent.supervisor.status());
        // Twice when the peer does not know 2.0.
        assert!(agent.metric("samples_total") >= 1996.0);
        let status = agent.supervisor.status();
        eprintln!("{message}: {status:?}");
        agent.supervisor.shutdown(Duration::ZERO).await;
    }
}
