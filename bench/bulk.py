"""Many elements at once: both sides' CPU with a proof, beside OpenMined PSI without one.

Run `make bench NAME=bulk` (a minute) or, to try it, `BENCH_QUICK=1 python -m bench.bulk`.

- `candor_over_openmined`: blind + evaluate and prove + verify, unblind and finalize, an element, over
  request + server's answer + intersection, an item, of OpenMined PSI (its own environment). CPU time of one
  thread, in turns, median of the rounds' ratios. PSI proves nothing about the key that the server used.
- `utilisation`: CPU over twice the wall-clock time with two threads, as a node runs bulk work, while an event
  loop stays free in a third. Only an idle machine can show it; `cores_were_idle` says whether a bare loop got
  its two cores in the same round.
- `voprf`: the optional accelerator (wheel `voprf`, Rust) holds the interpreter's lock for a whole batch, so
  it runs in two worker processes (spawned: nothing may be forked once gRPC has started). Its octets are
  compared with ours: same key, same elements, same outputs, and its proof verifies with our code.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from bench.environments import run_in
from bench.harness import machine, print_table, spread, timed, versions, write
from candor_proto import oprf
from candor_proto.group import Element
from candor_proto.oprf import Proof
from candor_proto.sodium import curve

QUICK = bool(os.environ.get("BENCH_QUICK"))
ELEMENTS, ROUNDS = (200, 2) if QUICK else (1_000, 9)
SEED, INFO = bytes(range(32)), b"bench bulk"
KEY = oprf.derive_key_pair(SEED, INFO)
IDLE_SHARE = 0.93
TICK_SECONDS = 0.005


def inputs(count: int, start: int = 0) -> list[bytes]:
    return [b"bulk element %d" % number for number in range(start, start + count)]


class Work:
    """One batch of ours, steps in order."""

    def __init__(self, count: int) -> None:
        self.items = inputs(count)
        self.asked = [oprf.blind(item) for item in self.items]
        self.elements = [item.element for item in self.asked]
        self.evaluated, self.proof = oprf.blind_evaluate(KEY, self.elements)

    def blind(self) -> None:
        for item in self.items:
            oprf.blind(item)

    def evaluate(self, pool: ThreadPoolExecutor | None = None) -> None:
        if pool is None:
            oprf.blind_evaluate(KEY, self.elements)
        else:
            oprf.blind_evaluate(KEY, self.elements, threads=2, map=pool.map)

    def finalize(self, pool: ThreadPoolExecutor | None = None) -> None:
        if pool is None:
            oprf.finalize(self.asked, self.evaluated, KEY.public, self.proof)
        else:
            oprf.finalize(self.asked, self.evaluated, KEY.public, self.proof, threads=2, map=pool.map)


# --- beside OpenMined PSI -----------------------------------------------------------------------------


def beside_openmined(work: Work) -> dict[str, Any]:
    """CPU microseconds an element of each step, ours and theirs, in turns."""
    items = [item.decode() for item in work.items]
    asked = json.dumps({"server": items, "client": items})
    steps: dict[str, Callable[[], None]] = {
        "blind": work.blind,
        "evaluate_and_prove": work.evaluate,
        "verify_and_finalize": work.finalize,
    }
    samples: dict[str, list[float]] = {}
    ratios, version = [], ""
    for _ in range(ROUNDS):
        peer = run_in("psi", "psi_peer.py", input_text=asked)
        version = peer["version"]
        if peer["octets"]["common"] != len(items):
            raise RuntimeError("OpenMined PSI did not find the items that both sides hold")
        theirs = {
            f"openmined_{name}": peer["seconds"][name][0] for name in ("request", "process", "intersection")
        }
        ours = {name: timed(step, time.thread_time)[0] for name, step in steps.items()}
        ratios.append(sum(ours.values()) / sum(theirs.values()))
        totals = {"candor_both_sides": sum(ours.values()), "openmined_both_sides": sum(theirs.values())}
        for name, seconds in {**ours, **theirs, **totals}.items():
            samples.setdefault(name, []).append(seconds / len(items) * 1e6)
    return {
        "candor_over_openmined": round(statistics.median(ratios), 3),
        "candor_over_openmined_spread": spread(ratios),
        "cpu_microseconds_per_element": {name: spread(values, 1) for name, values in samples.items()},
        "openmined_version": version,
    }


# --- two cores ----------------------------------------------------------------------------------------


def _bare(_: int) -> None:
    scalar, point = KEY.secret.to_bytes(), KEY.public.to_bytes()
    for _number in range(ELEMENTS):
        curve().scalarmult(scalar, point)


async def _beside_a_loop(work: Callable[[], None]) -> tuple[float, float, float]:
    """Wall and CPU seconds of `work` in a thread, and how late at most the event loop was meanwhile."""
    late, done = 0.0, False

    async def watch() -> None:
        nonlocal late
        while not done:
            at = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            late = max(late, time.perf_counter() - at - TICK_SECONDS)

    watcher = asyncio.create_task(watch())
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.to_thread(work)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done = True
    await watcher
    return wall, cpu, late


def two_threads(work: Work) -> dict[str, Any]:
    """Utilisation of two cores, off the event loop; of a bare loop in the same round as well."""
    both, bare, late, idle = [], [], [], []
    with ThreadPoolExecutor(2) as pool:

        def bare_loop() -> None:
            list(pool.map(_bare, range(2)))

        def batch() -> None:
            work.evaluate(pool)
            work.finalize(pool)

        for _ in range(ROUNDS):
            wall, cpu, _ = asyncio.run(_beside_a_loop(bare_loop))
            bare.append(cpu / wall / 2)
            wall, cpu, waited = asyncio.run(_beside_a_loop(batch))
            both.append(cpu / wall / 2)
            late.append(waited * 1e3)
            if bare[-1] >= IDLE_SHARE:
                idle.append(both[-1])
    good = idle if len(idle) >= 2 else both
    return {
        "utilisation": round(statistics.median(good), 3),
        "cores_were_idle": len(idle) >= 2,
        "utilisation_all_rounds": spread(both),
        "utilisation_bare_loop": spread(bare),
        "event_loop_late_milliseconds": spread(late, 1),
    }


# --- the accelerator ----------------------------------------------------------------------------------


def accelerated(count: int, start: int) -> dict[str, float]:
    """A whole batch with the accelerator, in this process: CPU seconds of the steps."""
    from voprf import ristretto

    key, items = ristretto.Evaluator.from_seed(SEED, INFO), inputs(count, start)
    cpu: dict[str, float] = {}
    cpu["blind"], pairs = timed(lambda: [ristretto.Client.blind(item) for item in items], time.process_time)
    clients, sent = zip(*pairs, strict=True)
    cpu["evaluate_and_prove"], reply = timed(lambda: key.evaluate_batch(list(sent)), time.process_time)
    cpu["verify_and_finalize"], outputs = timed(
        lambda: ristretto.Client.finalize_batch(clients, reply, key.public_key), time.process_time
    )
    if outputs[0] != oprf.evaluate(KEY, items[0]):
        raise RuntimeError("the accelerator computes other outputs than libsodium")
    return cpu


def plain(count: int, start: int) -> dict[str, float]:
    """The same with our code."""
    items = inputs(count, start)
    cpu: dict[str, float] = {}
    cpu["blind"], asked = timed(lambda: [oprf.blind(item) for item in items], time.process_time)
    elements = [item.element for item in asked]
    cpu["evaluate_and_prove"], reply = timed(lambda: oprf.blind_evaluate(KEY, elements), time.process_time)
    cpu["verify_and_finalize"], _ = timed(
        lambda: oprf.finalize(asked, reply[0], KEY.public, reply[1]), time.process_time
    )
    return cpu


def check_same_octets(work: Work) -> None:
    """The accelerator's key, elements and outputs are ours, and its proof verifies; raises RuntimeError."""
    from voprf import ristretto

    key = ristretto.Evaluator.from_seed(SEED, INFO)
    reply = key.evaluate_batch(
        [ristretto.BlindedInput.deserialize(element.to_bytes()) for element in work.elements]
    ).serialize()
    evaluated = [Element.parse(reply[at : at + 32]) for at in range(64, len(reply), 32)]
    outputs = oprf.finalize(work.asked, evaluated, KEY.public, Proof.parse(reply[:64]))
    same = (
        key.public_key.serialize() == KEY.public.to_bytes()
        and tuple(evaluated) == work.evaluated
        and all(key.evaluate_known_input(item) == out for item, out in zip(work.items, outputs, strict=True))
    )
    if not same:
        raise RuntimeError("the accelerator's octets are not ours")


