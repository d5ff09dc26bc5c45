"""Notices to the subject, their statement, and the clock of their dispute (RECORDS.md §4.1, §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from candor_node import filings, history, ledger, lifecycle, notices, subject_acts
from candor_node.store import Database, Store
from candor_proto.errors import InputInvalid, UnknownObject, WrongStanding
from candor_proto.ids import Purpose
from candor_proto.policy import Release, Sharing, release_by_rule
from candor_proto.record import DisputeStatus
from candor_records.codes import NoticeMethod
from candor_records.dispute import DisputeAnswer, DisputeGround, Resolution
from candor_records.life import Act
from candor_records.records import Dcn, Record, Standing
from tests.records import NODE, NOW, ORI, make_content
from tests.subjects import AGENCY, DAY, doing, filed, subject_store

TODAY = NOW.date()
UNTOLD = {"subject_notified_on": ""}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with subject_store(tmp_path) as store:
        yield store


def current(store: Store, dcn: Dcn) -> Record:
    return store.run_sync(lambda db: lifecycle.current(db, dcn))


def due(store: Store) -> list[tuple[Act, date]]:
    return [(one.act, one.due_on) for one in store.run_sync(lambda db: notices.due(db, 100))]


def disputed(store: Store, dcn: Dcn, ground: DisputeGround = DisputeGround.FACTUAL_INACCURACY) -> None:
    store.run_sync(lambda db: subject_acts.open_dispute(db, dcn, ground, "It was May.", TODAY, doing()))


def answered(store: Store, dcn: Dcn, said: DisputeAnswer, days: float = 1) -> None:
    on = TODAY + timedelta(days=days)
    store.run_sync(lambda db: subject_acts.answer(db, dcn, said, "The order says so.", on, doing(days)))


# --- notices --------------------------------------------------------------------------------------------


def test_filing_makes_a_notice_due_in_ten_days(store: Store) -> None:
    filed(store, **UNTOLD)
    assert due(store) == [(Act.FILE, TODAY + timedelta(days=10))]


def test_a_report_that_says_when_the_subject_was_told_needs_no_notice(store: Store) -> None:
    dcn = filed(store, subject_notified_on="2021-06-20")
    assert due(store) == []
    (notice,) = store.run_sync(lambda db: notices.of_record(db, filings.record_id_of(db, dcn)))
    assert notice.sent_on == date(2021, 6, 20)


def test_every_act_of_which_the_subject_must_hear_makes_its_own_notice(store: Store) -> None:
    dcn = filed(store)
    changed = make_content(effective_on="2021-06-15")
    store.run_sync(lambda db: lifecycle.revise(db, dcn, changed, doing(1)))
    store.run_sync(lambda db: lifecycle.notice_of_appeal(db, dcn, {}, doing(2)))
    store.run_sync(lambda db: lifecycle.void(db, dcn, doing(3)))
    assert [act for act, _ in due(store)] == [Act.REVISE, Act.NOTICE_APPEAL, Act.VOID]


@pytest.mark.parametrize("act", [Act.HOLD, Act.CHANGE_SHARING, Act.STATEMENT])
def test_other_acts_make_none(store: Store, act: Act) -> None:
    dcn = filed(store)
    store.run_sync(
        lambda db: lifecycle.change(db, dcn, act, doing(1), lifecycle.current(db, dcn).circumstances)
    )
    assert due(store) == []


def test_a_draft_tells_nobody_until_it_was_reviewed(store: Store) -> None:
    content = make_content(**UNTOLD)
    dcn = store.run_sync(lambda db: lifecycle.file(db, content, ORI, NODE, doing(), reviewed=False)).after.dcn
    assert due(store) == []
    with pytest.raises(WrongStanding, match="No notice"):
        store.run_sync(lambda db: notices.write(db, dcn, AGENCY, doing()))
    reviewed = replace(current(store, dcn).circumstances, reviewed=True)
    store.run_sync(lambda db: lifecycle.change(db, dcn, Act.REVIEW, doing(1), reviewed))
    assert [act for act, _ in due(store)] == [Act.FILE]


def test_the_longest_overdue_notice_comes_first(store: Store) -> None:
    late = make_content(agency_record_id="B", **UNTOLD)
    store.run_sync(lambda db: lifecycle.file(db, late, ORI, NODE, doing(5)))
    filed(store, agency_record_id="A", **UNTOLD)
    assert [day for _, day in due(store)] == [TODAY + timedelta(days=10), TODAY + timedelta(days=15)]


def test_a_notice_that_was_sent_is_in_history_and_ledger_and_no_longer_due(store: Store) -> None:
    dcn = filed(store, **UNTOLD)
    on = TODAY + timedelta(days=2)
    settled = store.run_sync(lambda db: subject_acts.mark_notified(db, dcn, on, NoticeMethod.MAIL, doing(2)))
    assert (settled, due(store)) == (1, [])

    def work(db: Database) -> tuple[list[Act], list[str]]:
        acts = [event.act for event in history.events(db, filings.record_id_of(db, dcn))]
        return acts, [entry.event for entry in ledger.entries(db, event="subject")]

    acts, entries = store.run_sync(work)
    assert acts == [Act.FILE, Act.NOTIFY_SUBJECT]
    assert entries == ["subject.notified"]
    with pytest.raises(WrongStanding, match="waits for a notice"):
        store.run_sync(lambda db: subject_acts.mark_notified(db, dcn, on, NoticeMethod.MAIL, doing(2)))


def test_a_letter_does_not_tell_of_what_was_done_after_it(store: Store) -> None:
    dcn = filed(store, **UNTOLD)
    store.run_sync(lambda db: lifecycle.notice_of_appeal(db, dcn, {}, doing(5)))
    store.run_sync(
        lambda db: subject_acts.mark_notified(
            db, dcn, TODAY + timedelta(days=4), NoticeMethod.IN_PERSON, doing(6)
        )
    )
    assert [act for act, _ in due(store)] == [Act.NOTICE_APPEAL]


def test_a_notice_is_not_dated_into_the_future(store: Store) -> None:
    dcn = filed(store, **UNTOLD)
    with pytest.raises(InputInvalid, match="has not come"):
        store.run_sync(
            lambda db: subject_acts.mark_notified(
                db, dcn, TODAY + timedelta(days=2), NoticeMethod.MAIL, doing()
            )
        )


def test_the_letter_is_about_the_newest_act_and_in_the_ledger(store: Store) -> None:
    dcn = filed(store)
    changed = make_content(effective_on="2021-06-15")
    newest = store.run_sync(lambda db: lifecycle.revise(db, dcn, changed, doing(1))).after.dcn
    letter = store.run_sync(lambda db: notices.write(db, dcn, AGENCY, doing(2)))
    assert letter.what == "A later action was added to a record about you"
    assert letter.changed == ("Effective on",)
    assert (letter.dcn, letter.to) == (str(newest), "Quentin Placeholderson")
    (entry,) = store.run_sync(lambda db: ledger.entries(db, event="subject.notice_written"))
    assert entry.refs["dcn"] == str(newest)


def test_of_an_expunged_record_one_notice_is_left_that_names_nobody(store: Store) -> None:
    dcn = filed(store, **UNTOLD)
    store.run_sync(lambda db: lifecycle.expunge(db, dcn, doing(1)))
    assert [act for act, _ in due(store)] == [Act.EXPUNGE]
    letter = store.run_sync(lambda db: notices.write(db, dcn, AGENCY, doing(2)))
    assert (letter.to, letter.facts, letter.kind) == ("", (), "")
    on = TODAY + timedelta(days=2)
    assert store.run_sync(lambda db: subject_acts.mark_notified(db, dcn, on, NoticeMethod.COUNSEL, doing(2)))
    assert due(store) == []


# --- the statement --------------------------------------------------------------------------------------


def test_a_statement_is_added_and_replaced_and_the_former_one_stays_in_the_history(store: Store) -> None:
    dcn = filed(store)
    for days, text in ((1, "I was never asked."), (2, "I was asked too late.")):
        store.run_sync(
            partial(subject_acts.enter_statement, dcn=dcn, text=text, received_on=TODAY, doing=doing(days))
        )
    assert current(store, dcn).circumstances.subject_statement == "I was asked too late."
    events = store.run_sync(lambda db: history.events(db, filings.record_id_of(db, dcn)))
    assert [event.act for event in events] == [Act.FILE, Act.STATEMENT, Act.STATEMENT]
    assert "I was never asked." in events[1].reason


def test_what_the_subject_says_is_nowhere_in_the_ledger(store: Store) -> None:
    dcn = filed(store)
    store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, "Unmistakable words.", TODAY, doing()))
    disputed(store, dcn)
    answered(store, dcn, DisputeAnswer.STAND_BY)
    entries = store.run_sync(ledger.entries)
    assert not [e for e in entries if "Unmistakable" in str(e) or "May" in str(e) or "order says" in str(e)]


def test_a_statement_of_4001_characters_is_refused_and_the_old_one_stays(store: Store) -> None:
    dcn = filed(store)
    store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, "Short.", TODAY, doing()))
    with pytest.raises(InputInvalid, match="4001"):
        store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, "x" * 4001, TODAY, doing(1)))
    assert current(store, dcn).circumstances.subject_statement == "Short."


def test_a_statement_to_what_was_voided_or_expunged_is_refused(store: Store) -> None:
    one, other = filed(store, agency_record_id="A"), filed(store, agency_record_id="B")
    store.run_sync(lambda db: lifecycle.void(db, one, doing(1)))
    store.run_sync(lambda db: lifecycle.expunge(db, other, doing(1)))
    with pytest.raises(WrongStanding, match="void"):
        store.run_sync(lambda db: subject_acts.enter_statement(db, one, "Words.", TODAY, doing(2)))
    with pytest.raises(UnknownObject, match="destroyed"):
        store.run_sync(lambda db: subject_acts.enter_statement(db, other, "Words.", TODAY, doing(2)))


def test_the_subject_may_still_speak_when_the_record_has_expired(store: Store) -> None:
    dcn = filed(store)
    ended = replace(current(store, dcn).circumstances, standing=Standing.EXPIRED)
    store.run_sync(lambda db: lifecycle.change(db, dcn, Act.EXPIRE, doing(1), ended))
    store.run_sync(lambda db: subject_acts.enter_statement(db, dcn, "At last.", TODAY, doing(2)))
    now = current(store, dcn).circumstances
    assert (now.subject_statement, now.standing) == ("At last.", Standing.EXPIRED)


# --- the dispute ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "allowed"), [(59, False), (60, False), (60.6, False), (60.9, False), (61, True)]
)
def test_a_dispute_may_be_referred_once_day_sixty_is_over_everywhere_on_earth(
    store: Store, days: float, allowed: bool
) -> None:
    """NOW is noon in Greenwich: day 60 ends there after 60.5 days, and on Baker Island after 61."""
    dcn = filed(store)
    disputed(store, dcn)
    on = (NOW + days * DAY).date()
    if allowed:
        store.run_sync(lambda db: subject_acts.refer(db, dcn, on, doing(days)))
        assert current(store, dcn).dispute_status is DisputeStatus.IN_RESOLUTION
    else:
        with pytest.raises(WrongStanding, match="has until 2026-05-01"):
            store.run_sync(lambda db: subject_acts.refer(db, dcn, on, doing(days)))


def test_the_whole_way_of_a_dispute_to_a_correction(store: Store) -> None:
    dcn = filed(store)
    disputed(store, dcn)
    answered(store, dcn, DisputeAnswer.STAND_BY)
    store.run_sync(lambda db: subject_acts.refer(db, dcn, TODAY + timedelta(days=1), doing(1)))
    on = TODAY + timedelta(days=9)
    store.run_sync(lambda db: subject_acts.resolve(db, dcn, Resolution.CORRECT, "It was May.", on, doing(9)))
    dispute = current(store, dcn).circumstances.dispute
    assert dispute is not None
    assert dispute.resolver == doing().policy.resolver
    assert dispute.overdue(on + timedelta(days=1))
    with pytest.raises(WrongStanding, match="has to be corrected"):
        store.run_sync(lambda db: subject_acts.carry_out(db, dcn, doing(10)))
    store.run_sync(
        lambda db: lifecycle.report(
            db, Act.CORRECT, lifecycle.current(db, dcn), make_content(effective_on="2021-05-14"), doing(11)
        ),
    )
    store.run_sync(lambda db: subject_acts.carry_out(db, dcn, doing(12)))
    assert current(store, dcn).dispute_status is DisputeStatus.RESOLVED
    acts = [e.act for e in store.run_sync(lambda db: history.events(db, filings.record_id_of(db, dcn)))]
    assert acts == [
        Act.FILE,
        Act.DISPUTE,
        Act.ANSWER_DISPUTE,
        Act.REFER_DISPUTE,
        Act.RESOLVE_DISPUTE,
        Act.CORRECT,
        Act.RESOLVE_DISPUTE,
    ]


def test_a_correction_of_before_the_dispute_does_not_carry_anything_out(store: Store) -> None:
    dcn = filed(store)
    changed = make_content(effective_on="2021-06-15")
    store.run_sync(
        lambda db: lifecycle.report(db, Act.CORRECT, lifecycle.current(db, dcn), changed, doing(0))
    )
    disputed(store, dcn)
    answered(store, dcn, DisputeAnswer.CORRECT)
    with pytest.raises(WrongStanding, match="has to be corrected"):
        store.run_sync(lambda db: subject_acts.carry_out(db, dcn, doing(2)))


@pytest.mark.parametrize("answer", [None, DisputeAnswer.VOID, DisputeAnswer.STAND_BY])
def test_a_void_settles_whatever_was_open(store: Store, answer: DisputeAnswer | None) -> None:
    dcn = filed(store)
    disputed(store, dcn, DisputeGround.NOT_REPORTABLE)
    if answer is not None:
        answered(store, dcn, answer)
    store.run_sync(lambda db: lifecycle.void(db, dcn, doing(3)))
    dispute = current(store, dcn).circumstances.dispute
    assert dispute is not None
    assert (dispute.status, dispute.resolved_on) == (DisputeStatus.RESOLVED, TODAY + timedelta(days=3))
    assert dispute.due() is None


def test_another_dispute_may_follow_and_the_old_one_stays_in_the_history(store: Store) -> None:
    dcn = filed(store)
    disputed(store, dcn)
    with pytest.raises(WrongStanding, match="disputed already"):
        disputed(store, dcn, DisputeGround.WRONG_PERSON)
    answered(store, dcn, DisputeAnswer.STAND_BY)
    store.run_sync(lambda db: subject_acts.refer(db, dcn, TODAY + timedelta(days=1), doing(1)))
    on = TODAY + timedelta(days=2)
    store.run_sync(lambda db: subject_acts.resolve(db, dcn, Resolution.UNCHANGED, "It stands.", on, doing(2)))
    store.run_sync(
        lambda db: subject_acts.open_dispute(db, dcn, DisputeGround.WRONG_PERSON, "", on, doing(3))
    )
    record = current(store, dcn)
    assert (record.dispute_status, record.wrong_person_disputed) == (DisputeStatus.OPEN, True)
    told_of = [e.reason for e in store.run_sync(lambda db: history.events(db, filings.record_id_of(db, dcn)))]
    assert any("FACTUAL_INACCURACY. It was May." in reason for reason in told_of)
    assert any("UNCHANGED. It stands." in reason for reason in told_of)


@pytest.mark.parametrize("said", [Resolution.VOID, Resolution.CORRECT])
def test_while_a_wrong_person_is_not_undone_a_person_looks_at_every_release(
    store: Store, said: Resolution
) -> None:
    dcn = filed(store, sharing="GREEN")
    disputed(store, dcn, DisputeGround.WRONG_PERSON)
    answered(store, dcn, DisputeAnswer.STAND_BY)
    store.run_sync(lambda db: subject_acts.refer(db, dcn, TODAY + timedelta(days=1), doing(1)))
    on = TODAY + timedelta(days=2)
    store.run_sync(lambda db: subject_acts.resolve(db, dcn, said, "It is somebody else.", on, doing(2)))
    release, _ = release_by_rule(
        Sharing.GREEN,
        advisory=False,
        wrong_person_disputed=current(store, dcn).wrong_person_disputed,
        purpose=Purpose.J_APPLICANT,
        green_purposes=frozenset({Purpose.J_APPLICANT}),
    )
    assert release is Release.ASK_A_PERSON


def test_a_dispute_hides_no_record(store: Store) -> None:
    dcn = filed(store)
    before = current(store, dcn).circumstances.standing
    disputed(store, dcn, DisputeGround.WRONG_PERSON)
    assert current(store, dcn).circumstances.standing is before


@pytest.mark.parametrize("step", ["open", "answer"])
def test_no_step_of_a_dispute_is_dated_into_the_future(store: Store, step: str) -> None:
    dcn, ahead = filed(store), TODAY + timedelta(days=2)
    if step == "answer":
        disputed(store, dcn)
    with pytest.raises(InputInvalid, match="has not come"):
        store.run_sync(
            lambda db: (
                subject_acts.open_dispute(db, dcn, DisputeGround.WRONG_PERSON, "", ahead, doing())
                if step == "open"
                else subject_acts.answer(db, dcn, DisputeAnswer.STAND_BY, "So.", ahead, doing())
            )
        )
