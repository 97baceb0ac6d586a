//! The memory of a scrape, and how it becomes batches for the append door.

use super::cache::EntryId;
use super::report::{ReportSeries, Reported};
use model::{MetricType, Sample, stale_nan};
use std::ops::Range;
use storage::{Batch, BatchSeries, ExemplarRow, SeriesId, SeriesRef, WriteOutcome};
use wire::exposition::LabelBuf;

/// Memory for one scrape at a time, lent by the supervisor.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) body: Vec<u8>,
    pub(super) keys: Vec<u8>,
    pub(super) rows: Vec<Row>,
    /// Series of which nothing is stored this time and which are not gone.
    pub(super) kept_back: Vec<EntryId>,
    pub(super) exemplars: Vec<ExemplarAt>,
    pub(super) labels: LabelBuf,
    pub(super) batch: Batch<'static>,
    pub(super) outcome: WriteOutcome,
    pub(super) vanished: Vec<SeriesRef>,
    pub(super) metadata: Vec<(String, MetricType, String, String)>,
}

pub(super) struct Row {
    pub(super) entry: EntryId,
    pub(super) reference: SeriesRef,
    /// In `keys`; for rows without a reference.
    pub(super) key: Range<u32>,
    pub(super) samples: Range<u32>,
    pub(super) histograms: Range<u32>,
    pub(super) exemplars: Range<u32>,
    pub(super) tracked: bool,
    pub(super) created: bool,
}

pub(super) struct ExemplarAt {
    pub(super) key: Range<u32>,
    pub(super) t: i64,
    pub(super) v: f64,
}

impl Scratch {
    /// Empties everything but the body.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
        self.kept_back.clear();
        self.exemplars.clear();
        self.labels.clear();
        self.batch.clear();
        self.outcome.clear();
        self.vanished.clear();
        self.metadata.clear();
    }

    /// Bytes that it holds on to.
    pub(super) fn held_bytes(&self) -> usize {
        self.body.capacity()
            + self.keys.capacity()
            + self.rows.capacity() * size_of::<Row>()
            + self.batch.samples.capacity() * size_of::<Sample>()
            + self.batch.series.capacity() * size_of::<BatchSeries<'_>>()
    }
}

pub(super) fn bytes_at(keys: &[u8], at: &Range<u32>) -> Range<usize> {
    let end = (at.end as usize).min(keys.len());
    (at.start as usize).min(end)..end
}

pub(super) fn push_rows<'k>(batch: &mut Batch<'k>, rows: &[Row], keys: &'k [u8], exemplars: &[ExemplarAt]) {
    let key = |at: &Range<u32>| keys.get(bytes_at(keys, at)).unwrap_or_default();
    batch.series.extend(rows.iter().map(|row| BatchSeries {
        id: match row.reference {
            SeriesRef(0) => SeriesId::Key(key(&row.key)),
            reference => SeriesId::Ref(reference),
        },
        samples: row.samples.clone(),
        histograms: row.histograms.clone(),
        exemplars: row.exemplars.clone(),
    }));
    batch.exemplars.extend(exemplars.iter().map(|e| ExemplarRow { labels: key(&e.key), t: e.t, v: e.v }));
}

pub(super) fn push_one<'k>(batch: &mut Batch<'k>, id: SeriesId<'k>, t: i64, v: f64) {
    let at = batch.samples.len() as u32;
    batch.samples.push(Sample { t, v });
    batch.series.push(BatchSeries { id, samples: at..at + 1, histograms: 0..0, exemplars: 0..0 });
}

pub(super) fn push_stale(batch: &mut Batch<'_>, vanished: &[SeriesRef], t: i64) {
    for reference in vanished {
        push_one(batch, SeriesId::Ref(*reference), t, stale_nan());
    }
}

pub(super) fn push_report<'k>(batch: &mut Batch<'k>, report: &'k [ReportSeries], values: &Reported, t: i64) {
    for (series, value) in report.iter().zip(values) {
        let id = match series.reference {
            SeriesRef(0) => SeriesId::Key(&series.key),
            reference => SeriesId::Ref(reference),
        };
        push_one(batch, id, t, *value);
    }
}

/// The same memory for a batch with another lifetime.
pub(super) fn recycle<'b>(mut batch: Batch<'_>) -> Batch<'b> {
    batch.clear();
    recycle_keeping_samples(batch)
}

/// As [`recycle`], keeping the tables that borrow nothing.
pub(super) fn recycle_keeping_samples<'b>(mut batch: Batch<'_>) -> Batch<'b> {
    batch.series.clear();
    batch.exemplars.clear();
    batch.metadata.clear();
    Batch {
        // Collecting an empty iterator over a vector's own memory keeps that memory.
        series: batch
            .series
            .into_iter()
            .map(|s| BatchSeries {
                id: SeriesId::Key(&[]),
                samples: s.samples,
                histograms: s.histograms,
                exemplars: s.exemplars,
            })
            .collect(),
        samples: batch.samples,
        starts: batch.starts,
        histograms: batch.histograms,
        exemplars: batch.exemplars.into_iter().map(|e| ExemplarRow { labels: &[], t: e.t, v: e.v }).collect(),
        metadata: Vec::new(),
        reject_out_of_order: batch.reject_out_of_order,
    }
}
