"""Streams and calls of those who may no longer be there end (docs/protocol.md §8.2, RELIABILITY.md §7.9)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from candor_hub.app import Hub
from candor_hub.founding import open_directory, open_store
from candor_hub.watched import Watched
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    AlreadyExists,
    CertificateRevoked,
    Expired,
    MemberSuspended,
    Unreachable,
)
from candor_proto.ids import NodeId
from candor_wire import codec
from tests.hubs import RunningHub, Stream, enrol, running_hub
from tests.patience import PATIENCE_SECONDS
from tools.demo import free_ports


def by_the_command_line(hub: RunningHub, node: NodeId, act: str) -> None:
    """As another process does it: own connection, own keys, the running hub is told nothing."""
    store = open_store(hub.config)
    try:
        _, directory = open_directory(hub.config, store, hub.clock.now())
        if act == "revoke":
            directory.revoke(node, hub.clock.now())
        else:
            directory.set_status(node, MemberStatus.SUSPENDED, hub.clock.now())
    finally:
        store.close()


@pytest.mark.parametrize(("act", "error"), [("revoke", CertificateRevoked), ("suspend", MemberSuspended)])
def test_a_stream_is_cut_and_the_next_call_refused(tmp_path: Path, act: str, error: type[Exception]) -> None:
    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with alpha.attached() as stream, bravo.attached() as other:
                passed = hub.stopwatch()
                await asyncio.to_thread(by_the_command_line, hub, alpha.node, act)
                with pytest.raises(error):
                    await alpha.directory()
                assert type(await stream.end()) is error
                assert passed() < 5
                # The others hear of it, and stay.
                assert isinstance(await other.frame(), codec.DirectoryChanged | codec.Heartbeat)
                with pytest.raises(error):
                    await alpha.submit(alpha.lookup([bravo]))
                assert type(await Stream(alpha.stub.Attach()).end()) is error
                await bravo.submit(bravo.lookup([bravo]))
            await alpha.close()
            await bravo.close()

    asyncio.run(run())


def test_a_certificate_that_expires_ends_its_stream(tmp_path: Path) -> None:
    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            async with alpha.attached() as stream:
                hub.clock.advance(days=8)
                assert type(await stream.end()) is Expired
                with pytest.raises(Expired):
                    await alpha.directory()
            await alpha.close()

    asyncio.run(run())


def test_a_node_that_does_not_read_is_cut_all_the_same(tmp_path: Path) -> None:
    """Its flow-control window is full, so that the hub's next write waits for ever."""

    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            for _ in range(60):
                await alpha.submit(alpha.sealed(bravo.node, codec.MessageKind.DISCLOSURE_RESPONSE))
            async with bravo.attached():
                await asyncio.sleep(1)  # 4 MB wait to be read, and nobody does
                assert bravo.node in hub.hub.streams.nodes
                await asyncio.to_thread(by_the_command_line, hub, bravo.node, "revoke")
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while bravo.node in hub.hub.streams.nodes:
                        await asyncio.sleep(0.05)
            await alpha.close()
            await bravo.close()

    asyncio.run(run())


def test_a_newer_stream_takes_the_place_of_the_older(tmp_path: Path) -> None:
    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with bravo.attached() as older, bravo.attached() as newer:
                assert type(await older.end()) is AlreadyExists
                await alpha.submit(alpha.lookup([bravo]))
                await newer.delivery()
                assert hub.hub.streams.nodes == (bravo.node,)
            await alpha.close()
            await bravo.close()

    asyncio.run(run())


def test_a_node_that_hangs_up_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            async with alpha.attached() as stream:
                await stream.call.done_writing()
                assert type(await stream.end()) is EOFError
            async with alpha.attached():
                assert alpha.node in hub.hub.streams.nodes
            async with asyncio.timeout(PATIENCE_SECONDS):
                while hub.hub.streams.nodes:
                    await asyncio.sleep(0.02)
            await alpha.close()

    asyncio.run(run())


def test_when_the_hub_stops_its_nodes_are_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            hub = await stack.enter_async_context(running_hub(tmp_path / "hub"))
            alpha = await enrol(hub, "alpha")
            async with alpha.attached() as stream:
                ending = asyncio.create_task(stream.end())
                await asyncio.sleep(0.1)
                await stack.aclose()
                assert type(await ending) is Unreachable
            await alpha.close()

    asyncio.run(run())


def test_who_was_seen_is_remembered(tmp_path: Path) -> None:
    from candor_hub.overview import overview
    from candor_hub.presence import Reach

    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with alpha.attached():
                store = open_store(hub.config)
                rows = overview(store, hub.config.quota, hub.clock.now())
                store.close()
            assert [row.presence.reach for row in rows] == [Reach.ONLINE, Reach.NEVER_SEEN]
            await alpha.close()
            await bravo.close()

    asyncio.run(run())


def test_a_hub_that_still_starts_takes_no_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a balancer would send nodes there, and they would wait in a port that nobody serves yet."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    asked = list[str]()

    def also_dialling(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        async def dialling(*arguments: Any) -> Any:
            for address in addresses:
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(*address.split(":"))
                asked.append(address)
            return await original(*arguments)

        monkeypatch.setattr(owner, name, dialling)

    for owner, name in ((Hub, "prepare"), (Hub, "_serve_log"), (Watched, "start")):
        also_dialling(owner, name)

    async def run() -> None:
        names = ("address", "enrolment_address")
        where: dict[str, Any] = {
            f"{public}{name}": addresses[names.index(name)] for name in names for public in ("", "public_")
        }
        async with running_hub(tmp_path / "hub", **where) as hub:
            assert len(asked) == 6
            assert f"127.0.0.1:{hub.hub.ports.hub}" == addresses[0]
            alpha = await enrol(hub, "alpha")
            async with alpha.attached():
                pass
            await alpha.close()

    asyncio.run(run())
