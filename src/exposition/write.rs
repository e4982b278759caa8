//! Writes samples: headers, escaping, numbers, and the two formats' differences. Knows no metric.
//!
//! Numbers are printed from integers wherever we have integers: 12345 ms is `12.345`, digit for digit, with no float
//! in between. Text goes into one buffer; if a compressed page is wanted it is handed to the compressor piece by
//! piece, so that a large page never stands in memory whole.

use super::names::Metric;
use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// A value on its way into a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// A whole number.
    Int(u64),
    /// Milliseconds, printed as seconds.
    Millis(u64),
    /// Milliseconds since the epoch, printed as seconds.
    Moment(i64),
    /// Anything else; always finite.
    Float(f64),
}

/// A part of a page. Parts are made at different times and joined by [`join`].
pub(super) struct Page {
    buf: Vec<u8>,
    /// Text that is done, if it is not compressed: pieces, since one buffer that grows would be copied as it grows.
    pieces: Vec<Bytes>,
    openmetrics: bool,
    gzip: Option<Gzip>,
}

struct Gzip {
    deflate: Compress,
    out: Vec<u8>,
    crc: Crc,
}

/// A part that is ready to be joined.
#[derive(Debug)]
pub(super) struct Part {
    /// Text; or a raw DEFLATE stream cut at a byte boundary and not closed.
    body: Vec<Bytes>,
    /// The checksum of the text, if it is compressed.
    crc: Crc,
}

/// Text beyond this is handed on: small enough for the second-level cache.
const CHUNK: usize = 64 * 1024;
/// Room for a chunk and the sample that fills it.
const ROOM: usize = CHUNK + 2 * 1024;

impl Page {
    pub(super) fn new(openmetrics: bool, gzip: Option<Compression>) -> Page {
        let gzip = gzip.map(|level| Gzip { deflate: Compress::new(level, false), out: Vec::new(), crc: Crc::new() });
        Page { buf: Vec::with_capacity(ROOM), pieces: Vec::new(), openmetrics, gzip }
    }

    pub(super) fn openmetrics(&self) -> bool {
        self.openmetrics
    }

    /// Begins a family. Its header is printed with its first sample: a family without samples leaves no trace.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        Family { page: self, metric, headed: false }
    }

    /// Text as it is.
    pub(super) fn raw(&mut self, text: &str) {
        self.buf.extend_from_slice(text.as_bytes());
    }

    pub(super) fn header(&mut self, metric: &Metric) {
        let name = if self.openmetrics { metric.family() } else { metric.name };
        self.raw("# HELP ");
        self.raw(name);
        self.raw(" ");
        self.raw(metric.help);
        self.raw("\n# TYPE ");
        self.raw(name);
        self.raw(" ");
        self.raw(metric.type_word(self.openmetrics));
        if let Some(unit) = metric.unit().filter(|_| self.openmetrics) {
            self.raw("\n# UNIT ");
            self.raw(name);
            self.raw(" ");
            self.raw(unit);
        }
        self.raw("\n");
    }

    fn squeeze(&mut self) {
        match &mut self.gzip {
            Some(gzip) => {
                gzip.feed(&self.buf, FlushCompress::None);
                self.buf.clear();
            }
            None => self.pieces.push(std::mem::replace(&mut self.buf, Vec::with_capacity(ROOM)).into()),
        }
    }

    /// The text of a page that is not compressed.
    pub(super) fn text(self) -> String {
        let pieces = self.done().body;
        // Everything was written from text.
        String::from_utf8(pieces.concat()).unwrap_or_default()
    }

    pub(super) fn done(mut self) -> Part {
        match self.gzip.take() {
            None => {
                self.pieces.push(self.buf.into());
                Part { body: self.pieces, crc: Crc::new() }
            }
            Some(mut gzip) => {
                gzip.feed(&self.buf, FlushCompress::Sync);
                gzip.out.shrink_to_fit();
                Part { body: vec![gzip.out.into()], crc: gzip.crc }
            }
        }
    }
}

impl Gzip {
    fn feed(&mut self, text: &[u8], flush: FlushCompress) {
        self.crc.update(text);
        let mut rest = text;
        loop {
            // With room for the whole rest the call takes all of it; the loop is for a compressor that does not.
            self.out.reserve(rest.len() / 4 + 1024);
            let before = self.deflate.total_in();
            // Only a stream that was already finished can be refused, and nothing here finishes one.
            let status = self.deflate.compress_vec(rest, &mut self.out, flush);
            debug_assert!(status.is_ok(), "{status:?}");
            let taken = usize::try_from(self.deflate.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken.min(rest.len())..];
            if rest.is_empty() && self.out.len() < self.out.capacity() {
                return;
            }
        }
    }
}

