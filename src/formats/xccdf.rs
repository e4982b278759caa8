//! XCCDF 1.1/1.2 results and ARF.
//!
//! Producers read: oscap 1.2.17, 1.3.7 and 1.4 (`--results`, `--results-arf`) with ComplianceAsCode content, DISA SCC.
//! Specification: NIST IR 7275 r4 (<https://csrc.nist.gov/pubs/ir/7275/r4/upd1/final>), ARF: NIST IR 7694.
//!
//! Every `rule-result` of every `TestResult` is one finding; the check is its `idref` as written, the resource the host.
//!
//! | `result`         | result         | why |
//! |------------------|----------------|-----|
//! | `pass`, `fixed`  | pass           | fixed: failed, and was put right during the scan |
//! | `fail`           | fail           | |
//! | `error`, `unknown` | error        | the check met what it could not judge: no information |
//! | `notapplicable`  | not_applicable | |
//! | `informational`  | not_applicable | collects facts; never a requirement |
//! | `notchecked`     | not_assessed   | no check engine took it |
//! | `notselected`    | not_assessed   | not in the profile |
//!
//! Lifecycle: active. A `rule-result/override` by which a person turned a failure into something else is a waiver of the
//! source's own: the scanner's verdict (the first `old-result`) is restored and the finding is suppressed, so that
//! policy decides. An override towards a failure is taken as it stands. `role` does not change the verdict.
//!
//! Oddities met: namespace prefixes vary (none, `xccdf-1.2:`, SCC's `cdf:`), so elements are matched by namespace URI.
//! The root is a `Benchmark`, a bare `TestResult`, or an ARF collection of up to dozens of megabytes with the
//! `TestResult` near its end. Times have no zone in oscap up to 1.2 and in SCC: UTC. On the wrong platform oscap exits
//! with 0 and every rule `notapplicable`: such a scan proves nothing, so its findings are handed over as they are but
//! with the field `invalid` (which takes them out of all evidence), after a problem that says so. The compliance operator
//! names its target `chroot:///host`; the host's name is then in the target facts.
//!
//! Document types are refused (they define entities), and so is any entity that XML itself does not define.

use super::stream::{Halt, Out};
use super::{Context, FormatError, Sink, time};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, Moment, ProblemKind, RunOutcome, ScannerInfo, Severity, resource};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::{NsReader, XmlVersion};
use std::io::{self, BufRead, Read};

const XCCDF: [&str; 2] = ["http://checklists.nist.gov/xccdf/1.2", "http://checklists.nist.gov/xccdf/1.1"];
const ARF: &str = "http://scap.nist.gov/schema/asset-reporting-format/1.1";
const EXPECTED: &str = "XCCDF 1.1 or 1.2 results (a TestResult, or a Benchmark that holds one) or an ARF collection";
/// Texts are names, hosts and messages; what is longer is cut here.
const TEXT_BYTES: usize = 4096;
/// Identifiers of one rule-result that are kept.
const IDENTS: usize = 64;
/// Rows that wait for the first verdict of their scan. No benchmark has a tenth of it; past it the scan counts as one
/// without any verdict.
const WAITING_ROWS: usize = 50_000;

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut xml = Xml::new(input, ctx);
    let read = document(&mut xml, &mut out);
    out.end(read, EXPECTED)
}

