"""The fair-process gate, clause by clause (RECORDS.md §3.5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.record import RecordKind
from candor_records.codes import AdjudicationStatus
from candor_records.gate import (
    GateDecision,
    gate,
    gate_day,
)
from candor_records.gate_rules import ADVISORY_SEPARATION, FINAL_APPEAL_PENDING, GateRules
from candor_records.records import Circumstances, ReportType, following
from tests.records import NOW, make_content, make_record

TODAY = date(2026, 3, 2)


def failing(decision: GateDecision) -> list[str]:
    assert decision.matchable == (not decision.failed)
    for clause in decision.reasons:
        assert clause.words.startswith("Holds: " if clause.holds else "Fails: ")
        assert clause.words.endswith(".")
    return [clause.name for clause in decision.failed]


@pytest.mark.parametrize("kind", [kind.name for kind in RecordKind])
def test_complete_record_passes_and_a_separation_without_finding_does_not(kind: str) -> None:
    expected = ["final"] if kind == "SEPARATION_UNDER_INVESTIGATION" else []
    assert failing(gate(make_record(record_kind=kind), TODAY)) == expected


@pytest.mark.parametrize(
    ("overrides", "clause", "words"),
    [
        ({"notice_given_on": "", "notice_method": ""}, "notice", "no notice"),
        ({"notice_given_on": "UNKNOWN", "notice_method": "UNKNOWN"}, "notice", "no notice"),
        ({"notice_given_on": "2021-06-08"}, "notice", "after the decision of 2021-06-07"),
        ({"opportunity": "NOT_OFFERED", "opportunity_on": ""}, "opportunity", "no opportunity"),
        ({"opportunity_on": "2021-06-08"}, "opportunity", "came after the decision"),
        ({"finality": "APPEAL_PENDING"}, "final", "an appeal is pending"),
        (
            {"finality": "APPEAL_TIME_RUNNING", "appeal_until": "2026-03-02"},
            "final",
            "can be appealed until 2026-03-02",
        ),
        ({"decided_on": "2026-03-03"}, "final", "no decision in effect yet"),
    ],
)
def test_each_missing_fact_closes_the_gate_and_says_so(
    overrides: dict[str, str], clause: str, words: str
) -> None:
    decision = gate(make_record(**overrides), TODAY)
    assert failing(decision) == [clause]
    assert words in decision.failed[0].words


@pytest.mark.parametrize("finality", ["FINAL", "EXHAUSTED", "WAIVED"])
@pytest.mark.parametrize(
    "opportunity",
    [{}, {"opportunity": "OFFERED_WAIVED"}, {"opportunity": "OFFERED_WAIVED", "opportunity_on": ""}],
)
def test_every_form_of_final_and_of_opportunity_passes(finality: str, opportunity: dict[str, str]) -> None:
    assert failing(gate(make_record(finality=finality, **opportunity), TODAY)) == []


def test_appeal_time_that_runs_out_makes_a_decision_final() -> None:
    record = make_record(finality="APPEAL_TIME_RUNNING", appeal_until="2026-03-02")
    on_the_last_day = gate(record, date(2026, 3, 2))
    assert failing(on_the_last_day) == ["final"]
    assert on_the_last_day.recheck_on == date(2026, 3, 3)
    after = gate(record, date(2026, 3, 3))
    assert failing(after) == []
    assert after.recheck_on is None


def test_day_counts_as_over_when_it_is_over_everywhere() -> None:
    midnight_in_greenwich = datetime(2026, 3, 3, tzinfo=UTC)
    assert gate_day(midnight_in_greenwich) == date(2026, 3, 2)
    assert gate_day(midnight_in_greenwich + timedelta(hours=12)) == date(2026, 3, 3)


@pytest.mark.parametrize(
    "status", [AdjudicationStatus.REVERSED, AdjudicationStatus.VACATED, AdjudicationStatus.EXPUNGED]
)
def test_overturned_decision_is_out(status: AdjudicationStatus) -> None:
    record = replace(make_record(), adjudication_status=status)
    assert failing(gate(record, TODAY)) == ["not expunged"]


@pytest.mark.parametrize("kind", ["TERMINATION_FOR_CAUSE", "COMMENDATION"])
def test_void_report_is_out(kind: str) -> None:
    content = make_content(record_kind=kind)
    void = following(make_record(record_kind=kind), content, NOW, "clerk-9", ReportType.VOID)
    assert failing(gate(void, TODAY)) == ["not void"]


@pytest.mark.parametrize("kind", ["TERMINATION_FOR_CAUSE", "COMMENDATION"])
def test_record_past_its_time_is_out(kind: str) -> None:
    record = replace(make_record(record_kind=kind), circumstances=Circumstances(expires_on=TODAY))
    assert failing(gate(record, TODAY - timedelta(days=1))) == []
    assert gate(record, TODAY - timedelta(days=1)).recheck_on == TODAY
    assert failing(gate(record, TODAY)) == ["not expired"]


def test_separation_under_investigation_needs_a_named_exception() -> None:
    record = make_record(record_kind="SEPARATION_UNDER_INVESTIGATION")
    decision = gate(record, TODAY)
    assert "no policy pack allows" in decision.failed[0].words
    assert failing(gate(record, TODAY, GateRules(frozenset({FINAL_APPEAL_PENDING})))) == ["final"]
    needs_facts = gate(record, TODAY, GateRules(frozenset({ADVISORY_SEPARATION})))
    assert failing(needs_facts) == ["final"]
    assert "as an advisory record it needs more" in needs_facts.failed[0].words
    known = {"investigation_opened_on": "2021-04-01", "officer_informed_on": "2021-04-01"}
    complete = make_record(record_kind="SEPARATION_UNDER_INVESTIGATION", **known)
    assert failing(gate(complete, TODAY, GateRules(frozenset({ADVISORY_SEPARATION})))) == []
    # The exception stands for the finding only: notice and opportunity are still owed.
    unheard = make_record(
        record_kind="SEPARATION_UNDER_INVESTIGATION", opportunity="NOT_OFFERED", opportunity_on="", **known
    )
    decision = gate(unheard, TODAY, GateRules(frozenset({ADVISORY_SEPARATION})))
    assert failing(decision) == ["opportunity", "final"]


def test_pending_appeal_needs_a_named_exception() -> None:
    record = make_record(finality="APPEAL_PENDING")
    assert record.adjudication_status is AdjudicationStatus.FINAL_APPEAL_PENDING
    assert failing(gate(record, TODAY, GateRules(frozenset({ADVISORY_SEPARATION})))) == ["final"]
    assert failing(gate(record, TODAY, GateRules(frozenset({FINAL_APPEAL_PENDING})))) == []


@pytest.mark.parametrize(
    ("sharing", "expected"), [("GREEN", []), ("YELLOW", []), ("RED", ["opt-in"]), ("", ["opt-in"])]
)
def test_commendation_is_matched_only_if_opted_in(sharing: str, expected: list[str]) -> None:
    assert failing(gate(make_record(record_kind="COMMENDATION", sharing=sharing), TODAY)) == expected


def test_red_negative_record_still_matches() -> None:
    """RED is declined at release; what must not be found at all is HELD (RECORDS.md §3.6)."""
    assert failing(gate(make_record(sharing="RED"), TODAY)) == []


@given(
    day=st.dates(date(2019, 1, 1), date(2035, 1, 1)),
    until=st.dates(date(2021, 6, 7), date(2030, 1, 1)),
    expires=st.one_of(st.none(), st.dates(date(2021, 6, 7), date(2030, 1, 1))),
)
def test_gate_changes_on_no_day_that_it_did_not_announce(
    day: date, until: date, expires: date | None
) -> None:
    record = make_record(finality="APPEAL_TIME_RUNNING", appeal_until=until.isoformat())
    record = replace(record, circumstances=Circumstances(expires_on=expires))
    decision = gate(record, day)
    horizon = decision.recheck_on or day + timedelta(days=4000)
    assert horizon > day
    for later in (day, day + (horizon - day) / 2, horizon - timedelta(days=1)):
        assert gate(record, later).matchable == decision.matchable
