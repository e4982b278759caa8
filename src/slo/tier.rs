//! Alert tiers of one SLO: the catalogue of its period, bent to how often scanners run (slo.md section 5.3).
//!
//! A window shorter than the scan interval confirms nothing, but does no harm either: evidence is held, so the short
//! window ends the alert soon after the scan that shows the fix. What must change with slow scans is the *long* window,
//! whose factor says how much of the budget is gone.

use super::lint::{Code, Level, Lint};
use super::window::{self, CatalogueTier, quotient};
use super::{Sli, Slo};
use crate::domain::Span;
use crate::domain::finding::closed_words;
use std::fmt;

closed_words! {
    /// Whom an alert reaches, and when.
    Urgency {
        /// Somebody is woken.
        Page = "page",
        /// Somebody looks within working hours.
        Ticket = "ticket",
    }
}

/// One pair of windows: fires while the error ratio exceeds `factor` × budget over both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tier {
    /// Page or ticket.
    pub severity: Urgency,
    /// The long window L′.
    pub long: Span,
    /// The short window S′.
    pub short: Span,
    /// The burn rate f′ from which it fires.
    pub factor: f64,
    /// The share p′ = f′·L′/P of the period's budget that is used when it fires.
    pub budget_share: f64,
}

impl Tier {
    /// f·b, the error ratio that both windows must exceed.
    pub fn threshold(&self, budget: f64) -> f64 {
        self.factor * budget
    }
}

/// The alerts of an SLO, and what had to be changed about the catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tiers {
    /// Pages before tickets, in each the shorter long window first. Empty: nothing can fire (an SLO104 error says so).
    pub tiers: Vec<Tier>,
    /// SLO101 to SLO105.
    pub notes: Vec<Lint>,
}

impl Tiers {
    /// The tiers of one severity.
    pub fn of(&self, severity: Urgency) -> impl Iterator<Item = &Tier> {
        self.tiers.iter().filter(move |t| t.severity == severity)
    }

    /// The shortest window that any alert reads: the one of `slo:current_burn_rate:ratio`. 5m where no tier is left.
    pub fn shortest(&self) -> Span {
        self.tiers.iter().map(|t| t.short).min().unwrap_or(window::STANDARD[0])
    }

    /// All windows that the alerts read.
    pub fn windows(&self) -> impl Iterator<Item = Span> {
        self.tiers.iter().flat_map(|t| [t.short, t.long])
    }
}

impl Slo {
    /// The alert tiers of this SLO, see [`tiers`]. `scan_interval` is used unless the SLO says its own.
    pub fn tiers(&self, scan_interval: Span, scrape_interval: Span) -> Tiers {
        // A slice is counted when it closes: with slices longer than the scan interval, they are what is waited for.
        let scan_interval = match self.sli {
            Sli::TimeSlice { slice, .. } => self.scan_interval.unwrap_or(scan_interval).max(slice),
            _ => self.scan_interval.unwrap_or(scan_interval),
        };
        tiers(self.objective, self.period, self.sli.held(), scan_interval, scrape_interval, self.rescan_on_demand)
    }
}

/// A scan slower than this brings nothing new while somebody who was woken is still awake.
const NIGHT: Span = Span(6 * Span::HOUR.0);
/// Factors are decimals divided by decimals: what lies this close to 1 is 1.
const EPSILON: f64 = 1e-12;

/// A tier on its way through the five steps.
struct Draft {
    was: CatalogueTier,
    severity: Urgency,
    short: Span,
    long: Span,
    factor: f64,
}

