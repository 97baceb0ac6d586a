//! The registry: named families of metrics, with or without labels, and a snapshot of all of them.

use crate::metric::{Counter, Gauge, Histogram};
use crate::summary::Summary;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Untyped,
}

impl FamilyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
            FamilyKind::Summary => "summary",
            FamilyKind::Untyped => "untyped",
        }
    }
}

/// One sample line of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `""`, `_sum`, `_count` or `_bucket`.
    pub suffix: &'static str,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

/// A family as plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: FamilyKind,
    pub points: Vec<Point>,
}

type Collect = Box<dyn Fn(&mut Vec<Point>) + Send + Sync>;

struct Entry {
    help: String,
    kind: FamilyKind,
    collectors: Vec<Collect>,
}

/// A set of metric families. Cloning shares it.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
}

/// Metrics of one family by label values; a child is made when first asked for.
pub struct Vector<M> {
    labels: Arc<[String]>,
    children: Arc<RwLock<BTreeMap<Vec<String>, M>>>,
    make: Arc<dyn Fn() -> M + Send + Sync>,
}

impl<M> Clone for Vector<M> {
    fn clone(&self) -> Self {
        Vector { labels: self.labels.clone(), children: self.children.clone(), make: self.make.clone() }
    }
}

impl<M: Clone> Vector<M> {
    /// The child with these label values, in the order of the label names.
    pub fn with(&self, values: &[&str]) -> M {
        debug_assert_eq!(values.len(), self.labels.len());
        let key: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        if let Some(found) = self.children.read().get(&key) {
            return found.clone();
        }
        self.children.write().entry(key).or_insert_with(|| (self.make)()).clone()
    }

    /// Forgets a child, so that it is no longer exposed.
    pub fn remove(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        self.children.write().remove(&key);
    }
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function that gives the points of a family when asked. Several functions may serve one
    /// family (e.g. one for each remote destination).
    pub fn collect(
        &self,
        name: &str,
        help: &str,
        kind: FamilyKind,
        f: impl Fn(&mut Vec<Point>) + Send + Sync + 'static,
    ) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(name.to_owned()).or_insert_with(|| Entry {
            help: help.to_owned(),
            kind,
            collectors: Vec::new(),
        });
        entry.collectors.push(Box::new(f));
    }

    /// A gauge whose value is computed when asked.
    pub fn gauge_fn(&self, name: &str, help: &str, f: impl Fn() -> f64 + Send + Sync + 'static) {
        self.collect(name, help, FamilyKind::Gauge, move |out| out.push(plain("", Vec::new(), f())));
    }

    /// A counter whose value is computed when asked.
    pub fn counter_fn(&self, name: &str, help: &str, f: impl Fn() -> f64 + Send + Sync + 'static) {
        self.collect(name, help, FamilyKind::Counter, move |out| out.push(plain("", Vec::new(), f())));
    }

    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counter_vec(name, help, &[]).with(&[])
    }

    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.gauge_vec(name, help, &[]).with(&[])
    }

    /// `bounds`: sorted upper bounds without `+Inf`.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.histogram_vec(name, help, bounds, &[]).with(&[])
    }

    pub fn summary(&self, name: &str, help: &str, quantiles: &[f64]) -> Summary {
        self.summary_vec(name, help, quantiles, &[]).with(&[])
    }

    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> Vector<Counter> {
        self.vector(name, help, FamilyKind::Counter, labels, Counter::new, |c, labels, out| {
            out.push(plain("", labels, c.get()));
        })
    }

    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> Vector<Gauge> {
        self.vector(name, help, FamilyKind::Gauge, labels, Gauge::new, |g, labels, out| {
            out.push(plain("", labels, g.get()));
        })
    }

    pub fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &[&str],
    ) -> Vector<Histogram> {
        let bounds = bounds.to_vec();
        let make = move || Histogram::new(&bounds);
        self.vector(name, help, FamilyKind::Histogram, labels, make, |h, labels, out| {
            let buckets = h.cumulative();
            let count = buckets.last().map_or(0, |b| b.1);
            for (bound, n) in buckets {
                let mut labels = labels.clone();
                labels.push(("le".into(), number(bound)));
                out.push(plain("_bucket", labels, n as f64));
            }
            out.push(plain("_sum", labels.clone(), h.sum()));
            out.push(plain("_count", labels, count as f64));
        })
    }

    pub fn summary_vec(&self, name: &str, help: &str, quantiles: &[f64], labels: &[&str]) -> Vector<Summary> {
        let quantiles = quantiles.to_vec();
        let make = move || Summary::new(&quantiles);
        self.vector(name, help, FamilyKind::Summary, labels, make, |s, labels, out| {
            let (quantiles, count, sum) = s.read();
            for (q, value) in quantiles {
                let mut labels = labels.clone();
                labels.push(("quantile".into(), number(q)));
                out.push(plain("", labels, value));
            }
            out.push(plain("_sum", labels.clone(), sum));
            out.push(plain("_count", labels, count as f64));
        })
    }

    fn vector<M: Clone + Send + Sync + 'static>(
        &self,
        name: &str,
        help: &str,
        kind: FamilyKind,
        labels: &[&str],
        make: impl Fn() -> M + Send + Sync + 'static,
        expand: impl Fn(&M, Vec<(String, String)>, &mut Vec<Point>) + Send + Sync + 'static,
    ) -> Vector<M> {
        let vector = Vector {
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            children: Arc::default(),
            make: Arc::new(make),
        };
        let shown = vector.clone();
        self.collect(name, help, kind, move |out| {
            for (values, metric) in shown.children.read().iter() {
                let labels = shown.labels.iter().cloned().zip(values.iter().cloned()).collect();
                expand(metric, labels, out);
            }
        });
        vector
    }

    /// All families, sorted by name; families without points are left out.
    pub fn snapshot(&self) -> Vec<Family> {
        let entries = self.entries.lock();
        let mut families = Vec::with_capacity(entries.len());
        for (name, entry) in entries.iter() {
            let mut points = Vec::new();
            for collect in &entry.collectors {
                collect(&mut points);
            }
            if !points.is_empty() {
                let (name, help) = (name.clone(), entry.help.clone());
                families.push(Family { name, help, kind: entry.kind, points });
            }
        }
        families
    }
}

fn plain(suffix: &'static str, labels: Vec<(String, String)>, value: f64) -> Point {
    Point { suffix, labels, value }
}

fn number(v: f64) -> String {
    if v == f64::INFINITY { "+Inf".into() } else { format!("{v}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_is_sorted_and_expanded() {
        let registry = Registry::new();
        let requests = registry.counter_vec("b_total", "B.", &["code"]);
        requests.with(&["200"]).add(2);
        requests.with(&["200"]).inc();
        registry.gauge("a", "A.").set(1.5);
        let latency = registry.histogram("c", "C.", &[0.1, 1.0]);
        latency.observe(0.1);
        latency.observe(5.0);
        let families = registry.snapshot();
        let names: Vec<_> = families.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a", "b_total", "c"]);
        assert_eq!(families[1].points[0].value, 3.0);
        let counts: Vec<_> = families[2].points.iter().map(|p| p.value).collect();
        assert_eq!(counts, [1.0, 1.0, 2.0, 5.1, 2.0]);
    }
}
