//! What we promise: the meaning of one `kind: SLO` document.

use crate::domain::finding::closed_words;
use crate::domain::{Control, Counts, Nature, Severity, Span, State};
use std::fmt;

/// A service level objective on compliance.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// `metadata.name`.
    pub name: String,
    /// `spec.service`; with the name it makes the `sloth_id` `<service>-<name>`.
    pub service: String,
    /// Which controls.
    pub controls: ControlSelector,
    /// Which scopes (globs); empty is all.
    pub scopes: Vec<String>,
    /// The objective t as a ratio, 0 < t < 1.
    pub objective: f64,
    /// The period P.
    pub period: Span,
    /// How unknown counts.
    pub unknown: Policy,
    /// How waived counts.
    pub waived: Policy,
}

/// Which controls an SLO covers: all that is given must match; nothing given matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlSelector {
    /// Ids, literal or glob; one must match.
    pub ids: Vec<String>,
    /// Name of a control set.
    pub set: Option<String>,
    /// `framework/requirement`, or a prefix of it ending at a dot: `cis-aws-3.0/2.1` covers `2.1.4`.
    pub requirement: Option<String>,
    /// Severities; one must match.
    pub severity: Vec<Severity>,
    /// Natures; one must match.
    pub nature: Vec<Nature>,
}

closed_words! {
    /// What a state counts as in an SLO's ratio.
    Policy {
        /// In neither numerator nor denominator.
        Exclude = "exclude",
        /// As a violation.
        Bad = "bad",
        /// As compliance.
        Good = "good",
    }
}

impl ControlSelector {
    /// Whether `control` is covered.
    pub fn covers(&self, control: &Control) -> bool {
        let given = !self.ids.is_empty()
            || self.set.is_some()
            || self.requirement.is_some()
            || !self.severity.is_empty()
            || !self.nature.is_empty();
        let matches_glob = |pattern: &String| globset::Glob::new(pattern).is_ok_and(|g| g.compile_matcher().is_match(&control.id));
        given
            && (self.ids.is_empty() || self.ids.iter().any(|p| *p == control.id || matches_glob(p)))
            && self.set.as_ref().is_none_or(|s| *s == control.set)
            && self.requirement.as_ref().is_none_or(|r| covers_requirement(r, control))
            && (self.severity.is_empty() || self.severity.contains(&control.severity))
            && (self.nature.is_empty() || self.nature.contains(&control.nature))
    }
}

fn covers_requirement(pattern: &str, control: &Control) -> bool {
    control.requirements.iter().any(|r| match pattern.split_once('/') {
        None => r.framework == pattern,
        Some((framework, id)) => {
            r.framework == framework && (r.id == id || r.id.strip_prefix(id).is_some_and(|rest| rest.starts_with(['.', '(', '-'])))
        }
    })
}

impl Slo {
    /// The `sloth_id`: `<service>-<name>`.
    pub fn id(&self) -> String {
        format!("{}-{}", self.service, self.name)
    }

    /// Whether the SLO covers this scope.
    pub fn covers_scope(&self, scope: &str) -> bool {
        let matches_glob = |pattern: &String| globset::Glob::new(pattern).is_ok_and(|g| g.compile_matcher().is_match(scope));
        self.scopes.is_empty() || self.scopes.iter().any(|p| p == scope || matches_glob(p))
    }

    /// (bad, total) of `amounts` (resources, or resource-milliseconds) under the SLO's policies (slo.md section 2).
    pub fn bad_and_total(&self, amounts: &Counts) -> (u64, u64) {
        let mut bad = amounts[State::NonCompliant];
        let mut total = amounts[State::Compliant] + amounts[State::NonCompliant];
        for (policy, amount) in [(self.unknown, amounts[State::Unknown]), (self.waived, amounts[State::Waived])] {
            match policy {
                Policy::Exclude => {}
                Policy::Bad => {
                    bad += amount;
                    total += amount;
                }
                Policy::Good => total += amount,
            }
        }
        (bad, total)
    }
}
