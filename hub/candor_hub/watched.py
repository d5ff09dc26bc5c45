"""What is shown of a running hub: the listener with metrics and health, and gRPC's health service.

It is built beside the hub by `app`, and asks it; nothing of the hub's work depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health

from candor_hub.metrics import HubMetrics, Readings, Stored, lives, read_backup, read_database
from candor_hub.readiness import LOOK_SECONDS, Health
from candor_proto.errors import CandorError, ConfigInvalid
from candor_watch.listener import Listener, Readiness
from candor_watch.loop_lag import LoopLag
from candor_watch.metrics import Cached

if TYPE_CHECKING:
    from candor_hub.clock import Clock
    from candor_hub.config import Config
    from candor_hub.keys import HubKeys
    from candor_hub.store import Store
    from candor_hub.streams import Streams, Watch
    from candor_hub.tlog.hub_log import HubLog

log = structlog.get_logger(__name__)

T = TypeVar("T")
SERVICE = "candor.v1.HubService"
# Who asks more often than this is told the same again.
READY_CACHE_SECONDS = 1.0


class Watched:
    """Owned by the event loop."""

    def __init__(
        self,
        config: Config,
        store: Store,
        keys: Callable[[], HubKeys],
        streams: Streams,
        watch: Watch,
        log: HubLog,
        clock: Clock,
        counters: HubMetrics,
    ) -> None:
        self._config = config
        self._store = store
        self._keys = keys
        self._streams = streams
        self._watch = watch
        self._log = log
        self._clock = clock
        self._counters = counters
        self._lag = LoopLag()
        self._thread = ThreadPoolExecutor(1, "metrics")
        self.health = Health(store, keys, watch.age_seconds, streams, clock)
        self._ready = Cached(self.health.look, READY_CACHE_SECONDS)
        self._shown = Cached(self._show)
        self._listener = Listener(self._shown.get, self._ready.get)
        self.grpc = grpc_health.HealthServicer()

    async def start(self) -> int:
        """The port that it listens on, 0 for none; raises ConfigInvalid.

        An address that nobody asked for may be somebody else's: that is no reason not to run.
        """
        config = self._config
        if not config.metrics_address:
            return 0
        try:
            return await self._listener.start(config.metrics_address, any_name=config.metrics_allow_remote)
        except ConfigInvalid as error:
            if config.metrics_wanted:
                raise
            log.warning("metrics are not served", code=error.code, reason=error.message)
            return 0

    async def stop(self) -> None:
        await self.grpc.enter_graceful_shutdown()
        await self._listener.stop()
        self.health.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def run(self) -> None:
        """Measure the loop, and tell gRPC's health service, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lag.run())
            tasks.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            ready = (await self._ready.get()).ready
            status = health_pb2.HealthCheckResponse
            for service in ("", SERVICE):
                await self.grpc.set(service, status.SERVING if ready else status.NOT_SERVING)
            await asyncio.sleep(LOOK_SECONDS)

    async def ready(self) -> Readiness:
        """As `/readyz` tells it."""
        return await self._ready.get()

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """In a thread of our own: those of the process are for members."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _show(self) -> bytes:
        """The exposition; what the database would have to say is left out where it says nothing."""
        now, keys = self._clock.now(), self._keys()
        ready = await self._ready.get()
        attached = {session.node: session.version for session in self._streams.all()}
        stored: Stored | None = None
        # A database that does not answer is not asked: the scrape has to end.
        if "database_slow" not in ready.reasons:
            with contextlib.suppress(CandorError):
                stored = await self._aside(read_database, self._store, now)
        disk = await self._aside(shutil.disk_usage, self._config.data)
        return await self._aside(
            self._counters.render,
            Readings(
                now=now,
                database="sqlite" if self._store.server is None else "postgresql",
                attached=attached,
                sequencer_held=self._log.leads,
                deny_list_age_seconds=self._watch.age_seconds(),
                loop_lag_seconds=self._lag.take(),
                ready=ready,
                certificates=lives(keys, now),
                backup=await self._aside(read_backup, self._config.data),
                disk_free=disk.free,
                disk_total=disk.total,
                stored=stored,
            ),
        )
