//! `tsdb create-blocks-from rules`: recording rules over the past, evaluated by a server and written as blocks.

use super::backfill::{block_duration, write_block};
use super::client::server_url;
use super::query::Server;
use super::rule_files::{self, Group, Rule};
use super::text::parse_time;
use super::{FAILED, failed, one};
use clap::ArgMatches;
use model::Labels;
use model::float::plain_string;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::SampleBuf;

const SECOND: i128 = 1_000_000_000;
/// How far before now the default end lies: newer samples still stand in the head of the server.
const DEFAULT_END: i128 = 3 * 3600 * SECOND;

struct Import<'m> {
    server: Server<'m>,
    out: &'m Path,
    /// Whole seconds.
    start: i128,
    end: i128,
    /// Length of a block in ms.
    block: i64,
}

/// The command.
pub(crate) fn rules(m: &ArgMatches) -> u8 {
    crate::telemetry::init("info", false);
    match run(m) {
        Ok(code) => code,
        Err(e) => failed(e),
    }
}

fn run(m: &ArgMatches) -> Result<u8, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
    let end = match one(m, "end") {
        "" => now - DEFAULT_END,
        text => parse_time(text).map_err(|e| format!("error parsing end time: {e}"))?,
    };
    let start = parse_time(one(m, "start")).map_err(|e| format!("error parsing start time: {e}"))?;
    if start >= end {
        return Err("start time is not before end time".into());
    }
    let url = server_url(one(m, "url")).map_err(|e| format!("new api client error: {e}"))?;
    let server = Server::at(m, url).map_err(|e| format!("new api client error: {e}"))?;
    let interval = m.get_one::<i64>("eval-interval").copied().unwrap_or(60_000);
    tracing::info!(component = "backfiller", start = %date(start), end = %date(end), "new rule importer");
    let mut groups = Vec::new();
    for file in m.get_many::<String>("rule-files").into_iter().flatten() {
        let read = rule_files::read(file, interval.max(1), super::promql::options(m));
        groups.extend(read.map_err(|e| format!("rule importer parse error: {e}"))?);
    }
    let import = Import {
        server,
        out: Path::new(one(m, "output-dir")),
        start: start.div_euclid(SECOND),
        end: end.div_euclid(SECOND),
        block: block_duration(m.get_one::<i64>("max-block-duration").copied().unwrap_or(0)),
    };
    let mut errors = 0;
    for group in &groups {
        tracing::info!(component = "backfiller", name = group.key(), "processing group");
        if group.alerts > 0 {
            tracing::info!(component = "backfiller", count = group.alerts, "alerting rules are left out");
        }
        for (id, rule) in group.rules.iter().enumerate() {
            tracing::info!(component = "backfiller", id, name = rule.record, "processing rule");
            if let Err(e) = import.rule(group, rule) {
                eprintln!("rule importer error: {e}");
                errors += 1;
            }
        }
    }
    if errors > 0 {
        eprintln!("error importing rules");
        return Ok(FAILED);
    }
    Ok(0)
}

/// `14 Nov 23 22:13 UTC`
fn date(ns: i128) -> String {
    match jiff::Timestamp::from_second(i64::try_from(ns.div_euclid(SECOND)).unwrap_or(0)) {
        Ok(t) => t.strftime("%d %b %y %H:%M UTC").to_string(),
        Err(_) => ns.to_string(),
    }
}

impl Import<'_> {
    /// One block after the other.
    fn rule(&self, group: &Group, rule: &Rule) -> Result<(), String> {
        let block = i128::from(self.block) / 1000;
        let mut from = self.start.div_euclid(block) * block;
        while from <= self.end {
            let first = group.first_evaluation(from.max(self.start) * SECOND);
            let last = (from + block - 1).min(self.end) * SECOND;
            if last < first {
                break;
            }
            let series = self.ask(group, rule, first, last)?;
            write_block(self.out, &series)?;
            let samples: usize = series.values().map(SampleBuf::len).sum();
            let (start, end) = (date(first), date(last));
            tracing::info!(
                component = "backfiller",
                name = rule.record,
                start,
                end,
                samples,
                "processed range"
            );
            from += block;
        }
        Ok(())
    }

    /// What the server computes for a range of times in ns.
    fn ask(
        &self,
        group: &Group,
        rule: &Rule,
        first: i128,
        last: i128,
    ) -> Result<BTreeMap<Labels, SampleBuf>, String> {
        let seconds =
            |ns: i128| plain_string(ns.div_euclid(SECOND) as f64 + ns.rem_euclid(SECOND) as f64 / 1e9);
        let params = vec![
            ("query", rule.expr.clone()),
            ("start", seconds(first)),
            ("end", seconds(last)),
            ("step", plain_string(group.interval as f64 / 1000.0)),
        ];
        let data = self
            .server
            .ask("/api/v1/query_range", &params, true)
            .map_err(|e| format!("query range: {}", e.text()))?;
        if data["resultType"] != "matrix" {
            return Err(format!("rule result is wrong type {}", data["resultType"].as_str().unwrap_or("")));
        }
        let mut out: BTreeMap<Labels, SampleBuf> = BTreeMap::new();
        let mut histograms = 0;
        for row in data["result"].as_array().into_iter().flatten() {
            let metric = row["metric"].as_object().into_iter().flatten();
            let metric = metric.map(|(n, v)| (n.clone(), v.as_str().unwrap_or("").to_owned())).collect();
            let labels = rule.label(&metric);
            histograms += row["histograms"].as_array().map_or(0, Vec::len);
            let samples = out.entry(labels).or_default();
            for pair in row["values"].as_array().into_iter().flatten() {
                let (t, v) = sample(pair).ok_or_else(|| format!("add: bad sample {pair}"))?;
                if samples.times.last().is_some_and(|before| *before >= t) {
                    return Err(format!(
                        "add: two results have the labels {} of the rule",
                        rule.label(&metric)
                    ));
                }
                samples.push_float(t, v);
            }
        }
        if histograms > 0 {
            tracing::warn!(
                component = "backfiller",
                name = rule.record,
                histograms,
                "Native histograms among the results are left out: the query API does not give them whole"
            );
        }
        Ok(out)
    }
}

/// `[seconds, "number"]`
fn sample(pair: &Value) -> Option<(i64, f64)> {
    let seconds = pair.get(0)?.as_f64()?;
    let number = match pair.get(1)?.as_str()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    Some(((seconds * 1000.0).round() as i64, number))
}
