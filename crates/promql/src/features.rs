//! What the language offers under given options, for `/api/v1/features`.

use crate::ast::{AggregateOp, BinaryOp};
use crate::functions::FUNCTIONS;
use crate::{Options, token};

/// One thing of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// `promql`, `promql_operators` or `promql_functions`.
    pub category: &'static str,
    pub name: &'static str,
    pub enabled: bool,
}

/// All keywords, operators, aggregations and functions, as upstream lists them.
pub fn features(options: Options) -> Vec<Feature> {
    let feature = |category, name, enabled| Feature { category, name, enabled };
    let keywords = token::plain_keywords().map(|name| {
        let enabled = match name {
            "anchored" | "smoothed" => options.extended_range_selectors,
            "fill" | "fill_left" | "fill_right" => options.fill_modifiers,
            _ => true,
        };
        feature("promql", name, enabled)
    });
    let matching = ["=~", "!~", "@"];
    let operators = BinaryOp::ALL.iter().map(|op| op.as_str()).chain(matching);
    let aggregations = AggregateOp::ALL.iter().map(|op| {
        feature("promql_operators", op.as_str(), !op.is_experimental() || options.experimental_functions)
    });
    let functions = FUNCTIONS
        .iter()
        .map(|f| feature("promql_functions", f.name, !f.experimental || options.experimental_functions));
    keywords
        .chain(operators.map(|name| feature("promql_operators", name, true)))
        .chain(aggregations)
        .chain(functions)
        .chain([feature("promql", "duration_expr", options.duration_expressions)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_switch_features() {
        let find = |options, name: &str| {
            features(options).into_iter().find(|f| f.name == name).map(|f| (f.category, f.enabled))
        };
        for (name, category) in [
            ("fill_left", "promql"),
            ("smoothed", "promql"),
            ("duration_expr", "promql"),
            ("limitk", "promql_operators"),
            ("info", "promql_functions"),
        ] {
            assert_eq!(find(Options::default(), name), Some((category, false)), "{name}");
            assert_eq!(find(Options::ALL, name), Some((category, true)), "{name}");
        }
        assert_eq!(find(Options::default(), "@"), Some(("promql_operators", true)));
        assert_eq!(find(Options::default(), "group_left"), Some(("promql", true)));
        assert_eq!(find(Options::default(), "step"), Some(("promql_functions", false)));
    }
}
