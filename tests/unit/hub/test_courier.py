"""Deliveries from the mailbox to the streams: each once, in order, and nobody holds up another (§8.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from candor_hub import courier as courier_module
from candor_hub import streams as streams_module
from candor_hub.courier import Courier
from candor_hub.desk import Submission
from candor_hub.mailbox import News
from candor_hub.relay import Receipt
from candor_hub.streams import Parcel, Session, Streams, Timing
from candor_proto.errors import StoreUnusable
from candor_wire.codec import Envelope, envelope_octets
from tests.hub_members import Member
from tests.patience import PATIENCE_SECONDS
from tests.unit.hub.offices import Office, office

# Nothing happens by itself but what a test waits for.
SELDOM = Timing(poll_seconds=3_600.0, redelivery_seconds=3_600.0)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


class Scene:
    """A courier over the real mailbox, and streams whose writers are played by `sent`."""

    def __init__(self, hub: Office) -> None:
        self.hub = hub
        self.streams = Streams()
        self.looks = 0
        self._news = hub.mailbox.news
        hub.mailbox.news = self._counted  # type: ignore[assignment,method-assign]
        self.courier = Courier(self.streams, hub.mailbox, hub.clock, SELDOM)

    def _counted(self, *arguments: Any) -> News:
        self.looks += 1
        return self._news(*arguments)

    async def attach(self, member: Member) -> Session:
        """A stream that has looked into the mailbox, and sent nothing yet."""
        identity: Any = None
        session = self.streams.open(member.node, identity)
        await self.courier.refill(session)
        return session

    def accept(self, sender: Member, *envelopes: Envelope) -> list[Receipt]:
        """Stored durably; the courier is not told."""
        view = self.hub.directory.latest().view
        batch = [Submission(envelope, sender.node, view) for envelope in envelopes]
        outcomes = self.hub.relay.submit_all(batch, self.hub.clock.now())
        receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        assert len(receipts) == len(envelopes)
        return receipts

    async def post(self, sender: Member, *envelopes: Envelope) -> None:
        """Stored durably, told, and handed out."""
        began = asyncio.get_running_loop().time()
        self.courier.accepted(self.accept(sender, *envelopes), began)
        await self.carried()

    async def carried(self) -> None:
        """Until the courier has done what it was woken for."""
        task = asyncio.create_task(self.courier.carry())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.courier._wake.is_set() or self.courier._seen < self.hub.mailbox.newest():
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def sent(self, session: Session) -> list[Parcel]:
        """What the stream's writer would send now."""
        if session.may_read:
            await self.courier.refill(session)
        parcels, _ = session.next_mail(asyncio.get_running_loop().time())
        return parcels


