"""What is done with members that misbehave: streams end, calls are refused, the guard reads nothing of them.

Who is nobody's member yet is known by his connection alone: one on which too much was refused or given up
before anybody was admitted on it is not read for a while, and no other.
"""

from __future__ import annotations

from collections.abc import Callable

from candor_hub.clock import loop_seconds
from candor_hub.conduct import (
    FIRST_CALL_MOST,
    GIVEN_UP,
    GIVEN_UP_SECONDS,
    GIVEN_UP_WEIGHT,
    HELD_SECONDS,
    REPLACED,
    REPLACED_WEIGHT,
    UNKNOWN_METHOD,
    UNKNOWN_METHOD_WEIGHT,
    WEIGHTS,
    Conduct,
)
from candor_hub.lines import Line, Lines
from candor_hub.observer import Observer
from candor_hub.streams import Streams
from candor_proto.ids import NodeId

Clock = Callable[[], float]


class HoldOff:
    """One for each process; the event loop owns it."""

    def __init__(
        self, streams: Streams, lines: Lines, observer: Observer, clock: Clock = loop_seconds
    ) -> None:
        """`lines` are those of members; `clock` in seconds, as the guard reads it."""
        self._conduct = Conduct()
        self._streams = streams
        self._lines = lines
        self._observer = observer
        self._clock = clock

    def check(self, line: Line) -> None:
        """Raises LimitExceeded while the member whose certificate `line` was made with is held off."""
        node = line.node or line.shown
        if node is None:
            return
        now = self._clock()
        until = self._conduct.held_until(node, now)
        if until:
            line.hold(until)
            raise self._conduct.reason(node, now)

    def refused(self, line: Line, code: str) -> None:
        """A call on `line` was refused as `code`."""
        self._earned(line, WEIGHTS.get(code, 0.0), code)

    def refused_on_stream(self, node: NodeId, code: str) -> None:
        """What a member said on its stream was refused."""
        self._member_earned(node, WEIGHTS.get(code, 0.0), code)

    def unknown_method(self, line: Line) -> None:
        """A method was called that this hub does not have."""
        self._earned(line, UNKNOWN_METHOD_WEIGHT, UNKNOWN_METHOD)

    def given_up(self, line: Line, seconds: float) -> None:
        """A call on `line` was given up by who made it, after so long."""
        if seconds < GIVEN_UP_SECONDS:
            self._earned(line, GIVEN_UP_WEIGHT, GIVEN_UP)

    def replaced(self, node: NodeId) -> None:
        """A member opened a stream where it had just opened one."""
        self._member_earned(node, REPLACED_WEIGHT, REPLACED)

    def _earned(self, line: Line, weight: float, code: str) -> None:
        if line.node is not None:
            self._member_earned(line.node, weight, code)
            return
        line.earned += weight
        if line.earned > FIRST_CALL_MOST:
            line.hold(self._clock() + HELD_SECONDS)

    def _member_earned(self, node: NodeId, weight: float, code: str) -> None:
        now = self._clock()
        if not self._conduct.earned(node, weight, code, now):
            return
        self._observer.held_off()
        session = self._streams.of(node)
        if session is not None:
            session.end(self._conduct.reason(node, now))
        until = self._conduct.held_until(node, now)
        for line in self._lines.of_member(node):
            line.hold(until)
