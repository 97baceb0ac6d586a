//! Start timestamps that are made up (feature `st-synthesis`): a counter whose target does not say when it began is
//! counted from the first scrape on.
//!
//! The first value of a series is not stored but taken from all that follow, which start at its time. A value that
//! fell is a new beginning just before it: from then on values are stored as they are.

use model::{FloatHistogram, MetricType};

/// Where a series began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Beginning {
    /// Nothing was seen of it yet, or what was seen could not be stored.
    #[default]
    Unknown,
    Float {
        start: i64,
        first: f64,
        last: f64,
    },
    /// Without a first one there is nothing to take away.
    Histogram {
        start: i64,
        first: Option<Box<FloatHistogram>>,
        last: Box<FloatHistogram>,
    },
}

/// A series whose beginning is followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Origin {
    pub(super) beginning: Beginning,
    /// The scrape in which it began.
    pub(super) scrape: u32,
}

impl Beginning {
    /// Start and value to store for `v` at `t`; `None` for the first one.
    pub(super) fn float(&mut self, v: f64, t: i64) -> Option<(i64, f64)> {
        let Beginning::Float { start, first, last } = self else {
            *self = Beginning::Float { start: t, first: v, last: v };
            return None;
        };
        if v < *last {
            (*first, *start) = (0.0, t - 1);
        }
        *last = v;
        Some((*start, v - *first))
    }

    /// The same for a histogram, which is changed in place.
    pub(super) fn histogram(&mut self, h: &mut FloatHistogram, t: i64) -> Option<i64> {
        let Beginning::Histogram { start, first, last } = self else {
            let seen = Box::new(h.clone());
            *self = Beginning::Histogram { start: t, first: Some(seen.clone()), last: seen };
            return None;
        };
        if h.detect_reset(last) {
            (*start, *first) = (t - 1, None);
        }
        **last = h.clone();
        if let Some(first) = first {
            let hint = h.counter_reset_hint;
            // Custom and exponential buckets do not meet here: that is a reset.
            if h.sub(first).is_ok() {
                h.compact();
            }
            if h.integer {
                h.counter_reset_hint = hint;
            }
        }
        Some(*start)
    }
}

/// Whether a series of this name counts up from its beginning, as one of `family`.
pub(super) fn counts_up(name: &str, family: &str, kind: MetricType) -> bool {
    let without = |text, suffixes: &[&str]| suffixes.iter().find_map(|s| str::strip_suffix(text, s));
    match kind {
        MetricType::Counter => {
            let bare = |text| without(text, &["_total"]).unwrap_or(text);
            name.starts_with(family) && bare(name) == bare(family)
        }
        MetricType::Histogram => without(name, &["_bucket", "_sum", "_count"]).unwrap_or(name) == family,
        MetricType::Summary => without(name, &["_sum", "_count"]) == Some(family),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::Span;

    #[test]
    fn floats_count_from_their_first_value() {
        let mut b = Beginning::default();
        let values = [(10.0, 100), (12.0, 200), (12.0, 300), (3.0, 400), (5.0, 500)];
        let got: Vec<_> = values.iter().map(|(v, t)| b.float(*v, *t)).collect();
        let want = [None, Some((100, 2.0)), Some((100, 2.0)), Some((399, 3.0)), Some((399, 5.0))];
        assert_eq!(got, want);
    }

    #[test]
    fn histograms_count_from_their_first_value() {
        let of = |counts: [f64; 2], integer| FloatHistogram {
            count: counts[0] + counts[1],
            sum: counts[0] + 2.0 * counts[1],
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: counts.to_vec(),
            integer,
            ..FloatHistogram::default()
        };
        for integer in [true, false] {
            let mut b = Beginning::default();
            let mut feed = |counts, t| {
                let mut h = of(counts, integer);
                b.histogram(&mut h, t).map(|start| (start, h))
            };
            assert_eq!(feed([1.0, 2.0], 100), None);
            let (start, h) = feed([1.0, 5.0], 200).unwrap();
            assert_eq!((start, h.count, h.sum, h.integer), (100, 3.0, 6.0, integer));
            // Buckets that are empty are left out.
            assert_eq!(
                (&h.positive_spans[..], &h.positive_buckets[..]),
                (&[Span { offset: 1, length: 1 }][..], &[3.0][..])
            );
            assert_eq!(feed([0.0, 1.0], 300), Some((299, of([0.0, 1.0], integer))));
            assert_eq!(feed([2.0, 2.0], 400), Some((299, of([2.0, 2.0], integer))));
        }
    }

    #[test]
    fn only_cumulative_series_of_the_family_count() {
        use MetricType::{Counter, Gauge, Histogram, Summary};
        for (name, family, kind, want) in [
            ("c", "c", Counter, true),
            ("c_total", "c", Counter, true),
            ("c_total", "c_total", Counter, true),
            ("c_created", "c", Counter, false),
            ("d_total", "c", Counter, false),
            ("h_bucket", "h", Histogram, true),
            ("h_sum", "h", Histogram, true),
            ("h", "h", Histogram, true),
            ("h_total", "h", Histogram, false),
            ("c", "c_total", Counter, false),
            ("c_total_total", "c_total", Counter, false),
            ("h_sum", "h_sum", Histogram, false),
            ("s", "s", Summary, false),
            ("s_count", "s", Summary, true),
            ("g", "g", Gauge, false),
        ] {
            assert_eq!(counts_up(name, family, kind), want, "{name} of {family}");
        }
    }
}
