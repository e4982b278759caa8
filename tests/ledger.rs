//! The ledger at its borders: what is kept, what is refused, what is found out.

mod ledger_support;

use bornright::domain::{Cause, Moment, Severity, State};
use bornright::ledger::{
    Changes, Config, CounterRow, Episode, ExportRange, Ledger, LedgerError, ObservedResult, Reader, Record, RecordKind, Transition,
    VerifyReport, verify,
};
use ledger_support::{Book, Restored, START, word};
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

const GOOD: Option<State> = Some(State::Compliant);
const BAD: Option<State> = Some(State::NonCompliant);

fn scratch() -> (tempfile::TempDir, Config, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data").join("ledger.db");
    (dir, Config::Sqlite { path: path.clone() }, path)
}

/// Six records: start, two runs, a tick with an expiry before it, a run, a tick.
fn history(ledger: &mut Ledger) -> Book {
    let mut book = Book::new(3, 3);
    book.commit(ledger, RecordKind::Start, START).expect("start");
    for id in 1..=6 {
        book.resource(id, 1 + id % 3, vec![word(1, 1 + u64::from(id % 2), false, START), word(2, 1, id == 4, START + 7)]);
        book.change(1, id, if id % 2 == 0 { BAD } else { GOOD }, START + 1000, 500, 1);
        book.change(2, id, GOOD, START + 1000, 500, if id == 5 { 7 } else { 1 });
    }
    book.commit(ledger, RecordKind::Run, START + 1000).expect("run");
    for row in book.rows.values_mut() {
        row.newest_evidence = Some(Moment(START + 500));
        row.fresh_until = Some(Moment(START + 1700));
    }
    book.change(1, 2, GOOD, START + 2000, 0, 1);
    book.gone.push(6);
    book.change(1, 6, None, START + 2000, 0, 1);
    book.change(2, 6, None, START + 2000, 0, 1);
    book.resources.remove(&6);
    book.commit_with(ledger, RecordKind::Run, START + 2000, |c| {
        c.definitions = vec![("b.yaml".to_owned(), "kind: SLO".to_owned()), ("a.yaml".to_owned(), "kind: ControlSet".to_owned())];
        c.control_versions = vec![("control-1".to_owned(), "set".to_owned(), "1.0.0".to_owned())];
        c.weights = vec![(5, 2, 7)];
        c.episodes = vec![episode(4, false), episode(6, false)];
        c.notes = vec![("health".to_owned(), "{\"ä\":1}".to_owned())];
    })
    .expect("run");
    book.change(1, 3, Some(State::Unknown), START + 2400, 0, 1);
    book.change(1, 1, Some(State::Unknown), START + 2300, 0, 1);
    book.commit(ledger, RecordKind::Tick, START + 3000).expect("tick");
    book.resource(7, 2, vec![word(3, 2, false, START + 3500)]);
    book.resource(4, 2, vec![word(1, 1, false, START + 3500)]);
    book.change(3, 7, BAD, START + 4000, 500, 1);
    book.change(1, 4, GOOD, START + 4000, 500, 1);
    book.rows.get_mut(&(1, 2)).expect("is there").violations = Some([3; 20]);
    book.commit_with(ledger, RecordKind::Run, START + 4000, |c| {
        c.episodes = vec![episode(4, true)];
        c.episodes_gone = vec![(1, 6)];
    })
    .expect("run");
    book.commit(ledger, RecordKind::Tick, START + 5000).expect("tick");
    book
}

fn episode(resource: u32, counted: bool) -> Episode {
    Episode {
        control: 1,
        resource,
        opened: Moment(START),
        deadline: (resource == 4).then_some(Moment(START + 9000)),
        counted,
        severity: Severity::High,
        closed: counted.then_some(Moment(START + 4000)),
    }
}

fn intact(path: &Path) -> VerifyReport {
    let report = verify(path).expect("readable");
    assert_eq!(report.fault, None);
    report
}

#[test]
fn a_restart_finds_what_was_committed() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    assert_eq!((ledger.head().sequence, ledger.head().hash.as_str()), (0, "0".repeat(64).as_str()));
    let book = history(&mut ledger);
    let head = ledger.head().clone();
    assert_eq!((head.sequence, head.at, head.last_resource), (6, Some(Moment(START + 5000)), 7));
    assert!(ledger.knows_definitions(&"d".repeat(64)).expect("answers"));
    assert!(!ledger.knows_definitions(&"0".repeat(64)).expect("answers"));
    drop(ledger);

    let mut ledger = Ledger::open(&config).expect("opens again");
    assert_eq!(ledger.head(), &head);
    let mut found = Restored::default();
    ledger.restore(&mut found).expect("restores");
    assert_eq!(found.counters, book.counters(), "carried to the head's instant, exactly");
    assert_eq!(found.resources, book.resources);
    assert_eq!(found.weights, [(5, 2, 7)]);
    assert_eq!(found.episodes, [episode(4, true)]);
    assert_eq!(found.notes, [("health".to_owned(), "{\"ä\":1}".to_owned())]);
    let names = Book::new(3, 3).names;
    assert_eq!(found.names.controls, names.controls);
    assert_eq!(found.names.scopes, names.scopes);
    assert_eq!(found.names.collectors, names.collectors);
    assert_eq!(found.names.checks, names.checks);
    assert_eq!(found.names.bindings, names.bindings);
    assert_eq!(found.names.rows, names.rows);

    let report = intact(&path);
    assert_eq!((report.records, report.transitions, report.rows, report.head), (6, 19, 6, head.hash));
}

