//! AWS Security Finding Format, from Security Hub or Prowler.
//!
//! Producers and versions read: Security Hub CSPM `GetFindings` (schema 2018-10-08), consolidated and per-standard
//! control findings; the same in EventBridge events and console exports (`findings`, `detail.findings`); Prowler v3 to v5
//! `json-asff`. Alone, in one array, a value a line, or in pages, one after another.
//! Specification: <https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings-format.html>.
//!
//! Oddities met:
//! - A finding without `Compliance` (GuardDuty, Inspector, most partners) says nothing about a control: left out,
//!   counted in one log line, no problem, and in no ratio.
//! - The check is `Compliance.SecurityControlId` (consolidated), else `ProductFields.ControlId` or `.RuleId` (one finding a
//!   standard), else `GeneratorId`, of which Prowler's prefix `prowler-` is taken off so that its checks have one name everywhere.
//! - `WARNING` from Prowler is a muted finding, read as a failure that is suppressed: the word hides which it was, and the
//!   worse is the honest guess. From Security Hub it means that information is missing: an error.
//! - `NOT_AVAILABLE` means that a check could not run, unless a status reason says that AWS Config found the rule not applicable.
//! - `PASSED` with the reason `CONFIG_EVALUATIONS_EMPTY` is told as the pass that Security Hub calls it, with the field
//!   `invalid`: nothing was evaluated, so it is no evidence of anything.
//! - `Resources` may have several entries: one finding each, all with the record's verdict.
//! - `AwsAccountId` is sometimes missing: the account is then taken from the resource's ARN.
//! - Prowler cuts each related requirement after 63 characters; the last id of one that long is not trusted.
//! - `ARCHIVED` records are inactive, whatever their workflow says.

use super::json::{Item, Memo, Picker, Raw, Reader, Record, Report, Several, Strangers, Text, nullable};
use super::ocsf::{Room, borrowed, clip};
use super::{Context, Flow, FormatError, Sink, time};
use crate::domain::{
    CheckResult, ControlRef, Finding, Lifecycle, Moment, Position, ProblemKind, ResourceRef, RunOutcome, ScannerInfo, Severity,
};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::BufRead;

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_by(input, ctx, sink, true)
}

/// Reads one document; with `fast`, picks values out of records where that is possible, else parses every record.
pub(super) fn read_by(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink, fast: bool) -> Result<RunOutcome, FormatError> {
    let mut report = Report::new(ctx);
    let mut reader = Reader::new(input, ctx, &["Findings", "findings"]);
    let mut picker = Picker::new(&PATHS);
    let mut strangers = Strangers::default();
    let mut run = Run { ctx, scanner: None, scanned_at: None, findings: 0, left_out: 0, memo: Memo::new(), room: Room::default() };
    let mut more_pages = false;
    while let Some(item) = reader.next(&mut report, sink) {
        let record = match item {
            Item::Record(record) => record,
            Item::Envelope(page) => {
                more_pages = has_next_page(page);
                continue;
            }
        };
        let picked = if fast { pick(&mut picker, &record) } else { None };
        let entry = match picked {
            Some(entry) => entry,
            None => match record.parse::<Entry<'_>>() {
                Ok(entry) => entry,
                Err(why) => {
                    report.problem(sink, ProblemKind::Malformed, record.position(), why);
                    continue;
                }
            },
        };
        if [&entry.product_arn, &entry.generator_id, &entry.schema_version].iter().all(|t| t.get().is_none()) {
            strangers.stranger(&record, &mut report, sink);
            continue;
        }
        strangers.known(&mut report, sink);
        if run.entry(&entry, &record, &mut report, sink) == Flow::Stop {
            report.incomplete();
            return Ok(RunOutcome { complete: report.finish(sink), scanner: run.scanner, scanned_at: run.scanned_at, read_as: None });
        }
    }
    strangers.verdict(&reader, ctx, "ASFF findings with `ProductArn`, `GeneratorId` and `Compliance`")?;
    if run.left_out > 0 {
        let count = run.left_out;
        tracing::info!(source = ctx.source, count, "left out {count} findings without `Compliance`: they say nothing about a control");
    }
    if run.findings == 0 {
        // Nothing was said about any resource, so nothing can be concluded from what is missing.
        report.incomplete();
        if reader.records() == 0 && !more_pages {
            say_empty(&reader, &mut report, sink);
        }
    }
    if more_pages {
        report.incomplete();
    }
    Ok(RunOutcome { complete: report.finish(sink), scanner: run.scanner, scanned_at: run.scanned_at, read_as: None })
}

