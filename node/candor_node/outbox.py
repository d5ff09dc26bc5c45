"""Sends what waits in the outbox: at least once, until the hub has it durably (RELIABILITY.md §7.3).

A message is deleted when the hub accepts it and buried when the hub refuses it for good; everything else is
tried again with growing, jittered delays until it expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from candor_node import mail_store
from candor_node.clock import Clock
from candor_node.hub_client import HubClient, retry_delay
from candor_node.logs import log
from candor_node.mail_store import OutboxRow
from candor_node.store import Store
from candor_proto.errors import (
    CandorError,
    CertificateRefused,
    CertificateRevoked,
    ClockWrong,
    DenyListStale,
    LimitExceeded,
    MemberSuspended,
    NotAuthenticated,
    StoreUnusable,
    Unreachable,
    WrongRecipient,
)
from candor_proto.ids import NodeId
from candor_wire.codec import MessageKind

BATCH = 32
IDLE_SECONDS = 5.0
# What says nothing about the message itself: its turn comes again.
_TRANSIENT = (
    Unreachable,
    ClockWrong,
    StoreUnusable,
    DenyListStale,
    LimitExceeded,
    NotAuthenticated,
    CertificateRefused,
    CertificateRevoked,
    MemberSuspended,
)
Outcome = Callable[[OutboxRow, CandorError | None], Awaitable[None]]


def is_final(error: CandorError) -> bool:
    """Whether the hub's word will be the same next time."""
    return not isinstance(error, _TRANSIENT) and error.code != CandorError.code


def _passes(row: OutboxRow, error: CandorError, now: datetime) -> bool:
    """Whether a refusal may be over before the message is: a suspended recipient may be let back in."""
    waits = isinstance(error, WrongRecipient) and row.envelope.kind is not MessageKind.LOOKUP
    return waits and now < row.envelope.expires_at


class Outbox:
    """The one sender. `on_outcome` hears of each message accepted (None) or refused for good."""

    def __init__(self, store: Store, hub: HubClient, own: NodeId, clock: Clock, on_outcome: Outcome) -> None:
        self._store = store
        self._hub = hub
        self._own = own
        self._clock = clock
        self._on_outcome = on_outcome
        self._wake = asyncio.Event()
        self._reconnected = False

    def reconnected(self) -> None:
        """The hub can be reached again: what failed for its absence is tried at once."""
        self._reconnected = True
        self._wake.set()

    def wake(self) -> None:
        """Something was put into the outbox."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self._wake.clear()
            now = self._clock.now()
            if self._reconnected:
                self._reconnected = False
                await self._store.run(partial(mail_store.retry_now, now=now))
            rows = await self._store.run(partial(mail_store.due, own=self._own, now=now, limit=BATCH))
            if not rows:
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            await asyncio.gather(*(self._try(row) for row in rows))

    async def send(self, row: OutboxRow) -> None:
        """Send one message now; raises what the hub refuses it with, after the row was dealt with."""
        try:
            await self._hub.submit(row.envelope)
        except CandorError as error:
            await self._failed(row, error)
            raise
        await self._store.run(lambda db: mail_store.sent(db, row.number))
        await self._on_outcome(row, None)

    async def _try(self, row: OutboxRow) -> None:
        try:
            await self.send(row)
        except CandorError as error:
            log.warning(
                "a message was not accepted",
                kind=row.envelope.kind.name,
                code=error.code,
                final=is_final(error),
                attempts=row.attempts + 1,
            )

    async def _failed(self, row: OutboxRow, error: CandorError) -> None:
        if is_final(error) and not _passes(row, error, self._clock.now()):
            await self._store.run(lambda db: mail_store.bury(db, row.number, error.message))
            await self._on_outcome(row, error)
            return
        until = self._clock.now() + timedelta(seconds=1 + retry_delay(row.attempts))
        await self._store.run(lambda db: mail_store.postpone(db, row.number, until, error.message))
