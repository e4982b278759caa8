//! Snyk Infrastructure as Code test results.
//!
//! Producer: `snyk iac test --json`, the integrated engine (an object a file) and the older inner shape `{results:{high:[…]}}`.
//! Specification: <https://docs.snyk.io/snyk-cli/commands/iac-test>.
//!
//! | where | result | | `isIgnored` | lifecycle |
//! |---|---|---|---|---|
//! | infrastructureAsCodeIssues | fail | | false | active |
//! | infrastructureAsCodeSuccesses | pass | | true | suppressed |
//! | `results.<severity>[]` (older) | fail; passes are not listed | | | |
//!
//! Oddities: one object, or an array of them; a file that could not be read is an object with `ok: false` and an `error`;
//! the resource is the beginning of a path to the attribute (`resource.aws_s3_bucket[b].acl`). Nothing says when.

use super::pages::{Ask, Part, Place, first, get, list, owned, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, Lifecycle, ProblemKind, RunOutcome, Severity};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> =
    Ask { shape: Shape { wrappers: &[], bare: true }, expected: "Snyk's `infrastructureAsCodeIssues`", nothing_is_fine: false };

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => file(&record, place),
        Part::Member(..) => Flow::More,
    })
}

fn file(record: &Value, place: &mut Place<'_>) -> Flow {
    if let Some(by_severity) = get(record, "results").and_then(Value::as_object) {
        return older(by_severity, place);
    }
    let known = ["infrastructureAsCodeIssues", "infrastructureAsCodeSuccesses"].iter().any(|m| record.get(m).is_some());
    if let Some(message) = first(record, &["error", "message"]).filter(|_| !known) {
        place.recognise();
        place.say(
            ProblemKind::ScannerError,
            format!("Snyk could not test {}: {message}", first(record, &["targetFile", "path"]).unwrap_or_default()),
        );
        return Flow::More;
    }
    if !known {
        return place.strange(record, "`infrastructureAsCodeIssues`");
    }
    place.recognise();
    for (member, result) in [("infrastructureAsCodeIssues", CheckResult::Fail), ("infrastructureAsCodeSuccesses", CheckResult::Pass)] {
        for row in list(record, member) {
            if self::row(row, record, result, place) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    Flow::More
}

fn row(row: &Value, record: &Value, result: CheckResult, place: &mut Place<'_>) -> Flow {
    let Some(check) = first(row, &["id", "publicId"]) else {
        place.say(ProblemKind::Incomplete, "a result names no rule");
        return Flow::More;
    };
    let file = first(record, &["targetFile", "targetFilePath"]).unwrap_or_default();
    let path: Vec<&str> = list(row, "path").iter().filter_map(Value::as_str).collect();
    // `resource.TYPE[NAME]` in Terraform; the kind and name in other inputs.
    let inner = if path.is_empty() { text(row, "msg").unwrap_or_default().to_string() } else { path[..path.len().min(2)].join(".") };
    let id = if inner.is_empty() { file.to_string() } else { format!("{file}:{inner}") };
    let mut finding = Finding::new(check, id, result);
    finding.lifecycle = lifecycle(row);
    finding.resource.kind = text(row, "subType");
    finding.severity = text(row, "severity").and_then(|s| Severity::lenient(&s));
    finding.title = text(row, "title");
    finding.message = text(row, "msg");
    finding.fields.set("file", file);
    finding.fields.set("project", text(record, "projectName").unwrap_or_default());
    finding.fields.set("repository", text(record, "projectName").unwrap_or_default());
    place.finding(finding)
}

fn lifecycle(row: &Value) -> Lifecycle {
    if get(row, "isIgnored") == Some(&Value::Bool(true)) { Lifecycle::Suppressed } else { Lifecycle::Active }
}

fn older(by_severity: &serde_json::Map<String, Value>, place: &mut Place<'_>) -> Flow {
    place.recognise();
    for rows in by_severity.values() {
        for row in rows.as_array().map_or(&[][..], Vec::as_slice) {
            let issue = &row["issue"];
            let Some(check) = text(issue, "id") else {
                place.say(ProblemKind::Incomplete, "a result names no rule");
                continue;
            };
            let file = text(row, "targetFile").unwrap_or_default();
            let inner: Vec<&str> = list(issue, "cloudConfigPath").iter().filter_map(Value::as_str).take(2).collect();
            let mut finding = Finding::new(check, format!("{file}:{}", inner.join(".")), CheckResult::Fail);
            finding.lifecycle = lifecycle(issue);
            finding.resource.kind = text(row, "projectType");
            finding.severity = text(issue, "severity").and_then(|s| Severity::lenient(&s));
            finding.title = text(issue, "title");
            finding.fields.set("file", owned(&file));
            if place.finding(finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    Flow::More
}
