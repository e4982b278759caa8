//! The mathematics against numbers worked out by another route, in another language.

use bornright::domain::{Moment, Span};
use bornright::slo::tier::tiers;
use bornright::slo::{ControlSelector, Measure, Objectives, Policy, Slo, Step, Timeline};
use std::fmt::Write as _;
use std::sync::Arc;

fn span(text: &str) -> Span {
    Span::parse(text).expect("the fixture has durations")
}

/// Five objectives × five periods × five scan intervals, held and event, with and without rescans:
/// `tests/slo/tiers.py` wrote them in exact fractions.
#[test]
fn tiers_equal_an_independent_computation() {
    let table = include_str!("slo/tiers.csv");
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [objective, period, scan, kind, rescan, expected] = fields[..] else { panic!("six fields in `{line}`") };
        let objective: f64 = objective.parse().expect("a ratio");
        let found = tiers(objective, span(period), kind == "held", span(scan), Span::MINUTE, rescan == "yes");
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let mut windows = String::new();
        for (tier, text) in found.tiers.iter().zip(&expected) {
            let parts: Vec<&str> = text.split(':').collect();
            let number = |i: usize| parts[i].parse::<f64>().expect("a number");
            assert!((tier.factor - number(3)).abs() < 1e-12, "{line}: factor {}", tier.factor);
            assert!((tier.budget_share - number(4)).abs() < 1e-12, "{line}: share {}", tier.budget_share);
            write!(windows, "{}:{}:{} ", tier.severity, tier.short.0 / 1000, tier.long.0 / 1000).expect("a text grows");
            assert!(windows.ends_with(&format!("{}:{}:{} ", parts[0], parts[1], parts[2])), "{line}: {windows}");
        }
        assert_eq!(found.tiers.len(), expected.len(), "{line}: {windows}");
        rows += 1;
    }
    assert_eq!(rows, 500);
}

/// 200 random histories (`tests/slo/timelines.py`): populations that come and go, all policies, young and full periods,
/// known future steps. Every number to 1e-9.
#[test]
fn budgets_and_forecasts_equal_adding_up_minute_by_minute() {
    let table = include_str!("slo/timelines.csv");
    let minute = |n: &str| Moment(n.parse::<i64>().expect("a minute") * 60_000);
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let f: Vec<&str> = line.split(',').collect();
        let policy = |w: &str| Policy::from_word(w).expect("a policy");
        let period = Span::MINUTE.times(f[1].parse().expect("minutes"));
        let now = minute(f[2]);
        let slo = Slo {
            unknown: policy(f[3]),
            waived: policy(f[4]),
            ..Slo::new("s", "n", ControlSelector::default(), f[0].parse().expect("a ratio"), period)
        };
        let mut timeline = Timeline::new();
        let mut held = [0i64; 4];
        for change in f[5].split(' ') {
            let parts: Vec<&str> = change.split(':').collect();
            let counts: [i64; 4] = std::array::from_fn(|i| parts[i + 1].parse().expect("a number"));
            timeline.change(minute(parts[0]), std::array::from_fn(|i| counts[i] - held[i]), [0; 4]);
            held = counts;
        }
        let steps: Vec<Step> = f[6]
            .split_whitespace()
            .map(|s| {
                let (at, bad) = s.split_once(':').expect("minute:number");
                Step { at: minute(at), bad: bad.parse().expect("a number") }
            })
            .collect();
        let m = Measure { slo, parts: vec![Arc::new(timeline)], slices: None };
        let all = Objectives::new([&m]);
        let budget = all.budget(&m, now);
        let same = |what: &str, got: Option<f64>, want: &str| match (got, want.parse::<f64>().ok()) {
            (None, None) => {}
            (Some(a), Some(b)) if a == b || (a - b).abs() <= 1e-9 * b.abs().max(1.0) => {}
            _ => panic!("{what}: {got:?} is not `{want}` in\n{line}"),
        };
        for (i, w) in [5, 60, 360, 1440].into_iter().enumerate() {
            same("ratio", m.error_ratio_over(Span::MINUTE.times(w), now), f[7 + i]);
        }
        same("period ratio", budget.error, f[11]);
        same("remaining", budget.remaining, f[12]);
        same("remaining of the full period", budget.remaining_full_period, f[13]);
        same("exhaustion", all.exhaustion_seconds(&m, &|_| steps.clone(), Span::DAY, now), f[14]);
        rows += 1;
    }
    assert_eq!(rows, 200);
}
