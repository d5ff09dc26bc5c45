"""Records as rows: sealed one by one, each bound to its number (RECORDS.md §3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import filing_lists, filings, record_seals
from candor_node.store import Store
from candor_proto.errors import SealedDataInvalid, UnknownObject
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.content import IDENTITY_FIELDS, FieldInvalid, content_fields
from candor_records.dispute import DisputeGround, open_dispute
from candor_records.gate import GateState, gate
from candor_records.record_fields import parse
from candor_records.records import Circumstances, Dcn, ReportType, Standing, following, initial
from candor_records.template import example
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, make_content, make_record, make_row, new_store

OPEN = GateState(True, (), None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def test_record_is_found_again_whole(store: Store) -> None:
    dispute = open_dispute(None, DisputeGround.WRONG_PERSON, NOW.date(), str(make_record().dcn))
    record = replace(
        make_record(),
        expires_on=NOW.date(),
        circumstances=Circumstances(
            standing=Standing.ACTIVE,
            sharing=Sharing.RED,
            reviewed=False,
            sealed_by_order=True,
            legal_hold=True,
            review_on=NOW.date(),
            expires_on=NOW.date(),
            dispute=dispute,
            subject_statement="Not me.",
        ),
    )
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    assert store.run_sync(lambda db: filings.find(db, record.dcn)) == record
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001")) == record
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0002")) is None
    assert record.wrong_person_disputed
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: filings.find(db, Dcn.draw()))


def test_a_record_is_read_back_whatever_is_refused_since(store: Store) -> None:
    """A pattern that is added later may not make what was filed before unreadable."""
    old = replace(make_content(), narrative="A Garrity statement of long ago.")
    assert parse(content_fields(old))[0] is None
    record = replace(make_record(), content=old)
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    assert store.run_sync(lambda db: filings.find(db, record.dcn)) == record


@pytest.mark.parametrize("kind", RecordKind)
def test_fields_of_every_kind_are_found_again(store: Store, kind: RecordKind) -> None:
    content, _ = parse(example(kind))
    assert content is not None
    record = initial(content, NOW, ORI, NODE, CONTRIBUTOR)
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    assert store.run_sync(lambda db: filings.find(db, record.dcn)).content == content


def test_new_version_takes_the_place_of_the_old_one_which_stays(store: Store) -> None:
    first = make_record()
    second = following(first, make_content(first="Corwin"), NOW + timedelta(days=1), "clerk-9")
    store.run_sync(lambda db: filings.insert(db, first, gate(first, NOW.date()).state()))
    store.run_sync(lambda db: filings.insert(db, second, OPEN))
    assert (second.version, second.report_type, second.previous_dcn) == (2, ReportType.CORRECTION, first.dcn)
    assert second.dcn != first.dcn
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001")) == second
    assert store.run_sync(lambda db: filings.find(db, first.dcn)) == first
    assert store.run_sync(filing_lists.count) == (1, 1)
    assert [entry.version for entry in store.run_sync(filing_lists.summaries)] == [2]
    assert store.run_sync(lambda db: filings.versions(db, first.record_id)) == [first, second]


def test_version_that_follows_an_old_state_is_refused(store: Store) -> None:
    first = make_record()
    store.run_sync(lambda db: filings.insert(db, first, OPEN))
    second = following(first, make_content(first="Corwin"), NOW, "clerk-9")
    store.run_sync(lambda db: filings.insert(db, second, OPEN))
    for stale in (following(first, make_content(first="Aldo"), NOW, "clerk-9"), make_record()):
        with pytest.raises(FieldInvalid, match="changed in the meantime"):
            store.run_sync(lambda db, record=stale: filings.insert(db, record, OPEN))  # type: ignore[misc]


def test_row_in_the_open_names_nobody(store: Store) -> None:
    """Everything but `sealed` is readable to whoever reads the table, for filtering."""
    row = make_row(former_last="Formerly")
    record = make_record(former_last="Formerly")
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    stored = store.run_sync(lambda db: next(iter(db.execute("SELECT * FROM records"))))
    text = repr(stored)
    for name in (*IDENTITY_FIELDS, "agency_record_id", "narrative"):
        if len(row[name]) > 2:
            assert row[name] not in text


def test_no_row_prints_what_names_anybody(store: Store) -> None:
    row = make_row(former_last="Formerly", suffix="Jr", narrative="A telling story.")
    content, _ = parse(row)
    assert content is not None
    record = replace(
        make_record(), content=content, circumstances=Circumstances(subject_statement="I was not there.")
    )
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    summary = store.run_sync(lambda db: filing_lists.summaries(db))
    sealed = store.run_sync(lambda db: filings.sealed_current(db))
    shown = repr((summary, sealed))
    hidden = [row[name] for name in IDENTITY_FIELDS if len(row[name]) > 2]
    for value in (*hidden, row["narrative"], row["agency_record_id"], "I was not there."):
        assert value not in shown


def test_destroyed_key_takes_the_record_with_it(store: Store) -> None:
    record = make_record()
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    keys = store.run_sync(lambda db: [row[0] for row in db.execute("SELECT key FROM record_keys")])
    assert len(keys) == 1
    store.run_sync(lambda db: record_seals.destroy_key(db, record.record_id))
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: filings.find(db, record.dcn))
    assert store.run_sync(lambda db: filings.sealed_current(db)) == []
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001")) is None


def test_every_record_has_one_key_of_its_own(store: Store) -> None:
    first = make_record()
    second = following(first, make_content(first="Corwin"), NOW, "clerk-9")
    other = make_record(agency_record_id="IA-2")
    for record in (first, second, other):
        store.run_sync(lambda db, record=record: filings.insert(db, record, OPEN))  # type: ignore[misc]
    keys = store.run_sync(lambda db: {row[0] for row in db.execute("SELECT key FROM record_keys")})
    assert len(keys) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET sealed = (SELECT sealed FROM records WHERE dcn = :other)",
        "UPDATE records SET version = 2",
        "UPDATE records SET sealed = substr(sealed, 1, length(sealed) - 1)",
    ],
)
def test_altered_or_moved_row_does_not_open(store: Store, statement: str) -> None:
    one, other = make_record(), make_record(agency_record_id="IA-2")
    for record in (one, other):
        store.run_sync(lambda db, record=record: filings.insert(db, record, OPEN))  # type: ignore[misc]
    where = f"{statement} WHERE dcn = :dcn"
    store.run_sync(lambda db: db.execute(where, {"dcn": str(one.dcn), "other": str(other.dcn)}))
    with pytest.raises(SealedDataInvalid):
        store.run_sync(lambda db: filings.find(db, one.dcn))


def test_row_under_another_number_does_not_open(store: Store) -> None:
    """An older version in the place of the newer one, under the same key: only what it is bound to tells."""
    one = make_record()
    other = following(one, make_content(first="Corwin"), NOW, "clerk-9")
    for record in (one, other):
        store.run_sync(lambda db, record=record: filings.insert(db, record, OPEN))  # type: ignore[misc]
    sql = "UPDATE records SET sealed = (SELECT sealed FROM records WHERE dcn = ?) WHERE dcn = ?"
    store.run_sync(lambda db: db.execute(sql, [str(one.dcn), str(other.dcn)]))
    with pytest.raises(SealedDataInvalid):
        store.run_sync(lambda db: filings.find(db, other.dcn))
