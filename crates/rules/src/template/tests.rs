//! Templates against what promtool 3.14 printed. The long list stands in `server/tests/tool/rules/tmpl.yml`.

use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn data(value: f64) -> Data {
    let map = |pairs: &[(&str, &str)]| -> Arc<BTreeMap<String, String>> {
        Arc::new(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    };
    Data {
        labels: map(&[("instance", "h:1"), ("job", "a")]),
        external_labels: map(&[("region", "eu")]),
        external_url: "http://x/y".into(),
        value: Value::Float(value),
    }
}

fn expand(text: &str) -> String {
    let query = |expr: &str| match expr {
        "bad" => Err("it broke".to_owned()),
        "none" => Ok(Vec::new()),
        _ => Ok(vec![Sample { labels: data(0.0).labels, value: Value::Float(2.5) }]),
    };
    let context = Context { query: &query, now_ms: 60_000, external_url: Some("http://x/y") };
    match Template::of_alert("A", text) {
        Ok(template) => template.expand(&data(1_234_567.0), &context).unwrap_or_else(|e| e),
        Err(e) => e,
    }
}

#[test]
fn values_labels_and_functions() {
    for (text, want) in [
        ("plain", "plain"),
        (
            "{{ $value }} {{ .Value | humanize }} {{ $labels.job }} {{ $labels.gone }}.",
            "1.234567e+06 1.235M a .",
        ),
        ("{{ $externalLabels.region }} {{ $externalURL }} {{ pathPrefix }}", "eu http://x/y /y"),
        ("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", "2.5"),
        ("{{ with query \"none\" }}x{{ else }}none{{ end }}", "none"),
        ("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}", "instance=h:1;job=a;"),
        ("a {{- /* c */ -}} b {{ if gt $value 1e6 }}big{{ else }}small{{ end }}", "ab big"),
        ("{{ humanizeDuration 3661 }} {{ humanizePercentage 0.1234567 }} {{ now }}", "1h 1m 1s 12.35% 60"),
        ("{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" 5 }}", "<5>"),
        ("{{ reReplaceAll \"(.*):(.*)\" \"$2-$1\" $labels.instance }}", "1-h"),
    ] {
        assert_eq!(expand(text), want, "{text}");
    }
}

#[test]
fn errors_say_where() {
    let head = "error executing template __alert_A: template: __alert_A:1";
    for (text, want) in [
        (
            "{{ query \"bad\" }}",
            ":115: executing \"__alert_A\" at <query \"bad\">: error calling query: it broke",
        ),
        (
            "{{ $labels.a.b }}",
            ":122: executing \"__alert_A\" at <$labels.a.b>: can't evaluate field b in type string",
        ),
        (
            "{{ gt $value 1 }}",
            ":115: executing \"__alert_A\" at <gt $value 1>: error calling gt: incompatible types for comparison: float64 and int",
        ),
        (
            "{{ $value | toUpper }}",
            ":124: executing \"__alert_A\" at <toUpper>: wrong type for value; expected string; got float64",
        ),
    ] {
        assert_eq!(expand(text), format!("{head}{want}"));
    }
    assert_eq!(expand("{{ $nope }}"), "template: __alert_A:1: undefined variable \"$nope\"");
    assert_eq!(expand("{{ if 1 }}"), "template: __alert_A:1: unexpected EOF");
}

#[test]
fn templates_are_bounded() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(expand(&deep), "template: __alert_A:1: max expression depth exceeded");
    let blocks = format!("{}{}", "{{ if 1 }}".repeat(5000), "{{ end }}".repeat(5000));
    assert_eq!(expand(&blocks), "template: __alert_A:1: max expression depth exceeded");
    assert!(expand("{{ range 100000000 }}x{{ end }}").contains("takes more than"));
    assert!(
        expand("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}")
            .contains("exceeded maximum")
    );
    assert!(expand("{{ range 9000 }}{{ printf \"%9999d\" 1 }}{{ end }}").contains("writes more than"));
    // Any bytes: a message, no panic.
    for text in [
        "{{",
        "{{-",
        "{{- ",
        "{{/*",
        "{{ \"",
        "{{ .",
        "{{ $",
        "{{ '\\",
        "{{ \u{80} }}",
        "{{ 0x }}",
        "{{ -",
        "}}",
    ] {
        let _ = expand(text);
    }
}
