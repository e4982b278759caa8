//! Walks a JSON document of any size and hands out its records as slices of their own bytes.
//!
//! A document is one value, several values one after another, or one value a line. A value at the top is a record,
//! an array of records, or a *page*: an object in which some member (a *wrapper*, such as `value` or
//! `data.issues.nodes`) is the array of records. Pages and records may be mixed, since people concatenate what an API
//! sent. Nothing larger than one record is held.
//!
//! What is skipped is checked for balance of brackets and quotes only; whoever parses a record checks the rest of it.
//! A record that is balanced but wrong costs itself. A fault of the brackets ends the document, because nobody can
//! tell where the next record begins, except where each line is a value: there it costs the line.

use super::{Context, Flow, FormatError, Sink};
use crate::domain::{Position, Problem, ProblemKind};
use std::borrow::Cow;
use std::io::{BufRead, ErrorKind};

/// Where in a document its records stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'s> {
    /// Paths from a page to its array of records.
    pub(super) wrappers: &'s [&'s [&'s str]],
    /// Whether a value at the top, or in an array at the top, may itself be a record.
    pub(super) bare: bool,
}

/// Takes what the walk finds.
pub(super) trait Records {
    /// Finds the end of the value at the beginning of `bytes`, and may note what it passes. `whole`: no more bytes follow.
    fn scan(&mut self, bytes: &[u8], whole: bool, depth: usize) -> Result<usize, Cut> {
        skip(bytes, 0, whole, depth)
    }
    /// One record. `wrapper` is its place in [`Shape::wrappers`], `None` for a bare one.
    fn record(&mut self, raw: &[u8], wrapper: Option<usize>, at: Position, sink: &mut dyn Sink) -> Flow;
    /// A member of a page that is not a wrapper's array, by its path from the page (`data.pageInfo`).
    fn member(&mut self, _path: &str, _raw: &[u8], _at: Position, _sink: &mut dyn Sink) {}
    /// A page (an object that is not a record) ended.
    fn page_end(&mut self, _at: Position, _sink: &mut dyn Sink) {}
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// True if the document was well formed to its end and nobody stopped.
    pub(super) whole: bool,
    /// Records handed out.
    pub(super) records: u64,
    /// Pages met.
    pub(super) pages: u64,
    /// Arrays of records met in pages.
    pub(super) arrays: u64,
}

/// Why a scan stopped before a value's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The bytes end inside the value.
    More,
    /// The value is wrong, or deeper than allowed.
    Bad(&'static str),
    /// The value is deeper than allowed.
    Deep,
}

/// Walks the whole of `input`.
///
/// # Errors
/// The document does not begin as JSON, or is empty.
pub(super) fn walk(
    input: &mut dyn BufRead,
    ctx: &Context<'_>,
    shape: Shape<'_>,
    records: &mut dyn Records,
    sink: &mut dyn Sink,
) -> Result<Walked, FormatError> {
    let mut walker = Walker { window: Window::new(input, ctx), shape, records, sink, done: Walked::default(), lost: false };
    match walker.window.peek() {
        Ok(Some(b'{' | b'[')) => {}
        Ok(None) => {
            return Err(FormatError { kind: ProblemKind::Empty, ..FormatError::wrong(ctx, "the document is empty, expected JSON") });
        }
        Ok(Some(other)) => {
            let message = format!("the document begins with {}, expected JSON (`{{` or `[`)", show(other));
            return Err(FormatError::wrong(ctx, message));
        }
        Err(Fault::Io(error)) => {
            return Err(FormatError { kind: io_kind(&error), ..FormatError::wrong(ctx, format!("the document cannot be read: {error}")) });
        }
        Err(_) => {}
    }
    let result = match walker.window.is_lines() {
        Ok(true) => walker.lines(ctx),
        Ok(false) => walker.values(),
        Err(fault) => Err(fault),
    };
    let whole = match result {
        Ok(flow) => flow == Flow::More,
        Err(fault) => {
            walker.report(fault, ctx);
            false
        }
    };
    Ok(Walked { whole: whole && !walker.lost, ..walker.done })
}

