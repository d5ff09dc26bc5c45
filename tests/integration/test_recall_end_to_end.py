"""Recall between real nodes over a real hub, and what commands say of it (docs/protocol.md §9.7-§9.12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from candor_node import badge, cli_recalls, cli_requests, lifecycle, recall_store, request_store, result_page
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.lifecycle import Doing
from candor_node.recall_store import Recall
from candor_node.store import Database
from candor_proto.disclosure import RequesterState
from candor_proto.errors import WrongStanding
from candor_proto.ids import NodeId, RequestId
from candor_proto.recall import Done, RecallState
from candor_records.records import Dcn
from candor_wire.v1 import local_pb2, recall_local_pb2, recall_local_pb2_grpc
from tests.federation import Federation, eventually, federation, local
from tests.offices import ASKER, register
from tests.records import make_row

Scene = Callable[[Federation, Node, Node, SearchView], Awaitable[None]]


def play(folder: Path, scene: Scene, agencies: int = 2) -> None:
    """Alpha has looked up the officer of whom bravo filed a record that a rule releases."""

    async def whole() -> None:
        async with federation(folder, agencies) as fed:
            alpha, bravo = fed.nodes[:2]
            await fed.file(bravo, [make_row(sharing="GREEN")])
            await scene(fed, alpha, bravo, await fed.ask(alpha))

    asyncio.run(whole())


@asynccontextmanager
async def recall_service(node: Node) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{node.config.socket}") as channel:
        yield recall_local_pb2_grpc.RecallServiceStub(channel)


async def disclosed(node: Node, view: SearchView) -> tuple[RequestId, Dcn]:
    """Ask for the first hit; the request, and the record that it brought."""
    request_id = await node.requester.send(view.row.search_id, 1, "dana")
    known = await eventually(
        lambda: node.store.run(lambda db: request_store.sent(db, request_id)),
        lambda known: known is not None and known.state is RequesterState.OPENED,
    )
    assert known is not None
    assert known.record is not None
    return request_id, Dcn(known.record.fields["dcn"])


async def void(node: Node, dcn: Dcn) -> None:
    doing = Doing(node.clock.now(), "clerk-7", await node.store.run(node.policy), "Wrong person.", "chief-1")
    await node.store.run(lambda db: lifecycle.void(db, dcn, doing))
    node.recaller.wake()


async def settled(node: Node, state: RecallState, count: int = 1) -> list[Recall]:
    """The recalls of `node`, once all of them are in `state`."""

    def look(db: Database) -> list[Recall]:
        return recall_store.list_sent(db, 100)

    return await eventually(
        lambda: node.store.run(look),
        lambda found: len(found) == count and all(one.state is state for one in found),
    )


def test_two_recipients_forget_a_voided_record_and_the_owner_sees_it(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        charlie = fed.nodes[2]
        others = {charlie: await fed.ask(charlie, case="REQ-2"), alpha: view}
        held = {node: await disclosed(node, found) for node, found in others.items()}
        await void(bravo, held[alpha][1])
        found = await settled(bravo, RecallState.ACTED, 2)
        assert {one.recipient for one in found} == {NodeId("alpha"), NodeId("charlie")}
        assert {one.done for one in found} == {Done.DESTROYED}
        for node, (request_id, _) in held.items():
            gone = await node.store.run(lambda db, it=request_id: request_store.sent(db, it))  # type: ignore[misc]  # bound now
            assert gone is not None
            assert (gone.state, gone.copy) == (RequesterState.RECALLED, None)
        async with recall_service(bravo) as service:
            reply = await service.ListRecalls(recall_local_pb2.ListRecallsRequest())
        assert (reply.unacknowledged, reply.overdue, reply.time_to_forget.recalls) == (0, 0, 2)
        assert 0 <= reply.time_to_forget.median_seconds <= reply.time_to_forget.longest_seconds < 60
        shown = "\n".join(cli_recalls._listed(reply))
        assert shown.count("VOIDED") == shown.count("destroyed") == 2
        assert "Time to forget, over 2: median 0:00:" in shown

    play(tmp_path, scene, agencies=3)


def test_a_person_reads_of_a_recall_and_says_so(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id, dcn = await disclosed(alpha, view)
        await void(bravo, dcn)
        await settled(bravo, RecallState.ACTED)
        async with local(alpha) as commands:
            request = local_pb2.ShowRequestRequest(request_id=str(request_id))
            shown = (await commands.ShowRequest(request)).request
            listed = await commands.ListRequests(local_pb2.ListRequestsRequest())
            recalled = cli_requests._recalled(listed.sent[0])
        assert not shown.HasField("record")
        text = "\n".join(cli_requests.lines(shown))
        assert "recalled" in text
        assert "voided, or its decision overturned; destroyed here" in text
        assert recalled.startswith("destroyed on 20")
        assert recalled.endswith("; read it")
        (recall,) = shown.recalls
        assert f"candor-node recalls acknowledge {recall.recall_id[:12]}" in text
        async with recall_service(alpha) as service:
            unread = await service.ListRecalls(recall_local_pb2.ListRecallsRequest(unread=True))
            assert [one.recall_id for one in unread.received] == [recall.recall_id]
            reading = recall_local_pb2.AcknowledgeRecallRequest(recall_id=recall.recall_id[:8], by="dana")
            read = (await service.AcknowledgeRecall(reading)).recall
            assert (read.state, read.read_by) == ("read", "dana")
            assert "by dana" in "\n".join(cli_recalls.lines(read))
            unread = await service.ListRecalls(recall_local_pb2.ListRecallsRequest(unread=True))
            assert not unread.received
        (sent,) = await settled(bravo, RecallState.READ)
        async with recall_service(bravo) as service:
            view_ = (
                await service.ShowRecall(recall_local_pb2.ShowRecallRequest(recall_id=str(sent.recall_id)))
            ).recall
        assert (view_.direction, view_.state, view_.done) == ("sent", "read", "DESTROYED")
        assert "dana" not in str(view_)
        assert "0:00:0" in "\n".join(cli_recalls.lines(view_))

    play(tmp_path, scene)


def test_nobody_reads_a_recall_in_the_name_of_another_user(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        _, dcn = await disclosed(alpha, view)
        await void(bravo, dcn)
        (sent,) = await settled(bravo, RecallState.ACTED)
        tokens = await alpha.store.run(register)
        carried = badge.metadata(ASKER, tokens[ASKER])
        async with recall_service(alpha) as service:
            own = recall_local_pb2.AcknowledgeRecallRequest(recall_id=str(sent.recall_id))
            named = recall_local_pb2.AcknowledgeRecallRequest(recall_id=own.recall_id, by="somebody-else")
            with pytest.raises(grpc.aio.AioRpcError, match="somebody else"):
                await service.AcknowledgeRecall(named, metadata=carried)
            read = (await service.AcknowledgeRecall(own, metadata=carried)).recall
        assert read.read_by == ASKER

    play(tmp_path, scene)


def test_the_hit_of_a_recalled_record_is_shown_as_withdrawn_and_not_asked_for_again(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        search = str(view.row.search_id)
        async with local(alpha) as commands:
            before = (await commands.GetLookup(local_pb2.GetLookupRequest(lookup_id=search))).lookup
        assert [one.standing for one in before.hits] == ["stands"]
        assert "WITHDRAWN" not in "\n".join(result_page.lines(before))
        _, dcn = await disclosed(alpha, view)
        await void(bravo, dcn)
        await settled(bravo, RecallState.ACTED)
        async with local(alpha) as commands:
            after = (await commands.GetLookup(local_pb2.GetLookupRequest(lookup_id=search))).lookup
        assert [one.standing for one in after.hits] == ["withdrawn"]
        assert "WITHDRAWN: the record was voided" in "\n".join(result_page.lines(after, width=200))
        with pytest.raises(WrongStanding):
            await alpha.requester.send(view.row.search_id, 1, "dana")

    play(tmp_path, scene)


def test_a_hit_that_was_never_asked_for_is_withdrawn_with_its_owners_next_publication(tmp_path: Path) -> None:
    """§9.12: the owner does not know who saw it; the newest index says so."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        search = str(view.row.search_id)

        async def recheck() -> Any:
            async with recall_service(alpha) as service:
                return await service.RecheckLookup(
                    recall_local_pb2.RecheckLookupRequest(lookup_id=search, by="dana")
                )

        found = await recheck()
        assert found.all_stand
        assert [(one.number, one.owner, one.standing) for one in found.hits] == [(1, "bravo", "stands")]
        records = await bravo.store.run(lambda db: db.execute("SELECT dcn FROM record_heads").fetchall())
        await void(bravo, Dcn(records[0][0]))
        await bravo.publishing.publish()
        await fed.settled()
        found = await recheck()
        assert not found.all_stand
        assert [one.standing for one in found.hits] == ["withdrawn"]
        with pytest.raises(WrongStanding, match="withdrawn"):
            await alpha.requester.send(view.row.search_id, 1, "dana")
        assert await bravo.store.run(lambda db: request_store.list_received(db, 9)) == []

    play(tmp_path, scene)


