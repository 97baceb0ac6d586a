//! Tests of appending histograms to a chunk as they come.

use super::*;
use std::sync::Arc;

fn h(offset: i32, buckets: &[f64]) -> FloatHistogram {
    FloatHistogram {
        count: buckets.iter().sum(),
        sum: 1.0,
        positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
        positive_buckets: buckets.to_vec(),
        ..FloatHistogram::default()
    }
}

fn decoded(chunk: &HistogramChunk) -> Vec<Arc<FloatHistogram>> {
    let (mut times, mut floats, mut histograms, mut starts) = Default::default();
    let mut columns =
        Columns { times: &mut times, floats: &mut floats, histograms: &mut histograms, starts: &mut starts };
    decode(chunk.encoding().number(), chunk.data(), &mut columns).unwrap();
    histograms.into_iter().map(|(_, h)| h).collect()
}

#[test]
fn new_buckets_widen_the_chunk_and_missing_ones_are_empty() {
    let mut chunk = HistogramChunk::begin(
        Encoding::FloatHistogram,
        10,
        0,
        &h(2, &[1.0, 0.0, 3.0]),
        CounterResetHint::Unknown,
    );
    // Bucket 0 is new, 3 and 4 are in the chunk.
    let mut next = h(0, &[5.0, 0.0, 1.0, 0.0, 3.0]);
    next.negative_spans = vec![Span { offset: -4, length: 1 }];
    next.negative_buckets = vec![2.0];
    next.count += 2.0;
    assert_eq!(chunk.append(20, 0, &next), Appended::Done);
    // An empty bucket is left out.
    let mut third = h(0, &[5.0]);
    third.positive_spans.extend([Span { offset: 1, length: 1 }, Span { offset: 1, length: 1 }]);
    third.positive_buckets = vec![5.0, 1.0, 4.0];
    third.count = 12.0;
    third.negative_spans.clone_from(&next.negative_spans);
    third.negative_buckets = vec![2.0];
    assert_eq!(chunk.append(30, 0, &third), Appended::Done);
    let got = decoded(&chunk);
    let positive: Vec<_> = got.iter().map(|h| h.positive_buckets.clone()).collect();
    assert_eq!(
        positive,
        [vec![0.0, 1.0, 0.0, 3.0], vec![5.0, 1.0, 0.0, 3.0], vec![5.0, 1.0, 0.0, 4.0]].map(|v: Vec<f64>| {
            // Bucket 1 came with the second histogram.
            let mut v = v;
            v.insert(1, 0.0);
            v
        })
    );
    assert_eq!(got[0].negative_buckets, [0.0]);
    assert_eq!(got[0].positive_spans, [Span { offset: 0, length: 5 }]);
    assert_eq!(got[1].negative_spans, [Span { offset: -4, length: 1 }]);
    let hints: Vec<_> = got.iter().map(|h| h.counter_reset_hint).collect();
    use CounterResetHint::*;
    assert_eq!(hints, [Unknown, NotCounterReset, NotCounterReset]);
}

fn check(first: &FloatHistogram, second: &FloatHistogram, want: Appended) {
    let mut chunk = HistogramChunk::begin(Encoding::FloatHistogram, 10, 0, first, CounterResetHint::Unknown);
    assert_eq!(chunk.append(20, 0, second), want, "{first:?} {second:?}");
}

#[test]
fn what_ends_a_chunk() {
    const RESET: Appended = Appended::NewChunk { reset: true };
    const OTHER: Appended = Appended::NewChunk { reset: false };
    let gauge = |h: FloatHistogram| FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..h };
    let first = h(0, &[1.0, 2.0]);
    let stale = FloatHistogram { sum: model::stale_nan(), ..FloatHistogram::default() };
    check(&first, &h(0, &[1.0, 2.0]), Appended::Done);
    check(&first, &h(0, &[2.0, 1.0]), RESET);
    check(&first, &h(0, &[0.5, 2.0]), RESET);
    check(&first, &h(1, &[9.0]), RESET);
    check(
        &first,
        &FloatHistogram { counter_reset_hint: CounterResetHint::CounterReset, ..first.clone() },
        RESET,
    );
    check(&first, &FloatHistogram { schema: 1, ..first.clone() }, OTHER);
    check(&first, &gauge(first.clone()), OTHER);
    check(&gauge(first.clone()), &first, OTHER);
    check(&gauge(first.clone()), &gauge(h(1, &[1.0])), Appended::Done);
    check(&first, &stale, Appended::Done);
    check(&stale, &stale, Appended::Done);
    check(&stale, &first, OTHER);
    let far = FloatHistogram {
        positive_spans: vec![Span { offset: i32::MAX, length: 1 }, Span { offset: i32::MAX, length: 1 }],
        positive_buckets: vec![1.0, 1.0],
        count: 100.0,
        ..FloatHistogram::default()
    };
    check(&FloatHistogram { count: 0.0, ..h(i32::MIN, &[0.0]) }, &far, OTHER);
    let integer = |h: &FloatHistogram| FloatHistogram { integer: true, ..h.clone() };
    check(&first, &integer(&first), OTHER);
    check(&first, &integer(&stale), OTHER);
    let mut chunk =
        HistogramChunk::begin(Encoding::Histogram, 10, 0, &integer(&first), CounterResetHint::Unknown);
    assert_eq!(chunk.append(20, 0, &first), OTHER);
    let huge = FloatHistogram { count: 2f64.powi(53), ..integer(&first) };
    assert_eq!(chunk.append(20, 0, &huge), OTHER, "too large for an exact float");
    assert_eq!(chunk.append(20, 0, &integer(&h(0, &[2.0, 1.0]))), RESET);
    assert_eq!(chunk.append(20, 0, &integer(&h(-1, &[7.0, 1.0, 3.0]))), Appended::Done);
    assert_eq!(chunk.append(30, 0, &integer(&stale)), Appended::Done);
    let got = decoded(&chunk);
    assert!(got.iter().all(|h| h.integer));
    assert_eq!(got[0].positive_buckets, [0.0, 1.0, 2.0]);
    assert_eq!(got[1].positive_buckets, [7.0, 1.0, 3.0]);
}
