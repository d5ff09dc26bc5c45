"""What opening a record costs an attacker, quickly: a stand-in for `candor_proto.opening_cost` in the search.

Rules of this file:
- fields count as independent, guesses go in descending probability, what a hit told of a field narrows the
  next guess of the same field: as in the full model;
- a step may give up the rarest three tenths, since two steps then leave half of the records, which is what
  the full model asks for; a whole index is enumerated once at the best of four shares. Nothing is weighed
  along a chain, so prices are not those of the full model: it measures what the search gives in the end.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise
from typing import Final

from candor_proto.field_codes import PersonCodes, Sounds
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening_cost import Knowledge
from tools.keysearch.candidates import CERTIFICATE, DATES, DIGITS, GIVEN, SURNAME, codes_of

# Elements a record, by what the attacker knows: just below the prices of the shipped list, so that what the
# search finds is no cheaper to attack. With name and birth date nothing holds: an honest lookup must open.
FLOORS: Final[Mapping[Knowledge, float]] = {
    Knowledge.NOTHING: 85.0,
    Knowledge.BIRTH_DATE: 95.0,
    Knowledge.NAME: 165.0,
}
KNOWN: Final[Mapping[Knowledge, frozenset[str]]] = {
    Knowledge.NOTHING: frozenset(),
    Knowledge.BIRTH_DATE: frozenset({"D"}),
    Knowledge.NAME: frozenset({"F", "L"}),
}
# Digits of a label's domain (entropy) below which it is enumerated at leisure: no candidate.
LEAST_DIGITS: Final = 5.1
# The share of records that one step of a chain must hit.
LEAST_HIT: Final = 0.7
# Shares of an index that an attacker may be after when it enumerates.
SHARES: Final = (0.5, 0.6, 0.75, 0.9)
CERTIFICATES: Final = 900_000
# Codes over two fields, as codes of the two.
PAIRS: Final[Mapping[str, tuple[str, str]]] = {
    "SW": ("F", "L"), "SW1": ("F1", "L1"), "SW3": ("F3", "L3"), "SWp": ("Fp", "Lp"),
}  # fmt: skip
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "given": GIVEN, "surname": SURNAME, "date": DATES, "last four": DIGITS, "certificate": (CERTIFICATE,),
}  # fmt: skip
_FIELD_OF: Final = {code: field for field, codes in _FIELDS.items() for code in codes}
_WHOLE: Final = {"given": "F", "surname": "L", "date": "D", "last four": "S", "certificate": CERTIFICATE}
_NOBODY: Final = normalise(Particulars())

Told = frozenset[str]
_Codes = tuple[str, ...]


def plain_codes(label: str) -> tuple[str, ...]:
    """The codes of a label, those over two fields taken apart."""
    return tuple(part for code in codes_of(label) for part in PAIRS.get(code, (code,)))


class Prices:
    """Prices against an owner of so many records, by how names and years are spread among `people`."""

    def __init__(self, people: Sequence[Person], records: int) -> None:
        self._records = records
        years = Counter(person.year for person in people if person.year)
        days = [(f"{month:02}", f"{day:02}") for month in range(1, 13) for day in range(1, 29)]
        items: dict[str, Iterator[tuple[Person, int]]] = {
            "given": (
                (replace(_NOBODY, first=name), count)
                for name, count in Counter(person.first for person in people if person.first).items()
            ),
            "surname": (
                (replace(_NOBODY, last=name), count)
                for name, count in Counter(person.surname for person in people if person.surname).items()
            ),
            "date": (
                (replace(_NOBODY, year=year, month=month, day=day), count)
                for year, count in years.items()
                for month, day in days
            ),
            "last four": ((replace(_NOBODY, ssn4=f"{number:04}"), 1) for number in range(1, 10_000)),
        }
        sounds = Sounds()
        self._weights: dict[str, list[float]] = {}
        self._columns: dict[str, list[bytes]] = {}
        for field, found in items.items():
            people_of_field = list(found)
            whole = sum(count for _, count in people_of_field)
            self._weights[field] = [count / whole for _, count in people_of_field]
            codes = [
                PersonCodes(person, [person.surname] if person.surname else [], sounds, record=False)
                for person, _ in people_of_field
            ]
            for code in _FIELDS[field]:
                self._columns[code] = [next(iter(own[code]), b"") for own in codes]
        # What was priced once; the tables never change.
        self._guesses = cache(self._guesses_uncached)
        self._spread = cache(self._spread_uncached)
        self.step = cache(self._step)
        self.first = cache(self._first)

    # --- one field ---

    def _rows(self, field: str, codes: _Codes) -> Iterable[tuple[bytes, ...]]:
        if not codes:
            return [()] * len(self._weights[field])
        return zip(*(self._columns[code] for code in codes), strict=True)

    def _guesses_uncached(self, field: str, known: _Codes, wanted: _Codes) -> float:
        """How many guesses a hit on the wanted codes takes where the others are known."""
        if _WHOLE[field] in known:
            return 1.0
        if field == "certificate":
            return (CERTIFICATES + 1) / 2
        lists: defaultdict[tuple[bytes, ...], defaultdict[tuple[bytes, ...], float]]
        lists = defaultdict(lambda: defaultdict(float))
        rows = zip(self._rows(field, known), self._rows(field, wanted), self._weights[field], strict=True)
        for context, value, weight in rows:
            lists[context][value] += weight
        return _guesses_a_hit(list(own.values()) for own in lists.values())

    def _spread_uncached(self, field: str, wanted: _Codes) -> tuple[float, ...]:
        """Probabilities of the values of the wanted codes, added up, the largest first."""
        summed: defaultdict[tuple[bytes, ...], float] = defaultdict(float)
        for value, weight in zip(self._rows(field, wanted), self._weights[field], strict=True):
            summed[value] += weight
        return tuple(accumulate(sorted(summed.values(), reverse=True)))

    def _covering(self, field: str, wanted: _Codes, share: float) -> int:
        """How many values hold `share` of the records."""
        if field == "certificate":
            return CERTIFICATES
        return next(
            (rank for rank, held in enumerate(self._spread(field, wanted), start=1) if held >= share),
            len(self._spread(field, wanted)),
        )

    # --- one label ---

    def _step(self, label: str, told: Told) -> float:
        """Elements for one record whose codes `told` are known."""
        return math.prod(
            self._guesses(field, _of(field, told), wanted) for field, wanted in _parts(label).items()
        )

    def _first(self, label: str) -> float:
        """Elements a record when the label is enumerated for a whole index at once."""
        parts = _parts(label)
        prices = []
        for share in SHARES:
            each = share ** (1 / len(parts))
            guesses = math.prod(self._covering(field, wanted, each) for field, wanted in parts.items())
            prices.append(guesses / (share * self._records))
        return min(prices)

    def digits(self, label: str) -> float:
        """The entropy of a label in decimal digits: how large its domain is to somebody who knows names."""
        return sum(self._entropy(field, wanted) for field, wanted in _parts(label).items())

    def _entropy(self, field: str, wanted: _Codes) -> float:
        if field == "certificate":
            return math.log10(CERTIFICATES)
        sums = (0.0, *self._spread(field, wanted))
        own = (after - before for before, after in pairwise(sums))
        return -sum(share * math.log10(share) for share in own if share > 0)

    # --- chains ---

    def cheapest(
        self, weights: Mapping[str, int], threshold: int, knowledge: Knowledge, below: float = math.inf
    ) -> tuple[float, tuple[str, ...]]:
        """The cheapest chain of labels that reaches the threshold, if it costs less than `below`; else
        `below` and no chain."""
        return self._extend(
            weights, threshold, KNOWN[knowledge], knowledge is Knowledge.NOTHING, below, (), 0, 0
        )

    def _extend(
        self,
        weights: Mapping[str, int],
        threshold: int,
        told: Told,
        whole_index: bool,
        below: float,
        chain: tuple[str, ...],
        reached: int,
        spent: float,
    ) -> tuple[float, tuple[str, ...]]:
        best: tuple[float, tuple[str, ...]] = (below, ())
        for label, weight in weights.items():
            if label in chain:
                continue
            cost = self.step(label, told)
            if whole_index:
                cost = self.first(label) if not chain else min(cost, self.first(label))
            if spent + cost >= best[0]:
                continue
            path = (*chain, label)
            if reached + weight >= threshold:
                best = (spent + cost, path)
                continue
            further = self._extend(
                weights,
                threshold,
                told.union(plain_codes(label)),
                whole_index,
                best[0],
                path,
                reached + weight,
                spent + cost,
            )
            if further[1]:
                best = further
        return best

    def holds(
        self, weights: Mapping[str, int], threshold: int, floors: Mapping[Knowledge, float] = FLOORS
    ) -> bool:
        """Whether no chain is cheaper than its floor."""
        return not any(
            self.cheapest(weights, threshold, knowledge, floor)[1] for knowledge, floor in floors.items()
        )


def _guesses_a_hit(lists: Iterable[Sequence[float]]) -> float:
    """Guesses made for each hit, the likeliest first in every list, at the best share from LEAST_HIT on.

    `lists` have the weights of their values; all of them together weigh 1. A guess is made for all whose list
    it is and who were not hit yet.
    """
    guesses = []
    for own in lists:
        left = whole = sum(own)
        for weight in sorted(own, reverse=True):
            guesses.append((weight / whole, left, weight))
            left -= weight
    made = hit = 0.0
    best = math.inf
    for _, left, weight in sorted(guesses, reverse=True):
        made, hit = made + left, hit + weight
        if hit >= LEAST_HIT - 1e-9:
            best = min(best, made / hit)
    return best


@cache
def _parts(label: str) -> Mapping[str, _Codes]:
    """The codes of a label by field; KeyError for a code that has no price."""
    found: dict[str, _Codes] = {}
    for code in plain_codes(label):
        field = _FIELD_OF[code]
        found[field] = tuple(sorted({*found.get(field, ()), code}))
    return found


def _of(field: str, told: Iterable[str]) -> _Codes:
    return tuple(sorted(code for code in told if _FIELD_OF[code] == field))
