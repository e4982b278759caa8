//! Questions about the past, for `explain` and the API: read-only, beside the writer.
//!
//! Resources are found by name and transitions by resource by walking the tables: an index on either would cost more
//! than a third of the file for questions that a person asks now and then (docs/ledger.md has the figures).

use super::canonical;
use super::schema::PACKED_EPOCH_MS;
use super::sqlite::{fault, open_to_read, read_kinds, unpack};
use super::verify::{read_evidence, read_run, run};
use super::{Config, Evidence, LedgerError, RunRecord};
use crate::domain::{Cause, Moment, State};
use hashbrown::{HashMap, HashSet};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A read-only view of a ledger. Every question sees the newest commit.
#[derive(Debug)]
pub struct Reader {
    pub(super) db: Connection,
    pub(super) path: String,
}

/// A change of state, with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The record it belongs to.
    pub record: u64,
    /// Control.
    pub control: String,
    /// Scope as found.
    pub scope: String,
    /// Resource.
    pub resource: String,
    /// Before; `None`: outside the population.
    pub from: Option<State>,
    /// After.
    pub to: Option<State>,
    /// When it took effect.
    pub at: Moment,
    /// When the evidence says it was so.
    pub evidence_at: Moment,
    /// Why.
    pub cause: Cause,
    /// Resources this stands for.
    pub weight: u32,
}

/// A run with its place in the chain.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Number of the record.
    pub record: u64,
    /// The record's instant.
    pub at: Moment,
    /// The record's hash, hex.
    pub hash: String,
    /// The run; its evidence is asked for with [`Reader::evidence`].
    pub run: RunRecord,
}

/// What the newest observation of a binding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObservedResult {
    /// None yet: the time is when the resource was first seen.
    None,
    /// Pass.
    Pass,
    /// Fail.
    Fail,
    /// A person has to look.
    Manual,
    /// Does not apply.
    NotApplicable,
    /// It is in the population; nothing was judged.
    Population,
}

impl ObservedResult {
    /// Every result, by its code in a packed observation.
    pub const ALL: [ObservedResult; 6] = [
        ObservedResult::None,
        ObservedResult::Pass,
        ObservedResult::Fail,
        ObservedResult::Manual,
        ObservedResult::NotApplicable,
        ObservedResult::Population,
    ];

    /// The word in the view `observations`.
    pub const fn word(self) -> &'static str {
        match self {
            ObservedResult::None => "none yet",
            ObservedResult::Pass => "pass",
            ObservedResult::Fail => "fail",
            ObservedResult::Manual => "manual",
            ObservedResult::NotApplicable => "not_applicable",
            ObservedResult::Population => "population",
        }
    }
}

/// One observation of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Who said so.
    pub collector: String,
    /// By which of its checks.
    pub check: String,
    /// What.
    pub result: ObservedResult,
    /// Whether the source suppresses it.
    pub suppressed: bool,
    /// Evidence time.
    pub evidence_at: Moment,
    /// Resources it stands for.
    pub weight: u32,
}

/// A live resource with what was observed of it for one control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedResource {
    /// Ledger id.
    pub id: u32,
    /// Normalised id.
    pub name: String,
    /// Type, or empty.
    pub kind: String,
    /// Scope.
    pub scope: String,
    /// When it was first seen.
    pub first_seen: Moment,
    /// For this control. The judgement is `evaluate`'s.
    pub observations: Vec<Observation>,
}

/// Some resources, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingsPage {
    /// By ledger id.
    pub resources: Vec<ObservedResource>,
    /// Give this as `after` to go on; `None` at the end.
    pub next: Option<u32>,
}

const EVENT: &str = "SELECT r.sequence, c.name, s.name, o.name, t.from_state, t.to_state, t.cause, r.at, t.early, t.lag, t.weight, \
     t.control, t.scope, t.resource FROM transitions t \
     JOIN records r ON r.sequence = (SELECT sequence FROM records WHERE last_transition >= t.id ORDER BY last_transition, sequence LIMIT 1) \
     LEFT JOIN controls c ON c.id = t.control LEFT JOIN scopes s ON s.id = t.scope LEFT JOIN resources o ON o.id = t.resource";

