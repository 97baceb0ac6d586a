//! `explain`: the plan of a query, and with `analyze=true` what each operator cost. An endpoint of our own.

use crate::json::Json;
use query::{Explanation, Operator};

/// `{"text":…,"plan":{…},"fetches":[…]}`
pub(crate) fn write(json: &mut Json, explanation: &Explanation) {
    json.raw("{\"text\":").text(&explanation.text()).raw(",\"plan\":");
    write_operator(json, &explanation.root);
    json.raw(",\"fetches\":[");
    let mut first = true;
    for fetch in &explanation.fetches {
        json.comma(&mut first).raw("{\"selector\":").text(&fetch.selector);
        json.raw(",\"start\":").timestamp(fetch.range.min).raw(",\"end\":").timestamp(fetch.range.max);
        if let Some(labels) = &fetch.labels {
            json.raw(",\"labels\":").texts(labels.iter().map(String::as_str));
        }
        if let Some(series) = fetch.series {
            json.raw(",\"series\":").uint(series as u64);
        }
        json.raw("}");
    }
    json.raw("]}");
}

fn write_operator(json: &mut Json, operator: &Operator) {
    json.raw("{\"kind\":").text(operator.kind).raw(",\"what\":").text(&operator.what);
    json.raw(",\"start\":").uint(operator.start as u64).raw(",\"end\":").uint(operator.end as u64);
    if let Some(cost) = &operator.cost {
        json.raw(",\"seconds\":").number(cost.time.as_secs_f64());
        json.raw(",\"series\":").uint(cost.series).raw(",\"samples\":").uint(cost.samples);
        json.raw(",\"calls\":").uint(cost.calls);
    }
    json.raw(",\"children\":[");
    let mut first = true;
    for child in &operator.children {
        json.comma(&mut first);
        write_operator(json, child);
    }
    json.raw("]}");
}
