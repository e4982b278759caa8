//! Walks the chain and recomputes everything that can be, without trusting who wrote it.
//!
//! From records: that each follows from the one before, and that runs, names, resources and transitions are those it
//! commits to. From transitions: the totals at every record, and every row's counts and resource-milliseconds at the
//! newest. What is *not* derivable from transitions (evidence time, violation episodes, numbers of transitions by
//! cause) is a checkpoint: the newest record commits to it, so that it cannot be altered afterwards, but it is not
//! recomputed. Observations, weights, open episodes and notes are working state and not under the chain.

use super::canonical::{self, Fields, Header, NO_HASH, Packed};
use super::history::Check;
use super::replay::{Integrals, Shown, load_shown};
use super::sqlite::{self, Sums, each, fault, headers};
use super::{LedgerError, RowName, RunRecord, Transition};
use crate::domain::{Moment, ProblemKind, ScannerInfo};
use hashbrown::HashMap;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};
use std::collections::BTreeMap;
use std::path::Path;

/// What `ledger verify` found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Records checked.
    pub records: u64,
    /// Transitions replayed.
    pub transitions: u64,
    /// Rows whose counters were recomputed and agree.
    pub rows: u64,
    /// The first broken link, or the first number that cannot be recomputed, for a person.
    pub fault: Option<String>,
    /// Hash of the newest record that was found intact, hex: what an auditor notes down.
    pub head: String,
    /// Records up to this one were pruned: their transitions are summed up in the baseline.
    pub pruned_through: u64,
}

/// Rows of integrals that one walk may digest; with more, the full digest is checked at evenly spaced records and at
/// the last, and the totals at every record as always.
const FULL_DIGEST_ROWS: u64 = 100_000_000;

/// Verifies chain, digests and counters of a ledger file, read-only. The exporter may go on writing: what is verified
/// is the ledger as of the moment this began.
///
/// # Errors
/// The file cannot be read, or is none of ours.
pub fn verify(path: &Path) -> Result<VerifyReport, LedgerError> {
    let db = sqlite::open_to_read(path)?;
    verify_connection(&db, &path.display().to_string())
}

pub(super) fn verify_connection(db: &Connection, path: &str) -> Result<VerifyReport, LedgerError> {
    let mut report = VerifyReport { head: NO_HASH.to_owned(), ..VerifyReport::default() };
    // One view of the file throughout, while somebody else writes.
    let view = db.unchecked_transaction().map_err(|e| fault(path, e))?;
    match walk(&view, &mut report) {
        Ok(()) => {}
        Err(Stop::Fault(what)) => report.fault = Some(what),
        Err(Stop::Store(e)) => match &e {
            rusqlite::Error::SqliteFailure(code, _) if code.code != ErrorCode::DatabaseCorrupt => return Err(fault(path, e)),
            // A value of a wrong type or size, or a page that is no page: not what was written.
            _ => report.fault = Some(format!("after record {}: {e}", report.records)),
        },
    }
    Ok(report)
}

enum Stop {
    Fault(String),
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(e: rusqlite::Error) -> Stop {
        Stop::Store(e)
    }
}

fn stop<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fault(what.into()))
}

/// The newest prune, as its row says; the chain has the last word.
struct Pruned {
    through: i64,
    resources: String,
}

