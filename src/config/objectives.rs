//! `kind: SLO` and `kind: SLODefaults`: objectives from YAML to what they mean.
//!
//! Reading a document gives a [`Draft`]; what needs all documents (members of composites, the controls that have no
//! objective of their own, one objective for each scope) is done by [`resolve`] once everything was read.

use super::definitions::{Read, Reader, nothing_special, words};
use super::errors::{ConfigProblem, Place, ProblemSeverity, Report, nearest, suggestion};
use super::yaml::{At, Node, Table, Value, excerpt};
use crate::domain::{CheckSelector, Control, Severity, Span};
use crate::slo::{Calendar, Code, Composite, CompositeMode, ControlSelector, Member, Policy, Sli, Slo, Weights, expand};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SLO_KEYS: &[&str] = &[
    "service",
    "description",
    "owner",
    "labels",
    "controls",
    "composite",
    "scopes",
    "for_each",
    "objective",
    "period",
    "calendar",
    "sli",
    "unknown",
    "waived",
    "accept_risk",
    "weights",
    "min_bad_resources",
    "expected_resources",
    "expected_events",
    "scan_interval",
    "rescan_on_demand",
    "runbook_url",
];
pub(super) const DEFAULTS_KEYS: &[&str] = &[
    "service",
    "which",
    "labels",
    "controls",
    "scopes",
    "for_each",
    "objective",
    "period",
    "calendar",
    "sli",
    "unknown",
    "waived",
    "accept_risk",
    "min_bad_resources",
    "scan_interval",
    "rescan_on_demand",
];
pub(super) const COMPOSITE_KEYS: &[&str] = &["mode", "members", "service", "framework", "missing"];
pub(super) const MEMBER_KEYS: &[&str] = &["slo", "weight"];
pub(super) const TIME_SLICE_KEYS: &[&str] = &["slice", "threshold"];
pub(super) const GATE_KEYS: &[&str] = &["on_error"];
pub(super) const CALENDAR_KEYS: &[&str] = &["every", "time_zone"];
/// The kinds of SLI, as written.
pub(super) const SLI_WORDS: &[&str] = &["resource_time", "time_slice", "remediation_latency", "evidence_freshness", "coverage", "gate"];
/// Keys that mean something only where resources are counted, so not in a composite of other SLOs.
const NOT_IN_A_COMPOSITE: &[&str] = &["controls", "for_each", "weights", "min_bad_resources", "expected_resources", "expected_events"];
/// Keys that, of all composites, only one that counts resources itself can use.
const ONLY_IN_A_JOINT: &[&str] = &["scopes", "unknown", "waived"];
const RATIO_FORM: &str = "write it as a percentage (`99%`) or as a ratio (`0.99`)";
/// Labels that rules, Prometheus or Alertmanager set themselves.
const RESERVED_LABELS: &[&str] =
    &["alertname", "alertstate", "control", "instance", "job", "le", "owner", "quantile", "scope", "service", "severity", "slo", "window"];

/// An objective as read, before other documents are known.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) slo: Slo,
    pub(super) path: String,
    pub(super) at: Place,
    pub(super) members: Select,
    /// `sli` was said; else a composite takes its members'.
    pub(super) sli_said: bool,
}

/// Whom a composite is made of.
#[derive(Clone, Debug, Default)]
pub(super) enum Select {
    /// It is none.
    #[default]
    None,
    /// SLOs by id or, within its own service, by name; with weights.
    Listed(Vec<(At<String>, f64)>),
    /// All SLOs of a service.
    Service(At<String>),
    /// All SLOs whose controls all serve a framework.
    Framework(At<String>),
}

/// A `kind: SLODefaults` document.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    path: String,
    at: Place,
    name: String,
    /// Everything but name, controls, objective, period, owner and description.
    base: Slo,
    /// By severity, index as in [`Severity::ALL`].
    objective: [Option<f64>; 5],
    period: [Option<Span>; 5],
    /// Which controls; none is all.
    controls: Option<ControlSelector>,
    /// Only controls that no SLO covers at all.
    uncovered: bool,
}

fn blank() -> Slo {
    Slo::new("", "", ControlSelector::default(), 0.5, Span::DAY)
}

