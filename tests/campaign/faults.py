"""A full disk, I/O errors and no memory at every write of import, publish, lookup, disclosure and batch.

For each operation, each database it writes and each kind of fault: the fault comes at the Nth step, for
N = 1, 2, ... until the operation has no Nth step (at most 500). Each time the operation must succeed or end
in a typed error, the retry must succeed once the fault is gone, and in the end the books must be right: what
was acknowledged is there, nothing is there twice, answered twice or charged twice, nothing waits for ever.

    python -m tests.campaign.faults [--quick] [--every N] [--only OPERATION]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from candor_proto.errors import AlreadyExists, CandorError, Unreachable
from tests.campaign import shim
from tests.campaign.batches import Batch
from tests.campaign.inside import Scene, hurry, quiet, scene
from tests.campaign.kill import NAMES, Stage
from tests.campaign.operations import Desk, audit, case_number
from tests.campaign.shim import Control, Mode
from tests.patience import PATIENCE_SECONDS
from tests.processes import Nursery, found_federation

MOST_STEPS = 500
# What a fault takes to heal at most; the quick form waits as long as a slow machine needs.
HEAL_SECONDS = 20.0
WATCH_SECONDS = 0.6
# How long a clerk waits for a batch before he ends the command.
CLERK_SECONDS = 4.0


@dataclass(frozen=True)
class Fault:
    """One kind of trouble. `sticky`: it stays until the cause is removed."""

    name: str
    mode: Mode
    sticky: bool


FAULTS = (
    Fault("disk full", Mode.NO_SPACE, True),
    Fault("write fails once", Mode.WRITE_ERROR, False),
    Fault("writes fail", Mode.WRITE_ERROR, True),
    Fault("sync fails once", Mode.SYNC_ERROR, False),
    Fault("syncs fail", Mode.SYNC_ERROR, True),
    Fault("short write", Mode.SHORT_WRITE, False),
    Fault("no memory", Mode.NO_MEMORY, False),
)

# --- operations ----------------------------------------------------------------------------------------
# `first` runs under the fault, `again` when it is gone, until it returns without an error.


class Operation:
    """One thing that alpha's people do, and do again when it failed."""

    def __init__(self, stage: Scene, draw: random.Random) -> None:
        self.stage = stage
        self.alpha: Desk = stage.desks["alpha"]
        self.draw = draw

    async def prepare(self) -> None:
        """What goes before it, without a fault."""

    async def first(self) -> None:
        raise NotImplementedError

    async def again(self) -> None:
        await self.first()


class Import(Operation):
    def __init__(self, stage: Scene, draw: random.Random) -> None:
        super().__init__(stage, draw)
        self.number = draw.getrandbits(40)

    async def first(self) -> None:
        await self.alpha.file(self.number, rows=3)


class Publish(Operation):
    async def prepare(self) -> None:
        # Something to publish, which after_import has not published.
        for node in self.stage.federation.nodes:
            node.publishing.at_once = False
        await self.alpha.file(self.draw.getrandbits(40), rows=2)

    async def first(self) -> None:
        await self.alpha.publish(rotate=self.draw.random() < 0.3)


class Lookup(Operation):
    def __init__(self, stage: Scene, draw: random.Random) -> None:
        super().__init__(stage, draw)
        self.lookup_id = ""

    async def first(self) -> None:
        view = await self.alpha.look_up(case_number(self.draw))
        self.lookup_id = view.lookup_id

    async def again(self) -> None:
        if not self.lookup_id:
            await self.first()
        while not (await self.alpha.lookup(self.lookup_id)).coverage.complete:
            await asyncio.sleep(0.05)


class Disclosure(Operation):
    def __init__(self, stage: Scene, draw: random.Random) -> None:
        super().__init__(stage, draw)
        self.request_id = ""

    async def prepare(self) -> None:
        self.view = await self.alpha.look_up(case_number(self.draw))
        if self.view.overall != "MATCH":  # what was broken a moment ago has not caught up yet
            raise Unreachable(f"the lookup before it is {self.view.overall}")

    async def first(self) -> None:
        self.request_id = await self.alpha.request_record(self.view)
        deadline = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < deadline and not await self._opened():
            await asyncio.sleep(0.03)

    async def again(self) -> None:
        if not self.request_id:
            try:
                self.request_id = await self.alpha.request_record(self.view)
            except AlreadyExists:
                return  # it was stored, and its reply was lost; the books say whether it was opened
        while not await self._opened():
            await asyncio.sleep(0.05)

    async def _opened(self) -> bool:
        return await self.alpha.request_state(self.request_id) == "opened"


