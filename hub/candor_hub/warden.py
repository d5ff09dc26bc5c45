"""One loop over all streams: ends those of who may no longer be there, and says when something is due.

A timer and a look at the directory for each of a thousand streams would cost more than their messages. A node
that no longer reads stalls its own writer, never this: a revoked member is cut all the same.

Rules of this file:
- whatever changes a member or a certificate makes another version of the directory (`directory`): while the
  version is the same, who was judged by it needs no judging again before the first certificate ends;
- a list that is too old, and a clock that was set back, have everybody judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from candor_certs.revocation import DenyList
from candor_hub.clock import Clock, loop_seconds, until_next
from candor_hub.directory import Snapshot
from candor_hub.streams import Session, Streams, Timing, Watch
from candor_proto.directory import MemberStatus
from candor_proto.errors import CandorError, MemberSuspended
from candor_proto.ids import NodeId

# Moments in each interval at which heartbeats are sent: not all at one, for others wait meanwhile.
BEATS = 6
# Everybody is judged so often whatever the rules above say.
JUDGED_EVERY = timedelta(minutes=1)


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
        # Attached since the last round: they were let in by a directory of before.
        self._new: list[Session] = []
        # What all others were judged by: a version of the directory, at a time, and for how long it holds.
        self._version = 0
        self._judged_at: datetime | None = None
        self._judged_until: datetime | None = None
        # Of the BEATS, which was given last.
        self._beat = 0

    def welcome(self, session: Session) -> None:
        """Begin to look after a session."""
        session.heartbeat_at = self._first_beat(asyncio.get_running_loop().time())
        self._new.append(session)

    def _first_beat(self, now: float) -> float:
        """At most an interval from now, and in step with a share of the others.

        A packet that comes alone wakes the guard, gRPC and this loop for itself; of many that are sent
        together, and answered, each costs half. gRPC's pings are in step as well: they are so long after what
        was heard last, which is the answer to a heartbeat.
        """
        interval = self._timing.heartbeat_seconds
        self._beat = (self._beat + 1) % BEATS
        beat = now // interval * interval + self._beat * interval / BEATS
        return beat if beat > now else beat + interval

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(until_next(self._timing.poll_seconds, loop_seconds()))
            self.round()

    def round(self) -> None:
        """Every session that this may concern: it ends if its member is suspended or revoked, its certificate
        over, or the deny list too old.
        """
        loop_time, now, snapshot = asyncio.get_running_loop().time(), self._clock.now(), self._watch.snapshot
        deny_list = snapshot.deny_list(now)
        new, self._new = self._new, []
        if self._is_judged(snapshot, deny_list, now):
            self._judge(new, snapshot, deny_list, now)
        else:
            self._version, self._judged_at, self._judged_until = snapshot.version, now, now + JUDGED_EVERY
            self._judge(self._streams.all(), snapshot, deny_list, now)
        self._remind(loop_time)

    def _is_judged(self, snapshot: Snapshot, deny_list: DenyList, now: datetime) -> bool:
        """Whether everybody but the new ones was judged by what holds now."""
        if self._judged_at is None or self._judged_until is None:
            return False
        try:
            deny_list.check_fresh(now)
        except CandorError:
            return False
        return snapshot.version == self._version and self._judged_at <= now < self._judged_until

    def _judge(
        self, sessions: Iterable[Session], snapshot: Snapshot, deny_list: DenyList, now: datetime
    ) -> None:
        for session in sessions:
            try:
                session.identity.check_time(now)
                deny_list.check(session.identity, now)
                check_member(snapshot, session.node)
            except CandorError as error:
                session.end(error)
            else:
                assert self._judged_until is not None  # `round` has set it
                self._judged_until = min(self._judged_until, session.identity.not_after)

    def _remind(self, now: float) -> None:
        overdue = now - self._timing.redelivery_seconds
        for session in self._streams.all():
            if session.in_flight:
                session.drop_overdue(overdue)
            if now >= session.heartbeat_at:
                missed = (now - session.heartbeat_at) // session.heartbeat_seconds
                session.heartbeat_at += (missed + 1) * session.heartbeat_seconds
                session.heartbeat_due = True
                session.wake.set()
