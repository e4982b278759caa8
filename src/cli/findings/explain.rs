//! `findings --explain`: where each value of one finding came from.
//!
//! For a mapping the expressions are known, and so is what every record gave. For a format of ours the record's own bytes
//! are searched for the values that the finding has: what is found is where it stands, not how it was read, and a value
//! that was made from several stands nowhere.

use crate::domain::{Finding, Problem, ScopeTemplate};
use crate::formats::jsonpath::Explanation;
use crate::formats::{self, Context, Flow, FormatSpec, Sink};
use serde_json::Value;
use std::io::{self, BufRead, Write};

/// Largest record that is searched, and most values of it.
const RECORD_BYTES: usize = 1 << 20;
const NODES: usize = 20_000;
/// Shortest value worth looking for: a `0` stands everywhere.
const SHORTEST: usize = 2;
/// Longest value shown.
const SHOWN: usize = 60;

/// What a mapping gave.
pub(super) fn mapping(out: &mut impl Write, name: &str, e: &Explanation, scope: Option<&ScopeTemplate>) -> io::Result<()> {
    if e.records == 0 {
        return writeln!(out, "{name}: no record");
    }
    writeln!(out, "{name}: {}", records(e.records))?;
    if e.rows.is_empty() {
        writeln!(out, "there is no record {}", e.wanted)?;
    } else {
        writeln!(out, "record {}:", e.wanted)?;
        let rows: Vec<[&str; 3]> = e.rows.iter().map(|r| [r.field.as_str(), r.expression.as_str(), r.gave.as_str()]).collect();
        table(out, &rows)?;
        match &e.became {
            Ok(finding) => writeln!(out, "  becomes: {} of {} on {}", finding.result, finding.check, finding.resource)?,
            Err(why) => writeln!(out, "  becomes no finding: {why}")?,
        }
        if let (Some(template), Ok(finding)) = (scope, &e.became) {
            let mut filled = String::new();
            let lookup = |field: &str| finding.fields.iter().find(|(k, _)| k == field).map(|(_, v)| v.as_str());
            let placed = template.fill_with(lookup, &mut filled);
            let scope = if placed { filled.as_str() } else { ScopeTemplate::UNPLACED };
            writeln!(out, "  scope: {scope} (by `{}`)", template.source())?;
        }
    }
    writeln!(out, "over all records:")?;
    let words: Vec<[String; 3]> = e
        .words
        .iter()
        .map(|w| {
            let meaning =
                w.result.map_or_else(|| "in none of the lists: each is a problem, and no finding".to_owned(), |r| r.word().to_owned());
            [format!("result `{}`", w.word), records(w.records), meaning]
        })
        .collect();
    let nothing: Vec<[String; 3]> = e.nothing.iter().map(|(field, n)| [field.clone(), records(*n), "gave nothing".to_owned()]).collect();
    let rows: Vec<[&str; 3]> = words.iter().chain(&nothing).map(|r| [r[0].as_str(), r[1].as_str(), r[2].as_str()]).collect();
    table(out, &rows)?;
    if e.more_words {
        writeln!(out, "  … and more words: is `result.path` the verdict?")?;
    }
    for unused in &e.unused {
        writeln!(out, "  the word `{unused}` of the mapping stands in no record")?;
    }
    Ok(())
}

fn records(n: u64) -> String {
    if n == 1 { "1 record".to_owned() } else { format!("{n} records") }
}

fn table(out: &mut impl Write, rows: &[[&str; 3]]) -> io::Result<()> {
    let widest = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let (a, b) = (widest(0), widest(1));
    for [first, second, third] in rows {
        writeln!(out, "{}", format!("  {first:a$}  {second:b$}  {third}").trim_end())?;
    }
    Ok(())
}

/// What a format of ours made of one record.
///
/// # Errors
/// The document cannot be read as that format, or the result cannot be written.
pub(super) fn format(
    out: &mut impl Write,
    spec: &FormatSpec,
    input: &mut dyn BufRead,
    ctx: &Context<'_>,
    wanted: u64,
    scope: Option<&ScopeTemplate>,
) -> anyhow::Result<()> {
    let mut sink = Nth { wanted, seen: 0, kept: None, scope, problems: Vec::new() };
    let context = Context { want_raw: true, ..*ctx };
    let read = formats::read(spec, input, &context, &mut sink);
    for problem in &sink.problems {
        super::complain(&problem.to_string().replace('\n', " "));
    }
    if let Some(rows) = sink.kept {
        writeln!(out, "{}: finding {wanted}:", ctx.source)?;
        let rows: Vec<[&str; 3]> = rows.iter().map(|r| [r[0].as_str(), r[1].as_str(), r[2].as_str()]).collect();
        table(out, &rows)?;
        return Ok(());
    }
    read.map_err(|e| anyhow::anyhow!("{e}"))?;
    writeln!(out, "{}: there is no finding {wanted}; there are {}", ctx.source, sink.seen)?;
    Ok(())
}

