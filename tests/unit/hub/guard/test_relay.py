"""A relay over socket pairs; between a hub and its members it is `tests/integration/test_guard.py`."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from candor_hub.guard.board import Board, Shown
from candor_hub.guard.budget import FAILED, GAVE_WAY, Budget
from candor_hub.guard.relay import GIVES_WAY_SECONDS, Door, DoorSpec, End, Link, Relay
from candor_hub.guard.turns import Limits


def opened(door: Door, address: str) -> Link:
    """A connection that was passed on."""
    link = Link(door, address, address, End(socket.socketpair()[0]), 0.0)
    assert door.turns.come(address, link, 0.0) is None
    assert door.turns.next(0.0) == [(address, link)]
    link.hub = End(socket.socketpair()[0])
    door.new.add(link)
    return link


def test_a_mistake_in_the_guard_ends_one_connection_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board.create()
    relay = Relay(socket.socketpair()[0], ())
    door = Door(DoorSpec(board, (), (1,), Limits(10), members=True))
    broken, other = opened(door, "192.0.2.1"), opened(door, "192.0.2.2")
    waiting = Link(door, "192.0.2.3", "192.0.2.3", End(socket.socketpair()[0]), 0.0)
    door.turns.come(waiting.network, waiting, 0.0)

    def mistaken(*_: Any) -> None:
        raise KeyError

    monkeypatch.setattr(relay, "_event", mistaken)
    relay._handle(broken, broken.client, 1)
    relay._handle(waiting, waiting.client, 1)
    assert (broken.over, waiting.over, other.over) == (True, True, False)
    assert relay._counts[FAILED] == 2
    assert door.turns.held == 1
    board.close()


def test_who_dialled_and_has_nothing_to_say_gives_way_to_others_of_his_address() -> None:
    """A node gives up what it dialled too long ago: nobody will call on it, and others wait behind it."""
    board = Board.create()
    relay = Relay(socket.socketpair()[0], ())
    door = Door(DoorSpec(board, (), (1,), Limits(10), members=True))
    silent, calls, elsewhere = (opened(door, f"192.0.2.{last}") for last in (1, 1, 2))
    for port, link in enumerate((silent, calls, elsewhere), 1):
        link.budget, link.port = Budget(0.0), port
    board.show(calls.port, Shown(octets=1))

    def look(now: float) -> list[bool]:
        for link in tuple(door.new):
            relay._know(link, now)
        return [link.over for link in (silent, calls, elsewhere)]

    assert look(GIVES_WAY_SECONDS) == [False, False, False]
    waiting = Link(door, "192.0.2.1", "192.0.2.1", End(socket.socketpair()[0]), 0.0)
    door.turns.come(waiting.network, waiting, 0.0)
    assert not door.turns.next(0.5)
    assert look(GIVES_WAY_SECONDS - 0.1) == [False, False, False]
    assert look(GIVES_WAY_SECONDS) == [True, False, False]
    assert relay._counts[GAVE_WAY] == 1
    assert door.turns.next(GIVES_WAY_SECONDS) == [("192.0.2.1", waiting)]
    board.close()
