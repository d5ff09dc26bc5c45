"""How far through its life a certificate is, and when a person has to hear of it.

Rules of this file:
- what counts is the share of the life that is left, never a number of days: of what a person replaces (root,
  issuing authority) 30, 14, 7 and 1 of 365 parts; of what a program renews at two thirds of the life 1/6,
  1/12, 1/24 and 1/168, that is 28, 14, 7 and 1 hours of a week: by then renewal has failed for a while;
- a level is told once, and again only after it had gone back (`Reminder`): an alarm that comes every minute
  is switched off;
- what ended is told as precisely as what is about to end: the last second of a certificate still counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from fractions import Fraction

from candor_certs.profiles import issued_and_life


class Level(IntEnum):
    """How much a person has to do with it; the number is what metrics show."""

    GOOD = 0
    NOTICE = 1
    WARNING = 2
    URGENT = 3
    LAST = 4
    ENDED = 5
    NOT_YET = 6  # begins in the future, so some clock is wrong

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


# The share of the life that is left when a level begins, the mildest first.
BY_HAND = {
    Level.NOTICE: Fraction(30, 365),
    Level.WARNING: Fraction(14, 365),
    Level.URGENT: Fraction(7, 365),
    Level.LAST: Fraction(1, 365),
}
BY_PROGRAM = {
    Level.NOTICE: Fraction(1, 6),
    Level.WARNING: Fraction(1, 12),
    Level.URGENT: Fraction(1, 24),
    Level.LAST: Fraction(1, 168),
}


@dataclass(frozen=True)
class Standing:
    """Where a certificate stands at one moment; `left` is negative once it has ended."""

    level: Level
    begins: datetime
    ends: datetime
    left: timedelta
    share_left: float
    by_hand: bool

    @property
    def severity(self) -> str:
        """`good`, `warning` or `bad`: what doctor makes of it."""
        if self.level is Level.GOOD:
            return "good"
        # A person plans a ceremony; a program whose renewal is overdue has a fault already.
        return "warning" if self.by_hand and self.level is Level.NOTICE else "bad"

    @property
    def sentence(self) -> str:
        if self.level is Level.NOT_YET:
            return (
                f"begins on {self.begins:%Y-%m-%d %H:%M:%S} UTC, which this machine's clock has not reached"
            )
        if self.level is Level.ENDED:
            return f"ended on {self.ends:%Y-%m-%d %H:%M:%S} UTC, {span(-self.left)} ago"
        return f"good until {self.ends:%Y-%m-%d %H:%M} UTC, {span(self.left)} left"


def judge(begins: datetime, ends: datetime, now: datetime, *, by_hand: bool = False) -> Standing:
    """Where a certificate of these times stands at `now`.

    `by_hand`: a person replaces it; else a program renews it, and is late when a level above GOOD is reached.
    """
    _, whole = issued_and_life(begins, ends)
    left = ends - now
    share = left / whole if whole else 0.0
    if now < begins:
        level = Level.NOT_YET
    elif now > ends:
        level = Level.ENDED
    else:
        parts = BY_HAND if by_hand else BY_PROGRAM
        level = max((name for name, part in parts.items() if left <= whole * float(part)), default=Level.GOOD)
    return Standing(level, begins, ends, left, max(0.0, min(1.0, share)), by_hand)


def span(length: timedelta) -> str:
    """A time span for people: in the largest unit that still says something."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


class Reminder:
    """Remembers what was told of each certificate; whoever tells, asks first. Of one thread only."""

    def __init__(self) -> None:
        self._told: dict[str, Level] = {}

    def is_news(self, name: str, standing: Standing) -> bool:
        """Whether the level of `name` has risen since it was told last; it counts as told then."""
        told = self._told.get(name, Level.GOOD)
        self._told[name] = standing.level
        return standing.level > told
