//! Numbers and times for people.

use crate::domain::{Counts, Moment, Span, State};
use crate::exposition::names::why_no_ratio;
use std::fmt;

/// A ratio with its honesty beside it, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// `75 %`.
    pub(super) ratio: Option<String>,
    /// `60 % to 80 %`; only where unknown resources make them differ from the ratio.
    pub(super) bounds: Option<String>,
    /// `86.6 %`.
    pub(super) coverage: Option<String>,
    /// Why there is no ratio.
    pub(super) why: &'static str,
    /// Numbers of resources, in the order of [`State::ALL`].
    pub(super) counts: [String; 4],
    /// Whether any does not comply.
    pub(super) fails: bool,
    /// A bar of a thousand units: where each state begins and how long it is.
    pub(super) bar: [(u64, u64); 4],
}

impl Share {
    /// `all` is counted and drawn, `divisible` is divided.
    pub(super) fn of(all: &Counts, divisible: &Counts, has_ratio: bool) -> Share {
        let why = why_no_ratio(divisible, has_ratio);
        let [good, bad, unknown, waived] = divisible.0;
        let verdicts = good + bad;
        let concerned = verdicts + unknown;
        let population = concerned + waived;
        let bounds = (has_ratio && concerned > 0 && unknown > 0)
            .then(|| format!("{} to {}", percent(good, concerned, Round::Down), percent(good + unknown, concerned, Round::Up)));
        Share {
            ratio: why.is_none().then(|| percent(good, verdicts, Round::Down)),
            bounds,
            coverage: (has_ratio && population > 0).then(|| percent(population - unknown, population, Round::Down)),
            why: why.unwrap_or_default(),
            counts: all.0.map(amount),
            fails: all[State::NonCompliant] > 0,
            bar: bar(all),
        }
    }

    pub(super) fn has_ratio(&self) -> bool {
        self.ratio.is_some()
    }
}

/// The four states as lengths that fill a thousand units. One that is there is always seen.
fn bar(counts: &Counts) -> [(u64, u64); 4] {
    let total = counts.total();
    if total == 0 {
        return [(0, 0); 4];
    }
    let mut lengths = counts.0.map(|n| if n == 0 { 0 } else { ((u128::from(n) * 1000 / u128::from(total)) as u64).max(8) });
    // What was given to the small ones, or lost in rounding, is taken from or given to the largest.
    let sum: u64 = lengths.iter().sum();
    if let Some(largest) = lengths.iter_mut().max() {
        *largest = (*largest + 1000).saturating_sub(sum);
    }
    let mut at = 0;
    lengths.map(|length| {
        at += length;
        (at - length, length)
    })
}

/// A way to lose the digits that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    Down,
    Up,
}

/// `part` of `whole` in percent with at most one decimal. What is not all never reads 100 %, what is not nothing never
/// reads 0 %.
fn percent(part: u64, whole: u64, round: Round) -> String {
    let exact = u128::from(part) * 1000;
    let whole_wide = u128::from(whole.max(1));
    let permille = match round {
        Round::Down => exact / whole_wide,
        Round::Up => exact.div_ceil(whole_wide),
    };
    match permille {
        0 if part > 0 => "under 0.1\u{a0}%".to_owned(),
        1000 if part < whole => "over 99.9\u{a0}%".to_owned(),
        n if n % 10 == 0 => format!("{}\u{a0}%", n / 10),
        n => format!("{}.{}\u{a0}%", n / 10, n % 10),
    }
}

/// A share in percent with at most two decimals. What is not all never reads 100 %; below nothing it has a minus.
pub(super) fn share(ratio: f64, round: Round) -> String {
    // A rounding's worth of room, so that 0.99 is 99 % and not 98.99 %.
    let hundredths = match round {
        Round::Down => (ratio * 10_000.0 + 1e-9).floor(),
        Round::Up => (ratio * 10_000.0 - 1e-9).ceil(),
    };
    let text = format!("{}\u{a0}%", hundredths / 100.0);
    match text.strip_prefix('-') {
        Some(positive) => format!("−{positive}"),
        None => text,
    }
}

/// Resource-seconds in a unit that people know.
pub(super) fn resource_time(seconds: f64) -> String {
    let (unit, word) = [(86_400.0, "resource-days"), (3600.0, "resource-hours"), (60.0, "resource-minutes")]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit)
        .unwrap_or((1.0, "resource-seconds"));
    format!("{:.1}\u{a0}{word}", seconds / unit)
}

/// A number with its thousands apart.
pub(super) fn amount(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// How long ago something was.
pub(super) struct Age(Option<(Moment, Moment)>);

impl Age {
    pub(super) fn of(at: Option<Moment>, now: Moment) -> Age {
        Age(at.map(|at| (at, now)))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("never"),
            Some((at, now)) => write!(f, "{} ago", length(now.since(at))),
        }
    }
}

