//! Forgets what is old, and stays provable.
//!
//! Gone are the transitions and the lists of evidence of old records, and the names of resources that nothing speaks
//! of any more. What stays: every record's header with all its digests, so that the chain can be walked from its
//! first record; runs; names; and a *baseline*, the counts and integrals that the removed transitions summed up to.
//! The last pruned record already committed to exactly these numbers when it was written, so a baseline proves itself
//! against the chain: a prune can forget, but not invent.

use super::canonical;
use super::replay::{Integrals, load_shown};
use super::sqlite::{Ledger, fault, header, headers};
use super::verify::{resources_digest, transition};
use super::{Changes, LedgerError, Record, RecordKind};
use crate::domain::Moment;
use rusqlite::{OptionalExtension, Transaction, params};

/// What a prune did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records up to this one were pruned; 0 if nothing was old enough.
    pub through: u64,
    /// Transitions removed.
    pub transitions: u64,
    /// Rows of evidence removed.
    pub evidence: u64,
    /// Resources removed that were gone and of which no transition is left.
    pub resources: u64,
}

impl Ledger {
    /// Removes the transitions and evidence of records before `before`, in one transaction with a record that says so.
    ///
    /// The record takes effect at the newest record's instant: no time passes, no counter moves.
    ///
    /// # Errors
    /// The store failed, or the old transitions do not sum up to what their records say; nothing was removed.
    pub fn prune(&mut self, before: Moment) -> Result<Pruned, LedgerError> {
        let path = self.path.clone();
        let sql = |e| fault(&path, e);
        let newest =
            self.db.query_row(&headers("WHERE at < ?1 ORDER BY sequence DESC LIMIT 1"), [before.0], header).optional().map_err(sql)?;
        let already: i64 = self.db.query_row("SELECT coalesce(max(through), 0) FROM prunes", [], |r| r.get(0)).map_err(sql)?;
        let (Some(through), Some(at)) = (newest.filter(|h| h.sequence > already), self.head().at) else {
            return Ok(Pruned::default());
        };
        let definitions = self
            .db
            .query_row("SELECT definitions FROM records ORDER BY sequence DESC LIMIT 1", [], |r| r.get::<_, String>(0))
            .map_err(sql)?;
        let mut done = Pruned { through: through.sequence.cast_unsigned(), ..Pruned::default() };
        let record = Record::of(RecordKind::Prune, at, definitions);
        self.write(&record, &Changes::default(), |tx, sequence| {
            let mut integrals =
                sum_up(tx, already, through.sequence).map_err(sql)?.ok_or(()).or_else(|()| refuse(&path, through.sequence))?;
            if integrals.digest(through.at) != through.integrals || integrals.totals(through.at) != through.totals {
                return refuse(&path, through.sequence);
            }
            let write = || -> rusqlite::Result<String> {
                tx.execute("UPDATE guard SET pruning = 1", [])?;
                done.transitions = tx.execute("DELETE FROM transitions WHERE id <= ?1", [through.last_transition])? as u64;
                done.evidence = tx.execute("DELETE FROM evidence WHERE record <= ?1", [through.sequence])? as u64;
                done.resources = tx.execute(
                    "DELETE FROM resources WHERE entries IS NULL AND id <= ?1 \
                     AND id NOT IN (SELECT resource FROM transitions) AND id NOT IN (SELECT resource FROM episodes)",
                    [through.last_resource],
                )? as u64;
                tx.execute("DELETE FROM baseline", [])?;
                super::history::prune(tx, before)?;
                let mut insert = tx.prepare("INSERT INTO baseline VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
                for ((control, scope), counts, ms) in integrals.at(through.at) {
                    if canonical::integral(control, scope, &counts, &ms).is_some() {
                        let ([a, b, c, d], [e, f, g, h]) = (counts.map(u64::cast_signed), ms.map(u64::cast_signed));
                        insert.execute(params![control, scope, a, b, c, d, e, f, g, h])?;
                    }
                }
                let resources = resources_digest(tx, i64::MIN, through.last_resource)?;
                let removed = done.transitions.cast_signed();
                tx.execute(
                    "INSERT INTO prunes VALUES(?1, ?2, ?3, ?4, ?5)",
                    params![sequence, before.0, through.sequence, removed, resources],
                )?;
                tx.execute("UPDATE guard SET pruning = 0", [])?;
                Ok(canonical::prune_event(before.0, through.sequence, removed, &resources))
            };
            let mut write = write;
            write().map_err(sql)
        })?;
        Ok(done)
    }

    /// Gives the space of what was pruned back to the file system. Rewrites the whole file: needs as much space again.
    ///
    /// # Errors
    /// The store failed.
    pub fn compact(&mut self) -> Result<(), LedgerError> {
        self.db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").map_err(|e| fault(&self.path, e))
    }
}

/// The integrals after record `through`, from the baseline at `already`; `None` if the transitions make no sense.
fn sum_up(tx: &Transaction<'_>, already: i64, through: i64) -> rusqlite::Result<Option<Integrals>> {
    let mut integrals = Integrals::default();
    if already > 0 {
        let at = tx.query_row("SELECT at FROM records WHERE sequence = ?1", [already], |r| r.get(0))?;
        integrals.load_baseline(tx, at)?;
    }
    let shown = load_shown(tx)?;
    let mut records = tx.prepare(&headers("WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence"))?;
    let mut records = records.query([already, through])?;
    let mut transitions = tx.prepare("SELECT * FROM transitions ORDER BY id")?;
    let mut transitions = transitions.query([])?;
    let mut last: i64 =
        tx.query_row("SELECT coalesce(max(last_transition), 0) FROM records WHERE sequence <= ?1", [already], |r| r.get(0))?;
    while let Some(row) = records.next()? {
        let h = header(row)?;
        while last < h.last_transition {
            last += 1;
            let Some(row) = transitions.next()? else { return Ok(None) };
            let Some((t, _)) = transition(row, h.at)? else { return Ok(None) };
            let Some(shown) = shown.get(&(t.control, t.scope)) else { return Ok(None) };
            if row.get::<_, i64>(0)? != last || integrals.apply((t.control, *shown), t.from, t.to, t.weight, t.at.0).is_err() {
                return Ok(None);
            }
        }
    }
    Ok(Some(integrals))
}

fn refuse<T>(path: &str, through: i64) -> Result<T, LedgerError> {
    Err(LedgerError::Unusable {
        path: path.to_owned(),
        message: format!(
            "not pruned: the transitions up to record {through} do not sum up to what it says; `bornright ledger verify` names the fault"
        ),
    })
}
