"""A witness over HTTP: `POST /add-checkpoint` and `GET /<origin hash>/checkpoint` (C2SP tlog-witness).

Rules of this file:
- whoever comes may ask, so that everything is bounded: octets of a request, the time it may take to arrive,
  how many are heard at once;
- nothing but these two paths answers, and nothing that a request holds goes into a log or a message.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from candor_node.logs import log
from candor_node.tlog.witness import Witness
from candor_proto.errors import StoreUnusable
from candor_proto.tlog.witness import MAX_REQUEST_OCTETS, TEXT

# How long a request may take to arrive, and a connection to say something.
BODY_SECONDS = 10.0
IDLE_SECONDS = 30.0
MAX_CONNECTIONS = 64
MAX_HEADER_OCTETS = 16 * 1024
# Requests that are judged at a time; each is a transaction, and they come one after the other anyway.
MAX_JUDGED = 8
GRACE_SECONDS = 2
START_SECONDS = 10.0
_HASH = re.compile(r"[0-9a-f]{64}\Z")


def application(witness: Witness, body_seconds: float = BODY_SECONDS) -> Starlette:
    """The two paths of a witness."""
    places = asyncio.Semaphore(MAX_JUDGED)

    async def add_checkpoint(request: Request) -> Response:
        body = await _body(request, body_seconds)
        if isinstance(body, Response):
            return body
        async with places:
            try:
                verdict = await witness.add_checkpoint(body)
            except StoreUnusable as error:
                log.error("a checkpoint was not cosigned", code=error.code, reason=error.message)
                return _said(503, "The witness cannot store anything now; nothing was signed.")
        log.info("asked to cosign", status=verdict.status)
        return Response(verdict.body, verdict.status, headers={"content-type": verdict.content_type})

    async def checkpoint(request: Request) -> Response:
        digest = request.path_params["digest"]
        octets = await witness.checkpoint(digest) if _HASH.match(digest) else None
        if octets is None:
            return _said(404, "This witness has cosigned no checkpoint of such a log.")
        headers = {"content-type": TEXT, "cache-control": "max-age=60"}
        return Response(octets, 200, headers=headers)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{digest}/checkpoint", checkpoint, methods=["GET"]),
        ]
    )


async def _body(request: Request, seconds: float) -> bytes | Response:
    """The octets of a request, or why they are not taken."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > MAX_REQUEST_OCTETS:
        return _said(413, "The request is over its limit.")
    parts, octets = list[bytes](), 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                octets += len(part)
                if octets > MAX_REQUEST_OCTETS:
                    return _said(413, "The request is over its limit.")
                parts.append(part)
    except TimeoutError:
        return _said(408, "The request did not arrive in time.")
    except ClientDisconnect:
        return _said(400, "The request did not arrive.")
    return b"".join(parts)


def _said(status: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status, headers={"content-type": TEXT})


@dataclass(frozen=True)
class Listen:
    """Where a witness listens; with a certificate and its key it speaks HTTPS."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"


@asynccontextmanager
async def serving(
    witness: Witness,
    listen: Listen,
    body_seconds: float = BODY_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
) -> AsyncIterator[int]:
    """Serve while the block runs; yields the port. Raises StoreUnusable when it cannot be had."""
    try:
        config = uvicorn.Config(
            application(witness, body_seconds),
            ssl_certfile=listen.certificate,
            ssl_keyfile=listen.key,
            http=_impatient(idle_seconds),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=int(idle_seconds) or 1,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_OCTETS,
        )
        config.load()
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        listening = socket.create_server((listen.host, listen.port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:  # of the address, or of the certificate
        raise StoreUnusable(
            f"The witness cannot listen on {listen.host}:{listen.port}: {error.strerror or error}.",
            remedy="Another program may have the port, or the certificate does not fit its key.",
        ) from None
    server = _Server(config)
    task = asyncio.create_task(server.serve([listening]))
    try:
        async with asyncio.timeout(START_SECONDS):
            while not server.started:
                await asyncio.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait({task})
        listening.close()


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
        """Signals are the caller's business."""
        return nullcontext()


def _impatient(seconds: float) -> type[H11Protocol]:
    """The protocol of a connection that is closed when it brings no whole request for so long."""

    class Impatient(H11Protocol):
        _before: object = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            self.loop.call_later(seconds, self._look)

        def _look(self) -> None:
            if self.transport.is_closing():
                return
            cycle = self.cycle
            if cycle is self._before and (cycle is None or cycle.response_complete):
                self.transport.close()
                return
            self._before = cycle
            self.loop.call_later(seconds, self._look)

    return Impatient
