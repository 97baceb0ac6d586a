//! The schedule of a queue: which batch may go out now, what is delivered, how far the log is done with.
//!
//! Room: `remote::write`. Pure: no clocks, no threads. Order is kept per series by lanes: a series always
//! belongs to the lane that its labels hash to, a batch carries a set of lanes, and of two batches that share
//! a lane the earlier one must be done before the later one starts. So the number of concurrent requests, and
//! which lanes share a batch, may change at any time without draining anything.

use std::collections::{BTreeMap, VecDeque};
use storage::feed::Position;

/// Lanes of a queue; also the most concurrent requests.
pub(super) const LANES: usize = 256;

/// A set of lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes([u64; LANES / 64]);

impl Lanes {
    /// The lanes of one of `groups` groups: those whose number leaves `group` when divided.
    pub(super) fn of_group(group: usize, groups: usize) -> Self {
        let mut lanes = Lanes::default();
        for lane in (group..LANES).step_by(groups.max(1)) {
            lanes.0[lane / 64] |= 1 << (lane % 64);
        }
        lanes
    }

    fn meets(self, other: Lanes) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    fn add(&mut self, other: Lanes) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    fn remove(&mut self, other: Lanes) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= !b);
    }
}

/// What the schedule knows of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) lanes: Lanes,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Batches of type `B` on their way.
#[derive(Debug)]
pub(super) struct Schedule<B> {
    waiting: VecDeque<(Ticket, B)>,
    busy: Lanes,
    in_flight: usize,
    next_id: u64,
    /// First read of each batch that is not done, by batch.
    undone: BTreeMap<u64, u64>,
    /// First read that open batches hold rows of.
    open_from: u64,
    /// Ends of reads that are not done with.
    ends: VecDeque<(u64, Position)>,
    done: Position,
    last_read: u64,
    rows: usize,
    bytes: usize,
}