fn document(xml: &mut Xml<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut buf = Vec::new();
    let mut root = None;
    let mut scans = 0u64;
    loop {
        let start = match xml.next(&mut buf)? {
            Event::Start(start) => start,
            Event::Eof => break,
            _ => continue,
        };
        if root.is_none() {
            let (uri, local) = xml.name(&start);
            let known = match local {
                "TestResult" | "Benchmark" => XCCDF.contains(&uri),
                "asset-report-collection" => uri == ARF,
                _ => false,
            };
            if !known {
                let hint = match local {
                    "data-stream-collection" => ": a data stream is content to scan with, not a result",
                    "html" => ": a report for people; ask the scanner for --results or --results-arf",
                    "oval_results" | "oval_definitions" => ": OVAL, not XCCDF",
                    _ => "",
                };
                let space = if uri.is_empty() { String::new() } else { format!(" of {uri}") };
                return Err(Halt::Wrong(format!("an XML document `{}`{}{hint}", short(local), short(&space))));
            }
            root = Some(local.to_owned());
        }
        if xml.xccdf(&start) == Some("TestResult") {
            out.recognised = true;
            scans += 1;
            let scan = Scan::begin(&start)?;
            test_result(xml, scan, out)?;
        }
    }
    match root.as_deref() {
        None => Err(Halt::Broken(ProblemKind::Empty, 0, "the document is empty".to_owned())),
        Some("Benchmark") if scans == 0 => {
            Err(Halt::Wrong("a Benchmark without a TestResult: content to scan with, not a result".to_owned()))
        }
        Some(_) if scans == 0 => {
            out.recognised = true;
            out.fault(ProblemKind::Empty, 0, "the collection holds no TestResult");
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// One `TestResult`, as far as it is known.
#[derive(Default)]
struct Scan {
    end: Option<Moment>,
    system: String,
    version: String,
    benchmark: String,
    profile: String,
    target: String,
    fact_host: String,
    scanner: String,
    scanner_version: String,
    host: String,
    kind: &'static str,
    placed: bool,
    judged: bool,
    /// Rows that came before the first verdict.
    waiting: Vec<Row>,
    rows: u64,
}

#[derive(Default)]
struct Row {
    check: String,
    result: CheckResult,
    lifecycle: Lifecycle,
    severity: Option<Severity>,
    time: Option<Moment>,
    message: String,
    idents: Vec<(String, String)>,
}

impl Scan {
    fn begin(start: &BytesStart<'_>) -> Result<Scan, Halt> {
        let mut scan = Scan { kind: "Host", ..Scan::default() };
        attributes(start, |name, value| match name {
            "end-time" => scan.end = time::parse(value),
            "version" => value.clone_into(&mut scan.version),
            "test-system" => value.clone_into(&mut scan.system),
            _ => {}
        })?;
        Ok(scan)
    }

    fn note(&mut self, name: &str, value: &str) {
        let slot = match name {
            "urn:xccdf:fact:asset:identifier:fqdn" => &mut self.fact_host,
            "urn:xccdf:fact:asset:identifier:host_name" | "urn:scap:fact:asset:identifier:host_name" if self.fact_host.is_empty() => {
                &mut self.fact_host
            }
            "urn:scap:fact:asset:identifier:fqdn" => &mut self.fact_host,
            "urn:xccdf:fact:scanner:name" => &mut self.scanner,
            "urn:xccdf:fact:scanner:version" => &mut self.scanner_version,
            _ => return,
        };
        value.trim().clone_into(slot);
    }

    /// The host's identity, once everything that can name it has been read.
    fn place(&mut self, out: &mut Out<'_, '_>, at: u64) {
        if self.placed {
            return;
        }
        self.placed = true;
        let target = self.target.trim();
        let chroot = target.starts_with("chroot:");
        let nameless = target.is_empty() || chroot;
        self.host = if nameless && !self.fact_host.is_empty() {
            resource::host(&self.fact_host).into_owned()
        } else if chroot {
            out.note(
                ProblemKind::Incomplete,
                at,
                format!("the target is `{}` and no fact names the host: several hosts would look like one", short(target)),
            );
            target.to_owned()
        } else if target.is_empty() {
            out.fault(ProblemKind::Incomplete, at, "the TestResult names no target host");
            String::new()
        } else if target.contains("://") {
            self.kind = "ContainerImage";
            target.to_owned()
        } else {
            resource::host(target).into_owned()
        };
    }

    fn tell(&self, row: &Row, invalid: Option<&'static str>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let mut finding = Finding::new(row.check.as_str(), self.host.as_str(), row.result);
        finding.resource.kind = Some(self.kind.into());
        finding.lifecycle = row.lifecycle;
        finding.severity = row.severity;
        finding.observed_at = self.end.or(row.time);
        if self.kind == "Host" {
            finding.fields.set("host", self.host.as_str());
        } else {
            finding.fields.set("artifact", self.host.as_str());
        }
        finding.fields.set("profile", self.profile.as_str());
        let invalid = invalid.or(if self.host.is_empty() { Some("no_target") } else { None });
        finding.fields.set("invalid", invalid.unwrap_or_default());
        finding.message = Some(row.message.as_str()).filter(|m| !m.is_empty()).map(Into::into);
        finding.control_refs = row
            .idents
            .iter()
            .map(|(system, id)| ControlRef { framework: system.as_str().into(), version: None, id: id.as_str().into() })
            .collect();
        out.finding(&finding)
    }

    fn take(&mut self, row: Row, out: &mut Out<'_, '_>, at: u64) -> Result<(), Halt> {
        self.rows += 1;
        if self.judged {
            return self.tell(&row, None, out);
        }
        self.judged = matches!(row.result, CheckResult::Pass | CheckResult::Fail | CheckResult::Error);
        self.waiting.push(row);
        if self.judged {
            self.place(out, at);
            self.release(None, out)
        } else if self.waiting.len() >= WAITING_ROWS {
            // Whatever follows, memory stays bounded: a scan this far without a verdict is none.
            self.conclude(out, at)
        } else {
            Ok(())
        }
    }

    fn release(&mut self, invalid: Option<&'static str>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        for row in std::mem::take(&mut self.waiting) {
            self.tell(&row, invalid, out)?;
        }
        Ok(())
    }

    /// The scan ended, or what there is of it. A scan whose rules gave no verdict at all is no evidence of anything.
    fn conclude(&mut self, out: &mut Out<'_, '_>, at: u64) -> Result<(), Halt> {
        self.place(out, at);
        if self.judged || self.waiting.is_empty() {
            return Ok(());
        }
        let not_applicable = self.waiting.iter().filter(|r| r.result == CheckResult::NotApplicable).count();
        let all = self.waiting.len();
        let profile = if self.profile.is_empty() { String::new() } else { format!(" of profile {}", short(&self.profile)) };
        if not_applicable > 0 {
            let message = format!(
                "no rule{profile} came to a verdict on `{}`: {not_applicable} of {all} are not applicable; is the content made for this platform?",
                short(&self.host)
            );
            out.fault(ProblemKind::WrongPlatform, at, message);
            self.release(Some("wrong_platform"), out)
        } else {
            out.fault(
                ProblemKind::Empty,
                at,
                format!("no rule{profile} was evaluated on `{}`: {all} rules, no verdict", short(&self.host)),
            );
            self.release(Some("no_verdict"), out)
        }
    }

    fn scanner(&self) -> Option<ScannerInfo> {
        // cpe:/a:redhat:openscap:1.3.7
        let mut cpe = self.system.split(':').skip(3);
        let (cpe_name, cpe_version) = (cpe.next().unwrap_or_default(), cpe.next().unwrap_or_default());
        let or = |a: &str, b: &str| if a.is_empty() { b.to_owned() } else { a.to_owned() };
        let name = or(&self.scanner, cpe_name);
        let rules: Vec<&str> =
            [&self.benchmark, &self.version, &self.profile].into_iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
        let info = ScannerInfo { name, version: or(&self.scanner_version, cpe_version), rule_set: rules.join(" ") };
        (info != ScannerInfo::default()).then_some(info)
    }
}

fn test_result(xml: &mut Xml<'_>, mut scan: Scan, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let read = children(xml, &mut scan, out);
    let at = xml.position();
    if let Err(halt) = read {
        // What was read of it stays. Whether the rest would have held a verdict, nobody knows.
        if !matches!(halt, Halt::Stop) {
            scan.place(out, at);
            scan.release(Some("no_verdict"), out)?;
        }
        return Err(halt);
    }
    scan.conclude(out, at)?;
    if scan.rows == 0 && !scan.judged {
        out.fault(ProblemKind::Empty, at, "a TestResult holds no rule-result: the scan ran no rule");
    }
    if scan.end.is_none() {
        out.note(ProblemKind::Time, at, "a TestResult has no end-time that can be read");
    }
    out.scanned(scan.end);
    if let Some(info) = scan.scanner() {
        out.outcome.scanner = Some(info);
    }
    Ok(())
}

fn children(xml: &mut Xml<'_>, scan: &mut Scan, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let floor = xml.depth;
    let mut buf = Vec::new();
    let mut text = String::new();
    loop {
        let start = match xml.next(&mut buf)? {
            Event::Start(start) => start,
            Event::End(_) if xml.depth < floor => return Ok(()),
            _ => continue,
        };
        match xml.xccdf(&start) {
            Some("benchmark") => {
                attributes(&start, |name, value| {
                    if name == "id" || (name == "href" && scan.benchmark.is_empty()) {
                        value.clone_into(&mut scan.benchmark);
                    }
                })?;
                xml.skip(&mut buf)?;
            }
            Some("profile") => {
                attributes(&start, |name, value| {
                    if name == "idref" {
                        value.clone_into(&mut scan.profile);
                    }
                })?;
                xml.skip(&mut buf)?;
            }
            Some("target") => {
                xml.text(&mut buf, &mut text)?;
                if scan.target.is_empty() {
                    text.trim().clone_into(&mut scan.target);
                }
            }
            // Gone into: its children, the facts, are met by this same loop.
            Some("target-facts") => {}
            Some("fact") => {
                let mut name = String::new();
                attributes(&start, |n, value| {
                    if n == "name" {
                        value.clone_into(&mut name);
                    }
                })?;
                xml.text(&mut buf, &mut text)?;
                scan.note(&name, &text);
            }
            Some("rule-result") => {
                let at = xml.position();
                out.record = out.record.saturating_add(1);
                let mut row = Row::default();
                attributes(&start, |name, value| match name {
                    "idref" => value.clone_into(&mut row.check),
                    "severity" => row.severity = Severity::lenient(value),
                    "time" => row.time = time::parse(value),
                    _ => {}
                })?;
                if let Some(row) = rule_result(xml, row, out, at)? {
                    scan.take(row, out, at)?;
                }
            }
            _ => xml.skip(&mut buf)?,
        }
    }
}

/// Reads the inside of a `rule-result`; nothing if it lacks what makes it one.
fn rule_result(xml: &mut Xml<'_>, mut row: Row, out: &mut Out<'_, '_>, at: u64) -> Result<Option<Row>, Halt> {
    let floor = xml.depth;
    let mut buf = Vec::new();
    let mut text = String::new();
    let mut result = String::new();
    let mut before = None;
    loop {
        let start = match xml.next(&mut buf)? {
            Event::Start(start) => start,
            Event::End(_) if xml.depth < floor => break,
            _ => continue,
        };
        match xml.xccdf(&start) {
            Some("result") => xml.text(&mut buf, &mut result)?,
            // Gone into, for its `old-result`.
            Some("override") => {}
            Some("old-result") => {
                xml.text(&mut buf, &mut text)?;
                before.get_or_insert_with(|| text.trim().to_owned());
            }
            Some("ident") if row.idents.len() < IDENTS => {
                let mut system = String::new();
                attributes(&start, |name, value| {
                    if name == "system" {
                        value.clone_into(&mut system);
                    }
                })?;
                xml.text(&mut buf, &mut text)?;
                if !text.trim().is_empty() {
                    row.idents.push((system, text.trim().to_owned()));
                }
            }
            Some("message") if row.message.is_empty() => {
                xml.text(&mut buf, &mut text)?;
                text.trim().clone_into(&mut row.message);
            }
            _ => xml.skip(&mut buf)?,
        }
    }
    let mut wrong = |message: String| {
        out.outcome.complete = false;
        out.note(ProblemKind::Malformed, at, message);
        Ok(None)
    };
    if row.check.is_empty() {
        return wrong("a rule-result has no idref".to_owned());
    }
    row.result = match word(result.trim()) {
        Some(r) => r,
        None => return wrong(format!("rule-result {}: `{}` is not a result", short(&row.check), short(result.trim()))),
    };
    if let Some(before) = before {
        match word(&before) {
            Some(old @ (CheckResult::Fail | CheckResult::Error)) if row.result != CheckResult::Fail => {
                row.result = old;
                row.lifecycle = Lifecycle::Suppressed;
            }
            Some(_) => {}
            None => return wrong(format!("rule-result {}: `{}` is not a result", short(&row.check), short(&before))),
        }
    }
    Ok(Some(row))
}

fn word(text: &str) -> Option<CheckResult> {
    Some(match text {
        "pass" | "fixed" => CheckResult::Pass,
        "fail" => CheckResult::Fail,
        "error" | "unknown" => CheckResult::Error,
        "notapplicable" | "informational" => CheckResult::NotApplicable,
        "notchecked" | "notselected" => CheckResult::NotAssessed,
        _ => return None,
    })
}

/// A short excerpt for a message.
fn short(text: &str) -> &str {
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn attributes(start: &BytesStart<'_>, mut each: impl FnMut(&str, &str)) -> Result<(), Halt> {
    let broken = |e: String| Halt::Broken(ProblemKind::Malformed, 0, format!("an attribute cannot be read: {e}"));
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| broken(e.to_string()))?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| broken(e.to_string()))?;
        each(attribute.key.local_name().into_inner(), cut(&value));
    }
    Ok(())
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The XML reader with its bounds: one event no longer than a record, nesting no deeper than allowed.
struct Xml<'r> {
    reader: NsReader<Quota<'r>>,
    depth: usize,
    max_depth: usize,
    event_bytes: u64,
}

