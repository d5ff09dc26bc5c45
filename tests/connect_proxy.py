"""A county's HTTP proxy on 127.0.0.1, as strict as one wants it: CONNECT and nothing else (RFC 9110 §9.3.6).

    async with ConnectProxy({hub_port}, names={"hub.county.invalid": "127.0.0.1"}) as proxy:
        ...                                    # nodes have proxy = proxy.url
        proxy.credentials = "user:password"    # asked for from now on (Basic)
        proxy.idle_seconds = 5                 # a tunnel in which nothing passes for so long is closed
        proxy.intercepts = presented           # opens TLS itself, with a certificate of its own

A name that is in `names` and in no DNS is reached by nobody who does not go through the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.certificates import Presented

CHUNK_OCTETS = 64 * 1024


@dataclass
class Asked:
    """One request for a tunnel, and the status it got."""

    target: str
    status: int


class ConnectProxy:
    """Opens tunnels to `ports` and to no other port. One event loop owns it."""

    def __init__(
        self, ports: Collection[int], names: Mapping[str, str] | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._ports = frozenset(ports)
        self._names = dict(names or {})
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.credentials = ""
        self.idle_seconds: float | None = None
        self.intercepts: Presented | None = None
        self.silent = False
        self.asked: list[Asked] = []
        # Tunnels closed because nothing passed.
        self.idled = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._answer(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if self.silent:
            await asyncio.sleep(3600)
        line, *fields = head.split("\r\n")
        method, _, rest = line.partition(" ")
        target = rest.rpartition(" ")[0]
        host, _, port = target.rpartition(":")
        status = self._judge(method, port, fields)
        self.asked.append(Asked(target, status))
        if status != 200:
            challenge = 'Proxy-Authenticate: Basic realm="county"\r\n' if status == 407 else ""
            writer.write(f"HTTP/1.1 {status} No\r\n{challenge}Content-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        if self.intercepts is not None:
            await self._intercept(writer, self.intercepts)
            return
        named = host.strip("[]")
        try:
            ends = await asyncio.open_connection(self._names.get(named, named), int(port))
        except OSError:
            self.asked[-1].status = 502
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._tunnel((reader, writer), ends)

    def _judge(self, method: str, port: str, fields: list[str]) -> int:
        if method != "CONNECT":
            return 405
        told = dict(field.lower().partition(": ")[::2] for field in fields if field)
        wanted = f"Basic {base64.b64encode(self.credentials.encode()).decode()}"
        # Compared without case: what counts here is that it was sent, and is the right one.
        if self.credentials and told.get("proxy-authorization") != wanted.lower():
            return 407
        return 200 if port.isdigit() and int(port) in self._ports else 403

    async def _intercept(self, writer: asyncio.StreamWriter, presented: Presented) -> None:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            Path(file.name).write_bytes(presented.key_pem + presented.chain_pem)
            context.load_cert_chain(file.name)
        context.set_alpn_protocols(["h2", "http/1.1"])
        await writer.start_tls(context)
        await asyncio.sleep(5)

    async def _tunnel(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        passed = asyncio.Event()

        async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while octets := await reader.read(CHUNK_OCTETS):
                    passed.set()
                    writer.write(octets)
                    await writer.drain()

        async def watch() -> None:
            while True:
                passed.clear()
                try:
                    async with asyncio.timeout(self.idle_seconds):
                        await passed.wait()
                except TimeoutError:
                    self.idled += 1
                    return

        ways = [
            asyncio.create_task(one_way(near[0], far[1])),
            asyncio.create_task(one_way(far[0], near[1])),
            asyncio.create_task(watch()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far[1].close()

    async def __aenter__(self) -> ConnectProxy:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
