//! The objectives' timelines, kept by the writer: built from the ledger's history, carried on by each commit, handed to
//! the snapshot with what time alone will still change.

use super::joint::Joint;
use crate::config::Definitions;
use crate::domain::account::{ChangeKind, Row};
use crate::domain::{Moment, Span};
use crate::evaluate::account::{Coming, ComingKind, Mark};
use crate::evaluate::{Account, Book, PairTransition};
use crate::ledger::Ledger;
use crate::slo::measure::{BAD, FRESH, GOOD, STALE, UNKNOWN};
use crate::slo::{self, Calendar, CompositeMode, Measure, Policy, Sli, Slo, Step, Timeline, Weights};
use crate::snapshot::{ControlView, SloView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Windows reach back at least this far: the longest standard one, and the 30 days that public dashboards read.
const LEAST_KEPT: Span = Span(32 * Span::DAY.0);
/// Slices that one look closes at most for each objective; after a longer pause the older ones are left out.
const MAX_SLICES: i64 = 600_000;

/// All objectives in force, those that `for_each: scope` makes among them.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    list: Vec<Tracked>,
    /// By book row: (objective, part, weight).
    of_row: Vec<Vec<(u32, u32, u64)>>,
    /// By book row, what was applied last.
    known: Vec<Option<Mark>>,
    /// As defined, with `for_each: scope` not yet expanded, and the ids of those in force.
    defined: Vec<Slo>,
    in_force: HashMap<String, usize>,
    scopes: BTreeSet<String>,
    ready: bool,
}

#[derive(Debug)]
struct Tracked {
    slo: Slo,
    parts: Vec<Arc<Timeline>>,
    part_of_control: HashMap<u32, u32>,
    /// By book control: whether it is covered.
    covers: Vec<bool>,
    /// T: the largest interval of the collectors that can feed its controls.
    scan_interval: Span,
    slices: Option<Slices>,
    /// For composites of mode `joint`; its parts are the objective's.
    joint: Option<Joint>,
}

#[derive(Debug)]
struct Slices {
    length: Span,
    /// Number of the first slice that is not closed yet; slice k is [k·length, (k+1)·length).
    next: i64,
    closed: Arc<Timeline>,
    /// Good, bad and unknown ones so far.
    totals: [u64; 3],
}

/// What is kept of slices from start to start; a note in the ledger.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SlicesNote {
    length: u64,
    threshold: f64,
    next: i64,
    totals: [u64; 3],
}

impl Measures {
    /// Builds every timeline from the history that the ledger holds.
    pub(crate) fn build(
        definitions: &Definitions,
        book: &Book,
        ledger: &Ledger,
        note: Option<&str>,
        at: Moment,
    ) -> anyhow::Result<Measures> {
        let mut out = Measures { ready: true, defined: definitions.slos.clone(), ..Measures::default() };
        out.expand(book);
        out.grow(book);
        let mut count = 0u32;
        ledger.history(&mut |h| {
            let Some(row) = book.row(h.control, h.scope) else { return };
            out.one(&Mark {
                row,
                at: h.at,
                counts: h.counts,
                resource_ms: h.resource_ms,
                fresh: h.fresh,
                evidence_ms: h.evidence_ms,
                deadlines: h.deadlines,
            });
            count += 1;
            if count.is_multiple_of(1 << 20) {
                out.forget(at);
            }
        })?;
        for m in 0..out.list.len() {
            let slo = &out.list[m].slo;
            if slo.composite.as_ref().is_some_and(|c| c.mode == CompositeMode::Joint) {
                out.list[m].joint = Some(Joint::build(slo, out.members(slo), book, ledger, at)?);
            }
        }
        out.forget(at);
        // Slices that were counted before are laid out again for the windows; what was counted stays counted.
        out.close(at);
        let notes: BTreeMap<String, SlicesNote> = note.and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
        for t in &mut out.list {
            let threshold = threshold(&t.slo);
            let Some(s) = &mut t.slices else { continue };
            let note = notes.get(&t.slo.id()).filter(|n| n.length == s.length.0 && (n.threshold - threshold).abs() < 1e-12);
            if let Some(note) = note {
                let counted_since = s.closed.over(end_of(note.next, s.length), at);
                s.totals = std::array::from_fn(|i| note.totals[i] + u64::try_from(counted_since[i]).unwrap_or(0));
            }
        }
        Ok(out)
    }

