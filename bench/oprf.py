"""What a lookup costs on the curve: blind, evaluate and prove, verify and finalize (RFC 9497).

Run `make bench NAME=oprf` or `python -m bench.oprf`; it takes about a minute.

`server_ratio` and `asker_ratio` compare our code at a batch of 1000 with the bare curve operations that
RFC 9497 cannot do without, in a tight ctypes loop over the same library: 1.00 would mean that Python,
hashing and proof bookkeeping are free. Both sides are CPU time of one thread, taken in turns within
each round, and the ratio is the median of the rounds: other programs slow both sides alike.

`two_thread_speedup` is wall clock and needs two idle cores. Each round therefore also runs the bare
loop on one and on two threads; a round where that gains less than 1.9 (a core was taken) or more than
2.1 (the single thread was held up) says nothing about our code and is left out. If fewer than three
rounds are good, all are used and `two_thread_cores_were_idle` is false. Both samples are in the file.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.harness import machine, print_table, spread, timed, versions, write
from candor_proto import oprf
from candor_proto.group import Element
from candor_proto.oprf import Blinded, KeyPair
from candor_proto.sodium import curve

BATCHES = (1, 16, 40, 1000)
LARGE = 1000
ROUNDS = 15
BARE_CALLS = 250  # before and after each measured call, for each bare operation
SPEEDUP_ROUNDS = 40
IDLE_SPEEDUP = (1.9, 2.1)  # of the bare loop, where two cores are free throughout

# Operations of one batch of m elements that RFC 9497 §2.2 and §3.3.2 prescribe. Adding to the identity
# is not counted, nor done. A multiplication of the generator counts apart: it is three times cheaper.
SERVER_OPERATIONS = {"multiply": 2 * LARGE + 2, "multiply_base": 1, "add": LARGE - 1}
ASKER_OPERATIONS = {"multiply": 3 * LARGE + 3, "multiply_base": 1, "add": 2 * LARGE}
COUNTED = {
    "server": "multiply: key*C_i, d_i*C_i, key*M, r*M; multiply_base: r*G; add: sum of M",
    "asker": "multiply: d_i*C_i, d_i*D_i, D_i/blind_i, c*B, s*M, c*Z; multiply_base: s*G; "
    "add: sums of M and Z, t2, t3",
}


class Bare:
    """The bare operations of the loaded library, called through ctypes as directly as it goes."""

    def __init__(self, points: list[bytes]) -> None:
        library = curve().library
        # Indexing gives fresh function objects without argtypes: the cheapest call ctypes has.
        self.multiply = library["crypto_scalarmult_ristretto255"]
        self.multiply_base = library["crypto_scalarmult_ristretto255_base"]
        self.add = library["crypto_core_ristretto255_add"]
        self.points = points
        self.scalar = curve().scalar_random()

    def multiply_loop(self, points: list[bytes]) -> None:
        out, multiply, scalar = ctypes.create_string_buffer(32), self.multiply, self.scalar
        for point in points:
            multiply(out, scalar, point)

    def add_loop(self, points: list[bytes]) -> None:
        out, add, first = ctypes.create_string_buffer(32), self.add, points[0]
        for point in points:
            add(out, first, point)

    def base_loop(self, calls: int) -> None:
        out, multiply_base, scalar = ctypes.create_string_buffer(32), self.multiply_base, self.scalar
        for _ in range(calls):
            multiply_base(out, scalar)

    def seconds(self) -> dict[str, float]:
        """CPU seconds of one call of each operation, now."""
        points = self.points[:BARE_CALLS]
        loops: dict[str, Callable[[], None]] = {
            "multiply": lambda: self.multiply_loop(points),
            "add": lambda: self.add_loop(points),
            "multiply_base": lambda: self.base_loop(len(points)),
        }
        return {name: timed(loop, time.thread_time)[0] / len(points) for name, loop in loops.items()}


class Work:
    """One batch with everything the three steps need."""

    def __init__(self, key: KeyPair, size: int) -> None:
        self.key = key
        self.inputs = [b"input %d" % index for index in range(size)]
        self.asked: list[Blinded] = [oprf.blind(item) for item in self.inputs]
        self.elements: list[Element] = [item.element for item in self.asked]
        self.evaluated, self.proof = oprf.blind_evaluate(key, self.elements)

    def blind(self) -> None:
        for item in self.inputs:
            oprf.blind(item)

    def evaluate(self, pool: ThreadPoolExecutor | None = None) -> None:
        if pool is None:
            oprf.blind_evaluate(self.key, self.elements)
        else:
            oprf.blind_evaluate(self.key, self.elements, threads=2, map=pool.map)

    def finalize(self, pool: ThreadPoolExecutor | None = None) -> None:
        if pool is None:
            oprf.finalize(self.asked, self.evaluated, self.key.public, self.proof)
        else:
            oprf.finalize(self.asked, self.evaluated, self.key.public, self.proof, threads=2, map=pool.map)


def measure_ratios(key: KeyPair) -> dict[str, object]:
    """CPU time at batch 1000, one thread, over that of the bare operations the RFC prescribes."""
    work = Work(key, LARGE)
    bare = Bare([element.to_bytes() for element in work.elements])
    steps = {"server": (work.evaluate, SERVER_OPERATIONS), "asker": (work.finalize, ASKER_OPERATIONS)}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    bare_us: dict[str, list[float]] = {"multiply": [], "multiply_base": [], "add": []}
    for _ in range(ROUNDS):
        for name, (step, counts) in steps.items():
            before = bare.seconds()
            measured, _ = timed(step, time.thread_time)
            after = bare.seconds()
            needed = {operation: (before[operation] + after[operation]) / 2 for operation in counts}
            ratios[name].append(measured / sum(count * needed[op] for op, count in counts.items()))
            for operation, seconds in needed.items():
                bare_us[operation].append(seconds * 1e6)
    return {
        "server_ratio": round(statistics.median(ratios["server"]), 3),
        "asker_ratio": round(statistics.median(ratios["asker"]), 3),
        "server_ratio_spread": spread(ratios["server"]),
        "asker_ratio_spread": spread(ratios["asker"]),
        "operations": {"server": SERVER_OPERATIONS, "asker": ASKER_OPERATIONS, "counted": COUNTED},
        "bare_microseconds": {name: spread(samples, 2) for name, samples in bare_us.items()},
    }


def measure_speedup(key: KeyPair, pool: ThreadPoolExecutor) -> dict[str, object]:
    """Evaluate and prove at batch 1000: wall clock of one thread over that of two."""
    work = Work(key, LARGE)
    bare = Bare([element.to_bytes() for element in work.elements])
    halves = [bare.points[: LARGE // 2], bare.points[LARGE // 2 :]]
    pairs: list[tuple[float, float]] = []
    for _ in range(SPEEDUP_ROUNDS):
        bare_one, _ = timed(lambda: bare.multiply_loop(bare.points))
        one, _ = timed(work.evaluate)
        two, _ = timed(lambda: work.evaluate(pool))
        bare_two, _ = timed(lambda: list(pool.map(bare.multiply_loop, halves)))
        pairs.append((bare_one / bare_two, one / two))
    idle = [ours for ceiling, ours in pairs if IDLE_SPEEDUP[0] <= ceiling <= IDLE_SPEEDUP[1]]
    enough = len(idle) >= 3
    return {
        "two_thread_speedup": round(statistics.median(idle if enough else [ours for _, ours in pairs]), 3),
        "two_thread_cores_were_idle": enough,
        "two_thread_rounds_left_out": len(pairs) - len(idle) if enough else 0,
        "two_thread_speedup_spread": spread(idle if enough else [ours for _, ours in pairs]),
        "two_thread_speedup_all_rounds": spread([ours for _, ours in pairs]),
        "two_thread_bare_loop_all_rounds": spread([ceiling for ceiling, _ in pairs]),
    }


def measure_batches(key: KeyPair, pool: ThreadPoolExecutor) -> list[dict[str, object]]:
    """Microseconds an element of each step, batch size and thread count, interleaved."""
    works = {size: Work(key, size) for size in BATCHES}
    steps: dict[tuple[str, int], Callable[[Work], None]] = {
        ("blind", 1): lambda work: work.blind(),
        ("evaluate_prove", 1): lambda work: work.evaluate(),
        ("verify_finalize", 1): lambda work: work.finalize(),
        ("evaluate_prove", 2): lambda work: work.evaluate(pool),
        ("verify_finalize", 2): lambda work: work.finalize(pool),
    }
    wall: dict[tuple[int, str, int], list[float]] = {}
    cpu: dict[tuple[int, str, int], list[float]] = {}
    for round_number in range(ROUNDS):
        for size, work in works.items():
            if size == LARGE and round_number % 3:
                continue  # a large batch is its own average
            for (name, threads), step in steps.items():
                start_wall, start_cpu = time.perf_counter(), time.process_time()
                step(work)
                case = (size, name, threads)
                cpu.setdefault(case, []).append((time.process_time() - start_cpu) / size * 1e6)
                wall.setdefault(case, []).append((time.perf_counter() - start_wall) / size * 1e6)
    return [
        {
            "batch": size,
            "threads": threads,
            "step": name,
            "cpu_microseconds": spread(cpu[size, name, threads], 1),
            "wall_microseconds": spread(wall[size, name, threads], 1),
        }
        for size, name, threads in wall
    ]


def measure_single(key: KeyPair) -> dict[str, object]:
    """CPU microseconds an element of what stands outside a batch: publishing and parsing."""
    work = Work(key, 200)
    encodings = [element.to_bytes() for element in work.elements]
    samples: dict[str, list[float]] = {"evaluate_for_publishing": [], "parse_element": []}
    for _ in range(ROUNDS):
        publish, _ = timed(lambda: [oprf.evaluate(key, item) for item in work.inputs], time.thread_time)
        parse, _ = timed(lambda: [Element.parse(octets) for octets in encodings], time.thread_time)
        samples["evaluate_for_publishing"].append(publish / 200 * 1e6)
        samples["parse_element"].append(parse / 200 * 1e6)
    return {name: spread(values, 2) for name, values in samples.items()}


def median_of(rows: list[dict[str, object]], size: int, step: str, threads: int, clock: str) -> object:
    for row in rows:
        if (row["batch"], row["step"], row["threads"]) == (size, step, threads):
            figures = row[clock]
            return figures["median"] if isinstance(figures, dict) else "-"
    return "-"


def main() -> None:
    """Measure, write bench/results/oprf.json and print one table."""
    key = oprf.derive_key_pair(bytes(32), b"bench")
    result: dict[str, object] = {
        "name": "oprf",
        "machine": machine(),
        "versions": versions("candor-exchange") | {"libsodium": f"{curve().version} ({curve().origin})"},
    }
    with ThreadPoolExecutor(2) as pool:
        result |= measure_ratios(key) | measure_speedup(key, pool)
        rows = measure_batches(key, pool)
    result |= {"single_cpu_microseconds": measure_single(key), "per_element": rows}

    print("µs an element; CPU for one thread, wall clock for two\n")
    cpu, wall = "cpu_microseconds", "wall_microseconds"
    print_table(
        ("batch", "blind", "evaluate+prove", "2 threads", "verify+finalize", "2 threads"),
        [
            (
                size,
                median_of(rows, size, "blind", 1, cpu),
                median_of(rows, size, "evaluate_prove", 1, cpu),
                median_of(rows, size, "evaluate_prove", 2, wall),
                median_of(rows, size, "verify_finalize", 1, cpu),
                median_of(rows, size, "verify_finalize", 2, wall),
            )
            for size in BATCHES
        ],
    )
    idle = "" if result["two_thread_cores_were_idle"] else "   (the machine was busy: no measure of our code)"
    print(f"\nserver_ratio        {result['server_ratio']}   (target <= 1.10)")
    print(f"asker_ratio         {result['asker_ratio']}")
    print(f"two_thread_speedup  {result['two_thread_speedup']}   (target >= 1.8){idle}")
    print(f"\n{write('oprf', result)}")


if __name__ == "__main__":
    main()
