//! Durations as configuration and PromQL write them: `1h30m`, `250ms`, `1y2w3d`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in milliseconds as a configuration field: read from and written as `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationMs(pub i64);

impl DurationMs {
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.max(0).unsigned_abs())
    }
}

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        parse_duration(&String::deserialize(d)?).map(DurationMs).map_err(de::Error::custom)
    }
}

impl Serialize for DurationMs {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format_duration(self.0))
    }
}

/// Parses a Prometheus duration into milliseconds. Units must come in the order `y w d h m s ms`, each at
/// most once; a bare `0` is allowed (upstream `model.ParseDuration`).
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    let bad = || format!("not a valid duration string: {}", crate::labels::quote(text));
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut next_unit, mut total) = (text, 0usize, 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let unit = &rest[..letters];
        if unit.is_empty() {
            return Err(bad());
        }
        let Some(at) = UNITS.iter().position(|(u, _)| *u == unit) else {
            let quote = crate::labels::quote;
            return Err(format!("unknown unit {} in duration {}", quote(unit), quote(text)));
        };
        if at < next_unit {
            return Err(bad());
        }
        let scale = UNITS[at].1;
        next_unit = at + 1;
        rest = &rest[letters..];
        total = number
            .checked_mul(scale)
            .and_then(|ms| total.checked_add(ms))
            // Upstream counts nanoseconds in 64 bits.
            .filter(|ms| *ms <= i64::MAX.unsigned_abs() / 1_000_000)
            .ok_or_else(|| "duration out of range".to_owned())?;
    }
    Ok(total as i64)
}

/// Formats milliseconds as upstream's `model.Duration.String`: `1h30m`, `0s`, `1w`, `10d`. Years and weeks
/// only when nothing else is left over.
pub fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
    }
    let mut rest = ms.unsigned_abs();
    for (unit, scale, exact) in [
        ("y", 365 * 86_400_000u64, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ] {
        if exact && !rest.is_multiple_of(scale) {
            continue;
        }
        if rest >= scale {
            out.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_print() {
        for (text, ms) in
            [("0", 0), ("5m", 300_000), ("1h30m", 5_400_000), ("1y2w3d", 33_004_800_000), ("250ms", 250)]
        {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for text in ["", "1", "1m1h", "1mm", "m", "-1s", "1.5h", "99999999999999999999y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (ms, text) in
            [(0, "0s"), (5_400_000, "1h30m"), (604_800_000, "1w"), (777_600_000, "9d"), (1001, "1s1ms")]
        {
            assert_eq!(format_duration(ms), text);
        }
    }
}
