"""What the subject is not shown yet, for the sake of a lawful investigation (RECORDS.md §4.3).

Rules of this file:
- two people, a purpose of investigation or a case number with its legal basis, and a day on which it ends;
- the end is counted from the lookup or request itself, so that deferring again defers no longer in all;
- it ends by itself: from that day on the entry is shown, with the note that it was not shown before;
- it hides an entry from the subject's report and from nothing else: ledger, audit and reviews show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum

from candor_node import approvals, ledger, lookup_store, request_store
from candor_node.approvals import Approval, ApprovalId
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import AlreadyExists, InputInvalid, PurposeRefused, UnknownObject
from candor_proto.ids import LookupId, Purpose, RequestId
from candor_records.roles import Actor, Operation

MIN_BASIS_CHARACTERS = 10
MIN_PREFIX = 4


class Entry(Enum):
    """What can be deferred."""

    SEARCH = "a lookup that this agency made"
    REQUEST = "another agency's request for a record"


@dataclass(frozen=True)
class Deferral:
    """One entry that is, or was, not shown before `until`."""

    what: Entry
    entry: bytes
    until: date
    approval_id: ApprovalId
    proposed_by: str
    decided_by: str
    decided_at: datetime


@dataclass(frozen=True)
class _Papers:
    """What is known of an entry that somebody wants to defer."""

    what: Entry
    entry: bytes
    purpose: Purpose
    case: str
    on: date


def propose(
    db: Database,
    now: datetime,
    actor: Actor,
    entry: str,
    until: date,
    basis: str,
    reason: str,
    most_days: int,
) -> ApprovalId:
    """Put it before a second person; `entry` is the id, or its beginning, of a lookup or received request.

    Raises UnknownObject, PurposeRefused, InputInvalid, AlreadyExists or WrongRole.
    """
    papers = _papers(db, entry)
    if papers.purpose is not Purpose.C and (
        not papers.case.strip() or len(basis.strip()) < MIN_BASIS_CHARACTERS
    ):
        raise PurposeRefused(
            f"What was made for {papers.purpose.name} is deferred only under a case and a legal basis.",
            remedy="Say with --basis which law or order allows it; without one the subject is shown it.",
        )
    arguments = {
        "what": papers.what.name,
        "entry": papers.entry.hex(),
        "until": until.isoformat(),
        "latest": (papers.on + timedelta(days=most_days)).isoformat(),
        "basis": basis.strip(),
    }
    _check(db, arguments, now)
    about = papers.entry.hex()
    # Why a request for a record is not shown says something of its subject: it goes with the record.
    key = request_store.record_key(db, papers.entry) if papers.what is Entry.REQUEST else None
    return approvals.propose(db, now, Operation.DEFER_VISIBILITY, actor, about, arguments, reason, key)


def execute(db: Database, approval: Approval, now: datetime) -> None:
    """Defer what a second person approved: the executor of DEFER_VISIBILITY."""
    entry, until = _check(db, approval.arguments, now)
    db.execute(
        "INSERT INTO deferrals VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            entry,
            approval.arguments["what"],
            until.isoformat(),
            str(approval.approval_id),
            approval.proposed_by,
            approval.decided_by,
            to_milliseconds(now),
        ],
    )
    refs = {"entry": entry.hex(), "approval_id": str(approval.approval_id)}
    by = {"by": approval.proposed_by, "second": approval.decided_by, "until": until.isoformat()}
    ledger.append(db, now, "subject.deferred", refs, by)


def _check(db: Database, arguments: Mapping[str, str], now: datetime) -> tuple[bytes, date]:
    """The entry and the day; asked when it is proposed, and again when it is approved."""
    entry, until = bytes.fromhex(arguments["entry"]), date.fromisoformat(arguments["until"])
    if until <= now.date():
        raise InputInvalid(
            "That day has come already.", remedy="Name a later one, or let the entry be shown."
        )
    if until > (latest := date.fromisoformat(arguments["latest"])):
        raise InputInvalid(
            f"This entry can be deferred until {latest} at most.", remedy="Name that day or an earlier one."
        )
    if any(one.entry == entry and one.until >= until for one in list_deferrals(db)):
        raise AlreadyExists(
            "This entry is deferred until that day already.", remedy="Nothing needs to be done."
        )
    return entry, until


def _papers(db: Database, entry: str) -> _Papers:
    prefix = entry.strip().lower()
    found: list[LookupId | RequestId] = []
    if len(prefix) >= MIN_PREFIX:
        found += lookup_store.searches_named(db, prefix)
        found += [one for one in request_store.requests_named(db, prefix) if request_store.received(db, one)]
    if len(found) != 1:
        raise UnknownObject(
            "There is no such lookup of this node, and no such request to it."
            if not found
            else "Several lookups or requests begin like this.",
            remedy="Give the whole id: `candor-node lookups list` and `requests list` show them.",
        )
    if isinstance(found[0], RequestId):
        known = request_store.received(db, found[0])
        if known is None:
            raise AssertionError("a request was found and is gone in the same transaction")
        papers = known.request
        return _Papers(Entry.REQUEST, found[0].value, papers.purpose, papers.case, known.received_at.date())
    row = lookup_store.search(db, found[0])
    if row is None:
        raise AssertionError("a lookup was found and is gone in the same transaction")
    return _Papers(Entry.SEARCH, found[0].value, row.purpose, row.case, row.created_at.date())


# --- reading -------------------------------------------------------------------------------------------


def list_deferrals(db: Database) -> list[Deferral]:
    """All of them, also those that have ended, newest first."""
    rows = db.execute(
        "SELECT what, entry, until, approval_id, proposed_by, decided_by, decided_at FROM deferrals"
        " ORDER BY decided_at DESC, entry"
    ).fetchall()
    return [
        Deferral(
            Entry[what],
            entry,
            date.fromisoformat(until),
            ApprovalId.parse(approval_id),
            proposed_by,
            decided_by,
            from_milliseconds(decided_at),
        )
        for what, entry, until, approval_id, proposed_by, decided_by, decided_at in rows
    ]


def hidden(db: Database, now: datetime) -> frozenset[bytes]:
    """The entries that the subject is not shown now."""
    return frozenset(one.entry for one in list_deferrals(db) if now.date() < one.until)


def ended(db: Database, now: datetime) -> dict[bytes, date]:
    """The entries that were not shown for a time, and the day on which that ended."""
    found: dict[bytes, date] = {}
    for one in list_deferrals(db):
        if one.until <= now.date():
            found[one.entry] = max(one.until, found.get(one.entry, one.until))
    return found
