//! The door between the writing half and the reading half: one immutable value (law 11).
//!
//! It carries each integral up to its own instant and the counts that hold since, including the instants at which
//! evidence, waivers and deadlines run out. A reader advances every number to its own `now` with [`Snapshot::row_at`],
//! exactly, without asking the writer. It deliberately has no resource ids: those are answered from the ledger.

use crate::domain::{Cause, CheckResult, Counts, Moment, Nature, ProblemKind, Severity, Span, State, WaiverOrigin, WaiverState};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything the reading half knows.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The instant up to which the integrals are carried.
    pub at: Moment,
    /// Up to this instant `changes` is complete. The writer publishes a new snapshot well before it.
    pub horizon: Moment,
    /// Counts snapshots; a renderer may keep what it rendered for one generation.
    pub generation: u64,
    /// When the process started.
    pub started_at: Moment,
    /// True for `bornright demo`.
    pub demo: bool,
    /// True after the first collection or a restored ledger.
    pub ready: bool,
    /// The controls in force, by id.
    pub controls: Arc<Vec<ControlView>>,
    /// The scopes met, in the order met.
    pub scopes: Arc<Vec<ScopeView>>,
    /// One per (control, scope), sorted by control then scope name.
    pub rows: Vec<Row>,
    /// Known future changes with `at < change.at <= horizon`, sorted by row, then instant.
    pub changes: Vec<Change>,
    /// For each row the range of `changes` that is its own: `changes[first[row]..first[row + 1]]`.
    pub first_change: Vec<u32>,
    /// Collectors as configured.
    pub collectors: Vec<CollectorView>,
    /// Counts of waivers.
    pub waiver_counts: BTreeMap<(WaiverState, WaiverOrigin), u64>,
    /// Waivers from files.
    pub waivers: Arc<Vec<WaiverView>>,
    /// Durations of closed violation episodes, by severity (index as in [`Severity::ALL`]).
    pub remediation_durations: Vec<DurationHistogram>,
    /// (control, scope) pairs folded into `__other__`.
    pub folded: u64,
    /// When a run was last ingested.
    pub last_ingest: Option<Moment>,
    /// The smallest `every` of all collectors: how often ingestion is due.
    pub ingest_interval: Span,
    /// Whether the last reload of configuration succeeded, and when it was tried.
    pub reload: Option<(bool, Moment)>,
    /// Digest of the definitions in force (hex SHA-256).
    pub definitions_digest: String,
    /// Number of runs in the ledger and the chain's head (hex), for the page.
    pub ledger: LedgerView,
}

/// A control as people and labels see it.
#[derive(Clone, Debug)]
pub struct ControlView {
    /// As in [`crate::domain::Control`].
    pub id: String,
    /// Set name.
    pub set: String,
    /// Set version.
    pub version: String,
    /// Title.
    pub title: String,
    /// Owner.
    pub owner: String,
    /// Nature.
    pub nature: Nature,
    /// Severity.
    pub severity: Severity,
    /// (framework, requirement id).
    pub requirements: Vec<(String, String)>,
    /// Why.
    pub rationale: String,
    /// How to fix.
    pub remediation: String,
    /// Training text or link.
    pub training: String,
    /// Deadline of a fix.
    pub fix_within: Option<Span>,
    /// Evidence older than this is unknown (the largest over its sources).
    pub max_age: Span,
    /// The checks, as `format:id` or `collector:id`.
    pub checks: Vec<String>,
    /// False for controls whose sources list only violations and that have no population: counts, but no ratio.
    pub has_ratio: bool,
    /// Pairs now on which two scanners disagree.
    pub disagreements: u64,
}

/// A scope.
#[derive(Clone, Debug, Default)]
pub struct ScopeView {
    /// The label.
    pub name: String,
    /// The fields it was built from.
    pub parts: Vec<(String, String)>,
}

/// One (control, scope) as of [`Snapshot::at`].
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Index into `controls`.
    pub control: u32,
    /// Index into `scopes`.
    pub scope: u32,
    /// n_s: resources in each state.
    pub counts: Counts,
    /// C_s: resource-milliseconds in each state.
    pub resource_ms: Counts,
    /// Control-milliseconds with fresh and with stale evidence.
    pub evidence_ms: [u64; 2],
    /// Evidence time of the newest observation.
    pub newest_evidence: Option<Moment>,
    /// Evidence is fresh before this instant (newest evidence + max_age); `None`: never evaluated, so stale.
    pub fresh_until: Option<Moment>,
    /// Violation families, only where a violation ever occurred.
    pub violations: Option<Box<Violations>>,
    /// Transitions so far.
    pub transitions: BTreeMap<(Direction, Cause), u64>,
}

