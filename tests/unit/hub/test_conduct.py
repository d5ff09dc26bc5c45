"""Members that misbehave are held off for a while; honest ones never come near it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from candor_hub.conduct import (
    FIRST_CALL_MOST,
    FORGOTTEN_SECONDS,
    GIVEN_UP,
    GIVEN_UP_SECONDS,
    GIVEN_UP_WEIGHT,
    HELD_SECONDS,
    LONGEST_SECONDS,
    MAX_MEMBERS,
    MOST,
    REPLACED_WEIGHT,
    UNKNOWN_METHOD,
    WEIGHTS,
    Conduct,
)
from candor_hub.hold_off import HoldOff
from candor_hub.lines import Lines
from candor_hub.observer import Nobody
from candor_hub.pace import Pace, Rate
from candor_hub.peer import Gatekeeper, admit_anybody
from candor_hub.streams import Streams
from candor_hub.work import STREAMS, Work
from candor_proto import errors
from candor_proto.errors import LimitExceeded
from candor_proto.ids import NodeId

ALPHA, BRAVO = NodeId("alpha"), NodeId("bravo")
MALFORMED = errors.MalformedMessage.code


class Counted(Nobody):
    def __init__(self) -> None:
        self.times = 0

    def held_off(self) -> None:
        self.times += 1


class Scene:
    """Two connections of alpha, one of bravo, and nobody's."""

    def __init__(self) -> None:
        self.now, self.seen, lines = 100.0, Counted(), Lines()
        self.hold_off = HoldOff(Streams(), lines, self.seen, lambda: self.now)
        self.first, self.second, self.other, self.stranger = (
            lines.of(f"ipv4:192.0.2.1:{port}") for port in range(1, 5)
        )
        for line, node in ((self.first, ALPHA), (self.second, ALPHA), (self.other, BRAVO)):
            line.admitted(node)


def test_a_member_that_is_refused_again_and_again_is_held_off_on_all_its_connections() -> None:
    """And no other behind the same address; the time ends by itself."""
    scene = Scene()
    for _ in range(int(MOST / WEIGHTS[MALFORMED])):
        scene.hold_off.refused(scene.first, MALFORMED)
        scene.hold_off.check(scene.second)
    scene.hold_off.refused(scene.second, MALFORMED)
    for line in (scene.first, scene.second):
        with pytest.raises(LimitExceeded, match="refused within a minute, the last as malformed_message"):
            scene.hold_off.check(line)
    scene.hold_off.check(scene.other)
    scene.hold_off.check(scene.stranger)
    assert scene.seen.times == 1
    scene.now += HELD_SECONDS
    scene.hold_off.check(scene.first)


def test_a_new_connection_of_who_is_held_off_is_refused_before_anything_is_looked_up() -> None:
    scene = Scene()
    for _ in range(100):
        scene.hold_off.refused(scene.first, MALFORMED)
    scene.stranger.shown = ALPHA
    with pytest.raises(LimitExceeded):
        scene.hold_off.check(scene.stranger)


def test_each_time_is_longer_than_the_last_until_that_is_forgotten() -> None:
    conduct, now, held = Conduct(), 0.0, []
    for _ in range(7):
        while not conduct.earned(ALPHA, 4, MALFORMED, now):
            pass
        held.append(conduct.held_until(ALPHA, now) - now)
        now = conduct.held_until(ALPHA, now)
        assert conduct.held_until(ALPHA, now) == 0
    assert held == [15, 30, 60, 120, 240, 240, 240]
    assert held[-1] == LONGEST_SECONDS
    now += FORGOTTEN_SECONDS
    while not conduct.earned(ALPHA, 4, MALFORMED, now):
        pass
    assert conduct.held_until(ALPHA, now) - now == HELD_SECONDS


