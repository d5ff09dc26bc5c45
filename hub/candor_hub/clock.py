"""The one place where the hub reads the time; rules take `now` as an argument."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, aware and in UTC; tests bring their own."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  # the edge reads the clock


def loop_seconds() -> float:
    """The event loop's clock: the machine's monotonic one, which the guard reads, or a simulation's."""
    return asyncio.get_running_loop().time()


def until_next(seconds: float, now: float) -> float:
    """How long it is to the next moment of many that are so far apart; `now` is a loop's time.

    The same moments for all who look, so that they wake a quiet process together: alone each of them costs a
    hundred times what it does. A timer may be called a little early: that is not twice at one moment.
    """
    left = seconds - now % seconds
    return left if left > seconds / 10 else left + seconds
