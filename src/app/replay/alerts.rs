//! `--output alerts`: which burn alerts would have fired, minute by minute as Prometheus evaluates the generated rules.
//!
//! At every step a scrape is taken and then the rules are evaluated, both at the same instant. Windows are exact integrals
//! of the objective's timelines, which is what `rate()` over samples at whole steps comes to, with two exceptions: a series
//! that began between two steps (`rate()` then extrapolates), and a ratio so close to its threshold that the last bit of
//! a float decides. There the samples are laid out and Prometheus' own arithmetic is done on them.
//! Instants at which nothing can change are leapt over: a ratio moves only so fast.

use super::Watcher;
use super::rates::Rows;
use crate::domain::{Moment, Span};
use crate::slo::{CompositeMode, Measure, Objectives, Sli, Slo, Tier, Timeline, Urgency, Weights, tier};
use crate::snapshot::{SloView, Snapshot};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// Ratios of longer windows are recorded at every fourth minute.
const LONG: Span = Span(14 * Span::DAY.0);
/// See [`LONG`].
const LONG_EVERY: Span = Span(4 * Span::MINUTE.0);
/// Where a ratio lies this close to its threshold, rounding decides.
const CLOSE: f64 = 1e-9;

/// Follows the alerts of every objective.
#[derive(Debug)]
pub(crate) struct Backtest {
    every: Span,
    next: Moment,
    rows: Rows,
    tiers: BTreeMap<String, Vec<Tier>>,
    open: BTreeMap<(String, Urgency), Moment>,
    closed: Vec<Firing>,
}

/// One alert from its first to after its last evaluation that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Firing {
    from: Moment,
    slo: String,
    severity: Urgency,
    until: Option<Moment>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    slo: &'a str,
    severity: &'static str,
    from: String,
    until: Option<String>,
}

/// What one look at an objective's alerts of one severity says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    fires: bool,
    /// Until then it cannot say otherwise, if nothing new comes in.
    holds_for: Span,
}

impl Backtest {
    /// Scrapes and evaluates at every multiple of `every`.
    pub(crate) fn new(every: Span) -> Backtest {
        Backtest { every, next: Moment(i64::MIN), rows: Rows::default(), tiers: BTreeMap::new(), open: BTreeMap::new(), closed: Vec::new() }
    }

    /// Writes what fired, by time.
    pub(crate) fn write(mut self, out: &mut dyn Write) -> io::Result<()> {
        let open = self.open.into_iter().map(|((slo, severity), from)| Firing { from, slo, severity, until: None });
        self.closed.extend(open);
        self.closed.sort_by(|a, b| (a.from, &a.slo, a.severity).cmp(&(b.from, &b.slo, b.severity)));
        let mut before = "[";
        for f in &self.closed {
            out.write_all(before.as_bytes())?;
            out.write_all(b"\n  ")?;
            let line = Line { slo: &f.slo, severity: f.severity.word(), from: f.from.to_string(), until: f.until.map(|u| u.to_string()) };
            serde_json::to_writer(&mut *out, &line)?;
            before = ",";
        }
        out.write_all(if self.closed.is_empty() { b"[]\n" } else { b"\n]\n" })
    }
}

impl Watcher for Backtest {
    fn begin(&mut self, start: Moment) -> anyhow::Result<()> {
        self.next = super::aligned(start, self.every);
        self.rows = Rows::new(start, self.every);
        Ok(())
    }

    fn stretch(&mut self, snapshot: &Arc<Snapshot>, from: Moment, to: Moment, last: bool) -> anyhow::Result<()> {
        self.rows.take(snapshot, from, to);
        let first = self.next;
        while self.next < to || last && self.next == to {
            self.next = self.next + self.every;
        }
        if first == self.next {
            return Ok(());
        }
        let objectives = Objectives::new(snapshot.slos.iter().map(|view| &view.measure));
        for view in snapshot.slos.iter() {
            let id = view.slo.id();
            if !self.tiers.contains_key(&id) {
                let interval = scan_interval(view, &snapshot.slos, 8);
                self.tiers.insert(id.clone(), tiers(&view.slo, &objectives, interval, self.every));
            }
            let widest = self.tiers[&id].iter().map(|t| t.long).max().unwrap_or_default();
            let fastest = fastest(&view.measure, first - widest - LONG_EVERY, self.next);
            let blurred_until = self.rows.blurred_until(view, snapshot);
            let judge = Judge { snapshot, view, objectives: &objectives, rows: &self.rows, every: self.every, fastest, blurred_until };
            for severity in [Urgency::Page, Urgency::Ticket] {
                let tiers: Vec<Tier> = self.tiers[&id].iter().filter(|t| t.severity == severity).copied().collect();
                if tiers.is_empty() {
                    continue;
                }
                let key = (id.clone(), severity);
                let mut at = first;
                while at < self.next {
                    let look = judge.look(&tiers, severity, at, self.next);
                    match (self.open.get(&key).copied(), look.fires) {
                        (None, true) => _ = self.open.insert(key.clone(), at),
                        (Some(from), false) => {
                            self.open.remove(&key);
                            self.closed.push(Firing { from, slo: id.clone(), severity, until: Some(at) });
                        }
                        (None, false) | (Some(_), true) => {}
                    }
                    // At least one step; the last step before anything can be otherwise is looked at again.
                    at = at + self.every.times((look.holds_for.0 / self.every.0).max(1));
                }
            }
        }
        self.rows.forget(self.next - self.tiers.values().flatten().map(|t| t.long).max().unwrap_or(Span::DAY) - Span::DAY);
        Ok(())
    }
}

