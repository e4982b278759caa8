//! The same SLOs in the words of other tools: OpenSLO, Sloth, Pyrra, the Prometheus operator (slo.md section 11).
//!
//! What a tool cannot say is said in a comment of the file and in a note, never dropped in silence.

use super::promql::{Expr, Op, Select, all, call, number};
use super::rules::{Group, groups, health, percent};
use super::sli::{Plan, Ratio, Term};
use super::yaml::{Yaml, document, map};
use super::{Artefact, Input, MARK, Output, Target};
use crate::domain::Span;
use crate::slo::{Calendar, Sli, window};
use std::collections::{BTreeMap, BTreeSet};

/// The labels of an SLO for tools that have such.
fn labels(plan: &Plan<'_>) -> Yaml {
    let owner = (!plan.slo().owner.is_empty()).then(|| ("owner".to_owned(), Yaml::from(plan.slo().owner.as_str())));
    Yaml::Map(owner.into_iter().chain(plan.slo().labels.iter().map(|(k, v)| (k.clone(), v.as_str().into()))).collect())
}

fn described(plan: &Plan<'_>) -> String {
    let slo = plan.slo();
    if slo.description.trim().is_empty() {
        format!("{} % of {} over {}", percent(slo.objective), slo.sli.word(), window::name(slo.period))
    } else {
        slo.description.trim().to_owned()
    }
}

/// What every tool but ours leaves out.
fn left_out(plan: &Plan<'_>) -> Vec<String> {
    let slo = plan.slo();
    let mut out = Vec::new();
    if let Some(least) = slo.min_bad_resources {
        out.push(format!("min_bad_resources {least}: it pages for fewer, too"));
    }
    out
}

fn with_notes(plan: &Plan<'_>, said: &[String], value: Yaml, notes: &mut Vec<String>) -> Yaml {
    notes.extend(said.iter().map(|s| format!("{}: not expressed: {s}", plan.id)));
    if said.is_empty() {
        return value;
    }
    Yaml::Noted(said.iter().map(|s| format!("Not expressed: {s}.")).collect(), Box::new(value))
}

/// A name that Kubernetes and OpenSLO take (RFC 1123), unique among those given out by `taken`.
fn dns_name(text: &str, taken: &mut BTreeSet<String>) -> String {
    let mut plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    plain = plain.trim_matches('-').to_owned();
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>().trim_end_matches('-').to_owned();
    let mut name = cut(&plain, 63);
    for n in 2.. {
        if taken.insert(name.clone()) {
            break;
        }
        name = format!("{}-{n}", cut(&plain, 58));
    }
    name
}

