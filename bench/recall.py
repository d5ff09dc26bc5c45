"""Time to forget: from the act at the owner to the moment when a recipient's copy is destroyed.

Run `make bench NAME=recall` (some seconds).

A real hub and two real nodes on loopback, with mTLS and encrypted databases. One record was released under
RELEASES requests, whose copies the recipient holds; then it is voided. Nobody wakes anybody: the owner's node
finds by itself what its act has recalled, within `candor_node.recalling.IDLE_SECONDS`.

- `forgotten`: from the act to the transaction in which the recipient destroyed that copy, a recall;
- `known`: from the act until the owner knew it of all of them;
- `act`: the transaction of the act, with one row for each recall.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness import machine, print_table, spread, versions, write
from candor_node import filings, importer, lifecycle, recall_store, recalls
from candor_node.app import Node
from candor_node.lifecycle import Doing
from candor_node.store import Database
from candor_proto.ids import LookupId, Ori
from candor_records.records import Dcn
from tests.federation import eventually, federation
from tests.recalls import Released, add_search
from tests.records import csv_bytes, make_row

RELEASES = 5 if os.environ.get("BENCH_QUICK") else 50
WAIT_SECONDS = 60.0


async def file(owner: Node) -> Dcn:
    """The one record."""
    content, now = csv_bytes([make_row()]), owner.clock.now()

    def work(db: Database) -> Dcn:
        importer.import_csv(db, content, now, Ori(owner.config.oris[0]), owner.config.node_id, "clerk-7")
        return Dcn(db.execute("SELECT dcn FROM record_heads").fetchone()[0])

    return await owner.store.run(work)


async def release(owner: Node, holder: Node, dcn: Dcn) -> None:
    """RELEASES copies of it, each under a request of its own, travel through the hub and are opened."""
    record = await owner.store.run(lambda db: filings.find(db, dcn))
    now, search = owner.clock.now(), LookupId(secrets.token_bytes(16))
    own, other = owner.config.node_id, holder.config.node_id
    made = [
        Released.of(record, owner.keys.signing, own, other, search, now, owner.config.federation_name)
        for _ in range(RELEASES)
    ]

    def ask(db: Database) -> None:
        add_search(db, search, now)
        for number, one in enumerate(made, 1):
            one.ask(db, number)

    def answer(db: Database) -> None:
        for one in made:
            one.release(db, str(dcn), now)

    await holder.store.run(ask)
    await owner.store.run(answer)
    owner.outbox.wake()
    await eventually(lambda: holder.store.run(count_held), lambda held: held == RELEASES, WAIT_SECONDS)


def count_held(db: Database) -> int:
    return int(db.execute("SELECT count(*) FROM copy_keys").fetchone()[0])


async def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        async with federation(Path(folder), 2) as fed:
            holder, owner = fed.nodes
            dcn = await file(owner)
            await release(owner, holder, dcn)
            policy = await owner.store.run(owner.policy)
            doing = Doing(owner.clock.now(), "clerk-7", policy, "Wrong person.", "chief-1")
            start = time.perf_counter()
            await owner.store.run(lambda db: lifecycle.void(db, dcn, doing))
            act = time.perf_counter() - start
            await eventually(
                lambda: owner.store.run(recall_store.unacknowledged), lambda open_: not open_, WAIT_SECONDS
            )
            known = time.perf_counter() - start
            times = await owner.store.run(recall_store.acknowledged)
            if await holder.store.run(count_held):
                raise RuntimeError("a recipient that acknowledged holds a copy")
    seconds = [(acted - effective).total_seconds() for effective, acted in times]
    forgot = recalls.time_to_forget(times)
    return {
        "releases": RELEASES,
        "forgotten_seconds": spread(seconds),
        "median_seconds": forgot.median.total_seconds(),
        "longest_seconds": forgot.longest.total_seconds(),
        "known_seconds": round(known, 3),
        "act_seconds": round(act, 4),
    }


def main() -> None:
    """Measure, write bench/results/recall.json and print one table."""
    figures = asyncio.run(measure())
    named = ("releases", "median_seconds", "longest_seconds", "known_seconds", "act_seconds")
    headline = {name: figures[name] for name in named}
    result = {
        "name": "recall",
        "quick": bool(os.environ.get("BENCH_QUICK")),
        "machine": machine(),
        "versions": versions("candor-exchange", "cryptography"),
        "headline": headline,
        **figures,
    }
    print_table(("time to forget", ""), list(headline.items()))
    print(f"\n{write('recall', result)}")


if __name__ == "__main__":
    main()
