"""A directory that says something else today than yesterday (docs/protocol.md §10.2; attacks A9, A14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_node.app import Node
from candor_node.directory_store import FetchedDirectory
from candor_node.hub_client import HubClient
from candor_proto.directory import Directory
from candor_proto.errors import CandorError, LogInconsistent, Rollback
from candor_proto.ids import NodeId
from candor_proto.result import Overall
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from candor_wire.v1 import local_pb2
from tests.federation import Federation, federation, instead, local, until
from tests.records import make_row

BRAVO = NodeId("bravo")


def play(folder: Path, scene: Callable[[Federation], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with federation(folder, 2) as fed:
            await fed.file(fed.nodes[1], [make_row()])
            await scene(fed)

    asyncio.run(whole())


Change = Callable[[Directory], Directory]


def serves(fed: Federation, node: Node, change: Change) -> None:
    """From now on the hub shows `node` what `change` makes of its newest directory, and signs it."""
    honest = node.hub.get_directory

    async def dishonest() -> FetchedDirectory:
        fetched = await honest()
        changed = change(Directory.decode(fetched.statement.body))
        signed = fed.hub.hub.keys().directory_key.sign("directory", changed.encode())
        return FetchedDirectory(signed, fetched.chain)

    instead(node.hub, "get_directory", dishonest)


def with_bravo(**changes: Any) -> Change:
    def change(directory: Directory) -> Directory:
        members = tuple(
            replace(member, **changes) if member.node == BRAVO else member for member in directory.members
        )
        return replace(directory, members=members)

    return change


async def refused(node: Node) -> CandorError:
    with pytest.raises(CandorError) as caught:
        await node.indexes.refresh()
    return caught.value


async def shown(node: Node) -> local_pb2.StatusResponse:
    async with local(node) as stub:
        return await stub.Status(local_pb2.StatusRequest())  # type: ignore[no-any-return]  # grpc's stub


async def newer(fed: Federation) -> None:
    """A newer version, which alpha has not fetched yet."""
    instead(fed.nodes[0].indexes, "announce", lambda version: None)
    await fed.file(fed.nodes[1], [make_row(agency_record_id="B-2")], settle=False)
    newest = fed.hub.hub.directory.latest().version
    await until(lambda: fed.nodes[1].indexes.version == newest)


@pytest.mark.parametrize("kind", ["disclosure_key", "signing_key", "tls_subject"])
def test_what_is_put_in_a_members_place_is_not_used_and_is_shown(tmp_path: Path, kind: str) -> None:
    """Else the hub could read the requests that are sealed to it: the log holds another directory (§10.4)."""

    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        assert not (await shown(alpha)).log.alarms
        known = alpha.indexes.require_directory().member(BRAVO)
        false = {
            "disclosure_key": DisclosureKey.generate().public,
            "signing_key": SigningKey.generate().public,
            "tls_subject": "spiffe://elsewhere.example/node/bravo",
        }
        await newer(fed)
        serves(fed, alpha, with_bravo(**{kind: false[kind]}))
        assert type(await refused(alpha)) is LogInconsistent
        assert getattr(alpha.indexes.require_directory().member(BRAVO), kind) == getattr(known, kind)
        status = await shown(alpha)
        assert "false-directory" in status.log.alarms[0]
        # Everything else goes on, and a restart forgets nothing.
        view = await fed.ask(alpha)
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        await fed.stop(alpha)
        again = Node(alpha.config, fed.hub.clock)
        await again.indexes.load()
        assert getattr(again.indexes.require_directory().member(BRAVO), kind) == getattr(known, kind)
        assert "false-directory" in again.follower.warnings()[0]
        await again.stop()

    play(tmp_path, scene)


def test_a_head_by_a_thief_is_not_taken_up(tmp_path: Path) -> None:
    """A false key and a head that fits it, of a higher sequence."""

    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        held, thief = alpha.indexes.indexes[BRAVO].head, SigningKey.generate()
        false = replace(held, sequence=held.sequence + 1, segments=())
        await newer(fed)
        serves(
            fed,
            alpha,
            with_bravo(signing_key=thief.public, head=thief.sign("index-head", false.encode())),
        )
        assert type(await refused(alpha)) is LogInconsistent
        assert alpha.indexes.indexes[BRAVO].head == held

    play(tmp_path, scene)


def test_a_head_that_cannot_be_read_is_not_taken_up(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        held = alpha.indexes.indexes[BRAVO].head
        await newer(fed)
        serves(fed, alpha, with_bravo(head=SignedStatement(b"unreadable", bytes(64))))
        await refused(alpha)
        assert alpha.indexes.indexes[BRAVO].head == held
        # An honest hub again: what was missed is made up for.
        honest = HubClient.get_directory
        instead(alpha.hub, "get_directory", lambda: honest(alpha.hub))
        await alpha.indexes.refresh()
        assert alpha.indexes.indexes[BRAVO].head.sequence > held.sequence

    play(tmp_path, scene)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_directory_of_the_same_version_is_noticed(tmp_path: Path, restarted: bool) -> None:
    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        honest = await alpha.hub.get_directory()
        directory = Directory.decode(honest.statement.body)
        other = replace(directory, denied_serials=(7,))
        signed = fed.hub.hub.keys().directory_key.sign("directory", other.encode())
        asking = alpha
        if restarted:
            await fed.stop(alpha)
            asking = Node(alpha.config, fed.hub.clock)

        async def answer() -> FetchedDirectory:
            return FetchedDirectory(signed, honest.chain)

        instead(asking.hub, "get_directory", answer)
        with pytest.raises(Rollback, match="two directories"):
            await asking.indexes.refresh()
        assert "two-directories" in asking.follower.warnings()[0]
        if restarted:
            await asking.stop()

    play(tmp_path, scene)
