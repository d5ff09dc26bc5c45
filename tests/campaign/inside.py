"""A federation in one process for the fault and power campaigns, hurried: what waits in seconds waits less.

Everything is the real code over real mTLS and real databases (`tests.federation`). Only waiting times differ:
a campaign meets thousands of faults where an agency meets one, and the pauses after each are not what it is
about. Whether the pauses themselves are right is for tests of their own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from candor_certs import mtls, profiles
from candor_certs.names import Role
from candor_hub import app as hub_app
from candor_hub.config import Config as HubConfig
from candor_node import (
    hub_client,
    inbox,
    outbox,
    publisher,
    publishing,
    renewal,
    search,
    supervision,
)
from candor_node.config import NodeConfig
from candor_proto.budget import Quota
from candor_proto.errors import CandorError
from tests.campaign.operations import Desk
from tests.federation import Federation, federation, instead
from tests.history import History
from tests.patience import PATIENCE_SECONDS

PLENTY = 10**9
# Of a process of tests.processes: for how many seconds its certificates live.
LIFE_VARIABLE = "CANDOR_TEST_LIFE_SECONDS"
NO_LIMIT = Quota(PLENTY, PLENTY, PLENTY, PLENTY, 1)


def hurry() -> None:
    """Shorten the pauses after failures, in this process."""
    supervision.CRASH_PAUSE_SECONDS = supervision.STORE_PAUSE_SECONDS = 0.02
    supervision.CRASHES_ALLOWED = PLENTY
    inbox.IDLE_SECONDS = 0.5
    hub_client.FIRST_RETRY_SECONDS, hub_client.LAST_RETRY_SECONDS = 0.05, 0.3
    outbox.IDLE_SECONDS, outbox.OWN_SENDER_SECONDS = 0.5, 1.0
    publishing.CHECK_SECONDS = publishing.RETRY_SECONDS = 0.7
    instead(search, "CALL_DEADLINE_SECONDS", 0.5)
    dialled = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 400}
    mtls.CLIENT_OPTIONS[:] = [(name, dialled.get(name, value)) for name, value in mtls.CLIENT_OPTIONS]


def short_lives(seconds: float) -> None:
    """Certificates of nodes and hub live so long, in this process; what looks after them looks as often.

    One that was made before, with the life that people have, is renewed as if it had this one.
    """
    life, own = timedelta(seconds=seconds), profiles.issued_and_life

    def issued_and_life(not_before: datetime, not_after: datetime) -> tuple[datetime, timedelta]:
        issued, whole = own(not_before, not_after)
        return issued, life if whole == timedelta(days=7) else whole

    instead(profiles, "issued_and_life", issued_and_life)
    for role in (Role.NODE, Role.HUB):
        profiles.PROFILES[role] = replace(profiles.PROFILES[role], lifetime=life)
    instead(profiles, "JITTER", 0.05)
    instead(renewal, "LOOK_SECONDS", seconds / 100)
    instead(hub_app, "MAINTENANCE_SECONDS", seconds / 20)


def quiet(errors: bool = False) -> None:
    """Log nothing, or errors only: every fault is a warning, and there are thousands."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR if errors else logging.CRITICAL),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@dataclass
class Scene:
    """The federation, who works in it, and what they were told."""

    federation: Federation
    history: History
    desks: dict[str, Desk]

    @property
    def hub(self) -> HubConfig:
        return replace(self.federation.hub.config, quota=NO_LIMIT)

    @property
    def nodes(self) -> list[NodeConfig]:
        return [node.config for node in self.federation.nodes]

    async def at_rest(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until nothing is on its way; raises TimeoutError with what still waits."""
        waiting: list[str] = []
        try:
            async with asyncio.timeout(seconds):
                while waiting := await self._waiting():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise TimeoutError(f"after {seconds:.0f} s there still waits: {'; '.join(waiting)}") from None

    async def _waiting(self) -> list[str]:
        found = []
        for name, desk in self.desks.items():
            try:
                status = await desk.status()
            except CandorError as error:
                found.append(f"{name}: {error.code}")
                continue
            if status.inbox_waiting or status.outbox_waiting or not status.attached:
                found.append(f"{name}: {status.inbox_waiting} in, {status.outbox_waiting} out")
        for node in self.federation.nodes:
            # A publication that a fault interrupted is sent again some time later.
            if await node.store.run(publisher.pending) is not None:
                found.append(f"{node.config.node}: its index")
        counts = self._mailbox()
        return found + ([f"hub: {counts}"] if counts else [])

    def _mailbox(self) -> dict[str, int]:
        with self.federation.hub.hub._store.read() as tx:
            return {str(node): count for node, count in tx.mailbox.waiting_counts().items() if count}


@asynccontextmanager
async def scene(folder: Path, agencies: int = 2, wait_seconds: float = 1.0) -> AsyncIterator[Scene]:
    """A running federation in which every agency has filed its first record."""
    async with federation(
        folder,
        agencies,
        quota_elements=PLENTY,
        quota_weak_elements=PLENTY,
        quota_match_elements=PLENTY,
        quota_code_elements=PLENTY,
        fresh=True,  # the shim records files from their first octet on
    ) as fed:
        instead(fed.hub.hub.relay, "_quota", NO_LIMIT)
        history = History()
        desks = {
            node.config.node: Desk(node.config.node, node.config.socket, history, wait_seconds)
            for node in fed.nodes
        }
        for desk in desks.values():
            await desk.file_first()
        await fed.settled()
        yield Scene(fed, history, desks)