impl Reader {
    /// Opens the ledger to read. The writer may be at work.
    ///
    /// # Errors
    /// There is no such file, it is none of ours, or nothing is kept at all.
    pub fn open(config: &Config) -> Result<Reader, LedgerError> {
        match config {
            Config::Sqlite { path } => Ok(Reader { db: open_to_read(path)?, path: path.display().to_string() }),
            Config::Memory => Err(LedgerError::Unusable {
                path: "in memory".to_owned(),
                message: "nothing is kept; configure `ledger: { sqlite: … }`".to_owned(),
            }),
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        question(&self.db).map_err(|e| fault(&self.path, e))
    }

    /// The changes of `control` on `resource`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub fn history(&self, control: &str, resource: &str, limit: usize) -> Result<Vec<Event>, LedgerError> {
        self.ask(|db| {
            let Some(control) = id_of(db, "controls", control)? else { return Ok(Vec::new()) };
            // A resource that went and came back has several ids.
            let ids: Vec<u32> = db
                .prepare_cached("SELECT id FROM resources WHERE name = ?1")?
                .query_map([resource], |r| r.get(0))?
                .collect::<Result<_, _>>()?;
            let mut events = Vec::new();
            for id in ids {
                let sql = format!("{EVENT} WHERE t.resource = ?1 AND t.control = ?2 ORDER BY t.id DESC LIMIT ?3");
                events
                    .extend(db.prepare_cached(&sql)?.query_map(params![id, control, bound(limit)], event)?.collect::<Result<Vec<_>, _>>()?);
            }
            events.sort_by_key(|e| std::cmp::Reverse((e.at, e.record)));
            events.truncate(limit);
            Ok(events)
        })
    }

    /// The scopes under which resources were shown so far, sorted.
    ///
    /// # Errors
    /// The store failed.
    pub fn scopes(&self) -> Result<Vec<String>, LedgerError> {
        self.ask(|db| {
            db.prepare_cached("SELECT DISTINCT s.name FROM control_scopes c JOIN scopes s ON s.id = c.shown ORDER BY s.name")?
                .query_map([], |r| r.get(0))?
                .collect()
        })
    }

