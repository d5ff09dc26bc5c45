"""Gathers what members hand in, so that many submissions cost one transaction and one fsync.

Rules of this file:
- nobody waits for company: while one batch is written the next one gathers;
- callers take turns, and each may have only so much waiting: who hands in a thousand does not delay another's
  one, nor fill this process's memory;
- whoever keeps within a share of his own comes before those who do not: his one waits for the batch under
  way, however many others want more than theirs; a part of each batch is theirs all the same, and while the
  process is busy no more than they have together (`OTHERS`): all that they want would keep it so;
- an answer is in nobody's share: who asked has paid for it, and who is asked much must not wait for that. A
  turn is as many of them as a lookup weighs;
- the event loop owns the queues; the rules (`relay`) run in one thread, which is this module's own, so that
  slow transfers in other threads do not keep lookups waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import structlog

from candor_hub.clock import Clock
from candor_hub.desk import Submission
from candor_hub.directory import CurrentDirectory
from candor_hub.governor import Gauge
from candor_hub.observer import Nobody, Observer, traced
from candor_hub.pace import Bucket, Rate
from candor_hub.relay import Outcome, Receipt, Relay
from candor_proto.errors import CandorError, LimitExceeded, StoreUnusable, Unreachable
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind

log = structlog.get_logger(__name__)

# A batch is as long as others wait for the next one. What is in it is weighed: an answer is 1, a lookup,
# which is verified, charged and delivered to each of its targets, as much as so many, and more by its
# octets.
MAX_BATCH = 128
MAX_BATCH_OCTETS = 4 << 20
LOOKUP_WEIGHT = 16
LOOKUP_OCTETS, OTHER_OCTETS = 256, 16_384
# Of a caller, by weight: two lookups a second. Who has left of it so much goes first of all.
OWN_SHARE = Rate(a_second=40, at_once=40)
PLENTY_LEFT = 20
FIRST_PART = 0.75
# Of all beyond their share, by weight, while the process is busy: 25 lookups a second, two at once.
OTHERS = Rate(a_second=500, at_once=40)
LATER_SECONDS = 0.02
TURN_WEIGHT = LOOKUP_WEIGHT
MAX_SHARES = 8_192
# More than a stream may have unanswered (`limits.MAX_UNANSWERED_SUBMISSIONS`): calls beside it have room.
MAX_WAITING_FROM_ONE_CALLER = 192
MAX_WAITING_OCTETS_FROM_ONE_CALLER = 8 << 20


Tell = Callable[["Receipt | Exception"], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    submission: Submission
    tell: Tell
    since: float

    @property
    def octets(self) -> int:
        return len(self.submission.envelope.body)

    @property
    def weight(self) -> int:
        if self.submission.envelope.kind is MessageKind.LOOKUP:
            return LOOKUP_WEIGHT + self.octets // LOOKUP_OCTETS
        return 1 + self.octets // OTHER_OCTETS


@dataclass(slots=True)
class _Queue:
    """What waits of one caller."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    octets: int = 0