enum Fault {
    Truncated,
    Bad(&'static str),
    Found(u8, &'static str),
    Limit(String),
    Io(std::io::Error),
}

struct Walker<'w, 'r> {
    window: Window<'r>,
    shape: Shape<'w>,
    records: &'w mut dyn Records,
    sink: &'w mut dyn Sink,
    done: Walked,
    /// Whether a line was lost.
    lost: bool,
}

impl Walker<'_, '_> {
    fn report(&mut self, fault: Fault, ctx: &Context<'_>) {
        let (kind, message) = match fault {
            Fault::Truncated => {
                (ProblemKind::Truncated, "the document ends inside a value; it was cut off, or is still being written".to_owned())
            }
            Fault::Bad(what) => (ProblemKind::Malformed, what.to_owned()),
            Fault::Found(byte, expected) => (ProblemKind::Malformed, format!("found {}, expected {expected}", show(byte))),
            Fault::Limit(what) => (ProblemKind::Limit, what),
            Fault::Io(error) => (io_kind(&error), format!("the document cannot be read on: {error}")),
        };
        let position = Position { record: self.done.records + 1, ..self.window.position() };
        self.lost = true;
        self.sink.problem(Problem { kind, source: ctx.source.to_owned(), position, message });
    }

    /// Several values one after another; usually one.
    fn values(&mut self) -> Result<Flow, Fault> {
        loop {
            let flow = match self.window.peek()? {
                None => return Ok(Flow::More),
                Some(b'[') => self.array(None, true)?,
                Some(b'{') => self.object()?,
                Some(other) => return Err(Fault::Found(other, "`{`, `[` or the document's end")),
            };
            if flow == Flow::Stop {
                return Ok(flow);
            }
        }
    }

    /// One value a line.
    fn lines(&mut self, ctx: &Context<'_>) -> Result<Flow, Fault> {
        loop {
            let Some(length) = self.window.line()? else { return Ok(Flow::More) };
            let flow = match self.line(length) {
                Ok(flow) => flow,
                Err(Fault::Io(error)) => return Err(Fault::Io(error)),
                Err(Fault::Truncated) => {
                    self.report(Fault::Bad("the line ends inside a value"), ctx);
                    self.done.records += 1;
                    Flow::More
                }
                Err(fault) => {
                    self.report(fault, ctx);
                    self.done.records += 1;
                    Flow::More
                }
            };
            if flow == Flow::Stop {
                return Ok(flow);
            }
            self.window.advance(length);
        }
    }

    fn line(&mut self, length: usize) -> Result<Flow, Fault> {
        let at = self.window.position();
        let depth = self.window.depth;
        let limit = self.window.limit;
        let line = &self.window.buf[self.window.pos..self.window.pos + length];
        let blank = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let line = &line[blank..];
        match line.first() {
            None => return Ok(Flow::More),
            Some(b'{' | b'[') => {}
            Some(&other) => return Err(Fault::Found(other, "`{` or `[` at the beginning of a line")),
        }
        let page = line[0] == b'[' || !self.shape.bare || has_wrapper(line, self.shape, depth);
        if page {
            let mut rest = line;
            let context =
                Context { source: "", limits: super::Limits { record_bytes: limit, depth, ..super::Limits::default() }, want_raw: false };
            let mut inner = Walker {
                window: Window::new(&mut rest, &context),
                shape: self.shape,
                records: &mut *self.records,
                sink: &mut *self.sink,
                done: self.done,
                lost: self.lost,
            };
            inner.window.base = at.offset;
            inner.window.lines = at.line.saturating_sub(1);
            let result = inner.values();
            self.done = inner.done;
            return result;
        }
        let end = self.records.scan(line, true, depth).map_err(|cut| fault(cut, depth))?;
        if let Some(&more) = line[end..].iter().find(|b| !b.is_ascii_whitespace()) {
            return Err(Fault::Found(more, "the line's end"));
        }
        self.done.records += 1;
        Ok(self.records.record(&line[..end], None, Position { record: self.done.records, ..at }, self.sink))
    }

    /// An object that may be a record or a page.
    fn object(&mut self) -> Result<Flow, Fault> {
        if self.shape.wrappers.is_empty() {
            return self.one(None);
        }
        if self.shape.bare {
            // A record is small: look at the whole of it. What is larger than this can only be a page.
            if let Some(end) = self.window.whole_value(SMALL)? {
                let raw = &self.window.buf[self.window.pos..self.window.pos + end];
                if !has_wrapper(raw, self.shape, self.window.depth) {
                    return self.one(None);
                }
            }
        }
        let flow = self.page(&mut String::new())?;
        self.done.pages += 1;
        self.records.page_end(self.window.position(), self.sink);
        Ok(flow)
    }

    fn page(&mut self, path: &mut String) -> Result<Flow, Fault> {
        self.window.expect(b'{', "`{`")?;
        if self.window.peek()? == Some(b'}') {
            self.window.advance(1);
            return Ok(Flow::More);
        }
        loop {
            match self.window.peek()? {
                Some(b'"') => {}
                Some(other) => return Err(Fault::Found(other, "a member's name in quotes")),
                None => return Err(Fault::Truncated),
            }
            let end = self.window.value_end(&mut Skip)?;
            let name = text(&self.window.buf[self.window.pos..self.window.pos + end]).map(Cow::into_owned);
            let name = name.ok_or(Fault::Bad("a member's name is not a JSON string"))?;
            self.window.advance(end);
            self.window.expect(b':', "`:`")?;
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&name);
            let place = self.shape.wrappers.iter().position(|w| joined(w, path));
            let flow = match self.window.peek()? {
                None => return Err(Fault::Truncated),
                Some(b'[') if place.is_some() => {
                    self.done.arrays += 1;
                    self.array(place, false)?
                }
                Some(b'{') if place.is_none() && self.shape.wrappers.iter().any(|w| inside(w, path)) => self.page(path)?,
                Some(_) => {
                    let at = self.window.position();
                    let end = self.window.value_end(&mut Skip)?;
                    let raw = &self.window.buf[self.window.pos..self.window.pos + end];
                    self.records.member(path, raw, at, self.sink);
                    self.window.advance(end);
                    Flow::More
                }
            };
            path.truncate(length);
            if flow == Flow::Stop || !self.window.comma(b'}')? {
                return Ok(flow);
            }
        }
    }

    /// An array of records, or, at the top, of records and pages.
    fn array(&mut self, wrapper: Option<usize>, top: bool) -> Result<Flow, Fault> {
        self.window.expect(b'[', "`[`")?;
        if self.window.peek()? == Some(b']') {
            self.window.advance(1);
            return Ok(Flow::More);
        }
        loop {
            let flow = match self.window.peek()? {
                None => return Err(Fault::Truncated),
                Some(b'{') if top => self.object()?,
                Some(_) => self.one(wrapper)?,
            };
            if flow == Flow::Stop || !self.window.comma(b']')? {
                return Ok(flow);
            }
        }
    }

    fn one(&mut self, wrapper: Option<usize>) -> Result<Flow, Fault> {
        let at = self.window.position();
        let end = self.window.value_end(&mut *self.records)?;
        self.done.records += 1;
        let raw = &self.window.buf[self.window.pos..self.window.pos + end];
        let flow = self.records.record(raw, wrapper, Position { record: self.done.records, ..at }, self.sink);
        self.window.advance(end);
        Ok(flow)
    }
}

/// An object up to this size is looked at whole to tell a record from a page.
const SMALL: usize = 1 << 20;
/// How much is read at once.
const BLOCK: usize = 256 << 10;

struct Skip;
impl Records for Skip {
    fn record(&mut self, _: &[u8], _: Option<usize>, _: Position, _: &mut dyn Sink) -> Flow {
        Flow::More
    }
}

/// The part of the document that is in memory: `buf[pos..end]` is not yet consumed.
struct Window<'r> {
    input: &'r mut dyn BufRead,
    buf: Vec<u8>,
    pos: usize,
    end: usize,
    /// Bytes of the document before `buf[0]`.
    base: u64,
    /// Lines that ended before `buf[counted]`.
    lines: u64,
    counted: usize,
    ended: bool,
    limit: usize,
    document: u64,
    depth: usize,
}

