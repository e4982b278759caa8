//! InSpec and CINC reports.
//!
//! Producers read: InSpec 1.37, 2.2, 3.0, 5.22, `--reporter json`. Documentation:
//! <https://docs.chef.io/inspec/reporters/>.
//!
//! A control has many results; one control is one finding, rolled up so:
//!
//! | control | result |
//! |---|---|
//! | `status` of `--enhanced-outcomes`: `passed` `failed` `error` `not_applicable` `not_reviewed` | pass, fail, error, not_applicable, manual |
//! | impact 0 | not_applicable: by convention the control does not apply, or only informs |
//! | any result failed | fail |
//! | any result broke (a backtrace, or an exception other than an expectation that was not met) | error |
//! | any result passed | pass |
//! | all results skipped | manual: nobody reviewed it |
//! | no results | not_assessed |
//!
//! Lifecycle: suppressed if `waiver_data` says that the control was skipped for its waiver, or that it ran under one
//! (`run: true`); a waiver that InSpec itself calls expired is none.
//!
//! The resource is `platform.target_id`, else the platform's name: the file names no host, and the id
//! `da39a3ee-5e6b-5b0d-b255-bfef95601890` is that of an empty string, the same on every machine that cannot say who it is.
//!
//! Oddities met: an overlay lists the controls of the profile it wraps once more, without results: such a control is told
//! once, from the profile that has results. A profile that was skipped for its platform, or that did not load, says so in its
//! `status` only. Failed expectations carry `RSpec::Core::MultipleExceptionError`, which is no breakage. `profiles` may stand
//! before `platform`. Instants have several forms. A profile listing (`inspec json`) and the `json-min` report are refused.

use super::stream::{Halt, Keys, Out, Pull, Text, or_default};
use super::{Context, FormatError, Sink, time};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, ProblemKind, RunOutcome, ScannerInfo, Severity};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::BufRead;

const EXPECTED: &str = "an InSpec JSON report: an object with `platform` and `profiles`";
/// The hash of an empty string, cut to a UUID: what InSpec calls a target that it knows nothing about.
const NOBODY: &str = "da39a3ee-5e6b-5b0d-b255-bfef95601890";
/// Controls without results that are remembered until the document's end.
const WAITING: usize = 100_000;

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let read = pull.documents(|pull| report(pull, &mut out));
    out.end(read, EXPECTED)
}

#[derive(Default)]
struct Report {
    target: Option<String>,
    platform: String,
    overlays: bool,
    /// Controls with results, by id.
    seen: HashSet<String>,
    /// Controls without: told at the end unless another profile had their results.
    empty: HashMap<String, (String, Vec<u8>)>,
    empty_bytes: usize,
    controls: u64,
    rule_set: String,
}

#[derive(Default, Deserialize)]
struct Platform<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    target_id: Text<'a>,
}

fn report(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut report = Report::default();
    let mut keys = Keys::default();
    let mut profiles = false;
    let mut listing = [false; 3];
    let mut later = None;
    let mut version = String::new();
    let walked = pull.object(|pull, key| {
        keys.note(key);
        match key {
            "platform" => {
                let bytes = pull.keep(out)?.unwrap_or_default();
                let platform: Platform<'_> = serde_json::from_slice(&bytes).unwrap_or_default();
                platform.name.0.as_ref().clone_into(&mut report.platform);
                let id = platform.target_id.some().filter(|id| *id != NOBODY).or(platform.name.some()).unwrap_or("-");
                report.target = Some(id.to_owned());
            }
            "version" => version = pull.text()?,
            "profiles" => {
                profiles = true;
                if report.target.is_some() {
                    report.profiles(pull, out)?;
                } else {
                    later = pull.keep(out)?;
                }
            }
            "controls" => listing[0] = true,
            "statistics" => listing[1] = true,
            "supports" => listing[2] = true,
            _ => {}
        }
        Ok(())
    });
    if matches!(walked, Err(Halt::Stop)) {
        return Err(Halt::Stop);
    }
    if let Some(bytes) = later {
        let ctx = out.ctx;
        report.profiles(&mut Pull::new(&mut bytes.as_slice(), ctx), out)?;
    }
    report.tell_empty(out)?;
    walked?;
    if !profiles {
        return Err(Halt::Wrong(match listing {
            [true, true, _] => "the json-min report, which lacks what identifies a control; use `--reporter json`".to_owned(),
            [true, false, true] => "a profile listing (`inspec json`) and not a scan; use `inspec exec … --reporter json`".to_owned(),
            _ => keys.found(),
        }));
    }
    out.recognised |= report.target.is_some();
    if !out.recognised {
        return Err(Halt::Wrong(keys.found()));
    }
    if report.controls == 0 {
        out.fault(ProblemKind::Empty, 0, "the report holds no control: nothing was checked");
    }
    let rule_set = report.rule_set;
    out.outcome.scanner.get_or_insert(ScannerInfo { name: "InSpec".to_owned(), version, rule_set });
    Ok(())
}

