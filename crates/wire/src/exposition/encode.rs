//! Writing expositions: `/metrics` and federation, in text 0.0.4, text 1.0.0 and OpenMetrics.
//!
//! The caller hands over one family after the other as borrowed data; nothing is collected first. Layout,
//! number forms and escapes follow upstream's `expfmt`, so that scrapers see the same bytes.

use super::negotiate::Escaping;
use super::number::format_openmetrics;
use model::MetricType;
use model::float::format_go;
use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    Text0_0_4,
    Text1_0_0,
    OpenMetrics0_0_1,
    OpenMetrics1_0_0,
}

/// A format to write, with the way names are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub text: TextFormat,
    pub escaping: Escaping,
}

impl Format {
    /// Value of the `Content-Type` header.
    pub fn content_type(self) -> String {
        let base = match self.text {
            TextFormat::Text0_0_4 => "text/plain; version=0.0.4",
            TextFormat::Text1_0_0 => "text/plain; version=1.0.0",
            TextFormat::OpenMetrics0_0_1 => "application/openmetrics-text; version=0.0.1",
            TextFormat::OpenMetrics1_0_0 => "application/openmetrics-text; version=1.0.0",
        };
        format!("{base}; charset=utf-8; escaping={}", self.escaping.name())
    }

    fn openmetrics(self) -> bool {
        matches!(self.text, TextFormat::OpenMetrics0_0_1 | TextFormat::OpenMetrics1_0_0)
    }
}

/// Chooses the format by an `Accept` header (upstream `expfmt.Negotiate`); OpenMetrics only when the caller
/// offers it. Text 0.0.4 is the answer to everything unknown.
pub fn negotiate(accept: &str, offer_openmetrics: bool) -> Format {
    type Params<'a> = Vec<(&'a str, &'a str)>;
    let mut wanted: Vec<(f64, Params<'_>, &str)> = accept
        .split(',')
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let media = parts.next().filter(|m| !m.is_empty())?;
            let params: Params<'_> = parts
                .filter_map(|p| p.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
                .collect();
            let weight = params.iter().find(|(n, _)| *n == "q").and_then(|(_, v)| v.parse().ok());
            Some((weight.unwrap_or(1.0), params, media))
        })
        .take(64)
        .collect();
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut escaping = Escaping::Underscores;
    for (_, params, media) in wanted {
        let param = |name: &str| params.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| *v);
        if let Some(asked) = Escaping::from_name(param("escaping")) {
            escaping = asked;
        }
        let text = match (media, param("version")) {
            ("text/plain", "" | "0.0.4") => TextFormat::Text0_0_4,
            ("text/plain", "1.0.0") => TextFormat::Text1_0_0,
            ("application/openmetrics-text", "" | "0.0.1") if offer_openmetrics => {
                TextFormat::OpenMetrics0_0_1
            }
            ("application/openmetrics-text", "1.0.0") if offer_openmetrics => TextFormat::OpenMetrics1_0_0,
            _ => continue,
        };
        return Format { text, escaping };
    }
    Format { text: TextFormat::Text0_0_4, escaping }
}

/// What stands above the samples of a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct FamilyHead<'a> {
    /// As the metric is named in the older format: counters end in `_total`.
    pub name: &'a str,
    /// No `HELP` line when `None`.
    pub help: Option<&'a str>,
    pub kind: MetricType,
    /// `UNIT` line of OpenMetrics; none when empty.
    pub unit: &'a str,
}

/// An exemplar to write (OpenMetrics only).
#[derive(Clone, Copy, Debug)]
pub struct ExemplarOut<'a> {
    pub labels: &'a [(&'a str, &'a str)],
    pub value: f64,
    /// Milliseconds.
    pub t: Option<i64>,
}

/// Writes families to a string that the caller may take from time to time.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    out: String,
    /// Name of the family, escaped, in the form of the samples.
    name: String,
    kind: MetricType,
}

impl Encoder {
    pub fn new(format: Format) -> Self {
        Encoder { format, out: String::new(), name: String::new(), kind: MetricType::Unknown }
    }

