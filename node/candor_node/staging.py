"""Where an import waits until it is whole: rows sealed already, made records by one short transaction.

Rules of this file:
- the tables exist while an import is under way and no longer; what a dead import leaves is dropped at start;
- nothing here can be opened by anybody but the import itself: its keys come from a secret that is in memory
  alone, and the keys of records are written where keys stand, by the transaction that makes them records;
- making them records copies rows as they are (the columns are those of `records` and `record_heads`), writes
  history and ledger, and does to changed records what `lifecycle` does: all of it or nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from candor_node import filings, ledger, lifecycle, notices
from candor_node.filings import Cell
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.record_seals import open_sealed, seal
from candor_node.store import Database, IntegrityError
from candor_proto.errors import InputInvalid
from candor_records.content import Content, content_fields
from candor_records.gate import GateState
from candor_records.life import Act
from candor_records.record_fields import parse
from candor_records.records import Dcn, Record, ReportType, Standing

# Rows that may disappear in one transaction: what is dropped is overwritten first.
_CLEARED_AT_ONCE = 10_000
_COPIES = {"records": "staged_records", "record_heads": "staged_heads", "subject_notices": "staged_notices"}
_CHANGES = "staged_changes"
_TABLES = (*_COPIES.values(), _CHANGES)


@dataclass(frozen=True, repr=False)
class Staged:
    """Rows ready to be written: of new records by table, and what is to become of known ones."""

    rows: Mapping[str, Sequence[Mapping[str, Cell]]]
    changes: Sequence[tuple[str, bytes]]


class Seals:
    """The keys of one import. Whatever it has staged is lost with this object."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def record_key(self, record_id: bytes) -> bytes:
        """The data key of a new record: as random as the secret, which is forgotten with the import."""
        return hmac.digest(self._secret, b"record" + record_id, "sha256")

    def change(self, dcn: Dcn, content: Content) -> tuple[str, bytes]:
        """What a row wants of a known record, as it waits."""
        text = json.dumps(content_fields(content), ensure_ascii=False).encode()
        return str(dcn), seal(self._change_key(dcn), text, b"change")

    def open_change(self, dcn: Dcn, sealed: bytes) -> Content:
        fields = json.loads(open_sealed(self._change_key(dcn), sealed, b"change", "A waiting row"))
        content, faults = parse(fields, search=())
        if content is None:
            raise faults[0]
        return content

    def _change_key(self, dcn: Dcn) -> bytes:
        return hmac.digest(self._secret, b"change" + str(dcn).encode(), "sha256")


def rows_of(
    records: Sequence[tuple[Record, GateState]], doing: Doing, seals: Seals, secret: bytes
) -> dict[str, list[Mapping[str, Cell]]]:
    """First filings as rows, by table."""
    rows: dict[str, list[Mapping[str, Cell]]] = {table: [] for table in _COPIES}
    for record, gate in records:
        key = seals.record_key(record.record_id)
        rows["records"].append(filings.version_row(record, key, secret))
        rows["record_heads"].append(filings.head_row(record, gate, key, secret))
        notice = notices.row_of(LifeEvent(Act.FILE, None, record, doing))
        if notice is not None:
            rows["subject_notices"].append(notice)
    return rows


# --- tables --------------------------------------------------------------------------------------------


def begin(db: Database) -> None:
    """Make room for an import, the only one; what one before it left is dropped."""
    clear_all(db)
    for table, staged in _COPIES.items():
        db.execute(f"CREATE TABLE {staged} AS SELECT * FROM {table} WHERE 0")  # noqa: S608
    db.execute(f"CREATE TABLE {_CHANGES} (dcn TEXT, sealed BLOB) STRICT")


def add(db: Database, staged: Staged) -> None:
    """Let rows wait; each stands in a short transaction of its own with its fellows."""
    for table, rows in staged.rows.items():
        if rows:
            names = list(rows[0])
            marks = ", ".join("?" * len(names))
            sql = f"INSERT INTO {_COPIES[table]} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
            db.conn.executemany(sql, [list(row.values()) for row in rows])
    db.conn.executemany("INSERT INTO staged_changes VALUES (?, ?)", staged.changes)


def clear(db: Database) -> bool:
    """Take away some of what waits; whether that was all. To be repeated until it is."""
    waiting = _waiting(db)
    for table in waiting:
        left = _CLEARED_AT_ONCE
        gone = db.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} LIMIT ?)",  # noqa: S608
            [left],
        ).rowcount
        if gone == left:
            return False
        db.execute(f"DROP TABLE {table}")
    return True


def clear_all(db: Database) -> None:
    """`clear` within one transaction."""
    while not clear(db):
        pass


def _waiting(db: Database) -> list[str]:
    marks = ", ".join("?" * len(_TABLES))
    rows = db.execute(
        f"SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({marks})",  # noqa: S608
        list(_TABLES),
    )
    return [name for (name,) in rows]


# --- making them records -------------------------------------------------------------------------------


def make_records(db: Database, seals: Seals, doing: Doing) -> Iterator[tuple[Content, LifeEvent | None]]:
    """Make everything that waits records, in the caller's transaction.

    Yields what a row wanted of a known record, and what was done; None when no fact had changed.
    Raises InputInvalid when a record was filed or changed by somebody else since.
    """
    try:
        for table, staged in _COPIES.items():
            _copy(db, table, staged)
    except IntegrityError:
        raise _overtaken() from None
    filed = list(db.execute("SELECT record_id, dcn, standing FROM staged_heads ORDER BY rowid"))
    db.conn.executemany(
        "INSERT INTO record_keys VALUES (?, ?)",
        [(record_id, seals.record_key(record_id)) for record_id, _, _ in filed],
    )
    db.execute(
        "INSERT INTO record_events (record_id, dcn, act, at, by, second, sealed) "
        "SELECT record_id, dcn, ?, created_at, ?, '', NULL FROM staged_records ORDER BY rowid",
        [Act.FILE.name, doing.by],
    )
    ledger.append_all(
        db,
        doing.now,
        (
            lifecycle.account(Act.FILE, doing, Dcn(dcn), Standing[standing], ReportType.INITIAL)
            for _, dcn, standing in filed
        ),
    )
    for dcn, sealed in db.execute("SELECT dcn, sealed FROM staged_changes ORDER BY rowid").fetchall():
        followed = Dcn(dcn)
        if lifecycle.current(db, followed).dcn != followed:
            raise _overtaken()
        content = seals.open_change(followed, sealed)
        yield content, lifecycle.correct(db, followed, content, doing)


def _copy(db: Database, table: str, staged: str) -> None:
    # A number that the database gives is given when the row is there.
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    names = ", ".join(name for name in columns if name != "number")
    db.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {staged} ORDER BY rowid")  # noqa: S608


def _overtaken() -> InputInvalid:
    return InputInvalid(
        "A record of this file was filed or changed by somebody else while it was read.",
        remedy="Nothing was stored. Import the file again.",
    )
