//! OpenSLO v1 documents: SLOs that another tool, or a person who knows it, wrote about compliance.
//!
//! Producer: anybody; read against the specification at <https://github.com/OpenSLO/OpenSLO>, `openslo/v1`. What an SLO
//! measures must be ours, `metricSource: { type: bornright, spec: … }`, where `spec` has the keys of a `kind: SLO` document;
//! an SLO on another source is left out, with a word. Everything that is recognised and has no counterpart is said, in one
//! note a document. Oddities met: a duration of `1m` is a minute (a month is `1M`), though the specification's own
//! examples slip; `startTime` has no zone, its zone stands beside it; a target of 1 cannot be written; objectives have no
//! ids, so those of an SLO with several are named by their display names.

use super::definitions::{Read, Reader, nothing_special, words};
use super::errors::{Place, ProblemSeverity, Report, nearest, suggestion};
use super::objectives::{Draft, Select, label_name, objective_in_range, shift_point, time_zone};
use super::yaml::{At, Node, Table, Value, excerpt};
use crate::domain::{Span, State};
use crate::slo::{Calendar, Code, Composite, CompositeMode, Policy, Sli, Slo};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const API_VERSION: &str = "openslo/v1";
const KINDS: &[&str] = &["SLO", "SLI", "DataSource", "Service", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"];
const SLO_KEYS: &[&str] =
    &["description", "service", "indicator", "indicatorRef", "timeWindow", "budgetingMethod", "objectives", "alertPolicies"];
const OBJECTIVE_KEYS: &[&str] = &[
    "displayName",
    "op",
    "value",
    "target",
    "targetPercent",
    "timeSliceTarget",
    "timeSliceWindow",
    "indicator",
    "indicatorRef",
    "compositeWeight",
];
/// The keys of `metricSource.spec` for sources of ours: what is counted, and what only we know of alerts.
pub(super) const SOURCE_KEYS: &[&str] = &[
    "controls",
    "states",
    "scopes",
    "for_each",
    "sli",
    "unknown",
    "waived",
    "accept_risk",
    "weights",
    "owner",
    "min_bad_resources",
    "expected_resources",
    "expected_events",
    "scan_interval",
    "rescan_on_demand",
    "runbook_url",
];
/// The `type` of a source of ours.
const OURS: &str = "bornright";
/// How the keys of annotations of ours begin.
const OUR_ANNOTATIONS: &str = "bornright/";

/// How much of the budget one slice or one event is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Occurrences,
    Timeslices,
    RatioTimeslices,
}

/// What other documents refer to by name.
#[derive(Default)]
struct Known<'n> {
    indicators: BTreeMap<String, &'n Node>,
    /// The type of each data source.
    sources: BTreeMap<String, String>,
}

/// Turns the OpenSLO documents into drafts of objectives. To be called once all files were read.
pub(super) fn resolve(out: &mut Read) {
    let docs = std::mem::take(&mut out.openslo);
    let mut known = Known::default();
    let mut objectives: Vec<(&str, Head, &Node)> = Vec::new();
    for (path, doc) in &docs {
        let report = Report::new(path);
        if let Some((kind, head, spec)) = head(doc, &report) {
            match kind.as_str() {
                "SLO" => objectives.push((path, head, spec)),
                "SLI" => {
                    if known.indicators.insert(head.name.value.clone(), spec).is_some() {
                        report.error(head.name.at, format!("SLI `{}` is defined twice", head.name.value));
                    }
                }
                "DataSource" => {
                    let kind = spec.get("type").and_then(Node::scalar).unwrap_or_default();
                    known.sources.insert(head.name.value.clone(), kind);
                }
                other => {
                    let why = if other == "Service" {
                        "an SLO names its service, and nothing else is known of it here"
                    } else {
                        "alerts follow from the objectives (`bornright generate alerts`)"
                    };
                    report.push(
                        ProblemSeverity::Info,
                        None,
                        head.name.at,
                        format!("{other} `{}` is recognised and not used: {why}", head.name.value),
                        None,
                    );
                }
            }
        }
        out.problems.extend(report.into_problems());
    }
    for (path, head, spec) in objectives {
        let report = Report::new(path);
        let mut reader = Reader { path, report: &report, out };
        objective(&mut reader, &head, spec, &known);
        out.problems.extend(report.into_problems());
    }
}

/// Name and labels of a document.
struct Head {
    name: At<String>,
    display_name: String,
    labels: BTreeMap<String, String>,
    /// What was met that has no counterpart.
    unused: BTreeSet<String>,
}

