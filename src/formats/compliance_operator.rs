//! Results of the OpenShift Compliance Operator as Kubernetes objects.
//!
//! Producer: compliance-operator 1.x, compliance.openshift.io/v1alpha1, as `kubectl get … -o json|yaml` or the API gives
//! them. Specification: <https://github.com/ComplianceAsCode/compliance-operator/blob/master/doc/crds.md>.
//!
//! | `status` of a ComplianceCheckResult | result |
//! |---|---|
//! | `PASS`, `FAIL`, `ERROR`, `MANUAL` | pass, fail, error, manual |
//! | `NOT-APPLICABLE`, `SKIP`, `INFO` | not_applicable: `INFO` collects facts and is never a requirement |
//! | `INCONSISTENT` | fail if one of the nodes says FAIL, else manual: the nodes differ |
//! | none | not_assessed: the check came to no usable result |
//!
//! The check is the XCCDF rule (`id`), as in the format `xccdf`; the resource is the scan, which stands for the platform or
//! for one pool of nodes. The lifecycle is always active. Of a ComplianceScan only its end is read: one that failed, still
//! runs, or promised more results than are listed makes the document incomplete. Oddities: the results of a scan that runs
//! again stay until it is done; the time stands in an annotation.

use super::pages::{Ask, Part, Place, first, get, number, owned, read_yaml, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink, time};
use crate::domain::{CheckResult, Finding, Position, Problem, ProblemKind, RunOutcome, Severity, resource};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["items"]], bare: true },
    expected: "ComplianceCheckResult or ComplianceScan objects of compliance.openshift.io",
    nothing_is_fine: false,
};

const GROUP: &str = "compliance.openshift.io";
/// Scans whose results are counted. A cluster has a handful; more are read, and not counted.
const SCANS: usize = 10_000;

/// What a scan promised, and what of it is listed.
#[derive(Default)]
struct Scan {
    promised: Option<u64>,
    listed: u64,
}

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut scans: BTreeMap<String, Scan> = BTreeMap::new();
    let mut outcome = read_yaml(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => object(&record, &mut scans, place),
        Part::Member(..) => Flow::More,
    })?;
    for (name, scan) in &scans {
        if let Some(promised) = scan.promised.filter(|p| *p > scan.listed) {
            outcome.complete = false;
            let message = format!("scan {name} came to {promised} results, {} are listed", scan.listed);
            sink.problem(Problem { kind: ProblemKind::Mismatch, source: ctx.source.to_owned(), position: Position::default(), message });
        }
    }
    Ok(outcome)
}

fn annotation<'v>(record: &'v Value, name: &str) -> Option<&'v str> {
    get(record, "metadata.annotations")?.get(format!("{GROUP}/{name}"))?.as_str().filter(|t| !t.is_empty())
}

fn label<'v>(record: &'v Value, name: &str) -> Option<&'v str> {
    get(record, "metadata.labels")?.get(format!("{GROUP}/{name}"))?.as_str().filter(|t| !t.is_empty())
}

fn object(record: &Value, scans: &mut BTreeMap<String, Scan>, place: &mut Place<'_>) -> Flow {
    let group = text(record, "apiVersion").unwrap_or_default();
    if group.split('/').next() != Some(GROUP) {
        return place.strange(record, "`apiVersion: compliance.openshift.io/…`");
    }
    match &*text(record, "kind").unwrap_or_default() {
        "ComplianceCheckResult" => result(record, scans, place),
        "ComplianceScan" => scan(record, scans, place),
        other => {
            place.recognise();
            place.say(ProblemKind::WrongFormat, format!("the kind {} has no results", other.chars().take(80).collect::<String>()));
            Flow::More
        }
    }
}

fn scan_of(scans: &mut BTreeMap<String, Scan>, key: String) -> Option<&mut Scan> {
    if scans.len() >= SCANS && !scans.contains_key(&key) {
        return None;
    }
    Some(scans.entry(key).or_default())
}

fn scan(record: &Value, scans: &mut BTreeMap<String, Scan>, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let (namespace, name) = (text(record, "metadata.namespace").unwrap_or_default(), text(record, "metadata.name").unwrap_or_default());
    let key = format!("{namespace}/{name}");
    let phase = text(record, "status.phase").unwrap_or_default();
    let said = first(record, &["status.errormsg", "status.warnings"]).map(|m| format!(": {}", excerpt(&m))).unwrap_or_default();
    if phase != "DONE" {
        let phase = if phase.is_empty() { "without a phase" } else { &*phase };
        place.say(ProblemKind::Incomplete, format!("scan {key} is {phase}: its results are those of an earlier time, or none"));
        return Flow::More;
    }
    match &*text(record, "status.result").unwrap_or_default() {
        "ERROR" => place.say(ProblemKind::ScannerError, format!("scan {key} failed{said}")),
        "NOT-AVAILABLE" | "" => place.say(ProblemKind::Incomplete, format!("scan {key} is done and has no result{said}")),
        "NOT-APPLICABLE" => place.say(ProblemKind::WrongPlatform, format!("scan {key} has no rule that applies{said}")),
        _ => {}
    }
    let promised = annotation(record, "check-count").and_then(|n| n.parse().ok()).or_else(|| number(record, "status.checkCount"));
    if let (Some(promised), Some(scan)) = (promised, scan_of(scans, key)) {
        scan.promised = Some(promised);
    }
    Flow::More
}

