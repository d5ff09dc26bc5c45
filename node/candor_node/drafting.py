"""Makes flights: seats rows, fills up to a public size, blinds on all cores, signs (§5.3, §7.1)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from candor_node import flights
from candor_node.batch_store import BatchRecord
from candor_node.clock import Clock
from candor_node.flights import Flight, FlightPerson, PlannedRow, WaitingRow
from candor_node.index_client import IndexClient
from candor_node.lookup_store import TargetRow
from candor_node.workers import Lane, Workers
from candor_proto.errors import Unreachable
from candor_proto.exchange import LookupState, Paperwork, draft_lookup, plan_targets
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.matchkeys import LookupPlan, plan_lookup
from candor_proto.normalise import normalise
from candor_proto.result import TargetState
from candor_proto.signing import SigningKey
from candor_proto.statements import Target

Seat = tuple[FlightPerson, LookupPlan]


class Drafter:
    """Drafts flights in the bulk lane; stores and sends nothing."""

    def __init__(
        self,
        indexes: IndexClient,
        workers: Workers,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._indexes = indexes
        self._workers = workers
        self._federation = federation
        self._own = own
        self._key = key
        self._clock = clock

    async def draft(self, record: BatchRecord, chosen: Sequence[PlannedRow], size: int) -> Flight:
        """A flight of `size` persons for `chosen` rows. Raises Unreachable while no index is held."""
        seated: list[Seat] = [pair for row in chosen for pair in zip(row.persons, row.plans, strict=True)]
        seated += flights.fillers(size - len(seated), record.shape)
        directory = self._indexes.require_directory()
        targets, missing = plan_targets(directory, self._indexes.held_epochs())
        if not targets:
            raise Unreachable(
                "No member's index is held yet, so there is nothing to ask.",
                remedy="It goes on by itself; `candor-node status` shows the indexes.",
            )
        searches = {row.number: LookupId(secrets.token_bytes(16)) for row in chosen}
        return await self._sign(record, seated, targets, missing, directory.version, searches, None)

    async def again(
        self,
        record: BatchRecord,
        flight: Flight,
        rows: Mapping[int, WaitingRow],
        moved: Sequence[NodeId],
        held: Mapping[NodeId, int],
    ) -> Flight:
        """The same persons for the targets that moved: a new id, new salts and seeds, new blinds (§7.9)."""

        def seats() -> list[Seat]:
            made: list[Seat] = []
            for person in flight.persons:
                if person.row is None:
                    made += flights.fillers(1, record.shape)
                    continue
                row = rows[person.row]
                papers = Paperwork.draw(row.case, row.consent, row.officer)
                plans = plan_lookup(normalise(row.person), record.shape, papers.filler_seed)
                seat = FlightPerson(person.row, person.plan_number, papers)
                made.append((seat, plans[person.plan_number]))
            return made

        seated = await self._workers.run(Lane.BULK, seats)
        directory = self._indexes.require_directory()
        targets, _ = plan_targets(directory, held, moved)
        version, first = directory.version, flight.lookup_id
        return await self._sign(record, seated, targets, (), version, flight.searches, first)

    async def _sign(
        self,
        record: BatchRecord,
        seated: Sequence[Seat],
        targets: Sequence[Target],
        missing: tuple[NodeId, ...],
        version: int,
        searches: Mapping[int, LookupId],
        first: LookupId | None,
    ) -> Flight:
        persons, plans = tuple(person for person, _ in seated), [plan for _, plan in seated]
        now = self._clock.now()

        def draft() -> Flight:
            slots = flights.blind_all(plans, self._workers.map(Lane.BULK))
            asked = flights.asked_persons(persons, slots)
            made = draft_lookup(
                asked, record.shape, record.purpose, self._federation, self._own, targets, self._key, now
            )
            return Flight(
                batch_id=record.batch_id,
                purpose=record.purpose,
                draft=made,
                persons=persons,
                searches=searches,
                first=first,
                state=LookupState.STORED,
                targets={target.node: TargetRow(TargetState.PENDING) for target in targets},
                missing=missing,
                directory_version=version,
            )

        return await self._workers.run(Lane.BULK, draft)
