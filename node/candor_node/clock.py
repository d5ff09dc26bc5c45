"""What time it is, and whether to believe it: the one place of the node that asks the operating system."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

_TIMEX_OCTETS = 512  # struct timex has 208 on today's Linux; more does no harm
_LAST_GOOD, _TIME_ERROR = 4, 5


class Clock(Protocol):
    """Tells the time; tests put another one in its place."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the edge that reads the clock


def is_kept_by_network_time() -> bool | None:
    """Whether the kernel says that something keeps its clock (NTP, PTP); None where it does not tell.

    Asked by adjtimex(2), which changes nothing and needs no right when its modes are zero.
    """
    state = _adjtimex()
    if state == _TIME_ERROR:
        return False
    return True if 0 <= state <= _LAST_GOOD else None


def whose_clock(other: str = "the hub's") -> str:
    """Of two clocks that contradict each other, which one is more likely wrong: a sentence."""
    match is_kept_by_network_time():
        case True:
            return f"This machine's clock is kept by network time, so {other} is probably the wrong one."
        case False:
            return "This machine's clock is not kept by network time, so it is probably the wrong one."
    return "Which of the two is wrong, any other clock tells."


def _adjtimex() -> int:
    try:
        return int(_libc().adjtimex(ctypes.create_string_buffer(_TIMEX_OCTETS)))
    except (OSError, AttributeError):
        return -1


@lru_cache(1)
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
