"""scoring: what agreeing and differing fields say (MATCHING.md §5, §7)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.ids import LookupShape
from candor_proto.matchkeys import CODE_LABELS, MATCH_LABELS, TAG_LABELS, Label, plan_lookup, record_codes
from candor_proto.normalise import Particulars, normalise
from candor_proto.scoring import (
    FIELDS,
    PRIOR_BITS,
    Explanation,
    Outcome,
    Verdict,
    describe_agreement,
    probability,
    tag_outcomes,
)

ROSA = Particulars(
    first="Rosa",
    middle="Elena",
    last="Whitfield",
    birth_date="1984-05-17",
    ssn4="6620",
    sex="F",
    post_state="OH",
    post_id="447120",
)


def compare(query: Particulars, record: Particulars, same_post_state: bool | None = None) -> Explanation:
    """What a detailed lookup for `query` says about a record of `record`."""
    tags = record_codes(normalise(record))
    held = {code.input for code in tags.codes}
    slots = [s for plan in plan_lookup(normalise(query), LookupShape.DETAILED, bytes(32)) for s in plan.slots]
    asked = {slot.label for slot in slots if slot.label in TAG_LABELS and slot.label}
    matched = {slot.label for slot in slots if slot.label in asked and slot.label and slot.input in held}
    return describe_agreement(tag_outcomes(asked, matched, tags.presence), same_post_state=same_post_state)


# --- three-valued logic ------------------------------------------------------------------------------


def test_missing_on_either_side_is_neither_agreement_nor_disagreement() -> None:
    label = CODE_LABELS[0]
    assert tag_outcomes([label], [label], 0)["F"] is Outcome.NOT_KNOWN
    assert tag_outcomes([], [label], 1)["F"] is Outcome.NOT_KNOWN
    assert tag_outcomes([label], [label], 1)["F"] is Outcome.AGREE
    assert tag_outcomes([label], [], 1)["F"] is Outcome.DISAGREE


def test_outcomes_cover_the_field_codes_and_the_two_labels_in_the_blob() -> None:
    assert list(tag_outcomes([], [], 0)) == [label.name for label in TAG_LABELS]


def test_a_missing_field_costs_and_earns_nothing() -> None:
    full = compare(ROSA, ROSA)
    without = compare(replace(ROSA, ssn4=""), ROSA)
    assert "last four of the SSN" in without.not_known
    assert full.bits - without.bits == pytest.approx(13.3)


def test_codes_of_one_field_count_once() -> None:
    """MATCHING.md §5: nested codes over-count."""
    one = describe_agreement({"S": Outcome.AGREE})
    both = describe_agreement({"S": Outcome.AGREE, "So": Outcome.AGREE})
    assert one.bits == both.bits == pytest.approx(PRIOR_BITS + 13.3)


def test_every_field_code_belongs_to_exactly_one_field() -> None:
    assert sorted(code for field in FIELDS for code in field.agree) == sorted(
        label.name for label in CODE_LABELS
    )
    for field in FIELDS:
        weights = list(field.agree.values())
        assert weights == sorted(weights, reverse=True)
        assert field.differ < 0 < min(weights)


# --- same person -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        ROSA,
        replace(ROSA, ssn4="", post_id=""),
        replace(ROSA, last="Whitfeild"),
        replace(ROSA, birth_date="1984-05-11"),
        replace(ROSA, last="Ortega", former_last="Whitfield"),
        replace(ROSA, post_state="PA", post_id="998001"),
    ],
    ids=["same", "no-identifiers", "typo-in-surname", "typo-in-date", "former-surname", "moved-state"],
)
def test_same_person_is_likely(query: Particulars) -> None:
    assert compare(query, ROSA).verdict is Verdict.SAME_PERSON_LIKELY


def test_a_nickname_is_given_name_evidence_together_with_an_identifier() -> None:
    record = replace(ROSA, first="Michael", sex="M")
    query = replace(record, first="Mike")
    assert compare(query, record).verdict is Verdict.SAME_PERSON_LIKELY
    alone = compare(replace(query, ssn4="", post_id=""), record)
    assert alone.verdict is Verdict.REVIEW
    assert alone.reasons[0] == "the given name is not confirmed"


# --- never asserted: twins, juniors, namesakes (MATCHING.md §7 trap 4) -------------------------------

TWIN = replace(ROSA, first="Carmen", middle="", ssn4="6621", post_id="")


def test_a_twin_is_a_different_person_with_the_reason_first() -> None:
    found = compare(TWIN, ROSA)
    assert found.verdict is Verdict.DIFFERENT_PERSON
    assert found.reasons[0] == (
        "different given name and different last four at the same birth date: a twin or sibling?"
    )


def test_a_twin_without_last_four_is_for_review() -> None:
    found = compare(replace(TWIN, ssn4=""), ROSA)
    assert found.verdict is Verdict.REVIEW
    assert found.reasons[0] == "different given name at the same birth date: a twin or sibling?"


def test_twins_whose_names_sound_alike_are_not_asserted() -> None:
    joan, jean = replace(ROSA, first="Joan", ssn4="", post_id=""), replace(ROSA, first="Jean", ssn4="")
    assert compare(replace(joan, middle=""), jean).verdict is Verdict.REVIEW


def test_exchanged_names_are_for_review_when_the_last_four_agree() -> None:
    found = compare(replace(ROSA, first="Whitfield", last="Rosa"), replace(ROSA, post_id=""))
    assert found.verdict is Verdict.REVIEW
    assert "names exchanged" in found.reasons[0]


def test_father_and_son_differ() -> None:
    father = replace(ROSA, first="Carl", suffix="Sr", birth_date="1955-01-30", ssn4="1180", post_id="")
    son = replace(father, suffix="Jr", birth_date="1984-05-17", ssn4="7713")
    found = compare(son, father)
    assert found.verdict is Verdict.DIFFERENT_PERSON
    assert any("father and son" in reason for reason in found.reasons[:2])


def test_another_suffix_alone_is_for_review_and_never_asserted() -> None:
    found = compare(replace(ROSA, suffix="Jr"), replace(ROSA, suffix="Sr", post_id=""))
    assert found.verdict is Verdict.REVIEW
    assert "suffix" in found.reasons[0]


def test_a_namesake_of_nearly_the_same_age_is_not_asserted() -> None:
    record = replace(ROSA, ssn4="", post_id="", middle="")
    other_day = compare(replace(ROSA, birth_date="1984-05-29"), record)
    assert other_day.verdict is Verdict.REVIEW
    assert other_day.reasons[0] == "different birth date: a namesake?"
    partial = compare(replace(ROSA, birth_date="1984-05-XX"), record)
    assert partial.verdict is Verdict.REVIEW
    assert partial.reasons[0] == "neither the birth date nor an identifier is confirmed"


def test_the_last_four_do_not_outweigh_a_wholly_different_birth_date() -> None:
    found = compare(replace(ROSA, birth_date="1991-11-02"), replace(ROSA, post_id="", sex=""))
    assert found.verdict is Verdict.REVIEW
    assert found.reasons[0] == "different birth date: a namesake?"


def test_a_namesake_with_another_date_and_last_four_differs() -> None:
    other = replace(ROSA, birth_date="1991-11-02", ssn4="0017", post_id="", middle="")
    assert compare(other, ROSA).verdict is Verdict.DIFFERENT_PERSON


def test_another_certificate_of_the_same_state_differs() -> None:
    other = replace(ROSA, post_id="447129")
    assert compare(other, ROSA, same_post_state=True).verdict is Verdict.DIFFERENT_PERSON
    assert compare(other, ROSA, same_post_state=True).reasons[0] == (
        "different certification number of the same state"
    )
    # Where the state is not known, the number says little (trap 7), and the last four decide.
    assert compare(other, ROSA).verdict is Verdict.SAME_PERSON_LIKELY
    assert compare(replace(other, ssn4=""), ROSA).verdict is Verdict.REVIEW


def test_an_equal_certificate_leaves_contradictions_to_a_person() -> None:
    found = compare(replace(TWIN, post_id=ROSA.post_id), ROSA)
    assert found.verdict is Verdict.REVIEW
    assert "twin" in found.reasons[0]


@pytest.mark.parametrize(("field", "value", "words"), [("sex", "M", "sex"), ("ssn4", "6629", "last four")])
def test_one_contradiction_is_for_review(field: str, value: str, words: str) -> None:
    found = compare(replace(ROSA, **{field: value}), replace(ROSA, post_id=""))
    assert found.verdict is Verdict.REVIEW
    assert words in found.reasons[0]


@given(
    st.fixed_dictionaries(
        {label.name: st.sampled_from(Outcome) for label in CODE_LABELS if label.name not in ("F", "Fc", "Fp")}
    )
)
def test_without_given_name_evidence_nothing_is_asserted(outcomes: dict[str, Outcome]) -> None:
    """Trap 4: assert only with first-name evidence, whatever else agrees."""
    known = {"F": Outcome.DISAGREE, "Fc": Outcome.DISAGREE, "Fp": Outcome.DISAGREE}
    assert describe_agreement(outcomes | known).verdict is not Verdict.SAME_PERSON_LIKELY
    missing = {**outcomes, "F3": Outcome.NOT_KNOWN, "Fo": Outcome.NOT_KNOWN}
    assert describe_agreement(missing).verdict is not Verdict.SAME_PERSON_LIKELY


@given(st.fixed_dictionaries({label.name: st.sampled_from(Outcome) for label in CODE_LABELS}))
def test_every_verdict_has_a_reason(outcomes: dict[str, Outcome]) -> None:
    found = describe_agreement(outcomes)
    if found.verdict is not Verdict.SAME_PERSON_LIKELY:
        assert found.reasons
        assert not found.reasons[0].endswith("agrees")
    if outcomes["X"] is Outcome.DISAGREE:
        assert found.verdict is not Verdict.SAME_PERSON_LIKELY


# --- screening ---------------------------------------------------------------------------------------


def test_a_screening_candidate_is_for_review_and_names_the_keys() -> None:
    labels = [label for label in MATCH_LABELS if label.name in ("P", "L1+Dc")]
    found = describe_agreement({"Y+S": Outcome.AGREE}, labels)
    assert found.verdict is Verdict.REVIEW
    assert found.reasons == (
        "candidate on match keys only; a detailed lookup compares the fields",
        "agrees in surname initial and birth date",
        "agrees in birth year and last four",
        "agrees in certification number",
    )


def labelled(*names: str) -> list[Label]:
    return [label for label in MATCH_LABELS if label.name in names]


def test_a_screening_candidate_weighs_what_its_keys_say_of_each_field_once() -> None:
    """Nested keys over-count (MATCHING.md §5): two keys with one birth date weigh one birth date."""
    date, sound = 12.9, 8.5
    assert describe_agreement({}, labelled("L1+Dc")).bits == pytest.approx(PRIOR_BITS + date)
    assert describe_agreement({}, labelled("L1+Dc", "Ls+Dc")).bits == pytest.approx(PRIOR_BITS + date + sound)
    both = describe_agreement({}, labelled("D+S", "Yo+So", "L1+Dc"))
    assert both.bits == pytest.approx(PRIOR_BITS + 13.9 + 13.3)
    assert describe_agreement({}).bits == PRIOR_BITS


def test_every_code_of_a_match_key_is_weighed_or_known_to_say_nothing() -> None:
    silent = {"L1", "F1"}
    for label in MATCH_LABELS:
        if not set(label.codes) <= silent:
            assert describe_agreement({}, [label]).bits > PRIOR_BITS, label.name


# --- probability -------------------------------------------------------------------------------------


def with_bits(bits: float) -> Explanation:
    return Explanation(Verdict.REVIEW, (), (), (), (), bits)


@pytest.mark.parametrize(("bits", "expected"), [(0.0, 0.5), (1.0, 2 / 3), (-1.0, 1 / 3), (4.25, 0.95)])
def test_probability_is_that_of_the_odds(bits: float, expected: float) -> None:
    assert probability(with_bits(bits)) == pytest.approx(expected, abs=1e-3)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_probability_keeps_the_order_and_stays_between_0_and_1(one: float, other: float) -> None:
    low, high = probability(with_bits(min(one, other))), probability(with_bits(max(one, other)))
    assert 0.0 <= low <= high <= 1.0


def test_more_agreement_is_more_probable() -> None:
    assert probability(compare(ROSA, ROSA)) > 0.999
    assert probability(compare(replace(ROSA, ssn4=""), ROSA)) < probability(compare(ROSA, ROSA))
    assert probability(compare(TWIN, ROSA)) < probability(compare(ROSA, ROSA))


def test_an_explanation_holds_no_identity_value() -> None:
    shown = repr(compare(TWIN, ROSA)).lower()
    for value in ("rosa", "carmen", "whitfield", "1984", "6620", "6621", "447120"):
        assert value not in shown


def test_a_field_that_agrees_by_sound_or_in_part_is_said_to() -> None:
    near = describe_agreement(
        {
            "F": Outcome.DISAGREE,
            "Fc": Outcome.AGREE,
            "L": Outcome.AGREE,
            "D": Outcome.DISAGREE,
            "YM": Outcome.AGREE,
        }
    )
    assert "given name agrees in part" in near.reasons
    assert "surname agrees" in near.reasons
    assert "birth date agrees in part" in near.reasons
