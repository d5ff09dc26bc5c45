"""What the guard holds: doors, connections through them, and the two sockets of each."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from itertools import cycle

from candor_hub.guard.board import Board
from candor_hub.guard.budget import SILENT_SECONDS, Budget
from candor_hub.guard.turns import Limits, Turns


@dataclass(frozen=True)
class DoorSpec:
    """Sockets that listen, the ports of gRPC behind them with their page, and what holds there."""

    board: Board
    listening: tuple[socket.socket, ...]
    ports: tuple[int, ...]
    limits: Limits
    members: bool
    silent_seconds: float = SILENT_SECONDS


# There are thousands of each: what they hold is the memory that a member costs here.
@dataclass(eq=False, slots=True)
class End:
    """One socket of a link: what it waits to be sent, and what the poll is asked about it."""

    socket: socket.socket
    waiting: bytes | memoryview = b""
    asked: int = 0
    open: bool = True


@dataclass(eq=False, slots=True)
class Link:
    """One connection: the client's socket, and once it was opened one to gRPC."""

    door: Door
    address: str
    network: str
    client: End
    began: float
    # When octets came of the client, or it was opened.
    heard: float = 0.0
    # The hub closed it.
    refused: bool = False
    hub: End | None = None
    port: int = 0
    budget: Budget | None = None
    member: int = 0
    # Nothing but pings is expected: they are read at the next look.
    quiet: bool = False
    connected: bool = False
    over: bool = False

    def has_ended(self) -> bool:
        return self.over


class Door:
    """One port, from accept on."""

    def __init__(self, spec: DoorSpec) -> None:
        self.spec = spec
        self.turns: Turns[Link] = Turns(spec.limits)
        self.ports = cycle(spec.ports)
        self.new: set[Link] = set()
        # Of each member, oldest first.
        self.members: dict[int, list[Link]] = {}
