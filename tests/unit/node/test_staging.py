"""An import that waits: sealed, invisible, and records only as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from candor_node import filing_lists, filings, history, importer, ledger, lifecycle, record_digests, staging
from candor_node.import_outcome import ImportReport, Outcome, Status
from candor_node.importer import GivenRow, Import
from candor_node.lifecycle import Doing
from candor_node.store import Database, Store
from candor_proto.errors import InputInvalid
from candor_proto.policy import Sharing
from candor_records.content import CONTENT_FIELDS
from candor_records.life import Act
from candor_records.policy import NoPack
from candor_records.records import Dcn, Record, Standing
from tests.records import (
    CONTRIBUTOR,
    NODE,
    NOW,
    ORI,
    STORE_KEY,
    generated_rows,
    make_content,
    make_row,
    new_store,
)

Rows = Sequence[dict[str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def begun(
    store: Store, *, days: int = 0, allow_duplicates: bool = True, pass_over_ended: bool = False
) -> Import:
    doing = Doing(NOW + timedelta(days=days), CONTRIBUTOR, NoPack())

    def work(db: Database) -> Import:
        staging.begin(db)
        secret = record_digests.digest_secret(db)
        return Import(
            doing,
            ORI,
            NODE,
            CONTENT_FIELDS,
            secret,
            allow_duplicates=allow_duplicates,
            pass_over_ended=pass_over_ended,
        )

    return store.run_sync(work)


def stage(store: Store, work: Import, rows: Rows) -> list[Outcome]:
    read = work.read(
        GivenRow(number, [row[name] for name in CONTENT_FIELDS]) for number, row in enumerate(rows, 2)
    )
    known = store.run_sync(lambda db: work.look_up(db, read))
    outcomes, staged = work.plan(read, known)
    if work.storing:
        store.run_sync(lambda db: staging.add(db, staged))
    return outcomes


def finish(
    store: Store, work: Import, propose: importer.ProposeOpening = importer.no_opening
) -> ImportReport:
    report = store.run_sync(lambda db: work.finish(db, propose))
    while not store.run_sync(staging.clear):
        pass
    return report


def filed(store: Store, rows: Rows, *, days: int = 0) -> ImportReport:
    work = begun(store, days=days)
    stage(store, work, rows)
    return finish(store, work)


def found(store: Store, agency_record_id: str = "IA-2021-0001") -> Record:
    record = store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, agency_record_id))
    assert record is not None
    return record


# --- while it waits ----------------------------------------------------------------------------------


def test_what_waits_is_no_record_and_opens_for_nobody_else(store: Store) -> None:
    work = begun(store)
    stage(store, work, list(generated_rows(5)))
    assert store.run_sync(filing_lists.count) == (0, 0)
    assert store.run_sync(lambda db: ledger.head(db)[0]) == 0
    rows = store.run_sync(lambda db: list(db.execute("SELECT * FROM staged_records")))
    heads = store.run_sync(lambda db: list(db.execute("SELECT * FROM staged_heads")))
    assert len(rows) == len(heads) == 5
    assert store.run_sync(lambda db: db.execute("SELECT count(*) FROM record_keys").fetchone()[0]) == 0
    told = b"".join(
        cell if isinstance(cell, bytes) else str(cell).encode() for row in (*rows, *heads) for cell in row
    )
    for row in generated_rows(5):
        assert row["last"].encode() not in told
    # The keys come from the import itself: another one's do not open them.
    record_id = store.run_sync(lambda db: db.execute("SELECT record_id FROM staged_records").fetchone()[0])
    assert staging.Seals().record_key(record_id) != staging.Seals().record_key(record_id)


def test_what_a_dead_import_left_is_dropped_and_the_next_goes_ahead(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        stage(store, begun(store), list(generated_rows(5)))
    with Store.open(tmp_path / "node.db", STORE_KEY) as store:
        store.run_sync(staging.clear_all)
        tables = store.run_sync(lambda db: [name for name in db.table_names() if name.startswith("staged")])
        assert tables == []
        assert filed(store, list(generated_rows(3))).new == 3
        assert store.run_sync(filing_lists.count) == (3, 3)


def test_leftovers_are_dropped_in_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_CLEARED_AT_ONCE", 2)
    stage(store, begun(store), list(generated_rows(5)))
    steps = 0
    while not store.run_sync(staging.clear):
        steps += 1
    assert steps > 2


# --- becoming records --------------------------------------------------------------------------------


def test_records_made_at_once_are_as_those_filed_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with new_store(tmp_path / "one") as at_once, new_store(tmp_path / "two") as singly:
        filed(at_once, [make_row()])
        doing = Doing(NOW, CONTRIBUTOR, NoPack())
        singly.run_sync(lambda db: lifecycle.file(db, make_content(), ORI, NODE, doing))
        records = [found(each) for each in (at_once, singly)]
        same = [replace(each, dcn=records[0].dcn, record_id=records[0].record_id) for each in records]
        assert same[0] == same[1]
        for each in (at_once, singly):
            record = found(each)
            (event,) = each.run_sync(partial(history.events, record_id=record.record_id))
            assert (event.act, event.by, event.at, event.dcn) == (Act.FILE, CONTRIBUTOR, NOW, record.dcn)
            entry = each.run_sync(lambda db: ledger.entries(db, event="record.filed"))[0]
            assert (entry.refs, entry.details) == (
                {"dcn": str(record.dcn), "user": CONTRIBUTOR},
                {"act": "FILE", "standing": "ACTIVE", "report_type": "INITIAL", "changed": ""},
            )
            each.run_sync(ledger.verify)


def test_end_that_fails_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filed(store, [make_row()])
    before = store.run_sync(ledger.head)
    work = begun(store, days=1)
    stage(store, work, [make_row(narrative="Corrected."), *generated_rows(3)])

    def breaks(*_: object) -> None:
        raise InputInvalid("The disk is full.")

    monkeypatch.setattr(importer.Import, "_share", breaks)
    with pytest.raises(InputInvalid):
        finish(store, work)
    assert store.run_sync(filing_lists.count) == (1, 1)
    assert store.run_sync(ledger.head) == before
    assert found(store).version == 1
    assert store.run_sync(lambda db: db.execute("SELECT count(*) FROM record_keys").fetchone()[0]) == 1


def test_record_filed_by_somebody_else_meanwhile_undoes_the_import(store: Store) -> None:
    work = begun(store)
    stage(store, work, [make_row(), *generated_rows(3)])
    doing = Doing(NOW, "clerk-8", NoPack())
    store.run_sync(lambda db: lifecycle.file(db, make_content(), ORI, NODE, doing))
    with pytest.raises(InputInvalid, match="by somebody else"):
        finish(store, work)
    assert store.run_sync(filing_lists.count) == (1, 1)


def test_record_changed_by_somebody_else_meanwhile_undoes_the_import(store: Store) -> None:
    filed(store, [make_row()])
    work = begun(store, days=1)
    stage(store, work, [make_row(narrative="Ours."), *generated_rows(3)])
    doing = Doing(NOW + timedelta(hours=1), "clerk-8", NoPack())
    theirs = make_content(narrative="Theirs.")
    store.run_sync(lambda db: lifecycle.correct(db, found_dcn(db), theirs, doing))
    with pytest.raises(InputInvalid, match="by somebody else"):
        finish(store, work)
    assert found(store).content.narrative == "Theirs."
    assert store.run_sync(filing_lists.count) == (1, 1)


def found_dcn(db: Database) -> Dcn:
    filing = filings.current_filing(db, ORI, "IA-2021-0001")
    assert filing is not None
    return filing.dcn


# --- what a changed row is ---------------------------------------------------------------------------


def test_changed_row_is_filed_as_what_it_is(store: Store) -> None:
    filed(store, [make_row()])
    work = begun(store, days=1)
    (outcome,) = stage(store, work, [make_row(finality="APPEAL_PENDING")])
    assert (outcome.status, outcome.report, outcome.held) == (Status.CHANGED, "NOTICE_OF_APPEAL", ("final",))
    report = finish(store, work)
    assert (report.changed, report.held, report.reports) == (1, 1, {"NOTICE_OF_APPEAL": 1})
    assert found(store).circumstances.standing is Standing.HELD


def test_row_of_another_kind_is_refused(store: Store) -> None:
    filed(store, [make_row()])
    work = begun(store, days=1)
    (outcome,) = stage(store, work, [make_row(record_kind="SUSTAINED_FORCE_FINDING")])
    assert outcome.status is Status.REFUSED
    assert outcome.problems[0].column == "record_kind"


# --- sharing -----------------------------------------------------------------------------------------


def test_what_is_red_is_opened_by_no_import(store: Store) -> None:
    filed(store, [make_row(sharing="RED")])
    asked: list[str] = []

    def ask(db: Database, record: Record, sharing: Sharing) -> None:
        asked.append(str(record.dcn))

    for change in ({}, {"narrative": "Corrected."}):
        work = begun(store, days=1)
        stage(store, work, [make_row(sharing="GREEN", **change)])
        report = finish(store, work, ask)
        assert (report.opening, found(store).sharing) == (1, Sharing.RED)
        assert asked[-1] == str(found(store).dcn)
    assert len(asked) == 2


def test_other_choices_of_the_file_are_followed_once(store: Store) -> None:
    filed(store, [make_row(sharing="GREEN")])
    report = filed(store, [make_row(sharing="RED")], days=1)
    assert (report.changed, report.reports) == (1, {"CHANGE_SHARING": 1})
    assert (found(store).sharing, found(store).version) == (Sharing.RED, 1)
    assert filed(store, [make_row(sharing="RED")], days=2).unchanged == 1


def test_what_people_decided_since_stands_against_the_nightly_export(store: Store) -> None:
    filed(store, [make_row(sharing="YELLOW")])
    record = found(store)
    closed = replace(record.circumstances, sharing=Sharing.RED)
    doing = Doing(NOW + timedelta(days=1), "clerk-8", NoPack())
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.CHANGE_SHARING, doing, closed))
    assert filed(store, [make_row(sharing="YELLOW")], days=2).unchanged == 1
    assert found(store).sharing is Sharing.RED


# --- likely duplicates -------------------------------------------------------------------------------


def test_twin_of_a_record_and_of_a_row_waits_for_a_persons_word(store: Store) -> None:
    filed(store, [make_row()])
    twin = make_row(agency_record_id="IA-2", last="PLACEHOLDERSON ", first="Quentin")
    other = make_row(agency_record_id="IA-3", birth_date="1980-01-02")
    again = make_row(agency_record_id="IA-4", birth_date="1980-01-02")
    work = begun(store, allow_duplicates=False)
    outcomes = stage(store, work, [twin, other, again])
    assert [outcome.status for outcome in outcomes] == [Status.DUPLICATE, Status.NEW, Status.DUPLICATE]
    assert str(found(store).dcn) in outcomes[0].problems[0].reason
    assert "in row 3" in outcomes[2].problems[0].reason
    assert (work.storing, work.report().duplicates) == (False, 2)


@pytest.mark.parametrize(
    "columns", [{"effective_on": "2021-06-15"}, {"birth_date": "1984-07-24"}, {"first": "Quentina"}]
)
def test_another_day_or_person_is_no_twin(store: Store, columns: dict[str, str]) -> None:
    filed(store, [make_row()])
    work = begun(store, allow_duplicates=False)
    (outcome,) = stage(store, work, [make_row(agency_record_id="IA-2", **columns)])
    assert outcome.status is Status.NEW


def test_digest_of_the_person_goes_with_the_record(store: Store) -> None:
    filed(store, [make_row()])
    doing = Doing(NOW + timedelta(days=1), CONTRIBUTOR, NoPack(), second="chief")
    store.run_sync(lambda db: lifecycle.expunge(db, found_dcn(db), doing))
    kept = store.run_sync(lambda db: db.execute("SELECT person_key FROM record_heads").fetchone()[0])
    assert kept is None


def test_row_of_a_record_that_has_ended_is_passed_over_on_request_and_changes_nothing(store: Store) -> None:
    rows = list(generated_rows(3))
    filed(store, rows[:2])
    expunged, voided = (found(store, row["agency_record_id"]).dcn for row in rows[:2])
    doing = Doing(NOW, CONTRIBUTOR, NoPack())
    store.run_sync(lambda db: lifecycle.expunge(db, expunged, doing))
    store.run_sync(lambda db: lifecycle.void(db, voided, doing))
    before = store.run_sync(ledger.head)
    refused = begun(store)
    stage(store, refused, rows)
    assert (refused.report().error_count, refused.report().new) == (2, 0)
    passing = begun(store, pass_over_ended=True)
    outcomes = stage(store, passing, rows)
    assert [outcome.status for outcome in outcomes] == [Status.PASSED_OVER, Status.PASSED_OVER, Status.NEW]
    assert "needs a new id" in outcomes[0].problems[0].reason
    assert (passing.report().passed_over, passing.report().new, passing.report().error_count) == (2, 1, 0)
    assert store.run_sync(ledger.head) == before
    assert finish(store, passing).new == 1
    assert store.run_sync(filing_lists.count)[0] == 2
