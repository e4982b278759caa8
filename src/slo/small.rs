//! Small populations and slow scans: what a single failure costs, how late it is seen, how long it lasts (slo.md
//! sections 4 to 7).

use super::tier::Tier;
use super::{Slo, objective};
use crate::domain::{Span, State};

/// A larger share of the budget for one resource in one scan is worth a warning (SLO107).
pub const LARGEST_QUANTUM: f64 = 0.1;

/// q = T/(N·P·b): the share of the budget that one resource uses which fails for one scan interval (section 6).
/// Infinite without resources.
#[expect(clippy::cast_precision_loss, reason = "numbers of resources are far below 2^53")]
pub fn quantum(resources: u64, objective: f64, period: Span, scan_interval: Span) -> f64 {
    scan_interval.seconds() / (resources as f64 * period.seconds() * objective::budget(objective))
}

/// t ≤ 1 − T/(0.1·N·P): the largest objective at which one resource in one scan uses at most 10 % of the budget. `None`
/// where there is no such objective above 0.
#[expect(clippy::cast_precision_loss, reason = "numbers of resources are far below 2^53")]
pub fn largest_objective(resources: u64, period: Span, scan_interval: Span) -> Option<f64> {
    let t = 1.0 - scan_interval.seconds() / (LARGEST_QUANTUM * resources as f64 * period.seconds());
    (t > 0.0).then_some(t)
}

/// T/(P·b): the share of the budget that one scan uses which wrongly says that everything fails (section 5.2).
pub fn false_scan_cost(objective: f64, period: Span, scan_interval: Span) -> f64 {
    scan_interval.seconds() / (period.seconds() * objective::budget(objective))
}

/// How late a violation is seen: (mean, most) in seconds, under a random phase T/2 and T (section 7, MTTD).
/// With `confirmations` k it is (k−1)·T later.
pub fn time_to_detect(scan_interval: Span, confirmations: u8) -> (f64, f64) {
    let late = scan_interval.seconds() * f64::from(confirmations.max(1) - 1);
    (scan_interval.seconds() / 2.0 + late, scan_interval.seconds() + late)
}

/// Mean time to remediate over closed violations alone: Σ durations / closures, in seconds. It flatters: what is never
/// fixed is not in it.
#[expect(clippy::cast_precision_loss, reason = "numbers of violations are far below 2^53")]
pub fn mttr_closed(durations_seconds: f64, closures: u64) -> Option<f64> {
    (closures > 0).then(|| durations_seconds / closures as f64)
}

/// Mean time to remediate by exposure: resource-time in violation over fixes in the same time, in seconds (Little's law).
/// Open violations count from the moment they are open.
#[expect(clippy::cast_precision_loss, reason = "the quotient of two rounded numbers is right to 2e-16")]
pub fn mttr_exposure(non_compliant_ms: u128, fixes: u64) -> Option<f64> {
    (fixes > 0).then(|| non_compliant_ms as f64 / 1000.0 / fixes as f64)
}

/// The honest interval of the compliance ratio over a window, from its increases by state: unknown counted as bad, and
/// as good (section 2). `None` without data.
#[expect(clippy::cast_precision_loss, reason = "the quotient of two rounded numbers is right to 2e-16")]
pub fn honest_interval(lanes: &super::Lanes) -> Option<(f64, f64)> {
    let [g, x, u] = [State::Compliant, State::NonCompliant, State::Unknown].map(|s| lanes[s as usize]);
    let all = g + x + u;
    (all > 0).then(|| (g as f64 / all as f64, (g + u) as f64 / all as f64))
}

impl Tier {
    /// Seconds from the onset of a lasting error ratio `e`, after clean history, until the tier fires: L·f·b/e. It has
    /// then used exactly [`Tier::budget_share`]. `None`: it never fires (section 4).
    pub fn fires_after(&self, slo: &Slo, e: f64) -> Option<f64> {
        let threshold = self.threshold(slo.budget());
        (e > threshold).then(|| self.long.seconds() * threshold / e)
    }

    /// Seconds from the end of a lasting error ratio `e` until the tier is quiet again: S·(1 − f·b/e).
    pub fn quiet_after(&self, slo: &Slo, e: f64) -> Option<f64> {
        let threshold = self.threshold(slo.budget());
        (e > threshold).then(|| self.short.seconds() * (1.0 - threshold / e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::ControlSelector;

    const DAY: Span = Span::DAY;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9 * want.abs().max(1.0), "{got} is not {want}");
    }

    /// The example of section 6: N = 4, T = 1d, P = 30d, t = 0.98: q = 41.7 %; sensible are 91.7 %, and 97.2 % over 90d.
    #[test]
    fn few_resources() {
        close(quantum(4, 0.98, DAY.times(30), DAY), 1.0 / 2.4);
        close(largest_objective(4, DAY.times(30), DAY).expect("above 0"), 1.0 - 1.0 / 12.0);
        close(largest_objective(4, DAY.times(90), DAY).expect("above 0"), 1.0 - 1.0 / 36.0);
        assert_eq!(largest_objective(1, DAY.times(4), DAY), None);
        // At the largest sensible objective the quantum is exactly the largest.
        let t = largest_objective(25, DAY.times(30), DAY).expect("above 0");
        close(quantum(25, t, DAY.times(30), DAY), LARGEST_QUANTUM);
    }

    /// Section 5.2: daily, 30d, 99 %: one wholly false scan uses 333 %.
    #[test]
    fn one_false_scan() {
        close(false_scan_cost(0.99, DAY.times(30), DAY), 10.0 / 3.0);
    }

    #[test]
    fn how_late_and_how_long() {
        assert_eq!(time_to_detect(DAY, 1), (43_200.0, 86_400.0));
        assert_eq!(time_to_detect(DAY, 2), (129_600.0, 172_800.0));
        assert_eq!(time_to_detect(DAY, 0), (43_200.0, 86_400.0));
        // Two fixed after a day each, one open for ten: closed-only says 1 day, exposure 6.
        assert_eq!(mttr_closed(2.0 * 86_400.0, 2), Some(86_400.0));
        assert_eq!(mttr_exposure(12 * 86_400_000, 2), Some(6.0 * 86_400.0));
        assert_eq!((mttr_closed(0.0, 0), mttr_exposure(5, 0)), (None, None));
    }

    #[test]
    fn the_interval_holds_the_ratio() {
        // 6 good, 2 bad, 2 unknown, 5 waived.
        assert_eq!(honest_interval(&[6, 2, 2, 5]), Some((0.6, 0.8)));
        assert_eq!(honest_interval(&[0, 0, 0, 5]), None);
    }

    /// Section 4: all of it fails (e = 1) at 99 %: the page over an hour after 8 min 38.4 s, quiet 4 min 16.8 s after.
    #[test]
    fn detection_and_reset() {
        let slo = Slo::new("s", "n", ControlSelector::default(), 0.99, DAY.times(30));
        let page = slo.tiers(Span::MINUTE.times(5), Span::MINUTE).tiers[0];
        close(page.fires_after(&slo, 1.0).expect("fires"), 3600.0 * 0.144);
        close(page.quiet_after(&slo, 1.0).expect("fires"), 300.0 * (1.0 - 0.144));
        assert_eq!(page.fires_after(&slo, 0.144), None, "strictly more");
        // What it has used by then is its share of the budget.
        let used = page.fires_after(&slo, 0.2).expect("fires") * 0.2 / (0.01 * slo.period.seconds());
        close(used, page.budget_share);
    }
}
