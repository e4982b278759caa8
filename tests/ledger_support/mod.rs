//! A small pipeline of its own for the ledger's tests: it keeps pairs and counters by the definition, the slow and
//! obvious way, and hands over what a real one would.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use bornright::domain::{Cause, Moment, ProblemKind, ScannerInfo, State};
use bornright::ledger::{
    Binding, Changes, CounterRow, Episode, Evidence, Ledger, LedgerError, NewNames, Record, RecordKind, ResourceRow, Restore, RowName,
    RunRecord, Transition,
};
use std::collections::{BTreeMap, HashMap};

/// 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600_000;
/// 2010-01-01T00:00:00Z.
pub const PACKED_EPOCH: i64 = 1_262_304_000_000;

pub fn word(binding: u64, result: u64, suppressed: bool, at: i64) -> u64 {
    binding << 46 | result << 41 | u64::from(suppressed) << 40 | (at - PACKED_EPOCH) as u64
}

#[derive(Clone, Debug, Default)]
pub struct Book {
    pub at: Option<Moment>,
    pub rows: BTreeMap<(u32, u32), CounterRow>,
    pub shown: HashMap<(u32, u32), u32>,
    pub pairs: BTreeMap<(u32, u32), Option<State>>,
    pub resources: BTreeMap<u32, (String, String, u32, Moment, Vec<u64>)>,
    pub names: NewNames,
    pub new_resources: Vec<u32>,
    pub gone: Vec<u32>,
    pub moves: Vec<Transition>,
}

impl Book {
    /// `controls` × `scopes`, of which the last scope is folded into scope 1, and one collector with two checks.
    pub fn new(controls: u32, scopes: u32) -> Book {
        let mut book = Book::default();
        let n = &mut book.names;
        n.collectors.push((1, "aws-prod".to_owned()));
        n.checks.push((1, "S3.8".to_owned()));
        n.checks.push((2, "S3.9".to_owned()));
        for s in 1..=scopes {
            n.scopes.push((s, format!("account-{s}"), vec![("account".to_owned(), s.to_string()), ("region".to_owned(), "eu".to_owned())]));
        }
        for c in 1..=controls {
            n.controls.push((c, format!("control-{c}")));
            n.bindings.push(Binding { id: c, control: c, collector: 1, check: 1 + c % 2, population: false });
            for s in 1..=scopes {
                let shown = if s == scopes && scopes > 2 { 1 } else { s };
                n.rows.push(RowName { control: c, scope: s, shown });
                book.shown.insert((c, s), shown);
                book.rows.entry((c, shown)).or_insert(CounterRow { control: c, scope: shown, ..CounterRow::default() });
            }
        }
        book
    }

    pub fn resource(&mut self, id: u32, scope: u32, entries: Vec<u64>) {
        let seen = self.at.unwrap_or(Moment(START));
        let row =
            self.resources.entry(id).or_insert((format!("arn:aws:s3:::bucket-{id:06}"), "AwsS3Bucket".to_owned(), scope, seen, vec![]));
        row.4 = entries;
        self.new_resources.push(id);
    }

    /// A change at `at`; integrates the row by the definition.
    pub fn change(&mut self, control: u32, resource: u32, to: Option<State>, at: i64, lag: i64, weight: u32) {
        let from = self.pairs.insert((control, resource), to).flatten();
        let scope = self.resources[&resource].2;
        let cause = match (from, to) {
            (None, _) => Cause::NewResource,
            (_, None) => Cause::DeletedResource,
            (_, Some(State::Unknown)) => Cause::Freshness,
            _ => Cause::Resource,
        };
        self.moves.push(Transition { control, scope, resource, from, to, at: Moment(at), evidence_at: Moment(at - lag), cause, weight });
    }

    /// Carries every row to `at`, moves included.
    fn integrate(&mut self, at: Moment) {
        self.moves.sort_by_key(|t| t.at);
        for (key, row) in &mut self.rows {
            let mut now = self.at.unwrap_or(at);
            let step = |row: &mut CounterRow, from: Moment, to: Moment| {
                let ms = (to.0 - from.0) as u64;
                for s in 0..4 {
                    row.resource_ms[s] += row.counts[s] * ms;
                }
                for t in from.0..to.0 {
                    // One millisecond at a time is the definition; tests keep spans short or have no evidence.
                    if row.fresh_until.is_none() {
                        row.evidence_ms[1] += (to.0 - t) as u64;
                        break;
                    }
                    row.evidence_ms[usize::from(row.fresh_until.is_none_or(|u| u.0 <= t))] += 1;
                }
            };
            for t in self.moves.iter().filter(|t| (t.control, self.shown[&(t.control, t.scope)]) == *key) {
                if self.at.is_some() || t.at >= now {
                    step(row, now, t.at);
                    now = t.at;
                } else {
                    // Before the first record there was nothing to integrate, but a first move may lie earlier.
                    now = t.at;
                }
                if let Some(s) = t.from {
                    row.counts[s as usize] -= u64::from(t.weight);
                }
                if let Some(s) = t.to {
                    row.counts[s as usize] += u64::from(t.weight);
                }
                let direction = match (t.from, t.to) {
                    (Some(State::Compliant), Some(State::NonCompliant)) => "drift",
                    (Some(State::NonCompliant), Some(State::Compliant)) => "remediation",
                    _ => "other",
                };
                match row.transitions.iter_mut().find(|(d, c, _)| (*d, *c) == (direction, t.cause)) {
                    Some(x) => x.2 += 1,
                    None => row.transitions.push((direction, t.cause, 1)),
                }
            }
            step(row, now, at);
        }
        self.at = Some(at);
    }

