"""Takes the answers to flights in, row by row, and gives each row its results (docs/protocol.md §7.5-§7.9).

Rules of this file are those of `gathering`, for many rows at a time:
- what fails while an index is opened is a miss; it goes to the failure digest and nowhere else (§7.6);
- an answer that does not verify is no answer, and does not keep a good one out;
- outputs of one epoch are never looked up in the index of another;
- a flight in memory changes after the transaction that stored the change, never before.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from candor_node import (
    amendments,
    batch_store,
    coverage,
    coverage_words,
    flight_store,
    flights,
    hit_store,
    ledger,
    lookup_store,
    mail_store,
)
from candor_node.accountability import noticing, own_lookups
from candor_node.amendments import Revision
from candor_node.clock import Clock
from candor_node.coverage import NOTHING_KNOWN, Examined, Outlook
from candor_node.flights import Flight, RowFindings
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.reading import Misdeed, expired, has_answered, target_after, waits_for_index
from candor_node.reports import write_coverage
from candor_node.store import Database, Store, Work
from candor_node.targets import TargetRow
from candor_node.workers import Lane, Workers, slices_in
from candor_proto.candidates import NodeIndex
from candor_proto.errors import CandorError, LogUnwitnessed, StoreUnusable, UnknownObject
from candor_proto.exchange import LookupEvent, LookupState, TargetEvent, lookup_after
from candor_proto.ids import FederationName, KeyClass, LookupId, NodeId
from candor_proto.result import TargetState
from candor_proto.signing import SignedStatement
from candor_proto.statements import SLOTS

# Flights in memory whose rows have results: late answers may still amend them.
MAX_SHOWN = 16


class Landing:
    """Flights that were sent. Belongs to the event loop. `on_stale` hears of targets that have moved on:
    of the flight that holds the rows, the one that asked, and the node."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        workers: Workers,
        federation: FederationName,
        clock: Clock,
        on_stale: Callable[[Flight, Flight, NodeId], None],
        outlook: Callable[[Iterable[NodeId]], Outlook] = lambda asked: NOTHING_KNOWN,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._workers = workers
        self._federation = federation
        self._clock = clock
        self._on_stale = on_stale
        self._outlook = outlook
        self._flights: OrderedDict[LookupId, Flight] = OrderedDict()
        self.changed = asyncio.Event()
        # When each node was last heard of, on the event loop's clock.
        self._heard: dict[NodeId, float] = {}

    # --- which flights -------------------------------------------------------------------------------------

    def add(self, flight: Flight) -> None:
        """Hold a flight; those that are through leave for it and come back when they are needed."""
        self._flights[flight.lookup_id] = flight
        shown = [known for known in self._flights.values() if known.shown and not known.lock.locked()]
        for known in shown[: max(0, len(shown) - MAX_SHOWN)]:
            del self._flights[known.lookup_id]

    def drop(self, flight: Flight) -> None:
        self._flights.pop(flight.lookup_id, None)

    async def deny(self, flight: Flight, reason: str, *, waiting: bool) -> None:
        """The hub has denied a flight, and it is stored: its rows wait again, or others carry them on."""
        first = await self.root(flight)
        if waiting:
            for known in [first, *(one for one in self._flights.values() if one.first == first.lookup_id)]:
                self.drop(known)
            return
        flight.targets = {node: TargetRow(TargetState.REFUSED, reason) for node in flight.targets}
        if flight is not first:
            self.drop(flight)
            first.asked_beside -= flight.targets.keys()

    async def get(self, lookup_id: LookupId) -> Flight | None:
        """The flight of this id, from memory or the database; None for a lookup that is none."""
        if lookup_id not in self._flights:
            flight = await self._store.run(lambda db: flight_store.load_flight(db, lookup_id))
            if flight is None:
                return None
            # Another task may have been first while this one waited for the store.
            if lookup_id not in self._flights:
                self.add(flight)
        return self._flights[lookup_id]

    async def root(self, flight: Flight) -> Flight:
        """The flight whose rows these are: itself, or the one whose moved targets it asked again."""
        if flight.first is None:
            return flight
        first = await self.get(flight.first)
        if first is None:
            raise UnknownObject(f"The flight {flight.first} is not known.")
        return first

    def in_air(self, batch_id: bytes) -> list[Flight]:
        """Flights of a batch whose rows have no results yet."""
        return [
            flight
            for flight in self._flights.values()
            if flight.batch_id == batch_id and flight.first is None and not flight.shown
        ]

    def away(self, flight: Flight, seconds: float) -> bool:
        """Whether all that `flight` still waits for have said nothing, to it or others, for so long."""
        now, asked_at = asyncio.get_running_loop().time(), flight.asked_at
        waited_for = [node for node, row in flight.targets.items() if row.state is TargetState.PENDING]
        waited_for += flight.asked_beside
        return all(now - max(asked_at, self._heard.get(node, 0.0)) > seconds for node in waited_for)

    # --- answers -------------------------------------------------------------------------------------------

    async def process(self, row: InboxRow) -> bool:
        """Take one answer into its flight; False when it belongs to none. Raises StoreUnusable."""
        lookup_id, node = LookupId(row.envelope.envelope_id), row.envelope.sender
        flight = await self.get(lookup_id)
        if flight is None:
            return False
        self._heard[node] = asyncio.get_running_loop().time()
        if node not in flight.targets:
            log.warning("an answer to nothing that was asked", sender=str(node))
            await self._store.run(lambda db: mail_store.settle(db, row.number, UnknownObject.code))
            return True
        await self._read(flight, node, row.statement, row.number)
        return True

    async def look_again(self) -> None:
        """Look up answers that waited only for a fresh index of their owner, once one is held (§7.8)."""
        now, indexes = self._clock.now(), self._indexes.vouched()
        for lookup_id, node in await self._store.run(partial(flight_store.waiting_for_index, now=now)):
            index = indexes.get(node)
            if index is None or index.head.is_stale(now):
                continue
            flight = await self.get(lookup_id)
            statement = await self._store.run(partial(flight_store.answer, lookup_id=lookup_id, node=node))
            if flight is not None and statement is not None:
                await self._read(flight, node, statement)

    async def _read(
        self, flight: Flight, node: NodeId, statement: SignedStatement, number: int | None = None
    ) -> None:
        """An answer, and what comes of it; `number` is its row of the inbox, None when it is read again."""
        now, index, again = self._clock.now(), self._indexes.indexes.get(node), number is None
        # Outside the lock: answers of several nodes to one flight are opened side by side.
        seen, found = await self._open(flight, node, statement, index, now, again=again)
        async with flight.lock:
            moved = await self._take(flight, node, statement, number, index, seen, found)
        root = await self.root(flight)
        if flight is not root:
            root.asked_beside.discard(node)
            # It has no rows of its own to show: once all have answered nobody needs it in memory.
            flight.shown = flight.settled
        if moved:
            root.asked_beside.add(node)
            self._on_stale(root, flight, node)
        if root.settled or root.shown:
            await self.show(root)
        self.changed.set()

    async def _open(
        self,
        flight: Flight,
        node: NodeId,
        statement: SignedStatement,
        index: NodeIndex | None,
        now: datetime,
        *,
        again: bool,
    ) -> tuple[Examined | None, list[RowFindings]]:
        """What an answer says, and the records it opens; None for one that can change nothing."""
        if not (waits_for_index if again else _is_waited_for)(flight.targets[node]):
            return None, []
        seen = await self._examine(flight, node, statement, index)
        if seen.outputs is None or index is None or index.head.is_stale(now):
            return seen, []
        found = await self._workers.run(
            Lane.BULK,
            flights.probe,
            flight.persons,
            seen.outputs,
            index,
            self._federation,
            now,
            self._indexes.population(),
        )
        return seen, found

    async def _take(
        self,
        flight: Flight,
        node: NodeId,
        statement: SignedStatement,
        number: int | None,
        index: NodeIndex | None,
        seen: Examined | None,
        opened: Sequence[RowFindings],
    ) -> bool:
        """One answer, under the flight's lock; whether its node is to be asked again (§7.9)."""
        before, again = flight.targets[node], number is None
        if seen is None or not (waits_for_index if again else _is_waited_for)(before):
            await self._store.run(lambda db: _settle(db, number))
            return False
        now, asked = self._clock.now(), 0
        unread = replace(before, state=TargetState.PENDING) if again else before
        target = target_after(unread, seen, statement, index, now)
        found = opened if target.state is TargetState.ANSWERED else ()
        if again and target.state not in (TargetState.ANSWERED, TargetState.STALE_EPOCH):
            return False
        head = None if index is None else index.head
        misdeed = None if seen.misdeed is None else Misdeed(seen.misdeed, flight.draft, node, statement, head)

        def work(db: Database) -> None:
            nonlocal asked, target
            root = flight.first or flight.lookup_id
            asked = flight_store.times_asked(db, root, node)
            target = replace(target, late=flight_store.is_shown(db, root))
            flight_store.set_target(db, flight.lookup_id, node, target)
            own_lookups.answer_taken(db, target, now)
            if misdeed is not None:
                noticing.answer(db, misdeed, now)
            for one in found:
                search_id = flight.searches[one.row]
                hit_store.add_hits(db, search_id, one.hits, now)
                for failure in one.failures:
                    code = failure.error.code
                    hit_store.add_failure(db, search_id, one.head, failure.blob_id, code, now)
            if seen.left is not None:
                flight_store.state_allowance(db, node, seen.left, now)
            _settle(db, number)

        # A worker that is stopped while the database writes must not leave the flight behind it.
        storing = asyncio.ensure_future(self._take_in(flight, node, before, lambda: target, work))
        storing.add_done_callback(_heard)
        await asyncio.shield(storing)
        return target.state is TargetState.STALE_EPOCH and asked == 1

    async def _take_in(
        self,
        flight: Flight,
        node: NodeId,
        before: TargetRow,
        target: Callable[[], TargetRow],
        work: Work[None],
    ) -> None:
        try:
            await self._store.run(work)
        except StoreUnusable:
            # A commit that failed may be on the disk all the same, and then this answer does not come again:
            # the database says which, and a flight is never behind it.
            held = await self._store.run_at_last(lambda db: flight_store.targets(db, flight.lookup_id))
            if held[node].state in (before.state, TargetState.PENDING):
                raise
        # The answer itself is in the database: evidence, and large.
        flight.targets[node] = replace(target(), answer=None)
        self.changed.set()

    async def _examine(
        self, flight: Flight, node: NodeId, statement: SignedStatement, index: NodeIndex | None
    ) -> Examined:
        try:
            key = self._indexes.require_directory().member(node).signing_key
        except LogUnwitnessed:
            raise
        except CandorError as error:
            return Examined(TargetEvent.INVALID, error.code)
        largest = max(SLOTS[flight.draft.lookup.shape][each] for each in KeyClass) * len(flight.persons)
        return await self._workers.run(
            Lane.BULK,
            coverage.examine,
            flight.draft,
            node,
            key,
            statement,
            index,
            threads=slices_in(largest),
            map=self._workers.map(Lane.BULK),
            finalize=self._workers.helpers.finalize,
        )

    # --- results -------------------------------------------------------------------------------------------

    async def show(self, flight: Flight, *, end: bool = False) -> None:
        """Give the rows of a flight their results as they are now; `end`: nobody will answer any more."""
        async with flight.lock:
            now, outlook = self._clock.now(), self._outlook(flight.targets.keys() | flight.asked_beside)
            await self._store.run(lambda db: self._show(db, flight, now, outlook, end=end))
            flight.state = lookup_after(flight.state, LookupEvent.SHOW) if _sent(flight) else flight.state
            flight.shown = True
            if end:
                self.drop(flight)

    def _show(self, db: Database, flight: Flight, now: datetime, outlook: Outlook, *, end: bool) -> None:
        targets = self._targets(db, flight, end=end)
        lines = {node: coverage.line(node, target, outlook) for node, target in targets.items()}
        found = coverage.whole(lines, flight.missing, now, flight.directory_version, outlook)
        covered, done = coverage_words.cells(found), dict[int, tuple[str, ...]]()
        # The flight in memory may be behind: a commit that failed may be on the disk all the same.
        amended = flight_store.is_shown(db, flight.lookup_id)
        changed: list[tuple[LookupId, Revision]] = []
        refs = {"lookup_id": str(flight.lookup_id), "batch_id": flight.batch_id.hex()}
        own = flight_store.of_flight(flight.lookup_id)
        for row, search_id in flight.searches.items():
            if not amended:
                hit_store.number_hits(db, search_id)
            search, hits = lookup_store.search(db, search_id), hit_store.hits(db, search_id)
            if search is None:
                raise AssertionError("a row of a flight is a search")
            result = coverage.result(search, found, hits)
            before = flight_store.coverage_of(db, search) if amended else None
            if before is not None:
                shown = coverage.result(search, before, hits)
                revision = amendments.amend(db, shown, result, now, closed=end)
                changed += [(search_id, revision)] if revision is not None else []
            done[row] = flights.results(result, covered, incomplete=search.incomplete)
            lookup_store.store_result(db, search_id, own, now, closed=end)
        flight_store.set_result(db, flight.lookup_id, write_coverage(found))
        batch_store.finish_rows(db, flight.batch_id, done)
        settled = not any(_is_waited_for(one) or waits_for_index(one) for one in targets.values())
        closed = end or (settled and not flight.asked_beside)
        flight_store.set_flight_shown(db, flight.lookup_id, now, closed=closed)
        if _sent(flight):
            flight_store.set_flight_state(db, flight.lookup_id, lookup_after(flight.state, LookupEvent.SHOW))
        if amended and not changed:
            return
        details: dict[str, ledger.Value] = {
            "rows": len(done),
            "matches": sum(cells[0] == "MATCH" for cells in done.values()),
            "answered": found.answered,
            "asked": found.asked,
        }
        ledger.append(db, now, "lookup.amended" if amended else "lookup.shown", refs, details)
        for search_id, revision in changed:
            amendments.account_for(db, search_id, revision, refs)

    def _targets(self, db: Database, flight: Flight, *, end: bool) -> Mapping[NodeId, TargetRow]:
        """What became of each node: by the flight that asked it last, of all that carried these rows."""
        known = flight_store.targets_beside(db, flight.lookup_id, flight.targets)
        if not end:
            return known
        return {node: expired(target) for node, target in known.items()}

    async def expire(self) -> None:
        """Close the flights whose life has ended: who has not answered never will (§7.8)."""
        now = self._clock.now()
        for lookup_id in await self._store.run(lambda db: flight_store.ended_flights(db, now)):
            flight = await self.get(lookup_id)
            if flight is not None:
                await self.show(flight, end=True)
                self.changed.set()


def _is_waited_for(target: TargetRow) -> bool:
    return not has_answered(target)


def _settle(db: Database, number: int | None) -> None:
    if number is not None:
        mail_store.settle(db, number)


def _heard(task: asyncio.Future[None]) -> None:
    """Whoever waited may be gone; what was not stored is still in the inbox."""
    if not task.cancelled():
        task.exception()


def _sent(flight: Flight) -> bool:
    return flight.state in (LookupState.ACCEPTED, LookupState.SHOWN)
