"""A hub process and 60 attached nodes: each answers once, and costs no more memory than it may.

The figures of 1,000 are those of `make campaign NAME=fleet`; here nothing is timed.
"""

from __future__ import annotations

from pathlib import Path

from bench.hub_scene import make_members
from tests.campaign.fleet import NODE_KILOBYTES
from tests.fleet import Fleet

FEW, NODES, LOOKUPS = 20, 60, 2
# Of so few nodes a page more or less of the allocator's is seen in each.
SLACK_KILOBYTES = 100.0


def test_sixty_attached_nodes_answer_each_lookup_once_and_cost_little_memory(tmp_path: Path) -> None:
    make_members(tmp_path, NODES + 1)
    with Fleet(tmp_path, NODES, 1) as fleet:
        fleet.attach(FEW)
        before = fleet.reading()
        fleet.attach(NODES)
        grown = fleet.reading().kilobytes - before.kilobytes
        asked = fleet.ask(LOOKUPS, pause_seconds=0)
    assert asked.faults == []
    assert [len(one.seconds) for one in asked.rounds] == [NODES] * LOOKUPS
    assert grown / (NODES - FEW) < NODE_KILOBYTES + SLACK_KILOBYTES
