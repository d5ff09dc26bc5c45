"""Ships the end of the ledger to where it survives the database: beside it, and into the backup folder.

Rules of this file:
- within a second of its commit an entry is in both journals: a commit wakes who ships, and nobody looks
  while nothing is committed. Whoever acts on records is answered only afterwards (`Aftermath`), so that what
  was acknowledged can be found again;
- a journal that cannot be written stops nobody: the other one goes on, what is missing is made up for when
  its disk is back, and `doctor` says since when it is behind;
- at the start both are compared with the database: if one of them knows more, the database went back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from candor_node import ledger, rollback
from candor_node.clock import Clock
from candor_node.journal_files import Frame, Place
from candor_node.ledger import Raw
from candor_node.logs import log
from candor_node.rollback import Cause, Rollback
from candor_node.store import Database, Store
from candor_proto.errors import CandorError, InputInvalid, StoreUnusable
from candor_proto.ids import RequestId

# Between two rounds at least: a busy node's entries share their syncs.
SHIP_SECONDS = 1.0
# So often it is said that nothing happened: up to then the journal is known to be whole.
ALIVE_EVERY = timedelta(minutes=1)
MOST_ROWS = 2_000


class _Shipped:
    """A place, how far the ledger is there (None: not looked at yet), and since when it is behind."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.until: int | None = None
        self.said_at: datetime | None = None
        self.behind_since: datetime | None = None


class Journals:
    """Belongs to the event loop."""

    def __init__(self, store: Store, clock: Clock, folders: Sequence[Path]) -> None:
        """`folders` are where journals are kept; the first is beside the database."""
        self._store = store
        self._clock = clock
        self._places = [_Shipped(Place(folder, store.database_key)) for folder in folders]
        self._one = asyncio.Lock()
        self.ship_seconds = SHIP_SECONDS

    @property
    def places(self) -> list[Place]:
        return [each.place for each in self._places]

    def behind_since(self) -> datetime | None:
        """Since when one of the journals lacks what was done; None while all are up to date."""
        return min((each.behind_since for each in self._places if each.behind_since), default=None)

    async def look_back(self) -> Rollback | None:
        """Heal the database if a journal knows more than it; what was found. At the start, before all
        else."""
        now = self._clock.now()

        def work(db: Database) -> Rollback | None:
            tail = rollback.missing(db, self.places)
            return rollback.heal(db, now, Cause.JOURNAL, tail) if tail.behind else None

        return await self._store.run(work)

    async def run(self) -> None:
        """Ship for ever: what is committed, that a minute passed without anything, and what a disk did not
        take."""
        loop, due = asyncio.get_running_loop(), asyncio.Event()

        def committed() -> None:
            if not due.is_set():
                loop.call_soon_threadsafe(due.set)

        with self._store.telling(committed):
            while True:
                # Cleared before the ledger is read: what is committed meanwhile is for the next round.
                due.clear()
                await self.ship()
                await asyncio.sleep(self.ship_seconds)
                if self.behind_since() is None:
                    # Not wait_for: that of Python 3.11 loses a cancellation that meets what it waits for.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._seconds_until_said()):
                            await due.wait()

    def _seconds_until_said(self) -> float:
        """Until it is to be said again that nothing happened; a clock that was set makes it a minute."""
        now = self._clock.now()
        left = min(ALIVE_EVERY - abs(now - (each.said_at or now - ALIVE_EVERY)) for each in self._places)
        return max(0.0, left.total_seconds())

    async def ship(self, *, closed: bool = False) -> None:
        """Ship what is not there yet. Returns when it is, or cannot be now. Raises StoreUnusable."""
        async with self._one:
            for each in self._places:
                await self._ship(each, closed)

    async def close(self) -> None:
        """The node ends in order: nothing follows."""
        try:
            await self.ship(closed=True)
        except CandorError as error:
            log.warning("the journal was not closed", code=error.code, reason=error.message)

    async def _ship(self, to: _Shipped, closed: bool) -> None:
        now = self._clock.now()
        try:
            if to.until is None:
                to.until = await self._store.run(lambda db: _shipped_until(db, to.place))
            while True:
                frame = await self._store.run(lambda db, after=to.until or 0: _next(db, after, now, closed))  # type: ignore[misc]
                quiet = to.said_at is not None and abs(now - to.said_at) < ALIVE_EVERY
                if not frame.rows and quiet and not closed:
                    break
                await asyncio.to_thread(to.place.append, frame, now)
                to.until, to.said_at = frame.rows[-1].number if frame.rows else to.until, now
                if len(frame.rows) < MOST_ROWS:
                    break
            to.behind_since = None
        except (OSError, InputInvalid) as error:
            if to.behind_since is None:
                to.behind_since = now
                why = error.strerror if isinstance(error, OSError) else error.message
                unusable = StoreUnusable(f"{to.place.folder} cannot be written: {why}.")
                log.error("the journal is behind", code=unusable.code, reason=unusable.message)


def _next(db: Database, after: int, now: datetime, closed: bool) -> Frame:
    rows = ledger.raw_behind(db, after, MOST_ROWS)
    head = ledger.head(db)
    standing = (rows[-1].number, rows[-1].digest) if len(rows) == MOST_ROWS else head
    return Frame(now, standing, tuple(rows), tuple(_requests(db, rows)), closed and len(rows) < MOST_ROWS)


def _requests(db: Database, rows: Sequence[Raw]) -> list[tuple[bytes, bytes]]:
    """The requests under which something was released: whoever holds a record must hear of recalls."""
    found = []
    for row in rows:
        if row.event != "disclosure.released":
            continue
        request_id = RequestId.parse(row.entry.refs["request_id"]).value
        known = db.execute("SELECT body FROM received_requests WHERE request_id = ?", [request_id]).fetchone()
        if known is not None:
            found.append((request_id, bytes(known[0])))
    return found


def _shipped_until(db: Database, place: Place) -> int:
    """Up to which entry of this ledger the place has it; a new place begins with the next one. Raises
    OSError."""
    try:
        for frame in place.frames_backwards():
            number, digest = frame.ledger
            if number == 0 or ledger.holds(db, number, digest):
                return number
    except CandorError:  # no folder yet
        return ledger.head(db)[0]
    return ledger.head(db)[0]
