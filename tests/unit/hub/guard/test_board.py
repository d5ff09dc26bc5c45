"""The page that guard and hub share, and what the hub writes on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from candor_hub.guard.board import Board, Shown
from candor_hub.guard.budget import OCTETS_PER_CALL, OCTETS_PER_MESSAGE, OCTETS_PER_WRITTEN
from candor_hub.lines import MAX_LINES, Lines
from candor_proto.ids import NodeId


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create()
    yield made
    made.close()


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_a_line_knows_where_its_connection_really_comes_from(board: Board, address: str) -> None:
    board.take(40_000, address)
    assert Lines(board).of("ipv4:127.0.0.1:40000").address == address


def test_what_a_connection_has_to_show_is_shown(board: Board) -> None:
    board.take(40_000, "192.0.2.7")
    line = Lines(board).of("ipv4:127.0.0.1:40000")
    assert board.shown(40_000) == Shown()
    line.admitted(NodeId("alpha"))
    line.streams(1)
    line.took(1_600)
    line.ended()
    line.wrote(1_280)
    shown = board.shown(40_000)
    paid = 1_600 + 100 + OCTETS_PER_MESSAGE + OCTETS_PER_CALL + OCTETS_PER_WRITTEN + 10
    assert (shown.octets, shown.paid, shown.streaming) == (1_600, paid, 1)
    assert shown.member
    line.streams(-1)
    assert board.shown(40_000).streaming == 0


def test_two_members_are_told_apart(board: Board) -> None:
    seen = set()
    for port, name in ((40_000, "alpha"), (40_001, "bravo")):
        board.take(port, "192.0.2.7")
        Lines(board).of(f"ipv4:127.0.0.1:{port}").admitted(NodeId(name))
        seen.add(board.shown(port).member)
    assert len(seen) == 2


def test_a_port_that_is_used_again_is_another_line(board: Board) -> None:
    """What one connection has brought must not pay for the flood of the next."""
    lines = Lines(board)
    board.take(40_000, "192.0.2.7")
    old = lines.of("ipv4:127.0.0.1:40000")
    old.admitted(NodeId("alpha"))
    old.took(1 << 20)
    board.take(40_000, "192.0.2.8")
    assert board.shown(40_000) == Shown()
    old.took(1 << 20)  # a call that outlived its connection
    assert board.shown(40_000) == Shown()
    new = lines.of("ipv4:127.0.0.1:40000")
    assert (new.address, new.node, new.octets) == ("192.0.2.8", None, 0)


def test_without_a_guard_a_line_has_grpcs_address_and_shows_nothing() -> None:
    line = Lines().of("ipv4:192.0.2.9:40000")
    line.took(5)
    assert (line.address, line.octets) == ("192.0.2.9", 5)


def test_lines_take_no_memory_without_end() -> None:
    lines = Lines()
    for number in range(MAX_LINES + 10):
        lines.of(f"ipv4:192.0.2.9:{number}")
    assert len(lines._lines) == MAX_LINES
