//! The writing half: documents in, one immutable snapshot out. One thread owns everything here (law 11).
//!
//! A run is read, judged, committed to the ledger in one transaction, and only then shown.

use super::gate::ClockGate;
use super::measures::Measures;
use crate::clock::Clock;
use crate::collectors::client::Requests;
use crate::collectors::{Collected, Document, Reach, decode};
use crate::config::{CollectorConfig, Config, Definitions};
use crate::domain::account::DurationHistogram;
use crate::domain::{
    Cause, Finding, Moment, Position, Problem, ProblemKind, ResourceRef, ScannerInfo, ScopeTemplate, Severity, Span, WaiverOrigin,
    WaiverState,
};
use crate::evaluate::account::{Episode, Mark};
use crate::evaluate::{Account, Book, CollectorRules, Observed, PairTransition, Rules, WhereTest};
use crate::formats::{self, Context, Flow, Format, FormatSpec, Limits, Sink};
use crate::ledger::{
    self, Changes, CounterRow, Evidence, Head, HistoryRow, Ledger, NewNames, Record, RecordKind, ResourceRow, RunRecord, Transition,
};
use crate::snapshot::{CollectorView, ControlView, LedgerView, ScopeView, Snapshot, WaiverView};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Upper bounds of the run duration histogram, in seconds.
const RUN_BOUNDS: [f64; 8] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];
/// A document may decompress to at most this, and by at most this factor.
const DOCUMENT_BYTES: u64 = 16 << 30;
/// Problems kept for the page, a collector.
const RECENT_PROBLEMS: usize = 20;

/// The writing half's state.
#[derive(Debug)]
pub(crate) struct Pipeline {
    config: Config,
    definitions: Definitions,
    ledger: Ledger,
    book: Book,
    account: Account,
    measures: Measures,
    health: BTreeMap<String, Health>,
    definitions_written: String,
    generation: u64,
    started_at: Moment,
    last_ingest: Option<Moment>,
    reload: Option<(bool, Moment)>,
    demo: bool,
    ready: bool,
    /// The look ahead reaches at least to here: a replay knows when the next run comes.
    foreseen: Moment,
    gate: Arc<ClockGate>,
    published: Arc<ArcSwap<Snapshot>>,
}

/// What is kept of a collector from run to run; a note in the ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Health {
    up: Option<bool>,
    complete: bool,
    last_success: Option<i64>,
    last_run: Option<i64>,
    last_duration_ms: u64,
    findings: [u64; 6],
    unmapped: u64,
    runs: [u64; 3],
    problems: BTreeMap<String, u64>,
    requests: BTreeMap<String, u64>,
    duration_counts: Vec<u64>,
    duration_sum_ms: u64,
    recent: Vec<String>,
    scanner: Option<(String, String, String)>,
    /// What the last run was judged under: a change of it is a cause.
    mapping_digest: String,
    control_versions: BTreeMap<String, String>,
}

/// What a run came to, for the collector's back-off, for `gate` and for whoever pushed it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Applied {
    pub(crate) usable: bool,
    pub(crate) complete: bool,
    pub(crate) findings: u64,
    pub(crate) unmapped: u64,
    pub(crate) problems: Vec<String>,
    pub(crate) problem_count: u64,
    pub(crate) transitions: usize,
}

/// What outlives a pipeline: if the ledger fails, another is opened behind the same door.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) gate: Arc<ClockGate>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) started_at: Moment,
    pub(crate) demo: bool,
}

impl Shared {
    pub(crate) fn new(config: &Config, demo: bool, clock: Clock) -> anyhow::Result<Shared> {
        let started_at = clock.now();
        let mark = ledger::HighWaterMark::open(&config.ledger)?;
        if mark.get() > started_at + Span::MINUTE {
            let shown = mark.get();
            tracing::warn!(%shown, now = %started_at, "counters were shown up to {shown}, which is later than now: the clock went back. They stand still until it gets there");
        }
        let gate = Arc::new(ClockGate::new(clock, mark));
        let snapshot = Snapshot { started_at, demo, ..Snapshot::default() };
        Ok(Shared { gate, published: Arc::new(ArcSwap::from_pointee(snapshot)), started_at, demo })
    }
}

