"""Who may no longer be there is cut from the streams, and nobody else (docs/protocol.md §8.2)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_certs.chain import PeerIdentity
from candor_certs.names import PeerName, Role
from candor_hub import warden
from candor_hub.directory import Snapshot
from candor_hub.streams import Parcel, Session, Streams, Timing
from candor_hub.warden import Warden
from candor_proto.directory import MemberStatus
from candor_proto.errors import CertificateRevoked, DenyListStale, Expired, MemberSuspended, NotYetValid
from candor_proto.ids import Digest, NodeId
from tests.hub_members import FEDERATION, Member
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


class Scene:
    """A warden over streams whose directory is the hub's latest, unless a test says another."""

    def __init__(self, hub: Office, timing: Timing) -> None:
        self.hub = hub
        self.streams = Streams()
        self.snapshot: Snapshot | None = None
        watch: Any = self
        self.warden = Warden(self.streams, watch, hub.clock, timing)
        hub.directory.latest()

    def attach(self, member: Member) -> Session:
        """A stream under the certificate that the member enrolled with."""
        with self.hub.store.read() as tx:
            (serial,) = tx.members.serials(member.node)
        now, key = self.hub.clock.now(), member.tls_key.public_key()
        name = PeerName(FEDERATION, Role.NODE, member.node)
        until = now + timedelta(days=7)
        identity = PeerIdentity(name, serial, Digest(bytes(32)), now, until, key, frozenset({1}))
        session = self.streams.open(member.node, identity)
        self.warden.welcome(session)
        return session

    def round(self) -> list[type[Exception] | None]:
        """Look after all streams once; why each of them ended, in the order of attaching."""
        self.snapshot = self.snapshot or self.hub.directory.latest()
        self.warden.round()
        self.snapshot = None
        return [type(session.ended) if session.ended else None for session in self.streams.all()]


def play(hub: Office, act: Callable[[Scene], None], timing: Timing | None = None) -> None:
    async def whole() -> None:
        act(Scene(hub, timing or Timing()))

    asyncio.run(whole())


def test_a_denied_certificate_cuts_its_stream_and_no_other(hub: Office) -> None:
    def act(scene: Scene) -> None:
        cut, stays = scene.attach(hub.join("alpha")), scene.attach(hub.join("bravo"))
        assert scene.round() == [None, None]
        hub.directory.deny(cut.identity.serial, hub.clock.now())
        assert scene.round() == [CertificateRevoked, None]
        assert [session.over for session in (cut, stays)] == [True, False]

    play(hub, act)


def test_a_denied_authority_cuts_all_that_it_certified(hub: Office) -> None:
    def act(scene: Scene) -> None:
        sessions = [scene.attach(hub.join(name)) for name in ("alpha", "bravo")]
        hub.directory.deny(1, hub.clock.now(), authority=True)
        scene.round()
        assert [type(session.ended) for session in sessions] == [CertificateRevoked] * 2

    play(hub, act)


def test_a_suspended_member_is_cut_and_no_other(hub: Office) -> None:
    def act(scene: Scene) -> None:
        cut, stays = scene.attach(hub.join("alpha")), scene.attach(hub.join("bravo"))
        hub.directory.set_status(cut.node, MemberStatus.SUSPENDED, hub.clock.now())
        scene.round()
        assert isinstance(cut.ended, MemberSuspended)
        assert stays.ended is None

    play(hub, act)


