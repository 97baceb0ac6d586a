//! `printf` and its like, as Go's `fmt` prints the values that templates have.

use super::value::Value;
use model::float::go_string;
use model::labels::quote;

/// Fields are not padded beyond this.
const MAX_WIDTH: usize = 10_000;

/// Go's `fmt.Sprint`: blanks between operands when neither is a text.
pub(super) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    let mut before_is_text = true;
    for (i, arg) in args.iter().enumerate() {
        let is_text = matches!(arg, Value::Text(_));
        if i > 0 && !is_text && !before_is_text {
            out.push(' ');
        }
        out.push_str(&arg.verb_v());
        before_is_text = is_text;
    }
    out
}

/// Go's `fmt.Sprintln`.
pub(super) fn sprintln(args: &[Value]) -> String {
    let texts: Vec<String> = args.iter().map(Value::verb_v).collect();
    texts.join(" ") + "\n"
}

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `fmt.Sprintf`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = if chars.next_if_eq(&'*').is_some() {
            next += 1;
            match args.get(next - 1) {
                Some(Value::Int(n)) => usize::try_from(*n).ok(),
                _ => None,
            }
        } else {
            digits(&mut chars)
        };
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        match args.get(next) {
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(arg) => out.push_str(&spec.pad(spec.verb(verb, arg), arg)),
        }
        next += 1;
    }
    if next < args.len() {
        let extra: Vec<String> =
            args[next..].iter().map(|a| format!("{}={}", a.type_name(), a.verb_v())).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut n = None;
    while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
        n = Some((n.unwrap_or(0) * 10 + d as usize).min(MAX_WIDTH));
        chars.next();
    }
    n
}

impl Spec {
    fn pad(&self, text: String, arg: &Value) -> String {
        let missing = self.width.unwrap_or(0).min(MAX_WIDTH).saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        let finite = !matches!(arg, Value::Float(v) if !v.is_finite());
        if self.minus {
            text + &" ".repeat(missing)
        } else if self.zero && finite && matches!(arg, Value::Int(_) | Value::Float(_)) {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text.as_str()),
            };
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            " ".repeat(missing) + &text
        }
    }

    fn signed(&self, text: String) -> String {
        match () {
            () if text.starts_with(['-', '+']) => text,
            () if self.plus => format!("+{text}"),
            () if self.space => format!(" {text}"),
            () => text,
        }
    }

    fn verb(&self, verb: char, arg: &Value) -> String {
        let bad = || format!("%!{verb}({}={})", arg.type_name(), arg.verb_v());
        match (verb, arg) {
            ('T', _) => arg.type_name().to_owned(),
            (_, Value::Nil) if verb == 'v' => "<nil>".into(),
            (_, Value::Nil) => format!("%!{verb}(<nil>)"),
            ('v' | 'd', Value::Int(i)) => self.signed(i.to_string()),
            ('x', Value::Int(i)) => format!("{}{:x}", if *i < 0 { "-" } else { "" }, i.unsigned_abs()),
            ('X', Value::Int(i)) => format!("{}{:X}", if *i < 0 { "-" } else { "" }, i.unsigned_abs()),
            ('o', Value::Int(i)) => format!("{}{:o}", if *i < 0 { "-" } else { "" }, i.unsigned_abs()),
            ('b', Value::Int(i)) => format!("{}{:b}", if *i < 0 { "-" } else { "" }, i.unsigned_abs()),
            ('U', Value::Int(i)) => format!("U+{i:04X}"),
            ('c', Value::Int(i)) => {
                u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
            }
            ('v', Value::Float(v)) if self.precision.is_none() => self.signed(go_string(*v)),
            ('v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F', Value::Float(v)) => self.signed(self.float(verb, *v)),
            ('t' | 'v', Value::Bool(b)) => b.to_string(),
            ('v', Value::Text(t)) if self.sharp => quote(t),
            ('s' | 'v', Value::Text(t)) => self.cut(t),
            ('q', Value::Text(t)) if self.sharp && !t.contains('`') => format!("`{t}`"),
            ('q', Value::Text(t)) => quote(&self.cut(t)),
            ('x', Value::Text(t)) => t.bytes().map(|b| format!("{b:02x}")).collect(),
            ('X', Value::Text(t)) => t.bytes().map(|b| format!("{b:02X}")).collect(),
            ('v', _) => arg.verb_v(),
            ('s', Value::Histogram(_) | Value::Time(_) | Value::Duration(_) | Value::Labels(_)) => {
                arg.verb_v()
            }
            ('q', Value::Histogram(_) | Value::Time(_) | Value::Duration(_)) => quote(&arg.verb_v()),
            _ => bad(),
        }
    }

    fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(n) => text.chars().take(n).collect(),
            None => text.to_owned(),
        }
    }

    fn float(&self, verb: char, v: f64) -> String {
        if v.is_nan() {
            return "NaN".into();
        }
        if v.is_infinite() {
            return if v > 0.0 { "+Inf" } else { "-Inf" }.into();
        }
        match verb {
            'f' | 'F' => format!("{v:.*}", self.precision.unwrap_or(6)),
            'e' => exponent(v, self.precision.unwrap_or(6)),
            'E' => exponent(v, self.precision.unwrap_or(6)).to_uppercase(),
            'G' => self.float('g', v).to_uppercase(),
            _ => match self.precision {
                None => go_string(v),
                Some(n) => significant(v, n.max(1)),
            },
        }
    }
}

/// `1.500000e+03`
fn exponent(v: f64, precision: usize) -> String {
    let text = format!("{v:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Go's `%.{digits}g`.
pub(super) fn significant(v: f64, digits: usize) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let rounded = exponent(v, digits - 1);
    let (mantissa, power) = rounded.split_once('e').unwrap_or((&rounded, "+00"));
    let power: i32 = power.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= digits as i32 {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), power.abs());
    }
    let places = usize::try_from(digits as i32 - 1 - power).unwrap_or(0);
    trim(&format!("{v:.places$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        let text = |t: &str| Value::Text(t.into());
        for (format, args, want) in [
            ("%.2f", vec![Value::Float(1.005)], "1.00"),
            ("%5d|%-5d|%05d", vec![Value::Int(-3), Value::Int(3), Value::Int(-3)], "   -3|3    |-0003"),
            ("%s is %v", vec![text("a"), Value::Float(1e21)], "a is 1e+21"),
            ("%d", vec![Value::Float(1.5)], "%!d(float64=1.5)"),
            ("%s", vec![Value::Int(1)], "%!s(int=1)"),
            ("%f %e %g", vec![Value::Float(1234.5); 3], "1234.500000 1.234500e+03 1234.5"),
            ("%q %x", vec![text("a\"b"), text("hi")], "\"a\\\"b\" 6869"),
            ("%d %d", vec![Value::Int(1)], "1 %!d(MISSING)"),
            ("x", vec![Value::Int(1)], "x%!(EXTRA int=1)"),
            ("100%", vec![], "100%!(NOVERB)"),
            (
                "%.3g %.3g %+d",
                vec![Value::Float(123_456.0), Value::Float(0.5), Value::Int(1)],
                "1.23e+05 0.5 +1",
            ),
            ("%T %t", vec![Value::Float(1.0), Value::Bool(true)], "float64 true"),
        ] {
            assert_eq!(sprintf(format, &args), want, "{format}");
        }
        for (v, want) in
            [(1234.5, "1234"), (99999.0, "1e+05"), (0.0001234, "0.0001234"), (0.0, "0"), (1e-5, "1e-05")]
        {
            assert_eq!(significant(v, 4), want);
        }
    }
}
