//! Leaves over many series, spread over free cores.
//!
//! The list of series is cut into pieces. Helpers evaluate pieces ahead, the query's own thread takes their
//! columns in the order of the list, or does a piece itself when nobody has begun it. What stands above the
//! leaf therefore sees the same series in the same order as without helpers, sums included: results do not depend
//! on the number of threads.

use super::{Asked, Eval, Frame, Grid, Out, Sink};
use crate::QueryError;
use crate::annotation::Annotations;
use crate::budget::Held;
use crate::plan::{Node, Op};
use parking_lot::{Condvar, Mutex};
use promql::ValueType;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Series in the first piece, and in the others at least.
const PIECE: usize = 64;
/// Work of a piece that is worth being handed over, some tenths of a millisecond.
const PIECE_WORK: usize = 100_000;
/// Work (samples and steps) that must be left for a helper to be worth its start, some two milliseconds.
const WORTH: usize = 600_000;
/// Pieces that may lie ready for each helper: bounds the memory of columns that wait.
const AHEAD: usize = 3;

/// Cores of this process, and how many of them queries use.
#[derive(Debug)]
pub(crate) struct Cores {
    count: usize,
    busy: AtomicUsize,
}

/// Cores that are given back when dropped.
pub(crate) struct Taken<'a>(&'a Cores, usize);

impl Cores {
    pub(crate) fn new(count: usize) -> Self {
        Cores { count, busy: AtomicUsize::new(0) }
    }

    /// Notes a query that runs on its caller's thread.
    pub(crate) fn enter(&self) -> Taken<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Taken(self, 1)
    }

    /// Takes up to `wanted` cores, as far as there are idle ones.
    fn take(&self, wanted: usize) -> Taken<'_> {
        let mut got = 0;
        let _ = self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
            got = wanted.min(self.count.saturating_sub(busy));
            Some(busy + got)
        });
        Taken(self, got)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What a helper makes of a piece.
#[derive(Default)]
struct Piece {
    /// Each series with the samples of its widest window.
    outs: Vec<(usize, Out)>,
    notes: Annotations,
    frame: Frame,
    seen: Vec<u128>,
    held: Option<Held>,
}

/// Where pieces are claimed and handed over.
struct Board {
    /// Pieces that somebody has begun.
    claimed: Vec<AtomicBool>,
    done: Mutex<Vec<Option<Result<Piece, QueryError>>>>,
    changed: Condvar,
    /// The piece that the query's thread needs next.
    front: AtomicUsize,
    ahead: usize,
    stop: Arc<AtomicBool>,
}

impl Board {
    fn claim(&self, piece: usize) -> bool {
        !self.claimed[piece].swap(true, Ordering::AcqRel)
    }

    /// A piece that nobody has begun and that is not too far ahead; `None` when all are taken or it is time to
    /// stop.
    fn next(&self) -> Option<usize> {
        loop {
            let front = self.front.load(Ordering::Acquire);
            if self.stop.load(Ordering::Relaxed) || front >= self.claimed.len() {
                return None;
            }
            let end = (front + self.ahead).min(self.claimed.len());
            if let Some(piece) = (front..end).find(|piece| self.claim(*piece)) {
                return Some(piece);
            }
            if end == self.claimed.len() {
                return None;
            }
            let mut done = self.done.lock();
            // The front moves under this lock, so that nobody sleeps through it.
            if self.front.load(Ordering::Acquire) == front && !self.stop.load(Ordering::Relaxed) {
                self.changed.wait(&mut done);
            }
        }
    }

    fn put(&self, piece: usize, result: Result<Piece, QueryError>) {
        self.done.lock()[piece] = Some(result);
        self.changed.notify_all();
    }

    fn wait(&self, piece: usize) -> Result<Piece, QueryError> {
        let mut done = self.done.lock();
        loop {
            if let Some(result) = done[piece].take() {
                return result;
            }
            self.changed.wait(&mut done);
        }
    }

