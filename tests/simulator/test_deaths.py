"""Processes that die, and disks that fail, at every step (docs/protocol.md §7.2, §7.3, §11)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from candor_node import epochs, mail_store
from candor_node.app import Node
from candor_proto.errors import CandorError, QuotaSpent
from candor_proto.ids import LookupId
from candor_proto.result import Overall, TargetState
from candor_wire.codec import Envelope, MessageKind
from tests.history import read_envelopes, read_hub, read_node
from tests.records import make_row
from tests.simulator import Federation, Party, Simulator, Trouble
from tests.simulator.federation import Killed

DEATHS = (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)
FAILURES = (Trouble.NOT_STORED, Trouble.STORED_UNTOLD)
# The two transactions of an owner that answers.
JUDGEMENT, ANSWER = "Answerer._foresee", "Answerer._work_off"


async def filed(fed: Federation, party: Party, **changes: str) -> None:
    await fed.file(party, [make_row(**changes)])
    await fed.settled()


def decisions(party: Party) -> int:
    return sum(entry.event == "lookup.answered" for entry in read_node(party.config).entries)


def lookups_accepted(fed: Federation) -> int:
    return sum(each.kind == MessageKind.LOOKUP.value for each in read_envelopes(fed.hub_config))


async def again(make: Callable[[], Awaitable[object]]) -> None:
    """Until it is told that it is done."""
    for _ in range(10):
        try:
            await make()
        except (CandorError, Killed):
            await asyncio.sleep(30.0)
        else:
            return
    raise AssertionError("not done in ten attempts")


@pytest.mark.parametrize("point", ["submit LOOKUP", "submit ANSWER"])
def test_a_hub_that_dies_around_its_commit_loses_and_doubles_nothing(
    simulator: Simulator, point: str
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        for times, trouble in enumerate((Trouble.HUB_DIES_BEFORE, Trouble.HUB_DIES_AFTER), 1):
            fed.plan.once(point, trouble)
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", wait_seconds=300.0, expect="MATCH")
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            assert fed.plan.pending() == 0
            assert decisions(bravo) == times

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("step", [JUDGEMENT, ANSWER])
@pytest.mark.parametrize("troubles", [DEATHS, FAILURES], ids=["deaths", "failures"])
def test_an_owner_interrupted_before_or_after_the_evaluation_decides_and_charges_once(
    simulator: Simulator, troubles: tuple[Trouble, ...], step: str
) -> None:
    """§7.3: replay entry, quota, ledger entry and answer are one transaction; nothing leaves before it."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        for times, trouble in enumerate(troubles, 1):
            fed.plan.once(f"transaction {step}", trouble, "bravo")
            view = await fed.ask(alpha, case=f"REQ-{trouble.name}", wait_seconds=300.0, expect="MATCH")
            assert fed.plan.pending() == 0
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            assert [use.total for use in read_node(bravo.config).uses] == [40 * times]

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", DEATHS)
def test_an_owner_that_dies_at_any_transaction_of_a_lookup_answers_it_once(
    simulator: Simulator, trouble: Trouble
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        for step in (JUDGEMENT, ANSWER, "Outbox._forget"):
            fed.plan.once(f"transaction {step}", trouble, "bravo")
            view = await fed.ask(alpha, case=f"REQ-{step}", wait_seconds=300.0, expect="MATCH")
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            await fed.until(lambda: not fed.plan.pending())
        assert decisions(bravo) == 3

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", DEATHS)
def test_an_asker_that_dies_at_any_transaction_of_a_lookup_has_asked_it_once_or_not_at_all(
    simulator: Simulator, trouble: Trouble
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        for step in range(12):
            fed.plan.once("transaction", trouble, "alpha", skip=step)
            try:
                await fed.ask(alpha, case=f"REQ-{step}", expect="MATCH")
            except Killed:
                await fed.until(lambda: alpha.life is not None and alpha.node.connection.attached)
            assert fed.plan.pending() == 0
        # What was stored before a death leaves by itself, once nobody else can be about to send it.
        await asyncio.sleep(120.0)
        assert lookups_accepted(fed) == len(read_node(alpha.config).lookups) <= 12

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", [*DEATHS, *FAILURES])
def test_a_publication_interrupted_anywhere_is_made_good(simulator: Simulator, trouble: Trouble) -> None:
    """§6.7: stored before it is sent, confirmed once the hub has it."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        for step in range(3):
            record = f"IA-{step}"
            await fed.file(bravo, [make_row(agency_record_id=record, ssn4=f"482{step}")], publish=False)
            before = fed.sequence_at_hub(bravo)
            fed.plan.once("transaction", trouble, "bravo", skip=step)
            try:
                await fed.publish(bravo)
            except (CandorError, Killed):
                await fed.until(lambda: bravo.life is not None and bravo.node.connection.attached)
                if fed.sequence_at_hub(bravo) == before:
                    await again(lambda: fed.publish(bravo))
            assert fed.plan.pending() == 0
            await fed.until(lambda: fed.sequence_at_hub(bravo) > before)  # noqa: B023  # awaited here
        await fed.settled()
        view = await fed.ask(alpha, case="REQ-1", expect="MATCH")
        assert len(view.hits) == 3

    simulator.play(scene, agencies=2)


def test_the_replay_cache_survives_a_restart(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """§7.3; attack A8: the hub replays a lookup of last week to a node that was restarted since."""
    taken: list[tuple[Node, Envelope]] = []
    deliver = Node.deliver

    async def remember(node: Node, envelope: Envelope) -> None:
        taken.append((node, envelope))
        await deliver(node, envelope)

    monkeypatch.setattr(Node, "deliver", remember)

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        await fed.ask(alpha, case="REQ-1", expect="MATCH")
        (lookup,) = (each for node, each in taken if (node, each.kind) == (bravo.node, MessageKind.LOOKUP))
        node = await fed.restart(bravo)
        await node.connection.first_attached.wait()
        # As after a month: the inbox has forgotten the delivery.
        await node.store.run(lambda db: db.execute("DELETE FROM inbox") and None)
        await node.deliver(lookup)
        await fed.eventually(
            lambda: node.store.run(mail_store.counts),
            lambda counts: counts.inbox_dropped == 1 and counts.outbox_waiting == 0,
        )
        assert decisions(bravo) == 1

    simulator.play(scene, agencies=2)


def test_an_owners_quota_holds_over_restarts_and_against_lookups_at_once(simulator: Simulator) -> None:
    """§11.1."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await fed.stop_node(bravo)
        bravo.config = bravo.config.model_copy(update={"quota_elements": 160, "quota_day_share": 1})
        await fed.start_node(bravo)
        await fed.until(bravo.node.follower.followed.is_set)
        await filed(fed, bravo)
        states: Counter[TargetState] = Counter()
        for batch in range(3):
            views = await asyncio.gather(
                *(fed.ask(alpha, case=f"REQ-{batch}-{number}", wait_seconds=120.0) for number in range(2))
            )
            for view in views:
                assert view.result is not None
                states.update(
                    report.state for report in view.result.coverage.reports if str(report.node) == "bravo"
                )
            await fed.restart(bravo)
        assert states == {TargetState.ANSWERED: 4, TargetState.QUOTA: 2}
        assert [use.total for use in read_node(bravo.config).uses] == [160]

    simulator.play(scene, agencies=2)


def test_the_hubs_quota_holds_over_restarts_and_against_lookups_at_once(simulator: Simulator) -> None:
    """§11.1."""

    async def scene(fed: Federation) -> None:
        alpha, _ = fed.parties
        quota = fed.hub_config.quota
        small = type(quota)(total=160, weak=160, match=160, code=160, day_share=1)
        await fed.stop_hub()
        await fed.start_hub(quota=small)
        await fed.until(lambda: alpha.node.connection.attached)
        told: Counter[str] = Counter()

        async def ask(case: str) -> None:
            try:
                await fed.ask(alpha, case=case, wait_seconds=60.0)
            except QuotaSpent:
                told["refused"] += 1
            else:
                told["accepted"] += 1

        for batch in range(3):
            await asyncio.gather(*(ask(f"REQ-{batch}-{number}") for number in range(2)))
            await fed.stop_hub()
            await fed.start_hub()
            await fed.until(lambda: alpha.node.connection.attached)
        assert told == {"accepted": 4, "refused": 2}
        assert [use.total for use in read_hub(fed.hub_config).uses] == [160]

    simulator.play(scene, agencies=2)


def test_a_lookup_whose_owner_dies_three_times_before_its_answer_is_stored_is_charged_once(
    simulator: Simulator,
) -> None:
    """§7.3: what was evaluated and not stored has not happened, however often."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        fed.plan.once(f"transaction {ANSWER}", Trouble.DIES_BEFORE, "bravo", times=3)
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=600.0, expect="MATCH")
        assert fed.plan.pending() == 0
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        assert [use.total for use in read_node(bravo.config).uses] == [40]
        assert decisions(bravo) == 1

    simulator.play(scene, agencies=2)


def test_an_asker_that_dies_between_the_lookups_of_a_person_sends_the_others_after_all(
    simulator: Simulator,
) -> None:
    """§7.7: a person with two surnames is asked about under both, or nobody counts as having answered."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        asking = asyncio.ensure_future(fed.ask(alpha, case="REQ-1", last="Ordway-Placeholder"))
        await fed.until(lambda: bool(fed.hub) and lookups_accepted(fed) == 1, step_seconds=0.01)
        fed.kill(alpha)
        with pytest.raises(Killed):
            await asking
        await fed.until(lambda: lookups_accepted(fed) == 2)
        (search,) = read_node(alpha.config).searches
        view = await fed.eventually(
            lambda: alpha.node.cases.view(LookupId(bytes.fromhex(search.search_id))),
            lambda view: view.result is not None and view.result.coverage.complete,
        )
        assert view.result is not None

    simulator.play(scene, agencies=2)


def test_a_search_that_the_hub_denied_is_over_though_the_asker_died_over_it(simulator: Simulator) -> None:
    """It is neither pending for a day nor sent again by itself."""

    async def scene(fed: Federation) -> None:
        alpha, _ = fed.parties
        quota = fed.hub_config.quota
        await fed.stop_hub()
        await fed.start_hub(quota=type(quota)(total=10, weak=10, match=10, code=10, day_share=1))
        await fed.until(lambda: alpha.node.connection.attached)
        fed.plan.once("transaction Searcher.sent", Trouble.DIES_AFTER, "alpha")
        with pytest.raises(Killed):
            await fed.ask(alpha, case="REQ-1", last="Ordway-Placeholder")
        await fed.stop_hub()
        await fed.start_hub(quota=quota)
        await asyncio.sleep(180.0)
        (search,) = read_node(alpha.config).searches
        assert search.closed
        assert lookups_accepted(fed) == 0

    simulator.play(scene, agencies=2)


def test_a_target_that_moved_on_is_asked_again_though_the_asker_died(simulator: Simulator) -> None:
    """§7.9."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        # Bravo's old epoch has no seed any more, and its new one no index yet.
        await bravo.node.store.run(lambda db: epochs.rotate(db, fed.clock.now(), grace=timedelta(0)))
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=5.0)
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        await fed.restart(alpha)
        await bravo.node.publishing.publish()
        await fed.until(lambda: lookups_accepted(fed) == 2)

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize(
    "step", ["Searcher._store_and_send", "Searcher.sent", "Outbox", "Gatherer._keep", "Searcher.ask"]
)
def test_an_asker_whose_disk_fails_at_any_step_shows_what_it_holds(simulator: Simulator, step: str) -> None:
    """§7.8: the case in memory is never behind what was stored, though nobody was told that it was."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await filed(fed, bravo)
        for trouble in FAILURES:
            fed.plan.once(f"transaction {step}", trouble, "alpha")
            try:
                await fed.ask(alpha, case=f"REQ-{trouble.name}", expect="MATCH")
            except CandorError as error:
                assert error.code == "store_unusable"
            await asyncio.sleep(120.0)
            assert fed.plan.pending() == 0

    simulator.play(scene)


def test_a_client_that_leaves_while_its_lookup_is_stored_leaves_no_answer_unread(
    simulator: Simulator,
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await filed(fed, bravo)
        asking = asyncio.ensure_future(fed.ask(alpha, case="REQ-1", expect="MATCH"))
        await fed.until(lambda: bool(alpha.node.cases._cases), seconds=5.0, step_seconds=0.0005)
        await asyncio.sleep(0.0001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(120.0)
        counts = await alpha.node.store.run(mail_store.counts)
        assert counts.inbox_dropped == 0

    simulator.play(scene, agencies=2)