/// The samples of one family, one after the other.
pub(super) struct Family<'p> {
    page: &'p mut Page,
    metric: &'static Metric,
    headed: bool,
}

impl Family<'_> {
    /// One sample. `labels` are printed as they stand, braces included; see [`label`].
    #[inline]
    pub(super) fn sample(&mut self, labels: &[&str], value: Value) {
        self.sample_of("", labels, value);
    }

    /// Samples that differ in the ends of their labels only: what they share is put together once and copied.
    #[inline]
    pub(super) fn samples<'t>(&mut self, (control, scope): (&str, &str), ends: impl Iterator<Item = (&'t String, Value)>) {
        let name = self.metric.name;
        let buf = self.room();
        let start = buf.len();
        let mut shared = 0;
        for (end, value) in ends {
            if shared == 0 {
                buf.extend_from_slice(name.as_bytes());
                buf.extend_from_slice(control.as_bytes());
                buf.extend_from_slice(scope.as_bytes());
                shared = buf.len() - start;
            } else {
                buf.extend_from_within(start..start + shared);
            }
            buf.extend_from_slice(end.as_bytes());
            push_value(buf, value);
        }
    }

    /// The buffer, with room for a sample or a few, the header written.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.page.buf.len() >= CHUNK {
            self.page.squeeze();
        }
        if !self.headed {
            self.headed = true;
            self.page.header(self.metric);
        }
        &mut self.page.buf
    }

    /// One sample whose name has a suffix (`_bucket`).
    #[inline]
    pub(super) fn sample_of(&mut self, suffix: &str, labels: &[&str], value: Value) {
        let metric = self.metric;
        let buf = self.room();
        buf.extend_from_slice(metric.name.as_bytes());
        buf.extend_from_slice(suffix.as_bytes());
        for part in labels {
            buf.extend_from_slice(part.as_bytes());
        }
        push_value(buf, value);
    }

    /// A histogram. `labels` without braces: `severity="high"`, or empty.
    pub(super) fn histogram(&mut self, labels: &str, bounds: &[f64], counts: &[u64], sum_ms: u64) {
        let openmetrics = self.page.openmetrics;
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (i, bound) in bounds.iter().map(Some).chain([None]).enumerate() {
            below += counts.get(i).copied().unwrap_or(0);
            let le = match bound {
                None => "+Inf".to_owned(),
                // OpenMetrics wants `60.0` here where the text format has `60`, as client_golang prints them.
                Some(b) if openmetrics && b.fract() == 0.0 => format!("{b}.0"),
                Some(b) => b.to_string(),
            };
            self.sample_of("_bucket", &["{", labels, comma, "le=\"", &le, "\"}"], Value::Int(below));
        }
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        self.sample_of("_sum", &[open, labels, close], Value::Millis(sum_ms));
        self.sample_of("_count", &[open, labels, close], Value::Int(below));
    }
}

/// Appends `name="value"`, escaped.
pub(super) fn label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    escape(out, value);
    out.push('"');
}

/// Appends a label value's text with backslash, quote and line feed escaped; everything else stays, in both formats.
fn escape(out: &mut String, value: &str) {
    let mut rest = value;
    while let Some(i) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..i]);
        out.push_str(match rest.as_bytes()[i] {
            b'\\' => "\\\\",
            b'"' => "\\\"",
            _ => "\\n",
        });
        rest = &rest[i + 1..];
    }
    out.push_str(rest);
}

/// A label name from free text: what is not allowed becomes `_`, and a name of ours or Prometheus' own gets a prefix.
pub(super) fn label_name(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    let reserved = ["scope", "le", "quantile", "job", "instance"];
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || reserved.contains(&name.as_str()) {
        name.insert_str(0, "part_");
    }
    name
}

const DIGITS: &[u8; 200] = b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
    5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

#[inline]
fn push_value(buf: &mut Vec<u8>, value: Value) {
    buf.push(b' ');
    match value {
        Value::Int(n) => push_int(buf, n),
        Value::Millis(ms) => push_millis(buf, ms),
        Value::Moment(ms) => {
            if ms < 0 {
                buf.push(b'-');
            }
            push_millis(buf, ms.unsigned_abs());
        }
        Value::Float(x) => push_float(buf, x),
    }
    buf.push(b'\n');
}

