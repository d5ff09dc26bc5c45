"""Searches that are under way, and how their results are stored (docs/protocol.md §7.7-§7.8).

A *case* is a search in memory: its lookups, what became of each target, and the outputs unblinded so far. The
database is ahead of it or equal: whatever changes a case is stored first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from candor_node import amendments, coverage, flight_store, hit_store, ledger, lookup_store
from candor_node.coverage import NOTHING_KNOWN, Outlook
from candor_node.hit_store import StoredHit
from candor_node.lookup_store import Ask, SearchRow
from candor_node.reports import read_coverage, write_coverage
from candor_node.store import Database, Store, Work
from candor_proto.errors import StoreUnusable, UnknownObject
from candor_proto.exchange import LookupEvent, LookupState, Outputs, lookup_after
from candor_proto.ids import LookupId, NodeId
from candor_proto.result import LookupResult, TargetState

T = TypeVar("T")
MAX_CASES = 64


@dataclass
class Case:
    """A search in memory. `lock` orders what is done to it; `changed` wakes who waits for answers.

    `stale` are targets that moved to a new epoch and are to be asked again, by lookup; `asking_again` stay
    in until that is done.
    """

    row: SearchRow
    asks: dict[LookupId, Ask]
    outputs: dict[tuple[LookupId, NodeId], Outputs] = field(default_factory=dict)
    stale: dict[LookupId, set[NodeId]] = field(default_factory=dict)
    asking_again: set[tuple[LookupId, NodeId]] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def asked(self) -> int:
        """How many nodes were asked."""
        return len({node for ask in self.asks.values() for node in ask.targets})

    def settled(self) -> int:
        """How many of them have nothing more to say for now.

        As `coverage.report` says node by node, but in one pass: it is asked after every answer.
        """
        latest: dict[NodeId, dict[int, TargetState]] = {}
        for ask in sorted(self.asks.values(), key=lambda ask: ask.attempt):
            for node, target in ask.targets.items():
                latest.setdefault(node, {})[ask.plan_number] = target.state
        all_sent = len({ask.plan_number for ask in self.asks.values()}) == self.row.plans
        again = {node for _, node in self.asking_again}
        return sum(
            TargetState.PENDING not in states.values()
            and (all_sent or len(states) == self.row.plans)
            and node not in again
            for node, states in latest.items()
        )


@dataclass(frozen=True)
class SearchView:
    """A search as people see it; `result` is None until it was first shown, and once it was forgotten."""

    row: SearchRow
    result: LookupResult | None
    hits: tuple[StoredHit, ...]


def load_view(db: Database, search_id: LookupId) -> SearchView:
    """Raises UnknownObject."""
    row = lookup_store.search(db, search_id)
    if row is None:
        raise UnknownObject(
            f"There is no lookup {search_id}.", remedy="`candor-node lookups list` shows those of this node."
        )
    found = flight_store.coverage_of(db, row)
    if found is None:
        return SearchView(row, None, ())
    hits = tuple(hit_store.hits(db, search_id))
    return SearchView(row, coverage.result(row, found, hits), hits)


def show(
    db: Database, case: Case, now: datetime, outlook: Outlook = NOTHING_KNOWN, *, closed: bool = False
) -> SearchRow:
    """Store the result as it is now; the second time it is an amendment. The row as it is then."""
    # As it is stored: what was shown before is what an amendment is measured by.
    row = lookup_store.search(db, case.row.search_id) or case.row
    shown, first, search_id = row.result, row.shown_at is None, row.search_id
    found = coverage.coverage(row, list(case.asks.values()), now, outlook)
    if first:
        hit_store.number_hits(db, search_id)
    hits, text = hit_store.hits(db, search_id), write_coverage(found)
    result = coverage.result(row, found, hits)
    lookup_store.store_result(db, search_id, text, now, closed)
    for ask in case.asks.values():
        if ask.state in (LookupState.ACCEPTED, LookupState.SHOWN):
            state = lookup_after(ask.state, LookupEvent.SHOW)
            lookup_store.set_ask_state(db, ask.lookup_id, state)
    row = replace(row, shown_at=row.shown_at or now, closed=closed, result=text)
    details: dict[str, ledger.Value] = {
        "overall": result.overall.value,
        "hits": len(result.hits),
        "answered": found.answered,
        "asked": found.asked,
    }
    refs = {"search_id": str(search_id)}
    if first or shown is None:
        ledger.append(db, now, "lookup.shown", refs, details)
        return row
    before = coverage.result(row, read_coverage(shown), hits)
    revision = amendments.amend(db, before, result, now, closed=closed)
    if revision is None:
        return row
    ledger.append(db, now, "lookup.amended", refs, {**details, "revision": revision.number})
    amendments.account_for(db, search_id, revision, refs)
    return replace(row, revision=revision.number, amended_at=now)


class Cases:
    """The searches in memory. Belongs to the event loop.

    `outlook` is what is known of the federation now, for the nodes that were asked.
    """

    def __init__(
        self, store: Store, outlook: Callable[[Iterable[NodeId]], Outlook] = lambda asked: NOTHING_KNOWN
    ) -> None:
        self._store = store
        self._outlook = outlook
        self._cases: dict[LookupId, Case] = {}

    def outlook(self, case: Case) -> Outlook:
        return self._outlook({node for ask in case.asks.values() for node in ask.targets})

    def add(self, case: Case) -> None:
        """Hold a case; old ones that were shown leave for it and come back when they are needed."""
        self._cases[case.row.search_id] = case
        for search_id, old in list(self._cases.items()):
            if len(self._cases) <= MAX_CASES:
                break
            if old.row.shown_at is not None and not old.lock.locked() and not old.asking_again:
                del self._cases[search_id]

    def holds(self, search_id: LookupId) -> bool:
        """Whether a case is in memory: one that was not shown yet has somebody who waits for it, if it is."""
        return search_id in self._cases

    def drop(self, search_id: LookupId) -> None:
        self._cases.pop(search_id, None)

    async def store(self, case: Case, work: Work[T]) -> T:
        """Run `work`, after which the caller changes `case` to match.

        When the caller will not come to that, for a commit failed or for its client is gone, nobody knows
        what was stored: the case is read again, or forgotten, so that it never stays behind the database.
        """
        return await self.store_all((case,), work)

    async def store_all(self, changed: Sequence[Case], work: Work[T]) -> T:
        """`store` for work that changes several cases."""
        try:
            return await self._store.run(work)
        except (StoreUnusable, asyncio.CancelledError):
            try:
                for case in changed:
                    await self._look_again(case)
            except BaseException:
                for case in changed:
                    self.drop(case.row.search_id)
                raise
            raise

    async def _look_again(self, case: Case) -> None:
        search_id = case.row.search_id
        row, asks = await self._read(search_id)
        if row is None:
            self.drop(search_id)
            return
        case.row, case.asks = row, {ask.lookup_id: ask for ask in asks}
        case.changed.set()

    async def _read(self, search_id: LookupId) -> tuple[SearchRow | None, list[Ask]]:
        return await self._store.run(
            lambda db: (lookup_store.search(db, search_id), lookup_store.asks(db, search_id))
        )

    async def get(self, search_id: LookupId) -> Case:
        """Raises UnknownObject."""
        if search_id not in self._cases:
            row, asks = await self._read(search_id)
            if row is None:
                raise UnknownObject(f"There is no lookup {search_id}.")
            # Another task may have been first while this one waited for the store.
            if search_id not in self._cases:
                self.add(Case(row, {ask.lookup_id: ask for ask in asks}))
        return self._cases[search_id]

    def holds_lookup(self, lookup_id: LookupId) -> bool:
        """Whether the case that a lookup belongs to is in memory."""
        return any(lookup_id in case.asks for case in self._cases.values())

    async def of_lookup(self, lookup_id: LookupId) -> Case | None:
        """The case that a lookup belongs to; None for a lookup that is not ours."""
        for case in self._cases.values():
            if lookup_id in case.asks:
                return case
        search_id = await self._store.run(lambda db: lookup_store.search_of(db, lookup_id))
        return None if search_id is None else await self.get(search_id)

    async def view(self, search_id: LookupId) -> SearchView:
        """Raises UnknownObject."""
        return await self._store.run(lambda db: load_view(db, search_id))
