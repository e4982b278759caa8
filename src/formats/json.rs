//! JSON as scanners write it, cut into records without holding more than one of them.
//!
//! Producers and shapes met: one root array, indented by 2 or 4 or compact (Prowler, Trivy), also one whose scan was
//! killed and that has no closing bracket; one value a line (NDJSON); values one after another, indented or not (`jq`);
//! API pages `{"Findings":[…],"NextToken":…}`, one or one after another, and the same inside an event's `detail`.
//! Specification: RFC 8259, <https://www.rfc-editor.org/rfc/rfc8259>.
//!
//! # How it works
//! [`Reader`] reads chunks and finds, 64 bytes at a time, the quotes that begin and end strings and the brackets outside
//! them. It walks the brackets only, and hands out each record as a slice of its buffer. Memory is one chunk and one record.
//! A format then either deserialises the record ([`Record::parse`]) or picks what it needs with a [`Picker`], which
//! jumps over everything else; the picker says so when it cannot decide, and the format parses after all.
//!
//! # What is checked
//! Of every record: UTF-8; strings end; brackets match in kind and nest no deeper than `limits.depth`; a `{` or `[` stands
//! only where a value may; no raw line break inside a string; size. [`Record::parse`] checks the whole grammar.
//! [`Picker::pick`] checks the grammar of every object on its way (keys, colons, commas, nothing doubled that it wants) and the values it
//! picks; *inside values that it jumps over* it does not check numbers, `true`/`false`/`null`, commas and colons, or
//! which letter follows a backslash. docs/json.md says this to users.
//!
//! # What a broken record costs
//! Itself. After it, reading goes on at the next place that looks like the beginning of a record: the opening bracket
//! and first key as earlier records have them, after a comma, an opening bracket or a line break.
//!
//! # Using it
//! ```text
//! let mut report = Report::new(ctx);
//! let mut reader = Reader::new(input, ctx, &["Findings", "findings"]);
//! while let Some(item) = reader.next(&mut report, sink) {
//!     match item {
//!         Item::Record(record) => match record.parse::<Mine>() {
//!             Ok(mine) => …,
//!             Err(why) => report.problem(sink, ProblemKind::Malformed, record.position(), why),
//!         },
//!         Item::Envelope(page) => …, // the page object with its list emptied: {"Findings":[],"NextToken":"…"}
//!     }
//! }
//! Ok(RunOutcome { complete: report.finish(sink), … })
//! ```

use super::{Context, Sink};
use crate::domain::{Position, Problem, ProblemKind};
use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x64};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, ErrorKind};

/// Bytes asked for at once: large enough that a read costs little, small enough for the second-level cache.
const CHUNK: usize = 256 << 10;
/// Bytes indexed at once. After a broken record this much is indexed again, so it bounds what broken input costs.
const WINDOW: usize = 16 << 10;
/// Brackets of one record that are remembered for jumping; a record with more is left to the parser.
const TAPE: usize = 1 << 16;
/// Bytes of a page's own members that are kept for [`Item::Envelope`].
const ENVELOPE: usize = 256 << 10;

// ---------------------------------------------------------------------------------------------------------------------
// Problems

/// Hands problems to the sink, up to the limit, and remembers whether the document is still complete.
#[derive(Debug)]
pub(super) struct Report<'c> {
    ctx: Context<'c>,
    sent: u64,
    withheld: u64,
    complete: bool,
}

impl<'c> Report<'c> {
    pub(super) fn new(ctx: &Context<'c>) -> Report<'c> {
        Report { ctx: *ctx, sent: 0, withheld: 0, complete: true }
    }

    /// Reports one problem. The document is not complete from then on.
    pub(super) fn problem(&mut self, sink: &mut dyn Sink, kind: ProblemKind, position: Position, message: impl fmt::Display) {
        self.complete = false;
        if self.sent < self.ctx.limits.problems {
            self.sent += 1;
            sink.problem(Problem { kind, source: self.ctx.source.to_owned(), position, message: message.to_string() });
        } else {
            self.withheld += 1;
        }
    }

    /// The document is not complete, for a reason that is no problem (an earlier page of several).
    pub(super) fn incomplete(&mut self) {
        self.complete = false;
    }

    /// Reports how many problems were withheld; true if the document was complete.
    pub(super) fn finish(self, sink: &mut dyn Sink) -> bool {
        if self.withheld > 0 {
            sink.problem(Problem {
                kind: ProblemKind::Limit,
                source: self.ctx.source.to_owned(),
                position: Position::default(),
                message: format!("{} more problems are not listed (at most {} are)", self.withheld, self.ctx.limits.problems),
            });
        }
        self.complete
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Finding quotes and brackets, 64 bytes at a time

/// What stands in 64 bytes, one bit a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Classes {
    backslash: u64,
    quote: u64,
    bracket: u64,
    control: u64,
    high: u64,
    line_breaks: u64,
}

/// Compiled for each level of vector instructions that the processor may have (AVX-512, AVX2, SSE, NEON), chosen at run
/// time by `fearless_simd`, without unsafe code of ours.
#[inline(always)]
fn classify<S: Simd>(simd: S, block: &[u8; 64]) -> Classes {
    let v = u8x64::from_slice(simd, block);
    let is = |v: u8x64<S>, byte: u8| v.simd_eq(u8x64::splat(simd, byte)).to_bitmask();
    // `[` and `]` become `{` and `}` when bit 5 is set, and nothing else does.
    let folded = v | u8x64::splat(simd, 0x20);
    Classes {
        backslash: is(v, b'\\'),
        quote: is(v, b'"'),
        bracket: is(folded, b'{') | is(folded, b'}'),
        control: v.simd_lt(u8x64::splat(simd, 0x20)).to_bitmask(),
        high: v.simd_ge(u8x64::splat(simd, 0x80)).to_bitmask(),
        line_breaks: is(v, b'\n'),
    }
}

/// The same, slowly: what [`classify`] is tested against.
#[cfg(test)]
fn classify_bytewise(block: &[u8; 64]) -> Classes {
    let mut classes = Classes::default();
    for (i, byte) in block.iter().enumerate() {
        let bit = |yes: bool| u64::from(yes) << i;
        classes.backslash |= bit(*byte == b'\\');
        classes.quote |= bit(*byte == b'"');
        classes.bracket |= bit(matches!(byte, b'{' | b'}' | b'[' | b']'));
        classes.control |= bit(*byte < 0x20);
        classes.high |= bit(*byte >= 0x80);
        classes.line_breaks |= bit(*byte == b'\n');
    }
    classes
}

/// What is known about the byte before the block.
#[derive(Clone, Copy, Debug, Default)]
struct Carry {
    /// 1 if it was a backslash that escapes the next byte.
    escaped: u64,
    /// All ones if it stood in a string.
    in_string: u64,
}

/// The index of 64 bytes: quotes that begin or end a string, and brackets outside strings.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    quote: u64,
    bracket: u64,
}

/// What else is known of the 64 bytes.
#[derive(Clone, Copy, Debug)]
struct Note {
    /// [`HIGH`], [`CONTROL`], [`BACKSLASH`].
    flags: u8,
    /// Line breaks, or [`UNCOUNTED`].
    lines: u8,
}

/// The block's line breaks were never counted: something broken was passed over.
const UNCOUNTED: u8 = u8::MAX;

/// In the block stands a byte beyond ASCII.
const HIGH: u8 = 1;
/// In the block stands a control character inside a string.
const CONTROL: u8 = 2;
/// In the block stands a backslash.
const BACKSLASH: u8 = 4;

/// Indexes as many whole blocks as `blocks` has room for. Ends early after one with a control character in a string:
/// gives the number of blocks done, and where such characters are in the last of them.
fn index_blocks(level: Level, bytes: &[u8], carry: &mut Carry, blocks: &mut [Block], notes: &mut [Note]) -> (usize, u64) {
    #[inline(always)]
    fn run<S: Simd>(simd: S, bytes: &[u8], carry: &mut Carry, blocks: &mut [Block], notes: &mut [Note]) -> (usize, u64) {
        let mut at = *carry;
        let mut done = 0;
        let mut found = 0;
        for ((bytes, block), note) in bytes.as_chunks::<64>().0.iter().zip(blocks).zip(notes) {
            let control;
            (*block, *note, control) = index_block(simd, bytes, &mut at);
            done += 1;
            if control != 0 {
                found = control;
                break;
            }
        }
        *carry = at;
        (done, found)
    }
    dispatch!(level, simd => run(simd, bytes, carry, blocks, notes))
}

#[inline(always)]
fn index_block<S: Simd>(simd: S, bytes: &[u8; 64], carry: &mut Carry) -> (Block, Note, u64) {
    let c = classify(simd, bytes);
    let mut quote = c.quote;
    if (c.backslash | carry.escaped) != 0 {
        quote &= !escaped(c.backslash, &mut carry.escaped);
    }
    // Each bit becomes the parity of the quotes up to it: 1 from an opening quote to before its closing one.
    let mut inside = quote;
    inside ^= inside << 1;
    inside ^= inside << 2;
    inside ^= inside << 4;
    inside ^= inside << 8;
    inside ^= inside << 16;
    inside ^= inside << 32;
    inside ^= carry.in_string;
    carry.in_string = if inside >> 63 == 1 { u64::MAX } else { 0 };
    let control = c.control & inside;
    let flags = (u8::from(c.high != 0) * HIGH) | (u8::from(control != 0) * CONTROL) | (u8::from(c.backslash != 0) * BACKSLASH);
    #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
    let lines = c.line_breaks.count_ones() as u8;
    (Block { quote, bracket: c.bracket & !inside }, Note { flags, lines }, control)
}

/// The bytes that a backslash escapes: each backslash that is not escaped itself takes the byte after it.
#[inline]
fn escaped(backslash: u64, carry: &mut u64) -> u64 {
    let mut result = *carry;
    let mut rest = backslash & !result;
    *carry = 0;
    while rest != 0 {
        let at = rest.trailing_zeros();
        if at == 63 {
            *carry = 1;
            break;
        }
        let taken = 2u64 << at;
        result |= taken;
        rest &= !taken & (rest - 1);
    }
    result
}

// ---------------------------------------------------------------------------------------------------------------------
// Cutting the document into records

/// What [`Reader::next`] hands out.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// One record: an object (or whatever stands in its place; [`Record::parse`] tells).
    Record(Record<'a>),
    /// An object around a list of records, with the list emptied: `{"Findings":[],"NextToken":"…"}`.
    Envelope(&'a [u8]),
}

/// One record's bytes and where they stand.
#[derive(Debug)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    /// Index of the blocks that the record touches.
    blocks: &'a [Block],
    /// Where in the first block it begins.
    shift: usize,
    /// Its brackets.
    tape: &'a [Bracket],
    flags: u8,
    notes: &'a [Note],
    /// False if the tape is cut off.
    whole_tape: bool,
    number: u64,
    offset: u64,
    lines: u64,
    /// The bytes between `lines` and the record.
    before: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record from its first to its last bracket.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where it begins.
    pub(super) fn position(&self) -> Position {
        Position { record: self.number, line: self.lines + count_lines(self.before) + 1, offset: self.offset }
    }

    /// True if it is UTF-8. Only blocks with a byte beyond ASCII need a look, and what stands around them is ASCII.
    pub(super) fn is_utf8(&self) -> bool {
        if self.flags & HIGH == 0 {
            return true;
        }
        let mut from = 0;
        while let Some(first) = self.notes[from..].iter().position(|note| note.flags & HIGH != 0).map(|i| from + i) {
            let end = self.notes[first..].iter().position(|note| note.flags & HIGH == 0).map_or(self.notes.len(), |i| first + i);
            let bytes = &self.bytes[(first * 64).saturating_sub(self.shift)..(end * 64 - self.shift).min(self.bytes.len())];
            if std::str::from_utf8(bytes).is_err() {
                return false;
            }
            from = end;
        }
        true
    }

    /// Whether a part of the record touches a block with a backslash.
    fn may_have_backslash(&self, part: &[u8]) -> bool {
        let at = part.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr()).wrapping_add(self.shift);
        match self.notes.get(at / 64..=(at + part.len()) / 64) {
            Some(notes) => notes.iter().any(|note| note.flags & BACKSLASH != 0),
            None => true,
        }
    }

