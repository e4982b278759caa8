//! The door between the writing half and the reading half: one immutable value (law 11).
//!
//! It carries each integral up to its own instant and the counts that hold since, including the instants at which
//! evidence, waivers and deadlines run out. A reader advances every number to its own `now` with [`Snapshot::row_at`],
//! exactly, without asking the writer. It deliberately has no resource ids: those are answered from the ledger.

use crate::domain::{CheckResult, Counts, Moment, Nature, ProblemKind, Severity, Span, WaiverOrigin, WaiverState};
use crate::slo::composite::MemberNow;
use crate::slo::{Amounts, Budget, CompositeMode, Lanes, Measure, Objectives, Sli, Slo, Step, Weights, measure, window};
use std::collections::{BTreeMap, HashMap};
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
    /// For a composite of mode `joint`: the scope of each part of the measure.
    pub joint_scopes: Vec<String>,
    /// For time slices: good, bad and unknown ones closed up to the snapshot's instant.
    pub slices_total: [u64; 3],
    /// What is known to come and to count against it: waivers that end, evidence that nobody renews.
    pub steps: Vec<Step>,
    /// The scan interval T: its own, or the largest of the collectors that feed its controls.
    pub scan_interval: Span,
}

/// What an objective stands at over its windows, up to one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct SloNumbers {
    /// Error ratio over each window, shortest first; `None` without data.
    pub error: Vec<(Span, Option<f64>)>,
    /// The budget over the period.
    pub budget: Budget,
    /// Seconds until the budget is spent; infinite: never; `None` without data.
    pub exhaustion_seconds: Option<f64>,
    /// For time slices: good, bad and unknown ones so far.
    pub slices: Option<[u64; 3]>,
}

/// What an objective stands at, by the resources of one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SloNow {
    /// Resources by state, of all its controls and scopes together; those of controls without a ratio are not in it.
    pub counts: Counts,
    /// What counts against it, in the unit of its SLI: resources by their weight, or (control, scope) for evidence.
    pub bad: u128,
    /// All that counts.
    pub total: u128,
    /// The error ratio of this instant; `None` if nothing has a verdict.
    pub error: Option<f64>,
    /// False for objectives on events (deadlines, gate checks): an instant has none.
    pub judged: bool,
    /// Controls (indexes) that were left out because their sources list only violations and they have no population.
    pub without_ratio: Vec<u32>,
}

impl SloNow {
    /// 1 − error ratio; `None` if nothing has a verdict.
    pub fn ratio(&self) -> Option<f64> {
        self.error.map(|e| 1.0 - e)
    }

    /// Whether it holds. Compared with a rounding's worth of room: 99 of 100 meets 99 %.
    pub fn holds(&self, objective: f64) -> Option<bool> {
        self.ratio().map(|r| r + 1e-12 >= objective)
    }

