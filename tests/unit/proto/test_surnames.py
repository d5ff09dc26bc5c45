"""surnames: the spellings of one surname meet, whichever side has which (docs/matching.md §1.3)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto.normalise import Particulars, Person, normalise, split_surname

SYLLABLES = st.lists(
    st.sampled_from(["ba", "cor", "din", "fe", "gal", "hom", "ki", "lut", "mar", "nes"]),
    min_size=2,
    max_size=3,
).map("".join)
SURNAMES = st.one_of(
    SYLLABLES,
    SYLLABLES.map(lambda name: f"Ü{name}"),
    st.sampled_from(
        ["de la Cruz", "van den Berg", "O'Brien", "García", "Mc Donald", "al-Hassan", "St. John"]
    ),
)


def person(last: str, **others: str) -> Person:
    return normalise(Particulars(last=last, **others))


def asked(found: Person) -> set[str]:
    """What a lookup asks, spare slots included."""
    return {found.surname, *found.other_surnames, *found.spare_surnames} - {""}


def recorded(found: Person) -> set[str]:
    return {found.surname, *found.other_surnames, *found.recorded_surnames} - {""}


@pytest.mark.parametrize(
    "spellings",
    [
        ("de la Cruz", "Delacruz", "De La Cruz", "DE-LA-CRUZ", "dela Cruz", "Cruz"),
        ("van den Berg", "Vandenberg", "Van Den Berg", "VandenBerg", "Berg"),
        ("van der Meer", "Vandermeer", "Van der Meer", "Meer"),
        ("van Dyke", "Vandyke", "Van-Dyke", "Dyke"),
        ("Mc Donald", "McDonald", "MacDonald", "Mac Donald", "MCDONALD"),
        ("O'Brien", "O Brien", "Obrien", "O’Brien", "Oʻbrien", "O´Brien", "Brien"),
        ("St. John", "Saint John", "Stjohn", "St John", "St.John", "Saintjohn", "St-John"),
        ("al-Hassan", "Alhassan", "Al Hassan", "el-Hassan", "Elhassan", "Hassan"),
        ("D'Angelo", "D Angelo", "D’Angelo", "Dangelo"),
        ("Müller", "Mueller", "Muller", "MÜLLER", "Mu\u0308ller"),
        ("Sørensen", "Soerensen", "Sorensen"),
        ("García Márquez", "Garcia-Marquez", "Márquez García", "García y Márquez", "García"),
        ("Smith-Jones", "Jones-Smith", "Smith Jones", "Jones"),
        ("de la Cruz García", "García de la Cruz", "Cruz Garcia", "Delacruz"),
        ("Peña", "Pena", "PEN\u0303A"),
        ("Smith, Jr.", "Smith III", "Smith", "5mith", "Sgt. Smith"),
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_surname_meet_in_both_directions(spellings: tuple[str, ...]) -> None:
    for query, record in itertools.permutations(spellings, 2):
        assert asked(person(query)) & recorded(person(record)), (query, record)


@pytest.mark.parametrize(
    ("query", "record"),
    [
        ("Mack", "Mc"),
        ("Bauer", "Baur"),
        ("Santos", "Dos Anjos"),
        ("Van Dyke", "Van Horn"),
        ("de Silva", "De"),
    ],
)
def test_what_is_another_surname_does_not_meet(query: str, record: str) -> None:
    assert not asked(person(query)) & recorded(person(record))


@settings(deadline=None)
@given(SURNAMES, SURNAMES)
def test_the_order_of_a_double_surname_makes_no_difference(one: str, other: str) -> None:
    """The same set on a record, and a lookup that meets it by its whole surname."""
    first, second = person(f"{one} {other}"), person(f"{other}-{one}")
    assert recorded(first) == recorded(second)
    assert first.surname in recorded(second)


@settings(deadline=None)
@given(SURNAMES, SURNAMES)
def test_the_order_of_a_former_double_surname_makes_no_difference(one: str, other: str) -> None:
    found = [recorded(person("Weber", former_last=former)) for former in (f"{one} {other}", f"{other} {one}")]
    assert found[0] == found[1]


@settings(deadline=None)
@given(st.lists(SURNAMES, max_size=4).map(" ".join), st.lists(SURNAMES, max_size=3).map("-".join))
def test_no_spelling_stands_there_twice(last: str, former: str) -> None:
    found = person(last, former_last=former)
    names = [found.surname, *found.other_surnames, *found.recorded_surnames]
    assert len(names) == len(set(names))
    assert all(name.isascii() and name.isalpha() for name in names if name)
    assert set(found.spare_surnames) <= set(found.recorded_surnames)


def test_most_surnames_ask_nothing_more() -> None:
    """Each further surname costs the asker elements."""
    for last in ("Smith", "Davis", "Anderson", "Vance", "Delgado", "Alvarez", "Ellis", "Delaney", "Evans"):
        assert person(last).other_surnames == ()


def test_a_particle_is_no_surname_of_its_own() -> None:
    assert person("van den Berg").other_surnames == ("berg",)
    assert person("Dos Santos").other_surnames == ("santos",)
    assert person("Van Le").other_surnames == ()


def test_a_particle_that_slipped_into_the_middle_name_is_put_back() -> None:
    """`Pat O | Brien`: the record says so, for the asker has O'Brien."""
    assert "obrien" in person("Brien", first="Pat", middle="O").recorded_surnames
    assert "delacruz" in person("Cruz", first="Ana", middle="De La").recorded_surnames
    assert person("Brien", first="Pat", middle="Quinn").recorded_surnames == ()


