//! Unit tests for promtool beside the rules: for every SLO that its alerts fire, that a tolerable rate fires none, that
//! they resolve, and that silence is noticed.
//!
//! Each test feeds the exporter's counters of the SLO: some time of compliance, then total failure, then compliance. When
//! an alert must fire and must have gone follows from its windows: with history since 0 and failure since x, the ratio
//! over W at t is min(t − x, W) / min(t, W).

use super::promql::{Expr, Select};
use super::rules::{Group, severity};
use super::sli::{Plan, Ratio};
use super::yaml::{Yaml, document, map};
use super::{Artefact, Input, MARK, PeriodSource};
use crate::domain::Span;
use crate::exposition::names::{self, alert, label, recorded};
use crate::slo::{CompositeMode, Sli, Slo, Tier, Urgency, window};
use std::fmt::Write as _;

/// Samples of the tests are this far apart.
const STEP: Span = Span::MINUTE;
/// Rules are evaluated this often in tests: what each reads of the others is of the same instant, so nothing goes stale.
const EVALUATION: Span = Span(10 * Span::MINUTE.0);
/// Compliance before the failure.
const CLEAN: Span = Span(30 * Span::MINUTE.0);
/// A test that would take longer (of simulated time) is left out, and the file says so.
const LONGEST: Span = Span(7 * Span::DAY.0);

/// A counter's growth: so many samples, each so much more than the one before.
type Growth = Vec<(u64, f64)>;

/// promtool's notation of a counter that begins at 0.
fn counter(growth: &Growth) -> String {
    let mut out = String::new();
    let mut at = 0.0;
    for (i, (samples, step)) in growth.iter().filter(|(n, _)| *n > 0).enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a week has few minutes")]
        let n = *samples as f64;
        if i == 0 {
            _ = write!(out, "0+{step}x{samples}");
        } else {
            _ = write!(out, " {}+{step}x{}", at + step, samples - 1);
        }
        at += n * step;
    }
    out
}

/// The concrete series of one leaf: what a selector asks for, with labels that satisfy it.
struct Feed {
    good: String,
    bad: String,
    /// Growth a minute: seconds for integrals, one for events.
    unit: f64,
}

/// `name{labels}` for series that the SLO counts. A glob is filled in with one of the scopes that it covers.
fn feeds(plan: &Plan<'_>, plans: &[Plan<'_>], out: &mut Vec<Feed>) -> Result<(), String> {
    if let Some(composite) = plan.slo().composite.as_ref().filter(|c| !matches!(c.mode, CompositeMode::Joint | CompositeMode::AnySlice)) {
        for m in &composite.members {
            let member = plans.iter().find(|p| p.id == m.slo).ok_or_else(|| format!("its member {} is not there", m.slo))?;
            feeds(member, plans, out)?;
        }
        return Ok(());
    }
    let slo = plan.slo();
    let scope = example_scope(slo).ok_or("no scope could be thought of that its patterns cover")?;
    let slices = matches!(slo.sli, Sli::TimeSlice { .. }) || slo.composite.as_ref().is_some_and(|c| c.mode == CompositeMode::AnySlice);
    let joint = slo.composite.is_some();
    let (bad_states, total_states) = plan.states();
    let first = |states: &str| states.split('|').next().unwrap_or_default().to_owned();
    let good_state = total_states.split('|').find(|s| !bad_states.split('|').any(|b| b == *s)).unwrap_or("compliant").to_owned();
    let mut push = |name: &str, labels: &[(&str, &str)], at: &str, good: &str, bad: &str, unit: f64| {
        let series = |value: &str| {
            let mut select = super::promql::series(name);
            for (k, v) in labels {
                select = select.with(k, v);
            }
            select.with(at, value).to_string()
        };
        out.push(Feed { good: series(good), bad: series(bad), unit });
    };
    if slices {
        push(names::SLICES.name, &[("slo", &plan.id)], label::OUTCOME, "good", "bad", 1.0);
        return Ok(());
    }
    // One control for each of its severities, so that each weight is met.
    let mut controls: Vec<(&str, &str)> = Vec::new();
    for c in &plan.controls {
        if !controls.iter().any(|(_, s)| *s == c.severity.word()) {
            controls.push((&c.id, c.severity.word()));
        }
    }
    if joint {
        controls = vec![(&plan.id, "")];
    }
    for (control, severity) in controls {
        let labels = [(label::CONTROL, control), (label::SCOPE, scope.as_str())];
        match slo.sli {
            Sli::ResourceTime | Sli::Coverage | Sli::TimeSlice { .. } => {
                push(names::RESOURCE_SECONDS.name, &labels, label::STATE, &good_state, &first(&bad_states), STEP.seconds());
            }
            Sli::EvidenceFreshness => push(names::EVIDENCE_SECONDS.name, &labels, label::STATE, "fresh", "stale", STEP.seconds()),
            Sli::RemediationLatency => {
                let labels = [labels[0], labels[1], (label::SEVERITY, severity)];
                push(names::REMEDIATION_DEADLINES.name, &labels, label::OUTCOME, "met", "missed", 1.0);
            }
            Sli::Gate { .. } => {
                push(names::GATE_CHECKS.name, &[("gate", control), ("expected", "deny")], label::OUTCOME, "deny", "allow", 1.0);
            }
        }
    }
    Ok(())
}

