//! The bytes under every digest. docs/ledger.md is the specification; a change here is a new schema version.
//!
//! Two forms. *Fields*: each value as text (numbers in decimal) behind its length as four bytes, little-endian; an
//! absent value is an empty field. *Packed*: fixed little-endian numbers, for what there are millions of.
//! Neither depends on a JSON or SQL library, and the digest of an empty list is the empty text.

use super::{Binding, CounterRow, Evidence, RecordKind, RowName, RunRecord, Transition};
use crate::domain::{Cause, Moment, State};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The `hash` that the first record follows.
pub(super) const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A digest over fields.
#[derive(Default)]
pub(super) struct Fields {
    hash: Sha256,
    scratch: String,
    any: bool,
}

impl Fields {
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        // Longer than 4 GiB cannot be stored in the first place: SQLite refuses it.
        self.hash.update((text.len() as u32).to_le_bytes());
        self.hash.update(text.as_bytes());
        self.any = true;
        self
    }

    pub(super) fn int(&mut self, number: impl Into<i128>) -> &mut Self {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let _ = write!(scratch, "{}", number.into());
        self.text(&scratch);
        self.scratch = scratch;
        self
    }

    pub(super) fn maybe(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(n) => self.int(n),
            None => self.text(""),
        }
    }

    /// Hex, or empty if nothing was added.
    pub(super) fn finish(self) -> String {
        if self.any { hex::encode(self.hash.finalize()) } else { String::new() }
    }
}

/// A digest over packed rows.
#[derive(Default)]
pub(super) struct Packed {
    hash: Sha256,
    any: bool,
}

impl Packed {
    pub(super) fn row(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.any = true;
    }

    /// Hex, or empty if there was no row.
    pub(super) fn finish(self) -> String {
        if self.any { hex::encode(self.hash.finalize()) } else { String::new() }
    }
}

/// A record's columns in the order in which they are hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: i64,
    pub(super) kind: String,
    pub(super) at: i64,
    pub(super) definitions: String,
    pub(super) event: String,
    pub(super) names: String,
    pub(super) resources: String,
    pub(super) last_resource: i64,
    pub(super) transitions: String,
    pub(super) last_transition: i64,
    pub(super) integrals: String,
    pub(super) checkpoint: String,
    pub(super) totals: String,
    pub(super) hash: String,
}

impl Header {
    /// The hash that this record must have after one with hash `previous`.
    pub(super) fn hash_after(&self, previous: &str) -> String {
        let mut f = Fields::default();
        f.text("bornright ledger record 1")
            .text(previous)
            .int(self.sequence)
            .text(&self.kind)
            .int(self.at)
            .text(&self.definitions)
            .text(&self.event)
            .text(&self.names)
            .text(&self.resources)
            .int(self.last_resource)
            .text(&self.transitions)
            .int(self.last_transition)
            .text(&self.integrals)
            .text(&self.checkpoint)
            .text(&self.totals);
        f.finish()
    }
}

/// The `evidence` digest of a run.
pub(super) fn evidence(list: &[Evidence]) -> String {
    let mut f = Fields::default();
    for e in list {
        f.text(&e.name).text(&e.sha256).int(e.bytes).maybe(e.observed_at.map(|m| m.0));
    }
    f.finish()
}

/// The `event` digest of a run, given the digest of its evidence.
pub(super) fn run_event(run: &RunRecord, evidence: &str) -> String {
    let mut f = Fields::default();
    f.text(RecordKind::Run.word()).text(&run.collector).int(run.started.0).int(run.finished.0).int(i64::from(run.complete));
    for n in run.findings {
        f.int(n);
    }
    f.int(run.problems.len() as i64);
    // By word and not by our enum's order: the word is what the file shows.
    let mut problems: Vec<(&str, u64)> = run.problems.iter().map(|(k, n)| (k.word(), *n)).collect();
    problems.sort_unstable();
    for (kind, number) in problems {
        f.text(kind).int(number);
    }
    match &run.scanner {
        None => f.int(0),
        Some(s) => f.int(1).text(&s.name).text(&s.version).text(&s.rule_set),
    };
    f.text(&run.mapping_digest).text(evidence);
    f.finish()
}

/// The `event` digest of a prune.
pub(super) fn prune_event(before: i64, through: i64, removed: i64, resources: &str) -> String {
    let mut f = Fields::default();
    f.text(RecordKind::Prune.word()).int(before).int(through).int(removed).text(resources);
    f.finish()
}

/// Adds one of the simple names: `table` is its table without the plural.
pub(super) fn name(f: &mut Fields, table: &str, id: i64, name: &str) {
    f.text(table).int(id).text(name);
}

/// Adds a scope with its parts.
pub(super) fn scope<'a>(f: &mut Fields, id: i64, label: &str, parts: impl ExactSizeIterator<Item = (&'a str, &'a str)>) {
    name(f, "scope", id, label);
    f.int(parts.len() as i64);
    for (field, value) in parts {
        f.text(field).text(value);
    }
}

