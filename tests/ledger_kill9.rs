//! kill -9 at any instant: what was acknowledged is there, once; the chain holds; counters never fall.
//!
//! The test starts itself again as a child that commits as fast as it can and prints a line after each commit has
//! returned. The parent kills it at a random instant, looks at what is left, and starts the next one on the same file.

mod ledger_support;

use bornright::domain::{Moment, State};
use bornright::ledger::{Config, HighWaterMark, Ledger, RecordKind, verify};
use ledger_support::{Book, Dice, Restored, START, word};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const FILE: &str = "BORNRIGHT_TEST_KILL9_FILE";
const SEED: &str = "BORNRIGHT_TEST_KILL9_SEED";
const KILLS: u64 = 20;
const RESOURCES: u32 = 400;

/// What the child was told by the ledger it found: its pairs are in a note, as a real pipeline derives them from
/// observations.
fn resume(path: &Path) -> (Ledger, Book) {
    let mut ledger = Ledger::open(&Config::Sqlite { path: path.to_owned() }).expect("opens after a kill");
    let mut found = Restored::default();
    ledger.restore(&mut found).expect("restores");
    let mut book = Book::new(3, 4);
    if ledger.head().sequence > 0 {
        book.names = Default::default();
        book.at = ledger.head().at;
        book.rows = found.counters.into_iter().map(|row| ((row.control, row.scope), row)).collect();
        book.resources = found.resources;
        for (id, (.., entries)) in &book.resources {
            for entry in entries {
                let state = State::ALL.get((entry >> 41 & 7) as usize - 1).copied();
                book.pairs.insert(((entry >> 46) as u32, *id), state);
            }
        }
    }
    (ledger, book)
}

/// Moves about a tenth of all pairs and commits, for ever.
fn child(path: &Path, seed: u64) -> ! {
    let mut dice = Dice(seed);
    let (mut ledger, mut book) = resume(path);
    let mut mark = HighWaterMark::open(&Config::Sqlite { path: path.to_owned() }).expect("opens");
    let mut out = std::io::stdout();
    loop {
        let before = book.at.map_or(START, |at| at.0);
        let at = before + 1 + dice.below(500) as i64;
        for id in 1..=RESOURCES {
            if dice.below(10) > 0 {
                continue;
            }
            let state = dice.below(4);
            if !book.resources.contains_key(&id) && id > ledger.head().last_resource + 1 + book.new_resources.len() as u32 {
                continue; // ids rise without gaps
            }
            let old = book.pairs.get(&(1, id)).copied().flatten();
            if old == State::ALL.get(state as usize).copied() {
                continue;
            }
            book.resource(id, 1 + id % 4, vec![word(1, 1 + state, false, at)]);
            book.change(1, id, State::ALL.get(state as usize).copied(), at, 0, 1);
        }
        let sequence = book.commit(&mut ledger, RecordKind::Run, at).expect("commits");
        let shown = mark.raise(Moment(at)).expect("raises");
        assert_eq!(shown.0, at);
        writeln!(out, "{sequence} {at}").and_then(|()| out.flush()).expect("the parent listens");
    }
}

#[test]
fn survives_kill_9_at_any_instant() {
    if let (Some(path), Ok(seed)) = (std::env::var_os(FILE), std::env::var(SEED)) {
        child(Path::new(&path), seed.parse().expect("a number"));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ledger.db");
    let config = Config::Sqlite { path: path.clone() };
    let mut dice = Dice(20_261_123);
    let (mut acknowledged, mut last): (u64, Vec<[u64; 4]>) = (0, Vec::new());
    let mut in_flight = 0;
    for kill in 0..KILLS {
        let mut process = Command::new(std::env::current_exe().expect("is known"))
            .args(["survives_kill_9_at_any_instant", "--exact", "--nocapture", "--test-threads=1"])
            .env(FILE, &path)
            .env(SEED, kill.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(process.stdout.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for line in lines.split(b'\n').map_while(Result::ok) {
                // The test harness prints its own lines; a torn one has no newline and is no acknowledgement of ours.
                let text = String::from_utf8_lossy(&line).into_owned();
                if let Some((a, b)) = text.split_once(' ')
                    && let (Ok(sequence), Ok(at)) = (a.parse::<u64>(), b.parse::<i64>())
                {
                    seen.push((sequence, at));
                }
            }
            seen
        });
        // From before it has opened the file to some dozens of commits later.
        std::thread::sleep(Duration::from_micros(2_000 + dice.below(250_000)));
        process.kill().expect("SIGKILL");
        process.wait().expect("is gone");
        let seen = reader.join().expect("reads");

        // A last line may have been cut: then its number reads smaller, never larger, than what was committed.
        if let Some((sequence, _)) = seen.last() {
            assert!(*sequence > acknowledged, "kill {kill}: it went on where it was");
            acknowledged = *sequence;
        }
        if !path.exists() {
            continue;
        }
        let (ledger, book) = resume(&path);
        let sequence = ledger.head().sequence;
        assert!(sequence >= acknowledged, "kill {kill}: record {acknowledged} was acknowledged and is lost");
        assert!(sequence <= acknowledged + 1, "kill {kill}: only one run can be in flight");
        in_flight += sequence - acknowledged;
        acknowledged = sequence;
        let report = verify(&path).expect("reads");
        assert_eq!(report.fault, None, "kill {kill}");
        assert_eq!(report.records, sequence);
        // Nothing is counted twice: the counts are those of the pairs.
        let mut counts = [0; 4];
        for (_, state) in book.pairs.iter() {
            if let Some(s) = state {
                counts[*s as usize] += 1;
            }
        }
        let rows: Vec<[u64; 4]> = book.rows.values().map(|row| row.resource_ms).collect();
        let stored = book.rows.values().fold([0; 4], |sum, row| std::array::from_fn(|s| sum[s] + row.counts[s]));
        assert_eq!(counts, stored, "kill {kill}");
        for (now, before) in rows.iter().zip(&last) {
            assert!(now.iter().zip(before).all(|(a, b)| a >= b), "kill {kill}: a counter fell");
        }
        last = rows;
        // What was exposed is never ahead of what is kept by more than the clock: here, never at all.
        let mark = HighWaterMark::open(&config).expect("opens").get();
        assert!(mark <= ledger.head().at.unwrap_or_default(), "kill {kill}");
    }
    assert!(acknowledged > KILLS, "the children did hardly anything: {acknowledged} commits");
    println!("{KILLS} kills, {acknowledged} commits, of which {in_flight} were durable but not yet acknowledged");
}
