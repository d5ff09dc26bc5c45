"""Batches and their rows: the SQL of asking about many.

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from candor_node import lookup_store
from candor_node.batch_file import BatchRow
from candor_node.flights import WaitingRow, failed
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import LookupId, LookupShape, Purpose
from candor_proto.normalise import Particulars

LOADING, PROPOSED, RUNNING, PAUSED, DONE = "loading", "proposed", "running", "paused", "done"
WAITING, ASKED, ROW_DONE, ROW_ERROR = "waiting", "asked", "done", "error"


@dataclass(frozen=True)
class BatchRecord:
    """A batch: what is asked, and how far it is."""

    batch_id: bytes
    state: str
    note: str
    purpose: Purpose
    shape: LookupShape
    columns: tuple[str, ...]
    wait_seconds: float
    created_at: datetime
    ended_at: datetime | None
    user: str = ""


@dataclass(frozen=True)
class Counts:
    """Rows by state."""

    waiting: int
    asked: int
    done: int
    error: int

    @property
    def rows(self) -> int:
        return self.waiting + self.asked + self.done + self.error


# --- batches -------------------------------------------------------------------------------------------

_BATCH = "batch_id, state, note, purpose, shape, columns, wait_seconds, created_at, ended_at, user_id"


def _read_batch(row: Sequence[object]) -> BatchRecord:
    batch_id, state, note, purpose, shape, columns, wait, created, ended, user = row
    assert isinstance(batch_id, bytes)
    assert isinstance(created, int)
    assert isinstance(wait, float)
    return BatchRecord(
        batch_id,
        str(state),
        str(note),
        Purpose(purpose),
        LookupShape(shape),
        tuple(json.loads(str(columns))),
        wait,
        from_milliseconds(created),
        from_milliseconds(ended) if isinstance(ended, int) else None,
        str(user),
    )


def find(db: Database, batch_id: bytes) -> BatchRecord | None:
    row = db.execute(f"SELECT {_BATCH} FROM batches WHERE batch_id = ?", (batch_id,)).fetchone()  # noqa: S608
    return None if row is None else _read_batch(row)


def latest(db: Database, digest: bytes) -> BatchRecord | None:
    """The last batch of the same file and papers that was stored whole."""
    row = db.execute(
        f"SELECT {_BATCH} FROM batches WHERE digest = ? AND state <> ?"  # noqa: S608
        " ORDER BY generation DESC LIMIT 1",
        (digest, LOADING),
    ).fetchone()
    return None if row is None else _read_batch(row)


def named(db: Database, prefix: str) -> list[bytes]:
    """Batches whose hexadecimal id begins with `prefix`; two at most."""
    rows = db.execute(
        "SELECT batch_id FROM batches WHERE substr(lower(hex(batch_id)), 1, length(?)) = ? LIMIT 2",
        (prefix, prefix),
    ).fetchall()
    return [batch_id for (batch_id,) in rows]


def list_batches(db: Database, limit: int) -> list[tuple[BatchRecord, Counts]]:
    """Newest first."""
    rows = db.execute(
        f"SELECT {_BATCH} FROM batches ORDER BY created_at DESC, batch_id LIMIT ?",  # noqa: S608
        (limit,),
    ).fetchall()
    return [(record, counts(db, record.batch_id)) for record in map(_read_batch, rows)]


def unfinished(db: Database) -> list[BatchRecord]:
    """Batches that still have rows to ask about or to hear of, oldest first."""
    rows = db.execute(
        f"SELECT {_BATCH} FROM batches WHERE state IN (?, ?) ORDER BY created_at",  # noqa: S608
        (RUNNING, PAUSED),
    ).fetchall()
    return [_read_batch(row) for row in rows]


def add(
    db: Database,
    batch_id: bytes,
    digest: bytes,
    purpose: Purpose,
    shape: LookupShape,
    columns: Sequence[str],
    wait_seconds: float,
    now: datetime,
    user: str = "",
) -> None:
    db.execute(
        "INSERT INTO batches (batch_id, digest, generation, state, purpose, shape, columns, wait_seconds,"
        " user_id, created_at) SELECT ?, ?, coalesce(max(generation) + 1, 0), ?, ?, ?, ?, ?, ?, ?"
        " FROM batches WHERE digest = ?",
        (
            batch_id,
            digest,
            LOADING,
            purpose.value,
            shape.value,
            json.dumps(list(columns)),
            float(wait_seconds),
            user,
            to_milliseconds(now),
            digest,
        ),
    )


def forget(db: Database, batch_id: bytes) -> None:
    """A batch whose file could not be read to its end: nothing of it was asked."""
    db.execute("DELETE FROM batch_rows WHERE batch_id = ?", (batch_id,))
    db.execute("DELETE FROM batches WHERE batch_id = ?", (batch_id,))


def forget_half_loaded(db: Database) -> None:
    """Batches that a crash kept from being stored whole."""
    rows = db.execute("SELECT batch_id FROM batches WHERE state = ?", (LOADING,)).fetchall()
    for (batch_id,) in rows:
        forget(db, batch_id)


def set_state(db: Database, batch_id: bytes, state: str, note: str, now: datetime) -> None:
    ended = to_milliseconds(now) if state == DONE else None
    db.execute(
        "UPDATE batches SET state = ?, note = ?, ended_at = ? WHERE batch_id = ?",
        (state, note, ended, batch_id),
    )


def counts(db: Database, batch_id: bytes) -> Counts:
    known = dict(
        db.execute(
            "SELECT state, count(*) FROM batch_rows WHERE batch_id = ? GROUP BY state", (batch_id,)
        ).fetchall()
    )
    return Counts(*(known.get(state, 0) for state in (WAITING, ASKED, ROW_DONE, ROW_ERROR)))


# --- rows ----------------------------------------------------------------------------------------------


def add_rows(db: Database, batch_id: bytes, rows: Iterable[BatchRow], common: Mapping[str, str]) -> int:
    """Store rows as they were read, with `common` papers where a row has none of its own; how many."""
    values = [
        (
            batch_id,
            row.number,
            ROW_ERROR if row.error else WAITING,
            json.dumps(row.cells, ensure_ascii=False),
            json.dumps(_plain(row.person), ensure_ascii=False),
            *(row.papers.get(name) or common[name] for name in ("case_number", "consent", "officer")),
            json.dumps(failed(row.error)) if row.error else None,
        )
        for row in rows
    ]
    db.conn.executemany(
        "INSERT INTO batch_rows (batch_id, row, state, cells, person, case_number, consent, officer, results)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    return len(values)


def _plain(person: Particulars) -> dict[str, str]:
    return {name: value for name, value in asdict(person).items() if value}


_ASKED_ABOUT = "row, person, case_number, consent, officer"


def _waiting_row(row: Sequence[object]) -> WaitingRow:
    number, person, case, consent, officer = row
    assert isinstance(number, int)
    return WaitingRow(number, Particulars(**json.loads(str(person))), str(case), str(consent), str(officer))


def waiting(db: Database, batch_id: bytes, limit: int) -> list[WaitingRow]:
    """The next rows to ask about, in the order of the file."""
    rows = db.execute(
        f"SELECT {_ASKED_ABOUT} FROM batch_rows WHERE batch_id = ? AND state = ? ORDER BY row LIMIT ?",  # noqa: S608
        (batch_id, WAITING, limit),
    ).fetchall()
    return [_waiting_row(row) for row in rows]


def rows_asked(db: Database, batch_id: bytes, numbers: Collection[int]) -> dict[int, WaitingRow]:
    """Rows by number, as they were asked about."""
    rows = db.execute(
        f"SELECT {_ASKED_ABOUT} FROM batch_rows WHERE batch_id = ?"  # noqa: S608
        " AND row IN (SELECT value FROM json_each(?))",
        (batch_id, json.dumps(sorted(numbers))),
    ).fetchall()
    return {row.number: row for row in map(_waiting_row, rows)}


def leave_out(db: Database, batch_id: bytes, reason: str) -> int:
    """Rows that are still waiting are not asked about; how many."""
    done = db.execute(
        "UPDATE batch_rows SET state = ?, results = ? WHERE batch_id = ? AND state = ?",
        (ROW_ERROR, json.dumps(failed(reason)), batch_id, WAITING),
    )
    return done.rowcount


def shapes_asked(db: Database, cases: Collection[str], batch_id: bytes) -> dict[str, frozenset[LookupShape]]:
    """By case number: the shapes asked before under it, outside this batch (§5.3)."""
    return {case: lookup_store.shapes_for_case(db, case, but_batch=batch_id) for case in cases}


def fail_rows(db: Database, batch_id: bytes, failed: Mapping[int, Sequence[str]]) -> None:
    """Rows that nobody was asked about, with their results."""
    _set_results(db, batch_id, ROW_ERROR, failed)


def finish_rows(db: Database, batch_id: bytes, done: Mapping[int, Sequence[str]]) -> None:
    """Rows with their results; the second time they are amended."""
    _set_results(db, batch_id, ROW_DONE, done)


def _set_results(db: Database, batch_id: bytes, state: str, rows: Mapping[int, Sequence[str]]) -> None:
    db.conn.executemany(
        "UPDATE batch_rows SET state = ?, results = ? WHERE batch_id = ? AND row = ?",
        [
            (state, json.dumps(list(cells), ensure_ascii=False), batch_id, number)
            for number, cells in rows.items()
        ],
    )


def outcomes(db: Database, batch_id: bytes) -> dict[str, int]:
    """How many rows of each outcome."""
    rows = db.execute(
        "SELECT json_extract(results, '$[0]') AS outcome, count(*) FROM batch_rows"
        " WHERE batch_id = ? AND results IS NOT NULL GROUP BY outcome",
        (batch_id,),
    ).fetchall()
    return {str(outcome): count for outcome, count in rows}


def search_of_row(db: Database, batch_id: bytes, number: int) -> LookupId | None:
    row = db.execute(
        "SELECT search_id FROM batch_rows WHERE batch_id = ? AND row = ?", (batch_id, number)
    ).fetchone()
    return LookupId(row[0]) if row is not None and row[0] is not None else None
