//! Byte sizes as configuration writes them: `512MB`, `10GB`, `0`. Units are powers of 1024.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A byte size as a configuration field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        parse_size(&String::deserialize(d)?).map(ByteSize).map_err(de::Error::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format_size(self.0))
    }
}

/// Parses `<number><unit>` with unit `B KB MB GB TB PB EB` or their `KiB` spellings; a bare `0` is allowed.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let power = match unit {
        "B" => 0,
        "KB" | "KiB" | "K" => 1,
        "MB" | "MiB" | "M" => 2,
        "GB" | "GiB" | "G" => 3,
        "TB" | "TiB" | "T" => 4,
        "PB" | "PiB" | "P" => 5,
        "EB" | "EiB" | "E" => 6,
        _ => return Err(format!("units: unknown unit {unit} in {text}")),
    };
    let value: f64 = number.parse().map_err(|_| format!("units: invalid {text}"))?;
    Ok((value * 1024f64.powi(power)) as u64)
}

/// Formats as the largest unit that divides the size without rest, as upstream shows limits.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value != 0 && value % 1024 == 0 && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("10GB"), Ok(10 << 30));
        assert_eq!(parse_size("1.5KB"), Ok(1536));
        assert_eq!(parse_size("0"), Ok(0));
        assert!(parse_size("10").is_err() && parse_size("ten MB").is_err());
        assert_eq!(format_size(10 << 20), "10MiB");
    }
}
