//! OCSF 1.x findings, as compliance scanners write them.
//!
//! Producers and versions read: Prowler v4 and v5 `json-ocsf` (class 2004 Detection Finding; OCSF 1.1 to 1.5), Prowler's
//! `ocsf_compliance` (class 2003, one event for each finding and requirement), AWS Security Hub (V2) `GetFindingsV2`
//! (class 2003, OCSF 1.6), and Prowler v3's native JSON (`CheckID`, `Status`, `ResourceArn` …), which is no OCSF but
//! the same findings. Alone, in one array, a value a line, or in pages (`Findings`).
//! Specification: <https://schema.ocsf.io/1.5.0/classes/compliance_finding>, `…/detection_finding`.
//!
//! Oddities met:
//! - Prowler's verdict is `status_code` (PASS, FAIL, MANUAL). `status` is the finding's life cycle, New on passes too;
//!   `Suppressed` is a muted finding. v4 writes `status: New` beside `status_id: 3`, so the word counts, not the number.
//! - `time` is in milliseconds by the specification and in seconds from Prowler; told by magnitude. v4.0 to v4.4 have
//!   `event_time` instead. `*_dt` have no zone: UTC.
//! - `finding_info.uid` is not unique. Nothing is identified by it here.
//! - Kubernetes findings have no `cloud` and a `namespace` for the region.
//! - Prowler appends to an array while it scans: a scan that was cut short ends with a comma and no bracket.
//! - Security Hub: the ARN is `uid_alt` and `uid` the short id; a passing finding is `status: Resolved`.
//! - Compliance status Warning (2) means that information is missing: an error, not half a failure. OCSF has no word for
//!   "not applicable"; producers use Other (99) with a text.
//! - Other classes (2002 vulnerabilities; detections without a verdict, such as GuardDuty's) come in the same feed. They are
//!   no statements about a control: left out, counted in one log line, and in no ratio.
//!
//! A record with several resources is one finding for each. What stands in `unmapped.compliance` (Prowler) or in
//! `compliance.standards` and `.requirements` becomes `control_refs`.

use super::json::{Item, Memo, Picker, Raw, Reader, Record, Report, Several, Strangers, Text, nullable, recycle};
use super::{Context, Flow, FormatError, Sink, asff, time};
use crate::domain::{
    CheckResult, ControlRef, Fields, Finding, Lifecycle, Moment, ProblemKind, ResourceRef, RunOutcome, ScannerInfo, Severity,
};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
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
    let mut run =
        Run { ctx, scanner: None, scanned_at: None, findings: 0, left_out: BTreeMap::new(), memo: Memo::new(), room: Room::default() };
    let mut more_pages = false;
    while let Some(item) = reader.next(&mut report, sink) {
        let record = match item {
            Item::Record(record) => record,
            Item::Envelope(page) => {
                more_pages = asff::has_next_page(page);
                continue;
            }
        };
        let picked = if fast { pick(&mut picker, &record) } else { None };
        let event = match picked {
            Some(event) => event,
            None => match record.parse::<Event<'_>>() {
                Ok(event) => event,
                Err(why) => {
                    report.problem(sink, ProblemKind::Malformed, record.position(), why);
                    continue;
                }
            },
        };
        let flow = if !event.class_uid.is_empty() {
            strangers.known(&mut report, sink);
            run.event(&event, &record, &mut report, sink)
        } else if !event.v3_check.is_empty() {
            strangers.known(&mut report, sink);
            match record.parse::<V3<'_>>() {
                Ok(v3) => run.v3(&v3, &record, &mut report, sink),
                Err(why) => {
                    report.problem(sink, ProblemKind::Malformed, record.position(), why);
                    Flow::More
                }
            }
        } else {
            strangers.stranger(&record, &mut report, sink);
            Flow::More
        };
        if flow == Flow::Stop {
            report.incomplete();
            return Ok(RunOutcome { complete: report.finish(sink), scanner: run.scanner, scanned_at: run.scanned_at, read_as: None });
        }
    }
    strangers.verdict(&reader, ctx, "OCSF findings with `class_uid` (or Prowler v3's with `CheckID`)")?;
    for (class, count) in &run.left_out {
        tracing::info!(
            source = ctx.source,
            class,
            count,
            "left out {count} OCSF events of class {class}: they say nothing about a control"
        );
    }
    if run.findings == 0 {
        // Nothing was said about any resource, so nothing can be concluded from what is missing.
        report.incomplete();
        if reader.records() == 0 && !more_pages {
            asff::say_empty(&reader, &mut report, sink);
        }
    }
    if more_pages {
        report.incomplete();
    }
    Ok(RunOutcome { complete: report.finish(sink), scanner: run.scanner, scanned_at: run.scanned_at, read_as: None })
}

