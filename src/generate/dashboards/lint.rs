//! What makes a dashboard wrong in a way that nobody sees until it is needed: a series that nothing exposes, a label that
//! it does not have, a variable that is not there, panels on top of each other, a link that leads nowhere, a number
//! without a unit.
//!
//! Of PromQL it knows the words and where labels stand, no more. Whether a query means something is for Prometheus to say:
//! a test asks promtool.

use super::model::{COLUMNS, uid};
use crate::exposition::names::{self, recorded};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Names of the dashboards to which links may lead.
const NAMES: [&str; 5] = ["overview", "slo", "control", "collectors", "remediation"];

/// Everything that is wrong with a dashboard, each fault with its place.
pub fn lint(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let dashboard: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(e) => return vec![format!("{path}: not JSON: {e}")],
    };
    let mut fault = |place: &str, what: String| faults.push(format!("{path}: {place}: {what}"));
    if dashboard["schemaVersion"].as_u64().is_none_or(|v| v < 39) {
        fault("schemaVersion", format!("found {}, expected 39 or more", dashboard["schemaVersion"]));
    }
    for field in ["uid", "title"] {
        if dashboard[field].as_str().is_none_or(str::is_empty) {
            fault(field, "is missing".to_owned());
        }
    }
    let variables: BTreeSet<String> = list(&dashboard["templating"]["list"]).iter().map(|v| word(&v["name"])).collect();
    variables_exist("dashboard", &dashboard, &variables, &mut fault);
    panels(&dashboard, &mut fault);
    for variable in &variables {
        let used =
            [format!("${variable}"), format!("${{{variable}}}"), format!("${{{variable}:")].iter().any(|u| text.contains(u.as_str()));
        if !used {
            fault(&format!("variable {variable}"), "nothing uses it".to_owned());
        }
    }
    for variable in list(&dashboard["templating"]["list"]) {
        if let Some(query) = variable["query"]["query"].as_str() {
            let expr = query.trim_start_matches("query_result(");
            let expr = expr.strip_suffix(')').unwrap_or(expr);
            query_faults(&format!("variable {}", word(&variable["name"])), expr, &mut fault);
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        if let Some(expr) = annotation["expr"].as_str() {
            query_faults(&format!("annotation {}", word(&annotation["name"])), expr, &mut fault);
        }
    }
    faults
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn panels(dashboard: &Value, fault: &mut impl FnMut(&str, String)) {
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for panel in list(&dashboard["panels"]) {
        let title = word(&panel["title"]);
        let place = format!("panel `{title}`");
        if !ids.insert(panel["id"].as_u64()) || panel["id"].as_u64().is_none() {
            fault(&place, format!("id {} is missing or there twice", panel["id"]));
        }
        let grid = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|k| grid[k].as_u64().unwrap_or(u64::MAX));
        if [x, y, w, h].contains(&u64::MAX) || w == 0 || h == 0 || x + w > u64::from(COLUMNS) || h > 100 {
            fault(&place, format!("gridPos {grid} is not inside {COLUMNS} columns"));
        } else {
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                if let Some(other) = taken.insert(cell, title.clone()) {
                    fault(&place, format!("lies on top of panel `{other}`"));
                    break;
                }
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        if !titles.insert(title.clone()) {
            fault(&place, "the title is there twice".to_owned());
        }
        if panel["description"].as_str().is_none_or(str::is_empty) {
            fault(&place, "has no description".to_owned());
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        if defaults["unit"].as_str().is_none_or(str::is_empty) {
            fault(&place, "has no unit".to_owned());
        }
        if defaults["noValue"].as_str().is_none_or(str::is_empty) {
            fault(&place, "does not say what stands where there is no number".to_owned());
        }
        let mut refs = BTreeSet::new();
        for target in list(&panel["targets"]) {
            if !refs.insert(word(&target["refId"])) {
                fault(&place, format!("refId {} is there twice", target["refId"]));
            }
            let expr = word(&target["expr"]);
            if expr.is_empty() {
                fault(&place, "has a query without an expression".to_owned());
            }
            query_faults(&place, &expr, fault);
        }
        if refs.is_empty() {
            fault(&place, "asks nothing".to_owned());
        }
        columns_exist(panel, &place, fault);
        strings(panel, &mut |text| {
            if let Some(rest) = text.strip_prefix("/d/") {
                let target = rest.split(['?', '/']).next().unwrap_or_default();
                if !NAMES.iter().any(|name| uid(name) == target) {
                    fault(&place, format!("links to `{target}`, which is not generated"));
                }
            }
        });
    }
}

/// An override by name must meet a column or a series.
fn columns_exist(panel: &Value, place: &str, fault: &mut impl FnMut(&str, String)) {
    let mut shown: BTreeSet<String> = list(&panel["targets"]).iter().map(|t| word(&t["legendFormat"])).collect();
    for step in list(&panel["transformations"]) {
        if let Some(names) = step["options"]["renameByName"].as_object() {
            shown.extend(names.values().map(word));
        }
    }
    for rule in list(&panel["fieldConfig"]["overrides"]) {
        let name = word(&rule["matcher"]["options"]);
        // Where a label makes the legend, the names are known only when there are data.
        if !shown.contains(&name) && !shown.iter().any(|s| s.contains("{{")) {
            fault(place, format!("has settings for `{name}`, which it does not show"));
        }
    }
}

/// Every text in a JSON value.
fn strings(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(all) => all.iter().for_each(|v| strings(v, found)),
        Value::Object(all) => all.values().for_each(|v| strings(v, found)),
        _ => {}
    }
}

/// Variables that Grafana brings.
const BUILT_IN: [&str; 8] = ["__all", "__interval", "__rate_interval", "__range", "__url_time_range", "__data", "__field", "__value"];

fn variables_exist(place: &str, value: &Value, known: &BTreeSet<String>, fault: &mut impl FnMut(&str, String)) {
    let mut missing = BTreeSet::new();
    strings(value, &mut |text| {
        for (at, _) in text.match_indices('$') {
            let rest = &text[at + 1..];
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            let number = name.starts_with(|c: char| c.is_ascii_digit());
            if !name.is_empty() && !number && !known.contains(name) && !BUILT_IN.contains(&name) {
                missing.insert(name.to_owned());
            }
        }
    });
    for name in missing {
        fault(place, format!("uses the variable `${name}`, which it does not have"));
    }
}

fn query_faults(place: &str, expr: &str, fault: &mut impl FnMut(&str, String)) {
    for problem in unknown_names(expr) {
        fault(place, format!("{problem} in `{expr}`"));
    }
}

/// A word of PromQL, or a sign.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Token {
    Word(String),
    Text,
    Sign(char),
}

