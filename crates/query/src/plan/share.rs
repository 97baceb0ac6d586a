//! Pass: common sub-expressions. What stands twice in a query is evaluated once and kept until its last use.

use super::{Node, Op, Plan};
use promql::ValueType;

/// Longer queries are left as they are: every node is compared with every other.
const MAX_CANDIDATES: usize = 200;

/// Wraps equal nodes that are evaluated over the same steps in [`Op::Shared`].
pub(super) fn share(plan: &mut Plan) {
    let mut found: Vec<&Node> = Vec::new();
    candidates(&plan.root, &mut found);
    if found.len() < 2 || found.len() > MAX_CANDIDATES {
        return;
    }
    // In the order of evaluation; a node inside of one that is shared already is not looked at again.
    let mut twice: Vec<Node> = Vec::new();
    for (at, node) in found.iter().enumerate() {
        let again = found[..at].iter().any(|other| same(other, node));
        if again && !twice.iter().any(|known| same(known, node) || contains(known, node)) {
            twice.push((*node).clone());
        }
    }
    if twice.is_empty() {
        return;
    }
    plan.shared = vec![0; twice.len()];
    wrap(&mut plan.root, &twice, &mut plan.shared);
    // Inside of a larger shared node a smaller one may be left with a single use.
    unwrap_single(&mut plan.root, &plan.shared);
}

/// Worth keeping: vectors that cost more than reading a selector.
fn is_candidate(node: &Node) -> bool {
    node.ty == ValueType::Vector && matches!(node.op, Op::Aggregate(_) | Op::Call(_) | Op::Binary(_))
}

/// Parts below a subquery or a step-invariant node have steps of their own.
fn children(node: &Node) -> Vec<&Node> {
    match &node.op {
        Op::Negate(child) | Op::Plus(child) => vec![child],
        Op::Binary(b) => vec![&b.lhs, &b.rhs],
        Op::Aggregate(a) => a.param.iter().chain([&a.child]).collect(),
        Op::Call(c) => c.args.iter().collect(),
        Op::Shared(_, child) => vec![child],
        _ => Vec::new(),
    }
}

fn children_mut(node: &mut Node) -> Vec<&mut Node> {
    match &mut node.op {
        Op::Negate(child) | Op::Plus(child) => vec![child],
        Op::Binary(b) => vec![&mut b.lhs, &mut b.rhs],
        Op::Aggregate(a) => a.param.iter_mut().chain([&mut a.child]).collect(),
        Op::Call(c) => c.args.iter_mut().collect(),
        Op::Shared(_, child) => vec![child],
        _ => Vec::new(),
    }
}

fn candidates<'a>(node: &'a Node, found: &mut Vec<&'a Node>) {
    if found.len() > MAX_CANDIDATES {
        return;
    }
    if is_candidate(node) {
        found.push(node);
    }
    children(node).into_iter().for_each(|child| candidates(child, found));
}

fn contains(node: &Node, part: &Node) -> bool {
    children(node).into_iter().any(|child| same(child, part) || contains(child, part))
}

fn wrap(node: &mut Node, twice: &[Node], uses: &mut [usize]) {
    let id = if is_candidate(node) { twice.iter().position(|known| same(known, node)) } else { None };
    if let Some(id) = id {
        uses[id] += 1;
        let (span, ty) = (node.span, node.ty);
        let child = std::mem::replace(node, Node { op: Op::Number(0.0), span, ty });
        node.op = Op::Shared(id, Box::new(child));
        return;
    }
    children_mut(node).into_iter().for_each(|child| wrap(child, twice, uses));
}

fn unwrap_single(node: &mut Node, uses: &[usize]) {
    if let Op::Shared(id, child) = &mut node.op
        && uses[*id] < 2
    {
        let child =
            std::mem::replace(&mut **child, Node { op: Op::Number(0.0), span: node.span, ty: node.ty });
        *node = child;
    }
    children_mut(node).into_iter().for_each(|child| unwrap_single(child, uses));
}

/// Whether two nodes mean the same, wherever they stand in the text.
pub(super) fn same(a: &Node, b: &Node) -> bool {
    let both = |x: &Node, y: &Node| same(x, y);
    match (&a.op, &b.op) {
        // Bits, for a NaN is not equal to itself.
        (Op::Number(x), Op::Number(y)) => x.to_bits() == y.to_bits(),
        (Op::Text(x), Op::Text(y)) => x == y,
        (Op::Instant(x), Op::Instant(y)) => x == y,
        (Op::Window(x), Op::Window(y)) => x == y,
        (Op::Invariant(x), Op::Invariant(y))
        | (Op::Negate(x), Op::Negate(y))
        | (Op::Plus(x), Op::Plus(y)) => both(x, y),
        (Op::Subquery(x), Op::Subquery(y)) => {
            (x.range, x.step, x.offset, x.at) == (y.range, y.step, y.offset, y.at) && both(&x.child, &y.child)
        }
        (Op::Binary(x), Op::Binary(y)) => {
            (x.op, x.return_bool, &x.matching) == (y.op, y.return_bool, &y.matching)
                && both(&x.lhs, &y.lhs)
                && both(&x.rhs, &y.rhs)
        }
        (Op::Aggregate(x), Op::Aggregate(y)) => {
            let params = match (&x.param, &y.param) {
                (Some(x), Some(y)) => both(x, y),
                (None, None) => true,
                _ => false,
            };
            params
                && (x.op, x.without, &x.grouping) == (y.op, y.without, &y.grouping)
                && both(&x.child, &y.child)
        }
        (Op::Call(x), Op::Call(y)) => {
            x.func.name == y.func.name
                && x.args.len() == y.args.len()
                && x.args.iter().zip(&y.args).all(|(x, y)| both(x, y))
        }
        _ => false,
    }
}
