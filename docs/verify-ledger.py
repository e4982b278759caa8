#!/usr/bin/env python3
"""Verifies a bornright ledger without bornright: python3 verify-ledger.py ledger.db

Needs Python 3.8 and nothing else. It walks the hash chain, checks every digest against the rows it stands for, and
recomputes every (control, scope)'s counts and resource-milliseconds from the transitions alone, in whole numbers.
docs/ledger.md is the specification. Exit status: 0 intact, 1 broken (the first fault is named), 2 cannot read.
"""
import hashlib
import sqlite3
import struct
import sys

DIRECTIONS = ["drift", "remediation", "other"]
CAUSES = ["resource", "new_resource", "deleted_resource", "control", "scanner", "waiver", "mapping", "freshness"]


def fields(*values):
    """Each value as text behind its length (4 bytes, little-endian); None is an empty text."""
    out = b""
    for value in values:
        text = b"" if value is None else str(value).encode()
        out += struct.pack("<I", len(text)) + text
    return out


def sha(data):
    """Hex, or empty for an empty list."""
    return hashlib.sha256(data).hexdigest() if data else ""


def unsigned(n):
    return n & 0xFFFFFFFFFFFFFFFF


def need(condition, fault):
    if not condition:
        print("broken:", fault)
        sys.exit(1)


def integrals_digest(rows):
    return sha(b"".join(struct.pack("<II8Q", *key, *map(unsigned, n + ms)) for key, (n, ms) in sorted(rows.items()) if any(n + ms)))


def totals(rows):
    sums = [sum(column) for column in zip([0] * 8, *(n + ms for n, ms in rows.values()))]
    return " ".join(map(str, sums))


def event_digest(db, n, pruned):
    run = db.execute("SELECT * FROM runs WHERE record = ?", [n]).fetchone()
    prune = db.execute("SELECT before, through, removed, resources FROM prunes WHERE record = ?", [n]).fetchone()
    if prune:
        return sha(fields("prune", *prune))
    if not run:
        return ""
    evidence = db.execute("SELECT name, sha256, bytes, observed_at FROM evidence WHERE record = ? ORDER BY ordinal", [n]).fetchall()
    need(pruned or sha(b"".join(fields(*row) for row in evidence)) == run[15], f"the evidence of record {n} was altered")
    problems = db.execute("SELECT kind, number FROM run_problems WHERE record = ? ORDER BY kind", [n]).fetchall()
    scanner = fields(0) if run[11] is None else fields(1, *run[11:14])
    return sha(fields("run", *run[1:11], len(problems), *(x for p in problems for x in p)) + scanner + fields(run[14], run[15]))


def names_digest(db, n):
    out = b""
    for table, word in (("controls", "control"), ("scopes", "scope"), ("collectors", "collector"), ("checks", "check")):
        for ident, name in db.execute(f"SELECT id, name FROM {table} WHERE record = ? ORDER BY id", [n]):
            out += fields(word, ident, name)
            if word == "scope":
                parts = db.execute("SELECT field, value FROM scope_parts WHERE scope = ? ORDER BY ordinal", [ident]).fetchall()
                out += fields(len(parts), *(x for p in parts for x in p))
    for row in db.execute("SELECT id, control, collector, checked, population FROM bindings WHERE record = ? ORDER BY id", [n]):
        out += fields("binding", *row)
    for row in db.execute("SELECT id, control, scope, shown FROM control_scopes WHERE record = ? ORDER BY id", [n]):
        out += fields("control_scope", *row)
    for row in db.execute("SELECT digest, name, text FROM definitions WHERE record = ? ORDER BY digest, name", [n]):
        out += fields("definition", *row)
    for row in db.execute("SELECT digest, control, control_set, version FROM control_versions WHERE record = ? ORDER BY digest, control", [n]):
        out += fields("control_version", *row)
    return sha(out)


def resources_digest(db, after, last):
    out = hashlib.sha256()
    some = False
    for ident, seen, name in db.execute("SELECT id, first_seen, name FROM resources WHERE id > ? AND id <= ? ORDER BY id", [after, last]):
        text, some = name.encode(), True
        out.update(struct.pack("<IqI", ident, seen, len(text)) + text)
    return out.hexdigest() if some else ""


def advance(rows, span):
    for n, ms in rows.values():
        for state in range(4):
            ms[state] += n[state] * span


