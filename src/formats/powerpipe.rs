//! Powerpipe and Steampipe benchmark results.
//!
//! Producer: `powerpipe benchmark run --output json` (and `steampipe check`). Specification: <https://powerpipe.io/docs>.
//!
//! | status | result |
//! |---|---|
//! | ok | pass |
//! | alarm | fail |
//! | error | error |
//! | skip | not_applicable |
//! | info | manual: the control states facts, a person judges |
//!
//! The lifecycle is always active. Oddities: a control may stand under several groups, with the same rows: it is read once,
//! and its further places only add requirements nowhere; a run that failed as a whole is `group_id: "error"` with
//! `controls: null`; a control that failed has `run_status` 8 and no rows. Nothing says when.

use super::pages::{Ask, Part, Place, first, get, list, number, owned, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::collections::HashSet;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["groups"], &["controls"]], bare: false },
    expected: "Powerpipe's `group_id` with `groups` and `controls`",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut seen = HashSet::new();
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => walk(&record, &mut seen, place),
        Part::Member("group_id", id) => {
            place.recognise();
            if id.as_str() == Some("error") {
                place.say(ProblemKind::ScannerError, "the run failed as a whole");
            }
            Flow::More
        }
        Part::Member("panels", _) => {
            place.recognise();
            place.say(ProblemKind::WrongFormat, "this is a snapshot (pps), expected the JSON output; help: --output json");
            Flow::More
        }
        Part::Member(..) => Flow::More,
    })
}

/// Groups nest; JSON's own depth limit bounds the recursion.
fn walk(node: &Value, seen: &mut HashSet<String>, place: &mut Place<'_>) -> Flow {
    if node.get("control_id").is_some() {
        return control(node, seen, place);
    }
    if node.get("group_id").is_none() {
        return place.strange(node, "`group_id` or `control_id`");
    }
    for member in ["groups", "controls"] {
        for inner in list(node, member) {
            if walk(inner, seen, place) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    Flow::More
}

fn control(record: &Value, seen: &mut HashSet<String>, place: &mut Place<'_>) -> Flow {
    let Some(check) = text(record, "control_id") else { return place.strange(record, "`control_id`") };
    place.recognise();
    if !seen.insert(check.to_string()) {
        return Flow::More;
    }
    let severity = text(record, "severity").and_then(|s| Severity::lenient(&s));
    if number(record, "run_status") == Some(8) || text(record, "run_error").is_some() {
        let message = text(record, "run_error").unwrap_or_default();
        place.say(ProblemKind::ScannerError, format!("control {check} could not be run: {message}"));
        if list(record, "results").is_empty() {
            let mut finding = Finding::new(check.clone(), check.clone(), CheckResult::Error);
            finding.aggregate = true;
            finding.severity = severity;
            finding.message = Some(message);
            return place.finding(finding);
        }
    }
    for row in list(record, "results") {
        let word = text(row, "status").unwrap_or_default();
        let result = match &*word {
            "ok" => CheckResult::Pass,
            "alarm" => CheckResult::Fail,
            "error" => CheckResult::Error,
            "skip" => CheckResult::NotApplicable,
            "info" => CheckResult::Manual,
            other => {
                place.say(ProblemKind::Malformed, format!("control {check}: status `{other}` is not known"));
                continue;
            }
        };
        let Some(resource) = text(row, "resource") else {
            place.say(ProblemKind::Incomplete, format!("control {check}: a row names no resource"));
            continue;
        };
        let mut finding = Finding::new(check.clone(), resource, result);
        finding.severity = severity;
        finding.title = text(record, "title");
        finding.message = text(row, "reason");
        for dimension in list(row, "dimensions") {
            if let (Some(key), Some(value)) = (text(dimension, "key"), text(dimension, "value")) {
                let name = match &*key {
                    "account_id" | "subscription_id" => "account",
                    _ => &key,
                };
                finding.fields.set(owned(name), value);
            }
        }
        if let Some(tags) = get(record, "tags")
            && let Some(id) = first(tags, &["cis_item_id", "nist_800_53_rev_5_item_id"])
        {
            let framework = if tags.get("cis_item_id").is_some() { "cis" } else { "nist-800-53-r5" };
            finding.control_refs.push(ControlRef { framework: framework.into(), version: text(tags, "cis_version"), id });
        }
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}
