"""A random day of a federation: imports, publications, rotations, lookups and disclosures, all at once.

Everything is drawn from the seed: who asks whom about whom, in which order, how many at a time, how long
clients pause, and what they do again after they were told nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from candor_node.cases import SearchView
from candor_proto.errors import AlreadyExists, CandorError
from candor_proto.ids import LookupShape
from tests.records import generated_rows
from tests.simulator.federation import Federation, Killed, Party

T = TypeVar("T")
_PERSON = ("first", "middle", "last", "birth_date", "ssn4", "sex")
# On the worst of days; some ten seconds lie between two.
ATTEMPTS = 200


class Workload:
    """What happens; `lookups` in all, `records` at each party."""

    def __init__(self, seed: int, lookups: int = 6, records: int = 3, *, rotations: int = 1) -> None:
        self.draw = random.Random(f"workload {seed}")
        self.lookups = lookups
        self.records = records
        self.rotations = rotations
        self.views: list[SearchView] = []
        self._number = 0

    async def __call__(self, fed: Federation) -> None:
        """The scene."""
        officers = {
            party.name: list(
                generated_rows(self.records, seed=number, sharing=self.draw.choice(("GREEN", "YELLOW")))
            )
            for number, party in enumerate(fed.parties, 1)
        }
        await asyncio.gather(*(self._contribute(fed, party, officers[party.name]) for party in fed.parties))
        await self._until_settled(fed)
        everybody = [row for rows in officers.values() for row in rows]
        asks = [self._ask(fed, self.draw.choice(fed.parties), everybody) for _ in range(self.lookups)]
        turns = [self._rotate(fed, self.draw.choice(fed.parties)) for _ in range(self.rotations)]
        work: list[Awaitable[None]] = [*asks, *turns]
        self.draw.shuffle(work)
        await asyncio.gather(*work)

    async def _contribute(self, fed: Federation, party: Party, rows: list[dict[str, str]]) -> None:
        """In files of random sizes, each sent until it was acknowledged."""
        while rows:
            size = self.draw.randint(1, len(rows))
            file, rows = rows[:size], rows[size:]
            await self._again(lambda file=file: fed.file(party, file, publish=False))  # type: ignore[misc]  # bound now
        await self._again(lambda: fed.publish(party))

    async def _ask(self, fed: Federation, party: Party, everybody: list[dict[str, str]]) -> None:
        """About somebody on record or nobody; then, perhaps, for the record."""
        await self._pause()
        on_record = self.draw.random() < 0.7
        person = {name: value for name, value in self.draw.choice(everybody).items() if name in _PERSON}
        if not on_record:
            person.update(first="Nadine", last="Nowhereby", birth_date="1971-01-09", ssn4="", middle="")
        shape = self.draw.choice(list(LookupShape))
        view = await self._again(lambda: self._asked(fed, party, shape, person, on_record))
        if view is None:
            return
        self.views.append(view)
        if view.hits and not view.hits[0].hit.set_aside:
            await self._again(lambda: fed.disclose(party, view.row.search_id, view.hits[0].number))

    async def _asked(
        self, fed: Federation, party: Party, shape: LookupShape, person: dict[str, str], on_record: bool
    ) -> SearchView:
        self._number += 1
        return await fed.ask(
            party,
            case=f"REQ-{self._number}",
            shape=shape,
            expect="MATCH" if on_record else "NO_RECORD",
            wait_seconds=self.draw.choice((1.0, 10.0, 30.0)),
            **person,
        )

    async def _rotate(self, fed: Federation, party: Party) -> None:
        await self._pause()
        await self._again(lambda: fed.publish(party, rotate=True))

    async def _again(self, make: Callable[[], Awaitable[T]]) -> T | None:
        """Until it is told that it is done, or that it never will be."""
        for _ in range(ATTEMPTS):
            try:
                return await make()
            except AlreadyExists:
                return None
            except (CandorError, Killed) as error:
                last = error
                await self._pause()
        raise AssertionError(f"not done in {ATTEMPTS} attempts: {last!r}")

    async def _pause(self) -> None:
        await asyncio.sleep(self.draw.random() * 20.0)

    async def _until_settled(self, fed: Federation) -> None:
        async with asyncio.timeout(7_200):
            while True:
                try:
                    await fed.settled()
                except (CandorError, Killed, TimeoutError):
                    await asyncio.sleep(1.0)
                else:
                    return


def unfinished(fed: Federation) -> Iterable[Any]:
    """Operations that were not acknowledged."""
    return [each for each in fed.history.operations if each.ended != "ok"]
