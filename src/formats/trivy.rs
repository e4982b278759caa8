//! Trivy reports: misconfiguration, vulnerabilities, secrets, Kubernetes, compliance.
//!
//! Producer read: Trivy 0.19 to 0.6x, `-f json` of `config`, `fs`, `repo`, `image` (also the bare array before schema 2),
//! `k8s` (`Vulnerabilities` and `Misconfigurations`, `Resources`, and the consolidated `Findings`), and `--compliance`
//! with `--report all` and `summary`. Documentation: <https://trivy.dev/latest/docs/configuration/reporting/#json>.
//!
//! | row | result | lifecycle |
//! |---|---|---|
//! | misconfiguration `PASS`, `FAIL` | pass, fail | active |
//! | misconfiguration `EXCEPTION` | fail | suppressed |
//! | `MisconfSummary.Successes` beyond the `PASS` rows | pass, a number only (check `misconfiguration`) | active |
//! | vulnerability; `fixed` means that a fix exists | fail | active |
//! | vulnerability `under_investigation` | manual | active |
//! | vulnerability `not_affected` | not_applicable | active |
//! | secret | fail | active |
//! | license of severity medium and above; low; unknown | fail; pass; manual | active |
//! | `ExperimentalModifiedFindings` (`--show-suppressed`) | fail | suppressed |
//! | compliance summary: `TotalFail` above 0; 0; null | fail; pass; manual (nothing automated stands behind the control) | active |
//! | compliance in full, a control without any row: `DefaultStatus` `PASS`; `FAIL`; other | pass; fail; manual | active |
//!
//! Ids of built-in misconfiguration checks changed twice (`DS002`, `AVD-DS-0002`, `DS-0002`): all come out as `DS-0002`,
//! and definitions name that one. Ids that are not Trivy's own stay as written; the record itself is there for a `where`.
//! In a compliance report the control stands in the finding's control references, and the report's id is the `profile`.
//!
//! The resource: in Kubernetes the object; otherwise `file` or `file:resource`, behind the artifact's name where that is
//! stable (images, remote repositories; a directory may be called anything); for packages `#package` is added.
//!
//! Oddities met: `Results` absent when Trivy found nothing to look at: complete, and a problem `empty` says so. Passes are
//! only a number unless `--include-non-failures`, and `trivy convert` drops them. A k8s object with `Error` was not scanned.

use super::stream::{Halt, Keys, Number, Out, Pull, Text};
use super::{Context, FormatError, Sink, time};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, Moment, ProblemKind, RunOutcome, ScannerInfo, Severity, resource};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::BufRead;

const EXPECTED: &str = "a Trivy JSON report: an object with `SchemaVersion` and `ArtifactName`, `ClusterName`, or a compliance `ID`";

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let read = pull.documents(|pull| report(pull, &mut out));
    out.end(read, EXPECTED)
}

/// Where in a report we are, and what is known there.
#[derive(Clone, Default)]
struct Place {
    artifact: String,
    artifact_type: String,
    created: Option<Moment>,
    cluster: String,
    /// `namespace`, `kind`, `name`, in Kubernetes.
    object: Option<(String, String, String)>,
    /// Id of the compliance report and of the control in it.
    compliance: String,
    control: String,
}

