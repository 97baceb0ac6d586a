//! Reads a command line as kingpin, upstream's flag library, does: same grammar, same refusals.
//!
//! Long flags as `--name value` or `--name=value`, booleans as `--name` or `--no-name`, `@file` for arguments
//! one a line, `--` for the end of flags. A flag that is no list may stand once.

use super::table::{FLAGS, Flag, Kind};
use super::value;
use model::labels::quote;
use std::collections::BTreeMap;

/// Deepest nesting of `@file` arguments.
const MAX_FILES: usize = 64;

/// Values of all flags, given or by default.
#[derive(Clone, Debug)]
pub struct Parsed {
    values: BTreeMap<&'static str, Vec<String>>,
    /// Flags that were given, in order of the command line.
    pub given: Vec<&'static Flag>,
    pub help: bool,
    pub version: bool,
}

/// A refused command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// The line is not well formed. Exit code 1, as kingpin's.
    #[error("{0}")]
    Shape(String),
    /// A flag cannot have this value. Exit code 2, and the usage is printed.
    #[error("{0}")]
    Value(String),
}

impl Parsed {
    /// Values of a flag that may be repeated.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of a flag, `""` when it has none.
    pub fn one(&self, name: &str) -> &str {
        self.all(name).first().map_or("", String::as_str)
    }

    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|f| f.name == name)
    }

    pub fn yes(&self, name: &str) -> bool {
        self.one(name) == "true"
    }

    /// Name and shown value of every flag, as `/api/v1/status/flags` gives them.
    pub fn shown(&self) -> BTreeMap<String, String> {
        FLAGS
            .iter()
            .map(|flag| {
                let values = self.all(flag.name);
                let text =
                    if values.is_empty() { value::unset(flag.kind).to_owned() } else { values.join(",") };
                (flag.name.to_owned(), text)
            })
            .collect()
    }
}

struct Given {
    flag: &'static Flag,
    text: String,
}

/// Parses arguments without the program's name. `read_file` gives the text of an `@file`.
pub fn parse(
    args: &[String],
    read_file: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Parsed, UsageError> {
    let mut lines: Vec<String> = args.iter().rev().cloned().collect();
    let (mut found, mut files, mut only_words) = (Vec::<Given>::new(), 0, false);
    let (mut help, mut version) = (false, false);
    while let Some(arg) = lines.pop() {
        if !only_words && arg == "--" {
            only_words = true;
        } else if !only_words && let Some(path) = arg.strip_prefix('@') {
            files += 1;
            expand(path, files, read_file, &mut lines)?;
        } else if !only_words && let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            match name {
                "help" | "help-long" | "help-man" => help = true,
                "version" => version = true,
                _ => found.push(long_flag(name, inline, &mut lines)?),
            }
            if help || version {
                // Upstream acts on these at once, whatever stands behind them.
                break;
            }
        } else if !only_words && arg.len() > 1 && arg.starts_with('-') {
            match arg.chars().find(|c| *c != '-' && *c != 'h') {
                None => help = true,
                Some(c) => return Err(UsageError::Shape(format!("unknown short flag '-{c}'"))),
            }
            break;
        } else {
            return Err(UsageError::Shape(format!("unexpected {arg}")));
        }
    }
    let mut parsed = Parsed { values: BTreeMap::new(), given: Vec::new(), help, version };
    for Given { flag, text } in found {
        set(&mut parsed, flag, &text)?;
    }
    for flag in FLAGS {
        parsed
            .values
            .entry(flag.name)
            .or_insert_with(|| flag.default.iter().map(|d| (*d).to_owned()).collect());
    }
    Ok(parsed)
}

fn expand(
    path: &str,
    files: usize,
    read_file: &dyn Fn(&str) -> Result<String, String>,
    lines: &mut Vec<String>,
) -> Result<(), UsageError> {
    if path.is_empty() {
        return Err(UsageError::Shape("expected @ file to expand arguments from".into()));
    }
    if files > MAX_FILES {
        return Err(UsageError::Shape(format!("more than {MAX_FILES} argument files")));
    }
    let text = read_file(path)
        .map_err(|e| UsageError::Shape(format!("failed to open arguments file {}: {e}", quote(path))))?;
    let wanted = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    let wanted: Vec<String> = wanted.map(str::to_owned).collect();
    lines.extend(wanted.into_iter().rev());
    Ok(())
}

