"""What the commands ask about recalls: a thin servicer, like `service`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from candor_node import filings, recall_store, recalls, request_store
from candor_node.doors import speaking_as
from candor_node.local_view import moment
from candor_node.recall_store import Recall, ReceivedRecall
from candor_node.recalled import KIND_WORDS
from candor_node.rechecking import recheck_lookup
from candor_node.service import Context, LocalServicer
from candor_node.service_lookups import id_prefix, none_or_many
from candor_node.store import Database
from candor_proto.candidates import HitStanding
from candor_proto.errors import UnknownObject
from candor_proto.ids import RecallId
from candor_proto.recall import UNACKNOWLEDGED
from candor_records.records import Dcn
from candor_records.roles import Operation
from candor_wire.v1 import recall_local_pb2 as pb
from candor_wire.v1 import recall_local_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

OPERATIONS: Mapping[str, Operation] = {
    "ListRecalls": Operation.VIEW_RECALLS,
    "ShowRecall": Operation.VIEW_RECALLS,
    "AcknowledgeRecall": Operation.ACKNOWLEDGE_RECALL,
    "RecheckLookup": Operation.VIEW_LOOKUPS,
}
MAX_LISTED = 500


class RecallServicer(recall_local_pb2_grpc.RecallServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._local = LocalServicer(node)

    async def ListRecalls(self, request: pb.ListRecallsRequest, context: Context) -> pb.ListRecallsResponse:
        limit, now = min(request.limit or 100, MAX_LISTED), self._node.clock.now()

        def work(db: Database) -> pb.ListRecallsResponse:
            days = request.overdue_days or self._node.policy(db).overdue_days
            waiting = recall_store.unacknowledged(db)
            late = [recall for recall in waiting if recalls.overdue(recall, now, days)]
            if request.dcn:
                record_id = filings.record_id_of(db, Dcn.parse(request.dcn))
                sent = recall_store.of_record(db, record_id)[::-1][:limit]
                sent = [one for one in sent if not request.overdue or one in late]
            else:
                sent = late[:limit] if request.overdue else recall_store.list_sent(db, limit)
            # An overdue recall or one of an own record is no received one.
            others = not (request.overdue or request.dcn)
            received = recall_store.list_received(db, limit, unread=request.unread) if others else []
            forgot = recalls.time_to_forget(recall_store.acknowledged(db))
            return pb.ListRecallsResponse(
                sent=[_sent(one, now, days) for one in sent if not request.unread],
                received=[_received(db, one) for one in received],
                unacknowledged=len(waiting),
                overdue=len(late),
                time_to_forget=pb.TimeToForget(
                    recalls=forgot.recalls,
                    median_seconds=forgot.median.total_seconds(),
                    longest_seconds=forgot.longest.total_seconds(),
                ),
            )

        return await self._node.store.run(work)

    async def ShowRecall(self, request: pb.ShowRecallRequest, context: Context) -> pb.ShowRecallResponse:
        recall_id, now = await self._recall_id(request.recall_id), self._node.clock.now()

        def work(db: Database) -> pb.RecallView:
            sent = recall_store.find(db, recall_id)
            if sent is not None:
                return _sent(sent, now, self._node.policy(db).overdue_days)
            received = recall_store.find_received(db, recall_id)
            if received is None:
                raise UnknownObject(f"There is no recall {recall_id}.")
            return _received(db, received)

        return pb.ShowRecallResponse(recall=await self._node.store.run(work))

    async def AcknowledgeRecall(
        self, request: pb.AcknowledgeRecallRequest, context: Context
    ) -> pb.AcknowledgeRecallResponse:
        recall_id = await self._recall_id(request.recall_id)
        by = speaking_as(context, request.by)
        read = await self._node.recall_recipient.acknowledge(recall_id, by)
        view = await self._node.store.run(lambda db: _received(db, read))
        return pb.AcknowledgeRecallResponse(recall=view)

    async def RecheckLookup(
        self, request: pb.RecheckLookupRequest, context: Context
    ) -> pb.RecheckLookupResponse:
        search_id = await self._local.search_id(request.lookup_id, request.row)
        self._node.follower.check_open()
        indexes, now = self._node.indexes.indexes, self._node.clock.now()
        by = speaking_as(context, request.by)
        found = await self._node.store.run(lambda db: recheck_lookup(db, search_id, indexes, now, by))
        return pb.RecheckLookupResponse(
            lookup_id=str(search_id),
            hits=[
                pb.RecheckedHit(
                    number=one.number,
                    owner=str(one.owner),
                    standing=one.standing.value,
                    words=one.words,
                    index_issued=moment(one.index_issued_at),
                )
                for one in found
            ],
            all_stand=all(one.standing is HitStanding.STANDS for one in found),
        )

    async def _recall_id(self, text: str) -> RecallId:
        prefix = id_prefix(text, "recall")
        found = await self._node.store.run(lambda db: recall_store.named(db, prefix))
        if len(found) != 1:
            raise none_or_many(text, "recall", len(found))
        return found[0]


def _sent(one: Recall, now: datetime, days: int) -> pb.RecallView:
    return pb.RecallView(
        recall_id=str(one.recall_id),
        direction="sent",
        other_node=str(one.recipient),
        request_id=str(one.request_id),
        kind=one.kind.name,
        words=KIND_WORDS[one.kind],
        action=one.kind.action.name,
        state=one.state.value,
        effective_at=moment(one.effective_at),
        done=one.done.name if one.done else "",
        acted_at=moment(one.acted_at),
        read_at=moment(one.read_at),
        dcn=one.dcn,
        sendings=one.sendings,
        first_sent_at=moment(one.first_sent_at),
        send_at=moment(one.send_at if one.state in UNACKNOWLEDGED else None),
        overdue=recalls.overdue(one, now, days),
        seconds_to_act=(one.acted_at - one.effective_at).total_seconds() if one.acted_at else 0.0,
    )


def _received(db: Database, one: ReceivedRecall) -> pb.RecallView:
    about = request_store.sent(db, one.request_id)
    return pb.RecallView(
        recall_id=str(one.recall_id),
        direction="received",
        other_node=str(one.owner),
        request_id=str(one.request_id),
        kind=one.kind.name,
        words=KIND_WORDS[one.kind],
        action=one.kind.action.name,
        state=one.state.value,
        effective_at=moment(one.effective_at),
        done=one.done.name,
        acted_at=moment(one.acted_at),
        read_at=moment(one.read_at),
        read_by=one.read_by,
        changed=one.changed,
        lookup_id=str(about.search_id) if about else "",
        hit=about.hit_number if about else 0,
    )
