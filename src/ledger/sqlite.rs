//! The ledger in one SQLite file: open, restore, commit.

use super::canonical::{self, Fields, Header, NO_HASH, Packed};
use super::mark::beside;
use super::{
    Binding, Changes, Config, CounterRow, Episode, Head, LedgerError, NewNames, Record, RecordKind, ResourceRow, Restore, RowName,
    Transition, history, schema,
};
use crate::domain::{Moment, Severity};
use hashbrown::HashMap;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::borrow::Cow;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::BuildHasher;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// An open ledger. One writer: a second process that opens the same file is refused.
#[derive(Debug)]
pub struct Ledger {
    pub(super) db: Connection,
    pub(super) path: String,
    head: Head,
    last_resource: i64,
    last_transition: i64,
    kinds: HashMap<String, i64>,
    /// What each stored row of counters says apart from the passing of time; `None` until somebody needs it.
    prints: Option<Prints>,
    // Last, so that the file is closed before the lock is let go.
    _lock: Option<File>,
}

type Prints = HashMap<(u32, u32), u128, foldhash::fast::RandomState>;

impl Ledger {
    /// Opens or creates the ledger, checks its version and integrity, and takes the writer's lock.
    ///
    /// # Errors
    /// The file cannot be used; the message says what to do.
    pub fn open(config: &Config) -> Result<Ledger, LedgerError> {
        let (db, path, lock) = match config {
            Config::Memory => {
                let path = "in memory".to_owned();
                (Connection::open_in_memory().map_err(|e| fault(&path, e))?, path, None)
            }
            Config::Sqlite { path } => {
                let name = path.display().to_string();
                if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
                    std::fs::create_dir_all(dir).map_err(|source| LedgerError::Io { path: name.clone(), source })?;
                }
                let lock = take_lock(path, &name)?;
                (Connection::open(path).map_err(|e| fault(&name, e))?, name, Some(lock))
            }
        };
        let empty = whose(&db, &path)? == Whose::Nobodys;
        let mut ledger = Ledger {
            db,
            path,
            head: Head::default(),
            last_resource: -1,
            last_transition: 0,
            kinds: HashMap::new(),
            prints: None,
            _lock: lock,
        };
        ledger.prepare(empty).map_err(|e| fault(&ledger.path, e))?;
        ledger.check_head()?;
        Ok(ledger)
    }

    /// Opens the ledger to look at, as of now: no lock is taken, the writer may be at work, and nothing can be written.
    ///
    /// # Errors
    /// There is no such file, or it is none of ours.
    pub fn open_to_read(config: &Config) -> Result<Ledger, LedgerError> {
        let Config::Sqlite { path } = config else {
            return Err(LedgerError::Unusable {
                path: "in memory".to_owned(),
                message: "nothing is kept; configure `ledger: { sqlite: … }`".to_owned(),
            });
        };
        let db = open_to_read(path)?;
        let path = path.display().to_string();
        // One transaction, so that everything read belongs to one record.
        db.execute_batch("BEGIN").map_err(|e| fault(&path, e))?;
        let mut ledger = Ledger {
            db,
            path,
            head: Head::default(),
            last_resource: -1,
            last_transition: 0,
            kinds: HashMap::new(),
            prints: None,
            _lock: None,
        };
        ledger.reload().map_err(|e| fault(&ledger.path, e))?;
        Ok(ledger)
    }

    fn prepare(&mut self, empty: bool) -> rusqlite::Result<()> {
        settle(&self.db)?;
        // Readers of other processes hold the lock for moments only; five seconds is a sick disk.
        self.db.busy_timeout(std::time::Duration::from_secs(5))?;
        self.db.pragma_update(None, "journal_mode", "wal")?;
        self.db.pragma_update(None, "synchronous", "full")?;
        self.db.pragma_update(None, "foreign_keys", true)?;
        // A long reader can let the journal grow; this takes the space back afterwards.
        self.db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        self.db.set_prepared_statement_cache_capacity(64);
        if empty {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(schema::CREATE)?;
            tx.execute_batch(history::CREATE)?;
            tx.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", schema::VERSION)?;
            tx.commit()?;
        } else {
            self.db.execute_batch(history::CREATE)?;
        }
        self.reload()
    }

    /// Reads what is kept in memory: after opening, and after a transaction that failed.
    fn reload(&mut self) -> rusqlite::Result<()> {
        self.prints = None;
        let head = last_header(&self.db)?;
        self.last_resource = head.as_ref().map_or(-1, |h| h.last_resource);
        self.last_transition = head.as_ref().map_or(0, |h| h.last_transition);
        self.head = Head {
            sequence: head.as_ref().map_or(0, |h| h.sequence.cast_unsigned()),
            hash: head.as_ref().map_or_else(|| NO_HASH.to_owned(), |h| h.hash.clone()),
            at: head.as_ref().map(|h| Moment(h.at)),
            last_resource: u32::try_from(self.last_resource.max(0)).unwrap_or(u32::MAX),
        };
        self.kinds =
            self.db.prepare("SELECT name, id FROM kinds")?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// What can be checked at every start without reading the whole file: the small tables' pages, and that the newest
    /// record follows from the one before it. `restore` checks the counters; the rest is `verify`'s.
    fn check_head(&self) -> Result<(), LedgerError> {
        let sql = |e| fault(&self.path, e);
        for table in ["counters", "control_scopes", "bindings"] {
            let says: String = self.db.query_row(&format!("PRAGMA quick_check('{table}')"), [], |r| r.get(0)).map_err(sql)?;
            if says != "ok" {
                return Err(damaged(&self.path, &format!("table {table}: {says}")));
            }
        }
        let Some(head) = last_header(&self.db).map_err(sql)? else { return Ok(()) };
        let before: Option<String> =
            self.db.query_row("SELECT hash FROM records WHERE sequence = ?1", [head.sequence - 1], |r| r.get(0)).optional().map_err(sql)?;
        if head.hash_after(before.as_deref().unwrap_or(NO_HASH)) != head.hash {
            return Err(damaged(&self.path, &format!("record {} does not follow from the one before it", head.sequence)));
        }
        Ok(())
    }

    /// The chain's head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the documents of these definitions are already kept.
    ///
    /// # Errors
    /// The store failed.
    pub fn knows_definitions(&self, digest: &str) -> Result<bool, LedgerError> {
        self.db
            .prepare_cached("SELECT EXISTS(SELECT 1 FROM definitions WHERE digest = ?1)")
            .and_then(|mut q| q.query_row([digest], |r| r.get(0)))
            .map_err(|e| fault(&self.path, e))
    }

    /// Tells everything a start needs.
    ///
    /// # Errors
    /// The store failed, or what it has does not agree with the chain.
    pub fn restore(&mut self, into: &mut dyn Restore) -> Result<(), LedgerError> {
        let names = read_names(&self.db).map_err(|e| fault(&self.path, e))?;
        into.names(names);
        self.restore_resources(into)?;
        self.restore_rest(into).map_err(|e| fault(&self.path, e))?;
        let counters = read_counters(&self.db, self.head.at).map_err(|e| fault(&self.path, e))?;
        if let Some(head) = last_header(&self.db).map_err(|e| fault(&self.path, e))? {
            let sums = Sums::of(counters.iter());
            if (sums.integrals, sums.checkpoint) != (head.integrals, head.checkpoint) {
                return Err(damaged(&self.path, "the counters are not those of the newest record"));
            }
        }
        self.prints = Some(prints(&counters, self.head.at.unwrap_or_default()));
        counters.into_iter().for_each(|row| into.counters(row));
        Ok(())
    }

    fn restore_resources(&self, into: &mut dyn Restore) -> Result<(), LedgerError> {
        let sql = |e| fault(&self.path, e);
        let kinds = read_kinds(&self.db).map_err(sql)?;
        let mut query = self
            .db
            .prepare("SELECT id, name, kind, scope, first_seen, entries FROM resources WHERE entries IS NOT NULL ORDER BY id")
            .map_err(sql)?;
        let mut rows = query.query([]).map_err(sql)?;
        let mut words: Vec<u64> = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            let read =
                |row: &Row<'_>| -> rusqlite::Result<(u32, i64, u32, i64)> { Ok((row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?)) };
            let (id, kind, scope, first_seen) = read(row).map_err(sql)?;
            let name = row.get_ref(1).and_then(|v| Ok(v.as_str()?)).map_err(sql)?;
            let blob = row.get_ref(5).and_then(|v| Ok(v.as_blob()?)).map_err(sql)?;
            if !unpack(blob, &mut words) {
                return Err(damaged(
                    &self.path,
                    &format!("the observations of resource {id} are {} bytes, not a multiple of 8", blob.len()),
                ));
            }
            let kind = usize::try_from(kind).ok().and_then(|k| kinds.get(k)).map_or("", String::as_str);
            into.resource(ResourceRow { id, name, kind, scope, first_seen: Moment(first_seen), entries: &words });
        }
        Ok(())
    }

    fn restore_rest(&self, into: &mut dyn Restore) -> rusqlite::Result<()> {
        let db = &self.db;
        each(db, "SELECT resource, binding, weight FROM weights", |r| {
            into.weight(r.get(0)?, r.get(1)?, r.get(2)?);
            Ok(())
        })?;
        each(db, "SELECT control, resource, opened, deadline, counted, severity, closed FROM episodes", |r| {
            let severity: u8 = r.get(5)?;
            let severity = Severity::ALL.get(usize::from(severity)).ok_or(rusqlite::Error::IntegralValueOutOfRange(5, severity.into()))?;
            into.episode(Episode {
                control: r.get(0)?,
                resource: r.get(1)?,
                opened: Moment(r.get(2)?),
                deadline: r.get::<_, Option<i64>>(3)?.map(Moment),
                counted: r.get(4)?,
                severity: *severity,
                closed: r.get::<_, Option<i64>>(6)?.map(Moment),
            });
            Ok(())
        })?;
        each(db, "SELECT name, text FROM notes ORDER BY name", |r| {
            into.note(r.get_ref(0)?.as_str()?, r.get_ref(1)?.as_str()?);
            Ok(())
        })
    }

    /// Appends `record` with its changes in one durable transaction.
    ///
    /// `changes.counters` should have every row; a row that is left out is taken to have changed by time alone, which
    /// costs a read of the whole table.
    ///
    /// # Errors
    /// The store failed; nothing of it was written.
    pub fn commit(&mut self, record: &Record, changes: &Changes<'_>) -> Result<&Head, LedgerError> {
        self.write(record, changes, |_, _| Ok(String::new()))
    }

    /// [`Ledger::commit`] with more to write in the same transaction: `more` gets the record's number and returns its
    /// `event` digest, unless the record is a run.
    pub(super) fn write(
        &mut self,
        record: &Record,
        changes: &Changes<'_>,
        more: impl FnOnce(&Transaction<'_>, i64) -> Result<String, LedgerError>,
    ) -> Result<&Head, LedgerError> {
        let refused = |message: String| LedgerError::Refused { path: self.path.clone(), message };
        if let Some(at) = self.head.at.filter(|at| record.at < *at) {
            return Err(refused(format!("a record at {} cannot follow one at {at}: time does not go back", record.at)));
        }
        let transitions = in_order(&changes.transitions);
        if let (Some(first), Some(last)) = (transitions.first(), transitions.last())
            && (last.at > record.at || self.head.at.is_some_and(|at| first.at < at))
        {
            return Err(refused(format!(
                "transitions from {} to {} do not lie between the newest record and this one at {}",
                first.at, last.at, record.at
            )));
        }
        let counters = by_row(&changes.counters);
        if let Some(pair) = counters.windows(2).find(|p| key(&p[0]) == key(&p[1])) {
            return Err(refused(format!("two rows of counters for control {} in scope {}", pair[0].control, pair[0].scope)));
        }
        if let Some(row) =
            counters.iter().find(|row| row.transitions.iter().any(|(direction, _, _)| !canonical::DIRECTIONS.contains(direction)))
        {
            return Err(refused(format!("an unknown direction of transitions in {:?}", row.transitions)));
        }
        let result = self.transact(record, changes, &transitions, &counters, more);
        if result.is_err() {
            // What is in memory may speak of rows that were rolled back. If the store is so ill that this fails too,
            // the next commit finds the same and says so; the head is that of the last success either way.
            let _ = self.reload();
        }
        result.map(|()| &self.head)
    }

    fn transact(
        &mut self,
        record: &Record,
        changes: &Changes<'_>,
        transitions: &[Transition],
        counters: &[CounterRow],
        more: impl FnOnce(&Transaction<'_>, i64) -> Result<String, LedgerError>,
    ) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let sql = |e| fault(&path, e);
        if self.prints.is_none() {
            let stored = read_counters(&self.db, self.head.at).map_err(sql)?;
            self.prints = Some(prints(&stored, self.head.at.unwrap_or_default()));
        }
        let stored = self.prints.get_or_insert_default();
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        // References to the record are checked when it is there, at the end.
        tx.pragma_update(None, "defer_foreign_keys", true).map_err(sql)?;
        let sequence = self.head.sequence.cast_signed() + 1;
        let mut header = Header {
            sequence,
            kind: record.kind.word().to_owned(),
            at: record.at.0,
            definitions: record.definitions_digest.clone(),
            ..Header::default()
        };
        header.names = write_names(&tx, sequence, record, changes).map_err(sql)?;
        (header.resources, header.last_resource) =
            write_resources(&tx, self.last_resource, changes, &mut self.kinds).map_err(|e| match e {
                Trouble::Sql(e) => sql(e),
                Trouble::Caller(message) => LedgerError::Refused { path: path.clone(), message },
            })?;
        header.transitions = write_transitions(&tx, self.last_transition, record.at, transitions).map_err(sql)?;
        header.last_transition = self.last_transition + transitions.len() as i64;
        write_state(&tx, changes).map_err(sql)?;
        history::write(&tx, &changes.history).map_err(sql)?;
        let sums = write_counters(&tx, stored, self.head.at, record.at, counters).map_err(sql)?;
        (header.integrals, header.checkpoint, header.totals) = (sums.integrals, sums.checkpoint, sums.totals);
        header.event = match &record.run {
            Some(run) => write_run(&tx, sequence, run).map_err(sql)?,
            None => more(&tx, sequence)?,
        };
        header.hash = header.hash_after(&self.head.hash);
        write_header(&tx, &header).map_err(sql)?;
        tx.commit().map_err(sql)?;
        self.last_resource = header.last_resource;
        self.last_transition = header.last_transition;
        self.head = Head {
            sequence: sequence.cast_unsigned(),
            hash: header.hash,
            at: Some(record.at),
            last_resource: u32::try_from(header.last_resource.max(0)).unwrap_or(u32::MAX),
        };
        Ok(())
    }
}

