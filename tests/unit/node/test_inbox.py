"""The inbox is worked off fairly: between senders, and between single lookups and batches."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from candor_node import mail_store
from candor_node.app import MIGRATIONS
from candor_node.inbox import MAX_GROUP, PLACES, Inbox
from candor_node.mail_store import InboxRow
from candor_node.store import Store
from candor_node.workers import Lane
from candor_proto.errors import StoreUnusable
from candor_proto.ids import NodeId
from candor_proto.statements import LOOKUP_LIFE
from candor_wire.codec import Envelope, MessageKind
from tests.parties import MIKE, NOW, Parties
from tests.records import STORE_KEY

OWN = NodeId("owner")
PARTIES = Parties("asker", "busy", "owner")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "node.db", STORE_KEY, MIGRATIONS) as store:
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
    inbox = Inbox(MessageKind.LOOKUP, store, OWN, process, lambda: True, lambda: None, together)
    running = asyncio.create_task(inbox.run())
    try:
        async with asyncio.timeout(20):
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
        await store.run(lambda db: mail_store.settle(db, row.number))
        done.append(row.number)

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
