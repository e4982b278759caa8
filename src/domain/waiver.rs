//! Approved exceptions: always with a reason, an owner and an end (law 7).

use super::Moment;
use super::finding::closed_words;
use std::fmt;

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// Unique id: the set's name and the waiver's own (`2026-q4/legacy-bucket`).
    pub id: String,
    /// The control: literal or glob.
    pub control: String,
    /// The resource's normalised id: literal or glob.
    pub resource: String,
    /// The scope: literal or glob; none is all.
    pub scope: Option<String>,
    /// Why it was granted.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The ticket that says so; may be empty.
    pub ticket: String,
    /// It holds from this instant on,
    pub from: Moment,
    /// until this one, which it no longer covers.
    pub until: Moment,
}

closed_words! {
    /// The `state` label of `compliance_waivers`.
    WaiverState {
        /// Not begun.
        Pending = "pending",
        /// Holds now and covers a failing resource.
        Active = "active",
        /// Holds now and covers nothing that fails.
        Unused = "unused",
        /// Over.
        Expired = "expired",
        /// Refused: no end, no owner, no reason.
        Invalid = "invalid",
    }
}
closed_words! {
    /// The `origin` label of `compliance_waivers`.
    WaiverOrigin {
        /// A waiver file of ours.
        File = "file",
        /// The source's own suppression.
        Source = "source",
    }
}

impl Waiver {
    /// Whether the waiver holds at `now`: from ≤ now < until. The one function that decides it, for gate, serve,
    /// report and replay alike.
    pub fn holds(&self, now: Moment) -> bool {
        self.from <= now && now < self.until
    }
}
