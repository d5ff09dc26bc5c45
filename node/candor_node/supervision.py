"""Background work, supervised: a task that crashes is logged with its traceback and started again.

Rules of this file:
- one that keeps crashing ends the node, for a node that only seems to run is worse than none;
- a database that cannot be used (a full disk) is waited for, however long: what cannot be stored is not
  acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from candor_node.logs import log
from candor_proto.errors import CandorError, StoreUnusable

CRASHES_ALLOWED = 5
CRASH_WINDOW_SECONDS = 60.0
CRASH_PAUSE_SECONDS = 1.0
STORE_PAUSE_SECONDS = 5.0


class Supervisor:
    """The tasks of one node. Belongs to the event loop."""

    def __init__(self) -> None:
        self.failures: asyncio.Queue[CandorError] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, again and again until `stop`."""
        self._tasks.append(asyncio.create_task(self.supervise(name, work), name=name))

    async def stop(self) -> None:
        """End all work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def failure(self) -> None:
        """Wait, mostly for ever; raises what kept a task from working, once it kept failing."""
        raise await self.failures.get()

    async def supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        loop, crashes = asyncio.get_running_loop(), list[float]()
        while True:
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except StoreUnusable as error:
                # A full disk is no bug of ours: once there is room again the node goes on by itself.
                log.error("the database cannot be used", task=name, code=error.code, reason=error.message)
                await asyncio.sleep(STORE_PAUSE_SECONDS)
            except Exception as error:
                log.exception("a task crashed", task=name)
                crashes = [at for at in crashes if loop.time() - at < CRASH_WINDOW_SECONDS]
                crashes.append(loop.time())
                if len(crashes) > CRASHES_ALLOWED:
                    self.failures.put_nowait(_honest(name, error))
                    return
            await asyncio.sleep(CRASH_PAUSE_SECONDS)


def _honest(name: str, error: Exception) -> CandorError:
    if isinstance(error, CandorError):
        return error
    return CandorError(f"The task {name} keeps failing; the log says why.")
