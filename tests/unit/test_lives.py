"""The invariants checker finds what it says it looks for (tests.lives): one planted fault each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import importer, lifecycle
from candor_node.lifecycle import Doing
from candor_node.store import Store
from candor_records.policy import NoPack
from candor_records.records import Dcn
from tests.lives import violations
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, csv_bytes, generated_rows, make_row, new_store

LATER = NOW + timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three records: one corrected, one expunged, one as it was filed."""
    with new_store(tmp_path) as store:
        for rows, now in (([make_row(), *generated_rows(2)], NOW), ([make_row(ssn4="4822")], LATER)):
            store.run_sync(
                lambda db, rows=rows, now=now: importer.import_csv(  # type: ignore[misc]
                    db, csv_bytes(rows), now, ORI, NODE, CONTRIBUTOR
                )
            )
        (dcn,) = store.run_sync(
            lambda db: db.execute("SELECT dcn FROM record_heads ORDER BY filed_at LIMIT 1").fetchone()
        )
        doing = Doing(LATER, CONTRIBUTOR, NoPack())
        store.run_sync(lambda db: lifecycle.expunge(db, Dcn(dcn), doing))
        yield store


def test_sound_database_has_nothing_to_say(store: Store) -> None:
    assert violations(store, LATER) == []


ONE = "(SELECT record_id FROM records WHERE version = 2)"
GONE = "(SELECT record_id FROM record_heads WHERE standing = 'EXPUNGED')"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"UPDATE records SET current = 0 WHERE record_id = {ONE}", "current"),
        ("UPDATE records SET previous_dcn = NULL", "follow each other"),
        (f"UPDATE records SET version = 3 WHERE record_id = {ONE} AND version = 2", "count from one"),
        (f"UPDATE record_heads SET matchable = 0 WHERE record_id = {ONE}", "gate says something else"),
        (f"UPDATE record_heads SET standing = 'HELD' WHERE record_id = {ONE}", "stands as HELD"),
        (f"UPDATE record_heads SET standing = 'VOID' WHERE record_id = {GONE}", "stands as VOID"),
        (f"DELETE FROM record_keys WHERE record_id = {ONE}", "nobody destroyed it"),
        (f"INSERT INTO record_keys VALUES ({GONE}, zeroblob(32))", "key is still there"),
        (f"UPDATE records SET sealed = x'00' WHERE record_id = {GONE}", "something that it said is left"),
        ("DROP TRIGGER record_events_keep; DELETE FROM record_events", "history"),
        (
            "INSERT INTO records SELECT 'X', record_id, 3, dcn, report_type, 0, created_at, content_mac,"
            " sealed"
            f" FROM records WHERE record_id = {ONE} AND version = 2",
            "not in the ledger",
        ),
        ("DROP TRIGGER ledger_stays; UPDATE ledger SET refs = '{}' WHERE number = 1", "ledger"),
    ],
)
def test_planted_fault_is_found(store: Store, statement: str, words: str) -> None:
    for part in statement.split("; "):
        store.run_sync(lambda db, part=part: db.execute(part))  # type: ignore[misc]
    found = violations(store, LATER)
    assert any(re.search(words, sentence) for sentence in found), found
