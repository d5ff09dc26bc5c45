"""The node's one connection to the hub: calls, and the stream it holds (docs/protocol.md §8).

Rules of this file:
- every failure becomes a typed error with a sentence that names the other side and says what to do;
- every call has a deadline; the stream has heartbeats, and is silent for at most `SILENCE_SECONDS`;
- it knows nothing of databases: what is delivered goes to a `Handler`, whose return means "durably stored".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from cryptography import x509

from candor_certs import mtls
from candor_certs.lifetime import span
from candor_certs.names import hub_dns_name
from candor_certs.store import TlsIdentity
from candor_node.channel import Channel, Line, WrapChannel, end_of
from candor_node.clock import Clock, whose_clock
from candor_node.diagnosis import diagnose
from candor_node.directory_store import FetchedDirectory
from candor_node.hub_mail import StreamMail
from candor_node.logs import log
from candor_node.proxy import Proxy, channel_options
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    ClockWrong,
    MalformedMessage,
    Unreachable,
)
from candor_proto.ids import Digest, FederationName
from candor_proto.segment import MAX_SEGMENT_OCTETS
from candor_proto.signing import SignedStatement
from candor_proto.statements import Left
from candor_watch.versions import METADATA_KEY, checked, user_agent
from candor_wire import codec, limits, log_codec, silence
from candor_wire.codec import (
    Cosign,
    Cosigned,
    DirectoryChanged,
    Envelope,
    Heartbeat,
    Hello,
    HubMail,
    Welcome,
)
from candor_wire.status import from_status
from candor_wire.v1 import hub_pb2

T = TypeVar("T")
SILENCE_SECONDS = limits.SILENCE_SECONDS
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 60.0
# A stream that lived so long was one: what ends it is a new trouble, and the next attempt is soon. A hub of
# several replicas may be restarted one by one, or lose one after the other.
SETTLED_SECONDS = 5.0


class Handler(Protocol):
    """Who takes what the stream brings."""

    def directory_version(self) -> int:
        """The version of the directory that is held; 0 for none."""

    def attached(self, welcome: Welcome) -> None:
        """The hub has welcomed this node."""

    async def deliver(self, envelope: Envelope) -> None:
        """Store an envelope durably; returning acknowledges it."""

    def directory_changed(self, version: int) -> None:
        """The hub holds a newer directory."""

    async def cosign(self, request: Cosign) -> Cosigned:
        """What this node's witness answers to a request of the hub; stored when this returns (§15.3)."""


def check_clock(node_time: datetime, hub_time: datetime) -> None:
    """Raises ClockWrong, saying by how much and which is likely wrong, past the tolerance (§8.4)."""
    difference = node_time - hub_time
    if abs(difference) > timedelta(seconds=limits.CLOCK_TOLERANCE_SECONDS):
        word = "behind" if difference < timedelta(0) else "ahead of"
        raise _clock_wrong(
            f"This machine's clock is {span(abs(difference))} {word} the hub's, and lookups need them within "
            f"5 minutes: it says {node_time:%Y-%m-%d %H:%M:%S} UTC, the hub {hub_time:%Y-%m-%d %H:%M:%S} UTC."
        )


def _clock_wrong(message: str) -> ClockWrong:
    return ClockWrong(
        f"{message} {whose_clock()}",
        remedy="Set the clock of the wrong machine (for example `timedatectl set-ntp true`); if it is the "
        "hub's, tell its operator. The node goes on by itself then.",
    )


