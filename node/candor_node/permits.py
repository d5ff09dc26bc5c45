"""Lookups that take a second person: about sensitive subjects, and of many people in an hour.

Rules of this file:
- such a lookup is not sent but proposed (LOOK_UP_SENSITIVE); once a second person has approved it, it is sent
  as it was proposed, once, and not later than a day after;
- it is checked when it is asked, and again in the transaction that stores it: no search is stored without
  its traces, none that needs a permit without using one up;
- the limit of an hour counts distinct people of single lookups by users who have signed in. Rows of a batch
  do not count: a batch of more rows than the limit waits for a second person as a whole
  (`batch_guard`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from candor_node import approvals, ledger, subjects, users
from candor_node.approvals import Approval, ApprovalId
from candor_node.asking import Question
from candor_node.store import Database
from candor_node.subjects import Subject
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import PurposeRefused, WrongRole
from candor_proto.ids import LookupId, LookupShape, Purpose
from candor_proto.normalise import Particulars
from candor_records.roles import Operation

LIFE = timedelta(days=1)
SENSITIVE = "This person is marked as sensitive here."
MANY = "These are many different people for one hour."


@dataclass(frozen=True)
class Permit:
    """A lookup that a second person has allowed and that was not sent yet."""

    approval_id: ApprovalId
    question: Question


def user_of(question: Question) -> str:
    """Who asks: the user, or whom an open node was given as the officer in charge."""
    return question.user or question.officer


def why_second(db: Database, now: datetime, question: Question, about: Subject, limit: int) -> str:
    """Why this lookup takes a second person, or "". `limit` is how many people in an hour do not."""
    if subjects.sensitive(db, about):
        return SENSITIVE
    user = user_of(question)
    if users.registered(db) and subjects.subjects_in_last_hour(db, user, now, about.person) >= limit:
        return MANY
    return ""


def hold(
    db: Database, now: datetime, question: Question, limit: int, permit: ApprovalId | None
) -> ApprovalId | None:
    """Put a lookup that takes a second person before one; None when it may be sent.

    The same lookup asked again is the same proposal while that waits. Raises WrongRole.
    """
    about = subjects.subject(subjects.trace_key(db), question.particulars)
    why = why_second(db, now, question, about, limit)
    if not why or (permit is not None and _usable(db, now, permit)):
        return None
    user = user_of(question)
    actor = users.acting_now(db, now, user)
    if actor is None:
        raise WrongRole("This user may not act any more.", remedy="Sign in as another user.")
    named, arguments = f"subject-{about.person[:4].hex()}", _write(question)
    for known in approvals.pending_about(db, now, Operation.LOOK_UP_SENSITIVE, named):
        if (known.proposed_by, known.arguments) == (user, arguments):
            return known.approval_id
    return approvals.propose(db, now, Operation.LOOK_UP_SENSITIVE, actor, named, arguments, why)


def begin(
    db: Database,
    now: datetime,
    question: Question,
    search_id: LookupId,
    limit: int,
    permit: ApprovalId | None,
) -> None:
    """Keep the traces of a search that is being stored, and use its permit up. Raises PurposeRefused."""
    about = subjects.subject(subjects.trace_key(db), question.particulars)
    if permit is not None:
        if not _usable(db, now, permit):
            raise PurposeRefused("This lookup was sent already, or its permit has ended.", remedy="Ask anew.")
        sql = "UPDATE lookup_permits SET search_id = ?, trouble = '' WHERE approval_id = ?"
        db.execute(sql, [search_id.value, permit.value])
        refs = {"approval_id": str(permit), "search_id": str(search_id)}
        ledger.append(db, now, "lookup.permit_used", refs)
    elif why_second(db, now, question, about, limit):
        raise PurposeRefused("This lookup takes a second person by now.", remedy="Ask again.")
    subjects.note(db, search_id, user_of(question), about, now)


def allow(db: Database, approval: Approval, now: datetime) -> None:
    """The executor of LOOK_UP_SENSITIVE: the lookup may be sent, once."""
    db.execute(
        "INSERT INTO lookup_permits (approval_id, expires_at) VALUES (?, ?)",
        [approval.approval_id.value, to_milliseconds(now + LIFE)],
    )


def unsent(db: Database, now: datetime) -> list[Permit]:
    """What was allowed and not sent; nothing of a user who may not act any more, nor what was refused."""
    rows = db.execute(
        "SELECT approval_id FROM lookup_permits WHERE search_id IS NULL AND trouble = '' AND expires_at > ?",
        [to_milliseconds(now)],
    ).fetchall()
    found = [approvals.find(db, ApprovalId(value)) for (value,) in rows]
    return [
        Permit(approval.approval_id, _read(approval))
        for approval in found
        if users.acting_now(db, now, approval.proposed_by) is not None
    ]


def note_trouble(db: Database, approval_id: ApprovalId, trouble: str) -> None:
    """An allowed lookup was refused for good; `approvals show` says why."""
    sql = "UPDATE lookup_permits SET trouble = ? WHERE approval_id = ?"
    db.execute(sql, [trouble, approval_id.value])


def outcome(db: Database, approval_id: ApprovalId) -> tuple[LookupId | None, str]:
    """The search that an allowed lookup became, and what kept it from being sent."""
    sql = "SELECT search_id, trouble FROM lookup_permits WHERE approval_id = ?"
    row = db.execute(sql, [approval_id.value]).fetchone()
    if row is None:
        return None, ""
    return (None if row[0] is None else LookupId(row[0])), row[1]


def batch_needs_second(db: Database, rows: int, limit: int) -> bool:
    """Whether a batch of so many rows waits for a second person: not at an open node."""
    return rows > limit and users.registered(db)


def _usable(db: Database, now: datetime, permit: ApprovalId) -> bool:
    sql = "SELECT 1 FROM lookup_permits WHERE approval_id = ? AND search_id IS NULL AND expires_at > ?"
    return db.execute(sql, [permit.value, to_milliseconds(now)]).fetchone() is not None


def _write(question: Question) -> dict[str, str]:
    person = {f"person.{name}": value for name, value in asdict(question.particulars).items() if value}
    return {
        **person,
        "purpose": question.purpose.name,
        "shape": question.shape.name,
        "case": question.case,
        "consent": question.consent,
        "officer": question.officer,
        "user": user_of(question),
    }


def _read(approval: Approval) -> Question:
    stored = approval.arguments
    person = {
        name.removeprefix("person."): value for name, value in stored.items() if name.startswith("person.")
    }
    return Question(
        Particulars(**person),
        Purpose[stored["purpose"]],
        LookupShape[stored["shape"]],
        stored["case"],
        stored["consent"],
        stored["officer"],
        stored["user"],
    )
