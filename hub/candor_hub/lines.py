"""What each connection has to show, and where it comes from: gRPC knows neither when the guard is in between.

The event loop owns everything here. What a connection has to show is put on the guard's page at once;
without a guard (whoever calls the hub in another way) it is counted all the same, and nobody looks.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar

from candor_hub.guard.board import Board, Shown
from candor_hub.guard.budget import (
    OCTETS_PER_CALL,
    OCTETS_PER_MESSAGE,
    OCTETS_PER_WRITTEN,
    SHARE_OF_MESSAGES,
    SHARE_OF_WRITTEN,
)
from candor_proto.ids import NodeId

# More than a hub has connections; past it those that called first are forgotten.
MAX_LINES = 16_384


class Line:
    """One connection, from its first call on."""

    __slots__ = (
        "_board",
        "_member",
        "_port",
        "address",
        "earned",
        "generation",
        "node",
        "octets",
        "paid",
        "shown",
        "streaming",
    )

    def __init__(self, address: str, board: Board | None = None, port: int = 0, generation: int = 0) -> None:
        self.address = address
        # Who was admitted on it last; for turns, never for what may be done.
        self.node: NodeId | None = None
        # Whose certificate it was made with, if anybody looked: for turns as well, until then.
        self.shown: NodeId | None = None
        self.octets = self.paid = self.streaming = 0
        # What was refused or given up before that (`hold_off`).
        self.earned = 0.0
        self.generation = generation
        self._board, self._port, self._member = board, port, 0

    @property
    def who(self) -> NodeId | str:
        """Whose turn a call on it takes: behind one address may be many members."""
        return self.node or self.shown or self.address

    def admitted(self, node: NodeId) -> None:
        """A call of this member was let in."""
        if self.node != node:
            self.node = node
            self._member = int.from_bytes(hashlib.sha256(str(node).encode()).digest()[:8]) | 1
            self._show()

    def took(self, octets: int) -> None:
        """A message of so many octets was read."""
        self.octets += octets
        self.paid += octets + octets // SHARE_OF_MESSAGES + OCTETS_PER_MESSAGE
        self._show()

    def wrote(self, octets: int) -> None:
        """A message of so many octets was written."""
        self.paid += OCTETS_PER_WRITTEN + octets // SHARE_OF_WRITTEN
        self._show()

    def ended(self) -> None:
        """A call has ended, and was not given up by the caller."""
        self.paid += OCTETS_PER_CALL
        self._show()

    def streams(self, calls: int) -> None:
        """So many more calls that bring several messages are under way."""
        self.streaming += calls
        self._show()

    def hold(self, until: float) -> None:
        """Nothing more of it is read until then (`time.monotonic`)."""
        board = self._page()
        if board is not None:
            board.hold(self._port, until)

    def _show(self) -> None:
        board = self._page()
        if board is not None:
            board.show(self._port, Shown(self.octets, self.paid, self._member, max(0, self.streaming)))

    def _page(self) -> Board | None:
        """Where this connection is shown, if it is still there."""
        board = self._board
        # A call may outlive its connection, whose port is then another's.
        if board is not None and board.generation(self._port) == self.generation:
            return board
        return None


class Lines:
    """The connections of one port, by gRPC's name of the peer, such as "ipv4:127.0.0.1:40000"."""

    def __init__(self, board: Board | None = None) -> None:
        self.board = board
        self._lines: dict[str, Line] = {}

    def of(self, peer: str) -> Line:
        """The line of a call's peer, begun at its first call."""
        line = self._lines.get(peer)
        if line is not None and (self.board is None or self.board.generation(line._port) == line.generation):
            return line
        if len(self._lines) >= MAX_LINES:
            del self._lines[next(iter(self._lines))]
        host, _, port = peer.rpartition(":")
        if self.board is None or not port.isdecimal():
            line = Line(host.partition(":")[2])
        else:
            number = int(port)
            line = Line(self.board.address(number), self.board, number, self.board.generation(number))
        self._lines[peer] = line
        return line

    def of_member(self, node: NodeId) -> tuple[Line, ...]:
        """Those on which this member was admitted last; some may be gone."""
        return tuple(line for line in self._lines.values() if line.node == node)


_LINE: ContextVar[Line | None] = ContextVar("candor_hub_line", default=None)


def present_line() -> Line | None:
    """The connection of the call that is being handled."""
    return _LINE.get()


def at_line(line: Line) -> None:
    """From now on this task, and those that it begins, handle a call on `line`."""
    _LINE.set(line)
