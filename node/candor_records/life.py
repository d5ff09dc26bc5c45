"""The life of a record: what may happen to it, and when (RECORDS.md §4.1).

    DRAFT -> HELD <-> ACTIVE -> VOID / EXPIRED / EXPUNGED

Rules of this file:
- one table says which act is possible in which standing; everything else raises WrongStanding;
- VOID, EXPIRED and EXPUNGED have no way back: a mistaken void is a new INITIAL;
- HELD and ACTIVE are not chosen by anybody: they are what the gate says.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from candor_proto.errors import WrongStanding
from candor_proto.record import RecordKind, Tier
from candor_records.codes import AdjudicationStatus, Finality
from candor_records.content import Content, content_fields
from candor_records.records import Record, ReportType, Standing


class Act(Enum):
    """Everything that may happen to a record; each is one entry of its history."""

    FILE = "filed"
    REVIEW = "reviewed"
    CORRECT = "corrected"
    REVISE = "revised"
    PROMOTE = "sustained"
    NOTICE_APPEAL = "appealed"
    DECIDE_APPEAL = "appeal decided"
    OVERTURN = "overturned"
    SEAL = "sealed by order"
    UNSEAL = "unsealed by order"
    HOLD = "put under legal hold"
    LIFT_HOLD = "released from legal hold"
    CHANGE_SHARING = "sharing changed"
    KEEP = "kept after review"
    NOTIFY_SUBJECT = "subject notified"
    STATEMENT = "statement entered"
    DISPUTE = "disputed"
    ANSWER_DISPUTE = "dispute answered"
    REFER_DISPUTE = "dispute referred"
    RESOLVE_DISPUTE = "dispute resolved"
    VOID = "voided"
    EXPIRE = "expired"
    EXPUNGE = "expunged"
    DESTROY = "destroyed"


class Overturning(Enum):
    """What takes a decision away (RECORDS.md §3.4, last column)."""

    REVERSED = "REVERSED"
    REINSTATED = "REINSTATED"
    VACATED = "VACATED"
    PARDONED = "PARDONED"
    PURGED = "PURGED"

    @property
    def status(self) -> AdjudicationStatus:
        """What the record says of its decision then."""
        gone = (Overturning.REVERSED, Overturning.REINSTATED)
        return AdjudicationStatus.REVERSED if self in gone else AdjudicationStatus.VACATED


LIVE = frozenset({Standing.DRAFT, Standing.HELD, Standing.ACTIVE})
_KEPT = LIVE | {Standing.EXPIRED, Standing.VOID}

POSSIBLE: Mapping[Act, frozenset[Standing]] = {
    Act.FILE: frozenset(),
    Act.REVIEW: frozenset({Standing.DRAFT}),
    **dict.fromkeys(
        (
            Act.CORRECT, Act.REVISE, Act.PROMOTE, Act.NOTICE_APPEAL, Act.DECIDE_APPEAL, Act.OVERTURN,
            Act.SEAL, Act.UNSEAL, Act.CHANGE_SHARING, Act.KEEP, Act.DISPUTE, Act.ANSWER_DISPUTE,
            Act.REFER_DISPUTE, Act.RESOLVE_DISPUTE, Act.VOID, Act.EXPIRE,
        ),
        LIVE,
    ),
    # The subject may speak for as long as anybody could read them.
    Act.STATEMENT: LIVE | {Standing.EXPIRED},
    Act.HOLD: _KEPT,
    Act.LIFT_HOLD: _KEPT,
    Act.NOTIFY_SUBJECT: _KEPT,
    Act.EXPUNGE: _KEPT,
    Act.DESTROY: frozenset({Standing.EXPIRED, Standing.VOID}),
}  # fmt: skip

# Acts that file a report: they make a version under a control number of its own (RECORDS.md §4.1).
REPORTS: Mapping[Act, ReportType] = {
    Act.FILE: ReportType.INITIAL,
    Act.CORRECT: ReportType.CORRECTION,
    Act.REVISE: ReportType.REVISION_TO_ACTION,
    Act.PROMOTE: ReportType.REVISION_TO_ACTION,
    Act.DECIDE_APPEAL: ReportType.REVISION_TO_ACTION,
    Act.OVERTURN: ReportType.REVISION_TO_ACTION,
    Act.NOTICE_APPEAL: ReportType.NOTICE_OF_APPEAL,
    Act.VOID: ReportType.VOID,
}

_REMEDIES: Mapping[Standing, str] = {
    Standing.DRAFT: "A second person reviews it first: `candor-node records review`.",
    Standing.HELD: "`candor-node records why` says what holds it.",
    Standing.ACTIVE: "`candor-node records history` shows what happened to it.",
    Standing.EXPIRED: "Its time to be kept is over; nothing more is done with it but to destroy it.",
    Standing.VOID: "A void is for good. If it was a mistake, file a new report under a new id.",
    Standing.EXPUNGED: "Nothing is left of it but its control numbers.",
}


def check_act(record: Record, act: Act) -> None:
    """Whether `act` is possible for `record` as it stands; raises WrongStanding."""
    standing = record.circumstances.standing
    if standing not in POSSIBLE[act]:
        raise WrongStanding(
            f"The record {record.dcn} is {standing.value}: it cannot be {act.value}.",
            remedy=_REMEDIES[standing],
        )
    if (reason := _objection(record, act)) is not None:
        raise WrongStanding(f"The record {record.dcn} cannot be {act.value}: {reason[0]}.", remedy=reason[1])


def _objection(record: Record, act: Act) -> tuple[str, str] | None:
    """What stands against an act that the standing allows: a reason and what may be done instead."""
    now = record.circumstances
    decided = record.kind is not RecordKind.COMMENDATION
    pending = record.content.appeal_open
    match act:
        case Act.NOTICE_APPEAL | Act.OVERTURN if not decided:
            return "a commendation is no decision", "Void it at the officer's request."
        case Act.NOTICE_APPEAL if record.tier is Tier.ADVISORY:
            return "no decision was made that could be appealed", "The officer may dispute it."
        case Act.NOTICE_APPEAL if pending:
            return "an appeal is pending already", "Correct its facts, or enter how it was decided."
        case Act.DECIDE_APPEAL if not pending:
            return "no appeal is pending", "Enter the notice of appeal first."
        case (
            Act.NOTICE_APPEAL | Act.DECIDE_APPEAL | Act.OVERTURN | Act.CORRECT | Act.REVISE | Act.PROMOTE
        ) if record.overturned:
            return "its decision was overturned", "A new decision is a new report under a new id."
        case Act.SEAL if now.sealed_by_order:
            return "it is sealed already", "Nothing needs to be done."
        case Act.UNSEAL if not now.sealed_by_order:
            return "it is not sealed", "Nothing needs to be done."
        case Act.HOLD if now.legal_hold:
            return "it is under legal hold already", "Nothing needs to be done."
        case Act.LIFT_HOLD if not now.legal_hold:
            return "it is not under legal hold", "Nothing needs to be done."
        case Act.EXPUNGE | Act.DESTROY if now.legal_hold:
            return (
                "a legal hold keeps it from being destroyed",
                "Seal it, so that nobody finds it; destroy it once the hold is lifted.",
            )
    return None


def act_of(previous: Record, content: Content) -> Act | None:
    """What a changed content is, if nobody says; None when nothing changed but the sharing choice.

    An advisory record resolves itself: voided when the investigation ended in the officer's favour,
    promoted when it sustained the matter (RECORDS.md §3.6). A content that says that the decision was taken
    away overturns it.
    """
    if not changed_fields(previous.content, content):
        return None
    if content.resolved_in_favour:
        return Act.VOID
    if content.taken_away and not previous.content.taken_away:
        return Act.OVERTURN
    if content.tier is not previous.tier:
        return Act.PROMOTE if content.tier is Tier.ADJUDICATED else Act.CORRECT
    before, after = previous.content.due_process.finality, content.due_process.finality
    if after is Finality.APPEAL_PENDING is not before:
        return Act.NOTICE_APPEAL
    if before is Finality.APPEAL_PENDING is not after:
        return Act.DECIDE_APPEAL
    return Act.CORRECT


def overturning_of(content: Content) -> Overturning | None:
    """What took the decision away, if the content says so itself."""
    return Overturning[content.taken_away] if content.taken_away else None


def changed_fields(one: Content, other: Content) -> tuple[str, ...]:
    """Names of the fields that differ; the sharing choice is none of them, for it is no fact."""
    before, after = content_fields(one), content_fields(other)
    names = {**before, **after}
    return tuple(name for name in names if name != "sharing" and before.get(name) != after.get(name))
