//! Recording and alerting rules of each SLO, in Sloth's groups, names and labels (slo.md sections 11 and 12).

use super::promql::{Expr, Op, all, call_with, number, on, series, without};
use super::sli::{self, IDS, Member, Plan};
use super::yaml::{self, Yaml, map};
use super::{Input, MARK, Objective, annotate};
use crate::domain::{Control, Span};
use crate::exposition::names::{self, alert, label, recorded};
use crate::slo::{Sli, Slo, Tier, Urgency, window};
use std::collections::{BTreeMap, BTreeSet};

/// Rules that are evaluated together, one after the other.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) interval: Span,
    pub(super) rules: Vec<Rule>,
}

/// One rule.
pub(super) enum Rule {
    Record { name: String, expr: Expr, labels: Labels },
    Alert { name: &'static str, expr: Expr, wait: Span, labels: Labels, annotations: Labels },
}

/// Names and values, in the order written.
pub(super) type Labels = Vec<(String, String)>;

/// How often rules are evaluated.
const INTERVAL: Span = Span::MINUTE;
/// How often the ratio of a whole period is: it moves slowly and costs most. Less than the five minutes after which
/// Prometheus takes a series for gone (SLO110).
const LONG_INTERVAL: Span = Span(4 * Span::MINUTE.0);

impl Group {
    pub(super) fn yaml(&self) -> Yaml {
        map([
            ("name", self.name.as_str().into()),
            ("interval", window::name(self.interval).into()),
            ("rules", self.rules.iter().map(Rule::yaml).collect::<Vec<_>>().into()),
        ])
    }
}

impl Rule {
    /// Name and expression, if it is an alert.
    pub(super) fn alert(&self) -> Option<(&'static str, String)> {
        match self {
            Rule::Alert { name, expr, .. } => Some((name, expr.pretty())),
            Rule::Record { .. } => None,
        }
    }

