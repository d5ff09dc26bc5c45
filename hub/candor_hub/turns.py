"""Work of one kind for many: a bounded number at a time, and whoever wants it takes turns.

    reads = Turns("reads", 4)
    quota = await reads.run(node, work)        # in a thread of this kind's own
    async with uploads.place(node): ...        # or on the event loop, while others wait

Rules of this file:
- callers take turns, each its oldest first: who wants a thousand delays another's one by a turn, not by a
  thousand;
- each kind has threads of its own: slow work of one kind never keeps another from its threads;
- who waits holds nothing but his place in the queue; who goes away while waiting, leaves it;
- the event loop owns the queues.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from candor_proto.errors import LimitExceeded

T = TypeVar("T")
# More than the streams of all connections that a member may have (docs/limits.md).
MAX_WAITING_OF_ONE_CALLER = 160


@dataclass(slots=True)
class _Queue:
    """What waits of one caller."""

    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    inside: int = 0


class Turns:
    """At most `at_once` callers inside, of one caller at most `each` (None: as many as there are places)."""

    def __init__(self, name: str, at_once: int, each: int | None = None) -> None:
        self._free = at_once
        self._each = each or at_once
        # Whose turn it is, first to last; callers at their own limit stand aside.
        self._turns: OrderedDict[Hashable, _Queue] = OrderedDict()
        self._queues: dict[Hashable, _Queue] = {}
        self._threads = ThreadPoolExecutor(at_once, name)

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    async def run(self, caller: Hashable, work: Callable[[], T]) -> T:
        """What `work` returns or raises, run in a thread at `caller`'s turn; raises LimitExceeded.

        Who goes away meanwhile does not wait for it; its place is free again when it is done, not before.
        """
        queue = await self._enter(caller)
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)

        def over(ended: asyncio.Future[T]) -> None:
            if not ended.cancelled():
                ended.exception()  # heard, also if nobody waits for it any more
            self._leave(caller, queue)

        done.add_done_callback(over)
        return await asyncio.shield(done)

    @asynccontextmanager
    async def place(self, caller: Hashable) -> AsyncIterator[None]:
        """Inside while this is open; raises LimitExceeded when too much of `caller` waits already."""
        queue = await self._enter(caller)
        try:
            yield
        finally:
            self._leave(caller, queue)

    async def aside(self, work: Callable[..., T], *arguments: object) -> T:
        """Run `work` in a thread of this kind, for who is inside already."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """Wait for what runs in threads; nothing does any more when this returns. Blocks."""
        self._threads.shutdown()

    # --- the queue --------------------------------------------------------------------------------------

    async def _enter(self, caller: Hashable) -> _Queue:
        queue = self._queues.setdefault(caller, _Queue())
        if len(queue.waiting) >= MAX_WAITING_OF_ONE_CALLER:
            raise LimitExceeded("Too many calls of this member wait.", remedy="Wait for those under way.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        self._turns.setdefault(caller, queue)
        self._admit()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave(caller, queue)  # it was given its place, and is gone
            else:
                self._forget(caller, queue)
            raise
        return queue

    def _admit(self) -> None:
        """Give free places to whose turn it is; who is at its own limit stands aside until one leaves."""
        while self._free and self._turns:
            caller, queue = self._turns.popitem(last=False)
            while queue.waiting and queue.waiting[0].cancelled():
                queue.waiting.popleft()
            if not queue.waiting or queue.inside >= self._each:
                continue
            queue.inside += 1
            self._free -= 1
            queue.waiting.popleft().set_result(None)
            if queue.waiting and queue.inside < self._each:
                self._turns[caller] = queue

    def _leave(self, caller: Hashable, queue: _Queue) -> None:
        queue.inside -= 1
        self._free += 1
        if queue.waiting:
            self._turns.setdefault(caller, queue)
        self._forget(caller, queue)
        self._admit()

    def _forget(self, caller: Hashable, queue: _Queue) -> None:
        """Keep nothing of who neither waits nor is inside."""
        queue.waiting = deque(turn for turn in queue.waiting if not turn.cancelled())
        if not queue.waiting:
            self._turns.pop(caller, None)
            if not queue.inside and self._queues.get(caller) is queue:
                del self._queues[caller]
