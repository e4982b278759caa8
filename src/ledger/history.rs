//! The history of every (control, scope): one row for each instant from which on it goes differently.
//!
//! It is what error budgets over a period are read from. Counts and resource-milliseconds follow from the transitions,
//! and `verify` recomputes them; the rest (freshness, deadlines) is a note of the time. It outlives pruned transitions.

use super::replay::Integrals;
use super::sqlite::{Ledger, damaged, fault};
use super::verify::transition;
use super::{HistoryRow, LedgerError, Transition};
use crate::domain::Moment;
use rusqlite::{Connection, Row, Transaction, params};

/// The table; made in ledgers that lack it, too, since nothing under the chain depends on it.
pub(super) const CREATE: &str = r"
CREATE TABLE IF NOT EXISTS history(
  -- From at on, a (control, shown scope) has these counts, and until then it had these sums. Between two rows the sums
  -- grow by counts a millisecond. fresh: whether its newest evidence is; met, missed: remediation deadlines so far.
  at INTEGER NOT NULL, control INTEGER NOT NULL, scope INTEGER NOT NULL,
  compliant INTEGER NOT NULL, non_compliant INTEGER NOT NULL, unknown INTEGER NOT NULL, waived INTEGER NOT NULL,
  compliant_ms INTEGER NOT NULL, non_compliant_ms INTEGER NOT NULL, unknown_ms INTEGER NOT NULL, waived_ms INTEGER NOT NULL,
  fresh INTEGER NOT NULL, fresh_ms INTEGER NOT NULL, stale_ms INTEGER NOT NULL,
  met INTEGER NOT NULL, missed INTEGER NOT NULL,
  PRIMARY KEY(at, control, scope)
) STRICT, WITHOUT ROWID;
";

const COLUMNS: &str = "at, control, scope, compliant, non_compliant, unknown, waived, compliant_ms, non_compliant_ms, unknown_ms, \
                       waived_ms, fresh, fresh_ms, stale_ms, met, missed";

fn row(r: &Row<'_>) -> rusqlite::Result<HistoryRow> {
    let number = |i: usize| r.get::<_, i64>(i).map(i64::cast_unsigned);
    Ok(HistoryRow {
        at: Moment(r.get(0)?),
        control: r.get(1)?,
        scope: r.get(2)?,
        counts: [number(3)?, number(4)?, number(5)?, number(6)?],
        resource_ms: [number(7)?, number(8)?, number(9)?, number(10)?],
        fresh: r.get(11)?,
        evidence_ms: [number(12)?, number(13)?],
        deadlines: [number(14)?, number(15)?],
    })
}

/// Writes rows; one for the same (control, scope) and instant is replaced, since more may happen in that instant.
pub(super) fn write(tx: &Transaction<'_>, rows: &[HistoryRow]) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql =
        format!("INSERT OR REPLACE INTO history({COLUMNS}) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)");
    let mut put = tx.prepare_cached(&sql)?;
    for h in rows {
        let ([g, x, u, w], [gm, xm, um, wm]) = (h.counts.map(u64::cast_signed), h.resource_ms.map(u64::cast_signed));
        let ([fresh, stale], [met, missed]) = (h.evidence_ms.map(u64::cast_signed), h.deadlines.map(u64::cast_signed));
        put.execute(params![h.at.0, h.control, h.scope, g, x, u, w, gm, xm, um, wm, h.fresh, fresh, stale, met, missed])?;
    }
    Ok(())
}

/// Removes what is older than `before`, but for the newest row of each (control, scope) that holds there.
pub(super) fn prune(tx: &Transaction<'_>, before: Moment) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM history WHERE at < ?1 AND EXISTS(SELECT 1 FROM history n WHERE n.control = history.control \
         AND n.scope = history.scope AND n.at > history.at AND n.at <= ?1)",
        [before.0],
    )
}

impl Ledger {
    /// Tells every transition that is kept, in order.
    ///
    /// # Errors
    /// The store failed, or holds something that is none.
    pub fn transitions(&self, into: &mut dyn FnMut(&Transition)) -> Result<(), LedgerError> {
        let mut read = || -> rusqlite::Result<bool> {
            let mut records = self.db.prepare("SELECT at, last_transition FROM records ORDER BY sequence")?;
            let mut records = records.query([])?;
            let mut rows = self.db.prepare("SELECT * FROM transitions ORDER BY id")?;
            let mut rows = rows.query([])?;
            let (mut at, mut last) = (i64::MIN, 0);
            while let Some(r) = rows.next()? {
                let id: i64 = r.get(0)?;
                while last < id {
                    let Some(record) = records.next()? else { return Ok(false) };
                    (at, last) = (record.get(0)?, record.get(1)?);
                }
                let Some((t, _)) = transition(r, at)? else { return Ok(false) };
                into(&t);
            }
            Ok(true)
        };
        match read().map_err(|e| fault(&self.path, e))? {
            true => Ok(()),
            false => Err(damaged(&self.path, "its transitions do not fit its records")),
        }
    }

    /// Tells the whole history, oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn history(&self, into: &mut dyn FnMut(HistoryRow)) -> Result<(), LedgerError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut query = self.db.prepare(&format!("SELECT {COLUMNS} FROM history ORDER BY at, control, scope"))?;
            let mut rows = query.query([])?;
            while let Some(r) = rows.next()? {
                into(row(r)?);
            }
            Ok(())
        };
        read().map_err(|e| fault(&self.path, e))
    }
}

/// Compares the history with what the transitions give, while these are replayed.
pub(super) struct Check<'db> {
    rows: rusqlite::Rows<'db>,
    next: Option<HistoryRow>,
    /// Rows up to this instant lie before a pruned ledger's baseline: nothing is left to compare them with.
    skip_through: i64,
}

impl<'db> Check<'db> {
    /// Whether there is a history at all: ledgers of before it have none.
    pub(super) fn exists(db: &Connection) -> rusqlite::Result<bool> {
        db.query_row("SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = 'history' AND type = 'table')", [], |r| r.get(0))
    }

    /// The statement to hand to [`Check::new`].
    pub(super) fn statement(db: &'db Connection) -> rusqlite::Result<rusqlite::Statement<'db>> {
        db.prepare(&format!("SELECT {COLUMNS} FROM history ORDER BY at, control, scope"))
    }

    pub(super) fn new(statement: &'db mut rusqlite::Statement<'_>) -> rusqlite::Result<Check<'db>> {
        let mut rows = statement.query([])?;
        let next = rows.next()?.map(row).transpose()?;
        Ok(Check { rows, next, skip_through: i64::MIN })
    }

    pub(super) fn skip_through(&mut self, at: i64) {
        self.skip_through = at;
    }

    /// Compares the rows before `until`, given the integrals after everything that happened before it. Returns the
    /// first row that differs.
    pub(super) fn compare(&mut self, integrals: &Integrals, until: i64) -> rusqlite::Result<Option<HistoryRow>> {
        while let Some(h) = self.next.filter(|h| h.at.0 < until) {
            self.next = self.rows.next()?.map(row).transpose()?;
            if h.at.0 <= self.skip_through {
                continue;
            }
            let (counts, ms) = integrals.row_at((h.control, h.scope), h.at.0);
            if (counts, ms) != (h.counts, h.resource_ms) {
                return Ok(Some(h));
            }
        }
        Ok(None)
    }
}
