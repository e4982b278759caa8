//! Recognises a document by its shape.
//!
//! Looks at the first 64 KiB only, which may end anywhere, and at the names of members and a few short words rather than at
//! the file's name: names lie, and what comes over HTTP or a pipe has none. What is known and is not findings (an OSCAL
//! catalog, a CRD, a signed statement) is named as such instead of being read as nothing.

use super::{Context, Format, FormatError, Sink, read_as, walk};
use crate::domain::{ProblemKind, RunOutcome};
use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Read};

/// Recognises the document, says so with a `tracing` event, and reads it.
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let head = Head::peek(input);
    let format = match look(head.bytes()) {
        Look::Known(format) => format,
        // A list of resources as any API gives it: only its name tells where it comes from.
        Look::Unknown if named(ctx.source, "resources.json") => Format::CloudCustodian,
        Look::Other(what) => return Err(FormatError::wrong(ctx, format!("this is {what}, not findings"))),
        Look::Nothing => {
            if let Some(error) = head.error.borrow().as_ref() {
                let message = format!("the document cannot be read: {error}");
                return Err(FormatError { kind: walk::io_kind(error), ..FormatError::wrong(ctx, message) });
            }
            let message = "the document is empty";
            return Err(FormatError { kind: ProblemKind::Empty, ..FormatError::wrong(ctx, message) });
        }
        Look::Table => return Err(FormatError::wrong(ctx, "this is a table (CSV)\nhelp: describe its columns with a `jsonpath` mapping")),
        Look::Unknown => {
            let help = "no known format has this shape\nhelp: name its format, or describe it with a `jsonpath` mapping";
            return Err(FormatError::wrong(ctx, help));
        }
    };
    tracing::info!(source = ctx.source, format = format.word(), "{} is read as {format}", ctx.source);
    let outcome = read_as(format, &mut head.replay(input), ctx, sink)?;
    Ok(RunOutcome { read_as: Some(format.word()), ..outcome })
}

fn named(source: &str, name: &str) -> bool {
    let file = source.rsplit(['/', '\\']).next().unwrap_or_default();
    file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == ".gz")
}

/// Adds to a "wrong format" what the document looks like instead.
pub(super) fn explain(mut error: FormatError, asked: Format, head: &[u8]) -> FormatError {
    if error.kind == ProblemKind::WrongFormat {
        match look(head) {
            Look::Known(format) if format != asked => error.message += &format!("; it looks like {format}"),
            Look::Other(what) => error.message += &format!("; it looks like {what}"),
            Look::Table => error.message += "; it looks like a table (CSV)",
            Look::Known(_) | Look::Nothing | Look::Unknown => {}
        }
    }
    error
}

/// The first bytes of a document, which are then read again.
pub(super) struct Head {
    bytes: Vec<u8>,
    error: RefCell<Option<io::Error>>,
}

impl Head {
    const SIZE: u64 = 64 << 10;

    pub(super) fn peek(input: &mut dyn BufRead) -> Head {
        let mut bytes = Vec::new();
        let mut error = None;
        while (bytes.len() as u64) < Self::SIZE {
            match input.take(Self::SIZE - bytes.len() as u64).read_to_end(&mut bytes) {
                Ok(_) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        Head { bytes, error: RefCell::new(error) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole document: the head, the error met in it if any, and what follows.
    pub(super) fn replay<'h>(&'h self, input: &'h mut dyn BufRead) -> impl BufRead + 'h {
        Replay { head: &self.bytes, error: &self.error, rest: input }
    }
}

struct Replay<'h> {
    head: &'h [u8],
    error: &'h RefCell<Option<io::Error>>,
    rest: &'h mut dyn BufRead,
}

impl Read for Replay<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            return self.head.read(buf);
        }
        // A decoder that failed may say "end" when asked again, and a truncated document would look whole.
        match self.error.borrow_mut().take() {
            Some(error) => Err(error),
            None => self.rest.read(buf),
        }
    }
}

impl BufRead for Replay<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.head.is_empty() {
            return Ok(self.head);
        }
        match self.error.borrow_mut().take() {
            Some(error) => Err(error),
            None => self.rest.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        if self.head.is_empty() { self.rest.consume(n) } else { self.head = &self.head[n.min(self.head.len())..] }
    }
}

