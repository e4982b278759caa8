//! Microsoft Sentinel incidents, and the alerts behind them: work items, never a pass ratio. For ages and times to close.
//!
//! Producer: Microsoft.SecurityInsights/incidents and incidents/alerts, API versions 2021-10-01 and 2024-03-01.
//! Specification: <https://learn.microsoft.com/rest/api/securityinsights/incidents>.
//!
//! | status | result | lifecycle |
//! |---|---|---|
//! | New, Active | fail | active |
//! | Closed, whatever its classification | fail | inactive |
//! | (alert) New, InProgress, Unknown | fail | active |
//! | (alert) Resolved, Dismissed | fail | inactive |
//!
//! Fields of an incident: `status`, `created_at`, `first_activity_at`, `owner` (`assigned` or `unassigned`, never who),
//! `classification`, `classification_reason`, `alerts`. Of one that is not New, `acknowledged_before`; of a closed one
//! `closed_at` and `seconds_to_close`. An alert carries `alert: true`, so that a `where` can tell them apart.
//!
//! Oddities: there is no time of acknowledging and none of closing. `lastModifiedTimeUtc` is taken for both: it is the
//! latest instant at which an incident can have been acknowledged, and comes near the closing unless somebody wrote a
//! comment later. There is no resource and no control: each incident is its own resource, and its check the first analytic
//! rule that raised it. Deleted incidents are just gone.

use super::pages::{self, Ask, Part, Place, azure_part, first, instant, list, read as read_pages, same, text};
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
        Part::Record(record, _) if record["properties"].get("systemAlertId").is_some() => alert(&record, place),
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
    let owned = first(properties, &["owner.objectId", "owner.email", "owner.userPrincipalName", "owner.assignedTo"]).is_some();
    finding.fields.set("owner", if owned { "assigned" } else { "unassigned" });
    for (name, member) in [
        ("classification", "classification"),
        ("classification_reason", "classificationReason"),
        ("created_at", "createdTimeUtc"),
        ("first_activity_at", "firstActivityTimeUtc"),
        ("alerts", "additionalData.alertsCount"),
    ] {
        finding.fields.set(name, text(properties, member).unwrap_or_default());
    }
    let modified = text(properties, "lastModifiedTimeUtc").unwrap_or_default();
    if !same(&status, "New") {
        finding.fields.set("acknowledged_before", modified.clone());
    }
    if lifecycle == Lifecycle::Inactive {
        let created = instant(properties, "createdTimeUtc");
        if let Some((created, closed)) = created.zip(finding.observed_at).filter(|(created, closed)| closed >= created) {
            finding.fields.set("seconds_to_close", (closed.since(created).0 / 1000).to_string());
        }
        finding.fields.set("closed_at", modified);
    }
    finding.fields.set("status", status);
    place.finding(finding)
}

/// An alert of an incident, as `incidents/{id}/alerts` lists it.
fn alert(record: &Value, place: &mut Place<'_>) -> Flow {
    let properties = &record["properties"];
    let (Some(id), Some(status)) = (text(record, "id"), text(properties, "status")) else {
        return place.strange(record, "`id` and `properties.status`");
    };
    place.recognise();
    let lifecycle = match &*status {
        s if ["New", "InProgress", "Unknown"].iter().any(|w| same(w, s)) => Lifecycle::Active,
        s if ["Resolved", "Dismissed"].iter().any(|w| same(w, s)) => Lifecycle::Inactive,
        other => {
            place.say(ProblemKind::Malformed, format!("alert status `{other}` is not known"));
            return Flow::More;
        }
    };
    let subscription = azure_part(&id, "subscriptions").map(pages::owned).unwrap_or_default();
    let workspace = azure_part(&id, "workspaces").map(pages::owned).unwrap_or_default();
    let check = first(properties, &["alertType", "alertDisplayName"]).unwrap_or("alert".into());
    let mut finding = Finding::new(check, id, CheckResult::Fail);
    finding.lifecycle = lifecycle;
    finding.resource.kind = Some("alert".into());
    finding.resource.name = text(properties, "alertDisplayName");
    finding.severity = text(properties, "severity").and_then(|s| Severity::lenient(&s));
    finding.observed_at = ["processingEndTime", "timeGenerated", "endTimeUtc"].iter().find_map(|m| instant(properties, m));
    finding.title = text(properties, "alertDisplayName");
    finding.message = text(properties, "description");
    finding.fields.set("provider", "azure");
    finding.fields.set("subscription", subscription.clone());
    finding.fields.set("account", subscription);
    finding.fields.set("workspace", workspace);
    finding.fields.set("alert", "true");
    finding.fields.set("status", status);
    finding.fields.set("product", text(properties, "productName").unwrap_or_default());
    finding.fields.set("created_at", text(properties, "timeGenerated").unwrap_or_default());
    place.finding(finding)
}
