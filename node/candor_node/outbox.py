"""Sends what waits in the outbox: at least once, until the hub has it durably (RELIABILITY.md §7.3).

A message is deleted when the hub accepts it and buried when the hub refuses it for good; everything else is
tried again with growing, jittered delays until it expires.

Rules of this file:
- whoever put a message there takes in what the hub said in the transaction that deletes or buries it: told
  again after a crash he may be, never not told;
- what has a sender of its own (`put`, then `send_soon`) is left to it for a while, then goes like the rest;
- of those that the hub has, the rows go together, or with the next message that is put: a row that is left by
  a crash is sent once more, which the hub knows how to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from candor_node import mail_store
from candor_node.clock import Clock
from candor_node.hub_client import HubClient, retry_delay
from candor_node.logs import log
from candor_node.mail_store import OutboxRow
from candor_node.store import Database, Store, Work
from candor_proto.errors import (
    CandorError,
    CertificateRefused,
    CertificateRevoked,
    ClockWrong,
    DenyListStale,
    LimitExceeded,
    LogUnwitnessed,
    MemberSuspended,
    NotAuthenticated,
    NotLogged,
    StoreUnusable,
    Unreachable,
    WentBack,
    WrongRecipient,
)
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind
from candor_wire.limits import CALL_DEADLINE_SECONDS

BATCH = 32
IDLE_SECONDS = 5.0
# Messages with a sender of their own at a time, how long they are left to it, how long their rows may stay.
SENDERS = 32
OWN_SENDER_SECONDS = 2 * CALL_DEADLINE_SECONDS
FORGET_SECONDS = 2.0
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
    NotLogged,
    LogUnwitnessed,
    WentBack,
)
# What gives something away: not while nobody has looked at what a database that went back lacks.
_GIVING = (MessageKind.ANSWER, MessageKind.DISCLOSURE_RESPONSE)
# What asks others for something: not while nobody vouches for who they are (§15.6).
_ASKING = (MessageKind.LOOKUP, MessageKind.DISCLOSURE_REQUEST)
# Told what the hub said, and what is to be done to the row in the transaction in which that is taken in.
Outcome = Callable[[OutboxRow, CandorError | None, Work[None]], Awaitable[None]]


def is_final(error: CandorError) -> bool:
    """Whether the hub's word will be the same next time."""
    return not isinstance(error, _TRANSIENT) and error.code != CandorError.code


def _passes(row: OutboxRow, error: CandorError, now: datetime) -> bool:
    """Whether a refusal may be over before the message is: a suspended recipient may be let back in."""
    waits = isinstance(error, WrongRecipient) and row.envelope.kind is not MessageKind.LOOKUP
    return waits and now < row.envelope.expires_at


