"""Where members and newcomers connect: the servers of gRPC, and the guard before them.

Rules of this file:
- the ports are taken when they are opened, and answer when everything is started;
- behind the guard one port has several servers of gRPC. Each takes its calls up one after the other, and a
  busy event loop needs several turns for each: with one alone, whoever calls much would keep others from
  being heard at all, before anything here could say whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import grpc
from cryptography import x509

from candor_certs.mtls import Options, places, rotating_server_credentials
from candor_certs.store import TlsIdentity
from candor_hub.guard.budget import SILENT_SECONDS
from candor_hub.guard.keeper import Cut, Door, Keeper, listen
from candor_hub.guard.turns import Limits
from candor_hub.lines import Lines
from candor_hub.peer import Gatekeeper
from candor_proto.errors import ConfigInvalid

SERVERS = 8
# Connections that are not known to be a member's yet.
NEW_OF_ONE_ADDRESS = 4


@dataclass(frozen=True)
class Port:
    """What answers at an address; `members`: only to their certificates."""

    address: str
    options: Options
    gatekeeper: Gatekeeper
    lines: Lines
    add: Callable[[grpc.aio.Server], None]
    members: bool = True


class Front:
    """Everything that listens for gRPC. The event loop owns it."""

    def __init__(
        self,
        tls: Callable[[], TlsIdentity],
        root: x509.Certificate,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        *,
        guarded: bool,
        balancers: Iterable[str] = (),
        cut: Cut = lambda reason, count: None,
    ) -> None:
        self._cut = cut
        self._balancers = frozenset(balancers)
        self._tls = tls
        self._root = root
        self._interceptors = tuple(interceptors)
        self._guarded = guarded
        self._servers: list[grpc.aio.Server] = []
        self._doors: list[Door] = []
        self._keeper: Keeper | None = None
        self._hearing: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        return bool(self._servers)

    def open(self, port: Port) -> int:
        """Take the port; its number. Raises ConfigInvalid."""
        if not self._guarded:
            _check_bindable(port.address)
            return self._serve(port, port.address)
        board = port.lines.board
        assert board is not None
        listening = listen(port.address)
        behind = tuple(self._serve(port, "127.0.0.1:0") for _ in range(SERVERS if port.members else 1))
        limits = Limits(places(port.options), NEW_OF_ONE_ADDRESS, balancers=self._balancers)
        self._doors.append(Door(listening, behind, board, limits, port.members, SILENT_SECONDS))
        number: int = listening[0].getsockname()[1]
        return number

    async def start(self) -> None:
        """Answer."""
        for server in self._servers:
            await server.start()
        if self._doors:
            self._keeper = Keeper(self._doors, self._cut)
            await asyncio.to_thread(self._keeper.start)
            self._hearing = asyncio.create_task(self._keeper.run())

    async def stop(self, grace_seconds: float) -> None:
        """Let calls finish, then close everything."""
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])
        if self._keeper is not None:
            await self._keeper.stop()

    def _serve(self, port: Port, address: str) -> int:
        server = grpc.aio.server(interceptors=[*self._interceptors, port.gatekeeper], options=port.options)
        credentials = rotating_server_credentials(self._tls, [self._root], port.members)
        try:
            number = server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ConfigInvalid(
                f"The hub cannot listen on {address}.", remedy="Choose another address in the configuration."
            ) from None
        port.add(server)
        self._servers.append(server)
        return number


def _check_bindable(address: str) -> None:
    """Raises ConfigInvalid in words, where gRPC would only say that it failed."""
    for each in listen(address):
        each.close()