fn walk(db: &Connection, report: &mut VerifyReport) -> Result<(), Stop> {
    tables_are_tables(db)?;
    let total: i64 = db.query_row("SELECT count(*) FROM records", [], |r| r.get(0))?;
    let pruned = db
        .query_row("SELECT through, resources FROM prunes ORDER BY record DESC LIMIT 1", [], |r| {
            Ok(Pruned { through: r.get(0)?, resources: r.get(1)? })
        })
        .optional()?;
    let through = pruned.as_ref().map_or(0, |p| p.through);
    let mut names = read_new_names(db)?;
    let shown = load_shown(db)?;
    let mut integrals = Integrals::default();
    let mut transitions = db.prepare("SELECT * FROM transitions ORDER BY id")?;
    let mut transitions = transitions.query([])?;
    let has_history = Check::exists(db)?;
    let mut history = if has_history { Some(Check::statement(db)?) } else { None };
    let mut history = history.as_mut().map(Check::new).transpose()?;
    let mut resources = Resources::new(db)?;
    let mut query = db.prepare(&headers("ORDER BY sequence"))?;
    let mut rows = query.query([])?;
    let mut before = Header { hash: NO_HASH.to_owned(), at: i64::MIN, last_resource: -1, ..Header::default() };
    let mut digested = 0;

    while let Some(row) = rows.next()? {
        let h = sqlite::header(row)?;
        let n = h.sequence;
        if n != before.sequence + 1 {
            return stop(format!("record {} is missing", before.sequence + 1));
        }
        if h.hash_after(&before.hash) != h.hash {
            return stop(format!(
                "record {n} was altered: its hash does not follow from its contents and the hash of the record before it"
            ));
        }
        if h.at < before.at || h.last_transition < before.last_transition || h.last_resource < before.last_resource {
            return stop(format!("record {n} lies before the record that it follows"));
        }
        check_event(db, &h, n > through)?;
        if names.remove(&n).map(Fields::finish).unwrap_or_default() != h.names {
            return stop(format!(
                "the names that record {n} brought were altered (controls, scopes, collectors, checks, bindings, definitions)"
            ));
        }
        if n <= through {
            if n == through {
                resources.check(h.last_resource, &pruned.as_ref().map_or(String::new(), |p| p.resources.clone()), || {
                    format!("the resources known at record {n} were altered")
                })?;
                integrals.load_baseline(db, h.at)?;
                if let Some(history) = &mut history {
                    history.skip_through(h.at);
                }
                if integrals.digest(h.at) != h.integrals || integrals.totals(h.at) != h.totals {
                    return stop(format!("the baseline is not what record {n} summed up to"));
                }
            }
        } else {
            resources.check(h.last_resource, &h.resources, || {
                format!(
                    "the names of resources {} to {}, which record {n} brought, were altered",
                    before.last_resource + 1,
                    h.last_resource
                )
            })?;
            replay(&mut transitions, &before, &h, &shown, &mut integrals, history.as_mut(), report)?;
            if integrals.totals(h.at) != h.totals {
                return stop(format!(
                    "record {n}: counts and resource-milliseconds `{}` do not follow from the transitions, which give `{}`",
                    h.totals,
                    integrals.totals(h.at)
                ));
            }
            let stride = (total.cast_unsigned().saturating_mul(integrals.len() as u64) / FULL_DIGEST_ROWS + 1).cast_signed();
            if (n % stride == 0 || n == total) && integrals.digest(h.at) != h.integrals {
                return stop(format!("record {n}: counters by control and scope do not follow from the transitions"));
            }
            digested = n;
        }
        report.records += 1;
        report.head.clone_from(&h.hash);
        before = h;
    }

    report.pruned_through = through.cast_unsigned();
    if through > 0 && digested <= through {
        return stop(format!("record {through} was pruned, but the record that says so is missing"));
    }
    if transitions.next()?.is_some() {
        return stop(format!("there are transitions after those of record {}", before.sequence));
    }
    if resources.more()? {
        return stop(format!("there are resources that no record brought, after {}", before.last_resource));
    }
    if let Some(n) = names.keys().next() {
        return stop(format!("there are names from record {n}, which does not exist"));
    }
    if let Some(history) = &mut history {
        compare(history, &integrals, i64::MAX)?;
    }
    check_strays(db, &before, through)?;
    check_counters(db, &before, &mut integrals, report)
}

