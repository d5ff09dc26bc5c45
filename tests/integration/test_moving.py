"""A hub moves to PostgreSQL: the process is killed on the way, and nodes are attached before and after."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from candor_node.app import Node
from candor_node.tlog.view import LogView
from candor_proto.errors import CertificateRevoked
from candor_proto.result import Overall
from tests.campaign import shim
from tests.campaign.moving import Kills, killing
from tests.federation import federation, until
from tests.history import read_hub
from tests.hubs import RunningHub, enrol, running_hub
from tests.moves import moved
from tests.postgres import new_database, unsafe
from tests.records import make_row


@pytest.mark.skipif(shim.compiler() is None, reason="the disk shim needs a C compiler")
def test_a_move_that_is_killed_leaves_one_place_that_runs_or_none_and_is_finished(tmp_path: Path) -> None:
    """Six kills; the campaign `moving` kills at every write, and at a hundred random moments."""
    kills = Kills()
    asyncio.run(killing(tmp_path, 3, 3, kills))
    assert kills.wrong == []
    assert kills.count == 6


def test_attached_nodes_come_back_to_the_moved_hub_and_nothing_is_lost(tmp_path: Path) -> None:
    """At the same address: mail that waits, quotas, denials, and the log as every node knows it."""

    async def scene() -> None:
        async with federation(tmp_path, agencies=3) as fed:
            alpha, bravo, charlie = fed.nodes
            await fed.file(bravo, [make_row(sharing="GREEN")])
            revoked = await enrol(fed.hub, "delta")
            await asyncio.to_thread(fed.hub.hub.directory.revoke, revoked.node, fed.hub.clock.now())
            await fed.settled()
            assert (await fed.ask(alpha)).hits
            # Mail that waits for a node that is away, and a lookup that waits for it.
            await fed.stop(charlie)
            asked = asyncio.create_task(fed.ask(alpha, case="REQ-MOVED"))
            await until(lambda: waiting_for(fed.hub, charlie) > 0)
            await until(lambda: waiting_for(fed.hub, bravo) == 0)
            heads = {node: head_of(node) for node in (alpha, bravo)}
            moved_config = await moved(fed.hub, new_database())
            before, after = read_hub(fed.hub.config), read_hub(moved_config)
            assert (set(after.envelopes), after.heads) == (set(before.envelopes), before.heads)
            assert set(after.uses) == set(before.uses) != set()
            async with running_hub(tmp_path / "unused", config=moved_config, clock=fed.hub.clock) as hub:
                assert hub.address == fed.hub.address
                before, after = read_hub(fed.hub.config), read_hub(moved_config)
                fed.hub = hub
                assert (after.envelopes, after.uses, after.heads) == (
                    before.envelopes,
                    before.uses,
                    before.heads,
                )
                assert after.uses
                assert waiting_for(hub, charlie) > 0
                revoked.connect(hub)
                with pytest.raises(CertificateRevoked):
                    await revoked.quota()
                await revoked.close()
                again = Node(charlie.config, hub.clock)
                fed.nodes[2] = again
                fed.stopped.clear()
                await again.start()
                view = await asked
                assert view.result is not None
                assert view.result.overall is Overall.MATCH
                assert view.result.coverage.complete
                # What comes from now on they take up as what continues the log that they know.
                await fed.file(alpha, [make_row(sharing="GREEN", agency_record_id="IA-after")])
                for node, held in heads.items():
                    assert head_of(node).size > held.size
                    assert node.follower.warnings() == []
                assert read_hub(moved_config).log_fault == ""
                for node in fed.nodes:
                    await fed.stop(node)

    with unsafe():
        asyncio.run(scene())


def waiting_for(hub: RunningHub, node: Node) -> int:
    return len(hub.hub.mailbox.waiting(node.config.node_id, (), 100, hub.clock.now()))


def head_of(node: Node) -> LogView:
    assert node.follower.view is not None
    return node.follower.view
