//! What every source last said about every resource: the live state, a few bytes a pair.
//!
//! The book is changed only inside a run ([`Book::begin`], [`Book::observe`], [`Book::end`]) and by
//! [`Book::reconfigure`]; both report every pair whose state differs afterwards. Nothing here asks the time.

use super::arena::{Names, reserve_step};
use super::entry::{Entry, Verdict};
use super::judge::{self, BindingTerms, CleanSources, Voice};
use super::rules::{Candidate, Rules};
use crate::domain::{Cause, CheckResult, Combine, Finding, Lifecycle, Moment, Problem, ProblemKind, ScopeTemplate, Span, State};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::fmt::Write as _;
use std::hash::BuildHasher;

type Map<K, V> = HashMap<K, V, FixedState>;

/// The scope into which surplus (control, scope) pairs are folded.
pub const OTHER_SCOPE: &str = "__other__";
/// The longest resource id, in bytes.
pub const MAX_RESOURCE_ID: usize = 4096;
/// Evidence may be this far in the future (clocks differ) before its time is refused.
pub const CLOCK_SKEW: Span = Span(5 * 60_000);

/// The live state.
#[derive(Debug, Default)]
pub struct Book {
    rules: Rules,
    series_limit: usize,
    controls: Names,
    /// Book control → index into the rules; `None`: retired.
    control_rule: Vec<Option<u32>>,
    collectors: Names,
    /// Book collector → index into the rules; `None`: no longer configured.
    collector_rule: Vec<Option<u32>>,
    scopes: Names,
    scope_parts: Vec<Vec<(String, String)>>,
    checks: Names,
    kinds: Names,
    bindings: Vec<BindingSlot>,
    binding_index: Map<(u32, u32, u32, bool), u32>,
    resources: Resources,
    weights: Map<(u32, u32), u32>,
    pending: Map<(u32, u32), Pending>,
    rows: Vec<RowSlot>,
    /// `row_of[scope][control]` is a row + 1.
    row_of: Vec<Vec<u32>>,
    folded: u64,
    /// Rows that are shown apart.
    apart: usize,
    /// For building scope labels without allocating.
    scratch: String,
    fresh: FreshNames,
    run: Option<RunState>,
}

/// A check of a collector as evidence for a control.
#[derive(Clone, Copy, Debug)]
pub struct BindingSlot {
    /// Book control.
    pub control: u32,
    /// Book collector.
    pub collector: u32,
    /// Check.
    pub check: u32,
    /// Only says that the resource is in the population.
    pub population: bool,
    /// For judging; absent when control or collector are no longer in force.
    pub terms: Option<BindingTerms>,
    /// Evidence time of the last complete run in which the check is known to have run.
    pub ran_at: Option<Moment>,
    /// Whether any of its observations stands for a number.
    weighted: bool,
}

/// A (control, scope) as registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSlot {
    /// Book control.
    pub control: u32,
    /// Scope as found.
    pub scope: u32,
    /// Scope as shown: itself, or that of [`OTHER_SCOPE`].
    pub shown: u32,
    /// Index of the row that shows it: itself, or the `__other__` row of the control.
    pub row: u32,
}

/// Names given since the ledger last took them.
#[derive(Debug, Default)]
pub struct FreshNames {
    /// First new control, scope, collector, check, binding and row.
    pub controls: usize,
    /// See `controls`.
    pub scopes: usize,
    /// See `controls`.
    pub collectors: usize,
    /// See `controls`.
    pub checks: usize,
    /// See `controls`.
    pub bindings: usize,
    /// See `controls`.
    pub rows: usize,
    /// Slots whose observations changed.
    pub slots: Vec<u32>,
    /// Ledger ids of resources that are gone.
    pub gone: Vec<u32>,
    /// Weights that changed: (ledger resource, binding, weight).
    pub weights: Vec<(u32, u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    verdict: Verdict,
    times: u8,
    seen: Moment,
}

#[derive(Debug)]
struct RunState {
    collector: u32,
    at: Moment,
    several_documents: bool,
    /// It speaks only for the scopes that it names: whoever pushes has looked at what they push about, and no further.
    narrow: bool,
    candidates: Map<Box<str>, Vec<Candidate>>,
    seen_slots: BitSet,
    seen_scopes: BitSet,
    touched_bindings: BitSet,
    accepted: Vec<(u32, u32)>,
    dirty: Vec<Dirty>,
    moved: Vec<Change>,
    stats: RunStats,
    newest: Option<Moment>,
}

/// What a run brought, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Findings by result (index as in [`CheckResult::ALL`]).
    pub findings: [u64; 6],
    /// Findings that no control asks for.
    pub unmapped: u64,
    /// Findings that could not be placed in a scope.
    pub unplaced: u64,
    /// Problems met while observing, bounded.
    pub problems: Vec<Problem>,
    /// Further problems, counted by kind only.
    pub more_problems: u64,
    /// The newest evidence time accepted.
    pub newest: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dirty {
    slot: u32,
    control: u32,
    order: u32,
    old: Option<State>,
}

/// A pair whose state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the resource stands in the book. Valid until the next run begins.
    pub slot: u32,
    /// Ledger id of the resource.
    pub resource: u32,
    /// Book control.
    pub control: u32,
    /// Scope as found.
    pub scope: u32,
    /// Before.
    pub from: Option<State>,
    /// After.
    pub to: Option<State>,
    /// Why.
    pub cause: Cause,
    /// Evidence time of the newest observation of the pair, if any is left.
    pub evidence_at: Option<Moment>,
    /// How many resources it stands for.
    pub weight: u32,
}

/// An observation, spelled out.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Who said it.
    pub collector: &'a str,
    /// By which check.
    pub check: &'a str,
    /// What: `pass`, `fail`, `manual`, `not_applicable`, `in_population`, or `none` if it was only seen.
    pub verdict: &'static str,
    /// Whether the source suppresses it.
    pub suppressed: bool,
    /// Evidence time.
    pub at: Moment,
    /// When it runs out.
    pub expires: Moment,
}

/// A finding with what surrounds it.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The finding.
    pub finding: &'a Finding<'a>,
    /// Fields of document and collector; they fill in for fields that the finding lacks.
    pub fields: &'a [(String, String)],
    /// Evidence time of findings that have none of their own.
    pub default_time: Moment,
    /// Where the scope label comes from.
    pub scope: &'a ScopeTemplate,
    /// The document's name, for problems.
    pub source: &'a str,
}

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is evidence for at least one control.
    Evidence,
    /// No control asks for it.
    Unmapped,
    /// It must not be used as evidence (inactive, invalid), or only marks that a check ran.
    Aside,
    /// It could not be used: a problem was noted.
    Refused,
}