/// How often the scans behind an objective come; behind a composite, those of its slowest member.
fn scan_interval(view: &SloView, all: &[SloView], depth: u8) -> Span {
    let (Some(composite), None, Some(depth)) = (&view.slo.composite, view.slo.scan_interval, depth.checked_sub(1)) else {
        return view.scan_interval;
    };
    let members = composite.members.iter().filter_map(|m| all.iter().find(|v| v.slo.id() == m.slo));
    members.map(|v| scan_interval(v, all, depth)).max().unwrap_or(view.scan_interval)
}

/// The tiers, as the generator has them.
fn tiers(slo: &Slo, objectives: &Objectives<'_>, interval: Span, scrape: Span) -> Vec<Tier> {
    // A slice counts when it closes: for its windows a slice is what a scan is for others.
    let interval = match slo.sli {
        Sli::TimeSlice { slice, .. } => interval.max(slice),
        _ => interval,
    };
    tier::tiers(slo.objective, slo.period, held(slo, objectives, 8), interval, scrape, slo.rescan_on_demand).tiers
}

/// Integrals have data in every window; a composite has if all its members have.
fn held(slo: &Slo, objectives: &Objectives<'_>, depth: u8) -> bool {
    match (&slo.composite, depth.checked_sub(1)) {
        (None, _) => slo.sli.held(),
        (Some(c), _) if c.mode == CompositeMode::Joint => true,
        (Some(c), _) if c.mode == CompositeMode::AnySlice => false,
        (Some(_), None) => false,
        (Some(c), Some(depth)) => c.members.iter().all(|m| objectives.get(&m.slo).is_some_and(|m| held(&m.slo, objectives, depth))),
    }
}

/// One objective under one snapshot.
struct Judge<'a> {
    snapshot: &'a Snapshot,
    view: &'a SloView,
    objectives: &'a Objectives<'a>,
    rows: &'a Rows,
    every: Span,
    /// The fastest that its amounts grow anywhere in the windows, a millisecond.
    fastest: f64,
    /// Windows that reach back further have a series in them that began between two steps.
    blurred_until: Option<Moment>,
}

/// Whether a ratio exceeds its threshold, and for how long that holds at least.
#[derive(Clone, Copy, Debug)]
struct Side {
    above: bool,
    holds_for: Span,
}

