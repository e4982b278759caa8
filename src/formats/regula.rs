//! Regula reports.
//!
//! Producer read: Regula 1.x to 3.x, `regula run -f json`. Documentation: <https://regula.dev/report.html>.
//!
//! | `rule_result` | result | lifecycle |
//! |---------------|--------|-----------|
//! | `PASS`        | pass   | active |
//! | `FAIL`        | fail   | active |
//! | `WAIVED`      | what `rule_raw_result` says: true pass, false fail; not_assessed where it is absent | suppressed |
//!
//! The check is `rule_id`, the resource `file:resource`. `controls` are a family (`CIS-Azure_v1.1.0`), an underscore and an
//! id: they come out as framework, version and id.

use super::stream::{Halt, Keys, Number, Out, Pull, Text, or_default};
use super::{Context, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, ProblemKind, RunOutcome, ScannerInfo, Severity};
use serde::Deserialize;
use std::io::BufRead;

const EXPECTED: &str = "a Regula JSON report: an object with `rule_results` and `summary`";

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let read = pull.documents(|pull| report(pull, &mut out));
    out.outcome.scanner = Some(ScannerInfo { name: "Regula".to_owned(), ..ScannerInfo::default() });
    out.end(read, EXPECTED)
}

#[derive(Default, Deserialize)]
struct Summary {
    #[serde(default, deserialize_with = "or_default")]
    rule_results: Counts,
}

#[derive(Default, Deserialize)]
struct Counts {
    #[serde(default, rename = "PASS")]
    pass: Number,
    #[serde(default, rename = "FAIL")]
    fail: Number,
    #[serde(default, rename = "WAIVED")]
    waived: Number,
}

