"""What it costs a member to open records below its quota (docs/protocol.md §6.9; attacks A1 and A5b).

The gate stops accidents, not campaigns: shares add up over an epoch, and blob ids link the hits of one
record. This module plays the cheapest campaigns known against an owner's records and counts elements.

The attacker
- learns how names are spread from `prior`, an independent population; it knows every date of the years
  found there, every last four, and every number of the forms of certificate found there;
- guesses the values of one label after another in descending probability, given what the hits so far have
  told of the same field; a label of which nothing is known is enumerated over the whole index at once;
- evaluates no input twice: records that lead to the same guesses share them;
- gives up a list when its next guess is no longer worth its price, and stops at the threshold.

All sequences of entry labels that reach the threshold are searched, from the label table given, so that
another list or another weight is measured anew. Fields count as independent (a given name says nothing about
a surname): docs/opening-costs.md says what that leaves out.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache
from itertools import accumulate, product

from candor_proto.errors import InputInvalid
from candor_proto.matchkeys import (
    GATE_THRESHOLD,
    MATCH_LABELS,
    Label,
    consonant_skeleton,
    double_metaphone,
    soundex,
)
from candor_proto.normalise import Person
from candor_proto.phonetics import asked_root, recorded_forms


class Knowledge(Enum):
    """What the attacker knows beforehand of the person behind a record.

    With NOTHING it goes through a whole index, and what is enumerated once serves all records; with any
    other knowledge it is after single persons, one at a time.
    """

    NOTHING = "nothing"
    BIRTH_DATE = "birth date"
    NAME = "name"
    NAME_AND_BIRTH_DATE = "name and birth date"


@dataclass(frozen=True)
class OpeningCost:
    """Elements for each record opened by the cheapest chain, that chain, and the share of records it opens.

    Where no chain opens LEAST_OPENED_SHARE: infinity, no labels, 0.
    """

    elements_per_record: float
    chain: tuple[str, ...]
    opened_share: float


# Elements a record that no cheaper chain may be known for (§6.9), an owner of 20,000 records of one state
# taken for NOTHING. Below the measurements, which docs/opening-costs.md states with the method. With name
# and birth date an ordinary lookup opens: what any honest asker without the last four must be able to do.
FLOORS: Mapping[Knowledge, float] = {
    Knowledge.NOTHING: 75.0,
    Knowledge.BIRTH_DATE: 95.0,
    Knowledge.NAME: 180.0,
    Knowledge.NAME_AND_BIRTH_DATE: 2.0,
}
# A chain that opens fewer of the records is no campaign against an index but a lucky dip.
LEAST_OPENED_SHARE = 0.5
# What one more record is worth to the attacker, in elements, when it decides whether to guess on.
PATIENCES = (50.0, 100.0, 200.0, 400.0, 800.0)

_Values = tuple[str, ...]
_Item = tuple[str, ...]


# --- fields: items, codes, weights ---------------------------------------------------------------------


def _sorted(text: str) -> str:
    return "".join(sorted(text))


def _forms(first: str, middle: str) -> list[str]:
    return [*recorded_forms(first), *(recorded_forms(middle) if middle[1:] else ())]


# What a record emits for each code of a field (matchkeys; a test compares the two). The first of several
# values is the one that the attacker is taken to learn. An item is a tuple of texts. Nicknames in brackets
# and first names of several words, which emit more, are left out.
_GIVEN: Mapping[str, Callable[[str, str], Iterable[str]]] = {
    "F": lambda first, middle: [first],
    "F1": lambda first, middle: [first[:1], middle[:1]],
    "F3": lambda first, middle: [first[:3]],
    "Fz": lambda first, middle: [first[-3:]],
    "Fo": lambda first, middle: [_sorted(first)],
    "Fc": _forms,
    "Fp": lambda first, middle: [double_metaphone(form) for form in _forms(first, middle)],
    # Within codes over two fields: of the own name only.
    "initial": lambda first, middle: [first[:1]],
    "root sound": lambda first, middle: [double_metaphone(asked_root(first))],
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
_PAIRS: Mapping[str, _Values] = {
    "SW": ("F", "L"), "SW1": ("initial", "L1"), "SW3": ("F3", "L3"), "SWp": ("root sound", "Lp"),
}  # fmt: skip
# What the attacker knows it need not find in the prior: a weight that is there and changes no order.
_KNOWN_WEIGHT = 1e-9
_LEAP_YEAR = date(2000, 1, 1)


class _Field:
    """One field of all persons: its distinct items with their weights in the prior, and columns of codes."""

    def __init__(self, name: str, weights: Mapping[_Item, float], own: Sequence[_Item], least: float) -> None:
        """`own` are the records' items, in the order of the records; those not in the prior weigh `least`."""
        self.name = name
        self.weights = dict(weights)
        for item in own:
            self.weights.setdefault(item, least)
        numbers = {item: number for number, item in enumerate(self.weights)}
        self.own = [numbers[item] for item in own]
        self._columns: dict[str, list[_Values]] = {}
        self._guesses: dict[tuple[_Values, _Values], _Guesses] = {}

    def column(self, code: str) -> list[_Values]:
        """For each item the values that a record emits for `code`; none where it is missing."""
        if code not in self._columns:
            values = _CODES[self.name][code]
            self._columns[code] = [tuple(dict.fromkeys(filter(None, values(*item)))) for item in self.weights]
        return self._columns[code]

    def guesses(self, known: frozenset[str], wanted: _Values) -> _Guesses:
        """The lists of guesses for the codes `wanted` where those of `known` are known."""
        whole = _WHOLE[self.name]
        key = (whole,) if whole in known else tuple(sorted(known)), wanted
        if key not in self._guesses:
            self._guesses[key] = _rank(self, *key)
        return self._guesses[key]


