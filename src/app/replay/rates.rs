//! `rate()` as Prometheus computes it, over the samples that scrapes at whole steps would have brought.
//!
//! Only needed where an exact integral and Prometheus' arithmetic may differ (see `alerts.rs`).

use crate::domain::{Moment, Severity, Span, State};
use crate::slo::composite::MemberNow;
use crate::slo::{Amounts, CompositeMode, Policy, Sli, Slo, Timeline, Weights};
use crate::snapshot::{ChangeKind, ControlView, SloView, Snapshot};
use std::collections::BTreeMap;

/// The counters of every (control, scope), as series.
#[derive(Debug, Default)]
pub(super) struct Rows {
    start: Moment,
    every: Span,
    rows: BTreeMap<(String, String), Log>,
}

/// One row's counters since it appeared.
#[derive(Debug)]
struct Log {
    /// When it appeared; `None`: before the replay began.
    born: Option<Moment>,
    states: Timeline,
    evidence: Timeline,
}

/// The states in the order of their words, which is that of their series.
const BY_WORD: [State; 4] = [State::Compliant, State::NonCompliant, State::Unknown, State::Waived];

impl Rows {
    pub(super) fn new(start: Moment, every: Span) -> Rows {
        Rows { start, every, rows: BTreeMap::new() }
    }

    /// Notes what `snapshot` says of `[from, to)`.
    pub(super) fn take(&mut self, snapshot: &Snapshot, from: Moment, to: Moment) {
        for (i, row) in snapshot.rows.iter().enumerate() {
            let key = (snapshot.controls[row.control as usize].id.clone(), snapshot.scopes[row.scope as usize].name.clone());
            let now = snapshot.row_at(i, from);
            let start = self.start;
            let log = self.rows.entry(key).or_insert_with(|| {
                let (mut states, mut evidence) = (Timeline::new(), Timeline::new());
                let old = now.resource_ms.total() > 0;
                states.change(from, [0; 4], now.resource_ms.0);
                evidence.change(from, [0; 4], [now.evidence_ms[0], now.evidence_ms[1], 0, 0]);
                Log { born: (!old || from > start).then_some(from), states, evidence }
            });
            let change = |rate: [u64; 4], to: [u64; 4]| std::array::from_fn(|i| to[i].cast_signed() - rate[i].cast_signed());
            log.states.change(from, change(log.states.rate_at(from), now.counts.0), [0; 4]);
            for c in snapshot.changes_of(i).iter().filter(|c| from < c.at && c.at < to) {
                if let ChangeKind::Move { from, to, weight } = c.what {
                    let mut change = [0i64; 4];
                    if let Some(s) = from {
                        change[s as usize] -= i64::from(weight);
                    }
                    if let Some(s) = to {
                        change[s as usize] += i64::from(weight);
                    }
                    log.states.change(c.at, change, [0; 4]);
                }
            }
            let fresh = |fresh: bool| [u64::from(fresh), u64::from(!fresh), 0, 0];
            log.evidence.change(from, change(log.evidence.rate_at(from), fresh(now.fresh)), [0; 4]);
            if let Some(end) = row.fresh_until.filter(|u| from < *u && *u < to) {
                log.evidence.change(end, change(log.evidence.rate_at(end), fresh(false)), [0; 4]);
            }
        }
    }

    /// Forgets what no window reaches any more.
    pub(super) fn forget(&mut self, before: Moment) {
        for log in self.rows.values_mut() {
            log.states.forget_before(before);
            log.evidence.forget_before(before);
        }
    }

