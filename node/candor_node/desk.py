"""What people at the records desk ask for: acts on a record by its name, and what waits for a second person.

Rules of this file:
- a request names a record by the control number of any version, or by the agency's own id, which is never
  repeated in an error: it may name a case;
- what takes two is checked now, proposed, and done by the executor when the second person agrees: only if the
  record has not been changed in between;
- a person's mistake is told with what may be done instead (`candor_records.life` has the words).

Everything runs inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum
from typing import TypeVar

from candor_node import approvals, filings, history, lifecycle, record_seals, retention
from candor_node.approvals import Approval, ApprovalId, Executor
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.store import Database
from candor_proto.errors import AlreadyExists, InputInvalid, UnknownObject, WrongRole, WrongStanding
from candor_proto.ids import NodeId, Ori
from candor_proto.policy import Sharing
from candor_proto.record import Tier
from candor_proto.signing import SigningKey
from candor_records.codes import AppealOutcome
from candor_records.content import CONTENT_FIELDS, ContentInvalid, FieldInvalid
from candor_records.gate import gate_day
from candor_records.kinds import FIELDS
from candor_records.life import Act, Overturning, check_act
from candor_records.policy import Policy
from candor_records.record_fields import amended, parse
from candor_records.records import Dcn, Record, Standing
from candor_records.roles import Actor, Operation, same_user

E = TypeVar("E", bound=Enum)

_SEPARATOR = ","


@dataclass(frozen=True)
class Named:
    """How somebody names a record: a control number, or the agency's own id with the agency it is of."""

    name: str = field(repr=False)
    ori: Ori | None = None


def record_of(db: Database, named: Named) -> tuple[bytes, Dcn]:
    """Which record is meant, destroyed or not, by which number. Raises InputInvalid, UnknownObject."""
    if named.ori is None:
        dcn = Dcn.parse(named.name)
        return filings.record_id_of(db, dcn), dcn
    known = filings.current_filing(db, named.ori, named.name.strip())
    if known is None:
        raise UnknownObject(
            "This agency has no record under this id.",
            remedy="Search by name with `candor-node records search`, or name its DCN without --id.",
        )
    return filings.record_id_of(db, known.dcn), known.dcn


def find(db: Database, named: Named) -> Record:
    """The current version; raises InputInvalid or UnknownObject."""
    return filings.find_current(db, record_of(db, named)[0])


# --- acts of one person ----------------------------------------------------------------------------------


def file(
    db: Database, fields: Mapping[str, str], ori: Ori, node: NodeId, doing: Doing, *, draft: bool = False
) -> LifeEvent:
    """File a first report from fields by name. Raises FieldInvalid, ContentInvalid or AlreadyExists."""
    if unknown := [name for name in fields if name not in CONTENT_FIELDS and name not in FIELDS]:
        raise FieldInvalid(unknown[0][:40], "a record has no such field")
    row = {**dict.fromkeys(CONTENT_FIELDS, ""), **fields}
    content, faults = parse(row, settlements=doing.policy.settlements_allowed)
    if content is None:
        raise ContentInvalid(faults)
    known = filings.current_filing(db, ori, content.agency_record_id)
    if known is not None:
        gone = known.standing is Standing.EXPUNGED
        raise AlreadyExists(
            "This agency's record of this id was destroyed."
            if gone
            else "This agency has a record of this id.",
            remedy="A new matter needs a new id."
            if gone
            else f"Correct it with `candor-node records correct {known.dcn}`, or use another id.",
        )
    return lifecycle.file(db, content, ori, node, doing, reviewed=not draft)


def review(db: Database, record: Record, doing: Doing) -> LifeEvent:
    """The second look at a draft, by somebody who filed no version of it. Raises WrongRole, WrongStanding."""
    check_act(record, Act.REVIEW)
    filed = [version.contributor for version in filings.versions(db, record.record_id)]
    if any(same_user(contributor, doing.by) for contributor in filed):
        raise WrongRole(
            "Nobody reviews what they filed themselves.", remedy="Ask somebody else to review it."
        )
    reviewed = replace(record.circumstances, reviewed=True)
    return lifecycle.change(db, record.dcn, Act.REVIEW, doing, reviewed)