/// Violation families of one row, by severity (index as in [`Severity::ALL`]).
#[derive(Clone, Debug, Default)]
pub struct Violations {
    /// Per severity.
    pub by_severity: [ViolationCounts; 5],
    /// Detection of the oldest open episode.
    pub oldest_open: Option<Moment>,
}

/// Numbers of violation episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViolationCounts {
    /// Episodes opened so far.
    pub opened: u64,
    /// Episodes closed by a fix so far.
    pub fixed: u64,
    /// Open now and past the deadline.
    pub overdue: u64,
    /// Deadlines met so far.
    pub met: u64,
    /// Deadlines missed so far, counted at the deadline's instant.
    pub missed: u64,
}

/// The direction of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Complied, does not.
    Drift,
    /// Did not, complies.
    Remediation,
    /// Anything else: appeared, disappeared, became unknown or known, waived.
    Other,
}

impl Direction {
    /// The label value.
    pub const fn word(self) -> &'static str {
        match self {
            Direction::Drift => "drift",
            Direction::Remediation => "remediation",
            Direction::Other => "other",
        }
    }

    /// The direction of a change of state.
    pub const fn of(from: Option<State>, to: Option<State>) -> Direction {
        match (from, to) {
            (Some(State::Compliant), Some(State::NonCompliant)) => Direction::Drift,
            (Some(State::NonCompliant), Some(State::Compliant)) => Direction::Remediation,
            _ => Direction::Other,
        }
    }
}

/// A change that time alone brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index into `rows`.
    pub row: u32,
    /// When.
    pub at: Moment,
    /// What.
    pub what: ChangeKind,
}

/// What time brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// `weight` resources go from one state to another (`None`: outside the population).
    Move {
        /// Before.
        from: Option<State>,
        /// From this instant on.
        to: Option<State>,
        /// How many.
        weight: u32,
    },
    /// The deadline of one open violation passes.
    Deadline(Severity),
}

/// A row at a reader's own instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowNow {
    /// Resources in each state.
    pub counts: Counts,
    /// Resource-milliseconds in each state.
    pub resource_ms: Counts,
    /// Fresh and stale control-milliseconds.
    pub evidence_ms: [u64; 2],
    /// Whether the newest evidence is fresh.
    pub fresh: bool,
    /// Deadlines that passed since the snapshot, by severity.
    pub missed_since: [u64; 5],
}

/// A collector's health.
#[derive(Clone, Debug, Default)]
pub struct CollectorView {
    /// Name.
    pub name: String,
    /// `file`, `http`, …
    pub reach: &'static str,
    /// The format's name.
    pub format: String,
    /// Declared interval.
    pub every: Span,
    /// Evidence older than this is unknown.
    pub max_age: Span,
    /// Whether the last run brought something usable; `None` before the first run.
    pub up: Option<bool>,
    /// Whether the last run was complete.
    pub complete: bool,
    /// End of the last run that was complete.
    pub last_success: Option<Moment>,
    /// End of the last run.
    pub last_run: Option<Moment>,
    /// How long the last run took.
    pub last_duration: Span,
    /// Findings of the last run, by result (index as in [`CheckResult::ALL`]).
    pub findings: [u64; CheckResult::ALL.len()],
    /// Findings of the last run that no control asks for.
    pub unmapped: u64,
    /// Runs so far by outcome: complete, partial, failed.
    pub runs: [u64; 3],
    /// Problems so far.
    pub problems: BTreeMap<ProblemKind, u64>,
    /// Durations of runs.
    pub durations: DurationHistogram,
    /// The newest problems, for people.
    pub recent_problems: Vec<String>,
    /// The scanner, as it names itself: `Prowler 5.46.0`.
    pub scanner: String,
}