fn head<'n>(doc: &'n Node, report: &Report) -> Option<(String, Head, &'n Node)> {
    let top = Table::open(doc, "an OpenSLO document", &["apiVersion", "kind", "metadata", "spec"], report, nothing_special)?;
    let kind = top.required("kind", &format!("say which: {}", KINDS.join(", ")))?;
    if !KINDS.contains(&kind.value.as_str()) {
        report.error_help(
            kind.at,
            format!("`kind` of an OpenSLO document is `{}`", excerpt(&kind.value)),
            suggestion(&kind.value, KINDS, "it must be one of"),
        );
        return None;
    }
    let Some(metadata) = top.node("metadata") else {
        top.missing("metadata", "write `metadata: { name: … }`");
        return None;
    };
    let meta = Table::open(metadata, "metadata", &["name", "displayName", "labels", "annotations"], report, nothing_special)?;
    let name = meta.required("name", "give the document a name, for instance `name: object-storage`")?;
    let mut unused = BTreeSet::new();
    let mut labels = BTreeMap::new();
    if let Some(entries) = meta.node("labels").and_then(Node::as_map) {
        for e in entries {
            let key = At { at: e.at, value: e.key.clone() };
            // Other tools allow names that Prometheus does not; those are no fault of the document.
            let name_fits = label_name(&key, &Report::new(""));
            match (e.node.scalar(), name_fits) {
                (Some(value), true) if label_name(&key, report) => {
                    labels.insert(e.key.clone(), value);
                }
                _ => {
                    unused.insert(format!("label `{}`", excerpt(&e.key)));
                }
            }
        }
    }
    // Those that `generate openslo` writes are queries for other tools, and say nothing new.
    let ours = |n: &Node| n.as_map().is_some_and(|entries| entries.iter().all(|e| e.key.starts_with(OUR_ANNOTATIONS)));
    if meta.node("annotations").is_some_and(|n| !ours(n)) {
        unused.insert("`annotations`".to_owned());
    }
    let display_name = meta.text("displayName").map_or_else(String::new, |t| t.value);
    let Some(spec) = top.node("spec") else {
        // A data source or a service may have nothing more to say; an SLO may not.
        if kind.value == "SLO" || kind.value == "SLI" {
            top.missing("spec", "what the document says stands under `spec:`");
            return None;
        }
        return Some((kind.value, Head { name, display_name, labels, unused }, metadata));
    };
    Some((kind.value, Head { name, display_name, labels, unused }, spec))
}

/// One entry of `objectives`.
struct Entry {
    at: Place,
    display_name: String,
    target: f64,
    /// θ and τ of time slices; θ is 1 where only the window is given.
    slice: Option<(Span, f64)>,
    weight: f64,
    indicator: Option<Found>,
}

/// An indicator: what it counts, or that it is not ours.
enum Found {
    Ours(Box<Slo>),
    /// The type of a source that we cannot read.
    Foreign(Place, String),
}

