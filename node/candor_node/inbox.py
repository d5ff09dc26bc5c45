"""Works off the inbox: what was delivered and stored is processed, each message once, fairly between senders.

Rules of this file:
- single lookups and batches stand in two lines, each with places of its own: a batch that fills its places
  keeps no single lookup waiting;
- what is in hand is remembered in memory alone: a crash leaves it unsettled, and it is processed again;
- what arrives while there is a free place and nobody waits goes straight into a hand; the database is asked
  only for what had to wait, or was left by the run before;
- a message that trips a bug of ours is settled with its error, so that those behind it go on; a store that
  cannot be used stops the worker, which its supervisor starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from candor_node import mail_store
from candor_node.clock import Clock
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.store import Store
from candor_node.workers import Lane
from candor_proto.errors import CandorError, StoreUnusable
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind

PLACES: Mapping[Lane, int] = {Lane.SINGLE: 16, Lane.BULK: 2}
IDLE_SECONDS = 5.0

Process = Callable[[InboxRow], Awaitable[None]]


class Inbox:
    """The worker of one kind of message. `may_judge` says whether messages can be judged at all now."""

    def __init__(
        self,
        kind: MessageKind,
        store: Store,
        own: NodeId,
        clock: Clock,
        process: Process,
        may_judge: Callable[[], bool],
    ) -> None:
        self._kind = kind
        self._store = store
        self._own = own
        self._clock = clock
        self._process = process
        self._may_judge = may_judge
        self._wake = asyncio.Event()
        self._in_hand: dict[Lane, dict[asyncio.Task[None], int]] = {lane: {} for lane in Lane}
        # Lanes in which stored messages may wait that no hand holds, and those that may take none directly.
        self._behind = set(Lane)
        self._closed = set(Lane)
        self._failure: BaseException | None = None

    def wake(self) -> None:
        """Something can be judged now that could not before."""
        self._wake.set()

    def look(self) -> None:
        """Something may have been stored of which nobody told: ask the database."""
        self._behind.update(Lane)
        self._wake.set()

    async def receive(self, envelope: Envelope) -> None:
        """Store a delivery, to be processed in its turn; it is on the disk when this returns."""
        now = self._clock.now()
        try:
            row = await self._store.run(lambda db: mail_store.receive(db, envelope, now))
        except BaseException:
            # A caller that was cancelled, a commit of which nobody knows: it may be stored all the same.
            self.look()
            raise
        if row is not None:
            self._offer(row)

    def _offer(self, row: InboxRow) -> None:
        if self._free(row.lane):
            self._begin(row)
        else:
            self._behind.add(row.lane)
            self._wake.set()

    async def take(self, row: InboxRow) -> bool:
        """Process a message that is not stored, now; whether it is stored and settled.

        False, and nothing was done, when no hand is free for it: it is to be stored, and to wait.
        """
        if not self._free(row.lane):
            return False
        task = self._begin(row)
        await asyncio.wait({task})
        if task.cancelled():
            return False
        task.result()
        return True

    def _free(self, lane: Lane) -> bool:
        """Whether a message may go into a hand past the database: nobody waits, and all can be judged."""
        room = len(self._in_hand[lane]) < PLACES[lane]
        return room and lane not in self._behind and lane not in self._closed and self._may_judge()

    async def run(self) -> None:
        """Process for ever; raises what made the store unusable."""
        self._failure = None
        self._behind.update(Lane)
        try:
            while True:
                self._wake.clear()
                if self._failure is not None:
                    raise self._failure
                if self._may_judge():
                    for lane in Lane:
                        await self._take(lane)
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            # A worker that starts again must not find a message in other hands.
            self._closed.update(Lane)
            tasks = [task for hands in self._in_hand.values() for task in hands]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, lane: Lane) -> None:
        """Fill free places with what waits."""
        hands = self._in_hand[lane]
        free = PLACES[lane] - len(hands)
        if lane in self._behind and free > 0:
            # Nothing goes directly into a hand meanwhile: it might be among what is read.
            self._closed.add(lane)
            self._behind.discard(lane)
            held = tuple(hands.values())
            rows = await self._store.run(
                lambda db: mail_store.unsettled(db, self._kind, self._own, free, lane, held)
            )
            for row in rows:
                self._begin(row)
            if len(rows) == free:
                self._behind.add(lane)
        self._closed.discard(lane)

    def _begin(self, row: InboxRow) -> asyncio.Task[None]:
        task = asyncio.create_task(self._one(row))
        self._in_hand[row.lane][task] = row.number
        task.add_done_callback(partial(self._ended, row.lane))
        return task

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        del self._in_hand[lane][task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        if lane in self._behind or self._failure is not None:
            self._wake.set()

    async def _one(self, row: InboxRow) -> None:
        try:
            await self._process(row)
        except StoreUnusable:
            raise
        except Exception:
            log.exception("a message could not be processed", kind=row.envelope.kind.name)
            now = self._clock.now()
            await self._store.run(lambda db: mail_store.finish(db, row, now, CandorError.code))