impl Pipeline {
    /// Opens the ledger and takes up where it left off: the down time is accounted under the rules that were in force,
    /// then today's rules are put in force.
    pub(crate) fn open(config: Config, definitions: Definitions, shared: &Shared) -> anyhow::Result<Pipeline> {
        let Shared { gate, published, started_at, demo } = shared.clone();
        let mut ledger = Ledger::open(&config.ledger)?;
        let head = ledger.head().clone();
        let mut restoring = Restoring::default();
        ledger.restore(&mut restoring)?;
        let Restoring { mut book, slots, counters, episodes, notes, lost } = restoring;
        if lost > 0 {
            anyhow::bail!(
                "the ledger holds {lost} records that do not fit together; run `bornright ledger verify`, and restore a backup if it is broken"
            );
        }
        let rules = compile_rules(&config, &definitions)?;
        let before: Option<RulesNote> = notes.get("rules").and_then(|t| serde_json::from_str(t).ok());
        let old_rules = before.and_then(|(collectors, documents)| {
            let old = crate::config::parse_definitions(&documents).value?;
            Rules::compile(
                old.controls().cloned().collect::<Vec<_>>(),
                collectors.into_iter().map(CollectorNote::rules).collect(),
                old.waivers.clone(),
                &compile_where,
                &lists_violations,
            )
            .ok()
        });
        // What was taken back is known to the ledger; names that the rules add from here on are not.
        book.restored(head.last_resource);
        book.adopt(old_rules.unwrap_or_else(|| rules.clone()), config.series_limit);
        if let Some(pending) = notes.get("pending").and_then(|t| serde_json::from_str::<Vec<(u32, u32, u8, u8, i64)>>(t).ok()) {
            for (resource, binding, verdict, times, seen) in pending {
                if let Some(slot) = slots.get(&resource) {
                    book.restore_pending(*slot, binding, verdict, times, seen);
                }
            }
        }
        if let Some(ran) = notes.get("ran").and_then(|t| serde_json::from_str::<Vec<(u32, i64)>>(t).ok()) {
            for (binding, at) in ran {
                book.restore_ran(binding, Moment(at));
            }
        }
        let at = gate.freeze(head.at.unwrap_or(started_at));
        let mut account = Account::new(head.at.unwrap_or(at));
        restore_account(&mut account, &book, counters, episodes, notes.get("durations"));
        ledger.history(&mut |h| {
            if let Some(row) = book.row(h.control, h.scope) {
                account.restore_mark(Mark {
                    row,
                    at: h.at,
                    counts: h.counts,
                    resource_ms: h.resource_ms,
                    fresh: h.fresh,
                    evidence_ms: h.evidence_ms,
                    deadlines: h.deadlines,
                });
            }
        })?;
        let held = head.at.is_some();
        account.look(&book, at);
        let transitions = account.advance(&book, at);
        let health = config
            .collectors
            .iter()
            .map(|c| {
                (c.name.clone(), notes.get(&format!("collector/{}", c.name)).and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default())
            })
            .collect();
        let mut pipeline = Pipeline {
            ledger,
            book,
            account,
            measures: Measures::default(),
            health,
            definitions_written: notes.get("definitions_digest").cloned().unwrap_or_default(),
            generation: 0,
            started_at,
            last_ingest: notes.get("last_ingest").and_then(|t| t.parse().ok()).map(Moment),
            reload: None,
            demo,
            ready: held,
            foreseen: Moment(i64::MIN),
            gate,
            published,
            config,
            definitions,
        };
        let same = pipeline.definitions_written == pipeline.rules_digest();
        pipeline.commit(RecordKind::Start, None, transitions)?;
        if same {
            // The very rules that the ledger was written under: nothing can change by putting them in force again.
            pipeline.account.look(&pipeline.book, at);
        } else {
            let changes = pipeline.book.reconfigure(rules, pipeline.config.series_limit, at);
            let transitions = pipeline.account.apply(&pipeline.book, &changes);
            pipeline.account.look(&pipeline.book, at);
            pipeline.commit(RecordKind::Definitions, None, transitions)?;
        }
        pipeline.measure(notes.get("slices").map(String::as_str))?;
        pipeline.publish();
        Ok(pipeline)
    }