impl Book {
    /// An empty book under `rules`.
    pub fn new(rules: Rules, series_limit: usize) -> Book {
        let mut book = Book { series_limit, ..Book::default() };
        book.install(rules);
        book
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Opens a run of `collector`; what it changes is compared with the states as of `at`.
    /// With `several_documents`, [`Book::next_document`] is called between them.
    pub fn begin(&mut self, collector: &str, at: Moment, several_documents: bool) {
        let collector = self.intern_collector(collector);
        self.run = Some(RunState {
            collector,
            at,
            several_documents,
            narrow: false,
            candidates: Map::default(),
            seen_slots: BitSet::default(),
            seen_scopes: BitSet::default(),
            touched_bindings: BitSet::default(),
            accepted: Vec::new(),
            dirty: Vec::new(),
            moved: Vec::new(),
            stats: RunStats::default(),
            newest: None,
        });
    }

    /// The open run was handed in by somebody who speaks for the scopes that it names and for no other: those of its
    /// findings, and the one that `fields` alone fill `scope` with.
    pub fn speaks_only_for_what_it_names(&mut self, scope: &ScopeTemplate, fields: &[(String, String)]) {
        let mut label = String::new();
        let field = |name: &str| fields.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        let named = scope.fill_with(field, &mut label).then(|| self.scopes.find(&label)).flatten();
        let Some(run) = &mut self.run else { return };
        run.narrow = true;
        if let Some(scope) = named {
            run.seen_scopes.insert(scope);
        }
    }

    /// A further document of the run begins: what an earlier one said is from now on held, not merged with.
    pub fn next_document(&mut self) {
        let Some(run) = &mut self.run else { return };
        for (slot, binding) in std::mem::take(&mut run.accepted) {
            if let Some(entry) = self.resources.find_entry(slot, binding, &self.bindings) {
                *entry = entry.next_document();
            }
        }
    }

    /// Takes one finding of the run. Panics only if no run is open.
    pub fn observe(&mut self, observed: Observed<'_>) -> Seen {
        let mut run = self.run.take().expect("a run is open: begin was called");
        let seen = self.observe_in(&mut run, &observed);
        self.run = Some(run);
        seen
    }

    /// Closes the run at `at` and tells which pairs changed state, in a stable order. Only a `complete` run may say
    /// that something is gone (law 6), and then only of resources that it did not mention at all, in scopes that it
    /// did mention, by checks that it did run: whatever else is missing keeps its evidence, which ages.
    ///
    /// `cause` tells for a book control why its pairs changed, where they are neither new nor gone: `Resource`, or
    /// `Scanner` or `Control` if one of these is not what it was. `overrides` gives the state that a (slot, control)
    /// got by time alone since the run began.
    pub fn end(
        &mut self,
        complete: bool,
        at: Moment,
        cause: &dyn Fn(u32) -> Cause,
        overrides: &dyn Fn(u32, u32) -> Option<Option<State>>,
    ) -> (Vec<Change>, RunStats) {
        let Some(mut run) = self.run.take() else { return (Vec::new(), RunStats::default()) };
        if complete {
            self.expect_members(&mut run);
            run.at = at;
            self.sweep(&mut run);
            self.note_what_ran(&run);
        }
        let mut changes = std::mem::take(&mut run.moved);
        run.dirty.sort_unstable();
        let mut last = None;
        for d in &run.dirty {
            if last == Some((d.slot, d.control)) {
                continue;
            }
            last = Some((d.slot, d.control));
            let old = overrides(d.slot, d.control).unwrap_or(d.old);
            self.push_change(&mut changes, d.slot, d.control, old, at, cause(d.control));
        }
        self.resources.rest();
        self.drop_empty(&mut changes);
        run.stats.newest = run.newest;
        (changes, run.stats)
    }

    fn observe_in(&mut self, run: &mut RunState, o: &Observed<'_>) -> Seen {
        let f = o.finding;
        run.stats.findings[f.result as usize] += f.count;
        if f.lifecycle == Lifecycle::Inactive || f.fields.get("invalid").is_some() {
            return Seen::Aside;
        }
        let rule = self.collector_rule[run.collector as usize];
        let Some(rule) = rule else { return Seen::Unmapped };
        let candidates = match run.candidates.get(f.check.as_ref()) {
            Some(c) => c.clone(),
            None => {
                let c = self.rules.candidates(rule as usize, &f.check);
                // A scanner has thousands of checks, not millions: past that, ids are made up and not worth keeping.
                if run.candidates.len() < 100_000 {
                    run.candidates.insert(f.check.as_ref().into(), c.clone());
                }
                c
            }
        };
        let admitted: Vec<Candidate> =
            candidates.iter().copied().filter(|c| self.rules.admits(*c, f.resource.kind.as_deref(), f.raw)).collect();
        if f.count == 0 && !f.is_mark() {
            // A number that happens to be zero: nobody and nothing.
            return Seen::Aside;
        }
        if f.is_mark() {
            // A mark: the check ran, whatever it found or did not find.
            for c in &admitted {
                if let Some(b) = self.binding(run.collector, *c, &f.check) {
                    run.touched_bindings.insert(b);
                }
            }
            run.newest = run.newest.max(Some(f.observed_at.unwrap_or(o.default_time).min(run.at)));
            return Seen::Aside;
        }
        let name = resource_name(o);
        if admitted.is_empty() {
            run.stats.unmapped += f.count;
            if let Some(slot) = self.resources.find(&name) {
                run.seen_slots.insert(slot);
                run.seen_scopes.insert(self.resources.slots[slot as usize].scope);
            }
            return Seen::Unmapped;
        }
        if name.is_empty() || name.len() > MAX_RESOURCE_ID {
            let what = if name.is_empty() {
                "no resource id".to_owned()
            } else {
                format!("a resource id of {} bytes (at most {MAX_RESOURCE_ID})", name.len())
            };
            run.stats.problem(ProblemKind::Incomplete, o.source, format!("a finding of check {} has {what}", f.check));
            return Seen::Refused;
        }
        let time = self.evidence_time(run, o);
        let Some(slot) = self.slot(run, o, &name) else {
            run.stats.problem(ProblemKind::Limit, o.source, "no room for another resource: more than 4 GiB of resource ids".to_owned());
            return Seen::Refused;
        };
        run.seen_slots.insert(slot);
        run.seen_scopes.insert(self.resources.slots[slot as usize].scope);
        for c in admitted {
            let Some(binding) = self.binding(run.collector, c, &f.check) else {
                run.stats.problem(ProblemKind::Limit, o.source, format!("more than {} (control, check) bindings", Entry::MAX_BINDING));
                return Seen::Refused;
            };
            run.touched_bindings.insert(binding);
            self.update(run, slot, binding, f, time);
            if f.aggregate || f.count != 1 {
                self.weigh(run, slot, binding, f.count);
            }
        }
        Seen::Evidence
    }

    /// Evidence time: the finding's own, else the document's; never in the future, which would keep it fresh for ever.
    fn evidence_time(&self, run: &mut RunState, o: &Observed<'_>) -> Moment {
        let time = match o.finding.observed_at {
            Some(t) if t > run.at + CLOCK_SKEW => {
                run.stats.problem(
                    ProblemKind::Time,
                    o.source,
                    format!("observed_at {t} lies in the future; the document's own time is used"),
                );
                o.default_time
            }
            Some(t) => t,
            None => o.default_time,
        }
        .min(run.at);
        run.newest = run.newest.max(Some(time));
        time
    }

    /// The slot of the resource, made if need be, moved if its scope changed.
    fn slot(&mut self, run: &mut RunState, o: &Observed<'_>, name: &str) -> Option<u32> {
        let field = |n: &str| field_of(o, n);
        let mut label = std::mem::take(&mut self.scratch);
        let placed = o.scope.fill_with(field, &mut label);
        if !placed {
            label.push_str(ScopeTemplate::UNPLACED);
        }
        let scope = match self.scopes.find(&label) {
            Some(s) => s,
            None => {
                let parts = o.scope.fields().filter_map(|n| field_of(o, n).map(|v| (n.to_owned(), v.to_owned()))).collect();
                let (id, _) = self.scopes.intern(&label)?;
                self.scope_parts.push(parts);
                self.row_of.push(Vec::new());
                id
            }
        };
        if !placed {
            run.stats.unplaced += 1;
        }
        self.scratch = label;
        let kind = o.finding.resource.kind.as_deref().unwrap_or_default();
        match self.resources.find(name) {
            Some(slot) => {
                let held = self.resources.slots[slot as usize].scope;
                // A source that cannot place the resource does not move it.
                if held != scope && placed {
                    self.move_slot(run, slot, scope);
                }
                Some(slot)
            }
            None => {
                // At most 65 535 resource types; whatever comes after is held without one.
                let kind = self.kinds.intern(kind).and_then(|(k, _)| u16::try_from(k).ok()).unwrap_or(0);
                self.resources.insert(name, kind, scope, run.at)
            }
        }
    }

    /// Another scope owns the resource from now on: all its pairs leave the one and enter the other.
    fn move_slot(&mut self, run: &mut RunState, slot: u32, scope: u32) {
        for (control, _) in self.pairs_of(slot) {
            let old = self.state_of(slot, control, run.at);
            let weight = self.pair_weight(slot, control);
            if old.is_some() {
                run.moved.push(Change {
                    slot,
                    resource: self.resources.slots[slot as usize].id,
                    control,
                    scope: self.resources.slots[slot as usize].scope,
                    from: old,
                    to: None,
                    cause: Cause::Mapping,
                    evidence_at: None,
                    weight,
                });
            }
            run.dirty.push(Dirty { slot, control, order: 0, old: None });
        }
        self.resources.slots[slot as usize].scope = scope;
        for (control, _) in self.pairs_of(slot) {
            self.register(control, scope);
        }
        self.fresh.slots.push(slot);
    }

    fn update(&mut self, run: &mut RunState, slot: u32, binding: u32, f: &Finding<'_>, time: Moment) {
        let BindingSlot { control, population, terms, .. } = self.bindings[binding as usize];
        let suppressed = f.lifecycle == Lifecycle::Suppressed;
        let verdict = if population {
            // Whoever counts resources may know of one that another number already stands for.
            Some(if f.result == CheckResult::NotApplicable { Verdict::NotApplicable } else { Verdict::Member })
        } else {
            match f.result {
                CheckResult::Pass => Some(Verdict::Pass),
                CheckResult::Fail => Some(Verdict::Fail),
                CheckResult::Manual => Some(Verdict::Manual),
                CheckResult::NotApplicable => Some(Verdict::NotApplicable),
                // The scanner could not look: what is held stays, and ages.
                CheckResult::Error | CheckResult::NotAssessed => None,
            }
        };
        let held = self.resources.find_entry(slot, binding, &self.bindings).map(|e| *e);
        let Some(terms) = terms else { return };
        let rule = self.control_rule[control as usize].map(|r| &self.rules.controls[r as usize]);
        let (how, confirmations) = rule.map_or((Combine::Worst, 1), |c| (c.combine, c.confirmations));
        let new = match (held, verdict) {
            (None, None) => Entry::new(binding, Verdict::None, false, run.at).marked(false),
            (Some(e), None) => e.marked(false),
            (None, Some(v)) => Entry::new(binding, v, suppressed, time).marked(true),
            (Some(e), Some(v)) if e.accepted() => worse(e, Entry::new(binding, v, suppressed, time).marked(true)),
            (Some(e), Some(_)) if e.verdict() != Verdict::None && time < e.seen() => e.marked(false),
            (Some(e), Some(v)) => {
                if confirmations > 1 && flips(e.verdict(), v) && !self.confirmed(slot, binding, v, time, confirmations) {
                    // The evidence is fresh, the change is not yet believed.
                    Entry::new(binding, e.verdict(), e.suppressed(), time).marked(true)
                } else {
                    if confirmations > 1 {
                        self.pending.remove(&(slot, binding));
                    }
                    Entry::new(binding, v, suppressed, time).marked(true)
                }
            }
        };
        let clean = CleanSources::default();
        let material = match held {
            None => true,
            Some(e) => {
                how != Combine::Worst
                    || e.verdict() != new.verdict()
                    || e.suppressed() != new.suppressed()
                    || population
                    || judge::voice(e, &terms, clean, run.at) != judge::voice(new, &terms, clean, run.at)
            }
        };
        if material {
            let old = self.state_of(slot, control, run.at);
            run.dirty.push(Dirty { slot, control, order: u32::try_from(run.dirty.len()).unwrap_or(u32::MAX), old });
        }
        if held.map(Entry::at_rest) != Some(new.at_rest()) {
            // Written again only if something to remember changed.
            self.resources.mark_changed(slot, &mut self.fresh.slots);
        }
        if new.accepted() && run.several_documents {
            run.accepted.push((slot, binding));
        }
        match held {
            Some(_) => {
                if let Some(e) = self.resources.find_entry(slot, binding, &self.bindings) {
                    *e = new;
                }
            }
            None => {
                self.resources.add_entry(slot, new, &self.bindings);
                self.register(control, self.resources.slots[slot as usize].scope);
            }
        }
    }

    fn confirmed(&mut self, slot: u32, binding: u32, verdict: Verdict, time: Moment, needed: u8) -> bool {
        let p = self.pending.entry((slot, binding)).or_insert(Pending { verdict, times: 0, seen: Moment(i64::MIN) });
        if p.verdict != verdict {
            *p = Pending { verdict, times: 0, seen: Moment(i64::MIN) };
        }
        // The same evidence read twice is one observation.
        if time > p.seen {
            p.times = p.times.saturating_add(1);
            p.seen = time;
        }
        p.times >= needed
    }

    fn weigh(&mut self, run: &mut RunState, slot: u32, binding: u32, count: u64) {
        let weight = u32::try_from(count).unwrap_or(u32::MAX);
        let held = self.weights.insert((slot, binding), weight).unwrap_or(1);
        self.bindings[binding as usize].weighted = true;
        if held != weight {
            let control = self.bindings[binding as usize].control;
            let resource = self.resources.slots[slot as usize].id;
            self.fresh.weights.push((resource, binding, weight));
            // A pair that was there already leaves with its old weight and comes back with the new one.
            let first = run.dirty.iter().filter(|d| d.slot == slot && d.control == control).min_by_key(|d| d.order);
            let old = first.map_or_else(|| self.state_of(slot, control, run.at), |d| d.old);
            if old.is_some() {
                let scope = self.resources.slots[slot as usize].scope;
                run.moved.push(Change {
                    slot,
                    resource,
                    control,
                    scope,
                    from: old,
                    to: None,
                    cause: Cause::Resource,
                    evidence_at: None,
                    weight: held,
                });
                run.dirty.retain(|d| !(d.slot == slot && d.control == control));
                run.dirty.push(Dirty { slot, control, order: 0, old: None });
            }
        }
    }

    /// A complete run renews, or takes away, what silence means for the members of a population: every pair of such a
    /// control that reads this collector may change, whether or not the run mentioned it.
    fn expect_members(&self, run: &mut RunState) {
        let has_population = |c: u32| self.control_rule(c).is_some_and(|r| self.rules.controls[r].population.is_some());
        let mut concerned = vec![false; self.controls.len()];
        for b in self.bindings.iter().filter(|b| b.collector == run.collector && !b.population && has_population(b.control)) {
            concerned[b.control as usize] = true;
        }
        if !concerned.contains(&true) {
            return;
        }
        for slot in self.resources.live() {
            for (control, _) in self.pairs_of(slot) {
                if concerned[control as usize] {
                    let old = self.state_of(slot, control, run.at);
                    run.dirty.push(Dirty { slot, control, order: u32::try_from(run.dirty.len()).unwrap_or(u32::MAX), old });
                }
            }
        }
    }

    /// Notes for each of the collector's checks whether this complete run is known to have carried it out.
    fn note_what_ran(&mut self, run: &RunState) {
        // A check that ran in some scopes only has not run for those who are members of the control in others.
        let mut elsewhere = vec![false; self.controls.len()];
        for (slot, s) in self.resources.slots.iter().enumerate().filter(|_| run.narrow) {
            if !run.seen_scopes.contains(s.scope) {
                for e in self.resources.entries(slot as u32) {
                    elsewhere[self.bindings[e.binding() as usize].control as usize] = true;
                }
            }
        }
        for (i, b) in self.bindings.iter_mut().enumerate().filter(|(_, b)| b.collector == run.collector) {
            if run.touched_bindings.contains(i as u32) && !elsewhere[b.control as usize] {
                b.ran_at = b.ran_at.max(run.newest).or(Some(run.at));
            } else if !b.population {
                // Neither a violation nor a mark: it may not have run, and its silence says nothing.
                b.ran_at = None;
            }
        }
    }

    /// Removes what a complete run shows to be gone.
    fn sweep(&mut self, run: &mut RunState) {
        let violations_only =
            self.collector_rule[run.collector as usize].is_some_and(|r| self.rules.collectors[r as usize].violations_only);
        let (bindings, at) = (&self.bindings, run.at);
        let mut gone: Vec<(u32, u32)> = Vec::new();
        for (slot, s) in self.resources.slots.iter().enumerate() {
            let slot = slot as u32;
            for e in self.resources.entries(slot) {
                let b = &bindings[e.binding() as usize];
                if b.collector != run.collector || e.touched() {
                    continue;
                }
                // Of a source that lists only violations, silence about a resource means that it lists none. Whether
                // that makes it comply is for the population to say, and it asks whether the check ran at all.
                let fixed = violations_only && !b.population && (!run.narrow || run.seen_scopes.contains(s.scope));
                if !fixed && !run.touched_bindings.contains(e.binding()) {
                    continue;
                }
                if fixed || (!run.seen_slots.contains(slot) && run.seen_scopes.contains(s.scope)) {
                    gone.push((slot, e.binding()));
                }
            }
        }
        for (slot, binding) in gone {
            let control = self.bindings[binding as usize].control;
            let weight = self.pair_weight(slot, control);
            let alone = self.pair(slot, control).len() == 1;
            let old = self.state_of(slot, control, at);
            if weight != 1 && alone && !run.dirty.iter().any(|d| d.slot == slot && d.control == control) {
                let s = &self.resources.slots[slot as usize];
                let cause = Cause::DeletedResource;
                run.moved.push(Change {
                    slot,
                    resource: s.id,
                    control,
                    scope: s.scope,
                    from: old,
                    to: None,
                    cause,
                    evidence_at: None,
                    weight,
                });
            } else {
                // What was noted of the pair first is its state before the run.
                run.dirty.push(Dirty { slot, control, order: u32::try_from(run.dirty.len()).unwrap_or(u32::MAX), old });
            }
            self.resources.remove_entry(slot, binding, &self.bindings);
            self.resources.mark_changed(slot, &mut self.fresh.slots);
            if self.bindings[binding as usize].weighted && self.weights.remove(&(slot, binding)).is_some() {
                self.fresh.weights.push((self.resources.slots[slot as usize].id, binding, 0));
            }
            self.pending.remove(&(slot, binding));
        }
    }

    fn push_change(&self, changes: &mut Vec<Change>, slot: u32, control: u32, old: Option<State>, at: Moment, cause: Cause) {
        let new = self.state_of(slot, control, at);
        if old == new {
            return;
        }
        let s = &self.resources.slots[slot as usize];
        let entries = self.pair(slot, control);
        let cause = match (old, new) {
            (None, Some(_)) if self.resources.first_seen(slot) == at.0.div_euclid(1000) || s.born => Cause::NewResource,
            (Some(_), None) if entries.is_empty() => Cause::DeletedResource,
            (Some(State::Unknown), Some(_)) if cause == Cause::Resource => Cause::Freshness,
            _ => cause,
        };
        changes.push(Change {
            slot,
            resource: s.id,
            control,
            scope: s.scope,
            from: old,
            to: new,
            cause,
            evidence_at: entries.iter().map(|e| e.seen()).max(),
            weight: self.pair_weight(slot, control),
        });
    }

    /// Frees the slots that nothing speaks of any more.
    fn drop_empty(&mut self, changes: &mut [Change]) {
        let mut slots: Vec<u32> = changes.iter().filter(|c| c.to.is_none()).map(|c| c.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            if self.resources.entries(slot).is_empty() && self.resources.slots[slot as usize].live() {
                self.fresh.gone.push(self.resources.slots[slot as usize].id);
                self.resources.free_slot(slot);
            }
        }
    }

    /// The state of `control` on the resource in `slot` at `now`; `None`: outside the population.
    pub fn state_of(&self, slot: u32, control: u32, now: Moment) -> Option<State> {
        self.state_under(slot, control, now, &self.rules, &self.control_rule)
    }

    fn state_under(&self, slot: u32, control: u32, now: Moment, rules: &Rules, control_rule: &[Option<u32>]) -> Option<State> {
        let rule = control_rule.get(control as usize).copied().flatten()? as usize;
        let entries = self.pair(slot, control);
        let voice = judge::combine(rules.controls[rule].combine, entries, &|b| self.terms(b), self.clean_sources(control), now)?;
        self.state_from(voice, slot, rule, now, rules)
    }

    pub(crate) fn state_from(&self, voice: Voice, slot: u32, rule: usize, now: Moment, rules: &Rules) -> Option<State> {
        match voice {
            Voice::NotApplicable => None,
            Voice::Pass => Some(State::Compliant),
            Voice::Unknown => Some(State::Unknown),
            Voice::Suppressed => Some(State::Waived),
            Voice::Fail if rules.has_waivers(rule) => {
                let s = &self.resources.slots[slot as usize];
                match rules.waiver_at(rule, self.resources.name(slot), self.scopes.get(s.scope), now) {
                    Some(_) => Some(State::Waived),
                    None => Some(State::NonCompliant),
                }
            }
            Voice::Fail => Some(State::NonCompliant),
        }
    }

    pub(crate) fn terms(&self, binding: u32) -> BindingTerms {
        self.bindings[binding as usize].terms.unwrap_or(BindingTerms {
            max_age: Span(0),
            grace: Span(u64::MAX >> 1),
            trust_suppressions: false,
        })
    }

    /// Whether the violation sources of a control with a population are known to have run.
    pub(crate) fn clean_sources(&self, control: u32) -> CleanSources {
        let rule = self.control_rule[control as usize];
        if rule.is_none_or(|r| self.rules.controls[r as usize].population.is_none()) {
            return CleanSources::default();
        }
        let mut fresh_until: Option<Moment> = None;
        for b in self.bindings.iter().filter(|b| b.control == control && !b.population) {
            let Some(terms) = b.terms else { continue };
            let Some(ran) = b.ran_at else { return CleanSources::default() };
            let until = ran + terms.max_age;
            fresh_until = Some(fresh_until.map_or(until, |u| u.min(until)));
        }
        CleanSources { fresh_until }
    }

    /// The observations of one pair.
    pub(crate) fn pair(&self, slot: u32, control: u32) -> &[Entry] {
        let entries = self.resources.entries(slot);
        let of = |e: &Entry| self.bindings[e.binding() as usize].control;
        let from = entries.partition_point(|e| of(e) < control);
        let to = from + entries[from..].partition_point(|e| of(e) == control);
        &entries[from..to]
    }

    /// Tells the state of every pair at `at`: (ledger resource, control, scope as found, state).
    pub fn each_state(&self, at: Moment, tell: &mut dyn FnMut(u32, u32, u32, Option<State>)) {
        for slot in self.resources.live() {
            for (control, _) in self.pairs_of(slot) {
                tell(self.resources.id(slot), control, self.resources.scope(slot), self.state_of(slot, control, at));
            }
        }
    }

    fn pairs_of(&self, slot: u32) -> Vec<(u32, usize)> {
        let mut out: Vec<(u32, usize)> = Vec::new();
        for e in self.resources.entries(slot) {
            let control = self.bindings[e.binding() as usize].control;
            match out.last_mut() {
                Some((c, n)) if *c == control => *n += 1,
                _ => out.push((control, 1)),
            }
        }
        out
    }

    /// How many resources a pair stands for: 1, except for sources that give only numbers.
    pub fn pair_weight(&self, slot: u32, control: u32) -> u32 {
        if self.weights.is_empty() {
            return 1;
        }
        self.pair(slot, control)
            .iter()
            .filter(|e| self.bindings[e.binding() as usize].weighted)
            .filter_map(|e| self.weights.get(&(slot, e.binding())).copied())
            .max()
            .unwrap_or(1)
    }

    fn intern_collector(&mut self, name: &str) -> u32 {
        let (id, new) = self.collectors.intern(name).expect("collector names are few: they come from the configuration");
        if new {
            self.collector_rule.push(self.rules.collectors.iter().position(|c| c.name == name).map(|i| i as u32));
        }
        id
    }

    fn binding(&mut self, collector: u32, candidate: Candidate, check: &str) -> Option<u32> {
        let control = self.controls.find(&self.rules.controls[candidate.control as usize].id)?;
        let (check, _) = self.checks.intern(check)?;
        if let Some(&b) = self.binding_index.get(&(control, collector, check, candidate.population)) {
            return Some(b);
        }
        let id = u32::try_from(self.bindings.len()).ok().filter(|b| *b <= Entry::MAX_BINDING)?;
        let mut slot =
            BindingSlot { control, collector, check, population: candidate.population, terms: None, ran_at: None, weighted: false };
        slot.terms = self.terms_for(&slot);
        self.bindings.push(slot);
        self.binding_index.insert((control, collector, check, candidate.population), id);
        Some(id)
    }

    fn terms_for(&self, b: &BindingSlot) -> Option<BindingTerms> {
        let control = &self.rules.controls[self.control_rule[b.control as usize]? as usize];
        let collector = &self.rules.collectors[self.collector_rule[b.collector as usize]? as usize];
        Some(BindingTerms {
            max_age: control.max_age.unwrap_or(collector.max_age),
            grace: control.new_resource_grace.unwrap_or(collector.grace),
            trust_suppressions: collector.trust_suppressions,
        })
    }

    /// Registers (control, scope); past the limit it is folded into the control's `__other__`, for good.
    fn register(&mut self, control: u32, scope: u32) -> u32 {
        if let Some(row) = self.row(control, scope) {
            return row;
        }
        if self.apart < self.series_limit || self.scopes.get(scope) == OTHER_SCOPE {
            return self.push_row(control, scope, scope, None);
        }
        let other = match self.scopes.find(OTHER_SCOPE) {
            Some(s) => s,
            None => {
                let (id, _) = self.scopes.intern(OTHER_SCOPE).expect("a short name fits");
                self.scope_parts.push(Vec::new());
                self.row_of.push(Vec::new());
                id
            }
        };
        let shown = self.row(control, other).unwrap_or_else(|| self.push_row(control, other, other, None));
        self.folded += 1;
        self.push_row(control, scope, other, Some(shown))
    }

    fn push_row(&mut self, control: u32, scope: u32, shown: u32, row: Option<u32>) -> u32 {
        let index = self.rows.len() as u32;
        if row.is_none() && self.scopes.get(scope) != OTHER_SCOPE {
            self.apart += 1;
        }
        let row = row.unwrap_or(index);
        self.rows.push(RowSlot { control, scope, shown, row });
        let of = &mut self.row_of[scope as usize];
        if of.len() <= control as usize {
            of.resize(control as usize + 1, 0);
        }
        of[control as usize] = row + 1;
        row
    }

    /// The row that shows (control, scope).
    pub fn row(&self, control: u32, scope: u32) -> Option<u32> {
        self.row_of.get(scope as usize)?.get(control as usize)?.checked_sub(1)
    }

    fn install(&mut self, rules: Rules) {
        self.rules = rules;
        for id in self.rules.controls.iter().map(|c| c.id.clone()).collect::<Vec<_>>() {
            self.controls.intern(&id).expect("control ids come from the definitions");
        }
        self.control_rule = self.controls.iter().map(|(_, n)| self.rules.control(n).map(|i| i as u32)).collect();
        for name in self.rules.collectors.iter().map(|c| c.name.clone()).collect::<Vec<_>>() {
            self.collectors.intern(&name).expect("collector names come from the configuration");
        }
        self.collector_rule =
            self.collectors.iter().map(|(_, n)| self.rules.collectors.iter().position(|c| c.name == n).map(|i| i as u32)).collect();
        for i in 0..self.bindings.len() {
            self.bindings[i].terms = self.terms_for(&self.bindings[i]);
        }
    }

    /// Puts other rules in force at `at` and tells which pairs change state by it. Observations of controls, checks
    /// and collectors that are no longer asked for are dropped.
    pub fn reconfigure(&mut self, rules: Rules, series_limit: usize, at: Moment) -> Vec<Change> {
        self.series_limit = series_limit;
        let mut before: Vec<(u32, u32, Option<State>)> = Vec::new();
        for slot in self.resources.live() {
            for (control, _) in self.pairs_of(slot) {
                before.push((slot, control, self.state_of(slot, control, at)));
            }
        }
        let old_rules = self.rules.clone();
        self.install(rules);
        self.drop_unasked();
        let mut changes = Vec::new();
        for (slot, control, old) in before {
            let version =
                |r: &Rules| r.control(self.controls.get(control)).map(|i| (r.controls[i].set.clone(), r.controls[i].version.clone()));
            let cause = if version(&old_rules) != version(&self.rules) { Cause::Control } else { Cause::Mapping };
            let new = self.state_of(slot, control, at);
            if old == new {
                continue;
            }
            // A change between failing and waived, with the same control, is the waiver's doing.
            let waiver =
                matches!((old, new), (Some(State::NonCompliant), Some(State::Waived)) | (Some(State::Waived), Some(State::NonCompliant)));
            let mut one = Vec::new();
            self.push_change(&mut one, slot, control, old, at, if waiver { Cause::Waiver } else { cause });
            for c in &mut one {
                c.cause = if waiver { Cause::Waiver } else { cause };
            }
            changes.append(&mut one);
        }
        self.drop_empty(&mut changes);
        changes
    }

    fn drop_unasked(&mut self) {
        let dead: Vec<bool> = self
            .bindings
            .iter()
            .map(|b| {
                let (Some(rule), Some(collector)) = (self.control_rule[b.control as usize], self.collector_rule[b.collector as usize])
                else {
                    return true;
                };
                let asked = self.rules.candidates(collector as usize, self.checks.get(b.check));
                !asked.iter().any(|c| c.control == rule && c.population == b.population)
            })
            .collect();
        if !dead.contains(&true) {
            return;
        }
        for slot in self.resources.live() {
            let gone: Vec<u32> = self.resources.entries(slot).iter().map(|e| e.binding()).filter(|b| dead[*b as usize]).collect();
            for binding in gone {
                self.resources.remove_entry(slot, binding, &self.bindings);
                self.resources.mark_changed(slot, &mut self.fresh.slots);
                if self.weights.remove(&(slot, binding)).is_some() {
                    self.fresh.weights.push((self.resources.slots[slot as usize].id, binding, 0));
                }
                self.pending.remove(&(slot, binding));
            }
        }
    }

    /// What the ledger has not yet taken. Call [`Book::taken`] after the commit.
    pub fn fresh(&mut self) -> &FreshNames {
        self.fresh.slots.sort_unstable();
        self.fresh.slots.dedup();
        let resources = &self.resources;
        self.fresh.slots.retain(|s| resources.slots[*s as usize].live());
        &self.fresh
    }

    /// The ledger has taken everything.
    pub fn taken(&mut self) {
        for slot in std::mem::take(&mut self.fresh.slots) {
            let s = &mut self.resources.slots[slot as usize];
            s.changed = false;
            s.born = false;
        }
        self.fresh = FreshNames {
            controls: self.controls.len(),
            scopes: self.scopes.len(),
            collectors: self.collectors.len(),
            checks: self.checks.len(),
            bindings: self.bindings.len(),
            rows: self.rows.len(),
            ..FreshNames::default()
        };
    }

    /// Names of controls ever known, by book id.
    pub fn controls(&self) -> &Names {
        &self.controls
    }
    /// Index into the rules of a book control, if it is in force.
    pub fn control_rule(&self, control: u32) -> Option<usize> {
        self.control_rule.get(control as usize).copied().flatten().map(|i| i as usize)
    }
    /// Names of scopes, by id.
    pub fn scopes(&self) -> &Names {
        &self.scopes
    }
    /// The fields a scope was built from.
    pub fn scope_parts(&self, scope: u32) -> &[(String, String)] {
        self.scope_parts.get(scope as usize).map_or(&[], Vec::as_slice)
    }
    /// Names of collectors, by id.
    pub fn collectors(&self) -> &Names {
        &self.collectors
    }
    /// Index into the rules of a collector, if it is configured.
    pub fn collector_rule(&self, collector: u32) -> Option<usize> {
        self.collector_rule.get(collector as usize).copied().flatten().map(|i| i as usize)
    }
    /// Check ids.
    pub fn checks(&self) -> &Names {
        &self.checks
    }
    /// Bindings, by id.
    pub fn bindings(&self) -> &[BindingSlot] {
        &self.bindings
    }
    /// Rows, by index.
    pub fn rows(&self) -> &[RowSlot] {
        &self.rows
    }
    /// Number of (control, scope) pairs folded into `__other__`.
    pub fn folded(&self) -> u64 {
        self.folded
    }
    /// The resources.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }
    /// The type of a resource.
    pub fn kind(&self, slot: u32) -> &str {
        self.kinds.get(u32::from(self.resources.slots[slot as usize].kind))
    }
    /// What is held for one pair, spelled out.
    pub fn observations(&self, slot: u32, control: u32) -> Vec<Held<'_>> {
        self.pair(slot, control)
            .iter()
            .map(|e| {
                let b = &self.bindings[e.binding() as usize];
                Held {
                    collector: self.collectors.get(b.collector),
                    check: self.checks.get(b.check),
                    verdict: match e.verdict() {
                        Verdict::None => "none",
                        Verdict::Pass => "pass",
                        Verdict::Fail => "fail",
                        Verdict::Manual => "manual",
                        Verdict::NotApplicable => "not_applicable",
                        Verdict::Member => "in_population",
                    },
                    suppressed: e.suppressed(),
                    at: e.seen(),
                    expires: e.seen() + self.terms(e.binding()).max_age,
                }
            })
            .collect()
    }
    /// Bytes held for the state, all in; for measuring.
    pub fn bytes_held(&self) -> usize {
        self.resources.bytes_held()
    }

