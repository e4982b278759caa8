//! The compliance ratio with its honesty beside it (slo.md section 2; design.md section 5).

use super::{Counts, State};

/// A compliance ratio that exists, with its bounds. `None` instead of this where nothing is in scope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// g/(g+x): of the resources with a verdict, the share that complies. `None` if there is no verdict at all.
    pub value: Option<f64>,
    /// g/(g+x+u): unknown counted as bad.
    pub lower: f64,
    /// (g+u)/(g+x+u): unknown counted as good.
    pub upper: f64,
}

/// The share of the population about which something is known, (g+x+w)/(g+x+u+w).
pub type Coverage = f64;

impl Ratio {
    /// The ratio of `counts`, with g compliant, x non-compliant, u unknown; waived ones are in none of them.
    /// `None` when g+x+u = 0: absence of evidence is never compliance, nor its opposite.
    #[expect(clippy::cast_precision_loss, reason = "counts of resources are far below 2^53")]
    pub fn of(counts: &Counts) -> Option<Ratio> {
        let g = counts[State::Compliant] as f64;
        let x = counts[State::NonCompliant] as f64;
        let u = counts[State::Unknown] as f64;
        if g + x + u == 0.0 {
            return None;
        }
        Some(Ratio { value: (g + x > 0.0).then(|| g / (g + x)), lower: g / (g + x + u), upper: (g + u) / (g + x + u) })
    }

    /// The coverage of `counts`; `None` for an empty population.
    #[expect(clippy::cast_precision_loss, reason = "counts of resources are far below 2^53")]
    pub fn coverage(counts: &Counts) -> Option<Coverage> {
        let total = counts.total();
        (total > 0).then(|| (total - counts[State::Unknown]) as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_scope_is_neither_zero_nor_one() {
        assert_eq!(Ratio::of(&Counts([0, 0, 0, 0])), None);
        assert_eq!(Ratio::of(&Counts([0, 0, 0, 7])), None, "waived only");
        assert_eq!(Ratio::coverage(&Counts([0, 0, 0, 0])), None);
    }

    #[test]
    fn bounds_enclose_the_ratio() {
        // 6 good, 2 bad, 2 unknown, 5 waived: 6/8, 6/10, 8/10; coverage (6+2+5)/15.
        let counts = Counts([6, 2, 2, 5]);
        let r = Ratio::of(&counts).expect("resources are in scope");
        assert_eq!((r.value, r.lower, r.upper), (Some(0.75), 0.6, 0.8));
        assert_eq!(Ratio::coverage(&counts), Some(13.0 / 15.0));
        // All unknown: no ratio, though bounds say the whole interval.
        let r = Ratio::of(&Counts([0, 0, 3, 0])).expect("resources are in scope");
        assert_eq!((r.value, r.lower, r.upper), (None, 0.0, 1.0));
    }
}
