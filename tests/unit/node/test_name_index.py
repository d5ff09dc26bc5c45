"""Searching by name: what slips are forgiven, what is ranked how, and that nothing stays behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node.name_index import Found, NameIndex, Names, Query, words_of
from candor_proto.errors import InputInvalid

PEOPLE = (
    ("Quentin", "Zebulon", "Placeholderson", "", "1984-07-23"),
    ("Roberta", "", "de la Cruz", "Ashgrove", "1979"),
    ("Robert", "Lee", "O'Brien", "", "1979-02-03"),
    ("Siân", "", "Müller-Coldfell", "", "UNKNOWN"),
    ("Li", "", "Wu", "", "1990-01-02"),
)


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _names(first: str, middle: str, last: str, former_last: str, birth_date: str) -> Names:
    values = {"first": first, "middle": middle, "last": last, "former_last": former_last}
    return Names.of({**values, "birth_date": birth_date})


@pytest.fixture
def index() -> NameIndex:
    made = NameIndex()
    for number, person in enumerate(PEOPLE):
        made.add(_id(number), _names(*person))
    return made


def _found(index: NameIndex, text: str) -> list[int]:
    return [int.from_bytes(found.record_id, "big") for found in index.search(Query.parse(text))[0]]


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("Placeholderson", [0]),
        ("placeholderson, quentin", [0]),
        ("Quentin Placeholderson", [0]),
        ("Plaec Holderson", [0]),  # one word of the two
        ("Plcaeholdersom", [0]),  # two slips in a long word
        ("Quetin Placeholdreson", [0]),
        ("holders", [0]),
        ("Place, Q", [0]),
        ("Zebulon", [0]),
        ("delacruz", [1]),
        ("Cruz", [1]),
        ("ashgrove", [1]),
        ("OBrien", [2]),
        ("O'Brian", [2]),
        ("muller", [3]),
        ("Mueller", [3]),
        ("Coldfell, Sian", [3]),
        ("uW", []),  # a short word has room for no slip
        ("Wu", [4]),
        ("1984", [0, 3]),  # whoever's year of birth is not known may be born in any
        ("Cruz 1979", [1]),
        ("Cruz 1980", []),
    ],
)
def test_search_finds(index: NameIndex, text: str, who: list[int]) -> None:
    assert _found(index, text) == who


def test_a_comma_says_which_name_is_the_surname(index: NameIndex) -> None:
    index.add(_id(9), _names("Cruz", "", "Robert", "", "1950"))
    assert _found(index, "Robert, Cruz") == [9]
    assert set(_found(index, "Robert Cruz")) == {1, 9}


def test_the_name_itself_comes_before_what_it_is_short_for_and_before_a_slip(index: NameIndex) -> None:
    index.add(_id(9), _names("Bob", "", "Brien", "", "1950"))
    found, total = index.search(Query.parse("Bob"))
    assert total == 2
    assert found == [Found(_id(9), 100), Found(_id(2), 92)]


def test_all_words_but_one_are_enough_only_when_nobody_has_all(index: NameIndex) -> None:
    assert _found(index, "Quentin Sebastian Placeholderson") == [0]
    assert _found(index, "Quentin Zebulon Placeholderson") == [0]
    assert _found(index, "Zacharias Sebastian Placeholderson") == []


def test_results_come_in_pages_of_one_order(index: NameIndex) -> None:
    for number in range(100, 130):
        index.add(_id(number), _names("Edgar", "", "Greywick", "", "1960"))
    query = Query.parse("Greywick")
    whole = index.search(query, 0, 100)[0]
    pages = [index.search(query, at, 7) for at in range(0, 35, 7)]
    assert [found for page, _ in pages for found in page] == whole
    assert {total for _, total in pages} == {30}


def test_a_record_that_changes_its_name_is_found_under_the_new_one_only(index: NameIndex) -> None:
    index.add(_id(0), _names("Quentin", "", "Fernhollow", "", "1984"))
    assert _found(index, "Placeholderson") == []
    assert _found(index, "Fernhollow") == [0]
    assert len(index) == len(PEOPLE)


def test_what_is_removed_leaves_no_word_behind(index: NameIndex) -> None:
    for number in range(len(PEOPLE)):
        index.remove(_id(number))
    index.remove(_id(77))
    assert len(index) == 0
    for words in (index._surnames, index._given):
        assert not any(words._words)
        assert not words._numbers
        assert not words._of_slot
        assert not any(words._of_length.values())
        assert not any(words._bearers)


def test_an_index_does_not_print_names(index: NameIndex) -> None:
    shown = repr(index) + repr(_names(*PEOPLE[0])) + repr(Query.parse("Placeholderson"))
    assert "laceholderson" not in shown


@pytest.mark.parametrize("text", ["", " , ", "…", "1984 1985", "x " * 9, "a" * 201, "unknown"])
def test_a_search_for_nothing_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InputInvalid) as caught:
        Query.parse(text)
    assert not text.strip(" ,…") or text.strip() not in str(caught.value)


@given(st.text(max_size=230))
def test_a_query_parses_or_is_refused(text: str) -> None:
    try:
        query = Query.parse(text)
    except InputInvalid:
        return
    words = (*query.surnames, *query.given, *query.either)
    assert all(words_of(word) == [word] for word in words)
    assert words or query.birth_year


_PERSON = st.sampled_from(PEOPLE)
_STEPS = st.lists(st.tuples(st.integers(0, 6), st.none() | _PERSON), max_size=40)


@given(_STEPS)
def test_an_index_says_the_same_as_one_made_afresh(steps: list[tuple[int, tuple[str, ...] | None]]) -> None:
    index, left = NameIndex(), dict[int, tuple[str, ...]]()
    for number, person in steps:
        if person is None:
            index.remove(_id(number))
            left.pop(number, None)
        else:
            index.add(_id(number), _names(*person))
            left[number] = person
    fresh = NameIndex()
    for number, person in left.items():
        fresh.add(_id(number), _names(*person))
    for text in ("Placeholderson", "Bob", "Cruz", "M", "1979", "O'Brein, Bob"):
        assert index.search(Query.parse(text)) == fresh.search(Query.parse(text))