impl<'r> Window<'r> {
    fn new(input: &'r mut dyn BufRead, ctx: &Context<'_>) -> Window<'r> {
        let Limits3 { record_bytes, document_bytes, depth } = Limits3::of(ctx);
        Window {
            input,
            buf: Vec::new(),
            pos: 0,
            end: 0,
            base: 0,
            lines: 0,
            counted: 0,
            ended: false,
            limit: record_bytes,
            document: document_bytes,
            depth,
        }
    }

    /// Where `pos` is. Counts only the lines since it was last asked: it is asked for every record.
    fn position(&mut self) -> Position {
        if self.counted < self.pos {
            self.lines += memchr::memchr_iter(b'\n', &self.buf[self.counted..self.pos]).count() as u64;
            self.counted = self.pos;
        }
        Position { record: 0, line: self.lines + 1, offset: self.base + self.pos as u64 }
    }

    /// Reads on. False at the document's end.
    fn more(&mut self) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        if self.pos > 0 && (self.pos == self.end || self.buf.len() - self.end < BLOCK / 2) {
            self.position();
            self.counted = 0;
            self.base += self.pos as u64;
            self.buf.copy_within(self.pos..self.end, 0);
            self.end -= self.pos;
            self.pos = 0;
            self.counted = 0;
        }
        if self.end - self.pos > self.limit {
            let limit = self.limit;
            return Err(Fault::Limit(format!(
                "a record is larger than {limit} bytes; help: raise the limit, or point the mapping at smaller records"
            )));
        }
        if self.base + self.end as u64 > self.document {
            return Err(Fault::Limit(format!("the document is larger than {} bytes", self.document)));
        }
        if self.buf.len() - self.end < BLOCK / 2 {
            let grown = (self.buf.len() * 2).max(BLOCK);
            self.buf.resize(grown, 0);
        }
        loop {
            match self.input.read(&mut self.buf[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(Fault::Io(error));
                }
            }
        }
    }

    /// The next byte that is not white space, not consumed.
    fn peek(&mut self) -> Result<Option<u8>, Fault> {
        if self.base == 0 && self.pos == 0 {
            while self.end < 3 && self.more()? {}
            if self.buf[..self.end].starts_with(b"\xef\xbb\xbf") {
                self.pos = 3;
            }
        }
        loop {
            while self.pos < self.end {
                match self.buf[self.pos] {
                    b' ' | b'\n' | b'\r' | b'\t' => self.pos += 1,
                    byte => return Ok(Some(byte)),
                }
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn advance(&mut self, by: usize) {
        self.pos += by;
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        match self.peek()? {
            Some(found) if found == byte => {
                self.pos += 1;
                Ok(())
            }
            Some(found) => Err(Fault::Found(found, what)),
            None => Err(Fault::Truncated),
        }
    }

    /// After a value: true if a comma follows, false if the container closes.
    fn comma(&mut self, close: u8) -> Result<bool, Fault> {
        match self.peek()? {
            Some(b',') => {
                self.pos += 1;
                Ok(true)
            }
            Some(found) if found == close => {
                self.pos += 1;
                Ok(false)
            }
            Some(found) => Err(Fault::Found(found, if close == b']' { "`,` or `]`" } else { "`,` or `}`" })),
            None => Err(Fault::Truncated),
        }
    }

    /// The length of the value that begins at `pos`, all of it in the window.
    fn value_end(&mut self, records: &mut dyn Records) -> Result<usize, Fault> {
        loop {
            match records.scan(&self.buf[self.pos..self.end], self.ended, self.depth) {
                Ok(length) if length > self.limit => {
                    return Err(Fault::Limit(format!("a record of {length} bytes, at most {} are allowed", self.limit)));
                }
                Ok(length) => return Ok(length),
                Err(Cut::More) => {
                    if self.ended {
                        return Err(Fault::Truncated);
                    }
                    // Doubling what is held before scanning anew keeps the work linear.
                    let held = self.end - self.pos;
                    while self.end - self.pos < held.saturating_mul(2).max(1) && self.more()? {}
                }
                Err(cut) => return Err(fault(cut, self.depth)),
            }
        }
    }

    /// As `value_end`, but `None` if the value is larger than `at_most`.
    fn whole_value(&mut self, at_most: usize) -> Result<Option<usize>, Fault> {
        loop {
            match skip(&self.buf[self.pos..self.end], 0, self.ended, self.depth) {
                Ok(length) => return Ok(Some(length)),
                Err(Cut::More) => {
                    let held = self.end - self.pos;
                    if held >= at_most || self.ended {
                        return Ok(None);
                    }
                    while self.end - self.pos < held.saturating_mul(2).max(1) && self.more()? {}
                }
                Err(cut) => return Err(fault(cut, self.depth)),
            }
        }
    }

    /// The length of the line that begins at `pos`, with its newline; `None` at the document's end.
    fn line(&mut self) -> Result<Option<usize>, Fault> {
        let mut seen = 0;
        loop {
            let held = &self.buf[self.pos..self.end];
            if let Some(i) = memchr::memchr(b'\n', &held[seen..]) {
                return Ok(Some(seen + i + 1));
            }
            seen = held.len();
            if !self.more()? {
                return Ok((seen > 0).then_some(seen));
            }
        }
    }

    /// True if each line is a value: the first two lines that are not blank both begin an object (or an array), which
    /// no document over several lines can do, since after `{` comes a name and after `[{` more than a line's end.
    fn is_lines(&mut self) -> Result<bool, Fault> {
        let mut newline = None;
        let mut seen = 0;
        while self.end - self.pos < SMALL {
            let held = &self.buf[self.pos..self.end];
            newline = newline.or_else(|| memchr::memchr(b'\n', &held[seen..]).map(|i| seen + i));
            if newline.is_some_and(|i| held[i..].iter().any(|b| !b.is_ascii_whitespace())) {
                break;
            }
            seen = held.len();
            if !self.more()? {
                break;
            }
        }
        let held = &self.buf[self.pos..self.end];
        let Some(newline) = memchr::memchr(b'\n', held) else { return Ok(false) };
        let first = held[..newline].trim_ascii();
        let Some(&next) = held[newline..].iter().find(|b| !b.is_ascii_whitespace()) else { return Ok(false) };
        Ok(first.len() > 1 && first[0] == next && !matches!(first, [b'[', b'[' | b'{', ..] | [.., b',' | b'[']))
    }
}

/// The limits the window needs.
struct Limits3 {
    record_bytes: usize,
    document_bytes: u64,
    depth: usize,
}

impl Limits3 {
    fn of(ctx: &Context<'_>) -> Limits3 {
        // The bracket stack below is a u128.
        Limits3 { record_bytes: ctx.limits.record_bytes, document_bytes: ctx.limits.document_bytes, depth: ctx.limits.depth.min(128) }
    }
}

/// What a reader's error is: our decoders tell by its kind.
pub(super) fn io_kind(error: &std::io::Error) -> ProblemKind {
    match error.kind() {
        ErrorKind::UnexpectedEof => ProblemKind::Truncated,
        ErrorKind::FileTooLarge => ProblemKind::Limit,
        ErrorKind::InvalidData => ProblemKind::Malformed,
        ErrorKind::TimedOut => ProblemKind::Timeout,
        _ => ProblemKind::Source,
    }
}

/// Hands problems on so long as they are few, and counts the rest in one last problem.
pub(super) struct Bounded<'s> {
    sink: &'s mut dyn Sink,
    source: &'s str,
    limit: u64,
    problems: u64,
    losses: u64,
}

impl<'s> Bounded<'s> {
    pub(super) fn new(sink: &'s mut dyn Sink, ctx: &Context<'s>) -> Bounded<'s> {
        Bounded { sink, source: ctx.source, limit: ctx.limits.problems, problems: 0, losses: 0 }
    }

    /// Says how many problems were held back. True if nothing was lost: a time that could not be read loses no verdict.
    pub(super) fn finish(self) -> bool {
        if self.problems > self.limit {
            let message = format!("and {} more problems", self.problems - self.limit);
            let source = self.source.to_owned();
            self.sink.problem(Problem { kind: ProblemKind::Limit, source, position: Position::default(), message });
        }
        self.losses == 0
    }

    /// A problem at a place.
    pub(super) fn say(&mut self, kind: ProblemKind, position: Position, message: impl Into<String>) {
        let source = self.source.to_owned();
        self.problem(Problem { kind, source, position, message: message.into() });
    }
}

