//! Samples, the stale marker and closed time ranges.

/// Bits of the NaN that marks a series as gone (upstream `model/value`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Bits of the NaN that every other NaN is normalised to when samples are scraped.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The stale marker as a float. Compare with [`is_stale_nan`], never with `==`.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether the value is exactly the stale marker.
#[inline]
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A float sample: milliseconds since the Unix epoch and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub t: i64,
    pub v: f64,
}

/// A range of milliseconds; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    pub min: i64,
    pub max: i64,
}

impl TimeRange {
    /// All times.
    pub const ALL: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };

    pub const fn new(min: i64, max: i64) -> Self {
        TimeRange { min, max }
    }

    pub const fn contains(self, t: i64) -> bool {
        self.min <= t && t <= self.max
    }

    pub const fn overlaps(self, other: TimeRange) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}
