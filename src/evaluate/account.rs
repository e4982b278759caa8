//! Surveys the book into counts and carries the integrals: exact integers, up to any instant.
//!
//! A survey is a pure function of book and instant, so counts can never drift away from the states they count. What
//! time alone will change until the horizon is known beforehand and applied at its exact instant.

use super::book::{Book, Change};
use super::entry::{Entry, Verdict};
use super::judge::{self, Voice};
use crate::domain::account::{self, ChangeKind, Direction, DurationHistogram, Row, Violations};
use crate::domain::{Cause, Moment, Severity, Span, State};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// A change of a pair's state at its instant, for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairTransition {
    /// The pair and its states.
    pub change: Change,
    /// When it takes effect in the counters.
    pub at: Moment,
}

/// The state of everything at one instant, and what time will change until a horizon.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Per row: counts, newest evidence, and when that runs out.
    pub rows: Vec<SurveyRow>,
    /// What time alone will change, by instant.
    pub schedule: Vec<Scheduled>,
    /// Pairs on which two collectors disagree, by book control.
    pub disagreements: Vec<u64>,
    /// Failing pairs that each waiver covers now (index as in the rules).
    pub waiver_covers: Vec<u64>,
    /// Failing pairs that their source suppresses.
    pub suppressed: u64,
    /// What is known to come, however far ahead: for forecasts.
    pub coming: Vec<Coming>,
}

/// Something that is known to come to some resources of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coming {
    /// The row.
    pub row: u32,
    /// When.
    pub at: Moment,
    /// What.
    pub what: ComingKind,
    /// To how many resources.
    pub weight: u64,
}

/// See [`Coming`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ComingKind {
    /// The last waiver of a failing resource ends: it fails from then on.
    WaiverEnds,
    /// The evidence of a compliant resource runs out, and its scanner has missed two runs: unknown from then on.
    /// Evidence of a scanner that keeps its interval is taken to be renewed in time.
    EvidenceRunsOut,
}

/// One row of a survey.
#[derive(Clone, Copy, Debug, Default)]
pub struct SurveyRow {
    /// Resources by state.
    pub counts: crate::domain::Counts,
    /// Newest evidence.
    pub newest: Option<Moment>,
    /// When the newest evidence runs out.
    pub fresh_until: Option<Moment>,
}

/// What time will change in one pair.
#[derive(Clone, Copy, Debug)]
pub struct Scheduled {
    /// When.
    pub at: Moment,
    /// The row that shows the pair.
    pub row: u32,
    /// The pair and its states.
    pub change: Change,
}

/// A violation from detection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// When it was detected.
    pub opened: Moment,
    /// Its deadline.
    pub deadline: Option<Moment>,
    /// When it was closed by a fix, while it may still be reopened.
    pub closed: Option<Moment>,
    /// Counted as met or missed: never again.
    pub counted: bool,
    /// Counted as remediated: never again.
    pub fixed: bool,
    /// At opening.
    pub severity: Severity,
    /// The row that shows it.
    pub row: u32,
}

/// Episodes by (ledger resource, book control).
pub type Episodes = HashMap<(u32, u32), Episode, FixedState>;

/// A row at an instant from which on it goes differently: what a history of it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Book row.
    pub row: u32,
    /// From this instant on (inclusive).
    pub at: Moment,
    /// Resources in each state, from then on.
    pub counts: [u64; 4],
    /// Resource-milliseconds in each state until then.
    pub resource_ms: [u64; 4],
    /// Whether its newest evidence is fresh, from then on.
    pub fresh: bool,
    /// Fresh and stale control-milliseconds until then.
    pub evidence_ms: [u64; 2],
    /// Remediation deadlines met and missed so far, of all severities, those of this instant among them.
    pub deadlines: [u64; 2],
}