/// A view by the name of a table could answer with anything.
fn tables_are_tables(db: &Connection) -> Result<(), Stop> {
    let mut missing = None;
    let names = super::schema::NAME_TABLES.into_iter();
    for name in names.chain([
        "records",
        "transitions",
        "counters",
        "baseline",
        "prunes",
        "runs",
        "run_problems",
        "evidence",
        "resources",
        "scope_parts",
    ]) {
        let kind: Option<String> = db
            .query_row("SELECT type FROM sqlite_schema WHERE name = ?1 AND type IN ('table', 'view')", [name], |r| r.get(0))
            .optional()?;
        if kind.as_deref() != Some("table") {
            missing.get_or_insert(name);
        }
    }
    missing.map_or(Ok(()), |name| stop(format!("there is no table `{name}`")))
}

/// The history before `until` against the transitions before it.
fn compare(history: &mut Check<'_>, integrals: &Integrals, until: i64) -> Result<(), Stop> {
    match history.compare(integrals, until)? {
        None => Ok(()),
        Some(h) => stop(format!(
            "the history of control number {} in scope number {} at {} does not follow from the transitions",
            h.control, h.scope, h.at
        )),
    }
}

/// Consumes the transitions of record `h`.
fn replay(
    rows: &mut rusqlite::Rows<'_>,
    before: &Header,
    h: &Header,
    shown: &Shown,
    integrals: &mut Integrals,
    mut history: Option<&mut Check<'_>>,
    report: &mut VerifyReport,
) -> Result<(), Stop> {
    let n = h.sequence;
    let mut packed = Packed::default();
    // The first row whose mark does not fit tells which one was touched, once the digest says that one was.
    let mut suspect = None;
    let mut wrong = None;
    let count = h.last_transition - before.last_transition;
    if count > i64::from(u32::MAX) {
        return stop(format!("record {n} claims {count} transitions"));
    }
    for ordinal in 1..=count as u32 {
        let Some(row) = rows.next()? else { return stop(format!("transition {ordinal} of record {n} is missing")) };
        if row.get::<_, i64>(0)? != before.last_transition + i64::from(ordinal) {
            return stop(format!("transition {ordinal} of record {n} is missing"));
        }
        let Some((t, mark)) = transition(row, h.at)? else { return stop(format!("transition {ordinal} of record {n} was altered")) };
        let bytes = canonical::transition(&t);
        if mark != i64::from(canonical::mark(ordinal, &bytes)) {
            suspect.get_or_insert(ordinal);
        }
        packed.row(&bytes);
        if let Some(history) = history.as_deref_mut() {
            compare(history, integrals, t.at.0)?;
        }
        let result = match shown.get(&(t.control, t.scope)) {
            None => Err("is of a control and scope that no record named"),
            _ if t.at.0 > h.at || (before.sequence > 0 && t.at.0 < before.at) => Err("does not lie between its record and the one before"),
            Some(shown) => integrals.apply((t.control, *shown), t.from, t.to, t.weight, t.at.0),
        };
        if let Err(what) = result {
            wrong.get_or_insert((ordinal, what));
        }
        report.transitions += 1;
    }
    let intact = packed.finish() == h.transitions;
    match (intact, suspect, wrong) {
        (true, None, None) => Ok(()),
        (false, Some(ordinal), _) => stop(format!("transition {ordinal} of record {n} was altered")),
        (false, None, _) => stop(format!("the transitions of record {n} were altered: they do not have the digest it commits to")),
        (true, Some(ordinal), _) => stop(format!("the mark of transition {ordinal} of record {n} was altered")),
        (true, None, Some((ordinal, what))) => stop(format!("transition {ordinal} of record {n} {what}")),
    }
}

