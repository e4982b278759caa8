//! Checkov reports in all three shapes.
//!
//! Producer read: Checkov 2.2 to 3.3, `-o json`: an object (one framework), an array of objects (several), or a flat object
//! of numbers (nothing was found to check). Documentation: <https://www.checkov.io/8.Outputs/JSON.html>.
//!
//! | `check_result.result` | result       | lifecycle |
//! |-----------------------|--------------|-----------|
//! | `PASSED`              | pass         | active |
//! | `FAILED`              | fail         | active |
//! | `SKIPPED`             | not_assessed | suppressed: a comment in the source skips the check, and Checkov does not carry it out |
//! | `UNKNOWN`             | error        | active |
//! | `summary.passed`, `summary.skipped` without their lists (`--quiet`) | as above, but a number only: check and resource are the `check_type` | as above |
//!
//! The resource is `path:resource` from the repository's root: the same resource name stands in many files. `severity` and
//! `benchmarks` come only with the vendor's platform. The check is `check_id`.
//!
//! Oddities met: a file that cannot be parsed is only a line in `parsing_errors`, with exit code 0 and no failure: a problem
//! for each, and the document is not complete. The flat object is a problem too: nothing was checked. Rows count, not the
//! summary; where the summary knows of more than is listed the document is not complete.

use super::stream::{Halt, Keys, Number, Out, Pull, Text, or_default};
use super::{Context, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, Lifecycle, ProblemKind, RunOutcome, ScannerInfo, Severity};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;

const EXPECTED: &str = "a Checkov JSON report: an object with `check_type`, `results` and `summary`, or an array of them";

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let read = pull.documents(|pull| {
        if pull.peek()? == Some(b'{') {
            return report(pull, &mut out);
        }
        let mut reports = 0u64;
        pull.array(|pull| {
            reports += 1;
            report(pull, &mut out)
        })?;
        if reports == 0 {
            return Err(pull.broken(ProblemKind::Empty, "the array holds no report: nothing was checked"));
        }
        Ok(())
    });
    out.end(read, EXPECTED)
}

#[derive(Default)]
struct Report {
    check_type: String,
    /// Rows by list: passed, failed, skipped. `None`: the list is not there.
    rows: [Option<u64>; 3],
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Summary {
    #[serde(default)]
    passed: Number,
    #[serde(default)]
    failed: Number,
    #[serde(default)]
    skipped: Number,
}

fn report(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut report = Report::default();
    let mut summary: Option<Summary> = None;
    let mut results = false;
    let mut flat = false;
    let mut keys = Keys::default();
    let mut version = String::new();
    let at = pull.offset;
    pull.object(|pull, key| {
        keys.note(key);
        match key {
            "check_type" => {
                out.recognised = true;
                report.check_type = pull.text()?;
            }
            "results" => results = report.lists(pull, out)?,
            "summary" => {
                let bytes = pull.keep(out)?.unwrap_or_default();
                summary = serde_json::from_slice(&bytes).ok();
                if let Ok(Version { version: Some(v) }) = serde_json::from_slice(&bytes) {
                    version = v;
                }
            }
            "checkov_version" => {
                out.recognised = true;
                flat = true;
                version = pull.text()?;
            }
            _ => {}
        }
        Ok(())
    })?;
    if !out.recognised {
        return Err(Halt::Wrong(keys.found()));
    }
    let scanner = out.outcome.scanner.get_or_insert_with(|| ScannerInfo { name: "Checkov".to_owned(), ..ScannerInfo::default() });
    if scanner.version.is_empty() {
        scanner.version = version;
    }
    if !results {
        let what = if flat { "Checkov found nothing to check" } else { "a report has no results" };
        out.fault(ProblemKind::Empty, at, what);
        return Ok(());
    }
    report.compare(summary.unwrap_or_default(), at, out)
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "checkov_version")]
    version: Option<String>,
}

