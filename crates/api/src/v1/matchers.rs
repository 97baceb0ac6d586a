//! `match[]`: series selectors in parameters.

use model::Matcher;

/// One selector without modifiers. The error has upstream's position and text.
pub(crate) fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    promql::parse_metric_selector(text).map_err(|e| e.to_string())
}

/// All selectors; each must contain a matcher that the empty value does not satisfy.
pub(crate) fn selector_sets<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Vec<Matcher>>, String> {
    let sets = texts.map(selector).collect::<Result<Vec<_>, _>>()?;
    if sets.iter().any(|set| set.iter().all(Matcher::matches_empty)) {
        return Err("match[] must contain at least one non-empty matcher".into());
    }
    Ok(sets)
}