impl<B> Schedule<B> {
    pub(super) fn new(done: Position) -> Self {
        Schedule {
            waiting: VecDeque::new(),
            busy: Lanes::default(),
            in_flight: 0,
            next_id: 0,
            undone: BTreeMap::new(),
            open_from: u64::MAX,
            ends: VecDeque::new(),
            done,
            last_read: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Puts a batch behind all others. `first_read`: number of the first read of the log that it holds rows of.
    pub(super) fn push(&mut self, batch: B, lanes: Lanes, rows: usize, bytes: usize, first_read: u64) {
        let id = self.next_id;
        self.next_id += 1;
        self.undone.insert(id, first_read);
        self.rows += rows;
        self.bytes += bytes;
        self.waiting.push_back((Ticket { id, lanes, rows, bytes }, batch));
    }

    /// A read is finished: all its rows are in batches, open ones hold rows from `open_from` on
    /// (`u64::MAX`: none).
    pub(super) fn read_to(&mut self, read: u64, end: Position, open_from: u64) {
        self.last_read = read;
        self.ends.push_back((read, end));
        self.open_from = open_from;
        self.advance();
    }

    /// Number of the last finished read: a reader that begins anew counts on from it.
    pub(super) fn last_read(&self) -> u64 {
        self.last_read
    }

    /// The reader is gone with its open batches; another one begins at [`Schedule::done`] and tells the same
    /// reads again.
    pub(super) fn forget_reads(&mut self) {
        self.ends.clear();
        self.open_from = u64::MAX;
    }

    /// Open batches were pushed between reads.
    pub(super) fn open_from(&mut self, open_from: u64) {
        self.open_from = open_from;
        self.advance();
    }

    /// The first batch that may go out now.
    pub(super) fn take(&mut self, concurrency: usize) -> Option<(Ticket, B)> {
        if self.in_flight >= concurrency {
            return None;
        }
        let mut blocked = self.busy;
        let mut at = None;
        for (i, (ticket, _)) in self.waiting.iter().enumerate() {
            if !ticket.lanes.meets(blocked) {
                at = Some(i);
                break;
            }
            blocked.add(ticket.lanes);
        }
        let (ticket, batch) = self.waiting.remove(at?)?;
        self.busy.add(ticket.lanes);
        self.in_flight += 1;
        Some((ticket, batch))
    }

    /// A batch was delivered, or dropped on purpose.
    pub(super) fn finish(&mut self, ticket: &Ticket) {
        self.busy.remove(ticket.lanes);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.rows = self.rows.saturating_sub(ticket.rows);
        self.bytes = self.bytes.saturating_sub(ticket.bytes);
        self.undone.remove(&ticket.id);
        self.advance();
    }

    fn advance(&mut self) {
        let undone = self.undone.values().min().copied().unwrap_or(u64::MAX);
        let needed = undone.min(self.open_from);
        while let Some((read, end)) = self.ends.front()
            && *read < needed
        {
            self.done = self.done.max(*end);
            self.ends.pop_front();
        }
    }

    /// Everything in the log before this is done with.
    pub(super) fn done(&self) -> Position {
        self.done
    }

    /// Rows in batches that are not done.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u64) -> Position {
        Position { segment: 0, offset }
    }

    #[test]
    fn groups_share_out_all_lanes() {
        for groups in [1, 2, 3, 50, 256] {
            let mut all = Lanes::default();
            for group in 0..groups {
                let lanes = Lanes::of_group(group, groups);
                assert!(!lanes.meets(all));
                all.add(lanes);
            }
            assert_eq!(all, Lanes::of_group(0, 1));
        }
    }

    #[test]
    fn one_group_goes_out_in_order() {
        let mut s = Schedule::new(at(0));
        let all = Lanes::of_group(0, 1);
        s.push("a", all, 1, 1, 1);
        s.push("b", all, 1, 1, 1);
        let (a, _) = s.take(10).unwrap();
        assert!(s.take(10).is_none());
        s.finish(&a);
        assert_eq!(s.take(10).unwrap().1, "b");
    }

    #[test]
    fn regrouping_waits_only_for_shared_lanes() {
        let mut s = Schedule::new(at(0));
        s.push("0 of 2", Lanes::of_group(0, 2), 1, 1, 1);
        s.push("1 of 2", Lanes::of_group(1, 2), 1, 1, 1);
        s.push("0 of 4", Lanes::of_group(0, 4), 1, 1, 2);
        s.push("3 of 4", Lanes::of_group(3, 4), 1, 1, 2);
        let (even, _) = s.take(10).unwrap();
        let (odd, _) = s.take(10).unwrap();
        assert!(s.take(10).is_none());
        s.finish(&odd);
        assert_eq!(s.take(10).unwrap().1, "3 of 4");
        assert!(s.take(10).is_none());
        s.finish(&even);
        assert_eq!(s.take(10).unwrap().1, "0 of 4");
    }

    #[test]
    fn position_waits_for_everything_before_it() {
        let mut s = Schedule::new(at(0));
        let (even, odd) = (Lanes::of_group(0, 2), Lanes::of_group(1, 2));
        s.push("a", even, 1, 1, 1);
        s.read_to(1, at(10), 1);
        s.push("b", odd, 1, 1, 1);
        s.read_to(2, at(20), 2);
        let (a, _) = s.take(10).unwrap();
        let (b, _) = s.take(10).unwrap();
        s.finish(&b);
        assert_eq!(s.done(), at(0));
        s.finish(&a);
        // An open batch still holds rows of the second read.
        assert_eq!(s.done(), at(10));
        s.open_from(u64::MAX);
        assert_eq!(s.done(), at(20));
        // Reads without rows that are sent count as done at once.
        s.read_to(3, at(30), u64::MAX);
        assert_eq!((s.done(), s.rows(), s.is_idle()), (at(30), 0, true));
    }

    #[test]
    fn a_lost_reader_does_not_move_the_position() {
        let mut s = Schedule::<()>::new(at(0));
        s.read_to(1, at(10), 1);
        s.read_to(2, at(20), 1);
        s.forget_reads();
        s.open_from(u64::MAX);
        assert_eq!((s.done(), s.last_read()), (at(0), 2));
        s.read_to(3, at(10), u64::MAX);
        assert_eq!(s.done(), at(10));
    }

    proptest! {
        /// Whatever the groups and the order in which requests end, no lane is ever overtaken.
        #[test]
        fn lanes_keep_their_order(
            steps in prop::collection::vec((0usize..6, 1usize..6, any::<prop::sample::Index>()), 1..60)
        ) {
            let mut s = Schedule::new(at(0));
            let mut flying: Vec<(Ticket, u64)> = Vec::new();
            let mut last = [0u64; LANES];
            let mut pushed = 0u64;
            for (group, groups, pick) in steps {
                pushed += 1;
                s.push(pushed, Lanes::of_group(group % groups, groups), 1, 1, pushed);
                s.read_to(pushed, at(pushed), u64::MAX);
                while let Some((ticket, number)) = s.take(4) {
                    for (lane, newest) in last.iter_mut().enumerate() {
                        if ticket.lanes.meets(Lanes::of_group(lane, LANES)) {
                            prop_assert!(*newest < number);
                            *newest = number;
                        }
                    }
                    prop_assert!(flying.iter().all(|(t, _)| !t.lanes.meets(ticket.lanes)));
                    flying.push((ticket, number));
                }
                if !flying.is_empty() {
                    let (ticket, _) = flying.swap_remove(pick.index(flying.len()));
                    s.finish(&ticket);
                    let oldest = flying.iter().map(|f| f.1).chain(s.waiting.iter().map(|w| w.1)).min();
                    prop_assert_eq!(s.done().offset, oldest.unwrap_or(pushed + 1) - 1);
                }
            }
        }
    }
}