    /// Puts rules in force without comparing states: at a start, before anything is surveyed.
    pub fn adopt(&mut self, rules: Rules, series_limit: usize) {
        self.series_limit = series_limit;
        self.install(rules);
    }

    /// Takes names back from the ledger, in the order of their ids.
    pub fn restore_names(
        &mut self,
        controls: &[String],
        collectors: &[String],
        checks: &[String],
        scopes: Vec<(String, Vec<(String, String)>)>,
    ) {
        let rules = std::mem::take(&mut self.rules);
        for (names, list) in [(&mut self.controls, controls), (&mut self.collectors, collectors), (&mut self.checks, checks)] {
            *names = Names::default();
            for n in list {
                names.intern(n);
            }
        }
        self.scopes = Names::default();
        self.scope_parts.clear();
        self.row_of.clear();
        for (name, parts) in scopes {
            self.scopes.intern(&name);
            self.scope_parts.push(parts);
            self.row_of.push(Vec::new());
        }
        self.install(rules);
    }

    /// Takes a binding back. Bindings come in the order of their ids.
    pub fn restore_binding(&mut self, control: u32, collector: u32, check: u32, population: bool) {
        let mut slot = BindingSlot { control, collector, check, population, terms: None, ran_at: None, weighted: false };
        slot.terms = self.terms_for(&slot);
        self.binding_index.insert((control, collector, check, population), self.bindings.len() as u32);
        self.bindings.push(slot);
    }

