//! `info()`: adds labels of info series to the series they describe.

use super::{Collector, Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::column::{BitIter, Column};
use crate::plan::{CallNode, Node, Op, Selector};
use hashbrown::{HashMap, HashSet};
use model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, TimeRange, is_stale_nan};
use storage::{SampleBuf, SelectHints};

/// Labels by which info series and described series belong together.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Most values of an identifying label that are put into a regular expression.
const MAX_ALTERNATIVES: usize = 500;

/// An info series: its labels, and the time (ms) of its newest sample at each step.
struct InfoSeries {
    labels: Labels,
    times: Column,
}

/// `@` and offset of the first selector in the first argument, with those of the subqueries around it.
fn times_of(node: &Node, outer: &mut Vec<(i64, Option<i64>)>) -> Option<(Option<i64>, i64)> {
    match &node.op {
        Op::Instant(s) => Some(resolve(s, outer)),
        Op::Window(w) => Some(resolve(&w.selector, outer)),
        Op::Subquery(s) => {
            outer.push((s.offset, s.at));
            let found = times_of(&s.child, outer);
            outer.pop();
            found
        }
        Op::Invariant(child) | Op::Plus(child) | Op::Negate(child) | Op::Shared(_, child) => {
            times_of(child, outer)
        }
        Op::Binary(b) => times_of(&b.lhs, outer).or_else(|| times_of(&b.rhs, outer)),
        Op::Aggregate(a) => {
            times_of(&a.child, outer).or_else(|| a.param.as_ref().and_then(|p| times_of(p, outer)))
        }
        Op::Call(c) => c.args.iter().find_map(|arg| times_of(arg, outer)),
        Op::Number(_) | Op::Text(_) => None,
    }
}

fn resolve(s: &Selector, outer: &[(i64, Option<i64>)]) -> (Option<i64>, i64) {
    let (mut at, mut offset) = (s.at, s.offset);
    for (o, a) in outer.iter().rev() {
        if at.is_some() {
            break;
        }
        offset = offset.saturating_add(*o);
        at = *a;
    }
    (at, offset)
}

/// Name matchers, with a positive one added if there is none.
fn effective_names(matchers: &[Matcher]) -> Result<Vec<Matcher>, QueryError> {
    if matchers.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Regex)) {
        return Ok(matchers.to_vec());
    }
    if matchers.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, "target_info")]);
    }
    let mut all = vec![regex_matcher(METRIC_NAME, ".+_info")?];
    all.extend_from_slice(matchers);
    Ok(all)
}

fn regex_matcher(name: &str, expr: &str) -> Result<Matcher, QueryError> {
    Matcher::new(MatchOp::Regex, name, expr).map_err(|e| QueryError::exec(e.to_string()))
}

