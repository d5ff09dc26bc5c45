"""Backups: a whole one, one of what changed, the restore and the drill, at 100,000 and 1,000,000 records."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from bench.backup_scene import add, made
from bench.harness import machine, print_table, versions, write
from candor_node import backup
from candor_node.restore import restore
from candor_node.store import Store
from tests.records import NODE, NOW, STORE_KEY

QUICK = bool(os.environ.get("BENCH_QUICK"))
SIZES = (2_000, 10_000) if QUICK else (100_000, 1_000_000)
FILED = 200  # records filed between two backups: a clerk's very busy five minutes
T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """What something took: on the clock, and of CPU time in this process and those it started."""

    seconds: float
    cpu_seconds: float


def timed(work: Callable[[], T]) -> tuple[T, Timed]:
    began, cpu = time.perf_counter(), _cpu()
    found = work()
    return found, Timed(round(time.perf_counter() - began, 2), round(_cpu() - cpu, 2))


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Commits:
    """Small transactions beside a backup, and how long the slowest took, in milliseconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.milliseconds: list[float] = []

    def __enter__(self) -> Commits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            began = time.perf_counter()
            self._store.run_sync(lambda db: db.execute("UPDATE key_destructions SET cut = cut"))
            self.milliseconds.append(1_000 * (time.perf_counter() - began))


def measure(size: int, folder: Path) -> dict[str, Any]:
    place = folder / str(size)
    place.mkdir()
    store, built = timed(lambda: made(place, size))
    first = store.run_sync(_any)
    out = place / "backup"

    def write_one(minutes: int, *, whole: bool = False) -> backup.Written:
        return backup.write(store, NODE, out, NOW + timedelta(minutes=minutes), whole=whole)

    with store:
        database = store.path.stat().st_size
        with Commits(store) as commits:
            whole, took_whole = timed(lambda: write_one(0))
        slowest = max(commits.milliseconds)
        _, took_nothing = timed(lambda: write_one(5))
        store.run_sync(lambda db: add(db, first, size, FILED))
        with Commits(store) as commits:
            changed, took_changed = timed(lambda: write_one(10))
    restored, took_restore = timed(
        lambda: restore(out, place / "new" / "node.db", STORE_KEY, NOW + timedelta(minutes=15))
    )
    if restored.records != size + FILED:
        raise RuntimeError(f"{restored.records} records came back of {size + FILED}")
    shutil.rmtree(place)
    return {
        "records": size,
        "built_seconds": built.seconds,
        "database_mib": database >> 20,
        "whole": {**vars(took_whole), "mib": whole.octets >> 20, "slowest_commit_ms": round(slowest)},
        "nothing_changed": vars(took_nothing),
        "changed": {
            **vars(took_changed),
            "kib": changed.octets >> 10,
            "pages": changed.changed,
            "slowest_commit_ms": round(max(commits.milliseconds, default=0)),
        },
        "restore": vars(took_restore),
    }


def _any(db: Any) -> Any:
    from candor_node import filings

    return filings.sealed_behind(db, b"", 1)[0].open()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="candor-backup-", dir="/tmp") as folder:
        sizes = [measure(size, Path(folder)) for size in SIZES]
    largest = sizes[-1]
    headline = {
        "records": largest["records"],
        "database_mib": largest["database_mib"],
        "whole_seconds": largest["whole"]["seconds"],
        "changed_seconds": largest["changed"]["seconds"],
        "changed_cpu_share_of_five_minutes": round(largest["changed"]["cpu_seconds"] / 300, 4),
        "restore_seconds": largest["restore"]["seconds"],
    }
    write(
        "backup",
        {
            "machine": machine(),
            "versions": versions("sqlcipher3", "cryptography"),
            "headline": headline,
            "sizes": sizes,
        },
    )
    print_table(
        (
            "records",
            "MiB",
            "whole s",
            "CPU s",
            "nothing s",
            "changed s",
            "CPU s",
            "KiB",
            "slowest commit ms",
            "restore s",
        ),
        [
            (
                each["records"],
                each["database_mib"],
                each["whole"]["seconds"],
                each["whole"]["cpu_seconds"],
                each["nothing_changed"]["seconds"],
                each["changed"]["seconds"],
                each["changed"]["cpu_seconds"],
                each["changed"]["kib"],
                each["whole"]["slowest_commit_ms"],
                each["restore"]["seconds"],
            )
            for each in sizes
        ],
    )


if __name__ == "__main__":
    main()
