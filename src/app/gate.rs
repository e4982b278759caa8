//! The instant that may be exposed: never before one that was, never past what is written (laws 4 and 11).

use crate::clock::Clock;
use crate::domain::Moment;
use crate::ledger::HighWaterMark;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Decides, for every response, up to which instant counters are shown.
#[derive(Debug)]
pub(crate) struct ClockGate {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    mark: HighWaterMark,
    /// Nothing is shown past this instant: the horizon of what the writer foresaw, or, while a run is being committed,
    /// the instant at which it takes effect. A response past it would show time as spent in states that the writer
    /// may be about to change, and counters would fall. Standing still is exact: the time is accounted later.
    ceiling: Option<Moment>,
}

impl ClockGate {
    pub(crate) fn new(clock: Clock, mark: HighWaterMark) -> ClockGate {
        ClockGate { clock, inner: Mutex::new(Inner { mark, ceiling: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The value is two instants: whatever a panicking thread left is still in order.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instant for a response; the high-water mark is raised to it before this returns.
    pub(crate) fn expose(&self) -> Moment {
        let mut inner = self.lock();
        let now = self.clock.now();
        let wanted = inner.ceiling.map_or(now, |c| now.min(c));
        match inner.mark.raise(wanted) {
            Ok(at) => at,
            Err(error) => {
                // Exposing an instant that is not recorded could make counters fall after a restart. Stand still.
                tracing::error!(%error, "cannot record the instant of this response; counters stand still");
                inner.mark.get()
            }
        }
    }

    /// Stops exposed time at an instant that is not before anything exposed or written, and returns it.
    pub(crate) fn freeze(&self, not_before: Moment) -> Moment {
        let mut inner = self.lock();
        let now = self.clock.now();
        let at = inner.ceiling.map_or(now, |c| now.min(c)).max(inner.mark.get()).max(not_before);
        inner.ceiling = Some(at);
        at
    }

    /// Lets exposed time go on, up to `horizon`.
    pub(crate) fn thaw(&self, horizon: Moment) {
        self.lock().ceiling = Some(horizon);
    }
}
