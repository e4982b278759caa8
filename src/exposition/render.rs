//! Which samples a snapshot has, in three parts by what moves them: a new snapshot, an instant at which something runs
//! out, or the mere passing of time. A family stands in one part only, since its samples have to stand together.

use super::names;
use super::names::label::{COLLECTOR, CONTROL, OUTCOME, SCOPE, SEVERITY, STATE};
use super::write::{Page, Value, label, label_name};
use crate::domain::{CheckResult, Counts, Moment, ProblemKind, Ratio, Severity, State, WaiverOrigin, WaiverState};
use crate::slo::{Timeline, window};
use crate::snapshot::{ControlView, Row, RowNow, SloNumbers, SloView, Snapshot, ViolationCounts, Violations};
use std::collections::BTreeSet;

/// Label text made ready once for each control and scope, not for each series.
#[derive(Debug)]
pub(super) struct Labels {
    /// `{control="…"`
    control: Vec<String>,
    /// `,scope="…"`
    scope: Vec<String>,
}

impl Labels {
    pub(super) fn of(s: &Snapshot) -> Labels {
        Labels {
            control: s.controls.iter().map(|c| first(CONTROL, &c.id)).collect(),
            scope: s.scopes.iter().map(|v| next(SCOPE, &v.name)).collect(),
        }
    }

    fn row(&self, row: &Row) -> (&str, &str) {
        (&self.control[row.control as usize], &self.scope[row.scope as usize])
    }
}

fn first(name: &str, value: &str) -> String {
    let mut out = String::from("{");
    label(&mut out, name, value);
    out
}

fn next(name: &str, value: &str) -> String {
    let mut out = String::from(",");
    label(&mut out, name, value);
    out
}

/// `,name="word"}` for each word, in order.
fn tails<'a>(name: &str, words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(|w| next(name, w) + "}").collect()
}

/// What moves with time alone: counters of time in a state.
pub(super) fn flowing(page: &mut Page, s: &Snapshot, labels: &Labels, now: Moment) {
    let state = tails(STATE, State::ALL.iter().map(|s| s.word()));
    let mut family = page.family(&names::RESOURCE_SECONDS);
    for (i, row) in s.rows.iter().enumerate() {
        let RowNow { resource_ms, .. } = s.row_at(i, now);
        family.samples(labels.row(row), state.iter().zip(resource_ms.0.map(Value::Millis)));
    }
    each_joint(s, |id, scope, measure| {
        let ms = measure.at(now.max(s.at)).map(|n| Value::Millis(u64::try_from(n).unwrap_or(u64::MAX)));
        family.samples((&first(CONTROL, id), &next(SCOPE, scope)), state.iter().zip(ms));
    });
    let freshness = tails(STATE, FRESHNESS);
    let mut family = page.family(&names::EVIDENCE_SECONDS);
    for (i, row) in s.rows.iter().enumerate() {
        family.samples(labels.row(row), freshness.iter().zip(s.row_at(i, now).evidence_ms.map(Value::Millis)));
    }
    objectives(page, s, now);
}

/// Calls `f` for each scope of each composite of mode `joint`: its id takes the place of a control's.
pub(super) fn each_joint(s: &Snapshot, mut f: impl FnMut(&str, &str, &Timeline)) {
    for view in s.slos.iter().filter(|v| !v.joint_scopes.is_empty()) {
        let id = view.slo.id();
        for (scope, part) in view.joint_scopes.iter().zip(&view.measure.parts) {
            f(&id, scope, part);
        }
    }
}

