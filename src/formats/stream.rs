//! What the readers of whole JSON documents share: a walk through a document that keeps one record in memory at a time,
//! and the account of what came of it.
//!
//! [`Pull`] walks the outer shape and hands each record over as its own bytes, which are then parsed by type. So a
//! record of the wrong shape costs only itself, memory is bounded by `Limits::record_bytes`, and everything unwanted is
//! passed over at the speed of a byte scan. What is passed over is checked for its brackets and strings, not for its
//! words: evidence is only ever taken from records, and those are parsed in full.

use super::{Context, Flow, FormatError, Sink};
use crate::domain::{Finding, Position, ProblemKind, RunOutcome};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead};

/// Longest object key that is looked at; known keys are far shorter.
const KEY_BYTES: usize = 1 << 16;

/// Why a reading ended before the document did.
#[derive(Debug)]
pub(super) enum Halt {
    /// The sink wants no more.
    Stop,
    /// Not of this format.
    Wrong(String),
    /// The document breaks here.
    Broken(ProblemKind, u64, String),
}

impl Halt {
    pub(super) fn from_io(e: &io::Error, offset: u64) -> Halt {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => Halt::Broken(ProblemKind::Truncated, offset, format!("the document breaks off: {e}")),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Halt::Broken(ProblemKind::Malformed, offset, format!("the document cannot be decoded: {e}"))
            }
            io::ErrorKind::FileTooLarge => Halt::Broken(ProblemKind::Limit, offset, e.to_string()),
            _ => Halt::Broken(ProblemKind::Unreachable, offset, format!("the document cannot be read on: {e}")),
        }
    }
}

/// What has come of a document so far.
pub(super) struct Out<'a, 'c> {
    pub(super) ctx: &'a Context<'c>,
    sink: &'a mut dyn Sink,
    pub(super) outcome: RunOutcome,
    /// Number of the record being read, from 1.
    pub(super) record: u64,
    /// Findings handed over, whatever their weight.
    pub(super) findings: u64,
    /// Whether something only this format has was seen.
    pub(super) recognised: bool,
    problems: u64,
}

impl<'a, 'c> Out<'a, 'c> {
    pub(super) fn new(ctx: &'a Context<'c>, sink: &'a mut dyn Sink) -> Out<'a, 'c> {
        let outcome = RunOutcome { complete: true, ..RunOutcome::default() };
        Out { ctx, sink, outcome, record: 0, findings: 0, recognised: false, problems: 0 }
    }

    pub(super) fn finding(&mut self, finding: &Finding<'_>) -> Result<(), Halt> {
        self.findings = self.findings.saturating_add(1);
        match self.sink.finding(finding) {
            Flow::More => Ok(()),
            Flow::Stop => Err(Halt::Stop),
        }
    }

    /// Something is missing from what was read: the outcome is not complete.
    pub(super) fn fault(&mut self, kind: ProblemKind, offset: u64, message: impl fmt::Display) {
        self.outcome.complete = false;
        self.note(kind, offset, message);
    }

    /// Something a person should know that takes nothing from what was read.
    pub(super) fn note(&mut self, kind: ProblemKind, offset: u64, message: impl fmt::Display) {
        self.problems = self.problems.saturating_add(1);
        if self.problems <= self.ctx.limits.problems {
            self.say(kind, Position { record: self.record, line: 0, offset }, message.to_string());
        }
    }

    /// A problem that somebody else found in the document.
    pub(super) fn pass_on(&mut self, problem: crate::domain::Problem) {
        self.outcome.complete = false;
        self.problems = self.problems.saturating_add(1);
        if self.problems <= self.ctx.limits.problems {
            self.sink.problem(problem);
        }
    }

    fn say(&mut self, kind: ProblemKind, position: Position, message: String) {
        self.sink.problem(crate::domain::Problem { kind, source: self.ctx.source.to_owned(), position, message });
    }

    /// Keeps the later of the instants at which parts of the document were scanned.
    pub(super) fn scanned(&mut self, at: Option<crate::domain::Moment>) {
        self.outcome.scanned_at = self.outcome.scanned_at.max(at);
    }