/// The alert tiers for an objective t (0 < t < 1) and a period P, by the five steps of slo.md section 5.3.
///
/// `sli_held` is [`super::Sli::held`]: integrals have data in every window, events may have none in a short one.
pub fn tiers(objective: f64, period: Span, sli_held: bool, scan_interval: Span, scrape_interval: Span, rescan_on_demand: bool) -> Tiers {
    let budget = super::objective::budget(objective);
    let mut notes = Vec::new();
    let mut note = |code, level, message: String, help: String| notes.push(Lint { code, level, message, help });
    let twice = scan_interval.times(2);
    let mut drafts: Vec<Draft> = window::catalogue(period)
        .into_iter()
        .map(|was| {
            // Step 1.
            let short = window::nice_up(was.short.max(scrape_interval.times(4)).max(if sli_held { Span(0) } else { twice }));
            let mut long = window::nice_up(was.long.max(twice));
            if short.times(4) > long {
                long = window::nice_up(short.times(4));
            }
            // Step 2: no tier waits for more than a quarter of the budget because its window was raised.
            let factor = if long == was.long { was.factor } else { was.factor.min(quotient(period.0, 4 * long.0.max(1))).max(1.0) };
            if long != was.long {
                note(
                    Code::LongRaised,
                    Level::Info,
                    format!(
                        "the long window of the {} over {} is raised to {}, its factor {}",
                        was.urgency,
                        window::name(was.long),
                        window::name(long),
                        if factor == was.factor {
                            format!("stays {}", rounded(factor))
                        } else {
                            format!("falls from {} to {}", rounded(was.factor), rounded(factor))
                        },
                    ),
                    format!("scans run every {scan_interval}: a shorter window would claim a share of the budget that it cannot know"),
                );
            }
            // Step 3.
            let night = was.urgency == Urgency::Page && scan_interval > NIGHT && !rescan_on_demand;
            if night {
                note(
                    Code::PageDowngraded,
                    Level::Info,
                    format!("the page over {} becomes a ticket", window::name(long)),
                    format!(
                        "scans run every {scan_interval}, so nothing new can be learned before the next; if whoever is paged can start a scan, say `rescan_on_demand: true`"
                    ),
                );
            }
            Draft { was, severity: if night { Urgency::Ticket } else { was.urgency }, short, long, factor }
        })
        .collect();
    // Step 4: in the catalogue's order, so that the first of equals stays and takes the smallest of each.
    let mut merged: Vec<Draft> = Vec::new();
    for draft in drafts.drain(..) {
        match merged.iter_mut().find(|m| m.severity == draft.severity && m.long == draft.long) {
            None => merged.push(draft),
            Some(same) => {
                note(
                    Code::Merged,
                    Level::Info,
                    format!(
                        "the {} that was over {} is merged into the {} over {}",
                        draft.was.urgency,
                        window::name(draft.was.long),
                        same.severity,
                        window::name(same.long),
                    ),
                    String::new(),
                );
                same.factor = same.factor.min(draft.factor);
                same.short = same.short.min(draft.short);
            }
        }
    }
    // Step 5.
    let objective = rounded(100.0 * objective);
    let mut dropped = Vec::new();
    let mut left = Vec::new();
    for d in merged {
        let threshold = d.factor * budget;
        if threshold >= 1.0 - EPSILON {
            dropped.push(d);
            continue;
        }
        if threshold > 0.5 + EPSILON {
            note(
                Code::HardToFire,
                Level::Warning,
                format!(
                    "the {} over {} fires only when more than {} % is bad (factor {} at an objective of {objective} %)",
                    d.severity,
                    window::name(d.long),
                    rounded(threshold * 100.0),
                    rounded(d.factor),
                ),
                "a higher objective would make it fire sooner; else count on the slower alerts".to_owned(),
            );
        }
        let budget_share = d.factor * d.long.seconds() / period.seconds();
        left.push(Tier { severity: d.severity, long: d.long, short: d.short, factor: d.factor, budget_share });
    }
    for d in dropped {
        note(
            Code::CannotFire,
            if left.is_empty() { Level::Error } else { Level::Warning },
            format!(
                "the {} over {} can never fire and is left out: with an objective of {objective} % the burn rate is at most {}, its factor is {}",
                d.severity,
                window::name(d.long),
                rounded(1.0 / budget),
                rounded(d.factor),
            ),
            if left.is_empty() {
                "no alert is left: raise the objective, or lengthen the period".to_owned()
            } else {
                format!("it needs an objective above {} %; the slower alerts remain", rounded(100.0 * (1.0 - 1.0 / d.factor)))
            },
        );
    }
    left.sort_by_key(|t| (t.severity, t.long));
    notes.sort_by_key(|n| n.code);
    Tiers { tiers: left, notes }
}

