"""A log goes on only once its witnesses have said that they know nothing newer (docs/log.md, section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from candor_hub.readiness import Health
from candor_hub.streams import Streams
from candor_hub.tlog import asking, confirmed
from candor_hub.tlog.head import Head
from candor_hub.tlog.sequencer import Sequencer
from candor_hub.tlog.status import log_status
from candor_node.hub_client import LAST_RETRY_SECONDS
from candor_proto.directory import MemberStatus
from candor_proto.errors import DenyListStale, Unreachable, WrongStanding
from candor_proto.ids import NodeId
from candor_proto.tlog.age import MAX_CURRENT
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.policy import MEMBER_PREFIX
from candor_wire.limits import ATTACH_HELLO_DEADLINE_SECONDS
from tests.federation import instead
from tests.unit.hub.tlog.desks import LogDesk, log_desk
from tests.unit.hub.tlog.test_asking import Scene, Witness, far_ahead, play

on_both = pytest.mark.usefixtures("each_database")


def names(*members: str) -> frozenset[str]:
    return frozenset(f"{MEMBER_PREFIX}{name}" for name in members)


@contextmanager
def log_of(folder: Path, *members: str) -> Iterator[LogDesk]:
    """A log that these members witness; with three of them it asks for a quorum."""
    with log_desk(folder) as desk:
        desk.join(members)
        yield desk


def term(desk: LogDesk) -> Sequencer:
    """A hub starts on it, with something to be logged."""
    hub = desk.hub
    begun = Sequencer(hub.config, hub.store, desk.ring, desk.pages, hub.directory.publish)
    begun.begin(desk.now)
    active = hub.directory.latest().view.member(NodeId("alpha")).status is MemberStatus.ACTIVE
    hub.directory.set_status(
        NodeId("alpha"), MemberStatus.SUSPENDED if active else MemberStatus.ACTIVE, desk.now
    )
    return begun


def claim(desk: LogDesk, name: str, size: int | None) -> None:
    with desk.hub.store.write() as tx:
        confirmed.claim(tx, f"{MEMBER_PREFIX}{name}", size)


def signs(desk: LogDesk, begun: Sequencer) -> bool:
    """Whether anything is signed, ten minutes later."""
    before = desk.shard().signed
    desk.hub.clock.advance(minutes=10)
    begun.work(desk.now)
    return desk.shard().signed != before


@on_both
def test_nothing_is_signed_in_a_term_before_a_quorum_has_signed_its_first_head_in_it(tmp_path: Path) -> None:
    with log_of(tmp_path, "alpha", "bravo", "charlie") as desk:
        begun = term(desk)
        begun.settled = True
        assert not signs(desk, begun)
        begun.signed_by = names("bravo")
        assert not signs(desk, begun)
        begun.signed_by = names("bravo", "charlie")
        # One that claims to know more stops nothing.
        claim(desk, "alpha", 1 << 40)
        assert signs(desk, begun)
        assert desk.waiting() == 0
        # The next term begins anew.
        again = term(desk)
        assert not signs(desk, again)
        again.signed_by = names("alpha", "bravo")
        assert signs(desk, again)
        desk.read("signed")


def test_a_federation_without_witnesses_waits_for_nobody(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        term(desk).work(desk.now)
        assert desk.shard().size
        assert signs(desk, term(desk))


def test_where_no_quorum_is_asked_for_every_witness_signs_or_is_passed_over_in_time(tmp_path: Path) -> None:
    with log_of(tmp_path, "alpha", "bravo") as desk:
        begun = term(desk)
        begun.signed_by = names("alpha")
        assert not signs(desk, begun)
        begun.signed_by = names("alpha", "bravo")
        assert signs(desk, begun)
        begun = term(desk)
        assert not signs(desk, begun)
        begun.settled = True
        assert signs(desk, begun)


def test_there_one_that_claims_more_stops_the_log_until_the_operator_says_otherwise(tmp_path: Path) -> None:
    with log_of(tmp_path, "alpha", "bravo") as desk:
        begun = term(desk)
        begun.signed_by, begun.settled = names("alpha"), True
        claim(desk, "bravo", desk.shard().size + 7)
        assert not signs(desk, begun)
        with desk.hub.store.read() as tx:
            found = log_status(tx, desk.now)
        assert "older than what this hub has signed" in found.troubles(desk.now)[0]
        assert f"{desk.shard().size + 7:,} entries" in found.went_back
        health = Health(desk.hub.store, lambda: desk.hub.keys, lambda: 0.0, Streams(), desk.hub.clock, 5.0)
        looked = asyncio.run(health.look())
        # What is wrong for all replicas alike takes none of them from the balancer (`readiness`).
        assert looked.ready
        assert "log_went_back" in looked.facts["concerns"]
        # Who was denied since is not on its list: nobody is admitted.
        with pytest.raises(DenyListStale):
            desk.hub.directory.latest().deny_list(desk.now).check_fresh(desk.now)
        with desk.hub.store.write() as tx:
            confirmed.confirm_by_operator(tx)
        # It was said of that term alone, and another one begins before it goes on.
        begun = term(desk)
        begun.settled = True
        claim(desk, "bravo", desk.shard().size + 7)
        assert not signs(desk, begun)
        with desk.hub.store.write() as tx:
            confirmed.confirm_by_operator(tx)
        assert signs(desk, begun)
        desk.hub.directory.latest().deny_list(desk.now).check_fresh(desk.now)
        begun = term(desk)
        begun.settled = True
        claim(desk, "bravo", desk.shard().size + 7)
        assert not signs(desk, begun)
        claim(desk, "bravo", None)
        assert signs(desk, begun)


def test_who_dials_as_late_as_a_node_may_is_waited_for_and_no_log_is_late_by_it() -> None:
    """A node that waits its longest pause, and then dials, still says in time that it knows more."""
    settle = confirmed.SETTLE_SECONDS
    assert LAST_RETRY_SECONDS + ATTACH_HELLO_DEADLINE_SECONDS < settle < MAX_CURRENT.total_seconds() / 10


def test_with_a_quorum_the_operator_cannot_say_it(tmp_path: Path) -> None:
    with log_of(tmp_path, "alpha", "bravo", "charlie") as desk:
        begun = term(desk)
        for name in ("alpha", "bravo"):
            claim(desk, name, 10_000)
        with desk.hub.store.write() as tx, pytest.raises(WrongStanding, match="quorum of its witnesses"):
            confirmed.confirm_by_operator(tx)
        with desk.hub.store.read() as tx:
            assert confirmed.went_back(tx)
            assert not confirmed.operator_said_so(tx)
        assert not signs(desk, begun)
        claim(desk, "bravo", None)
        with desk.hub.store.read() as tx:
            # One of three is no reason: the others may still be a quorum.
            assert not confirmed.went_back(tx)
        begun.signed_by = names("bravo", "charlie")
        assert signs(desk, begun)
        with desk.hub.store.write() as tx, pytest.raises(WrongStanding, match="waits for nobody"):
            confirmed.confirm_by_operator(tx)


def test_a_claim_is_told_and_taken_back_when_the_witness_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RETRY_SECONDS", 0.05)
    told: list[tuple[str, int | None]] = []

    async def act(scene: Scene) -> None:
        async def on_claim(witness: str, size: int | None) -> None:
            told.append((witness, size))

        instead(scene.asking, "_on_claim", on_claim)
        instead(scene.asking, "_on_heard", lambda head, signed_by: True)
        scene.witnesses["alpha"].behaviour = far_ahead
        scene.grow()
        await scene.until(lambda: bool(told))
        scene.witnesses["alpha"].behaviour = None
        await scene.until(lambda: told[-1][1] is None)

    play(tmp_path, act)
    assert told[0] == (f"{MEMBER_PREFIX}alpha", 9223372036854775807)
    assert told[-1] == (f"{MEMBER_PREFIX}alpha", None)


def test_an_answer_of_an_earlier_term_counts_for_nothing_in_this_one(tmp_path: Path) -> None:
    """The head is the same; but between the two the database may have gone on, and gone back to it."""
    heard: list[frozenset[str]] = []

    async def act(scene: Scene) -> None:
        gate = asyncio.Event()

        async def late(self: Witness, request: bytes) -> tuple[int, bytes]:
            if self.asked > asked[self.keys.name]:
                raise Unreachable("away")
            await gate.wait()
            return self.judge(request)

        first, witnesses = scene.grow(), list(scene.witnesses.values())
        await scene.until(lambda: first.taken and all(witness.latest for witness in witnesses))
        asked = {witness.keys.name: witness.asked + 1 for witness in witnesses}
        for witness in witnesses:
            witness.behaviour = late
        earlier, later = (Head(first.shard, parse_checkpoint(first.base)) for _ in range(2))
        scene.asking.lead(earlier)
        await scene.until(lambda: all(witness.asked == asked[witness.keys.name] for witness in witnesses))

        def on_heard(head: Head, signed_by: frozenset[str]) -> bool:
            if head is later:
                heard.append(signed_by)
            return True

        instead(scene.asking, "_on_heard", on_heard)
        scene.asking.cease()
        scene.asking.lead(later)
        gate.set()
        await scene.until(
            lambda: any(heard) or all(witness.asked > asked[witness.keys.name] for witness in witnesses)
        )

    play(tmp_path, act)
    assert not any(heard)
