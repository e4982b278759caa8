//! Kubernetes PolicyReport and OpenReports.
//!
//! Producers read: Kyverno 1.11 to 1.17, image-scanner, the samples of the API itself (kube-bench adapter, compliance
//! operator, RHACM). APIs: `wgpolicyk8s.io` v1alpha1 (`status` for `result`), v1alpha2, v1beta1; `reports.x-k8s.io`
//! v1beta1; `openreports.io` v1alpha1 (<https://github.com/openreports/reports-api>). JSON or YAML: single objects, lists,
//! arrays, several documents one behind the other.
//!
//! | `result` | result         | lifecycle |
//! |----------|----------------|-----------|
//! | `pass`   | pass           | active |
//! | `fail`   | fail           | active |
//! | `warn`   | fail           | active: Kyverno writes it for the failure of a policy that is not scored, others for a small one |
//! | `error`  | error          | active |
//! | `skip`   | not_applicable | active: a precondition does not hold; suppressed if `properties.exceptions` names a PolicyException |
//!
//! The check is `policy/rule`, or `policy` where there is no rule. Every resource of a result is one finding; a result
//! without any is about the report's `scope`, else about its owner, else (kube-bench adapter) about the report itself.
//!
//! Oddities met: `summary` contradicts the rows even in the API's own samples, and may leave keys out: rows count. Where it
//! knows of more than is listed, or `configuration.limits` cut rows away, the document is not complete. Timestamps are
//! `{seconds, nanos}`, in YAML with float seconds. `results` stands before `scope` (keys are sorted), so a report's rows
//! wait for its end; a report is bounded as one record is. `kubectl`'s page token (`metadata.continue`) is the
//! collector's affair.

use super::stream::{Halt, Keys, Number, Out, Pull, Text, or_default};
use super::{Context, FormatError, Sink, time, yaml};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, Moment, ProblemKind, RunOutcome, ScannerInfo, Severity, resource};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;

const EXPECTED: &str = "a PolicyReport, ClusterPolicyReport, Report or ClusterReport, or a list of them";
const KINDS: [&str; 4] = ["PolicyReport", "ClusterPolicyReport", "Report", "ClusterReport"];

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut reports = 0u64;
    let mut read = match yaml::begins_as_json(input) {
        Err(e) => Err(Halt::from_io(&e, 0)),
        Ok(true) => Pull::new(input, ctx).documents(|pull| top(pull, &mut out, &mut reports)),
        Ok(false) => {
            let mut any = false;
            let mut end = Ok(());
            let walked = yaml::documents(input, ctx, |document| {
                any = true;
                end = match document {
                    Ok(mut json) => top(&mut Pull::new(&mut json, ctx), &mut out, &mut reports),
                    Err(problem) => {
                        out.pass_on(problem);
                        Ok(())
                    }
                };
                end.is_ok()
            });
            match walked {
                Err(e) => Err(Halt::from_io(&e, 0)),
                Ok(()) if !any => Err(Halt::Broken(ProblemKind::Empty, 0, "the document is empty".to_owned())),
                Ok(()) => end,
            }
        }
    };
    if read.is_ok() && reports == 0 && out.outcome.complete {
        read = Err(Halt::Broken(ProblemKind::Empty, 0, "the list holds no report: no policy was evaluated".to_owned()));
    }
    out.end(read, EXPECTED)
}

fn top(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, reports: &mut u64) -> Result<(), Halt> {
    match pull.peek()? {
        Some(b'[') => pull.array(|pull| object(pull, out, reports, true)).map(|_| ()),
        Some(b'{') => object(pull, out, reports, true),
        _ => Err(Halt::Wrong("no object".to_owned())),
    }
}

#[derive(Default)]
struct Report {
    api_version: String,
    kind: String,
    meta: Meta,
    scope: Option<Object>,
    source: String,
    limits: Option<Limits>,
    summary: Option<Summary>,
    list: bool,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, rename = "ownerReferences", deserialize_with = "or_default")]
    owners: Vec<Object>,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default, rename = "apiVersion", deserialize_with = "or_default")]
    api_version: String,
    #[serde(default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    namespace: String,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    limits: Option<Limits>,
}

