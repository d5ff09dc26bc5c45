"""Takes answers into their lookups, opens what they open, closes what has ended (docs/protocol.md §7.5-§7.8).

Rules of this file:
- answers come from the inbox, acknowledged long before: nothing that the hub or an owner can see depends on
  what an answer holds;
- those that wait are taken together: one hop to the threads, one transaction (`reading` says what they say);
- a case in memory changes after the transaction that stored the change, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial

from candor_node import cases, hit_store, lookup_store, mail_store
from candor_node.accountability import noticing, own_lookups
from candor_node.cases import Case, Cases
from candor_node.clock import Clock
from candor_node.coverage import Outlook
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.lookup_store import SearchRow
from candor_node.mail_store import InboxRow
from candor_node.reading import Arrived, Known, Reading, expired, read, read_again
from candor_node.store import Database, Store
from candor_node.workers import Lane, Workers, cores
from candor_proto.errors import UnknownObject
from candor_proto.exchange import LookupEvent, LookupState, lookup_after
from candor_proto.ids import FederationName, LookupId


class Gatherer:
    """Processes answers. `on_stale` hears of a lookup one of whose targets has moved to a new epoch."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        open_cases: Cases,
        workers: Workers,
        federation: FederationName,
        clock: Clock,
        on_stale: Callable[[Case, LookupId], None],
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._cases = open_cases
        self._workers = workers
        self._federation = federation
        self._clock = clock
        self._on_stale = on_stale

    async def process(self, row: InboxRow) -> None:
        """Take one answer of the inbox into its lookup. Raises StoreUnusable only."""
        await self.process_together((row,))

    async def process_together(self, rows: Sequence[InboxRow]) -> None:
        """Take answers that wait into their lookups, all or none of them.

        Raises StoreUnusable, and whatever bug one of them trips over.
        """
        strangers: list[InboxRow] = []
        arrived: dict[LookupId, tuple[Case, list[InboxRow]]] = {}
        for row in rows:
            lookup_id, node = LookupId(row.envelope.envelope_id), row.envelope.sender
            case = await self._cases.of_lookup(lookup_id)
            if case is None or node not in case.asks[lookup_id].targets:
                log.warning("an answer to nothing that was asked", sender=str(node))
                strangers.append(row)
            else:
                arrived.setdefault(case.row.search_id, (case, []))[1].append(row)
        if strangers:
            await self._store.run(
                lambda db: mail_store.settle_all(db, [row.number for row in strangers], UnknownObject.code)
            )
        if not arrived:
            return
        # In one order whoever takes several: two that wait for each other's would wait for ever.
        taken = [arrived[search_id] for search_id in sorted(arrived)]
        async with AsyncExitStack() as locks:
            for case, _ in taken:
                await locks.enter_async_context(case.lock)
            stale = await self._take(taken)
            for case, _ in taken:
                case.changed.set()
        for case, lookup_id in stale:
            self._on_stale(case, lookup_id)

    async def look_again(self) -> None:
        """Look up answers that waited only for a fresh index of their owner, once one is held (§7.8)."""
        found = await self._store.run(partial(lookup_store.waiting_for_index, now=self._clock.now()))
        for search_id, targets in found.items():
            now, indexes = self._clock.now(), self._indexes.vouched()
            fresh = [
                (lookup_id, node)
                for lookup_id, node in targets
                if (index := indexes.get(node)) is not None and not index.head.is_stale(now)
            ]
            if not fresh:
                continue
            case = await self._cases.get(search_id)
            async with case.lock:
                known = self._known()
                reading = await self._workers.run(Lane.SINGLE, read_again, case, fresh, known)
                stale = await self._keep([case], [reading], known.now)
                case.changed.set()
            for _, lookup_id in stale:
                self._on_stale(case, lookup_id)

    def _known(self) -> Known:
        indexes, now = self._indexes, self._clock.now()
        return Known(indexes.directory, dict(indexes.indexes), self._federation, now, indexes.population())

    async def _take(self, taken: Sequence[Arrived]) -> list[tuple[Case, LookupId]]:
        """Answers, under the locks of their cases; the lookups some of whose nodes are asked again (§7.9)."""
        known, lane = self._known(), Lane.SINGLE
        readings = await self._workers.run(
            lane, read, taken, known, threads=cores(), map=self._workers.map(lane)
        )
        return await self._keep([case for case, _ in taken], readings, known.now)

    async def _keep(
        self, open_cases: Sequence[Case], readings: Sequence[Reading], now: datetime
    ) -> list[tuple[Case, LookupId]]:
        """Store what was read, then change the cases; the lookups some of whose nodes are asked again."""
        outlooks = [self._cases.outlook(case) for case in open_cases]

        def work(db: Database) -> list[SearchRow]:
            return [
                _store(db, case, reading, now, outlook)
                for case, reading, outlook in zip(open_cases, readings, outlooks, strict=True)
            ]

        stored = await self._cases.store_all(open_cases, work)
        again: list[tuple[Case, LookupId]] = []
        for case, reading, row in zip(open_cases, readings, stored, strict=True):
            case.row, case.asks, case.outputs = row, reading.asks, reading.outputs
            if row.closed:
                continue
            moved = reading.moved()
            for lookup_id, node in moved:
                case.stale.setdefault(lookup_id, set()).add(node)
                case.asking_again.add((lookup_id, node))
            again += [(case, lookup_id) for lookup_id in dict.fromkeys(lookup_id for lookup_id, _ in moved)]
        return again

    # --- the end -----------------------------------------------------------------------------------------

    async def expire(self) -> None:
        """Close the searches whose life has ended: who has not answered never will (§7.8)."""
        now = self._clock.now()
        for search_id in await self._store.run(lambda db: lookup_store.ended_searches(db, now)):
            case = await self._cases.get(search_id)
            async with case.lock:
                await self._close(case, now)
            self._cases.drop(search_id)

    async def show_forgotten(self) -> None:
        """Show searches whose waiting ended with an earlier run: they may be hits, and nobody else will."""
        now = self._clock.now()
        for search_id in await self._store.run(lookup_store.unshown_searches):
            if self._cases.holds(search_id):
                continue
            case = await self._cases.get(search_id)
            async with case.lock:
                outlook = self._cases.outlook(case)
                show = partial(cases.show, case=case, now=now, outlook=outlook)
                case.row = await self._cases.store(case, show)

    async def _close(self, case: Case, now: datetime) -> None:
        asks = {
            lookup_id: replace(
                ask,
                targets={node: expired(target) for node, target in ask.targets.items()},
            )
            for lookup_id, ask in case.asks.items()
        }
        after, outlook = replace(case, asks=asks), self._cases.outlook(case)

        def work(db: Database) -> SearchRow:
            for ask in asks.values():
                for node, target in ask.targets.items():
                    lookup_store.set_target(db, ask.lookup_id, node, target)
            row = cases.show(db, after, now, outlook, closed=True)
            for ask in asks.values():
                if ask.state is not LookupState.DENIED:
                    state = lookup_after(ask.state, LookupEvent.LIFE_ENDS)
                    lookup_store.set_ask_state(db, ask.lookup_id, state)
            return row

        case.row = await self._cases.store(case, work)
        case.asks = asks


def _store(db: Database, case: Case, reading: Reading, now: datetime, outlook: Outlook) -> SearchRow:
    """Store what answers made of a search; the row as it is then."""
    search_id = case.row.search_id
    for lookup_id, node in reading.changed:
        target = reading.target(lookup_id, node)
        lookup_store.set_target(db, lookup_id, node, target)
        own_lookups.answer_taken(db, target, now)
    if reading.found:
        hit_store.add_hits(db, search_id, reading.found, now)
    for head, failure in reading.failures:
        hit_store.add_failure(db, search_id, head, failure.blob_id, failure.error.code, now)
    for misdeed in reading.misdeeds:
        noticing.answer(db, misdeed, now)
    mail_store.settle_all(db, reading.settled)
    if case.row.shown_at is None or not reading.changed:
        return case.row
    after = replace(case, asks=reading.asks)
    return cases.show(db, after, now, outlook, closed=case.row.closed)
