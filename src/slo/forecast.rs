//! When the error budget will be spent (slo.md section 7): exactly, for a rolling period, by following what rolls out of
//! it and what is known to come.

use super::measure::Amounts;
use super::objective::Slo;
use super::timeline::Timeline;
use crate::domain::{Moment, Span};

/// A change that is known to come: a waiver that ends, evidence that runs out and will not be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Moment,
    /// By how much the rate of bad amounts changes, a millisecond.
    pub bad: i64,
}

/// Seconds until the budget is spent if nothing but `steps` happens: the smallest d ≥ 0 with
/// ΔC_bad(x+d−P, x) + ∫ n_bad over the next d ≥ b·N·P, x being `now`. Infinite if that never comes, `None` without a
/// population (there is no budget then).
///
/// `counted` are the timelines of the objective, each with the SLO that says what is bad in it. `steps` may lie
/// anywhere after `now`; earlier ones are taken as present already.
#[expect(clippy::cast_precision_loss, reason = "amounts of milliseconds lie far below 2^100; the relative error is 1e-16")]
pub fn exhaustion_seconds(counted: &[(&Slo, &Timeline)], budget: f64, period: Span, steps: &[Step], now: Moment) -> Option<f64> {
    let rates = sum(counted.iter().map(|(slo, t)| slo.amounts(&t.rate_at(now).map(u128::from))));
    let bad_between = |from: Moment, to: Moment| sum(counted.iter().map(|(slo, t)| slo.amounts(&t.over(from, to)))).bad as f64;
    if rates.total == 0 || period.0 == 0 {
        return None;
    }
    let allowed = budget * rates.total as f64 * period.0 as f64;
    let mut spent = bad_between(now - period, now);
    if spent >= allowed {
        return Some(0.0);
    }
    // The instants, as d, at which the slope of what is spent changes: a step comes, a past point rolls out of the
    // window, or a step of the future does.
    let mut steps: Vec<Step> = steps.iter().copied().filter(|s| s.at > now && s.bad != 0).collect();
    steps.sort_by_key(|s| s.at);
    let present = rates.bad as f64;
    let past_rate = |at: Moment| sum(counted.iter().map(|(slo, t)| slo.amounts(&t.rate_at(at).map(u128::from)))).bad as f64;
    let mut turns: Vec<u64> = counted
        .iter()
        .flat_map(|(_, t)| t.points_in(now - period, now))
        .map(|p| p.at.since(now - period).0)
        .chain(steps.iter().map(|s| s.at.since(now).0))
        .chain(steps.iter().map(|s| s.at.since(now).0.saturating_add(period.0)))
        .chain([period.0])
        .collect();
    turns.sort_unstable();
    turns.dedup();
    let mut from = 0u64;
    let mut ahead = Cursor::new(&steps, present);
    let mut behind = Cursor::new(&steps, present);
    for to in turns.into_iter().map(Some).chain([None]) {
        let entering = ahead.at(now + Span(from));
        let leaving = if from < period.0 { past_rate(now + Span(from) - period) } else { behind.at(now + Span(from) - period) };
        let slope = entering - leaving;
        if slope > 0.0 {
            let at = from as f64 + (allowed - spent) / slope;
            if to.is_none_or(|to| at <= to as f64) {
                return Some(at.max(0.0) / 1000.0);
            }
        }
        let Some(to) = to else { break };
        spent += slope * (to - from) as f64;
        from = to;
    }
    Some(f64::INFINITY)
}

/// Seconds until the budget is spent at the mean rate of the last while: R·P·b / e_F (slo.md section 7, naive).
/// Infinite if nothing was bad, 0 if nothing is left.
pub fn exhaustion_naive(remaining: f64, period: Span, budget: f64, recent_error: f64) -> f64 {
    if remaining <= 0.0 {
        0.0
    } else if recent_error <= 0.0 {
        f64::INFINITY
    } else {
        remaining * period.seconds() * budget / recent_error
    }
}

/// The window over which the naive forecast takes its rate: F = max(1d, 2·T).
pub fn recent_window(scan_interval: Span) -> Span {
    Span::DAY.max(scan_interval.times(2))
}

fn sum(amounts: impl Iterator<Item = Amounts>) -> Amounts {
    amounts.fold(Amounts::default(), |a, b| Amounts { bad: a.bad + b.bad, total: a.total + b.total })
}

/// The rate of bad amounts as steps come, asked at instants that only rise.
struct Cursor<'s> {
    steps: &'s [Step],
    rate: f64,
}