def act(
    db: Database,
    record: Record,
    what: Act,
    doing: Doing,
    fields: Mapping[str, str],
    how: str,
    until: date | None,
) -> LifeEvent | None:
    """An act that one person does; None when nothing differs. Raises InputInvalid or WrongStanding."""
    now, dcn = record.circumstances, record.dcn
    match what:
        case Act.CORRECT:
            return lifecycle.correct(db, dcn, amended(record.content, _given(fields)), doing)
        case Act.REVISE:
            return lifecycle.revise(db, dcn, amended(record.content, _given(fields)), doing)
        case Act.NOTICE_APPEAL:
            return lifecycle.notice_of_appeal(db, dcn, fields, doing)
        case Act.DECIDE_APPEAL:
            outcome = _code(AppealOutcome, how, "how an appeal is decided")
            facts = {"appeal_outcome": outcome.name, **fields}
            return lifecycle.decide_appeal(db, dcn, outcome, facts, doing)
        case Act.OVERTURN:
            return lifecycle.overturn(
                db, dcn, _code(Overturning, how, "what takes a decision away"), fields, doing
            )
        case Act.KEEP:
            check_act(record, Act.KEEP)
            today = gate_day(doing.now)
            if until is not None and until <= today:
                raise InputInvalid("The next review lies in the past.", remedy="Give a later day.")
            review_on = until or doing.policy.retention(record.content, today).review_on
            return lifecycle.change(db, dcn, what, doing, replace(now, review_on=review_on))
        case Act.SEAL | Act.UNSEAL:
            _needs(doing.reason, "the order", "--order")
            sealed = replace(now, sealed_by_order=what is Act.SEAL)
            return lifecycle.change(db, dcn, what, doing, sealed)
        case Act.HOLD | Act.LIFT_HOLD:
            _needs(doing.reason, "a reason", "--reason")
            return lifecycle.change(db, dcn, what, doing, replace(now, legal_hold=what is Act.HOLD))
    raise InputInvalid(
        "This is not done with one call.", remedy="`candor-node records --help` lists what may be done."
    )


def _given(fields: Mapping[str, str]) -> Mapping[str, str]:
    if not fields:
        raise InputInvalid("Nothing was given that changes.", remedy="Give fields with --set field=value.")
    if "sharing" in fields:
        raise InputInvalid(
            "The sharing choice is no fact, so it is not corrected.",
            remedy="Change it with `candor-node records sharing`.",
        )
    return fields


def _needs(reason: str, what: str, option: str) -> None:
    if not reason.strip():
        raise InputInvalid(f"This needs {what}, for the history.", remedy=f"Give it with {option}.")


def _code(codes: type[E], text: str, what: str) -> E:
    try:
        return codes[text.strip().upper()]
    except KeyError:
        names = ", ".join(codes.__members__)
        raise InputInvalid(f"There is no such code for {what}.", remedy=f"Say one of {names}.") from None


# --- what takes two ---------------------------------------------------------------------------------------


def share(
    db: Database, record: Record, sharing: Sharing, actor: Actor, doing: Doing
) -> LifeEvent | ApprovalId:
    """Change who may have the record; opening what is RED waits for a second person.

    Raises WrongStanding or InputInvalid.
    """
    check_act(record, Act.CHANGE_SHARING)
    if sharing is record.sharing:
        raise WrongStanding(f"The record {record.dcn} is {sharing.name} already.", remedy="Nothing is to do.")
    if sharing is Sharing.GREEN and record.tier is Tier.ADVISORY:
        raise InputInvalid(
            "An advisory record makes no finding: it is never GREEN.",
            remedy="Mark it YELLOW, so that a person decides about each release.",
        )
    if record.sharing is Sharing.RED:
        return _propose(db, Operation.OPEN_SHARING, record, actor, doing, {"sharing": sharing.name})
    return _share(db, record, sharing, doing)


def _share(db: Database, record: Record, sharing: Sharing, doing: Doing) -> LifeEvent:
    changed = replace(record.circumstances, sharing=sharing)
    return lifecycle.change(db, record.dcn, Act.CHANGE_SHARING, doing, changed)