class HubClient:
    """Calls to the hub at `address`. Made and closed in one event loop."""

    def __init__(
        self,
        address: str,
        federation: FederationName,
        identity: TlsIdentity,
        roots: Sequence[x509.Certificate],
        clock: Clock,
        wrap_channel: WrapChannel = lambda channel: channel,
        proxy: Proxy | None = None,
    ) -> None:
        """`proxy` is what connections go out through; None: nothing, whatever the environment says."""
        self.address = address
        self._federation = federation
        self._clock = clock
        self.proxy = proxy
        # Of the stream that was welcomed last, and the channel it is on.
        self._mail: StreamMail | None = None
        self._mail_line: Channel | None = None
        # When the hub welcomed the stream that was laid last (loop time, seconds).
        self.welcomed_at: float | None = None
        # As it said last; "" for one that does not say.
        self.hub_version = ""

        def dial(shown: TlsIdentity) -> grpc.aio.Channel:
            credentials = mtls.channel_credentials(shown.key, shown.chain, roots)
            options = [
                *mtls.client_options(federation),
                *channel_options(proxy),
                ("grpc.primary_user_agent", user_agent()),
            ]
            return grpc.aio.secure_channel(address, credentials, options=options)

        self.line = Line(identity, dial, wrap_channel)

    @property
    def _stub(self) -> Any:
        return self.line.stub

    async def close(self) -> None:
        await self.line.close()

    # --- calls -------------------------------------------------------------------------------------------

    async def submit(self, envelope: Envelope) -> int:
        """Hand an envelope to the hub; returns how many mailboxes it went to, durably.

        On the stream when there is one, for it costs both sides less than a call. One that ends because the
        line was laid anew leaves nobody in the dark: it is handed in again, and the hub knows what it has.
        Raises what the hub refuses it with, or Unreachable when nobody knows.
        """
        while (mail := self._mail) is not None:
            line = self._mail_line
            try:
                return await mail.submit(envelope)
            except Unreachable:
                if line is self.line.present or not mail.closed:
                    raise
        request = hub_pb2.SubmitRequest(envelope=codec.write_envelope(envelope))
        response = await self._call(lambda: self._stub.Submit(request, timeout=limits.CALL_DEADLINE_SECONDS))
        return int(response.recipients)

    async def quota(self) -> Left:
        """What the hub lets this node use now, in elements (§11.3)."""
        request = hub_pb2.GetQuotaRequest()
        said = await self._call(lambda: self._stub.GetQuota(request, timeout=limits.CALL_DEADLINE_SECONDS))
        return Left(said.total, said.weak, said.match, said.code)

    async def put_segment(self, address: Digest, octets: bytes) -> None:
        async def parts() -> AsyncIterator[hub_pb2.PutSegmentRequest]:
            yield hub_pb2.PutSegmentRequest(address=address.value)
            for chunk in codec.chunks(octets, limits.UPLOAD_CHUNK_BYTES):
                yield hub_pb2.PutSegmentRequest(chunk=chunk)

        await self._call(lambda: self._stub.PutSegment(parts(), timeout=limits.TRANSFER_DEADLINE_SECONDS))

    async def get_segment(self, address: Digest) -> bytes:
        """The octets the hub has under `address`; nobody has compared them with it yet."""

        async def transfer() -> bytes:
            assembler = codec.Assembler(MAX_SEGMENT_OCTETS)
            request = hub_pb2.GetSegmentRequest(address=address.value)
            call = self._stub.GetSegment(request, timeout=limits.TRANSFER_DEADLINE_SECONDS)
            async for part in call:
                codec.refuse_unknown_fields(part)
                assembler.add(part.chunk)
            return assembler.finish()

        return await self._call(transfer)

    async def put_head(self, head: SignedStatement) -> int:
        """Publish an index head; returns the directory version that carries it."""
        request = hub_pb2.PutHeadRequest(body=head.body, signature=head.signature)
        response = await self._call(lambda: self._stub.PutHead(request, timeout=limits.CALL_DEADLINE_SECONDS))
        return int(response.directory_version)

    async def get_directory(self) -> FetchedDirectory:
        """The hub's present directory, unverified."""

        async def transfer() -> FetchedDirectory:
            assembler, start = codec.Assembler(limits.MAX_DIRECTORY_BYTES), None
            call = self._stub.GetDirectory(
                hub_pb2.GetDirectoryRequest(), timeout=limits.TRANSFER_DEADLINE_SECONDS
            )
            async for part in call:
                codec.refuse_unknown_fields(part)
                if start is None:
                    if part.WhichOneof("part") != "start":
                        raise MalformedMessage("The hub's directory has no beginning.")
                    start = part.start
                else:
                    assembler.add(part.chunk)
            if start is None:
                raise MalformedMessage("The hub sent no directory.")
            chain = codec.read_chain(list(start.certificate_chain))
            return FetchedDirectory(SignedStatement(assembler.finish(), start.signature), chain)

        return await self._call(transfer)

    async def get_log(self, path: str) -> bytes:
        """A file of the log, unverified; raises UnknownObject when the hub has none of that path (§14.6)."""

        async def transfer() -> bytes:
            assembler = codec.Assembler(limits.MAX_LOG_FILE_BYTES)
            call = self._stub.GetLog(log_codec.write_log_path(path), timeout=limits.TRANSFER_DEADLINE_SECONDS)
            async for part in call:
                codec.refuse_unknown_fields(part)
                assembler.add(part.chunk)
            return assembler.finish()

        return await self._call(transfer)

    async def put_statement(self, context: str, statement: SignedStatement) -> None:
        """Hand in a statement of this node to be logged: it is stored with what waits for the log (§14.3)."""
        request = log_codec.write_put_statement(context, statement)
        response = await self._call(
            lambda: self._stub.PutStatement(request, timeout=limits.CALL_DEADLINE_SECONDS)
        )
        codec.refuse_unknown_fields(response)

    async def renew_certificate(self, request_der: bytes, signature: bytes) -> tuple[bytes, ...]:
        """The chain (DER) with which the hub answers a certificate request, unverified (§8.6)."""
        request = hub_pb2.RenewCertificateRequest(certificate_request=request_der, signature=signature)
        response = await self._call(
            lambda: self._stub.RenewCertificate(request, timeout=limits.CALL_DEADLINE_SECONDS)
        )
        codec.refuse_unknown_fields(response)
        return codec.read_chain(list(response.certificate_chain))

    async def _note_version(self, call: Any) -> None:
        """The hub says in its metadata which version it is; one that says nothing says nothing."""
        told = dict(_pairs(await call.initial_metadata()))
        self.hub_version = checked(told.get(METADATA_KEY)) or self.hub_version

    async def _call(self, make: Callable[[], Awaitable[T]]) -> T:
        try:
            with self.line.in_use():
                response = await make()
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from None
        # What gRPC hands out in place of octets that are no message.
        if response is None:
            raise MalformedMessage("The hub's reply is no message.")
        return response

    async def _explain(self, error: grpc.aio.AioRpcError, *, broke_off: bool = False) -> CandorError:
        """`broke_off`: it ended a stream that the hub had welcomed."""
        known = from_status(error.code(), error.details(), _pairs(error.trailing_metadata()))
        if isinstance(known, ClockWrong):
            # The hub's own words name both times; who keeps this clock, only this machine knows.
            return _clock_wrong(known.message)
        if not isinstance(known, Unreachable):
            return known
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable(
                f"The hub at {self.address} did not answer in time.", remedy="It is tried again."
            )
        if broke_off:
            # To dial again says more, and sooner, than a look would: one of several replicas may have died,
            # and a look is one more handshake for those that are left. What fails then is looked into.
            return Unreachable(
                f"The connection to the hub at {self.address} broke off.", remedy="It is tried again."
            )
        return await diagnose(
            self.address,
            self._clock,
            self.line.identity,
            error.details() or "",
            proxy=self.proxy,
            federation=self._federation,
            server_name=hub_dns_name(self._federation),
        )

    # --- the stream --------------------------------------------------------------------------------------

    async def attach(self, handler: Handler) -> None:
        """Hold the stream until it ends; always raises, mostly Unreachable or ClockWrong.

        Each delivery is acknowledged after `handler.deliver` returned; several are handed on at once, in the
        order in which they came.
        """
        self.welcomed_at = None
        channel = self.line.present
        call = channel.stub.Attach(metadata=silence.own())
        mail: StreamMail | None = None
        tasks: list[asyncio.Future[None]] = []
        try:
            await call.write(codec.write_hello(Hello(self._clock.now(), handler.directory_version())))
            welcome = await self._read(call, limits.ATTACH_HELLO_DEADLINE_SECONDS)
            if not isinstance(welcome, Welcome):
                raise MalformedMessage("The hub did not begin with a welcome.")
            check_clock(self._clock.now(), welcome.hub_time)
            self.welcomed_at = asyncio.get_running_loop().time()
            await self._note_version(call)
            handler.attached(welcome)
            mail = self._mail = StreamMail(call.write, handler.deliver, handler.cosign)
            self._mail_line = channel
            self.line.settle(channel)
            tasks = [
                asyncio.create_task(self._listen(call, handler, mail)),
                asyncio.create_task(mail.write()),
                mail.failed,
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error, broke_off=self.welcomed_at is not None) from None
        except asyncio.InvalidStateError:
            # Writing to a stream that has ended; why it ended stands in its status.
            end = await end_of(call)
            raise await self._explain(end, broke_off=self.welcomed_at is not None) from None
        except TimeoutError:
            raise Unreachable(
                f"The hub at {self.address} fell silent.", remedy="It is tried again."
            ) from None
        finally:
            if mail is not None:
                if self._mail is mail:
                    self._mail = None
                # Before anything is waited for: who is cancelled then leaves nobody waiting for a receipt.
                mail.end()
            call.cancel()
            for task in tasks[:2]:
                task.cancel()
            await asyncio.gather(*tasks[:2], return_exceptions=True)
            if mail is not None:
                await mail.close()

    async def _listen(self, call: Any, handler: Handler, mail: StreamMail) -> None:
        """Take what the hub says, until the stream ends."""
        while True:
            frame = await self._read(call, SILENCE_SECONDS)
            match frame:
                case HubMail():
                    await mail.take(frame)
                case DirectoryChanged(version):
                    handler.directory_changed(version)
                case Cosign():
                    mail.cosign(frame)
                case Heartbeat(hub_time):
                    check_clock(self._clock.now(), hub_time)
                case _:
                    raise MalformedMessage("The hub welcomed this node twice.")

    async def time(self) -> datetime:
        """The hub's time, for comparing clocks; raises ClockWrong when they differ too much."""
        call = self._stub.Attach()
        try:
            await call.write(codec.write_hello(Hello(self._clock.now(), 0)))
            welcome = await self._read(call, limits.ATTACH_HELLO_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from None
        except asyncio.InvalidStateError:
            raise await self._explain(await end_of(call)) from None
        except TimeoutError:
            raise Unreachable(f"The hub at {self.address} fell silent.") from None
        finally:
            call.cancel()
        if not isinstance(welcome, Welcome):
            raise MalformedMessage("The hub did not begin with a welcome.")
        await self._note_version(call)
        check_clock(self._clock.now(), welcome.hub_time)
        return welcome.hub_time

    async def _read(self, call: Any, seconds: float) -> codec.HubFrame:
        async with asyncio.timeout(seconds):
            message = await call.read()
        if message is grpc.aio.EOF:
            raise await end_of(call)
        return codec.read_frame(message)


def _pairs(metadata: Any) -> list[tuple[str, str | bytes]]:
    return [(str(key), value) for key, value in metadata or ()]


def retry_delay(failures: int) -> float:
    """Full jitter: after an outage all members come back at once, and should not (seconds)."""
    ceiling = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures, 10))
    return random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


