"""normalise: the rules of MATCHING.md §3, to the octet."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import normalise as normalisation
from candor_proto.errors import InputInvalid
from candor_proto.normalise import (
    MAX_FIELD_CHARACTERS,
    Particulars,
    Person,
    fold,
    letters,
    normalise,
    normalise_birth_date,
    normalise_name,
    normalise_post,
    normalise_ssn4,
    normalise_suffix,
    split_surname,
)

_NAMES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="abcSMJRjrIiVv01523 -'’.,ßÆœŁđþıñé", max_size=30),
    st.lists(
        st.sampled_from(
            ["de", "la", "Cruz", "O'Brien", "5mith", "Jr", "II", "5r", "3rd", "V", "LNU", "UNKN0WN"]
        ),
        max_size=6,
    ).map(" ".join),
)
_DATES = st.one_of(
    st.text(max_size=12),
    st.dates().map(str),
    st.text(alphabet="0123456789X-", min_size=8, max_size=10),
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
    post_state=st.sampled_from(["", "MA", "t.x.", "Texas"]),
    post_id=st.one_of(_DIGITS, st.text(max_size=8)),
)


@given(st.one_of(_NAMES, st.text(st.characters(max_codepoint=127))))
def test_letters_that_are_plain_already_take_a_shorter_way_to_the_same(text: str) -> None:
    """Against the rule as MATCHING.md §3 rule 1 puts it: every step for every text."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).lower())
    folded = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    folded = folded.translate(normalisation._FOLDED)
    assert fold(text) == folded
    assert letters(text) == re.sub(r"[^a-z]+", "", folded.translate(normalisation._SCANNED))


@given(PARTICULARS)
def test_normalising_is_idempotent(particulars: Particulars) -> None:
    person = normalise(particulars)
    assert normalise(person.particulars()) == person


@given(st.text(max_size=40))
def test_letters_are_a_to_z_and_stay(text: str) -> None:
    name = letters(text)
    assert all("a" <= letter <= "z" for letter in name)
    assert letters(name) == name


@pytest.mark.parametrize(
    ("filed", "normal"),
    [
        ("O'Brien", "obrien"),
        ("José", "jose"),  # the measured code made `jos` of it
        ("PEÑA", "pena"),
        ("Strauß", "strauss"),
        ("STRAUẞ", "strauss"),
        ("Æsir", "aesir"),
        ("Œuvre", "oeuvre"),
        ("Sørensen", "sorensen"),
        ("Ǿ", "o"),
        ("Łukasz", "lukasz"),
        ("Đặng", "dang"),
        ("Þóra", "thora"),
        ("Guðrún", "gudrun"),
        ("Yıldız", "yildiz"),
        ("İpek", "ipek"),
        ("ﬁn", "fin"),
        ("Ⓐda", "ada"),
        ("5Mith", "smith"),
        ("Fl0Wers", "flowers"),
        ("Wi11iam", "william"),
        ("Mary Ann", "maryann"),
        ("Jean-Luc", "jeanluc"),
        ("R2D2", "rd"),
        ("李", ""),
    ],
)
def test_names_are_folded_before_anything_is_deleted(filed: str, normal: str) -> None:
    assert letters(filed) == normal


def test_fold_writes_out_what_unicode_does_not_decompose() -> None:
    assert fold("ßÆœØłĐþıð") == "ssaeoeoldthid"


@pytest.mark.parametrize(
    ("filed", "last", "suffix"),
    [
        ("Schmidt Jr.", "schmidt", "jr"),
        ("Schmidt, SR", "schmidt", "sr"),
        ("Schmidt Iii", "schmidt", "iii"),
        ("Schmidt 2nd", "schmidt", "ii"),
        ("5mith-5r", "smith", "sr"),
        ("Ii", "ii", ""),  # a surname of its own
        ("King V", "king v", ""),
        ("de la Cruz", "de la cruz", ""),
        ("Smith-Jones", "smith jones", ""),
        ("Smith–Jones", "smith jones", ""),
        ("O’Brien", "obrien", ""),
        ("St.John", "stjohn", ""),
        ("LNU", "", ""),
        ("Unknown", "", ""),
        ("Smith Unknown", "smith", ""),
        ("l nu", "", ""),
    ],
)
def test_surname_loses_its_suffix_and_keeps_its_words(filed: str, last: str, suffix: str) -> None:
    assert split_surname(filed) == (last, suffix)


