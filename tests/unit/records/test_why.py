"""`records why`: the failing clause first, what would open it, and when time alone would."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from candor_records.codes import AdjudicationStatus
from candor_records.gate import gate, standing
from candor_records.gate_rules import ADVISORY_SEPARATION, FINAL_APPEAL_PENDING, GateRules
from candor_records.records import Record, Standing
from candor_records.why import Why, why
from tests.records import make_record

TODAY = date(2026, 3, 2)


def _why(record: Record, rules: GateRules | None = None) -> Why:
    rules = rules or GateRules()
    now = standing(record, gate(record, TODAY, rules))
    record = replace(record, circumstances=replace(record.circumstances, standing=now))
    return why(record, TODAY, rules)


def test_a_shared_record_says_so_and_what_its_colour_means() -> None:
    said = _why(make_record())
    assert said.shared
    assert "is shared" in said.headline
    assert "YELLOW: a person here decides" in said.headline
    assert said.failing == ()
    assert said.by_itself == ""


def test_what_fails_comes_first_and_says_what_would_open_it() -> None:
    said = _why(make_record(opportunity="NOT_OFFERED", opportunity_on=""))
    assert said.lines()[1].strip().startswith("Fails: the officer was offered no opportunity")
    assert "correct opportunity" in said.lines()[2]
    assert said.by_itself == "Time alone does not open it."


def test_an_appeal_time_that_runs_opens_by_itself_on_the_day_after_it() -> None:
    said = _why(make_record(finality="APPEAL_TIME_RUNNING", appeal_until="2026-03-20"))
    assert not said.shared
    assert said.by_itself == "It opens by itself on 2026-03-21, if nothing else happens."


def test_time_that_opens_one_clause_of_two_opens_nothing() -> None:
    said = _why(
        make_record(
            finality="APPEAL_TIME_RUNNING",
            appeal_until="2026-03-20",
            opportunity="NOT_OFFERED",
            opportunity_on="",
        )
    )
    assert len(said.failing) == 2
    assert said.by_itself == "Time alone does not open it."


def test_a_record_with_an_end_says_when_it_closes() -> None:
    record = make_record()
    record = replace(record, circumstances=replace(record.circumstances, expires_on=date(2027, 1, 1)))
    assert _why(record).by_itself == "It closes by itself on 2027-01-01."


def test_a_record_that_would_open_only_after_its_end_is_not_promised_to_open() -> None:
    record = make_record(finality="APPEAL_TIME_RUNNING", appeal_until="2027-03-20")
    record = replace(record, circumstances=replace(record.circumstances, expires_on=date(2027, 1, 1)))
    assert _why(record).by_itself == "Time alone does not open it."


def test_a_pending_appeal_says_what_ends_it() -> None:
    record = make_record(finality="APPEAL_PENDING")
    assert "records appeal-decided" in _why(record).failing[0][1]
    assert _why(record, GateRules(frozenset({FINAL_APPEAL_PENDING}))).shared


def test_an_advisory_record_says_what_would_let_it_match() -> None:
    record = make_record(record_kind="SEPARATION_UNDER_INVESTIGATION")
    said = _why(record)
    assert any("sustained" in remedy for _, remedy in said.failing)
    assert ADVISORY_SEPARATION not in str(said.headline)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"reviewed": False}, "records review"),
        ({"sealed_by_order": True}, "records unseal"),
        ({"standing": Standing.VOID}, "Nothing opens it again"),
        ({"standing": Standing.EXPIRED}, "Nothing opens it again"),
    ],
)
def test_circumstances_that_close_it_say_what_opens_it(changes: dict[str, object], remedy: str) -> None:
    record = make_record()
    record = replace(record, circumstances=replace(record.circumstances, **changes))  # type: ignore[arg-type]
    said = why(record, TODAY, GateRules())
    assert not said.shared
    assert any(remedy in text for _, text in said.failing)


def test_an_overturned_decision_is_opened_by_nothing() -> None:
    record = replace(make_record(), adjudication_status=AdjudicationStatus.REVERSED)
    assert "Nothing opens it again" in _why(record).failing[0][1]


def test_no_word_names_the_officer() -> None:
    for record in (make_record(), make_record(opportunity="NOT_OFFERED", opportunity_on="")):
        text = "\n".join(_why(record).lines())
        assert "Placeholderson" not in text
        assert "Quentin" not in text
