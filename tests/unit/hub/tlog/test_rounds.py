"""Witnesses of one head who are attached to different replicas make one quorum (docs/replicas.md §5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from candor_hub.tlog import asking as asking_module
from candor_hub.tlog.asking import Asking
from candor_hub.tlog.fenced import Fenced
from candor_hub.tlog.head import Head
from candor_hub.tlog.rounds import Rounds
from candor_hub.tlog.witnessed import Taken, Witnessed
from candor_proto.directory import MemberStatus
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.policy import PolicyWitness, parse_policy
from candor_proto.tlog.signatures import verify_log
from tests.federation import instead
from tests.hub_members import FEDERATION
from tests.unit.hub.tlog.desks import LogDesk, log_desk
from tests.unit.hub.tlog.test_asking import NAMES, Witness

pytestmark = pytest.mark.usefixtures("each_database")


@dataclass
class Replica:
    """One process's part in it: it reaches the witnesses that are `attached` to it."""

    desk: LogDesk
    witnesses: dict[str, Witness]
    attached: set[str]
    taken: list[Head] = field(default_factory=list)
    running: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        store = self.desk.hub.store
        self.rounds = Rounds(store)
        self.asking = Asking(
            store,
            self.desk.files,
            FEDERATION,
            Witnessed(store, FEDERATION),
            self._send,
            self.desk.hub.clock,
            self._in_thread,
            self._taken,
            self._cosigned,
            lambda witness: _name(witness) in self.attached,
            self.rounds,
        )

    async def _send(self, witness: PolicyWitness, request: bytes) -> tuple[int, bytes]:
        assert _name(witness) in self.attached
        return await self.witnesses[_name(witness)](request)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return work()

    async def _taken(self, head: Head, taken: Taken) -> None:
        self.taken.append(head)

    async def _cosigned(self, head: Head) -> None:
        """Shown somewhere else."""

    def lead(self) -> None:
        self.rounds.fenced = Fenced(self.desk.hub.store)
        shard = self.desk.shard()
        self.asking.lead(Head(shard.shard, parse_checkpoint(shard.signed)))

    def look(self) -> None:
        """What `HubLog` does once per poll, and when told."""
        present = self.rounds.present()
        if present is not None:
            self.asking.follow(present)
        self.asking.taken(self.desk.shards())

    def start(self) -> None:
        async def looking() -> None:
            while True:
                self.look()
                await asyncio.sleep(0.01)

        self.running = [asyncio.create_task(self.asking.run()), asyncio.create_task(looking())]

    async def die(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


def _name(witness: PolicyWitness) -> str:
    return witness.name.rpartition("/")[2]


@dataclass
class Scene:
    desk: LogDesk
    witnesses: dict[str, Witness]
    replicas: list[Replica] = field(default_factory=list)

    def replica(self, *attached: str) -> Replica:
        made = Replica(self.desk, self.witnesses, set(attached))
        self.replicas.append(made)
        made.start()
        return made

    def grow(self, leader: Replica) -> None:
        """One more entry or two."""
        node = self.desk.hub.directory.latest().view.directory.members[-1].node
        self.desk.hub.directory.set_status(node, MemberStatus.ACTIVE, self.desk.now)
        self.desk.append()
        shard = self.desk.shard()
        leader.asking.newest(Head(shard.shard, parse_checkpoint(shard.signed)))

    def witnessed(self) -> bool:
        shard = self.desk.shard()
        return shard.witnessed.startswith(shard.signed)

    def signers(self) -> set[str]:
        with self.desk.hub.store.read() as tx:
            record = tx.log.policy_in_force()
        assert record is not None
        signed = parse_checkpoint(self.desk.shard().witnessed)
        return {name.rpartition("/")[2] for name in parse_policy(record.text).cosignatures(signed)}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


def play(tmp_path: Path, act: Callable[[Scene], Awaitable[None]]) -> None:
    with log_desk(tmp_path) as desk:
        desk.join(NAMES)
        scene = Scene(desk, {name: Witness(keys, desk) for name, keys in desk.witnesses.items()})

        async def run() -> None:
            try:
                await act(scene)
            finally:
                for replica in scene.replicas:
                    await replica.die()

        asyncio.run(run())
        desk.pages.show(desk.shards())
        desk.read()


def test_a_quorum_is_put_together_from_what_came_to_different_replicas(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        leader, second, third = [scene.replica(name) for name in NAMES]
        leader.lead()
        for _ in range(3):
            scene.grow(leader)
            await scene.until(scene.witnessed)
        await scene.until(lambda: scene.signers() == set(NAMES))
        assert sum(len(one.taken) for one in (leader, second, third)) >= 3

    play(tmp_path, act)


def test_the_sequencer_takes_up_a_quorum_that_was_completed_by_who_died_then(
    tmp_path: Path,
) -> None:
    async def act(scene: Scene) -> None:
        leader, other = scene.replica(), scene.replica(*NAMES)

        def dies(*_: Any) -> None:
            for task in other.running:
                task.cancel()
            raise asyncio.CancelledError

        instead(other.asking._witnessed, "take", dies)
        leader.lead()
        scene.grow(leader)
        await scene.until(scene.witnessed)
        assert leader.taken
        assert not other.taken

    play(tmp_path, act)


def test_a_new_sequencer_goes_on_where_the_one_before_died(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        first, second = scene.replica("alpha"), scene.replica("bravo", "charlie")
        first.lead()
        scene.grow(first)
        await scene.until(scene.witnessed)
        await first.die()
        second.lead()
        second.attached |= {"alpha"}
        scene.grow(second)
        await scene.until(scene.witnessed)
        await scene.until(lambda: scene.signers() == set(NAMES))

    play(tmp_path, act)


def test_what_a_round_brought_is_dropped_with_it_and_counts_for_no_other(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        leader = scene.replica(*NAMES)
        leader.lead()
        scene.grow(leader)
        await scene.until(scene.witnessed)
        before = leader.rounds.present()
        assert before is not None
        scene.grow(leader)
        await scene.until(scene.witnessed)
        after = leader.rounds.present()
        assert after is not None
        assert after.number > before.number
        assert leader.rounds.add(before.number, before.cosigned) is None
        with scene.desk.hub.store.read() as tx:
            assert tx.rounds.cosigned(before.number) == {}

    play(tmp_path, act)


def test_a_replica_that_is_behind_does_not_accuse_a_witness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness that has moved to another replica may have signed more than this one knows."""
    monkeypatch.setattr(asking_module, "RETRY_SECONDS", 0.02)

    async def act(scene: Scene) -> None:
        leader, late = scene.replica("alpha", "bravo"), scene.replica()
        await late.die()
        leader.lead()
        scene.grow(leader)
        await scene.until(scene.witnessed)
        late.look()
        scene.grow(leader)
        await scene.until(scene.witnessed)
        errors: list[object] = []
        monkeypatch.setattr(asking_module.log, "error", lambda *words, **_: errors.append(words))
        late.attached = {"alpha"}
        task = asyncio.create_task(late.asking.run())
        late.asking._present.taken = False  # type: ignore[union-attr]
        late.asking._event.set()
        await scene.until(lambda: bool(scene.witnesses["alpha"].statuses[-1:] == [409]))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert errors == []

    play(tmp_path, act)


def test_a_head_that_was_signed_anew_is_not_followed_by_the_one_before(tmp_path: Path) -> None:
    """Of the same size: the time of witness must not go back because a replica was slow."""
    with log_desk(tmp_path) as desk:
        desk.join(NAMES)
        desk.append()
        older = desk.cosigned(NAMES)
        desk.hub.clock.advance(minutes=10)
        desk.appender.sign_again(desk.now)
        newer = desk.cosigned(NAMES[:2])
        witnessed, shard = desk.witnessed, desk.shard()
        assert witnessed.take(shard.shard, newer, desk.now) is not None
        assert witnessed.take(shard.shard, older, desk.now) is None
        # Of one head signatures are put together, in whichever order they come.
        others = desk.cosigned(NAMES[1:])
        assert witnessed.take(shard.shard, others, desk.now) is not None
        stored = parse_checkpoint(desk.shard().witnessed)
        assert len(stored.signatures) == 2 + 2 * len(NAMES)
        assert verify_log(stored, shard.verifier_keys) == verify_log(newer, shard.verifier_keys)
