"""What attached nodes cost a hub; the figures of 1,000 are those of `make campaign NAME=fleet`."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

from bench.hub_scene import make_members
from tests.campaign.fleet import NODE_KILOBYTES
from tests.fleet import Fleet
from tests.hubs import enrol, running_hub

FEW, NODES, LOOKUPS = 20, 60, 2
# Of so few nodes a page more or less of the allocator's is seen in each.
SLACK_KILOBYTES = 100.0


def test_sixty_attached_nodes_answer_each_lookup_once_and_cost_little_memory(tmp_path: Path) -> None:
    """Nothing is timed here."""
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


def test_an_open_stream_keeps_no_directory_of_before(tmp_path: Path) -> None:
    """A stream lasts for days, a directory of a thousand members is a megabyte, and each change makes one."""

    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            async with alpha.attached():
                before = weakref.ref(hub.hub.directory.known.view)
                bravo = await enrol(hub, "bravo")
                # What the process itself has looked at last is another one, by now.
                await hub.hub.watch.look()
                await bravo.directory()
                gc.collect()
                assert before() is None
                await bravo.close()
            await alpha.close()

    asyncio.run(run())
