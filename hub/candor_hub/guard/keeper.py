"""The hub's side of the guard: starts its process, logs what it cuts, and starts it again should it end."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from candor_hub.guard.board import Board
from candor_hub.guard.budget import SILENT_SECONDS
from candor_hub.guard.turns import Limits
from candor_proto.errors import ConfigInvalid

log = structlog.get_logger(__name__)

Cut = Callable[[str, int], None]

RESTART_SECONDS = 1.0
SAY_SECONDS = 60.0
BACKLOG = 1_024


@dataclass(frozen=True)
class Door:
    """Where the world connects, and the ports of gRPC on loopback that it leads to."""

    listening: tuple[socket.socket, ...]
    ports: tuple[int, ...]
    board: Board
    limits: Limits
    members: bool = True
    silent_seconds: float = SILENT_SECONDS


def listen(address: str) -> tuple[socket.socket, ...]:
    """Sockets on every address that `address` (host:port) stands for; raises ConfigInvalid."""
    host, _, port = address.rpartition(":")
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        number = int(port)
        for family, place in dict.fromkeys((each[0], each[4][0]) for each in found):
            both = family is socket.AF_INET6 and place == "::"
            made.append(
                socket.create_server((place, number), family=family, backlog=BACKLOG, dualstack_ipv6=both)
            )
            number = made[0].getsockname()[1]
            if both:
                break
    except OSError as error:
        for each in made:
            each.close()
        raise ConfigInvalid(
            f"The hub cannot listen on {address}: {error.strerror or error}.",
            remedy="End the program that listens there, or choose another address in the configuration.",
        ) from None
    return tuple(made)


class Keeper:
    """Keeps the guard running. The event loop owns it."""

    def __init__(self, doors: Sequence[Door], cut: Cut) -> None:
        """`cut` hears why connections were ended, and how many."""
        self._doors = tuple(doors)
        self._cut = cut
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._unsaid: Counter[str] = Counter()
        self._silent: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to take connections; blocks for a moment."""
        own, its = socket.socketpair()
        descriptors = [its.fileno(), *(door.board.descriptor for door in self._doors)]
        descriptors += [each.fileno() for door in self._doors for each in door.listening]
        told: dict[str, Any] = {
            "control": its.fileno(),
            "doors": [
                {
                    "board": door.board.descriptor,
                    "listening": [each.fileno() for each in door.listening],
                    "ports": door.ports,
                    "limits": {**asdict(door.limits), "balancers": sorted(door.limits.balancers)},
                    "members": door.members,
                    "silent_seconds": door.silent_seconds,
                }
                for door in self._doors
            ],
        }
        own.setblocking(False)
        self._process = subprocess.Popen(  # noqa: S603 this interpreter, and numbers
            [sys.executable, "-P", "-m", "candor_hub.guard", json.dumps(told)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=descriptors,
        )
        its.close()
        self._control = own

    async def run(self) -> None:
        """Hear what it says, for ever."""
        while True:
            await self._hear()
            log.error("the guard ended and is started again")
            await asyncio.to_thread(self._reap)
            await asyncio.sleep(RESTART_SECONDS)
            self.start()

    async def _hear(self) -> None:
        assert self._control is not None
        reader, writer = await asyncio.open_connection(sock=self._control)
        try:
            while line := await reader.readline():
                for kind, count in json.loads(line).items():
                    self._note(kind, count)
        finally:
            writer.close()

    def _note(self, kind: str, count: int) -> None:
        self._cut(kind, count)
        self._unsaid[kind] += count
        if self._silent is None:
            self._say()

    def _say(self) -> None:
        """One line of each kind in SAY_SECONDS: whoever floods must not fill the disk with them."""
        self._silent = None
        if self._unsaid:
            for kind, count in self._unsaid.items():
                log.warning("connections were cut", kind=kind, count=count)
            self._unsaid.clear()
            self._silent = asyncio.get_running_loop().call_later(SAY_SECONDS, self._say)

    def _reap(self) -> None:
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """End it, and cut whoever is connected; nothing listens any more when this returns."""
        if self._silent is not None:
            self._silent.cancel()
        if self._control is not None:
            with suppress(OSError):
                self._control.close()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                await asyncio.to_thread(self._reap)
        for door in self._doors:
            for each in door.listening:
                each.close()
            door.board.close()