/// Whether a page says that more follow. The document's last page decides whether the document is the whole answer.
pub(super) fn has_next_page(page: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Page<'a> {
        #[serde(borrow, rename = "NextToken")]
        next_token: Text<'a>,
    }
    serde_json::from_slice::<Page<'_>>(page).is_ok_and(|page| page.next_token.get().is_some())
}

/// Says that there was no record at all, unless something was said already.
pub(super) fn say_empty(reader: &Reader<'_, '_>, report: &mut Report<'_>, sink: &mut dyn Sink) {
    if reader.is_void_list() {
        report.problem(
            sink,
            ProblemKind::Empty,
            Position::default(),
            "the list of findings is empty: nothing was checked, or nothing was found",
        );
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The parts of a finding that we read

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    schema_version: Text<'a>,
    #[serde(borrow)]
    product_arn: Text<'a>,
    #[serde(borrow)]
    product_name: Text<'a>,
    #[serde(borrow)]
    generator_id: Text<'a>,
    #[serde(borrow)]
    aws_account_id: Text<'a>,
    #[serde(borrow)]
    aws_account_name: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    last_observed_at: Text<'a>,
    #[serde(borrow)]
    updated_at: Text<'a>,
    #[serde(borrow)]
    created_at: Text<'a>,
    #[serde(borrow)]
    record_state: Text<'a>,
    #[serde(borrow)]
    workflow_state: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    workflow: Workflow<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    severity: Grade<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    compliance: Compliance<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    product_fields: ProductFields<'a>,
    #[serde(borrow)]
    resources: Several<Resource<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Workflow<'a> {
    #[serde(borrow)]
    status: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Grade<'a> {
    #[serde(borrow)]
    label: Text<'a>,
    #[serde(borrow)]
    normalized: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Compliance<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    security_control_id: Text<'a>,
    #[serde(borrow)]
    associated_standards: Raw<'a>,
    #[serde(borrow)]
    related_requirements: Raw<'a>,
    #[serde(borrow)]
    status_reasons: Raw<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ProductFields<'a> {
    #[serde(borrow)]
    standards_arn: Text<'a>,
    #[serde(borrow)]
    standards_guide_arn: Text<'a>,
    #[serde(borrow)]
    control_id: Text<'a>,
    #[serde(borrow)]
    rule_id: Text<'a>,
    #[serde(borrow)]
    provider_name: Text<'a>,
    #[serde(borrow)]
    provider_version: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Resource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "Type")]
    kind: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
}

/// What the picker takes out of a finding, in the order of [`pick`].
const PATHS: [&str; 31] = [
    "SchemaVersion",
    "ProductArn",
    "ProductName",
    "GeneratorId",
    "AwsAccountId",
    "AwsAccountName",
    "Region",
    "Title",
    "Description",
    "LastObservedAt",
    "UpdatedAt",
    "CreatedAt",
    "RecordState",
    "WorkflowState",
    "Workflow.Status",
    "Severity.Label",
    "Severity.Normalized",
    "Compliance.Status",
    "Compliance.SecurityControlId",
    "Compliance.AssociatedStandards",
    "Compliance.RelatedRequirements",
    "Compliance.StatusReasons",
    "ProductFields.StandardsArn",
    "ProductFields.StandardsGuideArn",
    "ProductFields.ControlId",
    "ProductFields.RuleId",
    "ProductFields.ProviderName",
    "ProductFields.ProviderVersion",
    "Resources[0].Id",
    "Resources[0].Type",
    "Resources[0].Region",
];