/// A scope that the SLO covers.
fn example_scope(slo: &Slo) -> Option<String> {
    if let Some(scope) = &slo.scope {
        return Some(scope.clone());
    }
    let Some(pattern) = slo.scopes.first() else { return Some("example".to_owned()) };
    let filled: String = {
        let mut out = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => out.push('x'),
                '?' => out.push('x'),
                '[' => {
                    let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                    out.push(inside.chars().find(|c| !"!^".contains(*c)).unwrap_or('x'));
                }
                '{' => {
                    let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    out.push_str(inside.split(',').next().unwrap_or_default());
                }
                '\\' => out.extend(chars.next()),
                c => out.push(c),
            }
        }
        out
    };
    [filled, pattern.clone()].into_iter().find(|s| slo.covers_scope(s))
}

/// The largest error ratio that an SLO can have: 1, but for composites of burn rates.
fn largest(plan: &Plan<'_>, plans: &[Plan<'_>]) -> f64 {
    let Ratio::Members { mode, .. } = &plan.ratio else { return 1.0 };
    let members: Vec<(f64, f64, f64)> = plan
        .members
        .iter()
        .map(|m| {
            let most = plans.iter().find(|p| p.id == m.slo.id()).map_or(1.0, |p| largest(p, plans));
            (m.weight, most, m.slo.budget())
        })
        .collect();
    let budget = plan.slo().budget();
    match mode {
        CompositeMode::Worst => members.iter().map(|(_, most, b)| most / b).fold(0.0, f64::max) * budget,
        CompositeMode::WeightedBurn => members.iter().map(|(w, most, b)| w * most / b).sum::<f64>() * budget,
        CompositeMode::WeightedSum => members.iter().map(|(w, most, _)| w * most).sum::<f64>().min(1.0),
        _ => {
            let weights: f64 = members.iter().map(|(w, ..)| w).sum();
            members.iter().map(|(w, most, _)| w * most).sum::<f64>() / weights
        }
    }
}

/// A span of at least `seconds`, on a step of the evaluation.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test are few and not negative")]
fn at_least(seconds: f64) -> Span {
    EVALUATION.times(((seconds * 1000.0) as u64).div_ceil(EVALUATION.0))
}

/// What a test asks: an expression, when, and its value (`None`: nothing).
pub(super) struct Question {
    pub(super) expr: String,
    pub(super) at: Span,
    pub(super) value: Option<f64>,
}

fn alerts(name: &str, id: &str, more: &[(&str, &str)]) -> Select {
    let mut select = super::promql::series("ALERTS").with("alertname", name).with("alertstate", "firing").with(recorded::SLOTH_ID, id);
    for (k, v) in more {
        select = select.with(k, v);
    }
    select
}

fn firing(name: &str, id: &str, more: &[(&str, &str)], at: Span, fires: bool) -> Question {
    let count: Expr = super::promql::all("count", alerts(name, id, more));
    Question { expr: count.to_string(), at, value: fires.then_some(1.0) }
}

pub(super) fn test(name: &str, series: &[(String, String)], questions: &[Question]) -> Yaml {
    let inputs: Vec<Yaml> =
        series.iter().map(|(s, values)| map([("series", s.as_str().into()), ("values", Yaml::from(values.as_str()))])).collect();
    let asked: Vec<Yaml> = questions
        .iter()
        .map(|q| {
            let samples: Vec<Yaml> = q.value.iter().map(|v| map([("labels", "{}".into()), ("value", (*v).into())])).collect();
            map([("expr", q.expr.as_str().into()), ("eval_time", window::name(q.at).into()), ("exp_samples", samples.into())])
        })
        .collect();
    map([
        ("name", name.into()),
        ("interval", window::name(STEP).into()),
        ("input_series", inputs.into()),
        ("promql_expr_test", asked.into()),
    ])
}

