"""A hub whose disk fails: nothing was stored and it says so, or all was and it cannot say so (§7.2)."""

from __future__ import annotations

import asyncio

import pytest

from candor_proto.errors import CandorError
from candor_proto.result import Overall
from tests.history import read_envelopes, read_hub, read_node
from tests.history.faults import LOOKUP
from tests.records import make_row
from tests.simulator import Federation, Simulator, Trouble

FAILURES = (Trouble.NOT_STORED, Trouble.STORED_UNTOLD)


def lookups_accepted(fed: Federation) -> int:
    return sum(each.kind == LOOKUP for each in read_envelopes(fed.hub_config))


@pytest.mark.parametrize("trouble", FAILURES)
def test_a_lookup_that_the_hubs_disk_refused_is_handed_in_again_and_charged_once(
    simulator: Simulator, trouble: Trouble
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await fed.file(bravo, [make_row()])
        await fed.settled()
        fed.plan.once("hub transaction Relay.submit_all", trouble)
        asking = asyncio.ensure_future(fed.ask(alpha, case="REQ-1", wait_seconds=300.0, expect="MATCH"))
        await fed.until(lambda: fed.plan.pending() == 0, seconds=10.0, step_seconds=0.0005)
        # The two flavours are what they say.
        assert lookups_accepted(fed) == (1 if trouble is Trouble.STORED_UNTOLD else 0)
        view = await asking
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        assert lookups_accepted(fed) == 1
        assert [use.total for use in read_hub(fed.hub_config).uses] == [40]

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", FAILURES)
@pytest.mark.parametrize("times", [1, 2])
def test_answers_and_acknowledgements_that_the_hubs_disk_refused_come_again(
    simulator: Simulator, trouble: Trouble, times: int
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await fed.file(bravo, [make_row()])
        await fed.settled()
        fed.plan.once("hub transaction Relay.submit_all", trouble, skip=1, times=times)
        fed.plan.once("hub transaction MailboxKeeper.acknowledge_all", trouble)
        view = await fed.ask(alpha, case="REQ-1", wait_seconds=600.0, expect="MATCH")
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        await fed.until(lambda: fed.plan.pending() == 0, seconds=600.0)
        await asyncio.sleep(120.0)
        assert not any(each.waiting for each in read_envelopes(fed.hub_config))
        assert [use.total for use in read_node(bravo.config).uses] == [40]

    simulator.play(scene, agencies=2)


@pytest.mark.parametrize("trouble", FAILURES)
def test_a_publication_at_any_transaction_of_which_the_hubs_disk_fails_is_made_good(
    simulator: Simulator, trouble: Trouble
) -> None:
    """§6.7."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        failed = 0
        for step in range(2):
            before = fed.sequence_at_hub(bravo)
            fed.plan.once("hub transaction", trouble, skip=step)
            try:
                await fed.file(bravo, [make_row(agency_record_id=f"IA-{step}", ssn4=f"482{step}")])
            except CandorError as error:
                assert error.code == "store_unusable"
                failed += 1
            assert fed.plan.pending() == 0
            await fed.until(lambda: fed.sequence_at_hub(bravo) > before, seconds=600.0)  # noqa: B023  # awaited here
        assert failed
        await fed.settled()
        view = await fed.ask(alpha, case="REQ-1", expect="MATCH")
        assert len(view.hits) == 2

    simulator.play(scene, agencies=2)
