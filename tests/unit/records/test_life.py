"""The table of a record's life, cell by cell (RECORDS.md §4.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from candor_proto.errors import WrongStanding
from candor_records.codes import AdjudicationStatus
from candor_records.life import LIVE, POSSIBLE, REPORTS, Act, Overturning, act_of, check_act
from candor_records.records import Circumstances, Record, ReportType, Standing, following
from tests.records import CONTRIBUTOR, NOW, make_content, make_record


def standing(now: Standing, *, sealed_by_order: bool = False, legal_hold: bool = False) -> Record:
    circumstances = Circumstances(standing=now, sealed_by_order=sealed_by_order, legal_hold=legal_hold)
    return replace(make_record(), circumstances=circumstances)


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("now", Standing)
def test_act_is_possible_where_the_table_says_so_and_nowhere_else(act: Act, now: Standing) -> None:
    record = standing(now)
    if now not in POSSIBLE[act]:
        with pytest.raises(WrongStanding, match=str(record.dcn)) as refusal:
            check_act(record, act)
        assert refusal.value.remedy
    elif act not in (Act.DECIDE_APPEAL, Act.UNSEAL, Act.LIFT_HOLD):
        check_act(record, act)


def test_terminal_standings_have_no_way_back() -> None:
    for act, possible in POSSIBLE.items():
        if act in REPORTS and act is not Act.FILE:
            assert possible == LIVE
    assert all(Standing.EXPUNGED not in possible for possible in POSSIBLE.values())


def test_legal_hold_keeps_from_destruction_and_from_nothing_else() -> None:
    for act, now in ((Act.EXPUNGE, Standing.ACTIVE), (Act.DESTROY, Standing.VOID)):
        with pytest.raises(WrongStanding, match="legal hold") as refusal:
            check_act(standing(now, legal_hold=True), act)
        assert "Seal it" in refusal.value.remedy
        check_act(standing(now), act)
    for act in (Act.VOID, Act.SEAL, Act.OVERTURN, Act.CORRECT):
        check_act(standing(Standing.ACTIVE, legal_hold=True), act)


@pytest.mark.parametrize(
    ("act", "circumstances", "words"),
    [
        (Act.SEAL, {"sealed_by_order": True}, "sealed already"),
        (Act.UNSEAL, {}, "is not sealed"),
        (Act.HOLD, {"legal_hold": True}, "under legal hold already"),
        (Act.LIFT_HOLD, {}, "is not under legal hold"),
        (Act.DECIDE_APPEAL, {}, "no appeal is pending"),
    ],
)
def test_what_would_change_nothing_is_refused(act: Act, circumstances: dict[str, bool], words: str) -> None:
    with pytest.raises(WrongStanding, match=words):
        check_act(standing(Standing.HELD, **circumstances), act)


def test_appeal_is_entered_once_and_decided_once() -> None:
    pending = make_record(finality="APPEAL_PENDING")
    with pytest.raises(WrongStanding, match="pending already"):
        check_act(pending, Act.NOTICE_APPEAL)
    check_act(pending, Act.DECIDE_APPEAL)


def test_nothing_is_appealed_where_nothing_was_decided() -> None:
    for kind, words in (
        ("COMMENDATION", "no decision"),
        ("SEPARATION_UNDER_INVESTIGATION", "no decision was"),
    ):
        with pytest.raises(WrongStanding, match=words):
            check_act(make_record(record_kind=kind), Act.NOTICE_APPEAL)


def test_what_was_overturned_stays_so_in_every_later_version() -> None:
    record = replace(make_record(), adjudication_status=AdjudicationStatus.REVERSED)
    later = following(record, make_content(ssn4="4822"), NOW, CONTRIBUTOR)
    assert later.adjudication_status is AdjudicationStatus.REVERSED
    for act in (Act.CORRECT, Act.REVISE, Act.NOTICE_APPEAL, Act.OVERTURN):
        with pytest.raises(WrongStanding, match="overturned"):
            check_act(later, act)
    check_act(later, Act.EXPUNGE)


@pytest.mark.parametrize("how", Overturning)
def test_overturning_says_what_the_record_is_then(how: Overturning) -> None:
    assert how.status in (AdjudicationStatus.REVERSED, AdjudicationStatus.VACATED)


def test_changed_row_is_what_it_says() -> None:
    record = make_record()
    assert act_of(record, record.content) is None
    assert act_of(record, make_content(sharing="GREEN")) is None
    assert act_of(record, make_content(ssn4="4822")) is Act.CORRECT
    appealed = make_content(finality="APPEAL_PENDING")
    assert act_of(record, appealed) is Act.NOTICE_APPEAL
    pending = following(record, appealed, NOW, CONTRIBUTOR, ReportType.NOTICE_OF_APPEAL)
    assert act_of(pending, make_content(finality="EXHAUSTED")) is Act.DECIDE_APPEAL
