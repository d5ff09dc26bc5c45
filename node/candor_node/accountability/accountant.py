"""The parts of a node that can prove something, put together; what they do by themselves is done here.

Rule of this file: it sends nothing. Tiles are fetched when a person asks for a file, as for any other entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from cryptography import x509

from candor_node.accountability import digests, held_heads, kept_segments, noticing, openings
from candor_node.accountability.observing import Observing
from candor_node.accountability.openings import Openings
from candor_node.accountability.proofs import Proofs
from candor_node.accountability.receipts import Receipts
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.store import Database, Store
from candor_node.tlog.follower import Follower
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SigningKey

TIDY_EVERY = timedelta(hours=1)


class Accountant:
    """Belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        follower: Follower,
        indexes: IndexClient,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        roots: Sequence[x509.Certificate],
        clock: Clock,
    ) -> None:
        self._store = store
        self._follower = follower
        self._clock = clock
        self.kept = indexes.kept
        self.proofs = Proofs(follower, store, federation, roots, clock)
        self.receipts = Receipts(store, self.proofs, federation, own, key)
        self.openings = Openings(store, self.proofs, federation, own)
        self._tidy_from = datetime.min.replace(tzinfo=UTC)
        follower.observers.append(Observing(federation, own))

    async def keep_house(self) -> None:
        """The calendar: digests of months that are over, and the end of what was kept long enough."""
        now = self._clock.now()
        await self._store.run(partial(digests.make_due, now=now))
        await self.take_contradictions()
        if now < self._tidy_from:
            return
        self._tidy_from = now + TIDY_EVERY
        await self._store.run(partial(noticing.forget_answered, now=now))
        destroyed = 0
        while done := await self._store.run(partial(openings.destroy_old, now=now)):
            destroyed += done

        def forget(db: Database) -> list[bytes]:
            kept_segments.forget_bases(db)
            held_heads.forget(db, now, now - openings.KEPT)
            return kept_segments.pinned(db, now)

        pinned = await self._store.run(forget)
        await asyncio.to_thread(self.kept.prune, now, pinned)
        if destroyed:
            await asyncio.to_thread(self._store.checkpoint)

    async def take_contradictions(self) -> None:
        """What the follower has found becomes evidence."""
        view, now = self._follower.view, self._clock.now()
        if view is not None:
            await self._store.run(lambda db: noticing.take_contradictions(db, view.policy, now))
