"""What waits for a second person, and what became of it (RECORDS.md §7.3).

Rules of this file:
- a proposal holds everything that is to be done; whoever decides sees it, and what is done is that and
  nothing else. Deciding runs the operation's executor in the same transaction: both or neither;
- the world may have changed since: the executor checks again, and here it is checked again that who proposed
  still may, and that the second person is another one, with a role for it;
- reason and arguments are sealed, under the record's own key if the proposal is about a record: expunging it
  makes them unreadable too;
- a proposal is decided once. It ends after seven days; who proposed may withdraw it.
"""

from __future__ import annotations

import json
import secrets
from base64 import b32decode, b32encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from candor_node import ledger, users
from candor_node.record_seals import find_key, open_sealed, seal
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import (
    AlreadyExists,
    InputInvalid,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_records.roles import (
    RULES,
    Actor,
    Operation,
    Role,
    check_allowed,
    check_second,
    needs_second,
    same_user,
)

LIFE = timedelta(days=7)
MAX_REASON_CHARACTERS = 500


class State(Enum):
    """Where a proposal stands; only PENDING is followed by another one."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True)
class ApprovalId:
    """Names one proposal: 8 random octets, shown in base32."""

    value: bytes

    @classmethod
    def parse(cls, text: str) -> ApprovalId:
        """Raises InputInvalid for anything that is not the text of an id."""
        plain = text.strip().upper()
        try:
            found = cls(b32decode(plain + "==="))
        except (ValueError, UnicodeError):
            found = cls(b"")
        if len(found.value) != 8 or str(found) != plain:
            raise InputInvalid(
                "This is not the id of an approval.", remedy="`candor-node approvals list` shows the ids."
            )
        return found

    def __str__(self) -> str:
        return b32encode(self.value).decode().rstrip("=")


@dataclass(frozen=True)
class Approval:
    """One proposal. `about` is an id or a code, never a name."""

    approval_id: ApprovalId
    operation: Operation
    about: str
    arguments: Mapping[str, str] = field(repr=False)
    reason: str = field(repr=False)
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    state: State = State.PENDING
    decided_by: str = ""
    decided_at: datetime | None = None
    decision_reason: str = field(repr=False, default="")
    # False once the key of its record was destroyed: reason and arguments are gone.
    readable: bool = True


Executor = Callable[[Database, Approval, datetime], None]
Executors = Mapping[Operation, Executor]


# --- proposing -----------------------------------------------------------------------------------------


def propose(
    db: Database,
    now: datetime,
    operation: Operation,
    actor: Actor,
    about: str,
    arguments: Mapping[str, str],
    reason: str,
    record_key: bytes | None = None,
    *,
    once: bool = False,
) -> ApprovalId:
    """Put something before a second person; nothing is done yet. `once`: AlreadyExists while it waits there.

    `record_key` is the data key of the record it is about, as it stands in `record_keys`. Raises WrongRole or
    InputInvalid.
    """
    if not needs_second(operation):
        raise AssertionError(f"{operation.value} takes one person: do it instead of proposing it")
    check_allowed(actor, operation)
    _check_reason(reason)
    if once and (waiting := pending_about(db, now, operation, about)):
        raise AlreadyExists(
            f"This is proposed already: it waits for a second person as approval {waiting[0].approval_id}.",
            remedy="Ask somebody else to decide it: `candor-node approvals list`.",
        )
    approval_id, record_id = ApprovalId(secrets.token_bytes(8)), None
    if record_key is not None:
        record_id = db.execute("SELECT record_id FROM record_keys WHERE key = ?", [record_key]).fetchone()[0]
    content = json.dumps({"reason": reason.strip(), "arguments": dict(arguments)}, ensure_ascii=False)
    db.execute(
        "INSERT INTO approvals (approval_id, operation, about, record_id, sealed, proposed_by, proposed_at,"
        " expires_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            approval_id.value,
            operation.value,
            about,
            record_id,
            seal(record_key or _own_key(db), content.encode(), _associated(approval_id, "proposal")),
            actor.user,
            to_milliseconds(now),
            to_milliseconds(now + LIFE),
            State.PENDING.value,
        ],
    )
    _account(db, now, "approval.proposed", approval_id, operation, about, actor.user)
    return approval_id


def withdraw(db: Database, now: datetime, approval_id: ApprovalId, actor: Actor) -> Approval:
    """Take a proposal back; only who made it may. Raises UnknownObject, WrongRole or WrongStanding."""
    approval = _pending(db, now, approval_id)
    if not same_user(approval.proposed_by, actor.user):
        raise WrongRole(
            "Only who proposed it may withdraw it.", remedy="If you may decide it: reject it instead."
        )
    return _settle(db, now, approval, State.WITHDRAWN, actor.user, "")


# --- deciding ------------------------------------------------------------------------------------------


def note_attempt(db: Database, now: datetime, approval_id: ApprovalId, actor: Actor) -> None:
    """Account for somebody who tries to decide what they may not; in a transaction of its own, before."""
    approval = find(db, approval_id)
    try:
        check_second(approval.proposed_by, actor, approval.operation)
    except WrongRole:
        event = "approval.self_attempt" if same_user(approval.proposed_by, actor.user) else "approval.refused"
        _account(db, now, event, approval_id, approval.operation, approval.about, actor.user)


def decide(
    db: Database,
    now: datetime,
    approval_id: ApprovalId,
    actor: Actor,
    approve: bool,
    reason: str,
    executors: Executors,
) -> Approval:
    """Approve or reject; approving does it, in this very transaction.

    Raises UnknownObject, WrongRole, WrongStanding when it is not pending any more, and whatever the executor
    raises because the thing has changed: then it stays pending.
    """
    approval = _pending(db, now, approval_id)
    check_second(approval.proposed_by, actor, approval.operation)
    if not approve:
        _check_reason(reason)
        return _settle(db, now, approval, State.REJECTED, actor.user, reason)
    if not approval.readable:
        raise WrongStanding(
            "The record this was about was expunged; nothing is left to approve.", remedy="Reject it."
        )
    proposer = users.acting_now(db, now, approval.proposed_by)
    if proposer is None:
        raise WrongRole(
            "Who proposed this may not act any more.", remedy="Reject it; somebody else may propose it anew."
        )
    check_allowed(proposer, approval.operation)
    decided = _settle(db, now, approval, State.APPROVED, actor.user, reason)
    executors[approval.operation](db, decided, now)
    return decided


def expire(db: Database, now: datetime) -> int:
    """End what nobody decided in time; how many."""
    rows = db.execute(
        "SELECT approval_id FROM approvals WHERE state = ? AND expires_at <= ?",
        [State.PENDING.value, to_milliseconds(now)],
    ).fetchall()
    for (value,) in rows:
        _settle(db, now, find(db, ApprovalId(value)), State.EXPIRED, "", "")
    return len(rows)


# --- reading -------------------------------------------------------------------------------------------

_COLUMNS = (
    "approval_id, operation, about, record_id, sealed, proposed_by, proposed_at, expires_at, state,"
    " decided_by, decided_at, decision"
)


def find(db: Database, approval_id: ApprovalId) -> Approval:
    """Raises UnknownObject."""
    sql = f"SELECT {_COLUMNS} FROM approvals WHERE approval_id = ?"  # noqa: S608
    row = db.execute(sql, [approval_id.value]).fetchone()
    if row is None:
        raise UnknownObject(
            "There is no such approval.", remedy="`candor-node approvals list` shows those of this node."
        )
    return _read(db, row)


def look(db: Database, now: datetime, approval_id: ApprovalId, actor: Actor) -> Approval:
    """A proposal with its reason and arguments, and an account of who looked.

    Raises WrongRole for whoever neither made it, nor may decide it, nor audits: it may name a person.
    """
    approval = find(db, approval_id)
    allowed = (RULES[approval.operation].second or frozenset()) | {Role.AUDITOR}
    if not (actor.roles & allowed or same_user(actor.user, approval.proposed_by)):
        raise WrongRole("Only who proposed it, may decide it or audits sees what it holds.")
    _account(db, now, "approval.viewed", approval_id, approval.operation, approval.about, actor.user)
    return approval


def list_approvals(db: Database, *, pending: bool = False) -> list[Approval]:
    """The last 500, newest first; only those that wait, if `pending`."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM approvals WHERE ? = '' OR state = ?"  # noqa: S608
        " ORDER BY proposed_at DESC, approval_id LIMIT 500",
        [State.PENDING.value if pending else ""] * 2,
    ).fetchall()
    return [_read(db, row) for row in rows]