def _parts(label: Label) -> dict[str, _Values]:
    """The codes of a label by field; raises InputInvalid for a code that this module cannot price."""
    found: defaultdict[str, _Values] = defaultdict(tuple)
    for code in [part for whole in label.codes for part in _PAIRS.get(whole, (whole,))]:
        field = next((name for name, codes in _CODES.items() if code in codes), None)
        if field is None:
            raise InputInvalid(f"No opening cost is known for the code {code}.")
        found[field] = (*found[field], code)
    return dict(found)


def _fields(records: Sequence[Person], prior: Sequence[Person], known: Iterable[str]) -> dict[str, _Field]:
    surnames = Counter(name for person in prior for name in (person.surname, *person.other_surnames) if name)
    years = Counter(person.year for person in prior if person.year)
    days = [(f"{day.month:02}", f"{day.day:02}") for day in (_LEAP_YEAR + timedelta(n) for n in range(366))]
    weights: dict[str, Mapping[_Item, float]] = {
        "given": Counter((person.first, person.middle) for person in prior),
        "surname": {(name,): count for name, count in surnames.items()},
        "date": {(year, *day): count / len(days) for year, count in years.items() for day in days},
        "last four": {(f"{number:04}",): 1.0 for number in range(1, 10_000)},
        "certificate": Counter(_form(person) for person in prior if person.post_id),
    }
    own: dict[str, list[_Item]] = {
        "given": [(person.first, person.middle) for person in records],
        # Of several surnames the attacker meets the most frequent one first.
        "surname": [
            (max((person.surname, *person.other_surnames), key=lambda name: surnames[name]),)
            for person in records
        ],
        "date": [(person.year, person.month, person.day) for person in records],
        "last four": [(person.ssn4,) for person in records],
        "certificate": [_form(person) if person.post_id else ("",) for person in records],
    }
    return {
        name: _Field(name, weights[name], own[name], _KNOWN_WEIGHT if name in known else 0.0)
        for name in _CODES
    }


def _form(person: Person) -> _Item:
    return (person.post_state + re.sub("[0-9]", "9", person.post_id),)


# --- lists of guesses ----------------------------------------------------------------------------------

_BINS_A_BIT = 8
# The guesses of a list by rarity: (bin of −log2 of their probability, how many), rising.
_Histogram = tuple[tuple[int, int], ...]
_CERTAIN: _Histogram = ((0, 1),)


