"""Where a node stands with its hub, and whether it may send lookups now (docs/protocol.md §8.4)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from candor_proto.errors import CandorError, ClockWrong, Unreachable

# A hub or a replica that is being replaced is back within seconds. Whoever asks meanwhile waits for it, so
# long at most; where it was away for longer than that already, he is told so at once.
LINE_SECONDS = 30.0


class Connection:
    """Where the node stands with the hub, and since when. Belongs to the event loop."""

    def __init__(self, now: datetime) -> None:
        self.attached = False
        # Since when it is attached, or is not, on this machine's clock.
        self.since = now
        self.hub_time: datetime | None = None
        self.trouble: CandorError | None = None
        self.first_attached = asyncio.Event()
        self._here = asyncio.Event()

    def welcomed(self, hub_time: datetime, now: datetime) -> None:
        """The hub has taken this node in."""
        self.attached, self.since, self.trouble, self.hub_time = True, now, None, hub_time
        self.first_attached.set()
        self._here.set()

    def lost(self, error: CandorError, now: datetime) -> None:
        """The stream ended, or could not be opened once more; the first time counts, and the last reason."""
        if self.attached:
            self.since = now
        self.attached, self.trouble = False, error
        self._here.clear()

    async def wait_for_line(self, now: datetime, seconds: float) -> None:
        """Wait until the node is attached, `seconds` at most, if it is not so for a moment only.

        Raises nothing: `check_ready` says how it ended.
        """
        if not self.attached and abs(now - self.since) < timedelta(seconds=LINE_SECONDS):
            with suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, LINE_SECONDS)):
                    await self._here.wait()

    def check_ready(self) -> None:
        """Raises when this node must not, or cannot, send lookups now (§8.4)."""
        if isinstance(self.trouble, ClockWrong):
            raise ClockWrong(self.trouble.message, remedy=self.trouble.remedy)
        if self.attached:
            return
        if self.trouble is not None:
            raise Unreachable(self.trouble.message, remedy=self.trouble.remedy)
        raise Unreachable("This node is not connected to the hub yet.", remedy="Try again in a moment.")