impl Report {
    fn lists(&mut self, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<bool, Halt> {
        let mut buf = Vec::new();
        pull.object(|pull, key| {
            let list = match key {
                "passed_checks" => 0,
                "failed_checks" => 1,
                "skipped_checks" => 2,
                "parsing_errors" => {
                    pull.array(|pull| {
                        let file: String = pull.text()?.chars().take(200).collect();
                        out.fault(
                            ProblemKind::ScannerError,
                            pull.offset,
                            format!("Checkov could not parse `{file}`: nothing in it was checked"),
                        );
                        Ok(())
                    })?;
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let mut rows = 0u64;
            let is_list = pull.array(|pull| {
                pull.peek()?;
                let at = pull.offset;
                rows += 1;
                match pull.record::<Row<'_>>(out, &mut buf)? {
                    Some((row, raw)) => row.tell(&self.check_type, raw, at, out),
                    None => Ok(()),
                }
            })?;
            self.rows[list] = is_list.then_some(rows);
            Ok(())
        })
    }

    fn compare(&self, summary: Summary, at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let name = if self.check_type.is_empty() { "checkov" } else { self.check_type.as_str() };
        let said = [("passed", summary.passed), ("failed", summary.failed), ("skipped", summary.skipped)];
        for ((word, said), listed) in said.into_iter().zip(self.rows) {
            let Some(said) = said.0 else { continue };
            match listed {
                // `--quiet` leaves out all lists but the failed.
                None if word != "failed" => {
                    if said > 0 {
                        let passed = word == "passed";
                        let mut finding = Finding::new(name, name, if passed { CheckResult::Pass } else { CheckResult::NotAssessed });
                        if !passed {
                            finding.lifecycle = Lifecycle::Suppressed;
                        }
                        finding.count = said;
                        finding.aggregate = true;
                        finding.fields.set("service", self.check_type.as_str());
                        out.finding(&finding)?;
                    }
                }
                listed => {
                    let listed = listed.unwrap_or(0);
                    let message = || format!("the summary of {name} counts {said} {word}, {listed} are listed");
                    if said > listed {
                        out.fault(ProblemKind::Mismatch, at, message());
                    } else if said < listed {
                        out.note(ProblemKind::Mismatch, at, message());
                    }
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    check_id: Text<'a>,
    #[serde(borrow, default)]
    bc_check_id: Text<'a>,
    #[serde(borrow, default)]
    check_name: Text<'a>,
    #[serde(borrow)]
    check_result: Verdict<'a>,
    #[serde(borrow, default)]
    resource: Text<'a>,
    #[serde(borrow, default)]
    repo_file_path: Text<'a>,
    #[serde(borrow, default)]
    file_path: Text<'a>,
    #[serde(borrow, default)]
    severity: Text<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    benchmarks: BTreeMap<Cow<'a, str>, Vec<Requirement<'a>>>,
}

#[derive(Deserialize)]
struct Verdict<'a> {
    #[serde(borrow, default)]
    result: Text<'a>,
    #[serde(borrow, default)]
    suppress_comment: Text<'a>,
}

#[derive(Deserialize)]
struct Requirement<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
}

impl Row<'_> {
    fn tell(&self, check_type: &str, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let result = match self.check_result.result.0.as_ref() {
            "PASSED" => CheckResult::Pass,
            "FAILED" => CheckResult::Fail,
            "SKIPPED" => CheckResult::NotAssessed,
            "UNKNOWN" => CheckResult::Error,
            other => {
                let other: String = other.chars().take(40).collect();
                out.fault(ProblemKind::Malformed, at, format!("`{other}` is not a result of a check"));
                return Ok(());
            }
        };
        let Some(check) = self.check_id.some().or_else(|| self.bc_check_id.some()) else {
            out.fault(ProblemKind::Malformed, at, "a record has no check_id");
            return Ok(());
        };
        let path = self.repo_file_path.some().or_else(|| self.file_path.some()).unwrap_or_default();
        let written = self.resource.some().unwrap_or_default();
        // A Dockerfile's resource repeats its path: `/images/Dockerfile.EXPOSE`.
        let inner = written.strip_prefix(path).or_else(|| written.strip_prefix(self.file_path.0.as_ref())).unwrap_or(written);
        let inner = if inner.len() < written.len() { inner.strip_prefix('.').unwrap_or(inner) } else { inner };
        let file = path.trim_start_matches('/');
        let id = match (file.is_empty(), inner.is_empty()) {
            (false, false) => format!("{file}:{inner}"),
            (false, true) => file.to_owned(),
            (true, _) => written.to_owned(),
        };
        if id.is_empty() {
            out.fault(ProblemKind::Incomplete, at, format!("a record of {check} names neither file nor resource"));
            return Ok(());
        }
        let mut finding = Finding::new(check, id, result);
        finding.resource.kind = kind(check_type, written).map(Cow::Borrowed);
        finding.resource.name = self.resource.cow();
        if result == CheckResult::NotAssessed {
            finding.lifecycle = Lifecycle::Suppressed;
        }
        finding.severity = Severity::lenient(&self.severity.0);
        finding.fields.set("file", file);
        finding.fields.set("service", check_type);
        finding.title = self.check_name.cow();
        finding.message = self.check_result.suppress_comment.some().map(|c| c.trim().into());
        for (framework, requirements) in &self.benchmarks {
            for requirement in requirements {
                if let Some(id) = requirement.name.some() {
                    finding.control_refs.push(ControlRef { framework: framework.as_ref().into(), version: None, id: id.into() });
                }
            }
        }
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

/// The resource's type, where the framework writes it in front of the name.
fn kind<'r>(check_type: &str, written: &'r str) -> Option<&'r str> {
    match check_type {
        "terraform" | "terraform_plan" => {
            // module.a.module.b.aws_s3_bucket.c
            let mut parts = written.split('.');
            loop {
                match parts.next()? {
                    "module" => drop(parts.next()),
                    "data" => {}
                    kind => return Some(kind).filter(|_| parts.next().is_some()),
                }
            }
        }
        "cloudformation" | "kubernetes" | "helm" | "kustomize" => written.split_once('.').map(|(kind, _)| kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use crate::formats::Format::Checkov;

    fn row(result: &str, resource: &str) -> String {
        format!(
            r#"{{"check_id":"CKV_1","check_name":"n","check_result":{{"result":"{result}","suppress_comment":" why "}},"file_path":"/a/main.tf","repo_file_path":"/r/a/main.tf","resource":"{resource}","severity":null,"benchmarks":{{"CIS":[{{"name":"1.2"}}]}}}}"#
        )
    }

    #[test]
    fn rows_are_what_they_say_whatever_list_they_stand_in() {
        let text = format!(
            r#"{{"check_type":"terraform","results":{{"passed_checks":[{}],"failed_checks":[{},{},{},7],"skipped_checks":[{}],"parsing_errors":[]}},"summary":{{"passed":1,"failed":4,"skipped":1,"checkov_version":"3.3.30"}}}}"#,
            row("PASSED", "module.m.aws_s3_bucket.b"),
            row("FAILED", "aws_s3_bucket.b"),
            row("UNKNOWN", "aws_s3_bucket.c"),
            row("ODD", "x.y"),
            row("SKIPPED", "aws_s3_bucket.d")
        );
        let (kept, outcome) = read(Checkov, text.as_bytes());
        let outcome = outcome.expect("Checkov");
        assert!(!outcome.complete);
        assert_eq!(kept.kinds(), ["malformed", "malformed"]);
        assert_eq!(kept.counts(), [1, 1, 1, 0, 0, 1]);
        assert_eq!(kept.suppressed(), 1);
        let f = &kept.findings[0];
        assert_eq!((f.resource.id.as_ref(), f.resource.kind.as_deref()), ("r/a/main.tf:module.m.aws_s3_bucket.b", Some("aws_s3_bucket")));
        assert_eq!(f.control_refs[0].id, "1.2");
        assert_eq!(kept.findings[3].message.as_deref(), Some("why"));
        assert_eq!(outcome.scanner.map(|s| s.version).as_deref(), Some("3.3.30"));
        mangle(Checkov, text.as_bytes());
    }

    #[test]
    fn what_the_summary_knows_more_of_is_missed() {
        let text =
            |summary: &str| format!(r#"{{"check_type":"k","results":{{"failed_checks":[{}]}},"summary":{summary}}}"#, row("FAILED", "r.x"));
        let (kept, outcome) = read(Checkov, text(r#"{"passed":5,"failed":1,"skipped":0}"#).as_bytes());
        assert!(outcome.expect("Checkov").complete, "{:?}", kept.problems);
        assert_eq!(kept.counts(), [5, 1, 0, 0, 0, 0]);
        let (kept, outcome) = read(Checkov, text(r#"{"passed":0,"failed":9,"skipped":2}"#).as_bytes());
        assert!(!outcome.expect("Checkov").complete);
        assert_eq!((kept.counts(), kept.kinds()), ([0, 1, 0, 0, 0, 2], vec!["mismatch"]));
        let (kept, outcome) = read(Checkov, text(r#"{"failed":0}"#).as_bytes());
        assert!(outcome.expect("Checkov").complete);
        assert_eq!(kept.kinds(), ["mismatch"]);
    }

    #[test]
    fn nothing_checked_is_not_clean_and_strangers_are_refused() {
        let (kept, outcome) =
            read(Checkov, br#"[{"check_type":"terraform","results":null},{"passed":0,"failed":0,"checkov_version":"3.3.30"}]"#);
        assert!(!outcome.expect("Checkov").complete);
        assert_eq!(kept.kinds(), ["empty", "empty"]);
        for (text, words) in
            [("[]", "nothing was checked"), (r#"{"version":"2.1.0","runs":[]}"#, "sarif"), (r#"[1]"#, "nothing in it"), ("{", "ends")]
        {
            let (_, outcome) = read(Checkov, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