// ---------------------------------------------------------------------------------------------------------------------
// The parts of an event that we read

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    class_uid: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    status_id: Text<'a>,
    #[serde(borrow)]
    status_code: Text<'a>,
    #[serde(borrow)]
    status_detail: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    severity_id: Text<'a>,
    #[serde(borrow)]
    time: Text<'a>,
    #[serde(borrow)]
    time_dt: Text<'a>,
    #[serde(borrow)]
    event_time: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    finding_info: FindingInfo<'a>,
    #[serde(borrow)]
    resources: Several<Resource<'a>>,
    /// Deprecated since OCSF 1.3.
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
    #[serde(borrow, deserialize_with = "nullable")]
    cloud: Cloud<'a>,
    #[serde(borrow, deserialize_with = "unmapped")]
    unmapped: Unmapped<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    compliance: Compliance<'a>,
    /// Prowler v3.
    #[serde(borrow, rename = "CheckID")]
    v3_check: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    event_code: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    product: Product<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Product<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct FindingInfo<'a> {
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    last_seen_time: Text<'a>,
    #[serde(borrow)]
    last_seen_time_dt: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    analytic: Analytic<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Analytic<'a> {
    #[serde(borrow)]
    uid: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    uid: Text<'a>,
    #[serde(borrow)]
    uid_alt: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    namespace: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    group: Named<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    owner: Owner<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Owner<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    account: Account<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Account<'a> {
    #[serde(borrow)]
    uid: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Cloud<'a> {
    #[serde(borrow)]
    provider: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    account: Account<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Unmapped<'a> {
    #[serde(borrow)]
    compliance: Raw<'a>,
    #[serde(borrow)]
    provider: Text<'a>,
    #[serde(borrow)]
    provider_uid: Text<'a>,
    #[serde(borrow)]
    cloud: Raw<'a>,
}

/// `unmapped` is anybody's: what is no object of the shape we know is nothing to us.
fn unmapped<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Unmapped<'a>, D::Error> {
    Ok(Raw::deserialize(deserializer)?.read().unwrap_or_default())
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Compliance<'a> {
    #[serde(borrow)]
    control: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    status_id: Text<'a>,
    #[serde(borrow)]
    standards: Raw<'a>,
    #[serde(borrow)]
    requirements: Raw<'a>,
    #[serde(borrow)]
    checks: Raw<'a>,
}

/// What the picker takes out of an event, in the order of [`pick`].
const PATHS: [&str; 41] = [
    "class_uid",
    "metadata.event_code",
    "metadata.product.name",
    "metadata.product.version",
    "status",
    "status_id",
    "status_code",
    "status_detail",
    "message",
    "severity",
    "severity_id",
    "time",
    "time_dt",
    "event_time",
    "finding_info.title",
    "finding_info.last_seen_time",
    "finding_info.last_seen_time_dt",
    "finding_info.analytic.uid",
    "resources[0].uid",
    "resources[0].uid_alt",
    "resources[0].name",
    "resources[0].type",
    "resources[0].region",
    "resources[0].namespace",
    "resources[0].group.name",
    "resources[0].owner.account.uid",
    "resources[0].owner.account.name",
    "cloud.provider",
    "cloud.region",
    "cloud.account.uid",
    "cloud.account.name",
    "unmapped.compliance",
    "unmapped.provider",
    "unmapped.provider_uid",
    "unmapped.cloud",
    "compliance.control",
    "compliance.status",
    "compliance.status_id",
    "compliance.standards",
    "compliance.requirements",
    "compliance.checks",
];

