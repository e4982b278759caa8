//! Pages for people: `/` and `/controls/{id}`. No script, nothing from elsewhere, no color that says what no word says.
//!
//! A page says less than `/metrics` and never more: a ratio stands with its bounds and its coverage, and where there
//! is no ratio the page says why. Numbers are rounded so that nothing looks better than it is.

mod show;

use crate::domain::{CheckResult, Counts, Moment, Severity, Span, State, WaiverOrigin, WaiverState};
use crate::snapshot::{CollectorView, ControlView, SloNumbers, SloView, Snapshot};
use askama::Template;
use show::{Age, Share, amount, encoded, instant};

/// `/style.css`.
pub const STYLE: &str = include_str!("../../templates/style.css");

/// Which part of `/` is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Controls of this scope only.
    pub scope: Option<String>,
    /// Which page of the controls, from 1.
    pub page: usize,
}

/// Controls on one page.
const PER_PAGE: usize = 200;
/// Waivers and scopes on the page; the API has all.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'s> {
    root: &'static str,
    title: String,
    frame: Frame,
    scope: Option<&'s str>,
    totals: Totals,
    scopes: Vec<ScopeLine<'s>>,
    more_scopes: usize,
    objectives: Vec<ObjectiveLine<'s>>,
    more_objectives: usize,
    controls: Vec<ControlLine<'s>>,
    controls_total: usize,
    page: usize,
    pages: usize,
    more_pages: String,
    collectors: Vec<CollectorLine<'s>>,
    waivers: Vec<WaiverLine<'s>>,
    waiver_counts: String,
    more_waivers: usize,
}

#[derive(Template)]
#[template(path = "control.html")]
struct Control<'s> {
    root: &'static str,
    title: String,
    frame: Frame,
    control: &'s ControlView,
    id_encoded: String,
    all: Share,
    lines: Vec<RowLine<'s>>,
    training_is_link: bool,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'m> {
    root: &'static str,
    title: String,
    frame: Frame,
    said: &'m str,
}

/// What stands around every page.
#[derive(Default)]
struct Frame {
    version: &'static str,
    as_of: String,
    demo: bool,
    ready: bool,
    reload_failed: Option<String>,
    definitions: String,
    ledger: Option<(String, String)>,
    started: String,
}

struct Totals {
    controls: String,
    scopes: String,
    without_ratio: usize,
    share: Share,
    folded: u64,
}

struct ScopeLine<'s> {
    name: &'s str,
    encoded: String,
    parts: String,
    controls: usize,
    share: Share,
}

struct ControlLine<'s> {
    control: &'s ControlView,
    encoded: String,
    scopes: usize,
    share: Share,
    evidence: String,
    stale: usize,
}

struct ObjectiveLine<'s> {
    slo: &'s crate::slo::Slo,
    id: String,
    objective: String,
    kept: Option<String>,
    bounds: Option<String>,
    left: Option<String>,
    overspent: bool,
    allowed: String,
    warming_up: bool,
    spent_in: String,
    holds: Option<bool>,
}

struct RowLine<'s> {
    scope: &'s str,
    share: Share,
    evidence: String,
    fresh: bool,
    oldest: String,
    overdue: u64,
}

struct CollectorLine<'s> {
    c: &'s CollectorView,
    state: &'static str,
    good: bool,
    last_run: String,
    last_success: String,
    findings: String,
    problems: u64,
}

struct WaiverLine<'s> {
    w: &'s crate::snapshot::WaiverView,
    until: String,
    left: String,
}

