//! What several dashboards share: variables, events, links, and what colors mean.

use super::model::{Annotation, Color, Link, Mapping, Panel, Variable, VariableKind, uid};
use super::query::{self, FRAMEWORK, M, OWNER, View, aggregate, objective, once, sel, variable};
use crate::exposition::names::label::{COLLECTOR, CONTROL, SCOPE, SEVERITY};
use crate::exposition::names::{self, Metric};
use crate::generate::Options;

/// Steps of a threshold: from which number on which color.
pub(super) type Steps = &'static [(Option<f64>, Color)];

/// What is left of an error budget: spent, the last quarter, more.
pub(super) const BUDGET: Steps = &[(None, Color::Bad), (Some(1e-6), Color::Warn), (Some(0.25), Color::Good)];
/// Burn rates: at 1 the budget lasts exactly its period.
pub(super) const BURN: Steps = &[(None, Color::Good), (Some(1.0), Color::Warn), (Some(6.0), Color::Bad)];
/// Of how many resources something is known.
pub(super) const COVERAGE: Steps = &[(None, Color::Bad), (Some(0.9), Color::Warn), (Some(0.99), Color::Good)];
/// Time until a budget is spent: three days are the alert's.
pub(super) const SPENT_IN: Steps = &[(None, Color::Bad), (Some(3.0 * 86400.0), Color::Warn), (Some(14.0 * 86400.0), Color::Good)];
/// Something of which there should be none.
pub(super) const NONE: Steps = &[(None, Color::Good), (Some(1e-6), Color::Bad)];
/// Something of which there should be none, and which can wait.
pub(super) const FEW: Steps = &[(None, Color::Good), (Some(1e-6), Color::Warn)];
/// The age of evidence in units of what it may be.
pub(super) const AGE: Steps = &[(None, Color::Good), (Some(0.67), Color::Warn), (Some(1.0), Color::Bad)];
/// A number without a judgement.
pub(super) const PLAIN: Steps = &[(None, Color::Plain)];
/// How overdue a run is, in units of its interval; from 2 on the alert of the exporter speaks.
pub(super) const LATE: Steps = &[(None, Color::Good), (Some(1.2), Color::Warn), (Some(2.0), Color::Bad)];
/// What never happened is 1e12 seconds, or intervals, ago.
pub(super) const NEVER: &[Mapping] = &[Mapping::From(1e11, "never", Color::Bad)];
/// A budget that is not being spent, and one that is spent already.
pub(super) const SPENT: &[Mapping] = &[Mapping::From(1e12, "not at this rate", Color::Good), Mapping::To(0.0, "spent", Color::Bad)];

pub(super) fn datasource() -> Variable {
    Variable { name: variable::DATASOURCE, label: "Prometheus", kind: VariableKind::Datasource }
}

/// The address of the exporter's own pages; `generate --page-url` sets it.
pub(super) fn page(options: &Options) -> Variable {
    Variable { name: variable::PAGE, label: "bornright", kind: VariableKind::Constant(options.page_url.clone()) }
}

fn values(name: &'static str, label_shown: &'static str, expr: String, label: &'static str) -> Variable {
    Variable { name, label: label_shown, kind: VariableKind::Values { expr, label, many: true, all_is_any: true } }
}

pub(super) fn frameworks() -> Variable {
    values(variable::FRAMEWORK, "Framework", aggregate("group", &[FRAMEWORK], names::CONTROL_MAPPING_INFO.name), FRAMEWORK)
}

pub(super) fn owners() -> Variable {
    values(variable::OWNER, "Owner", aggregate("group", &[OWNER], names::CONTROL_INFO.name), OWNER)
}

pub(super) fn severities() -> Variable {
    values(variable::SEVERITY, "Severity", aggregate("group", &[SEVERITY], names::CONTROL_INFO.name), SEVERITY)
}

