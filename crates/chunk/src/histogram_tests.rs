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
        integer: false,
    }
}

fn columns(encoding: u8, data: &[u8]) -> Result<Vec<(i64, FloatHistogram)>, ChunkError> {
    Ok(with_starts(encoding, data)?.into_iter().map(|(t, _, h)| (t, h)).collect())
}

/// Times, start times, histograms.
fn with_starts(encoding: u8, data: &[u8]) -> Result<Vec<(i64, i64, FloatHistogram)>, ChunkError> {
    let (mut times, mut floats, mut histograms, mut starts): (Vec<i64>, Vec<f64>, Vec<_>, Vec<i64>) =
        Default::default();
    let mut into =
        Columns { times: &mut times, floats: &mut floats, histograms: &mut histograms, starts: &mut starts };
    let done = crate::decode(encoding, data, &mut into);
    assert!(done.is_ok() || times.is_empty() && floats.is_empty() && histograms.is_empty());
    done?;
    assert_eq!(times.len(), floats.len());
    assert!(starts.len() <= times.len());
    starts.resize(times.len(), 0);
    let rows = times.into_iter().zip(starts).zip(histograms);
    Ok(rows.map(|((t, start), (_, h))| (t, start, FloatHistogram::clone(&h))).collect())
}

#[test]
fn bytes_are_those_of_prometheus() {
    let lines: Vec<Vec<u8>> = include_str!("../testdata/histogram.hex").lines().map(crate::unhex).collect();
    for (kind, data) in lines.iter().enumerate() {
        let (encoding, custom) = (2 + kind as u8 / 2, kind % 2 == 1);
        let got = columns(encoding, data).expect("decodes");
        assert_eq!(got.len(), 31);
        let encoding = Encoding::from_number(encoding).expect("known");
        let mut chunk = HistogramChunk::new(encoding, CounterResetHint::Unknown);
        for (i, (t, h)) in got.iter().enumerate() {
            let i = i as i64;
            assert_eq!(*t, 1_700_000_000_000 + i * 15_000 + i % 4);
            if i == 30 {
                assert!(is_stale_nan(h.sum) && h.positive_buckets.is_empty());
            } else {
                let want = FloatHistogram { integer: kind < 2, ..golden(i, custom) };
                assert_eq!(*h, want, "chunk {kind}, sample {i}");
            }
            assert!(chunk.push(*t, 0, h));
        }
        assert_eq!(chunk.data(), data, "chunk {kind}");
        assert!(!chunk.push(0, 0, &golden(0, custom)), "nothing follows a stale marker");
        for cut in 0..data.len() {
            assert!(columns(encoding.number(), &data[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn another_layout_needs_another_chunk() {
    let mut chunk = HistogramChunk::new(Encoding::FloatHistogram, CounterResetHint::Gauge);
    assert!(chunk.push(1, 0, &golden(1, false)));
    assert!(!chunk.push(2, 0, &golden(1, true)));
    assert!(chunk.push(2, 0, &golden(2, false)));
    let got = columns(3, chunk.data()).expect("decodes");
    assert!(got.iter().all(|(_, h)| h.counter_reset_hint == CounterResetHint::Gauge));
    assert_eq!(chunk.len(), 2);
}

proptest! {
    #[test]
    fn all_kinds_round_trip(
        number in prop_oneof![2u8..4, 5u8..7],
        rows in prop::collection::vec((
            prop_oneof![Just(15_000i64), -9000..9000i64, any::<i64>()],
            prop_oneof![5 => Just(0i64), 2 => Just(7i64), 2 => any::<i64>()],
            prop::collection::vec(prop_oneof![0..9u64, 0..1u64 << 53], 6),
        ), 1..150),
    ) {
        let encoding = Encoding::from_number(number).expect("known");
        let mut chunk = HistogramChunk::new(encoding, CounterResetHint::CounterReset);
        let mut want = Vec::new();
        let (mut t, mut start) = (0i64, 0i64);
        for (index, (step, move_start, n)) in rows.into_iter().enumerate() {
            t = t.wrapping_add(step);
            start = start.wrapping_add(move_start);
            let n: Vec<f64> = n.into_iter().map(|n| n as f64).collect();
            let unknown = index == 0;
            let h = FloatHistogram {
                counter_reset_hint: if unknown { CounterResetHint::Unknown } else { CounterResetHint::NotCounterReset },
                schema: 1,
                zero_threshold: 0.25,
                zero_count: n[0],
                count: n[1],
                sum: n[1] * 0.37,
                positive_spans: vec![Span { offset: -3, length: 1 }, Span { offset: 2, length: 2 }],
                negative_spans: vec![Span { offset: 1, length: 1 }],
                positive_buckets: n[2..5].to_vec(),
                negative_buckets: n[5..].to_vec(),
                custom_values: Vec::new(),
                integer: encoding.is_integer(),
            };
            prop_assert!(chunk.push(t, start, &h));
            want.push((t, if encoding.has_starts() { start } else { 0 }, h));
        }
        prop_assert_eq!(crate::sample_count(number, chunk.data()).expect("counts"), want.len() as u16);
        let got = with_starts(number, chunk.data()).expect("decodes");
        prop_assert_eq!(got, want);
    }

    #[test]
    fn hostile_bytes_end_in_peace(encoding in 2u8..7, data in prop::collection::vec(any::<u8>(), 0..300)) {
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
            let mut chunk = HistogramChunk::new(Encoding::FloatHistogram, CounterResetHint::Unknown);
            prop_assert!(chunk.push(5, 0, &h));
            let got = columns(3, chunk.data()).expect("decodes");
            prop_assert_eq!(got[0].1.zero_threshold.to_bits(), (threshold + 0.0).to_bits());
            let bits = |list: &[f64]| list.iter().map(|v| (v + 0.0).to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&got[0].1.custom_values), bits(&bounds));
        }
    }
}
