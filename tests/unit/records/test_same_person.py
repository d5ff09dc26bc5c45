"""Whose file is handed out: attacks with namesakes (RECORDS.md §4.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import InputInvalid
from candor_proto.normalise import Particulars, normalise
from candor_records import same_person
from candor_records.same_person import Agreement, check_claim

QUENTIN = Particulars(
    first="Quentin",
    last="Placeholderson",
    birth_date="1984-07-23",
    ssn4="4821",
    post_state="ZZ",
    post_id="B-204417",
)
BY_NAME = Particulars(first="QUENTIN", last="Placeholderson", birth_date="1984-07-23")


def agreement(one: Particulars, other: Particulars) -> Agreement:
    return same_person.agreement(normalise(one), normalise(other))


def test_name_and_birth_date_are_enough() -> None:
    assert agreement(BY_NAME, QUENTIN) is Agreement.SAME


@pytest.mark.parametrize(
    ("mine", "theirs", "agreed"),
    [
        ({"middle": "Zebulon"}, {"middle": "Albert"}, Agreement.UNSURE),
        ({"middle": "Zebulon"}, {"middle": "Z"}, Agreement.SAME),
        ({"middle": "Zebulon"}, {}, Agreement.SAME),
        ({"suffix": "Jr"}, {"suffix": "Sr"}, Agreement.UNSURE),
        ({"sex": "M"}, {"sex": "F"}, Agreement.UNSURE),
    ],
)
def test_a_namesake_born_on_the_same_day_is_for_a_person_to_tell_apart(
    mine: dict[str, str], theirs: dict[str, str], agreed: Agreement
) -> None:
    record = replace(QUENTIN, post_state="", post_id="", ssn4="", **theirs)
    assert agreement(replace(BY_NAME, **mine), record) is agreed
    certified = {"post_state": "ZZ", "post_id": "B-204417"}
    assert agreement(replace(BY_NAME, **mine, **certified), replace(record, **certified)) is Agreement.SAME


@pytest.mark.parametrize("born", ["1984-07-24", "1984-08-23", "1985-07-23", "1985-XX-XX", "1984-08-XX"])
def test_a_namesake_with_another_birth_date_is_another_person(born: str) -> None:
    namesake = replace(QUENTIN, birth_date=born, post_state="", post_id="", ssn4="")
    assert agreement(BY_NAME, namesake) is Agreement.OTHER
    assert agreement(QUENTIN, namesake) is Agreement.OTHER


def test_a_namesake_without_a_birth_date_is_for_a_person_to_decide() -> None:
    assert agreement(BY_NAME, replace(QUENTIN, birth_date="")) is Agreement.UNSURE
    assert agreement(BY_NAME, replace(QUENTIN, birth_date="1984-XX-XX")) is Agreement.UNSURE


def test_a_namesake_born_on_the_same_day_is_told_by_what_else_is_known() -> None:
    assert agreement(QUENTIN, replace(QUENTIN, ssn4="1122")) is Agreement.UNSURE
    assert agreement(replace(QUENTIN, ssn4=""), replace(QUENTIN, post_id="B-999999")) is Agreement.UNSURE


def test_a_changed_surname_is_found_by_the_former_one_and_by_the_certificate() -> None:
    married = replace(QUENTIN, last="Newname", former_last="Placeholderson")
    assert agreement(BY_NAME, married) is Agreement.SAME
    assert agreement(QUENTIN, replace(married, former_last="")) is Agreement.SAME


def test_another_name_with_the_same_birth_date_is_another_person() -> None:
    assert agreement(BY_NAME, replace(QUENTIN, first="Edgar", last="Birchwater")) is Agreement.OTHER


def test_a_certificate_with_another_birth_date_is_for_a_person_to_decide() -> None:
    assert agreement(QUENTIN, replace(QUENTIN, birth_date="1984-07-32")) is not Agreement.OTHER
    assert agreement(QUENTIN, replace(QUENTIN, birth_date="1984-07-22")) is Agreement.UNSURE


@pytest.mark.parametrize(
    "claim",
    [
        Particulars(first="Quentin", last="Placeholderson"),
        Particulars(last="Placeholderson", birth_date="1984-07-23"),
        Particulars(first="Quentin", last="Placeholderson", birth_date="1984-07-XX"),
        Particulars(post_state="ZZ", post_id="B-204417"),
        Particulars(birth_date="1984-07-23"),
        Particulars(),
    ],
)
def test_a_claim_that_several_people_could_make_is_refused(claim: Particulars) -> None:
    with pytest.raises(InputInvalid, match="not enough"):
        check_claim(claim)


@pytest.mark.parametrize(
    "claim", [BY_NAME, replace(QUENTIN, birth_date=""), replace(QUENTIN, first="", last="")]
)
def test_a_claim_that_names_one_person_is_taken(claim: Particulars) -> None:
    check_claim(claim)


_TEXT = st.sampled_from(
    ["", "Quentin", "quentin", "Edgar", "1984-07-23", "1984-07-XX", "B-204417", "ZZ", "4821"]
)


@given(st.builds(Particulars, *[_TEXT] * 10), st.builds(Particulars, *[_TEXT] * 10))
def test_agreement_is_the_same_both_ways(one: Particulars, other: Particulars) -> None:
    assert agreement(one, other) is agreement(other, one)
