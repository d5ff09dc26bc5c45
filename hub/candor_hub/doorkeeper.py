"""Ends connections that cost the hub and bring it nothing: what gRPC itself cannot be told to do.

gRPC's own limits begin behind a whole header block or a whole call. Frames of every kind, headers without an
end, calls that are reset, and connections that never call pass below all of them (docs/limits.md). So the
octets that came on a connection are held against what the application got out of it (`lines`).

Rules of this file:
- what a connection owes are octets that came and are in no message, but for headers of ended calls and the
  like: little at any time, and much when frames, headers without an end or calls that are reset come in floods;
- at leisure it may owe what the largest message takes. While the process is busy, less; while its memory
  grows, hardly anything: then it is better to cut an upload, which is tried again, than to be killed;
- a member whose connection was cut for a flood is not admitted for BARRED_SECONDS; whoever comes from the
  same address within PROBATION_SECONDS may owe less until he is admitted;
- the number of connections is bounded for a member, in time for those that never call, and where places run
  short for the addresses that have most of them;
- `judge` decides and reads no clock; the thread looks, and cuts.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from candor_hub.lines import Line, Lines
from candor_hub.sockets import Seen, Sockets, cut, resident_octets
from candor_proto.ids import NodeId

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.1
LEISURE_SECONDS = 2.0
# A look at many connections may take so much of a processor, no more.
SHARE_OF_LOOKS = 0.05
BUSY_SHARE = 0.5
GROWN_OCTETS, GROWN_SECONDS = 64 << 20, 10.0
CREPT_OCTETS, CREPT_SECONDS = 96 << 20, 900.0

# A node has one; dead ones of a bad line are noticed after 25 seconds, and it dials again meanwhile.
CONNECTIONS_PER_MEMBER = 4
FIRST_CALL_SECONDS = 10.0
# Of all places at a door; above this share the addresses with most connections that never called lose some.
CROWDED_SHARE = 0.75

# What a connection may owe: octets that it brought, and that are in no message yet.
DEBT_AT_LEISURE = (1 << 20) + (256 << 10)
DEBT = 96 * 1024
# Of who was never admitted and comes from where a flood came from; while memory grows of him, and of others.
DEBT_ON_PROBATION = 16 * 1024
DEBT_OF_STRANGERS_IN_NEED = 8 * 1024
DEBT_IN_NEED = 16 * 1024
# Besides, on a stream of requests: what its window takes, of a message that is not whole.
DEBT_OF_A_STREAM = (1 << 20) + (256 << 10)
DELIVERED_WITHIN_SECONDS = 15.0
# What pays for it besides the messages themselves: headers, frames and records, window updates, keepalive.
OCTETS_PER_CALL = 2 * 1024
OCTETS_PER_MESSAGE = 128
OCTETS_PER_WRITTEN = 256
SHARE_OF_MESSAGES = 16
SHARE_OF_SENT = 64
OCTETS_PER_SECOND = 16
PROBATION_SECONDS = 60.0
BARRED_SECONDS = 10.0


@dataclass(frozen=True)
class Door:
    """A port, what is known of its connections, and how many it has places for."""

    lines: Lines
    places: int
    # Where nobody has a certificate a call proves nothing.
    members: bool = True


@dataclass(frozen=True)
class Strain:
    """How the process fares: `busy` above half a processor; memory `growing` by much in seconds, or `crept`
    up within the last quarter of an hour.
    """

    busy: bool = False
    growing: bool = False
    crept: bool = False

    @property
    def any(self) -> bool:
        return self.busy or self.growing or self.crept


@dataclass
class _Known:
    """What was seen of a connection: since when, the counts of the last look, and its `debt` in octets."""

    since: float
    seen_at: float
    line: Line | None = None
    received: int = 0
    sent: int = 0
    messages: int = 0
    octets: int = 0
    ended: int = 0
    written: int = 0
    debt: int = 0
    delivered_at: float = 0.0

    def look(self, each: Seen, line: Line | None, now: float) -> None:
        """Take up what has come since the last look, and what pays for it."""
        if line is not self.line:
            self.line = line
            self.messages = self.octets = self.ended = self.written = 0
            if line is not None and line.begun < self.since - FIRST_CALL_SECONDS:
                # Another connection's, from the same port.
                self._note(line)
        paid = (each.sent - self.sent) // SHARE_OF_SENT + int((now - self.seen_at) * OCTETS_PER_SECOND)
        if line is not None:
            octets = line.octets - self.octets
            paid += octets + octets // SHARE_OF_MESSAGES
            paid += (line.messages - self.messages) * OCTETS_PER_MESSAGE
            paid += (line.ended - self.ended) * OCTETS_PER_CALL
            paid += (line.written - self.written) * OCTETS_PER_WRITTEN
            if octets:
                self.delivered_at = now
            self._note(line)
        self.debt = max(0, self.debt + each.received - self.received - paid)
        self.received, self.sent, self.seen_at = each.received, each.sent, now

    def _note(self, line: Line) -> None:
        self.messages, self.octets = line.messages, line.octets
        self.ended, self.written = line.ended, line.written


@dataclass
class Doorkeeper:
    """`doors` are by port. Begin it once the ports are known; one thread of its own."""

    doors: Mapping[int, Door]
    _known: dict[int, _Known] = field(default_factory=dict, repr=False)
    _probation: dict[str, float] = field(default_factory=dict, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    # --- the thread -------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="doorkeeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        sockets, gauge = Sockets(tuple(self.doors)), _Gauge()
        looked = took = 0.0
        while not self._over.wait(PAUSE_SECONDS):
            now = time.monotonic()
            strain = gauge.read(now)
            pause = took / SHARE_OF_LOOKS if strain.any else LEISURE_SECONDS
            if now - looked < pause:
                continue
            began = time.thread_time()
            try:
                self._look(sockets, strain, now)
            except Exception as error:
                log.error("connections could not be looked at", exc_info=error)
            looked, took = now, time.thread_time() - began

    def _look(self, sockets: Sockets, strain: Strain, now: float) -> None:
        seen = sockets.look()
        by_kind = Counter[str]()
        for connection, kind in self.judge(seen, now, strain):
            cut(connection.socket)
            by_kind[kind] += 1
        for kind, times in by_kind.items():
            log.warning("connections were cut", kind=kind, count=times)

    # --- what is decided --------------------------------------------------------------------------------

    def judge(self, seen: Sequence[Seen], now: float, strain: Strain = Strain()) -> list[tuple[Seen, str]]:
        """Which of these connections have to go, and why; `now` in seconds of a monotonic clock."""
        self._remember(seen, now)
        gone: dict[int, tuple[Seen, str]] = {}

        def end(connections: Iterable[Seen], reason: str) -> None:
            for each in connections:
                gone.setdefault(each.socket.inode, (each, reason))

        for port, door in self.doors.items():
            here = [each for each in seen if each.socket.port == port]
            lines = {each.socket.inode: door.lines.find(each.socket.peer) for each in here}
            door.lines.keep({each.socket.peer for each in here}, now)
            for each in here:
                self._known[each.socket.inode].look(each, lines[each.socket.inode], now)
            proven = {inode for inode, line in lines.items() if line is not None and line.node is not None}
            floods = [each for each in here if self._floods(each, now, strain)]
            end(floods, "flood")
            self._punish(door, floods, lines, now)
            strangers = [each for each in here if each.socket.inode not in proven]
            end(self._silent(door, strangers, lines, now), "no_call")
            end(self._too_many(here, lines), "too_many_of_a_member")
            end(self._crowd(door, here, strangers), "crowded")
        return list(gone.values())

    def _remember(self, seen: Sequence[Seen], now: float) -> None:
        before = self._known
        self._known = {each.socket.inode: before.get(each.socket.inode) or _Known(now, now) for each in seen}
        self._probation = {address: until for address, until in self._probation.items() if until > now}

    def _floods(self, each: Seen, now: float, strain: Strain) -> bool:
        known = self._known[each.socket.inode]
        if not strain.any:
            return known.debt > DEBT_AT_LEISURE
        line = known.line
        stranger = line is None or line.node is None
        free = DEBT
        if strain.growing:
            free = DEBT_OF_STRANGERS_IN_NEED if stranger else DEBT_IN_NEED
        elif stranger and each.socket.address in self._probation:
            free = DEBT_ON_PROBATION
        # While memory is short only who gets messages through is trusted with a window.
        short = 1.0 if strain.growing else DELIVERED_WITHIN_SECONDS if strain.crept else None
        if line is not None and line.streaming and (short is None or now - known.delivered_at <= short):
            free += DEBT_OF_A_STREAM
        return known.debt > free

    def _punish(
        self, door: Door, floods: Iterable[Seen], lines: Mapping[int, Line | None], now: float
    ) -> None:
        for each in floods:
            self._probation[each.socket.address] = now + PROBATION_SECONDS
            line = lines[each.socket.inode]
            if line is not None and line.node is not None:
                door.lines.bar(line.node, BARRED_SECONDS)

    def _silent(
        self, door: Door, strangers: Iterable[Seen], lines: Mapping[int, Line | None], now: float
    ) -> Iterable[Seen]:
        """Those that nobody was admitted on in time; without certificates: that never called."""
        for each in strangers:
            if now - self._known[each.socket.inode].since < FIRST_CALL_SECONDS:
                continue
            if door.members or lines[each.socket.inode] is None:
                yield each

    def _too_many(self, here: Iterable[Seen], lines: Mapping[int, Line | None]) -> Iterable[Seen]:
        """All but the newest of each member: the older ones are dead, or not a node's."""
        by_node: defaultdict[NodeId, list[Seen]] = defaultdict(list)
        for each in here:
            line = lines[each.socket.inode]
            if line is not None and line.node is not None:
                by_node[line.node].append(each)
        for several in by_node.values():
            if len(several) > CONNECTIONS_PER_MEMBER:
                yield from sorted(several, key=self._age)[:-CONNECTIONS_PER_MEMBER]

    def _crowd(self, door: Door, here: Sequence[Seen], strangers: Sequence[Seen]) -> Iterable[Seen]:
        """Of the addresses with most strangers so many that places are free again, the oldest first."""
        excess = len(here) - int(door.places * CROWDED_SHARE)
        if excess <= 0:
            return
        by_address: defaultdict[str, list[Seen]] = defaultdict(list)
        for each in sorted(strangers, key=self._age, reverse=True):
            by_address[each.socket.address].append(each)
        level = _level([len(some) for some in by_address.values()], excess)
        for some in by_address.values():
            for each in some[level:]:
                if excess <= 0:
                    return
                excess -= 1
                yield each

    def _age(self, each: Seen) -> tuple[float, int]:
        return self._known[each.socket.inode].since, each.socket.inode