def pending_about(db: Database, now: datetime, operation: Operation, about: str) -> list[Approval]:
    """What waits for a second person about one thing, however much else waits, oldest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM approvals WHERE state = ? AND operation = ? AND about = ?"  # noqa: S608
        " AND expires_at > ? ORDER BY proposed_at, approval_id",
        [State.PENDING.value, operation.value, about, to_milliseconds(now)],
    ).fetchall()
    return [_read(db, row) for row in rows]


def during(db: Database, since: datetime, until: datetime) -> list[Approval]:
    """All that was proposed or decided between two moments, oldest first.

    Without a limit: nobody hides one proposal behind many, nor a decision behind the week it was proposed in.
    """
    moments = [to_milliseconds(since), to_milliseconds(until)]
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM approvals WHERE (proposed_at >= ? AND proposed_at < ?)"  # noqa: S608
        " OR (decided_at >= ? AND decided_at < ?) ORDER BY proposed_at, approval_id",
        [*moments, *moments],
    ).fetchall()
    return [_read(db, row) for row in rows]


def _read(db: Database, row: tuple[object, ...]) -> Approval:
    value, operation, about, record_id, sealed, by, at, ends, state, decided_by, decided_at, decision = row
    approval_id = ApprovalId(_octets(value))
    key = _key(db, record_id)
    content: dict[str, Any] = {"reason": "", "arguments": {}}
    if key is not None:
        content = json.loads(_open(key, approval_id, "proposal", _octets(sealed)))
    told = "" if key is None or decision is None else _open(key, approval_id, "decision", _octets(decision))
    return Approval(
        approval_id,
        Operation(operation),
        str(about),
        content["arguments"],
        content["reason"],
        str(by),
        _moment(at),
        _moment(ends),
        State(state),
        str(decided_by),
        None if decided_at is None else _moment(decided_at),
        told,
        key is not None,
    )


def _pending(db: Database, now: datetime, approval_id: ApprovalId) -> Approval:
    approval = find(db, approval_id)
    state = approval.state
    if state is State.PENDING and now >= approval.expires_at:
        state = State.EXPIRED
    if state is not State.PENDING:
        raise WrongStanding(
            f"This proposal is {state.value} already; it cannot be decided again.",
            remedy="If it is still wanted, it has to be proposed anew.",
        )
    return approval


def _settle(db: Database, now: datetime, approval: Approval, state: State, by: str, reason: str) -> Approval:
    value = approval.approval_id.value
    row = db.execute("SELECT record_id FROM approvals WHERE approval_id = ?", [value]).fetchone()
    key, sealed = _key(db, row[0]), None
    if key is not None and reason.strip():
        sealed = seal(key, reason.strip().encode(), _associated(approval.approval_id, "decision"))
    db.execute(
        "UPDATE approvals SET state = ?, decided_by = ?, decided_at = ?, decision = ? WHERE approval_id = ?",
        [state.value, by, to_milliseconds(now), sealed, value],
    )
    event = f"approval.{state.value.lower()}"
    _account(db, now, event, approval.approval_id, approval.operation, approval.about, by)
    return replace(approval, state=state, decided_by=by, decided_at=now, decision_reason=reason.strip())


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS:
        raise InputInvalid(
            f"This needs a reason of at most {MAX_REASON_CHARACTERS} characters.",
            remedy="Give it with --reason.",
        )


def _account(
    db: Database,
    now: datetime,
    event: str,
    approval_id: ApprovalId,
    operation: Operation,
    about: str,
    by: str,
) -> None:
    refs = {"approval_id": str(approval_id), "operation": operation.value, "about": about}
    ledger.append(db, now, event, refs, {"by": by} if by else {})


# --- sealing -------------------------------------------------------------------------------------------


def _own_key(db: Database) -> bytes:
    row = db.execute("SELECT value FROM node_secrets WHERE name = 'approvals'").fetchone()
    return bytes(row[0])


def _key(db: Database, record_id: object) -> bytes | None:
    """What a proposal is sealed under; None once the record it is about was destroyed."""
    if record_id is None:
        return _own_key(db)
    return find_key(db, _octets(record_id))


def _associated(approval_id: ApprovalId, part: str) -> bytes:
    return b"approval" + approval_id.value + part.encode()


def _open(key: bytes, approval_id: ApprovalId, part: str, sealed: bytes) -> str:
    what = f"The approval {approval_id}"
    return open_sealed(key, sealed, _associated(approval_id, part), what).decode()


def _moment(value: object) -> datetime:
    assert isinstance(value, int)
    return from_milliseconds(value)


def _octets(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
