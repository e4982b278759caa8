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
//! Severity and category stand in another list, `assessmentMetadata`: where its pages stand before the assessments, as our
//! collector puts them, they are joined by the assessment's key. Metadata alone says nothing about any resource.
//!
//! Oddities: `resourceDetails` came back as `Source` and `Id` from a real API; Resource Graph lower-cases types and ids, and
//! brings the metadata with each row; no instant says when the resource was looked at (`statusChangeDate` is when the state
//! last changed). Sub-assessments (vulnerabilities of one resource) are no assessments and are refused.

use super::pages::{self, Ask, Part, Place, azure_before, azure_part, first, list, read as read_pages, same, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, Lifecycle, Position, Problem, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::collections::HashMap;
use std::io::BufRead;

/// Microsoft has some hundreds of assessments, and a tenant may add its own; whatever is past this is joined with nothing.
const METADATA: usize = 50_000;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["value"], &["data"]], bare: true },
    expected: "a list of Microsoft.Security/assessments (`value`)",
    nothing_is_fine: false,
};

/// What another list says of an assessment.
struct Metadata {
    severity: Option<Severity>,
    title: Option<String>,
    category: Option<String>,
}

#[derive(Default)]
struct Reader {
    known: HashMap<String, Metadata>,
    metadata: u64,
    assessments: u64,
}

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut reader = Reader::default();
    let mut outcome = read_pages(input, ctx, &mut *sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => reader.record(&record, place),
        Part::Member(..) => Flow::More,
    })?;
    if reader.metadata > 0 && reader.assessments == 0 {
        sink.problem(Problem {
            kind: ProblemKind::Empty,
            source: ctx.source.to_owned(),
            position: Position::default(),
            message: "the document has metadata and not one assessment; nothing was said about any resource".to_owned(),
        });
        outcome.complete = false;
    }
    Ok(outcome)
}

impl Reader {
    fn record(&mut self, record: &Value, place: &mut Place<'_>) -> Flow {
        let id = text(record, "id").unwrap_or_default();
        if id.to_ascii_lowercase().contains("/assessmentmetadata/") {
            place.recognise();
            self.metadata += 1;
            if let Some(name) = text(record, "name").filter(|_| self.known.len() < METADATA) {
                let metadata = Metadata {
                    severity: text(record, "properties.severity").and_then(|s| Severity::lenient(&s)),
                    title: text(record, "properties.displayName").map(|t| t.into_owned()),
                    category: list(record, "properties.categories").first().and_then(Value::as_str).map(str::to_owned),
                };
                self.known.insert(name.to_ascii_lowercase(), metadata);
            }
            return Flow::More;
        }
        self.assessments += 1;
        let known = text(record, "name").and_then(|name| self.known.get(&name.to_ascii_lowercase()));
        assessment(record, known, place)
    }
}

fn assessment(record: &Value, known: Option<&Metadata>, place: &mut Place<'_>) -> Flow {
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
    finding.severity =
        text(record, "properties.metadata.severity").and_then(|s| Severity::lenient(&s)).or_else(|| known.and_then(|k| k.severity));
    finding.title = first(record, &["properties.displayName", "properties.metadata.displayName"])
        .or_else(|| known.and_then(|k| k.title.as_deref()).map(pages::owned));
    let category = list(record, "properties.metadata.categories").first().and_then(Value::as_str);
    let category = category.or_else(|| known.and_then(|k| k.category.as_deref())).unwrap_or_default();
    finding.message = first(record, &["properties.status.description", "properties.status.cause"]);
    finding.fields.set("provider", provider.map_or("azure".into(), |p| pages::owned(&p.to_ascii_lowercase())));
    finding.fields.set("subscription", subscription.clone().unwrap_or_default());
    finding.fields.set("account", subscription.unwrap_or_default());
    finding.fields.set("resource_group", group.unwrap_or_default());
    finding.fields.set("category", pages::owned(category));
    place.finding(finding)
}
