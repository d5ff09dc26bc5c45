"""Enrolment with wrong tokens: slow, counted by network, and nobody else's trouble."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from candor_hub.attempts import (
    ATTEMPTS_PER_MINUTE_AND_NETWORK,
    MAX_NETWORKS,
    PAUSE_SECONDS,
    Attempts,
)
from candor_proto.errors import QuotaSpent

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_wrong_tokens_are_bounded_by_network_and_minute() -> None:
    clock = Clock()
    attempts = Attempts(clock.sleep)

    async def act() -> None:
        for _ in range(ATTEMPTS_PER_MINUTE_AND_NETWORK):
            await attempts.failed("192.0.2.1", NOW)
        with pytest.raises(QuotaSpent):
            await attempts.failed("192.0.2.1", NOW + timedelta(seconds=59))
        await attempts.failed("192.0.2.2", NOW)
        await attempts.failed("192.0.2.1", NOW + timedelta(seconds=61))

    asyncio.run(act())


def test_every_wrong_token_takes_its_time() -> None:
    clock = Clock()
    attempts = Attempts(clock.sleep)

    async def act() -> None:
        for _ in range(ATTEMPTS_PER_MINUTE_AND_NETWORK + 3):
            try:
                await attempts.failed("192.0.2.1", NOW)
            except QuotaSpent:
                continue

    asyncio.run(act())
    assert clock.slept == [PAUSE_SECONDS] * (ATTEMPTS_PER_MINUTE_AND_NETWORK + 3)


def test_networks_without_number_take_no_memory_without_end() -> None:
    attempts = Attempts(Clock().sleep)

    async def act() -> None:
        for number in range(MAX_NETWORKS + 50):
            await attempts.failed(f"host-{number}", NOW)

    asyncio.run(act())
    assert len(attempts._networks) == MAX_NETWORKS
