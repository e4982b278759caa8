//! The door between the writing half and the reading half: one immutable value (law 11).
//!
//! It carries each integral up to its own instant and the counts that hold since, including the instants at which
//! evidence, waivers and deadlines run out. A reader advances every number to its own `now` with [`Snapshot::row_at`],
//! exactly, without asking the writer. It deliberately has no resource ids: those are answered from the ledger.

use crate::domain::{CheckResult, Counts, Moment, Nature, ProblemKind, Severity, Span, WaiverOrigin, WaiverState};
use crate::slo::{Measure, Slo};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::domain::account::{Change, ChangeKind, Direction, DurationHistogram, Row, RowNow, ViolationCounts, Violations};

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
    /// The objectives in force, in the order of the definitions.
    pub slos: Arc<Vec<SloView>>,
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

/// An objective, with the controls it covers.
#[derive(Clone, Debug)]
pub struct SloView {
    /// The objective.
    pub slo: Slo,
    /// Indexes into `controls`, rising; none for a composite.
    pub controls: Vec<u32>,
    /// What it has counted, complete up to the snapshot's horizon.
    pub measure: Measure,
    /// For time slices: good, bad and unknown ones closed up to the snapshot's instant.
    pub slices_total: [u64; 3],
}

/// What an objective stands at, by the resources of one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SloNow {
    /// Resources by state, of all its controls and scopes together; those of controls without a ratio are not in it.
    pub counts: Counts,
    /// Those that the SLO's policies count against it.
    pub bad: u64,
    /// Those that they count at all.
    pub total: u64,
    /// Controls (indexes) that were left out because their sources list only violations and they have no population.
    pub without_ratio: Vec<u32>,
}

impl SloNow {
    /// 1 − bad/total; `None` if nothing has a verdict.
    #[expect(clippy::cast_precision_loss, reason = "counts of resources are far below 2^53")]
    pub fn ratio(&self) -> Option<f64> {
        (self.total > 0).then(|| 1.0 - self.bad as f64 / self.total as f64)
    }

    /// Whether it holds. Compared with a rounding's worth of room: 99 of 100 meets 99 %.
    pub fn holds(&self, objective: f64) -> Option<bool> {
        self.ratio().map(|r| r + 1e-12 >= objective)
    }
}

/// A scope.
#[derive(Clone, Debug, Default)]
pub struct ScopeView {
    /// The label.
    pub name: String,
    /// The fields it was built from.
    pub parts: Vec<(String, String)>,
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
    /// HTTP requests so far by what came of them, every word present; empty for a source that is reached without.
    pub requests: Vec<(&'static str, u64)>,
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

impl Snapshot {
    /// The changes of row `row`, by instant.
    pub fn changes_of(&self, row: usize) -> &[Change] {
        match (self.first_change.get(row), self.first_change.get(row + 1)) {
            (Some(&from), Some(&to)) => &self.changes[from as usize..to as usize],
            _ => &[],
        }
    }

    /// What `view` stands at `now`.
    pub fn slo_at(&self, view: &SloView, now: Moment) -> SloNow {
        let mut out = SloNow::default();
        for (i, row) in self.rows.iter().enumerate() {
            if view.controls.binary_search(&row.control).is_err() || !view.slo.covers_scope(&self.scopes[row.scope as usize].name) {
                continue;
            }
            let counts = self.row_at(i, now).counts;
            if self.controls[row.control as usize].has_ratio {
                for (sum, n) in out.counts.0.iter_mut().zip(counts.0) {
                    *sum += n;
                }
            } else if counts.total() > 0 && out.without_ratio.last() != Some(&row.control) {
                out.without_ratio.push(row.control);
            }
        }
        (out.bad, out.total) = view.slo.bad_and_total(&out.counts);
        out
    }

    /// Row `row` advanced to `now` (which is taken as `at` if it lies before it: a clock that goes back burns nothing).
    pub fn row_at(&self, row: usize, now: Moment) -> RowNow {
        self.rows[row].advanced(self.at, now, self.changes_of(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::State;

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