impl Mark {
    /// Whether something but the passing of time lies between the two.
    fn differs(&self, other: &Mark) -> bool {
        (self.counts, self.fresh, self.deadlines) != (other.counts, other.fresh, other.deadlines)
    }
}

/// The counters of every row.
#[derive(Debug, Default)]
pub struct Account {
    /// The instant up to which everything is carried.
    pub at: Moment,
    /// Until here `schedule` is complete.
    pub horizon: Moment,
    /// One per book row; those that are folded into another stay empty.
    pub rows: Vec<Row>,
    /// Open episodes, and closed ones within their flap window.
    pub episodes: Episodes,
    /// Episodes that changed since the ledger last took them.
    pub episodes_changed: Vec<(u32, u32)>,
    /// Durations of fixed violations by severity.
    pub durations: Vec<DurationHistogram>,
    /// The last survey.
    pub survey: Survey,
    /// Marks that the ledger has not taken yet.
    marks: Vec<Mark>,
    /// The newest mark of each row; `None`: the row has no history yet.
    marked: Vec<Option<Mark>>,
    next: usize,
}

/// Survey horizon: far enough that the writer's regular tick always comes before it.
pub const HORIZON: Span = Span::HOUR;
/// With more instants ahead than this, further ones are taken as of the beginning of their minute.
const MANY_COMING: usize = 20_000;
/// A look ahead that finds more changes than this is shortened.
const MAX_SCHEDULE: usize = 100_000;
/// Upper bounds of the remediation histogram where no deadline says otherwise: an hour to a quarter.
pub const DURATION_BOUNDS: [f64; 8] = [3600.0, 21600.0, 86400.0, 259_200.0, 604_800.0, 1_209_600.0, 2_592_000.0, 7_776_000.0];