def replay(db, rows, shown, now, after, record):
    """Applies a record's transitions in order; returns their digest and the instant reached."""
    digest, count = hashlib.sha256(), 0
    for t in db.execute("SELECT * FROM transitions WHERE id > ? AND id <= ? ORDER BY id", [after, record["last_transition"]]):
        ident, control, scope, resource, old, new, cause, early, lag, weight, _mark = t
        count += 1
        name = f"transition {count} of record {record['sequence']}"
        need(ident == after + count, f"{name} is missing")
        at = record["at"] - early
        digest.update(struct.pack("<IIIBBBqqI", control, scope, resource, old, new, cause, at, at - lag, weight))
        need((control, scope) in shown, f"{name} is of a control and scope that no record named")
        need(early >= 0 and (now is None or at >= now), f"{name} lies outside its record")
        if now is not None:
            advance(rows, at - now)
        now = at
        counts, _ms = rows.setdefault((control, shown[control, scope]), ([0] * 4, [0] * 4))
        for state, change in ((old, -weight), (new, weight)):
            if state:
                counts[state - 1] += change
                need(counts[state - 1] >= 0, f"{name} takes more out of a state than is in it")
    need(after + count == record["last_transition"], f"transition {count + 1} of record {record['sequence']} is missing")
    if now is not None:
        advance(rows, record["at"] - now)
    return (digest.hexdigest() if count else ""), record["at"]


def counters_now(db, at):
    """The stored counters, carried to `at`: integrals by control and scope, and the digest of everything else."""
    rows, rest = {}, bytearray()
    for row in db.execute("SELECT * FROM counters ORDER BY control, scope"):
        control, scope, as_of = row[:3]
        n, ms, (fresh, stale, newest, until) = list(row[3:7]), list(row[7:11]), row[11:15]
        need(as_of <= at, f"counters of control {control} in scope {scope} are from the future")
        end = as_of if until is None else max(min(until, at), as_of)
        rows[control, scope] = (n, [m + c * (at - as_of) for m, c in zip(ms, n)])
        rest += struct.pack("<II2Q", control, scope, unsigned(fresh + end - as_of), unsigned(stale + at - end))
        for moment in (newest, until):
            rest += struct.pack("<Bq", moment is not None, moment or 0)
        rest += b"\0" if row[15] is None else b"\1" + struct.pack("<20Q", *map(int, row[15].split(" ")))
        moves = [part.replace("/", "=").split("=") for part in row[16].split(",") if part]
        rest += struct.pack("<I", len(moves))
        for direction, cause, number in moves:
            rest += struct.pack("<BBQ", DIRECTIONS.index(direction), CAUSES.index(cause), int(number))
    return rows, sha(bytes(rest))


def main(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.execute("BEGIN")
    shown = {(c, s): x for c, s, x in db.execute("SELECT control, scope, shown FROM control_scopes")}
    pruned = db.execute("SELECT through, resources FROM prunes ORDER BY record DESC LIMIT 1").fetchone()
    through = pruned[0] if pruned else 0
    rows, now, before, told = {}, None, None, False
    db.row_factory = sqlite3.Row
    records = db.execute("SELECT * FROM records ORDER BY sequence")
    db.row_factory = None
    for record in records:
        n = record["sequence"]
        need(n == (before["sequence"] if before else 0) + 1, f"record {n - 1} is missing")
        header = [record[c] for c in record.keys()[:-1]]
        hashed = sha(fields("bornright ledger record 1", before["hash"] if before else "0" * 64, *header))
        need(hashed == record["hash"], f"record {n} was altered")
        need(event_digest(db, n, n <= through) == record["event"], f"the run or prune of record {n} was altered")
        need(names_digest(db, n) == record["names"], f"the names that record {n} brought were altered")
        after, last = (before["last_resource"], before["last_transition"]) if before else (-1, 0)
        told = told or (n > through and record["kind"] == "prune")
        if n == through:
            need(resources_digest(db, -1, record["last_resource"]) == pruned[1], f"the resources known at record {n} were altered")
            rows = {tuple(row[:2]): (list(row[2:6]), list(row[6:10])) for row in db.execute("SELECT * FROM baseline")}
            now = record["at"]
        elif n > through:
            need(resources_digest(db, after, record["last_resource"]) == record["resources"], f"the resources of record {n} were altered")
            digest, now = replay(db, rows, shown, now, last, record)
            need(digest == record["transitions"], f"the transitions of record {n} were altered")
        if n >= through:
            need(totals(rows) == record["totals"], f"record {n}: its totals do not follow from the transitions")
            need(integrals_digest(rows) == record["integrals"], f"record {n}: its counters do not follow from the transitions")
        before = record
    count = before["sequence"] if before else 0
    need(told or not through, "transitions were pruned, but no record says so")
    if before:
        more = db.execute("SELECT count(*) FROM transitions WHERE id > ?", [before["last_transition"]]).fetchone()[0]
        need(not more, "there are transitions that no record brought")
        stored, rest = counters_now(db, before["at"])
        for key in sorted(set(rows) | set(stored)):
            zero = ([0] * 4, [0] * 4)
            need(rows.get(key, zero) == stored.get(key, zero), f"counters of control and scope {key} do not follow from the transitions")
        need(rest == before["checkpoint"], "evidence time, violations or numbers of transitions were altered")
    print(f"intact: {count} records, {len(rows)} counters recomputed, head {before['hash'] if before else '0' * 64}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (IndexError, ValueError, sqlite3.Error) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        sys.exit(2)
