"""Who is attached, what is on its way to each, and what changes for all: one stream for each node.

Rules of this file:
- the event loop owns everything here; no locks;
- a newer stream of a node replaces the older one: after a broken connection the node is back before its old
  stream is noticed to be dead;
- a session takes its deliveries from the courier while it keeps up (`offer`). One that is new, that had no
  room, or that did not acknowledge in time is `behind` and reads the mailbox for itself: the table is the one
  truth, what is held here only a copy of its head.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from candor_certs.chain import PeerIdentity
from candor_hub.clock import loop_seconds, until_next
from candor_hub.directory import DirectoryKeeper, Snapshot
from candor_hub.store.log import LogNews
from candor_hub.tlog.confirmed import SETTLE_SECONDS
from candor_proto.errors import AlreadyExists, CandorError, Unreachable
from candor_proto.ids import NodeId
from candor_wire import silence
from candor_wire.codec import Cosign, Receipt
from candor_wire.limits import (
    ATTACH_HELLO_DEADLINE_SECONDS,
    FRAME_OCTETS,
    HEARTBEAT_SECONDS,
    MAX_DELIVERIES_IN_FLIGHT,
    MAX_OCTETS_IN_FLIGHT,
    MAX_UNANSWERED_SUBMISSIONS,
    RARE_HEARTBEAT_SECONDS,
    REDELIVERY_SECONDS,
)

log = structlog.get_logger(__name__)

# A session that is behind reads again when it has room for so many.
_REFILL = MAX_DELIVERIES_IN_FLIGHT // 4
_MAX_RECEIPTS_IN_A_FRAME = 256
# A delivery is answered by a frame with an envelope, and acknowledged; the credit for it is kept for so many.
CREDIT_PER_DELIVERY = 2.0625
MAX_CREDIT = CREDIT_PER_DELIVERY * MAX_DELIVERIES_IN_FLIGHT
# One may be lost with its line or late, and the next one still comes in time.
HEARTBEATS_IN_SILENCE = 2.5
# What is to be logged waits so long for company, unless it is a commitment (`tlog.appender`).
COALESCE_SECONDS = 0.03


@dataclass(frozen=True)
class Timing:
    """How often things happen on a stream, in seconds."""

    poll_seconds: float = 1.0
    # To a node that does not say how long it lets its stream be silent, and at which moments to all.
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    # At most, to one that does.
    rare_heartbeat_seconds: float = RARE_HEARTBEAT_SECONDS
    redelivery_seconds: float = REDELIVERY_SECONDS
    hello_deadline_seconds: float = ATTACH_HELLO_DEADLINE_SECONDS
    coalesce_seconds: float = COALESCE_SECONDS
    # How long witnesses have time to come before the log goes on, where no quorum of them is asked for.
    settle_seconds: float = SETTLE_SECONDS

    def heartbeat_of(self, silence_told: object) -> float:
        """How many seconds are between two heartbeats to a node that says this of the silence it bears."""
        silence_seconds = silence.read(silence_told)
        if silence_seconds is None:
            return self.heartbeat_seconds
        often_enough = silence_seconds / HEARTBEATS_IN_SILENCE
        return max(self.heartbeat_seconds, min(self.rare_heartbeat_seconds, often_enough))


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery; `envelope` is as it goes onto the wire, and recipients of one share it."""

    delivery_id: int
    envelope: bytes = field(repr=False)


