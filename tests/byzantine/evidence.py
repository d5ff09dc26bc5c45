"""The evidence that parties hold, and what a stranger makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.byzantine.world import World


@dataclass(frozen=True)
class File:
    """One file of evidence as its party exports it."""

    kind: str
    accused: str
    octets: bytes


async def evidence_at(world: World, party: str) -> list[File]:
    """Everything in the evidence store of a party, reviewed or not."""
    return []


def verify(world: World, file: File) -> list[str]:
    """What `candor-verify evidence` has against a file; nothing when it accepts it."""
    return []
