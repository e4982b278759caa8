//! Dated scans on a simulated clock, through the very same pipeline: what the exporter would have said and when.
//!
//! The clock leaps from one instant at which something happens to the next: a scan comes in, a waiver begins or ends, a
//! regular tick would have found that evidence ran out. In between a snapshot is in force, and says exactly what stood at
//! every instant of its stretch; whoever watches reads it there. Nothing is judged, counted or rendered here.

pub(crate) mod alerts;
pub(crate) mod instants;
pub(crate) mod pages;
mod rates;

use super::pipeline::{Pipeline, Shared};
use crate::clock::{self, Clock, Simulated};
use crate::collectors::{Collected, Document, decode};
use crate::config::{self, Config, Definitions, Scan};
use crate::domain::{Moment, Span};
use crate::ledger;
use crate::snapshot::Snapshot;
use anyhow::Context as _;
use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A real exporter settles what time changed this often; so does a replay, where there is something to settle.
const TICK: Span = Span::MINUTE;
/// Larger manifests are given in parts.
const MAX_MANIFEST: u64 = 64 << 20;

/// What is to be replayed.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The scans, by time.
    pub(crate) scans: Vec<Scan>,
    /// The first instant.
    pub(crate) start: Moment,
    /// The last instant.
    pub(crate) until: Moment,
    /// Where the record of it is kept, if it is.
    pub(crate) ledger: Option<PathBuf>,
}

/// Whoever looks on while time passes.
pub(crate) trait Watcher {
    /// Time begins to pass.
    fn begin(&mut self, start: Moment) -> anyhow::Result<()>;

    /// `snapshot` was in force from `from` until `to`; not at `to` itself, unless that is the end (`last`).
    fn stretch(&mut self, snapshot: &Arc<Snapshot>, from: Moment, to: Moment, last: bool) -> anyhow::Result<()>;
}

/// What became of the scans.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// Scans replayed.
    pub(crate) replayed: usize,
    /// Of these, how many brought something that could be used.
    pub(crate) usable: usize,
    /// Scans that the ledger held already.
    pub(crate) held: usize,
}

/// Reads the manifest `path`, which may be compressed.
pub(crate) fn manifest(path: &Path, config: &Config) -> anyhow::Result<Vec<Scan>> {
    let mut bytes = Vec::new();
    decode::open_path(path, MAX_MANIFEST, decode::MAX_RATIO)
        .and_then(|mut r| r.read_to_end(&mut bytes))
        .with_context(|| format!("{}: the manifest cannot be read", path.display()))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| anyhow::anyhow!("{}: the manifest is not UTF-8 text\n  help: docs/replay.md shows one", path.display()))?;
    config::parse_scans(path, &text, config).map_err(|errors| {
        let many = errors.count(config::ProblemSeverity::Error);
        anyhow::anyhow!("the manifest has {many} {}\n{errors}", if many == 1 { "error" } else { "errors" })
    })
}

