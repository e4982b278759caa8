//! YAML documents as JSON text, for the formats that Kubernetes people write as YAML (`kubectl get -o yaml`).
//!
//! A stream is cut at its document markers (`---` and `...` at the beginning of a line, which YAML forbids inside any
//! scalar), so that a malformed document costs only itself and no more than one document is in memory. Each is turned
//! into JSON text, and from there the format reads it as it reads JSON. Bounded: `Limits::record_bytes` for a document
//! as well as for its JSON (an alias bomb grows there), `Limits::depth`, and the YAML reader's own budget.
//!
//! Oddities that follow from YAML and are accepted: a plain `1.10` is a number and comes out as `1.1`; plain `yes` and
//! `on` stay text (YAML 1.2); `.nan` and `.inf`, which JSON does not have, come out as text.

use super::Context;
use crate::domain::{Position, Problem, ProblemKind};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::{self, BufRead};

/// Whether the input begins as JSON does. YAML would also take it, but slower and not streaming.
pub(super) fn begins_as_json(input: &mut dyn BufRead) -> io::Result<bool> {
    let head = input.fill_buf()?;
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    Ok(matches!(head.iter().find(|b| !b.is_ascii_whitespace()), Some(b'{' | b'[')))
}

/// Hands each YAML document of the stream to `each`: its JSON text, or the problem that it is. `each` returns false
/// to end the reading. Documents with nothing in them (comments, a lone `---`) are passed over.
///
/// # Errors
/// The input itself could not be read.
pub(super) fn documents(
    input: &mut dyn BufRead,
    ctx: &Context<'_>,
    mut each: impl FnMut(Result<&[u8], Problem>) -> bool,
) -> io::Result<()> {
    let mut split = Splitter {
        input,
        cap: ctx.limits.record_bytes,
        line: 0,
        current: Vec::new(),
        pending: Vec::new(),
        pending_over: false,
        done: false,
    };
    let mut text = Vec::new();
    let mut json = Vec::new();
    let mut number = 0u64;
    while let Some(part) = split.next(&mut text)? {
        if part.blank {
            continue;
        }
        number = number.saturating_add(1);
        let problem = |kind, line: u64, message: String| Problem {
            kind,
            source: ctx.source.to_owned(),
            position: Position { record: number, line, offset: 0 },
            message,
        };
        let verdict = if part.over {
            Err(problem(ProblemKind::Limit, part.line, format!("a YAML document is larger than {} bytes", ctx.limits.record_bytes)))
        } else {
            match transcode(&text, ctx, &mut json) {
                Ok(()) => Ok(json.as_slice()),
                Err((kind, line, message)) => Err(problem(kind, part.line.saturating_add(line.saturating_sub(1)), message)),
            }
        };
        if verdict.as_ref().is_ok_and(|j| *j == b"null") {
            continue;
        }
        if !each(verdict) {
            break;
        }
    }
    Ok(())
}

/// One stretch between document markers.
struct Part {
    /// Line on which it begins, from 1.
    line: u64,
    /// Nothing but comments and markers.
    blank: bool,
    /// Longer than allowed: the text is cut and must not be read.
    over: bool,
}

struct Splitter<'r> {
    input: &'r mut dyn BufRead,
    cap: usize,
    line: u64,
    current: Vec<u8>,
    /// The `---` line that ended the last part begins this one: it may carry content behind the marker.
    pending: Vec<u8>,
    pending_over: bool,
    done: bool,
}

impl Splitter<'_> {
    fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<Part>> {
        if self.done && self.pending.is_empty() {
            return Ok(None);
        }
        text.clear();
        text.append(&mut self.pending);
        let carried = !text.is_empty();
        let mut part = Part {
            line: self.line.saturating_add(u64::from(!carried)),
            blank: !carried || blank_marker(text),
            over: std::mem::take(&mut self.pending_over),
        };
        while !self.done {
            // A line by itself first: the document before it may have used up its room, and the marker must still be seen.
            self.current.clear();
            let Some(whole) = read_line(self.input, &mut self.current, self.cap)? else {
                self.done = true;
                break;
            };
            self.line = self.line.saturating_add(1);
            let line = &self.current;
            if is_marker(line, b"---") {
                self.pending.extend_from_slice(line);
                self.pending_over = !whole;
                // Ends what stands before it, and begins the next. Before anything was said there is nothing to end.
                return if part.blank && !carried { self.next(text) } else { Ok(Some(part)) };
            }
            if is_marker(line, b"...") {
                return Ok(Some(part));
            }
            let lead = line.iter().find(|b| !b.is_ascii_whitespace());
            part.blank &= matches!(lead, None | Some(b'#')) || line.first() == Some(&b'%');
            part.over |= !whole || text.len().saturating_add(line.len()) > self.cap;
            if !part.over {
                text.extend_from_slice(line);
            }
        }
        Ok(Some(part))
    }
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