fn long_flag(name: &str, inline: Option<String>, lines: &mut Vec<String>) -> Result<Given, UsageError> {
    let unknown = || UsageError::Shape(format!("unknown long flag '--{name}'"));
    let negated = name.strip_prefix("no-").and_then(Flag::find).filter(|f| f.kind == Kind::Bool);
    let flag = match (Flag::find(name), negated) {
        (Some(flag), _) => flag,
        (None, Some(flag)) => {
            return match inline {
                None => Ok(Given { flag, text: "false".into() }),
                Some(text) => Err(UsageError::Shape(format!("unexpected {text}"))),
            };
        }
        (None, None) => return Err(unknown()),
    };
    if flag.kind == Kind::Bool {
        return match inline {
            None => Ok(Given { flag, text: "true".into() }),
            Some(text) => Err(UsageError::Shape(format!("unexpected {text}"))),
        };
    }
    if let Some(text) = inline {
        return Ok(Given { flag, text });
    }
    if lines.last().is_some_and(|l| l == "--") {
        lines.pop();
    }
    match lines.pop() {
        Some(text) if !text.starts_with('-') || text == "-" => Ok(Given { flag, text }),
        _ => Err(UsageError::Shape(format!("expected argument for flag '--{name}'"))),
    }
}

fn set(parsed: &mut Parsed, flag: &'static Flag, text: &str) -> Result<(), UsageError> {
    let text = value::normalise(flag.kind, text).map_err(UsageError::Value)?;
    let list = matches!(flag.kind, Kind::List | Kind::Messages);
    let again = parsed.is_given(flag.name);
    if again && !list {
        return Err(UsageError::Value(format!("flag '{}' cannot be repeated", flag.name)));
    }
    if !again {
        parsed.given.push(flag);
    }
    let values = parsed.values.entry(flag.name).or_default();
    match flag.kind {
        Kind::Messages => values.extend(text.split(',').map(str::to_owned)),
        _ => values.push(text),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Parsed, UsageError> {
        let args: Vec<String> = line.split(' ').filter(|a| !a.is_empty()).map(str::to_owned).collect();
        parse(&args, &|path| match path {
            "args" => Ok("# note\n\n--query.timeout=1m\n--agent\n".into()),
            _ => Err("no such file".into()),
        })
    }

    #[track_caller]
    fn refused(line: &str, want: UsageError) {
        assert_eq!(run(line).err(), Some(want), "{line}");
    }

    #[test]
    fn spellings() {
        let parsed = run("--config.file a.yml --web.listen-address=:1 --web.listen-address :2 \
                          --enable-feature=a,b --enable-feature c --no-web.enable-lifecycle @args")
        .expect("parses");
        assert_eq!(parsed.one("config.file"), "a.yml");
        assert_eq!(parsed.all("web.listen-address"), [":1", ":2"]);
        assert_eq!(parsed.all("enable-feature"), ["a,b", "c"]);
        assert!(!parsed.yes("web.enable-lifecycle") && parsed.yes("agent"));
        assert_eq!(parsed.one("query.timeout"), "1m");
        let shown = parsed.shown();
        assert_eq!(shown["storage.tsdb.retention.size"], "0B");
        assert_eq!(shown["enable-feature"], "a,b,c");
        assert_eq!(
            shown["web.remote-write-receiver.accepted-protobuf-messages"],
            "prometheus.WriteRequest,io.prometheus.write.v2.Request"
        );
    }

    #[test]
    fn refusals() {
        let shape = |text: &str| UsageError::Shape(text.into());
        let value = |text: &str| UsageError::Value(text.into());
        refused("--nope", shape("unknown long flag '--nope'"));
        refused("foo", shape("unexpected foo"));
        refused("-- foo", shape("unexpected foo"));
        refused("--config.file", shape("expected argument for flag '--config.file'"));
        refused("--config.file --nope", shape("expected argument for flag '--config.file'"));
        refused("--web.enable-lifecycle=true", shape("unexpected true"));
        refused("--no-config.file", shape("unknown long flag '--no-config.file'"));
        refused("-hx", shape("unknown short flag '-x'"));
        refused("--config.file=a --config.file=b", value("flag 'config.file' cannot be repeated"));
        refused("--no-agent --agent", value("flag 'agent' cannot be repeated"));
        refused("--query.timeout=5x --nope", shape("unknown long flag '--nope'"));
        refused("--query.timeout=5x", value("unknown unit \"x\" in duration \"5x\""));
        refused("@gone", shape("failed to open arguments file \"gone\": no such file"));
    }
}