    fn advance(&self, to: usize) {
        let _done = self.done.lock();
        self.front.store(to, Ordering::Release);
        self.changed.notify_all();
    }
}

/// Tells everybody to stop, whichever way the query's thread leaves.
struct StopOnDrop<'a>(&'a Board);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.advance(self.0.claimed.len());
    }
}

/// Fills a piece that a panic would leave empty, so that nobody waits for it for ever.
struct FillOnDrop<'a>(&'a Board, usize);

impl Drop for FillOnDrop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.put(self.1, Err(QueryError::exec("unexpected error: query evaluation failed")));
        }
    }
}

/// The fetch of a leaf whose series can be evaluated apart from each other.
fn fetch_of(node: &Node) -> Option<usize> {
    match &node.op {
        Op::Instant(s) => Some(s.fetch),
        Op::Call(c) if c.func.name != "absent_over_time" => {
            let constant = |a: &Node| matches!(a.op, Op::Number(_) | Op::Text(_));
            let ranges = c.args.iter().filter(|a| a.ty == ValueType::Matrix).count() == 1;
            let (matrix, others): (Vec<_>, Vec<_>) = c.args.iter().partition(|a| a.ty == ValueType::Matrix);
            match matrix.first().map(|m| &m.op) {
                Some(Op::Window(w)) if ranges && others.iter().all(|a| constant(a)) => Some(w.selector.fetch),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What is evaluated piece by piece.
#[derive(Clone, Copy)]
struct Leaf<'a> {
    node: &'a Node,
    grid: Grid,
    asked: Asked,
}

impl Eval<'_> {
    /// Evaluates a leaf with the help of idle cores, if it is one and it is worth it. False: nothing was done.
    pub(super) fn spread(
        &mut self,
        node: &Node,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<bool, QueryError> {
        if self.cores.count < 2 || self.part.is_some() {
            return Ok(false);
        }
        let Some(fetch) = fetch_of(node) else { return Ok(false) };
        if let Op::Instant(selector) = &node.op
            && self.newest_at_hand(selector, grid)?.is_some()
        {
            return Ok(false);
        }
        let leaf = Leaf { node, grid, asked: self.asked };
        let total = self.series(fetch)?.len();
        if total < 2 * PIECE {
            self.asked = leaf.asked;
            return Ok(false);
        }
        // The first piece shows how much work the others are.
        let before = self.watch.work();
        let mut seen = hashbrown::HashSet::new();
        self.piece(leaf, 0..PIECE, &mut seen, sink)?;
        let work = (self.watch.work() - before).max(1);
        let left = work.saturating_mul(total / PIECE - 1);
        let pieces = Pieces { total, size: PIECE * (PIECE_WORK / work).clamp(1, 64) };
        let count = pieces.count();
        let cores = self.cores;
        let helpers = cores.take((left / WORTH).min(count.saturating_sub(2)));
        if helpers.1 == 0 {
            self.piece(leaf, PIECE..total, &mut seen, sink)?;
            return Ok(true);
        }
        let board = Board {
            claimed: (0..count).map(|piece| AtomicBool::new(piece == 0)).collect(),
            done: Mutex::new((0..count).map(|_| None).collect()),
            changed: Condvar::new(),
            front: AtomicUsize::new(1),
            ahead: (helpers.1 + 1) * AHEAD,
            stop: Arc::new(AtomicBool::new(false)),
        };
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&board);
            for number in 0..helpers.1 {
                let mut helper = self.fork(board.stop.clone());
                let board = &board;
                let work = move || {
                    while let Some(piece) = board.next() {
                        let _fill = FillOnDrop(board, piece);
                        board.put(piece, helper.apart(leaf, pieces.range(piece)));
                    }
                };
                let thread = std::thread::Builder::new().name(format!("query-{number}"));
                if thread.spawn_scoped(scope, work).is_err() {
                    // Then it goes without.
                    break;
                }
            }
            let mut own = None;
            for piece in 1..count {
                board.advance(piece);
                if board.claim(piece) {
                    self.piece(leaf, pieces.range(piece), &mut seen, sink)?;
                    continue;
                }
                // Somebody is at it. Meanwhile there may be another one to do.
                let waiting = board.done.lock()[piece].is_none();
                if waiting
                    && let Some(other) =
                        (piece + 1..(piece + board.ahead).min(count)).find(|p| board.claim(*p))
                {
                    let own = own.get_or_insert_with(|| self.fork(board.stop.clone()));
                    board.put(other, own.apart(leaf, pieces.range(other)));
                }
                let piece = board.wait(piece)?;
                self.take_over(piece, &mut seen, sink)?;
            }
            Ok(true)
        })
    }

    /// Does a piece on this thread, straight into the sink.
    fn piece(
        &mut self,
        leaf: Leaf<'_>,
        range: Range<usize>,
        seen: &mut hashbrown::HashSet<u128>,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        self.asked = leaf.asked;
        let outer = self.part.replace(range);
        let run = self.vector_node(leaf.node, leaf.grid, &mut |ev, out| {
            // The taker may evaluate other things.
            let part = ev.part.take();
            let run = sink(ev, out);
            ev.part = part;
            run
        });
        self.part = outer;
        run?;
        let fresh = std::mem::take(&mut self.seen);
        apart(fresh, seen)
    }

    /// Does a piece on its own account.
    fn apart(&mut self, leaf: Leaf<'_>, range: Range<usize>) -> Result<Piece, QueryError> {
        let mut piece = Piece::default();
        if self.frame.per_step.is_some() {
            self.frame = Frame::tracking(leaf.grid.steps);
        } else {
            self.frame = Frame::default();
        }
        (self.asked, self.part) = (leaf.asked, Some(range));
        self.vector_node(leaf.node, leaf.grid, &mut |ev, out| {
            ev.watch.check(out.column.steps())?;
            piece.outs.push((std::mem::take(&mut ev.widest), out));
            Ok(())
        })?;
        piece.notes = std::mem::take(&mut self.notes);
        piece.frame = std::mem::take(&mut self.frame);
        if piece.frame.per_step.is_some() {
            self.frame = Frame::tracking(0);
        }
        piece.seen = std::mem::take(&mut self.seen);
        let bytes = piece.outs.iter().map(|(_, out)| out.bytes()).sum();
        piece.held = Some(Held::take(self.budget.memory(), bytes)?);
        Ok(piece)
    }

    /// Hands the series of a piece on, as if they had been made here.
    fn take_over(
        &mut self,
        piece: Piece,
        seen: &mut hashbrown::HashSet<u128>,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let _held = piece.held;
        apart(piece.seen, seen)?;
        self.notes.merge(piece.notes);
        self.frame.merge(&piece.frame);
        for (widest, out) in piece.outs {
            self.budget.add(widest)?;
            self.budget.release(widest);
            sink(self, out)?;
        }
        Ok(())
    }
}

/// How the list of series is cut.
#[derive(Clone, Copy)]
struct Pieces {
    total: usize,
    /// Series in a piece, the first one apart.
    size: usize,
}

impl Pieces {
    fn count(self) -> usize {
        1 + (self.total - PIECE).div_ceil(self.size)
    }

    fn range(self, piece: usize) -> Range<usize> {
        let start = |piece: usize| piece.checked_sub(1).map_or(0, |before| PIECE + before * self.size);
        start(piece)..start(piece + 1).min(self.total)
    }
}

/// Series of one label set are an error, in whichever pieces they are.
fn apart(fresh: Vec<u128>, seen: &mut hashbrown::HashSet<u128>) -> Result<(), QueryError> {
    if fresh.into_iter().all(|digest| seen.insert(digest)) {
        return Ok(());
    }
    Err(QueryError::exec(super::SAME_LABELS))
}
