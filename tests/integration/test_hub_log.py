"""The hub's log as everybody gets it: over HTTPS, with other people's tools, and as members do."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding

from candor_hub.tlog import https
from candor_proto import merkle
from candor_proto.directory import MemberStatus
from candor_proto.errors import ConfigInvalid, UnknownObject
from candor_proto.ids import NodeId
from candor_proto.tlog.tiles import bundle_path, tile_path
from tests.hubs import FEDERATION, RunningHub, enrol, running_hub
from tests.logs import Reading, read_log
from tests.patience import PATIENCE_SECONDS

tlog_scales = pytest.importorskip("tlog_scales", reason="tlog-scales is a development dependency")
from tlog_scales import reader, signing  # noqa: E402  # behind the question whether it is there

HOST = f"hub.{FEDERATION}"


def trusting(hub: RunningHub) -> ssl.SSLContext:
    """TLS as a reader has it who knows the federation's root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=hub.root.public_bytes(Encoding.PEM).decode())
    return context


def request(
    hub: RunningHub, path: str, method: str = "GET", context: ssl.SSLContext | None = None, name: str = HOST
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request, on a connection of its own; blocks."""
    raw = socket.create_connection(("127.0.0.1", hub.hub.ports.log), timeout=PATIENCE_SECONDS)
    connection = http.client.HTTPConnection(name)
    with (context or trusting(hub)).wrap_socket(raw, server_hostname=name) as secured:
        connection.sock = secured
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()


def fetched(hub: RunningHub, path: str) -> bytes:
    """A file of the log over HTTPS; raises UnknownObject."""
    status, _, body = request(hub, f"/log/{path}")
    if status == 404:
        raise UnknownObject(path)
    assert status == 200, (status, path)
    return body


async def whole(hub: RunningHub) -> Reading:
    """Read and check the whole log over HTTPS."""
    with hub.hub._store.read() as tx:
        keys = tx.log.shards()[0].verifier_keys
    return await asyncio.to_thread(read_log, lambda path: fetched(hub, path), keys, hub.clock.now())


async def busy(hub: RunningHub, lookups: int) -> None:
    """Two members, some changes, and lookups: more than a bundle of entries."""
    alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
    for number in range(lookups):
        status = MemberStatus.SUSPENDED if number % 2 == 0 else MemberStatus.ACTIVE
        await asyncio.to_thread(hub.hub.directory.set_status, NodeId("bravo"), status, hub.clock.now())
    await asyncio.to_thread(
        hub.hub.directory.set_status, NodeId("bravo"), MemberStatus.ACTIVE, hub.clock.now()
    )
    await alpha.submit(alpha.lookup([alpha, bravo]))
    await hub.announced()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while hub.hub.directory.look()[1].waits:
            await asyncio.sleep(0.05)
    for client in (alpha, bravo):
        await client.close()


def play(tmp_path: Path, act: Callable[[RunningHub], Any], **changes: Any) -> None:
    async def scene() -> None:
        async with running_hub(tmp_path / "hub", **changes) as hub:
            await act(hub)

    asyncio.run(scene())


class Https:
    """The oracle's backend over our HTTPS."""

    def __init__(self, hub: RunningHub, shard: int) -> None:
        self._hub, self._shard = hub, shard

    def get(self, *path: str) -> bytes | None:
        try:
            return fetched(self._hub, "/".join((str(self._shard), *path)))
        except UnknownObject:
            return None


def test_an_implementation_that_nobody_here_wrote_reads_the_log_over_https(tmp_path: Path) -> None:
    async def act(hub: RunningHub) -> None:
        await busy(hub, lookups=150)
        reading = await whole(hub)
        assert reading.last.signed.checkpoint.size > 256
        await asyncio.to_thread(read_by_the_oracle, hub, reading)

    play(tmp_path, act)


def read_by_the_oracle(hub: RunningHub, reading: Reading) -> None:
    theirs = reader.TilesReader(Https(hub, 1))
    checkpoint = theirs.get_checkpoint()
    assert checkpoint.size == reading.last.signed.checkpoint.size
    assert theirs.calculate_root_hash() == checkpoint.root_hash
    with hub.hub._store.read() as tx:
        keys = tx.log.shards()[0].verifier_keys
    for key in keys:
        checkpoint.verify(signing.Vkey.from_string(key.encode()))
    for index in (0, 1, 255, 256, checkpoint.size - 1):
        entry = theirs.get_entry(index)
        assert entry == reading.last.octets[index]
        proof = theirs.get_inclusion_proof(index, checkpoint.size)
        proof.check(merkle.leaf_hash(entry), checkpoint.root_hash)


def test_files_come_with_what_a_cache_and_a_reader_need_to_know(tmp_path: Path) -> None:
    async def act(hub: RunningHub) -> None:
        await busy(hub, lookups=2)
        size = (await whole(hub)).last.signed.checkpoint.size
        moving = ("shards", "1/checkpoint", "1/signed")
        fixed = (f"1/{tile_path(0, 0, size)}", f"1/{bundle_path(0, size)}", f"1/{bundle_path(0, size - 1)}")
        for path in (*moving, *fixed):
            status, headers, body = await asyncio.to_thread(request, hub, f"/log/{path}")
            assert (status, headers["x-content-type-options"]) == (200, "nosniff")
            assert headers["content-length"] == str(len(body))
            assert headers["access-control-allow-origin"] == "*"
            if path in moving:
                assert headers["content-type"] == "text/plain; charset=utf-8"
                assert headers["cache-control"] == "no-cache"
            else:
                assert headers["content-type"] == "application/octet-stream"
                assert "immutable" in headers["cache-control"]
            status, headers, body = await asyncio.to_thread(request, hub, f"/log/{path}", "HEAD")
            assert (status, body) == (200, b"")
        shards = await asyncio.to_thread(fetched, hub, "shards")
        origin, _, size_text = shards.decode().strip().rpartition(" ")
        assert (origin, int(size_text)) == (f"{FEDERATION}/log/1", size)

    play(tmp_path, act)


ELSEWHERE = (
    "/",
    "/log",
    "/log/",
    "/log/1",
    "/log/1/",
    "/log/1/tile",
    "/log/lock",
    "/log/1/tile/0/",
    "/log/../hub.toml",
    "/log/%2e%2e/hub.toml",
    "/log/1/..%2f..%2fhub.toml",
    "/log/1/policy/../../../hub.toml",
    "//etc/passwd",
    "/log//etc/passwd",
    "/log/1/checkpoint%00",
    "/log/1/checkpoint/",
    "/log/01/checkpoint",
    "/log/2/checkpoint",
    "/log/1/.checkpoint.new",
    "/log/1/tile/0/000.p/0",
    "/log/1/tile/0/000.p/255",
    "/log/1/tile/0/000",
    "/log/1/tile/entries/001",
    "/log/1/tile/64/000",
    "/log/1/draw/2026-1",
)


def test_nothing_but_the_log_is_served(tmp_path: Path) -> None:
    async def act(hub: RunningHub) -> None:
        await whole(hub)
        for path in ELSEWHERE:
            status, _, body = await asyncio.to_thread(request, hub, path)
            assert (status, path) == (404, path)
            assert b"federation" not in body

    play(tmp_path, act)


def test_nothing_can_be_done_but_reading(tmp_path: Path) -> None:
    async def act(hub: RunningHub) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, _, _ = await asyncio.to_thread(request, hub, "/log/1/checkpoint", method)
            assert status == 405

    play(tmp_path, act)


def test_older_tls_is_refused(tmp_path: Path) -> None:
    async def act(hub: RunningHub) -> None:
        context = trusting(hub)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(request, hub, "/log/shards", "GET", context)

    play(tmp_path, act)


def test_a_connection_that_says_nothing_or_too_slowly_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(https, "LIFE_SECONDS", 1.5)

    def silent(hub: RunningHub) -> bytes:
        raw = socket.create_connection(("127.0.0.1", hub.hub.ports.log), timeout=PATIENCE_SECONDS)
        with trusting(hub).wrap_socket(raw, server_hostname=HOST) as secured:
            return secured.recv(1)

    def dripping(hub: RunningHub) -> None:
        raw = socket.create_connection(("127.0.0.1", hub.hub.ports.log), timeout=PATIENCE_SECONDS)
        with trusting(hub).wrap_socket(raw, server_hostname=HOST) as secured:
            while True:
                secured.sendall(b"G")
                time.sleep(0.1)

    async def act(hub: RunningHub) -> None:
        assert await asyncio.to_thread(silent, hub) == b""
        with pytest.raises(OSError) as caught:
            await asyncio.wait_for(asyncio.to_thread(dripping, hub), PATIENCE_SECONDS)
        assert not isinstance(caught.value, TimeoutError)
        monkeypatch.setattr(https, "IDLE_SECONDS", PATIENCE_SECONDS)
        monkeypatch.setattr(https, "LIFE_SECONDS", PATIENCE_SECONDS)
        status, _, _ = await asyncio.to_thread(request, hub, "/log/1/checkpoint")
        assert status == 200

    play(tmp_path, act)


def test_one_address_cannot_take_all_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "MAX_CONNECTIONS_FROM_ONE_ADDRESS", 3)

    async def act(hub: RunningHub) -> None:
        context, held = trusting(hub), []
        for _ in range(3):
            held.append(
                await asyncio.open_connection(
                    "127.0.0.1", hub.hub.ports.log, ssl=context, server_hostname=HOST
                )
            )
        with pytest.raises((OSError, http.client.HTTPException)):
            await asyncio.to_thread(request, hub, "/log/shards")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    status, _, _ = await asyncio.to_thread(request, hub, "/log/shards")
                    break
                except (OSError, http.client.HTTPException):
                    await asyncio.sleep(0.05)
        assert status == 200

    play(tmp_path, act)