    /// Reads every objective's timeline from the ledger's history: at a start, and when definitions change.
    fn measure(&mut self, slices: Option<&str>) -> anyhow::Result<()> {
        self.measures = Measures::build(&self.definitions, &self.book, &self.ledger, slices, self.account.at)?;
        Ok(())
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The definitions in force.
    pub(crate) fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// The live state, for `explain`.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Reads, judges, commits and shows one run.
    pub(crate) fn ingest(&mut self, collected: Collected) -> anyhow::Result<Applied> {
        let Some(collector) = self.config.collectors.iter().find(|c| c.name == collected.collector).cloned() else {
            anyhow::bail!("no collector is called {}", collected.collector);
        };
        // Whatever time changed until now is settled first, and the look ahead reaches past any run.
        let shown_until = self.published.load().horizon;
        let begun = self.gate.freeze(self.account.at);
        self.gate.thaw(shown_until);
        let mut transitions = self.account.advance(&self.book, begun);
        self.account.look(&self.book, shown_until);

        let mut reading = Reading::default();
        let several = collected.documents.len() > 1;
        self.book.begin(&collector.name, begun, several);
        if matches!(collector.from, Reach::Push(_)) {
            let scope = collector.scope.as_ref().unwrap_or(&self.config.scope);
            self.book.speaks_only_for_what_it_names(scope, &collector.fields);
        }
        let newest_only = collected.newest_per_subject && several && collector.format_name != Format::CloudCustodian.word();
        let mut subjects = HashSet::new();
        for (i, document) in collected.documents.iter().enumerate() {
            if i > 0 {
                self.book.next_document();
            }
            self.read_document(&collector, &collected, document, newest_only.then_some(&mut subjects), &mut reading);
        }
        let mut complete = collected.complete && reading.complete;
        reading.problems.extend(collected.problems.iter().cloned());
        if collected.documents.is_empty() && reading.problems.is_empty() {
            reading.problem(ProblemKind::Empty, &collector.name, "the source brought no document".to_owned());
        }
        let violations_only = is_violations_only(&collector);
        if reading.findings == 0 && !(violations_only && complete && reading.read > 0) {
            if complete {
                reading.problem(
                    ProblemKind::Empty,
                    &collector.name,
                    "not one finding: an empty scan says nothing, and closes nothing".to_owned(),
                );
            }
            complete = false;
        }

        let at = self.gate.freeze(self.account.at);
        let late = self.account.advance(&self.book, at);
        let overrides = Account::overrides(&late);
        let health = self.health.entry(collector.name.clone()).or_default();
        let versions: BTreeMap<String, String> =
            self.definitions.controls().map(|c| (c.id.clone(), format!("{} {}", c.set, c.version))).collect();
        let scanner = reading.scanner.as_ref().map(|s| (s.name.clone(), s.version.clone(), s.rule_set.clone()));
        let scanner_changed = health.scanner.is_some() && scanner.is_some() && health.scanner != scanner;
        let mapping_changed = !health.mapping_digest.is_empty() && health.mapping_digest != collector.mapping_digest;
        let held_versions = std::mem::take(&mut health.control_versions);
        let controls = self.book.controls().clone();
        let cause = |control: u32| {
            let id = controls.get(control);
            match held_versions.get(id) {
                Some(v) if versions.get(id) != Some(v) => Cause::Control,
                _ if scanner_changed => Cause::Scanner,
                _ if mapping_changed => Cause::Mapping,
                _ => Cause::Resource,
            }
        };
        let (changes, stats) = self.book.end(complete, at, &cause, &|slot, control| overrides.get(&(slot, control)).copied());
        transitions.extend(late);
        transitions.extend(self.account.apply(&self.book, &changes));
        self.account.look(&self.book, at.max(self.foreseen));

        for p in &stats.problems {
            reading.problems.push(p.clone());
        }
        if stats.more_problems > 0 {
            reading.problem(ProblemKind::Incomplete, &collector.name, format!("{} more findings could not be used", stats.more_problems));
        }
        if stats.unplaced > 0 {
            let template = collector.scope.as_ref().unwrap_or(&self.config.scope);
            let message = format!(
                "{} findings fill no scope `{}`; they are shown under `{}`",
                stats.unplaced,
                template.source(),
                ScopeTemplate::UNPLACED
            );
            reading.problem(ProblemKind::Incomplete, &collector.name, message);
        }
        let usable = reading.findings > 0 || complete;
        let outcome = if complete {
            0
        } else if usable {
            1
        } else {
            2
        };
        let health = self.health.entry(collector.name.clone()).or_default();
        health.up = Some(usable);
        health.complete = complete;
        health.last_run = Some(at.0);
        if complete {
            health.last_success = Some(at.0);
        }
        let duration = collected.finished.since(collected.started);
        health.last_duration_ms = duration.0;
        health.findings = stats.findings;
        health.unmapped = stats.unmapped;
        health.runs[outcome] += 1;
        for (code, n) in collected.requests.words() {
            *health.requests.entry(code.to_owned()).or_default() += n;
        }
        health.recent = reading.problems.iter().take(RECENT_PROBLEMS).map(ToString::to_string).collect();
        let mut histogram = histogram_from(&RUN_BOUNDS, &health.duration_counts, health.duration_sum_ms);
        histogram.observe(duration);
        (health.duration_counts, health.duration_sum_ms) = (histogram.counts, histogram.sum_ms);
        let mut problems: BTreeMap<ProblemKind, u64> = BTreeMap::new();
        for p in &reading.problems {
            *problems.entry(p.kind).or_default() += 1;
        }
        for (kind, n) in &problems {
            *health.problems.entry(kind.word().to_owned()).or_default() += n;
        }
        if scanner.is_some() {
            health.scanner = scanner;
        }
        health.mapping_digest.clone_from(&collector.mapping_digest);
        health.control_versions = versions;
        if usable {
            self.last_ingest = Some(at);
        }
        self.ready = true;
        let applied = Applied {
            usable,
            complete,
            findings: stats.findings.iter().sum(),
            unmapped: stats.unmapped,
            problems: reading.problems.iter().take(RECENT_PROBLEMS).map(ToString::to_string).collect(),
            problem_count: reading.problems.len() as u64,
            transitions: transitions.len(),
        };
        let run = RunRecord {
            collector: collector.name.clone(),
            started: collected.started,
            finished: collected.finished,
            complete,
            findings: stats.findings,
            problems,
            scanner: reading.scanner,
            mapping_digest: collector.mapping_digest.clone(),
            evidence: reading.evidence,
        };
        self.commit(RecordKind::Run, Some(run), transitions)?;
        self.publish();
        let collector = &collector.name;
        tracing::info!(%collector, complete, findings = applied.findings, problems = applied.problem_count, transitions = applied.transitions, "run of {collector} ingested");
        Ok(applied)
    }

    /// From the next run or tick on, what time alone will change is known at least until `until`. A replay, whose clock
    /// leaps from scan to scan, needs no ticks where nothing happens.
    pub(crate) fn foresee(&mut self, until: Moment) {
        self.foreseen = until;
    }

    /// Settles what time changed, and looks ahead anew. Regularly, well before the snapshot's horizon.
    pub(crate) fn tick(&mut self) -> anyhow::Result<()> {
        let at = self.gate.freeze(self.account.at);
        let transitions = self.account.advance(&self.book, at);
        self.account.look(&self.book, at.max(self.foreseen));
        if transitions.is_empty() && !self.account.has_marks() {
            self.measures.carry(&self.book, &[], &[], at);
            self.publish();
            return Ok(());
        }
        self.commit(RecordKind::Tick, None, transitions)?;
        self.publish();
        Ok(())
    }

    /// Puts another configuration and other definitions in force.
    pub(crate) fn reconfigure(&mut self, config: Config, definitions: Definitions) -> anyhow::Result<()> {
        let rules = compile_rules(&config, &definitions)?;
        let at = self.gate.freeze(self.account.at);
        let mut transitions = self.account.advance(&self.book, at);
        self.config = config;
        self.definitions = definitions;
        let changes = self.book.reconfigure(rules, self.config.series_limit, at);
        transitions.extend(self.account.apply(&self.book, &changes));
        self.account.look(&self.book, at);
        for c in &self.config.collectors {
            self.health.entry(c.name.clone()).or_default();
        }
        self.health.retain(|name, _| self.config.collectors.iter().any(|c| c.name == *name));
        self.reload = Some((true, at));
        self.commit(RecordKind::Definitions, None, transitions)?;
        let slices = self.measures.note().map(|(_, text)| text);
        self.measure(slices.as_deref())?;
        self.publish();
        Ok(())
    }

    /// Notes that a reload failed: nothing changes but a metric.
    pub(crate) fn reload_failed(&mut self, at: Moment) {
        self.reload = Some((false, at));
        self.publish();
    }

    fn read_document(
        &mut self,
        collector: &CollectorConfig,
        collected: &Collected,
        document: &Document,
        subjects: Option<&mut HashSet<String>>,
        reading: &mut Reading,
    ) {
        // A document without a time of its own cannot be newer than the moment somebody went for it.
        let default_time = document.modified.unwrap_or(collected.started);
        let custodian = collector.format_name == Format::CloudCustodian.word();
        let opened = open_document(document, custodian);
        let (mut input, hasher) = match opened {
            Ok(o) => o,
            Err(e) => {
                reading.complete = false;
                let kind = if e.kind() == io::ErrorKind::PermissionDenied { ProblemKind::Denied } else { ProblemKind::Unreachable };
                reading.problem(kind, &document.name, e.to_string());
                return;
            }
        };
        let fields: Vec<(String, String)> = document.fields.iter().chain(&collector.fields).cloned().collect();
        let scope = collector.scope.clone().unwrap_or_else(|| self.config.scope.clone());
        let want_raw = self.book.rules().wants_raw();
        let context = Context { source: &document.name, limits: Limits { document_bytes: DOCUMENT_BYTES, ..Limits::default() }, want_raw };
        // Two clusters have objects of one name. Theirs are told apart by the cluster's, as Trivy's are already.
        let within = matches!(&collector.format, FormatSpec::Builtin(f) if f.names_within_a_cluster());
        let cluster = fields.iter().find(|(k, v)| within && k == "cluster" && !v.is_empty()).map(|(_, v)| v.as_str());
        let mut sink = BookSink {
            book: &mut self.book,
            cluster,
            fields: &fields,
            default_time,
            scope: &scope,
            source: &document.name,
            forget_times: self.demo,
            subjects,
            subject_checked: false,
            superseded: false,
            findings: 0,
            newest: None,
            problems: Vec::new(),
        };
        let result = formats::read(&collector.format, &mut *input, &context, &mut sink);
        let BookSink { superseded, findings, newest, problems, .. } = sink;
        if superseded {
            tracing::debug!(document = %document.name, "left out: a newer document speaks of the same subject");
            return;
        }
        reading.read += 1;
        reading.findings += findings;
        reading.problems.extend(problems);
        match result {
            Ok(outcome) => {
                reading.complete &= outcome.complete;
                if let Some(format) = outcome.read_as.filter(|f| lists_violations(f)) {
                    // What such a source does not mention is a question of its own, and the collector must have said so.
                    reading.complete = false;
                    let message =
                        format!("recognised as {format}, which lists only violations; help: write `format: {format}` for this collector");
                    reading.problem(ProblemKind::Incomplete, &document.name, message);
                }
                if reading.scanner.is_none() {
                    reading.scanner = outcome.scanner;
                }
            }
            Err(e) => {
                reading.complete = false;
                reading.problems.push(e.into_problem());
            }
        }
        match evidence_of(document, custodian, input, &hasher) {
            Ok((sha256, bytes)) => {
                reading.evidence.push(Evidence { name: document.name.clone(), sha256, bytes, observed_at: newest.or(document.modified) })
            }
            Err(e) => {
                reading.complete = false;
                reading.problem(ProblemKind::Unreachable, &document.name, format!("its digest could not be taken: {e}"));
            }
        }
    }

    fn rules_digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.definitions.digest);
        for c in &self.config.collectors {
            hash.update(serde_json::to_vec(&CollectorNote::of(c)).unwrap_or_default());
        }
        hex::encode(hash.finalize())
    }

    fn commit(&mut self, kind: RecordKind, run: Option<RunRecord>, transitions: Vec<PairTransition>) -> anyhow::Result<()> {
        let at = self.account.at;
        let mut changes = Changes { names: self.new_names(), ..Changes::default() };
        changes.transitions = transitions
            .iter()
            .map(|t| Transition {
                control: t.change.control,
                scope: t.change.scope,
                resource: t.change.resource,
                from: t.change.from,
                to: t.change.to,
                at: t.at,
                evidence_at: t.change.evidence_at.unwrap_or(t.at),
                cause: t.change.cause,
                weight: t.change.weight,
            })
            .collect();
        changes.counters = self.counters();
        let marks = self.account.take_marks();
        changes.history = marks
            .iter()
            .map(|m| {
                let slot = self.book.rows()[m.row as usize];
                HistoryRow {
                    at: m.at,
                    control: slot.control,
                    scope: slot.shown,
                    counts: m.counts,
                    resource_ms: m.resource_ms,
                    fresh: m.fresh,
                    evidence_ms: m.evidence_ms,
                    deadlines: m.deadlines,
                }
            })
            .collect();
        self.measures.carry(&self.book, &marks, &transitions, at);
        let mut keys = std::mem::take(&mut self.account.episodes_changed);
        keys.sort_unstable();
        keys.dedup();
        for (resource, control) in keys {
            match self.account.episodes.get(&(resource, control)) {
                Some(e) => changes.episodes.push(ledger::Episode {
                    control,
                    resource,
                    opened: e.opened,
                    deadline: e.deadline,
                    counted: e.counted,
                    severity: e.severity,
                    closed: e.closed,
                }),
                None => changes.episodes_gone.push((control, resource)),
            }
        }
        changes.notes = self.notes(run.as_ref().map(|r| r.collector.as_str()));
        // A start is still accounted under the rules of before; today's are written with what they change.
        let digest = if kind == RecordKind::Start { self.definitions_written.clone() } else { self.rules_digest() };
        if digest != self.definitions_written {
            changes.definitions = self.definitions.documents.clone();
            changes.control_versions = self.definitions.controls().map(|c| (c.id.clone(), c.set.clone(), c.version.clone())).collect();
            let collectors: Vec<CollectorNote> = self.config.collectors.iter().map(CollectorNote::of).collect();
            changes.notes.push((
                "rules".to_owned(),
                serde_json::to_string(&(collectors, &self.definitions.documents)).context("writing down the rules in force")?,
            ));
            changes.notes.push(("definitions_digest".to_owned(), digest.clone()));
        }
        let (slots, gone, weights) = {
            let fresh = self.book.fresh();
            (fresh.slots.clone(), fresh.gone.clone(), fresh.weights.clone())
        };
        changes.gone = gone;
        changes.weights = weights;
        let words: Vec<Vec<u64>> =
            slots.iter().map(|s| self.book.resources().entries(*s).iter().map(|e| e.at_rest().0).collect()).collect();
        changes.resources = slots
            .iter()
            .zip(&words)
            .map(|(slot, entries)| {
                let r = self.book.resources();
                ResourceRow {
                    id: r.id(*slot),
                    name: r.name(*slot),
                    kind: self.book.kind(*slot),
                    scope: r.scope(*slot),
                    first_seen: Moment::from_seconds(r.first_seen(*slot)),
                    entries,
                }
            })
            .collect();
        let record = Record { kind, at, run, definitions_digest: self.definitions.digest.clone() };
        self.ledger.commit(&record, &changes).context("writing to the ledger")?;
        drop(changes);
        self.definitions_written = digest;
        self.book.taken();
        Ok(())
    }

    fn new_names(&mut self) -> NewNames {
        let (controls, scopes, collectors, checks, bindings, rows) = {
            let f = self.book.fresh();
            (f.controls, f.scopes, f.collectors, f.checks, f.bindings, f.rows)
        };
        let b = &self.book;
        let named = |names: &crate::evaluate::arena::Names, from: usize| names.iter().skip(from).map(|(i, n)| (i, n.to_owned())).collect();
        NewNames {
            controls: named(b.controls(), controls),
            scopes: b.scopes().iter().skip(scopes).map(|(i, n)| (i, n.to_owned(), b.scope_parts(i).to_vec())).collect(),
            collectors: named(b.collectors(), collectors),
            checks: named(b.checks(), checks),
            bindings: b
                .bindings()
                .iter()
                .enumerate()
                .skip(bindings)
                .map(|(i, s)| ledger::Binding {
                    id: i as u32,
                    control: s.control,
                    collector: s.collector,
                    check: s.check,
                    population: s.population,
                })
                .collect(),
            rows: b.rows().iter().skip(rows).map(|r| ledger::RowName { control: r.control, scope: r.scope, shown: r.shown }).collect(),
        }
    }

    fn counters(&self) -> Vec<CounterRow> {
        let mut out = Vec::with_capacity(self.account.rows.len());
        for (i, (slot, row)) in self.book.rows().iter().zip(&self.account.rows).enumerate() {
            if slot.row as usize != i {
                continue;
            }
            out.push(CounterRow {
                control: slot.control,
                scope: slot.shown,
                counts: row.counts.0,
                resource_ms: row.resource_ms.0,
                evidence_ms: row.evidence_ms,
                newest_evidence: row.newest_evidence,
                fresh_until: row.fresh_until,
                violations: row.violations.as_ref().map(|v| {
                    let mut flat = [0; 20];
                    for (s, c) in v.by_severity.iter().enumerate() {
                        flat[s * 4..s * 4 + 4].copy_from_slice(&[c.opened, c.fixed, c.met, c.missed]);
                    }
                    flat
                }),
                transitions: row.transitions.iter().map(|((d, c), n)| (d.word(), *c, *n)).collect(),
            });
        }
        out
    }

    fn notes(&self, collector: Option<&str>) -> ledger::Notes {
        let mut notes = Vec::new();
        for (name, health) in &self.health {
            if collector == Some(name.as_str()) {
                notes.push((format!("collector/{name}"), serde_json::to_string(health).unwrap_or_default()));
            }
        }
        let durations: Vec<(&Vec<u64>, u64)> = self.account.durations.iter().map(|h| (&h.counts, h.sum_ms)).collect();
        notes.push(("durations".to_owned(), serde_json::to_string(&durations).unwrap_or_default()));
        notes.push(("pending".to_owned(), serde_json::to_string(&self.book.pending()).unwrap_or_default()));
        let ran: Vec<(u32, i64)> = self.book.bindings().iter().enumerate().filter_map(|(i, b)| b.ran_at.map(|r| (i as u32, r.0))).collect();
        notes.push(("ran".to_owned(), serde_json::to_string(&ran).unwrap_or_default()));
        notes.extend(self.measures.note());
        if let Some(at) = self.last_ingest {
            notes.push(("last_ingest".to_owned(), at.0.to_string()));
        }
        notes
    }

    /// Makes what is written visible.
    fn publish(&mut self) {
        self.generation += 1;
        let snapshot = self.snapshot();
        let horizon = snapshot.horizon;
        self.published.store(Arc::new(snapshot));
        self.gate.thaw(horizon);
    }

    fn snapshot(&self) -> Snapshot {
        let rules = self.book.rules();
        let survey = &self.account.survey;
        // Controls by id; retired ones keep their counters for as long as the ledger knows them.
        let mut order: Vec<u32> = (0..self.book.controls().len() as u32).collect();
        order.sort_by_key(|c| self.book.controls().get(*c));
        let mut control_index = vec![u32::MAX; order.len()];
        let mut controls = Vec::with_capacity(order.len());
        for c in order {
            let view = match self.book.control_rule(c) {
                Some(rule) => control_view(rules, rule, survey.disagreements.get(c as usize).copied().unwrap_or(0)),
                None => continue,
            };
            control_index[c as usize] = controls.len() as u32;
            controls.push(view);
        }
        let mut scope_index = vec![u32::MAX; self.book.scopes().len()];
        let mut scopes = Vec::new();
        let mut rows: Vec<(usize, crate::snapshot::Row)> = Vec::with_capacity(self.account.rows.len());
        for (i, (slot, row)) in self.book.rows().iter().zip(&self.account.rows).enumerate() {
            if slot.row as usize != i || control_index[slot.control as usize] == u32::MAX {
                continue;
            }
            if scope_index[slot.shown as usize] == u32::MAX {
                scope_index[slot.shown as usize] = scopes.len() as u32;
                scopes.push(ScopeView {
                    name: self.book.scopes().get(slot.shown).to_owned(),
                    parts: self.book.scope_parts(slot.shown).to_vec(),
                });
            }
            let mut row = row.clone();
            row.control = control_index[slot.control as usize];
            row.scope = scope_index[slot.shown as usize];
            rows.push((i, row));
        }
        rows.sort_by(|(_, a), (_, b)| (a.control, &scopes[a.scope as usize].name).cmp(&(b.control, &scopes[b.scope as usize].name)));
        let mut place = vec![u32::MAX; self.account.rows.len()];
        for (new, (old, _)) in rows.iter().enumerate() {
            place[*old] = new as u32;
        }
        let mut changes: Vec<_> = self
            .account
            .changes()
            .into_iter()
            .filter(|c| place[c.row as usize] != u32::MAX)
            .map(|mut c| {
                c.row = place[c.row as usize];
                c
            })
            .collect();
        changes.sort_by_key(|c| (c.row, c.at));
        let mut first_change = vec![0u32; rows.len() + 1];
        for c in &changes {
            first_change[c.row as usize + 1] += 1;
        }
        for i in 1..first_change.len() {
            first_change[i] += first_change[i - 1];
        }
        let at = self.account.at;
        let slos = self.measures.views(&self.book, &self.account, &controls);
        let (waivers, waiver_counts) = self.waivers(at);
        let head: &Head = self.ledger.head();
        Snapshot {
            at,
            horizon: self.account.horizon,
            generation: self.generation,
            started_at: self.started_at,
            demo: self.demo,
            ready: self.ready,
            slos: Arc::new(slos),
            controls: Arc::new(controls),
            scopes: Arc::new(scopes),
            rows: rows.into_iter().map(|(_, r)| r).collect(),
            changes,
            first_change,
            collectors: self.config.collectors.iter().map(|c| self.collector_view(c)).collect(),
            waiver_counts,
            waivers: Arc::new(waivers),
            remediation_durations: self.account.durations.clone(),
            folded: self.book.folded(),
            last_ingest: self.last_ingest,
            ingest_interval: self.config.collectors.iter().map(|c| c.every).min().unwrap_or(Span::DAY),
            reload: self.reload,
            definitions_digest: self.definitions.digest.clone(),
            ledger: LedgerView { records: head.sequence, head: head.hash.clone() },
        }
    }

    fn waivers(&self, at: Moment) -> (Vec<WaiverView>, BTreeMap<(WaiverState, WaiverOrigin), u64>) {
        let mut counts = BTreeMap::new();
        for state in WaiverState::ALL {
            counts.insert((*state, WaiverOrigin::File), 0);
        }
        counts.insert((WaiverState::Active, WaiverOrigin::Source), self.account.survey.suppressed);
        let mut views = Vec::new();
        for (i, w) in self.book.rules().waivers().enumerate() {
            let covers = self.account.survey.waiver_covers.get(i).copied().unwrap_or(0);
            let state = if at < w.from {
                WaiverState::Pending
            } else if !w.holds(at) {
                WaiverState::Expired
            } else if covers > 0 {
                WaiverState::Active
            } else {
                WaiverState::Unused
            };
            *counts.entry((state, WaiverOrigin::File)).or_default() += 1;
            views.push(WaiverView {
                id: w.id.clone(),
                control: w.control.clone(),
                resource: w.resource.clone(),
                owner: w.owner.clone(),
                reason: w.reason.clone(),
                ticket: w.ticket.clone(),
                from: w.from,
                until: w.until,
                covers,
                state,
            });
        }
        *counts.entry((WaiverState::Invalid, WaiverOrigin::File)).or_default() += self.definitions.invalid_waivers.len() as u64;
        (views, counts)
    }

    fn collector_view(&self, c: &CollectorConfig) -> CollectorView {
        let empty = Health::default();
        let h = self.health.get(&c.name).unwrap_or(&empty);
        CollectorView {
            name: c.name.clone(),
            reach: c.from.word(),
            format: c.format_name.clone(),
            every: c.every,
            max_age: c.max_age,
            up: h.up,
            complete: h.complete,
            last_success: h.last_success.map(Moment),
            last_run: h.last_run.map(Moment),
            last_duration: Span(h.last_duration_ms),
            findings: h.findings,
            unmapped: h.unmapped,
            runs: h.runs,
            problems: h.problems.iter().filter_map(|(k, n)| ProblemKind::from_word(k).map(|k| (k, *n))).collect(),
            requests: if c.from.makes_requests() {
                Requests::default().words().map(|(code, _)| (code, h.requests.get(code).copied().unwrap_or_default())).to_vec()
            } else {
                Vec::new()
            },
            durations: histogram_from(&RUN_BOUNDS, &h.duration_counts, h.duration_sum_ms),
            recent_problems: h.recent.clone(),
            scanner: h.scanner.as_ref().map(|(name, version, _)| format!("{name} {version}").trim().to_owned()).unwrap_or_default(),
        }
    }
}

