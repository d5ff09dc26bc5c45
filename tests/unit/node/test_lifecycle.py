"""What is done to a record: version, gate, history and ledger in one transaction (RECORDS.md §4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import filing_lists, filings, history, importer, ledger, lifecycle, publisher, record_seals
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.publisher import Settings
from candor_node.store import Database, Store, Work
from candor_proto.errors import InputInvalid, UnknownObject, WrongStanding
from candor_proto.ids import FederationName
from candor_records.codes import AdjudicationStatus, AppealOutcome, Finality
from candor_records.content import Content
from candor_records.gate_rules import FINAL_APPEAL_PENDING, GateRules
from candor_records.life import Act, Overturning
from candor_records.policy import NoPack
from candor_records.record_fields import amended
from candor_records.records import Dcn, Record, ReportType, Standing, canonical
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, csv_bytes, make_content, make_row, new_store

DAY = timedelta(days=1)
SETTINGS = Settings(FederationName("test-federation"), NODE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def doing(days: int = 0, reason: str = "", second: str = "") -> Doing:
    return Doing(NOW + days * DAY, CONTRIBUTOR, NoPack(), reason, second)


def do(store: Store, work: Work[LifeEvent]) -> LifeEvent:
    return store.run_sync(work)


def report(db: Database, before: Record, content: Content) -> LifeEvent:
    return lifecycle.report(db, Act.CORRECT, before, content, doing(2))


def replace_ssn(content: Content) -> Content:
    return amended(content, {"ssn4": "4822"})


def filed(store: Store, **overrides: str) -> Dcn:
    content = make_content(**overrides)
    return do(store, lambda db: lifecycle.file(db, content, ORI, NODE, doing())).after.dcn


def test_draft_is_shared_only_after_a_second_person_reviewed_it(store: Store) -> None:
    event = do(store, lambda db: lifecycle.file(db, make_content(), ORI, NODE, doing(), reviewed=False))
    dcn = event.after.dcn
    assert event.after.circumstances.standing is Standing.DRAFT
    (summary,) = store.run_sync(filing_lists.summaries)
    assert (summary.gate.matchable, summary.gate.failed) == (False, ("reviewed",))
    reviewed = replace(event.after.circumstances, reviewed=True)
    event = do(store, lambda db: lifecycle.change(db, dcn, Act.REVIEW, doing(), reviewed))
    assert event.after.circumstances.standing is Standing.ACTIVE


def test_reversal_on_appeal_closes_the_gate_for_good(store: Store) -> None:
    dcn = filed(store)
    event = do(store, lambda db: lifecycle.notice_of_appeal(db, dcn, {}, doing(1)))
    assert event.after.report_type is ReportType.NOTICE_OF_APPEAL
    assert event.after.circumstances.standing is Standing.HELD
    event = do(
        store, lambda db: lifecycle.decide_appeal(db, dcn, AppealOutcome.REVERSED, {}, doing(2, "No. 7"))
    )
    assert event.after.adjudication_status is AdjudicationStatus.REVERSED
    assert event.after.report_type is ReportType.REVISION_TO_ACTION
    (summary,) = store.run_sync(filing_lists.summaries)
    assert summary.gate.reasons == ("Fails: an appeal is pending and no policy pack allows that.",
                                    "Fails: the decision was reversed.")  # fmt: skip
    with pytest.raises(WrongStanding, match="overturned"):
        do(store, lambda db: lifecycle.revise(db, dcn, make_content(), doing(3)))


def test_appeal_that_was_upheld_makes_the_decision_final(store: Store) -> None:
    dcn = filed(store, finality="APPEAL_PENDING")
    event = do(store, lambda db: lifecycle.decide_appeal(db, dcn, AppealOutcome.UPHELD, {}, doing(1)))
    assert event.after.content.due_process.finality is Finality.EXHAUSTED
    assert event.after.circumstances.standing is Standing.ACTIVE
    assert event.changed == ("finality",)


def test_overturning_that_the_policy_lets_stand_is_a_revision(store: Store) -> None:
    class Lenient(NoPack):
        def withdraws(self, kind: object, how: Overturning) -> bool:
            return how is not Overturning.PARDONED

    dcn = filed(store, record_kind="CRIMINAL_CONVICTION")
    lenient = replace(doing(1), policy=Lenient())
    event = do(store, lambda db: lifecycle.overturn(db, dcn, Overturning.PARDONED, {}, lenient))
    assert event.after.circumstances.standing is Standing.ACTIVE
    event = do(store, lambda db: lifecycle.overturn(db, dcn, Overturning.VACATED, {}, lenient))
    assert event.after.circumstances.standing is Standing.HELD


def test_pending_appeal_under_a_packs_exception_stays_shared_and_says_so(store: Store) -> None:
    class Pack(NoPack):
        def gate_rules(self, kind: object) -> GateRules:
            return GateRules(frozenset({FINAL_APPEAL_PENDING}))

    dcn = filed(store)
    event = do(store, lambda db: lifecycle.notice_of_appeal(db, dcn, {}, replace(doing(1), policy=Pack())))
    assert event.after.circumstances.standing is Standing.ACTIVE
    assert event.after.adjudication_status is AdjudicationStatus.FINAL_APPEAL_PENDING


def test_release_shows_earlier_reports_in_order_but_for_what_was_corrected(store: Store) -> None:
    dcn = filed(store, finality="APPEAL_TIME_RUNNING", appeal_until="2026-03-20")
    appealed = do(store, lambda db: lifecycle.notice_of_appeal(db, dcn, {}, doing(1))).after
    do(store, lambda db: report(db, appealed, replace_ssn(appealed.content)))
    event = do(store, lambda db: lifecycle.decide_appeal(db, dcn, AppealOutcome.UPHELD, {}, doing(3)))
    stored = store.run_sync(lambda db: lifecycle.current(db, dcn))
    assert stored == event.after
    assert stored.earlier[0].dcn == str(dcn)
    first, second = canonical(stored).fields["earlier_reports"].splitlines()
    assert first.startswith(f"2026-03-02 INITIAL {dcn}: ")
    assert "finality was APPEAL_TIME_RUNNING" in first
    assert second.startswith("2026-03-04 CORRECTION")
    assert "finality was APPEAL_PENDING" in second
    assert "4821" not in canonical(stored).fields["earlier_reports"]


def test_any_control_number_of_a_record_names_it(store: Store) -> None:
    dcn = filed(store)
    second = do(store, lambda db: lifecycle.revise(db, dcn, make_content(ssn4="4822"), doing(1))).after.dcn
    third = do(store, lambda db: lifecycle.revise(db, dcn, make_content(ssn4="4823"), doing(2))).after
    assert third.previous_dcn == second
    assert store.run_sync(lambda db: lifecycle.current(db, second)).dcn == third.dcn
    numbers = store.run_sync(lambda db: filings.control_numbers(db, third.record_id))
    assert numbers == [str(dcn), str(second), str(third.dcn)]


def test_history_says_who_when_with_whom_and_why(store: Store) -> None:
    dcn = filed(store)
    do(store, lambda db: lifecycle.void(db, dcn, doing(1, "Filed for a namesake.", "chief-2")))
    record_id = store.run_sync(lambda db: filings.record_id_of(db, dcn))
    first, last = store.run_sync(lambda db: history.events(db, record_id))
    assert (first.act, last.act, last.by, last.second) == (Act.FILE, Act.VOID, CONTRIBUTOR, "chief-2")
    assert (last.reason, last.at) == ("Filed for a namesake.", NOW + DAY)
    assert "namesake" not in repr(last)
    entries = store.run_sync(lambda db: ledger.entries(db, event="record"))
    assert [entry.refs.get("second") for entry in entries] == [None, "chief-2"]
    assert "namesake" not in repr(entries)


def test_history_cannot_be_changed_nor_a_filing_deleted(store: Store) -> None:
    filed(store)
    for statement in (
        "UPDATE record_events SET by = 'nobody'",
        "DELETE FROM record_events",
        "DELETE FROM records",
    ):
        with pytest.raises(Exception, match=r"append-only|never used again"):
            store.run_sync(lambda db, sql=statement: db.execute(sql))  # type: ignore[misc]


def test_expunging_leaves_control_numbers_and_nothing_that_opens(store: Store) -> None:
    dcn = filed(store)
    store.run_sync(lambda db: publisher.build_tick(db, NOW, SETTINGS))
    do(store, lambda db: lifecycle.revise(db, dcn, make_content(ssn4="4822"), doing(1, "Misspelt.")))
    before = store.run_sync(lambda db: lifecycle.current(db, dcn))
    do(store, lambda db: lifecycle.expunge(db, dcn, doing(2, "Order 12", "chief-2")))

    def left(db: Database) -> None:
        assert record_seals.find_key(db, before.record_id) is None
        assert filings.versions(db, before.record_id) == []
        assert len(filings.control_numbers(db, before.record_id)) == 2
        assert [event.act for event in history.events(db, before.record_id)] == [
            Act.FILE,
            Act.REVISE,
            Act.EXPUNGE,
        ]
        assert {event.reason for event in history.events(db, before.record_id)} == {""}
        assert {row[0] for row in db.execute("SELECT sealed FROM records")} == {b""}
        assert {tuple(row) for row in db.execute("SELECT salt, com FROM published")} == {(bytes(32),) * 2}
        head = db.execute("SELECT matters, effective_on, review_on, expires_on FROM record_heads").fetchone()
        assert head == (b"", None, None, None)
        assert filing_lists.count(db) == (0, 0)

    store.run_sync(left)
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: lifecycle.current(db, dcn))
    # The next export of the agency's system does not bring it back.
    report = store.run_sync(
        lambda db: importer.import_csv(db, csv_bytes([make_row()]), NOW + 3 * DAY, ORI, NODE, CONTRIBUTOR)
    )
    assert [error.column for error in report.errors] == ["agency_record_id"]


def test_record_keeps_its_kind_and_its_id(store: Store) -> None:
    dcn = filed(store)
    for content in (make_content(record_kind="SUSTAINED_FORCE_FINDING"), make_content(agency_record_id="B")):
        with pytest.raises(InputInvalid):
            store.run_sync(lambda db, content=content: lifecycle.revise(db, dcn, content, doing(1)))  # type: ignore[misc]


def test_act_that_fails_leaves_nothing(store: Store) -> None:
    dcn = filed(store)
    before = store.run_sync(ledger.head)

    def work(db: Database) -> None:
        lifecycle.void(db, dcn, doing(1))
        raise InputInvalid("Somebody stumbled.")

    with pytest.raises(InputInvalid):
        store.run_sync(work)
    assert store.run_sync(ledger.head) == before
    assert store.run_sync(lambda db: lifecycle.current(db, dcn)).circumstances.standing is Standing.ACTIVE


def test_gate_is_asked_of_the_record_as_it_stands_after_the_act(store: Store) -> None:
    dcn = filed(store)
    now = store.run_sync(lambda db: lifecycle.current(db, dcn)).circumstances
    for act, sealed in ((Act.SEAL, True), (Act.UNSEAL, False)):
        circumstances = replace(now, sealed_by_order=sealed)
        do(store, lambda db, act=act, new=circumstances: lifecycle.change(db, dcn, act, doing(1), new))  # type: ignore[misc]
        assert store.run_sync(filings.gate_words) == {str(dcn): not sealed}
