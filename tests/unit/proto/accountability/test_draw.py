"""§18.1: the draw of an audit follows from a witnessed head and from nothing else."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.accountability.draw import Draw, Month
from candor_proto.errors import InputInvalid, MalformedMessage
from candor_proto.tlog.checkpoint import Checkpoint

HEAD = Checkpoint("test.candor.example/log/1", 100_000, bytes(range(32)))


def h(label: str, *parts: bytes) -> bytes:
    """H of §3.3, a second time."""
    name = f"candor/v1/{label}".encode()
    text = bytes([len(name)]) + name + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(text).digest()


def test_seed_and_lots_are_those_of_the_text() -> None:
    draw = Draw(HEAD, 5, 250)
    text = HEAD.text().encode()
    seed = h(
        "audit-seed", text, (5).to_bytes(8, "big"), (100_000).to_bytes(8, "big"), (250).to_bytes(4, "big")
    )
    assert draw.seed == seed
    for index, position in ((5, 0), (77, 3), (99_999, 255)):
        lot = h("audit-draw", seed, index.to_bytes(8, "big"), position.to_bytes(2, "big"))[:8]
        assert draw.is_drawn(index, position) == (int.from_bytes(lot, "big") < 2**64 * 250 // 10_000)


def test_about_the_rate_is_drawn_and_a_higher_one_draws_otherwise() -> None:
    one, all_of_them = Draw(HEAD, 0), Draw(HEAD, 0, 10_000)
    drawn = sum(one.is_drawn(index, 0) for index in range(20_000))
    assert 120 <= drawn <= 280
    assert all(all_of_them.is_drawn(index, position) for index in range(50) for position in range(4))
    assert one.seed != Draw(HEAD, 1).seed != Draw(Checkpoint(HEAD.origin, 100_000, bytes(32)), 1).seed


def test_only_what_lies_between_two_draws_is_drawn() -> None:
    draw = Draw(HEAD, 10, 10_000)
    assert not draw.is_drawn(9, 0)
    assert draw.is_drawn(10, 0)
    assert draw.is_drawn(HEAD.size - 1, 0)
    assert not draw.is_drawn(HEAD.size, 0)


@pytest.mark.parametrize("rate", [0, 99, 10_001])
def test_nobody_draws_less_than_one_in_a_hundred(rate: int) -> None:
    with pytest.raises(MalformedMessage):
        Draw(HEAD, 0, rate)


def test_a_draw_does_not_end_before_it_begins() -> None:
    with pytest.raises(MalformedMessage):
        Draw(HEAD, HEAD.size + 1)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)))  # noqa: DTZ001  # made aware below
def test_months_follow_each_other(moment: datetime) -> None:
    month = Month.of(moment.replace(tzinfo=UTC))
    assert Month.parse(str(month)) == month
    assert month.before.after == month == month.after.before
    assert month.start <= moment.replace(tzinfo=UTC) < month.after.start


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13", "2026-00", "2026-1", "0000-01", "2026-11-01", "2026-11\n"]
)
def test_a_month_is_refused_that_is_none(text: str) -> None:
    with pytest.raises(InputInvalid):
        Month.parse(text)
