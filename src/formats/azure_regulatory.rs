//! Defender for Cloud regulatory compliance: standards, their controls, and their assessments. Numbers only.
//!
//! Producer: Microsoft.Security/regulatoryCompliance*, API version 2019-01-01-preview.
//! Specification: <https://learn.microsoft.com/rest/api/defenderforcloud/regulatory-compliance-assessments>.
//!
//! | number | result |
//! |---|---|
//! | passedResources, passedAssessments, passedControls | pass |
//! | failed… | fail |
//! | skipped… (disabled or exempt) | not_assessed |
//! | unsupported… (no automation) | manual |
//!
//! Each number is one finding with a count, of the subscription; the lifecycle is always active. A record all of whose
//! numbers are zero gives one finding of its state with a count of zero, so that it is seen.
//! Oddities: the state is written in two cases; one assessment stands under many controls, so its numbers must not be
//! added up over controls: the check is `standard/control/assessment`, and names the level by its depth.

use super::pages::{self, Ask, Part, Place, azure_part, number, read as read_pages, same, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, ProblemKind, RunOutcome};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["value"], &["data"]], bare: true },
    expected: "a list of Microsoft.Security/regulatoryCompliance… (`value`)",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => row(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn row(record: &Value, place: &mut Place<'_>) -> Flow {
    let id = text(record, "id").unwrap_or_default();
    let Some(standard) = azure_part(&id, "regulatoryComplianceStandards") else {
        return place.strange(record, "`id` with regulatoryComplianceStandards in it");
    };
    let properties = &record["properties"];
    let unit = ["Resources", "Assessments", "Controls"].into_iter().find(|u| number(properties, &format!("passed{u}")).is_some());
    let Some(unit) = unit else { return place.strange(record, "numbers such as `passedResources`") };
    place.recognise();
    let control = azure_part(&id, "regulatoryComplianceControls");
    let assessment = azure_part(&id, "regulatoryComplianceAssessments");
    let check = [Some(standard), control, assessment].into_iter().flatten().collect::<Vec<_>>().join("/");
    let subscription = azure_part(&id, "subscriptions").unwrap_or_default();
    let make = |result: CheckResult, count: u64| {
        let mut finding = Finding::new(check.clone(), format!("/subscriptions/{subscription}"), result);
        finding.resource.kind = Some(unit.to_ascii_lowercase().into());
        finding.aggregate = true;
        finding.count = count;
        finding.title = text(properties, "description");
        finding.fields.set("provider", "azure");
        finding.fields.set("subscription", pages::owned(subscription));
        finding.fields.set("account", pages::owned(subscription));
        finding.fields.set("standard", pages::owned(standard));
        if let Some(control) = control {
            finding.control_refs.push(ControlRef { framework: pages::owned(standard), version: None, id: pages::owned(control) });
        }
        finding
    };
    let mut any = false;
    for (word, result) in [
        ("passed", CheckResult::Pass),
        ("failed", CheckResult::Fail),
        ("skipped", CheckResult::NotAssessed),
        ("unsupported", CheckResult::Manual),
    ] {
        if let Some(count) = number(properties, &format!("{word}{unit}")).filter(|n| *n > 0) {
            any = true;
            if place.finding(make(result, count)) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    if any {
        return Flow::More;
    }
    let state = text(properties, "state").unwrap_or_default();
    let result = if same(&state, "Passed") {
        CheckResult::Pass
    } else if same(&state, "Failed") {
        CheckResult::Fail
    } else if same(&state, "Skipped") {
        CheckResult::NotAssessed
    } else if same(&state, "Unsupported") {
        CheckResult::Manual
    } else {
        place.say(ProblemKind::Malformed, format!("state `{state}` is not known"));
        return Flow::More;
    };
    place.finding(make(result, 0))
}
