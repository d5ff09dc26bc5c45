"""Carries deliveries from the mailbox to the streams, and acknowledgements back.

Rules of this file:
- what this process has committed it hands out at once, without reading it again; what it does not know of,
  because another process wrote it or a word got lost, is read once for all streams. A body that goes to a
  thousand nodes is encoded once;
- acknowledgements are gathered for a moment (ACKNOWLEDGE_SECONDS) and deleted in one transaction. Losing one
  costs a redelivery, which the node recognises;
- the mailbox decides: a row that a stream could not take on now is read by that stream later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog

from candor_hub.clock import Clock, loop_seconds, until_next
from candor_hub.mailbox import MailboxKeeper
from candor_hub.relay import Receipt
from candor_hub.store.envelopes import Posting
from candor_hub.streams import Parcel, Session, Streams, Timing
from candor_proto.errors import CandorError
from candor_proto.ids import NodeId
from candor_wire.codec import envelope_octets

log = structlog.get_logger(__name__)

T = TypeVar("T")
# So long do acknowledgements gather before they are written down, or until there are so many: few of them in
# a transaction cost as much as a few hundred.
ACKNOWLEDGE_SECONDS = 0.25
ACKNOWLEDGE_AT_ONCE = 512
_NEWS = 2_000


class Courier:
    """One for each process. The event loop owns it; the mailbox is read and written in threads of its own."""

    def __init__(
        self,
        streams: Streams,
        mailbox: MailboxKeeper,
        clock: Clock,
        timing: Timing,
        replica: str | None = None,
    ) -> None:
        """`replica` is the name of this process if there may be others, who read their own nodes' mail."""
        self._replica = replica
        self._streams = streams
        self._mailbox = mailbox
        self._clock = clock
        self._timing = timing
        # All deliveries up to this id have been handed out, or are each session's own to read.
        self._seen = 0
        self._posted: list[tuple[list[Posting | None], float]] = []
        # Another process says that it has posted something.
        self._elsewhere = False
        self._wake = asyncio.Event()
        self._acknowledged: dict[Session, list[int]] = {}
        self._gathered = 0
        self._has_acknowledged = asyncio.Event()
        self._enough = asyncio.Event()
        self._threads = ThreadPoolExecutor(3, "courier")

    @property
    def newest(self) -> int:
        """The id of the newest delivery that this process knows of."""
        return self._seen

    def accepted(self, receipts: Iterable[Receipt], began: float) -> None:
        """These were accepted by this process, and are committed; `began` is a loop time before that."""
        postings = [receipt.posting for receipt in receipts if not receipt.again]
        if postings:
            self._posted.append((postings, began))
            self._wake.set()

    def heard(self) -> None:
        """Another process has posted something for nodes that are attached here."""
        self._elsewhere = True
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
        """Hand out what is new, for ever: when told, and once per poll what other processes wrote."""
        while True:
            told = True
            try:
                async with asyncio.timeout(until_next(self._timing.poll_seconds, loop_seconds())):
                    await self._wake.wait()
            except TimeoutError:
                told = False
            self._wake.clear()
            elsewhere, self._elsewhere = self._elsewhere, False
            try:
                # Before reading what others posted: what was posted here needs no reading.
                known = told and self._hand_out_posted()
                if elsewhere or not known:
                    await self._read_news()
            except CandorError as error:
                log.error("deliveries could not be read", code=error.code, message=error.message)
                await asyncio.sleep(self._timing.poll_seconds)

    def _hand_out_posted(self) -> bool:
        """Hand out what this process committed; whether that is known to be all there is to be read now.

        Ids are given without a gap. One that does not follow the last one seen means that there is something
        else between them: what was posted is forgotten then, and the mailbox read.
        """
        posted, self._posted = self._posted, []
        for postings, began in posted:
            for posting in postings:
                if posting is None:
                    return False
                if posting.delivery_ids and posting.delivery_ids[-1] > self._seen:
                    if posting.delivery_ids[0] != self._seen + 1:
                        return False
                    self._hand_out(posting, began)
                    self._seen = posting.delivery_ids[-1]
        return True

    def _hand_out(self, posting: Posting, began: float) -> None:
        octets = b""
        for node, delivery_id in zip(posting.nodes, posting.delivery_ids, strict=True):
            session = self._streams.of(node)
            if session is not None:
                # Encoded at the first who is attached, for all of them.
                octets = octets or envelope_octets(posting.envelope)
                session.offer(Parcel(delivery_id, octets), began)

    async def _read_news(self) -> None:
        while await self._look() == _NEWS:
            pass

    async def _look(self) -> int:
        """Hand out the next new rows of the mailbox; how many there were."""
        began = asyncio.get_running_loop().time()
        news = await self._in_thread(
            partial(
                self._mailbox.news,
                self._seen,
                _NEWS,
                self._streams.attached(),
                self._clock.now(),
                self._replica,
            )
        )
        for row in news.rows:
            session, octets = self._streams.of(row.recipient), news.envelopes.get(row.envelope)
            if session is None:
                continue
            if octets is None:
                session.look_again()  # attached while we read
            else:
                session.offer(Parcel(row.delivery_id, octets), began)
        self._seen = max(self._seen, news.up_to)
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
        """Read the mailbox for a session that is behind.

        A database that does not answer ends no stream: the session reads again after a poll.
        """
        session.behind, session.reading = False, True
        places = session.places
        try:
            found = await self._in_thread(
                partial(self._waiting, session.node, session.known(), places, self._clock.now())
            )
        except CandorError as error:
            session.behind = True
            log.error("a mailbox could not be read", code=error.code, message=error.message)
            asyncio.get_running_loop().call_later(self._timing.poll_seconds, session.wake.set)
            return
        except BaseException:
            session.behind = True
            raise
        finally:
            session.reading = False
            session.read_at = asyncio.get_running_loop().time()
        session.pending.extend(found)
        if len(found) >= places:
            session.behind = True  # there may be more

    def _waiting(self, node: NodeId, but: frozenset[int], limit: int, now: datetime) -> list[Parcel]:
        found = self._mailbox.waiting(node, but, limit, now)
        return [Parcel(one.delivery_id, envelope_octets(one.envelope)) for one in found]

    # --- acknowledgements -------------------------------------------------------------------------------

    def acknowledge(self, session: Session, delivery_ids: tuple[int, ...]) -> None:
        """The session's node has stored these; what is not on its way to it on this stream is passed over.

        An acknowledgement that comes late, or on a newer stream, is made again when the delivery is.
        """
        delivery_ids = tuple(each for each in dict.fromkeys(delivery_ids) if each in session.in_flight)
        if not delivery_ids:
            return
        for delivery_id in delivery_ids:
            session.land(delivery_id)
        session.acknowledging.update(delivery_ids)
        self._acknowledged.setdefault(session, []).extend(delivery_ids)
        self._gathered += len(delivery_ids)
        self._has_acknowledged.set()
        if self._gathered >= ACKNOWLEDGE_AT_ONCE:
            self._enough.set()
        if session.behind or session.pending:
            session.wake.set()  # there is room now

    async def collect(self) -> None:
        """Delete what was acknowledged, for ever."""
        while True:
            await self._has_acknowledged.wait()
            try:
                async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._has_acknowledged.clear()
            self._enough.clear()
            await self._delete()

    async def _delete(self) -> None:
        taken, self._acknowledged, self._gathered = self._acknowledged, {}, 0
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
            session.make_room()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
