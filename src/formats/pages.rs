//! What the readers of cloud APIs have in common: pages of records, a next page that did not come, an API's own error.
//!
//! A document may be one page, pages one after another, an array of either, or bare records. It is not complete if its
//! last page names a next one, if an API's error stands in it, or if a record could not be read.

use super::walk::{self, Bounded, Records, Shape, Walked};
use super::{Context, Flow, FormatError, Sink, time, yaml};
use crate::domain::{Finding, Moment, Position, Problem, ProblemKind, RunOutcome};
use serde_json::Value;
use std::borrow::Cow;
use std::io::BufRead;

/// What a reader is shown.
pub(super) enum Part<'p> {
    /// A record, and the place of its wrapper in the shape, or `None` if it is bare.
    Record(Value, Option<usize>),
    /// A page's other member: its path, its value.
    Member(&'p str, Value),
}

/// Where a part stands, and where its findings and problems go.
pub(super) struct Place<'s> {
    sink: &'s mut dyn Sink,
    state: &'s mut State,
    ctx: &'s Context<'s>,
    at: Position,
    raw: Option<&'s [u8]>,
}

#[derive(Default)]
struct State {
    /// Something was of this format.
    recognised: bool,
    /// Problems met before that: of a wrong document they say nothing that "wrong format" does not say better.
    early: Vec<Problem>,
    strange: Vec<String>,
    next: bool,
    next_of_page: bool,
    stopped: bool,
    scanned_at: Option<Moment>,
}

impl Place<'_> {
    /// Hands a finding on, with its record's bytes if they are wanted.
    pub(super) fn finding(&mut self, finding: Finding<'_>) -> Flow {
        self.recognise();
        let raw = self.raw.filter(|_| self.ctx.want_raw);
        let flow = match raw {
            Some(raw) => self.sink.finding(&Finding { raw: Some(raw), ..finding }),
            None => self.sink.finding(&finding),
        };
        self.state.stopped |= flow == Flow::Stop;
        flow
    }

    /// A problem with this part.
    pub(super) fn say(&mut self, kind: ProblemKind, message: impl Into<String>) {
        let problem = Problem { kind, source: self.ctx.source.to_owned(), position: self.at, message: message.into() };
        if self.state.recognised {
            self.sink.problem(problem);
        } else if (self.state.early.len() as u64) < self.ctx.limits.problems {
            self.state.early.push(problem);
        }
    }

    /// This document is of the reader's format, though nothing may come of it.
    pub(super) fn recognise(&mut self) {
        self.state.recognised = true;
        for problem in self.state.early.drain(..) {
            self.sink.problem(problem);
        }
    }

    /// This record has not the shape of the format's; `lacks` says what it lacks.
    pub(super) fn strange(&mut self, record: &Value, lacks: &str) -> Flow {
        if self.state.strange.is_empty() {
            self.state.strange = match record.as_object() {
                Some(map) => map.keys().take(8).cloned().collect(),
                None => vec![kind_of(record).to_owned()],
            };
        }
        self.say(ProblemKind::Malformed, format!("the record has no {lacks}"));
        Flow::More
    }

    /// This bare object was a page without records, and `next` says whether it names another.
    pub(super) fn empty_page(&mut self, next: bool) {
        self.recognise();
        self.state.next = next;
    }

    /// The whole document was true at this instant.
    pub(super) fn scanned_at(&mut self, at: Option<Moment>) {
        self.state.scanned_at = at.or(self.state.scanned_at);
    }
}

/// What a reader asks for.
pub(super) struct Ask<'a> {
    pub(super) shape: Shape<'a>,
    /// What the format's records are, for "expected …".
    pub(super) expected: &'a str,
    /// True if a document without records can be the truth: the source lists only violations.
    pub(super) nothing_is_fine: bool,
}

/// Reads a document part by part.
///
/// # Errors
/// Nothing in the document has the shape asked for.
pub(super) fn read<'c>(
    input: &mut dyn BufRead,
    ctx: &'c Context<'c>,
    sink: &mut dyn Sink,
    ask: &Ask<'_>,
    each: &mut dyn FnMut(Part<'_>, &mut Place<'_>) -> Flow,
) -> Result<RunOutcome, FormatError> {
    let mut bounded = Bounded::new(sink, ctx);
    let mut reader = Reader { ctx, each, state: State::default() };
    let walked = walk::walk(input, ctx, ask.shape, &mut reader, &mut bounded)?;
    let state = reader.state;
    finish(ctx, bounded, ask, walked, state)
}

