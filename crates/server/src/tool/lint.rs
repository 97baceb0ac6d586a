//! `check metrics`: the lints of upstream's `promlint` over a text exposition, and its cardinality.

use super::text::table;
use super::{FAILED, LINT, one};
use clap::ArgMatches;
use model::labels::quote;
use model::{METRIC_NAME, MetricType};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use wire::exposition::{Entry, LabelBuf, ParserOptions, TextParser};

/// Longest exposition that is read.
pub(crate) const MAX_INPUT_BYTES: u64 = 1 << 30;

const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];
const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi",
    "giga", "gibi", "tera", "tebi", "peta", "pebi",
];
const ABBREVIATIONS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

type Pairs = Vec<(String, String)>;

/// A family as upstream's decoder gathers it: histograms and summaries are one metric per label set.
#[derive(Default)]
struct Family {
    kind: Option<MetricType>,
    help: bool,
    /// Label sets without the bound, each with the number of its buckets or quantiles.
    metrics: Vec<(Pairs, usize)>,
    /// Where a label set of a histogram or summary stands in `metrics`.
    known: BTreeMap<Pairs, usize>,
}

impl Family {
    fn is(&self, kind: MetricType) -> bool {
        self.kind == Some(kind)
    }

    fn compound(&self) -> bool {
        self.is(MetricType::Histogram) || self.is(MetricType::Summary)
    }

    fn untyped(&self) -> bool {
        matches!(self.kind, None | Some(MetricType::Unknown))
    }

    fn add(&mut self, mut labels: Pairs) {
        if !self.compound() {
            self.metrics.push((labels, 0));
            return;
        }
        let bound = if self.is(MetricType::Histogram) { "le" } else { "quantile" };
        let before = labels.len();
        labels.retain(|(name, _)| name != bound);
        let bounds = usize::from(labels.len() < before);
        let at = *self.known.entry(labels.clone()).or_insert_with(|| {
            self.metrics.push((labels, 0));
            self.metrics.len() - 1
        });
        self.metrics[at].1 += bounds;
    }

    /// Series, counting sum and count of a histogram or summary and the bounds of its first metric.
    fn cardinality(&self) -> usize {
        match self.metrics.first() {
            Some((_, bounds)) if self.compound() => self.metrics.len() * (2 + bounds),
            _ => self.metrics.len(),
        }
    }
}

/// The family that a sample belongs to.
fn family_of(name: &str, families: &BTreeMap<String, Family>) -> String {
    for suffix in ["_bucket", "_sum", "_count"] {
        if let Some(base) = name.strip_suffix(suffix)
            && families
                .get(base)
                .is_some_and(|f| f.is(MetricType::Histogram) || suffix != "_bucket" && f.compound())
        {
            return base.to_owned();
        }
    }
    name.to_owned()
}

fn read(text: &[u8]) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut labels = LabelBuf::default();
    // Line by line, so that errors can name the line.
    for (i, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        let wrong = |e: String| format!("text format parsing error in line {}: {e}", i + 1);
        if !line.ends_with(b"\n") {
            return Err(wrong("unexpected end of input stream".into()));
        }
        let mut parser = TextParser::prometheus(line, ParserOptions::default());
        while let Some(entry) = parser.next_entry().map_err(|e| wrong(e.to_string()))? {
            match entry {
                Entry::Series(series) => {
                    series.labels(&mut labels).map_err(|e| wrong(e.to_string()))?;
                    let name = labels.get(METRIC_NAME).unwrap_or("");
                    let mut pairs: Pairs = labels
                        .iter()
                        .filter(|(n, _)| *n != METRIC_NAME)
                        .map(|(n, v)| (n.to_owned(), v.to_owned()))
                        .collect();
                    pairs.sort();
                    if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
                        let label = quote(&twice[0].0);
                        return Err(wrong(format!(
                            "duplicate label names for metric {}: {label}",
                            quote(name)
                        )));
                    }
                    let family = family_of(name, &families);
                    families.entry(family).or_default().add(pairs);
                }
                Entry::Type { family, kind } => {
                    let of = families.entry(family.clone().into_owned()).or_default();
                    if of.kind.is_some() || !of.metrics.is_empty() {
                        let name = quote(&family);
                        return Err(wrong(format!(
                            "second TYPE line for metric name {name}, or TYPE reported after samples"
                        )));
                    }
                    of.kind = Some(kind);
                }
                Entry::Help { family, .. } => {
                    let of = families.entry(family.clone().into_owned()).or_default();
                    if of.help {
                        return Err(wrong(format!("second HELP line for metric name {}", quote(&family))));
                    }
                    of.help = true;
                }
                Entry::Histogram(_) | Entry::Unit { .. } | Entry::Comment(_) => {}
            }
        }
    }
    families.retain(|_, family| !family.metrics.is_empty());
    Ok(families)
}

