//! Parameters of a request: the query string and a form body, read as Go's `FormValue` reads them.
//!
//! Room: `api`. Pure. Texts of errors are upstream's.

use crate::multipart;
use model::duration::parse_duration as parse_prometheus_duration;
use model::labels::quote;

/// Largest form body that is read; Go's limit.
pub const MAX_FORM_BYTES: usize = 10 << 20;

/// Start of the default time range, milliseconds (upstream `MinTime`).
pub const MIN_TIME_MS: i64 = -9_223_309_901_257_974_000;
/// End of the default time range, milliseconds (upstream `MaxTime`).
pub const MAX_TIME_MS: i64 = 9_223_309_901_257_974_999;

/// Decoded key–value pairs; those of the body come before those of the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
    /// Which pairs stand in the URL.
    from_url: std::ops::Range<usize>,
    /// What Go's `ParseForm` says about the first pair that is left out.
    fault: Option<String>,
}

impl Form {
    /// Pairs that are not validly encoded are left out, as Go does.
    pub fn parse(body: &[u8], url_query: &str) -> Form {
        let (mut pairs, mut fault) = (Vec::new(), None);
        // Bytes that are not UTF-8 spoil the pair that they stand in, and no other.
        decode_pairs(&String::from_utf8_lossy(body), &mut pairs, &mut fault);
        let from_body = pairs.len();
        decode_pairs(url_query, &mut pairs, &mut fault);
        Form { from_url: from_body..pairs.len(), pairs, fault }
    }

    /// Adds the fields of a `multipart/form-data` body: they come behind those of the URL. None when it is not well
    /// formed, as Go does.
    pub(crate) fn add_multipart(&mut self, body: &[u8], boundary: &str) {
        self.pairs.extend(multipart::fields(body, boundary).unwrap_or_default());
    }

    /// Why a pair was left out; most endpoints do not care.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// First value of a key, empty when absent.
    pub fn get(&self, key: &str) -> &str {
        self.pairs.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    /// First value of a key in the URL alone.
    pub fn url(&self, key: &str) -> &str {
        self.pairs[self.from_url.clone()].iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

fn decode_pairs(text: &str, out: &mut Vec<(String, String)>, fault: &mut Option<String>) {
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        if pair.contains(';') {
            fault.get_or_insert_with(|| "invalid semicolon separator in query".to_owned());
            continue;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decode(key), decode(value)) {
            (Some(key), Some(value)) => out.push((key, value)),
            (None, _) => drop(fault.get_or_insert_with(|| bad_escape(key))),
            (_, None) => drop(fault.get_or_insert_with(|| bad_escape(value))),
        }
    }
}

/// Names the first broken escape of a text.
fn bad_escape(text: &str) -> String {
    let at = text.match_indices('%').map(|(at, _)| at).find(|at| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    });
    let shown: String = text[at.unwrap_or(0)..].chars().take(3).collect();
    format!("invalid URL escape {}", quote(&shown))
}

/// Decodes `%XX` and `+`. `None` for a broken escape; bytes that are not UTF-8 are replaced.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push((high * 16 + low) as u8);
            }
            _ => out.push(b),
        }
    }
    Some(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// A time: seconds with decimals since the epoch, or RFC 3339. Gives milliseconds.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let whole = seconds.trunc();
        let millis = ((seconds - whole) * 1000.0).round();
        let total = whole * 1000.0 + millis;
        if total.is_finite() && total.abs() < 9.2e18 {
            // Whole seconds are added as integers so that large times keep their milliseconds.
            return Ok(whole as i64 * 1000 + millis as i64);
        }
        return Err(format!("cannot parse {} to a valid timestamp", quote(text)));
    }
    match text {
        "-292273086-05-16T16:47:06Z" => Ok(MIN_TIME_MS),
        "292277025-08-18T07:12:54.999999999Z" => Ok(MAX_TIME_MS),
        _ => parse_rfc3339(text).ok_or_else(|| format!("cannot parse {} to a valid timestamp", quote(text))),
    }
}

/// An optional time parameter.
pub fn time_param(form: &Form, name: &str, default: i64) -> Result<i64, String> {
    match form.get(name) {
        "" => Ok(default),
        text => parse_time(text).map_err(|e| format!("invalid time value for '{name}': {e}")),
    }
}

/// A duration: seconds with decimals, or Prometheus notation. Gives nanoseconds.
pub fn parse_duration_ns(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let ns = seconds * 1e9;
        if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quote(text)));
        }
        return Ok(ns as i64);
    }
    match parse_prometheus_duration(text) {
        Ok(ms) => Ok(ms.saturating_mul(1_000_000)),
        Err(_) => Err(format!("cannot parse {} to a valid duration", quote(text))),
    }
}

/// `limit`: 0 means none.
pub fn parse_limit(text: &str) -> Result<usize, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let n = parse_int(text)?;
    usize::try_from(n).map_err(|_| "limit must be non-negative".to_owned())
}

