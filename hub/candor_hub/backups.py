"""The backups of a running hub, on the calendar of its settings (docs/backup.md, "The hub")."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from candor_backup import state
from candor_hub import backup
from candor_hub.clock import Clock
from candor_hub.config import Config
from candor_hub.store import Store
from candor_proto.errors import CandorError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
RETRY = timedelta(minutes=1)


class Backups:
    """Makes them. Belongs to the event loop."""

    def __init__(self, config: Config, store: Store, clock: Clock) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._tried_at: datetime | None = None
        self._failed = False

    async def run(self) -> None:
        """Make those that are due, for ever; one that fails is said, and the next one is tried."""
        if self._config.backup_folder is None or not self._config.embedded:
            return
        minutes = self._config.backup_interval / timedelta(minutes=1)
        state.write(self._config.data, replace(state.read(self._config.data), interval_minutes=minutes))
        while True:
            if self.is_due(self._clock.now()):
                await self.make()
            await asyncio.sleep(LOOK_SECONDS)

    def is_due(self, now: datetime) -> bool:
        """Whether it is time; after one that failed, sooner."""
        if self._tried_at is None:
            return True
        interval = self._config.backup_interval
        return abs(now - self._tried_at) >= (min(RETRY, interval) if self._failed else interval)

    async def make(self) -> None:
        """One, beside the loop."""
        now = self._tried_at = self._clock.now()
        folder = self._config.backup_folder
        if folder is None:
            return
        try:
            written = await asyncio.to_thread(
                backup.write, self._config, self._store, folder, now, self._config.backup_keep
            )
        except CandorError as error:
            self._failed = True
            log.error("the backup failed", code=error.code, reason=error.message)
            state.note_failure(self._config.data, now, f"{error.message} {error.remedy}".strip())
            return
        self._failed = False
        state.note_backup(self._config.data, now, str(folder), written.octets)
        log.info("backed up", octets=written.octets)