impl Sink for Bounded<'_> {
    fn finding(&mut self, finding: &crate::domain::Finding<'_>) -> Flow {
        self.sink.finding(finding)
    }
    fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        self.losses += u64::from(problem.kind != ProblemKind::Time);
        if self.problems <= self.limit {
            self.sink.problem(problem);
        }
    }
}

fn fault(cut: Cut, depth: usize) -> Fault {
    match cut {
        Cut::More => Fault::Truncated,
        Cut::Bad(what) => Fault::Bad(what),
        Cut::Deep => Fault::Limit(format!("a value is nested deeper than {depth}")),
    }
}

fn show(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("`{}`", char::from(byte)) } else { format!("byte 0x{byte:02x}") }
}

fn joined(wrapper: &[&str], path: &str) -> bool {
    let mut rest = path;
    for (i, part) in wrapper.iter().enumerate() {
        if i > 0 {
            let Some(r) = rest.strip_prefix('.') else { return false };
            rest = r;
        }
        let Some(r) = rest.strip_prefix(part) else { return false };
        rest = r;
    }
    rest.is_empty()
}

fn inside(wrapper: &[&str], path: &str) -> bool {
    (1..wrapper.len()).any(|n| joined(&wrapper[..n], path))
}

/// Whether the object has the first step of some wrapper's path among its members.
fn has_wrapper(object: &[u8], shape: Shape<'_>, depth: usize) -> bool {
    if shape.wrappers.is_empty() {
        return false;
    }
    members(object, depth).any(|(name, value)| {
        shape.wrappers.iter().any(|w| w[0] == name && (w.len() > 1 || value.first().is_some_and(|b| matches!(b, b'[' | b'n'))))
    })
}