impl Judge<'_> {
    /// What the alerts of one severity say at `at`; nothing new comes in before `end`.
    fn look(&self, tiers: &[Tier], severity: Urgency, at: Moment, end: Moment) -> Look {
        let budget = self.view.slo.budget();
        let (mut fires, mut fires_for, mut quiet_for) = (false, Span(0), end.since(at));
        for t in tiers {
            let (short, long) = (self.side(t.short, t.threshold(budget), at, end), self.side(t.long, t.threshold(budget), at, end));
            if short.above && long.above {
                fires = true;
                fires_for = fires_for.max(short.holds_for.min(long.holds_for));
            } else {
                // It cannot begin before every window that is below may be above.
                let below = [short, long].into_iter().filter(|s| !s.above).map(|s| s.holds_for).max();
                quiet_for = quiet_for.min(below.unwrap_or(Span(0)));
            }
        }
        let mut look = Look { fires, holds_for: if fires { fires_for } else { quiet_for } };
        if let (true, Urgency::Page, Some(least)) = (look.fires, severity, self.view.slo.min_bad_resources) {
            // Counts move at known instants only, but these are few, and pages fewer.
            look = Look { fires: self.failing(at) >= least, holds_for: Span(0) };
        }
        look
    }

    /// The recorded error ratio over `window` against `threshold`.
    fn side(&self, window: Span, threshold: f64, at: Moment, end: Moment) -> Side {
        if window <= LONG && window != self.view.slo.period {
            return self.exact_side(window, threshold, at, end);
        }
        // What an alert reads of a long window was recorded up to three minutes ago.
        let recorded = Moment(at.0 - at.0.rem_euclid(LONG_EVERY.0.cast_signed()));
        let side = self.exact_side(window, threshold, recorded, end);
        Side { holds_for: Span(side.holds_for.0.saturating_sub(at.since(recorded).0)), ..side }
    }

    fn exact_side(&self, window: Span, threshold: f64, at: Moment, end: Moment) -> Side {
        let from = at - window;
        let measure = &self.view.measure;
        let slo = &self.view.slo;
        if slo.composite.as_ref().is_some_and(|c| !matches!(c.mode, CompositeMode::Joint | CompositeMode::AnySlice))
            || slo.weights == Weights::Controls
        {
            let mut error = self.objectives.error_ratio(measure, from, at);
            let close = error.is_some_and(|e| (e - threshold).abs() <= CLOSE) || self.blurred_until.is_some_and(|b| b > from);
            if let Some(exact) = close.then(|| self.rows.ratio(self.view, self.snapshot, from, at)).flatten() {
                error = exact;
            }
            return Side { above: error.is_some_and(|e| e > threshold), holds_for: Span(0) };
        }
        let amounts = measure.amounts(from, at);
        let ratio = amounts.ratio();
        let above = ratio.is_some_and(|e| e > threshold);
        if measure.slices.is_some() || !slo.sli.held() {
            return Side { above, holds_for: still(measure, from, at, end) };
        }
        let Some(ratio) = ratio else {
            let begins = measure.rates(at).total > 0;
            return Side { above: false, holds_for: if begins { Span(0) } else { still(measure, from, at, end) } };
        };
        let fastest = self.fastest;
        #[expect(clippy::cast_precision_loss, reason = "bounds need no last digit")]
        let total = amounts.total as f64;
        // A series that began between two steps is extrapolated by less than a step at its beginning.
        #[expect(clippy::cast_precision_loss, reason = "a step is a few milliseconds")]
        let blur = if self.blurred_until.is_some_and(|b| b > from) { 2.0 * self.every.0 as f64 * fastest / total } else { 0.0 };
        let away = (ratio - threshold).abs();
        if away <= blur + CLOSE {
            let above = match self.rows.ratio(self.view, self.snapshot, from, at) {
                Some(exact) => exact.is_some_and(|e| e > threshold),
                None => above,
            };
            return Side { above, holds_for: Span(0) };
        }
        // bad − threshold·total changes by no more than (1 + threshold)·fastest a millisecond.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
        let holds_for = Span(((away - blur - CLOSE) * total / ((1.0 + threshold) * fastest.max(1.0))) as u64);
        Side { above, holds_for }
    }

    /// Resources that do not comply at `at`, as the page condition counts them.
    fn failing(&self, at: Moment) -> u64 {
        let s = self.snapshot;
        let mine = |r: &crate::snapshot::Row| {
            self.view.controls.binary_search(&r.control).is_ok() && self.view.slo.covers_scope(&s.scopes[r.scope as usize].name)
        };
        s.rows.iter().enumerate().filter(|(_, r)| mine(r)).map(|(i, _)| s.row_at(i, at).counts.0[1]).sum()
    }
}

/// How long a window that slides over events, or over nothing, meets none that come or go.
fn still(measure: &Measure, from: Moment, at: Moment, end: Moment) -> Span {
    let coming = measure.counted().iter().filter_map(|t| t.points_in(at, end).next()).map(|p| p.at.since(at)).min();
    let going = measure.counted().iter().filter_map(|t| t.points_in(from, at).next()).map(|p| p.at.since(from)).min();
    let whole = coming.unwrap_or(end.since(at)).min(going.unwrap_or(Span(u64::MAX)));
    // An event that leaves is out only after its instant.
    Span(whole.0.saturating_sub(1))
}

/// The fastest that amounts grow anywhere from `from` to `end`, a millisecond.
#[expect(clippy::cast_precision_loss, reason = "a bound needs no last digit")]
fn fastest(measure: &Measure, from: Moment, end: Moment) -> f64 {
    let total = |rate: &[u64; 4]| measure.slo.amounts(&rate.map(u128::from)).total;
    let most = |t: &Timeline| t.points_in(from, end).map(|p| total(&p.rate)).fold(total(&t.rate_at(from)), u128::max);
    measure.counted().iter().map(|t| most(t)).sum::<u128>() as f64
}
