//! The same SLOs in the words of other tools: OpenSLO, Sloth, Pyrra, the Prometheus operator (slo.md section 11).
//!
//! What a tool cannot say is said in a comment of the file and in a note, never dropped in silence.

use super::promql::{Expr, Op, Select, all, call, number};
use super::rules::{Group, groups, health, percent};
use super::sli::{Plan, Ratio, Term};
use super::yaml::{Yaml, document, map};
use super::{Artefact, Input, MARK, OpensloSource, Output, Target};
use crate::domain::{Severity, Span};
use crate::slo::{Calendar, Policy, Sli, Slo, Weights, window};
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

/// One document for each SLO. By default what is measured is said in our own words, which are read back as the same SLO,
/// and the queries stand in annotations; on demand the queries are what is measured. A composite is always a query: OpenSLO
/// would make its members anew.
pub(super) fn openslo(plans: &[Plan<'_>], source: OpensloSource) -> Output {
    let mut out = Output::default();
    let (mut files, mut names) = (BTreeSet::new(), BTreeSet::new());
    for plan in plans {
        let slo = plan.slo();
        let file = dns_name(&plan.id, &mut files);
        let own = source == OpensloSource::Bornright && slo.composite.is_none();
        let (mut said, whole) = if own { in_our_words(plan, &file, &mut names) } else { as_queries(plan, &file) };
        if source == OpensloSource::Bornright && !own {
            said.push("what the composite is made of: read back, the document is left out; keep that of `kind: SLO`".to_owned());
        }
        let comment = [format!("{MARK} openslo; do not edit.")];
        let whole = with_notes(plan, &said, whole, &mut out.notes);
        out.artefacts.push(artefact(Target::Openslo, &file, &comment, &whole));
    }
    out
}

fn openslo_document(metadata: Yaml, spec: Vec<(&str, Yaml)>) -> Yaml {
    map([("apiVersion", "openslo/v1".into()), ("kind", "SLO".into()), ("metadata", metadata), ("spec", map(spec))])
}

/// The longest description that OpenSLO takes.
const OPENSLO_DESCRIPTION: usize = 1050;

fn indicator(file: &str, ratio: Vec<(&str, Yaml)>) -> Yaml {
    map([("metadata", map([("name", format!("{file}-sli").into())])), ("spec", map([("ratioMetric", map(ratio))]))])
}

/// With `metricSource.type: bornright`, in the shape that `config` reads.
fn in_our_words(plan: &Plan<'_>, file: &str, names: &mut BTreeSet<String>) -> (Vec<String>, Yaml) {
    let slo = plan.slo();
    let mut said = Vec::new();
    if dns_name(&slo.name, &mut BTreeSet::new()) != slo.name {
        said.push(format!("a name that OpenSLO takes: `{}` is none of DNS, other tools may refuse it", slo.name));
    }
    if !names.insert(slo.name.clone()) {
        said.push(format!("its service in its name: another SLO is called `{}`, too", slo.name));
    }
    if let Some(scope) = &slo.scope {
        said.push(format!("that `for_each: scope` made it for scope {scope}: read back, it is an SLO by itself"));
    }
    let mut metadata = vec![("name", Yaml::from(slo.name.as_str()))];
    // Without a description the displayed name would be read as one.
    if !slo.description.is_empty() {
        metadata.push(("displayName", plan.id.as_str().into()));
    }
    if !slo.labels.is_empty() {
        metadata.push(("labels", map(slo.labels.iter().map(|(k, v)| (k.clone(), v.as_str().into())))));
    }
    let queries = match plan.ratio.terms() {
        Some([Term { bad, total, .. }]) => vec![
            ("bornright/promql-bad", Yaml::from(all("sum", bad.clone()).to_string())),
            ("bornright/promql-total", all("sum", total.clone()).to_string().into()),
        ],
        _ => vec![("bornright/promql-ratio", plan.recorded_ratio(Span(5 * Span::MINUTE.0)).to_string().into())],
    };
    metadata.push(("annotations", map(queries)));
    // A slice of OpenSLO is of whole minutes; another is said in the source.
    let slice = match slo.sli {
        Sli::TimeSlice { slice, threshold } if slice.0.is_multiple_of(Span::MINUTE.0) => Some((slice, threshold)),
        _ => None,
    };
    let states = matches!(slo.sli, Sli::ResourceTime | Sli::TimeSlice { .. });
    let (mut bad, mut total) = (Vec::new(), measured(slo));
    if slice.is_none() && slo.sli != Sli::ResourceTime {
        bad.push(("sli", kind(slo.sli)));
        total.push(("sli", kind(slo.sli)));
    }
    if states {
        let (of_bad, of_total) = plan.states();
        let list = |states: &str| texts(states.split('|'));
        bad.push(("states", list(&of_bad)));
        total.push(("states", list(&of_total)));
    }
    for (key, policy) in [("unknown", slo.unknown), ("waived", slo.waived)] {
        if !states && policy != Policy::Exclude {
            total.push((key, policy.word().into()));
        }
    }
    if slo.unknown == Policy::Good {
        total.push(("accept_risk", true.into()));
    }
    let ours = |spec: Vec<(&str, Yaml)>| map([("metricSource", map([("type", "bornright".into()), ("spec", map(spec))]))]);
    let mut spec = Vec::new();
    if !slo.description.is_empty() {
        let description: String = slo.description.chars().take(OPENSLO_DESCRIPTION).collect();
        if description != slo.description {
            said.push(format!("its description beyond {OPENSLO_DESCRIPTION} characters"));
        }
        spec.push(("description", description.into()));
    }
    let calendar = match slo.calendar {
        None => slo.period,
        Some(Calendar::Day) => Span::DAY,
        Some(Calendar::Week) => Span::DAY.times(7),
        Some(Calendar::Month) => Span::DAY.times(30),
        Some(Calendar::Quarter) => Span::DAY.times(90),
        Some(Calendar::Year) => Span::DAY.times(365),
    };
    if calendar != slo.period {
        said.push(format!("its rolling period of {}: beside its calendar it is {calendar}, which alerts then use", slo.period));
    } else if !slo.period.0.is_multiple_of(Span::MINUTE.0) {
        said.push(format!("its period of {}: OpenSLO counts by minutes", slo.period));
    }
    spec.extend([
        ("service", slo.service.as_str().into()),
        ("indicator", indicator(file, vec![("counter", true.into()), ("bad", ours(bad)), ("total", ours(total))])),
        ("timeWindow", vec![time_window(slo)].into()),
        ("budgetingMethod", if slice.is_some() { "Timeslices" } else { "Occurrences" }.into()),
        ("objectives", vec![promise(slo, slice)].into()),
    ]);
    (said, openslo_document(map(metadata), spec))
}

fn texts<'t>(items: impl IntoIterator<Item = &'t str>) -> Yaml {
    items.into_iter().map(Yaml::from).collect::<Vec<_>>().into()
}

