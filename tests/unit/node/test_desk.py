"""The records desk: what a person may ask for, what is refused with which sentence, what takes two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from candor_node import approvals, desk, due_process, filings, history, ledger, lifecycle
from candor_node.approvals import ApprovalId
from candor_node.desk import Named
from candor_node.lifecycle import LifeEvent
from candor_node.store import Store
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    InputInvalid,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_proto.policy import Sharing
from candor_proto.signing import SigningKey
from candor_records.codes import AdjudicationStatus, JudgmentForm
from candor_records.content import ContentInvalid, FieldInvalid
from candor_records.life import Act
from candor_records.policy import NoPack
from candor_records.records import Dcn, Record, ReportType, Standing
from candor_records.roles import ALL_ROLES, Actor
from tests.desk import desk_store, doing, filed
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, generated_rows, make_row

CLERK, CHIEF = Actor("clerk-7", ALL_ROLES), Actor("chief-2", ALL_ROLES)
EXECUTORS = desk.executors(NODE, SigningKey(bytes(range(32))), lambda _: NoPack())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


def _find(store: Store, name: str, by_id: bool = False) -> Record:
    return store.run_sync(lambda db: desk.find(db, Named(name, ORI if by_id else None)))


def _act(
    store: Store,
    record: Record,
    what: Act,
    fields: Mapping[str, str] | None = None,
    how: str = "",
    until: date | None = None,
    reason: str = "",
) -> LifeEvent | None:
    def work(db: object) -> LifeEvent | None:
        current = desk.find(db, Named(str(record.dcn)))  # type: ignore[arg-type]
        return desk.act(db, current, what, doing(reason=reason), fields or {}, how, until)  # type: ignore[arg-type]

    return store.run_sync(work)


def _done(event: LifeEvent | None) -> Record:
    assert event is not None
    return event.after


# --- naming a record -------------------------------------------------------------------------------------


def test_a_record_is_named_by_any_of_its_control_numbers_or_by_the_agencys_id(store: Store) -> None:
    record = filed(store)
    later = _done(_act(store, record, Act.CORRECT, {"narrative": "Falsified one overtime report."}))
    for name in (str(record.dcn), str(later.dcn), str(record.dcn).lower()):
        assert _find(store, name) == later
    assert _find(store, "IA-2021-0001", by_id=True) == later


@pytest.mark.parametrize("by_id", [False, True])
def test_an_unknown_name_is_told_without_being_repeated(store: Store, by_id: bool) -> None:
    name = "IA-SECRET-9" if by_id else str(Dcn.draw(lambda count: bytes(range(count))))
    with pytest.raises(UnknownObject) as caught:
        _find(store, name, by_id)
    assert "SECRET" not in str(caught.value)


# --- filing ----------------------------------------------------------------------------------------------


def _file(store: Store, fields: Mapping[str, str], draft: bool = False) -> Record:
    return store.run_sync(lambda db: desk.file(db, fields, ORI, NODE, doing(), draft=draft)).after


def test_a_report_is_filed_from_fields_and_those_left_out_are_empty(store: Store) -> None:
    given = {name: value for name, value in make_row().items() if value}
    record = _file(store, given)
    assert record.circumstances.standing is Standing.ACTIVE
    assert _find(store, str(record.dcn)) == record


def test_a_field_that_no_record_has_is_refused(store: Store) -> None:
    with pytest.raises(FieldInvalid, match="surname"):
        _file(store, {**make_row(), "surname": "Placeholderson"})


def test_everything_that_is_wrong_with_a_report_is_said_at_once_and_no_value(store: Store) -> None:
    with pytest.raises(ContentInvalid) as caught:
        _file(store, make_row(first="", birth_date="Placeholder", finality="MAYBE"))
    assert {"first", "birth_date", "finality"} <= {fault.field for fault in caught.value.faults}
    assert "Placeholder" not in str(caught.value)


class _Settling(NoPack):
    settlements_allowed = True


def test_a_settlement_is_filed_only_where_the_pack_lets_it_in(store: Store) -> None:
    row = make_row(record_kind="CIVIL_JUDGMENT", judgment_form="SETTLEMENT_NO_ADMISSION")
    with pytest.raises(ContentInvalid, match="a settlement is not a judgment"):
        _file(store, row)
    event = store.run_sync(lambda db: desk.file(db, row, ORI, NODE, doing(policy=_Settling())))
    assert event.after.content.detail("judgment_form") is JudgmentForm.SETTLEMENT_NO_ADMISSION


def test_a_settlement_that_the_pack_lets_in_can_be_corrected(store: Store) -> None:
    row = make_row(record_kind="CIVIL_JUDGMENT", judgment_form="ADJUDICATED_LIABILITY")
    record, how = _file(store, row), doing(policy=_Settling())
    fields = {"judgment_form": "SETTLEMENT_NO_ADMISSION"}
    with pytest.raises(ContentInvalid, match="a settlement is not a judgment"):
        _act(store, record, Act.CORRECT, fields)
    event = store.run_sync(lambda db: desk.act(db, record, Act.CORRECT, how, fields, "", None))
    assert event is not None
    assert event.after.content.detail("judgment_form") is JudgmentForm.SETTLEMENT_NO_ADMISSION


def test_a_kind_that_is_corrected_is_told_in_one_sentence(store: Store) -> None:
    with pytest.raises(InputInvalid, match=r"^A record's kind does not change"):
        _act(store, filed(store), Act.CORRECT, {"record_kind": "COMMENDATION"})


def test_an_id_in_place_of_a_number_is_told_apart(store: Store) -> None:
    with pytest.raises(InputInvalid) as caught:
        _find(store, "IA-2021-0001")
    assert "--id" in caught.value.remedy
    assert "IA-2021" not in str(caught.value)


def test_drafts_of_one_person_are_reviewed_piece_by_piece(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "REVIEWED_AT_ONCE", 2)
    mine = [_file(store, row, draft=True) for row in generated_rows(5)]
    other = store.run_sync(
        lambda db: desk.file(db, make_row(), ORI, NODE, doing(by="clerk-9"), draft=True)
    ).after
    how = doing(by="clerk-8")
    store.run_sync(lambda db: desk.act(db, mine[0], Act.CORRECT, how, {"rank": "Major"}, "", None))
    with pytest.raises(WrongRole, match="themselves"):
        store.run_sync(lambda db: desk.review_all(db, CONTRIBUTOR, None, doing()))
    done, left, after = 0, 0, None
    while True:
        piece = store.run_sync(lambda db, after=after: desk.review_all(db, CONTRIBUTOR, after, how))  # type: ignore[misc]
        done, left, after = done + len(piece.events), left + len(piece.left), piece.following
        if after is None:
            break
    assert (done, left) == (4, 1)
    assert _find(store, str(other.dcn)).circumstances.standing is Standing.DRAFT


def test_an_id_that_is_taken_is_refused_and_says_which_record_to_correct(store: Store) -> None:
    record = filed(store)
    with pytest.raises(AlreadyExists) as caught:
        _file(store, make_row())
    assert str(record.dcn) in caught.value.remedy
    assert "IA-2021-0001" not in str(caught.value)


def test_a_record_that_was_destroyed_is_not_filed_again_under_its_id(store: Store) -> None:
    record = filed(store)
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(second="chief-2")))
    with pytest.raises(AlreadyExists, match="destroyed"):
        _file(store, make_row())


def test_a_draft_is_held_until_somebody_else_reviews_it(store: Store) -> None:
    record = _file(store, make_row(), draft=True)
    assert record.circumstances.standing is Standing.DRAFT

    def review(by: str) -> Record:
        how = doing(by=by)
        return store.run_sync(lambda db: desk.review(db, desk.find(db, Named(str(record.dcn))), how)).after

    for same in ("clerk-7", "CLERK-7", " clerk-7 "):
        with pytest.raises(WrongRole, match="themselves"):
            review(same)
    assert review("clerk-8").circumstances.standing is Standing.ACTIVE
    with pytest.raises(WrongStanding):
        review("clerk-8")


def test_who_corrected_a_draft_does_not_review_it_either(store: Store) -> None:
    record = _file(store, make_row(), draft=True)
    how = doing(by="clerk-8")
    changed = {"narrative": "Falsified one overtime report."}

    def correct(db: object) -> LifeEvent | None:
        return desk.act(db, desk.find(db, Named(str(record.dcn))), Act.CORRECT, how, changed, "", None)  # type: ignore[arg-type]

    store.run_sync(correct)
    with pytest.raises(WrongRole):
        store.run_sync(lambda db: desk.review(db, desk.find(db, Named(str(record.dcn))), how))


# --- acts ------------------------------------------------------------------------------------------------


def test_a_correction_names_what_changed_and_one_that_changes_nothing_does_nothing(store: Store) -> None:
    record = filed(store)
    text = {"narrative": "Falsified one overtime report."}
    event = _act(store, record, Act.CORRECT, text, reason="a slip")
    assert event is not None
    assert event.changed == ("narrative",)
    assert event.after.report_type is ReportType.CORRECTION
    assert _act(store, record, Act.CORRECT, text) is None


@pytest.mark.parametrize("fields", [{}, {"sharing": "GREEN"}])
def test_a_correction_of_nothing_or_of_the_sharing_choice_says_what_to_do(
    store: Store, fields: Mapping[str, str]
) -> None:
    with pytest.raises(InputInvalid) as caught:
        _act(store, filed(store), Act.CORRECT, fields)
    assert caught.value.remedy


def test_an_appeal_holds_the_record_and_its_end_lets_it_go_again(store: Store) -> None:
    record = filed(store)
    facts = {"appeal_forum": "COURT", "appeal_filed_on": "2021-07-01", "appeal_docket": "21-CV-7"}
    held = _done(_act(store, record, Act.NOTICE_APPEAL, facts))
    assert held.circumstances.standing is Standing.HELD
    upheld = _done(_act(store, held, Act.DECIDE_APPEAL, {"appeal_decided_on": "2022-01-10"}, "upheld"))
    assert upheld.circumstances.standing is Standing.ACTIVE


def test_a_reversal_on_appeal_takes_the_decision_away(store: Store) -> None:
    held = _done(_act(store, filed(store), Act.NOTICE_APPEAL))
    gone = _done(_act(store, held, Act.DECIDE_APPEAL, {"appeal_decided_on": "2022-01-10"}, "REVERSED"))
    assert gone.adjudication_status is AdjudicationStatus.REVERSED
    assert gone.circumstances.standing is Standing.HELD


@pytest.mark.parametrize("how", ["REVERSED", "REINSTATED", "VACATED", "PARDONED", "PURGED"])
def test_what_takes_a_decision_away_withdraws_the_record(store: Store, how: str) -> None:
    gone = _done(_act(store, filed(store), Act.OVERTURN, how=how, reason="Order 17"))
    assert gone.overturned
    assert gone.circumstances.standing is Standing.HELD
    (*_, last) = store.run_sync(lambda db: history.events(db, gone.record_id))
    assert last.reason == f"{how}. Order 17"


@pytest.mark.parametrize("days", [2, -3000])
def test_nothing_is_overturned_before_it_was_decided_or_by_what_is_still_to_come(
    store: Store, days: int
) -> None:
    record, on = filed(store), (NOW + timedelta(days=days)).date()
    with pytest.raises(InputInvalid, match="lies before it, or has not been made yet"):
        store.run_sync(lambda db: desk.act(db, record, Act.OVERTURN, doing(), {}, "VACATED", None, on))


@pytest.mark.parametrize("act", [Act.NOTICE_APPEAL, Act.CORRECT])
def test_an_appeal_that_is_still_to_come_is_not_entered(store: Store, act: Act) -> None:
    day = (NOW + timedelta(days=2)).date().isoformat()
    with pytest.raises(FieldInvalid, match="lies ahead"):
        _act(store, filed(store), act, {"appeal_filed_on": day})


@pytest.mark.parametrize(
    ("what", "how"), [(Act.DECIDE_APPEAL, "LOST"), (Act.OVERTURN, ""), (Act.OVERTURN, "FORGOTTEN")]
)
def test_an_unknown_outcome_says_which_there_are(store: Store, what: Act, how: str) -> None:
    with pytest.raises(InputInvalid) as caught:
        _act(store, filed(store), what, how=how)
    assert "REVERSED" in caught.value.remedy


def test_a_seal_takes_it_out_of_the_index_whatever_else_holds_and_an_order_opens_it(store: Store) -> None:
    record = filed(store)
    sealed = _done(_act(store, record, Act.SEAL, reason="Order 3"))
    assert sealed.circumstances.standing is Standing.HELD
    opened = _done(_act(store, record, Act.UNSEAL, reason="Order 4"))
    assert opened.circumstances.standing is Standing.ACTIVE


def test_a_hold_stops_destruction_only(store: Store) -> None:
    record = filed(store)
    held = _done(_act(store, record, Act.HOLD, reason="a case"))
    assert held.circumstances.legal_hold
    assert held.circumstances.standing is Standing.ACTIVE
    with pytest.raises(WrongStanding, match="legal hold"):
        store.run_sync(lambda db: desk.expunge(db, held, CLERK, doing(reason="Order 9")))
    assert not _done(_act(store, record, Act.LIFT_HOLD, reason="over")).circumstances.legal_hold


@pytest.mark.parametrize("what", [Act.SEAL, Act.HOLD])
def test_orders_and_holds_need_to_be_named(store: Store, what: Act) -> None:
    with pytest.raises(InputInvalid, match="needs"):
        _act(store, filed(store), what)


def test_a_review_that_keeps_a_record_sets_the_day_of_the_next(store: Store) -> None:
    record, later = filed(store), NOW.date() + timedelta(days=400)
    assert _done(_act(store, record, Act.KEEP, until=later)).circumstances.review_on == later
    with pytest.raises(InputInvalid, match="past"):
        _act(store, record, Act.KEEP, until=NOW.date())


@pytest.mark.parametrize("what", list(Act))
def test_every_act_on_a_void_record_is_refused_with_a_sentence_and_changes_nothing(
    store: Store, what: Act
) -> None:
    record = filed(store)
    store.run_sync(lambda db: lifecycle.void(db, record.dcn, doing(second="chief-2")))
    before = _find(store, str(record.dcn))
    entries = store.run_sync(ledger.head)
    kept = what in (Act.HOLD, Act.NOTIFY_SUBJECT)
    try:
        _act(store, record, what, {"narrative": "Other words."}, "REVERSED", None, "why")
    except CandorError as error:
        assert error.remedy
        assert type(error) in (WrongStanding, InputInvalid)
        assert store.run_sync(ledger.head) == entries
        assert _find(store, str(record.dcn)) == before
    else:
        assert kept


# --- what takes two --------------------------------------------------------------------------------------


def _proposed(outcome: LifeEvent | ApprovalId) -> ApprovalId:
    assert isinstance(outcome, ApprovalId)
    return outcome


def _approve(store: Store, approval_id: ApprovalId, actor: Actor = CHIEF) -> None:
    store.run_sync(lambda db: approvals.decide(db, NOW, approval_id, actor, True, "seen", EXECUTORS))


def test_what_waits_for_a_second_person_is_not_proposed_twice(store: Store) -> None:
    record = filed(store)
    waiting = _proposed(store.run_sync(lambda db: desk.void(db, record, CLERK, doing(reason="wrong"))))
    with pytest.raises(AlreadyExists, match=str(waiting)):
        store.run_sync(lambda db: desk.void(db, record, CLERK, doing(reason="wrong")))
    later = NOW + approvals.LIFE + timedelta(hours=1)
    store.run_sync(lambda db: desk.void(db, record, CLERK, doing(now=later, reason="wrong")))


def test_a_void_is_only_proposed_until_a_second_person_agrees(store: Store) -> None:
    record = filed(store)
    waiting = store.run_sync(lambda db: desk.void(db, record, CLERK, doing(reason="wrong person")))
    assert _find(store, str(record.dcn)).circumstances.standing is Standing.ACTIVE
    with pytest.raises(WrongRole):
        _approve(store, waiting, CLERK)
    _approve(store, waiting)
    gone = _find(store, str(record.dcn))
    assert gone.circumstances.standing is Standing.VOID
    (*_, last) = store.run_sync(lambda db: history.events(db, record.record_id))
    assert (last.act, last.by, last.second, last.reason) == (Act.VOID, "clerk-7", "chief-2", "wrong person")


def test_an_expungement_takes_two_and_leaves_a_tombstone(store: Store) -> None:
    record = filed(store)
    waiting = store.run_sync(lambda db: desk.expunge(db, record, CLERK, doing(reason="Order 9")))
    assert _find(store, str(record.dcn)).circumstances.standing is Standing.ACTIVE
    _approve(store, waiting)
    with pytest.raises(UnknownObject, match="destroyed"):
        _find(store, str(record.dcn))
    (*_, last) = store.run_sync(lambda db: history.events(db, record.record_id))
    assert (last.act, last.by, last.second, last.reason) == (Act.EXPUNGE, "clerk-7", "chief-2", "")


def _share(store: Store, record: Record, sharing: Sharing) -> LifeEvent | ApprovalId:
    return store.run_sync(lambda db: desk.share(db, record, sharing, CLERK, doing(reason="why")))


def test_closing_a_record_takes_one_person_and_opening_what_is_red_takes_two(store: Store) -> None:
    record = filed(store)
    event = _share(store, record, Sharing.RED)
    assert isinstance(event, LifeEvent)
    for sharing in (Sharing.GREEN, Sharing.YELLOW):
        waiting = _proposed(_share(store, event.after, sharing))
        assert _find(store, str(record.dcn)).sharing is Sharing.RED
    _approve(store, waiting)
    assert _find(store, str(record.dcn)).sharing is Sharing.YELLOW


def test_what_was_approved_of_a_red_record_is_not_done_to_one_that_was_opened_since(store: Store) -> None:
    red = _share(store, filed(store), Sharing.RED)
    assert isinstance(red, LifeEvent)
    green, yellow = (_proposed(_share(store, red.after, one)) for one in (Sharing.GREEN, Sharing.YELLOW))
    _approve(store, yellow)
    with pytest.raises(WrongStanding, match="is YELLOW by now"):
        _approve(store, green)
    assert _find(store, str(red.after.dcn)).sharing is Sharing.YELLOW


def test_a_colour_that_it_has_already_is_refused(store: Store) -> None:
    with pytest.raises(WrongStanding, match="already"):
        _share(store, filed(store), Sharing.YELLOW)


def test_an_advisory_record_is_never_green(store: Store) -> None:
    record = filed(store, record_kind="SEPARATION_UNDER_INVESTIGATION")
    with pytest.raises(InputInvalid, match="never GREEN"):
        _share(store, record, Sharing.GREEN)


def test_what_was_approved_of_an_older_version_is_not_done_to_a_newer_one(store: Store) -> None:
    record = filed(store)
    waiting = store.run_sync(lambda db: desk.void(db, record, CLERK, doing(reason="wrong person")))
    later = _done(_act(store, record, Act.CORRECT, {"narrative": "Falsified one overtime report."}))
    with pytest.raises(WrongStanding, match="since this was proposed"):
        _approve(store, waiting)
    assert _find(store, str(record.dcn)) == later


def test_a_record_is_not_opened_when_something_happened_to_it_since(store: Store) -> None:
    """Marked RED, proposed to be opened, disputed: who approves has not seen that."""
    event = _share(store, filed(store), Sharing.RED)
    assert isinstance(event, LifeEvent)
    record = event.after
    waiting = _proposed(_share(store, record, Sharing.YELLOW))
    disputed = replace(record.circumstances, subject_statement="It was not me.")
    later = doing(NOW + timedelta(hours=1))
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.STATEMENT, later, disputed))
    with pytest.raises(WrongStanding, match="Something happened"):
        _approve(store, waiting)
    assert _find(store, str(record.dcn)).sharing is Sharing.RED


def test_a_hold_between_proposal_and_approval_keeps_the_record(store: Store) -> None:
    record = filed(store)
    waiting = store.run_sync(lambda db: desk.expunge(db, record, CLERK, doing(reason="Order 9")))
    _act(store, record, Act.HOLD, reason="a case")
    with pytest.raises(WrongStanding, match="legal hold"):
        _approve(store, waiting)
    assert _find(store, str(record.dcn)).circumstances.legal_hold


def test_a_run_of_retention_destroys_what_was_proposed_once_a_second_person_agrees(store: Store) -> None:
    record = filed(store)
    ended = replace(record.circumstances, expires_on=NOW.date() - timedelta(days=9))
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.KEEP, doing(), ended))
    store.run_sync(lambda db: due_process.refresh(db, NOW, NoPack(), every=True))
    waiting = store.run_sync(lambda db: desk.destroy(db, [record.dcn], CLERK, "Retention is over.", NOW))
    assert store.run_sync(lambda db: filings.find(db, record.dcn)).dcn == record.dcn
    _approve(store, waiting)
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: filings.find(db, record.dcn))


def test_a_run_over_nothing_is_not_proposed(store: Store) -> None:
    with pytest.raises(InputInvalid, match="nothing to destroy"):
        store.run_sync(lambda db: desk.destroy(db, [], CLERK, "Retention is over.", NOW))
