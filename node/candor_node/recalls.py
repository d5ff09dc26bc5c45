"""Telling those who hold a record what became of it: which act recalls what (docs/protocol.md §9.7, §9.8).

Rules of this file:
- a recall is a row of the transaction of the act, one for each release of any version of the record; nothing
  is sealed or sent there (`recalling` does that), so that no act waits for slow work or for the network;
- a notice to destroy takes the place of everything about the same release that is not acknowledged, and of
  the response itself while it still lies in the outbox;
- whoever was told to destroy a copy is told nothing more about it but to destroy.
"""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from candor_node import filings, ledger, mail_store, recall_store, request_store
from candor_node.recall_store import Recall
from candor_node.request_store import ReceivedRequest
from candor_node.store import Database
from candor_proto.ids import RecallId
from candor_proto.recall import (
    MAX_CHANGED,
    UNACKNOWLEDGED,
    RecallAction,
    RecallEvent,
    RecallKind,
    RecallNotice,
    recall_after,
)
from candor_proto.record import DisputeStatus
from candor_records.life import Act
from candor_records.records import Record, canonical
from candor_wire.codec import MessageKind

if TYPE_CHECKING:
    from candor_node.lifecycle import LifeEvent

OVERDUE_DAYS = 7

_KINDS: Mapping[Act, RecallKind] = {
    Act.CORRECT: RecallKind.CORRECTED,
    Act.REVISE: RecallKind.REVISED,
    Act.PROMOTE: RecallKind.REVISED,
    Act.NOTICE_APPEAL: RecallKind.APPEAL_NOTICED,
    Act.DECIDE_APPEAL: RecallKind.APPEAL_DECIDED,
    Act.OVERTURN: RecallKind.VOIDED,
    Act.VOID: RecallKind.VOIDED,
    Act.EXPUNGE: RecallKind.EXPUNGED,
    Act.SEAL: RecallKind.SEALED,
    Act.STATEMENT: RecallKind.STATEMENT,
    Act.DISPUTE: RecallKind.DISPUTE,
    Act.ANSWER_DISPUTE: RecallKind.DISPUTE,
    Act.REFER_DISPUTE: RecallKind.DISPUTE,
    Act.RESOLVE_DISPUTE: RecallKind.DISPUTE,
}


def kind_of(event: LifeEvent) -> RecallKind | None:
    """What earlier recipients are told of an act; None: nothing, as of a hold or a change of sharing.

    A decision that was overturned but, by the policy, stays in the index, and one that an appeal changed, are
    revisions: what is held stays true of its time, and is shown with what followed.
    """
    kind = _KINDS.get(event.act)
    if event.act is Act.OVERTURN and not event.after.overturned:
        return RecallKind.REVISED
    if kind is RecallKind.APPEAL_DECIDED and any(not _of_appeal(name) for name in event.changed):
        return RecallKind.REVISED
    return kind


def _of_appeal(name: str) -> bool:
    return name == "finality" or name.startswith("appeal_")


def after_act(db: Database, event: LifeEvent) -> int:
    """Recall what was released of the record, inside the act's own transaction; how many are to be told.

    Before the record's key is destroyed, if the act does that.
    """
    kind, record = kind_of(event), event.after
    if kind is None:
        return 0
    return _recall(db, record.record_id, str(record.dcn), kind, event.doing.now, record, event.changed)


def destroyed_since(db: Database, record_id: bytes, dcn: str, now: datetime) -> int:
    """Recall what a restored backup still had alive and its keys say was destroyed; how many are to be told.

    Whether its recipients ever heard of that is lost with what came after the backup: hearing it twice does
    no harm.
    """
    return _recall(db, record_id, dcn, RecallKind.EXPUNGED, now)


def _recall(
    db: Database,
    record_id: bytes,
    dcn: str,
    kind: RecallKind,
    now: datetime,
    record: Record | None = None,
    changed: Sequence[str] = (),
) -> int:
    told = 0
    for release in request_store.released(db, filings.control_numbers(db, record_id)):
        before = recall_store.of_request(db, release.request.request_id)
        if kind.action is RecallAction.DESTROY:
            _overtake(db, release, before)
        elif any(one.kind.action is RecallAction.DESTROY for one in before):
            continue
        notice = _notice(release, record, kind, changed, now)
        recall_store.add(db, record_id, dcn, notice)
        refs = {
            "recall_id": str(notice.recall_id),
            "request_id": str(notice.request_id),
            "recipient": str(notice.recipient),
            "dcn": dcn,
        }
        ledger.append(db, now, "recall.due", refs, {"kind": kind.name, "action": kind.action.name})
        told += 1
    return told


def _overtake(db: Database, release: ReceivedRequest, before: Sequence[Recall]) -> None:
    """Nothing else about this release needs to be heard, nor the response where it was not sent yet."""
    request_id = release.request.request_id
    mail_store.take_back(db, MessageKind.DISCLOSURE_RESPONSE, request_id.value)
    for one in before:
        if one.state in UNACKNOWLEDGED and one.kind.action is not RecallAction.DESTROY:
            recall_store.set_ended(db, one.number, recall_after(one.state, RecallEvent.OVERTAKEN))
            if one.envelope_id is not None:
                mail_store.take_back(db, MessageKind.RECALL_NOTICE, one.envelope_id)


def _notice(
    release: ReceivedRequest,
    record: Record | None,
    kind: RecallKind,
    changed: Sequence[str],
    now: datetime,
) -> RecallNotice:
    """A notice to destroy says nothing of the record; every other one needs it."""
    request, says = release.request, record if kind.action is not RecallAction.DESTROY else None
    return RecallNotice(
        federation=request.federation,
        recall_id=RecallId(secrets.token_bytes(16)),
        owner=request.owner,
        recipient=request.requester,
        request_id=request.request_id,
        request=request.digest(),
        kind=kind,
        record=canonical(says).encode() if says and kind.with_record else b"",
        changed=tuple(sorted(set(changed)))[:MAX_CHANGED] if says else (),
        dispute_status=says.dispute_status if says else DisputeStatus.NONE,
        subject_statement=says.circumstances.subject_statement if says else "",
        effective_at=now,
        issued_at=now,
    )


# --- what became of them -------------------------------------------------------------------------------


def overdue(recall: Recall, now: datetime, days: int = OVERDUE_DAYS) -> bool:
    """Whether nobody has acknowledged the recall for more than `days`; whoever left counts for ever."""
    return recall.state in UNACKNOWLEDGED and now - recall.effective_at > timedelta(days=days)


@dataclass(frozen=True)
class TimeToForget:
    """From the act to the moment when its recipient had acted, over the acknowledged notices to destroy."""

    recalls: int
    median: timedelta
    longest: timedelta


def time_to_forget(acknowledged: Iterable[tuple[datetime, datetime]]) -> TimeToForget:
    """Zero where a recipient's clock is behind the owner's."""
    seconds = [max(0.0, (acted - effective).total_seconds()) for effective, acted in acknowledged]
    if not seconds:
        return TimeToForget(0, timedelta(0), timedelta(0))
    return TimeToForget(
        len(seconds), timedelta(seconds=statistics.median(seconds)), timedelta(seconds=max(seconds))
    )