/// Whose file a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    /// Empty: nobody wrote to it yet.
    Nobodys,
}

/// Asks before anything is written, so that another program's database is left as it was.
pub(super) fn whose(db: &Connection, path: &str) -> Result<Whose, LedgerError> {
    let sql = |e| fault(path, e);
    let id: i64 = db.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(sql)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(sql)?;
    let things: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(sql)?;
    let unusable = |message: String| Err(LedgerError::Unusable { path: path.to_owned(), message });
    if id == 0 && things == 0 {
        return Ok(Whose::Nobodys);
    }
    if id != schema::APPLICATION_ID {
        return unusable("this is a SQLite database of another program; name another file".to_owned());
    }
    if version > schema::VERSION {
        return unusable(format!(
            "written by a newer bornright (schema {version}, this one knows {}); run that version, it was left untouched",
            schema::VERSION
        ));
    }
    if version != schema::VERSION {
        return unusable(format!("schema {version} is none that ever was; restore the file from a backup"));
    }
    Ok(Whose::Ours)
}

/// Settings of every connection, before its first statement on foreign bytes.
pub(super) fn settle(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)
}

/// Opens `path` to read; works while the exporter writes, and on a read-only medium.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    let name = path.display().to_string();
    if let Err(source) = std::fs::metadata(path) {
        return Err(LedgerError::Io { path: name, source });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(|e| fault(&name, e))?;
    let db = match db.pragma_query_value(None, "application_id", |r| r.get::<_, i64>(0)) {
        Ok(_) => db,
        // A reader of a WAL file wants to write its index beside it. On a medium where it cannot, and with no journal
        // to be read, the file is all there is.
        Err(rusqlite::Error::SqliteFailure(e, _))
            if matches!(e.code, ErrorCode::CannotOpen | ErrorCode::ReadOnly)
                && std::fs::metadata(beside(path, "-wal")).map_or(0, |m| m.len()) == 0 =>
        {
            let mut uri = String::from("file:");
            for b in path.as_os_str().as_encoded_bytes() {
                match b {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*b)),
                    _ => uri.push_str(&format!("%{b:02x}")),
                }
            }
            uri.push_str("?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(|e| fault(&name, e))?
        }
        Err(e) => return Err(fault(&name, e)),
    };
    settle(&db).map_err(|e| fault(&name, e))?;
    db.busy_timeout(std::time::Duration::from_secs(5)).map_err(|e| fault(&name, e))?;
    match whose(&db, &name)? {
        Whose::Ours => Ok(db),
        Whose::Nobodys => {
            Err(LedgerError::Unusable { path: name, message: "the file is empty; nothing was ever recorded in it".to_owned() })
        }
    }
}

