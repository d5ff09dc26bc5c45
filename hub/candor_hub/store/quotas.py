"""Rows of quota uses in hourly buckets, and of the ledger of what was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.tables import ledger, quota_uses
from candor_proto.budget import Use
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import KeyClass, NodeId


class Quotas:
    """Elements used, by asker and hour."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def uses(self, node: NodeId, since: datetime) -> tuple[Use, ...]:
        query = sa.select(quota_uses).where(
            quota_uses.c.node == str(node), quota_uses.c.hour >= to_milliseconds(since)
        )
        return tuple(
            Use(from_milliseconds(row["hour"]), row["weak"], row["match"], row["code"])
            for row in self._connection.execute(query).mappings()
        )

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


class Ledger:
    """Salted commitments to what was accepted, append-only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, sender: NodeId, kind: int, salt: bytes, commitment: bytes, now: datetime) -> None:
        self._connection.execute(
            sa.insert(ledger).values(
                at=to_milliseconds(now), sender=str(sender), kind=kind, salt=salt, commitment=commitment
            )
        )

    def count(self) -> int:
        return self._connection.execute(sa.select(sa.func.count()).select_from(ledger)).scalar() or 0
