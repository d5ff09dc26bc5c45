"""How members, mailbox and replicas stand: few columns of many rows, for metrics and `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.store.members import optional_time
from candor_hub.tables import (
    directories,
    envelopes,
    heads,
    log_fence,
    log_shards,
    log_waiting,
    mailbox,
    members,
    quota_uses,
)
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.directory import MemberStatus
from candor_proto.ids import NodeId
from candor_proto.merkle import CompactRange


@dataclass(frozen=True)
class MemberStanding:
    """One member: no name and no key."""

    node: NodeId
    status: MemberStatus
    revoked: bool
    last_seen_at: datetime | None
    index_issued_at: datetime | None

    @property
    def counts(self) -> bool:
        """Whether somebody should look when it is away."""
        return not self.revoked and self.status is MemberStatus.ACTIVE


@dataclass(frozen=True)
class MailboxStanding:
    """What waits in all mailboxes together, and since when the oldest of it does."""

    deliveries: int
    oldest_at: datetime | None
    by_recipient: Mapping[NodeId, int]


@dataclass(frozen=True)
class LogStanding:
    """The newest shard that has a head; no time before the first one. `waiting` is for the log as a whole."""

    entries: int = 0
    witnessed_entries: int = 0
    signed_at: datetime | None = None
    witnessed_at: datetime | None = None
    waiting: int = 0
    waiting_since: datetime | None = None


class Standing:
    """Read only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def members(self) -> tuple[MemberStanding, ...]:
        """Sorted by node id."""
        query = (
            sa.select(
                members.c.node,
                members.c.status,
                members.c.revoked_at,
                members.c.last_seen_at,
                heads.c.issued_at,
            )
            .outerjoin(heads)
            .order_by(members.c.node)
        )
        return tuple(
            MemberStanding(
                NodeId(node),
                MemberStatus(status),
                revoked is not None,
                optional_time(seen),
                optional_time(issued),
            )
            for node, status, revoked, seen, issued in self._connection.execute(query)
        )

    def mailbox(self) -> MailboxStanding:
        """Deliveries are numbered in the order in which they came: the lowest is the oldest."""
        oldest = sa.select(sa.func.min(mailbox.c.delivery_id)).scalar_subquery()
        at = self._connection.execute(
            sa.select(envelopes.c.accepted_at).join(mailbox).where(mailbox.c.delivery_id == oldest)
        ).scalar()
        query = sa.select(mailbox.c.recipient, sa.func.count()).group_by(mailbox.c.recipient)
        waiting = {NodeId(name): count for name, count in self._connection.execute(query)}
        return MailboxStanding(sum(waiting.values()), optional_time(at), waiting)

    def log(self) -> LogStanding:
        """By the rows alone: whose signatures a head has is not checked anew."""
        query = (
            sa.select(
                log_shards.c.compact_range,
                log_shards.c.signed_at,
                log_shards.c.witnessed,
                log_shards.c.witnessed_size,
                log_shards.c.witnessed_at,
            )
            .where(log_shards.c.signed != b"")
            .order_by(log_shards.c.shard.desc())
            .limit(1)
        )
        row = self._connection.execute(query).first()
        waiting, since = self._connection.execute(
            sa.select(sa.func.count(), sa.func.min(log_waiting.c.at)).select_from(log_waiting)
        ).one()
        if row is None:
            return LogStanding(waiting=waiting, waiting_since=optional_time(since))
        return LogStanding(
            entries=CompactRange.decode(row[0]).size,
            witnessed_entries=row[3],
            signed_at=from_milliseconds(row[1]),
            witnessed_at=from_milliseconds(row[4]) if row[2] else None,
            waiting=waiting,
            waiting_since=optional_time(since),
        )

    def term(self) -> int:
        """How often a replica took the log over; 0 where none ever had to."""
        return self._connection.execute(sa.select(sa.func.max(log_fence.c.term))).scalar() or 0

    def quota_used(self, since: datetime) -> dict[NodeId, int]:
        """Elements by asker, of the hours from then on."""
        used = sa.func.sum(quota_uses.c.weak + quota_uses.c.match + quota_uses.c.code)
        query = (
            sa.select(quota_uses.c.node, used)
            .where(quota_uses.c.hour >= to_milliseconds(since))
            .group_by(quota_uses.c.node)
        )
        return {NodeId(node): int(total) for node, total in self._connection.execute(query)}

    def directory_issued_at(self) -> datetime | None:
        """When the newest version of the directory was signed."""
        newest = sa.select(sa.func.max(directories.c.issued_at))
        return optional_time(self._connection.execute(newest).scalar())

    def oldest_index(self) -> datetime | None:
        """When the head was signed that is the oldest of an active member's."""
        query = (
            sa.select(sa.func.min(heads.c.issued_at))
            .join(members)
            .where(members.c.status == MemberStatus.ACTIVE.value, members.c.revoked_at.is_(None))
        )
        found = self._connection.execute(query).scalar()
        return None if found is None else from_milliseconds(found)
