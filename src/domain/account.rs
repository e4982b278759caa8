//! The account of one (control, scope): counts, integrals, and what time alone will change in them.
//!
//! [`Row::advanced`] is the one place where resource-seconds are integrated: the writer carries its rows with it, and
//! every reader advances its copy to its own instant, so both get the same integers.

use super::{Cause, Counts, Moment, Severity, Span, State};
use std::collections::BTreeMap;

/// One (control, scope) as of the account's instant.
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

impl Row {
    /// The row, which stands at `at`, advanced to `now` through `changes` (its own, sorted by instant). `now` is taken
    /// as `at` if it lies before it: a clock that goes back burns nothing.
    pub fn advanced(&self, at: Moment, now: Moment, changes: &[Change]) -> RowNow {
        let now = now.max(at);
        let mut out = RowNow { counts: self.counts, resource_ms: self.resource_ms, evidence_ms: self.evidence_ms, ..RowNow::default() };
        let mut reached = at;
        for change in changes {
            if change.at > now {
                break;
            }
            integrate(&mut out, change.at.since(reached));
            reached = change.at.max(reached);
            match change.what {
                ChangeKind::Move { from, to, weight } => {
                    if let Some(s) = from {
                        out.counts[s] = out.counts[s].saturating_sub(u64::from(weight));
                    }
                    if let Some(s) = to {
                        out.counts[s] += u64::from(weight);
                    }
                }
                ChangeKind::Deadline(severity) => out.missed_since[severity as usize] += 1,
            }
        }
        integrate(&mut out, now.since(reached));
        let fresh_end = self.fresh_until.map_or(at, |u| u.max(at).min(now));
        out.evidence_ms[0] += fresh_end.since(at).0;
        out.evidence_ms[1] += now.since(fresh_end).0;
        out.fresh = self.fresh_until.is_some_and(|u| now < u);
        out
    }
}

fn integrate(row: &mut RowNow, span: Span) {
    for (sum, n) in row.resource_ms.0.iter_mut().zip(row.counts.0) {
        *sum += n * span.0;
    }
}
