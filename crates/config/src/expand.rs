//! `$VAR` and `${VAR}` in external labels, by the rules of Go's `os.Expand`.

use std::collections::BTreeMap;

/// Where variables come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    #[default]
    Process,
    /// For tests.
    Given(BTreeMap<String, String>),
}

impl Environment {
    fn get(&self, name: &str) -> String {
        match self {
            Environment::Process => std::env::var(name).unwrap_or_default(),
            Environment::Given(vars) => vars.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// The expanded text; names of variables that are empty go to `empty`. `$$` gives `$`.
pub(crate) fn expand(text: &str, environment: &Environment, empty: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if after.is_empty() {
            out.push('$');
            return out;
        }
        let (name, length) = shell_name(after);
        rest = &after[length..];
        match name {
            "$" => out.push('$'),
            // Something malformed is eaten; a lone dollar stays.
            "" if length == 0 => out.push('$'),
            "" => {}
            name => {
                let value = environment.get(name);
                if value.is_empty() {
                    empty.push(name.to_owned());
                }
                out.push_str(&value);
            }
        }
    }
    out.push_str(rest);
    out
}

/// The name at the start of a text, and how many bytes it takes with its braces.
fn shell_name(text: &str) -> (&str, usize) {
    let special = |b: u8| b.is_ascii_digit() || b"*#$@!?-".contains(&b);
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'{') {
        if let [_, one, b'}', ..] = bytes
            && special(*one)
        {
            return (&text[1..2], 3);
        }
        return match text.find('}') {
            Some(1) => ("", 2),
            Some(end) => (&text[1..end], end + 1),
            None => ("", 1),
        };
    }
    if bytes.first().is_some_and(|b| special(*b)) {
        return (&text[..1], 1);
    }
    let end = bytes.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(bytes.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_go() {
        let vars = [("A", "1"), ("AB", "2"), ("a b", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let environment = Environment::Given(BTreeMap::from(vars));
        for (text, want) in [
            ("plain", "plain"),
            ("$A-${AB}-$AB.", "1-2-2."),
            ("$$A $${A}", "$A ${A}"),
            ("${a b}", "3"),
            ("x$", "x$"),
            ("$ x", "$ x"),
            ("${}x", "x"),
            ("${A", "A"),
            ("ü${A}ü", "ü1ü"),
            ("$none|", "|"),
            ("$1x", "x"),
        ] {
            assert_eq!(expand(text, &environment, &mut Vec::new()), want, "{text}");
        }
        let mut empty = Vec::new();
        expand("$none $A ${nil}", &environment, &mut empty);
        assert_eq!(empty, ["none", "nil"]);
    }
}
