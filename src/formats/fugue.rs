//! Fugue: compliance of an environment by rules.
//!
//! Producer: Fugue API v0 (retired into Snyk), `GET /scans/{id}/compliance_by_rules`. Specification: its swagger file.
//!
//! | result | ours |
//! |---|---|
//! | FAIL | a fail for each of `failed_resources`, or one with a count of one if none is listed |
//! | PASS | a pass of the rule as a whole: how many resources complied is not said |
//! | UNKNOWN | not_assessed, of the rule as a whole |
//! | `unsurveyed_resource_types` | not_assessed for each type, beside the above: a pass over what was not surveyed is none |
//!
//! Lifecycle is always active: waived rules are left out by the source.

use super::pages::{Ask, Part, Place, list, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, ProblemKind, RunOutcome};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["items"]], bare: true },
    expected: "Fugue's `items` with `family`, `rule` and `result`",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut wrong = None;
    let outcome = read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => {
            if record.get("rule").is_none() && wrong != Some(false) {
                wrong = Some(true);
            } else {
                wrong = Some(false);
            }
            row(&record, place)
        }
        Part::Member(..) => Flow::More,
    })?;
    if wrong == Some(true) {
        return Err(FormatError::wrong(ctx, format!("expected {}, found a list of something else", ASK.expected)));
    }
    Ok(outcome)
}

fn row(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(rule), Some(word)) = (text(record, "rule"), text(record, "result")) else {
        return place.strange(record, "`rule` and `result`");
    };
    place.recognise();
    let family = text(record, "family").unwrap_or_default();
    let result = match &*word {
        "PASS" => CheckResult::Pass,
        "FAIL" => CheckResult::Fail,
        "UNKNOWN" => CheckResult::NotAssessed,
        other => {
            place.say(ProblemKind::Malformed, format!("result `{other}` is not known"));
            return Flow::More;
        }
    };
    let make = |resource: std::borrow::Cow<'_, str>, result| {
        let mut finding = Finding::new(rule.to_string(), resource.into_owned(), result);
        if !family.is_empty() {
            let id = rule.strip_prefix(&*family).unwrap_or(&rule).trim_start_matches('_').to_owned();
            finding.control_refs.push(ControlRef { framework: family.to_string().into(), version: None, id: id.into() });
        }
        finding
    };
    let whole = || if family.is_empty() { rule.clone() } else { family.clone() };
    let failed = list(record, "failed_resources");
    for failure in failed {
        let Some(id) = text(failure, "resource.resource_id") else {
            place.say(ProblemKind::Incomplete, "a failed resource has no id");
            continue;
        };
        let mut finding = make(id, CheckResult::Fail);
        finding.resource.kind = text(failure, "resource.resource_type");
        finding.message = list(failure, "messages").first().and_then(Value::as_str).map(Into::into);
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    for kind in list(record, "unsurveyed_resource_types").iter().filter_map(Value::as_str) {
        let mut finding = make(whole(), CheckResult::NotAssessed);
        finding.aggregate = true;
        finding.resource.kind = Some(kind.into());
        finding.message = Some("resources of this type were not surveyed".into());
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    if failed.is_empty() {
        let mut finding = make(whole(), result);
        finding.aggregate = true;
        return place.finding(finding);
    }
    Flow::More
}