    /// Closes the account. `expected` says what a document of this format looks like, for when this was none.
    pub(super) fn end(mut self, read: Result<(), Halt>, expected: &str) -> Result<RunOutcome, FormatError> {
        let known = self.recognised || self.findings > 0;
        let error = |kind, offset, message| FormatError {
            source_name: self.ctx.source.to_owned(),
            kind,
            position: Position { record: 0, line: 0, offset },
            message,
        };
        match read {
            Ok(()) if !known => return Err(error(ProblemKind::WrongFormat, 0, format!("expected {expected}"))),
            Ok(()) => {}
            Err(Halt::Stop) => self.outcome.complete = false,
            Err(Halt::Wrong(found)) if !known => {
                return Err(error(ProblemKind::WrongFormat, 0, format!("found {found}; expected {expected}")));
            }
            Err(Halt::Wrong(found)) => self.fault(ProblemKind::WrongFormat, 0, format!("found {found}; expected {expected}")),
            Err(Halt::Broken(kind, offset, message)) if !known => return Err(error(kind, offset, message)),
            Err(Halt::Broken(kind, offset, message)) => self.fault(kind, offset, message),
        }
        if let Some(unsaid @ 1..) = self.problems.checked_sub(self.ctx.limits.problems) {
            self.say(ProblemKind::Limit, Position::default(), format!("{unsaid} further problems of this document are not listed"));
        }
        Ok(self.outcome)
    }
}

/// How a raw value came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raw {
    Whole,
    TooLarge,
    TooDeep,
}

/// A walk through JSON, value by value.
pub(super) struct Pull<'r> {
    input: &'r mut dyn BufRead,
    /// Bytes taken so far.
    pub(super) offset: u64,
    /// Bytes that may be taken.
    end: u64,
    depth: usize,
    record_bytes: usize,
}

