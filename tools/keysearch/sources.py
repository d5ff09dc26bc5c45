"""People of the development sets, and who meets whom under which candidate label.

Rules of this file:
- what is compared is what the product compares: values of `PersonCodes`, as a record writes them and as a
  lookup asks them; only the slots are left out, so every alternative surname is asked;
- a pair of two persons counts only if two candidates or more hit it: no label opens alone;
- hits are kept as whole numbers, bit i for pair i: weights are added up for all pairs at once (`objective`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import matching_data
from candor_proto.field_codes import PersonCodes, Sounds
from candor_proto.matchkeys import MAX_SURNAMES
from candor_proto.normalise import Particulars, Person, normalise
from tools.keysearch.candidates import codes_of, needs_digits
from tools.population.development import load
from tools.population.errors import Row

# A label that meets more strangers than this a lookup, at 20,000 records, is left out.
MOST_STRANGERS: Final = 1.3
# And so is one that meets its own record less often, where both sides have its fields.
LEAST_MET: Final = 0.5
REFERENCE_RECORDS: Final = 20_000
PLAIN: Final = "plain"


@dataclass(frozen=True)
class People:
    """Records and queries in normal form, with their kinds, and the true pairs as (query, record) places."""

    records: Sequence[Person]
    record_kinds: Sequence[str]
    queries: Sequence[Person]
    query_kinds: Sequence[str]
    truth: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Hits:
    """Who meets whom in one source.

    Each of `true`, `relatives`, `plain` has for every label the pairs hit, as bits; `sizes` says of how many.
    `known` counts, by label, the true pairs that have its fields on both sides; `strangers` all false pairs
    that it hits, those that nothing else hits included.
    """

    labels: tuple[str, ...]
    true: tuple[int, ...]
    relatives: tuple[int, ...]
    plain: tuple[int, ...]
    sizes: tuple[int, int, int]
    known: tuple[int, ...]
    strangers: tuple[int, ...]
    queries: int

    def only(self, labels: Sequence[str]) -> Hits:
        """The same for some of the labels, in their order; one that is not there hits nothing."""
        places = {label: place for place, label in enumerate(self.labels)}
        at = [places.get(label) for label in labels]

        def taken(column: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(0 if place is None else column[place] for place in at)

        return replace(
            self,
            labels=tuple(labels),
            true=taken(self.true),
            relatives=taken(self.relatives),
            plain=taken(self.plain),
            known=taken(self.known),
            strangers=taken(self.strangers),
        )

    def without_digits(self) -> Hits:
        """What is left when nobody gives the last four: the labels that need them hit nothing."""
        return self.only([label for label in self.labels if not needs_digits(label)]).only(self.labels)


# --- people ------------------------------------------------------------------------------------------


def particulars(row: Row | Mapping[str, str], fields: str) -> Particulars:
    """The particulars of a row, with only the fields of a set of bench.matching_data (nd, nds, ndsmp)."""
    values = row if isinstance(row, Mapping) else vars_of(row)
    kept = {name: values.get(name) or "" for name in matching_data.FIELDS[fields]}
    return Particulars(birth_date=kept.pop("dob", ""), **kept)


def vars_of(row: Row) -> dict[str, str]:
    """The columns of a row by name."""
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def development(name: str, fields: str) -> People:
    """A development set, with only the fields of a set."""
    held = load(name)
    places = {row.rec_id: place for place, row in enumerate(held.records)}
    asked = {row.rec_id: place for place, row in enumerate(held.queries)}
    return People(
        [normalise(particulars(row, fields)) for row in held.records],
        [row.kind for row in held.records],
        [normalise(particulars(row, fields)) for row in held.queries],
        [row.kind.removeprefix("nm_") for row in held.queries],
        frozenset((asked[query], places[record]) for query, record in held.truth),
    )


def crossed(asking: str, holding: str, fields: str) -> People:
    """The queries of one development set at the records of the other: nobody has a record or a relative."""
    one, other = development(asking, fields), development(holding, fields)
    return People(
        other.records, [PLAIN] * len(other.records), one.queries, [PLAIN] * len(one.queries), frozenset()
    )


def febrl3(fields: str) -> People:
    """FEBRL 3 as lookups (bench.matching_data), by a program in its own environment."""
    with TemporaryDirectory() as folder:
        files = matching_data.read(matching_data.febrl3_files(Path(folder)))
    places = {row["rec_id"]: place for place, row in enumerate(files.records)}
    asked = {row["rec_id"]: place for place, row in enumerate(files.queries)}
    return People(
        [normalise(particulars(row, fields)) for row in files.records],
        [PLAIN] * len(places),
        [normalise(particulars(row, fields)) for row in files.queries],
        [PLAIN] * len(asked),
        frozenset((asked[query], places[record]) for query, record in files.truth),
    )


# --- hits --------------------------------------------------------------------------------------------


class _Side:
    """The codes of the persons of one side, a column a code."""

    def __init__(self, people: Sequence[Person], sounds: Sounds, *, record: bool) -> None:
        self._codes = [
            PersonCodes(person, _surnames(person, record=record), sounds, record=record) for person in people
        ]
        self._columns: dict[str, list[tuple[bytes, ...]]] = {}

    def _column(self, code: str) -> list[tuple[bytes, ...]]:
        if code not in self._columns:
            self._columns[code] = [codes[code] for codes in self._codes]
        return self._columns[code]

    def values(self, label: str) -> list[Sequence[bytes]]:
        """For each person the values of a label; none if one of its codes is missing."""
        first, *others = [self._column(code) for code in codes_of(label)]
        found: list[Sequence[bytes]] = list(first)
        for column in others:
            found = [
                (one[0] + more[0],)
                if len(one) == 1 and len(more) == 1
                else [own + theirs for own in one for theirs in more]
                for one, more in zip(found, column, strict=True)
            ]
        return found


def _surnames(person: Person, *, record: bool) -> list[str]:
    names = (person.surname, *person.other_surnames, *(person.recorded_surnames if record else ()))
    return [name for name in names if name][:MAX_SURNAMES]


def meet(people: People, labels: Sequence[str], *, at_least: int = 2, least_met: float = LEAST_MET) -> Hits:
    """Who meets whom; of false pairs those that `at_least` so many labels hit.

    A label that hits too many strangers is left out, and one that meets its own too seldom.
    """
    sounds, count = Sounds(), len(people.records)
    records, queries = _Side(people.records, sounds, record=True), _Side(people.queries, sounds, record=False)
    true = sorted(query * count + record for query, record in people.truth)
    known_true, places = frozenset(true), {pair: place for place, pair in enumerate(true)}
    most = MOST_STRANGERS * len(people.queries) * max(0.5, count / REFERENCE_RECORDS) + len(true)
    found: dict[str, set[int]] = {}
    known: dict[str, int] = {}
    times: Counter[int] = Counter()
    for label in labels:
        held, asked = records.values(label), queries.values(label)
        count_known, count_met = _own(people.truth, held, asked)
        if count_met < least_met * count_known:
            continue
        pairs = _pairs(held, asked, most)
        if pairs is None:
            continue
        found[label] = pairs
        known[label] = count_known
        times.update(pairs - known_true)
    kept: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for pair in sorted(pair for pair, number in times.items() if number >= at_least):
        query, record = divmod(pair, count)
        own = kept[people.query_kinds[query] == PLAIN and people.record_kinds[record] == PLAIN]
        own[pair] = len(own)
    relatives, plain = kept
    return Hits(
        tuple(found),
        tuple(_bits(pairs, places) for pairs in found.values()),
        tuple(_bits(pairs, relatives) for pairs in found.values()),
        tuple(_bits(pairs, plain) for pairs in found.values()),
        (len(true), len(relatives), len(plain)),
        tuple(known.values()),
        tuple(len(pairs - known_true) for pairs in found.values()),
        len(people.queries),
    )


_Values = Sequence[Sequence[bytes]]


def _pairs(held: _Values, asked: _Values, most: float) -> set[int] | None:
    """query · records + record of every pair that has a value in common; None beyond `most`."""
    waiting: dict[bytes, list[int]] = {}
    for query, values in enumerate(asked):
        for value in values:
            waiting.setdefault(value, []).append(query)
    count, found = len(held), set[int]()
    for record, values in enumerate(held):
        for value in values:
            if value in waiting:
                found.update([query * count + record for query in waiting[value]])
                if len(found) > most:
                    return None
    return found


def _own(truth: Iterable[tuple[int, int]], held: _Values, asked: _Values) -> tuple[int, int]:
    """Of the true pairs: how many have the label's fields on both sides, and how many of these it hits."""
    both = [(asked[query], held[record]) for query, record in truth if asked[query] and held[record]]
    return len(both), sum(not set(one).isdisjoint(other) for one, other in both)


def _bits(pairs: Iterable[int], places: Mapping[int, int]) -> int:
    """The pairs that have a place, as bits."""
    octets = bytearray(len(places) // 8 + 1)
    for pair in pairs:
        place = places.get(pair)
        if place is not None:
            octets[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(octets, "little")
