"""Who is attached, and what has changed for them: one stream for each node.

Rules of this file:
- the event loop owns everything here;
- a newer stream of a node replaces the older one: after a broken connection the node is back before its old
  stream is noticed to be dead;
- whoever writes a delivery wakes its recipient; what another process writes is noticed by `Watch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from candor_hub.directory import DirectoryKeeper, Snapshot
from candor_hub.mailbox import MailboxKeeper
from candor_proto.errors import AlreadyExists, CandorError, Unreachable
from candor_proto.ids import NodeId
from candor_wire.limits import (
    ATTACH_HELLO_DEADLINE_SECONDS,
    HEARTBEAT_SECONDS,
    REDELIVERY_SECONDS,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Timing:
    """How often things happen on a stream, in seconds."""

    poll_seconds: float = 1.0
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    redelivery_seconds: float = REDELIVERY_SECONDS
    hello_deadline_seconds: float = ATTACH_HELLO_DEADLINE_SECONDS


@dataclass(eq=False)
class Session:
    """One attached node: when set, `wake` says that there may be deliveries, `ended` why it has to go."""

    node: NodeId
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: CandorError | None = None

    def end(self, error: CandorError) -> None:
        self.ended = error
        self.wake.set()


class Streams:
    """The sessions of this process, by node."""

    def __init__(self) -> None:
        self._sessions: dict[NodeId, Session] = {}
        self._stopping = False

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self._sessions))

    def open(self, node: NodeId) -> Session:
        """A new session, which takes the place of the node's older one; raises Unreachable when stopping."""
        if self._stopping:
            raise Unreachable("The hub is stopping.", remedy="Connect again in a moment.")
        older = self._sessions.get(node)
        if older is not None:
            older.end(
                AlreadyExists(
                    f"{node} attached again, and this older stream ended.",
                    remedy="If this repeats, two programs run with the same keys: end one of them.",
                )
            )
        session = Session(node)
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
        for session in tuple(self._sessions.values()):
            session.end(Unreachable("The hub is stopping.", remedy="Connect again in a moment."))


class Watch:
    """Looks into the database once per poll for what other processes wrote there."""

    def __init__(
        self, streams: Streams, directory: DirectoryKeeper, mailbox: MailboxKeeper, timing: Timing
    ) -> None:
        self._streams = streams
        self._directory = directory
        self._mailbox = mailbox
        self._timing = timing
        self._version = 0

    @property
    def snapshot(self) -> Snapshot:
        """The directory as of the last look; its deny list grows stale with it."""
        return self._directory.known

    async def look(self) -> None:
        """Raises StoreUnusable."""
        version = (await asyncio.to_thread(self._directory.latest)).version
        if version != self._version:
            self._version = version
            self._streams.wake(self._streams.nodes)
        self._streams.wake(await asyncio.to_thread(self._mailbox.recipients_of_news))

    async def run(self) -> None:
        """Look for ever; a failing database is logged, and after five minutes the deny list is stale."""
        while True:
            await asyncio.sleep(self._timing.poll_seconds)
            try:
                await self.look()
            except CandorError as error:
                log.error("watch failed", code=error.code, message=error.message)
