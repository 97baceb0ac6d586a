//! Texts as Go's standard library prints them: aligned columns, durations, sizes, times.

use jiff::Timestamp;
use std::fmt::Write;

/// Rows in columns of at least `min` bytes and two blanks between them, as `text/tabwriter` aligns them. The
/// last column is not padded.
pub(crate) fn table(rows: &[Vec<String>], min: usize, gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| {
        let longest = rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
        (longest + gap).max(min)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            match i + 1 == row.len() {
                true => out.push_str(cell),
                // Writing to a string cannot fail.
                false => drop(write!(out, "{cell:<w$}", w = widths[i])),
            }
        }
        out.push('\n');
    }
    out
}

/// Milliseconds as Go's `time.Duration` prints itself: `2h0m0s`, `1m30.5s`, `15ms`.
pub(crate) fn go_duration(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    if ms == 0 {
        return "0s".into();
    }
    if ms < 1000 {
        return format!("{sign}{ms}ms");
    }
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let mut out = sign.to_owned();
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(out, "{minutes}m");
    }
    let _ = write!(out, "{}s", rest as f64 / 1000.0);
    out
}

/// `2024-01-01 00:00:00 +0000 UTC`: the time in whole seconds.
pub(crate) fn go_time(ms: i64) -> String {
    match Timestamp::from_second(ms / 1000) {
        Ok(t) => t.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// `1MiB512KiB3B`, as upstream's `units.Base2Bytes` prints itself.
pub(crate) fn base2_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B"];
    let mut out = String::new();
    for (i, unit) in UNITS.iter().enumerate() {
        let n = bytes >> (10 * (6 - i)) & if i == 0 { u64::MAX } else { 1023 };
        if n > 0 {
            let _ = write!(out, "{n}{unit}");
        }
    }
    if out.is_empty() { "0B".into() } else { out }
}

/// RFC 3339 or seconds since the Unix epoch, as promtool reads times; in nanoseconds.
pub(crate) fn parse_time(text: &str) -> Result<i128, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        let (whole, part) = (seconds.trunc(), seconds.fract());
        return Ok(whole as i128 * 1_000_000_000 + (part * 1e9) as i128);
    }
    let parsed: Result<Timestamp, _> = text.parse();
    parsed
        .map(Timestamp::as_nanosecond)
        .map_err(|_| format!("cannot parse {} to a valid timestamp", model::labels::quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints() {
        for (ms, want) in [
            (7_200_000, "2h0m0s"),
            (90_500, "1m30.5s"),
            (15, "15ms"),
            (0, "0s"),
            (1, "1ms"),
            (3_599_999, "59m59.999s"),
            (1000, "1s"),
        ] {
            assert_eq!(go_duration(ms), want);
        }
        for (bytes, want) in [(0, "0B"), (1023, "1023B"), (1536, "1KiB512B"), (1 << 20, "1MiB")] {
            assert_eq!(base2_bytes(bytes), want);
        }
        assert_eq!(go_time(1_700_000_000_999), "2023-11-14 22:13:20 +0000 UTC");
    }

    #[test]
    fn times_in_both_forms() {
        assert_eq!(parse_time("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_time("1970-01-01T00:00:02Z"), Ok(2_000_000_000));
        assert_eq!(parse_time("x"), Err("cannot parse \"x\" to a valid timestamp".into()));
    }
}