    /// The objectives below a composite that are none themselves.
    fn members(&self, slo: &Slo) -> Vec<Slo> {
        let mut out = Vec::new();
        let mut ask: Vec<(&Slo, u8)> = vec![(slo, 8)];
        while let Some((slo, depth)) = ask.pop() {
            match &slo.composite {
                None => out.push(slo.clone()),
                Some(c) if depth > 0 => {
                    let found = c.members.iter().filter_map(|m| self.in_force.get(&m.slo));
                    ask.extend(found.map(|m| (&self.list[*m].slo, depth - 1)));
                }
                Some(_) => {}
            }
        }
        out
    }

    /// What the ledger has to keep of the slices.
    pub(crate) fn note(&self) -> Option<(String, String)> {
        let mut notes = BTreeMap::new();
        for t in &self.list {
            let threshold = threshold(&t.slo);
            if let Some(s) = &t.slices {
                notes.insert(t.slo.id(), SlicesNote { length: s.length.0, threshold, next: s.next, totals: s.totals });
            }
        }
        (!notes.is_empty()).then(|| ("slices".to_owned(), serde_json::to_string(&notes).unwrap_or_default()))
    }

    /// Puts in force what the scopes known by now make of the definitions.
    fn expand(&mut self, book: &Book) {
        let expanded = slo::expand(&self.defined, self.scopes.iter().map(String::as_str));
        for (id, scope) in &expanded.clashes {
            tracing::warn!(slo = %id, %scope, "SLO {id} for scope {scope} is left out: another SLO bears that id");
        }
        for slo in expanded.slos {
            match self.in_force.get(&slo.id()) {
                // A composite may have got more members.
                Some(&m) => self.list[m].slo = slo,
                None => self.add(slo, book),
            }
        }
    }

    fn add(&mut self, slo: Slo, book: &Book) {
        self.in_force.insert(slo.id(), self.list.len());
        let rules = book.rules();
        let covers: Vec<bool> = (0..book.controls().len() as u32)
            .map(|c| slo.composite.is_none() && book.control_rule(c).is_some_and(|rule| slo.controls.covers(&rules.controls[rule])))
            .collect();
        let feeds = |c: usize| covers.iter().zip(0u32..).any(|(yes, b)| *yes && book.control_rule(b).is_some_and(|r| rules.reads(r, c)));
        let scan_interval = rules.collectors.iter().enumerate().filter(|(i, _)| feeds(*i)).map(|(_, c)| c.every).max().unwrap_or(Span::DAY);
        let length = match (slo.sli, &slo.composite) {
            (Sli::TimeSlice { slice, .. }, None) => Some(slice),
            // As long as those of its members, which `check` wants to be of one length.
            (_, Some(c)) if c.mode == CompositeMode::AnySlice => c.members.iter().find_map(|m| {
                let known = self.in_force.get(&m.slo).map(|m| &self.list[*m].slo);
                match known.or_else(|| self.defined.iter().find(|s| s.id() == m.slo))?.sli {
                    Sli::TimeSlice { slice, .. } => Some(slice),
                    _ => None,
                }
            }),
            _ => None,
        };
        let slices = length.filter(|l| l.0 > 0).map(|length| Slices { length, next: i64::MIN, closed: Arc::default(), totals: [0; 3] });
        let parts = if slo.composite.is_some() || slo.weights == Weights::Controls { Vec::new() } else { vec![Arc::default()] };
        self.list.push(Tracked { slo, parts, part_of_control: HashMap::new(), covers, scan_interval, slices, joint: None });
    }

    /// Takes in rows, and with them scopes, that are new to it.
    fn grow(&mut self, book: &Book) {
        let rules = book.rules();
        let known = self.of_row.len();
        if known == book.rows().len() {
            return;
        }
        let before = self.list.len();
        let scopes = self.scopes.len();
        self.scopes.extend(book.rows()[known..].iter().map(|slot| book.scopes().get(slot.shown).to_owned()));
        if self.scopes.len() > scopes && self.defined.iter().any(|s| s.for_each_scope) {
            self.expand(book);
        }
        let whole = self.list.len() > before;
        let first = if whole { 0 } else { known };
        self.of_row.resize_with(book.rows().len(), Vec::new);
        self.known.resize(book.rows().len(), None);
        for (i, slot) in book.rows().iter().enumerate().skip(first) {
            if slot.row as usize != i {
                continue;
            }
            let Some(rule) = book.control_rule(slot.control) else { continue };
            let control = &rules.controls[rule];
            let scope = book.scopes().get(slot.shown);
            // Rows that were there before keep what they have; only objectives that are new are laid over them.
            let from = if i < known { before } else { 0 };
            for (m, t) in self.list.iter_mut().enumerate().skip(from) {
                let counts_states = matches!(t.slo.sli, Sli::ResourceTime | Sli::TimeSlice { .. } | Sli::Coverage);
                if !t.covers.get(slot.control as usize).is_some_and(|c| *c)
                    || !t.slo.covers_scope(scope)
                    || (counts_states && !rules.has_ratio(rule))
                {
                    continue;
                }
                let part = if t.slo.weights == Weights::Controls {
                    let parts = &mut t.parts;
                    *t.part_of_control.entry(slot.control).or_insert_with(|| {
                        parts.push(Arc::default());
                        parts.len() as u32 - 1
                    })
                } else {
                    0
                };
                self.of_row[i].push((m as u32, part, Measure::weight(&t.slo, control.severity)));
            }
        }
    }

