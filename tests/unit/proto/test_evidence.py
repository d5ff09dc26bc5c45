"""evidence: three-valued outcomes, rarity of names, and the features that the table of weights knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import name_rarity, weights
from candor_proto.evidence import NOBODY, Evidence, NameRarity, Outcome, Rarity, features, sign
from candor_proto.ids import LookupShape
from candor_proto.normalise import Particulars, normalise
from candor_proto.scheme import CURRENT
from tests.compared import evidence
from tests.parties import MIKE

KEYS = [label.name for label in CURRENT.match_labels]
CODES = [label.name for label in CURRENT.code_labels]


def told(asked: str = "", hit: str = "", names: NameRarity = NOBODY, **outcomes: Outcome) -> Evidence:
    return Evidence(frozenset(asked.split()), frozenset(hit.split()), outcomes, names)


# --- three-valued logic ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "agrees", "differs"),
    [
        (Outcome.AGREE, Outcome.AGREE, True, False),
        (Outcome.AGREE, Outcome.DISAGREE, True, False),
        (Outcome.AGREE, Outcome.NOT_KNOWN, True, False),
        (Outcome.DISAGREE, Outcome.DISAGREE, False, True),
        (Outcome.DISAGREE, Outcome.NOT_KNOWN, False, True),
        (Outcome.NOT_KNOWN, Outcome.NOT_KNOWN, False, False),
    ],
)
def test_codes_of_one_field_agree_if_any_does_and_differ_if_one_is_known(
    one: Outcome, other: Outcome, agrees: bool, differs: bool
) -> None:
    for found in (told(F=one, Fc=other), told(F=other, Fc=one)):
        assert (found.agrees("F", "Fc"), found.differs("F", "Fc")) == (agrees, differs)


def test_a_code_that_was_not_compared_is_not_known() -> None:
    for found in (told(), told(D=Outcome.AGREE)):
        assert not found.agrees("S")
        assert not found.differs("S")


def test_a_lookup_is_detailed_if_any_field_could_be_compared() -> None:
    assert not told("P", "P").detailed
    assert not told(F=Outcome.NOT_KNOWN).detailed
    assert told(F=Outcome.NOT_KNOWN, D=Outcome.DISAGREE).detailed


def test_a_screening_lookup_compares_nothing_and_a_detailed_one_what_both_have() -> None:
    assert not evidence(MIKE, MIKE, LookupShape.SCREENING).detailed
    found = evidence(replace(MIKE, ssn4=""), replace(MIKE, suffix="Jr"))
    assert found.detailed
    assert found.outcomes["S"] is found.outcomes["X"] is Outcome.NOT_KNOWN
    assert {found.outcomes[code] for code in CODES} == {Outcome.AGREE, Outcome.NOT_KNOWN}


# --- features ----------------------------------------------------------------------------------------


def test_features_are_the_keys_the_names_and_the_codes() -> None:
    names = NameRarity(Rarity.RARE, Rarity.VERY_COMMON)
    found = told("L3+S F+Dc", "L3+S", names, F=Outcome.AGREE, D=Outcome.DISAGREE, S=Outcome.NOT_KNOWN)
    assert features(found) == (
        "F+Dc missed", "L3+S hit", "given name rare", "surname very common", "D differs", "F agrees",
    )  # fmt: skip


def test_a_screening_lookup_has_no_features_of_codes_and_unknown_names_none() -> None:
    assert features(told("P", "P", S=Outcome.NOT_KNOWN)) == ("P hit",)
    assert features(told()) == ()


def test_a_key_that_was_not_asked_is_neither_hit_nor_missed() -> None:
    """What a person lacks must not count against that person (trap 5)."""
    found = features(evidence(replace(MIKE, ssn4=""), MIKE))
    assert not any("S" in feature.split()[0].split("+") for feature in found)
    assert "SWp+MD hit" in found


@pytest.mark.parametrize(
    ("number", "state", "counts"),
    [
        (Outcome.DISAGREE, Outcome.AGREE, True),
        (Outcome.DISAGREE, Outcome.DISAGREE, False),
        (Outcome.DISAGREE, Outcome.NOT_KNOWN, False),
        (Outcome.AGREE, Outcome.AGREE, False),
        (Outcome.NOT_KNOWN, Outcome.AGREE, False),
    ],
)
def test_another_number_counts_more_within_a_state(number: Outcome, state: Outcome, counts: bool) -> None:
    """Officers who move get another certificate; who stays does not (trap 7)."""
    assert ("P differs within a state" in features(told(P=number, PS=state))) is counts


EVIDENCE = st.builds(
    Evidence,
    asked=st.just(frozenset(KEYS)),
    hit=st.frozensets(st.sampled_from(KEYS)),
    outcomes=st.fixed_dictionaries({code: st.sampled_from(Outcome) for code in CODES}),
    names=st.builds(NameRarity, st.sampled_from(Rarity), st.sampled_from(Rarity)),
)


@given(EVIDENCE)
def test_every_feature_stands_once_and_has_the_sign_of_its_words(found: Evidence) -> None:
    own = features(found)
    assert len(own) == len(set(own))
    for feature in own:
        words = feature.partition(" ")[2]
        expected = {"hit": 1, "agrees": 1, "missed": -1, "differs": -1, "differs within a state": -1}
        assert sign(feature) == expected.get(words, 0)
        assert sign(feature) or words.split()[-1] in ("common", "rare")


@pytest.mark.parametrize("table", [weights.SCREENING, weights.DETAILED], ids=["screening", "detailed"])
def test_every_feature_of_the_tables_can_be_found(table: dict[str, int]) -> None:
    """A misspelt label would count nothing and nobody would notice."""
    possible = {f"{key} {word}" for key in KEYS for word in ("hit", "missed")}
    common = ("very common", "common", "rare")
    possible |= {f"{name} {word}" for name in ("given name", "surname") for word in common}
    if table is weights.DETAILED:
        possible |= {f"{code} {word}" for code in CODES for word in ("agrees", "differs")}
        possible |= {"P differs within a state"}
    assert table.keys() - {"prior"} <= possible
    assert CURRENT.version == weights.SCHEME_VERSION


# --- how common a name is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "given", "surname"),
    [
        ("Mary", "Smith", Rarity.VERY_COMMON, Rarity.VERY_COMMON),
        ("Rosa", "Whitfield", Rarity.COMMON, Rarity.COMMON),
        ("Zzyzx", "Qwrtz", Rarity.RARE, Rarity.RARE),
        ("", "", Rarity.UNKNOWN, Rarity.UNKNOWN),
    ],
)
def test_names_are_very_common_common_or_rare(first: str, last: str, given: Rarity, surname: Rarity) -> None:
    assert NameRarity.of(normalise(Particulars(first=first, last=last))) == NameRarity(given, surname)


def test_a_rare_name_says_more_than_a_common_one() -> None:
    for table in (weights.SCREENING, weights.DETAILED):
        assert table["given name rare"] > table["given name common"] > table["given name very common"]
        assert table["surname rare"] > table["surname very common"]


def test_evidence_holds_no_value_of_a_field() -> None:
    shown = repr(evidence(MIKE, replace(MIKE, last="Weber"))).lower()
    for value in ("mike", "schm", "weber", "1980", "4071", "lee"):
        assert value not in shown


def test_the_lists_of_names_are_three_steps_of_normal_forms() -> None:
    lists = (
        (name_rarity.GIVEN_VERY_COMMON, name_rarity.GIVEN_COMMON),
        (name_rarity.SURNAMES_VERY_COMMON, name_rarity.SURNAMES_COMMON),
    )
    for upper, lower in lists:
        assert not upper & lower
        assert 10 < len(upper) < len(lower) < 2000
        assert all(name.isascii() and name.isalpha() and name.islower() for name in upper | lower)