enum Look {
    Known(Format),
    /// CSV, whose columns we do not know.
    Table,
    /// Known, and not findings.
    Other(&'static str),
    Nothing,
    Unknown,
}

fn look(head: &[u8]) -> Look {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = walk::blank(head, 0);
    match head.get(start) {
        None => Look::Nothing,
        Some(b'{' | b'[') => {
            let mut shape = Outline::default();
            shape.value(head, start, &mut String::new(), 0);
            json(&shape)
        }
        Some(b'<') => xml(head),
        Some(_) => yaml(head),
    }
}

/// The members of a document's beginning: paths without indexes (`Findings[].Compliance.Status`), short words with them.
#[derive(Default)]
struct Outline {
    members: Vec<(String, String)>,
}

impl Outline {
    const DEPTH: usize = 6;
    const MEMBERS: usize = 4000;
    const ELEMENTS: usize = 3;

    /// Notes the value at `at` and returns its end; `None` when the head ends or is wrong.
    fn value(&mut self, b: &[u8], at: usize, path: &mut String, depth: usize) -> Option<usize> {
        if self.members.len() >= Self::MEMBERS {
            return None;
        }
        let length = path.len();
        match *b.get(at)? {
            b'{' if depth < Self::DEPTH => {
                self.note(path, "{");
                let mut i = walk::blank(b, at + 1);
                loop {
                    match *b.get(i)? {
                        b'}' => return Some(i + 1),
                        b',' => i = walk::blank(b, i + 1),
                        b'"' => {
                            let end = walk::string(b, i).ok()?;
                            let name = walk::text(&b[i..end])?;
                            i = walk::blank(b, end);
                            if *b.get(i)? != b':' {
                                return None;
                            }
                            i = walk::blank(b, i + 1);
                            if !path.is_empty() {
                                path.push('.');
                            }
                            path.push_str(&name);
                            let end = self.value(b, i, path, depth + 1);
                            path.truncate(length);
                            i = walk::blank(b, end?);
                        }
                        _ => return None,
                    }
                }
            }
            b'[' if depth < Self::DEPTH => {
                self.note(path, "[");
                path.push_str("[]");
                let mut i = walk::blank(b, at + 1);
                for n in 0.. {
                    if *b.get(i)? == b']' {
                        path.truncate(length);
                        return Some(i + 1);
                    }
                    let end = if n < Self::ELEMENTS { self.value(b, i, path, depth + 1) } else { walk::skip(b, i, false, 128).ok() };
                    i = walk::blank(b, end?);
                    if *b.get(i)? == b',' {
                        i = walk::blank(b, i + 1);
                    }
                }
                None
            }
            b'"' => {
                let end = walk::string(b, at).ok()?;
                let word = if end - at <= 200 { walk::text(&b[at..end]).unwrap_or_default() } else { "".into() };
                self.note(path, &word);
                Some(end)
            }
            first => {
                self.note(path, if first == b'{' { "{" } else { "" });
                walk::skip(b, at, false, 128).ok()
            }
        }
    }

    fn note(&mut self, path: &str, word: &str) {
        self.members.push((path.to_owned(), word.to_owned()));
    }

    /// Whether the document, its first page, or its first record has all these members. A name may be a path.
    fn has(&self, place: &str, names: &[&str]) -> bool {
        names.iter().all(|name| self.word(place, name).is_some())
    }