/// Replays `plan`, with `watcher` looking on.
pub(crate) fn replay(config: &Config, definitions: &Definitions, plan: Plan, watcher: &mut dyn Watcher) -> anyhow::Result<Summary> {
    let Plan { mut scans, mut start, until, ledger } = plan;
    let config = Config { ledger: ledger.map_or(ledger::Config::Memory, |path| ledger::Config::Sqlite { path }), ..config.clone() };
    let mut summary = Summary::default();
    if config.ledger != ledger::Config::Memory {
        if until > clock::now() {
            anyhow::bail!(
                "--ledger keeps what has happened, and {until} is yet to come\n  help: leave --ledger out to look ahead, or end at a time that is past with --until"
            );
        }
        let held = Held::of(&config.ledger)?;
        let before = scans.len();
        scans.retain(|s| !held.runs.contains(&(s.collector.clone(), s.at)));
        summary.held = before - scans.len();
        if let Some(head) = held.head {
            if let Some(late) = scans.iter().find(|s| s.at < head) {
                anyhow::bail!(
                    "line {} of the manifest: the scan of {} at {} comes before {head}, up to which the ledger's account is settled\n  help: what was accounted is never rewritten; replay everything into a new ledger",
                    late.line,
                    late.collector,
                    late.at
                );
            }
            if until < head {
                anyhow::bail!("the ledger's account is settled up to {head}; it cannot be replayed until {until}, which is earlier");
            }
            start = start.max(head);
        }
    }
    watcher.begin(start)?;
    let clock = Simulated::new(start);
    let shared = Shared::new(&config, false, Clock::Simulated(clock.clone()))?;
    let waivers: Vec<Moment> = definitions.waivers.iter().flat_map(|w| [w.from, w.until]).collect();
    let mut pipeline = Pipeline::open(config, definitions.clone(), &shared)?;
    let next_of = |i: usize, scans: &[Scan]| scans.get(i).map_or(until, |s| s.at);
    pipeline.foresee(next_of(0, &scans));
    pipeline.tick()?;
    let mut now = start;
    for i in 0..=scans.len() {
        let event = next_of(i, &scans);
        loop {
            let snapshot = shared.published.load_full();
            let change = snapshot.changes.iter().map(|c| c.at).chain(waivers.iter().copied()).filter(|at| *at > now).min();
            let Some(tick) = change.map(next_tick).filter(|t| *t < event) else { break };
            watcher.stretch(&snapshot, now, tick, false)?;
            now = tick;
            clock.set(now);
            pipeline.tick()?;
        }
        let last = i == scans.len();
        watcher.stretch(&shared.published.load_full(), now, event, last)?;
        now = event;
        clock.set(now);
        let Some(scan) = scans.get(i) else { break };
        pipeline.foresee(next_of(i + 1, &scans));
        let applied = pipeline.ingest(collected(scan))?;
        summary.replayed += 1;
        summary.usable += usize::from(applied.usable);
        if !applied.usable || applied.complete != scan.complete {
            let (collector, at) = (&scan.collector, scan.at);
            let what = if applied.usable { "brought not everything" } else { "brought nothing that could be used" };
            let first = applied.problems.first().map_or("no reason was given", String::as_str);
            tracing::warn!(%collector, %at, problems = applied.problem_count, "the scan of {collector} at {at} {what}: {first}");
        }
    }
    // What changed since the last scan is on record too.
    pipeline.tick()?;
    Ok(summary)
}

/// The multiples of `every` (since the Unix epoch, as Prometheus aligns its steps) from `first` to `until`.
pub(crate) fn steps(first: Moment, until: Moment, every: Span) -> impl Iterator<Item = Moment> {
    std::iter::successors(Some(aligned(first, every)), move |at| Some(*at + every)).take_while(move |at| *at <= until)
}

/// The first multiple of `every` at or after `at`.
fn aligned(at: Moment, every: Span) -> Moment {
    let step = i64::try_from(every.0).unwrap_or(i64::MAX).max(1);
    let over = at.0.rem_euclid(step);
    Moment(if over == 0 { at.0 } else { at.0 - over + step })
}

/// The regular tick that comes first at or after `at`.
fn next_tick(at: Moment) -> Moment {
    aligned(at, TICK)
}

fn collected(scan: &Scan) -> Collected {
    let document = |path: &PathBuf| Document {
        name: path.display().to_string(),
        path: path.clone(),
        modified: Some(scan.at),
        fields: Vec::new(),
        spool: None,
    };
    Collected {
        documents: scan.documents.iter().map(document).collect(),
        complete: scan.complete,
        ..Collected::nothing(&scan.collector, scan.at)
    }
}

/// What a ledger knows already.
#[derive(Default)]
struct Held {
    runs: HashSet<(String, Moment)>,
    head: Option<Moment>,
}

impl Held {
    fn of(config: &ledger::Config) -> anyhow::Result<Held> {
        let ledger::Config::Sqlite { path } = config else { return Ok(Held::default()) };
        if !path.exists() {
            return Ok(Held::default());
        }
        let head = ledger::Ledger::open(config)?.head().at;
        let reader = ledger::Reader::open(config)?;
        let mut runs = HashSet::new();
        let mut before = None;
        loop {
            let page = reader.runs(before, 1000)?;
            let Some(last) = page.last() else { return Ok(Held { runs, head }) };
            before = Some(last.record);
            runs.extend(page.into_iter().map(|r| (r.run.collector, r.run.started)));
        }
    }
}