fn control_view(rules: &Rules, rule: usize, disagreements: u64) -> ControlView {
    let c = &rules.controls[rule];
    let reading = || (0..rules.collectors.len()).filter(|i| rules.reads(rule, *i)).map(|i| &rules.collectors[i]);
    ControlView {
        id: c.id.clone(),
        set: c.set.clone(),
        version: c.version.clone(),
        title: c.title.clone(),
        owner: c.owner.clone(),
        nature: c.nature,
        severity: c.severity,
        requirements: c.requirements.iter().map(|r| (r.framework.clone(), r.id.clone())).collect(),
        rationale: c.rationale.clone(),
        remediation: c.remediation.clone(),
        training: c.training.clone(),
        fix_within: c.fix_within,
        max_age: c.max_age.or_else(|| reading().map(|r| r.max_age).max()).unwrap_or(Span::DAY.times(3)),
        checks: c.checks.iter().map(|s| format!("{}:{}", s.format.as_deref().or(s.collector.as_deref()).unwrap_or("any"), s.id)).collect(),
        has_ratio: rules.has_ratio(rule),
        disagreements,
    }
}

fn histogram_from(bounds: &[f64], counts: &[u64], sum_ms: u64) -> DurationHistogram {
    let mut h = DurationHistogram::new(bounds);
    if counts.len() == h.counts.len() {
        h.counts.copy_from_slice(counts);
        h.sum_ms = sum_ms;
    }
    h
}

