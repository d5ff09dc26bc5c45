"""Random days of a federation, with everything going wrong that can: a few seeds here, thousands in
`make campaign NAME=simulator`."""

from __future__ import annotations

import pytest

from tests.simulator import Federation, Rates, Simulator, Trouble
from tests.simulator.workload import Workload
from tests.thorough import examples

CHAOS = Rates(call=0.05, submission=0.05, only=frozenset({Trouble.REFUSED}))
BAD_DAY = Rates(call=0.10, submission=0.10, frame=0.05, transaction=0.01)


@pytest.mark.parametrize("seed", range(examples(3, thorough=8)))
def test_whatever_goes_wrong_nothing_is_lost_doubled_or_said_falsely(simulator: Simulator, seed: int) -> None:
    simulator.play(Workload(seed, lookups=3, records=1), agencies=2, seed=seed, rates=BAD_DAY)


@pytest.mark.parametrize("seed", range(examples(1, thorough=3)))
def test_all_work_finishes_though_one_good_request_in_twenty_is_refused(
    simulator: Simulator, seed: int
) -> None:
    """Clients that Candor itself repeats for see no refusal; a publication they may have to repeat."""
    workload = Workload(seed, lookups=4, records=1)

    async def scene(fed: Federation) -> None:
        await workload(fed)
        told = [each for each in fed.history.operations if each.kind not in ("publish",)]
        assert told
        assert [each for each in told if each.ended != "ok"] == []

    plan = simulator.play(scene, seed=seed, rates=CHAOS)
    assert plan.log
