"""This process among those of the hub: its row, and the streams it holds (docs/replicas.md, section 6).

Rules of this file:
- a stream counts once its row is committed: what is put into the mailbox before that it reads for itself, of
  what comes later this process is told;
- of two streams of a node the newer ends the older, wherever each is; until then both may deliver, and the
  node knows a delivery that came twice;
- a row that this process writes, and that is committed, shows that its database is the one that the others
  write to: the age of the deny list counts from there (`vouched_at`). A former primary waits for its standby
  for ever and commits nothing: whoever depends on it closes;
- a process whose clock is far from the database's is none of them: it closes at once, appends to no log and
  forgets nothing (`trusted`, `check_clock`), until the clocks agree again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from candor_hub.clock import Clock, loop_seconds, until_next
from candor_hub.store import Store
from candor_hub.streams import Session, Streams, Timing, newer_stream
from candor_proto.errors import CandorError, ClockWrong
from candor_proto.ids import NodeId

log = structlog.get_logger(__name__)

T = TypeVar("T")
# Beside an embedded database there is no other process that asks: the row is for the operator's commands.
ALONE_SECONDS = 5.0
LEAVE_SECONDS = 3.0
# How old the deny list is said to be by a process whose clock is wrong: older than anybody accepts.
CLOSED_SECONDS = 86_400.0
_NAME_OCTETS = 6


class Replica:
    """One for each process; the event loop owns it."""

    def __init__(
        self, store: Store, streams: Streams, clock: Clock, timing: Timing, version: str, name: str = ""
    ) -> None:
        """`name` is a new one for each start, unless given: lower-case letters and digits."""
        self.name = name or secrets.token_hex(_NAME_OCTETS)
        self._store = store
        self._streams = streams
        self._clock = clock
        self._version = version
        self.alone = store.server is None
        self._seconds = ALONE_SECONDS if self.alone else timing.poll_seconds
        self._vouched_at = 0.0
        self._clock_wrong = False
        self._attaching: dict[Session, asyncio.Future[None]] = {}
        self._ended: dict[NodeId, int] = {}
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stopped = False
        # Of their own: a database that does not answer must not take the threads of everything else.
        self._pulse_thread = ThreadPoolExecutor(1, "replica")
        self._thread = ThreadPoolExecutor(1, "attachments")

    def vouched_at(self) -> float:
        """Until when the database is known to be everybody's (`time.monotonic`, seconds)."""
        if self.alone:
            return time.monotonic()
        return self._vouched_at if self.trusted else time.monotonic() - CLOSED_SECONDS

    @property
    def trusted(self) -> bool:
        """Whether this machine's clock was the database's when it was compared last, a moment ago."""
        return not self._clock_wrong

    def check_clock(self) -> None:
        """Before anything is forgotten because it is old; raises ClockWrong, StoreUnusable. Blocks."""
        if not self.alone:
            with self._store.read() as tx:
                tx.replicas.check_clock(self._clock.now())

    async def begin(self) -> None:
        """Be one of the hub's processes; raises StoreUnusable, ClockWrong."""
        await self._pulse()

    async def close(self) -> None:
        """Say that this process holds no streams any more; a second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        try:
            await asyncio.wait_for(self._in(self._thread, self._leave), LEAVE_SECONDS)
        except (CandorError, TimeoutError):
            log.warning("this process could not say that it ends; the others notice")
        for pool in (self._pulse_thread, self._thread):
            pool.shutdown(wait=False, cancel_futures=True)

    # --- this process's row -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Be seen, for ever."""
        while True:
            await asyncio.sleep(until_next(self._seconds, loop_seconds()))
            try:
                await self._pulse()
            except CandorError as error:
                log.error("this process cannot be seen", code=error.code, message=error.message)

    async def _pulse(self) -> None:
        began, held = time.monotonic(), self._held()
        try:
            older = await self._in(self._pulse_thread, partial(self._be_seen, held))
        except ClockWrong:
            self._clock_wrong = True
            raise
        self._clock_wrong, self._vouched_at = False, began
        self._end(older, held)
        if self._ended:
            self._changed.set()

    def _be_seen(self, held: dict[NodeId, int]) -> tuple[NodeId, ...]:
        with self._store.write() as tx:
            # Behind the lock, for which it may have waited.
            now = self._clock.now()
            tx.replicas.check_clock(now)
            tx.replicas.seen(self.name, self._version, now)
            tx.replicas.drop_gone(now)
            return tx.replicas.claim(self.name, held)

    def _leave(self) -> None:
        with self._store.write() as tx:
            tx.replicas.detach(self.name, self._ended, self._clock.now())
            tx.replicas.leave(self.name)

    # --- streams ----------------------------------------------------------------------------------------

    async def attach(self, session: Session) -> None:
        """Returns when every replica can know that this session is its node's newest; raises StoreUnusable.

        Where there is no other replica nobody else needs to know, and nothing is raised.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._attaching[session] = done
        self._changed.set()
        try:
            await done
        except CandorError as error:
            if not self.alone:
                raise
            log.error("an attachment was not written down", code=error.code, message=error.message)

    def detach(self, session: Session) -> None:
        """The session is over."""
        waiting = self._attaching.pop(session, None)
        if waiting is not None:
            waiting.cancel()
        if session.generation:
            self._note_end({session.node: session.generation})
            self._changed.set()

    def _note_end(self, ended: dict[NodeId, int]) -> None:
        for node, generation in ended.items():
            self._ended[node] = max(generation, self._ended.get(node, 0))

    async def write(self) -> None:
        """Write down who came and went, for ever: what gathers meanwhile is the next transaction."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            came, self._attaching = self._attaching, {}
            gone, self._ended = self._ended, {}
            nodes = {session.node for session in came}
            try:
                given = await self._in(self._thread, partial(self._write, nodes, gone))
            except Exception as error:
                for done in came.values():
                    if not done.done():
                        done.set_exception(error)
                self._note_end(gone)  # with the next ones, or the next pulse
                if not isinstance(error, CandorError):
                    log.error("attachments could not be written", exc_info=error)
                continue
            self._settle(given)
            for done in came.values():
                if not done.done():
                    done.set_result(None)

    def _settle(self, given: dict[NodeId, int]) -> None:
        """The streams that these rows stand for; one may have ended while its row was written."""
        for node, generation in given.items():
            session = self._streams.of(node)
            if session is not None:
                session.generation = generation
            else:
                self._note_end({node: generation})
                self._changed.set()

    def _write(self, nodes: set[NodeId], gone: dict[NodeId, int]) -> dict[NodeId, int]:
        now = self._clock.now()
        with self._store.write() as tx:
            tx.replicas.detach(self.name, gone, now)
            given = tx.replicas.attach(self.name, nodes, now)
            if nodes:
                tx.notices.attached()
            return given

    def heard(self) -> None:
        """Nodes have attached to another replica."""
        self._hurry.set()

    async def watch(self) -> None:
        """End the streams whose node has a newer one elsewhere, as soon as that is said, for ever."""
        while True:
            await self._hurry.wait()
            self._hurry.clear()
            held = self._held()
            try:
                older = await self._in(self._thread, partial(self._older, held))
            except CandorError as error:
                log.error("attachments could not be read", code=error.code, message=error.message)
                continue  # the next pulse looks again
            self._end(older, held)

    def _older(self, held: dict[NodeId, int]) -> tuple[NodeId, ...]:
        with self._store.read() as tx:
            return tx.replicas.older(self.name, held)

    def _held(self) -> dict[NodeId, int]:
        return {session.node: session.generation for session in self._streams.all() if session.generation}

    def _end(self, older: tuple[NodeId, ...], held: dict[NodeId, int]) -> None:
        for node in older:
            session = self._streams.of(node)
            if session is not None and session.generation == held[node]:
                session.end(newer_stream(node))

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
