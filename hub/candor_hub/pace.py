"""How many calls a second each caller gets: a share of its own, and turns at what is left over.

A caller within its own share never waits. What it wants beyond is taken up at a rate that all share, callers
taking turns: much while the process has time, little while it is busy, for a busy event loop delays every
call, whoever makes it. Waiting costs the hub nothing, and whoever waits has his calls open, of which the
connection bounds the number.

Rules of this file:
- buckets are arithmetic over the event loop's clock, by which the timer that looks after them goes as well
  (`Bucket`, pure); this process's own, so that with n replicas a caller may have n times as much. Elements
  are counted in the database (§11.3), over all of them;
- the event loop owns the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

# Above this share of a processor there is little left over: a fifth of the rate.
BUSY_SHARE = 0.6
BUSY_PART = 0.2
GAUGE_SECONDS = 0.25
# Callers remembered; past it the one that called longest ago is forgotten, and begins with a full bucket.
MAX_CALLERS = 8_192
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Rate:
    """So many a second, and so many at once after a time of rest."""

    a_second: float
    at_once: float


@dataclass(slots=True)
class Bucket:
    """Tokens of one rate; `at` is when they were counted last (seconds)."""

    tokens: float
    at: float

    def take(self, rate: Rate, now: float, cost: float = 1.0) -> bool:
        """If there is a token, as many as it costs: what is missing is owed, and paid before the next one."""
        self.tokens = min(rate.at_once, self.tokens + rate.a_second * max(0.0, now - self.at))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= cost
        return True


class Gauge:
    """Whether the process is busy, looked at every GAUGE_SECONDS at most."""

    def __init__(self, used: Callable[[], float] = time.process_time) -> None:
        """`used`: seconds of processor time that the process has had."""
        self._used = used
        self._gauged: tuple[float, float] | None = None
        self.busy = False

    def look(self, now: float) -> bool:
        """As `busy`, after a look if one is due; `now` in seconds."""
        at, before = self._gauged or (now, self._used())
        if self._gauged is None or now - at >= GAUGE_SECONDS:
            used = self._used()
            self.busy = used - before > BUSY_SHARE * (now - at)
            self._gauged = now, used
        return self.busy


class Pace:
    """Lets callers through; the event loop owns it."""

    def __init__(
        self,
        own: Rate,
        shared: Rate,
        clock: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
        used: Callable[[], float] = time.process_time,
    ) -> None:
        """`used`: seconds of processor time that the process has had."""
        self._own, self._shared = own, shared
        self._scarce = Rate(shared.a_second * BUSY_PART, shared.at_once)
        self._clock = clock
        self.gauge = Gauge(used)
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()
        self._left_over: Bucket | None = None
        # In the order of whose turn it is.
        self._waiting: OrderedDict[Hashable, deque[tuple[asyncio.Future[None], float]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def wait(self, caller: Hashable, cost: float = 1.0) -> None:
        """Until it is this caller's turn; at once while it keeps within its own share.

        `cost` is how many calls this one counts as.
        """
        if caller not in self._waiting and self._may(caller, self._clock(), cost):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append((turn, cost))
        self._look_later()
        await turn

    def look(self) -> None:
        """Let through whoever may go now; called by a timer while somebody waits."""
        now, passed = self._clock(), 0
        self.gauge.look(now)
        # Each turn looks at one caller; once round without letting anybody through ends it.
        while self._waiting and passed < len(self._waiting):
            caller, queue = self._waiting.popitem(last=False)
            while queue and queue[0][0].done():
                queue.popleft()  # whoever waited is gone
            if not queue:
                continue
            if self._may(caller, now, queue[0][1]):
                queue.popleft()[0].set_result(None)
                passed = 0
            else:
                passed += 1
            if queue:
                self._waiting[caller] = queue

    def _may(self, caller: Hashable, now: float, cost: float) -> bool:
        bucket = self._buckets.pop(caller, None) or Bucket(self._own.at_once, now)
        self._buckets[caller] = bucket
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        if bucket.take(self._own, now, cost):
            return True
        if self._left_over is None:
            self._left_over = Bucket(self._shared.at_once, now)
        return self._left_over.take(self._scarce if self.gauge.busy else self._shared, now, cost)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.look()
        if self._waiting:
            self._look_later()
