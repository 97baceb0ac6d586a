//! Times in templates: how they print, and their methods.

use super::value::Value;
use std::fmt;

/// Milliseconds since the Unix epoch, always in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time(pub i64);

/// A time taken apart.
struct Parts {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    ms: i64,
    /// 0 is Sunday.
    weekday: usize,
    /// Counted from 1.
    day_of_year: i64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Parts {
    fn of(t: Time) -> Parts {
        let days = t.0.div_euclid(86_400_000);
        let rest = t.0.rem_euclid(86_400_000);
        // Days of the civil calendar, counted in eras of 400 years that begin in March.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let of_era = z.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month > 2 { of_year + 60 + i64::from(leap) } else { of_year - 305 };
        Parts {
            year,
            month: month as usize,
            day,
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1000 % 60,
            ms: rest % 1000,
            weekday: (days + 4).rem_euclid(7) as usize,
            day_of_year,
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format(*self, "2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

/// Go's `Time.Format`.
pub(super) fn format(t: Time, layout: &str) -> String {
    let p = Parts::of(t);
    let (month, day) = (MONTHS[p.month - 1], DAYS[p.weekday]);
    let hour12 = if p.hour % 12 == 0 { 12 } else { p.hour % 12 };
    let half = if p.hour < 12 { "AM" } else { "PM" };
    // Longer spellings first.
    let table: [(&str, String); 28] = [
        ("January", month.into()),
        ("Jan", month[..3].into()),
        ("Monday", day.into()),
        ("Mon", day[..3].into()),
        ("MST", "UTC".into()),
        ("2006", format!("{:04}", p.year)),
        ("002", format!("{:03}", p.day_of_year)),
        ("01", format!("{:02}", p.month)),
        ("02", format!("{:02}", p.day)),
        ("03", format!("{hour12:02}")),
        ("04", format!("{:02}", p.minute)),
        ("05", format!("{:02}", p.second)),
        ("06", format!("{:02}", p.year.rem_euclid(100))),
        ("15", format!("{:02}", p.hour)),
        ("-07:00:00", "+00:00:00".into()),
        ("-070000", "+000000".into()),
        ("-07:00", "+00:00".into()),
        ("-0700", "+0000".into()),
        ("-07", "+00".into()),
        ("Z07:00", "Z".into()),
        ("Z0700", "Z".into()),
        ("__2", format!("{:3}", p.day_of_year)),
        ("_2", format!("{:2}", p.day)),
        ("1", p.month.to_string()),
        ("2", p.day.to_string()),
        ("3", hour12.to_string()),
        ("4", p.minute.to_string()),
        ("5", p.second.to_string()),
    ];
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some((spelling, text)) = table.iter().find(|(s, _)| rest.starts_with(s)) {
            out.push_str(text);
            rest = &rest[spelling.len()..];
        } else if rest.starts_with("PM") || rest.starts_with("pm") {
            out.push_str(&if rest.starts_with('p') { half.to_lowercase() } else { half.to_owned() });
            rest = &rest[2..];
        } else if let Some(digits) = fraction(rest) {
            let all = format!("{:03}000000", p.ms);
            let kept = all.get(..digits.min(9)).unwrap_or(&all);
            let kept = if rest[1..].starts_with('9') { kept.trim_end_matches('0') } else { kept };
            if !kept.is_empty() {
                out.push_str(&rest[..1]);
                out.push_str(kept);
            }
            rest = &rest[1 + digits..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Digits of `.000` or `.999`, with a comma too.
fn fraction(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['.', ','])?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let n = digits.len() - digits.trim_start_matches(first).len();
    let ends = digits[n..].chars().next().is_none_or(|c| !c.is_ascii_digit());
    ends.then_some(n)
}

/// A method of a time without arguments, or `Format` with one.
pub(super) fn method(t: Time, name: &str, args: &[Value]) -> Option<Value> {
    let p = Parts::of(t);
    Some(match (name, args) {
        ("Format", [Value::Text(layout)]) => Value::Text(format(t, layout)),
        ("String", []) => Value::Text(t.to_string()),
        ("UTC", []) => Value::Time(t),
        ("Unix", []) => Value::Int(t.0.div_euclid(1000)),
        ("UnixMilli", []) => Value::Int(t.0),
        ("UnixNano", []) => Value::Int(t.0.saturating_mul(1_000_000)),
        ("Year", []) => Value::Int(p.year),
        ("Month", []) => Value::Text(MONTHS[p.month - 1].into()),
        ("Day", []) => Value::Int(p.day),
        ("YearDay", []) => Value::Int(p.day_of_year),
        ("Hour", []) => Value::Int(p.hour),
        ("Minute", []) => Value::Int(p.minute),
        ("Second", []) => Value::Int(p.second),
        ("Nanosecond", []) => Value::Int(p.ms * 1_000_000),
        ("Weekday", []) => Value::Text(DAYS[p.weekday].into()),
        _ => return None,
    })
}

/// Parameters of a method; `None` when there is no such method.
pub(super) fn parameters(name: &str) -> Option<&'static [super::value::Type]> {
    match name {
        "Format" => Some(&[super::value::Type::Text]),
        "String" | "UTC" | "Unix" | "UnixMilli" | "UnixNano" | "Year" | "Month" | "Day" | "YearDay"
        | "Hour" | "Minute" | "Second" | "Nanosecond" | "Weekday" => Some(&[]),
        _ => None,
    }
}

/// A method of a duration.
pub(super) fn duration_method(ns: i64, name: &str) -> Option<Value> {
    let in_units = |unit: i64| ns as f64 / unit as f64;
    Some(match name {
        "String" => Value::Text(super::value::duration(ns)),
        "Seconds" => Value::Float(in_units(1_000_000_000)),
        "Minutes" => Value::Float(in_units(60_000_000_000)),
        "Hours" => Value::Float(in_units(3_600_000_000_000)),
        "Milliseconds" => Value::Int(ns / 1_000_000),
        "Microseconds" => Value::Int(ns / 1000),
        "Nanoseconds" => Value::Int(ns),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let t = Time(1_709_217_303_045);
        assert_eq!(t.to_string(), "2024-02-29 14:35:03.045 +0000 UTC");
        assert_eq!(Time(0).to_string(), "1970-01-01 00:00:00 +0000 UTC");
        for (layout, want) in [
            ("Mon, 02 Jan 2006 3:04 PM", "Thu, 29 Feb 2024 2:35 PM"),
            ("2006-01-02T15:04:05Z07:00", "2024-02-29T14:35:03Z"),
            ("Monday January _2 06 002", "Thursday February 29 24 060"),
            ("05.000000 05.9", "03.045000 03"),
        ] {
            assert_eq!(format(t, layout), want, "{layout}");
        }
        assert_eq!(format(Time(-1), "2006-01-02 15:04:05.000"), "1969-12-31 23:59:59.999");
    }
}
