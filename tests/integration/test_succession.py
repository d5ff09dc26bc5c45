"""The hub is gone: a new one from a copy of the log and the members' own state (docs/protocol.md §19).

Real hubs and nodes over mTLS; of the old hub nothing is left but what a member had copied.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.fsck import fsck
from candor_node.app import Node
from candor_node.config import load_config
from candor_node.tlog import log_store, succession_store
from candor_proto.result import Overall
from candor_proto.tlog.statements import SUCCESSION
from candor_verify.cli import run as verify
from tests.federation import Federation, eventually, federation, new_node, ori_for, until
from tests.hubs import FEDERATION, ShiftedClock, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row
from tests.successions import copy_log, directory_of, found_successor, go_over, hub_is_gone, read_copy


async def start_again(fed: Federation, node: Node, clock: ShiftedClock) -> Node:
    """The node with the settings that `move` has written."""
    settings = load_config(node.config.data_folder.parent / "node.toml")
    changes = {"further_lookup_delay_seconds": 0.0, "publish_interval_hours": 0.0}
    again = Node(settings.model_copy(update=changes), clock)
    await again.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await again.connection.first_attached.wait()
    return again


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
            copied = await copy_log(charlie, tmp_path / "copy")
            assert copied.shards == 1
            directory = directory_of(charlie)
            joined_at = {member.node: member.joined_at for member in directory.directory.members}
            await hub_is_gone(fed)

            config = await asyncio.to_thread(
                found_successor, tmp_path / "successor", tmp_path / "copy", directory, clock
            )
            async with running_hub(tmp_path / "unused", config=config, clock=clock) as hub:
                fed.hub = hub
                for node in list(fed.nodes):
                    prospect = await go_over(hub, node)
                    assert (prospect.shard, prospect.unwitnessed) == (1, "")
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