/// True if the collector's format lists violations but not what complies.
fn is_violations_only(c: &CollectorConfig) -> bool {
    matches!(&c.format, FormatSpec::Builtin(f) if f.violations_only())
}

/// Collectors and documents of definitions, as a note in the ledger.
type RulesNote = (Vec<CollectorNote>, Vec<(String, String)>);

/// What judging must know of a collector, as a note in the ledger: a restart accounts for the down time under it.
#[derive(Debug, Serialize, Deserialize)]
struct CollectorNote {
    name: String,
    format: String,
    every: u64,
    max_age: u64,
    grace: u64,
    trust_suppressions: bool,
    violations_only: bool,
}

impl CollectorNote {
    fn of(c: &CollectorConfig) -> CollectorNote {
        CollectorNote {
            name: c.name.clone(),
            format: c.format_name.clone(),
            every: c.every.0,
            max_age: c.max_age.0,
            grace: c.new_resource_grace.0,
            trust_suppressions: c.trust_suppressions,
            violations_only: is_violations_only(c),
        }
    }

    fn rules(self) -> CollectorRules {
        CollectorRules {
            name: self.name,
            format: self.format,
            max_age: Span(self.max_age),
            grace: Span(self.grace),
            trust_suppressions: self.trust_suppressions,
            violations_only: self.violations_only,
            every: Span(self.every),
        }
    }
}

