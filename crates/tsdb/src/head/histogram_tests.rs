//! Tests of histograms in the head: what is refused, where chunks are cut.

use super::*;

fn h(schema: i32, offset: i32, buckets: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema,
        count: buckets.iter().sum(),
        positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
        positive_buckets: buckets.to_vec(),
        ..FloatHistogram::default()
    }
}

#[test]
fn texts_are_upstreams() {
    let check = |h: &FloatHistogram, want: &str| {
        assert_eq!(validate(h).err().unwrap_or_default(), want);
    };
    let good = h(0, -3, &[1.0, 2.0]);
    check(&good, "");
    check(
        &h(9, 0, &[]),
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 9",
    );
    check(
        &FloatHistogram { positive_buckets: vec![1.0], ..good.clone() },
        "positive side: spans need 2 buckets, have 1 buckets: histogram spans specify different number of buckets than provided",
    );
    check(&h(0, 0, &[1.0, -2.0]), "observation count is  -1: histogram's observation count is negative");
    check(
        &h(0, 0, &[3.0, -2.0]),
        "positive side: bucket number 2 has observation count of -2: histogram has a bucket whose observation count is negative",
    );
    let custom = FloatHistogram { custom_values: vec![1.0], ..h(CUSTOM_BUCKETS_SCHEMA, 0, &[1.0, 2.0]) };
    check(&custom, "");
    check(
        &h(CUSTOM_BUCKETS_SCHEMA, 0, &[1.0, 2.0]),
        "custom buckets: only 0 custom bounds defined which is insufficient to cover total span length of 2: histogram custom bounds are too few",
    );
    check(&FloatHistogram { zero_count: 1.0, ..custom }, "custom buckets: must have zero count of 0");
    check(&FloatHistogram { sum: model::stale_nan(), ..FloatHistogram::default() }, "");
}

#[test]
fn fingerprints_tell_values_apart_but_not_hints() {
    let one = h(0, 0, &[1.0, 2.0]);
    let gauge =
        FloatHistogram { counter_reset_hint: model::histogram::CounterResetHint::Gauge, ..one.clone() };
    assert_eq!(fingerprint(&one), fingerprint(&gauge));
    assert_ne!(fingerprint(&one), fingerprint(&h(0, 0, &[2.0, 1.0])));
    assert_ne!(fingerprint(&one), fingerprint(&h(1, 0, &[1.0, 2.0])));
    assert!(f64::from_bits(fingerprint(&one)).is_nan());
}