    pub fn counters(&self) -> Vec<CounterRow> {
        self.rows.values().cloned().collect()
    }

    /// Commits all that is pending at `at`.
    pub fn commit(&mut self, ledger: &mut Ledger, kind: RecordKind, at: i64) -> Result<u64, LedgerError> {
        self.commit_with(ledger, kind, at, |_| {})
    }

    pub fn commit_with(
        &mut self,
        ledger: &mut Ledger,
        kind: RecordKind,
        at: i64,
        more: impl FnOnce(&mut Changes<'_>),
    ) -> Result<u64, LedgerError> {
        self.integrate(Moment(at));
        let mut record = Record::of(kind, Moment(at), "d".repeat(64));
        if kind == RecordKind::Run {
            record.run = Some(run(at));
        }
        self.new_resources.sort_unstable();
        self.new_resources.dedup();
        let mut changes = Changes {
            names: std::mem::take(&mut self.names),
            resources: self.new_resources.iter().map(|id| resource_row(*id, &self.resources[id])).collect(),
            gone: std::mem::take(&mut self.gone),
            transitions: std::mem::take(&mut self.moves),
            counters: self.rows.values().cloned().collect(),
            ..Changes::default()
        };
        more(&mut changes);
        let sequence = ledger.commit(&record, &changes)?.sequence;
        self.new_resources.clear();
        Ok(sequence)
    }
}

pub fn resource_row<'a>(id: u32, row: &'a (String, String, u32, Moment, Vec<u64>)) -> ResourceRow<'a> {
    ResourceRow { id, name: &row.0, kind: &row.1, scope: row.2, first_seen: row.3, entries: &row.4 }
}

pub fn run(at: i64) -> RunRecord {
    RunRecord {
        collector: "aws-prod".to_owned(),
        started: Moment(at - 5_000),
        finished: Moment(at - 10),
        complete: true,
        findings: [5, 4, 3, 2, 1, 0],
        problems: BTreeMap::from([(ProblemKind::Truncated, 2), (ProblemKind::Denied, 1)]),
        scanner: Some(ScannerInfo { name: "Prowler".to_owned(), version: "5.46.0".to_owned(), rule_set: String::new() }),
        mapping_digest: "e".repeat(64),
        evidence: vec![
            Evidence { name: "scans/a.ocsf.json".to_owned(), sha256: "a".repeat(64), bytes: 7, observed_at: Some(Moment(at - 6_000)) },
            Evidence { name: "scans/b.ocsf.json".to_owned(), sha256: "b".repeat(64), bytes: 8, observed_at: None },
        ],
    }
}

/// Everything a start is told.
#[derive(Debug, Default)]
pub struct Restored {
    pub names: NewNames,
    pub resources: BTreeMap<u32, (String, String, u32, Moment, Vec<u64>)>,
    pub weights: Vec<(u32, u32, u32)>,
    pub episodes: Vec<Episode>,
    pub counters: Vec<CounterRow>,
    pub notes: Vec<(String, String)>,
}

impl Restore for Restored {
    fn names(&mut self, names: NewNames) {
        self.names = names;
    }
    fn resource(&mut self, row: ResourceRow<'_>) {
        let value = (row.name.to_owned(), row.kind.to_owned(), row.scope, row.first_seen, row.entries.to_vec());
        assert!(self.resources.insert(row.id, value).is_none(), "resource {} twice", row.id);
    }
    fn weight(&mut self, resource: u32, binding: u32, weight: u32) {
        self.weights.push((resource, binding, weight));
    }
    fn episode(&mut self, episode: Episode) {
        self.episodes.push(episode);
    }
    fn counters(&mut self, row: CounterRow) {
        self.counters.push(row);
    }
    fn note(&mut self, name: &str, text: &str) {
        self.notes.push((name.to_owned(), text.to_owned()));
    }
}

/// A generator of numbers that anybody can repeat (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
}