/// Reads a row of `transitions` of a record at `at`, and its mark; `None` if a code is none.
pub(super) fn transition(r: &Row<'_>, at: i64) -> rusqlite::Result<Option<(Transition, i64)>> {
    let at = at.wrapping_sub(r.get(7)?);
    let (Some(from), Some(to), Some(cause)) =
        (canonical::state_of(r.get(4)?), canonical::state_of(r.get(5)?), canonical::cause_of(r.get(6)?))
    else {
        return Ok(None);
    };
    let t = Transition {
        control: r.get(1)?,
        scope: r.get(2)?,
        resource: r.get(3)?,
        from,
        to,
        at: Moment(at),
        evidence_at: Moment(at.wrapping_sub(r.get(8)?)),
        cause,
        weight: r.get(9)?,
    };
    Ok(Some((t, r.get(10)?)))
}

/// The `event` digest: the run or the prune that the record is about.
fn check_event(db: &Connection, h: &Header, has_evidence: bool) -> Result<(), Stop> {
    let n = h.sequence;
    let run = read_run(db, n)?;
    let prune: Option<(i64, i64, i64, String)> = db
        .prepare_cached("SELECT before, through, removed, resources FROM prunes WHERE record = ?1")?
        .query_row([n], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .optional()?;
    let (digest, what) = match (&run, &prune) {
        (None, None) => (String::new(), "run or prune"),
        (Some((run, evidence)), None) => {
            if has_evidence && canonical::evidence(&read_evidence(db, n)?) != *evidence {
                return stop(format!("the evidence of record {n} was altered"));
            }
            (canonical::run_event(run, evidence), "run")
        }
        (None, Some((before, through, removed, resources))) => (canonical::prune_event(*before, *through, *removed, resources), "prune"),
        (Some(_), Some(_)) => return stop(format!("record {n} is both a run and a prune")),
    };
    if digest != h.event {
        return stop(format!("the {what} of record {n} was altered"));
    }
    Ok(())
}

/// The run of record `n`, without its evidence, and the digest of that.
pub(super) fn read_run(db: &Connection, n: i64) -> rusqlite::Result<Option<(RunRecord, String)>> {
    let mut query = db.prepare_cached("SELECT * FROM runs WHERE record = ?1")?;
    let Some((mut run, evidence)) = query.query_row([n], run).optional()? else { return Ok(None) };
    let mut problems = db.prepare_cached("SELECT kind, number FROM run_problems WHERE record = ?1")?;
    let mut problems = problems.query([n])?;
    while let Some(r) = problems.next()? {
        let word: String = r.get(0)?;
        let Some(kind) = ProblemKind::from_word(&word) else {
            return Err(rusqlite::Error::InvalidColumnType(0, format!("a sort of problem `{word}`"), rusqlite::types::Type::Text));
        };
        run.problems.insert(kind, r.get::<_, i64>(1)?.cast_unsigned());
    }
    Ok(Some((run, evidence)))
}

/// Reads a row of `runs`.
pub(super) fn run(r: &Row<'_>) -> rusqlite::Result<(RunRecord, String)> {
    let mut findings = [0; 6];
    for (i, n) in findings.iter_mut().enumerate() {
        *n = r.get::<_, i64>(5 + i)?.cast_unsigned();
    }
    let scanner = match r.get::<_, Option<String>>(11)? {
        None => None,
        Some(name) => Some(ScannerInfo { name, version: r.get(12)?, rule_set: r.get(13)? }),
    };
    let run = RunRecord {
        collector: r.get(1)?,
        started: Moment(r.get(2)?),
        finished: Moment(r.get(3)?),
        complete: r.get(4)?,
        findings,
        problems: BTreeMap::new(),
        scanner,
        mapping_digest: r.get(14)?,
        evidence: Vec::new(),
    };
    Ok((run, r.get(15)?))
}

/// The evidence of record `n`.
pub(super) fn read_evidence(db: &Connection, n: i64) -> rusqlite::Result<Vec<super::Evidence>> {
    db.prepare_cached("SELECT name, sha256, bytes, observed_at FROM evidence WHERE record = ?1 ORDER BY ordinal")?
        .query_map([n], |r| {
            Ok(super::Evidence {
                name: r.get(0)?,
                sha256: r.get(1)?,
                bytes: r.get::<_, i64>(2)?.cast_unsigned(),
                observed_at: r.get::<_, Option<i64>>(3)?.map(Moment),
            })
        })?
        .collect()
}

/// The resources in order of id, digested record by record.
struct Resources<'a> {
    db: &'a Connection,
    last: i64,
}