fn is_label_value(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn metadata(name: String, input: &Input, more: Vec<(&str, Yaml)>) -> Yaml {
    let namespace = (!input.options.namespace.is_empty()).then(|| ("namespace", input.options.namespace.as_str().into()));
    map([("name", name.into())].into_iter().chain(namespace).chain(more))
}

// ---------------------------------------------------------------------------------------------------------------- Sloth

/// Sloth puts its own window where `{{.window}}` stands.
const SLOTH_WINDOW: Span = Span(9_099_099);
/// How [`SLOTH_WINDOW`] prints: no window that anybody would choose.
fn for_sloth(expr: &Expr) -> String {
    let window = window::name(SLOTH_WINDOW);
    expr.pretty().replace(&format!("[{window}]"), "[{{.window}}]").replace(&format!("ratio_rate{window}"), "ratio_rate{{.window}}")
}

/// One specification for each service.
pub(super) fn sloth(plans: &[Plan<'_>]) -> Output {
    let mut out = Output::default();
    let mut services: BTreeMap<&str, Vec<Yaml>> = BTreeMap::new();
    for plan in plans {
        let mut said = left_out(plan);
        if plan.slo().period != Span::DAY.times(30) && plan.slo().period != Span::DAY.times(28) {
            let period = window::name(plan.slo().period);
            said.push(format!("its period: Sloth takes one for all; run it with --default-slo-period={period} and windows for it"));
        }
        if !plan.tiers.notes.is_empty() {
            said.push("alert windows that follow the scan interval: Sloth's are those of its own catalogue".to_owned());
        }
        let sum = |select: &Select| all("sum", call("rate", select.clone().over(SLOTH_WINDOW)));
        let sli = match plan.ratio.terms() {
            Some([Term { bad, total, .. }]) => map([(
                "events",
                map([
                    ("error_query", for_sloth(&sum(bad)).into()),
                    ("total_query", for_sloth(&sum(total).op(Op::Greater, number(0.0))).into()),
                ]),
            )]),
            _ => map([("raw", map([("error_ratio_query", for_sloth(&plan.error_ratio(SLOTH_WINDOW)).into())]))]),
        };
        if matches!(plan.ratio, Ratio::Members { .. }) {
            said.push("the weights of its members: they are recorded by the rules of `generate alerts`".to_owned());
        }
        let slo = map([
            ("name", plan.slo().name.as_str().into()),
            ("objective", percent(plan.slo().objective).into()),
            ("description", described(plan).into()),
            ("labels", labels(plan)),
            ("sli", sli),
            (
                "alerting",
                map([
                    ("name", crate::exposition::names::alert::BURN.into()),
                    ("page_alert", map([("labels", map([("severity", "critical".into())]))])),
                    ("ticket_alert", map([("labels", map([("severity", "warning".into())]))])),
                ]),
            ),
        ]);
        services.entry(&plan.slo().service).or_default().push(with_notes(plan, &said, slo, &mut out.notes));
    }
    for (service, slos) in services {
        let comment = [format!("{MARK} sloth; do not edit."), format!("Sloth makes rules of it: sloth generate -i {service}.yaml")];
        let whole = map([("version", "prometheus/v1".into()), ("service", service.into()), ("slos", slos.into())]);
        out.artefacts.push(artefact(Target::Sloth, service, &comment, &whole));
    }
    out
}

fn artefact(target: Target, name: &str, comment: &[String], whole: &Yaml) -> Artefact {
    let directory = target.directory().unwrap_or_default();
    Artefact { path: format!("{directory}/{name}.yaml"), text: document(comment, whole) }
}

// ---------------------------------------------------------------------------------------------------------------- Pyrra

/// One object for each SLO that is a ratio of two plain selectors: Pyrra asks for such.
pub(super) fn pyrra(input: &Input, plans: &[Plan<'_>]) -> Output {
    let mut out = Output::default();
    let mut taken = BTreeSet::new();
    for plan in plans {
        let Some([Term { bad, total, .. }]) = plan.ratio.terms() else {
            out.notes.push(format!("{}: left out: Pyrra has no SLO over several selectors (weights, composites)", plan.id));
            continue;
        };
        let mut said = left_out(plan);
        if !plan.tiers.notes.is_empty() {
            said.push("alert windows that follow the scan interval: Pyrra's follow its own catalogue".to_owned());
        }
        let name = dns_name(&plan.id, &mut taken);
        let of = |select: &Select| map([("metric", select.to_string().into())]);
        let mut own: Vec<(String, Yaml)> = vec![("pyrra.dev/service".to_owned(), plan.slo().service.as_str().into())];
        if let Yaml::Map(more) = labels(plan) {
            for (name, value) in more {
                // Kubernetes' rule for the value of a label.
                match &value {
                    Yaml::Text(text) if is_label_value(text) => own.push((format!("pyrra.dev/{name}"), value)),
                    _ => said.push(format!("label {name}: Kubernetes does not take its value")),
                }
            }
        }
        let whole = map([
            ("apiVersion", "pyrra.dev/v1alpha1".into()),
            ("kind", "ServiceLevelObjective".into()),
            ("metadata", metadata(name.clone(), input, vec![("labels", Yaml::Map(own))])),
            (
                "spec",
                map([
                    ("target", percent(plan.slo().objective).to_string().into()),
                    ("window", window::name(plan.slo().period).into()),
                    ("description", described(plan).into()),
                    ("indicator", map([("ratio", map([("errors", of(bad)), ("total", of(total))]))])),
                ]),
            ),
        ]);
        let comment = [format!("{MARK} pyrra; do not edit.")];
        let whole = with_notes(plan, &said, whole, &mut out.notes);
        out.artefacts.push(artefact(Target::Pyrra, &name, &comment, &whole));
    }
    out
}

// ------------------------------------------------------------------------------------------------------------- operator

/// The rules of `generate alerts` as objects of the Prometheus operator.
pub(super) fn operator(input: &Input, plans: &[Plan<'_>]) -> Output {
    let mut out = Output::default();
    let mut taken = BTreeSet::new();
    let mut object = |id: &str, groups: &[Group]| {
        let name = dns_name(&format!("bornright-{id}"), &mut taken);
        let whole = map([
            ("apiVersion", "monitoring.coreos.com/v1".into()),
            ("kind", "PrometheusRule".into()),
            ("metadata", metadata(name.clone(), input, vec![("labels", map([("app.kubernetes.io/name", "bornright".into())]))])),
            ("spec", map([("groups", groups.iter().map(Group::yaml).collect::<Vec<_>>().into())])),
        ]);
        let comment =
            [format!("{MARK} operator; do not edit."), "The operator takes it if the labels are among its ruleSelector.".to_owned()];
        out.artefacts.push(artefact(Target::Operator, &name, &comment, &whole));
    };
    for plan in plans {
        object(&plan.id, &groups(plan, input));
    }
    object("health", &[health(input)]);
    out
}

// -------------------------------------------------------------------------------------------------------------- OpenSLO

/// One document for each SLO, as a ratio of two queries of Prometheus.
pub(super) fn openslo(plans: &[Plan<'_>]) -> Output {
    let mut out = Output::default();
    let mut taken = BTreeSet::new();
    for plan in plans {
        let slo = plan.slo();
        let mut said = left_out(plan);
        let query = |expr: String| map([("metricSource", map([("type", "Prometheus".into()), ("spec", map([("query", expr.into())]))]))]);
        let (metric, slice) = match (plan.ratio.terms(), slo.sli) {
            (Some([Term { bad, total, .. }]), sli) => {
                let slice = match sli {
                    Sli::TimeSlice { slice, threshold } => Some((slice, threshold)),
                    _ => None,
                };
                let (bad, total) = (all("sum", bad.clone()).to_string(), all("sum", total.clone()).to_string());
                (map([("ratioMetric", map([("counter", true.into()), ("bad", query(bad)), ("total", query(total))]))]), slice)
            }
            // A ratio of several is handed over as one that was worked out before.
            _ => {
                said.push(
                    "how its members or weights become one ratio: it is read as recorded by the rules of `generate alerts`".to_owned(),
                );
                let raw = plan.recorded_ratio(Span(5 * Span::MINUTE.0)).to_string();
                (map([("ratioMetric", map([("counter", false.into()), ("rawType", "failure".into()), ("raw", query(raw))]))]), None)
            }
        };
        if slice.is_some() {
            said.push("the threshold is applied by the exporter, which counts whole slices; the queries count those".to_owned());
        }
        if plan.objective.scan_interval > Span::HOUR {
            said.push(format!("the scan interval of {}: alert windows do not follow it", plan.objective.scan_interval));
        }
        let mut target = vec![("displayName", Yaml::from(format!("{} %", percent(slo.objective)))), ("target", slo.objective.into())];
        if let Some((length, threshold)) = slice {
            target.push(("timeSliceTarget", threshold.into()));
            target.push(("timeSliceWindow", window::name(length).into()));
        }
        let time_window = match slo.calendar {
            None => map([("duration", duration(slo.period).into()), ("isRolling", true.into())]),
            Some(calendar) => {
                said.push("the rolling period that alerts use: reports use the calendar's".to_owned());
                let (length, start) = match calendar {
                    Calendar::Day => ("1d", "2024-01-01 00:00:00"),
                    Calendar::Week => ("1w", "2024-01-01 00:00:00"),
                    Calendar::Month => ("1M", "2024-01-01 00:00:00"),
                    Calendar::Quarter => ("1Q", "2024-01-01 00:00:00"),
                    Calendar::Year => ("1Y", "2024-01-01 00:00:00"),
                };
                let zone = slo.time_zone.iana_name().unwrap_or("UTC").to_owned();
                map([
                    ("duration", length.into()),
                    ("isRolling", false.into()),
                    ("calendar", map([("startTime", start.into()), ("timeZone", zone.into())])),
                ])
            }
        };
        let name = dns_name(&plan.id, &mut taken);
        let whole = map([
            ("apiVersion", "openslo/v1".into()),
            ("kind", "SLO".into()),
            ("metadata", map([("name", name.as_str().into()), ("displayName", plan.id.as_str().into()), ("labels", labels(plan))])),
            (
                "spec",
                map([
                    ("description", described(plan).chars().take(1050).collect::<String>().into()),
                    ("service", slo.service.as_str().into()),
                    ("indicator", map([("metadata", map([("name", format!("{name}-sli").into())])), ("spec", metric)])),
                    ("timeWindow", vec![time_window].into()),
                    ("budgetingMethod", if slice.is_some() { "Timeslices" } else { "Occurrences" }.into()),
                    ("objectives", vec![map(target)].into()),
                ]),
            ),
        ]);
        let comment = [format!("{MARK} openslo; do not edit.")];
        let whole = with_notes(plan, &said, whole, &mut out.notes);
        out.artefacts.push(artefact(Target::Openslo, &name, &comment, &whole));
    }
    out
}

/// OpenSLO has one number and one unit: m, h, d, w (M, Q and Y are the calendar's).
fn duration(span: Span) -> String {
    for (unit, length) in [("d", Span::DAY), ("h", Span::HOUR)] {
        if span.0.is_multiple_of(length.0) {
            return format!("{}{unit}", span.0 / length.0);
        }
    }
    format!("{}m", span.0.div_ceil(Span::MINUTE.0))
}
