//! What one objective has counted: its timelines, and the error ratio over any window of them (slo.md section 3).

use super::objective::{Policy, Sli, Slo, Weights};
use super::timeline::{Lanes, Timeline};
use crate::domain::{Moment, Span, State};
use std::sync::Arc;

/// The lanes of evidence: fresh and stale.
pub const FRESH: usize = 0;
/// See [`FRESH`].
pub const STALE: usize = 1;
/// The lanes of events: good, bad and unknown ones (met and missed deadlines, slices, gate checks).
pub const GOOD: usize = 0;
/// See [`GOOD`].
pub const BAD: usize = 1;
/// See [`GOOD`].
pub const UNKNOWN: usize = 2;

/// An objective with everything it has counted so far.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The objective.
    pub slo: Slo,
    /// What it counts, as the lanes of its SLI. One timeline; with [`Weights::Controls`] one for each control.
    pub parts: Vec<Arc<Timeline>>,
    /// For time slices: those closed so far, by outcome. `parts` then has the states they are made from.
    pub slices: Option<Arc<Timeline>>,
}

/// Bad and total amounts over some time, in the unit of the SLI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Against the objective.
    pub bad: u128,
    /// All that counts.
    pub total: u128,
}

impl Amounts {
    /// bad/total; `None` where nothing counts: no data is neither good nor bad.
    #[expect(clippy::cast_precision_loss, reason = "the quotient of two rounded numbers is right to 2e-16")]
    pub fn ratio(self) -> Option<f64> {
        (self.total > 0).then(|| self.bad as f64 / self.total as f64)
    }
}

impl Slo {
    /// Bad and total of `lanes`, by the kind of SLI and, for states, the policies (slo.md sections 2 and 3).
    pub fn amounts(&self, lanes: &Lanes) -> Amounts {
        let [g, x, u, w] = [State::Compliant, State::NonCompliant, State::Unknown, State::Waived].map(|s| lanes[s as usize]);
        match self.sli {
            Sli::ResourceTime => {
                let mut out = Amounts { bad: x, total: g + x };
                for (policy, amount) in [(self.unknown, u), (self.waived, w)] {
                    match policy {
                        Policy::Exclude => {}
                        Policy::Bad => {
                            out.bad += amount;
                            out.total += amount;
                        }
                        Policy::Good => out.total += amount,
                    }
                }
                out
            }
            Sli::Coverage => Amounts { bad: u, total: g + x + u + w },
            Sli::EvidenceFreshness => Amounts { bad: lanes[STALE], total: lanes[FRESH] + lanes[STALE] },
            Sli::TimeSlice { .. } | Sli::RemediationLatency => Amounts { bad: lanes[BAD], total: lanes[GOOD] + lanes[BAD] },
            Sli::Gate { error_is_bad } => {
                let error = if error_is_bad { lanes[UNKNOWN] } else { 0 };
                Amounts { bad: lanes[BAD] + error, total: lanes[GOOD] + lanes[BAD] + error }
            }
        }
    }

    /// How a slice with these state amounts came out: the lane of [`GOOD`], [`BAD`] or [`UNKNOWN`] (slo.md section 3:
    /// equality with the threshold is good, a slice without data is unknown).
    pub fn slice_outcome(&self, lanes: &Lanes) -> usize {
        let Sli::TimeSlice { threshold, .. } = self.sli else { return UNKNOWN };
        let Amounts { bad, total } = Slo { sli: Sli::ResourceTime, ..self.clone() }.amounts(lanes);
        if total == 0 {
            return UNKNOWN;
        }
        // In whole numbers, so that equality is equality: thresholds have at most twelve decimals.
        const SCALE: u128 = 1_000_000_000_000;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 < threshold <= 1")]
        let threshold = (threshold * 1e12).round() as u128;
        if (total - bad).saturating_mul(SCALE) >= threshold.saturating_mul(total) { GOOD } else { BAD }
    }
}

impl Measure {
    /// The timelines that windows are taken from.
    pub fn counted(&self) -> &[Arc<Timeline>] {
        self.slices.as_ref().map_or(&self.parts[..], std::slice::from_ref)
    }

    /// Bad and total over `(from, to]`, all parts together.
    pub fn amounts(&self, from: Moment, to: Moment) -> Amounts {
        self.counted()
            .iter()
            .map(|t| self.slo.amounts(&t.over(from, to)))
            .fold(Amounts::default(), |a, b| Amounts { bad: a.bad + b.bad, total: a.total + b.total })
    }