def _level(counts: Sequence[int], excess: int) -> int:
    """To how many each of these has to come down so that together at least `excess` go."""
    level = max(counts, default=0)
    while level > 0 and sum(max(0, count - level) for count in counts) < excess:
        level -= 1
    return level


class _Gauge:
    """Processor time and memory of this process, from one reading to the next."""

    def __init__(self) -> None:
        self._read_at, self._used = time.monotonic(), time.process_time()
        self._lately = _Lowest(GROWN_SECONDS)
        self._long = _Lowest(CREPT_SECONDS)

    def read(self, now: float) -> Strain:
        used, resident = time.process_time(), resident_octets()
        busy = used - self._used > BUSY_SHARE * (now - self._read_at)
        self._read_at, self._used = now, used
        return Strain(
            busy,
            resident - self._lately.of(now, resident) > GROWN_OCTETS,
            resident - self._long.of(now, resident) > CREPT_OCTETS,
        )


class _Lowest:
    """The lowest value of the last `seconds`: kept for each hundredth of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, int]] = deque()

    def of(self, now: float, value: int) -> int:
        while self._values and now - self._values[0][0] > self._seconds:
            self._values.popleft()
        while self._values and self._values[-1][1] >= value:
            self._values.pop()
        if not self._values or now - self._values[-1][0] > self._seconds / 100:
            self._values.append((now, value))
        return min(value, self._values[0][1])
