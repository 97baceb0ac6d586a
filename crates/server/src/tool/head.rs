//! Samples that stand in no block yet: read from the log of a data directory, which stays as it is.

use disk::OsDisk;
use model::{Labels, Matcher, TimeRange};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use storage::select::{EncodedChunk, ListSeriesSet};
use storage::{SampleBuf, Series, SeriesSet, StorageError};
use tsdb::wal::record::{self, RecordError, RecordType};
use tsdb::wal::{LogReader, Segment, Tombstone, last_checkpoint, segments};

/// Series of the log with all their samples in memory.
#[derive(Default)]
pub(crate) struct LogSeries {
    by_labels: HashMap<Labels, usize>,
    /// References of the log to places in `series`.
    known: HashMap<u64, usize>,
    series: Vec<(Labels, SampleBuf)>,
    deleted: Vec<(usize, TimeRange)>,
}

impl LogSeries {
    /// Reads checkpoint and segments, and the log of late samples. In-order samples before `from` are left out:
    /// they are in blocks. Damage is told on stderr and read over.
    pub(crate) fn read(dir: &Path, from: i64) -> Result<LogSeries, String> {
        let mut log = LogSeries::default();
        let wal = dir.join("wal");
        let mut sources = Vec::new();
        let mut first = 0;
        if let Some(checkpoint) = last_checkpoint(&OsDisk, &wal).map_err(|e| e.to_string())? {
            sources.extend(segments(&OsDisk, &checkpoint.path).map_err(|e| e.to_string())?);
            first = checkpoint.number + 1;
        }
        let rest = segments(&OsDisk, &wal).map_err(|e| e.to_string())?;
        sources.extend(rest.into_iter().filter(|s| s.number >= first));
        log.take_all(sources, from)?;
        log.take_all(segments(&OsDisk, &dir.join("wbl")).map_err(|e| e.to_string())?, i64::MIN)?;
        Ok(log)
    }

    fn take_all(&mut self, sources: Vec<Segment>, from: i64) -> Result<(), String> {
        let mut reader = LogReader::new(OsDisk::shared(), sources);
        let mut undecodable = 0u64;
        while let Some(raw) = reader.next().map_err(|e| e.to_string())? {
            undecodable += u64::from(self.take(raw.data, from).is_err());
        }
        for damage in reader.into_damage() {
            eprintln!("skipping damage in the log: {damage:?}");
        }
        if undecodable > 0 {
            eprintln!("skipped {undecodable} undecodable records of the log");
        }
        Ok(())
    }

    fn take(&mut self, raw: &[u8], from: i64) -> Result<(), RecordError> {
        use RecordType::*;
        match RecordType::of(raw) {
            Some(Series) => record::series(raw, |reference, labels| {
                let labels = labels.to_labels();
                let at = *self.by_labels.entry(labels.clone()).or_insert_with(|| {
                    self.series.push((labels, SampleBuf::default()));
                    self.series.len() - 1
                });
                self.known.insert(reference.0, at);
            }),
            Some(Samples | SamplesV2) => {
                let mut rows = Vec::new();
                let mut starts = Vec::new();
                let done = record::samples(raw, &mut rows, &mut starts);
                let starts = starts.into_iter().chain(std::iter::repeat(0));
                for (row, start) in rows.iter().zip(starts).filter(|(row, _)| row.t >= from) {
                    if let Some(at) = self.known.get(&row.series.0) {
                        self.series[*at].1.push_float(row.t, row.v);
                        self.series[*at].1.set_last_start(start);
                    }
                }
                done
            }
            Some(Tombstones) => {
                let mut rows: Vec<Tombstone> = Vec::new();
                let done = record::tombstones(raw, &mut rows);
                for row in rows {
                    if let Some(at) = self.known.get(&row.series.0) {
                        self.deleted.push((*at, row.range));
                    }
                }
                done
            }
            Some(
                Histograms
                | FloatHistograms
                | CustomHistograms
                | CustomFloatHistograms
                | HistogramsV2
                | FloatHistogramsV2,
            ) => {
                let mut rows = Vec::new();
                let done = record::histograms(raw, &mut rows);
                for row in rows.into_iter().filter(|row| row.t >= from) {
                    if let Some(at) = self.known.get(&row.series.0) {
                        self.series[*at].1.push_histogram(row.t, row.histogram);
                        self.series[*at].1.set_last_start(row.start);
                    }
                }
                done.map(drop)
            }
            Some(Exemplars | MmapMarkers | Metadata) | None => Ok(()),
        }
    }

    /// All of it, sorted by labels and time, ready to be selected from.
    pub(crate) fn finish(mut self) -> Vec<Arc<dyn Series>> {
        for (at, range) in &self.deleted {
            self.series[*at].1.retain_from(0, |t| !range.contains(t));
        }
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
        let sorted = self.series.into_iter().filter(|(_, samples)| !samples.is_empty());
        sorted
            .map(|(labels, mut samples)| {
                in_order(&mut samples);
                Arc::new(InMemory { labels, samples }) as Arc<dyn Series>
            })
            .collect()
    }
}

/// Sorts samples by time; of those with the same time the one read first stays, as in a replay.
fn in_order(samples: &mut SampleBuf) {
    if samples.times.windows(2).all(|w| w[0] < w[1]) {
        return;
    }
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|i| samples.times[*i]);
    order.dedup_by_key(|i| samples.times[*i]);
    samples.pick_from(0, &order);
}

/// Those that satisfy all matchers and have samples in the range.
pub(crate) fn select(
    all: &[Arc<dyn Series>],
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Box<dyn SeriesSet>, StorageError> {
    let mut found = Vec::new();
    for series in all.iter().filter(|s| matchers.iter().all(|m| m.matches_labels(s.labels()))) {
        let mut samples = SampleBuf::default();
        series.read(range, &mut samples)?;
        if !samples.is_empty() {
            found.push(series.clone());
        }
    }
    Ok(Box::new(ListSeriesSet::new(found)))
}

struct InMemory {
    labels: Labels,
    samples: SampleBuf,
}

impl Series for InMemory {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let mut histograms = self.samples.histograms.iter().peekable();
        for (i, t) in self.samples.times.iter().enumerate() {
            let histogram = histograms.next_if(|(at, _)| *at as usize == i);
            if !range.contains(*t) {
                continue;
            }
            match histogram {
                Some((_, h)) => out.push_histogram(*t, h.clone()),
                None => out.push_float(*t, self.samples.floats[i]),
            }
        }
        Ok(())
    }

    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        let mut samples = SampleBuf::default();
        self.read(range, &mut samples)?;
        storage::encode::chunks(&samples)
    }
}
