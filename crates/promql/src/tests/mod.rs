//! Tests of the whole room, each topic a table.

mod errors;
mod limits;
mod printing;
mod properties;
mod series;
mod trees;

use crate::{Expr, Options, parse};

fn tree(query: &str) -> Expr {
    parse(query, Options::ALL).unwrap_or_else(|e| panic!("{query}: {e}"))
}
