"""What time it is: the one place of the node that asks the operating system."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests put another one in its place."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the edge that reads the clock