/// The scopes that have evidence, or asked for evidence, narrowed by `conditions`.
pub(super) fn scopes(conditions: &[M<'_>]) -> Variable {
    values(variable::SCOPE, "Scope", aggregate("group", &[SCOPE], &sel(&names::EVIDENCE_SECONDS, conditions)), SCOPE)
}

/// One control, of the owner and the framework chosen.
pub(super) fn control() -> Variable {
    let framework = [M::Var(FRAMEWORK, variable::FRAMEWORK)];
    let expr = format!(
        "{} and on ({CONTROL}) ({} or {})",
        aggregate("group", &[CONTROL], &sel(&names::CONTROL_INFO, &[M::Var(OWNER, variable::OWNER)])),
        sel(&names::CONTROL_MAPPING_INFO, &framework),
        sel(&names::CONTROL_INFO, &framework)
    );
    Variable {
        name: variable::CONTROL,
        label: "Control",
        kind: VariableKind::Values { expr, label: CONTROL, many: false, all_is_any: false },
    }
}

pub(super) fn collectors() -> Variable {
    values(variable::COLLECTOR, "Collector", aggregate("group", &[COLLECTOR], names::COLLECTOR_SCAN_INTERVAL.name), COLLECTOR)
}

/// The services of the SLOs that rules record.
pub(super) fn services() -> Variable {
    values(variable::SERVICE, "Service", aggregate("group", &["sloth_service"], names::recorded::OBJECTIVE), "sloth_service")
}

/// The SLOs of the service chosen. "All" is the list, not any: the exporter's own numbers do not say their service.
pub(super) fn slos(many: bool) -> Variable {
    Variable {
        name: variable::SLO,
        label: "SLO",
        kind: VariableKind::Values { expr: objective::all(), label: objective::ID, many, all_is_any: false },
    }
}

/// Drift, and controls that changed their meaning: without them a step in a graph has no reason.
pub(super) fn annotations(view: View) -> Vec<Annotation> {
    let drift = query::rise_by_step(view, &names::DRIFT, &[], &query::VIOLATION);
    vec![
        Annotation {
            name: "Drift",
            expr: format!("{} > 0", query::sum(&[CONTROL, SCOPE], &drift)),
            color: Color::Bad.word(),
            title: "Drift",
            text: "{{control}} in {{scope}}: resources that complied do not any more",
        },
        Annotation {
            name: "Control changed",
            expr: control_changed(view),
            color: Color::Waived.word(),
            title: "Control changed",
            text: "{{control}} has version {{version}} now",
        },
    ]
}

/// A version of a control that was not there one step before, of a control that was.
fn control_changed(view: View) -> String {
    let conditions: &[M<'_>] = match view {
        View::Control => &[M::Var(CONTROL, variable::CONTROL)],
        _ => &[M::Var(OWNER, variable::OWNER)],
    };
    let info = sel(&names::CONTROL_INFO, conditions);
    let now = aggregate("group", &[CONTROL, "version"], &info);
    format!(
        "{now} unless {info_before} and on ({CONTROL}) {info} offset $__interval",
        info_before = aggregate("group", &[CONTROL, "version"], &format!("{info} offset $__interval"))
    )
}

/// Series by severity, each in its color.
pub(super) fn by_severity(panel: Panel) -> Panel {
    [("critical", Color::Bad), ("high", Color::High), ("medium", Color::Warn), ("low", Color::Plain), ("info", Color::Unknown)]
        .into_iter()
        .fold(panel, |panel, (severity, color)| panel.colored(severity, color))
}

/// A link to the exporter's own page.
pub(super) fn page_link(title: &'static str, path: &str) -> Link {
    Link { title, url: format!("${{{}}}{path}", variable::PAGE) }
}

/// From a row of a table with a control to the page that says why, how to fix it, and what to learn.
pub(super) fn to_page() -> (&'static str, String) {
    ("Why, and how to fix it", format!("${{{}}}/controls/${{__data.fields.{CONTROL}}}", variable::PAGE))
}

/// From a row with a control, and perhaps a scope, to the control's dashboard.
pub(super) fn to_control(scope: bool) -> (&'static str, String) {
    let scope = if scope { format!("&var-{}=${{__data.fields.{SCOPE}}}", variable::SCOPE) } else { String::new() };
    ("Control", format!("{}&var-{}=${{__data.fields.{CONTROL}}}{scope}", to("control"), variable::CONTROL))
}

/// From a row with an SLO to its dashboard.
pub(super) fn to_slo() -> (&'static str, String) {
    ("SLO", format!("{}&var-{}=${{__data.fields.{}}}", to("slo"), variable::SLO, objective::ID))
}

/// From a series of an SLO to its dashboard.
pub(super) fn series_to_slo() -> (&'static str, String) {
    ("SLO", format!("{}&var-{}=${{__field.labels.{}}}", to("slo"), variable::SLO, objective::ID))
}

/// To another dashboard, with the same data and the same time.
pub(super) fn to(name: &str) -> String {
    format!("/d/{}?${{__url_time_range}}&var-{datasource}=${{{datasource}}}", uid(name), datasource = variable::DATASOURCE)
}

/// How old the newest evidence of a row is, in units of how old it may be.
pub(super) fn evidence_age(view: View) -> String {
    format!(
        "{} / on ({CONTROL}) group_left () {}",
        age(view, &names::EVIDENCE_LAST_SUCCESS),
        once(&[CONTROL], names::EVIDENCE_MAX_AGE.name)
    )
}

/// Seconds since the instant that a series of rows says.
pub(super) fn age(view: View, metric: &Metric) -> String {
    format!("(time() - {})", once(&[CONTROL, SCOPE], &view.chosen(metric, &[])))
}
