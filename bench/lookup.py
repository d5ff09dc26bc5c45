"""One detailed lookup at 1, 5 and 50 nodes: how long it takes, and how much of it is curve.

Run `make bench NAME=lookup` (three minutes) or, to try it, `BENCH_QUICK=1 python -m bench.lookup`.

Real hub, real nodes, mutual TLS on loopback, durable stores; one process for the hub, two for the nodes (they
share the machine's cores, where real nodes have their own), and this one for the asker. The asker is a member
with an index too, so N nodes are N + 1 targets. Each lookup is of another person, one after the other.

`p50_milliseconds` is what a person waits. `curve_share` is the CPU time that the curve operations of a lookup
cost bare, divided by all CPU time of all parties in that time, less what the same processes use when
nobody asks. Operations are counted in lookups of their own, priced in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from bench.curve_work import bare_seconds, counting, lookup_operations, price
from bench.harness import machine, print_table, spread, versions, write
from bench.sampler import Sampler
from candor_hub.streams import Timing
from candor_node import importer
from candor_node.app import Node
from candor_node.config import load_config
from candor_node.logs import configure
from candor_proto.budget import Quota
from candor_proto.ids import LookupShape, Ori
from candor_proto.result import Overall
from candor_proto.sodium import curve
from tests.federation import new_node, ori_for, question, until
from tests.hubs import running_hub
from tests.records import csv_bytes, generated_rows

QUICK = bool(os.environ.get("BENCH_QUICK"))
# Nodes besides the asker, and lookups timed.
SIZES: Sequence[tuple[int, int]] = ((1, 6), (5, 6)) if QUICK else ((1, 30), (5, 30), (50, 25))
if os.environ.get("BENCH_NODES"):
    SIZES = ((int(os.environ["BENCH_NODES"]), 10),)
RECORDS = 20  # of each node
PROCESSES = 2  # that share the nodes
LOOKUP_SECONDS = 60.0
READY_SECONDS = 240.0
IDLE_SECONDS = 4.0
AMPLE = Quota(total=10**9, weak=10**9, match=10**9, code=10**9)
SETTINGS: Mapping[str, Any] = {
    "further_lookup_delay_seconds": 0.0,
    "publish_interval_hours": 0.0,
    "quota_elements": AMPLE.total,
    "quota_weak_elements": AMPLE.weak,
    "quota_match_elements": AMPLE.match,
    "quota_code_elements": AMPLE.code,
}


# --- the processes of hub and nodes -------------------------------------------------------------------


async def commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    return reader


async def obey() -> None:
    """Answer questions about this process until its standard input closes."""
    reader, counted = await commands(), Counter[str]()
    with ExitStack() as stack:
        while line := (await reader.readline()).decode().strip():
            said: dict[str, Any] = {}
            if line == "cpu":
                said = {"cpu": time.process_time()}
            elif line == "count":
                counted = stack.enter_context(counting())
            elif line == "counted":
                stack.close()
                said = {"counted": dict(counted)}
            elif line.startswith("sample"):
                stack.enter_context(Sampler(Path(line.split(maxsplit=1)[1])))
            print(json.dumps(said), flush=True)


async def be_hub(folder: Path, names: Sequence[str]) -> None:
    """Run a hub with the timing of production; found and join the nodes `names`."""
    async with running_hub(folder / "hub", timing=Timing(), quota=AMPLE) as hub:
        for number, name in enumerate(names, 1):
            await new_node(hub, folder / name, name, ori_for(number))
        print(json.dumps({"ready": len(names)}), flush=True)
        await obey()


async def start_node(path: Path) -> Node:
    """Run the node whose settings are in `path`, attached."""
    node = Node(load_config(path).model_copy(update=dict(SETTINGS)))
    await node.start()
    async with asyncio.timeout(READY_SECONDS):
        await node.connection.first_attached.wait()
    return node


async def file_records(node: Node, rows: Iterable[dict[str, str]]) -> None:
    content, now = csv_bytes(rows), node.clock.now()
    await node.store.run(
        lambda db: importer.import_csv(db, content, now, Ori(node.config.oris[0]), node.config.node_id, "me")
    )
    await node.publishing.publish()


async def be_nodes(folder: Path, names: Sequence[str]) -> None:
    """Run the nodes `names`, each with records of its own."""
    async with AsyncExitStack() as stack:
        for name in names:
            node = await start_node(folder / name / "node.toml")
            stack.push_async_callback(node.stop)
            await file_records(node, generated_rows(RECORDS, seed=int(name.rpartition("-")[2])))
        print(json.dumps({"ready": len(names)}), flush=True)
        await obey()


# --- this process: the asker --------------------------------------------------------------------------


class Part:
    """Another process of the federation, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    async def start(cls, role: str, folder: Path, names: Sequence[str]) -> Part:
        words = [sys.executable, "-m", "bench.lookup", "--role", role, "--folder", str(folder), *names]
        pipe = asyncio.subprocess.PIPE
        log = folder / f"{role}-{names[0]}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=errors)
        return cls(process, log)

    async def hear(self) -> Any:
        """The next thing that it says; raises RuntimeError when it has ended instead."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), READY_SECONDS)
        while line and not line.startswith(b"{"):
            line = await asyncio.wait_for(self.process.stdout.readline(), READY_SECONDS)
        if not line:
            raise RuntimeError(f"a process has ended: {self.log.read_text(errors='replace')[-2000:]}")
        return json.loads(line)

    async def ask(self, words: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(words.encode() + b"\n")
        await self.process.stdin.drain()
        return await self.hear()

    async def end(self) -> None:
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), 20)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


async def cpu_seconds(parts: Sequence[Part]) -> list[float]:
    """CPU seconds used so far by the hub, the processes of nodes, and this one."""
    return [*[(await part.ask("cpu"))["cpu"] for part in parts], time.process_time()]


async def one_lookup(node: Node, number: int, targets: int) -> float:
    """Seconds of one detailed lookup of a person of its own; raises RuntimeError unless all answered."""
    person = {"first": "Ordway", "last": f"Nobody{chr(97 + number % 26)}{chr(97 + number // 26 % 26)}"}
    asked = question(case=f"REQ-{number}", shape=LookupShape.DETAILED, person=person)
    started = time.perf_counter()
    view = await node.searcher.ask(asked, LOOKUP_SECONDS)
    seconds = time.perf_counter() - started
    result = view.result
    if result is None or result.overall is not Overall.NO_RECORD or result.coverage.asked != targets:
        raise RuntimeError(f"not a clean lookup: {result.coverage.sentence() if result else 'no result'}")
    return seconds


async def background(parts: Sequence[Part]) -> float:
    """CPU seconds a second of everybody together while nobody asks, once it has stopped to fall."""
    before = float("inf")
    while True:
        start, at = sum(await cpu_seconds(parts)), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        load = (sum(await cpu_seconds(parts)) - start) / (time.perf_counter() - at)
        if load > 0.9 * before or load < 0.01:
            return min(load, before)
        before = load


async def measure(nodes: int, lookups: int) -> dict[str, Any]:
    """Figures of `lookups` lookups in a federation of `nodes` nodes and the asker."""
    names = [f"node-{number}" for number in range(nodes + 1)]
    groups = [group for index in range(PROCESSES) if (group := names[1 + index :: PROCESSES])]
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="candor-")))
        parts = [await Part.start("hub", folder, names)]
        stack.push_async_callback(parts[0].end)
        await parts[0].hear()
        for group in groups:
            parts.append(await Part.start("nodes", folder, group))
            stack.push_async_callback(parts[-1].end)
        for part in parts[1:]:
            await part.hear()
        node = await start_node(folder / names[0] / "node.toml")
        stack.push_async_callback(node.stop)
        await file_records(node, generated_rows(RECORDS, seed=0))
        await until(lambda: len(node.indexes.indexes) == nodes + 1 and node.indexes.complete(), READY_SECONDS)
        idle = await background(parts)
        number = 0
        for _ in range(2):
            await one_lookup(node, number, nodes + 1)
            number += 1
        bare = [bare_seconds()]
        before, at = await cpu_seconds(parts), time.perf_counter()
        seconds = []
        for _ in range(lookups):
            seconds.append(await one_lookup(node, number, nodes + 1))
            number += 1
        elapsed, after = time.perf_counter() - at, await cpu_seconds(parts)
        bare.append(bare_seconds())
        counted = await count_one(node, parts, number, nodes + 1)
        if folder_for_samples := os.environ.get("BENCH_SAMPLES"):
            await sample(node, parts, number + 1, nodes + 1, Path(folder_for_samples))
    used = [(late - early) / lookups for early, late in zip(before, after, strict=True)]
    per_lookup = sum(used) - idle * elapsed / lookups
    prices = {kind: (bare[0][kind] + bare[1][kind]) / 2 for kind in bare[0]}
    pure = price(lookup_operations(LookupShape.DETAILED, nodes + 1), prices)
    return {
        "nodes": nodes,
        "targets": nodes + 1,
        "p50_milliseconds": round(statistics.median(seconds) * 1e3, 1),
        "milliseconds": spread([second * 1e3 for second in seconds], 1),
        "curve_share": round(price(counted, prices) / per_lookup, 3),
        "rfc_curve_share": round(pure / per_lookup, 3),
        "cpu_milliseconds": {
            "all_less_background": round(per_lookup * 1e3, 1),
            "hub": round(used[0] * 1e3, 1),
            "nodes": round(sum(used[1:-1]) * 1e3, 1),
            "asker": round(used[-1] * 1e3, 1),
            "curve": round(price(counted, prices) * 1e3, 1),
        },
        "background_cpu_share": round(idle, 4),
        "operations": {"counted": counted, "rfc": lookup_operations(LookupShape.DETAILED, nodes + 1)},
        "bare_microseconds": {kind: round(cost * 1e6, 2) for kind, cost in prices.items()},
    }


async def count_one(node: Node, parts: Sequence[Part], number: int, targets: int) -> Counter[str]:
    """The curve operations of one lookup, all parties together."""
    for part in parts:
        await part.ask("count")
    with counting() as own:
        await one_lookup(node, number, targets)
        # The last answers are acknowledged a moment later; they cost no curve operation, but let them end.
        await asyncio.sleep(0.5)
    total = Counter(own)
    for part in parts:
        total.update((await part.ask("counted"))["counted"])
    return total


async def sample(node: Node, parts: Sequence[Part], number: int, targets: int, out: Path) -> None:
    """Say where the time goes, one file a process (BENCH_SAMPLES=folder)."""
    out.mkdir(parents=True, exist_ok=True)
    for index, part in enumerate(parts):
        await part.ask(f"sample {out / f'{targets}-{index}.txt'}")
    with Sampler(out / f"{targets}-asker.txt"):
        for offset in range(8):
            await one_lookup(node, number + offset, targets)


def main() -> None:
    """Measure, write bench/results/lookup.json and print one table."""
    rows = []
    for nodes, lookups in SIZES:
        rows.append(asyncio.run(measure(nodes, lookups)))
        print(
            f"{nodes} nodes: {rows[-1]['p50_milliseconds']} ms, "
            f"curve {rows[-1]['curve_share']:.0%} of "
            f"{rows[-1]['cpu_milliseconds']['all_less_background']} ms CPU",
            flush=True,
        )
    headline = {f"p50_milliseconds_{row['nodes']}_nodes": row["p50_milliseconds"] for row in rows}
    largest = rows[-1]
    result = {
        "name": "lookup",
        "quick": QUICK,
        "machine": machine(),
        "versions": versions("candor-exchange", "grpcio", "cryptography", "protobuf")
        | {"libsodium": f"{curve().version} ({curve().origin})"},
        "headline": {**headline, "curve_share": largest["curve_share"], "curve_share_at": largest["nodes"]},
        "sizes": rows,
    }
    print()
    print_table(
        ("nodes", "p50 ms", "q3 ms", "CPU ms", "curve ms", "hub ms", "nodes ms", "asker ms", "share"),
        [
            (
                row["nodes"],
                row["p50_milliseconds"],
                row["milliseconds"]["q3"],
                row["cpu_milliseconds"]["all_less_background"],
                row["cpu_milliseconds"]["curve"],
                row["cpu_milliseconds"]["hub"],
                row["cpu_milliseconds"]["nodes"],
                row["cpu_milliseconds"]["asker"],
                row["curve_share"],
            )
            for row in rows
        ],
    )
    print(f"\ncurve_share at {largest['nodes']} nodes: {largest['curve_share']}   (target >= 0.6 at 50)")
    print(f"\n{write('lookup', result)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=("hub", "nodes"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    configure(level="warning")
    if options.role == "hub":
        asyncio.run(be_hub(options.folder, options.names))
    elif options.role == "nodes":
        asyncio.run(be_nodes(options.folder, options.names))
    else:
        main()
