//! What happened, for ever: runs, transitions, states, definitions in force. One writer (law 11).
//!
//! A commit is one transaction, hash-chained to the one before it, and durable when [`Ledger::commit`] returns:
//! written before it is visible. Ids are dense numbers that the pipeline allocates and the ledger keeps; a name
//! never changes its number. The ledger does not judge: it stores what `evaluate` decided, and can say from
//! transitions alone what every counter must be ([`verify`]).

use crate::domain::{Cause, Moment, ProblemKind, ScannerInfo, Severity, State};
use std::collections::BTreeMap;
use std::path::PathBuf;

mod canonical;
mod export;
mod history;
mod mark;
mod prune;
mod reader;
mod replay;
mod schema;
mod sqlite;
mod verify;

pub use export::ExportRange;
pub use mark::HighWaterMark;
pub use prune::Pruned;
pub use reader::{Event, FindingsPage, Observation, ObservedResource, ObservedResult, Reader, RunRow};
pub use sqlite::Ledger;
pub use verify::{VerifyReport, verify};

/// Where the ledger lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// A SQLite file; created, with its directory, if absent.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is kept: `gate` and tests.
    Memory,
}

/// A fault of the store.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite said no.
    #[error("ledger {path}")]
    Sqlite {
        /// The file.
        path: String,
        /// Its words.
        source: rusqlite::Error,
    },
    /// The file is not a ledger, or of a newer version, or damaged.
    #[error("ledger {path}: {message}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The caller handed over something that cannot be accounted for: a fault of ours, not of the file.
    #[error("ledger {path}: {message}")]
    Refused {
        /// The file.
        path: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The file system said no.
    #[error("ledger {path}")]
    Io {
        /// The file.
        path: String,
        /// Its words.
        source: std::io::Error,
    },
}

/// What sort of event a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The process started (and found this many milliseconds of down time since the last record).
    Start,
    /// A collector's run.
    Run,
    /// Time passed: evidence ran out, waivers began or ended.
    Tick,
    /// Definitions or configuration changed.
    Definitions,
    /// Old transitions were pruned; the baseline stands in their place.
    Prune,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [RecordKind; 5] = [RecordKind::Start, RecordKind::Run, RecordKind::Tick, RecordKind::Definitions, RecordKind::Prune];

    /// The word in the file, in exports and in documents.
    pub const fn word(self) -> &'static str {
        match self {
            RecordKind::Start => "start",
            RecordKind::Run => "run",
            RecordKind::Tick => "tick",
            RecordKind::Definitions => "definitions",
            RecordKind::Prune => "prune",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<RecordKind> {
        Self::ALL.into_iter().find(|k| k.word() == word)
    }
}

/// The record that a commit appends to the chain.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is about.
    pub kind: RecordKind,
    /// The instant at which it takes effect: counters are integrated up to it.
    pub at: Moment,
    /// For runs: who, how, with what.
    pub run: Option<RunRecord>,
    /// Digest of the definitions in force (hex SHA-256).
    pub definitions_digest: String,
}

/// A collector's run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The collector's name.
    pub collector: String,
    /// When it began.
    pub started: Moment,
    /// When the source had delivered.
    pub finished: Moment,
    /// Whether it may say that a resource is gone.
    pub complete: bool,
    /// Findings by result (index as in `CheckResult::ALL`).
    pub findings: [u64; 6],
    /// Problems by kind.
    pub problems: BTreeMap<ProblemKind, u64>,
    /// The scanner with its version and rule set.
    pub scanner: Option<ScannerInfo>,
    /// Digest of the collector's configuration and mapping (hex SHA-256).
    pub mapping_digest: String,
    /// What it was judged from.
    pub evidence: Vec<Evidence>,
}

/// One raw document that a run read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Path, or URL without its query.
    pub name: String,
    /// SHA-256 of the bytes as they came, hex.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
    /// The document's own time, or its modification time.
    pub observed_at: Option<Moment>,
}

/// A change of a pair's state, at its exact instant. Ids are ledger ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Control.
    pub control: u32,
    /// Scope.
    pub scope: u32,
    /// Resource.
    pub resource: u32,
    /// Before; `None`: outside the population.
    pub from: Option<State>,
    /// After.
    pub to: Option<State>,
    /// When it takes effect for the counters (ingest, expiry, waiver bound).
    pub at: Moment,
    /// When the evidence says it was so; equals `at` for changes that time brings.
    pub evidence_at: Moment,
    /// Why.
    pub cause: Cause,
    /// Resources this stands for (more than one only for sources that give numbers).
    pub weight: u32,
}

/// A scope: its id, its label, and the fields that the label was built from.
pub type ScopeName = (u32, String, Vec<(String, String)>);

/// The names behind ids, in order of allocation: entry `i` of a list has id `first + i`.
#[derive(Clone, Debug, Default)]
pub struct NewNames {
    /// Control ids (the definitions' words).
    pub controls: Vec<(u32, String)>,
    /// Scope labels, with the fields they were built from.
    pub scopes: Vec<ScopeName>,
    /// Collector names.
    pub collectors: Vec<(u32, String)>,
    /// Check ids.
    pub checks: Vec<(u32, String)>,
    /// Bindings: which check of which collector is evidence for which control.
    pub bindings: Vec<Binding>,
    /// (control, scope) rows in order of registration, with the scope they are folded into.
    pub rows: Vec<RowName>,
}