    /// Carries the timelines on with what the account marked, sorted by instant, and closes slices up to `at`.
    pub(crate) fn carry(&mut self, book: &Book, marks: &[Mark], transitions: &[PairTransition], at: Moment) {
        if !self.ready {
            return;
        }
        self.grow(book);
        for mark in marks {
            self.one(mark);
        }
        for t in &mut self.list {
            if let Some(joint) = &mut t.joint {
                joint.carry(book, transitions);
            }
        }
        self.close(at);
        self.forget(at);
    }

    /// Counts the slices that are over at `at`: of objectives first, then of composites that are made from theirs.
    fn close(&mut self, at: Moment) {
        for t in &mut self.list {
            if let (Some(s), None) = (&mut t.slices, &t.slo.composite) {
                s.close(&t.slo, &t.parts, at);
            }
        }
        for m in 0..self.list.len() {
            let Some(composite) = self.list[m].slo.composite.as_ref().filter(|c| c.mode == CompositeMode::AnySlice) else { continue };
            let members: Vec<Arc<Timeline>> = composite
                .members
                .iter()
                .filter_map(|member| self.in_force.get(&member.slo))
                .filter_map(|m| self.list[*m].slices.as_ref().map(|s| s.closed.clone()))
                .collect();
            let missing_is_bad = composite.missing_is_bad;
            if let Some(s) = &mut self.list[m].slices {
                s.combine(&members, missing_is_bad, at);
            }
        }
    }

    fn one(&mut self, mark: &Mark) {
        let i = mark.row as usize;
        let Some(known) = self.known.get_mut(i) else { return };
        let before = known.replace(*mark);
        for &(m, part, weight) in &self.of_row[i] {
            let t = &mut self.list[m as usize];
            let (change, events) = difference(t.slo.sli, before.as_ref(), mark, weight);
            Arc::make_mut(&mut t.parts[part as usize]).change(mark.at, change, events);
        }
    }

    fn forget(&mut self, at: Moment) {
        for t in &mut self.list {
            let keep = at - kept(&t.slo);
            let joint = t.joint.iter_mut().flat_map(|j| j.parts.iter_mut());
            for part in t.parts.iter_mut().chain(joint).chain(t.slices.iter_mut().map(|s| &mut s.closed)) {
                // Worth a copy only when there is something to gain.
                if part.len() > 2048 && part.start().is_some_and(|s| s < keep) {
                    Arc::make_mut(part).forget_before(keep);
                }
            }
        }
    }

