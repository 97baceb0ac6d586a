//! Common sub-expressions: evaluated once, kept until their last use.

use super::{Eval, Frame, Grid, Out, Sink};
use crate::QueryError;
use crate::plan::Node;

/// Larger results are evaluated again instead.
const MOST_BYTES: usize = 64 << 20;

/// A result that will be used again.
pub(super) struct Kept {
    list: Vec<Out>,
    bytes: usize,
    /// What evaluating it counted: each use counts as if it were evaluated.
    frame: Frame,
    /// Uses to come.
    left: usize,
}

impl Eval<'_> {
    pub(super) fn shared(
        &mut self,
        id: usize,
        child: &Node,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if let Some(mut kept) = self.kept.remove(&id) {
            self.frame.merge(&kept.frame);
            kept.left -= 1;
            if kept.left == 0 {
                self.budget.let_go(kept.bytes);
                return kept.list.into_iter().try_for_each(|out| sink(self, out));
            }
            kept.list.iter().try_for_each(|out| sink(self, out.clone()))?;
            self.kept.insert(id, kept);
            return Ok(());
        }
        let (mut list, mut bytes, mut keep) = (Vec::new(), 0, true);
        let per_step = self.frame.per_step.is_some();
        self.enter(if per_step { Frame::tracking(grid.steps) } else { Frame::default() });
        let added = self.notes.added();
        let run = self.vector(child, grid, &mut |ev, out| {
            let more = out.bytes();
            if keep && (bytes + more > MOST_BYTES || ev.budget.hold(more).is_err()) {
                // Too large to be kept beside everything else.
                ev.budget.let_go(bytes + more);
                (keep, bytes) = (false, 0);
                list = Vec::new();
            }
            if keep {
                bytes += more;
                list.push(out.clone());
            }
            ev.outside(|ev| sink(ev, out))
        });
        let frame = self.leave();
        self.frame.merge(&frame);
        run?;
        // An annotation tells where it came last: what brings one is evaluated again where it stands again.
        if keep && self.notes.added() == added {
            let left = self.uses.get(id).copied().unwrap_or(0).saturating_sub(1);
            self.kept.insert(id, Kept { list, bytes, frame, left });
        } else {
            self.budget.let_go(bytes);
        }
        Ok(())
    }
}