/// A waiver from a file, with its state at the snapshot's instant.
#[derive(Clone, Debug)]
pub struct WaiverView {
    /// Id.
    pub id: String,
    /// Control pattern.
    pub control: String,
    /// Resource pattern.
    pub resource: String,
    /// Owner.
    pub owner: String,
    /// Reason.
    pub reason: String,
    /// Ticket.
    pub ticket: String,
    /// From.
    pub from: Moment,
    /// Until.
    pub until: Moment,
    /// Failing pairs that it covers now.
    pub covers: u64,
    /// State.
    pub state: WaiverState,
}

/// The ledger in two figures.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// Records in the chain.
    pub records: u64,
    /// Hash of the newest one, hex.
    pub head: String,
}

/// A histogram with fixed upper bounds, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurationHistogram {
    /// Upper bounds, rising; +Inf is implied.
    pub bounds: Vec<f64>,
    /// Not cumulated; one more than `bounds`.
    pub counts: Vec<u64>,
    /// Sum of all observations in milliseconds.
    pub sum_ms: u64,
}

impl DurationHistogram {
    /// An empty one.
    pub fn new(bounds: &[f64]) -> DurationHistogram {
        DurationHistogram { bounds: bounds.to_vec(), counts: vec![0; bounds.len() + 1], sum_ms: 0 }
    }

    /// Adds one observation.
    pub fn observe(&mut self, span: Span) {
        let seconds = span.seconds();
        let bucket = self.bounds.partition_point(|b| *b < seconds);
        self.counts[bucket] += 1;
        self.sum_ms += span.0;
    }
}

impl Snapshot {
    /// The changes of row `row`, by instant.
    pub fn changes_of(&self, row: usize) -> &[Change] {
        match (self.first_change.get(row), self.first_change.get(row + 1)) {
            (Some(&from), Some(&to)) => &self.changes[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Row `row` advanced to `now` (which is taken as `at` if it lies before it: a clock that goes back burns nothing).
    pub fn row_at(&self, row: usize, now: Moment) -> RowNow {
        let r = &self.rows[row];
        let mut out = RowNow { counts: r.counts, resource_ms: r.resource_ms, evidence_ms: r.evidence_ms, ..RowNow::default() };
        let mut at = self.at;
        for change in self.changes_of(row) {
            if change.at > now {
                break;
            }
            integrate(&mut out, change.at.since(at));
            at = change.at;
            match change.what {
                ChangeKind::Move { from, to, weight } => {
                    if let Some(s) = from {
                        out.counts[s] -= u64::from(weight);
                    }
                    if let Some(s) = to {
                        out.counts[s] += u64::from(weight);
                    }
                }
                ChangeKind::Deadline(severity) => out.missed_since[severity as usize] += 1,
            }
        }
        integrate(&mut out, now.since(at));
        let now = now.max(self.at);
        let fresh_end = r.fresh_until.map_or(self.at, |u| u.max(self.at).min(now));
        out.evidence_ms[0] += fresh_end.since(self.at).0;
        out.evidence_ms[1] += now.since(fresh_end).0;
        out.fresh = r.fresh_until.is_some_and(|u| now < u);
        out
    }
}

fn integrate(row: &mut RowNow, span: Span) {
    for (sum, n) in row.resource_ms.0.iter_mut().zip(row.counts.0) {
        *sum += n * span.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 compliant, 1 failing at t=0; one pass runs out at 10 s; read at 30 s.
    #[test]
    fn a_reader_advances_exactly_through_known_changes() {
        let snap = Snapshot {
            rows: vec![Row { counts: Counts([3, 1, 0, 0]), fresh_until: Some(Moment(20_000)), ..Row::default() }],
            changes: vec![Change {
                row: 0,
                at: Moment(10_000),
                what: ChangeKind::Move { from: Some(State::Compliant), to: Some(State::Unknown), weight: 1 },
            }],
            first_change: vec![0, 1],
            ..Snapshot::default()
        };
        let now = snap.row_at(0, Moment(30_000));
        assert_eq!(now.counts, Counts([2, 1, 1, 0]));
        // compliant 3 × 10 s + 2 × 20 s, failing 1 × 30 s, unknown 1 × 20 s
        assert_eq!(now.resource_ms, Counts([70_000, 30_000, 20_000, 0]));
        assert_eq!(now.evidence_ms, [20_000, 10_000]);
        // In two steps it is the same: nothing depends on when somebody looked.
        assert_eq!(snap.row_at(0, Moment(-5)).resource_ms, Counts([0; 4]));
    }
}