fn lists_violations(format: &str) -> bool {
    Format::from_word(format).is_some_and(Format::violations_only)
}

fn compile_where(path: &str) -> Result<WhereTest, String> {
    Ok(WhereTest::new(formats::predicate::compile(path)?))
}

fn compile_rules(config: &Config, definitions: &Definitions) -> anyhow::Result<Rules> {
    let collectors = config.collectors.iter().map(|c| CollectorNote::of(c).rules()).collect();
    Rules::compile(
        definitions.controls().cloned().collect::<Vec<_>>(),
        collectors,
        definitions.waivers.clone(),
        &compile_where,
        &lists_violations,
    )
    .map_err(anyhow::Error::msg)
}

/// What a run's documents came to, together.
#[derive(Debug)]
struct Reading {
    complete: bool,
    read: u64,
    findings: u64,
    problems: Vec<Problem>,
    scanner: Option<ScannerInfo>,
    evidence: Vec<Evidence>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { complete: true, read: 0, findings: 0, problems: Vec::new(), scanner: None, evidence: Vec::new() }
    }
}

impl Reading {
    fn problem(&mut self, kind: ProblemKind, source: &str, message: String) {
        self.problems.push(Problem { kind, source: source.to_owned(), position: Position::default(), message });
    }
}

/// Hands findings to the book as they are read.
struct BookSink<'a> {
    book: &'a mut Book,
    /// The cluster whose objects the resources are, if the format does not name it itself.
    cluster: Option<&'a str>,
    fields: &'a [(String, String)],
    default_time: Moment,
    scope: &'a ScopeTemplate,
    source: &'a str,
    /// The demo's scans are dated; they count as of when they were laid out.
    forget_times: bool,
    subjects: Option<&'a mut HashSet<String>>,
    subject_checked: bool,
    superseded: bool,
    findings: u64,
    newest: Option<Moment>,
    problems: Vec<Problem>,
}

