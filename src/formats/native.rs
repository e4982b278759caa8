//! bornright's own findings: what `bornright findings` writes and what house scanners may write.
//!
//! One JSON object a line (an array or values one after another are read too):
//! ```json
//! {"check":"c","resource":{"id":"r","type":"t","name":"n"},"result":"fail","lifecycle":"active","severity":"high",
//!  "observed_at":"2026-11-23T06:00:00Z","fields":{"account":"1"},"title":"…","message":"…",
//!  "control_refs":[{"framework":"cis","version":"3.0","id":"1.4"}],"count":1}
//! ```
//! `check`, `resource.id` and `result` are needed; `null` is the same as nothing; other keys are passed over.
//! Specification: docs/reading.md, which is a contract of ours.
//!
//! Oddities: none of our own. What people write by hand is read with some patience: `observed_at` in any form that
//! [`super::time`] knows, numbers where texts belong. A word that is none of the result's or the lifecycle's is a problem, never a
//! guess. `count` is for sources that give only numbers; a finding with a `count` other than 1 is an aggregate, whose
//! resource names what was counted, and so is one that says `"aggregate": true`.

use super::json::{Item, Picker, Raw, Reader, Record, Report, Strangers, Text, nullable};
use super::ocsf::clip;
use super::{Context, Flow, FormatError, Sink, asff, time};
use crate::domain::{CheckResult, ControlRef, Fields, Finding, Lifecycle, Moment, ProblemKind, ResourceRef, RunOutcome, Severity};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_by(input, ctx, sink, true)
}

/// Reads one document; with `fast`, picks values out of records where that is possible, else parses every record.
pub(super) fn read_by(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink, fast: bool) -> Result<RunOutcome, FormatError> {
    let mut report = Report::new(ctx);
    let mut reader = Reader::new(input, ctx, &["findings"]);
    let mut picker = Picker::new(&PATHS);
    let mut strangers = Strangers::default();
    let mut scanned_at: Option<Moment> = None;
    let mut findings = 0u64;
    while let Some(item) = reader.next(&mut report, sink) {
        let Item::Record(record) = item else { continue };
        let picked = if fast { pick(&mut picker, &record) } else { None };
        let line = match picked {
            Some(line) => line,
            None => match record.parse::<Line<'_>>() {
                Ok(line) => line,
                Err(why) => {
                    report.problem(sink, ProblemKind::Malformed, record.position(), why);
                    continue;
                }
            },
        };
        if line.check.get().is_none() && line.result.get().is_none() {
            strangers.stranger(&record, &mut report, sink);
            continue;
        }
        strangers.known(&mut report, sink);
        match finding(&line, ctx.want_raw.then_some(record.bytes())) {
            Ok(finding) => {
                if let (Some(text), None) = (line.observed_at.get(), finding.observed_at) {
                    let message = format!("`observed_at` is `{}`, expected an instant such as 2026-11-23T06:00:00Z", clip(text));
                    report.problem(sink, ProblemKind::Time, record.position(), message);
                }
                scanned_at = scanned_at.max(finding.observed_at);
                findings += 1;
                if sink.finding(&finding) == Flow::Stop {
                    report.incomplete();
                    return Ok(RunOutcome { complete: report.finish(sink), scanned_at, ..RunOutcome::default() });
                }
            }
            Err((kind, message)) => report.problem(sink, kind, record.position(), message),
        }
    }
    strangers.verdict(&reader, ctx, "bornright's findings with `check`, `resource` and `result`")?;
    if findings == 0 {
        report.incomplete();
        asff::say_empty(&reader, &mut report, sink);
    }
    Ok(RunOutcome { complete: report.finish(sink), scanned_at, ..RunOutcome::default() })
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    check: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    resource: Resource<'a>,
    #[serde(borrow)]
    result: Text<'a>,
    #[serde(borrow)]
    lifecycle: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    observed_at: Text<'a>,
    #[serde(borrow)]
    fields: Raw<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    control_refs: Raw<'a>,
    #[serde(borrow)]
    count: Text<'a>,
    #[serde(borrow)]
    aggregate: Text<'a>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

/// What the picker takes out of a finding, in the order of [`pick`].
const PATHS: [&str; 14] = [
    "check",
    "resource.id",
    "resource.type",
    "resource.name",
    "result",
    "lifecycle",
    "severity",
    "observed_at",
    "fields",
    "title",
    "message",
    "control_refs",
    "count",
    "aggregate",
];

