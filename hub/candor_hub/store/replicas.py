"""Rows of the processes of this hub, and of which one holds each node's stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_certs.lifetime import span
from candor_hub.driver import Connection, batches, change_matching, insert_many, matching, sa
from candor_hub.tables import attachments, members, replicas
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import ClockWrong
from candor_proto.ids import NodeId
from candor_proto.statements import CLOCK_TOLERANCE

# A replica that has not written its row for so long counts as gone.
GONE_AFTER = timedelta(seconds=15)


@dataclass(frozen=True)
class ReplicaRecord:
    """A process of this hub; `here` says that it has written its row a moment ago."""

    replica: str
    started_at: datetime
    seen_at: datetime
    version: str
    here: bool


@dataclass(frozen=True)
class Attachment:
    """Who holds a node's newest stream: a replica, or "" when none does."""

    replica: str
    generation: int


class Replicas:
    """Processes by name, attachments by node."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- processes --------------------------------------------------------------------------------------

    def now(self, now: datetime) -> datetime:
        """The moment by which `seen_at` is judged: the database's where it has a clock of its own."""
        if self._connection.dialect.name == "sqlite":
            return now
        moment = self._connection.execute(sa.text("SELECT clock_timestamp()")).scalar()
        assert isinstance(moment, datetime)
        return moment

    def check_clock(self, now: datetime) -> None:
        """Raises ClockWrong when this machine's clock, which says `now`, is far from the database's.

        What is old is forgotten for all replicas, and heads of the log carry a time: one machine whose clock
        is wrong would drop mail and quotas of everybody, and sign a future.
        """
        moment = self.now(now)
        if abs(moment - now) <= CLOCK_TOLERANCE:
            return
        word = "behind" if now < moment else "ahead of"
        raise ClockWrong(
            f"This machine's clock is {span(abs(moment - now))} {word} the database's, and may differ by "
            f"{span(CLOCK_TOLERANCE)}: this machine says {now:%Y-%m-%d %H:%M:%S} UTC, the database "
            f"{moment:%Y-%m-%d %H:%M:%S} UTC.",
            remedy="Set the clock of the wrong machine (NTP); candor-hub goes on by itself then.",
        )

    def seen(self, replica: str, version: str, now: datetime) -> None:
        """This process is here."""
        at = to_milliseconds(self.now(now))
        own = sa.update(replicas).where(replicas.c.replica == replica)
        if self._connection.execute(own.values(seen_at=at, version=version)).rowcount == 0:
            self._connection.execute(
                sa.insert(replicas).values(replica=replica, started_at=at, seen_at=at, version=version)
            )

    def all(self, now: datetime) -> tuple[ReplicaRecord, ...]:
        """Those that are here or were a moment ago, by name."""
        before = self.now(now) - GONE_AFTER
        rows = self._connection.execute(sa.select(replicas).order_by(replicas.c.replica)).mappings()
        return tuple(
            ReplicaRecord(
                row["replica"],
                from_milliseconds(row["started_at"]),
                from_milliseconds(row["seen_at"]),
                row["version"],
                from_milliseconds(row["seen_at"]) > before,
            )
            for row in rows
        )

    def drop_gone(self, now: datetime) -> int:
        """Forget processes that are gone, and that they hold streams; how many."""
        before = to_milliseconds(self.now(now) - GONE_AFTER)
        gone = self._connection.execute(
            sa.select(replicas.c.replica).where(replicas.c.seen_at <= before)
        ).scalars()
        names = gone.all()
        for name in names:
            self.leave(name)
        return len(names)

    def leave(self, replica: str) -> None:
        """This process has ended: it holds no streams any more; its nodes were seen while it was."""
        seen_at = sa.select(replicas.c.seen_at).where(replicas.c.replica == replica).scalar_subquery()
        nodes = sa.select(attachments.c.node).where(attachments.c.replica == replica)
        unseen = members.c.last_seen_at.is_(None) | (members.c.last_seen_at < seen_at)
        self._connection.execute(
            sa.update(members)
            .where(members.c.node.in_(nodes), seen_at.isnot(None), unseen)
            .values(last_seen_at=seen_at)
        )
        held = sa.update(attachments).where(attachments.c.replica == replica)
        self._connection.execute(held.values(replica=""))
        self._connection.execute(sa.delete(replicas).where(replicas.c.replica == replica))

    # --- attachments ------------------------------------------------------------------------------------

    def attach(self, replica: str, nodes: Collection[NodeId], now: datetime) -> dict[NodeId, int]:
        """These nodes have a stream at `replica`, newer than any before: the generation of each."""
        names, at = sorted(map(str, nodes)), to_milliseconds(self.now(now))
        known = {str(node) for node in self._of(nodes)}
        new = [(name, replica, 0, at) for name in names if name not in known]
        insert_many(self._connection, "attachments", ("node", "replica", "generation", "since"), new)
        # As many statements for all nodes of a replica that died as for one: every writer waits meanwhile.
        given: dict[NodeId, int] = {}
        for some in batches(names):
            own = sa.update(attachments).where(attachments.c.node.in_(some))
            newer = own.values(replica=replica, generation=attachments.c.generation + 1, since=at)
            rows = self._connection.execute(
                newer.returning(attachments.c.node, attachments.c.generation)
            ).all()
            given |= {NodeId(name): generation for name, generation in rows}
        first = sa.func.coalesce(members.c.first_seen_at, at)
        for some in batches(names):
            seen = sa.update(members).where(members.c.node.in_(some))
            self._connection.execute(seen.values(last_seen_at=at, first_seen_at=first))
        return given

    def detach(self, replica: str, ended: Mapping[NodeId, int], now: datetime) -> None:
        """The streams of these generations have ended; a newer one, anywhere, is left alone.

        Their nodes were seen until now, by the clock that `attach` goes by.
        """
        nodes = sorted((str(node),) for node in ended)
        streams = [(str(node), replica, generation) for node, generation in sorted(ended.items())]
        own = ("node", "replica", "generation")
        change_matching(self._connection, "UPDATE attachments SET replica = ''", own, streams)
        if not ended:
            return
        seen, at = "UPDATE members SET last_seen_at = ?", to_milliseconds(self.now(now))
        change_matching(self._connection, seen, ("node",), nodes, (at,))

    def claim(self, replica: str, held: Mapping[NodeId, int]) -> tuple[NodeId, ...]:
        """Say again that `replica` holds these streams, by generation; those that have a newer one.

        A process that was thought gone may have been stopped, and goes on.
        """
        older: list[NodeId] = []
        for node, known in self._of(held, but=replica).items():
            if known.generation != held[node]:
                older.append(node)
            else:
                own = sa.update(attachments).where(attachments.c.node == str(node))
                self._connection.execute(own.values(replica=replica))
        return tuple(older)

    def older(self, replica: str, held: Mapping[NodeId, int]) -> tuple[NodeId, ...]:
        """Those of these streams of `replica`, by generation, whose node has a newer one."""
        known = self._of(held, but=replica)
        return tuple(node for node, other in known.items() if other.generation > held[node])

    def attached(self, now: datetime) -> dict[NodeId, datetime]:
        """Since when each node that has a stream has it, at a replica that is here."""
        before = to_milliseconds(self.now(now) - GONE_AFTER)
        query = (
            sa.select(attachments.c.node, attachments.c.since)
            .join(replicas, replicas.c.replica == attachments.c.replica)
            .where(replicas.c.seen_at > before)
        )
        return {NodeId(name): from_milliseconds(since) for name, since in self._connection.execute(query)}

    def held_until(self, now: datetime) -> dict[NodeId, datetime]:
        """When the process that holds a node's newest stream was seen last, where it is not here any more."""
        before = to_milliseconds(self.now(now) - GONE_AFTER)
        query = (
            sa.select(attachments.c.node, replicas.c.seen_at)
            .join(replicas, replicas.c.replica == attachments.c.replica)
            .where(replicas.c.seen_at <= before)
        )
        return {NodeId(name): from_milliseconds(seen) for name, seen in self._connection.execute(query)}

    def _of(self, nodes: Collection[NodeId], but: str | None = None) -> dict[NodeId, Attachment]:
        # Asked again and again, of all nodes of a process, and mostly none is found.
        table, values = "attachments", tuple[object, ...]()
        if but is not None:
            table, values = "(SELECT * FROM attachments WHERE replica <> ?) AS others", (but,)
        rows = matching(
            self._connection,
            f"SELECT node, replica, generation FROM {table}",  # noqa: S608 - our own texts
            ("node",),
            [(name,) for name in sorted(map(str, nodes))],
            values=values,
        )
        return {NodeId(node): Attachment(replica, generation) for node, replica, generation in rows}
