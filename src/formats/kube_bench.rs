//! kube-bench results.
//!
//! Producer read: kube-bench 0.2 to 0.10, `--json`: an object with `Controls` and `Totals`, before that an array of controls,
//! and before that one control a line. Documentation: <https://github.com/aquasecurity/kube-bench/blob/main/docs/running.md>.
//!
//! | `status` | result       | why |
//! |----------|--------------|-----|
//! | `PASS`   | pass         | |
//! | `FAIL`   | fail         | |
//! | `WARN`   | manual       | a manual check, one that could not be run, or an unscored failure: a person has to look |
//! | `INFO`   | not_assessed | skipped |
//!
//! The check is the test's number in its benchmark (`1.1.1`); the benchmark's version (`cis-1.6`) is the field `profile`,
//! the part of the cluster (`master`, `node`, `etcd`, `policies`, …) the field `service`. Every record is active.
//!
//! Oddities met: the file names neither host, cluster nor time. The resource is therefore the part of the cluster, and who
//! runs kube-bench on several nodes has to say by other means which file is which node's.

use super::stream::{Halt, Keys, Number, Out, Pull, Text};
use super::{Context, FormatError, Sink};
use crate::domain::{CheckResult, Finding, ProblemKind, RunOutcome, ScannerInfo};
use serde::Deserialize;
use std::io::BufRead;

const EXPECTED: &str = "kube-bench JSON: an object with `Controls`, or controls with `node_type` and `tests`";

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let mut rows = 0u64;
    let mut read = pull.documents(|pull| match pull.peek()? {
        Some(b'[') => pull.array(|pull| control(pull, &mut out, &mut rows, false)).map(|_| ()),
        _ => control(pull, &mut out, &mut rows, true),
    });
    if read.is_ok() && rows == 0 {
        if out.recognised {
            out.fault(ProblemKind::Empty, 0, "no check was run");
        } else {
            read = Err(Halt::Broken(ProblemKind::Empty, 0, "the document holds no control: no check was run".to_owned()));
        }
    }
    out.end(read, EXPECTED)
}

#[derive(Default)]
struct Control {
    version: Option<String>,
    node_type: Option<String>,
    rows: [u64; 4],
    totals: [Option<u64>; 4],
}

/// The words, in the order of the totals.
const WORDS: [(&str, &str, CheckResult); 4] = [
    ("PASS", "total_pass", CheckResult::Pass),
    ("FAIL", "total_fail", CheckResult::Fail),
    ("WARN", "total_warn", CheckResult::Manual),
    ("INFO", "total_info", CheckResult::NotAssessed),
];

/// A control, or the object that holds them all.
fn control(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, rows: &mut u64, outer: bool) -> Result<(), Halt> {
    let mut control = Control::default();
    let mut keys = Keys::default();
    let mut later = None;
    let mut holds = false;
    let at = pull.offset;
    pull.object(|pull, key| {
        keys.note(key);
        match key {
            "Controls" if outer => {
                out.recognised = true;
                holds = true;
                pull.array(|pull| control_within(pull, out, rows))?;
            }
            "version" => control.version = Some(pull.text()?),
            "node_type" => {
                out.recognised = true;
                control.node_type = Some(pull.text()?);
            }
            "tests" => {
                if control.version.is_some() && control.node_type.is_some() {
                    control.tests(pull, out)?;
                } else {
                    later = pull.keep(out)?;
                }
            }
            total => {
                if let Some(i) = WORDS.iter().position(|(_, name, _)| *name == total) {
                    control.totals[i] = pull.read::<Number>()?.and_then(|n| n.0);
                }
            }
        }
        Ok(())
    })?;
    if !out.recognised {
        return Err(Halt::Wrong(keys.found()));
    }
    if holds {
        return Ok(());
    }
    if let Some(tests) = later {
        let ctx = out.ctx;
        control.tests(&mut Pull::new(&mut tests.as_slice(), ctx), out)?;
    }
    let listed: u64 = control.rows.iter().sum();
    *rows = rows.saturating_add(listed);
    let said = control.totals.iter().flatten().fold(0u64, |sum, n| sum.saturating_add(*n));
    let part = control.node_type.as_deref().unwrap_or_default();
    if said > listed {
        out.fault(ProblemKind::Mismatch, at, format!("the totals of `{part}` count {said} checks, {listed} are listed"));
    } else if control.totals.iter().zip(control.rows).any(|(said, listed)| said.is_some_and(|said| said != listed)) {
        out.note(ProblemKind::Mismatch, at, format!("the totals of `{part}` are not those of its rows; the rows count"));
    }
    if out.outcome.scanner.is_none() {
        let rule_set = control.version.unwrap_or_default();
        out.outcome.scanner = Some(ScannerInfo { name: "kube-bench".to_owned(), version: String::new(), rule_set });
    }
    Ok(())
}

/// One step down: controls do not hold controls any deeper.
fn control_within(pull: &mut Pull<'_>, out: &mut Out<'_, '_>, rows: &mut u64) -> Result<(), Halt> {
    if pull.peek()? == Some(b'{') {
        control(pull, out, rows, false)
    } else {
        out.fault(ProblemKind::Malformed, pull.offset, "a control is no object");
        Ok(())
    }
}

