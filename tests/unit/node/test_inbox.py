"""The inbox is worked off fairly: between senders, and between single lookups and batches."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from candor_node import mail_store
from candor_node.clock import SystemClock
from candor_node.inbox import MAX_GROUP, PLACES, Inbox
from candor_node.mail_store import InboxRow
from candor_node.store import Database, Store
from candor_node.workers import Lane
from candor_proto.errors import LogUnwitnessed, StoreUnusable
from candor_proto.ids import NodeId
from candor_proto.statements import LOOKUP_LIFE
from candor_wire.codec import Envelope, MessageKind
from tests.empty import empty_store
from tests.federation import until
from tests.parties import MIKE, NOW, Parties
from tests.patience import PATIENCE_SECONDS
from tests.records import STORE_KEY

OWN = NodeId("owner")
PARTIES = Parties("asker", "busy", "owner")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path / "node.db", STORE_KEY) as store:
        yield store


def lookup_from(sender: str, persons: int = 1) -> Envelope:
    statement = PARTIES.draft_all(sender, [MIKE] * persons).statement
    return Envelope(
        secrets.token_bytes(16),
        MessageKind.LOOKUP,
        NodeId(sender),
        OWN,
        statement.body,
        statement.signature,
        NOW + LOOKUP_LIFE,
    )


def arrive(store: Store, *envelopes: Envelope) -> None:
    assert all(store.run_sync(lambda db: [mail_store.receive(db, one, NOW) for one in envelopes]))


async def work_off(
    store: Store,
    process: Callable[[InboxRow], Awaitable[None]],
    until: Callable[[], bool],
    together: Callable[[Sequence[InboxRow]], Awaitable[None]] | None = None,
) -> None:
    inbox = Inbox(MessageKind.LOOKUP, store, OWN, SystemClock(), process, lambda: True, together)
    running = asyncio.create_task(inbox.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not until():
                if running.done():
                    running.result()
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_senders_take_turns_however_much_one_of_them_sent(store: Store) -> None:
    one = lookup_from("busy")
    arrive(store, *[Envelope(**{**vars(one), "envelope_id": bytes([n]) * 16}) for n in range(40)])
    arrive(store, lookup_from("asker"))
    rows = store.run_sync(lambda db: mail_store.unsettled(db, MessageKind.LOOKUP, OWN, 4))
    assert NodeId("asker") in {row.envelope.sender for row in rows}
    taken = [row.number for row in rows]
    others = store.run_sync(
        lambda db: mail_store.unsettled(db, MessageKind.LOOKUP, OWN, 100, Lane.SINGLE, taken)
    )
    assert len(others) == 37
    assert not {row.number for row in others} & set(taken)


def test_a_batch_that_fills_its_places_keeps_no_single_lookup_waiting(store: Store) -> None:
    many = PLACES[Lane.BULK] + 2
    arrive(store, *[lookup_from("busy", 4) for _ in range(many)], lookup_from("asker"))
    in_hand: list[InboxRow] = []
    done: list[InboxRow] = []

    async def process(row: InboxRow) -> None:
        in_hand.append(row)
        if row.lane is Lane.BULK:
            await asyncio.Event().wait()  # a batch that never ends
        await store.run(lambda db: mail_store.settle(db, row.number))
        done.append(row)

    asyncio.run(work_off(store, process, lambda: bool(done)))
    assert [row.envelope.sender for row in done] == [NodeId("asker")]
    assert sum(row.lane is Lane.BULK for row in in_hand) == PLACES[Lane.BULK]


def test_each_message_is_processed_once_and_those_behind_a_bug_go_on(store: Store) -> None:
    arrive(store, *[lookup_from("asker", persons) for persons in (1, 4, 1, 1)])
    seen: list[int] = []

    async def process(row: InboxRow) -> None:
        seen.append(row.number)
        if len(seen) == 1:
            raise KeyError("a bug")
        await asyncio.sleep(0.05)
        await store.run(lambda db: mail_store.settle(db, row.number))

    def settled() -> bool:
        return store.run_sync(mail_store.counts).inbox_waiting == 0

    asyncio.run(work_off(store, process, settled))
    assert len(seen) == len(set(seen)) == 4
    assert store.run_sync(mail_store.counts).inbox_dropped == 1


def test_a_store_that_cannot_be_used_stops_the_worker_and_leaves_the_message(store: Store) -> None:
    arrive(store, lookup_from("asker"))

    async def process(row: InboxRow) -> None:
        raise StoreUnusable("The disk is full.")

    with pytest.raises(StoreUnusable):
        asyncio.run(work_off(store, process, lambda: False))
    assert store.run_sync(mail_store.counts).inbox_waiting == 1


# --- together ------------------------------------------------------------------------------------------


def test_what_waits_while_a_group_is_processed_goes_in_the_next_one(store: Store) -> None:
    arrive(store, *[lookup_from("asker") for _ in range(MAX_GROUP + 2)], lookup_from("busy", 4))
    groups: list[Sequence[InboxRow]] = []
    alone: list[InboxRow] = []

    async def together(rows: Sequence[InboxRow]) -> None:
        groups.append(rows)
        if len(groups) == 1:
            await asyncio.to_thread(arrive, store, lookup_from("busy"))
            await asyncio.sleep(0.1)
        await store.run(lambda db: mail_store.settle_all(db, [row.number for row in rows]))

    async def process(row: InboxRow) -> None:
        alone.append(row)
        await store.run(lambda db: mail_store.settle(db, row.number))

    def settled() -> bool:
        return store.run_sync(mail_store.counts).inbox_waiting == 0

    asyncio.run(work_off(store, process, settled, together))
    assert [len(rows) for rows in groups] == [MAX_GROUP, 3]
    assert [row.lane for row in alone] == [Lane.BULK]


def test_one_that_trips_a_bug_does_not_take_its_group_with_it(store: Store) -> None:
    arrive(store, *[lookup_from("asker") for _ in range(3)])
    done: list[int] = []

    async def together(rows: Sequence[InboxRow]) -> None:
        raise KeyError("a bug in one of them")

    async def process(row: InboxRow) -> None:
        if row.number == 2:
            raise KeyError("a bug")
        # Before it is settled: whoever waits for that stops this task at once.
        done.append(row.number)
        await store.run(lambda db: mail_store.settle(db, row.number))

    def settled() -> bool:
        return store.run_sync(mail_store.counts).inbox_waiting == 0

    asyncio.run(work_off(store, process, settled, together))
    assert done == [1, 3]
    assert store.run_sync(mail_store.counts).inbox_dropped == 1


def test_a_group_whose_store_cannot_be_used_stops_the_worker_and_stays(store: Store) -> None:
    arrive(store, lookup_from("asker"), lookup_from("asker"))

    async def process(row: InboxRow) -> None:
        raise AssertionError("what is not known to be a bug of one is not tried alone")

    async def together(rows: Sequence[InboxRow]) -> None:
        raise StoreUnusable("The disk is full.")

    with pytest.raises(StoreUnusable):
        asyncio.run(work_off(store, process, lambda: False, together))
    assert store.run_sync(mail_store.counts).inbox_waiting == 2


# --- straight into a hand --------------------------------------------------------------------------------


class Desk:
    """An inbox at work, and what its process saw; `gate` keeps messages in hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.may_judge = True
        self.seen: list[InboxRow] = []
        self.gate = asyncio.Event()
        self.reads = 0
        self.inbox = Inbox(
            MessageKind.LOOKUP, store, OWN, SystemClock(), self.process, lambda: self.may_judge
        )

    async def process(self, row: InboxRow) -> None:
        self.seen.append(row)
        await self.gate.wait()
        await self.store.run(lambda db: mail_store.finish(db, row, NOW))

    async def __aenter__(self) -> Desk:
        self.running = asyncio.create_task(self.inbox.run())
        await until(lambda: not self.inbox._behind and not self.inbox._closed)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def deliver(self, envelope: Envelope) -> None:
        await self.inbox.receive(envelope)

    def waiting(self) -> int:
        return self.store.run_sync(mail_store.counts).inbox_waiting


