//! Tests of XOR2 chunks: round trips, hostile bytes, bytes made by Prometheus.

use super::*;
use proptest::prelude::*;

/// Time, start time, value.
type Rows = Vec<(i64, i64, u64)>;

fn encode(samples: &[(i64, i64, u64)]) -> Vec<u8> {
    let mut chunk = Xor2Chunk::new();
    for (t, start, v) in samples {
        chunk.push(*t, *start, f64::from_bits(*v));
    }
    chunk.data().to_vec()
}

fn columns(data: &[u8]) -> Result<Rows, ChunkError> {
    let (mut times, mut floats, mut histograms, mut starts): (Vec<i64>, Vec<f64>, Vec<_>, Vec<i64>) =
        Default::default();
    let mut into =
        Columns { times: &mut times, floats: &mut floats, histograms: &mut histograms, starts: &mut starts };
    decode(data, &mut into)?;
    starts.resize(times.len(), 0);
    Ok(times.into_iter().zip(starts).zip(floats).map(|((t, s), v)| (t, s, v.to_bits())).collect())
}

fn bits_of(data: &[u8]) -> Rows {
    columns(data).expect("decodes")
}

proptest! {
    #[test]
    fn round_trip(list in prop::collection::vec((
        prop_oneof![Just(15_000i64), -9000..9000i64, -600_000..600_000i64, any::<i64>()],
        prop_oneof![8 => Just(0i64), 1 => Just(3i64), 1 => -400..400i64, 1 => any::<i64>()],
        prop_oneof![Just(1f64.to_bits()), Just(STALE_NAN_BITS), any::<u64>()],
    ), 0..200)) {
        let (mut t, mut start) = (0i64, 0i64);
        let samples: Vec<_> = list.into_iter().map(|(step, move_start, v)| {
            t = t.wrapping_add(step);
            start = start.wrapping_add(move_start);
            (t, start, v)
        }).collect();
        prop_assert_eq!(bits_of(&encode(&samples)), samples);
    }

    #[test]
    fn hostile_bytes_end_in_peace(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = columns(&data);
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
        let got = bits_of(want);
        assert_eq!(got.iter().map(|(t, _, v)| (*t, *v)).collect::<Vec<_>>(), samples, "chunk {kind}");
        assert_eq!(got.iter().any(|(_, start, _)| *start != 0), kind % 2 == 1, "chunk {kind}");
        assert_eq!(&encode(&got), want, "chunk {kind}");
    }
}
