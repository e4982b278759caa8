//! Instants as scanners write them.

use crate::domain::Moment;

/// Reads an instant; no zone is UTC.
pub(super) fn parse(text: &str) -> Option<Moment> {
    let text = text.trim();
    text.parse::<jiff::Timestamp>()
        .ok()
        .or_else(|| text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp()))
        .map(Moment::from)
}