    /// Deserialises it, all of its grammar checked.
    ///
    /// # Errors
    /// What is wrong with it, for a problem's message.
    pub(super) fn parse<T: Deserialize<'a>>(&self) -> Result<T, String> {
        if !self.is_utf8() {
            return Err("the record is not UTF-8".to_owned());
        }
        serde_json::from_slice(self.bytes).map_err(|e| format!("not a record of this format: {e} of the record"))
    }
}

/// One pair of brackets of a record, in the order of the opening ones. Positions count from the record's beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Bracket {
    open: u32,
    close: u32,
    /// Once it is closed: the first pair that opens after that. Until then: the pair around it.
    link: u32,
    curly: bool,
}

/// What encloses the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Array,
    /// An object with a list of records among its members.
    Page,
    /// An object between a page and its list: an event's `detail`.
    Inner,
}

/// What may come next between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// Nothing yet in this container, or no comma wanted.
    Fresh,
    /// After a record of an array: a comma or the end.
    After,
    /// After the comma.
    Comma,
    /// Among the members of a page: whatever.
    Members,
}

/// Why [`Reader::walk_record`] ends.
enum Walked {
    Step(usize, Step),
    /// The next bracket is not an ordinary one.
    Special,
    /// All that is indexed was walked.
    All,
}

/// What became of a bracket.
enum Step {
    Go,
    /// A record ends with this byte.
    Record(usize),
    /// A page ends with this byte.
    Page(usize),
    /// The record, or what stands between records, is broken here.
    Broken(&'static str),
}

/// A document's records, one after another.
pub(super) struct Reader<'i, 'c> {
    input: &'i mut dyn BufRead,
    ctx: Context<'c>,
    wrappers: &'static [&'static str],
    /// The last two bytes of all wrappers, if they are the same: a quick way to see that a key is none of them.
    list_ends: Option<[u8; 2]>,

    buf: Vec<u8>,
    /// Bytes of `buf` that are filled.
    len: usize,
    eof: bool,
    /// The document's offset of `buf[0]`.
    base: u64,
    /// Line breaks before `buf[0]`.
    lines: u64,

    level: Level,
    blocks: Vec<Block>,
    notes: Vec<Note>,
    carry: Carry,
    /// The first byte that counts in the next block to be indexed; bytes before it are a broken record's.
    resume: usize,
    /// A raw line break inside a string.
    line_break: Option<usize>,
    /// Blocks to index next: few after something broken, as it may be broken again soon.
    window: usize,
    /// A place in the buffer up to which line breaks were counted, and how many there are before it in the document.
    mark: (usize, u64),

    /// The block whose brackets are walked, and those left in it.
    block: usize,
    pending: u64,

    frames: Vec<Frame>,
    tape: Vec<Bracket>,
    whole_tape: bool,
    /// The innermost open pair on the tape, and how many are open there.
    top: usize,
    depth: usize,
    /// Open brackets that are counted only: beyond the depth that is allowed, beyond what fits the tape, or of something
    /// that is not handed out anyway.
    loose: u64,
    deep: bool,
    /// Where the record in progress begins.
    start: Option<usize>,
    /// What is in progress is no record but a member of a page, beside its list.
    member: bool,
    /// The record in progress is too large: its bytes are dropped as they come.
    dropping: bool,
    /// How long the record may be: the limit, and what fits the tape.
    record_limit: usize,

    gap: Gap,
    gap_from: usize,
    garbage: Option<(Position, String)>,
    /// Whether anything but white space was seen, and whether that was text between records.
    content: bool,
    text: bool,

    head: Vec<u8>,
    tail_from: Option<usize>,
    envelope: Vec<u8>,

    /// How a record begins, through its first key: learnt from the first one.
    marker: Option<memchr::memmem::Finder<'static>>,
    seeking: bool,
    rescanned: u64,
    number: u64,
    done: bool,
}

impl fmt::Debug for Reader<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("source", &self.ctx.source).field("offset", &self.base).field("records", &self.number).finish()
    }
}

