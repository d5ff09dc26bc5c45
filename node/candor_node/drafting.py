"""Makes flights: seats rows, fills up to a public size, blinds on all cores, signs (§5.3, §7.1)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from candor_node import flights
from candor_node.asking import check_targets
from candor_node.batch_store import BatchRecord
from candor_node.clock import Clock
from candor_node.flights import Flight, FlightPerson, PlannedRow, WaitingRow
from candor_node.index_client import IndexClient
from candor_node.targets import TargetRow
from candor_node.workers import Lane, Workers
from candor_proto.exchange import LookupState, TargetPlan, draft_lookup, plan_targets
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.matchkeys import LookupPlan
from candor_proto.result import TargetReport, TargetState
from candor_proto.signing import SigningKey
from candor_proto.statements import Target


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

    def targets(self, chosen: Sequence[NodeId] | None = None) -> TargetPlan:
        """Whom to ask now, by scheme: of `chosen` perhaps nobody, of all somebody (`check_targets`)."""
        planned = plan_targets(self._indexes.require_directory(), self._indexes.heads(), chosen)
        if chosen is None:
            check_targets(planned)
        return planned

    async def draft(
        self,
        record: BatchRecord,
        chosen: Sequence[PlannedRow],
        size: int,
        rows: Mapping[int, WaitingRow],
        planned: TargetPlan,
    ) -> list[Flight]:
        """Flights of `size` persons for `chosen` rows, planned under the first group's scheme.

        The first asks that group and holds the rows; every other group is asked beside it.
        """
        version, targets = next(iter(planned.groups.items()))
        filling = flights.fillers(size - sum(len(row.persons) for row in chosen))
        persons = [*(person for row in chosen for person in row.persons), *filling]
        plans = [plan for row in chosen for plan in row.plans]
        plans += flights.plans_of(filling, {}, record.shape, version)
        searches = {row.number: LookupId(secrets.token_bytes(16)) for row in chosen}
        first = await self._sign(record, persons, plans, targets, planned.unasked, searches, None)
        beside = [(each, group) for each, group in planned.groups.items() if each != version]
        others = [await self._beside(record, first, rows, each, group) for each, group in beside]
        first.asked_beside.update(node for flight in others for node in flight.targets)
        return [first, *others]

    async def again(
        self, record: BatchRecord, first: Flight, rows: Mapping[int, WaitingRow], planned: TargetPlan
    ) -> list[Flight]:
        """The same persons for targets that moved, one flight a group (§7.9). Raises UnsupportedVersion."""
        groups = planned.groups.items()
        return [await self._beside(record, first, rows, version, targets) for version, targets in groups]

    async def _beside(
        self,
        record: BatchRecord,
        first: Flight,
        rows: Mapping[int, WaitingRow],
        version: int,
        targets: Sequence[Target],
    ) -> Flight:
        """The persons of `first` for other targets: a new id, new salts and seeds, new blinds."""

        def planned() -> tuple[list[FlightPerson], list[LookupPlan]]:
            persons = flights.drawn_anew(first.persons)
            return persons, flights.plans_of(persons, rows, record.shape, version)

        persons, plans = await self._workers.run(Lane.BULK, planned)
        return await self._sign(record, persons, plans, targets, (), first.searches, first.lookup_id)

    async def _sign(
        self,
        record: BatchRecord,
        persons: Sequence[FlightPerson],
        plans: Sequence[LookupPlan],
        targets: Sequence[Target],
        missing: tuple[TargetReport, ...],
        searches: Mapping[int, LookupId],
        first: LookupId | None,
    ) -> Flight:
        version = self._indexes.require_directory().version
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
                persons=tuple(persons),
                searches=searches,
                first=first,
                state=LookupState.STORED,
                targets={target.node: TargetRow(TargetState.PENDING) for target in targets},
                missing=missing,
                directory_version=version,
            )

        return await self._workers.run(Lane.BULK, draft)
