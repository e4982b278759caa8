//! What we require, and what counts as evidence for it.

use super::finding::closed_words;
use super::{Severity, Span};
use std::fmt;

/// A versioned set of controls with one owner: the meaning of one `kind: ControlSet` document.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlSet {
    /// `metadata.name`.
    pub name: String,
    /// `spec.version`, a version people compare (`2.1.0`).
    pub version: String,
    /// Its controls, in the order written.
    pub controls: Vec<Control>,
}

/// One thing that we require of every resource it covers.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Unique among all sets.
    pub id: String,
    /// The set it stands in.
    pub set: String,
    /// That set's version: a change of it is a change of the control.
    pub version: String,
    /// For people.
    pub title: String,
    /// Who answers for it (the control's own, else the set's).
    pub owner: String,
    /// Whether it prevents, detects or reacts.
    pub nature: Nature,
    /// How bad a violation is.
    pub severity: Severity,
    /// Requirements of frameworks that it serves.
    pub requirements: Vec<Requirement>,
    /// The checks that are evidence for it.
    pub checks: Vec<CheckSelector>,
    /// How several observations of one resource are taken together.
    pub combine: Combine,
    /// Where the denominator comes from when the checks list only violations.
    pub population: Option<Population>,
    /// Deadline of a remediation, from detection.
    pub fix_within: Option<Span>,
    /// Overrides the collector's `max_age`.
    pub max_age: Option<Span>,
    /// Overrides the collector's `new_resource_grace`.
    pub new_resource_grace: Option<Span>,
    /// A changed verdict counts after this many equal observations (1: at once).
    pub confirmations: u8,
    /// Why we require it.
    pub rationale: String,
    /// How to fix a violation.
    pub remediation: String,
    /// Training text or a link.
    pub training: String,
}

/// A requirement of a framework.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// `cis-aws-3.0`, `nist-800-53-r5`.
    pub framework: String,
    /// `2.1.4`, `AC-3`.
    pub id: String,
}

/// A law or standard: the meaning of one `kind: Framework` document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framework {
    /// As in [`Requirement::framework`].
    pub name: String,
    /// For people.
    pub title: String,
    /// The edition.
    pub version: String,
    /// In the order written.
    pub requirements: Vec<FrameworkRequirement>,
}

/// One requirement of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkRequirement {
    /// As in [`Requirement::id`].
    pub id: String,
    /// What it asks for, in a few words.
    pub title: String,
    /// The requirement that it details.
    pub parent: Option<String>,
}

impl Framework {
    /// The requirement with this id.
    pub fn requirement(&self, id: &str) -> Option<&FrameworkRequirement> {
        self.requirements.iter().find(|r| r.id == id)
    }

    /// Whether `id` is one of its requirements, or a lettered part of one (`CM-6(a)`, `CM-6 a`): frameworks number
    /// their requirements and letter the sentences in them.
    pub fn covers(&self, id: &str) -> bool {
        self.requirements.iter().any(|r| {
            id.strip_prefix(r.id.as_str()).is_some_and(|rest| {
                let part = rest.strip_prefix('(').or_else(|| rest.strip_prefix(' ')).or_else(|| rest.strip_prefix('.'));
                rest.is_empty() || part.is_some_and(|p| p.starts_with(|c: char| c.is_ascii_lowercase()))
            })
        })
    }
}

/// Which findings are evidence for a control: all that is given must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSelector {
    /// The format's name (`ocsf`), or none for any.
    pub format: Option<String>,
    /// The collector's name, or none for any.
    pub collector: Option<String>,
    /// The check's id: a literal, or a glob if it contains `*`, `?` or `[`.
    pub id: String,
    /// The resource's type, literal or glob.
    pub resource_type: Option<String>,
    /// A JSONPath over the raw record that must find something.
    pub where_path: Option<String>,
}

/// Where the resources of a violations-only control are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    /// The inventory: findings that match this selector are the resources in scope, whatever their result.
    pub from: CheckSelector,
}

closed_words! {
    /// How a control works against violations.
    Nature {
        /// Denies them.
        Preventive = "preventive",
        /// Finds them.
        Detective = "detective",
        /// Repairs them.
        Reactive = "reactive",
    }
}
closed_words! {
    /// How several observations of one (control, resource) become one state.
    Combine {
        /// The worst counts: fail, then no information, then pass. The default.
        Worst = "worst",
        /// The newest evidence counts; of equally new ones the worst.
        Newest = "newest",
        /// One fresh pass is enough.
        Any = "any",
    }
}

impl CheckSelector {
    /// Whether `text` is read as a glob.
    pub fn is_glob(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }
}
