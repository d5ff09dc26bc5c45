"""scoring: from evidence to probability, band and reasons (docs/matching.md §6; MATCHING.md §5, §7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from candor_proto import scoring, weights
from candor_proto.evidence import NOBODY, Evidence, NameRarity, Outcome, Rarity, features, sign
from candor_proto.ids import LookupShape
from candor_proto.normalise import Particulars
from candor_proto.scheme import CURRENT
from candor_proto.scoring import (
    BAND_MEANING,
    MAX_POPULATION,
    REFERENCE_POPULATION,
    STRONG,
    WORK_LIST,
    Band,
    Explanation,
    centibits,
    explain,
    tag_outcomes,
)
from tests.compared import compare, evidence, opens
from tests.thorough import examples

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
SHAPES = list(LookupShape)
KEYS = [label.name for label in CURRENT.match_labels]
CODES = [label.name for label in CURRENT.code_labels]
TABLES: Mapping[str, Mapping[str, int]] = {"screening": weights.SCREENING, "detailed": weights.DETAILED}

# Every known code, so that turning one does not turn a detailed lookup into a screening one.
EVIDENCE = st.builds(
    Evidence,
    asked=st.just(frozenset(KEYS)),
    hit=st.frozensets(st.sampled_from(KEYS)),
    outcomes=st.fixed_dictionaries({code: st.sampled_from(Outcome) for code in CODES}),
    names=st.builds(NameRarity, st.sampled_from(Rarity), st.sampled_from(Rarity)),
).filter(lambda found: sum(one is not Outcome.NOT_KNOWN for one in found.outcomes.values()) > 1)
SCREENED = EVIDENCE.map(lambda found: replace(found, outcomes={}))


def with_code(found: Evidence, code: str, outcome: Outcome) -> Evidence:
    return replace(found, outcomes={**found.outcomes, code: outcome})


# --- three-valued logic ------------------------------------------------------------------------------


def test_missing_on_either_side_is_neither_agreement_nor_disagreement() -> None:
    label = CURRENT.code_labels[0]
    assert tag_outcomes([label], [label], 0)["F"] is Outcome.NOT_KNOWN
    assert tag_outcomes([], [label], 1)["F"] is Outcome.NOT_KNOWN
    assert tag_outcomes([label], [label], 1)["F"] is Outcome.AGREE
    assert tag_outcomes([label], [], 1)["F"] is Outcome.DISAGREE


def test_outcomes_cover_all_field_codes() -> None:
    assert list(tag_outcomes([], [], 0)) == [label.name for label in CURRENT.tag_labels] == CODES


@settings(max_examples=examples(40, thorough=200))
@given(EVIDENCE, st.sampled_from(CODES))
def test_a_field_that_is_not_known_costs_and_earns_nothing(found: Evidence, code: str) -> None:
    unknown = with_code(found, code, Outcome.NOT_KNOWN)
    without = {other: outcome for other, outcome in found.outcomes.items() if other != code}
    assert centibits(unknown) == centibits(replace(found, outcomes=without))


# --- the sum -----------------------------------------------------------------------------------------


def test_the_probability_can_be_added_up_by_hand() -> None:
    found = evidence(ROSA, ROSA)
    table = weights.DETAILED
    assert centibits(found) == table["prior"] + sum(table.get(name, 0) for name in features(found))
    screened = replace(found, outcomes={})
    table = weights.SCREENING
    assert centibits(screened) == table["prior"] + sum(table.get(name, 0) for name in features(screened))
    assert centibits(Evidence(frozenset(), frozenset(), {}, NOBODY)) == table["prior"]


@pytest.mark.parametrize("name", TABLES)
def test_every_weight_has_the_sign_of_its_feature(name: str) -> None:
    """Agreement never lowers a probability, disagreement never raises one; whole hundredths of a bit."""
    for feature, weight in TABLES[name].items():
        assert type(weight) is int
        assert weight
        assert feature == "prior" or weight * sign(feature) >= 0, feature


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_hold_weights(name: str) -> None:
    """Not the placeholder that stood here before the training."""
    assert len(TABLES[name]) > 20
    assert {"P hit", "YM+S hit"} <= TABLES[name].keys()


@settings(max_examples=examples(60, thorough=300))
@given(EVIDENCE, st.sampled_from(CODES))
def test_a_code_that_agrees_never_lowers_the_probability(found: Evidence, code: str) -> None:
    # A state says nothing by itself: the same one makes another number graver (the next test).
    assume(code != "PS" or found.outcomes["P"] is not Outcome.DISAGREE)
    agreed, unknown, differing = (
        centibits(with_code(found, code, outcome))
        for outcome in (Outcome.AGREE, Outcome.NOT_KNOWN, Outcome.DISAGREE)
    )
    assert agreed >= unknown >= differing


@settings(max_examples=examples(20, thorough=100))
@given(EVIDENCE)
def test_another_certificate_weighs_at_least_as_much_within_a_state(found: Evidence) -> None:
    """Of one state or of two: never better than a certificate that agrees, whatever the rest."""
    one_state = with_code(with_code(found, "P", Outcome.DISAGREE), "PS", Outcome.AGREE)
    assert centibits(with_code(one_state, "P", Outcome.AGREE)) > centibits(one_state)
    assert "P differs within a state" in features(one_state)
    assert centibits(one_state) - weights.DETAILED.get("P differs within a state", 0) >= centibits(one_state)


@settings(max_examples=examples(60, thorough=300))
@given(st.one_of(EVIDENCE, SCREENED), st.sampled_from(KEYS))
def test_a_key_that_meets_never_lowers_the_probability(found: Evidence, key: str) -> None:
    met = replace(found, hit=found.hit | {key})
    missed = replace(found, hit=found.hit - {key})
    not_asked = replace(missed, asked=found.asked - {key})
    assert centibits(met) >= centibits(not_asked) >= centibits(missed)


@given(st.one_of(EVIDENCE, SCREENED), st.integers(0, 26))
def test_twice_as_many_records_are_one_bit_less(found: Evidence, doublings: int) -> None:
    far = centibits(found, min(REFERENCE_POPULATION << doublings, MAX_POPULATION << 1))
    if REFERENCE_POPULATION << doublings <= MAX_POPULATION:
        assert far == centibits(found) - 100 * doublings


@pytest.mark.parametrize(
    ("population", "shift"),
    [(REFERENCE_POPULATION, 0), (10_000, 100), (500_000, -464), (30_000, -58), (1, 1429), (123_456, -263)],
)
def test_the_population_shifts_the_prior_in_hundredths_of_a_bit(population: int, shift: int) -> None:
    assert REFERENCE_POPULATION == weights.REFERENCE_POPULATION == 20_000
    found = evidence(ROSA, ROSA)
    assert centibits(found, population) == centibits(found) + shift


@pytest.mark.parametrize("population", [0, -5, 1])
def test_nobody_is_searched_among_less_than_one_record(population: int) -> None:
    found = evidence(ROSA, ROSA)
    assert centibits(found, population) == centibits(found, 1)
    assert centibits(found, MAX_POPULATION * 10) == centibits(found, MAX_POPULATION)


# --- probability and band ------------------------------------------------------------------------------


def with_bits(bits: int, band: Band = Band.REVIEW) -> Explanation:
    return Explanation(band, bits, (), (), (), ())


@pytest.mark.parametrize(("bits", "expected"), [(0, 0.5), (100, 2 / 3), (-100, 1 / 3), (425, 0.95)])
def test_probability_is_that_of_the_odds(bits: int, expected: float) -> None:
    assert with_bits(bits).probability == pytest.approx(expected, abs=1e-3)


@given(st.integers(-(10**7), 10**7), st.integers(-(10**7), 10**7))
def test_probability_keeps_the_order_and_stays_between_0_and_1(one: int, other: int) -> None:
    low, high = with_bits(min(one, other)).probability, with_bits(max(one, other)).probability
    assert 0.0 <= low <= high <= 1.0


@pytest.mark.parametrize(
    ("bits", "band", "shown"),
    [
        (5000, Band.STRONG, "strong, over 99 %: in tests fewer than 1 in 100 of these were somebody else"),
        (0, Band.REVIEW, "review, 50 %: more likely this person than not; compare before acting"),
        (-5000, Band.BELOW, "below threshold, under 1 %: more likely somebody else"),
    ],
)
def test_the_headline_says_band_probability_and_what_the_band_means(
    bits: int, band: Band, shown: str
) -> None:
    assert with_bits(bits, band).headline == shown


@settings(max_examples=examples(60, thorough=300))
@given(st.one_of(EVIDENCE, SCREENED), st.integers(1, MAX_POPULATION))
def test_bands_are_cut_at_the_probability_and_conflicts_cap_them(found: Evidence, population: int) -> None:
    shown = explain(found, population)
    assert shown.centibits == centibits(found, population)
    assert (shown.band is Band.BELOW) is (shown.probability < WORK_LIST)
    if shown.band is Band.STRONG:
        assert shown.probability >= STRONG
    elif shown.probability >= STRONG:
        # What keeps it from being strong is said first, and is no agreement.
        assert not shown.reasons[0].endswith(("agrees", "agrees in part"))
        assert not shown.reasons[0].startswith("candidate on match keys")


# --- same person -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_person_with_all_fields_is_strong(shape: LookupShape) -> None:
    found = compare(ROSA, ROSA, shape)
    assert found.band is Band.STRONG
    assert found.probability > 0.999
    assert found.differing == ()


@pytest.mark.parametrize(
    "query",
    [
        replace(ROSA, ssn4="", post_id=""),
        replace(ROSA, last="Whitfeild"),
        replace(ROSA, birth_date="1984-05-11"),
        replace(ROSA, last="Ortega", former_last="Whitfield"),
        replace(ROSA, last="Ortega"),
        replace(ROSA, post_state="PA", post_id="998001"),
        replace(ROSA, first="Rosie"),
    ],
    ids=["no-identifiers", "surname-slip", "date-slip", "former", "new-surname", "moved-state", "nickname"],
)
def test_the_same_person_with_one_change_is_strong(query: Particulars) -> None:
    assert opens(query, ROSA)
    assert compare(query, ROSA).band is Band.STRONG


MICHAEL = replace(ROSA, first="Michael", sex="M")
MIKE = replace(MICHAEL, first="Mike")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("query", "record"), [(MIKE, MICHAEL), (MICHAEL, MIKE)], ids=["asked", "filed"])
def test_a_nickname_is_given_name_evidence_together_with_an_identifier(
    query: Particulars, record: Particulars, shape: LookupShape
) -> None:
    assert compare(query, record, shape).band is Band.STRONG


def test_a_nickname_alone_is_for_review() -> None:
    found = compare(replace(MIKE, ssn4="", post_id=""), MICHAEL)
    assert found.band is Band.REVIEW
    assert found.reasons[0] == "the given name is not confirmed"


def test_more_agreement_is_more_probable_and_what_is_missing_is_named() -> None:
    without = compare(replace(ROSA, ssn4=""), ROSA)
    assert compare(ROSA, ROSA).centibits > without.centibits
    assert "last four of the SSN" in without.not_known


# --- never strong: twins, juniors, namesakes (MATCHING.md §7 trap 4) ---------------------------------

TWIN = replace(ROSA, first="Carmen", middle="", ssn4="6621", post_id="")
FATHER = replace(ROSA, first="Carl", middle="", suffix="Sr", birth_date="1955-01-30", sex="M", post_id="")
NAMESAKE = replace(ROSA, birth_date="1991-11-02", ssn4="0017", post_id="", middle="")
BARE = replace(ROSA, ssn4="", post_id="", middle="")
JOAN = replace(ROSA, first="Joan", ssn4="6612", post_id="", middle="")

# Another person: what is asked, what is on record, the first reason of a detailed and of a screening lookup.
_FAMILY = "father and son?"
OTHERS: Mapping[str, tuple[Particulars, Particulars, str, str]] = {
    "twin": (TWIN, ROSA, "at the same birth date: a twin or sibling?", "the last four"),
    "twin-without-last-four": (
        replace(TWIN, ssn4=""), ROSA, "a twin or sibling?", "not confirmed: a twin or sibling?",
    ),
    "twin-with-a-certificate-that-agrees": (
        replace(TWIN, post_id=ROSA.post_id), ROSA, "a twin or sibling?", "the last four",
    ),
    "twins-that-sound-alike": (
        replace(JOAN, ssn4=""), replace(JOAN, first="Jean"), "given name is not confirmed", "no identifier",
    ),
    "twins-with-neighbouring-numbers": (
        JOAN, replace(JOAN, first="Jean", ssn4="6621"),
        "different last four", "the last four agree under no key",
    ),
    "father-and-son": (
        replace(FATHER, suffix="Jr", birth_date="1984-05-17", ssn4="7713"), FATHER,
        f"different generation suffix: {_FAMILY}", "the last four",
    ),
    "father-and-son-with-one-last-four": (
        replace(FATHER, suffix="Jr", birth_date="1984-05-17"), FATHER,
        f"different generation suffix: {_FAMILY}", f"birth date is not confirmed: a namesake, or {_FAMILY}",
    ),
    "father-and-son-without-suffix": (
        replace(FATHER, suffix="", birth_date="1984-05-17"), replace(FATHER, suffix=""),
        "different birth date: a namesake?", f"birth date is not confirmed: a namesake, or {_FAMILY}",
    ),
    "namesake": (
        NAMESAKE, ROSA,
        f"different last four and birth date: a namesake, or {_FAMILY}", "the last four",
    ),
    "namesake-of-nearly-the-same-age": (
        replace(BARE, birth_date="1984-05-29"), BARE, "different birth date: a namesake?", "no identifier",
    ),
    "names-and-part-of-the-birth-date": (
        replace(BARE, birth_date="1984-05-XX"), BARE,
        "neither the birth date nor an identifier is confirmed", "no identifier",
    ),
    "last-four-with-a-wholly-different-birth-date": (
        replace(ROSA, birth_date="1991-11-02"), replace(ROSA, post_id="", sex=""),
        "different birth date: a namesake?", f"birth date is not confirmed: a namesake, or {_FAMILY}",
    ),
    "other-last-four": (
        replace(ROSA, ssn4="6629"), replace(ROSA, post_id=""), "different last four", "the last four",
    ),
    "other-certificate-of-the-state-without-last-four": (
        replace(ROSA, post_id="447129", ssn4=""), ROSA,
        "different certification number of the same state", "no identifier",
    ),
    "exchanged-names-without-an-identifier": (
        replace(BARE, first="Whitfield", last="Rosa"), BARE, "given name and surname are exchanged",
        "no identifier",
    ),
    "new-surname-and-no-identifier": (
        replace(BARE, last="Ortega"), BARE, "different surname", "no identifier",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", OTHERS)
def test_somebody_else_is_never_strong_and_the_reason_comes_first(case: str, shape: LookupShape) -> None:
    query, record, detailed, screening = OTHERS[case]
    found = compare(query, record, shape, population=1)
    assert found.band is not Band.STRONG
    assert (detailed if shape is LookupShape.DETAILED else screening) in found.reasons[0]
    # Nor the other way round.
    assert compare(record, query, shape, population=1).band is not Band.STRONG


# What a screening lookup does not ask: there nothing contradicts.
DETAILED_ONLY: Mapping[str, tuple[Particulars, Particulars, str]] = {
    "suffix": (replace(ROSA, suffix="Jr"), replace(ROSA, suffix="Sr", post_id=""), f"suffix: {_FAMILY}"),
    "sex": (replace(ROSA, sex="M"), ROSA, "different sex"),
    "certificate": (
        replace(ROSA, post_id="447129"), ROSA, "different certification number of the same state",
    ),
    "certificate-of-another-state": (
        replace(ROSA, post_state="PA", post_id="998001", ssn4=""), ROSA,
        "different certification number: another state, or another person?",
    ),
    "middle-initial": (replace(ROSA, middle="Xenia", ssn4="", post_id=""), ROSA, "different middle initial"),
}  # fmt: skip


@pytest.mark.parametrize("case", DETAILED_ONLY)
def test_one_contradiction_is_for_review_however_much_agrees(case: str) -> None:
    query, record, reason = DETAILED_ONLY[case]
    found = compare(query, record, population=1)
    assert found.probability > STRONG
    assert found.band is Band.REVIEW
    assert reason in found.reasons[0]


@settings(max_examples=examples(60, thorough=300))
@given(EVIDENCE)
def test_without_given_name_evidence_nothing_is_strong(found: Evidence) -> None:
    """Trap 4: assert only with first-name evidence, whatever else agrees; exchanged names are such."""
    found = with_code(found, "SW", Outcome.DISAGREE)
    differing, missing = found, found
    for code in ("F", "Fc", "Fp", "Fo", "Fz"):
        differing = with_code(differing, code, Outcome.DISAGREE)
        missing = with_code(missing, code, Outcome.NOT_KNOWN)
    assert explain(differing, 1).band is not Band.STRONG
    assert explain(missing, 1).band is not Band.STRONG


@settings(max_examples=300)
@given(EVIDENCE, st.sampled_from(["X", "G", "S"]))
def test_another_suffix_sex_or_last_four_is_never_strong(found: Evidence, code: str) -> None:
    assert explain(with_code(found, code, Outcome.DISAGREE), 1).band is not Band.STRONG


@settings(max_examples=300)
@given(SCREENED)
def test_a_screening_candidate_is_strong_with_names_an_identifier_and_a_date_only(found: Evidence) -> None:
    codes = {code for key in found.hit for code in key.split("+")}
    if explain(found, 1).band is Band.STRONG:
        assert codes & {"S", "P"}
        assert codes & {"F", "Fc", "Fp", "F3", "Fz", "SW", "SWp", "SW3"}
        assert codes & {"D", "Dc", "Yo", "P"}


# --- what is shown -----------------------------------------------------------------------------------


def test_a_screening_candidate_names_its_keys() -> None:
    found = explain(Evidence(frozenset(KEYS), frozenset({"P", "F1+L4+YM"}), {}, NOBODY))
    at = found.reasons.index("candidate on match keys only; a detailed lookup compares the fields")
    assert found.reasons[at + 1 :] == (
        "agrees in initial of the given name",
        "agrees in start of the surname",
        "agrees in year and month of birth",
        "agrees in certification number",
    )
    assert found.agreeing == found.differing == ()


def test_every_code_of_a_match_key_has_words_and_every_field_code_a_field() -> None:
    for key in KEYS:
        assert len(scoring._key_words([key])) == len(set(scoring._key_words([key]))) > 0
        assert all(code in scoring._CODE_WORDS for code in key.split("+"))
    of_fields = {code for field in scoring._FIELDS for code in field.codes}
    # Pairs of names belong to no single field, and a state counts beside its number only.
    assert set(CODES) - of_fields == {"SW", "SW1", "SW3", "PS"}
    assert of_fields <= set(CODES)


def test_a_field_that_agrees_by_sound_or_in_part_is_said_to() -> None:
    outcomes = {
        "F": Outcome.DISAGREE,
        "Fc": Outcome.AGREE,
        "L": Outcome.AGREE,
        "D": Outcome.DISAGREE,
        "YM": Outcome.AGREE,
    }
    near = explain(Evidence(frozenset(), frozenset(), outcomes, NOBODY))
    assert "given name agrees in part" in near.reasons
    assert "surname agrees" in near.reasons
    assert "birth date agrees in part" in near.reasons


@pytest.mark.parametrize("shape", SHAPES)
def test_an_explanation_holds_no_identity_value(shape: LookupShape) -> None:
    found = compare(TWIN, ROSA, shape)
    shown = " ".join([repr(found), found.headline, *found.reasons]).lower()
    for value in ("rosa", "carmen", "whitfield", "1984", "6620", "6621", "447120"):
        assert value not in shown


# --- what was measured (tools.training) ------------------------------------------------------------------

CALIBRATION = cast("Mapping[str, Mapping[str, Any]]", weights.CALIBRATION)


@pytest.mark.parametrize("name", TABLES)
def test_the_calibration_is_a_measurement_of_every_band_and_tenth(name: str) -> None:
    measured = CALIBRATION[name]
    assert measured["bands"].keys() == {band.value for band in Band} == {band.value for band in BAND_MEANING}
    assert len(measured["reliability"]) == 10
    pairs = 0
    for place, tenth in enumerate(measured["reliability"]):
        if tenth is not None:
            count, mean, share = tenth
            assert count > 0
            assert place / 10 <= mean <= (place + 1) / 10
            assert 0 <= share <= 1
            pairs += count
    assert pairs == sum(band["pairs"] for band in measured["bands"].values()) > 10_000
    assert measured["ece"].keys() == measured["recall_at_precision_99"].keys()
    for band in measured["bands"].values():
        assert band["share_somebody_else"] == pytest.approx(band["somebody_else"] / band["pairs"], abs=1e-4)


@pytest.mark.parametrize("name", TABLES)
def test_bands_mean_what_is_said_of_them(name: str) -> None:
    """BAND_MEANING: fewer than 1 in 100; more likely this person; more likely somebody else."""
    bands = CALIBRATION[name]["bands"]
    assert bands[Band.STRONG.value]["share_somebody_else"] < 0.01
    assert bands[Band.STRONG.value]["non_member_rate"] <= 0.002
    assert bands[Band.REVIEW.value]["share_somebody_else"] < 0.5
    assert bands[Band.BELOW.value]["share_somebody_else"] > 0.5


def test_probabilities_are_calibrated() -> None:
    """On populations that nobody trained on; those of other errors than the training's may be further off."""
    errors: Mapping[str, float] = CALIBRATION["detailed"]["ece"]
    usual = [error for source, error in errors.items() if source.startswith(("dev", "mixed", "hard"))]
    assert len(usual) == 8
    assert sum(usual) / len(usual) <= 0.01
    assert max(errors.values()) <= 0.03
    assert max(CALIBRATION["screening"]["ece"].values()) <= 0.03
