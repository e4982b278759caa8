//! Defender for Cloud assessments, from the REST API or Resource Graph.
//!
//! Producer: Microsoft.Security/assessments, API versions 2020-01-01 to 2025-05-04.
//! Specification: <https://learn.microsoft.com/rest/api/defenderforcloud/assessments>.
//!
//! | status.code, cause | result | lifecycle |
//! |---|---|---|
//! | Healthy | pass | active |
//! | Unhealthy | fail | active |
//! | NotApplicable | not_applicable | active |
//! | NotApplicable, cause Exempt | not_assessed: the exemption hides what it is | suppressed |
//! | NotApplicable, cause ResourceNotFound | not_applicable | inactive |
//!
//! Oddities: `resourceDetails` came back as `Source` and `Id` from a real API; Resource Graph lower-cases types and ids;
//! no instant says when the resource was looked at (`statusChangeDate` is when the state last changed); severity stands
//! in another list. Sub-assessments (vulnerabilities of one resource) are no assessments and are refused.

use super::pages::{self, Ask, Part, Place, azure_before, azure_part, first, read as read_pages, same, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, Lifecycle, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["value"], &["data"]], bare: true },
    expected: "a list of Microsoft.Security/assessments (`value`)",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => assessment(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn assessment(record: &Value, place: &mut Place<'_>) -> Flow {
    let id = text(record, "id").unwrap_or_default();
    let (Some(code), Some(check)) = (text(record, "properties.status.code"), text(record, "name")) else {
        return place.strange(record, "`properties.status.code` and `name`");
    };
    if id.to_ascii_lowercase().contains("/subassessments/") {
        place.say(ProblemKind::WrongFormat, "a sub-assessment is a vulnerability of one resource and no assessment");
        return Flow::More;
    }
    let details = "properties.resourceDetails";
    let resource =
        first(record, &["properties.resourceDetails.id", "properties.resourceDetails.Id", "properties.resourceDetails.ResourceId"])
            .or_else(|| azure_before(&id, "microsoft.security").map(pages::owned));
    let Some(resource) = resource else {
        place.recognise();
        place.say(ProblemKind::Incomplete, "the assessment names no resource");
        return Flow::More;
    };
    let cause = text(record, "properties.status.cause").unwrap_or_default();
    let (result, lifecycle) = if same(&code, "Healthy") {
        (CheckResult::Pass, Lifecycle::Active)
    } else if same(&code, "Unhealthy") {
        (CheckResult::Fail, Lifecycle::Active)
    } else if same(&code, "NotApplicable") {
        if same(&cause, "Exempt") {
            (CheckResult::NotAssessed, Lifecycle::Suppressed)
        } else if same(&cause, "ResourceNotFound") {
            (CheckResult::NotApplicable, Lifecycle::Inactive)
        } else {
            (CheckResult::NotApplicable, Lifecycle::Active)
        }
    } else {
        place.recognise();
        place.say(ProblemKind::Malformed, format!("status code `{code}` is not known"));
        return Flow::More;
    };
    let subscription = azure_part(&id, "subscriptions").or_else(|| azure_part(&resource, "subscriptions")).map(pages::owned);
    let provider = first(record, &[&format!("{details}.source"), &format!("{details}.Source")]);
    let group = azure_part(&resource, "resourceGroups").map(pages::owned);
    let mut finding = Finding::new(check, resource, result);
    finding.lifecycle = lifecycle;
    finding.severity = text(record, "properties.metadata.severity").and_then(|s| Severity::lenient(&s));
    finding.title = first(record, &["properties.displayName", "properties.metadata.displayName"]);
    finding.message = first(record, &["properties.status.description", "properties.status.cause"]);
    finding.fields.set("provider", provider.map_or("azure".into(), |p| pages::owned(&p.to_ascii_lowercase())));
    finding.fields.set("subscription", subscription.clone().unwrap_or_default());
    finding.fields.set("account", subscription.unwrap_or_default());
    finding.fields.set("resource_group", group.unwrap_or_default());
    place.finding(finding)
}