/// Objectives over windows that end now: they move with every instant.
fn objectives(page: &mut Page, s: &Snapshot, now: Moment) {
    let numbers = s.slo_numbers(now);
    let heads: Vec<String> = s.slos.iter().map(|v| first("slo", &v.slo.id())).collect();
    let all = || numbers.iter().zip(&heads);
    let mut family = page.family(&names::SLO_ERROR_RATIO);
    for (n, head) in all() {
        for (w, e) in &n.error {
            if let Some(e) = e {
                family.sample(&[head, &next("window", &window::name(*w)), "}"], Value::Float(*e));
            }
        }
    }
    type Number = fn(&SloNumbers) -> Option<f64>;
    let shares: [(&'static names::Metric, Number); 3] = [
        (&names::SLO_ERROR_BUDGET_REMAINING, |n| n.budget.remaining),
        (&names::SLO_ERROR_BUDGET_REMAINING_FULL, |n| n.budget.remaining_full_period),
        (&names::SLO_ERROR_BUDGET_EXHAUSTION, |n| n.exhaustion_seconds),
    ];
    for (metric, number) in shares {
        let mut family = page.family(metric);
        for (n, head) in all() {
            if let Some(x) = number(n) {
                family.sample(&[head, "}"], Value::Float(x));
            }
        }
    }
    let outcomes = tails(OUTCOME, SLICE_OUTCOMES);
    let mut family = page.family(&names::SLICES);
    for (n, head) in all() {
        for (tail, n) in outcomes.iter().zip(n.slices.into_iter().flatten()) {
            family.sample(&[head, tail], Value::Int(n));
        }
    }
}

/// The outcomes of time slices, in the order of `SloNumbers::slices`.
pub(super) const SLICE_OUTCOMES: [&str; 3] = ["good", "bad", "unknown"];

/// The `state` of evidence, in the order of `evidence_ms`.
pub(super) const FRESHNESS: [&str; 2] = ["fresh", "stale"];
/// The outcomes of runs, in the order of `CollectorView::runs`.
pub(super) const RUN_OUTCOMES: [&str; 3] = ["complete", "partial", "failed"];

/// The instants between which [`stepwise`] is the same as at `now`: from the first, up to but without the second.
pub(super) fn steady(s: &Snapshot, now: Moment) -> (Moment, Moment) {
    let mut span = (Moment(i64::MIN), Moment::NEVER);
    for change in &s.changes {
        if change.at <= now {
            span.0 = span.0.max(change.at);
        } else {
            span.1 = span.1.min(change.at);
        }
    }
    span
}

/// What moves when evidence, a waiver or a deadline runs out.
pub(super) fn stepwise(page: &mut Page, s: &Snapshot, labels: &Labels, now: Moment) {
    let state = tails(STATE, State::ALL.iter().map(|s| s.word()));
    let counts: Vec<Counts> = (0..s.rows.len()).map(|i| s.row_at(i, now).counts).collect();
    let mut family = page.family(&names::RESOURCES);
    for (row, counts) in s.rows.iter().zip(&counts) {
        family.samples(labels.row(row), state.iter().zip(counts.0.map(Value::Int)));
    }
    each_joint(s, |id, scope, measure| {
        family.samples((&first(CONTROL, id), &next(SCOPE, scope)), state.iter().zip(measure.rate_at(now.max(s.at)).map(Value::Int)));
    });
    // The ratio is never shown without its bounds and its coverage; all four are absent where there is no population.
    type Share = fn(&Counts) -> Option<f64>;
    let shares: [(&'static names::Metric, Share); 4] = [
        (&names::RATIO, |c| Ratio::of(c)?.value),
        (&names::RATIO_LOWER, |c| Some(Ratio::of(c)?.lower)),
        (&names::RATIO_UPPER, |c| Some(Ratio::of(c)?.upper)),
        (&names::COVERAGE_RATIO, Ratio::coverage),
    ];
    for (metric, share) in shares {
        let mut family = page.family(metric);
        for (row, counts) in s.rows.iter().zip(&counts) {
            if let Some(x) = share(counts).filter(|_| s.controls[row.control as usize].has_ratio) {
                let (control, scope) = labels.row(row);
                family.sample(&[control, scope, "}"], Value::Float(x));
            }
        }
    }
    let severity = tails(SEVERITY, Severity::ALL.iter().map(|s| s.word()));
    let mut family = page.family(&names::VIOLATIONS_OVERDUE);
    each_violation(s, now, |row, severity_index, v, missed_since| {
        let (control, scope) = labels.row(row);
        family.sample(&[control, scope, &severity[severity_index]], Value::Int(v.overdue + missed_since));
    });
    let severity: Vec<String> = Severity::ALL.iter().map(|s| next(SEVERITY, s.word())).collect();
    let outcome = tails(OUTCOME, ["met", "missed"]);
    let mut family = page.family(&names::REMEDIATION_DEADLINES);
    each_deadline(s, now, |row, severity_index, met_and_missed| {
        let (control, scope) = labels.row(row);
        for (tail, n) in outcome.iter().zip(met_and_missed) {
            family.sample(&[control, scope, &severity[severity_index], tail], Value::Int(n));
        }
    });
}

/// Calls `f` for each row and severity whose deadlines are counted: those with violations, and at zero every row of a
/// control with a deadline, since the first one that is missed must be seen as a step from zero.
pub(super) fn each_deadline<'s>(s: &'s Snapshot, now: Moment, mut f: impl FnMut(&'s Row, usize, [u64; 2])) {
    for (i, row) in s.rows.iter().enumerate() {
        let control = &s.controls[row.control as usize];
        match row.violations.as_deref() {
            Some(violations) => {
                let missed_since = s.row_at(i, now).missed_since;
                for (severity, v) in shown(control, violations) {
                    f(row, severity, [v.met, v.missed + missed_since[severity]]);
                }
            }
            None if control.fix_within.is_some() => f(row, control.severity as usize, [0, 0]),
            None => {}
        }
    }
}

/// Calls `f` for each row and severity whose violation families exist.
pub(super) fn each_violation<'s>(s: &'s Snapshot, now: Moment, mut f: impl FnMut(&'s Row, usize, &'s ViolationCounts, u64)) {
    for (i, row) in s.rows.iter().enumerate() {
        let Some(violations) = row.violations.as_deref() else { continue };
        let missed_since = s.row_at(i, now).missed_since;
        for (severity, v) in shown(&s.controls[row.control as usize], violations) {
            f(row, severity, v, missed_since[severity]);
        }
    }
}

/// The severities of a row with violations: the control's own, even at zero, and those met so far.
fn shown<'v>(control: &ControlView, violations: &'v Violations) -> impl Iterator<Item = (usize, &'v ViolationCounts)> {
    let own = control.severity as usize;
    violations.by_severity.iter().enumerate().filter(move |(i, v)| *i == own || **v != ViolationCounts::default())
}

