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
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TypeVar

from candor_node import approvals, filing_lists, filings, history, lifecycle, record_seals, retention
from candor_node.approvals import Approval, ApprovalId, Executor
from candor_node.filing_lists import Cursor
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.store import Database
from candor_proto.errors import AlreadyExists, InputInvalid, UnknownObject, WrongRole, WrongStanding
from candor_proto.ids import NodeId, Ori
from candor_proto.policy import Sharing
from candor_proto.record import Tier
from candor_proto.signing import SigningKey
from candor_records.codes import AppealOutcome
from candor_records.content import CONTENT_FIELDS, Content, ContentInvalid
from candor_records.gate import gate_day
from candor_records.kinds import FIELDS
from candor_records.life import Act, Overturning, check_act
from candor_records.policy import Policy
from candor_records.record_fields import amended, parse, unknown_field
from candor_records.records import Dcn, Record, Standing
from candor_records.roles import Actor, Operation, same_user

E = TypeVar("E", bound=Enum)

_SEPARATOR = ","
# Somewhere on earth it is a day later than in Greenwich.
_A_DAY = timedelta(days=1)
# Each is opened and sealed again: the writer is not to be held for longer than a moment.
REVIEWED_AT_ONCE = 200


@dataclass(frozen=True)
class Named:
    """How somebody names a record: a control number, or the agency's own id with the agency it is of."""

    name: str = field(repr=False)
    ori: Ori | None = None


def record_of(db: Database, named: Named) -> tuple[bytes, Dcn]:
    """Which record is meant, destroyed or not, by which number. Raises InputInvalid, UnknownObject."""
    if named.ori is None:
        dcn = _number(named.name)
        return filings.record_id_of(db, dcn), dcn
    known = filings.current_filing(db, named.ori, named.name.strip())
    if known is None:
        raise UnknownObject(
            "This agency has no record under this id.",
            remedy="Search by name with `candor-node records search`, or name its DCN without --id.",
        )
    return filings.record_id_of(db, known.dcn), known.dcn


def _number(name: str) -> Dcn:
    try:
        return Dcn.parse(name)
    except InputInvalid as error:
        raise InputInvalid(
            error.message, remedy=f"{error.remedy} An agency's own id is named with --id."
        ) from None


def find(db: Database, named: Named) -> Record:
    """The current version; raises InputInvalid or UnknownObject."""
    return filings.find_current(db, record_of(db, named)[0])


# --- acts of one person ----------------------------------------------------------------------------------


def file(
    db: Database, fields: Mapping[str, str], ori: Ori, node: NodeId, doing: Doing, *, draft: bool = False
) -> LifeEvent:
    """File a first report from fields by name. Raises FieldInvalid, ContentInvalid or AlreadyExists."""
    if unknown := [name for name in fields if name not in CONTENT_FIELDS and name not in FIELDS]:
        raise unknown_field(unknown[0])
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
        raise _own_filing()
    reviewed = replace(record.circumstances, reviewed=True)
    return lifecycle.change(db, record.dcn, Act.REVIEW, doing, reviewed)


def _own_filing() -> WrongRole:
    return WrongRole("Nobody reviews what they filed themselves.", remedy="Ask somebody else to review it.")


@dataclass(frozen=True)
class Reviewed:
    """Drafts that were reviewed; those that are left to another person; where the next piece begins."""

    events: tuple[LifeEvent, ...]
    left: tuple[Dcn, ...] = ()
    following: Cursor | None = None


def review_all(db: Database, contributor: str, after: Cursor | None, doing: Doing) -> Reviewed:
    """The second look at some of the drafts that `contributor` filed, those behind `after`.

    A piece at a time, for an import may have filed thousands. Raises WrongRole.
    """
    if same_user(contributor, doing.by):
        raise _own_filing()
    found = filing_lists.drafts_of(db, contributor, after, REVIEWED_AT_ONCE)
    events, left = list[LifeEvent](), list[Dcn]()
    for dcn, _ in found:
        try:
            events.append(review(db, lifecycle.current(db, dcn), doing))
        except WrongRole:
            left.append(dcn)
    return Reviewed(tuple(events), tuple(left), found[-1][1] if len(found) == REVIEWED_AT_ONCE else None)