fn result(record: &Value, scans: &mut BTreeMap<String, Scan>, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let Some(name) = text(record, "metadata.name") else {
        return place.strange(record, "`metadata.name`");
    };
    let namespace = text(record, "metadata.namespace").unwrap_or_default();
    let owner = get(record, "metadata.ownerReferences").and_then(|o| o.get(0)).and_then(|o| text(o, "name"));
    let Some(scan) = label(record, "scan-name").map(str::to_owned).or_else(|| owner.map(|o| o.into_owned())) else {
        place.say(ProblemKind::Incomplete, format!("result {name} does not say of which scan it is"));
        return Flow::More;
    };
    if let Some(scan) = scan_of(scans, format!("{namespace}/{scan}")) {
        scan.listed += 1;
    }
    let status = first(record, &["status"]).or_else(|| label(record, "check-status").map(Into::into)).unwrap_or_default();
    let verdict = match &*status {
        "PASS" => CheckResult::Pass,
        "FAIL" => CheckResult::Fail,
        "ERROR" => CheckResult::Error,
        "MANUAL" => CheckResult::Manual,
        "NOT-APPLICABLE" | "SKIP" | "INFO" => CheckResult::NotApplicable,
        "INCONSISTENT" => inconsistent(record),
        "" => CheckResult::NotAssessed,
        other => {
            place.say(ProblemKind::Malformed, format!("result {name}: status `{}` is not known", excerpt(other)));
            return Flow::More;
        }
    };
    let check = text(record, "id").or_else(|| annotation(record, "rule").map(Into::into)).unwrap_or_else(|| name.clone());
    let id = resource::kubernetes(None, GROUP, "ComplianceScan", &namespace, &scan);
    let mut finding = Finding::new(check, id, verdict);
    finding.resource.kind = Some("ComplianceScan".into());
    finding.resource.name = Some(owned(&scan));
    finding.severity =
        text(record, "severity").or_else(|| label(record, "check-severity").map(Into::into)).and_then(|s| Severity::lenient(&s));
    finding.observed_at = annotation(record, "last-scanned-timestamp").and_then(time::parse);
    finding.title = text(record, "description").and_then(|d| d.lines().next().map(|l| owned(l.trim()))).filter(|t| !t.is_empty());
    finding.message = message(record, &status);
    finding.fields.set("namespace", namespace);
    if let Some(suite) = label(record, "suite") {
        finding.fields.set("profile", owned(suite));
    }
    place.finding(finding)
}

/// The nodes that differ, as `node:STATUS,node:STATUS`, and what most of them say.
fn inconsistent(record: &Value) -> CheckResult {
    let differing = annotation(record, "inconsistent-source").unwrap_or_default();
    let most = annotation(record, "most-common-status").unwrap_or_default();
    let fails = differing.split(',').filter_map(|one| one.rsplit(':').next()).chain([most]).any(|status| status.trim() == "FAIL");
    if fails { CheckResult::Fail } else { CheckResult::Manual }
}

