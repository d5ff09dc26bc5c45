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
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import accumulate

from candor_proto.errors import InputInvalid
from candor_proto.matchkeys import GATE_THRESHOLD, MATCH_LABELS, Label
from candor_proto.normalise import Person
from candor_proto.opening_fields import (
    BINS_A_BIT,
    CERTAIN,
    Field,
    Histogram,
    label_parts,
    person_fields,
)


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
    Knowledge.BIRTH_DATE: 60.0,
    Knowledge.NAME: 180.0,
    Knowledge.NAME_AND_BIRTH_DATE: 2.0,
}
# A chain that opens fewer of the records is no campaign against an index but a lucky dip.
LEAST_OPENED_SHARE = 0.5
# What one more record is worth to the attacker, in elements, when it decides whether to guess on.
PATIENCES = (50.0, 70.0, 100.0, 140.0, 200.0, 280.0, 400.0, 560.0, 800.0)


# --- one step of a chain -------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def _joined(histograms: tuple[Histogram, ...]) -> tuple[list[int], list[int]]:
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


def _group_cost(
    histograms: tuple[Histogram, ...], places: Sequence[int | None], patience: float
) -> tuple[float, int]:
    """Elements spent on records that share a list of guesses, and the last bin tried.

    `places` are the bins in which the records are hit. The list is left when all are hit, or when the next
    guess, of probability p for each of them, earns less than its price.
    """
    bins, before = _joined(tuple(histogram for histogram in histograms if histogram != CERTAIN))
    last_bin = math.floor(BINS_A_BIT * math.log2(len(places) * patience))
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
    histograms: list[list[Histogram]]


@dataclass(frozen=True)
class _Campaign:
    """What stays the same while chains are searched."""

    fields: Mapping[str, Field]
    labels: Sequence[Label]
    threshold: int
    shared: bool
    patience: float
    prepared: dict[tuple[Label, Hashable], _Prepared]

    def prepare(self, label: Label, known: Mapping[str, frozenset[str]]) -> _Prepared:
        parts = label_parts(label)
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
            told = {
                name: known.get(name, frozenset()) | set(codes) for name, codes in label_parts(label).items()
            }
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
    table = person_fields(records, prior, known)
    entries = [label for label in labels if label.weight > 0]
    best = OpeningCost(math.inf, (), 0.0)
    prepared: dict[tuple[Label, Hashable], _Prepared] = {}
    for patience in PATIENCES:
        campaign = _Campaign(table, entries, threshold, knowledge is Knowledge.NOTHING, patience, prepared)
        best = campaign.search(len(records), known, best)
    return best