/// What moves with a new snapshot only.
pub(super) fn fixed(page: &mut Page, s: &Snapshot, labels: &Labels) {
    definitions(page, s, labels);
    evidence(page, s, labels);
    violations(page, s, labels);
    waivers(page, s);
    collectors(page, s);
    exporter(page, s);
}

fn definitions(page: &mut Page, s: &Snapshot, labels: &Labels) {
    let mut family = page.family(&names::CONTROL_INFO);
    for (c, head) in s.controls.iter().zip(&labels.control) {
        let mut tail = String::new();
        for (name, value) in control_info(c) {
            tail.push_str(&next(name, value));
        }
        family.sample(&[head, &tail, "}"], Value::Int(1));
    }
    let mut family = page.family(&names::CONTROL_MAPPING_INFO);
    for (c, head) in s.controls.iter().zip(&labels.control) {
        // A requirement that is written twice would be the same series twice, which costs the whole scrape.
        for (framework, requirement) in c.requirements.iter().collect::<BTreeSet<_>>() {
            family.sample(&[head, &next("framework", framework), &next("requirement", requirement), "}"], Value::Int(1));
        }
    }
    let mut family = page.family(&names::SCOPE_INFO);
    for scope in s.scopes.iter() {
        let mut text = first(SCOPE, &scope.name);
        for (name, value) in scope_parts(&scope.parts) {
            text.push_str(&next(&name, value));
        }
        family.sample(&[&text, "}"], Value::Int(1));
    }
    let mut family = page.family(&names::SLO_OBJECTIVE);
    for view in s.slos.iter() {
        family.sample(&[&first("slo", &view.slo.id()), "}"], Value::Float(view.slo.objective));
    }
    let mut family = page.family(&names::SLO_CONTROL_INFO);
    for view in s.slos.iter() {
        let head = first("slo", &view.slo.id());
        for control in slo_controls(s, view) {
            family.sample(&[&head, &next(CONTROL, control), "}"], Value::Int(1));
        }
    }
    let mut family = page.family(&names::EVIDENCE_MAX_AGE);
    for (c, head) in s.controls.iter().zip(&labels.control) {
        family.sample(&[head, "}"], Value::Millis(c.max_age.0));
    }
    let mut family = page.family(&names::SCANNER_DISAGREEMENTS);
    for (c, head) in s.controls.iter().zip(&labels.control) {
        family.sample(&[head, "}"], Value::Int(c.disagreements));
    }
}

