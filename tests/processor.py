"""How much of the processors groups of processes use: figures have to say what the machine was doing.

with Cores({"replicas": lambda: pids, "database": lambda: pids}) as cores: ...
cores.mean("replicas"), cores.busy
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import psutil

EVERY_SECONDS = 0.5


class Cores:
    """Looks twice a second: what a process used after the last look before its end is not counted."""

    def __init__(self, groups: Mapping[str, Callable[[], Iterable[int]]]) -> None:
        """`groups` say which processes they are of now; their children count with them."""
        self._groups = groups
        self._used: dict[str, float] = defaultdict(float)
        self._seen: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._began = self._ended = time.monotonic()
        self.busy = 0.0
        self.most_waiting = 0.0

    def __enter__(self) -> Cores:
        self._began = time.monotonic()
        self._busy_before = _busy_seconds()
        self._look()
        self._used.clear()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._ended = time.monotonic()
        self.busy = (_busy_seconds() - self._busy_before) / (self._ended - self._began)

    def mean(self, group: str) -> float:
        """Cores that the group used, in the mean."""
        return self._used[group] / max(self._ended - self._began, 0.001)

    def _run(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        self.most_waiting = max(self.most_waiting, psutil.getloadavg()[0])
        for group, pids in self._groups.items():
            for pid in list(pids()):
                for each in (pid, *_children(pid)):
                    used = _seconds(each)
                    self._used[group] += max(0.0, used - self._seen.get(each, 0.0))
                    self._seen[each] = used


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