@dataclass(eq=False, slots=True)
class Session:
    """One attached node. `wake` says that its writer has something to do, `over` that it has to go.

    There are thousands: an empty deque is six hundred octets.
    """

    node: NodeId
    identity: PeerIdentity
    # Of the node's software, as it says itself: for people alone.
    version: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    # Only while its reader waits for room.
    room: asyncio.Event | None = None
    over: bool = False
    ended: CandorError | None = None
    # Hears that it has to go, with no task that waits for it.
    on_over: Callable[[], None] | None = None
    # Which of the node's streams this is, over all replicas; 0 until that is written down.
    generation: int = 0
    # When the node said hello (loop time, seconds).
    began: float = 0.0
    told_version: int = 0
    heartbeat_due: bool = False
    # The next (loop time), and how many seconds are between two.
    heartbeat_at: float = 0.0
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    behind: bool = True
    reading: bool = False
    read_at: float = 0.0
    delivered: int = 0
    unanswered: int = 0
    # Of those that were answered, since the node was read last.
    refused: int = 0
    # What the node may say without waiting for a turn, for it was delivered something (frames).
    credit: float = 0.0
    receipts: list[Receipt] = field(default_factory=list)
    pending: list[Parcel] = field(default_factory=list)
    cosigns: list[Cosign] = field(default_factory=list)
    # By delivery id, oldest first: when it was sent (loop time, seconds), and how large it is.
    in_flight: dict[int, tuple[float, int]] = field(default_factory=dict)
    octets_in_flight: int = 0
    # Acknowledged by the node, not yet deleted from the mailbox: not to be read again from there.
    acknowledging: set[int] = field(default_factory=set)

    def end(self, error: CandorError) -> None:
        if self.ended is None:
            self.ended = error
        self.over = True
        if self.on_over is not None:
            self.on_over()

    # --- deliveries -------------------------------------------------------------------------------------

    @property
    def places(self) -> int:
        """How many more deliveries may be taken on."""
        places = MAX_DELIVERIES_IN_FLIGHT - len(self.in_flight) - len(self.pending)
        return places if self.octets_in_flight < MAX_OCTETS_IN_FLIGHT else min(places, 0)

    @property
    def may_read(self) -> bool:
        """Whether reading the mailbox is due, and worth it."""
        idle = not self.in_flight and not self.pending
        return self.behind and not self.reading and (idle or self.places >= _REFILL)

    def known(self) -> frozenset[int]:
        """Ids that must not be read from the mailbox again."""
        pending = (parcel.delivery_id for parcel in self.pending)
        return frozenset(self.in_flight).union(pending, self.acknowledging)

    def offer(self, parcel: Parcel, read_at: float) -> None:
        """Take on a delivery that was read from the mailbox at `read_at`, or be behind."""
        if self.behind or self.reading or self.read_at >= read_at or self.places <= 0:
            # What this session reads for itself may hold the same delivery: one reader at a time.
            self.behind = True
        else:
            self.pending.append(parcel)
        self.wake.set()

    def next_mail(self, now: float) -> tuple[list[Parcel], list[Receipt]]:
        """What goes into the next frame, as in flight from `now` on; empty if nothing does."""
        parcels, octets = list[Parcel](), 0
        while self.pending and self.octets_in_flight < MAX_OCTETS_IN_FLIGHT:
            size = len(self.pending[0].envelope)
            octets += size
            if parcels and octets > FRAME_OCTETS:
                break
            parcel = self.pending.pop(0)
            parcels.append(parcel)
            self.in_flight[parcel.delivery_id] = (now, size)
            self.octets_in_flight += size
        self.delivered += len(parcels)
        self.credit = min(MAX_CREDIT, self.credit + CREDIT_PER_DELIVERY * len(parcels))
        receipts = self.receipts[:_MAX_RECEIPTS_IN_A_FRAME]
        del self.receipts[:_MAX_RECEIPTS_IN_A_FRAME]
        return parcels, receipts

    def spend(self, cost: float) -> float:
        """How much of what the node says is paid for by what it was delivered."""
        paid = min(cost, self.credit)
        self.credit -= paid
        return paid

    def land(self, delivery_id: int) -> None:
        """No longer in flight."""
        _, octets = self.in_flight.pop(delivery_id, (0.0, 0))
        self.octets_in_flight -= octets

    def drop_overdue(self, due: float) -> None:
        """What was sent before `due` and is not acknowledged counts as not sent."""
        overdue = list[int]()
        for delivery_id, (sent_at, _) in self.in_flight.items():
            if sent_at > due:
                break
            overdue.append(delivery_id)
        for delivery_id in overdue:
            self.land(delivery_id)
        if overdue:
            self.look_again()

    def look_again(self) -> None:
        self.behind = True
        self.wake.set()

    # --- submissions ------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another submission, and more acknowledgements, may be taken on."""
        return (
            self.unanswered + len(self.receipts) < MAX_UNANSWERED_SUBMISSIONS
            and len(self.acknowledging) < 4 * MAX_DELIVERIES_IN_FLIGHT
        )

    async def wait_for_room(self) -> None:
        """Until there is."""
        while not self.has_room:
            self.room = asyncio.Event()
            await self.room.wait()
        self.room = None

    def make_room(self) -> None:
        """There may be some."""
        if self.room is not None:
            self.room.set()


