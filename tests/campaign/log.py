"""Kills and power cuts at every step of an append to the hub's log, and of a rotation.

A log of a few members is prepared, with much that waits. Then everything is appended, witnessed and shown,
and the hub dies: before each call that touches a file or the database, in the middle of each write, before
and after each commit. After a kill the files are as they were; after a power cut
  strict  only what was synced is there;
  torn    some of what was not synced is there, some not, some half.
The database is there as committed (`power` is about that). A hub starts on what is left and finishes. Then
the log must hold everything that waited exactly once, be what its database and its files say, and continue
every head that anybody was shown.

    python -m tests.campaign.log [--quick] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from candor_hub.config import Config, load_config
from candor_hub.tlog import start
from candor_hub.tlog.files import Disk
from candor_hub.tlog.fsck import fsck
from candor_hub.tlog.pages import Pages
from candor_hub.tlog.rotation import ask_for
from candor_proto.directory import MemberStatus
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import Closed, PolicyEntry, Receipts, Requests
from candor_proto.tlog.signatures import WitnessKeys
from tests.campaign.power import Disk as Platter
from tests.campaign.power import File
from tests.campaign.shim import Step
from tests.federation import instead
from tests.hub_members import FEDERATION, ShiftedClock
from tests.unit.hub.offices import Office, office, opened
from tests.unit.hub.tlog.desks import desk_over

MEMBERS = ("alpha", "bravo", "charlie")
KINDS = ("kill", "strict", "torn")
SCENES = ("append", "rotate")
# Entries that come besides what waits: of a rotation, and of commitments, which are looked for apart.
BESIDES = (PolicyEntry, Closed, Requests, Receipts)


class Died(BaseException):
    """The process is gone: nothing after this happened."""


@dataclass
class Steps:
    """Counts what is done, and dies at one of them."""

    dies_at: int = 0
    count: int = 0
    at: str = ""

    def step(self, what: str) -> bool:
        """Whether this is the step to die at."""
        self.count += 1
        if self.count == self.dies_at:
            self.at = what
            return True
        return False


class DyingDisk(Disk):
    """Does everything really, tells a model of the platter, and dies when it is time."""

    def __init__(self, folder: Path, steps: Steps) -> None:
        self._folder = folder
        self._steps = steps
        self.platter = Platter()
        for path in folder.rglob("*"):
            if path.is_file():
                held = File(bytearray(path.read_bytes()))
                self.platter.files[self._name(path)] = self.platter.names[self._name(path)] = held

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._folder))

    def _take(self, kind: str, path: str, octets: bytes = b"") -> None:
        self.platter.take(Step(kind, path, 0, octets))

    def make_folder(self, folder: Path) -> None:
        if self._steps.step(f"making {self._name(folder)}"):
            raise Died
        super().make_folder(folder)

    def write(self, path: Path, octets: bytes, *, durable: bool) -> None:
        name = self._name(path)
        if self._steps.step(f"writing {name}"):
            raise Died
        self._take("c", name)
        if self._steps.step(f"half of {name} is written"):
            half = octets[: len(octets) // 2]
            super().write(path, half, durable=False)
            self._take("w", name, half)
            raise Died
        super().write(path, octets, durable=False)
        self._take("w", name, octets)
        if durable:
            if self._steps.step(f"{name} is not synced"):
                raise Died
            self._take("s", name)

    def move(self, source: Path, target: Path) -> None:
        if self._steps.step(f"moving {self._name(target)}"):
            raise Died
        super().move(source, target)
        self._take("r", f"{self._name(source)}\n{self._name(target)}")

    def sync(self, folder: Path) -> None:
        if self._steps.step(f"syncing {self._name(folder)}"):
            raise Died
        self._take("s", self._name(folder))

    def remove(self, path: Path) -> None:
        if self._steps.step(f"removing {self._name(path)}"):
            raise Died
        super().remove(path)
        self._take("u", self._name(path))


def dying_store(store: Any, steps: Steps) -> None:
    """Every transaction that writes is a step, before its commit and behind it."""
    write = store.write

    @contextmanager
    def dying() -> Iterator[Any]:
        with write() as tx:
            yield tx
            if steps.step("before a commit"):
                raise Died
        if steps.step("behind a commit"):
            raise Died

    instead(store, "write", dying)


def watch(pages: Pages, shown: set[bytes]) -> None:
    """Note every head that could have been fetched."""
    for name in ("show", "add_cosignatures"):
        instead(pages, name, partial(_noted, getattr(pages, name), pages, shown))


def _noted(method: Callable[..., None], pages: Pages, shown: set[bytes], *arguments: Any) -> None:
    try:
        method(*arguments)
    finally:
        shown.update(
            octets for path, octets in pages._texts.items() if path.endswith(("signed", "checkpoint"))
        )


# --- the scene -----------------------------------------------------------------------------------------


@dataclass
class Prepared:
    """A hub with much to be logged; `expected` are the entries and commitments that wait, `before` how many
    entries there are, but for those of kinds that come besides.
    """

    folder: Path
    clock: ShiftedClock
    witnesses: dict[str, WitnessKeys]
    before: int
    expected: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def config(self) -> Config:
        return load_config(self.folder / "hub" / "hub.toml")


def prepare(folder: Path, scene: str) -> Prepared:
    """Make the hub; a further bundle and a level of tiles begin when what waits is appended."""
    with office(folder) as hub:
        desk = desk_over(hub)
        members = desk.join(MEMBERS)
        while desk.shard().size < 249:
            flip(hub, 0)
            desk.append()
        desk.settle()
        before = sum(not isinstance(entry, BESIDES) for entry in desk.read().entries)
        for number in range(3):
            flip(hub, number % 2)
        lookup = members[0].lookup(members)
        hub.submit(lookup, members[0])
        for member in members[1:]:
            hub.submit(member.answer(lookup), member)
        with hub.store.read() as tx:
            waiting = [(each.kind, each.entry) for each in tx.log.waiting(10_000)]
        if scene == "rotate":
            with hub.store.write() as tx:
                ask_for(tx)
        return Prepared(folder, hub.clock, desk.witnesses, before, waiting)


def flip(hub: Office, number: int) -> None:
    """Suspend a member and lift it again: four entries."""
    node = hub.directory.latest().view.directory.members[number].node
    for status in (MemberStatus.SUSPENDED, MemberStatus.ACTIVE):
        hub.directory.set_status(node, status, hub.clock.now())


@dataclass(frozen=True)
class Death:
    """How one run ended: where it died, and what is wrong afterwards."""

    at: str
    kind: str
    faults: tuple[str, ...]


def die_once(prepared: Prepared, run: Path, dies_at: int, kind: str, draw: random.Random) -> Death | None:
    """Die at that step, start again, look; None when there is no such step."""
    shutil.copytree(prepared.folder, run)
    steps, shown = Steps(dies_at), set[bytes]()
    config = load_config(run / "hub" / "hub.toml")
    disk = DyingDisk(config.log, steps)
    try:
        with opened(config, prepared.clock) as hub:
            desk = desk_over(hub, disk)
            desk.witnesses = prepared.witnesses
            watch(desk.pages, shown)
            dying_store(hub.store, steps)
            desk.settle()
    except Died:
        pass
    else:
        return None
    if kind != "kill":
        left = disk.platter.strict() if kind == "strict" else disk.platter.torn(draw)
        shutil.rmtree(config.log)
        for name, octets in left.items():
            path = config.log / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(octets)
    with opened(config, prepared.clock) as hub:
        return Death(steps.at, kind, tuple(faults(prepared, hub, shown)))


def faults(prepared: Prepared, hub: Office, shown: set[bytes]) -> Iterator[str]:
    """What is wrong with a hub that starts on what was left; it finishes first."""
    with hub.store.read() as tx:
        shards = tx.log.shards()
    desk = desk_over(hub)
    try:
        start.check_start(desk.files, shards)
        for shard in shards:
            start.tidy(desk.files, shard)
        desk.witnesses = prepared.witnesses
        desk.settle()
        reading = desk.read("signed")
        desk.read()
        report = fsck(hub.store, desk.files, FEDERATION)
    except Exception as error:
        yield f"it does not go on: {error!r}"
        return
    yield from (f"fsck: {finding.path} {finding.what}" for finding in report.findings)
    first = reading.shards[0]
    octets = [
        octets
        for octets, entry in zip(first.octets, first.entries, strict=True)
        if not isinstance(entry, BESIDES)
    ]
    besides = {kind.KIND for kind in BESIDES}
    urgent = [entry for kind, entry in prepared.expected if kind not in besides]
    if octets[prepared.before :] != urgent:
        yield "what waited is not logged once, in its order"
    logged = Counter(
        commitment
        for entry in reading.entries
        if isinstance(entry, Requests | Receipts)
        for commitment in entry.commitments
    )
    if logged != Counter(entry for kind, entry in prepared.expected if kind in (10, 11)):
        yield "the commitments that waited are not logged once each"
    by_origin = {shard.signed.checkpoint.origin: shard.octets for shard in reading.shards}
    for head in shown:
        checkpoint = parse_checkpoint(head).checkpoint
        held = by_origin.get(checkpoint.origin, [])[: checkpoint.size]
        root = CompactRange.EMPTY.extend(map(leaf_hash, held)).root()
        if len(held) < checkpoint.size or root != checkpoint.root:
            yield f"a head of {checkpoint.size} entries was shown that the log does not continue"


def deaths(folder: Path, scene: str, every: int, seed: int) -> Iterator[Death]:
    """Die at every (each `every`-th) step of a scene, in every way."""
    draw = random.Random(f"{seed} {scene}")
    prepared = prepare(folder / "prepared", scene)
    for kind in KINDS:
        dies_at = 1 + draw.randrange(every)
        while True:
            run = folder / "run"
            death = die_once(prepared, run, dies_at, kind, draw)
            shutil.rmtree(run)
            if death is None:
                break
            yield death
            dies_at += every


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="log")
    parser.add_argument("--quick", action="store_true", help="every 11th step, as in `make test`")
    parser.add_argument("--seed", type=int, default=20261127)
    options = parser.parse_args(arguments)
    held = True
    for scene in SCENES:
        began, count, wrong = time.monotonic(), Counter[str](), 0
        with tempfile.TemporaryDirectory(prefix="candor-log-", dir="/tmp") as folder:
            for death in deaths(Path(folder), scene, 11 if options.quick else 1, options.seed):
                count[death.kind] += 1
                for fault in death.faults:
                    wrong += 1
                    print(f"  {scene}, {death.kind}, {death.at}: {fault}", flush=True)
        print(
            f"log: {scene}: {count.total()} deaths ({dict(count)}), {wrong} faults;"
            f" {time.monotonic() - began:.0f} s",
            flush=True,
        )
        held = held and not wrong and count.total() > 0
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
