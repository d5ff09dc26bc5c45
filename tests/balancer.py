"""A plain TCP balancer for tests: TLS ends behind it, and a server that is down is passed over.

    python -m tests.balancer 7443 127.0.0.1:9001 127.0.0.1:9002

Each connection goes to the next server in turn that takes connections; one that refuses is tried again with
the next connection after HEALTH_SECONDS.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import suppress

HEALTH_SECONDS = 0.5
CONNECT_SECONDS = 1.0
_PIECE = 1 << 16


class Balancer:
    """One event loop owns it."""

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        self._servers = servers
        self._turns = itertools.count()
        self._down: dict[tuple[str, int], float] = {}
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=1_024)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await self._connect()
            if there is not None:
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first, now = next(self._turns), asyncio.get_running_loop().time()
        order = [self._servers[(first + step) % len(self._servers)] for step in range(len(self._servers))]
        order.sort(key=lambda server: self._down.get(server, 0.0) > now)
        for server in order:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(*server)
            except (OSError, TimeoutError):
                self._down[server] = now + HEALTH_SECONDS
        return None


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
    with suppress(OSError):
        target.close()


async def _main(port: int, servers: list[tuple[str, int]]) -> None:
    print(await Balancer(servers).start(port), flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    places = [place.rpartition(":") for place in sys.argv[2:]]
    asyncio.run(_main(int(sys.argv[1]), [(host, int(port)) for host, _, port in places]))
