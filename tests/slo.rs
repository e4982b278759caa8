//! The mathematics against numbers worked out by another route, in another language.

use bornright::domain::Span;
use bornright::slo::tier::tiers;
use std::fmt::Write as _;

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