/// An error of SQLite in words a person can act upon.
pub(super) fn fault(path: &str, source: rusqlite::Error) -> LedgerError {
    use rusqlite::Error as E;
    if let E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..) | E::FromSqlConversionFailure(..) | E::Utf8Error(..) = &source {
        // Our tables take no such value from us.
        return damaged(path, &source.to_string());
    }
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => LedgerError::Unusable {
            path: path.to_owned(),
            message: "this is not a SQLite database, or its first page is damaged; name another file, or restore it from a backup"
                .to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => damaged(path, &source.to_string()),
        _ => LedgerError::Sqlite { path: path.to_owned(), source },
    }
}

pub(super) fn damaged(path: &str, what: &str) -> LedgerError {
    LedgerError::Unusable {
        path: path.to_owned(),
        message: format!(
            "damaged: {what}; `bornright ledger verify` says more. Restore it from a backup, or move it away to start anew (all counters then start at 0)"
        ),
    }
}

fn take_lock(path: &Path, name: &str) -> Result<File, LedgerError> {
    let file = beside(path, ".lock");
    let io = |source| LedgerError::Io { path: file.display().to_string(), source };
    let mut lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {
            // Only for the message below; the lock itself is the kernel's and ends with the process.
            let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&mut lock).take(20).read_to_string(&mut holder);
            let by = if holder.is_empty() { String::new() } else { format!(" {holder}") };
            Err(LedgerError::Unusable {
                path: name.to_owned(),
                message: format!("process{by} is writing to it, and only one may; stop that one, or name another file"),
            })
        }
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