/// Looks at every pair once: states at `at`, and what time will change in `(at, horizon]`.
pub fn survey(book: &Book, at: Moment, horizon: Moment) -> Survey {
    let rules = book.rules();
    let mut out = Survey {
        rows: vec![SurveyRow::default(); book.rows().len()],
        disagreements: vec![0; book.controls().len()],
        waiver_covers: vec![0; rules.waivers().count()],
        ..Survey::default()
    };
    let clean: Vec<_> = (0..book.controls().len() as u32).map(|c| book.clean_sources(c)).collect();
    let terms: Vec<_> = (0..book.bindings().len() as u32).map(|b| book.terms(b)).collect();
    let terms_of = |b: u32| terms[b as usize];
    let every: Vec<Span> =
        book.bindings().iter().map(|b| book.collector_rule(b.collector).map_or(Span::DAY, |r| rules.collectors[r].every)).collect();
    let mut coming: HashMap<(u32, Moment, ComingKind), u64, FixedState> = HashMap::default();
    let resources = book.resources();
    let mut points = Vec::new();
    for slot in resources.live() {
        let entries = resources.entries(slot);
        let scope = resources.scope(slot);
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let control = book.bindings()[first.binding() as usize].control;
            let n = rest.partition_point(|e| book.bindings()[e.binding() as usize].control == control);
            let (pair, others) = rest.split_at(n);
            rest = others;
            let (Some(row), Some(rule)) = (book.row(control, scope), book.control_rule(control)) else { continue };
            let how = rules.controls[rule].combine;
            let clean = clean[control as usize];
            let state_at = |t: Moment| -> Option<State> {
                // One observation is by far the most common: spare it the machinery.
                let voice = if let [one] = pair {
                    judge::voice(*one, &terms_of(one.binding()), clean, t)
                } else {
                    judge::combine(how, pair, &terms_of, clean, t)
                };
                book.state_from(voice?, slot, rule, t, rules)
            };
            let state = state_at(at);
            let target = &mut out.rows[row as usize];
            let weight = book.pair_weight(slot, control);
            if let Some(s) = state {
                target.counts[s] += u64::from(weight);
            }
            for e in pair {
                let evidence = match e.verdict() {
                    Verdict::None => None,
                    Verdict::Member => clean.fresh_until.map(|u| (u - terms_of(e.binding()).max_age, u)),
                    _ => Some((e.seen(), e.seen() + terms_of(e.binding()).max_age)),
                };
                if let Some((seen, until)) = evidence {
                    target.newest = target.newest.max(Some(seen));
                    target.fresh_until = target.fresh_until.max(Some(until));
                }
            }
            let failing = matches!(state, Some(State::NonCompliant | State::Waived));
            // What fails only once a newer pass has run out may be waived then.
            let waivable = rules.has_waivers(rule) && (failing || pair.iter().any(|e| e.verdict() == Verdict::Fail));
            if state == Some(State::Waived)
                && let Some(w) = rules.waiver_at(rule, resources.name(slot), book.scopes().get(scope), at)
            {
                out.waiver_covers[w as usize] += u64::from(weight);
                let mut end = at;
                while let Some((_, next)) =
                    rules.waivers_for(rule, resources.name(slot), book.scopes().get(scope)).find(|(_, w)| w.holds(end))
                {
                    end = next.until;
                }
                note_coming(&mut coming, row, end, ComingKind::WaiverEnds, weight);
            }
            let overdue = |e: &Entry| e.verdict() == Verdict::Pass && e.seen() + every[e.binding() as usize].times(2) < at;
            if state == Some(State::Compliant)
                && pair.iter().any(overdue)
                && let Some(end) = pair
                    .iter()
                    .map(|e| e.seen() + terms_of(e.binding()).max_age)
                    .filter(|end| at < *end && state_at(*end) == Some(State::Unknown))
                    .min()
            {
                note_coming(&mut coming, row, end, ComingKind::EvidenceRunsOut, weight);
            }
            if pair.iter().any(|e| e.verdict() == Verdict::Fail && e.suppressed() && at < e.seen() + terms_of(e.binding()).max_age) {
                out.suppressed += u64::from(weight);
            }
            if pair.len() > 1 && disagree(book, pair, &terms_of, at) {
                out.disagreements[control as usize] += 1;
            }
            points.clear();
            judge::turning_points(pair, &terms_of, clean, at, horizon, &mut points);
            if waivable {
                for (_, w) in rules.waivers_for(rule, resources.name(slot), book.scopes().get(scope)) {
                    points.extend([w.from, w.until].into_iter().filter(|t| at < *t && *t <= horizon));
                }
            }
            if points.is_empty() {
                continue;
            }
            points.sort_unstable();
            points.dedup();
            let mut from = state;
            for &t in &points {
                let to = state_at(t);
                if to != from {
                    let waiver = matches!(
                        (from, to),
                        (Some(State::Waived), Some(State::NonCompliant)) | (Some(State::NonCompliant), Some(State::Waived))
                    );
                    out.schedule.push(Scheduled {
                        at: t,
                        row,
                        change: Change {
                            slot,
                            resource: resources.id(slot),
                            control,
                            scope,
                            from,
                            to,
                            cause: if waiver { Cause::Waiver } else { Cause::Freshness },
                            evidence_at: Some(t),
                            weight,
                        },
                    });
                    from = to;
                }
            }
        }
    }
    out.schedule.sort_by_key(|s| (s.at, s.row, s.change.resource));
    out.coming = coming.into_iter().map(|((row, at, what), weight)| Coming { row, at, what, weight }).collect();
    out.coming.sort_unstable_by_key(|c| (c.at, c.row, c.what));
    out
}

fn note_coming(coming: &mut HashMap<(u32, Moment, ComingKind), u64, FixedState>, row: u32, at: Moment, what: ComingKind, weight: u32) {
    let at = if coming.len() < MANY_COMING { at } else { Moment(at.0 - at.0.rem_euclid(Span::MINUTE.0.cast_signed())) };
    *coming.entry((row, at, what)).or_default() += u64::from(weight);
}

