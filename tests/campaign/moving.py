"""kill -9 of `candor-hub migrate-store`, as a real process, at random moments and at its every write.

    python -m tests.campaign.moving [--quick]

A hub with rows in every table is copied, and a process moves it to PostgreSQL. It is killed at a random
moment, or before its Nth write, sync or rename in the hub's folder: N = 1, 2, ... to the last. Whatever the
moment, never both places may run; where the source runs its settings name it; the move is then finished by
another process with `--again`, and everything is there once.

KILLS=100 for the random moments; `--quick`: six kills.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from candor_hub.config import load_config
from candor_hub.founding import open_store
from tests.campaign import shim
from tests.campaign.shim import Control, Mode
from tests.moves import Scene, Stand, rows_of, stopped_hub
from tests.patience import PATIENCE_SECONDS
from tests.postgres import new_database, unsafe
from tests.processes import Child, Nursery

SEED = 20261127


@dataclass
class Kills:
    """What was done and seen; `wrong` stays empty."""

    stands: Counter[Stand] = field(default_factory=Counter)
    ended_before: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.stands.values())


class Mover:
    """Moves copies of one stopped hub by processes of a nursery."""

    def __init__(self, folder: Path, nursery: Nursery, stopped: Scene) -> None:
        self._folder = folder
        self._nursery = nursery
        self._stopped = stopped
        self._copies = 0
        store = open_store(stopped.config)
        self._wanted = {
            name: sorted(map(repr, rows)) for name, rows in rows_of(store).items() if name != "meta"
        }
        store.close()

    def copied(self) -> Scene:
        self._copies += 1
        return self._stopped.copied(self._folder / f"hub-{self._copies}", new_database())

    def begin(self, scene: Scene, orders: Path | None = None, *, again: bool = False) -> Child:
        log = scene.config.data.with_suffix(".log")
        words = ["migrate-store", "--to", scene.url, "--config", str(scene.file), "--json"]
        return self._nursery.spawn(
            *("candor-hub", scene.file, log, scene.config.data, orders),
            [*words, *(["--again"] if again else [])],
        )

    async def undisturbed(self) -> tuple[float, int]:
        """Seconds of a whole move, and how many writes it takes in the folder."""
        scene = self.copied()
        with Control.create(self._folder / "orders") as control:
            control.watch()
            began = time.monotonic()
            child = self.begin(scene, self._folder / "orders")
            assert await child.end(PATIENCE_SECONDS), "the move does not end"
            seconds, steps = time.monotonic() - began, control.steps
        self.check(scene)
        return seconds, steps

    async def killed_after(self, seconds: float, kills: Kills) -> None:
        scene = self.copied()
        child = self.begin(scene)
        if await child.end(seconds):
            kills.ended_before += 1
        child.kill()
        await child.end(PATIENCE_SECONDS)
        await self.heal(scene, kills, f"after {seconds:.3f} s")

    async def killed_before(self, step: int, kills: Kills) -> None:
        scene = self.copied()
        with Control.create(self._folder / "orders") as control:
            control.arm(Mode.KILL, step)
            child = self.begin(scene, self._folder / "orders")
            assert await child.end(PATIENCE_SECONDS), "the move does not end"
            if not control.fired:
                kills.ended_before += 1
            at = control.at
        await self.heal(scene, kills, f"before write {step} ({at})")

    async def heal(self, scene: Scene, kills: Kills, moment: str) -> None:
        """Look who runs, finish the move, and compare."""
        try:
            stand = scene.stand()
            kills.stands[stand] += 1
            if stand is not Stand.TARGET:
                child = self.begin(scene, again=True)
                assert await child.end(PATIENCE_SECONDS), "--again does not end"
            self.check(scene)
        except Exception as error:
            log = scene.config.data.with_suffix(".log")
            kills.wrong.append(f"{moment}: {error!r} {log.read_text()[-300:] if log.exists() else ''}")

    def check(self, scene: Scene) -> None:
        assert scene.stand() is Stand.TARGET
        store = open_store(load_config(scene.file))
        try:
            found = rows_of(store)
        finally:
            store.close()
        for name, wanted in self._wanted.items():
            assert sorted(map(repr, found[name])) == wanted, f"{name} is not what it was"


async def killing(folder: Path, times: int, writes: int | None, kills: Kills) -> str:
    """Kill at `times` random moments, and before `writes` writes, the last among them; None: before each."""
    generator = random.Random(SEED)
    with ExitStack() as stack:
        stack.enter_context(unsafe())
        nursery = stack.enter_context(Nursery(shim.preloaded(shim.build(folder)), obeys=True))
        mover = Mover(folder, nursery, stopped_hub(folder / "stopped"))
        seconds, steps = await mover.undisturbed()
        for _ in range(times):
            await mover.killed_after(generator.uniform(0, seconds), kills)
        # Neither of the two runs in the last ones.
        some = range(steps, 0, -1) if writes is None else range(steps, steps - 2 * writes, -2)
        for step in some:
            await mover.killed_before(step, kills)
    stands = ", ".join(f"{count} times {stand.value}" for stand, count in kills.stands.items())
    return (
        f"moving: {kills.count} kills of moves of {seconds:.2f} s and {steps} writes in the folder "
        f"({kills.ended_before} came too late): {stands}; {len(kills.wrong)} wrong"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.moving")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    quick = parser.parse_args().quick
    times = 3 if quick else int(os.environ.get("KILLS", "100"))
    kills = Kills()
    with tempfile.TemporaryDirectory(prefix="candor-moving-", dir="/tmp") as name:
        try:
            print(asyncio.run(killing(Path(name), times, 3 if quick else None, kills)), flush=True)
        except shim.NoCompiler as error:
            print(f"moving: {error}")
            return 2
    for sentence in kills.wrong[:10]:
        print(f"  {sentence}")
    return 1 if kills.wrong or not kills.count else 0


if __name__ == "__main__":
    sys.exit(main())
