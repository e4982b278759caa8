//! Conftest results (passes only as numbers).
//!
//! Producer read: Conftest 0.21 to 0.6x, `conftest test -o json`: an array with one object for each file and namespace.
//! Documentation: <https://www.conftest.dev/output/>.
//!
//! | list         | result       | lifecycle |
//! |--------------|--------------|-----------|
//! | `failures`   | fail         | active |
//! | `warnings`   | manual       | active: somebody has to look; `--fail-on-warn` is a matter of the exit code |
//! | `exceptions` | fail         | suppressed: a rule of the policy excepts it |
//! | `skipped`    | not_assessed | active |
//! | `successes`  | pass         | active; a number only, for the namespace as check |
//!
//! Passing rules have no names. The check of a row is what its metadata calls it (`policy_id`, `policyID`, `id`), else the
//! rule's query (`data.main.deny`), else the namespace. The resource is the file; `""` and `-` are standard input: `-`.
//! Severity comes from the metadata, where the policy's author wrote one.

use super::stream::{Halt, Keys, Number, Out, Pull, Text};
use super::{Context, FormatError, Sink};
use crate::domain::{CheckResult, Finding, Lifecycle, ProblemKind, RunOutcome, ScannerInfo, Severity};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;

const EXPECTED: &str = "Conftest JSON: an array of objects with `filename`, `namespace` and `successes`";

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut out = Out::new(ctx, sink);
    let mut pull = Pull::new(input, ctx);
    let mut files = 0u64;
    let read = pull.documents(|pull| {
        if pull.peek()? == Some(b'{') {
            let mut keys = Keys::default();
            pull.object(|_, key| {
                keys.note(key);
                Ok(())
            })?;
            return Err(Halt::Wrong(keys.found()));
        }
        pull.array(|pull| {
            files += 1;
            file(pull, &mut out)
        })?;
        if files == 0 {
            return Err(pull.broken(ProblemKind::Empty, "the array is empty: no file was tested"));
        }
        Ok(())
    });
    out.outcome.scanner = Some(ScannerInfo { name: "Conftest".to_owned(), ..ScannerInfo::default() });
    out.end(read, EXPECTED)
}

/// The lists, and what their rows mean.
const LISTS: [(&str, CheckResult, Lifecycle); 4] = [
    ("failures", CheckResult::Fail, Lifecycle::Active),
    ("warnings", CheckResult::Manual, Lifecycle::Active),
    ("exceptions", CheckResult::Fail, Lifecycle::Suppressed),
    ("skipped", CheckResult::NotAssessed, Lifecycle::Active),
];

#[derive(Default)]
struct File {
    name: String,
    namespace: String,
}

fn file(pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
    let mut file = File::default();
    let (mut name, mut namespace, mut successes) = (None, None, None);
    let mut later: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut keys = Keys::default();
    let at = pull.offset;
    let walked = pull.object(|pull, key| {
        keys.note(key);
        match key {
            "filename" => name = Some(pull.text()?),
            "namespace" => namespace = Some(pull.text()?),
            "successes" => successes = pull.read::<Number>()?.and_then(|n| n.0),
            list => {
                let Some(i) = LISTS.iter().position(|(word, ..)| *word == list) else { return Ok(()) };
                if let (Some(name), Some(namespace)) = (&name, &namespace) {
                    out.recognised = true;
                    file = File { name: name.clone(), namespace: namespace.clone() };
                    file.rows(i, pull, out)?;
                } else {
                    later.extend(pull.keep(out)?.map(|bytes| (i, bytes)));
                }
            }
        }
        Ok(())
    });
    let halted = match walked {
        Ok(_) => None,
        Err(Halt::Stop) => return Err(Halt::Stop),
        Err(halt) => Some(halt),
    };
    let (Some(name), Some(namespace)) = (name, namespace) else {
        if let Some(halt) = halted {
            return Err(halt);
        }
        if !out.recognised {
            return Err(Halt::Wrong(keys.found()));
        }
        out.fault(ProblemKind::Malformed, at, "a result has no filename or no namespace");
        return Ok(());
    };
    out.recognised = true;
    file = File { name, namespace };
    for (i, bytes) in later {
        let ctx = out.ctx;
        file.rows(i, &mut Pull::new(&mut bytes.as_slice(), ctx), out)?;
    }
    if let Some(halt) = halted {
        return Err(halt);
    }
    match successes {
        Some(0) => Ok(()),
        Some(count) => {
            let mut finding = file.finding(file.check(), CheckResult::Pass);
            finding.count = count;
            finding.aggregate = true;
            out.finding(&finding)
        }
        None => {
            out.fault(
                ProblemKind::Malformed,
                at,
                format!("the result of `{}` does not count its successes", file.id().chars().take(120).collect::<String>()),
            );
            Ok(())
        }
    }
}