#[test]
fn counters_are_written_only_when_more_than_time_changed() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    let mut book = history(&mut ledger);
    let rows = |path: &Path, at: i64| -> i64 {
        let sql = "SELECT count(*) FROM counters WHERE as_of = ?1";
        Connection::open(path).expect("opens").query_row(sql, [at], |r| r.get(0)).expect("counts")
    };
    // The tick at +5000 changed nothing; the run at +4000 touched control 3 and 1 in scope 2.
    assert_eq!(rows(&path, START + 5000), 0);
    assert_eq!(rows(&path, START + 4000), 2);
    // A row that the caller leaves out is taken to have changed by time alone.
    book.change(3, 7, GOOD, START + 6000, 0, 1);
    book.commit_with(&mut ledger, RecordKind::Run, START + 6000, |c| c.counters.retain(|r| r.control == 3)).expect("commits");
    intact(&path);
    drop(ledger);
    let mut found = Restored::default();
    Ledger::open(&config).expect("opens").restore(&mut found).expect("restores");
    assert_eq!(found.counters, book.counters());
}

#[test]
fn one_writer_at_a_time() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    history(&mut ledger);
    let error = Ledger::open(&config).expect_err("refused").to_string();
    assert!(error.contains(&format!("process {} is writing to it, and only one may", std::process::id())), "{error}");
    // Readers may, meanwhile.
    intact(&path);
    drop(ledger);
    Ledger::open(&config).expect("free again");
}

#[test]
fn files_that_are_no_ledger_are_left_as_they_were() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("x.db");
    let config = Config::Sqlite { path: path.clone() };
    let open = || Ledger::open(&config).expect_err("refused").to_string();

    std::fs::write(&path, "this is a shopping list, and quite a long one at that; it goes on and on and on until a page is full")
        .expect("writes");
    let before = std::fs::read(&path).expect("reads");
    let error = open();
    assert!(error.contains("not a SQLite database") && error.contains("name another file"), "{error}");
    assert!(verify(&path).is_err());
    assert_eq!(std::fs::read(&path).expect("reads"), before);

    std::fs::remove_file(&path).expect("removes");
    Connection::open(&path).expect("opens").execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").expect("writes");
    let before = std::fs::read(&path).expect("reads");
    let error = open();
    assert!(error.contains("a SQLite database of another program"), "{error}");
    assert!(verify(&path).expect_err("refused").to_string().contains("another program"));
    assert_eq!(std::fs::read(&path).expect("reads"), before);

    std::fs::remove_file(&path).expect("removes");
    history(&mut Ledger::open(&config).expect("opens"));
    Connection::open(&path).expect("opens").pragma_update(None, "user_version", 7).expect("writes");
    let error = open();
    assert!(error.contains("newer bornright (schema 7, this one knows 1)"), "{error}");

    // An empty file is a new ledger (mktemp made it), a missing one is no ledger to verify.
    std::fs::write(&path, "").expect("writes");
    assert!(verify(&path).expect_err("refused").to_string().contains("nothing was ever recorded"));
    Ledger::open(&config).expect("new");
    assert_eq!(intact(&path).records, 0);
    assert!(verify(&dir.path().join("none.db")).is_err());
    assert!(matches!(Reader::open(&Config::Memory), Err(LedgerError::Unusable { .. })));
}

#[test]
fn a_damaged_file_is_said_to_be_damaged() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    history(&mut ledger);
    drop(ledger);
    let whole = std::fs::read(&path).expect("reads");
    for (what, bytes) in [
        ("cut in half", whole[..whole.len() / 2].to_vec()),
        ("zeroed behind the first page", {
            let mut b = whole.clone();
            b[4096..].fill(0);
            b
        }),
        ("noise behind the first page", {
            let mut b = whole.clone();
            b[4096..].iter_mut().enumerate().for_each(|(i, x)| *x ^= (i * 31 + 7) as u8);
            b
        }),
    ] {
        std::fs::write(&path, &bytes).expect("writes");
        let result = Ledger::open(&config).and_then(|mut l| l.restore(&mut Restored::default()));
        let error = result.expect_err(what).to_string();
        assert!(error.contains("damaged") && error.contains("backup"), "{what}: {error}");
        assert!(verify(&path).is_err() || verify(&path).expect("reads").fault.is_some(), "{what}");
    }
}