fn unit(name: &str) -> Option<(&str, &'static str)> {
    let base = |word: &str| UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, base)| *base);
    name.split('_').find_map(|word| {
        let prefixed = || PREFIXES.iter().find_map(|p| base(word.strip_prefix(p)?));
        base(word).or_else(prefixed).map(|base| (word, base))
    })
}

fn has_word(name: &str, word: &str) -> bool {
    name.contains(&format!("_{word}_")) || name.ends_with(&format!("_{word}"))
}

fn camel_case(name: &str) -> bool {
    name.as_bytes().windows(2).any(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase())
}

/// What is wrong with a family, in upstream's words.
fn problems(name: &str, family: &Family) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut told = |yes: bool, text: &str| {
        if yes {
            found.push(text.to_owned());
        }
    };
    told(!family.help, "no help text");
    if let Some((unit, base)) = unit(name) {
        told(unit != base, &format!("use base unit {} instead of {}", quote(base), quote(unit)));
    }
    let counter = family.is(MetricType::Counter);
    let total = name.ends_with("_total");
    told(counter && !total, r#"counter metrics should have "_total" suffix"#);
    told(!family.untyped() && !counter && total, r#"non-counter metrics should not have "_total" suffix"#);
    let (histogram, summary) = (family.is(MetricType::Histogram), family.is(MetricType::Summary));
    let lower = name.to_ascii_lowercase();
    if !family.untyped() {
        let bucket = name.ends_with("_bucket");
        told(!histogram && bucket, r#"non-histogram metrics should not have "_bucket" suffix"#);
        for suffix in ["_count", "_sum"] {
            told(
                !family.compound() && name.ends_with(suffix),
                &format!("non-histogram and non-summary metrics should not have \"{suffix}\" suffix"),
            );
        }
        for (label, _) in family.metrics.iter().flat_map(|(labels, _)| labels) {
            told(!histogram && label == "le", r#"non-histogram metrics should not have "le" label"#);
            told(!summary && label == "quantile", r#"non-summary metrics should not have "quantile" label"#);
        }
        let kind = family.kind.unwrap_or_default().as_str();
        told(has_word(&lower, kind), &format!("metric name should not include type '{kind}'"));
    }
    told(name.contains(':'), "metric names should not contain ':'");
    told(camel_case(name), "metric names should be written in 'snake_case' not 'camelCase'");
    for (label, _) in family.metrics.iter().flat_map(|(labels, _)| labels) {
        told(camel_case(label), "label names should be written in 'snake_case' not 'camelCase'");
    }
    for word in ABBREVIATIONS {
        told(has_word(&lower, word), "metric names should not contain abbreviated units");
    }
    let mut seen = BTreeSet::new();
    for (labels, _) in &family.metrics {
        told(!seen.insert(labels), "metric not unique");
    }
    found
}

/// All problems, sorted by metric and text.
fn lint(families: &BTreeMap<String, Family>) -> Vec<(&str, String)> {
    let mut all: Vec<(&str, String)> = families
        .iter()
        .flat_map(|(name, family)| problems(name, family).into_iter().map(|text| (name.as_str(), text)))
        .collect();
    all.sort();
    all
}

fn extended(families: &BTreeMap<String, Family>) -> String {
    let mut stats: Vec<(&String, usize)> = families.iter().map(|(n, f)| (n, f.cardinality())).collect();
    stats.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let total: usize = stats.iter().map(|(_, n)| n).sum();
    let row = |a: &str, b: String, c: String| vec![a.to_owned(), b, c, String::new()];
    let mut rows = vec![row("Metric", "Cardinality".into(), "Percentage".into())];
    for (name, n) in stats {
        rows.push(row(name, n.to_string(), format!("{:.2}%", 100.0 * n as f64 / total as f64)));
    }
    rows.push(row("Total", total.to_string(), "100%".into()));
    table(&rows, 4, 4)
}

/// `check metrics`: exit code 3 when something was found.
pub(crate) fn metrics(m: &ArgMatches) -> u8 {
    let (wide, linting) = (m.get_flag("extended"), one(m, "lint") != "none");
    if !wide && !linting {
        eprintln!("error: at least one of --extended or linting must be enabled");
        eprintln!("Use --extended for cardinality analysis, or remove --lint=none to enable linting");
        return FAILED;
    }
    let what = if linting { "error while linting" } else { "error while parsing text to metric families" };
    let families = match read_stdin().and_then(|text| read(&text)) {
        Ok(families) => families,
        Err(e) => {
            eprintln!("{what}: {e}");
            return FAILED;
        }
    };
    let problems = if linting { lint(&families) } else { Vec::new() };
    for (name, text) in &problems {
        eprintln!("{name} {text}");
    }
    if wide {
        put!("{}", extended(&families));
    }
    if problems.is_empty() { 0 } else { LINT }
}

/// All of standard input.
pub(crate) fn read_stdin() -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(MAX_INPUT_BYTES + 1);
    input.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(format!("more than {MAX_INPUT_BYTES} bytes"));
    }
    Ok(bytes)
}