def test_an_index_of_another_epoch_says_nothing_about_an_older_hit(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        await bravo.publishing.publish(rotate=True)
        await fed.settled()
        async with recall_service(alpha) as service:
            request = recall_local_pb2.RecheckLookupRequest(lookup_id=str(view.row.search_id))
            found = await service.RecheckLookup(request)
        assert [one.standing for one in found.hits] == ["another epoch"]
        assert "look the person up again" in found.hits[0].words
        # Asking its owner is another way to find out.
        await disclosed(alpha, view)

    play(tmp_path, scene)


def test_a_recipient_that_is_away_hears_of_it_when_it_is_back(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id, dcn = await disclosed(alpha, view)
        await fed.stop(alpha)
        await void(bravo, dcn)
        await settled(bravo, RecallState.SENT)
        fed.hub.clock.shift += timedelta(days=8)
        async with recall_service(bravo) as service:
            late = await service.ListRecalls(
                recall_local_pb2.ListRecallsRequest(overdue=True, overdue_days=7)
            )
        assert [one.other_node for one in late.sent] == ["alpha"]
        assert "OVERDUE" in "\n".join(cli_recalls._listed(late))
        fed.hub.clock.shift -= timedelta(days=8)
        again = Node(alpha.config, fed.hub.clock)
        await again.start()
        try:
            (recall,) = await settled(bravo, RecallState.ACTED)
            assert recall.done is Done.DESTROYED
            gone = await again.store.run(lambda db: request_store.sent(db, request_id))
            assert gone is not None
            assert gone.copy is None
        finally:
            await again.stop()

    play(tmp_path, scene)
