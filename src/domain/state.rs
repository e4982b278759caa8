//! What we judge from findings: the state of a control on a resource, and counts of states.

use super::finding::closed_words;
use std::fmt;
use std::ops::{Index, IndexMut};

closed_words! {
    /// The state of one control on one resource (slo.md section 2). A resource outside the population
    /// (not applicable, deleted, not yet evaluated within its grace) has none: `Option<State>`.
    State {
        /// Fresh evidence says that it complies.
        Compliant = "compliant",
        /// Fresh evidence says that it does not.
        NonCompliant = "non_compliant",
        /// No evidence, or evidence past its `max_age`, or a verdict only a person can give.
        Unknown = "unknown",
        /// It fails inside an approved exception.
        Waived = "waived",
    }
}
closed_words! {
    /// Why a state changed. The contributions of all causes sum exactly to the change of the ratio.
    Cause {
        /// The resource itself changed.
        Resource = "resource",
        /// It was not there before.
        NewResource = "new_resource",
        /// It is gone.
        DeletedResource = "deleted_resource",
        /// The control's version changed.
        Control = "control",
        /// The scanner or its rule set changed.
        Scanner = "scanner",
        /// A waiver began or ended.
        Waiver = "waiver",
        /// Definitions map other checks or scopes.
        Mapping = "mapping",
        /// Evidence ran out or came back.
        Freshness = "freshness",
    }
}

/// A number for each [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; 4]);

impl Counts {
    /// The sum over all states.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Index<State> for Counts {
    type Output = u64;
    fn index(&self, state: State) -> &u64 {
        &self.0[state as usize]
    }
}

impl IndexMut<State> for Counts {
    fn index_mut(&mut self, state: State) -> &mut u64 {
        &mut self.0[state as usize]
    }
}