/// The event, if it is plain enough to be picked; it is then what parsing would give.
fn pick<'a>(picker: &mut Picker, record: &Record<'a>) -> Option<Event<'a>> {
    let mut out: [&'a str; PATHS.len()] = [""; PATHS.len()];
    if !picker.pick(record, &mut out) {
        return None;
    }
    let text = |i: usize| Text::picked(record, out[i]);
    let number = |i: usize| Text::picked_number(record, out[i]);
    // An event without a class may be Prowler v3's; one without a resource may have the old single one.
    if out[0].is_empty() || out[18..=26].iter().all(|v| v.is_empty()) {
        return None;
    }
    Some(Event {
        class_uid: number(0)?,
        metadata: Metadata { event_code: text(1)?, product: Product { name: text(2)?, version: text(3)? } },
        status: text(4)?,
        status_id: number(5)?,
        status_code: text(6)?,
        status_detail: text(7)?,
        message: text(8)?,
        severity: text(9)?,
        severity_id: number(10)?,
        time: number(11)?,
        time_dt: text(12)?,
        event_time: text(13)?,
        finding_info: FindingInfo {
            title: text(14)?,
            last_seen_time: number(15)?,
            last_seen_time_dt: text(16)?,
            analytic: Analytic { uid: text(17)? },
        },
        resources: Several {
            first: Some(Resource {
                uid: text(18)?,
                uid_alt: text(19)?,
                name: text(20)?,
                kind: text(21)?,
                region: text(22)?,
                namespace: text(23)?,
                group: Named { name: text(24)? },
                owner: Owner { account: Account { uid: text(25)?, name: text(26)? } },
            }),
            rest: Vec::new(),
        },
        resource: None,
        cloud: Cloud { provider: text(27)?, region: text(28)?, account: Account { uid: text(29)?, name: text(30)? } },
        unmapped: Unmapped { compliance: Raw(out[31]), provider: text(32)?, provider_uid: text(33)?, cloud: Raw(out[34]) },
        compliance: Compliance {
            control: text(35)?,
            status: text(36)?,
            status_id: number(37)?,
            standards: Raw(out[38]),
            requirements: Raw(out[39]),
            checks: Raw(out[40]),
        },
        v3_check: Text::None,
    })
}

/// Prowler v3's own JSON, for all of its providers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct V3<'a> {
    #[serde(borrow, rename = "CheckID")]
    check: Text<'a>,
    #[serde(borrow)]
    check_title: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    status_extended: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    provider: Text<'a>,
    #[serde(borrow)]
    service_name: Text<'a>,
    #[serde(borrow)]
    assessment_start_time: Text<'a>,
    #[serde(borrow)]
    account_id: Text<'a>,
    #[serde(borrow)]
    subscription: Text<'a>,
    #[serde(borrow)]
    project_id: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    location: Text<'a>,
    #[serde(borrow)]
    resource_arn: Text<'a>,
    #[serde(borrow)]
    resource_id: Text<'a>,
    #[serde(borrow)]
    resource_name: Text<'a>,
    #[serde(borrow)]
    resource_type: Text<'a>,
    #[serde(borrow)]
    compliance: Raw<'a>,
}

// ---------------------------------------------------------------------------------------------------------------------
// What it means

struct Run<'r, 'c> {
    ctx: &'r Context<'c>,
    scanner: Option<ScannerInfo>,
    scanned_at: Option<Moment>,
    findings: u64,
    left_out: BTreeMap<String, u64>,
    memo: Memo<Vec<ControlRef<'static>>>,
    room: Room,
}

