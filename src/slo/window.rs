//! Windows as data: their names, the ones that are always recorded, and the catalogue from which alerts are made.
//!
//! slo.md section 4. Nothing here depends on an objective or on how often scanners run; that is [`super::tier`].

use super::tier::Urgency;
use crate::domain::Span;

const fn minutes(n: u64) -> Span {
    Span(n * Span::MINUTE.0)
}
const fn hours(n: u64) -> Span {
    Span(n * Span::HOUR.0)
}
const fn days(n: u64) -> Span {
    Span(n * Span::DAY.0)
}

/// The windows of which every SLO's error ratio is recorded, whatever its period: Sloth's names, which public
/// dashboards ask for.
pub const STANDARD: [Span; 7] = [minutes(5), minutes(30), hours(1), hours(2), hours(6), days(1), days(3)];

/// The window that public dashboards read as "the month", whatever the period is.
pub const COMPAT: Span = days(30);

/// Lengths that people read at a glance; windows that have to be stretched are stretched to one of these.
pub const NICE: [Span; 32] = [
    minutes(5),
    minutes(10),
    minutes(15),
    minutes(20),
    minutes(30),
    hours(1),
    minutes(90),
    hours(2),
    hours(3),
    hours(4),
    hours(6),
    hours(8),
    hours(12),
    hours(18),
    days(1),
    hours(36),
    days(2),
    days(3),
    days(4),
    days(5),
    days(6),
    days(7),
    days(9),
    days(10),
    days(14),
    days(21),
    days(28),
    days(30),
    days(45),
    days(60),
    days(90),
    days(180),
];
/// The last of the nice lengths; beyond it, whole multiples of it.
const YEAR: Span = days(365);

/// The shortest nice length that is not shorter than `span`. Beyond a year: whole years of 365 days.
pub fn nice_up(span: Span) -> Span {
    NICE.into_iter().find(|n| *n >= span).unwrap_or_else(|| YEAR.times(span.0.div_ceil(YEAR.0)))
}

/// The name of a window as Prometheus prints durations: years and weeks only where nothing is left over, so `1w`, `4w`
/// and `1y`, but `30d`, `90d` and `1d12h`.
pub fn name(window: Span) -> String {
    if window.0 == 0 {
        return "0s".to_owned();
    }
    let mut rest = window.0;
    let mut out = String::new();
    for (unit, ms, whole) in [
        ("y", 365 * Span::DAY.0, true),
        ("w", 7 * Span::DAY.0, true),
        ("d", Span::DAY.0, false),
        ("h", Span::HOUR.0, false),
        ("m", Span::MINUTE.0, false),
        ("s", Span::SECOND.0, false),
        ("ms", 1, false),
    ] {
        if rest >= ms && (!whole || rest.is_multiple_of(ms)) {
            out.push_str(&(rest / ms).to_string());
            out.push_str(unit);
            rest %= ms;
        }
    }
    out
}

/// Every window of which an SLO's error ratio is recorded, ascending, each once: the standard ones, those its alerts
/// read, the period, and 30d for public dashboards if `compat` is wanted.
pub fn recorded(period: Span, alert_windows: impl IntoIterator<Item = Span>, compat: bool) -> Vec<Span> {
    let mut out: Vec<Span> = STANDARD.into_iter().chain(alert_windows).chain([period]).chain(compat.then_some(COMPAT)).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// An alert before the scan interval is looked at: how fast, over which two windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CatalogueTier {
    /// Page or ticket.
    pub urgency: Urgency,
    /// The short window S, which ends the alert soon after the cause is gone.
    pub short: Span,
    /// The long window L, which carries the meaning.
    pub long: Span,
    /// The burn rate f from which it fires.
    pub factor: f64,
}

/// One row of the catalogue for a period.
struct Row {
    urgency: Urgency,
    short: Span,
    long: Span,
    /// Share of the period's budget used within the long window when the alert fires, in thousandths.
    share: u64,
}

const fn rows(shares: [u64; 4]) -> [Row; 4] {
    [
        Row { urgency: Urgency::Page, short: minutes(5), long: hours(1), share: shares[0] },
        Row { urgency: Urgency::Page, short: minutes(30), long: hours(6), share: shares[1] },
        Row { urgency: Urgency::Ticket, short: hours(2), long: days(1), share: shares[2] },
        Row { urgency: Urgency::Ticket, short: hours(6), long: days(3), share: shares[3] },
    ]
}

/// The period for which the SRE Workbook (chapter 5, table 5-8) gives windows and shares; other periods are measured by it.
const BASE: Span = days(30);
/// 2 %, 5 %, 10 %, 10 %: the SRE Workbook's, and Sloth's `google-30d` and `google-28d`.
const MONTH: [Row; 4] = rows([20, 50, 100, 100]);
/// 8 %, 12.5 %, 20 %, 42 %: with the month's shares a week's tickets would have factors below 1 and tell nothing
/// (slo.md section 4, the Sloth catalogue for 7d).
const WEEK: [Row; 4] = rows([80, 125, 200, 420]);