@pytest.mark.parametrize(
    ("filed", "last", "suffix"),
    [
        ("Schmidt Jr.", "schmidt", "jr"),
        ("Schmidt, SR", "schmidt", "sr"),
        ("Schmidt (Jr)", "schmidt", "jr"),
        ("Schmidt Iii", "schmidt", "iii"),
        ("Schmidt 2nd", "schmidt", "ii"),
        ("5mith-5r", "smith", "sr"),
        ("Ii", "ii", ""),  # a surname of its own
        ("King V", "king v", ""),
        ("de la Cruz", "de la cruz", ""),
        ("Smith-Jones", "smith jones", ""),
        ("Smith–Jones", "smith jones", ""),
        ("Smith y Jones", "smith jones", ""),
        ("O’Brien", "o brien", ""),
        ("Ka'aihue", "kaaihue", ""),
        ("St.John", "stjohn", ""),
        ("Saintjohn", "stjohn", ""),
        ("Saint", "saint", ""),
        ("Mc Donald", "mcdonald", ""),
        ("Mac", "mac", ""),
        ("Sgt. Smith", "smith", ""),
        ("Smith (Jones)", "smith", ""),
        ("(Smith)", "smith", ""),
        ("LNU", "", ""),
        ("Unknown", "", ""),
        ("N/A", "", ""),
        ("XXX", "", ""),
        ("000", "", ""),
        ("Smith Unknown", "smith", ""),
        ("l nu", "", ""),
        ("Na", "na", ""),  # a Korean name, as Null and Doe are names
        ("Null", "null", ""),
        ("Doe", "doe", ""),
    ],
)
def test_surname_loses_its_suffix_and_keeps_its_words(filed: str, last: str, suffix: str) -> None:
    assert split_surname(filed) == (last, suffix)


@pytest.mark.parametrize(
    ("last", "former", "others"),
    [
        ("Smith-Jones", "", ("smith", "jones")),
        ("de la Cruz", "", ("cruz",)),  # a single significant part counts
        ("Delacruz", "", ("cruz",)),
        ("O Brien", "", ()),  # Brien is asked where a slot is free
        ("Schmidt", "Weber", ("weber",)),
        ("Schmidt", "de la Cruz", ("delacruz", "cruz")),
        ("Smith-Jones", "Jones", ("smith", "jones")),
        ("Schmidt", "Schmidt", ()),
        ("", "Weber", ("weber",)),
        ("Schmidt (Weber)", "", ("weber",)),
        ("Schmidt née Weber", "", ("weber",)),
        ("Schmidt née Weber", "Fuchs", ("fuchs",)),
        ("Ng", "", ()),
    ],
)
def test_other_surnames_are_parts_then_former(last: str, former: str, others: tuple[str, ...]) -> None:
    assert person(last, former_last=former).other_surnames == others