impl Reader<'_> {
    pub(super) fn slo(&mut self, name: Option<&At<String>>, spec: &Node) {
        let report = self.report;
        let before = report.errors();
        let Some(table) = Table::open(spec, "spec of an SLO", SLO_KEYS, report, |key| {
            let instead = match key {
                "target" => "the promised share is given as `objective`, e.g. `objective: 99%`",
                "window" | "time_window" => "the time over which it must hold is given as `period`, e.g. `period: 30d`",
                _ => return None,
            };
            Some((format!("unknown key `{key}` in spec of an SLO"), instead.to_owned()))
        }) else {
            return;
        };
        let service = table.required("service", "name the team or system the promise is about; with the name it makes the SLO's id");
        if let Some(service) = &service {
            self.name(service, "service");
        }
        let mut slo = self.common(&table);
        let mut members = Select::None;
        let mut controls = None;
        if let Some(node) = table.node("composite") {
            if let Some((composite, select)) = composite(node, report) {
                for key in NOT_IN_A_COMPOSITE.iter().chain(if composite.mode == CompositeMode::Joint { &[] } else { ONLY_IN_A_JOINT }) {
                    if table.node(key).is_some() {
                        report.error_help(
                            table.place(key),
                            format!("`{key}` has no meaning in a composite of mode `{}`", composite.mode),
                            "its members say what is counted; give it there",
                        );
                    }
                }
                slo.composite = Some(composite);
                members = select;
            }
            controls = Some(ControlSelector::default());
        } else {
            controls = controls.or(self.control_selector(&table));
        }
        let objective = objective(&table);
        if table.node("period").is_none() {
            table.missing("period", "over which time the objective must hold, e.g. `period: 30d`");
        }
        let period = table.span("period", Span::HOUR);
        if let (Sli::TimeSlice { slice, .. }, Some(period)) = (slo.sli, &period)
            && slice > period.value
        {
            report.error(table.place("sli"), format!("a slice of {slice} does not fit into the period of {}", period.value));
        }
        let (Some(name), Some(service), Some(objective), Some(period), Some(controls)) = (name, service, objective, period, controls)
        else {
            return;
        };
        if report.errors() > before {
            return;
        }
        (slo.service, slo.name) = (service.value, name.value.clone());
        (slo.controls, slo.objective, slo.period) = (controls, objective, period.value);
        let sli_said = table.node("sli").is_some();
        self.out.drafts.push(Draft { slo, path: self.path.to_owned(), at: name.at, members, sli_said });
    }

    pub(super) fn slo_defaults(&mut self, name: Option<&At<String>>, spec: &Node) {
        let report = self.report;
        let before = report.errors();
        let Some(table) = Table::open(spec, "spec of SLO defaults", DEFAULTS_KEYS, report, nothing_special) else { return };
        let service = table.required("service", "the service of the SLOs that it makes; with the control's id it makes their ids");
        if let Some(service) = &service {
            self.name(service, "service");
        }
        let mut base = self.common(&table);
        let controls = if table.node("controls").is_some() { self.control_selector(&table) } else { None };
        let which = table.word("which", &["without_own", "uncovered"], |w| match w {
            "without_own" => Some(false),
            "uncovered" => Some(true),
            _ => None,
        });
        if table.node("objective").is_none() {
            table.missing("objective", "one for all (`objective: 99%`), or one for each severity (`objective: { critical: 99.9%, … }`)");
        }
        let objective = by_severity(&table, "objective", objective_of);
        if table.node("period").is_none() {
            table.missing("period", "one for all (`period: 30d`), or one for each severity");
        }
        let period = by_severity(&table, "period", |t, key| t.span(key, Span::HOUR).map(|s| s.value));
        let (Some(name), Some(service)) = (name, service) else { return };
        if report.errors() > before {
            return;
        }
        base.service = service.value;
        self.out.defaults.push(Defaults {
            path: self.path.to_owned(),
            at: name.at,
            name: name.value.clone(),
            base,
            objective,
            period,
            controls,
            uncovered: which.is_some_and(|w| w.value),
        });
    }

    /// What SLOs and their defaults have in common. Keys that a document may not have are absent from its table.
    pub(super) fn common(&mut self, table: &Table<'_, '_>) -> Slo {
        let report = self.report;
        let scopes = table.texts("scopes");
        scopes.iter().for_each(|s| self.glob(s));
        let sli = sli(table).unwrap_or(Sli::ResourceTime);
        let policy = |key| table.word(key, &words(Policy::ALL, |w| w.word()), Policy::from_word).map_or(Policy::Exclude, |p| p.value);
        let (unknown, waived) = (policy("unknown"), policy("waived"));
        let accept_risk = table.boolean("accept_risk").is_some_and(|a| a.value);
        if unknown == Policy::Good && !accept_risk {
            report.error_help(
                table.place("unknown"),
                "`unknown: good` counts the absence of evidence as compliance",
                "choose `exclude` or `bad`; or add `accept_risk: true` and answer for it",
            );
        }
        let weights = weights(table).unwrap_or_default();
        let states = matches!(sli, Sli::ResourceTime | Sli::TimeSlice { .. });
        for (key, fits) in [
            ("unknown", states),
            ("waived", states),
            ("weights", states || sli == Sli::Coverage),
            ("min_bad_resources", states || sli == Sli::Coverage),
            ("expected_events", !sli.held()),
        ] {
            if !fits && table.node(key).is_some() {
                report.push(
                    ProblemSeverity::Warning,
                    None,
                    table.place(key),
                    format!("`{key}` has no effect with `sli: {}`", sli.word()),
                    Some("leave it out".to_owned()),
                );
            }
        }
        let (calendar, time_zone) = calendar(table).unwrap_or((None, jiff::tz::TimeZone::UTC));
        let runbook_url = table.text("runbook_url");
        if let Some(url) = runbook_url.as_ref().filter(|u| !u.value.starts_with("https://") && !u.value.starts_with("http://")) {
            report.error_help(url.at, format!("`runbook_url` is `{}`", excerpt(&url.value)), "write a whole address, `https://…`");
        }
        let owner = table.text("owner");
        if let Some(owner) = &owner {
            label_value(owner, "owner", report);
        }
        Slo {
            description: table.text("description").map_or_else(String::new, |t| t.value.trim().to_owned()),
            owner: owner.map_or_else(String::new, |o| o.value),
            labels: labels(table),
            scopes: scopes.into_iter().map(|s| s.value).collect(),
            for_each_scope: table.word("for_each", &["scope"], |w| (w == "scope").then_some(())).is_some(),
            calendar,
            time_zone,
            sli,
            unknown,
            waived,
            weights,
            min_bad_resources: table.whole("min_bad_resources", 1..=1_000_000_000).map(|n| n.value),
            expected_resources: table.whole("expected_resources", 1..=1_000_000_000_000).map(|n| n.value),
            expected_events: table.whole("expected_events", 1..=1_000_000_000_000).map(|n| n.value),
            scan_interval: table.span("scan_interval", Span::SECOND).map(|s| s.value),
            rescan_on_demand: table.boolean("rescan_on_demand").is_some_and(|b| b.value),
            runbook_url: runbook_url.map_or_else(String::new, |u| u.value),
            ..blank()
        }
    }
}

