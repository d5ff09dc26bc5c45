"""A real hub on 127.0.0.1, and members of it, for tests.

    async with running_hub(tmp_path) as hub:
        alpha = await enrol(hub, "alpha")
        bravo = await enrol(hub, "bravo")
        await alpha.submit(alpha.lookup([alpha, bravo]))
        async with bravo.attached() as stream:
            delivery = await stream.delivery()
            await stream.acknowledge(delivery.delivery_id)

Everything is real: keys, certificates, mTLS, database. The clock is the machine's, shifted by `hub.clock`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import grpc
from cryptography import x509

from candor_certs.chain import verify_directory_certificate
from candor_certs.invitation import Invitation
from candor_certs.mtls import channel_credentials, client_options, enrolment_channel_credentials
from candor_certs.profiles import TlsPrivateKey
from candor_certs.requests import certificate_request, new_tls_key
from candor_hub.app import Hub
from candor_hub.config import Config
from candor_hub.founding import Wishes, found
from candor_hub.store.log import ShardRecord
from candor_hub.streams import Timing
from candor_hub.tlog.status import log_status
from candor_proto.canonical import to_milliseconds
from candor_proto.directory import IndexHead, Seen, VerifiedDirectory, verify_directory
from candor_proto.ids import Digest, NodeId, Ori
from candor_proto.possession import sign_certificate_request
from candor_proto.segment import address
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from candor_wire import codec, limits, log_codec
from candor_wire.status import from_status
from candor_wire.v1 import enrolment_pb2, enrolment_pb2_grpc, hub_pb2, hub_pb2_grpc
from tests.hub_members import FEDERATION, Member, ShiftedClock, ori_for
from tests.patience import PATIENCE_SECONDS

__all__ = [
    "FEDERATION",
    "MemberClient",
    "RunningHub",
    "ShiftedClock",
    "Stream",
    "enrol",
    "founded",
    "from_rpc",
    "running_hub",
]

T = TypeVar("T")

# As in production, only quicker: what only a fault brings about waits longer than a slow machine takes.
QUICK = Timing(
    poll_seconds=0.05,
    heartbeat_seconds=0.5,
    rare_heartbeat_seconds=0.5,
    redelivery_seconds=60.0,
    hello_deadline_seconds=60.0,
    coalesce_seconds=0.005,
    settle_seconds=0.5,
)


@dataclass
class RunningHub:
    """A hub that listens, its clock, and how to reach it."""

    hub: Hub
    clock: ShiftedClock

    @property
    def config(self) -> Config:
        return self.hub.config

    @property
    def root(self) -> x509.Certificate:
        return self.hub.keys().root

    @property
    def address(self) -> str:
        return f"{self._host}:{self.hub.ports.hub}"

    @property
    def enrolment_address(self) -> str:
        return f"{self._host}:{self.hub.ports.enrolment}"

    @property
    def _host(self) -> str:
        """As the settings have it: an IPv6 address in its brackets."""
        return self.hub.config.address.rpartition(":")[0]

    @property
    def shard(self) -> ShardRecord:
        """The present shard of the log."""
        with self.hub._store.read() as tx:
            return tx.log.shards()[-1]

    @property
    def waiting(self) -> int:
        """How many entries wait to be logged."""
        with self.hub._store.read() as tx:
            return log_status(tx, self.clock.now()).waiting

    @property
    def went_back(self) -> str:
        """What `candor-hub log status` says when witnesses know more than the database; else empty."""
        with self.hub._store.read() as tx:
            return log_status(tx, self.clock.now()).went_back

    def stopwatch(self) -> Callable[[], float]:
        """Seconds from now on, by the hub's own polls: what a slow machine adds to them does not count."""
        warden, rounds = self.hub.warden, 0
        look = warden.round

        def counting() -> None:
            nonlocal rounds
            rounds += 1
            look()

        warden.round = counting  # type: ignore[method-assign]  # counts, and does what it did
        return lambda: rounds * warden._timing.poll_seconds

    async def announced(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until members are told of the newest version of the directory; its number."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                latest = (await asyncio.to_thread(self.hub.directory.latest)).version
                if self.hub.log.announced >= latest:
                    return latest
                await asyncio.sleep(0.005)

    def invite(self, node: str | None, ori: str, life: timedelta = timedelta(days=14)) -> Invitation:
        name = f"{node or 'any'} agency"
        return self.hub.enrolment.invite(
            Ori(ori), NodeId(node) if node else None, name, self.clock.now(), life
        )


def founded(folder: Path, now: datetime | None = None, new_member_wait_hours: float = 0) -> Config:
    """The configuration of a new hub in `folder`, listening on free ports of 127.0.0.1."""
    wishes = Wishes(
        FEDERATION, "127.0.0.1:0", "127.0.0.1:0", new_member_wait_hours=new_member_wait_hours, nodes=50
    )
    return found(folder, wishes, now or datetime.now(UTC))


@asynccontextmanager
async def running_hub(
    folder: Path,
    *,
    now: datetime | None = None,
    clock: ShiftedClock | None = None,
    config: Config | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    timing: Timing = QUICK,
    guarded: bool = False,
    **changes: object,
) -> AsyncIterator[RunningHub]:
    """A hub in `folder`, made there unless `config` is given; `changes` replace fields of its Config.

    `guarded`: with the process in front of it that an operator's hub has.
    """
    clock = clock or ShiftedClock(now)
    if config is None:
        config = await asyncio.to_thread(founded, folder, clock.now())
    hub = Hub(replace(config, **changes), clock, interceptors, timing, guarded=guarded)  # type: ignore[arg-type]
    await hub.start()
    try:
        yield RunningHub(hub, clock)
    finally:
        await hub.stop(grace_seconds=0.2)


async def stop_for_good(hub: RunningHub) -> Config:
    """Stop it before its block ends; the settings of a hub that has its folder, and its address, after it."""
    await hub.hub.stop(grace_seconds=0.2)

    async def stopped(grace_seconds: float = 0.0) -> None:
        """The end of the block stops it once more."""

    hub.hub.stop = stopped  # type: ignore[method-assign]  # of this one object
    return replace(hub.config, address=hub.address)


async def from_rpc(error: grpc.aio.AioRpcError) -> Exception:
    """The typed error behind a failed call."""
    trailing = error.trailing_metadata()
    return from_status(error.code(), error.details(), tuple(trailing or ()))


@asynccontextmanager
async def typed_errors() -> AsyncIterator[None]:
    """Raises what the hub raised, in place of gRPC's error."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise (await from_rpc(error)) from error


class Stream:
    """The node's side of an open Attach stream."""

    def __init__(
        self, call: grpc.aio.StreamStreamCall[hub_pb2.AttachRequest, hub_pb2.AttachResponse]
    ) -> None:
        self.call = call
        self._deliveries: deque[codec.Delivery] = deque()
        self._receipts: deque[codec.Receipt] = deque()

    async def frame(self, timeout_seconds: float = PATIENCE_SECONDS) -> codec.HubFrame:
        """The next frame; raises the typed error that ended the stream, EOFError at its plain end."""
        async with typed_errors(), asyncio.timeout(timeout_seconds):
            message = await self.call.read()
            if message is grpc.aio.EOF:
                if await self.call.code() is not grpc.StatusCode.OK:
                    raise from_status(
                        await self.call.code(),
                        await self.call.details(),
                        tuple(await self.call.trailing_metadata() or ()),
                    )
                raise EOFError
            assert isinstance(message, hub_pb2.AttachResponse)
            return codec.read_frame(message)

    async def delivery(self, timeout_seconds: float = PATIENCE_SECONDS) -> codec.Delivery:
        """The next delivery; frames without one are passed over."""
        return await self._next(self._deliveries, timeout_seconds)

    async def receipt(self, timeout_seconds: float = PATIENCE_SECONDS) -> codec.Receipt:
        """The next receipt; frames without one are passed over."""
        return await self._next(self._receipts, timeout_seconds)

    async def _next(self, kept: deque[T], timeout_seconds: float) -> T:
        async with asyncio.timeout(timeout_seconds):
            while not kept:
                frame = await self.frame(timeout_seconds)
                if isinstance(frame, codec.HubMail):
                    self._deliveries.extend(frame.deliveries)
                    self._receipts.extend(frame.receipts)
            return kept.popleft()

    async def submit(self, *submissions: tuple[int, codec.Envelope]) -> None:
        async with typed_errors():
            await self.call.write(codec.write_node_mail((), submissions))

    async def acknowledge(self, *delivery_ids: int) -> None:
        async with typed_errors():
            await self.call.write(codec.write_acknowledge(delivery_ids))

    async def end(self, timeout_seconds: float = PATIENCE_SECONDS) -> Exception:
        """Read until the hub ends the stream; the typed error, or EOFError."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                try:
                    await self.frame(timeout_seconds)
                except Exception as error:
                    return error


@dataclass
class MemberClient(Member):
    """An enrolled member and its connection to the hub."""

    hub: RunningHub = field(kw_only=True, repr=False)
    chain: tuple[x509.Certificate, ...] = field(kw_only=True, repr=False)
    channel: grpc.aio.Channel = field(init=False, repr=False)
    stub: hub_pb2_grpc.HubServiceAsyncStub = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.connect()

    def connect(self, hub: RunningHub | None = None) -> None:
        """A fresh connection, to `hub` if given: a hub that was started again has another port."""
        self.hub = hub or self.hub
        self.channel = grpc.aio.secure_channel(
            self.hub.address,
            channel_credentials(self.tls_key, self.chain, [self.hub.root]),
            options=client_options(FEDERATION),
        )
        self.stub = hub_pb2_grpc.HubServiceStub(self.channel)

    async def close(self) -> None:
        await self.channel.close()

    # --- calls --------------------------------------------------------------------------------------

    async def submit(self, envelope: codec.Envelope) -> int:
        """How many mailbox rows it became; raises the typed error."""
        request = hub_pb2.SubmitRequest(envelope=codec.write_envelope(envelope))
        async with typed_errors():
            response = await self.stub.Submit(request, timeout=PATIENCE_SECONDS)
        return response.recipients

    async def directory(self, seen_version: int = 0, *, patient: bool = True) -> VerifiedDirectory:
        """The directory, verified up to the root; the newest one, once it is witnessed, if `patient`."""
        if patient:
            await self.hub.announced()
        async with typed_errors():
            body, start = b"", hub_pb2.DirectoryStart()
            async for message in self.stub.GetDirectory(
                hub_pb2.GetDirectoryRequest(), timeout=PATIENCE_SECONDS
            ):
                if message.WhichOneof("part") == "start":
                    start = message.start
                else:
                    body += message.chunk
        now = self.clock.now()
        chain = codec.read_chain(list(start.certificate_chain))
        key = verify_directory_certificate(chain, [self.hub.root], FEDERATION, now)
        return verify_directory(
            SignedStatement(body, start.signature),
            VerifyingKey(key.public_bytes_raw()),
            codec.chain_digest(chain),
            FEDERATION,
            now,
            Seen(seen_version),
        )

    async def put_segment(self, octets: bytes, stated: Digest | None = None) -> Digest:
        named = stated or address(octets)
        parts = [hub_pb2.PutSegmentRequest(address=named.value)]
        parts += [
            hub_pb2.PutSegmentRequest(chunk=chunk)
            for chunk in codec.chunks(octets, limits.UPLOAD_CHUNK_BYTES)
        ]
        await self.put_parts(parts)
        return named

    async def put_parts(self, parts: Iterable[hub_pb2.PutSegmentRequest]) -> None:
        async with typed_errors():
            await self.stub.PutSegment(iter(parts), timeout=PATIENCE_SECONDS)

    async def get_segment(self, named: Digest) -> bytes:
        async with typed_errors():
            call = self.stub.GetSegment(
                hub_pb2.GetSegmentRequest(address=named.value), timeout=PATIENCE_SECONDS
            )
            return b"".join([message.chunk async for message in call])

    async def put_head(self, head: IndexHead, signing_key: SigningKey | None = None) -> int:
        """The directory version that carries it."""
        statement = (signing_key or self.signing_key).sign("index-head", head.encode())
        request = hub_pb2.PutHeadRequest(body=statement.body, signature=statement.signature)
        async with typed_errors():
            return (await self.stub.PutHead(request, timeout=PATIENCE_SECONDS)).directory_version

    async def log_file(self, path: str) -> bytes:
        """A file of the log; raises the typed error."""
        async with typed_errors():
            call = self.stub.GetLog(log_codec.write_log_path(path), timeout=PATIENCE_SECONDS)
            return b"".join([message.chunk async for message in call])

    async def put_statement(self, context: str, statement: SignedStatement) -> None:
        """Have a statement logged; raises the typed error."""
        async with typed_errors():
            await self.stub.PutStatement(
                log_codec.write_put_statement(context, statement), timeout=PATIENCE_SECONDS
            )

    async def quota(self) -> hub_pb2.GetQuotaResponse:
        """What the hub lets this member use; raises the typed error."""
        async with typed_errors():
            return await self.stub.GetQuota(hub_pb2.GetQuotaRequest(), timeout=PATIENCE_SECONDS)

    async def renew(
        self,
        request: bytes | None = None,
        signing_key: SigningKey | None = None,
        key: TlsPrivateKey | None = None,
    ) -> MemberClient:
        """A client of the same member with the certificate that the hub gives it for a fresh key."""
        key = key or new_tls_key()
        request = request or certificate_request(key, FEDERATION, self.node)
        signature = sign_certificate_request(signing_key or self.signing_key, FEDERATION, self.node, request)
        message = hub_pb2.RenewCertificateRequest(certificate_request=request, signature=signature)
        async with typed_errors():
            response = await self.stub.RenewCertificate(message, timeout=PATIENCE_SECONDS)
        chain = tuple(x509.load_der_x509_certificate(der) for der in response.certificate_chain)
        return replace(self, tls_key=key, chain=chain)

    @asynccontextmanager
    async def attached(
        self, clock_error: timedelta = timedelta(0), directory_version: int = 0
    ) -> AsyncIterator[Stream]:
        """An open stream; hello is said and welcome received."""
        stream = Stream(self.stub.Attach())
        try:
            hello = codec.Hello(self.clock.now() + clock_error, directory_version)
            await stream.call.write(codec.write_hello(hello))
            welcome = await stream.frame()
            assert isinstance(welcome, codec.Welcome)
            yield stream
        finally:
            stream.call.cancel()


async def enrol(
    hub: RunningHub,
    node: str,
    ori: str | None = None,
    *,
    invitation: Invitation | None = None,
    clock_error: timedelta = timedelta(0),
    request: enrolment_pb2.EnrolRequest | None = None,
) -> MemberClient:
    """Join `hub` through its enrolment port; raises the typed error.

    What `request` sets is sent as it stands there.
    """
    member = Member(NodeId(node), Ori(ori or ori_for(node)), hub.clock)
    if invitation is None:
        invitation = await asyncio.to_thread(hub.invite, node, str(member.ori))
    message = enrolment_request(member, invitation, clock_error)
    if request is not None:
        message.MergeFrom(request)
    response = await send_enrolment(hub, message)
    chain = tuple(x509.load_der_x509_certificate(der) for der in response.certificate_chain)
    return MemberClient(
        member.node,
        member.ori,
        member.clock,
        member.signing_key,
        member.disclosure_key,
        member.tls_key,
        hub=hub,
        chain=chain,
    )


def enrolment_request(
    member: Member, invitation: Invitation, clock_error: timedelta = timedelta(0)
) -> enrolment_pb2.EnrolRequest:
    """What a node of `member` would send."""
    return enrolment_pb2.EnrolRequest(
        token=invitation.token,
        ori=str(member.ori),
        node=str(member.node),
        certificate_request=certificate_request(member.tls_key, FEDERATION, member.node),
        signing_key=member.signing_key.public.value,
        disclosure_key=member.disclosure_key.public,
        node_time_milliseconds=to_milliseconds(member.clock.now() + clock_error),
    )


async def send_enrolment(hub: RunningHub, message: enrolment_pb2.EnrolRequest) -> enrolment_pb2.EnrolResponse:
    """One call to the enrolment port; raises the typed error."""
    credentials = enrolment_channel_credentials([hub.root])
    async with grpc.aio.secure_channel(
        hub.enrolment_address, credentials, options=client_options(FEDERATION)
    ) as channel:
        stub: enrolment_pb2_grpc.EnrolmentServiceAsyncStub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        async with typed_errors():
            return await stub.Enrol(message, timeout=PATIENCE_SECONDS)