/// Whether two collectors' fresh verdicts contradict each other.
fn disagree(book: &Book, pair: &[Entry], terms: &dyn Fn(u32) -> judge::BindingTerms, at: Moment) -> bool {
    let verdicts = || {
        pair.iter()
            .filter(|e| matches!(e.verdict(), Verdict::Pass | Verdict::Fail) && at < e.seen() + terms(e.binding()).max_age)
            .map(|e| (book.bindings()[e.binding() as usize].collector, e.verdict()))
    };
    let worst_of = |collector: u32| {
        if verdicts().any(|(c, v)| c == collector && v == Verdict::Fail) { Verdict::Fail } else { Verdict::Pass }
    };
    let mut first = None;
    for (collector, _) in verdicts() {
        let v = worst_of(collector);
        match first {
            None => first = Some(v),
            Some(f) if f != v => return true,
            Some(_) => {}
        }
    }
    false
}

impl Account {
    /// An account that begins at `at` with an empty history.
    pub fn new(at: Moment) -> Account {
        Account { at, horizon: at, durations: vec![DurationHistogram::new(&DURATION_BOUNDS); Severity::ALL.len()], ..Account::default() }
    }

    /// Carries everything to `to` (nothing happens if that is not later): integrates, and applies what time changes on
    /// the way. Returns those changes for the ledger. The book must be as it was at the last survey.
    pub fn advance(&mut self, book: &Book, to: Moment) -> Vec<PairTransition> {
        let mut out = Vec::new();
        if to > self.horizon {
            // The process slept, or was down: look ahead from where the account stands.
            self.look(book, to);
        }
        if to <= self.at {
            return out;
        }
        // Each row is integrated up to the events that touch it, and once to the end: nothing depends on how many
        // rows or events there are elsewhere.
        let mut reached = vec![self.at; self.rows.len()];
        let deadlines = self.deadlines_until(to);
        let flips = self.flips_until(to);
        let (mut due, mut flipped) = (0, 0);
        while let Some(s) = self.survey.schedule.get(self.next).copied().filter(|s| s.at <= to) {
            self.next += 1;
            while let Some((key, at)) = deadlines.get(due).copied().filter(|(_, at)| *at <= s.at) {
                due += 1;
                self.miss(key, at, &reached);
            }
            while let Some((row, at)) = flips.get(flipped).copied().filter(|(_, at)| *at <= s.at) {
                flipped += 1;
                self.mark(row, reached[row as usize], at);
            }
            let row = &mut self.rows[s.row as usize];
            let last = &mut reached[s.row as usize];
            integrate(row, *last, s.at);
            *last = s.at;
            move_count(row, &s.change);
            self.apply_one(book, s.row, &s.change, s.at);
            self.mark(s.row, s.at, s.at);
            out.push(PairTransition { change: s.change, at: s.at });
        }
        for (key, at) in deadlines.into_iter().skip(due) {
            self.miss(key, at, &reached);
        }
        for (row, at) in flips.into_iter().skip(flipped) {
            self.mark(row, reached[row as usize], at);
        }
        for (row, last) in self.rows.iter_mut().zip(reached) {
            integrate(row, last, to);
        }
        self.at = to;
        self.forget_closed(book);
        out
    }

    /// The states that pairs got by time since `since`: what a run that began then must take as "before".
    pub fn overrides(transitions: &[PairTransition]) -> HashMap<(u32, u32), Option<State>, FixedState> {
        transitions.iter().map(|t| ((t.change.slot, t.change.control), t.change.to)).collect()
    }

    /// Applies the changes of a run (or of new definitions) at the account's instant.
    pub fn apply(&mut self, book: &Book, changes: &[Change]) -> Vec<PairTransition> {
        self.rows.resize_with(book.rows().len(), Row::default);
        let at = self.at;
        for c in changes {
            if let Some(row) = book.row(c.control, c.scope) {
                self.apply_one(book, row, c, at);
            }
        }
        changes.iter().map(|c| PairTransition { change: *c, at }).collect()
    }

