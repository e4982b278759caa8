//! What an SLO counts, as expressions over the exporter's counters (slo.md sections 3, 8 and 11, T1 to T3, T7, T8).

use super::promql::{self, Expr, Op, Select, all, by, call, call_with, glob_regex, labelled, number, on, series, without};
use super::{Objective, PeriodSource};
use crate::domain::{CheckSelector, Control, Severity, Span, State};
use crate::exposition::names::{self, Metric, label, recorded};
use crate::slo::{CompositeMode, Policy, Sli, Slo, Weights, window};

/// An SLO as the writers see it: what its selectors mean, its windows and its alerts worked out.
pub(super) struct Plan<'a> {
    pub(super) objective: &'a Objective,
    pub(super) id: String,
    /// The controls that it covers, in the order of the definitions.
    pub(super) controls: Vec<&'a Control>,
    pub(super) members: Vec<Member<'a>>,
    pub(super) tiers: crate::slo::Tiers,
    /// The window of the forecast: a day, or two scans.
    pub(super) forecast: Span,
    /// Every window whose ratio is recorded, ascending, those that composites read among them.
    pub(super) windows: Vec<Span>,
    /// Whether every window has data, or only those in which something happened.
    pub(super) held: bool,
    pub(super) ratio: Ratio,
}

/// A member of a composite.
pub(super) struct Member<'a> {
    pub(super) slo: &'a Slo,
    pub(super) weight: f64,
}

/// How an error ratio comes from counters.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ratio {
    /// Σ weight·bad / Σ weight·total.
    Counters(Vec<Term>),
    /// The mean over controls of bad/total.
    PerControl(Term),
    /// From the recorded ratios of members.
    Members { mode: CompositeMode, missing_is_bad: bool },
}

/// Bad and total of one kind of counter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) weight: f64,
    pub(super) bad: Select,
    pub(super) total: Select,
}

/// The labels by which one SLO is known.
pub(super) const IDS: [&str; 3] = [recorded::SLOTH_ID, recorded::SLOTH_SLO, recorded::SLOTH_SERVICE];

/// Label `gate` of gate checks: the id of the control that the gate enforces.
const GATE: &str = "gate";
const SLO: &str = "slo";
const WINDOW: &str = "window";

impl Plan<'_> {
    pub(super) fn slo(&self) -> &Slo {
        &self.objective.slo
    }

    /// The recorded series of this SLO called `name`.
    pub(super) fn own(&self, name: &str) -> Select {
        series(name)
            .with(recorded::SLOTH_ID, &self.id)
            .with(recorded::SLOTH_SERVICE, &self.slo().service)
            .with(recorded::SLOTH_SLO, &self.slo().name)
    }

    /// Its recorded error ratio over `window`.
    pub(super) fn recorded_ratio(&self, window: Span) -> Select {
        self.own(&recorded::error_ratio(&window::name(window)))
    }

    /// Whether a window is evaluated in the group of long ones.
    pub(super) fn long(&self, window: Span) -> bool {
        window == self.slo().period || window > Span::DAY.times(14)
    }

    /// The error ratio over `window`, from counters or from members.
    pub(super) fn error_ratio(&self, window: Span) -> Expr {
        self.ratio.over(self, &|select| call("rate", select.over(window)), &window::name(window))
    }

    /// The error ratio of the period, from where the operator wants it.
    pub(super) fn period_ratio(&self, window: Span, source: PeriodSource) -> Expr {
        match source {
            PeriodSource::Promql => self.error_ratio(window),
            PeriodSource::Exporter => {
                all("max", series(names::SLO_ERROR_RATIO.name).with(SLO, &self.id).with(WINDOW, &window::name(window)))
            }
            PeriodSource::Delta => self.ratio.over(self, &|select| delta(&select, window), &window::name(window)),
        }
    }

    /// The error ratio without weights, where there are some.
    pub(super) fn unweighted(&self, window: Span) -> Option<Expr> {
        if self.slo().weights == Weights::Equal || self.slo().composite.is_some() {
            return None;
        }
        let term = term(self.slo(), &self.id, &self.controls)?;
        Some(counters(&[term], &|select| call("rate", select.over(window))))
    }

    /// Selector of a gauge or counter with control and scope, for what this SLO covers.
    pub(super) fn covered(&self, metric: &Metric) -> Select {
        covered(metric, self.slo(), &self.controls)
    }

    /// The states that count as bad, and those that count at all.
    pub(super) fn states(&self) -> (String, String) {
        states(self.slo())
    }
}