/// The catalogue of alerts for a period (slo.md section 4): page quick, page slow, ticket quick, ticket slow.
///
/// For 7d, 28d and 30d the share of the budget is fixed and the factor follows, f = p·P/L. For every other period the
/// windows of 30d are stretched by P/30d to the next nice length and the factors stay.
pub fn catalogue(period: Span) -> [CatalogueTier; 4] {
    let (rows, base) = match period {
        p if p == days(7) => (&WEEK, p),
        p if p == days(28) => (&MONTH, p),
        _ => (&MONTH, BASE),
    };
    let scale = |window: Span| {
        if base == period { window } else { nice_up(Span(mul_div_up(window.0, period.0, BASE.0))) }
    };
    [0, 1, 2, 3].map(|i| {
        let Row { urgency, short, long, share } = rows[i];
        CatalogueTier { urgency, short: scale(short), long: scale(long), factor: quotient(share * base.0, 1000 * long.0) }
    })
}

/// ⌈a·b/c⌉; saturates.
fn mul_div_up(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)).div_ceil(u128::from(c))).unwrap_or(u64::MAX)
}

/// a/b as the nearest number: one division of two whole numbers, so that 20 ‰ of 30d over 1h is 14.4 and nothing beside it.
#[expect(clippy::cast_precision_loss, reason = "thousandths of a period in milliseconds stay far below 2^53")]
pub(super) fn quotient(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(text: &str) -> Span {
        Span::parse(text).expect("a duration")
    }

    #[test]
    fn windows_are_named_as_prometheus_names_them() {
        for (given, named) in [
            ("7d", "1w"),
            ("28d", "4w"),
            ("14d", "2w"),
            ("36h", "1d12h"),
            ("90m", "1h30m"),
            ("365d", "1y"),
            ("30d", "30d"),
            ("90d", "90d"),
            ("180d", "180d"),
            ("372d", "372d"),
            ("5m", "5m"),
            ("3d", "3d"),
            ("1500ms", "1s500ms"),
            ("0s", "0s"),
        ] {
            assert_eq!(name(span(given)), named, "{given}");
            // 372d is a year and a week, and Prometheus, too, prints neither.
            assert_eq!(Span::parse(&name(span(given))), Ok(span(given)), "{given} read back");
        }
        // 730d is two whole years; 371d = 53w.
        assert_eq!(name(span("730d")), "2y");
        assert_eq!(name(span("371d")), "53w");
    }

    #[test]
    fn nice_lengths_ascend_and_are_their_own_next() {
        assert!(NICE.is_sorted_by(|a, b| a < b));
        for n in NICE {
            assert_eq!(nice_up(n), n);
        }
        assert_eq!(nice_up(Span(1)), span("5m"));
        assert_eq!(nice_up(span("61m")), span("90m"));
        assert_eq!(nice_up(span("181d")), span("365d"));
        assert_eq!(nice_up(span("366d")), span("730d"));
    }

    #[test]
    fn the_catalogue_is_the_table_of_section_4() {
        let table = |period: &str| catalogue(span(period)).map(|t| (name(t.short), name(t.long), t.factor));
        let row = |s: &str, l: &str, f: f64| (s.to_owned(), l.to_owned(), f);
        assert_eq!(table("30d"), [row("5m", "1h", 14.4), row("30m", "6h", 6.0), row("2h", "1d", 3.0), row("6h", "3d", 1.0)]);
        assert_eq!(table("7d"), [row("5m", "1h", 13.44), row("30m", "6h", 3.5), row("2h", "1d", 1.4), row("6h", "3d", 0.98)]);
        assert_eq!(table("28d"), [row("5m", "1h", 13.44), row("30m", "6h", 5.6), row("2h", "1d", 2.8), row("6h", "3d", 14.0 / 15.0)]);
        assert_eq!(table("90d"), [row("15m", "3h", 14.4), row("1h30m", "18h", 6.0), row("6h", "3d", 3.0), row("18h", "9d", 1.0)]);
        // A fortnight: 2 min 20 s → 5m, 28 min → 30m, 14 min → 15m, 2.8 h → 3h, 56 min → 1h, 11.2 h → 12h, 1.4 d → 36h.
        assert_eq!(table("14d"), [row("5m", "30m", 14.4), row("15m", "3h", 6.0), row("1h", "12h", 3.0), row("3h", "1d12h", 1.0)]);
    }

    #[test]
    fn recorded_windows_are_sorted_and_each_once() {
        let names = |v: Vec<Span>| v.into_iter().map(name).collect::<Vec<_>>();
        assert_eq!(
            names(recorded(span("30d"), [span("2h"), span("12h")], true)),
            ["5m", "30m", "1h", "2h", "6h", "12h", "1d", "3d", "30d"]
        );
        assert_eq!(names(recorded(span("1d"), [], false)), ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]);
        assert_eq!(names(recorded(span("90d"), [], true)), ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d", "90d"]);
    }

    proptest! {
        #[test]
        fn every_name_reads_back_as_its_window(ms in 1u64..10 * 365 * 86_400_000) {
            prop_assert_eq!(Span::parse(&name(Span(ms))), Ok(Span(ms)));
        }

        #[test]
        fn the_next_nice_length_is_the_least_that_is_no_shorter(ms in 1u64..3 * 365 * 86_400_000) {
            let up = nice_up(Span(ms));
            prop_assert!(up.0 >= ms);
            prop_assert!(NICE.iter().all(|n| n.0 < ms || *n >= up));
        }
    }
}