@dataclass(frozen=True)
class _Guesses:
    """For each record: the list of guesses (an index of `histograms`) that its known codes of a field lead
    to, and the bin in which one hits, None where none does."""

    lists: list[int]
    bins: list[int | None]
    histograms: list[_Histogram]


def _rank(field: _Field, known: _Values, wanted: _Values) -> _Guesses:
    contexts = _contexts(field, known)
    values = _combinations(field, wanted)
    counted: defaultdict[Hashable, dict[str, float]] = defaultdict(dict)
    for context, found, weight in zip(contexts, values, field.weights.values(), strict=True):
        if weight and context is not None:
            weights = counted[context]
            for value in found:
                weights[value] = weights.get(value, 0.0) + weight
    # Two contexts with the very same list share its guesses; list 0 is empty.
    numbers: dict[frozenset[tuple[str, int]], int] = {frozenset(): 0}
    histograms: list[_Histogram] = [()]
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
    return _Guesses(lists, best, histograms)


def _contexts(field: _Field, known: _Values) -> Sequence[Hashable]:
    """The known codes' values of each item (of variants, the first), None where one is missing."""
    if not known:
        return [()] * len(field.weights)
    rows = zip(*(field.column(code) for code in known), strict=True)
    return [tuple(values[0] for values in row) if all(row) else None for row in rows]


def _combinations(field: _Field, wanted: _Values) -> list[_Values]:
    if len(wanted) == 1:
        return field.column(wanted[0])
    rows = zip(*(field.column(code) for code in wanted), strict=True)
    return [tuple("/".join(values) for values in product(*row)) for row in rows]


def _size(field: _Field, value: str) -> int:
    """How many numbers a form of certificate stands for; 1 for every other value."""
    return int(10 ** value.count("9")) if field.name == "certificate" else 1


def _bin(probability: float) -> int:
    return round(-_BINS_A_BIT * math.log2(probability))


@lru_cache(maxsize=65536)
def _joined(histograms: tuple[_Histogram, ...]) -> tuple[list[int], list[int]]:
    """The bins of combined independent lists, rising; how many guesses stand before each, and in all."""
    joined = Counter({0: 1})
    for histogram in histograms:
        wider: Counter[int] = Counter()
        for place, count in joined.items():
            for other, more in histogram:
                wider[place + other] += count * more
        joined = wider
    bins = sorted(joined)
    return bins, [0, *accumulate(joined[place] for place in bins)]


# --- one step of a chain -------------------------------------------------------------------------------


def _group_cost(
    histograms: tuple[_Histogram, ...], places: Sequence[int | None], patience: float
) -> tuple[float, int]:
    """Elements spent on records that share a list of guesses, and the last bin tried.

    `places` are the bins in which the records are hit. The list is left when all are hit, or when the next
    guess, of probability p for each of them, earns less than its price.
    """
    bins, before = _joined(tuple(histogram for histogram in histograms if histogram != _CERTAIN))
    last_bin = math.floor(_BINS_A_BIT * math.log2(len(places) * patience))
    worth = bisect_right(bins, last_bin)
    hit = [place for place in places if place is not None and place <= last_bin]
    if len(hit) < len(places):
        return before[worth], last_bin
    deepest = max(hit)
    at = bisect_right(bins, deepest) - 1
    # Within a bin the order is arbitrary: where the last of n stands, on average.
    count, same = before[at + 1] - before[at], hit.count(deepest)
    return before[at] + (count + 1) * same / (same + 1), last_bin


@dataclass(frozen=True)
class _Prepared:
    """The same for a label: one list a field, and the bin in which all of its codes hit."""

    lists: list[tuple[int, ...]]
    places: list[int | None]
    histograms: list[list[_Histogram]]


