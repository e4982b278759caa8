//! What the readers of cloud sources make of the unhappy and the subtle: nothing turns green.

use bornright::domain::{CheckResult, Finding, Lifecycle, Problem, ProblemKind, Severity};
use bornright::formats::{self, Context, Flow, Format, FormatError, FormatSpec, Limits, Sink};

#[derive(Default)]
struct Kept {
    findings: Vec<(String, String, CheckResult, Lifecycle, u64)>,
    fields: Vec<Vec<(String, String)>>,
    refs: Vec<String>,
    problems: Vec<(ProblemKind, String)>,
}

impl Sink for Kept {
    fn finding(&mut self, f: &Finding<'_>) -> Flow {
        if f.is_mark() {
            return Flow::More;
        }
        self.findings.push((f.check.to_string(), f.resource.id.to_string(), f.result, f.lifecycle, f.count));
        self.fields.push(f.fields.0.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
        self.refs.extend(f.control_refs.iter().map(|r| format!("{} {} {}", r.framework, r.version.as_deref().unwrap_or("-"), r.id)));
        Flow::More
    }
    fn problem(&mut self, p: Problem) {
        self.problems.push((p.kind, p.message));
    }
}

impl Kept {
    fn results(&self) -> Vec<(CheckResult, Lifecycle)> {
        self.findings.iter().map(|(_, _, r, l, _)| (*r, *l)).collect()
    }
    fn kinds(&self) -> Vec<ProblemKind> {
        self.problems.iter().map(|(k, _)| *k).collect()
    }
    fn field(&self, n: usize, name: &str) -> &str {
        self.fields[n].iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
    }
}

fn read_named(format: Format, source: &str, text: &str) -> (Kept, Result<bool, FormatError>) {
    let ctx = Context { source, limits: Limits::default(), want_raw: false };
    let mut kept = Kept::default();
    let outcome = formats::read(&FormatSpec::Builtin(format), &mut text.as_bytes(), &ctx, &mut kept);
    (kept, outcome.map(|o| o.complete))
}

fn read(format: Format, text: &str) -> (Kept, Result<bool, FormatError>) {
    read_named(format, "t", text)
}

use CheckResult::{Error, Fail, Manual, NotApplicable, NotAssessed, Pass};
use Lifecycle::{Active, Inactive, Suppressed};

const CLOUD: [Format; 15] = [
    Format::AwsConfig,
    Format::AzureAssessments,
    Format::AzureRegulatory,
    Format::AzurePolicy,
    Format::Sentinel,
    Format::Scc,
    Format::Wiz,
    Format::Fugue,
    Format::SnykIac,
    Format::Gatekeeper,
    Format::TrivyOperator,
    Format::ComplianceOperator,
    Format::Powerpipe,
    Format::Github,
    Format::Oscal,
];

#[test]
fn what_is_not_the_format_is_never_complete() {
    for format in CLOUD.into_iter().chain([Format::CloudCustodian]) {
        for text in [
            "",
            " \n",
            "<html><body>Sign in</body></html>",
            "null",
            "42",
            "\"text\"",
            "[1,2,3]",
            "[[]]",
            "{\"value\":{}}",
            "{\"hello\":\"world\"}",
            "{\"hello\":\"world\"}\n{\"hello\":\"world\"}\n",
            "[{\"hello\":[1]}]",
            "{\"value\":[{\"id\":7}]",
            "{\"error\":{\"code\":\"AuthorizationFailed\",\"message\":\"no\"}}",
            "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}",
            "{\"errors\":[{\"message\":\"no\",\"extensions\":{\"code\":\"UNAUTHENTICATED\"}}],\"data\":null}",
            "{\"message\":\"Not Found\",\"documentation_url\":\"https://docs.github.com\"}",
            "\u{0}\u{1}\u{2}",
        ] {
            let (kept, outcome) = read(format, text);
            assert!(kept.findings.is_empty(), "{format}: {text:?} gave {:?}", kept.findings);
            assert!(!matches!(outcome, Ok(true)), "{format}: {text:?} is complete");
        }
    }
}

#[test]
fn a_page_without_records_is_a_problem_where_passes_are_listed() {
    for (format, text) in [
        (Format::AwsConfig, r#"{"EvaluationResults":[]}"#),
        (Format::AzureAssessments, r#"{"value":[]}"#),
        (Format::AzurePolicy, r#"{"@odata.nextLink":null,"@odata.count":0,"value":[]}"#),
        (Format::Wiz, r#"{"data":{"configurationFindings":{"nodes":[],"pageInfo":{"hasNextPage":false,"endCursor":"x"}}}}"#),
        (Format::Fugue, r#"{"items":[],"is_truncated":false}"#),
    ] {
        let (kept, outcome) = read(format, text);
        assert_eq!(kept.kinds(), [ProblemKind::Empty], "{format}");
        assert!(!outcome.expect("its format"), "{format}");
    }
    // Of violations, none is good news.
    for (format, text) in [
        (Format::Scc, r#"{"listFindingsResults":[],"totalSize":0}"#),
        (Format::Scc, "{}"),
        (Format::Sentinel, r#"{"value":[]}"#),
        (Format::Gatekeeper, r#"{"apiVersion":"v1","kind":"List","items":[]}"#),
    ] {
        let (kept, outcome) = read(format, text);
        assert_eq!(kept.kinds(), [], "{format}");
        assert!(outcome.expect("its format"), "{format}: {text}");
    }
}

#[test]
fn an_empty_page_may_name_a_next_one() {
    let pages = r#"{"value":[],"nextLink":"https://management.azure.com/next"}
{"value":[{"id":"/subscriptions/S/resourceGroups/g/providers/Microsoft.X/y/z/providers/Microsoft.Security/assessments/k","name":"k","properties":{"status":{"code":"unhealthy"}}}]}"#;
    let (kept, outcome) = read(Format::AzureAssessments, pages);
    assert_eq!(kept.findings[0].1, "/subscriptions/S/resourceGroups/g/providers/Microsoft.X/y/z");
    assert_eq!(kept.field(0, "subscription"), "S");
    assert!(outcome.expect("read") && kept.problems.is_empty());
    let (kept, outcome) = read(Format::AzureAssessments, pages.lines().next().expect("a line"));
    assert_eq!(kept.kinds(), [ProblemKind::Empty, ProblemKind::Truncated]);
    assert!(!outcome.expect("read"));
}

#[test]
fn one_bad_record_costs_itself() {
    let row = |id: &str, word: &str| {
        format!(
            r#"{{"EvaluationResultIdentifier":{{"EvaluationResultQualifier":{{"ConfigRuleName":"r","ResourceType":"T","ResourceId":"{id}"}}}},"ComplianceType":"{word}","ResultRecordedTime":1590552925.613}}"#
        )
    };
    let text = format!(
        r#"{{"EvaluationResults":[{},{},{{"EvaluationResultIdentifier":7}},{},{}]}}"#,
        row("a", "COMPLIANT"),
        row("b", "SOMETHING_NEW"),
        row("", "COMPLIANT"),
        row("c", "INSUFFICIENT_DATA")
    );
    let (kept, outcome) = read(Format::AwsConfig, &text);
    assert_eq!(kept.results(), [(Pass, Active), (NotAssessed, Active)]);
    assert_eq!(kept.problems.len(), 3);
    assert!(!outcome.expect("read"));
}

#[test]
fn suppression_and_verdict_stay_apart() {
    let assessment = |code: &str, cause: &str| {
        format!(
            r#"{{"id":"/subscriptions/s/x/providers/Microsoft.Security/assessments/k","name":"k","properties":{{"resourceDetails":{{"Source":"Azure","Id":"/subscriptions/s/x"}},"status":{{"code":"{code}","cause":"{cause}"}}}}}}"#
        )
    };
    let text = format!(
        r#"{{"data":[{},{},{},{}]}}"#,
        assessment("NotApplicable", "Exempt"),
        assessment("NotApplicable", "OffByPolicy"),
        assessment("NotApplicable", "ResourceNotFound"),
        assessment("Healthy", "")
    );
    let (kept, _) = read(Format::AzureAssessments, &text);
    assert_eq!(kept.results(), [(NotAssessed, Suppressed), (NotApplicable, Active), (NotApplicable, Inactive), (Pass, Active)]);

    let finding = |state: &str, mute: &str, class: &str| {
        format!(
            r#"{{"finding":{{"category":"C","resourceName":"//x/{state}{mute}","state":"{state}","mute":"{mute}","findingClass":"{class}"}}}}"#
        )
    };
    let text = [
        finding("ACTIVE", "MUTED", "MISCONFIGURATION"),
        finding("INACTIVE", "MUTED", "MISCONFIGURATION"),
        finding("ACTIVE", "UNMUTED", "THREAT"),
        finding("ACTIVE", "UNMUTED", "SCC_ERROR"),
    ]
    .join("\n");
    let (kept, outcome) = read(Format::Scc, &text);
    assert_eq!(kept.results(), [(Fail, Suppressed), (Fail, Inactive), (Fail, Active), (Error, Active)]);
    assert_eq!(kept.field(0, "invalid"), "");
    assert!(!kept.field(2, "invalid").is_empty());
    assert_eq!(kept.kinds(), [ProblemKind::ScannerError]);
    assert!(!outcome.expect("read"));
}

#[test]
fn a_summary_of_violations_gives_numbers() {
    let text = r#"{"listFindingsResults":[{"finding":{"category":"P","resourceName":"//x","state":"ACTIVE","policyViolationSummary":{"policyViolationsCount":"3","conformantResourcesCount":"97","evaluationErrorsCount":"1","outOfScopeResourcesCount":"2"}}}]}"#;
    let (kept, _) = read(Format::Scc, text);
    let counts: Vec<(CheckResult, u64)> = kept.findings.iter().map(|f| (f.2, f.4)).collect();
    assert_eq!(counts, [(Pass, 97), (Fail, 3), (Error, 1), (NotApplicable, 2)]);
}

#[test]
fn wiz_rows_without_a_requirement_number_name_none() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/wiz/CONSTRUCTED.configurationFindings.page1.json"))
            .expect("a fixture");
    let (kept, _) = read(Format::Wiz, &text);
    assert_eq!(
        &kept.refs[..2],
        ["NIST SP 800-53 Revision 5 - SC-28", "CIS AWS Database Services Benchmark v1.0.0 - 3.5"],
        "{:?}",
        kept.refs
    );
    assert_eq!(kept.field(0, "account"), "998231069301");
}

fn custodian(metadata: &str, resources: Option<&str>) -> (Kept, Result<bool, FormatError>) {
    let mut text = String::new();
    let mut envelope = formats::custodian_envelope(metadata.as_bytes(), resources.map(str::as_bytes));
    std::io::Read::read_to_string(&mut envelope, &mut text).expect("in memory");
    read(Format::CloudCustodian, &text)
}

fn metadata(filters: &str, metric: &str, value: u64) -> String {
    format!(
        r#"{{"policy":{{"name":"p","resource":"aws.ec2","metadata":{{"severity":"high","controls":["nist-SC-7"]}},"filters":{filters}}},"version":"0.9.53","execution":{{"end_time":1795404849.44}},"config":{{"account_id":"417205518860","region":"eu-west-1"}},"metrics":[{{"MetricName":"{metric}","Value":{value}}}]}}"#
    )
}

#[test]
fn a_policy_that_failed_is_not_a_policy_without_matches() {
    let good = metadata("[\"x\"]", "ResourceCount", 0);
    let failed = metadata("[\"x\"]", "PolicyException", 1);
    let one = r#"[{"InstanceId":"i-1"}]"#;
    let (kept, outcome) = custodian(&good, Some("[]"));
    assert!(kept.findings.is_empty() && kept.problems.is_empty() && outcome.expect("read"));

    // No list; a list that an earlier run left; a list that does not agree; a list cut off.
    for (metadata, resources, kind) in [
        (&good, None, ProblemKind::ScannerError),
        (&failed, None, ProblemKind::ScannerError),
        (&failed, Some(one), ProblemKind::ScannerError),
        (&failed, Some("[]"), ProblemKind::ScannerError),
        (&good, Some(one), ProblemKind::Mismatch),
        (&good, Some("[{\"InstanceId\""), ProblemKind::Malformed),
    ] {
        let (kept, outcome) = custodian(metadata, resources);
        assert!(kept.kinds().contains(&kind), "{resources:?}: {:?}", kept.problems);
        assert!(!outcome.expect("read"), "{resources:?}");
        assert!(kind == ProblemKind::Mismatch || kept.findings.is_empty(), "{resources:?}");
    }
}

#[test]
fn a_matched_resource_has_the_identity_that_others_give_it() {
    let (kept, outcome) = custodian(&metadata("[\"x\"]", "ResourceCount", 1), Some(r#"[{"InstanceId":"i-1","KmsKeyId":"arn:aws:kms:x"}]"#));
    assert_eq!(kept.findings, [("p".to_owned(), "arn:aws:ec2:eu-west-1:417205518860:instance/i-1".to_owned(), Fail, Active, 1)]);
    assert_eq!(kept.refs, ["nist - SC-7"]);
    assert!(outcome.expect("read"));
    // Without filters it is the population and no violation.
    let (kept, _) = custodian(&metadata("[]", "ResourceCount", 1), Some(r#"[{"InstanceId":"i-1"}]"#));
    assert_eq!(kept.results(), [(NotAssessed, Active)]);
    // The list alone: its policy is the directory's name, and whether the policy ran is unknown.
    let (kept, outcome) = read_named(Format::CloudCustodian, "out/my-policy/resources.json", r#"[{"Arn":"arn:aws:iam::1:role/r"}]"#);
    assert_eq!((kept.findings[0].0.as_str(), kept.findings[0].2), ("my-policy", Fail));
    assert!(!outcome.expect("read"));
}

#[test]
fn a_constraint_that_was_never_audited_says_nothing() {
    let constraint = |status: &str| {
        format!(
            r#"{{"apiVersion":"constraints.gatekeeper.sh/v1beta1","kind":"K","metadata":{{"name":"c","generation":2}},"status":{status}}}"#
        )
    };
    for status in ["{}", "null", r#"{"byPod":[{"id":"a","observedGeneration":2}]}"#] {
        let (kept, outcome) = read(Format::Gatekeeper, &constraint(status));
        assert_eq!(kept.kinds(), [ProblemKind::Incomplete], "{status}");
        assert!(!outcome.expect("read"), "{status}");
    }
    let (kept, outcome) = read(Format::Gatekeeper, &constraint(r#"{"auditTimestamp":"2024-05-14T07:00:05Z"}"#));
    assert!(kept.problems.is_empty() && kept.findings.is_empty() && outcome.expect("read"));
    let stale =
        r#"{"auditTimestamp":"2024-05-14T07:00:05Z","byPod":[{"id":"a","observedGeneration":1,"errors":[{"message":"no template"}]}]}"#;
    let (kept, outcome) = read(Format::Gatekeeper, &constraint(stale));
    assert_eq!(kept.kinds(), [ProblemKind::ScannerError, ProblemKind::Incomplete]);
    assert!(!outcome.expect("read"));
    let more = r#"{"auditTimestamp":"2024-05-14T07:00:05Z","totalViolations":57,"violations":[{"kind":"Pod","name":"p","namespace":"n"}]}"#;
    let (kept, _) = read(Format::Gatekeeper, &constraint(more));
    assert_eq!(kept.findings[0].1, "/Pod/n/p");
    assert_eq!((kept.findings[1].1.as_str(), kept.findings[1].4), ("K/c", 56));
}

#[test]
fn yaml_documents_are_read_one_by_one() {
    let text = "apiVersion: constraints.gatekeeper.sh/v1beta1\nkind: K\nmetadata: {name: a}\nstatus: {auditTimestamp: \"2024-05-14T07:00:05Z\", violations: [{kind: Pod, name: p}]}\n---\nnot: [closed\n---\nkind: Other\n";
    let (kept, outcome) = read(Format::Gatekeeper, text);
    assert_eq!(kept.results(), [(Fail, Active)]);
    assert_eq!(kept.kinds(), [ProblemKind::Malformed, ProblemKind::WrongFormat]);
    assert!(!outcome.expect("read"));
}

#[test]
fn trivy_operator_summaries_that_contradict_their_rows_are_told() {
    let report = |checks: &str| {
        format!(
            r#"{{"apiVersion":"aquasecurity.github.io/v1alpha1","kind":"ConfigAuditReport","metadata":{{"labels":{{"trivy-operator.resource.kind":"Deployment","trivy-operator.resource.name":"web","trivy-operator.resource.namespace":"shop"}}}},"report":{{"summary":{{"highCount":2}},"checks":{checks}}}}}"#
        )
    };
    let (kept, outcome) = read(Format::TrivyOperator, &report("[]"));
    assert_eq!(kept.kinds(), [ProblemKind::Mismatch]);
    assert!(!outcome.expect("read"));
    let (kept, _) = read(
        Format::TrivyOperator,
        &report(r#"[{"checkID":"KSV001","success":true},{"checkID":"KSV002","success":false},{"checkID":"KSV003"}]"#),
    );
    assert_eq!(kept.results(), [(Pass, Active), (Fail, Active)]);
    assert_eq!(kept.findings[0].1, "apps/Deployment/shop/web");
    assert_eq!(kept.kinds(), [ProblemKind::Malformed]);
}

#[test]
fn github_404_fails_only_where_the_branch_is_known() {
    let body = r#"{"message":"Branch not protected","documentation_url":"https://docs.github.com/x","status":"404"}"#;
    let (kept, _) = read_named(Format::Github, "https://api.github.com/repos/acme/shop/branches/main/protection", body);
    assert_eq!(kept.findings[0].1, "github.com/acme/shop@main");
    assert_eq!(kept.results(), [(Fail, Active)]);
    let no_access = r#"{"message":"Not Found","documentation_url":"https://docs.github.com/x","status":"404"}"#;
    let (kept, outcome) = read_named(Format::Github, "https://api.github.com/repos/acme/shop/branches/main/protection", no_access);
    assert_eq!(kept.kinds(), [ProblemKind::Denied]);
    assert!(kept.findings.is_empty() && !outcome.expect("read"));
}

#[test]
fn snyk_files_that_could_not_be_tested_are_problems() {
    let text = r#"[{"ok":false,"code":1021,"error":"Failed to parse","path":"a.tf"},{"ok":true,"targetFile":"b.tf","infrastructureAsCodeIssues":[{"id":"S-1","path":["resource","aws_s3_bucket[b]","acl"],"isIgnored":true}],"infrastructureAsCodeSuccesses":[]}]"#;
    let (kept, outcome) = read(Format::SnykIac, text);
    assert_eq!(kept.kinds(), [ProblemKind::ScannerError]);
    assert_eq!(kept.findings[0].1, "b.tf:resource.aws_s3_bucket[b]");
    assert_eq!(kept.results(), [(Fail, Suppressed)]);
    assert!(!outcome.expect("read"));
}

#[test]
fn regulatory_numbers_stay_within_their_control() {
    let text = r#"{"value":[{"id":"/subscriptions/s/providers/Microsoft.Security/regulatoryComplianceStandards/PCI/regulatoryComplianceControls/1.1/regulatoryComplianceAssessments/a","properties":{"state":"failed","passedResources":7,"failedResources":4,"skippedResources":2,"unsupportedResources":1}},{"id":"/subscriptions/s/providers/Microsoft.Security/regulatoryComplianceStandards/PCI/regulatoryComplianceControls/2","properties":{"state":"unsupported","passedAssessments":0,"failedAssessments":0}}]}"#;
    let (kept, outcome) = read(Format::AzureRegulatory, text);
    let rows: Vec<(&str, CheckResult, u64)> = kept.findings.iter().map(|f| (f.0.as_str(), f.2, f.4)).collect();
    assert_eq!(
        rows,
        [("PCI/1.1/a", Pass, 7), ("PCI/1.1/a", Fail, 4), ("PCI/1.1/a", NotAssessed, 2), ("PCI/1.1/a", Manual, 1), ("PCI/2", Manual, 0)]
    );
    assert!(outcome.expect("read"));
}

#[test]
fn defender_severity_is_joined_from_the_metadata_and_metadata_alone_is_no_evidence() {
    let metadata = r#"{"value":[{"id":"/providers/Microsoft.Security/assessmentMetadata/KEY","name":"KEY","type":"Microsoft.Security/assessmentMetadata","properties":{"displayName":"Disks are encrypted","severity":"High","categories":["Compute"]}}]}"#;
    let assessments = r#"{"value":[{"id":"/subscriptions/s/x/providers/Microsoft.Security/assessments/key","name":"key","properties":{"resourceDetails":{"Source":"Azure","Id":"/subscriptions/s/X"},"status":{"code":"Unhealthy"}}}]}"#;
    let ctx = Context { source: "t", limits: Limits::default(), want_raw: false };
    struct Severities(Vec<(Option<Severity>, String)>);
    impl Sink for Severities {
        fn finding(&mut self, f: &Finding<'_>) -> Flow {
            self.0.push((f.severity, f.title.as_deref().unwrap_or_default().to_owned()));
            Flow::More
        }
        fn problem(&mut self, p: Problem) {
            panic!("{p}");
        }
    }
    let mut kept = Severities(Vec::new());
    let text = format!("{metadata}\n{assessments}");
    let outcome = formats::read(&FormatSpec::Builtin(Format::AzureAssessments), &mut text.as_bytes(), &ctx, &mut kept).expect("read");
    assert_eq!(kept.0, [(Some(Severity::High), "Disks are encrypted".to_owned())]);
    assert!(outcome.complete);
    // A subscription of which nothing is assessed must not pass for one in which all is well.
    for text in [metadata.to_owned(), format!("{metadata}\n{{\"value\":[]}}")] {
        let (kept, outcome) = read(Format::AzureAssessments, &text);
        assert_eq!(kept.kinds(), [ProblemKind::Empty], "{text}");
        assert!(!outcome.expect("read"), "{text}");
    }
}

#[test]
fn resource_graph_that_truncated_its_answer_is_not_complete() {
    let row = r#"{"id":"/subscriptions/s/x/providers/microsoft.security/assessments/k","name":"k","properties":{"resourceDetails":{"Source":"Azure","Id":"/subscriptions/s/x"},"status":{"code":"Healthy"}}}"#;
    let page = |more: &str| format!(r#"{{"totalRecords":2,"count":1,"data":[{row}],"facets":[]{more}}}"#);
    let (kept, outcome) = read(Format::AzureAssessments, &page(r#","resultTruncated":"true""#));
    assert_eq!(kept.kinds(), [ProblemKind::Truncated]);
    assert!(!outcome.expect("read"));
    let whole = [page(r#","resultTruncated":"true","$skipToken":"t""#), page(r#","resultTruncated":"false""#)].join("\n");
    let (kept, outcome) = read(Format::AzureAssessments, &whole);
    assert!(kept.problems.is_empty() && outcome.expect("read"), "{:?}", kept.problems);
}

#[test]
fn an_incident_tells_its_ages_and_never_passes() {
    let incident = |status: &str, owner: &str| {
        format!(
            r#"{{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w/providers/Microsoft.SecurityInsights/incidents/{status}","properties":{{"incidentNumber":7,"status":"{status}","severity":"High","createdTimeUtc":"2024-01-01T00:00:00Z","lastModifiedTimeUtc":"2024-01-01T02:00:00Z","owner":{{"email":{owner}}},"additionalData":{{"alertsCount":3}}}}}}"#
        )
    };
    let text =
        format!(r#"{{"value":[{},{},{}]}}"#, incident("New", "null"), incident("Active", "\"x@y.example\""), incident("Closed", "null"));
    let (kept, outcome) = read(Format::Sentinel, &text);
    assert_eq!(kept.results(), [(Fail, Active), (Fail, Active), (Fail, Inactive)]);
    assert!(outcome.expect("read"));
    let fields = ["status", "owner", "created_at", "acknowledged_before", "closed_at", "seconds_to_close", "alerts"];
    let of = |n: usize| fields.map(|f| kept.field(n, f));
    assert_eq!(of(0), ["New", "unassigned", "2024-01-01T00:00:00Z", "", "", "", "3"]);
    assert_eq!(of(1), ["Active", "assigned", "2024-01-01T00:00:00Z", "2024-01-01T02:00:00Z", "", "", "3"]);
    assert_eq!(of(2)[3..6], ["2024-01-01T02:00:00Z", "2024-01-01T02:00:00Z", "7200"]);
    assert!(!kept.fields.iter().flatten().any(|(_, v)| v.contains('@')), "nobody's address: {:?}", kept.fields);

    let alert = |status: &str| {
        format!(
            r#"{{"id":"/subscriptions/s/x/workspaces/w/providers/Microsoft.SecurityInsights/Entities/{status}","kind":"SecurityAlert","properties":{{"systemAlertId":"a","alertType":"T","severity":"Low","status":"{status}"}}}}"#
        )
    };
    let text = format!(r#"{{"value":[{},{},{}]}}"#, alert("InProgress"), alert("Dismissed"), alert("Odd"));
    let (kept, outcome) = read(Format::Sentinel, &text);
    assert_eq!(kept.results(), [(Fail, Active), (Fail, Inactive)]);
    assert_eq!((kept.findings[0].0.as_str(), kept.field(0, "alert")), ("T", "true"));
    assert_eq!(kept.kinds(), [ProblemKind::Malformed]);
    assert!(!outcome.expect("read"));
}

#[test]
fn google_leaves_out_what_is_empty_even_on_a_page_of_the_middle() {
    let row = r#"{"finding":{"category":"C","resourceName":"//x","state":"ACTIVE"}}"#;
    let (kept, outcome) =
        read(Format::Scc, &format!("{{\"nextPageToken\":\"a\"}}\n{{\"listFindingsResults\":[{row}],\"nextPageToken\":\"b\"}}\n{{}}"));
    assert_eq!((kept.findings.len(), kept.problems.len()), (1, 0), "{:?}", kept.problems);
    assert!(outcome.expect("read"));
    let (kept, outcome) = read(Format::Scc, &format!("{{\"listFindingsResults\":[{row}]}}\n{{\"nextPageToken\":\"b\"}}"));
    assert_eq!(kept.kinds(), [ProblemKind::Truncated]);
    assert!(!outcome.expect("read"));
}

#[test]
fn detectors_that_are_on_are_marked_and_a_service_that_is_off_is_a_problem() {
    struct Marks(Vec<String>, u64);
    impl Sink for Marks {
        fn finding(&mut self, f: &Finding<'_>) -> Flow {
            assert!(f.is_mark());
            self.0.push(f.check.to_string());
            Flow::More
        }
        fn problem(&mut self, _: Problem) {
            self.1 += 1;
        }
    }
    let ctx = Context { source: "t", limits: Limits::default(), want_raw: false };
    let service = |state: &str| {
        format!(
            r#"{{"name":"projects/p/locations/global/securityCenterServices/security-health-analytics","effectiveEnablementState":"{state}","modules":{{"PUBLIC_BUCKET_ACL":{{"effectiveEnablementState":"ENABLED"}},"OPEN_FIREWALL":{{"effectiveEnablementState":"DISABLED"}}}}}}"#
        )
    };
    for (state, marks, problems) in [("ENABLED", vec!["PUBLIC_BUCKET_ACL"], 0), ("DISABLED", vec![], 1)] {
        let mut kept = Marks(Vec::new(), 0);
        let text = format!("{}\n{{}}", service(state));
        let outcome = formats::read(&FormatSpec::Builtin(Format::Scc), &mut text.as_bytes(), &ctx, &mut kept).expect("read");
        assert_eq!((kept.0, kept.1), (marks.into_iter().map(str::to_owned).collect(), problems), "{state}");
        assert_eq!(outcome.complete, problems == 0);
    }
}

#[test]
fn a_wrong_format_says_what_it_looks_like() {
    let scc = r#"{"listFindingsResults":[{"finding":{"category":"C","resourceName":"//x","state":"ACTIVE"}}]}"#;
    let (_, outcome) = read(Format::AwsConfig, scc);
    let message = outcome.expect_err("wrong").message;
    assert!(message.contains("found `listFindingsResults`; it looks like scc") || message.ends_with("it looks like scc"), "{message}");
    let (_, outcome) = read(Format::Wiz, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n");
    assert!(outcome.expect_err("wrong").message.ends_with("it looks like a Kubernetes custom resource definition"));
}
