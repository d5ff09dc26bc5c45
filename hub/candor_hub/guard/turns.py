"""Whose connection is opened next: addresses take turns, and none has more than its share under way.

A connection that was accepted waits here until it is passed on to gRPC, where its handshake costs something.
It counts as new until a member's call was admitted on it.

Rules of this file:
- addresses take turns, each its oldest first; of one address so many may be new at a time, unless it is one
  behind which many are (a TCP balancer);
- where all places are taken, a newcomer gets that of the address which has most of them waiting;
- so many are opened a second, in all: fewer while the hub is busy, or one that was opened has made no call
  yet. Forty that come at once bring their handshakes and first calls one after the other, and not all before
  those of members that are there;
- after one that came to a bad end its address waits, longer each time.
  After one that the hub closed without a member's call it waits as well, but never so long that another
  member behind the same address would suffer.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Networks whose bad ends are remembered.
MAX_PAUSED = 4_096


def network_of(address: str) -> str:
    """An IPv4 address itself; of an IPv6 address the /64 that one household has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


@lru_cache(maxsize=4_096)
def is_balancer(network: str, balancers: frozenset[str]) -> bool:
    """Whether one of these addresses and networks is in `network` (as of `network_of`), or it in them."""
    try:
        found = ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
    return any(_overlap(found, ipaddress.ip_network(each)) for each in balancers)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


@dataclass(frozen=True)
class Limits:
    """Of one door."""

    places: int
    new_of_one_address: int = 2
    new: int = 512
    # Addresses and networks.
    balancers: frozenset[str] = frozenset()
    # A handshake with a member's certificate costs the hub some milliseconds, its first call as many.
    opened_a_second: float = 100.0
    opened_a_second_after_another: float = 40.0
    opened_a_second_while_busy: float = 25.0
    # What an idle second saves up.
    burst: float = 2.0
    # After the first bad end of an address, doubled with each further one; forgotten as long after it.
    pause_seconds: float = 0.5
    longest_pause_seconds: float = 15.0
    # The same after one that was good for nothing, but did no harm.
    idle_pause_seconds: float = 0.1
    longest_idle_pause_seconds: float = 1.0


@dataclass
class Turns(Generic[T]):
    """Connections of one door, from accept to their end. Pure: `now` is a monotonic clock's."""

    limits: Limits
    _waiting: OrderedDict[str, deque[tuple[T, float]]] = field(default_factory=OrderedDict)
    _new: Counter[str] = field(default_factory=Counter)
    _new_count: int = 0
    _waiting_count: int = 0
    _open: int = 0
    _tokens: float = 0.0
    _at: float | None = None
    # By address: until when nothing of it is opened, and how long that is.
    _paused: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return self._waiting_count + self._open

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def wait_of(self, address: str) -> bool:
        """Whether others of this address wait."""
        return address in self._waiting

    def come(self, address: str, connection: T, now: float) -> T | None:
        """Let it wait; what has to be closed instead, which may be `connection` itself."""
        queue = self._waiting.get(address)
        own = len(queue) if queue else 0
        gone: T | None = None
        if self.held >= self.limits.places:
            most = max(self._waiting, key=lambda each: len(self._waiting[each]), default=None)
            if most is None or len(self._waiting[most]) <= own + 1:
                return connection
            gone, _ = self._waiting[most].popleft()
            self._waiting_count -= 1
        self._waiting.setdefault(address, deque()).append((connection, now))
        self._waiting_count += 1
        return gone

    def next(self, now: float, *, busy: bool = False) -> list[tuple[str, T]]:
        """Those that are to be opened now; they count as new. `busy`: the hub says so of itself."""
        limits = self.limits
        if self._at is not None:
            rate = limits.opened_a_second
            if self._new_count:
                rate = min(rate, limits.opened_a_second_after_another)
            if busy:
                rate = min(rate, limits.opened_a_second_while_busy)
            self._tokens = min(limits.burst, self._tokens + rate * (now - self._at))
        else:
            self._tokens = limits.burst
        self._at = now
        opened: list[tuple[str, T]] = []
        passed = 0
        while self._waiting and passed < len(self._waiting) and self._tokens >= 1:
            if self._new_count >= limits.new:
                break
            address, queue = self._waiting.popitem(last=False)
            if self._must_wait(address, now):
                self._waiting[address] = queue
                passed += 1
                continue
            connection, _ = queue.popleft()
            self._waiting_count -= 1
            if queue:
                self._waiting[address] = queue
            self._new[address] += 1
            self._new_count += 1
            self._open += 1
            self._tokens -= 1
            passed = 0
            opened.append((address, connection))
        return opened

    def known(self, address: str) -> None:
        """One of `address` is new no longer."""
        self._new_count -= 1
        self._new[address] -= 1
        if self._new[address] <= 0:
            del self._new[address]

    def left(self, address: str, now: float, *, new: bool, bad: bool = False, idle: bool = False) -> None:
        """An open one has ended; `idle`: the hub closed it, and nobody was admitted on it."""
        self._open -= 1
        if new:
            self.known(address)
        if bad or idle:
            until, seconds = self._paused.get(address, (0.0, 0.0))
            longer = 2 * seconds if now < until + seconds else 0.0
            least, longest = self.limits.idle_pause_seconds, self.limits.longest_idle_pause_seconds
            if bad:
                least, longest = self.limits.pause_seconds, self.limits.longest_pause_seconds
            seconds = min(longest, max(least, longer))
            self._paused.pop(address, None)
            self._paused[address] = max(until, now + seconds), seconds
            if len(self._paused) > MAX_PAUSED:
                del self._paused[next(iter(self._paused))]

    def _must_wait(self, address: str, now: float) -> bool:
        if is_balancer(address, self.limits.balancers):
            return False
        return self._new[address] >= self.limits.new_of_one_address or self._is_paused(address, now)

    def _is_paused(self, address: str, now: float) -> bool:
        until, seconds = self._paused.get(address, (0.0, 0.0))
        if now >= until + seconds:
            self._paused.pop(address, None)
        return now < until

    def forget(self, address: str, connection: T) -> bool:
        """One that waits has gone; whether it was waiting."""
        queue = self._waiting.get(address, deque())
        for each in queue:
            if each[0] is connection:
                queue.remove(each)
                self._waiting_count -= 1
                if not queue:
                    del self._waiting[address]
                return True
        return False

    def overdue(self, before: float) -> list[T]:
        """Take out what has waited since before then."""
        gone: list[T] = []
        for address in tuple(self._waiting):
            queue = self._waiting[address]
            while queue and queue[0][1] < before:
                gone.append(queue.popleft()[0])
                self._waiting_count -= 1
            if not queue:
                del self._waiting[address]
        return gone
