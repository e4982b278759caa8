//! SARIF 2.1.0 (violations only, as a rule).
//!
//! Producers read: Bandit 1.9, cfn-guard 3.2, Checkov 3.3, Dockle 0.3, gitleaks 7 and 8, Semgrep 1.182, Trivy, zizmor 1.32,
//! and the specification's own examples. Specification: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.
//!
//! Every result is one finding. Passes are allowed by the format and written by almost nobody: a ratio needs a population
//! from elsewhere.
//!
//! | `kind` (default `fail`)   | result         | | suppressions, baseline | lifecycle |
//! |---------------------------|----------------|-|------------------------|-----------|
//! | `fail`, level not `none`  | fail           | | none                   | active |
//! | `fail`, level `none`      | not_applicable | | some, none of them `underReview` or `rejected` | suppressed |
//! | `pass`                    | pass           | | some `underReview` or `rejected` | active |
//! | `review`, `open`          | manual         | | `baselineState: absent` | no finding: it was found before and is gone |
//! | `notApplicable`, `informational` | not_applicable | | | |
//!
//! The level says how bad, not whether: the result's own, else the rule's `defaultConfiguration`, else `warning`.
//! Severity: the rule's `security-severity` (from 9 critical, 7 high, 4 medium), else level error → high, warning → medium,
//! note → low. The check is the rule's id as written (`RULE/sub` included; `ruleIndex` is followed
//! where there is no id, and where there is neither, as in gitleaks 7, the tool's name stands for it).
//! The resource is the first location's file as written (no line: lines move), else its logical location, else what the
//! run says it was about (`automationDetails`, the repository), else the tool, for tools such as Dockle that say nothing.
//!
//! Oddities met: `level` absent (Bandit's MEDIUM, gitleaks, Semgrep), no `driver.rules` (cfn-guard), `tool` behind `results`
//! (Semgrep, zizmor: such results wait for their rules), suppressions with `state` for `status`, a `baselineState` that does
//! not exist (`existing`, taken as current). `results: null` or absent means that the tool did not look; `[]` that it
//! found nothing.

use super::stream::{Halt, Number, Out, Pull, Text, or_default};
use super::{Context, FormatError, Sink, time};
use crate::domain::{CheckResult, Finding, Lifecycle, Moment, ProblemKind, RunOutcome, ScannerInfo, Severity};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

const EXPECTED: &str = "SARIF 2.1.0: an object with `version` and `runs`";
/// Rules and artifacts of one run that are remembered.
const TABLE: usize = 200_000;

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let read = pull.documents(|pull| log(pull, &mut out));
    out.end(read, EXPECTED)
}