fn plus(a: Span, b: Span) -> Span {
    Span(a.0.saturating_add(b.0))
}

/// How many steps a span has.
fn steps(span: Span) -> u64 {
    span.0 / STEP.0
}

/// The tests of one SLO. The second value: what could not be tested, and why.
pub(super) fn artefact(plan: &Plan<'_>, plans: &[Plan<'_>], groups: &[Group], input: &Input) -> (Artefact, Option<String>) {
    let mut fed = Vec::new();
    let mut missing = feeds(plan, plans, &mut fed).err();
    let mut tests = Vec::new();
    let slo = plan.slo();
    let most = largest(plan, plans);
    let thresholds: Vec<(Urgency, &Tier, f64)> = plan.tiers.tiers.iter().map(|t| (t.severity, t, t.threshold(slo.budget()))).collect();
    let least = thresholds.iter().map(|(_, _, theta)| *theta).fold(f64::INFINITY, f64::min);
    let urgencies: Vec<Urgency> = [Urgency::Page, Urgency::Ticket].into_iter().filter(|u| plan.tiers.of(*u).next().is_some()).collect();
    // By when each urgency fires: its lowest threshold, half way between it and what total failure gives.
    let due: Vec<(Urgency, Span)> = urgencies
        .iter()
        .map(|u| {
            let theta = thresholds.iter().filter(|(v, ..)| v == u).map(|(_, _, theta)| *theta).fold(f64::INFINITY, f64::min);
            let share = (theta / most).midpoint(1.0);
            (*u, at_least(CLEAN.seconds() / (1.0 - share).max(1e-9)))
        })
        .collect();
    let fix = due.iter().map(|(_, at)| *at).max().unwrap_or(CLEAN).max(plus(CLEAN, EVALUATION));
    let fix = plus(fix, Span(20 * Span::MINUTE.0));
    let gone = |u: Urgency| {
        let short = plan.tiers.of(u).map(|t| t.short).max().unwrap_or(STEP);
        at_least(plus(fix, short).seconds() + EVALUATION.seconds())
    };
    let end = urgencies.iter().map(|u| gone(*u)).max().unwrap_or(fix);
    if most <= least {
        missing = Some(format!("even with every member wholly bad its error ratio is {most}, below each threshold"));
    } else if end > LONGEST {
        missing = Some(format!("its alerts take longer than {} to fire and resolve", window::name(LONGEST)));
    }
    let exporter = |ratio: f64, until: Span| -> Option<(String, String)> {
        (input.options.period_source == PeriodSource::Exporter).then(|| {
            let name = window::name(slo.period);
            let select = super::promql::series(names::SLO_ERROR_RATIO.name).with("slo", &plan.id).with("window", &name);
            (select.to_string(), format!("{ratio}x{}", steps(until)))
        })
    };
    if missing.is_none() {
        // Fires, and resolves.
        let mut series: Vec<(String, String)> = Vec::new();
        for f in &fed {
            let phases =
                [(steps(CLEAN), f.unit, 0.0), (steps(Span(fix.0 - CLEAN.0)), 0.0, f.unit), (steps(Span(end.0 - fix.0)) + 5, f.unit, 0.0)];
            series.push((f.good.clone(), counter(&phases.iter().map(|(n, good, _)| (*n, *good)).collect())));
            series.push((f.bad.clone(), counter(&phases.iter().map(|(n, _, bad)| (*n, *bad)).collect())));
        }
        series.extend(exporter(1.0, end));
        if let Some(least) = slo.min_bad_resources {
            let scope = example_scope(slo).unwrap_or_default();
            let control = plan.controls.first().map_or("", |c| c.id.as_str());
            let gauge = super::promql::series(names::RESOURCES.name)
                .with(label::CONTROL, control)
                .with(label::SCOPE, &scope)
                .with(label::STATE, "non_compliant");
            series.push((
                gauge.to_string(),
                format!("0x{} {least}x{} 0x{}", steps(CLEAN), steps(Span(fix.0 - CLEAN.0)), steps(Span(end.0 - fix.0))),
            ));
        }
        let mut questions = Vec::new();
        for (u, at) in &due {
            let more = [(recorded::SLOTH_SEVERITY, u.word()), (label::SEVERITY, severity(*u))];
            questions.push(firing(alert::BURN, &plan.id, &more, Span(CLEAN.0 - EVALUATION.0), false));
            questions.push(firing(alert::BURN, &plan.id, &more, *at, true));
            questions.push(firing(alert::BURN, &plan.id, &more, gone(*u), false));
        }
        // The budget of so short a history is long gone, and Prometheus says so without waking anybody.
        questions.push(firing(alert::EXHAUSTED, &plan.id, &[(label::SEVERITY, "info")], fix, true));
        questions.push(firing(alert::NO_DATA, &plan.id, &[], fix, false));
        questions.sort_by_key(|q| q.at);
        tests.push(test("total failure fires every alert, and the fix ends it", &series, &questions));

        // Half of the lowest threshold, for as long as the failure took.
        let share = 0.5 * least / most;
        let series: Vec<(String, String)> = fed
            .iter()
            .flat_map(|f| {
                let n = steps(fix);
                [(f.good.clone(), counter(&vec![(n, f.unit * (1.0 - share))])), (f.bad.clone(), counter(&vec![(n, f.unit * share)]))]
            })
            .chain(exporter(share, fix))
            .collect();
        let mut questions: Vec<Question> = [CLEAN, fix].into_iter().map(|at| firing(alert::BURN, &plan.id, &[], at, false)).collect();
        questions.push(firing(alert::NO_DATA, &plan.id, &[], fix, false));
        tests.push(test("half of the lowest threshold fires nothing", &series, &questions));
    }
    let (before, after) = (Span(10 * Span::MINUTE.0), Span(30 * Span::MINUTE.0));
    let counts = plan.ratio.terms().is_some();
    if plan.held || counts {
        let questions = [
            firing(alert::NO_DATA, &plan.id, &[], before, false),
            firing(alert::NO_DATA, &plan.id, &[], after, true),
            firing(alert::BURN, &plan.id, &[], after, false),
        ];
        tests.push(test("without counters it says that it has no data", &[], &questions));
    }
    if !fed.is_empty() && (plan.held || counts) {
        let series: Vec<(String, String)> =
            fed.iter().flat_map(|f| [&f.good, &f.bad]).map(|s| (s.clone(), format!("0x{}", steps(after)))).collect();
        let (name, no_data) = if plan.held {
            ("nothing in scope is no data, neither good nor bad", true)
        } else {
            ("without events there is nothing to say", false)
        };
        let questions = [firing(alert::NO_DATA, &plan.id, &[], after, no_data), firing(alert::BURN, &plan.id, &[], after, false)];
        tests.push(test(name, &series, &questions));
    }
    let mut ids: Vec<String> = Vec::new();
    with_members(plan, plans, &mut ids);
    let files: Vec<Yaml> = ids.iter().map(|id| rules_of(id)).chain([rules_of(HEALTH)]).map(Yaml::from).collect();
    let order: Vec<Yaml> = ids
        .iter()
        .flat_map(|id| GROUPS.map(|what| format!("sloth-slo-{what}-{id}")))
        .chain(groups.iter().map(|g| g.name.clone()))
        .map(Yaml::from)
        .collect();
    let mut comment = vec![format!("{MARK} alerts; do not edit. Run it with: promtool test rules {}.test.yaml", plan.id)];
    if let Some(why) = &missing {
        comment.push(format!("Whether its alerts fire is not tested here: {why}."));
    }
    let whole = map([
        ("rule_files", files.into()),
        ("evaluation_interval", window::name(EVALUATION).into()),
        ("group_eval_order", order.into()),
        ("tests", tests.into()),
    ]);
    let path = format!("alerts/tests/{}.test.yaml", plan.id);
    let note = missing.map(|why| format!("{}: whether its alerts fire is not tested: {why}", plan.id));
    (Artefact { path, text: document(&comment, &whole) }, note)
}

/// The groups of an SLO, in the order in which they read each other.
const GROUPS: [&str; 4] = ["sli-recordings", "period-recordings", "meta-recordings", "alerts"];
/// The file of rules about everything.
pub(super) const HEALTH: &str = "compliance-health";

fn rules_of(id: &str) -> String {
    format!("../rules/{id}.rules.yaml")
}

/// The SLO after all that it is made of.
fn with_members(plan: &Plan<'_>, plans: &[Plan<'_>], out: &mut Vec<String>) {
    for m in &plan.members {
        if let Some(member) = plans.iter().find(|p| p.id == m.slo.id()) {
            with_members(member, plans, out);
        }
    }
    if !out.contains(&plan.id) {
        out.push(plan.id.clone());
    }
}
