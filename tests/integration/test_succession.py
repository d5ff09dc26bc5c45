"""The hub is gone: a new one from a copy of the log and the members' own state (docs/protocol.md §19).

Real hubs and nodes over mTLS; of the old hub nothing is left but what a member had copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.fsck import fsck
from candor_node.app import Node
from candor_node.config import load_config
from candor_node.moving import Accepted
from candor_node.tlog import log_store, succession_store, witness_store
from candor_node.tlog.view import LogView
from candor_proto.errors import Rollback
from candor_proto.result import Overall
from candor_proto.tlog.entries import log_origin
from candor_proto.tlog.statements import SUCCESSION
from candor_verify.cli import run as verify
from tests.federation import Federation, eventually, federation, instead, new_node, ori_for, until
from tests.hubs import FEDERATION, ShiftedClock, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row
from tests.successions import (
    copy_log,
    copy_of,
    directory_of,
    found_successor,
    go_over,
    hub_is_gone,
    read_copy,
)


async def start_again(fed: Federation, node: Node, clock: ShiftedClock) -> Node:
    """The node with the settings that `move` has written."""
    settings = load_config(node.config.data_folder.parent / "node.toml")
    changes = {"further_lookup_delay_seconds": 0.0, "publish_interval_hours": 0.0}
    again = Node(settings.model_copy(update=changes), clock)
    await again.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await again.connection.first_attached.wait()
    return again


async def cosigned(node: Node) -> int:
    """The size of the newest head that the node's witness has signed."""
    found = await node.store.run(lambda db: witness_store.cosigned(db, log_origin(FEDERATION, 1)))
    return found.checkpoint.size if found else 0


def stays_behind(node: Node) -> Callable[[], Awaitable[LogView]]:
    async def follow() -> LogView:
        assert node.follower.view is not None
        return node.follower.view

    return follow


def test_a_new_hub_is_founded_from_the_log_and_every_member_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scene() -> None:
        # So that the clock can go on later without certificates from the future: TLS reads the machine's.
        clock = ShiftedClock(datetime.now(UTC) - timedelta(hours=3))
        async with federation(tmp_path, 3, clock=clock) as fed:
            alpha, bravo, charlie = fed.nodes
            await fed.file(bravo, [make_row()])
            await until(
                lambda: all(
                    node.follower.view is not None and node.follower.view.policy.quorum == "members"
                    for node in fed.nodes
                )
            )
            before = await fed.ask(alpha, case="REQ-before")
            assert before.result is not None
            assert before.result.overall is Overall.MATCH
            directory = directory_of(charlie)
            joined_at = {member.node: member.joined_at for member in directory.directory.members}
            # Behind what everybody has read the log goes on, witnessed, until the hub dies.
            for node in fed.nodes:
                instead(node.follower, "follow", stays_behind(node))
            for number in range(3):
                await fed.ask(alpha, case=f"REQ-lost-{number}")
            longest_read = max(node.follower.view.size for node in fed.nodes if node.follower.view)
            for node in fed.nodes:
                await eventually(lambda node=node: cosigned(node), lambda size: size > longest_read)  # type: ignore[misc]
            await hub_is_gone(fed)
            # Nobody had copied the log by hand: each node has kept what it has read.
            copies = {node: await copy_of(node, tmp_path / f"copy-{node.config.node}") for node in fed.nodes}
            longest = max(copies, key=lambda node: copies[node].entries)
            assert copies[longest].shards == 1
            (tmp_path / f"copy-{longest.config.node}").rename(tmp_path / "copy")

            config = await asyncio.to_thread(
                found_successor, tmp_path / "successor", tmp_path / "copy", directory, clock
            )
            async with running_hub(tmp_path / "unused", config=config, clock=clock) as hub:
                fed.hub = hub
                for node in list(fed.nodes):
                    with pytest.raises(Rollback, match="has not read the last"):
                        await go_over(hub, node)
                    prospect = await go_over(hub, node, Accepted(lost=True))
                    assert (prospect.shard, prospect.unwitnessed) == (1, "")
                    assert prospect.lost > 0
                    assert [name for name, _, _ in prospect.members] == sorted(joined_at)
                fed.nodes = [await start_again(fed, node, clock) for node in (alpha, bravo, charlie)]
                alpha, bravo, charlie = fed.nodes
                try:
                    await until(lambda: all(len(node.indexes.indexes) == 3 for node in fed.nodes))
                    for node in fed.nodes:
                        assert node.follower.view is not None
                        assert node.follower.view.shard == 2
                        await eventually(
                            lambda node=node: node.store.run(succession_store.publication_due),  # type: ignore[misc]
                            lambda due: not due,
                        )
                    after = await fed.ask(alpha, case="REQ-after")
                    assert after.result is not None
                    assert after.result.overall is Overall.MATCH
                    assert after.result.coverage.complete
                    members = {one.node: one for one in alpha.indexes.require_directory().directory.members}
                    # Nobody waits as a new member would, and nobody has become another.
                    assert {node: one.joined_at for node, one in members.items()} == joined_at

                    # A stranger who believes the first policy alone reads over the end of the old hub.
                    await eventually(
                        lambda: charlie.store.run(lambda db: log_store.is_logged(db, SUCCESSION)),
                        lambda logged: logged,
                    )
                    await until(lambda: hub.hub.log.announced == alpha.indexes.version)
                    await copy_log(charlie, tmp_path / "copy-after")
                    policy = tmp_path / "policy.txt"
                    policy.write_bytes(read_copy(tmp_path / "copy", clock).policies[0].text)
                    said: list[str] = []
                    arguments = ["log", str(tmp_path / "copy-after"), "--policy", str(policy)]
                    assert verify(arguments, clock.now(), said.append) == 0, said[0]
                    assert "consented to: alpha, bravo, charlie" in said[0]
                    found = await asyncio.to_thread(
                        fsck, hub.hub._store, LogFiles(hub.config.log), FEDERATION, running=True
                    )
                    assert found.findings == []

                    # Who joins now was asked by nobody: most members chose this successor.
                    clock.advance(hours=2)
                    settings = await new_node(hub, tmp_path / "delta", "delta", ori_for(9))
                    delta = Node(settings, clock)
                    await delta.start()
                    fed.nodes.append(delta)
                    await until(lambda: len(delta.indexes.indexes) >= 3)
                    assert delta.follower.view is not None
                    assert delta.follower.view.shard == 2
                finally:
                    for node in fed.nodes:
                        await node.stop()
                        fed.stopped.add(node.config.node)

    asyncio.run(scene())
