"""Deliveries on their way: what a stream sends next, and what is forgotten.

A delivery waits until its recipient has acknowledged it, or until it expires. Online, offline, and connected
to another process of the hub are the same to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from candor_hub.store import Store
from candor_proto.budget import BUCKET, MONTH, bucket
from candor_proto.ids import NodeId
from candor_wire.codec import Delivery

# Longer than any retry (RELIABILITY.md §7.2): a late resubmission is answered as before.
IDS_REMEMBERED = timedelta(days=30)
# On PostgreSQL a lower delivery id may become visible after a higher one.
_LATE_ROWS = 1_000
EVER = datetime(1970, 1, 1, tzinfo=UTC)


class MailboxKeeper:
    """The deliveries of all members; safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest_seen = 0

    def waiting(self, node: NodeId, but: Collection[int], limit: int, now: datetime) -> tuple[Delivery, ...]:
        """The next unexpired deliveries to `node` in the order of acceptance, without those in `but`."""
        with self._store.read() as tx:
            return tx.mailbox.waiting(node, now, limit, but)

    def acknowledge(self, node: NodeId, delivery_ids: Iterable[int]) -> int:
        """Forget what `node` has stored; ids of other members' deliveries are ignored."""
        with self._store.write() as tx:
            return tx.mailbox.acknowledge({node: delivery_ids})

    def recipients_of_news(self) -> frozenset[NodeId]:
        """Who may have got deliveries since the last call, through this process or another."""
        with self._store.read() as tx:
            newest = tx.mailbox.newest()
            if newest == self._newest_seen:
                return frozenset()
            above = min(newest, self._newest_seen) - _LATE_ROWS
            found = tx.mailbox.above(above, EVER, 100_000)
        self._newest_seen = newest
        return frozenset(each.recipient for each in found)

    def forget(self, now: datetime) -> int:
        """Delete what has expired, ids and quota buckets that no rule needs any more; how many deliveries."""
        with self._store.write() as tx:
            tx.quotas.drop_before(bucket(now) - MONTH - 2 * BUCKET)
            return tx.mailbox.drop_expired(now, now - IDS_REMEMBERED)
