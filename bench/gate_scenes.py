"""Whom `bench.gate` asks about at whom, and which match keys of each pair hit: everything before thresholds.

Rules of this file:
- keys, slots and hits are the product's own (candor_node.evaluate), without the curve: equal inputs are equal
  outputs;
- the kind of a false pair is that of its query, or of its record where the query is plain: a twin's lookup
  that meets a stranger counts as a twin's, which happens once in some thousand;
- seeds are frozen: nobody chose a label, a weight or a threshold on the generated populations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import matching_data
from candor_node import evaluation_scheme
from candor_node.evaluate import match_all
from candor_node.evaluation_files import FieldSet, Row
from candor_proto.ids import LookupShape
from candor_proto.matchkeys import MATCH_LABELS, record_keys
from tools.population import MIXES, Labelled, Population, generate, load

KINDS = ("plain", "collision", "fatherson", "twin")
_COLUMNS = (
    "first", "middle", "last", "suffix", "former_last", "dob", "ssn4", "sex", "post_state", "post_id",
)  # fmt: skip
_BITS = {label: 1 << position for position, label in enumerate(MATCH_LABELS)}


@dataclass(frozen=True)
class Cast:
    """Records one after another and how many, all queries, kinds that are not plain by id, the true pairs."""

    records: Iterable[tuple[str, Row]] = field(repr=False)
    count: int
    queries: tuple[tuple[str, Row], ...] = field(repr=False)
    kinds: Mapping[str, str] = field(repr=False)
    truth: frozenset[tuple[str, str]] = field(repr=False)


@dataclass(frozen=True)
class Scene:
    """A cast by name, and the field sets under which it plays."""

    name: str
    cast: Callable[[], Cast]
    fields: tuple[FieldSet, ...] = (FieldSet.ND, FieldSet.NDS, FieldSet.NDSMP)


def _cast(data: Labelled | Population, count: int) -> Cast:
    values = attrgetter(*_COLUMNS)
    records = data.records if isinstance(data, Labelled) else data.records()
    # Of a streamed population queries and truth cost a pass, and so do the kinds of the records.
    others = data.records if isinstance(data, Labelled) else data.records()
    kinds = {row.rec_id: row.kind for row in others if row.kind != "plain"}
    kinds |= {row.rec_id: row.kind.removeprefix("nm_") for row in data.queries}
    return Cast(
        ((row.rec_id, values(row)) for row in records),
        count,
        tuple((row.rec_id, values(row)) for row in data.queries),
        {name: kind for name, kind in kinds.items() if kind != "plain"},
        frozenset(data.truth),
    )


def _carried(name: str) -> Cast:
    data = load(name)
    return _cast(data, len(data.records))


def _generated(seed: int, origins: str, records: int) -> Cast:
    return _cast(generate(seed, records, 5_000, MIXES["mixed"], origins), records)


def _febrl(make: Callable[[Path], Path]) -> Cast:
    with TemporaryDirectory() as folder:
        files = matching_data.read(make(Path(folder)))

    def row(values: Mapping[str, str]) -> tuple[str, Row]:
        return values["rec_id"], tuple(values[column] for column in _COLUMNS)

    return Cast(
        tuple(map(row, files.records)), len(files.records), tuple(map(row, files.queries)), {}, files.truth
    )


_POOR = (FieldSet.ND, FieldSet.NDS)
SCENES: tuple[Scene, ...] = (
    Scene("officers-dev", partial(_carried, "officers-dev")),
    Scene("officers-devhard", partial(_carried, "officers-devhard")),
    Scene("mixed census", partial(_generated, 7263301, "census", 20_000)),
    Scene("mixed diverse", partial(_generated, 7263302, "diverse", 20_000)),
    Scene(
        "mixed census, 200,000 records", partial(_generated, 7263301, "census", 200_000), (FieldSet.NDSMP,)
    ),
    # The list was chosen on FEBRL 3 as well; FEBRL 4 had no part in it.
    Scene("FEBRL 3", partial(_febrl, matching_data.febrl3_files), _POOR),
    Scene("FEBRL 4", partial(_febrl, matching_data.febrl4_files), _POOR),
)


# --- who meets whom ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A query (by its place) and a record that any match key hits; bits are those of MATCH_LABELS."""

    query: int
    hit: int
    true: bool
    kind: str


@dataclass(frozen=True)
class Meetings:
    """All that a scene under a field set gives.

    `asked` are the labels that each query asks, as bits; `outsiders` the queries without a record by kind;
    `labelled` counts by position the true pairs whose query asks a label that the record has, and
    `true_pairs` all of them, those that nothing hits included.
    """

    pairs: tuple[Pair, ...] = field(repr=False)
    asked: tuple[int, ...] = field(repr=False)
    outsiders: Mapping[str, frozenset[int]] = field(repr=False)
    labelled: Mapping[int, int] = field(repr=False)
    true_pairs: int
    queries: int
    records: int


def meet(cast: Cast, fields: FieldSet, workers: int) -> Meetings:
    """Match every query of a cast with every record."""
    asked = [evaluation_scheme.ask(fields.blank(row), LookupShape.SCREENING) for _, row in cast.queries]
    bits = [_any(bit for _, bit in one.keys) for one in asked]
    places = {name: place for place, (name, _) in enumerate(cast.queries)}
    wanted = {record for _, record in cast.truth}
    own: dict[str, int] = {}

    def passing() -> Iterable[tuple[str, Row]]:
        for name, row in cast.records:
            if name in wanted:
                person = evaluation_scheme.person(fields.blank(row))
                own[name] = _any(_BITS[key.label] for key in record_keys(person))
            yield name, row

    pairs = []
    for met in match_all(asked, fields, passing(), cast.count, workers, lambda done, count: None):
        query = cast.queries[met.query][0]
        kind = cast.kinds.get(query) or cast.kinds.get(met.record, "plain")
        pairs.append(Pair(met.query, met.hit, (query, met.record) in cast.truth, kind))
    members = {query for query, _ in cast.truth}
    outside = [
        (place, cast.kinds.get(name, "plain")) for name, place in places.items() if name not in members
    ]
    labelled: Counter[int] = Counter()
    for query, record in cast.truth:
        both = bits[places[query]] & own[record]
        labelled.update(position for position in range(len(MATCH_LABELS)) if both >> position & 1)
    return Meetings(
        tuple(pairs),
        tuple(bits),
        {kind: frozenset(place for place, own in outside if own == kind) for kind in KINDS},
        labelled,
        len(cast.truth),
        len(cast.queries),
        cast.count,
    )


def _any(bits: Iterable[int]) -> int:
    found = 0
    for bit in bits:
        found |= bit
    return found
