"""One loop over all streams: ends those of who may no longer be there, and says when something is due.

A timer and a look at the directory for each of a thousand streams would cost more than their messages. A node
that no longer reads stalls its own writer, never this: a revoked member is cut all the same.
"""

from __future__ import annotations

import asyncio

from candor_hub.clock import Clock
from candor_hub.directory import Snapshot
from candor_hub.streams import Session, Streams, Timing, Watch
from candor_proto.directory import MemberStatus
from candor_proto.errors import CandorError, MemberSuspended
from candor_proto.ids import NodeId


def check_member(snapshot: Snapshot, node: NodeId) -> None:
    """Raises NotAMember or MemberSuspended."""
    if snapshot.view.member(node).status is not MemberStatus.ACTIVE:
        raise MemberSuspended(f"{node} is suspended by the hub's operator.", remedy="Call the operator.")


class Warden:
    """Looks after all sessions, once per poll."""

    def __init__(self, streams: Streams, watch: Watch, clock: Clock, timing: Timing) -> None:
        self._streams = streams
        self._watch = watch
        self._clock = clock
        self._timing = timing

    def welcome(self, session: Session) -> None:
        """Begin to look after a session."""
        session.heartbeat_at = asyncio.get_running_loop().time() + self._timing.heartbeat_seconds

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._timing.poll_seconds)
            self.round()

    def round(self) -> None:
        """Every session once: it ends if its member is suspended or revoked, its certificate over, or the
        deny list too old.
        """
        loop_time, now, snapshot = asyncio.get_running_loop().time(), self._clock.now(), self._watch.snapshot
        deny_list = snapshot.deny_list(now)
        for session in self._streams.all():
            try:
                session.identity.check_time(now)
                deny_list.check(session.identity, now)
                check_member(snapshot, session.node)
            except CandorError as error:
                session.end(error)
            else:
                self._remind(session, loop_time)

    def _remind(self, session: Session, now: float) -> None:
        session.drop_overdue(now - self._timing.redelivery_seconds)
        if now >= session.heartbeat_at:
            session.heartbeat_at = now + self._timing.heartbeat_seconds
            session.heartbeat_due = True
            session.wake.set()