def test_who_does_not_even_greet_cannot_take_all_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open files are the hub's too: who only connects must not use them up."""
    monkeypatch.setattr(https, "MAX_CONNECTIONS_FROM_ONE_ADDRESS", 3)
    # Or all would be closed in time, for their silence.
    monkeypatch.setattr(https, "HANDSHAKE_SECONDS", 10 * PATIENCE_SECONDS)

    def silent(hub: RunningHub) -> int:
        held = [
            socket.create_connection(("127.0.0.1", hub.hub.ports.log), timeout=PATIENCE_SECONDS)
            for _ in range(6)
        ]
        ended = 0
        for one in held[3:]:
            ended += one.recv(1) == b""
        for one in held:
            one.close()
        return ended

    async def act(hub: RunningHub) -> None:
        assert await asyncio.to_thread(silent, hub) == 3
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    status, _, _ = await asyncio.to_thread(request, hub, "/log/shards")
                    break
                except (OSError, http.client.HTTPException):
                    await asyncio.sleep(0.05)
        assert status == 200

    play(tmp_path, act)


def test_who_comes_after_one_that_gave_up_its_place_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next reader's socket has the number of the one that was closed for him."""
    monkeypatch.setattr(https, "MAX_CONNECTIONS", 9)
    monkeypatch.setattr(https, "HANDSHAKE_SECONDS", 1.0)

    async def act(hub: RunningHub) -> None:
        held = [
            await asyncio.open_connection(
                "127.0.0.1",
                hub.hub.ports.log,
                ssl=trusting(hub),
                server_hostname=HOST,
                local_addr=("127.0.0.2", 0),
            )
            for _ in range(9)
        ]
        for _ in range(3):
            status, _, _ = await asyncio.to_thread(request, hub, "/log/shards")
            assert status == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await held[0][0].read() == b""
        for _, writer in held:
            writer.transport.abort()

    play(tmp_path, act)


