//! OSCAL assessment results.
//!
//! Producers: compliance-trestle, c2p, assessors' tools; OSCAL 1.0.x to 1.2.1, whole documents (`assessment-results`) and trestle's
//! fragments (`results`). Specification: <https://pages.nist.gov/OSCAL/reference/latest/assessment-results/>.
//!
//! | what | result |
//! |---|---|
//! | observation or subject with prop `result`: pass, fixed | pass |
//! | fail, failure | fail |
//! | error, unknown | error |
//! | notapplicable, not-applicable | not_applicable |
//! | notchecked, notselected, informational, skip | not_assessed |
//! | manual, warning, warn | manual |
//! | finding `target.status.state`: satisfied, not-satisfied (reason other: manual) | pass, fail |
//!
//! The lifecycle is always active. OSCAL has no verdict of a check on a resource: producers put it in a property, on the
//! observation or on each subject, which then wins. Observations without one are evidence of findings and no verdicts; their
//! results are read from the findings. The check is prop `idref`, `assessment-rule-id`, `rule-id`, else the title.

use super::pages::{Ask, Part, Place, first, get, instant, list, owned, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["assessment-results", "results"], &["results"]], bare: false },
    expected: "OSCAL `assessment-results`",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => result(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn prop<'v>(value: &'v Value, names: &[&str]) -> Option<&'v str> {
    names.iter().find_map(|name| list(value, "props").iter().find(|p| p["name"] == **name).and_then(|p| p["value"].as_str()))
}

fn verdict(word: &str) -> Option<CheckResult> {
    Some(match word.to_ascii_lowercase().as_str() {
        "pass" | "passed" | "fixed" | "success" | "satisfied" => CheckResult::Pass,
        "fail" | "failed" | "failure" | "not-satisfied" => CheckResult::Fail,
        "error" | "unknown" => CheckResult::Error,
        "notapplicable" | "not-applicable" | "not_applicable" => CheckResult::NotApplicable,
        "notchecked" | "notselected" | "informational" | "skip" | "skipped" => CheckResult::NotAssessed,
        "manual" | "warning" | "warn" => CheckResult::Manual,
        _ => return None,
    })
}

fn result(record: &Value, place: &mut Place<'_>) -> Flow {
    if record.get("observations").is_none() && record.get("findings").is_none() {
        return if record.get("reviewed-controls").is_some() {
            place.recognise();
            place.say(ProblemKind::Empty, "the result has neither observations nor findings");
            Flow::More
        } else {
            place.strange(record, "`observations` or `findings`")
        };
    }
    place.recognise();
    place.scanned_at(instant(record, "end").or_else(|| instant(record, "start")));
    for observation in list(record, "observations") {
        if observe(observation, record, place) == Flow::Stop {
            return Flow::Stop;
        }
    }
    for found in list(record, "findings") {
        if judged(found, record, place) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}

fn observe(observation: &Value, record: &Value, place: &mut Place<'_>) -> Flow {
    let own = prop(observation, &["result"]);
    let subjects = list(observation, "subjects");
    let check = prop(observation, &["idref", "assessment-rule-id", "rule-id", "Rule_Id", "rule", "policy-id"])
        .map(Into::into)
        .or_else(|| first(observation, &["title", "description"]));
    for subject in subjects {
        let Some(word) = prop(subject, &["result"]).or(own) else { continue };
        let (Some(result), Some(check)) = (verdict(word), check.clone()) else {
            place.say(ProblemKind::Malformed, format!("an observation's result `{word}` is not known, or it names no rule"));
            continue;
        };
        let Some(id) = resource(subject, record) else {
            place.say(ProblemKind::Incomplete, "an observation's subject has no name");
            continue;
        };
        let mut finding = Finding::new(check, id, result);
        finding.resource.kind = text(subject, "type");
        finding.resource.name = text(subject, "title");
        finding.observed_at = prop(observation, &["time"]).and_then(super::time::parse).or_else(|| instant(observation, "collected"));
        finding.severity = prop(observation, &["severity"]).and_then(Severity::lenient);
        finding.title = text(observation, "title");
        finding.message = prop(subject, &["reason"]).map(Into::into);
        if let Some(control) = prop(observation, &["control-id"]) {
            finding.control_refs.push(ControlRef { framework: "".into(), version: None, id: control.into() });
        }
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}

/// The subject's own words, or those of the thing that its uuid names.
fn resource(subject: &Value, record: &Value) -> Option<String> {
    let uuid = text(subject, "subject-uuid").unwrap_or_default();
    let named = ["inventory-items", "components"]
        .iter()
        .flat_map(|m| list(record, &format!("local-definitions.{m}")))
        .find(|item| item["uuid"] == *uuid);
    let by_props = |v: &Value| prop(v, &["resource-id", "fqdn", "target", "hostname", "host-name", "uid", "arn"]).map(str::to_owned);
    named
        .and_then(|item| by_props(item).or_else(|| first(item, &["title"]).map(|t| t.into_owned())))
        .or_else(|| by_props(subject))
        .or_else(|| first(subject, &["title"]).map(|t| t.into_owned()))
        .or_else(|| (!uuid.is_empty()).then(|| uuid.to_string()))
}

fn judged(found: &Value, record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(check), Some(state)) = (text(found, "target.target-id"), text(found, "target.status.state")) else {
        place.say(ProblemKind::Malformed, "a finding has no `target.target-id` or no `target.status.state`");
        return Flow::More;
    };
    let other = text(found, "target.status.reason").is_some_and(|r| r == "other");
    let result = match &*state {
        "satisfied" if other => CheckResult::Manual,
        "satisfied" => CheckResult::Pass,
        "not-satisfied" if other => CheckResult::Manual,
        "not-satisfied" => CheckResult::Fail,
        unknown => {
            place.say(ProblemKind::Malformed, format!("state `{unknown}` is not known"));
            return Flow::More;
        }
    };
    // The subjects of the observations that the finding rests on; without one it is about the system.
    let mut ids: Vec<String> = Vec::new();
    for related in list(found, "related-observations") {
        let uuid = &related["observation-uuid"];
        let observation = list(record, "observations").iter().find(|o| o["uuid"] == *uuid);
        for id in observation.into_iter().flat_map(|o| list(o, "subjects")).filter_map(|s| resource(s, record)) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    if ids.is_empty() {
        ids.push("the system".to_owned());
    }
    for id in ids {
        let mut finding = Finding::new(check.clone(), id, result);
        finding.observed_at = instant(record, "end").or_else(|| instant(record, "start"));
        finding.title = text(found, "title");
        finding.message = get(found, "target.status.remarks").and_then(Value::as_str).map(owned);
        finding.control_refs.push(ControlRef { framework: "".into(), version: None, id: check.clone() });
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}
