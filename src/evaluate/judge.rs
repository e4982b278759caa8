//! One state from everything that is held for one (control, resource) at one instant (slo.md section 2, design.md
//! section 5). Pure arithmetic on packed observations; no waiver files here, the caller asks those of what fails.

use super::entry::{Entry, Verdict};
use crate::domain::{Combine, Moment, Span};

/// What judging needs to know of a binding.
#[derive(Clone, Copy, Debug)]
pub struct BindingTerms {
    /// Evidence is unknown from `seen + max_age` on.
    pub max_age: Span,
    /// A sighting without a verdict is unknown from `first seen + grace` on.
    pub grace: Span,
    /// Whether a suppression by the source counts as a waiver.
    pub trust_suppressions: bool,
}

/// The violation sources of a control with a population: whether they ran, and until when that is fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanSources {
    /// No violation listed means none found, before this instant. `None`: some source never ran the check.
    pub fresh_until: Option<Moment>,
}

/// How one observation, or all of them together, speaks. Ordered: under `worst` the largest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voice {
    /// Outside the population.
    NotApplicable,
    /// Complies.
    Pass,
    /// No information.
    Unknown,
    /// Fails, and a suppression that is trusted covers it.
    Suppressed,
    /// Fails.
    Fail,
}

/// What one observation says at `now`; `None` while it says nothing (a new resource within its grace).
pub fn voice(entry: Entry, terms: &BindingTerms, clean: CleanSources, now: Moment) -> Option<Voice> {
    let seen = entry.seen();
    let fresh = now < seen + terms.max_age;
    Some(match entry.verdict() {
        Verdict::None if now < seen + terms.grace => return None,
        Verdict::None => Voice::Unknown,
        _ if !fresh => Voice::Unknown,
        Verdict::Pass => Voice::Pass,
        Verdict::Fail if entry.suppressed() && terms.trust_suppressions => Voice::Suppressed,
        Verdict::Fail => Voice::Fail,
        Verdict::Manual => Voice::Unknown,
        Verdict::NotApplicable => Voice::NotApplicable,
        // In the population, and no violation is listed: complies as long as the listing itself is fresh.
        Verdict::Member => match clean.fresh_until {
            Some(until) if now < until => Voice::Pass,
            _ => Voice::Unknown,
        },
    })
}

/// What all observations of one (control, resource) say together at `now`.
pub fn combine(
    how: Combine,
    entries: &[Entry],
    terms: &dyn Fn(u32) -> BindingTerms,
    clean: CleanSources,
    now: Moment,
) -> Option<Voice> {
    let voices = entries.iter().filter_map(|e| voice(*e, &terms(e.binding()), clean, now).map(|v| (*e, v)));
    match how {
        Combine::Worst => voices.map(|(_, v)| v).max(),
        // Membership has no evidence of its own: it speaks only where nothing else does.
        Combine::Newest => {
            voices.max_by_key(|(e, v)| (!matches!(e.verdict(), Verdict::None | Verdict::Member), e.seen(), *v)).map(|(_, v)| v)
        }
        Combine::Any => {
            let mut worst = None;
            for (_, v) in voices {
                if v == Voice::Pass {
                    return Some(Voice::Pass);
                }
                worst = worst.max(Some(v));
            }
            worst
        }
    }
}

/// The instants after `from` at which time alone may change what these observations say.
pub fn turning_points(entries: &[Entry], terms: &dyn Fn(u32) -> BindingTerms, clean: CleanSources, from: Moment, until: Moment, out: &mut Vec<Moment>) {
    let mut add = |at: Moment| {
        if from < at && at <= until {
            out.push(at);
        }
    };
    for e in entries {
        let t = terms(e.binding());
        match e.verdict() {
            Verdict::None => add(e.seen() + t.grace),
            Verdict::Manual => {}
            Verdict::Member => {
                add(e.seen() + t.max_age);
                if let Some(u) = clean.fresh_until {
                    add(u);
                }
            }
            Verdict::Pass | Verdict::Fail | Verdict::NotApplicable => add(e.seen() + t.max_age),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: BindingTerms = BindingTerms { max_age: Span(100), grace: Span(10), trust_suppressions: true };
    const T0: Moment = Moment(1_700_000_000_000);

    fn at(ms: i64) -> Moment {
        Moment(T0.0 + ms)
    }

    fn check(how: Combine, held: &[(Verdict, bool, i64)], now: i64, expected: Option<Voice>) {
        let entries: Vec<Entry> = held.iter().enumerate().map(|(i, (v, s, t))| Entry::new(i as u32, *v, *s, at(*t))).collect();
        assert_eq!(combine(how, &entries, &|_| TERMS, CleanSources::default(), at(now)), expected, "{how:?} {held:?} at {now}");
    }

    #[test]
    fn evidence_runs_out_at_the_exact_instant() {
        check(Combine::Worst, &[(Verdict::Pass, false, 0)], 99, Some(Voice::Pass));
        check(Combine::Worst, &[(Verdict::Pass, false, 0)], 100, Some(Voice::Unknown));
        check(Combine::Worst, &[(Verdict::Fail, false, 0)], 100, Some(Voice::Unknown));
        check(Combine::Worst, &[(Verdict::NotApplicable, false, 0)], 99, Some(Voice::NotApplicable));
        check(Combine::Worst, &[(Verdict::NotApplicable, false, 0)], 100, Some(Voice::Unknown));
        check(Combine::Worst, &[(Verdict::None, false, 0)], 9, None);
        check(Combine::Worst, &[(Verdict::None, false, 0)], 10, Some(Voice::Unknown));
    }

    #[test]
    fn a_dead_second_scanner_does_not_turn_a_failure_green() {
        // Scanner 1 said fail at 0 and died; scanner 2 says pass. From 100 on nobody knows.
        let held = [(Verdict::Fail, false, 0), (Verdict::Pass, false, 90)];
        check(Combine::Worst, &held, 95, Some(Voice::Fail));
        check(Combine::Worst, &held, 120, Some(Voice::Unknown));
        check(Combine::Newest, &held, 120, Some(Voice::Pass));
        check(Combine::Any, &held, 95, Some(Voice::Pass));
        check(Combine::Any, &held, 500, Some(Voice::Unknown));
    }

    #[test]
    fn newest_takes_the_worst_of_equally_new_ones() {
        check(Combine::Newest, &[(Verdict::Pass, false, 5), (Verdict::Fail, false, 5)], 6, Some(Voice::Fail));
        check(Combine::Newest, &[(Verdict::Pass, false, 5), (Verdict::Fail, true, 7)], 8, Some(Voice::Suppressed));
    }

    #[test]
    fn a_member_complies_only_while_the_violation_source_is_fresh() {
        let e = [Entry::new(0, Verdict::Member, false, at(0))];
        let clean = |u: Option<i64>| CleanSources { fresh_until: u.map(at) };
        assert_eq!(combine(Combine::Worst, &e, &|_| TERMS, clean(Some(50)), at(49)), Some(Voice::Pass));
        assert_eq!(combine(Combine::Worst, &e, &|_| TERMS, clean(Some(50)), at(50)), Some(Voice::Unknown));
        assert_eq!(combine(Combine::Worst, &e, &|_| TERMS, clean(None), at(1)), Some(Voice::Unknown));
        // The inventory itself ran out.
        assert_eq!(combine(Combine::Worst, &e, &|_| TERMS, clean(Some(5000)), at(100)), Some(Voice::Unknown));
    }
}