async def stay_attached(
    client: HubClient, handler: Handler, on_failure: Callable[[CandorError], None]
) -> None:
    """Attach, and attach again for ever; `on_failure` hears why each stream ended."""
    loop, failures = asyncio.get_running_loop(), 0

    def lost(error: CandorError) -> None:
        """An older stream, which went on until a newer one is welcomed, has ended before that."""
        if client.welcomed_at is None:
            on_failure(error)

    try:
        while True:
            try:
                await client.line.hold(lambda: client.attach(handler), lost)
                continue  # a renewed certificate has to be shown: at once, and nothing is wrong
            except CandorError as error:
                if isinstance(error, Unreachable) and client.line.holds_older:
                    log.warning("no newer stream yet", code=error.code, reason=error.message)
                else:
                    await client.line.leave_older()
                    on_failure(error)
                # Two programs with the same keys would end each other's streams for ever.
                theirs = isinstance(error, AlreadyExists)
            lived = loop.time() - client.welcomed_at if client.welcomed_at is not None else 0.0
            if lived >= (LAST_RETRY_SECONDS if theirs else SETTLED_SECONDS):
                failures = 0
            delay = retry_delay(failures)
            failures += 1
            log.info("attach again", in_seconds=round(delay, 1), failures=failures)
            if not await client.line.replaced_within(delay):
                # The old channel waits out a backoff of gRPC's own, so that after a long outage one pause of
                # a minute would follow the other.
                client.line.replace(client.line.identity)
    finally:
        await client.line.leave_older()
