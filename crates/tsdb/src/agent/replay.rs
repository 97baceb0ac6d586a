//! Start: what the log says about series.

use super::metrics::AgentMetrics;
use super::series::SeriesTable;
use crate::head::ReplayHandle;
use crate::wal::record::{self, RecordError, RecordType};
use crate::wal::{
    Damage, LogReader, Segment, delete_temp_checkpoints, last_checkpoint, quarantine_all, segments,
};
use disk::Disk;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use storage::feed::{FeedHistogram, FeedSample};
use storage::key;

pub(super) struct Replayed {
    pub(super) series: SeriesTable,
    /// Further references of series that stood in the log twice, and the last segment that speaks of them.
    pub(super) deleted: HashMap<u64, u32>,
}

/// Reads checkpoint and segments, over damage, and sets damage aside.
pub(super) fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    metrics: &AgentMetrics,
    status: &ReplayHandle,
) -> disk::Result<Replayed> {
    tracing::info!(component = "agent", dir = %dir.display(), "replaying WAL, this may take a while");
    let start = Instant::now();
    delete_temp_checkpoints(&**disk, dir)?;
    let mut replay = Replay {
        out: Replayed { series: SeriesTable::new(), deleted: HashMap::new() },
        valid: HashMap::new(),
        segment: 0,
        unknown: 0,
        undecodable: 0,
        key: Vec::new(),
        samples: Vec::new(),
        histograms: Vec::new(),
    };
    let mut damage = Vec::new();
    let mut first = 0;
    if let Some(checkpoint) = last_checkpoint(&**disk, dir)? {
        replay.segment = checkpoint.number;
        damage.extend(replay.read(disk, segments(&**disk, &checkpoint.path)?)?);
        first = checkpoint.number + 1;
        tracing::info!(component = "agent", "WAL checkpoint loaded");
    }
    let all: Vec<Segment> = segments(&**disk, dir)?.into_iter().filter(|s| s.number >= first).collect();
    let last = all.last().map_or(0, |s| s.number);
    let from = all.first().map_or(0, |s| s.number);
    status.start(u64::from(from), u64::from(last));
    for segment in all {
        let number = segment.number;
        status.at(u64::from(number));
        replay.segment = number;
        damage.extend(replay.read(disk, vec![segment])?);
        tracing::info!(component = "agent", segment = number, maxSegment = last, "WAL segment loaded");
    }
    metrics.corruptions.add(damage.len() as u64 + replay.undecodable);
    quarantine_all(&**disk, dir, &damage)?;
    if replay.unknown > 0 {
        tracing::warn!(
            component = "agent",
            skipped_series = replay.unknown,
            "found sample referencing non-existing series"
        );
    }
    metrics.replay_duration.set(start.elapsed().as_secs_f64());
    Ok(replay.out)
}

struct Replay {
    out: Replayed,
    /// Further references of a series → the one that counts.
    valid: HashMap<u64, u64>,
    /// Segment or checkpoint being read.
    segment: u32,
    unknown: u64,
    undecodable: u64,
    key: Vec<u8>,
    samples: Vec<FeedSample>,
    histograms: Vec<FeedHistogram>,
}

impl Replay {
    fn read(&mut self, disk: &Arc<dyn Disk>, sources: Vec<Segment>) -> disk::Result<Vec<Damage>> {
        let mut reader = LogReader::new(disk.clone(), sources);
        while let Some(raw) = reader.next()? {
            if let Err(e) = self.take(raw.data) {
                self.undecodable += 1;
                tracing::warn!(component = "agent", segment = self.segment, err = %e, "Skipping undecodable record");
            }
        }
        Ok(reader.into_damage())
    }

    fn take(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        use RecordType::*;
        match RecordType::of(raw) {
            Some(Series) => self.series(raw),
            Some(Samples | SamplesV2) => {
                let mut samples = std::mem::take(&mut self.samples);
                let done = record::samples(raw, &mut samples, &mut Vec::new());
                for sample in samples.drain(..) {
                    self.newest(sample.series.0, sample.t, sample.v.to_bits());
                }
                self.samples = samples;
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
                let mut histograms = std::mem::take(&mut self.histograms);
                let done = record::histograms(raw, &mut histograms);
                for row in histograms.drain(..) {
                    self.newest(row.series.0, row.t, 0);
                }
                self.histograms = histograms;
                // Histograms of unknown schemas are left out as upstream leaves them out.
                done.map(|_unknown| ())
            }
            Some(Tombstones | Exemplars | MmapMarkers | Metadata) | None => Ok(()),
        }
    }

    fn series(&mut self, raw: &[u8]) -> Result<(), RecordError> {
        let (out, valid, key, segment) = (&mut self.out, &mut self.valid, &mut self.key, self.segment);
        record::series(raw, |series, labels| {
            key.clear();
            for (name, value) in labels.iter() {
                key::push_label(key, name, value);
            }
            let hash = out.series.hash(key);
            if let Some(counts) = out.series.restore(series.0, hash)
                && counts != series.0
            {
                valid.insert(series.0, counts);
                let kept = out.deleted.entry(series.0).or_insert(segment);
                *kept = segment.max(*kept);
            }
        })
    }

    fn newest(&mut self, series: u64, t: i64, v: u64) {
        let series = match self.valid.get(&series) {
            None => series,
            Some(counts) => {
                if let Some(kept) = self.out.deleted.get_mut(&series) {
                    *kept = self.segment.max(*kept);
                }
                *counts
            }
        };
        let known = self.out.series.with(series, |entry| {
            if t >= entry.last_t {
                (entry.last_t, entry.last_v) = (t, v);
            }
        });
        if known.is_none() {
            self.unknown += 1;
        }
    }
}
