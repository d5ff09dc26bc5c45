"""A bad network between nodes and hub: black holes, cuts at random moments, a cut of three hours.

A hub and two nodes with the real settings of gRPC and the real pauses; a proxy (tests/proxy.py) between them.
  black hole   every connection stays open and nothing passes; both ends must notice within 30 seconds, and
               come back within 60 once it is over; half open (only the hub's words are lost) likewise
  cuts         connections are reset at random moments of lookups, imports and disclosures; when it is over,
               the books are right: nothing lost, nothing answered or charged twice, nothing waits
  three hours  the network is cut and the clock moves on by three hours; everything must attach again by
               itself, and what was queued on both sides must arrive exactly once

    python -m tests.campaign.network [--cuts N] [--only PART] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from candor_hub.streams import Timing
from candor_node.app import Node
from candor_proto.errors import AlreadyExists, CandorError
from tests.campaign.inside import NO_LIMIT, PLENTY, hurry, quiet
from tests.campaign.operations import Desk, audit, case_number
from tests.federation import Federation, new_node, ori_for, until
from tests.history import History
from tests.hubs import RunningHub, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.proxy import Proxy

NOTICED_SECONDS = 30.0
BACK_SECONDS = 60.0
CAUGHT_UP_SECONDS = 2 * BACK_SECONDS + 30
NEVER_SECONDS = 4 * NOTICED_SECONDS
CUTS = 200
NAMES = ("alpha", "bravo")


@dataclass
class Place:
    """A hub, and nodes that reach it through a network each."""

    hub: RunningHub
    nodes: dict[str, Node]
    networks: dict[str, Proxy]
    history: History
    desks: dict[str, Desk]

    def audit(self) -> list[str]:
        """What is not right once everything has ended."""
        return audit(self.history, self.hub.config, [node.config for node in self.nodes.values()])

    async def at_rest(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until nothing is on its way."""
        async with asyncio.timeout(seconds):
            while True:
                states = [await desk.status() for desk in self.desks.values()]
                if all(one.attached and not one.inbox_waiting + one.outbox_waiting for one in states):
                    with self.hub.hub._store.read() as tx:
                        if not any(tx.mailbox.waiting_counts().values()):
                            return
                await asyncio.sleep(0.2)


@asynccontextmanager
async def place(
    folder: Path,
    names: tuple[str, ...] = NAMES,
    founding: asyncio.Lock | None = None,
    *,
    guarded: bool = False,
) -> AsyncIterator[Place]:
    """Everything runs, with the hub's real timing, and every agency has filed its first record.

    `founding` is held meanwhile: a process makes one database at a time (Alembic's context is a global).
    """
    async with AsyncExitStack() as stack:
        async with founding or asyncio.Lock():
            hub = await stack.enter_async_context(
                running_hub(folder / "hub", timing=Timing(), quota=NO_LIMIT, guarded=guarded)
            )
        nodes, networks, history, desks = {}, {}, History(), {}
        for number, name in enumerate(names, 1):
            network = networks[name] = await stack.enter_async_context(Proxy("127.0.0.1", hub.hub.ports.hub))
            config = await new_node(
                hub,
                folder / name,
                name,
                ori_for(number),
                hub_address=network.address,
                quota_elements=PLENTY,
                quota_weak_elements=PLENTY,
                quota_match_elements=PLENTY,
                quota_code_elements=PLENTY,
            )
            node = nodes[name] = Node(config, hub.clock)
            await node.start()
            stack.push_async_callback(node.stop)
            desks[name] = Desk(name, config.socket, history, wait_seconds=3.0)
        for node in nodes.values():
            async with asyncio.timeout(PATIENCE_SECONDS):
                await node.connection.first_attached.wait()
        for desk in desks.values():
            await desk.file_first()
        await Federation(hub, list(nodes.values())).settled()
        yield Place(hub, nodes, networks, history, desks)


# --- black holes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noticed:
    """Seconds until each end said that the connection was gone, and until the node was back."""

    hub: float
    node: float
    back: float


