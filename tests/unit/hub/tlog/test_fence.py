"""A sequencer whose term is over stores nothing; what it signed leaves it never (docs/replicas.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from candor_hub.store.fence import Deposed
from candor_hub.tlog import appender as appender_module
from candor_hub.tlog.appender import Appender
from candor_hub.tlog.fenced import Fenced
from candor_hub.tlog.rotation import ask_for
from candor_hub.tlog.rounds import Rounds
from candor_hub.tlog.sequencer import Sequencer
from candor_proto.directory import MemberStatus
from candor_proto.ids import NodeId
from candor_proto.tlog.checkpoint import parse_checkpoint
from tests.unit.hub.tlog.desks import LogDesk, log_desk

pytestmark = pytest.mark.usefixtures("each_database")

# Where another replica may take the log over while this one appends: behind these steps of it.
SEAMS: dict[str, tuple[Any, str]] = {
    "what-waits-was-read": (appender_module, "pack"),
    "entries-were-judged": (Appender, "_judge"),
    "files-were-read-back": (Appender, "_check"),
    "the-head-was-signed": (Appender, "_sign"),
}


def sequencer(desk: LogDesk) -> Sequencer:
    """The log of this hub, taken over by a replica of its own."""
    hub = desk.hub
    taken = Sequencer(hub.config, hub.store, desk.ring, desk.pages, hub.directory.publish)
    taken.begin(desk.now)
    return taken


def act(desk: LogDesk) -> None:
    """Something to be logged."""
    active = desk.hub.directory.latest().view.member(NodeId("alpha")).status is MemberStatus.ACTIVE
    status = MemberStatus.SUSPENDED if active else MemberStatus.ACTIVE
    desk.hub.directory.set_status(NodeId("alpha"), status, desk.now)


def everything(desk: LogDesk) -> Any:
    """What the database says of the log."""
    with desk.hub.store.read() as tx:
        states = [tx.log_states.requests_before(None), tx.fence.term(), tx.rounds.present()]
        return tx.log.shards(), tx.log.waiting(10_000), tx.log.policies(), tx.log.directories(1), states


def deposed_at(desk: LogDesk, monkeypatch: pytest.MonkeyPatch, seam: str, work: Callable[[], object]) -> Any:
    """Another replica takes over behind this step of `work`; what it left."""
    owner, name = SEAMS[seam]
    original, left = getattr(owner, name), list[Any]()

    def step(*arguments: Any, **named: Any) -> Any:
        done = original(*arguments, **named)
        if not left:
            left.append(None)
            Fenced(desk.hub.store)
            left[0] = everything(desk)
        return done

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, step)
        with pytest.raises(Deposed):
            work()
    assert left
    return left[0]


@pytest.mark.parametrize("seam", SEAMS)
def test_who_is_deposed_while_it_appends_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        first = sequencer(desk)
        first.work(desk.now)
        first.take_made()
        shown = desk.pages.get("1/signed").octets
        act(desk)
        left = deposed_at(desk, monkeypatch, seam, lambda: first.work(desk.now))
        assert everything(desk) == left
        assert first.take_made() is None
        assert desk.pages.get("1/signed").octets == shown
        # What it thought to have appended is forgotten, and stays forgotten.
        assert first._appender._state is None
        with pytest.raises(Deposed):
            first.work(desk.now)
        assert everything(desk) == left
        second = sequencer(desk)
        second.work(desk.now)
        desk.settle()
        desk.read()


@pytest.mark.parametrize("seam", ["files-were-read-back", "the-head-was-signed"])
def test_who_is_deposed_while_it_signs_anew_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        first = sequencer(desk)
        first.work(desk.now)
        first.take_made()
        desk.hub.clock.advance(minutes=10)
        assert first.is_due(desk.now)
        left = deposed_at(desk, monkeypatch, seam, lambda: first.work(desk.now))
        assert everything(desk) == left
        assert first.take_made() is None


def test_who_is_deposed_takes_no_step_of_a_rotation(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        first = sequencer(desk)
        first.work(desk.now)
        desk.settle()
        with desk.hub.store.write() as tx:
            ask_for(tx)
        Fenced(desk.hub.store)
        left = everything(desk)
        with pytest.raises(Deposed):
            first.work(desk.now)
        assert everything(desk) == left


def test_who_is_deposed_ends_no_shard(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        first = sequencer(desk)
        first.work(desk.now)
        desk.settle()
        with desk.hub.store.write() as tx:
            ask_for(tx)
        while len(desk.shards()) < 2:
            first.work(desk.now)
        desk.append()
        desk.witness()
        desk.append()
        desk.witness()
        second = Fenced(desk.hub.store)
        left = everything(desk)
        with pytest.raises(Deposed):
            first._appender.close(desk.now)
        assert everything(desk) == left
        assert not desk.shards()[0].closed
        closed = Appender(second, desk.files, desk.ring, desk.hub.config.federation)
        assert closed.close(desk.now) is not None
        assert desk.shards()[0].closed


def test_who_is_deposed_chooses_no_head(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        first = sequencer(desk)
        first.work(desk.now)
        signed = parse_checkpoint(desk.shard().signed)
        Rounds(desk.hub.store, first.store).begin(1, signed)
        sequencer(desk)
        left = everything(desk)
        # Whether it has heard of that already or not.
        for fenced in (first.store, None):
            with pytest.raises(Deposed):
                Rounds(desk.hub.store, fenced).begin(1, signed)
        assert everything(desk) == left


def test_each_term_is_one_replicas_own(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        terms = [Fenced(desk.hub.store).term for _ in range(3)]
        assert terms == sorted(set(terms))
        with pytest.raises(Deposed), desk.hub.store.write() as tx:
            tx.fence.check(terms[0])
