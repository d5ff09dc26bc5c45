"""The records desk at 100,000 records on the encrypted database: lists, dues, search by name, the gate.

Run `make bench NAME=desk` (some five minutes, most of them filing) or, to try it, `BENCH_QUICK=1 python -m
bench.desk`.

Synthetic officers (tools.population, with slips in the queries as it draws them) are filed one by one through
`lifecycle.file`, as a clerk's are, over a year of days, of all kinds and colours, a part of them held by the
gate. Then, on the same database:

- lists: a first page, a page far behind the first, each filter, two filters together; with their totals;
- dues: what is due in 30 days and in ten years, and only the reviews;
- search: the whole way of `records search`, with the history followed before, the page of records opened and
  the entry in the ledger written after; the words are names of records with a slip, parts of names, last and
  first name with a year;
- building the index of names from the database, and what it holds in memory;
- the gate: opening and judging every record, at a quarter, a half and all of them. Linear means that the
  time for one record does not grow.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bench.harness import machine, print_table, timed, versions, write
from candor_node import dues, filing_lists, filings, lifecycle
from candor_node.dues import What
from candor_node.filing_lists import Cursor, Filter
from candor_node.lifecycle import Doing
from candor_node.name_index import NameIndex, Names
from candor_node.name_search import NameSearch
from candor_node.store import Database, Store
from candor_proto.ids import NodeId, Ori
from candor_proto.normalise import refusal
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.content import Content
from candor_records.gate import gate
from candor_records.gate_rules import GateRules
from candor_records.policy import NoPack, Retention
from candor_records.records import Standing
from tests.desk import desk_store
from tests.records import make_content
from tools.population import Row, generate

QUICK = bool(os.environ.get("BENCH_QUICK"))
RECORDS = 4_000 if QUICK else 100_000
ROUNDS = 40 if QUICK else 100
TARGET_SECONDS = 0.2
BATCH = 500
DAY = timedelta(days=1)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
START = NOW - 365 * DAY
ORI, NODE = Ori("ZZ0010000"), NodeId("ashford-pd")
KINDS = ("TERMINATION_FOR_CAUSE", "DECERTIFICATION", "SUSTAINED_FORCE_FINDING", "COMMENDATION")


class _Kept(NoPack):
    """Reviewed after a year, kept for five."""

    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention(filed_on + 365 * DAY, filed_on + 1825 * DAY, "a rule of the bench")


POLICY = _Kept()


@dataclass(frozen=True)
class _Clock:
    def now(self) -> datetime:
        return NOW


def contents(count: int) -> Iterator[tuple[datetime, Content]]:
    """`count` reports with the time at which each is filed."""
    draw = random.Random(20260601)
    for number, row in enumerate(islice(_rows(count), count)):
        kind = draw.choice(KINDS)
        held = draw.random() < 0.15 and kind != "COMMENDATION"
        yield (
            START + number * 365 * DAY / count,
            make_content(
                agency_record_id=f"IA-{number:06d}",
                record_kind=kind,
                first=row.first,
                middle=row.middle,
                last=row.last,
                former_last=row.former_last,
                birth_date=row.dob[:4],
                ssn4="",
                sharing=draw.choice(("GREEN", "YELLOW", "YELLOW", "RED")),
                **({"opportunity": "NOT_OFFERED", "opportunity_on": ""} if held else {}),
            ),
        )


def _rows(count: int) -> Iterator[Row]:
    """Rows whose names the import takes as they are: those it refuses are left out."""
    for row in generate(20260601, count * 2, 10).records():
        if any(refusal(field, getattr(row, field)) for field in ("first", "middle", "last", "former_last")):
            continue
        names = (row.first, row.last)
        if all(len(name) > 1 and name.isalpha() for name in names) and "1950" < row.dob[:4] < "1998":
            yield row


def fill(store: Store) -> None:
    """File every report, BATCH of them in a transaction."""
    coming = contents(RECORDS)
    while batch := list(islice(coming, BATCH)):

        def work(db: Database, batch: list[tuple[datetime, Content]] = batch) -> None:
            for at, content in batch:
                lifecycle.file(db, content, ORI, NODE, Doing(at, "clerk-7", POLICY))

        store.run_sync(work)


def spread_of(seconds: list[float]) -> dict[str, Any]:
    """Median and 95th percentile in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {"p50_ms": round(1000 * cuts[9], 1), "p95_ms": round(1000 * cuts[18], 1), "runs": len(seconds)}


def measured(store: Store, works: dict[str, Callable[[Database], object]]) -> dict[str, dict[str, Any]]:
    """Every work many times, in turns, each as a transaction of its own."""
    samples: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            samples[name].append(timed(partial(store.run_sync, work))[0])
    return {name: spread_of(seconds) for name, seconds in samples.items()}


