"""What opposing counsel would try at the records desk: ways around notice, finality and what ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from candor_node import desk, filings, importer, lifecycle
from candor_node.import_outcome import ImportReport
from candor_node.lifecycle import LifeEvent
from candor_node.store import Store
from candor_proto.errors import InputInvalid
from candor_proto.policy import Sharing
from candor_records.codes import AdjudicationStatus, AppealOutcome
from candor_records.content import ContentInvalid
from candor_records.life import Act
from candor_records.policy import NoPack
from candor_records.records import Record, Standing
from tests.desk import desk_store, doing, filed
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, csv_bytes, make_content, make_row

ADVISORY = {
    "record_kind": "SEPARATION_UNDER_INVESTIGATION",
    "decided_on": "",
    "decision_maker": "",
    "standard_of_proof": "",
    "finality": "",
}
REVERSED = {"appeal_filed_on": "2021-06-20", "appeal_outcome": "REVERSED", "appeal_decided_on": "2021-09-01"}


class Settling(NoPack):
    settlements_allowed = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as opened:
        yield opened


def imported(store: Store, *rows: dict[str, str], policy: NoPack | None = None) -> ImportReport:
    used, content = policy or NoPack(), csv_bytes(rows)
    return store.run_sync(lambda db: importer.import_csv(db, content, NOW, ORI, NODE, CONTRIBUTOR, used))


def act(store: Store, record: Record, what: Act, how: str = "", **fields: str) -> LifeEvent:
    event = store.run_sync(
        lambda db: desk.act(db, lifecycle.current(db, record.dcn), what, doing(), fields, how, None)
    )
    assert event is not None
    return event


def now_of(store: Store, record: Record) -> Record:
    return store.run_sync(lambda db: lifecycle.current(db, record.dcn))


# --- what ended does not come back ---------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["ia-2021-0001", "IA-2021 -0001", "  IA-2021- 0001 ", "Ia-2021-0001"])
def test_destroyed_record_does_not_come_back_under_another_spelling(store: Store, spelling: str) -> None:
    record = filed(store)
    store.run_sync(partial(lifecycle.expunge, dcn=record.dcn, doing=doing(second="chief-1")))
    report = imported(store, make_row(agency_record_id=spelling))
    assert [str(error) for error in report.errors] == [
        "row 2, agency_record_id: this record is void, expired or expunged; a new report needs a new id"
    ]
    assert store.run_sync(filings.sealed_current) == []


def test_same_record_under_another_spelling_is_the_same_record(store: Store) -> None:
    record, other = filed(store), "ia-2021-0001"
    assert imported(store, make_row(agency_record_id=other)).unchanged == 1
    assert imported(store, make_row(agency_record_id=other, narrative="Shorter.")).changed == 1
    assert now_of(store, record).content.agency_record_id == "IA-2021-0001"
    report = imported(store, make_row(), make_row(agency_record_id=other))
    assert [error.reason for error in report.errors] == ["stands in row 2 already; each record once"]
    longer = make_content(agency_record_id="IA-2021-00011")
    assert lifecycle.under_its_id(record, longer) is longer


def test_overturning_sets_no_agency_id_free(store: Store) -> None:
    """Under another id the next export would bring the reversed decision back as a new record."""
    record = filed(store)
    for fields in ({"agency_record_id": "IA-9"}, {"record_kind": "DECERTIFICATION"}, {"sharing": "GREEN"}):
        with pytest.raises(InputInvalid):
            act(store, record, Act.OVERTURN, "REVERSED", **fields)
    assert not now_of(store, record).overturned


# --- what a file says of itself --------------------------------------------------------------------------


@pytest.mark.parametrize("details", [REVERSED, {"arbitration_outcome": "REINSTATED"}])
def test_file_that_says_a_decision_was_taken_away_overturns_it(store: Store, details: dict[str, str]) -> None:
    record = filed(store)
    report = imported(store, make_row(**details))
    assert (report.changed, report.held, report.reports) == (1, 1, {"REVISION_TO_ACTION": 1})
    after = now_of(store, record)
    assert after.adjudication_status is AdjudicationStatus.REVERSED
    assert after.circumstances.standing is Standing.HELD
    again = imported(store, make_row(narrative="As if nothing had happened."))
    assert "its decision was overturned" in again.errors[0].reason


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (make_row(**REVERSED), "reversed, vacated, expunged or sealed is not reported"),
        (make_row(arbitration_outcome="REINSTATED"), "reversed, vacated, expunged or sealed is not reported"),
        (
            make_row(**ADVISORY, investigation_outcome="EXONERATED"),
            "in the officer's favour is never reported",
        ),
        (
            make_row(**ADVISORY, investigation_outcome="UNFOUNDED"),
            "in the officer's favour is never reported",
        ),
    ],
)
def test_first_report_of_what_no_longer_stands_is_refused(
    store: Store, row: dict[str, str], words: str
) -> None:
    report = imported(store, row)
    assert (report.new, report.error_count) == (0, 1)
    assert words in report.errors[0].reason
    with pytest.raises(ContentInvalid, match=words):
        store.run_sync(lambda db: desk.file(db, row, ORI, NODE, doing()))
    assert store.run_sync(filings.sealed_current) == []


def test_revision_by_the_way_is_filed_as_what_it_is(store: Store) -> None:
    advisory = filed(store, **ADVISORY)
    event = act(store, advisory, Act.REVISE, investigation_outcome="NOT_SUSTAINED")
    assert (event.act, event.after.circumstances.standing) == (Act.VOID, Standing.VOID)
    decided = filed(store, agency_record_id="IA-2")
    event = act(store, decided, Act.REVISE, **REVERSED)
    assert (event.act, event.after.overturned) == (Act.OVERTURN, True)


def test_taking_a_finding_back_is_no_promotion_and_needs_its_facts(store: Store) -> None:
    advisory = filed(store, **ADVISORY)
    with pytest.raises(ContentInvalid, match="decided_on"):
        act(store, advisory, Act.CORRECT, investigation_outcome="SUSTAINED")
    found = {name: make_row()[name] for name in ADVISORY if name != "record_kind"}
    promoted = act(store, advisory, Act.CORRECT, investigation_outcome="SUSTAINED", **found)
    assert promoted.act is Act.PROMOTE
    assert act(store, advisory, Act.CORRECT, investigation_outcome="PENDING").act is Act.CORRECT


def test_finding_that_is_taken_back_is_not_green_any_more(store: Store) -> None:
    found = {"record_kind": "SEPARATION_UNDER_INVESTIGATION", "investigation_outcome": "SUSTAINED"}
    record = filed(store, **found, sharing="YELLOW")
    store.run_sync(
        lambda db: lifecycle.change(
            db, record.dcn, Act.CHANGE_SHARING, doing(), replace(record.circumstances, sharing=Sharing.GREEN)
        )
    )
    assert act(store, record, Act.CORRECT, investigation_outcome="PENDING").after.sharing is Sharing.YELLOW


# --- appeals -------------------------------------------------------------------------------------------


def test_facts_of_an_appeal_cannot_say_otherwise_than_the_act(store: Store) -> None:
    record = filed(store)
    event = act(store, record, Act.NOTICE_APPEAL, finality="FINAL", appeal_filed_on="2021-06-20")
    assert event.after.content.appeal_open
    facts = {"appeal_outcome": "REVERSED", "appeal_decided_on": "2021-09-01"}
    event = act(store, record, Act.DECIDE_APPEAL, "UPHELD", **facts)
    assert event.after.content.detail("appeal_outcome") is AppealOutcome.UPHELD


def test_appeal_is_not_decided_while_one_is_pending(store: Store) -> None:
    record = filed(store, finality="APPEAL_PENDING")
    facts = {"finality": "APPEAL_PENDING", "appeal_decided_on": "2021-09-01"}
    with pytest.raises(InputInvalid, match="pending still"):
        act(store, record, Act.DECIDE_APPEAL, "UPHELD", **facts)


def test_appeal_that_reinstates_is_an_overturning(store: Store) -> None:
    record = filed(store, finality="APPEAL_PENDING")
    facts = {"arbitration_outcome": "REINSTATED", "appeal_decided_on": "2021-09-01"}
    event = act(store, record, Act.DECIDE_APPEAL, "MODIFIED", **facts)
    assert (event.act, event.after.overturned) == (Act.OVERTURN, True)


# --- settlements ----------------------------------------------------------------------------------------


def test_settlement_is_imported_and_corrected_where_the_pack_lets_it(store: Store) -> None:
    form = {"judgment_form": "SETTLEMENT_NO_ADMISSION"}
    settled = make_row(record_kind="CIVIL_JUDGMENT", **form)
    assert imported(store, settled).error_count == 1
    assert imported(store, settled, policy=Settling()).new == 1
    judged = filed(store, agency_record_id="IA-2", record_kind="CIVIL_JUDGMENT")
    with pytest.raises(ContentInvalid, match="settlement"):
        act(store, judged, Act.CORRECT, **form)
    allowed = doing(policy=Settling())
    event = store.run_sync(lambda db: desk.act(db, judged, Act.CORRECT, allowed, form, "", None))
    assert event is not None
    assert event.changed == ("judgment_form",)
