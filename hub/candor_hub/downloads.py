"""Responses of many parts: directories, segments, files of the log.

Rules of this file:
- parts are written in turns, a few at a time: a thousand members that fetch a new directory at once do not
  keep anybody's lookup waiting for a thousand parts;
- who does not read holds no turn: a part that is not taken at once is waited for aside, PART_SECONDS at most;
- a member may have so many going; further ones wait for their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Any

from candor_hub.turns import Turns
from candor_proto.errors import Unreachable

# A node fetches four segments, the directory and a file of the log at a time.
MAX_DOWNLOADS_OF_ONE_MEMBER = 6
# Each part is in memory until it is taken; of members, not of calls.
MAX_DOWNLOADS = 4_096
PARTS_AT_ONCE = 16
TURN_SECONDS = 0.02
PART_SECONDS = 30.0

Write = Callable[[Any], Awaitable[None]]


class Downloads:
    """One for each process; the event loop owns it."""

    def __init__(self) -> None:
        self._downloads = Turns("downloads", MAX_DOWNLOADS, MAX_DOWNLOADS_OF_ONE_MEMBER)
        self._parts = Turns("parts", PARTS_AT_ONCE, 2)

    async def send(self, caller: Hashable, parts: AsyncIterator[Any], write: Write) -> None:
        """Write all parts; raises LimitExceeded, Unreachable, and what making them raises."""
        async with self._downloads.place(caller):
            async for part in parts:
                await self._send(caller, part, write)

    async def _send(self, caller: Hashable, part: Any, write: Write) -> None:
        async with self._parts.place(caller):
            writing = asyncio.ensure_future(write(part))
            try:
                await asyncio.wait({writing}, timeout=TURN_SECONDS)
            except BaseException:
                writing.cancel()
                raise
        try:
            async with asyncio.timeout(PART_SECONDS):
                await writing
        except TimeoutError:
            raise Unreachable("What was asked for was not taken in time.", remedy="Try again.") from None
