"""Which logged lookups an auditor may demand opened: a draw that nobody chose (docs/protocol.md §18.1).

Everybody with the checkpoint computes the same draw; nobody could before it was signed and witnessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from candor_proto.canonical import Writer, digest
from candor_proto.errors import InputInvalid, MalformedMessage
from candor_proto.tlog.checkpoint import Checkpoint

UNIT = 10_000
LEAST_RATE = 100
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])\Z")


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Raises InputInvalid."""
        found = _MONTH.match(text)
        if not found or not int(found[1]):
            raise InputInvalid("A month is written as 2026-11.", remedy="Months are those of UTC.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, moment: datetime) -> Month:
        utc = moment.astimezone(UTC)
        return cls(utc.year, utc.month)

    @property
    def before(self) -> Month:
        return Month(self.year, self.number - 1) if self.number > 1 else Month(self.year - 1, 12)

    @property
    def after(self) -> Month:
        return Month(self.year, self.number + 1) if self.number < 12 else Month(self.year + 1, 1)

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"


@dataclass(frozen=True)
class Draw:
    """Of the `requests` entries with start ≤ index < end, `rate` in 10,000 commitments are drawn.

    `checkpoint` is the first witnessed one of its month, and its size the end; `start` the size of the draw
    before it in the shard, 0 if there is none.
    """

    checkpoint: Checkpoint
    start: int
    rate: int = LEAST_RATE

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= UNIT:
            raise MalformedMessage(f"A draw takes {LEAST_RATE} to {UNIT} of {UNIT} lookups.")
        if not 0 <= self.start <= self.end:
            raise MalformedMessage("A draw that ends before it begins.")

    @property
    def end(self) -> int:
        return self.checkpoint.size

    @cached_property
    def seed(self) -> bytes:
        """32 octets."""
        start, end, rate = (
            Writer().integer(value, octets).finish()
            for value, octets in ((self.start, 8), (self.end, 8), (self.rate, 4))
        )
        return digest("audit-seed", self.checkpoint.text().encode("utf-8"), start, end, rate)

    def is_drawn(self, index: int, position: int) -> bool:
        """Whether the commitment at `position` (from 0) of the `requests` entry `index` is drawn."""
        if not self.start <= index < self.end:
            return False
        place = Writer().integer(index, 8).finish(), Writer().integer(position, 2).finish()
        lot = int.from_bytes(digest("audit-draw", self.seed, *place)[:8], "big")
        return lot < (self.rate << 64) // UNIT
