//! The help text: flags by chapter, with defaults, wrapped to a terminal's width.

use super::table::{FLAGS, Flag, Group, Kind, Mode, State};
use std::fmt::Write;

const WIDTH: usize = 90;
const INDENT: usize = 8;

const CHAPTERS: &[(Group, &str)] = &[
    (Group::General, "General"),
    (Group::Web, "Web server and receiver"),
    (Group::Storage, "Database (server)"),
    (Group::Agent, "Write-ahead log (agent)"),
    (Group::Remote, "Remote write and read"),
    (Group::Query, "Queries (server)"),
    (Group::Rules, "Rules and alerts (server)"),
    (Group::Process, "Accepted from Prometheus"),
];

const INTRODUCTION: &str = "\
Pyrrha stores time series like Prometheus: it discovers and scrapes targets, receives and sends remote
write, and answers PromQL. Flags, configuration and API are those of Prometheus 3.14.

  a receiver    pyrrha --config.file=prometheus.yml --web.enable-remote-write-receiver
  an agent      pyrrha --agent --config.file=agent.yml
  try it        pyrrha demo          a receiver and two agents on this machine
";

/// The whole help text.
pub fn usage(program: &str) -> String {
    let mut out = format!(
        "usage: {program} [<flags>]\n       {program} demo [<flags>]\n       {program} <tool> [<flags>] [<args>]\n\n{INTRODUCTION}\n"
    );
    out.push_str("Tools, those of promtool (more with `help <tool>`):\n");
    for (name, about) in crate::tool::TOOLS {
        let _ = writeln!(out, "  {name:<8}{about}");
    }
    out.push('\n');
    let _ = writeln!(
        out,
        "  -h, --help\n        This text.\n  --version\n        Version of Pyrrha and the Prometheus level."
    );
    for (group, title) in CHAPTERS {
        let _ = writeln!(out, "\n{title}:");
        for flag in FLAGS.iter().filter(|f| f.group == *group && !f.hidden) {
            let _ = writeln!(out, "  {}", head(flag));
            wrap(&body(flag), &mut out);
        }
    }
    let _ = writeln!(out, "\nFeatures (--enable-feature):");
    wrap(&crate::features::names().join(", "), &mut out);
    out
}

/// All flags as Markdown tables, hidden ones included.
pub fn markdown() -> String {
    let mut out = String::from("| Flag | Description | Default |\n| --- | --- | --- |\n");
    for flag in FLAGS {
        let _ = writeln!(
            out,
            "| <code class=\"text-nowrap\">--{}</code> | {} | {} |",
            flag.name,
            body(flag).replace('|', "\\|"),
            if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default.join(",")) }
        );
    }
    out
}

fn head(flag: &Flag) -> String {
    let value = match (flag.kind, flag.default) {
        (Kind::Bool, _) => return format!("--[no-]{}", flag.name),
        (Kind::Text | Kind::List, []) => "<text>".into(),
        (Kind::Duration | Kind::GoDuration, []) => "<duration>".into(),
        (Kind::Size, []) => "<bytes>".into(),
        (Kind::Text, [text]) => format!("\"{text}\""),
        (_, list) => list.join(","),
    };
    let more = if matches!(flag.kind, Kind::List | Kind::Messages) { " ..." } else { "" };
    format!("--{}={value}{more}", flag.name)
}

fn body(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    if let Kind::Choice(choices) = flag.kind {
        let _ = write!(text, " One of: {}.", choices.join(", "));
    }
    match flag.mode {
        Mode::Both => {}
        Mode::Server => text.push_str(" Server mode only."),
        Mode::Agent => text.push_str(" Agent mode only."),
    }
    if let State::NotBuilt(why) = flag.state {
        let _ = write!(text, " No effect in this version: {why}.");
    }
    text
}

fn wrap(text: &str, out: &mut String) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && INDENT + column + 1 + word.chars().count() > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(&" ".repeat(INDENT));
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_flag_is_taught() {
        let text = usage("pyrrha");
        for flag in FLAGS {
            assert_eq!(text.contains(&format!("{}\n", head(flag))), !flag.hidden, "{}", flag.name);
            assert!(!flag.help.is_empty(), "{}", flag.name);
        }
        assert!(text.lines().filter(|l| l.starts_with("        ")).all(|l| l.chars().count() <= WIDTH));
        assert!(markdown().contains("--storage.tsdb.min-block-duration"));
    }
}
