"""A bad network between a node and its hub: a TCP proxy on 127.0.0.1 that can be told to misbehave.

    async with Proxy("127.0.0.1", hub_port) as network:
        ...                            # nodes dial network.address
        network.black_hole()           # connections stay open, nothing passes, nothing is said
        network.heal()                 # new connections pass; those in the black hole stay there
        network.cut()                  # every connection is reset now
        network.truncate(after=900)    # the next connection passes 900 octets of the hub's, then is reset

The octets are TLS: the proxy can delay, lose and end, never read or change.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType

CHUNK_OCTETS = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close() sends RST


class Proxy:
    """Forwards connections to `host`:`port`. One event loop owns it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._deaf_to_hub = False
        self._budget: int | None = None
        self.delay_seconds = 0.0
        self.connections = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # --- what goes wrong ------------------------------------------------------------------------------

    def black_hole(self) -> None:
        """Accept everything and forward nothing, until `heal`; what is in it now never comes out."""
        self._passing.clear()

    def half_open(self) -> None:
        """What the hub says no longer arrives; what the node says does."""
        self._deaf_to_hub = True

    def heal(self) -> None:
        """New connections pass. Those that were in the black hole are dead: their octets are gone."""
        for task in self._tasks:
            task.cancel()
        self._refusing = self._deaf_to_hub = False
        self._passing.set()

    def cut(self, *, stay_down: bool = False) -> None:
        """Reset every connection; with `stay_down` refuse new ones until `heal`."""
        self._refusing = stay_down
        for writer in tuple(self._writers):
            _reset(writer)

    def truncate(self, after: int) -> None:
        """The next connection ends in the middle of what the hub says, after so many octets."""
        self._budget = after

    # --- passing on ------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        budget, self._budget = self._budget, None
        self._writers.add(writer)
        hub_writer: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            await self._passing.wait()
            hub_reader, hub_writer = await asyncio.open_connection(*self._target)
            self._writers.add(hub_writer)
            ways = [
                asyncio.create_task(self._pass(reader, hub_writer, None, from_hub=False)),
                asyncio.create_task(self._pass(hub_reader, writer, budget, from_hub=True)),
            ]
            self._tasks.update(ways)
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                    self._tasks.discard(way)
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for end in filter(None, (writer, hub_writer)):
                self._writers.discard(end)
                _reset(end)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        budget: int | None,
        *,
        from_hub: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(CHUNK_OCTETS):
                await self._passing.wait()
                if from_hub and self._deaf_to_hub:
                    continue
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if budget is not None:
                    octets = octets[:budget]
                    budget -= len(octets)
                writer.write(octets)
                await writer.drain()
                if budget == 0:
                    return
        # In a black hole an end goes under, too: the other side has to notice by itself.
        await self._passing.wait()

    # --- life ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut()
        await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, ValueError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.close()