fn message<'v>(record: &'v Value, status: &str) -> Option<std::borrow::Cow<'v, str>> {
    match status {
        "INCONSISTENT" => Some(
            format!(
                "the nodes differ: {}; most say {}",
                excerpt(annotation(record, "inconsistent-source").unwrap_or("which is not said")),
                excerpt(annotation(record, "most-common-status").unwrap_or("nothing"))
            )
            .into(),
        ),
        "ERROR" => annotation(record, "error-msg").map(Into::into),
        _ => get(record, "warnings").and_then(|w| w.get(0)).and_then(Value::as_str).map(Into::into),
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::summary::Summary;
    use super::super::{Format, FormatSpec, Limits, read as read_any};
    use super::*;

    fn seen(text: &str) -> (Summary, bool, Vec<String>) {
        struct Kept(Summary, Vec<String>);
        impl Sink for Kept {
            fn finding(&mut self, finding: &Finding<'_>) -> Flow {
                self.0.finding(finding)
            }
            fn problem(&mut self, problem: Problem) {
                self.1.push(problem.message);
            }
        }
        let ctx = Context { source: "x", limits: Limits::default(), want_raw: false };
        let mut kept = Kept(Summary::new(), Vec::new());
        let outcome = read_any(&FormatSpec::Builtin(Format::ComplianceOperator), &mut text.as_bytes(), &ctx, &mut kept);
        let complete = outcome.map_err(|e| kept.1.push(e.message)).is_ok_and(|o| o.complete);
        (kept.0, complete, kept.1)
    }

    fn check(status: &str, annotations: &str) -> String {
        format!(
            r#"{{"apiVersion":"compliance.openshift.io/v1alpha1","kind":"ComplianceCheckResult","metadata":{{"name":"cis-x-{status}","namespace":"openshift-compliance","labels":{{"compliance.openshift.io/scan-name":"ocp4-cis","compliance.openshift.io/suite":"cis"}},"annotations":{{{annotations}}}}},"id":"xccdf_org.ssgproject.content_rule_x{status}","status":"{status}","severity":"medium"}}"#
        )
    }

    #[test]
    fn each_status_is_what_it_is() {
        let inconsistent = |source: &str, most: &str| {
            let annotations = format!(
                r#""compliance.openshift.io/inconsistent-source":"{source}","compliance.openshift.io/most-common-status":"{most}""#
            );
            check("INCONSISTENT", &annotations)
        };
        for (record, word) in [
            (check("PASS", ""), "pass"),
            (check("FAIL", ""), "fail"),
            (check("INFO", ""), "not_applicable"),
            (check("SKIP", ""), "not_applicable"),
            (check("NOT-APPLICABLE", ""), "not_applicable"),
            (check("MANUAL", ""), "manual"),
            (check("ERROR", ""), "error"),
            (check("", ""), "not_assessed"),
            (inconsistent("node-a:FAIL,node-b:NOT-APPLICABLE", "PASS"), "fail"),
            (inconsistent("node-a:PASS", "FAIL"), "fail"),
            (inconsistent("node-a:NOT-APPLICABLE", "PASS"), "manual"),
            (check("INCONSISTENT", ""), "manual"),
        ] {
            let (summary, complete, problems) = seen(&record);
            let json: Value = serde_json::from_str(&summary.to_json()).unwrap();
            assert_eq!((json["findings"].as_u64(), json["results"][word].as_u64()), (Some(1), Some(1)), "{word}: {json}");
            assert!(complete && problems.is_empty(), "{word}: {problems:?}");
        }
        let (summary, complete, problems) = seen(&check("SHRUG", ""));
        assert!(summary.to_json().contains("\"findings\":0") && !complete);
        assert_eq!(problems, ["result cis-x-SHRUG: status `SHRUG` is not known"]);
    }

    #[test]
    fn a_scan_that_failed_runs_or_promised_more_is_told() {
        let scan = |status: &str, count: &str| {
            format!(
                r#"{{"apiVersion":"compliance.openshift.io/v1alpha1","kind":"ComplianceScan","metadata":{{"name":"ocp4-cis","namespace":"openshift-compliance","annotations":{{{count}}}}},"status":{status}}}"#
            )
        };
        let count = r#""compliance.openshift.io/check-count":"2""#;
        for (text, expected) in [
            (scan(r#"{"phase":"DONE","result":"NON-COMPLIANT"}"#, count) + &check("PASS", "") + &check("FAIL", ""), ""),
            (
                scan(r#"{"phase":"DONE","result":"NON-COMPLIANT"}"#, count) + &check("PASS", ""),
                "scan openshift-compliance/ocp4-cis came to 2 results, 1 are listed",
            ),
            (
                scan(r#"{"phase":"RUNNING","result":"NOT-AVAILABLE"}"#, "") + &check("PASS", ""),
                "scan openshift-compliance/ocp4-cis is RUNNING: its results are those of an earlier time, or none",
            ),
            (
                scan(r#"{"phase":"DONE","result":"ERROR","errormsg":"no profile"}"#, "") + &check("PASS", ""),
                "scan openshift-compliance/ocp4-cis failed: no profile",
            ),
        ] {
            let (_, complete, problems) = seen(&text);
            assert_eq!(problems.join("\n"), expected);
            assert_eq!(complete, expected.is_empty());
        }
    }

    #[test]
    fn an_empty_list_is_no_evidence() {
        let (_, complete, problems) =
            seen(r#"{"apiVersion":"compliance.openshift.io/v1alpha1","kind":"ComplianceCheckResultList","items":[]}"#);
        assert!(!complete);
        assert_eq!(problems, ["the document has no records; nothing was said about any resource"]);
    }
}
