//! What OCSF, ASFF and native documents say, in known numbers, and what becomes of documents that are not as they should be.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bornright::domain::{CheckResult, Finding, Lifecycle, Moment, Problem, ProblemKind, RunOutcome, Severity};
use bornright::formats::summary::Summary;
use bornright::formats::{Context, Flow, Format, FormatError, FormatSpec, Limits, Sink, read};
use std::collections::BTreeMap;
use std::io::Read;

/// Keeps everything.
#[derive(Default)]
struct Kept {
    findings: Vec<Finding<'static>>,
    problems: Vec<Problem>,
}

impl Sink for Kept {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        self.findings.push(owned(finding));
        Flow::More
    }
    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

fn owned(f: &Finding<'_>) -> Finding<'static> {
    use bornright::domain::{ControlRef, Fields, ResourceRef};
    use std::borrow::Cow;
    fn own(text: impl AsRef<str>) -> Cow<'static, str> {
        Cow::Owned(text.as_ref().to_owned())
    }
    Finding {
        check: own(&f.check),
        resource: ResourceRef { id: own(&f.resource.id), kind: f.resource.kind.as_ref().map(own), name: f.resource.name.as_ref().map(own) },
        result: f.result,
        lifecycle: f.lifecycle,
        severity: f.severity,
        observed_at: f.observed_at,
        fields: Fields(f.fields.0.iter().map(|(k, v)| (own(k), own(v))).collect()),
        title: f.title.as_ref().map(own),
        message: f.message.as_ref().map(own),
        control_refs: f
            .control_refs
            .iter()
            .map(|r| ControlRef { framework: own(&r.framework), version: r.version.as_ref().map(own), id: own(&r.id) })
            .collect(),
        count: f.count,
        aggregate: f.aggregate,
        raw: None,
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/formats/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut out).expect("a good gzip file");
    out
}

fn read_into(format: Format, bytes: &[u8], sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let ctx = Context { source: "test", limits: Limits::default(), want_raw: false };
    let mut input = bytes;
    read(&FormatSpec::Builtin(format), &mut input, &ctx, sink)
}

fn all(format: Format, bytes: &[u8]) -> (Kept, RunOutcome) {
    let mut kept = Kept::default();
    let outcome = read_into(format, bytes, &mut kept).unwrap();
    (kept, outcome)
}

/// `numbers`: pass, fail, error, manual, not applicable, not assessed; suppressed, inactive; resources, checks.
#[track_caller]
fn check(format: Format, bytes: &[u8], numbers: [u64; 10], problems: u64, complete: bool) {
    let mut summary = Summary::new();
    let outcome = read_into(format, bytes, &mut summary).unwrap();
    let r = summary.results;
    let found = [r[0], r[1], r[2], r[3], r[4], r[5], summary.suppressed, summary.inactive, summary.resources(), summary.checks()];
    assert_eq!(found, numbers);
    assert_eq!(summary.findings, r.iter().sum::<u64>());
    assert_eq!((summary.problems, outcome.complete), (problems, complete));
}

#[test]
fn counts_of_prowler_and_security_hub_v2() {
    let ocsf = |name: &str, numbers, complete| check(Format::Ocsf, &fixture(&format!("ocsf/{name}")), numbers, 0, complete);
    ocsf("v3.native.many_vuln.json", [0, 3, 0, 0, 0, 0, 0, 0, 2, 3], true);
    ocsf("v4.many_vuln.ocsf.json", [0, 3, 0, 0, 0, 0, 1, 0, 3, 3], true);
    ocsf("v4.after_4_5_0.many_vuln.ocsf.json", [0, 3, 0, 0, 0, 0, 1, 0, 3, 3], true);
    ocsf("v5.aws.ocsf.json", [0, 2, 0, 3, 0, 0, 0, 0, 2, 5], true);
    ocsf("v5.azure.dd.ocsf.json", [0, 3, 0, 0, 0, 0, 0, 0, 2, 3], true);
    ocsf("v5.kubernetes.ocsf.json", [1, 5, 0, 0, 0, 0, 0, 0, 1, 6], true);
    // The numbers of the scan's README.
    ocsf("prowler-5.46-reduced.ocsf.json.gz", [1306, 844, 0, 5, 0, 0, 0, 0, 283, 183], true);
    // A page that says that another follows is not the whole answer.
    ocsf("constructed.GetFindingsV2.page1.json", [1, 1, 0, 0, 0, 0, 0, 0, 2, 2], false);
    ocsf("constructed.GetFindingsV2.page2.json", [0, 1, 0, 0, 0, 0, 1, 0, 1, 1], true);
    let pages = [fixture("ocsf/constructed.GetFindingsV2.page1.json"), fixture("ocsf/constructed.GetFindingsV2.page2.json")].concat();
    check(Format::Ocsf, &pages, [1, 2, 0, 0, 0, 0, 1, 0, 3, 3], 0, true);
}

