"""How long light nodes were without a stream, and what they did meanwhile (`tests.swarm` has the events)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Event = Mapping[str, Any]
_STEPS = frozenset({"dial", "connected", "failed"})


@dataclass
class Absence:
    """From the end of a stream to the welcome of the next; `seconds` is None for one that did not end.

    `steps` are moments after the loss, in seconds, and what was done then.
    """

    node: str
    began_at: float
    why: str
    seconds: float | None = None
    steps: list[tuple[float, str]] = field(default_factory=list)

    def __str__(self) -> str:
        steps = ", ".join(f"{after:.1f} {what}" for after, what in self.steps)
        length = "never back" if self.seconds is None else f"{self.seconds:.1f} s"
        return f"{self.node} {length}, lost by {self.why or '?'}: {steps}"


def absences(events: Iterable[Event]) -> list[Absence]:
    """`events` in the order of their times; what is returned, in the order in which streams were lost."""
    found: list[Absence] = []
    away: dict[str, Absence] = {}
    for event in events:
        node, kind = event["node"], event["event"]
        if kind == "lost" and node not in away:
            away[node] = Absence(node, event["at"], str(event.get("why", "")))
            found.append(away[node])
        elif node in away:
            after = event["at"] - away[node].began_at
            if kind in _STEPS:
                away[node].steps.append((after, " ".join(filter(None, (kind, event.get("why", ""))))))
            elif kind == "attached":
                away.pop(node).seconds = after
    return found
