"""What an attacker guesses: the fields of persons, their codes, and lists of guesses (docs/opening-costs.md).

Rules of this file:
- an *item* is what a field of one person holds, as a tuple of texts; a code gives the values that a record
  of that item emits, as `field_codes` does, which a test compares;
- the first of several values is the one that the attacker is taken to learn from a hit;
- the last four are all equally likely; of certificates the attacker knows the forms, not the numbers.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product

from candor_proto.errors import InputInvalid
from candor_proto.matchkeys import Label, consonant_skeleton, double_metaphone, soundex
from candor_proto.normalise import Person
from candor_proto.phonetics import asked_root, recorded_forms

Values = tuple[str, ...]
Item = tuple[str, ...]


# --- fields: items, codes, weights ---------------------------------------------------------------------


def _sorted(text: str) -> str:
    return "".join(sorted(text))


def _forms(first: str, middle: str, *more: str) -> list[str]:
    """The roots of all names first, as field_codes._Recorded.roots."""
    forms = [recorded_forms(name) for name in (first, middle if middle[1:] else "", *more)]
    return [form for own in forms for form in own[:1]] + [form for own in forms for form in own[1:]]


# What a record emits for each code of a field: first and middle name and Person.recorded_given.
_GIVEN: Mapping[str, Callable[..., Iterable[str]]] = {
    "F": lambda first, _, *more: [first, *more],
    "F1": lambda *names: [name[:1] for name in names],
    "F3": lambda first, _, *more: [name[:3] for name in (first, *more)],
    "Fz": lambda first, _, *more: [name[-3:] for name in (first, *more)],
    "Fo": lambda first, _, *more: [_sorted(name) for name in (first, *more)],
    "Fc": lambda first, _, *more: _forms(first, "", *more),
    "Fp": lambda *names: [double_metaphone(form) for form in _forms(*names)],
    # Within codes over two fields: nothing of the middle name, and of other forms nothing but the root.
    "initial": lambda first, _, *more: [name[:1] for name in (first, *more)],
    "root sound": lambda first, _, *more: [double_metaphone(asked_root(name)) for name in (first, *more)],
}
_SURNAME: Mapping[str, Callable[[str], Iterable[str]]] = {
    "L": lambda name: [name],
    "Lp": lambda name: [double_metaphone(name)],
    "Ls": lambda name: [soundex(name)],
    "L1": lambda name: [name[:1]],
    "L3": lambda name: [name[:3]],
    "Lz": lambda name: [name[-3:]],
    "L4": lambda name: [name[:4]],
    "Lo": lambda name: [_sorted(name)],
    "Lk": lambda name: [consonant_skeleton(name)],
}
_BIRTH_DATE: Mapping[str, Callable[[str, str, str], Iterable[str]]] = {
    "D": lambda y, m, d: [y + m + d] if y and m and d else [],
    "Dc": lambda y, m, d: [y + min(m, d) + max(m, d)] if y and m and d else [],
    "Yo": lambda y, m, d: [_sorted(y) + m + d] if y and m and d else [],
    "YM": lambda y, m, d: [y + m] if y and m else [],
    "YD": lambda y, m, d: [y + d] if y and d else [],
    "MD": lambda y, m, d: [m + d] if m and d else [],
    "Y": lambda y, m, d: [y],
}
# The last four, and of a certificate its form: state and letters as they are, each digit a 9.
_CODES: Mapping[str, Mapping[str, Callable[..., Iterable[str]]]] = {
    "given": _GIVEN,
    "surname": _SURNAME,
    "date": _BIRTH_DATE,
    "last four": {"S": lambda digits: [digits], "So": lambda digits: [_sorted(digits)]},
    "certificate": {"P": lambda form: [form]},
}
# The code of a field that tells all its other codes.
_WHOLE: Mapping[str, str] = {"given": "F", "surname": "L", "date": "D", "last four": "S", "certificate": "P"}
# Codes over two fields. That the two are sorted, which may merge two pairs, is left out.
_PAIRS: Mapping[str, Values] = {
    "SW": ("F", "L"), "SW1": ("initial", "L1"), "SW3": ("F3", "L3"), "SWp": ("root sound", "Lp"),
}  # fmt: skip
# What the attacker knows it need not find in the prior: a weight that is there and changes no order.
_KNOWN_WEIGHT = 1e-9
_LEAP_YEAR = date(2000, 1, 1)


class Field:
    """One field of all persons: its distinct items with their weights in the prior, and columns of codes."""

    def __init__(self, name: str, weights: Mapping[Item, float], own: Sequence[Item], least: float) -> None:
        """`own` are the records' items, in the order of the records; those not in the prior weigh `least`."""
        self.name = name
        self.weights = dict(weights)
        for item in own:
            self.weights.setdefault(item, least)
        numbers = {item: number for number, item in enumerate(self.weights)}
        self.own = [numbers[item] for item in own]
        self._columns: dict[str, list[Values]] = {}
        self._guesses: dict[tuple[Values, Values], Guesses] = {}

    def column(self, code: str) -> list[Values]:
        """For each item the values that a record emits for `code`; none where it is missing."""
        if code not in self._columns:
            values = _CODES[self.name][code]
            self._columns[code] = [tuple(dict.fromkeys(filter(None, values(*item)))) for item in self.weights]
        return self._columns[code]

    def guesses(self, known: frozenset[str], wanted: Values) -> Guesses:
        """The lists of guesses for the codes `wanted` where those of `known` are known."""
        whole = _WHOLE[self.name]
        key = (whole,) if whole in known else tuple(sorted(known)), wanted
        if key not in self._guesses:
            self._guesses[key] = _rank(self, *key)
        return self._guesses[key]