/// A length in its two largest units: `1 h 30 min`.
pub(super) fn length(span: Span) -> String {
    let seconds = span.0 / 1000;
    let parts = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = parts.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(3);
    let (unit, word) = parts[first];
    let mut out = format!("{}\u{a0}{word}", amount(seconds / unit));
    if let Some((small, word)) = parts.get(first + 1).filter(|(small, _)| seconds % unit >= *small) {
        out.push_str(&format!(" {}\u{a0}{word}", seconds % unit / small));
    }
    out
}

/// An instant to the second, in UTC.
pub(super) fn instant(at: Moment) -> String {
    match at.timestamp() {
        Some(t) => t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => "never".to_owned(),
    }
}

/// Text as one segment of a path or one value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_makes_nothing_look_better() {
        let nb = |s: &str| s.replace(' ', "\u{a0}").replace("under\u{a0}", "under ").replace("over\u{a0}", "over ");
        for (part, whole, down, up) in [
            (3, 4, "75 %", "75 %"),
            (2, 3, "66.6 %", "66.7 %"),
            (1999, 2000, "99.9 %", "over 99.9 %"),
            (999_999, 1_000_000, "99.9 %", "over 99.9 %"),
            (1, 2000, "under 0.1 %", "0.1 %"),
            (0, 5, "0 %", "0 %"),
            (5, 5, "100 %", "100 %"),
            (57, 100, "57 %", "57 %"),
            (u64::MAX, u64::MAX, "100 %", "100 %"),
        ] {
            assert_eq!(percent(part, whole, Round::Down), nb(down));
            assert_eq!(percent(part, whole, Round::Up), nb(up));
        }
    }

    #[test]
    fn shares_keep_two_decimals_and_round_against_us() {
        for (ratio, down, up) in
            [(0.99, "99_%", "99_%"), (0.999_951, "99.99_%", "100_%"), (-4.0, "−400_%", "−400_%"), (1.0, "100_%", "100_%")]
        {
            let nb = |s: &str| s.replace('_', "\u{a0}");
            assert_eq!((share(ratio, Round::Down), share(ratio, Round::Up)), (nb(down), nb(up)), "{ratio}");
        }
        assert_eq!(resource_time(207_360.0), "2.4\u{a0}resource-days");
    }

    #[test]
    fn a_share_says_its_bounds_or_why_there_is_none() {
        let share = |counts| Share::of(&Counts(counts), &Counts(counts), true);
        let s = share([6, 2, 2, 5]);
        assert_eq!((s.ratio.as_deref(), s.coverage.as_deref()), (Some("75\u{a0}%"), Some("86.6\u{a0}%")));
        assert_eq!(s.bounds.as_deref(), Some("60\u{a0}% to 80\u{a0}%"));
        assert_eq!(share([4, 0, 0, 0]).bounds, None, "nothing is unknown: there is nothing to bound");
        let s = share([0, 0, 3, 0]);
        assert_eq!((s.ratio, s.bounds.as_deref()), (None, Some("0\u{a0}% to 100\u{a0}%")));
        assert!(s.why.contains("nothing is known"));
        assert_eq!(share([0; 4]).coverage, None);
    }

    #[test]
    fn a_bar_is_full_and_shows_the_smallest_part() {
        for counts in [[1, 0, 0, 0], [1_000_000, 1, 0, 0], [1, 1, 1, 1], [3, 3, 3, 0], [1, 1, 1, 1_000_000], [1, 0, u64::MAX / 4, 5]] {
            let bar = bar(&Counts(counts));
            assert_eq!(bar.iter().map(|b| b.1).sum::<u64>(), 1000, "{counts:?}");
            assert!(bar.iter().zip(counts).all(|(b, n)| (b.1 > 0) == (n > 0)), "{counts:?} {bar:?}");
        }
        assert_eq!(bar(&Counts([0; 4])), [(0, 0); 4]);
    }

    #[test]
    fn lengths_and_amounts_read_well() {
        let nb = |s: &str| s.replace('_', "\u{a0}");
        assert_eq!(length(Span(0)), nb("0_s"));
        assert_eq!(length(Span::MINUTE.times(90)), nb("1_h 30_min"));
        assert_eq!(length(Span::DAY.times(9)), nb("9_d"));
        assert_eq!(length(Span(Span::DAY.0 + 59_000)), nb("1_d"));
        assert_eq!(amount(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(amount(999), "999");
        assert_eq!(Age::of(None, Moment(0)).to_string(), "never");
        assert_eq!(encoded("a/b ü\"<"), "a%2Fb%20%C3%BC%22%3C");
    }
}
