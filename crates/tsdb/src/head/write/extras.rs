//! Exemplars and metadata of a batch.

use super::HeadWriter;
use super::verdict::{refuse, rows};
use crate::exemplars::Stored;
use model::{Labels, METRIC_NAME, Matcher, Metadata};
use storage::{Batch, ExemplarRow, RejectReason, RowKind, SeriesRef, WriteOutcome};

impl HeadWriter {
    pub(super) fn check_exemplars(&mut self, batch: &Batch<'_>, out: &mut WriteOutcome) {
        if batch.exemplars.is_empty() {
            return;
        }
        for (row, series) in batch.series.iter().enumerate() {
            let id = out.refs[row].0 as u32;
            for at in rows(series.exemplars.clone(), batch.exemplars.len()) {
                if id == 0 {
                    continue;
                }
                let exemplar = &batch.exemplars[at as usize];
                let checked = exemplar_labels(exemplar).map(|l| Stored::new(exemplar.t, exemplar.v, l));
                let verdict = checked.and_then(|e| self.head.exemplars.check(id, &e).map(|()| e));
                match verdict {
                    Ok(e) => self.exemplars.push((row as u32, at, e)),
                    // Expected with every scrape; a no-op, as upstream.
                    Err(RejectReason::DuplicateExemplar) => out.exemplars += 1,
                    Err(reason) => refuse(out, row as u32, RowKind::Exemplar, at, reason),
                }
            }
        }
    }

    /// Remembers metadata of families; with `metadata_wal_records`, logs what is new for each of their series.
    pub(super) fn store_metadata(&mut self, batch: &Batch<'_>) {
        if batch.metadata.is_empty() {
            return;
        }
        let head = &*self.head;
        self.record.clear();
        let mut record = self.record.metadata();
        for row in &batch.metadata {
            let changed = head.metadata.set(row, head.options.max_metadata);
            if !changed || !head.options.metadata_wal_records {
                continue;
            }
            let metadata = Metadata { kind: row.kind, unit: row.unit.to_owned(), help: row.help.to_owned() };
            let index = head.index.read();
            for suffix in ["", "_total", "_sum", "_count", "_bucket", "_info", "_created"] {
                let name = Matcher::equal(METRIC_NAME, format!("{}{suffix}", row.family));
                for series in index.select(&[name]) {
                    record.push(SeriesRef(u64::from(series)), &metadata);
                }
            }
        }
        drop(record);
        if let Err(e) = head.wal.log(&self.record) {
            // It comes again with the next change or restart of its sender.
            tracing::warn!(component = "tsdb", err = %e, "Metadata was not logged");
        }
    }

    pub(super) fn store_exemplars(&mut self, out: &mut WriteOutcome) {
        for (row, at, e) in self.exemplars.drain(..) {
            let series = out.refs[row as usize].0 as u32;
            let labels = || self.head.labels(series).unwrap_or_default();
            match self.head.exemplars.add(series, e, labels, &self.head.metrics) {
                Ok(()) | Err(RejectReason::DuplicateExemplar) => out.exemplars += 1,
                Err(reason) => refuse(out, row, RowKind::Exemplar, at, reason),
            }
        }
    }
}

fn exemplar_labels(row: &ExemplarRow<'_>) -> Result<Labels, RejectReason> {
    let labels: Result<Vec<_>, _> = storage::key::iter(row.labels).collect();
    labels.map(Labels::from_pairs).map_err(|e| RejectReason::InvalidLabels(e.to_string()))
}
