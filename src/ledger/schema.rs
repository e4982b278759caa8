//! The tables, as SQLite keeps them. The comments inside the SQL are part of the file: `sqlite3 ledger.db .schema`
//! prints them. docs/ledger.md tells the same for people who come from outside.

/// `brnr`: says whose file this is (`file`(1) and we read it before anything else).
pub(super) const APPLICATION_ID: i64 = 0x6272_6e72;

/// The schema's version. A reader refuses a newer one.
pub(super) const VERSION: i64 = 1;

/// 2010-01-01T00:00:00Z in Unix milliseconds: packed observations count from here.
pub(super) const PACKED_EPOCH_MS: i64 = 1_262_304_000_000;

/// Everything in a new file.
pub(super) const CREATE: &str = r"
CREATE TABLE records(
  -- The chain. One row a commit, never changed. Times are Unix milliseconds, UTC; digests are SHA-256 in hex,
  -- empty for an empty list. docs/ledger.md gives the bytes under each of them.
  sequence        INTEGER PRIMARY KEY,  -- 1, 2, 3 ... without gaps
  kind            TEXT NOT NULL,        -- start, run, tick, definitions, prune
  at              INTEGER NOT NULL,     -- counters are integrated up to this instant; never falls
  definitions     TEXT NOT NULL,        -- digest of the definitions in force
  event           TEXT NOT NULL,        -- over the rows of runs, run_problems, evidence or prunes for this record
  names           TEXT NOT NULL,        -- over the new rows of controls ... control_versions
  resources       TEXT NOT NULL,        -- over the new rows of resources: id, first_seen, name
  last_resource   INTEGER NOT NULL,     -- largest resource id so far
  transitions     TEXT NOT NULL,        -- over the record's transitions, in order
  last_transition INTEGER NOT NULL,     -- largest transition id so far
  integrals       TEXT NOT NULL,        -- over counts and resource-milliseconds of all (control, scope)
  checkpoint      TEXT NOT NULL,        -- over the other counters of all (control, scope)
  totals          TEXT NOT NULL,        -- sums over all (control, scope): 4 counts, 4 resource-milliseconds
  hash            TEXT NOT NULL         -- over the hash of the record before and all of the above
) STRICT;
CREATE INDEX records_by_transition ON records(last_transition, sequence);

CREATE TABLE definitions(
  digest TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL, record INTEGER NOT NULL REFERENCES records,
  PRIMARY KEY(digest, name)
) STRICT;
CREATE TABLE control_versions(
  digest TEXT NOT NULL, control TEXT NOT NULL, control_set TEXT NOT NULL, version TEXT NOT NULL,
  record INTEGER NOT NULL REFERENCES records,
  PRIMARY KEY(digest, control)
) STRICT;

