"""Publishing an index: elements a second and octets a record, beside the set-up of OpenMined PSI.

Run `make bench NAME=publish` (about two minutes) or, to try it, `BENCH_QUICK=1 python -m bench.publish`.

Synthetic officers (tools.generate_officers) are imported into a real encrypted database and published as
`candor-node publish` does it: plan, evaluate, seal, store (module candor_node.publisher). OpenMined PSI
(openmined-psi, its own environment) sets up a server for *the same elements*, the distinct inputs of those
records. Both run on one core, in turns, in every round; CPU time, medians of the rounds.

Officers share names, dates and parts of numbers: `elements` counts the distinct inputs, each evaluated once;
each of the `elements_with_repetitions` becomes an entry or a field tag of its own. Per second and
`ahead_of_openmined` count the latter, as PSI's cost an item is the same for any item; `..._distinct` counts
distinct ones only, the harder comparison.

- `curve_only`: the OPRF on every distinct element, nothing else. The bare comparison.
- `whole publisher`: besides that normal forms, match keys, entries, shares, field tags, blobs, padding,
  segment, database. PSI's set-up makes one sorted list of curve points of its elements, nothing more.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.environments import run_in
from bench.harness import machine, print_table, spread, timed, versions, write
from candor_node import epochs, importer, packing, publisher
from candor_node.publisher import Settings
from candor_node.store import Store
from candor_proto import oprf
from candor_proto.field_codes import Sounds
from candor_proto.ids import FederationName, NodeId, Ori
from candor_proto.sodium import curve
from tests.records import new_store
from tools.generate_officers import generate

T = TypeVar("T")

QUICK = bool(os.environ.get("BENCH_QUICK"))
RECORDS, ROUNDS = (150, 2) if QUICK else (900, 5)
NODE, FEDERATION = NodeId("ashford-pd"), FederationName("bench.candor.example")
FILED: dict[str, Any] = {"ori": Ori("ZZ0010000"), "node": NODE, "contributor": "clerk-7"}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def filled(folder: Path) -> Store:
    """A database with RECORDS records, of which the gate lets most through."""
    store = new_store(folder)
    for agency in generate(20260302, 3, RECORDS // 3):
        content = agency.text().encode()
        report = store.run_sync(partial(importer.import_csv, content=content, now=NOW, **FILED))
        if report.errors or report.new != RECORDS // 3:
            raise RuntimeError(f"records that were made for the import are refused: {report}")
    return store


def elements_of(planned: publisher.Plan) -> tuple[list[packing.Input], list[packing.Prepared]]:
    """The inputs of the planned records, repeated ones included, and the records made ready."""
    sounds = Sounds()
    prepared = [packing.Prepared.of(row.open(), sounds) for row in planned.rows]
    return [value for record in prepared for value in record.inputs()], prepared


def whole_tick(store: Store, settings: Settings, now: datetime) -> tuple[Counter[str], packing.Sealed]:
    """A tick that begins a new epoch, so that every record is published anew; CPU seconds of its steps."""
    steps: Counter[str] = Counter()

    def step(name: str, work: Callable[[], T]) -> T:
        seconds, result = timed(work, time.process_time)
        steps[name] += seconds  # type: ignore[assignment]  # a Counter adds fractions
        return result

    planned = step("plan", lambda: store.run_sync(lambda db: publisher.plan(db, now, settings, rotate=True)))
    sealed = step("seal", lambda: publisher.seal(planned, settings))
    step("store", lambda: store.run_sync(lambda db: publisher.store_tick(db, planned, sealed, settings)))
    return steps, sealed


def measure(core: int) -> dict[str, Any]:
    """All rounds; this process keeps to `core`, and so does PSI."""
    os.sched_setaffinity(0, {core})
    settings = Settings(FEDERATION, NODE, threads=1)
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        store = filled(Path(folder))
        planned = store.run_sync(lambda db: publisher.plan(db, NOW, settings, rotate=True))
        # What this program itself keeps would be walked by the publisher's garbage collections.
        inputs = elements_of(planned)[0]
        elements, repeated = list(dict.fromkeys(inputs)), len(inputs)
        del inputs
        keys = epochs.keys_for(planned.epoch.seed, FEDERATION, NODE, planned.epoch.number)
        # PSI takes texts; its cost does not depend on which.
        asked = json.dumps({"server": [value.hex() for _, value in elements], "client": []})
        peer: dict[str, Any] = {}
        for number in range(ROUNDS):
            peer = run_in("psi", "psi_peer.py", cores=[core], input_text=asked)
            samples.setdefault("openmined_set_up", []).append(
                peer["seconds"]["new_server"][0] + peer["seconds"]["set_up"][0]
            )
            only, _ = timed(
                lambda: [oprf.evaluate(keys[key_class], value) for key_class, value in elements],
                time.process_time,
            )
            samples.setdefault("curve_only", []).append(only)
            ready, _ = timed(lambda: elements_of(planned), time.process_time)
            samples.setdefault("normal_forms_and_keys", []).append(ready)
            steps, sealed = whole_tick(store, settings, NOW + timedelta(days=1 + number))
            samples.setdefault("whole_publisher", []).append(sum(steps.values()))
            for name, seconds in steps.items():
                samples.setdefault(name, []).append(seconds)
        octets = sum(len(segment) for _, segment in sealed.segments)
        store.close()
    per_element = {
        name: spread([second / len(elements) * 1e6 for second in seconds], 2)
        for name, seconds in samples.items()
    }

    repetition = repeated / len(elements)

    def ahead(name: str) -> float:
        """How many times as fast as PSI's set-up for each distinct element, the median of the rounds."""
        pairs = zip(samples["openmined_set_up"], samples[name], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    return {
        "records": len(sealed.published),
        "elements": len(elements),
        "elements_with_repetitions": repeated,
        "entries": sum(record.entries for record in sealed.published),
        "bytes_per_record": round(octets / len(sealed.published)),
        "cpu_microseconds_per_element": per_element,
        "elements_per_second": round(repetition * 1e6 / float(per_element["whole_publisher"]["median"])),
        "elements_per_second_distinct": round(1e6 / float(per_element["whole_publisher"]["median"])),
        "elements_per_second_curve_only": round(1e6 / float(per_element["curve_only"]["median"])),
        "openmined_elements_per_second": round(1e6 / float(per_element["openmined_set_up"]["median"])),
        "ahead_of_openmined": round(repetition * ahead("whole_publisher"), 3),
        "ahead_of_openmined_distinct": round(ahead("whole_publisher"), 3),
        "ahead_of_openmined_curve_only": round(ahead("curve_only"), 3),
        "openmined_bytes_per_element": round(peer["octets"]["set_up"] / len(elements), 1),
        "openmined_version": peer["version"],
    }


def main() -> None:
    """Measure, write bench/results/publish.json and print one table."""
    figures = measure(min(os.sched_getaffinity(0)))
    named = (
        "elements_per_second",
        "elements_per_second_curve_only",
        "openmined_elements_per_second",
        "ahead_of_openmined",
        "ahead_of_openmined_distinct",
        "ahead_of_openmined_curve_only",
        "bytes_per_record",
    )
    result = {
        "name": "publish",
        "quick": QUICK,
        "machine": machine(),
        "versions": versions("candor-exchange", "cryptography")
        | {
            "libsodium": f"{curve().version} ({curve().origin})",
            "openmined-psi": figures.pop("openmined_version"),
        },
        "headline": {name: figures[name] for name in named},
        **figures,
    }
    print(f"{figures['records']} records, {figures['elements']} distinct elements, one core\n")
    print_table(
        ("CPU µs an element", "median", "q1", "q3"),
        [
            (name, row["median"], row["q1"], row["q3"])
            for name, row in figures["cpu_microseconds_per_element"].items()
        ],
    )
    print(f"\nahead of OpenMined's set-up: {figures['ahead_of_openmined']} times (target > 1)")
    print(f"bytes a record: {figures['bytes_per_record']}")
    print(f"\n{write('publish', result)}")


if __name__ == "__main__":
    main()
