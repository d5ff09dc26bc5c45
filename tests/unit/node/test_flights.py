"""Flights: public sizes, nothing shared between persons, results that depend on nothing but the findings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import coverage_words
from candor_node.batch_file import RESULTS
from candor_node.flights import (
    PlannedRow,
    RowFindings,
    WaitingRow,
    fillers,
    pack,
    plan_row,
    plans_of,
    probe,
    results,
)
from candor_proto.ids import LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import LookupPlan
from candor_proto.normalise import Particulars
from candor_proto.result import Coverage, Hit, LookupResult, TargetReport, TargetState, order_hits
from candor_proto.scheme import CURRENT
from candor_proto.scoring import Band, Explanation
from candor_proto.statements import PERSONS
from tests.indexes import HARBOR, ask, index_of, keys_of, seal_people
from tests.parties import FEDERATION, MIKE, NOW

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


def result_of(found: Coverage, *hits: Hit) -> tuple[str, ...]:
    result = LookupResult(LookupId(bytes(16)), order_hits(hits), found)
    return results(result, coverage_words.cells(found), incomplete=False)


def test_results_say_the_day_of_the_oldest_index_and_no_age_that_another_minute_would_change() -> None:
    report = TargetReport(NodeId("bravo"), TargetState.ANSWERED, NOW)
    texts = [result_of(Coverage((report,), as_of, 7)) for as_of in (NOW, NOW.replace(hour=23))]
    words = ("NO_RECORD", "", "0", "", "", "1 of 1 nodes answered; oldest index 2026-03-02", "1", "1", "")
    assert {text[:9] for text in texts} == {words}
    assert [text[9:] for text in texts] == [
        ("2026-03-02", "", "2026-03-02 14:30Z", ""),
        ("2026-03-02", "", "2026-03-02 23:30Z", ""),
    ]


# --- what a row opens, and its words -------------------------------------------------------------------


def probed(records: int) -> RowFindings:
    """What the index of harbor-pd, where Mike is filed, holds for a row about him."""
    keys = keys_of(HARBOR)
    octets, _ = seal_people([MIKE], keys, HARBOR)
    (person,) = planned().persons
    outputs = tuple(ask(MIKE, LookupShape.DETAILED, keys))
    index = index_of([octets], keys, HARBOR)
    (found,) = probe([person], [outputs], index, FEDERATION, NOW, records)
    return found


def test_twice_the_records_cost_the_hit_of_a_row_one_bit() -> None:
    """docs/matching.md §6, as for a single lookup."""
    weights = [
        hit.explanation.centibits for records in (1_000, 2_000, 4_000) for hit, _ in probed(records).hits
    ]
    assert [weights[0] - weight for weight in weights] == [0, 100, 200]


def cells(*hits: Hit) -> dict[str, str]:
    report = TargetReport(HARBOR.node, TargetState.ANSWERED, NOW)
    return dict(zip(RESULTS, result_of(Coverage((report,), NOW, 7), *hits), strict=True))


def test_a_row_says_in_words_what_the_best_candidate_is() -> None:
    ((hit, _),) = probed(1_000).hits
    found = cells(hit)
    assert (found["outcome"], found["candidates"], found["owners"]) == ("MATCH", "1", "harbor-pd")
    assert found["probability"] == f"{hit.explanation.probability:.4f}"
    assert found["explanation"].startswith("strong, over 99 %: in tests fewer than 1 in 100 of these were")
    assert "; given name agrees; surname agrees; birth date agrees; " in found["explanation"]
    assert found["explanation"].endswith("; not known: certification number, generation suffix")


def test_a_row_whose_only_candidate_is_set_aside_says_why_and_gives_no_probability() -> None:
    ((hit, _),) = probed(1_000).hits
    words = ("different given name at the same birth date: a twin or sibling?", "surname agrees")
    twin = Explanation(Band.BELOW, -150, words, ("surname",), ("given name",), ("sex",))
    found = cells(replace(hit, explanation=twin))
    assert (found["outcome"], found["probability"], found["candidates"]) == ("NO_RECORD", "", "0")
    assert found["explanation"] == (
        "1 set aside; below threshold, 26 %: more likely somebody else; different given name at the same "
        "birth date: a twin or sibling?; surname agrees; differs: given name; not known: sex"
    )
    screened = Explanation(Band.BELOW, -150, ("agrees in birth date",), (), (), ("given name", "sex"))
    assert "not known" not in cells(replace(hit, explanation=screened))["explanation"]
