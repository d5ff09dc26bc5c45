"""The node's metrics: that it works, never what came of anything.

Rules of this file (docs/leakage.md says why, docs/observability.md lists the metrics, a test compares):
- nothing moves because a lookup was asked, answered or found something, because a request or a recall came,
  or because somebody did something at the desk: whoever scrapes would learn of it to the second;
- what waits is counted once it has waited for five minutes, so that a message that is on its way is no news;
- no label names a member, a user, or anything of the protocol.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from candor_certs.lifetime import Standing, judge
from candor_node.clock import Clock
from candor_node.findings.readings import STUCK_AFTER, Queue, Readings, read
from candor_node.logs import log
from candor_node.store import Database
from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.errors import CandorError
from candor_watch import metrics
from candor_watch.backups import Backups, read_backups
from candor_watch.listener import Listener, Readiness
from candor_watch.metrics import Cached, Gauge, Read
from candor_watch.versions import own_version

if TYPE_CHECKING:
    from candor_node.app import Node

PREFIX = "candor_node"
PROGRAM = "candor-node"
READY_CACHE_SECONDS = 1.0
WRITE_SECONDS = 2.0
_REASONS = {
    "database": "The database refuses to store anything.",
    "database_slow": "The database has not stored a small thing in time.",
    "detached": "The node is not attached to the hub.",
    "log": "The federation's log is too old to be relied on.",
    "sharing": "The database went back, and nobody has confirmed it.",
}


@dataclass(frozen=True)
class Seen:
    """All that gauges are made of; `stored` is None when the database says nothing."""

    now: datetime
    attached: bool
    since: datetime
    ready: Readiness
    certificates: Mapping[str, Standing]
    backup: Backups | None
    disk_free: int
    disk_total: int
    stored: Readings | None


def gauges(seen: Seen) -> list[Gauge]:
    """Every gauge, in the order of docs/observability.md."""
    detached = 0.0 if seen.attached else (seen.now - seen.since).total_seconds()
    return [
        metrics.info(PREFIX),
        Gauge.one(f"{PREFIX}_ready", "1 if this node asks and answers.", float(seen.ready.ready)),
        Gauge(
            f"{PREFIX}_not_ready",
            "1 for each reason why it does not.",
            {(reason,): 1.0 for reason in seen.ready.reasons},
            ("reason",),
        ),
        Gauge.one(f"{PREFIX}_attached", "1 if it is attached to the hub.", float(seen.attached)),
        Gauge.one(f"{PREFIX}_detached_seconds", "Since when it is not; 0: it is.", detached),
        *metrics.certificates(PREFIX, seen.certificates),
        *metrics.backups(PREFIX, seen.backup, seen.now.timestamp()),
        Gauge.one(f"{PREFIX}_disk_free_bytes", "Free on the disk of the data folder.", seen.disk_free),
        Gauge.one(f"{PREFIX}_disk_bytes", "Size of that disk.", seen.disk_total),
        *(_stored(seen, seen.stored) if seen.stored else ()),
    ]


def _stored(seen: Seen, stored: Readings) -> list[Gauge]:
    def age(moment: datetime | None) -> float | None:
        return None if moment is None else (seen.now - moment).total_seconds()

    stale = sum(issued is None or seen.now - issued > MAX_HEAD_AGE for issued in stored.others.values())
    return [
        Gauge.one(
            f"{PREFIX}_log_witnessed_age_seconds",
            "Of the newest head taken up.",
            age(stored.log_witnessed_at),
        ),
        Gauge.one(f"{PREFIX}_log_entries", "Entries of the log that were read.", stored.log_size),
        Gauge.one(
            f"{PREFIX}_witness_age_seconds",
            "Since this node's witness signed.",
            age(stored.witness_signed_at),
        ),
        Gauge.one(
            f"{PREFIX}_index_age_seconds",
            "Since this node signed its index head.",
            age(stored.own_index_issued_at),
        ),
        Gauge.one(f"{PREFIX}_index_confirmed", "1 if the hub has it.", float(stored.own_index_confirmed)),
        Gauge.one(f"{PREFIX}_members", "Other active members.", len(stored.others)),
        Gauge.one(
            f"{PREFIX}_stale_copies", "Of those: without an index, or with one older than 36 hours.", stale
        ),
        *_queue("outbox", stored.outbox, seen.now),
        *_queue("inbox", stored.inbox, seen.now),
        Gauge.one(
            f"{PREFIX}_reviews_due", "Past weeks whose use nobody has reviewed.", len(stored.reviews_due)
        ),
    ]


def _queue(name: str, queue: Queue, now: datetime) -> list[Gauge]:
    waits: timedelta | None = now - queue.since if queue.since and queue.stuck else None
    return [
        Gauge.one(f"{PREFIX}_{name}_stuck", "Messages that wait for more than five minutes.", queue.stuck),
        Gauge.one(
            f"{PREFIX}_{name}_oldest_seconds",
            "How long the oldest of those waits; 0: none does.",
            waits.total_seconds() if waits and waits > STUCK_AFTER else 0.0,
        ),
    ]


class Watched:
    """What is shown of a running node; the event loop owns it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clock: Clock = node.clock
        self.registry = metrics.registry(PREFIX, quiet=True)
        self._read = Read()
        self.registry.register(self._read)
        self._ready = Cached(self.look, READY_CACHE_SECONDS)
        self._listener = Listener(Cached(self.show).get, self._ready.get)
        self._writing: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """The port that it listens on, 0 for none; raises ConfigInvalid."""
        config = self._node.config
        if not config.metrics_address:
            return 0
        port = await self._listener.start(config.metrics_address, any_name=config.metrics_allow_remote)
        log.info("metrics are served", metrics_port=port)
        return port

    async def stop(self) -> None:
        await self._listener.stop()

    async def look(self) -> Readiness:
        """Whether this node asks and answers; never raises, and takes WRITE_SECONDS at most."""
        node = self._node
        reasons = await self._database()
        if not node.connection.attached:
            reasons.append("detached")
        if not node.follower.is_open():
            reasons.append("log")
        if not node.sharing.is_open():
            reasons.append("sharing")
        facts = {"program": PROGRAM, "version": own_version(), "pid": os.getpid()}
        return Readiness({reason: _REASONS[reason] for reason in reasons}, facts)

    async def _database(self) -> list[str]:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._node.store.run(_write))
        done, _ = await asyncio.wait({self._writing}, timeout=WRITE_SECONDS)
        if not done:
            return ["database_slow"]
        return ["database"] if self._writing.exception() is not None else []

    async def show(self) -> bytes:
        """The exposition."""
        node, now = self._node, self._clock.now()
        ready = await self._ready.get()
        stored: Readings | None = None
        if "database_slow" not in ready.reasons:
            try:
                stored = await node.store.run(lambda db: read(db, node.config, None, now))
            except CandorError as error:
                log.warning("metrics are incomplete", code=error.code, reason=error.message)
        folder = node.config.data_folder
        disk = await asyncio.to_thread(shutil.disk_usage, folder)
        try:
            backup = await asyncio.to_thread(read_backups, folder)
        except ValueError:
            backup = None
        own, *above = node.identity.chain
        named = {"own": own, "issuing": above[0] if above else own, "root": node.roots[0]}
        seen = Seen(
            now=now,
            attached=node.connection.attached,
            since=node.connection.since,
            ready=ready,
            certificates={
                name: judge(each.not_valid_before_utc, each.not_valid_after_utc, now, by_hand=name != "own")
                for name, each in named.items()
            },
            backup=backup,
            disk_free=disk.free,
            disk_total=disk.total,
            stored=stored,
        )
        self._read.gauges = tuple(gauges(seen))
        return await asyncio.to_thread(metrics.render, self.registry)


def _write(db: Database) -> None:
    """Something is stored, and nothing is changed by it."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute(f"PRAGMA user_version = {int(version)}")
