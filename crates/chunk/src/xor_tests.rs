//! Tests of XOR chunks: round trips, resumption, hostile bytes.

use super::*;
use crate::window::Reencoder;
use proptest::prelude::*;

fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut chunk = XorChunk::new();
    for (t, v) in samples {
        chunk.push(*t, *v);
    }
    chunk.data().to_vec()
}

fn bits_of(data: &[u8]) -> Vec<(i64, u64)> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    decode(data, &mut times, &mut values).expect("decodes");
    times.into_iter().zip(values.iter().map(|v| v.to_bits())).collect()
}

fn check(samples: &[(i64, f64)]) {
    let data = encode(samples);
    let want: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
    assert_eq!(bits_of(&data), want);
    let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
    let best = Reencoder::new().encode(&times, &values);
    assert_eq!(bits_of(&best), want);
    assert!(best.len() <= data.len(), "{} > {}", best.len(), data.len());
}

#[test]
fn extremes() {
    check(&[]);
    check(&[(i64::MIN, f64::NAN), (i64::MAX, -0.0), (0, f64::INFINITY), (1, 0.0), (2, 0.0)]);
    for edge in [8192, -8191, 8193, -8192, 65536, -65535, 65537, -65536, 524_288, -524_287, 524_289, -524_288]
    {
        check(&[(0, 1.0), (1000, 1.0), (2000 + edge, 1.5)]);
    }
}

#[test]
fn empty_chunk_is_two_zero_bytes() {
    assert_eq!(XorChunk::new().data(), [0, 0]);
}

#[test]
fn grows_exactly() {
    let mut state = XorState::new();
    let mut buf = vec![0xaa; 0];
    for i in 0..200i64 {
        loop {
            let before = state;
            match state.append(&mut buf, i * 15_000 + i % 7, (i * i) as f64 / 3.0) {
                Ok(()) => break,
                Err(Grow { bytes }) => {
                    assert_eq!(state, before);
                    buf.resize(bytes, 0xaa);
                }
            }
        }
        assert_eq!(state.bytes(), buf.len().min(state.bytes()));
    }
    assert_eq!(bits_of(&buf[..state.bytes()]).len(), 200);
}

fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![Just(15_000i64), -20_000..20_000i64, -600_000..600_000i64, any::<i64>()];
    let value = prop_oneof![
        Just(1.0f64),
        (0..1000i32).prop_map(f64::from),
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits)
    ];
    (any::<i64>(), prop::collection::vec((step, value), 0..150)).prop_map(|(start, list)| {
        let mut t = start;
        list.into_iter()
            .map(|(step, v)| {
                t = t.wrapping_add(step);
                (t, v)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn round_trip(samples in samples()) {
        check(&samples);
    }

    #[test]
    fn resumes_anywhere(samples in samples(), at in 0usize..150) {
        let whole = encode(&samples);
        let at = at.min(samples.len());
        let mut buf = encode(&samples[..at]);
        let mut state = XorState::resume(&buf).expect("own bytes");
        for (t, v) in &samples[at..] {
            while let Err(Grow { bytes }) = state.append(&mut buf, *t, *v) {
                buf.resize(bytes, 0);
            }
        }
        prop_assert_eq!(buf, whole);
    }

    /// Steps of 0 to 3 times the interval with runs of equal values, as far as the bounds reach.
    #[test]
    fn within_is_a_part_of_all(
        steps in prop::collection::vec((0i64..4, 0u8..5), 0..200),
        min in -3i64..420,
        len in -2i64..420,
    ) {
        let mut t = 0;
        let mut samples = Vec::new();
        for (step, v) in steps {
            samples.push((t, f64::from(v / 3)));
            t += step.max(1) * 15 + i64::from(step == 3);
        }
        let data = encode(&samples);
        let range = min * 15..=(min + len) * 15;
        let (mut times, mut values) = (vec![7], vec![7.0]);
        decode_within(&data, range.clone(), &mut times, &mut values).expect("decodes");
        let got: Vec<_> = times.into_iter().zip(values).skip(1).collect();
        samples.retain(|(t, _)| range.contains(t));
        prop_assert_eq!(got, samples);
    }

    #[test]
    fn hostile_bytes_end_in_peace(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut times, mut values) = (vec![7], vec![7.0]);
        let ok = decode(&data, &mut times, &mut values).is_ok();
        prop_assert_eq!(times.len(), values.len());
        prop_assert!(ok || times.len() == 1);
        let (mut times, mut values) = (vec![7], vec![7.0]);
        let ok = decode_within(&data, i64::MIN..=i64::MAX, &mut times, &mut values).is_ok();
        prop_assert_eq!(times.len(), values.len());
        prop_assert!(ok || times.len() == 1);
        let _ = decode_within(&data, -1000..=1 << 40, &mut times, &mut values);
        let _ = XorState::resume(&data);
    }

    #[test]
    fn cut_chunks_are_noticed(samples in samples(), cut in 1usize..20) {
        prop_assume!(!samples.is_empty());
        let data = encode(&samples);
        let cut = &data[..data.len().saturating_sub(cut)];
        prop_assert!(decode(cut, &mut Vec::new(), &mut Vec::new()).is_err());
    }
}

/// The samples from which Prometheus 3.14 made the four chunks of `testdata/xor.hex`.
pub(crate) fn golden(kind: u64) -> Vec<(i64, f64)> {
    let mut t = 1_700_000_000_000i64;
    let mut seed = kind + 1;
    let mut samples = Vec::new();
    for i in 0..120 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let r = seed >> 33;
        let v = match kind {
            0 => f64::from(i * 7),
            1 => {
                t += (r % 5) as i64;
                ((r % 1000) as f64).sqrt()
            }
            2 => {
                t += (r % 2_000_000) as i64 - 900_000;
                f64::from_bits(seed)
            }
            _ => {
                if r.is_multiple_of(13) {
                    t = t.wrapping_add((seed >> 20) as i64);
                }
                if r.is_multiple_of(11) {
                    f64::from_bits(model::sample::NORMAL_NAN_BITS)
                } else {
                    (r % 3) as f64
                }
            }
        };
        t += 15_000;
        samples.push((t, v));
    }
    samples
}

#[test]
fn bytes_are_those_of_prometheus() {
    for (kind, line) in include_str!("../testdata/xor.hex").lines().enumerate() {
        let want = crate::unhex(line);
        let samples = golden(kind as u64);
        assert_eq!(encode(&samples), want, "chunk {kind}");
        let bits: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        assert_eq!(bits_of(&want), bits);
    }
}

/// `cargo test --release -p chunk -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    for kind in 0..2 {
        let data = encode(&golden(kind));
        let best = Reencoder::new().shrink(&data).expect("decodes").unwrap_or(data.clone());
        for (name, data) in [("appended", &data), ("re-encoded", &best)] {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            let start = std::time::Instant::now();
            let rounds = 100_000;
            for _ in 0..rounds {
                times.clear();
                values.clear();
                decode(data, &mut times, &mut values).expect("decodes");
                std::hint::black_box((&times, &values));
            }
            let ns = start.elapsed().as_nanos() as f64 / f64::from(rounds) / 120.0;
            println!("kind {kind} {name}: {} bytes, {ns:.2} ns per sample", data.len());
        }
        let (times, values): (Vec<_>, Vec<_>) = golden(kind).into_iter().unzip();
        let mut reencoder = Reencoder::new();
        let start = std::time::Instant::now();
        for _ in 0..10_000 {
            std::hint::black_box(reencoder.encode(&times, &values));
        }
        println!("kind {kind}: {:.2} ns per sample to re-encode", start.elapsed().as_nanos() as f64 / 1.2e6);
    }
}
