//! What a round of evaluation needs: an engine over a store, and a way to append.

use crate::template::{Sample, Value, labels_for_templates};
use model::{Labels, Sample as Row};
use query::{Engine, QueryOpts, SampleValue, Value as Answer};
use storage::{Batch, BatchSeries, HistogramRow, Queryable, SeriesId, WriteOutcome, Writer, key};

/// Engine, store and surroundings of rules.
pub struct Evaluator<'a> {
    pub engine: &'a Engine,
    pub queryable: &'a dyn Queryable,
    /// The URL under which the server is reached; `None` where there is no server.
    pub external_url: Option<&'a str>,
}

/// A sample of a rule's result.
#[derive(Clone, Debug)]
pub struct Produced {
    pub labels: Labels,
    /// Milliseconds.
    pub t: i64,
    pub value: SampleValue,
}

impl Produced {
    pub(crate) fn float(labels: Labels, t: i64, v: f64) -> Self {
        Produced { labels, t, value: SampleValue::Float(v) }
    }
}

impl Evaluator<'_> {
    /// An instant vector; a scalar is one sample without labels.
    pub fn vector(&self, expr: &str, at: i64) -> Result<Vec<Produced>, String> {
        let result = self
            .engine
            .instant(self.queryable, expr, at, &QueryOpts::default())
            .map_err(|e| e.to_string())?;
        match result.value {
            Answer::Vector(vector) => {
                let produced = |s: query::VectorSample| Produced { labels: s.labels, t: s.t, value: s.value };
                Ok(vector.into_iter().map(produced).collect())
            }
            Answer::Scalar(t, v) => Ok(vec![Produced::float(Labels::empty(), t, v)]),
            _ => Err("rule result is not a vector or scalar".into()),
        }
    }

    /// [`Evaluator::vector`] as templates see it.
    pub(crate) fn samples(&self, expr: &str, at: i64) -> Result<Vec<Sample>, String> {
        let vector = self.vector(expr, at)?;
        let sample = |p: &Produced| Sample { labels: labels_for_templates(&p.labels), value: seen(&p.value) };
        Ok(vector.iter().map(sample).collect())
    }

    /// Appends rows; for each the reason why it was refused. The error is of the write as a whole.
    pub fn append(&self, writer: &mut dyn Writer, rows: &[Produced]) -> Result<Vec<Option<String>>, String> {
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| key::of_labels(&row.labels)).collect();
        let mut batch = Batch { reject_out_of_order: false, ..Batch::default() };
        for (row, key) in rows.iter().zip(&keys) {
            let (s, h) = (batch.samples.len() as u32, batch.histograms.len() as u32);
            let (mut samples, mut histograms) = (s..s, h..h);
            match &row.value {
                SampleValue::Float(v) => {
                    batch.samples.push(Row { t: row.t, v: *v });
                    samples.end += 1;
                }
                SampleValue::Histogram(histogram) => {
                    batch.histograms.push(HistogramRow { t: row.t, start: 0, histogram: histogram.clone() });
                    histograms.end += 1;
                }
            }
            batch.series.push(BatchSeries { id: SeriesId::Key(key), samples, histograms, exemplars: 0..0 });
        }
        let mut outcome = WriteOutcome::default();
        writer.write(&batch, &mut outcome).map_err(|e| e.to_string())?;
        let mut refused = vec![None; rows.len()];
        for rejection in &outcome.rejected {
            let at = rejection.series as usize;
            if let Some(slot) = refused.get_mut(at) {
                *slot = Some(rejection.reason.to_string());
            }
        }
        Ok(refused)
    }
}

/// A value as templates see it.
pub(crate) fn seen(value: &SampleValue) -> Value {
    match value {
        SampleValue::Float(v) => Value::Float(*v),
        SampleValue::Histogram(h) => Value::Histogram(h.clone()),
    }
}
