//! OpenSSF Scorecard results.
//!
//! Producer read: Scorecard 4 and 5, `--format=json` (with or without `--show-details`), one object or one a line (as the
//! weekly public data has it), and `--format=probe`. Documentation: <https://github.com/ossf/scorecard/blob/main/docs/checks.md>.
//!
//! | check `score` | result | | probe `outcome` | result |
//! |---------------|--------|-|-----------------|--------|
//! | 10            | pass   | | `True`, `False` with a `remediation` | fail: Scorecard says how to mend it |
//! | 0 to 9        | fail   | | `True`, `False` otherwise | manual: the format does not say which of the two is good |
//! | −1            | not_assessed: inconclusive | | `NotApplicable` | not_applicable |
//! | −1 with an internal error as reason | error | | `NotAvailable`, `NotSupported` | not_assessed |
//! | | | | `Error` | error |
//!
//! A check passes at its maximum only: the score is a grade, a control is a requirement. Who wants less writes a `where` on
//! the score. The check is its name (a probe's name in the probe format), the resource the repository. Maintainers'
//! annotations explain a score and do not change it: they stand in the message, and every record is active.

use super::stream::{Halt, Keys, Out, Pull, Text, or_default};
use super::{Context, FormatError, Sink, time};
use crate::domain::{CheckResult, Finding, Moment, ProblemKind, RunOutcome, ScannerInfo};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::BufRead;

const EXPECTED: &str = "a Scorecard JSON result: an object with `repo`, `scorecard` and `checks`";

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let read = pull.documents(|pull| match pull.peek()? {
        Some(b'[') => pull.array(|pull| result(pull, &mut out)).map(|_| ()),
        _ => result(pull, &mut out),
    });
    out.end(read, EXPECTED)
}

#[derive(Default)]
struct Repository {
    name: Option<String>,
    at: Option<Moment>,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    version: String,
}

fn result(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut keys = Keys::default();
    let mut repository = Repository::default();
    let mut scanner = None;
    let mut later: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut rows = 0u64;
    let mut listed = false;
    let walked = pull.object(|pull, key| {
        keys.note(key);
        match key {
            "date" => repository.at = time::parse(&pull.text()?),
            "repo" => repository.name = pull.read::<Named>()?.map(|r| r.name).filter(|n| !n.is_empty()),
            "scorecard" => {
                let version = pull.read::<Named>()?.unwrap_or_default().version;
                scanner = Some(ScannerInfo { name: "Scorecard".to_owned(), version, rule_set: String::new() });
            }
            "checks" | "findings" => {
                listed = true;
                let probes = key == "findings";
                if repository.name.is_some() && repository.at.is_some() {
                    rows = rows.saturating_add(repository.rows(probes, pull, out)?);
                } else {
                    later.extend(pull.keep(out)?.map(|bytes| (probes, bytes)));
                }
            }
            _ => {}
        }
        Ok(())
    });
    if matches!(walked, Err(Halt::Stop)) {
        return Err(Halt::Stop);
    }
    if repository.name.as_ref().is_some_and(|n| !n.is_empty()) {
        for (probes, bytes) in later {
            let ctx = out.ctx;
            rows = rows.saturating_add(repository.rows(probes, &mut Pull::new(&mut bytes.as_slice(), ctx), out)?);
        }
    } else if walked.is_ok() && (!listed || scanner.is_none()) {
        return Err(Halt::Wrong(keys.found()));
    } else if walked.is_ok() {
        out.recognised = true;
        out.fault(ProblemKind::Incomplete, pull.offset, "a result names no repository");
        return Ok(());
    }
    walked?;
    if scanner.is_none() && !listed {
        return Err(Halt::Wrong(keys.found()));
    }
    out.recognised = true;
    if rows == 0 {
        out.fault(ProblemKind::Empty, pull.offset, "the result holds no check: Scorecard ran none");
    }
    out.scanned(repository.at);
    if let Some(scanner) = scanner {
        out.outcome.scanner.get_or_insert(scanner);
    }
    Ok(())
}

impl Repository {
    fn rows(&self, probes: bool, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<u64, Halt> {
        let mut rows = 0u64;
        let mut buf = Vec::new();
        pull.array(|pull| {
            rows += 1;
            pull.peek()?;
            let at = pull.offset;
            if probes {
                match pull.record::<Probe<'_>>(out, &mut buf)? {
                    Some((probe, raw)) => probe.tell(self, raw, at, out),
                    None => Ok(()),
                }
            } else {
                match pull.record::<Check<'_>>(out, &mut buf)? {
                    Some((check, raw)) => check.tell(self, raw, at, out),
                    None => Ok(()),
                }
            }
        })?;
        Ok(rows)
    }

    fn finding<'f>(&'f self, check: &'f str, result: CheckResult) -> Finding<'f> {
        let name = self.name.as_deref().unwrap_or_default();
        let mut finding = Finding::new(check, name, result);
        finding.resource.kind = Some("Repository".into());
        finding.fields.set("repository", name);
        finding.observed_at = self.at;
        finding
    }
}

#[derive(Deserialize)]
struct Check<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(default)]
    score: Option<f64>,
    #[serde(borrow, default)]
    reason: Text<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    documentation: Documentation<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    annotations: Vec<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct Documentation<'a> {
    #[serde(borrow, default)]
    short: Text<'a>,
}