fn objective(reader: &mut Reader<'_>, head: &Head, spec: &Node, known: &Known<'_>) {
    let report = reader.report;
    let before = report.errors();
    let Some(t) = Table::open(spec, "spec of an OpenSLO SLO", SLO_KEYS, report, nothing_special) else { return };
    let mut unused = head.unused.clone();
    if !reader.name(&head.name, "name") {
        return;
    }
    let service = t.required("service", "name the team or system the promise is about; with the name it makes the SLO's id");
    if let Some(service) = &service {
        reader.name(service, "service");
    }
    if t.node("alertPolicies").is_some() {
        unused.insert("`alertPolicies` (alerts follow from the objectives)".to_owned());
    }
    let description = t.text("description").map(|d| d.value.trim().to_owned()).filter(|d| !d.is_empty());
    let window = time_window(&t, &mut unused);
    let method = t.required("budgetingMethod", "one of Occurrences, Timeslices, RatioTimeslices").and_then(|m| match m.value.as_str() {
        "Occurrences" => Some(Method::Occurrences),
        "Timeslices" => Some(Method::Timeslices),
        "RatioTimeslices" => Some(Method::RatioTimeslices),
        other => {
            report.error_help(
                m.at,
                format!("`budgetingMethod` is `{}`", excerpt(other)),
                suggestion(other, &["Occurrences", "Timeslices", "RatioTimeslices"], "it must be one of"),
            );
            None
        }
    });
    let says_own = t.node("indicator").is_some() || t.node("indicatorRef").is_some();
    let own = indicator(reader, &t, known, &mut unused);
    if t.node("objectives").is_none() {
        t.missing("objectives", "at least one, for instance `objectives: [{ target: 0.99 }]`");
    }
    let items = t.list("objectives");
    if items.is_empty() && t.node("objectives").is_some() {
        report.error(t.place("objectives"), "`objectives` is empty: nothing is promised");
    }
    let entries: Vec<Entry> = items.iter().filter_map(|item| entry(reader, item, method, !says_own, known, &mut unused)).collect();
    let (Some(service), Some((period, calendar, zone)), Some(method)) = (service, window, method) else { return };
    if report.errors() > before {
        return;
    }
    let foreign = own.iter().chain(entries.iter().filter_map(|e| e.indicator.as_ref())).find_map(|f| match f {
        Found::Foreign(at, kind) => Some((*at, kind)),
        Found::Ours(_) => None,
    });
    if let Some((at, kind)) = foreign {
        report.push(
            ProblemSeverity::Warning,
            None,
            at,
            format!("OpenSLO SLO `{}` measures `{}`, which is not ours to count; it is left out", head.name.value, excerpt(kind)),
            Some(format!("an SLO on compliance has `metricSource: {{ type: {OURS}, spec: {{ controls: … }} }}`")),
        );
        return;
    }
    if !unused.is_empty() {
        report.push(
            ProblemSeverity::Info,
            None,
            head.name.at,
            format!("OpenSLO SLO `{}`: recognised and not used: {}", head.name.value, unused.into_iter().collect::<Vec<_>>().join(", ")),
            None,
        );
    }
    let composite = entries.iter().any(|e| e.indicator.is_some());
    let path = reader.path.to_owned();
    let shared = |slo: &Slo, e: &Entry, name: String| Slo {
        name,
        service: service.value.clone(),
        description: description.clone().unwrap_or_else(|| head.display_name.clone()),
        labels: head.labels.clone(),
        objective: e.target,
        period,
        calendar,
        time_zone: zone.clone(),
        sli: match e.slice {
            Some((slice, threshold)) if method == Method::Timeslices => Sli::TimeSlice { slice, threshold },
            _ => slo.sli,
        },
        ..slo.clone()
    };
    let mut taken = BTreeSet::new();
    let mut members = Vec::new();
    for (i, e) in entries.iter().enumerate() {
        let Some(Found::Ours(what)) = e.indicator.as_ref().or(own.as_ref()) else { continue };
        let name = if entries.len() == 1 && !composite {
            head.name.value.clone()
        } else {
            let slug = slug(&e.display_name);
            let slug = if slug.is_empty() || !taken.insert(slug.clone()) { (i + 1).to_string() } else { slug };
            format!("{}-{slug}", head.name.value)
        };
        let slo = shared(what, e, name);
        if method != Method::Occurrences && slo.sli.word() != "resource_time" && slo.sli.word() != "time_slice" {
            report.error_help(
                e.at,
                format!("slices of time are made of resource_time, and the indicator counts {}", slo.sli.word()),
                "use `budgetingMethod: Occurrences`",
            );
            return;
        }
        members.push((At { at: e.at, value: slo.id() }, e.weight));
        reader.out.drafts.push(Draft { slo, path: path.clone(), at: head.name.at, members: Select::None, sli_said: true });
    }
    if method == Method::RatioTimeslices && !composite {
        report.push(
            ProblemSeverity::Info,
            None,
            t.place("budgetingMethod"),
            "`RatioTimeslices` is read as resource_time: every resource-second counts the same, where it would count every slice the same"
                .to_owned(),
            Some("the two differ only while the number of resources changes".to_owned()),
        );
    }
    if composite {
        composite_of(reader, head, &entries, members, method, |e, name, slo| shared(slo, e, name));
    }
}

