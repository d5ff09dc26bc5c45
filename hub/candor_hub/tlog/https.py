"""The log for everybody: `GET https://<log_address>/log/<path>` (docs/protocol.md §14.6, C2SP tlog-tiles).

Rules of this file:
- whoever comes may read, and do nothing else: one path, GET and HEAD, no listing, no query;
- everything is bounded: connections in all and from one address, how long each may last, octets of a header,
  files read at a time;
- a path is read by the grammar of `GetLog` and looked up in what is shown (`pages`): no path of the system is
  made of it before that.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from candor_hub.tlog.pages import Page, Pages
from candor_proto.errors import ConfigInvalid, MalformedMessage, StoreUnusable, UnknownObject
from candor_wire.log_codec import read_log_path
from candor_wire.v1 import hub_pb2

MAX_CONNECTIONS = 128
MAX_CONNECTIONS_FROM_ONE_ADDRESS = 32
MAX_HEADER_OCTETS = 8 * 1024
MAX_READ_AT_A_TIME = 8
# Of a connection, whatever it does: a reader opens another one.
LIFE_SECONDS = 60.0
IDLE_SECONDS = 10
HANDSHAKE_SECONDS = 10.0
TEXT, OCTETS = "text/plain; charset=utf-8", "application/octet-stream"
_FIXED, _MOVING = "public, max-age=31536000, immutable", "no-cache"


def application(pages: Pages) -> Starlette:
    """The one route."""
    places = asyncio.Semaphore(MAX_READ_AT_A_TIME)

    async def read(request: Request) -> Response:
        try:
            path = read_log_path(hub_pb2.GetLogRequest(path=request.path_params["path"]))
            async with places:
                page = await asyncio.to_thread(pages.get, path)
        except (UnknownObject, MalformedMessage):
            return Response("There is no such file in the log.\n", 404, media_type="text/plain")
        except StoreUnusable:
            return Response("The log cannot be read at the moment.\n", 503, media_type="text/plain")
        return Response(page.octets, 200, headers=_headers(page))

    made = Starlette(routes=[Route("/log/{path:path}", read, methods=["GET"])])
    made.router.redirect_slashes = False
    return made


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
    """Listens for readers of the log; the event loop owns it."""

    def __init__(self, pages: Pages, certificate: Path, key: Path | None) -> None:
        self._pages = pages
        self._certificate, self._key = certificate, key
        self._shown = b""
        self._context: ssl.SSLContext | None = None
        self._state = ServerState()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._held: set[asyncio.Task[None]] = set()
        self._addresses: Counter[str] = Counter()

    async def start(self, address: str) -> int:
        """The port that it listens on; raises ConfigInvalid."""
        host, _, port = address.rpartition(":")
        self._context = tls_context(self._certificate, self._key)
        self._shown = self._files()
        config = uvicorn.Config(
            application(self._pages),
            http=Bounded,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_OCTETS,
        )
        config.load()
        loop = asyncio.get_running_loop()

        def connected() -> Bounded:
            return Bounded(config=config, server_state=self._state, app_state={}, _loop=loop)

        try:
            place = (
                await loop.getaddrinfo(
                    host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )
            )[0]
            self._listening = socket.create_server(place[4][:2], family=place[0], backlog=MAX_CONNECTIONS)
        except OSError as error:
            raise ConfigInvalid(
                f"The log cannot be served on {address}: {error.strerror or error}.",
                remedy="End the program that listens there, or set another `log_address`.",
            ) from None
        self._listening.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listening, connected))
        listening: int = self._listening.getsockname()[1]
        return listening

    async def _accept(self, listening: socket.socket, connected: Callable[[], Bounded]) -> None:
        """Take connections, for ever; one too many is closed before its handshake costs anything."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                held, place = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(1.0)  # no descriptor is free
                continue
            address = place[0]
            if (
                len(self._held) >= MAX_CONNECTIONS
                or self._addresses[address] >= MAX_CONNECTIONS_FROM_ONE_ADDRESS
            ):
                held.close()
                continue
            self._addresses[address] += 1
            task = asyncio.create_task(self._hold(held, address, connected))
            self._held.add(task)
            task.add_done_callback(self._held.discard)

    async def _hold(self, held: socket.socket, address: str, connected: Callable[[], Bounded]) -> None:
        try:
            _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
                connected, held, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
            await protocol.lost
        except OSError:
            held.close()
        finally:
            self._addresses[address] -= 1
            if self._addresses[address] <= 0:
                del self._addresses[address]

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
        """Cut who is connected."""
        if self._listening is None or self._accepting is None:
            return
        self._accepting.cancel()
        for task in self._held:
            task.cancel()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        await asyncio.gather(self._accepting, *self._held, return_exceptions=True)
        self._listening.close()


class Bounded(H11Protocol):
    """A connection that ends after LIFE_SECONDS; `lost` is done when it has."""

    _end: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.lost: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._end = self.loop.call_later(LIFE_SECONDS, transport.abort)
        # A connection that says nothing is over sooner.
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        if not self.lost.done():
            self.lost.set_result(None)
        super().connection_lost(exc)
