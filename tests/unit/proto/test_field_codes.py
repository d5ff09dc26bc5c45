"""field_codes: values of codes of one person, and what is kept of names between persons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto import field_codes
from candor_proto.field_codes import PersonCodes, Sounds, framed
from candor_proto.matchkeys import record_codes, record_inputs, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.phonetics import canonical_forms, consonant_skeleton, double_metaphone
from tests.parties import MIKE
from tests.unit.proto.test_normalise import PARTICULARS

NAMES = ("mike", "michael", "schmidt", "de", "")


def test_sounds_are_those_of_the_phonetics_first_and_again() -> None:
    sounds = Sounds()
    for _ in range(2):
        for name in NAMES:
            assert sounds.forms[name] == canonical_forms(name)
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