impl<'s> Cursor<'s> {
    fn new(steps: &'s [Step], rate: f64) -> Cursor<'s> {
        Cursor { steps, rate }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of resources are far below 2^53")]
    fn at(&mut self, at: Moment) -> f64 {
        while let Some((first, rest)) = self.steps.split_first()
            && first.at <= at
        {
            self.rate += first.bad as f64;
            self.steps = rest;
        }
        self.rate.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::ControlSelector;
    use proptest::prelude::*;

    const P: Span = Span(30 * Span::DAY.0);

    fn day(d: i64) -> Moment {
        Moment(d * Span::DAY.0.cast_signed())
    }

    fn slo() -> Slo {
        Slo::new("s", "n", ControlSelector::default(), 0.99, P)
    }

    /// The example of slo.md section 7: N = 100, 99 %, 30d; 6 failed on days 2 to 5, 2 fail since day 27, now day 32.
    /// Naive: R·P·b/e_F = 1 day; exact: 10 days.
    #[test]
    fn what_rolls_out_is_given_back() {
        let mut t = Timeline::new();
        t.change(day(0), [100, 0, 0, 0], [0; 4]);
        t.change(day(2), [-6, 6, 0, 0], [0; 4]);
        t.change(day(5), [6, -6, 0, 0], [0; 4]);
        t.change(day(27), [-2, 2, 0, 0], [0; 4]);
        let (slo, now) = (slo(), day(32));
        let exact = exhaustion_seconds(&[(&slo, &t)], 0.01, P, &[], now).expect("a population");
        assert!((exact - 10.0 * 86_400.0).abs() < 1e-6, "{exact}");
        let e = slo.amounts(&t.over(now - P, now)).ratio().expect("data");
        let recent = slo.amounts(&t.over(now - Span::DAY, now)).ratio().expect("data");
        let naive = exhaustion_naive(1.0 - e / 0.01, P, 0.01, recent);
        assert!((naive - 86_400.0).abs() < 1e-3, "{naive}");
        // A waiver that ends in two days lets three more fail.
        let soon = exhaustion_seconds(&[(&slo, &t)], 0.01, P, &[Step { at: now + Span::DAY.times(2), bad: 3 }], now).expect("data");
        assert!(soon < exact, "{soon}");
        assert_eq!(exhaustion_seconds(&[(&slo, &Timeline::new())], 0.01, P, &[], now), None, "no population, no budget");
    }

    proptest! {
        /// Against walking forward in small steps, with the window's content added up anew at each.
        #[test]
        fn equals_walking_forward(
            changes in prop::collection::vec((0i64..40, 0i64..4), 1..8),
            steps in prop::collection::vec((1i64..50, 0i64..3), 0..4),
        ) {
            let (slo, period, now) = (slo(), Span(40_000), Moment(40_000));
            let mut t = Timeline::new();
            t.change(Moment(0), [100, 0, 0, 0], [0; 4]);
            let mut sorted = changes;
            sorted.sort_by_key(|c| c.0);
            let mut held = 0;
            for (at, bad) in &sorted {
                t.change(Moment(at * 1000), [held - bad, bad - held, 0, 0], [0; 4]);
                held = *bad;
            }
            let steps: Vec<Step> = steps.into_iter().map(|(at, bad)| Step { at: Moment((40 + at) * 1000), bad }).collect();
            let got = exhaustion_seconds(&[(&slo, &t)], 0.01, period, &steps, now).expect("a population");
            let rate = |ms: i64| -> f64 {
                if ms < 40_000 {
                    slo.amounts(&t.rate_at(Moment(ms)).map(u128::from)).bad as f64
                } else {
                    held as f64 + steps.iter().filter(|s| s.at.0 <= ms).map(|s| s.bad as f64).sum::<f64>()
                }
            };
            let allowed = 0.01 * 100.0 * 40_000.0;
            // Everything changes at whole seconds only, so that a second is a slope.
            let mut spent: f64 = (0..40).map(|s| rate(s * 1000) * 1000.0).sum();
            let mut want = f64::INFINITY;
            for d in 0..200i64 {
                if spent >= allowed - 1e-6 {
                    want = d as f64;
                    break;
                }
                let slope = rate((40 + d) * 1000) - rate(d * 1000);
                if slope > 0.0 && spent + slope * 1000.0 > allowed + 1e-6 {
                    want = d as f64 + (allowed - spent) / slope / 1000.0;
                    break;
                }
                spent += slope * 1000.0;
            }
            prop_assert!(got == want || (got - want).abs() < 1e-9 * (1.0 + want), "{} is not {}", got, want);
        }
    }
}
