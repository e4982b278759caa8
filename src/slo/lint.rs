//! What may be wrong with an SLO though every word of it is valid (slo.md sections 5.3 and 6): codes, severities, sentences.

use crate::domain::finding::closed_words;
use std::fmt;

closed_words! {
    /// The code of a lint, stable, as `check` prints it.
    Code {
        /// The long window of an alert was raised to twice the scan interval.
        LongRaised = "SLO101",
        /// A page became a ticket, since nothing new can be learned in the night.
        PageDowngraded = "SLO102",
        /// Alerts that had become equal were merged.
        Merged = "SLO103",
        /// An alert can never fire: even an error ratio of 1 burns too slowly.
        CannotFire = "SLO104",
        /// An alert fires only when more than half of everything is bad.
        HardToFire = "SLO105",
        /// The period is shorter than four scans.
        ShortPeriod = "SLO106",
        /// One resource failing one scan uses more than 10 % of the budget.
        Quantum = "SLO107",
        /// Prometheus forgets before the period ends.
        Retention = "SLO108",
        /// Missing evidence is charged to nobody.
        UnknownUncharged = "SLO109",
        /// Rules are evaluated so rarely that their series go stale in between.
        SlowRules = "SLO110",
        /// The objective leaves no budget, or promises nothing.
        Objective = "SLO111",
        /// An age, a deadline or a window shorter than what it has to bridge.
        TooShort = "SLO112",
        /// The first bad event uses up the whole budget.
        FirstFailure = "SLO113",
        /// An id twice, a selector without controls, an error query equal to its total.
        Identity = "SLO114",
    }
}

/// How much a lint matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The SLO cannot work.
    Error,
    /// It works, and somebody should look.
    Warning,
    /// For information.
    Info,
}

impl Level {
    /// The word in print.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        }
    }
}

/// One thing to say about an SLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// Which.
    pub code: Code,
    /// How much it matters here.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
}