class Intake:
    """The one way in for envelopes.

    `on_accepted` hears the receipts of each batch that accepted something, and the loop's time when the batch
    was taken up.
    """

    def __init__(
        self,
        relay: Relay,
        clock: Clock,
        on_accepted: Callable[[Sequence[Receipt], float], None],
        observer: Observer | None = None,
        gauge: Gauge | None = None,
    ) -> None:
        self.gauge = gauge or Gauge()
        self._observer = observer or Nobody()
        self._relay = relay
        self._clock = clock
        self._on_accepted = on_accepted
        self._queues: dict[NodeId, _Queue] = {}
        # Whose turn it is, first to last: those who have much of their share left, those whose next one is
        # within it, and the others.
        self._front: OrderedDict[NodeId, None] = OrderedDict()
        self._first: OrderedDict[NodeId, None] = OrderedDict()
        self._others: OrderedDict[NodeId, None] = OrderedDict()
        self._shares: OrderedDict[NodeId, Bucket] = OrderedDict()
        # What the others may have while the process is busy.
        self._left_over = Bucket(OTHERS.at_once, 0.0)
        self._later: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._stopped = False
        self._thread = ThreadPoolExecutor(1, "intake")

    def offer(
        self, envelope: Envelope, caller: NodeId, directory: CurrentDirectory
    ) -> asyncio.Future[Receipt]:
        """What becomes of an envelope of `caller`: a receipt once it is stored durably, or a refusal.

        The future raises what `hand_in` tells.
        """
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.hand_in(envelope, caller, directory, partial(_settle, answer))
        return answer

    def hand_in(self, envelope: Envelope, caller: NodeId, directory: CurrentDirectory, tell: Tell) -> None:
        """As `offer`, for many: `tell` hears the outcome, at once or later, in the event loop.

        That is a receipt once it is stored durably, or what `Relay.submit` raises, StoreUnusable,
        LimitExceeded when too much of the caller waits, or Unreachable when the hub is stopping.
        """
        queue = self._queues.get(caller)
        if self._stopped:
            tell(_stopping())
        elif queue is not None and (
            len(queue.waiting) >= MAX_WAITING_FROM_ONE_CALLER
            or queue.octets >= MAX_WAITING_OCTETS_FROM_ONE_CALLER
        ):
            self._observer.refused(LimitExceeded.code)
            tell(LimitExceeded("Too much of this member waits to be accepted.", remedy="Try again later."))
        else:
            since = asyncio.get_running_loop().time()
            waiting = _Waiting(Submission(envelope, caller, directory), tell, since)
            if queue is None:
                queue = self._queues[caller] = _Queue()
                self._line_up(caller, waiting, since)
            queue.waiting.append(waiting)
            queue.octets += len(envelope.body)
            self._wake.set()

    async def run(self) -> None:
        """Accept for ever; what still waits when this is cancelled is refused as Unreachable."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while batch := self._next():
                    await self._accept(batch)
        finally:
            self._stopped = True
            if self._later is not None:
                self._later.cancel()
            for queue in self._queues.values():
                for waiting in queue.waiting:
                    _tell(waiting, _stopping())
            for each in (self._queues, self._front, self._first, self._others):
                each.clear()

    async def close(self) -> None:
        """Wait for the batch that is being written; nothing runs any more when this returns."""
        await asyncio.to_thread(self._thread.shutdown)

    def _line_up(self, caller: NodeId, waiting: _Waiting, now: float) -> None:
        """Give the caller a turn for its next one."""
        turns = self._turns(caller, waiting, now)
        turns[caller] = None

    def _turns(self, caller: NodeId, waiting: _Waiting, now: float) -> OrderedDict[NodeId, None]:
        """Where the caller's next one waits for its turn; it is charged to his share."""
        if waiting.submission.envelope.kind is MessageKind.ANSWER:
            return self._first
        share = self._shares.pop(caller, None) or Bucket(OWN_SHARE.at_once, now)
        self._shares[caller] = share
        if len(self._shares) > MAX_SHARES:
            self._shares.popitem(last=False)
        if not share.take(OWN_SHARE, now, waiting.weight):
            return self._others
        return self._front if share.tokens >= PLENTY_LEFT else self._first

    def _next(self) -> list[_Waiting]:
        """A turn of each caller, then another one of each, until a batch is full or nobody may go now."""
        batch: list[_Waiting] = []
        octets = weight = 0
        now = asyncio.get_running_loop().time()
        busy = self.gauge.look(now)
        while self._queues and weight < MAX_BATCH and octets < MAX_BATCH_OCTETS:
            # The end of a batch is for the others: they come later, and not never.
            turns = within = self._front or self._first
            if self._others and not (within and weight < FIRST_PART * MAX_BATCH):
                turns = self._others if not busy or self._left_over.take(OTHERS, now, 0) else within
            if not turns:
                self._look_later()
                break
            caller, _ = turns.popitem(last=False)
            for one in self._turn(caller, turns, now):
                batch.append(one)
                octets += one.octets
                weight += one.weight
                if busy and turns is self._others:
                    self._left_over.tokens -= one.weight
        return batch

    def _turn(self, caller: NodeId, turns: OrderedDict[NodeId, None], now: float) -> Iterator[_Waiting]:
        """What the caller may have judged in one turn; he lines up for the next one."""
        queue, weight = self._queues[caller], 0
        while True:
            one = queue.waiting.popleft()
            queue.octets -= one.octets
            weight += one.weight
            yield one
            if not queue.waiting:
                del self._queues[caller]
                return
            following = self._turns(caller, queue.waiting[0], now)
            if following is not turns or weight + queue.waiting[0].weight > TURN_WEIGHT:
                following[caller] = None
                return

    def _look_later(self) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(LATER_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._later = None
        self._wake.set()

    async def _accept(self, batch: list[_Waiting]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            with traced(self._observer, "accept"):
                outcomes = await self._judge([waiting.submission for waiting in batch])
        except asyncio.CancelledError:
            for waiting in batch:
                _tell(waiting, _stopping())
            raise
        # Deliveries before receipts: somebody waits for an answer, nobody for having handed one in.
        receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        if receipts:
            self._on_accepted(receipts, began)
        stored_at = asyncio.get_running_loop().time()
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._observer.refused(getattr(outcome, "code", CandorError.code))
            else:
                self._observer.accepted(stored_at - waiting.since)
            _tell(waiting, outcome)

    async def _judge(self, submissions: list[Submission]) -> Sequence[Receipt | Exception]:
        try:
            return await self._in_thread(submissions)
        except StoreUnusable as error:
            return [error] * len(submissions)
        except Exception as error:
            if len(submissions) == 1:
                return [error]
        # One that trips a bug of ours must not take the others down with it.
        log.error("a batch failed and is taken one by one", submissions=len(submissions))
        outcomes: list[Receipt | Exception] = []
        for submission in submissions:
            outcomes += await self._judge([submission])
        return outcomes

    async def _in_thread(self, submissions: list[Submission]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, self._relay.submit_all, submissions, self._clock.now()
        )


def _tell(waiting: _Waiting, outcome: Receipt | Exception) -> None:
    try:
        waiting.tell(outcome)
    except Exception as error:  # one that cannot be told must not keep the others from hearing
        log.error("an outcome could not be told", exc_info=error)


def _settle(answer: asyncio.Future[Receipt], outcome: Receipt | Exception) -> None:
    if answer.done():
        return  # whoever asked has gone away
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _stopping() -> CandorError:
    return Unreachable("The hub is stopping.", remedy="Connect again in a moment.")
