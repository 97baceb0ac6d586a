//! Tests of XOR2 chunks: round trips, hostile bytes, bytes made by Prometheus.

use super::*;
use proptest::prelude::*;

fn encode(samples: &[(i64, u64)]) -> Vec<u8> {
    let mut chunk = Xor2Chunk::new();
    for (t, v) in samples {
        chunk.push(*t, f64::from_bits(*v));
    }
    chunk.data().to_vec()
}

fn bits_of(data: &[u8]) -> Vec<(i64, u64)> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    decode(data, &mut times, &mut values).expect("decodes");
    times.into_iter().zip(values.iter().map(|v| v.to_bits())).collect()
}

proptest! {
    #[test]
    fn round_trip(list in prop::collection::vec((
        prop_oneof![Just(15_000i64), -9000..9000i64, -600_000..600_000i64, any::<i64>()],
        prop_oneof![Just(1f64.to_bits()), Just(STALE_NAN_BITS), any::<u64>()],
    ), 0..100)) {
        let mut t = 0i64;
        let samples: Vec<_> = list.into_iter().map(|(step, v)| { t = t.wrapping_add(step); (t, v) }).collect();
        prop_assert_eq!(bits_of(&encode(&samples)), samples);
    }

    #[test]
    fn hostile_bytes_end_in_peace(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&data, &mut Vec::new(), &mut Vec::new());
    }
}

#[test]
fn bytes_are_those_of_prometheus() {
    let lines: Vec<Vec<u8>> = include_str!("../testdata/xor2.hex").lines().map(crate::unhex).collect();
    for (kind, want) in lines.iter().enumerate() {
        // The chunk of each kind without start times, and the same samples with them.
        let mut samples: Vec<_> =
            crate::xor::tests::golden(kind as u64 / 2).into_iter().map(|(t, v)| (t, v.to_bits())).collect();
        for (i, (_, v)) in samples.iter_mut().enumerate() {
            if i % 17 == 5 {
                *v = STALE_NAN_BITS;
            }
        }
        assert_eq!(bits_of(want), samples, "chunk {kind}");
        if kind % 2 == 0 {
            assert_eq!(&encode(&samples), want, "chunk {kind}");
        }
    }
}