// ---- reading

const HEADER_COLUMNS: &str = "sequence, kind, at, definitions, event, names, resources, last_resource, transitions, last_transition, \
                              integrals, checkpoint, totals, hash";

/// The statement that lists headers, with `tail` behind it.
pub(super) fn headers(tail: &str) -> String {
    format!("SELECT {HEADER_COLUMNS} FROM records {tail}")
}

/// Reads a row of [`headers`].
pub(super) fn header(r: &Row<'_>) -> rusqlite::Result<Header> {
    Ok(Header {
        sequence: r.get(0)?,
        kind: r.get(1)?,
        at: r.get(2)?,
        definitions: r.get(3)?,
        event: r.get(4)?,
        names: r.get(5)?,
        resources: r.get(6)?,
        last_resource: r.get(7)?,
        transitions: r.get(8)?,
        last_transition: r.get(9)?,
        integrals: r.get(10)?,
        checkpoint: r.get(11)?,
        totals: r.get(12)?,
        hash: r.get(13)?,
    })
}

fn last_header(db: &Connection) -> rusqlite::Result<Option<Header>> {
    db.query_row(&headers("ORDER BY sequence DESC LIMIT 1"), [], header).optional()
}

/// Calls `row` with each row of `sql`.
pub(super) fn each(db: &Connection, sql: &str, mut row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let mut query = db.prepare(sql)?;
    let mut rows = query.query([])?;
    while let Some(r) = rows.next()? {
        row(r)?;
    }
    Ok(())
}

/// Little-endian words into `words` (cleared first); false if `blob` is not made of them.
pub(super) fn unpack(blob: &[u8], words: &mut Vec<u64>) -> bool {
    let (chunks, rest) = blob.as_chunks::<8>();
    words.clear();
    words.extend(chunks.iter().map(|c| u64::from_le_bytes(*c)));
    rest.is_empty()
}

