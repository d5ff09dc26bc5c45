"""What is stored of a flight is what goes on after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from candor_node import batch_store, flight_store
from candor_node.app import MIGRATIONS
from candor_node.batch_file import read
from candor_node.batch_store import BatchRecord
from candor_node.drafting import Drafter
from candor_node.flights import Flight, PlannedRow, plan_row
from candor_node.store import Store
from candor_node.workers import Workers
from candor_proto.directory import IndexHead
from candor_proto.exchange import LookupState, unblind
from candor_proto.ids import LookupShape, NodeId, Purpose
from tests.parties import FEDERATION, NOW, Parties
from tests.records import STORE_KEY

PARTIES = Parties("asker", "owner")
BATCH = bytes(range(16))
CONTENT = (
    b"last,first,birth_date,ssn4\nSchmidt,Mike,1980-11-02,4071\nDoe,Jo,1990-02-03,0071\nPoe,Al,1991-01-01,\n"
)


class Clock:
    def now(self) -> Any:
        return NOW


class Indexes:
    """Stands for the index client: a verified directory and the heads held."""

    def __init__(self) -> None:
        self.held = {NodeId("owner"): PARTIES["owner"].head()}

    def require_directory(self) -> Any:
        return PARTIES.verified()

    def heads(self) -> dict[NodeId, IndexHead]:
        return self.held


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "node.db", STORE_KEY, MIGRATIONS) as store:
        columns, rows = read(CONTENT)
        papers = {"case_number": "REQ-1", "consent": "CONSENT-1", "officer": "Inv. Roe"}

        def fill(db: Any) -> None:
            batch_store.add(
                db, BATCH, bytes(32), Purpose.J_APPLICANT, LookupShape.DETAILED, columns.names, 30.0, NOW
            )
            batch_store.add_rows(db, BATCH, list(rows), papers)
            batch_store.set_state(db, BATCH, batch_store.RUNNING, "", NOW)

        store.run_sync(fill)
        yield store


def record_of(store: Store) -> BatchRecord:
    (record,) = store.run_sync(batch_store.unfinished)
    return record


def draft(store: Store) -> tuple[Flight, dict[int, PlannedRow]]:
    workers, indexes = Workers(1), Indexes()
    rows = store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64))
    planned = [plan_row(row, LookupShape.DETAILED, Purpose.J_APPLICANT, frozenset()) for row in rows]
    asker = PARTIES["asker"]
    drafter = Drafter(indexes, workers, FEDERATION, asker.node, asker.signing, Clock())  # type: ignore[arg-type]
    try:
        of_row = {row.number: row for row in rows}
        (flight,) = asyncio.run(drafter.draft(record_of(store), planned, 4, of_row, drafter.targets()))
    finally:
        workers.close()
    return flight, {row.number: row for row in planned}


def store_flight(store: Store, flight: Flight) -> None:
    rows = {row.number: row for row in store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64))}

    def work(db: Any) -> None:
        flight_store.add_searches(db, flight, {number: (row, 1, False) for number, row in rows.items()})
        flight_store.add_flight(db, flight)

    store.run_sync(work)


def test_a_row_is_asked_once_from_the_moment_its_flight_is_stored(store: Store) -> None:
    flight, _ = draft(store)
    store_flight(store, flight)
    assert store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64)) == []
    assert store.run_sync(lambda db: batch_store.counts(db, BATCH)).asked == 3


def test_a_flight_comes_back_with_the_very_blinds_that_unblind_its_answer(store: Store) -> None:
    flight, _ = draft(store)
    store_flight(store, flight)
    again = store.run_sync(lambda db: flight_store.load_flight(db, flight.lookup_id))
    assert again is not None
    assert again.draft.statement == flight.draft.statement
    assert again.persons == flight.persons
    assert again.searches == flight.searches
    owner = PARTIES["owner"]
    answer = owner.evaluate(flight.draft.lookup)
    assert unblind(again.draft, answer, owner.head()) == unblind(flight.draft, answer, owner.head())


def test_what_the_hub_denied_waits_again_under_another_id(store: Store) -> None:
    flight, _ = draft(store)
    store_flight(store, flight)
    store.run_sync(lambda db: flight_store.deny_flight(db, flight, "denied"))
    assert len(store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64))) == 3
    known = store.run_sync(lambda db: flight_store.load_flight(db, flight.lookup_id))
    assert known is not None
    assert known.state is LookupState.DENIED
    second, _ = draft(store)
    store_flight(store, second)
    assert second.lookup_id != flight.lookup_id


def test_a_batch_that_a_crash_kept_from_being_stored_whole_is_forgotten(store: Store) -> None:
    store.run_sync(lambda db: batch_store.set_state(db, BATCH, batch_store.LOADING, "", NOW))
    store.run_sync(batch_store.forget_half_loaded)
    assert store.run_sync(lambda db: batch_store.find(db, BATCH)) is None
    assert store.run_sync(lambda db: batch_store.counts(db, BATCH)).rows == 0