    /// Surveys the book as of the account's instant and looks ahead. After [`Account::apply`], and regularly.
    pub fn look(&mut self, book: &Book, at_least: Moment) {
        let mut ahead = HORIZON;
        loop {
            self.horizon = (self.at + ahead).max(at_least);
            self.survey = survey(book, self.at, self.horizon);
            // Where a million observations run out within the hour, look less far and more often.
            if self.survey.schedule.len() <= MAX_SCHEDULE || ahead <= Span::MINUTE.times(4) || self.horizon == at_least {
                break;
            }
            ahead = Span(ahead.0 / 4);
        }
        self.next = 0;
        self.rows.resize_with(book.rows().len(), Row::default);
        for (i, s) in self.survey.rows.iter().enumerate() {
            let row = &mut self.rows[i];
            row.control = book.rows()[i].control;
            row.scope = book.rows()[i].shown;
            row.counts = s.counts;
            row.newest_evidence = s.newest;
            row.fresh_until = s.fresh_until;
        }
        for row in &mut self.rows {
            if let Some(v) = &mut row.violations {
                v.oldest_open = None;
                for c in &mut v.by_severity {
                    c.overdue = 0;
                }
            }
        }
        let registered = book.rows().iter().zip(0u32..).filter(|(slot, i)| slot.row == *i).map(|(_, i)| i);
        for row in registered {
            self.mark(row, self.at, self.at);
        }
        for e in self.episodes.values().filter(|e| e.closed.is_none()) {
            if let Some(v) = self.rows.get_mut(e.row as usize).and_then(|r| r.violations.as_mut()) {
                v.oldest_open = Some(v.oldest_open.map_or(e.opened, |o| o.min(e.opened)));
                if e.deadline.is_some_and(|d| d <= self.at) {
                    v.by_severity[e.severity as usize].overdue += 1;
                }
            }
        }
    }

    /// What time alone will still change, pair by pair, by instant.
    pub fn ahead(&self) -> &[Scheduled] {
        &self.survey.schedule[self.next.min(self.survey.schedule.len())..]
    }

    /// What time will change, for readers: by row, then instant, equal ones merged.
    pub fn changes(&self) -> Vec<account::Change> {
        let mut out: Vec<account::Change> = self.survey.schedule[self.next.min(self.survey.schedule.len())..]
            .iter()
            .map(|s| account::Change {
                row: s.row,
                at: s.at,
                what: ChangeKind::Move { from: s.change.from, to: s.change.to, weight: s.change.weight },
            })
            .collect();
        for e in self.episodes.values() {
            if let Some(d) = e.deadline.filter(|d| e.closed.is_none() && !e.counted && self.at < *d && *d <= self.horizon) {
                out.push(account::Change { row: e.row, at: d, what: ChangeKind::Deadline(e.severity) });
            }
        }
        let order = |c: &account::Change| {
            let what = match c.what {
                ChangeKind::Move { from, to, .. } => (0, from.map_or(9, |s| s as u8), to.map_or(9, |s| s as u8)),
                ChangeKind::Deadline(s) => (1, s as u8, 0),
            };
            (c.row, c.at, what)
        };
        out.sort_by_key(order);
        out.dedup_by(|b, a| match (&mut a.what, b.what) {
            (ChangeKind::Move { from, to, weight }, ChangeKind::Move { from: f, to: t, weight: w })
                if (a.row, a.at, *from, *to) == (b.row, b.at, f, t) =>
            {
                *weight = weight.saturating_add(w);
                true
            }
            _ => false,
        });
        out
    }