impl Report {
    fn profiles(&mut self, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        pull.array(|pull| self.profile(pull, out))?;
        Ok(())
    }

    fn profile(&mut self, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let (mut name, mut version) = (String::new(), String::new());
        let (mut status, mut why) = (String::new(), String::new());
        let mut later = None;
        let at = pull.offset;
        let is_object = pull.object(|pull, key| {
            match key {
                "name" => name = pull.text()?,
                "version" => version = pull.text()?,
                "status" => status = pull.text()?,
                "status_message" | "skip_message" if why.is_empty() => why = pull.text()?,
                "parent_profile" => self.overlays |= !pull.text()?.is_empty(),
                "depends" => {
                    pull.array(|_| {
                        self.overlays = true;
                        Ok(())
                    })?;
                }
                "controls" => {
                    out.recognised = true;
                    if name.is_empty() {
                        later = pull.keep(out)?;
                    } else {
                        self.controls(&name, pull, out)?;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        if let Some(bytes) = later {
            let ctx = out.ctx;
            self.controls(&name, &mut Pull::new(&mut bytes.as_slice(), ctx), out)?;
        }
        if !is_object {
            out.fault(ProblemKind::Malformed, at, "a profile is no object");
            return Ok(());
        }
        let (name, why): (String, String) = (name.chars().take(120).collect(), why.chars().take(300).collect());
        match status.as_str() {
            "skipped" => out.fault(ProblemKind::WrongPlatform, at, format!("profile `{name}` was skipped: {why}")),
            "failed" => out.fault(ProblemKind::ScannerError, at, format!("profile `{name}` did not load: {why}")),
            _ => {}
        }
        if self.rule_set.len() < 500 {
            let space = if self.rule_set.is_empty() { "" } else { " " };
            self.rule_set += &format!("{space}{name}{}{version}", if version.is_empty() { "" } else { "@" });
        }
        Ok(())
    }

    fn controls(&mut self, profile: &str, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let mut buf = Vec::new();
        pull.array(|pull| {
            pull.peek()?;
            let at = pull.offset;
            let Some((control, raw)) = pull.record::<Control<'_>>(out, &mut buf)? else { return Ok(()) };
            let Some(id) = control.id.some() else {
                out.fault(ProblemKind::Malformed, at, "a control has no id");
                return Ok(());
            };
            self.controls += 1;
            let known = self.seen.contains(id);
            if control.results.is_empty() && control.status.some().is_none() && self.empty.len() < WAITING {
                if !(self.overlays && known) {
                    // A document of nothing but such controls is kept in outline only: memory stays bounded.
                    let room = out.ctx.limits.record_bytes.saturating_sub(self.empty_bytes);
                    let kept = if raw.len() <= room { raw.to_vec() } else { serde_json::json!({ "id": id }).to_string().into_bytes() };
                    self.empty_bytes = self.empty_bytes.saturating_add(kept.len());
                    self.empty.insert(format!("{profile}\0{id}"), (profile.to_owned(), kept));
                }
                return Ok(());
            }
            if !known && self.seen.len() < WAITING {
                self.seen.insert(id.to_owned());
            }
            control.tell(self, profile, raw, at, out)
        })?;
        Ok(())
    }

    fn tell_empty(&mut self, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let mut waiting: Vec<_> = std::mem::take(&mut self.empty).into_iter().collect();
        waiting.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut told = HashSet::new();
        for (_, (profile, raw)) in waiting {
            let Ok(control) = serde_json::from_slice::<Control<'_>>(&raw) else { continue };
            let id = control.id.0.as_ref();
            if self.overlays && (self.seen.contains(id) || !told.insert(id.to_owned())) {
                continue;
            }
            control.tell(self, &profile, &raw, 0, out)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Control<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    title: Text<'a>,
    #[serde(borrow, default)]
    impact: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    tags: Tags<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    results: Vec<Outcome<'a>>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    waiver_data: Waiver<'a>,
}

/// Tags are free: an array of them, as some old profiles have, is passed over.
fn lenient<'de: 'a, 'a, D: serde::Deserializer<'de>>(de: D) -> Result<Tags<'a>, D::Error> {
    let raw: &'de serde_json::value::RawValue = Deserialize::deserialize(de)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct Tags<'a> {
    #[serde(borrow, default)]
    severity: Text<'a>,
    #[serde(borrow, default)]
    nist: Several<'a>,
    #[serde(borrow, default)]
    cci: Several<'a>,
}

/// One text or several.
#[derive(Default)]
struct Several<'a>(Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Several<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let raw: &'de serde_json::value::RawValue = Deserialize::deserialize(de)?;
        let one = |text| Several(vec![text]);
        Ok(serde_json::from_str(raw.get()).map(Several).or_else(|_| serde_json::from_str(raw.get()).map(one)).unwrap_or_default())
    }
}

/// A result of InSpec, named so because ours has results too.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    start_time: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
    #[serde(borrow, default)]
    skip_message: Text<'a>,
    #[serde(borrow, default)]
    exception: Text<'a>,
    #[serde(default)]
    backtrace: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Waiver<'a> {
    #[serde(borrow, default)]
    justification: Text<'a>,
    #[serde(borrow, default)]
    run: Text<'a>,
    #[serde(borrow, default)]
    skipped_due_to_waiver: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

impl Waiver<'_> {
    fn holds(&self) -> bool {
        let yes = |t: &Text<'_>| t.some().is_some_and(|t| !t.eq_ignore_ascii_case("false") && !t.eq_ignore_ascii_case("no"));
        yes(&self.skipped_due_to_waiver) || (yes(&self.run) && !self.message.0.to_ascii_lowercase().contains("expired"))
    }
}

impl Outcome<'_> {
    fn result(&self) -> Option<CheckResult> {
        let broke = self.backtrace.is_some()
            || self
                .exception
                .some()
                .is_some_and(|e| !e.starts_with("RSpec::Core::MultipleExceptionError") && !e.starts_with("RSpec::Expectations::"));
        match self.status.0.as_ref() {
            _ if broke => Some(CheckResult::Error),
            "passed" => Some(CheckResult::Pass),
            "failed" => Some(CheckResult::Fail),
            "error" => Some(CheckResult::Error),
            "skipped" => Some(CheckResult::Manual),
            _ => None,
        }
    }
}

impl Control<'_> {
    /// The verdict of all results together; `Err` names a word that is no status.
    fn verdict(&self) -> Result<CheckResult, &str> {
        match self.status.some() {
            Some("passed") => return Ok(CheckResult::Pass),
            Some("failed") => return Ok(CheckResult::Fail),
            Some("error") => return Ok(CheckResult::Error),
            Some("not_applicable") => return Ok(CheckResult::NotApplicable),
            Some("not_reviewed") => return Ok(CheckResult::Manual),
            Some(other) => return Err(other),
            None => {}
        }
        if self.impact() == Some(0.0) {
            return Ok(CheckResult::NotApplicable);
        }
        let mut have = [false; 6];
        for result in &self.results {
            have[result.result().ok_or(result.status.0.as_ref())? as usize] = true;
        }
        let order = [CheckResult::Fail, CheckResult::Error, CheckResult::Pass, CheckResult::Manual];
        Ok(order.into_iter().find(|r| have[*r as usize]).unwrap_or(CheckResult::NotAssessed))
    }

    fn impact(&self) -> Option<f64> {
        match self.impact.0.to_ascii_lowercase().as_str() {
            "none" => Some(0.0),
            "low" => Some(0.1),
            "medium" => Some(0.5),
            "high" => Some(0.7),
            "critical" => Some(0.9),
            number => number.parse().ok(),
        }
    }

    fn tell(&self, report: &Report, profile: &str, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let result = match self.verdict() {
            Ok(result) => result,
            Err(word) => {
                let word: String = word.chars().take(40).collect();
                out.fault(ProblemKind::Malformed, at, format!("`{word}` is not a status"));
                return Ok(());
            }
        };
        let target = report.target.as_deref().unwrap_or("-");
        let mut finding = Finding::new(self.id.0.as_ref(), target, result);
        if self.waiver_data.holds() {
            finding.lifecycle = Lifecycle::Suppressed;
        }
        finding.severity = match self.impact() {
            Some(impact) if impact >= 0.9 => Some(Severity::Critical),
            Some(impact) if impact >= 0.7 => Some(Severity::High),
            Some(impact) if impact >= 0.4 => Some(Severity::Medium),
            Some(impact) if impact > 0.0 => Some(Severity::Low),
            _ => Severity::lenient(&self.tags.severity.0),
        };
        finding.observed_at = self.results.iter().filter_map(|r| time::parse(&r.start_time.0)).max();
        out.scanned(finding.observed_at);
        finding.fields.set("profile", profile);
        finding.fields.set("service", report.platform.as_str());
        finding.title = self.title.cow();
        let said =
            self.results.iter().filter(|r| r.result() == Some(result)).find_map(|r| r.message.some().or_else(|| r.skip_message.some()));
        finding.message = said.or_else(|| self.waiver_data.justification.some()).map(Cow::Borrowed);
        let revision = self.tags.nist.0.iter().find_map(|t| t.0.strip_prefix("Rev_"));
        for tag in self.tags.nist.0.iter().filter(|t| t.some().is_some() && !t.0.starts_with("Rev_")) {
            finding.control_refs.push(ControlRef {
                framework: "nist".into(),
                version: revision.map(Cow::Borrowed),
                id: tag.0.as_ref().into(),
            });
        }
        for tag in self.tags.cci.0.iter().filter(|t| t.some().is_some()) {
            finding.control_refs.push(ControlRef { framework: "cci".into(), version: None, id: tag.0.as_ref().into() });
        }
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Inspec;

    fn report(controls: &str) -> String {
        format!(
            r#"{{"platform":{{"name":"debian","release":"12","target_id":"t-1"}},"profiles":[{{"name":"p","version":"1","controls":[{controls}],"status":"loaded"}}],"statistics":{{"duration":1}},"version":"5.22.40"}}"#
        )
    }

    #[test]
    fn results_roll_up_to_their_control() {
        let controls = r#"{"id":"pass","impact":0.5,"results":[{"status":"passed","start_time":"2026-01-02T03:04:05+00:00"},{"status":"skipped"}],"tags":{"nist":["AC-6","Rev_4"],"cci":"CCI-1"}},
            {"id":"fail","impact":0.9,"results":[{"status":"passed"},{"status":"failed","message":"m","exception":"RSpec::Core::MultipleExceptionError"},{"status":"failed","backtrace":["x"]}]},
            {"id":"error","impact":0.3,"results":[{"status":"passed"},{"status":"failed","exception":"RuntimeError"}]},
            {"id":"manual","impact":0.7,"results":[{"status":"skipped","skip_message":"look"}]},
            {"id":"na","impact":0.0,"results":[{"status":"failed"}]},{"id":"none","impact":0.5,"results":[]},
            {"id":"enhanced","impact":0.5,"status":"not_applicable","results":[{"status":"skipped"}]},
            {"id":"waived","impact":0.5,"results":[{"status":"skipped"}],"waiver_data":{"justification":"j","skipped_due_to_waiver":true}},
            {"id":"ran","impact":0.5,"results":[{"status":"failed"}],"waiver_data":{"justification":"j","run":true,"skipped_due_to_waiver":false}},
            {"id":"over","impact":0.5,"results":[{"status":"failed"}],"waiver_data":{"justification":"j","run":true,"message":"Waiver expired on 2020-01-01, evaluating control normally"}},
            {"id":"odd","impact":0.5,"tags":[1],"results":[{"status":"odd"}]},{"impact":1}"#;
        let (kept, outcome) = read(Inspec, report(controls).as_bytes());
        let outcome = outcome.expect("InSpec");
        assert!(!outcome.complete);
        assert_eq!(kept.kinds(), ["malformed", "malformed"]);
        assert_eq!(kept.counts(), [1, 3, 1, 2, 2, 1]);
        assert_eq!(kept.suppressed(), 2);
        let f = &kept.findings[0];
        assert_eq!((f.resource.id.as_ref(), f.severity, f.control_refs.len()), ("t-1", Some(Severity::Medium), 2));
        assert_eq!(f.control_refs[0].version.as_deref(), Some("4"));
        assert_eq!(kept.findings[1].message.as_deref(), Some("m"));
        let scanner = outcome.scanner.expect("InSpec says who it is");
        assert_eq!((scanner.version.as_str(), scanner.rule_set.as_str()), ("5.22.40", "p@1"));
    }

    #[test]
    fn an_overlay_is_told_once() {
        let child = r#"{"id":"a","impact":0.5,"results":[{"status":"failed"}]},{"id":"b","impact":0.5,"results":[]}"#;
        let parent = r#"{"id":"a","impact":0.5,"results":[]},{"id":"b","impact":0.5,"results":[]}"#;
        let text = |parent_key: &str| {
            format!(
                r#"{{"profiles":[{{"name":"overlay","controls":[{parent}]}},{{"name":"base"{parent_key},"controls":[{child}]}}],"platform":{{"name":"aws","target_id":"da39a3ee-5e6b-5b0d-b255-bfef95601890"}}}}"#
            )
        };
        let (kept, outcome) = read(Inspec, text(r#","parent_profile":"overlay""#).as_bytes());
        assert!(outcome.expect("InSpec").complete);
        assert_eq!(kept.of("a"), [("aws", CheckResult::Fail)]);
        assert_eq!(kept.of("b"), [("aws", CheckResult::NotAssessed)]);
        // Two profiles that have nothing to do with each other may use the same ids.
        let (kept, _) = read(Inspec, text("").as_bytes());
        assert_eq!((kept.of("a").len(), kept.of("b").len()), (2, 2));
    }

    #[test]
    fn a_profile_that_did_not_run_is_a_problem() {
        for (status, kind) in [("skipped", "wrong_platform"), ("failed", "scanner_error")] {
            let text = report(r#"{"id":"a","results":[]}"#).replace("loaded", status);
            let (kept, outcome) = read(Inspec, text.as_bytes());
            assert!(!outcome.expect("InSpec").complete);
            assert_eq!(kept.kinds(), [kind]);
        }
        for nothing in [report("").as_str(), r#"{"platform":{"name":"aws"},"profiles":[]}"#] {
            let (kept, outcome) = read(Inspec, nothing.as_bytes());
            assert!(!outcome.expect("InSpec").complete);
            assert_eq!(kept.kinds(), ["empty"]);
        }
        mangle(Inspec, report(r#"{"id":"a","impact":0.5,"results":[{"status":"failed"}]},{"id":"b","results":[]}"#).as_bytes());
    }

    #[test]
    fn listings_and_strangers_are_refused() {
        for (text, words) in [
            (r#"{"name":"p","supports":[],"controls":[{"id":"a"}],"version":"1"}"#, "profile listing"),
            (r#"{"controls":[{"id":"a","status":"passed"}],"statistics":{},"version":"5"}"#, "json-min"),
            (r#"{"runs":[],"version":"2.1.0"}"#, "sarif"),
            ("[]", "nothing in it"),
            ("", "empty"),
        ] {
            let (_, outcome) = read(Inspec, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
