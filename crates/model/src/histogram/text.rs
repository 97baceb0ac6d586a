//! Native histograms as text, as upstream's `FloatHistogram.String`.

use super::FloatHistogram;
use super::buckets::Bucket;
use crate::float::go_string;
use std::fmt;

impl fmt::Display for Bucket {
    /// `(1,2]:3`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (go_string(self.lower), go_string(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", go_string(self.count))
    }
}

impl fmt::Display for FloatHistogram {
    /// `{count:2, sum:3, (1,2]:2}`, only populated buckets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", go_string(self.count), go_string(self.sum))?;
        for b in self.negative().iter().rev().filter(|b| b.count != 0.0) {
            write!(f, ", {b}")?;
        }
        if self.zero_count != 0.0 {
            write!(f, ", {}", self.zero_bucket())?;
        }
        for b in self.positive().iter().filter(|b| b.count != 0.0) {
            write!(f, ", {b}")?;
        }
        f.write_str("}")
    }
}
