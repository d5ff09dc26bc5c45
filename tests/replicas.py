"""Several replicas of one hub, in this process, on a PostgreSQL database of their own.

    async with replicas(tmp_path, 3) as (a, b, c):
        alpha = await enrol(a, "alpha")
        async with at(alpha, b).attached() as stream:
            ...

Everything is real but that they share an event loop; `tests/campaign/replicas.py` has processes.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from candor_certs.store import make_private_folder
from candor_hub.config import Config
from candor_hub.founding import Wishes, found
from candor_hub.keys import DATABASE_KEY
from candor_hub.store.replicas import Replicas
from candor_hub.streams import Timing
from candor_proto.budget import Quota
from tests.hubs import FEDERATION, QUICK, MemberClient, RunningHub, running_hub
from tests.postgres import new_database, unsafe

# What is not told takes longer than a test does.
TOLD_ONLY = replace(QUICK, poll_seconds=30.0, redelivery_seconds=30.0)


def founded_on(folder: Path, url: str) -> Config:
    """The configuration of a new hub on this database, listening on free ports of 127.0.0.1."""
    local = "127.0.0.1:0"
    wishes = Wishes(FEDERATION, local, local, new_member_wait_hours=0, nodes=50, database_url=url)
    return found(folder, wishes, datetime.now(UTC))


def bare(config: Config, folder: Path) -> Config:
    """For a replica of this hub in a data folder of its own, which holds nothing but the database's key."""
    make_private_folder(folder)
    make_private_folder(folder / "keys")
    shutil.copy(config.keys / DATABASE_KEY, folder / "keys")
    return replace(config, data=folder)


@asynccontextmanager
async def replicas(
    folder: Path, count: int, *, timing: Timing = QUICK, quota: Quota | None = None, url: str = ""
) -> AsyncIterator[tuple[RunningHub, ...]]:
    """So many of a new hub, on a new database or the empty one at `url`."""
    with unsafe():
        config = await asyncio.to_thread(founded_on, folder / "hub", url or new_database())
        config = replace(config, quota=quota or config.quota)
        configs = [bare(config, folder / f"replica-{number}") for number in range(count)]
        async with AsyncExitStack() as stack:
            yield tuple(
                [
                    await stack.enter_async_context(running_hub(folder, config=config, timing=timing))
                    for config in configs
                ]
            )


def let_time_pass_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock is real: a hub whose clock a test moves would be the one that is wrong, and close.

    From here on it goes along with whoever asks.
    """
    monkeypatch.setattr(Replicas, "now", lambda _, now: now)


def at(client: MemberClient, hub: RunningHub) -> MemberClient:
    """The same member, over a connection to this replica."""
    return replace(client, hub=hub)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Until it holds; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def listening(*hubs: RunningHub) -> None:
    """Until each replica hears notifications."""
    for hub in hubs:
        listener = hub.hub.listener
        assert listener is not None
        await until(lambda listener=listener: listener.listens)  # type: ignore[misc]
