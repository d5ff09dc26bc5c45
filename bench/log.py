"""Entries a second that the hub's log takes, durable and signed, beside what the disk's bare fsync allows.

Run `make bench NAME=log` or, to try it, `BENCH_QUICK=1 python -m bench.log`.

Writers hand in entries, each in a transaction of its own as whoever changes a member does (they share
commits as the hub's writers do). One thread appends what waits: bundles and tiles written, synced, read
back, every hash computed, both signatures made, stored. An entry counts once a head that covers it is stored.
Beside it, in the same run and the same folder: one entry at a time from hand-in to signed head, and a plain
file that is appended to and fsynced. In the end the whole log is read and checked by a reader that believes
only keys.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.harness import machine, print_table, spread, versions, write
from candor_hub.streams import COALESCE_SECONDS
from candor_proto.tlog.entries import Rules
from tests.unit.hub.tlog.desks import LogDesk, log_desk

QUICK = bool(os.environ.get("BENCH_QUICK"))
ENTRIES = 2_000 if QUICK else 20_000
WRITERS = 32
SINGLY = 20 if QUICK else 200
FSYNCS = 100 if QUICK else 1_000
TARGET_PER_SECOND = 200


def entry(desk: LogDesk, number: int) -> tuple[int, bytes]:
    """About as long as a typical one."""
    values = {f"limit_{place}": number + place for place in range(12)}
    return Rules.KIND, Rules(desk.now, values).encode()


def hand_in(desk: LogDesk, number: int) -> None:
    with desk.hub.store.write() as tx:
        tx.log.wait([entry(desk, number)], desk.now)


def bare_fsyncs(folder: Path) -> float:
    """Appends of 300 octets to a plain file, each synced, a second."""
    with (folder / "bare").open("ab", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(FSYNCS):
            file.write(bytes(300))
            os.fsync(file.fileno())
        return FSYNCS / (time.perf_counter() - began)


def at_once(desk: LogDesk) -> tuple[float, int]:
    """Entries a second with many writers, and how many heads they took."""
    over, heads = threading.Event(), list[int]()
    before = desk.shard().size

    def sequence() -> None:
        while not over.is_set() or desk.waiting():
            time.sleep(COALESCE_SECONDS)
            while (appended := desk.appender.append(desk.now)) is not None:
                heads.append(appended.signed.checkpoint.size)

    sequencer = threading.Thread(target=sequence)
    began = time.perf_counter()
    sequencer.start()
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(lambda number: hand_in(desk, number), range(ENTRIES)))
    over.set()
    sequencer.join()
    assert desk.shard().size - before == ENTRIES
    return ENTRIES / (time.perf_counter() - began), len(heads)


def one_by_one(desk: LogDesk) -> list[float]:
    """Milliseconds from handing an entry in to a signed head over it, without waiting for company."""
    samples = []
    for number in range(SINGLY):
        began = time.perf_counter()
        hand_in(desk, number)
        assert desk.appender.append(desk.now) is not None
        samples.append(1_000 * (time.perf_counter() - began))
    return samples


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="candor-bench-log-", dir="/var/tmp") as temporary:
        folder = Path(temporary)
        with log_desk(folder) as desk:
            desk.hub.join("alpha")
            desk.settle()
            baseline = bare_fsyncs(folder)
            per_second, heads = at_once(desk)
            singly = one_by_one(desk)
            baseline_after = bare_fsyncs(folder)
            desk.witness()
            desk.pages.show(desk.shards())
            read = len(desk.read().entries)
            assert read == desk.shard().size
    latency = spread(singly)
    result = {
        "headline": {
            "entries_per_second": round(per_second),
            "target_per_second": TARGET_PER_SECOND,
            "one_at_a_time_ms": latency["median"],
            "bare_fsyncs_per_second": round((baseline + baseline_after) / 2),
        },
        "entries": ENTRIES,
        "writers": WRITERS,
        "heads": heads,
        "one_at_a_time_ms": latency,
        "bare_fsyncs_per_second": [round(baseline), round(baseline_after)],
        "read_and_checked": read,
        "machine": machine(),
        "versions": versions("cryptography", "sqlcipher3"),
    }
    path = write("log", result)
    print_table(("figure", "value"), list(result["headline"].items()))  # type: ignore[attr-defined]  # a dict
    print(f"{ENTRIES:,} entries by {WRITERS} writers took {heads} heads; figures in {path.name}")
    return 0 if per_second >= TARGET_PER_SECOND else 1


if __name__ == "__main__":
    sys.exit(main())
