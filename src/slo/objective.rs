//! What we promise: the meaning of one `kind: SLO` document.

use crate::domain::finding::closed_words;
use crate::domain::{Control, Nature, Severity, Span};
use std::collections::BTreeMap;
use std::fmt;

/// A service level objective on compliance.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// `metadata.name`.
    pub name: String,
    /// `spec.service`; with the name it makes the `sloth_id` `<service>-<name>`.
    pub service: String,
    /// What is promised, in a sentence or two; may be empty.
    pub description: String,
    /// Who is paged and answers for it: the `owner` label of alerts; empty is none.
    pub owner: String,
    /// Further static labels of recorded series and alerts (`team`, `tier`, …).
    pub labels: BTreeMap<String, String>,
    /// Which controls; empty for a composite.
    pub controls: ControlSelector,
    /// An SLO over other SLOs (slo.md section 8).
    pub composite: Option<Composite>,
    /// Which scopes (globs); empty is all.
    pub scopes: Vec<String>,
    /// `for_each: scope`: one SLO for each scope that it covers, named `<name>-<scope>`. [`Slo::for_scope`] makes them.
    pub for_each_scope: bool,
    /// The one scope this SLO was made for by `for_each: scope`.
    pub scope: Option<String>,
    /// The objective t as a ratio, 0 < t < 1.
    pub objective: f64,
    /// The period P, rolling.
    pub period: Span,
    /// A calendar period for reports; alerts always use the rolling one.
    pub calendar: Option<Calendar>,
    /// Where the calendar's days begin.
    pub time_zone: jiff::tz::TimeZone,
    /// What is counted (slo.md section 3).
    pub sli: Sli,
    /// How unknown counts.
    pub unknown: Policy,
    /// How waived counts.
    pub waived: Policy,
    /// How much a resource-second counts (slo.md section 3, weights).
    pub weights: Weights,
    /// Page only while at least so many resources fail (slo.md section 6).
    pub min_bad_resources: Option<u64>,
    /// How many resources are expected, for the quantum of small populations (slo.md section 6) before a scan has shown it.
    pub expected_resources: Option<u64>,
    /// How many events are expected in a period, for SLIs that count events (SLO113).
    pub expected_events: Option<u64>,
    /// The scan interval T, where it is not to be taken from the collectors.
    pub scan_interval: Option<Span>,
    /// A scan can be started at night: a slow scan does not turn a page into a ticket (slo.md section 5.3, step 3).
    pub rescan_on_demand: bool,
    /// Where whoever is paged reads on; empty: the control's page.
    pub runbook_url: String,
}

/// What an SLO counts, and when it is good (slo.md section 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sli {
    /// Resource-seconds; good: compliant.
    ResourceTime,
    /// Slices of time aligned to the Unix epoch; good: the ratio of the slice reaches the threshold.
    TimeSlice {
        /// Length τ.
        slice: Span,
        /// θ, 0 < θ ≤ 1; equality is good.
        threshold: f64,
    },
    /// Violation episodes; good: fixed by the control's deadline.
    RemediationLatency,
    /// Control-seconds; good: the newest evidence is younger than its `max_age`.
    EvidenceFreshness,
    /// Resource-seconds of the whole population; good: not unknown.
    Coverage,
    /// Gate checks with a known-bad input; good: denied.
    Gate {
        /// Whether a check that errs counts as bad (the gate fails open) or not at all (it fails closed).
        error_is_bad: bool,
    },
}

impl Sli {
    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Sli::ResourceTime => "resource_time",
            Sli::TimeSlice { .. } => "time_slice",
            Sli::RemediationLatency => "remediation_latency",
            Sli::EvidenceFreshness => "evidence_freshness",
            Sli::Coverage => "coverage",
            Sli::Gate { .. } => "gate",
        }
    }

    /// True for integrals, which have data in every window; false for events, whose short windows may be empty.
    pub const fn held(self) -> bool {
        matches!(self, Sli::ResourceTime | Sli::EvidenceFreshness | Sli::Coverage)
    }
}

/// How much a resource-second of a control counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Each counts one (micro).
    #[default]
    Equal,
    /// By the control's severity: whole numbers, e = Σ w·bad / Σ w·total. Index as in [`Severity::ALL`].
    Severity([u32; 5]),
    /// The mean over controls of their error ratios (macro), over those with data.
    Controls,
}

