"""Certificates rotate under load, and the issuing authority is replaced: no lookup may fail.

A hub and its agencies as real processes, with certificates that live for seconds in place of days
(everything else is as it is), while every agency looks somebody up without a pause. Each node's certificate
and the hub's are renewed ROTATIONS times. Half way through another issuing authority is adopted with the
operator's command; when nobody goes by the old one any more, it is denied with the operator's command, and
the second half hangs from the new one. What each call came to is written down (tests.history), and the
books are audited in the end.

    python -m tests.campaign.rotation [--quick] [--rotations 20] [--life 45]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from candor_certs.authority import create_issuing
from candor_certs.folders import load_root, save_issuing
from candor_certs.store import read_identity
from candor_hub.authorities import overview
from candor_hub.founding import open_store
from candor_hub.keys import TLS
from candor_hub.store import Store
from candor_proto.errors import CandorError
from tests.campaign.inside import LIFE_VARIABLE, quiet
from tests.campaign.operations import Desk, audit, case_number
from tests.history import History
from tests.hubs import FEDERATION
from tests.processes import Founded, Nursery, found_federation

NAMES = ("alpha", "bravo", "charlie")
ROTATIONS, LIFE_SECONDS = 20, 45.0
WAIT_SECONDS = 10.0
START_SECONDS = 60.0


@dataclass
class Seen:
    """Serials that were shown, in order: the hub's, and each node's as the hub issued them."""

    hub: list[int] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)

    @property
    def rotations(self) -> int:
        """How often everybody has renewed."""
        return min(len(self.hub) - 1, *(count - 1 for count in self.nodes.values()))


@dataclass
class Stage:
    """What runs, and what became of every call."""

    founded: Founded
    store: Store
    desks: dict[str, Desk]
    history: History
    seen: Seen = field(default_factory=Seen)
    wrong: list[str] = field(default_factory=list)
    lookups: int = 0
    slowest_seconds: float = 0.0

    def look(self) -> None:
        """Note what is shown now."""
        serial = read_identity(self.founded.hub.keys / TLS).chain[0].serial_number
        if serial not in self.seen.hub:
            self.seen.hub.append(serial)
        with self.store.read() as tx:
            for name, config in self.founded.nodes.items():
                self.seen.nodes[name] = sum(
                    each.used_at is not None for each in tx.certificates.of(config.node_id)
                )

    async def ask_on(self, name: str, draw: random.Random, over: asyncio.Event) -> None:
        """One lookup after the other; whatever is not a whole result is a violation."""
        desk = self.desks[name]
        while not over.is_set():
            began = time.monotonic()
            try:
                view = await desk.look_up(case_number(draw))
            except (CandorError, AssertionError) as error:
                self.wrong.append(f"{name}: a lookup failed: {error}")
                await asyncio.sleep(0.2)
                continue
            self.lookups += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            if view.overall != "MATCH" or not view.coverage.complete:
                self.wrong.append(f"{name}: {view.overall}, complete: {view.coverage.complete}")

    def command(self, *words: str) -> str:
        """The operator's command, as a process beside the hub."""
        done = subprocess.run(
            [sys.executable, "-c", "from candor_hub.cli import main; main()", *words, "--json"],
            env={**os.environ, "CANDOR_HUB_CONFIG": str(self.founded.hub_file)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            self.wrong.append(f"candor-hub {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    async def roll_over(self, folder: Path, patience_seconds: float) -> float:
        """The next authority, until the one before is denied; how long the members took, in seconds."""
        root = load_root(self.founded.hub_file.parent / "authority/root")
        save_issuing(create_issuing(root, FEDERATION, datetime.now(UTC)), folder / "issuing-2")
        before = json.loads(await asyncio.to_thread(self.command, "issuing", "list"))[-1]["serial"]
        began = time.monotonic()
        await asyncio.to_thread(self.command, "issuing", "adopt", str(folder / "issuing-2"))
        while True:
            with self.store.read() as tx:
                old, new = overview(tx, datetime.now(UTC))
            if not old.members and len(new.members) == len(NAMES):
                break
            if time.monotonic() - began > patience_seconds:
                self.wrong.append(f"members still go by the old authority: {old.members}")
                return patience_seconds
            await asyncio.sleep(0.1)
        took = time.monotonic() - began
        await asyncio.to_thread(self.command, "deny", "--authority", before)
        return took


async def run(folder: Path, rotations: int, life_seconds: float, seed: int) -> list[str]:
    founded = await found_federation(folder, NAMES)
    history = History()
    desks = {name: Desk(name, config.socket, history, WAIT_SECONDS) for name, config in founded.nodes.items()}
    environment = {**os.environ, LIFE_VARIABLE: f"{life_seconds}"}
    with Nursery(environment, hurried=False) as nursery:
        children = [nursery.spawn("hub", founded.hub_file, folder / "hub.log")]
        children += [
            nursery.spawn("node", path, folder / f"{name}.log") for name, path in founded.node_files.items()
        ]
        store = open_store(founded.hub)
        scene = Stage(founded, store, desks, history)
        try:
            await begun(scene)
            over, draw = asyncio.Event(), random.Random(seed)
            asking = [
                asyncio.create_task(scene.ask_on(name, random.Random(draw.getrandbits(64)), over))
                for name in NAMES
            ]
            took, end = None, time.monotonic() + (rotations + 8) * life_seconds
            while scene.seen.rotations < rotations and time.monotonic() < end:
                await asyncio.sleep(0.2)
                before = scene.seen.rotations
                await asyncio.to_thread(scene.look)
                if scene.seen.rotations > before:
                    print(f"  rotation {scene.seen.rotations}: {scene.lookups} lookups", flush=True)
                if took is None and scene.seen.rotations >= rotations // 2:
                    took = await scene.roll_over(folder, life_seconds)
            over.set()
            await asyncio.gather(*asking)
            await at_rest(scene)
        finally:
            store.close()
        for child in reversed(children):
            child.kill(signal.SIGTERM)
            await child.end(30)
    wrong = scene.wrong + audit(history, founded.hub, list(founded.nodes.values()))
    if scene.seen.rotations < rotations or took is None:
        wrong.append(f"only {scene.seen.rotations} rotations in time")
    failed = sum((folder / f"{name}.log").read_text().count("was not renewed") for name in NAMES)
    rotations = scene.seen.rotations
    print(f"  {rotations} rotations of each node and the hub, certificates of {life_seconds:.0f} s")
    print(f"  one issuing rollover: members over after {took or 0:.1f} s, the old one denied")
    slowest = scene.slowest_seconds
    print(f"  {scene.lookups} lookups, the slowest {slowest:.1f} s; {failed} renewals tried again")
    return wrong


async def begun(scene: Stage) -> None:
    """Everybody is attached, and has filed the record that lookups find."""
    async with asyncio.timeout(START_SECONDS):
        for desk in scene.desks.values():
            while True:
                try:
                    if (await desk.status()).attached:
                        break
                except (CandorError, AssertionError):
                    pass
                await asyncio.sleep(0.1)
        for desk in scene.desks.values():
            await desk.file_first()
        for desk in scene.desks.values():
            while not all(member.index_held for member in (await desk.status()).members):
                await asyncio.sleep(0.1)
        first = next(iter(scene.desks.values()))
        while True:  # indexes are published a moment after they were filed
            view = await first.look_up(f"FIRST-{random.getrandbits(40):x}")
            if view.overall == "MATCH" and view.coverage.complete:
                break
    scene.look()


async def at_rest(scene: Stage) -> None:
    async with asyncio.timeout(60):
        while True:
            states = [await desk.status() for desk in scene.desks.values()]
            if all(one.attached and not one.inbox_waiting + one.outbox_waiting for one in states):
                return
            await asyncio.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="rotation")
    parser.add_argument("--quick", action="store_true", help="2 rotations of certificates of 20 seconds")
    parser.add_argument("--rotations", type=int, default=ROTATIONS)
    parser.add_argument("--life", type=float, default=LIFE_SECONDS, help="seconds that a certificate lives")
    parser.add_argument("--seed", type=int, default=20261127)
    options = parser.parse_args()
    if options.quick:
        options.rotations, options.life = 2, 20.0
    quiet()
    with tempfile.TemporaryDirectory(prefix="candor-rotation-") as folder:
        wrong = asyncio.run(run(Path(folder), options.rotations, options.life, options.seed))
    for sentence in wrong[:20]:
        print(f"  WRONG: {sentence}")
    print(f"rotation: {len(wrong)} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
