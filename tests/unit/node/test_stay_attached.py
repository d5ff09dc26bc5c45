"""How soon a node is back: at once after a stream that lived, later and later when none can be had (§8.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from candor_node import hub_client
from candor_node.hub_client import LAST_RETRY_SECONDS, SETTLED_SECONDS, stay_attached
from candor_proto.errors import AlreadyExists, CandorError, Unreachable
from tests.simulator import virtual_time

Scripted = tuple[float | None, CandorError]
GONE, TAKEN = Unreachable("The hub is stopping."), AlreadyExists("A newer stream.")


class _Line:
    identity = None
    holds_older = False

    async def hold(self, work: Any, _lost: Any) -> None:
        await work()

    async def leave_older(self) -> None:
        """There is none."""

    async def replaced_within(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return False

    def replace(self, _identity: None) -> None:
        """Dialled anew."""


class _Client:
    """Streams that live as long as they are said to, or are never welcomed."""

    def __init__(self, streams: list[Scripted]) -> None:
        self.line = _Line()
        self.welcomed_at: float | None = None
        self._streams: Iterator[Scripted] = iter(streams)

    async def attach(self, _handler: object) -> None:
        lives, error = next(self._streams)
        loop = asyncio.get_running_loop()
        self.welcomed_at = None if lives is None else loop.time()
        await asyncio.sleep(lives or 30.0)
        raise error


def ceilings(streams: list[Scripted], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how many failures in a row each delay was drawn."""
    drawn: list[int] = []

    def draw(failures: int) -> float:
        drawn.append(failures)
        return 0.5

    monkeypatch.setattr(hub_client, "retry_delay", draw)
    client: Any = _Client([*streams, (None, GONE)])

    async def play(_: object) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await stay_attached(client, object(), lambda _: None)  # type: ignore[arg-type]

    virtual_time.run(1, play)
    return drawn[: len(streams)]


def test_a_hub_whose_replicas_go_one_after_the_other_is_found_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ceilings([(10.0, GONE)] * 6, monkeypatch) == [0] * 6


def test_a_hub_that_cannot_be_reached_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when each attempt takes long to fail."""
    assert ceilings([(None, GONE)] * 5, monkeypatch) == [0, 1, 2, 3, 4]


def test_streams_that_break_at_once_are_no_good_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ceilings([(SETTLED_SECONDS / 2, GONE)] * 4, monkeypatch) == [0, 1, 2, 3]


def test_two_programs_with_the_same_keys_do_not_chase_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ceilings([(10.0, TAKEN)] * 4, monkeypatch) == [0, 1, 2, 3]
    assert ceilings([(2 * LAST_RETRY_SECONDS, TAKEN)] * 3, monkeypatch) == [0] * 3


def test_the_first_delay_is_a_second_at_most_and_the_last_a_minute() -> None:
    assert max(hub_client.retry_delay(0) for _ in range(1_000)) <= 1.0
    assert max(hub_client.retry_delay(60) for _ in range(1_000)) <= LAST_RETRY_SECONDS
    assert max(hub_client.retry_delay(60) for _ in range(1_000)) > LAST_RETRY_SECONDS / 2
