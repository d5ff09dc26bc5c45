"""Asks about a person and gathers the answers (docs/protocol.md §7).

Rules of this file:
- blinds and inputs are stored before anything is sent; what was sent is never changed;
- answers reach this file from the inbox, acknowledged long before: nothing that the hub or an owner can see
  depends on what an answer holds;
- whatever fails while an index is opened is a miss; it goes to the failure digest and nowhere else (§7.6);
- a result is shown once all targets have settled or the wait is over, and late answers amend it.

`_cases` belongs to the event loop; each case's lock orders what is done to it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from candor_node import coverage, ledger, lookup_store, mail_store
from candor_node.clock import Clock
from candor_node.coverage import Examined, Outputs
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.lookup_store import Ask, SearchRow, StoredHit, TargetRow
from candor_node.mail_store import InboxRow, OutboxRow
from candor_node.outbox import Outbox, is_final
from candor_node.store import Database, Store
from candor_proto.budget import Quota, check_budget
from candor_proto.candidates import LocalFailure, NodeIndex, find_hits
from candor_proto.errors import CandorError, InputInvalid, UnknownObject, Unreachable
from candor_proto.exchange import (
    TRANSITIONS,
    LookupEvent,
    LookupState,
    Paperwork,
    TargetEvent,
    draft_lookup,
    lookup_after,
    plan_targets,
)
from candor_proto.ids import FederationName, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import GATE_THRESHOLD, LookupPlan, gate_weight, plan_lookup
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening import Opening
from candor_proto.policy import check_paperwork, check_shape
from candor_proto.result import Hit, LookupResult, TargetState
from candor_proto.signing import SigningKey
from candor_proto.statements import LOOKUP_LIFE, SLOTS, Target
from candor_wire.codec import Envelope, MessageKind

# Stale targets that answer within this time share one second lookup.
GATHER_STALE_SECONDS = 0.2
MAX_CASES = 64


@dataclass(frozen=True, repr=False)
class Question:
    """What a person asks: about whom, why, and under which papers."""

    particulars: Particulars
    purpose: Purpose
    shape: LookupShape
    case: str
    consent: str
    officer: str


@dataclass(frozen=True)
class SearchView:
    """A search as people see it; `result` is None until it was shown for the first time."""

    row: SearchRow
    result: LookupResult | None
    hits: tuple[StoredHit, ...]


@dataclass
class _Case:
    """A search in memory."""

    row: SearchRow
    asks: dict[LookupId, Ask]
    outputs: dict[tuple[LookupId, NodeId], Outputs] = field(default_factory=dict)
    asking_again: set[NodeId] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def settled(self) -> int:
        """How many of the nodes asked have nothing more to say for now."""
        reports = [
            coverage.report(self.row, list(self.asks.values()), node)
            for node in coverage.asked_nodes(self.asks.values())
        ]
        return sum(
            report.state is not TargetState.PENDING and report.node not in self.asking_again
            for report in reports
        )

    def asked(self) -> int:
        return len(coverage.asked_nodes(self.asks.values()))


Progress = Callable[[int, int], None]


class Searcher:
    """Drives own lookups. `check_ready` raises when this node must not send lookups now (§8.4)."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        quota: Quota,
        clock: Clock,
        further_lookup_delay_seconds: float,
        check_ready: Callable[[], None],
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._federation = federation
        self._own = own
        self._key = key
        self._quota = quota
        self._clock = clock
        self._further_lookup_delay_seconds = further_lookup_delay_seconds
        self._check_ready = check_ready
        self._cases: dict[LookupId, _Case] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- asking ------------------------------------------------------------------------------------------

    async def ask(
        self, question: Question, wait_seconds: float, on_progress: Progress = lambda answered, asked: None
    ) -> SearchView:
        """Ask about one person, wait for answers, show. Raises whatever denies the lookup as a whole."""
        person = await self._check(question)
        case = await self._begin(question, person)
        deadline = asyncio.get_running_loop().time() + wait_seconds
        for number in range(1, case.row.plans):
            # Several lookups in one breath would say how many surnames the person has.
            await asyncio.sleep(random.uniform(0, self._further_lookup_delay_seconds))  # noqa: S311
            await self._send_plan(case, question, person, number)
        while case.settled() < case.asked():
            on_progress(case.settled(), case.asked())
            case.changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await case.changed.wait()
            except TimeoutError:
                break
        on_progress(case.settled(), case.asked())
        async with case.lock:
            await self._store.run(lambda db: self._show(db, case, self._clock.now()))
        return await self.view(case.row.search_id)

    async def _check(self, question: Question) -> Person:
        check_paperwork(question.purpose, question.case, question.consent, question.officer)
        person = normalise(question.particulars)
        plans = plan_lookup(person, question.shape, bytes(32))
        labels = {slot.label for plan in plans for slot in plan.slots if slot.label is not None}
        if gate_weight(labels) < GATE_THRESHOLD:
            raise InputInvalid(
                "Too little is known of this person: a lookup could open no record, whoever it is.",
                remedy="Give at least first and last name and the birth date or the last four of the SSN.",
            )
        self._check_ready()
        now = self._clock.now()
        wanted = {key_class: count * len(plans) for key_class, count in SLOTS[question.shape].items()}
        shapes, uses = await self._store.run(
            lambda db: (lookup_store.shapes_for_case(db, question.case), lookup_store.own_uses(db, now))
        )
        check_shape(question.shape, shapes)
        check_budget(self._quota, uses, wanted, now, str(self._own))
        return person

    async def _begin(self, question: Question, person: Person) -> _Case:
        """Store and send the first lookup; raises when the hub denies it."""
        directory = self._indexes.require_directory()
        targets, missing = plan_targets(directory, self._indexes.held_epochs())
        if not targets:
            raise Unreachable(
                "No member's index is held yet, so there is nothing to ask.",
                remedy="Wait until `candor-node status` shows indexes.",
            )
        now = self._clock.now()
        plans = plan_lookup(person, question.shape, bytes(32))
        ask = await asyncio.to_thread(self._draft, question, person, 0, 0, targets, now)
        row = SearchRow(
            search_id=ask.lookup_id,
            purpose=question.purpose,
            shape=question.shape,
            case=question.case,
            consent=question.consent,
            officer=question.officer,
            created_at=now,
            expires_at=now + LOOKUP_LIFE,
            plans=len(plans),
            incomplete=plans[0].incomplete,
            directory_version=directory.version,
            missing=missing,
        )
        case = _Case(row, {})
        self._remember(case)
        error = await self._store_and_send(case, ask, new_search=True)
        if error is not None and is_final(error):
            del self._cases[row.search_id]
            await self._store.run(lambda db: self._close_denied(db, row))
            raise error
        return case

    async def _send_plan(self, case: _Case, question: Question, person: Person, number: int) -> None:
        directory = self._indexes.require_directory()
        targets, _ = plan_targets(directory, self._indexes.held_epochs())
        if targets:
            ask = await asyncio.to_thread(
                self._draft, question, person, number, 0, targets, self._clock.now()
            )
            await self._store_and_send(case, ask)

    def _draft(
        self,
        question: Question,
        person: Person,
        number: int,
        attempt: int,
        targets: Sequence[Target],
        now: datetime,
    ) -> Ask:
        # Salts, filler seed and blinds of its own: two lookups for one person have nothing in common.
        paperwork = Paperwork.draw(question.case, question.consent, question.officer)
        plan: LookupPlan = plan_lookup(person, question.shape, paperwork.filler_seed)[number]
        draft = draft_lookup(
            plan, paperwork, question.purpose, self._federation, self._own, targets, self._key, now
        )
        opening = Opening(
            question.particulars,
            paperwork,
            number,
            tuple(slot.slot.input for slot in draft.slots),
            tuple(slot.blinded.blind.to_bytes() for slot in draft.slots),
        )
        pending = {target.node: TargetRow(TargetState.PENDING) for target in targets}
        return Ask(draft, opening, attempt, LookupState.STORED, pending)

    async def _store_and_send(
        self, case: _Case, ask: Ask, *, new_search: bool = False
    ) -> CandorError | None:
        """Store a lookup, then hand it to the hub. A hub that cannot be reached gets it later."""
        lookup, statement, now = ask.draft.lookup, ask.draft.statement, self._clock.now()
        envelope = Envelope(
            lookup.lookup_id.value,
            MessageKind.LOOKUP,
            self._own,
            None,
            statement.body,
            statement.signature,
            lookup.expires_at,
        )

        def work(db: Database) -> OutboxRow | None:
            if new_search:
                lookup_store.add_search(db, case.row)
            lookup_store.add_ask(db, case.row.search_id, ask)
            mail_store.enqueue(db, envelope, now)
            ledger.append(
                db,
                now,
                "lookup.sent",
                {"lookup_id": str(ask.lookup_id), "search_id": str(case.row.search_id)},
                {
                    "purpose": case.row.purpose.name,
                    "shape": case.row.shape.name,
                    "case_number": case.row.case,
                    "officer": case.row.officer,
                    "targets": len(ask.targets),
                    "plan": ask.plan_number,
                    "attempt": ask.attempt,
                },
            )
            return mail_store.outgoing(db, self._own, MessageKind.LOOKUP, lookup.lookup_id.value)

        async with case.lock:
            row = await self._store.run(work)
            case.asks[ask.lookup_id] = ask
        if row is not None:
            try:
                await self._outbox.send(row)
            except CandorError as error:
                return error
        return None

    def _close_denied(self, db: Database, row: SearchRow) -> None:
        lookup_store.close(db, row.search_id)

    # --- what the hub said ---------------------------------------------------------------------------------

    async def sent(self, lookup_id: LookupId, error: CandorError | None) -> None:
        """The hub has accepted a lookup (None) or denied it for good."""
        case = await self._find(lookup_id)
        if case is None:
            return
        async with case.lock:
            ask = case.asks[lookup_id]
            event = LookupEvent.HUB_ACCEPTS if error is None else LookupEvent.HUB_DENIES
            state = lookup_after(ask.state, event)
            reason, targets, now = "", ask.targets, self._clock.now()
            if error is not None:
                reason = f"the hub denied it: {error.message}"
                targets = {node: TargetRow(TargetState.REFUSED, reason) for node in targets}
            case.asks[lookup_id] = replace(ask, state=state, targets=targets)

            def work(db: Database) -> None:
                lookup_store.set_ask_state(db, lookup_id, state, reason)
                if error is not None:
                    for node, target in targets.items():
                        lookup_store.set_target(db, lookup_id, node, target)
                    ledger.append(
                        db, now, "lookup.denied", {"lookup_id": str(lookup_id)}, {"code": error.code}
                    )

            await self._store.run(work)
            case.changed.set()

    # --- answers -------------------------------------------------------------------------------------------

    async def process(self, row: InboxRow) -> None:
        """Take one answer of the inbox into its lookup. Raises StoreUnusable only."""
        lookup_id, node = LookupId(row.envelope.envelope_id), row.envelope.sender
        case = await self._find(lookup_id)
        if case is None or node not in case.asks[lookup_id].targets:
            log.warning("an answer to nothing that was asked", sender=str(node))
            await self._store.run(lambda db: mail_store.settle(db, row.number, UnknownObject.code))
            return
        async with case.lock:
            again = await self._take(case, case.asks[lookup_id], row)
            case.changed.set()
        if again:
            self._spawn(self._ask_again(case, lookup_id))

    async def _take(self, case: _Case, ask: Ask, row: InboxRow) -> bool:
        """One answer, under the case's lock; whether its node is to be asked again (§7.9)."""
        node, before = row.envelope.sender, ask.targets[row.envelope.sender]
        if TRANSITIONS[before.state, TargetEvent.EVALUATED] is before.state:
            await self._store.run(lambda db: mail_store.settle(db, row.number))
            return False
        now, index = self._clock.now(), self._indexes.indexes.get(node)
        try:
            key = self._indexes.require_directory().member(node).signing_key
        except CandorError as error:
            seen = Examined(TargetEvent.INVALID, error.code)
        else:
            seen = await asyncio.to_thread(
                coverage.examine, ask.draft, node, key, row.statement, index
            )
        target = _target(before, seen, row, index, now)
        ask = replace(ask, targets={**ask.targets, node: target})
        case.asks[ask.lookup_id] = ask
        if seen.outputs is not None:
            case.outputs[ask.lookup_id, node] = seen.outputs
        found, failures = await self._open(case, node, index, now)

        def work(db: Database) -> None:
            lookup_store.set_target(db, ask.lookup_id, node, target)
            lookup_store.add_hits(db, case.row.search_id, found, now)
            for failure in failures:
                lookup_store.add_failure(
                    db, case.row.search_id, node, failure.blob_id, failure.error.code, now
                )
            if case.row.shown_at is not None:
                self._show(db, case, now)
            mail_store.settle(db, row.number)

        await self._store.run(work)
        stale = target.state is TargetState.STALE_EPOCH and ask.attempt == 0 and not case.row.closed
        if stale:
            case.asking_again.add(node)
        return stale

    async def _open(
        self, case: _Case, node: NodeId, index: NodeIndex | None, now: datetime
    ) -> tuple[list[tuple[Hit, bytes]], Sequence[LocalFailure]]:
        """The hits in `node`'s index, once it has answered every lookup of the person."""
        newest = coverage.latest(case.asks.values(), node)
        if index is None or len(newest) < case.row.plans:
            return [], ()
        if any(target.state is not TargetState.ANSWERED for _, target in newest.values()):
            return [], ()
        outputs: list[tuple[object, bytes]] = []
        for lookup_id, target in newest.values():
            known = case.outputs.get((lookup_id, node))
            if known is None:
                known = await asyncio.to_thread(self._unblind_again, case.asks[lookup_id], node, target, index)
                case.outputs[lookup_id, node] = known
            outputs.extend(known)
        findings = await asyncio.to_thread(find_hits, outputs, index, self._federation, now.date())
        blobs = [
            (hit, next(blob for segment in index.segments if (blob := segment.blob(hit.blob_id))))
            for hit in findings.hits
        ]
        return blobs, findings.failures

    def _unblind_again(self, ask: Ask, node: NodeId, target: TargetRow, index: NodeIndex) -> Outputs:
        """The outputs of an answer that was checked before a restart."""
        if target.answer is None:
            return ()
        key = self._indexes.require_directory().member(node).signing_key
        return coverage.examine(ask.draft, node, key, target.answer, index).outputs or ()

    async def _ask_again(self, case: _Case, lookup_id: LookupId) -> None:
        """Ask the targets that had moved to a new epoch once more, under a new id with fresh blinds."""
        await asyncio.sleep(GATHER_STALE_SECONDS)
        first = case.asks[lookup_id]
        stale = [node for node, target in first.targets.items() if target.state is TargetState.STALE_EPOCH]
        stale = [node for node in stale if node in case.asking_again]
        if not stale:
            return
        try:
            await self._indexes.refresh()
            held = self._indexes.held_epochs()
            nodes = [node for node in stale if held.get(node, first.draft.lookup.epoch_for(node)) != first.draft.lookup.epoch_for(node)]
            if nodes:
                targets, _ = plan_targets(self._indexes.require_directory(), held, nodes)
                question = _question(case.row, first)
                ask = await asyncio.to_thread(
                    self._draft,
                    question,
                    normalise(question.particulars),
                    first.plan_number,
                    1,
                    targets,
                    self._clock.now(),
                )
                await self._store_and_send(case, ask)
        except CandorError as error:
            log.warning("stale targets were not asked again", code=error.code)
        finally:
            case.asking_again.difference_update(stale)
            case.changed.set()

    # --- results -------------------------------------------------------------------------------------------

    def _show(self, db: Database, case: _Case, now: datetime, *, closed: bool = False) -> None:
        """Store the result as it is now; the second time it is an amendment."""
        row = case.row
        found = coverage.coverage(row, list(case.asks.values()), now)
        first = row.shown_at is None
        if first:
            lookup_store.number_hits(db, row.search_id)
        hits = lookup_store.hits(db, row.search_id)
        result = coverage.result(row, found, hits)
        lookup_store.store_result(db, row.search_id, coverage.write_coverage(found), now, closed)
        for ask in case.asks.values():
            if ask.state in (LookupState.ACCEPTED, LookupState.SHOWN):
                lookup_store.set_ask_state(db, ask.lookup_id, lookup_after(ask.state, LookupEvent.SHOW))
        ledger.append(
            db,
            now,
            "lookup.shown" if first else "lookup.amended",
            {"search_id": str(row.search_id)},
            {
                "overall": result.overall.value,
                "hits": len(result.hits),
                "answered": found.answered,
                "asked": found.asked,
            },
        )
        case.row = replace(row, shown_at=row.shown_at or now, closed=closed)

    async def view(self, search_id: LookupId) -> SearchView:
        """Raises UnknownObject."""
        return await self._store.run(lambda db: load_view(db, search_id))

    async def expire(self) -> None:
        """Close the searches whose life has ended: who has not answered never will (§7.8)."""
        now = self._clock.now()
        for search_id in await self._store.run(lambda db: lookup_store.ended_searches(db, now)):
            case = await self._case(search_id)
            async with case.lock:
                for ask in list(case.asks.values()):
                    targets = {
                        node: replace(target, state=TRANSITIONS[target.state, TargetEvent.EXPIRES])
                        for node, target in ask.targets.items()
                    }
                    case.asks[ask.lookup_id] = replace(ask, targets=targets)
                await self._store.run(lambda db, case=case: self._close(db, case, now))
            self._cases.pop(search_id, None)

    def _close(self, db: Database, case: _Case, now: datetime) -> None:
        for ask in case.asks.values():
            for node, target in ask.targets.items():
                lookup_store.set_target(db, ask.lookup_id, node, target)
        self._show(db, case, now, closed=True)
        for ask in case.asks.values():
            if ask.state is not LookupState.DENIED:
                lookup_store.set_ask_state(db, ask.lookup_id, LookupState.CLOSED)

    # --- cases ---------------------------------------------------------------------------------------------

    async def _find(self, lookup_id: LookupId) -> _Case | None:
        for case in self._cases.values():
            if lookup_id in case.asks:
                return case
        search_id = await self._store.run(lambda db: lookup_store.search_of(db, lookup_id))
        return None if search_id is None else await self._case(search_id)

    async def _case(self, search_id: LookupId) -> _Case:
        if search_id not in self._cases:
            row, asks = await self._store.run(
                lambda db: (lookup_store.search(db, search_id), lookup_store.asks(db, search_id))
            )
            if row is None:
                raise UnknownObject(f"There is no lookup {search_id}.")
            # Another task may have been first while this one waited for the store.
            if search_id not in self._cases:
                self._remember(_Case(row, {ask.lookup_id: ask for ask in asks}))
        return self._cases[search_id]

    def _remember(self, case: _Case) -> None:
        self._cases[case.row.search_id] = case
        for search_id, old in list(self._cases.items()):
            if len(self._cases) <= MAX_CASES:
                break
            if old.row.shown_at is not None and not old.lock.locked():
                del self._cases[search_id]

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def load_view(db: Database, search_id: LookupId) -> SearchView:
    """Raises UnknownObject."""
    row = lookup_store.search(db, search_id)
    if row is None:
        raise UnknownObject(
            f"There is no lookup {search_id}.", remedy="`candor-node lookups` lists those of this node."
        )
    hits = tuple(lookup_store.hits(db, search_id))
    if row.result is None:
        return SearchView(row, None, ())
    return SearchView(row, coverage.result(row, coverage.read_coverage(row.result), hits), hits)


def _target(
    before: TargetRow, seen: Examined, row: InboxRow, index: NodeIndex | None, now: datetime
) -> TargetRow:
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


def _question(row: SearchRow, ask: Ask) -> Question:
    return Question(ask.opening.particulars, row.purpose, row.shape, row.case, row.consent, row.officer)
