"""The calendar digest of local failures, and a person's review of it (docs/protocol.md §7.6, §17.2).

Rules of this file:
- a failure is stored in the transaction that stores what an answer opened, and shows nowhere before its
  month is over and a person has opened the digest of that month;
- every month has a digest, made at the same time whether anything failed or not: that there is one to review
  says nothing;
- evidence is made when the review is signed, from what is stored: openings, answers, and kept segments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node import ledger
from candor_node.store import Database
from candor_proto.accountability.draw import Month
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import AlreadyExists, InputInvalid, UnknownObject, WrongStanding
from candor_proto.ids import LookupId, NodeId

MAX_NOTE_CHARACTERS = 2000


@dataclass(frozen=True)
class Digest:
    """A month's digest; what is in it is read apart."""

    month: Month
    made_at: datetime
    reviewed_at: datetime | None
    reviewed_by: str
    note: str


@dataclass(frozen=True)
class Failures:
    """What failed in one member's index while one search was looked up in it, under one head."""

    search_id: LookupId
    node: NodeId
    epoch: int
    sequence: int
    count: int


@dataclass(frozen=True)
class Failed:
    """A line of a digest: how often something of a member's did not open, and in how many lookups."""

    node: NodeId
    code: str
    count: int
    searches: int


def make_due(db: Database, now: datetime) -> None:
    """A digest for every month that is over and has none, from the first in which this node was used."""
    (last,) = db.execute("SELECT max(month) FROM digests").fetchone()
    if last is not None:
        month = Month.parse(last).after
    else:
        row = db.execute("SELECT at FROM ledger ORDER BY number LIMIT 1").fetchone()
        if row is None:
            return
        month = Month.of(from_milliseconds(row[0]))
    while month.after.start <= now:
        db.execute("INSERT INTO digests (month, made_at) VALUES (?, ?)", [str(month), to_milliseconds(now)])
        ledger.append(db, now, "digest.made", {"month": str(month)})
        month = month.after


def digests(db: Database) -> list[Digest]:
    """All of them, the newest first."""
    rows = db.execute("SELECT * FROM digests ORDER BY month DESC").fetchall()
    return [_read(row) for row in rows]


def waiting(db: Database) -> list[str]:
    """Months whose digest nobody has reviewed: every month once, whatever is in it."""
    rows = db.execute("SELECT month FROM digests WHERE reviewed_at IS NULL ORDER BY month").fetchall()
    return [month for (month,) in rows]


def find(db: Database, month: Month) -> Digest:
    """Raises UnknownObject for a month that is not over, or before this node was used."""
    row = db.execute("SELECT * FROM digests WHERE month = ?", [str(month)]).fetchone()
    if row is None:
        raise UnknownObject(
            f"There is no digest of {month}.", remedy="A month's digest is made once the month is over (UTC)."
        )
    return _read(row)


def _read(row: tuple[str, int, int | None, str, str]) -> Digest:
    month, made_at, reviewed_at, by, note = row
    reviewed = None if reviewed_at is None else from_milliseconds(reviewed_at)
    return Digest(Month.parse(month), from_milliseconds(made_at), reviewed, by, note)


def open_digest(db: Database, month: Month, now: datetime, by: str) -> tuple[Digest, list[Failed]]:
    """What a person reads, and an account of who has. Raises UnknownObject."""
    found = find(db, month)
    ledger.append(db, now, "digest.opened", {"month": str(month)}, {"by": by})
    counts: Counter[tuple[str, str]] = Counter()
    searches: dict[tuple[str, str], set[bytes]] = {}
    for node, code, search_id in db.execute(
        "SELECT node, code, search_id FROM failure_digest WHERE noticed_at >= ? AND noticed_at < ?",
        _moments(month),
    ):
        counts[node, code] += 1
        searches.setdefault((node, code), set()).add(search_id)
    return found, [
        Failed(NodeId(node), code, count, len(searches[node, code]))
        for (node, code), count in sorted(counts.items())
    ]


def failures(db: Database, month: Month) -> list[Failures]:
    """What evidence may be made of, in the order in which it was noticed."""
    rows = db.execute(
        "SELECT search_id, node, epoch, sequence, count(*) FROM failure_digest"
        " WHERE noticed_at >= ? AND noticed_at < ? GROUP BY search_id, node, epoch, sequence"
        " ORDER BY min(number)",
        _moments(month),
    ).fetchall()
    return [
        Failures(LookupId(search_id), NodeId(node), epoch, sequence, count)
        for search_id, node, epoch, sequence, count in rows
    ]


def review(db: Database, month: Month, now: datetime, by: str, note: str, evidence: Sequence[int]) -> Digest:
    """Sign that a digest was read; `evidence` are the numbers of what was made of it.

    What failed in that month is forgotten then. Raises UnknownObject, AlreadyExists, InputInvalid.
    """
    found = find(db, month)
    if found.reviewed_at is not None:
        raise AlreadyExists(f"The digest of {month} was reviewed by {found.reviewed_by} already.")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise InputInvalid(f"A note has at most {MAX_NOTE_CHARACTERS} characters.", remedy="Shorten it.")
    if now < month.after.start:
        raise WrongStanding("This month is not over yet.", remedy="Review its digest once it is.")
    db.execute(
        "UPDATE digests SET reviewed_at = ?, reviewed_by = ?, note = ? WHERE month = ?",
        [to_milliseconds(now), by, note.strip(), str(month)],
    )
    db.execute(
        "DELETE FROM failure_digest WHERE noticed_at >= ? AND noticed_at < ?",
        _moments(month),
    )
    details: dict[str, ledger.Value] = {"by": by, "evidence": len(evidence)}
    ledger.append(db, now, "digest.reviewed", {"month": str(month)}, details)
    return find(db, month)


def _moments(month: Month) -> list[int]:
    return [to_milliseconds(month.start), to_milliseconds(month.after.start)]