impl<'r> Xml<'r> {
    fn new(input: &'r mut dyn BufRead, ctx: &Context<'_>) -> Xml<'r> {
        let event_bytes = u64::try_from(ctx.limits.record_bytes).unwrap_or(u64::MAX);
        let mut reader = NsReader::from_reader(Quota { inner: input, event: event_bytes, document: ctx.limits.document_bytes });
        // An empty element then comes as a beginning and an end, like any other.
        reader.config_mut().expand_empty_elements = true;
        Xml { reader, depth: 0, max_depth: ctx.limits.depth, event_bytes }
    }

    fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    fn next<'b>(&mut self, buf: &'b mut Vec<u8>) -> Result<Event<'b>, Halt> {
        buf.clear();
        self.reader.get_mut().event = self.event_bytes;
        let event = match self.reader.read_event_into(buf) {
            Ok(event) => event,
            Err(e) => return Err(self.broken(&e)),
        };
        let at = self.reader.buffer_position();
        match &event {
            Event::Start(_) => {
                self.depth += 1;
                if self.depth > self.max_depth {
                    return Err(Halt::Broken(ProblemKind::Limit, at, format!("elements are nested deeper than {}", self.max_depth)));
                }
            }
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::DocType(name) if name.trim_start().get(..4).is_some_and(|n| n.eq_ignore_ascii_case("html")) => {
                return Err(Halt::Wrong("an HTML page".to_owned()));
            }
            Event::DocType(_) => {
                return Err(Halt::Broken(
                    ProblemKind::Malformed,
                    at,
                    "a document type declaration is refused: it may define entities".to_owned(),
                ));
            }
            Event::Text(text) if self.depth == 0 && !text.trim().is_empty() => {
                let message = "text outside of any element: this is not XML".to_owned();
                return Err(if at <= self.event_bytes { Halt::Wrong(message) } else { Halt::Broken(ProblemKind::Malformed, at, message) });
            }
            Event::Eof if self.depth > 0 => {
                return Err(Halt::Broken(ProblemKind::Truncated, at, format!("the document ends with {} elements still open", self.depth)));
            }
            _ => {}
        }
        Ok(event)
    }

    fn broken(&self, e: &quick_xml::Error) -> Halt {
        use quick_xml::errors::{Error, SyntaxError};
        let at = self.reader.buffer_position();
        match e {
            Error::Io(io) if Quota::spent(io) => Halt::Broken(ProblemKind::Limit, at, io.to_string()),
            Error::Io(io) => Halt::from_io(io, at),
            Error::Syntax(SyntaxError::InvalidBangMarkup) => Halt::Broken(ProblemKind::Malformed, at, format!("not well-formed: {e}")),
            Error::Syntax(_) => Halt::Broken(ProblemKind::Truncated, at, format!("the document breaks off: {e}")),
            Error::Encoding(_) => Halt::Broken(ProblemKind::Malformed, at, "not UTF-8; convert the document first".to_owned()),
            _ => Halt::Broken(ProblemKind::Malformed, at, format!("not well-formed: {e}")),
        }
    }

    fn name<'n>(&'n self, start: &'n BytesStart<'_>) -> (&'n str, &'n str) {
        let (space, local) = self.reader.resolver().resolve_element(start.name());
        let uri = match space {
            ResolveResult::Bound(Namespace(uri)) => uri,
            _ => "",
        };
        (uri, local.into_inner())
    }

    /// The local name, if it is one of XCCDF's.
    fn xccdf<'n>(&'n self, start: &'n BytesStart<'_>) -> Option<&'n str> {
        let (uri, local) = self.name(start);
        XCCDF.contains(&uri).then_some(local)
    }

    /// Passes over what is left of the element just begun.
    fn skip(&mut self, buf: &mut Vec<u8>) -> Result<(), Halt> {
        let floor = self.depth;
        while self.depth >= floor {
            self.next(buf)?;
        }
        Ok(())
    }

    /// The text of the element just begun, up to its end.
    fn text(&mut self, buf: &mut Vec<u8>, text: &mut String) -> Result<(), Halt> {
        text.clear();
        let floor = self.depth;
        while self.depth >= floor {
            match self.next(buf)? {
                Event::Text(t) => add(text, &t.xml_content(XmlVersion::Implicit1_0)),
                Event::CData(t) => add(text, &t.xml_content(XmlVersion::Implicit1_0)),
                Event::GeneralRef(r) => {
                    let resolved = match r.resolve_char_ref() {
                        Ok(Some(c)) => {
                            add(text, c.encode_utf8(&mut [0; 4]));
                            continue;
                        }
                        Ok(None) => resolve_predefined_entity(&r),
                        Err(_) => None,
                    };
                    let Some(known) = resolved else {
                        return Err(Halt::Broken(ProblemKind::Malformed, self.position(), format!("unknown entity `&{};`", short(&r))));
                    };
                    add(text, known);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn add(text: &mut String, more: &str) {
    let mut room = TEXT_BYTES.saturating_sub(text.len()).min(more.len());
    while !more.is_char_boundary(room) {
        room -= 1;
    }
    text.push_str(&more[..room]);
}

/// Ends the reading where an event or the document is longer than allowed. The XML reader keeps an event whole in
/// memory, so a text without an end would otherwise fill it.
struct Quota<'r> {
    inner: &'r mut dyn BufRead,
    event: u64,
    document: u64,
}

impl Quota<'_> {
    const EVENT: &'static str = "a tag or text is longer than a record may be";
    const DOCUMENT: &'static str = "the document is longer than allowed";

    fn spent(e: &io::Error) -> bool {
        e.get_ref().is_some_and(|inner| {
            let text = inner.to_string();
            text == Quota::EVENT || text == Quota::DOCUMENT
        })
    }
}

impl Read for Quota<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let n = chunk.len().min(out.len());
        out[..n].copy_from_slice(&chunk[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Quota<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.event.min(self.document)).unwrap_or(usize::MAX);
        let spent = if self.event == 0 { Quota::EVENT } else { Quota::DOCUMENT };
        let chunk = self.inner.fill_buf()?;
        if left == 0 && !chunk.is_empty() {
            return Err(io::Error::other(spent));
        }
        Ok(&chunk[..chunk.len().min(left)])
    }

    fn consume(&mut self, n: usize) {
        let used = u64::try_from(n).unwrap_or(u64::MAX);
        self.event = self.event.saturating_sub(used);
        self.document = self.document.saturating_sub(used);
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Xccdf;

    fn doc(inside: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><x:Benchmark xmlns:x="http://checklists.nist.gov/xccdf/1.1" xmlns:h="http://www.w3.org/1999/xhtml" id="b">
            <x:Rule id="r"><x:title>t &amp; u</x:title><h:p>a<h:b/>b</h:p></x:Rule>{inside}</x:Benchmark>"#
        )
    }

    fn scan(rows: &str) -> String {
        doc(&format!(
            r#"<x:TestResult id="t" end-time="2026-01-02T03:04:05" version="7"><x:profile idref="p"/><x:target>h1</x:target>{rows}</x:TestResult>"#
        ))
    }

    fn result(id: &str, word: &str) -> String {
        format!("<x:rule-result idref=\"{id}\" severity=\"high\"><x:result>\n {word} </x:result></x:rule-result>")
    }

    #[test]
    fn every_word_has_its_place() {
        let rows: String = ["pass", "fixed", "fail", "error", "unknown", "notapplicable", "informational", "notchecked", "notselected"]
            .iter()
            .map(|w| result(w, w))
            .collect();
        let (kept, outcome) = read(Xccdf, scan(&rows).as_bytes());
        let outcome = outcome.expect("XCCDF");
        assert!(outcome.complete && kept.problems.is_empty(), "{:?}", kept.problems);
        assert_eq!(kept.counts(), [2, 1, 2, 0, 2, 2]);
        assert_eq!(outcome.scanned_at.map(|m| m.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(outcome.scanner.map(|s| s.rule_set).as_deref(), Some("7 p"));
        let f = &kept.findings[0];
        assert_eq!((f.resource.id.as_ref(), f.fields.get("host"), f.fields.get("profile")), ("h1", Some("h1"), Some("p")));
        assert_eq!(f.severity, Some(Severity::High));
    }

    #[test]
    fn a_scan_without_a_verdict_is_no_evidence_and_says_so_first() {
        let rows = result("a", "notapplicable") + &result("b", "notchecked");
        let two = doc(&format!(
            r#"<x:TestResult end-time="2026-01-02T03:04:05Z"><x:target>h1</x:target>{rows}</x:TestResult>
               <x:TestResult end-time="2026-01-02T03:04:05Z"><x:target>h2</x:target>{rows}{}</x:TestResult>
               <x:TestResult end-time="2026-01-02T03:04:05Z"><x:target>h3</x:target>{}</x:TestResult>
               <x:TestResult end-time="2026-01-02T03:04:05Z"><x:target>h4</x:target></x:TestResult>"#,
            result("c", "fail"),
            result("b", "notselected"),
        ));
        let (kept, outcome) = read(Xccdf, two.as_bytes());
        assert!(!outcome.expect("XCCDF").complete);
        assert_eq!(kept.kinds(), ["wrong_platform", "empty", "empty"]);
        let invalid: Vec<_> = kept.findings.iter().map(|f| (f.resource.id.as_ref(), f.fields.get("invalid"))).collect();
        assert_eq!(
            invalid,
            [
                ("h1", Some("wrong_platform")),
                ("h1", Some("wrong_platform")),
                ("h2", None),
                ("h2", None),
                ("h2", None),
                ("h3", Some("no_verdict"))
            ]
        );
    }

    #[test]
    fn an_override_is_a_waiver_of_the_source_and_not_a_pass() {
        let over = |old: &str, new: &str| {
            format!(
                r#"<x:rule-result idref="{old}-{new}"><x:result>{new}</x:result><x:override time="2026-01-01T00:00:00" authority="a">
                <x:old-result>{old}</x:old-result><x:new-result>{new}</x:new-result><x:remark>ok</x:remark></x:override></x:rule-result>"#
            )
        };
        let rows = over("fail", "pass") + &over("pass", "fail") + &over("unknown", "notapplicable") + &over("notchecked", "pass");
        let (kept, _) = read(Xccdf, scan(&rows).as_bytes());
        let got: Vec<_> = kept.findings.iter().map(|f| (f.result, f.lifecycle)).collect();
        assert_eq!(
            got,
            [
                (CheckResult::Fail, Lifecycle::Suppressed),
                (CheckResult::Fail, Lifecycle::Active),
                (CheckResult::Error, Lifecycle::Suppressed),
                (CheckResult::Pass, Lifecycle::Active)
            ]
        );
    }

    #[test]
    fn hosts_are_named_by_facts_where_the_target_does_not() {
        let target = |target: &str, facts: &str| {
            let text = doc(&format!(
                r#"<x:TestResult end-time="2026-01-02T03:04:05Z"><x:target>{target}</x:target><x:target-facts>{facts}</x:target-facts>{}</x:TestResult>"#,
                result("a", "pass")
            ));
            let (kept, outcome) = read(Xccdf, text.as_bytes());
            (kept.findings[0].resource.id.to_string(), kept.kinds().join(" "), outcome.expect("XCCDF").complete)
        };
        let fact = r#"<x:fact name="urn:xccdf:fact:asset:identifier:fqdn" type="string">Node-1.example</x:fact>"#;
        assert_eq!(target("chroot:///host", fact), ("node-1.example".to_owned(), String::new(), true));
        assert_eq!(target("chroot:///host", ""), ("chroot:///host".to_owned(), "incomplete".to_owned(), true));
        assert_eq!(target("", fact), ("node-1.example".to_owned(), String::new(), true));
        assert_eq!(target("", ""), (String::new(), "incomplete".to_owned(), false));
        assert_eq!(target("WEB-1.", fact).0, "web-1");
        assert_eq!(target("docker-image://Sha", "").0, "docker-image://Sha");
        assert_eq!(target("a&#45;&lt;b<![CDATA[&c]]>", "").0, "a-<b&c");
    }

    #[test]
    fn one_bad_rule_result_costs_itself() {
        let rows = result("a", "pass") + &result("b", "passed") + "<x:rule-result/>" + &result("", "fail") + &result("d", "fail");
        let (kept, outcome) = read(Xccdf, scan(&rows).as_bytes());
        assert!(!outcome.expect("XCCDF").complete);
        assert_eq!(kept.counts(), [1, 1, 0, 0, 0, 0]);
        assert_eq!(kept.kinds(), ["malformed"; 3]);
        assert_eq!(kept.problems[0].position.record, 2);
        assert!(kept.problems[0].message.contains("`passed`"));
    }

    #[test]
    fn what_is_not_a_result_is_refused_by_name() {
        for (text, words) in [
            ("", "empty"),
            ("{\"a\":1}", "not XML"),
            ("<!DOCTYPE html><html><body>report</body></html>", "HTML"),
            ("<html xmlns=\"http://www.w3.org/1999/xhtml\"/>", "report for people"),
            ("<!DOCTYPE x [<!ENTITY e \"v\">]><TestResult xmlns=\"http://checklists.nist.gov/xccdf/1.2\"/>", "refused"),
            ("<TestResult/>", "`TestResult`"),
            ("<Benchmark xmlns=\"http://checklists.nist.gov/xccdf/1.2\"/>", "not a result"),
            ("<d:data-stream-collection xmlns:d=\"http://scap.nist.gov/schema/scap/source/1.2\"/>", "data stream"),
        ] {
            let (kept, outcome) = read(Xccdf, text.as_bytes());
            let error = outcome.expect_err(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert!(kept.findings.is_empty());
        }
        let entity = scan(&result("a", "&pw;"));
        let (_, outcome) = read(Xccdf, entity.as_bytes());
        assert!(outcome.is_ok_and(|o| !o.complete));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        use crate::formats::{Context, Limits, stream};
        let read = |text: &str, limits: Limits| {
            let ctx = Context { source: "doc", limits, want_raw: false };
            let mut kept = stream::tests::Kept::default();
            (super::read(&mut text.as_bytes(), &ctx, &mut kept), kept)
        };
        let good = scan(&result("a", "pass"));
        let deep = good.replace("<x:Rule", &format!("{}{}<x:Rule", "<x:g>".repeat(100_000), "</x:g>".repeat(100_000)));
        let (outcome, _) = read(&deep, Limits::default());
        assert_eq!(outcome.expect_err("too deep").kind, ProblemKind::Limit);
        let long = good.replace("t &amp; u", &"x".repeat(10_000));
        let (outcome, _) = read(&long, Limits { record_bytes: 5000, ..Limits::default() });
        assert_eq!(outcome.expect_err("too long").kind, ProblemKind::Limit);
        let (outcome, kept) = read(&good, Limits { document_bytes: u64::try_from(good.len() - 20).expect("small"), ..Limits::default() });
        assert!(!outcome.expect("begun").complete);
        assert_eq!((kept.findings.len(), kept.kinds()), (1, vec!["limit"]));
        let rows: String = (0..60_000).map(|i| result(&i.to_string(), "notapplicable")).collect();
        let (outcome, kept) = read(&scan(&rows), Limits::default());
        assert!(!outcome.expect("XCCDF").complete);
        assert_eq!(kept.findings.len(), 60_000);
        assert!(kept.findings.iter().all(|f| f.fields.get("invalid").is_some()));
    }

    #[test]
    fn mangled_documents_are_never_complete() {
        mangle(Xccdf, scan(&(result("a", "pass") + &result("b", "fail"))).as_bytes());
        mangle(Xccdf, include_bytes!("../../tests/formats/xccdf/no-zone.root.xml"));
    }
}
