"""The simulator: real node and hub code in one event loop, without sockets, without TLS, without waiting.

    def test_something(simulator: Simulator) -> None:
        async def scene(fed: Federation) -> None:
            alpha, bravo, charlie = fed.parties
            await fed.file(bravo, [make_row()])
            fed.plan.once("submit LOOKUP", Trouble.LOST_AFTER, "alpha")
            view = await fed.ask(alpha, case="REQ-1")
            ...

        simulator.play(scene, agencies=3, seed=7)

Time is the loop's own and moves only when nothing is left to do; calls and frames pass a plan of faults,
drawn from a seed or put in by hand; after every scene all is healed, everything has to finish, and the
history checker (tests.history) goes over every party's database.
"""

from tests.simulator.faults import Plan, Rates, Trouble
from tests.simulator.federation import Federation, Party, Simulator

__all__ = ["Federation", "Party", "Plan", "Rates", "Simulator", "Trouble"]