async def black_hole(
    folder: Path,
    after_seconds: float = 0.0,
    *,
    half: bool = False,
    guarded: bool = True,
    founding: asyncio.Lock | None = None,
) -> Noticed:
    """One black hole, `after_seconds` after the last octet that anybody meant to say.

    `guarded`: behind the process that an operator's hub has, which then is who notices at the hub's end.
    """
    async with place(folder, ("alpha",), founding, guarded=guarded) as scene:
        node, network = scene.nodes["alpha"], scene.networks["alpha"]
        await asyncio.sleep(after_seconds)
        began = time.monotonic()
        (network.half_open if half else network.black_hole)()
        seen: dict[str, float] = {}
        while len(seen) < 2 and time.monotonic() - began < NEVER_SECONDS:
            if not node.connection.attached:
                seen.setdefault("node", time.monotonic() - began)
            if not scene.hub.hub.streams.nodes:
                seen.setdefault("hub", time.monotonic() - began)
            await asyncio.sleep(0.05)
        network.heal()
        began = time.monotonic()
        async with asyncio.timeout(2 * BACK_SECONDS):
            while not node.connection.attached:
                await asyncio.sleep(0.05)
        return Noticed(
            seen.get("hub", NEVER_SECONDS), seen.get("node", NEVER_SECONDS), time.monotonic() - began
        )


async def black_holes(folder: Path, draw: random.Random, count: int) -> list[str]:
    """Several at once, at different moments of the heartbeat: they cost waiting, not work."""
    scenes = [(draw.uniform(0, 21), number % 3 == 2, number % 3 != 1) for number in range(count)]
    folders = [folder / f"hole-{number}" for number in range(count)]
    for inner in folders:
        inner.mkdir()
    founding = asyncio.Lock()
    found = await asyncio.gather(
        *(
            black_hole(inner, after, half=half, guarded=guarded, founding=founding)
            for inner, (after, half, guarded) in zip(folders, scenes, strict=True)
        )
    )
    wrong = []
    for (after, half, guarded), noticed in zip(scenes, found, strict=True):
        name = f"{'half open' if half else 'black hole'} {after:.1f} s after the stream fell quiet"
        name += "" if guarded else ", without the guard"
        print(f"  {name}: hub {noticed.hub:.1f} s, node {noticed.node:.1f} s, back {noticed.back:.1f} s")
        if max(noticed.hub, noticed.node) > NOTICED_SECONDS or noticed.back > BACK_SECONDS:
            wrong.append(f"{name} was noticed or healed too late")
    return wrong


# --- cuts ----------------------------------------------------------------------------------------------


async def cuts(folder: Path, draw: random.Random, count: int) -> list[str]:
    """Reset, truncate and delay at random moments while people work; then the books."""
    hurry()
    wrong: list[str] = []
    async with place(folder) as scene:
        leaving, done, unknown = asyncio.Event(), 0, 0

        async def work(draw: random.Random) -> None:
            nonlocal done, unknown
            while not leaving.is_set():
                desk = scene.desks[draw.choice(NAMES)]
                try:
                    if draw.random() < 0.3:
                        await desk.file(draw.getrandbits(40))
                    else:
                        view = await desk.look_up(case_number(draw))
                        if any(hit.owner != desk.name for hit in view.hits):
                            await desk.request_record(view)
                    done += 1
                except AlreadyExists:
                    done += 1
                except CandorError:
                    unknown += 1
                    await asyncio.sleep(0.1)

        workers = [asyncio.create_task(work(random.Random(draw.getrandbits(64)))) for _ in range(2)]
        for _ in range(count):
            await asyncio.sleep(draw.uniform(0, 0.6))
            network = scene.networks[draw.choice(NAMES)]
            network.delay_seconds = draw.choice((0.0, 0.0, 0.05))
            if draw.random() < 0.3:
                network.truncate(draw.randint(1, 6_000))
            network.cut(stay_down=draw.random() < 0.2)
            await asyncio.sleep(draw.uniform(0, 0.3))
            network.heal()
        leaving.set()
        ends = await asyncio.gather(*workers, return_exceptions=True)
        wrong += [f"a person's work failed: {end!r}" for end in ends if isinstance(end, BaseException)]
        try:
            await scene.at_rest()
        except TimeoutError:
            wrong.append("after the cuts something waits for ever")
    wrong += scene.audit()
    print(f"  {count} cuts: {done} operations acknowledged, {unknown} unknown, {len(wrong)} violations")
    return wrong


