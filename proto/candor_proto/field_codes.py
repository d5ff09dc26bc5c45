"""Codes of a person's fields, the parts of match keys (docs/protocol.md "Match keys"; MATCHING.md §3).

Rules of this file:
- a code that cannot be made has no value: what is missing never matches and never mismatches;
- records emit many values of a given name, lookups one (§3 "Two sides");
- what was computed for a name is kept as long as one lookup or one tick lasts (`Sounds`), never longer: a
  cache of the process would keep names of people who were asked about.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from candor_proto.errors import LimitExceeded
from candor_proto.normalise import Person
from candor_proto.phonetics import (
    asked_root,
    consonant_skeleton,
    double_metaphone,
    recorded_forms,
    soundex,
)

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
        self.root: Mapping[str, str] = _Kept(asked_root)
        self.forms: Mapping[str, tuple[str, ...]] = _Kept(recorded_forms)
        self.metaphone: Mapping[str, str] = _Kept(double_metaphone)
        self.skeleton: Mapping[str, str] = _Kept(consonant_skeleton)


# --- the codes (§3) ----------------------------------------------------------------------------------


def _sorted(text: str) -> str:
    return "".join(sorted(text))


def _pair(one: str, other: str) -> str:
    return "/".join(sorted((one, other))) if one and other else ""


def _joined(*parts: str) -> str:
    return "".join(parts) if all(parts) else ""


_Names = Sequence[str]


class _Asked:
    """What a lookup says of a given name: the name as it stands, and its one root."""

    def given(self, person: Person) -> _Names:
        return [person.first]

    def initials(self, person: Person) -> _Names:
        return [person.first[:1]]

    def roots(self, person: Person, sounds: Sounds, *, middle: bool) -> _Names:
        return [sounds.root[person.first]]


class _Recorded(_Asked):
    """What a record says: all that a lookup for the same person may (§3 "Two sides")."""

    def given(self, person: Person) -> _Names:
        return [person.first, *person.recorded_given]

    def initials(self, person: Person) -> _Names:
        return [name[:1] for name in (person.first, person.middle, *person.recorded_given)]

    def roots(self, person: Person, sounds: Sounds, *, middle: bool) -> _Names:
        """All forms, every name's root first: where slots are short, others go. `middle`: its name too."""
        second = person.middle if middle and len(person.middle) > 1 else ""
        forms = [sounds.forms[name] for name in (person.first, second, *person.recorded_given)]
        return [form for own in forms for form in own[:1]] + [form for own in forms for form in own[1:]]


_ASKED, _RECORDED = _Asked(), _Recorded()

# Codes of a given name as it stands.
_GIVEN_CODES: Mapping[str, Callable[[str], str]] = {
    "F": str,
    "F3": lambda given: given[:3],
    "Fz": lambda given: given[-3:],
    "Fo": _sorted,
}
# Single codes of the given name, for which an initial says too little.
GIVEN_NAMES = frozenset({*_GIVEN_CODES, "F1", "Fc", "Fp"})
# Codes of one surname.
_SURNAME_CODES: Mapping[str, Callable[[str, Sounds], str]] = {
    "L": lambda surname, _: surname,
    "Lp": lambda surname, sounds: sounds.metaphone[surname],
    "Ls": lambda surname, _: soundex(surname),
    "L1": lambda surname, _: surname[:1],
    "L3": lambda surname, _: surname[:3],
    "L4": lambda surname, _: surname[:4],
    "Lz": lambda surname, _: surname[-3:],
    "Lo": lambda surname, _: _sorted(surname),
    "Lk": lambda surname, sounds: sounds.skeleton[surname],
}
# Codes of a given name and a surname, whichever was written first.
_PAIR_CODES: Mapping[str, Callable[[str, str], str]] = {
    "SW": _pair,
    "SW1": lambda given, surname: _pair(given[:1], surname[:1]),
    "SW3": lambda given, surname: _pair(given[:3], surname[:3]),
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
        self._side = _RECORDED if record else _ASKED

    def __missing__(self, code: str) -> tuple[bytes, ...]:
        values = self._values(code)
        if len(values) > 1:
            values = list(dict.fromkeys(values))
        found = self[code] = tuple([framed(value) for value in values if value])
        return found

    def _values(self, code: str) -> Sequence[str]:
        if plain := _PLAIN_CODES.get(code):
            return (plain(self.person),)
        if of_given := _GIVEN_CODES.get(code):
            return [of_given(given) for given in self._side.given(self.person)]
        if of_surname := _SURNAME_CODES.get(code):
            return [of_surname(surname, self._sounds) for surname in self._surnames]
        if of_pair := _PAIR_CODES.get(code):
            names = itertools.product(self._side.given(self.person), self._surnames)
            return [of_pair(given, surname) for given, surname in names]
        if code == "F1":
            return self._side.initials(self.person)
        sound = self._sounds.metaphone
        if code == "SWp":
            # The own root alone: all roots were a sixth more entries for no recall (ADR 0022).
            roots = dict.fromkeys(self._sounds.root[given] for given in self._side.given(self.person))
            return [
                _pair(sound[root], sound[surname])
                for root, surname in itertools.product(roots, self._surnames)
            ]
        if code == "Fc":
            # Of the middle name too, `Fc+D` would be a cheap first step to any record (ADR 0022).
            return self._side.roots(self.person, self._sounds, middle=False)
        if code == "Fp":
            return [sound[form] for form in self._side.roots(self.person, self._sounds, middle=True)]
        raise KeyError(code)

    def __repr__(self) -> str:
        return "<PersonCodes redacted>"