/// The kind of SLI as a `kind: SLO` document has it.
fn kind(sli: Sli) -> Yaml {
    match sli {
        Sli::TimeSlice { slice, threshold } => {
            map([("time_slice", map([("slice", Yaml::from(slice.to_string())), ("threshold", threshold.into())]))])
        }
        Sli::Gate { error_is_bad: false } => map([("gate", map([("on_error", "exclude".into())]))]),
        other => other.word().into(),
    }
}

/// What is counted, and what alerts need to know of it: keys of a `kind: SLO` document, those without effect left out.
fn measured(slo: &Slo) -> Vec<(&'static str, Yaml)> {
    let c = &slo.controls;
    let plain = |n: u64| Yaml::Plain(n.to_string());
    let some = |given: bool, value: Yaml| given.then_some(value);
    let controls = [
        ("ids", some(!c.ids.is_empty(), texts(c.ids.iter().map(String::as_str)))),
        ("set", c.set.as_deref().map(Yaml::from)),
        ("requirement", c.requirement.as_deref().map(Yaml::from)),
        ("severity", some(!c.severity.is_empty(), texts(c.severity.iter().map(|s| s.word())))),
        ("nature", some(!c.nature.is_empty(), texts(c.nature.iter().map(|n| n.word())))),
    ];
    let weights = match &slo.weights {
        Weights::Equal => None,
        Weights::Controls => Some("controls".into()),
        Weights::Severity(by) => {
            Some(map([("severity", map(Severity::ALL.iter().zip(by).map(|(s, w)| (s.word(), plain(u64::from(*w))))))]))
        }
    };
    let all = [
        ("controls", Some(map(controls.into_iter().filter_map(|(k, v)| Some((k, v?)))))),
        ("scopes", some(!slo.scopes.is_empty(), texts(slo.scopes.iter().map(String::as_str)))),
        ("weights", weights),
        ("owner", some(!slo.owner.is_empty(), slo.owner.as_str().into())),
        ("min_bad_resources", slo.min_bad_resources.map(plain)),
        ("expected_resources", slo.expected_resources.map(plain)),
        ("expected_events", slo.expected_events.map(plain)),
        ("scan_interval", slo.scan_interval.map(|t| t.to_string().into())),
        ("rescan_on_demand", some(slo.rescan_on_demand, true.into())),
        ("runbook_url", some(!slo.runbook_url.is_empty(), slo.runbook_url.as_str().into())),
    ];
    all.into_iter().filter_map(|(k, v)| Some((k, v?))).collect()
}