impl<'i, 'c> Reader<'i, 'c> {
    /// Reads `input`. An object with an array under one of the keys `wrappers` is a page: its array's elements are the
    /// records. An array at the root always is; everything else is a record itself.
    pub(super) fn new(input: &'i mut dyn BufRead, ctx: &Context<'c>, wrappers: &'static [&'static str]) -> Reader<'i, 'c> {
        debug_assert!(
            wrappers.windows(2).all(|w| w[0].as_bytes().last_chunk::<2>() == w[1].as_bytes().last_chunk::<2>()),
            "see `list_ends`"
        );
        Reader {
            input,
            ctx: *ctx,
            wrappers,
            list_ends: wrappers.first().and_then(|w| w.as_bytes().last_chunk::<2>()).copied(),
            buf: Vec::new(),
            len: 0,
            eof: false,
            base: 0,
            lines: 0,
            level: Level::new(),
            blocks: Vec::new(),
            notes: Vec::new(),
            carry: Carry::default(),
            resume: 0,
            line_break: None,
            window: WINDOW / 64,
            mark: (0, 0),
            block: 0,
            pending: 0,
            frames: Vec::new(),
            tape: Vec::new(),
            whole_tape: true,
            top: 0,
            depth: 0,
            loose: 0,
            deep: false,
            start: None,
            member: false,
            dropping: false,
            record_limit: ctx.limits.record_bytes.min(u32::MAX as usize / 2),
            gap: Gap::Fresh,
            gap_from: 0,
            garbage: None,
            content: false,
            text: false,
            head: Vec::new(),
            tail_from: None,
            envelope: Vec::new(),
            marker: None,
            seeking: false,
            rescanned: 0,
            number: 0,
            done: false,
        }
    }

    /// True if the document has lists of records but not one record, nor anything that was complained about.
    pub(super) fn is_void_list(&self) -> bool {
        self.number == 0 && self.content && !self.text && self.frames.is_empty() && self.start.is_none()
    }

    /// Records met so far, broken ones included.
    pub(super) fn records(&self) -> u64 {
        self.number
    }

    /// The next record or page; `None` at the end. What is wrong between and inside records goes to `report`.
    pub(super) fn next(&mut self, report: &mut Report<'_>, sink: &mut dyn Sink) -> Option<Item<'_>> {
        // The loop hands out positions; what borrows the buffer is made once, at the end.
        let (from, to) = loop {
            if self.done {
                return None;
            }
            if self.seeking {
                self.seek(report, sink);
                continue;
            }
            match self.walk() {
                Some((at, Step::Record(end))) => {
                    debug_assert_eq!(at, end);
                    if let Some(start) = self.close_record(end, report, sink) {
                        break (start, end + 1);
                    }
                }
                Some((_, Step::Page(end))) => {
                    if self.close_page(end) {
                        return Some(Item::Envelope(&self.envelope));
                    }
                }
                Some((at, Step::Broken(why))) => self.broken(at, why, report, sink),
                Some((_, Step::Go)) => {}
                None => match self.line_break.take() {
                    Some(at) => self.broken(at, "a line break inside a string", report, sink),
                    None if self.blocks.len() * 64 < self.len && (self.eof || self.len - self.blocks.len() * 64 >= 64) => self.index(),
                    None if self.eof => self.end(report, sink),
                    None => self.fill(report, sink),
                },
            }
        };
        if self.mark.0 > from {
            self.mark = (0, self.lines);
        }
        let first = from / 64;
        let last = (to - 1) / 64;
        Some(Item::Record(Record {
            bytes: &self.buf[from..to],
            blocks: &self.blocks[first..=last],
            shift: from % 64,
            tape: &self.tape,
            flags: self.notes[first..=last].iter().fold(0, |all, note| all | note.flags),
            notes: &self.notes[first..=last],
            whole_tape: self.whole_tape,
            number: self.number,
            offset: self.base + from as u64,
            lines: self.mark.1,
            before: &self.buf[self.mark.0..from],
        }))
    }

    /// Walks indexed brackets until something comes of one.
    fn walk(&mut self) -> Option<(usize, Step)> {
        loop {
            if self.depth > 0 && self.loose == 0 {
                match self.walk_record() {
                    Walked::Step(at, step) => return Some((at, step)),
                    Walked::Special => {}
                    Walked::All => return None,
                }
            }
            while self.pending == 0 {
                if self.block >= self.blocks.len() {
                    return None;
                }
                self.block += 1;
                self.pending = self.blocks.get(self.block).map_or(0, |block| block.bracket);
            }
            let at = self.block * 64 + self.pending.trailing_zeros() as usize;
            self.pending &= self.pending - 1;
            match self.bracket(at) {
                Step::Go => {}
                step => return Some((at, step)),
            }
        }
    }

    /// The same inside a record, where most brackets are, with everything at hand. What is special is left to
    /// [`Self::bracket`], which does all of this too.
    fn walk_record(&mut self) -> Walked {
        let Some(start) = self.start else { return Walked::Special };
        let buf = &self.buf[..self.len];
        let blocks = self.blocks.as_slice();
        let tape = &mut self.tape;
        let most = self.ctx.limits.depth.saturating_sub(self.frames.len());
        let (mut block, mut pending) = (self.block, self.pending);
        let (mut top, mut depth) = (self.top, self.depth);
        let mut curly = tape.get(top).is_some_and(|pair| pair.curly);
        let walked = 'walk: loop {
            while pending != 0 {
                let at = block * 64 + pending.trailing_zeros() as usize;
                let byte = buf[at];
                if byte & 2 != 0 {
                    // It opens.
                    let plain = if curly { buf[at - 1] == b':' } else { matches!(buf[at - 1], b',' | b'[') };
                    if (!plain && !value_may_stand(buf, at, curly))
                        || depth >= most
                        || tape.len() >= TAPE
                        || (depth <= 2 && byte == b'[' && self.list_ends.is_some_and(|end| may_end_so(buf, at, end)))
                    {
                        break 'walk Walked::Special;
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "records are shorter than u32::MAX, and the tape much")]
                    tape.push(Bracket { open: (at - start) as u32, close: 0, link: top as u32, curly: byte == b'{' });
                    top = tape.len() - 1;
                    depth += 1;
                    curly = byte == b'{';
                } else {
                    if (byte == b'}') != curly {
                        break 'walk Walked::Special;
                    }
                    let next = tape.len();
                    let pair = &mut tape[top];
                    #[expect(clippy::cast_possible_truncation, reason = "as above")]
                    {
                        pair.close = (at - start) as u32;
                        top = std::mem::replace(&mut pair.link, next as u32) as usize;
                    }
                    depth -= 1;
                    if depth == 0 {
                        pending &= pending - 1;
                        break 'walk Walked::Step(at, Step::Record(at));
                    }
                    curly = tape[top].curly;
                }
                pending &= pending - 1;
            }
            block += 1;
            match blocks.get(block) {
                Some(next) => pending = next.bracket,
                None => {
                    block = blocks.len();
                    break 'walk Walked::All;
                }
            }
        };
        (self.block, self.pending, self.top, self.depth) = (block, pending, top, depth);
        walked
    }

    fn bracket(&mut self, at: usize) -> Step {
        let byte = self.buf[at];
        let curly = byte & 0x20 != 0;
        // Bit 1 tells `{` and `[` from `}` and `]`.
        let opens = byte & 2 != 0;
        if self.start.is_none() {
            return if opens { self.open_outside(at, curly) } else { self.close_outside(at, curly) };
        }
        if opens {
            if self.loose == 0 && self.depth > 0 {
                let in_object = self.tape.get(self.top).is_some_and(|pair| pair.curly);
                if !value_may_stand(&self.buf, at, in_object) {
                    return Step::Broken(if in_object {
                        "a bracket where a comma, a key or the end of the object belongs"
                    } else {
                        "a bracket where a comma or the end of the array belongs"
                    });
                }
                if !curly && self.is_list(at) {
                    self.open_page(at);
                    return Step::Go;
                }
                if self.depth + self.frames.len() >= self.ctx.limits.depth {
                    self.deep = true;
                } else if self.tape.len() < TAPE {
                    self.push(at, curly);
                    return Step::Go;
                }
                self.whole_tape = false;
            }
            self.loose += 1;
            return Step::Go;
        }
        if self.loose > 0 {
            self.loose -= 1;
        } else {
            let close = self.relative(at);
            let next = u32::try_from(self.tape.len()).unwrap_or(u32::MAX);
            let Some(pair) = self.tape.get_mut(self.top) else { return Step::Broken("a bracket outside of any value") };
            if pair.curly != curly {
                return Step::Broken(if curly { "`}` where `]` belongs" } else { "`]` where `}` belongs" });
            }
            pair.close = close;
            self.top = std::mem::replace(&mut pair.link, next) as usize;
            self.depth -= 1;
        }
        if self.loose > 0 || self.depth > 0 {
            return Step::Go;
        }
        if self.member { self.close_member() } else { Step::Record(at) }
    }

    fn push(&mut self, at: usize, curly: bool) {
        let open = self.relative(at);
        self.tape.push(Bracket { open, close: 0, link: u32::try_from(self.top).unwrap_or(u32::MAX), curly });
        self.top = self.tape.len() - 1;
        self.depth += 1;
    }

    /// A position within the record in progress. Records are shorter than `u32::MAX`.
    fn relative(&self, at: usize) -> u32 {
        u32::try_from(at - self.start.unwrap_or(at).min(at)).unwrap_or(u32::MAX)
    }

    /// Whether the `[` at `at` is a page's list: its key is one of `wrappers`, and it stands in the page or in its `detail`.
    fn is_list(&self, at: usize) -> bool {
        if self.wrappers.is_empty() || self.depth > 2 || self.frames.len() > 3 {
            return false;
        }
        let (Some(start), Some(outer), Some(inner)) = (self.start, self.tape.first(), self.tape.get(self.top)) else { return false };
        let Some(key) = self.key_before(at) else { return false };
        outer.curly
            && inner.curly
            && self.wrappers.iter().any(|w| w.as_bytes() == key)
            && (self.depth == 1 || self.key_before(start + inner.open as usize) == Some(b"detail"))
    }

    /// The key of the value that begins at `at`, if it is a plain one of up to 32 bytes.
    fn key_before(&self, at: usize) -> Option<&[u8]> {
        let before = self.buf[..at].trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"")?;
        let tail = &before[before.len().saturating_sub(33)..];
        let quote = memchr::memrchr(b'"', tail)?;
        (quote == 0 || tail[quote - 1] != b'\\').then(|| &tail[quote + 1..])
    }

    fn open_outside(&mut self, at: usize, curly: bool) -> Step {
        if self.gap == Gap::Members {
            // A member of a page beside its list: only its brackets are followed; the envelope is parsed in the end.
            self.start = Some(at);
            self.member = true;
            self.loose = 1;
            return Step::Go;
        }
        self.eat_gap(at);
        if self.gap == Gap::After {
            self.note_garbage(at, "a comma is missing between two records");
        }
        self.content = true;
        if !curly && self.frames.is_empty() {
            self.frames.push(Frame::Array);
            self.gap = Gap::Fresh;
            self.gap_from = at + 1;
            return Step::Go;
        }
        self.start = Some(at);
        self.clear_tape();
        self.push(at, curly);
        Step::Go
    }

    fn close_outside(&mut self, at: usize, curly: bool) -> Step {
        if self.gap != Gap::Members {
            self.eat_gap(at);
            if self.gap == Gap::Comma {
                self.note_garbage(at, "a comma before the end of the array");
            }
        }
        self.content = true;
        match (self.frames.last(), curly) {
            (Some(Frame::Array), false) => {
                self.frames.pop();
                self.after_value();
                if self.gap == Gap::Members {
                    self.tail_from = Some(at + 1);
                }
                self.gap_from = at + 1;
                Step::Go
            }
            (Some(Frame::Inner), true) => {
                self.frames.pop();
                Step::Go
            }
            (Some(Frame::Page), true) => {
                self.frames.pop();
                Step::Page(at)
            }
            _ => Step::Broken("a closing bracket that nothing opened"),
        }
    }

    /// What may stand after a record, or after a container of records, by what encloses it.
    fn after_value(&mut self) {
        self.gap = match self.frames.last() {
            None => Gap::Fresh,
            Some(Frame::Array) => Gap::After,
            Some(Frame::Page | Frame::Inner) => Gap::Members,
        };
    }

    /// The record in progress turns out to be a page.
    fn open_page(&mut self, at: usize) {
        let start = self.start.take().unwrap_or(at);
        self.head.clear();
        if at - start < ENVELOPE {
            self.head.extend_from_slice(&self.buf[start..=at]);
        }
        self.frames.push(Frame::Page);
        if self.depth == 2 {
            self.frames.push(Frame::Inner);
        }
        self.frames.push(Frame::Array);
        self.clear_tape();
        self.gap = Gap::Fresh;
        self.gap_from = at + 1;
    }

    /// A member beside the list ends.
    fn close_member(&mut self) -> Step {
        self.start = None;
        self.member = false;
        Step::Go
    }

    /// A page ends: puts its envelope together. False if there is none to hand out.
    fn close_page(&mut self, end: usize) -> bool {
        let tail = self.tail_from.take();
        self.envelope.clear();
        let kept = !self.head.is_empty();
        if let (true, Some(tail)) = (kept, tail) {
            self.envelope.extend_from_slice(&self.head);
            self.envelope.push(b']');
            self.envelope.extend_from_slice(&self.buf[tail..=end]);
        }
        self.head.clear();
        self.after_value();
        self.gap_from = end + 1;
        kept && tail.is_some()
    }

    /// A record ends: its beginning, unless it is not to be handed out.
    fn close_record(&mut self, end: usize, report: &mut Report<'_>, sink: &mut dyn Sink) -> Option<usize> {
        self.flush_garbage(report, sink);
        let start = self.start.take()?;
        self.number += 1;
        self.after_value();
        self.gap_from = end + 1;
        let dropped = std::mem::take(&mut self.dropping);
        let deep = std::mem::take(&mut self.deep);
        if dropped {
            return None; // said when it grew too large
        }
        if deep || end + 1 - start > self.record_limit {
            let message = if deep {
                format!("the record nests deeper than {} levels and was left out", self.ctx.limits.depth)
            } else {
                format!("the record is longer than {} bytes and was left out", self.record_limit)
            };
            report.problem(sink, ProblemKind::Limit, self.position_of(start), message);
            return None;
        }
        if self.marker.is_none() {
            self.learn(start, end);
        }
        Some(start)
    }

    fn clear_tape(&mut self) {
        self.tape.clear();
        self.whole_tape = true;
        self.top = 0;
        self.depth = 0;
        self.loose = 0;
    }

    /// Remembers how records begin: opening bracket, white space, first key.
    fn learn(&mut self, start: usize, end: usize) {
        let record = &self.buf[start..=end];
        let Some(quote) = record.iter().skip(1).position(|b| !b.is_ascii_whitespace()).map(|i| i + 1) else { return };
        if record[0] != b'{' || record[quote] != b'"' {
            return;
        }
        if let Some(key) = memchr::memchr(b'"', &record[quote + 1..]).filter(|n| quote + n < 160) {
            self.marker = Some(memchr::memmem::Finder::new(&record[..quote + key + 2]).into_owned());
        }
    }

    // -- between records

    /// Takes the bytes between records, up to `to`.
    fn eat_gap(&mut self, to: usize) {
        let from = self.gap_from.min(to);
        for at in from..to {
            match self.buf[at] {
                b' ' | b'\n' | b'\r' | b'\t' => continue,
                b',' if self.gap == Gap::After => self.gap = Gap::Comma,
                // RFC 7464: a record separator may precede each text.
                0x1e if self.frames.is_empty() => {}
                // A byte order mark.
                0xef | 0xbb | 0xbf if self.base + (at as u64) < 3 => continue,
                _ => self.note_garbage(at, "unexpected text"),
            }
            self.content = true;
        }
        self.gap_from = to;
    }

    fn note_garbage(&mut self, at: usize, what: &str) {
        self.text = true;
        if self.garbage.is_none() {
            let excerpt = excerpt(&self.buf[at..self.len]);
            self.garbage = Some((self.position_of(at), format!("{what}: `{excerpt}`")));
        }
    }

    fn flush_garbage(&mut self, report: &mut Report<'_>, sink: &mut dyn Sink) {
        if let Some((position, message)) = self.garbage.take() {
            report.problem(sink, ProblemKind::Malformed, position, message);
        }
    }

    // -- after something broken

    fn broken(&mut self, at: usize, why: &str, report: &mut Report<'_>, sink: &mut dyn Sink) {
        self.flush_garbage(report, sink);
        let start = self.start.take().filter(|_| !self.member);
        if start.is_some() {
            self.number += 1;
        }
        if !std::mem::take(&mut self.dropping) {
            let place = start.unwrap_or(at);
            let mut position = self.position_of(place);
            position.record = if start.is_some() { self.number } else { 0 };
            let message = match start {
                Some(_) => format!("{why}, at byte {}: `{}`", self.base + at as u64, excerpt(&self.buf[at..self.len])),
                None => format!("{why}: `{}`", excerpt(&self.buf[at..self.len])),
            };
            report.problem(sink, ProblemKind::Malformed, position, message);
        }
        self.abandon();
        // What went wrong may have begun long before it showed. Going back is bounded, so that broken input costs no
        // more than a few times its length.
        let mut from = start.map_or(at, |s| s + 1);
        let again = (at - from.min(at)) as u64;
        if self.rescanned + again > (self.base + self.len as u64).saturating_mul(4) + (1 << 20) {
            from = at;
        } else {
            self.rescanned += again;
        }
        self.gap_from = from;
        self.seeking = true;
    }

    fn abandon(&mut self) {
        self.start = None;
        self.member = false;
        self.clear_tape();
        self.deep = false;
        self.line_break = None;
        if self.gap == Gap::Members {
            // Lost among the members of a page: its end will not be found for sure.
            self.head.clear();
            self.tail_from = None;
        }
    }

    /// Looks for the next record, from `gap_from` on.
    fn seek(&mut self, report: &mut Report<'_>, sink: &mut dyn Sink) {
        let from = self.gap_from;
        if let Some(at) = self.find_start(from) {
            self.seeking = false;
            self.gap = Gap::Fresh;
            if matches!(self.frames.last(), Some(Frame::Page | Frame::Inner)) {
                // What looks like a record is taken for one of the page's list.
                self.frames.push(Frame::Array);
            }
            self.restart(at);
            return;
        }
        if self.eof {
            self.done = true;
            report.incomplete();
            return;
        }
        // The beginning of a record may straddle the end of what was read.
        self.gap_from = self.len.saturating_sub(256).max(from);
        self.blocks.truncate(self.gap_from / 64);
        self.notes.truncate(self.gap_from / 64);
        self.block = self.blocks.len();
        self.pending = 0;
        self.fill(report, sink);
    }

    /// The next place after `from` that looks like a record's beginning.
    fn find_start(&self, from: usize) -> Option<usize> {
        let text = &self.buf[..self.len];
        let Some(marker) = &self.marker else {
            // No record seen yet to go by: a line that begins with a bracket, or `},{`.
            let mut at = from;
            while let Some(i) = memchr::memchr2(b'\n', b',', &text[at..]) {
                let sign = at + i;
                at = sign + 1;
                // Behind a line's end the bracket stands at once: to look on from each of many would take their square.
                let gap = if text[sign] == b'\n' { 0 } else { text[at..].iter().take_while(|b| b.is_ascii_whitespace()).count() };
                let opens = text.get(at + gap) == Some(&b'{');
                if opens && (text[sign] == b'\n' || text[sign] == b',' && text[..sign].trim_ascii_end().ends_with(b"}")) {
                    return Some(at + gap);
                }
            }
            return None;
        };
        let mut at = from;
        while let Some(i) = marker.find(&text[at..]) {
            let found = at + i;
            at = found + 1;
            let before = &text[..found];
            let solid = before.trim_ascii_end();
            let line = before[solid.len()..].contains(&b'\n');
            let listed = match solid.last() {
                None | Some(b',' | b'}') => true,
                // The beginning of a list of records, not of any list inside one.
                Some(b'[') => {
                    let list = solid.len() - 1;
                    let outer = solid[..list].trim_ascii_end().last();
                    matches!(outer, None | Some(b']' | b'}'))
                        || self.key_before(list).is_some_and(|key| self.wrappers.iter().any(|w| w.as_bytes() == key))
                }
                Some(_) => false,
            };
            if line || listed {
                return Some(found);
            }
        }
        None
    }

    /// Forgets the index from `at` on, where a record begins.
    fn restart(&mut self, at: usize) {
        let first = at / 64;
        self.blocks.truncate(first);
        self.notes.truncate(first);
        // Blocks before it may never have been indexed; nobody will ask for them.
        self.blocks.resize(first, Block::default());
        self.notes.resize(first, Note { flags: 0, lines: UNCOUNTED });
        self.block = first;
        self.pending = 0;
        self.carry = Carry::default();
        self.resume = at;
        self.window = 4;
        self.line_break = None;
        self.gap_from = at;
    }

    // -- bytes

    /// Indexes the next bytes of the buffer.
    fn index(&mut self) {
        let first = self.blocks.len();
        let whole = if self.eof { self.len.div_ceil(64) } else { self.len / 64 };
        let until = whole.min(first + self.window);
        self.window = (self.window * 2).min(WINDOW / 64);
        self.blocks.resize(until, Block::default());
        self.notes.resize(until, Note { flags: 0, lines: UNCOUNTED });
        let mut next = first;
        while next < until && self.line_break.is_none() {
            let at = next * 64;
            let (done, control) = if at >= self.resume && at + 64 <= self.len {
                let end = until.min(self.len / 64);
                index_blocks(self.level, &self.buf[at..end * 64], &mut self.carry, &mut self.blocks[next..end], &mut self.notes[next..end])
            } else {
                // The document's end, or the block in which reading is taken up again.
                let mut bytes = [b' '; 64];
                let from = self.resume.clamp(at, at + 64);
                let to = self.len.min(at + 64).max(from);
                bytes[from - at..to - at].copy_from_slice(&self.buf[from..to]);
                let n = next..next + 1;
                let done = index_blocks(self.level, &bytes, &mut self.carry, &mut self.blocks[n.clone()], &mut self.notes[n]);
                self.notes[next].lines = UNCOUNTED;
                done
            };
            next += done;
            if control != 0 {
                let at = (next - 1) * 64;
                self.note_line_break(at, control);
                if let Some(found) = self.line_break {
                    // Nothing in this block counts from there on, nor any block after it.
                    let below = (1u64 << (found - at)) - 1;
                    let block = &mut self.blocks[next - 1];
                    *block = Block { quote: block.quote & below, bracket: block.bracket & below };
                    self.blocks.truncate(next);
                    self.notes.truncate(next);
                }
            }
        }
        if self.block == first {
            self.pending = self.blocks.get(first).map_or(0, |b| b.bracket);
        }
    }

    #[cold]
    fn note_line_break(&mut self, block_at: usize, control: u64) {
        let mut rest = control;
        while rest != 0 {
            let at = block_at + rest.trailing_zeros() as usize;
            if self.buf[at] == b'\n' {
                self.line_break = Some(at);
                return;
            }
            rest &= rest - 1;
        }
    }

    /// Makes room and reads on.
    fn fill(&mut self, report: &mut Report<'_>, sink: &mut dyn Sink) {
        let walked = self.block.min(self.blocks.len()) * 64;
        if let Some(start) = self.start
            && !self.member
            && !self.dropping
            && self.len - start > self.record_limit
        {
            self.flush_garbage(report, sink);
            let mut position = self.position_of(start);
            position.record = self.number + 1;
            let message = format!("the record is longer than {} bytes and was left out", self.record_limit);
            report.problem(sink, ProblemKind::Limit, position, message);
            self.dropping = true;
            let open = self.depth as u64 + self.loose;
            self.clear_tape();
            self.loose = open;
        }
        if self.tail_from.is_some_and(|tail| self.len - tail > ENVELOPE) {
            self.head.clear();
        }
        let keep = if self.seeking {
            self.gap_from
        } else if self.member || self.gap == Gap::Members {
            match self.tail_from {
                Some(tail) if !self.head.is_empty() => tail,
                _ => walked,
            }
        } else if let Some(start) = self.start {
            if self.dropping { walked } else { start }
        } else {
            self.eat_gap(walked.min(self.len));
            walked
        };
        self.shift(keep.min(self.len) / 64 * 64);
        if self.base + self.len as u64 > self.ctx.limits.document_bytes {
            self.flush_garbage(report, sink);
            let message = format!("the document is longer than {} bytes; the rest was not read", self.ctx.limits.document_bytes);
            report.problem(sink, ProblemKind::Limit, Position::default(), message);
            self.done = true;
            return;
        }
        if self.buf.len() < self.len + CHUNK {
            self.buf.resize(self.len + CHUNK, 0);
        }
        match self.input.read(&mut self.buf[self.len..self.len + CHUNK]) {
            Ok(0) => self.eof = true,
            Ok(n) => self.len += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                self.flush_garbage(report, sink);
                let position = Position { record: self.number, line: 0, offset: self.base + self.len as u64 };
                report.problem(sink, ProblemKind::Truncated, position, format!("reading broke off: {e}"));
                self.done = true;
            }
        }
    }

    /// Line breaks in the first `n` blocks of the buffer.
    fn lines_of(&self, n: usize) -> u64 {
        let known = n.min(self.notes.len());
        let of = |(i, note): (usize, &Note)| {
            if note.lines == UNCOUNTED { count_lines(&self.buf[i * 64..(i * 64 + 64).min(self.len)]) } else { u64::from(note.lines) }
        };
        self.notes[..known].iter().enumerate().map(of).sum::<u64>() + count_lines(&self.buf[known * 64..n * 64])
    }

    /// Drops the first `n` bytes, a multiple of 64, of the buffer.
    fn shift(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        self.lines += self.lines_of(n / 64);
        self.mark = if self.mark.0 <= n { (0, self.lines) } else { (self.mark.0 - n, self.mark.1) };
        self.buf.copy_within(n..self.len, 0);
        self.len -= n;
        self.base += n as u64;
        let blocks = (n / 64).min(self.blocks.len());
        self.blocks.drain(..blocks);
        self.notes.drain(..blocks);
        self.block -= blocks.min(self.block);
        self.gap_from = self.gap_from.saturating_sub(n);
        self.resume = self.resume.saturating_sub(n);
        self.start = self.start.map(|s| s.saturating_sub(n));
        self.tail_from = self.tail_from.map(|t| t.saturating_sub(n));
        // A record of many megabytes is rare; its room is given back.
        if self.buf.len() > 16 * CHUNK && self.len < CHUNK {
            self.buf.truncate(self.len);
            self.buf.shrink_to(4 * CHUNK);
        }
    }

    /// The document's end.
    fn end(&mut self, report: &mut Report<'_>, sink: &mut dyn Sink) {
        if let Some(start) = self.start
            && !self.member
        {
            // Either the document ends too early, or a record before was broken in a way that swallowed the rest.
            if self.marker.is_some() && !self.dropping && self.find_start(start + 1).is_some() {
                self.broken(start, "the record has no end", report, sink);
                return;
            }
            self.flush_garbage(report, sink);
            let mut position = self.position_of(start);
            position.record = self.number + 1;
            if !self.dropping {
                report.problem(sink, ProblemKind::Truncated, position, "the document ends inside a record");
            }
        } else {
            if self.gap != Gap::Members {
                self.eat_gap(self.len);
            }
            self.flush_garbage(report, sink);
            if !self.frames.is_empty() {
                let position = Position { record: self.number, ..self.position_of(self.len) };
                let message = if self.frames.contains(&Frame::Page) {
                    "the document ends inside a page"
                } else {
                    "the document ends before its array does: was the scan cut short?"
                };
                report.problem(sink, ProblemKind::Truncated, position, message);
            } else if !self.content {
                report.problem(sink, ProblemKind::Empty, Position::default(), "the document is empty");
            }
        }
        self.done = true;
    }

    fn position_of(&mut self, at: usize) -> Position {
        let at = at.min(self.len);
        if self.mark.0 > at {
            self.mark = (0, self.lines);
        }
        self.mark = (at, self.mark.1 + count_lines(&self.buf[self.mark.0..at]));
        Position { record: self.number, line: self.mark.1 + 1, offset: self.base + at as u64 }
    }
}