def play(hub: Office, act: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene(hub)
        await scene.courier.start()
        try:
            await act(scene)
        finally:
            await scene.courier.close()

    asyncio.run(whole())


def bodies(*envelopes: Envelope) -> list[bytes]:
    return [envelope_octets(envelope) for envelope in envelopes]


def carried(parcels: list[Parcel]) -> list[bytes]:
    return [parcel.envelope for parcel in parcels]


# --- what this process has accepted -------------------------------------------------------------------


def test_what_was_accepted_here_is_handed_out_in_order_without_reading_it_again(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    envelopes = [alpha.sealed(bravo.node) for _ in range(6)]

    async def act(scene: Scene) -> None:
        await scene.post(alpha, alpha.sealed(alpha.node))  # ids go on above what was newest at the start
        session, looks = await scene.attach(bravo), scene.looks
        await scene.post(alpha, *envelopes[:4])
        await scene.post(alpha, *envelopes[4:])
        assert carried(await scene.sent(session)) == bodies(*envelopes)
        assert scene.looks == looks

    play(hub, act)


def test_the_delivery_ids_are_those_of_the_mailbox(hub: Office) -> None:
    alpha, bravo, charlie = [hub.join(name) for name in ("alpha", "bravo", "charlie")]

    async def act(scene: Scene) -> None:
        sessions = [await scene.attach(member) for member in (charlie, bravo)]
        await scene.post(alpha, alpha.lookup([charlie, bravo]), alpha.sealed(bravo.node))
        for member, session in zip((charlie, bravo), sessions, strict=True):
            rows = [(one.delivery_id, envelope_octets(one.envelope)) for one in hub.waiting(member)]
            assert [(one.delivery_id, one.envelope) for one in await scene.sent(session)] == rows

    play(hub, act)


def test_a_body_is_encoded_once_for_all_its_recipients(hub: Office) -> None:
    alpha, bravo, charlie = [hub.join(name) for name in ("alpha", "bravo", "charlie")]

    async def act(scene: Scene) -> None:
        await scene.post(alpha, alpha.sealed(alpha.node))
        first, second = await scene.attach(bravo), await scene.attach(charlie)
        await scene.post(alpha, alpha.lookup([bravo, charlie]))
        (one,), (other,) = await scene.sent(first), await scene.sent(second)
        assert one.envelope is other.envelope

    play(hub, act)


def test_a_word_that_got_lost_loses_no_delivery(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    unheard, heard = alpha.sealed(bravo.node), alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        session = await scene.attach(bravo)
        scene.accept(alpha, unheard)
        await scene.post(alpha, heard)
        assert carried(await scene.sent(session)) == bodies(unheard, heard)

    play(hub, act)


def test_what_was_read_already_is_not_handed_out_again(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        session = await scene.attach(bravo)
        began = asyncio.get_running_loop().time()
        receipts = scene.accept(alpha, envelope)
        await scene.courier._look()
        scene.courier.accepted(receipts, began)
        await scene.carried()
        assert carried(await scene.sent(session)) == bodies(envelope)

    play(hub, act)


def test_a_stream_that_read_the_mailbox_meanwhile_gets_a_delivery_once(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        began = asyncio.get_running_loop().time()
        receipts = scene.accept(alpha, envelope)
        session = await scene.attach(bravo)  # reads what is committed, but not told yet
        scene.courier.accepted(receipts, began)
        await scene.carried()
        assert carried([*await scene.sent(session), *await scene.sent(session)]) == bodies(envelope)

    play(hub, act)


# --- streams that die, stall or are slow --------------------------------------------------------------


def test_a_stream_that_dies_in_the_middle_of_a_delivery_loses_nothing(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    envelopes = [alpha.sealed(bravo.node) for _ in range(3)]

    async def act(scene: Scene) -> None:
        session = await scene.attach(bravo)
        await scene.post(alpha, *envelopes)
        sent = await scene.sent(session)
        scene.courier.acknowledge(session, (sent[0].delivery_id,))
        scene.streams.close(session)
        await scene.courier._delete()
        again = await scene.attach(bravo)
        assert carried(await scene.sent(again)) == bodies(*envelopes[1:])

    play(hub, act)


def test_a_slow_stream_does_not_hold_up_others_and_gets_all_in_the_end(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "MAX_DELIVERIES_IN_FLIGHT", 4)
    monkeypatch.setattr(streams_module, "_REFILL", 1)
    alpha, bravo, charlie = [hub.join(name) for name in ("alpha", "bravo", "charlie")]
    many, one = [alpha.sealed(bravo.node) for _ in range(10)], alpha.sealed(charlie.node)

    async def act(scene: Scene) -> None:
        slow, quick = await scene.attach(bravo), await scene.attach(charlie)
        await scene.post(alpha, *many)
        await scene.post(alpha, one)
        assert carried(await scene.sent(quick)) == bodies(one)
        seen = list[bytes]()
        while parcels := await scene.sent(slow):
            assert len(slow.in_flight) <= 4
            seen += carried(parcels)
            scene.courier.acknowledge(slow, tuple(parcel.delivery_id for parcel in parcels))
            await scene.courier._delete()
        assert seen == bodies(*many)

    play(hub, act)


def test_a_stream_that_is_behind_takes_senders_in_turn(hub: Office) -> None:
    alpha, bravo, charlie = [hub.join(name) for name in ("alpha", "bravo", "charlie")]
    many, one = [alpha.sealed(bravo.node) for _ in range(5)], charlie.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        await scene.post(alpha, *many)
        await scene.post(charlie, one)
        session = await scene.attach(bravo)
        assert carried(await scene.sent(session)) == bodies(many[0], one, *many[1:])

    play(hub, act)


# --- acknowledgements ---------------------------------------------------------------------------------


def test_acknowledgements_of_a_moment_are_one_transaction(hub: Office) -> None:
    alpha, bravo, charlie = [hub.join(name) for name in ("alpha", "bravo", "charlie")]

    async def act(scene: Scene) -> None:
        sessions = [await scene.attach(member) for member in (bravo, charlie)]
        await scene.post(alpha, *[alpha.lookup([bravo, charlie]) for _ in range(3)])
        before = hub.store.commits
        collecting = asyncio.create_task(scene.courier.collect())
        for session in sessions:
            for parcel in await scene.sent(session):
                scene.courier.acknowledge(session, (parcel.delivery_id,))
                await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while hub.waiting(bravo) or hub.waiting(charlie):
                await asyncio.sleep(0.02)
        collecting.cancel()
        assert hub.store.commits == before + 1

    play(hub, act)


def test_many_acknowledgements_do_not_wait_for_more(hub: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "ACKNOWLEDGE_SECONDS", 3_600.0)
    monkeypatch.setattr(courier_module, "ACKNOWLEDGE_AT_ONCE", 3)
    alpha, bravo = hub.join("alpha"), hub.join("bravo")

    async def act(scene: Scene) -> None:
        session = await scene.attach(bravo)
        await scene.post(alpha, *[alpha.sealed(bravo.node) for _ in range(3)])
        collecting = asyncio.create_task(scene.courier.collect())
        for parcel in await scene.sent(session):
            scene.courier.acknowledge(session, (parcel.delivery_id,))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while hub.waiting(bravo):
                await asyncio.sleep(0.02)
        collecting.cancel()

    play(hub, act)


def test_acknowledgements_that_are_lost_cost_a_redelivery_and_no_more(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        session = await scene.attach(bravo)
        await scene.post(alpha, envelope)
        (parcel,) = await scene.sent(session)
        with monkeypatch.context() as broken:
            broken.setattr(hub.mailbox, "acknowledge_all", _fails)
            scene.courier.acknowledge(session, (parcel.delivery_id,))
            await scene.courier._delete()
        session.look_again()
        assert carried(await scene.sent(session)) == bodies(envelope)
        scene.courier.acknowledge(session, (parcel.delivery_id,))
        await scene.courier._delete()
        assert hub.waiting(bravo) == ()

    play(hub, act)


def _fails(_acknowledged: object) -> int:
    raise StoreUnusable("The disk is full.")


def test_what_was_acknowledged_last_is_written_down_at_the_end(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")

    async def act(scene: Scene) -> None:
        session = await scene.attach(bravo)
        await scene.post(alpha, alpha.sealed(bravo.node))
        (parcel,) = await scene.sent(session)
        scene.courier.acknowledge(session, (parcel.delivery_id,))

    play(hub, act)
    assert hub.waiting(bravo) == ()
