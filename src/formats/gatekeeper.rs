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
//! A collector that asked the cluster which objects a constraint selects hands its answer in with the constraint, one JSON
//! object a line (`apiVersion: bornright/v1`):
//!
//! | what | result |
//! |---|---|
//! | `SelectedConstraint`, `{selected, constraint}` | as above; if not all violations are listed, those beyond are at most as many fails as there are other objects, and the objects that must comply even so are one pass with a count; neither if `selected` is null |
//! | `ConstraintMember`, `{constraint, object, counted}` | not_assessed of the check `population:<kind>/<name>`: for `population:`; not_applicable if such a count stands for the object |
//!
//! The lifecycle is always active. Oddities: `violations` is left out when there are none; which are listed is not stable;
//! one object may violate several times; excluded namespaces are invisible; a pod that saw an older generation audited
//! another constraint.

use super::pages::{Ask, Part, Place, first, get, instant, list, number, owned, read_yaml, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, ProblemKind, RunOutcome, resource};
use serde_json::Value;
use std::collections::BTreeSet;
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
        Part::Record(record, _) if text(&record, "kind").as_deref() == Some("SelectedConstraint") => match get(&record, "constraint") {
            Some(inner) => constraint(inner, number(&record, "selected").map_or(Population::NotKnown, Population::Counted), place),
            None => place.strange(&record, "`constraint`"),
        },
        Part::Record(record, _) if text(&record, "kind").as_deref() == Some("ConstraintMember") => member(&record, place),
        Part::Record(record, _) => constraint(&record, Population::NotAsked, place),
        Part::Member(..) => Flow::More,
    })
}

/// How many objects a constraint selects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Population {
    /// Nobody asked the cluster.
    NotAsked,
    /// It was asked, and did not answer in full. What is held of it stays.
    NotKnown,
    /// So many.
    Counted(u64),
}

/// What a constraint's population is called among checks: never the constraint itself, of which it says nothing.
fn population_of(check: &str) -> String {
    format!("population:{check}")
}

/// An object that a constraint selects.
fn member(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(constraint), Some(kind), Some(name)) = (text(record, "constraint"), text(record, "object.kind"), text(record, "object.name"))
    else {
        return place.strange(record, "`constraint`, `object.kind` and `object.name`");
    };
    place.recognise();
    let counted = get(record, "counted") == Some(&Value::Bool(true));
    let namespace = text(record, "object.namespace").unwrap_or_default();
    let id = resource::kubernetes(None, &text(record, "object.group").unwrap_or_default(), &kind, &namespace, &name);
    let result = if counted { CheckResult::NotApplicable } else { CheckResult::NotAssessed };
    let mut finding = Finding::new(population_of(&constraint), id, result);
    finding.resource.kind = Some(kind);
    finding.resource.name = Some(name);
    finding.observed_at = instant(record, "at");
    finding.fields.set("namespace", namespace);
    place.finding(finding)
}

fn constraint(record: &Value, population: Population, place: &mut Place<'_>) -> Flow {
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
    if population != Population::NotAsked {
        // That the population was looked for is known even where nothing is in it.
        let mut ran = Finding::ran(population_of(&check));
        ran.observed_at = observed_at;
        if place.finding(ran) == Flow::Stop {
            return Flow::Stop;
        }
    }
    let listed = list(record, "status.violations");
    let mut violating = BTreeSet::new();
    let action = first(record, &["spec.enforcementAction"]).unwrap_or("deny".into());
    for violation in listed {
        let (Some(kind), Some(name)) = (text(violation, "kind"), text(violation, "name")) else {
            place.say(ProblemKind::Incomplete, format!("constraint {check}: a violation names no object"));
            continue;
        };
        let namespace = text(violation, "namespace").unwrap_or_default();
        let id = resource::kubernetes(None, &text(violation, "group").unwrap_or_default(), &kind, &namespace, &name);
        if population != Population::NotAsked {
            violating.insert(id.clone());
        }
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
    if rest == 0 || population == Population::NotKnown {
        return Flow::More;
    }
    // Each violation that is not listed may be another object's, and no more objects than there are.
    let others = match population {
        Population::Counted(selected) => Some(selected.saturating_sub(violating.len() as u64)),
        Population::NotAsked | Population::NotKnown => None,
    };
    let failing = others.map_or(rest, |others| rest.min(others));
    let counts = [
        (check.clone(), CheckResult::Fail, failing, format!("{} of {total} violations are listed", listed.len())),
        (
            format!("{check} (the others)"),
            CheckResult::Pass,
            others.unwrap_or(0).saturating_sub(failing),
            format!("{total} violations leave as many objects at least without one"),
        ),
    ];
    for (id, result, count, message) in counts {
        if count == 0 {
            continue;
        }
        let mut finding = Finding::new(check.clone(), id, result);
        finding.resource.kind = Some(kind.clone());
        finding.observed_at = observed_at;
        finding.aggregate = true;
        finding.count = count;
        finding.message = Some(message.into());
        finding.fields.set("enforcement", action.clone());
        if place.finding(finding) == Flow::Stop {
            return Flow::Stop;
        }
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
