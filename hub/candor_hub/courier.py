"""Carries deliveries from the mailbox to the streams, and acknowledgements back.

Rules of this file:
- one reader for all streams: new rows are read once, and a body that goes to a thousand nodes once;
- acknowledgements are gathered for at most ACKNOWLEDGE_SECONDS and deleted in one transaction. Losing one
  costs a redelivery, which the node recognises;
- the mailbox decides: a row that a stream could not take on now is read by that stream later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from candor_hub.clock import Clock
from candor_hub.mailbox import MailboxKeeper
from candor_hub.streams import Parcel, Session, Streams, Timing
from candor_proto.errors import CandorError
from candor_proto.ids import NodeId
from candor_wire.codec import Delivery, write_envelope

log = structlog.get_logger(__name__)

T = TypeVar("T")
ACKNOWLEDGE_SECONDS = 0.02
_NEWS = 2_000


class Courier:
    """One for each process. The event loop owns it; the mailbox is read and written in threads of its own."""

    def __init__(self, streams: Streams, mailbox: MailboxKeeper, clock: Clock, timing: Timing) -> None:
        self._streams = streams
        self._mailbox = mailbox
        self._clock = clock
        self._timing = timing
        self._seen = 0
        self._wake = asyncio.Event()
        self._acknowledged: dict[Session, list[int]] = {}
        self._has_acknowledged = asyncio.Event()
        self._threads = ThreadPoolExecutor(3, "courier")

    def wake(self) -> None:
        """Something was accepted."""
        self._wake.set()

    async def start(self) -> None:
        """What waits already is read by each stream for itself; raises StoreUnusable."""
        self._seen = await self._in_thread(self._mailbox.newest)

    async def close(self) -> None:
        """Write down what was acknowledged last; nothing runs any more when this returns."""
        await self._delete()
        await asyncio.to_thread(self._threads.shutdown)

    # --- deliveries -------------------------------------------------------------------------------------

    async def carry(self) -> None:
        """Hand out what is new, for ever: when woken, and once per poll what other processes wrote."""
        while True:
            try:
                async with asyncio.timeout(self._timing.poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                while await self._look() == _NEWS:
                    pass
            except CandorError as error:
                log.error("deliveries could not be read", code=error.code, message=error.message)
                await asyncio.sleep(self._timing.poll_seconds)

    async def _look(self) -> int:
        """Hand out the next new rows; how many there were."""
        began = asyncio.get_running_loop().time()
        news = await self._in_thread(
            partial(self._mailbox.news, self._seen, _NEWS, self._streams.attached(), self._clock.now())
        )
        for row in news.rows:
            session, parcel = self._streams.of(row.recipient), news.parcels.get(row.envelope)
            if session is None:
                continue
            if parcel is None:
                session.look_again()  # attached while we read
            else:
                envelope, octets = parcel
                session.offer(Parcel(row.delivery_id, envelope, octets), began)
        if news.rows:
            self._seen = news.rows[-1].delivery_id
        return len(news.rows)

    async def sweep(self) -> None:
        """Make sessions look for themselves when something waits for them that is not on its way, for ever.

        Even if nobody was woken for it: a lost wake-up delays a delivery, it does not lose it.
        """
        while True:
            await asyncio.sleep(self._timing.redelivery_seconds)
            try:
                waiting = await self._in_thread(self._mailbox.waiting_counts)
            except CandorError as error:
                log.error("the mailbox could not be read", code=error.code, message=error.message)
                continue
            for session in self._streams.all():
                if waiting.get(session.node, 0) > len(session.known()):
                    session.look_again()

    async def refill(self, session: Session) -> None:
        """Read the mailbox for a session that is behind; raises StoreUnusable."""
        session.behind, session.reading = False, True
        places = session.places
        try:
            found = await self._in_thread(
                partial(self._mailbox.waiting, session.node, session.known(), places, self._clock.now())
            )
        except BaseException:
            session.behind = True
            raise
        finally:
            session.reading = False
            session.read_at = asyncio.get_running_loop().time()
        session.pending.extend(map(_parcel, found))
        if len(found) >= places:
            session.behind = True  # there may be more

    # --- acknowledgements -------------------------------------------------------------------------------

    def acknowledge(self, session: Session, delivery_ids: tuple[int, ...]) -> None:
        """The session's node has stored these."""
        for delivery_id in delivery_ids:
            session.land(delivery_id)
        session.acknowledging.update(delivery_ids)
        self._acknowledged.setdefault(session, []).extend(delivery_ids)
        self._has_acknowledged.set()
        session.wake.set()

    async def collect(self) -> None:
        """Delete what was acknowledged, for ever."""
        while True:
            await self._has_acknowledged.wait()
            await asyncio.sleep(ACKNOWLEDGE_SECONDS)
            self._has_acknowledged.clear()
            await self._delete()

    async def _delete(self) -> None:
        taken, self._acknowledged = self._acknowledged, {}
        if not taken:
            return
        by_node: dict[NodeId, list[int]] = {}
        for session, ids in taken.items():
            by_node.setdefault(session.node, []).extend(ids)
        try:
            await self._in_thread(partial(self._mailbox.acknowledge_all, by_node))
        except CandorError as error:
            log.error("acknowledgements were lost", code=error.code, message=error.message)
        for session, ids in taken.items():
            session.acknowledging.difference_update(ids)
            session.room.set()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _parcel(delivery: Delivery) -> Parcel:
    envelope = write_envelope(delivery.envelope)
    return Parcel(delivery.delivery_id, envelope, envelope.ByteSize())
