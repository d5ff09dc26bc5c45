"""Callers take turns at what is scarce: how long one waits does not depend on how much another wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from candor_hub.turns import MAX_WAITING_OF_ONE_CALLER, Turns
from candor_proto.errors import LimitExceeded

pytestmark = pytest.mark.anyio


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Place:
    """Who was let in, in this order; each stays until it is told to leave."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.entered: list[str] = []
        self.doors: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, caller: str) -> asyncio.Task[None]:
        leave = asyncio.Event()

        async def stay() -> None:
            async with self.turns.place(caller):
                self.entered.append(caller)
                self.doors.append(leave)
                await leave.wait()

        task = asyncio.create_task(stay())
        self.tasks.append(task)
        return task

    async def serve(self) -> None:
        """Everybody leaves as soon as he is in, one after the other."""
        while True:
            await _settled()
            left = [door for door in self.doors if not door.is_set()]
            if not left:
                return
            left[0].set()


async def test_a_thousand_of_one_delay_anothers_one_by_a_turn() -> None:
    place = Place(Turns("test", 1))
    for _ in range(MAX_WAITING_OF_ONE_CALLER):
        place.come("greedy")
    await _settled()
    place.come("modest")
    await place.serve()
    assert place.entered.index("modest") <= 2
    assert len(place.entered) == MAX_WAITING_OF_ONE_CALLER + 1


async def test_twenty_who_want_much_delay_one_by_one_round() -> None:
    place = Place(Turns("test", 2))
    for number in range(20):
        for _ in range(50):
            place.come(f"greedy-{number}")
    await _settled()
    place.come("modest")
    await place.serve()
    assert place.entered.index("modest") <= 2 + 20


async def test_one_caller_does_not_take_all_places() -> None:
    place = Place(Turns("test", 4, each=1))
    for caller in ("a", "a", "a", "b"):
        place.come(caller)
    await _settled()
    assert sorted(place.entered) == ["a", "b"]
    await place.serve()
    assert sorted(place.entered) == ["a", "a", "a", "b"]


async def test_more_than_a_caller_may_have_waiting_is_refused() -> None:
    turns = Turns("test", 1)
    place = Place(turns)
    for _ in range(1 + MAX_WAITING_OF_ONE_CALLER):
        place.come("greedy")
    await _settled()
    with pytest.raises(LimitExceeded):
        async with turns.place("greedy"):
            pass
    place.come("modest")
    await place.serve()
    assert "modest" in place.entered


@pytest.mark.parametrize("when", ["waiting", "just admitted"])
async def test_who_goes_away_keeps_no_place(when: str) -> None:
    turns = Turns("test", 1)
    place = Place(turns)
    place.come("first")
    await _settled()
    gone = place.come("gone")
    place.come("next")
    await _settled()
    if when == "just admitted":
        place.doors[0].set()
        await asyncio.sleep(0)
        while turns.waiting > 1:  # until it has its place, and before it knows
            await asyncio.sleep(0)
    gone.cancel()
    await place.serve()
    assert place.entered[0] == "first"
    assert place.entered[-1] == "next"
    await asyncio.gather(*place.tasks, return_exceptions=True)
    assert turns.waiting == 0
    assert not turns._queues
    async with asyncio.timeout(1), turns.place("later"):
        pass


async def test_work_that_was_left_keeps_its_place_until_it_is_done() -> None:
    """Else whoever cancels calls could have any number of threads busy."""
    turns, release, running = Turns("test", 1), threading.Event(), threading.Event()

    def slow() -> str:
        running.set()
        release.wait(10)
        return "slow"

    left = asyncio.create_task(turns.run("impatient", slow))
    await asyncio.to_thread(running.wait)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    after = asyncio.create_task(turns.run("next", lambda: "done"))
    await _settled()
    assert not after.done()
    assert turns.waiting == 1
    release.set()
    assert await after == "done"
    turns.close()


async def test_an_error_of_the_work_is_the_callers() -> None:
    turns = Turns("test", 1)

    def fails() -> None:
        raise LimitExceeded("No.")

    work: Callable[[], None] = fails
    with pytest.raises(LimitExceeded):
        await turns.run("a", work)
    assert await turns.run("b", lambda: 5) == 5
    turns.close()
