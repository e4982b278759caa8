//! Wiz configuration findings and issues, as its GraphQL API pages them.
//!
//! Producer: Wiz API, queries `configurationFindings` and `issuesV2`. No public specification; the fields are those that
//! public integrations ask for.
//!
//! | result (configuration finding) | ours | | status, deleted | lifecycle |
//! |---|---|---|---|---|
//! | PASS | pass | | OPEN, IN_PROGRESS, RESOLVED | active |
//! | FAIL | fail | | REJECTED | suppressed |
//! | ERROR | error | | `deleted: true` | inactive |
//! | NOT_ASSESSED | not_assessed | | (issue) RESOLVED | inactive |
//!
//! An issue is always a fail and carries `invalid`: it is a work item about one or several findings and not a check.
//! Oddities: passing rows have status RESOLVED, so a filter on OPEN loses what complies; an error comes with HTTP 200 and
//! `errors`; `endCursor` may be there on the last page; the framework's version is in its name, the requirement's id the
//! first word of the title.

use super::pages::{Ask, Part, Place, first, get, instant, list, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape {
        wrappers: &[
            &["data", "configurationFindings", "nodes"],
            &["data", "issuesV2", "nodes"],
            &["data", "issues", "nodes"],
            &["configurationFindings", "nodes"],
            &["issuesV2", "nodes"],
            &["nodes"],
        ],
        bare: true,
    },
    expected: "Wiz's `data.configurationFindings.nodes` or `data.issuesV2.nodes`",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) if record.get("sourceRule").is_some() || record.get("entitySnapshot").is_some() => issue(&record, place),
        Part::Record(record, _) => configuration(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn configuration(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(word), Some(check)) = (text(record, "result"), first(record, &["rule.shortId", "rule.id"])) else {
        return place.strange(record, "`result` and `rule.id`");
    };
    place.recognise();
    let result = match &*word {
        "PASS" => CheckResult::Pass,
        "FAIL" => CheckResult::Fail,
        "ERROR" => CheckResult::Error,
        "NOT_ASSESSED" => CheckResult::NotAssessed,
        other => {
            place.say(ProblemKind::Malformed, format!("result `{other}` is not known"));
            return Flow::More;
        }
    };
    let resource = first(record, &["resource.providerId", "targetObjectProviderUniqueId", "targetExternalId", "resource.id"]);
    let Some(resource) = resource else {
        place.say(ProblemKind::Incomplete, "the finding names no resource");
        return Flow::More;
    };
    let status = text(record, "status").unwrap_or_default();
    let mut finding = Finding::new(check, resource, result);
    finding.lifecycle = if get(record, "deleted") == Some(&Value::Bool(true)) {
        Lifecycle::Inactive
    } else if status == "REJECTED" {
        Lifecycle::Suppressed
    } else {
        Lifecycle::Active
    };
    finding.resource.kind = first(record, &["resource.nativeType", "resource.type"]);
    finding.resource.name = text(record, "resource.name");
    finding.severity = text(record, "severity").and_then(|s| Severity::lenient(&s));
    finding.observed_at = instant(record, "analyzedAt");
    finding.title = text(record, "rule.name");
    finding.message = first(record, &["evidence.currentValue", "resolutionReason"]);
    let provider = first(record, &["resource.subscription.cloudProvider", "resource.cloudPlatform"]).unwrap_or_default();
    finding.fields.set("provider", provider.to_ascii_lowercase());
    finding.fields.set("account", first(record, &["resource.subscription.externalId"]).unwrap_or_default());
    finding.fields.set("account_name", first(record, &["resource.subscription.name"]).unwrap_or_default());
    finding.fields.set("region", first(record, &["resource.region"]).unwrap_or_default());
    finding.fields.set("project", list(record, "resource.projects").first().and_then(|p| text(p, "name")).unwrap_or_default());
    references(&mut finding, list(record, "securitySubCategories"));
    place.finding(finding)
}

fn issue(record: &Value, place: &mut Place<'_>) -> Flow {
    let Some(status) = text(record, "status") else { return place.strange(record, "`status`") };
    place.recognise();
    let lifecycle = match &*status {
        "OPEN" | "IN_PROGRESS" => Lifecycle::Active,
        "REJECTED" => Lifecycle::Suppressed,
        "RESOLVED" => Lifecycle::Inactive,
        other => {
            place.say(ProblemKind::Malformed, format!("status `{other}` is not known"));
            return Flow::More;
        }
    };
    let check = first(record, &["sourceRule.id", "sourceRule.name", "type"]).unwrap_or("issue".into());
    let Some(resource) = first(record, &["entitySnapshot.providerId", "entitySnapshot.id", "id"]) else {
        return place.strange(record, "`entitySnapshot`");
    };
    let mut finding = Finding::new(check, resource, CheckResult::Fail);
    finding.lifecycle = lifecycle;
    finding.resource.kind = first(record, &["entitySnapshot.nativeType", "entitySnapshot.type"]);
    finding.resource.name = text(record, "entitySnapshot.name");
    finding.severity = text(record, "severity").and_then(|s| Severity::lenient(&s));
    finding.observed_at = instant(record, "updatedAt");
    finding.title = text(record, "sourceRule.name");
    finding.message = text(record, "resolutionReason");
    finding.fields.set("provider", first(record, &["entitySnapshot.cloudPlatform"]).unwrap_or_default().to_ascii_lowercase());
    finding.fields.set("account", first(record, &["entitySnapshot.subscriptionExternalId"]).unwrap_or_default());
    finding.fields.set("account_name", first(record, &["entitySnapshot.subscriptionName"]).unwrap_or_default());
    finding.fields.set("region", first(record, &["entitySnapshot.region"]).unwrap_or_default());
    finding.fields.set("project", list(record, "projects").first().and_then(|p| text(p, "name")).unwrap_or_default());
    finding.fields.set("issue_type", text(record, "type").unwrap_or_default());
    finding.fields.set("invalid", "an issue is a work item and no check of a resource");
    references(&mut finding, list(record, "sourceRule.securitySubCategories"));
    place.finding(finding)
}

fn references<'v>(finding: &mut Finding<'v>, categories: &'v [Value]) {
    for category in categories {
        let (Some(framework), Some(title)) = (text(category, "category.framework.name"), get(category, "title").and_then(Value::as_str))
        else {
            continue;
        };
        let id = title.split_whitespace().next().unwrap_or_default();
        // "Exposure Management" has no id; ids have a digit.
        if id.contains(|c: char| c.is_ascii_digit()) {
            finding.control_refs.push(ControlRef { framework, version: None, id: id.into() });
        }
    }
}