impl Control {
    fn tests(&mut self, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let mut buf = Vec::new();
        pull.array(|pull| {
            pull.object(|pull, key| {
                if key == "results" {
                    pull.array(|pull| {
                        pull.peek()?;
                        let at = pull.offset;
                        match pull.record::<Row<'_>>(out, &mut buf)? {
                            Some((row, raw)) => self.tell(&row, raw, at, out),
                            None => Ok(()),
                        }
                    })?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    }

    fn tell(&mut self, row: &Row<'_>, raw: &[u8], at: u64, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let Some(i) = WORDS.iter().position(|(word, ..)| *word == row.status.0) else {
            let word: String = row.status.0.chars().take(40).collect();
            out.fault(ProblemKind::Malformed, at, format!("`{word}` is not a status of a check"));
            return Ok(());
        };
        let Some(check) = row.test_number.some() else {
            out.fault(ProblemKind::Malformed, at, "a check has no test_number");
            return Ok(());
        };
        self.rows[i] += 1;
        let part = self.node_type.as_deref().filter(|n| !n.is_empty()).unwrap_or("cluster");
        let mut finding = Finding::new(check, part, WORDS[i].2);
        let node = matches!(part, "master" | "node" | "etcd" | "controlplane");
        finding.resource.kind = Some(if node { "Node" } else { "Cluster" }.into());
        finding.fields.set("profile", self.version.as_deref().unwrap_or_default());
        finding.fields.set("service", part);
        finding.title = row.test_desc.cow();
        finding.message = row.reason.cow();
        finding.raw = out.ctx.want_raw.then_some(raw);
        out.finding(&finding)
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    test_number: Text<'a>,
    #[serde(borrow, default)]
    test_desc: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    reason: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::KubeBench;

    const ROWS: &str = r#"[{"section":"1","results":[{"test_number":"1.1.1","status":"PASS","test_desc":"d"},{"test_number":"1.1.2","status":"FAIL"}]},
        {"results":[{"test_number":1.2,"status":"WARN","reason":"r"},{"test_number":"1.3","status":"INFO"}]},{"results":null}]"#;

    #[test]
    fn all_three_shapes_say_the_same() {
        let one = format!(
            r#"{{"id":"1","version":"cis-1.6","node_type":"master","tests":{ROWS},"total_pass":1,"total_fail":1,"total_warn":1,"total_info":1}}"#
        );
        let sorted = format!(
            r#"{{"id":"1","node_type":"master","tests":{ROWS},"total_fail":1,"total_info":1,"total_pass":1,"total_warn":1,"version":"cis-1.6"}}"#
        );
        let all =
            [format!(r#"{{"Controls":[{one}],"Totals":{{"total_pass":1}}}}"#), format!("[{one},{sorted}]"), format!("{one}\n{sorted}\n")];
        for (text, times) in all.iter().zip([1, 2, 2]) {
            let (kept, outcome) = read(KubeBench, text.as_bytes());
            let outcome = outcome.expect("kube-bench");
            assert!(outcome.complete && kept.problems.is_empty(), "{text}: {:?}", kept.problems);
            assert_eq!(kept.counts(), [times, times, 0, times, 0, times]);
            assert_eq!(outcome.scanner.map(|s| s.rule_set).as_deref(), Some("cis-1.6"));
            for f in &kept.findings {
                assert_eq!(
                    (f.fields.get("profile"), f.fields.get("service"), f.resource.id.as_ref()),
                    (Some("cis-1.6"), Some("master"), "master")
                );
            }
            assert_eq!(kept.of("1.2").len(), usize::try_from(times).expect("small"));
        }
        mangle(KubeBench, all[0].as_bytes());
        // Cut between two lines every line is whole; only the totals of the whole run would tell, and that shape has none.
        mangle(KubeBench, all[1].as_bytes());
    }

    #[test]
    fn missing_rows_bad_rows_and_nothing_at_all() {
        let text = r#"{"Controls":[{"version":"v","node_type":"etcd","tests":[{"results":[{"test_number":"1","status":"PASS"},{"status":"PASS"},{"test_number":"2","status":"pass"},3]}],"total_pass":9},4]}"#;
        let (kept, outcome) = read(KubeBench, text.as_bytes());
        assert!(!outcome.expect("kube-bench").complete);
        assert_eq!(kept.kinds(), ["malformed", "malformed", "malformed", "mismatch", "malformed"]);
        assert_eq!(kept.counts(), [1, 0, 0, 0, 0, 0]);
        for text in [r#"{"Controls":null}"#, r#"{"Controls":[],"Totals":{}}"#] {
            let (kept, outcome) = read(KubeBench, text.as_bytes());
            assert!(!outcome.expect("kube-bench").complete);
            assert_eq!(kept.kinds(), ["empty"]);
        }
        for (text, kind) in
            [("[]", ProblemKind::Empty), (r#"{"profiles":[],"platform":{}}"#, ProblemKind::WrongFormat), ("[3]", ProblemKind::WrongFormat)]
        {
            let (_, outcome) = read(KubeBench, text.as_bytes());
            assert_eq!(outcome.expect_err(text).kind, kind, "{text}");
        }
    }
}