impl Check<'_> {
    fn tell(&self, repository: &Repository, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let Some(name) = self.name.some() else {
            out.fault(ProblemKind::Malformed, at, "a check has no name");
            return Ok(());
        };
        let result = match self.score {
            Some(score) if (10.0..=10.0).contains(&score) => CheckResult::Pass,
            Some(score) if (0.0..10.0).contains(&score) => CheckResult::Fail,
            Some(score) if score < 0.0 && self.reason.0.starts_with("internal error") => CheckResult::Error,
            Some(score) if score < 0.0 => CheckResult::NotAssessed,
            _ => {
                out.fault(
                    ProblemKind::Malformed,
                    at,
                    format!("check {} has no score from -1 to 10", name.chars().take(80).collect::<String>()),
                );
                return Ok(());
            }
        };
        let mut message = self.reason.0.as_ref().to_owned();
        for annotation in self.annotations.iter().filter_map(Text::some).take(10) {
            message += if message.is_empty() { "" } else { "; " };
            message += annotation;
        }
        let mut finding = repository.finding(name, result);
        finding.title = self.documentation.short.cow();
        finding.message = Some(message.into()).filter(|m: &std::borrow::Cow<'_, str>| !m.is_empty());
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, default)]
    probe: Text<'a>,
    #[serde(borrow, default)]
    outcome: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
    #[serde(default)]
    remediation: Option<IgnoredAny>,
}

impl Probe<'_> {
    fn tell(&self, repository: &Repository, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let result = match self.outcome.0.as_ref() {
            "True" | "False" if self.remediation.is_some() => CheckResult::Fail,
            "True" | "False" => CheckResult::Manual,
            "NotApplicable" => CheckResult::NotApplicable,
            "NotAvailable" | "NotSupported" => CheckResult::NotAssessed,
            "Error" => CheckResult::Error,
            other => {
                let other: String = other.chars().take(40).collect();
                out.fault(ProblemKind::Malformed, at, format!("`{other}` is not an outcome of a probe"));
                return Ok(());
            }
        };
        let Some(name) = self.probe.some() else {
            out.fault(ProblemKind::Malformed, at, "a finding names no probe");
            return Ok(());
        };
        let mut finding = repository.finding(name, result);
        finding.message = self.message.cow();
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Scorecard;

    fn doc(inside: &str) -> String {
        format!(
            r#"{{"date":"2026-01-02T03:04:05Z","repo":{{"name":"github.com/o/r","commit":"c"}},"scorecard":{{"version":"v5.1.0"}},"score":6.5,{inside},"metadata":null}}"#
        )
    }

    #[test]
    fn a_check_passes_at_its_maximum_only() {
        let text = doc(
            r#""checks":[{"name":"A","score":10},{"name":"B","score":9,"annotations":["for tests"],"reason":"r"},{"name":"C","score":-1,"reason":"no data"},
            {"name":"D","score":-1,"reason":"internal error: x"},{"name":"E"},{"name":"F","score":11},{"score":1}]"#,
        );
        let (kept, outcome) = read(Scorecard, text.as_bytes());
        let outcome = outcome.expect("Scorecard");
        assert!(!outcome.complete);
        assert_eq!(kept.kinds(), ["malformed"; 3]);
        assert_eq!(kept.counts(), [1, 1, 1, 0, 0, 1]);
        assert_eq!(kept.of("B"), [("github.com/o/r", CheckResult::Fail)]);
        assert_eq!(kept.findings[1].message.as_deref(), Some("r; for tests"));
        assert_eq!(kept.findings[0].fields.get("repository"), Some("github.com/o/r"));
        assert_eq!(outcome.scanned_at.map(|m| m.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(outcome.scanner.map(|s| s.version).as_deref(), Some("v5.1.0"));
        mangle(Scorecard, doc(r#""checks":[{"name":"A","score":10},{"name":"B","score":0}]"#).as_bytes());
    }

    #[test]
    fn probes_do_not_say_which_outcome_is_good() {
        let text = doc(
            r#""findings":[{"probe":"p","outcome":"True"},{"probe":"p","outcome":"False","remediation":{"text":"t"}},{"probe":"p","outcome":"NotApplicable"},
            {"probe":"p","outcome":"NotSupported"},{"probe":"p","outcome":"Error"}]"#,
        );
        let (kept, outcome) = read(Scorecard, text.as_bytes());
        assert!(outcome.expect("Scorecard").complete);
        assert_eq!(kept.counts(), [0, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn keys_in_any_order_lines_and_nothing() {
        let sorted = r#"{"checks":[{"name":"A","score":10}],"date":"2026-01-02T03:04:05Z","repo":{"name":"r"},"scorecard":{}}"#;
        let (kept, outcome) = read(Scorecard, format!("{sorted}\n{sorted}\n").as_bytes());
        assert!(outcome.expect("Scorecard").complete);
        assert_eq!(kept.of("A"), [("r", CheckResult::Pass); 2]);
        assert!(kept.findings[0].observed_at.is_some());
        let (kept, outcome) = read(Scorecard, doc(r#""checks":[]"#).as_bytes());
        assert!(!outcome.expect("Scorecard").complete);
        assert_eq!(kept.kinds(), ["empty"]);
        let (kept, outcome) = read(Scorecard, br#"{"scorecard":{},"checks":[{"name":"A","score":10}]}"#);
        assert!(!outcome.expect("Scorecard").complete);
        assert_eq!((kept.kinds(), kept.findings.len()), (vec!["incomplete"], 0));
        for (text, words) in
            [("[1]", "nothing in it"), (r#"{"repo":{"name":"x"}}"#, "`repo`"), (r#"{"profiles":[],"platform":{}}"#, "inspec")]
        {
            let (_, outcome) = read(Scorecard, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