/// The finding, if it is plain enough to be picked; it is then what parsing would give.
fn pick<'a>(picker: &mut Picker, record: &Record<'a>) -> Option<Entry<'a>> {
    let mut out: [&'a str; PATHS.len()] = [""; PATHS.len()];
    if !picker.pick(record, &mut out) || out[28].is_empty() {
        return None;
    }
    let text = |i: usize| Text::picked(record, out[i]);
    Some(Entry {
        schema_version: text(0)?,
        product_arn: text(1)?,
        product_name: text(2)?,
        generator_id: text(3)?,
        aws_account_id: text(4)?,
        aws_account_name: text(5)?,
        region: text(6)?,
        title: text(7)?,
        description: text(8)?,
        last_observed_at: text(9)?,
        updated_at: text(10)?,
        created_at: text(11)?,
        record_state: text(12)?,
        workflow_state: text(13)?,
        workflow: Workflow { status: text(14)? },
        severity: Grade { label: text(15)?, normalized: Text::picked_number(record, out[16])? },
        compliance: Compliance {
            status: text(17)?,
            security_control_id: text(18)?,
            associated_standards: Raw(out[19]),
            related_requirements: Raw(out[20]),
            status_reasons: Raw(out[21]),
        },
        product_fields: ProductFields {
            standards_arn: text(22)?,
            standards_guide_arn: text(23)?,
            control_id: text(24)?,
            rule_id: text(25)?,
            provider_name: text(26)?,
            provider_version: text(27)?,
        },
        resources: Several { first: Some(Resource { id: text(28)?, kind: text(29)?, region: text(30)? }), rest: Vec::new() },
    })
}

// ---------------------------------------------------------------------------------------------------------------------
// What it means

struct Run<'r, 'c> {
    ctx: &'r Context<'c>,
    scanner: Option<ScannerInfo>,
    scanned_at: Option<Moment>,
    findings: u64,
    left_out: u64,
    memo: Memo<Vec<ControlRef<'static>>>,
    room: Room,
}