def newer_stream(node: NodeId) -> AlreadyExists:
    """Why an older stream ends."""
    return AlreadyExists(
        f"{node} attached again, and this older stream ended.",
        remedy="If this repeats, two programs run with the same keys: end one of them.",
    )


class Streams:
    """The sessions of this process, by node."""

    def __init__(self) -> None:
        self._sessions: dict[NodeId, Session] = {}
        self._stopping = False

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self._sessions))

    def all(self) -> tuple[Session, ...]:
        return tuple(self._sessions.values())

    def of(self, node: NodeId) -> Session | None:
        return self._sessions.get(node)

    def attached(self) -> frozenset[NodeId]:
        return frozenset(self._sessions)

    def open(self, node: NodeId, identity: PeerIdentity) -> Session:
        """A new session, which takes the place of the node's older one; raises Unreachable when stopping."""
        if self._stopping:
            raise Unreachable("The hub is stopping.", remedy="Connect again in a moment.")
        older = self._sessions.get(node)
        if older is not None:
            older.end(newer_stream(node))
        session = Session(node, identity, began=loop_seconds())
        session.wake.set()
        self._sessions[node] = session
        return session

    def close(self, session: Session) -> None:
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]

    def wake(self, nodes: Iterable[NodeId]) -> None:
        for node in nodes:
            session = self._sessions.get(node)
            if session is not None:
                session.wake.set()

    def stop(self) -> None:
        """End all sessions; nodes connect again to whoever listens then."""
        self._stopping = True
        for session in self.all():
            session.end(Unreachable("The hub is stopping.", remedy="Connect again in a moment."))


class Watch:
    """Looks for a directory, or news of the log, of another process: once per poll, and when told.

    `announced` says which version of the directory members are told of: it may lie behind the newest, by
    which they are judged (docs/protocol.md §10.4). `on_look` hears what is new about the log.
    """

    def __init__(
        self,
        streams: Streams,
        directory: DirectoryKeeper,
        timing: Timing,
        announced: Callable[[], int],
        on_look: Callable[[LogNews], None],
    ) -> None:
        self._streams = streams
        self._directory = directory
        self._timing = timing
        self._announced = announced
        self._on_look = on_look
        self._on_changed: Callable[[], None] = lambda: None
        self._hurry = asyncio.Event()
        self._looked_at = 0

    @property
    def snapshot(self) -> Snapshot:
        """The directory as of the last look; its deny list grows stale with it."""
        return self._directory.known

    def age_seconds(self) -> float:
        """How old that is, and the deny list with it."""
        return max(0.0, time.monotonic() - self._directory.known.read_at_seconds)

    @property
    def announced(self) -> int:
        return self._announced()

    def announce(self) -> None:
        """Everybody is told of the version that is announced now."""
        self._streams.wake(self._streams.nodes)

    def on_changed(self, heard: Callable[[], None]) -> None:
        """`heard` is called in the event loop when a look has shown another version of the directory."""
        self._on_changed = heard

    def heard(self) -> None:
        """Another process says that there is another version: it is looked at now."""
        self._hurry.set()

    async def look(self) -> None:
        """Raises StoreUnusable."""
        snapshot, news = await asyncio.to_thread(self._directory.look)
        self._on_look(news)
        if snapshot.version != self._looked_at:
            self._looked_at = snapshot.version
            self._on_changed()

    async def run(self) -> None:
        """Look for ever; a failing database is logged, and after 50 seconds the deny list is stale."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(until_next(self._timing.poll_seconds, loop_seconds())):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                await self.look()
            except CandorError as error:
                log.error("watch failed", code=error.code, message=error.message)
                await asyncio.sleep(self._timing.poll_seconds)