def test_suffix_of_its_own_field_goes_before_the_one_in_the_surname() -> None:
    assert normalise(Particulars(last="Schmidt Jr", suffix="III")).suffix == "iii"
    assert normalise(Particulars(last="Schmidt Jr", suffix="Esq")).suffix == "jr"


@pytest.mark.parametrize("filed", ["Esq.", "PhD", "MD", "1", "none"])
def test_what_is_no_generation_is_no_suffix(filed: str) -> None:
    assert normalise_suffix(filed) == ""


@pytest.mark.parametrize(
    ("last", "former", "others"),
    [
        ("Smith-Jones", "", ("smith", "jones")),
        ("de la Cruz", "", ("cruz",)),  # a single significant part counts
        ("O Brien", "", ("brien",)),
        ("Schmidt", "Weber", ("weber",)),
        ("Schmidt", "de la Cruz", ("delacruz", "cruz")),
        ("Smith-Jones", "Jones", ("smith", "jones")),
        ("Schmidt", "Schmidt", ()),
        ("", "Weber", ("weber",)),
        ("Ng", "", ()),
    ],
)
def test_other_surnames_are_parts_then_former(last: str, former: str, others: tuple[str, ...]) -> None:
    assert normalise(Particulars(last=last, former_last=former)).other_surnames == others


@pytest.mark.parametrize(
    ("filed", "parts"),
    [
        ("1980-11-02", ("1980", "11", "02")),
        ("19801102", ("1980", "11", "02")),
        ("1964-XX-XX", ("1964", "", "")),
        ("1996-08-XX", ("1996", "08", "")),
        ("XXXX-07-28", ("", "07", "28")),
        ("1980-13-45", ("1980", "13", "45")),  # impossible dates are typing errors and still evidence
        ("1980-01-01", ("1980", "01", "01")),  # 1 January alone is no placeholder
        ("1964-00-00", ("1964", "", "")),
        ("１９８０-11-02", ("1980", "11", "02")),
        ("1980-1-2", ("", "", "")),
        ("11/02/1980", ("", "", "")),
        ("1900-01-01", ("", "", "")),
        ("11111111", ("", "", "")),
        ("0000-00-00", ("", "", "")),
        ("", ("", "", "")),
    ],
)
def test_birth_dates_are_read_part_by_part(filed: str, parts: tuple[str, str, str]) -> None:
    assert normalise_birth_date(filed) == parts


@pytest.mark.parametrize(
    ("filed", "normal"),
    [("4071", "4071"), (" 0001 ", "0001"), ("0000", ""), ("407", ""), ("40X1", ""), ("٤٠٧١", "")],
)
def test_last_four_are_four_digits(filed: str, normal: str) -> None:
    assert normalise_ssn4(filed) == normal


@pytest.mark.parametrize(
    ("state", "number", "normal"),
    [
        ("MA", "328139", ("MA", "328139")),
        ("ma", "328-139", ("MA", "328139")),
        ("MA", "029418", ("MA", "029418")),
        ("MA", "7", ("", "")),  # MATCHING.md §3: more than three characters
        ("", "328139", ("", "")),
        ("MA", "", ("", "")),
        ("MA", "000000", ("", "")),
        ("MA", "pending", ("", "")),
        ("MA", "N/A", ("", "")),
    ],
)
def test_certificates_are_state_and_number(state: str, number: str, normal: tuple[str, str]) -> None:
    assert normalise_post(state, number) == normal


@pytest.mark.parametrize("filed", ["UNKNOWN", "Unkn0wn", "F.N.U.", "LNU", "nmn", "NMI", "No Middle Name"])
def test_name_placeholders_are_missing(filed: str) -> None:
    assert normalise_name(filed) == ""


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
                assert f"={held}" not in shown
                assert len(held) < 3 or held.lower() not in shown.lower()
    assert "first" in repr(SECRET)
    assert "first" not in repr(replace(SECRET, first=""))


def test_a_person_is_all_text() -> None:
    person = normalise(SECRET)
    assert isinstance(person, Person)
    assert all(isinstance(getattr(person, field.name), str) for field in fields(person))