    /// The logs of what `view` covers with their controls, in the order of their labels.
    fn covered<'s>(&'s self, view: &'s SloView, snapshot: &'s Snapshot) -> impl Iterator<Item = (&'s ControlView, &'s Log)> + 's {
        let states = !matches!(view.slo.sli, Sli::EvidenceFreshness);
        self.rows.iter().filter_map(move |((control, scope), log)| {
            let i = snapshot.controls.binary_search_by(|c| c.id.as_str().cmp(control)).ok()?;
            let covered = view.controls.binary_search(&u32::try_from(i).ok()?).is_ok() && view.slo.covers_scope(scope);
            let control = &snapshot.controls[i];
            (covered && (!states || control.has_ratio)).then_some((control, log))
        })
    }

    /// When the newest of the series began that began between two steps: `rate()` over windows that reach back further
    /// extrapolates.
    pub(super) fn blurred_until(&self, view: &SloView, snapshot: &Snapshot) -> Option<Moment> {
        let own = |view: &SloView| {
            self.covered(view, snapshot).filter_map(|(_, log)| log.born.filter(|b| *b != super::aligned(*b, self.every))).max()
        };
        members(view, snapshot).filter_map(|(_, member)| own(member?)).chain(own(view)).max()
    }

    /// The error ratio over `[from, at]` with the steps of Prometheus' arithmetic, as the generated rules have it. The outer
    /// `None`: it cannot be laid out (events, or samples from before the replay began).
    pub(super) fn ratio(&self, view: &SloView, snapshot: &Snapshot, from: Moment, at: Moment) -> Option<Option<f64>> {
        let slo = &view.slo;
        let Some(composite) = &slo.composite else {
            if slo.weights == Weights::Controls {
                return self.mean(view, snapshot, from, at);
            }
            return Some(quotient(self.sums(view, snapshot, from, at)?));
        };
        match composite.mode {
            CompositeMode::Joint | CompositeMode::AnySlice => None,
            CompositeMode::Pooled => {
                let mut sums = (None, None);
                for (_, member) in members(view, snapshot) {
                    let (bad, total) = self.sums(member?, snapshot, from, at)?;
                    bad.into_iter().for_each(|x| add(&mut sums.0, x));
                    total.into_iter().for_each(|x| add(&mut sums.1, x));
                }
                Some(quotient(sums))
            }
            _ => {
                let mut now = Vec::new();
                for (weight, member) in members(view, snapshot) {
                    // Composites have no composites below them.
                    let error = match member {
                        Some(m) if m.slo.composite.is_none() => self.ratio(m, snapshot, from, at)?,
                        Some(_) => return None,
                        None => None,
                    };
                    let budget = member.map_or(1.0, |m| m.slo.budget());
                    now.push(MemberNow { weight, budget, error, amounts: Amounts::default() });
                }
                Some(composite.error_ratio(slo.budget(), &now))
            }
        }
    }

    /// The mean over controls of bad/total, as `avg` takes it.
    fn mean(&self, view: &SloView, snapshot: &Snapshot, from: Moment, at: Moment) -> Option<Option<f64>> {
        let (mut mean, mut n) = (0.0, 0.0);
        for i in &view.controls {
            let control = &snapshot.controls[*i as usize].id;
            if let Some(e) = quotient(self.term(view, snapshot, from, at, &|c| c.id == *control)?) {
                n += 1.0;
                mean += e / n - mean / n;
            }
        }
        Some((n > 0.0).then_some(mean))
    }

    /// Σ weight·sum(rate(bad)) and Σ weight·sum(rate(total)).
    fn sums(&self, view: &SloView, snapshot: &Snapshot, from: Moment, at: Moment) -> Option<Sums> {
        let weights = match &view.slo.weights {
            Weights::Severity(weights) if view.slo.sli != Sli::EvidenceFreshness => weights,
            Weights::Controls => return None,
            Weights::Severity(_) | Weights::Equal => return self.term(view, snapshot, from, at, &|_| true),
        };
        let mut sums = (None, None);
        for (severity, weight) in Severity::ALL.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            let (bad, total) = self.term(view, snapshot, from, at, &|c| c.severity == *severity)?;
            bad.into_iter().for_each(|x| add(&mut sums.0, f64::from(*weight) * x));
            total.into_iter().for_each(|x| add(&mut sums.1, f64::from(*weight) * x));
        }
        Some(sums)
    }

    /// `sum(rate(bad))` and `sum(rate(total))` of some controls.
    fn term(&self, view: &SloView, snapshot: &Snapshot, from: Moment, at: Moment, of: &dyn Fn(&ControlView) -> bool) -> Option<Sums> {
        let slo = &view.slo;
        let (bad, total) = lanes(slo)?;
        let (mut bad_sum, mut total_sum) = (None, None);
        for (_, log) in self.covered(view, snapshot).filter(|(control, _)| of(control)) {
            let timeline = if slo.sli == Sli::EvidenceFreshness { &log.evidence } else { &log.states };
            let first = match log.born {
                None if from < self.start => return None,
                None => from,
                Some(born) => born.max(from),
            };
            let first = super::aligned(first, self.every);
            if first >= at {
                continue;
            }
            let (a, b) = (timeline.at(first), timeline.at(at));
            for lane in 0..4 {
                if total[lane] {
                    let rate = rate(a[lane], b[lane], from, first, at, self.every);
                    add(&mut total_sum, rate);
                    if bad[lane] {
                        add(&mut bad_sum, rate);
                    }
                }
            }
        }
        Some((bad_sum, total_sum))
    }
}