    /// Takes back when a binding's check last ran.
    pub fn restore_ran(&mut self, binding: u32, at: Moment) {
        if let Some(b) = self.bindings.get_mut(binding as usize) {
            b.ran_at = Some(at);
        }
    }

    /// Takes a registered row back, in order.
    pub fn restore_row(&mut self, control: u32, scope: u32, shown: u32) {
        if scope == shown {
            self.push_row(control, scope, shown, None);
        } else {
            let row = self.row(control, shown);
            self.folded += 1;
            self.push_row(control, scope, shown, row);
        }
    }

    /// Takes a live resource back. False if the ledger's record does not fit (a damaged file).
    pub fn restore_resource(&mut self, id: u32, name: &str, kind: &str, scope: u32, first_seen: Moment, entries: &[u64]) -> bool {
        let kind = self.kinds.intern(kind).and_then(|(k, _)| u16::try_from(k).ok()).unwrap_or(0);
        if scope as usize >= self.scope_parts.len() || entries.iter().any(|e| Entry(*e).binding() as usize >= self.bindings.len()) {
            return false;
        }
        let Some(slot) = self.resources.insert(name, kind, scope, first_seen) else { return false };
        let s = &mut self.resources.slots[slot as usize];
        s.id = id;
        s.born = false;
        self.resources.next_id = self.resources.next_id.max(id.saturating_add(1));
        self.resources.restore_entries(slot, entries);
        true
    }