impl Ratio {
    fn over(&self, plan: &Plan<'_>, amount: &dyn Fn(Select) -> Expr, window: &str) -> Expr {
        match self {
            Ratio::Counters(terms) => counters(terms, amount),
            Ratio::PerControl(term) => all(
                "avg",
                by("sum", &[label::CONTROL], amount(term.bad.clone()))
                    .op(Op::Div, by("sum", &[label::CONTROL], amount(term.total.clone())).op(Op::Greater, number(0.0))),
            ),
            Ratio::Members { mode, missing_is_bad } => members(plan, *mode, *missing_is_bad, window),
        }
    }

    /// The terms, where the ratio is one of counters.
    pub(super) fn terms(&self) -> Option<&[Term]> {
        match self {
            Ratio::Counters(terms) => Some(terms),
            Ratio::PerControl(_) | Ratio::Members { .. } => None,
        }
    }
}

/// T8: what was added to a counter within `window`, if it never started again: a subtraction of two samples.
fn delta(select: &Select, window: Span) -> Expr {
    let now = || Expr::from(select.clone());
    now().op(Op::Sub, Expr::from(select.clone().ago(window)).op(Op::Or, now().op(Op::Mul, number(0.0))))
}

/// Σ w·bad / (Σ w·total > 0). A sum of sums would be empty as soon as one of them is, so they are put side by side under
/// a label of their own and added up by one `sum`.
fn counters(terms: &[Term], amount: &dyn Fn(Select) -> Expr) -> Expr {
    let added = |pick: &dyn Fn(&Term) -> &Select| {
        if let [only] = terms {
            return all("sum", amount(pick(only).clone()));
        }
        let each = terms.iter().enumerate().map(|(i, term)| {
            let sum = all("sum", amount(pick(term).clone()));
            #[expect(clippy::float_cmp, reason = "a weight of one is written as none")]
            let weighted = if term.weight == 1.0 { sum } else { number(term.weight).op(Op::Mul, sum) };
            labelled(weighted, "term", &(i + 1).to_string())
        });
        match each.reduce(|a, b| a.op(Op::Or, b)) {
            Some(union) => all("sum", union),
            None => number(0.0),
        }
    };
    added(&|t| &t.bad).op(Op::Div, added(&|t| &t.total).op(Op::Greater, number(0.0)))
}

/// T7 and its like: the recorded ratios of members, by `sloth_id`.
fn members(plan: &Plan<'_>, mode: CompositeMode, missing_is_bad: bool, window: &str) -> Expr {
    let ids: Vec<String> = plan.members.iter().map(|m| m.slo.id()).collect();
    let weight = || series(recorded::SLO_WEIGHT).with(recorded::FRAMEWORK, &plan.id);
    let recorded_errors =
        || without("max", &[recorded::SLOTH_WINDOW], series(&recorded::error_ratio(window)).with_any(recorded::SLOTH_ID, &ids));
    let by_id = || on(&[recorded::SLOTH_ID]);
    let errors = || {
        if !missing_is_bad {
            return recorded_errors();
        }
        // A member without data is wholly bad; a composite of nothing but such has no data.
        let missing = Expr::from(weight()).op(Op::Mul, number(0.0)).op(Op::Add, number(1.0));
        recorded_errors().op_on(Op::Or, by_id(), missing).op_on(Op::And, on(&[]), recorded_errors())
    };
    let burns = || {
        let budget = by("max", &[recorded::SLOTH_ID], series(recorded::ERROR_BUDGET).with_any(recorded::SLOTH_ID, &ids));
        errors().op_on(Op::Div, by_id().group_left(&[]), budget)
    };
    let weighted = |of: Expr| all("sum", Expr::from(weight()).op_on(Op::Mul, by_id().group_right(), of));
    let budget = number(plan.slo().budget());
    match mode {
        CompositeMode::Worst => all("max", burns()).op(Op::Mul, budget),
        CompositeMode::WeightedBurn => weighted(burns()).op(Op::Mul, budget),
        CompositeMode::WeightedSum => call_with("clamp_max", vec![weighted(errors()), number(1.0)]),
        CompositeMode::Weighted | CompositeMode::Pooled | CompositeMode::Joint | CompositeMode::AnySlice => {
            weighted(errors()).op(Op::Div, all("sum", Expr::from(weight()).op_on(Op::And, by_id(), errors())))
        }
    }
}