/// `99%` or `0.99`. A bare `99` could be either, so it is neither.
fn objective(table: &Table<'_, '_>) -> Option<f64> {
    table.required("objective", RATIO_FORM)?;
    objective_of(table, "objective")
}

fn objective_of(table: &Table<'_, '_>, key: &str) -> Option<f64> {
    let (found, ratio) = ratio(table, key)?;
    objective_in_range(&found, ratio, table.report)
}

/// An objective leaves a budget, and promises something (SLO111).
pub(super) fn objective_in_range(found: &At<String>, ratio: f64, report: &Report) -> Option<f64> {
    if ratio > 0.0 && ratio < 1.0 {
        return Some(ratio);
    }
    let why = if ratio >= 1.0 { "leaves no error budget, every violation would break it at once" } else { "promises nothing" };
    report.push(
        ProblemSeverity::Error,
        Some(Code::Objective.word()),
        found.at,
        format!("an objective of `{}` {why}", found.value.trim()),
        Some("it must lie between 0 and 100 %, both excluded".to_owned()),
    );
    None
}

/// A share as a percentage or a ratio.
fn ratio(table: &Table<'_, '_>, key: &str) -> Option<(At<String>, f64)> {
    let found = table.text(key)?;
    let text = found.value.trim();
    let ratio = match text.strip_suffix('%') {
        // The point is moved in the text: 99.9 / 100 is not the number nearest to 0.999.
        Some(percent) => shift_point(percent.trim()),
        None => text.parse::<f64>().ok().filter(|n| n.is_finite()),
    };
    let Some(ratio) = ratio else {
        table.report.error_help(found.at, format!("`{key}` is `{}`, which is no number", excerpt(text)), RATIO_FORM);
        return None;
    };
    if !text.ends_with('%') && ratio > 1.0 && ratio <= 100.0 {
        table.report.error_help(found.at, format!("`{key}` is `{text}`: a percentage or a ratio?"), format!("write `{text}%`"));
        return None;
    }
    Some((found, ratio))
}