    /// Takes a weight back.
    pub fn restore_weight(&mut self, resource: u32, binding: u32, weight: u32, slots: &std::collections::HashMap<u32, u32>) {
        if let (Some(&slot), Some(b)) = (slots.get(&resource), self.bindings.get_mut(binding as usize)) {
            b.weighted = true;
            self.weights.insert((slot, binding), weight);
        }
    }

    /// Ends restoring: everything that was taken back is known to the ledger. `last_resource` is the largest id ever
    /// given; ids are never given twice. Observations that nobody asks for any more are dropped by the caller's
    /// [`Book::reconfigure`].
    pub fn restored(&mut self, last_resource: u32) {
        self.resources.next_id = self.resources.next_id.max(last_resource.saturating_add(1));
        self.taken();
    }

    /// Pending confirmations, for the ledger: (resource, binding, verdict, times, seen).
    pub fn pending(&self) -> Vec<(u32, u32, u8, u8, i64)> {
        let mut out: Vec<_> = self
            .pending
            .iter()
            .map(|((slot, binding), p)| (self.resources.slots[*slot as usize].id, *binding, p.verdict as u8, p.times, p.seen.0))
            .collect();
        out.sort_unstable();
        out
    }

    /// Takes a pending confirmation back.
    pub fn restore_pending(&mut self, slot: u32, binding: u32, verdict: u8, times: u8, seen: i64) {
        let verdict = if verdict == Verdict::Fail as u8 { Verdict::Fail } else { Verdict::Pass };
        self.pending.insert((slot, binding), Pending { verdict, times, seen: Moment(seen) });
    }
}

