//! The writer: group commit, rotation, and rolling back what could not be written.
//!
//! A caller frames its records into the queue under a short lock and takes a ticket. Whoever finds no leader
//! becomes one and writes everything queued so far in one call to the system, for itself and for the others
//! that wait. The records of one call never span segments.

use super::compress::{Compression, Compressor};
use super::frame;
use super::metrics::WalMetrics;
use super::options::{WalError, WalOptions};
use super::record_buf::RecordBuf;
use super::segment::{last_checkpoint, segment_name, segments};
use disk::{Disk, DiskError, File};
use meter::Registry;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use storage::feed::Position;

/// Buffers above this size are given back after use.
const KEPT_BUFFER_BYTES: usize = 4 << 20;
/// Longest of usual records: after these, room for longer ones is given back.
const USUAL_RECORD_BYTES: usize = 256 << 10;

/// A log that is open for writing. Cloning shares it; any thread may write.
#[derive(Clone)]
pub struct Wal(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    options: WalOptions,
    first: u32,
    queue: Mutex<Queue>,
    /// A leader has finished.
    done: Condvar,
    out: Mutex<Out>,
    pub(super) published: Mutex<Published>,
    /// `published` moved.
    pub(super) grown: Condvar,
    pub(super) metrics: WalMetrics,
    compressors: Mutex<Vec<Compressor>>,
    syncer: Mutex<Option<JoinHandle<()>>>,
}

/// What readers may see.
pub(super) struct Published {
    pub(super) end: Position,
    pub(super) closed: bool,
}

/// Framed records that wait for a leader.
struct Queue {
    runs: Vec<Run>,
    /// Where the next record will begin.
    end: Position,
    tickets: u64,
    /// Every ticket up to this one has its answer.
    done: u64,
    leading: bool,
    closed: bool,
    failures: Vec<Failure>,
    spare: Vec<u8>,
}

/// Bytes for one segment.
struct Run {
    segment: u32,
    bytes: Vec<u8>,
    /// Last ticket with records in it.
    ticket: u64,
    end: Position,
}

struct Failure {
    from: u64,
    to: u64,
    /// Callers that have not yet fetched it.
    left: u64,
    error: WalError,
}

/// The active segment; only the leader touches it.
struct Out {
    file: Box<dyn File>,
    segment: u32,
    len: u64,
    /// Bytes behind `len` may exist, left by a failed write.
    dirty: bool,
    /// An fsync failed: what the medium holds of this segment is unknown, so nothing more is written to it.
    poisoned: bool,
}

