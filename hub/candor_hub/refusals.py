"""Refusals in the process's log: each kind of them so often a minute, the rest as a number.

Whoever may call may be refused as often as he likes; a line for each would fill the disk, and with it the
hub.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

LINES_A_MINUTE = 30
_MINUTE = 60.0


@dataclass
class Refusals:
    """Writes lines about refusals; the event loop owns it."""

    clock: Callable[[], float] = time.monotonic
    _since: float = 0.0
    _counts: Counter[str] = field(default_factory=Counter, repr=False)

    def note(self, method: str, code: str, peer: str) -> None:
        """A call of `peer` was refused."""
        now = self.clock()
        if now - self._since >= _MINUTE:
            self.summarise()
            self._since = now
        self._counts[code] += 1
        if self._counts[code] <= LINES_A_MINUTE:
            log.info("refused", method=method, code=code, peer=peer)

    def summarise(self) -> None:
        """Say how many were passed over."""
        for code, times in sorted(self._counts.items()):
            passed_over = times - LINES_A_MINUTE
            if passed_over > 0:
                log.warning("more were refused", code=code, count=passed_over)
        self._counts.clear()