#[test]
fn what_cannot_be_accounted_is_refused_and_leaves_no_trace() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    let book = history(&mut ledger);
    let head = ledger.head().clone();
    let at = |ms| Record::of(RecordKind::Tick, Moment(START + ms), "d".repeat(64));
    let moved = |ms| Transition {
        control: 1,
        scope: 1,
        resource: 3,
        from: GOOD,
        to: BAD,
        at: Moment(START + ms),
        evidence_at: Moment(START + ms),
        cause: Cause::Resource,
        weight: 1,
    };
    let twice = book.counters().into_iter().chain([book.counters()[0].clone()]).collect();
    for (record, changes, says) in [
        (at(4000), Changes::default(), "time does not go back"),
        (at(6000), Changes { transitions: vec![moved(4999)], ..Changes::default() }, "do not lie between"),
        (at(6000), Changes { transitions: vec![moved(6001)], ..Changes::default() }, "do not lie between"),
        (at(6000), Changes { counters: twice, ..Changes::default() }, "two rows of counters for control 1 in scope 1"),
        (
            at(6000),
            Changes {
                transitions: vec![moved(5500)],
                resources: vec![bornright::ledger::ResourceRow {
                    id: 6_000_000,
                    name: "new",
                    kind: "NewKind",
                    scope: 1,
                    first_seen: Moment(START),
                    entries: &[],
                }],
                counters: vec![CounterRow { control: 1, scope: 1, transitions: vec![("up", Cause::Resource, 1)], ..CounterRow::default() }],
                ..Changes::default()
            },
            "direction",
        ),
        (
            at(6000),
            Changes {
                names: bornright::ledger::NewNames { controls: vec![(1, "again".to_owned())], ..Default::default() },
                ..Changes::default()
            },
            "UNIQUE",
        ),
    ] {
        let error = format!("{:#}", anyhow::Error::from(ledger.commit(&record, &changes).expect_err(says)));
        assert!(error.contains(says), "{error}");
        assert_eq!(ledger.head(), &head);
    }
    intact(&path);
    // And the next good one goes through.
    let mut book = book;
    book.change(1, 2, BAD, START + 5500, 0, 1);
    assert_eq!(book.commit(&mut ledger, RecordKind::Run, START + 6000).expect("commits"), 7);
    intact(&path);
}

#[test]
fn nothing_is_changed_by_accident() {
    let (_dir, config, path) = scratch();
    history(&mut Ledger::open(&config).expect("opens"));
    let db = Connection::open(&path).expect("opens");
    for sql in [
        "UPDATE records SET at = at + 1 WHERE sequence = 2",
        "DELETE FROM records WHERE sequence = 6",
        "UPDATE transitions SET to_state = 1 WHERE id = 2",
        "DELETE FROM transitions",
        "UPDATE runs SET complete = 1",
        "DELETE FROM evidence",
        "UPDATE resources SET name = 'x'",
        "DELETE FROM resources",
        "UPDATE controls SET name = 'x'",
        "INSERT INTO baseline VALUES(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
    ] {
        let error = db.execute(sql, []).expect_err(sql).to_string();
        assert!(error.contains("never") || error.contains("only"), "{sql}: {error}");
    }
    intact(&path);
}

