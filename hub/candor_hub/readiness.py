"""Whether this replica may be given work: it stores something, and looks at what would make it refuse all.

Rules of this file:
- what is wrong with *this* replica is a reason against it: a balancer then gives work to another one;
- what is wrong for all replicas alike is a `concern`, told beside it: a head without its witnesses, for
  example. A balancer that took every replica away for it would take away the streams over which the witnesses
  sign, and the federation would never come back;
- a look that does not end is not begun twice: it is told as what it is, a database that does not answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import structlog

from candor_certs.lifetime import Level, judge
from candor_hub.clock import Clock
from candor_hub.keys import HubKeys
from candor_hub.store import Store
from candor_hub.store.standing import LogStanding
from candor_hub.streams import Streams
from candor_hub.tlog.confirmed import went_back
from candor_hub.tlog.status import MERGE_DELAY, WENT_BACK_REMEDY
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import CandorError, ClockWrong
from candor_proto.tlog.age import MAX_CURRENT
from candor_watch.listener import Readiness
from candor_watch.versions import own_version

log = structlog.get_logger(__name__)

PROGRAM = "candor-hub"
WRITE_SECONDS = 2.0
# The list is looked up once a second; when it is 50 seconds old everybody is refused.
MAX_DENY_LIST_SECONDS = 30.0
WRITTEN = "health-written-at"
LOOK_SECONDS = 15.0

_REASONS = {
    "database": "The database refuses to store anything.",
    "clock": "The clocks of this machine and of the database are more than five minutes apart.",
    "database_slow": "The database has not stored a small thing in time.",
    "deny_list": "The deny list is old: everybody will be refused.",
    "certificate": "The certificate that members see is not valid now.",
    "stopping": "The hub is stopping.",
}
_CONCERNS = {
    "log_waiting": "Entries wait for the log longer than a minute: no replica appends.",
    "log_unwitnessed": "No head of the log has had its quorum of witnesses for an hour.",
    "log_went_back": f"Witnesses know more of the log than the database: it went back. {WENT_BACK_REMEDY}",
}


class Health:
    """Looks when it is asked; the event loop owns it."""

    def __init__(
        self,
        store: Store,
        keys: Callable[[], HubKeys],
        deny_list_age_seconds: Callable[[], float],
        streams: Streams,
        clock: Clock,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._store = store
        self._keys = keys
        self._deny_list_age_seconds = deny_list_age_seconds
        self._streams = streams
        self._clock = clock
        self._write_seconds = write_seconds
        # Its own: where others have taken every thread of the process, that is not for this to wait for.
        self._thread = ThreadPoolExecutor(1, "health")
        self._writing: asyncio.Future[LogStanding] | None = None
        self._status: LogStanding | None = None
        self._went_back = False
        self.stopping = False

    async def look(self) -> Readiness:
        """Never raises, and takes `write_seconds` at most."""
        now, began = self._clock.now(), time.monotonic()
        reasons = await self._database()
        if self._deny_list_age_seconds() > MAX_DENY_LIST_SECONDS:
            reasons.append("deny_list")
        own = self._keys().tls.chain[0]
        standing = judge(own.not_valid_before_utc, own.not_valid_after_utc, now)
        if standing.level in (Level.ENDED, Level.NOT_YET):
            reasons.append("certificate")
        if self.stopping:
            reasons.append("stopping")
        versions = Counter(session.version or "unknown" for session in self._streams.all())
        facts: dict[str, Any] = {
            "program": PROGRAM,
            "version": own_version(),
            "pid": os.getpid(),
            "concerns": {name: _CONCERNS[name] for name in self._concerns(now)},
            "attached": [str(node) for node in self._streams.nodes],
            "versions": dict(sorted(versions.items())),
            "seconds": round(time.monotonic() - began, 3),
        }
        return Readiness({reason: _REASONS[reason] for reason in reasons}, facts)

    async def _database(self) -> list[str]:
        """Stores a small thing, durably; a step of before that still waits says it all."""
        if self._writing is None or self._writing.done():
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(self._thread, self._write)
        done, _ = await asyncio.wait({self._writing}, timeout=self._write_seconds)
        if not done:
            return ["database_slow"]
        try:
            self._status = self._writing.result()
        except ClockWrong as error:
            log.warning("the hub is not ready", code=error.code, reason=error.message)
            return ["clock"]
        except CandorError as error:
            log.warning("the hub is not ready", code=error.code, reason=error.message)
            return ["database"]
        except Exception as error:
            log.error("readiness could not be looked at", exc_info=error)
            return ["database"]
        return []

    def close(self) -> None:
        """Nobody looks any more; a step that hangs is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self) -> LogStanding:
        with self._store.write() as tx:
            now = self._clock.now()
            tx.replicas.check_clock(now)
            tx.facts.put(WRITTEN, str(to_milliseconds(now)))
            self._went_back = went_back(tx)
            return tx.standing.log()

    def _concerns(self, now: datetime) -> list[str]:
        """As of the last look that the database answered."""
        found, concerns = self._status, list[str]()
        if found is None:
            return concerns
        if self._went_back:
            concerns.append("log_went_back")
        if found.waiting_since is not None and now - found.waiting_since > MERGE_DELAY:
            concerns.append("log_waiting")
        if found.signed_at is not None and (
            found.witnessed_at is None or now - found.witnessed_at > MAX_CURRENT
        ):
            concerns.append("log_unwitnessed")
        return concerns
