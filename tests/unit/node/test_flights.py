"""Flights: public sizes, nothing shared between persons, results that depend on nothing but the findings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node.flights import PlannedRow, WaitingRow, fillers, pack, plan_row, plans_of, results
from candor_proto.ids import LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import LookupPlan
from candor_proto.normalise import Particulars
from candor_proto.result import Coverage, TargetReport, TargetState
from candor_proto.scheme import CURRENT
from candor_proto.statements import PERSONS
from tests.parties import MIKE, NOW

MANY = replace(MIKE, last="Schmidt-Meyer Lopez", former_last="Garcia Perez")


def planned(person: Particulars = MIKE, number: int = 2, case: str = "REQ-1") -> PlannedRow:
    row = WaitingRow(number, person, case, "CONSENT-1", "Inv. Roe")
    return plan_row(row, LookupShape.DETAILED, Purpose.J_APPLICANT, frozenset())


def rows(sizes: list[int]) -> list[PlannedRow]:
    (plan,) = planned().plans
    plans: list[tuple[LookupPlan, ...]] = [(plan,) * size for size in sizes]
    return [PlannedRow(number, (), each) for number, each in enumerate(plans, 2)]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=64))
def test_a_flight_has_a_public_size_holds_whole_rows_and_at_most_a_quarter_of_fillers(
    sizes: list[int],
) -> None:
    """§5.3; at most a quarter are fillers, but for a row of two or three plans that is left alone."""
    waiting = rows(sizes)
    taken, size = pack(waiting)
    seated = sum(len(row.plans) for row in waiting[:taken])
    assert taken >= 1
    assert size in PERSONS
    assert seated <= size
    assert (size - seated) * 4 <= size or taken == 1 or size - seated < 3


def test_a_full_window_makes_a_full_flight() -> None:
    assert pack(rows([1] * 64)) == (64, 64)
    assert pack(rows([1] * 10)) == (4, 4)
    assert pack(rows([1] * 13)) == (13, 16)
    assert pack(rows([1])) == (1, 1)


def test_two_plans_of_a_person_share_no_seed_and_no_salt() -> None:
    row = planned(MANY)
    assert len(row.plans) > 1
    assert len({person.paperwork.filler_seed for person in row.persons}) == len(row.persons)
    assert len({person.paperwork.salts["case"] for person in row.persons}) == len(row.persons)
    assert [plan.number for plan in row.plans] == list(range(len(row.plans)))


def test_a_filler_person_is_all_fillers() -> None:
    (person,) = fillers(1)
    (plan,) = plans_of([person], {}, LookupShape.SCREENING, CURRENT.version)
    assert person.row is None
    assert all(slot.label is None for slot in plan.slots)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (planned(Particulars(last="Doe")), "Too little is known"),
        (planned(case=""), "needs the requisition number"),
        (planned(case="x" * 200), "longer than"),
    ],
)
def test_a_row_that_cannot_be_asked_says_why_and_names_no_value(row: PlannedRow, words: str) -> None:
    assert words in row.error
    assert row.plans == ()
    assert "Doe" not in row.error


def test_a_detailed_row_after_a_screening_of_its_case_is_not_asked() -> None:
    row = WaitingRow(2, MIKE, "REQ-1", "CONSENT-1", "Inv. Roe")
    asked = frozenset({LookupShape.SCREENING})
    assert "screened already" in plan_row(row, LookupShape.DETAILED, Purpose.J_APPLICANT, asked).error


def test_results_say_the_day_of_the_oldest_index_and_no_age_that_another_minute_would_change() -> None:
    report = TargetReport(NodeId("bravo"), TargetState.ANSWERED, NOW)
    texts = {
        results(LookupId(bytes(16)), Coverage((report,), as_of, 7), [], incomplete=False)
        for as_of in (NOW, NOW.replace(hour=23))
    }
    assert texts == {("NO_RECORD", "", "0", "", "", "1 of 1 nodes answered; oldest index 2026-03-02", "")}