fn blank_marker(line: &[u8]) -> bool {
    let rest = line.strip_prefix(b"---").unwrap_or(line);
    matches!(rest.iter().find(|b| !b.is_ascii_whitespace()), None | Some(b'#'))
}

/// Appends the next line to `out` so long as `out` stays within `cap`, and passes over the rest. `None` at the end of
/// the input, else whether all of it fitted.
fn read_line(input: &mut dyn BufRead, out: &mut Vec<u8>, cap: usize) -> io::Result<Option<bool>> {
    let mut any = false;
    let mut whole = true;
    loop {
        let chunk = match input.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if chunk.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = memchr::memchr(b'\n', chunk);
        let take = end.map_or(chunk.len(), |i| i + 1);
        let room = cap.saturating_sub(out.len()).min(take);
        out.extend_from_slice(&chunk[..room]);
        whole &= room == take;
        input.consume(take);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

type Fault = (ProblemKind, u64, String);

/// The YAML reader calls itself for each level, and takes so much of the stack that 128 levels do not fit into the 2 MiB
/// of a thread in a debug build (found by fuzzing). What Kubernetes writes is 20 deep at most.
const DEPTH: usize = 48;

fn transcode(text: &[u8], ctx: &Context<'_>, json: &mut Vec<u8>) -> Result<(), Fault> {
    json.clear();
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = memchr::memchr_iter(b'\n', &text[..e.valid_up_to()]).count();
        (ProblemKind::Malformed, u64::try_from(line).unwrap_or(u64::MAX).saturating_add(1), "the YAML is not UTF-8".to_owned())
    })?;
    let depth = ctx.limits.depth.min(DEPTH);
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! { max_depth: depth, flow_nesting_limit: depth, max_nodes: 2_000_000, max_events: 8_000_000 },
        // Nobody writes anchors into a report; what 400 bytes of them unfold to would take minutes to read.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000 },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let cap = ctx.limits.record_bytes;
    let mut over = false;
    serde_yaml::with_deserializer_from_str_with_options(text, options, |de| Json { out: json, cap, over: &mut over }.deserialize(de))
        .map_err(|e| {
            let line = e.location().map_or(1, |l| l.line());
            if over {
                return (ProblemKind::Limit, line, format!("a YAML document unfolds to more than {cap} bytes"));
            }
            let message = e.to_string();
            let kind = if message.contains("budget") || message.contains("limit") { ProblemKind::Limit } else { ProblemKind::Malformed };
            (kind, line, message.lines().next().unwrap_or("cannot be read as YAML").to_owned())
        })
}

/// Writes what it is shown as JSON.
struct Json<'o> {
    out: &'o mut Vec<u8>,
    cap: usize,
    over: &'o mut bool,
}

impl Json<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.out.len().saturating_add(bytes.len()) > self.cap {
            *self.over = true;
            return Err("too large");
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), &'static str> {
        let quoted = serde_json::to_string(text).map_err(|_| "text cannot be written as JSON")?;
        self.put(quoted.as_bytes())
    }

    fn again(&mut self) -> Json<'_> {
        Json { out: self.out, cap: self.cap, over: self.over }
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E: serde::de::Error>(mut self) -> Result<(), E> {
        self.put(b"null").map_err(E::custom)
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }
    fn visit_some<D: serde::Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        de.deserialize_any(self)
    }
    fn visit_bool<E: serde::de::Error>(mut self, v: bool) -> Result<(), E> {
        self.put(if v { b"true" } else { b"false" }).map_err(E::custom)
    }
    fn visit_i64<E: serde::de::Error>(mut self, v: i64) -> Result<(), E> {
        self.put(v.to_string().as_bytes()).map_err(E::custom)
    }
    fn visit_u64<E: serde::de::Error>(mut self, v: u64) -> Result<(), E> {
        self.put(v.to_string().as_bytes()).map_err(E::custom)
    }
    fn visit_i128<E: serde::de::Error>(mut self, v: i128) -> Result<(), E> {
        self.text(&v.to_string()).map_err(E::custom)
    }
    fn visit_u128<E: serde::de::Error>(mut self, v: u128) -> Result<(), E> {
        self.text(&v.to_string()).map_err(E::custom)
    }
    fn visit_f64<E: serde::de::Error>(mut self, v: f64) -> Result<(), E> {
        let text = serde_json::to_string(&v).map_err(E::custom)?;
        self.put(text.as_bytes()).map_err(E::custom)
    }
    fn visit_str<E: serde::de::Error>(mut self, v: &str) -> Result<(), E> {
        self.text(v).map_err(E::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.put(b"[").map_err(A::Error::custom)?;
        let mut first = true;
        loop {
            let mark = self.out.len();
            if !first {
                self.put(b",").map_err(A::Error::custom)?;
            }
            if seq.next_element_seed(self.again())?.is_none() {
                self.out.truncate(mark);
                break;
            }
            first = false;
        }
        self.put(b"]").map_err(A::Error::custom)
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.put(b"{").map_err(A::Error::custom)?;
        let mut first = true;
        while let Some(key) = map.next_key_seed(Key)? {
            if !first {
                self.put(b",").map_err(A::Error::custom)?;
            }
            first = false;
            self.text(&key).and_then(|()| self.put(b":")).map_err(A::Error::custom)?;
            map.next_value_seed(self.again())?;
        }
        self.put(b"}").map_err(A::Error::custom)
    }
}

