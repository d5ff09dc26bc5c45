"""One port for everything, as a balancer offers it: connections go by the name in the TLS handshake (SNI).

    async with SniRouter({"hub.demo.example": 7443, "enrolment.demo.example": 7444}, default=7445) as one:
        ...                                        # nodes dial one.address

The octets are passed on as they are: TLS ends at the hub. What `docs/firewalls.md` has haproxy do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType

CHUNK_OCTETS = 64 * 1024
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME = 22, 1, 0


def server_name(record: bytes) -> str:
    """The name that a ClientHello asks for (RFC 8446 §4.1.2, RFC 6066 §3); empty if it asks for none.

    Raises ValueError for what is no ClientHello.
    """
    body = _Octets(record)
    if body.number(1) != _HANDSHAKE:
        raise ValueError("no handshake")
    body.skip(4)
    if body.number(1) != _CLIENT_HELLO:
        raise ValueError("no ClientHello")
    body.skip(3 + 2 + 32)
    body.skip(body.number(1))  # session id
    body.skip(body.number(2))  # cipher suites
    body.skip(body.number(1))  # compression methods
    extensions = _Octets(body.take(body.number(2)))
    while extensions.left:
        kind, value = extensions.number(2), extensions.take(extensions.number(2))
        if kind == _SERVER_NAME:
            names = _Octets(value)
            names.skip(2 + 1)
            return names.take(names.number(2)).decode("ascii")
    return ""


class _Octets:
    def __init__(self, octets: bytes) -> None:
        self._octets, self._at = octets, 0

    @property
    def left(self) -> int:
        return len(self._octets) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("cut short")
        self._at += count
        return self._octets[self._at - count : self._at]

    def skip(self, count: int) -> None:
        self.take(count)

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")


class SniRouter:
    """Passes each connection on to the port of 127.0.0.1 that its name leads to."""

    def __init__(self, ports: Mapping[str, int], default: int, port: int = 0) -> None:
        self._ports, self._default, self._port = dict(ports), default, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Names asked for, in order.
        self.names: list[str] = []

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                head = await reader.readexactly(5)
                hello = head + await reader.readexactly(int.from_bytes(head[3:5], "big"))
                self.names.append(server_name(hello))
                port = self._ports.get(self.names[-1], self._default)
                far = await asyncio.open_connection("127.0.0.1", port)
                far[1].write(hello)
                ways = [
                    asyncio.create_task(_pass(reader, far[1])),
                    asyncio.create_task(_pass(far[0], writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
                    far[1].close()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def __aenter__(self) -> SniRouter:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while octets := await reader.read(CHUNK_OCTETS):
            writer.write(octets)
            await writer.drain()
