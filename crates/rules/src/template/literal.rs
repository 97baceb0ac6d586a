//! Constants in templates: numbers and quoted texts in Go's spelling.

/// A constant: what it is where any type will do, and as a float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) int: Option<i64>,
    pub(super) float: f64,
    /// Written as a float: `1.0`, `1e3`.
    pub(super) fraction: bool,
}

/// Reads a number as Go writes it: decimal, hexadecimal, octal, binary, with `_`.
pub(super) fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase().replace('_', "");
    let radix = match lower.get(..2) {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let octal = radix == 10 && lower.len() > 1 && lower.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let whole = match radix {
        10 if octal && lower.starts_with('0') => u64::from_str_radix(&lower[1..], 8).ok(),
        10 if lower.bytes().all(|b| b.is_ascii_digit()) => lower.parse::<u64>().ok(),
        10 => None,
        radix => u64::from_str_radix(lower.get(2..)?, radix).ok(),
    };
    let sign = |v: f64| if negative { -v } else { v };
    if let Some(n) = whole {
        let int = if negative { 0i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() };
        return Some(Number { int, float: sign(n as f64), fraction: false });
    }
    let plain = radix == 10 && lower.bytes().all(|b| b.is_ascii_digit() || b".e+-".contains(&b));
    let float = lower.parse::<f64>().ok().filter(|v| plain && v.is_finite())?;
    let fraction = lower.contains(['.', 'e']);
    let int = (float.fract() == 0.0 && float.abs() < 9e18).then(|| sign(float) as i64);
    Some(Number { int, float: sign(float), fraction })
}

/// Go's `strconv.Unquote`.
pub(super) fn unquote(text: &str) -> Option<String> {
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if text.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let mut push = |c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if c != '\\' {
            push(c);
            continue;
        }
        let escape = chars.next()?;
        let mut code = |n: usize, radix: u32| {
            let digits: String = chars.by_ref().take(n).collect();
            (digits.len() == n).then(|| u32::from_str_radix(&digits, radix).ok())?
        };
        match escape {
            'a' => push('\x07'),
            'b' => push('\x08'),
            'f' => push('\x0c'),
            'n' => push('\n'),
            'r' => push('\r'),
            't' => push('\t'),
            'v' => push('\x0b'),
            '\\' => push('\\'),
            '"' if text.starts_with('"') => push('"'),
            '\'' if text.starts_with('\'') => push('\''),
            'x' => bytes.push(u8::try_from(code(2, 16)?).ok()?),
            'u' => push(char::from_u32(code(4, 16)?)?),
            'U' => push(char::from_u32(code(8, 16)?)?),
            d @ '0'..='7' => {
                let rest = code(2, 8)?;
                bytes.push(u8::try_from(d.to_digit(8)? * 64 + rest).ok()?);
            }
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
