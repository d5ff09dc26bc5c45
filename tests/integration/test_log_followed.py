"""A federation whose log grows old, forks or rotates, seen from its nodes (docs/protocol.md §14.7, §15).

Real hub and nodes over mTLS; the clock is the machine's, shifted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from candor_hub.tlog import rotation
from candor_node import mail_store
from candor_node.app import Node
from candor_node.doctor import examine
from candor_node.tlog import log_store, witness_store
from candor_proto.errors import LogUnwitnessed, Unreachable, WentBack
from candor_proto.result import Overall
from candor_proto.tlog.age import LogAge
from candor_watch.findings import State
from candor_wire.v1 import local_pb2
from tests.federation import Federation, eventually, federation, instead, local, until
from tests.hubs import ShiftedClock
from tests.records import make_row

Scene = Callable[[Federation, ShiftedClock], Awaitable[None]]


def play(folder: Path, scene: Scene, agencies: int = 3) -> None:
    async def whole() -> None:
        clock = ShiftedClock()
        async with federation(folder, agencies, clock=clock) as fed:
            await scene(fed, clock)

    asyncio.run(whole())


def cut_off(node: Node) -> None:
    """From now on this node reads nothing more of the log; its stream, and so its witness, go on."""

    async def nothing(path: str) -> bytes:
        raise Unreachable("The hub serves no log.")

    instead(node.follower.files, "get", nothing)


def reconnect(node: Node) -> None:
    instead(node.follower.files, "get", node.hub.get_log)


async def status_of(node: Node) -> local_pb2.StatusResponse:
    async with local(node) as stub:
        return await stub.Status(local_pb2.StatusRequest())  # type: ignore[no-any-return]  # grpc's stub


async def witnessed_by_all(fed: Federation) -> None:
    """Wait until the policy in force asks for the members, and each of them has signed the newest head."""
    await until(
        lambda: all(
            node.follower.view is not None and node.follower.view.policy.quorum == "members"
            for node in fed.nodes
        )
    )


def test_a_node_that_reads_no_head_for_a_day_asks_nobody_and_answers_nobody(tmp_path: Path) -> None:
    async def scene(fed: Federation, clock: ShiftedClock) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await witnessed_by_all(fed)
        cut_off(alpha)
        cut_off(bravo)

        clock.advance(hours=2)
        # Late: it is said in every result, and everything goes on.
        view = await fed.ask(alpha, case="REQ-late")
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        assert view.result.coverage.log is not None
        assert view.result.coverage.log.late
        status = await status_of(alpha)
        assert status.log.age == "late"
        assert "stops asking and answering" in status.log.notice

        clock.advance(hours=23)
        with pytest.raises(LogUnwitnessed, match="asks nobody and answers nobody"):
            await fed.ask(alpha, case="REQ-closed")
        with pytest.raises(LogUnwitnessed):
            await alpha.requester.send(view.row.search_id, 1, "Inv. Dana Roe")
        check = (await examine(alpha.config.data_folder.parent / "node.toml", clock)).of("log")
        assert check.state is State.BAD
        assert "No head of the federation's log has been witnessed since" in check.detail

        # Alpha reads again and asks; bravo's log is still closed: the lookup waits there, unjudged.
        reconnect(alpha)
        await alpha.follower.follow()
        asking = asyncio.create_task(fed.ask(alpha, case="REQ-open", wait_seconds=60))
        waiting = await eventually(
            lambda: bravo.store.run(mail_store.counts), lambda counts: counts.inbox_waiting == 1
        )
        assert waiting.inbox_dropped == 0
        reconnect(bravo)
        bravo.follower.wake()
        answered = (await asking).result
        assert answered is not None
        assert answered.coverage.complete

    play(tmp_path, scene)


def test_without_most_of_its_witnesses_a_federation_closes_and_opens_again(tmp_path: Path) -> None:
    async def scene(fed: Federation, clock: ShiftedClock) -> None:
        alpha, bravo, charlie = fed.nodes
        await witnessed_by_all(fed)
        await fed.stop(bravo)
        await fed.stop(charlie)
        clock.advance(hours=25)
        await asyncio.sleep(0.5)
        with pytest.raises(LogUnwitnessed):
            alpha.check_ready()
        with pytest.raises(LogUnwitnessed):
            await fed.ask(alpha)
        again = Node(bravo.config, clock)
        await again.start()

        async def follow() -> LogAge | None:
            with_view = await alpha.follower.follow()
            return with_view.age(clock.now())

        await eventually(follow, lambda age: age is LogAge.CURRENT)
        alpha.check_ready()
        await again.stop()

    play(tmp_path, scene)


def test_a_rotation_is_followed_and_lookups_go_on(tmp_path: Path) -> None:
    async def scene(fed: Federation, clock: ShiftedClock) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await witnessed_by_all(fed)
        version = alpha.indexes.version
        with fed.hub.hub._store.write() as tx:
            rotation.ask_for(tx)

        async def shard() -> int:
            # As whatever waits to be logged does; else the next step comes with the next checkpoint.
            fed.hub.hub.log.wake()
            return (await alpha.follower.follow()).shard

        await eventually(shard, lambda number: number == 2, seconds=30.0)
        assert alpha.indexes.version == version
        view = await fed.ask(alpha)
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        await fed.file(bravo, [make_row(agency_record_id="B-2")])
        # A node that comes back has both shards to read, and reads them.
        await fed.stop(bravo)
        again = Node(bravo.config, clock)
        await again.start()
        await again.connection.first_attached.wait()
        await until(lambda: again.follower.view is not None and again.follower.view.shard == 2)
        assert again.follower.warnings() == []
        await again.stop()

    play(tmp_path, scene)


def test_two_hubs_show_two_logs_and_the_second_one_is_refused(tmp_path: Path) -> None:
    """The split view: charlie is served by a hub that forked the log; what alpha saw of it shows it."""

    async def scene(fed: Federation, clock: ShiftedClock) -> None:
        alpha, bravo, _ = fed.nodes
        await witnessed_by_all(fed)
        view = await alpha.follower.follow()
        async with federation(tmp_path / "other", 3, clock=clock, fresh=True) as other:
            instead(alpha.follower.files, "get", other.nodes[0].hub.get_log)
            with pytest.raises(Exception, match=r"signature|does not verify"):
                await alpha.follower.follow()
        assert alpha.follower.view == view
        instead(alpha.follower.files, "get", bravo.hub.get_log)
        await alpha.follower.follow()

    play(tmp_path, scene)


def test_a_node_restored_from_an_old_backup_publishes_above_what_it_forgot(tmp_path: Path) -> None:
    from candor_node import backup
    from candor_node.restore import restore

    async def scene(fed: Federation, clock: ShiftedClock) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await witnessed_by_all(fed)
        await asyncio.to_thread(
            backup.write, bravo.store, bravo.config.node_id, tmp_path / "backup", clock.now()
        )
        await fed.file(bravo, [make_row(agency_record_id="B-2")])
        await bravo.publishing.publish(rotate=True)
        await fed.settled()
        forgotten = alpha.indexes.indexes[bravo.config.node_id].head
        await fed.stop(bravo)
        target = tmp_path / "restored" / "node.db"
        await asyncio.to_thread(
            restore, tmp_path / "backup", target, bravo.config.database_key(), clock.now()
        )
        config = bravo.config.model_copy(update={"data_folder": target.parent})
        again = Node(config, clock)
        await again.start()
        await again.connection.first_attached.wait()
        keys = await again.store.run(witness_store.keys)
        assert keys is not None
        # Whatever the hub logs next is witnessed after the restore; times of witness are whole seconds.
        clock.advance(seconds=2)
        await fed.file(alpha, [make_row(agency_record_id="A-1")], settle=False)
        await eventually(lambda: again.store.run(log_store.restored_at), lambda at: at is None, seconds=20.0)
        with pytest.raises(WentBack):
            await again.publishing.publish()
        await again.sharing.confirm("chief")
        await again.publishing.publish()
        own = bravo.config.node_id
        await until(lambda: alpha.indexes.indexes[own].head.sequence > forgotten.sequence, 20.0)
        assert alpha.indexes.indexes[own].head.epoch > forgotten.epoch
        await until(lambda: not again.follower.warnings())
        await again.stop()

    play(tmp_path, scene)