#[derive(Default, Deserialize)]
struct Limits {
    #[serde(default, rename = "maxResults")]
    max: Number,
    #[serde(default, rename = "statusFilter")]
    filter: Option<Vec<String>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Summary {
    #[serde(default)]
    pass: Number,
    #[serde(default)]
    fail: Number,
    #[serde(default)]
    warn: Number,
    #[serde(default)]
    error: Number,
    #[serde(default)]
    skip: Number,
}

/// A report, or a list of reports (only where `outer`: lists hold no lists).
fn object(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, reports: &mut u64, outer: bool) -> Result<(), Halt> {
    let mut report = Report::default();
    let mut keys = Keys::default();
    let mut rows = None;
    pull.peek()?;
    let at = pull.offset;
    let is_object = pull.object(|pull, key| {
        keys.note(key);
        match key {
            "apiVersion" => report.api_version = pull.text()?,
            "kind" => report.kind = pull.text()?,
            "metadata" => report.meta = pull.read()?.unwrap_or_default(),
            "scope" => report.scope = pull.read::<Option<Object>>()?.flatten(),
            "source" => report.source = pull.text()?,
            "configuration" => report.limits = pull.read::<Configuration>()?.and_then(|c| c.limits),
            "summary" => report.summary = pull.read()?,
            "results" => rows = pull.keep(out)?,
            "items" if outer => report.list = pull.array(|pull| object(pull, out, reports, false))?,
            _ => {}
        }
        Ok(())
    })?;
    if report.list {
        out.recognised |= KINDS.iter().any(|k| report.kind.strip_suffix("List") == Some(k));
        return Ok(());
    }
    let listed = |rows: &Option<Vec<u8>>| rows.as_ref().is_some_and(|r| matches!(r.first(), Some(b'[' | b'n')));
    // Items of a typed list say neither their kind nor their version.
    let ours = if report.kind.is_empty() { !outer && listed(&rows) } else { KINDS.contains(&report.kind.as_str()) };
    if !ours || !is_object {
        let found = match report.kind.is_empty() {
            true => keys.found(),
            false => format!("the kind {} of {}", excerpt(&report.kind), excerpt(&report.api_version)),
        };
        if out.recognised {
            out.fault(ProblemKind::WrongFormat, at, format!("found {found}; expected {EXPECTED}"));
            return Ok(());
        }
        return Err(Halt::Wrong(found));
    }
    out.recognised = true;
    *reports = reports.saturating_add(1);
    if rows.is_some() && !listed(&rows) {
        out.fault(ProblemKind::Malformed, at, "the results of a report are no array");
        return Ok(());
    }
    report.rows(rows.as_deref().unwrap_or(b"[]"), at, out)
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Report {
    fn rows(&self, rows: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let mut seen = [0u64; 5];
        let mut buf = Vec::new();
        let ctx = out.ctx;
        Pull::new(&mut &*rows, ctx).array(|pull| match pull.record::<Row<'_>>(out, &mut buf)? {
            Some((row, raw)) => row.tell(self, &mut seen, raw, at, out),
            None => Ok(()),
        })?;
        self.compare(&seen, at, out);
        Ok(())
    }

    fn compare(&self, seen: &[u64; 5], at: u64, out: &mut Out<'_, '_>) {
        let listed: u64 = seen.iter().sum();
        let name = excerpt(if self.meta.name.is_empty() { &self.kind } else { &self.meta.name });
        if let Some(limits) = &self.limits {
            let filtered =
                limits.filter.as_ref().is_some_and(|f| !f.is_empty() && !["pass", "fail"].iter().all(|w| f.iter().any(|have| have == w)));
            let full = limits.max.0.is_some_and(|max| max > 0 && listed >= max);
            if filtered || full {
                let why = if filtered { "leave passes or failures out" } else { "are reached" };
                out.fault(ProblemKind::Limit, at, format!("the limits configured in report `{name}` {why}: rows are missing"));
            }
        }
        let Some(s) = self.summary else { return };
        let said = [s.pass, s.fail, s.warn, s.error, s.skip].map(|n| n.0);
        let total = said.iter().flatten().fold(0u64, |sum, n| sum.saturating_add(*n));
        if total > listed {
            out.fault(ProblemKind::Mismatch, at, format!("the summary of report `{name}` counts {total} results, {listed} are listed"));
        } else if said.iter().zip(seen).any(|(said, seen)| said.unwrap_or(0) != *seen) {
            out.note(ProblemKind::Mismatch, at, format!("the summary of report `{name}` is not that of its rows; the rows count"));
        }
    }

    fn source(&self) -> &str {
        if self.source.is_empty() { self.meta.labels.get("app.kubernetes.io/managed-by").map_or("", String::as_str) } else { &self.source }
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    policy: Text<'a>,
    #[serde(borrow, default)]
    rule: Text<'a>,
    #[serde(borrow, default)]
    result: Text<'a>,
    /// What v1alpha1 calls `result`.
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    category: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
    #[serde(borrow, default)]
    severity: Text<'a>,
    #[serde(borrow, default)]
    source: Text<'a>,
    #[serde(default, alias = "subjects", deserialize_with = "or_default")]
    resources: Vec<Object>,
    #[serde(borrow, default, alias = "data", deserialize_with = "or_default")]
    properties: BTreeMap<Cow<'a, str>, Text<'a>>,
    #[serde(default)]
    timestamp: Stamp,
}

/// `{seconds, nanos}`, or text in reports that other programs wrote.
#[derive(Default)]
struct Stamp(Option<Moment>);

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(de)?;
        let seconds = match &value {
            serde_json::Value::String(text) => return Ok(Stamp(time::parse(text))),
            serde_json::Value::Object(map) => map.get("seconds"),
            other => Some(other),
        };
        let seconds = seconds.and_then(|s| s.as_f64().or_else(|| s.as_str()?.parse().ok()));
        // Go's zero time lies before the epoch and means that nobody set it.
        let plausible = seconds.filter(|s| *s > 0.0 && *s < 1e11);
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1e14 by the line above")]
        Ok(Stamp(plausible.map(|s| Moment((s * 1000.0).floor() as i64))))
    }
}

