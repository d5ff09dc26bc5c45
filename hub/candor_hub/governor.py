"""How busy the process is, and how much of what can wait it takes up: less while it is busy, more while not.

    gauge = Gauge()                        looks at the processor time of this process
    governor = Governor(gauge, 40, 400)    a rate between these (a second), as the gauge says

A fixed rate is too much on a slow machine, and too little on a fast one. A governed one falls within tenths
of a second when the process does more than BUSY_SHARE of what one processor can, and grows again when it does
less: what those want who come later takes what is left over, and no more.

Rules of this file:
- everything is arithmetic over `now`, a monotonic clock's seconds, and over what `used` says;
- one gauge for all who want to know, so that everybody gives way at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

# Above this share of a processor others begin to wait noticeably: the event loop is one thread, and shares
# the interpreter with those that talk to the database.
BUSY_SHARE = 0.6
GAUGE_SECONDS = 0.1
# What a look may do to a rate: halve it, or make it a tenth more.
MOST_LESS, MORE = 0.5, 1.1


class Gauge:
    """How busy the process is, looked at every GAUGE_SECONDS at most. The event loop owns it."""

    def __init__(self, used: Callable[[], float] = time.process_time) -> None:
        """`used`: seconds of processor time that the process has had."""
        self.used = used
        self._gauged: tuple[float, float] | None = None
        self.busy = False
        # Of one processor, between the last two looks; and how often it was looked.
        self.share = 0.0
        self.looks = 0
        self.on_busy: Callable[[], None] = lambda: None

    def look(self, now: float) -> bool:
        """As `busy`, after a look if one is due; `now` in seconds."""
        at, before = self._gauged or (now, self.used())
        if self._gauged is None or now - at >= GAUGE_SECONDS:
            used = self.used()
            self.share = (used - before) / (now - at) if now > at else 0.0
            self.busy = self.share > BUSY_SHARE
            self._gauged = now, used
            self.looks += 1
            if self.busy:
                self.on_busy()
        return self.busy


@dataclass
class Governor:
    """A rate (a second) from `least` to `most`, that keeps the process at BUSY_SHARE. Begins with `most`."""

    gauge: Gauge = field(repr=False)
    least: float
    most: float
    _rate: float = field(init=False)
    _looks: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._rate = self.most

    @property
    def free(self) -> bool:
        """Whether there is nothing to govern: the process has time."""
        return self.rate >= self.most

    @property
    def rate(self) -> float:
        """What may be taken up now; the gauge is not looked at here."""
        if self._looks != self.gauge.looks:
            self._looks = self.gauge.looks
            share = self.gauge.share
            change = max(MOST_LESS, BUSY_SHARE / share) if share > BUSY_SHARE else MORE
            self._rate = min(self.most, max(self.least, self._rate * change))
        return self._rate