/// `99.95` → 0.9995, by moving the point two places to the left in the text.
pub(super) fn shift_point(percent: &str) -> Option<f64> {
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) || percent.len() > 32 {
        return None;
    }
    let padded = format!("{whole:0>3}");
    let (head, tail) = padded.split_at(padded.len() - 2);
    format!("{head}.{tail}{fraction}").parse().ok()
}

/// One value for all severities, or a mapping by severity.
fn by_severity<T: Copy>(table: &Table<'_, '_>, key: &str, read: impl Fn(&Table<'_, '_>, &str) -> Option<T>) -> [Option<T>; 5] {
    let known = words(Severity::ALL, |w| w.word());
    match table.node(key) {
        Some(node @ Node { value: Value::Map(_), .. }) => {
            let what = format!("`{key}` by severity");
            let Some(inner) = Table::open(node, &what, &known, table.report, nothing_special) else { return [None; 5] };
            if known.iter().all(|k| inner.node(k).is_none()) {
                table.report.error_help(
                    node.at,
                    format!("`{key}` is empty"),
                    "give one for each severity: critical, high, medium, low, info",
                );
            }
            std::array::from_fn(|i| read(&inner, known[i]))
        }
        Some(_) => [read(table, key); 5],
        None => [None; 5],
    }
}

fn sli(table: &Table<'_, '_>) -> Option<Sli> {
    const SLICE_FORM: &str = "write `sli: { time_slice: { slice: 5m, threshold: 95% } }`";
    let node = table.node("sli")?;
    let report = table.report;
    let unknown = |at: Place, word: &str| {
        report.error_help(at, format!("unknown sli `{}`", excerpt(word)), suggestion(word, SLI_WORDS, "it must be one of"));
    };
    match &node.value {
        Value::Map(entries) => {
            let [entry] = entries.as_slice() else {
                report.error_help(node.at, format!("`sli` should be one kind, found {}", node.describe()), SLICE_FORM);
                return None;
            };
            match entry.key.as_str() {
                "time_slice" => {
                    let t = Table::open(&entry.node, "`time_slice`", TIME_SLICE_KEYS, report, nothing_special)?;
                    for key in TIME_SLICE_KEYS.iter().filter(|k| t.node(k).is_none()) {
                        t.missing(key, SLICE_FORM);
                    }
                    let slice = t.span("slice", Span::MINUTE);
                    let (found, threshold) = ratio(&t, "threshold")?;
                    if threshold <= 0.0 || threshold > 1.0 {
                        report.error(found.at, format!("`threshold` is `{}`, it must be above 0 and at most 100 %", found.value));
                        return None;
                    }
                    Some(Sli::TimeSlice { slice: slice?.value, threshold })
                }
                "gate" => {
                    let t = Table::open(&entry.node, "`gate`", GATE_KEYS, report, nothing_special)?;
                    let bad = t.word("on_error", &["bad", "exclude"], |w| match w {
                        "bad" => Some(true),
                        "exclude" => Some(false),
                        _ => None,
                    });
                    Some(Sli::Gate { error_is_bad: bad.is_none_or(|b| b.value) })
                }
                word if SLI_WORDS.contains(&word) => {
                    report.error_help(entry.at, format!("`sli: {word}` takes no settings"), format!("write `sli: {word}`"));
                    None
                }
                word => {
                    unknown(entry.at, word);
                    None
                }
            }
        }
        _ => {
            let found = table.text("sli")?;
            match found.value.as_str() {
                "resource_time" => Some(Sli::ResourceTime),
                "remediation_latency" => Some(Sli::RemediationLatency),
                "evidence_freshness" => Some(Sli::EvidenceFreshness),
                "coverage" => Some(Sli::Coverage),
                "gate" => Some(Sli::Gate { error_is_bad: true }),
                "time_slice" => {
                    report.error_help(found.at, "`sli: time_slice` needs its slice and its threshold", SLICE_FORM);
                    None
                }
                other => {
                    unknown(found.at, other);
                    None
                }
            }
        }
    }
}

