"""Once an hour this node says in the log which lookups reached it, and where its ledger stands (§14.8)."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta

from candor_node import ledger, mail_store
from candor_node.clock import Clock
from candor_node.hub_client import HubClient
from candor_node.logs import log
from candor_node.store import Database, Store
from candor_node.tlog import log_store, watching
from candor_proto.errors import CandorError
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SigningKey
from candor_proto.tlog.statements import HEARTBEAT, MAX_COVERED, Heartbeat, received_bits

INTERVAL_SECONDS = 3_600.0
RETRY_SECONDS = 300.0
# What was logged less long ago may still be on its way to this node.
SETTLED = timedelta(minutes=5)


class Heartbeats:
    """Makes them. Belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        hub: HubClient,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._store = store
        self._hub = hub
        self._federation = federation
        self._own = own
        self._key = key
        self._clock = clock

    async def run(self) -> None:
        """One an hour, for ever; members that start together do not beat together."""
        await asyncio.sleep(random.uniform(0, INTERVAL_SECONDS))  # noqa: S311 - spreads load, guards nothing
        while True:
            try:
                await self.beat()
                delay = INTERVAL_SECONDS
            except CandorError as error:
                # A lookup that has not come yet: its bit would be missing, and the hub knows that.
                log.info("no heartbeat was logged", code=error.code, reason=error.message)
                delay = RETRY_SECONDS
            await asyncio.sleep(delay)

    async def beat(self) -> Heartbeat | None:
        """Hand in the next heartbeat; None while there is nothing to cover. Raises what the hub says."""
        now = self._clock.now()
        heartbeat = await self._store.run(lambda db: self._next(db, now))
        if heartbeat is not None:
            await self._hub.put_statement(HEARTBEAT, self._key.sign(HEARTBEAT, heartbeat.encode()))
        return heartbeat

    def _next(self, db: Database, now: datetime) -> Heartbeat | None:
        shard, row = log_store.last_shard(db), log_store.node_row(db, self._own)
        # A database that went back first learns which heartbeats were handed in before.
        if shard is None or row is None or log_store.restored_at(db) is not None:
            return None
        last = row.heartbeat
        watching.forget_old(db, now, (shard.number, last.end) if last else None)
        start = last.end if last else watching.first_request(db, shard.number)
        end = log_store.witnessed_before(db, shard.number, now - SETTLED)
        if start is None or end is None or end <= start:
            return None
        flags, end = watching.received_flags(db, shard.number, start, end, MAX_COVERED)
        if not flags:
            return None
        answered, refused = mail_store.answers_ever(db)
        number, digest = ledger.head(db)
        return Heartbeat(
            self._federation,
            self._own,
            shard.origin,
            last.number + 1 if last else 1,
            start,
            end,
            received_bits(flags),
            answered,
            refused,
            number,
            digest,
            now,
        )
