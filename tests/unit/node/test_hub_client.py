"""The node's connection to the hub (docs/protocol.md §8), against a hub that says what a test wants."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from candor_certs import mtls
from candor_certs.store import TlsIdentity
from candor_node import clock as clock_module
from candor_node import diagnosis, hub_client, hub_mail
from candor_node.diagnosis import diagnose
from candor_node.hub_client import HubClient, check_clock, retry_delay, stay_attached
from candor_node.hub_mail import ACKNOWLEDGE_SECONDS
from candor_proto.errors import (
    CandorError,
    CertificateRefused,
    ClockWrong,
    MalformedMessage,
    QuotaSpent,
    StoreUnusable,
    UnknownObject,
    Unreachable,
)
from candor_proto.ids import Digest, NodeId
from candor_proto.sealing import SealKind
from candor_proto.signing import SignedStatement
from candor_wire import codec, silence
from candor_wire.codec import Envelope, HubFrame, MessageKind, Welcome
from candor_wire.status import ERROR_METADATA_KEY, to_status
from candor_wire.v1 import hub_pb2, hub_pb2_grpc
from tests.certificates import FEDERATION, NODE, FlawedCertificates, Presented, federation_authority
from tests.patience import PATIENCE_SECONDS

AUTHORITY = federation_authority()
GOOD = FlawedCertificates(AUTHORITY)


@dataclass
class ShiftableClock:
    shift: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift


class FakeHub(hub_pb2_grpc.HubServiceServicer):
    """Sends the frames it is given; remembers what it hears."""

    def __init__(self) -> None:
        self.frames: list[HubFrame] = []
        self.hub_time: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.error: CandorError | None = None
        self.hellos: list[codec.Hello] = []
        self.silences: list[object] = []
        self.acknowledged: list[int] = []
        self.streams = 0
        self.cosigned: list[codec.Cosigned] = []
        self.statements: list[tuple[str, bytes, bytes]] = []
        self.submitted: list[tuple[int, Envelope]] = []
        # What becomes of a submission; None: no receipt comes.
        self.judge: Callable[[Envelope], int | CandorError | None] = lambda envelope: 3

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        self.streams += 1
        self.silences.append(dict(context.invocation_metadata()).get(silence.METADATA_KEY))
        self.hellos.append(codec.read_hello(await anext(request_iterator)))
        yield codec.write_frame(Welcome(self.hub_time(), 7))
        for frame in self.frames:
            yield codec.write_frame(frame)
        async for message in request_iterator:
            mail = codec.read_node_frame(message)
            if isinstance(mail, codec.Cosigned):
                self.cosigned.append(mail)
                continue
            self.acknowledged.extend(mail.acknowledged)
            for number, one in mail.submissions:
                assert isinstance(one, Envelope)
                self.submitted.append((number, one))
                outcome = self.judge(one)
                if outcome is not None:
                    yield codec.write_frame(codec.HubMail((), (codec.Receipt(number, outcome),)))

    async def Submit(self, request: Any, context: Any) -> Any:
        if self.error is not None:
            status, details, code = to_status(self.error)
            await context.abort(status, details, ((ERROR_METADATA_KEY, code),))
        return hub_pb2.SubmitResponse(recipients=3)

    async def PutSegment(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError

    async def PutHead(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def RenewCertificate(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def GetDirectory(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield hub_pb2.GetDirectoryResponse(chunk=b"no start")

    async def GetQuota(self, request: Any, context: Any) -> Any:
        return hub_pb2.GetQuotaResponse(total=1)

    async def GetLog(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.path != "1/checkpoint":
            status, details, code = to_status(UnknownObject("There is no such file in the log."))
            await context.abort(status, details, ((ERROR_METADATA_KEY, code),))
        for chunk in (b"a head", b" of the log"):
            yield hub_pb2.GetLogResponse(chunk=chunk)

    async def PutStatement(self, request: Any, context: Any) -> Any:
        self.statements.append((request.context, request.body, request.signature))
        return hub_pb2.PutStatementResponse()

    async def GetSegment(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for chunk in (b"one", b"two"):
            yield hub_pb2.GetSegmentResponse(chunk=chunk)


@dataclass
class Taker:
    """Stands for the node: takes deliveries, or crashes."""

    delivered: list[Envelope] = field(default_factory=list)
    welcomes: list[Welcome] = field(default_factory=list)
    announced: list[int] = field(default_factory=list)
    before_return: Callable[[], None] = lambda: None

    def directory_version(self) -> int:
        return 5

    def attached(self, welcome: Welcome) -> None:
        self.welcomes.append(welcome)

    async def deliver(self, envelope: Envelope) -> None:
        self.before_return()
        self.delivered.append(envelope)

    def directory_changed(self, version: int) -> None:
        self.announced.append(version)

    async def cosign(self, request: codec.Cosign) -> codec.Cosigned:
        if request.request == b"full disk":
            raise StoreUnusable("The disk is full.")
        return codec.Cosigned(request.number, 200, b"signed " + request.request)


def envelope() -> Envelope:
    return Envelope(
        secrets.token_bytes(16),
        MessageKind.DISCLOSURE_REQUEST,
        NodeId("bravo"),
        NODE,
        bytes(SealKind.REQUEST.sealed_octets),
        b"",
        datetime.now(UTC).replace(microsecond=0) + timedelta(days=1),
    )


@asynccontextmanager
async def connected(
    hub: FakeHub, presented: Presented | None = None, clock: ShiftableClock | None = None
) -> AsyncIterator[HubClient]:
    """A client of `hub` over real mTLS."""
    server = grpc.aio.server()
    hub_pb2_grpc.add_HubServiceServicer_to_server(hub, server)
    root = AUTHORITY.parents[0]
    port = server.add_secure_port("127.0.0.1:0", GOOD.good_hub().server_credentials(root))
    await server.start()
    own = presented or GOOD.good()
    client = HubClient(
        f"127.0.0.1:{port}", FEDERATION, TlsIdentity(own.key, own.chain), [root], clock or ShiftableClock()
    )
    try:
        yield client
    finally:
        await client.close()
        await server.stop(None)


async def attach_until(client: HubClient, taker: Taker, done: Callable[[], bool]) -> None:
    task = asyncio.create_task(client.attach(taker))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done() and not task.done():
            await asyncio.sleep(0.01)
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_deliveries_are_taken_in_order_and_acknowledged() -> None:
    async def scene() -> None:
        hub, taker = FakeHub(), Taker()
        sent = [envelope(), envelope()]
        hub.frames = [codec.HubMail((codec.Delivery(number, one),)) for number, one in enumerate(sent, 11)]
        hub.frames.append(codec.DirectoryChanged(9))
        async with connected(hub) as client:
            await attach_until(client, taker, lambda: len(hub.acknowledged) == 2)
        assert taker.delivered == sent
        assert hub.acknowledged == [11, 12]
        assert taker.announced == [9]
        assert hub.hellos[0].directory_version == 5
        assert taker.welcomes[0].directory_version == 7

    asyncio.run(scene())


def test_nothing_is_acknowledged_before_it_is_stored() -> None:
    """§8.3: the node acknowledges after its own durable write."""

    async def scene() -> None:
        hub, seen = FakeHub(), []
        taker = Taker(before_return=lambda: seen.append(list(hub.acknowledged)))
        hub.frames = [codec.HubMail((codec.Delivery(11, envelope()),))]
        async with connected(hub) as client:
            await attach_until(client, taker, lambda: bool(hub.acknowledged))
        assert seen == [[]]

    asyncio.run(scene())


def test_a_delivery_that_could_not_be_stored_is_not_acknowledged() -> None:
    async def scene() -> None:
        def fail() -> None:
            raise Unreachable("the disk is full")

        hub, taker = FakeHub(), Taker(before_return=fail)
        hub.frames = [codec.HubMail((codec.Delivery(11, envelope()),))]
        async with connected(hub) as client:
            with pytest.raises(Unreachable, match="disk is full"):
                await attach_until(client, taker, lambda: bool(hub.acknowledged))
            await asyncio.sleep(0.2)
        assert hub.acknowledged == []

    asyncio.run(scene())


def test_the_hubs_typed_errors_come_out_typed() -> None:
    async def scene() -> None:
        hub = FakeHub()
        async with connected(hub) as client:
            assert await client.submit(envelope()) == 3
            hub.error = QuotaSpent("Spent.", remedy="Wait.")
            with pytest.raises(QuotaSpent) as caught:
                await client.submit(envelope())
        assert (caught.value.message, caught.value.remedy) == ("Spent.", "Wait.")

    asyncio.run(scene())


@asynccontextmanager
async def attached(hub: FakeHub, taker: Taker | None = None) -> AsyncIterator[tuple[HubClient, Any]]:
    """A client that holds its stream, and the task that does."""
    taker = taker or Taker()
    async with connected(hub) as client:
        task = asyncio.create_task(client.attach(taker))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not taker.welcomes:
                await asyncio.sleep(0.005)
        yield client, task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_while_attached_messages_go_over_the_stream() -> None:
    async def scene() -> None:
        hub = FakeHub()
        hub.error = CandorError("A call, though there is a stream.")
        sent = [envelope() for _ in range(100)]  # more than may be unanswered at once
        async with attached(hub) as (client, _):
            assert await asyncio.gather(*(client.submit(one) for one in sent)) == [3] * 100
        assert [one for _, one in hub.submitted] == sent
        assert len({number for number, _ in hub.submitted}) == 100

    asyncio.run(scene())


def test_a_refusal_in_a_receipt_comes_out_typed() -> None:
    async def scene() -> None:
        hub = FakeHub()
        hub.judge = lambda envelope: QuotaSpent("Spent.", remedy="Wait.")
        async with attached(hub) as (client, _):
            with pytest.raises(QuotaSpent) as caught:
                await client.submit(envelope())
            assert (caught.value.message, caught.value.remedy) == ("Spent.", "Wait.")
            hub.judge = lambda envelope: 1
            assert await client.submit(envelope()) == 1

    asyncio.run(scene())


def test_a_submission_whose_stream_ends_is_unknown_and_the_next_is_a_call() -> None:
    """§8.3: it is handed in again as it was; never taken for accepted."""

    async def scene() -> None:
        hub = FakeHub()
        hub.judge = lambda envelope: None
        async with attached(hub) as (client, task):
            waiting = asyncio.create_task(client.submit(envelope()))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not hub.submitted:
                    await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(Unreachable):
                await waiting
            assert await client.submit(envelope()) == 3
            assert len(hub.submitted) == 1

    asyncio.run(scene())


def test_while_it_is_being_stored_nothing_is_acknowledged() -> None:
    async def scene() -> None:
        hub, begun, stored = FakeHub(), asyncio.Event(), asyncio.Event()

        class Slow(Taker):
            async def deliver(self, envelope: Envelope) -> None:
                begun.set()
                await stored.wait()

        hub.frames = [codec.HubMail((codec.Delivery(11, envelope()),))]
        async with attached(hub, Slow()) as (client, _):
            await begun.wait()
            # A receipt comes after whatever was sent before it.
            await asyncio.sleep(5 * ACKNOWLEDGE_SECONDS)
            await client.submit(envelope())
            assert hub.acknowledged == []
            stored.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not hub.acknowledged:
                    await asyncio.sleep(0.005)

    asyncio.run(scene())


def test_deliveries_are_stored_at_the_same_time_and_acknowledged_together() -> None:
    """A database that groups its commits must not be asked one by one."""

    async def scene() -> None:
        hub, both = FakeHub(), asyncio.Barrier(2)

        class Waits(Taker):
            async def deliver(self, envelope: Envelope) -> None:
                await both.wait()
                await super().deliver(envelope)

        sent = tuple(codec.Delivery(number, envelope()) for number in (11, 12))
        hub.frames = [codec.HubMail(sent)]
        taker = Waits()
        async with connected(hub) as client:
            await attach_until(client, taker, lambda: len(hub.acknowledged) == 2)
        assert sorted(hub.acknowledged) == [11, 12]

    asyncio.run(scene())


def test_requests_to_the_witness_are_answered_on_the_stream() -> None:
    """§15.3: under the hub's number; one that could not be stored gets no answer, and the stream goes on."""

    async def scene() -> None:
        hub = FakeHub()
        hub.frames = [codec.Cosign(7, b"a head"), codec.Cosign(8, b"full disk"), codec.Cosign(9, b"another")]
        async with connected(hub) as client:
            await attach_until(client, Taker(), lambda: len(hub.cosigned) == 2)
        assert sorted(hub.cosigned, key=lambda one: one.number) == [
            codec.Cosigned(7, 200, b"signed a head"),
            codec.Cosigned(9, 200, b"signed another"),
        ]

    asyncio.run(scene())