impl<'r> Pull<'r> {
    pub(super) fn new(input: &'r mut dyn BufRead, ctx: &Context<'_>) -> Pull<'r> {
        Pull { input, offset: 0, end: ctx.limits.document_bytes, depth: ctx.limits.depth, record_bytes: ctx.limits.record_bytes }
    }

    /// Every value of the input, one behind the other: pages and reports are often simply appended. At least one.
    pub(super) fn documents(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Halt>) -> Result<(), Halt> {
        self.byte_order_mark()?;
        match self.peek()? {
            None => return Err(self.broken(ProblemKind::Empty, "the document is empty")),
            Some(b'<') => return Err(Halt::Wrong("XML or HTML, not JSON".to_owned())),
            Some(b'{' | b'[') => {}
            Some(b) => return Err(Halt::Wrong(format!("no JSON object or array but {:?} at its beginning", char::from(b)))),
        }
        while self.peek()?.is_some() {
            self.value(&mut each)?;
        }
        Ok(())
    }

    /// The next byte that is not white space, left where it is; `None` at the end of the input.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Halt> {
        loop {
            let chunk = self.fill()?;
            let Some(first) = chunk.first() else { return Ok(None) };
            if !first.is_ascii_whitespace() {
                return Ok(Some(*first));
            }
            let n = chunk.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(chunk.len());
            self.take(n)?;
        }
    }

    /// Walks an object: `each` is given every key and takes its value, or leaves it to be passed over. False, and the
    /// value passed over, if it is no object.
    pub(super) fn object(&mut self, mut each: impl FnMut(&mut Self, &str) -> Result<(), Halt>) -> Result<bool, Halt> {
        if self.peek()? != Some(b'{') {
            self.skip()?;
            return Ok(false);
        }
        self.take(1)?;
        let mut buf = Vec::new();
        if self.peek()? == Some(b'}') {
            self.take(1)?;
            return Ok(true);
        }
        loop {
            if self.peek()? != Some(b'"') {
                return Err(self.unexpected("a key"));
            }
            let key: Cow<'_, str> = match self.scan(Some(&mut buf), KEY_BYTES)? {
                Raw::Whole => match serde_json::from_slice::<Text<'_>>(&buf) {
                    Ok(text) => text.0,
                    Err(_) => return Err(self.broken(ProblemKind::Malformed, "a key is not valid JSON text")),
                },
                _ => Cow::Borrowed(""),
            };
            if self.peek()? != Some(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.take(1)?;
            self.value(&mut |pull: &mut Self| each(pull, &key))?;
            match self.peek()? {
                Some(b',') => self.take(1)?,
                Some(b'}') => break,
                _ => return Err(self.unexpected("`,` or `}`")),
            }
        }
        self.take(1)?;
        Ok(true)
    }

    /// Walks an array: `each` takes every element, or leaves it to be passed over. False, and the value passed over, if
    /// it is no array.
    pub(super) fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Halt>) -> Result<bool, Halt> {
        if self.peek()? != Some(b'[') {
            self.skip()?;
            return Ok(false);
        }
        self.take(1)?;
        if self.peek()? == Some(b']') {
            self.take(1)?;
            return Ok(true);
        }
        loop {
            self.value(&mut each)?;
            match self.peek()? {
                Some(b',') => self.take(1)?,
                Some(b']') => break,
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
        self.take(1)?;
        Ok(true)
    }

    fn value(&mut self, each: &mut impl FnMut(&mut Self) -> Result<(), Halt>) -> Result<(), Halt> {
        if self.peek()?.is_none() {
            return Err(self.unexpected("a value"));
        }
        let at = self.offset;
        each(self)?;
        if self.offset == at {
            self.skip()?;
        }
        Ok(())
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self) -> Result<(), Halt> {
        self.scan(None, 0).map(|_| ())
    }

    /// Takes a value as a record: counts it, and gives it parsed, or reports what is wrong with it and gives nothing.
    pub(super) fn record<'b, T: Deserialize<'b>>(
        &mut self,
        out: &mut Out<'_, '_>,
        buf: &'b mut Vec<u8>,
    ) -> Result<Option<(T, &'b [u8])>, Halt> {
        out.record = out.record.saturating_add(1);
        self.peek()?;
        let at = self.offset;
        let cap = self.record_bytes;
        match self.scan(Some(buf), cap)? {
            Raw::Whole => {}
            Raw::TooLarge => {
                out.fault(ProblemKind::Limit, at, format!("a record is larger than {cap} bytes"));
                return Ok(None);
            }
            Raw::TooDeep => {
                out.fault(ProblemKind::Limit, at, format!("a record is nested deeper than {}", self.depth));
                return Ok(None);
            }
        }
        match serde_json::from_slice(buf) {
            Ok(parsed) => Ok(Some((parsed, buf))),
            Err(e) => {
                out.fault(ProblemKind::Malformed, at, format!("a record cannot be read: {e}"));
                Ok(None)
            }
        }
    }

    /// Takes a small value that is not a record, such as a name. Nothing if it has another type.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Halt> {
        let mut buf = Vec::new();
        let cap = self.record_bytes;
        Ok(match self.scan(Some(&mut buf), cap)? {
            Raw::Whole => serde_json::from_slice(&buf).ok(),
            _ => None,
        })
    }

    /// Takes a text; empty if it is none.
    pub(super) fn text(&mut self) -> Result<String, Halt> {
        let mut buf = Vec::new();
        let cap = self.record_bytes;
        Ok(match self.scan(Some(&mut buf), cap)? {
            Raw::Whole => serde_json::from_slice::<Text<'_>>(&buf).map(|t| t.0.into_owned()).unwrap_or_default(),
            _ => String::new(),
        })
    }

    /// Takes a value's bytes, to read them later: for documents that say the important thing last. Nothing, and a
    /// problem, if it is larger than a record may be.
    pub(super) fn keep(&mut self, out: &mut Out<'_, '_>) -> Result<Option<Vec<u8>>, Halt> {
        self.peek()?;
        let at = self.offset;
        let cap = self.record_bytes;
        let mut buf = Vec::new();
        match self.scan(Some(&mut buf), cap)? {
            Raw::Whole => Ok(Some(buf)),
            _ => {
                out.fault(
                    ProblemKind::Limit,
                    at,
                    format!("a value that can only be read after what follows it is larger than {cap} bytes, or too deep"),
                );
                Ok(None)
            }
        }
    }

    pub(super) fn broken(&self, kind: ProblemKind, message: impl fmt::Display) -> Halt {
        Halt::Broken(kind, self.offset, message.to_string())
    }

    fn unexpected(&mut self, expected: &str) -> Halt {
        match self.peek() {
            Ok(None) => self.broken(ProblemKind::Truncated, format!("the document ends where {expected} was expected")),
            Ok(Some(b)) => self.broken(ProblemKind::Malformed, format!("found {:?} where {expected} was expected", char::from(b))),
            Err(halt) => halt,
        }
    }

    fn byte_order_mark(&mut self) -> Result<(), Halt> {
        let chunk = self.fill()?;
        if chunk.starts_with(b"\xff\xfe") || chunk.starts_with(b"\xfe\xff") {
            return Err(Halt::Wrong("UTF-16 text; convert it to UTF-8 (PowerShell: `| Out-File -Encoding utf8`)".to_owned()));
        }
        if chunk.starts_with(b"\xef\xbb\xbf") {
            self.take(3)?;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<&[u8], Halt> {
        loop {
            match self.input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Halt::from_io(&e, self.offset)),
                Ok(_) => break,
            }
        }
        // A second call hands out the same bytes without reading: it is how the borrow checker lets us loop above.
        self.input.fill_buf().map_err(|e| Halt::from_io(&e, self.offset))
    }

    fn take(&mut self, n: usize) -> Result<(), Halt> {
        self.input.consume(n);
        self.offset = self.offset.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        if self.offset > self.end {
            return Err(self.broken(ProblemKind::Limit, format!("the document is larger than {} bytes", self.end)));
        }
        Ok(())
    }

    /// Runs over one value, and keeps its bytes in `keep` (cleared first) so long as there are no more than `cap`.
    fn scan(&mut self, mut keep: Option<&mut Vec<u8>>, cap: usize) -> Result<Raw, Halt> {
        if let Some(buf) = keep.as_deref_mut() {
            buf.clear();
        }
        if matches!(self.peek()?, None | Some(b',' | b':' | b'}' | b']')) {
            return Err(self.unexpected("a value"));
        }
        let mut raw = Raw::Whole;
        // The brackets open, as the bytes that will close them. Past the depth allowed they are only counted.
        let mut open: Vec<u8> = Vec::new();
        let mut deeper = 0u64;
        let (mut in_text, mut escaped, mut in_word) = (false, false, false);
        loop {
            let depth = self.depth;
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return if in_word && open.is_empty() {
                    Ok(raw)
                } else {
                    Err(self.broken(ProblemKind::Truncated, "the document breaks off within a value"))
                };
            }
            let mut i = 0;
            let mut done = false;
            let mut fault = None;
            while i < chunk.len() {
                if escaped {
                    escaped = false;
                    i += 1;
                    continue;
                }
                if in_text {
                    match memchr::memchr2(b'"', b'\\', &chunk[i..]) {
                        None => i = chunk.len(),
                        Some(j) => {
                            i += j + 1;
                            if chunk[i - 1] == b'\\' {
                                escaped = true;
                            } else {
                                in_text = false;
                                if open.is_empty() {
                                    done = true;
                                    break;
                                }
                            }
                        }
                    }
                    continue;
                }
                let byte = chunk[i];
                match byte {
                    b'"' | b'{' | b'[' if in_word && open.is_empty() => {
                        fault = Some("a value runs into the next");
                        break;
                    }
                    b'"' => in_text = true,
                    b'{' | b'[' if open.len() >= depth => {
                        raw = Raw::TooDeep;
                        deeper = deeper.saturating_add(1);
                    }
                    b'{' => open.push(b'}'),
                    b'[' => open.push(b']'),
                    b'}' | b']' if deeper > 0 => deeper -= 1,
                    b'}' | b']' => match open.pop() {
                        None => {
                            done = true;
                            break;
                        }
                        Some(close) if close != byte => {
                            fault = Some("a bracket is closed by the wrong one");
                            break;
                        }
                        Some(_) if open.is_empty() => {
                            i += 1;
                            done = true;
                            break;
                        }
                        Some(_) => {}
                    },
                    b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if open.is_empty() => {
                        done = true;
                        break;
                    }
                    _ => in_word = open.is_empty(),
                }
                i += 1;
            }
            if let Some(buf) = keep.as_deref_mut()
                && raw == Raw::Whole
            {
                if buf.len().saturating_add(i) > cap {
                    raw = Raw::TooLarge;
                } else {
                    buf.extend_from_slice(&chunk[..i]);
                }
            }
            self.take(i)?;
            if let Some(message) = fault {
                return Err(self.broken(ProblemKind::Malformed, message));
            }
            if done {
                return Ok(raw);
            }
        }
    }
}

