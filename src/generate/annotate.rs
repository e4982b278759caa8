//! What an alert tells whoever gets it: what is breached, by how much, since when, where, and where to read on.
//!
//! Annotations are templates of Prometheus (Go's text/template). Queries inside them run when the alert is evaluated, so
//! they say how things stand now. Where a query finds nothing the text says so; it never shows a zero.

use super::promql::{Expr, Op, all, by, call, call_with, number, on, series, top};
use super::rules::{Labels, percent};
use super::sli::Plan;
use super::{Options, SLO_DASHBOARD_UID};
use crate::domain::Span;
use crate::exposition::names::{self, alert, label, recorded};
use crate::slo::{Sli, Tier, Urgency, window};

/// A text of somebody else inside a template.
fn literal(text: &str) -> String {
    text.replace("{{", "{{\"{{\"}}")
}

/// An expression as a text inside a template.
fn query(expr: &Expr) -> String {
    let text = expr.to_string();
    if text.contains('`') { format!("query \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { format!("query `{text}`") }
}

/// The value of `expr` through a function of templates, or `else_` where it has none.
fn value(expr: &Expr, with: &str, else_: &str) -> String {
    format!("{{{{ with {} }}}}{{{{ . | first | value | {with} }}}}{{{{ else }}}}{else_}{{{{ end }}}}", query(expr))
}

/// The series of `expr`: a label and the value of each, or `none`.
fn each(expr: &Expr, label: &str, with: &str, unit: &str, none: &str) -> String {
    format!(
        "{{{{ range $i, $s := {} }}}}{{{{ if $i }}}}, {{{{ end }}}}{{{{ $s.Labels.{label} }}}} {{{{ $s.Value | {with} }}}}{unit}{{{{ else }}}}{none}{{{{ end }}}}",
        query(expr)
    )
}

fn pairs(entries: Vec<(&str, String)>) -> Labels {
    entries.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Where whoever is paged reads on.
fn runbook(plan: &Plan<'_>, options: &Options) -> String {
    let slo = plan.slo();
    if !slo.runbook_url.is_empty() {
        return literal(&slo.runbook_url);
    }
    match &plan.controls[..] {
        [only] if slo.composite.is_none() => format!("{}/controls/{}", options.page_url, only.id),
        _ => format!("{}/#slo-{}", options.page_url, plan.id),
    }
}

fn dashboard(id: &str, options: &Options) -> String {
    format!("{}/d/{SLO_DASHBOARD_UID}?var-slo={id}", options.dashboard_url)
}

/// What is bad, in words that stand after a share.
fn bad(plan: &Plan<'_>) -> &'static str {
    if plan.slo().composite.is_some() {
        return "error ratio";
    }
    match plan.slo().sli {
        Sli::ResourceTime => "of resource-time does not comply",
        Sli::TimeSlice { .. } => "of time slices are bad",
        Sli::RemediationLatency => "of remediation deadlines are missed",
        Sli::EvidenceFreshness => "of control-time has stale evidence",
        Sli::Coverage => "of resource-time is unknown",
        Sli::Gate { .. } => "of gate checks let a known-bad input through",
    }
}

/// Budget left, and when it is gone.
fn budget(plan: &Plan<'_>) -> String {
    let left = value(&plan.own(recorded::BUDGET_REMAINING).into(), "humanizePercentage", "unknown");
    let gone = Expr::from(plan.own(recorded::BUDGET_EXHAUSTION)).op(Op::Less, number(1e12)).op(Op::Greater, number(0.0));
    format!(
        "Error budget left in {}: {left}{{{{ with {} }}}}, gone in {{{{ . | first | value | humanizeDuration }}}} at the present rate{{{{ end }}}}.",
        window::name(plan.slo().period),
        query(&gone)
    )
}

/// Since when.
fn since(plan: &Plan<'_>) -> Option<String> {
    if plan.slo().composite.is_some() {
        return None;
    }
    let (what, metric) = match plan.slo().sli {
        Sli::ResourceTime | Sli::TimeSlice { .. } | Sli::RemediationLatency => ("Oldest open violation since", &names::OLDEST_VIOLATION),
        Sli::EvidenceFreshness | Sli::Coverage => ("Oldest newest evidence from", &names::EVIDENCE_LAST_SUCCESS),
        Sli::Gate { .. } => return None,
    };
    let oldest = all("min", plan.covered(metric));
    Some(format!("{what}: {}.", value(&oldest, "humanizeTimestamp", "none now")))
}

/// The three worst scopes now; for a composite, members.
fn worst(plan: &Plan<'_>) -> String {
    let three = |of: Expr| call("sort_desc", top(3, &[], of));
    if plan.slo().composite.is_some() {
        let ids: Vec<String> = plan.members.iter().map(|m| m.slo.id()).collect();
        let burns = by("max", &[recorded::SLOTH_ID], series(recorded::CURRENT_BURN_RATE).with_any(recorded::SLOTH_ID, &ids));
        return format!(
            "Members that burn most now: {}.",
            each(&three(burns.op(Op::Greater, number(0.0))), recorded::SLOTH_ID, "humanize", "x", "none")
        );
    }
    let (expr, with, unit) = match plan.slo().sli {
        Sli::ResourceTime | Sli::TimeSlice { .. } | Sli::Coverage => {
            let (bad, total) = plan.states();
            let of = |states: &str| by("sum", &[label::SCOPE], plan.covered(&names::RESOURCES).with_pattern(label::STATE, states));
            (of(&bad).op(Op::Div, of(&total).op(Op::Greater, number(0.0))).op(Op::Greater, number(0.0)), "humanizePercentage", "")
        }
        Sli::RemediationLatency => {
            (by("sum", &[label::SCOPE], plan.covered(&names::VIOLATIONS_OVERDUE)).op(Op::Greater, number(0.0)), "humanize", " overdue")
        }
        Sli::EvidenceFreshness => {
            let newest = by("max", &[label::CONTROL, label::SCOPE], plan.covered(&names::EVIDENCE_LAST_SUCCESS));
            let allowed = by("max", &[label::CONTROL], series(names::EVIDENCE_MAX_AGE.name));
            let over = call_with("time", Vec::new()).op(Op::Sub, newest).op_on(Op::Sub, on(&[label::CONTROL]).group_left(&[]), allowed);
            (by("max", &[label::SCOPE], over.op(Op::Greater, number(0.0))), "humanizeDuration", " too old")
        }
        Sli::Gate { .. } => {
            let through = plan.ratio.terms().and_then(|t| t.first()).map(|t| t.bad.clone().over(Span::DAY));
            let Some(through) = through else { return String::new() };
            let gates = by("sum", &["gate"], call("increase", through)).op(Op::Greater, number(0.0));
            return format!("Worst gates in a day: {}.", each(&three(gates), "gate", "humanize", "", "none"));
        }
    };
    format!("Worst scopes now: {}.", each(&three(expr), label::SCOPE, with, unit, "none, all is well again"))
}

/// The annotations of a burn alert.
pub(super) fn burn(plan: &Plan<'_>, urgency: Urgency, tiers: &[&Tier], options: &Options) -> Labels {
    let slo = plan.slo();
    let mut windows: Vec<Span> = tiers.iter().flat_map(|t| [t.short, t.long]).collect();
    windows.sort_unstable();
    windows.dedup();
    let shares: Vec<String> = windows
        .iter()
        .map(|w| format!("{} {}", window::name(*w), value(&plan.recorded_ratio(*w).into(), "humanizePercentage", "no data")))
        .collect();
    let limits: Vec<String> = tiers
        .iter()
        .map(|t| {
            format!(
                "{} % over {} and {} ({} times the budget's rate)",
                rounded(percent(t.threshold(slo.budget()))),
                window::name(t.short),
                window::name(t.long),
                rounded(t.factor)
            )
        })
        .collect();
    let rate = value(&plan.own(recorded::CURRENT_BURN_RATE).into(), "humanize", "?");
    let mut description = vec![
        format!(
            "{{{{ $value | humanizePercentage }}}} {}; the objective of {} % allows {} %.",
            bad(plan),
            percent(slo.objective),
            percent(slo.budget())
        ),
        format!("By window: {}. Now {rate} times the rate that uses the budget up in {}.", shares.join(", "), window::name(slo.period)),
        format!("Fires above {}.", limits.join(", or ")),
        budget(plan),
    ];
    description.extend(since(plan));
    description.push(worst(plan));
    if !slo.description.is_empty() {
        description.push(literal(slo.description.trim()));
    }
    pairs(vec![
        ("summary", format!("{}/{} burns its error budget too fast", slo.service, slo.name)),
        ("title", format!("({urgency}) {} {}: compliance error budget burns too fast", slo.service, slo.name)),
        ("description", description.join("\n")),
        ("runbook_url", runbook(plan, options)),
        ("dashboard_url", dashboard(&plan.id, options)),
    ])
}

fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

/// Nothing of the budget is left.
pub(super) fn exhausted(plan: &Plan<'_>, options: &Options) -> Labels {
    let slo = plan.slo();
    let mut description = vec![format!(
        "{} of the error budget of {} is left (objective {} %). No page: what follows is policy, for instance that fixes go before features.",
        "{{ $value | humanizePercentage }}",
        window::name(slo.period),
        percent(slo.objective)
    )];
    description.extend(since(plan));
    description.push(worst(plan));
    pairs(vec![
        ("summary", format!("{}/{} has no error budget left", slo.service, slo.name)),
        ("title", format!("(info) {} {}: compliance error budget is exhausted", slo.service, slo.name)),
        ("description", description.join("\n")),
        ("runbook_url", runbook(plan, options)),
        ("dashboard_url", dashboard(&plan.id, options)),
    ])
}

/// The counters of an SLI of events are not there.
pub(super) fn counters_gone(plan: &Plan<'_>, options: &Options) -> Labels {
    let slo = plan.slo();
    pairs(vec![
        ("summary", format!("{}/{}: the counters of its SLI are gone", slo.service, slo.name)),
        ("title", format!("(no data) {} {}: nothing is counted", slo.service, slo.name)),
        (
            "description",
            "Without events an SLI of events has no ratio, and that is fine; without counters nobody counts them. Public dashboards show 100 % meanwhile. Look whether the exporter is scraped and knows the controls.".to_owned(),
        ),
        ("runbook_url", runbook(plan, options)),
        ("dashboard_url", dashboard(&plan.id, options)),
    ])
}

/// The annotations of an alert that is not of one SLO; docs/alerts.md says more.
pub(super) fn health(name: &str, o: &Options) -> Labels {
    let slo = "{{ $labels.sloth_service }}/{{ $labels.sloth_slo }}";
    let control = "{{ $labels.control }} in {{ $labels.scope }}";
    let control_page = format!("{}/controls/{{{{ $labels.control }}}}", o.page_url);
    let slo_page = format!("{}/#slo-{{{{ $labels.sloth_id }}}}", o.page_url);
    let slo_dashboard = dashboard("{{ $labels.sloth_id }}", o);
    let front = format!("{}/", o.page_url);
    let none = String::new;
    let (summary, description, runbook, dashboard) = match name {
        alert::EXPORTER_DOWN => (
            "No compliance exporter is scraped".to_owned(),
            format!("No target of job `{}` is up. All ratios stand still or are gone, and no compliance alert but this one says anything. Start the exporter, or look at Prometheus' targets.", literal(&o.job)),
            front,
            none(),
        ),
        alert::INGEST_STALLED => (
            "The compliance exporter is up and takes nothing in".to_owned(),
            "Nothing was ingested for {{ $value | humanizeDuration }}. Evidence is held until it is too old, so everything looks as it did. Look at the collectors on the exporter's page.".to_owned(),
            front,
            none(),
        ),
        alert::NO_DATA => (
            format!("{slo} has no data"),
            "Its error ratio is absent or not a number; dashboards would show 100 %. Either nothing is in scope, or all of it is unknown, or the exporter is not scraped. Absence of evidence is not compliance.".to_owned(),
            slo_page,
            slo_dashboard,
        ),
        alert::NOT_RECORDED => (
            "{{ $labels.slo }} has no rules, or rules for another objective".to_owned(),
            "The exporter keeps account of this SLO with an objective of {{ $value | humanizePercentage }}, and Prometheus records no such objective: nobody would be told of a breach. Run `bornright generate alerts --config …` again and load what it writes.".to_owned(),
            format!("{}/#slo-{{{{ $labels.slo }}}}", o.page_url),
            dashboard("{{ $labels.slo }}", o),
        ),
        alert::EVIDENCE_STALE => (
            format!("{control}: the newest evidence is {{{{ $value | humanizeDuration }}}} old"),
            "It is older than its max_age, so its resources are unknown. Look at the collector and at the scanner behind it: schedule, permissions, the last run's problems.".to_owned(),
            control_page,
            none(),
        ),
        alert::CONSERVATION => (
            format!("{control}: counters and gauges contradict each other"),
            "Resource-seconds grow by {{ $value | humanizePercentage }} more or less than the resources that are shown. Error ratios of this control cannot be trusted. A population that grows or shrinks fast is one cause; several exporters under one instance are another; else it is a fault of the exporter, please report it.".to_owned(),
            control_page,
            none(),
        ),
        alert::GATE_BYPASSED => (
            "Gate {{ $labels.gate }} let a known-bad input through".to_owned(),
            "A live check with an input that must be denied was admitted {{ $value | humanize }} times within an hour. The preventive control does not hold now, whatever its ratio.".to_owned(),
            format!("{}/controls/{{{{ $labels.gate }}}}", o.page_url),
            none(),
        ),
        alert::REMEDIATION_OVERDUE => (
            format!("{control}: {{{{ $value }}}} {{{{ $labels.severity }}}} violations are past their deadline"),
            "They were to be fixed by now. The control's page has each of them, why it matters and how to fix it; if one cannot be fixed, a waiver with an owner and an end is the way.".to_owned(),
            control_page,
            none(),
        ),
        alert::EXHAUSTION_SOON => (
            format!("{slo}: the error budget is gone in {{{{ $value | humanizeDuration }}}} at the present rate"),
            "More than a quarter of it is used, and at the rate of the last day or two the rest lasts less than three days.".to_owned(),
            slo_page,
            slo_dashboard,
        ),
        _ => (name.to_owned(), String::new(), front, none()),
    };
    pairs(vec![("summary", summary), ("description", description), ("runbook_url", runbook), ("dashboard_url", dashboard)])
}