/// Finds an SLO by its id, with the controls that it covers.
pub(super) type Lookup<'l> = &'l dyn Fn(&str) -> Option<(Slo, Vec<Control>)>;

/// How the error ratio of an SLO comes about.
///
/// # Errors
/// Why it cannot be written.
pub(super) fn ratio(slo: &Slo, controls: &[&Control], member: Lookup<'_>) -> Result<Ratio, String> {
    let id = slo.id();
    let Some(composite) = &slo.composite else {
        let none = || format!("SLO `{id}` covers no control");
        return match &slo.weights {
            Weights::Controls if !matches!(slo.sli, Sli::TimeSlice { .. }) => {
                term(slo, &id, controls).map(Ratio::PerControl).ok_or_else(none)
            }
            Weights::Severity(weights) if weighs(slo.sli) => {
                let terms: Vec<Term> = Severity::ALL
                    .iter()
                    .zip(weights)
                    .filter(|(_, weight)| **weight > 0)
                    .filter_map(|(severity, weight)| {
                        let of: Vec<&Control> = controls.iter().copied().filter(|c| c.severity == *severity).collect();
                        Some(Term { weight: f64::from(*weight), ..term(slo, &id, &of)? })
                    })
                    .collect();
                if terms.is_empty() {
                    Err(format!("SLO `{id}` gives no weight to any of its controls"))
                } else {
                    Ok(Ratio::Counters(terms))
                }
            }
            _ => term(slo, &id, controls).map(|t| Ratio::Counters(vec![t])).ok_or_else(none),
        };
    };
    match composite.mode {
        CompositeMode::Pooled => {
            let mut terms = Vec::new();
            for m in &composite.members {
                let (of, covered) = member(&m.slo).ok_or_else(|| format!("composite `{id}` has no member `{}`", m.slo))?;
                let covered: Vec<&Control> = covered.iter().collect();
                match ratio(&of, &covered, member)? {
                    Ratio::Counters(of) => terms.extend(of),
                    Ratio::PerControl(_) | Ratio::Members { .. } => {
                        return Err(format!(
                            "composite `{id}` pools `{}`, whose ratio is a mean and not a ratio of counters\n  help: use mode `weighted` or `worst`",
                            m.slo
                        ));
                    }
                }
            }
            Ok(Ratio::Counters(terms))
        }
        // The exporter counts these on its own, under the composite's id.
        CompositeMode::Joint => {
            let (bad, total) = states(slo);
            let of = series(names::RESOURCE_SECONDS.name).with(label::CONTROL, &id);
            Ok(Ratio::Counters(vec![Term {
                weight: 1.0,
                bad: of.clone().with_pattern(label::STATE, &bad),
                total: of.with_pattern(label::STATE, &total),
            }]))
        }
        CompositeMode::AnySlice => Ok(Ratio::Counters(vec![slices(&id)])),
        mode => Ok(Ratio::Members { mode, missing_is_bad: composite.missing_is_bad }),
    }
}

/// Whether weights by severity mean anything for this SLI: deadlines, evidence and gates are counted one by one.
fn weighs(sli: Sli) -> bool {
    !matches!(sli, Sli::RemediationLatency | Sli::EvidenceFreshness | Sli::Gate { .. } | Sli::TimeSlice { .. })
}