/// Adds a binding.
pub(super) fn binding(f: &mut Fields, b: &Binding) {
    f.text("binding").int(b.id).int(b.control).int(b.collector).int(b.check).int(i64::from(b.population));
}

/// Adds a (control, scope).
pub(super) fn control_scope(f: &mut Fields, id: i64, row: &RowName) {
    f.text("control_scope").int(id).int(row.control).int(row.scope).int(row.shown);
}

/// Adds a definitions document.
pub(super) fn definition(f: &mut Fields, digest: &str, name: &str, text: &str) {
    f.text("definition").text(digest).text(name).text(text);
}

/// Adds a control's version.
pub(super) fn control_version(f: &mut Fields, digest: &str, control: &str, set: &str, version: &str) {
    f.text("control_version").text(digest).text(control).text(set).text(version);
}

/// Adds a resource.
pub(super) fn resource(p: &mut Packed, id: u32, first_seen: i64, name: &str) {
    let mut head = [0u8; 16];
    head[..4].copy_from_slice(&id.to_le_bytes());
    head[4..12].copy_from_slice(&first_seen.to_le_bytes());
    head[12..].copy_from_slice(&(name.len() as u32).to_le_bytes());
    p.row(&head);
    p.row(name.as_bytes());
}

/// 0 outside the population, else 1 + the state's index.
pub(super) fn state_code(state: Option<State>) -> u8 {
    state.map_or(0, |s| s as u8 + 1)
}

/// The reverse of [`state_code`].
pub(super) fn state_of(code: i64) -> Option<Option<State>> {
    match code {
        0 => Some(None),
        1..=4 => Some(Some(State::ALL[code as usize - 1])),
        _ => None,
    }
}

/// The cause with this index.
pub(super) fn cause_of(code: i64) -> Option<Cause> {
    usize::try_from(code).ok().and_then(|i| Cause::ALL.get(i).copied())
}

/// A transition's 35 bytes.
pub(super) fn transition(t: &Transition) -> [u8; 35] {
    let mut b = [0u8; 35];
    b[..4].copy_from_slice(&t.control.to_le_bytes());
    b[4..8].copy_from_slice(&t.scope.to_le_bytes());
    b[8..12].copy_from_slice(&t.resource.to_le_bytes());
    b[12] = state_code(t.from);
    b[13] = state_code(t.to);
    b[14] = t.cause as u8;
    b[15..23].copy_from_slice(&t.at.0.to_le_bytes());
    b[23..31].copy_from_slice(&t.evidence_at.0.to_le_bytes());
    b[31..].copy_from_slice(&t.weight.to_le_bytes());
    b
}

