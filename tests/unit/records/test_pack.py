"""The packs in force as one policy: which rule counts, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.ids import Purpose
from candor_proto.record import RecordKind
from candor_records.content import Content
from candor_records.gate import gate
from candor_records.gate_rules import FINAL_APPEAL_PENDING
from candor_records.life import Overturning
from candor_records.pack import PackPolicy
from candor_records.pack_rules import Disputes, PackInvalid, Term
from tests.packs import APPEAL, SHORT, clock, default_pack, detailed_record, make_pack, make_policy
from tests.records import make_content, make_record

TERMINATION = RecordKind.TERMINATION_FOR_CAUSE
FILED = date(2021, 6, 20)

WITHDRAW = """
[[rule]]
id = "zz.withdraw"
term = "WITHDRAW_ON"
kinds = ["TERMINATION_FOR_CAUSE"]
overturnings = ["PARDONED", "REVERSED"]
destroy_days = 7
[rule.source]
citation = "Testland Code § 4"
[rule.passes]
case = "Vacated: nothing is destroyed."
kind = "TERMINATION_FOR_CAUSE"
overturned = "VACATED"
expect = "withdrawn at once"
[rule.refuses]
case = "Pardoned."
kind = "TERMINATION_FOR_CAUSE"
overturned = "PARDONED"
expect = "withdrawn at once, destroyed within 7 days"
"""
KIND_EXCLUDED = """
[[rule]]
id = "zz.no-judgments"
term = "GATE_TIGHTENING"
kinds = ["CIVIL_JUDGMENT", "COMMENDATION"]
tightening = "KIND_EXCLUDED"
[rule.source]
citation = "Testland Code § 5"
[rule.passes]
case = "x"
kind = "TERMINATION_FOR_CAUSE"
on = 2021-07-01
expect = "shared"
[rule.refuses]
case = "x"
kind = "CIVIL_JUDGMENT"
on = 2021-07-01
expect = "held: kind"
"""


def business_clock(anchor: str) -> str:
    return clock(7).replace('"CALENDAR"', '"BUSINESS"').replace('"EFFECTIVE"', f'"{anchor}"')


# --- the default answers everything ----------------------------------------------------------------


def test_the_default_pack_answers_every_question_and_grants_nothing() -> None:
    policy = make_policy()
    for kind in RecordKind:
        assert policy.gate_rules(kind).exceptions == frozenset()
        assert policy.gate_rules(kind).tightenings == ()
    assert policy.dispute_days == 60
    assert policy.resolver
    assert policy.deferral_days == 180
    assert policy.overdue_days == 14
    assert not policy.settlements_allowed
    assert policy.purposes == frozenset(Purpose) - {Purpose.C}
    assert "verify with counsel" in policy.why(Disputes)


@pytest.mark.parametrize("index", range(len(default_pack().rules)))
def test_a_default_pack_that_leaves_a_question_open_is_refused(index: int) -> None:
    pack = default_pack()
    rest = replace(pack, rules=pack.rules[:index] + pack.rules[index + 1 :])
    if pack.rules[index].term is Term.WITHDRAW_ON:
        PackPolicy((rest,))
        return
    with pytest.raises(PackInvalid, match="has no rule for"):
        PackPolicy((rest,))


def test_a_policy_begins_with_the_default_pack_and_has_it_once() -> None:
    with pytest.raises(PackInvalid, match="begins with"):
        PackPolicy((make_pack(),))
    with pytest.raises(PackInvalid, match="begins with"):
        PackPolicy(())
    with pytest.raises(PackInvalid, match="has one pack default"):
        PackPolicy((default_pack(), default_pack()))


# --- the state's pack over it ----------------------------------------------------------------------


def test_the_states_clock_and_retention_replace_the_defaults_for_their_kinds_only() -> None:
    policy, content = make_policy(clock(), SHORT), make_content()
    assert policy.reporting(content, date(2021, 6, 20)).days_late == 1
    assert "rule zz.clock (Testland Code § 1; verify with counsel)" in policy.reporting(content, FILED).why
    retention = policy.retention(content, FILED)
    assert (retention.review_on, retention.expires_on) == (None, date(2023, 6, 14))
    assert retention.why == ("kept until 2023-06-14 by rule zz.keep (Testland Code § 3; verify with counsel)")
    other = make_content(record_kind="SUSTAINED_FORCE_FINDING")
    assert policy.days_late(other, date(2021, 6, 20)) == 0
    assert policy.retention(other, FILED).expires_on == date(2026, 6, 7)


def test_a_states_pack_cannot_take_back_a_withdrawal_of_the_default() -> None:
    policy = make_policy(WITHDRAW)
    for how in (Overturning.REVERSED, Overturning.REINSTATED, Overturning.VACATED, Overturning.PARDONED):
        assert policy.withdraws(TERMINATION, how)
    reversed_ = policy.withdrawal(TERMINATION, Overturning.REVERSED)
    assert reversed_ is not None
    assert reversed_.destroy_days == 7
    assert "zz.withdraw" in reversed_.why
    vacated = policy.withdrawal(TERMINATION, Overturning.VACATED)
    assert vacated is not None
    assert vacated.destroy_days is None
    assert policy.withdrawal(RecordKind.DECERTIFICATION, Overturning.PARDONED) is None


def test_an_exception_is_granted_for_its_kind_only() -> None:
    policy = make_policy(APPEAL)
    assert policy.gate_rules(TERMINATION).exceptions == {FINAL_APPEAL_PENDING}
    assert policy.gate_rules(RecordKind.DECERTIFICATION).exceptions == frozenset()


@given(
    notice=st.booleans(),
    opportunity=st.booleans(),
    finality=st.sampled_from(["FINAL", "APPEAL_PENDING"]),
)
def test_no_pack_lets_a_record_match_without_notice_or_opportunity(
    notice: bool, opportunity: bool, finality: str
) -> None:
    """The attack: an exception that is granted is taken for everything."""
    facts = {"finality": finality}
    if not notice:
        facts |= {"notice_given_on": "", "notice_method": ""}
    if not opportunity:
        facts |= {"opportunity": "NOT_OFFERED", "opportunity_on": ""}
    record = make_record(**facts)
    decision = gate(record, FILED, make_policy(APPEAL).gate_rules(record.kind))
    assert decision.matchable == (notice and opportunity)


def test_a_kind_can_be_kept_out_commendations_too() -> None:
    policy = make_policy(KIND_EXCLUDED)
    for kind in ("CIVIL_JUDGMENT", "COMMENDATION"):
        record = make_record(record_kind=kind)
        decision = gate(record, FILED, policy.gate_rules(record.kind))
        assert [clause.name for clause in decision.failed] == ["kind"]
        assert "rule zz.no-judgments, Testland Code § 5" in decision.failed[0].words


# --- days ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "late"),
    [
        ("2021-06-23", 0),  # Monday the 14th and seven business days: Wednesday
        ("2021-06-24", 1),
        ("2021-06-25", 2),
        ("2021-06-26", 2),  # Saturday
        ("2021-06-27", 2),
        ("2021-06-28", 3),
        ("2021-07-05", 8),
        ("2021-01-01", 0),
    ],
)
def test_business_days_are_monday_to_friday(reported: str, late: int) -> None:
    policy = make_policy(business_clock("EFFECTIVE"))
    assert policy.days_late(make_content(), date.fromisoformat(reported)) == late


@given(start=st.dates(date(2000, 1, 1), date(2030, 1, 1)), later=st.integers(0, 400))
def test_business_days_agree_with_counting_them_one_by_one(start: date, later: int) -> None:
    policy = make_policy(business_clock("EFFECTIVE"))
    content, reported = make_content(effective_on=start.isoformat()), start + timedelta(days=later)
    counted = sum((start + timedelta(days=n)).weekday() < 5 for n in range(1, later + 1))
    assert policy.days_late(content, reported) == max(0, counted - 7)


def test_a_time_from_the_end_of_appeals_does_not_run_while_one_is_pending() -> None:
    policy = make_policy(business_clock("FINAL"))
    pending = make_content(finality="APPEAL_PENDING")
    found = policy.reporting(pending, date(2030, 1, 1))
    assert (found.due_on, found.days_late) == (None, 0)
    running = make_content(finality="APPEAL_TIME_RUNNING", appeal_until="2021-07-30")
    assert policy.reporting(running, date(2021, 8, 1)).due_on == date(2021, 8, 10)
    decided = detailed_record(
        {"appeal_outcome": "UPHELD", "appeal_decided_on": "2021-07-30"}, finality="EXHAUSTED"
    ).content
    assert policy.reporting(decided, date(2021, 8, 1)).due_on == date(2021, 8, 10)
    assert policy.reporting(make_content(), date(2021, 8, 1)).due_on == date(2021, 6, 23)


def test_a_suspension_is_kept_until_it_ends_and_a_revocation_is_not() -> None:
    policy = make_policy()
    revoked = detailed_record({"certificate_action": "REVOKED"}, record_kind="DECERTIFICATION").content
    suspended = detailed_record(
        {"certificate_action": "SUSPENDED", "action_ends_on": "2022-06-13"}, record_kind="DECERTIFICATION"
    ).content
    assert policy.retention(revoked, FILED).expires_on is None
    assert policy.retention(revoked, FILED).review_on == date(2026, 6, 14)
    assert policy.retention(suspended, FILED).expires_on == date(2022, 6, 14)
    assert policy.retention(suspended, FILED).review_on is None


def test_a_leap_day_counts_as_the_first_of_march() -> None:
    content = make_content(effective_on="2024-02-29", decided_on="2024-02-20")
    assert make_policy(SHORT).retention(content, FILED).expires_on == date(2026, 3, 1)
    assert make_policy().retention(content, FILED).review_on == date(2029, 3, 1)


@given(
    effective=st.dates(date(1990, 1, 1), date.max),
    decided=st.dates(date(1990, 1, 1), date.max),
    filed=st.dates(),
)
def test_no_date_in_a_record_breaks_the_clocks(effective: date, decided: date, filed: date) -> None:
    content = _dated(effective, decided)
    for policy in (make_policy(), make_policy(business_clock("FINAL"), SHORT)):
        retention = policy.retention(content, filed)
        assert retention.expires_on is None or retention.expires_on >= effective
        assert policy.reporting(content, filed).days_late >= 0


def _dated(effective: date, decided: date) -> Content:
    return make_content(
        effective_on=effective.isoformat(),
        decided_on=decided.isoformat(),
        birth_date="1970-01-01",
        notice_given_on="",
        notice_method="",
        opportunity="OFFERED_WAIVED",
        opportunity_on="",
    )