fn weights(table: &Table<'_, '_>) -> Option<Weights> {
    const FORM: &str = "write `equal`, `controls`, or `{ severity: { critical: 10, high: 5, medium: 2, low: 1, info: 1 } }`";
    let node = table.node("weights")?;
    let report = table.report;
    if let Some([entry]) = node.as_map()
        && entry.key == "severity"
    {
        let known = words(Severity::ALL, |w| w.word());
        let t = Table::open(&entry.node, "weights by severity", &known, report, nothing_special)?;
        let mut out = [1u32; 5];
        for (weight, key) in out.iter_mut().zip(&known) {
            if t.node(key).is_some() {
                *weight = t.whole(key, 0..=1_000_000).and_then(|n| u32::try_from(n.value).ok())?;
            }
        }
        if out == [0; 5] {
            report.error(entry.at, "all weights are 0: nothing would count");
            return None;
        }
        return Some(Weights::Severity(out));
    }
    match node.scalar().as_deref() {
        Some("equal") => Some(Weights::Equal),
        Some("controls") => Some(Weights::Controls),
        _ => {
            report.error_help(node.at, format!("`weights` is {}", node.describe()), FORM);
            None
        }
    }
}

fn calendar(table: &Table<'_, '_>) -> Option<(Option<Calendar>, jiff::tz::TimeZone)> {
    let node = table.node("calendar")?;
    let known = words(Calendar::ALL, |w| w.word());
    if node.as_map().is_none() {
        let word = table.word("calendar", &known, Calendar::from_word)?;
        return Some((Some(word.value), jiff::tz::TimeZone::UTC));
    }
    let t = Table::open(node, "`calendar`", CALENDAR_KEYS, table.report, nothing_special)?;
    if t.node("every").is_none() {
        t.missing("every", &format!("one of {}", known.join(", ")));
    }
    let every = t.word("every", &known, Calendar::from_word)?;
    let zone = match t.text("time_zone") {
        Some(name) => time_zone(&name, table.report)?,
        None => jiff::tz::TimeZone::UTC,
    };
    Some((Some(every.value), zone))
}

/// A time zone by its IANA name, from the rules that the program carries: every machine gets the same instants.
pub(super) fn time_zone(name: &At<String>, report: &Report) -> Option<jiff::tz::TimeZone> {
    let known = jiff::tz::TimeZoneDatabase::bundled();
    match known.get(name.value.trim()) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let names: Vec<String> = known.available().map(|n| n.to_string()).collect();
            let help = match nearest(name.value.trim(), names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write its IANA name, for instance `Europe/Berlin` or `UTC`".to_owned(),
            };
            report.error_help(name.at, format!("there is no time zone `{}`", excerpt(&name.value)), help);
            None
        }
    }
}

fn labels(table: &Table<'_, '_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in table.pairs("labels") {
        if label_name(&key, table.report) && label_value(&value, &key.value, table.report) {
            out.insert(key.value, value.value);
        }
    }
    out
}

/// Whether a label may have this name; else says why not.
pub(super) fn label_name(key: &At<String>, report: &Report) -> bool {
    let name = &key.value;
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= 64;
    if !good {
        report.error_help(
            key.at,
            format!("`{}` cannot be a label's name", excerpt(name)),
            "use letters, digits and `_`, at most 64, no digit first",
        );
    } else if name.starts_with("__") || name.starts_with("sloth_") || RESERVED_LABELS.contains(&name.as_str()) {
        report.error_help(key.at, format!("label `{name}` is set by the rules themselves"), "choose another name");
        return false;
    }
    good
}

fn label_value(value: &At<String>, name: &str, report: &Report) -> bool {
    let text = value.value.trim();
    let good = text.len() <= 128 && !text.chars().any(char::is_control);
    if !good {
        report.error_help(
            value.at,
            format!("`{name}` cannot be the label value `{}`", excerpt(text)),
            "one line of at most 128 bytes; long texts belong into `description`",
        );
    }
    good
}

