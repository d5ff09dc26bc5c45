"""Two sessions with PostgreSQL beside those of transactions: one that listens, one that holds a lock.

Rules of this file:
- both are watched: that a connection broke is seen at once, that the other side fell silent within seconds;
- who did not listen may have missed something: it is told to look at everything when it listens again;
- the lock is the session's. The server does not see that a process stands still, so the session has to speak
  once a second, or the server ends it and gives the lock to another: what the process does when it goes on is
  stopped by the term (`fence`), not here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psycopg
import structlog

from candor_hub.driver.lineage import LINEAGE, FormerPrimary
from candor_hub.driver.postgresql import Server
from candor_proto.errors import StoreUnusable

log = structlog.get_logger(__name__)

# The advisory lock of who writes the log; WRITER, beside it, is the driver's.
SEQUENCER = 0x43616E646F720002
SPEAK_SECONDS = 1.0
# A session that did not speak for so long is ended: by us when the server does not answer, by the server when
# we do not.
SILENT_SECONDS = 6.0
CONNECT_SECONDS = 10.0
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 3.0

Connection = psycopg.AsyncConnection[Any]


async def connect(server: Server) -> Connection:
    """A session on the primary, outside of transactions; raises StoreUnusable."""
    try:
        return await _connect(server)
    except FormerPrimary:
        for other in server.each():
            if other is not server:
                with suppress(StoreUnusable):
                    return await _connect(other)
        raise


async def _connect(server: Server) -> Connection:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            session = await Connection.connect(**server.arguments(), autocommit=True)  # type: ignore[arg-type]
            try:
                server.lineage.check(await (await session.execute(LINEAGE.encode())).fetchone(), server.name)
                await session.execute(f"SET idle_session_timeout = '{SILENT_SECONDS:.0f}s'".encode())
            except BaseException:
                await session.close()
                raise
    except (psycopg.Error, TimeoutError, OSError):
        raise _unreachable(server) from None
    return session


def _unreachable(server: Server) -> StoreUnusable:
    return StoreUnusable(
        f"The database {server.name} cannot be reached.",
        remedy="candor-hub goes on by itself when a primary answers.",
    )


async def speak(session: Connection) -> None:
    """Let the server know that we are there, and learn that it is; raises psycopg.Error or TimeoutError."""
    async with asyncio.timeout(SILENT_SECONDS):
        await session.execute(b"SELECT 1")


async def end(session: Connection) -> None:
    with suppress(psycopg.Error, TimeoutError, OSError):
        async with asyncio.timeout(1.0):
            await session.close()


def retry_delay(failures: int) -> float:
    """Seconds; jittered, for every replica lost the same server at the same moment."""
    ceiling: float = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures, 10))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing


class Listener:
    """Hears notifications; one event loop owns it."""

    def __init__(self, server: Server, heard: Mapping[str, Callable[[], None]]) -> None:
        """`heard` by channel: called in the event loop, with no more said than that there was something."""
        self._server = server
        self._heard = heard
        self._listening = asyncio.Event()

    @property
    def listens(self) -> bool:
        """Whether notifications are heard at the moment."""
        return self._listening.is_set()

    async def run(self) -> None:
        """For ever: connects again, and again, whenever the connection is lost."""
        failures = 0
        while True:
            try:
                await self._listen()
            except (StoreUnusable, psycopg.Error, TimeoutError, OSError):
                if self._listening.is_set():
                    failures = 0
                    log.warning("notifications are not heard")
            finally:
                self._listening.clear()
            await asyncio.sleep(retry_delay(failures))
            failures += 1

    async def _listen(self) -> None:
        session = await connect(self._server)
        try:
            for channel in self._heard:
                await session.execute(f'LISTEN "{channel}"'.encode())
            self._listening.set()
            for heard in self._heard.values():
                heard()
            while True:
                async for notification in session.notifies(timeout=SPEAK_SECONDS):
                    self._heard[notification.channel]()
                await speak(session)
        finally:
            await end(session)


class SequencerLock:
    """The same lock for a command that runs beside the hub, and blocks (`tlog.files.Lock`)."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session: psycopg.Connection[Any] | None = None

    def take(self) -> None:
        """Raises StoreUnusable when a replica has it."""
        try:
            session = self._server.connect(autocommit=True)
            self._session = session
            row = session.execute("SELECT pg_try_advisory_lock(%s)", (SEQUENCER,)).fetchone()
        except psycopg.Error:
            raise _unreachable(self._server) from None
        if row is None or not row[0]:
            self.give_back()
            raise StoreUnusable("A candor-hub writes this log.", remedy="Stop every replica first.")

    def give_back(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class SessionLease:
    """The lock SEQUENCER, on a session of its own (`tlog.lease.Lease`); one event loop owns it."""

    def __init__(self, server: Server, lock: int = SEQUENCER) -> None:
        self._server = server
        self._lock = lock
        self._session: Connection | None = None
        self._held = False
        self._taken = asyncio.Event()
        self._on_lost: Callable[[], None] = lambda: None

    @property
    def held(self) -> bool:
        return self._held

    def on_lost(self, heard: Callable[[], None]) -> None:
        """`heard` is called in the event loop as soon as the lock is known to be lost."""
        self._on_lost = heard

    async def take(self) -> bool:
        """Take the lock if nobody has it, now; whether this process has it. Raises StoreUnusable."""
        if self._held:
            return True
        if self._session is None or self._session.closed:
            self._session = await connect(self._server)
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                found = await self._session.execute("SELECT pg_try_advisory_lock(%s)", (self._lock,))
                row = await found.fetchone()
        except (psycopg.Error, TimeoutError, OSError):
            await self._drop()
            raise StoreUnusable(
                "The session for the log's lock was lost.",
                remedy="candor-hub goes on by itself when a primary answers.",
            ) from None
        self._held = row is not None and bool(row[0])
        if self._held:
            self._taken.set()
        return self._held

    async def keep(self) -> None:
        """Speak on the session while the lock is held, for ever; a lost one is told at once."""
        while True:
            await self._taken.wait()
            session = self._session
            try:
                while self._held and session is not None:
                    # Nothing is sent here: what ends the waiting early is that the connection broke.
                    async for _ in session.notifies(timeout=SPEAK_SECONDS):
                        pass
                    await speak(session)
            except (psycopg.Error, TimeoutError, OSError):
                if self._held:
                    log.warning("the lock of the log was lost")
                    await self._drop()
                    self._on_lost()

    async def give_back(self) -> None:
        """Let another process have it; a second call does nothing."""
        await self._drop()

    async def _drop(self) -> None:
        session, self._session = self._session, None
        self._held = False
        self._taken.clear()
        if session is not None:
            await end(session)
