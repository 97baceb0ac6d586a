//! Numbers of expositions, read and written as Go's `strconv` does.

use model::float::format_go;
use model::sample::NORMAL_NAN_BITS;

/// Reads a sample value. All NaNs become the normal one. The error is Go's text.
pub fn parse_value(bytes: &[u8]) -> Result<f64, String> {
    match short_decimal(bytes) {
        Some(value) => Ok(value),
        None => parse_slow(bytes),
    }
}

/// Powers of ten that are exact.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The usual forms: digits, a point, an exponent. Where mantissa and power of ten are exact, one rounding
/// gives the nearest float (Clinger); everything else is left to the slow way.
#[inline]
fn short_decimal(bytes: &[u8]) -> Option<f64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mut mantissa, mut seen, mut exponent, mut at) = (0u64, 0usize, 0i32, 0usize);
    let mut point = false;
    while let Some(b) = digits.get(at) {
        let digit = b.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
            seen += 1;
            exponent -= i32::from(point);
        } else if *b == b'.' && !point {
            point = true;
        } else {
            break;
        }
        at += 1;
        // More could overflow.
        if seen > 18 {
            return None;
        }
    }
    if seen == 0 || mantissa > 1 << 53 {
        return None;
    }
    match digits.get(at..)? {
        [] => {}
        [b'e' | b'E', sign @ (b'+' | b'-'), tail @ ..] if matches!(tail.len(), 1 | 2) => {
            let mut power = 0i32;
            for b in tail {
                let digit = b.wrapping_sub(b'0');
                if digit > 9 {
                    return None;
                }
                power = power * 10 + i32::from(digit);
            }
            exponent += if *sign == b'-' { -power } else { power };
        }
        _ => return None,
    }
    let power = *POWERS.get(exponent.unsigned_abs() as usize)?;
    let value = if exponent < 0 { mantissa as f64 / power } else { mantissa as f64 * power };
    Some(if negative { -value } else { value })
}

fn parse_slow(bytes: &[u8]) -> Result<f64, String> {
    let bad =
        |why: &str| Err(format!("strconv.ParseFloat: parsing {}: {why}", super::lex::quote_bytes(bytes)));
    let Ok(text) = std::str::from_utf8(bytes) else { return bad("invalid syntax") };
    // Hexadecimal floats and digit separators came to Go later than the format.
    if text.contains(['p', 'P', '_']) {
        return Err("unsupported character in float".into());
    }
    let Ok(value) = text.parse::<f64>() else { return bad("invalid syntax") };
    if value.is_nan() {
        if !matches!(bytes.first(), Some(b'n' | b'N')) {
            return bad("invalid syntax");
        }
        return Ok(f64::from_bits(NORMAL_NAN_BITS));
    }
    if value.is_infinite() && bytes.iter().any(u8::is_ascii_digit) {
        return bad("value out of range");
    }
    Ok(value)
}

/// Milliseconds of an OpenMetrics timestamp in seconds; `what` starts the error for NaN and infinity.
pub fn seconds_to_ms(bytes: &[u8], what: &str) -> Result<i64, String> {
    let seconds = parse_value(bytes)?;
    if !seconds.is_finite() {
        let shown = if seconds.is_nan() { "NaN".to_owned() } else { model::float::plain_string(seconds) };
        return Err(format!("invalid {what} {shown}"));
    }
    Ok((seconds * 1000.0) as i64)
}

/// A float as OpenMetrics wants it in `le` and `quantile`: always with a point or an exponent.
pub fn format_openmetrics(value: f64, out: &mut String) {
    let start = out.len();
    format_go(value, out);
    let written = out.get(start..).unwrap_or("");
    if value.is_finite() && !written.contains(['e', '.']) {
        out.push_str(".0");
    }
}

/// The normal form of a `le` or `quantile` value; `None` when it is no number and stays as it is.
pub fn normalise_bound(text: &str) -> Option<String> {
    let value = parse_value(text.as_bytes()).ok()?;
    let mut out = String::new();
    format_openmetrics(value, &mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: Result<f64, &str>) {
        let got = parse_value(input.as_bytes());
        match want {
            Ok(want) => assert_eq!(got.map(f64::to_bits), Ok(want.to_bits()), "{input}"),
            Err(want) => assert_eq!(got, Err(want.to_owned()), "{input}"),
        }
    }

    #[test]
    fn values_are_read_as_go_reads_them() {
        check("0", Ok(0.0));
        check("-0", Ok(-0.0));
        check("123456789012345", Ok(123_456_789_012_345.0));
        check("1234567890123456789", Ok(1_234_567_890_123_456_789.0));
        check("1.5e-05", Ok(1.5e-5));
        check("+1", Ok(1.0));
        check(".5", Ok(0.5));
        check("+Inf", Ok(f64::INFINITY));
        check("-inf", Ok(f64::NEG_INFINITY));
        check("Infinity", Ok(f64::INFINITY));
        check("NaN", Ok(f64::from_bits(NORMAL_NAN_BITS)));
        check("nan", Ok(f64::from_bits(NORMAL_NAN_BITS)));
        check("-NaN", Err("strconv.ParseFloat: parsing \"-NaN\": invalid syntax"));
        check("1e400", Err("strconv.ParseFloat: parsing \"1e400\": value out of range"));
        check("0x1p-2", Err("unsupported character in float"));
        check("1_000", Err("unsupported character in float"));
        check("", Err("strconv.ParseFloat: parsing \"\": invalid syntax"));
        check("true", Err("strconv.ParseFloat: parsing \"true\": invalid syntax"));
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_is_exact(mantissa in proptest::prelude::any::<u64>(), point in 0usize..12, cut in 0usize..16, power in -30i32..30) {
            let mut text = (mantissa >> (cut * 4)).to_string();
            if point < text.len() {
                text.insert(point, '.');
            }
            for text in [text.clone(), format!("-{text}e{power:+03}")] {
                if let Some(got) = short_decimal(text.as_bytes()) {
                    proptest::prop_assert_eq!(got.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
                }
            }
        }
    }

    #[test]
    fn bounds_are_normalised() {
        for (input, want) in [
            ("1", "1.0"),
            ("0.5", "0.5"),
            ("1e3", "1000.0"),
            ("+Inf", "+Inf"),
            ("0", "0.0"),
            ("100000000", "1e+08"),
        ] {
            assert_eq!(normalise_bound(input).as_deref(), Some(want), "{input}");
        }
        assert_eq!(normalise_bound("many"), None);
    }
}