fn composite(node: &Node, report: &Report) -> Option<(Composite, Select)> {
    let t = Table::open(node, "`composite`", COMPOSITE_KEYS, report, nothing_special)?;
    let modes = words(CompositeMode::ALL, |w| w.word());
    if t.node("mode").is_none() {
        t.missing("mode", &format!("one of {}", modes.join(", ")));
    }
    let mode = t.word("mode", &modes, CompositeMode::from_word);
    let missing = t.word("missing", &["skip", "bad"], |w| match w {
        "skip" => Some(false),
        "bad" => Some(true),
        _ => None,
    });
    let given: Vec<&str> = ["members", "service", "framework"].into_iter().filter(|k| t.node(k).is_some()).collect();
    let select = match given.as_slice() {
        ["members"] => {
            let items = t.list("members");
            let mut out: Vec<(At<String>, f64)> = Vec::new();
            for item in items {
                let Some((member, weight)) = member(item, report) else { continue };
                match out.iter().find(|(m, _)| m.value == member.value) {
                    Some((first, _)) => {
                        report.error(member.at, format!("member `{}` stands in line {} already", excerpt(&member.value), first.at.line));
                    }
                    None => out.push((member, weight)),
                }
            }
            if items.is_empty() {
                report.error(t.place("members"), "`members` is empty: a composite of nothing promises nothing");
            }
            Some(Select::Listed(out))
        }
        ["service"] => t.text("service").map(Select::Service),
        [_] => t.text("framework").map(Select::Framework),
        [] => {
            t.missing(
                "members",
                "name them: `members: [{ slo: platform-storage, weight: 2 }, …]`; or all of a `service`, or of a `framework`",
            );
            None
        }
        [_, second, ..] => {
            report.error(t.place(second), "`members`, `service` and `framework` are three ways to say the same; give one");
            None
        }
    };
    let composite = Composite { mode: mode?.value, members: Vec::new(), missing_is_bad: missing.is_some_and(|m| m.value) };
    Some((composite, select?))
}

fn member(node: &Node, report: &Report) -> Option<(At<String>, f64)> {
    if let Some(id) = node.scalar().filter(|s| !s.trim().is_empty()) {
        return Some((At { at: node.at, value: id }, 1.0));
    }
    let t = Table::open(node, "a member", MEMBER_KEYS, report, nothing_special)?;
    let slo = t.required("slo", "the member's id, `<service>-<name>`");
    let weight = match t.text("weight") {
        None if t.node("weight").is_some() => return None,
        None => 1.0,
        Some(text) => match text.value.parse::<f64>().ok().filter(|w| *w > 0.0 && *w <= 1e6) {
            Some(weight) => weight,
            None => {
                report.error_help(
                    text.at,
                    format!("`weight` is `{}`", excerpt(&text.value)),
                    "a number above 0, at most 1000000; leave out a member that is not to count",
                );
                return None;
            }
        },
    };
    Some((slo?, weight))
}

/// Problems that show only when everything was read.
struct Said<'p>(&'p mut Vec<ConfigProblem>);

impl Said<'_> {
    fn error(&mut self, path: &str, at: Place, code: Option<Code>, message: String, help: Option<String>) {
        self.push(ProblemSeverity::Error, path, at, code, message, help);
    }

    fn push(&mut self, severity: ProblemSeverity, path: &str, at: Place, code: Option<Code>, message: String, help: Option<String>) {
        let code = code.map(Code::word);
        self.0.push(ConfigProblem { severity, code, path: path.to_owned(), line: at.line, column: at.column, message, help });
    }
}

/// Turns drafts and defaults into the SLOs in force: makes those of defaults, one for each literal scope where that was
/// asked, finds members of composites, and sees that every id is there once.
pub(super) fn resolve(out: &mut Read) {
    let mut problems = Vec::new();
    let mut said = Said(&mut problems);
    let controls: Vec<Control> = out.definitions.controls().cloned().collect();
    let mut drafts = std::mem::take(&mut out.drafts);
    let explicit = drafts.len();
    for defaults in std::mem::take(&mut out.defaults) {
        from_defaults(&defaults, &controls, &mut drafts, explicit, &mut said);
    }
    // One for each scope, where the scopes are all said.
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let drafts: Vec<Draft> = drafts
        .into_iter()
        .flat_map(|d| {
            if !d.slo.for_each_scope || d.slo.scopes.is_empty() || d.slo.scopes.iter().any(|s| CheckSelector::is_glob(s)) {
                return vec![d];
            }
            let found = expand(std::slice::from_ref(&d.slo), d.slo.scopes.iter().map(String::as_str));
            for (id, scope) in &found.clashes {
                said.error(
                    &d.path,
                    d.at,
                    Some(Code::Identity),
                    format!("`for_each: scope` makes two SLOs `{id}`, the second for scope `{}`", excerpt(scope)),
                    Some("the scopes differ only in characters that an id cannot have: write two SLOs with names of their own".to_owned()),
                );
            }
            made.insert(d.slo.id(), found.slos.iter().map(Slo::id).collect());
            found.slos.into_iter().map(|slo| Draft { slo, members: Select::None, ..d.clone() }).collect()
        })
        .collect();
    // Ids, each once.
    let mut unique: Vec<Draft> = Vec::new();
    for d in drafts {
        let id = d.slo.id();
        match out.places.slos.get(&id) {
            Some((path, at)) => said.error(
                &d.path,
                d.at,
                Some(Code::Identity),
                format!("SLO `{id}` is defined twice; it stands in {path}:{} already", at.line),
                Some("service and name together make the id, which must be unique".to_owned()),
            ),
            None => {
                out.places.slos.insert(id, (d.path.clone(), d.at));
                unique.push(d);
            }
        }
    }
    let known: Vec<(String, Slo)> = unique.iter().map(|d| (d.slo.id(), d.slo.clone())).collect();
    for d in &mut unique {
        members(d, &known, &made, &controls, &mut said);
    }
    out.definitions.slos = unique.into_iter().map(|d| d.slo).collect();
    out.problems.extend(problems);
}

