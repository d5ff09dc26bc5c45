"""Codes of a person's fields, the parts of match keys (docs/protocol.md "Match keys"; MATCHING.md §3).

Rules of this file:
- a code that cannot be made has no value: what is missing never matches and never mismatches;
- records emit many values of a given name, lookups one (§3 "Two sides");
- what was computed for a name is kept as long as one lookup or one tick lasts (`Sounds`), never longer: a
  cache of the process would keep names of people who were asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from candor_proto.errors import LimitExceeded
from candor_proto.normalise import Person
from candor_proto.phonetics import canonical_forms, consonant_skeleton, double_metaphone, soundex

T = TypeVar("T")

_KEPT_NAMES = 50_000


def framed(value: str) -> bytes:
    """A value as it stands in inputs, behind its 16-bit length: two values are never one."""
    encoded = value.encode("utf-8")
    if len(encoded) > 0xFFFF:
        raise LimitExceeded("A value is too long for a match key.")
    return len(encoded).to_bytes(2, "big") + encoded


class _Kept(dict[str, T]):
    """What a function of a name gave; bounded, for an owner may publish very many names in one tick."""

    def __init__(self, compute: Callable[[str], T]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, name: str) -> T:
        if len(self) >= _KEPT_NAMES:
            self.clear()
        found = self[name] = self._compute(name)
        return found

    def __repr__(self) -> str:
        return f"<{len(self)} names redacted>"


class Sounds:
    """Roots, sounds and skeletons of names, each computed once: officers share names, codes share parts."""

    def __init__(self) -> None:
        self.forms: Mapping[str, tuple[str, ...]] = _Kept(canonical_forms)
        self.metaphone: Mapping[str, str] = _Kept(double_metaphone)
        self.skeleton: Mapping[str, str] = _Kept(consonant_skeleton)


# --- the codes (§3) ----------------------------------------------------------------------------------


def _sorted(text: str) -> str:
    return "".join(sorted(text))


def _pair(one: str, other: str) -> str:
    return "/".join(sorted((one, other))) if one and other else ""


def _joined(*parts: str) -> str:
    return "".join(parts) if all(parts) else ""


def _roots(person: Person, sounds: Sounds) -> list[str]:
    """Canonical forms of first and middle name, the two roots first: where slots are short, others go."""
    first = sounds.forms[person.first]
    middle = sounds.forms[person.middle] if len(person.middle) > 1 else ()
    return [*first[:1], *middle[:1], *first[1:], *middle[1:]]


_GivenCode = Callable[[Person, Sounds], Sequence[str]]

# Codes of the given name, of which the record's side emits more (§3 "Two sides"): one value when asked...
GIVEN_ASKED: Mapping[str, _GivenCode] = {
    "F": lambda person, _: [person.first],
    "F1": lambda person, _: [person.first[:1]],
    "F3": lambda person, _: [person.first[:3]],
    "Fz": lambda person, _: [person.first[-3:]],
    "Fo": lambda person, _: [_sorted(person.first)],
    "Fc": lambda person, sounds: sounds.forms[person.first][:1],
    "Fp": lambda person, sounds: [sounds.metaphone[form] for form in sounds.forms[person.first][:1]],
}
# ... and on a record all canonical forms of first and middle name, and their initials.
_GIVEN_RECORDED: Mapping[str, _GivenCode] = {
    **GIVEN_ASKED,
    "F1": lambda p, sounds: [name[:1] for name in (p.first, p.middle, *sounds.forms[p.first])],
    "Fc": _roots,
    "Fp": lambda person, sounds: [sounds.metaphone[form] for form in _roots(person, sounds)],
}
# Codes of one surname, alone or with the person's own first name.
_SURNAME_CODES: Mapping[str, Callable[[str, Person, Sounds], str]] = {
    "L": lambda surname, *_: surname,
    "Lp": lambda surname, _, sounds: sounds.metaphone[surname],
    "Ls": lambda surname, *_: soundex(surname),
    "L1": lambda surname, *_: surname[:1],
    "L3": lambda surname, *_: surname[:3],
    "L4": lambda surname, *_: surname[:4],
    "Lz": lambda surname, *_: surname[-3:],
    "Lo": lambda surname, *_: _sorted(surname),
    "Lk": lambda surname, _, sounds: sounds.skeleton[surname],
    "SW": lambda surname, person, _: _pair(person.first, surname),
    "SW1": lambda surname, person, _: _pair(person.first[:1], surname[:1]),
    "SW3": lambda surname, person, _: _pair(person.first[:3], surname[:3]),
    "SWp": lambda surname, person, sounds: _pair(
        sounds.metaphone["".join(sounds.forms[person.first][:1])], sounds.metaphone[surname]
    ),
}
# Codes that are the same on both sides and have no variants.
_PLAIN_CODES: Mapping[str, Callable[[Person], str]] = {
    "D": lambda p: _joined(p.year, p.month, p.day),
    "Dc": lambda p: _joined(p.year, *sorted((p.month, p.day))),
    "Yo": lambda p: _joined(_sorted(p.year), p.month, p.day),
    "Y": lambda p: p.year,
    "YM": lambda p: _joined(p.year, p.month),
    "YD": lambda p: _joined(p.year, p.day),
    "MD": lambda p: _joined(p.month, p.day),
    "S": lambda p: p.ssn4,
    "So": lambda p: _sorted(p.ssn4),
    "P": lambda p: _joined(p.post_state, p.post_id),
    # Only beside a number: a state alone is where somebody works, not who it is.
    "PS": lambda p: p.post_state if p.post_id else "",
    # A bare initial would disagree with the name it stands for; it is asked as M1.
    "M": lambda p: p.middle if len(p.middle) > 1 else "",
    "M1": lambda p: p.middle[:1],
    "X": lambda p: p.suffix,
    "G": lambda p: p.sex,
}


class PersonCodes(dict[str, tuple[bytes, ...]]):
    """The values of the codes of one person under `surnames`, as a record has them or as a lookup asks.

    Framed, no duplicates, none for a code that is missing; each is made when it is first read.
    """

    def __init__(self, person: Person, surnames: Sequence[str], sounds: Sounds, *, record: bool) -> None:
        super().__init__()
        self.person = person
        self._surnames = surnames
        self._sounds = sounds
        self._given = _GIVEN_RECORDED if record else GIVEN_ASKED

    def __missing__(self, code: str) -> tuple[bytes, ...]:
        values = self._values(code)
        if len(values) > 1:
            values = list(dict.fromkeys(values))
        found = self[code] = tuple([framed(value) for value in values if value])
        return found

    def _values(self, code: str) -> Sequence[str]:
        if plain := _PLAIN_CODES.get(code):
            return (plain(self.person),)
        if given := self._given.get(code):
            return given(self.person, self._sounds)
        of_surname = _SURNAME_CODES[code]
        return [of_surname(surname, self.person, self._sounds) for surname in self._surnames]

    def __repr__(self) -> str:
        return "<PersonCodes redacted>"