impl<'a> Resources<'a> {
    fn new(db: &'a Connection) -> rusqlite::Result<Resources<'a>> {
        Ok(Resources { db, last: i64::MIN })
    }

    /// Checks the resources after those checked before and up to id `last`.
    fn check(&mut self, last: i64, digest: &str, what: impl FnOnce() -> String) -> Result<(), Stop> {
        if last > self.last {
            let found = resources_digest(self.db, self.last, last)?;
            self.last = last;
            if found != digest {
                return stop(what());
            }
        } else if !digest.is_empty() {
            return stop(what());
        }
        Ok(())
    }

    fn more(&self) -> rusqlite::Result<bool> {
        self.db.query_row("SELECT EXISTS(SELECT 1 FROM resources WHERE id > ?1)", [self.last], |r| r.get(0))
    }
}

/// Digest of the resources with `after < id <= last`.
pub(super) fn resources_digest(db: &Connection, after: i64, last: i64) -> rusqlite::Result<String> {
    let mut packed = Packed::default();
    let mut query = db.prepare_cached("SELECT id, first_seen, name FROM resources WHERE id > ?1 AND id <= ?2 ORDER BY id")?;
    let mut rows = query.query([after, last])?;
    while let Some(r) = rows.next()? {
        canonical::resource(&mut packed, r.get(0)?, r.get(1)?, r.get_ref(2)?.as_str()?);
    }
    Ok(packed.finish())
}

/// For each record the digest of the names it brought.
fn read_new_names(db: &Connection) -> rusqlite::Result<BTreeMap<i64, Fields>> {
    let mut names: BTreeMap<i64, Fields> = BTreeMap::new();
    let mut parts: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    each(db, "SELECT scope, field, value FROM scope_parts ORDER BY scope, ordinal", |r| {
        parts.entry(r.get(0)?).or_default().push((r.get(1)?, r.get(2)?));
        Ok(())
    })?;
    for (table, word) in [("controls", "control"), ("scopes", "scope"), ("collectors", "collector"), ("checks", "check")] {
        each(db, &format!("SELECT id, name, record FROM {table} ORDER BY id"), |r| {
            let (id, label) = (r.get(0)?, r.get_ref(1)?.as_str()?);
            let f = names.entry(r.get(2)?).or_default();
            if table == "scopes" {
                let parts = parts.remove(&id).unwrap_or_default();
                canonical::scope(f, id, label, parts.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            } else {
                canonical::name(f, word, id, label);
            }
            Ok(())
        })?;
    }
    each(db, "SELECT id, control, collector, checked, population, record FROM bindings ORDER BY id", |r| {
        canonical::binding(names.entry(r.get(5)?).or_default(), &sqlite::binding(r)?);
        Ok(())
    })?;
    each(db, "SELECT id, control, scope, shown, record FROM control_scopes ORDER BY id", |r| {
        let row = RowName { control: r.get(1)?, scope: r.get(2)?, shown: r.get(3)? };
        canonical::control_scope(names.entry(r.get(4)?).or_default(), r.get(0)?, &row);
        Ok(())
    })?;
    each(db, "SELECT digest, name, text, record FROM definitions ORDER BY digest, name", |r| {
        let f = names.entry(r.get(3)?).or_default();
        canonical::definition(f, r.get_ref(0)?.as_str()?, r.get_ref(1)?.as_str()?, r.get_ref(2)?.as_str()?);
        Ok(())
    })?;
    each(db, "SELECT digest, control, control_set, version, record FROM control_versions ORDER BY digest, control", |r| {
        let f = names.entry(r.get(4)?).or_default();
        let text = |i| r.get_ref(i).and_then(|v| Ok(v.as_str()?));
        canonical::control_version(f, text(0)?, text(1)?, text(2)?, text(3)?);
        Ok(())
    })?;
    // Parts of a scope that does not exist belong to no record.
    if let Some(scope) = parts.keys().next() {
        names.entry(i64::MAX).or_default().int(*scope);
    }
    Ok(names)
}

/// Rows that belong to no record, or to one that was pruned.
fn check_strays(db: &Connection, last: &Header, through: i64) -> Result<(), Stop> {
    for (table, least) in [("runs", 1), ("prunes", 1), ("run_problems", 1), ("evidence", through + 1)] {
        let sql = format!("SELECT min(record), max(record) FROM {table}");
        let (low, high): (Option<i64>, Option<i64>) = db.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        if let Some(n) = low.filter(|n| *n < least).or(high.filter(|n| *n > last.sequence)) {
            return stop(format!("table {table} speaks of record {n}, which does not exist or was pruned"));
        }
    }
    for table in ["run_problems", "evidence"] {
        let sql = format!("SELECT min(record) FROM {table} WHERE record NOT IN (SELECT record FROM runs)");
        if let Some(n) = db.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0))? {
            return stop(format!("table {table} speaks of record {n}, which is not a run"));
        }
    }
    if through == 0 && db.query_row("SELECT EXISTS(SELECT 1 FROM baseline)", [], |r| r.get(0))? {
        return stop("there is a baseline, but nothing was ever pruned");
    }
    Ok(())
}