/// The members of an object that is whole: names and the values' bytes. Ends early at a fault.
pub(super) fn members(object: &[u8], depth: usize) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let mut next = blank(object, at);
        if object.get(next) == Some(&b',') {
            next = blank(object, next + 1);
        }
        if object.get(next) != Some(&b'"') {
            return None;
        }
        let end = string(object, next).ok()?;
        let name = text(&object[next..end])?;
        let colon = blank(object, end);
        if object.get(colon) != Some(&b':') {
            return None;
        }
        let begin = blank(object, colon + 1);
        let end = skip(object, begin, true, depth).ok()?;
        at = end;
        Some((name, &object[begin..end]))
    })
}

/// The place of the first byte from `at` on that is not white space.
pub(super) fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The text of a JSON string's bytes, with its quotes.
pub(super) fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        if inner.iter().any(|b| *b < 0x20) {
            return None;
        }
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
}

/// The end of the string that begins at `at`.
pub(super) fn string(bytes: &[u8], at: usize) -> Result<usize, Cut> {
    let mut i = at + 1;
    loop {
        let rest = bytes.get(i..).ok_or(Cut::More)?;
        match memchr::memchr2(b'"', b'\\', rest) {
            None => return Err(Cut::More),
            Some(n) if rest[n] == b'"' => return Ok(i + n + 1),
            Some(n) => i += n + 2,
        }
    }
}