/// As [`read`], of a document that may also be YAML, or several.
///
/// # Errors
/// As for [`read`]; of several YAML documents, nothing in any.
pub(super) fn read_yaml<'c>(
    input: &mut dyn BufRead,
    ctx: &'c Context<'c>,
    sink: &mut dyn Sink,
    ask: &Ask<'_>,
    each: &mut dyn FnMut(Part<'_>, &mut Place<'_>) -> Flow,
) -> Result<RunOutcome, FormatError> {
    let unreadable =
        |e: std::io::Error| FormatError { kind: walk::io_kind(&e), ..FormatError::wrong(ctx, format!("the document cannot be read: {e}")) };
    if yaml::begins_as_json(input).map_err(unreadable)? {
        return read(input, ctx, sink, ask, each);
    }
    let mut whole = RunOutcome { complete: true, ..RunOutcome::default() };
    let mut good = 0u64;
    let mut error = None;
    yaml::documents(input, ctx, |document| {
        match document {
            Ok(mut json) => match read(&mut json, ctx, &mut *sink, ask, &mut *each) {
                Ok(outcome) => {
                    good += 1;
                    whole.complete &= outcome.complete;
                    whole.scanned_at = outcome.scanned_at.or(whole.scanned_at);
                }
                Err(e) => error = error.take().or(Some(e)),
            },
            Err(problem) => {
                whole.complete = false;
                sink.problem(problem);
                good += 1;
            }
        }
        true
    })
    .map_err(unreadable)?;
    match error {
        Some(error) if good == 0 => Err(error),
        Some(error) => {
            sink.problem(error.into_problem());
            whole.complete = false;
            Ok(whole)
        }
        None if good == 0 => Err(FormatError { kind: ProblemKind::Empty, ..FormatError::wrong(ctx, "the document is empty") }),
        None => Ok(whole),
    }
}

fn finish(ctx: &Context<'_>, mut sink: Bounded<'_>, ask: &Ask<'_>, walked: Walked, state: State) -> Result<RunOutcome, FormatError> {
    let nothing = walked.whole && walked.records == 0;
    if !state.recognised && walked.arrays == 0 && !(nothing && state.strange.is_empty()) {
        let found = if state.strange.is_empty() { "nothing of the kind".to_owned() } else { format!("`{}`", state.strange.join("`, `")) };
        return Err(FormatError::wrong(ctx, format!("expected {}, found {found}", ask.expected)));
    }
    for problem in state.early {
        sink.problem(problem);
    }
    if nothing && !ask.nothing_is_fine && !state.recognised {
        sink.say(ProblemKind::Empty, Position::default(), "the document has no records; nothing was said about any resource");
    }
    if walked.whole && (state.next || state.next_of_page) && !state.stopped {
        let message = "the last page names a next one, which is not here; what it lists is unknown";
        sink.say(ProblemKind::Truncated, Position::default(), message);
    }
    let nothing_lost = sink.finish();
    Ok(RunOutcome { complete: walked.whole && nothing_lost, scanned_at: state.scanned_at, ..RunOutcome::default() })
}

struct Reader<'r, 'e> {
    ctx: &'r Context<'r>,
    each: &'e mut dyn FnMut(Part<'_>, &mut Place<'_>) -> Flow,
    state: State,
}

impl Records for Reader<'_, '_> {
    fn record(&mut self, raw: &[u8], wrapper: Option<usize>, at: Position, sink: &mut dyn Sink) -> Flow {
        let mut place = Place { sink, state: &mut self.state, ctx: self.ctx, at, raw: Some(raw) };
        match serde_json::from_slice::<Value>(raw) {
            Ok(value) => {
                if wrapper.is_none()
                    && let Some((kind, message)) = api_error(&value)
                {
                    place.recognise();
                    place.say(kind, message);
                    return Flow::More;
                }
                (self.each)(Part::Record(value, wrapper), &mut place)
            }
            Err(e) => {
                place.say(ProblemKind::Malformed, format!("the record is not JSON: {e}"));
                Flow::More
            }
        }
    }

    fn member(&mut self, path: &str, raw: &[u8], at: Position, sink: &mut dyn Sink) {
        let mut place = Place { sink, state: &mut self.state, ctx: self.ctx, at, raw: Some(raw) };
        let Ok(value) = serde_json::from_slice::<Value>(raw) else {
            place.say(ProblemKind::Malformed, format!("`{path}` is not JSON"));
            return;
        };
        if place.state.strange.len() < 8 {
            place.state.strange.push(path.to_owned());
        }
        match path.rsplit('.').next().unwrap_or_default() {
            "nextLink" | "@odata.nextLink" | "NextToken" | "nextToken" | "nextPageToken" | "$skipToken" => {
                place.state.next_of_page |= value.as_str().is_some_and(|v| !v.is_empty());
            }
            "is_truncated" => place.state.next_of_page |= value == Value::Bool(true),
            // Resource Graph's, a word; without a token beside it the rest cannot be asked for at all.
            "resultTruncated" => place.state.next_of_page |= value == Value::Bool(true) || value.as_str().is_some_and(|v| same(v, "true")),
            "pageInfo" => place.state.next_of_page |= value["hasNextPage"] == Value::Bool(true),
            "error" | "errors" => {
                let whole = Value::Object([(path.to_owned(), value)].into_iter().collect());
                if let Some((kind, message)) = api_error(&whole) {
                    place.recognise();
                    place.say(kind, message);
                }
                return;
            }
            _ => {}
        }
        (self.each)(Part::Member(path, value), &mut place);
    }

