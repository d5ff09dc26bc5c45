"""Works off the inbox: what was delivered and stored is processed, each message once, fairly between senders.

Rules of this file:
- single lookups and batches stand in two lines, each with places of its own: a batch that fills its places
  keeps no single lookup waiting;
- single messages that can be processed together wait for those in hand and then go in one group;
- what is in hand is remembered in memory alone: a crash leaves it unsettled, and it is processed again;
- what arrives while there is a free place and nobody waits goes straight into a hand; the database is asked
  only for what had to wait, or was left by the run before;
- a message that cannot be judged any more, because the log closed while it was in hand, is left as it was;
- a message that trips a bug of ours is settled with its error, so that those behind it go on; a store that
  cannot be used stops the worker, which its supervisor starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial

from candor_node import mail_store
from candor_node.clock import Clock
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.store import Store
from candor_node.workers import Lane
from candor_proto.errors import CandorError, LogUnwitnessed, StoreUnusable
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind

PLACES: Mapping[Lane, int] = {Lane.SINGLE: 16, Lane.BULK: 2}
# The most single messages that are processed together: the last of them is not kept waiting for seconds.
MAX_GROUP = 32
IDLE_SECONDS = 5.0

Process = Callable[[InboxRow], Awaitable[None]]
Together = Callable[[Sequence[InboxRow]], Awaitable[None]]


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
        together: Together | None = None,
    ) -> None:
        """`together`, where there is one, processes single messages in groups: all of a group or none."""
        self._kind = kind
        self._store = store
        self._own = own
        self._clock = clock
        self._process = process
        self._may_judge = may_judge
        self._together = together
        self._wake = asyncio.Event()
        self._in_hand: dict[Lane, dict[asyncio.Task[bool], tuple[int, ...]]] = {lane: {} for lane in Lane}
        # What goes in the next group, once the present one has been processed.
        self._gathered: list[InboxRow] = []
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
        if self._passes_nobody(row.lane):
            if self._room(row.lane) > 0:
                self._begin_all(row.lane, [row])
                return
            if self._grouped(row.lane) and len(self._gathered) < MAX_GROUP:
                self._gathered.append(row)
                return
        self._behind.add(row.lane)
        self._wake.set()

    async def take(self, row: InboxRow) -> bool:
        """Process a message that is not stored, now; whether it is stored and settled.

        False, and nothing was done, when no hand is free for it: it is to be stored, and to wait.
        """
        if self._room(row.lane) <= 0 or not self._passes_nobody(row.lane):
            return False
        task = self._begin(row.lane, self._one(row), [row])
        await asyncio.wait({task})
        return not task.cancelled() and task.result()

    def _passes_nobody(self, lane: Lane) -> bool:
        """Whether a message may go on past the database: nobody waits there, and all can be judged."""
        return lane not in self._behind and lane not in self._closed and self._may_judge()

    def _grouped(self, lane: Lane) -> bool:
        return self._together is not None and lane is Lane.SINGLE

    def _room(self, lane: Lane) -> int:
        """How many messages of a lane can be taken in hand now."""
        if self._grouped(lane):
            # While one group is processed the next one gathers.
            return 0 if self._in_hand[lane] else MAX_GROUP
        return PLACES[lane] - len(self._in_hand[lane])

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
            self._gathered.clear()
            tasks = [task for hands in self._in_hand.values() for task in hands]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, lane: Lane) -> None:
        """Fill free places with what waits."""
        free = self._room(lane)
        if lane in self._behind and free > 0:
            # Nothing goes directly into a hand meanwhile: it might be among what is read.
            self._closed.add(lane)
            self._behind.discard(lane)
            held = [number for numbers in self._in_hand[lane].values() for number in numbers]
            rows = await self._store.run(
                lambda db: mail_store.unsettled(db, self._kind, self._own, free, lane, held)
            )
            self._begin_all(lane, rows)
            if len(rows) == free:
                self._behind.add(lane)
        self._closed.discard(lane)

    def _begin_all(self, lane: Lane, rows: Sequence[InboxRow]) -> None:
        if self._together is not None and self._grouped(lane) and rows:
            self._begin(lane, self._group(self._together, rows), rows)
            return
        for row in rows:
            self._begin(lane, self._one(row), [row])

    def _begin(
        self, lane: Lane, work: Coroutine[None, None, bool], rows: Sequence[InboxRow]
    ) -> asyncio.Task[bool]:
        task = asyncio.create_task(work)
        self._in_hand[lane][task] = tuple(row.number for row in rows)
        task.add_done_callback(partial(self._ended, lane))
        return task

    def _ended(self, lane: Lane, task: asyncio.Task[bool]) -> None:
        del self._in_hand[lane][task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        if self._failure is None and self._gathered and self._grouped(lane):
            rows, self._gathered = self._gathered, []
            self._begin_all(lane, rows)
        elif lane in self._behind or self._failure is not None:
            self._wake.set()

    async def _group(self, together: Together, rows: Sequence[InboxRow]) -> bool:
        try:
            await together(rows)
        except StoreUnusable:
            raise
        except LogUnwitnessed:
            return self._left()
        except Exception:
            # Which of them it is shows when each goes alone; the others are none the worse for it.
            log.exception("messages could not be processed together", kind=self._kind.name, count=len(rows))
            return all([await self._one(row) for row in rows])
        return True

    def _left(self) -> bool:
        """What was in hand is not settled: it is asked for again, in its turn."""
        self._behind.update(Lane)
        return False

    async def _one(self, row: InboxRow) -> bool:
        """Process a message; whether it is settled."""
        try:
            await self._process(row)
        except StoreUnusable:
            raise
        except LogUnwitnessed:
            return self._left()
        except Exception:
            log.exception("a message could not be processed", kind=row.envelope.kind.name)
            now = self._clock.now()
            await self._store.run(lambda db: mail_store.finish(db, row, now, CandorError.code))
        return True