/// Whether a value may begin at `at`: after a colon in an object, after a comma or the bracket in an array.
fn value_may_stand(buf: &[u8], at: usize, in_object: bool) -> bool {
    match buf[..at].trim_ascii_end().last() {
        Some(b':') => in_object,
        Some(b',' | b'[') => !in_object,
        _ => false,
    }
}

/// Whether the key of the value at `at` may end with these two bytes. False only if it does not.
#[inline]
fn may_end_so(buf: &[u8], at: usize, end: [u8; 2]) -> bool {
    match &buf[at.saturating_sub(5)..at] {
        [_, a, b, b'"', b':'] | [a, b, b'"', b':', b' '] => [*a, *b] == end,
        _ => true,
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// A few characters of foreign text for a message, nothing that could disturb a terminal.
fn excerpt(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(40)];
    let text = String::from_utf8_lossy(cut);
    let mut out: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(32).collect();
    if out.chars().count() == 32 || bytes.len() > 40 {
        out.push('…');
    }
    out
}

// ---------------------------------------------------------------------------------------------------------------------
// Picking values out of a record

/// Picks the values at a few fixed paths out of a record and jumps over the rest.
///
/// It learns the order of the keys, which is the same in every record of a scanner, so that mostly one comparison a key
/// is enough.
#[derive(Debug)]
pub(super) struct Picker {
    nodes: Vec<Node>,
    slots: usize,
}

#[derive(Debug, Default)]
struct Node {
    wanted: Vec<(Box<[u8]>, Want)>,
    /// The keys in the order of the last records.
    order: Vec<Key>,
}

/// A key as it stood in earlier records, from the end of the value before it (or its object's bracket) to its own value:
/// `,"name":`, or with line break and indentation. Where the same bytes come again, all of that grammar is as before.
#[derive(Debug)]
struct Key {
    lead: Box<[u8]>,
    /// Whether a comma leads; after the object's bracket there is none.
    comma: bool,
    /// Where in `lead` the key itself stands.
    name: std::ops::Range<usize>,
    /// The first and the last eight bytes of `lead`; of a shorter one the first alone, and which bits of it count.
    head: u64,
    mask: u64,
    tail: u64,
    want: Want,
}

impl Key {
    fn new(lead: &[u8], comma: bool, name: std::ops::Range<usize>, want: Want) -> Key {
        let mut head = [0; 8];
        let n = lead.len().min(8);
        head[..n].copy_from_slice(&lead[..n]);
        Key {
            lead: lead.into(),
            comma,
            name,
            head: u64::from_le_bytes(head),
            mask: if n == 8 { u64::MAX } else { (1 << (8 * n)) - 1 },
            tail: lead.last_chunk().map_or(0, |tail| u64::from_le_bytes(*tail)),
            want,
        }
    }

    /// Whether `rest` begins with it. Most are told by two to four words, without a call.
    #[inline(always)]
    fn begins(&self, rest: &[u8]) -> bool {
        let n = self.lead.len();
        let word = |at: usize| rest.get(at..).and_then(|r| r.first_chunk::<8>()).map(|w| u64::from_le_bytes(*w));
        let same = |at: usize| rest.get(at..at + 8).is_some_and(|r| self.lead.get(at..at + 8) == Some(r));
        match word(0) {
            None => rest.starts_with(&self.lead),
            Some(first) if (first ^ self.head) & self.mask != 0 => false,
            Some(_) if n <= 8 => true,
            Some(_) if word(n - 8) != Some(self.tail) => false,
            Some(_) if n <= 16 => true,
            Some(_) if n <= 32 => same(8) && (n <= 24 || same(16)),
            Some(_) => rest.starts_with(&self.lead),
        }
    }
}

/// What stands where a key may stand.
enum Next {
    /// A key: what is wanted of it, and where its value begins.
    Key(Want, usize),
    /// The object's end; the position after its bracket.
    End(usize),
}

#[derive(Clone, Copy, Debug)]
enum Want {
    Skip,
    /// Hand out the value as it stands.
    Slot(u8),
    /// Walk into the object.
    Object(u8),
    /// Walk into the one object of the array.
    OnlyElement(u8),
}

impl Picker {
    /// Paths such as `a.b` and `list[0].b`; the latter only if the list has no more than one element.
    /// At most 64 objects and 255 paths, all written in our own code.
    pub(super) fn new(paths: &[&str]) -> Picker {
        let mut nodes = vec![Node::default()];
        for (slot, path) in paths.iter().enumerate() {
            let mut at = 0;
            let mut steps = path.split('.').peekable();
            while let Some(step) = steps.next() {
                let (key, list) = step.strip_suffix("[0]").map_or((step, false), |key| (key, true));
                let known = nodes[at].wanted.iter().find(|(k, _)| **k == *key.as_bytes()).map(|(_, w)| *w);
                at = match known {
                    Some(Want::Object(n) | Want::OnlyElement(n)) => usize::from(n),
                    _ if steps.peek().is_none() => {
                        nodes[at].wanted.push((key.as_bytes().into(), Want::Slot(u8::try_from(slot).unwrap_or(u8::MAX))));
                        break;
                    }
                    _ => {
                        let n = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
                        nodes[at].wanted.push((key.as_bytes().into(), if list { Want::OnlyElement(n) } else { Want::Object(n) }));
                        nodes.push(Node::default());
                        usize::from(n)
                    }
                };
            }
        }
        debug_assert!(nodes.len() <= 64 && paths.len() < 255, "too many paths for the picker");
        Picker { nodes, slots: paths.len() }
    }

    /// Fills `out`, one value a path, each as it stands in the record (strings with their quotes); empty if it is not there.
    /// False: this record is not for the picker (it is not plain enough, or broken); parse it.
    pub(super) fn pick<'a>(&mut self, record: &Record<'a>, out: &mut [&'a str]) -> bool {
        out.fill("");
        if out.len() < self.slots || !record.whole_tape || record.flags & CONTROL != 0 {
            return false;
        }
        // Once for the whole record: cheaper than for each value, and every byte is to be checked anyway.
        std::str::from_utf8(record.bytes).is_ok_and(|text| self.walk(record, text, out).is_some())
    }

    fn walk<'a>(&mut self, record: &Record<'a>, text: &'a str, out: &mut [&'a str]) -> Option<()> {
        struct Level {
            node: usize,
            place: usize,
            /// Where the array must end whose only element this object is; 0 if it is none.
            array_end: usize,
        }
        let b = record.bytes;
        let mut above: [Level; 8] = std::array::from_fn(|_| Level { node: 0, place: 0, array_end: 0 });
        let mut depth = 0;
        let mut level = Level { node: 0, place: 0, array_end: 0 };
        let mut visited = 1u64;
        let mut pair = 1; // the record's own brackets are pair 0
        if *b.first()? != b'{' {
            return None;
        }
        // Where we are: after an object's bracket (`fresh`), or after a value.
        let mut at = 1;
        let mut fresh = true;
        loop {
            let rest = b.get(at..)?;
            let node = &mut self.nodes[level.node];
            let next = match node.order.get(level.place) {
                Some(key) if key.comma != fresh && key.begins(rest) => {
                    level.place += 1;
                    Next::Key(key.want, at + key.lead.len())
                }
                _ => node.next(record, at, fresh, &mut level.place)?,
            };
            let (want, value) = match next {
                Next::Key(want, value) => (want, value),
                Next::End(after) => {
                    at = after;
                    if depth == 0 {
                        return (at == b.len()).then_some(());
                    }
                    if level.array_end != 0 {
                        (at, _) = solid(b, at)?;
                        if at != level.array_end {
                            return None; // a second element
                        }
                        at += 1;
                    }
                    depth -= 1;
                    std::mem::swap(&mut level, &mut above[depth]);
                    fresh = false;
                    continue;
                }
            };
            fresh = false;
            let (value, byte) = solid(b, value)?;
            match byte {
                b'"' => {
                    let end = record.quote(value + 1)?;
                    match want {
                        Want::Skip => {}
                        Want::Slot(slot) => fill(out, slot, text.get(value..=end)?)?,
                        Want::Object(_) | Want::OnlyElement(_) => return None,
                    }
                    at = end + 1;
                }
                b'{' | b'[' => {
                    let mut this = record.tape.get(pair)?;
                    while (this.open as usize) < value {
                        pair += 1;
                        this = record.tape.get(pair)?;
                    }
                    let close = this.close as usize;
                    if this.open as usize != value || close <= value {
                        return None;
                    }
                    let inner = match want {
                        Want::Skip => None,
                        Want::Slot(slot) => {
                            fill(out, slot, text.get(value..=close)?)?;
                            None
                        }
                        Want::Object(n) if byte == b'{' => Some((n, 0, value + 1)),
                        Want::OnlyElement(n) if byte == b'[' => match solid(b, value + 1)? {
                            (element, b'{') => Some((n, close, element + 1)),
                            (_, b']') => None,
                            _ => return None,
                        },
                        Want::Object(_) | Want::OnlyElement(_) => return None,
                    };
                    if let Some((node, array_end, inside)) = inner {
                        // Met twice: the parser knows what that means.
                        let bit = 1u64 << (node & 63);
                        if visited & bit != 0 || depth + 1 >= above.len() {
                            return None;
                        }
                        visited |= bit;
                        above[depth] = std::mem::replace(&mut level, Level { node: usize::from(node), place: 0, array_end });
                        depth += 1;
                        pair += if array_end == 0 { 1 } else { 2 };
                        at = inside;
                        fresh = true;
                        continue;
                    }
                    pair = this.link as usize;
                    at = close + 1;
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                    at = value + 1;
                    while !matches!(*b.get(at)?, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                        at += 1;
                    }
                    let scalar = text.get(value..at)?;
                    match want {
                        Want::Skip => {}
                        Want::Slot(slot) => fill(out, slot, scalar)?,
                        Want::Object(_) | Want::OnlyElement(_) if scalar == "null" => {}
                        Want::Object(_) | Want::OnlyElement(_) => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

fn fill<'a>(out: &mut [&'a str], slot: u8, value: &'a str) -> Option<()> {
    let place = out.get_mut(usize::from(slot))?;
    if !place.is_empty() {
        return None; // the key stands there twice
    }
    *place = value;
    Some(())
}

impl Node {
    /// What comes next in an object, when it is not the key of last time: another key, perhaps a new one, or the end.
    #[inline(never)]
    fn next(&mut self, record: &Record<'_>, at: usize, fresh: bool, place: &mut usize) -> Option<Next> {
        let b = record.bytes;
        let (mut quote, mut byte) = solid(b, at)?;
        if byte == b'}' {
            return Some(Next::End(quote + 1));
        }
        if !fresh {
            if byte != b',' {
                return None;
            }
            (quote, byte) = solid(b, quote + 1)?;
        }
        if byte != b'"' {
            return None;
        }
        let end = record.quote(quote + 1)?;
        let name = b.get(quote + 1..end)?;
        if name.contains(&b'\\') {
            return None; // it may spell a key we want
        }
        let (colon, byte) = solid(b, end + 1)?;
        if byte != b':' {
            return None;
        }
        let (value, _) = solid(b, colon + 1)?;
        let lead = b.get(at..value)?;
        let place_of_name = quote + 1 - at..end - at;
        // The same key laid out otherwise, or one or two optional keys left out.
        for ahead in 0..3 {
            let Some(key) = self.order.get_mut(*place + ahead) else { break };
            if key.lead.get(key.name.clone()) == Some(name) {
                let want = key.want;
                if ahead == 0 && lead.len() <= 128 {
                    *key = Key::new(lead, !fresh, place_of_name, want);
                }
                *place += ahead + 1;
                return Some(Next::Key(want, value));
            }
        }
        let want = self.wanted.iter().find(|(k, _)| **k == *name).map_or(Want::Skip, |(_, want)| *want);
        if lead.len() <= 128 {
            if self.order.len() >= 96 {
                // Keys that are never the same twice: start over.
                self.order.clear();
                *place = 0;
            }
            let here = (*place).min(self.order.len());
            self.order.insert(here, Key::new(lead, !fresh, place_of_name, want));
            *place = here + 1;
        }
        Some(Next::Key(want, value))
    }
}

impl Record<'_> {
    /// The first quote at or after `at` that begins or ends a string.
    #[inline(always)]
    fn quote(&self, at: usize) -> Option<usize> {
        let from = at + self.shift;
        let mut block = from / 64;
        let mut bits = self.blocks.get(block)?.quote & (u64::MAX << (from % 64));
        while bits == 0 {
            block += 1;
            bits = self.blocks.get(block)?.quote;
        }
        let found = block * 64 + bits.trailing_zeros() as usize - self.shift;
        (found < self.bytes.len()).then_some(found)
    }
}

/// The first byte at or after `at` that is not white space, and where it is.
#[inline(always)]
fn solid(b: &[u8], at: usize) -> Option<(usize, u8)> {
    match b.get(at) {
        Some(byte) if *byte > b' ' => Some((at, *byte)),
        _ => solid_after_space(b, at),
    }
}

fn solid_after_space(b: &[u8], mut at: usize) -> Option<(usize, u8)> {
    loop {
        match *b.get(at)? {
            b' ' => {
                at += 1;
                // Indentation: eight at a time.
                while b.get(at..at + 8).and_then(|eight| eight.first_chunk::<8>()) == Some(b"        ") {
                    at += 8;
                }
            }
            b'\n' | b'\r' | b'\t' => at += 1,
            byte => return Some((at, byte)),
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Lenient values

/// A text, however the source writes it: a string, or a number or a truth value in its place. `null` is none.
#[derive(Clone, Debug, Default)]
pub(super) enum Text<'a> {
    /// Not there.
    #[default]
    None,
    /// As it was parsed.
    Parsed(Cow<'a, str>),
    /// As it was picked: a string's inside without any escape, or a plain number.
    Picked(&'a str),
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<'a> Text<'a> {
    /// The text, unless it is not there or empty.
    #[inline]
    pub(super) fn get(&self) -> Option<&str> {
        let text = match self {
            Text::None => return None,
            Text::Parsed(text) => text.as_ref(),
            Text::Picked(text) => text,
        };
        if text.is_empty() { None } else { Some(text) }
    }

    /// Whether it is there and is this.
    #[inline]
    pub(super) fn is(&self, word: &str) -> bool {
        match self {
            Text::None => false,
            Text::Parsed(text) => text.as_ref() == word,
            Text::Picked(text) => *text == word,
        }
    }

    /// Whether there is nothing, or nothing in it.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Text::None => true,
            Text::Parsed(text) => text.is_empty(),
            Text::Picked(text) => text.is_empty(),
        }
    }

    /// The text to keep, unless it is not there or empty.
    pub(super) fn cow<'s>(&'s self) -> Option<Cow<'s, str>> {
        self.get().map(Cow::Borrowed)
    }

    /// The text itself, unless it is not there or empty.
    pub(super) fn into_cow(self) -> Option<Cow<'a, str>> {
        let text = match self {
            Text::None => return None,
            Text::Parsed(text) => text,
            Text::Picked(text) => Cow::Borrowed(text),
        };
        if text.is_empty() { None } else { Some(text) }
    }

    /// Reads a picked value of `record`. `None`: not a plain string or `null`; parse the record.
    #[inline]
    pub(super) fn picked(record: &Record<'_>, raw: &'a str) -> Option<Text<'a>> {
        let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return (raw.is_empty() || raw == "null").then_some(Text::None);
        };
        if record.flags & BACKSLASH != 0 && record.may_have_backslash(raw.as_bytes()) && inner.contains('\\') {
            return serde_json::from_str::<String>(raw).ok().map(|t| Text::Parsed(Cow::Owned(t)));
        }
        Some(Text::Picked(inner))
    }

    /// Reads a picked value of `record` that may be a whole number too.
    #[inline]
    pub(super) fn picked_number(record: &Record<'_>, raw: &'a str) -> Option<Text<'a>> {
        match raw.as_bytes() {
            b"0" => Some(Text::Picked(raw)),
            // Up to 15 digits, so that no way of reading it can differ in the last one.
            [b'1'..=b'9', rest @ ..] if rest.len() < 15 && rest.iter().all(u8::is_ascii_digit) => Some(Text::Picked(raw)),
            [b'-' | b'0'..=b'9', ..] => None,
            _ => Text::picked(record, raw),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Owned(v.to_owned())))
            }
            fn visit_string<E>(self, v: String) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Owned(v)))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::None)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Borrowed(if v { "true" } else { "false" })))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Owned(v.to_string())))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Owned(v.to_string())))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Text::Parsed(Cow::Owned(v.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A part of a record that is not looked into yet, as it stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Raw<'a>(pub(super) &'a str);

impl<'a> Raw<'a> {
    /// Reads it; `None` if it is not there, `null`, or something else.
    pub(super) fn read<T: Deserialize<'a>>(self) -> Option<T> {
        if self.0.is_empty() || self.0 == "null" { None } else { serde_json::from_str(self.0).ok() }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de serde_json::value::RawValue>::deserialize(deserializer).map(|raw| Raw(raw.get()))
    }
}

