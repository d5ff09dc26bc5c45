"""Own lookups as the log knows them: what was sent, and where it stands (docs/protocol.md §14.3, §18.1).

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node.store import Database
from candor_node.targets import TargetRow
from candor_node.tlog import watching
from candor_node.tlog.watching import Place
from candor_proto.accountability.trust import ANSWER_KIND
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import LookupId
from candor_proto.result import TargetState
from candor_proto.signing import SignedStatement
from candor_proto.statements import Lookup
from candor_proto.tlog.entries import receipt_commitment, request_commitment


@dataclass(frozen=True)
class OwnLookup:
    """A lookup of this node; `place` is None until the log was seen to hold it. `flight`: of a batch."""

    lookup_id: LookupId
    flight: bool
    issued_at: datetime
    place: Place | None


def remember(db: Database, lookup: Lookup, statement: SignedStatement, *, flight: bool) -> None:
    """In the transaction that stores a lookup before it is sent."""
    commitment = request_commitment(statement)
    db.execute(
        "INSERT OR IGNORE INTO own_lookups VALUES (?, ?, ?, ?)",
        [commitment, lookup.lookup_id.value, int(flight), to_milliseconds(lookup.issued_at)],
    )
    watching.watch(db, commitment, lookup.issued_at)


def answer_taken(db: Database, target: TargetRow, now: datetime) -> None:
    """In the transaction that stores an answer that verified: where the log holds it is remembered."""
    if target.answer is not None and target.state is not TargetState.INVALID:
        answer = target.answer
        watching.watch(db, receipt_commitment(ANSWER_KIND, answer.body, answer.signature), now)


_OWN = (
    "SELECT o.lookup_id, o.flight, o.issued_at, w.shard, w.position, w.place FROM own_lookups AS o"
    " LEFT JOIN tlog_watched AS w ON w.commitment = o.commitment"
)


def _read(rows: Sequence[tuple[bytes, int, int, int | None, int | None, int | None]]) -> list[OwnLookup]:
    return [
        OwnLookup(
            LookupId(lookup_id),
            bool(flight),
            from_milliseconds(issued_at),
            None if shard is None or position is None or place is None else Place(shard, position, place),
        )
        for lookup_id, flight, issued_at, shard, position, place in rows
    ]


def find(db: Database, lookup_id: LookupId) -> OwnLookup | None:
    found = _read(db.execute(f"{_OWN} WHERE o.lookup_id = ?", [lookup_id.value]).fetchall())
    return found[0] if found else None


def named(db: Database, prefix: str) -> list[OwnLookup]:
    """At most two lookups whose hexadecimal id begins with `prefix`."""
    rows = db.execute(
        f"{_OWN} WHERE substr(lower(hex(o.lookup_id)), 1, length(?1)) = ?1 LIMIT 2", [prefix]
    ).fetchall()
    return _read(rows)


def logged_between(
    db: Database, shard: int, start: int, end: int, since: datetime | None = None
) -> list[OwnLookup]:
    """Own lookups in entries start ≤ position < end of a shard, in order; of those issued from `since` on."""
    rows = db.execute(
        f"{_OWN} WHERE o.issued_at >= ? AND w.shard = ? AND w.position >= ? AND w.position < ?"
        " ORDER BY w.position, w.place",
        [to_milliseconds(since) if since else 0, shard, start, end],
    ).fetchall()
    return _read(rows)


def count(db: Database) -> tuple[int, int]:
    """How many are known, and how many of them the log was seen to hold."""
    row = db.execute(
        "SELECT count(*), count(w.shard) FROM own_lookups AS o LEFT JOIN tlog_watched AS w USING (commitment)"
    ).fetchone()
    return int(row[0]), int(row[1])


def forget(db: Database, before: datetime) -> None:
    """Those of long ago, with what was remembered of where they stand."""
    oldest = to_milliseconds(before)
    db.execute(
        "DELETE FROM tlog_watched WHERE commitment IN"
        " (SELECT commitment FROM own_lookups WHERE issued_at < ?)",
        [oldest],
    )
    db.execute("DELETE FROM own_lookups WHERE issued_at < ?", [oldest])
