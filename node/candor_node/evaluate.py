"""The run of an evaluation: every record against every query, by the product's own rules, without the curve.

Rules of this file:
- the queries' inputs are held, the records stream past them: memory grows with queries and openings, never
  with records;
- processes match chunks of records in any order; whoever collects sorts, so that the order of rows, chunks
  and processes changes nothing;
- matching sees rows and nothing else. Which pairs are true is known only here, after they were found.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from candor_node import evaluation_scheme as scheme
from candor_node.evaluation import ScoredPair
from candor_node.evaluation_files import (
    FieldSet,
    Query,
    Row,
    Survey,
    TruePairs,
    read_queries,
    read_truth,
    stream_records,
    survey_records,
)
from candor_node.evaluation_scheme import Asked, Evidence, Score
from candor_proto.ids import LookupShape

CHUNK = 4_000  # records
# Below that, starting a process costs more than it saves.
_WORTH_A_PROCESS = 12_000
_CHUNKS_AHEAD = 3  # for each process

Chunk = list[tuple[str, Row]]
Progress = Callable[[int, int], None]


class Met(NamedTuple):
    """A query (by its place) and a record under at least one key of both. `outcomes` once the gate opens."""

    query: int
    record: str
    hit: int
    outcomes: str


class Matcher:
    """The queries by the inputs of their keys; finds which of them a record meets."""

    def __init__(self, asked: Sequence[Asked], fields: FieldSet) -> None:
        self._asked = asked
        self._fields = fields
        self._waiting: dict[bytes, list[tuple[int, int]]] = {}
        for place, one in enumerate(asked):
            for value, bit in one.keys:
                self._waiting.setdefault(value, []).append((place, bit))

    def match(self, chunk: Chunk) -> list[Met]:
        """All that the records of a chunk meet."""
        return [met for record, row in chunk for met in self._meet(record, self._fields.blank(row))]

    def _meet(self, record: str, row: Row) -> Iterator[Met]:
        hits: dict[int, int] = {}
        for value in scheme.published(row):
            for place, bit in self._waiting.get(value, ()):
                hits[place] = hits.get(place, 0) | bit
        for place, hit in hits.items():
            outcomes = scheme.compare(self._asked[place], row) if scheme.opens(hit) else ""
            yield Met(place, record, hit, outcomes)


# --- processes ---------------------------------------------------------------------------------------

# The matcher of this process; set once, by `_begin`, in a process that does nothing else.
_own: list[Matcher] = []


def _begin(asked: Sequence[Asked], fields: FieldSet) -> None:
    # Whoever presses Ctrl-C means the command, which then ends its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _own[:] = [Matcher(asked, fields)]


def _match(chunk: Chunk) -> list[Met]:
    return _own[0].match(chunk)


def match_all(
    asked: Sequence[Asked],
    fields: FieldSet,
    records: Iterable[tuple[str, Row]],
    count: int,
    workers: int,
    progress: Progress,
) -> Iterator[Met]:
    """What `count` records meet, in no order, on as many processes as are worth starting."""
    chunks = iter(_chunks(records))
    done = 0
    if workers < 2 or count < _WORTH_A_PROCESS:
        matcher = Matcher(asked, fields)
        for chunk in chunks:
            yield from matcher.match(chunk)
            progress(done := done + len(chunk), count)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(asked, fields)
    )
    waiting: dict[Future[list[Met]], int] = {}
    try:
        for chunk in chunks:
            waiting[pool.submit(_match, chunk)] = len(chunk)
            if len(waiting) < workers * _CHUNKS_AHEAD:
                continue
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                progress(done := done + waiting.pop(future), count)
                yield from future.result()
        for future, size in waiting.items():
            yield from future.result()
            progress(done := done + size, count)
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(records: Iterable[tuple[str, Row]]) -> Iterator[Chunk]:
    rest = iter(records)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


# --- the run -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What is evaluated, and how. `keep` keeps every candidate pair, for `evaluation_curve`."""

    records: Path
    queries: Path
    truth: Path
    fields: FieldSet = FieldSet.NDSMP
    confirm: bool = False
    population: int | None = None
    workers: int = 1
    by: tuple[str, ...] = ()
    keep: bool = False

    @property
    def shape(self) -> LookupShape:
        return LookupShape.DETAILED if self.confirm else LookupShape.SCREENING


@dataclass(frozen=True)
class Opened:
    """A pair behind the gate, with all that the product says of it."""

    query: int
    record: str
    hit: int
    outcomes: str
    score: Score
    true: bool


@dataclass(frozen=True)
class Run:
    """What a run found. `opened` is sorted by query id and record id; `queries` by id."""

    order: Order
    queries: tuple[Query, ...] = field(repr=False)
    asked: tuple[Asked, ...] = field(repr=False)
    truth: TruePairs = field(repr=False)
    survey: Survey = field(repr=False)
    population: int
    opened: tuple[Opened, ...] = field(repr=False)
    candidates: int
    # The true pairs under at least one key of both, as (place of the query, record).
    reached: frozenset[tuple[int, str]] = field(repr=False)
    met: tuple[tuple[int, str], ...] = field(repr=False)

    @property
    def true_candidates(self) -> int:
        return len(self.reached)

    def pairs(self) -> list[ScoredPair]:
        """The pairs behind the gate, for their figures."""
        return [
            ScoredPair(
                self.queries[pair.query].query_id,
                pair.record,
                pair.score.probability,
                pair.score.strong,
                pair.true,
            )
            for pair in self.opened
        ]


def run(order: Order, progress: Progress = lambda done, count: None) -> Run:
    """Read the files, match them, score what opens. Raises InputInvalid, before anything is matched."""
    queries = tuple(sorted(read_queries(order.queries, order.by), key=lambda query: query.query_id))
    truth = read_truth(order.truth)
    survey = survey_records(order.records, {name for own in truth.by_query.values() for name in own})
    truth.check({query.query_id for query in queries}, survey.known, (order.queries, order.records))
    asked = tuple(scheme.ask(order.fields.blank(query.row), order.shape) for query in queries)
    records = stream_records(order.records)
    population = order.population or survey.count
    candidates = 0
    reached: set[tuple[int, str]] = set()
    opened: list[Opened] = []
    kept: list[tuple[int, str]] = []
    own = [truth.by_query.get(query.query_id, frozenset()) for query in queries]
    for met in match_all(asked, order.fields, records, survey.count, order.workers, progress):
        true = met.record in own[met.query]
        candidates += 1
        if true:
            reached.add((met.query, met.record))
        if order.keep:
            kept.append((met.query, met.record))
        if met.outcomes:
            evidence = evidence_of(order, queries[met.query], asked[met.query], met, population)
            found = scheme.score(evidence)
            opened.append(Opened(met.query, met.record, met.hit, met.outcomes, found, true))
    return Run(
        order,
        queries,
        asked,
        truth,
        survey,
        population,
        tuple(sorted(opened, key=lambda pair: (pair.query, pair.record))),
        candidates,
        frozenset(reached),
        tuple(sorted(kept)),
    )


def evidence_of(order: Order, query: Query, asked: Asked, met: Met, population: int) -> Evidence:
    """What is known of an opened pair when it is scored."""
    bits = 0
    for _, bit in asked.keys:
        bits |= bit
    asker = scheme.person(order.fields.blank(query.row))
    return Evidence(bits, met.hit, met.outcomes, asker, order.shape, population)
