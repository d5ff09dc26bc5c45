"""The backups of a running node: on the calendar of its settings and by command, one at a time.

Rules of this file:
- one at a time: what tidies up would wait for what still reads;
- a backup that fails is said at once and in every minute's look, nothing else is broken by it, and the next
  one is made from where the last good one stood;
- when the last one was, whether it failed and why, stands in `backup-state.json` beside the database.
"""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from candor_backup import state
from candor_backup.state import BackupState
from candor_node import backup, backup_drill
from candor_node.backup import Written
from candor_node.clock import Clock
from candor_node.config import NodeConfig
from candor_node.logs import log
from candor_node.store import Store
from candor_proto.errors import CandorError, StoreUnusable
from candor_proto.ids import NodeId

LOOK_SECONDS = 5.0
# After one that failed the next is tried sooner than on the calendar: a disk may only have been away.
RETRY = timedelta(minutes=1)


@dataclass(frozen=True)
class Schedule:
    """Where, how often, and for how long; no folder: by command only."""

    folder: Path | None = None
    interval: timedelta = timedelta(minutes=5)
    keep: timedelta = backup.KEEP
    keys_live: timedelta = backup.KEYS_LIVE

    @classmethod
    def of(cls, config: NodeConfig) -> Schedule:
        return cls(
            config.backup_folder,
            timedelta(minutes=config.backup_interval_minutes),
            timedelta(days=config.backup_keep_days),
            timedelta(days=config.backup_keys_days),
        )


class Backups:
    """Makes them. Belongs to the event loop, but for `_copier`, which any thread may end."""

    def __init__(self, store: Store, node: NodeId, clock: Clock, schedule: Schedule | None = None) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._schedule = schedule or Schedule()
        self._one = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._tried_at: datetime | None = None
        self._failed = False
        self._ended = False
        self._copier: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Beside the database: where the state file is."""
        return self._store.path.parent

    # --- on the calendar ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make those that are due, for ever."""
        self._note(interval_minutes=self._interval_minutes())
        while self._schedule.folder is not None:
            if self.is_due(self._clock.now()):
                await self.make()
            self._wanted.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                continue
        await asyncio.Event().wait()

    def is_due(self, now: datetime) -> bool:
        """Whether it is time; after one that failed, sooner."""
        if self._tried_at is None:
            return True
        wait = min(RETRY, self._schedule.interval) if self._failed else self._schedule.interval
        # A clock that was put right must not stop backups.
        return abs(now - self._tried_at) >= wait

    async def make(self) -> Written | None:
        """One into the folder of the settings; None, and said, when it failed."""
        if self._schedule.folder is None:
            return None
        self._tried_at = self._clock.now()
        try:
            written = await self.write(self._schedule.folder, self._schedule.keys_live)
        except CandorError as error:
            if not self._ended:
                self._failed = True
                log.error("the backup failed", code=error.code, reason=error.message)
            return None
        self._failed = False
        return written

    def wake(self) -> None:
        """Something happened that should not be lost for minutes: the next one is due now."""
        self._tried_at = None
        self._wanted.set()

    def _interval_minutes(self) -> float:
        return self._schedule.interval / timedelta(minutes=1) if self._schedule.folder else 0

    # --- one ------------------------------------------------------------------------------------------------

    async def write(self, folder: Path, live: timedelta, *, whole: bool = False) -> Written:
        """`backup.write`, beside the loop; what became of it is in the state file. Raises what it raises."""
        async with self._one:
            now = self._clock.now()
            try:
                written = await asyncio.to_thread(self._write, folder, live, now, whole)
            except CandorError as error:
                self._note(failed_at=state.moment(now), failure=f"{error.message} {error.remedy}".strip())
                raise
            self._note(
                verified_at=state.moment(now),
                target=str(folder),
                octets=written.octets,
                sequence=state.read(self.folder).sequence + 1,
                failed_at="",
                failure="",
            )
        log.info("backed up", count=written.changed, octets=written.octets)
        return written

    def _write(self, folder: Path, live: timedelta, now: datetime, whole: bool) -> Written:
        return backup.write(
            self._store,
            self._node,
            folder,
            now,
            live,
            self._schedule.keep,
            whole=whole,
            started=self._started,
        )

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        self._copier = process
        if self._ended:
            process.kill()

    def end(self) -> None:
        """The node ends: a copy that is under way is given up."""
        self._ended = True
        if self._copier is not None and self._copier.poll() is None:
            self._copier.kill()

    async def tidy(self) -> None:
        """`backup.tidy`, beside the loop; and what a drill that was killed has left here."""
        async with self._one:
            await asyncio.to_thread(backup.tidy, self._store, self._node, self._clock.now())
            try:
                await asyncio.to_thread(backup_drill.clear_left, self.folder)
            except OSError as error:
                log.error("what a drill has left cannot be deleted", exc_info=error)

    # --- state ----------------------------------------------------------------------------------------------

    def state(self) -> BackupState:
        return state.read(self.folder)

    def _note(self, **changes: object) -> None:
        state.write(self.folder, replace(state.read(self.folder), **changes))  # type: ignore[arg-type]


def check_state(known: BackupState, now: datetime) -> str:
    """A sentence on the newest backup, for people; raises StoreUnusable when it is too old or failed."""
    if known.failure:
        raise StoreUnusable(f"The last backup failed at {known.failed_at}: {known.failure}")
    if not known.verified_at:
        if known.interval_minutes:
            raise StoreUnusable(
                "No backup was made yet, although the settings ask for them.",
                remedy="Let the node run; its log says what is in the way.",
            )
        return "No backup is scheduled: set backup_folder in node.toml."
    age = now - datetime.fromisoformat(known.verified_at)
    if known.interval_minutes and age > 3 * timedelta(minutes=known.interval_minutes):
        raise StoreUnusable(
            f"The newest backup is of {known.verified_at}, older than three times its interval.",
            remedy="Let the node run; its log says what is in the way.",
        )
    return f"The newest backup, read again and whole, is of {known.verified_at}, in {known.target}."