def test_what_honest_members_may_earn_by_the_thousand_weighs_nothing() -> None:
    """A queue after an outage, a batch of 50,000, a spent quota, files that are lost, a full mailbox."""
    scene = Scene()
    for kind in (
        errors.QuotaSpent,
        errors.Expired,
        errors.Replayed,
        errors.AlreadyExists,
        errors.WrongRecipient,
        errors.UnknownObject,
        errors.LimitExceeded,
        errors.Unreachable,
        errors.StoreUnusable,
        errors.ClockWrong,
        errors.DenyListStale,
        errors.MemberSuspended,
        errors.NotAMember,
        errors.PurposeRefused,
        errors.CandorError,
    ):
        for _ in range(50_000):
            scene.hold_off.refused_on_stream(ALPHA, kind.code)
            scene.hold_off.refused(scene.first, kind.code)
    scene.hold_off.check(scene.first)
    assert scene.seen.times == 0


def test_reconnecting_as_often_as_the_hub_takes_it_is_not_held_against_anybody() -> None:
    """A bad line: every stream ends at once with the calls beside it, and is opened again when it may be."""
    scene, own = Scene(), STREAMS[0]
    for _ in range(1_000):
        scene.now += 1 / own.a_second
        scene.hold_off.replaced(ALPHA)
        for _ in range(4):
            scene.hold_off.given_up(scene.first, 0.5)
    assert scene.seen.times == 0
    per_minute = 60 * own.a_second + own.at_once
    assert per_minute * (REPLACED_WEIGHT + 4 * GIVEN_UP_WEIGHT) < MOST


def test_calls_that_are_given_up_at_once_are_counted_and_those_that_took_too_long_are_not() -> None:
    scene = Scene()
    for _ in range(1_000):
        scene.hold_off.given_up(scene.first, GIVEN_UP_SECONDS)
    scene.hold_off.check(scene.first)
    for _ in range(int(MOST) + 1):
        scene.hold_off.given_up(scene.first, 0.01)
    with pytest.raises(LimitExceeded, match=GIVEN_UP):
        scene.hold_off.check(scene.first)


def test_before_anybody_was_admitted_a_connection_alone_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, held = Scene(), list[float]()
    monkeypatch.setattr(type(scene.stranger), "hold", lambda line, until: held.append(until))
    for _ in range(int(FIRST_CALL_MOST)):
        scene.hold_off.given_up(scene.stranger, 0.01)
    assert not held
    scene.hold_off.given_up(scene.stranger, 0.01)
    assert held == [scene.now + HELD_SECONDS]
    assert scene.seen.times == 0


def test_members_without_number_take_no_memory_without_end() -> None:
    conduct = Conduct()
    for number in range(MAX_MEMBERS + 10):
        conduct.earned(NodeId(f"node-{number}"), 1, MALFORMED, 0.0)
    assert len(conduct._records) == MAX_MEMBERS


class Context:
    """Of a call that its servicer aborts."""

    def __init__(self) -> None:
        self.told: list[grpc.StatusCode] = []

    def peer(self) -> str:
        return "ipv4:192.0.2.1:1"

    async def abort(self, status: grpc.StatusCode, details: str) -> None:
        self.told.append(status)


def test_a_method_that_does_not_exist_is_refused_at_the_callers_turn_and_counted() -> None:
    """gRPC alone would answer as often as it is asked, before anything here could say whose turn it is."""

    async def call() -> None:
        scene, lines, work, context = Scene(), Lines(), Work(), Context()
        line = lines.of(context.peer())
        line.admitted(ALPHA)
        times = int(MOST) + 1
        gatekeeper = Gatekeeper(admit_anybody, lines, work, scene.hold_off, Pace(Rate(0, times), Rate(0, 0)))

        async def nothing(details: Any) -> None:
            return None

        details: Any = None
        handler: Any = await gatekeeper.intercept_service(nothing, details)
        for _ in range(times):
            await handler.stream_stream(None, context)
        with pytest.raises(LimitExceeded, match=UNKNOWN_METHOD):
            scene.hold_off.check(line)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await handler.stream_stream(None, context)
        assert context.told == [grpc.StatusCode.UNIMPLEMENTED] * times
        work.close()

    asyncio.run(call())