/// A mapping's key as text: YAML lets it be a number or a boolean.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<String, D::Error> {
        de.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping key that is text, a number or a boolean")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
    fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Limits;

    fn read(text: &[u8], limits: Limits) -> Vec<Result<String, Problem>> {
        let ctx = Context { source: "r.yaml", limits, want_raw: false };
        let mut out = Vec::new();
        documents(&mut &*text, &ctx, |doc| {
            out.push(doc.map(|j| String::from_utf8(j.to_vec()).expect("JSON is UTF-8")));
            true
        })
        .expect("a slice can be read");
        out
    }

    #[test]
    fn documents_come_one_by_one_as_json() {
        let text = b"# head\n%YAML 1.2\n---\na: 1\nb: [x, \"2\", 1.5, true, yes, null]\n--- # next\nc: |\n  --- not a marker\nd: {e: 1.666094801e+09}\n...\n---\n---\n1: {true: 007}\n";
        let got: Vec<String> = read(text, Limits::default()).into_iter().map(|d| d.expect("good YAML")).collect();
        assert_eq!(
            got,
            [
                r#"{"a":1,"b":["x","2",1.5,true,"yes",null]}"#,
                r#"{"c":"--- not a marker\n","d":{"e":1666094801.0}}"#,
                r#"{"1":{"true":"007"}}"#
            ]
        );
        assert!(read(b"", Limits::default()).is_empty());
        assert!(read(b"\n# nothing\n---\n", Limits::default()).is_empty());
    }

    #[test]
    fn a_bad_document_costs_only_itself() {
        let got = read(b"a: 1\n---\nb: [1\nc: }\n---\nd: 2\n", Limits::default());
        assert_eq!(got.len(), 3);
        assert_eq!(got[0].as_deref(), Ok(r#"{"a":1}"#));
        let problem = got[1].as_ref().expect_err("bad YAML");
        assert_eq!((problem.kind, problem.position.record), (ProblemKind::Malformed, 2));
        assert!((3..=5).contains(&problem.position.line), "{problem}");
        assert_eq!(got[2].as_deref(), Ok(r#"{"d":2}"#));
        let got = read(b"a: \xff\n---\nb: 1\n", Limits::default());
        assert_eq!(got[0].as_ref().map_err(|p| p.kind), Err(ProblemKind::Malformed));
        assert!(got[1].is_ok());
    }

    #[test]
    fn large_deep_and_unfolding_documents_are_refused() {
        let limits = Limits { record_bytes: 1000, depth: 20, ..Limits::default() };
        let mut text = b"a: ".to_vec();
        text.resize(5000, b'x');
        text.extend_from_slice(b"\n---\nb: 1\n");
        let got = read(&text, limits);
        assert_eq!(got[0].as_ref().map_err(|p| p.kind), Err(ProblemKind::Limit));
        assert_eq!(got[1].as_deref(), Ok(r#"{"b":1}"#));

        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let got = read(deep.as_bytes(), Limits { record_bytes: 1 << 20, ..limits });
        assert_eq!(got[0].as_ref().map_err(|p| p.kind), Err(ProblemKind::Limit), "{got:?}");

        let mut bomb = "a0: &a0 [xxxxxxxxxx, xxxxxxxxxx]\n".to_owned();
        for i in 1..9 {
            bomb += &format!("a{i}: &a{i} [{}]\n", format!("*a{}, ", i - 1).repeat(9).trim_end_matches(", "));
        }
        let got = read(bomb.as_bytes(), limits);
        assert_eq!(got[0].as_ref().map_err(|p| p.kind), Err(ProblemKind::Limit), "{got:?}");
    }
}