/// An SLO whose objectives have indicators of their own is a composite of them (slo.md section 8).
fn composite_of(
    reader: &mut Reader<'_>,
    head: &Head,
    entries: &[Entry],
    members: Vec<(At<String>, f64)>,
    method: Method,
    shared: impl Fn(&Entry, String, &Slo) -> Slo,
) {
    let Some(lowest) = entries.iter().min_by(|a, b| a.target.total_cmp(&b.target)) else { return };
    let Some(Found::Ours(what)) = &lowest.indicator else { return };
    let mode = match method {
        Method::Occurrences => CompositeMode::WeightedBurn,
        Method::Timeslices => CompositeMode::AnySlice,
        Method::RatioTimeslices => CompositeMode::WeightedSum,
    };
    let slices: BTreeSet<Span> = entries.iter().filter_map(|e| e.slice.map(|(slice, _)| slice)).collect();
    if mode == CompositeMode::AnySlice && slices.len() > 1 {
        reader.report.error_help(
            lowest.at,
            "the objectives of a composite have slices of different lengths, which cannot be laid over each other",
            "give all of them the same `timeSliceWindow`",
        );
        return;
    }
    // For Occurrences the target cancels out: what is added up are burn rates.
    if method != Method::Occurrences && entries.iter().any(|e| (e.target - lowest.target).abs() > 1e-12) {
        reader.report.push(
            ProblemSeverity::Info,
            None,
            lowest.at,
            format!("the objectives of this composite differ; as a whole it promises the lowest of them, {}", lowest.target),
            None,
        );
    }
    let slo = Slo {
        controls: crate::slo::ControlSelector::default(),
        scopes: Vec::new(),
        for_each_scope: false,
        composite: Some(Composite { mode, members: Vec::new(), missing_is_bad: false }),
        ..shared(lowest, head.name.value.clone(), what)
    };
    let path = reader.path.to_owned();
    reader.out.drafts.push(Draft { slo, path, at: head.name.at, members: Select::Listed(members), sli_said: true });
}

fn slug(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = plain.split('-').filter(|p| !p.is_empty()).collect();
    parts.join("-").chars().take(40).collect()
}

fn entry(
    reader: &mut Reader<'_>,
    node: &Node,
    method: Option<Method>,
    needs_indicator: bool,
    known: &Known<'_>,
    unused: &mut BTreeSet<String>,
) -> Option<Entry> {
    let report = reader.report;
    let t = Table::open(node, "an objective", OBJECTIVE_KEYS, report, nothing_special)?;
    let target = match (t.node("target"), t.node("targetPercent")) {
        (Some(_), Some(second)) => {
            report.error(second.at, "`target` and `targetPercent` say the same; give one");
            None
        }
        (None, None) => {
            t.missing("target", "a ratio below 1 (`target: 0.99`), or `targetPercent: 99`");
            None
        }
        (Some(_), None) => number(&t, "target", |text| text.parse().ok()),
        (None, Some(_)) => number(&t, "targetPercent", shift_point),
    };
    let target = target.and_then(|(found, ratio)| objective_in_range(&found, ratio, report));
    let slice = slice(&t, method);
    for key in ["op", "value"] {
        if t.node(key).is_some() {
            unused.insert(format!("`{key}` (for a thresholdMetric)"));
        }
    }
    let has_own = t.node("indicator").is_some() || t.node("indicatorRef").is_some();
    if has_own && !needs_indicator {
        report.error_help(
            node.at,
            "this objective has an indicator, and so has the SLO",
            "an indicator for the whole SLO, or one for each objective (a composite)",
        );
        return None;
    }
    let indicator = if needs_indicator { indicator(reader, &t, known, unused) } else { None };
    if needs_indicator && !has_own {
        t.missing("indicator", "give the SLO an `indicator` or an `indicatorRef`, or each of its objectives one (a composite)");
    }
    let weight = match number(&t, "compositeWeight", |text| text.parse().ok().filter(|w: &f64| *w > 0.0 && *w <= 1e6)) {
        Some((_, weight)) => weight,
        None => 1.0,
    };
    if t.node("compositeWeight").is_some() && !needs_indicator {
        unused.insert("`compositeWeight` (for a composite)".to_owned());
    }
    let display_name = t.text("displayName").map_or_else(String::new, |d| d.value);
    Some(Entry { at: node.at, display_name, target: target?, slice: slice?, weight, indicator })
}

/// A number as written; reports what is none.
fn number(t: &Table<'_, '_>, key: &str, read: impl Fn(&str) -> Option<f64>) -> Option<(At<String>, f64)> {
    let found = t.text(key)?;
    match read(found.value.trim()).filter(|n| n.is_finite()) {
        Some(number) => Some((found, number)),
        None => {
            t.report.error(found.at, format!("`{key}` is `{}`, which is no number that it may be", excerpt(&found.value)));
            None
        }
    }
}