def test_a_hub_that_asks_too_much_at_a_time_gets_no_more_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_mail, "MAX_COSIGNING", 2)

    async def scene() -> None:
        held = asyncio.Event()

        class Slow(Taker):
            async def cosign(self, request: codec.Cosign) -> codec.Cosigned:
                await held.wait()
                return await super().cosign(request)

        hub = FakeHub()
        hub.frames = [codec.Cosign(number, b"a head") for number in range(5)]
        hub.frames.append(codec.DirectoryChanged(9))
        taker = Slow()
        async with connected(hub) as client:
            attaching = asyncio.create_task(client.attach(taker))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not taker.announced:
                    await asyncio.sleep(0.01)
                held.set()
                while len(hub.cosigned) < 2:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            attaching.cancel()
            await asyncio.gather(attaching, return_exceptions=True)
        assert {one.number for one in hub.cosigned} == {0, 1}

    asyncio.run(scene())


def test_files_of_the_log_are_put_together_and_statements_handed_in() -> None:
    async def scene() -> None:
        hub = FakeHub()
        async with connected(hub) as client:
            assert await client.get_log("1/checkpoint") == b"a head of the log"
            with pytest.raises(UnknownObject):
                await client.get_log("1/policy/2")
            await client.put_statement("witness-key", SignedStatement(b"body", bytes(64)))
        assert hub.statements == [("witness-key", b"body", bytes(64))]

    asyncio.run(scene())


