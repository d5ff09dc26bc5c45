"""Calls and frames that are lost, doubled, late or silent (docs/protocol.md §7.2, §7.3, §8.3, §9)."""

from __future__ import annotations

import asyncio

import pytest

from candor_node import ledger, mail_store, request_store
from candor_proto.disclosure import OwnerState, RequesterState
from candor_proto.errors import AlreadyExists, CandorError, Unreachable
from candor_proto.ids import NodeId
from candor_proto.result import Overall, TargetState
from candor_wire.limits import SILENCE_SECONDS
from tests.history import read_envelopes, read_hub, read_node
from tests.history.faults import LOOKUP
from tests.records import make_row
from tests.simulator import Federation, Party, Simulator, Trouble

# What befalls a publication, and a disclosure, one after the other.
TROUBLES = (Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.TWICE, Trouble.HUB_DIES_AFTER)


async def filed(fed: Federation, party: Party, **changes: str) -> None:
    await fed.file(party, [make_row(**changes)])
    await fed.settled()


async def count(party: Party, event: str) -> int:
    return len(await party.node.store.run(lambda db: ledger.entries(db, event=event)))


@pytest.mark.parametrize(
    "troubles",
    [
        (Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.REFUSED),
        (Trouble.BREAK, Trouble.BREAK_AFTER, Trouble.TWICE, Trouble.LATE),
    ],
    ids=lambda troubles: " ".join(trouble.name for trouble in troubles),
)
def test_a_lookup_lost_or_doubled_on_the_way_to_the_hub_is_accepted_once(
    simulator: Simulator, troubles: tuple[Trouble, ...]
) -> None:
    """§7.2: the same id with the same body is answered as before."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        for times, trouble in enumerate(troubles, 1):
            fed.plan.once("submit LOOKUP", trouble, "alpha")
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", wait_seconds=120.0, expect="MATCH")
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            assert fed.plan.pending() == 0
            accepted = [each for each in read_envelopes(fed.hub_config) if each.kind == LOOKUP]
            assert len(accepted) == times

    simulator.play(scene)


def test_an_answer_lost_or_doubled_on_the_way_to_the_hub_arrives_once(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        for trouble in (Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.BREAK_AFTER, Trouble.TWICE):
            fed.plan.once("submit ANSWER", trouble, "bravo")
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", wait_seconds=120.0, expect="MATCH")
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            assert fed.plan.pending() == 0

    simulator.play(scene)


def test_a_delivery_lost_doubled_late_or_cut_off_is_processed_once(simulator: Simulator) -> None:
    """§8.3: repeated until acknowledged, stored once."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        troubles = (Trouble.LOST_BEFORE, Trouble.TWICE, Trouble.LATE, Trouble.BREAK)
        for times, trouble in enumerate(troubles, 1):
            fed.plan.once("to node LOOKUP", trouble, times=3)
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", wait_seconds=300.0, expect="MATCH")
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            assert fed.plan.pending() == 0
            assert await count(bravo, "lookup.answered") == times

    simulator.play(scene)


