"""Takes connections and passes octets on, as the budgets allow: one thread, one epoll.

Rules of this file:
- nothing is read that cannot be passed on: who does not read is not written for, and who floods is not read;
- a connection that may not bring more is looked at again every TICK_SECONDS, no sooner. One of a member that
  is held off is not read at all until that is over; what the hub has to tell it still goes out;
- when either end has closed, what the other was owed is passed on, and it is closed as well;
- of a member with a stream something comes every 18 seconds; the line of one that is silent for longer than
  SILENT_SECONDS has died, and is cut: the hub itself asks for nobody;
- such pings are read at the look of the second, and passed on together: each that came alone would wake this
  process, and threads of gRPC, for itself, which is most of what a quiet hub costs;
- one that waits is opened soon, or whoever dialled has given up meanwhile and holds the place of another with
  nothing to say: one without a call that is silent gives way to others of its address.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable

from candor_hub.guard.budget import (
    BAD_DEBT,
    FAILED,
    GAVE_WAY,
    HUB_AWAY,
    NO_DESCRIPTOR,
    NO_PLACE,
    NO_TURN,
    SILENT,
    TOO_MANY,
    Budget,
)
from candor_hub.guard.link import Door, DoorSpec, End, Link
from candor_hub.guard.silence import (
    PING_OCTETS,
    PINGS_AFTER_SECONDS,
    QUIET_AFTER_SECONDS,
    be_quiet,
    has_said_more,
)
from candor_hub.guard.turns import network_of

TICK_SECONDS = 0.02
IDLE_SECONDS = 1.0
WAIT_SECONDS = 10.0
ACCEPTED_AT_ONCE = 64
GIVES_WAY_SECONDS = 1.0
PIECE_OCTETS = 64 * 1024
# A node has one; of a bad line dead ones are noticed after 25 seconds, and it dials again meanwhile.
CONNECTIONS_PER_MEMBER = 2
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_LEFT = select.EPOLLRDHUP
_GONE = select.EPOLLHUP | select.EPOLLERR | _LEFT


class Relay:
    """Runs until `control` is closed at the other end."""

    def __init__(self, control: socket.socket, doors: Iterable[DoorSpec]) -> None:
        self._control = control
        self._poll = select.epoll()
        self._doors = [Door(spec) for spec in doors]
        self._listening = {
            each.fileno(): (each, door) for door in self._doors for each in door.spec.listening
        }
        self._ends: dict[int, tuple[Link, End]] = {}
        self._stalled: set[Link] = set()
        self._counts: Counter[str] = Counter()
        self._buffer = memoryview(bytearray(PIECE_OCTETS))
        self._looked_at = 0.0
        self._accepts_after = 0.0

    def run(self) -> None:
        control = self._control.fileno()
        self._poll.register(control, _IN)
        for descriptor in self._listening:
            self._poll.register(descriptor, _IN)
        while True:
            busy = self._stalled or any(door.new or door.turns.waits for door in self._doors)
            # All processes of a hub look at the same moments.
            rest = TICK_SECONDS if busy else IDLE_SECONDS - time.monotonic() % IDLE_SECONDS
            for descriptor, event in self._poll.poll(rest):
                if descriptor == control:
                    return
                if descriptor in self._listening:
                    self._accept(*self._listening[descriptor])
                elif descriptor in self._ends:
                    self._handle(*self._ends[descriptor], event)
            now = time.monotonic()
            if busy or now // IDLE_SECONDS > self._looked_at // IDLE_SECONDS:
                self._look(now)

    # --- connections ------------------------------------------------------------------------------------

    def _accept(self, listening: socket.socket, door: Door) -> None:
        now = time.monotonic()
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, place = listening.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._counts[NO_DESCRIPTOR] += 1
                    self._pause(now)
                break
            accepted.setblocking(False)
            address = place[0].removeprefix("::ffff:")
            link = Link(door, address, network_of(address), End(accepted), now)
            gone = door.turns.come(link.network, link, now)
            if gone is not link:
                # Whoever leaves while it waits is noticed.
                self._ends[accepted.fileno()] = link, link.client
                self._ask(link.client, _LEFT)
            if gone is not None:
                self._counts[NO_PLACE] += 1
                self._drop(gone)
        self._open(door, now)

    def _pause(self, now: float) -> None:
        self._accepts_after = now + 1.0
        for descriptor in self._listening:
            self._poll.modify(descriptor, 0)

    def _open(self, door: Door, now: float) -> None:
        for _, link in door.turns.next(now, busy=door.spec.board.busy(now)):
            hub = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            hub.setblocking(False)
            for each in (hub, link.client.socket):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.hub = End(hub)
            link.heard = now
            door.new.add(link)
            try:
                hub.bind(("127.0.0.1", 0))
                link.port = hub.getsockname()[1]
                door.spec.board.take(link.port, link.address)
                status = hub.connect_ex(("127.0.0.1", next(door.ports)))
            except OSError as error:
                status = error.errno or errno.EIO
            if status not in (0, errno.EINPROGRESS):
                self._counts[HUB_AWAY] += 1
                self._end(link)
                continue
            link.budget = Budget(now, door.spec.members)
            self._ends[hub.fileno()] = link, link.hub
            self._ask(link.hub, _OUT)

    def _handle(self, link: Link, end: End, event: int) -> None:
        """What happens on one connection ends that one at most: all others hang from this process, too."""
        try:
            self._event(link, end, event)
        except Exception:
            self._counts[FAILED] += 1
            if link.hub is None:
                link.door.turns.forget(link.network, link)
                self._drop(link)
            else:
                self._end(link, bad=True)

    def _event(self, link: Link, end: End, event: int) -> None:
        if link.has_ended():
            return
        if link.hub is None:
            # Only a hang-up is heard of one that waits.
            if event & _GONE and link.door.turns.forget(link.network, link):
                self._drop(link)
            return
        if end is link.hub and not link.connected:
            if link.hub.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._counts[HUB_AWAY] += 1
                self._end(link)
                return
            link.connected = True
            self._ask(link.hub, _IN)
            self._ask(link.client, _IN)
            return
        if event & _OUT and end.waiting:
            self._flush(link, end)
        if link.has_ended():
            return
        if event & _IN and end.asked & _IN:
            if end is link.client:
                self._from_client(link)
            else:
                self._from_hub(link)
        elif event & _GONE:
            self._end(link)

    # --- octets -----------------------------------------------------------------------------------------

    def _from_client(self, link: Link) -> None:
        assert link.hub is not None
        assert link.budget is not None
        now, board = time.monotonic(), link.door.spec.board
        held = board.is_held(link.port, now)
        allowed = 0 if held else link.budget.allowed(board.shown(link.port), now)
        if not allowed:
            if not held:
                link.budget.stalled(now)
            self._stalled.add(link)
            self._ask(link.client, link.client.asked & ~_IN)
            return
        octets = self._read(link, link.client, min(allowed, PIECE_OCTETS))
        if octets:
            link.heard = now
            link.budget.took(len(octets))
            if link.quiet:
                be_quiet(link, False)
            self._write(link, link.hub, octets)

    def _from_hub(self, link: Link) -> None:
        assert link.hub is not None
        octets = self._read(link, link.hub, PIECE_OCTETS)
        if octets:
            if link.quiet and len(octets) != PING_OCTETS:
                be_quiet(link, False)
            self._write(link, link.client, octets)

    def _read(self, link: Link, end: End, most: int) -> memoryview:
        """What came, in the one buffer of all: good until something else is read."""
        try:
            count = end.socket.recv_into(self._buffer, most)
        except BlockingIOError:
            return self._buffer[:0]
        except OSError:
            count = 0
        if not count:
            end.open = False
            link.refused = end is link.hub
            self._closed(link, end)
        return self._buffer[:count]

    def _closed(self, link: Link, end: End) -> None:
        """One end has closed: the other is, too, once it has what it was owed."""
        other = link.client if end is link.hub else link.hub
        assert other is not None
        if other.waiting:
            self._ask(end, 0)
        else:
            self._end(link)

    def _write(self, link: Link, end: End, octets: memoryview) -> None:
        try:
            sent = end.socket.send(octets)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(link)
            return
        if sent < len(octets):
            end.waiting = memoryview(bytes(octets[sent:]))
            self._ask(end, end.asked | _OUT)
            self._ask_other(link, end, reading=False)

    def _flush(self, link: Link, end: End) -> None:
        try:
            end.waiting = end.waiting[end.socket.send(end.waiting) :]
        except BlockingIOError:
            return
        except OSError:
            self._end(link)
            return
        if not end.waiting:
            end.waiting = b""
            self._ask(end, end.asked & ~_OUT)
            other = link.client if end is link.hub else link.hub
            if other is not None and not other.open:
                self._end(link)
            else:
                self._ask_other(link, end, reading=True)

    def _ask_other(self, link: Link, end: End, *, reading: bool) -> None:
        """Read the other end no more, or again: one that stands still stays so until its next look."""
        other = link.client if end is link.hub else link.hub
        assert other is not None
        if not reading:
            self._ask(other, other.asked & ~_IN)
        elif other is not link.client or link not in self._stalled:
            self._ask(other, other.asked | _IN)

    def _ask(self, end: End, events: int) -> None:
        descriptor = end.socket.fileno()
        try:
            self._poll.modify(descriptor, events)
        except FileNotFoundError:
            self._poll.register(descriptor, events)
        end.asked = events

    # --- looking ----------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        for link in tuple(self._stalled):
            assert link.budget is not None
            shown = link.door.spec.board.shown(link.port)
            if link.door.spec.board.is_held(link.port, now):
                continue
            if link.budget.allowed(shown, now):
                self._stalled.discard(link)
                if link.hub is not None and not link.hub.waiting:
                    self._ask(link.client, link.client.asked | _IN)
            elif reason := link.budget.over(shown, now):
                self._cut(link, reason)
        for door in self._doors:
            for link in tuple(door.new):
                self._know(link, now)
            for link in door.turns.overdue(now - WAIT_SECONDS):
                self._counts[NO_TURN] += 1
                self._drop(link)
            self._open(door, now)
        if now // IDLE_SECONDS > self._looked_at // IDLE_SECONDS:
            self._looked_at = now
            if self._accepts_after and now >= self._accepts_after:
                self._accepts_after = 0.0
                for descriptor in self._listening:
                    self._poll.modify(descriptor, _IN)
            for door in self._doors:
                self._hear_quiet(door, now)
                self._miss(door, now)
            self._report()

    def _miss(self, door: Door, now: float) -> None:
        """Cut the streams of nodes that have gone without a word; the hub does not ask for them."""
        since = now - door.spec.silent_seconds
        silent = [link for links in door.members.values() for link in links if link.heard < since]
        for link in silent:
            if not self._reads(link, now) or has_said_more(link.client):
                link.heard = now
            elif door.spec.board.shown(link.port).streaming:
                self._counts[SILENT] += 1
                self._end(link)

    def _reads(self, link: Link, now: float) -> bool:
        held = link.door.spec.board.is_held(link.port, now)
        return bool(link.client.asked & _IN) and link not in self._stalled and not held

    def _hear_quiet(self, door: Door, now: float) -> None:
        """Read the pings that came since the last look."""
        since = now - QUIET_AFTER_SECONDS
        quiet = [link for links in door.members.values() for link in links if link.heard < since]
        since = now - PINGS_AFTER_SECONDS
        for link in quiet:
            if not link.quiet:
                if self._reads(link, now):
                    be_quiet(link, True)
            elif link.heard < since and self._reads(link, now):
                self._hear_ping(link, now)

    def _hear_ping(self, link: Link, now: float) -> None:
        octets = self._read(link, link.client, PING_OCTETS)
        if octets:
            assert link.budget is not None
            assert link.hub is not None
            link.heard = now
            link.budget.took(len(octets))
            self._write(link, link.hub, octets)

    def _know(self, link: Link, now: float) -> None:
        """Whether a new connection turned out to be a member's."""
        assert link.budget is not None
        door, shown = link.door, link.door.spec.board.shown(link.port)
        if not shown.member:
            if reason := link.budget.over(shown, now):
                self._cut(link, reason)
            elif (
                now - link.heard >= GIVES_WAY_SECONDS
                and not (shown.octets or shown.streaming)
                and door.turns.wait_of(link.network)
            ):
                self._counts[GAVE_WAY] += 1
                self._end(link)
            return
        door.new.discard(link)
        door.turns.known(link.network)
        link.member = shown.member
        links = door.members.setdefault(link.member, [])
        links.append(link)
        while len(links) > CONNECTIONS_PER_MEMBER:
            self._cut(links[0], TOO_MANY)

    def _cut(self, link: Link, reason: str) -> None:
        self._counts[reason] += 1
        self._end(link, bad=True)

    def _end(self, link: Link, *, bad: bool = False) -> None:
        """Close both ends of one that was opened."""
        if link.over:
            return
        door, owing = link.door, link.budget is not None and link.budget.debt > BAD_DEBT
        new = link in door.new
        idle = new and link.refused and door.spec.members
        door.turns.left(link.network, time.monotonic(), new=new, bad=bad or owing, idle=idle)
        door.new.discard(link)
        self._stalled.discard(link)
        if link.member:
            links = door.members[link.member]
            links.remove(link)
            if not links:
                del door.members[link.member]
        self._drop(link)

    def _drop(self, link: Link) -> None:
        link.over = True
        for end in (link.client, link.hub):
            if end is not None and end.socket.fileno() >= 0:
                self._ends.pop(end.socket.fileno(), None)
                end.socket.close()

    def _report(self) -> None:
        if self._counts:
            line = json.dumps(self._counts).encode() + b"\n"
            self._counts = Counter()
            try:
                self._control.send(line)
            except OSError:
                return