/// The finding, if it is plain enough to be picked; it is then what parsing would give.
fn pick<'a>(picker: &mut Picker, record: &Record<'a>) -> Option<Line<'a>> {
    let mut out: [&'a str; PATHS.len()] = [""; PATHS.len()];
    // `aggregate` is a truth value, and rare: left to the parser.
    if !picker.pick(record, &mut out) || !out[13].is_empty() {
        return None;
    }
    let text = |i: usize| Text::picked(record, out[i]);
    Some(Line {
        check: text(0)?,
        resource: Resource { id: text(1)?, kind: text(2)?, name: text(3)? },
        result: text(4)?,
        lifecycle: text(5)?,
        severity: text(6)?,
        observed_at: text(7)?,
        fields: Raw(out[8]),
        title: text(9)?,
        message: text(10)?,
        control_refs: Raw(out[11]),
        count: Text::picked_number(record, out[12])?,
        aggregate: Text::None,
    })
}

fn finding<'l>(line: &'l Line<'_>, raw: Option<&'l [u8]>) -> Result<Finding<'l>, (ProblemKind, String)> {
    let missing = |what: &str| (ProblemKind::Incomplete, format!("a finding without `{what}`"));
    let wrong =
        |key: &str, found: &str, expected: String| (ProblemKind::Malformed, format!("`{key}` is `{}`, expected {expected}", clip(found)));
    let check = line.check.get().ok_or_else(|| missing("check"))?;
    let id = line.resource.id.get().ok_or_else(|| missing("resource.id"))?;
    let word = line.result.get().ok_or_else(|| missing("result"))?;
    let result = CheckResult::from_word(word).ok_or_else(|| wrong("result", word, one_of(CheckResult::ALL)))?;
    let lifecycle = match line.lifecycle.get() {
        None => Lifecycle::Active,
        Some(word) => Lifecycle::from_word(word).ok_or_else(|| wrong("lifecycle", word, one_of(Lifecycle::ALL)))?,
    };
    let severity = match line.severity.get() {
        None => None,
        Some(word) => Some(Severity::lenient(word).ok_or_else(|| wrong("severity", word, one_of(Severity::ALL)))?),
    };
    let count = match line.count.get() {
        None => 1,
        Some(text) => text.parse().map_err(|_| wrong("count", text, "a whole number, not negative".to_owned()))?,
    };
    let aggregate = match line.aggregate.get() {
        None => count != 1,
        Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(wrong("aggregate", other, "true or false".to_owned())),
    };
    let fields = match line.fields.0 {
        "" | "null" => Fields::default(),
        raw => serde_json::from_str::<FieldMap<'_>>(raw).map_err(|e| (ProblemKind::Malformed, format!("`fields`: {e}")))?.0,
    };
    let control_refs = match line.control_refs.0 {
        "" | "null" => Vec::new(),
        raw => {
            let refs: Vec<Ref<'_>> = serde_json::from_str(raw).map_err(|e| (ProblemKind::Malformed, format!("`control_refs`: {e}")))?;
            refs.into_iter().map(Ref::read).collect::<Option<_>>().ok_or_else(|| missing("control_refs[].framework` and `.id"))?
        }
    };
    Ok(Finding {
        check: Cow::Borrowed(check),
        resource: ResourceRef { id: Cow::Borrowed(id), kind: line.resource.kind.cow(), name: line.resource.name.cow() },
        result,
        lifecycle,
        severity,
        observed_at: line.observed_at.get().and_then(time::parse),
        fields,
        title: line.title.cow(),
        message: line.message.cow(),
        control_refs,
        count,
        aggregate,
        raw,
    })
}

fn one_of<T: fmt::Display>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    format!("one of {}", words.join(", "))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ref<'a> {
    #[serde(borrow)]
    framework: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
}

impl<'a> Ref<'a> {
    fn read(self) -> Option<ControlRef<'a>> {
        Some(ControlRef { framework: self.framework.into_cow()?, version: self.version.into_cow(), id: self.id.into_cow()? })
    }
}

/// A map from names to texts.
struct FieldMap<'a>(Fields<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for FieldMap<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = FieldMap<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to texts")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    if let (Some(name), Some(value)) = (name.into_cow(), value.into_cow()) {
                        fields.set(name, value);
                    }
                }
                Ok(FieldMap(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