fn tokens(expr: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut chars = expr.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '"' || c == '\'' || c == '`' {
            while let Some(d) = chars.next() {
                if d == '\\' && c != '`' {
                    chars.next();
                } else if d == c {
                    break;
                }
            }
            out.push(Token::Text);
        } else if c.is_ascii_alphanumeric() || "_:$.".contains(c) {
            let mut word = c.to_string();
            while let Some(d) = chars.next_if(|d| d.is_ascii_alphanumeric() || "_:.".contains(*d)) {
                word.push(d);
            }
            out.push(Token::Word(word));
        } else if !c.is_whitespace() {
            out.push(Token::Sign(c));
        }
    }
    out
}

/// Words before a list of labels in parentheses.
const LABEL_LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words between expressions.
const WORDS: [&str; 8] = ["and", "or", "unless", "bool", "offset", "inf", "nan", "atan2"];

/// Series and labels of a query that nothing exposes or records.
fn unknown_names(expr: &str) -> Vec<String> {
    let tokens = tokens(expr);
    let mut problems = Vec::new();
    let mut i = 0;
    // All labels of all series of the query: what `by` and `on` may name.
    let mut labels: BTreeSet<String> = ["le".to_owned()].into();
    let mut lists: Vec<String> = Vec::new();
    while i < tokens.len() {
        let Token::Word(word) = &tokens[i] else {
            if tokens[i] == Token::Sign('[') {
                while i < tokens.len() && tokens[i] != Token::Sign(']') {
                    i += 1;
                }
            }
            i += 1;
            continue;
        };
        let next = tokens.get(i + 1);
        let number = word.starts_with(|c: char| c.is_ascii_digit() || c == '$' || c == '.');
        if LABEL_LISTS.contains(&word.as_str()) {
            i += 1;
            while i < tokens.len() && tokens[i] != Token::Sign(')') {
                if let Token::Word(label) = &tokens[i] {
                    lists.push(label.clone());
                }
                i += 1;
            }
        } else if word == "label_replace" {
            // It makes a label; which one stands in a text.
            labels.insert(recorded::SLOTH_ID.to_owned());
        } else if !number
            && next != Some(&Token::Sign('('))
            && !WORDS.contains(&word.to_ascii_lowercase().as_str())
            && !aggregation(&tokens, i)
        {
            let known = labels_of(word);
            if known.is_none() {
                problems.push(format!("nothing exposes or records `{word}`"));
            }
            let known = known.unwrap_or_default();
            if next == Some(&Token::Sign('{')) {
                i += 2;
                while i < tokens.len() && tokens[i] != Token::Sign('}') {
                    if let Token::Word(label) = &tokens[i]
                        && !known.is_empty()
                        && !known.contains(label)
                        && !absent_on_purpose(word, label)
                    {
                        problems.push(format!("`{word}` has no label `{label}`"));
                    }
                    i += 1;
                }
            }
            labels.extend(known);
        }
        i += 1;
    }
    problems.extend(lists.iter().filter(|l| !labels.contains(*l)).map(|l| format!("no series has the label `{l}`")));
    problems
}