def test_segments_are_put_together() -> None:
    async def scene() -> None:
        async with connected(FakeHub()) as client:
            assert await client.get_segment(Digest(bytes(32))) == b"onetwo"

    asyncio.run(scene())


def test_a_directory_without_a_beginning_is_refused() -> None:
    async def scene() -> None:
        async with connected(FakeHub()) as client:
            with pytest.raises(MalformedMessage, match="no beginning"):
                await client.get_directory()

    asyncio.run(scene())


# --- the clock -----------------------------------------------------------------------------------------


def test_clocks_may_differ_by_five_minutes_and_no_more() -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    check_clock(now, now + timedelta(minutes=5))
    check_clock(now, now - timedelta(minutes=5))
    with pytest.raises(ClockWrong) as caught:
        check_clock(now, now + timedelta(minutes=61))
    assert "12:00:00" in caught.value.message
    assert "13:01:00" in caught.value.message
    assert "clock is 61 minutes behind the hub's" in caught.value.message
    assert "timedatectl" in caught.value.remedy


def test_a_node_whose_clock_is_off_does_not_work() -> None:
    """§8.4."""

    async def scene() -> None:
        hub, taker = FakeHub(), Taker()
        hub.hub_time = lambda: datetime.now(UTC) + timedelta(minutes=6)
        hub.frames = [codec.HubMail((codec.Delivery(11, envelope()),))]
        async with connected(hub) as client:
            with pytest.raises(ClockWrong):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await client.attach(taker)
        assert taker.delivered == []
        assert taker.welcomes == []

    asyncio.run(scene())