/// `/` at `now`.
pub fn index(s: &Snapshot, now: Moment, part: &Part) -> String {
    let now = now.max(s.at);
    let mut by_control: Vec<Sum> = vec![Sum::default(); s.controls.len()];
    let mut by_scope: Vec<Sum> = vec![Sum::default(); s.scopes.len()];
    let mut all = Sum::default();
    for (i, row) in s.rows.iter().enumerate() {
        let is = s.row_at(i, now);
        let control = &s.controls[row.control as usize];
        let here = part.scope.as_ref().is_none_or(|want| s.scopes[row.scope as usize].name == *want);
        let mut sums = vec![&mut by_scope[row.scope as usize]];
        if here {
            sums.extend([&mut by_control[row.control as usize], &mut all]);
        }
        for sum in sums {
            sum.add(&is.counts, control.has_ratio);
            sum.newest = sum.newest.max(row.newest_evidence);
            sum.stale += usize::from(!is.fresh && row.newest_evidence.is_some());
        }
    }

    let mut controls: Vec<(&ControlView, &Sum)> = s.controls.iter().zip(&by_control).collect();
    if part.scope.is_some() {
        controls.retain(|(_, sum)| sum.rows > 0);
    }
    // What needs somebody stands first: failures, then what is not known, then severity.
    let urgency = |c: &ControlView, sum: &Sum| {
        (std::cmp::Reverse((sum.counts[State::NonCompliant], sum.counts[State::Unknown], sum.rows == 0, c.severity)), c.id.clone())
    };
    controls.sort_by_cached_key(|(c, sum)| urgency(c, sum));
    let without_ratio = controls.iter().filter(|(c, sum)| !sum.share(c.has_ratio).has_ratio()).count();
    let pages = controls.len().div_ceil(PER_PAGE).max(1);
    let page = part.page.clamp(1, pages);
    let lines = controls.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE).map(|(control, sum)| ControlLine {
        control,
        encoded: encoded(&control.id),
        scopes: sum.rows,
        share: sum.share(control.has_ratio),
        evidence: Age::of(sum.newest, now).to_string(),
        stale: sum.stale,
    });
    let scopes_shown = s.scopes.iter().zip(&by_scope).filter(|(v, _)| part.scope.as_ref().is_none_or(|want| v.name == *want));
    let scopes = scopes_shown.clone().take(MOST).map(|(v, sum)| ScopeLine {
        name: &v.name,
        encoded: encoded(&v.name),
        parts: v.parts.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", "),
        controls: sum.rows,
        share: sum.share(true),
    });
    // The one that runs out first stands first.
    let mut objectives: Vec<_> = s.slos.iter().zip(s.slo_numbers(now)).collect();
    objectives.sort_by(|(_, a), (_, b)| {
        let left = |n: &SloNumbers| n.budget.remaining_full_period.unwrap_or(f64::INFINITY);
        left(a).total_cmp(&left(b))
    });
    let page_of = Index {
        root: "",
        title: "Compliance".to_owned(),
        frame: Frame::of(s, now),
        scope: part.scope.as_deref(),
        totals: Totals {
            controls: amount(controls.len() as u64),
            scopes: amount(scopes_shown.clone().count() as u64),
            without_ratio,
            share: all.share(true),
            folded: s.folded,
        },
        more_scopes: scopes_shown.clone().count().saturating_sub(MOST),
        scopes: scopes.collect(),
        more_objectives: objectives.len().saturating_sub(MOST),
        objectives: objectives.iter().take(MOST).map(|(view, n)| ObjectiveLine::of(view, n, now)).collect(),
        controls_total: controls.len(),
        controls: lines.collect(),
        page,
        pages,
        more_pages: part.scope.as_ref().map(|scope| format!("&scope={}", encoded(scope))).unwrap_or_default(),
        collectors: s.collectors.iter().map(|c| CollectorLine::of(c, now)).collect(),
        waiver_counts: waiver_counts(s),
        more_waivers: s.waivers.len().saturating_sub(MOST),
        waivers: s.waivers.iter().take(MOST).map(|w| WaiverLine { w, until: instant(w.until), left: left(w, now) }).collect(),
    };
    written(&page_of)
}

/// `/controls/{id}` at `now`; `None` if there is no such control.
pub fn control(s: &Snapshot, now: Moment, id: &str) -> Option<String> {
    let now = now.max(s.at);
    let index = s.controls.iter().position(|c| c.id == id)?;
    let control = &s.controls[index];
    let mut all = Sum::default();
    let mut lines = Vec::new();
    for (i, row) in s.rows.iter().enumerate().filter(|(_, r)| r.control as usize == index) {
        let is = s.row_at(i, now);
        all.add(&is.counts, control.has_ratio);
        let overdue = row.violations.as_ref().map_or(0, |v| v.by_severity.iter().map(|n| n.overdue).sum());
        lines.push(RowLine {
            scope: &s.scopes[row.scope as usize].name,
            share: Share::of(&is.counts, &is.counts, control.has_ratio),
            evidence: Age::of(row.newest_evidence, now).to_string(),
            fresh: is.fresh || row.newest_evidence.is_none(),
            oldest: row.violations.as_ref().and_then(|v| v.oldest_open).map(|at| Age::of(Some(at), now).to_string()).unwrap_or_default(),
            overdue: overdue + is.missed_since.iter().sum::<u64>(),
        });
    }
    let training = control.training.trim();
    let training_is_link = (training.starts_with("https://") || training.starts_with("http://")) && !training.contains(char::is_whitespace);
    Some(written(&Control {
        root: "../",
        title: control.title.clone(),
        frame: Frame::of(s, now),
        control,
        id_encoded: encoded(id),
        all: all.share(control.has_ratio),
        lines,
        training_is_link,
    }))
}

/// A page that says one thing, such as that there is nothing here.
pub fn message(code: &str, said: &str) -> String {
    let frame = Frame { version: env!("CARGO_PKG_VERSION"), ready: true, ..Frame::default() };
    written(&Message { root: "/", title: code.to_owned(), frame, said })
}

fn written(page: &impl Template) -> String {
    page.render().expect("a String takes what is written to it")
}

/// Counts taken together.
#[derive(Clone, Debug, Default)]
struct Sum {
    counts: Counts,
    /// Those of controls that have a ratio: the others have failures to divide, and nothing to divide by.
    divisible: Counts,
    rows: usize,
    indivisible_rows: usize,
    newest: Option<Moment>,
    stale: usize,
}