/// τ and θ, where the method needs them. `None` if they are missing or wrong.
fn slice(t: &Table<'_, '_>, method: Option<Method>) -> Option<Option<(Span, f64)>> {
    let (needs_window, needs_target) = match method? {
        Method::Occurrences => return Some(None),
        Method::Timeslices => (true, true),
        Method::RatioTimeslices => (true, false),
    };
    if needs_window && t.node("timeSliceWindow").is_none() {
        t.missing("timeSliceWindow", "the length of a slice, e.g. `timeSliceWindow: 5m`");
    }
    if needs_target && t.node("timeSliceTarget").is_none() {
        t.missing("timeSliceTarget", "from which ratio on a slice is good, e.g. `timeSliceTarget: 0.95`");
    }
    let window = t.text("timeSliceWindow").and_then(|found| {
        let text = found.value.trim();
        // A bare number is minutes.
        let window = text.parse::<u64>().ok().map(|n| Span::MINUTE.times(n)).or_else(|| match shorthand(text)? {
            Length::Fixed(span) => Some(span),
            Length::Calendar(..) => None,
        });
        match window.filter(|w| *w >= Span::MINUTE) {
            Some(window) => Some(window),
            None => {
                t.report.error_help(
                    found.at,
                    format!("`timeSliceWindow` is `{}`", excerpt(text)),
                    "minutes as a number, or a duration of at least a minute: 5m, 1h, 1d",
                );
                None
            }
        }
    });
    let target = if needs_target {
        let (found, target) = number(t, "timeSliceTarget", |text| text.parse().ok())?;
        if !(target > 0.0 && target <= 1.0) {
            t.report.error(found.at, format!("`timeSliceTarget` is `{}`, it must be above 0 and at most 1", found.value));
            return None;
        }
        target
    } else {
        1.0
    };
    Some(Some((window?, target)))
}

/// A duration as OpenSLO writes it.
enum Length {
    Fixed(Span),
    /// Months, quarters and years have no fixed length; the span stands for one where one is needed.
    Calendar(Calendar, Span),
}

/// `12h`, `4w`, `1M`, `1Q`, `1Y`: a whole number and one letter, whose case matters.
fn shorthand(text: &str) -> Option<Length> {
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok().filter(|n| *n > 0 && *n <= 1_000_000)?;
    let one = match unit {
        'm' => Span::MINUTE,
        'h' => Span::HOUR,
        'd' => Span::DAY,
        'w' => Span::DAY.times(7),
        'M' => return Some(Length::Calendar(Calendar::Month, Span::DAY.times(30 * number))),
        'Q' => return Some(Length::Calendar(Calendar::Quarter, Span::DAY.times(90 * number))),
        'Y' => return Some(Length::Calendar(Calendar::Year, Span::DAY.times(365 * number))),
        _ => return None,
    };
    Some(Length::Fixed(one.times(number)))
}

type Window = (Span, Option<Calendar>, jiff::tz::TimeZone);