def void(db: Database, record: Record, actor: Actor, doing: Doing) -> ApprovalId:
    """Propose to withdraw a report for good. Raises WrongStanding or InputInvalid."""
    check_act(record, Act.VOID)
    return _propose(db, Operation.VOID_RECORD, record, actor, doing, {})


def expunge(db: Database, record: Record, actor: Actor, doing: Doing) -> ApprovalId:
    """Propose to destroy a record under an order. Raises WrongStanding or InputInvalid."""
    check_act(record, Act.EXPUNGE)
    return _propose(db, Operation.EXPUNGE_RECORD, record, actor, doing, {})


def destroy(db: Database, records: Iterable[Dcn], actor: Actor, reason: str, now: datetime) -> ApprovalId:
    """Propose a run of retention over exactly these records. Raises InputInvalid."""
    numbers = _SEPARATOR.join(map(str, records))
    if not numbers:
        raise InputInvalid(
            "Nothing has come to the end of its time: there is nothing to destroy.",
            remedy="`candor-node records retention due` says what will, and when.",
        )
    return approvals.propose(
        db, now, Operation.DESTROY_RECORDS, actor, "retention", {"dcns": numbers}, reason
    )


def _propose(
    db: Database,
    operation: Operation,
    record: Record,
    actor: Actor,
    doing: Doing,
    arguments: Mapping[str, str],
) -> ApprovalId:
    key = record_seals.key_of(db, record.record_id)
    told = {"dcn": str(record.dcn), **arguments}
    return approvals.propose(db, doing.now, operation, actor, str(record.dcn), told, doing.reason, key)


# --- once the second person agrees ------------------------------------------------------------------------


def executors(
    node: NodeId, key: SigningKey, policy: Callable[[Database], Policy]
) -> Mapping[Operation, Executor]:
    """What is done when a proposal of this desk is approved, in the transaction of the approval."""

    def doing(db: Database, approval: Approval, now: datetime) -> Doing:
        return Doing(now, approval.proposed_by, policy(db), approval.reason, approval.decided_by)

    def void_it(db: Database, approval: Approval, now: datetime) -> None:
        lifecycle.void(db, _unchanged(db, approval).dcn, doing(db, approval, now))

    def expunge_it(db: Database, approval: Approval, now: datetime) -> None:
        lifecycle.expunge(db, _unchanged(db, approval).dcn, doing(db, approval, now))

    def share_it(db: Database, approval: Approval, now: datetime) -> None:
        record, sharing = _unchanged(db, approval), Sharing[approval.arguments["sharing"]]
        _check_quiet(db, record, approval)
        _share(db, record, sharing, doing(db, approval, now))

    def destroy_them(db: Database, approval: Approval, now: datetime) -> None:
        approved = tuple(map(Dcn, approval.arguments["dcns"].split(_SEPARATOR)))
        retention.run(db, approved, node, key, doing(db, approval, now))

    return {
        Operation.VOID_RECORD: void_it,
        Operation.EXPUNGE_RECORD: expunge_it,
        Operation.OPEN_SHARING: share_it,
        Operation.DESTROY_RECORDS: destroy_them,
    }


def _check_quiet(db: Database, record: Record, approval: Approval) -> None:
    """Raises WrongStanding when anything happened to the record since: whoever opens it has not seen that."""
    since = [each for each in history.events(db, record.record_id) if each.at > approval.proposed_at]
    if any(each.act is not Act.NOTIFY_SUBJECT for each in since):
        raise WrongStanding(
            "Something happened to the record since this was proposed, a dispute or an order for example.",
            remedy="Reject this, look at the record and its history, and propose it anew.",
        )


def _unchanged(db: Database, approval: Approval) -> Record:
    """The record as it was proposed; raises WrongStanding when a version was filed since."""
    record = lifecycle.current(db, Dcn(approval.arguments["dcn"]))
    if str(record.dcn) != approval.arguments["dcn"]:
        raise WrongStanding(
            f"A version was filed since this was proposed: the record is {record.dcn} now.",
            remedy="Reject this, look at the record as it is, and propose it anew.",
        )
    return record
