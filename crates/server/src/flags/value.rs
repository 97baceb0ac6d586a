//! Texts of flag values: how each kind is read, refused (in kingpin's words) and shown again.

use super::table::{Kind, WRITE_MESSAGES};
use model::duration::{format_duration, parse_duration};
use model::labels::quote;

/// Checks a value and gives it as `/api/v1/status/flags` shows it.
pub(super) fn normalise(kind: Kind, text: &str) -> Result<String, String> {
    Ok(match kind {
        Kind::Bool | Kind::Text | Kind::List => text.to_owned(),
        Kind::Duration => format_duration(duration_ms(text)?),
        Kind::GoDuration => {
            go_duration_ns(text)?;
            text.to_owned()
        }
        Kind::Int => int(text)?.to_string(),
        Kind::Float => model::float::go_string(float(text)?),
        Kind::Size => format_size(size_bytes(text)?),
        Kind::Choice(choices) if choices.contains(&"debug") => {
            let lower = text.to_ascii_lowercase();
            if !choices.contains(&lower.as_str()) {
                return Err(format!("unrecognized log level {text}"));
            }
            lower
        }
        Kind::Choice(choices) if choices.contains(&"logfmt") => {
            if !choices.contains(&text) {
                return Err(format!("unrecognized log format {text}"));
            }
            text.to_owned()
        }
        Kind::Choice(choices) => {
            if !choices.contains(&text) {
                return Err(format!("enum value must be one of {}, got '{text}'", choices.join(",")));
            }
            text.to_owned()
        }
        Kind::Messages => {
            for name in text.split(',') {
                if !WRITE_MESSAGES.contains(&name) {
                    return Err(format!(
                        "unknown type for remote write protobuf message {name}, supported: {}",
                        WRITE_MESSAGES.join(", ")
                    ));
                }
            }
            text.to_owned()
        }
    })
}

/// What an unset flag of this kind shows.
pub(super) fn unset(kind: Kind) -> &'static str {
    match kind {
        Kind::Duration => "0s",
        Kind::Size => "0B",
        _ => "",
    }
}

/// Prometheus notation with the errors that its parser gives on the command line.
pub(super) fn duration_ms(text: &str) -> Result<i64, String> {
    parse_duration(text).map_err(|e| {
        // The flag parser knows units one by one and says which it does not know.
        let unit: String =
            text.chars().skip_while(char::is_ascii_digit).take_while(|c| !c.is_ascii_digit()).collect();
        let counted = text.starts_with(|c: char| c.is_ascii_digit());
        if counted && !unit.is_empty() && !["y", "w", "d", "h", "m", "s", "ms"].contains(&unit.as_str()) {
            format!("unknown unit {} in duration {}", quote(&unit), quote(text))
        } else {
            e
        }
    })
}

/// Go's duration notation in nanoseconds.
pub(crate) fn go_duration_ns(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    if text == "0" {
        return Ok(0);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let unit = rest.get(..letters).ok_or_else(invalid)?;
        rest = &rest[letters..];
        total += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "" => return Err(format!("time: missing unit in duration {}", quote(text))),
                _ => {
                    return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
                }
            };
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(if negative { -(total as i64) } else { total as i64 })
}

/// A whole number; upstream reads it as a float first, so `5e7` is one.
pub(super) fn int(text: &str) -> Result<i64, String> {
    let value = float(text)?;
    Ok(value as i64)
}

pub(super) fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text)))
}

const UNITS: [(&str, u32); 13] = [
    ("B", 0),
    ("KB", 10),
    ("KiB", 10),
    ("MB", 20),
    ("MiB", 20),
    ("GB", 30),
    ("GiB", 30),
    ("TB", 40),
    ("TiB", 40),
    ("PB", 50),
    ("PiB", 50),
    ("EB", 60),
    ("EiB", 60),
];

/// Bytes in powers of two; a unit is required.
pub(super) fn size_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("units: invalid {text}");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0f64;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let unit = rest.get(..letters).ok_or_else(invalid)?;
        rest = &rest[letters..];
        let Some((_, shift)) = UNITS.iter().find(|(u, _)| *u == unit) else {
            return Err(format!("units: unknown unit {unit} in {text}"));
        };
        total += number * (1u64 << shift) as f64;
    }
    if total >= i64::MAX as f64 { Err(invalid()) } else { Ok(total as i64) }
}

/// `512MiB`, `1GiB512MiB`: as upstream's unit library prints base-2 sizes.
pub(super) fn format_size(bytes: i64) -> String {
    if bytes == 0 {
        return "0B".into();
    }
    let mut out = String::new();
    let mut rest = bytes;
    for (unit, shift) in
        [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)]
    {
        let n = rest >> shift;
        if n > 0 {
            out.push_str(&format!("{n}{unit}"));
            rest -= n << shift;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_refusals() {
        for (kind, text, want) in [
            (Kind::Duration, "90m", Ok("1h30m")),
            (Kind::Duration, "5x", Err("unknown unit \"x\" in duration \"5x\"")),
            (Kind::Duration, "x5", Err("not a valid duration string: \"x5\"")),
            (Kind::GoDuration, "3x", Err("time: unknown unit \"x\" in duration \"3x\"")),
            (Kind::GoDuration, "1.5s", Ok("1.5s")),
            (Kind::Int, "5e7", Ok("50000000")),
            (Kind::Int, "x", Err("strconv.ParseFloat: parsing \"x\": invalid syntax")),
            (Kind::Size, "5", Err("units: unknown unit  in 5")),
            (Kind::Size, "512MB", Ok("512MiB")),
            (
                Kind::Choice(&["snappy", "zstd"]),
                "foo",
                Err("enum value must be one of snappy,zstd, got 'foo'"),
            ),
            (
                Kind::Messages,
                "foo",
                Err("unknown type for remote write protobuf message foo, supported: \
                     prometheus.WriteRequest, io.prometheus.write.v2.Request"),
            ),
        ] {
            assert_eq!(normalise(kind, text), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
