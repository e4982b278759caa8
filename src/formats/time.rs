//! Instants as scanners write them.
//!
//! Met so far: RFC 3339 with no to nine digits of fraction (seven from Azure), with `Z` or an offset; the same without
//! any zone (oscap up to 1.2, Prowler's `*_dt`), which is taken as UTC; a blank for the `T` (`2017-09-22 14:12:44 -0400`,
//! InSpec 1.x); a date alone (midnight UTC); RFC 2822; seconds since the epoch, whole or with a fraction (AWS Config,
//! Prowler's OCSF); milliseconds since the epoch (OCSF by its specification).
//!
//! Whatever lies beyond the millisecond is cut off, towards the past: evidence is never taken for newer than it is.
//! Nothing here asks what time it is now.

use crate::domain::Moment;

/// Numbers from here on are milliseconds since the epoch, smaller ones seconds: as seconds it is the year 5138, as
/// milliseconds March 1973, and no scanner ran in either.
const FIRST_MILLIS: f64 = 1e11;
/// Likewise microseconds, and nanoseconds a thousand times further on.
const FIRST_MICROS: f64 = 1e14;
const FIRST_NANOS: f64 = 1e17;

/// Reads an instant from text: any of the forms above, a number in quotes included. `None`: it is no instant.
pub(super) fn parse(text: &str) -> Option<Moment> {
    let text = text.trim();
    match text.as_bytes().first()? {
        b'0'..=b'9' if text.as_bytes().get(4) == Some(&b'-') => civil(text.as_bytes()),
        b'0'..=b'9' | b'-' | b'+' => number(text.parse().ok()?),
        b'A'..=b'Z' | b'a'..=b'z' => {
            // jiff reads a day's name and a comma, as mail and HTTP dates have them. Its own grammar allows more than ours needs.
            jiff::fmt::rfc2822::parse(text).ok().map(|zoned| Moment::from(zoned.timestamp()))
        }
        _ => None,
    }
}

/// An instant from a number whose unit the source does not say: seconds, milliseconds, microseconds or nanoseconds
/// since the epoch, by magnitude.
pub(super) fn number(n: f64) -> Option<Moment> {
    let size = n.abs();
    if size < FIRST_MILLIS {
        seconds(n)
    } else if size < FIRST_MICROS {
        millis(n)
    } else if size < FIRST_NANOS {
        millis(n / 1e3)
    } else {
        millis(n / 1e6)
    }
}

/// An instant from seconds since the epoch.
pub(super) fn seconds(n: f64) -> Option<Moment> {
    millis(n * 1000.0)
}

/// An instant from milliseconds since the epoch.
pub(super) fn millis(n: f64) -> Option<Moment> {
    // 2^53: beyond it the text had more digits than the number keeps, and the year is past 285 000 anyway.
    if !n.is_finite() || n.abs() > 9_007_199_254_740_992.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, finite and within 2^53 by the lines above")]
    shown(Moment(n.floor() as i64))
}

/// Only what can be shown and stored as a date is an instant to us.
fn shown(moment: Moment) -> Option<Moment> {
    moment.timestamp().map(|_| moment)
}

/// `YYYY-MM-DD[(T| )HH:MM[:SS[(.|,)fraction]][zone]]`. Written by hand, since it stands in every record: about ten
/// times quicker than a general parser, and more forgiving about blanks and missing zones.
fn civil(b: &[u8]) -> Option<Moment> {
    let (year, rest) = digits(b, 4)?;
    let (month, rest) = digits(after(rest, b"-")?, 2)?;
    let (day, mut rest) = digits(after(rest, b"-")?, 2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let mut ms = days_from_epoch(year, month, day) * 86_400_000;
    if rest.is_empty() {
        return shown(Moment(ms));
    }
    rest = after(rest, b"Tt ")?;
    while let [b' ', more @ ..] = rest {
        rest = more;
    }
    let (hour, after_hour) = digits(rest, 2)?;
    let (minute, after_minute) = digits(after(after_hour, b":")?, 2)?;
    rest = after_minute;
    let mut second = 0;
    if let Some(more) = after(rest, b":") {
        (second, rest) = digits(more, 2)?;
        if let Some(fraction) = after(rest, b".,") {
            let len = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
            if len == 0 {
                return None;
            }
            let mut scale = 100;
            for d in &fraction[..len.min(3)] {
                ms += i64::from(d - b'0') * scale;
                scale /= 10;
            }
            rest = &fraction[len..];
        }
    }
    // 60 is a leap second; it counts as the second before, as POSIX time has no name for it. 24:00 is not met.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    ms += ((hour * 60 + minute) * 60 + second.min(59)) * 1000;
    shown(Moment(ms - offset(rest)?))
}

/// What a zone adds to UTC, in milliseconds; no zone is UTC.
fn offset(mut b: &[u8]) -> Option<i64> {
    while let [b' ', more @ ..] = b {
        b = more;
    }
    let sign = match b {
        b"" | b"Z" | b"z" | b"UTC" | b"GMT" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, rest) = digits(&b[1..], 2)?;
    let (minutes, rest) = match rest {
        [] => (0, rest),
        [b':', more @ ..] => digits(more, 2)?,
        [b'0'..=b'9', ..] => digits(rest, 2)?,
        _ => (0, rest),
    };
    // Go and Ruby add the zone's abbreviation after its offset (`-0400 EDT`); the offset says it all.
    let named = matches!(rest, [b' ', name @ ..] if !name.is_empty() && name.len() <= 6 && name.iter().all(u8::is_ascii_alphanumeric));
    if hours > 23 || minutes > 59 || !(rest.is_empty() || named) {
        return None;
    }
    Some(sign * (hours * 60 + minutes) * 60_000)
}

fn after<'a>(b: &'a [u8], any_of: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = b.split_first()?;
    any_of.contains(first).then_some(rest)
}

