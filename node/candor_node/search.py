"""Asks about a person: papers, quota, one to three lookups, and the wait for answers (docs/protocol.md §7).

Rules of this file:
- inputs, blinds and papers are stored before anything is sent; what was sent is never changed;
- members whose indexes are of one scheme are asked together, those of another by a lookup of its own: the
  lookups of one plan are stored in one transaction, so that no member is left out;
- two lookups for one person share nothing: each has its own id, blinds, salts and filler seed;
- a result is shown once all targets have settled or the wait is over; `gathering` amends it later.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from candor_node import cases, ledger, lookup_store, mail_store, permits
from candor_node.approvals import ApprovalId
from candor_node.asking import Checked, Drafts, Question, check_question, check_targets, has_moved
from candor_node.cases import Case, Cases, SearchView
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.lookup_store import Ask, SearchRow
from candor_node.mail_store import OutboxRow
from candor_node.outbox import Outbox, is_final
from candor_node.store import Database, Store, Work
from candor_node.targets import TargetRow
from candor_proto.budget import Quota, check_budget
from candor_proto.errors import CandorError, SecondPersonNeeded, StoreUnusable
from candor_proto.exchange import (
    LookupEvent,
    LookupState,
    TargetPlan,
    lookup_after,
    plan_targets,
)
from candor_proto.ids import FederationName, LookupId, LookupShape, NodeId
from candor_proto.normalise import normalise
from candor_proto.policy import check_purpose, check_shape
from candor_proto.result import TargetState
from candor_proto.scheme import CURRENT
from candor_proto.signing import SigningKey
from candor_proto.statements import LOOKUP_LIFE, SLOTS
from candor_records.policy import Policy
from candor_wire.codec import Envelope, MessageKind
from candor_wire.limits import CALL_DEADLINE_SECONDS

# Stale targets that answer within this time share one second lookup.
GATHER_STALE_SECONDS = 0.2
Progress = Callable[[int, int], None]


class Searcher:
    """Sends own lookups. `check_ready` raises when this node must not send lookups now (§8.4).

    `wait_for_line` waits for a hub that was lost a moment ago, so many seconds at most.
    """

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
        subjects_an_hour: int,
        check_ready: Callable[[], None],
        policy: Callable[[Database], Policy],
        wait_for_line: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._cases = open_cases
        self._own = own
        self._drafts = Drafts(federation, own, key)
        self._quota = quota
        self._clock = clock
        self._further_lookup_delay_seconds = further_lookup_delay_seconds
        self._subjects_an_hour = subjects_an_hour
        self._check_ready = check_ready
        self._wait_for_line = wait_for_line
        self._policy = policy
        self._tasks: set[asyncio.Task[None]] = set()
        # Searches that somebody here is asking just now.
        self._asking: set[LookupId] = set()

    # --- asking ------------------------------------------------------------------------------------------

    async def ask(
        self,
        question: Question,
        wait_seconds: float,
        on_progress: Progress = lambda settled, asked: None,
        permit: ApprovalId | None = None,
    ) -> SearchView:
        """Ask about one person, wait for answers, show. Raises whatever denies the lookup as a whole.

        SecondPersonNeeded when it was put before a second person instead; `permit` is that one's word.
        """
        deadline = asyncio.get_running_loop().time() + wait_seconds
        await self._wait_for_line(wait_seconds)
        checked = await self._check(question, permit)
        case = await self._begin(checked, permit)
        self._asking.add(case.row.search_id)
        try:
            await self._send_plans(case, question)
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
            now, outlook = self._clock.now(), self._cases.outlook(case)
            case.row = await self._cases.store(case, lambda db: cases.show(db, case, now, outlook))
        return await self._cases.view(case.row.search_id)

    async def _check(self, question: Question, permit: ApprovalId | None) -> Checked:
        """Whether this may be asked at all; nothing has been stored or sent yet."""
        groups = self._targets().groups
        checked = check_question(question, groups or (CURRENT.version,))
        self._check_ready()
        now, lookups = self._clock.now(), checked.plans * max(1, len(groups))

        def work(db: Database) -> ApprovalId | None:
            check_purpose(question.purpose, self._policy(db).purposes)
            self._allow(db, question.shape, question.case, lookups, now)
            return permits.hold(db, now, question, self._subjects_an_hour, permit)

        held = await self._store.run(work)
        if held is not None:
            raise SecondPersonNeeded(
                f"This lookup takes a second person. Nothing was asked; approval {held} waits for one.",
                remedy=f"It is sent once somebody else has run: candor-node approvals approve {held}",
            )
        return checked

    def _targets(self, chosen: Sequence[NodeId] | None = None) -> TargetPlan:
        """Whom to ask now; nobody while no directory is held."""
        directory = self._indexes.directory
        return plan_targets(directory, self._indexes.heads(), chosen) if directory else TargetPlan({}, ())

    def _allow(self, db: Database, shape: LookupShape, case: str, lookups: int, now: datetime) -> None:
        """Whether what was asked before leaves room for this; asked early, and again when it is stored."""
        check_shape(shape, lookup_store.shapes_for_case(db, case))
        wanted = {key_class: count * lookups for key_class, count in SLOTS[shape].items()}
        check_budget(self._quota, lookup_store.own_uses(db, now), wanted, now, str(self._own))

    async def _begin(self, checked: Checked, permit: ApprovalId | None) -> Case:
        """Store and send the first lookup, one to each group; raises when the hub denies them all."""
        directory = self._indexes.require_directory()
        planned = self._targets()
        check_targets(planned)
        now = self._clock.now()
        asks = await asyncio.to_thread(self._drafts.draft, checked, 0, 0, planned, now)
        question = checked.question
        row = SearchRow(
            search_id=asks[0].lookup_id,
            purpose=question.purpose,
            shape=question.shape,
            case=question.case,
            consent=question.consent,
            officer=question.officer,
            created_at=now,
            expires_at=now + LOOKUP_LIFE,
            plans=checked.plans,
            incomplete=checked.incomplete,
            directory_version=directory.version,
            missing=planned.unasked,
        )
        case = Case(row, {})
        self._cases.add(case)
        try:
            errors = await self._store_and_send(case, asks, partial(self._new_search, case, checked, permit))
        except CandorError:
            self._cases.drop(row.search_id)
            raise
        denied = [error for error in errors if error is not None and is_final(error)]
        if len(denied) == len(asks):
            self._cases.drop(row.search_id)
            await self._store.run(lambda db: lookup_store.close(db, row.search_id))
            raise denied[0]
        return case

    async def _send_plans(self, case: Case, question: Question) -> None:
        """Send the plans of a search that were not sent yet."""
        checked = _checked(case.row, question)
        for number in range(1, case.row.plans):
            if number not in {ask.plan_number for ask in case.asks.values()}:
                # Several lookups in one breath would say how many surnames the person has.
                await asyncio.sleep(random.uniform(0, self._further_lookup_delay_seconds))  # noqa: S311
                await self._send_plan(case, checked, number)

    async def _send_plan(self, case: Case, checked: Checked, number: int) -> None:
        planned, now = self._targets(), self._clock.now()
        if planned.groups:
            asks = await asyncio.to_thread(self._drafts.draft, checked, number, 0, planned, now)
            await self._store_and_send(case, asks)

    def _new_search(
        self, case: Case, checked: Checked, permit: ApprovalId | None, lookups: int, db: Database
    ) -> None:
        """Store a search; another one may have been stored since it was asked first."""
        row, now = case.row, self._clock.now()
        self._allow(db, row.shape, row.case, row.plans * lookups, now)
        lookup_store.add_search(db, row)
        permits.begin(db, now, checked.question, row.search_id, self._subjects_an_hour, permit)

    async def _store_and_send(
        self,
        case: Case,
        asks: Sequence[Ask],
        before: Callable[[int, Database], None] = lambda lookups, db: None,
    ) -> list[CandorError | None]:
        """Store lookups, then hand them to the hub; what it said of each, which may be that it is away.

        `before` belongs into the same transaction.
        """
        now = self._clock.now()

        def work(db: Database) -> list[OutboxRow | None]:
            before(len(asks), db)
            return [self._store_ask(db, case.row, ask, now) for ask in asks]

        async with case.lock:
            rows = await self._cases.store(case, work)
            case.asks.update((ask.lookup_id, ask) for ask in asks)
        said: list[CandorError | None] = []
        for row in rows:
            try:
                if row is not None:
                    await self._outbox.send(row)
                said.append(None)
            except CandorError as error:
                said.append(error)
        return said

    def _store_ask(self, db: Database, row: SearchRow, ask: Ask, now: datetime) -> OutboxRow | None:
        statement = ask.draft.statement
        envelope = Envelope(
            ask.lookup_id.value,
            MessageKind.LOOKUP,
            self._own,
            None,
            statement.body,
            statement.signature,
            ask.draft.lookup.expires_at,
        )
        lookup_store.add_ask(db, row.search_id, ask)
        mail_store.enqueue(db, envelope, now, now + timedelta(seconds=2 * CALL_DEADLINE_SECONDS))
        ledger.append(
            db,
            now,
            "lookup.sent",
            {"lookup_id": str(ask.lookup_id), "search_id": str(row.search_id)},
            {
                "purpose": row.purpose.name,
                "shape": row.shape.name,
                "case_number": row.case,
                "officer": row.officer,
                "targets": len(ask.targets),
                "plan": ask.plan_number,
                "attempt": ask.attempt,
            },
        )
        return mail_store.outgoing(db, self._own, MessageKind.LOOKUP, ask.lookup_id.value)

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
                others = [other for other in case.asks.values() if other.lookup_id != lookup_id]
                if all(other.state is LookupState.DENIED for other in others):
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
        await self._send_plans(case, question)
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
            heads = self._indexes.heads()
            moved = [node for node in sorted(stale) if has_moved(first.draft, heads.get(node))]
            planned, question = self._targets(moved), _question(case.row, first)
            if planned.groups:
                checked, now, number = _checked(case.row, question), self._clock.now(), first.plan_number
                asks = await asyncio.to_thread(self._drafts.draft, checked, number, 1, planned, now)
                await self._store_and_send(case, asks)
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


def _checked(row: SearchRow, question: Question) -> Checked:
    """A question that was found askable before."""
    return Checked(question, normalise(question.particulars), row.plans, row.incomplete)