/// Kinds by id. Ids are small and dense: the ledger gives them itself.
pub(super) fn read_kinds(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut kinds = vec![String::new()];
    each(db, "SELECT id, name FROM kinds ORDER BY id", |r| {
        // A made-up id must not make us reserve memory for the gap before it.
        if r.get::<_, u32>(0)? as usize == kinds.len() {
            kinds.push(r.get(1)?);
        }
        Ok(())
    })?;
    Ok(kinds)
}

fn read_names(db: &Connection) -> rusqlite::Result<NewNames> {
    let simple = |table: &str| -> rusqlite::Result<Vec<(u32, String)>> {
        db.prepare(&format!("SELECT id, name FROM {table} ORDER BY id"))?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
    };
    let mut names =
        NewNames { controls: simple("controls")?, collectors: simple("collectors")?, checks: simple("checks")?, ..NewNames::default() };
    names.scopes = simple("scopes")?.into_iter().map(|(id, name)| (id, name, Vec::new())).collect();
    each(db, "SELECT scope, field, value FROM scope_parts ORDER BY scope, ordinal", |r| {
        let scope: u32 = r.get(0)?;
        if let Ok(i) = names.scopes.binary_search_by_key(&scope, |s| s.0) {
            names.scopes[i].2.push((r.get(1)?, r.get(2)?));
        }
        Ok(())
    })?;
    each(db, "SELECT id, control, collector, checked, population FROM bindings ORDER BY id", |r| {
        names.bindings.push(binding(r)?);
        Ok(())
    })?;
    each(db, "SELECT control, scope, shown FROM control_scopes ORDER BY id", |r| {
        names.rows.push(RowName { control: r.get(0)?, scope: r.get(1)?, shown: r.get(2)? });
        Ok(())
    })?;
    Ok(names)
}

/// Reads `id, control, collector, checked, population`.
pub(super) fn binding(r: &Row<'_>) -> rusqlite::Result<Binding> {
    Ok(Binding { id: r.get(0)?, control: r.get(1)?, collector: r.get(2)?, check: r.get(3)?, population: r.get(4)? })
}

/// All counters as of `at`, by control and scope.
pub(super) fn read_counters(db: &Connection, at: Option<Moment>) -> rusqlite::Result<Vec<CounterRow>> {
    let rows: i64 = db.query_row("SELECT count(*) FROM counters", [], |r| r.get(0))?;
    let mut list = Vec::with_capacity(usize::try_from(rows).unwrap_or(0));
    each(db, "SELECT * FROM counters ORDER BY control, scope", |r| {
        let number = |i: usize| r.get::<_, i64>(i).map(i64::cast_unsigned);
        let wrong = |i: usize| rusqlite::Error::InvalidColumnType(i, "text".to_owned(), rusqlite::types::Type::Text);
        let mut row = CounterRow {
            control: r.get(0)?,
            scope: r.get(1)?,
            counts: [number(3)?, number(4)?, number(5)?, number(6)?],
            resource_ms: [number(7)?, number(8)?, number(9)?, number(10)?],
            evidence_ms: [number(11)?, number(12)?],
            newest_evidence: r.get::<_, Option<i64>>(13)?.map(Moment),
            fresh_until: r.get::<_, Option<i64>>(14)?.map(Moment),
            violations: match r.get_ref(15)?.as_str_or_null()? {
                None => None,
                Some(text) => Some(canonical::read_violations(text).ok_or_else(|| wrong(15))?),
            },
            transitions: canonical::read_transition_counts(r.get_ref(16)?.as_str()?).ok_or_else(|| wrong(16))?,
        };
        let as_of = Moment(r.get(2)?);
        if at.is_some_and(|at| as_of > at) {
            return Err(rusqlite::Error::IntegralValueOutOfRange(2, as_of.0));
        }
        canonical::advance(&mut row, as_of, at.unwrap_or(as_of));
        list.push(row);
        Ok(())
    })?;
    Ok(list)
}

// ---- digests of counters

/// What a record says about all counters.
pub(super) struct Sums {
    pub(super) integrals: String,
    pub(super) checkpoint: String,
    pub(super) totals: String,
}

impl Sums {
    /// Of rows sorted by control and scope.
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a CounterRow>) -> Sums {
        let (mut integrals, mut checkpoint) = (Packed::default(), Packed::default());
        let (mut counts, mut ms) = ([0u128; 4], [0u128; 4]);
        let mut bytes = Vec::new();
        for row in rows {
            if let Some(bytes) = canonical::integral(row.control, row.scope, &row.counts, &row.resource_ms) {
                integrals.row(&bytes);
            }
            bytes.clear();
            canonical::checkpoint(row, &mut bytes);
            checkpoint.row(&bytes);
            for s in 0..4 {
                counts[s] += u128::from(row.counts[s]);
                ms[s] += u128::from(row.resource_ms[s]);
            }
        }
        Sums { integrals: integrals.finish(), checkpoint: checkpoint.finish(), totals: canonical::totals(&counts, &ms) }
    }
}

