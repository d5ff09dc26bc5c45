"""Power cuts: the files as of each fsync and each acknowledgement, rebuilt and opened with the real stores.

A federation works while every write and sync of its files is recorded, with a mark for each acknowledgement.
Then the power fails, at every sync and at every mark, for each machine apart (two nodes and the hub):
  strict  only what was synced is there; every later write is gone;
  torn    of the writes that were not synced, some are there, some are not, some are half there (512 octets a
          sector), each time another choice.
Each rebuilt state must open, pass its checks, and hold everything that had been acknowledged. The same run
with `synchronous=NORMAL` must lose something, or this proves nothing.

    python -m tests.campaign.power [--quick] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import candor_hub.driver.sqlite
import candor_node.driver
from candor_hub.config import Config as HubConfig
from candor_hub.founding import open_store as open_hub_store
from candor_node import ledger
from candor_node.config import NodeConfig, load_config
from candor_node.founding import open_store
from candor_node.store import Database
from candor_proto.errors import CandorError
from candor_proto.ids import Digest
from candor_proto.segment import address
from candor_wire.codec import Envelope
from tests.campaign import shim
from tests.campaign.inside import Scene, hurry, quiet, scene
from tests.campaign.operations import case_number
from tests.campaign.shim import Control, Step, mark, read_log
from tests.federation import instead
from tests.patience import PATIENCE_SECONDS

SECTOR_OCTETS = 512
MACHINES = ("alpha", "bravo", "hub")
READY = "ready"
# Of so many cuts the quick form makes one.
QUICK = 8


# --- recording -----------------------------------------------------------------------------------------


def acknowledged(machine: str, kind: str, key: str) -> None:
    """Mark that `machine` has said that it holds something."""
    mark(json.dumps([machine, kind, key]))


async def record(folder: Path, rounds: int, seed: int) -> None:
    """Work, and have it recorded; the marks are set when the acknowledgement is seen, never before."""
    draw = random.Random(seed)
    async with scene(folder, wait_seconds=PATIENCE_SECONDS) as stage:
        _watch_mail(stage)
        mark(READY)
        alpha, bravo = stage.desks["alpha"], stage.desks["bravo"]
        for number in range(rounds):
            for desk in (alpha, bravo):
                reply = await desk.file(draw.getrandbits(40), rows=2)
                assert reply.new == 2
                filed = stage.history.operations[-1]
                for record_id in filed.what["records"]:
                    acknowledged(desk.name, "record", record_id)
            published = await alpha.publish(rotate=number % 3 == 2)
            acknowledged("alpha", "head", str(published.sequence))
            acknowledged("hub", "head", f"alpha {published.sequence}")
            view = await alpha.look_up(case_number(draw))
            acknowledged("alpha", "search", view.lookup_id)
            request = await alpha.request_record(view)
            if request:
                acknowledged("alpha", "request", request)
                while await alpha.request_state(request) != "opened":
                    await asyncio.sleep(0.02)
                acknowledged("alpha", "opened", request)
        await stage.at_rest()
        mark("end")


def _watch_mail(stage: Scene) -> None:
    """Mark what the hub says it has accepted, and what nodes say they have received."""
    for node in stage.federation.nodes:

        async def submit(envelope: Envelope, before: Any = node.hub.submit) -> int:
            count: int = await before(envelope)
            acknowledged("hub", "envelope", f"{envelope.kind.value} {envelope.envelope_id.hex()}")
            return count

        async def deliver(
            envelope: Envelope, before: Any = node.deliver, name: str = node.config.node
        ) -> None:
            await before(envelope)
            acknowledged(name, "mail", f"{envelope.kind.value} {envelope.envelope_id.hex()}")

        instead(node.hub, "submit", submit)
        instead(node, "deliver", deliver)


# --- rebuilding ----------------------------------------------------------------------------------------


@dataclass
class File:
    """What is on the platter, and what is on its way there."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Step] = field(default_factory=list)

    def sync(self) -> None:
        for step in self.pending:
            _apply(self.durable, step)
        self.pending.clear()


def _apply(octets: bytearray, step: Step) -> None:
    if step.kind == "t":
        del octets[step.offset :]
        octets.extend(bytes(max(0, step.offset - len(octets))))
        return
    octets.extend(bytes(max(0, step.offset - len(octets))))
    octets[step.offset : step.offset + len(step.octets)] = step.octets


