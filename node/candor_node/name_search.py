"""Keeps the index of names in memory true, and searches it: `candor-node records search`.

Rules of this file:
- the index is built from opened records when the node starts, in the background, and lives in memory alone;
- it follows the history: before every search, and once a minute, whatever has a newer entry there is read
  again. So it can neither miss an act nor show one that was undone, and needs no call from anybody;
- a search is accounted for with who and how many, never with the words: they may be anybody's name.

The index belongs to `_lock`: it is used in threads beside the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from functools import partial

from candor_node import filings, history, ledger
from candor_node.clock import Clock
from candor_node.filings import SealedRecord
from candor_node.name_index import Found, NameIndex, Names, Query
from candor_node.store import Database, Store
from candor_records.records import Record

BATCH = 500
FOLLOW_SECONDS = 60.0
WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Hit:
    """A record that was found, opened, and how near its names are to what was asked, of 100."""

    record: Record
    score: int


@dataclass(frozen=True)
class Hits:
    """One page. Not `complete` while the index is still being built: then `searched` says how far it is."""

    hits: tuple[Hit, ...]
    total: int
    searched: int
    complete: bool


class NameSearch:
    """The index of one node's records. `run` builds and keeps it; `find` waits a little for that."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._index = NameIndex()
        self._lock = threading.Lock()
        self._seen = 0
        self._complete = asyncio.Event()
        self._following = asyncio.Lock()  # an older reading must not come in behind a newer one

    async def run(self) -> None:
        """Build the index, then follow the history; goes on for ever."""
        await self.build()
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await self.follow()

    async def build(self) -> None:
        """Read every record once, beside whatever else the node does."""
        if self._complete.is_set():
            return
        self._index = NameIndex()
        self._seen = await self._store.run(history.last_number)
        last = b""
        while rows := await self._store.run(partial(filings.sealed_behind, record_id=last, limit=BATCH)):
            await asyncio.to_thread(self._add, rows)
            last = rows[-1].record_id
        await self.follow()
        self._complete.set()

    async def follow(self) -> None:
        """Read again whatever something has happened to."""
        async with self._following:
            touched, rows, self._seen = await self._store.run(partial(_news, seen=self._seen))
            await asyncio.to_thread(self._replace, touched, rows)

    async def find(self, words: str, by: str, offset: int = 0, limit: int = 50) -> Hits:
        """The records whose names are near `words`, nearest first. Raises InputInvalid.

        While the index is being built it waits some seconds, then answers from what there is.
        """
        query = Query.parse(words)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._complete.wait()
        except TimeoutError:
            complete = False
        else:
            complete = True
            await self.follow()
        found, total, searched = await asyncio.to_thread(self._search, query, offset, limit)
        now = self._clock.now()

        def work(db: Database) -> tuple[Hit, ...]:
            rows = [(filings.sealed_now(db, one.record_id), one.score) for one in found]
            hits = tuple(Hit(row.open(), score) for row, score in rows if row is not None)
            counts = {"found": total, "shown": len(hits)}
            ledger.append(db, now, "record.searched", {"user": by}, counts)
            return hits

        return Hits(await self._store.run(work), total, searched, complete)

    # --- in threads, under the lock ------------------------------------------------------------------------

    def _add(self, rows: list[SealedRecord]) -> None:
        read = [(row.record_id, Names.of(row.fields())) for row in rows]
        with self._lock:
            for record_id, names in read:
                self._index.add(record_id, names)

    def _replace(self, touched: set[bytes], rows: list[SealedRecord]) -> None:
        with self._lock:
            for record_id in touched:
                self._index.remove(record_id)
        self._add(rows)

    def _search(self, query: Query, offset: int, limit: int) -> tuple[list[Found], int, int]:
        with self._lock:
            found, total = self._index.search(query, offset, limit)
            return found, total, len(self._index)


def _news(db: Database, seen: int) -> tuple[set[bytes], list[SealedRecord], int]:
    touched, last = history.touched_since(db, seen)
    rows = [filings.sealed_now(db, record_id) for record_id in touched]
    return touched, [row for row in rows if row is not None], last