/// A list that mostly has one element, and none of whose cost then.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Several<T> {
    pub(super) first: Option<T>,
    pub(super) rest: Vec<T>,
}

impl<T> Default for Several<T> {
    fn default() -> Self {
        Several { first: None, rest: Vec::new() }
    }
}

impl<T> Several<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Several<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Several::default())
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut several = Several { first: seq.next_element()?, rest: Vec::new() };
                while let Some(next) = seq.next_element()? {
                    several.rest.push(next);
                }
                Ok(several)
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// For `#[serde(deserialize_with)]`: `null` is the same as nothing.
pub(super) fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

// ---------------------------------------------------------------------------------------------------------------------
// What formats keep from record to record

/// Remembers what the parts of a record that are the same for every resource of a check were read as.
#[derive(Debug)]
pub(super) struct Memo<T> {
    entries: hashbrown::HashMap<Box<str>, Remembered<T>, foldhash::fast::RandomState>,
    bytes: usize,
    other: Option<T>,
}

/// The parts, and what they were read as.
type Remembered<T> = (Box<str>, Box<str>, T);

/// Bytes kept in a [`Memo`]; beyond it, it starts over.
const MEMO: usize = 2 << 20;

impl<T> Memo<T> {
    pub(super) fn new() -> Memo<T> {
        Memo { entries: hashbrown::HashMap::default(), bytes: 0, other: None }
    }

