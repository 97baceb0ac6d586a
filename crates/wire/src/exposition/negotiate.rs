//! Content negotiation of scrapes: the `Accept` header that asks, and the `Content-Type` that answers.

use model::labels::quote;

/// Formats that a scrape may ask for; names as `scrape_protocols` spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    PrometheusProto,
    PrometheusText0_0_4,
    PrometheusText1_0_0,
    OpenMetricsText0_0_1,
    OpenMetricsText1_0_0,
}

/// What is asked for unless the configuration says otherwise, most wanted first.
pub const DEFAULT_PROTOCOLS: [ScrapeProtocol; 4] = [
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

/// The same with protobuf first: the default where native histograms are scraped.
pub const PROTO_FIRST_PROTOCOLS: [ScrapeProtocol; 5] = [
    ScrapeProtocol::PrometheusProto,
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

impl ScrapeProtocol {
    /// Sorted by name, as error texts list them.
    pub const ALL: [ScrapeProtocol; 5] = [
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::PrometheusText0_0_4,
        ScrapeProtocol::PrometheusText1_0_0,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => "PrometheusProto",
            ScrapeProtocol::PrometheusText0_0_4 => "PrometheusText0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "PrometheusText1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        }
    }

    /// By its name; case counts.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Media type with its parameters, without escaping.
    pub const fn content_type(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        }
    }

    /// The parser that reads it.
    pub const fn media(self) -> Media {
        match self {
            ScrapeProtocol::PrometheusProto => Media::Protobuf,
            ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Media::Text,
            ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => Media::OpenMetrics,
        }
    }
}

/// How names that are not legacy names are to be written by the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    #[default]
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

impl Escaping {
    pub const fn name(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values]
            .into_iter()
            .find(|e| e.name() == name)
    }
}

/// Value of the `Accept` header for these protocols in order of preference (upstream `acceptHeader`): the
/// weight starts at 0.6 and falls by 0.1 for each; anything is accepted last.
pub fn accept_header(protocols: &[ScrapeProtocol], escaping: Escaping) -> String {
    let mut out = String::with_capacity(320);
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    for protocol in protocols {
        out.push_str(protocol.content_type());
        if matches!(protocol, ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0) {
            out.push_str(";escaping=");
            out.push_str(escaping.name());
        }
        out.push_str(&format!(";q=0.{weight},"));
        weight = weight.saturating_sub(1);
    }
    out.push_str(&format!("*/*;q=0.{weight}"));
    out
}

/// A family of formats that one parser reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    Text,
    OpenMetrics,
    Protobuf,
}

impl Media {
    pub const fn as_str(self) -> &'static str {
        match self {
            Media::Text => "text/plain",
            Media::OpenMetrics => "application/openmetrics-text",
            Media::Protobuf => "application/vnd.google.protobuf",
        }
    }
}

/// The parser for a reply, and a remark when the fallback had to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    pub media: Media,
    pub remark: Option<String>,
}

/// Chooses the parser by the `Content-Type` of a reply (upstream `textparse.extractMediaType`).
pub fn pick_parser(content_type: &str, fallback: Option<ScrapeProtocol>) -> Result<Picked, String> {
    let quoted = || quote(content_type);
    let (found, with_fallback, without) = if content_type.is_empty() {
        (
            None,
            "non-compliant scrape target sending blank Content-Type".to_owned(),
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
                .to_owned(),
        )
    } else {
        match media_type(content_type) {
            Err(why) => (
                None,
                format!("could not parse received Content-Type {}: {why}", quoted()),
                format!(
                    "cannot parse Content-Type {} and no fallback_scrape_protocol for target\n{why}",
                    quoted()
                ),
            ),
            Ok(name) => (
                [Media::Text, Media::OpenMetrics, Media::Protobuf].into_iter().find(|m| m.as_str() == name),
                format!("received unsupported Content-Type {}", quoted()),
                format!(
                    "received unsupported Content-Type {} and no fallback_scrape_protocol specified for target",
                    quoted()
                ),
            ),
        }
    };
    match (found, fallback) {
        (Some(media), _) => Ok(Picked { media, remark: None }),
        (None, None) => Err(without),
        (None, Some(protocol)) => {
            let media = protocol.media();
            let remark = format!("{with_fallback}, using fallback_scrape_protocol {}", quote(media.as_str()));
            Ok(Picked { media, remark: Some(remark) })
        }
    }
}