#[inline]
fn push_int(buf: &mut Vec<u8>, mut n: u64) {
    if n < 10 {
        buf.push(b'0' + n as u8);
        return;
    }
    // 20 digits are enough for u64::MAX.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while n >= 10 {
        let two = (n % 100) as usize * 2;
        n /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&DIGITS[two..two + 2]);
    }
    if n > 0 {
        at -= 1;
        digits[at] = b'0' + n as u8;
    }
    buf.extend_from_slice(&digits[at..]);
}

#[inline]
pub(super) fn push_millis(buf: &mut Vec<u8>, ms: u64) {
    push_int(buf, ms / 1000);
    let rest = (ms % 1000) as usize;
    if rest > 0 {
        buf.push(b'.');
        buf.push(b'0' + (rest / 100) as u8);
        let two = rest % 100 * 2;
        buf.extend_from_slice(&DIGITS[two..two + 2]);
        while buf.last() == Some(&b'0') {
            buf.pop();
        }
    }
}

pub(super) fn push_float(buf: &mut Vec<u8>, x: f64) {
    use std::io::Write as _;
    if x.is_infinite() {
        buf.extend_from_slice(if x > 0.0 { b"+Inf" } else { b"-Inf" });
        return;
    }
    // The shortest text that reads back as the same number.
    write!(buf, "{x}").expect("a Vec takes what is written to it");
}

/// The beginning of a gzip file: DEFLATE, no name, no time, unknown system (RFC 1952).
const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Joins parts into one page: plain text, or a gzip file of one member.
///
/// The parts of a compressed page are raw DEFLATE streams that a sync flush ended at a byte boundary. One after the
/// other they are one stream; what is missing is a last block, and the checksum of the whole, which follows from the
/// checksums of the parts. A gzip file of several members would be simpler, and is legal, but curl and browsers stop
/// after the first member and would show half a page as if it were all.
pub(super) fn join<'p>(parts: impl Iterator<Item = &'p Part>, gzip: bool) -> Vec<Bytes> {
    let mut page = Vec::new();
    let mut crc = Crc::new();
    if gzip {
        page.push(Bytes::from_static(GZIP_HEAD));
    }
    for part in parts {
        crc.combine(&part.crc);
        page.extend(part.body.iter().cloned());
    }
    if gzip {
        // A block of fixed codes (01) that is the last one (1) and holds only its end (0000000).
        let mut tail = vec![0x03, 0x00];
        tail.extend_from_slice(&crc.sum().to_le_bytes());
        tail.extend_from_slice(&crc.amount().to_le_bytes());
        page.push(tail.into());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn integers_print_all_their_digits() {
        for n in [0, 7, 9, 10, 11, 99, 100, 101, 999, 1000, 12_345, 100_000, u64::MAX - 1, u64::MAX] {
            assert_eq!(printed(|b| push_int(b, n)), n.to_string());
        }
        let mut n: u64 = 1;
        while let Some(next) = n.checked_mul(7) {
            assert_eq!(printed(|b| push_int(b, n)), n.to_string());
            n = next;
        }
    }

    #[test]
    fn milliseconds_print_as_exact_seconds() {
        for (ms, text) in [
            (0, "0"),
            (1, "0.001"),
            (10, "0.01"),
            (100, "0.1"),
            (12_345, "12.345"),
            (12_300, "12.3"),
            (5_000, "5"),
            // Past 2^53 a float would round the last digits away.
            (9_007_199_254_740_993, "9007199254740.993"),
            (u64::MAX, "18446744073709551.615"),
        ] {
            assert_eq!(printed(|b| push_millis(b, ms)), text);
        }
    }

    #[test]
    fn values_are_escaped_and_names_made_legal() {
        let mut out = String::new();
        label(&mut out, "title", "a \"b\" \\ c\nd é");
        assert_eq!(out, "title=\"a \\\"b\\\" \\\\ c\\nd é\"");
        for (from, to) in [
            ("account", "account"),
            ("x-y.z", "x_y_z"),
            ("1st", "part_1st"),
            ("__name__", "part___name__"),
            ("scope", "part_scope"),
            ("", "part_"),
            ("é", "part__"),
        ] {
            assert_eq!(label_name(from), to);
        }
    }
}
