"""What a person is shown of what is held about them, and nobody else (RECORDS.md §4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from candor_node import (
    accounting,
    approvals,
    deferrals,
    filings,
    ledger,
    lifecycle,
    pages,
    subject_access,
    subject_acts,
)
from candor_node.recalled import KIND_WORDS
from candor_node.store import Database, Store
from candor_node.subject_access import Asked
from candor_proto.disclosure import OwnerState
from candor_proto.errors import InputInvalid, UnknownObject
from candor_proto.ids import NodeId, Purpose
from candor_proto.normalise import Particulars
from candor_proto.recall import Done, RecallKind, RecallState
from candor_records.dispute import DisputeGround
from candor_records.records import Dcn
from candor_records.roles import Operation
from candor_records.subject_report import SubjectReport
from tests.accessible import faults, text_of
from tests.records import NOW, make_content
from tests.subjects import (
    AGENCY,
    APPROVER,
    CLERK,
    DAY,
    OFFICER,
    asked_for,
    doing,
    filed,
    looked_up,
    subject_store,
)

TODAY = NOW.date()
PROOF = "driver licence seen, file 2026/117"
NAMESAKE = {"agency_record_id": "N-1", "birth_date": "1979-01-30", "post_id": "B-1", "ssn4": "7719"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with subject_store(tmp_path) as store:
        yield store


def named(node: NodeId) -> tuple[str, str]:
    return f"Agency {node}", "ZZ0020000"


def reported(
    store: Store,
    *dcns: Dcn,
    claimed: Particulars | None = None,
    proof: str = PROOF,
    days: float = 30,
) -> tuple[SubjectReport, tuple[str, ...]]:
    asked = Asked(proof, claimed, dcns)
    person, rows = store.run_sync(lambda db: subject_access.begin(db, asked))
    wanted = store.run_sync(lambda db: [filings.record_id_of(db, dcn) for dcn in dcns])
    found = subject_access.look_through(person, wanted, rows)

    def work(db: Database) -> SubjectReport:
        return subject_access.report(db, found, proof, AGENCY, named, doing(days))

    return store.run_sync(work), found.unsure


# --- whose ------------------------------------------------------------------------------------------------


def test_naming_one_record_shows_all_of_that_persons(store: Store) -> None:
    one, other = filed(store), filed(store, agency_record_id="IA-2", record_kind="SUSTAINED_FORCE_FINDING")
    filed(
        store,
        agency_record_id="E-1",
        first="Edgar",
        last="Birchwater",
        birth_date="1970-02-02",
        post_id="B-3",
    )
    report, unsure = reported(store, one)
    assert {record.dcn for record in report.records} == {str(one), str(other)}
    assert report.person == "Quentin Placeholderson"
    assert unsure == ()


def test_a_namesake_with_another_birth_date_is_shown_to_nobody(store: Store) -> None:
    mine, theirs = filed(store), filed(store, **NAMESAKE)
    report, _ = reported(store, claimed=OFFICER)
    assert [record.dcn for record in report.records] == [str(mine)]
    page = pages.html(report)
    assert str(theirs) not in page
    assert "1979" not in page


def test_naming_a_namesakes_record_shows_nothing_at_all(store: Store) -> None:
    mine, theirs = filed(store), filed(store, **NAMESAKE)
    for claimed in (None, OFFICER):
        with pytest.raises(InputInvalid, match="about another person") as error:
            reported(store, mine, theirs, claimed=claimed)
        assert "1979" not in str(error.value)
    assert store.run_sync(lambda db: ledger.entries(db, event="subject")) == []


def test_a_record_that_agrees_only_in_part_waits_for_a_person_who_names_it(store: Store) -> None:
    filed(store)
    vague = filed(store, agency_record_id="V-1", birth_date="1984", post_state="", post_id="", ssn4="")
    report, unsure = reported(store, claimed=OFFICER)
    assert (len(report.records), unsure) == (1, (str(vague),))
    report, unsure = reported(store, vague, claimed=OFFICER)
    assert (len(report.records), unsure) == (2, ())


@pytest.mark.parametrize("proof", ["", "   ", "x", "seen\nby me", "<b>seen</b>"])
def test_without_proof_of_identity_there_is_no_report(store: Store, proof: str) -> None:
    dcn = filed(store)
    with pytest.raises(InputInvalid, match="identity was proved"):
        reported(store, dcn, proof=proof)


@pytest.mark.parametrize(
    "claimed", [None, Particulars(last="Placeholderson"), Particulars(first="Quentin", last="Placeholderson")]
)
def test_a_name_alone_gets_no_report(store: Store, claimed: Particulars | None) -> None:
    filed(store)
    with pytest.raises(InputInvalid):
        reported(store, claimed=claimed)


def test_somebody_of_whom_nothing_is_held_is_told_so(store: Store) -> None:
    filed(store)
    stranger = Particulars(first="Edgar", last="Birchwater", birth_date="1970-02-02")
    report, _ = reported(store, claimed=stranger)
    assert report.records == ()
    assert "holds no record about you" in text_of(pages.html(report))


# --- what --------------------------------------------------------------------------------------------------


def test_the_report_tells_the_whole_story_of_a_record(store: Store) -> None:
    dcn = filed(store)
    given = asked_for(store, dcn)
    asked_for(store, dcn, OwnerState.DECLINED, "declined by a person", "ogdenville-pd", at=NOW + 6 * DAY)
    newest = store.run_sync(
        lambda db: lifecycle.revise(db, dcn, make_content(effective_on="2021-06-15"), doing(8)),
    ).after.dcn
    asked_for(store, newest, requester="capital-post", case="POST-9", at=NOW + 9 * DAY)
    store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, "I ask to be heard.", TODAY, doing(10)))
    store.run_sync(
        lambda db: subject_acts.open_dispute(
            db, dcn, DisputeGround.FACTUAL_INACCURACY, "It was May.", TODAY, doing(11)
        )
    )
    looked_up(store)
    report, _ = reported(store, dcn)
    (record,) = report.records
    assert [(a.node, a.version, a.dcn, a.outcome) for a in record.accesses] == [
        ("shelbyville-pd", 1, str(dcn), "given"),
        ("ogdenville-pd", None, str(dcn), "not given: declined by a person"),
        ("capital-post", 2, str(newest), "given"),
    ]
    assert record.accesses[0].case == "REQ-77"
    assert record.accesses[0].asked_on == TODAY + timedelta(days=5)
    assert [v.number for v in record.versions] == [1, 2]
    assert [(c.name, c.before, c.after) for c in record.versions[1].changes] == [
        ("Effective on", "2021-06-14", "2021-06-15")
    ]
    assert [event.what for event in record.history] == [
        "filed",
        "revised",
        "statement entered",
        "disputed",
    ]
    assert record.clock == "The agency has until 2026-05-01: answer the dispute."
    assert [notice.about for notice in record.notices][-1].startswith("A later action")
    kinds = (RecallKind.REVISED, RecallKind.STATEMENT, RecallKind.DISPUTE)
    revised, stated, disputed = (KIND_WORDS[kind].capitalize() for kind in kinds)
    told = [(recall.agency, recall.why, recall.done) for recall in record.recalls]
    assert told == [
        ("Agency shelbyville-pd", revised, "Being told"),
        ("Agency shelbyville-pd", stated, "Being told"),
        ("Agency capital-post", stated, "Being told"),
        ("Agency shelbyville-pd", disputed, "Being told"),
        ("Agency capital-post", disputed, "Being told"),
    ]
    assert [(lookup.purpose, lookup.case) for lookup in report.lookups] == [
        ("Check of an own officer", "CASE-1")
    ]
    page = pages.html(report)
    assert faults(page) == []
    assert given.value.hex() not in page


def test_neither_the_clerk_nor_the_investigator_is_named(store: Store) -> None:
    dcn = filed(store)
    asked_for(store, dcn)
    looked_up(store)
    page = pages.html(reported(store, dcn)[0])
    for name in ("clerk-7", "captain-1", "inv-1", "Dana Roe", "Somebody Else"):
        assert name not in page


def test_a_request_that_the_gate_refused_is_shown_though_it_names_no_record(store: Store) -> None:
    dcn, handle = filed(store), bytes(range(16))

    def publish(db: Database) -> None:
        db.execute("INSERT INTO epochs (number, starts_at, ends_at) VALUES (1, 0, 1)")
        db.execute(
            "INSERT INTO published (blob_id, epoch, segment, dcn, handle, salt, com, marker, entries)"
            " VALUES (?, 1, 1, ?, ?, ?, ?, ?, 1)",
            [bytes(16), str(dcn), handle, bytes(32), bytes(32), bytes(16)],
        )

    store.run_sync(publish)
    asked_for(store, None, OwnerState.DECLINED, "The fair-process gate is closed.", handle=handle)
    asked_for(store, None, OwnerState.DECLINED, "It names nothing.", requester="others-pd")
    (record,) = reported(store, dcn)[0].records
    assert [access.outcome for access in record.accesses] == ["not given: The fair-process gate is closed."]


def test_every_report_is_in_the_ledger_without_a_name(store: Store) -> None:
    dcn = filed(store)
    reported(store, dcn)
    entries = store.run_sync(lambda db: ledger.entries(db, event="subject"))
    assert [(entry.event, dict(entry.refs)) for entry in entries] == [
        ("subject.report", {"user": "clerk-7"}),
        ("subject.shown", {"dcn": str(dcn), "user": "clerk-7"}),
    ]
    assert entries[0].details == {"purpose": "SUBJECT_ACCESS", "proof": PROOF, "records": 1}


def test_of_an_expunged_record_no_report_shows_anything(store: Store) -> None:
    dcn = filed(store)
    store.run_sync(lambda db: lifecycle.expunge(db, dcn, doing(1)))
    with pytest.raises(UnknownObject):
        reported(store, dcn)
    assert reported(store, claimed=OFFICER)[0].records == ()


def test_a_voided_record_is_shown_while_it_is_held(store: Store) -> None:
    dcn = filed(store)
    store.run_sync(lambda db: lifecycle.void(db, dcn, doing(1)))
    (record,) = reported(store, dcn)[0].records
    assert (record.standing, record.shared) == ("void", False)


# --- what not yet -------------------------------------------------------------------------------------------


def defer(store: Store, entry: str, until: date) -> None:
    executors = {Operation.DEFER_VISIBILITY: deferrals.execute}
    basis = "State Code 12.3, order of the court"

    def work(db: Database) -> None:
        approval_id = deferrals.propose(db, NOW, CLERK, entry, until, basis, "An inquiry runs.", 180)
        approvals.decide(db, NOW, approval_id, APPROVER, True, "Seen.", executors)

    store.run_sync(work)


def told(store: Store, dcn: Dcn) -> None:
    """Whoever has the record is told of a statement."""
    store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, "Hear me.", TODAY, doing(1)))


def test_what_recipients_were_told_and_did_has_words_for_everything() -> None:
    assert set(KIND_WORDS) == set(RecallKind)
    assert set(accounting._DONE) == set(Done)
    assert set(accounting._NOT_DONE) | {RecallState.ACTED, RecallState.READ} == set(RecallState)


@pytest.mark.parametrize("which", ["request", "lookup"])
def test_what_is_deferred_is_not_even_counted_and_then_appears_with_a_note(store: Store, which: str) -> None:
    dcn = filed(store)
    request_id, search_id = asked_for(store, dcn, case="REQ-SECRET"), looked_up(store, case="CASE-SECRET")
    before = pages.html(reported(store, dcn)[0])
    defer(store, str(request_id if which == "request" else search_id), TODAY + timedelta(days=60))
    told(store, dcn)
    secret = "REQ-SECRET" if which == "request" else "CASE-SECRET"
    assert secret in before
    during = reported(store, dcn, days=40)[0]
    assert secret not in pages.html(during)
    assert "deferred" not in pages.html(during).lower()
    assert "because of an investigation" not in pages.html(during)
    assert bool(during.records[0].recalls) is (which == "lookup")
    after = pages.html(reported(store, dcn, days=61)[0])
    assert secret in after
    assert f"Not shown before {TODAY + timedelta(days=60)}" in after


def test_a_lookup_for_investigation_of_somebody_else_is_not_the_persons(store: Store) -> None:
    filed(store)
    looked_up(store, Particulars(first="Edgar", last="Birchwater", birth_date="1970-02-02"), Purpose.C)
    assert reported(store, claimed=OFFICER)[0].lookups == ()


def test_what_a_clerk_wrote_into_a_name_is_escaped_on_the_page(store: Store) -> None:
    attack = "<img src=x onerror=alert(1)>"
    dcn = filed(store, middle=attack, narrative=f"He said {attack} twice.")
    store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, attack, TODAY, doing()))
    page = pages.html(reported(store, dcn)[0])
    assert faults(page) == []
    assert text_of(page).count(attack) == 3