    /// The objectives for a snapshot at `at`, complete up to `horizon`: `changes` are those that time alone brings,
    /// by place in the account, as are `rows`.
    pub(crate) fn views(&self, book: &Book, account: &Account, controls: &[ControlView]) -> Vec<SloView> {
        let (rows, changes, at, horizon) = (&account.rows, account.changes(), account.at, account.horizon);
        // (instant, objective, part, change of rates, events)
        type Ahead = (Moment, u32, u32, [i64; 4], [u64; 4]);
        let mut ahead: Vec<Ahead> = Vec::new();
        for c in &changes {
            for &(m, part, weight) in self.of_row.get(c.row as usize).into_iter().flatten() {
                let sli = self.list[m as usize].slo.sli;
                let (mut change, mut events) = ([0i64; 4], [0u64; 4]);
                match (c.what, sli) {
                    (ChangeKind::Move { from, to, weight: n }, Sli::ResourceTime | Sli::TimeSlice { .. } | Sli::Coverage) => {
                        let n = i64::from(n).saturating_mul(weight.cast_signed());
                        if let Some(s) = from {
                            change[s as usize] -= n;
                        }
                        if let Some(s) = to {
                            change[s as usize] += n;
                        }
                    }
                    (ChangeKind::Deadline(_), Sli::RemediationLatency) => events[BAD] = 1,
                    _ => continue,
                }
                ahead.push((c.at, m, part, change, events));
            }
        }
        for (i, row) in rows.iter().enumerate() {
            let Some(until) = row.fresh_until.filter(|u| at < *u && *u <= horizon) else { continue };
            for &(m, part, _) in self.of_row.get(i).into_iter().flatten() {
                if self.list[m as usize].slo.sli == Sli::EvidenceFreshness {
                    ahead.push((until, m, part, [-1, 1, 0, 0], [0; 4]));
                }
            }
        }
        ahead.sort_by_key(|a| (a.1, a.0));
        let mut steps = self.steps(rows, &account.survey.coming, at);
        // Views are by id, the book by number.
        let view_of: HashMap<&str, u32> = controls.iter().zip(0u32..).map(|(c, i)| (c.id.as_str(), i)).collect();
        let view_of: Vec<Option<u32>> = book.controls().iter().map(|(_, name)| view_of.get(name).copied()).collect();
        let mut rest = &ahead[..];
        let mut out = Vec::with_capacity(self.list.len());
        for (m, t) in (0u32..).zip(&self.list) {
            let n = rest.partition_point(|a| a.1 == m);
            let (mine, others) = rest.split_at(n);
            rest = others;
            let mut parts = t.joint.as_ref().map_or_else(|| t.parts.clone(), |j| j.ahead(account.ahead()));
            for (at, _, part, change, events) in mine {
                Arc::make_mut(&mut parts[*part as usize]).change(*at, *change, *events);
            }
            let (mut slices, mut slices_total) = (None, [0; 3]);
            if let Some(s) = &t.slices {
                slices_total = s.totals;
                let mut s = Slices { length: s.length, next: s.next, closed: s.closed.clone(), totals: s.totals };
                if t.slo.composite.is_none() {
                    s.close(&t.slo, &parts, horizon);
                }
                slices = Some(s.closed);
            }
            let mut controls: Vec<u32> = t.covers.iter().zip(&view_of).filter(|(covers, _)| **covers).filter_map(|(_, v)| *v).collect();
            controls.sort_unstable();
            out.push(SloView {
                slo: t.slo.clone(),
                controls,
                joint_scopes: t.joint.iter().flat_map(|j| j.scopes()).map(|s| book.scopes().get(*s).to_owned()).collect(),
                measure: Measure { slo: t.slo.clone(), parts, slices },
                slices_total,
                steps: steps.remove(&m).unwrap_or_default(),
                scan_interval: t.slo.scan_interval.unwrap_or(t.scan_interval),
            });
        }
        out
    }

    /// By objective, what is known to come, as steps of its rate of bad amounts.
    fn steps(&self, rows: &[Row], coming: &[Coming], at: Moment) -> HashMap<u32, Vec<Step>> {
        let mut out: HashMap<u32, Vec<Step>> = HashMap::new();
        let mut add = |m: u32, at: Moment, bad: u64| {
            let steps = out.entry(m).or_default();
            match steps.last_mut() {
                Some(step) if step.at == at => step.bad = step.bad.saturating_add_unsigned(bad),
                _ => steps.push(Step { at, bad: i64::try_from(bad).unwrap_or(i64::MAX) }),
            }
        };
        for c in coming {
            for &(m, _, weight) in self.of_row.get(c.row as usize).into_iter().flatten() {
                let slo = &self.list[m as usize].slo;
                let becomes_bad = match (c.what, slo.sli) {
                    (ComingKind::WaiverEnds, Sli::ResourceTime) => slo.waived != Policy::Bad,
                    (ComingKind::EvidenceRunsOut, Sli::ResourceTime) => slo.unknown == Policy::Bad,
                    (ComingKind::EvidenceRunsOut, Sli::Coverage) => true,
                    _ => false,
                };
                if becomes_bad {
                    add(m, c.at, c.weight.saturating_mul(weight));
                }
            }
        }
        for (i, row) in rows.iter().enumerate() {
            // Two thirds of max_age are two missed runs, unless somebody said otherwise.
            let (Some(seen), Some(until)) = (row.newest_evidence, row.fresh_until) else { continue };
            if at < until && until.since(seen).0 * 2 / 3 < at.since(seen).0 {
                for &(m, _, _) in self.of_row.get(i).into_iter().flatten() {
                    if self.list[m as usize].slo.sli == Sli::EvidenceFreshness {
                        add(m, until, 1);
                    }
                }
            }
        }
        out.values_mut().for_each(|steps| steps.sort_by_key(|s| s.at));
        out
    }
}