/// Ids of the controls that an SLO covers.
pub(super) fn slo_controls<'s>(s: &'s Snapshot, view: &'s SloView) -> impl Iterator<Item = &'s str> {
    view.controls.iter().filter_map(|c| Some(s.controls.get(*c as usize)?.id.as_str()))
}

/// The labels of `compliance_control_info` after `control`.
pub(super) fn control_info(c: &ControlView) -> [(&'static str, &str); 6] {
    [
        ("title", &c.title),
        (SEVERITY, c.severity.word()),
        ("owner", &c.owner),
        ("nature", c.nature.word()),
        ("set", &c.set),
        ("version", &c.version),
    ]
}

/// The parts of a scope as labels: names made legal, the first of equal names kept.
pub(super) fn scope_parts(parts: &[(String, String)]) -> Vec<(String, &str)> {
    let mut out: Vec<(String, &str)> = Vec::with_capacity(parts.len());
    for (name, value) in parts {
        let name = label_name(name);
        if !out.iter().any(|(n, _)| *n == name) {
            out.push((name, value));
        }
    }
    out
}

fn evidence(page: &mut Page, s: &Snapshot, labels: &Labels) {
    let mut family = page.family(&names::EVIDENCE_LAST_SUCCESS);
    for row in &s.rows {
        if let Some(at) = row.newest_evidence {
            let (control, scope) = labels.row(row);
            family.sample(&[control, scope, "}"], Value::Moment(at.0));
        }
    }
    let mut family = page.family(&names::TRANSITIONS);
    for row in &s.rows {
        let (control, scope) = labels.row(row);
        for ((direction, cause), n) in &row.transitions {
            let tail = next("direction", direction.word()) + &next("cause", cause.word());
            family.sample(&[control, scope, &tail, "}"], Value::Int(*n));
        }
    }
}

fn violations(page: &mut Page, s: &Snapshot, labels: &Labels) {
    let severity = tails(SEVERITY, Severity::ALL.iter().map(|s| s.word()));
    type Number = fn(&ViolationCounts) -> u64;
    let numbers: [(&'static names::Metric, Number); 2] = [(&names::DRIFT, |v| v.opened), (&names::REMEDIATIONS, |v| v.fixed)];
    for (metric, number) in numbers {
        let mut family = page.family(metric);
        each_violation(s, s.at, |row, severity_index, v, _| {
            let (control, scope) = labels.row(row);
            family.sample(&[control, scope, &severity[severity_index]], Value::Int(number(v)));
        });
    }
    let mut family = page.family(&names::OLDEST_VIOLATION);
    for row in &s.rows {
        if let Some(at) = row.violations.as_ref().and_then(|v| v.oldest_open) {
            let (control, scope) = labels.row(row);
            family.sample(&[control, scope, "}"], Value::Moment(at.0));
        }
    }
    let mut family = page.family(&names::REMEDIATION_DURATION);
    for (severity, h) in Severity::ALL.iter().zip(&s.remediation_durations) {
        let mut text = String::new();
        label(&mut text, SEVERITY, severity.word());
        family.histogram(&text, &h.bounds, &h.counts, h.sum_ms);
    }
}

fn waivers(page: &mut Page, s: &Snapshot) {
    let mut family = page.family(&names::WAIVERS);
    for state in WaiverState::ALL {
        for origin in WaiverOrigin::ALL {
            let n = s.waiver_counts.get(&(*state, *origin)).copied().unwrap_or(0);
            family.sample(&[&first(STATE, state.word()), &next("origin", origin.word()), "}"], Value::Int(n));
        }
    }
    let mut family = page.family(&names::WAIVER_EXPIRY);
    for (id, until) in waiver_ends(s) {
        family.sample(&[&first("waiver", id), "}"], Value::Moment(until.0));
    }
}

/// The ends of waivers that have one. An id that is there twice is shown once, with its earlier end.
pub(super) fn waiver_ends(s: &Snapshot) -> std::collections::BTreeMap<&str, Moment> {
    let mut ends = std::collections::BTreeMap::new();
    for w in s.waivers.iter().filter(|w| w.state != WaiverState::Invalid) {
        let end = ends.entry(w.id.as_str()).or_insert(w.until);
        *end = w.until.min(*end);
    }
    ends
}

fn collectors(page: &mut Page, s: &Snapshot) {
    let heads: Vec<String> = s.collectors.iter().map(|c| first(COLLECTOR, &c.name)).collect();
    let all = || s.collectors.iter().zip(&heads);
    let mut family = page.family(&names::COLLECTOR_UP);
    for (c, head) in all() {
        if let Some(up) = c.up {
            family.sample(&[head, "}"], Value::Int(u64::from(up)));
        }
    }
    let mut family = page.family(&names::COLLECTOR_LAST_SUCCESS);
    for (c, head) in all() {
        if let Some(at) = c.last_success {
            family.sample(&[head, "}"], Value::Moment(at.0));
        }
    }
    let mut family = page.family(&names::COLLECTOR_LAST_RUN);
    for (c, head) in all() {
        if let Some(at) = c.last_run {
            family.sample(&[head, "}"], Value::Moment(at.0));
        }
    }
    let mut family = page.family(&names::COLLECTOR_RUN_DURATION);
    for (c, head) in all() {
        if c.last_run.is_some() {
            family.sample(&[head, "}"], Value::Millis(c.last_duration.0));
        }
    }
    let results = tails("result", CheckResult::ALL.iter().map(|r| r.word()));
    let mut family = page.family(&names::COLLECTOR_FINDINGS);
    for (c, head) in all() {
        for (tail, n) in results.iter().zip(c.findings) {
            family.sample(&[head, tail], Value::Int(n));
        }
    }
    let mut family = page.family(&names::COLLECTOR_UNMAPPED);
    for (c, head) in all() {
        family.sample(&[head, "}"], Value::Int(c.unmapped));
    }
    let kinds = tails("kind", ProblemKind::ALL.iter().map(|k| k.word()));
    let mut family = page.family(&names::COLLECTOR_PROBLEMS);
    for (c, head) in all() {
        for (tail, kind) in kinds.iter().zip(ProblemKind::ALL) {
            family.sample(&[head, tail], Value::Int(c.problems.get(kind).copied().unwrap_or(0)));
        }
    }
    let mut family = page.family(&names::COLLECTOR_REQUESTS);
    for (c, head) in all() {
        for ((_, n), tail) in c.requests.iter().zip(tails("code", c.requests.iter().map(|(code, _)| *code))) {
            family.sample(&[head, &tail], Value::Int(*n));
        }
    }
    let outcomes = tails(OUTCOME, RUN_OUTCOMES);
    let mut family = page.family(&names::COLLECTOR_SCANS);
    for (c, head) in all() {
        for (tail, n) in outcomes.iter().zip(c.runs) {
            family.sample(&[head, tail], Value::Int(n));
        }
    }
    let mut family = page.family(&names::COLLECTOR_SCAN_DURATION);
    for (c, head) in all() {
        family.histogram(&head[1..], &c.durations.bounds, &c.durations.counts, c.durations.sum_ms);
    }
    let mut family = page.family(&names::COLLECTOR_SCAN_INTERVAL);
    for (c, head) in all() {
        family.sample(&[head, "}"], Value::Millis(c.every.0));
    }
}

fn exporter(page: &mut Page, s: &Snapshot) {
    // Without a reload the configuration in force is the one that the start read without a fault.
    page.family(&names::CONFIG_LAST_RELOAD).sample(&[], Value::Int(u64::from(s.reload.is_none_or(|(good, _)| good))));
    if let Some(at) = s.last_ingest {
        page.family(&names::LAST_INGEST).sample(&[], Value::Moment(at.0));
    }
    page.family(&names::INGEST_INTERVAL).sample(&[], Value::Millis(s.ingest_interval.0));
    page.family(&names::FOLDED_SERIES).sample(&[], Value::Int(s.folded));
    page.family(&names::START_TIME).sample(&[], Value::Moment(s.started_at.0));
    page.family(&names::DEMO).sample(&[], Value::Int(u64::from(s.demo)));
    page.family(&names::EXPORTER_BUILD_INFO).sample(&[&first("version", VERSION), "}"], Value::Int(1));
    let text = first("version", VERSION) + &next("definitions", &s.definitions_digest);
    page.family(&names::BUILD_INFO).sample(&[&text, "}"], Value::Int(1));
}

/// Our version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
