//! The ledger beside its yardsticks, in one process: `cargo bench --bench ledger`.
//!
//! CPU time is this thread's (Linux: /proc/self/schedstat); wall time is shown beside it and depends on the disk.
//! The yardstick of appending is the plainest durable log: text rows with length and check, written and synced.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench prints, and stops at the first fault")]

use bornright::domain::{Cause, Moment, Severity, State};
use bornright::ledger::{
    Binding, Changes, Config, CounterRow, Episode, Ledger, NewNames, Reader, Record, RecordKind, ResourceRow, Restore, RowName, Transition,
    verify,
};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const CONTROLS: u32 = 300;
const RESOURCES: u32 = 100_000;
const PAIRS: u32 = 10;
const START: i64 = 1_767_225_600_000;
const BATCH: u64 = 10_000;

fn main() {
    // A word behind `--` picks one part: append1, append100, state.
    let wanted = |part: &str| std::env::args().skip(1).all(|a| a.starts_with('-') || a == part);
    // With one scope counters cost next to nothing; with a hundred there are 30,000 rows of them in every commit.
    for scopes in [1, 100] {
        if wanted(&format!("append{scopes}")) {
            append(scopes);
        }
    }
    if wanted("state") {
        state();
    }
}

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).map_or(0.0, |ns| ns / 1e9)
}

/// Runs `f` and prints what it took.
fn timed<T>(what: &str, per: u64, f: impl FnOnce() -> T) -> (T, f64) {
    let (wall, start) = (Instant::now(), cpu());
    let out = f();
    let (cpu, wall) = (cpu() - start, wall.elapsed().as_secs_f64());
    println!("{what:58} cpu {:8.1} ms  wall {:8.1} ms  {:8.2} µs each", cpu * 1e3, wall * 1e3, cpu * 1e6 / per as f64);
    (out, cpu)
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 31)
}

fn control_name(c: u32) -> String {
    format!("cloudtrail_bucket_public_access_enabled_{c}")
}

fn account(r: u32) -> u64 {
    100_000_000_000 + u64::from(r % 100) * 7_919_773
}

/// 74 bytes, as an ARN of the corpus.
fn resource_name(r: u32) -> String {
    format!("arn:aws:s3:eu-central-1:{:012}:resource/prod-snapshot-{:012x}", account(r), mix(u64::from(r)) & 0xffff_ffff_ffff)
}

fn entries(r: u32, at: i64) -> Vec<u64> {
    let at = (at - 1_262_304_000_000) as u64;
    (0..PAIRS)
        .map(|i| u64::from(r % 30 * PAIRS + i) << 46 | (1 + u64::from(mix(u64::from(r * PAIRS + i)).is_multiple_of(6))) << 41 | at)
        .collect()
}

struct World {
    names: NewNames,
    resources: Vec<(String, Vec<u64>)>,
    counters: Vec<CounterRow>,
    scopes: u32,
}

fn world(scopes: u32) -> World {
    let mut names = NewNames { collectors: vec![(1, "aws".to_owned())], ..NewNames::default() };
    let mut counters = Vec::new();
    for c in 0..CONTROLS {
        names.controls.push((c, control_name(c)));
        names.checks.push((c, control_name(c)));
        names.bindings.push(Binding { id: c, control: c, collector: 1, check: c, population: false });
        for s in 0..scopes {
            names.rows.push(RowName { control: c, scope: s, shown: s });
            // As a row looks that has lived: a few causes, and violations in one of three.
            let transitions = vec![("drift", Cause::Resource, 40), ("remediation", Cause::Resource, 39), ("other", Cause::NewResource, 33)];
            let violations = (c % 3 == 0).then_some([7; 20]);
            counters.push(CounterRow { control: c, scope: s, transitions, violations, ..CounterRow::default() });
        }
    }
    for s in 0..scopes {
        names.scopes.push((s, format!("{:012}", account(s)), vec![("account".to_owned(), format!("{:012}", account(s)))]));
    }
    let resources = (0..RESOURCES).map(|r| (resource_name(r), entries(r, START))).collect();
    World { names, resources, counters, scopes }
}

impl World {
    fn rows(&self, ids: impl Iterator<Item = u32>) -> Vec<ResourceRow<'_>> {
        ids.map(|r| {
            let (name, entries) = &self.resources[r as usize];
            ResourceRow { id: r + 1, name, kind: "AwsS3Bucket", scope: r % self.scopes, first_seen: Moment(START), entries }
        })
        .collect()
    }

    /// Counts move, time passes.
    fn counted(&mut self, t: &[Transition], at: i64, since: i64) {
        for row in &mut self.counters {
            for s in 0..4 {
                row.resource_ms[s] += row.counts[s] * (at - since) as u64;
            }
            row.evidence_ms[1] += (at - since) as u64;
        }
        for t in t {
            let row = &mut self.counters[(t.control * self.scopes + t.scope) as usize];
            if let Some(s) = t.from {
                row.counts[s as usize] -= 1;
            }
            if let Some(s) = t.to {
                row.counts[s as usize] += 1;
            }
        }
    }
}

