//! How much a query holds: samples as upstream counts them, and bytes; and what all queries hold together.

use crate::QueryError;
use crate::error::Refused;
use model::FloatHistogram;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes are taken from the account of all queries in portions, so that few of them touch it at a time.
const PORTION: usize = 64 << 10;

/// Tells how many bytes something uses now.
pub type BytesFn = Arc<dyn Fn() -> usize + Send + Sync>;

/// What the process uses, asked before a query begins.
#[derive(Clone)]
pub struct ProcessMemory {
    pub used: BytesFn,
    /// Bytes at which no query is begun any more.
    pub ceiling: usize,
}

/// Bytes that all queries of an engine hold together.
pub struct Memory {
    limit: usize,
    held: AtomicUsize,
    process: Option<ProcessMemory>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limit", &self.limit).field("held", &self.held).finish_non_exhaustive()
    }
}

fn told(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.1} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

impl Memory {
    pub(crate) fn new(limit: usize, process: Option<ProcessMemory>) -> Self {
        Memory { limit: if limit == 0 { usize::MAX } else { limit }, held: AtomicUsize::new(0), process }
    }

    /// Bytes that running queries and results on their way hold.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Most bytes that they may hold together; `usize::MAX` without a limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Refuses a query while the process is near its limit, so that ingestion goes on.
    pub(crate) fn admit(&self) -> Result<(), QueryError> {
        let Some(process) = &self.process else { return Ok(()) };
        let used = (process.used)();
        if used < process.ceiling {
            return Ok(());
        }
        let text = format!(
            "query refused: the process uses {} of memory, and no query is begun from {} on",
            told(used),
            told(process.ceiling)
        );
        Err(QueryError::Memory(Refused::Process, text))
    }

    fn take(&self, bytes: usize) -> Result<(), QueryError> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.limit {
            return Ok(());
        }
        self.give(bytes);
        let text = format!(
            "query asked for {} of memory while all queries together hold {} of the {} that they may hold",
            told(bytes),
            told(before),
            told(self.limit)
        );
        Err(QueryError::Memory(Refused::Total, text))
    }

    fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes out of an account, given back when dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Held {
    /// # Errors
    ///
    /// [`QueryError::Memory`] when all queries together would hold more than they may.
    pub fn take(memory: &Arc<Memory>, bytes: usize) -> Result<Held, QueryError> {
        memory.take(bytes)?;
        Ok(Held { memory: memory.clone(), bytes })
    }

    /// Gives a part back, before the rest.
    pub fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.memory.give(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.give(self.bytes);
    }
}

/// Bytes of a histogram, upstream's `FloatHistogram.Size`.
pub(crate) fn histogram_bytes(h: &FloatHistogram) -> usize {
    // 8 for the pointer, 8 for hint and schema, 32 for zero bucket, count and sum, 24 for the head of each of five slices.
    8 + 8
        + 8
        + 8
        + 8
        + 8
        + 5 * 24
        + (h.positive_spans.len() + h.negative_spans.len()) * 8
        + (h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len()) * 8
}

/// How many samples of 16 bytes a histogram point counts for.
pub(crate) fn histogram_samples(h: &FloatHistogram) -> usize {
    (histogram_bytes(h) + 8) / 16
}

/// Running account of one query.
#[derive(Debug)]
pub(crate) struct Budget {
    max_samples: usize,
    max_bytes: usize,
    pub(crate) samples: usize,
    pub(crate) peak: usize,
    bytes: usize,
    pub(crate) peak_bytes: usize,
    /// Out of the account of all queries, at least `bytes`.
    held: Held,
}

impl Budget {
    pub(crate) fn new(max_samples: usize, max_bytes: usize, memory: &Arc<Memory>) -> Self {
        let or_max = |n| if n == 0 { usize::MAX } else { n };
        Budget {
            max_samples: or_max(max_samples),
            max_bytes: or_max(max_bytes),
            samples: 0,
            peak: 0,
            bytes: 0,
            peak_bytes: 0,
            held: Held { memory: memory.clone(), bytes: 0 },
        }
    }

    /// Another account with the same limits.
    pub(crate) fn fork(&self) -> Self {
        Budget::new(self.max_samples, self.max_bytes, &self.held.memory)
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.held.memory
    }

    /// Takes samples into the account.
    #[inline]
    pub(crate) fn add(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples += samples;
        self.peak = self.peak.max(self.samples);
        if self.samples > self.max_samples { Err(QueryError::TooManySamples) } else { Ok(()) }
    }

    /// Samples that are not held any more.
    pub(crate) fn release(&mut self, samples: usize) {
        self.samples = self.samples.saturating_sub(samples);
    }

    /// Takes bytes of kept results into the account.
    #[inline]
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.peak_bytes = self.peak_bytes.max(self.bytes);
        if self.bytes > self.max_bytes {
            return Err(self.too_much(self.bytes));
        }
        if self.bytes > self.held.bytes {
            let more = (self.bytes - self.held.bytes).next_multiple_of(PORTION);
            self.held.memory.take(more)?;
            self.held.bytes += more;
        }
        Ok(())
    }

    /// What is said to a query that asks for `bytes` in all.
    pub(crate) fn too_much(&self, bytes: usize) -> QueryError {
        let text = format!(
            "query asked for {} of memory, and one query may hold {}",
            told(bytes),
            told(self.max_bytes)
        );
        QueryError::Memory(Refused::Query, text)
    }

    pub(crate) fn let_go(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let spare = self.held.bytes - self.bytes.next_multiple_of(PORTION).min(self.held.bytes);
        if spare >= 16 * PORTION {
            self.held.memory.give(spare);
            self.held.bytes -= spare;
        }
    }

    /// Leaves what is held to the result.
    pub(crate) fn into_held(self) -> Held {
        self.held
    }
}