/// Bad and total; `None`: no series had two samples.
type Sums = (Option<f64>, Option<f64>);

fn quotient(sums: Sums) -> Option<f64> {
    match sums {
        (Some(bad), Some(total)) if total > 0.0 => Some(bad / total),
        _ => None,
    }
}

/// The members of a composite with their weights, as far as they are there.
fn members<'s>(view: &'s SloView, snapshot: &'s Snapshot) -> impl Iterator<Item = (f64, Option<&'s SloView>)> + 's {
    let members = view.slo.composite.iter().flat_map(|c| &c.members);
    members.map(|m| (m.weight, snapshot.slos.iter().find(|v| v.slo.id() == m.slo)))
}

fn add(sum: &mut Option<f64>, x: f64) {
    *sum = Some(sum.map_or(x, |s| s + x));
}

/// Which lanes are bad and which count at all; `None` for events.
fn lanes(slo: &Slo) -> Option<([bool; 4], [bool; 4])> {
    let (mut bad, mut total) = ([false; 4], [false; 4]);
    match slo.sli {
        Sli::Coverage => {
            bad[State::Unknown as usize] = true;
            total = [true; 4];
        }
        Sli::EvidenceFreshness => {
            bad[1] = true;
            (total[0], total[1]) = (true, true);
        }
        Sli::ResourceTime => {
            for state in BY_WORD {
                let (b, t) = match state {
                    State::Compliant => (false, true),
                    State::NonCompliant => (true, true),
                    State::Unknown => (slo.unknown == Policy::Bad, slo.unknown != Policy::Exclude),
                    State::Waived => (slo.waived == Policy::Bad, slo.waived != Policy::Exclude),
                };
                (bad[state as usize], total[state as usize]) = (b, t);
            }
        }
        Sli::TimeSlice { .. } | Sli::RemediationLatency | Sli::Gate { .. } => return None,
    }
    Some((bad, total))
}

/// `extrapolatedRate` of Prometheus 2 for a counter that was `a` milliseconds at the sample `first` and `b` at the sample
/// `at`, over the range `[from, at]`.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has floats here, and the same ones")]
fn rate(a: u128, b: u128, from: Moment, first: Moment, at: Moment, every: Span) -> f64 {
    let value = |ms: u128| ms as f64 / 1000.0;
    let result = value(b) - value(a);
    let sampled = at.since(first).seconds();
    let average = sampled / (at.since(first).0 / every.0) as f64;
    let mut to_start = first.since(from).seconds();
    if result > 0.0 {
        let to_zero = sampled * (value(a) / result);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    // The range ends with a sample.
    let extrapolated = sampled + if to_start < average * 1.1 { to_start } else { average / 2.0 };
    let factor = extrapolated / sampled / at.since(from).seconds();
    result * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked cases: a whole window is exact; one that begins later is carried back to where its line meets zero, or
    /// half a step.
    #[test]
    fn rates_are_extrapolated_as_prometheus_does() {
        let rate = |a, b, first| rate(a, b, Moment(0), Moment(first), Moment(300_000), Span::MINUTE);
        assert_eq!(rate(0, 300_000, 0), 1.0);
        assert_eq!(rate(1_000_000, 1_150_000, 0), 0.5);
        // From 120 s on, 10 s old: 190 s of growth in 180 s of samples plus the 10 s before.
        assert!((rate(10_000, 190_000, 120_000) - 190.0 / 300.0).abs() < 1e-12);
        // 50 s old, less than 1.1 steps: carried back to zero. 90 s old, more than that: half a step is added.
        assert!((rate(50_000, 230_000, 120_000) - 230.0 / 300.0).abs() < 1e-12);
        assert!((rate(90_000, 270_000, 120_000) - 210.0 / 300.0).abs() < 1e-12);
        // Just born: it began at zero, nothing is added.
        assert!((rate(0, 180_000, 120_000) - 180.0 / 300.0).abs() < 1e-12);
    }
}