def label_parts(label: Label) -> dict[str, Values]:
    """The codes of a label by field; raises InputInvalid for a code that this module cannot price."""
    found: defaultdict[str, Values] = defaultdict(tuple)
    for code in [part for whole in label.codes for part in _PAIRS.get(whole, (whole,))]:
        field = next((name for name, codes in _CODES.items() if code in codes), None)
        if field is None:
            raise InputInvalid(f"No opening cost is known for the code {code}.")
        found[field] = (*found[field], code)
    return dict(found)


def person_fields(
    records: Sequence[Person], prior: Sequence[Person], known: Iterable[str]
) -> dict[str, Field]:
    surnames = Counter(name for person in prior for name in _surnames(person) if name)
    years = Counter(person.year for person in prior if person.year)
    days = [(f"{day.month:02}", f"{day.day:02}") for day in (_LEAP_YEAR + timedelta(n) for n in range(366))]
    weights: dict[str, Mapping[Item, float]] = {
        "given": Counter(map(_given, prior)),
        "surname": {(name,): count for name, count in surnames.items()},
        "date": {(year, *day): count / len(days) for year, count in years.items() for day in days},
        "last four": {(f"{number:04}",): 1.0 for number in range(1, 10_000)},
        "certificate": Counter(_form(person) for person in prior if person.post_id),
    }
    own: dict[str, list[Item]] = {
        "given": list(map(_given, records)),
        # Of several surnames the attacker meets the most frequent one first.
        "surname": [(max(_surnames(person), key=lambda name: surnames[name]),) for person in records],
        "date": [(person.year, person.month, person.day) for person in records],
        "last four": [(person.ssn4,) for person in records],
        "certificate": [_form(person) if person.post_id else ("",) for person in records],
    }
    return {
        name: Field(name, weights[name], own[name], _KNOWN_WEIGHT if name in known else 0.0)
        for name in _CODES
    }


def _given(person: Person) -> Item:
    return (person.first, person.middle, *person.recorded_given)


def _surnames(person: Person) -> Values:
    return (person.surname, *person.other_surnames, *person.recorded_surnames)


def _form(person: Person) -> Item:
    return (person.post_state + re.sub("[0-9]", "9", person.post_id),)


# --- lists of guesses ----------------------------------------------------------------------------------

BINS_A_BIT = 8
# The guesses of a list by rarity: (bin of −log2 of their probability, how many), rising.
Histogram = tuple[tuple[int, int], ...]
CERTAIN: Histogram = ((0, 1),)


@dataclass(frozen=True)
class Guesses:
    """For each record: the list of guesses (an index of `histograms`) that its known codes of a field lead
    to, and the bin in which one hits, None where none does."""

    lists: list[int]
    bins: list[int | None]
    histograms: list[Histogram]


def _rank(field: Field, known: Values, wanted: Values) -> Guesses:
    contexts = _contexts(field, known)
    values = combinations(field, wanted)
    counted: defaultdict[Hashable, dict[str, float]] = defaultdict(dict)
    for context, found, weight in zip(contexts, values, field.weights.values(), strict=True):
        if weight and context is not None:
            weights = counted[context]
            for value in found:
                weights[value] = weights.get(value, 0.0) + weight
    # Two contexts with the very same list share its guesses; list 0 is empty.
    numbers: dict[frozenset[tuple[str, int]], int] = {frozenset(): 0}
    histograms: list[Histogram] = [()]
    nothing: tuple[int, dict[str, int]] = (0, {})
    ranked: dict[Hashable, tuple[int, dict[str, int]]] = {None: nothing}
    for context, weights in counted.items():
        sizes = {value: _size(field, value) for value in weights}
        whole = sum(weights.values())
        bins = {value: _bin(weight / whole / sizes[value]) for value, weight in weights.items()}
        content = frozenset(bins.items())
        if content not in numbers:
            numbers[content] = len(histograms)
            histogram: Counter[int] = Counter()
            for value, place in bins.items():
                histogram[place] += sizes[value]
            histograms.append(tuple(sorted(histogram.items())))
        ranked[context] = numbers[content], bins
    lists, best = [], []
    for item in field.own:
        number, bins = ranked.get(contexts[item], nothing)
        lists.append(number)
        best.append(min((bins[value] for value in values[item] if value in bins), default=None))
    return Guesses(lists, best, histograms)


def _contexts(field: Field, known: Values) -> Sequence[Hashable]:
    """The known codes' values of each item (of variants, the first), None where one is missing."""
    if not known:
        return [()] * len(field.weights)
    rows = zip(*(field.column(code) for code in known), strict=True)
    return [tuple(values[0] for values in row) if all(row) else None for row in rows]


def combinations(field: Field, wanted: Values) -> list[Values]:
    """For each item the values of several codes of the field together, as a record's keys combine them."""
    if len(wanted) == 1:
        return field.column(wanted[0])
    rows = zip(*(field.column(code) for code in wanted), strict=True)
    return [tuple("/".join(values) for values in product(*row)) for row in rows]


def _size(field: Field, value: str) -> int:
    """How many numbers a form of certificate stands for; 1 for every other value."""
    return int(10 ** value.count("9")) if field.name == "certificate" else 1


def _bin(probability: float) -> int:
    return round(-BINS_A_BIT * math.log2(probability))