/// The first keys of a document that may be something else, to say what was found instead.
#[derive(Default)]
pub(super) struct Keys(Vec<String>);

impl Keys {
    pub(super) fn note(&mut self, key: &str) {
        if self.0.len() < 6 {
            self.0.push(key.chars().take(40).collect());
        }
    }

    /// What was found, for a person who configured the wrong format.
    pub(super) fn found(&self) -> String {
        let listed = self.0.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        if listed.is_empty() { "no object, or one with nothing in it".to_owned() } else { format!("an object with {listed}") }
    }
}

/// Text that scanners do not always write as text: a number or a boolean is taken as it is printed; null, and whatever
/// has an inside, as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text, unless it is empty.
    pub(super) fn some(&self) -> Option<&str> {
        Some(self.0.as_ref()).filter(|t| !t.is_empty())
    }

    /// The same as a finding wants it.
    pub(super) fn cow(&self) -> Option<Cow<'_, str>> {
        self.some().map(Cow::Borrowed)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(v.to_owned()))
            }
            fn visit_string<E>(self, v: String) -> Result<Self::Value, E> {
                Ok(Cow::Owned(v))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(if v { "true" } else { "false" }))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Cow::Owned(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Cow::Owned(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Cow::Owned(v.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(""))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Cow::Borrowed(""))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Cow::Borrowed(""))
            }
        }
        de.deserialize_any(Any).map(Text)
    }
}

