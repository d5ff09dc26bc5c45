"""Random draws that are the same octets on every platform and Python version.

Rules of this file:
- the only source is `random.Random(integer).random()`, whose sequence Python promises to keep; nothing uses
  `choice`, `shuffle` or `sample`, which may change between versions, nor the order of a set or of a hash;
- a stream is named by text, and streams of different names are independent: what one part of the generator
  draws does not move what another draws.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

T = TypeVar("T")


class Draw:
    """One stream of random values, determined by its name."""

    __slots__ = ("random",)

    def __init__(self, name: str) -> None:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
        self.random = random.Random(seed).random

    def chance(self, share: float) -> bool:
        """True with probability `share`. A share of 0 or less draws nothing."""
        return share > 0 and self.random() < share

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` - 1, evenly; `end` is positive."""
        return int(self.random() * end)

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`, evenly; there is at least one."""
        return options[int(self.random() * len(options))]

    def order(self, count: int) -> list[int]:
        """The numbers from 0 to `count` - 1 in random order."""
        numbers = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            numbers[last], numbers[other] = numbers[other], numbers[last]
        return numbers


class Table(Generic[T]):
    """Options with whole-number weights; `pick` takes one in proportion."""

    __slots__ = ("_ends", "options")

    def __init__(self, weighted: Iterable[tuple[T, int]]) -> None:
        pairs = [pair for pair in weighted if pair[1] > 0]
        self.options = tuple(option for option, _ in pairs)
        self._ends = tuple(accumulate(weight for _, weight in pairs))

    def pick(self, draw: Draw) -> T:
        """One option; raises IndexError if there is none."""
        return self.options[bisect_right(self._ends, draw.below(self._ends[-1]))]

    def __len__(self) -> int:
        return len(self.options)


class Quota:
    """Exactly `wanted` of `total` calls to `take` are true, every such choice being equally likely.

    This is sequential sampling: it needs no list of what it chooses from, so that a population streams.
    """

    __slots__ = ("_left", "_wanted")

    def __init__(self, wanted: int, total: int) -> None:
        if not 0 <= wanted <= total:
            raise ValueError(f"{wanted} of {total} cannot be taken.")
        self._wanted = wanted
        self._left = total

    def take(self, draw: Draw) -> bool:
        """Whether this one is taken; called at most `total` times."""
        taken = draw.below(self._left) < self._wanted
        self._left -= 1
        self._wanted -= taken
        return taken
