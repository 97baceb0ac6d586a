//! Common sub-expressions: evaluated once, kept until their last use.

use super::{Eval, Frame, Grid, Out, Sink};
use crate::QueryError;
use crate::plan::Node;
use model::Labels;

/// Larger results are evaluated again instead.
const MOST_BYTES: usize = 64 << 20;

/// A series of a result: what rests takes a value instead of a column.
enum Stored {
    Whole(Out),
    Constant { labels: Labels, drop_name: bool, steps: usize, value: f64 },
}

impl Stored {
    fn of(out: &Out) -> Self {
        match out.column.constant_value() {
            Some(value) if out.column.steps() > 1 => {
                let (labels, steps) = (out.labels.clone(), out.column.steps());
                Stored::Constant { labels, drop_name: out.drop_name, steps, value }
            }
            _ => Stored::Whole(out.clone()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Stored::Whole(out) => out.bytes(),
            Stored::Constant { labels, .. } => size_of::<Self>() + labels.packed().len(),
        }
    }

    fn restored(self, ev: &mut Eval<'_>) -> Out {
        match self {
            Stored::Whole(out) => out,
            Stored::Constant { labels, drop_name, steps, value } => {
                let mut column = ev.column(steps);
                column.fill(value);
                Out { labels, drop_name, column }
            }
        }
    }

    fn copy(&self, ev: &mut Eval<'_>) -> Out {
        match self {
            Stored::Whole(out) => out.clone(),
            Stored::Constant { labels, drop_name, steps, value } => {
                let (labels, drop_name) = (labels.clone(), *drop_name);
                Stored::Constant { labels, drop_name, steps: *steps, value: *value }.restored(ev)
            }
        }
    }
}

/// A result that will be used again.
pub(super) struct Kept {
    list: Vec<Stored>,
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
                return kept.list.into_iter().try_for_each(|stored| {
                    let out = stored.restored(self);
                    sink(self, out)
                });
            }
            kept.list.iter().try_for_each(|stored| {
                let out = stored.copy(self);
                sink(self, out)
            })?;
            self.kept.insert(id, kept);
            return Ok(());
        }
        let (mut list, mut bytes, mut keep) = (Vec::new(), 0, true);
        let per_step = self.frame.per_step.is_some();
        self.enter(if per_step { Frame::tracking(grid.steps) } else { Frame::default() });
        let added = self.notes.added();
        let run = self.vector(child, grid, &mut |ev, out| {
            let stored = keep.then(|| Stored::of(&out));
            let more = stored.as_ref().map_or(0, Stored::bytes);
            if keep && (bytes + more > MOST_BYTES || ev.budget.hold(more).is_err()) {
                // Too large to be kept beside everything else.
                ev.budget.let_go(bytes + more);
                (keep, bytes) = (false, 0);
                list = Vec::new();
            }
            if let Some(stored) = stored.filter(|_| keep) {
                bytes += more;
                list.push(stored);
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