/// The fields that tell what a document is about.
const SUBJECT_FIELDS: [&str; 8] = ["account", "subscription", "project", "host", "cluster", "repository", "artifact", "node"];

impl Sink for BookSink<'_> {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        if !self.subject_checked {
            self.subject_checked = true;
            if let Some(subjects) = &mut self.subjects {
                let mut subject = String::new();
                for name in SUBJECT_FIELDS {
                    let value = finding.fields.get(name).or_else(|| self.fields.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()));
                    subject.push_str(value.unwrap_or_default());
                    subject.push('\u{1}');
                }
                for (k, v) in self.fields {
                    subject.push_str(k);
                    subject.push('=');
                    subject.push_str(v);
                    subject.push('\u{1}');
                }
                if !subjects.insert(subject) {
                    self.superseded = true;
                    return Flow::Stop;
                }
            }
        }
        self.findings += finding.count;
        let timeless;
        let finding = if self.forget_times {
            timeless = Finding { observed_at: None, ..finding.clone() };
            &timeless
        } else {
            finding
        };
        let placed;
        let finding = match self.cluster.filter(|_| !finding.is_mark()) {
            Some(cluster) => {
                let id = format!("{cluster}:{}", finding.resource.id).into();
                placed = Finding { resource: ResourceRef { id, ..finding.resource.clone() }, ..finding.clone() };
                &placed
            }
            None => finding,
        };
        self.newest = self.newest.max(finding.observed_at);
        self.book.observe(Observed {
            finding,
            fields: self.fields,
            default_time: self.default_time,
            scope: self.scope,
            source: self.source,
        });
        Flow::More
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

type Hasher = Arc<Mutex<(Sha256, u64)>>;

/// Takes the digest of the raw bytes while they are read.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let mut h = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        h.0.update(&buf[..n]);
        h.1 += n as u64;
        Ok(n)
    }
}

fn open_document(document: &Document, custodian: bool) -> io::Result<(Box<dyn BufRead + Send>, Hasher)> {
    let hasher: Hasher = Arc::default();
    if custodian && document.path.is_dir() {
        let part = |name: &str| -> io::Result<Option<Box<dyn Read + Send>>> {
            for name in [name.to_owned(), format!("{name}.gz")] {
                let path = document.path.join(name);
                if path.exists() {
                    let raw = Hashing { inner: File::open(path)?, hasher: hasher.clone() };
                    return Ok(Some(Box::new(decode::open(raw, DOCUMENT_BYTES, decode::MAX_RATIO)?)));
                }
            }
            Ok(None)
        };
        let metadata =
            part("metadata.json")?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the policy's directory has no metadata.json"))?;
        let resources = part("resources.json")?;
        let envelope = formats::cloud_custodian::envelope(metadata, resources);
        return Ok((Box::new(io::BufReader::new(envelope)), hasher));
    }
    let raw = Hashing { inner: File::open(&document.path)?, hasher: hasher.clone() };
    Ok((decode::open(raw, DOCUMENT_BYTES, decode::MAX_RATIO)?, hasher))
}