    /// The error ratio over `(from, to]`; `None` without data. By controls it is the mean over those that have data.
    #[expect(clippy::cast_precision_loss, reason = "controls are far fewer than 2^53")]
    pub fn error_ratio(&self, from: Moment, to: Moment) -> Option<f64> {
        if self.slo.weights != Weights::Controls || self.slices.is_some() {
            return self.amounts(from, to).ratio();
        }
        let ratios: Vec<f64> = self.parts.iter().filter_map(|t| self.slo.amounts(&t.over(from, to)).ratio()).collect();
        (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
    }

    /// Between which values the compliance ratio over `(from, to]` lies, whatever the unknown resources were:
    /// g/(g+x+u) and (g+u)/(g+x+u) (slo.md section 2). `None` without data, and for SLIs that do not count states.
    #[expect(clippy::cast_precision_loss, reason = "the quotient of two rounded numbers is right to 2e-16")]
    pub fn bounds(&self, from: Moment, to: Moment) -> Option<(f64, f64)> {
        if self.slo.sli != Sli::ResourceTime {
            return None;
        }
        let mut sum = [0u128; 4];
        for part in &self.parts {
            for (sum, n) in sum.iter_mut().zip(part.over(from, to)) {
                *sum += n;
            }
        }
        let [g, x, u, _] = sum.map(|n| n as f64);
        (g + x + u > 0.0).then(|| (g / (g + x + u), (g + u) / (g + x + u)))
    }

    /// The error ratio over the window `w` that ends at `now`.
    pub fn error_ratio_over(&self, w: Span, now: Moment) -> Option<f64> {
        self.error_ratio(now - w, now)
    }

    /// The first instant at which anything counted.
    pub fn start(&self) -> Option<Moment> {
        self.counted().iter().filter_map(|t| t.first_amount(&[0, 1, 2, 3])).min()
    }

    /// How bad and total grow from `now` on, a millisecond, while nothing changes.
    pub fn rates(&self, now: Moment) -> Amounts {
        self.counted()
            .iter()
            .map(|t| self.slo.amounts(&t.rate_at(now).map(u128::from)))
            .fold(Amounts::default(), |a, b| Amounts { bad: a.bad + b.bad, total: a.total + b.total })
    }

    /// The weight of a resource of a control with this severity.
    pub fn weight(slo: &Slo, severity: crate::domain::Severity) -> u64 {
        match &slo.weights {
            Weights::Severity(weights) if !matches!(slo.sli, Sli::RemediationLatency | Sli::EvidenceFreshness | Sli::Gate { .. }) => {
                u64::from(weights[severity as usize])
            }
            Weights::Severity(_) | Weights::Equal | Weights::Controls => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::ControlSelector;

    fn slo() -> Slo {
        Slo::new("s", "n", ControlSelector::default(), 0.99, Span::DAY.times(30))
    }

    #[test]
    fn policies_move_states_between_bad_and_total_only() {
        let lanes = [60, 20, 15, 5];
        let of = |unknown, waived| Slo { unknown, waived, ..slo() }.amounts(&lanes);
        assert_eq!(of(Policy::Exclude, Policy::Exclude), Amounts { bad: 20, total: 80 });
        assert_eq!(of(Policy::Bad, Policy::Exclude), Amounts { bad: 35, total: 95 });
        assert_eq!(of(Policy::Good, Policy::Bad), Amounts { bad: 25, total: 100 });
        assert_eq!(Slo { sli: Sli::Coverage, ..slo() }.amounts(&lanes), Amounts { bad: 15, total: 100 });
        assert_eq!(Amounts::default().ratio(), None, "no data is neither good nor bad");
    }

    #[test]
    fn a_slice_at_its_threshold_is_good_and_one_without_data_is_unknown() {
        let slo = Slo { sli: Sli::TimeSlice { slice: Span::HOUR, threshold: 0.95 }, ..slo() };
        assert_eq!(slo.slice_outcome(&[95, 5, 0, 0]), GOOD);
        assert_eq!(slo.slice_outcome(&[94_999_999, 5_000_001, 0, 0]), BAD);
        assert_eq!(slo.slice_outcome(&[0, 0, 7, 0]), UNKNOWN);
    }

    /// Two controls: 1 of 1 bad, 1 of 9 bad. Micro 2/10; macro (1 + 1/9)/2; a third without data is left out.
    #[test]
    fn by_controls_it_is_the_mean_of_those_with_data() {
        let line = |g: i64, x: i64| {
            let mut t = Timeline::new();
            t.change(Moment(0), [g, x, 0, 0], [0; 4]);
            Arc::new(t)
        };
        let parts = vec![line(0, 1), line(8, 1), line(0, 0)];
        let micro = Measure { slo: slo(), parts: parts.clone(), slices: None };
        assert_eq!(micro.error_ratio(Moment(0), Moment(1000)), Some(0.2));
        let by_control = Measure { slo: Slo { weights: Weights::Controls, ..slo() }, parts, slices: None };
        assert!((by_control.error_ratio(Moment(0), Moment(1000)).unwrap() - (1.0 + 1.0 / 9.0) / 2.0).abs() < 1e-15);
        assert_eq!(by_control.error_ratio(Moment(-1000), Moment(0)), None);
    }
}