def test_acknowledgements_that_are_lost_bring_the_delivery_again_and_nothing_else(
    simulator: Simulator,
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        fed.plan.once("to hub acknowledgement", Trouble.LOST_BEFORE, times=4)
        await fed.ask(alpha, case="REQ-1", expect="MATCH")
        await asyncio.sleep(90.0)
        assert fed.plan.pending() == 0
        assert await count(bravo, "lookup.answered") == 1
        assert not any(each.waiting for each in read_envelopes(fed.hub_config))

    simulator.play(scene)


def test_an_answer_delivered_twice_changes_nothing(simulator: Simulator) -> None:
    """§7.8: a repeated answer changes nothing."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        fed.plan.once("to node ANSWER", Trouble.TWICE, "alpha", times=3)
        view = await fed.ask(alpha, case="REQ-1", expect="MATCH")
        await asyncio.sleep(60.0)
        again = await alpha.node.cases.view(view.row.search_id)
        assert again.row == view.row
        assert again.hits == view.hits
        assert await count(alpha, "lookup.amended") == 0

    simulator.play(scene)


def test_an_import_repeated_after_a_lost_reply_files_nothing_twice(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        _, bravo = fed.parties
        fed.plan.once("transaction _import", Trouble.STORED_UNTOLD, "bravo")
        with pytest.raises(CandorError, match="not known"):
            await fed.file(bravo, [make_row()])
        await fed.file(bravo, [make_row()])
        assert await count(bravo, "record.filed") == 1
        assert await count(bravo, "import.done") == 2

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("point", ["PutSegment", "PutHead"])
def test_a_publication_lost_on_the_way_is_sent_again_as_it_was(simulator: Simulator, point: str) -> None:
    """§6.7: stored before it is sent; the same head and octets until the hub has them."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        for number, trouble in enumerate(TROUBLES):
            fed.plan.once(point, trouble, "bravo")
            try:
                await fed.file(bravo, [make_row(agency_record_id=f"IA-{number}")])
            except Unreachable:
                assert trouble is not Trouble.TWICE
            except CandorError as error:
                # Two copies at once: the hub takes one segment of a node at a time.
                assert (trouble, error.code) == (Trouble.TWICE, "limit_exceeded")
            await fed.until(lambda: fed.sequence_at_hub(bravo) == number + 2)  # noqa: B023  # awaited here
            await fed.settled()
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", expect="MATCH")
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            assert len(view.hits) == number + 1

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("kind", ["DISCLOSURE_REQUEST", "DISCLOSURE_RESPONSE"])
def test_a_disclosure_lost_or_doubled_on_the_way_is_decided_and_opened_once(
    simulator: Simulator, kind: str
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo, sharing="GREEN")
        for times, trouble in enumerate(TROUBLES, 1):
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", expect="MATCH")
            fed.plan.once(f"submit {kind}", trouble)
            request_id = await fed.disclose(alpha, view.row.search_id, 1)
            sent = await fed.eventually(
                lambda: alpha.node.store.run(lambda db: request_store.sent(db, request_id)),  # noqa: B023  # awaited here
                lambda known: known is not None and known.state is RequesterState.OPENED,
            )
            assert sent is not None
            assert sent.record is not None
            assert fed.plan.pending() == 0
            received = await bravo.node.store.run(lambda db: request_store.received(db, request_id))  # noqa: B023
            assert received is not None
            assert received.state is OwnerState.RELEASED
            assert await count(bravo, "disclosure.released") == times
            assert await count(alpha, "disclosure.opened") == times

    simulator.play(scene, agencies=2)


def test_a_client_that_asks_for_the_same_record_again_is_told_so(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        view = await fed.ask(alpha, case="REQ-1", expect="MATCH")
        fed.plan.once("transaction Requester.send", Trouble.STORED_UNTOLD, "alpha", skip=1)
        with pytest.raises(CandorError, match="not known"):
            await fed.disclose(alpha, view.row.search_id, 1)
        with pytest.raises(AlreadyExists):
            await fed.disclose(alpha, view.row.search_id, 1)

    simulator.play(scene, agencies=2)


def test_a_black_hole_is_noticed_and_what_was_missed_is_answered(simulator: Simulator) -> None:
    """§8.3: a node that hears nothing attaches again by itself.

    Pings of HTTP/2 are not played here, which would notice in 27 seconds: it is the silence of heartbeats.
    """

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        fed.network.cut.add("bravo")
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=5.0, expect="MATCH")
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        await fed.until(lambda: not bravo.node.connection.attached, seconds=SILENCE_SECONDS + 30.0)
        fed.network.cut.discard("bravo")
        amended = await fed.eventually(
            lambda: alpha.node.cases.view(view.row.search_id),
            lambda one: one.result is not None and one.result.overall is Overall.MATCH,
            seconds=200.0,
        )
        assert amended.result is not None
        assert amended.result.coverage.complete

    simulator.play(scene)


def test_a_node_away_for_three_hours_attaches_by_itself_and_answers_what_it_missed(
    simulator: Simulator,
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        fed.network.cut.add("bravo")
        views = [
            await fed.ask(alpha, case=f"REQ-{number}", wait_seconds=1.0, expect="MATCH")
            for number in range(3)
        ]
        await fed.until(lambda: not bravo.node.connection.attached)
        fed.clock.advance(hours=3)
        await asyncio.sleep(30.0)
        fed.network.cut.discard("bravo")
        await fed.until(lambda: bravo.node.connection.attached, seconds=90.0)
        for view in views:
            await fed.eventually(
                lambda view=view: alpha.node.cases.view(view.row.search_id),  # type: ignore[misc]  # bound now
                lambda one: one.result is not None and one.result.overall is Overall.MATCH,
            )

    simulator.play(scene)


def test_what_expired_while_a_node_was_away_is_expired_and_never_no_record(simulator: Simulator) -> None:
    """§7.7, §7.8."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        await fed.stop_node(bravo)
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=1.0, expect="INCOMPLETE")
        fed.clock.advance(hours=25)
        await asyncio.sleep(120.0)
        closed = await alpha.node.cases.view(view.row.search_id)
        assert closed.row.closed
        await fed.start_node(bravo)
        await asyncio.sleep(120.0)
        after = await alpha.node.cases.view(view.row.search_id)
        assert after.result is not None
        assert after.result.overall is Overall.INCOMPLETE
        states = {report.node: report.state for report in after.result.coverage.reports}
        assert states[NodeId("bravo")] is TargetState.EXPIRED
        assert await count(bravo, "lookup.answered") == 0

    simulator.play(scene)


def test_what_the_hub_refuses_for_good_is_a_dead_letter_that_status_shows(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        alpha, _ = fed.parties
        await fed.stop_hub()
        small = fed.hub_config.quota.__class__(total=10, weak=10, match=10, code=10)
        quota = fed.hub_config.quota
        await fed.start_hub(quota=small)
        await fed.until(lambda: alpha.node.connection.attached)
        with pytest.raises(CandorError, match="10 elements"):
            await fed.ask(alpha, case="REQ-1")
        counts = await alpha.node.store.run(mail_store.counts)
        assert [letter.kind.name for letter in counts.dead] == ["LOOKUP"]
        assert "elements" in counts.dead[0].reason
        await fed.stop_hub()
        await fed.start_hub(quota=quota)

    simulator.play(scene, agencies=2)


def test_the_quota_charged_is_that_of_the_lookups_accepted_whatever_was_repeated(
    simulator: Simulator,
) -> None:
    """§11.1: in the transaction that accepts."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        fed.plan.once("submit LOOKUP", Trouble.TWICE, times=2)
        fed.plan.once("submit LOOKUP", Trouble.LOST_AFTER, times=2)
        await asyncio.gather(
            *(fed.ask(alpha, case=f"REQ-{number}", wait_seconds=60.0) for number in range(4))
        )
        assert [use.total for use in read_hub(fed.hub_config).uses] == [4 * 40]
        assert [use.total for use in read_node(bravo.config).uses] == [4 * 40]

    simulator.play(scene, agencies=2)
