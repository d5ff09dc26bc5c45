from __future__ import annotations

from candor_proto.result import Overall
from tests.records import make_row
from tests.simulator import Federation, Simulator


def test_a_lookup_finds_the_record(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.parties
        await fed.file(bravo, [make_row()])
        await fed.settled()
        view = await fed.ask(alpha, case="REQ-1", expect="MATCH")
        assert view.result is not None
        assert view.result.overall is Overall.MATCH

    simulator.play(scene)
