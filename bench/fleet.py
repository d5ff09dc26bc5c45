"""What an attached node costs a hub, at 100, 500, 1,000 and 1,999 of them, beside bare gRPC streams.

For each size a new `candor-hub run` (embedded database) and a bare `grpc.aio` server with as many streams
over mutual TLS, with the same settings of gRPC, at the same time: memory for each stream, processor while
nothing happens, then lookups to all nodes and their prepared answers (`tests.fleet`), and as many messages of
the same sizes to the echo and back. The largest federation has 2,000 members: 1,999 nodes and one that asks.

Memory and processor time of a lookup count from a hub that has a few nodes already, and has served lookups to
them: what the first ever needs (threads, caches), and what a lookup costs whoever it goes to (its acceptance,
the asker's stream), belongs to the hub and to no node. So memory "a node" is that with n nodes less that with
FEW, over n - FEW; and processor time "a further node" that of a lookup to n less that of one to FEW, over
n - FEW. What a lookup costs in all, shared by the nodes asked, stands beside it. Flat means that the dearest
size costs at most 1.25 times what the one of 1,000 nodes does, for each node.
`BENCH_QUICK=1` shows that it works, with 20 and 40 nodes.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import harness
from bench.hub_scene import make_members, raise_file_limit
from bench.relay import sizes
from tests.fleet import SETTLE_SECONDS, Fleet, percentile

QUICK = bool(os.environ.get("BENCH_QUICK"))
NODES = (20, 40) if QUICK else (100, 500, 1_000, 1_999)
COMPARED = NODES[-1] if QUICK else 1_000
QUIET_SECONDS = 3.0 if QUICK else 30.0
LOOKUPS = 2 if QUICK else 8
WARM_UP = 1
FEW = 10


def measure(folder: Path, nodes: int, echo_octets: int, answer_octets: int) -> dict[str, Any]:
    """The figures of one size; CPU in percent of one core, or microseconds for each node."""
    with Fleet(folder, nodes, 1, echo_octets=echo_octets) as fleet:
        assert fleet.echo is not None
        fleet.attach(FEW)
        fleet.ask(WARM_UP)
        asked_few = fleet.ask(LOOKUPS).hub_cpu_seconds
        few = fleet.reading().kilobytes

        def kilobytes_a_node() -> float:
            return (fleet.reading().kilobytes - few) / (nodes - FEW)

        attached_seconds = fleet.attach(nodes)
        kilobytes = kilobytes_a_node()
        before = fleet.echo.ask("figures")["kilobytes"]
        fleet.open_echoes(nodes)
        bare_kilobytes = (fleet.echo.ask("figures")["kilobytes"] - before) / nodes
        time.sleep(3.0 if QUICK else SETTLE_SECONDS)
        began, bare_began = fleet.reading(), fleet.echo.ask("figures")["cpu_seconds"]
        time.sleep(QUIET_SECONDS)
        quiet = fleet.reading().cpu_percent_since(began)
        bare_quiet = 100 * (fleet.echo.ask("figures")["cpu_seconds"] - bare_began) / QUIET_SECONDS
        fleet.ask(WARM_UP)
        asked = fleet.ask(LOOKUPS)
        if asked.faults:
            raise RuntimeError(f"{nodes} nodes: {asked.faults[:5]}")
        fleet.echo_round(answer_octets)
        bare_began = fleet.echo.ask("figures")["cpu_seconds"]
        trips = [fleet.echo_round(answer_octets) for _ in range(LOOKUPS)]
        bare_cpu = fleet.echo.ask("figures")["cpu_seconds"] - bare_began
        return {
            "nodes": nodes,
            "attached_seconds": round(attached_seconds, 1),
            "kilobytes_a_node": round(kilobytes, 1),
            "kilobytes_a_node_after_lookups": round(kilobytes_a_node(), 1),
            "bare_kilobytes_a_stream": round(bare_kilobytes, 1),
            "quiet_percent": round(quiet, 2),
            "bare_quiet_percent": round(bare_quiet, 2),
            "hub_cpu_microseconds_a_node": round(asked.hub_microseconds, 1),
            "hub_cpu_microseconds_a_further_node": round(
                (asked.hub_cpu_seconds - asked_few) / (LOOKUPS * (nodes - FEW)) * 1e6, 1
            ),
            "bare_cpu_microseconds_a_stream": round(bare_cpu / (LOOKUPS * nodes) * 1e6, 1),
            "last_answer_seconds": harness.spread(asked.last_seconds),
            "last_answer_milliseconds_a_node": round(percentile(asked.last_seconds, 50) / nodes * 1e3, 3),
            "bare_milliseconds_a_stream": round(statistics.median(trips) / nodes * 1e3, 3),
        }


def headline(curve: list[dict[str, Any]]) -> dict[str, object]:
    """The size of 1,000, and how much dearer the dearest is for each node."""
    (one,) = (each for each in curve if each["nodes"] == COMPARED)
    names = (
        "kilobytes_a_node",
        "hub_cpu_microseconds_a_node",
        "hub_cpu_microseconds_a_further_node",
        "last_answer_milliseconds_a_node",
    )
    dearest = {f"dearest_{name}": round(max(each[name] for each in curve) / one[name], 2) for name in names}
    shown = (
        "kilobytes_a_node",
        "quiet_percent",
        "hub_cpu_microseconds_a_node",
        "hub_cpu_microseconds_a_further_node",
    )
    return {name: one[name] for name in shown} | dearest


def main() -> None:
    raise_file_limit()
    curve: list[dict[str, Any]] = []
    for nodes in NODES:
        with tempfile.TemporaryDirectory(prefix="candor-bench-") as name:
            folder = Path(name)
            make_members(folder, nodes + 1)
            curve.append(measure(folder, nodes, *sizes(folder)))
    figures = headline(curve)
    machine = {"machine": harness.machine(), "versions": harness.versions("grpcio", "protobuf", "sqlcipher3")}
    path = harness.write("fleet", {"quick": QUICK, "headline": figures, **machine, "curve": curve})
    columns = [name for name in curve[0] if name != "last_answer_seconds"]
    harness.print_table(columns, [[each[name] for name in columns] for each in curve])
    harness.print_table(("figure", "value"), list(figures.items()))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