fn slices(id: &str) -> Term {
    let of = series(names::SLICES.name).with(SLO, id);
    Term { weight: 1.0, bad: of.clone().with(label::OUTCOME, "bad"), total: of.with_pattern(label::OUTCOME, "good|bad") }
}

/// Bad and total of an SLO over some of its controls; `None` without controls.
fn term(slo: &Slo, id: &str, controls: &[&Control]) -> Option<Term> {
    if controls.is_empty() {
        return None;
    }
    let of = |metric: &Metric| covered(metric, slo, controls);
    let (bad, total) = match slo.sli {
        Sli::ResourceTime | Sli::Coverage => {
            let (bad, total) = states(slo);
            let of = of(&names::RESOURCE_SECONDS);
            (of.clone().with_pattern(label::STATE, &bad), of.with_pattern(label::STATE, &total))
        }
        // Weights and policies are in the slices already.
        Sli::TimeSlice { .. } => return Some(slices(id)),
        Sli::RemediationLatency => {
            let of = of(&names::REMEDIATION_DEADLINES);
            (of.clone().with(label::OUTCOME, "missed"), of.with_pattern(label::OUTCOME, "met|missed"))
        }
        Sli::EvidenceFreshness => {
            let of = of(&names::EVIDENCE_SECONDS);
            (of.clone().with(label::STATE, "stale"), of.with_pattern(label::STATE, "fresh|stale"))
        }
        Sli::Gate { error_is_bad } => {
            let ids: Vec<&str> = controls.iter().map(|c| c.id.as_str()).collect();
            let of = series(names::GATE_CHECKS.name).with_any(GATE, &ids).with("expected", "deny");
            if error_is_bad {
                (of.clone().with_pattern(label::OUTCOME, "allow|error"), of.with_pattern(label::OUTCOME, "deny|allow|error"))
            } else {
                (of.clone().with(label::OUTCOME, "allow"), of.with_pattern(label::OUTCOME, "deny|allow"))
            }
        }
    };
    Some(Term { weight: 1.0, bad, total })
}

/// Series of `metric` for these controls in the SLO's scopes.
fn covered(metric: &Metric, slo: &Slo, controls: &[&Control]) -> Select {
    let ids: Vec<&str> = controls.iter().map(|c| c.id.as_str()).collect();
    scoped(series(metric.name).with_any(label::CONTROL, &ids), slo)
}

fn scoped(select: Select, slo: &Slo) -> Select {
    if let Some(scope) = &slo.scope {
        return select.with(label::SCOPE, scope);
    }
    match &slo.scopes[..] {
        [] => select,
        [only] if only == "*" => select,
        literal if !literal.iter().any(|s| is_pattern(s)) => select.with_any(label::SCOPE, literal),
        patterns => {
            let regex: Vec<String> = patterns.iter().map(|p| if is_pattern(p) { glob_regex(p) } else { promql::escape_regex(p) }).collect();
            select.with_pattern(label::SCOPE, &regex.join("|"))
        }
    }
}

/// As the exporter decides: without one of these signs a scope is taken literally.
fn is_pattern(scope: &str) -> bool {
    CheckSelector::is_glob(scope)
}

/// Regular expressions of the states that are bad, and of those in the total (slo.md section 2).
fn states(slo: &Slo) -> (String, String) {
    let words = |states: &[State]| states.iter().map(|s| s.word()).collect::<Vec<_>>().join("|");
    if slo.sli == Sli::Coverage {
        return (words(&[State::Unknown]), words(State::ALL));
    }
    let (mut bad, mut total) = (vec![State::NonCompliant], vec![State::Compliant, State::NonCompliant]);
    for (policy, state) in [(slo.unknown, State::Unknown), (slo.waived, State::Waived)] {
        match policy {
            Policy::Exclude => {}
            Policy::Bad => {
                bad.push(state);
                total.push(state);
            }
            Policy::Good => total.push(state),
        }
    }
    (words(&bad), words(&total))
}
