//! Where every objective stands: error ratios, burn rates, what is left of the budget (slo.md sections 4, 7 and 8).

use super::composite::MemberNow;
use super::forecast::{self, Step};
use super::measure::{Amounts, Measure};
use super::objective::{CompositeMode, Weights};
use super::timeline::Timeline;
use crate::domain::{Moment, Span};
use crate::slo::Slo;
use std::collections::HashMap;

/// Composites of composites are followed this deep; definitions that go deeper, or round in a circle, are refused.
const MAX_DEPTH: u8 = 8;

/// All objectives in force, so that composites find their members.
#[derive(Debug, Default)]
pub struct Objectives<'m> {
    by_id: HashMap<String, &'m Measure>,
}

/// What is left of an error budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// e_P: the error ratio over the period, or over as much of it as there is.
    pub error: Option<f64>,
    /// 1 − e_P/b: what is left, measured against the time that was observed. May be negative.
    pub remaining: Option<f64>,
    /// What is left if the population stays as it is until the period is full: the number to look at while
    /// `warming_up`. The same as `remaining` afterwards, and for events.
    pub remaining_full_period: Option<f64>,
    /// True until the history is as long as the period.
    pub warming_up: bool,
    /// b·N·P in resource-seconds, with the population of now: the whole budget of a period. For events `None`.
    pub allowed_seconds: Option<f64>,
}

impl<'m> Objectives<'m> {
    /// Of these measures; of two with one id the first counts.
    pub fn new(measures: impl IntoIterator<Item = &'m Measure>) -> Objectives<'m> {
        let mut by_id = HashMap::new();
        for m in measures {
            by_id.entry(m.slo.id()).or_insert(m);
        }
        Objectives { by_id }
    }

    /// The measure with this id.
    pub fn get(&self, id: &str) -> Option<&'m Measure> {
        self.by_id.get(id).copied()
    }

    /// The error ratio over `(from, to]`; `None` without data.
    pub fn error_ratio(&self, m: &Measure, from: Moment, to: Moment) -> Option<f64> {
        self.error(m, from, to, MAX_DEPTH)
    }

    fn error(&self, m: &Measure, from: Moment, to: Moment, depth: u8) -> Option<f64> {
        let Some(composite) = m.slo.composite.as_ref().filter(|c| !counts_itself(c.mode)) else { return m.error_ratio(from, to) };
        let depth = depth.checked_sub(1)?;
        let members: Vec<MemberNow> = composite
            .members
            .iter()
            .map(|member| {
                let found = self.get(&member.slo);
                MemberNow {
                    weight: member.weight,
                    budget: found.map_or(1.0, |m| m.slo.budget()),
                    error: found.and_then(|m| self.error(m, from, to, depth)),
                    amounts: found.map_or_else(Amounts::default, |m| self.pooled(m, from, to, depth)),
                }
            })
            .collect();
        composite.error_ratio(m.slo.budget(), &members)
    }

    fn pooled(&self, m: &Measure, from: Moment, to: Moment, depth: u8) -> Amounts {
        self.leaves(m, depth).into_iter().fold(Amounts::default(), |a, (slo, t)| {
            let b = slo.amounts(&t.over(from, to));
            Amounts { bad: a.bad + b.bad, total: a.total + b.total }
        })
    }

