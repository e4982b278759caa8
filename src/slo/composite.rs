//! Objectives over objectives: how the error ratios of members become one (slo.md section 8).

use super::measure::Amounts;
use super::objective::{Composite, CompositeMode};

/// What a member stands at over one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberNow {
    /// Its weight.
    pub weight: f64,
    /// Its error budget b, as a ratio.
    pub budget: f64,
    /// Its error ratio; `None` without data.
    pub error: Option<f64>,
    /// Its bad and total amounts.
    pub amounts: Amounts,
}

impl Composite {
    /// The error ratio of a composite with error budget `budget`, from its members over the same window; `None` without
    /// data. [`CompositeMode::Joint`] and [`CompositeMode::AnySlice`] are no function of members' ratios: the caller
    /// counts them on their own, and gets `None` here.
    pub fn error_ratio(&self, budget: f64, members: &[MemberNow]) -> Option<f64> {
        // A member without data is left out, or counts as wholly bad. A composite of nothing but such has no data.
        if members.iter().all(|m| m.error.is_none()) {
            return None;
        }
        let missing = self.missing_is_bad.then_some(1.0);
        let with_data = || members.iter().filter_map(move |m| Some((m, m.error.or(missing)?)));
        match self.mode {
            CompositeMode::Pooled => members
                .iter()
                .fold(Amounts::default(), |a, m| Amounts { bad: a.bad + m.amounts.bad, total: a.total + m.amounts.total })
                .ratio(),
            CompositeMode::Weighted => {
                let (sum, weights) = with_data().fold((0.0, 0.0), |(s, w), (m, e)| (s + m.weight * e, w + m.weight));
                (weights > 0.0).then(|| sum / weights)
            }
            CompositeMode::Worst => with_data().map(|(m, e)| e / m.budget).reduce(f64::max).map(|burn| burn * budget),
            CompositeMode::WeightedBurn => Some(with_data().map(|(m, e)| m.weight * e / m.budget).sum::<f64>() * budget),
            CompositeMode::WeightedSum => Some(with_data().map(|(m, e)| m.weight * e).sum::<f64>().min(1.0)),
            CompositeMode::Joint | CompositeMode::AnySlice => None,
        }
    }
}

/// Between which values the joint error ratio must lie, given those of its members: max e ≤ e ≤ min(1, Σ e).
pub fn joint_bounds(errors: &[f64]) -> Option<(f64, f64)> {
    let most = errors.iter().copied().reduce(f64::max)?;
    Some((most, errors.iter().sum::<f64>().min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mode: CompositeMode, missing_is_bad: bool, members: &[MemberNow]) -> Option<f64> {
        Composite { mode, members: Vec::new(), missing_is_bad }.error_ratio(0.05, members)
    }

    fn member(weight: f64, objective: f64, bad: u128, total: u128) -> MemberNow {
        let amounts = Amounts { bad, total };
        MemberNow { weight, budget: 1.0 - objective, error: amounts.ratio(), amounts }
    }

    /// Two members: 1 of 100 bad at 99 % (burn 1), 2 of 20 bad at 90 % (burn 1), a third without data.
    #[test]
    fn modes_by_hand() {
        let members = [member(3.0, 0.99, 1, 100), member(1.0, 0.9, 2, 20), member(2.0, 0.9, 0, 0)];
        let close = |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-12, "{got:?} is not {want}");
        close(of(CompositeMode::Pooled, false, &members), 3.0 / 120.0);
        close(of(CompositeMode::Weighted, false, &members), (3.0 * 0.01 + 0.1) / 4.0);
        close(of(CompositeMode::Weighted, true, &members), (3.0 * 0.01 + 0.1 + 2.0) / 6.0);
        close(of(CompositeMode::Worst, false, &members), 0.05);
        close(of(CompositeMode::Worst, true, &members), 0.5);
        close(of(CompositeMode::WeightedBurn, false, &members), 4.0 * 0.05);
        close(of(CompositeMode::WeightedSum, false, &members), 0.13);
        assert_eq!(of(CompositeMode::Weighted, true, &members[2..]), None, "nothing but members without data");
        assert_eq!(joint_bounds(&[0.01, 0.1]), Some((0.1, 0.11)));
        assert_eq!(joint_bounds(&[]), None);
    }
}