fn report(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut place = Place::default();
    if pull.peek()? == Some(b'[') {
        // Before schema 2 the results stood alone.
        let known = out.recognised;
        let mut blocks = 0u64;
        pull.array(|pull| {
            blocks += 1;
            block(pull, out, &place)
        })?;
        if blocks == 0 && !known {
            return Err(Halt::Wrong("an empty array".to_owned()));
        }
        return Ok(());
    }
    let mut keys = Keys::default();
    let mut results = false;
    let mut version = String::new();
    let mut later = Vec::new();
    pull.object(|pull, key| {
        keys.note(key);
        match key {
            "SchemaVersion" => {
                let number = pull.text()?;
                if !matches!(number.as_str(), "1" | "2") {
                    return Err(Halt::Wrong(format!("`SchemaVersion` {number}")));
                }
            }
            "Trivy" => {
                pull.object(|pull, key| {
                    if key == "Version" {
                        version = pull.text()?;
                    }
                    Ok(())
                })?;
            }
            "CreatedAt" => place.created = time::parse(&pull.text()?),
            "ArtifactName" => {
                out.recognised = true;
                place.artifact = pull.text()?;
            }
            "ArtifactType" => place.artifact_type = pull.text()?,
            "ClusterName" => {
                out.recognised = true;
                place.cluster = pull.text()?;
            }
            "ID" => place.compliance = pull.text()?,
            "Results" => {
                results = pull.array(|pull| block(pull, out, &place))?;
            }
            "Resources" | "Findings" | "Misconfigurations" | "Vulnerabilities" if out.recognised => {
                results |= pull.array(|pull| object(pull, out, &place))?;
            }
            "Resources" | "Findings" | "Misconfigurations" | "Vulnerabilities" => later.extend(pull.keep(out)?),
            "SummaryControls" => {
                out.recognised = true;
                results = true;
                let mut buf = Vec::new();
                pull.array(|pull| {
                    if let Some((control, raw)) = pull.record::<SummaryControl<'_>>(out, &mut buf)? {
                        control.tell(&place, raw, out)?;
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    if !out.recognised {
        return Err(Halt::Wrong(keys.found()));
    }
    for bytes in later {
        again(&bytes, out, |pull, out| {
            results |= pull.array(|pull| object(pull, out, &place))?;
            Ok(())
        })?;
    }
    if !results {
        out.note(ProblemKind::Empty, 0, "the report has no results: Trivy found nothing that it could look at");
    }
    out.scanned(place.created);
    let rule_set = place.compliance;
    out.outcome.scanner.get_or_insert(ScannerInfo { name: "Trivy".to_owned(), version, rule_set });
    Ok(())
}

/// An object of Kubernetes with its results.
fn object(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, place: &Place) -> Result<(), Halt> {
    let mut place = place.clone();
    let (mut namespace, mut kind, mut name) = (String::new(), None, None);
    let mut later = None;
    let at = pull.offset;
    pull.object(|pull, key| {
        match key {
            "Namespace" => namespace = pull.text()?,
            "Kind" => kind = Some(pull.text()?),
            "Name" => name = Some(pull.text()?),
            "Error" => {
                let error = pull.text()?;
                if !error.is_empty() {
                    let error: String = error.chars().take(200).collect();
                    out.fault(ProblemKind::ScannerError, pull.offset, format!("an object was not scanned: {error}"));
                }
            }
            "Results" => {
                if let (Some(kind), Some(name)) = (&kind, &name) {
                    place.object = Some((namespace.clone(), kind.clone(), name.clone()));
                    pull.array(|pull| block(pull, out, &place))?;
                } else {
                    later = pull.keep(out)?;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    let Some(results) = later else { return Ok(()) };
    let (Some(kind), Some(name)) = (kind, name) else {
        out.fault(ProblemKind::Incomplete, at, "an object of the cluster has no kind or no name");
        return Ok(());
    };
    place.object = Some((namespace, kind, name));
    again(&results, out, |pull, out| pull.array(|pull| block(pull, out, &place)).map(|_| ()))
}

/// Reads what was kept for later.
fn again(bytes: &[u8], out: &mut Out<'_, '_>, read: impl FnOnce(&mut Pull<'_>, &mut Out<'_, '_>) -> Result<(), Halt>) -> Result<(), Halt> {
    let mut bytes = bytes;
    let ctx = out.ctx;
    read(&mut Pull::new(&mut bytes, ctx), out)
}

/// What a result says of itself, before or after its rows.
#[derive(Default)]
struct Block {
    target: Option<String>,
    class: String,
    kind: String,
    /// Numbers of `MisconfSummary`.
    successes: u64,
    failures: u64,
    passed: u64,
    failed: u64,
}

fn block(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, place: &Place) -> Result<(), Halt> {
    let mut block = Block::default();
    let mut control = Control::default();
    let mut nested = false;
    let mut later: Vec<(Rows, Vec<u8>)> = Vec::new();
    let at = pull.offset;
    let is_object = pull.object(|pull, key| {
        let rows = match key {
            "Target" => {
                out.recognised = true;
                block.target = Some(pull.text()?);
                return Ok(());
            }
            "Class" => {
                block.class = pull.text()?;
                return Ok(());
            }
            "Type" => {
                block.kind = pull.text()?;
                return Ok(());
            }
            "MisconfSummary" => {
                let summary: Summary = pull.read()?.unwrap_or_default();
                block.successes = summary.successes.0.unwrap_or(0);
                block.failures = summary.failures.0.unwrap_or(0);
                return Ok(());
            }
            "ID" => {
                control.id = pull.text()?;
                return Ok(());
            }
            "Name" => {
                control.name = pull.text()?;
                return Ok(());
            }
            "Severity" => {
                control.severity = pull.text()?;
                return Ok(());
            }
            "DefaultStatus" => {
                control.default = pull.text()?;
                return Ok(());
            }
            // A control of a compliance report has results in its turn. Depth ends here: nothing nests further.
            "Results" if !control.id.is_empty() && place.control.is_empty() => {
                out.recognised = true;
                nested = true;
                let place = Place { control: control.id.clone(), ..place.clone() };
                let before = out.findings;
                pull.array(|pull| block_of_control(pull, out, &place))?;
                control.rows = out.findings - before;
                return Ok(());
            }
            "Misconfigurations" => Rows::Misconfigurations,
            "Vulnerabilities" => Rows::Vulnerabilities,
            "Secrets" => Rows::Secrets,
            "Licenses" => Rows::Licenses,
            "ExperimentalModifiedFindings" => Rows::Modified,
            _ => return Ok(()),
        };
        if block.target.is_some() {
            rows.read(pull, &mut block, place, out)
        } else {
            later.extend(pull.keep(out)?.map(|bytes| (rows, bytes)));
            Ok(())
        }
    });
    if !matches!(is_object, Err(Halt::Stop)) {
        for (rows, bytes) in &later {
            again(bytes, out, |pull, out| rows.read(pull, &mut block, place, out))?;
        }
    }
    if !is_object? {
        out.fault(ProblemKind::Malformed, at, "a result is no object");
        return Ok(());
    }
    if !control.id.is_empty() && block.target.is_none() && place.control.is_empty() {
        out.recognised = true;
        return if control.rows == 0 { control.tell(place, out) } else { Ok(()) };
    }
    if block.target.is_none() && !nested && !out.recognised {
        return Err(Halt::Wrong("a list of something without `Target`".to_owned()));
    }
    block.rest(place, at, out)
}

/// One step down in a compliance report; a function of its own so that the recursion is plainly of depth two.
fn block_of_control(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, place: &Place) -> Result<(), Halt> {
    block(pull, out, place)
}

impl Block {
    /// What the summary counts beyond the rows.
    fn rest(&self, place: &Place, at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        if self.failures > self.failed {
            let (said, listed) = (self.failures, self.failed);
            out.fault(ProblemKind::Mismatch, at, format!("the summary of `{}` counts {said} failures, {listed} are listed", self.target()));
        }
        let more = self.successes.saturating_sub(self.passed);
        if more == 0 {
            return Ok(());
        }
        let mut finding = Finding::new("misconfiguration", self.id(place, "", ""), CheckResult::Pass);
        finding.count = more;
        finding.aggregate = true;
        self.fields(place, "misconfiguration", &mut finding);
        out.finding(&finding)
    }

    fn target(&self) -> &str {
        self.target.as_deref().unwrap_or_default()
    }

    /// The identity of what a row is about: `inner` is a resource within the file, `package` one of its packages.
    fn id(&self, place: &Place, inner: &str, package: &str) -> String {
        let mut id = match &place.object {
            Some((namespace, kind, name)) => resource::kubernetes(Some(&place.cluster), group(kind), kind, namespace, name),
            None => {
                let stable = matches!(place.artifact_type.as_str(), "container_image" | "vm" | "aws_account")
                    || place.artifact.contains("://")
                    || ["github.com/", "gitlab.com/", "bitbucket.org/", "git@"].iter().any(|p| place.artifact.starts_with(p));
                // The target of an image's own packages repeats the image and says which release it has.
                let own = self.class == "os-pkgs" || self.target().is_empty() || (stable && self.target().starts_with(&place.artifact));
                match (stable, own) {
                    (true, true) => place.artifact.clone(),
                    (true, false) => format!("{}/{}", place.artifact, self.target()),
                    (false, false) => self.target().to_owned(),
                    (false, true) if !place.artifact.is_empty() => place.artifact.clone(),
                    (false, true) if self.target().is_empty() => place.compliance.clone(),
                    // `image (debian 12.5)`: the release is not who it is.
                    (false, true) => self.target().split(" (").next().unwrap_or_default().to_owned(),
                }
            }
        };
        if !inner.is_empty() {
            id.push(':');
            id.push_str(inner);
        }
        if !package.is_empty() {
            id.push('#');
            id.push_str(package);
        }
        if id.is_empty() { "-".to_owned() } else { id }
    }

    fn fields<'f>(&'f self, place: &'f Place, class: &'f str, finding: &mut Finding<'f>) {
        finding.observed_at = place.created;
        finding.fields.set("artifact", place.artifact.as_str());
        finding.fields.set("cluster", place.cluster.as_str());
        if let Some((namespace, kind, name)) = &place.object {
            finding.fields.set("namespace", namespace.as_str());
            finding.resource.kind = Some(kind.as_str().into());
            finding.resource.name = Some(name.as_str().into());
        } else if self.class != "os-pkgs" {
            finding.fields.set("file", self.target());
        }
        finding.fields.set("profile", place.compliance.as_str());
        finding.fields.set("class", class);
        finding.fields.set("service", self.kind.as_str());
        if !place.control.is_empty() {
            let (framework, id) = (place.compliance.as_str().into(), place.control.as_str().into());
            finding.control_refs.push(ControlRef { framework, version: None, id });
        }
    }
}

/// The API group of the kinds that Trivy scans: it names only the kind.
fn group(kind: &str) -> &'static str {
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ControllerRevision" => "apps",
        "Job" | "CronJob" => "batch",
        "Ingress" | "IngressClass" | "NetworkPolicy" => "networking.k8s.io",
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => "rbac.authorization.k8s.io",
        "PodDisruptionBudget" | "PodSecurityPolicy" => "policy",
        "HorizontalPodAutoscaler" => "autoscaling",
        "StorageClass" => "storage.k8s.io",
        "CustomResourceDefinition" => "apiextensions.k8s.io",
        _ => "",
    }
}

#[derive(Clone, Copy)]
enum Rows {
    Misconfigurations,
    Vulnerabilities,
    Secrets,
    Licenses,
    Modified,
}

impl Rows {
    fn read(self, pull: &mut Pull<'_>, block: &mut Block, place: &Place, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let mut buf = Vec::new();
        pull.array(|pull| {
            pull.peek()?;
            let at = pull.offset;
            match self {
                Rows::Modified => match pull.record::<Modified<'_>>(out, &mut buf)? {
                    Some((modified, raw)) => modified.tell(block, place, raw, at, out),
                    None => Ok(()),
                },
                _ => match pull.record::<Row<'_>>(out, &mut buf)? {
                    Some((row, raw)) => row.tell(self, None, block, place, raw, at, out),
                    None => Ok(()),
                },
            }
        })?;
        Ok(())
    }
}

#[derive(Default, Deserialize)]
struct Summary {
    #[serde(default, rename = "Successes")]
    successes: Number,
    #[serde(default, rename = "Failures")]
    failures: Number,
}

#[derive(Deserialize)]
struct SummaryControl<'a> {
    #[serde(borrow, default, rename = "ID")]
    id: Text<'a>,
    #[serde(borrow, default, rename = "Name")]
    name: Text<'a>,
    #[serde(borrow, default, rename = "Severity")]
    severity: Text<'a>,
    #[serde(default, rename = "TotalFail")]
    total_fail: Number,
}

impl SummaryControl<'_> {
    fn tell(&self, place: &Place, raw: &[u8], out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let result = match self.total_fail.0 {
            None => CheckResult::Manual,
            Some(0) => CheckResult::Pass,
            Some(_) => CheckResult::Fail,
        };
        let failing = self.total_fail.0.filter(|n| *n > 0).map(|n| format!("{n} failing"));
        let about = About { place, id: &self.id.0, name: &self.name.0, severity: &self.severity.0 };
        about.tell(result, failing.as_deref(), Some(raw), out)
    }
}

/// A control of a compliance report.
#[derive(Default)]
struct Control {
    id: String,
    name: String,
    severity: String,
    default: String,
    rows: u64,
}

impl Control {
    /// A control without any row: only its own word counts, and without one nobody looked.
    fn tell(&self, place: &Place, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        out.record = out.record.saturating_add(1);
        let result = match self.default.to_ascii_uppercase().as_str() {
            "PASS" => CheckResult::Pass,
            "FAIL" => CheckResult::Fail,
            _ => CheckResult::Manual,
        };
        About { place, id: &self.id, name: &self.name, severity: &self.severity }.tell(result, None, None, out)
    }
}

struct About<'s> {
    place: &'s Place,
    id: &'s str,
    name: &'s str,
    severity: &'s str,
}

impl About<'_> {
    fn tell(&self, result: CheckResult, message: Option<&str>, raw: Option<&[u8]>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        if self.id.is_empty() {
            out.fault(ProblemKind::Malformed, 0, "a control of a compliance report has no ID");
            return Ok(());
        }
        let framework = self.place.compliance.as_str();
        let mut finding = Finding::new(self.id, if framework.is_empty() { "-" } else { framework }, result);
        finding.resource.kind = Some("ComplianceReport".into());
        finding.severity = Severity::lenient(self.severity);
        finding.observed_at = self.place.created;
        finding.fields.set("profile", framework);
        finding.title = Some(self.name).filter(|n| !n.is_empty()).map(Cow::Borrowed);
        finding.message = message.map(Cow::Borrowed);
        finding.control_refs.push(ControlRef { framework: framework.into(), version: None, id: self.id.into() });
        finding.raw = raw.filter(|_| out.ctx.want_raw);
        out.finding(&finding)
    }
}

#[derive(Deserialize)]
struct Modified<'a> {
    #[serde(borrow, default, rename = "Type")]
    kind: Text<'a>,
    #[serde(borrow, default, rename = "Statement")]
    statement: Text<'a>,
    #[serde(borrow, rename = "Finding")]
    finding: Row<'a>,
}

impl Modified<'_> {
    fn tell(&self, block: &mut Block, place: &Place, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let rows = match self.kind.0.as_ref() {
            "misconfiguration" => Rows::Misconfigurations,
            "vulnerability" => Rows::Vulnerabilities,
            "secret" => Rows::Secrets,
            "license" => Rows::Licenses,
            other => {
                let other: String = other.chars().take(40).collect();
                out.fault(ProblemKind::Malformed, at, format!("`{other}` is not a type of suppressed finding"));
                return Ok(());
            }
        };
        self.finding.tell(rows, Some(&self.statement.0), block, place, raw, at, out)
    }
}

/// A row of any of the four lists.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default, rename = "ID")]
    id: Text<'a>,
    #[serde(borrow, default, rename = "AVDID")]
    avd_id: Text<'a>,
    #[serde(borrow, default, rename = "VulnerabilityID")]
    vulnerability_id: Text<'a>,
    #[serde(borrow, default, rename = "RuleID")]
    rule_id: Text<'a>,
    #[serde(borrow, default, rename = "Name")]
    name: Text<'a>,
    #[serde(borrow, default, rename = "Title")]
    title: Text<'a>,
    #[serde(borrow, default, rename = "Message")]
    message: Text<'a>,
    #[serde(borrow, default, rename = "Severity")]
    severity: Text<'a>,
    #[serde(borrow, default, rename = "Status")]
    status: Text<'a>,
    #[serde(borrow, default, rename = "PkgName")]
    package: Text<'a>,
    #[serde(borrow, default, rename = "PkgPath")]
    package_path: Text<'a>,
    #[serde(borrow, default, rename = "FilePath")]
    file_path: Text<'a>,
    #[serde(borrow, default, rename = "CauseMetadata")]
    cause: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default, rename = "Resource")]
    resource: Text<'a>,
}

