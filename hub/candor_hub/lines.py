"""What the application has to show for each connection: who calls on it, and what it has brought.

Octets that came on a connection and are in no message, and calls that never end by themselves, are what
floods are made of; gRPC tells of neither. The event loop writes here, the doorkeeper's thread reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field

from candor_proto.ids import NodeId

# Half-closed and reused ports leave entries behind; past so many the oldest go.
MAX_LINES = 16_384


@dataclass(slots=True, eq=False)
class Line:
    """One connection, first called on at `begun`; `node` is the member whose call was admitted on it.

    `messages` and their `octets` were read; `ended` are calls that were not given up by the caller;
    `streaming` are those under way that bring several messages; `written` are messages of ours.
    """

    peer: str
    begun: float
    node: NodeId | None = None
    messages: int = 0
    octets: int = 0
    ended: int = 0
    streaming: int = 0
    written: int = 0

    def took(self, octets: int) -> None:
        """A message of so many octets was read."""
        self.messages += 1
        self.octets += octets


_LINE: ContextVar[Line | None] = ContextVar("candor_hub_line", default=None)


def present_line() -> Line | None:
    """The connection of the call that is being handled."""
    return _LINE.get()


def at_line(line: Line) -> None:
    """From now on this task, and those that it begins, handle a call on `line`."""
    _LINE.set(line)


@dataclass
class Lines:
    """The connections of one port, by gRPC's name of the peer."""

    clock: Callable[[], float] = time.monotonic
    _lines: dict[str, Line] = field(default_factory=dict, repr=False)
    # Members whose floods were cut, and until when (seconds of `clock`) they have to stay away.
    _barred: dict[NodeId, float] = field(default_factory=dict, repr=False)

    def of(self, peer: str) -> Line:
        """The line of a call's peer, begun at its first call."""
        line = self._lines.get(peer)
        if line is None:
            if len(self._lines) >= MAX_LINES:
                del self._lines[next(iter(self._lines))]
            line = self._lines[peer] = Line(peer, self.clock())
        return line

    def find(self, peer: str) -> Line | None:
        return self._lines.get(peer)

    def keep(self, peers: Collection[str], looked_at: float) -> None:
        """Forget connections that were not there at `looked_at`, and bars that are over."""
        for line in tuple(self._lines.values()):
            if line.peer not in peers and line.begun < looked_at:
                self._lines.pop(line.peer, None)
        now = self.clock()
        for node in [node for node, until in tuple(self._barred.items()) if until <= now]:
            self._barred.pop(node, None)

    def bar(self, node: NodeId, seconds: float) -> None:
        """Admit no call of this member for so long."""
        self._barred[node] = self.clock() + seconds

    def barred(self, node: NodeId) -> bool:
        until = self._barred.get(node)
        return until is not None and self.clock() < until
