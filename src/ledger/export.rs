//! The ledger as NDJSON, for an auditor with no SQLite: names first, then record by record what happened.

use super::reader::Reader;
use super::sqlite::{each, fault, header, headers};
use super::verify::{read_evidence, read_run, transition};
use super::{LedgerError, schema};
use crate::domain::Moment;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};
use std::io::Write;

/// Which records to export: `since <= at < until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportRange {
    /// From this instant on.
    pub since: Option<Moment>,
    /// Before this instant.
    pub until: Option<Moment>,
}

impl Reader {
    /// Writes one JSON object a line: `ledger`, then every name (`control`, `scope`, `binding`, …), then each `record`
    /// of the range, followed by its transitions, which name the resource.
    /// Returns the number of lines.
    ///
    /// # Errors
    /// The store failed, or `out` did.
    pub fn export(&self, range: ExportRange, out: &mut dyn Write) -> Result<u64, LedgerError> {
        let mut lines = 0;
        let mut broken = None;
        let mut put = |value: &Value| -> rusqlite::Result<()> {
            lines += 1;
            if let Err(e) = writeln!(out, "{value}") {
                broken.get_or_insert(e);
                // Any error ends the walk; `broken` has the true one.
                return Err(rusqlite::Error::QueryReturnedNoRows);
            }
            Ok(())
        };
        let result = self.db.unchecked_transaction().and_then(|view| write(&view, range, &mut put));
        match (broken, result) {
            (Some(source), _) => Err(LedgerError::Io { path: self.path.clone(), source }),
            (None, Err(e)) => Err(fault(&self.path, e)),
            (None, Ok(())) => Ok(lines),
        }
    }
}

fn write(db: &Connection, range: ExportRange, put: &mut dyn FnMut(&Value) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let head: Option<(i64, String)> =
        db.query_row("SELECT sequence, hash FROM records ORDER BY sequence DESC LIMIT 1", [], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
    let (records, hash) = head.unwrap_or((0, super::canonical::NO_HASH.to_owned()));
    put(&json!({"type": "ledger", "schema": schema::VERSION, "records": records, "head": hash}))?;
    for (table, word) in [("controls", "control"), ("scopes", "scope"), ("collectors", "collector"), ("checks", "check")] {
        each(db, &format!("SELECT id, name, record FROM {table} ORDER BY id"), |r| {
            let (id, name, record): (i64, String, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            let mut line = json!({"type": word, "id": id, "name": name, "record": record});
            if table == "scopes" {
                let parts: Vec<(String, String)> = db
                    .prepare_cached("SELECT field, value FROM scope_parts WHERE scope = ?1 ORDER BY ordinal")?
                    .query_map([id], |r| Ok((r.get(0)?, r.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                line["parts"] = json!(parts);
            }
            put(&line)
        })?;
    }
    each(db, "SELECT id, control, collector, checked, population, record FROM bindings ORDER BY id", |r| {
        let b = super::sqlite::binding(r)?;
        put(&json!({"type": "binding", "id": b.id, "control": b.control, "collector": b.collector, "check": b.check,
            "population": b.population, "record": r.get::<_, i64>(5)?}))
    })?;
    each(db, "SELECT id, control, scope, shown, record FROM control_scopes ORDER BY id", |r| {
        let n: [i64; 5] = [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?];
        put(&json!({"type": "control_scope", "id": n[0], "control": n[1], "scope": n[2], "shown": n[3], "record": n[4]}))
    })?;
    let low = range.since.map_or(i64::MIN, |m| m.0);
    let high = range.until.map_or(i64::MAX, |m| m.0);
    let mut query = db.prepare(&headers("WHERE at >= ?1 AND at < ?2 ORDER BY sequence"))?;
    let mut rows = query.query([low, high])?;
    let mut transitions = db.prepare(
        "SELECT t.*, c.name, s.name, o.name FROM transitions t LEFT JOIN controls c ON c.id = t.control LEFT JOIN scopes s ON s.id = t.scope \
         LEFT JOIN resources o ON o.id = t.resource WHERE t.id > ?1 AND t.id <= ?2 ORDER BY t.id",
    )?;
    while let Some(row) = rows.next()? {
        let h = header(row)?;
        let mut line = json!({"type": "record", "sequence": h.sequence, "kind": h.kind, "at": moment(h.at), "at_ms": h.at,
            "definitions": h.definitions, "event": h.event, "names": h.names, "resources": h.resources, "last_resource": h.last_resource,
            "transitions": h.transitions, "last_transition": h.last_transition, "integrals": h.integrals, "checkpoint": h.checkpoint,
            "totals": h.totals, "hash": h.hash});
        if let Some((run, evidence)) = read_run(db, h.sequence)? {
            let problems: serde_json::Map<String, Value> = run.problems.iter().map(|(k, n)| (k.word().to_owned(), json!(n))).collect();
            let list: Vec<Value> = read_evidence(db, h.sequence)?
                .into_iter()
                .map(|e| json!({"name": e.name, "sha256": e.sha256, "bytes": e.bytes, "observed_at": e.observed_at.map(|m| moment(m.0))}))
                .collect();
            line["run"] = json!({"collector": run.collector, "started": moment(run.started.0), "finished": moment(run.finished.0),
                "complete": run.complete, "findings": run.findings, "problems": problems,
                "scanner": run.scanner.map(|s| json!({"name": s.name, "version": s.version, "rule_set": s.rule_set})),
                "mapping": run.mapping_digest, "evidence": list, "evidence_digest": evidence});
        }
        put(&line)?;
        let before: i64 = db
            .prepare_cached("SELECT last_transition FROM records WHERE sequence = ?1")?
            .query_row([h.sequence - 1], |r| r.get(0))
            .optional()?
            .unwrap_or(0);
        let mut rows = transitions.query([before, h.last_transition])?;
        while let Some(r) = rows.next()? {
            let Some((t, _)) = transition(r, h.at)? else { return Err(rusqlite::Error::IntegralValueOutOfRange(4, r.get(4)?)) };
            let name = |i: usize| r.get::<_, Option<String>>(i);
            put(
                &json!({"type": "transition", "record": h.sequence, "id": r.get::<_, i64>(0)?, "control_id": t.control, "scope_id": t.scope,
                "resource_id": t.resource, "control": name(11)?, "scope": name(12)?, "resource": name(13)?,
                "from": t.from.map(|s| s.word()), "to": t.to.map(|s| s.word()), "at": moment(t.at.0), "at_ms": t.at.0,
                "evidence_at": moment(t.evidence_at.0), "evidence_at_ms": t.evidence_at.0, "cause": t.cause.word(), "weight": t.weight}),
            )?;
        }
    }
    Ok(())
}

fn moment(ms: i64) -> String {
    Moment(ms).to_string()
}