#[test]
fn counts_of_security_hub() {
    let asff = |name: &str, numbers, complete| check(Format::Asff, &fixture(&format!("asff/{name}")), numbers, 0, complete);
    asff("GetFindings.awscli-archived-passed.json", [1, 0, 0, 0, 0, 0, 0, 1, 1, 1], false);
    asff("GetFindings.config_many_findings.json", [3, 0, 0, 0, 0, 0, 0, 0, 1, 3], true);
    asff("GetFindings.config_multiple_resources.json", [0, 5, 0, 0, 0, 0, 0, 0, 5, 2], true);
    asff("GetFindings.config_one_finding_active.json", [0, 1, 0, 0, 0, 0, 0, 0, 1, 1], true);
    asff("GetFindings.instance_findings_filter.json", [0, 1, 0, 0, 0, 0, 0, 0, 1, 1], true);
    asff("GetFindings.heimdall_asff_sample.json.gz", [1, 17, 0, 0, 0, 0, 0, 0, 2, 18], true);
    asff("constructed.GetFindings.consolidated.page1.json", [1, 2, 1, 0, 1, 0, 1, 0, 4, 4], false);
    asff("constructed.GetFindings.consolidated.page2.json", [0, 2, 0, 0, 0, 0, 0, 1, 2, 2], true);
    asff("prowler-5.46-six.asff.json", [3, 3, 0, 0, 0, 0, 0, 0, 4, 3], true);
    asff("securityhub-moto-last-two-pages.json.gz", [104, 44, 0, 0, 0, 0, 0, 0, 75, 14], true);
    // Findings of GuardDuty and Inspector are about no control: nothing was said, so nothing is complete, and nothing is wrong.
    asff("GetFindings.guardduty.json", [0; 10], false);
    asff("GetFindings.missing_account_id.json", [0; 10], false);
}