/// The lower-case media type of a header value; parameters must be well formed, as Go's `mime` asks.
fn media_type(value: &str) -> Result<String, &'static str> {
    let (kind, mut rest) = match value.find(';') {
        Some(at) => value.split_at(at),
        None => (value, ""),
    };
    let kind = kind.trim().to_ascii_lowercase();
    if kind.is_empty() {
        return Err("mime: no media type");
    }
    let mut parts = kind.split('/');
    let first = parts.next().unwrap_or("");
    if !is_token(first) {
        return Err("mime: expected token after slash");
    }
    if let Some(second) = parts.next() {
        if second.is_empty() || !is_token(second) {
            return Err("mime: expected token after slash");
        }
        if parts.next().is_some() {
            return Err("mime: unexpected content after media subtype");
        }
    }
    while !rest.is_empty() {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        match take_parameter(rest) {
            Some(after) => rest = after,
            // A single trailing semicolon is forgiven.
            None if rest.trim() == ";" => break,
            None => return Err("mime: invalid media parameter"),
        }
    }
    Ok(kind)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&b))
}

/// Consumes `; name=value`.
fn take_parameter(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix(';')?.trim_start();
    let (name, rest) = rest.split_once('=')?;
    if !is_token(name.trim_end()) {
        return None;
    }
    let rest = rest.trim_start();
    if let Some(mut inner) = rest.strip_prefix('"') {
        loop {
            let at = inner.find(['"', '\\'])?;
            if inner.as_bytes().get(at) == Some(&b'"') {
                return inner.get(at + 1..);
            }
            let escaped = inner.get(at + 1..)?.chars().next()?;
            inner = inner.get(at + 1 + escaped.len_utf8()..)?;
        }
    }
    let end = rest.find([';', ' ', '\t']).unwrap_or(rest.len());
    let (value, after) = rest.split_at(end);
    if is_token(value) { Some(after) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_is_upstreams() {
        assert_eq!(
            accept_header(&DEFAULT_PROTOCOLS, Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept_header(&PROTO_FIRST_PROTOCOLS[..2], Escaping::Underscores),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.4"
        );
    }

    #[track_caller]
    fn check(content_type: &str, fallback: Option<ScrapeProtocol>, want: Result<Media, &str>) {
        let got = pick_parser(content_type, fallback).map(|p| p.media);
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{content_type}"),
            (Err(got), Err(want)) => assert!(got.starts_with(want), "{content_type}: {got}"),
            (got, want) => panic!("{content_type}: got {got:?}, want {want:?}"),
        }
    }

    #[test]
    fn parsers_are_picked_as_upstream_does() {
        use Media::*;
        let fallback = Some(ScrapeProtocol::PrometheusText0_0_4);
        check("text/plain", None, Ok(Text));
        check("text/plain; version=0.0.4; charset=utf-8", None, Ok(Text));
        check("Text/Plain", None, Ok(Text));
        check("application/openmetrics-text; version=1.0.0; escaping=\"allow-utf-8\"", None, Ok(OpenMetrics));
        check("application/vnd.google.protobuf; proto=x; encoding=delimited", None, Ok(Protobuf));
        check("text/plain;", None, Ok(Text));
        check("", None, Err("non-compliant scrape target sending blank Content-Type and no fallback"));
        check("", fallback, Ok(Text));
        check("text/html", None, Err("received unsupported Content-Type \"text/html\" and no fallback"));
        check("text/html", Some(ScrapeProtocol::OpenMetricsText1_0_0), Ok(OpenMetrics));
        check("text/plain; =", None, Err("cannot parse Content-Type \"text/plain; =\" and no fallback"));
        check("text/plain; =", fallback, Ok(Text));
        let remark = pick_parser("text/html", fallback).map(|p| p.remark);
        assert_eq!(
            remark,
            Ok(Some(
                "received unsupported Content-Type \"text/html\", using fallback_scrape_protocol \"text/plain\""
                    .into()
            ))
        );
    }
}