impl Sum {
    fn add(&mut self, counts: &Counts, has_ratio: bool) {
        self.rows += 1;
        self.indivisible_rows += usize::from(!has_ratio);
        for state in State::ALL {
            self.counts[*state] += counts[*state];
            if has_ratio {
                self.divisible[*state] += counts[*state];
            }
        }
    }

    fn share(&self, has_ratio: bool) -> Share {
        let mut share = Share::of(&self.counts, &self.divisible, has_ratio && (self.rows == 0 || self.indivisible_rows < self.rows));
        if self.rows == 0 {
            share.why = "no finding has matched yet";
        }
        if has_ratio && !share.has_ratio() && 0 < self.indivisible_rows && self.indivisible_rows < self.rows {
            // The reason of the others alone would contradict the failures that are counted here.
            share.why = "some sources list only violations, and of the rest nothing has a verdict";
        }
        share
    }
}

impl Frame {
    fn of(s: &Snapshot, now: Moment) -> Frame {
        let failed = s.reload.filter(|(good, _)| !good).map(|(_, at)| Age::of(Some(at), now).to_string());
        Frame {
            version: env!("CARGO_PKG_VERSION"),
            as_of: instant(now),
            demo: s.demo,
            ready: s.ready,
            reload_failed: failed,
            definitions: s.definitions_digest.chars().take(12).collect(),
            ledger: (s.ledger.records > 0).then(|| (amount(s.ledger.records), s.ledger.head.chars().take(12).collect())),
            started: Age::of(Some(s.started_at), now).to_string(),
        }
    }
}

impl<'s> ObjectiveLine<'s> {
    fn of(view: &'s SloView, n: &SloNumbers, now: Moment) -> ObjectiveLine<'s> {
        let slo = &view.slo;
        let kept = n.budget.error.map(|e| 1.0 - e);
        let bounds = view.measure.bounds(now - slo.period, now).filter(|(low, high)| high - low > 0.0005);
        let left = n.budget.remaining_full_period;
        let spent_in = match n.exhaustion_seconds {
            None => "no data yet".to_owned(),
            Some(s) if s.is_infinite() => "not as things stand".to_owned(),
            Some(0.0) => "spent".to_owned(),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative, and rounded for people")]
            Some(s) => format!("in {}", show::length(Span((s * 1000.0) as u64))),
        };
        ObjectiveLine {
            slo,
            id: slo.id(),
            objective: show::share(slo.objective, show::Round::Down),
            kept: kept.map(|k| show::share(k, show::Round::Down)),
            bounds: bounds.map(|(low, high)| format!("{} to {}", show::share(low, show::Round::Down), show::share(high, show::Round::Up))),
            left: left.map(|l| show::share(l, show::Round::Down)),
            overspent: left.is_some_and(|l| l <= 0.0),
            allowed: n.budget.allowed_seconds.map(show::resource_time).unwrap_or_default(),
            warming_up: n.budget.warming_up,
            spent_in,
            holds: kept.map(|k| k + 1e-12 >= slo.objective),
        }
    }
}

impl<'s> CollectorLine<'s> {
    fn of(c: &'s CollectorView, now: Moment) -> CollectorLine<'s> {
        let (state, good) = match (c.up, c.complete) {
            (None, _) => ("not run yet", false),
            (Some(false), _) => ("failed", false),
            (Some(true), false) => ("partial", false),
            (Some(true), true) => ("complete", true),
        };
        let some = CheckResult::ALL.iter().zip(c.findings).filter(|(_, n)| *n > 0);
        let findings = some.map(|(r, n)| format!("{} {}", amount(n), r.word().replace('_', " "))).collect::<Vec<_>>().join(", ");
        CollectorLine {
            c,
            state,
            good,
            last_run: Age::of(c.last_run, now).to_string(),
            last_success: Age::of(c.last_success, now).to_string(),
            findings,
            problems: c.problems.values().sum(),
        }
    }
}

fn waiver_counts(s: &Snapshot) -> String {
    let mut out = Vec::new();
    for (origin, whose) in [(WaiverOrigin::File, "From files"), (WaiverOrigin::Source, "From sources' own suppressions")] {
        let of_origin = WaiverState::ALL.iter().filter_map(|state| {
            let n = s.waiver_counts.get(&(*state, origin)).copied().filter(|n| *n > 0)?;
            Some(format!("{} {}", amount(n), state.word()))
        });
        let of_origin = of_origin.collect::<Vec<_>>().join(", ");
        if !of_origin.is_empty() {
            out.push(format!("{whose}: {of_origin}"));
        }
    }
    out.join(". ")
}

fn left(w: &crate::snapshot::WaiverView, now: Moment) -> String {
    match w.state {
        WaiverState::Invalid => String::new(),
        _ if w.until <= now => format!("ended {}", Age::of(Some(w.until), now)),
        WaiverState::Pending | WaiverState::Active | WaiverState::Unused | WaiverState::Expired => {
            format!("ends in {}", show::length(w.until.since(now)))
        }
    }
}

impl ControlLine<'_> {
    fn serious(&self) -> bool {
        self.control.severity >= Severity::High
    }
}
