//! Open chunks that stand beside the entries: those of native histograms, and XOR2 chunks of floats.
//!
//! Few series have one, unless `storage.tsdb.chunk_encoding.floats` is `xor2`. The entry of such a series has the
//! flag `ASIDE` and the newest sample: of a histogram (flag `HISTOGRAM`) the time, and in the place of its value a
//! fingerprint.

use super::entry::{ASIDE, CutRule, HISTOGRAM, INTEGER, range_end};
use super::mapper::Mapper;
use super::page::{Cells, Mapped};
use chunk::{Appended, Encoding, HistogramChunk, Xor2Chunk};
use model::histogram::CounterResetHint;
use model::{FloatHistogram, Sample};

/// Histogram chunks of this size are full (upstream `chunkenc.TargetBytesPerHistogramChunk`)…
const TARGET_BYTES: usize = 1024;
/// …when they have so many samples (upstream `chunkenc.MinSamplesPerHistogramChunk`)…
const MIN_SAMPLES: u16 = 10;
/// …and of this size always: a chunk must be readable in one piece.
const MAX_BYTES: usize = 1 << 20;
/// Chunks of floats are closed before they could grow beyond this (upstream's 1,024 bytes with room for a sample).
const MAX_FLOAT_BYTES: usize = 1024 - 19;

enum Growing {
    Floats(Xor2Chunk),
    Histograms(HistogramChunk),
}

/// See the module text.
pub(crate) struct OpenAside {
    chunk: Growing,
    min: i64,
    /// Milliseconds: the chunk ends before this time…
    next_at: i64,
    /// …which has been brought forward so that the samples to come are spread evenly.
    planned: bool,
}

/// What is written besides floats as XOR.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds {
    /// Floats go to XOR2 chunks.
    pub(crate) xor2: bool,
    /// Histograms go to chunks that keep start timestamps.
    pub(crate) histogram_starts: bool,
}

/// What appending did to the chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) opened: u64,
    pub(crate) mapped: u64,
}

/// Where a series has its chunks.
pub(crate) struct Place<'a> {
    pub(crate) mapper: &'a Mapper,
    pub(crate) rule: CutRule,
    pub(crate) kinds: Kinds,
    pub(crate) cells: &'a mut Cells,
    pub(crate) slot: usize,
    pub(crate) series: u32,
}

impl OpenAside {
    fn new(chunk: Growing, min: i64, rule: CutRule) -> Self {
        OpenAside { chunk, min, next_at: range_end(min, rule.chunk_range), planned: false }
    }

    pub(crate) fn min(&self) -> i64 {
        self.min
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let chunk = match &self.chunk {
            Growing::Floats(chunk) => chunk.memory(),
            Growing::Histograms(chunk) => chunk.memory(),
        };
        size_of::<Self>() + chunk
    }

    pub(crate) fn data(&self) -> &[u8] {
        match &self.chunk {
            Growing::Floats(chunk) => chunk.data(),
            Growing::Histograms(chunk) => chunk.data(),
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        match &self.chunk {
            Growing::Floats(_) => Encoding::Xor2,
            Growing::Histograms(chunk) => chunk.encoding(),
        }
    }

    fn len(&self) -> u16 {
        match &self.chunk {
            Growing::Floats(chunk) => chunk.len(),
            Growing::Histograms(chunk) => chunk.len(),
        }
    }

    /// Whether a sample at `t` needs a new chunk, whatever it is; `last_t` is the time of the newest one here.
    fn is_full(&mut self, t: i64, last_t: i64, rule: CutRule) -> bool {
        let (len, bytes) = (self.len(), self.data().len());
        let end = range_end(self.min, rule.chunk_range);
        match self.chunk {
            Growing::Floats(_) => {
                if !self.planned && len >= rule.samples_per_chunk / 4 {
                    self.plan(last_t, 4.0);
                }
                t >= self.next_at
                    || len >= rule.samples_per_chunk.saturating_mul(2)
                    || bytes > MAX_FLOAT_BYTES
            }
            Growing::Histograms(_) => {
                if !self.planned && bytes >= TARGET_BYTES / 4 {
                    self.plan(last_t, TARGET_BYTES as f64 / bytes as f64);
                }
                let due = t >= self.next_at || bytes >= TARGET_BYTES * 2;
                (due && len >= MIN_SAMPLES) || t >= end || len >= rule.samples_per_chunk || bytes >= MAX_BYTES
            }
        }
    }

    /// Spreads the samples to come evenly over what is left of the range, of which the chunk would take `ratio` times
    /// what it has (upstream `computeChunkEndTime`).
    fn plan(&mut self, last_t: i64, ratio: f64) {
        self.planned = true;
        let whole = self.next_at.saturating_sub(self.min) as f64;
        let n = whole / (last_t.saturating_sub(self.min).saturating_add(1) as f64 * ratio);
        if n > 1.0 {
            self.next_at = (self.min as f64 + whole / n.floor()) as i64;
        }
    }
}

impl Place<'_> {
    /// Puts the open chunk of the entry on disk.
    fn close_entry(&mut self, moved: &mut Moved) {
        let entry = self.cells.entry(self.slot);
        if let Some(floats) = entry.open_chunk() {
            entry.drop_open();
            let at = self.mapper.write(self.series, floats.min, floats.max, false, &floats.bytes);
            self.cells.add_mapped(self.slot, Mapped { at, min: floats.min, max: floats.max });
            moved.mapped += 1;
        }
    }

