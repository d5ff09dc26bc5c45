"""Which rows of a batch may be asked about, and whose they are (RECORDS.md §7.3).

Rules of this file:
- a batch of more rows than a user may ask about in an hour waits, stored whole, for a second person;
- a row about a sensitive subject is not asked within a batch: it has to be asked by itself;
- once users are registered, a row's officer in charge is the user whose batch it is, and a batch stops when
  its user may not act any more;
- every row that is asked about leaves its traces, in the transaction that stores its search;
- everything here runs inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from candor_node import approvals, batch_store, ledger, subjects, users
from candor_node.approvals import Approval, ApprovalId
from candor_node.batch_store import PROPOSED, RUNNING, BatchRecord
from candor_node.flights import Flight, WaitingRow
from candor_node.permits import MANY, allow, batch_needs_second
from candor_node.store import Database
from candor_proto.errors import WrongRole, WrongStanding
from candor_records.roles import Operation, same_user

BATCH = "batch_id"
_ALONE = "not asked: this row takes a second person. Ask about it by itself with `candor-node lookup`."
_OFFICER = "not asked: the officer in charge must be the user who asks; leave the column empty."


def begin(db: Database, now: datetime, record: BatchRecord, case: str, officer: str, limit: int) -> None:
    """Begin a batch that was stored whole: at work, or before a second person. Raises WrongRole."""
    rows, state, note = batch_store.counts(db, record.batch_id).rows, RUNNING, ""
    if batch_needs_second(db, rows, limit):
        held = _propose(db, now, record, case, rows)
        state, note = PROPOSED, f"Waits for a second person: candor-node approvals approve {held}"
    batch_store.set_state(db, record.batch_id, state, note, now)
    details: dict[str, ledger.Value] = {
        "purpose": record.purpose.name,
        "shape": record.shape.name,
        "case_number": case,
        "officer": officer,
        "rows": rows,
    }
    ledger.append(db, now, "batch.started", {"batch_id": record.batch_id.hex()}, details)


def _propose(db: Database, now: datetime, record: BatchRecord, case: str, rows: int) -> ApprovalId:
    actor = users.acting_now(db, now, record.user)
    if actor is None:
        raise WrongRole("This user may not act any more.", remedy="Sign in as another user.")
    arguments = {
        BATCH: record.batch_id.hex(),
        "rows": str(rows),
        "purpose": record.purpose.name,
        "shape": record.shape.name,
        "case": case,
    }
    about = f"batch-{record.batch_id[:6].hex()}"
    return approvals.propose(db, now, Operation.LOOK_UP_SENSITIVE, actor, about, arguments, MANY)


def stop(db: Database, now: datetime, record: BatchRecord) -> int:
    """Ask about no further row; how many are left unasked. One that waits for a second person ends too."""
    left = batch_store.leave_out(db, record.batch_id, "not asked: the batch was stopped")
    if record.state == PROPOSED:
        batch_store.set_state(db, record.batch_id, RUNNING, "", now)
    if left:
        ledger.append(db, now, "batch.stopped", {"batch_id": record.batch_id.hex()}, {"rows": left})
    return left


def execute(db: Database, approval: Approval, now: datetime) -> None:
    """The executor of LOOK_UP_SENSITIVE: a lookup may be sent, or a batch begins."""
    if BATCH not in approval.arguments:
        allow(db, approval, now)
        return
    record = batch_store.find(db, bytes.fromhex(approval.arguments[BATCH]))
    if record is None or record.state != PROPOSED:
        raise WrongStanding("This batch does not wait any more.", remedy="Reject the proposal.")
    batch_store.set_state(db, record.batch_id, RUNNING, "", now)


def refused(db: Database, now: datetime, record: BatchRecord, rows: Sequence[WaitingRow]) -> dict[int, str]:
    """Rows that must not be asked about in this batch, and why. Raises WrongRole for all of them."""
    found: dict[int, str] = {}
    if users.registered(db):
        if record.user and users.acting_now(db, now, record.user) is None:
            raise WrongRole("The user of this batch may not act any more.", remedy="Stop the batch.")
        found = {row.number: _OFFICER for row in rows if not same_user(row.officer, record.user)}
    if subjects.any_marked(db):
        key = subjects.trace_key(db)
        for row in rows:
            if subjects.sensitive(db, subjects.subject(key, row.person)):
                found[row.number] = _ALONE
    return found


def note(db: Database, flight: Flight, asked: Mapping[int, WaitingRow]) -> None:
    """Keep the traces of the rows that a flight asks about."""
    if not asked:
        return
    key, record = subjects.trace_key(db), batch_store.find(db, flight.batch_id)
    user, at = record.user if record else "", flight.draft.lookup.issued_at
    for number, row in asked.items():
        about = subjects.subject(key, row.person)
        subjects.note(db, flight.searches[number], user or row.officer, about, at, flight.batch_id)
