//! Azure Policy states, and their summary.
//!
//! Producer: Microsoft.PolicyInsights/policyStates, API versions 2019-10-01 to 2024-10-01; Resource Graph `policyresources`.
//! Specification: <https://learn.microsoft.com/rest/api/policyinsights/policy-states>.
//!
//! | complianceState | result | lifecycle |
//! |---|---|---|
//! | Compliant | pass | active |
//! | NonCompliant | fail | active |
//! | Exempt | pass if `isCompliant`, else fail: an exemption hides a failure and does not mend it | suppressed |
//! | Unknown, Protected | not_assessed (manual if the effect is manual) | active |
//! | Conflict, Error | error | active |
//!
//! Oddities: case differs between calls; official examples hold identical rows twice, which the rule stage takes as one;
//! one definition may stand in a set several times, told apart by `policyDefinitionReferenceId`. `summarize` gives only
//! numbers over all policies.

use super::pages::{self, Ask, Part, Place, azure_part, first, get, instant, list, number, read as read_pages, same, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, ProblemKind, RunOutcome};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["value"], &["data"]], bare: true },
    expected: "a list of Azure Policy states (`value`)",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        // Resource Graph keeps the state under `properties`.
        Part::Record(record, _) => match get(&record, "properties").filter(|p| p.get("complianceState").is_some()) {
            Some(state) => row(state, place),
            None if record.get("results").is_some() => summary(&record, place),
            None => row(&record, place),
        },
        Part::Member(..) => Flow::More,
    })
}

fn result(state: &str) -> Option<CheckResult> {
    Some(if same(state, "Compliant") {
        CheckResult::Pass
    } else if same(state, "NonCompliant") {
        CheckResult::Fail
    } else if same(state, "Unknown") || same(state, "Protected") {
        CheckResult::NotAssessed
    } else if same(state, "Conflict") || same(state, "Error") {
        CheckResult::Error
    } else {
        return None;
    })
}

fn row(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(resource), Some(definition)) = (text(record, "resourceId"), first(record, &["policyDefinitionName", "policyDefinitionId"]))
    else {
        return place.strange(record, "`resourceId` and `policyDefinitionId`");
    };
    place.recognise();
    let check = definition.rsplit('/').next().unwrap_or_default().to_owned();
    let state = text(record, "complianceState").unwrap_or_default();
    let compliant = get(record, "isCompliant").and_then(Value::as_bool);
    let manual = text(record, "policyDefinitionAction").is_some_and(|a| same(&a, "manual"));
    let (verdict, lifecycle) = if same(&state, "Exempt") {
        (if compliant == Some(true) { CheckResult::Pass } else { CheckResult::Fail }, Lifecycle::Suppressed)
    } else {
        match (result(&state), compliant) {
            (Some(CheckResult::NotAssessed), _) if manual => (CheckResult::Manual, Lifecycle::Active),
            (Some(result), _) => (result, Lifecycle::Active),
            // Before 2019-10-01 there was only the flag.
            (None, Some(yes)) if state.is_empty() => (if yes { CheckResult::Pass } else { CheckResult::Fail }, Lifecycle::Active),
            (None, _) => {
                place.say(ProblemKind::Malformed, format!("compliance state `{state}` is not known"));
                return Flow::More;
            }
        }
    };
    let subscription = first(record, &["subscriptionId"]).or_else(|| azure_part(&resource, "subscriptions").map(pages::owned));
    let mut finding = Finding::new(check, resource.clone(), verdict);
    finding.lifecycle = lifecycle;
    finding.resource.kind = text(record, "resourceType").map(|t| pages::owned(t.trim_start_matches('/')));
    finding.observed_at = instant(record, "timestamp");
    finding.fields.set("provider", "azure");
    finding.fields.set("subscription", subscription.clone().unwrap_or_default());
    finding.fields.set("account", subscription.unwrap_or_default());
    for (name, member) in [
        ("resource_group", "resourceGroup"),
        ("region", "resourceLocation"),
        ("policy_assignment", "policyAssignmentName"),
        ("policy_reference", "policyDefinitionReferenceId"),
        ("effect", "policyDefinitionAction"),
    ] {
        finding.fields.set(name, text(record, member).unwrap_or_default());
    }
    let set =
        first(record, &["policySetDefinitionName", "policySetDefinitionId"]).map(|s| s.rsplit('/').next().unwrap_or_default().to_owned());
    for group in list(record, "policyDefinitionGroupNames").iter().filter_map(Value::as_str) {
        let framework = set.clone().unwrap_or_default().into();
        finding.control_refs.push(ControlRef { framework, version: None, id: group.into() });
    }
    place.finding(finding)
}

/// `summarize`: numbers over everything. Those of single assignments overlap and are left out.
fn summary(record: &Value, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let uri = text(record, "results.queryResultsUri").unwrap_or_default();
    let path = uri.find("/subscriptions/").or_else(|| uri.find("/providers/")).map_or("", |at| &uri[at..]);
    let scope = pages::azure_before(path, "microsoft.policyinsights").unwrap_or("all policies");
    let rows = list(record, "results.resourceDetails");
    if rows.is_empty() {
        place.say(ProblemKind::Incomplete, "the summary has no `resourceDetails`: what complies is not counted");
    }
    for row in rows {
        let state = text(row, "complianceState").unwrap_or_default();
        let exempt = same(&state, "Exempt");
        let Some(result) = result(&state).or_else(|| exempt.then_some(CheckResult::Fail)) else {
            place.say(ProblemKind::Malformed, format!("compliance state `{state}` is not known"));
            continue;
        };
        let mut finding = Finding::new("policy-summary", pages::owned(scope), result);
        finding.lifecycle = if exempt { Lifecycle::Suppressed } else { Lifecycle::Active };
        finding.aggregate = true;
        finding.count = number(row, "count").unwrap_or(0);
        finding.fields.set("provider", "azure");
        let subscription = azure_part(scope, "subscriptions").unwrap_or_default();
        finding.fields.set("subscription", pages::owned(subscription));
        finding.fields.set("account", pages::owned(subscription));
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}
