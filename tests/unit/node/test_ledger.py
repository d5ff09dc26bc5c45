"""The ledger keeps everything, names nobody, and shows when it was touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candor_node import ledger
from candor_node.store import Database, IntegrityError, Store
from candor_proto.errors import InputInvalid, StoreUnusable
from tests.records import NOW, new_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def fill(db: Database) -> None:
    for number in range(6):
        refs = {"dcn": f"DCN{number}", "node": "springfield-pd"}
        ledger.append(db, NOW + timedelta(seconds=number), "record.filed", refs, {"version": number})
    ledger.append(db, NOW + timedelta(days=1), "lookup.asked", {"lookup_id": "aa" * 16}, {"elements": 16})


def tamper(db: Database, *statements: str) -> None:
    """What somebody with the database key could do: the triggers are no obstacle to them."""
    db.execute("DROP TRIGGER ledger_keeps")
    db.execute("DROP TRIGGER ledger_stays")
    for statement in statements:
        db.execute(statement)


def test_entries_come_back_as_they_were_written(store: Store) -> None:
    store.run_sync(fill)
    entries = store.run_sync(lambda db: ledger.entries(db))
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5, 6, 7]
    assert entries[2].at == NOW + timedelta(seconds=2)
    assert entries[2].event == "record.filed"
    assert entries[2].refs == {"dcn": "DCN2", "node": "springfield-pd"}
    assert entries[2].details == {"version": 2}
    assert store.run_sync(ledger.verify) == 7


def test_entries_are_narrowed_by_event_area_and_reference(store: Store) -> None:
    store.run_sync(fill)

    def numbers(**narrowing: object) -> list[int]:
        return [
            entry.number
            for entry in store.run_sync(lambda db: ledger.entries(db, **narrowing))  # type: ignore[arg-type]
        ]

    assert numbers(event="lookup") == [7]
    assert numbers(event="lookup.asked") == [7]
    assert numbers(event="look") == []
    assert numbers(ref=("dcn", "DCN4")) == [5]
    assert numbers(ref=("node", "springfield-pd"), after=4) == [5, 6]
    assert numbers(limit=2) == [1, 2]
    assert numbers(ref=("dcn", "' OR 1=1 --")) == []


def test_what_cannot_be_logged_is_not_done(store: Store) -> None:
    def work(db: Database) -> None:
        db.execute("INSERT INTO node_secrets VALUES ('x', x'00')")
        ledger.append(db, NOW, "disclosure.released", {}, {"last": "Placeholderson"})

    with pytest.raises(AssertionError, match="no place for 'last'"):
        store.run_sync(work)
    rows = store.run_sync(lambda db: list(db.execute("SELECT name FROM node_secrets WHERE name = 'x'")))
    assert rows == []


def test_entry_goes_when_its_transaction_goes(store: Store) -> None:
    def work(db: Database) -> None:
        ledger.append(db, NOW, "disclosure.released")
        raise InputInvalid("no")

    with pytest.raises(InputInvalid):
        store.run_sync(work)
    assert store.run_sync(ledger.verify) == 0
    assert store.run_sync(ledger.head) == (0, bytes(32))


@pytest.mark.parametrize(
    ("event", "refs", "details"),
    [
        ("Released", {}, {}),
        ("released", {}, {}),
        ("disclosure.released", {"dcn": "Quentin Placeholderson"}, {}),
        ("disclosure.released", {"dcn": ""}, {}),
        ("disclosure.released", {"first": "x"}, {}),
        ("disclosure.released", {}, {"birth_date": "1984"}),
        ("disclosure.released", {}, {"narrative": "x"}),
        ("disclosure.released", {}, {"note": "x" * 501}),
        ("disclosure.released", {}, {"Note": "x"}),
    ],
)
def test_entry_that_could_name_somebody_is_a_bug(
    store: Store, event: str, refs: dict[str, str], details: dict[str, ledger.Value]
) -> None:
    with pytest.raises(AssertionError):
        store.run_sync(lambda db: ledger.append(db, NOW, event, refs, details))


def test_nobody_changes_or_deletes_an_entry_by_accident(store: Store) -> None:
    store.run_sync(fill)
    for statement in ("DELETE FROM ledger", "UPDATE ledger SET event = 'a.b'"):
        with pytest.raises(IntegrityError, match="append-only"):
            store.run_sync(lambda db, sql=statement: db.execute(sql))  # type: ignore[misc]
    assert store.run_sync(ledger.verify) == 7


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE ledger SET details = '{\"version\":9}' WHERE number = 3", "entry 3 was changed"),
        ("UPDATE ledger SET refs = '{}' WHERE number = 1", "entry 1 was changed"),
        ("UPDATE ledger SET event = 'record.held' WHERE number = 6", "entry 6 was changed"),
        ("UPDATE ledger SET at = at + 1 WHERE number = 7", "entry 7 was changed"),
        ("UPDATE ledger SET digest = zeroblob(32) WHERE number = 2", "entry 2 was changed"),
        ("DELETE FROM ledger WHERE number = 4", "entry 4 is missing"),
        ("DELETE FROM ledger WHERE number = 7", "entries behind 6 are missing"),
        ("DELETE FROM ledger", "entries behind 0 are missing"),
        ("UPDATE ledger_head SET number = 6", "entries behind 7 are missing"),
        ("DELETE FROM ledger_head", "entries behind 7 are missing"),
    ],
)
def test_tampering_shows(store: Store, statement: str, words: str) -> None:
    store.run_sync(fill)
    store.run_sync(lambda db: tamper(db, statement))
    with pytest.raises(StoreUnusable, match=words):
        store.run_sync(ledger.verify)


def test_swapped_entries_show(store: Store) -> None:
    store.run_sync(fill)
    statements = [
        "UPDATE ledger SET number = -1 WHERE number = 2",
        "UPDATE ledger SET number = 2 WHERE number = 3",
        "UPDATE ledger SET number = 3 WHERE number = -1",
    ]
    store.run_sync(lambda db: tamper(db, *statements))
    with pytest.raises(StoreUnusable, match="entry 2 was changed"):
        store.run_sync(ledger.verify)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    refs=st.dictionaries(
        st.sampled_from(["dcn", "node", "epoch", "purpose"]),
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/#-]{0,20}", fullmatch=True),
    ),
    details=st.dictionaries(
        st.sampled_from(["count", "reason", "status"]),
        st.one_of(st.text(max_size=40), st.integers(), st.booleans()),
    ),
)
def test_whatever_was_written_verifies(
    store: Store, refs: dict[str, str], details: dict[str, ledger.Value]
) -> None:
    number = store.run_sync(lambda db: ledger.append(db, NOW, "a.b", refs, details))
    assert store.run_sync(ledger.verify) == number
    entry = store.run_sync(lambda db: ledger.entries(db, after=number - 1))[0]
    assert (entry.refs, entry.details) == (refs, details)
