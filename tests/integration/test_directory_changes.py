"""A directory that says something else today than yesterday (docs/protocol.md §10.2; attacks A9, A14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_hub.store import Transaction
from candor_hub.tables import heads, members
from candor_node.app import Node
from candor_node.directory_store import FetchedDirectory
from candor_proto.directory import Directory
from candor_proto.errors import KeyMismatch, Rollback
from candor_proto.ids import NodeId
from candor_proto.result import Overall
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
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


async def by_a_dishonest_hub(fed: Federation, change: Callable[[Transaction], Any], *nodes: Node) -> None:
    """Change the hub's rows, sign the outcome, and wait until the nodes have it."""

    def work() -> int:
        keeper = fed.hub.hub.directory
        with fed.hub.hub._store.write() as tx:
            change(tx)
            return keeper.publish(tx, fed.hub.clock.now())

    version = await asyncio.to_thread(work)
    await until(lambda: all(node.indexes.version == version for node in nodes))


async def warnings(node: Node) -> list[str]:
    async with local(node) as stub:
        return list((await stub.Status(local_pb2.StatusRequest())).directory_warnings)


def set_bravo(table: Any, **values: object) -> Callable[[Transaction], Any]:
    def change(tx: Transaction) -> None:
        tx.members._connection.execute(table.update().where(table.c.node == "bravo").values(**values))

    return change


def test_a_key_put_in_a_members_place_is_not_used_and_is_shown(tmp_path: Path) -> None:
    """Else the hub could read the requests that are sealed to it."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        assert await warnings(alpha) == []
        known = alpha.indexes.require_directory().member(BRAVO)
        false = DisclosureKey.generate()
        await by_a_dishonest_hub(fed, set_bravo(members, disclosure_key=false.public), alpha, bravo)
        assert alpha.indexes.require_directory().member(BRAVO).disclosure_key == known.disclosure_key
        (warning,) = await warnings(alpha)
        assert "bravo" in warning
        assert "call bravo" in warning
        # Everything else goes on, and a restart forgets nothing.
        view = await fed.ask(alpha)
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        await fed.stop(alpha)
        again = Node(alpha.config, fed.hub.clock)
        await again.start()
        await until(lambda: again.indexes.version > 0)
        directory = again.indexes.require_directory()
        assert directory.member(BRAVO).disclosure_key == known.disclosure_key
        assert type(directory.key_troubles[BRAVO]) is KeyMismatch
        await again.stop()

    play(tmp_path, scene)


def test_a_signing_key_put_in_a_members_place_makes_its_index_stand_still(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        held = alpha.indexes.indexes[BRAVO].head
        thief = SigningKey.generate()

        def change(tx: Transaction) -> None:
            newer = replace(held, sequence=held.sequence + 1, segments=())
            signed = thief.sign("index-head", newer.encode())
            set_bravo(members, signing_key=thief.public.value)(tx)
            set_bravo(heads, body=signed.body, signature=signed.signature)(tx)

        await by_a_dishonest_hub(fed, change, alpha)
        assert alpha.indexes.indexes[BRAVO].head == held
        assert len(await warnings(alpha)) == 2

    play(tmp_path, scene)


def test_one_head_that_cannot_be_read_does_not_freeze_the_directory(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        honest = alpha.indexes.require_directory().member(BRAVO).head
        held = alpha.indexes.indexes[BRAVO].head
        assert honest is not None
        spoilt = set_bravo(heads, body=b"unreadable", signature=bytes(64))
        # The hub itself could not sign a directory around it either, if it looked; a dishonest one does not.
        await by_a_dishonest_hub(fed, spoilt, alpha)
        (warning,) = await warnings(alpha)
        assert "The index of bravo is not taken up" in warning
        assert alpha.indexes.indexes[BRAVO].head == held  # the last good one, until its age shows
        await fed.file(alpha, [make_row()], settle=False)  # other members' news still arrive
        await until(lambda: alpha.indexes.indexes[alpha.config.node_id].head.sequence > 1)
        mended = set_bravo(heads, body=honest.body, signature=honest.signature)
        await by_a_dishonest_hub(fed, mended, alpha, bravo)
        await until(lambda: not alpha.indexes.warnings())

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
        if restarted:
            await asking.stop()

    play(tmp_path, scene)
