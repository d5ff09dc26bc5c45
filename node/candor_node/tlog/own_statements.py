"""What this node says in the log once: witness keys, packs, a consent (docs/protocol.md §14.3, §15.2, §19.3).

Rules of this file:
- a statement is handed in again until the log was seen to hold it, with the same octets each time;
- keys and packs are looked up each time, so that what changed while the hub was away is not forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from candor_node import packs
from candor_node.clock import Clock
from candor_node.hub_client import HubClient
from candor_node.logs import log
from candor_node.store import Database, Store
from candor_node.tlog import log_store, member, succession_store, witness_store
from candor_node.tlog.folding import statement_digest
from candor_proto.canonical import Writer
from candor_proto.errors import CandorError
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.tlog.statements import PACK_ADOPTION, SUCCESSION, WITNESS_KEY, WitnessKeyStatement

LOOK_SECONDS = 60.0
AGAIN = timedelta(minutes=10)
_MOMENT = timedelta(milliseconds=1)


class OwnStatements:
    """Hands them in. Belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        hub: HubClient,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        clock: Clock,
        check_ready: Callable[[], None],
    ) -> None:
        self._store = store
        self._hub = hub
        self._federation = federation
        self._own = own
        self._key = key
        self._clock = clock
        self._check_ready = check_ready
        self._wanted = asyncio.Event()
        # When each was handed in last, by its digest.
        self._handed: dict[bytes, datetime] = {}

    def wake(self) -> None:
        """The hub can be reached (again), or there may be something new to say."""
        self._wanted.set()

    async def run(self) -> None:
        """Hand in what is not logged, for ever."""
        while True:
            self._wanted.clear()
            try:
                self._check_ready()
                await self.hand_in()
            except CandorError as error:
                log.info("statements are not logged yet", code=error.code, reason=error.message)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def hand_in(self) -> int:
        """Hand in what the log was not seen to hold, and was not handed in a moment ago; how many."""
        now = self._clock.now()
        waiting = [
            (context, statement)
            for context, statement in await self._store.run(lambda db: self.unlogged(db, now))
            if now - self._handed.get(statement_digest(context, statement), now - AGAIN) >= AGAIN
        ]
        for context, statement in waiting:
            await self._hub.put_statement(context, statement)
            self._handed[statement_digest(context, statement)] = now
        return len(waiting)

    def unlogged(self, db: Database, now: datetime) -> list[tuple[str, SignedStatement]]:
        """Context and statement of what this node has to say and the log does not hold."""
        consent = succession_store.newest(db)
        found = [*self._witness_key(db, now), *self._adoptions(db)]
        if consent is not None:
            found.append((SUCCESSION, consent.statement))
        return [
            (context, statement)
            for context, statement in found
            if not log_store.is_own_statement(db, statement_digest(context, statement))
        ]

    def _witness_key(self, db: Database, now: datetime) -> list[tuple[str, SignedStatement]]:
        keys = member.own_keys(db, self._federation, self._own, now)
        ed25519, ml_dsa = (each.key for each in keys.verifier_keys)
        row = log_store.node_row(db, self._own)
        logged = row.witness if row else None
        if logged is not None and (logged.ed25519_key, logged.ml_dsa_key) == (ed25519, ml_dsa):
            return []
        # Above the last one's, whatever the clock was when the keys were made.
        made_at = witness_store.keys_made_at(db) or now
        issued_at = max(made_at, logged.issued_at + _MOMENT) if logged is not None else made_at
        body = WitnessKeyStatement(self._federation, self._own, ed25519, ml_dsa, issued_at).encode()
        return [(WITNESS_KEY, self._key.sign(WITNESS_KEY, body))]

    def _adoptions(self, db: Database) -> list[tuple[str, SignedStatement]]:
        found = []
        for adoption in reversed(packs.adoptions(db)):
            if adoption.by == packs.INSTALLATION:
                continue
            pack = adoption.pack
            writer = Writer(PACK_ADOPTION).text(str(self._federation)).text(str(self._own)).text(pack.name)
            writer.integer(pack.version, 4).fixed(hashlib.sha256(pack.octets).digest(), 32).time(
                adoption.adopted_at
            )
            found.append((PACK_ADOPTION, self._key.sign(PACK_ADOPTION, writer.finish())))
        return found