impl Wal {
    /// Opens a log for writing, in a new segment behind all existing ones, as upstream does. Read the
    /// existing segments first or afterwards, [`Wal::first_own_segment`] tells them apart.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        registry: &Registry,
    ) -> Result<Wal, WalError> {
        if options.segment_bytes == 0 || !options.segment_bytes.is_multiple_of(frame::PAGE_BYTES as u64) {
            return Err(WalError::SegmentSize);
        }
        disk.create_dir_all(dir)?;
        // Behind a checkpoint, too, or replay would take the new segment for one that it covers.
        let newest = segments(&*disk, dir)?.last().map(|s| s.number);
        let covered = last_checkpoint(&*disk, dir)?.map(|c| c.number);
        let first = newest.max(covered).map_or(0, |number| number + 1);
        let file = disk.open_append(&dir.join(segment_name(first)))?;
        disk.sync_dir(dir)?;
        let metrics = WalMetrics::new(registry, &options, disk.clone(), dir.to_owned());
        metrics.current_segment.set(f64::from(first));
        let start = Position { segment: first, offset: 0 };
        Ok(Wal(Arc::new(Inner {
            disk,
            dir: dir.to_owned(),
            options,
            first,
            queue: Mutex::new(Queue {
                runs: Vec::new(),
                end: start,
                tickets: 0,
                done: 0,
                leading: false,
                closed: false,
                failures: Vec::new(),
                spare: Vec::new(),
            }),
            done: Condvar::new(),
            out: Mutex::new(Out { file, segment: first, len: 0, dirty: false, poisoned: false }),
            published: Mutex::new(Published { end: start, closed: false }),
            grown: Condvar::new(),
            metrics,
            compressors: Mutex::default(),
            syncer: Mutex::default(),
        })))
    }

    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.0.disk
    }

    pub fn compression(&self) -> Compression {
        self.0.options.compression
    }

    /// The first segment written by this opening; those before it are finished and never change.
    pub fn first_own_segment(&self) -> u32 {
        self.0.first
    }

    /// Behind the last logged record.
    pub fn end(&self) -> Position {
        self.0.published.lock().end
    }

    /// Whether [`Wal::close`] was called; what was logged can still be read.
    pub fn is_closed(&self) -> bool {
        self.0.published.lock().closed
    }

    /// Bytes of the log directory.
    pub fn size_bytes(&self) -> u64 {
        super::metrics::directory_bytes(&*self.0.disk, &self.0.dir)
    }

    /// Logs all records of the buffer or none. On `Ok` they are flushed (durable with
    /// [`WalOptions::fsync`]) and readers see them; the answer is the position behind the last one.
    pub fn log(&self, records: &RecordBuf) -> Result<Position, WalError> {
        if records.is_empty() {
            return Ok(self.end());
        }
        let inner = &*self.0;
        let mut compressor = inner.compressor();
        records.iter().for_each(|record| compressor.add(record));
        let framed = inner.frame(records, &compressor);
        inner.give_back(compressor);
        let (ticket, end) = framed?;
        inner.commit(ticket).map(|()| end)
    }

    /// Begins a new segment and gives its number.
    pub fn cut(&self) -> Result<u32, WalError> {
        let (ticket, segment) = {
            let mut queue = self.0.queue.lock();
            if queue.closed {
                return Err(WalError::Closed);
            }
            queue.tickets += 1;
            queue.rotate();
            (queue.tickets, queue.end.segment)
        };
        self.0.commit(ticket).map(|()| segment)
    }

    /// Makes everything logged so far durable.
    pub fn sync(&self) -> Result<(), WalError> {
        let mut out = self.0.out.lock();
        Ok(self.0.sync_active(&mut out)?)
    }

    /// Removes segments before `segment` (never the active one) and syncs the directory.
    pub fn truncate(&self, segment: u32) -> Result<(), WalError> {
        self.0.metrics.truncations.inc();
        let active = self.end().segment;
        let done = (|| {
            let mut removed = false;
            for old in segments(&*self.0.disk, &self.0.dir)? {
                if old.number >= segment.min(active) {
                    break;
                }
                self.0.disk.remove_file(&old.path)?;
                removed = true;
            }
            if removed { self.0.disk.sync_dir(&self.0.dir) } else { Ok(()) }
        })();
        if done.is_err() {
            self.0.metrics.truncations_failed.inc();
        }
        Ok(done?)
    }

    /// Ends writing: pads the last page as upstream does, makes it durable, and wakes readers that wait.
    /// Later calls of [`Wal::log`] are refused. Closing twice is harmless.
    pub fn close(&self) -> Result<(), WalError> {
        let inner = &*self.0;
        let ticket = {
            let mut queue = inner.queue.lock();
            if queue.closed {
                return Ok(());
            }
            queue.closed = true;
            queue.tickets += 1;
            queue.pad();
            queue.tickets
        };
        let padded = inner.commit(ticket);
        let synced = inner.sync_active(&mut inner.out.lock());
        inner.join_syncer();
        inner.published.lock().closed = true;
        inner.grown.notify_all();
        padded?;
        Ok(synced?)
    }
}

impl Inner {
    fn compressor(&self) -> Compressor {
        let kept = self.compressors.lock().pop();
        kept.unwrap_or_else(|| Compressor::new(self.options.compression))
    }

    fn give_back(&self, mut compressor: Compressor) {
        let usual = compressor.parts.iter().all(|part| part.raw_len <= USUAL_RECORD_BYTES);
        compressor.bytes.clear();
        compressor.parts.clear();
        if usual {
            compressor.bytes.shrink_to(2 * USUAL_RECORD_BYTES);
        }
        if compressor.bytes.capacity() <= KEPT_BUFFER_BYTES {
            let mut kept = self.compressors.lock();
            if kept.len() < 16 {
                kept.push(compressor);
            }
        }
    }

