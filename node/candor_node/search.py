"""Asks about a person: papers, quota, one to three lookups, and the wait for answers (docs/protocol.md §7).

Rules of this file:
- inputs, blinds and papers are stored before anything is sent; what was sent is never changed;
- two lookups for one person share nothing: each has its own id, blinds, salts and filler seed;
- a result is shown once all targets have settled or the wait is over; `gathering` amends it later.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from candor_node import cases, ledger, lookup_store, mail_store
from candor_node.cases import Case, Cases, SearchView
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.lookup_store import Ask, SearchRow, TargetRow
from candor_node.mail_store import OutboxRow
from candor_node.outbox import Outbox, is_final
from candor_node.store import Database, Store, Work
from candor_proto.budget import Quota, check_budget
from candor_proto.errors import CandorError, StoreUnusable, Unreachable
from candor_proto.exchange import (
    AskedPerson,
    LookupEvent,
    LookupState,
    Paperwork,
    blind_plan,
    draft_lookup,
    lookup_after,
    plan_targets,
)
from candor_proto.ids import FederationName, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import SEED_BYTES, LookupPlan, plan_lookup
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening import Opening
from candor_proto.policy import check_askable, check_paperwork, check_shape
from candor_proto.result import TargetState
from candor_proto.signing import SigningKey
from candor_proto.statements import LOOKUP_LIFE, SLOTS, Target
from candor_wire.codec import Envelope, MessageKind
from candor_wire.limits import CALL_DEADLINE_SECONDS

# Stale targets that answer within this time share one second lookup.
GATHER_STALE_SECONDS = 0.2
Progress = Callable[[int, int], None]


@dataclass(frozen=True, repr=False)
class Question:
    """What a person asks: about whom, why, and under which papers."""

    particulars: Particulars
    purpose: Purpose
    shape: LookupShape
    case: str
    consent: str
    officer: str


class Searcher:
    """Sends own lookups. `check_ready` raises when this node must not send lookups now (§8.4)."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        open_cases: Cases,
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
        self._cases = open_cases
        self._federation = federation
        self._own = own
        self._key = key
        self._quota = quota
        self._clock = clock
        self._further_lookup_delay_seconds = further_lookup_delay_seconds
        self._check_ready = check_ready
        self._tasks: set[asyncio.Task[None]] = set()
        # Searches that somebody here is asking just now.
        self._asking: set[LookupId] = set()

    # --- asking ------------------------------------------------------------------------------------------

    async def ask(
        self, question: Question, wait_seconds: float, on_progress: Progress = lambda settled, asked: None
    ) -> SearchView:
        """Ask about one person, wait for answers, show. Raises whatever denies the lookup as a whole."""
        person = await self._check(question)
        case = await self._begin(question, person)
        deadline = asyncio.get_running_loop().time() + wait_seconds
        self._asking.add(case.row.search_id)
        try:
            await self._send_plans(case, question, person)
        finally:
            self._asking.discard(case.row.search_id)
        while case.settled() < case.asked():
            on_progress(case.settled(), case.asked())
            case.changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await case.changed.wait()
            except TimeoutError:
                break
        on_progress(case.settled(), case.asked())
        # The same one, unless it had to be read again in the meantime.
        case = await self._cases.get(case.row.search_id)
        async with case.lock:
            now = self._clock.now()
            case.row = await self._cases.store(case, lambda db: cases.show(db, case, now))
        return await self._cases.view(case.row.search_id)

    async def _check(self, question: Question) -> Person:
        """Whether this may be asked at all; nothing has been stored or sent yet."""
        check_paperwork(question.purpose, question.case, question.consent, question.officer)
        person = normalise(question.particulars)
        plans = plan_lookup(person, question.shape, bytes(SEED_BYTES))
        check_askable(plans)
        self._check_ready()
        now = self._clock.now()
        await self._store.run(lambda db: self._allow(db, question.shape, question.case, len(plans), now))
        return person

    def _allow(self, db: Database, shape: LookupShape, case: str, plans: int, now: datetime) -> None:
        """Whether what was asked before leaves room for this; asked early, and again when it is stored."""
        check_shape(shape, lookup_store.shapes_for_case(db, case))
        wanted = {key_class: count * plans for key_class, count in SLOTS[shape].items()}
        check_budget(self._quota, lookup_store.own_uses(db, now), wanted, now, str(self._own))

    async def _begin(self, question: Question, person: Person) -> Case:
        """Store and send the first lookup; raises when the hub denies it."""
        directory = self._indexes.require_directory()
        targets, missing = plan_targets(directory, self._indexes.held_epochs())
        if not targets:
            raise Unreachable(
                "No member's index is held yet, so there is nothing to ask.",
                remedy="Wait until `candor-node status` shows indexes.",
            )
        now = self._clock.now()
        plans = plan_lookup(person, question.shape, bytes(SEED_BYTES))
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
        case = Case(row, {})
        self._cases.add(case)
        try:
            error = await self._store_and_send(case, ask, new_search=True)
        except CandorError:
            self._cases.drop(row.search_id)
            raise
        if error is not None and is_final(error):
            self._cases.drop(row.search_id)
            await self._store.run(lambda db: lookup_store.close(db, row.search_id))
            raise error
        return case

    async def _send_plans(self, case: Case, question: Question, person: Person) -> None:
        """Send the plans of a search that were not sent yet."""
        for number in range(1, case.row.plans):
            if number not in {ask.plan_number for ask in case.asks.values()}:
                # Several lookups in one breath would say how many surnames the person has.
                await asyncio.sleep(random.uniform(0, self._further_lookup_delay_seconds))  # noqa: S311
                await self._send_plan(case, question, person, number)

    async def _send_plan(self, case: Case, question: Question, person: Person, number: int) -> None:
        targets, _ = plan_targets(self._indexes.require_directory(), self._indexes.held_epochs())
        if targets:
            now = self._clock.now()
            ask = await asyncio.to_thread(self._draft, question, person, number, 0, targets, now)
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
        paperwork = Paperwork.draw(question.case, question.consent, question.officer)
        plan: LookupPlan = plan_lookup(person, question.shape, paperwork.filler_seed)[number]
        slots = blind_plan(plan)
        draft = draft_lookup(
            [AskedPerson(slots, paperwork)],
            question.shape,
            question.purpose,
            self._federation,
            self._own,
            targets,
            self._key,
            now,
        )
        opening = Opening(
            question.particulars,
            paperwork,
            number,
            tuple(item.slot.input for item in slots),
            tuple(item.blinded.blind.to_bytes() for item in slots),
        )
        pending = {target.node: TargetRow(TargetState.PENDING) for target in targets}
        return Ask(draft, opening, attempt, LookupState.STORED, pending)

    async def _store_and_send(self, case: Case, ask: Ask, *, new_search: bool = False) -> CandorError | None:
        """Store a lookup, then hand it to the hub. A hub that cannot be reached gets it later."""
        statement, now = ask.draft.statement, self._clock.now()
        envelope = Envelope(
            ask.lookup_id.value,
            MessageKind.LOOKUP,
            self._own,
            None,
            statement.body,
            statement.signature,
            ask.draft.lookup.expires_at,
        )

        def work(db: Database) -> OutboxRow | None:
            if new_search:
                # Another search may have been stored since it was asked first.
                self._allow(db, case.row.shape, case.row.case, case.row.plans, now)
                lookup_store.add_search(db, case.row)
            lookup_store.add_ask(db, case.row.search_id, ask)
            mail_store.enqueue(db, envelope, now, now + timedelta(seconds=2 * CALL_DEADLINE_SECONDS))
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
            return mail_store.outgoing(db, self._own, MessageKind.LOOKUP, ask.lookup_id.value)

        async with case.lock:
            row = await self._cases.store(case, work)
            case.asks[ask.lookup_id] = ask
        if row is not None:
            try:
                await self._outbox.send(row)
            except CandorError as error:
                return error
        return None

    # --- what the hub said ---------------------------------------------------------------------------------

    async def sent(self, lookup_id: LookupId, error: CandorError | None, settle: Work[None]) -> bool:
        """The hub has accepted a lookup (None) or denied it for good; False when it is none of a search."""
        case = await self._cases.of_lookup(lookup_id)
        if case is None:
            return False
        async with case.lock:
            ask, now = case.asks[lookup_id], self._clock.now()
            state = lookup_after(
                ask.state, LookupEvent.HUB_ACCEPTS if error is None else LookupEvent.HUB_DENIES
            )
            reason = "" if error is None else f"the hub denied it: {error.message}"
            targets = dict(ask.targets)
            if error is not None:
                targets = {node: TargetRow(TargetState.REFUSED, reason) for node in targets}

            def work(db: Database) -> None:
                settle(db)
                lookup_store.set_ask_state(db, lookup_id, state, reason)
                if error is None:
                    return
                for node, target in targets.items():
                    lookup_store.set_target(db, lookup_id, node, target)
                if len(case.asks) == 1:
                    # Nothing of this search was ever sent, and nothing will be.
                    lookup_store.close(db, case.row.search_id)
                ledger.append(db, now, "lookup.denied", {"lookup_id": str(lookup_id)}, {"code": error.code})

            await self._cases.store(case, work)
            case.asks[lookup_id] = replace(ask, state=state, targets=targets)
            case.changed.set()
        return True

    # --- what is left -----------------------------------------------------------------------------------

    async def send_unsent(self) -> None:
        """Send what a run before this one, or a client that went away, has left unsent of open searches."""
        try:
            self._check_ready()
        except CandorError:
            return
        now = self._clock.now()
        for search_id in await self._store.run(partial(lookup_store.unsent_searches, now=now)):
            if search_id in self._asking:
                continue
            case = await self._cases.get(search_id)
            try:
                await self._finish_sending(case)
            except StoreUnusable:
                raise
            except CandorError as error:
                log.warning("a search could not be completed", code=error.code)

    async def _finish_sending(self, case: Case) -> None:
        first = min(case.asks.values(), key=lambda ask: (ask.plan_number, ask.attempt))
        question = _question(case.row, first)
        await self._send_plans(case, question, normalise(question.particulars))
        again = {(ask.plan_number, node) for ask in case.asks.values() if ask.attempt for node in ask.targets}
        for lookup_id, ask in tuple(case.asks.items()):
            moved = {
                node
                for node, target in ask.targets.items()
                if target.state is TargetState.STALE_EPOCH
                and not ask.attempt
                and (ask.plan_number, node) not in again
                and (lookup_id, node) not in case.asking_again
            }
            if moved:
                case.stale.setdefault(lookup_id, set()).update(moved)
                case.asking_again.update((lookup_id, node) for node in moved)
                self.ask_again(case, lookup_id)

    # --- asking again --------------------------------------------------------------------------------------

    def ask_again(self, case: Case, lookup_id: LookupId) -> None:
        """Targets of a lookup have moved to a new epoch: ask those once more, in the background (§7.9)."""
        task = asyncio.create_task(self._ask_again(case, case.asks[lookup_id]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_again(self, case: Case, first: Ask) -> None:
        await asyncio.sleep(GATHER_STALE_SECONDS)
        # Whoever comes first takes all that have gathered; the others find none left.
        stale = case.stale.pop(first.lookup_id, set())
        if not stale:
            return
        try:
            await self._indexes.refresh()
            held, named = self._indexes.held_epochs(), first.draft.lookup.epoch_for
            moved = [node for node in sorted(stale) if node in held and held[node] != named(node)]
            if moved:
                targets, _ = plan_targets(self._indexes.require_directory(), held, moved)
                question = _question(case.row, first)
                person, now = normalise(question.particulars), self._clock.now()
                ask = await asyncio.to_thread(
                    self._draft, question, person, first.plan_number, 1, targets, now
                )
                await self._store_and_send(case, ask)
        except CandorError as error:
            log.warning("stale targets were not asked again", code=error.code)
        finally:
            case.asking_again.difference_update((first.lookup_id, node) for node in stale)
            case.changed.set()

    async def close(self) -> None:
        """Stop asking again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _question(row: SearchRow, ask: Ask) -> Question:
    return Question(ask.opening.particulars, row.purpose, row.shape, row.case, row.consent, row.officer)