/// The stored counters against the newest record, and against the transitions, row by row.
fn check_counters(db: &Connection, last: &Header, integrals: &mut Integrals, report: &mut VerifyReport) -> Result<(), Stop> {
    let at = (last.sequence > 0).then_some(Moment(last.at));
    let stored = sqlite::read_counters(db, at)?;
    let name = |table: &str, id: u32| -> rusqlite::Result<String> {
        let found = db.query_row(&format!("SELECT name FROM {table} WHERE id = ?1"), [id], |r| r.get(0)).optional()?;
        Ok(found.unwrap_or_else(|| format!("number {id}")))
    };
    let row_name = |(control, scope): (u32, u32)| -> rusqlite::Result<String> {
        Ok(format!("control {} in scope {}", name("controls", control)?, name("scopes", scope)?))
    };
    let mut rest = stored.iter().peekable();
    for (key, counts, ms) in integrals.at(last.at) {
        // Rows that no transition ever touched must be zero.
        while let Some(row) = rest.next_if(|row| (row.control, row.scope) < key) {
            if row.counts != [0; 4] || row.resource_ms != [0; 4] {
                return stop(format!("counters of {}: not zero, but no transition ever touched it", row_name((row.control, row.scope))?));
            }
            report.rows += 1;
        }
        let Some(row) = rest.next_if(|row| (row.control, row.scope) == key) else {
            if counts == [0; 4] && ms == [0; 4] {
                continue;
            }
            return stop(format!("counters of {} are missing", row_name(key)?));
        };
        if (row.counts, row.resource_ms) != (counts, ms) {
            return stop(format!(
                "counters of {}: stored counts {:?} and resource-milliseconds {:?}, recomputed {counts:?} and {ms:?}",
                row_name(key)?,
                row.counts,
                row.resource_ms
            ));
        }
        report.rows += 1;
    }
    for row in rest {
        if row.counts != [0; 4] || row.resource_ms != [0; 4] {
            return stop(format!("counters of {}: not zero, but no transition ever touched it", row_name((row.control, row.scope))?));
        }
        report.rows += 1;
    }
    let sums = Sums::of(stored.iter());
    if sums.integrals != last.integrals || sums.checkpoint != last.checkpoint {
        return stop(format!(
            "the counters were altered after record {}: evidence time, violations or numbers of transitions are not those it commits to",
            last.sequence
        ));
    }
    Ok(())
}