    /// What `parts` of `check` were read as; `read` is asked only if they are not what they were last time.
    /// `None`: `read` could not.
    pub(super) fn get(&mut self, check: &str, parts: (&str, &str), read: impl FnOnce() -> Option<T>) -> Option<&T> {
        let known = self.entries.get(check).is_some_and(|(a, b, _)| (&**a, &**b) == parts);
        if !known {
            let value = read()?;
            let size = check.len() + parts.0.len() + parts.1.len();
            if size > MEMO / 16 {
                return Some(self.other.insert(value));
            }
            if self.bytes + size > MEMO {
                self.entries.clear();
                self.bytes = 0;
            }
            self.bytes += size;
            self.entries.insert(check.into(), (parts.0.into(), parts.1.into(), value));
        }
        self.entries.get(check).map(|(_, _, value)| value)
    }
}

/// The vector, emptied, for things of another lifetime: its room is used again for the next record. (The standard library
/// collects in place where the layouts are the same; if it did not, this would only be slower.)
pub(super) fn recycle<A, B>(mut vec: Vec<A>) -> Vec<B> {
    vec.clear();
    vec.into_iter().filter_map(|_| None).collect()
}

/// Records that are well formed but not of the format. If all of a document are, the document is not of the format.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    known: bool,
    count: u64,
    first: Option<(Position, String)>,
}