-- Names behind ids; record says which commit brought them.
CREATE TABLE controls(id INTEGER PRIMARY KEY, name TEXT NOT NULL, record INTEGER NOT NULL REFERENCES records) STRICT;
CREATE TABLE scopes(id INTEGER PRIMARY KEY, name TEXT NOT NULL, record INTEGER NOT NULL REFERENCES records) STRICT;
CREATE TABLE scope_parts(
  scope INTEGER NOT NULL REFERENCES scopes, ordinal INTEGER NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY(scope, ordinal)
) STRICT, WITHOUT ROWID;
CREATE TABLE collectors(id INTEGER PRIMARY KEY, name TEXT NOT NULL, record INTEGER NOT NULL REFERENCES records) STRICT;
CREATE TABLE checks(id INTEGER PRIMARY KEY, name TEXT NOT NULL, record INTEGER NOT NULL REFERENCES records) STRICT;
CREATE TABLE bindings(
  -- A check of a collector is evidence for a control; population: it only says that the resource is there.
  id INTEGER PRIMARY KEY, control INTEGER NOT NULL REFERENCES controls, collector INTEGER NOT NULL REFERENCES collectors,
  checked INTEGER NOT NULL REFERENCES checks, population INTEGER NOT NULL, record INTEGER NOT NULL REFERENCES records
) STRICT;
CREATE TABLE control_scopes(
  -- (control, scope) in order of registration; shown is the scope whose counters it is added to.
  id INTEGER PRIMARY KEY, control INTEGER NOT NULL REFERENCES controls, scope INTEGER NOT NULL REFERENCES scopes,
  shown INTEGER NOT NULL REFERENCES scopes, record INTEGER NOT NULL REFERENCES records
) STRICT;
CREATE TABLE kinds(id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;

CREATE TABLE resources(
  -- id, name and first_seen never change. entries is NULL once the resource is gone; else one word of 8 bytes,
  -- little-endian, for each observation, sorted. Bits 63..46 binding, 45 and 44 always 0,
  -- 43..41 result (0 none yet and the time is first seen, 1 pass, 2 fail, 3 manual, 4 not applicable,
  -- 5 in the population), 40 suppressed by the source, 39..0 evidence time in ms since 2010-01-01T00:00:00Z.
  -- The view observations decodes them.
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL, scope INTEGER NOT NULL, first_seen INTEGER NOT NULL,
  entries BLOB
) STRICT;
CREATE TABLE weights(
  resource INTEGER NOT NULL, binding INTEGER NOT NULL, weight INTEGER NOT NULL, PRIMARY KEY(resource, binding)
) STRICT, WITHOUT ROWID;
CREATE TABLE episodes(
  -- Violations that are open, or closed and may still be reopened. severity: 0 info .. 4 critical.
  resource INTEGER NOT NULL, control INTEGER NOT NULL, opened INTEGER NOT NULL, deadline INTEGER, counted INTEGER NOT NULL,
  severity INTEGER NOT NULL, closed INTEGER, PRIMARY KEY(resource, control)
) STRICT, WITHOUT ROWID;
CREATE TABLE notes(name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;

CREATE TABLE transitions(
  -- Every change of state, for ever (or until pruned). Ids have no gaps; a record has those up to its
  -- last_transition. The view transitions_readable joins names and instants.
  id INTEGER PRIMARY KEY,
  control INTEGER NOT NULL, scope INTEGER NOT NULL, resource INTEGER NOT NULL,
  from_state INTEGER NOT NULL,  -- 0 outside the population, 1 compliant, 2 non_compliant, 3 unknown, 4 waived
  to_state INTEGER NOT NULL,
  cause INTEGER NOT NULL,       -- 0 resource, 1 new_resource, 2 deleted_resource, 3 control, 4 scanner, 5 waiver, 6 mapping, 7 freshness
  early INTEGER NOT NULL,       -- it took effect so many ms before the record's instant
  lag INTEGER NOT NULL,         -- the evidence is so many ms older than that
  weight INTEGER NOT NULL,      -- resources it stands for
  mark INTEGER NOT NULL         -- 16-bit check of this row, so that a fault can be named; the proof is in records
) STRICT;

CREATE TABLE counters(
  -- One row for each (control, shown scope), written when more than time changed: as_of is then the instant of
  -- its record, and the view counters_now carries it on to the newest record, exactly.
  control INTEGER NOT NULL, scope INTEGER NOT NULL, as_of INTEGER NOT NULL,
  compliant INTEGER NOT NULL, non_compliant INTEGER NOT NULL, unknown INTEGER NOT NULL, waived INTEGER NOT NULL,
  compliant_ms INTEGER NOT NULL, non_compliant_ms INTEGER NOT NULL, unknown_ms INTEGER NOT NULL, waived_ms INTEGER NOT NULL,
  fresh_ms INTEGER NOT NULL, stale_ms INTEGER NOT NULL, newest_evidence INTEGER, fresh_until INTEGER,
  violations TEXT,              -- for info, low, medium, high, critical each: opened, fixed, met, missed; NULL: never any
  transitions TEXT NOT NULL,    -- direction/cause=number, ...
  PRIMARY KEY(control, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs(
  record INTEGER PRIMARY KEY REFERENCES records,
  collector TEXT NOT NULL, started INTEGER NOT NULL, finished INTEGER NOT NULL, complete INTEGER NOT NULL,
  pass INTEGER NOT NULL, fail INTEGER NOT NULL, error INTEGER NOT NULL, manual INTEGER NOT NULL,
  not_applicable INTEGER NOT NULL, not_assessed INTEGER NOT NULL,
  scanner TEXT, scanner_version TEXT, rule_set TEXT, mapping TEXT NOT NULL,
  evidence TEXT NOT NULL        -- digest over the rows of evidence
) STRICT;
CREATE TABLE run_problems(
  record INTEGER NOT NULL REFERENCES runs, kind TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(record, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE evidence(
  -- The raw documents a run read: what sha256sum prints for them.
  record INTEGER NOT NULL REFERENCES runs, ordinal INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL, observed_at INTEGER, PRIMARY KEY(record, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE prunes(
  -- Transitions and evidence of the records up to through are gone; baseline has what they summed up to.
  record INTEGER PRIMARY KEY REFERENCES records, before INTEGER NOT NULL, through INTEGER NOT NULL,
  removed INTEGER NOT NULL,     -- transitions removed
  resources TEXT NOT NULL       -- digest over the resources that record through knew and that are kept
) STRICT;
CREATE TABLE baseline(
  -- Counts and resource-milliseconds as of the record the newest prune went through: its integrals digest is over these.
  control INTEGER NOT NULL, scope INTEGER NOT NULL,
  compliant INTEGER NOT NULL, non_compliant INTEGER NOT NULL, unknown INTEGER NOT NULL, waived INTEGER NOT NULL,
  compliant_ms INTEGER NOT NULL, non_compliant_ms INTEGER NOT NULL, unknown_ms INTEGER NOT NULL, waived_ms INTEGER NOT NULL,
  PRIMARY KEY(control, scope)
) STRICT, WITHOUT ROWID;

-- The switch of the triggers below; 1 only inside the transaction of a prune.
CREATE TABLE guard(pruning INTEGER NOT NULL) STRICT;
INSERT INTO guard VALUES(0);

CREATE VIEW counters_now AS
  SELECT c.name AS control, s.name AS scope, strftime('%Y-%m-%dT%H:%M:%fZ', h.at / 1000.0, 'unixepoch') AS at,
    k.compliant, k.non_compliant, k.unknown, k.waived,
    k.compliant_ms + k.compliant * (h.at - k.as_of) AS compliant_ms,
    k.non_compliant_ms + k.non_compliant * (h.at - k.as_of) AS non_compliant_ms,
    k.unknown_ms + k.unknown * (h.at - k.as_of) AS unknown_ms,
    k.waived_ms + k.waived * (h.at - k.as_of) AS waived_ms,
    k.fresh_ms + max(min(coalesce(k.fresh_until, k.as_of), h.at) - k.as_of, 0) AS fresh_ms,
    k.stale_ms + (h.at - k.as_of) - max(min(coalesce(k.fresh_until, k.as_of), h.at) - k.as_of, 0) AS stale_ms,
    k.violations, k.transitions
  FROM counters k JOIN (SELECT at FROM records ORDER BY sequence DESC LIMIT 1) h
  LEFT JOIN controls c ON c.id = k.control LEFT JOIN scopes s ON s.id = k.scope;

CREATE VIEW transitions_readable AS
  SELECT t.id, r.sequence AS record, c.name AS control, s.name AS scope, o.name AS resource,
    CASE t.from_state WHEN 1 THEN 'compliant' WHEN 2 THEN 'non_compliant' WHEN 3 THEN 'unknown' WHEN 4 THEN 'waived' END AS from_state,
    CASE t.to_state WHEN 1 THEN 'compliant' WHEN 2 THEN 'non_compliant' WHEN 3 THEN 'unknown' WHEN 4 THEN 'waived' END AS to_state,
    CASE t.cause WHEN 0 THEN 'resource' WHEN 1 THEN 'new_resource' WHEN 2 THEN 'deleted_resource' WHEN 3 THEN 'control'
      WHEN 4 THEN 'scanner' WHEN 5 THEN 'waiver' WHEN 6 THEN 'mapping' WHEN 7 THEN 'freshness' END AS cause,
    strftime('%Y-%m-%dT%H:%M:%fZ', (r.at - t.early) / 1000.0, 'unixepoch') AS at,
    strftime('%Y-%m-%dT%H:%M:%fZ', (r.at - t.early - t.lag) / 1000.0, 'unixepoch') AS evidence_at, t.weight
  FROM transitions t
  JOIN records r ON r.sequence = (SELECT sequence FROM records WHERE last_transition >= t.id ORDER BY last_transition, sequence LIMIT 1)
  LEFT JOIN controls c ON c.id = t.control LEFT JOIN scopes s ON s.id = t.scope LEFT JOIN resources o ON o.id = t.resource;

CREATE VIEW observations AS
  WITH RECURSIVE
    place(i) AS (
      SELECT 0 UNION ALL SELECT i + 1 FROM place WHERE i + 1 < (SELECT max(length(entries)) / 8 FROM resources)),
    word(resource, h) AS (
      SELECT r.id, hex(substr(r.entries, 8 * i + 1, 8)) FROM resources r JOIN place ON i < length(r.entries) / 8),
    bytes(resource, b0, b1, b2, b3, b4, b5, b6, b7) AS (
      SELECT resource,
        16 * instr('123456789ABCDEF', substr(h, 1, 1)) + instr('123456789ABCDEF', substr(h, 2, 1)),
        16 * instr('123456789ABCDEF', substr(h, 3, 1)) + instr('123456789ABCDEF', substr(h, 4, 1)),
        16 * instr('123456789ABCDEF', substr(h, 5, 1)) + instr('123456789ABCDEF', substr(h, 6, 1)),
        16 * instr('123456789ABCDEF', substr(h, 7, 1)) + instr('123456789ABCDEF', substr(h, 8, 1)),
        16 * instr('123456789ABCDEF', substr(h, 9, 1)) + instr('123456789ABCDEF', substr(h, 10, 1)),
        16 * instr('123456789ABCDEF', substr(h, 11, 1)) + instr('123456789ABCDEF', substr(h, 12, 1)),
        16 * instr('123456789ABCDEF', substr(h, 13, 1)) + instr('123456789ABCDEF', substr(h, 14, 1)),
        16 * instr('123456789ABCDEF', substr(h, 15, 1)) + instr('123456789ABCDEF', substr(h, 16, 1))
      FROM word)
  SELECT o.name AS resource, k.name AS kind, s.name AS scope, c.name AS control, l.name AS collector, x.name AS checked,
    CASE (b.b5 >> 1) & 7 WHEN 0 THEN 'none yet' WHEN 1 THEN 'pass' WHEN 2 THEN 'fail' WHEN 3 THEN 'manual'
      WHEN 4 THEN 'not_applicable' WHEN 5 THEN 'population' END AS result,
    b.b5 & 1 AS suppressed,
    strftime('%Y-%m-%dT%H:%M:%fZ', (1262304000000 + b.b0 + (b.b1 << 8) + (b.b2 << 16) + (b.b3 << 24) + (b.b4 << 32)) / 1000.0,
      'unixepoch') AS evidence_at,
    coalesce(w.weight, 1) AS weight
  FROM bytes b
  JOIN resources o ON o.id = b.resource
  LEFT JOIN kinds k ON k.id = o.kind
  LEFT JOIN scopes s ON s.id = o.scope
  LEFT JOIN bindings g ON g.id = (b.b5 >> 6) | (b.b6 << 2) | (b.b7 << 10)
  LEFT JOIN controls c ON c.id = g.control
  LEFT JOIN collectors l ON l.id = g.collector
  LEFT JOIN checks x ON x.id = g.checked
  LEFT JOIN weights w ON w.resource = b.resource AND w.binding = g.id;

-- Append-only, against accidents. Against intent there is the chain.
CREATE TRIGGER records_update BEFORE UPDATE ON records BEGIN SELECT raise(ABORT, 'records are never changed'); END;
CREATE TRIGGER records_delete BEFORE DELETE ON records BEGIN SELECT raise(ABORT, 'records are never deleted'); END;
CREATE TRIGGER transitions_update BEFORE UPDATE ON transitions BEGIN SELECT raise(ABORT, 'transitions are never changed'); END;
CREATE TRIGGER transitions_delete BEFORE DELETE ON transitions WHEN (SELECT pruning FROM guard) = 0
  BEGIN SELECT raise(ABORT, 'transitions are deleted by bornright ledger prune only'); END;
CREATE TRIGGER runs_update BEFORE UPDATE ON runs BEGIN SELECT raise(ABORT, 'runs are never changed'); END;
CREATE TRIGGER runs_delete BEFORE DELETE ON runs BEGIN SELECT raise(ABORT, 'runs are never deleted'); END;
CREATE TRIGGER run_problems_update BEFORE UPDATE ON run_problems BEGIN SELECT raise(ABORT, 'runs are never changed'); END;
CREATE TRIGGER run_problems_delete BEFORE DELETE ON run_problems BEGIN SELECT raise(ABORT, 'runs are never deleted'); END;
CREATE TRIGGER evidence_update BEFORE UPDATE ON evidence BEGIN SELECT raise(ABORT, 'evidence is never changed'); END;
CREATE TRIGGER evidence_delete BEFORE DELETE ON evidence WHEN (SELECT pruning FROM guard) = 0
  BEGIN SELECT raise(ABORT, 'evidence is deleted by bornright ledger prune only'); END;
CREATE TRIGGER definitions_update BEFORE UPDATE ON definitions BEGIN SELECT raise(ABORT, 'definitions are never changed'); END;
CREATE TRIGGER definitions_delete BEFORE DELETE ON definitions BEGIN SELECT raise(ABORT, 'definitions are never deleted'); END;
CREATE TRIGGER control_versions_update BEFORE UPDATE ON control_versions BEGIN SELECT raise(ABORT, 'definitions are never changed'); END;
CREATE TRIGGER control_versions_delete BEFORE DELETE ON control_versions BEGIN SELECT raise(ABORT, 'definitions are never deleted'); END;
CREATE TRIGGER controls_update BEFORE UPDATE ON controls BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER controls_delete BEFORE DELETE ON controls BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER scopes_update BEFORE UPDATE ON scopes BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER scopes_delete BEFORE DELETE ON scopes BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER scope_parts_update BEFORE UPDATE ON scope_parts BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER scope_parts_delete BEFORE DELETE ON scope_parts BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER collectors_update BEFORE UPDATE ON collectors BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER collectors_delete BEFORE DELETE ON collectors BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER checks_update BEFORE UPDATE ON checks BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER checks_delete BEFORE DELETE ON checks BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER bindings_update BEFORE UPDATE ON bindings BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER bindings_delete BEFORE DELETE ON bindings BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER control_scopes_update BEFORE UPDATE ON control_scopes BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER control_scopes_delete BEFORE DELETE ON control_scopes BEGIN SELECT raise(ABORT, 'names are never deleted'); END;
CREATE TRIGGER resources_update BEFORE UPDATE OF id, name, first_seen ON resources BEGIN SELECT raise(ABORT, 'names are never changed'); END;
CREATE TRIGGER resources_delete BEFORE DELETE ON resources WHEN (SELECT pruning FROM guard) = 0
  BEGIN SELECT raise(ABORT, 'resources are deleted by bornright ledger prune only'); END;
CREATE TRIGGER prunes_update BEFORE UPDATE ON prunes BEGIN SELECT raise(ABORT, 'records are never changed'); END;
CREATE TRIGGER prunes_delete BEFORE DELETE ON prunes BEGIN SELECT raise(ABORT, 'records are never deleted'); END;
CREATE TRIGGER baseline_insert BEFORE INSERT ON baseline WHEN (SELECT pruning FROM guard) = 0
  BEGIN SELECT raise(ABORT, 'the baseline is written by bornright ledger prune only'); END;
CREATE TRIGGER baseline_update BEFORE UPDATE ON baseline BEGIN SELECT raise(ABORT, 'the baseline is never changed'); END;
CREATE TRIGGER baseline_delete BEFORE DELETE ON baseline WHEN (SELECT pruning FROM guard) = 0
  BEGIN SELECT raise(ABORT, 'the baseline is written by bornright ledger prune only'); END;
";

/// Tables that are append-only and have a `record` column: what `names` of a record is made of, in this order.
pub(super) const NAME_TABLES: [&str; 8] =
    ["controls", "scopes", "collectors", "checks", "bindings", "control_scopes", "definitions", "control_versions"];