/// What a byte means to [`skip`]: 0 nothing, else a quote or a bracket.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    class[b'"' as usize] = 1;
    class[b'{' as usize] = 2;
    class[b'[' as usize] = 2;
    class[b'}' as usize] = 3;
    class[b']' as usize] = 3;
    class
};

/// The end of the value that begins at `at` (not white space). `whole`: no more bytes follow.
pub(super) fn skip(bytes: &[u8], at: usize, whole: bool, depth: usize) -> Result<usize, Cut> {
    match bytes.get(at) {
        None => Err(Cut::More),
        Some(b'"') => string(bytes, at),
        Some(b'{' | b'[') => {
            // One bit a level: 1 for an object.
            let mut open: u128 = u128::from(bytes[at] == b'{');
            let mut level = 1;
            let mut i = at + 1;
            loop {
                while CLASS[usize::from(*bytes.get(i).ok_or(Cut::More)?)] == 0 {
                    i += 1;
                }
                match bytes[i] {
                    b'"' => i = string(bytes, i)?,
                    b'{' | b'[' => {
                        if level >= depth {
                            return Err(Cut::Deep);
                        }
                        open = open << 1 | u128::from(bytes[i] == b'{');
                        level += 1;
                        i += 1;
                    }
                    close => {
                        if (open & 1 == 1) != (close == b'}') {
                            return Err(Cut::Bad("a bracket is closed by one of the other kind"));
                        }
                        open >>= 1;
                        level -= 1;
                        i += 1;
                        if level == 0 {
                            return Ok(i);
                        }
                    }
                }
            }
        }
        Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            let end = bytes[at..].iter().position(|b| !matches!(b, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E'));
            match end {
                Some(n) => Ok(at + n),
                None if whole => Ok(bytes.len()),
                None => Err(Cut::More),
            }
        }
        Some(_) => Err(Cut::Bad("expected a value")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    #[derive(Default)]
    struct Seen {
        records: Vec<(String, Option<usize>)>,
        members: Vec<String>,
        problems: Vec<(ProblemKind, u64, u64)>,
    }
    struct Take<'a>(&'a mut Vec<(String, Option<usize>)>, &'a mut Vec<String>);
    impl Records for Take<'_> {
        fn record(&mut self, raw: &[u8], wrapper: Option<usize>, _: Position, _: &mut dyn Sink) -> Flow {
            self.0.push((String::from_utf8_lossy(raw).into_owned(), wrapper));
            Flow::More
        }
        fn member(&mut self, path: &str, raw: &[u8], _: Position, _: &mut dyn Sink) {
            self.1.push(format!("{path}={}", String::from_utf8_lossy(raw)));
        }
    }
    struct Problems(Vec<(ProblemKind, u64, u64)>);
    impl Sink for Problems {
        fn finding(&mut self, _: &crate::domain::Finding<'_>) -> Flow {
            Flow::More
        }
        fn problem(&mut self, p: Problem) {
            self.0.push((p.kind, p.position.record, p.position.line));
        }
    }
    /// Hands out one byte at a time, as the worst of sockets does.
    struct Drip<'a>(&'a [u8]);
    impl std::io::Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(1).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn run(text: &str, wrappers: &[&[&str]], bare: bool) -> (Seen, Result<Walked, FormatError>) {
        let ctx = Context { source: "t", limits: Limits { depth: 16, record_bytes: 1 << 20, ..Limits::default() }, want_raw: false };
        let mut seen = Seen::default();
        let mut sink = Problems(Vec::new());
        let shape = Shape { wrappers, bare };
        let walked = walk(&mut text.as_bytes(), &ctx, shape, &mut Take(&mut seen.records, &mut seen.members), &mut sink);
        seen.problems = sink.0;
        let mut slow = Seen::default();
        let mut sink = Problems(Vec::new());
        let mut drip = std::io::BufReader::with_capacity(1, Drip(text.as_bytes()));
        let again = walk(&mut drip, &ctx, shape, &mut Take(&mut slow.records, &mut slow.members), &mut sink);
        assert_eq!((&seen.records, &seen.members, &seen.problems), (&slow.records, &slow.members, &sink.0), "{text}");
        assert_eq!(walked.is_ok(), again.is_ok());
        (seen, walked)
    }

    fn records(text: &str, wrappers: &[&[&str]]) -> (Vec<String>, bool) {
        let (seen, walked) = run(text, wrappers, true);
        (seen.records.into_iter().map(|(r, _)| r).collect(), walked.expect(text).whole)
    }

    #[test]
    fn records_are_found_in_every_shape() {
        let v: &[&[&str]] = &[&["value"], &["data", "x", "nodes"]];
        for text in [
            r#"[{"a":1},{"a":2}]"#,
            "[\n    {\"a\":1},\n    {\"a\":2}\n]\n",
            "{\"a\":1}\n{\"a\":2}\n",
            "\u{feff}{\"a\":1}\n\n{\"a\":2}",
            r#"{"a":1} {"a":2}"#,
            r#"{"value":[{"a":1},{"a":2}],"nextLink":null}"#,
            "{\"value\":[{\"a\":1}]}\n{\"value\":[{\"a\":2}]}\n",
            r#"[{"value":[{"a":1}]},{"value":[{"a":2}]}]"#,
            r#"[{"value":[{"a":1}]},{"a":2}]"#,
            r#"{"data":{"x":{"pageInfo":{},"nodes":[{"a":1},{"a":2}]}}}"#,
        ] {
            assert_eq!(records(text, v), (vec![r#"{"a":1}"#.to_owned(), r#"{"a":2}"#.to_owned()], true), "{text}");
        }
        let (seen, _) = run(r#"{"n":1,"data":{"x":{"pageInfo":{"e":"}"},"nodes":null}},"errors":[1]}"#, v, true);
        assert_eq!(seen.members, [r#"n=1"#, r#"data.x.pageInfo={"e":"}"}"#, "data.x.nodes=null", "errors=[1]"]);
        assert!(seen.records.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_broken_is_a_problem_with_its_place() {
        let (seen, walked) = run("[\n {\"a\":1},\n {\"a\":", &[], true);
        assert_eq!((seen.records.len(), seen.problems), (1, vec![(ProblemKind::Truncated, 2, 3)]));
        assert!(!walked.expect("json").whole);
        let (seen, walked) = run("{\"a\":1}\n{\"a\":\n{\"a\":3}\nnonsense\n{\"a\":5}\n", &[], true);
        assert_eq!(seen.records.len(), 3);
        assert_eq!(seen.problems, [(ProblemKind::Malformed, 2, 2), (ProblemKind::Malformed, 4, 4)]);
        assert!(!walked.expect("json").whole);
        let (seen, walked) = run("{\"a\":\n{\"a\":2}\n", &[], true);
        assert_eq!((seen.records.len(), seen.problems), (1, vec![(ProblemKind::Malformed, 1, 1)]));
        assert!(!walked.expect("json").whole);
        for (text, kind) in [
            (r#"[{"a":1]}"#, ProblemKind::Malformed),
            (r#"[{"a":1} {"a":2}]"#, ProblemKind::Malformed),
            (r#"{"a":1} nonsense"#, ProblemKind::Malformed),
            (r#"[{"a":[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]}]"#, ProblemKind::Limit),
            (r#"["#, ProblemKind::Truncated),
            (r#"[{"a":"x"#, ProblemKind::Truncated),
            (r#"[{"a":"x\"#, ProblemKind::Truncated),
        ] {
            let (seen, walked) = run(text, &[], true);
            assert_eq!(seen.problems.len(), 1, "{text}");
            assert_eq!(seen.problems[0].0, kind, "{text}");
            assert!(!walked.expect("json").whole, "{text}");
        }
        for (text, kind) in [
            ("", ProblemKind::Empty),
            ("  \n", ProblemKind::Empty),
            ("<xml/>", ProblemKind::WrongFormat),
            ("a,b", ProblemKind::WrongFormat),
        ] {
            assert_eq!(run(text, &[], true).1.expect_err(text).kind, kind, "{text}");
        }
    }

    #[test]
    fn a_record_larger_than_allowed_is_refused_and_not_held() {
        let text = format!(r#"[{{"a":"{}"}}]"#, "x".repeat(3 << 20));
        let (seen, _) = run(&text, &[], true);
        assert_eq!(seen.problems[0].0, ProblemKind::Limit);
        assert!(seen.records.is_empty());
    }
}