/// What of a row does not change by time alone: integrals less what time added since the epoch, evidence as of the
/// instant it runs out. Two values of a row with equal prints differ by nothing but time, so the stored one will do.
fn print(row: &CounterRow, at: Moment, bytes: &mut Vec<u8>) -> u128 {
    let at = at.0.cast_unsigned();
    let mut words = [0u64; 13];
    for s in 0..4 {
        words[s] = row.counts[s];
        words[4 + s] = row.resource_ms[s].wrapping_sub(row.counts[s].wrapping_mul(at));
    }
    let (fresh, stale) = match row.fresh_until {
        None => (row.evidence_ms[0], row.evidence_ms[1].wrapping_sub(at)),
        Some(until) => {
            let until = until.0.cast_unsigned();
            if at.cast_signed() < until.cast_signed() {
                (row.evidence_ms[0].wrapping_add(until.wrapping_sub(at)), row.evidence_ms[1])
            } else {
                (row.evidence_ms[0], row.evidence_ms[1].wrapping_sub(at.wrapping_sub(until)))
            }
        }
    };
    words[8] = fresh;
    words[9] = stale;
    words[10] = row.newest_evidence.map_or(0, |m| m.0.cast_unsigned());
    words[11] = row.fresh_until.map_or(0, |m| m.0.cast_unsigned());
    words[12] = u64::from(row.newest_evidence.is_some()) | u64::from(row.fresh_until.is_some()) << 1;
    bytes.clear();
    words.iter().for_each(|w| bytes.extend_from_slice(&w.to_le_bytes()));
    canonical::families(row, bytes);
    let print = |seed: u64| foldhash::quality::FixedState::with_seed(seed).hash_one(&bytes[..]);
    u128::from(print(1)) << 64 | u128::from(print(2))
}

fn prints(rows: &[CounterRow], at: Moment) -> Prints {
    let mut bytes = Vec::new();
    rows.iter().map(|row| (key(row), print(row, at, &mut bytes))).collect()
}

fn key(row: &CounterRow) -> (u32, u32) {
    (row.control, row.scope)
}

// ---- writing

fn in_order(transitions: &[Transition]) -> Cow<'_, [Transition]> {
    if transitions.is_sorted_by_key(|t| t.at) {
        return Cow::Borrowed(transitions);
    }
    let mut sorted = transitions.to_vec();
    sorted.sort_by_key(|t| t.at);
    Cow::Owned(sorted)
}

fn by_row(counters: &[CounterRow]) -> Cow<'_, [CounterRow]> {
    if counters.is_sorted_by_key(key) {
        return Cow::Borrowed(counters);
    }
    let mut sorted = counters.to_vec();
    sorted.sort_by_key(key);
    Cow::Owned(sorted)
}

fn write_header(tx: &Transaction<'_>, h: &Header) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO records({HEADER_COLUMNS}) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)");
    tx.prepare_cached(&sql)?.execute(params![
        h.sequence,
        h.kind,
        h.at,
        h.definitions,
        h.event,
        h.names,
        h.resources,
        h.last_resource,
        h.transitions,
        h.last_transition,
        h.integrals,
        h.checkpoint,
        h.totals,
        h.hash
    ])?;
    Ok(())
}

fn by_id<T>(list: &[T], id: impl Fn(&T) -> u32) -> Vec<&T> {
    let mut sorted: Vec<&T> = list.iter().collect();
    sorted.sort_by_key(|x| id(x));
    sorted
}

fn write_names(tx: &Transaction<'_>, sequence: i64, record: &Record, changes: &Changes<'_>) -> rusqlite::Result<String> {
    let names = &changes.names;
    let mut f = Fields::default();
    let simple = |f: &mut Fields, sql: &str, word: &str, list: &[(u32, String)]| -> rusqlite::Result<()> {
        if list.is_empty() {
            return Ok(());
        }
        let mut insert = tx.prepare_cached(sql)?;
        for (id, name) in by_id(list, |x| x.0) {
            insert.execute(params![id, name, sequence])?;
            canonical::name(f, word, i64::from(*id), name);
        }
        Ok(())
    };
    simple(&mut f, "INSERT INTO controls VALUES(?1, ?2, ?3)", "control", &names.controls)?;
    for (id, name, parts) in by_id(&names.scopes, |x| x.0) {
        tx.prepare_cached("INSERT INTO scopes VALUES(?1, ?2, ?3)")?.execute(params![id, name, sequence])?;
        let mut insert = tx.prepare_cached("INSERT INTO scope_parts VALUES(?1, ?2, ?3, ?4)")?;
        for (i, (field, value)) in parts.iter().enumerate() {
            insert.execute(params![id, i as i64, field, value])?;
        }
        canonical::scope(&mut f, i64::from(*id), name, parts.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    }
    simple(&mut f, "INSERT INTO collectors VALUES(?1, ?2, ?3)", "collector", &names.collectors)?;
    simple(&mut f, "INSERT INTO checks VALUES(?1, ?2, ?3)", "check", &names.checks)?;
    for b in by_id(&names.bindings, |b| b.id) {
        tx.prepare_cached("INSERT INTO bindings VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
            b.id,
            b.control,
            b.collector,
            b.check,
            b.population,
            sequence
        ])?;
        canonical::binding(&mut f, b);
    }
    for row in &names.rows {
        let id = tx.prepare_cached("INSERT INTO control_scopes(control, scope, shown, record) VALUES(?1, ?2, ?3, ?4)")?.insert(params![
            row.control,
            row.scope,
            row.shown,
            sequence
        ])?;
        canonical::control_scope(&mut f, id, row);
    }
    let digest = &record.definitions_digest;
    let known = |table: &str| -> rusqlite::Result<bool> {
        tx.query_row(&format!("SELECT EXISTS(SELECT 1 FROM {table} WHERE digest = ?1)"), [digest], |r| r.get(0))
    };
    if !changes.definitions.is_empty() && !known("definitions")? {
        let mut sorted: Vec<_> = changes.definitions.iter().collect();
        sorted.sort();
        for (name, text) in sorted {
            tx.execute("INSERT INTO definitions VALUES(?1, ?2, ?3, ?4)", params![digest, name, text, sequence])?;
            canonical::definition(&mut f, digest, name, text);
        }
    }
    if !changes.control_versions.is_empty() && !known("control_versions")? {
        let mut sorted: Vec<_> = changes.control_versions.iter().collect();
        sorted.sort();
        for (control, set, version) in sorted {
            tx.execute("INSERT INTO control_versions VALUES(?1, ?2, ?3, ?4, ?5)", params![digest, control, set, version, sequence])?;
            canonical::control_version(&mut f, digest, control, set, version);
        }
    }
    Ok(f.finish())
}