impl RunStats {
    fn problem(&mut self, kind: ProblemKind, source: &str, message: String) {
        if self.problems.len() < 100 {
            self.problems.push(Problem { kind, source: source.to_owned(), position: crate::domain::Position::default(), message });
        } else {
            self.more_problems += 1;
        }
    }
}

/// True for a change between complying and not complying: what `confirmations` guards.
fn flips(held: Verdict, new: Verdict) -> bool {
    matches!((held, new), (Verdict::Pass, Verdict::Fail) | (Verdict::Fail, Verdict::Pass))
}

/// Of two verdicts of one document about one resource the worse; of equal ones the newer. The order in which they
/// came does not matter.
fn worse(a: Entry, b: Entry) -> Entry {
    let rank = |e: Entry| match e.verdict() {
        Verdict::Fail if !e.suppressed() => 6,
        Verdict::Fail => 5,
        Verdict::Manual => 4,
        Verdict::Pass => 3,
        Verdict::Member => 2,
        Verdict::NotApplicable => 1,
        Verdict::None => 0,
    };
    if (rank(b), b.seen()) > (rank(a), a.seen()) { b } else { a }
}

fn field_of<'a>(o: &Observed<'a>, name: &str) -> Option<&'a str> {
    o.finding.fields.get(name).or_else(|| o.fields.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()))
}

