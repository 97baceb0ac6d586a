//! The end of a replay: what was seen is published, damage is set aside, and what means nothing is told.

use super::Replay;
use crate::OpenError;
use crate::head::ooo::record_rows;
use crate::head::page::{PAGE_SERIES, Walk};
use crate::head::table::SeriesTable;
use crate::head::truncate::Retired;
use crate::wal::RecordBuf;
use hashbrown::HashSet;
use model::TimeRange;
use std::path::Path;
use storage::SeriesRef;

/// References of the log that mean nothing.
#[derive(Default)]
pub(super) struct Unknown {
    pub(super) series: HashSet<u64>,
    pub(super) samples: u64,
    pub(super) late_samples: u64,
    pub(super) late_histograms: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
    pub(super) metadata: u64,
    pub(super) tombstones: u64,
    pub(super) markers: u64,
}

impl Unknown {
    /// Rows that a log has and memory does not get.
    pub(super) fn count(&self) -> u64 {
        self.samples
            + self.late_samples
            + self.late_histograms
            + self.histograms
            + self.exemplars
            + self.tombstones
            + self.markers
    }

    pub(super) fn add(&mut self, other: Unknown) {
        self.series.extend(other.series);
        self.samples += other.samples;
        self.late_samples += other.late_samples;
        self.late_histograms += other.late_histograms;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.metadata += other.metadata;
        self.tombstones += other.tombstones;
        self.markers += other.markers;
    }

    pub(super) fn note(&mut self, table: &SeriesTable, series: SeriesRef) {
        if self.series.insert(series.0)
            && let Ok(number) = u32::try_from(series.0)
        {
            table.reserve(number);
        }
    }
}

impl Replay<'_> {
    /// Logs late samples again whose chunks are lost: the next start, with other chunks on disk, may take the
    /// markers of the lost ones for good.
    fn log_unmarked(&self) -> Result<(), OpenError> {
        if self.unmarked.is_empty() {
            return Ok(());
        }
        let mut records = RecordBuf::new();
        let mut walk = Walk::new(&self.pages);
        let mut rows = Vec::new();
        for series in &self.unmarked {
            let late = walk.go(*series).and_then(|(cells, slot)| cells.late(slot));
            rows.extend(late.map(|late| (*series, late.rows(TimeRange::ALL))));
        }
        record_rows(&mut records, &rows);
        self.head.wbl()?.log(&records)?;
        Ok(())
    }

    /// Chunks of late samples, in memory and on disk.
    fn late_chunk_count(&self) -> u64 {
        let mut count = 0;
        for page in self.pages.iter().flatten() {
            let cells = page.lock();
            if cells.has_late() {
                let all = (0..PAGE_SERIES).filter_map(|slot| cells.late(slot));
                count += all.map(|l| l.mapped.len() as u64 + u64::from(!l.open.is_empty())).sum::<u64>();
            }
        }
        count
    }

    /// Publishes times and figures, sets damaged places aside, and says what was not understood.
    pub(super) fn finish(self, wal: &Path, wbl: &Path) -> Result<(), OpenError> {
        let head = self.head;
        let tally = &self.tally;
        head.saw(tally.min, tally.max);
        head.saw_late(tally.late_min, tally.late_max);
        let chunks = (tally.chunks + self.late_chunk_count()).saturating_sub(tally.departed_chunks);
        head.metrics.chunks.set(chunks as f64);
        head.metrics.chunks_created.add(chunks);
        let segment = head.wal.first_own_segment();
        let doubles = self.other.iter().filter_map(|(number, (_, newest))| {
            Some((u32::try_from(*number).ok()?, Retired { segment, newest: *newest }))
        });
        head.retired.lock().extend(doubles);
        *head.aliases.lock() = self.other.iter().map(|(number, (own, t))| (*number, *own, *t)).collect();
        head.mapper.flush();
        self.log_unmarked()?;
        if !self.damage.is_empty() {
            head.metrics.wal_corruptions.add(self.damage.len() as u64);
            for dir in [wal, wbl] {
                crate::wal::quarantine_all(&*head.disk, dir, &self.damage)?;
            }
        }
        let u = &tally.unknown;
        if u.count() + u.metadata > 0 {
            tracing::warn!(
                component = "tsdb",
                series = u.series.len(),
                samples = u.samples,
                late_samples = u.late_samples,
                late_histograms = u.late_histograms,
                histograms = u.histograms,
                exemplars = u.exemplars,
                metadata = u.metadata,
                tombstones = u.tombstones,
                mmap_markers = u.markers,
                "Unknown series references"
            );
            head.metrics.unknown_series.add(u.series.len() as u64);
            head.metrics.unknown_samples.add(u.samples);
            head.metrics.unknown_histograms.add(u.histograms);
            head.metrics.unknown_exemplars.add(u.exemplars);
            head.metrics.unknown_metadata.add(u.metadata);
            head.metrics.unknown_tombstones.add(u.tombstones);
            head.metrics.late_unknown_samples.add(u.late_samples);
            head.metrics.late_unknown_histograms.add(u.late_histograms);
            head.metrics.late_unknown_markers.add(u.markers);
        }
        if self.refused_series > 0 {
            tracing::error!(
                component = "tsdb",
                series = self.refused_series,
                "Series of the log were left out: the label texts take more than four GiB"
            );
        }
        if tally.bad_histograms > 0 {
            tracing::warn!(
                component = "tsdb",
                samples = tally.bad_histograms,
                "Malformed native histograms in the log were left out"
            );
        }
        Ok(())
    }
}
