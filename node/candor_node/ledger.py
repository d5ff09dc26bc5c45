"""The node's own append-only account of everything asked, answered, released, imported, published, decided.

Rules of this file:
- an entry is written in the transaction of what it accounts for: what cannot be logged is not done;
- it says which and how many, never who or what: names of identity fields are refused as keys. Whoever writes
  an entry answers for its values;
- each entry's digest covers the one before, and the last is kept apart, so that a changed, lost, inserted
  or cut-off entry shows in `verify`. Whoever holds the database key could still rewrite the whole chain:
  only a copy of its head kept elsewhere (`head`) speaks against that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from candor_node.store import Database
from candor_proto.canonical import digest, from_milliseconds, to_milliseconds
from candor_proto.errors import StoreUnusable

_EVENT = re.compile(r"[a-z][a-z_]*(?:\.[a-z][a-z_]*)+\Z")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
# References are ids and codes: no room for a name with its spaces.
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/#-]{0,127}\Z")
MAX_DETAIL_CHARACTERS = 500
FORBIDDEN_KEYS = frozenset(
    {
        "first", "middle", "last", "suffix", "former_last", "name", "birth_date", "ssn", "ssn4", "sex",
        "post_id", "narrative", "statement", "subject_statement", "identity", "particulars", "key", "seed",
        "secret", "salt",
    }
)  # fmt: skip
_START = bytes(32)
# The entry behind which numbers are missing, and where numbers go on then: at the next multiple of this.
WENT_BACK = "store.went_back"
ERA = 1_000_000

Value = str | int | bool
# Event, references, details.
NewEntry = tuple[str, Mapping[str, str], Mapping[str, Value]]


@dataclass(frozen=True)
class Entry:
    """One entry. `refs` name what it is about (dcn, lookup_id, node …), `details` say how it went."""

    number: int
    at: datetime
    event: str
    refs: Mapping[str, str]
    details: Mapping[str, Value]


def append(
    db: Database,
    now: datetime,
    event: str,
    refs: Mapping[str, str] | None = None,
    details: Mapping[str, Value] | None = None,
) -> int:
    """Add an entry inside the caller's transaction; returns its number, which counts from 1.

    `event` is `area.what`, for example `disclosure.released`. Raises AssertionError for an entry that
    could carry an identity: that is a bug of the caller, and undoes the caller's transaction.
    """
    return append_all(db, now, [(event, refs or {}, details or {})])


@dataclass(frozen=True)
class Raw:
    """An entry as it stands in its row; the digest covers the one before."""

    number: int
    at: int
    event: str
    refs: str
    details: str
    digest: bytes

    @property
    def entry(self) -> Entry:
        refs, details = json.loads(self.refs), json.loads(self.details)
        return Entry(self.number, from_milliseconds(self.at), self.event, refs, details)


def raw_behind(db: Database, after: int, limit: int) -> list[Raw]:
    """At most `limit` entries behind number `after`, oldest first, as they stand."""
    rows = db.execute(f"{_RAW} WHERE number > ? ORDER BY number LIMIT ?", [after, limit])
    return [Raw(*row) for row in rows]


def holds(db: Database, number: int, digest: bytes) -> bool:
    """Whether the entry with this number has this digest, and so everything before it is the same."""
    row = db.execute("SELECT digest FROM ledger WHERE number = ?", [number]).fetchone()
    return row is not None and bytes(row[0]) == digest


def put_back(db: Database, rows: Iterable[Raw]) -> int:
    """Append entries that were written before, as far as they continue this chain; how many."""
    number, previous = head(db)
    count = 0
    for row in rows:
        texts = row.event, row.refs, row.details
        follows = row.number == number + 1 or (row.event == WENT_BACK and row.number > number)
        if not follows or _digest(row.number, row.at, *texts, previous) != row.digest:
            break
        db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", [row.number, row.at, *texts, row.digest])
        number, previous, count = row.number, row.digest, count + 1
    if count:
        db.execute("INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?)", [number, previous])
    return count


def begin_anew(
    db: Database, now: datetime, used: int, refs: Mapping[str, str], details: Mapping[str, Value]
) -> int:
    """Go on above every number that was used, up to `used` and beyond; the number of the entry that says
    so."""
    last, previous = head(db)
    number, at = (max(last, used) // ERA + 1) * ERA, to_milliseconds(now)
    details = {**details, "after": last}
    _check(WENT_BACK, refs, details)
    texts = WENT_BACK, _json(refs), _json(details)
    own = _digest(number, at, *texts, previous)
    db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", [number, at, *texts, own])
    db.execute("INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?)", [number, own])
    return number


def append_all(db: Database, now: datetime, entries: Iterable[NewEntry]) -> int:
    """`append` for many entries, in few statements; returns the number of the last one."""
    row = db.execute("SELECT number, digest FROM ledger_head").fetchone()
    number, own = row or (0, _START)
    at, found = to_milliseconds(now), []
    for event, refs, details in entries:
        _check(event, refs, details)
        texts = event, _json(refs), _json(details)
        number += 1
        own = _digest(number, at, *texts, own)
        found.append((number, at, *texts, own))
    db.conn.executemany("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", found)
    db.execute("INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?)", [number, own])
    return number


def entries(
    db: Database,
    *,
    event: str = "",
    ref: tuple[str, str] | None = None,
    during: tuple[datetime, datetime] | None = None,
    after: int = 0,
    limit: int = 1000,
) -> list[Entry]:
    """At most `limit` entries behind number `after`, oldest first.

    `event` narrows to that event or area (`disclosure`), `ref` to entries that carry this name and value,
    `during` to those from the first moment on and before the second.
    """
    where, values = ["number > ?"], [str(after)]
    if event:
        where.append("(event = ? OR substr(event, 1, length(?) + 1) = ? || '.')")
        values += [event] * 3
    if during is not None:
        where.append("at >= CAST(? AS INTEGER) AND at < CAST(? AS INTEGER)")
        values += [str(to_milliseconds(moment)) for moment in during]
    if ref is not None:
        where.append("refs ->> ? = ?")
        values += [f'$."{ref[0]}"', ref[1]]
    sql = f"SELECT number, at, event, refs, details FROM ledger WHERE {' AND '.join(where)}"  # noqa: S608
    rows = db.execute(f"{sql} ORDER BY number LIMIT ?", [*values, str(limit)])
    return [
        Entry(number, from_milliseconds(at), event, json.loads(refs), json.loads(details))
        for number, at, event, refs, details in rows
    ]


def head(db: Database) -> tuple[int, bytes]:
    """Number and digest of the last entry, (0, zeros) of an empty ledger: for keeping elsewhere."""
    row = db.execute("SELECT number, digest FROM ledger_head").fetchone()
    return (row[0], row[1]) if row else (0, _START)


def first_digest(db: Database, since: datetime) -> bytes | None:
    """The digest of the first entry from a moment on: nobody could know it before that moment."""
    sql = "SELECT digest FROM ledger WHERE at >= ? ORDER BY number LIMIT 1"
    row = db.execute(sql, [to_milliseconds(since)]).fetchone()
    return None if row is None else bytes(row[0])


def verify(db: Database) -> int:
    """Check the whole chain and return how many entries it has; raises StoreUnusable at the first break."""
    previous, last, count = _START, 0, 0
    for number, at, event, refs, details, own in _rows(db):
        if number != last + 1 and not (event == WENT_BACK and json.loads(details).get("after") == last):
            raise _altered(f"entry {last + 1} is missing")
        if _digest(number, at, event, refs, details, previous) != own:
            raise _altered(f"entry {number} was changed")
        previous, last, count = own, number, count + 1
    if head(db) != (last, previous):
        raise _altered(f"entries behind {last} are missing")
    return count


_RAW = "SELECT number, at, event, refs, details, digest FROM ledger"


def _rows(db: Database) -> Iterator[tuple[int, int, str, str, str, bytes]]:
    return iter(db.execute(f"{_RAW} ORDER BY number"))


def _digest(number: int, at: int, event: str, refs: str, details: str, previous: bytes) -> bytes:
    parts = (number.to_bytes(8, "big"), at.to_bytes(8, "big"), event.encode(), refs.encode())
    return digest("ledger-entry", *parts, details.encode(), previous)


def _check(event: str, refs: Mapping[str, str], details: Mapping[str, Value]) -> None:
    if not _EVENT.match(event):
        raise AssertionError(f"{event[:60]!r} is not an event of the form area.what")
    for key in (*refs, *details):
        if not _KEY.match(key) or key in FORBIDDEN_KEYS:
            raise AssertionError(f"a ledger entry has no place for {key[:40]!r}")
    if not all(_REFERENCE.match(value) for value in refs.values()):
        raise AssertionError("a reference in the ledger is an id or a code")
    for value in details.values():
        if not isinstance(value, int | str) or len(str(value)) > MAX_DETAIL_CHARACTERS:
            raise AssertionError(
                f"a detail in the ledger is a number or at most {MAX_DETAIL_CHARACTERS} letters"
            )


def _json(values: Mapping[str, Value]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _altered(what: str) -> StoreUnusable:
    return StoreUnusable(
        f"The ledger was altered outside candor-node: {what}.",
        remedy="Keep this database as evidence and restore the last backup whose ledger verifies.",
    )