/// `sum by (…) (…)`: the word is an operator though no parenthesis follows it.
fn aggregation(tokens: &[Token], i: usize) -> bool {
    matches!(tokens.get(i + 1), Some(Token::Word(w)) if w == "by" || w == "without")
}

/// A control that serves no framework is met by the pattern of all frameworks.
fn absent_on_purpose(series: &str, label: &str) -> bool {
    series == names::CONTROL_INFO.name && label == "framework"
}

/// The labels of a series, if anything exposes or records it.
fn labels_of(name: &str) -> Option<BTreeSet<String>> {
    let set = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect();
    if name == "ALERTS" {
        return Some(set(&[
            "alertname",
            "alertstate",
            "severity",
            recorded::SLOTH_ID,
            recorded::SLOTH_SERVICE,
            recorded::SLOTH_SLO,
            recorded::SLOTH_SEVERITY,
        ]));
    }
    let ids = [recorded::SLOTH_ID, recorded::SLOTH_SERVICE, recorded::SLOTH_SLO];
    if let Some(metric) = names::ALL.iter().find(|m| m.name == name || names::Kind::Histogram == m.kind && bucket(name, m.name)) {
        return Some(set(metric.labels));
    }
    if name == recorded::SLO_INFO {
        return Some(set(
            &[&ids[..], &[recorded::SLOTH_OBJECTIVE, recorded::SLI_KIND, "sloth_mode", "sloth_version", "sloth_spec"]].concat()
        ));
    }
    let window = name.strip_prefix(&recorded::error_ratio("")).is_some_and(|w| !w.is_empty());
    if window || recorded::ALL.contains(&name) {
        return Some(set(&[&ids[..], &[recorded::SLOTH_WINDOW, recorded::OWNER]].concat()));
    }
    None
}

fn bucket(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_found() {
        let said = |expr: &str| unknown_names(expr).join("; ");
        assert_eq!(said("sum by (scope) (rate(compliance_resource_seconds_total{state=~\"a|b\"}[5m])) / 2 > bool 1.5e3"), "");
        assert_eq!(said("compliance_ration"), "nothing exposes or records `compliance_ration`");
        assert_eq!(said("compliance_ratio{account=\"1\"}"), "`compliance_ratio` has no label `account`");
        assert_eq!(said("sum by (account) (compliance_ratio)"), "no series has the label `account`");
        assert_eq!(said("a_bucket"), "nothing exposes or records `a_bucket`");
        assert_eq!(said("compliance_remediation_duration_seconds_bucket{le=\"1\"}").matches("le").count(), 1);
        assert_eq!(said("max_over_time(max by (scope) (compliance_ratio{scope=~\"$scope\"})[$__range:1h]) offset 1d"), "");
    }

    #[test]
    fn every_fault_is_said_with_its_place() {
        let panel = |id: u64, x: u64, more: &str| {
            format!(
                r#"{{"id":{id},"type":"stat","title":"p{id}","description":"d","gridPos":{{"x":{x},"y":0,"w":12,"h":4}},
                "fieldConfig":{{"defaults":{{"unit":"short","noValue":"-"{more}}},"overrides":[]}},
                "targets":[{{"refId":"A","expr":"compliance_ratio{{scope=\"$scope\"}}"}}]}}"#
            )
        };
        let dashboard = |panels: &[String]| {
            format!(
                r#"{{"schemaVersion":39,"uid":"u","title":"t","panels":[{}],"templating":{{"list":[{{"name":"scope"}}]}}}}"#,
                panels.join(",")
            )
        };
        assert_eq!(lint("d.json", &dashboard(&[panel(1, 0, ""), panel(2, 12, "")])), Vec::<String>::new());
        let one = |text: &str| lint("d.json", text).join("\n");
        assert_eq!(one(&dashboard(&[panel(1, 0, ""), panel(2, 11, "")])), "d.json: panel `p2`: lies on top of panel `p1`");
        assert!(one(&dashboard(&[panel(1, 0, ""), panel(1, 12, "")])).contains("id 1 is missing or there twice"));
        assert!(one(&dashboard(&[panel(1, 13, "")])).contains("is not inside 24 columns"));
        assert!(one(&dashboard(&[panel(1, 0, "")]).replace("\"short\"", "\"\"")).contains("panel `p1`: has no unit"));
        assert!(one(&dashboard(&[panel(1, 0, "")]).replace("$scope", "$scop")).contains("uses the variable `$scop`"));
        assert!(
            one(&dashboard(&[panel(1, 0, ",\"links\":[{\"url\":\"/d/bornright-contro?x\"}]")])).contains("links to `bornright-contro`")
        );
        assert!(one("{").starts_with("d.json: not JSON"));
    }
}
