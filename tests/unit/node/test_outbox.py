"""Messages on their way: at least once, until the hub has them or has refused them for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from candor_node import mail_store
from candor_node.mail_store import OutboxRow
from candor_node.outbox import Outbox, is_final
from candor_node.store import Store, Work
from candor_proto import errors
from candor_proto.errors import (
    CandorError,
    ConflictingResubmission,
    LogUnwitnessed,
    QuotaSpent,
    Unreachable,
    WentBack,
)
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind
from tests.empty import empty_store
from tests.federation import until
from tests.records import STORE_KEY

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OWN = NodeId("alpha")
ENVELOPE = Envelope(
    bytes(16), MessageKind.ANSWER, OWN, NodeId("bravo"), b"answer", bytes(64), NOW + timedelta(hours=1)
)


@dataclass
class Scene:
    """An outbox with one message, and a hub that says what a test wants."""

    store: Store
    moment: datetime = NOW
    error: CandorError | None = None
    silent: bool = False
    open: bool = True
    deaf: CandorError | None = None
    heard: list[CandorError | None] = field(default_factory=list)

    def now(self) -> datetime:
        return self.moment

    async def submit(self, envelope: Envelope) -> int:
        if self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return 1

    async def outcome(self, row: OutboxRow, error: CandorError | None, settle: Work[None]) -> None:
        if self.deaf is not None:
            raise self.deaf
        self.heard.append(error)
        await self.store.run(settle)

    def due(self) -> list[OutboxRow]:
        return self.store.run_sync(lambda db: mail_store.due(db, OWN, self.moment, 10))

    def counts(self) -> mail_store.MailCounts:
        return self.store.run_sync(mail_store.counts)

    def outbox(self) -> Outbox:
        hub: Any = self
        clock: Any = self
        return Outbox(self.store, hub, OWN, clock, self.outcome, may_share=lambda: self.open)

    def send(self) -> None:
        (row,) = self.due()
        asyncio.run(self.outbox().send(row))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with empty_store(tmp_path / "node.db", STORE_KEY) as store:
        store.run_sync(lambda db: mail_store.enqueue(db, ENVELOPE, NOW))
        yield Scene(store)


def test_what_the_hub_has_is_gone(scene: Scene) -> None:
    scene.send()
    assert scene.counts().outbox_waiting == 0
    assert scene.heard == [None]


def test_what_nobody_knows_is_sent_again(scene: Scene) -> None:
    scene.error = Unreachable("gone")
    with pytest.raises(Unreachable):
        scene.send()
    assert scene.due() == []
    assert scene.counts().outbox_waiting == 1
    assert scene.heard == []
    scene.moment += timedelta(minutes=5)
    (row,) = scene.due()
    assert (row.attempts, row.envelope) == (1, ENVELOPE)
    scene.error = None
    scene.send()
    assert scene.counts().outbox_waiting == 0


def test_what_is_refused_for_good_is_a_dead_letter(scene: Scene) -> None:
    scene.error = ConflictingResubmission("That id was used.")
    with pytest.raises(ConflictingResubmission):
        scene.send()
    counts = scene.counts()
    assert counts.outbox_waiting == 0
    assert [(letter.kind, letter.reason) for letter in counts.dead] == [
        (MessageKind.ANSWER, "That id was used.")
    ]
    assert scene.heard == [scene.error]


def test_what_gives_something_away_waits_while_the_database_has_gone_back(scene: Scene) -> None:
    """It may lie there from before, and have been taken back, or given to nobody, since."""
    release = replace(ENVELOPE, envelope_id=bytes([1]) * 16, kind=MessageKind.DISCLOSURE_RESPONSE)
    told = replace(ENVELOPE, envelope_id=bytes([2]) * 16, kind=MessageKind.RECALL_NOTICE)
    for envelope in (release, told):
        scene.store.run_sync(partial(mail_store.enqueue, envelope=envelope, now=NOW))
    scene.open = False

    async def run() -> None:
        outbox = scene.outbox()
        sending = asyncio.create_task(outbox.run())
        await until(lambda: len(scene.heard) == 1)
        assert scene.counts().outbox_waiting == 2
        # What waits is not tried in vain meanwhile: it is due at once when a person has confirmed.
        await until(lambda: told.envelope_id not in {row.envelope.envelope_id for row in scene.due()})
        waiting = {row.envelope.envelope_id for row in scene.due()}
        assert waiting == {ENVELOPE.envelope_id, release.envelope_id}
        # Not even one that is in hand already.
        for row in scene.due():
            with pytest.raises(WentBack):
                await outbox.send(row)
        scene.open = True
        scene.moment += timedelta(minutes=5)
        outbox.wake()
        await until(lambda: len(scene.heard) == 3)
        sending.cancel()

    asyncio.run(run())
    assert scene.counts().dead == ()


@pytest.mark.parametrize("said", [None, ConflictingResubmission("That id was used.")], ids=["yes", "no"])
def test_what_nobody_is_left_to_hear_of_is_not_sent_for_ever(scene: Scene, said: CandorError | None) -> None:
    scene.error, scene.deaf = said, errors.IllegalTransition("Its life has ended.")
    with suppress(ConflictingResubmission):
        scene.send()
    assert scene.counts().outbox_waiting == 0


def test_the_same_message_twice_is_once(scene: Scene) -> None:
    scene.store.run_sync(lambda db: mail_store.enqueue(db, ENVELOPE, NOW))
    assert len(scene.due()) == 1


# --- messages with a sender of their own -----------------------------------------------------------------


def other(number: int) -> Envelope:
    return replace(ENVELOPE, envelope_id=bytes([number]) * 16)


def put(scene: Scene, outbox: Outbox, number: int) -> OutboxRow:
    row = scene.store.run_sync(lambda db: outbox.put(db, other(number), NOW))
    assert row is not None
    return row


def test_what_was_put_is_sent_without_being_read_and_its_row_goes_with_the_next(scene: Scene) -> None:
    async def play() -> None:
        outbox = scene.outbox()
        first = put(scene, outbox, 1)
        assert len(scene.due()) == 1  # the one of the scene: what was put is left to its sender
        await outbox.send_soon(first)
        await until(lambda: outbox._accepted == {first.number})
        assert scene.counts().outbox_waiting == 2
        put(scene, outbox, 2)
        assert scene.counts().outbox_waiting == 2
        await outbox.close()
        assert scene.counts().outbox_waiting == 2

    asyncio.run(play())


def test_the_row_of_what_the_hub_has_goes_after_a_while_or_with_the_node(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        outbox = scene.outbox()
        await outbox.send_soon(put(scene, outbox, 1))
        await until(lambda: scene.counts().outbox_waiting == 1)
        monkeypatch.setattr("candor_node.outbox.FORGET_SECONDS", 3600.0)
        last = put(scene, outbox, 2)
        await outbox.send_soon(last)
        await until(lambda: last.number in outbox._accepted)
        await outbox.close()
        assert scene.counts().outbox_waiting == 1

    monkeypatch.setattr("candor_node.outbox.FORGET_SECONDS", 0.01)
    asyncio.run(play())


def test_what_could_not_be_sent_by_its_own_sender_is_tried_again_like_the_rest(scene: Scene) -> None:
    async def play() -> None:
        outbox = scene.outbox()
        scene.error = Unreachable("gone")
        row = put(scene, outbox, 1)
        await outbox.send_soon(row)
        await until(lambda: not outbox._sending)
        scene.moment += timedelta(minutes=1)
        assert [(each.number, each.attempts) for each in scene.due()][1:] == [(row.number, 1)]

    asyncio.run(play())


def test_what_was_put_before_a_crash_is_sent_by_the_next_run(scene: Scene) -> None:
    async def play() -> None:
        put(scene, scene.outbox(), 1)
        after = scene.outbox()
        running = asyncio.create_task(after.run())
        await until(lambda: scene.counts().outbox_waiting == 0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


def test_only_so_many_are_on_their_way_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candor_node.outbox.SENDERS", 2)

    async def play() -> None:
        outbox = scene.outbox()
        scene.silent = True
        for number in (1, 2):
            await outbox.send_soon(put(scene, outbox, number))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await outbox.send_soon(put(scene, outbox, 3))
        await outbox.close()

    asyncio.run(play())


def test_what_expired_on_the_way_is_a_dead_letter(scene: Scene) -> None:
    later = NOW + timedelta(hours=2)
    scene.store.run_sync(lambda db: mail_store.forget_old(db, later))
    (letter,) = scene.counts().dead
    assert "expired before the hub could be reached" in letter.reason


@pytest.mark.parametrize(
    "kind",
    [
        errors.Unreachable,
        errors.ClockWrong,
        errors.StoreUnusable,
        errors.DenyListStale,
        errors.LimitExceeded,
        errors.NotAuthenticated,
        errors.CertificateRefused,
        errors.MemberSuspended,
        CandorError,
    ],
)
def test_what_says_nothing_of_the_message_is_tried_again(kind: type[CandorError]) -> None:
    assert not is_final(kind("…"))


@pytest.mark.parametrize(
    "kind", [QuotaSpent, ConflictingResubmission, errors.SignatureInvalid, errors.WrongRecipient]
)
def test_what_is_wrong_with_the_message_is_final(kind: type[CandorError]) -> None:
    assert is_final(kind("…"))


def test_nothing_is_asked_while_the_log_is_closed(scene: Scene) -> None:
    """What waits from before is not sent either: nobody vouches for who they are (§15.6)."""
    kinds = (MessageKind.LOOKUP, MessageKind.DISCLOSURE_REQUEST, MessageKind.DISCLOSURE_RESPONSE)
    for number, kind in enumerate(kinds, 1):
        envelope = replace(ENVELOPE, kind=kind, envelope_id=bytes([number]) * 16)
        scene.store.run_sync(lambda db, one=envelope: mail_store.enqueue(db, one, NOW))  # type: ignore[misc]
    submitted: list[MessageKind] = []
    submit = scene.submit

    async def watched(envelope: Envelope) -> int:
        submitted.append(envelope.kind)
        return await submit(envelope)

    closed = True

    def check_open() -> None:
        if closed:
            raise LogUnwitnessed("The log is closed.")

    hub: Any = scene
    hub.submit = watched
    outbox = Outbox(scene.store, hub, OWN, hub, scene.outcome, check_open)
    for row in scene.due():
        with suppress(LogUnwitnessed):
            asyncio.run(outbox.send(row))
    assert submitted == [MessageKind.ANSWER, MessageKind.DISCLOSURE_RESPONSE]
    assert scene.counts().outbox_waiting == 2
    closed = False
    scene.moment += timedelta(hours=1)
    for row in scene.due():
        asyncio.run(outbox.send(row))
    assert submitted[2:] == [MessageKind.LOOKUP, MessageKind.DISCLOSURE_REQUEST]
