"""A relay over socket pairs; between a hub and its members it is `tests/integration/test_guard.py`."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

import pytest

from candor_hub.guard.board import Board, Shown
from candor_hub.guard.budget import FAILED, GAVE_WAY, SILENT, SILENT_SECONDS, Budget
from candor_hub.guard.relay import (
    GIVES_WAY_SECONDS,
    PING_OCTETS,
    PINGS_AFTER_SECONDS,
    Door,
    DoorSpec,
    End,
    Link,
    Relay,
)
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
    door = Door(DoorSpec(board, (), (1,), Limits(10, burst=10), members=True))
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
    door = Door(DoorSpec(board, (), (1,), Limits(10, burst=10), members=True))
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


def test_a_stream_on_which_nothing_comes_is_cut_and_nothing_else_is() -> None:
    """The hub behind the guard pings nobody: a line that died is noticed here."""
    board = Board.create()
    relay = Relay(socket.socketpair()[0], ())
    door = Door(DoorSpec(board, (), (1,), Limits(10, burst=10), members=True))
    dead, calls, waits, unread, heard = (opened(door, f"192.0.2.{last}") for last in range(1, 6))
    links = (dead, calls, waits, unread, heard)
    clients = []
    for port, link in enumerate(links, 1):
        its, client = socket.socketpair()
        its.setblocking(False)
        clients.append(client)
        link.client = End(its)
        link.client.asked = 0 if link is unread else select.EPOLLIN
        link.port, link.member = port, port
        door.members[port] = [link]
        board.show(port, Shown(member=port, streaming=link is not calls))
    heard.heard = 1.0
    clients[2].send(b"it is there")

    relay._miss(door, SILENT_SECONDS)
    assert not any(link.over for link in links)
    relay._miss(door, SILENT_SECONDS + 0.5)
    assert [link.over for link in links] == [True, False, False, False, False]
    assert relay._counts == {SILENT: 1}
    # What was kept from being read has as long again.
    relay._miss(door, 2 * SILENT_SECONDS + 0.4)
    assert [link.over for link in links] == [True, False, False, False, True]
    for client in clients:
        client.close()
    board.close()


def test_pings_after_a_silence_are_passed_on_together_and_whatever_follows_takes_them_along() -> None:
    """Each that comes alone would wake gRPC for itself; nothing else waits, and the order stays."""
    board = Board.create()
    relay = Relay(socket.socketpair()[0], ())
    door = Door(DoorSpec(board, (), (1,), Limits(10, burst=10), members=True))
    ping = b"p" * PING_OCTETS
    ends: list[tuple[Link, socket.socket, socket.socket]] = []
    for port in (1, 2, 3):
        link = opened(door, f"192.0.2.{port}")
        client, guarded = socket.socketpair()
        inner, hub = socket.socketpair()
        for each in (client, guarded, inner, hub):
            each.setblocking(False)
        link.client, link.hub = End(guarded, asked=select.EPOLLIN), End(inner)
        link.port, link.budget, link.member = port, Budget(0.0), port if port < 3 else 0
        ends.append((link, client, hub))

    def said(number: int, octets: bytes, silent_seconds: float) -> bytes:
        """What reaches the hub at once when a client says this after a silence."""
        link, client, hub = ends[number]
        link.heard = time.monotonic() - silent_seconds
        client.send(octets)
        relay._from_client(link)
        return heard(hub)

    def heard(hub: socket.socket) -> bytes:
        try:
            return hub.recv(1_024)
        except BlockingIOError:
            return b""

    silence = PINGS_AFTER_SECONDS + 1
    assert said(0, ping, silence) == b""
    assert said(0, b"more", 0.0) == ping + b"more"
    assert said(0, ping, PINGS_AFTER_SECONDS - 1) == ping
    assert said(0, ping + b"1", silence) == ping + b"1"
    assert said(2, ping, silence) == ping  # nobody was admitted there
    assert (said(0, ping, silence), said(1, ping, silence)) == (b"", b"")
    relay._let_go()
    assert [heard(hub) for _, _, hub in ends] == [ping, ping, b""]
    relay._let_go()
    assert heard(ends[0][2]) == b""
    # One that has ended meanwhile.
    assert said(1, ping, silence) == b""
    relay._drop(ends[1][0])
    relay._let_go()
    for link, client, hub in ends:
        for each in (client, hub):
            each.close()
        relay._drop(link)
    board.close()


def test_of_who_is_held_off_nothing_is_read_until_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub has to tell goes out meanwhile, and it is nobody's flood."""
    board, now = Board.create(), [1.0]
    monkeypatch.setattr("candor_hub.guard.relay.time.monotonic", lambda: now[0])
    relay = Relay(socket.socketpair()[0], ())
    door = Door(DoorSpec(board, (), (1,), Limits(10, burst=10), members=True))
    link = opened(door, "192.0.2.1")
    outside, link.client.socket = socket.socketpair()
    inside, link.hub = (lambda pair: (pair[0], End(pair[1])))(socket.socketpair())
    for each in (outside, inside, link.client.socket, link.hub.socket):
        each.setblocking(False)
    link.budget, link.port, link.connected = Budget(0.0), 7, True
    relay._ask(link.client, select.EPOLLIN)
    board.show(7, Shown(member=5))
    board.hold(7, 20.0)
    outside.send(b"more")
    inside.send(b"refused")
    relay._event(link, link.client, select.EPOLLIN)
    relay._event(link, link.hub, 0)
    relay._from_hub(link)
    assert outside.recv(100) == b"refused"
    with pytest.raises(BlockingIOError):
        inside.recv(100)
    for now[0] in (10.0, 19.9):
        relay._look(now[0])
        assert not link.client.asked & select.EPOLLIN
        assert link.budget.stalled_at is None
    now[0] = 20.0
    relay._look(now[0])
    assert link.client.asked & select.EPOLLIN
    relay._event(link, link.client, select.EPOLLIN)
    assert inside.recv(100) == b"more"
    board.take(7, "192.0.2.2")
    board.hold(7, 90.0)
    board.take(7, "192.0.2.3")
    assert not board.is_held(7, 21.0)
    board.close()