    fn deadlines_until(&self, until: Moment) -> Vec<((u32, u32), Moment)> {
        let mut due: Vec<_> = self
            .episodes
            .iter()
            .filter(|(_, e)| e.closed.is_none() && !e.counted)
            .filter_map(|(k, e)| e.deadline.filter(|d| *d <= until).map(|d| (*k, d)))
            .collect();
        due.sort_unstable_by_key(|(k, d)| (*d, *k));
        due
    }

    /// Rows whose newest evidence runs out after the account's instant, up to `until`, by instant.
    fn flips_until(&self, until: Moment) -> Vec<(u32, Moment)> {
        let mut flips: Vec<(u32, Moment)> = (0u32..)
            .zip(&self.rows)
            .filter_map(|(i, row)| row.fresh_until.filter(|f| self.at < *f && *f <= until).map(|f| (i, f)))
            .collect();
        flips.sort_unstable_by_key(|(row, at)| (*at, *row));
        flips
    }

    /// Notes how row `row`, which stands at `reached`, goes on from `at`, if that differs from what was noted before.
    fn mark(&mut self, row: u32, reached: Moment, at: Moment) {
        let i = row as usize;
        let now = self.rows[i].advanced(reached, at, &[]);
        let deadlines = self.rows[i]
            .violations
            .as_ref()
            .map_or([0, 0], |v| v.by_severity.iter().fold([0, 0], |[met, missed], c| [met + c.met, missed + c.missed]));
        let mark = Mark {
            row,
            at,
            counts: now.counts.0,
            resource_ms: now.resource_ms.0,
            fresh: now.fresh,
            evidence_ms: now.evidence_ms,
            deadlines,
        };
        self.marked.resize(self.rows.len().max(self.marked.len()), None);
        if self.marked[i].is_none_or(|before| mark.differs(&before)) {
            self.marked[i] = Some(mark);
            self.marks.push(mark);
        }
    }

