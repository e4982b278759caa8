//! Gatekeeper constraints with the findings of its audit. They list violations and never what complies.
//!
//! Producer: OPA Gatekeeper 3.x, constraints.gatekeeper.sh/v1beta1, as `kubectl get constraints -o json|yaml` or the API
//! gives them; also its audit log (`event_type: violation_audited`, one JSON object a line).
//! Specification: <https://open-policy-agent.github.io/gatekeeper/website/docs/audit/>.
//!
//! | what | result |
//! |---|---|
//! | `status.violations[]` of any enforcement action (deny, dryrun, warn) | fail |
//! | `totalViolations` beyond those listed (20 by default) | one fail with a count, of the constraint |
//! | no `auditTimestamp` | none, and a problem: it was never audited, which is not "no violations" |
//!
//! The lifecycle is always active. Oddities: `violations` is left out when there are none; which are listed is not stable;
//! one object may violate several times; excluded namespaces are invisible; a pod that saw an older generation audited
//! another constraint.

use super::pages::{Ask, Part, Place, first, get, instant, list, number, owned, read_yaml, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, ProblemKind, RunOutcome, resource};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["items"]], bare: true },
    expected: "constraints of constraints.gatekeeper.sh",
    nothing_is_fine: true,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_yaml(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) if record.get("event_type").is_some() => logged(&record, place),
        Part::Record(record, _) => constraint(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn constraint(record: &Value, place: &mut Place<'_>) -> Flow {
    let group = text(record, "apiVersion").unwrap_or_default();
    let (Some(kind), Some(name)) = (text(record, "kind"), text(record, "metadata.name")) else {
        return place.strange(record, "`kind` and `metadata.name`");
    };
    if !group.starts_with("constraints.gatekeeper.sh/") {
        return place.strange(record, "`apiVersion: constraints.gatekeeper.sh/…`");
    }
    place.recognise();
    let check = format!("{kind}/{name}");
    let Some(audited) = text(record, "status.auditTimestamp") else {
        place.say(ProblemKind::Incomplete, format!("constraint {check} was never audited: nothing is known of its violations"));
        return Flow::More;
    };
    let observed_at = super::time::parse(&audited);
    if observed_at.is_none() {
        place.say(ProblemKind::Time, format!("constraint {check}: auditTimestamp `{}` is no instant", audited.escape_debug()));
    }
    let generation = number(record, "metadata.generation");
    for pod in list(record, "status.byPod") {
        let id = text(pod, "id").unwrap_or_default();
        for error in list(pod, "errors") {
            let message = first(error, &["message", "code"]).unwrap_or_default();
            place.say(ProblemKind::ScannerError, format!("constraint {check}, pod {id}: {message}"));
        }
        if let (Some(want), Some(seen)) = (generation, number(pod, "observedGeneration"))
            && seen < want
        {
            place.say(ProblemKind::Incomplete, format!("constraint {check}: pod {id} has seen generation {seen} of {want}"));
        }
    }
    let mut ran = Finding::ran(check.clone());
    ran.observed_at = observed_at;
    if place.finding(ran) == Flow::Stop {
        return Flow::Stop;
    }
    let listed = list(record, "status.violations");
    let action = first(record, &["spec.enforcementAction"]).unwrap_or("deny".into());
    for violation in listed {
        let (Some(kind), Some(name)) = (text(violation, "kind"), text(violation, "name")) else {
            place.say(ProblemKind::Incomplete, format!("constraint {check}: a violation names no object"));
            continue;
        };
        let namespace = text(violation, "namespace").unwrap_or_default();
        let id = resource::kubernetes(None, &text(violation, "group").unwrap_or_default(), &kind, &namespace, &name);
        let mut finding = Finding::new(check.clone(), id, CheckResult::Fail);
        finding.resource.kind = Some(kind);
        finding.resource.name = Some(name);
        finding.observed_at = observed_at;
        finding.message = text(violation, "message");
        finding.fields.set("namespace", namespace);
        finding.fields.set("enforcement", text(violation, "enforcementAction").unwrap_or(action.clone()));
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
    }
    let total = number(record, "status.totalViolations").unwrap_or(0);
    let rest = total.saturating_sub(listed.len() as u64);
    if rest > 0 {
        let mut finding = Finding::new(check.clone(), check, CheckResult::Fail);
        finding.resource.kind = Some(kind);
        finding.observed_at = observed_at;
        finding.aggregate = true;
        finding.count = rest;
        finding.message = Some(format!("{} of {total} violations are listed", listed.len()).into());
        finding.fields.set("enforcement", action);
        return place.finding(finding);
    }
    Flow::More
}

/// A line of the audit's log.
fn logged(record: &Value, place: &mut Place<'_>) -> Flow {
    let Some(kind) = text(record, "constraint_kind") else {
        // audit_started, audit_finished and the like.
        if get(record, "process").is_some() {
            place.recognise();
            return Flow::More;
        }
        return place.strange(record, "`constraint_kind`");
    };
    place.recognise();
    if text(record, "event_type").as_deref() != Some("violation_audited") {
        return Flow::More;
    }
    let (Some(constraint), Some(object), Some(name)) =
        (text(record, "constraint_name"), text(record, "resource_kind"), text(record, "resource_name"))
    else {
        place.say(ProblemKind::Incomplete, "a violation names no object");
        return Flow::More;
    };
    let namespace = text(record, "resource_namespace").unwrap_or_default();
    let id = resource::kubernetes(None, &text(record, "resource_group").unwrap_or_default(), &object, &namespace, &name);
    let mut finding = Finding::new(format!("{kind}/{constraint}"), id, CheckResult::Fail);
    finding.resource.kind = Some(object);
    finding.resource.name = Some(name);
    finding.observed_at = instant(record, "audit_id").or_else(|| instant(record, "ts"));
    finding.message = text(record, "msg").map(|m| owned(&m));
    finding.fields.set("namespace", namespace);
    finding.fields.set("enforcement", text(record, "constraint_action").unwrap_or_default());
    place.finding(finding)
}