/// The digest and length of a document's raw bytes. Taken while reading; anew if the reader did not get to the end.
fn evidence_of(document: &Document, custodian: bool, input: Box<dyn BufRead + Send>, hasher: &Hasher) -> io::Result<(String, u64)> {
    drop(input);
    let (hash, bytes) = {
        let mut h = hasher.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut h.0), h.1)
    };
    let whole = if custodian && document.path.is_dir() { bytes } else { std::fs::metadata(&document.path)?.len() };
    if bytes == whole {
        return Ok((hex::encode(hash.finalize()), bytes));
    }
    digest_file(&document.path)
}

fn digest_file(path: &Path) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex::encode(hash.finalize()), bytes));
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
    }
}

/// What the ledger holds, under today's rules, to look at. The exporter may be at work beside it.
pub(crate) fn held(config: &Config, definitions: &Definitions) -> anyhow::Result<(Book, Head)> {
    let mut ledger = Ledger::open_to_read(&config.ledger)?;
    let mut restoring = Restoring::default();
    ledger.restore(&mut restoring)?;
    let mut book = restoring.book;
    book.restored(ledger.head().last_resource);
    for (binding, at) in restoring.notes.get("ran").and_then(|t| serde_json::from_str::<Vec<(u32, i64)>>(t).ok()).unwrap_or_default() {
        book.restore_ran(binding, Moment(at));
    }
    book.adopt(compile_rules(config, definitions)?, config.series_limit);
    Ok((book, ledger.head().clone()))
}

/// Takes a ledger's content back.
#[derive(Default)]
struct Restoring {
    book: Book,
    slots: HashMap<u32, u32>,
    counters: Vec<CounterRow>,
    episodes: Vec<ledger::Episode>,
    notes: HashMap<String, String>,
    lost: u64,
}

impl ledger::Restore for Restoring {
    fn names(&mut self, names: NewNames) {
        let plain = |list: &[(u32, String)]| list.iter().map(|(_, n)| n.clone()).collect::<Vec<_>>();
        let scopes = names.scopes.iter().map(|(_, n, p)| (n.clone(), p.clone())).collect();
        self.book.restore_names(&plain(&names.controls), &plain(&names.collectors), &plain(&names.checks), scopes);
        for b in &names.bindings {
            self.book.restore_binding(b.control, b.collector, b.check, b.population);
        }
        for r in &names.rows {
            self.book.restore_row(r.control, r.scope, r.shown);
        }
    }

    fn resource(&mut self, row: ResourceRow<'_>) {
        if self.book.restore_resource(row.id, row.name, row.kind, row.scope, row.first_seen, row.entries) {
            if let Some(slot) = self.book.resources().find(row.name) {
                self.slots.insert(row.id, slot);
            }
        } else {
            self.lost += 1;
        }
    }

    fn weight(&mut self, resource: u32, binding: u32, weight: u32) {
        self.book.restore_weight(resource, binding, weight, &self.slots);
    }

    fn episode(&mut self, episode: ledger::Episode) {
        self.episodes.push(episode);
    }

    fn counters(&mut self, row: CounterRow) {
        self.counters.push(row);
    }

    fn note(&mut self, name: &str, text: &str) {
        self.notes.insert(name.to_owned(), text.to_owned());
    }
}

fn restore_account(
    account: &mut Account,
    book: &Book,
    counters: Vec<CounterRow>,
    episodes: Vec<ledger::Episode>,
    durations: Option<&String>,
) {
    account.rows.resize_with(book.rows().len(), Default::default);
    for c in counters {
        let Some(row) = book.row(c.control, c.scope) else { continue };
        let row = &mut account.rows[row as usize];
        row.counts.0 = c.counts;
        row.resource_ms.0 = c.resource_ms;
        row.evidence_ms = c.evidence_ms;
        row.newest_evidence = c.newest_evidence;
        row.fresh_until = c.fresh_until;
        row.violations = c.violations.map(|flat| {
            let mut v = Box::<crate::snapshot::Violations>::default();
            for (s, c) in v.by_severity.iter_mut().enumerate() {
                (c.opened, c.fixed, c.met, c.missed) = (flat[s * 4], flat[s * 4 + 1], flat[s * 4 + 2], flat[s * 4 + 3]);
            }
            v
        });
        for (direction, cause, n) in c.transitions {
            let direction = match direction {
                "drift" => crate::snapshot::Direction::Drift,
                "remediation" => crate::snapshot::Direction::Remediation,
                _ => crate::snapshot::Direction::Other,
            };
            row.transitions.insert((direction, cause), n);
        }
    }
    let resources = book.resources();
    let scope_of: HashMap<u32, u32> = if episodes.is_empty() {
        HashMap::new()
    } else {
        resources.live().into_iter().map(|s| (resources.id(s), resources.scope(s))).collect()
    };
    for e in episodes {
        let Some(row) = scope_of.get(&e.resource).and_then(|s| book.row(e.control, *s)) else { continue };
        account.episodes.insert(
            (e.resource, e.control),
            Episode {
                opened: e.opened,
                deadline: e.deadline,
                closed: e.closed,
                counted: e.counted,
                fixed: e.closed.is_some(),
                severity: e.severity,
                row,
            },
        );
    }
    if let Some(list) = durations.and_then(|t| serde_json::from_str::<Vec<(Vec<u64>, u64)>>(t).ok()) {
        for (h, (counts, sum)) in account.durations.iter_mut().zip(list) {
            if counts.len() == h.counts.len() {
                h.counts = counts;
                h.sum_ms = sum;
            }
        }
    }
    debug_assert_eq!(account.durations.len(), Severity::ALL.len());
}
