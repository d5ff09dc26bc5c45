"""field_codes: values of codes of one person, and what is kept of names between persons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto import field_codes
from candor_proto.field_codes import PersonCodes, Sounds, framed
from candor_proto.matchkeys import CODE_LABELS, MATCH_LABELS, record_codes, record_inputs, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.phonetics import asked_root, consonant_skeleton, double_metaphone, recorded_forms
from tests.parties import MIKE
from tests.unit.proto.test_normalise import PARTICULARS

NAMES = ("mike", "michael", "schmidt", "de", "")


def test_sounds_are_those_of_the_phonetics_first_and_again() -> None:
    sounds = Sounds()
    for _ in range(2):
        for name in NAMES:
            assert sounds.root[name] == asked_root(name)
            assert sounds.forms[name] == recorded_forms(name)
            assert sounds.metaphone[name] == double_metaphone(name)
            assert sounds.skeleton[name] == consonant_skeleton(name)


def test_a_name_is_sounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(name: str) -> str:
        asked.append(name)
        return double_metaphone(name)

    monkeypatch.setattr(field_codes, "double_metaphone", noted)
    sounds = Sounds()
    for last in ("Schmidt", "Schmidt", "Smith"):
        record_inputs(normalise(replace(MIKE, last=last)), sounds)
    assert len(asked) == len(set(asked))


def test_names_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_codes, "_KEPT_NAMES", 3)
    sounds = Sounds()
    for name in "abcdefgh":
        assert sounds.skeleton[name] == name
        assert len(sounds.skeleton) <= 3


def test_names_and_values_do_not_print() -> None:
    sounds = Sounds()
    codes = PersonCodes(normalise(MIKE), ["schmidt"], sounds, record=True)
    assert b"schmidt" in codes["L"][0]
    assert sounds.metaphone["schmidt"]
    for shown in (repr(codes), repr(sounds), repr(sounds.metaphone)):
        assert "redacted" in shown or "Sounds object" in shown
        assert "schmidt" not in shown


# --- the codes of scheme version 3, by hand -----------------------------------------------------------


def values(particulars: Particulars, code: str, *, record: bool = False, surname: str = "") -> list[str]:
    """The values of one code, without their lengths."""
    person = normalise(particulars)
    codes = PersonCodes(person, [surname or person.surname], Sounds(), record=record)
    return [value[2:].decode() for value in codes[code]]


ROBERT = Particulars(
    first="Robert", middle="Lee", last="Aldana", birth_date="1980-12-05", ssn4="4071", post_state="OH",
    post_id="B-447120",
)  # fmt: skip


BY_HAND = (
    ("F", "robert"), ("F1", "r"), ("F3", "rob"), ("Fz", "ert"), ("Fo", "beorrt"), ("Fc", "robert"),
    ("Fp", "RPRT"), ("L", "aldana"), ("L1", "a"), ("L3", "ald"), ("L4", "alda"), ("Lz", "ana"),
    ("Lk", "aldn"), ("Lo", "aaadln"), ("Ls", "A435"), ("Lp", "ALTN"), ("SW", "aldana/robert"),
    ("SW1", "a/r"), ("SW3", "ald/rob"), ("SWp", "ALTN/RPRT"), ("D", "19801205"), ("Dc", "19800512"),
    ("Yo", "01891205"), ("Y", "1980"), ("YM", "198012"), ("YD", "198005"), ("MD", "1205"),
    ("S", "4071"), ("So", "0147"), ("P", "OHB447120"), ("PS", "OH"), ("M", "lee"), ("M1", "l"),
)  # fmt: skip


@pytest.mark.parametrize(("code", "value"), BY_HAND)
def test_a_lookup_asks_one_value_of_each_code(code: str, value: str) -> None:
    assert values(ROBERT, code) == [value]


def test_every_code_of_the_scheme_has_a_value_by_hand() -> None:
    """In the table above, but for suffix and sex, which say themselves."""
    used = {code for label in (*MATCH_LABELS, *CODE_LABELS) for code in label.codes}
    assert used - {code for code, _ in BY_HAND} == {"X", "G"}


def test_short_names_go_whole_into_starts_and_ends() -> None:
    short = replace(ROBERT, first="Al", last="Ng")
    assert [values(short, code) for code in ("F3", "Fz", "L3", "Lz", "SW3")] == [
        ["al"], ["al"], ["ng"], ["ng"], ["al/ng"],
    ]  # fmt: skip


@pytest.mark.parametrize("code", ["SW", "SW1", "SW3", "SWp"])
def test_a_pair_of_names_is_the_same_in_any_order_and_needs_both(code: str) -> None:
    first, last = "Rosa", "Whitfield"
    one = values(replace(ROBERT, first=first, last=last), code)
    assert one == values(replace(ROBERT, first=last, last=first), code)
    assert len(one) == 1
    assert values(replace(ROBERT, first=""), code) == values(replace(ROBERT, last=""), code) == []


def test_the_state_of_a_certificate_counts_beside_a_number_only() -> None:
    """Where somebody works is not who it is."""
    assert values(replace(ROBERT, post_id=""), "PS") == []
    assert values(replace(ROBERT, post_state=""), "PS") == values(replace(ROBERT, post_state=""), "P") == []


@pytest.mark.parametrize(
    ("code", "recorded"),
    [
        ("F", ["chris", "chrisalex"]), ("F1", ["c", "a"]), ("F3", ["chr"]), ("Fz", ["ris", "lex"]),
        ("SW1", ["a/c"]), ("SW3", ["ald/chr"]), ("SW", ["aldana/chris", "aldana/chrisalex"]),
    ],
)  # fmt: skip
def test_a_record_says_the_joined_given_names_as_well(code: str, recorded: list[str]) -> None:
    """MATCHING.md §3 "Two sides": `Mary Ann` is filed as one name, and as first and middle."""
    assert values(replace(ROBERT, first="Chris", middle="Alex"), code, record=True) == recorded


def test_a_record_says_the_roots_of_all_its_given_names_first() -> None:
    """Where slots are short, others go: Chris and the nickname are each asked by their root. Of the middle
    name the sound alone is said (ADR 0022)."""
    found = values(replace(ROBERT, first="Chris (Kit)", middle="Alex"), "Fc", record=True)
    roots = [asked_root(name) for name in ("chris", "kit")]
    assert found[: len(set(roots))] == list(dict.fromkeys(roots))
    assert "chris" in found
    assert "alexander" not in found
    sounds = values(replace(ROBERT, first="Chris (Kit)", middle="Alex"), "Fp", record=True)
    assert sounds[:2] == [double_metaphone(asked_root(name)) for name in ("chris", "alex")]
    asked = values(replace(ROBERT, first="Chris (Kit)", middle="Alex"), "Fc")
    assert asked == roots[:1]


def test_a_record_says_the_sound_of_its_own_root_beside_a_surname_and_of_all_forms_alone() -> None:
    record = replace(ROBERT, first="Bob", middle="")
    assert values(record, "SWp", record=True) == values(replace(ROBERT, middle=""), "SWp")
    assert len(values(record, "Fp", record=True)) > 1


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTICULARS, max_size=4))
def test_a_record_has_the_same_inputs_whoever_came_before_it(people: list[Particulars]) -> None:
    sounds = Sounds()
    for particulars in people:
        person = normalise(particulars)
        assert record_inputs(person, sounds) == (record_keys(person), record_codes(person))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=4))
def test_framed_values_in_a_row_are_read_in_one_way_only(values: list[str]) -> None:
    octets, found = b"".join(map(framed, values)), []
    while octets:
        length = int.from_bytes(octets[:2], "big")
        found.append(octets[2 : 2 + length].decode("utf-8"))
        octets = octets[2 + length :]
    assert found == values