def test_another_certificate_is_shown_and_its_renewal_taken_up(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key = tmp_path / "log.pem", tmp_path / "log.key"

    def issue() -> None:
        leaf = authority.issue_cert("log.example.org")
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())

    def serial(hub: RunningHub) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        raw = socket.create_connection(("127.0.0.1", hub.hub.ports.log), timeout=PATIENCE_SECONDS)
        with context.wrap_socket(raw, server_hostname="log.example.org") as secured:
            return secured.getpeercert(True) or b""

    async def act(hub: RunningHub) -> None:
        first = await asyncio.to_thread(serial, hub)
        issue()
        assert hub.hub.log_server is not None
        hub.hub.log_server.refresh()
        assert await asyncio.to_thread(serial, hub) != first
        key.write_bytes(b"no key at all")
        with pytest.raises(ConfigInvalid, match="cannot be used"):
            hub.hub.log_server.refresh()

    issue()
    play(tmp_path, act, log_certificate=certificate, log_key=key)


def test_members_read_the_same_files_over_their_connection(tmp_path: Path) -> None:
    async def act(hub: RunningHub) -> None:
        alpha = await enrol(hub, "alpha")
        await hub.announced()
        for path in ("shards", "1/checkpoint", "1/tile/entries/000.p/2"):
            assert await alpha.log_file(path) == await asyncio.to_thread(fetched, hub, path)
        for path in ("2/checkpoint", "1/tile/0/000", "hub.toml"):
            with pytest.raises(UnknownObject):
                await alpha.log_file(path)
        await alpha.close()

    play(tmp_path, act)
