"""§15.3, §15.4: heads get their quorum from those who can sign, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from candor_hub.tlog import asking
from candor_hub.tlog.asking import Asking
from candor_hub.tlog.head import Head, merged
from candor_hub.tlog.outside import set_outside
from candor_hub.tlog.witnessed import Taken, Witnessed
from candor_proto.directory import MemberStatus
from candor_proto.errors import CandorError, Unreachable
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.policy import PolicyWitness, parse_policy
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.witness import add_checkpoint, cosignature_lines
from tests.federation import instead
from tests.hub_members import FEDERATION
from tests.patience import PATIENCE_SECONDS
from tests.unit.hub.tlog.desks import LogDesk, log_desk

NAMES = ("alpha", "bravo", "charlie")
Behaviour = Callable[["Witness", bytes], Awaitable[tuple[int, bytes]]]


@dataclass
class Witness:
    """A witness by the rules of tlog-witness, or with a behaviour of its own."""

    keys: WitnessKeys
    desk: LogDesk
    behaviour: Behaviour | None = None
    latest: SignedCheckpoint | None = None
    asked: int = 0
    statuses: list[int] = field(default_factory=list)

    async def __call__(self, request: bytes) -> tuple[int, bytes]:
        self.asked += 1
        answer = self.judge(request) if self.behaviour is None else await self.behaviour(self, request)
        self.statuses.append(answer[0])
        return answer

    def judge(self, request: bytes) -> tuple[int, bytes]:
        keys = self.desk.shard().verifier_keys
        verdict = add_checkpoint(request, lambda _: keys, lambda _: self.latest)
        if verdict.accepted is None:
            return verdict.status, verdict.body
        self.latest = verdict.accepted
        return 200, cosignature_lines(self.keys.cosign(verdict.accepted.checkpoint, self.desk.now))


@dataclass
class Scene:
    """A log of three members, and the part of the hub that asks them."""

    desk: LogDesk
    witnesses: dict[str, Witness]
    taken: list[tuple[Head, Taken]] = field(default_factory=list)
    asking: Asking = field(init=False)

    def __post_init__(self) -> None:
        self.asking = Asking(
            self.desk.hub.store,
            self.desk.files,
            FEDERATION,
            Witnessed(self.desk.hub.store, FEDERATION),
            self._send,
            self.desk.hub.clock,
            self._in_thread,
            self._taken,
            self._cosigned,
        )

    async def _send(self, witness: PolicyWitness, request: bytes) -> tuple[int, bytes]:
        return await self.witnesses[witness.name.rpartition("/")[2]](request)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return work()

    async def _taken(self, head: Head, taken: Taken) -> None:
        self.taken.append((head, taken))
        self.desk.pages.show(taken.shards, taken.kept)

    async def _cosigned(self, head: Head) -> None:
        self.desk.pages.add_cosignatures(head.shard, head.signed)

    def grow(self) -> Head:
        """One more entry or two; the head that was signed."""
        node = self.desk.hub.directory.latest().view.directory.members[-1].node
        self.desk.hub.directory.set_status(node, MemberStatus.ACTIVE, self.desk.now)
        self.desk.append()
        shard = self.desk.shard()
        head = Head(shard.shard, parse_checkpoint(shard.signed))
        self.asking.newest(head)
        return head

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)


def play(tmp_path: Path, act: Callable[[Scene], Awaitable[None]]) -> None:
    with log_desk(tmp_path) as desk:
        desk.join(NAMES)
        scene = Scene(desk, {name: Witness(keys, desk) for name, keys in desk.witnesses.items()})

        async def run() -> None:
            task = asyncio.create_task(scene.asking.run())
            try:
                await act(scene)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())
        desk.read()


async def silent(_: Witness, __: bytes) -> tuple[int, bytes]:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def away(_: Witness, __: bytes) -> tuple[int, bytes]:
    raise Unreachable("away")


async def crashing(_: Witness, __: bytes) -> tuple[int, bytes]:
    raise RuntimeError("a bug of ours")


async def garbage(_: Witness, __: bytes) -> tuple[int, bytes]:
    return 200, b"\xff\x00 no signature at all\n"


async def empty(_: Witness, __: bytes) -> tuple[int, bytes]:
    return 200, b""


async def of_another(self: Witness, request: bytes) -> tuple[int, bytes]:
    status, body = self.judge(request)
    return status, body.replace(b"alpha", b"bravo") if status == 200 else body


async def unverified(self: Witness, request: bytes) -> tuple[int, bytes]:
    self.latest = None
    status, body = self.judge(request)
    return status, body[:-12] + b"AAAAAAAAAAA\n" if status == 200 else body


async def tomorrow(self: Witness, request: bytes) -> tuple[int, bytes]:
    self.desk.hub.clock.advance(hours=1)
    try:
        return self.judge(request)
    finally:
        self.desk.hub.clock.advance(hours=-1)


async def far_ahead(_: Witness, __: bytes) -> tuple[int, bytes]:
    return 409, b"9223372036854775807\n"


async def never_the_same(self: Witness, __: bytes) -> tuple[int, bytes]:
    return 409, b"%d\n" % (self.asked % 3)


async def forked(_: Witness, __: bytes) -> tuple[int, bytes]:
    return 422, b""


async def unknown(_: Witness, __: bytes) -> tuple[int, bytes]:
    return 404, b""


MISBEHAVIOURS = (
    silent, away, crashing, garbage, empty, of_another, unverified, tomorrow, far_ahead, never_the_same,
    forked, unknown,
)  # fmt: skip


def witnessed_by(scene: Scene) -> set[str]:
    with scene.desk.hub.store.read() as tx:
        record = tx.log.policy_in_force()
    assert record is not None
    signed = parse_checkpoint(scene.desk.shard().witnessed)
    return {name.rpartition("/")[2] for name in parse_policy(record.text).cosignatures(signed)}


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_one_witness_that_is_no_good_delays_nobody(tmp_path: Path, behaviour: Behaviour) -> None:
    async def act(scene: Scene) -> None:
        scene.witnesses["alpha"].behaviour = behaviour
        loop = asyncio.get_running_loop()
        for _ in range(3):
            began, head = loop.time(), scene.grow()
            await scene.until(lambda head=head: head.taken)  # type: ignore[misc]
            assert loop.time() - began < asking.ROUND_SECONDS / 2
        assert witnessed_by(scene) == {"bravo", "charlie"}

    play(tmp_path, act)


def test_everybody_who_signs_is_kept(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        head = scene.grow()
        await scene.until(lambda: head.taken and head.stored == 2 + 6)
        assert witnessed_by(scene) == set(NAMES)
        # Two signatures of each, and the log's own two.
        assert len(parse_checkpoint(scene.desk.files.read("1/signed")).signatures) == 8

    play(tmp_path, act)


def test_a_witness_that_knows_another_size_is_asked_again_with_it(tmp_path: Path) -> None:
    """409: at first nothing is known of what a witness holds."""

    async def act(scene: Scene) -> None:
        head = scene.grow()
        await scene.until(lambda: head.taken)
        scene.asking._sizes.clear()
        head = scene.grow()
        await scene.until(lambda: head.taken and not scene.asking._under_way)
        assert {status for one in scene.witnesses.values() for status in one.statuses} == {200, 409}
        assert witnessed_by(scene) == set(NAMES)

    play(tmp_path, act)


def test_without_a_quorum_nothing_is_announced_and_it_comes_when_a_witness_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RETRY_SECONDS", 0.05)

    async def act(scene: Scene) -> None:
        for name in ("alpha", "bravo"):
            scene.witnesses[name].behaviour = away
        before = scene.desk.shard().witnessed_size
        head = scene.grow()
        await scene.until(lambda: scene.witnesses["alpha"].asked > 2)
        assert not head.taken
        assert scene.desk.shard().witnessed_size == before
        assert scene.taken == []
        scene.witnesses["alpha"].behaviour = None
        await scene.until(lambda: head.taken)
        assert witnessed_by(scene) == {"alpha", "charlie"}

    play(tmp_path, act)


def test_while_a_head_waits_the_newest_one_is_next(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        gate = asyncio.Event()

        async def slow(self: Witness, request: bytes) -> tuple[int, bytes]:
            await gate.wait()
            return self.judge(request)

        for name in ("alpha", "bravo"):
            scene.witnesses[name].behaviour = slow
        first, passed, last = scene.grow(), scene.grow(), scene.grow()
        await scene.until(lambda: scene.witnesses["alpha"].asked == 1)
        gate.set()
        await scene.until(lambda: last.taken)
        # The first may have had its turn before the others were signed; the one between has not.
        assert not passed.taken
        assert scene.desk.shard().witnessed_size == last.size > first.size

    play(tmp_path, act)


def test_a_policy_is_in_force_only_by_the_quorum_of_the_one_before(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        desk = scene.desk
        delta = desk.hub.join("delta")
        desk.make_witness(delta)
        scene.witnesses["delta"] = Witness(desk.witnesses["delta"], desk)
        for name in ("alpha", "bravo"):
            scene.witnesses[name].behaviour = away
        head = scene.grow()
        await scene.until(lambda: scene.witnesses["delta"].statuses[-1:] == [200])
        # Charlie and delta have signed: half of the new policy's members, and not the quorum of the old one.
        with desk.hub.store.read() as tx:
            coming, present = tx.log.newest_policy(), tx.log.policy_in_force()
        assert coming is not None
        assert present is not None
        assert (coming.version, coming.in_force, head.taken) == (present.version + 1, False, False)
        scene.witnesses["alpha"].behaviour = None
        scene.asking.attached(delta.node)
        scene.asking._not_before.clear()
        scene.asking._event.set()
        await scene.until(lambda: head.taken)
        kept = parse_checkpoint(desk.pages.get(f"1/policy/{coming.version}").octets)
        assert parse_policy(present.text).verify(kept, desk.now)
        with desk.hub.store.read() as tx:
            now = tx.log.policy_in_force()
        assert now is not None
        assert now.version == coming.version

    play(tmp_path, act)


def test_a_wrong_address_of_a_needed_witness_is_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor_hub.tlog.asking.RETRY_SECONDS", 0.05)

    async def act(scene: Scene) -> None:
        court = Witness(WitnessKeys.generate("court.example"), scene.desk)
        to_members = scene._send

        async def send(witness: PolicyWitness, request: bytes) -> tuple[int, bytes]:
            if witness.name != "court":
                return await to_members(witness, request)
            if witness.url != "https://right.example":
                raise Unreachable("Nobody there.")
            return await court(request)

        scene.asking._send = send

        def listed(url: str, needed: int) -> None:
            ours = PolicyWitness("court", court.keys.verifier_keys[1], url)
            with scene.desk.hub.store.write() as tx:
                set_outside(tx, FEDERATION, [ours], needed, scene.desk.now)

        listed("https://right.example", 0)
        first = scene.grow()
        await scene.until(lambda: first.taken)
        second = scene.grow()
        await scene.until(lambda: second.taken and "court" in witnessed_by(scene))
        listed("https://wrong.example", 1)
        third = scene.grow()
        await scene.until(lambda: third.taken)
        fourth = scene.grow()
        await asyncio.sleep(0.2)
        assert not fourth.taken
        listed("https://right.example", 1)
        await scene.until(lambda: fourth.taken)

    play(tmp_path, act)


def test_a_failing_database_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RETRY_SECONDS", 0.05)

    async def act(scene: Scene) -> None:
        take, failed = scene.asking._witnessed.take, list[int]()

        def once(*arguments: Any) -> Taken | None:
            if not failed:
                failed.append(1)
                raise CandorError("the disk is full")
            return take(*arguments)

        instead(scene.asking._witnessed, "take", once)
        head = scene.grow()
        await scene.until(lambda: head.taken)
        assert failed

    play(tmp_path, act)


def test_lines_that_the_policy_in_force_does_not_name_make_room_for_others(
    tmp_path: Path,
) -> None:
    """With a policy to come there may be more witnesses than lines; nobody's answer is lost for that."""
    with log_desk(tmp_path) as desk:
        desk.join(NAMES)
        with desk.hub.store.read() as tx:
            record = tx.log.policy_in_force()
        assert record is not None
        policy, signed = parse_policy(record.text), parse_checkpoint(desk.shard().signed)
        for number in range(80):
            lines = WitnessKeys.generate(f"coming-{number}.example").cosign(signed.checkpoint, desk.now)
            signed = merged(signed, lines[:1], policy)
        for name in NAMES:
            signed = merged(signed, desk.witnesses[name].cosign(signed.checkpoint, desk.now), policy)
        assert policy.verify(signed, desk.now)
        assert len(policy.cosignatures(signed)) == 3


def test_a_bug_in_a_step_does_not_end_the_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RETRY_SECONDS", 0.05)

    async def act(scene: Scene) -> None:
        read, failed = scene.asking._read, list[int]()

        def once() -> Any:
            if not failed:
                failed.append(1)
                raise RuntimeError("a bug of ours")
            return read()

        instead(scene.asking, "_read", once)
        head = scene.grow()
        await scene.until(lambda: head.taken)
        assert failed

    play(tmp_path, act)
