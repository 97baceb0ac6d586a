//! Tests of histogram chunks: bytes made by Prometheus, round trips of floats, hostile bytes.

use super::*;
use proptest::prelude::*;

/// The histogram from which Prometheus made sample `i` of `testdata/histogram.hex`.
fn golden(i: i64, custom: bool) -> FloatHistogram {
    let positive = vec![1.0, (2 + i) as f64, (3 + i * i) as f64, 4.0];
    let negative = if custom { vec![] } else { vec![(5 * i) as f64, 1.0] };
    let zero_count = if custom { 0.0 } else { i as f64 };
    FloatHistogram {
        counter_reset_hint: if i == 0 {
            CounterResetHint::Unknown
        } else {
            CounterResetHint::NotCounterReset
        },
        schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { 2 },
        zero_threshold: if custom { 0.0 } else { 0.001 },
        zero_count,
        count: zero_count + positive.iter().sum::<f64>() + negative.iter().sum::<f64>(),
        sum: (i as f64).sqrt(),
        positive_spans: vec![
            Span { offset: 0, length: 3 },
            Span { offset: if custom { 0 } else { 2 }, length: 1 },
        ],
        negative_spans: if custom { vec![] } else { vec![Span { offset: -5, length: 2 }] },
        positive_buckets: positive,
        negative_buckets: negative,
        custom_values: if custom { vec![0.005, 1.0, 2.5, 1e9] } else { vec![] },
    }
}

fn columns(encoding: u8, data: &[u8]) -> Result<Vec<(i64, FloatHistogram)>, ChunkError> {
    let (mut times, mut floats, mut histograms) = (vec![], vec![], vec![]);
    let mut into = Columns { times: &mut times, floats: &mut floats, histograms: &mut histograms };
    let done = crate::decode(encoding, data, &mut into);
    assert!(done.is_ok() || times.is_empty() && floats.is_empty() && histograms.is_empty());
    done?;
    assert_eq!(times.len(), floats.len());
    Ok(times.into_iter().zip(histograms).map(|(t, (_, h))| (t, (*h).clone())).collect())
}

#[test]
fn bytes_are_those_of_prometheus() {
    let lines: Vec<Vec<u8>> = include_str!("../testdata/histogram.hex").lines().map(crate::unhex).collect();
    for (kind, data) in lines.iter().enumerate() {
        let (encoding, custom) = (2 + kind as u8 / 2, kind % 2 == 1);
        let got = columns(encoding, data).expect("decodes");
        assert_eq!(got.len(), 31);
        let mut chunk = FloatHistogramChunk::new(CounterResetHint::Unknown);
        for (i, (t, h)) in got.iter().enumerate() {
            let i = i as i64;
            assert_eq!(*t, 1_700_000_000_000 + i * 15_000 + i % 4);
            if i == 30 {
                assert!(is_stale_nan(h.sum) && h.positive_buckets.is_empty());
            } else {
                assert_eq!(*h, golden(i, custom), "chunk {kind}, sample {i}");
            }
            assert!(chunk.push(*t, h));
        }
        if encoding == 3 {
            assert_eq!(chunk.data(), data, "chunk {kind}");
        }
        assert!(!chunk.push(0, &golden(0, custom)), "nothing follows a stale marker");
        for cut in 0..data.len() {
            assert!(columns(encoding, &data[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn another_layout_needs_another_chunk() {
    let mut chunk = FloatHistogramChunk::new(CounterResetHint::Gauge);
    assert!(chunk.push(1, &golden(1, false)));
    assert!(!chunk.push(2, &golden(1, true)));
    assert!(chunk.push(2, &golden(2, false)));
    let got = columns(3, chunk.data()).expect("decodes");
    assert!(got.iter().all(|(_, h)| h.counter_reset_hint == CounterResetHint::Gauge));
    assert_eq!(chunk.len(), 2);
}

proptest! {
    #[test]
    fn hostile_bytes_end_in_peace(encoding in 2u8..4, data in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = columns(encoding, &data);
    }

    #[test]
    fn zero_thresholds_and_bounds(threshold: f64, bounds in prop::collection::vec(prop_oneof![any::<f64>(), (0..99_999i32).prop_map(|n| f64::from(n) / 1000.0)], 0..10), power in -300i32..20) {
        for threshold in [threshold, 2f64.powi(power)] {
            let h = FloatHistogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                zero_threshold: threshold,
                custom_values: bounds.clone(),
                ..FloatHistogram::default()
            };
            let mut chunk = FloatHistogramChunk::new(CounterResetHint::Unknown);
            prop_assert!(chunk.push(5, &h));
            let got = columns(3, chunk.data()).expect("decodes");
            prop_assert_eq!(got[0].1.zero_threshold.to_bits(), (threshold + 0.0).to_bits());
            let bits = |list: &[f64]| list.iter().map(|v| (v + 0.0).to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&got[0].1.custom_values), bits(&bounds));
        }
    }
}