impl Eval<'_> {
    pub(super) fn info(&mut self, c: &CallNode, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let (at, offset) = times_of(&c.args[0], &mut Vec::new()).unwrap_or((None, 0));
        let base = self.list(&c.args[0], grid)?;
        let (mut names, mut data): (Vec<Matcher>, Vec<Matcher>) = (Vec::new(), Vec::new());
        match c.args.get(1).map(|a| &a.unwrapped().op) {
            Some(Op::Instant(s)) => {
                for m in &s.matchers {
                    if m.name == METRIC_NAME { names.push(m.clone()) } else { data.push(m.clone()) }
                }
            }
            _ => names.push(Matcher::equal(METRIC_NAME, "target_info")),
        }
        let effective = effective_names(&names)?;
        let plain: Vec<bool> = base
            .iter()
            .map(|out| effective.iter().all(|m| m.matches(out.labels.value(METRIC_NAME))))
            .collect();
        let infos = self.info_series(&base, &plain, &data, &effective, (at, offset), grid)?;
        let result = self.enrich(&base, &plain, &data, &infos, grid);
        self.drop_list(base);
        result?.flush(self, sink)
    }

    /// Info series that may describe any of the base series.
    fn info_series(
        &mut self,
        base: &[Out],
        plain: &[bool],
        data: &[Matcher],
        names: &[Matcher],
        (at, offset): (Option<i64>, i64),
        grid: Grid,
    ) -> Result<Vec<InfoSeries>, QueryError> {
        let mut matchers = Vec::new();
        let mut identified = false;
        for name in IDENTIFYING {
            let values: HashSet<&str> = base
                .iter()
                .zip(plain)
                .filter(|(_, plain)| !**plain)
                .filter_map(|(out, _)| out.labels.get(name))
                .collect();
            identified |= !values.is_empty();
            // Only to select less: series are compared label by label later.
            if !values.is_empty() && values.len() <= MAX_ALTERNATIVES {
                let mut values: Vec<String> = values.into_iter().map(regex::escape).collect();
                values.sort();
                matchers.push(regex_matcher(name, &values.join("|"))?);
            }
        }
        if !identified {
            return Ok(Vec::new());
        }
        matchers.extend_from_slice(data);
        matchers.extend_from_slice(names);
        let selector = Selector {
            fetch: 0,
            matchers: Vec::new(),
            offset,
            at,
            anchored: false,
            smoothed: false,
            stats_only: false,
        };
        let (first, last) = (selector.reference(grid.start), selector.reference(grid.last()));
        let range = TimeRange::new(first.saturating_sub(self.lookback).saturating_add(1), last);
        let hints = SelectHints {
            range: Some(range),
            step: grid.step,
            func: "info".into(),
            ..SelectHints::default()
        };
        // The querier was opened for what the query's selectors look at; these lie within it, unless an
        // offset is at odds with `@` inside a subquery.
        let mut list = Vec::new();
        let mut buf = SampleBuf::default();
        for series in self.select(&matchers, &hints)?.iter() {
            buf.clear();
            series.read(range, &mut buf)?;
            self.watch.check(buf.len() + 16)?;
            let mut times = self.column(grid.steps);
            let mut next = 0;
            for step in 0..grid.steps {
                let reference = selector.reference(grid.time(step));
                while next < buf.times.len() && buf.times[next] <= reference {
                    next += 1;
                }
                let Some(newest) = next.checked_sub(1) else { continue };
                if buf.times[newest] <= reference.saturating_sub(self.lookback)
                    || is_stale_nan(buf.floats[newest])
                {
                    continue;
                }
                if buf.histograms.iter().any(|(i, _)| *i as usize == newest) {
                    let labels = series.labels();
                    return Err(QueryError::exec(format!(
                        "this should be an info metric, with float samples: {labels}"
                    )));
                }
                times.set(step, buf.times[newest] as f64);
            }
            self.frame.add_column(&times);
            if !times.is_empty() {
                list.push(InfoSeries { labels: series.labels().clone(), times });
            }
        }
        Ok(list)
    }

    fn enrich(
        &mut self,
        base: &[Out],
        plain: &[bool],
        data: &[Matcher],
        infos: &[InfoSeries],
        grid: Grid,
    ) -> Result<Collector, QueryError> {
        // Series by info metric name and identifying labels.
        let signature = |labels: &Labels| labels.without(|n| !IDENTIFYING.contains(&n));
        let mut by_key: HashMap<(String, Labels), Vec<usize>> = HashMap::new();
        let mut metric_names: Vec<String> = Vec::new();
        for (i, info) in infos.iter().enumerate() {
            let name = info.labels.value(METRIC_NAME).to_owned();
            if !metric_names.contains(&name) {
                metric_names.push(name.clone());
            }
            by_key.entry((name, signature(&info.labels))).or_default().push(i);
        }
        metric_names.sort();
        self.check_info_conflicts(by_key.values(), infos, base)?;
        let all_match_empty = data.iter().all(|m| m.matches(""));
        let mut collector = Collector::new();
        for (out, plain) in base.iter().zip(plain) {
            if *plain {
                collector.add(out.clone())?;
                continue;
            }
            let own = signature(&out.labels);
            let candidates: Vec<&Vec<usize>> =
                metric_names.iter().filter_map(|n| by_key.get(&(n.clone(), own.clone()))).collect();
            // Steps with the same chosen info series share their labels.
            let mut results: HashMap<Vec<usize>, Option<(Labels, Column)>> = HashMap::new();
            for step in BitIter::new(&out.column.any_bits()) {
                self.watch.check(candidates.len() + 1)?;
                let chosen: Vec<usize> =
                    candidates.iter().filter_map(|list| newest(list, infos, step)).collect();
                let result = match results.entry(chosen) {
                    hashbrown::hash_map::Entry::Occupied(slot) => slot.into_mut(),
                    hashbrown::hash_map::Entry::Vacant(slot) => {
                        let labels = if slot.key().is_empty() && !all_match_empty {
                            None
                        } else {
                            Some(with_info(&out.labels, slot.key(), infos, data)?)
                        };
                        slot.insert(labels.map(|labels| (labels, Column::new(grid.steps))))
                    }
                };
                let Some((_, column)) = result else { continue };
                match out.column.float(step) {
                    Some(v) => column.set(step, v),
                    None => {
                        if let Some(h) = out.column.hist(step) {
                            column.push_hist(step, h.clone());
                        }
                    }
                }
            }
            for (labels, column) in results.into_values().flatten() {
                collector.add(Out { labels, drop_name: out.drop_name, column })?;
            }
        }
        Ok(collector)
    }

    /// Two info series of one name and identity must not have samples of the same time.
    fn check_info_conflicts<'a>(
        &self,
        groups: impl Iterator<Item = &'a Vec<usize>>,
        infos: &[InfoSeries],
        base: &[Out],
    ) -> Result<(), QueryError> {
        let words = infos.first().map_or(0, |i| i.times.present.len());
        let mut active = vec![0u64; words];
        for out in base {
            active.iter_mut().zip(out.column.any_bits()).for_each(|(all, one)| *all |= one);
        }
        for list in groups.filter(|l| l.len() > 1) {
            for step in BitIter::new(&active) {
                let mut best: Option<(f64, usize)> = None;
                for &i in list {
                    let Some(t) = infos[i].times.float(step) else { continue };
                    match best {
                        Some((known, j)) if known == t => {
                            let (a, b) = (&infos[j].labels, &infos[i].labels);
                            return Err(QueryError::exec(format!(
                                "found duplicate series for info metric: existing {a} @ {t}, new {b} @ {t}"
                            )));
                        }
                        Some((known, _)) if known > t => {}
                        _ => best = Some((t, i)),
                    }
                }
            }
        }
        Ok(())
    }
}

fn newest(list: &[usize], infos: &[InfoSeries], step: usize) -> Option<usize> {
    list.iter()
        .filter_map(|&i| infos[i].times.float(step).map(|t| (t, i)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, i)| i)
}

/// Labels of a series with those of the chosen info series, as far as they are asked for.
fn with_info(
    base: &Labels,
    chosen: &[usize],
    infos: &[InfoSeries],
    data: &[Matcher],
) -> Result<Labels, QueryError> {
    let mut added = LabelsBuilder::new();
    for &i in chosen {
        for (name, value) in infos[i].labels.iter().filter(|(n, _)| *n != METRIC_NAME) {
            if !data.is_empty() && !data.iter().any(|m| m.name == name) {
                continue;
            }
            if added.get(name).is_some_and(|known| known != value) {
                return Err(QueryError::exec(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.set(name, value);
            }
        }
    }
    let mut builder = base.builder();
    for (name, value) in added.iter() {
        builder.set(name, value);
    }
    Ok(builder.finish())
}