    /// What a history is to get since it was last asked, by instant, one for each row and instant.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        let mut marks = std::mem::take(&mut self.marks);
        // Stable: of several at one instant the last one has all that happened in it.
        marks.sort_by_key(|m| (m.at, m.row));
        marks.dedup_by(|later, earlier| {
            let same = (later.at, later.row) == (earlier.at, earlier.row);
            if same {
                *earlier = *later;
            }
            same
        });
        marks
    }

    /// Whether there is something that a history has not got yet.
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Tells what the history has already, so that it is not told again.
    pub fn restore_mark(&mut self, mark: Mark) {
        let i = mark.row as usize;
        self.marked.resize(self.marked.len().max(i + 1), None);
        self.marked[i] = Some(mark);
    }

    /// The deadline passes while the episode is open: missed, once and for all.
    fn miss(&mut self, key: (u32, u32), deadline: Moment, reached: &[Moment]) {
        if let Some(e) = self.episodes.get_mut(&key).filter(|e| e.closed.is_none() && !e.counted && e.deadline == Some(deadline)) {
            e.counted = true;
            let (row, severity) = (e.row, e.severity);
            self.violations(row).by_severity[severity as usize].missed += 1;
            self.episodes_changed.push(key);
            self.mark(row, reached.get(row as usize).copied().unwrap_or(deadline), deadline);
        }
    }

    fn violations(&mut self, row: u32) -> &mut Violations {
        self.rows[row as usize].violations.get_or_insert_default()
    }

    /// Episodes and transition counters of one change; counts are the survey's business.
    fn apply_one(&mut self, book: &Book, row: u32, c: &Change, at: Moment) {
        let n = u64::from(c.weight);
        *self.rows[row as usize].transitions.entry((Direction::of(c.from, c.to), c.cause)).or_default() += n;
        let key = (c.resource, c.control);
        match c.to {
            Some(State::NonCompliant) => self.open(book, row, c, at),
            Some(State::Compliant) => self.close(key, at, true),
            // Not known to be fixed: it stays open.
            Some(State::Unknown) => {}
            Some(State::Waived) | None => self.close(key, at, false),
        }
    }

    fn open(&mut self, book: &Book, row: u32, c: &Change, at: Moment) {
        let Some(rule) = book.control_rule(c.control) else { return };
        let control = &book.rules().controls[rule];
        let key = (c.resource, c.control);
        self.episodes_changed.push(key);
        let severity = control.severity;
        // However long the leap of time that brought it: what closed longer ago than its flap window is another episode.
        let over = |e: &Episode| e.closed.is_some_and(|closed| at >= closed + flap_window(book, c.control));
        if let Some(e) = self.episodes.get_mut(&key).filter(|e| !over(e)) {
            // Open already (it was unknown meanwhile), or again within the flap window: the same episode goes on.
            e.closed = None;
            e.row = row;
            return;
        }
        let deadline = control.fix_within.map(|d| at + d);
        self.episodes.insert(key, Episode { opened: at, deadline, closed: None, counted: false, fixed: false, severity, row });
        let v = self.violations(row);
        if c.from == Some(State::Compliant) {
            v.by_severity[severity as usize].opened += 1;
        }
    }

    fn close(&mut self, key: (u32, u32), at: Moment, by_fix: bool) {
        let Some(mut e) = self.episodes.get(&key).copied() else { return };
        if e.closed.is_some() && by_fix {
            return;
        }
        self.episodes_changed.push(key);
        if !by_fix {
            self.episodes.remove(&key);
            return;
        }
        e.closed = Some(at);
        if !e.fixed {
            e.fixed = true;
            self.violations(e.row).by_severity[e.severity as usize].fixed += 1;
            if let Some(h) = self.durations.get_mut(e.severity as usize) {
                h.observe(at.since(e.opened));
            }
        }
        if !e.counted && e.deadline.is_some() {
            e.counted = true;
            self.violations(e.row).by_severity[e.severity as usize].met += 1;
        }
        self.episodes.insert(key, e);
    }

    /// Forgets closed episodes once their flap window is over.
    fn forget_closed(&mut self, book: &Book) {
        if self.episodes.values().all(|e| e.closed.is_none()) {
            return;
        }
        let at = self.at;
        let windows: Vec<Span> = (0..book.controls().len() as u32).map(|c| flap_window(book, c)).collect();
        let over: Vec<(u32, u32)> = self
            .episodes
            .iter()
            .filter(|(k, e)| e.closed.is_some_and(|c| at >= c + windows.get(k.1 as usize).copied().unwrap_or(Span::DAY)))
            .map(|(k, _)| *k)
            .collect();
        for key in over {
            self.episodes.remove(&key);
            self.episodes_changed.push(key);
        }
    }
}

/// A violation that comes back within this is the same episode: twice the largest interval of the control's sources.
fn flap_window(book: &Book, control: u32) -> Span {
    let every = book.bindings().iter().filter(|b| b.control == control).filter_map(|b| book.collector_rule(b.collector));
    every.map(|r| book.rules().collectors[r].every).max().unwrap_or(Span::DAY).times(2)
}

fn integrate(row: &mut Row, from: Moment, to: Moment) {
    let now = row.advanced(from, to, &[]);
    row.resource_ms = now.resource_ms;
    row.evidence_ms = now.evidence_ms;
}

fn move_count(row: &mut Row, c: &Change) {
    let n = u64::from(c.weight);
    if let Some(s) = c.from {
        row.counts[s] = row.counts[s].saturating_sub(n);
    }
    if let Some(s) = c.to {
        row.counts[s] += n;
    }
}

/// For tests and self-checks: the voice of a pair, spelled out.
pub fn spell(voice: Option<Voice>) -> &'static str {
    match voice {
        None => "nothing",
        Some(Voice::NotApplicable) => "not applicable",
        Some(Voice::Pass) => "passes",
        Some(Voice::Unknown) => "unknown",
        Some(Voice::Suppressed) => "fails, suppressed by its source",
        Some(Voice::Fail) => "fails",
    }
}