    fn yaml(&self) -> Yaml {
        let pairs = |labels: &Labels| map(labels.iter().map(|(k, v)| (k.as_str(), v.as_str().into())));
        let expr = |e: &Expr| {
            let text = e.pretty();
            if text.contains('\n') { format!("{text}\n").into() } else { Yaml::from(text) }
        };
        match self {
            Rule::Record { name, expr: e, labels } => {
                let mut out = vec![("record", name.as_str().into()), ("expr", expr(e))];
                if !labels.is_empty() {
                    out.push(("labels", pairs(labels)));
                }
                map(out)
            }
            Rule::Alert { name, expr: e, wait, labels, annotations } => {
                let mut out = vec![("alert", (*name).into()), ("expr", expr(e))];
                if wait.0 > 0 {
                    out.push(("for", window::name(*wait).into()));
                }
                out.push(("labels", pairs(labels)));
                out.push(("annotations", pairs(annotations)));
                map(out)
            }
        }
    }
}

/// Labels that have a meaning of their own in what we write.
const RESERVED: [&str; 14] = [
    recorded::SLOTH_ID,
    recorded::SLOTH_SERVICE,
    recorded::SLOTH_SLO,
    recorded::SLOTH_WINDOW,
    recorded::SLOTH_SEVERITY,
    recorded::SLOTH_OBJECTIVE,
    recorded::SLI_KIND,
    recorded::OWNER,
    recorded::FRAMEWORK,
    label::SEVERITY,
    "alertname",
    "sloth_mode",
    "sloth_spec",
    "sloth_version",
];

/// Works out every SLO.
///
/// # Errors
/// A sentence for each SLO that cannot be written.
pub(super) fn plans(input: &Input) -> Result<Vec<Plan<'_>>, Vec<String>> {
    let mut faults = Vec::new();
    let by_id: BTreeMap<String, &Objective> = input.objectives.iter().map(|o| (o.slo.id(), o)).collect();
    let covered = |slo: &Slo| -> Vec<&Control> { input.controls.iter().filter(|c| slo.controls.covers(c)).collect() };
    let member = |id: &str| {
        let slo = &by_id.get(id)?.slo;
        Some((slo.clone(), covered(slo).into_iter().cloned().collect()))
    };
    let mut plans = Vec::new();
    for objective in &input.objectives {
        let slo = &objective.slo;
        let id = slo.id();
        if slo.for_each_scope {
            faults.push(format!("SLO `{id}` is made for each scope and was not expanded"));
            continue;
        }
        for name in slo.labels.keys() {
            let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with("__");
            if RESERVED.contains(&name.as_str()) {
                faults.push(format!("SLO `{id}`: label `{name}` is set by the generator\n  help: choose another name"));
            } else if !sound {
                faults.push(format!("SLO `{id}`: `{name}` is no label name\n  help: use letters, digits and `_`"));
            }
        }
        let circle = circle(&id, &by_id, &mut BTreeSet::new());
        if circle {
            faults.push(format!("composite `{id}` contains itself\n  help: take it out of its members, and out of theirs"));
            continue;
        }
        let mut members = Vec::new();
        for m in slo.composite.iter().flat_map(|c| &c.members) {
            match by_id.get(&m.slo) {
                Some(found) => members.push(Member { slo: &found.slo, weight: m.weight }),
                None => faults.push(format!("composite `{id}` has no member `{}`", m.slo)),
            }
        }
        let controls = covered(slo);
        let ratio = match sli::ratio(slo, &controls, &member) {
            Ok(ratio) => ratio,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        let held = held(slo, &by_id);
        // A slice counts when it closes: for its windows a slice is what a scan is for others.
        let scan = match slo.sli {
            Sli::TimeSlice { slice, .. } => objective.scan_interval.max(slice),
            _ => objective.scan_interval,
        };
        let tiers = crate::slo::tier::tiers(slo.objective, slo.period, held, scan, input.options.scrape_interval, slo.rescan_on_demand);
        if tiers.tiers.is_empty() {
            let why: Vec<String> = tiers.notes.iter().map(|n| format!("{}: {}", n.code.word(), n.message)).collect();
            faults.push(format!("SLO `{id}`: no alert could ever fire\n  {}", why.join("\n  ")));
            continue;
        }
        let forecast = window::nice_up(Span::DAY.max(objective.scan_interval.times(2)));
        let windows = window::recorded(slo.period, tiers.windows().chain([forecast]), input.options.compat_30d);
        plans.push(Plan { objective, id, controls, members, tiers, forecast, windows, held, ratio });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    lend_windows(&mut plans);
    Ok(plans)
}

/// A composite reads its members' ratios over its own windows, so they must record those, too.
fn lend_windows(plans: &mut [Plan<'_>]) {
    loop {
        let wanted: Vec<(String, Span)> = plans
            .iter()
            .filter(|p| matches!(p.ratio, sli::Ratio::Members { .. }))
            .flat_map(|p| p.members.iter().flat_map(|m| p.windows.iter().map(|w| (m.slo.id(), *w))))
            .collect();
        let mut changed = false;
        for plan in plans.iter_mut() {
            for (_, window) in wanted.iter().filter(|(id, _)| *id == plan.id) {
                if !plan.windows.contains(window) {
                    plan.windows.push(*window);
                    changed = true;
                }
            }
            plan.windows.sort_unstable();
        }
        if !changed {
            return;
        }
    }
}

/// Whether following members from `id` leads back to an SLO that is being followed.
fn circle(id: &str, slos: &BTreeMap<String, &Objective>, above: &mut BTreeSet<String>) -> bool {
    if !above.insert(id.to_owned()) {
        return true;
    }
    let members = slos.get(id).and_then(|o| o.slo.composite.as_ref()).map_or(&[][..], |c| &c.members);
    let found = members.iter().any(|m| circle(&m.slo, slos, above));
    above.remove(id);
    found
}

/// Integrals have data in every window; a composite has if all its members have.
fn held(slo: &Slo, slos: &BTreeMap<String, &Objective>) -> bool {
    use crate::slo::CompositeMode::{AnySlice, Joint};
    match &slo.composite {
        None => slo.sli.held(),
        Some(c) if c.mode == Joint => true,
        Some(c) if c.mode == AnySlice => false,
        Some(c) => c.members.iter().all(|m| slos.get(&m.slo).is_some_and(|o| held(&o.slo, slos))),
    }
}

/// A file of rules.
pub(super) fn document(comment: &[String], groups: &[Group]) -> String {
    yaml::document(comment, &map([("groups", groups.iter().map(Group::yaml).collect::<Vec<_>>().into())]))
}

/// The rules of one SLO, with what a reader of the file wants to know first.
pub(super) fn file(plan: &Plan<'_>, input: &Input) -> String {
    document(&header(plan), &groups(plan, input))
}

/// What the SLO promises, how often it is scanned, and what had to be changed about the usual alerts.
pub(super) fn header(plan: &Plan<'_>) -> Vec<String> {
    let slo = plan.slo();
    let what = match &slo.composite {
        Some(c) => format!("composite ({}) of {} SLOs", c.mode, c.members.len()),
        None if plan.controls.len() == 1 => format!("{} of 1 control", slo.sli.word()),
        None => format!("{} of {} controls", slo.sli.word(), plan.controls.len()),
    };
    let mut out = vec![
        format!("{MARK} alerts; do not edit."),
        format!("{}: {} % over {}, {what}.", plan.id, percent(slo.objective), window::name(slo.period)),
        format!("Scan interval {} ({}).", plan.objective.scan_interval, plan.objective.scan_from),
    ];
    out.extend(plan.tiers.notes.iter().map(|n| format!("{} ({}): {}.", n.code.word(), n.level.word(), n.message)));
    out
}

/// The groups of one SLO.
pub(super) fn groups(plan: &Plan<'_>, input: &Input) -> Vec<Group> {
    let group = |what: &str, interval, rules| Group { name: format!("sloth-slo-{what}-{}", plan.id), interval, rules };
    vec![
        group("sli-recordings", INTERVAL, sli_recordings(plan)),
        group("period-recordings", LONG_INTERVAL, period_recordings(plan, input)),
        group("meta-recordings", INTERVAL, meta_recordings(plan)),
        group("alerts", INTERVAL, alerts(plan, input)),
    ]
}

/// The three ids, the owner, and what the SLO adds.
fn labels(plan: &Plan<'_>, more: &[(&str, &str)]) -> Labels {
    let slo = plan.slo();
    let ids = [(recorded::SLOTH_ID, plan.id.as_str()), (recorded::SLOTH_SERVICE, &slo.service), (recorded::SLOTH_SLO, &slo.name)];
    let owner = (!slo.owner.is_empty()).then_some((recorded::OWNER, slo.owner.as_str()));
    ids.into_iter()
        .chain(more.iter().copied())
        .chain(owner)
        .chain(slo.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn ratio_rule(plan: &Plan<'_>, window: Span, expr: Expr) -> Rule {
    let name = window::name(window);
    Rule::Record { name: recorded::error_ratio(&name), expr, labels: labels(plan, &[(recorded::SLOTH_WINDOW, &name)]) }
}

fn sli_recordings(plan: &Plan<'_>) -> Vec<Rule> {
    // A composite's weights come first: its own ratios read them.
    let weights = plan.members.iter().filter(|_| matches!(plan.ratio, sli::Ratio::Members { .. })).map(|m| Rule::Record {
        name: recorded::SLO_WEIGHT.to_owned(),
        expr: call_with("vector", vec![number(m.weight)]),
        labels: vec![(recorded::SLOTH_ID.to_owned(), m.slo.id()), (recorded::FRAMEWORK.to_owned(), plan.id.clone())],
    });
    let ratios = plan.windows.iter().filter(|w| !plan.long(**w)).map(|w| ratio_rule(plan, *w, plan.error_ratio(*w)));
    weights.chain(ratios).collect()
}

fn period_recordings(plan: &Plan<'_>, input: &Input) -> Vec<Rule> {
    let period = plan.slo().period;
    let mut rules = Vec::new();
    for window in plan.windows.iter().filter(|w| plan.long(**w)) {
        let expr = if *window == period { plan.period_ratio(period, input.options.period_source) } else { plan.error_ratio(*window) };
        rules.push(ratio_rule(plan, *window, expr));
        if *window == period
            && let Some(expr) = plan.unweighted(period)
        {
            let name = window::name(period);
            rules.push(Rule::Record {
                name: recorded::unweighted_error_ratio(&name),
                expr,
                labels: labels(plan, &[(recorded::SLOTH_WINDOW, &name)]),
            });
        }
    }
    rules
}

/// The objective in per cent, as people write it: the point is moved in decimal.
pub(super) fn percent(ratio: f64) -> f64 {
    (ratio * 1e12).round() / 1e10
}

fn meta_recordings(plan: &Plan<'_>) -> Vec<Rule> {
    let slo = plan.slo();
    let record = |name: &str, expr: Expr, more: &[(&str, &str)]| Rule::Record { name: name.to_owned(), expr, labels: labels(plan, more) };
    let constant = |value: Expr| call_with("vector", vec![value]);
    let own = |name: &str| Expr::from(plan.own(name));
    let over_budget =
        |ratio: Span| Expr::from(plan.recorded_ratio(ratio)).op_on(Op::Div, on(&IDS).group_left(&[]), own(recorded::ERROR_BUDGET));
    let joined = |left: Expr, operator, right: Expr| left.op_on(operator, on(&IDS).group_left(&[]), right);
    let left = call_with("clamp_min", vec![own(recorded::BUDGET_REMAINING), number(0.0)]);
    let seconds = joined(left, Op::Mul, own(recorded::PERIOD_DAYS)).op(Op::Mul, number(86400.0));
    let burning = call_with("clamp_min", vec![plan.recorded_ratio(plan.forecast).into(), number(1e-9)]);
    let exhaustion =
        without("max", &[recorded::SLOTH_WINDOW], joined(joined(seconds, Op::Mul, own(recorded::ERROR_BUDGET)), Op::Div, burning));
    vec![
        record(recorded::OBJECTIVE, constant(number(slo.objective)), &[]),
        record(recorded::ERROR_BUDGET, constant(number(1.0).op(Op::Sub, number(slo.objective))), &[]),
        record(recorded::PERIOD_DAYS, constant(number(slo.period.seconds() / Span::DAY.seconds())), &[]),
        record(recorded::CURRENT_BURN_RATE, over_budget(plan.tiers.shortest()), &[]),
        record(recorded::PERIOD_BURN_RATE, over_budget(slo.period), &[]),
        record(recorded::BUDGET_REMAINING, number(1.0).op(Op::Sub, own(recorded::PERIOD_BURN_RATE)), &[]),
        record(recorded::BUDGET_EXHAUSTION, exhaustion, &[]),
        record(
            recorded::SLO_INFO,
            constant(number(1.0)),
            &[
                ("sloth_mode", "cli-gen-prom"),
                ("sloth_spec", "prometheus/v1"),
                ("sloth_version", "bornright"),
                (recorded::SLOTH_OBJECTIVE, &percent(slo.objective).to_string()),
                (recorded::SLI_KIND, if plan.held { "held" } else { "event" }),
            ],
        ),
    ]
}

/// The severity of an alert for Alertmanager, by whom it reaches.
pub(super) const fn severity(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Page => "critical",
        Urgency::Ticket => "warning",
    }
}

fn alerts(plan: &Plan<'_>, input: &Input) -> Vec<Rule> {
    let mut rules = Vec::new();
    for urgency in [Urgency::Page, Urgency::Ticket] {
        let tiers: Vec<&Tier> = plan.tiers.of(urgency).collect();
        let Some(burning) = tiers.iter().map(|t| burning(plan, t)).reduce(|a, b| a.op(Op::Or, b)) else { continue };
        rules.push(Rule::Alert {
            name: alert::BURN,
            expr: match plan.slo().min_bad_resources.filter(|_| urgency == Urgency::Page) {
                Some(least) => burning.op_on(Op::And, on(&[]), enough_bad(plan, least)),
                None => burning,
            },
            wait: Span(0),
            labels: labels(plan, &[(recorded::SLOTH_SEVERITY, urgency.word()), (label::SEVERITY, severity(urgency))]),
            annotations: annotate::burn(plan, urgency, &tiers, &input.options),
        });
    }
    rules.push(Rule::Alert {
        name: alert::EXHAUSTED,
        expr: Expr::from(plan.own(recorded::BUDGET_REMAINING)).op(Op::AtMost, number(0.0)),
        wait: Span(15 * Span::MINUTE.0),
        labels: labels(plan, &[(recorded::SLOTH_SEVERITY, "info"), (label::SEVERITY, "info")]),
        annotations: annotate::exhausted(plan, &input.options),
    });
    if let Some(gone) = plan.counters().filter(|_| !plan.held) {
        rules.push(Rule::Alert {
            name: alert::NO_DATA,
            expr: call_with("absent", vec![gone]),
            wait: Span(15 * Span::MINUTE.0),
            labels: labels(plan, &[(label::SEVERITY, "warning")]),
            annotations: annotate::counters_gone(plan, &input.options),
        });
    }
    rules
}

/// T6, one tier.
fn burning(plan: &Plan<'_>, tier: &Tier) -> Expr {
    let over = |w: Span| {
        // Whoever reads the rule sees the burn rate and the budget apart.
        let threshold = number(tier.factor).op(Op::Mul, number(plan.slo().budget()));
        without("max", &[recorded::SLOTH_WINDOW], Expr::from(plan.recorded_ratio(w)).op(Op::Greater, threshold))
    };
    over(tier.short).op(Op::And, over(tier.long))
}

/// Nobody is woken for fewer resources (slo.md section 6).
fn enough_bad(plan: &Plan<'_>, least: u64) -> Expr {
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 resources")]
    let least = number(least as f64);
    all("sum", plan.covered(&names::RESOURCES).with(label::STATE, "non_compliant")).op(Op::AtLeast, least)
}

impl Plan<'_> {
    /// What must be there for an SLI of events to count anything, even when nothing happens.
    fn counters(&self) -> Option<Expr> {
        let total = self.ratio.terms()?.first()?.total.clone();
        match self.slo().sli {
            // Deadlines are counted where a violation ever was. Where none was, the resources show that somebody looks.
            Sli::RemediationLatency if self.slo().composite.is_none() => {
                Some(Expr::from(total).op(Op::Or, self.covered(&names::RESOURCES)))
            }
            _ => Some(total.into()),
        }
    }
}

/// Alerts and records about all SLOs, and about the exporter.
pub(super) fn health(input: &Input) -> Group {
    use super::promql::{by, call, renamed, top};
    let control_scope = [label::CONTROL, label::SCOPE];
    let now = || Expr::Call("time", Vec::new());
    let minutes = |n: u64| Span::MINUTE.times(n);
    let alert = |name, expr, wait, severity: &str, annotations| Rule::Alert {
        name,
        expr,
        wait,
        labels: vec![(label::SEVERITY.to_owned(), severity.to_owned())],
        annotations,
    };
    // The control's owner, from one of possibly several replicas; if none says, the alert comes without.
    let owned = |of: &dyn Fn() -> Expr, labels: &[&str]| {
        let owners = top(1, &[label::CONTROL], by("max", &[label::CONTROL, recorded::OWNER], series(names::CONTROL_INFO.name)));
        of().op_on(Op::Mul, on(&[label::CONTROL]).group_left(&[recorded::OWNER]), owners).op_on(Op::Or, on(labels), of())
    };
    let stale = || {
        let newest = by("max", &control_scope, series(names::EVIDENCE_LAST_SUCCESS.name));
        now().op(Op::Sub, newest).op_on(
            Op::Greater,
            on(&[label::CONTROL]).group_left(&[]),
            by("max", &[label::CONTROL], series(names::EVIDENCE_MAX_AGE.name)),
        )
    };
    let overdue = || {
        by(
            "max",
            &[label::CONTROL, label::SCOPE, label::SEVERITY],
            series(names::VIOLATIONS_OVERDUE.name).with_pattern(label::SEVERITY, "critical|high"),
        )
        .op(Op::Greater, number(0.0))
    };
    let month = Span::DAY.times(30);
    let seconds = || Expr::from(series(names::RESOURCE_SECONDS.name));
    let exposed = || by("max", &["slo"], series(names::SLO_OBJECTIVE.name));
    let ids = IDS;
    let o = &input.options;
    Group {
        name: "compliance-slo-health".to_owned(),
        interval: INTERVAL,
        rules: vec![
            alert(
                alert::EXPORTER_DOWN,
                call("absent", Expr::from(series("up").with("job", &o.job)).op(Op::Equal, number(1.0))),
                minutes(5),
                "critical",
                annotate::health(alert::EXPORTER_DOWN, o),
            ),
            alert(
                alert::INGEST_STALLED,
                now()
                    .op(Op::Sub, series(names::LAST_INGEST.name))
                    .op(Op::Greater, number(2.0).op(Op::Mul, series(names::INGEST_INTERVAL.name))),
                minutes(5),
                "critical",
                annotate::health(alert::INGEST_STALLED, o),
            ),
            alert(
                alert::NO_DATA,
                Expr::from(series(recorded::OBJECTIVE))
                    .op_on(Op::Unless, on(&ids), Expr::from(series(&recorded::error_ratio("5m"))).op(Op::AtLeast, number(0.0)))
                    .op_on(Op::Unless, on(&ids), series(recorded::SLO_INFO).with(recorded::SLI_KIND, "event")),
                minutes(15),
                "warning",
                annotate::health(alert::NO_DATA, o),
            ),
            alert(
                alert::NOT_RECORDED,
                exposed().op_on(
                    Op::Unless,
                    on(&["slo"]),
                    renamed(series(recorded::OBJECTIVE), recorded::SLOTH_ID, "slo").op_on(
                        Op::Equal,
                        on(&["slo"]).group_left(&[]),
                        exposed(),
                    ),
                ),
                minutes(15),
                "warning",
                annotate::health(alert::NOT_RECORDED, o),
            ),
            alert(alert::EVIDENCE_STALE, owned(&stale, &control_scope), minutes(5), "warning", annotate::health(alert::EVIDENCE_STALE, o)),
            alert(
                alert::CONSERVATION,
                call(
                    "abs",
                    without("sum", &[label::STATE], call("rate", series(names::RESOURCE_SECONDS.name).over(minutes(15))))
                        .op(
                            Op::Div,
                            without("sum", &[label::STATE], call("avg_over_time", series(names::RESOURCES.name).over(minutes(15)))),
                        )
                        .op(Op::Sub, number(1.0)),
                )
                .op(Op::Greater, number(0.01)),
                minutes(30),
                "warning",
                annotate::health(alert::CONSERVATION, o),
            ),
            alert(
                alert::GATE_BYPASSED,
                call("increase", series(names::GATE_CHECKS.name).with("expected", "deny").with(label::OUTCOME, "allow").over(Span::HOUR))
                    .op(Op::Greater, number(0.0)),
                Span(0),
                "critical",
                annotate::health(alert::GATE_BYPASSED, o),
            ),
            alert(
                alert::REMEDIATION_OVERDUE,
                owned(&overdue, &[label::CONTROL, label::SCOPE, label::SEVERITY]),
                Span(0),
                "warning",
                annotate::health(alert::REMEDIATION_OVERDUE, o),
            ),
            alert(
                alert::EXHAUSTION_SOON,
                Expr::from(series(recorded::BUDGET_EXHAUSTION))
                    .op(Op::Greater, number(0.0))
                    .op(Op::Less, number(3.0).op(Op::Mul, number(86400.0)))
                    .op_on(
                        Op::And,
                        on(&[recorded::SLOTH_ID]),
                        Expr::from(series(recorded::PERIOD_BURN_RATE)).op(Op::Greater, number(0.25)),
                    ),
                Span::HOUR,
                "warning",
                annotate::health(alert::EXHAUSTION_SOON, o),
            ),
            Rule::Record {
                name: recorded::MTTR_EXPOSURE.to_owned(),
                expr: by(
                    "sum",
                    &control_scope,
                    call("increase", series(names::RESOURCE_SECONDS.name).with(label::STATE, "non_compliant").over(month)),
                )
                .op(
                    Op::Div,
                    by("sum", &control_scope, call("increase", series(names::REMEDIATIONS.name).over(month))).op(Op::Greater, number(0.0)),
                ),
                labels: Vec::new(),
            },
            Rule::Record {
                name: recorded::RESOURCE_SECONDS_30D.to_owned(),
                expr: seconds().op(
                    Op::Sub,
                    Expr::from(series(names::RESOURCE_SECONDS.name).ago(month)).op(Op::Or, seconds().op(Op::Mul, number(0.0))),
                ),
                labels: Vec::new(),
            },
        ],
    }
}