impl Row<'_> {
    #[expect(clippy::too_many_arguments, reason = "one row, and all of where it stands")]
    fn tell(
        &self,
        rows: Rows,
        suppressed: Option<&str>,
        block: &mut Block,
        place: &Place,
        raw: &[u8],
        at: u64,
        out: &mut Out<'_, '_>,
    ) -> Result<(), Halt> {
        let inner = self.cause.as_ref().and_then(|c| c.resource.some()).unwrap_or_default();
        let path = self.package_path.some().unwrap_or_default();
        let severity = Severity::lenient(&self.severity.0);
        let (class, check, id) = match rows {
            Rows::Misconfigurations | Rows::Modified => {
                let written = self.id.some().or_else(|| self.avd_id.some()).unwrap_or_default();
                let inner = if place.object.is_some() { "" } else { inner };
                ("misconfiguration", check_id(written), block.id(place, inner, ""))
            }
            Rows::Vulnerabilities => {
                ("vulnerability", Cow::Borrowed(self.vulnerability_id.0.as_ref()), block.id(place, path, &self.package.0))
            }
            Rows::Secrets => ("secret", Cow::Borrowed(self.rule_id.0.as_ref()), block.id(place, "", "")),
            Rows::Licenses => {
                let file = self.file_path.some().unwrap_or_default();
                ("license", Cow::Borrowed(self.name.0.as_ref()), block.id(place, file, &self.package.0))
            }
        };
        if check.is_empty() {
            out.fault(ProblemKind::Malformed, at, format!("a {class} has no id"));
            return Ok(());
        }
        let mut lifecycle = Lifecycle::Active;
        let mut result = match (rows, self.status.0.as_ref()) {
            (Rows::Misconfigurations | Rows::Modified, "PASS") => CheckResult::Pass,
            (Rows::Misconfigurations | Rows::Modified, "FAIL" | "") => CheckResult::Fail,
            (Rows::Misconfigurations | Rows::Modified, "EXCEPTION") => {
                lifecycle = Lifecycle::Suppressed;
                CheckResult::Fail
            }
            (Rows::Misconfigurations | Rows::Modified, other) => {
                let other: String = other.chars().take(40).collect();
                out.fault(ProblemKind::Malformed, at, format!("`{other}` is not a status of a misconfiguration"));
                return Ok(());
            }
            (Rows::Vulnerabilities, "under_investigation") => CheckResult::Manual,
            (Rows::Vulnerabilities, "not_affected") => CheckResult::NotApplicable,
            (Rows::Licenses, _) => match severity {
                None | Some(Severity::Info) => CheckResult::Manual,
                Some(Severity::Low) => CheckResult::Pass,
                Some(_) => CheckResult::Fail,
            },
            (Rows::Vulnerabilities | Rows::Secrets, _) => CheckResult::Fail,
        };
        if suppressed.is_some() {
            lifecycle = Lifecycle::Suppressed;
            result = CheckResult::Fail;
        } else if class == "misconfiguration" {
            block.passed += u64::from(result == CheckResult::Pass);
            block.failed += u64::from(result == CheckResult::Fail && lifecycle == Lifecycle::Active);
        }
        let mut finding = Finding::new(check, id, result);
        finding.lifecycle = lifecycle;
        finding.severity = severity;
        block.fields(place, class, &mut finding);
        if let (Rows::Vulnerabilities | Rows::Licenses, Some(package)) = (rows, self.package.some()) {
            finding.resource.kind = Some("Package".into());
            finding.resource.name = Some(package.into());
        }
        finding.title = self.title.cow();
        // A secret's match is redacted, but its message is not needed either.
        finding.message = suppressed.filter(|s| !s.is_empty()).map(Cow::Borrowed).or_else(|| self.message.cow());
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

/// Families of Trivy's own checks.
const FAMILIES: [&str; 14] = ["DS", "KSV", "KCV", "AWS", "AZU", "GCP", "DIG", "GIT", "NIF", "OCI", "OPNSTK", "OPENSTACK", "CLDSTK", "GHA"];

/// One id for one check, whichever version of Trivy wrote it: `FAMILY-0000`.
fn check_id(written: &str) -> Cow<'_, str> {
    let bare = written.strip_prefix("AVD-").unwrap_or(written);
    let letters = bare.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(bare.len());
    let (family, rest) = bare.split_at(letters);
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let number: Option<u32> = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
    match number {
        Some(n) if FAMILIES.contains(&family) => {
            let id = format!("{family}-{n:04}");
            if id == written { Cow::Borrowed(written) } else { Cow::Owned(id) }
        }
        _ => Cow::Borrowed(written),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Trivy;

    #[test]
    fn one_check_has_one_id() {
        for (written, id) in [
            ("DS002", "DS-0002"),
            ("AVD-DS-0002", "DS-0002"),
            ("DS-0002", "DS-0002"),
            ("AVD-KSV012", "KSV-0012"),
            ("KCV0001", "KCV-0001"),
            ("AVD-AWS-0086", "AWS-0086"),
            ("CIS-1", "CIS-1"),
            ("AVD-X", "AVD-X"),
            ("USR007", "USR007"),
            ("DS", "DS"),
            ("DS-", "DS-"),
            ("", ""),
        ] {
            assert_eq!(check_id(written), id, "{written}");
        }
    }

    #[test]
    fn numbers_stand_for_the_passes_that_have_no_row() {
        let text = r#"{"SchemaVersion":2,"ArtifactName":".","ArtifactType":"filesystem","Results":[
            {"Target":"a.tf","Class":"config","Type":"terraform","MisconfSummary":{"Successes":5,"Failures":1},"Misconfigurations":[
              {"ID":"AVD-AWS-0086","Status":"PASS"},{"ID":"AWS-0087","Status":"FAIL","CauseMetadata":{"Resource":"aws_s3_bucket.b"}},{"ID":"AWS-0088","Status":"EXCEPTION"}]},
            {"MisconfSummary":{"Successes":0,"Failures":3},"Misconfigurations":[{"ID":"DS001","Status":"FAIL"},{"ID":"DS001","Status":"odd"},{"Status":"FAIL"},9],"Target":"late"}]}"#;
        let (kept, outcome) = read(Trivy, text.as_bytes());
        assert!(!outcome.expect("Trivy").complete);
        assert_eq!(kept.counts(), [5, 3, 0, 0, 0, 0]);
        assert_eq!(kept.suppressed(), 1);
        assert_eq!(kept.kinds(), ["malformed", "malformed", "malformed", "mismatch"]);
        let sum = kept.findings.iter().find(|f| f.aggregate).expect("a number");
        assert_eq!((sum.check.as_ref(), sum.resource.id.as_ref(), sum.count), ("misconfiguration", "a.tf", 4));
        assert_eq!(kept.of("AWS-0087"), [("a.tf:aws_s3_bucket.b", CheckResult::Fail)]);
        assert_eq!(kept.of("DS-0001"), [("late", CheckResult::Fail)]);
    }

    #[test]
    fn packages_secrets_licences_and_what_was_suppressed() {
        let text = r#"{"SchemaVersion":2,"ArtifactName":"web:1","ArtifactType":"container_image","CreatedAt":"2026-01-02T03:04:05Z","Results":[
            {"Target":"web:1 (debian 12)","Class":"os-pkgs","Vulnerabilities":[{"VulnerabilityID":"CVE-1","PkgName":"apt","Status":"fixed"},{"VulnerabilityID":"CVE-1","PkgName":"bash","Status":"not_affected"},{"VulnerabilityID":"CVE-2","PkgName":"apt","Status":"under_investigation"}],
              "ExperimentalModifiedFindings":[{"Type":"vulnerability","Status":"ignored","Statement":"no","Finding":{"VulnerabilityID":"CVE-3","PkgName":"apt"}},{"Type":"odd","Finding":{}}]},
            {"Target":"app/package-lock.json","Class":"lang-pkgs","Vulnerabilities":[{"VulnerabilityID":"CVE-4","PkgName":"left-pad","Severity":"CRITICAL"}]},
            {"Target":"/k.pem","Class":"secret","Secrets":[{"RuleID":"private-key","Severity":"HIGH"}]},
            {"Target":"OS Packages","Class":"license","Licenses":[{"Name":"GPL-3.0","PkgName":"bash","Severity":"HIGH"},{"Name":"MIT","PkgName":"x","Severity":"LOW"},{"Name":"?","PkgName":"y","Severity":"UNKNOWN"}]}]}"#;
        let (kept, outcome) = read(Trivy, text.as_bytes());
        assert!(!outcome.expect("Trivy").complete);
        assert_eq!(kept.kinds(), ["malformed"]);
        assert_eq!(kept.counts(), [1, 5, 0, 2, 1, 0]);
        assert_eq!(kept.suppressed(), 1);
        assert_eq!(kept.of("CVE-1")[0], ("web:1#apt", CheckResult::Fail));
        assert_eq!(kept.of("CVE-4"), [("web:1/app/package-lock.json#left-pad", CheckResult::Fail)]);
        assert_eq!(kept.findings[3].message.as_deref(), Some("no"));
        assert_eq!(kept.findings[0].observed_at.map(|m| m.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn kubernetes_objects_have_their_identity_and_errors_count() {
        let text = r#"{"ClusterName":"c","Findings":[
            {"Namespace":"n","Kind":"Deployment","Name":"d","Results":[{"Target":"Deployment/d","Class":"config","MisconfSummary":{"Successes":1,"Failures":1},"Misconfigurations":[{"ID":"KSV001","Status":"FAIL"}]}]},
            {"Results":[{"Target":"x","Misconfigurations":[{"ID":"KSV001","Status":"PASS"}]}],"Namespace":"n","Kind":"Pod","Name":"p"},
            {"Namespace":"n","Kind":"Pod","Name":"q","Error":"no image"},{"Results":[]}]}"#;
        let (kept, outcome) = read(Trivy, text.as_bytes());
        assert!(!outcome.expect("Trivy").complete);
        assert_eq!(kept.of("KSV-0001"), [("c:apps/Deployment/n/d", CheckResult::Fail), ("c:/Pod/n/p", CheckResult::Pass)]);
        assert_eq!(kept.counts(), [2, 1, 0, 0, 0, 0]);
        assert_eq!(kept.kinds(), ["scanner_error", "incomplete"]);
        mangle(Trivy, &text.as_bytes()[..text.len()]);
    }

    #[test]
    fn compliance_without_automation_is_a_persons_work() {
        let text = r#"{"ID":"k8s-cis-1.23","Title":"t","SummaryControls":[{"ID":"1","TotalFail":3},{"ID":"2","TotalFail":0},{"ID":"3","TotalFail":null},{"ID":"4"},{}]}"#;
        let (kept, outcome) = read(Trivy, text.as_bytes());
        assert!(!outcome.expect("Trivy").complete);
        assert_eq!(kept.counts(), [1, 1, 0, 2, 0, 0]);
        let text = r#"{"ID":"k","Results":[{"ID":"1","Results":[{"Target":"T","Misconfigurations":[{"AVDID":"AVD-KSV-0001","Status":"FAIL"},{"ID":"KSV-0002","Status":"PASS"}]}]},
            {"ID":"2","Results":null},{"ID":"3","DefaultStatus":"FAIL"},{"ID":"4","Results":[],"DefaultStatus":"PASS"}]}"#;
        let (kept, outcome) = read(Trivy, text.as_bytes());
        assert!(outcome.expect("Trivy").complete, "{:?}", kept.problems);
        assert_eq!(kept.counts(), [2, 2, 0, 1, 0, 0]);
        assert_eq!(kept.findings[0].control_refs[0].id, "1");
        assert_eq!(kept.findings[0].fields.get("profile"), Some("k"));
    }

    #[test]
    fn nothing_to_look_at_is_said_and_strangers_are_refused() {
        let (kept, outcome) = read(Trivy, br#"{"SchemaVersion":2,"ArtifactName":".","ArtifactType":"filesystem"}"#);
        assert!(outcome.expect("Trivy").complete);
        assert_eq!(kept.kinds(), ["empty"]);
        for (text, words) in [
            (r#"{"version":"2.1.0","runs":[]}"#, "sarif"),
            (r#"{"SchemaVersion":"2018-10-08","ProductArn":"x"}"#, "SchemaVersion"),
            (r#"[{"filename":"a"}]"#, "Target"),
            ("[]", "empty"),
            (r#"{"Results":[]}"#, "`Results`"),
            (r#"{"apiVersion":"v1","kind":"List","items":[]}"#, "`items`"),
        ] {
            let (_, outcome) = read(Trivy, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let (kept, outcome) =
            read(Trivy, br#"[{"Target":"a (alpine)","Type":"alpine","Vulnerabilities":[{"VulnerabilityID":"CVE-1","PkgName":"p"}]}]"#);
        assert!(outcome.expect("schema 1").complete);
        assert_eq!(kept.of("CVE-1"), [("a (alpine)#p", CheckResult::Fail)]);
    }
}
