//! Checkpoints: what must survive of segments that are about to be removed.
//!
//! A checkpoint is a directory `checkpoint.NNNNNNNN`, named after the last segment that it covers, with a log
//! of the same format inside. It holds what was kept of the checkpoint before it, too.

use super::compress::Compression;
use super::options::{DEFAULT_SEGMENT_BYTES, WalError, WalOptions};
use super::reader::LogReader;
use super::record::{self, RecordError, RecordType, Tombstone};
use super::record_buf::RecordBuf;
use super::segment::{checkpoint_path, delete_temp_checkpoints, last_checkpoint, segments};
use super::writer::Wal;
use disk::{Disk, atomic};
use meter::Registry;
use model::Metadata;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use storage::SeriesRef;
use storage::feed::{FeedExemplar, FeedSample};

/// Records are handed on in portions of about this size.
const FLUSH_BYTES: usize = 1 << 20;

/// Rows seen and rows left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStats {
    pub total_series: u64,
    pub dropped_series: u64,
    pub total_samples: u64,
    pub dropped_samples: u64,
    pub total_tombstones: u64,
    pub dropped_tombstones: u64,
    pub total_exemplars: u64,
    pub dropped_exemplars: u64,
    pub total_metadata: u64,
    pub dropped_metadata: u64,
    /// Damaged places in the segments; what they held is lost.
    pub damaged: u64,
}

/// Writes the checkpoint of all segments up to and including `to`, which is finished. It keeps series for
/// which `keep` says yes, with their newest metadata; samples, histograms and exemplars at `mint` (ms) or
/// later; in place of all tombstones those of `standing`, which is sorted by series, whose series it keeps, and those
/// that say that a series left the head. Works as a stream; `keep` must not
/// change its mind meanwhile. The checkpoint is durable when this returns; the segments may then be removed.
pub fn checkpoint(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    to: u32,
    keep: &mut dyn FnMut(SeriesRef) -> bool,
    mint: i64,
    standing: &[Tombstone],
    compression: Compression,
) -> Result<CheckpointStats, WalError> {
    delete_temp_checkpoints(&**disk, dir)?;
    let mut sources = Vec::new();
    let mut from = 0;
    if let Some(last) = last_checkpoint(&**disk, dir)? {
        sources = segments(&**disk, &last.path)?;
        from = last.number + 1;
    }
    sources.extend(segments(&**disk, dir)?.into_iter().filter(|s| from <= s.number && s.number <= to));
    tracing::info!(component = "tsdb", from_segment = from, to_segment = to, mint, "Creating checkpoint");

    let target = checkpoint_path(dir, to);
    let temp = target.with_extension(format!("{to:08}.tmp"));
    let options = WalOptions { compression, segment_bytes: DEFAULT_SEGMENT_BYTES, ..WalOptions::default() };
    let log = Wal::open(disk.clone(), &temp, options, &Registry::new())?;
    let done = (|| {
        let mut writer = Writer::new(&log, keep, mint, standing);
        let mut reader = LogReader::new(disk.clone(), sources);
        while let Some(raw) = reader.next()? {
            writer.take(raw.data)?;
        }
        let mut stats = writer.finish()?;
        stats.damaged = reader.damage().len() as u64;
        log.close()?;
        disk.sync_dir(&temp)?;
        atomic::replace(&**disk, &temp, &target)?;
        Ok(stats)
    })();
    if done.is_err() {
        let _ = log.close();
        // Left behind it would only be removed by the next attempt.
        let _ = disk.remove_dir_all(&temp);
    }
    done
}

struct Writer<'a> {
    log: &'a Wal,
    keep: &'a mut dyn FnMut(SeriesRef) -> bool,
    mint: i64,
    out: RecordBuf,
    stats: CheckpointStats,
    samples: Vec<FeedSample>,
    exemplars: Vec<FeedExemplar>,
    metadata: Vec<(SeriesRef, Metadata)>,
    newest: BTreeMap<SeriesRef, Metadata>,
    /// Of the series with tombstones, those whose record was kept.
    known: HashSet<SeriesRef>,
    standing: &'a [Tombstone],
    kept_tombstones: u64,
}

impl<'a> Writer<'a> {
    fn new(
        log: &'a Wal,
        keep: &'a mut dyn FnMut(SeriesRef) -> bool,
        mint: i64,
        standing: &'a [Tombstone],
    ) -> Self {
        Writer {
            log,
            keep,
            mint,
            out: RecordBuf::new(),
            stats: CheckpointStats::default(),
            samples: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
            newest: BTreeMap::new(),
            known: HashSet::new(),
            standing,
            kept_tombstones: 0,
        }
    }