fn digits(b: &[u8], n: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = b.split_at_checked(n)?;
    let mut value = 0;
    for c in head {
        if !c.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(c - b'0');
    }
    Some((value, rest))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years begin in March here, so that the leap day comes last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let expected =
            if expected.is_empty() { None } else { Some(expected.parse::<jiff::Timestamp>().expect("a test's own instant").into()) };
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn every_form_met() {
        check("2026-11-23T06:00:00Z", "2026-11-23T06:00:00Z");
        check("2026-11-23t06:00:00z", "2026-11-23T06:00:00Z");
        check("2022-01-19T01:36:54.0519999Z", "2022-01-19T01:36:54.051Z");
        check("2022-01-19T01:36:54.123456789+02:30", "2022-01-18T23:06:54.123Z");
        check("2022-01-19T01:36:54,5", "2022-01-19T01:36:54.5Z");
        check("2022-01-19T01:36Z", "2022-01-19T01:36:00Z");
        check("2025-11-06T13:05:15.478654", "2025-11-06T13:05:15.478Z");
        check("2017-09-22 14:12:44 -0400", "2017-09-22T18:12:44Z");
        check("2017-09-22 14:12:44.5 -0400 EDT", "2017-09-22T18:12:44.5Z");
        check("2017-09-22 14:12:44 +0000 UTC", "2017-09-22T14:12:44Z");
        check("2017-09-22 14:12:44 UTC", "2017-09-22T14:12:44Z");
        check("2024-02-29", "2024-02-29T00:00:00Z");
        check(" 2024-02-29 ", "2024-02-29T00:00:00Z");
        check("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z");
        check("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z");
        check("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z");
        check("1739539640", "2025-02-14T13:27:20Z");
        check("1739539640.25", "2025-02-14T13:27:20.25Z");
        check("1739539640250", "2025-02-14T13:27:20.25Z");
        check("1.666094801e+09", "2022-10-18T12:06:41Z");
    }

    #[test]
    fn what_is_no_instant_is_none() {
        for text in [
            "",
            " ",
            "never",
            "2023-02-29",
            "2023-13-01",
            "2023-00-10",
            "2023-01-32",
            "2023-01-01T24:00:00Z",
            "2023-01-01T10:61:00Z",
            "2023-01-01T10:00:00.Z",
            "2023-01-01T10:00:00X",
            "2023-01-01T10",
            "2023-01-01T10:00:00+2",
            "2023-01-01T10:00:00+24:00",
            "2023-1-1",
            "<timestamp>",
            "NaN",
            "inf",
            "1e300",
            "-1e300",
            "9999-12-31T23:59:59-23:00",
            "0000-00-00T00:00:00Z",
            "2023-01-01T10:00:00 ’",
            "é",
        ] {
            check(text, "");
        }
        assert_eq!(number(f64::NAN), None);
        assert_eq!(millis(f64::INFINITY), None);
    }

    #[test]
    fn units_are_told_by_magnitude() {
        let expected = Some(Moment(1_739_539_640_000));
        for n in [1_739_539_640.0, 1_739_539_640e3, 1_739_539_640e6, 1_739_539_640e9] {
            assert_eq!(number(n), expected, "{n}");
        }
        assert_eq!(number(0.0), Some(Moment(0)));
        assert_eq!(number(-1.5), Some(Moment(-1500)));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_jiff(ms in -62_000_000_000_000i64..253_000_000_000_000) {
            let stamp = jiff::Timestamp::from_millisecond(ms).expect("in range");
            // jiff writes years before 1000 with four digits too; negative years are out of the range above.
            proptest::prop_assert_eq!(parse(&stamp.to_string()), Some(Moment(ms)));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_near_a_date(text in "[0-9TZ:. +,-]{0,32}") {
            let _ = parse(&text);
        }
    }
}
