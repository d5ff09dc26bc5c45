"""Metrics and health over HTTP, for whoever watches this machine: `/metrics`, `/healthz`, `/readyz`.

Rules of this file:
- nobody signs in, so only this machine comes near it unless a setting says otherwise (`addresses`);
- a page in a browser of this machine is no monitoring: what comes under a name that is none of ours is
  refused (DNS rebinding), and nothing here may be read across origins;
- GET alone, three paths, no query; connections, their life and their headers are bounded;
- it runs on the event loop of the service: if that stands still, so does `/healthz`, and that is its use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from candor_proto.errors import ConfigInvalid
from candor_watch.addresses import split_address

MAX_CONNECTIONS = 32
MAX_HEADER_OCTETS = 8 * 1024
IDLE_SECONDS = 10
# Of a connection, whatever it does; who scrapes opens another one.
LIFE_SECONDS = 300.0
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True)
class Readiness:
    """Whether this process may be given work. `reasons`: by code, a sentence without values."""

    reasons: Mapping[str, str]
    facts: Mapping[str, Any]

    @property
    def ready(self) -> bool:
        return not self.reasons


Metrics = Callable[[], Awaitable[bytes]]
Ready = Callable[[], Awaitable[Readiness]]


def application(metrics: Metrics, ready: Ready, host: str, *, any_name: bool = False) -> Starlette:
    """The three routes; `host` is the name under which they may be reached, unless `any_name`."""

    def refused(request: Request) -> Response | None:
        if any_name or _is_ours(request.headers.get("host", ""), host):
            return None
        return Response("This is not the name of this service.\n", 421, media_type="text/plain")

    async def show_metrics(request: Request) -> Response:
        return refused(request) or Response(
            await metrics(), 200, headers={**_HEADERS, "content-type": CONTENT_TYPE_LATEST}
        )

    async def show_health(request: Request) -> Response:
        return refused(request) or _json(200, {"alive": True})

    async def show_ready(request: Request) -> Response:
        if (no := refused(request)) is not None:
            return no
        told = await ready()
        body = {"ready": told.ready, "reasons": dict(told.reasons), **told.facts}
        return _json(200 if told.ready else 503, body)

    made = Starlette(
        routes=[
            Route("/metrics", show_metrics, methods=["GET"]),
            Route("/healthz", show_health, methods=["GET"]),
            Route("/readyz", show_ready, methods=["GET"]),
        ]
    )
    made.router.redirect_slashes = False
    return made


def _json(status: int, body: Mapping[str, Any]) -> Response:
    text = json.dumps(body, separators=(",", ":"), sort_keys=True) + "\n"
    return Response(text, status, headers={**_HEADERS, "content-type": "application/json"})


def _is_ours(named: str, host: str) -> bool:
    """Whether `Host` names an address, this machine, or what the setting names. A page of elsewhere, which
    made its name lead here, comes under that name.
    """
    name = named[1:].partition("]")[0] if named.startswith("[") else named.partition(":")[0]
    if name.lower() in ("localhost", host.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Listener:
    """Listens; the event loop owns it."""

    def __init__(self, metrics: Metrics, ready: Ready) -> None:
        self._metrics = metrics
        self._ready = ready
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self, address: str, *, any_name: bool = False) -> int:
        """The port that it listens on; raises ConfigInvalid.

        `any_name`: it may be asked under every name, as other machines do who were let in on purpose.
        """
        host, port = split_address(address)
        config = uvicorn.Config(
            application(self._metrics, self._ready, host, any_name=any_name),
            http=_Short,
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

        def connected() -> _Short:
            return _Short(config=config, server_state=self._state, app_state={}, _loop=loop)

        try:
            self._server = await loop.create_server(
                connected, host, port, backlog=MAX_CONNECTIONS, reuse_address=True
            )
        except OSError as error:
            raise ConfigInvalid(
                f"Metrics cannot be served on {address}: {error.strerror or error}.",
                remedy="End the program that listens there, or set another `metrics_address`.",
            ) from None
        listening: socket.socket = self._server.sockets[0]
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        """Cut who is connected."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        await self._server.wait_closed()


class _Short(H11Protocol):
    """A connection that ends after LIFE_SECONDS, and sooner if it says nothing."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        if len(self.connections) >= MAX_CONNECTIONS:
            transport.abort()
        super().connection_made(transport)
        self._end = self.loop.call_later(LIFE_SECONDS, transport.abort)
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)