/// As a ratio of two queries of Prometheus.
fn as_queries(plan: &Plan<'_>, file: &str) -> (Vec<String>, Yaml) {
    let slo = plan.slo();
    let mut said = left_out(plan);
    let query = |expr: String| map([("metricSource", map([("type", "Prometheus".into()), ("spec", map([("query", expr.into())]))]))]);
    let (ratio, slice) = match (plan.ratio.terms(), slo.sli) {
        (Some([Term { bad, total, .. }]), sli) => {
            let slice = match sli {
                Sli::TimeSlice { slice, threshold } => Some((slice, threshold)),
                _ => None,
            };
            let (bad, total) = (all("sum", bad.clone()).to_string(), all("sum", total.clone()).to_string());
            (vec![("counter", true.into()), ("bad", query(bad)), ("total", query(total))], slice)
        }
        // A ratio of several is handed over as one that was worked out before.
        _ => {
            said.push("how its members or weights become one ratio: it is read as recorded by the rules of `generate alerts`".to_owned());
            let raw = plan.recorded_ratio(Span(5 * Span::MINUTE.0)).to_string();
            (vec![("counter", false.into()), ("rawType", "failure".into()), ("raw", query(raw))], None)
        }
    };
    if slice.is_some() {
        said.push("the threshold is applied by the exporter, which counts whole slices; the queries count those".to_owned());
    }
    if plan.objective.scan_interval > Span::HOUR {
        said.push(format!("the scan interval of {}: alert windows do not follow it", plan.objective.scan_interval));
    }
    if slo.calendar.is_some() {
        said.push("the rolling period that alerts use: reports use the calendar's".to_owned());
    }
    let metadata = map([("name", file.into()), ("displayName", plan.id.as_str().into()), ("labels", labels(plan))]);
    let spec = vec![
        ("description", described(plan).chars().take(OPENSLO_DESCRIPTION).collect::<String>().into()),
        ("service", slo.service.as_str().into()),
        ("indicator", indicator(file, ratio)),
        ("timeWindow", vec![time_window(slo)].into()),
        ("budgetingMethod", if slice.is_some() { "Timeslices" } else { "Occurrences" }.into()),
        ("objectives", vec![promise(slo, slice)].into()),
    ];
    (said, openslo_document(metadata, spec))
}

/// The one entry of `objectives`.
fn promise(slo: &Slo, slice: Option<(Span, f64)>) -> Yaml {
    let mut target = vec![("displayName", Yaml::from(format!("{} %", percent(slo.objective)))), ("target", slo.objective.into())];
    if let Some((length, threshold)) = slice {
        target.push(("timeSliceTarget", threshold.into()));
        target.push(("timeSliceWindow", duration(length).into()));
    }
    map(target)
}

fn time_window(slo: &Slo) -> Yaml {
    let Some(calendar) = slo.calendar else {
        return map([("duration", duration(slo.period).into()), ("isRolling", true.into())]);
    };
    let length = match calendar {
        Calendar::Day => "1d",
        Calendar::Week => "1w",
        Calendar::Month => "1M",
        Calendar::Quarter => "1Q",
        Calendar::Year => "1Y",
    };
    let zone = slo.time_zone.iana_name().unwrap_or("UTC").to_owned();
    // A Monday, and the first day of a month, a quarter and a year.
    let start = "2024-01-01 00:00:00";
    map([
        ("duration", length.into()),
        ("isRolling", false.into()),
        ("calendar", map([("startTime", start.into()), ("timeZone", zone.into())])),
    ])
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
