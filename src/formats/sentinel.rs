//! Microsoft Sentinel incidents: work items, never a pass ratio. For ages and times to close.
//!
//! Producer: Microsoft.SecurityInsights/incidents, API versions 2021-10-01 and 2024-03-01.
//! Specification: <https://learn.microsoft.com/rest/api/securityinsights/incidents>.
//!
//! | status | result | lifecycle |
//! |---|---|---|
//! | New, Active | fail | active |
//! | Closed, whatever its classification | fail | inactive |
//!
//! Oddities: there is no time of closing (`lastModifiedTimeUtc` of a closed one comes near), no resource and no control;
//! each incident is its own resource, and its check the first analytic rule that raised it. Deleted incidents are just gone.

use super::pages::{self, Ask, Part, Place, azure_part, instant, list, read as read_pages, same, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, Lifecycle, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["value"]], bare: true },
    expected: "a list of Microsoft.SecurityInsights/incidents (`value`)",
    nothing_is_fine: true,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => incident(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn incident(record: &Value, place: &mut Place<'_>) -> Flow {
    let properties = &record["properties"];
    let (Some(id), Some(status), Some(_)) = (text(record, "id"), text(properties, "status"), properties.get("incidentNumber")) else {
        return place.strange(record, "`properties.status` and `properties.incidentNumber`");
    };
    place.recognise();
    let lifecycle = if same(&status, "New") || same(&status, "Active") {
        Lifecycle::Active
    } else if same(&status, "Closed") {
        Lifecycle::Inactive
    } else {
        place.say(ProblemKind::Malformed, format!("status `{status}` is not known"));
        return Flow::More;
    };
    let rule = list(properties, "relatedAnalyticRuleIds").first().and_then(Value::as_str).and_then(|r| r.rsplit('/').next());
    let subscription = azure_part(&id, "subscriptions").map(pages::owned).unwrap_or_default();
    let workspace = azure_part(&id, "workspaces").map(pages::owned).unwrap_or_default();
    let mut finding = Finding::new(rule.unwrap_or("incident").to_owned(), id, CheckResult::Fail);
    finding.lifecycle = lifecycle;
    finding.resource.kind = Some("incident".into());
    finding.resource.name = text(properties, "incidentNumber");
    finding.severity = text(properties, "severity").and_then(|s| Severity::lenient(&s));
    finding.observed_at = instant(properties, "lastModifiedTimeUtc");
    finding.title = text(properties, "title");
    finding.message = text(properties, "description");
    finding.fields.set("provider", "azure");
    finding.fields.set("subscription", subscription.clone());
    finding.fields.set("account", subscription);
    finding.fields.set("workspace", workspace);
    finding.fields.set("classification", text(properties, "classification").unwrap_or_default());
    place.finding(finding)
}
