"""A hub's machine is set back to a snapshot: it signs no second history, and says what to do (§14.6)."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from candor_hub.tlog import asking
from candor_node.accountability.evidence_store import kept
from candor_node.app import Node
from candor_proto.result import Overall
from tests.federation import federation, instead, until
from tests.hubs import QUICK, enrol, running_hub, stop_for_good
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row

# However slow the machine is: no log goes on because its witnesses were slow to come.
PATIENT = replace(QUICK, settle_seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize("agencies", [2, 3], ids=["no-quorum", "quorum"])
def test_a_hub_set_back_to_a_snapshot_signs_nothing_until_it_has_its_newest_state_again(
    tmp_path: Path, agencies: int
) -> None:
    async def scene() -> None:
        async with federation(tmp_path, agencies) as fed:
            alpha, bravo = fed.nodes[:2]
            await fed.file(alpha, [make_row(sharing="GREEN")])
            config = await stop_for_good(fed.hub)
            shutil.copytree(config.data, tmp_path / "snapshot")
            async with running_hub(tmp_path / "unused", config=config, clock=fed.hub.clock) as hub:
                await fed.back(hub)
                await fed.file(bravo, [make_row(sharing="GREEN", agency_record_id="IA-later")])
                newest = hub.shard
            config.data.rename(tmp_path / "newest")
            (tmp_path / "snapshot").rename(config.data)

            async with running_hub(
                tmp_path / "unused", config=config, clock=fed.hub.clock, timing=PATIENT
            ) as hub:
                fed.hub = hub
                signed = hub.shard.signed
                assert hub.shard.size < newest.size
                await until(lambda: bool(hub.went_back))
                # Something to be logged, and the time at which a checkpoint has to be signed anew.
                await (await enrol(hub, "zulu")).close()
                hub.clock.advance(minutes=11)
                waited = hub.stopwatch()
                await until(lambda: waited() > 10 * QUICK.poll_seconds)
                assert hub.shard.signed == signed
                assert f"{newest.size:,} entries" in hub.went_back
                # Who was revoked since is not on its deny list: nobody is let in.
                await until(lambda: hub.hub.streams.nodes == ())
                looked = await hub.hub.watched.health.look()
                assert "restore the newest database" in looked.facts["concerns"]["log_went_back"]
                # A balancer that took the hub away for it would hide what is said there.
                assert looked.ready
                for node in fed.nodes:
                    # They keep the larger head, and nothing that they could hold against the hub came up.
                    assert size(node) == newest.size
                    assert node.follower.warnings() == []

            shutil.rmtree(config.data)
            (tmp_path / "newest").rename(config.data)
            async with running_hub(tmp_path / "unused", config=config, clock=fed.hub.clock) as hub:
                await fed.back(hub)
                await fed.file(alpha, [make_row(sharing="GREEN", agency_record_id="IA-after")])
                assert all(size(node) > newest.size for node in fed.nodes)
                assert not hub.went_back
                view = await fed.ask(bravo)
                assert view.result is not None
                assert view.result.overall is Overall.MATCH
                for node in fed.nodes:
                    assert node.follower.warnings() == []
                    await fed.stop(node)

    asyncio.run(scene())


def test_a_hub_that_starts_without_its_quorum_relays_meanwhile_and_logs_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RETRY_SECONDS", 0.05)

    async def scene() -> None:
        async with federation(tmp_path, 3) as fed:
            alpha, bravo, charlie = fed.nodes
            await fed.file(bravo, [make_row(sharing="GREEN")])
            config = await stop_for_good(fed.hub)
            may_cosign = bravo.sharing.may_cosign
            for node in (bravo, charlie):
                instead(node.sharing, "may_cosign", may_not)
            async with running_hub(tmp_path / "unused", config=config, clock=fed.hub.clock) as hub:
                await fed.back(hub)
                before, logged = hub.shard, size(alpha)
                view = await fed.ask(alpha)
                assert view.result is not None
                assert view.result.overall is Overall.MATCH
                assert view.result.coverage.complete
                assert hub.shard.signed == before.signed
                assert hub.waiting > 0
                assert not hub.went_back

                instead(bravo.sharing, "may_cosign", may_cosign)
                await until(lambda: hub.waiting == 0 and hub.shard.size > before.size)
                # They read the log when they hear of a directory.
                await fed.file(charlie, [make_row(sharing="GREEN", agency_record_id="IA-after")])
                await until(lambda: all(size(node) > logged for node in fed.nodes))
                for node in fed.nodes:
                    assert node.follower.warnings() == []
                    assert not await node.store.run(kept)
                    await fed.stop(node)

    asyncio.run(scene())


async def may_not(_: object) -> bool:
    return False


def size(node: Node) -> int:
    assert node.follower.view is not None
    return node.follower.view.size