def test_a_clock_that_goes_wrong_later_is_noticed() -> None:
    async def scene() -> None:
        hub = FakeHub()
        hub.frames = [codec.Heartbeat(datetime.now(UTC) - timedelta(minutes=6))]
        async with connected(hub) as client:
            with pytest.raises(ClockWrong):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await client.attach(Taker())

    asyncio.run(scene())


# --- when it does not work -----------------------------------------------------------------------------


def test_a_hub_that_is_down_is_a_sentence() -> None:
    async def scene() -> None:
        own = GOOD.good()
        client = HubClient(
            "127.0.0.1:1",
            FEDERATION,
            TlsIdentity(own.key, own.chain),
            [AUTHORITY.parents[0]],
            ShiftableClock(),
        )
        with pytest.raises(Unreachable, match=r"Cannot reach the hub at 127\.0\.0\.1:1: connection refused"):
            await client.submit(envelope())
        await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (5, "This machine's clock is not kept by network time, so it is probably the wrong one."),
        (0, "This machine's clock is kept by network time, so the hub's is probably the wrong one."),
        (-1, "Which of the two is wrong, any other clock tells."),
    ],
    ids=["not-kept", "kept", "not-told"],
)
def test_an_own_certificate_that_is_not_valid_yet_points_at_the_clock(
    kernel: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years back, and an hour: the clock's fault is said, and which clock's."""
    monkeypatch.setattr(clock_module, "_adjtimex", lambda: kernel)
    own = GOOD.good()
    for back in (timedelta(hours=1), timedelta(days=3652)):
        error = asyncio.run(diagnose("127.0.0.1:1", ShiftableClock(-back), TlsIdentity(own.key, own.chain)))
        assert isinstance(error, ClockWrong)
        assert "one clock is wrong" in error.message
        assert error.message.endswith(words)


def test_the_kernel_is_asked_whether_its_clock_is_kept() -> None:
    """Whatever it says here, it says it without a right and without an error."""
    assert clock_module.is_kept_by_network_time() in (True, False, None)


def test_an_own_certificate_that_has_ended_says_so() -> None:
    own = GOOD.good()
    identity, clock = TlsIdentity(own.key, own.chain), ShiftableClock(timedelta(days=8))
    error = asyncio.run(diagnose("127.0.0.1:1", clock, identity))
    assert isinstance(error, CertificateRefused)
    assert "certificate ended on" in error.message


def test_a_hub_certificate_that_is_not_valid_yet_points_at_the_clock() -> None:
    """A node that joins has no certificate of its own to look at."""

    async def scene() -> None:
        async with connected(FakeHub()) as client:
            error = await diagnose(client.address, ShiftableClock(-timedelta(hours=1)))
        assert isinstance(error, ClockWrong)
        assert "the hub's certificate begins on" in error.message

    asyncio.run(scene())


def test_a_hub_of_another_root_is_not_called_unreachable_only() -> None:
    async def scene() -> None:
        other = FlawedCertificates(federation_authority()).good()
        hub = FakeHub()
        async with connected(hub) as client:
            foreign = HubClient(
                client.address,
                FEDERATION,
                TlsIdentity(other.key, other.chain),
                [federation_authority().parents[0]],
                ShiftableClock(),
            )
            with pytest.raises(Unreachable, match="root does not vouch for"):
                await foreign.submit(envelope())
            await foreign.close()
        assert hub.hellos == []

    asyncio.run(scene())


def test_retries_are_jittered_and_bounded() -> None:
    for failures in range(20):
        ceiling = min(hub_client.LAST_RETRY_SECONDS, 2.0**failures)
        assert all(0 <= retry_delay(failures) <= ceiling for _ in range(50))
    assert len({retry_delay(5) for _ in range(20)}) > 1


def test_it_attaches_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "retry_delay", lambda failures: 0.01)

    async def scene() -> None:
        hub, heard = FakeHub(), list[CandorError]()
        hub.frames = [codec.Heartbeat(datetime.now(UTC) - timedelta(hours=1))]
        async with connected(hub) as client:
            task = asyncio.create_task(stay_attached(client, Taker(), heard.append))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while hub.streams < 3:
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert all(isinstance(error, ClockWrong) for error in heard)

    asyncio.run(scene())


def test_a_stream_that_broke_off_is_dialled_again_before_anybody_looks_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = list[str]()

    async def look(address: str, *_: object, **__: object) -> CandorError:
        looked.append(address)
        return Unreachable("Looked into.")

    monkeypatch.setattr(hub_client, "diagnose", look)

    async def scene() -> None:
        taker = Taker()
        root, server = AUTHORITY.parents[0], grpc.aio.server()
        hub_pb2_grpc.add_HubServiceServicer_to_server(FakeHub(), server)
        port = server.add_secure_port("127.0.0.1:0", GOOD.good_hub().server_credentials(root))
        await server.start()
        shown = GOOD.good()
        own = TlsIdentity(shown.key, shown.chain)
        client = HubClient(f"127.0.0.1:{port}", FEDERATION, own, [root], ShiftableClock())
        attached = asyncio.create_task(client.attach(taker))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while client.welcomed_at is None:
                await asyncio.sleep(0.01)
        await server.stop(None)
        with pytest.raises(Unreachable, match="broke off"):
            await attached
        assert looked == []
        with pytest.raises(Unreachable, match="Looked into"):
            await client.attach(taker)
        assert looked == [client.address]
        await client.close()

    asyncio.run(scene())


def test_a_node_says_how_much_silence_it_bears() -> None:
    """§8.3: without that word it would be sent four times as many heartbeats."""

    async def scene() -> None:
        hub, taker = FakeHub(), Taker()
        async with connected(hub) as client:
            await attach_until(client, taker, lambda: bool(taker.welcomes))
        assert [silence.read(told) for told in hub.silences] == [hub_client.SILENCE_SECONDS]

    asyncio.run(scene())


def test_keepalive_and_diagnosis_together_notice_a_black_hole_within_thirty_seconds() -> None:
    """A node asks after 18 s, waits for 7, and looks why for 4 at most before it says so."""
    for options in (dict(mtls.CLIENT_OPTIONS), dict(mtls.server_options(1))):
        pings, waits = options["grpc.keepalive_time_ms"], options["grpc.http2.ping_timeout_ms"]
        assert isinstance(pings, int)
        assert isinstance(waits, int)
        assert (pings + waits) / 1000 + diagnosis.DIAGNOSIS_SECONDS <= 29