/// Keeps one finding of many.
struct Nth<'s> {
    wanted: u64,
    seen: u64,
    kept: Option<Vec<[String; 3]>>,
    scope: Option<&'s ScopeTemplate>,
    problems: Vec<Problem>,
}

impl Sink for Nth<'_> {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        if finding.is_mark() {
            return Flow::More;
        }
        self.seen += 1;
        if self.seen < self.wanted {
            return Flow::More;
        }
        self.kept = Some(rows(finding, self.scope));
        Flow::Stop
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < 20 {
            self.problems.push(problem);
        }
    }
}

/// (what, value, where the record has it).
fn rows(f: &Finding<'_>, scope: Option<&ScopeTemplate>) -> Vec<[String; 3]> {
    let record = f.raw.filter(|r| r.len() <= RECORD_BYTES).and_then(|r| serde_json::from_slice::<Value>(r).ok());
    let mut out = Vec::new();
    let mut row = |what: &str, value: &str| {
        let from = record.as_ref().map(|r| places(r, value)).unwrap_or_default();
        out.push([what.to_owned(), shown(value), if from.is_empty() { String::new() } else { format!("← {}", from.join(", ")) }]);
    };
    row("check", &f.check);
    row("resource", &f.resource.id);
    if let Some(kind) = &f.resource.kind {
        row("resource type", kind);
    }
    if let Some(name) = &f.resource.name {
        row("resource name", name);
    }
    row("result", f.result.word());
    row("lifecycle", f.lifecycle.word());
    if let Some(severity) = f.severity {
        row("severity", severity.word());
    }
    match f.observed_at {
        Some(at) => row("observed at", &at.to_string()),
        None => row("observed at", "not said: the document's own time counts"),
    }
    for (name, value) in &f.fields.0 {
        row(&format!("field {name}"), value);
    }
    if let Some(title) = &f.title {
        row("title", title);
    }
    if let Some(message) = &f.message {
        row("message", message);
    }
    for r in &f.control_refs {
        let version = r.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
        row("requirement", &format!("{}{version} {}", r.framework, r.id));
    }
    if f.aggregate || f.count != 1 {
        row("count", &f.count.to_string());
    }
    if let Some(template) = scope {
        let mut filled = String::new();
        let placed = template.fill(&f.fields, &mut filled);
        let scope = if placed { filled } else { ScopeTemplate::UNPLACED.to_owned() };
        out.push(["scope".to_owned(), scope, format!("by `{}`", template.source())]);
    }
    out
}

fn shown(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Where a record has a value, at most two places. Case does not matter: verdicts are `FAIL` there and `fail` here.
fn places(record: &Value, value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() < SHORTEST {
        return out;
    }
    let mut todo = vec![("$".to_owned(), record)];
    let mut nodes = 0;
    while let Some((path, at)) = todo.pop() {
        nodes += 1;
        if nodes > NODES || out.len() == 2 {
            break;
        }
        match at {
            Value::Object(map) => {
                for (key, inner) in map.iter().rev() {
                    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                    let step = if plain { format!("{path}.{key}") } else { format!("{path}['{key}']") };
                    todo.push((step, inner));
                }
            }
            Value::Array(items) => todo.extend(items.iter().enumerate().rev().map(|(i, inner)| (format!("{path}[{i}]"), inner))),
            Value::String(text) if text.eq_ignore_ascii_case(value) => out.push(path),
            Value::Number(n) if n.to_string() == value => out.push(path),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_where_it_stands() {
        let record =
            serde_json::json!({"status_code": "FAIL", "cloud": {"account": {"uid": "417205518860"}}, "odd key": [{"n": 12}], "x": "0"});
        assert_eq!(places(&record, "fail"), ["$.status_code"]);
        assert_eq!(places(&record, "417205518860"), ["$.cloud.account.uid"]);
        assert_eq!(places(&record, "12"), ["$['odd key'][0].n"]);
        assert!(places(&record, "0").is_empty() && places(&record, "nowhere").is_empty());
    }
}
