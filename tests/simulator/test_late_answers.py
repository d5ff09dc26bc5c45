"""Answers that come late, in any order and through any trouble: one result, one history, one alarm (§7.8)."""

from __future__ import annotations

import asyncio
import random

import pytest

from candor_node import amendments, ledger
from candor_node.amendments import Revision
from candor_node.cases import SearchView
from candor_proto.ids import LookupId, NodeId
from candor_proto.result import Overall, TargetState
from tests.records import make_row
from tests.simulator import Federation, Party, Simulator, Trouble
from tests.thorough import examples

DEATHS = (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)
FAILURES = (Trouble.NOT_STORED, Trouble.STORED_UNTOLD)


async def view_of(party: Party, search_id: LookupId) -> SearchView | None:
    """The result as it is now; None while the node is down."""
    if party.life is None:
        return None
    return await party.life.node.cases.view(search_id)


async def revisions(party: Party, search_id: LookupId) -> list[Revision]:
    return await party.node.store.run(lambda db: amendments.revisions(db, search_id))


def said(view: SearchView) -> object:
    """What a result says, but for when and what was late."""
    assert view.result is not None
    lines = [(report.node, report.state, report.index_sequence) for report in view.result.coverage.reports]
    return view.result.overall, lines, [(hit.owner, hit.blob_id) for hit in view.result.hits]


@pytest.mark.parametrize("seed", range(examples(1, thorough=3)))
@pytest.mark.parametrize("trouble", [*DEATHS, *FAILURES])
def test_late_answers_in_any_order_amend_to_the_result_of_all(
    simulator: Simulator, trouble: Trouble, seed: int
) -> None:
    draw = random.Random(seed)

    async def scene(fed: Federation) -> None:
        alpha, *others = fed.parties
        await fed.file(others[0], [make_row()])
        await fed.file(others[1], [make_row(agency_record_id="B-1")])
        await fed.settled()
        in_time = await fed.ask(alpha, case="REQ-0", wait_seconds=120.0, expect="MATCH")
        for other in others:
            await fed.stop_node(other)
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=5.0)
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        search_id = view.row.search_id
        fed.plan.once("transaction", trouble, "alpha", skip=draw.randint(0, 6))
        for other in draw.sample(others, len(others)):
            await fed.start_node(other)
            await asyncio.sleep(draw.random() * 20)
        fed.plan.heal()
        amended = await fed.eventually(
            lambda: view_of(alpha, search_id),
            lambda one: one is not None and one.result is not None and one.result.coverage.complete,
        )
        assert amended is not None
        assert said(amended) == said(in_time)
        assert amended.result is not None
        late = {report.node for report in amended.result.coverage.reports if report.late}
        assert late == {NodeId(other.name) for other in others}
        found = await revisions(alpha, search_id)
        assert [one.number for one in found] == list(range(1, amended.row.revision + 1))
        assert found[0].before is Overall.INCOMPLETE
        assert found[-1].after is Overall.MATCH
        assert sum(one.candidates for one in found) == len(amended.result.hits) == 2
        told = await alpha.node.store.run(lambda db: ledger.entries(db, event="lookup.late_match"))
        assert sum(int(str(entry.details["candidates"])) for entry in told) == 2
        assert await alpha.node.store.run(amendments.waiting) == {search_id}

    simulator.play(scene, seed=seed)


def test_a_node_that_was_away_for_days_counts_once_its_head_is_fresh(simulator: Simulator) -> None:
    """§6.7, §7.8: whether its answer or its new head is heard of first."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.parties
        await fed.file(bravo, [make_row()])
        await fed.settled()
        await fed.stop_node(bravo)
        fed.clock.advance(hours=38)
        await fed.until(lambda: all(party.node.follower.is_open() for party in (alpha, charlie)), 3600.0)
        await fed.publish(alpha)
        await fed.publish(charlie)
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=60.0)
        search_id = view.row.search_id
        await fed.start_node(bravo)
        amended = await fed.eventually(
            lambda: view_of(alpha, search_id),
            lambda one: one is not None and one.result is not None and one.result.coverage.complete,
            seconds=3600.0,
        )
        assert amended is not None
        assert amended.result is not None
        assert amended.result.overall is Overall.MATCH
        line = next(one for one in amended.result.coverage.reports if one.node == NodeId("bravo"))
        assert (line.state, line.late) == (TargetState.ANSWERED, True)

    simulator.play(scene)
