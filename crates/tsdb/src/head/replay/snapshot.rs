//! Reading a snapshot of the head; see [`crate::head::snapshot`].

use super::apply::{Lanes, Tally, Work};
use super::decode::{Restored, lane_of};
use super::{Replay, is_taken};
use crate::head::Head;
use crate::head::entry::{ASIDE, HAS_LAST, HISTOGRAM};
use crate::head::page::Walk;
use crate::head::snapshot::{Facts, Snapshot};
use crate::head::truncate::Retired;
use crate::wal::segments;
use model::FloatHistogram;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use storage::feed::{FeedHistogram, FeedSample};
use storage::{SampleBuf, SeriesRef};

/// An open chunk of a snapshot: series, encoding, place in the bytes of its portion.
pub(super) type OpenChunk = (u32, u8, std::ops::Range<u32>);

impl Replay<'_> {
    /// Loads a snapshot into an empty head. After an error the head must be emptied again.
    pub(super) fn load(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let begun = Instant::now();
        let head = self.head;
        let list = segments(&*head.disk, &snapshot.path).map_err(|e| e.to_string())?;
        if list.is_empty() {
            return Err("open chunk snapshot: no segments".into());
        }
        let facts = Facts::read(&*head.disk, snapshot);
        // What was collected before may have samples in segments that it holds. Prometheus does not say which
        // references have samples beyond those.
        head.keep_before.store(if facts.is_some() { snapshot.segment } else { u32::MAX }, Relaxed);
        let facts = facts.unwrap_or_default();
        head.table.reserve(facts.last_series);
        self.run(&list, 0, super::Log::Snapshot, &|_, _| {}).map_err(|e| e.to_string())?;
        let damage = std::mem::take(&mut self.damage);
        if let Some(place) = damage.first() {
            return Err(format!("read records: {place}"));
        }
        if let Some(broken) = self.tally.broken.take() {
            return Err(broken);
        }
        if !self.tombstones_seen {
            return Err("read records: the end is missing".into());
        }
        self.pages = head.table.pages();
        for (number, series, newest) in facts.aliases {
            if is_taken(&self.pages, series) {
                self.other.insert(number, (series, newest));
                self.kin.extend([number, u64::from(series)]);
                self.attach(&mut Lanes::default(), number, series, false);
            }
        }
        for (series, newest) in facts.departed {
            self.departed.insert(u64::from(series));
            head.retired.lock().insert(series, Retired { segment: snapshot.segment, newest });
        }
        let (dir, num_series) = (snapshot.path.display(), head.table.len());
        tracing::info!(component = "tsdb", %dir, num_series, duration = ?begun.elapsed(), "chunk snapshot loaded");
        Ok(())
    }

    /// Whether chunks on disk are of series that nobody knows, though blocks do not have all of them.
    pub(super) fn has_strange_chunks(&self) -> bool {
        let min_valid = self.head.min_valid.load(Relaxed);
        let mut recent = self.found.iter().filter(|c| c.max >= min_valid);
        recent.any(|c| {
            !self.departed.contains(&c.series) && !is_taken(&self.pages, self.own(SeriesRef(c.series)))
        })
    }

    /// Makes the series of a portion, and sends their open chunks to the lanes.
    pub(super) fn restore(&mut self, lanes: &mut Lanes<'_>, restored: Restored) {
        let head = self.head;
        let mut by_lane: Vec<Vec<OpenChunk>> = (0..lanes.count()).map(|_| Vec::new()).collect();
        {
            let mut index = head.index.write();
            let mut maker = std::mem::take(&mut self.maker);
            maker.begin();
            for (at, row) in restored.rows.rows.iter().enumerate() {
                let series = match maker.pairs(&mut index, &restored.rows, at) {
                    true => {
                        self.make(lanes, row.number, row.hash, &maker.before, &mut index, &mut maker.runs)
                    }
                    false => None,
                };
                let Some(series) = series else {
                    self.tally.broken.get_or_insert_with(|| format!("no room for series {}", row.number));
                    continue;
                };
                if let Some((encoding, place)) = restored.chunks.get(at).cloned().flatten() {
                    by_lane[lane_of(u64::from(series), lanes.count())].push((series, encoding, place));
                }
            }
            self.maker = maker;
        }
        let bytes = Arc::new(restored.bytes);
        for (lane, chunks) in by_lane.into_iter().enumerate().filter(|(_, chunks)| !chunks.is_empty()) {
            lanes.send(lane, Work::Chunks(chunks, bytes.clone()));
        }
    }
}

impl Tally {
    /// Takes over open chunks, as far as neither blocks nor chunks on disk have their samples.
    pub(super) fn chunks(&mut self, head: &Head, list: &[OpenChunk], bytes: &[u8]) {
        let mut rest = Vec::new();
        let pages = head.table.pages();
        let min_valid = head.min_valid.load(Relaxed);
        let (mut times, mut floats) = (Vec::new(), Vec::new());
        {
            let mut walk = Walk::new(&pages);
            for (series, encoding, place) in list {
                let data = bytes.get(place.start as usize..place.end as usize).unwrap_or(&[]);
                let Some((cells, slot)) = walk.go(*series) else { continue };
                let entry = cells.entry(slot);
                let plain = *encoding == chunk::Encoding::Xor.number()
                    && !entry.is(HISTOGRAM | ASIDE)
                    && !entry.has_open();
                if plain {
                    times.clear();
                    floats.clear();
                    if chunk::xor::decode(data, &mut times, &mut floats).is_err() {
                        self.broken.get_or_insert_with(|| format!("chunk of series {series} cannot be read"));
                        continue;
                    }
                    let Some((first, last)) = times.first().copied().zip(times.last().copied()) else {
                        continue;
                    };
                    let fits = first >= min_valid && (!entry.is(HAS_LAST) || first > entry.last_t);
                    if fits && entry.restore(data, &times, head.rule) {
                        self.chunks += 1;
                        self.saw(first, last);
                        continue;
                    }
                }
                rest.push((*series, *encoding, data));
            }
        }
        // Sample by sample: what is known already is left out.
        for (series, encoding, data) in rest {
            let mut rows = SampleBuf::default();
            if chunk::decode(encoding, data, &mut rows.columns()).is_err() {
                self.broken.get_or_insert_with(|| format!("chunk of series {series} cannot be read"));
                continue;
            }
            let series = SeriesRef(u64::from(series));
            if rows.histograms.is_empty() {
                let floats = rows.times.iter().zip(&rows.floats).enumerate();
                let samples =
                    floats.map(|(at, (t, v))| (FeedSample { series, t: *t, v: *v }, rows.start_at(at)));
                self.samples(head, samples);
            } else {
                let row = |(at, histogram): &(u32, Arc<FloatHistogram>)| {
                    let (t, start) = (*rows.times.get(*at as usize)?, rows.start_at(*at as usize));
                    Some(FeedHistogram { series, t, start, histogram: histogram.clone() })
                };
                let list: Vec<FeedHistogram> = rows.histograms.iter().filter_map(row).collect();
                self.histograms(head, &list);
            }
        }
    }
}
