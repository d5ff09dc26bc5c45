"""Messages on their way: at least once, until the hub has them or has refused them for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import mail_store
from candor_node.app import MIGRATIONS
from candor_node.mail_store import OutboxRow
from candor_node.outbox import Outbox, is_final
from candor_node.store import Store
from candor_proto import errors
from candor_proto.errors import CandorError, ConflictingResubmission, QuotaSpent, Unreachable
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind
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
    heard: list[CandorError | None] = field(default_factory=list)

    def now(self) -> datetime:
        return self.moment

    async def submit(self, envelope: Envelope) -> int:
        if self.error is not None:
            raise self.error
        return 1

    async def outcome(self, row: OutboxRow, error: CandorError | None) -> None:
        self.heard.append(error)

    def due(self) -> list[OutboxRow]:
        return self.store.run_sync(lambda db: mail_store.due(db, OWN, self.moment, 10))

    def counts(self) -> mail_store.MailCounts:
        return self.store.run_sync(mail_store.counts)

    def send(self) -> None:
        hub: Any = self
        clock: Any = self
        outbox = Outbox(self.store, hub, OWN, clock, self.outcome)
        (row,) = self.due()
        asyncio.run(outbox.send(row))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Store.create(tmp_path / "node.db", STORE_KEY, MIGRATIONS) as store:
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


def test_the_same_message_twice_is_once(scene: Scene) -> None:
    scene.store.run_sync(lambda db: mail_store.enqueue(db, ENVELOPE, NOW))
    assert len(scene.due()) == 1


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