    /// Queues the records behind those that wait; gives the ticket and the position behind them.
    fn frame(&self, records: &RecordBuf, packed: &Compressor) -> Result<(u64, Position), WalError> {
        let flag = self.options.compression.flag();
        let (mut fragments, mut saved) = (0, 0);
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(WalError::Closed);
        }
        queue.tickets += 1;
        let total = packed.parts.iter().fold(queue.end.offset, |at, part| frame::end_after(at, part.len()));
        if total > self.options.segment_bytes && queue.end.offset > 0 {
            queue.rotate();
        }
        let from = queue.end.offset;
        let mut at = from;
        let run = queue.run();
        for (record, part) in records.iter().zip(&packed.parts) {
            at = match &part.packed {
                Some(range) => {
                    saved += record.len() - range.len();
                    frame::put(&mut run.bytes, at, &packed.bytes[range.clone()], flag, &mut fragments)
                }
                None => frame::put(&mut run.bytes, at, record, 0, &mut fragments),
            };
        }
        run.end.offset = at;
        let end = run.end;
        queue.end = end;
        let ticket = queue.tickets;
        drop(queue);
        self.metrics.record_parts.add(fragments);
        self.metrics.record_part_bytes.add(at - from);
        if flag != 0 {
            self.metrics.bytes_saved.add(saved as u64);
        }
        Ok((ticket, end))
    }

    /// Waits until the ticket is answered, leading when nobody else does.
    fn commit(&self, ticket: u64) -> Result<(), WalError> {
        let mut queue = self.queue.lock();
        loop {
            if queue.done >= ticket {
                return queue.answer(ticket);
            }
            if queue.leading {
                self.done.wait(&mut queue);
                continue;
            }
            queue.leading = true;
            let mut runs = std::mem::take(&mut queue.runs);
            let outcome = MutexGuard::unlocked(&mut queue, || self.write_runs(&runs));
            queue.leading = false;
            match outcome {
                Ok(()) => queue.done = runs.last().map_or(queue.done, |run| run.ticket),
                Err((written, end, error)) => {
                    self.metrics.writes_failed.inc();
                    let before = runs[..written].last().map_or(queue.done, |run| run.ticket);
                    queue.fail(before, end, error);
                }
            }
            if let Some(run) = runs.pop()
                && run.bytes.capacity() <= KEPT_BUFFER_BYTES
            {
                queue.spare = run.bytes;
                queue.spare.clear();
            }
            self.done.notify_all();
        }
    }

    /// Writes the runs in order. On failure tells how many were written and where the log now ends.
    fn write_runs(&self, runs: &[Run]) -> Result<(), (usize, Position, WalError)> {
        let mut out = self.out.lock();
        for (i, run) in runs.iter().enumerate() {
            if let Err(error) = self.write_run(&mut out, run) {
                // A poisoned segment is left behind: the next records begin another, and show whether syncing works.
                let end = match out.poisoned {
                    true => Position { segment: out.segment + 1, offset: 0 },
                    false => Position { segment: out.segment, offset: out.len },
                };
                return Err((i, end, error.into()));
            }
            let mut published = self.published.lock();
            published.end = run.end;
            drop(published);
            self.grown.notify_all();
        }
        Ok(())
    }

    fn write_run(&self, out: &mut Out, run: &Run) -> disk::Result<()> {
        if out.poisoned && run.segment == out.segment {
            return Err(DiskError::other("write", out.file.path(), "an earlier fsync failed"));
        }
        if out.dirty {
            // Also before the next segment: what was refused must not come to light in front of it.
            out.file.truncate(out.len)?;
            out.dirty = false;
        }
        if run.segment != out.segment {
            self.next_segment(out, run.segment)?;
        }
        if run.bytes.is_empty() {
            return Ok(());
        }
        out.dirty = true;
        let flushed = out.file.append(&run.bytes);
        let done = match self.options.fsync {
            true => flushed.and_then(|()| self.sync_active(out)),
            false => flushed,
        };
        if let Err(error) = done {
            // Cut the torn bytes off now if that is possible, else before the next write.
            out.dirty = out.file.truncate(out.len).is_err();
            return Err(error);
        }
        out.dirty = false;
        let pages = |len: u64| len / frame::PAGE_BYTES as u64;
        let len = out.len + run.bytes.len() as u64;
        self.metrics.page_flushes.inc();
        self.metrics.completed_pages.add(pages(len) - pages(out.len));
        out.len = len;
        Ok(())
    }

    fn next_segment(&self, out: &mut Out, segment: u32) -> disk::Result<()> {
        let path = self.dir.join(segment_name(segment));
        let file = self.disk.open_append(&path)?;
        // Left by an attempt that failed half way; nothing in it was acknowledged.
        let opened = if file.is_empty()? { Ok(()) } else { file.truncate(0) };
        if let Err(e) = opened.and_then(|()| self.disk.sync_dir(&self.dir)) {
            let _ = self.disk.remove_file(&path);
            return Err(e);
        }
        let full = std::mem::replace(&mut out.file, file);
        let poisoned = std::mem::replace(&mut out.poisoned, false);
        (out.segment, out.len, out.dirty) = (segment, 0, false);
        self.metrics.current_segment.set(f64::from(segment));
        if !self.options.fsync && !poisoned {
            self.sync_beside(full);
        }
        Ok(())
    }

    /// Makes a full segment durable without holding writers up.
    fn sync_beside(&self, full: Box<dyn File>) {
        self.join_syncer();
        let (duration, failed) = (self.metrics.fsync_duration.clone(), self.metrics.fsyncs_failed.clone());
        let sync = move || {
            let start = Instant::now();
            if let Err(e) = full.sync() {
                failed.inc();
                tracing::error!(component = "tsdb", err = %e, "sync previous segment");
            }
            duration.observe(start.elapsed().as_secs_f64());
        };
        if self.options.sync_inline {
            return sync();
        }
        match std::thread::Builder::new().name("wal-sync".into()).spawn(sync) {
            Ok(handle) => *self.syncer.lock() = Some(handle),
            Err(e) => tracing::error!(component = "tsdb", err = %e, "sync previous segment"),
        }
    }

    fn join_syncer(&self) {
        let handle = self.syncer.lock().take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            tracing::error!(component = "tsdb", "sync of the previous segment panicked");
        }
    }

    /// Makes the active segment durable. A failure poisons it: the system forgets which pages it could not write,
    /// and a later fsync would succeed without them.
    fn sync_active(&self, out: &mut Out) -> disk::Result<()> {
        let done = self.timed_sync(&*out.file);
        if let Err(e) = &done {
            out.poisoned = true;
            self.metrics.fsyncs_failed.inc();
            tracing::error!(
                component = "tsdb",
                err = %e,
                segment = out.segment,
                "Making the log durable failed; nothing more is written to this segment"
            );
        }
        done
    }

    fn timed_sync(&self, file: &dyn File) -> disk::Result<()> {
        let start = Instant::now();
        let done = file.sync();
        self.metrics.fsync_duration.observe(start.elapsed().as_secs_f64());
        done
    }

    /// Waits until the log reaches beyond `at` or is closed, at most `wait`. Gives its end.
    pub(super) fn wait_beyond(&self, at: Position, wait: Duration) -> Position {
        let deadline = Instant::now().checked_add(wait);
        let mut published = self.published.lock();
        while published.end <= at && !published.closed {
            let timed_out = match deadline {
                Some(deadline) => self.grown.wait_until(&mut published, deadline).timed_out(),
                None => {
                    self.grown.wait(&mut published);
                    false
                }
            };
            if timed_out {
                break;
            }
        }
        published.end
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.join_syncer();
    }
}

