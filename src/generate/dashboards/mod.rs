//! Grafana dashboards: what they show, and the check that what they ask for exists.
//!
//! They are the same for every estate: which controls, scopes and SLOs there are is asked when they are opened. Pure, like
//! all of this room; [`lint`] knows no Prometheus either, but enough of its language to tell names from labels.

mod collectors;
mod common;
mod control;
mod lint;
mod model;
mod overview;
mod query;
mod remediation;
mod slo;

pub use lint::lint;

use super::{Artefact, MARK, Options};
use model::Dashboard;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn all(options: &Options) -> Vec<Dashboard> {
    vec![
        overview::dashboard(options),
        slo::dashboard(options),
        control::dashboard(options),
        collectors::dashboard(options),
        remediation::dashboard(options),
    ]
}

/// `dashboards/*.json`.
pub fn generate(options: &Options) -> Vec<Artefact> {
    all(options).iter().map(|d| Artefact { path: format!("dashboards/{}.json", d.name), text: text(d.json()) }).collect()
}

/// JSON has no comments: that the file is generated stands in its description, which therefore comes first.
fn text(dashboard: Value) -> String {
    let Value::Object(mut fields) = dashboard else { return String::new() };
    let description = fields.remove("description").unwrap_or_default();
    let description = format!("{} {MARK} dashboards: do not edit, save it under another name.", description.as_str().unwrap_or_default());
    let rest = serde_json::to_string_pretty(&Value::Object(fields)).unwrap_or_default();
    format!("{{\n  \"description\": {},{}\n", json!(description), rest.trim_start_matches('{'))
}

/// A query of a panel, of a variable or of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The dashboard's name.
    pub dashboard: String,
    /// The panel's title, `variable NAME` or `annotation NAME`.
    pub panel: String,
    /// PromQL, with Grafana's variables.
    pub expr: String,
    /// Whether nothing may be the right answer: an event that did not happen.
    pub may_be_empty: bool,
}

/// All queries of the dashboards, read from their JSON.
pub fn questions(options: &Options) -> Vec<Question> {
    let mut out = Vec::new();
    for dashboard in all(options) {
        let json = dashboard.json();
        let mut add = |panel: String, expr: &Value, may_be_empty: bool| {
            if let Some(expr) = expr.as_str() {
                out.push(Question { dashboard: dashboard.name.to_owned(), panel, expr: expr.to_owned(), may_be_empty });
            }
        };
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        for panel in list(&json["panels"]) {
            for target in list(&panel["targets"]) {
                add(panel["title"].as_str().unwrap_or_default().to_owned(), &target["expr"], false);
            }
        }
        for variable in list(&json["templating"]["list"]) {
            let name = variable["name"].as_str().unwrap_or_default();
            let query = variable["query"]["query"].as_str().and_then(|q| q.strip_prefix("query_result(")).and_then(|q| q.strip_suffix(')'));
            add(format!("variable {name}"), &json!(query), false);
        }
        for annotation in list(&json["annotations"]["list"]) {
            add(format!("annotation {}", annotation["name"].as_str().unwrap_or_default()), &annotation["expr"], true);
        }
    }
    out
}

/// Grafana's variables in `text` filled in: `values` by name, everything else stands for any value.
///
/// # Panics
/// Never.
pub fn filled(text: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').unwrap_or(inner.len());
            (inner[..end].split(':').next().unwrap_or_default(), inner.get(end + 1..).unwrap_or_default())
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        };
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            // `$1` belongs to label_replace.
            out.push('$');
            continue;
        }
        out.push_str(values.get(name).copied().unwrap_or(match name {
            "__interval" => "1m",
            "__rate_interval" => "5m",
            "__range" => "1h",
            _ => ".*",
        }));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboards_are_sound() {
        let faults: Vec<String> = generate(&Options::default()).iter().flat_map(|a| lint(&a.path, &a.text)).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn variables_are_filled_in() {
        let values = BTreeMap::from([("scope", "prod")]);
        assert_eq!(
            filled("a{s=~\"$scope\",c=~\"${control:regex}\"}[$__rate_interval] $1 \"$\"", &values),
            "a{s=~\"prod\",c=~\".*\"}[5m] $1 \"$\""
        );
    }
}
