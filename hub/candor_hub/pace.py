"""How many calls a second each caller gets: a share of its own, and turns at what is left over.

A caller within its own share waits only while the process is busy and more come than it can take up: who has
used least of his share is first then, and who has just come last: he begins with one call, and not with a
full share. What a caller wants beyond is taken up at a rate that all share, callers taking turns: much while
the process has time, little while it is busy, for a busy event loop delays every call, whoever makes it.
Waiting costs the hub nothing, and whoever waits has his calls open, of which the connection bounds the
number.

Rules of this file:
- buckets are arithmetic over the event loop's clock, by which the timer that looks after them goes as well
  (`Bucket`, pure); this process's own, so that with n replicas a caller may have n times as much. Elements
  are counted in the database (§11.3), over all of them;
- the event loop owns the queue.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from candor_hub.governor import Gauge, Governor

# While the process is busy there is little left over: a twentieth of the rate.
BUSY_PART = 0.05
# Callers remembered; past it the one that called longest ago is forgotten, and begins as who has just come.
MAX_CALLERS = 8_192
LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Rate:
    """So many a second, and so many at once after a time of rest."""

    a_second: float
    at_once: float


@dataclass(frozen=True)
class Together:
    """What all have within their shares: from `least` to `most` a second (`governor`), so many at once."""

    least: float
    most: float
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


class Pace:
    """Lets callers through; the event loop owns it."""

    def __init__(
        self,
        own: Rate,
        shared: Rate,
        together: Together | None = None,
        gauge: Gauge | None = None,
        first: float | None = None,
        clock: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        """`own` is each caller's, `shared` what all have beyond it, and `together` what all have within it
        (None: no end); `gauge` says how busy the process is. Who has just come has `first` calls of his share
        (None: all of it).
        """
        self._own, self._shared, self._together = own, shared, together
        self._scarce = Rate(shared.a_second * BUSY_PART, min(1.0, shared.at_once))
        self._clock = clock
        self.gauge = gauge or Gauge()
        self._first = own.at_once if first is None else first
        self._governor = Governor(self.gauge, together.least, together.most) if together else None
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()
        self._left_over: Bucket | None = None
        self._all: Bucket | None = None
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
        now = self._clock()
        self.gauge.look(now)
        if caller not in self._waiting and (
            self._may(caller, now, cost) or self._may_beyond(caller, now, cost)
        ):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append((turn, cost))
        self._look_later()
        try:
            await turn
        except asyncio.CancelledError:
            self._forget(caller)
            raise

    def look(self) -> None:
        """Let through whoever may go now; called by a timer while somebody waits."""
        now = self._clock()
        self.gauge.look(now)
        within = self._within(now) if self._has_time(now) else []
        while within and self._has_time(now):
            within = [each for each in within if self._let(each, now, self._may) and each in self._waiting]
        passed = 0
        # Each turn looks at one caller; once round without letting anybody through ends it.
        while self._waiting and passed < len(self._waiting) and self._may_beyond(None, now, 0):
            caller = next(iter(self._waiting))
            passed = 0 if self._let(caller, now, self._may_beyond) else passed + 1
            if caller in self._waiting:
                self._waiting.move_to_end(caller)

    def charge(self, caller: Hashable, cost: float) -> None:
        """What this caller was let through for has cost more than it looked; owed no further than once."""
        now = self._clock()
        left = self._tokens(caller, now)
        self._bucket(caller, now).tokens = max(left - cost, -cost)

    def _forget(self, caller: Hashable) -> None:
        """Keep nothing of calls that are gone."""
        queue = self._waiting.get(caller)
        if queue is not None:
            left = [each for each in queue if not each[0].done()]
            queue.clear()
            queue.extend(left)
            if not queue:
                del self._waiting[caller]

    def _within(self, now: float) -> list[Hashable]:
        """Who waits within his share, in the order of whose turn it is.

        Who has fewest calls open is first, of those who has used least of his share: one call of each after
        the other. By what is left alone all would soon be alike, for who waits uses nothing.
        """
        left = {caller: self._tokens(caller, now) for caller in self._waiting}
        return sorted(
            (caller for caller in left if left[caller] >= 1),
            key=lambda each: (len(self._waiting[each]), -left[each]),
        )

    def _let(self, caller: Hashable, now: float, may: Callable[[Hashable, float, float], bool]) -> bool:
        """Let the caller's next one through if it `may`."""
        queue = self._waiting[caller]
        while queue and queue[0][0].done():
            queue.popleft()  # whoever waited is gone
        let = bool(queue) and may(caller, now, queue[0][1])
        if let:
            queue.popleft()[0].set_result(None)
        if not queue:
            del self._waiting[caller]
        return let

    def _bucket(self, caller: Hashable, now: float) -> Bucket:
        bucket = self._buckets.pop(caller, None) or Bucket(self._first, now)
        self._buckets[caller] = bucket
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return bucket

    def _tokens(self, caller: Hashable, now: float) -> float:
        bucket = self._bucket(caller, now)
        bucket.take(self._own, now, 0)
        return bucket.tokens

    def _may(self, caller: Hashable, now: float, cost: float) -> bool:
        """Whether it is within the caller's share, and there is time for it."""
        bucket = self._bucket(caller, now)
        if not bucket.take(self._own, now, 0):
            return False
        if not self._has_time(now, cost):
            return False
        bucket.tokens -= cost
        return True

    def _has_time(self, now: float, cost: float = 0.0) -> bool:
        """Whether the process can take up another call within its caller's share; it is charged."""
        if self._together is None or self._governor is None:
            return True
        self._all = self._all or Bucket(self._together.at_once, now)
        return self._all.take(Rate(self._governor.rate, self._together.at_once), now, cost)

    def _may_beyond(self, _caller: Hashable, now: float, cost: float) -> bool:
        """Whether it may go beyond the caller's share."""
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
