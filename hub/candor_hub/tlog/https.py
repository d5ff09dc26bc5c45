"""The log for everybody: `GET https://<log_address>/log/<path>` (docs/protocol.md §14.6, C2SP tlog-tiles).

Rules of this file:
- whoever comes may read, and do nothing else: one path, GET and HEAD, no listing, no query;
- everything is bounded: connections in all and from one address, how long each may last, octets of a header,
  handshakes and pages a second. Readers take turns by their address, and whoever has most of the places gives
  one up to who has fewer;
- a path is read by the grammar of `GetLog` and looked up in what is shown (`pages`): no path of the system is
  made of it before that.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from candor_hub.tlog.pages import Page, Pages
from candor_hub.turns import Turns
from candor_proto.errors import ConfigInvalid, LimitExceeded, MalformedMessage, StoreUnusable, UnknownObject
from candor_wire.log_codec import read_log_path
from candor_wire.v1 import hub_pb2

MAX_CONNECTIONS = 128
MAX_CONNECTIONS_FROM_ONE_ADDRESS = 32
MAX_HEADER_OCTETS = 8 * 1024
# A place is held for so long at least: at most 400 pages a second for all, half of them for one address.
READS_AT_ONCE, READS_OF_ONE_ADDRESS, READ_SECONDS = 4, 2, 0.01
# Handshakes begin at most 100 times a second, addresses taking turns.
HANDSHAKES_AT_ONCE, HANDSHAKE_PAUSE_SECONDS = 4, 0.04
# A bundle of the largest entries has 16 MiB.
LARGE_OCTETS, LARGE_AT_ONCE, PIECE_OCTETS = 1 << 20, 4, 64 * 1024
# Of a connection, whatever it does: a reader opens another one.
LIFE_SECONDS = 60.0
IDLE_SECONDS = 10
HANDSHAKE_SECONDS = 5.0
TEXT, OCTETS = "text/plain; charset=utf-8", "application/octet-stream"
_FIXED, _MOVING = "public, max-age=31536000, immutable", "no-cache"


def application(pages: Pages, turns: Turns | None = None) -> Starlette:
    """The one route; readers take turns by their address."""
    reads = turns or Turns("log-pages", READS_AT_ONCE, READS_OF_ONE_ADDRESS)
    large = Turns("log-large", LARGE_AT_ONCE, 1)

    async def read(request: Request) -> Response:
        address = request.client.host if request.client else ""
        try:
            path = read_log_path(hub_pb2.GetLogRequest(path=request.path_params["path"]))
            async with reads.place(address):
                page = await reads.aside(pages.get, path)
                await asyncio.sleep(READ_SECONDS)
        except (UnknownObject, MalformedMessage):
            return Response("There is no such file in the log.\n", 404, media_type="text/plain")
        except StoreUnusable:
            return Response("The log cannot be read at the moment.\n", 503, media_type="text/plain")
        except LimitExceeded:
            return Response("Too many requests from this address.\n", 429, media_type="text/plain")
        if len(page.octets) <= LARGE_OCTETS:
            return Response(page.octets, 200, headers=_headers(page))
        headers = {**_headers(page), "content-length": str(len(page.octets))}
        del page
        return StreamingResponse(_large(large, address, pages, path), 200, headers)

    made = Starlette(routes=[Route("/log/{path:path}", read, methods=["GET"])])
    made.router.redirect_slashes = False
    return made


async def _large(turns: Turns, address: str, pages: Pages, path: str) -> AsyncIterator[bytes]:
    """A page that few readers at a time may have in this process's memory."""
    async with turns.place(address):
        octets = (await turns.aside(pages.get, path)).octets
        for at in range(0, len(octets), PIECE_OCTETS):
            yield octets[at : at + PIECE_OCTETS]


