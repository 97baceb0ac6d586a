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

    #[test]
    fn hostile_bytes_end_in_peace(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut times, mut values) = (vec![7], vec![7.0]);
        let ok = decode(&data, &mut times, &mut values).is_ok();
        prop_assert_eq!(times.len(), values.len());
        prop_assert!(ok || times.len() == 1);
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