class BatchFile(Operation):
    """The command, which its clerk ends after a while, and runs again until the file is there."""

    def __init__(self, stage: Scene, draw: random.Random) -> None:
        super().__init__(stage, draw)
        (config,) = (config for config in stage.nodes if config.node == self.alpha.name)
        folder = config.database_file.parent.parent
        self.batch = Batch(self.alpha.name, folder / "node.toml", folder, draw, stage.history)

    async def first(self) -> None:
        await self.batch.run(CLERK_SECONDS)

    async def again(self) -> None:
        await self.batch.run()


OPERATIONS: dict[str, tuple[type[Operation], tuple[str, ...]]] = {
    "import": (Import, ("alpha/data/", "hub/")),
    "publish": (Publish, ("alpha/data/", "hub/")),
    "lookup": (Lookup, ("alpha/data/", "bravo/data/", "hub/")),
    "disclosure": (Disclosure, ("alpha/data/", "bravo/data/", "hub/")),
    "batch": (BatchFile, ("alpha/data/", "bravo/data/", "hub/")),
}
# What `--quick` is content with: the asker's, the owner's and the hub's side once each.
QUICK = (("import", "alpha/data/"), ("publish", "hub/"), ("lookup", "bravo/data/"))


# --- one fault -----------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What happened."""

    faults: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_heal_seconds: float = 0.0


async def until_done(what: Callable[[], Awaitable[None]]) -> str:
    """Do it until it succeeds; the last trouble when that takes too long, or empty."""
    last = ""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await what()
                except CandorError as error:
                    last = str(error)
                    await asyncio.sleep(0.05)
                else:
                    return ""
    except TimeoutError:
        return last or "no end"
    except AssertionError as error:
        return str(error)


async def suffer(
    operation: Operation, control: Control, fault: Fault, nth: int, only: str, tally: Tally
) -> bool:
    """Run one operation with one fault, then again without; whether the fault came."""
    where = f"{type(operation).__name__.lower()}, {fault.name} at step {nth} below {only}"
    if trouble := await until_done(operation.prepare):
        tally.wrong.append(f"before {where}: {trouble}")
        return True
    control.arm(fault.mode, nth, sticky=fault.sticky, only=only)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await operation.first()
        end = "succeeded"
    except CandorError as error:
        end = error.code
    except TimeoutError:
        end = "no end"
    except AssertionError as error:
        end = f"untyped: {error}"
    fired, at = control.fired, control.at
    control.disarm()
    if not fired:
        return False
    tally.faults += 1
    tally.ends[end if not end.startswith("untyped") else "untyped"] += 1
    if end == "no end" or end.startswith("untyped"):
        tally.wrong.append(f"{where} ({at}): {end}")
    began = time.monotonic()
    if trouble := await until_done(operation.again):
        tally.wrong.append(f"{where} ({at}): did not heal in {PATIENCE_SECONDS:.0f} s: {trouble}")
    tally.slowest_heal_seconds = max(tally.slowest_heal_seconds, time.monotonic() - began)
    return True


