"""A hub with 1,000 attached nodes: how soon all answers are there, memory for each node, and its quiet.

Target: the last of 1,000 answers within 2 s (p99 of the lookups), at most 150 kB of the hub's memory for each
node, and at most 2 % of one core while nobody asks anything; every node answers each lookup once.

    python -m tests.campaign.fleet [--quick] [--nodes 1000] [--lookups 100] [--quiet 60] [--processes 1]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.hub_scene import raise_file_limit
from candor_hub.allocator import LOOK_SECONDS
from tests.fleet import Fleet, percentile

LOOKUP_SECONDS = 2.0
NODE_KILOBYTES = 150.0
QUIET_PERCENT = 2.0
# By then what only the lookups needed has been given back to the system.
GIVEN_BACK_SECONDS = LOOK_SECONDS + 5.0


@dataclass
class Report:
    """Figures by name, and what is not as it must be."""

    figures: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, at_most: float | None = None) -> None:
        self.figures[name] = value
        if at_most is not None and value > at_most:
            self.faults.append(f"{name}: {value:,.2f} is more than {at_most:,.2f}")


def run(folder: Path, nodes: int, lookups: int, quiet_seconds: float, processes: int) -> Report:
    report = Report()
    with Fleet.found(folder, nodes, processes) as fleet:
        report.add("hub without nodes (MB)", fleet.empty.kilobytes / 1_000)
        report.add("all attached after (s)", fleet.attach(nodes))
        quiet = fleet.quiet(quiet_seconds)
        report.add("quiet hub (% of one core)", quiet, QUIET_PERCENT)
        report.add("memory for each attached node (kB)", fleet.kilobytes_a_node(), NODE_KILOBYTES)
        asked = fleet.ask(lookups)
        report.add("memory for each, at the last answer (kB)", fleet.kilobytes_a_node(), NODE_KILOBYTES)
        time.sleep(GIVEN_BACK_SECONDS)
        report.add("memory for each, after the lookups (kB)", fleet.kilobytes_a_node(), NODE_KILOBYTES)
    last = asked.last_seconds
    every = sorted(seconds for one in asked.rounds for seconds in one.seconds)
    report.add("answers collected", len(every))
    for percent in (50, 90):
        report.add(f"all answers of a lookup, p{percent} (s)", percentile(last, percent))
    report.add("all answers of a lookup, p99 (s)", percentile(last, 99), LOOKUP_SECONDS)
    report.add("all answers of a lookup, longest (s)", last[-1])
    report.add("an answer, p50 (s)", percentile(every, 50))
    report.add("hub, for each node asked (CPU µs)", asked.hub_microseconds)
    report.faults += asked.faults
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="100 nodes, 10 lookups, 10 quiet seconds")
    parser.add_argument("--nodes", type=int, default=1_000, help="at most 1,999, for one member asks")
    parser.add_argument("--lookups", type=int, default=100)
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds in which nobody asks")
    parser.add_argument("--processes", type=int, default=1, help="that the nodes are spread over")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.nodes, arguments.lookups, arguments.quiet = 100, 10, 10.0
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="candor-fleet-") as folder:
        report = run(Path(folder), arguments.nodes, arguments.lookups, arguments.quiet, arguments.processes)
    for name, figure in report.figures.items():
        print(f"  {name:44} {figure:,.2f}".rstrip("0").rstrip("."))
    for fault in report.faults[:20]:
        print(f"  VIOLATION {fault}")
    print(f"fleet: {len(report.faults)} violations")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
