"""The guard in front of a real hub: honest members do not notice it, floods end there."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from candor_certs.authority import certificates_pem
from candor_certs.store import key_pem
from candor_hub.conduct import MOST, WEIGHTS
from candor_hub.guard import relay
from candor_proto.errors import LimitExceeded
from tests.campaign.attacks.frames import QUOTA, SUBMIT
from tests.campaign.attacks.wire import (
    CONTINUATION,
    HEADERS,
    PING,
    Lost,
    Place,
    Post,
    Scene,
    Wire,
    frame,
    headers_of,
)
from tests.hubs import FEDERATION, MemberClient, RunningHub, enrol, running_hub

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def guarded_hub(folder: Path, **changes: Any) -> AsyncIterator[RunningHub]:
    async with running_hub(folder / "hub", guarded=True, **changes) as hub:
        yield hub


def post(folder: Path, hub: RunningHub, member: MemberClient, number: int = 0, seconds: float = 5.0) -> Post:
    """An attacker with the certificate of `member`, from an address of its own."""
    (folder / "pem").mkdir(exist_ok=True)
    pem = key_pem(member.tls_key) + certificates_pem(member.chain)
    (folder / "pem" / f"{member.node}.pem").write_bytes(pem)
    (folder / "root.pem").write_bytes(certificates_pem([hub.root]))
    place = Place(hub.hub.ports.hub, members=True)
    scene = Scene(folder, f"hub.{FEDERATION}", place, Place(hub.hub.ports.enrolment), place)
    return Post(scene, number, 0, str(member.node), b"", time.monotonic() + seconds)


def children() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # also of one that has ended
            if "candor_hub.guard" in each.cmdline():
                found.append(each)
    return found


async def until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_members_do_what_they_do(tmp_path: Path) -> None:
    async with guarded_hub(tmp_path) as hub:
        alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
        octets = os.urandom(3 << 20)
        with suppress(Exception):
            await alpha.put_segment(octets)  # refused, after all of it has come
        named = await alpha.put_segment(alpha.segment())
        assert await bravo.get_segment(named) == await alpha.get_segment(named)
        async with bravo.attached() as stream:
            lookup = alpha.lookup([bravo], persons=64)
            assert await alpha.submit(lookup) == 1
            assert (await stream.delivery()).envelope.body == lookup.body
        await alpha.close()
        await bravo.close()
    assert not children()


async def test_a_flood_of_headers_ends_at_the_guard(tmp_path: Path) -> None:
    """gRPC would keep all of them: it bounds headers once the client has acknowledged its settings."""
    async with guarded_hub(tmp_path) as hub:
        alpha = await enrol(hub, "alpha")
        flood = post(tmp_path, hub, alpha, seconds=1.0)
        await alpha.quota()
        before = psutil.Process().memory_info().rss

        def attack() -> int:
            octets = 0
            with suppress(Lost), Wire(flood, flood.scene.hub, deaf=True) as wire:
                wire.say(frame(HEADERS, 0, wire.next_stream(), headers_of(QUOTA)))
                while True:
                    wire.say(frame(CONTINUATION, 0, wire.stream, b"\x10\x01a\x01b" * 200))
                    octets += 1_000
            return octets

        sent = await asyncio.to_thread(attack)
        assert flood.over  # nobody cut it: it stands still
        # The kernel takes what nobody reads, for a while.
        assert 8_000 < sent < 12 << 20
        # Passed on, it would be 26 octets of memory for each of its own: far over 100 MB.
        assert psutil.Process().memory_info().rss - before < 40 << 20
        assert (await alpha.quota()).total > 0
        await alpha.close()


async def test_a_member_that_pings_without_end_is_read_no_more(tmp_path: Path) -> None:
    async with guarded_hub(tmp_path) as hub:
        alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
        flood = post(tmp_path, hub, alpha, seconds=1.0)

        def attack() -> int:
            answered = 0
            with suppress(Lost), Wire(flood, flood.scene.hub) as wire:
                wire.say(wire.open_call(QUOTA, b""))
                wire.listen(0.5)
                while True:
                    before = len(wire._incoming)
                    wire.say(frame(PING, 0, 0, bytes(8)) * 100)
                    wire.hear()
                    answered += 100 + before
            return answered

        await asyncio.to_thread(attack)
        for _ in range(5):
            began = time.monotonic()
            await bravo.quota()
            assert time.monotonic() - began < 2
        await alpha.close()
        await bravo.close()


async def test_a_member_has_only_so_many_connections_and_the_newest_stay(tmp_path: Path) -> None:
    async with guarded_hub(tmp_path) as hub:
        first = await enrol(hub, "alpha")
        clients = [first]
        await first.quota()
        for _ in range(relay.CONNECTIONS_PER_MEMBER):
            client = MemberClient(
                first.node,
                first.ori,
                first.clock,
                signing_key=first.signing_key,
                tls_key=first.tls_key,
                hub=hub,
                chain=first.chain,
            )
            await client.quota()
            clients.append(client)
        states = [client.channel.get_state() for client in clients]
        assert states[-1].name == "READY"
        await until(lambda: clients[0].channel.get_state().name != "READY")
        assert [c.channel.get_state().name for c in clients[1:]] == ["READY"] * relay.CONNECTIONS_PER_MEMBER
        for client in clients:
            await client.close()


async def test_the_hub_knows_where_a_call_really_comes_from(tmp_path: Path) -> None:
    async with guarded_hub(tmp_path) as hub:
        alpha = await enrol(hub, "alpha")
        caller = post(tmp_path, hub, alpha, number=6)
        with Wire(caller, caller.scene.hub) as wire:
            wire.say(wire.open_call(QUOTA, b""))

            def listen() -> None:
                while not caller.counts["calls ended"]:
                    wire.listen(0.1)

            await asyncio.to_thread(listen)
            assert caller.source in {line.address for line in hub.hub.lines._lines.values()}
        await alpha.close()


async def test_a_guard_that_was_killed_is_started_again(tmp_path: Path) -> None:
    async with guarded_hub(tmp_path) as hub:
        alpha = await enrol(hub, "alpha")
        (guard,) = children()
        guard.kill()
        await until(lambda: [each for each in children() if each.pid != guard.pid])
        assert (await alpha.quota()).total > 0
        await alpha.close()


async def test_the_guard_ends_with_the_hub_and_frees_the_ports(tmp_path: Path) -> None:
    async with guarded_hub(tmp_path) as hub:
        ports = hub.hub.ports
        assert len(children()) == 1
    assert not children()
    for port in (ports.hub, ports.enrolment):
        socket.create_server(("127.0.0.1", port)).close()


async def test_ipv6_members_come_through(tmp_path: Path) -> None:
    here = "[::1]:0"
    places = {"public_address": here, "public_enrolment_address": here}
    async with guarded_hub(tmp_path, address=here, enrolment_address=here, **places) as hub:
        alpha = await enrol(hub, "alpha")
        assert alpha.hub.address.startswith("[::1]:")
        assert (await alpha.quota()).total > 0
        async with alpha.attached():
            assert alpha.node in hub.hub.streams.nodes
        await alpha.close()


async def test_a_member_that_misbehaves_is_told_so_once_and_read_no_more(tmp_path: Path) -> None:
    """Its stream ends with the reason; a neighbour at the same address notices nothing."""
    async with guarded_hub(tmp_path) as hub:
        alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
        async with alpha.attached() as stream:
            flood = post(tmp_path, hub, alpha, seconds=4.0)
            flood_address = flood.scene.hub

            def attack() -> int:
                with suppress(Lost), Wire(flood, flood_address) as wire:
                    while True:
                        if len(wire.windows) < 4:
                            wire.say(wire.open_call(SUBMIT, b"\xff" * 100))
                        wire.listen(0.01)
                return flood.counts["calls ended"]

            ended = await asyncio.to_thread(attack)
            told = await stream.end()
            assert isinstance(told, LimitExceeded)
            assert "refused within a minute, the last as malformed_message" in str(told)
        most = MOST / WEIGHTS["malformed_message"]
        assert most < ended < most + 10
        assert (await bravo.quota()).total > 0
        await alpha.close()
        await bravo.close()
