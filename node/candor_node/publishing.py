"""Brings what the publisher seals to the hub: on the calendar, after an import in the demo, and on request.

A tick is stored before it is sent and confirmed once the hub has it, so that a crash or an outage between the
two only delays it (docs/protocol.md §6.7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from candor_node import publisher, rollback
from candor_node.clock import Clock
from candor_node.hub_client import HubClient
from candor_node.logs import log
from candor_node.publisher import Publication, Settings
from candor_node.store import Database, Store
from candor_node.tlog import log_store, succession_store
from candor_proto.errors import CandorError, NotLogged, Unreachable, WentBack
from candor_proto.merkle import leaf_hash
from candor_proto.signing import SigningKey
from candor_proto.tlog.entries import head_entry

CHECK_SECONDS = 60.0
RETRY_SECONDS = 10.0


class Publishing:
    """The one publisher; `_lock` keeps ticks apart."""

    def __init__(
        self,
        store: Store,
        hub: HubClient,
        settings: Settings,
        key: SigningKey,
        clock: Clock,
        interval: timedelta,
        check_ready: Callable[[], None],
        check_followed: Callable[[], None] = lambda: None,
    ) -> None:
        """`check_followed` raises while it is not known which heads of this node the log holds."""
        self._check_followed = check_followed
        self._store = store
        self._hub = hub
        self._settings = settings
        self._key = key
        self._clock = clock
        # At once after an import, and otherwise only when an epoch ends.
        self.at_once = interval <= timedelta(0)
        self._interval = interval or timedelta.max
        self._check_ready = check_ready
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """The hub can be reached (again)."""
        self._wake.set()

    async def publish(self, *, rotate: bool = False) -> Publication:
        """A tick now. Raises Unreachable when it is stored but not sent yet; `run` sends it later."""
        async with self._lock:
            await self._check_known()
            now = self._clock.now()
            publication = await asyncio.to_thread(
                publisher.tick, self._store, now, self._settings, rotate=rotate
            )
            await self._send(publication)
        return publication

    async def after_import(self) -> bool:
        """Publish at once where the settings say so; whether the hub has it."""
        if not self.at_once:
            return False
        try:
            await self.publish()
        except (Unreachable, NotLogged, WentBack) as error:
            # The records are stored and the tick is sealed: `run` sends it when the hub is back.
            log.warning("publication is late", code=error.code, reason=error.message)
            return False
        return True

    async def run(self) -> None:
        """Publish what is due, for ever."""
        while True:
            try:
                self._check_ready()
            except CandorError:
                delay = RETRY_SECONDS  # why stands in the log already
            else:
                delay = await self._try()
            self._wake.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _try(self) -> float:
        """Publish what is due; in how many seconds to look again."""
        try:
            await self._publish_due()
        except CandorError as error:
            log.warning("publication is late", code=error.code, reason=error.message)
            return RETRY_SECONDS
        return CHECK_SECONDS

    async def _check_known(self) -> None:
        """Raises NotLogged while a head of this node might be signed twice: above all after a restore."""
        self._check_followed()
        await self._store.run(rollback.check_sharing)
        if await self._store.run(log_store.restored_at) is not None:
            raise NotLogged(
                "This node was restored, and has not read yet what it had published before.",
                remedy="It publishes as soon as it has read a head of the log that was witnessed since.",
            )

    async def _publish_due(self) -> None:
        await self._check_known()
        now = self._clock.now()

        def due(db: Database) -> tuple[bool, bool, bool, Publication | None]:
            tick = publisher.tick_due(db, now, self._interval, self._settings)
            moved = succession_store.publication_due(db)
            return moved, tick, publisher.head_due(db, now) or self._outrun(db), publisher.pending(db)

        moved, tick, head, pending = await self._store.run(due)
        if moved:
            await self._publish_anew()
        elif tick:
            await self.publish()
        elif head:
            async with self._lock:
                await self._send(await self._store.run(lambda db: publisher.refresh_head(db, now)))
        elif pending is not None:
            async with self._lock:
                await self._send(pending)

    async def _publish_anew(self) -> None:
        """A successor holds none of the segments: a new epoch brings all of them (§19.6)."""
        async with self._lock:
            publication = await asyncio.to_thread(
                publisher.tick, self._store, self._clock.now(), self._settings, rotate=True
            )
            # Before it is sent: what waits is sent again anyway, and each attempt must not be a new epoch.
            await self._store.run(succession_store.published)
            await self._send(publication)

    def _outrun(self, db: Database) -> bool:
        """Whether the log holds a head of this node that is not below its last one, and another one."""
        own, logged = publisher.latest_head(db), log_store.logged_head(db)
        if own is None or logged is None or own.sequence > logged.sequence:
            return False
        entry = head_entry(self._key.sign("index-head", own.encode())).encode()
        return own.sequence < logged.sequence or leaf_hash(entry) != logged.leaf

    async def _send(self, publication: Publication) -> None:
        for address, octets in publication.segments:
            await self._hub.put_segment(address, octets)
        statement = self._key.sign("index-head", publication.head.encode())
        leaf, sequence = leaf_hash(head_entry(statement).encode()), publication.head.sequence
        # Before it leaves: what the log holds of this node without being known here is an alarm.
        await self._store.run(lambda db: log_store.signed_head(db, leaf, sequence))
        await self._hub.put_head(statement)
        await self._store.run(lambda db: publisher.confirm(db, publication.head))
        # Destroyed seeds and octets shall not live on in the write-ahead log.
        await asyncio.to_thread(self._store.checkpoint)
        log.info(
            "index published",
            epoch=publication.head.epoch,
            sequence=publication.head.sequence,
            segments=len(publication.segments),
        )