/// The identity of the finding's resource. Ids that are not global (no ARN, Azure id or URL) are told apart by what
/// the operator said about the document and the finding itself does not know: cluster, host, repository.
fn resource_name(o: &Observed<'_>) -> String {
    let id = crate::domain::resource::normalise(&o.finding.resource.id);
    let global = id.starts_with("arn:") || id.starts_with("/subscriptions/") || id.starts_with("//") || id.contains("://");
    let mut out = String::with_capacity(id.len());
    if !global {
        for key in ["cluster", "host", "repository"] {
            if o.finding.fields.get(key).is_none()
                && let Some((_, v)) = o.fields.iter().find(|(k, _)| k == key)
                && !id.starts_with(&format!("{v}:"))
                && *id != **v
            {
                let _ = write!(out, "{v}:");
            }
        }
    }
    out.push_str(&id);
    if o.finding.aggregate && !out.is_empty() {
        // A number stands beside the resources that are told one by one, and apart for each result.
        let _ = write!(out, "#{}", o.finding.result);
    }
    out
}

/// Live resources with their observations.
#[derive(Debug, Default)]
pub struct Resources {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    table: HashTable<u32>,
    state: FixedState,
    free: Vec<u32>,
    pool: Vec<Entry>,
    spare: Vec<Vec<u32>>,
    next_id: u32,
    dead_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    name: u32,
    id: u32,
    scope: u32,
    /// Seconds since the epoch.
    first_seen: u32,
    run: u32,
    name_len: u16,
    kind: u16,
    len: u16,
    cap: u16,
    /// In the list of what the ledger has to write.
    changed: bool,
    /// The ledger does not know it yet.
    born: bool,
}

impl Slot {
    fn live(&self) -> bool {
        self.name_len > 0
    }
}