/// Go's `strconv.Atoi` with its error text.
pub fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|e: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {}: {why}", quote(text))
    })
}

/// Go's `strconv.ParseBool` with its error text.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

fn parse_float(text: &str) -> Option<f64> {
    // Rust also takes a trailing dot and so on, as Go does; neither takes blanks. Go refuses what is out of range.
    let value: f64 = text.parse().ok()?;
    (value.is_finite() || !text.contains(|c: char| c.is_ascii_digit())).then_some(value)
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    fn digits(text: &str, at: std::ops::Range<usize>) -> Option<i64> {
        let part = text.get(at)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    }
    let bytes = text.as_bytes();
    let fixed = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if fixed.iter().any(|(at, b)| bytes.get(*at) != Some(b)) {
        return None;
    }
    let (year, month, day) = (digits(text, 0..4)?, digits(text, 5..7)?, digits(text, 8..10)?);
    let (hour, minute, second) = (digits(text, 11..13)?, digits(text, 14..16)?, digits(text, 17..19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return None;
        }
        let padded: String = fraction[..len].chars().chain("000".chars()).take(3).collect();
        millis = padded.parse().ok()?;
        rest = &fraction[len..];
    }
    let offset_minutes = match rest.as_bytes() {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (digits(rest, 1..3)?, digits(rest, 4..6)?);
            if hours > 24 || minutes > 60 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_minutes * 60) * 1000 + millis)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Reads the `U__` escaping of names that are not legacy names: `_` doubled, other characters as
/// `_<hex>_`. A text that is not validly escaped comes back as it is.
pub fn unescape_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let Some((hex, after)) = rest.split_once('_') else { return name.to_owned() };
        let lower = hex.len() <= 6 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match u32::from_str_radix(hex, 16).ok().filter(|_| lower).and_then(char::from_u32) {
            Some(c) => out.push(c),
            None => return name.to_owned(),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let form = Form::parse(b"query=a%2Bb+c&match[]=x", "query=late&match%5B%5D=y&bad=%zz&semi;=1&flag");
        assert_eq!(form.get("query"), "a+b c");
        assert_eq!(form.url("query"), "late");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(form.get("bad"), "");
        assert_eq!(form.get("flag"), "");
        assert_eq!(form.fault(), Some("invalid URL escape \"%zz\""));
        assert_eq!(Form::parse(b"a;b=%2&c=1", "c=%zz").fault(), Some("invalid semicolon separator in query"));
        assert_eq!(Form::parse(b"\xff=\xfe&query=1", "query=2").get("query"), "1");
        assert_eq!(Form::parse(b"a=1%2", "").fault(), Some("invalid URL escape \"%2\""));
        let mut form = Form::parse(b"", "query=1&x=y");
        form.add_multipart(b"--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n2\r\n--b--", "b");
        assert_eq!(form.all("query").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.url("query"), "1");
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781),
            ("-1.5", -1500),
            ("1e3", 1_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.7819+02:00", 1_435_781_451_781),
            ("1969-12-31T23:59:59Z", -1000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("-292273086-05-16T16:47:06Z", MIN_TIME_MS),
        ] {
            assert_eq!(parse_time(text), Ok(want), "{text}");
        }
        for text in ["", "x", "2023-02-29T00:00:00Z", "2023-01-01", "2023-01-01T24:00:00Z", "nan", "1e300"] {
            let want = format!("cannot parse {} to a valid timestamp", quote(text));
            assert_eq!(parse_time(text), Err(want));
        }
    }

    #[test]
    fn durations_and_limits() {
        assert_eq!(parse_duration_ns("1e400"), Err("cannot parse \"1e400\" to a valid duration".into()));
        assert_eq!(parse_duration_ns("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_duration_ns("1m"), Ok(60_000_000_000));
        assert_eq!(parse_duration_ns("foo"), Err("cannot parse \"foo\" to a valid duration".into()));
        assert_eq!(
            parse_duration_ns("1e30"),
            Err("cannot parse \"1e30\" to a valid duration. It overflows int64".into())
        );
        assert_eq!(parse_limit(""), Ok(0));
        assert_eq!(parse_limit("-1"), Err("limit must be non-negative".into()));
        assert_eq!(parse_limit("x"), Err("strconv.Atoi: parsing \"x\": invalid syntax".into()));
        assert_eq!(
            parse_limit("99999999999999999999"),
            Err("strconv.Atoi: parsing \"99999999999999999999\": value out of range".into())
        );
    }

    #[test]
    fn names_unescape() {
        for (escaped, want) in [
            ("U__foo_2e_bar", "foo.bar"),
            ("U__a__b", "a_b"),
            ("U___1f600_", "😀"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__open_2e", "U__open_2e"),
            ("plain", "plain"),
        ] {
            assert_eq!(unescape_name(escaped), want);
        }
    }
}
