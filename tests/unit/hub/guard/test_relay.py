"""A relay over socket pairs; between a hub and its members it is `tests/integration/test_guard.py`."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from candor_hub.guard.board import Board, Shown
from candor_hub.guard.budget import FAILED, GAVE_WAY, SILENT, SILENT_SECONDS, Budget
from candor_hub.guard.link import Door, DoorSpec, End, Link
from candor_hub.guard.relay import GIVES_WAY_SECONDS, Relay
from candor_hub.guard.silence import PING_OCTETS, PINGS_AFTER_SECONDS, QUIET_AFTER_SECONDS
from candor_hub.guard.turns import Limits
from tests.patience import PATIENCE_SECONDS


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


def line() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection of TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for each in (one, other):
        each.setblocking(False)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


@contextmanager
def quiet_line() -> Iterator[tuple[Relay, Door, Link, socket.socket, socket.socket]]:
    """A member's connection on which nobody has said anything for a while, at a look; its client and hub."""
    board = Board.create()
    relay = Relay(socket.socketpair()[0], ())
    door = Door(DoorSpec(board, (), (1,), Limits(10), members=True))
    link = opened(door, "192.0.2.1")
    (client, guarded), (inner, hub) = line(), line()
    link.client, link.hub = End(guarded), End(inner)
    link.port = link.member = 1
    link.budget = Budget(0.0)
    door.members[1] = [link]
    for end in (link.client, link.hub):
        relay._ends[end.socket.fileno()] = link, end
        relay._ask(end, select.EPOLLIN)
    link.connected = True
    relay._hear_quiet(door, QUIET_AFTER_SECONDS + 1)
    assert link.quiet
    yield relay, door, link, client, hub
    client.close()
    hub.close()
    relay._drop(link)
    board.close()


def polled(relay: Relay, seconds: float) -> bool:
    """Whether anything woke the guard, which then did what it does."""
    found = relay._poll.poll(seconds)
    for descriptor, event in found:
        relay._handle(*relay._ends[descriptor], event)
    return bool(found)


def read(end: socket.socket, seconds: float = 0.0) -> bytes:
    if not select.select([end], [], [], seconds)[0]:
        return b""
    return end.recv(1_024)


PING = b"p" * PING_OCTETS


def test_pings_of_a_quiet_member_wake_nobody_and_are_passed_on_at_the_next_look() -> None:
    """Each that came alone would wake the guard, and threads of gRPC, for itself."""
    with quiet_line() as (relay, door, link, client, hub):
        client.send(PING)
        assert not polled(relay, 0.05)
        relay._hear_quiet(door, PINGS_AFTER_SECONDS + 1)
        assert read(hub) == PING
        assert link.heard == PINGS_AFTER_SECONDS + 1
        hub.send(PING)  # the answer
        assert polled(relay, PATIENCE_SECONDS)
        assert read(client) == PING
        assert link.quiet


def test_whatever_else_a_quiet_member_says_is_passed_on_at_once_with_what_came_before() -> None:
    with quiet_line() as (relay, _, link, client, hub):
        client.send(PING)
        client.send(b"more")
        assert polled(relay, PATIENCE_SECONDS)
        assert read(hub) == PING + b"more"
        assert not link.quiet
        client.send(b"s")
        assert polled(relay, PATIENCE_SECONDS)
        assert read(hub) == b"s"


def test_a_quiet_member_is_quiet_no_more_when_the_hub_speaks_to_it() -> None:
    """What answers it may be as small as a ping."""
    with quiet_line() as (relay, _, link, client, hub):
        hub.send(b"a delivery, which is longer than the answer to a ping")
        assert polled(relay, PATIENCE_SECONDS)
        assert read(client)
        assert not link.quiet
        client.send(b"s")
        assert polled(relay, PATIENCE_SECONDS)
        assert read(hub) == b"s"


def test_a_quiet_member_that_hangs_up_is_noticed_at_once() -> None:
    with quiet_line() as (relay, _, link, client, _):
        client.close()
        assert polled(relay, PATIENCE_SECONDS)
        assert link.over


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
