"""What a pack adds to the gate, and when a separation without a finding may be shared."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_records.advisory import advisory_clause
from candor_records.gate import gate
from candor_records.gate_rules import ADVISORY_SEPARATION, GateRules, Tighten, Tightening
from candor_records.records import Record
from tests.packs import detailed_record
from tests.records import make_record

TODAY = date(2026, 3, 2)


def failed(record: Record, what: Tighten, today: date = TODAY, **parameters: object) -> list[str]:
    tightening = Tightening(what, "zz.rule", "Testland Code § 9", **parameters)  # type: ignore[arg-type]
    decision = gate(record, today, GateRules(tightenings=(tightening,)))
    clause = next(clause for clause in decision.reasons if clause.name == what.value)
    assert clause.words.startswith("Holds: " if clause.holds else "Fails: ")
    assert clause.words.endswith(" (rule zz.rule, Testland Code § 9).")
    return [clause.name for clause in decision.failed]


@pytest.mark.parametrize(
    ("what", "field"),
    [(Tighten.NAME_CLEARING, "name_clearing_offered"), (Tighten.REPRESENTATION, "representation_available")],
)
def test_a_hearing_or_a_representative_must_be_recorded(what: Tighten, field: str) -> None:
    assert failed(detailed_record({field: "YES"}), what) == []
    for doubt in ("NO", "UNKNOWN", "NOT_APPLICABLE", ""):
        assert failed(detailed_record({field: doubt}), what) == [what.value]


def test_the_officer_must_have_been_told_of_the_report() -> None:
    what = Tighten.SUBJECT_NOTIFIED
    assert failed(make_record(), what) == []
    assert failed(make_record(subject_notified_on=""), what) == ["subject notified"]
    assert failed(make_record(subject_notified_on="2026-03-03"), what) == ["subject notified"]


def test_a_waiting_time_opens_by_itself_and_the_gate_says_when() -> None:
    record = make_record(subject_notified_on="2026-02-01")
    what = Tighten.SUBJECT_NOTIFIED
    assert failed(record, what, date(2026, 3, 2), waiting_days=30) == ["subject notified"]
    assert failed(record, what, date(2026, 3, 3), waiting_days=30) == []
    rules = GateRules(tightenings=(Tightening(what, "zz", "x", waiting_days=30),))
    assert gate(record, TODAY, rules).recheck_on == date(2026, 3, 3)
    assert gate(record, date(2026, 3, 3), rules).recheck_on is None


@pytest.mark.parametrize(
    ("found", "asked", "holds"),
    [
        ("GRAVE", "SERIOUS", True),
        ("SERIOUS", "SERIOUS", True),
        ("MINOR", "SERIOUS", False),
        ("UNKNOWN", "MINOR", False),
        ("", "MINOR", False),
    ],
)
def test_a_matter_below_the_least_severity_is_held(found: str, asked: str, holds: bool) -> None:
    expected = [] if holds else ["severity"]
    record = detailed_record({"severity": found})
    assert failed(record, Tighten.MINIMUM_SEVERITY, severity=asked) == expected


@pytest.mark.parametrize("duty", ["YES", "NO", "UNKNOWN", "NOT_APPLICABLE"])
@pytest.mark.parametrize("force", ["YES", "NO", "UNKNOWN", "NOT_APPLICABLE"])
def test_one_nexus_that_is_asked_for_must_be_recorded(duty: str, force: str) -> None:
    record = make_record(on_duty=duty, use_of_force_related=force)
    both = ("on_duty", "use_of_force_related")
    expected = [] if "YES" in (duty, force) else ["nexus"]
    assert failed(record, Tighten.NEXUS_REQUIRED, nexus=both) == expected
    assert failed(record, Tighten.NEXUS_REQUIRED, nexus=("on_duty",)) == ([] if duty == "YES" else ["nexus"])


@given(st.lists(st.sampled_from(list(Tighten)), unique=True))
def test_a_tightening_opens_nothing_that_was_held(what: list[Tighten]) -> None:
    rules = GateRules(
        tightenings=tuple(Tightening(each, "zz", "x", severity="MINOR", nexus=("on_duty",)) for each in what)
    )
    for facts in ({}, {"finality": "APPEAL_PENDING"}, {"notice_given_on": "", "notice_method": ""}):
        record = make_record(**facts)
        before, after = gate(record, TODAY), gate(record, TODAY, rules)
        assert not after.matchable or before.matchable
        assert {clause.name for clause in before.failed} <= {clause.name for clause in after.failed}


# --- advisory records ------------------------------------------------------------------------------

FACTS = {
    "separated_on": "2021-06-14",
    "investigation_opened_on": "2021-04-01",
    "officer_informed_on": "2021-04-02",
    "opportunity": "OFFERED_WAIVED",
    "investigation_outcome": "PENDING",
}


def test_an_advisory_record_with_all_four_facts_passes_and_claims_nothing() -> None:
    clause = advisory_clause(FACTS, TODAY)
    assert clause.holds
    assert "no finding was made" in clause.words


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"investigation_opened_on": "UNKNOWN"}, "not recorded when the investigation was opened"),
        ({"investigation_opened_on": "2021-06-15"}, "was not open when the officer separated"),
        ({"officer_informed_on": ""}, "not recorded when the officer was told"),
        ({"officer_informed_on": "2021-06-15"}, "only after separating"),
        ({"officer_informed_on": "2021-03-31"}, "before it was opened"),
        ({"opportunity": "NOT_OFFERED"}, "no chance to respond was offered"),
        ({"investigation_outcome": "NOT_SUSTAINED"}, "in the officer's favour"),
        ({"investigation_outcome": "UNFOUNDED"}, "in the officer's favour"),
        ({"investigation_outcome": "EXONERATED"}, "in the officer's favour"),
    ],
)
def test_each_condition_of_an_advisory_record_closes_it(facts: dict[str, str], words: str) -> None:
    clause = advisory_clause({**FACTS, **facts}, TODAY)
    assert not clause.holds
    assert words in clause.words


def test_without_the_exception_no_facts_open_an_advisory_record() -> None:
    kind = "SEPARATION_UNDER_INVESTIGATION"
    facts = {name: FACTS[name] for name in ("separated_on", "investigation_opened_on", "officer_informed_on")}
    record = detailed_record(facts, record_kind=kind, decided_on="", finality="")
    assert not gate(record, TODAY).matchable
    assert gate(record, TODAY, GateRules(frozenset({ADVISORY_SEPARATION}))).matchable