def lists(store: Store) -> dict[str, dict[str, Any]]:
    """Pages of records under different filters."""
    draw = random.Random(1)
    ids = store.run_sync(lambda db: db.execute("SELECT filed_at, record_id FROM record_heads").fetchall())

    def far(db: Database) -> object:
        return filing_lists.page(db, Filter(), Cursor(*draw.choice(ids)))

    filters = {
        "first page": Filter(),
        "kind": Filter(kind=RecordKind.DECERTIFICATION),
        "standing": Filter(standing=Standing.HELD),
        "sharing": Filter(sharing=Sharing.RED),
        "since": Filter(since=NOW - 30 * DAY),
        "held because": Filter(held_because="opportunity"),
        "held because, nothing": Filter(held_because="final"),
        "kind and standing": Filter(kind=RecordKind.DECERTIFICATION, standing=Standing.HELD),
        "kind and sharing": Filter(kind=RecordKind.COMMENDATION, sharing=Sharing.GREEN),
    }
    works: dict[str, Callable[[Database], object]] = {
        name: partial(filing_lists.page, wanted=wanted) for name, wanted in filters.items()
    }
    works["page anywhere"] = far
    works["due in 30 days"] = lambda db: dues.dues(db, NOW.date() + 30 * DAY)
    works["due in ten years"] = lambda db: dues.dues(db, NOW.date() + 3650 * DAY)
    works["reviews due"] = lambda db: dues.dues(db, NOW.date() + 30 * DAY, [What.REVIEW])
    works["kind and due"] = lambda db: dues.dues(db, NOW.date() + 30 * DAY, kind=RecordKind.DECERTIFICATION)
    works["kind and due, nothing"] = lambda db: dues.dues(
        db, NOW.date() + 3650 * DAY, kind=RecordKind.CIVIL_JUDGMENT
    )
    return measured(store, works)


def queries(names: list[Names]) -> list[str]:
    """What people type: with a slip, with a part, with both names and a year."""
    draw, found = random.Random(2), list[str]()
    while len(found) < ROUNDS:
        one = draw.choice(names)
        last, first = one.surnames[0], one.given[0]
        if len(last) < 5:
            continue
        at = draw.randrange(len(last) - 1)
        slipped = draw.choice(
            (last[:at] + last[at + 1 :], last[:at] + last[at + 1] + last[at] + last[at + 2 :])
        )
        found.append(
            draw.choice(
                (
                    last,
                    slipped,
                    f"{slipped}, {first}",
                    f"{first} {last}",
                    last[:4],
                    f"{slipped} {one.birth_year}",
                )
            )
        )
    return found


async def searches(store: Store, asked: list[str]) -> tuple[float, dict[str, Any]]:
    """Seconds to build the index, and the whole way of a search."""
    search = NameSearch(store, _Clock())
    start = time.perf_counter()
    await search.build()
    built = time.perf_counter() - start
    seconds = []
    for words in asked:
        start = time.perf_counter()
        await search.find(words, "clerk-7", limit=20)
        seconds.append(time.perf_counter() - start)
    return built, spread_of(seconds)


def memory(names: list[Names]) -> float:
    """Megabytes that the index holds."""
    gc.collect()
    tracemalloc.start()
    index = NameIndex()
    for number, one in enumerate(names):
        index.add(number.to_bytes(16, "big"), one)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return round(held / 1e6, 1)


def judged(store: Store) -> dict[str, float]:
    """Microseconds of CPU for a record to be opened and judged, at three sizes."""
    rows = store.run_sync(filings.sealed_current)
    gc.collect()
    gc.freeze()  # or the collector goes through all of the rows again and again
    found = {}
    for share in (4, 2, 1):
        part = rows[: len(rows) // share]
        start = time.process_time()
        for row in part:
            gate(row.open(), NOW.date(), GateRules())
        found[str(len(part))] = round(1e6 * (time.process_time() - start) / len(part), 1)
    gc.unfreeze()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="candor-") as folder, desk_store(Path(folder)) as store:
        fill(store)
        listed = lists(store)
        rows = store.run_sync(filings.sealed_current)
        names = [Names.of(row.fields()) for row in rows]
        del rows
        held = memory(names)
        asked = queries(names)
        del names
        built, searched = asyncio.run(searches(store, asked))
        figures = {**listed, "search by name": searched}
        result = {
            "machine": machine(),
            "versions": versions("sqlcipher3", "cryptography", "jellyfish"),
            "records": RECORDS,
            "database_mb": round(store.path.stat().st_size / 1e6, 1),
            "target_p95_ms": 1000 * TARGET_SECONDS,
            "within_target": all(figure["p95_ms"] <= 1000 * TARGET_SECONDS for figure in figures.values()),
            "lists_and_search": figures,
            "index_of_names": {"seconds_to_build": round(built, 1), "megabytes": held},
            "gate_microseconds_a_record": judged(store),
        }
    if not QUICK:
        write("desk", result)
    print_table(
        ("on 100,000 records" if not QUICK else "on few records", "p50 ms", "p95 ms"),
        [(name, figure["p50_ms"], figure["p95_ms"]) for name, figure in figures.items()],
    )
    print(f"index of names: {built:.1f} s to build, {held} MB")
    print(f"gate, microseconds a record: {result['gate_microseconds_a_record']}")


if __name__ == "__main__":
    main()
