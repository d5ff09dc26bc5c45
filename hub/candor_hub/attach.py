"""What is said on the one stream that a node holds open (docs/protocol.md §8.3).

    node: hello, then acknowledgements
    hub: welcome, then deliveries, directory_changed and heartbeats, in any order

Rules of this file:
- three tasks share a stream: one reads acknowledgements, one sends, one guards. A node that no longer reads
  stalls the sender, never the guard: a revoked member is cut all the same;
- at most MAX_DELIVERIES_IN_FLIGHT deliveries are unacknowledged; one that stays so is sent again;
- `in_flight` belongs to the event loop; no lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from candor_certs.chain import PeerIdentity
from candor_hub.clock import Clock
from candor_hub.directory import Snapshot
from candor_hub.enrolment import check_clock
from candor_hub.mailbox import MailboxKeeper
from candor_hub.streams import Session, Streams, Timing, Watch
from candor_proto.directory import MemberStatus
from candor_proto.errors import LimitExceeded, MemberSuspended
from candor_proto.ids import NodeId
from candor_wire.codec import (
    DirectoryChanged,
    Heartbeat,
    HubFrame,
    Welcome,
    read_acknowledge,
    read_hello,
)
from candor_wire.limits import MAX_DELIVERIES_IN_FLIGHT
from candor_wire.v1 import hub_pb2

log = structlog.get_logger(__name__)

Send = Callable[[HubFrame], Awaitable[None]]


def check_member(snapshot: Snapshot, node: NodeId) -> None:
    """Raises NotAMember or MemberSuspended."""
    if snapshot.view.member(node).status is not MemberStatus.ACTIVE:
        raise MemberSuspended(f"{node} is suspended by the hub's operator.", remedy="Call the operator.")


class Attachments:
    """Runs the streams of nodes."""

    def __init__(
        self, streams: Streams, watch: Watch, mailbox: MailboxKeeper, clock: Clock, timing: Timing
    ) -> None:
        self._streams = streams
        self._watch = watch
        self._mailbox = mailbox
        self._clock = clock
        self._timing = timing

    async def run(
        self,
        frames: AsyncIterator[hub_pb2.AttachRequest],
        send: Send,
        node: NodeId,
        identity: PeerIdentity,
        snapshot: Snapshot,
    ) -> None:
        """Serve one stream until the node ends it; `snapshot` is the directory the call was admitted by.

        Raises ClockWrong, MalformedMessage, LimitExceeded, MemberSuspended, CertificateRevoked, Expired,
        AlreadyExists (a newer stream of the node) or Unreachable (the hub is stopping).
        """
        try:
            async with asyncio.timeout(self._timing.hello_deadline_seconds):
                first = await anext(frames)
        except (TimeoutError, StopAsyncIteration):
            raise LimitExceeded("No hello came in time.", remedy="Say hello first.") from None
        hello = read_hello(first)
        now = self._clock.now()
        check_clock(hello.node_time, now)
        session = self._streams.open(node)
        log.info("attached", node=str(node))
        stream = _Stream(session, self._mailbox, self._clock, self._timing, self._watch, send)
        tasks: list[asyncio.Task[None]] = []
        try:
            await send(Welcome(now, snapshot.version))
            stream.told_version = snapshot.version
            tasks = [
                asyncio.create_task(stream.read(frames)),
                asyncio.create_task(stream.write()),
                asyncio.create_task(stream.guard(identity)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._streams.close(session)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            log.info("detached", node=str(node), delivered=stream.delivered)


class _Stream:
    """One stream's three tasks."""

    def __init__(
        self,
        session: Session,
        mailbox: MailboxKeeper,
        clock: Clock,
        timing: Timing,
        watch: Watch,
        send: Send,
    ) -> None:
        self._session = session
        self._node = session.node
        self._mailbox = mailbox
        self._clock = clock
        self._timing = timing
        self._watch = watch
        self._send = send
        self._in_flight: dict[int, float] = {}
        self.told_version = 0
        self.delivered = 0

    async def read(self, frames: AsyncIterator[hub_pb2.AttachRequest]) -> None:
        """Take acknowledgements until the node ends its side."""
        async for frame in frames:
            ids = read_acknowledge(frame)
            await asyncio.to_thread(self._mailbox.acknowledge, self._node, ids)
            for delivery_id in ids:
                self._in_flight.pop(delivery_id, None)
            self._session.wake.set()

    async def guard(self, identity: PeerIdentity) -> None:
        """Raises what ends the stream: replaced, suspended, revoked, expired, or a deny list too old."""
        while True:
            if self._session.ended is not None:
                raise self._session.ended
            now, snapshot = self._clock.now(), self._watch.snapshot
            identity.check_time(now)
            snapshot.deny_list(now).check(identity, now)
            check_member(snapshot, self._node)
            await asyncio.sleep(self._timing.poll_seconds)

    async def write(self) -> None:
        """Send what there is, then wait for more."""
        loop = asyncio.get_running_loop()
        next_heartbeat = loop.time() + self._timing.heartbeat_seconds
        next_look = 0.0
        while True:
            if self._session.ended is not None:
                raise self._session.ended
            version = self._watch.snapshot.version
            if version > self.told_version:
                self.told_version = version
                await self._send(DirectoryChanged(version))
            if self._session.wake.is_set() or loop.time() >= next_look:
                self._session.wake.clear()
                await self._deliver(loop)
                # Even if nobody woke us: a lost wake-up delays a delivery, it does not lose it.
                next_look = loop.time() + self._timing.redelivery_seconds
            if loop.time() >= next_heartbeat:
                next_heartbeat = loop.time() + self._timing.heartbeat_seconds
                await self._send(Heartbeat(self._clock.now()))
            await self._pause(min(next_heartbeat, next_look, self._oldest_due()) - loop.time())

    async def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fill the window, in order; what was sent too long ago counts as not sent."""
        due = loop.time() - self._timing.redelivery_seconds
        self._in_flight = {key: sent_at for key, sent_at in self._in_flight.items() if sent_at > due}
        room = MAX_DELIVERIES_IN_FLIGHT - len(self._in_flight)
        if room <= 0:
            return
        deliveries = await asyncio.to_thread(
            self._mailbox.waiting, self._node, tuple(self._in_flight), room, self._clock.now()
        )
        for delivery in deliveries:
            self._in_flight[delivery.delivery_id] = loop.time()
            await self._send(delivery)
            self.delivered += 1

    def _oldest_due(self) -> float:
        return min(self._in_flight.values(), default=float("inf")) + self._timing.redelivery_seconds

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.001, seconds)):
                await self._session.wake.wait()