impl Strangers {
    /// A record of the format: those before it were merely broken.
    pub(super) fn known(&mut self, report: &mut Report<'_>, sink: &mut dyn Sink) {
        if !self.known {
            self.known = true;
            if let Some((position, keys)) = self.first.take() {
                report.problem(sink, ProblemKind::Malformed, position, not_a_finding(self.count, &keys));
            }
        }
    }

    /// A record of something else.
    pub(super) fn stranger(&mut self, record: &Record<'_>, report: &mut Report<'_>, sink: &mut dyn Sink) {
        report.incomplete();
        if self.known {
            report.problem(sink, ProblemKind::Malformed, record.position(), not_a_finding(1, &keys(record.bytes())));
            return;
        }
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((record.position(), keys(record.bytes())));
        }
    }

    /// # Errors
    /// There were records, and none is of the format.
    pub(super) fn verdict(self, reader: &Reader<'_, '_>, ctx: &Context<'_>, expected: &str) -> Result<(), super::FormatError> {
        let (position, found) = match self.first {
            Some((position, keys)) if !self.known => (position, format!("an object with {keys}")),
            None if !self.known && reader.number == 0 && reader.text => (Position::default(), "text that is no JSON record".to_owned()),
            _ => return Ok(()),
        };
        let mut error = super::FormatError::wrong(ctx, format_args!("found {found}, expected {expected}"));
        error.position = position;
        Err(error)
    }
}

fn not_a_finding(count: u64, keys: &str) -> String {
    let these = if count == 1 { "a record is".to_owned() } else { format!("{count} records from here on are") };
    format!("{these} not a finding of this format: an object with {keys}")
}

