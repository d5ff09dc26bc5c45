"""Mail on the stream that a node holds: what comes is stored and acknowledged, what goes is answered (§8.3).

Rules of this file:
- a delivery is acknowledged after it was stored durably, never before; several are stored at once, in the
  order in which they came, so that the database can write them together;
- acknowledgements wait a moment for company; submissions hardly, just long enough that an answer goes in one
  frame with the acknowledgement of its lookup;
- a submission whose receipt does not come is unknown: Unreachable, and it is handed in again, as it is;
- requests to this node's witness are answered beside the mail, a few at a time; one that finds no place, or
  that a witness cannot store, gets no answer: the hub asks again with its next checkpoint (§15.3).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from candor_node.logs import log
from candor_proto.errors import CandorError, LimitExceeded, StoreUnusable, Unreachable
from candor_wire import codec, limits
from candor_wire.codec import Cosign, Cosigned, Delivery, Envelope, HubMail

# An acknowledgement waits so long for others, or until there are so many.
ACKNOWLEDGE_SECONDS = 0.02
ACKNOWLEDGE_AT_ONCE = 32
SUBMIT_SECONDS = 0.001
# Requests to the witness that are being answered; the hub has one or two under way.
MAX_COSIGNING = 8

Deliver = Callable[[Envelope], Awaitable[None]]
Witness = Callable[[Cosign], Awaitable[Cosigned]]


class StreamMail:
    """The mail of one stream. Made and closed in one event loop."""

    def __init__(
        self, write: Callable[[Any], Awaitable[None]], deliver: Deliver, witness: Witness | None = None
    ) -> None:
        """`write` sends a frame; `deliver` returns when an envelope is stored durably."""
        self._write = write
        self._deliver = deliver
        self._witness = witness
        self._cosigning: set[asyncio.Task[None]] = set()
        self._cosigned: deque[Cosigned] = deque()
        self._numbers = itertools.count(1)
        self._places = asyncio.Semaphore(limits.MAX_UNANSWERED_SUBMISSIONS)
        self._outgoing: deque[tuple[int, Envelope]] = deque()
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._stored: list[int] = []
        self._storing: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self.closed = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # --- what goes --------------------------------------------------------------------------------------

    async def submit(self, envelope: Envelope) -> int:
        """Hand an envelope to the hub; how many mailboxes it went to, durably.

        Raises what the hub refuses it with, or Unreachable when nobody knows.
        """
        async with self._places:
            if self.closed:
                raise _broke_off()
            number = next(self._numbers)
            answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._answers[number] = answer
            self._outgoing.append((number, envelope))
            self._hurry.set()
            self._wake.set()
            try:
                async with asyncio.timeout(limits.CALL_DEADLINE_SECONDS):
                    return await answer
            except TimeoutError:
                raise Unreachable("The hub did not answer in time.", remedy="It is tried again.") from None
            finally:
                del self._answers[number]

    async def write(self) -> None:
        """Send what there is, for ever; raises what `write` does."""
        while True:
            await self._wake.wait()
            if not self._hurry.is_set():
                try:
                    async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
            if self._outgoing:
                await asyncio.sleep(SUBMIT_SECONDS)
            self._wake.clear()
            self._hurry.clear()
            while self._cosigned:
                await self._write(codec.write_cosigned(self._cosigned.popleft()))
            while self._stored or self._outgoing:
                await self._write(self._frame())

    def _frame(self) -> Any:
        acknowledged = self._stored[: limits.MAX_ACKNOWLEDGED_IDS]
        del self._stored[: len(acknowledged)]
        submissions, octets = list[tuple[int, Envelope]](), 0
        while self._outgoing and len(submissions) < limits.MAX_UNANSWERED_SUBMISSIONS:
            octets += len(self._outgoing[0][1].body)
            if submissions and octets > limits.FRAME_OCTETS:
                break
            submissions.append(self._outgoing.popleft())
        return codec.write_node_mail(acknowledged, submissions)

    # --- what comes -------------------------------------------------------------------------------------

    async def take(self, mail: HubMail) -> None:
        """Begin to store what was delivered, and settle what was answered; raises LimitExceeded."""
        for receipt in mail.receipts:
            answer = self._answers.get(receipt.number)
            if answer is None or answer.done():
                continue  # it came too late, and was sent again
            if isinstance(receipt.outcome, int):
                answer.set_result(receipt.outcome)
            else:
                answer.set_exception(receipt.outcome)
        for delivery in mail.deliveries:
            if len(self._storing) >= 2 * limits.MAX_DELIVERIES_IN_FLIGHT:
                raise LimitExceeded("The hub sends more than it may have in flight.")
            task = asyncio.create_task(self._store(delivery))
            self._storing.add(task)
            task.add_done_callback(self._ended)

    async def _store(self, delivery: Delivery) -> None:
        await self._deliver(delivery.envelope)
        self._stored.append(delivery.delivery_id)
        if len(self._stored) >= ACKNOWLEDGE_AT_ONCE:
            self._hurry.set()
        self._wake.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self.failed.done():
            self.failed.set_exception(error)

    # --- the witness ------------------------------------------------------------------------------------

    def cosign(self, request: Cosign) -> None:
        """Begin to answer a request to this node's witness (§15.3)."""
        if self._witness is None or len(self._cosigning) >= MAX_COSIGNING:
            return
        task = asyncio.create_task(self._answer(self._witness, request))
        self._cosigning.add(task)
        task.add_done_callback(self._cosigning.discard)

    async def _answer(self, witness: Witness, request: Cosign) -> None:
        try:
            self._cosigned.append(await witness(request))
        except StoreUnusable as error:
            log.warning("a checkpoint was not cosigned", code=error.code, reason=error.message)
            return
        self._hurry.set()
        self._wake.set()

    # --- the end ----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing is sent any more, and nothing more is stored; what was not answered is unknown."""
        self.closed = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_broke_off())
        for task in (*self._storing, *self._cosigning):
            task.cancel()

    async def close(self) -> None:
        """As `end`; nothing runs any more when this returns."""
        self.end()
        await asyncio.gather(*self._storing, *self._cosigning, return_exceptions=True)
        if self.failed.done():
            self.failed.exception()  # heard, or nobody's business any more
        self.failed.cancel()


def _broke_off() -> CandorError:
    return Unreachable("The connection to the hub broke off.", remedy="It is tried again.")
