//! `promql`: formatting and editing queries.

use super::{failed, many, one};
use ::promql::{Expr, Options, VectorSelector};
use clap::ArgMatches;
use model::{MatchOp, Matcher};

/// Refuses what needs `--experimental` when it was not given.
fn gate(m: &ArgMatches) -> Result<(), u8> {
    if m.get_flag("experimental") {
        return Ok(());
    }
    Err(failed("This command is experimental and requires the --experimental flag to be set."))
}

/// What of the language `--enable-feature` turns on.
pub(crate) fn options(m: &ArgMatches) -> Options {
    let mut options = Options { duration_expressions: true, ..Options::default() };
    for name in many(m, "enable-feature").iter().flat_map(|list| list.split(',')) {
        match name {
            "promql-experimental-functions" => options.experimental_functions = true,
            "promql-extended-range-selectors" => options.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => options.fill_modifiers = true,
            "promql-delayed-name-removal" | "promql-duration-expr" | "" => {}
            other => say!("  WARNING: Unknown feature passed to --enable-feature: {other}"),
        }
    }
    options
}

fn edit(m: &ArgMatches, change: impl Fn(&mut VectorSelector)) -> u8 {
    if let Err(code) = gate(m) {
        return code;
    }
    match ::promql::parse(one(m, "query"), options(m)) {
        Ok(mut expr) => {
            each_selector(&mut expr, &change);
            say!("{}", ::promql::prettify(&expr));
            0
        }
        Err(e) => failed(e),
    }
}

/// Depth is bounded by the parser.
fn each_selector(expr: &mut Expr, change: &impl Fn(&mut VectorSelector)) {
    match expr {
        Expr::Aggregate(e) => {
            each_selector(&mut e.expr, change);
            if let Some(param) = &mut e.param {
                each_selector(param, change);
            }
        }
        Expr::Binary(e) => {
            each_selector(&mut e.lhs, change);
            each_selector(&mut e.rhs, change);
        }
        Expr::Call(e) => e.args.iter_mut().for_each(|arg| each_selector(arg, change)),
        Expr::Matrix(e) => change(&mut e.selector),
        Expr::Paren(e) => each_selector(&mut e.expr, change),
        Expr::Subquery(e) => each_selector(&mut e.expr, change),
        Expr::Unary(e) => each_selector(&mut e.expr, change),
        Expr::Vector(e) => change(e),
        Expr::Number(_) | Expr::String(_) => {}
    }
}

pub(crate) fn format(m: &ArgMatches) -> u8 {
    edit(m, |_| {})
}

pub(crate) fn set(m: &ArgMatches) -> u8 {
    let op = match one(m, "type") {
        "!=" => MatchOp::NotEqual,
        "=~" => MatchOp::Regex,
        "!~" => MatchOp::NotRegex,
        _ => MatchOp::Equal,
    };
    let matcher = match Matcher::new(op, one(m, "name"), one(m, "value")) {
        Ok(matcher) => matcher,
        Err(e) => return failed(e),
    };
    edit(m, |selector| {
        let mut found = false;
        for old in selector.matchers.iter_mut().filter(|old| old.name == matcher.name) {
            *old = matcher.clone();
            found = true;
        }
        if !found {
            selector.matchers.push(matcher.clone());
        }
    })
}

pub(crate) fn delete(m: &ArgMatches) -> u8 {
    let name = one(m, "name");
    edit(m, |selector| selector.matchers.retain(|old| old.name != name))
}