/// How far back an objective's windows reach.
fn kept(slo: &Slo) -> Span {
    // The one before the present one too, so that a report can compare.
    let calendar = match slo.calendar {
        None => Span(0),
        Some(Calendar::Day) => Span::DAY.times(2),
        Some(Calendar::Week) => Span::DAY.times(14),
        Some(Calendar::Month) => Span::DAY.times(62),
        Some(Calendar::Quarter) => Span::DAY.times(184),
        Some(Calendar::Year) => Span::DAY.times(732),
    };
    slo.period.max(LEAST_KEPT).max(calendar)
}

/// What a mark changes in the lanes of an SLI.
fn difference(sli: Sli, before: Option<&Mark>, now: &Mark, weight: u64) -> ([i64; 4], [u64; 4]) {
    let (mut change, mut events) = ([0i64; 4], [0u64; 4]);
    match sli {
        Sli::ResourceTime | Sli::TimeSlice { .. } | Sli::Coverage => {
            let held = before.map_or([0; 4], |b| b.counts);
            for (i, c) in change.iter_mut().enumerate() {
                *c = (now.counts[i].cast_signed() - held[i].cast_signed()).saturating_mul(weight.cast_signed());
            }
        }
        Sli::EvidenceFreshness => {
            if let Some(b) = before {
                change[if b.fresh { FRESH } else { STALE }] -= 1;
            }
            change[if now.fresh { FRESH } else { STALE }] += 1;
        }
        Sli::RemediationLatency => {
            let held = before.map_or([0; 2], |b| b.deadlines);
            events[GOOD] = now.deadlines[0].saturating_sub(held[0]);
            events[BAD] = now.deadlines[1].saturating_sub(held[1]);
        }
        Sli::Gate { .. } => {}
    }
    (change, events)
}

fn end_of(next: i64, length: Span) -> Moment {
    Moment(next.saturating_mul(length.0.cast_signed()))
}

fn threshold(slo: &Slo) -> f64 {
    match slo.sli {
        Sli::TimeSlice { threshold, .. } => threshold,
        _ => 0.0,
    }
}

impl Slices {
    /// Counts the slices of a composite that are over at `at`: bad if any member's is, unknown if all are.
    fn combine(&mut self, members: &[Arc<Timeline>], missing_is_bad: bool, at: Moment) {
        let Some(start) = members.iter().filter_map(|m| m.start()).min() else { return };
        let length = self.length.0.cast_signed();
        // A member's first event stands at the end of its first slice.
        self.next = self.next.max(start.0.div_euclid(length) - 1).max(at.0.div_euclid(length) - MAX_SLICES);
        while self.next < at.0.div_euclid(length) {
            let (from, to) = (end_of(self.next, self.length), end_of(self.next + 1, self.length));
            let lanes: Vec<_> = members.iter().map(|m| m.over(from, to)).collect();
            let any = |lane: usize| lanes.iter().any(|l| l[lane] > 0);
            let silent = lanes.iter().any(|l| l[GOOD] == 0 && l[BAD] == 0);
            let outcome = if any(BAD) || (missing_is_bad && silent && any(GOOD)) {
                BAD
            } else if any(GOOD) {
                GOOD
            } else {
                UNKNOWN
            };
            let mut events = [0u64; 4];
            events[outcome] = 1;
            Arc::make_mut(&mut self.closed).change(to, [0; 4], events);
            self.totals[outcome] += 1;
            self.next += 1;
        }
    }

    /// Counts the slices that are over at `at`, each once, at its end.
    fn close(&mut self, slo: &Slo, parts: &[Arc<Timeline>], at: Moment) {
        let Some(start) = parts.iter().filter_map(|p| p.start()).min() else { return };
        let length = self.length.0.cast_signed();
        // The first whole slice after the beginning.
        let first = start.0.div_euclid(length) + i64::from(start.0.rem_euclid(length) != 0);
        let over = at.0.div_euclid(length);
        self.next = self.next.max(first).max(over - MAX_SLICES);
        while self.next < over {
            let (from, to) = (Moment(self.next * length), end_of(self.next + 1, self.length));
            let mut lanes = [0u128; 4];
            for p in parts {
                for (sum, n) in lanes.iter_mut().zip(p.over(from, to)) {
                    *sum += n;
                }
            }
            let outcome = slo.slice_outcome(&lanes);
            let mut events = [0u64; 4];
            events[outcome] = 1;
            debug_assert!(outcome <= UNKNOWN);
            Arc::make_mut(&mut self.closed).change(to, [0; 4], events);
            self.totals[outcome] += 1;
            self.next += 1;
        }
    }
}
