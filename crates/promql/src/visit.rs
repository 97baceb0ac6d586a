//! Walking a tree.

use crate::ast::{Expr, VectorSelector};
use model::Matcher;

impl Expr {
    /// The direct children, in upstream's order: of an aggregation the vector first, then the parameter.
    /// The selector inside of a matrix selector is no child of its own here; see [`Expr::selectors`].
    pub fn children(&self) -> impl Iterator<Item = &Expr> {
        let (first, second, rest): (Option<&Expr>, Option<&Expr>, &[Expr]) = match self {
            Expr::Aggregate(e) => (Some(&e.expr), e.param.as_deref(), &[]),
            Expr::Binary(e) => (Some(&e.lhs), Some(&e.rhs), &[]),
            Expr::Call(e) => (None, None, &e.args),
            Expr::Paren(e) => (Some(&e.expr), None, &[]),
            Expr::Subquery(e) => (Some(&e.expr), None, &[]),
            Expr::Unary(e) => (Some(&e.expr), None, &[]),
            Expr::Matrix(_) | Expr::Number(_) | Expr::String(_) | Expr::Vector(_) => (None, None, &[]),
        };
        first.into_iter().chain(second).chain(rest)
    }

    /// Calls `visit` for this expression and all below it, parents first, with the path from the root to the
    /// parent. The first error ends the walk.
    pub fn walk<'e, E>(
        &'e self,
        visit: &mut impl FnMut(&'e Expr, &[&'e Expr]) -> Result<(), E>,
    ) -> Result<(), E> {
        fn go<'e, E>(
            expr: &'e Expr,
            path: &mut Vec<&'e Expr>,
            visit: &mut impl FnMut(&'e Expr, &[&'e Expr]) -> Result<(), E>,
        ) -> Result<(), E> {
            visit(expr, path)?;
            path.push(expr);
            for child in expr.children() {
                go(child, path, visit)?;
            }
            path.pop();
            Ok(())
        }
        go(self, &mut Vec::new(), visit)
    }

    /// All series selectors, in the order of the tree, also those of ranges.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        let _: Result<(), std::convert::Infallible> = self.walk(&mut |expr, _| {
            match expr {
                Expr::Vector(v) => found.push(v),
                Expr::Matrix(m) => found.push(&m.selector),
                _ => {}
            }
            Ok(())
        });
        found
    }

    /// The matchers of all series selectors.
    pub fn matcher_sets(&self) -> Vec<&[Matcher]> {
        self.selectors().into_iter().map(|v| v.matchers.as_slice()).collect()
    }
}
