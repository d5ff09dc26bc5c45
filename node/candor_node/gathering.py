"""Takes answers into their lookups, opens what they open, closes what has ended (docs/protocol.md §7.5-§7.8).

Rules of this file:
- answers come from the inbox, acknowledged long before: nothing that the hub or an owner can see depends on
  what an answer holds;
- whatever fails while an index is opened is a miss; it goes to the failure digest and nowhere else (§7.6);
- an answer that does not verify is no answer, and does not keep a good one out;
- outputs of one epoch are never looked up in the index of another: nobody has said that "no record";
- a case in memory changes after the transaction that stored the change, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from candor_node import cases, coverage, hit_store, lookup_store, mail_store
from candor_node.cases import Case, Cases
from candor_node.clock import Clock
from candor_node.coverage import Examined
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.lookup_store import Ask, SearchRow, TargetRow
from candor_node.mail_store import InboxRow
from candor_node.store import Database, Store
from candor_proto.candidates import LocalFailure, NodeIndex, find_hits
from candor_proto.errors import CandorError, UnknownObject
from candor_proto.exchange import (
    TRANSITIONS,
    LookupEvent,
    LookupState,
    Outputs,
    TargetEvent,
    lookup_after,
)
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.matchkeys import Slot
from candor_proto.result import Hit, TargetState


class Gatherer:
    """Processes answers. `on_stale` hears of a lookup one of whose targets has moved to a new epoch."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        open_cases: Cases,
        federation: FederationName,
        clock: Clock,
        on_stale: Callable[[Case, LookupId], None],
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._cases = open_cases
        self._federation = federation
        self._clock = clock
        self._on_stale = on_stale

    async def process(self, row: InboxRow) -> None:
        """Take one answer of the inbox into its lookup. Raises StoreUnusable only."""
        lookup_id, node = LookupId(row.envelope.envelope_id), row.envelope.sender
        case = await self._cases.of_lookup(lookup_id)
        if case is None or node not in case.asks[lookup_id].targets:
            log.warning("an answer to nothing that was asked", sender=str(node))
            await self._store.run(lambda db: mail_store.settle(db, row.number, UnknownObject.code))
            return
        async with case.lock:
            stale = await self._take(case, case.asks[lookup_id], row)
            case.changed.set()
        for each in stale:
            self._on_stale(case, each)

    async def _take(self, case: Case, ask: Ask, row: InboxRow) -> list[LookupId]:
        """One answer, under the case's lock; the lookups whose node is to be asked again (§7.9)."""
        node, before = row.envelope.sender, ask.targets[row.envelope.sender]
        if TRANSITIONS[before.state, TargetEvent.EVALUATED] is before.state:
            await self._store.run(lambda db: mail_store.settle(db, row.number))
            return []
        now, index = self._clock.now(), self._indexes.indexes.get(node)
        seen = await self._examine(ask, node, row, index)
        target = target_after(before, seen, row, index, now)
        asks = {**case.asks, ask.lookup_id: _with_target(ask, node, target)}
        outputs = dict(case.outputs)
        if seen.outputs is not None:
            outputs[ask.lookup_id, node] = seen.outputs[0]
        after = replace(case, asks=asks, outputs=outputs)
        found, failures = await self._open(after, node, index, now)

        def work(db: Database) -> SearchRow:
            search_id = case.row.search_id
            for lookup_id, changed in after.asks.items():
                if node in changed.targets and changed is not case.asks[lookup_id]:
                    lookup_store.set_target(db, lookup_id, node, changed.targets[node])
            hit_store.add_hits(db, search_id, found, now)
            for failure in failures:
                hit_store.add_failure(db, search_id, node, failure.blob_id, failure.error.code, now)
            mail_store.settle(db, row.number)
            if case.row.shown_at is None:
                return case.row
            return cases.show(db, after, now, closed=case.row.closed)

        stored = await self._cases.store(case, work)
        stale = [
            lookup_id
            for lookup_id, changed in after.asks.items()
            if changed is not case.asks[lookup_id]
            and changed.targets[node].state is TargetState.STALE_EPOCH
            and changed.attempt == 0
            and not stored.closed
        ]
        case.row, case.asks, case.outputs = stored, after.asks, after.outputs
        for lookup_id in stale:
            case.stale.setdefault(lookup_id, set()).add(node)
            case.asking_again.add((lookup_id, node))
        return stale

    async def _examine(self, ask: Ask, node: NodeId, row: InboxRow, index: NodeIndex | None) -> Examined:
        try:
            key = self._indexes.require_directory().member(node).signing_key
        except CandorError as error:
            return Examined(TargetEvent.INVALID, error.code)
        return await asyncio.to_thread(coverage.examine, ask.draft, node, key, row.statement, index)

    async def _open(
        self, case: Case, node: NodeId, index: NodeIndex | None, now: datetime
    ) -> tuple[list[tuple[Hit, bytes]], Sequence[LocalFailure]]:
        """The hits in `node`'s index with their blobs, once it has answered every lookup of the person."""
        newest = coverage.latest(case.asks.values(), node)
        if index is None or len(newest) < case.row.plans:
            return [], ()
        if any(target.state is not TargetState.ANSWERED for _, target in newest.values()):
            return [], ()
        outputs: list[tuple[Slot, bytes]] = []
        usable = True
        for lookup_id, target in newest.values():
            known = await self._outputs(case, lookup_id, node, target, index)
            if known is None:
                usable = False
                moved = replace(target, state=TargetState.STALE_EPOCH, reason=coverage.MOVED_ON)
                case.asks[lookup_id] = _with_target(case.asks[lookup_id], node, moved)
            else:
                outputs.extend(known)
        if not usable:
            return [], ()
        findings = await asyncio.to_thread(find_hits, outputs, index, self._federation, now.date())
        return [(hit, index.blob_behind(hit)) for hit in findings.hits], findings.failures

    async def _outputs(
        self, case: Case, lookup_id: LookupId, node: NodeId, target: TargetRow, index: NodeIndex
    ) -> Outputs | None:
        """The outputs of an answer, for `index`; None when they are of another epoch or lost."""
        ask = case.asks[lookup_id]
        if ask.draft.lookup.epoch_for(node) != index.head.epoch:
            return None
        known = case.outputs.get((lookup_id, node))
        if known is None and target.answer is not None:
            # Checked before a restart: it is checked and unblinded once more.
            try:
                key = self._indexes.require_directory().member(node).signing_key
            except CandorError:
                return None
            seen = await asyncio.to_thread(coverage.examine, ask.draft, node, key, target.answer, index)
            known = None if seen.outputs is None else seen.outputs[0]
            if known is not None:
                case.outputs[lookup_id, node] = known
        return known

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
                case.row = await self._cases.store(case, partial(cases.show, case=case, now=now))

    async def _close(self, case: Case, now: datetime) -> None:
        asks = {
            lookup_id: replace(
                ask,
                targets={
                    node: replace(target, state=TRANSITIONS[target.state, TargetEvent.EXPIRES])
                    for node, target in ask.targets.items()
                },
            )
            for lookup_id, ask in case.asks.items()
        }
        after = replace(case, asks=asks)

        def work(db: Database) -> SearchRow:
            for ask in asks.values():
                for node, target in ask.targets.items():
                    lookup_store.set_target(db, ask.lookup_id, node, target)
            row = cases.show(db, after, now, closed=True)
            for ask in asks.values():
                if ask.state is not LookupState.DENIED:
                    state = lookup_after(ask.state, LookupEvent.LIFE_ENDS)
                    lookup_store.set_ask_state(db, ask.lookup_id, state)
            return row

        case.row = await self._cases.store(case, work)
        case.asks = asks


def _with_target(ask: Ask, node: NodeId, target: TargetRow) -> Ask:
    return replace(ask, targets={**ask.targets, node: target})


def target_after(
    before: TargetRow, seen: Examined, row: InboxRow, index: NodeIndex | None, now: datetime
) -> TargetRow:
    """The next state of §7.8, and what the index held says besides (§6.7, §6.8)."""
    state = TRANSITIONS[before.state, seen.event]
    issued = None
    if state is TargetState.ANSWERED:
        if index is None:
            state = TargetState.NO_INDEX
        else:
            issued = index.head.issued_at
            if index.head.is_stale(now):
                state = TargetState.STALE_INDEX
    return TargetRow(state, seen.reason, issued, row.statement)