fn from_defaults(defaults: &Defaults, controls: &[Control], drafts: &mut Vec<Draft>, explicit: usize, said: &mut Said<'_>) {
    // The controls that need none: those covered by an SLO of their own (or, `which: uncovered`, by any), and those that
    // an earlier document of defaults gave one.
    let mut served: BTreeSet<String> = drafts[explicit..].iter().map(|d| d.slo.name.clone()).collect();
    // An SLO on how quickly a control is fixed says nothing of whether it holds, so only those that count the same serve.
    let states = |sli: Sli| matches!(sli, Sli::ResourceTime | Sli::TimeSlice { .. });
    let like = |slo: &Slo| slo.sli.word() == defaults.base.sli.word() || states(slo.sli) && states(defaults.base.sli);
    for slo in drafts[..explicit].iter().map(|d| &d.slo).filter(|s| s.composite.is_none() && like(s)) {
        let covered: Vec<&Control> = controls.iter().filter(|c| slo.controls.covers(c)).collect();
        if defaults.uncovered || covered.len() == 1 {
            served.extend(covered.into_iter().map(|c| c.id.clone()));
        }
    }
    let mut lacking: BTreeMap<Severity, usize> = BTreeMap::new();
    let mut new = Vec::new();
    for control in controls {
        let wanted = defaults.controls.as_ref().is_none_or(|s| s.covers(control));
        if !wanted || served.contains(&control.id) {
            continue;
        }
        let i = control.severity as usize;
        let (Some(objective), Some(period)) = (defaults.objective[i], defaults.period[i]) else {
            *lacking.entry(control.severity).or_default() += 1;
            continue;
        };
        let slo = Slo {
            name: control.id.clone(),
            description: control.title.clone(),
            owner: control.owner.clone(),
            controls: ControlSelector { ids: vec![globset::escape(&control.id)], ..ControlSelector::default() },
            objective,
            period,
            ..defaults.base.clone()
        };
        new.push(Draft { slo, path: defaults.path.clone(), at: defaults.at, members: Select::None, sli_said: true });
    }
    drafts.extend(new);
    for (severity, n) in lacking {
        let (what, verb) = if n == 1 { ("control", "gets") } else { ("controls", "get") };
        said.push(
            ProblemSeverity::Warning,
            &defaults.path,
            defaults.at,
            None,
            format!("SLO defaults `{}` have no objective or no period for severity `{severity}`: {n} {what} {verb} no SLO", defaults.name),
            Some("give one, or narrow `controls:`".to_owned()),
        );
    }
}