enum Trouble {
    Sql(rusqlite::Error),
    Caller(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Trouble {
        Trouble::Sql(e)
    }
}

/// Returns the digest of new resources, and the largest id so far.
fn write_resources(
    tx: &Transaction<'_>,
    last: i64,
    changes: &Changes<'_>,
    kinds: &mut HashMap<String, i64>,
) -> Result<(String, i64), Trouble> {
    let mut packed = Packed::default();
    let mut newest = last;
    let mut blob = Vec::new();
    let mut insert = tx.prepare_cached("INSERT INTO resources VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut update = tx.prepare_cached("UPDATE resources SET kind = ?2, scope = ?3, entries = ?4 WHERE id = ?1")?;
    let sorted: Cow<'_, [ResourceRow<'_>]> = if changes.resources.is_sorted_by_key(|r| r.id) {
        Cow::Borrowed(&changes.resources)
    } else {
        let mut sorted = changes.resources.clone();
        sorted.sort_by_key(|r| r.id);
        Cow::Owned(sorted)
    };
    for row in sorted.iter() {
        let kind = match (row.kind, kinds.get(row.kind)) {
            ("", _) => 0,
            (_, Some(id)) => *id,
            (name, None) => {
                let id = tx.prepare_cached("INSERT INTO kinds(name) VALUES(?1)")?.insert([name])?;
                kinds.insert(name.to_owned(), id);
                id
            }
        };
        blob.clear();
        blob.extend(row.entries.iter().flat_map(|w| w.to_le_bytes()));
        if i64::from(row.id) > newest {
            newest = i64::from(row.id);
            insert.execute(params![row.id, row.name, kind, row.scope, row.first_seen.0, blob])?;
            canonical::resource(&mut packed, row.id, row.first_seen.0, row.name);
        } else if update.execute(params![row.id, kind, row.scope, blob])? == 0 {
            return Err(Trouble::Caller(format!("resource {} ({}) changed, but was never new", row.id, row.name)));
        }
    }
    if !changes.gone.is_empty() {
        let mut gone = tx.prepare_cached("UPDATE resources SET entries = NULL WHERE id = ?1")?;
        let mut weightless = tx.prepare_cached("DELETE FROM weights WHERE resource = ?1")?;
        for id in &changes.gone {
            gone.execute([id])?;
            weightless.execute([id])?;
        }
    }
    Ok((packed.finish(), newest))
}

/// Of `transitions`.
const COLUMNS: usize = 11;

fn write_transitions(tx: &Transaction<'_>, last: i64, at: Moment, transitions: &[Transition]) -> rusqlite::Result<String> {
    let mut packed = Packed::default();
    let mut insert = tx.prepare_cached("INSERT INTO transitions VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    // A statement keeps what was bound to it. Neighbours share most values, so only what differs is bound.
    let mut bound = [None; COLUMNS];
    for (ordinal, t) in (1u32..).zip(transitions) {
        let bytes = canonical::transition(t);
        packed.row(&bytes);
        let row: [i64; COLUMNS] = [
            last + i64::from(ordinal),
            t.control.into(),
            t.scope.into(),
            t.resource.into(),
            canonical::state_code(t.from).into(),
            canonical::state_code(t.to).into(),
            t.cause as i64,
            at.0 - t.at.0,
            t.at.0.wrapping_sub(t.evidence_at.0),
            t.weight.into(),
            canonical::mark(ordinal, &bytes).into(),
        ];
        for (i, (bound, value)) in bound.iter_mut().zip(row).enumerate() {
            if *bound != Some(value) {
                insert.raw_bind_parameter(i + 1, value)?;
                *bound = Some(value);
            }
        }
        insert.raw_execute()?;
    }
    insert.clear_bindings();
    Ok(packed.finish())
}

fn write_state(tx: &Transaction<'_>, changes: &Changes<'_>) -> rusqlite::Result<()> {
    for (resource, binding, weight) in &changes.weights {
        if *weight == 0 {
            tx.prepare_cached("DELETE FROM weights WHERE resource = ?1 AND binding = ?2")?.execute([resource, binding])?;
        } else {
            tx.prepare_cached("INSERT INTO weights VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET weight = excluded.weight")?
                .execute([resource, binding, weight])?;
        }
    }
    if !changes.episodes.is_empty() {
        let mut put = tx.prepare_cached(
            "INSERT INTO episodes VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET opened = excluded.opened, \
             deadline = excluded.deadline, counted = excluded.counted, severity = excluded.severity, closed = excluded.closed",
        )?;
        for e in &changes.episodes {
            put.execute(params![
                e.resource,
                e.control,
                e.opened.0,
                e.deadline.map(|m| m.0),
                e.counted,
                e.severity as u8,
                e.closed.map(|m| m.0)
            ])?;
        }
    }
    for (control, resource) in &changes.episodes_gone {
        tx.prepare_cached("DELETE FROM episodes WHERE resource = ?1 AND control = ?2")?.execute([resource, control])?;
    }
    for (name, text) in &changes.notes {
        tx.prepare_cached("INSERT INTO notes VALUES(?1, ?2) ON CONFLICT DO UPDATE SET text = excluded.text")?.execute([name, text])?;
    }
    Ok(())
}

/// Writes the rows that time alone does not explain, and returns what the record says about all of them.
fn write_counters(
    tx: &Transaction<'_>,
    stored: &mut Prints,
    before: Option<Moment>,
    at: Moment,
    counters: &[CounterRow],
) -> rusqlite::Result<Sums> {
    let mut put = tx.prepare_cached(
        "INSERT INTO counters VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT DO UPDATE SET \
         as_of = excluded.as_of, compliant = excluded.compliant, non_compliant = excluded.non_compliant, unknown = excluded.unknown, \
         waived = excluded.waived, compliant_ms = excluded.compliant_ms, non_compliant_ms = excluded.non_compliant_ms, \
         unknown_ms = excluded.unknown_ms, waived_ms = excluded.waived_ms, fresh_ms = excluded.fresh_ms, stale_ms = excluded.stale_ms, \
         newest_evidence = excluded.newest_evidence, fresh_until = excluded.fresh_until, violations = excluded.violations, \
         transitions = excluded.transitions",
    )?;
    let (mut transitions, mut violations, mut bytes) = (String::new(), String::new(), Vec::new());
    for row in counters {
        let now = print(row, at, &mut bytes);
        if stored.insert(key(row), now) == Some(now) {
            continue;
        }
        canonical::transition_counts(&row.transitions, &mut transitions);
        if let Some(list) = &row.violations {
            canonical::violations(list, &mut violations);
        }
        let [c, n, u, w] = row.counts.map(u64::cast_signed);
        let [cm, nm, um, wm] = row.resource_ms.map(u64::cast_signed);
        let [fresh, stale] = row.evidence_ms.map(u64::cast_signed);
        put.execute(params![
            row.control,
            row.scope,
            at.0,
            c,
            n,
            u,
            w,
            cm,
            nm,
            um,
            wm,
            fresh,
            stale,
            row.newest_evidence.map(|m| m.0),
            row.fresh_until.map(|m| m.0),
            row.violations.is_some().then_some(&violations),
            transitions
        ])?;
    }
    if counters.len() == stored.len() {
        return Ok(Sums::of(counters.iter()));
    }
    // Some rows were left out: the stored ones, carried to this instant, stand for them.
    debug_assert!(before.is_some(), "rows that are left out were written by an earlier record");
    let all = read_counters(tx, Some(at))?;
    Ok(Sums::of(all.iter()))
}

fn write_run(tx: &Transaction<'_>, sequence: i64, run: &super::RunRecord) -> rusqlite::Result<String> {
    let evidence = canonical::evidence(&run.evidence);
    let scanner = run.scanner.as_ref();
    let [pass, fail, error, manual, not_applicable, not_assessed] = run.findings.map(u64::cast_signed);
    tx.prepare_cached("INSERT INTO runs VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)")?.execute(
        params![
            sequence,
            run.collector,
            run.started.0,
            run.finished.0,
            run.complete,
            pass,
            fail,
            error,
            manual,
            not_applicable,
            not_assessed,
            scanner.map(|s| &s.name),
            scanner.map(|s| &s.version),
            scanner.map(|s| &s.rule_set),
            run.mapping_digest,
            evidence
        ],
    )?;
    for (kind, number) in &run.problems {
        tx.prepare_cached("INSERT INTO run_problems VALUES(?1, ?2, ?3)")?.execute(params![sequence, kind.word(), number.cast_signed()])?;
    }
    let mut insert = tx.prepare_cached("INSERT INTO evidence VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (i, e) in run.evidence.iter().enumerate() {
        insert.execute(params![sequence, i as i64, e.name, e.sha256, e.bytes.cast_signed(), e.observed_at.map(|m| m.0)])?;
    }
    Ok(canonical::run_event(run, &evidence))
}

impl Record {
    /// A record that is not a run.
    pub fn of(kind: RecordKind, at: Moment, definitions_digest: impl Into<String>) -> Record {
        Record { kind, at, run: None, definitions_digest: definitions_digest.into() }
    }
}
