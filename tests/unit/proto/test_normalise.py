"""normalise: a person's particulars to normal forms, to the octet (docs/matching.md §1)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto.errors import InputInvalid
from candor_proto.fold_table import FOLD_SHA256
from candor_proto.folding import fold, fold_marked
from candor_proto.name_tables import TABLES_SHA256
from candor_proto.normalise import (
    MAX_FIELD_CHARACTERS,
    REFUSED_IN_LOOKUPS,
    SCHEME_VERSION,
    Particulars,
    Person,
    normalise,
    refusal,
)
from candor_proto.phonetics import asked_root, recorded_forms

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "normalise.json"

_SAMPLE = """
de la Cruz O'Brien O D' 5mith Jr II 5r 3rd V LNU UNKN0WN Müller Saint St. St Mc Mac y née fka Sgt Dr J M.
(Bob) "Bob" 'Bob' (Jr) von der Åse é van den Berg Saintjohn Mu\u0308ller ´ ¨ N/A xxx ( ' " Ann iii
"""
_WORDS = st.sampled_from(_SAMPLE.split())
_NAMES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="abcSMJjrIiVvyoOdD01258 -'’.,()\"ßÆœŁđþıñéüÅØ\u0308\u0301\u030a´¨", max_size=30),
    st.builds(
        lambda words, between: between.join(words),
        st.lists(_WORDS, max_size=6),
        st.sampled_from([" ", "-", ""]),
    ),
)
_DATES = st.one_of(
    st.text(max_size=12),
    st.dates().map(str),
    st.text(alphabet="0129X?-/.", max_size=12),
    st.from_regex(r"\A[0-9X?]{1,4}[-/.][0-9X]{1,2}[-/.][0-9X]{1,4}( 0:00)?\Z"),
)
_DIGITS = st.one_of(st.text(max_size=6), st.text(alphabet="0123456789", min_size=4, max_size=4))
PARTICULARS = st.builds(
    Particulars,
    first=_NAMES,
    middle=_NAMES,
    last=_NAMES,
    suffix=st.one_of(_NAMES, st.sampled_from(["Jr.", "Sr", "Ii", "III", "2nd", "Esq"])),
    former_last=_NAMES,
    birth_date=_DATES,
    ssn4=_DIGITS,
    sex=st.sampled_from(["", "M", "Female", "x", "?"]),
    post_state=st.sampled_from(["", "MA", "t.x.", "Texas", "ID", "Washington DC"]),
    post_id=st.one_of(_DIGITS, st.text(max_size=8), st.text(alphabet="0129TXPOSTNID-# A.", max_size=12)),
)


def changed(particulars: Particulars, change: Callable[[str], str]) -> Particulars:
    return Particulars(
        **{field.name: change(getattr(particulars, field.name)) for field in fields(particulars)}
    )


# --- what must make no difference ----------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(PARTICULARS)
def test_normalising_is_idempotent(particulars: Particulars) -> None:
    person = normalise(particulars)
    assert normalise(person.particulars()) == person


@settings(deadline=None, max_examples=200)
@given(PARTICULARS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_composed_and_decomposed_letters_are_the_same(particulars: Particulars, form: Any) -> None:
    other = changed(particulars, lambda text: unicodedata.normalize(form, text))
    assert normalise(other) == normalise(particulars)


@settings(deadline=None, max_examples=200)
@given(
    PARTICULARS,
    st.sampled_from(
        [
            str.upper,
            str.lower,
            str.swapcase,
            "\t {}\u00a0 ".format,
            lambda text: text.replace(" ", " \u2003 "),
        ]
    ),
)
def test_case_and_white_space_make_no_difference(
    particulars: Particulars, change: Callable[[str], str]
) -> None:
    assert normalise(changed(particulars, change)) == normalise(particulars)


@settings(deadline=None)
@given(PARTICULARS)
def test_folding_beforehand_makes_no_difference(particulars: Particulars) -> None:
    """An exporter that has dropped the marks loses the spelling with ae, oe, ue and nothing else."""
    plain = normalise(changed(particulars, fold))
    assert replace(normalise(particulars), marked="") == plain
    assert normalise(changed(particulars, fold_marked)) == normalise(particulars)


@settings(deadline=None)
@given(st.lists(st.text(max_size=MAX_FIELD_CHARACTERS), min_size=10, max_size=10))
def test_no_text_raises_within_the_bound(texts: list[str]) -> None:
    person = normalise(Particulars(*texts))
    for value in vars(person).values():
        assert isinstance(value, str)
    for surname in (
        person.surname,
        *person.other_surnames,
        *person.recorded_surnames,
        *person.recorded_given,
    ):
        assert surname == "" or (surname.isascii() and surname.isalpha())
    assert all(
        isinstance(refusal(field.name, text), str)
        for field, text in zip(fields(Particulars), texts, strict=True)
    )


# --- fields that say something of each other -------------------------------------------------------------


def test_suffix_of_its_own_field_goes_before_the_one_in_a_name() -> None:
    assert normalise(Particulars(last="Schmidt Jr", suffix="III")).suffix == "iii"
    assert normalise(Particulars(last="Schmidt Jr", suffix="Esq")).suffix == "jr"
    assert normalise(Particulars(first="Mike Sr", last="Schmidt Jr")).suffix == "jr"
    assert normalise(Particulars(first="Mike", middle="Lee III", last="Schmidt")).suffix == "iii"


def test_an_initial_beside_the_given_name_is_the_middle_initial_if_there_is_no_middle_name() -> None:
    moved = normalise(Particulars(first="John Q.", last="Public"))
    assert (moved.first, moved.middle) == ("john", "q")
    kept = normalise(Particulars(first="John Q.", middle="Quincy", last="Public"))
    assert (kept.first, kept.middle) == ("john", "quincy")


def test_a_second_given_name_is_kept_for_the_records_side() -> None:
    for first in ("Mary Ann", "Mary-Ann"):
        person = normalise(Particulars(first=first, last="Roe"))
        assert (person.first, person.given, person.recorded_given) == ("maryann", "mary ann", ("mary",))
    assert "maryann" in normalise(Particulars(first="Mary", middle="Ann", last="Roe")).recorded_given


def test_a_nickname_in_either_name_field_is_kept_for_the_records_side() -> None:
    for filed in (Particulars(first='Robert "Bob"'), Particulars(first="Robert", middle='"Bob"')):
        person = normalise(filed)
        assert (person.first, person.middle, person.called, person.recorded_given) == (
            "robert",
            "",
            "bob",
            ("bob",),
        )


def test_a_maiden_name_in_the_surname_is_a_former_surname() -> None:
    assert normalise(Particulars(last="Schmidt (née Weber)")).former_last == "weber"
    assert normalise(Particulars(last="Schmidt née Weber", former_last="Fuchs")).former_last == "fuchs"


# --- at the doors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("first", "FNU", "leave it empty"),
        ("middle", "NMN", "leave it empty"),
        ("last", "XXX", "leave it empty"),
        ("last", "Петров", "not Latin"),
        ("first", "Wei 李", "not Latin"),
        ("birth_date", "01/01/1900", "leave it empty"),
        ("birth_date", "0000-00-00", "leave it empty"),
        ("birth_date", "02.11.1980", "write YYYY-MM-DD"),
        ("ssn4", "9999", "leave it empty"),
        ("ssn4", "123-45-6789", "last four digits alone"),
        ("post_state", "Bavaria", "two letters"),
        ("post_id", "PENDING", "leave it empty"),
    ],
)
def test_what_matching_cannot_use_is_told_with_what_to_do(field: str, text: str, words: str) -> None:
    reason = refusal(field, text)
    assert words in reason
    assert text not in reason


@pytest.mark.parametrize(
    ("field", "text"),
    [("first", ""), ("first", " "), ("last", "Doe"), ("last", "Müller"), ("birth_date", "XXXX-XX-XX"),
     ("birth_date", "1964"), ("ssn4", "4071"), ("post_state", "Ohio"), ("post_id", "A-7"),
     ("suffix", "Esq"), ("sex", "?")],
)  # fmt: skip
def test_what_is_usable_or_absent_is_not_refused(field: str, text: str) -> None:
    assert refusal(field, text) == ""


def test_no_middle_name_is_no_reason_to_refuse_a_lookup() -> None:
    assert "middle" not in REFUSED_IN_LOOKUPS


def test_a_field_beyond_its_bound_is_named_and_not_shown() -> None:
    with pytest.raises(InputInvalid) as caught:
        normalise(Particulars(middle="Zz" * MAX_FIELD_CHARACTERS))
    assert "middle" in str(caught.value)
    assert "Zz" not in str(caught.value)


SECRET = Particulars(
    first="Wilhelmina",
    middle="Quincy",
    last="Featherstone",
    suffix="Sr",
    former_last="Abernathy",
    birth_date="1971-09-23",
    ssn4="8642",
    sex="F",
    post_state="ZQ",
    post_id="771199",
)


def test_repr_shows_which_fields_are_there_and_nothing_else() -> None:
    person = normalise(SECRET)
    for shown in (repr(SECRET), repr(person), str(SECRET), f"{person}"):
        for value in (SECRET, person):
            for field in fields(value):
                held = str(getattr(value, field.name))
                assert not held or f"={held}" not in shown
                assert len(held) < 3 or held.lower() not in shown.lower()
    assert "first" in repr(SECRET)
    assert "first" not in repr(replace(SECRET, first=""))


def test_a_person_is_all_text() -> None:
    person = normalise(SECRET)
    assert isinstance(person, Person)
    assert all(isinstance(getattr(person, field.name), str) for field in fields(person))


# --- vectors ---------------------------------------------------------------------------------------------


@given(PARTICULARS)
def test_spare_surnames_are_some_that_records_write(particulars: Particulars) -> None:
    """docs/matching.md §1.3 rule 10: what no record of that person holds is not worth a slot."""
    person = normalise(particulars)
    assert set(person.spare_surnames) <= set(person.recorded_surnames)


@pytest.mark.parametrize("last", ["van Mueller", "de Vandyke", "A Oel"])
def test_a_spelling_of_a_word_behind_a_particle_is_not_spare(last: str) -> None:
    """Records write the word, and spellings of the word with its particle."""
    person = normalise(Particulars(last=last))
    assert person.spare_surnames == ()
    assert person.other_surnames == (last.split()[1].lower(),)


def described(particulars: Particulars) -> dict[str, Any]:
    """What tests/vectors/normalise.json states of a person; what is missing or empty is left out."""
    person = normalise(particulars)
    found = {
        "person": {name: value for name, value in vars(person).items() if value},
        "other_surnames": list(person.other_surnames),
        "spare_surnames": list(person.spare_surnames),
        "recorded_surnames": list(person.recorded_surnames),
        "recorded_given": list(person.recorded_given),
    }
    return {name: value for name, value in found.items() if value or name == "person"}


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("case", _document()["cases"], ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    assert described(Particulars(**case["particulars"])) == {
        name: value for name, value in case.items() if name not in ("name", "particulars")
    }


def test_vectors_of_letters_and_roots() -> None:
    document = _document()
    for text, plain, marked in document["folds"]:
        assert (fold(text), fold_marked(text)) == (plain, marked)
    for name, root, forms in document["roots"]:
        assert (asked_root(name), list(recorded_forms(name))) == (root, forms)


def test_vectors_belong_to_this_scheme_and_these_tables() -> None:
    document = _document()
    assert document["scheme_version"] == SCHEME_VERSION
    assert document["tables_sha256"] == TABLES_SHA256
    assert document["fold_sha256"] == FOLD_SHA256
    names = [case["name"] for case in document["cases"]]
    assert len(set(names)) == len(names) >= 150