impl Row<'_> {
    fn tell(&self, report: &Report, seen: &mut [u64; 5], raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let word = self.result.some().or_else(|| self.status.some()).unwrap_or_default();
        let (place, result) = match word {
            "pass" => (0, CheckResult::Pass),
            "fail" => (1, CheckResult::Fail),
            "warn" => (2, CheckResult::Fail),
            "error" => (3, CheckResult::Error),
            "skip" => (4, CheckResult::NotApplicable),
            other => {
                out.fault(ProblemKind::Malformed, at, format!("`{}` is not a result", excerpt(other)));
                return Ok(());
            }
        };
        let Some(policy) = self.policy.some() else {
            out.fault(ProblemKind::Malformed, at, "a result names no policy");
            return Ok(());
        };
        seen[place] += 1;
        let check = match self.rule.some() {
            Some(rule) => format!("{policy}/{rule}"),
            None => policy.to_owned(),
        };
        let source = self.source.some().unwrap_or_else(|| report.source());
        if out.outcome.scanner.is_none() && !source.is_empty() {
            out.outcome.scanner = Some(ScannerInfo { name: source.to_owned(), ..ScannerInfo::default() });
        }
        out.scanned(self.timestamp.0);
        let itself;
        let about: &[Object] = if !self.resources.is_empty() {
            &self.resources
        } else if let Some(scope) = &report.scope {
            std::slice::from_ref(scope)
        } else if let Some(owner) = report.meta.owners.first() {
            std::slice::from_ref(owner)
        } else {
            itself = [Object {
                api_version: report.api_version.clone(),
                kind: report.kind.clone(),
                name: report.meta.name.clone(),
                namespace: report.meta.namespace.clone(),
            }];
            &itself
        };
        for object in about {
            if object.name.is_empty() && object.kind.is_empty() {
                out.fault(ProblemKind::Incomplete, at, format!("a result of {} says of nothing what it is about", excerpt(&check)));
                continue;
            }
            let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
            // Reports of a namespace leave it out of the objects they speak of. A Namespace is in none.
            let namespace = match object.namespace.as_str() {
                "" if object.kind == "Namespace" => "",
                "" => report.meta.namespace.as_str(),
                own => own,
            };
            let mut finding =
                Finding::new(check.as_str(), resource::kubernetes(None, group, &object.kind, namespace, &object.name), result);
            finding.resource.kind = Some(object.kind.as_str().into()).filter(|k: &Cow<'_, str>| !k.is_empty());
            finding.resource.name = Some(object.name.as_str().into()).filter(|n: &Cow<'_, str>| !n.is_empty());
            if place == 4 && self.properties.get("exceptions").is_some_and(|e| e.some().is_some()) {
                finding.lifecycle = Lifecycle::Suppressed;
            }
            let severity = self.severity.some().or_else(|| self.properties.get("severity")?.some());
            finding.severity = severity.and_then(Severity::lenient);
            finding.observed_at = self.timestamp.0;
            let place = if object.kind == "Namespace" { object.name.as_str() } else { namespace };
            finding.fields.set("namespace", place);
            finding.fields.set("service", source);
            finding.title = self.category.cow();
            finding.message = self.message.cow();
            let property = |name: &str| self.properties.get(name).and_then(Text::some);
            if let (Some(framework), Some(id)) = (property("standards"), property("controls")) {
                finding.control_refs.push(ControlRef { framework: framework.into(), version: None, id: id.into() });
            }
            finding.raw = out.ctx.want_raw.then_some(raw);
            out.finding(&finding)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::PolicyReport;

    fn report(rows: &str, more: &str) -> String {
        format!(
            r#"{{"apiVersion":"wgpolicyk8s.io/v1alpha2","kind":"PolicyReport","metadata":{{"name":"r","namespace":"shop"}},"results":[{rows}]{more}}}"#
        )
    }

    #[test]
    fn words_and_identities() {
        let rows = r#"{"policy":"p","rule":"a","result":"pass","timestamp":{"seconds":1679565894,"nanos":500}},
            {"policy":"p","rule":"b","status":"fail","severity":"high"},{"policy":"p","result":"warn"},{"policy":"p","result":"error"},
            {"policy":"p","result":"skip"},{"policy":"p","result":"skip","properties":{"exceptions":"e"}},
            {"policy":"p","result":"fail","resources":[{"apiVersion":"v1","kind":"Pod","name":"x","namespace":"other"},{"apiVersion":"v1","kind":"Namespace","name":"shop"}]}"#;
        let (kept, outcome) = read(
            PolicyReport,
            report(rows, r#","scope":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"summary":{"pass":1,"fail":2,"warn":1,"error":1,"skip":2}"#).as_bytes(),
        );
        assert!(outcome.expect("report").complete && kept.problems.is_empty(), "{:?}", kept.problems);
        assert_eq!(kept.counts(), [1, 4, 1, 0, 2, 0]);
        assert_eq!(kept.suppressed(), 1);
        assert_eq!(kept.of("p/a"), [("apps/Deployment/shop/web", CheckResult::Pass)]);
        let ids: Vec<_> = kept.findings.iter().skip(6).map(|f| f.resource.id.as_ref()).collect();
        assert_eq!(ids, ["/Pod/other/x", "/Namespace//shop"]);
        assert_eq!(kept.findings[0].observed_at.map(|m| m.to_string()).as_deref(), Some("2023-03-23T10:04:54Z"));
    }

    #[test]
    fn who_it_is_about_when_nobody_says() {
        let row = r#"{"policy":"p","result":"pass"}"#;
        let owner =
            report(row, "").replace(r#""name":"r","#, r#""name":"r","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"own"}],"#);
        let (kept, _) = read(PolicyReport, owner.as_bytes());
        assert_eq!(kept.of("p"), [("/Pod/shop/own", CheckResult::Pass)]);
        let (kept, _) = read(PolicyReport, report(row, "").as_bytes());
        assert_eq!(kept.of("p"), [("wgpolicyk8s.io/PolicyReport/shop/r", CheckResult::Pass)]);
    }

    #[test]
    fn rows_that_are_missing_are_missed() {
        let row = r#"{"policy":"p","result":"fail"}"#;
        for (more, kinds, complete) in [
            (r#","summary":{"fail":1}"#, vec![], true),
            (r#","summary":{"pass":1}"#, vec!["mismatch"], true),
            (r#","summary":{"pass":10,"fail":1}"#, vec!["mismatch"], false),
            (r#","configuration":{"limits":{"maxResults":100,"statusFilter":["pass","fail","skip"]}}"#, vec![], true),
            (r#","configuration":{"limits":{"statusFilter":["fail"]}}"#, vec!["limit"], false),
            (r#","configuration":{"limits":{"maxResults":1}}"#, vec!["limit"], false),
        ] {
            let (kept, outcome) = read(PolicyReport, report(row, more).as_bytes());
            assert_eq!((kept.kinds(), outcome.expect("report").complete), (kinds, complete), "{more}");
        }
    }

    #[test]
    fn lists_arrays_and_documents() {
        let one = report(r#"{"policy":"p","result":"pass"},{"policy":"p","result":"odd"},{"result":"pass"}"#, "");
        let typed = format!(
            r#"{{"apiVersion":"wgpolicyk8s.io/v1alpha2","items":[{{"metadata":{{"name":"r"}},"summary":{{}},"results":[]}},{one}],"kind":"PolicyReportList"}}"#
        );
        for text in [typed, format!("[{one}]"), format!("{one}\n{one}")] {
            let (kept, outcome) = read(PolicyReport, text.as_bytes());
            assert!(!outcome.expect("reports").complete);
            assert!(kept.counts()[0] >= 1);
        }
        let good = report(r#"{"policy":"p","result":"pass"}"#, r#","scope":{"kind":"Pod","name":"x"},"summary":{"pass":1}"#);
        mangle(PolicyReport, format!(r#"{{"kind":"List","items":[{good}]}}"#).as_bytes());
        let (kept, outcome) =
            read(PolicyReport, format!(r#"{{"kind":"List","items":[{good},{{"kind":"Pod","apiVersion":"v1"}}]}}"#).as_bytes());
        assert!(!outcome.expect("reports").complete);
        assert_eq!(kept.kinds(), ["wrong_format"]);
    }

    #[test]
    fn yaml_is_read_too_and_a_bad_document_costs_itself() {
        let yaml = "apiVersion: openreports.io/v1alpha1\nkind: Report\nmetadata: {name: r, namespace: n}\nresults:\n- policy: p\n  result: pass\n  timestamp: {seconds: 1.666094801e+09, nanos: 0}\n";
        let (kept, outcome) = read(PolicyReport, format!("{yaml}---\nkind: [\n---\n{yaml}").as_bytes());
        assert!(!outcome.expect("reports").complete);
        assert_eq!((kept.counts()[0], kept.kinds()), (2, vec!["malformed"]));
        assert_eq!(kept.findings[0].observed_at.map(|m| m.to_string()).as_deref(), Some("2022-10-18T12:06:41Z"));
    }

    #[test]
    fn strangers_and_nothing_are_refused() {
        for (text, words) in [
            ("", "empty"),
            ("# nothing\n---\n", "empty"),
            (r#"{"kind":"List","items":[]}"#, "no policy was evaluated"),
            (r#"{"kind":"Pod","apiVersion":"v1"}"#, "the kind Pod"),
            ("kind: K8sRequiredLabels\napiVersion: constraints.gatekeeper.sh/v1beta1\n", "gatekeeper"),
            (
                r#"{"kind":"List","items":[{"apiVersion":"aquasecurity.github.io/v1alpha1","kind":"ConfigAuditReport","report":{}}]}"#,
                "trivy_operator",
            ),
            ("just text", "no object"),
            (r#"{"runs":[],"version":"2.1.0"}"#, "sarif"),
            ("[1]", "nothing in it"),
        ] {
            let (_, outcome) = read(PolicyReport, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
