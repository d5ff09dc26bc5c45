"""Rows of quota uses in hourly buckets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from candor_hub.driver import Connection, batches, sa
from candor_hub.tables import quota_uses
from candor_proto.budget import Use
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import KeyClass, NodeId


class Quotas:
    """Elements used, by asker and hour."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def uses(self, node: NodeId, since: datetime) -> tuple[Use, ...]:
        return self.uses_of({node}, since)[node]

    def uses_of(self, nodes: Collection[NodeId], since: datetime) -> dict[NodeId, tuple[Use, ...]]:
        """The buckets from `since` on, for each of `nodes`."""
        found: dict[NodeId, list[Use]] = {node: [] for node in nodes}
        for some in batches(sorted(map(str, nodes))):
            query = sa.select(quota_uses).where(
                quota_uses.c.node.in_(some), quota_uses.c.hour >= to_milliseconds(since)
            )
            for row in self._connection.execute(query).mappings():
                use = Use(from_milliseconds(row["hour"]), row["weak"], row["match"], row["code"])
                found[NodeId(row["node"])].append(use)
        return {node: tuple(uses) for node, uses in found.items()}

    def spend(self, node: NodeId, hour: datetime, wanted: Mapping[KeyClass, int]) -> None:
        """Add to the bucket of `hour`."""
        spent = {
            "weak": wanted.get(KeyClass.WEAK, 0),
            "match": wanted.get(KeyClass.MATCH, 0),
            "code": wanted.get(KeyClass.CODE, 0),
        }
        bucket = (quota_uses.c.node == str(node)) & (quota_uses.c.hour == to_milliseconds(hour))
        added = {name: quota_uses.c[name] + value for name, value in spent.items()}
        if self._connection.execute(sa.update(quota_uses).where(bucket).values(added)).rowcount == 0:
            self._connection.execute(
                sa.insert(quota_uses).values(node=str(node), hour=to_milliseconds(hour), **spent)
            )

    def drop_before(self, hour: datetime) -> int:
        """Forget buckets that no window reaches any more; how many."""
        gone = sa.delete(quota_uses).where(quota_uses.c.hour < to_milliseconds(hour))
        return self._connection.execute(gone).rowcount
