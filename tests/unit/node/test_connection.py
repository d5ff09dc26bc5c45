"""Who asks while a hub is being replaced waits for it; who asks while it is away is told so (§8.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from candor_node import connection as module
from candor_node.connection import LINE_SECONDS, Connection
from candor_proto.errors import ClockWrong, Unreachable
from tests.records import NOW

GONE = Unreachable("The hub is stopping.")


async def asking(held: Connection, away: timedelta, meanwhile: Callable[[], None], seconds: float) -> bool:
    """Whether it waited for `meanwhile` to happen."""
    happened: list[bool] = []

    async def later() -> None:
        happened.append(True)
        meanwhile()

    task = asyncio.create_task(later())
    await held.wait_for_line(NOW + away, seconds)
    waited = bool(happened)
    await task
    return waited


def lost() -> Connection:
    held = Connection(NOW - timedelta(hours=3))
    held.welcomed(NOW, NOW - timedelta(hours=2))
    held.lost(GONE, NOW)
    return held


def test_a_line_that_was_lost_a_moment_ago_is_waited_for() -> None:
    held = lost()
    assert asyncio.run(asking(held, timedelta(seconds=1), lambda: held.welcomed(NOW, NOW), 1000.0))
    held.check_ready()


def test_a_hub_that_is_away_for_longer_is_told_at_once() -> None:
    held = lost()
    assert not asyncio.run(asking(held, timedelta(seconds=LINE_SECONDS), lambda: None, 1000.0))
    with pytest.raises(Unreachable, match="is stopping"):
        held.check_ready()


def test_a_line_that_does_not_come_back_is_waited_for_no_longer_than_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 1000.0)
    held = lost()
    assert asyncio.run(asking(held, timedelta(0), lambda: held.lost(GONE, NOW), 0.01))
    with pytest.raises(Unreachable, match="is stopping"):
        held.check_ready()


def test_who_is_attached_waits_for_nothing() -> None:
    held = Connection(NOW)
    held.welcomed(NOW, NOW)
    assert not asyncio.run(asking(held, timedelta(0), lambda: None, 1000.0))


def test_a_clock_that_is_wrong_is_said_when_the_wait_is_over() -> None:
    held = lost()
    held.lost(ClockWrong("Your clock is wrong."), NOW)
    asyncio.run(asking(held, timedelta(0), lambda: None, 0.01))
    with pytest.raises(ClockWrong):
        held.check_ready()
