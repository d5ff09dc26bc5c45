"""What the weights are learnt from and measured on: which populations, and the evidence of each opened pair.

Rules of this file:
- seeds are fixed; nobody trains on a seed of CALIBRATION, nor on those of bench.matching;
- the evidence is what the product's own evaluation finds behind the gate: no other code makes features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from candor_node import evaluate, evaluation_scheme
from candor_node.evaluation_files import FieldSet
from candor_proto.evidence import Evidence
from tools.population.development import load
from tools.population.files import generate, write
from tools.population.mixes import MIXES


@dataclass(frozen=True)
class Source:
    """A development set by name, or a generated population; the fields left; what a pair counts."""

    name: str
    fields: FieldSet
    share: float = 1.0
    seed: int = 0
    origins: str = "census"
    records: int = 20_000

    @property
    def words(self) -> str:
        made = f"{self.name}, {self.origins} names, seed {self.seed}, {self.records:,} records"
        return f"{made if self.seed else self.name} ({self.fields_name})"

    @property
    def fields_name(self) -> str:
        return self.fields.name.lower()


@dataclass(frozen=True)
class Pair:
    """An opened pair: the evidence of a detailed lookup, whether it is one person, labels of the query."""

    evidence: Evidence
    true: bool
    kind: str
    query: str


@dataclass(frozen=True)
class Found:
    """The opened pairs of one source."""

    source: Source
    pairs: tuple[Pair, ...]
    population: int
    true_pairs: int
    members: frozenset[str]
    non_members: int


_ALL = (FieldSet.NDSMP, FieldSet.NDS, FieldSet.ND)
# Name and birth date alone count less: few lookups are so poor, and their odds are another matter.
_SHARES = {FieldSet.NDSMP: 1.0, FieldSet.NDS: 1.0, FieldSet.ND: 0.25}
_GENERATED = (
    ("dev", "census", 101), ("hard", "census", 102), ("mixed", "census", 103), ("mixed", "diverse", 104),
    ("keyboard-heavy", "diverse", 105), ("phonetic-heavy", "census", 106), ("missing-heavy", "diverse", 107),
    ("date-heavy", "census", 108), ("origin-heavy", "diverse", 109),
)  # fmt: skip
TRAINING: tuple[Source, ...] = (
    *(
        Source(name, fields, _SHARES[fields])
        for name in ("officers-dev", "officers-devhard")
        for fields in _ALL
    ),
    *(
        Source(name, fields, _SHARES[fields], seed, origins)
        for name, origins, seed in _GENERATED
        for fields in _ALL
    ),
    # A larger federation: more strangers who agree by chance, for each relative who does.
    *(Source("mixed", fields, 1.0, 110, "census", 200_000) for fields in (FieldSet.NDSMP, FieldSet.NDS)),
)
# Nobody trained on these.
CALIBRATION: tuple[Source, ...] = tuple(
    Source(name, fields, 1.0, seed, origins)
    for name, origins, seed in (
        ("dev", "census", 201),
        ("mixed", "census", 202),
        ("hard", "census", 203),
        ("mixed", "diverse", 204),
        ("missing-heavy", "census", 205),
        ("phonetic-heavy", "diverse", 206),
    )
    for fields in (FieldSet.NDSMP, FieldSet.NDS)
)


def without_fields(evidence: Evidence) -> Evidence:
    """What a screening lookup would have known of the same pair."""
    return replace(evidence, outcomes={})


def collect(sources: Sequence[Source], workers: int) -> list[Found]:
    """The opened pairs of all sources, in their order."""
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_collect, sources))


def _collect(source: Source) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if source.seed:
            write(generate(source.seed, source.records, 5_000, MIXES[source.name], source.origins), place)
        else:
            write(load(source.name), place)
        order = evaluate.Order(
            place / "A.csv", place / "B.csv", place / "truth.csv", source.fields, confirm=True
        )
        run = evaluate.run(order)
    pairs = []
    for opened in run.opened:
        query, asked = run.queries[opened.query], run.asked[opened.query]
        met = evaluate.Met(opened.query, opened.record, opened.hit, opened.outcomes)
        evidence = evaluation_scheme.evidence(evaluate.evidence_of(order, query, asked, met, run.population))
        kind = query.labels.get("kind", "")
        pairs.append(Pair(evidence, opened.true, kind, query.query_id))
    members = frozenset(run.truth.by_query)
    return Found(
        source,
        tuple(pairs),
        run.population,
        sum(map(len, run.truth.by_query.values())),
        members,
        len(run.queries) - len(members),
    )
