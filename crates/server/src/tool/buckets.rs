//! `query analyze`: how many buckets of histograms are used, from what a server answers.

use super::client::server_url;
use super::print::{Metric, Point, Stream, label_set_text, metric_text, streams};
use super::query::{Server, now, seconds};
use super::text::parse_time;
use super::{failed, many, one};
use clap::ArgMatches;
use model::METRIC_NAME;
use model::duration::format_duration;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

const HEADER: &str = "\
Bucket stats for each histogram series over time
------------------------------------------------
First the min, avg, and max number of populated buckets, followed by the total
number of buckets (only if different from the max number of populated buckets
which is typical for classic but not native histograms).";
const FOOTER: &str = "\
Aggregated bucket stats
-----------------------
Each line shows min/avg/max over the series above.";

/// The command.
pub(crate) fn analyze(m: &ArgMatches) -> u8 {
    match run(m) {
        Ok(()) => 0,
        Err(e) => failed(e),
    }
}

fn run(m: &ArgMatches) -> Result<(), String> {
    let kind = one(m, "type");
    if kind != "histogram" {
        return Err(format!("analyze type is {kind}, must be 'histogram'"));
    }
    let server = Server::at(m, server_url(one(m, "server"))?)?;
    let end = match one(m, "time") {
        "" => now(),
        text => parse_time(text).map_err(|e| format!("error parsing time '{text}': {e}"))?,
    };
    let range = format_duration(m.get_one::<i64>("duration").copied().unwrap_or(3_600_000));
    say!("{HEADER}\n");
    let (mut native, mut classic) = (Summary::default(), Summary::default());
    for selector in many(m, "match") {
        let params = vec![("query", format!("{selector}[{range}]")), ("time", seconds(end))];
        let data = server.ask("/api/v1/query", &params, true).map_err(|e| e.text().to_owned())?;
        analyze_matrix(&data, &mut native, &mut classic)?;
    }
    say!("\n{FOOTER}");
    for (name, summary) in [("Native", native), ("Classic", classic)] {
        if summary.total.count > 0 {
            say!("\n{name} {summary}");
        }
    }
    Ok(())
}

/// Prints a line for each histogram of an answer. Series with floats are taken for buckets of classic histograms;
/// what is neither, or has a single sample, is passed over.
fn analyze_matrix(data: &Value, native: &mut Summary, classic: &mut Summary) -> Result<(), String> {
    let Some(matrix) = streams(data)? else {
        return Err("query of buckets resulted in non-Matrix".into());
    };
    let mut families: BTreeMap<String, Vec<(f64, Vec<Point>)>> = BTreeMap::new();
    for Stream { metric, values, histograms } in matrix {
        if !values.is_empty() {
            if let Some((key, bound)) = bucket_of(metric) {
                families.entry(key).or_default().push((bound, values));
            }
            continue;
        }
        if histograms.len() > 1 {
            let used: Vec<usize> = histograms.iter().map(|h| h.1.buckets.len()).collect();
            let bounds: BTreeSet<_> =
                histograms.iter().flat_map(|h| &h.1.buckets).map(|b| (b.0, &b.1, &b.2)).collect();
            let usage = Usage::of(&used, bounds.len());
            say!("- {} (native): {usage}", metric_text(&metric));
            native.add(&usage);
        }
    }
    for (name, buckets) in families {
        if let Some(usage) = classic_usage(buckets)? {
            say!("- {name} (classic): {usage}");
            classic.add(&usage);
        }
    }
    Ok(())
}

/// What a bucket's histogram is called, and its upper bound; `None` for series that are no buckets.
fn bucket_of(mut metric: Metric) -> Option<(String, f64)> {
    let bound = metric.remove("le")?.parse().unwrap_or(0.0);
    let name = metric.remove(METRIC_NAME).filter(|name| name.ends_with("_bucket"))?;
    Some((name + &label_set_text(&metric), bound))
}

/// `None` where the first bucket has fewer than two samples. A bucket without a sample at a place ends the count of
/// that place: the results are partial then.
fn classic_usage(mut buckets: Vec<(f64, Vec<Point>)>) -> Result<Option<Usage>, String> {
    let samples = buckets.first().map_or(0, |(_, points)| points.len());
    if samples < 2 {
        return Ok(None);
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut used = Vec::with_capacity(samples);
    for at in 0..samples {
        let mut populated = 0;
        let mut before: Option<(f64, f64)> = None;
        for (_, points) in &buckets {
            let Some(point) = points.get(at) else { break };
            let value: f64 =
                point.1.parse().map_err(|_| format!("bad value {}", model::labels::quote(&point.1)))?;
            if before.is_some_and(|(time, _)| time != point.0) {
                return Err("matrix result is not time aligned".into());
            }
            // Whole observations: the cast cuts off what is behind the point.
            populated += usize::from((value - before.map_or(0.0, |b| b.1)) as i64 != 0);
            before = Some((point.0, value));
        }
        used.push(populated);
    }
    Ok(Some(Usage::of(&used, buckets.len())))
}

/// Populated buckets of one histogram over time.
struct Usage {
    min: usize,
    avg: f64,
    max: usize,
    /// All its buckets, populated or not.
    total: usize,
}

impl Usage {
    /// `used`: populated buckets at each sample, at least one.
    fn of(used: &[usize], total: usize) -> Self {
        Usage {
            min: used.iter().copied().min().unwrap_or(0),
            avg: used.iter().sum::<usize>() as f64 / used.len() as f64,
            max: used.iter().copied().max().unwrap_or(0),
            total,
        }
    }
}

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:.3}/{}", self.min, self.avg, self.max)?;
        if self.max == self.total { Ok(()) } else { write!(f, "/{}", self.total) }
    }
}

/// One number of all histograms.
#[derive(Default, PartialEq)]
struct Spread {
    min: usize,
    max: usize,
    count: usize,
    avg: f64,
}

impl Spread {
    fn add(&mut self, n: usize) {
        self.min = if self.count == 0 { n } else { self.min.min(n) };
        self.max = self.max.max(n);
        self.count += 1;
        self.avg += (n as f64 - self.avg) / self.count as f64;
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:.3}/{}", self.min, self.avg, self.max)
    }
}

#[derive(Default)]
struct Summary {
    min: Spread,
    avg: Spread,
    max: Spread,
    total: Spread,
}

impl Summary {
    fn add(&mut self, usage: &Usage) {
        self.min.add(usage.min);
        self.avg.add(usage.avg as usize);
        self.max.add(usage.max);
        self.total.add(usage.total);
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "histogram series ({} in total):\n- min populated: {}", self.total.count, self.min)?;
        write!(f, "\n- avg populated: {}\n- max populated: {}", self.avg, self.max)?;
        if self.max == self.total { Ok(()) } else { write!(f, "\n- total: {}", self.total) }
    }
}