    /// How many resources each (control, scope) had in its population when last counted.
    ///
    /// # Errors
    /// The store failed.
    pub fn populations(&self) -> Result<Vec<(String, String, u64)>, LedgerError> {
        self.ask(|db| {
            db.prepare_cached(
                "SELECT c.name, s.name, k.compliant + k.non_compliant + k.unknown + k.waived FROM counters k \
                 JOIN controls c ON c.id = k.control JOIN scopes s ON s.id = k.scope ORDER BY c.name, s.name",
            )?
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)?.unsigned_abs())))?
            .collect()
        })
    }

    /// The newest changes of all, newest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn recent_transitions(&self, limit: usize) -> Result<Vec<Event>, LedgerError> {
        self.ask(|db| db.prepare_cached(&format!("{EVENT} ORDER BY t.id DESC LIMIT ?1"))?.query_map([bound(limit)], event)?.collect())
    }

    /// Runs before record `before` (none: from the newest), newest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn runs(&self, before: Option<u64>, limit: usize) -> Result<Vec<RunRow>, LedgerError> {
        self.ask(|db| {
            let before = before.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
            let records: Vec<(i64, i64, String)> = db
                .prepare_cached(
                    "SELECT record, at, hash FROM runs JOIN records ON sequence = record WHERE record < ?1 ORDER BY record DESC LIMIT ?2",
                )?
                .query_map([before, bound(limit)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
                .collect::<Result<_, _>>()?;
            let mut list = Vec::with_capacity(records.len());
            for (record, at, hash) in records {
                if let Some((run, _)) = read_run(db, record)? {
                    list.push(RunRow { record: record.cast_unsigned(), at: Moment(at), hash, run });
                }
            }
            Ok(list)
        })
    }

    /// What the run of record `record` was judged from; empty if it was pruned.
    ///
    /// # Errors
    /// The store failed.
    pub fn evidence(&self, record: u64) -> Result<Vec<Evidence>, LedgerError> {
        self.ask(|db| read_evidence(db, i64::try_from(record).unwrap_or(i64::MAX)))
    }

    /// The newest run of `collector` that brought any document, with its evidence.
    ///
    /// # Errors
    /// The store failed.
    pub fn last_evidence_for(&self, collector: &str) -> Result<Option<(RunRow, Vec<Evidence>)>, LedgerError> {
        self.ask(|db| {
            let found = db
                .prepare_cached(
                    "SELECT runs.*, at, hash FROM runs JOIN records ON sequence = record \
                     WHERE collector = ?1 AND evidence <> '' ORDER BY record DESC LIMIT 1",
                )?
                .query_row([collector], |r| {
                    let (run, _) = run(r)?;
                    Ok(RunRow { record: r.get::<_, i64>(0)?.cast_unsigned(), at: Moment(r.get(16)?), hash: r.get(17)?, run })
                })
                .optional()?;
            let Some(row) = found else { return Ok(None) };
            let evidence = read_evidence(db, row.record.cast_signed())?;
            Ok(Some((row, evidence)))
        })
    }

    /// Live resources that were observed for `control`, by id, after id `after`: those in `scope` if given, and with at
    /// least one observation that says `result` if given.
    ///
    /// # Errors
    /// The store failed.
    pub fn findings(
        &self,
        control: &str,
        scope: Option<&str>,
        result: Option<ObservedResult>,
        after: Option<u32>,
        limit: usize,
    ) -> Result<FindingsPage, LedgerError> {
        self.ask(|db| {
            let Some(control) = id_of(db, "controls", control)? else { return Ok(FindingsPage::default()) };
            let sources: HashMap<u64, (String, String)> = db
                .prepare_cached(
                    "SELECT b.id, l.name, x.name FROM bindings b JOIN collectors l ON l.id = b.collector JOIN checks x ON x.id = b.checked \
                     WHERE b.control = ?1",
                )?
                .query_map([control], |r| Ok((r.get::<_, i64>(0)?.cast_unsigned(), (r.get(1)?, r.get(2)?))))?
                .collect::<Result<_, _>>()?;
            let scopes: HashMap<i64, String> = db
                .prepare_cached("SELECT id, name FROM scopes")?
                .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let wanted: Option<HashSet<i64>> = scope.map(|name| scopes.iter().filter(|(_, n)| *n == name).map(|(id, _)| *id).collect());
            let kinds = read_kinds(db)?;
            let mut page = FindingsPage::default();
            let mut words = Vec::new();
            let mut query = db.prepare_cached(
                "SELECT id, name, kind, scope, first_seen, entries FROM resources WHERE id > ?1 AND entries IS NOT NULL ORDER BY id",
            )?;
            let mut rows = query.query([after.map_or(-1, i64::from)])?;
            while let Some(r) = rows.next()? {
                let scope: i64 = r.get(3)?;
                if wanted.as_ref().is_some_and(|w| !w.contains(&scope)) || !unpack(r.get_ref(5)?.as_blob()?, &mut words) {
                    continue;
                }
                let id: u32 = r.get(0)?;
                let mut observations = Vec::new();
                for &word in &words {
                    let Some((collector, check)) = sources.get(&(word >> 46)) else { continue };
                    let code = usize::try_from(word >> 41 & 7).unwrap_or(0);
                    observations.push(Observation {
                        collector: collector.clone(),
                        check: check.clone(),
                        result: ObservedResult::ALL.get(code).copied().unwrap_or(ObservedResult::None),
                        suppressed: word >> 40 & 1 == 1,
                        evidence_at: Moment(PACKED_EPOCH_MS + (word & ((1 << 40) - 1)).cast_signed()),
                        weight: weight_of(db, id, word)?,
                    });
                }
                if observations.is_empty() || result.is_some_and(|want| observations.iter().all(|o| o.result != want)) {
                    continue;
                }
                if page.resources.len() == limit {
                    page.next = page.resources.last().map(|r| r.id);
                    break;
                }
                page.resources.push(ObservedResource {
                    id,
                    name: r.get(1)?,
                    kind: usize::try_from(r.get::<_, i64>(2)?).ok().and_then(|k| kinds.get(k)).cloned().unwrap_or_default(),
                    scope: scopes.get(&scope).cloned().unwrap_or_default(),
                    first_seen: Moment(r.get(4)?),
                    observations,
                });
            }
            Ok(page)
        })
    }
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn id_of(db: &Connection, table: &str, name: &str) -> rusqlite::Result<Option<u32>> {
    db.prepare_cached(&format!("SELECT id FROM {table} WHERE name = ?1"))?.query_row([name], |r| r.get(0)).optional()
}

fn weight_of(db: &Connection, resource: u32, word: u64) -> rusqlite::Result<u32> {
    let stored: Option<u32> = db
        .prepare_cached("SELECT weight FROM weights WHERE resource = ?1 AND binding = ?2")?
        .query_row(params![resource, (word >> 46).cast_signed()], |r| r.get(0))
        .optional()?;
    Ok(stored.unwrap_or(1))
}

fn event(r: &Row<'_>) -> rusqlite::Result<Event> {
    let code = |i: usize| rusqlite::Error::IntegralValueOutOfRange(i, -1);
    let at = r.get::<_, i64>(7)?.wrapping_sub(r.get(8)?);
    // A name that was lost is shown as its number rather than hiding the change.
    let name = |i: usize, id: usize| -> rusqlite::Result<String> {
        Ok(match r.get::<_, Option<String>>(i)? {
            Some(name) => name,
            None => format!("number {}", r.get::<_, i64>(id)?),
        })
    };
    Ok(Event {
        record: r.get::<_, i64>(0)?.cast_unsigned(),
        control: name(1, 11)?,
        scope: name(2, 12)?,
        resource: name(3, 13)?,
        from: canonical::state_of(r.get(4)?).ok_or_else(|| code(4))?,
        to: canonical::state_of(r.get(5)?).ok_or_else(|| code(5))?,
        at: Moment(at),
        evidence_at: Moment(at.wrapping_sub(r.get(9)?)),
        cause: canonical::cause_of(r.get(6)?).ok_or_else(|| code(6))?,
        weight: r.get(10)?,
    })
}
