"""The draw of lookups for audit (§18.1): anybody computes it from a witnessed head."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from candor_verify.checkpoint import Checkpoint
from candor_verify.entries import Requests
from candor_verify.errors import Malformed
from candor_verify.octets import digest, u16, u32, u64

UNITS = 10_000
LOWEST_RATE = 100
MAX_DRAWN = 100_000
MAX_MONTHS = 600
MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])\Z")
END = "end"


@dataclass(frozen=True)
class Draw:
    """Of the entries start ≤ index < end of a shard, at a rate in 1/10,000."""

    seed: bytes
    start: int
    end: int
    rate: int

    def is_drawn(self, index: int, position: int) -> bool:
        """Whether the commitment at this position of that entry is drawn."""
        value = digest("audit-draw", self.seed, u64(index), u16(position))
        return int.from_bytes(value[:8], "big") < (self.rate << 64) // UNITS


def draw_of(head: Checkpoint, start: int, rate: int) -> Draw:
    """The draw that a head makes, from the size of the draw before. Raises Malformed."""
    if not LOWEST_RATE <= rate <= UNITS:
        raise Malformed(f"A rate is {LOWEST_RATE} to {UNITS} of 1/10,000.")
    if not 0 <= start <= head.size:
        raise Malformed("A draw begins behind its head.")
    seed = digest("audit-seed", head.text.encode(), u64(start), u64(head.size), u32(rate))
    return Draw(seed, start, head.size, rate)


def months(first: datetime, last: datetime) -> list[str]:
    """Calendar months from one time to another; the last 600 of them."""
    span = range(max(0, 12 * (last.year - first.year) + last.month - first.month) + 1)
    begin = 12 * first.year + first.month - 1
    return [f"{(begin + offset) // 12:04d}-{(begin + offset) % 12 + 1:02d}" for offset in span[-MAX_MONTHS:]]


@dataclass
class WantedDraw:
    """The draw that a reviewer asked for: its name (`2026-11` or `<shard>/end`), and what it drew."""

    name: str
    rate: int
    origin: str = ""
    draw: Draw | None = None
    covered: int = 0
    found: list[tuple[int, int, bytes]] = field(default_factory=list)
    left_out: int = 0

    def choose(self, origin: str, heads: list[tuple[str, Checkpoint]]) -> None:
        """Find it among the draws of a shard, which stand in their order. Raises Malformed."""
        start = 0
        for name, head in heads:
            shard = origin.rpartition("/")[2]
            if self.name == (f"{shard}/{END}" if name == END else name):
                self.origin, self.draw = origin, draw_of(head, start, self.rate)
            start = head.size

    def see(self, origin: str, index: int, entry: Requests) -> None:
        """One more entry of the shard."""
        if self.draw is None or origin != self.origin or not self.draw.start <= index < self.draw.end:
            return
        for position, commitment in enumerate(entry.commitments):
            self.covered += 1
            if self.draw.is_drawn(index, position):
                if len(self.found) < MAX_DRAWN:
                    self.found.append((index, position, commitment))
                else:
                    self.left_out += 1
