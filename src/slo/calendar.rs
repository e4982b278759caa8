//! Calendar periods, for reports alone: where a month begins and ends, and what is left of its budget (slo.md section 4).

use super::{Amounts, Calendar, Measure, Weights};
use crate::domain::{Moment, Span};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{RoundMode, ToSpan, Unit, ZonedRound};

/// One calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first instant.
    pub from: Moment,
    /// The first instant of the next one.
    pub to: Moment,
}

/// Where an objective stands in its calendar period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalendarBudget {
    /// The period.
    pub period: Period,
    /// The error ratio so far; `None` without data.
    pub error: Option<f64>,
    /// What may be bad in the whole period, if the population stays: b × (observed total + N(now) × time left). In
    /// resource-seconds, or events for SLIs that count those (what is yet to come of them is unknown and not in it).
    pub allowed: f64,
    /// What was bad so far, in the same unit.
    pub spent: f64,
}

impl CalendarBudget {
    /// The share of the budget that is left; may be negative. `None` where there is no budget.
    pub fn remaining(&self) -> Option<f64> {
        (self.allowed > 0.0).then(|| 1.0 - self.spent / self.allowed)
    }
}

impl Calendar {
    /// The period in which `now` lies, by the days of `zone`. `None` outside the years that a calendar knows.
    pub fn period(self, zone: &TimeZone, now: Moment) -> Option<Period> {
        let today = now.timestamp()?.to_zoned(zone.clone()).date();
        let first = match self {
            Calendar::Day => today,
            Calendar::Week => {
                let back = today.weekday().since(Weekday::Monday);
                today.checked_sub(i64::from(back).days()).ok()?
            }
            Calendar::Month => today.first_of_month(),
            Calendar::Quarter => Date::new(today.year(), (today.month() - 1) / 3 * 3 + 1, 1).ok()?,
            Calendar::Year => today.first_of_year(),
        };
        let length = match self {
            Calendar::Day => 1.day(),
            Calendar::Week => 1.week(),
            Calendar::Month => 1.month(),
            Calendar::Quarter => 3.months(),
            Calendar::Year => 1.year(),
        };
        // A day begins at its first instant, which is not always midnight: clocks go forward at midnight, too.
        let begin = |date: Date| {
            let start = date.to_zoned(zone.clone()).ok()?.round(ZonedRound::new().smallest(Unit::Day).mode(RoundMode::Trunc)).ok()?;
            Some(Moment::from(start.timestamp()))
        };
        Some(Period { from: begin(first)?, to: begin(first.checked_add(length).ok()?)? })
    }
}

impl Measure {
    /// Where the objective stands in its calendar period at `now`; `None` if it has no calendar.
    #[expect(clippy::cast_precision_loss, reason = "the quotient of two rounded numbers is right to 2e-16")]
    pub fn calendar_budget(&self, now: Moment) -> Option<CalendarBudget> {
        let period = self.slo.calendar?.period(&self.slo.time_zone, now)?;
        let Amounts { bad, total } = self.amounts(period.from, now);
        let error = self.error_ratio(period.from, now);
        // Integrals are in milliseconds.
        let unit = if self.slo.sli.held() { 1000.0 } else { 1.0 };
        let left: Span = period.to.since(now);
        let allowed = self.slo.budget() * (total as f64 + self.rates(now).total as f64 * left.0 as f64) / unit;
        // By controls, what is bad is the mean ratio of all there is.
        let spent = match self.slo.weights {
            Weights::Controls => error.unwrap_or(0.0) * total as f64 / unit,
            Weights::Equal | Weights::Severity(_) => bad as f64 / unit,
        };
        Some(CalendarBudget { period, error, allowed, spent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::{ControlSelector, Slo, Timeline};
    use std::sync::Arc;

    fn at(text: &str) -> Moment {
        Moment::from_rfc3339(text).expect("an instant")
    }

    fn zone(name: &str) -> TimeZone {
        jiff::tz::TimeZoneDatabase::bundled().get(name).expect("a zone")
    }

    #[test]
    fn periods_by_the_days_of_a_zone() {
        let berlin = zone("Europe/Berlin");
        for (calendar, now, from, to) in [
            // Midnight in Berlin is 23:00 or 22:00 UTC; October has the hour of summer time's end.
            (Calendar::Month, "2026-10-15T12:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
            (Calendar::Month, "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"),
            (Calendar::Quarter, "2026-11-25T00:00:00Z", "2026-09-30T22:00:00Z", "2026-12-31T23:00:00Z"),
            (Calendar::Year, "2026-12-31T23:30:00Z", "2026-12-31T23:00:00Z", "2027-12-31T23:00:00Z"),
            (Calendar::Week, "2026-11-25T12:00:00Z", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"),
            // The day on which clocks go back has 25 hours.
            (Calendar::Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ] {
            let period = calendar.period(&berlin, at(now)).expect("a period");
            assert_eq!((period.from, period.to), (at(from), at(to)), "{calendar} at {now}");
        }
        // Where clocks go forward at midnight, the day begins at one.
        let period = Calendar::Day.period(&zone("America/Santiago"), at("2026-09-06T12:00:00Z")).expect("a period");
        assert_eq!(period.to.since(period.from), Span::HOUR.times(23));
        assert_eq!(Calendar::Month.period(&TimeZone::UTC, Moment::NEVER), None);
    }

    /// September in UTC, 100 resources from its first day, 200 from day 10 on, 5 of them bad since; asked on day 20.
    #[test]
    fn the_budget_of_a_month_counts_the_days_to_come() {
        let mut t = Timeline::new();
        t.change(at("2026-09-01T00:00:00Z"), [100, 0, 0, 0], [0; 4]);
        t.change(at("2026-09-11T00:00:00Z"), [95, 5, 0, 0], [0; 4]);
        let slo = Slo { calendar: Some(Calendar::Month), ..Slo::new("s", "n", ControlSelector::default(), 0.99, Span::DAY.times(30)) };
        let m = Measure { slo, parts: vec![Arc::new(t)], slices: None };
        let b = m.calendar_budget(at("2026-09-21T00:00:00Z")).expect("it has a calendar");
        // 10 × 100 + 10 × 200 observed, 10 × 200 to come: 1 % of 5000 resource-days. 5 bad for 10 days.
        assert!((b.allowed - 50.0 * 86_400.0).abs() < 1e-6 && (b.spent - 50.0 * 86_400.0).abs() < 1e-6, "{b:?}");
        assert!(b.remaining().expect("a budget").abs() < 1e-12);
        assert!((b.error.expect("data") - 50.0 / 3000.0).abs() < 1e-12);
    }
}