def in_workers(
    pool: Executor, batch: Callable[[int, int], dict[str, float]]
) -> tuple[float, dict[str, float]]:
    """Wall seconds of two halves in two workers, and the CPU seconds of their steps together."""
    half = ELEMENTS // 2
    wall, done = timed(lambda: list(pool.map(batch, (half, half), (0, half))))
    return wall, {name: sum(cpu[name] for cpu in done) for name in done[0]}


def measure_accelerator(work: Work) -> dict[str, Any]:
    """libsodium and the accelerator in two spawned workers each, in turns."""
    check_same_octets(work)
    samples: dict[str, list[float]] = {}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for batch in (accelerated, plain):
            in_workers(pool, batch)  # both workers have loaded both libraries
        for _ in range(ROUNDS):
            for name, batch in (("libsodium", plain), ("voprf", accelerated)):
                wall, cpu = in_workers(pool, batch)
                samples.setdefault(f"{name}_wall", []).append(wall / ELEMENTS * 1e6)
                samples.setdefault(f"{name}_cpu", []).append(sum(cpu.values()) / ELEMENTS * 1e6)
                for step, seconds in cpu.items():
                    samples.setdefault(f"{name}_{step}", []).append(seconds / ELEMENTS * 1e6)
    gains = [one / other for one, other in zip(samples["libsodium_cpu"], samples["voprf_cpu"], strict=True)]
    walls = [one / other for one, other in zip(samples["libsodium_wall"], samples["voprf_wall"], strict=True)]
    return {
        "voprf_speedup_cpu": round(statistics.median(gains), 3),
        "voprf_speedup_wall": round(statistics.median(walls), 3),
        "same_octets": True,
        "two_workers_microseconds_per_element": {name: spread(values, 1) for name, values in samples.items()},
    }