impl Queue {
    /// The run of the current segment, at the end of the queue.
    fn run(&mut self) -> &mut Run {
        let end = self.end;
        let ticket = self.tickets;
        if self.runs.last().is_none_or(|run| run.segment != end.segment) {
            let bytes = std::mem::take(&mut self.spare);
            self.runs.push(Run { segment: end.segment, bytes, ticket, end });
        }
        let last = self.runs.len() - 1;
        let run = &mut self.runs[last];
        run.ticket = ticket;
        run
    }

    /// Fills the current page with zeros.
    fn pad(&mut self) {
        let zeros = frame::padding(self.end.offset);
        let run = self.run();
        run.bytes.resize(run.bytes.len() + zeros, 0);
        run.end.offset += zeros as u64;
        self.end = run.end;
    }

    /// Ends the current segment; the next record begins another.
    fn rotate(&mut self) {
        self.pad();
        // Callers of the run before have their answer even when the new segment cannot be made.
        if let Some(run) = self.runs.last_mut() {
            run.ticket = self.tickets - 1;
        }
        self.end = Position { segment: self.end.segment + 1, offset: 0 };
        self.run();
    }

    /// Everything after the ticket `before` failed, also what was framed meanwhile, for its place is gone.
    fn fail(&mut self, before: u64, end: Position, error: WalError) {
        let to = self.tickets;
        self.failures.push(Failure { from: before + 1, to, left: to - before, error });
        self.runs.clear();
        self.end = end;
        self.done = to;
    }

    fn answer(&mut self, ticket: u64) -> Result<(), WalError> {
        let Some(at) = self.failures.iter().position(|f| f.from <= ticket && ticket <= f.to) else {
            return Ok(());
        };
        let failure = &mut self.failures[at];
        failure.left -= 1;
        let error = failure.error.clone();
        if failure.left == 0 {
            self.failures.swap_remove(at);
        }
        Err(error)
    }
}