/// The views are for people with sqlite3: every word spelled out, every bit decoded.
#[test]
fn views_say_it_in_words() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    let book = history(&mut ledger);
    let db = Connection::open(&path).expect("opens");
    let texts = |sql: &str| -> Vec<String> {
        let mut query = db.prepare(sql).expect(sql);
        let rows = query.query_map([], |r| r.get(0)).expect(sql);
        rows.collect::<Result<_, _>>().expect(sql)
    };
    let all = "SELECT concat_ws(' ', resource, kind, scope, control, collector, checked, result, suppressed, evidence_at, weight) FROM observations \
               ORDER BY resource, control";
    assert_eq!(
        texts(all)[..4],
        [
            "arn:aws:s3:::bucket-000001 AwsS3Bucket account-2 control-1 aws-prod S3.9 fail 0 2026-01-01T00:00:00.000Z 1",
            "arn:aws:s3:::bucket-000001 AwsS3Bucket account-2 control-2 aws-prod S3.8 pass 0 2026-01-01T00:00:00.007Z 1",
            "arn:aws:s3:::bucket-000002 AwsS3Bucket account-3 control-1 aws-prod S3.9 pass 0 2026-01-01T00:00:00.000Z 1",
            "arn:aws:s3:::bucket-000002 AwsS3Bucket account-3 control-2 aws-prod S3.8 pass 0 2026-01-01T00:00:00.007Z 1",
        ]
    );
    assert_eq!(texts(all).len(), 2 * 4 + 1 + 1, "1, 2, 3 and 5 have two, 4 has one now, 7 one; 6 is gone");
    // The largest word: every field at its end.
    ledger
        .commit(
            &Record::of(RecordKind::Tick, Moment(START + 5000), ""),
            &Changes {
                resources: vec![bornright::ledger::ResourceRow {
                    id: 8,
                    name: "zz",
                    kind: "",
                    scope: 1,
                    first_seen: Moment(START),
                    entries: &[(((1 << 18) - 1) << 46) | (1 << 45) | (5 << 41) | (1 << 40) | ((1 << 40) - 1)],
                }],
                names: bornright::ledger::NewNames {
                    bindings: vec![bornright::ledger::Binding { id: (1 << 18) - 1, control: 3, collector: 1, check: 2, population: true }],
                    ..Default::default()
                },
                weights: vec![(8, (1 << 18) - 1, 42)],
                ..Changes::default()
            },
        )
        .expect("commits");
    // 2^40 - 1 ms after 2010 is 2044-11-03T19:53:47.775Z
    assert_eq!(
        texts(all).last().map(String::as_str),
        Some("zz account-1 control-3 aws-prod S3.9 population 1 2044-11-03T19:53:47.775Z 42")
    );
    assert_eq!(
        texts(
            "SELECT concat_ws(' ', record, control, scope, resource, coalesce(from_state, '-'), coalesce(to_state, '-'), cause, at, evidence_at, weight) \
             FROM transitions_readable WHERE record = 4 OR resource LIKE '%7' ORDER BY id"
        ),
        [
            "4 control-1 account-2 arn:aws:s3:::bucket-000001 compliant unknown freshness 2026-01-01T00:00:02.300Z 2026-01-01T00:00:02.300Z 1",
            "4 control-1 account-1 arn:aws:s3:::bucket-000003 compliant unknown freshness 2026-01-01T00:00:02.400Z 2026-01-01T00:00:02.400Z 1",
            "5 control-3 account-2 arn:aws:s3:::bucket-000007 - non_compliant new_resource 2026-01-01T00:00:04.000Z 2026-01-01T00:00:03.500Z 1",
        ]
    );
    for row in book.counters() {
        let mut query = db
            .prepare("SELECT compliant_ms, non_compliant_ms, unknown_ms, waived_ms, fresh_ms, stale_ms FROM counters_now WHERE control = ?1 AND scope = ?2")
            .expect("valid");
        let key = (format!("control-{}", row.control), format!("account-{}", row.scope));
        let found: [i64; 6] =
            query.query_row(key, |r| Ok([r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?])).expect("is there");
        let [a, b, c, d] = row.resource_ms;
        assert_eq!(found.map(|n| n as u64), [a, b, c, d, row.evidence_ms[0], row.evidence_ms[1]]);
    }
}

/// Drops every trigger, as somebody with intent would.
fn unlocked(path: &Path) -> Connection {
    let db = Connection::open(path).expect("opens");
    let names: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .and_then(|mut q| q.query_map([], |r| r.get(0))?.collect())
        .expect("lists");
    for name in names {
        db.execute_batch(&format!("DROP TRIGGER {name}")).expect("drops");
    }
    db.pragma_update(None, "foreign_keys", false).expect("sets");
    db
}