fn time_window(t: &Table<'_, '_>, unused: &mut BTreeSet<String>) -> Option<Window> {
    const FORM: &str = "write `timeWindow: [{ duration: 30d, isRolling: true }]`";
    let report = t.report;
    if t.node("timeWindow").is_none() {
        t.missing("timeWindow", FORM);
        return None;
    }
    let [item] = t.list("timeWindow") else {
        report.error_help(t.place("timeWindow"), "`timeWindow` should have exactly one item", FORM);
        return None;
    };
    let w = Table::open(item, "a time window", &["duration", "isRolling", "calendar"], report, nothing_special)?;
    let duration = w.required("duration", FORM)?;
    let text = duration.value.trim();
    let Some(length) = shorthand(text) else {
        report.error_help(
            duration.at,
            format!("`duration` is `{}`", excerpt(text)),
            "a whole number and one of m, h, d, w (fixed), M, Q, Y (months, quarters, years): 30d, 4w, 1M",
        );
        return None;
    };
    let rolling = w.boolean("isRolling").map(|b| b.value);
    let calendar = w.node("calendar");
    if rolling == Some(true)
        && let Some(node) = calendar
    {
        report.error(node.at, "a rolling window has no `calendar`");
        return None;
    }
    let Some(calendar) = calendar else {
        if rolling != Some(true) {
            w.missing("calendar", "say `isRolling: true`, or by which `calendar: { startTime: …, timeZone: … }`");
            return None;
        }
        let period = match length {
            Length::Fixed(span) if span < Span::HOUR => {
                report.error_help(
                    duration.at,
                    format!("a period of `{text}` is too short to promise anything"),
                    "an hour at least; a month is `1M`",
                );
                return None;
            }
            Length::Fixed(span) => span,
            Length::Calendar(_, span) => {
                unused.insert(format!("`{text}` as a calendar length (a rolling window of it is {span})"));
                span
            }
        };
        return Some((period, None, jiff::tz::TimeZone::UTC));
    };
    let c = Table::open(calendar, "`calendar`", &["startTime", "timeZone"], report, nothing_special)?;
    let zone = match c.text("timeZone") {
        Some(name) => time_zone(&name, report)?,
        None => {
            c.missing("timeZone", "its IANA name, for instance `timeZone: Europe/Berlin`");
            return None;
        }
    };
    let day = Span::DAY;
    let (unit, period) = match length {
        Length::Fixed(span) if span == day => (Calendar::Day, day),
        Length::Fixed(span) if span == day.times(7) => (Calendar::Week, span),
        Length::Calendar(unit, span) if text.starts_with('1') && text.len() == 2 => (unit, span),
        Length::Calendar(Calendar::Month, span) if text == "3M" => (Calendar::Quarter, span),
        Length::Calendar(Calendar::Month, span) if text == "12M" => (Calendar::Year, span),
        Length::Fixed(_) | Length::Calendar(..) => {
            let help = match text.strip_suffix('m') {
                Some(number) => format!("`m` are minutes; a month is `{number}M`"),
                None => "calendars count by 1d, 1w, 1M, 1Q or 1Y; everything else can roll (`isRolling: true`)".to_owned(),
            };
            report.error_help(duration.at, format!("there is no calendar of `{}`", excerpt(text)), help);
            return None;
        }
    };
    let start = c.required("startTime", "when the first window begins: `startTime: 2026-01-01 00:00:00`")?;
    match start.value.trim().parse::<jiff::civil::DateTime>() {
        Err(_) => {
            report.error_help(
                start.at,
                format!("`startTime` is `{}`, which is no date with time", excerpt(&start.value)),
                "write it as `2026-01-01 00:00:00`, in the zone that `timeZone` names",
            );
            return None;
        }
        Ok(at) => {
            let date = at.date();
            let aligned = at.time() == jiff::civil::Time::midnight()
                && match unit {
                    Calendar::Day => true,
                    Calendar::Week => date.weekday() == jiff::civil::Weekday::Monday,
                    Calendar::Month => date.day() == 1,
                    Calendar::Quarter => date.day() == 1 && date.month() % 3 == 1,
                    Calendar::Year => date.day_of_year() == 1,
                };
            if !aligned {
                unused.insert(format!("`startTime` (each {unit} begins where the calendar begins it)"));
            }
        }
    }
    Some((period, Some(unit), zone))
}

/// `indicator` or `indicatorRef` of an SLO or of one of its objectives. `None` if there is neither, or it is wrong.
fn indicator(reader: &mut Reader<'_>, t: &Table<'_, '_>, known: &Known<'_>, unused: &mut BTreeSet<String>) -> Option<Found> {
    let report = reader.report;
    let spec = match (t.node("indicator"), t.text("indicatorRef")) {
        (Some(_), Some(second)) => {
            report.error(second.at, "`indicator` and `indicatorRef` are two ways to say the same; give one");
            return None;
        }
        (Some(node), None) => {
            let inline = Table::open(node, "an indicator", &["metadata", "spec", "apiVersion", "kind"], report, nothing_special)?;
            let Some(spec) = inline.node("spec") else {
                inline.missing("spec", "what the indicator measures stands under `spec:`");
                return None;
            };
            spec
        }
        (None, Some(name)) => match known.indicators.get(&name.value) {
            Some(spec) => spec,
            None => {
                let names = known.indicators.keys().map(String::as_str);
                let help = match nearest(&name.value, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "it is defined by a document of `kind: SLI` beside this one".to_owned(),
                };
                report.error_help(name.at, format!("there is no SLI `{}`", excerpt(&name.value)), help);
                return None;
            }
        },
        (None, None) => return None,
    };
    let t = Table::open(spec, "spec of an SLI", &["description", "ratioMetric", "thresholdMetric"], report, nothing_special)?;
    if let Some(node) = t.node("thresholdMetric") {
        let source = Table::open(node, "`thresholdMetric`", &["metricSource"], report, nothing_special)?;
        return match source.node("metricSource").map(|n| of_source(n, known, report)) {
            Some(Some(Source::Foreign(at, kind))) => Some(Found::Foreign(at, kind)),
            _ => {
                report.error_help(
                    node.at,
                    "a `thresholdMetric` compares single values; compliance is counted",
                    "use a `ratioMetric`; for \"good while the ratio is at least θ\" also `budgetingMethod: Timeslices` with `timeSliceTarget: θ`",
                );
                None
            }
        };
    }
    let Some(node) = t.node("ratioMetric") else {
        t.missing("ratioMetric", "what is good or bad, and what is all: `ratioMetric: { bad: …, total: … }`");
        return None;
    };
    ratio_metric(reader, node, known, unused)
}