/// An SLO over SLOs (slo.md section 8).
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// How members become one.
    pub mode: CompositeMode,
    /// The members; at least one.
    pub members: Vec<Member>,
    /// What a member without data counts as: left out, or wholly bad.
    pub missing_is_bad: bool,
}

/// A member of a composite.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The `sloth_id` of the member.
    pub slo: String,
    /// Its weight: above zero, not always whole (OpenSLO's `compositeWeight` is 0.5 as often as 2).
    pub weight: f64,
}

closed_words! {
    /// How the members of a composite become one error ratio.
    CompositeMode {
        /// Σ bad / Σ total.
        Pooled = "pooled",
        /// Σ w·e / Σ w over members with data.
        Weighted = "weighted",
        /// The burn rate of the worst member, times the composite's own budget.
        Worst = "worst",
        /// A resource is good only if it complies with all controls of all members that apply to it.
        Joint = "joint",
        /// OpenSLO `Occurrences`, burn: Σ w·B.
        WeightedBurn = "weighted_burn",
        /// OpenSLO `RatioTimeslices`: min(1, Σ w·e).
        WeightedSum = "weighted_sum",
        /// OpenSLO `Timeslices`: a slice is bad if any member's slice is.
        AnySlice = "any_slice",
    }
}
closed_words! {
    /// A calendar period, for reports.
    Calendar {
        /// A day.
        Day = "day",
        /// A week, from Monday.
        Week = "week",
        /// A calendar month.
        Month = "month",
        /// A quarter.
        Quarter = "quarter",
        /// A year.
        Year = "year",
    }
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
        given
            && (self.ids.is_empty() || self.ids.iter().any(|p| matches(p, &control.id)))
            && self.set.as_ref().is_none_or(|s| *s == control.set)
            && self.requirement.as_ref().is_none_or(|r| covers_requirement(r, control))
            && (self.severity.is_empty() || self.severity.contains(&control.severity))
            && (self.nature.is_empty() || self.nature.contains(&control.nature))
    }
}

/// Literal or glob. Most patterns are literal, and compiling a glob costs more than everything else here.
fn matches(pattern: &str, text: &str) -> bool {
    pattern == text
        || pattern.contains(['*', '?', '[', '{', '\\']) && globset::Glob::new(pattern).is_ok_and(|g| g.compile_matcher().is_match(text))
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
    /// An SLO on resource-time with nothing but what every SLO must say.
    pub fn new(service: &str, name: &str, controls: ControlSelector, objective: f64, period: Span) -> Slo {
        Slo {
            name: name.to_owned(),
            service: service.to_owned(),
            description: String::new(),
            owner: String::new(),
            labels: BTreeMap::new(),
            controls,
            composite: None,
            scopes: Vec::new(),
            for_each_scope: false,
            scope: None,
            objective,
            period,
            calendar: None,
            time_zone: jiff::tz::TimeZone::UTC,
            sli: Sli::ResourceTime,
            unknown: Policy::Exclude,
            waived: Policy::Exclude,
            weights: Weights::Equal,
            min_bad_resources: None,
            expected_resources: None,
            expected_events: None,
            scan_interval: None,
            rescan_on_demand: false,
            runbook_url: String::new(),
        }
    }

    /// The error budget b = 1 − t, as the nearest number to the decimal difference (1 − 0.999 is 0.001).
    pub fn budget(&self) -> f64 {
        budget(self.objective)
    }

    /// The SLO that `for_each: scope` makes for one scope.
    pub fn for_scope(&self, scope: &str) -> Slo {
        let plain: String = scope.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        Slo {
            name: format!("{}-{plain}", self.name),
            scopes: vec![globset::escape(scope)],
            for_each_scope: false,
            scope: Some(scope.to_owned()),
            ..self.clone()
        }
    }

    /// The `sloth_id`: `<service>-<name>`.
    pub fn id(&self) -> String {
        format!("{}-{}", self.service, self.name)
    }

    /// Whether the SLO covers this scope.
    pub fn covers_scope(&self, scope: &str) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|p| matches(p, scope))
    }
}

/// 1 − t, as the nearest number to the decimal difference.
pub(super) fn budget(objective: f64) -> f64 {
    // Objectives have at most twelve decimals; the subtraction is done on them.
    let scale = 1e12;
    ((1.0 - objective) * scale).round() / scale
}
