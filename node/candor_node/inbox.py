"""Works off the inbox: what was delivered and stored is processed, each message once, fairly between senders.

Rules of this file:
- single lookups and batches stand in two lines, each with places of its own: a batch that fills its places
  keeps no single lookup waiting;
- single messages that can be processed together wait for those in hand and then go in one group;
- what is in hand is remembered in memory alone: a crash leaves it unsettled, and it is processed again;
- a message that trips a bug of ours is settled with its error, so that those behind it go on; a store that
  cannot be used stops the worker, which its supervisor starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from candor_node import mail_store
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.store import Store
from candor_node.workers import Lane
from candor_proto.errors import CandorError, StoreUnusable
from candor_proto.ids import NodeId
from candor_wire.codec import MessageKind

PLACES: Mapping[Lane, int] = {Lane.SINGLE: 16, Lane.BULK: 2}
# Answers to a batch are opened in helpers, which idle while one is decoded and stored unless others wait.
ANSWER_PLACES: Mapping[Lane, int] = {**PLACES, Lane.BULK: 4}
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
        process: Process,
        may_judge: Callable[[], bool],
        after: Callable[[], None],
        together: Together | None = None,
    ) -> None:
        """`after` hears of each message processed: what it put into the outbox can be sent.

        `together`, where there is one, processes single messages in groups: all of a group or none.
        """
        self._kind = kind
        self._store = store
        self._own = own
        self._process = process
        self._may_judge = may_judge
        self._after = after
        self._together = together
        self._wake = asyncio.Event()
        self._in_hand: dict[Lane, dict[asyncio.Task[None], tuple[int, ...]]] = {lane: {} for lane in Lane}

    def wake(self) -> None:
        """Something was delivered, or can be judged now."""
        self._wake.set()

    async def run(self) -> None:
        """Process for ever; raises what made the store unusable."""
        try:
            while True:
                self._wake.clear()
                if self._may_judge():
                    await self._take()
                await self._wait()
        finally:
            # A worker that starts again must not find a message in other hands.
            tasks = [task for hands in self._in_hand.values() for task in hands]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for hands in self._in_hand.values():
                hands.clear()

    async def _take(self) -> None:
        free = {lane: places for lane in Lane if (places := self._free(lane)) > 0}
        if not free:
            return
        but = [number for hands in self._in_hand.values() for numbers in hands.values() for number in numbers]
        found = await self._store.run(
            lambda db: {
                lane: mail_store.unsettled(db, self._kind, self._own, places, lane, but)
                for lane, places in free.items()
            }
        )
        for lane, rows in found.items():
            hands = self._in_hand[lane]
            if lane is Lane.SINGLE and self._together is not None and rows:
                hands[asyncio.create_task(self._group(self._together, rows))] = tuple(
                    row.number for row in rows
                )
                continue
            for row in rows:
                hands[asyncio.create_task(self._one(row))] = (row.number,)

    def _free(self, lane: Lane) -> int:
        """How many messages of a lane can be taken in hand now."""
        if lane is Lane.SINGLE and self._together is not None:
            # While one group is processed the next one gathers.
            return 0 if self._in_hand[lane] else MAX_GROUP
        places = ANSWER_PLACES if self._kind is MessageKind.ANSWER else PLACES
        return places[lane] - len(self._in_hand[lane])

    async def _wait(self) -> None:
        """Until a message is done, something arrives, or some time has passed."""
        arrival = asyncio.create_task(self._wake.wait())
        tasks = {task for hands in self._in_hand.values() for task in hands}
        try:
            await asyncio.wait({arrival, *tasks}, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
        for hands in self._in_hand.values():
            for task in [task for task in hands if task.done()]:
                del hands[task]
                task.result()
                self._after()

    async def _group(self, together: Together, rows: Sequence[InboxRow]) -> None:
        try:
            await together(rows)
        except StoreUnusable:
            raise
        except Exception:
            # Which of them it is shows when each goes alone; the others are none the worse for it.
            log.exception("messages could not be processed together", kind=self._kind.name, count=len(rows))
            for row in rows:
                await self._one(row)

    async def _one(self, row: InboxRow) -> None:
        try:
            await self._process(row)
        except StoreUnusable:
            raise
        except Exception:
            log.exception("a message could not be processed", kind=row.envelope.kind.name)
            await self._store.run(lambda db: mail_store.settle(db, row.number, CandorError.code))
