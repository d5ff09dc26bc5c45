"""What a statement brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement brought: rows, or how many it met; `last` is the number of the last one added, where
    the database tells it.
    """

    rows: Sequence[Any]
    count: int
    last: int | None = None
