//! `*_over_time` and relatives on floats: a tight loop over each window.

use super::window::Windows;
use crate::QueryError;
use crate::column::Column;
use crate::numeric::{Kahan, Mean, linear_regression};
use crate::quantile::quantile;

/// Calls `f` with (step, first, end) of each window that is not empty.
#[inline(always)]
pub(super) fn each(
    windows: &Windows,
    out: &mut Column,
    mut f: impl FnMut(usize, usize, usize) -> Option<f64>,
) {
    for step in windows.part.clone() {
        let (lo, hi) = windows.at(step);
        if lo < hi
            && let Some(v) = f(step, lo, hi)
        {
            out.set(step, v);
        }
    }
}

/// As [`each`] with the values of the window.
#[inline(always)]
fn values(windows: &Windows, f: &[f64], out: &mut Column, mut op: impl FnMut(&[f64]) -> f64) {
    each(windows, out, |_, lo, hi| Some(op(&f[lo..hi])));
}

/// Functions of a window alone. False when the name is none of them.
pub(super) fn plain(name: &str, t: &[i64], f: &[f64], windows: &Windows, out: &mut Column) -> bool {
    match name {
        "sum_over_time" => values(windows, f, out, sum),
        "avg_over_time" => values(windows, f, out, avg),
        "min_over_time" => values(windows, f, out, min),
        "max_over_time" => values(windows, f, out, max),
        "count_over_time" => each(windows, out, |_, lo, hi| Some((hi - lo) as f64)),
        "last_over_time" => each(windows, out, |_, _, hi| Some(f[hi - 1])),
        "first_over_time" => each(windows, out, |_, lo, _| Some(f[lo])),
        "present_over_time" | "absent_over_time" => each(windows, out, |_, _, _| Some(1.0)),
        "stdvar_over_time" => values(windows, f, out, variance),
        "stddev_over_time" => values(windows, f, out, |v| variance(v).sqrt()),
        "mad_over_time" => {
            let mut scratch = Vec::new();
            values(windows, f, out, |v| mad(v, &mut scratch));
        }
        "ts_of_first_over_time" => each(windows, out, |_, lo, _| Some(t[lo] as f64 / 1000.0)),
        "ts_of_last_over_time" => each(windows, out, |_, _, hi| Some(t[hi - 1] as f64 / 1000.0)),
        "ts_of_max_over_time" => {
            each(windows, out, |_, lo, hi| Some(time_of(&t[lo..hi], &f[lo..hi], |cur, best| cur >= best)))
        }
        "ts_of_min_over_time" => {
            each(windows, out, |_, lo, hi| Some(time_of(&t[lo..hi], &f[lo..hi], |cur, best| cur <= best)))
        }
        "deriv" => each(windows, out, |_, lo, hi| {
            (hi - lo >= 2).then(|| linear_regression(&t[lo..hi], &f[lo..hi], t[lo]).0)
        }),
        _ => return false,
    }
    true
}

pub(super) fn sum(values: &[f64]) -> f64 {
    let mut k = Kahan::default();
    values.iter().for_each(|v| k.add(*v));
    if k.sum.is_infinite() { k.sum } else { k.total() }
}

pub(super) fn avg(values: &[f64]) -> f64 {
    let mut mean = Mean::first(values[0]);
    values[1..].iter().for_each(|v| mean.add(*v));
    mean.value()
}

pub(super) fn min(values: &[f64]) -> f64 {
    values.iter().fold(values[0], |best, &v| if v < best || best.is_nan() { v } else { best })
}

pub(super) fn max(values: &[f64]) -> f64 {
    values.iter().fold(values[0], |best, &v| if v > best || best.is_nan() { v } else { best })
}

pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut aux) = (0.0, Kahan::default(), Kahan::default());
    for &v in values {
        count += 1.0;
        let delta = v - mean.total();
        mean.add(delta / count);
        aux.add(delta * (v - mean.total()));
    }
    aux.total() / count
}

pub(super) fn mad(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend_from_slice(values);
    let median = quantile(0.5, scratch);
    scratch.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, scratch)
}

/// Seconds of the last sample that is `better` than all before.
pub(super) fn time_of(times: &[i64], values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let (mut best, mut at) = (values[0], times[0]);
    for (&t, &v) in times.iter().zip(values) {
        if better(v, best) || best.is_nan() {
            (best, at) = (v, t);
        }
    }
    at as f64 / 1000.0
}

pub(super) fn quantiles(q: &[f64], f: &[f64], windows: &Windows, out: &mut Column) {
    let mut scratch = Vec::new();
    each(windows, out, |step, lo, hi| {
        scratch.clear();
        scratch.extend_from_slice(&f[lo..hi]);
        Some(quantile(q[step], &mut scratch))
    });
}

pub(super) fn check_factors(sf: f64, tf: f64) -> Result<(), QueryError> {
    for (name, v, short) in [("smoothing", sf, "sf"), ("trend", tf, "tf")] {
        if v <= 0.0 || v >= 1.0 {
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {v:.6}");
            return Err(QueryError::exec(text));
        }
    }
    Ok(())
}

/// Double exponential smoothing (Holt) of at least two values.
pub(super) fn smooth(values: &[f64], sf: f64, tf: f64) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (mut before, mut smoothed, mut trend) = (0.0, values[0], values[1] - values[0]);
    for (i, v) in values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = tf * (smoothed - before) + (1.0 - tf) * trend;
        }
        let next = sf * v + (1.0 - sf) * (smoothed + trend);
        before = smoothed;
        smoothed = next;
    }
    Some(smoothed)
}