    fn take(&mut self, raw: &[u8]) -> Result<(), WalError> {
        if let Err(error) = self.convert(raw) {
            // A record with a good checksum that its writer got wrong: there is nobody to ask.
            self.stats.damaged += 1;
            tracing::warn!(component = "tsdb", err = %error, "Skipping undecodable record in checkpoint");
        }
        if self.out.byte_len() > FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WalError> {
        self.log.log(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn convert(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        use RecordType::*;
        match RecordType::of(raw) {
            Some(Series) => self.series(raw),
            Some(Samples | SamplesV2) => self.samples(raw),
            Some(Tombstones) => self.tombstones(raw),
            Some(Exemplars) => self.exemplars(raw),
            Some(Metadata) => self.metadata(raw),
            Some(
                kind @ (Histograms
                | FloatHistograms
                | CustomHistograms
                | CustomFloatHistograms
                | HistogramsV2
                | FloatHistogramsV2),
            ) => self.histograms(kind, raw),
            // Markers belong to the out-of-order log, which has no checkpoints.
            Some(MmapMarkers) | None => Ok(()),
        }
    }

    fn series(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        let mut out = self.out.series();
        record::series(raw, |series, labels| {
            self.stats.total_series += 1;
            if (self.keep)(series) {
                out.push(series, labels.iter());
                if self.standing.binary_search_by_key(&series.0, |t| t.series.0).is_ok() {
                    self.known.insert(series);
                }
            } else {
                self.stats.dropped_series += 1;
            }
        })
    }

    fn samples(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        self.samples.clear();
        let mut starts = Vec::new();
        let done = record::samples(raw, &mut self.samples, &mut starts);
        self.stats.total_samples += self.samples.len() as u64;
        if !starts.is_empty() {
            let mut out = self.out.samples_with_starts();
            let starts = starts.into_iter().chain(std::iter::repeat(0));
            for (s, start) in self.samples.iter().zip(starts) {
                if s.t >= self.mint {
                    out.push(s.series, s.t, start, s.v);
                } else {
                    self.stats.dropped_samples += 1;
                }
            }
            return done;
        }
        let mut out = self.out.samples();
        for s in &self.samples {
            if s.t >= self.mint {
                out.push(s.series, s.t, s.v);
            } else {
                self.stats.dropped_samples += 1;
            }
        }
        done
    }

    /// Deletions that count are written at the end. That a series left the head stays where it is, in front of
    /// its return under another reference.
    fn tombstones(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        let mut found = Vec::new();
        let done = record::tombstones(raw, &mut found);
        self.stats.total_tombstones += found.len() as u64;
        let mut out = self.out.tombstones();
        for stone in found.iter().filter(|t| t.is_departure() && (self.keep)(t.series)) {
            self.kept_tombstones += 1;
            out.push(stone.series, stone.range.min, stone.range.max);
        }
        done
    }

    fn exemplars(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        self.exemplars.clear();
        let done = record::exemplars(raw, &mut self.exemplars);
        self.stats.total_exemplars += self.exemplars.len() as u64;
        let mut out = self.out.exemplars();
        for e in &self.exemplars {
            if e.t >= self.mint {
                out.push(e.series, e.t, e.v, &e.labels);
            } else {
                self.stats.dropped_exemplars += 1;
            }
        }
        done
    }

    fn metadata(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        self.metadata.clear();
        let done = record::metadata(raw, &mut self.metadata);
        self.stats.total_metadata += self.metadata.len() as u64;
        for (series, metadata) in self.metadata.drain(..) {
            if !(self.keep)(series) || self.newest.insert(series, metadata).is_some() {
                self.stats.dropped_metadata += 1;
            }
        }
        done
    }

    /// Bodies are copied as they are.
    fn histograms(&mut self, kind: RecordType, raw: &[u8]) -> Result<(), RecordError> {
        let (mint, stats) = (self.mint, &mut self.stats);
        let mut out = self.out.raw_histograms(kind);
        record::histogram_rows(raw, |row, _, body| {
            stats.total_samples += 1;
            if row.t >= mint {
                out.push_raw(row.series, row.t, row.start, body);
            } else {
                stats.dropped_samples += 1;
            }
        })
    }

    fn finish(mut self) -> Result<CheckpointStats, WalError> {
        for some in self.standing.chunks(1024) {
            let mut out = self.out.tombstones();
            // Of others the series and its deletions stand in later segments; here Prometheus would not know them.
            for stone in some.iter().filter(|t| self.known.contains(&t.series)) {
                self.kept_tombstones += 1;
                out.push(stone.series, stone.range.min, stone.range.max);
            }
            drop(out);
            self.flush()?;
        }
        self.stats.dropped_tombstones = self.stats.total_tombstones.saturating_sub(self.kept_tombstones);
        let newest: Vec<_> = std::mem::take(&mut self.newest).into_iter().collect();
        for some in newest.chunks(1024) {
            let mut out = self.out.metadata();
            for (series, metadata) in some {
                out.push(*series, metadata);
            }
            drop(out);
            self.flush()?;
        }
        self.flush()?;
        Ok(self.stats)
    }
}
