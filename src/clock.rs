//! The only place that asks what time it is (law 10).

use crate::domain::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Now, by the system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Moment {
    Moment::from(jiff::Timestamp::now())
}

/// Whose time it is: the world's, or that of a replay.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// One that stands until somebody moves it.
    Simulated(Simulated),
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Moment {
        match self {
            Clock::System => now(),
            Clock::Simulated(clock) => clock.now(),
        }
    }
}

/// A clock that stands until somebody moves it. Copies show the same time.
#[derive(Clone, Debug)]
pub struct Simulated(Arc<AtomicI64>);

impl Simulated {
    /// Stands at `start`.
    pub fn new(start: Moment) -> Simulated {
        Simulated(Arc::new(AtomicI64::new(start.0)))
    }

    /// What it shows.
    pub fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    /// Moves it.
    pub fn set(&self, to: Moment) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}
