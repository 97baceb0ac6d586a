//! Go's text templates, as far as labels and annotations of alerts use them: the whole syntax, its own functions and
//! upstream's. Texts and places of errors are Go's.

mod exec;
mod fmt;
mod funcs;
mod lex;
mod literal;
mod parse;
#[cfg(test)]
mod tests;
mod time;
mod value;

pub use funcs::label_map as labels_for_templates;
pub use time::Time;
pub use value::{Data, Sample, Value};

/// Runs a query at the time of the evaluation.
pub type QueryFn<'a> = dyn Fn(&str) -> Result<Vec<Sample>, String> + 'a;

/// What functions of templates ask for.
pub struct Context<'a> {
    pub query: &'a QueryFn<'a>,
    /// The time of the evaluation, ms.
    pub now_ms: i64,
    /// The URL under which the server is reached; `None` where there is no server.
    pub external_url: Option<&'a str>,
}

/// What upstream puts in front of every text of an alert.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                           {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// A text of an alerting rule, parsed once.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: String,
    /// `None` for a text without actions.
    tree: Option<parse::Tree>,
}

impl Template {
    /// Parses a label or an annotation of an alerting rule. The error is Go's.
    pub fn of_alert(alert: &str, text: &str) -> Result<Template, String> {
        let name = format!("__alert_{alert}");
        if !text.contains("{{") {
            return Ok(Template { name, text: text.to_owned(), tree: None });
        }
        let text = format!("{DEFINITIONS}{text}");
        let tree = parse::parse(&name, &text)?;
        Ok(Template { name, text, tree: Some(tree) })
    }

    /// Fills the template.
    pub fn expand(&self, data: &Data, context: &Context<'_>) -> Result<String, String> {
        let Some(tree) = &self.tree else { return Ok(self.text.clone()) };
        let data = exec::data(data.clone());
        exec::run(&self.name, &self.text, tree, &data, context)
            .map_err(|e| format!("error executing template {}: {e}", self.name))
    }
}
