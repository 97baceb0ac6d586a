//! Numeric helpers: compensated sums, regression, Go's rules for minimum, maximum and printing.

/// Adds `inc` to a Kahan–Neumaier sum.
#[inline(always)]
pub(crate) fn kahan_inc(inc: f64, sum: f64, c: f64) -> (f64, f64) {
    let t = sum + inc;
    // What the sum lost, exactly, without asking which of the two is the larger one.
    let part = t - sum;
    let lost = (sum - (t - part)) + (inc - part);
    (t, if t.is_infinite() { 0.0 } else { c + lost })
}

/// Kahan–Neumaier sum with its compensation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kahan {
    pub(crate) sum: f64,
    pub(crate) c: f64,
}

impl Kahan {
    #[inline(always)]
    pub(crate) fn add(&mut self, v: f64) {
        (self.sum, self.c) = kahan_inc(v, self.sum, self.c);
    }

    pub(crate) fn total(self) -> f64 {
        self.sum + self.c
    }
}

/// Running mean: a compensated sum as long as it stays finite, an incremental mean afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    sum: f64,
    c: f64,
    mean: f64,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn first(v: f64) -> Self {
        Mean { sum: v, c: 0.0, mean: v, count: 1.0, incremental: false }
    }

    #[inline]
    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if !self.incremental {
            let (sum, c) = kahan_inc(v, self.sum, self.c);
            if !sum.is_infinite() {
                (self.sum, self.c) = (sum, c);
                return;
            }
            self.incremental = true;
            self.mean = self.sum / (self.count - 1.0);
            self.c /= self.count - 1.0;
        }
        let q = (self.count - 1.0) / self.count;
        (self.mean, self.c) = kahan_inc(v / self.count, q * self.mean, q * self.c);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental { self.mean + self.c } else { self.sum / self.count + self.c / self.count }
    }
}

/// Go's `math.Max`: NaN unless an argument is +Inf.
pub(crate) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        // Of two zeros the positive one.
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// Go's `math.Min`: NaN unless an argument is -Inf.
pub(crate) fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        // Of two zeros the negative one.
        if a.is_sign_negative() { a } else { b }
    } else {
        a.min(b)
    }
}

/// Least squares over samples: slope per second, and value at `intercept_time` (ms).
pub(crate) fn linear_regression(times: &[i64], values: &[f64], intercept_time: i64) -> (f64, f64) {
    let first = values[0];
    // Looked at first: many series rest, and then there is nothing to sum up.
    if values[1..].iter().all(|y| *y == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum) = (Kahan::default(), Kahan::default());
    let (mut xy_sum, mut xx_sum) = (Kahan::default(), Kahan::default());
    for (&t, &y) in times.iter().zip(values) {
        let x = t.saturating_sub(intercept_time) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = values.len() as f64;
    let (x, y, xy, xx) = (x_sum.total(), y_sum.total(), xy_sum.total(), xx_sum.total());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Whether two floats differ by less than their sum times `epsilon`; NaN equals NaN, the stale marker only
/// itself.
pub fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if model::is_stale_nan(a) || model::is_stale_nan(b) {
        return model::is_stale_nan(a) && model::is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < epsilon * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < epsilon
}

/// Go's `%g`, and `%.<precision>g`: exponent below -4 and from 6 (or the precision) on.
pub(crate) fn go_g(v: f64, precision: Option<usize>) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if v == 0.0 {
        return if v.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = match precision {
        Some(p) => format!("{:.*e}", p.max(1) - 1, v),
        None => format!("{v:e}"),
    };
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = match precision {
        Some(_) if digits.contains('.') => digits.trim_end_matches('0').trim_end_matches('.'),
        _ => digits,
    };
    // For the shortest form Go decides as if the precision were 6.
    let limit = precision.map_or(6, |p| p.max(1) as i32);
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    match precision {
        None => format!("{v}"),
        Some(_) => {
            let rounded: f64 = scientific.parse().unwrap_or(v);
            format!("{rounded}")
        }
    }
}

/// Parses a float as Go's `strconv.ParseFloat` does, for label values.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    if text.is_empty() || text.trim() != text {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kahan_keeps_small_terms() {
        let mut k = Kahan::default();
        for v in [1.0, 1e100, 1.0, -1e100] {
            k.add(v);
        }
        assert_eq!(k.total(), 2.0);
    }

    #[test]
    fn mean_survives_overflow() {
        let mut m = Mean::first(f64::MAX);
        m.add(f64::MAX);
        m.add(f64::MAX);
        assert!((m.value() - f64::MAX).abs() / f64::MAX < 1e-12);
    }

    #[test]
    fn go_prints() {
        for (v, p, want) in [
            (0.1, None, "0.1"),
            (-1.5, None, "-1.5"),
            (1e21, None, "1e+21"),
            (1234.5, Some(2), "1.2e+03"),
            (2.0, Some(2), "2"),
            (0.00001, None, "1e-05"),
        ] {
            assert_eq!(go_g(v, p), want);
        }
    }
}
