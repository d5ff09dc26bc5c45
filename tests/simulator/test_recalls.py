"""Recalls that are lost, doubled or interrupted at any step (docs/protocol.md §9.9-§9.11)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from candor_node import lifecycle, recall_store, request_store
from candor_node.lifecycle import Doing
from candor_node.recall_store import Recall
from candor_node.store import Database
from candor_proto.disclosure import RequesterState
from candor_proto.errors import CandorError
from candor_proto.ids import RequestId
from candor_proto.recall import Done, RecallState
from candor_records.life import Act
from candor_records.records import Dcn
from tests.records import make_row
from tests.simulator import Federation, Party, Simulator, Trouble
from tests.simulator.federation import Killed

DEATHS = (Trouble.DIES_BEFORE, Trouble.DIES_AFTER, Trouble.NOT_STORED, Trouble.STORED_UNTOLD)
WAY = (Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.TWICE, Trouble.BREAK_AFTER, Trouble.HUB_DIES_AFTER)


async def disclosed(fed: Federation, owner: Party, holder: Party) -> tuple[RequestId, Dcn]:
    """`holder` holds a record of `owner`'s."""
    await fed.file(owner, [make_row(sharing="GREEN")])
    await fed.settled()
    view = await fed.ask(holder, case="REQ-1", expect="MATCH")
    request_id = await fed.disclose(holder, view.row.search_id, 1)
    known = await fed.eventually(
        lambda: holder.node.store.run(lambda db: request_store.sent(db, request_id)),
        lambda known: known is not None and known.state is RequesterState.OPENED,
    )
    assert known is not None
    assert known.record is not None
    return request_id, Dcn(known.record.fields["dcn"])


async def seal(owner: Party, dcn: Dcn) -> None:
    """A court seals the record: recipients are to destroy it. It makes no version, which imports count."""
    node = owner.node
    doing = Doing(node.clock.now(), "clerk-7", await node.store.run(node.policy), "By order.", "chief-1")

    def work(db: Database) -> None:
        now = lifecycle.current(db, dcn).circumstances
        lifecycle.change(db, dcn, Act.SEAL, doing, replace(now, sealed_by_order=True))

    await node.store.run(work)


async def acknowledged(fed: Federation, owner: Party, seconds: float = 600.0) -> Recall:
    """The one recall of `owner`, once its recipient has acted."""

    async def look() -> list[Recall]:
        try:
            return await owner.node.store.run(lambda db: recall_store.list_sent(db, 9))
        except (CandorError, Killed):
            return []

    (recall,) = await fed.eventually(
        look, lambda found: bool(found) and found[0].state is RecallState.ACTED, seconds
    )
    return recall


async def forgotten(fed: Federation, holder: Party, request_id: RequestId) -> None:
    known = await holder.node.store.run(lambda db: request_store.sent(db, request_id))
    assert known is not None
    assert (known.state, known.copy) == (RequesterState.RECALLED, None)


@pytest.mark.parametrize("kind", ["RECALL_NOTICE", "RECALL_ACK"])
@pytest.mark.parametrize("trouble", WAY)
def test_a_recall_lost_or_doubled_on_the_way_is_done_once(
    simulator: Simulator, kind: str, trouble: Trouble
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        request_id, dcn = await disclosed(fed, bravo, alpha)
        fed.plan.once(f"submit {kind}", trouble)
        await seal(bravo, dcn)
        recall = await acknowledged(fed, bravo)
        assert recall.done is Done.DESTROYED
        await forgotten(fed, alpha, request_id)
        assert fed.plan.pending() == 0

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", DEATHS)
@pytest.mark.parametrize("step", ["Recaller._send", "Recaller.process"])
def test_an_owner_interrupted_while_it_recalls_goes_on_where_it_was(
    simulator: Simulator, step: str, trouble: Trouble
) -> None:
    """The row of the act is what is sent: a crash between act and sending loses nothing."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        request_id, dcn = await disclosed(fed, bravo, alpha)
        fed.plan.once(f"transaction {step}", trouble, "bravo")
        await seal(bravo, dcn)
        await acknowledged(fed, bravo)
        await forgotten(fed, alpha, request_id)
        assert fed.plan.pending() == 0

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", DEATHS)
@pytest.mark.parametrize("step", [0, 1], ids=["foreseen", "applied"])
def test_a_recipient_interrupted_while_it_forgets_has_done_all_of_it_or_nothing(
    simulator: Simulator, step: int, trouble: Trouble
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        request_id, dcn = await disclosed(fed, bravo, alpha)
        fed.plan.once("transaction RecallRecipient.process", trouble, "alpha", skip=step)
        await seal(bravo, dcn)
        await acknowledged(fed, bravo)
        await forgotten(fed, alpha, request_id)
        assert fed.plan.pending() == 0

    simulator.play(scene, agencies=2)


def test_a_recipient_that_was_away_for_days_finds_several_notices_and_forgets_once(
    simulator: Simulator,
) -> None:
    """§9.11: what is not acknowledged is sent again, in an envelope of its own."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        request_id, dcn = await disclosed(fed, bravo, alpha)
        await fed.stop_node(alpha)
        await seal(bravo, dcn)
        for _ in range(4):
            await asyncio.sleep(120.0)
            fed.clock.advance(hours=23)
        await asyncio.sleep(120.0)
        (recall,) = await bravo.node.store.run(lambda db: recall_store.list_sent(db, 9))
        assert recall.state is RecallState.SENT
        assert recall.sendings == 3
        await fed.start_node(alpha)
        await acknowledged(fed, bravo)
        await forgotten(fed, alpha, request_id)

    simulator.play(scene, agencies=2)


def test_a_record_sealed_while_its_response_waits_for_the_hub_never_leaves(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await fed.file(bravo, [make_row(sharing="GREEN")])
        await fed.settled()
        view = await fed.ask(alpha, case="REQ-1", expect="MATCH")
        # For minutes nothing that bravo submits gets through.
        fed.plan.once("submit DISCLOSURE_RESPONSE", Trouble.REFUSED, "bravo", times=3)
        request_id = await fed.disclose(alpha, view.row.search_id, 1)
        released = await fed.eventually(
            lambda: bravo.node.store.run(lambda db: request_store.received(db, request_id)),
            lambda known: known is not None,
        )
        assert released is not None
        await seal(bravo, Dcn(released.dcn))
        recall = await acknowledged(fed, bravo)
        assert recall.done is Done.NOTHING_HELD
        await forgotten(fed, alpha, request_id)
        fed.plan.forget()

    simulator.play(scene, agencies=2)