impl Run<'_, '_> {
    fn entry(&mut self, entry: &Entry<'_>, record: &Record<'_>, report: &mut Report<'_>, sink: &mut dyn Sink) -> Flow {
        let compliance = &entry.compliance;
        let control = compliance.security_control_id.get();
        if compliance.status.get().is_none() && control.is_none() {
            self.left_out += 1;
            return Flow::More;
        }
        let generator = entry.generator_id.get().unwrap_or_default();
        let prowler = generator.starts_with("prowler-")
            && (entry.product_arn.get().is_some_and(|arn| arn.ends_with("product/prowler/prowler"))
                || entry.product_fields.provider_name.get() == Some("Prowler"));
        let fields = &entry.product_fields;
        let own = [control, fields.control_id.get(), fields.rule_id.get()].into_iter().flatten().next();
        let check = own.unwrap_or(if prowler { &generator["prowler-".len()..] } else { generator });
        if check.is_empty() {
            let message = "no check: neither `Compliance.SecurityControlId` nor `ProductFields.ControlId` nor `GeneratorId`";
            report.problem(sink, ProblemKind::Incomplete, record.position(), message);
            return Flow::More;
        }
        let reasons: Vec<Reason<'_>> = compliance.status_reasons.read().unwrap_or_default();
        let (result, muted) = match compliance.status.get() {
            Some("PASSED") => (CheckResult::Pass, false),
            Some("FAILED") => (CheckResult::Fail, false),
            Some("WARNING") if prowler => (CheckResult::Fail, true),
            Some("WARNING") => (CheckResult::Error, false),
            Some("NOT_AVAILABLE") | None => {
                let inapplicable = reasons.iter().any(|r| r.reason_code.get().is_some_and(|code| code.contains("NOT_APPLICABLE")));
                (if inapplicable { CheckResult::NotApplicable } else { CheckResult::NotAssessed }, false)
            }
            Some(other) => {
                let message = format!("`Compliance.Status` is `{}`, expected PASSED, FAILED, WARNING or NOT_AVAILABLE", clip(other));
                report.problem(sink, ProblemKind::Malformed, record.position(), message);
                return Flow::More;
            }
        };
        let workflow = entry.workflow.status.get().or_else(|| entry.workflow_state.get());
        let lifecycle = if entry.record_state.get() == Some("ARCHIVED") {
            Lifecycle::Inactive
        } else if muted || workflow == Some("SUPPRESSED") {
            Lifecycle::Suppressed
        } else {
            Lifecycle::Active
        };
        self.note_scanner(entry);

        let parts = (compliance.associated_standards, compliance.related_requirements);
        let refs = self.memo.get(check, (parts.0.0, parts.1.0), || Some(control_refs(parts.0, parts.1, control, prowler)));
        let mut control_refs = borrowed(refs.map(Vec::as_slice).unwrap_or_default(), std::mem::take(&mut self.room.refs));
        let per_standard;
        if control.is_none() && !prowler {
            // One finding a standard: the standard is named by an ARN, or by the generator at least.
            let standard = fields.standards_arn.get().or_else(|| fields.standards_guide_arn.get());
            per_standard = standard.or(Some(generator).filter(|g| g.contains("/v/"))).and_then(|s| standard_ref(s, check));
            control_refs.extend(per_standard);
        }
        let severity =
            entry.severity.label.get().and_then(Severity::lenient).or_else(|| severity_by_number(entry.severity.normalized.get()?));
        let times = [&entry.last_observed_at, &entry.updated_at, &entry.created_at];
        let observed_at = times.iter().filter_map(|t| t.get()).find_map(time::parse);
        self.scanned_at = self.scanned_at.max(observed_at);
        let unevaluated = result == CheckResult::Pass && reasons.iter().any(|r| r.reason_code.get() == Some("CONFIG_EVALUATIONS_EMPTY"));
        let reason = reasons.first().and_then(|reason| reason.description.get());
        let mut finding = Finding {
            check: Cow::Borrowed(check),
            resource: ResourceRef::default(),
            result,
            lifecycle,
            severity,
            observed_at,
            fields: crate::domain::Fields(std::mem::take(&mut self.room.fields)),
            title: entry.title.cow(),
            message: reason.map(Cow::Borrowed).or_else(|| entry.description.cow()),
            control_refs,
            count: 1,
            aggregate: false,
            raw: self.ctx.want_raw.then_some(record.bytes()),
        };
        let mut resources = 0;
        for resource in entry.resources.iter() {
            resources += 1;
            let Some(id) = resource.id.get() else {
                let message = format!("resource {resources} of this finding has no `Id`");
                report.problem(sink, ProblemKind::Incomplete, record.position(), message);
                continue;
            };
            finding.resource = ResourceRef { id: Cow::Borrowed(id), kind: resource.kind.cow(), name: None };
            finding.fields.0.clear();
            finding.fields.set("provider", "aws");
            finding.fields.set("account", entry.aws_account_id.get().or_else(|| account_in(id)).unwrap_or_default());
            finding.fields.set("account_name", entry.aws_account_name.get().unwrap_or_default());
            let region = resource.region.get().or_else(|| entry.region.get()).or_else(|| part_of_arn(entry.product_arn.get()?, 3));
            finding.fields.set("region", region.unwrap_or_default());
            finding.fields.set("service", part_of_arn(id, 2).unwrap_or_default());
            finding.fields.set("invalid", if unevaluated { "no_evaluations" } else { "" });
            self.findings += 1;
            if sink.finding(&finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
        if resources == 0 {
            report.problem(sink, ProblemKind::Incomplete, record.position(), "a finding without `Resources`");
        }
        self.room.keep(finding);
        Flow::More
    }

    fn note_scanner(&mut self, entry: &Entry<'_>) {
        if self.scanner.is_some() {
            return;
        }
        let fields = &entry.product_fields;
        let by_arn = || entry.product_arn.get().and_then(|arn| arn.rsplit_once("product/")).map(|(_, name)| name);
        let name = fields.provider_name.get().or_else(|| entry.product_name.get()).or_else(by_arn);
        if let Some(name) = name {
            let version = if fields.provider_name.get().is_some() { fields.provider_version.get() } else { None };
            self.scanner =
                Some(ScannerInfo { name: name.to_owned(), version: version.unwrap_or_default().to_owned(), rule_set: String::new() });
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Reason<'a> {
    #[serde(borrow)]
    reason_code: Text<'a>,
    #[serde(borrow)]
    description: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Standard<'a> {
    #[serde(borrow)]
    standards_id: Text<'a>,
}

fn control_refs(standards: Raw<'_>, requirements: Raw<'_>, control: Option<&str>, prowler: bool) -> Vec<ControlRef<'static>> {
    let requirements: Vec<Text<'_>> = requirements.read().unwrap_or_default();
    let requirements = requirements.iter().filter_map(|r| r.get());
    if prowler {
        return requirements.flat_map(prowler_refs).collect();
    }
    let standards: Vec<Standard<'_>> = standards.read().unwrap_or_default();
    let mut refs = Vec::new();
    if let Some(control) = control {
        refs.extend(standards.iter().filter_map(|s| standard_ref(s.standards_id.get()?, control)));
    }
    refs.extend(requirements.filter_map(requirement_ref));
    refs
}

/// `standards/aws-foundational-security-best-practices/v/1.0.0` (or an ARN that ends so, or with `ruleset/…`), and the
/// control's id in it.
pub(super) fn standard_ref(standard: &str, control: &str) -> Option<ControlRef<'static>> {
    if control.is_empty() || standard.is_empty() {
        return None;
    }
    let name = ["standards/", "ruleset/", "subscription/"]
        .iter()
        .find_map(|mark| standard.split_once(mark).map(|(_, name)| name))
        .unwrap_or(standard);
    let (framework, version) = match name.split_once("/v/") {
        Some((framework, version)) => (framework, version.split('/').next()),
        None => (name, None),
    };
    Some(ControlRef {
        framework: Cow::Owned(framework.to_owned()),
        version: version.map(|v| Cow::Owned(v.to_owned())),
        id: Cow::Owned(control.to_owned()),
    })
}

/// `CIS AWS Foundations Benchmark v1.2.0/1.22` or `NIST.800-53.r5 AC-1`.
pub(super) fn requirement_ref(requirement: &str) -> Option<ControlRef<'static>> {
    let (framework, id) = requirement.split_once('/').or_else(|| requirement.rsplit_once(' '))?;
    let (framework, version) = match framework.rsplit_once(" v") {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => (name, Some(version)),
        _ => (framework, None),
    };
    let (framework, id) = (framework.trim(), id.trim());
    if framework.is_empty() || id.is_empty() {
        return None;
    }
    Some(ControlRef {
        framework: Cow::Owned(framework.to_owned()),
        version: version.map(|v| Cow::Owned(v.to_owned())),
        id: Cow::Owned(id.to_owned()),
    })
}

/// `NIST-800-53-Revision-5 ac_2_1 ac_3`: the framework and its requirements, cut after 63 characters.
fn prowler_refs(requirement: &str) -> Vec<ControlRef<'static>> {
    let cut = requirement.chars().count() >= 63;
    let mut words = requirement.split_ascii_whitespace();
    let Some(framework) = words.next() else { return Vec::new() };
    let mut ids: Vec<&str> = words.collect();
    if cut && !requirement.ends_with(' ') {
        ids.pop();
    }
    let one = |id: &str| ControlRef { framework: Cow::Owned(framework.to_owned()), version: None, id: Cow::Owned(id.to_owned()) };
    ids.into_iter().map(one).collect()
}

/// Security Hub's bands of `Severity.Normalized`.
fn severity_by_number(number: &str) -> Option<Severity> {
    Some(match number.parse::<f64>().ok()? {
        n if n < 1.0 => Severity::Info,
        n if n < 40.0 => Severity::Low,
        n if n < 70.0 => Severity::Medium,
        n if n < 90.0 => Severity::High,
        _ => Severity::Critical,
    })
}

/// The account in `arn:aws:…:account:…` or `AWS::::Account:account`.
fn account_in(id: &str) -> Option<&str> {
    let account = id.strip_prefix("AWS::::Account:").or_else(|| part_of_arn(id, 4))?;
    (account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())).then_some(account)
}

/// One of the parts of an ARN: `arn:partition:service:region:account:resource`.
fn part_of_arn(arn: &str, n: usize) -> Option<&str> {
    arn.starts_with("arn:").then(|| arn.split(':').nth(n))?.filter(|part| !part.is_empty())
}