    /// The timelines below an objective, each with the SLO that says what is bad in it.
    fn leaves<'s>(&'s self, m: &'s Measure, depth: u8) -> Vec<(&'s Slo, &'s Timeline)> {
        match (&m.slo.composite, depth.checked_sub(1)) {
            (Some(c), Some(depth)) if !counts_itself(c.mode) => {
                c.members.iter().filter_map(|member| self.get(&member.slo)).flat_map(|m| self.leaves(m, depth)).collect()
            }
            (Some(c), None) if !counts_itself(c.mode) => Vec::new(),
            _ => m.counted().iter().map(|t| (&m.slo, t.as_ref())).collect(),
        }
    }

    /// The burn rate e/b over the window that ends at `now`.
    pub fn burn_rate(&self, m: &Measure, window: Span, now: Moment) -> Option<f64> {
        Some(self.error_ratio(m, now - window, now)? / m.slo.budget())
    }

    /// When its history begins.
    pub fn start(&self, m: &Measure) -> Option<Moment> {
        self.leaves(m, MAX_DEPTH).into_iter().filter_map(|(_, t)| t.first_amount(&[0, 1, 2, 3])).min()
    }

    /// The budget at `now`, over the rolling period.
    #[expect(clippy::cast_precision_loss, reason = "the quotient of two rounded numbers is right to 2e-16")]
    pub fn budget(&self, m: &Measure, now: Moment) -> Budget {
        let (b, period) = (m.slo.budget(), m.slo.period);
        let Some(error) = self.error_ratio(m, now - period, now) else { return Budget::default() };
        let remaining = 1.0 - error / b;
        let age = self.start(m).map_or(Span(0), |s| now.since(s));
        let missing = period.0.saturating_sub(age.0);
        let held = self.held(m);
        let leaves = self.leaves(m, MAX_DEPTH);
        let amounts = |f: &dyn Fn(&Timeline) -> super::Lanes| {
            leaves
                .iter()
                .map(|(slo, t)| slo.amounts(&f(t)))
                .fold(Amounts::default(), |a, b| Amounts { bad: a.bad + b.bad, total: a.total + b.total })
        };
        let rates = amounts(&|t| t.rate_at(now).map(u128::from));
        // Scaling the denominator works for any mode: e·ΔC_total is what is bad, however members were weighed.
        let observed = amounts(&|t| t.over(now - period, now)).total as f64;
        let whole = observed + rates.total as f64 * missing as f64;
        let full = if held && missing > 0 && whole > 0.0 { 1.0 - error * observed / (b * whole) } else { remaining };
        Budget {
            error: Some(error),
            remaining: Some(remaining),
            remaining_full_period: Some(full),
            warming_up: missing > 0,
            allowed_seconds: (held && rates.total > 0).then(|| b * rates.total as f64 * period.seconds()),
        }
    }

    /// Seconds until the budget is spent: exact where what is bad is an integral (also pooled), the soonest of its
    /// members for `worst`, else at the rate of the last day or two scans. Infinite: never; `None`: no data.
    pub fn exhaustion_seconds(&self, m: &Measure, steps: &dyn Fn(&str) -> Vec<Step>, scan_interval: Span, now: Moment) -> Option<f64> {
        let (b, period) = (m.slo.budget(), m.slo.period);
        let mode = m.slo.composite.as_ref().map(|c| c.mode);
        if mode == Some(CompositeMode::Worst) {
            let members = m.slo.composite.iter().flat_map(|c| &c.members).filter_map(|member| self.get(&member.slo));
            return members.filter_map(|m| self.exhaustion_seconds(m, steps, scan_interval, now)).reduce(f64::min);
        }
        // In the first period the observed budget is as short as the history, and spent by the first failure.
        let remaining = self.budget(m, now).remaining_full_period?;
        let exact =
            self.held(m) && m.slo.weights != Weights::Controls && mode.is_none_or(|c| c == CompositeMode::Pooled || counts_itself(c));
        if exact {
            let mut known = steps(&m.slo.id());
            if mode == Some(CompositeMode::Pooled) {
                known.extend(m.slo.composite.iter().flat_map(|c| &c.members).flat_map(|member| steps(&member.slo)));
            }
            return forecast::exhaustion_seconds(&self.leaves(m, MAX_DEPTH), b, period, &known, now);
        }
        let window = forecast::recent_window(scan_interval);
        let recent = self.error_ratio(m, now - window, now).unwrap_or(0.0);
        Some(forecast::exhaustion_naive(remaining, period, b, recent))
    }

    /// Whether all that it counts are integrals, which grow with time, and not events.
    fn held(&self, m: &Measure) -> bool {
        let leaves = self.leaves(m, MAX_DEPTH);
        !leaves.is_empty() && leaves.iter().all(|(slo, _)| slo.sli.held())
    }
}

/// Modes whose error ratio is counted and not made from members' ratios.
const fn counts_itself(mode: CompositeMode) -> bool {
    matches!(mode, CompositeMode::Joint | CompositeMode::AnySlice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::{Composite, ControlSelector, Member};
    use std::sync::Arc;

    const P: Span = Span(30 * Span::DAY.0);

    fn measure(name: &str, good: i64, bad: i64) -> Measure {
        let mut t = Timeline::new();
        t.change(Moment(0), [good, bad, 0, 0], [0; 4]);
        Measure { slo: Slo::new("s", name, ControlSelector::default(), 0.99, P), parts: vec![Arc::new(t)], slices: None }
    }

    /// slo.md section 7: one day old, 5 % failing: −400 % of the observed budget, 16.7 % of the full period's consumed.
    #[test]
    fn a_young_objective_shows_both_budgets() {
        let m = measure("n", 95, 5);
        let all = Objectives::new([&m]);
        let budget = all.budget(&m, Moment(Span::DAY.0.cast_signed()));
        assert!((budget.remaining.expect("data") + 4.0).abs() < 1e-12, "{budget:?}");
        assert!((1.0 - budget.remaining_full_period.expect("data") - 5.0 / 30.0).abs() < 1e-12, "{budget:?}");
        assert!(budget.warming_up);
        // 1 % of 100 resources for 30 days.
        assert!((budget.allowed_seconds.expect("held") - 30.0 * 86_400.0).abs() < 1e-6);
        let later = all.budget(&m, Moment(P.0.cast_signed() * 2));
        assert!(!later.warming_up && later.remaining == later.remaining_full_period);
    }

    #[test]
    fn a_composite_stands_on_its_members() {
        let (a, c) = (measure("a", 99, 1), measure("b", 18, 2));
        let members = ["s-a", "s-b"].map(|id| Member { slo: id.to_owned(), weight: 1.0 }).to_vec();
        let composite = |mode| Measure {
            slo: Slo {
                composite: Some(Composite { mode, members: members.clone(), missing_is_bad: false }),
                ..Slo::new("s", "all", ControlSelector::default(), 0.95, P)
            },
            parts: Vec::new(),
            slices: None,
        };
        let now = Moment(Span::DAY.0.cast_signed());
        for (mode, want) in [(CompositeMode::Pooled, 3.0 / 120.0), (CompositeMode::Weighted, 0.055), (CompositeMode::Worst, 10.0 * 0.05)] {
            let m = composite(mode);
            let all = Objectives::new([&a, &c, &m]);
            let got = all.error_ratio(&m, Moment(0), now).expect("data");
            assert!((got - want).abs() < 1e-12, "{mode}: {got} is not {want}");
            assert!(all.budget(&m, now).remaining.is_some());
        }
        // Round in a circle: no number, and no endless walk.
        let mut circle = composite(CompositeMode::Weighted);
        circle.slo.name = "a".to_owned();
        assert_eq!(Objectives::new([&circle]).error_ratio(&circle, Moment(0), now), None);
    }
}
