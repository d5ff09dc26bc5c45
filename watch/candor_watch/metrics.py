"""A registry of our own, and what every service tells of its process.

Rules of this file:
- nothing is registered by being imported: what is not made here is not shown. The library's default registry
  tells the interpreter's build and whatever a dependency adds;
- labels come from fixed sets: members, codes, methods, versions. Never a lookup, a request, a person;
- values that are read when somebody asks are read at most every CACHE_SECONDS, so that asking costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from candor_certs.lifetime import Standing
from candor_watch.backups import Backups
from candor_watch.versions import own_version

T = TypeVar("T")
CACHE_SECONDS = 5.0
# No label has more values than this, whatever is thrown at it (members aside, of which there are 2,000).
MAX_LABELS = 64


@dataclass(frozen=True)
class Gauge:
    """One number, or one for each set of label values."""

    name: str
    help: str
    values: Mapping[tuple[str, ...], float]
    labels: tuple[str, ...] = ()

    @classmethod
    def one(cls, name: str, help_: str, value: float | None) -> Gauge:
        """None: there is nothing to tell, and the name stands without a value."""
        return cls(name, help_, {} if value is None else {(): float(value)})

    def family(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Read(Collector):
    """Shows the gauges that were set last; owned by whoever renders."""

    def __init__(self) -> None:
        self.gauges: tuple[Gauge, ...] = ()

    def collect(self) -> Iterable[Metric]:
        return [gauge.family() for gauge in self.gauges]

    def describe(self) -> Iterable[Metric]:
        # Not asked when it is registered: there is nothing to read yet.
        return []


def registry(prefix: str, *, quiet: bool) -> CollectorRegistry:
    """A registry that tells of this process its memory and start; of one that is not `quiet` also how long
    it computed and how many files it has open: on a node that would tell when somebody asked.
    """
    # When a counter was made says nothing that the start of the process does not.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's stub
    made = CollectorRegistry(auto_describe=False)
    made.register(_Process(ProcessCollector(namespace=prefix, registry=None), quiet))
    return made


_QUIET = ("resident_memory_bytes", "start_time_seconds")


class _Process(Collector):
    def __init__(self, whole: ProcessCollector, quiet: bool) -> None:
        self._whole = whole
        self._quiet = quiet

    def collect(self) -> Iterable[Metric]:
        told = self._whole.collect()
        return [each for each in told if not self._quiet or each.name.endswith(_QUIET)]

    def describe(self) -> Iterable[Metric]:
        return []


class Cached(Generic[T]):
    """The last outcome of `read`, for CACHE_SECONDS; who asks while it is read waits for the same one."""

    def __init__(self, read: Callable[[], Awaitable[T]], seconds: float = CACHE_SECONDS) -> None:
        self._read = read
        self._seconds = seconds
        self._task: asyncio.Task[T] | None = None
        self._at = -float("inf")

    async def get(self) -> T:
        """Raises what reading raises."""
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._at >= self._seconds):
            task = self._task = asyncio.ensure_future(self._timed())
        return await asyncio.shield(task)

    async def _timed(self) -> T:
        try:
            return await self._read()
        finally:
            self._at = time.monotonic()


def render(registry_: CollectorRegistry) -> bytes:
    """The exposition; a thousand members are some five thousand lines, so better in a thread."""
    return generate_latest(registry_)


def certificates(prefix: str, standings: Mapping[str, Standing]) -> Sequence[Gauge]:
    """How long each certificate has to live, of how long, and which alarm that is (0: none)."""
    labels = ("certificate",)
    return (
        Gauge(
            f"{prefix}_certificate_left_seconds",
            "Until the certificate ends; negative when it has.",
            {(name,): each.left.total_seconds() for name, each in standings.items()},
            labels,
        ),
        Gauge(
            f"{prefix}_certificate_left_ratio",
            "Share of the certificate's life that is left.",
            {(name,): each.share_left for name, each in standings.items()},
            labels,
        ),
        Gauge(
            f"{prefix}_certificate_alarm",
            "0 good, 1 notice, 2 warning, 3 urgent, 4 last, 5 ended, 6 begins in the future.",
            {(name,): float(each.level) for name, each in standings.items()},
            labels,
        ),
    )


def backups(prefix: str, state: Backups | None, now_seconds: float) -> Sequence[Gauge]:
    """Of the newest verified backup; nothing where none was made."""

    def age(moment: object) -> float | None:
        return now_seconds - moment.timestamp() if hasattr(moment, "timestamp") else None

    failing = state is not None and state.failing
    return (
        Gauge.one(
            f"{prefix}_backup_age_seconds",
            "Since the newest verified backup.",
            age(state and state.verified_at),
        ),
        Gauge.one(
            f"{prefix}_backup_interval_seconds",
            "How often backups are scheduled; 0: never.",
            state.interval.total_seconds() if state else 0.0,
        ),
        Gauge.one(f"{prefix}_backup_failing", "1 if the last backup failed.", float(failing)),
        Gauge.one(
            f"{prefix}_restore_drill_age_seconds",
            "Since restoring was tried the last time.",
            age(state and state.drilled_at),
        ),
        Gauge.one(
            f"{prefix}_restore_drill_failing",
            "1 if restoring failed then.",
            float(bool(state and state.drill_failure)),
        ),
    )


def info(prefix: str, **labels: str) -> Gauge:
    """A 1 that carries what a build and an installation are."""
    told = {"version": own_version(), **labels}
    return Gauge(f"{prefix}_info", "What this is.", {tuple(told.values()): 1.0}, tuple(told))
