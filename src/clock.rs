//! The only place that asks what time it is (law 10).

use crate::domain::Moment;

/// Now, by the system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Moment {
    Moment::from(jiff::Timestamp::now())
}