def _headers(page: Page) -> dict[str, str]:
    return {
        "content-type": TEXT if page.text else OCTETS,
        "cache-control": _FIXED if page.fixed else _MOVING,
        "x-content-type-options": "nosniff",
        # Nothing here is secret, and a reader may be a page in a browser.
        "access-control-allow-origin": "*",
    }


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS 1.3 with the certificate chain and key in these PEM files (`key` None: in the same one).

    Raises ConfigInvalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The one group that every TLS 1.3 has (RFC 8446 §9.1). OpenSSL would agree to 8192 bits of a finite field
    # as well, which costs the hub a tenth of a second for a caller who need not even be known.
    context.set_ecdh_curve("prime256v1")
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Show this one to whoever connects from now on; raises ConfigInvalid."""
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigInvalid(
            f"The certificate of the log in {certificate} cannot be used: {reason}.",
            remedy="It has to be PEM, its key not encrypted, and both have to belong together.",
        ) from None


class LogServer:
    """Listens for readers of the log, in a thread and an event loop of its own: what strangers do there never
    waits in front of what members do.
    """

    def __init__(self, pages: Pages, certificate: Path, key: Path | None) -> None:
        self._pages = pages
        self._certificate, self._key = certificate, key
        self._shown = b""
        self._context: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._readers: _Readers | None = None

    async def start(self, address: str) -> int:
        """The port that it listens on; raises ConfigInvalid."""
        self._context = tls_context(self._certificate, self._key)
        self._shown = self._files()
        listening = await asyncio.to_thread(_listen, address)
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="log-server", daemon=True)
        self._thread.start()
        readers = self._readers = _Readers(self._pages, self._context, listening)
        await self._there(readers.begin())
        port: int = listening.getsockname()[1]
        return port

    def refresh(self) -> None:
        """Show the certificate that is in the files now; raises ConfigInvalid, and the old one stays."""
        present = self._files()
        if self._context is not None and present != self._shown:
            load_certificate(self._context, self._certificate, self._key)
            self._shown = present

    def _files(self) -> bytes:
        try:
            return b"".join(path.read_bytes() for path in (self._certificate, self._key) if path)
        except OSError:
            return self._shown

    async def stop(self) -> None:
        """Cut who is connected; nothing listens any more when this returns."""
        if self._loop is None or self._thread is None or self._readers is None:
            return
        await self._there(self._readers.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()
        self._loop = None

    async def _there(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        place = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(place[4][:2], family=place[0], backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise ConfigInvalid(
            f"The log cannot be served on {address}: {error.strerror or error}.",
            remedy="End the program that listens there, or set another `log_address`.",
        ) from None
    listening.setblocking(False)
    return listening


class _Readers:
    """The connections of the log's port; their loop owns this."""

    def __init__(self, pages: Pages, context: ssl.SSLContext, listening: socket.socket) -> None:
        self._pages = pages
        self._context = context
        self._listening = listening
        self._state = ServerState()
        self._handshakes = Turns("log-handshakes", HANDSHAKES_AT_ONCE, 1)
        # By address, oldest first.
        self._held: defaultdict[str, list[asyncio.Task[None]]] = defaultdict(list)
        self._accepting: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        config = uvicorn.Config(
            application(self._pages),
            http=Bounded,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_OCTETS,
        )
        config.load()
        loop = asyncio.get_running_loop()

        def connected() -> Bounded:
            return Bounded(config=config, server_state=self._state, app_state={}, _loop=loop)

        self._accepting = asyncio.create_task(self._accept(connected))

    async def end(self) -> None:
        if self._accepting is None:
            return
        self._accepting.cancel()
        held = [task for tasks in self._held.values() for task in tasks]
        for task in held:
            task.cancel()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        await asyncio.gather(self._accepting, *held, return_exceptions=True)
        self._listening.close()

    async def _accept(self, connected: Callable[[], Bounded]) -> None:
        """Take connections, for ever; one too many is closed before its handshake costs anything."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                held, place = await loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(1.0)  # no descriptor is free
                continue
            address = place[0]
            if not self._has_room(address):
                held.close()
                continue
            task = asyncio.create_task(self._hold(held, address, connected))
            self._held[address].append(task)
            task.add_done_callback(partial(self._gone, address))

    def _has_room(self, address: str) -> bool:
        """Where all places are taken, who has most of them loses his oldest to who has fewer."""
        own = len(self._held.get(address, ()))
        if own >= MAX_CONNECTIONS_FROM_ONE_ADDRESS:
            return False
        if sum(map(len, self._held.values())) < MAX_CONNECTIONS:
            return True
        most = max(self._held.values(), key=len)
        if len(most) <= own + 1:
            return False
        most.pop(0).cancel()
        return True

    def _gone(self, address: str, task: asyncio.Task[None]) -> None:
        held = self._held.get(address)
        if held is not None and task in held:
            held.remove(task)
        if not held:
            self._held.pop(address, None)

    async def _hold(self, held: socket.socket, address: str, connected: Callable[[], Bounded]) -> None:
        protocol: Bounded | None = None
        try:
            async with self._handshakes.place(address):
                await asyncio.sleep(HANDSHAKE_PAUSE_SECONDS)
            made = protocol = connected()
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: made,
                held,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=HANDSHAKE_SECONDS,
            )
            await made.lost
        except (OSError, LimitExceeded):
            pass
        finally:
            # From the handshake on the socket is the loop's: closed here, its number would be another
            # reader's before the loop has let go of it.
            if protocol is None:
                held.close()
            else:
                protocol.leave()


class Bounded(H11Protocol):
    """A connection that ends after LIFE_SECONDS; `lost` is done when it has."""

    _end: asyncio.TimerHandle | None = None
    _left = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.lost: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._left:
            transport.abort()
        self._end = self.loop.call_later(LIFE_SECONDS, transport.abort)
        # A connection that says nothing is over sooner.
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)

    def leave(self) -> None:
        """End it now, or as soon as it begins."""
        self._left = True
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        if not self.lost.done():
            self.lost.set_result(None)
        super().connection_lost(exc)
