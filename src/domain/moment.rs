//! Instants and lengths of time as whole milliseconds: exact to add, compare and integrate.

use std::fmt;
use std::ops::{Add, Sub};

/// An instant: whole milliseconds since the Unix epoch, UTC.
///
/// All accounting is done in this unit with integers, so that two programs that integrate the same
/// history get the same number, bit for bit (`f64` appears only when a number is printed).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub i64);

/// A length of time in whole milliseconds, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Moment {
    /// The last representable instant: "never" as a deadline.
    pub const NEVER: Moment = Moment(i64::MAX);

    /// Seconds since the Unix epoch, for printing as a metric.
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms is the year 287396")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// An instant from whole seconds since the Unix epoch; saturates.
    pub fn from_seconds(seconds: i64) -> Moment {
        Moment(seconds.saturating_mul(1000))
    }

    /// The instant as a `jiff::Timestamp`, if it lies within jiff's range.
    pub fn timestamp(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_millisecond(self.0).ok()
    }

    /// Reads RFC 3339 with an offset (`2027-01-31T00:00:00Z`). Without an offset it is no instant: `None`.
    pub fn from_rfc3339(text: &str) -> Option<Moment> {
        text.parse::<jiff::Timestamp>().ok().map(Moment::from)
    }

    /// The length from `earlier` to `self`; zero when `earlier` is later (a clock that went back burns nothing).
    pub fn since(self, earlier: Moment) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<jiff::Timestamp> for Moment {
    fn from(t: jiff::Timestamp) -> Moment {
        // Floor, so that evidence is never taken for newer than it is, before the epoch as after it.
        Moment(t.as_nanosecond().div_euclid(1_000_000).try_into().unwrap_or(i64::MAX))
    }
}

impl Add<Span> for Moment {
    type Output = Moment;
    fn add(self, span: Span) -> Moment {
        Moment(self.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

impl Sub<Span> for Moment {
    type Output = Moment;
    fn sub(self, span: Span) -> Moment {
        Moment(self.0.saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 in UTC, e.g. `2026-11-23T06:00:00Z`; `never` for [`Moment::NEVER`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timestamp() {
            Some(t) => write!(f, "{t}"),
            None => f.write_str("never"),
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Span {
    /// One second.
    pub const SECOND: Span = Span(1000);
    /// One minute.
    pub const MINUTE: Span = Span(60_000);
    /// One hour.
    pub const HOUR: Span = Span(3_600_000);
    /// One day of 24 hours.
    pub const DAY: Span = Span(86_400_000);

    /// The length in seconds.
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms is 285 000 years")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// `n` times this length; saturates.
    pub fn times(self, n: u64) -> Span {
        Span(self.0.saturating_mul(n))
    }

    /// The length for `std::time` and tokio.
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Reads a duration as Prometheus writes it: `15m`, `1d12h`, `90s`, `500ms`, `2w`, `1y` (365 days).
    ///
    /// # Errors
    /// A sentence that says what was expected, for the configuration's reader.
    pub fn parse(text: &str) -> Result<Span, String> {
        const UNITS: [(&str, u64); 7] =
            [("y", 365 * 86_400_000), ("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let wrong = || format!("`{text}` is not a duration; write it as in Prometheus: 30s, 15m, 6h, 1d, 2w, 1d12h");
        let mut rest = text;
        let mut total: u64 = 0;
        let mut last = UNITS.len() + 1;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let place = UNITS.iter().position(|(name, _)| *name == &rest[..unit_len]).ok_or_else(wrong)?;
            // Units run from large to small, each once: `5m1h` is more likely a slip than a wish.
            if last != UNITS.len() + 1 && place <= last {
                return Err(wrong());
            }
            last = place;
            total = number
                .checked_mul(UNITS[place].1)
                .and_then(|ms| total.checked_add(ms))
                .ok_or_else(|| format!("`{text}` is too long a duration"))?;
            rest = &rest[unit_len..];
        }
        Ok(Span(total))
    }
}

impl fmt::Display for Span {
    /// As Prometheus writes durations, largest units first: `1d12h`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_prometheus_writes_them() {
        for (text, ms) in [
            ("30s", 30_000),
            ("15m", 900_000),
            ("1d12h", 129_600_000),
            ("2w", 1_209_600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0s", 0),
        ] {
            assert_eq!(Span::parse(text), Ok(Span(ms)), "{text}");
        }
        for text in ["", "5", "m", "5 m", "5m1h", "1h1h", "-5m", "1.5h", "99999999999999y"] {
            assert!(Span::parse(text).is_err(), "{text:?} was taken");
        }
        assert_eq!(Span(129_600_000).to_string(), "1d12h");
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_negative_length() {
        assert_eq!(Moment(5).since(Moment(9)), Span(0));
        assert_eq!(Moment(9).since(Moment(5)), Span(4));
    }
}
