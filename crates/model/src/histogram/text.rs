//! Native histograms as text, as upstream's `FloatHistogram.String`.

use super::FloatHistogram;
use super::buckets::Bucket;
use crate::float::go_string;
use std::fmt;

fn count(f: &fmt::Formatter<'_>, n: f64) -> String {
    if f.alternate() { format!("{n:.0}") } else { go_string(n) }
}

impl fmt::Display for Bucket {
    /// `(1,2]:3`; with `#` the count as an integer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (go_string(self.lower), go_string(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", count(f, self.count))
    }
}

impl fmt::Display for FloatHistogram {
    /// `{count:2, sum:3, (1,2]:2}`, only populated buckets. With `#`, counts as integers: upstream's
    /// `Histogram.String`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", count(f, self.count), go_string(self.sum))?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        for b in self.negative().into_iter().rev().chain(zero).chain(self.positive()) {
            if b.count != 0.0 {
                f.write_str(", ")?;
                fmt::Display::fmt(&b, f)?;
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Span;

    #[test]
    fn counts_of_integers_have_no_exponent() {
        let h = FloatHistogram {
            count: 12_345_678.0,
            sum: 1.5,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive_buckets: vec![0.0, 12_345_677.0],
            integer: true,
            ..FloatHistogram::default()
        };
        assert_eq!(h.to_string(), "{count:1.2345678e+07, sum:1.5, [-0,0]:1, (2,4]:1.2345677e+07}");
        assert_eq!(format!("{h:#}"), "{count:12345678, sum:1.5, [-0,0]:1, (2,4]:12345677}");
    }
}