/// Prowler rolls its own findings out by framework and requirement; ours, by `control_refs`, are the same row for row.
#[test]
fn control_refs_give_prowlers_own_compliance_results() {
    type Rows = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;
    let (kept, _) = all(Format::Ocsf, &fixture("ocsf/prowler-5.46-reduced.ocsf.json.gz"));
    let mut rows = Rows::new();
    for finding in &kept.findings {
        for r in &finding.control_refs {
            let word = match finding.result {
                CheckResult::Pass => "PASS",
                CheckResult::Fail => "FAIL",
                CheckResult::Manual => "MANUAL",
                other => panic!("{other}"),
            };
            let by_status = rows.entry(r.framework.to_string()).or_default().entry(r.id.to_string()).or_default();
            *by_status.entry(word.to_owned()).or_default() += 1;
        }
    }
    let expected: Rows = serde_json::from_slice(&fixture("ocsf/prowler-5.46-compliance.expected.json")).unwrap();
    assert_eq!(expected.len(), 4);
    assert_eq!(expected["CIS-3.0"].len(), 51);
    for (framework, requirements) in &expected {
        assert_eq!(&rows[framework], requirements, "{framework}");
    }
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn a_prowler_finding_in_full() {
    let (kept, outcome) = all(Format::Ocsf, &fixture("ocsf/prowler-5.46-three.ocsf.json"));
    let scanner = outcome.scanner.unwrap();
    assert_eq!((scanner.name.as_str(), scanner.version.as_str()), ("Prowler", "5.46.0"));
    assert_eq!(outcome.scanned_at, Some(Moment::from_seconds(1_795_403_602)));
    let f = &kept.findings[0];
    assert_eq!(f.check, "account_maintain_different_contact_details_to_security_billing_and_operations");
    assert_eq!(f.resource.id, "arn:aws:iam::417205518860:root");
    assert_eq!((f.resource.kind.as_deref(), f.resource.name.as_deref()), (Some("Other"), Some("417205518860")));
    assert_eq!((f.result, f.lifecycle, f.severity), (CheckResult::Fail, Lifecycle::Active, Some(Severity::Medium)));
    assert_eq!(f.observed_at, Some(Moment::from_seconds(1_795_403_602)));
    for (name, value) in
        [("account", "417205518860"), ("account_name", "master"), ("region", "eu-west-1"), ("provider", "aws"), ("service", "account")]
    {
        assert_eq!(f.fields.get(name), Some(value), "{name}");
    }
    assert!(f.title.as_deref().unwrap().starts_with("AWS account has distinct"));
    assert!(f.message.as_deref().unwrap().starts_with("SECURITY, BILLING and OPERATIONS"));
    assert_eq!(f.control_refs.len(), 9);
    assert_eq!((f.control_refs[6].framework.as_ref(), f.control_refs[6].id.as_ref()), ("ISO27001-2022", "A.5.6"));
}

#[test]
fn times_accounts_and_namespaces_of_each_prowler() {
    let (v3, _) = all(Format::Ocsf, &fixture("ocsf/v3.native.many_vuln.json"));
    assert_eq!(v3.findings[0].observed_at.unwrap().to_string(), "2023-04-25T23:49:42.744Z");
    assert_eq!(v3.findings[0].severity, Some(Severity::High));
    assert_eq!(v3.findings[1].resource.id, "999999999999", "an empty ARN is no id");
    assert_eq!(v3.findings[0].fields.get("service"), Some("acm"));
    assert!(v3.findings[0].control_refs.iter().any(|r| r.framework == "NIST-800-53-Revision-5" && r.id == "sc_7_12"));
    let (v4, _) = all(Format::Ocsf, &fixture("ocsf/v4.many_vuln.ocsf.json"));
    assert_eq!(v4.findings[0].observed_at.unwrap().to_string(), "2024-06-03T14:15:19.382Z", "event_time");
    assert_eq!(
        v4.findings.iter().map(|f| f.lifecycle).collect::<Vec<_>>(),
        [Lifecycle::Active, Lifecycle::Active, Lifecycle::Suppressed],
        "`New` beside status_id 3 is not suppressed"
    );
    let (azure, _) = all(Format::Ocsf, &fixture("ocsf/v5.azure.dd.ocsf.json"));
    assert_eq!(azure.findings[0].fields.get("subscription"), Some("<subscription_uid>"));
    let (k8s, _) = all(Format::Ocsf, &fixture("ocsf/v5.kubernetes.ocsf.json"));
    assert_eq!(k8s.findings[0].fields.get("provider"), Some("kubernetes"));
    assert_eq!(k8s.findings[0].fields.get("namespace"), Some("<namespace>"));
    assert_eq!(k8s.findings[0].fields.get("account"), None);
    let (hub, _) = all(Format::Ocsf, &fixture("ocsf/constructed.GetFindingsV2.page1.json"));
    assert_eq!(hub.findings[0].check, "SSM.1");
    assert_eq!(hub.findings[0].resource.id, "arn:aws:ec2:us-east-2:123456789012:instance/i-abcd1235cdef1234");
    assert_eq!(hub.findings[0].observed_at.unwrap().to_string(), "2025-06-19T22:26:55.643Z");
    assert_eq!(hub.findings[1].lifecycle, Lifecycle::Active, "Resolved is how a pass is called");
    assert_eq!(hub.findings[1].fields.get("region"), Some("global"));
    let refs: Vec<_> =
        hub.findings[1].control_refs.iter().map(|r| (r.framework.as_ref(), r.version.as_deref().unwrap_or(""), r.id.as_ref())).collect();
    assert_eq!(
        refs,
        [
            ("cis-aws-foundations-benchmark", "1.2.0", "IAM.1"),
            ("aws-foundational-security-best-practices", "1.0.0", "IAM.1"),
            ("CIS AWS Foundations Benchmark", "1.2.0", "1.22"),
        ]
    );
}

#[test]
fn identities_of_security_hub_controls() {
    let (kept, outcome) = all(Format::Asff, &fixture("asff/constructed.GetFindings.consolidated.page1.json"));
    assert_eq!(outcome.scanner.unwrap().name, "Security Hub");
    assert_eq!(kept.findings.iter().map(|f| f.check.as_ref()).collect::<Vec<_>>(), ["S3.12", "S3.12", "EC2.2", "CloudTrail.1", "RDS.3"]);
    assert_eq!(kept.findings[2].lifecycle, Lifecycle::Suppressed);
    assert_eq!(kept.findings[3].result, CheckResult::Error, "WARNING of Security Hub");
    assert_eq!(kept.findings[4].result, CheckResult::NotApplicable);
    assert_eq!(kept.findings[0].fields.get("account"), Some("111111111111"));
    let (kept, _) = all(Format::Asff, &fixture("asff/GetFindings.awscli-archived-passed.json"));
    let f = &kept.findings[0];
    assert_eq!((f.check.as_ref(), f.lifecycle), ("PCI.Lambda.2", Lifecycle::Inactive));
    let r = &f.control_refs.last().unwrap();
    assert_eq!((r.framework.as_ref(), r.version.as_deref(), r.id.as_ref()), ("pci-dss", Some("3.2.1"), "PCI.Lambda.2"));
    let (kept, _) = all(Format::Asff, &fixture("asff/GetFindings.heimdall_asff_sample.json.gz"));
    let r = &kept.findings[1].control_refs.last().unwrap();
    assert_eq!((r.framework.as_ref(), r.version.as_deref(), r.id.as_ref()), ("cis-aws-foundations-benchmark", Some("1.2.0"), "2.5"));
    let (kept, outcome) = all(Format::Asff, &fixture("asff/prowler-5.46-six.asff.json"));
    let scanner = outcome.scanner.unwrap();
    assert_eq!((scanner.name.as_str(), scanner.version.as_str()), ("Prowler", "5.46.0"));
    assert_eq!(kept.findings[0].check, "awslambda_function_not_publicly_accessible", "one name in ASFF and OCSF");
    let ids: Vec<_> = kept.findings[0].control_refs.iter().filter(|r| r.framework == "PCI-4.0").map(|r| r.id.as_ref()).collect();
    assert_eq!(ids, ["1.2.8.19", "1.3.1.22", "1.3.2.22", "1.4.2.20", "1.5.1.19", "10.3.2.13"]);
    let cut: Vec<_> = kept.findings[0].control_refs.iter().filter(|r| r.framework == "PCI-3.2.1").map(|r| r.id.as_ref()).collect();
    assert_eq!(
        cut,
        ["1.2", "1.2.1", "1.2.1.a", "1.2.1.b", "1.2.1.c", "1.3", "1.3.1", "1.3.2"],
        "`1.3` at the cut may be the beginning of another"
    );
}

fn ocsf_record(more: &str) -> String {
    format!(r#"{{"class_uid":2004,"metadata":{{"event_code":"c","product":{{"name":"Prowler"}}}},"resources":[{{"uid":"r"}}]{more}}}"#)
}

fn asff_record(more: &str) -> String {
    format!(r#"{{"SchemaVersion":"2018-10-08","ProductArn":"arn:aws:securityhub:eu-west-1::product/x/y","GeneratorId":"g"{more}}}"#)
}

#[test]
fn verdicts_of_ocsf() {
    use CheckResult::{Error, Fail, Manual, NotApplicable, NotAssessed, Pass};
    use Lifecycle::{Active, Inactive, Suppressed};
    let one = |more: &str| {
        let (kept, _) = all(Format::Ocsf, ocsf_record(more).as_bytes());
        assert_eq!((kept.findings.len(), kept.problems.len()), (1, 0), "{more}: {:?}", kept.problems);
        (kept.findings[0].result, kept.findings[0].lifecycle)
    };
    assert_eq!(one(r#","status_code":"PASS""#), (Pass, Active));
    assert_eq!(one(r#","status_code":"FAIL","status":"Suppressed","status_id":3"#), (Fail, Suppressed));
    assert_eq!(one(r#","status_code":"FAIL","status":"New","status_id":3"#), (Fail, Active));
    assert_eq!(one(r#","status_code":"FAIL","status_id":3"#), (Fail, Suppressed));
    assert_eq!(one(r#","status_code":"MANUAL","status":"Archived""#), (Manual, Inactive));
    assert_eq!(one(r#","status_code":"MUTED""#), (Fail, Suppressed));
    let class_2003 = |compliance: &str| {
        let text = ocsf_record(&format!(r#","compliance":{compliance}"#)).replace("2004", "2003");
        let (kept, _) = all(Format::Ocsf, text.as_bytes());
        kept.findings[0].result
    };
    assert_eq!(class_2003(r#"{"status":"Pass","status_id":3}"#), Pass, "words before numbers");
    assert_eq!(class_2003(r#"{"status_id":1}"#), Pass);
    assert_eq!(class_2003(r#"{"status_id":2}"#), Error);
    assert_eq!(class_2003(r#"{"status_id":3}"#), Fail);
    assert_eq!(class_2003(r#"{"status_id":0},"status_code":"MANUAL""#), Manual);
    assert_eq!(class_2003(r#"{"status_id":99,"status":"Not Applicable"}"#), NotApplicable);
    assert_eq!(class_2003(r#"{"status_id":99,"status":"Whatever"}"#), NotAssessed, "never a guess");
    assert_eq!(class_2003("{}"), NotAssessed);
    let (kept, _) = all(
        Format::Ocsf,
        ocsf_record(r#","compliance":{"status_id":3,"standards":["CIS-3.0"],"requirements":["1.4"],"control":"A long text","checks":[{"uid":"k"}]}"#)
            .replace("2004", "2003")
            .replace(r#""event_code":"c","#, "")
            .as_bytes(),
    );
    let f = &kept.findings[0];
    assert_eq!((f.check.as_ref(), f.control_refs[0].framework.as_ref(), f.control_refs[0].id.as_ref()), ("k", "CIS-3.0", "1.4"));
}

#[test]
fn events_that_are_no_verdict_are_left_out() {
    let vulnerability = ocsf_record("").replace("2004", "2002");
    let detection = ocsf_record(r#","status":"New""#).replace("Prowler", "GuardDuty");
    let finding = ocsf_record(r#","status_code":"PASS""#);
    let text = format!("[{vulnerability},{detection},{finding}]");
    check(Format::Ocsf, text.as_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 1, 1], 0, true);
    // Nothing but those: nothing was said about any control, so nothing may be concluded from what is not there.
    check(Format::Ocsf, vulnerability.as_bytes(), [0; 10], 0, false);
}

#[test]
fn what_a_finding_lacks_is_a_problem() {
    let problem = |format: Format, text: &str| {
        let (kept, outcome) = all(format, text.as_bytes());
        assert!(kept.findings.is_empty() && !outcome.complete, "{text}");
        assert_eq!(kept.problems.len(), 1, "{text}: {:?}", kept.problems);
        kept.problems[0].kind
    };
    use ProblemKind::{Empty, Incomplete, Malformed, Truncated};
    assert_eq!(problem(Format::Ocsf, &ocsf_record("")), Incomplete, "no verdict");
    assert_eq!(problem(Format::Ocsf, &ocsf_record(r#","status_code":"PERHAPS""#)), Malformed);
    assert_eq!(problem(Format::Ocsf, &ocsf_record(r#","status_code":"PASS""#).replace(r#"{"uid":"r"}"#, "")), Incomplete);
    assert_eq!(problem(Format::Ocsf, &ocsf_record(r#","status_code":"PASS""#).replace(r#""uid":"r""#, "")), Incomplete);
    assert_eq!(problem(Format::Ocsf, &ocsf_record(r#","status_code":"PASS""#).replace(r#""event_code":"c","#, "")), Incomplete);
    assert_eq!(problem(Format::Ocsf, &ocsf_record(r#","status_code":["PASS"]"#)), Malformed);
    let asff = |more: &str| problem(Format::Asff, &asff_record(more));
    assert_eq!(asff(r#","Compliance":{"Status":"PASSED"}"#), Incomplete, "no resources");
    assert_eq!(asff(r#","Compliance":{"Status":"PASSED"},"Resources":[{"Type":"x"}]"#), Incomplete);
    assert_eq!(asff(r#","Compliance":{"Status":"OK"},"Resources":[{"Id":"x"}]"#), Malformed);
    for format in [Format::Ocsf, Format::Asff, Format::Native] {
        assert_eq!(problem(format, ""), Empty);
        assert_eq!(problem(format, "[]"), Empty);
        assert_eq!(problem(format, "["), Truncated);
        assert_eq!(problem(format, "{\"class_uid\": 2004,"), Truncated);
    }
    assert_eq!(problem(Format::Asff, r#"{"Findings":[]}"#), Empty);
    assert_eq!(problem(Format::Asff, r#"{"Findings":[],"NextToken":null}"#), Empty);
    // An empty page that says that more follow is legal.
    check(Format::Asff, br#"{"Findings":[],"NextToken":"t"}"#, [0; 10], 0, false);
}

#[test]
fn verdicts_of_asff() {
    use CheckResult::{Error, Fail, NotApplicable, NotAssessed};
    use Lifecycle::{Active, Inactive, Suppressed};
    let one = |more: &str| {
        let (kept, _) =
            all(Format::Asff, asff_record(&format!(r#"{more},"Resources":[{{"Id":"AWS::::Account:123456789012"}}]"#)).as_bytes());
        assert_eq!((kept.findings.len(), kept.problems.len()), (1, 0), "{more}: {:?}", kept.problems);
        assert_eq!(kept.findings[0].fields.get("account"), Some("123456789012"), "from the resource");
        assert_eq!(kept.findings[0].fields.get("region"), Some("eu-west-1"), "from the product");
        (kept.findings[0].result, kept.findings[0].lifecycle, kept.findings[0].severity)
    };
    let status = |status: &str, more: &str| one(&format!(r#","Compliance":{{"Status":"{status}"}}{more}"#));
    assert_eq!(
        status("FAILED", r#","Workflow":{"Status":"SUPPRESSED"},"Severity":{"Normalized":70}"#),
        (Fail, Suppressed, Some(Severity::High))
    );
    assert_eq!(status("FAILED", r#","WorkflowState":"SUPPRESSED","RecordState":"ARCHIVED""#), (Fail, Inactive, None));
    assert_eq!(status("WARNING", r#","Severity":{"Label":"LOW","Normalized":99}"#), (Error, Active, Some(Severity::Low)));
    assert_eq!(status("NOT_AVAILABLE", ""), (NotAssessed, Active, None));
    assert_eq!(
        one(r#","Compliance":{"Status":"NOT_AVAILABLE","StatusReasons":[{"ReasonCode":"CONFIG_RETURNS_NOT_APPLICABLE"}]}"#),
        (NotApplicable, Active, None)
    );
    // A pass of nothing is counted as the source says it, and is no evidence.
    for (code, invalid) in [("CONFIG_EVALUATIONS_EMPTY", Some("no_evaluations")), ("OTHER", None)] {
        let compliance =
            format!(r#","Compliance":{{"Status":"PASSED","StatusReasons":[{{"ReasonCode":"{code}"}}]}},"Resources":[{{"Id":"r"}}]"#);
        let (kept, _) = all(Format::Asff, asff_record(&compliance).as_bytes());
        assert_eq!((kept.findings[0].result, kept.findings[0].fields.get("invalid")), (CheckResult::Pass, invalid));
    }
    let muted = asff_record(r#","Compliance":{"Status":"WARNING"},"Resources":[{"Id":"r"}]"#)
        .replace("product/x/y", "product/prowler/prowler")
        .replace(r#""g""#, r#""prowler-c""#);
    let (kept, _) = all(Format::Asff, muted.as_bytes());
    assert_eq!((kept.findings[0].check.as_ref(), kept.findings[0].result, kept.findings[0].lifecycle), ("c", Fail, Suppressed));
    // As EventBridge sends it.
    let event = format!(r#"{{"version":"0","detail-type":"Security Hub Findings - Imported","detail":{{"findings":[{muted}]}}}}"#);
    check(Format::Asff, event.as_bytes(), [0, 1, 0, 0, 0, 0, 1, 0, 1, 1], 0, true);
}

#[test]
fn our_own_findings() {
    check(Format::Native, &fixture("native/good.ndjson"), [42, 1, 0, 1, 1, 0, 1, 1, 5, 3], 0, true);
    let (kept, outcome) = all(Format::Native, &fixture("native/good.ndjson"));
    assert_eq!(outcome.scanned_at.unwrap().to_string(), "2026-11-23T06:00:00Z");
    let f = &kept.findings[1];
    assert_eq!((f.resource.kind.as_deref(), f.resource.name.as_deref()), (Some("Bucket"), Some("two")));
    assert_eq!((f.title.as_deref(), f.message.as_deref()), (Some("A \"title\""), Some("née")));
    assert_eq!((f.fields.get("region"), f.fields.0.len()), (Some("eu-west-1"), 2));
    assert_eq!((f.control_refs[0].version.as_deref(), f.control_refs[1].version.as_deref()), (Some("3.0"), None));
    assert_eq!((kept.findings[2].count, kept.findings[2].aggregate), (41, true));
    let (kept, _) = all(Format::Native, &fixture("native/wrong.ndjson"));
    use ProblemKind::{Incomplete, Malformed, Time};
    let problems: Vec<_> = kept.problems.iter().map(|p| (p.position.line, p.kind)).collect();
    assert_eq!(
        problems,
        [
            (2, Malformed),
            (3, Incomplete),
            (4, Malformed),
            (5, Malformed),
            (6, Malformed),
            (7, Malformed),
            (8, Time),
            (9, Malformed),
            (10, Incomplete),
            (11, Malformed),
        ]
    );
    // The first, the one whose time alone is wrong, and the last.
    assert_eq!(kept.findings.len(), 3);
    let message = &kept.problems[0].message;
    assert!(message.starts_with("`result` is `passed`, expected one of `pass`, `fail`"), "{message}");
}

#[test]
fn another_format_is_an_error_that_says_what_was_found() {
    let wrong = |format: Format, text: &str| {
        let mut kept = Kept::default();
        let error = read_into(format, text.as_bytes(), &mut kept).expect_err(text);
        assert_eq!(error.kind, ProblemKind::WrongFormat);
        assert!(kept.findings.is_empty());
        error.message
    };
    let asff = asff_record("");
    let message = wrong(Format::Ocsf, &format!("[{asff}]"));
    assert_eq!(
        message,
        "found an object with the keys `SchemaVersion`, `ProductArn`, `GeneratorId`, expected OCSF findings with `class_uid` (or Prowler v3's with `CheckID`); it looks like asff"
    );
    wrong(Format::Asff, &ocsf_record(r#","status_code":"PASS""#));
    wrong(Format::Native, &ocsf_record(r#","status_code":"PASS""#));
    wrong(Format::Asff, r#"{"message":"Too many requests"}"#);
    wrong(Format::Ocsf, "<?xml version=\"1.0\"?><Benchmark/>");
    wrong(Format::Ocsf, "check,result\ns3,pass\n");
    // One good record among others makes the others merely broken.
    let text = format!("{asff}\n{}\n", ocsf_record(r#","status_code":"PASS""#));
    check(Format::Ocsf, text.as_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 1, 1], 1, false);
}

#[test]
fn a_sink_that_has_enough_stops_the_reading() {
    struct Two(u64);
    impl Sink for Two {
        fn finding(&mut self, _: &Finding<'_>) -> Flow {
            self.0 += 1;
            if self.0 == 2 { Flow::Stop } else { Flow::More }
        }
        fn problem(&mut self, problem: Problem) {
            panic!("{problem}");
        }
    }
    for (format, name) in
        [(Format::Ocsf, "ocsf/v5.aws.ocsf.json"), (Format::Asff, "asff/prowler-5.46-six.asff.json"), (Format::Native, "native/good.ndjson")]
    {
        let mut sink = Two(0);
        let outcome = read_into(format, &fixture(name), &mut sink).unwrap();
        assert_eq!((sink.0, outcome.complete), (2, false), "{format}");
    }
}

#[test]
fn raw_records_are_handed_on_when_wanted() {
    struct Raws(Vec<String>);
    impl Sink for Raws {
        fn finding(&mut self, finding: &Finding<'_>) -> Flow {
            self.0.push(String::from_utf8(finding.raw.expect("wanted").to_vec()).unwrap());
            Flow::More
        }
        fn problem(&mut self, problem: Problem) {
            panic!("{problem}");
        }
    }
    let record = ocsf_record(r#","status_code":"PASS""#);
    let ctx = Context { source: "test", limits: Limits::default(), want_raw: true };
    let text = format!("[{record},\n{record}]");
    let mut sink = Raws(Vec::new());
    read(&FormatSpec::Builtin(Format::Ocsf), &mut text.as_bytes(), &ctx, &mut sink).unwrap();
    assert_eq!(sink.0, [record.clone(), record]);
}