def main() -> None:
    """Measure, write bench/results/bulk.json and print one table."""
    work = Work(ELEMENTS)
    figures = beside_openmined(work) | two_threads(work) | measure_accelerator(work)
    named = (
        "candor_over_openmined",
        "utilisation",
        "cores_were_idle",
        "voprf_speedup_cpu",
        "voprf_speedup_wall",
        "same_octets",
    )
    result = {
        "name": "bulk",
        "quick": QUICK,
        "machine": machine(),
        "versions": versions("candor-exchange", "voprf")
        | {
            "libsodium": f"{curve().version} ({curve().origin})",
            "openmined-psi": figures.pop("openmined_version"),
        },
        "headline": {name: figures[name] for name in named},
        "elements": ELEMENTS,
        **figures,
    }
    rows = {**figures["cpu_microseconds_per_element"], **figures["two_workers_microseconds_per_element"]}
    print_table(
        ("µs an element", "median", "q1", "q3"),
        [(name, row["median"], row["q1"], row["q3"]) for name, row in rows.items()],
    )
    print(f"\nboth sides with proof over OpenMined PSI without: {figures['candor_over_openmined']}")
    idle = "" if figures["cores_were_idle"] else "   (the machine was busy: no measure of our code)"
    print(f"two threads use {figures['utilisation']:.0%} of two cores{idle}")
    print(f"accelerator: {figures['voprf_speedup_cpu']} times less CPU than libsodium")
    print(f"\n{write('bulk', result)}")


if __name__ == "__main__":
    main()
