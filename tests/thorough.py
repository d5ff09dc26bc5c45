"""How much of what is exhaustive is done: a sample in `make test`, all in `make campaign NAME=thorough`.

for at in sampled(range(len(octets)), 150, "a checkpoint"):
@settings(max_examples=examples(40, thorough=400))
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
THOROUGH = os.environ.get("CANDOR_THOROUGH") == "1"


def sampled(items: Sequence[T] | Iterable[T], count: int, seed: str) -> list[T]:
    """`count` of the items in their order, the same ones each time, the first and last among them; or all."""
    everything = list(items)
    if THOROUGH or len(everything) <= count:
        return everything
    inner = random.Random(seed).sample(range(1, len(everything) - 1), count - 2)
    return [everything[at] for at in (0, *sorted(inner), len(everything) - 1)]


def examples(quick: int, *, thorough: int) -> int:
    """How many examples hypothesis draws."""
    return thorough if THOROUGH else quick