fn members(d: &mut Draft, known: &[(String, Slo)], made: &BTreeMap<String, Vec<String>>, controls: &[Control], said: &mut Said<'_>) {
    let Some(composite) = &mut d.slo.composite else { return };
    let own = format!("{}-{}", d.slo.service, d.slo.name);
    let of = |id: &str| known.iter().find(|(k, _)| k == id).map(|(_, slo)| slo);
    let same_kind = |slo: &Slo| slo.sli.word() == d.slo.sli.word() && slo.composite.is_none();
    let mut out: Vec<Member> = Vec::new();
    match &d.members {
        Select::None => return,
        Select::Listed(listed) => {
            for (name, weight) in listed {
                let candidates = [name.value.clone(), format!("{}-{}", d.slo.service, name.value)];
                if let Some(ids) = candidates.iter().find_map(|c| made.get(c)) {
                    out.extend(ids.iter().map(|id| Member { slo: id.clone(), weight: *weight }));
                    continue;
                }
                match candidates.iter().find_map(|c| of(c).map(|slo| (c, slo))) {
                    Some((_, slo)) if slo.composite.is_some() => said.error(
                        &d.path,
                        name.at,
                        Some(Code::Identity),
                        format!("member `{}` is a composite itself", excerpt(&name.value)),
                        Some("name its members here".to_owned()),
                    ),
                    Some((id, _)) => out.push(Member { slo: id.clone(), weight: *weight }),
                    None => {
                        let ids = known.iter().map(|(id, _)| id.as_str());
                        let help = match nearest(&name.value, ids) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => "members are named by their ids, `<service>-<name>`".to_owned(),
                        };
                        said.error(
                            &d.path,
                            name.at,
                            Some(Code::Identity),
                            format!("there is no SLO `{}`", excerpt(&name.value)),
                            Some(help),
                        );
                    }
                }
            }
        }
        Select::Service(service) => {
            out.extend(
                known
                    .iter()
                    .filter(|(id, slo)| slo.service == service.value && *id != own && same_kind(slo))
                    .map(|(id, _)| Member { slo: id.clone(), weight: 1.0 }),
            );
            if out.is_empty() {
                let services: BTreeSet<&str> = known.iter().map(|(_, s)| s.service.as_str()).collect();
                let services: Vec<&str> = services.into_iter().collect();
                let help = if services.contains(&service.value.as_str()) {
                    format!("none of its SLOs has `sli: {}`; say the kind with `sli`", d.slo.sli.word())
                } else {
                    suggestion(&service.value, &services, "services are")
                };
                said.error(
                    &d.path,
                    service.at,
                    Some(Code::Identity),
                    format!("no SLO of service `{}` can be a member", excerpt(&service.value)),
                    Some(help),
                );
            }
        }
        Select::Framework(framework) => {
            let serves = |c: &Control| c.requirements.iter().any(|r| r.framework == framework.value);
            let wholly = |slo: &Slo| {
                let mut covered = controls.iter().filter(|c| slo.controls.covers(c)).peekable();
                covered.peek().is_some() && covered.all(serves)
            };
            out.extend(
                known
                    .iter()
                    .filter(|(id, slo)| *id != own && same_kind(slo) && wholly(slo))
                    .map(|(id, _)| Member { slo: id.clone(), weight: 1.0 }),
            );
            if out.is_empty() {
                let frameworks: BTreeSet<&str> =
                    controls.iter().flat_map(|c| c.requirements.iter().map(|r| r.framework.as_str())).collect();
                let frameworks: Vec<&str> = frameworks.into_iter().collect();
                let help = if frameworks.contains(&framework.value.as_str()) {
                    "a member is an SLO of whose controls every one serves the framework; `kind: SLODefaults` makes one for each control"
                        .to_owned()
                } else {
                    suggestion(&framework.value, &frameworks, "frameworks are")
                };
                said.error(
                    &d.path,
                    framework.at,
                    Some(Code::Identity),
                    format!("no SLO covers framework `{}` alone", excerpt(&framework.value)),
                    Some(help),
                );
            }
        }
    }
    let slos: Vec<&Slo> = out.iter().filter_map(|m| of(&m.slo)).collect();
    if !d.sli_said {
        // Windows of events may be empty, and then so may the composite's.
        let kind = slos.iter().find(|s| !s.sli.held()).or(slos.first());
        d.slo.sli = kind.map_or(Sli::ResourceTime, |s| s.sli);
    }
    let kinds: BTreeSet<&str> = slos.iter().map(|s| s.sli.word()).collect();
    if matches!(composite.mode, CompositeMode::Pooled | CompositeMode::Joint) && kinds.len() > 1 {
        said.error(
            &d.path,
            d.at,
            None,
            format!(
                "composite `{own}` of mode `{}` adds up what cannot be added: its members count {}",
                composite.mode,
                kinds.into_iter().collect::<Vec<_>>().join(" and ")
            ),
            Some("use mode `weighted` or `worst`".to_owned()),
        );
    } else if composite.mode == CompositeMode::Joint && !kinds.iter().all(|k| *k == "resource_time") {
        said.error(
            &d.path,
            d.at,
            None,
            format!("composite `{own}` of mode `joint` judges resources, and its members do not count resource_time"),
            Some("use mode `weighted` or `worst`".to_owned()),
        );
    }
    composite.members = out;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_the_nearest_number() {
        for (text, ratio) in [("99.9", 0.999), ("99", 0.99), ("5", 0.05), ("0.5", 0.005), ("100", 1.0), (".5", 0.005), ("99.95", 0.9995)] {
            assert_eq!(shift_point(text), Some(ratio), "{text}");
        }
        for text in ["", ".", "-1", "1e2", "9 9", "ninety"] {
            assert_eq!(shift_point(text), None, "{text}");
        }
    }
}
