"""The right to append to the log, which one replica has at a time.

A lease is not what keeps two from appending: the term is (`store.fence`). It says who may begin a term.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from candor_hub.tlog.files import Lock


class Lease(Protocol):
    """One event loop owns it."""

    @property
    def held(self) -> bool:
        """Whether this replica has it, as far as it knows."""

    def on_lost(self, heard: Callable[[], None]) -> None:
        """`heard` is called in the event loop as soon as the lease is known to be lost."""

    async def take(self) -> bool:
        """Take it if nobody has it, now; whether this replica has it. Raises StoreUnusable."""

    async def keep(self) -> None:
        """Watch over it, for ever."""

    async def give_back(self) -> None:
        """Let another replica have it; a second call does nothing."""


class FolderLease:
    """The lock of the folder `log`: beside an embedded database a second process does not start."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._held = False

    @property
    def held(self) -> bool:
        return self._held

    def on_lost(self, heard: Callable[[], None]) -> None:
        """It is never lost: the kernel keeps it until this process ends."""

    async def take(self) -> bool:
        """Raises StoreUnusable when another process has it."""
        if not self._held:
            await asyncio.to_thread(self._lock.take)
            self._held = True
        return True

    async def keep(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def give_back(self) -> None:
        self._lock.give_back()
        self._held = False