/// A check of a collector as evidence for a control. `id` is what the packed observations refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its id.
    pub id: u32,
    /// Control.
    pub control: u32,
    /// Collector.
    pub collector: u32,
    /// Check.
    pub check: u32,
    /// True if it only says that the resource is in the population.
    pub population: bool,
}

/// A registered (control, scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowName {
    /// Control.
    pub control: u32,
    /// Scope as found.
    pub scope: u32,
    /// Scope as shown: itself, or the id of `__other__`.
    pub shown: u32,
}

/// A live resource with its packed observations (see `evaluate::book` for the layout of an entry; the ledger
/// documents it in its schema).
#[derive(Clone, Copy, Debug)]
pub struct ResourceRow<'a> {
    /// Ledger id: rises, never reused.
    pub id: u32,
    /// Normalised id.
    pub name: &'a str,
    /// Type, or empty.
    pub kind: &'a str,
    /// Scope id.
    pub scope: u32,
    /// When it was first seen.
    pub first_seen: Moment,
    /// Packed observations, sorted.
    pub entries: &'a [u64],
}

/// A violation episode that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Control.
    pub control: u32,
    /// Resource.
    pub resource: u32,
    /// Detection: the first failing evidence was ingested.
    pub opened: Moment,
    /// The deadline, if the control has one.
    pub deadline: Option<Moment>,
    /// Whether the deadline was already counted as missed.
    pub counted: bool,
    /// Severity at opening.
    pub severity: Severity,
    /// When it was closed, if it may still be reopened within the flap window.
    pub closed: Option<Moment>,
}

/// The counters of one row as of the record's instant. A checkpoint: recomputable from transitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterRow {
    /// Control.
    pub control: u32,
    /// Scope as shown.
    pub scope: u32,
    /// Resources by state.
    pub counts: [u64; 4],
    /// Resource-milliseconds by state.
    pub resource_ms: [u64; 4],
    /// Fresh and stale control-milliseconds.
    pub evidence_ms: [u64; 2],
    /// Newest evidence and the instant it runs out.
    pub newest_evidence: Option<Moment>,
    /// See `newest_evidence`.
    pub fresh_until: Option<Moment>,
    /// opened, fixed, met, missed by severity, where any is not zero: JSON-friendly flat list of 4 × 5.
    pub violations: Option<[u64; 20]>,
    /// Transitions by direction and cause: (`drift|remediation|other`, cause word, number).
    pub transitions: Vec<(&'static str, Cause, u64)>,
}

/// A (control, shown scope) at an instant from which on it goes differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryRow {
    /// From this instant on (inclusive).
    pub at: Moment,
    /// Control.
    pub control: u32,
    /// Scope as shown.
    pub scope: u32,
    /// Resources by state, from then on.
    pub counts: [u64; 4],
    /// Resource-milliseconds by state until then.
    pub resource_ms: [u64; 4],
    /// Whether its newest evidence is fresh, from then on.
    pub fresh: bool,
    /// Fresh and stale control-milliseconds until then.
    pub evidence_ms: [u64; 2],
    /// Remediation deadlines met and missed so far.
    pub deadlines: [u64; 2],
}

/// Anything else the pipeline keeps, by name: JSON text, at most a few kilobytes each (collector health,
/// histograms, pending confirmations).
pub type Notes = Vec<(String, String)>;

/// One transaction.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// New names.
    pub names: NewNames,
    /// Resources that are new or whose observations changed.
    pub resources: Vec<ResourceRow<'a>>,
    /// Resources that are gone.
    pub gone: Vec<u32>,
    /// Weights other than one: (resource, binding, weight); weight 0 removes.
    pub weights: Vec<(u32, u32, u32)>,
    /// What changed state.
    pub transitions: Vec<Transition>,
    /// Episodes that are open or may be reopened and that changed since the last commit.
    pub episodes: Vec<Episode>,
    /// Episodes to forget: (control, resource).
    pub episodes_gone: Vec<(u32, u32)>,
    /// All counters, as of the record's instant.
    pub counters: Vec<CounterRow>,
    /// What goes differently from some instant on since the last commit, sorted by instant.
    pub history: Vec<HistoryRow>,
    /// Notes that changed.
    pub notes: Notes,
    /// The definitions documents (name, text) when `definitions_digest` is new to the ledger.
    pub definitions: Vec<(String, String)>,
    /// Versions of controls in force, with `definitions`: (control id, set, version).
    pub control_versions: Vec<(String, String, String)>,
}

/// What a start finds. Called in this order; ids are those of the earlier commits.
pub trait Restore {
    /// Names, bindings, rows.
    fn names(&mut self, names: NewNames);
    /// One live resource.
    fn resource(&mut self, row: ResourceRow<'_>);
    /// A weight.
    fn weight(&mut self, resource: u32, binding: u32, weight: u32);
    /// An episode.
    fn episode(&mut self, episode: Episode);
    /// A row's counters.
    fn counters(&mut self, row: CounterRow);
    /// A note.
    fn note(&mut self, name: &str, text: &str);
}

/// The chain's head after a commit, or at a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of records.
    pub sequence: u64,
    /// Hash of the newest one, hex SHA-256; 64 zeros for an empty ledger.
    pub hash: String,
    /// Its instant, if there is one.
    pub at: Option<Moment>,
    /// The largest resource id ever given.
    pub last_resource: u32,
}