#[test]
fn verify_names_the_first_broken_link() {
    let (_dir, config, path) = scratch();
    history(&mut Ledger::open(&config).expect("opens"));
    let whole = std::fs::read(&path).expect("reads");
    for (sql, says) in [
        ("UPDATE transitions SET to_state = 1 WHERE id = 15", "transition 3 of record 3 was altered"),
        ("UPDATE transitions SET to_state = 9 WHERE id = 15", "transition 3 of record 3 was altered"),
        ("UPDATE transitions SET early = early + 1 WHERE id = 16", "transition 1 of record 4 was altered"),
        ("UPDATE transitions SET mark = mark + 1 WHERE id = 16", "the mark of transition 1 of record 4 was altered"),
        ("DELETE FROM transitions WHERE id = 14", "transition 2 of record 3 is missing"),
        ("DELETE FROM transitions WHERE id = 19", "transition 2 of record 5 is missing"),
        (
            "INSERT INTO transitions SELECT 20, control, scope, resource, 1, 1, 0, 0, 0, 1, 0 FROM transitions WHERE id = 1",
            "after those of record 6",
        ),
        ("UPDATE records SET at = at + 1 WHERE sequence = 4", "record 4 was altered"),
        ("UPDATE records SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE sequence = 2", "record 2 was altered"),
        ("DELETE FROM records WHERE sequence = 3", "record 3 is missing"),
        ("DELETE FROM records WHERE sequence = 6; DELETE FROM records WHERE sequence = 5", "there are transitions after those of record 4"),
        ("UPDATE runs SET complete = 0 WHERE record = 3", "the run of record 3 was altered"),
        ("UPDATE runs SET scanner = NULL WHERE record = 3", "the run of record 3 was altered"),
        ("DELETE FROM runs WHERE record = 3", "the run or prune of record 3 was altered"),
        ("UPDATE run_problems SET number = 0 WHERE record = 5", "the run of record 5 was altered"),
        ("UPDATE evidence SET sha256 = 'c' WHERE record = 5 AND ordinal = 1", "the evidence of record 5 was altered"),
        ("UPDATE evidence SET observed_at = 0 WHERE record = 5 AND ordinal = 1", "the evidence of record 5 was altered"),
        ("DELETE FROM evidence WHERE record = 2", "the evidence of record 2 was altered"),
        ("UPDATE controls SET name = 'nicer' WHERE id = 1", "the names that record 1 brought were altered"),
        ("UPDATE control_scopes SET shown = scope", "the names that record 1 brought were altered"),
        ("UPDATE scope_parts SET value = '9' WHERE scope = 2 AND ordinal = 0", "the names that record 1 brought were altered"),
        ("UPDATE definitions SET text = 'kind: none' WHERE name = 'a.yaml'", "the names that record 3 brought were altered"),
        ("UPDATE control_versions SET version = '2'", "the names that record 3 brought were altered"),
        ("INSERT INTO checks VALUES(9, 'x', 99)", "there are names from record 99"),
        ("UPDATE resources SET name = 'x' WHERE id = 6", "the names of resources 0 to 6, which record 2 brought, were altered"),
        ("UPDATE resources SET first_seen = 0 WHERE id = 7", "the names of resources 7 to 7, which record 5 brought, were altered"),
        ("INSERT INTO resources VALUES(8, 'x', 0, 1, 0, NULL)", "resources that no record brought"),
        (
            "UPDATE counters SET compliant_ms = compliant_ms + 1 WHERE control = 2 AND scope = 2",
            "counters of control control-2 in scope account-2: stored",
        ),
        ("DELETE FROM counters WHERE control = 1 AND scope = 1", "counters of control control-1 in scope account-1 are missing"),
        ("UPDATE counters SET violations = NULL", "the counters were altered after record 6"),
        ("UPDATE counters SET fresh_ms = fresh_ms + 1 WHERE control = 3 AND scope = 1", "the counters were altered after record 6"),
        ("UPDATE counters SET transitions = 'rubbish'", "after record 6"),
        ("INSERT INTO evidence VALUES(4, 0, 'x', 'y', 1, NULL)", "which is not a run"),
        ("INSERT INTO baseline VALUES(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)", "nothing was ever pruned"),
        ("DROP TABLE evidence; CREATE VIEW evidence AS SELECT 1", "there is no table `evidence`"),
    ] {
        std::fs::write(&path, &whole).expect("writes");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        unlocked(&path).execute_batch(sql).expect(sql);
        let report = verify(&path).expect(sql);
        let fault = report.fault.unwrap_or_else(|| panic!("not noticed: {sql}"));
        assert!(fault.contains(says), "{sql}: {fault}");
    }
}

/// Whoever alters a transition, its digest and the record's hash must alter every later record too; and then the
/// counters no longer follow.
#[test]
fn numbers_that_do_not_follow_are_found_even_where_digests_fit() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    let mut book = history(&mut ledger);
    // A pipeline that miscounts: a row says one compliant resource more than its transitions.
    book.rows.get_mut(&(1, 1)).expect("is there").counts[0] += 1;
    book.commit(&mut ledger, RecordKind::Tick, START + 6000).expect("commits");
    let fault = verify(&path).expect("reads").fault.expect("is found");
    assert!(fault.contains("record 7: counts and resource-milliseconds") && fault.contains("do not follow"), "{fault}");
}