def test_what_arrives_while_nobody_waits_is_not_read_from_the_database(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with Desk(store) as desk:
            desk.gate.set()
            monkeypatch.setattr(mail_store, "unsettled", None)
            await desk.deliver(lookup_from("asker"))
            await until(lambda: desk.waiting() == 0)
            assert len(desk.seen) == 1

    asyncio.run(scene())


def test_what_arrives_while_the_database_is_read_is_processed_once(store: Store) -> None:
    async def scene() -> None:
        async with Desk(store) as desk:
            for _ in range(2 * PLACES[Lane.SINGLE]):
                await desk.deliver(lookup_from("asker"))
            assert len(desk.seen) <= PLACES[Lane.SINGLE]
            desk.gate.set()
            for _ in range(20):
                await desk.deliver(lookup_from("asker"))
            await until(lambda: desk.waiting() == 0)
            numbers = [row.number for row in desk.seen]
            assert len(numbers) == len(set(numbers)) == 2 * PLACES[Lane.SINGLE] + 20

    asyncio.run(scene())


def test_an_unstored_message_is_taken_only_by_a_free_hand_that_passes_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with Desk(store) as desk:
            desk.may_judge = False
            assert not await desk.inbox.take(mail_store.unstored(lookup_from("asker")))
            desk.may_judge = True
            taken = [
                asyncio.create_task(desk.inbox.take(mail_store.unstored(lookup_from("asker"))))
                for _ in range(PLACES[Lane.SINGLE])
            ]
            await until(lambda: len(desk.seen) == len(taken))
            assert not await desk.inbox.take(mail_store.unstored(lookup_from("asker")))
            await desk.deliver(lookup_from("busy"))
            # A hand is free, and one message waits for it.
            monkeypatch.setitem(PLACES, Lane.SINGLE, PLACES[Lane.SINGLE] + 1)
            assert not await desk.inbox.take(mail_store.unstored(lookup_from("asker")))
            assert desk.waiting() == 1
            desk.running.cancel()
            assert not any(await asyncio.gather(*taken))

    asyncio.run(scene())


def test_an_unstored_message_that_trips_a_bug_is_stored_as_dropped(store: Store) -> None:
    async def scene() -> None:
        async with Desk(store) as desk:

            async def bug(row: InboxRow) -> None:
                raise KeyError("a bug")

            desk.inbox._process = bug
            envelope = lookup_from("asker")
            assert await desk.inbox.take(mail_store.unstored(envelope))
            assert store.run_sync(mail_store.counts).inbox_dropped == 1
            assert await store.run(lambda db: mail_store.receive(db, envelope, NOW)) is None

    asyncio.run(scene())


def test_what_is_stored_though_its_delivery_was_broken_off_is_processed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends while the database writes: the hub hears nothing and may deliver it late."""
    began, receive = threading.Event(), mail_store.receive

    def slow(db: Database, envelope: Envelope, now: datetime) -> InboxRow | None:
        began.set()
        time.sleep(0.2)
        return receive(db, envelope, now)

    monkeypatch.setattr(mail_store, "receive", slow)

    async def scene() -> None:
        async with Desk(store) as desk:
            desk.gate.set()
            delivery = asyncio.create_task(desk.deliver(lookup_from("asker")))
            await until(began.is_set)
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            await until(lambda: len(desk.seen) == 1 and desk.waiting() == 0)

    asyncio.run(scene())


def test_what_arrives_while_a_group_is_processed_goes_in_the_next_one_without_being_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []

    async def scene() -> None:
        desk = Desk(store)

        async def together(rows: Sequence[InboxRow]) -> None:
            groups.append(len(rows))
            await desk.gate.wait()
            await store.run(lambda db: mail_store.settle_all(db, [row.number for row in rows]))

        desk.inbox._together = together
        async with desk:
            monkeypatch.setattr(mail_store, "unsettled", None)
            for _ in range(4):
                await desk.deliver(lookup_from("asker"))
            desk.gate.set()
            await until(lambda: desk.waiting() == 0)

    asyncio.run(scene())
    assert groups == [1, 3]


def test_what_cannot_be_judged_any_more_is_left_as_it_is(store: Store) -> None:
    """The log closed while a message was in hand (§15.6): nothing is dropped for it."""
    arrive(store, lookup_from("asker"))
    closed, seen = [True], list[int]()

    async def process(row: InboxRow) -> None:
        seen.append(row.number)
        if closed[0]:
            closed[0] = False
            raise LogUnwitnessed("The log is closed.")
        await store.run(lambda db: mail_store.settle(db, row.number))

    asyncio.run(work_off(store, process, lambda: len(seen) > 1))
    assert seen == [1, 1]
    assert store.run_sync(mail_store.counts).inbox_dropped == 0


def test_what_was_not_stored_and_cannot_be_judged_is_not_taken(store: Store) -> None:
    async def process(row: InboxRow) -> None:
        raise LogUnwitnessed("The log is closed.")

    async def scene() -> bool:
        inbox = Inbox(MessageKind.LOOKUP, store, OWN, SystemClock(), process, lambda: True)
        running = asyncio.create_task(inbox.run())
        await asyncio.sleep(0.05)
        taken = await inbox.take(mail_store.unstored(lookup_from("asker")))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return taken

    assert asyncio.run(scene()) is False


def test_a_group_that_cannot_be_judged_any_more_is_left_whole(store: Store) -> None:
    arrive(store, lookup_from("asker"), lookup_from("busy"))
    closed, seen = [True], list[int]()

    async def process(row: InboxRow) -> None:
        raise AssertionError("they go together")

    async def together(rows: Sequence[InboxRow]) -> None:
        seen.append(len(rows))
        if closed[0]:
            closed[0] = False
            raise LogUnwitnessed("The log is closed.")
        await store.run(lambda db: mail_store.settle_all(db, [row.number for row in rows]))

    asyncio.run(work_off(store, process, lambda: len(seen) > 1, together))
    assert seen == [2, 2]