@dataclass
class Disk:
    """One machine's files. Names are durable with a sync of their folder or of the file itself."""

    files: dict[str, File] = field(default_factory=dict)  # as the processes see them
    names: dict[str, File] = field(default_factory=dict)  # as a cut leaves them

    def take(self, step: Step) -> None:
        if step.kind == "c":
            self.files[step.path] = File()
        elif step.kind in "wt" and step.path in self.files:
            self.files[step.path].pending.append(step)
        elif step.kind == "s":
            if step.path in self.files:
                self.files[step.path].sync()
                self.names[step.path] = self.files[step.path]
            else:
                self._sync_folder(step.path)
        elif step.kind == "u":
            self.files.pop(step.path, None)
        elif step.kind == "r":
            old, new = step.path.split("\n")
            if old in self.files:
                self.files[new] = self.files.pop(old)

    def _sync_folder(self, folder: str) -> None:
        prefix = "" if folder == "." else f"{folder}/"
        for names, others in ((self.names, self.files), (self.files, self.names)):
            for path in [*names]:
                inside = path.startswith(prefix) and "/" not in path[len(prefix) :]
                if inside and path not in others:
                    if names is self.names:
                        del names[path]
                    else:
                        self.names[path] = names[path]

    def strict(self) -> dict[str, bytes]:
        """Only what was synced."""
        return {path: bytes(file.durable) for path, file in self.names.items()}

    def torn(self, draw: random.Random) -> dict[str, bytes]:
        """What was synced, and a random part of the rest."""
        found = {}
        for path in {*self.names, *self.files}:
            file = draw.choice([names[path] for names in (self.names, self.files) if path in names])
            if path not in self.names and draw.random() < 0.5:
                continue
            octets, share = bytearray(file.durable), draw.choice((0.1, 0.5, 0.9))
            for step in file.pending:
                if step.kind == "t":
                    if draw.random() < share:
                        _apply(octets, step)
                    continue
                for at in range(0, len(step.octets), SECTOR_OCTETS):
                    if draw.random() < share:
                        sector = step.octets[at : at + SECTOR_OCTETS]
                        _apply(octets, Step("w", path, step.offset + at, sector))
            found[path] = bytes(octets)
        return found


@dataclass(frozen=True)
class Cut:
    """The power fails: what each flavour leaves, and what had been acknowledged."""

    number: int
    at: str
    flavour: str
    files: dict[str, bytes]
    promised: frozenset[tuple[str, str]]


def cuts(log: Path, machine: str, every: int, seed: int) -> Iterator[Cut]:
    """The cuts of one machine, from `ready` on: at each sync and each acknowledgement (each `every`-th)."""
    disk, draw, ready = Disk(), random.Random(f"{seed} {machine}"), False
    promised: set[tuple[str, str]] = set()
    number = 0
    for step in read_log(log):
        at = ""
        if step.kind == "m":
            ready = ready or step.path == READY
            if step.path.startswith("["):
                whose, kind, key = json.loads(step.path)
                if whose != machine:
                    continue
                promised.add((kind, key))
                at = f"after {kind} was acknowledged"
        elif machine in (step.path.split("/")[0], step.path.partition("\n")[0].split("/")[0]):
            # A moment before the sync has an effect everything since the last is in danger.
            if step.kind == "s":
                at = f"before a sync of {step.path}"
                if ready and (number := number + 1) % every == 0:
                    yield Cut(number, at, "torn", disk.torn(draw), frozenset(promised))
                at = f"after a sync of {step.path}"
            disk.take(step)
        if at and ready and (number := number + 1) % every == 0:
            yield Cut(number, at, "strict", disk.strict(), frozenset(promised))
            yield Cut(number, at, "torn", disk.torn(draw), frozenset(promised))


# --- opening -------------------------------------------------------------------------------------------


def lost(cut: Cut, machine: str, site: Path, config: NodeConfig | HubConfig) -> list[str]:
    """What of the promised is not there; raises CandorError when the state does not even open."""
    for path in [*site.rglob("*.db*"), *site.rglob("segments/*/*")]:
        path.unlink(missing_ok=True)
    for name, octets in cut.files.items():
        inner = name.partition("/")[2]
        if (".db" in name and not name.endswith(("-shm", ".lock"))) or "/segments/" in name:
            path = site / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(octets)
    if isinstance(config, HubConfig):
        return _lost_by_hub(cut, site, config)
    with open_store(config) as store:
        return store.run_sync(lambda db: _lost_by_node(db, cut.promised))


def _lost_by_node(db: Database, promised: frozenset[tuple[str, str]]) -> list[str]:
    from candor_node import filings

    found = db.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        return [f"integrity_check: {found}"]
    ledger.verify(db)

    def column(sql: str) -> set[str]:
        return {str(row[0]) for row in db.execute(sql).fetchall()}

    held = {
        "record": {sealed.open().content.agency_record_id for sealed in filings.sealed_current(db)},
        "search": column("SELECT lower(hex(search_id)) FROM searches WHERE result NOT NULL"),
        "request": column("SELECT lower(hex(request_id)) FROM sent_requests"),
        "opened": column("SELECT lower(hex(request_id)) FROM sent_requests WHERE state = 'opened'"),
        "mail": column("SELECT kind || ' ' || lower(hex(envelope_id)) FROM inbox"),
    }
    sequence = db.execute("SELECT coalesce(max(sequence), 0) FROM index_state").fetchone()[0]
    held["head"] = {str(number) for number in range(sequence + 1)}
    return sorted(f"{kind} {key}" for kind, key in promised if key not in held[kind])