/// A whole number that is zero when it is null, and when it is not a whole number at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(de)?;
        Ok(Number(text.0.parse().ok()))
    }
}

/// For `#[serde(default, deserialize_with)]`: null is the same as absent.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(de: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(de).map(Option::unwrap_or_default)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{CheckResult, Lifecycle, Problem};
    use crate::formats::{Format, FormatSpec, Limits};

    /// Keeps everything, for tests of formats.
    #[derive(Default)]
    pub(in crate::formats) struct Kept {
        pub(in crate::formats) findings: Vec<Finding<'static>>,
        pub(in crate::formats) problems: Vec<Problem>,
        pub(in crate::formats) stop_after: Option<usize>,
    }

    impl Sink for Kept {
        fn finding(&mut self, f: &Finding<'_>) -> Flow {
            let own = |c: &Cow<'_, str>| Cow::Owned(c.to_string());
            self.findings.push(Finding {
                check: own(&f.check),
                resource: crate::domain::ResourceRef {
                    id: own(&f.resource.id),
                    kind: f.resource.kind.as_ref().map(own),
                    name: f.resource.name.as_ref().map(own),
                },
                fields: crate::domain::Fields(f.fields.0.iter().map(|(k, v)| (own(k), own(v))).collect()),
                title: f.title.as_ref().map(own),
                message: f.message.as_ref().map(own),
                control_refs: f
                    .control_refs
                    .iter()
                    .map(|r| crate::domain::ControlRef {
                        framework: own(&r.framework),
                        version: r.version.as_ref().map(own),
                        id: own(&r.id),
                    })
                    .collect(),
                raw: f.raw.map(|r| &*Box::leak(r.to_vec().into_boxed_slice())),
                result: f.result,
                lifecycle: f.lifecycle,
                severity: f.severity,
                observed_at: f.observed_at,
                count: f.count,
                aggregate: f.aggregate,
            });
            if self.stop_after.is_some_and(|n| self.findings.len() >= n) { Flow::Stop } else { Flow::More }
        }
        fn problem(&mut self, problem: Problem) {
            self.problems.push(problem);
        }
    }

    impl Kept {
        /// Weighted counts in the order of `CheckResult::ALL`.
        pub(in crate::formats) fn counts(&self) -> [u64; 6] {
            let mut n = [0; 6];
            for f in &self.findings {
                n[f.result as usize] += f.count;
            }
            n
        }
        pub(in crate::formats) fn kinds(&self) -> Vec<&'static str> {
            self.problems.iter().map(|p| p.kind.word()).collect()
        }
        pub(in crate::formats) fn suppressed(&self) -> u64 {
            self.findings.iter().filter(|f| f.lifecycle == Lifecycle::Suppressed).map(|f| f.count).sum()
        }
        pub(in crate::formats) fn of(&self, check: &str) -> Vec<(&str, CheckResult)> {
            self.findings.iter().filter(|f| f.check == check).map(|f| (f.resource.id.as_ref(), f.result)).collect()
        }
    }

    /// Reads `text` through a tiny buffer, so that every token is split somewhere.
    pub(in crate::formats) fn read(format: Format, text: &[u8]) -> (Kept, Result<RunOutcome, FormatError>) {
        let ctx = Context { source: "doc", limits: Limits::default(), want_raw: true };
        let mut kept = Kept::default();
        let mut input = io::BufReader::with_capacity(7, text);
        let outcome = crate::formats::read(&FormatSpec::Builtin(format), &mut input, &ctx, &mut kept);
        (kept, outcome)
    }

    /// Whatever is cut off or flipped: no panic, and nothing complete that is not whole.
    pub(in crate::formats) fn mangle(format: Format, text: &[u8]) {
        let (whole, outcome) = read(format, text);
        assert!(outcome.is_ok(), "{:?}", outcome.err());
        let body = text.iter().rposition(|b| !b.is_ascii_whitespace()).map_or(0, |i| i + 1);
        let step = (body / 97).max(1);
        for cut in (0..body).step_by(step) {
            let (kept, outcome) = read(format, &text[..cut]);
            assert!(outcome.is_err() || outcome.is_ok_and(|o| !o.complete), "cut at {cut} of {body} taken for complete");
            assert!(kept.findings.len() <= whole.findings.len());
            let mut flipped = text.to_vec();
            flipped[cut] ^= 0x15;
            drop(read(format, &flipped));
            let mut holed = text.to_vec();
            holed.drain(cut..(cut + step).min(body));
            drop(read(format, &holed));
        }
    }

    fn walk(text: &str, limits: Limits) -> Result<Vec<String>, Halt> {
        let ctx = Context { source: "doc", limits, want_raw: false };
        let mut kept = Kept::default();
        let mut out = Out::new(&ctx, &mut kept);
        let mut input = io::BufReader::with_capacity(3, text.as_bytes());
        let mut pull = Pull::new(&mut input, &ctx);
        let mut seen = Vec::new();
        let mut buf = Vec::new();
        let done = pull.documents(|p| {
            let is = p.object(|p, key| {
                if key == "r" {
                    p.array(|p| {
                        if let Some((n, raw)) = p.record::<serde_json::Value>(&mut out, &mut buf)? {
                            assert_eq!(serde_json::from_slice::<serde_json::Value>(raw).ok(), Some(n.clone()));
                            seen.push(n.to_string());
                        }
                        Ok(())
                    })?;
                } else {
                    seen.push(format!("[{key}]"));
                }
                Ok(())
            })?;
            assert!(is);
            Ok(())
        });
        drop(out);
        seen.extend(kept.problems.iter().map(|p| format!("{}@{}", p.kind, p.position.record)));
        done.map(|()| seen)
    }

    #[test]
    fn records_come_one_by_one_and_a_bad_one_costs_itself() {
        let text =
            "\u{feff} {\"a\\u0062\" : [1,{\"]\":\"}\\\"\"}], \"r\": [ 1 , \"x\\\"]\", {\"y\":[true,null]} , nope, [[[]]] ] }\n{\"r\":[]}";
        let got = walk(text, Limits { depth: 2, ..Limits::default() }).expect("good");
        assert_eq!(got, ["[ab]", "1", "\"x\\\"]\"", "{\"y\":[true,null]}", "malformed@4", "limit@5"]);
        let got = walk("{\"r\":[\"1234567890\",2]}", Limits { record_bytes: 8, ..Limits::default() }).expect("good");
        assert_eq!(got, ["2", "limit@1"]);
    }

    #[test]
    fn broken_documents_say_how() {
        for (text, kind) in [
            ("", ProblemKind::Empty),
            (" \n", ProblemKind::Empty),
            ("{", ProblemKind::Truncated),
            ("{\"r\"", ProblemKind::Truncated),
            ("{\"r\":", ProblemKind::Truncated),
            ("{\"r\":[1,", ProblemKind::Truncated),
            ("{\"r\":[1", ProblemKind::Truncated),
            ("{\"r\":[\"\\", ProblemKind::Truncated),
            ("{\"a\":[1}", ProblemKind::Malformed),
            ("{\"a\":1\"\"}", ProblemKind::Malformed),
            ("{\"a\":1 2}", ProblemKind::Malformed),
            ("{\"a\":1,}", ProblemKind::Malformed),
            ("{\"r\":[,]}", ProblemKind::Malformed),
            ("{a:1}", ProblemKind::Malformed),
        ] {
            match walk(text, Limits::default()) {
                Err(Halt::Broken(found, ..)) => assert_eq!(found, kind, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in ["<a/>", "hello", "\"x\""] {
            assert!(matches!(walk(text, Limits::default()), Err(Halt::Wrong(_))), "{text}");
        }
        let limits = Limits { document_bytes: 10, ..Limits::default() };
        assert!(matches!(walk("{\"r\":[1,2,3,4,5]}", limits), Err(Halt::Broken(ProblemKind::Limit, ..))));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(walk(&deep, Limits::default()).expect("passed over"), ["[a]"]);
    }
}