    /// What has been written since it was taken last.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Bytes that [`Encoder::take`] would give.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// Starts a family.
    pub fn family(&mut self, head: FamilyHead<'_>) {
        self.kind = head.kind;
        self.name.clear();
        let escaped = escape_name(head.name, self.format.escaping);
        // OpenMetrics names the family without the suffix of its samples.
        let shown = match (self.format.openmetrics(), head.kind) {
            (true, MetricType::Counter) => escaped.strip_suffix("_total").unwrap_or(&escaped),
            (true, MetricType::Info) => escaped.strip_suffix("_info").unwrap_or(&escaped),
            _ => &escaped,
        };
        self.name.push_str(match head.kind {
            MetricType::Counter => shown,
            _ => &escaped,
        });
        if let Some(help) = head.help {
            self.out.push_str("# HELP ");
            push_metric_name(&mut self.out, shown);
            self.out.push(' ');
            push_escaped(&mut self.out, help, self.format.openmetrics());
            self.out.push('\n');
        }
        self.out.push_str("# TYPE ");
        push_metric_name(&mut self.out, shown);
        self.out.push(' ');
        self.out.push_str(match (head.kind, self.format.openmetrics()) {
            (kind, true) => kind.as_str(),
            (MetricType::Counter, false) => "counter",
            (MetricType::Gauge | MetricType::Info | MetricType::StateSet, false) => "gauge",
            (MetricType::Histogram | MetricType::GaugeHistogram, false) => "histogram",
            (MetricType::Summary, false) => "summary",
            (MetricType::Unknown, false) => "untyped",
        });
        self.out.push('\n');
        if self.format.openmetrics() && !head.unit.is_empty() {
            self.out.push_str("# UNIT ");
            push_metric_name(&mut self.out, shown);
            self.out.push(' ');
            self.out.push_str(head.unit);
            self.out.push('\n');
        }
    }