impl File {
    fn id(&self) -> &str {
        if self.name.is_empty() { "-" } else { self.name.strip_prefix("./").unwrap_or(&self.name) }
    }

    fn check(&self) -> &str {
        if self.namespace.is_empty() { "main" } else { &self.namespace }
    }

    fn finding<'f>(&'f self, check: impl Into<Cow<'f, str>>, result: CheckResult) -> Finding<'f> {
        let mut finding = Finding::new(check, self.id(), result);
        finding.resource.kind = Some("File".into());
        finding.fields.set("file", self.id());
        finding.fields.set("profile", self.check());
        finding
    }

    fn rows(&self, list: usize, pull: &mut Pull<'_>, out: &mut Out<'_, '_>) -> Result<(), Halt> {
        let (_, result, lifecycle) = LISTS[list];
        let mut buf = Vec::new();
        pull.array(|pull| {
            let Some((row, raw)) = pull.record::<Row<'_>>(out, &mut buf)? else { return Ok(()) };
            let metadata = |name: &str| row.metadata.as_ref().and_then(|m| m.get(name)).and_then(Text::some);
            let named = ["policy_id", "policyID", "id", "query"].iter().find_map(|n| metadata(n));
            let mut finding = self.finding(named.unwrap_or_else(|| self.check()), result);
            finding.lifecycle = lifecycle;
            finding.severity = metadata("severity").and_then(Severity::lenient);
            finding.title = metadata("title").map(Cow::Borrowed);
            finding.message = row.msg.cow();
            finding.raw = out.ctx.want_raw.then_some(raw);
            out.finding(&finding)
        })?;
        Ok(())
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    msg: Text<'a>,
    #[serde(borrow, default)]
    metadata: Option<BTreeMap<Cow<'a, str>, Text<'a>>>,
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::{mangle, read};
    use super::*;
    use crate::formats::Format::Conftest;

    #[test]
    fn lists_mean_what_they_are_and_passes_are_a_number() {
        let text = r#"[{"failures":[{"msg":"early","metadata":{"policy_id":"P1","severity":"HIGH"}}],"filename":"./k8s/a.yaml","namespace":"main","successes":4,
            "warnings":[{"msg":"w","metadata":{"query":"data.main.warn","details":{"x":[1]}}}],"exceptions":[{"msg":"e"}],"skipped":[{"msg":"s","loc":{"line":1}},3]},
            {"filename":"","namespace":"other","successes":0}]"#;
        let (kept, outcome) = read(Conftest, text.as_bytes());
        assert!(!outcome.expect("Conftest").complete);
        assert_eq!(kept.kinds(), ["malformed"]);
        assert_eq!(kept.counts(), [4, 2, 0, 1, 0, 1]);
        assert_eq!(kept.suppressed(), 1);
        assert_eq!(kept.of("P1"), [("k8s/a.yaml", CheckResult::Fail)]);
        assert_eq!(kept.of("data.main.warn"), [("k8s/a.yaml", CheckResult::Manual)]);
        let number = kept.findings.iter().find(|f| f.aggregate).expect("a number");
        assert_eq!((number.check.as_ref(), number.count, number.result), ("main", 4, CheckResult::Pass));
        assert!(kept.findings.iter().any(|f| f.message.as_deref() == Some("early") && f.severity == Some(Severity::High)));
        mangle(Conftest, text.replace(",3]", "]").as_bytes());
    }

    #[test]
    fn nothing_and_strangers_are_refused() {
        for (text, words) in [
            ("[]", "no file was tested"),
            ("", "empty"),
            (r#"{"check_type":"k","results":{},"summary":{}}"#, "checkov"),
            (r#"[{"check_type":"k","results":{},"summary":{}}]"#, "checkov"),
            ("[1]", "nothing in it"),
            (r#"[{"filename":"a"}]"#, "`filename`"),
        ] {
            let (_, outcome) = read(Conftest, text.as_bytes());
            let error = outcome.expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let (kept, outcome) =
            read(Conftest, br#"[{"filename":"a","namespace":"n","successes":1},{"filename":"b","namespace":"n"},{"x":1}]"#);
        assert!(!outcome.expect("Conftest").complete);
        assert_eq!(kept.kinds(), ["malformed", "malformed"]);
    }
}
