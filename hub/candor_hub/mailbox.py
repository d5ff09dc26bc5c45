"""Deliveries on their way: what a stream sends next, and what is forgotten.

A delivery waits until its recipient has acknowledged it, or until it expires. Online, offline, and connected
to another process of the hub are the same to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_hub.store import Mark, Store
from candor_hub.store.mailbox import Waiting
from candor_proto.budget import BUCKET, MONTH, bucket
from candor_proto.ids import NodeId
from candor_wire.codec import Delivery

# Longer than any retry (RELIABILITY.md §7.2): a late resubmission is answered as before.
IDS_REMEMBERED = timedelta(days=30)


@dataclass(frozen=True)
class News:
    """New rows, and the envelopes of those for attached nodes as they go onto the wire, by number.

    No delivery with an id up to `up_to` is still to come.
    """

    rows: tuple[Waiting, ...]
    up_to: int
    envelopes: dict[int, bytes] = field(repr=False)


class MailboxKeeper:
    """The deliveries of all members; safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # What was committed when `news` found nothing above this id, or read all there was.
        self._nothing_above: tuple[Mark, int] | None = None

    def waiting(self, node: NodeId, but: Collection[int], limit: int, now: datetime) -> tuple[Delivery, ...]:
        """The next unexpired deliveries to `node`, senders taking turns, without those in `but`."""
        with self._store.read() as tx:
            return tx.mailbox.waiting(node, now, limit, but)

    def newest(self) -> int:
        """The highest delivery id that waits."""
        with self._store.read() as tx:
            return tx.mailbox.newest()

    def waiting_counts(self) -> dict[NodeId, int]:
        """How many deliveries wait for each node that has any."""
        with self._store.read() as tx:
            return tx.mailbox.waiting_counts()

    def news(
        self,
        above: int,
        limit: int,
        attached: Collection[NodeId],
        now: datetime,
        replica: str | None = None,
    ) -> News:
        """The first `limit` deliveries with an id above `above`, written by this process or another.

        With `replica` those alone whose node has its stream there. Ids become visible in their order, for one
        writes at a time over all replicas; there may be gaps. One caller at a time. Where nobody has
        committed anything since it was all read, nothing is read.
        """
        mark, nothing = self._store.mark(), self._nothing_above
        if mark is not None and nothing is not None and nothing[0] == mark and nothing[1] <= above:
            return News((), above, {})
        with self._store.read() as tx:
            rows = tx.mailbox.above(above, now, limit, replica)
            full = len(rows) == limit
            up_to = rows[-1].delivery_id if full else max(above, tx.mailbox.newest())
            bodies = tx.mailbox.bodies(row.envelope for row in rows if row.recipient in attached)
        # The mark is of before: what was committed while we read is seen the next time.
        self._nothing_above = (mark, up_to) if mark is not None and not full else None
        return News(rows, up_to, bodies)

    def acknowledge(self, node: NodeId, delivery_ids: Iterable[int]) -> int:
        """Forget what `node` has stored; ids of other members' deliveries are ignored."""
        return self.acknowledge_all({node: delivery_ids})

    def acknowledge_all(self, acknowledged: Mapping[NodeId, Iterable[int]]) -> int:
        """As `acknowledge`, of many nodes at once."""
        with self._store.write() as tx:
            return tx.mailbox.acknowledge(acknowledged)

    def forget(self, now: datetime) -> int:
        """Delete what has expired, ids and quota buckets that no rule needs any more; how many deliveries."""
        with self._store.write() as tx:
            tx.quotas.drop_before(bucket(now) - MONTH - 2 * BUCKET)
            return tx.mailbox.drop_expired(now, now - IDS_REMEMBERED)