#[test]
fn pruning_forgets_and_stays_provable() {
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    let mut book = history(&mut ledger);
    assert_eq!(ledger.prune(Moment(START)).expect("nothing to do").through, 0);
    assert_eq!(ledger.head().sequence, 6);

    // Records 1 to 3 lie before +3000.
    let done = ledger.prune(Moment(START + 3000)).expect("prunes");
    assert_eq!((done.through, done.transitions, done.evidence, done.resources), (3, 15, 4, 1));
    assert_eq!(ledger.head().at, Some(Moment(START + 5000)), "no time passes");
    let report = intact(&path);
    assert_eq!((report.records, report.transitions, report.pruned_through, report.rows), (7, 4, 3, 6));

    book.change(1, 2, BAD, START + 6000, 0, 1);
    book.commit(&mut ledger, RecordKind::Run, START + 6000).expect("commits");
    drop(ledger);
    let mut ledger = Ledger::open(&config).expect("opens");
    let mut found = Restored::default();
    ledger.restore(&mut found).expect("restores");
    assert_eq!(found.counters, book.counters());
    intact(&path);

    // Again, now from the baseline; then everything.
    assert_eq!(ledger.prune(Moment(START + 4500)).expect("prunes").through, 5);
    intact(&path);
    assert_eq!(ledger.prune(Moment::NEVER).expect("prunes").through, 9);
    let report = intact(&path);
    assert_eq!((report.records, report.transitions), (10, 0));
    ledger.compact().expect("compacts");
    book.change(1, 2, GOOD, START + 7000, 0, 1);
    book.commit(&mut ledger, RecordKind::Run, START + 7000).expect("commits");
    drop(ledger);
    intact(&path);

    let whole = std::fs::read(&path).expect("reads");
    for (sql, says) in [
        (
            "UPDATE baseline SET compliant_ms = compliant_ms + 1 WHERE control = 2 AND scope = 1",
            "the baseline is not what record 9 summed up to",
        ),
        ("UPDATE baseline SET unknown = unknown + 1, compliant = compliant - 1 WHERE compliant > 0", "the baseline is not"),
        ("DELETE FROM baseline WHERE control = 1", "the baseline is not"),
        ("INSERT INTO baseline VALUES(9, 9, 1, 0, 0, 0, 0, 0, 0, 0)", "the baseline is not"),
        ("UPDATE prunes SET removed = 0 WHERE record = 7", "the prune of record 7 was altered"),
        ("UPDATE prunes SET through = 8 WHERE record = 10", "the prune of record 10 was altered"),
        ("DELETE FROM prunes WHERE record = 10", ""),
        ("UPDATE resources SET name = 'x' WHERE id = 1", "the resources known at record 9 were altered"),
        ("INSERT INTO evidence VALUES(2, 0, 'x', 'y', 1, NULL)", "was pruned"),
        ("INSERT INTO transitions SELECT 3, control, scope, resource, 1, 1, 0, 0, 0, 1, 0 FROM transitions", "is missing"),
        ("DELETE FROM records WHERE sequence = 10", "record 10 is missing"),
        (
            "DELETE FROM records WHERE sequence > 9; DELETE FROM transitions; DELETE FROM runs WHERE record > 9",
            "the record that says so is missing",
        ),
    ] {
        std::fs::write(&path, &whole).expect("writes");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        unlocked(&path).execute_batch(sql).expect(sql);
        let fault = verify(&path).expect(sql).fault.unwrap_or_else(|| panic!("not noticed: {sql}"));
        assert!(fault.contains(says), "{sql}: {fault}");
    }
}

#[test]
fn pruning_refuses_to_bless_what_does_not_add_up() {
    let (_dir, config, path) = scratch();
    history(&mut Ledger::open(&config).expect("opens"));
    unlocked(&path).execute_batch("UPDATE transitions SET weight = 3 WHERE id = 5").expect("alters");
    let mut ledger = Ledger::open(&config).expect("opens");
    let error = ledger.prune(Moment::NEVER).expect_err("refused").to_string();
    assert!(error.contains("do not sum up"), "{error}");
    assert_eq!(verify(&path).expect("reads").fault.as_deref(), Some("transition 5 of record 2 was altered"));
}