# --- three hours ---------------------------------------------------------------------------------------


async def three_hours(
    folder: Path, draw: random.Random, within_seconds: float = PATIENCE_SECONDS
) -> list[str]:
    """The network is cut, people go on, the clock moves, and everything comes back by itself."""
    wrong: list[str] = []
    async with place(folder) as scene:
        alpha, bravo = scene.desks["alpha"], scene.desks["bravo"]
        view = await alpha.look_up(case_number(draw))
        while not view.coverage.complete:  # the machine is slow
            view = await alpha.lookup(view.lookup_id)
        # Bravo goes first: what alpha asks now waits for it at the hub.
        scene.networks["bravo"].cut(stay_down=True)
        await until(lambda: not scene.nodes["bravo"].connection.attached)
        waiting = await alpha.look_up(case_number(draw))
        if waiting.overall == "NO_RECORD" or waiting.coverage.complete:
            wrong.append(f"a node that is away counts as answered: {waiting.overall}")
        # Then alpha: what it asks for and files now waits at its side.
        scene.networks["alpha"].cut(stay_down=True)
        await until(lambda: not scene.nodes["alpha"].connection.attached)
        request = await alpha.request_record(view)
        await bravo.file(draw.getrandbits(40))
        scene.hub.clock.advance(hours=3)
        for network in scene.networks.values():
            network.heal()
        began = time.monotonic()
        try:
            await scene.at_rest()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (await alpha.lookup(waiting.lookup_id)).coverage.complete:
                    await asyncio.sleep(0.1)
                while await alpha.request_state(request) != "opened":
                    await asyncio.sleep(0.1)
        except TimeoutError:
            wrong.append("three hours later not everything caught up")
        seconds = time.monotonic() - began
        if seconds > within_seconds:
            wrong.append(f"three hours later it took {seconds:.0f} s to catch up")
        await alpha.look_up(case_number(draw))
        # Alpha has its answer before bravo hears that the hub has it.
        await scene.at_rest()
    wrong += scene.audit()
    print(f"  three hours: caught up {seconds:.0f} s after the network was back, {len(wrong)} violations")
    return wrong


# --- the campaign --------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="network")
    parser.add_argument("--cuts", type=int, default=CUTS)
    parser.add_argument("--holes", type=int, default=9)
    parser.add_argument("--only", default="", choices=["", "holes", "cuts", "hours"])
    parser.add_argument("--seed", type=int, default=20261124)
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    parts: dict[str, Callable[[Path], Awaitable[list[str]]]] = {
        "holes": lambda folder: black_holes(folder, draw, options.holes),
        "hours": lambda folder: three_hours(folder, draw, CAUGHT_UP_SECONDS),
        "cuts": lambda folder: cuts(folder, draw, options.cuts),  # the last: it shortens pauses
    }
    quiet()
    wrong: list[str] = []
    for name, part in parts.items():
        if options.only in ("", name):
            with tempfile.TemporaryDirectory(prefix="candor-", dir="/tmp") as folder:
                wrong += asyncio.run(_whole(part, Path(folder)))
    for sentence in wrong[:30]:
        print(f"  WRONG: {sentence}")
    print(f"network: {len(wrong)} violations")
    return 1 if wrong else 0


async def _whole(part: Callable[[Path], Awaitable[list[str]]], folder: Path) -> list[str]:
    try:
        return await part(folder)
    except TimeoutError as error:
        return [f"it did not come to an end: {error!r}"]


if __name__ == "__main__":
    sys.exit(main())
