"""What happened to a record: who, when, with whom, why; nothing of it is ever overwritten (RECORDS.md §4.1).

Rules of this file:
- an entry is written in the transaction of the act that it tells of; the table refuses every change;
- the reason is sealed under the record's key: it may name somebody, and goes with the record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_node import record_seals
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_records.life import Act
from candor_records.records import Dcn


@dataclass(frozen=True)
class Event:
    """One thing that happened. `dcn` is the version that it made, or that was current then."""

    number: int
    dcn: Dcn
    act: Act
    at: datetime
    by: str
    second: str
    reason: str = field(repr=False)


def append(
    db: Database, record_id: bytes, dcn: Dcn, act: Act, now: datetime, by: str, second: str, reason: str
) -> None:
    """Add an entry inside the caller's transaction; a record whose key is gone takes no reason."""
    key = record_seals.find_key(db, record_id) if reason else None
    at = to_milliseconds(now)
    sealed = (
        record_seals.seal(key, reason.encode(), _bound(record_id, str(dcn), act.name, at)) if key else None
    )
    db.execute(
        "INSERT INTO record_events (record_id, dcn, act, at, by, second, sealed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [record_id, str(dcn), act.name, at, by, second, sealed],
    )


def events(db: Database, record_id: bytes) -> list[Event]:
    """All of them, oldest first. Reasons of a destroyed record are gone with it."""
    key = record_seals.find_key(db, record_id)
    rows = db.execute(
        "SELECT number, dcn, act, at, by, second, sealed FROM record_events WHERE record_id = ? "
        "ORDER BY number",
        [record_id],
    )
    found = []
    for number, dcn, act, at, by, second, sealed in rows:
        reason = b""
        if key is not None and sealed is not None:
            bound = _bound(record_id, dcn, act, at)
            reason = record_seals.open_sealed(key, sealed, bound, f"Entry {number} of the history")
        moment = from_milliseconds(at)
        found.append(Event(number, Dcn(dcn), Act[act], moment, by, second, reason.decode()))
    return found


def touched_since(db: Database, number: int) -> tuple[set[bytes], int]:
    """The records to which something happened behind entry `number`, and the number of the last entry."""
    rows = db.execute("SELECT number, record_id FROM record_events WHERE number > ?", [number]).fetchall()
    return {row[1] for row in rows}, max((row[0] for row in rows), default=number)


def last_number(db: Database) -> int:
    """Of the last entry; 0 of an empty history."""
    found: int = db.execute("SELECT coalesce(max(number), 0) FROM record_events").fetchone()[0]
    return found


def _bound(record_id: bytes, dcn: str, act: str, at: int) -> bytes:
    return b"event" + record_id + dcn.encode("ascii") + at.to_bytes(8, "big") + act.encode("ascii")