def act(
    db: Database,
    record: Record,
    what: Act,
    doing: Doing,
    fields: Mapping[str, str],
    how: str,
    until: date | None,
    on: date | None = None,
) -> LifeEvent | None:
    """An act that one person does; None when nothing differs. Raises InputInvalid or WrongStanding.

    `until` belongs to KEEP, `on` to OVERTURN.
    """
    now, dcn = record.circumstances, record.dcn
    match what:
        case Act.CORRECT:
            return lifecycle.correct(db, dcn, _amended(record, fields, doing), doing)
        case Act.REVISE:
            return lifecycle.revise(db, dcn, _amended(record, fields, doing), doing)
        case Act.NOTICE_APPEAL:
            return lifecycle.notice_of_appeal(db, dcn, _facts(fields), doing)
        case Act.DECIDE_APPEAL:
            outcome = _code(AppealOutcome, how, "how an appeal is decided")
            facts = {**_facts(fields), "appeal_outcome": outcome.name}
            return lifecycle.decide_appeal(db, dcn, outcome, facts, doing)
        case Act.OVERTURN:
            overturning = _code(Overturning, how, "what takes a decision away")
            later = _decided_on(record, on, doing)
            return lifecycle.overturn(db, dcn, overturning, _facts(fields), later)
        case Act.KEEP:
            check_act(record, Act.KEEP)
            today = gate_day(doing.now)
            if until is not None and until <= today:
                raise InputInvalid("The next review lies in the past.", remedy="Give a later day.")
            review_on = until or doing.policy.retention(record.content, today).review_on
            if review_on is not None and review_on <= today:
                raise InputInvalid(
                    "By the rule the day of the review has come already: it would be due again at once.",
                    remedy="Give the day of the next review with --until.",
                )
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


def _amended(record: Record, fields: Mapping[str, str], doing: Doing) -> Content:
    """What the record says with these fields. Raises InputInvalid."""
    if not fields:
        raise InputInvalid("Nothing was given that changes.", remedy="Give fields with --set field=value.")
    # Asked first: every field of the other kind would be wrong as well.
    if fields.get("record_kind", record.kind.name) != record.kind.name:
        raise lifecycle.kind_stays()
    return amended(record.content, _facts(fields), settlements=doing.policy.settlements_allowed)


def _facts(fields: Mapping[str, str]) -> Mapping[str, str]:
    if "sharing" in fields:
        raise InputInvalid(
            "The sharing choice is no fact, so it is not corrected.",
            remedy="Change it with `candor-node records sharing`.",
        )
    return fields


def _decided_on(record: Record, on: date | None, doing: Doing) -> Doing:
    """`doing` with the day of a later decision in its reason. Raises InputInvalid for an impossible one."""
    if on is None:
        return doing
    decided = record.content.due_process.decided_on
    if on > doing.now.date() + _A_DAY or (isinstance(decided, date) and on < decided):
        raise InputInvalid(
            "The decision that takes this one away lies before it, or has not been made yet.",
            remedy="Give the day on which that was decided with --on.",
        )
    return replace(doing, reason=f"Decided on {on}. {doing.reason}".strip())


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
    about = str(record.dcn)
    # How it is to be opened may be thought over; withdrawing and destroying are proposed once.
    once = operation is not Operation.OPEN_SHARING
    return approvals.propose(db, doing.now, operation, actor, about, told, doing.reason, key, once=once)


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
        record = _unchanged(db, approval)
        check_act(record, Act.CHANGE_SHARING)
        if record.sharing is not Sharing.RED:
            raise WrongStanding(
                f"The record is {record.sharing.name} by now: what was proposed is not what would be done.",
                remedy="Reject this; if the sharing shall change again, propose that.",
            )
        _check_quiet(db, record, approval)
        _share(db, record, Sharing[approval.arguments["sharing"]], doing(db, approval, now))

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
