"""How long the event loop lets others wait: a timer that looks how late it is called."""

from __future__ import annotations

import asyncio

TICK_SECONDS = 0.5


class LoopLag:
    """The longest delay since it was asked last; owned by the event loop."""

    def __init__(self, tick_seconds: float = TICK_SECONDS) -> None:
        self._tick = tick_seconds
        self._longest = 0.0
        self.ticked_at = 0.0

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            # At the moments at which others look, too: alone it would wake a quiet process for itself.
            due = (loop.time() // self._tick + 1) * self._tick
            await asyncio.sleep(due - loop.time())
            self.ticked_at = loop.time()
            self._longest = max(self._longest, self.ticked_at - due)

    def take(self) -> float:
        """Seconds; the measuring begins anew."""
        longest, self._longest = self._longest, 0.0
        return longest
