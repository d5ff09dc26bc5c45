"""What is said on the one stream that a node holds open (docs/protocol.md §8.3).

    node: hello, then mail (acknowledgements and submissions) and what it answers as a witness
    hub: welcome, then mail (deliveries and receipts), directory_changed, heartbeats and requests to the
        node as a witness, in any order

Rules of this file:
- two tasks share a stream: one reads, one writes. Neither guards it: that is `warden`'s, so that a node which
  no longer reads, and so stalls the writer, is cut all the same;
- deliveries in flight and unanswered submissions are bounded; who hands in more is read no further until
  there is room;
- what a node says costs it turns (`pace`), what was refused costs more of them: a stream that says much is
  read at the rate at which others have none of it to suffer. What answers a delivery costs none: who sent
  that has paid.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import grpc
import structlog

from candor_certs.chain import PeerIdentity
from candor_hub import relay
from candor_hub.clock import Clock, loop_seconds
from candor_hub.conduct import REPLACED_SECONDS
from candor_hub.courier import Courier
from candor_hub.enrolment import check_clock
from candor_hub.hold_off import HoldOff
from candor_hub.intake import Intake
from candor_hub.refusals import Refusals
from candor_hub.replica import Replica
from candor_hub.streams import Session, Streams, Timing, Watch
from candor_hub.tlog.cosigning import Cosigning
from candor_hub.warden import Warden
from candor_hub.work import Work
from candor_proto.errors import CandorError, LimitExceeded
from candor_proto.ids import NodeId
from candor_wire import codec
from candor_wire.codec import Cosigned, DirectoryChanged, Envelope, Heartbeat, MessageKind, Receipt, Welcome
from candor_wire.status import to_status
from candor_wire.v1 import hub_pb2

log = structlog.get_logger(__name__)

# The receipt of an answer waits so long for company, or until there are so many.
PATIENCE_SECONDS = 0.5
MAX_PATIENT_RECEIPTS = 16
# So many acknowledgements count as one frame.
ACKNOWLEDGED_AS_ONE = 16

Send = Callable[[hub_pb2.AttachResponse], Awaitable[None]]


class Attachments:
    """Runs the streams of nodes."""

    def __init__(
        self,
        streams: Streams,
        watch: Watch,
        warden: Warden,
        courier: Courier,
        intake: Intake,
        clock: Clock,
        timing: Timing,
        cosigning: Cosigning,
        replica: Replica,
        on_attached: Callable[[NodeId], None],
        work: Work,
        hold_off: HoldOff,
    ) -> None:
        """`on_attached` hears of each node that has said hello."""
        self._work = work
        self._hold_off = hold_off
        self._refusals = Refusals()
        self._streams = streams
        self._watch = watch
        self._warden = warden
        self._courier = courier
        self._intake = intake
        self._clock = clock
        self._timing = timing
        self._cosigning = cosigning
        self._replica = replica
        self._on_attached = on_attached
        self._patient: set[Session] = set()

    async def run(
        self,
        frames: AsyncIterator[hub_pb2.AttachRequest],
        send: Send,
        node: NodeId,
        identity: PeerIdentity,
        version: str = "",
        silence_told: object = None,
    ) -> None:
        """Serve one stream until the node ends it; `version` is the node's software as it says ("": it does
        not), `silence_told` how long it lets the stream be silent (`candor_wire.silence`; None: it does not).

        Raises ClockWrong, MalformedMessage, LimitExceeded, MemberSuspended, CertificateRevoked, Expired,
        AlreadyExists (a newer stream of the node) or Unreachable (the hub is stopping).
        """
        try:
            async with asyncio.timeout(self._timing.hello_deadline_seconds):
                first = await anext(frames)
        except (TimeoutError, StopAsyncIteration):
            raise LimitExceeded("No hello came in time.", remedy="Say hello first.") from None
        hello = codec.read_hello(first)
        now = self._clock.now()
        check_clock(hello.node_time, now)
        del first, hello  # what has a name here is held for as long as the stream lasts
        older = self._streams.of(node)
        if older is not None and loop_seconds() - older.began < REPLACED_SECONDS:
            self._hold_off.replaced(node)
        session = self._streams.open(node, identity)
        session.version = version
        session.heartbeat_seconds = self._timing.heartbeat_of(silence_told)
        self._warden.welcome(session)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        session.on_over = partial(_settle, over)
        tasks: list[asyncio.Future[None]] = []
        try:
            # First: whatever is put into the mailbox from here on, this process is told of.
            await self._replica.attach(session)
            log.info("attached", node=str(node))
            self._on_attached(node)
            session.told_version = self._watch.announced
            await send(codec.write_frame(Welcome(now, session.told_version)))
            tasks = [
                asyncio.create_task(self._read(session, frames)),
                asyncio.create_task(self._write(session, send)),
                over,
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if session.ended is not None:
                raise session.ended
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._streams.close(session)
            self._replica.detach(session)
            self._cosigning.gone(session)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            log.info("detached", node=str(node), delivered=session.delivered)

    # --- from the node ----------------------------------------------------------------------------------

    async def _read(self, session: Session, frames: AsyncIterator[hub_pb2.AttachRequest]) -> None:
        """Take mail until the node ends its side."""
        async for frame in frames:
            await self._take(session, codec.read_node_frame(frame))
            del frame  # what has a name here is held until the next one comes

    async def _take(self, session: Session, mail: Cosigned | codec.NodeMail) -> None:
        await self._turn(session, mail)
        if isinstance(mail, Cosigned):
            self._cosigning.answered(session, mail)
            return
        if mail.acknowledged:
            self._courier.acknowledge(session, mail.acknowledged)
        if not session.has_room:
            await session.wait_for_room()
        for number, envelope in mail.submissions:
            if not session.has_room:
                await session.wait_for_room()
            self._submit(session, number, envelope)

    async def _turn(self, session: Session, mail: Cosigned | codec.NodeMail) -> None:
        """Wait until it is this node's turn to be heard."""
        cost = 1.0
        if not isinstance(mail, Cosigned):
            cost += len(mail.submissions) + len(mail.acknowledged) / ACKNOWLEDGED_AS_ONE
        cost -= session.spend(cost)
        if cost > 0:
            await self._work.pace_of_frames.wait(session.node, cost)
        if session.refused:
            refused, session.refused = session.refused, 0
            await self._work.pace_of_refused.wait(session.node, refused)

    def _submit(self, session: Session, number: int, envelope: Envelope | CandorError) -> None:
        if isinstance(envelope, CandorError):
            self._answer(session, number, envelope)
            return
        session.unanswered += 1
        # Judged by the directory of the last look; standing is looked up in the transaction that accepts.
        judged = partial(self._judged, session, number, envelope.kind is MessageKind.ANSWER)
        self._intake.hand_in(envelope, session.node, self._watch.snapshot.view, judged)

    def _judged(
        self, session: Session, number: int, patient: bool, outcome: relay.Receipt | Exception
    ) -> None:
        session.unanswered -= 1
        told = outcome if isinstance(outcome, Exception) else outcome.recipients
        self._answer(session, number, told, patient)

    def _answer(
        self, session: Session, number: int, outcome: int | BaseException, patient: bool = False
    ) -> None:
        if isinstance(outcome, BaseException):
            status, _, code = to_status(outcome)
            if status is grpc.StatusCode.INTERNAL:
                log.error("failed", method="submission", code=code, exc_info=outcome)
            else:
                session.refused += 1
                self._refusals.note("submission", code, str(session.node))
                self._hold_off.refused_on_stream(session.node, code)
        session.receipts.append(Receipt(number, outcome))
        if not patient or len(session.receipts) >= MAX_PATIENT_RECEIPTS:
            session.wake.set()
        elif not session.wake.is_set():
            self._wake_later(session)

    def _wake_later(self, session: Session) -> None:
        """Nobody waits for having handed in an answer: its receipt takes the next frame that goes anyway."""
        if not self._patient:
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._wake_patient)
        self._patient.add(session)

    def _wake_patient(self) -> None:
        patient, self._patient = self._patient, set()
        for session in patient:
            if session.receipts:
                session.wake.set()

    # --- to the node ------------------------------------------------------------------------------------

    async def _write(self, session: Session, send: Send) -> None:
        """Send what there is, then wait for more."""
        loop = asyncio.get_running_loop()
        while True:
            await session.wake.wait()
            session.wake.clear()
            version = self._watch.announced
            if version > session.told_version:
                session.told_version = version
                await send(codec.write_frame(DirectoryChanged(version)))
            if session.heartbeat_due:
                session.heartbeat_due = False
                await send(codec.write_frame(Heartbeat(self._clock.now())))
            while session.cosigns:
                await send(codec.write_frame(session.cosigns.pop(0)))
            if session.may_read:
                await self._courier.refill(session)
            while True:
                parcels, receipts = session.next_mail(loop.time())
                if not parcels and not receipts:
                    break
                session.make_room()
                deliveries = ((parcel.delivery_id, parcel.envelope) for parcel in parcels)
                await send(codec.write_hub_mail(deliveries, receipts))
                del deliveries, parcels, receipts


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
