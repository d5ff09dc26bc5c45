"""The gate asked again: what time changes is stored, and said in the ledger (RECORDS.md §3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from candor_node import filing_lists, filings, ledger
from candor_node.due_process import refresh
from candor_node.store import Database, Store
from candor_records.gate import GateState, gate
from candor_records.policy import NoPack
from candor_records.records import Circumstances, Record, Standing
from tests.records import NOW, make_record, new_store

TODAY = date(2026, 3, 2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def active(**overrides: str) -> Record:
    return replace(make_record(**overrides), circumstances=Circumstances(standing=Standing.ACTIVE))


def test_refresh_writes_only_words_that_change_and_shows_all_it_asked(store: Store) -> None:
    same, changes = active(agency_record_id="A"), active(agency_record_id="B")
    stale = GateState(True, (), date(2029, 1, 1))
    store.run_sync(lambda db: filings.insert(db, same, gate(same, TODAY).state()))
    store.run_sync(lambda db: filings.insert(db, changes, stale))
    seen: list[Record] = []

    def work(db: Database) -> list[str]:
        written: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(filings, "set_gate", lambda _, record, state: written.append(str(record.dcn)))
            # Both stay open; of one, the day on which to ask again is another.
            assert refresh(db, NOW, NoPack(), every=True, seen=seen.append) == 0
        return written

    assert store.run_sync(work) == [str(changes.dcn)]
    assert seen == [same, changes]


def test_what_was_over_when_it_was_filed_expires_with_the_next_tick(store: Store) -> None:
    """Its gate has no day left to change on; a run of retention would never have destroyed it."""
    record = replace(make_record(), circumstances=Circumstances(expires_on=date(2024, 6, 14)))
    state = gate(record, TODAY).state()
    assert state.recheck_on is None
    store.run_sync(lambda db: filings.insert(db, record, state))
    store.run_sync(lambda db: refresh(db, NOW, NoPack()))
    (row,) = store.run_sync(filing_lists.summaries)
    assert row.standing is Standing.EXPIRED
    assert store.run_sync(lambda db: len(ledger.entries(db, event="record.expire"))) == 1
    store.run_sync(lambda db: refresh(db, NOW, NoPack()))
    assert store.run_sync(lambda db: len(ledger.entries(db, event="record.expire"))) == 1


def test_refresh_opens_and_closes_with_time_and_says_so_in_the_ledger(store: Store) -> None:
    record = make_record(finality="APPEAL_TIME_RUNNING", appeal_until="2026-03-10")
    record = replace(record, circumstances=Circumstances(expires_on=date(2026, 4, 1)))
    store.run_sync(lambda db: filings.insert(db, record, gate(record, TODAY).state()))

    def on(day: int, month: int = 3) -> tuple[int, int, bool]:
        now = datetime(2026, month, day, 23, tzinfo=UTC)
        changed = store.run_sync(lambda db: refresh(db, now, NoPack()))
        return changed, *store.run_sync(lambda db: (filing_lists.count(db)[1], bool(ledger.entries(db))))

    assert on(10) == (0, 0, False)
    assert on(11) == (1, 1, True)
    assert on(12) == (0, 1, True)
    assert on(31) == (0, 1, True)
    assert on(1, 4) == (1, 0, True)
    events = store.run_sync(lambda db: [entry.event for entry in ledger.entries(db)])
    assert events == ["record.opened", "record.expire", "record.held"]
    summary = store.run_sync(lambda db: filing_lists.summaries(db))[0]
    assert summary.standing is Standing.EXPIRED
    assert summary.gate.reasons == ("Fails: the time to keep this record ended on 2026-04-01.",)