#[test]
fn questions_about_the_past_have_answers() {
    let (_dir, config, _path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    history(&mut ledger);
    let reader = Reader::open(&config).expect("opens beside the writer");
    let events = reader.history("control-1", "arn:aws:s3:::bucket-000004", 10).expect("answers");
    let seen: Vec<_> = events.iter().map(|e| (e.record, e.from, e.to, e.at.0 - START, e.evidence_at.0 - START)).collect();
    assert_eq!(seen, [(5, BAD, GOOD, 4000, 3500), (2, None, BAD, 1000, 500)]);
    assert_eq!(events[0].scope, "account-2");
    assert_eq!(reader.history("control-1", "arn:aws:s3:::bucket-000004", 1).expect("answers").len(), 1);
    assert!(reader.history("control-9", "arn:aws:s3:::bucket-000004", 10).expect("answers").is_empty());
    let last = reader.recent_transitions(3).expect("answers");
    assert_eq!(
        last.iter().map(|e| (e.record, e.control.as_str())).collect::<Vec<_>>(),
        [(5, "control-1"), (5, "control-3"), (4, "control-1")]
    );

    let runs = reader.runs(None, 2).expect("answers");
    assert_eq!(runs.iter().map(|r| r.record).collect::<Vec<_>>(), [5, 3]);
    assert_eq!(reader.runs(Some(3), 9).expect("answers").len(), 1);
    assert_eq!(runs[0].run.problems.len(), 2);
    assert_eq!(reader.evidence(5).expect("answers"), ledger_support::run(START + 4000).evidence);
    let (run, evidence) = reader.last_evidence_for("aws-prod").expect("answers").expect("there is");
    assert_eq!((run.record, evidence.len()), (5, 2));
    assert!(reader.last_evidence_for("nobody").expect("answers").is_none());

    let page = reader.findings("control-1", None, None, None, 2).expect("answers");
    assert_eq!((page.resources.len(), page.next), (2, Some(2)));
    let rest = reader.findings("control-1", None, None, page.next, 9).expect("answers");
    assert_eq!((rest.resources.iter().map(|r| r.id).collect::<Vec<_>>(), rest.next), (vec![3, 4, 5], None));
    let failing = reader.findings("control-1", Some("account-1"), Some(ObservedResult::Fail), None, 9).expect("answers");
    assert_eq!(failing.resources.len(), 1);
    let found = &failing.resources[0];
    assert_eq!((found.id, found.kind.as_str(), found.observations.len()), (3, "AwsS3Bucket", 1));
    assert_eq!((found.observations[0].check.as_str(), found.observations[0].evidence_at), ("S3.9", Moment(START)));
    let weighted = reader.findings("control-2", None, None, Some(4), 9).expect("answers");
    assert_eq!(weighted.resources[0].observations[0].weight, 7, "weights other than one stand in a table of their own");
    assert!(reader.findings("control-1", Some("nowhere"), None, None, 9).expect("answers").resources.is_empty());
}

#[test]
fn an_export_is_ndjson_with_everything_in_it() {
    let (_dir, config, _path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    history(&mut ledger);
    let reader = Reader::open(&config).expect("opens");
    let export = |range| -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        let n = reader.export(range, &mut out).expect("exports");
        let lines: Vec<_> = String::from_utf8(out).expect("text").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(lines.len() as u64, n);
        lines
    };
    let all = export(ExportRange::default());
    let count = |lines: &[serde_json::Value], kind: &str| lines.iter().filter(|l| l["type"] == kind).count();
    assert_eq!(["ledger", "control", "scope", "binding", "record", "transition"].map(|k| count(&all, k)), [1, 3, 3, 3, 6, 19]);
    assert_eq!(all[0]["head"], ledger.head().hash);
    let some = export(ExportRange { since: Some(Moment(START + 3000)), until: Some(Moment(START + 5000)) });
    assert_eq!([count(&some, "record"), count(&some, "transition")], [2, 4]);
    let line = some.iter().find(|l| l["type"] == "transition").expect("is there");
    assert_eq!((line["resource"].as_str(), line["at_ms"].as_i64()), (Some("arn:aws:s3:::bucket-000001"), Some(START + 2300)));
    let run = some.iter().find(|l| l["run"].is_object()).expect("is there");
    assert_eq!(run["run"]["evidence"][1]["observed_at"], serde_json::Value::Null);
}

#[test]
fn a_read_only_copy_can_be_verified() {
    let (_dir, config, path) = scratch();
    history(&mut Ledger::open(&config).expect("opens"));
    let copy = tempfile::tempdir().expect("a directory");
    let file = copy.path().join("copy of it?#%.db");
    std::fs::copy(&path, &file).expect("copies");
    let mut rights = std::fs::metadata(copy.path()).expect("is there").permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(copy.path(), rights.clone()).expect("sets");
    let report = verify(&file);
    #[expect(clippy::permissions_set_readonly_false, reason = "so that the directory can be removed")]
    rights.set_readonly(false);
    std::fs::set_permissions(copy.path(), rights).expect("sets");
    assert_eq!(report.expect("readable").fault, None);
}

#[test]
fn in_memory_it_is_the_same_ledger() {
    let mut ledger = Ledger::open(&Config::Memory).expect("opens");
    let book = history(&mut ledger);
    let mut found = Restored::default();
    ledger.restore(&mut found).expect("restores");
    assert_eq!(found.counters, book.counters());
}

/// The verifier in docs/ is short enough to be read, needs nothing but Python, and comes to the same conclusions.
#[test]
fn somebody_who_does_not_trust_us_comes_to_the_same_conclusion() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify-ledger.py");
    let check = |path: &Path| std::process::Command::new("python3").arg(&script).arg(path).output();
    let (_dir, config, path) = scratch();
    let mut ledger = Ledger::open(&config).expect("opens");
    history(&mut ledger);
    let output = check(&path).expect("python3 is among what the tests need");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&ledger.head().hash), "{said}");
    ledger.prune(Moment(START + 3000)).expect("prunes");
    drop(ledger);
    assert!(check(&path).expect("runs").status.success());
    unlocked(&path).execute_batch("UPDATE transitions SET to_state = 1 WHERE id = 18").expect("alters");
    let output = check(&path).expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

// ---- any history verifies; any single byte that is touched is noticed

/// A random history: (record gap, moves as (control, resource, state, early)).
type Script = Vec<(u16, Vec<(u8, u8, u8, u16)>)>;

fn play(script: &Script, prune_after: Option<usize>, ledger: &mut Ledger) -> Book {
    let mut book = Book::new(3, 3);
    let mut at = START;
    book.commit(ledger, RecordKind::Start, at).expect("starts");
    for id in 1..=8 {
        book.resource(id, 1 + id % 3, vec![word(1, 1, false, START)]);
    }
    for (i, (gap, moves)) in script.iter().enumerate() {
        let before = at;
        at += i64::from(*gap);
        let mut moves = moves.clone();
        moves.sort_by_key(|m| std::cmp::Reverse(m.3));
        for (control, resource, state, early) in moves {
            let to = State::ALL.get(usize::from(state % 5)).copied();
            let weight = 1 + u32::from(resource) % 3;
            book.change(
                1 + u32::from(control % 3),
                1 + u32::from(resource % 8),
                to,
                (at - i64::from(early)).max(before),
                i64::from(early),
                weight_of(resource, weight),
            );
        }
        let kind = if i % 2 == 0 { RecordKind::Run } else { RecordKind::Tick };
        book.commit(ledger, kind, at).expect("commits");
        if prune_after == Some(i) {
            ledger.prune(Moment(at)).expect("prunes");
        }
    }
    book
}