/// The `mark` of a transition: its 35 bytes, its number within the record (from 1, four bytes) and a zero, read as five
/// little-endian words, each mixed in by a multiplication; the top 16 bits, signed. Not a proof: it tells which row was
/// touched when the digest says that one was.
pub(super) fn mark(ordinal: u32, bytes: &[u8; 35]) -> i16 {
    let mut all = [0u8; 40];
    all[..35].copy_from_slice(bytes);
    all[35..39].copy_from_slice(&ordinal.to_le_bytes());
    let hash = all.as_chunks::<8>().0.iter().fold(0u64, |h, word| {
        let h = (h ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        h ^ (h >> 32)
    });
    (hash >> 48) as u16 as i16
}

/// A row of `integrals`: 72 bytes. Rows in which all eight numbers are zero are left out of the digest.
pub(super) fn integral(control: u32, scope: u32, counts: &[u64; 4], ms: &[u64; 4]) -> Option<[u8; 72]> {
    if counts.iter().chain(ms).all(|n| *n == 0) {
        return None;
    }
    let mut b = [0u8; 72];
    b[..4].copy_from_slice(&control.to_le_bytes());
    b[4..8].copy_from_slice(&scope.to_le_bytes());
    for (place, n) in b[8..].chunks_exact_mut(8).zip(counts.iter().chain(ms)) {
        place.copy_from_slice(&n.to_le_bytes());
    }
    Some(b)
}

/// A row of `checkpoint`, into `out` (not cleared). Packed like everything that there is one of for every row in every
/// commit: the column's text is written only when the row is.
pub(super) fn checkpoint(row: &CounterRow, out: &mut Vec<u8>) {
    out.extend_from_slice(&row.control.to_le_bytes());
    out.extend_from_slice(&row.scope.to_le_bytes());
    for n in row.evidence_ms {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for moment in [row.newest_evidence, row.fresh_until] {
        out.push(u8::from(moment.is_some()));
        out.extend_from_slice(&moment.map_or(0, |m: Moment| m.0).to_le_bytes());
    }
    families(row, out);
}

/// What time does not change of a row's checkpoint: violations and numbers of transitions.
pub(super) fn families(row: &CounterRow, out: &mut Vec<u8>) {
    out.push(u8::from(row.violations.is_some()));
    for n in row.violations.iter().flatten() {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&(row.transitions.len() as u32).to_le_bytes());
    for (direction, cause, number) in &row.transitions {
        // Words that are none were refused before anything was written.
        let direction = DIRECTIONS.iter().position(|d| d == direction).unwrap_or(DIRECTIONS.len());
        out.extend_from_slice(&[direction as u8, *cause as u8]);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Sums over all rows: the four counts, then the four resource-milliseconds, in decimal, with spaces between.
pub(super) fn totals(counts: &[u128; 4], ms: &[u128; 4]) -> String {
    let mut out = String::new();
    for n in counts.iter().chain(ms) {
        let sep = if out.is_empty() { "" } else { " " };
        let _ = write!(out, "{sep}{n}");
    }
    out
}

/// The column `counters.transitions`: `direction/cause=number`, separated by commas.
pub(super) fn transition_counts(list: &[(&'static str, Cause, u64)], out: &mut String) {
    out.clear();
    for (direction, cause, number) in list {
        let sep = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{sep}{direction}/{}={number}", cause.word());
    }
}

/// Reads what [`transition_counts`] wrote.
pub(super) fn read_transition_counts(text: &str) -> Option<Vec<(&'static str, Cause, u64)>> {
    let mut list = Vec::with_capacity(text.bytes().filter(|b| *b == b'=').count());
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (what, number) = part.split_once('=')?;
        let (direction, cause) = what.split_once('/')?;
        let direction = DIRECTIONS.into_iter().find(|d| *d == direction)?;
        list.push((direction, Cause::from_word(cause)?, number.parse().ok()?));
    }
    Some(list)
}

/// The words a [`CounterRow`] may use for directions.
pub(super) const DIRECTIONS: [&str; 3] = ["drift", "remediation", "other"];

/// The column `counters.violations`: twenty numbers with spaces between.
pub(super) fn violations(list: &[u64; 20], out: &mut String) {
    out.clear();
    for n in list {
        let sep = if out.is_empty() { "" } else { " " };
        let _ = write!(out, "{sep}{n}");
    }
}

/// Reads what [`violations`] wrote.
pub(super) fn read_violations(text: &str) -> Option<[u64; 20]> {
    let mut list = [0; 20];
    let mut parts = text.split(' ');
    for n in &mut list {
        *n = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some(list)
}

/// `row` carried from `from` to `to` by nothing but time, as the reading half does it.
pub(super) fn advance(row: &mut CounterRow, from: Moment, to: Moment) {
    let span = to.since(from).0;
    let to = to.max(from);
    for (ms, n) in row.resource_ms.iter_mut().zip(row.counts) {
        *ms = ms.wrapping_add(n.wrapping_mul(span));
    }
    let fresh_end = row.fresh_until.map_or(from, |u| u.max(from).min(to));
    row.evidence_ms[0] = row.evidence_ms[0].wrapping_add(fresh_end.since(from).0);
    row.evidence_ms[1] = row.evidence_ms[1].wrapping_add(to.since(fresh_end).0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out with Python: hashlib.sha256(b"\x01\0\0\0a\x02\0\0\0-5\0\0\0\0").hexdigest()
    #[test]
    fn fields_are_lengths_and_text() {
        let mut f = Fields::default();
        f.text("a").int(-5).maybe(None);
        assert_eq!(f.finish(), "e430e14cd4b4b694270c2a4f96c9e79371c9f3c3ecb94ba4217bec6a43a306a2");
        assert_eq!(Fields::default().finish(), "");
    }

    #[test]
    fn texts_of_counters_come_back() {
        let list = vec![("drift", Cause::Resource, 3), ("other", Cause::NewResource, u64::MAX)];
        let mut text = String::new();
        transition_counts(&list, &mut text);
        assert_eq!(text, "drift/resource=3,other/new_resource=18446744073709551615");
        assert_eq!(read_transition_counts(&text), Some(list));
        assert_eq!(read_transition_counts(""), Some(vec![]));
        for wrong in ["drift/resource", "up/resource=1", "drift/nothing=1", "drift/resource=-1"] {
            assert_eq!(read_transition_counts(wrong), None, "{wrong}");
        }
        let mut numbers = [0; 20];
        numbers[19] = 7;
        violations(&numbers, &mut text);
        assert_eq!(read_violations(&text), Some(numbers));
        assert_eq!(read_violations("1 2"), None);
        assert_eq!(read_violations(&format!("{text} 1")), None);
    }

    #[test]
    fn advancing_in_two_steps_is_advancing_in_one() {
        let row = CounterRow { counts: [2, 1, 0, 0], fresh_until: Some(Moment(50)), ..CounterRow::default() };
        let mut once = row.clone();
        advance(&mut once, Moment(0), Moment(90));
        assert_eq!(once.resource_ms, [180, 90, 0, 0]);
        assert_eq!(once.evidence_ms, [50, 40]);
        let mut twice = row;
        advance(&mut twice, Moment(0), Moment(60));
        advance(&mut twice, Moment(60), Moment(90));
        assert_eq!(once, twice);
    }
}
