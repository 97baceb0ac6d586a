//! Floats as Go prints them, so that replies and expositions are byte-equal with upstream.

/// Go's `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits, never an exponent; `+Inf`, `-Inf`, `NaN`.
/// This is how the HTTP API writes sample values.
pub fn format_plain(v: f64, out: &mut String) {
    use std::fmt::Write;
    if v.is_nan() {
        out.push_str("NaN");
    } else if v.is_infinite() {
        out.push_str(if v > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // Rust's `Display` prints the shortest digits that round-trip, without exponent, as Go's 'f' does.
        let _ = write!(out, "{v}");
    }
}

/// Go's `strconv.FormatFloat(v, 'g', -1, 64)`: shortest digits, exponent when it is below -4 or at least 6.
/// This is how expositions and PromQL print numbers.
pub fn format_go(v: f64, out: &mut String) {
    use std::fmt::Write;
    if !v.is_finite() || v == 0.0 {
        return format_plain(v, out);
    }
    let mut scientific = String::with_capacity(24);
    let _ = write!(scientific, "{v:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return out.push_str(&scientific);
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        format_plain(v, out);
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{digits}e{sign}{:02}", exponent.abs());
    }
}

/// [`format_go`] as a fresh string.
pub fn go_string(v: f64) -> String {
    let mut out = String::new();
    format_go(v, &mut out);
    out
}

/// [`format_plain`] as a fresh string.
pub fn plain_string(v: f64) -> String {
    let mut out = String::new();
    format_plain(v, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints() {
        for (v, g) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (1048576.0, "1.048576e+06"),
            (123456.0, "123456"),
            (1e21, "1e+21"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
        ] {
            assert_eq!(go_string(v), g);
        }
        assert_eq!(plain_string(1e21), "1000000000000000000000");
        assert_eq!(plain_string(1.5e-7), "0.00000015");
    }
}