fn report(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut keys = Keys::default();
    let mut summary: Option<Summary> = None;
    let mut seen = [0u64; 3];
    let mut listed = None;
    let mut named = false;
    let mut buf = Vec::new();
    pull.object(|pull, key| {
        keys.note(key);
        match key {
            "rule_results" => {
                named = true;
                let mut rows = 0u64;
                let is_list = pull.array(|pull| {
                    out.recognised = true;
                    rows += 1;
                    pull.peek()?;
                    let at = pull.offset;
                    match pull.record::<Row<'_>>(out, &mut buf)? {
                        Some((row, raw)) => row.tell(&mut seen, raw, at, out),
                        None => Ok(()),
                    }
                })?;
                listed = is_list.then_some(rows);
            }
            "summary" => summary = pull.read()?,
            _ => {}
        }
        Ok(())
    })?;
    let at = pull.offset;
    if !named || (listed.unwrap_or(0) == 0 && summary.is_none()) {
        return Err(Halt::Wrong(keys.found()));
    }
    if listed.unwrap_or(0) == 0 {
        out.recognised = true;
        out.fault(ProblemKind::Empty, at, "the report holds no result: no rule looked at any resource");
    }
    if let Some(Summary { rule_results: said }) = summary {
        for ((word, said), seen) in [("PASS", said.pass), ("FAIL", said.fail), ("WAIVED", said.waived)].into_iter().zip(seen) {
            let Some(said) = said.0 else { continue };
            let message = || format!("the summary counts {said} {word}, {seen} are listed");
            if said > seen {
                out.fault(ProblemKind::Mismatch, at, message());
            } else if said < seen {
                out.note(ProblemKind::Mismatch, at, message());
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    rule_id: Text<'a>,
    #[serde(borrow, default)]
    rule_name: Text<'a>,
    #[serde(borrow, default)]
    rule_result: Text<'a>,
    #[serde(default)]
    rule_raw_result: Option<bool>,
    #[serde(borrow, default)]
    rule_severity: Text<'a>,
    #[serde(borrow, default)]
    rule_summary: Text<'a>,
    #[serde(borrow, default)]
    rule_message: Text<'a>,
    #[serde(borrow, default)]
    resource_id: Text<'a>,
    #[serde(borrow, default)]
    resource_type: Text<'a>,
    #[serde(borrow, default)]
    filepath: Text<'a>,
    #[serde(borrow, default)]
    provider: Text<'a>,
    #[serde(borrow, default)]
    input_type: Text<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    controls: Vec<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    families: Vec<Text<'a>>,
}

impl Row<'_> {
    fn tell(&self, seen: &mut [u64; 3], raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let (place, result, lifecycle) = match (self.rule_result.0.as_ref(), self.rule_raw_result) {
            ("PASS", _) => (0, CheckResult::Pass, Lifecycle::Active),
            ("FAIL", _) => (1, CheckResult::Fail, Lifecycle::Active),
            ("WAIVED", Some(true)) => (2, CheckResult::Pass, Lifecycle::Suppressed),
            ("WAIVED", Some(false)) => (2, CheckResult::Fail, Lifecycle::Suppressed),
            ("WAIVED", None) => (2, CheckResult::NotAssessed, Lifecycle::Suppressed),
            (other, _) => {
                let other: String = other.chars().take(40).collect();
                out.fault(ProblemKind::Malformed, at, format!("`{other}` is not a rule_result"));
                return Ok(());
            }
        };
        let Some(check) = self.rule_id.some().or_else(|| self.rule_name.some()) else {
            out.fault(ProblemKind::Malformed, at, "a result has no rule_id");
            return Ok(());
        };
        let file = self.filepath.0.strip_prefix("./").unwrap_or(&self.filepath.0);
        let id = match (file, self.resource_id.0.as_ref()) {
            ("", "") => {
                out.fault(
                    ProblemKind::Incomplete,
                    at,
                    format!("a result of {} names no resource", check.chars().take(80).collect::<String>()),
                );
                return Ok(());
            }
            ("", resource) => resource.to_owned(),
            (file, "") => file.to_owned(),
            (file, resource) => format!("{file}:{resource}"),
        };
        seen[place] += 1;
        let mut finding = Finding::new(check, id, result);
        finding.resource.kind = self.resource_type.cow();
        finding.resource.name = self.resource_id.cow();
        finding.lifecycle = lifecycle;
        finding.severity = Severity::lenient(&self.rule_severity.0);
        finding.fields.set("provider", self.provider.0.as_ref());
        finding.fields.set("file", file);
        finding.fields.set("service", self.input_type.0.as_ref());
        finding.title = self.rule_summary.cow().or_else(|| self.rule_name.cow());
        finding.message = self.rule_message.cow();
        for control in &self.controls {
            let family =
                self.families.iter().filter_map(Text::some).find(|f| control.0.strip_prefix(*f).is_some_and(|rest| rest.starts_with('_')));
            let (family, id) = match family {
                Some(family) => (family, &control.0[family.len() + 1..]),
                None => control.0.rsplit_once('_').unwrap_or(("", &control.0)),
            };
            let (framework, version) = match family.rsplit_once("_v") {
                Some((name, version)) => (name, Some(version.into())),
                None => (family, None),
            };
            finding.control_refs.push(ControlRef { framework: framework.into(), version, id: id.into() });
        }
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Regula;

    fn row(word: &str, raw: &str) -> String {
        format!(
            r#"{{"rule_id":"FG_1","rule_result":"{word}","rule_raw_result":{raw},"rule_severity":"High","filepath":"./a/main.tf","resource_id":"aws_x.y","resource_type":"aws_x","controls":["CIS-AWS_v1.2.0_1.3","NIST_AC-6"],"families":["CIS-AWS_v1.2.0"]}}"#
        )
    }

    #[test]
    fn a_waived_row_keeps_its_verdict_on_the_other_axis() {
        let rows =
            [row("PASS", "true"), row("FAIL", "false"), row("WAIVED", "true"), row("WAIVED", "false"), row("WAIVED", "null")].join(",");
        let text = format!(r#"{{"rule_results":[{rows}],"summary":{{"rule_results":{{"PASS":1,"FAIL":1,"WAIVED":3}}}}}}"#);
        let (kept, outcome) = read(Regula, text.as_bytes());
        assert!(outcome.expect("Regula").complete && kept.problems.is_empty(), "{:?}", kept.problems);
        assert_eq!((kept.counts(), kept.suppressed()), ([2, 2, 0, 0, 0, 1], 3));
        let f = &kept.findings[0];
        assert_eq!((f.resource.id.as_ref(), f.severity), ("a/main.tf:aws_x.y", Some(Severity::High)));
        let refs: Vec<_> = f.control_refs.iter().map(|r| (r.framework.as_ref(), r.version.as_deref(), r.id.as_ref())).collect();
        assert_eq!(refs, [("CIS-AWS", Some("1.2.0"), "1.3"), ("NIST", None, "AC-6")]);
        mangle(Regula, text.as_bytes());
    }

    #[test]
    fn nothing_missing_and_strangers() {
        let (kept, outcome) = read(Regula, br#"{"rule_results":[],"summary":{"rule_results":{"FAIL":2}}}"#);
        assert!(!outcome.expect("Regula").complete);
        assert_eq!(kept.kinds(), ["empty", "mismatch"]);
        let (kept, outcome) = read(
            Regula,
            format!(r#"{{"rule_results":[{},{{"rule_result":"PASS"}},{{"rule_id":"x","rule_result":"PASS"}},5]}}"#, row("odd", "true"))
                .as_bytes(),
        );
        assert!(!outcome.expect("Regula").complete);
        assert_eq!(kept.kinds(), ["malformed", "malformed", "incomplete", "malformed"]);
        for (text, words) in [
            ("[]", "nothing in it"),
            ("{}", "nothing in it"),
            (r#"{"rule_results":[]}"#, "`rule_results`"),
            (r#"{"ClusterName":"c"}"#, "trivy"),
        ] {
            let (_, outcome) = read(Regula, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
