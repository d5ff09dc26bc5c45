"""Enrolment that fails: bounded by network, and slow.

A token has 256 bits, so nobody guesses one; what guessing costs the hub is all there is to bound. Only
failures are counted, and only who fails is refused: no number of guesses keeps an agency from joining.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from candor_proto.errors import QuotaSpent

# Of this process; over all replicas they are counted in the database (`Enrolment.check_failures`).
ATTEMPTS_PER_MINUTE_AND_NETWORK = 10
# Networks remembered; past it the one that tried longest ago is forgotten.
MAX_NETWORKS = 4_096
# Each failure holds one of its connection's two streams for so long.
PAUSE_SECONDS = 0.5
_MINUTE = timedelta(minutes=1)


class Attempts:
    """Counts failures by network; one event loop owns it."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._networks: OrderedDict[str, deque[datetime]] = OrderedDict()

    async def failed(self, network: str, now: datetime) -> None:
        """Count a failure, and take one's time; raises QuotaSpent for too many in the last minute."""
        tried = self._networks.pop(network, deque())
        while tried and abs(now - tried[0]) >= _MINUTE:
            tried.popleft()
        too_many = len(tried) >= ATTEMPTS_PER_MINUTE_AND_NETWORK
        if not too_many:
            tried.append(now)
        self._networks[network] = tried
        if len(self._networks) > MAX_NETWORKS:
            self._networks.popitem(last=False)
        await self._sleep(PAUSE_SECONDS)
        if too_many:
            raise QuotaSpent(
                "Too many enrolment attempts that failed.",
                remedy="Check the invitation, wait a minute and try again.",
            )
