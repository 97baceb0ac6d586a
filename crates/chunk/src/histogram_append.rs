//! Appending histograms to a chunk as they come: counter resets end it, new buckets widen it.
//!
//! All samples of a chunk have one layout. A bucket that a sample lacks is written as empty; a bucket that the
//! chunk lacks makes it be written anew with the layout of both (upstream `chunkenc/float_histogram.go`).

use super::HistogramChunk;
use crate::encoding::{Columns, Encoding, decode};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::{FloatHistogram, is_stale_nan};

/// A chunk is not widened beyond this; a sample that needs more gets a chunk of its own.
const MAX_WIDENED_BUCKETS: usize = 1 << 17;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Done,
    /// Nothing was done: the sample needs a new chunk. `reset`: because the counter was reset before it.
    NewChunk {
        reset: bool,
    },
}

/// How a sample goes with the chunk.
enum Fit {
    /// Same buckets.
    As,
    /// With the buckets of both; whether the chunk itself lacks some of them.
    With {
        positive: Vec<i64>,
        negative: Vec<i64>,
        widen: bool,
    },
    Not {
        reset: bool,
    },
}

const RESET: Fit = Fit::Not { reset: true };
const OTHER: Fit = Fit::Not { reset: false };

impl HistogramChunk {
    /// The chunk that a sample begins. `hint`: what is known about a reset before it, unless it says so itself.
    pub fn begin(encoding: Encoding, t: i64, start: i64, h: &FloatHistogram, hint: CounterResetHint) -> Self {
        let own = h.counter_reset_hint;
        let explicit = matches!(own, CounterResetHint::CounterReset | CounterResetHint::Gauge);
        let mut chunk = HistogramChunk::new(encoding, if explicit { own } else { hint });
        let done = chunk.push(t, start, h);
        debug_assert!(done, "a new chunk takes every sample");
        chunk
    }

    /// Bytes of memory behind the chunk, about.
    pub fn memory(&self) -> usize {
        let l = &self.layout;
        let spans = l.positive_spans.len() + l.negative_spans.len();
        self.bits.memory()
            + (self.values.capacity() + self.deltas.capacity()) * 8
            + self.windows.capacity() * size_of::<super::LastWindow>()
            + spans * size_of::<Span>()
            + l.custom_values.len() * 8
    }

    /// Whether the chunk is of gauge histograms.
    fn is_gauge(&self) -> bool {
        self.hint == CounterResetHint::Gauge
    }

    /// Whether the counter was reset between the last sample of the chunk and this one, for the header of a chunk
    /// that begins with it.
    pub fn reset_before(&self, h: &FloatHistogram) -> CounterResetHint {
        match self.fit(h) {
            _ if self.is_gauge() || self.is_empty() => CounterResetHint::Unknown,
            Fit::Not { reset: true } => CounterResetHint::CounterReset,
            Fit::Not { reset: false } => CounterResetHint::Unknown,
            _ => CounterResetHint::NotCounterReset,
        }
    }

    /// Appends a sample whose spans and buckets agree; times ascend. `start`: its start timestamp, 0 for none.
    pub fn append(&mut self, t: i64, start: i64, h: &FloatHistogram) -> Appended {
        if self.is_empty() {
            let done = self.push(t, start, h);
            return if done { Appended::Done } else { Appended::NewChunk { reset: false } };
        }
        let done = match self.fit(h) {
            Fit::Not { reset } => return Appended::NewChunk { reset },
            Fit::As => self.push(t, start, h),
            Fit::With { positive, negative, widen } => {
                let Some(layout) = spans_of(&positive).zip(spans_of(&negative)) else {
                    return Appended::NewChunk { reset: false };
                };
                let indexes = (&positive[..], &negative[..]);
                if widen {
                    match self.widened(indexes, &layout) {
                        Some(wide) => *self = wide,
                        None => return Appended::NewChunk { reset: false },
                    }
                }
                // Equal lists of buckets may stand in different spans: those of the chunk are kept.
                let mut same = laid_out(h, indexes, &layout);
                same.positive_spans.clone_from(&self.layout.positive_spans);
                same.negative_spans.clone_from(&self.layout.negative_spans);
                self.push(t, start, &same)
            }
        };
        if done { Appended::Done } else { Appended::NewChunk { reset: false } }
    }

    /// The chunk again, with more buckets.
    fn widened(&self, indexes: (&[i64], &[i64]), layout: &(Vec<Span>, Vec<Span>)) -> Option<Self> {
        let (mut times, mut floats, mut histograms, mut starts) = Default::default();
        let mut columns = Columns {
            times: &mut times,
            floats: &mut floats,
            histograms: &mut histograms,
            starts: &mut starts,
        };
        decode(self.encoding.number(), self.data(), &mut columns).ok()?;
        let mut wide = HistogramChunk::new(self.encoding, self.hint);
        let starts = starts.into_iter().chain(std::iter::repeat(0));
        for ((t, (_, h)), start) in times.iter().zip(&histograms).zip(starts) {
            if !wide.push(*t, start, &laid_out(h, indexes, layout)) {
                return None;
            }
        }
        Some(wide)
    }