    fn take(&mut self, member: &SloNow) {
        for (sum, n) in self.counts.0.iter_mut().zip(member.counts.0) {
            *sum += n;
        }
        self.bad += member.bad;
        self.total += member.total;
        self.judged &= member.judged;
        self.without_ratio.extend(&member.without_ratio);
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

    /// What `view` stands at `now`, by the resources of that instant.
    pub fn slo_at(&self, view: &SloView, now: Moment) -> SloNow {
        // Composites of composites; definitions that go deeper, or in a circle, are refused.
        self.slo_at_depth(view, now, 8)
    }

    fn slo_at_depth(&self, view: &SloView, now: Moment, depth: u8) -> SloNow {
        if let Some(composite) = &view.slo.composite {
            let mut out = SloNow { judged: true, ..SloNow::default() };
            let mut members = Vec::new();
            for member in &composite.members {
                let found = self.slos.iter().find(|v| v.slo.id() == member.slo).filter(|_| depth > 0);
                let at = found.map_or_else(SloNow::default, |v| self.slo_at_depth(v, now, depth - 1));
                members.push(MemberNow {
                    weight: member.weight,
                    budget: found.map_or(1.0, |v| v.slo.budget()),
                    error: at.error,
                    amounts: Amounts { bad: at.bad, total: at.total },
                });
                out.take(&at);
            }
            out.error = match composite.mode {
                // Which resources fail several controls is not known here; the members' share is the nearest.
                CompositeMode::Joint | CompositeMode::AnySlice => Amounts { bad: out.bad, total: out.total }.ratio(),
                _ => composite.error_ratio(view.slo.budget(), &members),
            };
            return out;
        }
        let mut out = SloNow { judged: view.slo.sli.held() || matches!(view.slo.sli, Sli::TimeSlice { .. }), ..SloNow::default() };
        if !out.judged {
            return out;
        }
        let evidence = view.slo.sli == Sli::EvidenceFreshness;
        let mut by_control: BTreeMap<u32, Lanes> = BTreeMap::new();
        for (i, row) in self.rows.iter().enumerate() {
            if view.controls.binary_search(&row.control).is_err() || !view.slo.covers_scope(&self.scopes[row.scope as usize].name) {
                continue;
            }
            let control = &self.controls[row.control as usize];
            let is = self.row_at(i, now);
            if !control.has_ratio && !evidence {
                if is.counts.total() > 0 && out.without_ratio.last() != Some(&row.control) {
                    out.without_ratio.push(row.control);
                }
                continue;
            }
            for (sum, n) in out.counts.0.iter_mut().zip(is.counts.0) {
                *sum += n;
            }
            let lanes = by_control.entry(row.control).or_default();
            let weight = u128::from(Measure::weight(&view.slo, control.severity));
            if evidence {
                lanes[usize::from(!is.fresh)] += 1;
            } else {
                for (lane, n) in lanes.iter_mut().zip(is.counts.0) {
                    *lane += weight * u128::from(n);
                }
            }
        }
        let lanes = by_control.values().fold([0; 4], |a: Lanes, b| std::array::from_fn(|i| a[i] + b[i]));
        let counting = if let Sli::TimeSlice { .. } = view.slo.sli { Sli::ResourceTime } else { view.slo.sli };
        let counting = Slo { sli: counting, ..view.slo.clone() };
        let amounts = counting.amounts(&lanes);
        (out.bad, out.total) = (amounts.bad, amounts.total);
        out.error = match (view.slo.sli, &view.slo.weights) {
            (Sli::TimeSlice { .. }, _) => match view.slo.slice_outcome(&lanes) {
                measure::GOOD => Some(0.0),
                measure::BAD => Some(1.0),
                _ => None,
            },
            (_, Weights::Controls) => {
                let ratios: Vec<f64> = by_control.values().filter_map(|l| counting.amounts(l).ratio()).collect();
                #[expect(clippy::cast_precision_loss, reason = "controls are far fewer than 2^53")]
                let n = ratios.len() as f64;
                (n > 0.0).then(|| ratios.iter().sum::<f64>() / n)
            }
            _ => amounts.ratio(),
        };
        out
    }

    /// The numbers of every objective over its windows at `now` (taken as `at` if it lies before it), in the order of
    /// `slos`.
    pub fn slo_numbers(&self, now: Moment) -> Vec<SloNumbers> {
        let now = now.max(self.at);
        let all = Objectives::new(self.slos.iter().map(|v| &v.measure));
        let by_id: HashMap<String, &SloView> = self.slos.iter().filter(|v| !v.steps.is_empty()).map(|v| (v.slo.id(), v)).collect();
        let steps = |id: &str| by_id.get(id).map(|v| v.steps.clone()).unwrap_or_default();
        let numbers = |view: &SloView| {
            let m = &view.measure;
            let windows = window::recorded(view.slo.period, [], false);
            let closed = m.slices.as_ref().map(|t| t.over(self.at, now));
            SloNumbers {
                error: windows.into_iter().map(|w| (w, all.error_ratio(m, now - w, now))).collect(),
                budget: all.budget(m, now),
                exhaustion_seconds: all.exhaustion_seconds(m, &steps, view.scan_interval, now),
                slices: closed.map(|c| std::array::from_fn(|i| view.slices_total[i] + u64::try_from(c[i]).unwrap_or(0))),
            }
        };
        self.slos.iter().map(numbers).collect()
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