impl Resources {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots in use.
    pub fn live(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|s| self.slots[*s as usize].live()).collect()
    }

    /// The normalised id in `slot`.
    pub fn name(&self, slot: u32) -> &str {
        std::str::from_utf8(self.name_bytes(slot)).unwrap_or_default()
    }

    fn name_bytes(&self, slot: u32) -> &[u8] {
        let s = &self.slots[slot as usize];
        &self.bytes[s.name as usize..s.name as usize + usize::from(s.name_len)]
    }

    /// Its observations, sorted by control, then binding.
    pub fn entries(&self, slot: u32) -> &[Entry] {
        let s = &self.slots[slot as usize];
        &self.pool[s.run as usize..s.run as usize + usize::from(s.len)]
    }

    /// Its ledger id.
    pub fn id(&self, slot: u32) -> u32 {
        self.slots[slot as usize].id
    }

    /// Its scope.
    pub fn scope(&self, slot: u32) -> u32 {
        self.slots[slot as usize].scope
    }

    /// When it was first seen, in whole seconds since the epoch.
    pub fn first_seen(&self, slot: u32) -> i64 {
        i64::from(self.slots[slot as usize].first_seen)
    }

    /// The slot of a resource.
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = self.state.hash_one(name.as_bytes());
        self.table.find(hash, |&i| self.name_bytes(i) == name.as_bytes()).copied()
    }

    fn insert(&mut self, name: &str, kind: u16, scope: u32, now: Moment) -> Option<u32> {
        let name_len = u16::try_from(name.len()).ok().filter(|n| *n > 0)?;
        if self.dead_bytes > self.bytes.len() / 2 && self.dead_bytes > 1 << 20 {
            self.compact();
        }
        let offset = u32::try_from(self.bytes.len()).ok().filter(|o| o.checked_add(u32::from(name_len)).is_some())?;
        reserve_step(&mut self.bytes, name.len());
        self.bytes.extend_from_slice(name.as_bytes());
        let id = self.next_id.max(1);
        self.next_id = id.checked_add(1)?;
        let first_seen = u32::try_from(now.0.div_euclid(1000)).unwrap_or(0);
        let slot = Slot { name: offset, id, scope, first_seen, run: 0, name_len, kind, len: 0, cap: 0, changed: false, born: true };
        let index = match self.free.pop() {
            Some(i) => {
                self.slots[i as usize] = slot;
                i
            }
            None => {
                reserve_step(&mut self.slots, 1);
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        let hash = self.state.hash_one(name.as_bytes());
        let (slots, bytes, state) = (&self.slots, &self.bytes, &self.state);
        self.table.insert_unique(hash, index, |&i| {
            let s = &slots[i as usize];
            state.hash_one(&bytes[s.name as usize..s.name as usize + usize::from(s.name_len)])
        });
        Some(index)
    }

    fn mark_changed(&mut self, slot: u32, list: &mut Vec<u32>) {
        let s = &mut self.slots[slot as usize];
        if !s.changed {
            s.changed = true;
            list.push(slot);
        }
    }

    fn position(&self, slot: u32, binding: u32, bindings: &[BindingSlot]) -> Result<usize, usize> {
        let key = |b: u32| (bindings[b as usize].control, b);
        let wanted = key(binding);
        let entries = self.entries(slot);
        // Most resources have a dozen observations: walking beats halving, and most often the first look is right.
        if entries.len() <= 16 {
            for (i, e) in entries.iter().enumerate() {
                if e.binding() == binding {
                    return Ok(i);
                }
            }
        }
        entries.binary_search_by(|e| key(e.binding()).cmp(&wanted))
    }

    fn find_entry(&mut self, slot: u32, binding: u32, bindings: &[BindingSlot]) -> Option<&mut Entry> {
        let i = self.position(slot, binding, bindings).ok()?;
        let run = self.slots[slot as usize].run as usize;
        Some(&mut self.pool[run + i])
    }

    fn add_entry(&mut self, slot: u32, entry: Entry, bindings: &[BindingSlot]) {
        let Err(at) = self.position(slot, entry.binding(), bindings) else { return };
        let s = self.slots[slot as usize];
        if s.len == s.cap {
            // A resource with 65 535 observations takes no more.
            // Packed runs may be odd; grown ones are even, so that what they leave behind can be used again.
            let Some(cap) = s.cap.checked_add(if s.cap < 16 { 2 } else { s.cap / 4 }).map(|c| c & !1) else { return };
            let run = self.allocate(cap);
            self.pool.copy_within(s.run as usize..s.run as usize + usize::from(s.len), run as usize);
            self.release(s.run, s.cap);
            let s = &mut self.slots[slot as usize];
            s.run = run;
            s.cap = cap;
        }
        let s = &mut self.slots[slot as usize];
        let run = s.run as usize;
        let len = usize::from(s.len);
        s.len += 1;
        self.pool.copy_within(run + at..run + len, run + at + 1);
        self.pool[run + at] = entry;
    }

    fn remove_entry(&mut self, slot: u32, binding: u32, bindings: &[BindingSlot]) {
        let Ok(at) = self.position(slot, binding, bindings) else { return };
        let s = &mut self.slots[slot as usize];
        let run = s.run as usize;
        let len = usize::from(s.len);
        s.len -= 1;
        self.pool.copy_within(run + at + 1..run + len, run + at);
    }

    fn restore_entries(&mut self, slot: u32, entries: &[u64]) {
        let Ok(len) = u16::try_from(entries.len()) else { return };
        let cap = len.saturating_add(1) & !1;
        let run = self.allocate(cap);
        for (to, e) in self.pool[run as usize..].iter_mut().zip(entries) {
            *to = Entry(*e).at_rest();
        }
        let s = &mut self.slots[slot as usize];
        s.run = run;
        s.len = len;
        s.cap = cap;
    }

    fn allocate(&mut self, cap: u16) -> u32 {
        let class = usize::from(cap / 2);
        if let Some(run) = self.spare.get_mut(class).and_then(Vec::pop) {
            return run;
        }
        let run = self.pool.len();
        reserve_step(&mut self.pool, usize::from(cap));
        self.pool.resize(run + usize::from(cap), Entry(0));
        run as u32
    }

    fn release(&mut self, run: u32, cap: u16) {
        let cap = cap & !1;
        if cap == 0 {
            return;
        }
        let class = usize::from(cap / 2);
        if self.spare.len() <= class {
            self.spare.resize(class + 1, Vec::new());
        }
        self.spare[class].push(run);
    }

    fn free_slot(&mut self, slot: u32) {
        let hash = self.state.hash_one(self.name_bytes(slot));
        if let Ok(found) = self.table.find_entry(hash, |&i| i == slot) {
            found.remove();
        }
        let s = self.slots[slot as usize];
        self.release(s.run, s.cap);
        self.dead_bytes += usize::from(s.name_len);
        let s = &mut self.slots[slot as usize];
        (s.name_len, s.len, s.cap, s.run) = (0, 0, 0, 0);
        self.free.push(slot);
    }

    /// Ends a run: no entry is touched or accepted any more.
    fn rest(&mut self) {
        let used: usize = self.slots.iter().map(|s| usize::from(s.len)).sum();
        if self.pool.len() > used + used / 8 + 4096 {
            self.pack(used);
        }
        for e in &mut self.pool {
            *e = e.at_rest();
        }
    }

    /// Writes the observations anew, without the room that growing resources left behind.
    fn pack(&mut self, used: usize) {
        let mut pool = Vec::with_capacity(used + used / 32);
        for s in &mut self.slots {
            let from = s.run as usize;
            s.run = pool.len() as u32;
            s.cap = s.len;
            pool.extend_from_slice(&self.pool[from..from + usize::from(s.len)]);
        }
        self.pool = pool;
        self.spare = Vec::new();
    }

    /// Writes the names anew, without those of resources that are gone.
    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.dead_bytes);
        for s in self.slots.iter_mut().filter(|s| s.live()) {
            let from = s.name as usize;
            s.name = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[from..from + usize::from(s.name_len)]);
        }
        self.bytes = bytes;
        self.dead_bytes = 0;
    }

    fn bytes_held(&self) -> usize {
        self.bytes.capacity()
            + self.slots.capacity() * size_of::<Slot>()
            + self.pool.capacity() * size_of::<Entry>()
            + self.table.capacity() * (size_of::<u32>() + 1)
    }
}

#[derive(Clone, Debug, Default)]
struct BitSet(Vec<u64>);

impl BitSet {
    fn insert(&mut self, i: u32) {
        let word = i as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (i % 64);
    }

    fn contains(&self, i: u32) -> bool {
        self.0.get(i as usize / 64).is_some_and(|w| w & 1 << (i % 64) != 0)
    }
}