    fn fit(&self, h: &FloatHistogram) -> Fit {
        let gauge = self.is_gauge();
        let value = |at: usize| self.values.get(at).copied().unwrap_or(0.0);
        if self.encoding.is_integer() != h.holds_integers() {
            return OTHER;
        }
        if is_stale_nan(h.sum) {
            return Fit::As;
        }
        if self.is_empty() || gauge != (h.counter_reset_hint == CounterResetHint::Gauge) {
            return OTHER;
        }
        if h.counter_reset_hint == CounterResetHint::CounterReset {
            return RESET;
        }
        // Only stale markers follow one.
        if is_stale_nan(value(2)) {
            return OTHER;
        }
        if !gauge && h.count < value(0) {
            return RESET;
        }
        let l = &self.layout;
        if h.schema != l.schema || h.zero_threshold.to_bits() != l.zero_threshold.to_bits() {
            return OTHER;
        }
        if h.schema == CUSTOM_BUCKETS_SCHEMA && h.custom_values != l.custom_values {
            return Fit::Not { reset: !gauge };
        }
        if !gauge && h.zero_count < value(1) {
            return RESET;
        }
        let counts = self.values.get(super::HEAD..).unwrap_or(&[]);
        let of_chunk = bucket_total(&l.positive_spans).min(counts.len());
        let (old_positive, old_negative) = counts.split_at(of_chunk);
        if l.positive_spans == h.positive_spans && l.negative_spans == h.negative_spans {
            // All of them: without a way out the compiler compares several at once.
            let fell =
                |new: &[f64], old: &[f64]| new.iter().zip(old).fold(false, |any, (n, o)| any | (n < o));
            let reset = !gauge
                && (fell(&h.positive_buckets, old_positive) || fell(&h.negative_buckets, old_negative));
            return if reset { RESET } else { Fit::As };
        }
        let positive =
            join((&l.positive_spans, old_positive), (&h.positive_spans, &h.positive_buckets), gauge);
        let negative =
            join((&l.negative_spans, old_negative), (&h.negative_spans, &h.negative_buckets), gauge);
        match positive.zip(negative) {
            None => RESET,
            Some((p, n)) if p.len() + n.len() > MAX_WIDENED_BUCKETS => OTHER,
            Some((positive, negative)) => {
                let widen = positive.len() + negative.len() > counts.len();
                Fit::With { positive, negative, widen }
            }
        }
    }
}

fn bucket_total(spans: &[Span]) -> usize {
    spans.iter().map(|s| s.length as usize).sum()
}

/// Indexes of the first `most` buckets, ascending.
fn indexes(spans: &[Span], most: usize) -> impl Iterator<Item = i64> {
    let mut next = 0i64;
    spans
        .iter()
        .flat_map(move |span| {
            let from = next + i64::from(span.offset);
            next = from + i64::from(span.length);
            from..next
        })
        .take(most)
}

/// Indexes of the buckets of both; `None` when a counter was reset: a bucket fell or went missing.
fn join(old: (&[Span], &[f64]), new: (&[Span], &[f64]), gauge: bool) -> Option<Vec<i64>> {
    let mut out = Vec::with_capacity(old.1.len().max(new.1.len()));
    let mut olds = indexes(old.0, old.1.len()).zip(old.1).peekable();
    let mut news = indexes(new.0, new.1.len()).zip(new.1).peekable();
    loop {
        let at = match (olds.peek(), news.peek()) {
            (None, None) => return Some(out),
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((a, _)), None) | (None, Some((a, _))) => *a,
        };
        let before = olds.next_if(|(a, _)| *a == at).map(|(_, v)| *v);
        let now = news.next_if(|(a, _)| *a == at).map(|(_, v)| *v);
        let fell = match (before, now) {
            (Some(before), Some(now)) => now < before,
            (Some(before), None) => before != 0.0,
            _ => false,
        };
        if fell && !gauge {
            return None;
        }
        out.push(at);
    }
}

/// Spans of ascending indexes; `None` when a gap is wider than a span can say.
fn spans_of(indexes: &[i64]) -> Option<Vec<Span>> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i64;
    for at in indexes {
        match spans.last_mut() {
            Some(last) if *at == next => last.length = last.length.checked_add(1)?,
            _ => spans.push(Span { offset: i32::try_from(*at - next).ok()?, length: 1 }),
        }
        next = *at + 1;
    }
    Some(spans)
}

/// A histogram with the buckets of a wider layout, the missing ones empty.
fn laid_out(h: &FloatHistogram, of: (&[i64], &[i64]), layout: &(Vec<Span>, Vec<Span>)) -> FloatHistogram {
    let fill = |wanted: &[i64], spans: &[Span], counts: &[f64]| -> Vec<f64> {
        let mut have = indexes(spans, counts.len()).zip(counts).peekable();
        wanted.iter().map(|at| have.next_if(|(i, _)| i == at).map_or(0.0, |(_, v)| *v)).collect()
    };
    FloatHistogram {
        positive_buckets: fill(of.0, &h.positive_spans, &h.positive_buckets),
        negative_buckets: fill(of.1, &h.negative_spans, &h.negative_buckets),
        positive_spans: layout.0.clone(),
        negative_spans: layout.1.clone(),
        custom_values: h.custom_values.clone(),
        ..*h
    }
}

#[cfg(test)]
#[path = "histogram_append_tests.rs"]
mod tests;
