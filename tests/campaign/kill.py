"""kill -9 of hub and nodes at random points of import, publish, lookup, batch and disclosure.

A hub and three nodes run as processes of their own over mutual TLS. People at all nodes work without a pause,
and one process after another is killed: before the Nth write, sync or rename of its files, for a random N, or
after a random time. It is started again at once. Every hundred kills everything comes to rest and is ended,
and the books are held against what people were told: all that was acknowledged is there, once, answered once,
charged once; the databases are whole and the ledgers verify.

    KILLS=1000 [BATCH=0] python -m tests.campaign.kill [--kills N] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from candor_proto.errors import AlreadyExists, CandorError
from candor_wire.v1 import local_pb2 as pb
from tests.campaign import shim
from tests.campaign.batches import Batch
from tests.campaign.operations import Desk, audit, case_number
from tests.campaign.plants import PLANTS
from tests.campaign.shim import Control, Mode, NoCompiler
from tests.history import History
from tests.patience import PATIENCE_SECONDS
from tests.processes import Child, Founded, Nursery, found_federation

KILLS = 1_000
PLANTED_KILLS, BETWEEN_PLANTED_AUDITS = 60, 20
BETWEEN_AUDITS = 100
NAMES = ("alpha", "bravo", "charlie")
MOST_STEPS = 80
MOST_SECONDS = 0.5


@dataclass
class Tally:
    """What was killed, and during what."""

    kills: int = 0
    by_victim: Counter[str] = field(default_factory=Counter)
    by_point: Counter[str] = field(default_factory=Counter)
    during: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Stage:
    """The processes, and the people who work with them."""

    def __init__(self, folder: Path, founded: Founded, nursery: Nursery, draw: random.Random) -> None:
        self.folder = folder
        self.founded = founded
        self.nursery = nursery
        self.draw = draw
        self.history = History()
        self.tally = Tally()
        self.children: dict[str, Child] = {}
        self.orders: dict[str, Control] = {}
        self.desks = {
            name: Desk(name, config.socket, self.history, wait_seconds=4.0)
            for name, config in founded.nodes.items()
        }
        self.busy: Counter[str] = Counter()
        self.leaving = False
        self.has_batch = os.environ.get("BATCH") != "0"

    # --- processes ---------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        page = self.folder / f"{name}.orders"
        if self.nursery.obeys and name not in self.orders:
            self.orders[name] = Control.create(page)
        kind = "hub" if name == "hub" else "node"
        file = self.founded.hub_file if name == "hub" else self.founded.node_files[name]
        orders = page if self.nursery.obeys else None
        log = self.folder / f"{name}.log"
        self.children[name] = self.nursery.spawn(kind, file, log, file.parent.resolve(), orders)

    async def ready(self, name: str) -> None:
        """Wait until a process answers; raises TimeoutError with the end of its log."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await self._answers(name):
                    if self.children[name].ended:
                        raise TimeoutError
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log = (self.folder / f"{name}.log").read_text(errors="replace")[-2_000:]
            raise TimeoutError(f"{name} did not come back in {PATIENCE_SECONDS:.0f} s: {log}") from None

    async def _answers(self, name: str) -> bool:
        if name == "hub":
            host, _, port = self.founded.hub.address.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError:
                return False
            return True
        try:
            return bool((await self.desks[name].status()).attached)
        except CandorError:
            return False

    async def kill(self) -> None:
        """One kill, somewhere, and the process is back."""
        name = self.draw.choice(["hub", *NAMES])
        child, orders = self.children[name], self.orders.get(name)
        seconds = self.draw.uniform(0, MOST_SECONDS)
        if orders is not None and self.draw.random() < 0.7:
            orders.arm(Mode.KILL, self.draw.randint(1, MOST_STEPS))
            seconds *= 6  # as long as it may take to get there
        await child.end(seconds)
        point = "after a random time"
        during = +self.busy
        child.kill()
        if not await child.end(PATIENCE_SECONDS):
            raise TimeoutError(f"{name} survived SIGKILL")
        child.close()
        if orders is not None:
            if orders.fired:
                point = f"before {_kind(orders.at)}"
            orders.disarm()
        self.tally.kills += 1
        self.tally.by_victim[name] += 1
        self.tally.by_point[point] += 1
        self.tally.during.update(during.keys() or ["nothing"])
        self.start(name)
        await self.ready(name)

    # --- people ------------------------------------------------------------------------------------------

    async def work(self, draw: random.Random) -> None:
        """One person: one thing after another until the doors close."""
        todo: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        while not self.leaving:
            if todo:
                name, what = todo.pop()
            else:
                name, what = self._next(draw, todo)
            self.busy[name] += 1
            try:
                await what()
                self.tally.done[name] += 1
            except AlreadyExists:
                self.tally.done[name] += 1  # it had been stored, and the reply was lost
            except CandorError:
                self.tally.unknown[name] += 1
                if name in ("import", "disclosure", "batch"):
                    todo.append((name, what))  # under the same id
                await asyncio.sleep(0.1)
            finally:
                self.busy[name] -= 1
        # What was begun is carried through: the next round is not to meet it half done.
        for _, what in todo:
            await self._insist(what)

    async def _insist(self, what: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await what()
                except AlreadyExists:
                    return
                except CandorError:
                    await asyncio.sleep(0.1)
                else:
                    return

    def _next(
        self, draw: random.Random, todo: list[tuple[str, Callable[[], Awaitable[None]]]]
    ) -> tuple[str, Callable[[], Awaitable[None]]]:
        desk = self.desks[draw.choice(NAMES)]
        weights = {"import": 3, "publish": 3, "lookup": 5, "batch": 2 if self.has_batch else 0}
        name = draw.choices(list(weights), list(weights.values()))[0]
        if name == "batch":
            file = self.founded.node_files[desk.name]
            return name, Batch(desk.name, file, self.folder, draw, self.history).run
        if name == "import":
            number = draw.getrandbits(40)

            async def file_it() -> None:
                await desk.file(number)

            return name, file_it
        if name == "publish":
            rotate = draw.random() < 0.3

            async def publish() -> None:
                await desk.publish(rotate=rotate)

            return name, publish

        async def look_up() -> None:
            view = await desk.look_up(case_number(draw))
            if view.overall == "MATCH" and any(hit.owner != desk.name for hit in view.hits):
                todo.append(("disclosure", lambda: self._request(desk, view)))

        return name, look_up

    async def _request(self, desk: Desk, view: pb.LookupView) -> None:
        await desk.request_record(view)

    # --- rest --------------------------------------------------------------------------------------------

    async def at_rest(self) -> None:
        """Wait until nothing is on its way; raises TimeoutError with what still waits."""
        waiting: dict[str, object] = {}
        quiet = 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while quiet < 12:  # longer than a publication waits for its next attempt
            waiting = {}
            for name, desk in self.desks.items():
                try:
                    status = await desk.status()
                except CandorError as error:
                    waiting[name] = error.code
                    continue
                if status.inbox_waiting or status.outbox_waiting or not status.attached:
                    waiting[name] = f"{status.inbox_waiting} in, {status.outbox_waiting} out"
            quiet = 0 if waiting else quiet + 1
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {PATIENCE_SECONDS:.0f} s there still waits: {waiting}")
            await asyncio.sleep(0.15)

    async def end_all(self) -> None:
        for name in (*NAMES, "hub"):
            child = self.children.pop(name)
            child.kill(15)
            if not await child.end(PATIENCE_SECONDS):
                raise TimeoutError(f"{name} does not end on SIGTERM")
            child.close()

    async def round(
        self, trouble: Callable[[], Awaitable[None]], times: int, people: int, number: int
    ) -> None:
        """Start everything, work while there is trouble, come to rest, end everything, audit."""
        for name in ("hub", *NAMES):
            self.start(name)
            await self.ready(name)
        if number == 0:
            for desk in self.desks.values():
                await self._insist(lambda desk=desk: desk.file_first())  # type: ignore[misc]
            await self._insist(self._everybody_is_found)
        self.leaving = False
        draws = [random.Random(self.draw.getrandbits(64)) for _ in range(people)]
        workers = [asyncio.create_task(self.work(draw)) for draw in draws]
        try:
            for _ in range(times):
                await trouble()
        finally:
            self.leaving = True
            ends = await asyncio.gather(*workers, return_exceptions=True)
        self.tally.wrong += [
            f"a person's work failed: {end!r}" for end in ends if isinstance(end, BaseException)
        ]
        await self.at_rest()
        await self.end_all()
        self.tally.wrong += audit(self.history, self.founded.hub, list(self.founded.nodes.values()))

    async def _everybody_is_found(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            draw = random.Random(1)
            while len((await self.desks["alpha"].look_up(case_number(draw))).hits) < len(NAMES):
                await asyncio.sleep(0.2)


def _kind(at: str) -> str:
    """Of "write alpha/data/node.db-wal" what counts: the step and the file's kind."""
    step, _, path = at.partition(" ")
    name = path.rpartition("/")[2]
    kind = next(
        (end for end in (".db-wal", ".db-shm", ".db-journal", ".db", ".lock") if name.endswith(end)), ""
    )
    return f"{step} {kind or ('folder' if '.' not in name and len(name) < 60 else 'segment')}"


def _show_failures(log: Path, most: int = 3) -> None:
    """The last tracebacks of a process's log that are not about the database being away."""
    told = log.read_text(errors="replace").split("Traceback (most recent call last)")[1:]
    ends = [part.split("\n20")[0][-1_500:] for part in told]
    for part in [part for part in ends if "StoreUnusable" not in part and "Unreachable" not in part][-most:]:
        print(f"  {log.name}: ...{part}")


async def campaign(
    folder: Path, kills: int, seed: int, people: int, library: Path | None, planted: str = ""
) -> int:
    """So many kills; the number of violations."""
    began, draw = time.monotonic(), random.Random(seed)
    founded = await found_federation(folder, NAMES)
    environment = shim.preloaded(library) if library else dict(os.environ)
    with Nursery(environment, obeys=library is not None, planted=planted) as nursery:
        stage = Stage(folder, founded, nursery, draw)
        tally = stage.tally
        number, most = 0, BETWEEN_PLANTED_AUDITS if planted else BETWEEN_AUDITS
        while tally.kills < kills and not tally.wrong:
            try:
                await stage.round(stage.kill, min(most, kills - tally.kills), people, number)
            except TimeoutError as error:
                tally.wrong.append(str(error))
            number += 1
            print(
                f"  {tally.kills} kills, {sum(tally.done.values())} operations acknowledged,"
                f" {len(tally.wrong)} violations, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    for what, counts in (
        ("victims", tally.by_victim),
        ("points", tally.by_point),
        ("during", tally.during),
        ("acknowledged", tally.done),
        ("of unknown outcome", tally.unknown),
    ):
        print(f"  {what}: {', '.join(f'{name} {count}' for name, count in counts.most_common(12))}")
    for sentence in tally.wrong[:30]:
        print(f"  WRONG: {sentence}")
    if tally.wrong:
        for name in ("hub", *NAMES):
            _show_failures(folder / f"{name}.log")
    if not stage.has_batch:
        print("  no batch was killed: BATCH=0 left it out")
    print(f"kill: {tally.kills} kills, {len(tally.wrong)} violations, seed {seed}")
    return len(tally.wrong)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="kill")
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS") or KILLS))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 20261124))
    parser.add_argument("--planted", help=f"only this planted fault, or '' for none: {', '.join(PLANTS)}")
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="candor-kill-", dir="/tmp") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        try:
            library = shim.build(folder)
        except NoCompiler as error:
            print(f"  {error}; kills come after random times only")
            library = None
        return _run(folder, library, options)


def _run(folder: Path, library: Path | None, options: argparse.Namespace) -> int:
    """First the planted faults, each of which must be found; then the campaign itself."""
    for name in PLANTS if options.planted is None else filter(None, [options.planted]):
        inner = folder / name
        inner.mkdir()
        print(f"  planted: {name}", flush=True)
        if not asyncio.run(campaign(inner, PLANTED_KILLS, options.seed, options.people, library, name)):
            print(f"kill: the planted fault {name} was not found; these kills prove nothing")
            return 1
    if options.planted:
        return 0
    inner = folder / "kill"
    inner.mkdir()
    return 1 if asyncio.run(campaign(inner, options.kills, options.seed, options.people, library)) else 0


if __name__ == "__main__":
    sys.exit(main())