class Outbox:
    """The one sender. `on_outcome` hears of each message accepted (None) or refused for good."""

    def __init__(
        self,
        store: Store,
        hub: HubClient,
        own: NodeId,
        clock: Clock,
        on_outcome: Outcome,
        check_open: Callable[[], None] = lambda: None,
        may_share: Callable[[], bool] = lambda: True,
    ) -> None:
        """`check_open` raises while this node may ask nobody (§15.6): what asks waits for its next try.

        What gives something away waits while `may_share` says no, also what a database that went back has in
        it from before (docs/backup.md, "Going back").
        """
        self._check_open = check_open
        self._may_share = may_share
        self._store = store
        self._hub = hub
        self._own = own
        self._clock = clock
        self._on_outcome = on_outcome
        self._wake = asyncio.Event()
        self._reconnected = False
        self._places = asyncio.Semaphore(SENDERS)
        self._sending: set[asyncio.Task[None]] = set()
        # Numbers of rows that the hub has durably and that are still there. Replaced, never changed.
        self._accepted: frozenset[int] = frozenset()
        self._forgetting: asyncio.TimerHandle | None = None

    def reconnected(self) -> None:
        """The hub can be reached again: what failed for its absence is tried at once."""
        self._reconnected = True
        self._wake.set()

    def wake(self) -> None:
        """Something was put into the outbox."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        # Whoever was to send these was ended with the process, or the run, before.
        await self._store.run(partial(mail_store.send_now, kind=MessageKind.ANSWER, now=self._clock.now()))
        while True:
            self._wake.clear()
            now = self._clock.now()
            if self._reconnected:
                self._reconnected = False
                await self._store.run(partial(mail_store.retry_now, now=now))
            but = () if self._may_share() else _GIVING
            rows = await self._store.run(
                partial(mail_store.due, own=self._own, now=now, limit=BATCH, but=but)
            )
            if not rows:
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            tried = await asyncio.gather(*(self._try(row) for row in rows), return_exceptions=True)
            for error in tried:
                if error is not None:
                    # Of a database that cannot be used: not over and over, without a pause.
                    raise error

    async def send(self, row: OutboxRow) -> None:
        """Send one message now; raises what the hub refuses it with, after the row was dealt with."""
        try:
            if row.envelope.kind in _ASKING:
                self._check_open()
            self._check_giving(row)
            await self._hub.submit(row.envelope)
        except CandorError as error:
            await self._failed(row, error)
            raise
        await self._told(row, None, lambda db: mail_store.sent(db, row.number))

    def _check_giving(self, row: OutboxRow) -> None:
        """Raises WentBack: it waits until a person has confirmed what was lost."""
        if row.envelope.kind in _GIVING and not self._may_share():
            raise WentBack("Nothing is released while this node's database has gone back.")

    # --- messages with a sender of their own ----------------------------------------------------------------

    def put(self, db: Database, envelope: Envelope, now: datetime) -> OutboxRow | None:
        """Put a message into the outbox that `send_soon` is about to send; None if it is there already.

        On the database's thread, inside the caller's transaction.
        """
        if gone := self._accepted:
            mail_store.sent(db, *gone)
        return mail_store.enqueue(db, envelope, now, now + timedelta(seconds=OWN_SENDER_SECONDS))

    async def send_soon(self, row: OutboxRow) -> None:
        """Send what was put, in the background; waits only while too many are on their way."""
        await self._places.acquire()
        task = asyncio.create_task(self._send_put(row))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_put(self, row: OutboxRow) -> None:
        try:
            self._check_giving(row)
            await self._hub.submit(row.envelope)
        except CandorError as error:
            self._tell(row, error)
            # Where the database cannot be used either, its turn comes when its sender's time is over.
            with suppress(StoreUnusable):
                await self._failed(row, error)
        else:
            self._accepted |= {row.number}
            if self._forgetting is None:
                loop = asyncio.get_running_loop()
                self._forgetting = loop.call_later(FORGET_SECONDS, self._forget_later)
        finally:
            self._places.release()

    def _forget_later(self) -> None:
        self._forgetting = None
        task = asyncio.create_task(self._forget())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _forget(self) -> None:
        """Delete the rows of what the hub has. Where that fails they are sent once more after a restart."""
        gone = self._accepted
        if not gone:
            return
        try:
            await self._store.run(lambda db: mail_store.sent(db, *gone))
        except StoreUnusable as error:
            log.warning("sent messages are still in the outbox", code=error.code, reason=error.message)
        self._accepted -= gone

    async def close(self) -> None:
        """Stop sending what was put, and delete what the hub has."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._forgetting is not None:
            self._forgetting.cancel()
        await self._forget()

    # --- one message ----------------------------------------------------------------------------------------

    async def _try(self, row: OutboxRow) -> None:
        try:
            await self.send(row)
        except StoreUnusable:
            raise
        except CandorError as error:
            self._tell(row, error)

    async def _told(self, row: OutboxRow, error: CandorError | None, settle: Work[None]) -> None:
        try:
            await self._on_outcome(row, error, settle)
        except StoreUnusable:
            raise
        except CandorError as trouble:
            # Who asked is past hearing it, its life having ended for example. It is not sent for ever.
            log.warning("what the hub said was not taken in", kind=row.envelope.kind.name, code=trouble.code)
            await self._store.run(settle)

    def _tell(self, row: OutboxRow, error: CandorError) -> None:
        log.warning(
            "a message was not accepted",
            kind=row.envelope.kind.name,
            code=error.code,
            final=is_final(error),
            attempts=row.attempts + 1,
        )

    async def _failed(self, row: OutboxRow, error: CandorError) -> None:
        if is_final(error) and not _passes(row, error, self._clock.now()):
            await self._told(row, error, lambda db: mail_store.bury(db, row.number, error.message))
            return
        until = self._clock.now() + timedelta(seconds=1 + retry_delay(row.attempts))
        await self._store.run(lambda db: mail_store.postpone(db, row.number, until, error.message))