def _lost_by_hub(cut: Cut, site: Path, config: HubConfig) -> list[str]:
    from candor_certs.store import read_private
    from candor_hub.driver import open_engine
    from candor_hub.keys import DATABASE_KEY

    store = open_hub_store(config)
    try:
        store.check()
    finally:
        store.close()
    engine = open_engine(config.database, read_private(config.keys / DATABASE_KEY))
    try:
        with engine.connect() as connection:
            envelopes = {
                row[0]
                for row in connection.exec_driver_sql(
                    "SELECT kind || ' ' || lower(hex(envelope_id)) FROM envelopes"
                )
            }
            heads = dict(tuple(row) for row in connection.exec_driver_sql("SELECT node, sequence FROM heads"))
            named = [
                bytes(row[0])
                for row in connection.exec_driver_sql(
                    "SELECT address FROM segments WHERE released_at IS NULL"
                )
            ]
    finally:
        engine.dispose()
    missing = []
    for kind, key in sorted(cut.promised):
        if kind == "envelope" and key not in envelopes:
            missing.append(f"envelope {key}")
        if kind == "head":
            node, sequence = key.split()
            if heads.get(node, 0) < int(sequence):
                missing.append(f"head {key}")
    for name in named:
        path = config.segments / name.hex()[:2] / name.hex()
        if not path.is_file() or address(path.read_bytes()) != Digest(name):
            missing.append(f"segment {name.hex()}")
    return missing


# --- the campaign --------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What the cuts of one run showed."""

    cuts: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    cuts_with_loss: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)


def cut_all(folder: Path, every: int, seed: int) -> Outcome:
    """Every cut of every machine of a recorded run."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="candor-cut-", dir="/tmp") as temporary:
        for machine in MACHINES:
            site = Path(temporary) / machine
            shutil.copytree(folder / machine, site, ignore=shutil.ignore_patterns("*.sock"))
            config: NodeConfig | HubConfig
            if machine == "hub":
                from candor_hub.config import load_config as load_hub_config

                config = load_hub_config(site / "hub.toml")
            else:
                config = load_config(site / "node.toml")
            for cut in cuts(folder / "log", machine, every, seed):
                outcome.cuts[f"{machine} {cut.flavour}"] += 1
                try:
                    missing = lost(cut, machine, site, config)
                except CandorError as error:
                    outcome.unreadable += 1
                    missing = [f"does not open: {error}"]
                if missing:
                    outcome.lost += len(missing)
                    outcome.cuts_with_loss += 1
                    outcome.examples.append(f"{machine}, {cut.flavour}, {cut.at}: {', '.join(missing[:3])}")
    return outcome


def _inside(folder: Path, rounds: int, seed: int, synchronous: str) -> int:
    """The recorded process."""
    if synchronous != "FULL":
        for driver in (candor_node.driver, candor_hub.driver.sqlite):
            weaker = tuple(text.replace("= FULL", f"= {synchronous}") for text in driver._PRAGMAS)
            assert weaker != driver._PRAGMAS
            instead(driver, "_PRAGMAS", weaker)
    shim.attach(folder, folder / "orders", folder / "log")
    hurry()
    quiet()
    asyncio.run(record(folder, rounds, seed))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="power")
    parser.add_argument(
        "--quick", action="store_true", help=f"short, and every {QUICK}th cut only, for `make test`"
    )
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--synchronous", default="FULL", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args(arguments)
    rounds = options.rounds or (2 if options.quick else 12)
    if options.inside:
        return _inside(options.inside, rounds, options.seed, options.synchronous)
    held = True
    for synchronous in ("FULL", "NORMAL"):
        with tempfile.TemporaryDirectory(prefix="candor-power-", dir="/tmp") as temporary:
            began, folder = time.monotonic(), Path(temporary)
            Control.create(folder / "orders").close()
            words = ["--inside", str(folder), "--rounds", str(rounds), "--seed", str(options.seed)]
            status = shim.under_shim("tests.campaign.power", *words, "--synchronous", synchronous)
            if status != 0:
                print(f"power: the recorded run ended with status {status}")
                return status
            outcome = cut_all(folder, QUICK if options.quick else 1, options.seed)
        print(
            f"power: synchronous={synchronous}: {outcome.cuts.total()} cuts ({dict(outcome.cuts)}):"
            f" {outcome.cuts_with_loss} lost something acknowledged, {outcome.unreadable} did not open;"
            f" {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for example in outcome.examples[: 3 if synchronous == "NORMAL" else 20]:
            print(f"  {example}")
        if synchronous == "FULL":
            held = held and not outcome.cuts_with_loss and outcome.cuts.total() > 0
        else:
            if not outcome.cuts_with_loss:
                print("power: NORMAL lost nothing: this campaign proves nothing")
            held = held and outcome.cuts_with_loss > 0
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