fn log(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut runs = None;
    let is_object = pull.object(|pull, key| {
        match key {
            "version" => {
                let version = pull.text()?;
                if !version.is_empty() && !version.starts_with("2.") {
                    return Err(Halt::Wrong(format!("version {version}")));
                }
            }
            "$schema" => out.recognised |= pull.text()?.contains("sarif"),
            "runs" => {
                let mut n = 0u64;
                if pull.array(|pull| {
                    n += 1;
                    run(pull, out)
                })? {
                    runs = Some(n);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    match runs {
        _ if !is_object => Err(Halt::Wrong("no object".to_owned())),
        None => Err(Halt::Wrong("an object without `runs`".to_owned())),
        Some(0) => {
            out.recognised = true;
            out.fault(ProblemKind::Empty, 0, "the document holds no run: no tool looked at anything");
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// What is known of a run when a result is met.
#[derive(Default)]
struct Run {
    tool: Option<Tool>,
    artifacts: Option<Vec<String>>,
    about: String,
    repository: String,
    end: Option<Moment>,
}

#[derive(Default)]
struct Tool {
    name: String,
    /// Rules of the driver first, then of each extension, each with its place in its own component.
    rules: HashMap<String, Rule>,
    driver: Vec<String>,
    extensions: Vec<Vec<String>>,
}

#[derive(Clone, Default)]
struct Rule {
    level: Option<String>,
    security: Option<f64>,
    title: String,
    /// The tool has the rule but does not apply it unless told to.
    off: bool,
}

fn run(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut run = Run::default();
    let mut scanned = false;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    let mut waiting_bytes = 0usize;
    let room = out.ctx.limits.record_bytes.saturating_mul(4);
    let mut buf = Vec::new();
    let walked = pull.object(|pull, key| {
        match key {
            "tool" => {
                let tool = tool(pull, out)?;
                run.tool = Some(tool);
            }
            "automationDetails" => {
                if let Some(Named { id, .. }) = pull.read()? {
                    run.about = id;
                }
            }
            "versionControlProvenance" => {
                let list: Vec<Provenance> = pull.read()?.unwrap_or_default();
                run.repository = list.into_iter().map(|p| p.repository).find(|r| !r.is_empty()).unwrap_or_default();
            }
            "artifacts" => {
                let mut list = Vec::new();
                pull.array(|pull| {
                    let artifact: Option<Artifact> = pull.read()?;
                    if list.len() < TABLE {
                        list.push(artifact.map(|a| a.location.uri).unwrap_or_default());
                    }
                    Ok(())
                })?;
                run.artifacts = Some(list);
            }
            "invocations" => {
                pull.array(|pull| {
                    let at = pull.offset;
                    if let Some(invocation) = pull.read::<Invocation>()? {
                        invocation.tell(at, out, &mut run);
                    }
                    Ok(())
                })?;
            }
            "results" => {
                out.recognised = true;
                scanned = pull.array(|pull| {
                    pull.peek()?;
                    let at = pull.offset;
                    let Some((result, raw)) = pull.record::<Outcome<'_>>(out, &mut buf)? else { return Ok(()) };
                    if !result.ready(&run) {
                        if waiting_bytes.saturating_add(raw.len()) <= room {
                            waiting_bytes += raw.len();
                            waiting.push(raw.to_vec());
                            return Ok(());
                        }
                        if waiting_bytes < usize::MAX {
                            waiting_bytes = usize::MAX;
                            out.note(
                                ProblemKind::Limit,
                                at,
                                "more results than can wait stand before the rules they refer to: their severities are not known",
                            );
                        }
                    }
                    result.tell(&run, raw, at, out)
                })?;
            }
            _ => {}
        }
        Ok(())
    });
    // Also when the document broke off: what came before it was said, and its rules may have been among it.
    if !matches!(walked, Err(Halt::Stop)) {
        for raw in waiting {
            if let Ok(result) = serde_json::from_slice::<Outcome<'_>>(&raw) {
                result.tell(&run, &raw, 0, out)?;
            }
        }
    }
    let walked_whole = walked?;
    if !walked_whole {
        out.fault(ProblemKind::Malformed, pull.offset, "a run is no object");
    } else if !scanned {
        out.recognised |= run.tool.is_some();
        out.fault(ProblemKind::Empty, pull.offset, "a run has no results (null or absent): the tool did not look");
    }
    if walked_whole && scanned && out.outcome.complete {
        // The tool looked for all of these, and lists only what it found.
        let listed = run.tool.iter().flat_map(|t| t.driver.iter().chain(t.extensions.iter().flatten()).map(|id| (id, t.rules.get(id))));
        for (id, rule) in listed {
            if id.is_empty() || rule.is_none_or(|r| r.off) {
                continue;
            }
            let mut ran = Finding::ran(id.as_str());
            ran.observed_at = run.end;
            out.mark(&ran)?;
        }
    }
    out.scanned(run.end);
    Ok(())
}

fn tool(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<Tool, Halt> {
    let mut tool = Tool::default();
    let mut driver = ScannerInfo::default();
    pull.object(|pull, key| {
        match key {
            "driver" => {
                let mut semantic = String::new();
                let order = component(pull, &mut tool.rules, |key, text| match key {
                    "name" => driver.name = text,
                    "version" => driver.version = text,
                    "semanticVersion" => semantic = text,
                    _ => {}
                })?;
                tool.driver = order;
                if driver.version.is_empty() {
                    driver.version = semantic;
                }
            }
            "extensions" => {
                pull.array(|pull| {
                    let (mut name, mut version) = (String::new(), String::new());
                    let order = component(pull, &mut tool.rules, |key, text| match key {
                        "name" => name = text,
                        "version" | "semanticVersion" if version.is_empty() => version = text,
                        _ => {}
                    })?;
                    if !name.is_empty() && driver.rule_set.len() < 1000 {
                        let space = if driver.rule_set.is_empty() { "" } else { " " };
                        driver.rule_set += &format!("{space}{name}");
                        if !version.is_empty() {
                            driver.rule_set += &format!("@{version}");
                        }
                    }
                    tool.extensions.push(order);
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    tool.name.clone_from(&driver.name);
    if !driver.name.is_empty() {
        out.recognised = true;
        out.outcome.scanner.get_or_insert(driver);
    }
    Ok(tool)
}

/// Reads a tool component: its rules into `rules`, their ids in order as the result, and short texts to `text`.
fn component(pull: &mut Pull<'_>, rules: &mut HashMap<String, Rule>, mut text: impl FnMut(&str, String)) -> Result<Vec<String>, Halt> {
    let mut order = Vec::new();
    pull.object(|pull, key| {
        match key {
            "name" | "version" | "semanticVersion" => text(key, pull.text()?),
            "rules" => {
                pull.array(|pull| {
                    let rule: Descriptor = pull.read()?.unwrap_or_default();
                    if order.len() < TABLE {
                        order.push(rule.id.clone());
                        let title = [rule.short.text, rule.name].into_iter().find(|t| !t.is_empty()).unwrap_or_default();
                        let level = Some(rule.default.level).filter(|l| !l.is_empty());
                        let off = rule.default.enabled == Some(false);
                        rules.entry(rule.id).or_insert(Rule { level, security: rule.properties.security, title, off });
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(order)
}

#[derive(Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
}

#[derive(Deserialize)]
struct Provenance {
    #[serde(default, rename = "repositoryUri", deserialize_with = "or_default")]
    repository: String,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default, deserialize_with = "or_default")]
    location: ArtifactUri,
}

#[derive(Default, Deserialize)]
struct ArtifactUri {
    #[serde(default, deserialize_with = "or_default")]
    uri: String,
}

#[derive(Default, Deserialize)]
struct Descriptor {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, rename = "shortDescription", deserialize_with = "or_default")]
    short: Words,
    #[serde(default, rename = "defaultConfiguration", deserialize_with = "or_default")]
    default: Configuration,
    #[serde(default, deserialize_with = "or_default")]
    properties: RuleProperties,
}

#[derive(Default, Deserialize)]
struct Words {
    #[serde(default, deserialize_with = "or_default")]
    text: String,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default, deserialize_with = "or_default")]
    level: String,
    /// Absent is true.
    #[serde(default)]
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
struct RuleProperties {
    #[serde(default, rename = "security-severity", deserialize_with = "security")]
    security: Option<f64>,
}

/// Text by convention, a number in the wild.
fn security<'de, D: serde::Deserializer<'de>>(de: D) -> Result<Option<f64>, D::Error> {
    Ok(Text::deserialize(de)?.0.trim().parse().ok())
}

#[derive(Deserialize)]
struct Invocation {
    #[serde(default, rename = "executionSuccessful")]
    successful: Option<bool>,
    #[serde(default, rename = "endTimeUtc")]
    end: Option<String>,
    #[serde(default, rename = "exitCodeDescription")]
    why: Option<String>,
    #[serde(default, rename = "toolExecutionNotifications", deserialize_with = "or_default")]
    execution: Vec<Notification>,
    #[serde(default, rename = "toolConfigurationNotifications", deserialize_with = "or_default")]
    configuration: Vec<Notification>,
}

#[derive(Deserialize)]
struct Notification {
    #[serde(default)]
    level: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    message: Words,
}

impl Invocation {
    fn tell(self, at: u64, out: &mut Out<'_, '_>, run: &mut Run) {
        run.end = run.end.max(self.end.as_deref().and_then(time::parse));
        if self.successful == Some(false) {
            let why = self.why.map(|w| format!(": {}", excerpt(&w))).unwrap_or_default();
            out.fault(ProblemKind::ScannerError, at, format!("the tool says that it did not run successfully{why}"));
        }
        for note in self.execution.iter().chain(&self.configuration) {
            if note.level.as_deref() == Some("error") {
                out.fault(ProblemKind::ScannerError, at, format!("the tool reports an error: {}", excerpt(&note.message.text)));
            }
        }
    }
}

fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(200) {
        Some((i, _)) => format!("{}…", &text[..i]).into(),
        None => text.into(),
    }
}

/// A result of SARIF, named so because ours has results too.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default, rename = "ruleId")]
    rule_id: Text<'a>,
    #[serde(default, rename = "ruleIndex")]
    rule_index: Number,
    #[serde(borrow, default)]
    rule: Option<Reference<'a>>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    level: Text<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    message: Message<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    locations: Vec<Location<'a>>,
    #[serde(borrow, default, rename = "analysisTarget")]
    target: Option<FileLocation<'a>>,
    #[serde(borrow, default, rename = "baselineState")]
    baseline: Text<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    suppressions: Vec<Suppression<'a>>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(default)]
    index: Number,
    #[serde(default, rename = "toolComponent")]
    component: Option<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    index: Number,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
}

#[derive(Deserialize)]
struct Location<'a> {
    #[serde(borrow, default, rename = "physicalLocation")]
    physical: Option<Physical<'a>>,
    #[serde(borrow, default, rename = "logicalLocations", deserialize_with = "or_default")]
    logical: Vec<Logical<'a>>,
}

#[derive(Deserialize)]
struct Physical<'a> {
    #[serde(borrow, default, rename = "artifactLocation")]
    artifact: Option<FileLocation<'a>>,
}

#[derive(Deserialize)]
struct FileLocation<'a> {
    #[serde(borrow, default)]
    uri: Text<'a>,
    #[serde(default)]
    index: Number,
}

#[derive(Deserialize)]
struct Logical<'a> {
    #[serde(borrow, default, rename = "fullyQualifiedName")]
    full: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct Suppression<'a> {
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    state: Text<'a>,
}

impl Outcome<'_> {
    fn file(&self) -> Option<&FileLocation<'_>> {
        self.locations.iter().find_map(|l| l.physical.as_ref()?.artifact.as_ref())
    }

    /// Whether all that it refers to has been read.
    fn ready(&self, run: &Run) -> bool {
        let by_index = self.file().is_some_and(|f| f.uri.some().is_none() && f.index.0.is_some());
        run.tool.is_some() && (!by_index || run.artifacts.is_some())
    }

    fn check<'s>(&'s self, run: &'s Run) -> Option<&'s str> {
        if let Some(id) = self.rule_id.some().or_else(|| self.rule.as_ref()?.id.some()) {
            return Some(id);
        }
        let tool = run.tool.as_ref()?;
        let place = |n: Number| usize::try_from(n.0?).ok();
        let rule = self.rule.as_ref();
        let index = place(self.rule_index).or_else(|| place(rule?.index))?;
        let list = match rule.and_then(|r| place(r.component.as_ref()?.index)) {
            Some(extension) => tool.extensions.get(extension)?,
            None => &tool.driver,
        };
        list.get(index).map(String::as_str).filter(|id| !id.is_empty())
    }

    fn tell(&self, run: &Run, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        if self.baseline.0 == "absent" {
            return Ok(());
        }
        let tool = run.tool.as_ref().map_or("", |t| t.name.as_str());
        let Some(check) = self.check(run).or(Some(tool)).filter(|c| !c.is_empty()) else {
            out.fault(ProblemKind::Incomplete, at, "a result names no rule, and its run no tool");
            return Ok(());
        };
        let rules = run.tool.as_ref().map(|t| &t.rules);
        // `RULE/sub` is described by `RULE`, unless it has a description of its own.
        let rule = rules.and_then(|rules| rules.get(check).or_else(|| rules.get(check.rsplit_once('/')?.0)));
        let level = self.level.some().or_else(|| rule?.level.as_deref()).unwrap_or("warning");
        let result = match self.kind.some().unwrap_or("fail") {
            "fail" if level == "none" => CheckResult::NotApplicable,
            "fail" => CheckResult::Fail,
            "pass" => CheckResult::Pass,
            "review" | "open" => CheckResult::Manual,
            "notApplicable" | "informational" => CheckResult::NotApplicable,
            other => {
                out.fault(ProblemKind::Malformed, at, format!("`{}` is not a kind of result", excerpt(other)));
                return Ok(());
            }
        };
        let mut finding = Finding::new(check, "", result);
        let listed = |f: &FileLocation<'_>| {
            let index = usize::try_from(f.index.0?).ok()?;
            run.artifacts.as_ref()?.get(index).map(String::as_str).filter(|u| !u.is_empty())
        };
        let file = self.file().and_then(|f| f.uri.some().or_else(|| listed(f)));
        let logical = || self.locations.iter().flat_map(|l| &l.logical).find_map(|l| l.full.some().or_else(|| l.name.some()));
        let target = || self.target.as_ref().and_then(|f| f.uri.some().or_else(|| listed(f)));
        if let Some(uri) = file.or_else(|| logical().is_none().then(target)?) {
            let uri = uri.strip_prefix("./").unwrap_or(uri);
            finding.resource.id = uri.into();
            finding.resource.kind = Some("File".into());
            finding.fields.set("file", uri);
        } else if let Some(name) = logical() {
            finding.resource.id = name.into();
        } else {
            finding.resource.id = [run.about.as_str(), &run.repository, tool].into_iter().find(|t| !t.is_empty()).unwrap_or("-").into();
        }
        finding.fields.set("repository", run.repository.as_str());
        let suppressed = !self.suppressions.is_empty()
            && !self.suppressions.iter().any(|s| matches!(s.status.some().or_else(|| s.state.some()), Some("underReview" | "rejected")));
        if suppressed {
            finding.lifecycle = Lifecycle::Suppressed;
        }
        finding.severity = match (rule.and_then(|r| r.security), level) {
            (Some(score), _) if score >= 9.0 => Some(Severity::Critical),
            (Some(score), _) if score >= 7.0 => Some(Severity::High),
            (Some(score), _) if score >= 4.0 => Some(Severity::Medium),
            (Some(score), _) if score > 0.0 => Some(Severity::Low),
            (_, "error") => Some(Severity::High),
            (_, "warning") if result == CheckResult::Fail => Some(Severity::Medium),
            (_, "note") => Some(Severity::Low),
            _ => None,
        };
        finding.observed_at = run.end;
        finding.title = rule.map(|r| r.title.as_str()).filter(|t| !t.is_empty()).map(Cow::Borrowed);
        finding.message = self.message.text.cow();
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Sarif;

    fn one(results: &str) -> String {
        format!(
            r#"{{"version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"T","version":"1","rules":[
            {{"id":"A","shortDescription":{{"text":"a title"}},"properties":{{"security-severity":"9.1"}}}},
            {{"id":"B","defaultConfiguration":{{"level":"none"}}}},{{"id":"C","defaultConfiguration":{{"level":"note"}}}}]}},
            "extensions":[{{"name":"E","version":"2","rules":[{{"id":"X","properties":{{"security-severity":7}}}}]}}]}},
            "artifacts":[{{"location":{{"uri":"zero.py"}}}}],"results":[{results}]}}]}}"#
        )
    }

    #[test]
    fn kinds_levels_and_suppressions_have_their_places() {
        let text = one(
            r#"{"ruleId":"A","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"./a.py"},"region":{"startLine":3}}}]},
            {"ruleId":"A/sub","level":"error"},{"ruleIndex":2,"level":"error"},{"rule":{"index":0,"toolComponent":{"index":0}}},{"ruleId":"B"},
            {"ruleId":"B","kind":"review"},{"ruleId":"B","kind":"open"},{"ruleId":"B","kind":"pass"},{"ruleId":"B","kind":"notApplicable"},{"ruleId":"B","kind":"informational"},
            {"ruleId":"C","suppressions":[{"kind":"inSource"}]},{"ruleId":"C","suppressions":[{"status":"accepted"},{"status":"rejected"}]},
            {"ruleId":"C","suppressions":[]},{"ruleId":"C","suppressions":[{"state":"underReview"}]},{"ruleId":"C","baselineState":"absent"},{"ruleId":"C","baselineState":"existing"},
            {"ruleId":"D","locations":[{"physicalLocation":{"artifactLocation":{"index":0}}}]},{"ruleId":"D","locations":[{"logicalLocations":[{"fullyQualifiedName":"a::b"}]}]}"#,
        );
        let (kept, outcome) = read(Sarif, text.as_bytes());
        let outcome = outcome.expect("SARIF");
        assert!(outcome.complete, "{:?}", kept.problems);
        assert_eq!(outcome.scanner.map(|s| s.rule_set).as_deref(), Some("E@2"));
        assert_eq!(kept.counts(), [1, 11, 0, 2, 3, 0]);
        assert_eq!(kept.suppressed(), 1);
        let short: Vec<_> = kept.findings.iter().map(|f| (f.check.as_ref(), f.resource.id.as_ref(), f.severity)).collect();
        assert_eq!(short[0], ("A", "a.py", Some(Severity::Critical)));
        assert_eq!(kept.findings[0].title.as_deref(), Some("a title"));
        assert_eq!(short[1], ("A/sub", "T", Some(Severity::Critical)));
        assert_eq!(short[2], ("C", "T", Some(Severity::High)));
        assert_eq!(short[3], ("X", "T", Some(Severity::High)));
        assert_eq!(short[10].2, Some(Severity::Low));
        assert_eq!(short[15], ("D", "zero.py", Some(Severity::Medium)));
        assert_eq!(short[16].1, "a::b");
    }

    #[test]
    fn a_run_that_did_not_look_is_not_clean() {
        for (text, kinds, complete) in [
            (r#"{"version":"2.1.0","runs":[]}"#, vec!["empty"], false),
            (r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}},"results":null}]}"#, vec!["empty"], false),
            (r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}}}]}"#, vec!["empty"], false),
            (r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}},"results":[]}]}"#, vec![], true),
            (
                r#"{"runs":[{"results":[],"tool":{"driver":{"name":"T"}},"invocations":[{"executionSuccessful":false,"exitCodeDescription":"boom"}]}]}"#,
                vec!["scanner_error"],
                false,
            ),
            (
                r#"{"runs":[{"results":[],"invocations":[{"executionSuccessful":true,"toolExecutionNotifications":[{"level":"error","message":{"text":"x"}},{"level":"warning"}]}]}]}"#,
                vec!["scanner_error"],
                false,
            ),
            (
                r#"{"runs":[{"results":[{"kind":"fail"},{"ruleId":"A","kind":"maybe"},7]}]}"#,
                vec!["incomplete", "malformed", "malformed"],
                false,
            ),
        ] {
            let (mut kept, outcome) = read(Sarif, text.as_bytes());
            let outcome = outcome.unwrap_or_else(|e| panic!("{text}: {e}"));
            kept.problems.sort_by_key(|p| p.kind.word());
            let mut kinds = kinds;
            kinds.sort_unstable();
            assert_eq!((kept.kinds(), outcome.complete), (kinds, complete), "{text}");
        }
    }

    #[test]
    fn other_documents_are_refused() {
        for text in [r#"{"a":1}"#, "[]", r#"{"version":"1.0.0","runs":[]}"#, r#"{"runs":3}"#, "", "<x/>"] {
            let (_, outcome) = read(Sarif, text.as_bytes());
            assert!(outcome.is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_run_that_looked_says_which_rules_ran() {
        let rules = r#""tool":{"driver":{"name":"T","rules":[{"id":"A"},{"id":"B","defaultConfiguration":{"enabled":false}}]}}"#;
        for (rest, ran) in [
            (r#""results":[]"#, &["A"][..]),
            (r#""results":null"#, &[]),
            (r#""results":[],"invocations":[{"executionSuccessful":false}]"#, &[]),
        ] {
            let (kept, _) = read(Sarif, format!(r#"{{"version":"2.1.0","runs":[{{{rules},{rest}}}]}}"#).as_bytes());
            assert_eq!(kept.ran, ran, "{rest}");
        }
    }

    #[test]
    fn results_before_their_rules_wait_for_them() {
        let text = r#"{"runs":[{"results":[{"ruleId":"S"},{"ruleIndex":0}],"tool":{"driver":{"name":"T","rules":[{"id":"S","defaultConfiguration":{"level":"error"}}]}}}]}"#;
        let (kept, outcome) = read(Sarif, text.as_bytes());
        assert!(outcome.expect("SARIF").complete);
        let got: Vec<_> = kept.findings.iter().map(|f| (f.check.as_ref(), f.severity)).collect();
        assert_eq!(got, [("S", Some(Severity::High)); 2]);
        assert_eq!(kept.ran, ["S"]);
        // Broken off in between: they are still told.
        let (kept, outcome) = read(Sarif, &text.as_bytes()[..60]);
        assert!(!outcome.expect("begun").complete);
        assert_eq!(kept.findings.len(), 1);
        mangle(Sarif, text.as_bytes());
        mangle(Sarif, one(r#"{"ruleId":"A"},{"ruleId":"C","suppressions":[{"kind":"inSource"}]}"#).as_bytes());
    }
}
