"""A gatherer over a store, and lookups that were sent: what answers make of them, in time or late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from candor_node import cases, hit_store, lookup_store, mail_store
from candor_node.cases import Cases, SearchView
from candor_node.gathering import Gatherer
from candor_node.hit_store import StoredHit
from candor_node.lookup_store import Ask, SearchRow
from candor_node.mail_store import InboxRow
from candor_node.store import Database, Store
from candor_node.targets import TargetRow
from candor_node.workers import Lane, Workers
from candor_proto.candidates import NodeIndex
from candor_proto.exchange import AskedPerson, Draft, LookupState, Paperwork, blind_plan, draft_lookup
from candor_proto.ids import LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import plan_lookup
from candor_proto.normalise import normalise
from candor_proto.opening import Opening
from candor_proto.result import TargetState
from candor_proto.sealed_index import IndexOwner
from candor_proto.statements import LOOKUP_LIFE
from candor_wire.codec import Envelope, MessageKind
from tests.indexes import index_of, seal_people
from tests.parties import FEDERATION, MIKE, NOW, Parties

ASKER = NodeId("asker")
BRAVO, *_ = OWNERS = [NodeId(name) for name in ("bravo", "charlie", "delta", "echo")]
PARTIES = Parties("asker", *map(str, OWNERS))


def indexes() -> dict[NodeId, NodeIndex]:
    """Mike is filed at bravo; nobody else has anybody."""
    found = {}
    for node in OWNERS:
        owner, keys = IndexOwner(FEDERATION, node, 1), PARTIES[str(node)].keys()
        octets, _ = seal_people([MIKE] if str(node) == "bravo" else [], keys, owner)
        index = index_of([octets], keys, owner)
        found[node] = replace(index, head=replace(index.head, issued_at=NOW))
    return found


INDEXES = indexes()


class Held:
    """What the gatherer reads of an IndexClient."""

    def __init__(self) -> None:
        self.directory = PARTIES.verified()
        self.indexes = dict(INDEXES)
        self.records = 20_000
        self.open = True

    def vouched(self) -> dict[NodeId, NodeIndex]:
        return self.indexes if self.open else {}

    def population(self) -> int:
        return self.records


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


class Scene:
    """A gatherer over a store, and lookups that were sent."""

    def __init__(self, store: Store) -> None:
        self.held = Held()
        self.clock = Clock()
        held: Any = self.held
        self.store = store
        self.cases = Cases(store)
        self.workers = Workers(2)
        self.stale: list[LookupId] = []
        self.gatherer = Gatherer(
            store,
            held,
            self.cases,
            self.workers,
            FEDERATION,
            self.clock,
            lambda _, which: self.stale.append(which),
        )
        self.works: list[str] = []
        run_sync = store._transaction

        def counted(jobs: Sequence[Any]) -> Any:
            self.works += [getattr(job.work, "__qualname__", "partial") for job in jobs]
            return run_sync(jobs)

        store._transaction = counted  # type: ignore[method-assign]

    def ask(self, number: int) -> Draft:
        """A lookup about Mike at all owners, stored as sent."""
        papers = Paperwork.draw(f"REQ-{number}", "C-1", "Roe")
        plan = plan_lookup(normalise(MIKE), LookupShape.SCREENING, papers.filler_seed)[0]
        slots = blind_plan(plan)
        targets = [target for target in PARTIES.targets() if target.node in OWNERS]
        draft = draft_lookup(
            [AskedPerson(slots, papers)],
            LookupShape.SCREENING,
            Purpose.J_APPLICANT,
            FEDERATION,
            ASKER,
            targets,
            PARTIES["asker"].signing,
            NOW,
        )
        opening = Opening(
            MIKE,
            papers,
            0,
            tuple(item.slot.input for item in slots),
            tuple(item.blinded.blind.to_bytes() for item in slots),
        )
        pending = {node: TargetRow(TargetState.PENDING) for node in OWNERS}
        row = SearchRow(
            draft.lookup.lookup_id,
            Purpose.J_APPLICANT,
            LookupShape.SCREENING,
            papers.case,
            "C-1",
            "Roe",
            NOW,
            NOW + LOOKUP_LIFE,
            1,
            False,
            1,
            (),
        )

        def work(db: Database) -> None:
            lookup_store.add_search(db, row)
            lookup_store.add_ask(db, row.search_id, Ask(draft, opening, 0, LookupState.ACCEPTED, pending))

        self.store.run_sync(work)
        return draft

    def arrive(self, draft: Draft, node: NodeId, *, spoilt: bool = False, **changes: object) -> InboxRow:
        """The answer of `node`, delivered and stored; `changes` replace what it says."""
        party = PARTIES[str(node)]
        statement = party.sign_answer(party.evaluate(draft.lookup, **changes))
        signature = bytes(64) if spoilt else statement.signature
        envelope = Envelope(
            draft.lookup.lookup_id.value,
            MessageKind.ANSWER,
            node,
            ASKER,
            statement.body,
            signature,
            NOW + LOOKUP_LIFE,
        )

        def work(db: Database) -> InboxRow:
            mail_store.receive(db, envelope, NOW)
            number = db.execute("SELECT max(number) FROM inbox").fetchone()[0]
            return InboxRow(number, envelope, Lane.SINGLE)

        return self.store.run_sync(work)

    async def states(self, draft: Draft) -> dict[str, TargetState]:
        """In memory, which is to be what the database says."""
        lookup_id = draft.lookup.lookup_id
        case = await self.cases.get(lookup_id)
        stored = await self.store.run(lambda db: lookup_store.asks(db, lookup_id))
        in_memory = {str(node): row.state for node, row in case.asks[lookup_id].targets.items()}
        assert {str(node): row.state for node, row in stored[0].targets.items()} == in_memory
        return in_memory

    def found(self, draft: Draft) -> list[StoredHit]:
        return self.store.run_sync(lambda db: hit_store.hits(db, draft.lookup.lookup_id))

    def hits(self, draft: Draft) -> list[str]:
        return [str(one.hit.owner) for one in self.found(draft)]

    def waiting(self) -> int:
        return self.store.run_sync(mail_store.counts).inbox_waiting

    # --- results -----------------------------------------------------------------------------------------

    async def show(self, draft: Draft) -> SearchView:
        """Show the result as it is now: the first time, what comes after it is late."""
        case = await self.cases.get(draft.lookup.lookup_id)
        async with case.lock:
            now, outlook = self.clock.now(), self.cases.outlook(case)
            case.row = await self.cases.store(case, lambda db: cases.show(db, case, now, outlook))
        return await self.view(draft)

    async def view(self, draft: Draft) -> SearchView:
        return await self.cases.view(draft.lookup.lookup_id)
