"""Where an answer goes: to what asked, a question about quotas, a flight of a batch, or a search."""

from __future__ import annotations

from collections.abc import Sequence

from candor_node.allowance import Allowances
from candor_node.cases import Cases
from candor_node.gathering import Gatherer
from candor_node.landing import Landing
from candor_node.mail_store import InboxRow
from candor_proto.ids import LookupId


class Answers:
    """Hands answers of the inbox on. Belongs to the event loop."""

    def __init__(
        self, allowances: Allowances, landing: Landing, gatherer: Gatherer, open_cases: Cases
    ) -> None:
        self._allowances = allowances
        self._landing = landing
        self._gatherer = gatherer
        self._cases = open_cases

    async def process(self, row: InboxRow) -> None:
        """Take in one answer. Raises StoreUnusable only."""
        if await self._allowances.process(row) or await self._landing.process(row):
            return
        await self._gatherer.process(row)

    async def process_together(self, rows: Sequence[InboxRow]) -> None:
        """Take in answers that wait: those to searches in memory, mostly all of them, at once.

        Raises StoreUnusable, and whatever bug one of them trips over.
        """
        waiting = list(rows)
        while waiting:
            known: list[InboxRow] = []
            others: list[InboxRow] = []
            for row in waiting:
                held = self._cases.holds_lookup(LookupId(row.envelope.envelope_id))
                (known if held else others).append(row)
            if known:
                await self._gatherer.process_together(known)
            if others:
                # Is it of a search, then that one is in memory now, and its other answers go together.
                await self.process(others[0])
            waiting = others[1:]
