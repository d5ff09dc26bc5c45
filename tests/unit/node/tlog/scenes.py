"""A node that follows a log of tests.memory_log: its store, a clock that is set, and its follower."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from candor_node.store import Store
from candor_node.tlog.folding import Self
from candor_node.tlog.follower import Follower
from candor_proto.errors import CandorError
from candor_proto.ids import NodeId
from candor_proto.tlog.policy import Policy
from tests.empty import empty_store
from tests.memory_log import FEDERATION, NOW, Log

KEY = bytes(range(32))
OWN = NodeId("alpha")


@dataclass
class SetClock:
    """What time it is, as a test says."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def pass_(self, **amount: float) -> None:
        self.moment += timedelta(**amount)


@dataclass
class Reader:
    """One node's follower; `log` may be exchanged for another one: what the hub serves."""

    log: Log
    store: Store
    policy: Policy | None = None
    clock: SetClock = field(default_factory=SetClock)
    follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process on the same database."""
        party = self.log.parties.all[OWN]
        own = Self(OWN, party.signing.public.value, party.disclosure.public)
        self.follower = Follower(self._get, self.store, FEDERATION, own, self.clock, self.policy)

    async def _get(self, path: str) -> bytes:
        return await self.log.get(path)

    async def refused(self) -> CandorError:
        """What `follow` raises now; fails when it does not."""
        try:
            await self.follower.follow()
        except CandorError as error:
            return error
        raise AssertionError("it was taken up")

    async def contradictions(self) -> list[Any]:
        from candor_node.tlog import contradictions

        return await self.store.run(contradictions.kept)


def play(
    folder: Path, scene: Callable[[Reader], Awaitable[None]], log: Log | None = None, **given: Any
) -> None:
    """Run a scene with a reader of `log`."""
    store = empty_store(folder / "node.db", KEY)
    try:
        reader = Reader(log or Log(), store, **given)
        asyncio.run(scene(reader))  # type: ignore[arg-type]  # a coroutine function
    finally:
        store.close()
