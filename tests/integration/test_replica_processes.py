"""`candor-hub run` twice on one database with a standby, over real processes (docs/replicas.md).

The short form of tests/campaign/replicas.py: what dies here are a replica and the database's primary.
"""

from __future__ import annotations

import asyncio
import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench.hub_scene import read_members
from tests.balancer import Balancer
from tests.campaign.replicas import COST, roots
from tests.history.swarm import Held, check
from tests.patience import PATIENCE_SECONDS
from tests.postgres import Cluster, synchronous_cluster, unsafe
from tests.site import Site, found_site
from tests.swarm import Log, Swarm

NODES, QUOTA = 5, 10_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with unsafe(), synchronous_cluster(sync=False) as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Site]:
    """Two replicas that run; the last test of this file kills one, and the primary."""
    with unsafe():
        folder: Path = tmp_path_factory.mktemp("site")
        made = found_site(folder, cluster.url, NODES, 2, QUOTA * COST)
        try:
            for number in range(2):
                made.start(number)
            for number in range(2):
                made.wait(number)
            yield made
        finally:
            made.stop()


def ask(site: Site, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(site.config.database) as database:
        return database.execute(query.encode()).fetchall()


def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


def leads(site: Site, number: int) -> int:
    """How often this replica has begun to write the log."""
    return site.log(number).read_text().count("this replica writes the log")


def term(site: Site) -> int:
    return int(str(ask(site, "SELECT term FROM log_fence")[0][0]))


def size(site: Site) -> int:
    return int(str(ask(site, "SELECT size FROM log_shards")[0][0]))


def test_a_sequencer_that_stood_still_while_another_took_over_appends_nothing(site: Site) -> None:
    first = next(number for number in range(2) if leads(site, number))
    other = 1 - first
    until(lambda: size(site) > 0)
    before = term(site)
    site.signal(first, signal.SIGSTOP)
    until(lambda: leads(site, other) == 1)
    assert term(site) == before + 1
    site.signal(first, signal.SIGCONT)
    until(lambda: "the lock of the log was lost" in site.log(first).read_text())
    time.sleep(1.5)  # a poll or two of the one that woke up
    assert (term(site), leads(site, first), leads(site, other)) == (before + 1, 1, 1)
    assert size(site) in roots(site)


def test_a_replica_and_then_the_primary_are_killed_and_nothing_is_lost(site: Site, cluster: Cluster) -> None:
    written = io.StringIO()

    async def scene() -> None:
        balancer = Balancer([("127.0.0.1", port) for port, _, _ in site.ports])
        address = f"127.0.0.1:{await balancer.start()}"
        members, root = read_members(site.folder), (site.folder / "root.pem").read_bytes()
        swarm = Swarm(members, members, root, address, Log(written))
        running = asyncio.create_task(swarm.run(0.5))

        async def attached() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all(node.call is not None for node in swarm.nodes):
                    await asyncio.sleep(0.05)

        await attached()
        await asyncio.sleep(1.5)
        await asyncio.to_thread(site.kill, 0)
        await asyncio.sleep(0.5)
        await attached()
        await asyncio.to_thread(cluster.primary.kill)
        dead = time.monotonic()
        await asyncio.to_thread(cluster.promote)
        # Half a second: what was on its way may still be told.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not accepted_after(dead + 0.5):
                await asyncio.sleep(0.05)
        await attached()
        swarm.hush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(node.unsettled for node in swarm.nodes) or waiting():
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await balancer.stop()

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for line in written.getvalue().splitlines()]

    def accepted_after(moment: float) -> bool:
        return any(one["event"] == "accepted" and one["at"] > moment for one in events())

    def waiting() -> object:
        return ask(site, "SELECT 1 FROM mailbox LIMIT 1")

    asyncio.run(scene())
    rows = ask(site, "SELECT sender, encode(envelope_id, 'hex') FROM envelopes WHERE kind = 1")
    uses = ask(site, "SELECT node, sum(weak + match + code) FROM quota_uses GROUP BY node")
    held = Held(
        frozenset((str(asker), str(lookup)) for asker, lookup in rows),
        {str(node): int(str(used)) for node, used in uses},
    )
    # How long they may be away is for the campaign to judge.
    report = check(events(), held, quota=QUOTA * COST, cost=COST, away_seconds=PATIENCE_SECONDS)
    assert report.faults == []
    assert report.figures["lookups accepted"] > NODES
    assert report.figures["streams lost"] >= 1