impl Run<'_, '_> {
    fn event(&mut self, event: &Event<'_>, record: &Record<'_>, report: &mut Report<'_>, sink: &mut dyn Sink) -> Flow {
        let class = event.class_uid.get().unwrap_or_default();
        let product = &event.metadata.product;
        let prowler = product.name.get().is_some_and(|name| name.eq_ignore_ascii_case("prowler"));
        let mut lifecycle = lifecycle(&event.status, &event.status_id);
        let result = match class {
            "2003" => compliance_result(event),
            "2004" => match event.status_code.get() {
                // Detections of other products have no verdict.
                None if !prowler => {
                    self.leave_out(class);
                    return Flow::More;
                }
                None => {
                    report.problem(sink, ProblemKind::Incomplete, record.position(), "a Prowler finding without `status_code`");
                    return Flow::More;
                }
                Some(code) => match verdict(code) {
                    Some((result, muted)) => {
                        if muted && lifecycle == Lifecycle::Active {
                            lifecycle = Lifecycle::Suppressed;
                        }
                        result
                    }
                    None if !prowler => {
                        self.leave_out(class);
                        return Flow::More;
                    }
                    None => {
                        let message = format!("`status_code` is `{}`, expected PASS, FAIL or MANUAL", clip(code));
                        report.problem(sink, ProblemKind::Malformed, record.position(), message);
                        return Flow::More;
                    }
                },
            },
            _ => {
                self.leave_out(class);
                return Flow::More;
            }
        };
        let one_check;
        let check = if let Some(code) = event.metadata.event_code.get() {
            code
        } else if let Some(uid) = only_check(event.compliance.checks) {
            one_check = uid;
            &one_check
        } else if let Some(id) = [&event.compliance.control, &event.finding_info.analytic.uid].iter().find_map(|t| t.get()) {
            id
        } else {
            let message = "no check: neither `metadata.event_code` nor `compliance.control` nor `finding_info.analytic.uid`";
            report.problem(sink, ProblemKind::Incomplete, record.position(), message);
            return Flow::More;
        };
        if self.scanner.is_none() {
            self.note_scanner(product.name.get().unwrap_or_default(), product.version.get().unwrap_or_default());
        }

        let parts = if class == "2003" {
            (event.compliance.standards.0, event.compliance.requirements.0)
        } else {
            (event.unmapped.compliance.0, "")
        };
        let control = event.compliance.control.get().unwrap_or_default();
        let refs = self.memo.get(check, parts, || {
            if class == "2003" {
                Some(standard_refs(event.compliance.standards, event.compliance.requirements, control))
            } else {
                compliance_map(event.unmapped.compliance)
            }
        });
        let Some(refs) = refs else {
            report.problem(sink, ProblemKind::Malformed, record.position(), "`unmapped.compliance` cannot be read");
            return Flow::More;
        };

        let observed_at = observed_at(event, class);
        if let Some(at) = observed_at {
            self.scanned_at = self.scanned_at.max(Some(at));
        }
        let severity = event.severity.get().and_then(Severity::lenient).or_else(|| severity_by_id(event.severity_id.get()?));
        let manual = AccountOf::default();
        let outer: AccountOf<'_> = if event.cloud == Cloud::default() { event.unmapped.cloud.read().unwrap_or(manual) } else { manual };
        let nowhere = Resource::default();
        let mut finding = Finding {
            check: Cow::Borrowed(check),
            resource: ResourceRef::default(),
            result,
            lifecycle,
            severity,
            observed_at,
            fields: Fields(std::mem::take(&mut self.room.fields)),
            title: event.finding_info.title.cow(),
            message: event.status_detail.cow().or_else(|| event.message.cow()),
            control_refs: borrowed(refs, std::mem::take(&mut self.room.refs)),
            count: 1,
            aggregate: false,
            raw: self.ctx.want_raw.then_some(record.bytes()),
        };
        let mut resources = 0;
        let single = event.resource.iter().filter(|_| event.resources.first.is_none());
        for resource in event.resources.iter().chain(single) {
            resources += 1;
            let Some(id) = resource_id(resource) else {
                let message = format!("resource {resources} of this finding has neither `uid` nor `name`");
                report.problem(sink, ProblemKind::Incomplete, record.position(), message);
                continue;
            };
            finding.resource = ResourceRef { id: Cow::Borrowed(id), kind: resource.kind.cow(), name: resource.name.cow() };
            set_fields(&mut finding.fields, event, resource, &outer);
            self.findings += 1;
            if sink.finding(&finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
        if resources == 0 {
            if prowler && check == "manual" {
                // A requirement that no check covers: a person has to look. Prowler's CSV names its resource like this.
                finding.resource.id = Cow::Borrowed("manual_check");
                set_fields(&mut finding.fields, event, &nowhere, &outer);
                self.findings += 1;
                return sink.finding(&finding);
            }
            report.problem(sink, ProblemKind::Incomplete, record.position(), "a finding without `resources`");
        }
        self.room.keep(finding);
        Flow::More
    }

    fn v3(&mut self, v3: &V3<'_>, record: &Record<'_>, report: &mut Report<'_>, sink: &mut dyn Sink) -> Flow {
        let check = v3.check.get().unwrap_or_default();
        let status = v3.status.get().unwrap_or_default();
        let Some((result, muted)) = verdict(status) else {
            let message = format!("`Status` is `{}`, expected PASS, FAIL, MANUAL, INFO, WARNING or MUTED", clip(status));
            report.problem(sink, ProblemKind::Malformed, record.position(), message);
            return Flow::More;
        };
        let Some(id) = [&v3.resource_arn, &v3.resource_id, &v3.resource_name].iter().find_map(|t| t.get()) else {
            report.problem(
                sink,
                ProblemKind::Incomplete,
                record.position(),
                "a finding without `ResourceArn`, `ResourceId` or `ResourceName`",
            );
            return Flow::More;
        };
        let Some(refs) = self.memo.get(check, (v3.compliance.0, ""), || compliance_map(v3.compliance)) else {
            report.problem(sink, ProblemKind::Malformed, record.position(), "`Compliance` cannot be read");
            return Flow::More;
        };
        let mut finding = Finding::new(check, id, result);
        finding.control_refs = borrowed(refs, Vec::new());
        if muted {
            finding.lifecycle = Lifecycle::Suppressed;
        }
        finding.severity = v3.severity.get().and_then(Severity::lenient);
        finding.observed_at = v3.assessment_start_time.get().and_then(time::parse);
        finding.title = v3.check_title.cow();
        finding.message = v3.status_extended.cow();
        finding.resource.kind = v3.resource_type.cow();
        finding.resource.name = v3.resource_name.cow().or_else(|| v3.resource_id.cow());
        let fields = &mut finding.fields;
        let provider = v3.provider.get().unwrap_or_default();
        fields.set("provider", lower(provider));
        let account = [&v3.account_id, &v3.subscription, &v3.project_id].iter().find_map(|t| t.get()).unwrap_or_default();
        set_account(fields, provider, account);
        fields.set("region", [&v3.region, &v3.location].iter().find_map(|t| t.get()).unwrap_or_default());
        fields.set("service", v3.service_name.get().unwrap_or_default());
        finding.raw = self.ctx.want_raw.then_some(record.bytes());
        if self.scanner.is_none() {
            self.scanner = Some(ScannerInfo { name: "Prowler".to_owned(), ..ScannerInfo::default() });
        }
        self.scanned_at = self.scanned_at.max(finding.observed_at);
        self.findings += 1;
        sink.finding(&finding)
    }

    fn leave_out(&mut self, class: &str) {
        if let Some(count) = self.left_out.get_mut(class) {
            *count += 1;
        } else if self.left_out.len() < 32 {
            self.left_out.insert(clip(class).to_owned(), 1);
        }
    }

    fn note_scanner(&mut self, name: &str, version: &str) {
        if !name.is_empty() {
            self.scanner = Some(ScannerInfo { name: name.to_owned(), version: version.to_owned(), rule_set: String::new() });
        }
    }
}

/// The account as Prowler's `ocsf_compliance` writes it, under `unmapped.cloud`.
type AccountOf<'a> = Cloud<'a>;

fn set_fields<'f>(fields: &mut Fields<'f>, event: &'f Event<'_>, resource: &'f Resource<'_>, outer: &AccountOf<'_>) {
    fields.0.clear();
    let cloud = &event.cloud;
    let kept = |text: Option<&str>| text.map(|t| Cow::<'f, str>::Owned(t.to_owned()));
    let provider = match cloud.provider.get().or_else(|| event.unmapped.provider.get()) {
        Some(provider) => lower(provider),
        None => match kept(outer.provider.get()) {
            Some(provider) => provider,
            // Prowler leaves `cloud` out for Kubernetes alone.
            None if resource.namespace.get().is_some() => Cow::Borrowed("kubernetes"),
            None => Cow::Borrowed(""),
        },
    };
    let kubernetes = provider == "kubernetes";
    if kubernetes {
        fields.set("cluster", event.unmapped.provider_uid.get().unwrap_or_default());
    } else {
        let owner = &resource.owner.account;
        if let Some(account) = owner.uid.get().or_else(|| cloud.account.uid.get()) {
            set_account(fields, &provider, account);
        } else if let Some(account) = outer.account.uid.get() {
            fields.set("account", account.to_owned());
        }
        if let Some(name) = owner.name.get().or_else(|| cloud.account.name.get()) {
            fields.set("account_name", name);
        } else if let Some(name) = outer.account.name.get() {
            fields.set("account_name", name.to_owned());
        }
    }
    fields.set("provider", provider);
    if let Some(region) = resource.region.get().or_else(|| cloud.region.get()) {
        fields.set("region", region);
    } else if let Some(region) = outer.region.get() {
        fields.set("region", region.to_owned());
    }
    fields.set("namespace", resource.namespace.get().unwrap_or_default());
    fields.set("service", resource.group.name.get().unwrap_or_default());
}

/// The account, and under the name that the provider has for it.
fn set_account<'f>(fields: &mut Fields<'f>, provider: &str, account: &'f str) {
    fields.set("account", account);
    if provider.eq_ignore_ascii_case("azure") {
        fields.set("subscription", account);
    } else if provider.eq_ignore_ascii_case("gcp") {
        fields.set("project", account);
    }
}

/// Prowler's verdicts, and whether it muted the finding in the same word (v3).
fn verdict(word: &str) -> Option<(CheckResult, bool)> {
    Some(match word {
        "PASS" => (CheckResult::Pass, false),
        "FAIL" => (CheckResult::Fail, false),
        // v3 says INFO where a person has to look, and WARNING or MUTED for a failure on the allow list.
        "MANUAL" | "INFO" => (CheckResult::Manual, false),
        "WARNING" | "MUTED" => (CheckResult::Fail, true),
        _ => return None,
    })
}

/// The verdict of a compliance finding. The words count before the numbers.
fn compliance_result(event: &Event<'_>) -> CheckResult {
    let compliance = &event.compliance;
    if let Some(word) = compliance.status.get() {
        let same = |other: &str| word.eq_ignore_ascii_case(other);
        if same("pass") || same("passed") || same("compliant") {
            return CheckResult::Pass;
        } else if same("fail") || same("failed") || same("non-compliant") || same("noncompliant") {
            return CheckResult::Fail;
        } else if same("warning") || same("error") {
            return CheckResult::Error;
        } else if same("not applicable") || same("not_applicable") || same("notapplicable") {
            return CheckResult::NotApplicable;
        } else if same("manual") {
            return CheckResult::Manual;
        }
    } else {
        match compliance.status_id.get() {
            Some("1") => return CheckResult::Pass,
            Some("2") => return CheckResult::Error,
            Some("3") => return CheckResult::Fail,
            _ => {}
        }
    }
    // Unknown or Other. Prowler's MANUAL is Unknown here, and said above.
    match event.status_code.get().and_then(verdict) {
        Some((result, _)) => result,
        None => CheckResult::NotAssessed,
    }
}

fn lifecycle(word: &Text<'_>, id: &Text<'_>) -> Lifecycle {
    if word.is("New") {
        return Lifecycle::Active;
    }
    match word.get() {
        Some(word) if word.eq_ignore_ascii_case("suppressed") => Lifecycle::Suppressed,
        Some(word) if word.eq_ignore_ascii_case("archived") || word.eq_ignore_ascii_case("deleted") => Lifecycle::Inactive,
        Some(_) => Lifecycle::Active,
        None => match id.get() {
            Some("3") => Lifecycle::Suppressed,
            Some("5" | "6") => Lifecycle::Inactive,
            _ => Lifecycle::Active,
        },
    }
}

/// When the scanner looked: when the finding was last seen, if a compliance finding says so (Security Hub moves `time`
/// when a person edits the finding), else the event's time.
fn observed_at(event: &Event<'_>, class: &str) -> Option<Moment> {
    let info = &event.finding_info;
    let seen = [&info.last_seen_time, &info.last_seen_time_dt];
    let event_times = [&event.time, &event.time_dt, &event.event_time];
    let seen = seen.iter().filter(|_| class == "2003").chain(&event_times);
    seen.filter_map(|text| text.get()).find_map(time::parse)
}

fn severity_by_id(id: &str) -> Option<Severity> {
    Some(match id {
        "1" => Severity::Info,
        "2" => Severity::Low,
        "3" => Severity::Medium,
        "4" => Severity::High,
        "5" | "6" => Severity::Critical,
        _ => return None,
    })
}

/// The id that other scanners know the resource by: an ARN, wherever it stands, else the first that is there.
fn resource_id<'r>(resource: &'r Resource<'_>) -> Option<&'r str> {
    let (uid, alt) = (resource.uid.get(), resource.uid_alt.get());
    match (uid, alt) {
        (Some(uid), Some(alt)) if alt.starts_with("arn:") && !uid.starts_with("arn:") => Some(alt),
        _ => uid.or(alt).or_else(|| resource.name.get()),
    }
}

/// The check's id, if `compliance.checks` has exactly one.
fn only_check(checks: Raw<'_>) -> Option<String> {
    let checks: Several<Analytic<'_>> = checks.read()?;
    if !checks.rest.is_empty() {
        return None;
    }
    checks.first?.uid.get().map(str::to_owned)
}

/// Prowler's map from a framework to requirements. Something else there is no map, and no fault.
fn compliance_map(raw: Raw<'_>) -> Option<Vec<ControlRef<'static>>> {
    #[derive(Default)]
    struct Map(Vec<ControlRef<'static>>);
    impl<'de> Deserialize<'de> for Map {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Map;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a map from frameworks to lists of requirements")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Map, A::Error> {
                    let mut refs = Vec::new();
                    while let Some((framework, ids)) = map.next_entry::<Cow<'de, str>, Raw<'de>>()? {
                        let ids: Vec<Text<'_>> = ids.read().unwrap_or_default();
                        for id in ids.iter().filter_map(|id| id.get()) {
                            refs.push(ControlRef {
                                framework: Cow::Owned(framework.to_string()),
                                version: None,
                                id: Cow::Owned(id.to_owned()),
                            });
                        }
                    }
                    Ok(Map(refs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    if raw.0.starts_with('{') { serde_json::from_str::<Map>(raw.0).ok().map(|map| map.0) } else { Some(Vec::new()) }
}

/// What a compliance finding refers to: Security Hub's standards with the control's id, its requirements with their
/// standard's name in them; Prowler's one framework with its requirement.
fn standard_refs(standards: Raw<'_>, requirements: Raw<'_>, control: &str) -> Vec<ControlRef<'static>> {
    let standards: Vec<Text<'_>> = standards.read().unwrap_or_default();
    let requirements: Vec<Text<'_>> = requirements.read().unwrap_or_default();
    let standards: Vec<&str> = standards.iter().filter_map(|s| s.get()).collect();
    let requirements: Vec<&str> = requirements.iter().filter_map(|r| r.get()).collect();
    let mut refs = Vec::new();
    for standard in &standards {
        if standard.contains("/v/") || requirements.is_empty() {
            refs.extend(asff::standard_ref(standard, control));
        }
    }
    for requirement in requirements {
        match standards.as_slice() {
            [standard] if !standard.contains("/v/") => refs.push(ControlRef {
                framework: Cow::Owned((*standard).to_owned()),
                version: None,
                id: Cow::Owned(requirement.to_owned()),
            }),
            _ => refs.extend(asff::requirement_ref(requirement)),
        }
    }
    refs
}

/// The same references, borrowed for one finding, in the room of those of another.
pub(super) fn borrowed<'r>(refs: &'r [ControlRef<'static>], room: Vec<ControlRef<'static>>) -> Vec<ControlRef<'r>> {
    let cow = |text: &'r Cow<'static, str>| Cow::Borrowed(&**text);
    let mut room: Vec<ControlRef<'r>> = room;
    room.extend(refs.iter().map(|r| ControlRef { framework: cow(&r.framework), version: r.version.as_ref().map(cow), id: cow(&r.id) }));
    room
}

/// Vectors that are filled for each finding, kept so that their room is asked for once.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) refs: Vec<ControlRef<'static>>,
    pub(super) fields: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

impl Room {
    /// Takes back what a finding is done with.
    pub(super) fn keep(&mut self, finding: Finding<'_>) {
        self.refs = recycle(finding.control_refs);
        self.fields = recycle(finding.fields.0);
    }
}

/// Lower case, borrowed where it is already.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) }
}

/// The beginning of a text from outside, for a message.
pub(super) fn clip(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(i, _)| i);
    &text[..end]
}
