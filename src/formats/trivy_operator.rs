//! trivy-operator reports as Kubernetes objects.
//!
//! Producer: trivy-operator 0.2x, aquasecurity.github.io/v1alpha1, as `kubectl get … -o json|yaml` or the API gives them; also a
//! map of lists by plural name, as exporters write it.
//! Specification: <https://aquasecurity.github.io/trivy-operator/latest/docs/crds/>.
//!
//! | what | result |
//! |---|---|
//! | `report.checks[]` (config audit, RBAC, infrastructure): success true, false | pass, fail |
//! | `report.vulnerabilities[]`, `report.secrets[]` | fail; what is not vulnerable is not listed |
//! | ClusterComplianceReport, `detailReport` checks: success true, false | pass, fail |
//! | ClusterComplianceReport, `summaryReport`: totalFail 0, n, absent | pass, fail with a count of n, manual |
//!
//! The lifecycle is always active. Oddities: by default only failed checks are recorded (`reportRecordFailedChecksOnly`), so
//! a report without checks is no evidence of passing; the summary counts failures only; what is judged stands in labels.

use super::pages::{Ask, Part, Place, first, get, instant, list, number, owned, read_yaml, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, ProblemKind, RunOutcome, Severity, resource};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape {
        wrappers: &[
            &["items"],
            &["configauditreports.aquasecurity.github.io"],
            &["clusterconfigauditreports.aquasecurity.github.io"],
            &["rbacassessmentreports.aquasecurity.github.io"],
            &["clusterrbacassessmentreports.aquasecurity.github.io"],
            &["infraassessmentreports.aquasecurity.github.io"],
            &["clusterinfraassessmentreports.aquasecurity.github.io"],
            &["clustercompliancereports.aquasecurity.github.io"],
            &["vulnerabilityreports.aquasecurity.github.io"],
            &["clustervulnerabilityreports.aquasecurity.github.io"],
            &["exposedsecretreports.aquasecurity.github.io"],
            &["sbomreports.aquasecurity.github.io"],
            &["clustersbomreports.aquasecurity.github.io"],
        ],
        bare: true,
    },
    expected: "reports of aquasecurity.github.io",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_yaml(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => report(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn report(record: &Value, place: &mut Place<'_>) -> Flow {
    let kind = text(record, "kind").unwrap_or_default();
    let group = text(record, "apiVersion").unwrap_or_default();
    if !group.starts_with("aquasecurity.github.io/") && get(record, "report").is_none() {
        return place.strange(record, "`apiVersion: aquasecurity.github.io/…`");
    }
    place.recognise();
    match &*kind {
        "ClusterComplianceReport" => compliance(record, place),
        "SbomReport" | "ClusterSbomReport" => Flow::More,
        _ => rows(record, place),
    }
}

struct Object {
    id: String,
    kind: String,
    name: String,
    namespace: String,
}

/// The object that a report is about, by its labels.
fn object(record: &Value) -> Option<Object> {
    let label = |name: &str| {
        let found = |place: &str| get(record, place).and_then(|m| m.get(name)).and_then(Value::as_str).filter(|v| !v.is_empty());
        found("metadata.labels").or_else(|| found("metadata.annotations"))
    };
    let owner = list(record, "metadata.ownerReferences").first();
    let owner = |member: &str| owner.and_then(|o| o.get(member)).and_then(Value::as_str);
    let kind = label("trivy-operator.resource.kind").or_else(|| owner("kind"))?.to_owned();
    // A name too long for a label stands in the owner, and a hash of it in the label's place.
    let name = label("trivy-operator.resource.name").or_else(|| owner("name"))?.to_owned();
    let namespace = label("trivy-operator.resource.namespace").unwrap_or_default().to_owned();
    let group = match kind.as_str() {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ControllerRevision" => "apps",
        "Job" | "CronJob" => "batch",
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => "rbac.authorization.k8s.io",
        "Ingress" | "NetworkPolicy" => "networking.k8s.io",
        _ => "",
    };
    let container = label("trivy-operator.container.name").map(|c| format!("#{c}")).unwrap_or_default();
    let id = resource::kubernetes(None, group, &kind, &namespace, &name) + &container;
    Some(Object { id, kind, name, namespace })
}

fn rows(record: &Value, place: &mut Place<'_>) -> Flow {
    let Some(object) = object(record) else {
        place.say(
            ProblemKind::Incomplete,
            format!("report {} does not say what it is about", text(record, "metadata.name").unwrap_or_default()),
        );
        return Flow::More;
    };
    let observed_at = instant(record, "report.updateTimestamp");
    let artifact = [text(record, "report.registry.server"), text(record, "report.artifact.repository")]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("/");
    let artifact = match first(record, &["report.artifact.tag"]) {
        Some(tag) if !artifact.is_empty() => format!("{artifact}:{tag}"),
        _ => artifact,
    };
    let dress = |finding: &mut Finding<'_>| {
        finding.resource.kind = Some(owned(&object.kind));
        finding.resource.name = Some(owned(&object.name));
        finding.observed_at = observed_at;
        finding.fields.set("namespace", owned(&object.namespace));
        finding.fields.set("artifact", owned(&artifact));
    };
    let mut seen = 0u64;
    for check in list(record, "report.checks") {
        seen += 1;
        let (Some(id), Some(success)) = (first(check, &["checkID", "id"]), get(check, "success").and_then(Value::as_bool)) else {
            place.say(ProblemKind::Malformed, "a check has no `checkID` or no `success`");
            continue;
        };
        let mut finding = Finding::new(id, owned(&object.id), if success { CheckResult::Pass } else { CheckResult::Fail });
        dress(&mut finding);
        finding.severity = text(check, "severity").and_then(|s| Severity::lenient(&s));
        finding.title = text(check, "title");
        finding.message = list(check, "messages").first().and_then(Value::as_str).map(Into::into).or_else(|| text(check, "description"));
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    for (member, id) in [("report.vulnerabilities", "vulnerabilityID"), ("report.secrets", "ruleID")] {
        for row in list(record, member) {
            seen += 1;
            let Some(check) = text(row, id) else {
                place.say(ProblemKind::Malformed, format!("a row of `{member}` has no `{id}`"));
                continue;
            };
            let what = first(row, &["resource", "target"]);
            let mut finding = Finding::new(check, owned(&object.id), CheckResult::Fail);
            dress(&mut finding);
            finding.severity = text(row, "severity").and_then(|s| Severity::lenient(&s));
            finding.title = text(row, "title");
            finding.message = what;
            if place.finding(finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    let counted: u64 = ["criticalCount", "highCount", "mediumCount", "lowCount"]
        .iter()
        .filter_map(|m| number(record, &format!("report.summary.{m}")))
        .sum();
    if seen == 0 && counted > 0 {
        place.say(ProblemKind::Mismatch, format!("the report on {} counts {counted} failures and lists none", object.id));
    }
    Flow::More
}

fn compliance(record: &Value, place: &mut Place<'_>) -> Flow {
    let name = first(record, &["spec.compliance.id", "metadata.name", "spec.name"]).unwrap_or_default();
    let observed_at = instant(record, "status.updateTimestamp");
    let framework = first(record, &["spec.compliance.id", "spec.name", "metadata.name"]).unwrap_or_default();
    let dress = |finding: &mut Finding<'_>, control: &Value, id: &str| {
        finding.observed_at = observed_at;
        finding.severity = text(control, "severity").and_then(|s| Severity::lenient(&s));
        finding.title = text(control, "name").map(|n| owned(&n));
        finding.fields.set("profile", owned(&name));
        let version = text(record, "spec.compliance.version").map(|v| owned(&v));
        finding.control_refs.push(ControlRef { framework: owned(&framework), version, id: owned(id) });
    };
    let details = list(record, "status.detailReport.results");
    for control in details {
        let Some(id) = text(control, "id") else { continue };
        let checks = list(control, "checks");
        for check in checks {
            let (Some(check_id), Some(success)) = (first(check, &["checkID", "id"]), get(check, "success").and_then(Value::as_bool)) else {
                place.say(ProblemKind::Malformed, "a check has no `checkID` or no `success`");
                continue;
            };
            let target = first(check, &["target"]).unwrap_or(name.clone());
            let mut finding = Finding::new(check_id, owned(&target), if success { CheckResult::Pass } else { CheckResult::Fail });
            dress(&mut finding, control, &id);
            finding.severity = text(check, "severity").and_then(|s| Severity::lenient(&s)).or(finding.severity);
            finding.message = list(check, "messages").first().and_then(Value::as_str).map(Into::into);
            if place.finding(finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
        if checks.is_empty() {
            let result = match text(control, "status").as_deref() {
                Some("PASS") => CheckResult::Pass,
                Some("FAIL") => CheckResult::Fail,
                // A control without checks and without a verdict is one that a person has to look at.
                _ => CheckResult::Manual,
            };
            let mut finding = Finding::new(format!("{name}/{id}"), name.clone(), result);
            dress(&mut finding, control, &id);
            finding.aggregate = true;
            if place.finding(finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    if !details.is_empty() {
        return Flow::More;
    }
    let summary = list(record, "status.summaryReport.controlCheck");
    for control in summary {
        let Some(id) = text(control, "id") else {
            place.say(ProblemKind::Malformed, "a control of the summary has no `id`");
            continue;
        };
        let (result, count) = match number(control, "totalFail") {
            None => (CheckResult::Manual, 1),
            Some(0) => (CheckResult::Pass, 1),
            Some(n) => (CheckResult::Fail, n),
        };
        let mut finding = Finding::new(format!("{name}/{id}"), name.clone(), result);
        dress(&mut finding, control, &id);
        finding.aggregate = true;
        finding.count = count;
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    if summary.is_empty() {
        for (member, result) in [("passCount", CheckResult::Pass), ("failCount", CheckResult::Fail)] {
            if let Some(count) = number(record, &format!("status.summary.{member}")) {
                let mut finding = Finding::new(owned(&name), owned(&name), result);
                finding.observed_at = observed_at;
                finding.aggregate = true;
                finding.count = count;
                finding.fields.set("profile", owned(&name));
                if place.finding(finding) == Flow::Stop {
                    return Flow::Stop;
                }
            }
        }
        if get(record, "status.summary").is_none() {
            place.say(ProblemKind::Incomplete, format!("compliance report {name} has no status: it was not yet made"));
        }
    }
    Flow::More
}