/// The first keys of an object, for a message.
fn keys(object: &[u8]) -> String {
    struct Keys(Vec<String>, bool);
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Keys;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut map: A) -> Result<Keys, A::Error> {
            while let Some((key, _)) = map.next_entry::<Cow<'de, str>, serde::de::IgnoredAny>()? {
                if self.0.len() == 5 {
                    self.1 = true;
                } else {
                    self.0.push(format!("`{}`", excerpt(key.as_bytes())));
                }
            }
            Ok(self)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(object);
    match serde::Deserializer::deserialize_map(&mut deserializer, Keys(Vec::new(), false)) {
        Ok(Keys(keys, _)) if keys.is_empty() => "no keys".to_owned(),
        Ok(Keys(keys, more)) => format!("the keys {}{}", keys.join(", "), if more { ", …" } else { "" }),
        Err(_) => "unreadable keys".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Finding;
    use crate::formats::{Flow, Limits};
    use std::io::{BufReader, Read};

    const WRAPPERS: &[&str] = &["Findings", "findings"];

    #[derive(Default)]
    struct Kept(Vec<Problem>);
    impl Sink for Kept {
        fn finding(&mut self, _: &Finding<'_>) -> Flow {
            Flow::More
        }
        fn problem(&mut self, problem: Problem) {
            self.0.push(problem);
        }
    }

    /// Gives a few bytes at a time, as a network does.
    struct Drip<'a>(&'a [u8], usize);
    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    struct Seen {
        records: Vec<String>,
        envelopes: Vec<String>,
        problems: Vec<Problem>,
        complete: bool,
    }

    fn split_by(document: &[u8], limits: Limits, step: usize) -> Seen {
        let ctx = Context { source: "test", limits, want_raw: false };
        let mut input = BufReader::with_capacity(step, Drip(document, step));
        let mut report = Report::new(&ctx);
        let mut sink = Kept::default();
        let mut reader = Reader::new(&mut input, &ctx, WRAPPERS);
        let (mut records, mut envelopes) = (Vec::new(), Vec::new());
        while let Some(item) = reader.next(&mut report, &mut sink) {
            match item {
                Item::Record(record) => {
                    assert_eq!(&document[usize::try_from(record.position().offset).unwrap()..][..record.bytes().len()], record.bytes());
                    let at = usize::try_from(record.position().offset).unwrap();
                    assert_eq!(record.position().line, count_lines(&document[..at]) + 1);
                    records.push(String::from_utf8_lossy(record.bytes()).into_owned());
                }
                Item::Envelope(page) => envelopes.push(String::from_utf8_lossy(page).into_owned()),
            }
        }
        assert!(reader.next(&mut report, &mut sink).is_none());
        let complete = report.finish(&mut sink);
        Seen { records, envelopes, problems: sink.0, complete }
    }

    fn split(document: &str) -> Seen {
        let whole = split_by(document.as_bytes(), Limits::default(), 1 << 20);
        for step in [1, 7, 64, 1000] {
            let dripped = split_by(document.as_bytes(), Limits::default(), step);
            assert_eq!(dripped.records, whole.records, "{step} bytes at a time");
            assert_eq!(dripped.envelopes, whole.envelopes, "{step} bytes at a time");
            // The excerpt in a message is of the bytes at hand.
            let places = |seen: &Seen| seen.problems.iter().map(|p| (p.kind, p.position)).collect::<Vec<_>>();
            assert_eq!(places(&dripped), places(&whole), "{step} bytes at a time");
            assert_eq!(dripped.complete, whole.complete, "{step} bytes at a time");
        }
        whole
    }

    #[track_caller]
    fn check(document: &str, records: &[&str], problems: &[(ProblemKind, u64)]) -> Seen {
        let seen = split(document);
        assert_eq!(seen.records, records, "{document:?}");
        let kinds: Vec<_> = seen.problems.iter().map(|p| (p.kind, p.position.line)).collect();
        assert_eq!(kinds, problems, "{document:?}: {:?}", seen.problems);
        assert_eq!(seen.complete, problems.is_empty(), "{document:?}");
        seen
    }

    #[test]
    fn every_shape_gives_the_same_records() {
        let (a, b) = (r#"{"id":1,"t":"x"}"#, r#"{"id":2,"l":[{"id":3},[]],"s":"}]\"{\\"}"#);
        for document in [
            format!("[{a},{b}]"),
            format!("[\n    {a},\n    {b}\n]\n"),
            format!("[{a}\n,\n{b}]"),
            format!("{a}\n{b}\n"),
            format!("{a}\r\n{b}"),
            format!("{a}{b}"),
            format!("\u{feff}{a}\n\n\n{b}"),
            format!("\u{1e}{a}\n\u{1e}{b}\n"),
            format!("[{a}][{b}]"),
            format!("[{a}]\n{b}\n[]"),
        ] {
            check(&document, &[a, b], &[]);
        }
    }

    #[test]
    fn pages_and_what_stands_around_their_list() {
        let (a, b) = (r#"{"Id":"1"}"#, r#"{"Id":"2","Types":["x"]}"#);
        let seen = check(&format!(r#"{{"Findings":[{a},{b}],"NextToken":"t\"{{"}}"#), &[a, b], &[]);
        assert_eq!(seen.envelopes, [r#"{"Findings":[],"NextToken":"t\"{"}"#]);
        let seen = check(
            &format!("{{\"Meta\":{{\"n\":[1]}}, \"findings\" : [ {a} ] , \"x\":[[],{{}}] }}\n{{\"Findings\":[]}}\n{{\"Findings\":[{b}]}}"),
            &[a, b],
            &[],
        );
        assert_eq!(
            seen.envelopes,
            ["{\"Meta\":{\"n\":[1]}, \"findings\" : [] , \"x\":[[],{}] }", r#"{"Findings":[]}"#, r#"{"Findings":[]}"#]
        );
        let seen = check(&format!(r#"{{"id":"e","detail":{{"findings":[{a}],"n":1}},"z":{{}}}}"#), &[a], &[]);
        assert_eq!(seen.envelopes, [r#"{"id":"e","detail":{"findings":[],"n":1},"z":{}}"#]);
        // `jq -s` of pages; and a record that merely has such a key somewhere below.
        check(&format!(r#"[{{"Findings":[{a}]}},{{"Findings":[{b}]}}]"#), &[a, b], &[]);
        let deep = r#"{"x":{"Findings":[{"y":1}]}}"#;
        check(&format!("[{deep}]"), &[deep], &[]);
    }

    #[test]
    fn documents_without_records() {
        use ProblemKind::{Empty, Malformed, Truncated};
        check("", &[], &[(Empty, 0)]);
        check(" \n\t ", &[], &[(Empty, 0)]);
        check("\u{feff}", &[], &[(Empty, 0)]);
        check("[]", &[], &[]);
        check("[\n]\n", &[], &[]);
        check("null", &[], &[(Malformed, 1)]);
        check("[1,2]", &[], &[(Malformed, 1)]);
        check("[", &[], &[(Truncated, 1)]);
        check("]", &[], &[(Malformed, 1)]);
        check("<html>\n<body class=\"x\">", &[], &[(Malformed, 1)]);
        check("{\"Findings\":[", &[], &[(Truncated, 1)]);
    }

    #[test]
    fn an_unfinished_scan_keeps_what_came() {
        let a = "{\n    \"message\": \"m\",\n    \"n\": [1]\n}";
        for end in ["", ",", ",{", ",{\n    \"message\": \"hal", ",{\n    \"message\": \"x\", \"l\": [{\"message\":1},"] {
            let document = format!("[{a},{a}{end}");
            check(&document, &[a, a], &[(ProblemKind::Truncated, if end.len() < 2 { document.lines().count() as u64 } else { 7 })]);
        }
    }

    #[test]
    fn a_broken_record_costs_itself() {
        use ProblemKind::Malformed;
        let (a, b, c) = (r#"{"k":1,"v":"a"}"#, r#"{"k":2,"v":"b"}"#, r#"{"k":3,"v":"c"}"#);
        for broken in [
            r#"{"k":9,"v":"x""#,
            r#"{"k":9,"v":"x"#,
            r#"{"k":9,"v":{"x":1}"#,
            r#"{"k":9,"v":[1,2}"#,
            r#"{"k":9,"v":[{"k":1]}"#,
            r#"{"k":9,"v":"#,
            r#"{"k":9 {"v":1}}"#,
            r#"{"k":9,{"v":1}}"#,
            r#"{"k":9,"v":[[1][2]]}"#,
            r#"{"k":9,"v":"a"b"}"#,
        ] {
            check(&format!("{a}\n{broken}\n{b}\n{c}\n"), &[a, b, c], &[(Malformed, 2)]);
            check(&format!("[{a},\n{broken},\n{b},\n{c}]"), &[a, b, c], &[(Malformed, 2)]);
        }
        // One closing bracket too many is noticed after the record, which is whole.
        check(&format!("{a}\n{b}}}\n{c}\n"), &[a, b, c], &[(Malformed, 2)]);
        // Text between records.
        check(&format!("{a}\nINFO: started\n{b}\nit's \"odd\n{c}\n"), &[a, b, c], &[(Malformed, 2), (Malformed, 4)]);
        check(&format!("[{a} {b},{c},]"), &[a, b, c], &[(Malformed, 1), (Malformed, 1)]);
        check(&format!("[{a},5,{b},null,{c}]"), &[a, b, c], &[(Malformed, 1), (Malformed, 1)]);
        // The very first record, when nothing is known yet of how records look.
        check(&format!("{{\"k\":0,\"v\":\"x\n{a}\n{b}\n"), &[a, b], &[(Malformed, 1)]);
        // In the last record of a page: the next page is whole.
        check(&format!("{{\"Findings\":[{a},{{\"k\":9]}}\n{{\"Findings\":[{b}]}}\n{{\"Findings\":[{c}]}}"), &[a, b, c], &[(Malformed, 1)]);
    }

    #[test]
    fn indented_records_are_found_again() {
        let record = |n: u32| {
            format!("{{\n    \"message\": \"m{n}\",\n    \"labels\": [\n        {{\n            \"message\": 1\n        }}\n    ]\n}}")
        };
        let broken = record(9).replace("        }\n", "");
        let document = format!("[{},{broken},{},{}]", record(1), record(2), record(3));
        check(&document, &[&record(1), &record(2), &record(3)], &[(ProblemKind::Malformed, 8)]);
    }

    #[test]
    fn limits_cost_a_record_and_no_memory() {
        let (a, b) = (r#"{"k":1}"#, r#"{"k":2}"#);
        let large = format!(r#"{{"k":"{}","l":[[{{}}]]}}"#, "x".repeat(5000));
        let limits = Limits { record_bytes: 1000, ..Limits::default() };
        for step in [10, 300, 1 << 20] {
            let seen = split_by(format!("[{a},{large},{b}]").as_bytes(), limits, step);
            assert_eq!(seen.records, [a, b]);
            assert_eq!(seen.problems.iter().map(|p| (p.kind, p.position.record)).collect::<Vec<_>>(), [(ProblemKind::Limit, 2)]);
        }
        let deep = format!(r#"{{"k":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let seen = split_by(format!("[{a},{deep},{b}]").as_bytes(), Limits::default(), 777);
        assert_eq!(seen.records, [a, b]);
        assert_eq!(seen.problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Limit]);
        let seen = split_by("[".repeat(100_000).as_bytes(), Limits::default(), 4096);
        assert!(seen.records.is_empty() && !seen.complete);
        let document = format!("{a}\n").repeat(100_000);
        let seen = split_by(document.as_bytes(), Limits { document_bytes: 1000, ..Limits::default() }, 100);
        assert!(seen.records.len() < 1000 && seen.problems[0].kind == ProblemKind::Limit && !seen.complete);
        let seen = split_by("x {}\n".repeat(100).as_bytes(), Limits { problems: 10, ..Limits::default() }, 100);
        assert_eq!(seen.problems.len(), 11);
        assert!(seen.problems[10].message.starts_with("90 more"), "{}", seen.problems[10].message);
    }

    #[test]
    fn broken_input_is_not_read_again_and_again() {
        // Every record swallows the rest of the document; found out only at its end.
        let document = format!("[{}", r#"{"k":[1,"#.repeat(300_000));
        let begin = std::time::Instant::now();
        let seen = split_by(document.as_bytes(), Limits { problems: 5, ..Limits::default() }, 1 << 20);
        assert!(!seen.complete);
        let document = format!("{{\"k\":1}}\n{}", "{\"k\":\"\n".repeat(300_000));
        let seen = split_by(document.as_bytes(), Limits { problems: 5, ..Limits::default() }, 1 << 20);
        assert_eq!(seen.records.len(), 1);
        assert!(begin.elapsed().as_secs() < 20, "took {:?}", begin.elapsed());
    }

    fn pick(record: &str, paths: &[&str]) -> Option<Vec<String>> {
        let ctx = Context { source: "test", limits: Limits::default(), want_raw: false };
        let mut input = record.as_bytes();
        let mut reader = Reader::new(&mut input, &ctx, &[]);
        let mut sink = Kept::default();
        let Some(Item::Record(record)) = reader.next(&mut Report::new(&ctx), &mut sink) else { panic!("no record in {record}") };
        let mut picker = Picker::new(paths);
        let mut out = vec![""; paths.len()];
        let mut again = out.clone();
        let picked = picker.pick(&record, &mut out);
        assert_eq!(picker.pick(&record, &mut again), picked, "not the same when the keys are known");
        if picked {
            assert_eq!(out, again);
        }
        picked.then(|| out.iter().map(|v| (*v).to_owned()).collect())
    }

    #[test]
    fn picks_what_is_wanted_and_says_when_it_cannot() {
        let paths = ["a.b", "a.n", "l[0].x", "top", "m"];
        let document = r#" {"skip":{"a":{"b":"no"},"q":"\"}"}, "a" : { "b":"yes\n", "z":[{}], "n":-1.5e3 },
            "l":[ {"y":[1,2,{"x":0}],"x":true} ] , "m":{"k":["v"]}, "top":null}"#;
        assert_eq!(pick(document, &paths).unwrap(), [r#""yes\n""#, "-1.5e3", "true", "null", r#"{"k":["v"]}"#]);
        assert_eq!(pick("{}", &paths).unwrap(), ["", "", "", "", ""]);
        assert_eq!(pick(r#"{"a":null,"l":[]}"#, &paths).unwrap(), ["", "", "", "", ""]);
        assert_eq!(pick(r#"{"a":{},"l":[{}],"top":"t"}"#, &paths).unwrap(), ["", "", "", "\"t\"", ""]);
        for cannot in [
            r#"{"l":[{"x":1},{"x":2}]}"#,
            r#"{"l":[{},{}]}"#,
            r#"{"l":[1]}"#,
            r#"{"l":{"x":1}}"#,
            r#"{"a":[]}"#,
            r#"{"a":"b"}"#,
            r#"{"top":1,"top":2}"#,
            r#"{"a":{"b":1},"a":{"b":2}}"#,
            r#"{"a":{},"a":{}}"#,
            r#"{"to\u0070":1}"#,
            r#"{"top":1,}"#,
            r#"{,"top":1}"#,
            r#"{"top" 1}"#,
            r#"{"top":}"#,
            r#"{"top"}"#,
            r#"{"top":1 2}"#,
            r#"{"top":"x""y"}"#,
            r#"{"a":{"b":1} "top":1}"#,
            r#"{"top":'x'}"#,
            r#"{"top":"a	b"}"#,
            r#"[1]"#,
        ] {
            assert_eq!(pick(&format!("[{cannot}]"), &paths), None, "{cannot}");
        }
    }

    proptest::proptest! {
        #[test]
        fn classes_are_those_of_each_byte(bytes in proptest::collection::vec(0u8.., 64)) {
            let block: [u8; 64] = bytes.try_into().expect("64 bytes");
            let level = Level::new();
            proptest::prop_assert_eq!(dispatch!(level, simd => classify(simd, &block)), classify_bytewise(&block));
        }

        #[test]
        fn quotes_and_brackets_are_those_outside_strings(text in "[\\\\\"{}a\\[\\]]{0,200}") {
            let mut expected = Vec::new();
            let (mut inside, mut skip) = (false, false);
            for (i, c) in text.bytes().enumerate() {
                // Outside strings a backslash is no JSON; there it takes no bracket away.
                let escaped = std::mem::take(&mut skip);
                match c {
                    b'\\' => skip = !escaped,
                    b'"' if escaped => {}
                    b'"' => { inside = !inside; expected.push(i) }
                    b'{' | b'}' | b'[' | b']' if !inside => expected.push(i),
                    _ => {}
                }
            }
            let mut got = Vec::new();
            let mut carry = Carry::default();
            for (n, chunk) in text.as_bytes().chunks(64).enumerate() {
                let mut block = [b' '; 64];
                block[..chunk.len()].copy_from_slice(chunk);
                let level = Level::new();
                let (index, _, _) = dispatch!(level, simd => index_block(simd, &block, &mut carry));
                let mut bits = index.quote | index.bracket;
                while bits != 0 {
                    got.push(n * 64 + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
            proptest::prop_assert_eq!(got, expected);
        }

        #[test]
        fn whole_records_are_what_a_parser_finds(values in proptest::collection::vec("[\\\\\"{}a:,é\\n\\[\\] ]{0,90}", 0..20), indent: bool) {
            let values: Vec<_> = values.iter().map(|v| serde_json::json!({"k": v, "l": [v, {"x": {}}]})).collect();
            let one = |v: &serde_json::Value| if indent { serde_json::to_string_pretty(v) } else { serde_json::to_string(v) }.expect("a value");
            let texts: Vec<String> = values.iter().map(one).collect();
            for document in [format!("[{}]", texts.join(",\n")), texts.join("\n"), format!("{{\"findings\":[{}]}}", texts.join(","))] {
                if document.is_empty() {
                    continue;
                }
                let seen = split_by(document.as_bytes(), Limits::default(), 100);
                proptest::prop_assert_eq!(&seen.records, &texts);
                proptest::prop_assert!(seen.complete);
            }
        }

        #[test]
        fn anything_ends_without_a_panic(text in "[\\\\\"{}a:,\\n\\[\\] 1é]{0,300}", step in 1usize..100) {
            split_by(text.as_bytes(), Limits { record_bytes: 100, depth: 8, ..Limits::default() }, step);
        }
    }
}