/// A pair's weight must not change between its transitions.
fn weight_of(resource: u8, _roll: u32) -> u32 {
    1 + u32::from(resource % 8) % 3
}

fn script() -> impl Strategy<Value = Script> {
    let moves = prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0u16..2000), 0..12);
    prop::collection::vec((0u16..2000, moves), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_verifies_and_any_touched_byte_is_noticed(
        script in script(),
        prune in prop::option::of(0usize..8),
        table in 0usize..4,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u32..8), 6),
    ) {
        let (_dir, config, path) = scratch();
        let mut ledger = Ledger::open(&config).expect("opens");
        let book = play(&script, prune, &mut ledger);
        let report = intact(&path);
        prop_assert_eq!(report.records, ledger.head().sequence);
        drop(ledger);
        let mut found = Restored::default();
        Ledger::open(&config).expect("opens").restore(&mut found).expect("restores");
        prop_assert_eq!(found.counters, book.counters());

        let db = unlocked(&path);
        let table = ["records", "transitions", "counters", "baseline"][table];
        for (row, column, byte, bit) in places {
            let Some(sql) = flip(&db, table, &row, &column, &byte, bit) else { continue };
            db.execute_batch("SAVEPOINT here").expect("begins");
            // Keys may collide after the flip; then SQLite itself refuses.
            if db.execute_batch(&sql).is_ok() {
                db.execute_batch("RELEASE here").expect("keeps");
                let report = verify(&path).expect("readable");
                prop_assert!(report.fault.is_some(), "not noticed: {}", sql);
                let back = flip_back(&sql);
                db.execute_batch(&back).expect("undoes");
                prop_assert_eq!(verify(&path).expect("readable").fault, None, "undone: {}", back);
            } else {
                db.execute_batch("ROLLBACK TO here; RELEASE here").expect("undoes");
            }
        }
    }
}

/// SQL that flips one bit of one value of `table`, with what undoes it behind a `--`.
fn flip(
    db: &Connection,
    table: &str,
    row: &prop::sample::Index,
    column: &prop::sample::Index,
    byte: &prop::sample::Index,
    bit: u32,
) -> Option<String> {
    use rusqlite::types::Value;
    let columns: Vec<String> = db
        .prepare("SELECT name FROM pragma_table_info(?1)")
        .and_then(|mut q| q.query_map([table], |r| r.get(0))?.collect())
        .expect("lists");
    let column = &columns[column.index(columns.len())];
    let keys = if matches!(table, "counters" | "baseline") { ["control", "scope"] } else { [columns[0].as_str(), columns[0].as_str()] };
    let count: usize = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get::<_, i64>(0)).expect("counts") as usize;
    if count == 0 {
        return None;
    }
    let sql = format!("SELECT {}, {}, {column} FROM {table} LIMIT 1 OFFSET {}", keys[0], keys[1], row.index(count));
    let (a, b, value): (i64, i64, Value) = db.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).expect("reads");
    let (old, new) = match value {
        Value::Integer(n) => (n.to_string(), (n ^ (1 << (8 * byte.index(8) as u32 + bit))).to_string()),
        Value::Text(text) if !text.is_empty() => {
            let mut bytes = text.clone().into_bytes();
            let i = byte.index(bytes.len());
            bytes[i] ^= 1 << (bit % 7);
            let hex = |b: &[u8]| format!("CAST(x'{}' AS TEXT)", b.iter().map(|x| format!("{x:02x}")).collect::<String>());
            (hex(text.as_bytes()), hex(&bytes))
        }
        // Nothing to flip in NULL and ''; something appears instead.
        Value::Text(_) => ("''".to_owned(), "'x'".to_owned()),
        Value::Null => ("NULL".to_owned(), if column == "violations" { "'0'".to_owned() } else { "0".to_owned() }),
        Value::Real(_) | Value::Blob(_) => return None,
    };
    // A changed key is the row's new address.
    let (mut a2, mut b2) = (a.to_string(), b.to_string());
    if column == keys[0] {
        a2.clone_from(&new);
    }
    if column == keys[1] {
        b2.clone_from(&new);
    }
    Some(format!(
        "UPDATE {table} SET {column} = {new} WHERE {} = {a} AND {} = {b} --UPDATE {table} SET {column} = {old} WHERE {} = {a2} AND {} = {b2}",
        keys[0], keys[1], keys[0], keys[1]
    ))
}

fn flip_back(sql: &str) -> String {
    sql.split_once("--").expect("has both halves").1.to_owned()
}
