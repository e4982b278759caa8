//! Google Security Command Center findings. It lists violations and never what complies.
//!
//! Producer: Security Command Center API v2, v1 and v1beta1; notifications (Pub/Sub).
//! Specification: <https://cloud.google.com/security-command-center/docs/reference/rest/v2/organizations.sources.findings>.
//!
//! | state, mute | result | lifecycle |
//! |---|---|---|
//! | ACTIVE | fail | active |
//! | ACTIVE, MUTED | fail | suppressed |
//! | INACTIVE, whatever its mute | fail | inactive |
//! | findingClass SCC_ERROR | error, and a problem: the service itself is not set up | as above |
//!
//! A finding with `policyViolationSummary` gives its numbers instead: conformant pass, violations fail, errors error, out of
//! scope not_applicable. Threats, observations and attack paths are no checks: they carry `invalid`.
//! A `securityCenterServices` record of the management API says which detectors are switched on: each gives a mark that its
//! check runs, so that silence about a resource of the population means something. A service that is off is a problem.
//! Oddities: whole numbers are text; `eventTime` is the last change and not the last look, so it is not when the scanner
//! looked; v1 keeps the standards in `sourceProperties.compliance_standards`.

use super::pages::{Ask, Part, Place, first, get, instant, list, number, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["listFindingsResults"], &["findings"]], bare: true },
    expected: "Security Command Center's `listFindingsResults`, or a notification with `finding`",
    nothing_is_fine: true,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => match record.get("finding") {
            Some(finding) => row(finding, &record["resource"], place),
            None if text(&record, "name").is_some_and(|n| n.contains("/securityCenterServices/")) => service(&record, place),
            // Google leaves out what is empty, so that a page without findings has no list of them, and may be `{}`.
            None if record
                .as_object()
                .is_some_and(|m| m.keys().all(|k| matches!(k.as_str(), "nextPageToken" | "totalSize" | "readTime"))) =>
            {
                place.empty_page(text(&record, "nextPageToken").is_some());
                Flow::More
            }
            None => row(&record, &record["resource"], place),
        },
        Part::Member("readTime", value) => {
            place.scanned_at(value.as_str().and_then(super::time::parse));
            Flow::More
        }
        Part::Member(..) => Flow::More,
    })
}

/// Which detectors are on. Whether they ran is Google's word, and an error of theirs is a finding of class SCC_ERROR.
fn service(record: &Value, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let name = text(record, "name").unwrap_or_default();
    let state = text(record, "effectiveEnablementState").unwrap_or_default();
    if state != "ENABLED" {
        let service = name.rsplit('/').next().unwrap_or_default();
        let parent = name.split("/locations/").next().unwrap_or_default();
        let state = if state.is_empty() { "in no known state" } else { &*state };
        place.say(ProblemKind::ScannerError, format!("service {service} of {parent} is {state}: its detectors do not run"));
        return Flow::More;
    }
    let modules = get(record, "modules").and_then(Value::as_object);
    if modules.is_none() {
        place.say(ProblemKind::Incomplete, format!("{name} names no `modules`: which detectors run is not known"));
    }
    for (module, settings) in modules.into_iter().flatten() {
        if text(settings, "effectiveEnablementState").is_some_and(|s| s == "ENABLED")
            && place.finding(Finding::ran(module.as_str())) == Flow::Stop
        {
            return Flow::Stop;
        }
    }
    Flow::More
}

fn row(record: &Value, resource: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(check), Some(id), Some(state)) =
        (text(record, "category"), first(record, &["resourceName"]).or_else(|| text(resource, "name")), text(record, "state"))
    else {
        return place.strange(record, "`category`, `resourceName` and `state`");
    };
    place.recognise();
    let muted = text(record, "mute").is_some_and(|m| m == "MUTED");
    let lifecycle = match &*state {
        "INACTIVE" => Lifecycle::Inactive,
        "ACTIVE" if muted => Lifecycle::Suppressed,
        "ACTIVE" => Lifecycle::Active,
        other => {
            place.say(ProblemKind::Malformed, format!("state `{other}` is not known"));
            return Flow::More;
        }
    };
    let class = text(record, "findingClass").unwrap_or_default();
    let make = |result: CheckResult| {
        let mut finding = Finding::new(check.clone(), id.clone(), result);
        finding.lifecycle = lifecycle;
        finding.resource.kind = text(resource, "type");
        finding.resource.name = text(resource, "displayName");
        finding.severity = text(record, "severity").and_then(|s| Severity::lenient(&s));
        finding.message = first(record, &["description", "sourceProperties.Explanation"]);
        let provider = text(resource, "cloudProvider").unwrap_or_default();
        let cloud = if provider.starts_with("AMAZON") {
            "aws"
        } else if provider.starts_with("MICROSOFT") {
            "azure"
        } else {
            "gcp"
        };
        finding.fields.set("provider", cloud);
        let project =
            first(resource, &["gcpMetadata.projectDisplayName", "projectDisplayName", "gcpMetadata.project", "projectName", "project"]);
        let account = first(resource, &["awsMetadata.account.id", "azureMetadata.subscription.id"]).or_else(|| project.clone());
        finding.fields.set("project", project.unwrap_or_default());
        finding.fields.set("account", account.unwrap_or_default());
        finding.fields.set("region", text(resource, "location").unwrap_or_default());
        finding.fields.set("service", text(resource, "service").unwrap_or_default());
        finding.fields.set("class", class.clone());
        if matches!(&*class, "THREAT" | "OBSERVATION" | "TOXIC_COMBINATION" | "CHOKEPOINT" | "SENSITIVE_DATA_RISK") {
            finding.fields.set("invalid", "a finding of this class is no check of a resource");
        }
        for standard in list(record, "compliances") {
            for id in list(standard, "ids").iter().filter_map(Value::as_str) {
                let framework = text(standard, "standard").unwrap_or_default();
                finding.control_refs.push(ControlRef { framework, version: text(standard, "version"), id: id.into() });
            }
        }
        if finding.control_refs.is_empty()
            && let Some(standards) = get(record, "sourceProperties.compliance_standards").and_then(Value::as_object)
        {
            for (framework, entries) in standards {
                for entry in entries.as_array().map_or(&[][..], Vec::as_slice) {
                    for id in list(entry, "ids").iter().filter_map(Value::as_str) {
                        finding.control_refs.push(ControlRef {
                            framework: framework.into(),
                            version: text(entry, "version"),
                            id: id.into(),
                        });
                    }
                }
            }
        }
        finding
    };
    if let Some(summary) = get(record, "policyViolationSummary") {
        for (member, result) in [
            ("conformantResourcesCount", CheckResult::Pass),
            ("policyViolationsCount", CheckResult::Fail),
            ("evaluationErrorsCount", CheckResult::Error),
            ("outOfScopeResourcesCount", CheckResult::NotApplicable),
        ] {
            if let Some(count) = number(summary, member) {
                let mut finding = make(result);
                finding.aggregate = true;
                finding.count = count;
                if place.finding(finding) == Flow::Stop {
                    return Flow::Stop;
                }
            }
        }
        return Flow::More;
    }
    if class == "SCC_ERROR" {
        if lifecycle == Lifecycle::Active {
            place.say(ProblemKind::ScannerError, format!("Security Command Center reports that it is not set up: {check}"));
        }
        return place.finding(make(CheckResult::Error));
    }
    let mut finding = make(CheckResult::Fail);
    if lifecycle == Lifecycle::Inactive {
        // For what is over, the last change is the instant of its end.
        finding.observed_at = instant(record, "eventTime");
    }
    place.finding(finding)
}