    fn page_end(&mut self, _: Position, _: &mut dyn Sink) {
        self.state.next = std::mem::take(&mut self.state.next_of_page);
    }
}

/// An error in an API's own words: ARM, Google, GraphQL, AWS JSON.
fn api_error(value: &Value) -> Option<(ProblemKind, String)> {
    let (code, message) = if let Some(first) = value.get("errors").and_then(Value::as_array).and_then(|list| list.first()) {
        (text(first, "extensions.code"), text(first, "message"))
    } else if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
        match error {
            // OAuth's. A scanner's report on one file may have an `error` too, among much else.
            Value::String(code) if value.get("error_description").is_some() || value.as_object().is_some_and(|m| m.len() <= 2) => {
                (Some(Cow::Borrowed(code.as_str())), text(value, "error_description"))
            }
            Value::String(_) => return None,
            _ => (text(error, "status").or_else(|| text(error, "code")), text(error, "message")),
        }
    } else if value.get("__type").is_some() {
        (text(value, "__type"), text(value, "message").or_else(|| text(value, "Message")))
    } else {
        return None;
    };
    let code = code.unwrap_or_default();
    let lower = code.to_ascii_lowercase();
    let denied = ["denied", "forbidden", "unauthori", "authorization", "unauthenticated", "authentication", "401", "403"];
    let kind = if denied.iter().any(|d| lower.contains(d)) { ProblemKind::Denied } else { ProblemKind::Source };
    let message: String = message.unwrap_or_default().chars().take(300).collect();
    Some((kind, format!("the source answered with an error: {code} {message}").trim_end().to_owned()))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The value at a path of names.
pub(super) fn get<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |v, name| v.get(name)).filter(|v| !v.is_null())
}

/// The scalar at a path of names as text; nothing if it is empty.
pub(super) fn text<'v>(value: &'v Value, path: &str) -> Option<Cow<'v, str>> {
    match get(value, path)? {
        Value::String(s) if s.is_empty() => None,
        Value::String(s) => Some(Cow::Borrowed(s)),
        Value::Number(n) => Some(Cow::Owned(n.to_string())),
        Value::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The first of several paths that has a text.
pub(super) fn first<'v>(value: &'v Value, paths: &[&str]) -> Option<Cow<'v, str>> {
    paths.iter().find_map(|p| text(value, p))
}

/// The elements of the array at a path; none if there is no array.
pub(super) fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    get(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A whole number, which some APIs send as text.
pub(super) fn number(value: &Value, path: &str) -> Option<u64> {
    let value = get(value, path)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// An instant: text, or a number of a unit told by its magnitude.
pub(super) fn instant(value: &Value, path: &str) -> Option<Moment> {
    match get(value, path)? {
        Value::String(s) => time::parse(s),
        Value::Number(n) => time::number(n.as_f64()?),
        _ => None,
    }
}

/// `text`, without the case in which Azure's services differ.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// The element of an Azure id that follows `name`: `/subscriptions/S/…` → `S`.
pub(super) fn azure_part<'i>(id: &'i str, name: &str) -> Option<&'i str> {
    let mut parts = id.split('/');
    parts.by_ref().find(|p| same(p, name))?;
    parts.next().filter(|p| !p.is_empty())
}

/// What stands before `/providers/<provider>/` in an Azure id.
pub(super) fn azure_before<'i>(id: &'i str, provider: &str) -> Option<&'i str> {
    let lower = id.to_ascii_lowercase();
    lower.find(&format!("/providers/{}/", provider.to_ascii_lowercase())).map(|at| &id[..at])
}

/// The account in an ARN.
pub(super) fn arn_account(arn: &str) -> Option<&str> {
    let mut parts = arn.strip_prefix("arn:")?.split(':');
    parts.nth(3).filter(|a| !a.is_empty())
}

/// Owned text in a borrowed place, for values that do not outlive what they are cut from.
pub(super) fn owned<'a>(text: &str) -> Cow<'a, str> {
    Cow::Owned(text.to_owned())
}