/// A `metricSource`.
enum Source<'n> {
    /// Its `spec`, if it has one.
    Ours(Option<&'n Node>),
    Foreign(Place, String),
}

fn of_source<'n>(node: &'n Node, known: &Known<'_>, report: &Report) -> Option<Source<'n>> {
    let t = Table::open(node, "a metric source", &["metricSourceRef", "type", "spec"], report, nothing_special)?;
    let kind = match (t.text("type"), t.text("metricSourceRef")) {
        (Some(kind), _) => kind,
        (None, Some(reference)) => match known.sources.get(&reference.value) {
            Some(kind) => At { at: reference.at, value: kind.clone() },
            None => {
                let names = known.sources.keys().map(String::as_str);
                let help = match nearest(&reference.value, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "it is defined by a document of `kind: DataSource` beside this one".to_owned(),
                };
                report.error_help(reference.at, format!("there is no data source `{}`", excerpt(&reference.value)), help);
                return None;
            }
        },
        (None, None) => {
            t.missing("type", &format!("write `type: {OURS}`"));
            return None;
        }
    };
    if kind.value == OURS {
        return Some(Source::Ours(t.node("spec")));
    }
    if nearest(&kind.value, [OURS]).is_some() {
        report.error_help(kind.at, format!("`type` is `{}`", excerpt(&kind.value)), format!("did you mean `{OURS}`?"));
        return None;
    }
    Some(Source::Foreign(kind.at, kind.value))
}

fn ratio_metric(reader: &mut Reader<'_>, node: &Node, known: &Known<'_>, unused: &mut BTreeSet<String>) -> Option<Found> {
    let report = reader.report;
    let t = Table::open(node, "`ratioMetric`", &["counter", "good", "bad", "total", "rawType", "raw"], report, nothing_special)?;
    let source = |key: &str| {
        let inner = Table::open(t.node(key)?, "a metric", &["metricSource"], report, nothing_special)?;
        match inner.node("metricSource") {
            Some(n) => of_source(n, known, report),
            None => {
                inner.missing("metricSource", &format!("write `metricSource: {{ type: {OURS}, spec: … }}`"));
                None
            }
        }
    };
    if let Some(raw) = t.node("raw") {
        if let Some(Source::Foreign(at, kind)) = source("raw") {
            return Some(Found::Foreign(at, kind));
        }
        report.error_help(raw.at, "a `raw` ratio cannot be added up over time", "give `bad` (or `good`) and `total`");
        return None;
    }
    let (part, part_is_good) = match (t.node("good"), t.node("bad")) {
        (Some(_), Some(second)) => {
            report.error(second.at, "`good` and `bad` are two ways to say the same; give one");
            return None;
        }
        (Some(_), None) => ("good", true),
        (None, Some(_)) => ("bad", false),
        (None, None) => {
            t.missing("bad", "what is bad, or `good`: what is good");
            return None;
        }
    };
    if t.node("total").is_none() {
        t.missing("total", "what is counted at all");
        return None;
    }
    let (numerator, total) = (source(part)?, source("total")?);
    let (numerator, total) = match (numerator, total) {
        (Source::Foreign(at, kind), _) | (_, Source::Foreign(at, kind)) => return Some(Found::Foreign(at, kind)),
        (Source::Ours(a), Source::Ours(b)) => (a, b),
    };
    if t.boolean("counter").is_some_and(|c| !c.value) {
        unused.insert("`counter: false` (ours are counters)".to_owned());
    }
    // What is counted may stand in either; where it stands in both it must be the same.
    let has_controls = |n: &&Node| n.get("controls").is_some();
    let Some(spec) = total.filter(has_controls).or(numerator.filter(has_controls)) else {
        report.error_help(
            total.or(numerator).map_or(t.place("total"), |n| n.at),
            "neither metric says which controls it counts",
            "write `spec: { controls: { set: object-storage } }`, as in a `kind: SLO` document",
        );
        return None;
    };
    if let (Some(a), Some(b)) = (numerator, total) {
        for key in SOURCE_KEYS.iter().filter(|k| **k != "states") {
            if let (Some(x), Some(y)) = (a.get(key), b.get(key))
                && x.json() != y.json()
            {
                report.error_help(x.at, format!("`{key}` of `{part}` and of `total` differ"), "both must count the same resources");
                return None;
            }
        }
    }
    let before = report.errors();
    let table = Table::open(spec, "spec of a bornright source", SOURCE_KEYS, report, nothing_special)?;
    for other in [numerator, total].into_iter().flatten().filter(|n| !std::ptr::eq(*n, spec)) {
        Table::open(other, "spec of a bornright source", SOURCE_KEYS, report, nothing_special);
    }
    let mut slo = reader.common(&table);
    let controls = reader.control_selector(&table);
    let words_of = |n: Option<&Node>| n.and_then(|n| n.get("states")).map(|n| (n.at, states(n, report)));
    if let Some((at, policies)) = policies(words_of(numerator), words_of(total), part_is_good, report) {
        match policies {
            Policies::Coverage => slo.sli = Sli::Coverage,
            Policies::States(unknown, waived) => (slo.unknown, slo.waived) = (unknown, waived),
        }
        if slo.unknown == Policy::Good && spec.get("accept_risk").is_none() {
            report.error_help(
                at,
                "`unknown` in `total` and not among what is bad counts the absence of evidence as compliance",
                "add it to what is bad or take it out of `total`; or add `accept_risk: true` and answer for it",
            );
        }
    }
    slo.controls = controls?;
    (report.errors() == before).then(|| Found::Ours(Box::new(slo)))
}

