"""name_words: what stands in a given name's field, and what of it is the name (docs/matching.md §1.2)."""

from __future__ import annotations

import pytest

from candor_proto.name_words import GivenName, normalise_name, normalise_suffix, read_given


@pytest.mark.parametrize(
    ("filed", "found"),
    [
        ("Robert", GivenName(("robert",))),
        ("Mary Ann", GivenName(("mary", "ann"))),
        ("Jean-Luc", GivenName(("jean", "luc"))),
        ("D'Andre", GivenName(("dandre",))),
        ("John Q.", GivenName(("john",), initial="q")),
        ("J. Robert", GivenName(("robert",), initial="j")),
        ("J.R.", GivenName(("j", "r"))),
        ("J", GivenName(("j",))),
        ('Robert "Bob"', GivenName(("robert",), called="bob")),
        ("Robert “Bob”", GivenName(("robert",), called="bob")),
        ("Robert (Bob)", GivenName(("robert",), called="bob")),
        ("Robert 'Bob'", GivenName(("robert",), called="bob")),
        ("(Bob)", GivenName(("bob",))),
        ('FNU "Bob"', GivenName(("bob",))),
        ("Robert (NMN)", GivenName(("robert",))),
        ("Robert (J)", GivenName(("robert",))),
        ("Robert Jr.", GivenName(("robert",), suffix="jr")),
        ("Robert (III)", GivenName(("robert",), suffix="iii")),
        ("Robert, 3rd", GivenName(("robert",), suffix="iii")),
        ("Junior", GivenName(("junior",))),  # the last word is never taken
        ("Sgt. Robert", GivenName(("robert",))),
        ("Det Sgt Robert", GivenName(("robert",))),
        ("Sgt", GivenName(("sgt",))),
        ("Major", GivenName(("major",))),
        ("Wi11iam", GivenName(("william",))),
        ("Robert UNKNOWN", GivenName(("robert",))),
        ("0", GivenName()),
        ("...", GivenName()),
        ("", GivenName()),
    ],
)
def test_a_given_name_is_told_from_what_stands_beside_it(filed: str, found: GivenName) -> None:
    assert read_given(filed) == found


def test_a_nickname_alone_in_the_middle_names_field_is_no_middle_name() -> None:
    assert read_given('"Bob"', middle=True) == GivenName(called="bob")


@pytest.mark.parametrize(
    "filed",
    ["UNKNOWN", "Unkn0wn", "F.N.U.", "LNU", "nmn", "NMI", "No Middle Name", "none", "N/A", "n.a.", "Test",
     "XXX",
     "xx", "Xxxxx", "aaa", "-", ".", "?", "123"],
)  # fmt: skip
def test_name_placeholders_are_missing(filed: str) -> None:
    assert normalise_name(filed) == ""


@pytest.mark.parametrize("filed", ["Doe", "Jane", "Null", "Na", "Nil", "Bo", "Lee"])
def test_names_that_people_bear_are_no_placeholders(filed: str) -> None:
    assert normalise_name(filed) == filed.lower()


@pytest.mark.parametrize(
    ("filed", "suffix"),
    [
        ("Jr.", "jr"),
        ("JUNIOR", "jr"),
        ("5r", "sr"),
        ("Sr", "sr"),
        ("2nd", "ii"),
        ("III", "iii"),
        ("4th", "iv"),
        ("V", "v"),
    ],
)
def test_generations_have_six_forms(filed: str, suffix: str) -> None:
    assert normalise_suffix(filed) == suffix


@pytest.mark.parametrize("filed", ["Esq.", "PhD", "MD", "1", "none"])
def test_what_is_no_generation_is_no_suffix(filed: str) -> None:
    assert normalise_suffix(filed) == ""