    /// The word of a member, if it is there.
    fn word(&self, place: &str, name: &str) -> Option<&str> {
        let path = |p: &str| {
            p.strip_prefix(place).is_some_and(|rest| {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                rest == name
            })
        };
        self.members.iter().find(|(p, _)| path(p)).map(|(_, w)| w.as_str())
    }
}

fn json(o: &Outline) -> Look {
    use Format::*;
    use Look::{Known, Other};
    let root = if o.members.first().is_some_and(|(p, w)| p.is_empty() && w == "[") { "[]" } else { "" };
    let any = |places: &[&str], names: &[&str]| {
        places.iter().any(|p| o.has(p, names) || (root == "[]" && o.has(&format!("[]{}{p}", if p.is_empty() { "" } else { "." }), names)))
    };
    let here = |names: &[&str]| o.has(root, names);
    let word = |name: &str| o.word(root, name).unwrap_or_default();
    // Kubernetes objects, alone, in an array or in a list.
    for place in [String::new(), "[]".to_owned(), "items[]".to_owned(), "[].items[]".to_owned()] {
        let group = o.word(&place, "apiVersion").unwrap_or_default();
        let kind = o.word(&place, "kind").unwrap_or_default();
        if let Some(look) = kubernetes(group, kind) {
            return look;
        }
    }
    let defender = |word: &str| {
        let w = word.to_ascii_lowercase();
        if w.contains("microsoft.securityinsights") {
            Some(if w.contains("incidents") { Known(Sentinel) } else { Other("a list of Sentinel alerts") })
        } else if w.contains("/regulatorycompliance") {
            Some(Known(AzureRegulatory))
        } else if w.contains("/subassessments") {
            Some(Other("a list of Defender sub-assessments, which are vulnerabilities of single resources"))
        } else if w.contains("microsoft.security/assessments") {
            Some(Known(AzureAssessments))
        } else {
            None
        }
    };
    for place in ["value[]", "data[]", "", "[]", "[].value[]"] {
        for name in ["type", "id"] {
            if let Some(look) = o.word(place, name).and_then(defender) {
                return look;
            }
        }
    }
    if any(&["value[]", "", "data[]", "data[].properties"], &["policyAssignmentId", "policyDefinitionId"]) {
        return Known(AzurePolicy);
    }
    if any(&["value[].results", "results"], &["nonCompliantResources"]) {
        return Known(AzurePolicy);
    }
    if here(&["event_type", "constraint_kind"]) || here(&["process", "audit_id"]) {
        return Known(Gatekeeper);
    }
    if o.members.iter().any(|(p, w)| p.ends_with(".aquasecurity.github.io") && w == "[") {
        return Known(TrivyOperator);
    }
    if here(&["check", "result"]) && (here(&["resource.id"]) || here(&["resource"])) {
        return Known(Native);
    }
    if any(&["", "Findings[]", "findings[]"], &["class_uid"]) || here(&["CheckID", "Status", "Provider"]) {
        return Known(Ocsf);
    }
    if any(&["", "Findings[]", "findings[]", "detail.findings[]", "Findings[]"], &["ProductArn"])
        || any(&["Findings[]", "findings[]"], &["GeneratorId"])
    {
        return Known(Asff);
    }
    for (name, what) in [
        ("catalog", "an OSCAL catalog"),
        ("profile", "an OSCAL profile"),
        ("component-definition", "an OSCAL component definition"),
        ("plan-of-action-and-milestones", "an OSCAL plan of action and milestones"),
        ("system-security-plan", "an OSCAL system security plan"),
    ] {
        if o.has("", &[name, &format!("{name}.metadata")]) {
            return Other(what);
        }
    }
    if here(&["assessment-results"]) || any(&["results[]"], &["reviewed-controls"]) {
        return Known(Oscal);
    }
    if any(&["", "EvaluationResults[]", "AggregateEvaluationResults[]"], &["EvaluationResultIdentifier"])
        || [
            "EvaluationResults",
            "AggregateEvaluationResults",
            "ComplianceByConfigRules",
            "AggregateComplianceByConfigRules",
            "ConformancePackRuleEvaluationResults",
            "ConformancePackRuleComplianceList",
            "ComplianceSummary",
            "ConfigRules",
            "ComplianceSummariesByResourceType",
        ]
        .iter()
        .any(|n| here(&[n]))
    {
        return Known(AwsConfig);
    }
    if here(&["listFindingsResults"])
        || here(&["finding.category"])
        || any(&["findings[]"], &["category", "resourceName"])
        || here(&["category", "resourceName", "state"])
    {
        return Known(Scc);
    }
    if ["data.configurationFindings", "data.issuesV2", "data.issues", "configurationFindings", "issuesV2"].iter().any(|n| here(&[n]))
        || any(&["", "nodes[]"], &["rule.shortId", "result"])
        || any(&["", "nodes[]"], &["sourceRule", "entitySnapshot"])
        || (any(&["errors[]"], &["message"]) && here(&["data"]))
    {
        return Known(Wiz);
    }
    if any(&["items[]", ""], &["family", "rule", "result"]) {
        return Known(Fugue);
    }
    if any(&["results[]"], &["observations"]) || any(&["results[]"], &["local-definitions"]) {
        return Known(Oscal);
    }
    if ["critical", "high", "medium", "low"].iter().any(|l| any(&[&format!("results.{l}[]")], &["issue", "targetFile"])) {
        return Known(SnykIac);
    }
    if any(&["items[]"], &["environment_id", "status"]) {
        return Other("a list of Fugue scans");
    }
    if any(&["sources[]"], &["name", "displayName"]) {
        return Other("a list of Security Command Center sources");
    }
    if here(&["rule_results"]) {
        return Known(Regula);
    }
    if here(&["infrastructureAsCodeIssues"]) || here(&["infrastructureAsCodeSuccesses"]) {
        return Known(SnykIac);
    }
    if here(&["metadata.policy.resource"])
        || here(&["policy.resource", "metrics"])
        || here(&["policy", "execution", "metrics"])
        || here(&["c7n:MatchedFilters"])
    {
        return Known(CloudCustodian);
    }
    if (here(&["Trivy"]) && here(&["ArtifactName"]))
        || here(&["SchemaVersion", "ArtifactName"])
        || here(&["ArtifactName", "Results"])
        || here(&["ClusterName"])
        || here(&["SummaryControls"])
        || (here(&["ID", "Results"]) && here(&["Title"]))
        || here(&["Target", "Vulnerabilities"])
        || here(&["Target", "Misconfigurations"])
    {
        return Known(Trivy);
    }
    if any(&["Controls[]", ""], &["tests", "total_pass"]) || any(&["Controls[]", ""], &["node_type"]) {
        return Known(KubeBench);
    }
    if here(&["check_type", "results"]) || here(&["checkov_version", "passed"]) {
        return Known(Checkov);
    }
    if here(&["runs"]) && (here(&["version"]) || here(&["$schema"])) && word("runs") == "[" {
        return Known(Sarif);
    }
    if here(&["filename"]) && (here(&["successes"]) || here(&["failures"]) || here(&["warnings"])) {
        return Known(Conftest);
    }
    if here(&["group_id"]) || (here(&["panels"]) && here(&["layout"])) {
        return Known(Powerpipe);
    }
    if here(&["profiles"]) && (here(&["platform"]) || here(&["statistics"]))
        || here(&["controls", "statistics", "version"])
        || here(&["controls", "supports", "sha256"])
    {
        return Known(Inspec);
    }
    if here(&["scorecard"]) && (here(&["checks"]) || here(&["findings"])) {
        return Known(Scorecard);
    }
    if here(&["enforce_admins"])
        || here(&["required_status_checks"])
        || here(&["required_pull_request_reviews"])
        || here(&["ruleset_source_type", "type"])
        || here(&["enforcement", "source_type"])
        || (word("message").contains("ranch not protected") && here(&["documentation_url"]))
        || here(&["branch_protection"])
        || here(&["commit.sha", "protected"])
    {
        return Known(Github);
    }
    if here(&["payloadType", "payload", "signatures"]) {
        return Other("a signed DSSE envelope");
    }
    if word("_type").starts_with("https://in-toto.io/") {
        return Other("an in-toto statement");
    }
    if word("$schema").contains("json-schema.org") || (here(&["type", "properties"]) && word("type") == "object") {
        return Other("a JSON schema");
    }
    if here(&["swagger"]) || here(&["openapi"]) {
        return Other("an API description");
    }
    if here(&["access_token"]) {
        return Other("the answer of a token endpoint");
    }
    if here(&["error.code"]) || here(&["error.message"]) || (here(&["__type"]) && (here(&["message"]) || here(&["Message"]))) {
        return Other("an API's error");
    }
    Look::Unknown
}

fn kubernetes(group: &str, kind: &str) -> Option<Look> {
    use Look::{Known, Other};
    let group = group.split('/').next().unwrap_or_default();
    Some(match group {
        "constraints.gatekeeper.sh" => Known(Format::Gatekeeper),
        "wgpolicyk8s.io" | "openreports.io" | "reports.x-k8s.io" => Known(Format::PolicyReport),
        "aquasecurity.github.io" => Known(Format::TrivyOperator),
        "compliance.openshift.io" => Known(Format::ComplianceOperator),
        "apiextensions.k8s.io" => Other("a Kubernetes custom resource definition"),
        "openslo" => Other("an OpenSLO document"),
        "templates.gatekeeper.sh" => Other("a Gatekeeper constraint template"),
        "kyverno.io" => Other("a Kyverno policy"),
        "bornright" if matches!(kind, "SelectedConstraint" | "ConstraintMember") => Known(Format::Gatekeeper),
        "bornright" if kind == "GitHubBranch" => Known(Format::Github),
        "bornright" => Other("a definition of ours; name it under `definitions`"),
        _ if kind == "PolicyReport" || kind == "ClusterPolicyReport" => Known(Format::PolicyReport),
        _ => return None,
    })
}

fn xml(head: &[u8]) -> Look {
    let text = String::from_utf8_lossy(head);
    let mut rest = text.as_ref();
    loop {
        let Some(open) = rest.find('<') else { return Look::Unknown };
        rest = &rest[open + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            let Some(end) = comment.find("-->") else { return Look::Unknown };
            rest = &comment[end + 3..];
        } else if !rest.starts_with(['?', '!']) {
            break;
        }
    }
    let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
    let tag = rest.find('>').map_or(rest, |i| &rest[..i]);
    match rest[..end].rsplit(':').next().unwrap_or_default() {
        "TestResult" | "asset-report-collection" => Look::Known(Format::Xccdf),
        "Benchmark" if tag.contains("checklists.nist.gov/xccdf") => Look::Known(Format::Xccdf),
        "data-stream-collection" => Look::Other("a SCAP data stream: rules, not results"),
        "testsuites" | "testsuite" => Look::Other("a JUnit report, which names tests and no resources"),
        "assessment-results" => Look::Other("OSCAL in XML; write it as JSON"),
        _ => Look::Unknown,
    }
}

fn yaml(head: &[u8]) -> Look {
    let text = String::from_utf8_lossy(head);
    let unquoted = |v: &str| v.trim().trim_matches(['"', '\'']).to_owned();
    let mut group = String::new();
    let mut names = Vec::new();
    for line in text.lines() {
        let line = line.trim_end();
        // `- apiVersion:` is an element of a list of objects at any depth.
        let item = line.trim_start().strip_prefix("- ").unwrap_or(line);
        if let Some(value) = item
            .strip_prefix("apiVersion:")
            .or_else(|| item.trim_start().strip_prefix("apiVersion:").filter(|_| names.iter().any(|n| n == "items")))
        {
            let value = unquoted(value);
            if let Some(look) = kubernetes(&value, "") {
                return look;
            }
            if group.is_empty() {
                group = value;
            }
        }
        if let Some((name, _)) = line.split_once(':')
            && !name.starts_with([' ', '#', '-'])
        {
            names.push(name.trim_matches('"').to_owned());
        }
    }
    let has = |all: &[&str]| all.iter().all(|n| names.iter().any(|m| m == n));
    if has(&["policy", "controls"]) || has(&["documentation_complete"]) {
        return Look::Other("a ComplianceAsCode source: rules, not results");
    }
    if has(&["tls_server_config"]) || has(&["basic_auth_users"]) || has(&["http_server_config"]) || has(&["rate_limit"]) {
        return Look::Other("a web configuration of the exporter toolkit");
    }
    if has(&["swagger"]) || has(&["openapi"]) {
        return Look::Other("an API description");
    }
    let first = text.lines().next().unwrap_or_default();
    if [',', ';', '\t', '|'].iter().any(|d| first.matches(*d).count() >= 2) {
        return Look::Table;
    }
    Look::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(head: &str) -> String {
        match look(head.as_bytes()) {
            Look::Known(format) => format.word().to_owned(),
            Look::Other(what) => format!("not findings: {what}"),
            Look::Table => "table".to_owned(),
            Look::Nothing => "nothing".to_owned(),
            Look::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn shapes_are_told_apart() {
        for (head, expected) in [
            ("", "nothing"),
            (" \n", "nothing"),
            ("hello", "unknown"),
            ("{}", "unknown"),
            ("[]", "unknown"),
            (r#"{"check":"c","resource":{"id":"r"},"result":"pass"}"#, "native"),
            (r#"[{"metadata":{"event_code":"x"},"class_uid":2004}]"#, "ocsf"),
            (r#"{"Findings":[{"class_uid":2003}],"NextToken":"x"}"#, "ocsf"),
            (r#"[{"AssessmentStartTime":"x","CheckID":"c","Provider":"aws","Status":"FAIL"}]"#, "ocsf"),
            (r#"{"Findings":[{"SchemaVersion":"2018-10-08","ProductArn":"arn:x"}]}"#, "asff"),
            (r#"{"detail":{"findings":[{"ProductArn":"arn:x"}]}}"#, "asff"),
            ("<?xml version=\"1.0\"?>\n<!-- c -->\n<x:TestResult xmlns:x=\"http://checklists.nist.gov/xccdf/1.2\">", "xccdf"),
            ("<arf:asset-report-collection>", "xccdf"),
            (r#"{"assessment-results":{"uuid":"x"}}"#, "oscal"),
            (r#"{"value":[{"id":"/subscriptions/s/providers/Microsoft.Security/assessments/a"}]}"#, "azure_assessments"),
            (r#"{"value":[{"type":"Microsoft.Security/regulatoryComplianceControl"}]}"#, "azure_regulatory"),
            (r#"{"value":[{"policyAssignmentId":"a","policyDefinitionId":"d"}]}"#, "azure_policy"),
            (r#"{"value":[{"type":"Microsoft.SecurityInsights/incidents"}]}"#, "sentinel"),
            (r#"{"rule_results":[]}"#, "regula"),
            (r#"{"SchemaVersion":2,"ArtifactName":"x"}"#, "trivy"),
            (r#"{"Controls":[{"id":"1","tests":[],"total_pass":0}]}"#, "kube_bench"),
            (r#"[{"filename":"x","namespace":"main","successes":1}]"#, "conftest"),
            (r#"[{"check_type":"terraform","results":{}}]"#, "checkov"),
            (r#"{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[]}"#, "sarif"),
            (r#"{"platform":{"name":"x"},"profiles":[]}"#, "inspec"),
            (r#"{"date":"2024-01-01","scorecard":{},"score":1,"checks":[]}"#, "scorecard"),
            ("---\n# c\napiVersion: \"wgpolicyk8s.io/v1alpha2\"\nkind: PolicyReport\n", "policy_report"),
            ("apiVersion: v1\nitems:\n- apiVersion: constraints.gatekeeper.sh/v1beta1\n  kind: K\n", "gatekeeper"),
            (r#"{"kind":"List","items":[{"apiVersion":"aquasecurity.github.io/v1alpha1"}]}"#, "trivy_operator"),
            (r#"{"items":[{"apiVersion":"compliance.openshift.io/v1alpha1","kind":"ComplianceCheckResult"}]}"#, "compliance_operator"),
            ("A;B;C\n1;2;3\n", "table"),
            (r#"{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}"#, "not findings: a signed DSSE envelope"),
            (r#"{"catalog":{"metadata":{}}}"#, "not findings: an OSCAL catalog"),
            ("apiVersion: openslo/v1\nkind: SLO\n", "not findings: an OpenSLO document"),
            ("<ds:data-stream-collection>", "not findings: a SCAP data stream: rules, not results"),
        ] {
            assert_eq!(seen(head), expected, "{head}");
            let marked = format!("\u{feff}{head}");
            assert_eq!(seen(&marked), expected, "{head} with a byte order mark");
        }
    }

    #[test]
    fn an_error_met_while_peeking_is_not_forgotten() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Ok(0);
                }
                buf[0] = b'[';
                Err(io::Error::new(ErrorKind::UnexpectedEof, "cut"))
            }
        }
        let mut input = io::BufReader::new(b"[{\"a\":1},".chain(Broken(false)));
        let head = Head::peek(&mut input);
        assert_eq!(head.bytes(), b"[{\"a\":1},");
        let mut all = Vec::new();
        let error = head.replay(&mut input).read_to_end(&mut all).expect_err("the error of the peek");
        assert_eq!((all.as_slice(), error.kind()), (head.bytes(), ErrorKind::UnexpectedEof));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[\\[\\]{}:,\"a-c\\\\ \n<>/!0-9;é-]{0,80}") {
            let _ = seen(&text);
        }
    }
}
