//! Floats as Go prints them, so that replies and expositions are byte-equal with upstream.

/// Go's `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits, never an exponent; `+Inf`, `-Inf`, `NaN`.
/// This is how the HTTP API writes sample values.
pub fn format_plain(v: f64, out: &mut String) {
    if v.is_nan() {
        out.push_str("NaN");
    } else if v.is_infinite() {
        out.push_str(if v > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // The digits are Go's, also of numbers that lie in the middle of two shortest ones: the even one.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(v);
        match text.split_once('e') {
            None => out.push_str(text.strip_suffix(".0").unwrap_or(text)),
            Some((mantissa, exponent)) => push_shifted(mantissa, exponent.parse().unwrap_or(0), out),
        }
    }
}

/// [`format_plain`] into bytes, without the calls that a text of a few bytes does not need.
pub fn push_plain(v: f64, out: &mut Vec<u8>) {
    // Within these bounds there is never an exponent.
    if (1e-4..1e15).contains(&v.abs()) {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(v).as_bytes();
        return push_short(text.strip_suffix(b".0").unwrap_or(text), out);
    }
    let mut text = String::new();
    format_plain(v, &mut text);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a text that is short as a rule: copies of a fixed size need no call.
#[inline]
pub fn push_short(text: &[u8], out: &mut Vec<u8>) {
    fn ends<const N: usize>(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (first, last) = (text.first_chunk::<N>()?, text.last_chunk::<N>()?);
        let at = out.len();
        // Straight into its place: a block in between would be read before it is written.
        out.extend_from_slice(&[0; 32]);
        *out.get_mut(at..)?.first_chunk_mut::<N>()? = *first;
        *out.get_mut(at + text.len() - N..)?.first_chunk_mut::<N>()? = *last;
        out.truncate(at + text.len());
        Some(())
    }
    let done = match text.len() {
        16..=32 => ends::<16>(text, out),
        8..=15 => ends::<8>(text, out),
        4..=7 => ends::<4>(text, out),
        2..=3 => ends::<2>(text, out),
        _ => None,
    };
    if done.is_none() {
        out.extend_from_slice(text);
    }
}

/// `mantissa` (one digit before the point) times ten to the power of `exponent`.
fn push_shifted(mantissa: &str, exponent: i32, out: &mut String) {
    let digits = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if digits.len() < mantissa.len() {
        out.push('-');
    }
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let zeros = |out: &mut String, n: usize| out.extend(std::iter::repeat_n('0', n));
    if exponent < 0 {
        out.push_str("0.");
        zeros(out, exponent.unsigned_abs() as usize - 1);
        out.push_str(whole);
        out.push_str(part);
        return;
    }
    let shift = exponent as usize;
    out.push_str(whole);
    match part.split_at_checked(shift) {
        Some((before, "")) => out.push_str(before),
        Some((before, behind)) => {
            out.push_str(before);
            out.push('.');
            out.push_str(behind);
        }
        None => {
            out.push_str(part);
            zeros(out, shift - part.len());
        }
    }
}

/// Go's `strconv.FormatFloat(v, 'g', -1, 64)`: shortest digits, exponent when it is below -4 or at least 6.
/// This is how expositions and PromQL print numbers.
pub fn format_go(v: f64, out: &mut String) {
    use std::fmt::Write;
    if !v.is_finite() || v == 0.0 || (1e-4..1e6).contains(&v.abs()) {
        return format_plain(v, out);
    }
    let mut plain = String::with_capacity(24);
    format_plain(v.abs(), &mut plain);
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let (digits, exponent) = if whole == "0" {
        let digits = part.trim_start_matches('0');
        (digits.to_owned(), -((part.len() - digits.len() + 1) as i32))
    } else {
        (format!("{whole}{part}").trim_end_matches('0').to_owned(), whole.len() as i32 - 1)
    };
    if v < 0.0 {
        out.push('-');
    }
    let (first, rest) = digits.split_at(1.min(digits.len()));
    out.push_str(first);
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "e{sign}{:02}", exponent.abs());
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

    /// All magnitudes, and ties between two shortest texts: the numbers are sums over what Go prints.
    #[test]
    fn digits_are_gos() {
        let (mut seed, mut plain, mut go) = (7u64, 0xcbf2_9ce4_8422_2325_u64, 0xcbf2_9ce4_8422_2325_u64);
        for _ in 0..30_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = seed ^ seed >> 29;
            let floats = [
                f64::from_bits(bits),
                bits as f64 / 1e6,
                (bits >> 40) as f64 / 1e3,
                (bits >> 20) as f64 / 64.0,
            ];
            for v in floats.into_iter().filter(|v| v.is_finite()) {
                let add = |sum: u64, text: String| {
                    text.bytes().fold(sum, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
                };
                plain = add(plain, plain_string(v));
                let mut bytes = Vec::new();
                push_plain(v, &mut bytes);
                assert_eq!(bytes, plain_string(v).as_bytes());
                go = add(go, go_string(v));
            }
        }
        assert_eq!((plain, go), (2997083664102012449, 8422530478024532816));
    }

    #[test]
    fn short_texts() {
        let text: Vec<u8> = (1..=40).collect();
        for len in 0..=text.len() {
            let mut out = b"x".to_vec();
            push_short(&text[..len], &mut out);
            assert_eq!(out, [b"x", &text[..len]].concat());
        }
        for v in [1e-4, 0.00010000000000000002, 999999999999999.9, -1e-4, 123456.5, 1e14 + 0.5, 5e-324] {
            let mut out = Vec::new();
            push_plain(v, &mut out);
            assert_eq!(out, plain_string(v).as_bytes());
        }
    }
}