    /// Puts the open chunk beside the entry on disk, if there is one: another kind of sample follows.
    fn close_aside(&mut self, moved: &mut Moved) {
        let open = self.cells.take_aside(self.slot);
        let entry = self.cells.entry(self.slot);
        entry.flags &= !(HISTOGRAM | INTEGER | ASIDE);
        let max = entry.last_t;
        let Some(open) = open else { return };
        let at = self.mapper.write_as(open.encoding(), self.series, open.min, max, false, open.data());
        self.cells.add_mapped(self.slot, Mapped { at, min: open.min, max });
        moved.mapped += 1;
    }

    fn open(&mut self, chunk: Growing, t: i64, moved: &mut Moved) {
        self.cells.set_aside(self.slot, OpenAside::new(chunk, t, self.rule));
        moved.opened += 1;
    }

    /// Appends a float newer than the last sample of the series, whatever chunk is open; `start` is its start
    /// timestamp.
    #[cold]
    pub(crate) fn append_float(mut self, s: Sample, start: i64) -> Moved {
        let mut moved = Moved::default();
        if !self.kinds.xor2 {
            self.close_aside(&mut moved);
            let (closed, opened) = self.cells.entry(self.slot).append(s, self.rule);
            moved.opened += u64::from(opened);
            if let Some(chunk) = closed {
                let at = self.mapper.write(self.series, chunk.min, chunk.max, false, &chunk.bytes);
                self.cells.add_mapped(self.slot, Mapped { at, min: chunk.min, max: chunk.max });
                moved.mapped += 1;
            }
            return moved;
        }
        self.close_entry(&mut moved);
        let last_t = self.cells.peek(self.slot).last_t;
        let rule = self.rule;
        let fits = self
            .cells
            .aside_mut(self.slot)
            .is_some_and(|open| matches!(open.chunk, Growing::Floats(_)) && !open.is_full(s.t, last_t, rule));
        if !fits {
            self.close_aside(&mut moved);
            self.open(Growing::Floats(Xor2Chunk::new()), s.t, &mut moved);
        }
        if let Some(OpenAside { chunk: Growing::Floats(chunk), .. }) = self.cells.aside_mut(self.slot) {
            chunk.push(s.t, start, s.v);
        }
        self.cells.entry(self.slot).set_last_aside(s.t, s.v.to_bits(), ASIDE);
        moved
    }

    /// Appends a histogram newer than the last sample of the series; `start` is its start timestamp, `value` its
    /// fingerprint, and `integer` whether it holds integers.
    pub(crate) fn append_histogram(
        &mut self,
        t: i64,
        start: i64,
        h: &FloatHistogram,
        integer: bool,
        value: u64,
    ) -> Moved {
        let mut moved = Moved::default();
        self.close_entry(&mut moved);
        let encoding = Encoding::of_histograms(integer, self.kinds.histogram_starts);
        let last_t = self.cells.peek(self.slot).last_t;
        let rule = self.rule;
        let mut hint = CounterResetHint::Unknown;
        let mut appended = false;
        if let Some(open) = self.cells.aside_mut(self.slot) {
            let full = open.is_full(t, last_t, rule);
            if let Growing::Histograms(chunk) = &mut open.chunk
                && chunk.encoding() == encoding
            {
                if full {
                    hint = chunk.reset_before(h);
                } else {
                    let done = chunk.append(t, start, h);
                    if done == (Appended::NewChunk { reset: true }) {
                        hint = CounterResetHint::CounterReset;
                    }
                    appended = done == Appended::Done;
                }
            }
        }
        if !appended {
            self.close_aside(&mut moved);
            self.open(Growing::Histograms(HistogramChunk::begin(encoding, t, start, h, hint)), t, &mut moved);
        }
        let integer = if encoding.is_integer() { INTEGER } else { 0 };
        self.cells.entry(self.slot).set_last_aside(t, value, ASIDE | HISTOGRAM | integer);
        moved
    }
}
