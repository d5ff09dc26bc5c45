"""What is stored of a flight is what goes on after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from candor_node import batch_store, flight_store
from candor_node.batch_file import read
from candor_node.batch_store import BatchRecord
from candor_node.drafting import Drafter
from candor_node.flights import Flight, PlannedRow, plan_row
from candor_node.store import Store
from candor_node.targets import TargetRow
from candor_node.workers import Workers
from candor_proto.directory import IndexHead
from candor_proto.errors import UnsupportedVersion
from candor_proto.exchange import LookupState, unblind
from candor_proto.ids import LookupShape, NodeId, Purpose
from candor_proto.result import TargetState
from candor_proto.scheme import CURRENT
from tests.empty import empty_store
from tests.parties import FEDERATION, NOW, Parties
from tests.records import STORE_KEY
from tests.schemes import NEXT, both_known

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
    with empty_store(tmp_path / "node.db", STORE_KEY) as store:
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
    (flight, *_), planned = draft_all(store, Indexes())
    return flight, planned


def draft_all(store: Store, indexes: Indexes) -> tuple[list[Flight], dict[int, PlannedRow]]:
    workers = Workers(1)
    rows = store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64))
    asker = PARTIES["asker"]
    drafter = Drafter(indexes, workers, FEDERATION, asker.node, asker.signing, Clock())  # type: ignore[arg-type]
    targets = drafter.targets()
    planned = [
        plan_row(row, LookupShape.DETAILED, Purpose.J_APPLICANT, frozenset(), tuple(targets.groups))
        for row in rows
    ]
    try:
        of_row = {row.number: row for row in rows}
        made = asyncio.run(drafter.draft(record_of(store), planned, 4, of_row, targets))
    finally:
        workers.close()
    return made, {row.number: row for row in planned}


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


# --- two schemes side by side --------------------------------------------------------------------------


def of_two_schemes(store: Store) -> tuple[Flight, Flight]:
    """A flight that holds the rows, under the newer scheme at the owner, and one beside it at the asker."""
    indexes = Indexes()
    indexes.held[NodeId("asker")] = PARTIES["asker"].head()
    indexes.held[NodeId("owner")] = replace(PARTIES["owner"].head(), scheme_version=NEXT.version)
    (first, beside), _ = draft_all(store, indexes)
    store_flight(store, first)
    store.run_sync(lambda db: flight_store.add_flight(db, beside))
    return first, beside


def test_flights_about_the_same_rows_under_two_schemes_share_nothing_and_come_back(store: Store) -> None:
    with both_known():
        first, beside = of_two_schemes(store)
        assert (first.draft.scheme_version, list(first.targets)) == (NEXT.version, [NodeId("owner")])
        assert (beside.draft.scheme_version, list(beside.targets)) == (CURRENT.version, [NodeId("asker")])
        assert (beside.first, beside.searches) == (first.lookup_id, first.searches)
        assert first.asked_beside == {NodeId("asker")}
        assert not first.settled
        seeds = {person.paperwork.filler_seed for flight in (first, beside) for person in flight.persons}
        assert len(seeds) == 8
        for flight in (first, beside):
            again = store.run_sync(partial(flight_store.load_flight, lookup_id=flight.lookup_id))
            assert again is not None
            assert again.draft == flight.draft
    with pytest.raises(UnsupportedVersion):
        store.run_sync(lambda db: flight_store.load_flight(db, first.lookup_id))


def test_rows_that_another_flight_carries_do_not_wait_again(store: Store) -> None:
    with both_known():
        first, beside = of_two_schemes(store)
    waiting = store.run_sync(lambda db: flight_store.deny_flight(db, first, "denied"))
    assert not waiting
    assert store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64)) == []
    own = store.run_sync(lambda db: flight_store.targets(db, first.lookup_id))
    found = store.run_sync(lambda db: flight_store.targets_beside(db, first.lookup_id, own))
    assert {str(node): row.state for node, row in found.items()} == {
        "owner": TargetState.REFUSED,
        "asker": TargetState.PENDING,
    }
    assert store.run_sync(lambda db: flight_store.deny_flight(db, beside, "denied"))
    assert len(store.run_sync(lambda db: batch_store.waiting(db, BATCH, 64))) == 3


def test_a_flight_beside_that_was_denied_is_in_the_coverage(store: Store) -> None:
    """Its nodes were not asked: without them the coverage would be complete, and NO_RECORD."""
    with both_known():
        first, beside = of_two_schemes(store)
    assert not store.run_sync(lambda db: flight_store.deny_flight(db, beside, "denied"))
    found = store.run_sync(lambda db: flight_store.targets_beside(db, first.lookup_id, first.targets))
    assert found[NodeId("asker")] == TargetRow(TargetState.REFUSED, "denied")
    times = store.run_sync(lambda db: flight_store.times_asked(db, first.lookup_id, NodeId("owner")))
    assert times == 1
