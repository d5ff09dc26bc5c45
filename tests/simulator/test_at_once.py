"""What is checked before it is done is checked where it is done: several at once find no gap in between."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from candor_node import ledger
from candor_proto.errors import CandorError, QuotaSpent
from candor_proto.ids import LookupShape
from tests.federation import question
from tests.simulator import Federation, Simulator


def test_lookups_at_once_do_not_spend_an_own_quota_twice(simulator: Simulator) -> None:
    """§11.1: the asker's own account, in the transaction that stores."""

    async def scene(fed: Federation) -> None:
        (alpha,) = fed.parties
        told: Counter[str] = Counter()

        async def ask(case: str) -> None:
            try:
                await fed.ask(alpha, case=case)
            except QuotaSpent:
                told["refused"] += 1
            else:
                told["asked"] += 1

        await asyncio.gather(*(ask(f"REQ-{number}") for number in range(4)))
        assert told == {"asked": 2, "refused": 2}

    simulator.play(scene, agencies=1, quota_elements=80, quota_day_share=1)


@pytest.mark.parametrize("seed", range(4))
def test_a_screening_lookup_is_not_followed_by_a_detailed_one_that_was_asked_at_once(
    simulator: Simulator, seed: int
) -> None:
    """§5.3: it would say "candidate"."""

    async def scene(fed: Federation) -> None:
        (alpha,) = fed.parties
        shapes = (LookupShape.SCREENING, LookupShape.DETAILED)
        told = await asyncio.gather(
            *(alpha.node.searcher.ask(question(case="REQ-1", shape=shape), 30.0) for shape in shapes),
            return_exceptions=True,
        )
        assert all(isinstance(each, CandorError) for each in told if isinstance(each, BaseException))
        sent = await alpha.node.store.run(lambda db: ledger.entries(db, event="lookup.sent"))
        assert [entry.details["shape"] for entry in sent] != ["SCREENING", "DETAILED"]

    simulator.play(scene, agencies=1, seed=seed)