def test_a_certificate_that_ends_cuts_the_stream_that_began_under_it(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        hub.clock.advance(days=8)
        scene.round()
        assert isinstance(session.ended, Expired)

    play(hub, act)


def test_a_certificate_that_ends_later_cuts_a_stream_that_was_judged_before(hub: Office) -> None:
    """Though the directory is the same: nobody is told that a certificate ends."""

    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        assert scene.round() == [None]
        session.identity = replace(session.identity, not_after=hub.clock.now() + timedelta(seconds=30))
        late = scene.attach(hub.join("bravo"))
        late.identity = replace(late.identity, not_after=hub.clock.now() + timedelta(seconds=20))
        assert scene.round() == [None, None]
        hub.clock.advance(seconds=21)
        assert scene.round() == [None, Expired]
        hub.clock.advance(seconds=10)
        assert scene.round() == [Expired, Expired]

    play(hub, act)


def test_a_stream_that_began_under_a_directory_of_before_is_judged_by_the_present_one(hub: Office) -> None:
    """It was let in, then its member was revoked and all others judged, and then it said hello."""

    def act(scene: Scene) -> None:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        scene.attach(bravo)
        hub.directory.revoke(alpha.node, hub.clock.now())
        assert scene.round() == [None]
        scene.attach(alpha)
        assert scene.round() == [None, CertificateRevoked]

    play(hub, act)


def test_a_deny_list_that_grows_too_old_cuts_those_who_were_judged_before(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        assert scene.round() == [None]
        scene.snapshot = replace(hub.directory.latest(), read_at_seconds=time.monotonic() - 600)
        scene.round()
        assert isinstance(session.ended, DenyListStale)

    play(hub, act)


def test_a_clock_that_was_set_back_has_everybody_judged(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        assert scene.round() == [None]
        hub.clock.advance(days=-1)
        assert scene.round() == [NotYetValid]
        assert session.over

    play(hub, act)


def test_nobody_is_judged_again_while_nothing_has_changed(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand streams are not looked at once a second."""

    def act(scene: Scene) -> None:
        judged = list[NodeId]()
        check = warden.check_member

        def seen(snapshot: Any, node: NodeId) -> None:
            judged.append(node)
            check(snapshot, node)

        monkeypatch.setattr(warden, "check_member", seen)
        alpha = scene.attach(hub.join("alpha"))
        for _ in range(3):
            scene.round()
        bravo = scene.attach(hub.join("bravo"))  # another version of the directory
        for _ in range(3):
            scene.round()
        again = scene.streams.open(alpha.node, alpha.identity)
        scene.warden.welcome(again)
        for _ in range(3):
            scene.round()
        assert judged == [alpha.node, alpha.node, bravo.node, alpha.node]
        hub.clock.advance(seconds=61)  # once a minute whatever happens
        scene.round()
        assert sorted(judged[4:]) == [alpha.node, bravo.node]

    play(hub, act)


def test_a_deny_list_that_is_too_old_cuts_everybody(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        scene.snapshot = replace(hub.directory.latest(), read_at_seconds=time.monotonic() - 600)
        scene.round()
        assert isinstance(session.ended, DenyListStale)

    play(hub, act)


def test_one_that_does_not_take_its_mail_is_cut_all_the_same(hub: Office) -> None:
    """Its writer is stalled in a write; the warden asks nothing of it."""

    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        session.pending.extend(Parcel(number, b"x") for number in range(1_000))
        hub.directory.revoke(session.node, hub.clock.now())
        scene.round()
        assert session.over

    play(hub, act)


def test_a_heartbeat_is_due_once_in_its_interval(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        due = list[bool]()
        for at in (session.heartbeat_at, 0.0, None):
            session.heartbeat_at = session.heartbeat_at if at is None else at
            session.heartbeat_due = False
            scene.round()
            due.append(session.heartbeat_due)
        assert due == [False, True, False]

    play(hub, act, Timing(heartbeat_seconds=3_600.0))


def test_heartbeats_go_out_together_and_none_is_late(hub: Office) -> None:
    """What comes alone wakes everybody on its way for itself."""

    def act(scene: Scene) -> None:
        moments = [1_000.0 + 0.37 * number for number in range(120)]
        beats = [scene.warden._first_beat(moment) for moment in moments]
        assert all(0.0 < beat - moment <= 30.0 for beat, moment in zip(beats, moments, strict=True))
        # Whenever they came, there are as many at each of six moments.
        assert Counter(beat % 30.0 for beat in beats) == dict.fromkeys((0.0, 5.0, 10.0, 15.0, 20.0, 25.0), 20)

    play(hub, act, Timing(heartbeat_seconds=30.0))


def test_a_late_heartbeat_does_not_bring_a_stream_out_of_step(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        due = session.heartbeat_at = asyncio.get_running_loop().time() - 71.0
        scene.round()
        assert session.heartbeat_due
        assert session.heartbeat_at == due + 90.0

    play(hub, act, Timing(heartbeat_seconds=30.0))


def test_a_node_that_bears_more_silence_is_sent_heartbeats_more_rarely(hub: Office) -> None:
    """§8.3; in step with the others all the same."""

    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        session.heartbeat_seconds = Timing().heartbeat_of("300")
        due = session.heartbeat_at = asyncio.get_running_loop().time() - 1.0
        scene.round()
        assert session.heartbeat_due
        assert session.heartbeat_at == due + 120.0

    play(hub, act)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        pytest.param(None, 30.0, id="says nothing"),
        pytest.param("60", 30.0, id="as the first release"),
        pytest.param("0", 30.0, id="none at all"),
        pytest.param("200", 80.0, id="less than ours"),
        pytest.param("300", 120.0, id="ours"),
        pytest.param("99999", 120.0, id="days"),
        pytest.param("100000", 30.0, id="too long"),
        pytest.param("-300", 30.0, id="negative"),
        pytest.param("300.5", 30.0, id="no whole number"),
        pytest.param("٣٠٠", 30.0, id="digits of others"),
        pytest.param(b"300", 30.0, id="octets"),
    ],
)
def test_how_often_is_what_the_node_said_within_bounds(told: object, seconds: float) -> None:
    assert Timing().heartbeat_of(told) == seconds


def test_all_loops_look_at_the_same_moments_and_none_twice_at_one() -> None:
    """Each that looks at a moment of its own wakes a quiet process for itself."""
    timing = Timing(poll_seconds=1.0)
    for now in (5.0, 5.3, 5.89):
        assert now + timing.until_poll(now) == pytest.approx(6.0)
    # A timer may be called a moment too early.
    for now in (5.95, 5.999_999):
        assert now + timing.until_poll(now) == pytest.approx(7.0)


def test_what_was_not_acknowledged_in_time_is_sent_again(hub: Office) -> None:
    def act(scene: Scene) -> None:
        session = scene.attach(hub.join("alpha"))
        session.behind = False
        now = asyncio.get_running_loop().time()
        session.pending.extend([Parcel(1, b"old"), Parcel(2, b"new")])
        session.next_mail(now)
        session.in_flight[1] = (now - 60, 3)
        scene.round()
        assert list(session.in_flight) == [2]
        assert session.octets_in_flight == 3
        assert session.behind

    play(hub, act, Timing(redelivery_seconds=30.0))
