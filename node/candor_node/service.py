"""What the commands of the agency ask of the running node: a thin servicer.

Rule of this file: no handler holds a try; errors become a status in `local_server`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from candor_node import (
    amendments,
    approvals,
    dues,
    filing_lists,
    ledger,
    local_view,
    mail_store,
    packs,
    recall_store,
    request_store,
    reviews,
    users,
)
from candor_node.doors import acting, speaking_as
from candor_node.local_view import moment
from candor_node.request_store import SentRequest
from candor_node.service_lookups import LookupMethods, at_most, id_prefix, none_or_many
from candor_node.store import Database
from candor_node.tlog import local_status
from candor_proto.disclosure import OwnerState
from candor_proto.errors import (
    UnknownObject,
)
from candor_proto.ids import RequestId
from candor_records.gate import gate_day
from candor_records.roles import Operation
from candor_watch.versions import own_version
from candor_wire.v1 import local_pb2 as pb
from candor_wire.v1 import local_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

Context = grpc.aio.ServicerContext[Any, Any]
MAX_OVERDUE = 1_000

OPERATIONS: Mapping[str, Operation] = {
    "Status": Operation.VIEW_STATUS,
    "Publish": Operation.PUBLISH,
    "Lookup": Operation.LOOK_UP,
    "GetLookup": Operation.VIEW_LOOKUPS,
    "ListLookups": Operation.VIEW_LOOKUPS,
    "SeenLookup": Operation.ACKNOWLEDGE_MATCH,
    "StartBatch": Operation.LOOK_UP,
    "WatchBatch": Operation.VIEW_LOOKUPS,
    "GetBatch": Operation.VIEW_LOOKUPS,
    "BatchWritten": Operation.VIEW_LOOKUPS,
    "ListBatches": Operation.VIEW_LOOKUPS,
    "StopBatch": Operation.LOOK_UP,
    "SendRequest": Operation.REQUEST_RECORDS,
    "ListRequests": Operation.VIEW_REQUESTS,
    "ShowRequest": Operation.VIEW_REQUESTS,
    "DecideRequest": Operation.DECIDE_REQUESTS,
    "ListLedger": Operation.VIEW_LEDGER,
}


class LocalServicer(LookupMethods, local_pb2_grpc.LocalServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asking = set()

    # --- status ------------------------------------------------------------------------------------------

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        node, config = self._node, self._node.config

        def work(db: Database) -> tuple[tuple[int, int], mail_store.MailCounts, int, dict[Any, int]]:
            waiting = request_store.count_received(db, OwnerState.WAITING)
            return filing_lists.count(db), mail_store.counts(db), waiting, mail_store.answers_given(db)

        def use(db: Database) -> tuple[int, int, list[str]]:
            held = approvals.list_approvals(db, pending=True)
            return len(users.list_users(db)), len(held), reviews.due(db, node.clock.now())

        def owed(db: Database) -> tuple[str, int, int, int]:
            yesterday = gate_day(node.clock.now()) - timedelta(days=1)
            policy = packs.in_force(db)
            overdue = dues.dues(db, yesterday, limit=MAX_OVERDUE, overdue_days=policy.overdue_days)
            return policy.label, len(overdue), recall_store.count_unread(db), len(amendments.waiting(db))

        (records, matchable), mail, waiting, given = await node.store.run(work)
        registered, approvals_waiting, reviews_due = await node.store.run(use)
        policy, overdue, unread, late = await node.store.run(owed)
        log_status = await node.store.run(
            lambda db: local_status.log_status(db, node.follower, node.own_log_policy, node.clock.now())
        )
        trouble, directory_trouble = node.connection.trouble, node.indexes.last_error
        return pb.StatusResponse(
            node=config.node,
            federation=config.federation,
            name=config.name,
            oris=config.oris,
            hub_address=config.hub_address,
            attached=node.connection.attached,
            trouble="" if trouble is None else str(trouble),
            node_time=moment(node.clock.now()),
            hub_time=moment(node.connection.hub_time),
            connection_since=moment(node.connection.since),
            proxy="" if node.hub.proxy is None else f"{node.hub.proxy.address} ({node.hub.proxy.source})",
            directory_version=node.indexes.version,
            members=self._members(),
            records=records,
            matchable_records=matchable,
            policy=policy,
            overdue=overdue,
            recalls_unread=unread,
            late_matches=late,
            **local_view.backups(node.sharing.rollback, node.journals.behind_since(), node.backups.state()),
            inbox_waiting=mail.inbox_waiting,
            inbox_dropped=mail.inbox_dropped,
            outbox_waiting=mail.outbox_waiting,
            dead_letters=[
                pb.DeadLetter(
                    kind=letter.kind.name,
                    id=letter.envelope_id.hex(),
                    recipient=letter.recipient,
                    reason=letter.reason,
                )
                for letter in mail.dead
            ],
            certificate_ends=moment(node.identity.chain[0].not_valid_after_utc),
            requests_waiting=waiting,
            directory_trouble="" if directory_trouble is None else str(directory_trouble),
            answers_given=[
                pb.AnswersGiven(status=status.name, count=count)
                for status, count in sorted(given.items(), key=lambda item: item[0].value)
            ],
            certificate_renewal=moment(node.renewal.due),
            directory_warnings=node.indexes.warnings(),
            users=registered,
            approvals_waiting=approvals_waiting,
            reviews_due=reviews_due,
            renewal_trouble="" if node.renewal.trouble is None else str(node.renewal.trouble),
            log=log_status,
            version=own_version(),
            hub_version=node.hub.hub_version,
        )

    def _members(self) -> list[pb.MemberStatus]:
        directory = self._node.indexes.directory
        if directory is None:
            return []
        active, members = set(directory.nodes()), []
        for member in directory.directory.members:
            head, held = directory.head(member.node), self._node.indexes.indexes.get(member.node)
            members.append(
                pb.MemberStatus(
                    node=str(member.node),
                    name=member.name,
                    oris=[str(ori) for ori in member.oris],
                    active=member.node in active,
                    index_held=held is not None and held.head == head,
                    epoch=head.epoch if head else 0,
                    sequence=head.sequence if head else 0,
                    index_issued=moment(head.issued_at if head else None),
                )
            )
        return members

    # --- records -----------------------------------------------------------------------------------------

    async def Publish(self, request: pb.PublishRequest, context: Context) -> pb.PublishResponse:
        publication = await self._node.publishing.publish(rotate=request.rotate)
        return pb.PublishResponse(
            epoch=publication.head.epoch,
            sequence=publication.head.sequence,
            segments=len(publication.head.segments),
            published=publication.published,
            withdrawn=publication.withdrawn,
        )

    # --- disclosure --------------------------------------------------------------------------------------

    async def SendRequest(self, request: pb.SendRequestRequest, context: Context) -> pb.SendRequestResponse:
        request_id = await self._node.requester.send(
            await self.search_id(request.lookup_id, request.row),
            request.hit,
            speaking_as(context, request.confirmed_by),
            even_if_set_aside=request.even_if_set_aside,
        )
        return pb.SendRequestResponse(request_id=str(request_id))

    async def ListRequests(
        self, request: pb.ListRequestsRequest, context: Context
    ) -> pb.ListRequestsResponse:
        limit = at_most(request.limit, 100)

        def work(db: Database) -> pb.ListRequestsResponse:
            response = pb.ListRequestsResponse(
                sent=[_sent_view(db, known) for known in request_store.list_sent(db, limit)],
                received=[
                    local_view.received_request(known) for known in request_store.list_received(db, limit)
                ],
            )
            for view in response.sent:
                # Lists are for finding; what a record says is shown one by one, and accounted for.
                view.ClearField("record")
                view.ClearField("earlier")
            return response

        return await self._node.store.run(work)

    async def ShowRequest(self, request: pb.ShowRequestRequest, context: Context) -> pb.ShowRequestResponse:
        request_id, now = await self.request_id(request.request_id), self._node.clock.now()
        by = acting(context).user

        def work(db: Database) -> pb.RequestView:
            view = _request_view(db, request_id)
            if view.HasField("record"):
                refs = {"request_id": str(request_id)}
                ledger.append(db, now, "disclosure.viewed", refs, {"by": by})
            return view

        return pb.ShowRequestResponse(request=await self._node.store.run(work))

    async def DecideRequest(
        self, request: pb.DecideRequestRequest, context: Context
    ) -> pb.DecideRequestResponse:
        request_id, by = await self.request_id(request.request_id), speaking_as(context, request.by)
        if request.approve:
            held = await self._node.owner.second(request_id, by, request.reason)
            if held is not None:
                waiting = await self._node.store.run(lambda db: _request_view(db, request_id))
                return pb.DecideRequestResponse(request=waiting, approval_id=str(held))
            known = await self._node.owner.approve(request_id, by, request.reason)
        else:
            known = await self._node.owner.decline(
                request_id, by, request.reason, not_same_person=request.not_same_person
            )
        return pb.DecideRequestResponse(request=local_view.received_request(known))

    async def request_id(self, text: str) -> RequestId:
        """Of a request as people name it."""
        prefix = id_prefix(text, "request")
        found = await self._node.store.run(lambda db: request_store.requests_named(db, prefix))
        if len(found) != 1:
            raise none_or_many(text, "request", len(found))
        return found[0]

    # --- ledger ------------------------------------------------------------------------------------------

    async def ListLedger(self, request: pb.ListLedgerRequest, context: Context) -> pb.ListLedgerResponse:
        limit = at_most(request.limit)

        def work(db: Database) -> pb.ListLedgerResponse:
            found = ledger.entries(db, event=request.event, after=request.after, limit=limit)
            return pb.ListLedgerResponse(
                entries=[local_view.ledger_entry(entry) for entry in found], verified=ledger.verify(db)
            )

        return await self._node.store.run(work)


def _sent_view(db: Database, known: SentRequest) -> pb.RequestView:
    return local_view.sent_request(known, recall_store.received_about(db, known.request.request_id))


def _request_view(db: Database, request_id: RequestId) -> pb.RequestView:
    sent = request_store.sent(db, request_id)
    if sent is not None:
        return _sent_view(db, sent)
    received = request_store.received(db, request_id)
    if received is None:
        raise UnknownObject(f"There is no request {request_id}.")
    return local_view.received_request(received)