def numbers(quick: bool, every: int, fault: Fault, draw: random.Random) -> list[int]:
    """At which steps: all; of the thousands of allocations, and when it must be quick, a sample."""
    if fault.mode is Mode.NO_MEMORY:
        first, others = (1, 1) if quick else (3, 120 // every)
        return sorted({*range(1, first + 1), *(draw.randint(1, 1_500) for _ in range(others))})
    return [draw.randint(2, 13)] if quick else list(range(1, MOST_STEPS + 1, every))


async def sweep(
    folder: Path, control: Control, name: str, only: str, faults: tuple[Fault, ...], how: argparse.Namespace
) -> Tally:
    """All faults of one operation in one place, and the books at the end."""
    kind, _ = OPERATIONS[name]
    draw, tally = random.Random(f"{how.seed} {name} {only}"), Tally()
    control.disarm()
    async with scene(folder, wait_seconds=WATCH_SECONDS) as stage:
        for fault in faults:
            misses = 0
            for nth in numbers(how.quick, how.every, fault, draw):
                came = await suffer(kind(stage, draw), control, fault, nth, only, tally)
                misses = 0 if came else misses + 1
                if misses == 3 and fault.mode is not Mode.NO_MEMORY:
                    break  # the operation has no such step any more
        try:
            await stage.at_rest()
        except TimeoutError as error:
            tally.wrong.append(f"{name} below {only}: {error}")
        history, hub, nodes = stage.history, stage.hub, stage.nodes
    found = audit(history, hub, nodes)
    tally.wrong.extend(f"{name} below {only}: {sentence}" for sentence in found)
    return tally


# --- processes of their own ----------------------------------------------------------------------------


async def processes(folder: Path, library: Path, times: int, seed: int) -> Tally:
    """The disks of real hub and node processes fail for a while, below people who work."""
    tally, draw = Tally(), random.Random(seed)
    founded = await found_federation(folder, NAMES)
    with Nursery(shim.preloaded(library), obeys=True) as nursery:
        stage = Stage(folder, founded, nursery, draw)

        async def trouble() -> None:
            name = draw.choice(["hub", *NAMES])
            fault = draw.choice(FAULTS)
            steps = 3_000 if fault.mode is Mode.NO_MEMORY else 40
            orders = stage.orders[name]
            orders.arm(fault.mode, draw.randint(1, steps), sticky=fault.sticky)
            ended = await stage.children[name].end(draw.uniform(0.3, 2.0))
            tally.faults += bool(orders.fired)
            orders.disarm()
            if ended:
                tally.ends["the process ended"] += 1
                stage.start(name)
            began = time.monotonic()
            await stage.ready(name)
            tally.slowest_heal_seconds = max(tally.slowest_heal_seconds, time.monotonic() - began)

        try:
            await stage.round(trouble, times, 3, 0)
        except TimeoutError as error:
            tally.wrong.append(str(error))
        tally.wrong += stage.tally.wrong
        tally.ends += Counter(acknowledged=stage.tally.done.total(), unknown=stage.tally.unknown.total())
    return tally


# --- the campaign --------------------------------------------------------------------------------------


async def run(folder: Path, how: argparse.Namespace) -> int:
    shim.attach(folder, folder / "orders")
    hurry()
    quiet(errors=how.log)
    whole = Tally()
    with Control.open(folder / "orders") as control:
        for name, (_, places) in OPERATIONS.items():
            if how.only and name != how.only:
                continue
            for place in places:
                if how.quick and (name, place) not in QUICK:
                    continue
                began = time.monotonic()
                faults: tuple[Fault, ...] = FAULTS
                if place != places[0]:  # allocations are not told apart by place
                    faults = tuple(fault for fault in FAULTS if fault.mode is not Mode.NO_MEMORY)
                number = f"{name}-{place.partition('/')[0]}"
                inner = folder / number[:12]
                inner.mkdir()
                relative = f"{inner.name}/{place}"
                tally = await sweep(inner, control, name, relative, faults, how)
                if not how.quick and tally.slowest_heal_seconds > HEAL_SECONDS:
                    tally.wrong.append(f"a fault took {tally.slowest_heal_seconds:.1f} s to heal")
                whole.faults += tally.faults
                whole.ends += tally.ends
                whole.wrong += tally.wrong
                print(
                    f"  {number:18} {tally.faults:5} faults  {dict(tally.ends)}"
                    f"  slowest heal {tally.slowest_heal_seconds:.1f} s  {time.monotonic() - began:.0f} s",
                    flush=True,
                )
                for sentence in tally.wrong[:20]:
                    print(f"    WRONG: {sentence}", flush=True)
    print(f"faults: {whole.faults} faults, {dict(whole.ends)}, {len(whole.wrong)} violations")
    return 1 if whole.wrong or not whole.faults else 0


def outside(seed: int, times: int = 150) -> int:
    """The part with processes of their own."""
    with tempfile.TemporaryDirectory(prefix="candor-", dir="/tmp") as folder:
        tally = asyncio.run(processes(Path(folder), shim.build(Path(folder)), times, seed))
    print(
        f"faults, real processes: {tally.faults} faults came, {dict(tally.ends)},"
        f" slowest heal {tally.slowest_heal_seconds:.1f} s, {len(tally.wrong)} violations"
    )
    for sentence in tally.wrong[:20]:
        print(f"  WRONG: {sentence}")
    return 1 if tally.wrong else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faults")
    parser.add_argument("--quick", action="store_true", help="a sample of the steps, for `make test`")
    parser.add_argument("--only", default="", choices=["", *OPERATIONS], help="one operation")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth step")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--log", action="store_true", help="show what was logged as an error")
    options = parser.parse_args(arguments)
    if not shim.is_preloaded():
        return shim.under_shim(
            "tests.campaign.faults", *(arguments if arguments is not None else sys.argv[1:])
        )
    with tempfile.TemporaryDirectory(prefix="candor-", dir="/tmp") as folder:
        Control.create(Path(folder) / "orders").close()
        return asyncio.run(run(Path(folder), options))


if __name__ == "__main__":
    sys.exit(main())
