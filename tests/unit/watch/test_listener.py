"""The listener of metrics and health: who gets an answer, and what never stands in it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from candor_proto.errors import ConfigInvalid
from candor_watch import listener
from candor_watch.listener import Listener, Readiness

READY = Readiness({}, {"program": "candor-test"})
NOT_READY = Readiness({"database": "The database refuses to store anything."}, {})


@dataclass
class Reply:
    """An HTTP reply as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(port: int, path: str, host: str = "127.0.0.1", method: str = "GET") -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(10):
        octets = await reader.read()
    writer.close()
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


def listening(
    scene: Callable[[int], Awaitable[None]], ready: Readiness = READY, address: str = "127.0.0.1:0"
) -> None:
    async def metrics() -> bytes:
        return b"# TYPE candor_test gauge\ncandor_test 1.0\n"

    async def look() -> Readiness:
        return ready

    async def whole() -> None:
        made = Listener(metrics, look)
        port = await made.start(address)
        try:
            await scene(port)
        finally:
            await made.stop()

    asyncio.run(whole())


def test_metrics_are_shown_as_prometheus_reads_them() -> None:
    async def scene(port: int) -> None:
        reply = await ask(port, "/metrics")
        assert (reply.status, reply.body.splitlines()[-1]) == (200, b"candor_test 1.0")
        assert reply.headers["content-type"].startswith("text/plain; version=")
        assert reply.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in reply.headers
        assert "server" not in reply.headers

    listening(scene)


@pytest.mark.parametrize(("ready", "status"), [(READY, 200), (NOT_READY, 503)], ids=["ready", "not-ready"])
def test_readiness_is_a_status_for_balancers_and_reasons_for_people(ready: Readiness, status: int) -> None:
    async def scene(port: int) -> None:
        reply = await ask(port, "/readyz")
        assert reply.status == status
        told = json.loads(reply.body)
        assert told["ready"] is (status == 200)
        assert told["reasons"] == dict(ready.reasons)
        # Being alive is another question.
        assert (await ask(port, "/healthz")).status == 200

    listening(scene, ready)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/metrics", 405),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/debug/pprof", 404),
    ],
)
def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    async def scene(port: int) -> None:
        assert (await ask(port, path, method=method)).status == status

    listening(scene)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7446", 200),
        ("[::1]:7446", 200),
        ("localhost", 200),
        ("LocalHost:7446", 200),
        ("evil.example", 421),
        ("evil.example:7446", 421),
        ("127.0.0.1.evil.example:7446", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_a_page_that_made_its_name_lead_here_is_refused(host: str, status: int) -> None:
    """DNS rebinding: a browser of this machine would read metrics for whoever wrote the page."""

    async def scene(port: int) -> None:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert (await ask(port, path, host)).status == status

    listening(scene)


def test_other_machines_that_were_let_in_on_purpose_come_under_their_own_name() -> None:
    async def whole() -> None:
        async def metrics() -> bytes:
            return b""

        async def look() -> Readiness:
            return READY

        made = Listener(metrics, look)
        port = await made.start("127.0.0.1:0", any_name=True)
        assert (await ask(port, "/metrics", "hub.monitoring.example:7446")).status == 200
        await made.stop()

    asyncio.run(whole())


def test_a_port_that_somebody_has_is_said_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigInvalid, match="cannot be served on"):
            listening(lambda port: asyncio.sleep(0), address=f"127.0.0.1:{taken.getsockname()[1]}")


def test_connections_are_bounded_in_number_and_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(listener, "LIFE_SECONDS", 0.3)

    async def scene(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
        closed = 0
        async with asyncio.timeout(5):
            for reader, _ in held[3:]:
                closed += await reader.read() == b""
            # Those that were let in end as well, having said nothing.
            for reader, _ in held[:3]:
                closed += await reader.read() == b""
        assert closed == 6
        for _, writer in held:
            writer.close()
        assert (await ask(port, "/healthz")).status == 200

    listening(scene)
