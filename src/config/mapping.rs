//! `format: { jsonpath: … }`: the operator's own mapping, from YAML to what `formats` compiles.

use super::errors::{Place, ProblemSeverity, Report};
use super::yaml::{Node, Table, Value};
use crate::formats::jsonpath::{Mapping, RawMapping};
use std::sync::Arc;

pub(super) const KEYS: &[&str] = &[
    "records",
    "delimiter",
    "check",
    "resource",
    "resource_type",
    "resource_name",
    "result",
    "lifecycle",
    "severity",
    "observed_at",
    "title",
    "message",
    "fields",
    "count",
];
pub(super) const RESULT: &[&str] = &["path", "pass", "fail", "error", "manual", "not_applicable", "not_assessed"];
pub(super) const LIFECYCLE: &[&str] = &["path", "active", "suppressed", "inactive"];

/// Reads and compiles a mapping; every fault stands at its own key.
pub(super) fn read(node: &Node, report: &Report) -> Option<Arc<Mapping>> {
    let before = report.errors();
    let what = "the jsonpath mapping";
    let t = Table::open(node, what, KEYS, report, |_| None)?;
    t.required("check", "where the scanner's rule id stands in a record: `check: \"$.rule.id\"`");
    t.required("resource", "where the resource's id stands in a record: `resource: \"$.asset.id\"`");
    for key in ["records", "delimiter", "resource_type", "resource_name", "severity", "observed_at", "title", "message", "count"] {
        t.text(key);
    }
    t.pairs("fields");
    match t.node("result") {
        None => t.missing("result", "`result: { path: \"$.state\", pass: [ok], fail: [violation] }`"),
        Some(n) => words(n, "result of the jsonpath mapping", RESULT, report),
    }
    if let Some(n) = t.node("lifecycle") {
        words(n, "lifecycle of the jsonpath mapping", LIFECYCLE, report);
    }
    if report.errors() > before {
        return None;
    }
    let raw: RawMapping = match serde_json::from_value(node.json()) {
        Ok(raw) => raw,
        Err(e) => {
            report.error(node.at, format!("{what}: {e}"));
            return None;
        }
    };
    match Mapping::compile(raw) {
        Ok(mapping) => Some(Arc::new(mapping)),
        Err(faults) => {
            for (field, message) in faults {
                let (message, help) = match message.split_once("\nhelp: ") {
                    Some((message, help)) => (message, Some(help.to_owned())),
                    None => (message.as_str(), None),
                };
                let text = format!("`{field}` of {what}: {}", super::one_line(message));
                report.push(ProblemSeverity::Error, None, find(node, &field), text, help);
            }
            None
        }
    }
}

/// `path` and lists of words.
fn words(node: &Node, what: &str, known: &[&str], report: &Report) {
    let Some(t) = Table::open(node, what, known, report, |_| None) else { return };
    t.required("path", "where the word stands in a record: `path: \"$.state\"`");
    for key in &known[1..] {
        if let Some(n) = t.node(key)
            && !matches!(n.value, Value::List(_))
        {
            report.error_help(
                n.at,
                format!("`{key}` of {what} should be a list of words, found {}", n.describe()),
                format!("write for instance `{key}: [ok, passed]`"),
            );
        }
    }
}

/// The place of `result.path` below `node`, or of what comes nearest to it.
fn find(node: &Node, field: &str) -> Place {
    let mut at = node;
    for part in field.split('.') {
        match at.get(part) {
            Some(next) => at = next,
            None => break,
        }
    }
    at.at
}