fn first_seen(scopes: u32) -> Vec<Transition> {
    (0..RESOURCES * PAIRS)
        .map(|i| {
            let r = i / PAIRS;
            let to = if mix(u64::from(i)).is_multiple_of(6) { State::NonCompliant } else { State::Compliant };
            moved(r % 30 * PAIRS + i % PAIRS, r, scopes, None, to, START, Cause::NewResource)
        })
        .collect()
}

fn moved(control: u32, r: u32, scopes: u32, from: Option<State>, to: State, at: i64, cause: Cause) -> Transition {
    let lag = 600_000 + (mix(u64::from(r)) % 3_000_000) as i64;
    let evidence_at = Moment(at - lag);
    Transition { control, scope: r % scopes, resource: r + 1, from, to: Some(to), at: Moment(at), evidence_at, cause, weight: 1 }
}

fn size(path: &Path) -> f64 {
    std::fs::metadata(path).map_or(0.0, |m| m.len() as f64)
}

fn checkpoint(path: &Path) {
    // Closing the ledger checkpoints it; this is for sizes.
    rusqlite::Connection::open(path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn append(scopes: u32) {
    println!("\n## Append: {BATCH} transitions a commit, fsynced; {} rows of counters", CONTROLS * scopes);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut ledger = Ledger::open(&Config::Sqlite { path: path.clone() }).unwrap();
    let mut world = world(scopes);
    let first = first_seen(scopes);
    let mut states: Vec<State> = first.iter().filter_map(|t| t.to).collect();
    world.counted(&first, START, START);
    let changes = Changes {
        names: std::mem::take(&mut world.names),
        resources: world.rows(0..RESOURCES),
        transitions: first,
        counters: world.counters.clone(),
        ..Changes::default()
    };
    ledger.commit(&Record::of(RecordKind::Run, Moment(START), "d".repeat(64)), &changes).unwrap();
    drop(changes);
    checkpoint(&path);
    let before = size(&path);

    let mut log = std::fs::File::create(dir.path().join("log")).unwrap();
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let mut at = START;
    const ROUNDS: u64 = 15;
    for round in 0..ROUNDS {
        let since = at;
        at += 3_600_000;
        let mut t = Vec::new();
        for k in 0..BATCH {
            // Spread over all pairs, each at most once a round.
            let pairs = u64::from(RESOURCES * PAIRS);
            let i = ((k * (pairs / BATCH) + mix(round) % (pairs / BATCH)) % pairs) as u32;
            let (from, r) = (states[i as usize], i / PAIRS);
            let to = if from == State::Compliant { State::NonCompliant } else { State::Compliant };
            states[i as usize] = to;
            t.push(moved(r % 30 * PAIRS + i % PAIRS, r, scopes, Some(from), to, at, Cause::Resource));
        }
        world.counted(&t, at, since);

        let start = cpu();
        let mut bytes = Vec::new();
        for t in &t {
            let word = |s: Option<State>| s.map_or("-", State::word);
            let (r, c) = (t.resource - 1, t.control);
            let account = format!("{:012}", account(r));
            let text = format!("{}\t{account}\t{}\t{}\t{}\t{}", control_name(c), resource_name(r), word(t.from), word(t.to), t.at.0);
            let check = text.as_bytes().chunks(8).fold(0x811c_9dc5_u32, |h, c| {
                let mut word = [0; 8];
                word[..c.len()].copy_from_slice(c);
                (h ^ (u64::from_le_bytes(word).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32).wrapping_mul(0x0100_0193)
            });
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&check.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        log.write_all(&bytes).unwrap();
        log.sync_data().unwrap();
        raw.push(cpu() - start);

        let changes = Changes { transitions: t, counters: world.counters.clone(), ..Changes::default() };
        let record = Record::of(RecordKind::Run, Moment(at), "d".repeat(64));
        let start = cpu();
        ledger.commit(&record, &changes).unwrap();
        ours.push(cpu() - start);
    }
    ours.sort_by(f64::total_cmp);
    raw.sort_by(f64::total_cmp);
    let (mid, low) = (ROUNDS as usize / 2, 0);
    for (name, of) in [("ledger", &ours), ("raw append of text rows + fdatasync", &raw)] {
        println!(
            "{name:40} cpu a commit: median {:6.2} ms, least {:6.2} ms; {:9.0} rows/s",
            of[mid] * 1e3,
            of[low] * 1e3,
            BATCH as f64 / of[mid]
        );
    }
    checkpoint(&path);
    let rows = (BATCH * ROUNDS) as f64;
    println!("ledger ÷ raw, rows a CPU second: {:.2}", raw[mid] / ours[mid]);
    println!("ledger: {:.1} B a transition at rest; raw: {:.1}", (size(&path) - before) / rows, size(&dir.path().join("log")) / rows);
    drop(ledger);
    let (report, _) = timed("verify all of it", RESOURCES as u64 * PAIRS as u64 + BATCH * ROUNDS, || verify(&path).unwrap());
    assert_eq!(report.fault, None);
    let reader = Reader::open(&Config::Sqlite { path }).unwrap();
    let name = resource_name(77);
    let (events, _) =
        timed("history of one pair, by walking 1.15M transitions", 1, || reader.history(&control_name(170), &name, 100).unwrap());
    assert!(!events.is_empty());
    timed("findings of one control, first page", 1, || reader.findings(&control_name(170), None, None, None, 100).unwrap());
    timed("findings of one control, all", 1, || reader.findings(&control_name(170), None, None, None, usize::MAX).unwrap());
}

/// What a start does with what it is told: index names, keep words.
#[derive(Default)]
struct Start {
    index: hashbrown::HashMap<Box<str>, u32>,
    words: Vec<u64>,
    failing: u64,
    rows: usize,
    episodes: usize,
}

impl Restore for Start {
    fn names(&mut self, _: NewNames) {}
    fn resource(&mut self, row: ResourceRow<'_>) {
        self.index.insert(row.name.into(), row.id);
        self.words.extend_from_slice(row.entries);
        self.failing += row.entries.iter().filter(|w| *w >> 41 & 7 == 2).count() as u64;
    }
    fn weight(&mut self, _: u32, _: u32, _: u32) {}
    fn episode(&mut self, _: Episode) {
        self.episodes += 1;
    }
    fn counters(&mut self, _: CounterRow) {
        self.rows += 1;
    }
    fn note(&mut self, _: &str, _: &str) {}
}

fn state() {
    let pairs = u64::from(RESOURCES * PAIRS);
    println!("\n## State of {pairs} pairs on {RESOURCES} resources, 100 scopes, 30,000 rows of counters");
    for episodes in [false, true] {
        println!("{}", if episodes { "with an open episode for every failing pair:" } else { "observations alone:" });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let config = Config::Sqlite { path: path.clone() };
        let mut ledger = Ledger::open(&config).unwrap();
        let mut world = world(100);
        let names = std::mem::take(&mut world.names);
        let record = |at| Record::of(RecordKind::Run, Moment(at), "d".repeat(64));
        let empty = Changes { names, counters: world.counters.clone(), ..Changes::default() };
        ledger.commit(&record(START), &empty).unwrap();
        checkpoint(&path);
        let before = size(&path);
        let open = |r: u32| {
            (0..PAIRS).filter(move |i| mix(u64::from(r * PAIRS + i)).is_multiple_of(6)).map(move |i| Episode {
                control: r % 30 * PAIRS + i,
                resource: r + 1,
                opened: Moment(START),
                deadline: Some(Moment(START + 604_800_000)),
                counted: false,
                severity: Severity::High,
                closed: None,
            })
        };
        let first = Changes {
            resources: world.rows(0..RESOURCES),
            episodes: if episodes { (0..RESOURCES).flat_map(open).collect() } else { Vec::new() },
            counters: world.counters.clone(),
            ..Changes::default()
        };
        timed("  first write", pairs, || ledger.commit(&record(START), &first).map(|_| ()).unwrap());
        let opened = first.episodes.len();
        drop(first);
        checkpoint(&path);
        println!("  {:.1} B a pair at rest", (size(&path) - before) / pairs as f64);
        let changed: Vec<u32> = (0..RESOURCES).filter(|r| mix(u64::from(*r) ^ 0x55).is_multiple_of(10)).collect();
        for r in &changed {
            world.resources[*r as usize].1[3] += 3_600_000;
        }
        let rescan = Changes { resources: world.rows(changed.into_iter()), counters: world.counters.clone(), ..Changes::default() };
        timed("  rescan: 1 % of pairs, their 10,000 resources", pairs / 100, || {
            ledger.commit(&record(START), &rescan).map(|_| ()).unwrap()
        });
        drop(rescan);
        for minute in 1..=3 {
            for row in &mut world.counters {
                row.evidence_ms[1] += 60_000;
            }
            let tick = Changes { counters: world.counters.clone(), ..Changes::default() };
            let at = START + 60_000 * minute;
            timed("  a tick: nothing changed but time", 1, || ledger.commit(&record(at), &tick).map(|_| ()).unwrap());
        }
        drop(ledger);
        for _ in 0..5 {
            let mut start = Start::default();
            timed("  reopen, restore and index", pairs, || Ledger::open(&config).unwrap().restore(&mut start).unwrap());
            assert_eq!((start.words.len() as u64, start.rows, start.episodes), (pairs, 30_000, opened));
            assert!(start.failing > pairs / 7);
        }
    }
}