    /// Writes a sample of the family: `suffix` is `""`, `_sum`, `_count` or `_bucket`; `t` milliseconds.
    /// Labels stand in the order given; those with an empty value, too.
    pub fn sample<'l>(
        &mut self,
        suffix: &str,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: f64,
        t: Option<i64>,
        exemplar: Option<ExemplarOut<'_>>,
    ) {
        let openmetrics = self.format.openmetrics();
        let mut name = std::mem::take(&mut self.name);
        let family_len = name.len();
        name.push_str(suffix);
        if openmetrics && self.kind == MetricType::Counter {
            name.push_str("_total");
        }
        let plain = is_legacy_metric_name(&name);
        if plain {
            self.out.push_str(&name);
        }
        let mut open = false;
        if !plain {
            self.out.push_str("{\"");
            push_escaped(&mut self.out, &name, true);
            self.out.push('"');
            open = true;
        }
        name.truncate(family_len);
        self.name = name;
        for (label, value) in labels {
            self.out.push(if open { ',' } else { '{' });
            open = true;
            let escaped = escape_name(label, self.format.escaping);
            push_label_name(&mut self.out, &escaped);
            self.out.push_str("=\"");
            match (openmetrics && matches!(label, "le" | "quantile"))
                .then(|| super::number::normalise_bound(value))
                .flatten()
            {
                Some(bound) => self.out.push_str(&bound),
                None => push_escaped(&mut self.out, value, true),
            }
            self.out.push('"');
        }
        if open {
            self.out.push('}');
        }
        self.out.push(' ');
        // Counts of buckets and observations are integers in OpenMetrics.
        if openmetrics && !(matches!(suffix, "_bucket" | "_count") && value.fract() == 0.0) {
            format_openmetrics(value, &mut self.out);
        } else if openmetrics {
            model::float::format_plain(value, &mut self.out);
        } else {
            format_go(value, &mut self.out);
        }
        if let Some(t) = t {
            self.out.push(' ');
            self.push_time(t);
        }
        if openmetrics && let Some(exemplar) = exemplar {
            self.exemplar(exemplar);
        }
        self.out.push('\n');
    }

    fn push_time(&mut self, t: i64) {
        if self.format.openmetrics() {
            format_openmetrics(t as f64 / 1000.0, &mut self.out);
        } else {
            self.out.push_str(&t.to_string());
        }
    }

    fn exemplar(&mut self, exemplar: ExemplarOut<'_>) {
        self.out.push_str(" # {");
        for (i, (name, value)) in exemplar.labels.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            push_label_name(&mut self.out, &escape_name(name, self.format.escaping));
            self.out.push_str("=\"");
            push_escaped(&mut self.out, value, true);
            self.out.push('"');
        }
        self.out.push_str("} ");
        format_openmetrics(exemplar.value, &mut self.out);
        if let Some(t) = exemplar.t {
            self.out.push(' ');
            self.push_time(t);
        }
    }

    /// Ends the exposition (`# EOF` of OpenMetrics) and gives what has not been taken.
    pub fn finish(mut self) -> String {
        if self.format.openmetrics() {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

fn push_metric_name(out: &mut String, name: &str) {
    if is_legacy_metric_name(name) {
        out.push_str(name);
    } else {
        out.push('"');
        push_escaped(out, name, true);
        out.push('"');
    }
}

fn push_label_name(out: &mut String, name: &str) {
    if is_legacy_label_name(name) {
        out.push_str(name);
    } else {
        out.push('"');
        push_escaped(out, name, true);
        out.push('"');
    }
}

fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// A name in the form that a scheme asks for (upstream `model.EscapeName`).
pub fn escape_name(name: &str, scheme: Escaping) -> Cow<'_, str> {
    if name.is_empty()
        || scheme == Escaping::AllowUtf8
        || (scheme != Escaping::Dots && is_legacy_metric_name(name))
    {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    if scheme == Escaping::Values {
        out.push_str("U__");
    }
    for (i, c) in name.chars().enumerate() {
        let legal = c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && i > 0);
        match (scheme, c) {
            (Escaping::Dots | Escaping::Values, '_') => out.push_str("__"),
            (Escaping::Dots, '.') => out.push_str("_dot_"),
            (_, c) if legal => out.push(c),
            (Escaping::Dots, _) => out.push_str("__"),
            (Escaping::Values, c) => out.push_str(&format!("_{:x}_", u32::from(c))),
            _ => out.push('_'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: TextFormat, escaping: Escaping) -> String {
        let mut e = Encoder::new(Format { text, escaping });
        e.family(FamilyHead {
            name: "hits_total",
            help: Some("All \"hits\"\\\n."),
            kind: MetricType::Counter,
            unit: "",
        });
        let exemplar = ExemplarOut { labels: &[("trace_id", "ab")], value: 1.0, t: Some(1500) };
        e.sample("", [("code", "2\"00")], 3.0, None, Some(exemplar));
        e.family(FamilyHead { name: "size_bytes", help: None, kind: MetricType::Histogram, unit: "bytes" });
        e.sample("_bucket", [("le", "1")], 1e6, None, None);
        e.sample("_sum", [], 1e6, None, None);
        e.family(FamilyHead { name: "a.b", help: Some("x"), kind: MetricType::Unknown, unit: "" });
        e.sample("", [("c.d", "e")], f64::INFINITY, Some(1_700_000_000_123), None);
        e.finish()
    }

    #[test]
    fn older_text() {
        assert_eq!(
            write(TextFormat::Text0_0_4, Escaping::Underscores),
            "# HELP hits_total All \"hits\"\\\\\\n.\n# TYPE hits_total counter\nhits_total{code=\"2\\\"00\"} 3\n\
             # TYPE size_bytes histogram\nsize_bytes_bucket{le=\"1\"} 1e+06\nsize_bytes_sum 1e+06\n\
             # HELP a_b x\n# TYPE a_b untyped\na_b{c_d=\"e\"} +Inf 1700000000123\n"
        );
    }

    #[test]
    fn newer_text_keeps_foreign_names() {
        let got = write(TextFormat::Text1_0_0, Escaping::AllowUtf8);
        assert!(got.ends_with(
            "# HELP \"a.b\" x\n# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"e\"} +Inf 1700000000123\n"
        ));
    }

    #[test]
    fn openmetrics() {
        assert_eq!(
            write(TextFormat::OpenMetrics1_0_0, Escaping::AllowUtf8),
            "# HELP hits All \\\"hits\\\"\\\\\\n.\n# TYPE hits counter\n\
             hits_total{code=\"2\\\"00\"} 3.0 # {trace_id=\"ab\"} 1.0 1.5\n\
             # TYPE size_bytes histogram\n# UNIT size_bytes bytes\n\
             size_bytes_bucket{le=\"1.0\"} 1000000\nsize_bytes_sum 1e+06\n\
             # HELP \"a.b\" x\n# TYPE \"a.b\" unknown\n{\"a.b\",\"c.d\"=\"e\"} +Inf 1.700000000123e+09\n# EOF\n"
        );
    }

    #[test]
    fn counters_without_the_suffix_keep_their_name_in_text() {
        for (text, want) in [
            (TextFormat::Text0_0_4, "# TYPE c counter\nc 1\n"),
            (TextFormat::OpenMetrics1_0_0, "# TYPE c counter\nc_total 1.0\n# EOF\n"),
        ] {
            let mut e = Encoder::new(Format { text, escaping: Escaping::AllowUtf8 });
            e.family(FamilyHead { name: "c", kind: MetricType::Counter, ..FamilyHead::default() });
            e.sample("", [], 1.0, None, None);
            assert_eq!(e.finish(), want);
        }
    }

    #[test]
    fn names_are_escaped() {
        for (name, scheme, want) in [
            ("a.b-c", Escaping::Underscores, "a_b_c"),
            ("a.b_c d", Escaping::Dots, "a_dot_b__c__d"),
            ("a.b_ü", Escaping::Values, "U__a_2e_b___fc_"),
            ("plain", Escaping::Values, "plain"),
            ("a_b", Escaping::Dots, "a__b"),
            ("1a", Escaping::Underscores, "_a"),
        ] {
            assert_eq!(escape_name(name, scheme), want);
        }
    }

    #[test]
    fn formats_are_negotiated() {
        for (accept, openmetrics, want) in [
            ("", true, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                false,
                "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            ),
            (
                "text/plain;q=0.1,text/plain;version=1.0.0",
                false,
                "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
            ),
        ] {
            assert_eq!(negotiate(accept, openmetrics).content_type(), want, "{accept}");
        }
    }
}