/// Four decimals at most, for sentences.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(text: &str) -> Span {
        Span::parse(text).expect("a duration")
    }

    fn shown(t: &Tiers) -> Vec<String> {
        t.tiers.iter().map(|t| format!("{} {}/{} {}", t.severity, window::name(t.short), window::name(t.long), t.factor)).collect()
    }

    fn held(objective: f64, period: &str, scan: &str) -> Tiers {
        let slo = Slo::new("s", "n", crate::slo::ControlSelector::default(), objective, span(period));
        slo.tiers(span(scan), span("1m"))
    }

    fn codes(t: &Tiers) -> Vec<(&'static str, &'static str)> {
        t.notes.iter().map(|n| (n.code.word(), n.level.word())).collect()
    }

    #[test]
    fn the_examples_of_section_5_3() {
        for (period, scan, expected) in [
            ("30d", "5m", vec!["page 5m/1h 14.4", "page 30m/6h 6", "ticket 2h/1d 3", "ticket 6h/3d 1"]),
            ("30d", "1h", vec!["page 5m/2h 14.4", "page 30m/6h 6", "ticket 2h/1d 3", "ticket 6h/3d 1"]),
            ("30d", "6h", vec!["page 5m/12h 6", "ticket 2h/1d 3", "ticket 6h/3d 1"]),
            ("30d", "1d", vec!["ticket 5m/2d 3", "ticket 6h/3d 1"]),
            ("30d", "7d", vec!["ticket 5m/2w 1"]),
            ("90d", "1d", vec!["ticket 15m/2d 6", "ticket 6h/3d 3", "ticket 18h/9d 1"]),
        ] {
            assert_eq!(shown(&held(0.99, period, scan)), expected, "{period}, every {scan}");
        }
    }

    #[test]
    fn every_change_is_said() {
        assert_eq!(codes(&held(0.99, "30d", "5m")), []);
        assert_eq!(codes(&held(0.99, "30d", "1h")), [("SLO101", "info")]);
        assert_eq!(codes(&held(0.99, "30d", "6h")), [("SLO101", "info"), ("SLO101", "info"), ("SLO103", "info")]);
        // Daily: three windows raised, both pages downgraded, three tiers become one.
        let daily = ["SLO101", "SLO101", "SLO101", "SLO102", "SLO102", "SLO103", "SLO103"].map(|c| (c, "info"));
        assert_eq!(codes(&held(0.99, "30d", "1d")), daily);
    }

    #[test]
    fn what_cannot_fire_is_left_out_and_said() {
        // 90 %: the burn rate is at most 10, so 14.4 is out; 6 fires only above 60 % bad.
        let t = held(0.9, "30d", "5m");
        assert_eq!(shown(&t), ["page 30m/6h 6", "ticket 2h/1d 3", "ticket 6h/3d 1"]);
        assert_eq!(codes(&t), [("SLO104", "warning"), ("SLO105", "warning")]);
        assert_eq!(
            t.notes[0].message,
            "the page over 1h can never fire and is left out: with an objective of 90 % the burn rate is at most 10, its factor is 14.4"
        );
        assert_eq!(t.notes[0].help, "it needs an objective above 93.0556 %; the slower alerts remain");
        // Exactly at the edge: 0.25 × 40d / 2d × 0.2 = 1 can never be exceeded, and all that is left is the slowest.
        let t = tiers(0.8, span("40d"), true, span("1d"), span("1m"), true);
        assert_eq!(shown(&t), ["ticket 3h/2d 3", "ticket 8h/4d 1"]);
    }

    #[test]
    fn a_scan_on_demand_keeps_the_page() {
        let mut slo = Slo::new("s", "n", crate::slo::ControlSelector::default(), 0.99, span("30d"));
        slo.rescan_on_demand = true;
        assert_eq!(shown(&slo.tiers(span("1d"), span("1m"))), ["page 5m/2d 3.75", "ticket 2h/2d 3", "ticket 6h/3d 1"]);
        // What the SLO itself says of its scans goes before what collectors say.
        slo.scan_interval = Some(span("5m"));
        assert_eq!(slo.tiers(span("1d"), span("1m")).tiers.len(), 4);
    }

    #[test]
    fn events_need_short_windows_that_hold_two_scans() {
        let t = tiers(0.99, span("30d"), false, span("1h"), span("1m"), false);
        // 2h short needs 8h long: 14.4 and 6 both end there, and 0.25·720h/8h = 22.5 changes neither.
        assert_eq!(shown(&t), ["page 2h/8h 6", "ticket 2h/1d 3", "ticket 6h/3d 1"]);
    }

    #[test]
    fn a_slow_scrape_raises_the_short_window_and_with_it_the_long_one() {
        let t = tiers(0.99, span("30d"), true, span("5m"), span("5m"), false);
        assert_eq!(shown(&t), ["page 20m/1h30m 14.4", "page 30m/6h 6", "ticket 2h/1d 3", "ticket 6h/3d 1"]);
    }

    proptest! {
        #[test]
        fn whatever_the_input_the_rules_of_the_section_hold(
            basis_points in 1u32..9999,
            period_days in 1u64..800,
            scan_minutes in 1u64..60_000,
            scrape_seconds in 1u64..3600,
            held: bool,
            rescan: bool,
        ) {
            let budget = f64::from(basis_points) / 1e4;
            let period = Span::DAY.times(period_days);
            let (scan, scrape) = (Span::MINUTE.times(scan_minutes), Span::SECOND.times(scrape_seconds));
            let t = tiers(1.0 - budget, period, held, scan, scrape, rescan);
            for tier in &t.tiers {
                prop_assert!(tier.long >= scan.times(2) && tier.short.times(4) <= tier.long);
                prop_assert!(tier.short >= scrape.times(4) && (held || tier.short >= scan.times(2)));
                prop_assert!(tier.factor * budget < 1.0);
                prop_assert!(tier.severity == Urgency::Ticket || scan <= NIGHT || rescan);
                prop_assert!((tier.budget_share - tier.factor * tier.long.seconds() / period.seconds()).abs() < 1e-9);
            }
            for (i, a) in t.tiers.iter().enumerate() {
                prop_assert!(t.tiers[..i].iter().all(|b| (b.severity, b.long) != (a.severity, a.long)));
            }
            let dead = t.notes.iter().any(|n| n.code == Code::CannotFire && n.level == Level::Error);
            prop_assert_eq!(t.tiers.is_empty(), dead);
        }
    }
}
