"""A relay over socket pairs; between a hub and its members it is `tests/integration/test_guard.py`."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from candor_hub.guard.board import Board
from candor_hub.guard.budget import FAILED
from candor_hub.guard.relay import Door, DoorSpec, End, Link, Relay
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
