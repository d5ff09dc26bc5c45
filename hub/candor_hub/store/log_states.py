"""Rows of what the entries of the present shard add up to: the hub signs nothing that breaks §14.5."""

from __future__ import annotations

from candor_hub.driver import Connection, change_matching, insert_many, sa
from candor_hub.tables import log_state, log_state_requests
from candor_proto.errors import LimitExceeded
from candor_proto.ids import NodeId
from candor_proto.tlog.state import Changes, LogState, NodeRow, RequestCounts, Shard

_SHARD, _NODE, _DENIED = "shard", "node", "denied"


class LogStates:
    """The state of one shard, the one that is appended to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self, counts: RequestCounts) -> LogState | None:
        """The state as it was saved last; None before the first entry of all."""
        nodes: dict[NodeId, NodeRow] = {}
        denied: list[int] = []
        shard: Shard | None = None
        for kind, name, value in self._connection.execute(sa.select(log_state)):
            if kind == _NODE:
                nodes[NodeId(name)] = NodeRow.decode(value)
            elif kind == _DENIED:
                denied.append(int(name, 16))
            else:
                shard = Shard.decode(value)
        return None if shard is None else LogState(shard, nodes, denied, counts)

    def save(self, changes: Changes, *, anew: bool) -> None:
        """What entries have changed; `anew` when they begin a shard."""
        if anew:
            self._connection.execute(sa.delete(log_state))
            self._connection.execute(sa.delete(log_state_requests))
        rows = [(_SHARD, "", changes.shard)]
        rows += [(_NODE, str(node), row) for node, row in changes.nodes.items()]
        rows += [(_DENIED, f"{serial:x}", b"") for serial in changes.denied]
        keys = [(kind, name) for kind, name, _ in rows]
        change_matching(self._connection, "DELETE FROM log_state", ("kind", "name"), keys)
        insert_many(self._connection, "log_state", ("kind", "name", "value"), rows)
        total, counted = self.requests_before(None), list[tuple[object, ...]]()
        for index, count in changes.requests:
            total += count
            counted.append((index, total))
        insert_many(self._connection, "log_state_requests", ("at_index", "total"), counted)

    def requests_before(self, index: int | None) -> int:
        """How many commitments the `requests` entries hold, all or those of a lower index."""
        query = sa.select(sa.func.max(log_state_requests.c.total))
        if index is not None:
            query = query.where(log_state_requests.c.at_index < index)
        return self._connection.execute(query).scalar() or 0

    def requests_between(self, start: int, end: int, limit: int) -> list[int]:
        """The indexes of the `requests` entries in start ≤ index < end, in order.

        Raises LimitExceeded when they hold more than `limit` commitments.
        """
        if self.requests_before(end) - self.requests_before(start) > limit:
            raise LimitExceeded(f"The range holds more than {limit:,} commitments.")
        at = log_state_requests.c.at_index
        query = sa.select(at).where(at >= start, at < end).order_by(at)
        return list(self._connection.execute(query).scalars())
