//! Logs as Prometheus 3 writes them: one line an event, logfmt or JSON, on standard error.

use model::labels::quote;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Crates that speak of each frame and handshake when asked for debug messages.
const CHATTY: &[&str] =
    &["h2", "hyper", "hyper_util", "hyper_rustls", "mio", "rustls", "tokio_util", "tower", "want"];

/// Starts logging for the process. A second call is ignored, for tests that share a process.
pub fn init(level: &str, json: bool) {
    let level = match level {
        "debug" => LevelFilter::DEBUG,
        "warn" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let chatty = level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(level).with_targets(CHATTY.iter().map(|name| (*name, chatty)));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(Lines { json });
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
}

struct Lines {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let file = meta.file().unwrap_or("unknown");
        let source =
            format!("{}:{}", file.rsplit(['/', '\\']).next().unwrap_or(file), meta.line().unwrap_or(0));
        let line = line(&now(), level_name(*meta.level()), &source, &fields, self.json);
        writeln!(out, "{line}")
    }
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// Name, text, and whether JSON may show the text without quotes.
    others: Vec<(&'static str, String, bool)>,
}

impl Fields {
    fn put(&mut self, field: &Field, text: String, bare: bool) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), text, bare));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"), false);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned(), false);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.to_string(), true);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.to_string(), true);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.to_string(), true);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, model::float::go_string(value), value.is_finite());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string(), false);
    }
}

fn line(time: &str, level: &str, source: &str, fields: &Fields, json: bool) -> String {
    let mut out = String::with_capacity(160);
    if json {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let _ = write!(out, "{{\"time\":\"{time}\",\"level\":\"{level}\",\"source\":{}", text(source));
        let _ = write!(out, ",\"msg\":{}", text(&fields.message));
        for (name, value, bare) in &fields.others {
            let value = if *bare { value.clone() } else { text(value) };
            let _ = write!(out, ",{}:{value}", text(name));
        }
        out.push('}');
    } else {
        let _ = write!(out, "time={time} level={level} source={source} msg={}", logfmt(&fields.message));
        for (name, value, _) in &fields.others {
            let _ = write!(out, " {}={}", logfmt(name), logfmt(value));
        }
    }
    out
}

/// Quotes a text where Go's slog does: empty, or with blanks, quotes, `=` or unprintable characters.
fn logfmt(text: &str) -> String {
    let quoted = quote(text);
    let plain = quoted.len() == text.len() + 2 && !text.is_empty() && !text.contains([' ', '=']);
    if plain { text.to_owned() } else { quoted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_upstreams() {
        let fields = Fields {
            message: "Start listening for connections".into(),
            others: vec![
                ("component", "web".into(), false),
                ("address", "127.0.0.1:1".into(), false),
                ("n", "3".into(), true),
                ("err", "a \"b\"".into(), false),
            ],
        };
        assert_eq!(
            line("T", "INFO", "web.rs:7", &fields, false),
            "time=T level=INFO source=web.rs:7 msg=\"Start listening for connections\" component=web \
             address=127.0.0.1:1 n=3 err=\"a \\\"b\\\"\""
        );
        assert_eq!(
            line("T", "INFO", "web.rs:7", &fields, true),
            "{\"time\":\"T\",\"level\":\"INFO\",\"source\":\"web.rs:7\",\"msg\":\"Start listening for \
             connections\",\"component\":\"web\",\"address\":\"127.0.0.1:1\",\"n\":3,\"err\":\"a \\\"b\\\"\"}"
        );
    }
}
