"""Calls a second: a share for each, turns at the rest, less of it while the process is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from candor_hub.governor import GAUGE_SECONDS, Gauge
from candor_hub.pace import BUSY_PART, MAX_CALLERS, Pace, Rate, Together

pytestmark = pytest.mark.anyio
OWN, SHARED = Rate(2, 5), Rate(100, 10)


class Clock:
    def __init__(self) -> None:
        self.now = self.used = 0.0

    def pace(self, own: Rate = OWN, shared: Rate = SHARED, together: Together | None = None) -> Pace:
        return Pace(own, shared, together, Gauge(lambda: self.used), 1.0, lambda: self.now)

    def rested(self, pace: Pace, *callers: str) -> None:
        """These have been here before, and have their whole share again."""
        for caller in callers:
            pace.charge(caller, 0)
        self.now += 10


async def gone(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Whoever waits gives up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def through(pace: Pace, clock: Clock, caller: str, calls: int, seconds: float) -> int:
    """How many of so many calls at once were let through after so long."""
    tasks = [asyncio.create_task(pace.wait(caller)) for _ in range(calls)]
    await asyncio.sleep(0)
    steps = int(seconds / 0.02)
    for _ in range(steps):
        clock.now += 0.02
        pace.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = sum(task.done() for task in tasks)
    await gone(tasks)
    return done


async def test_within_its_own_share_nobody_waits() -> None:
    clock = Clock()
    pace = clock.pace(shared=Rate(0, 0))
    clock.rested(pace, "alpha")
    assert await through(pace, clock, "alpha", 5, 0) == 5
    clock.now += 1
    assert await through(pace, clock, "alpha", 5, 0) == 2


async def test_beyond_it_all_share_what_is_left_over() -> None:
    clock = Clock()
    assert await through(clock.pace(), clock, "alpha", 1_000, 2) == pytest.approx(1 + 4 + 10 + 200, abs=4)


async def test_who_has_just_come_begins_with_one_call_and_not_with_a_whole_share() -> None:
    clock = Clock()
    pace = clock.pace(shared=Rate(0, 0))
    assert await through(pace, clock, "alpha", 5, 0) == 1
    clock.now += 10
    assert await through(pace, clock, "alpha", 5, 0) == 5


async def test_a_thousand_calls_of_one_keep_nobody_waiting() -> None:
    clock = Clock()
    pace = clock.pace(shared=Rate(1, 0))
    clock.rested(pace, "modest")
    greedy = [asyncio.create_task(pace.wait(f"greedy-{number % 20}")) for number in range(1_000)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        for _ in range(5):
            await pace.wait("modest")
    modest = asyncio.create_task(pace.wait("modest"))
    await asyncio.sleep(0)
    for _ in range(30):
        clock.now += 0.02
        pace.look()
    await asyncio.sleep(0)
    assert modest.done()
    await gone(greedy)


async def test_while_the_process_is_busy_little_is_left_over() -> None:
    clock = Clock()
    pace = clock.pace()
    tasks = [asyncio.create_task(pace.wait("alpha")) for _ in range(1_000)]
    await asyncio.sleep(0)
    for _ in range(int(10 / 0.02)):
        clock.now += 0.02
        clock.used += 0.019
        pace.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = sum(task.done() for task in tasks)
    least = 100 * BUSY_PART * 10
    assert least <= done <= least + 100 * GAUGE_SECONDS + 5 + 20 + 10 + 10
    await gone(tasks)


async def test_while_the_process_is_busy_who_has_called_least_is_first() -> None:
    """Twenty who begin all at once within their shares are taken up one after the other."""
    clock = Clock()
    pace = clock.pace(own=Rate(0.4, 4), shared=Rate(0, 0), together=Together(50, 400, 2))
    clock.rested(pace, "modest", *(f"greedy-{number}" for number in range(20)))
    pace.look()
    for _ in range(10):
        clock.now, clock.used = clock.now + GAUGE_SECONDS, clock.used + GAUGE_SECONDS
        pace.look()
    greedy = [asyncio.create_task(pace.wait(f"greedy-{number % 20}")) for number in range(80)]
    await asyncio.sleep(0)
    assert pace.gauge.busy
    assert pace.waiting >= 78
    for _ in range(30):
        clock.now, clock.used = clock.now + 0.02, clock.used + 0.02
        pace.look()
    modest = asyncio.create_task(pace.wait("modest"))
    await asyncio.sleep(0)
    for _ in range(2):
        clock.now, clock.used = clock.now + 0.02, clock.used + 0.02
        pace.look()
    await asyncio.sleep(0)
    assert modest.done()
    assert 28 <= sum(task.done() for task in greedy) <= 32
    for _ in range(100):
        clock.now += 0.02
        pace.look()
    await asyncio.sleep(0)
    assert all(task.done() for task in greedy)


async def test_who_has_fewest_calls_open_is_first_of_those_who_wait() -> None:
    """Waiting uses nothing: after a while those who want much have as much left as anybody."""
    clock = Clock()
    pace = clock.pace(own=Rate(1, 4), shared=Rate(0, 0), together=Together(1, 1, 1))
    clock.rested(pace, "modest", "greedy-0", "greedy-1", "greedy-2")
    greedy = [asyncio.create_task(pace.wait(f"greedy-{number % 3}")) for number in range(12)]
    await asyncio.sleep(0)
    modest = asyncio.create_task(pace.wait("modest"))
    await asyncio.sleep(0)
    clock.now += 1
    pace.look()
    await asyncio.sleep(0)
    assert modest.done()
    await gone(greedy)


async def test_what_was_refused_is_charged_for() -> None:
    clock = Clock()
    pace = clock.pace(shared=Rate(0, 0))
    clock.rested(pace, "alpha")
    pace.charge("alpha", 3)
    assert await through(pace, clock, "alpha", 5, 0) == 2
    for _ in range(100):
        pace.charge("alpha", 3)
    assert await through(pace, clock, "alpha", 5, 3.02) == 3


async def test_what_costs_more_is_owed_and_paid_before_the_next_one() -> None:
    clock = Clock()
    pace = clock.pace(own=Rate(10, 5), shared=Rate(0, 0))
    clock.rested(pace, "alpha")
    await pace.wait("alpha", 25)
    assert await through(pace, clock, "alpha", 1, 2.0) == 0
    assert await through(pace, clock, "alpha", 1, 0.2) == 1


async def test_who_goes_away_takes_no_turn() -> None:
    clock = Clock()
    pace = clock.pace(own=Rate(0, 1), shared=Rate(1, 1))
    await pace.wait("alpha")
    await pace.wait("alpha")
    gone, stays = (asyncio.create_task(pace.wait("alpha")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    clock.now += 1.01
    pace.look()
    await asyncio.sleep(0)
    assert stays.done()
    assert pace.waiting == 0


async def test_callers_without_number_take_no_memory_without_end() -> None:
    pace = Clock().pace()
    for number in range(MAX_CALLERS + 10):
        await pace.wait(number)
    assert len(pace._buckets) == MAX_CALLERS