@dataclass(frozen=True)
class _Campaign:
    """What stays the same while chains are searched."""

    fields: Mapping[str, _Field]
    labels: Sequence[Label]
    threshold: int
    shared: bool
    patience: float
    prepared: dict[tuple[Label, Hashable], _Prepared]

    def prepare(self, label: Label, known: Mapping[str, frozenset[str]]) -> _Prepared:
        parts = _parts(label)
        key = label, tuple(known.get(name, frozenset()) for name in parts)
        if key not in self.prepared:
            tables = [
                self.fields[name].guesses(known.get(name, frozenset()), codes)
                for name, codes in parts.items()
            ]
            places = [
                None if None in bins else sum(place for place in bins if place is not None)
                for bins in zip(*(table.bins for table in tables), strict=True)
            ]
            lists = list(zip(*(table.lists for table in tables), strict=True))
            self.prepared[key] = _Prepared(lists, places, [table.histograms for table in tables])
        return self.prepared[key]

    def step(
        self, label: Label, known: Mapping[str, frozenset[str]], alive: Sequence[int]
    ) -> tuple[float, list[int]]:
        """Elements spent on guessing `label` for the records `alive`, and those it hits."""
        prepared = self.prepare(label, known)
        places = prepared.places
        groups: defaultdict[Hashable, list[int]] = defaultdict(list)
        for record in alive:
            groups[prepared.lists[record] if self.shared else record].append(record)
        spent, hit = 0.0, []
        for members in groups.values():
            lists = zip(prepared.histograms, prepared.lists[members[0]], strict=True)
            histograms = tuple(known_lists[number] for known_lists, number in lists)
            cost, last_bin = _group_cost(histograms, [places[record] for record in members], self.patience)
            spent += cost
            hit += [one for one in members if (place := places[one]) is not None and place <= last_bin]
        return spent, hit

    def search(
        self,
        records: int,
        known: Mapping[str, frozenset[str]],
        best: OpeningCost,
        chain: tuple[Label, ...] = (),
        spent: float = 0.0,
        alive: Sequence[int] | None = None,
    ) -> OpeningCost:
        """The cheapest way on from `chain`, if it is cheaper than `best`.

        Cost rises and hits fall along a chain, so a chain that is already dearer is left.
        """
        steps = []
        for label in self.labels:
            if label in chain:
                continue
            cost, hit = self.step(label, known, range(records) if alive is None else alive)
            if len(hit) >= LEAST_OPENED_SHARE * records:
                steps.append(((spent + cost) / len(hit), spent + cost, label, hit))
        for price, cost, label, hit in sorted(steps, key=lambda step: step[0]):
            if price >= best.elements_per_record:
                break
            path = (*chain, label)
            if sum(one.weight for one in path) >= self.threshold:
                best = OpeningCost(price, tuple(one.name for one in path), len(hit) / records)
                continue
            told = {name: known.get(name, frozenset()) | set(codes) for name, codes in _parts(label).items()}
            best = self.search(records, {**known, **told}, best, path, cost, hit)
        return best


_NAME = {"given": frozenset({"F"}), "surname": frozenset({"L"})}
_BORN = {"date": frozenset({"D"})}
_KNOWN: Mapping[Knowledge, Mapping[str, frozenset[str]]] = {
    Knowledge.NOTHING: {},
    Knowledge.BIRTH_DATE: _BORN,
    Knowledge.NAME: _NAME,
    Knowledge.NAME_AND_BIRTH_DATE: {**_NAME, **_BORN},
}


def measure(
    records: Sequence[Person],
    prior: Sequence[Person],
    knowledge: Knowledge,
    labels: Sequence[Label] = MATCH_LABELS,
    threshold: int = GATE_THRESHOLD,
) -> OpeningCost:
    """The cheapest chain found against an owner of exactly these records.

    With Knowledge.NOTHING the price falls as the number of records grows. Labels of weight 0 have no entries
    and cannot be used. Raises InputInvalid without records or prior, or for a label with an unknown code.
    """
    if not records or not prior:
        raise InputInvalid("Opening costs need records and a population to learn from.")
    known = _KNOWN[knowledge]
    table = _fields(records, prior, known)
    entries = [label for label in labels if label.weight > 0]
    best = OpeningCost(math.inf, (), 0.0)
    prepared: dict[tuple[Label, Hashable], _Prepared] = {}
    for patience in PATIENCES:
        campaign = _Campaign(table, entries, threshold, knowledge is Knowledge.NOTHING, patience, prepared)
        best = campaign.search(len(records), known, best)
    return best