fn states(node: &Node, report: &Report) -> BTreeSet<State> {
    let known = words(State::ALL, |s| s.word());
    let items: &[Node] = match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    };
    let mut out = BTreeSet::new();
    for item in items {
        match item.scalar().as_deref().and_then(State::from_word) {
            Some(state) => {
                out.insert(state);
            }
            None => report.error_help(
                item.at,
                format!("`states` has {}", item.describe()),
                suggestion(&item.scalar().unwrap_or_default(), &known, "states are"),
            ),
        }
    }
    out
}

/// What sets of states mean.
enum Policies {
    Coverage,
    /// How unknown and waived count.
    States(Policy, Policy),
}

type States = Option<(Place, BTreeSet<State>)>;

/// The policies that the states of numerator and total come to; `None` if no states are given, or they make no ratio.
fn policies(numerator: States, total: States, part_is_good: bool, report: &Report) -> Option<(Place, Policies)> {
    let at = numerator.as_ref().or(total.as_ref())?.0;
    let total = total.map_or_else(|| BTreeSet::from([State::Compliant, State::NonCompliant]), |(_, s)| s);
    let part =
        numerator.map_or_else(|| BTreeSet::from([if part_is_good { State::Compliant } else { State::NonCompliant }]), |(_, states)| states);
    if !part.is_subset(&total) {
        report.error(at, "a state that is not in `total` cannot be part of it");
        return None;
    }
    let bad: BTreeSet<State> = if part_is_good { total.difference(&part).copied().collect() } else { part };
    if bad == total {
        report.push(
            ProblemSeverity::Error,
            Some(Code::Identity.word()),
            at,
            "everything that is counted counts as bad: the error query equals the total query".to_owned(),
            Some("let `total` have `compliant` besides".to_owned()),
        );
        return None;
    }
    if bad == BTreeSet::from([State::Unknown]) && total.len() == State::ALL.len() {
        return Some((at, Policies::Coverage));
    }
    if bad.contains(&State::Compliant) || !bad.contains(&State::NonCompliant) || !total.contains(&State::Compliant) {
        report.error_help(
            at,
            "these states make no ratio of compliance",
            "bad is `non_compliant`, perhaps with `unknown` and `waived`; `total` has `compliant` besides",
        );
        return None;
    }
    let policy = |state| match (bad.contains(&state), total.contains(&state)) {
        (true, _) => Policy::Bad,
        (false, true) => Policy::Good,
        (false, false) => Policy::Exclude,
    };
    Some((at, Policies::States(policy(State::Unknown), policy(State::Waived))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_case() {
        let of = |text| match shorthand(text) {
            Some(Length::Fixed(span)) => span.to_string(),
            Some(Length::Calendar(unit, span)) => format!("{unit} {span}"),
            None => "none".to_owned(),
        };
        for (text, want) in [
            ("12h", "12h"),
            ("4w", "28d"),
            ("1m", "1m"),
            ("1M", "month 30d"),
            ("1Q", "quarter 90d"),
            ("1Y", "year 365d"),
            ("0d", "none"),
            ("d", "none"),
            ("", "none"),
            ("1.5d", "none"),
            ("5 m", "none"),
            ("1é", "none"),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
    }

    #[test]
    fn names_of_objectives_become_parts_of_ids() {
        assert_eq!(slug("SLA (99 %)"), "sla-99");
        assert_eq!(slug("—"), "");
    }
}
