"""In front of every handler: who is calling, may it call this, and what its errors look like outside.

Order (RELIABILITY.md §2): turn, authenticate, revocation, authorise, standing, issued here, unknown
fields, then the handler. The directory, and with it the deny list, is looked up after every call's
beginning: a revocation holds from the next call on. Calls that begin together share a look.

Rules of this file:
- nothing in a request is believed about identity; handlers take the caller from `caller()`;
- a method that is not in `ROLES` may be called by nobody;
- every exception becomes a status by `candor_wire.status`; what is not ours is logged and withheld.

Handlers that stream responses leave here as coroutines that call `context.write`: an interceptor in front of
this one that wants to see responses wraps the context.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from candor_certs.chain import PeerIdentity
from candor_certs.names import Role
from candor_certs.peer import TLS_VERSION, identity_from_auth_context, shown_node
from candor_hub.clock import Clock, loop_seconds
from candor_hub.directory import DirectoryKeeper, Snapshot
from candor_hub.governor import Gauge
from candor_hub.hold_off import HoldOff
from candor_hub.issued import Issued
from candor_hub.lines import Line, Lines, at_line, present_line
from candor_hub.observer import Nobody, Observer
from candor_hub.pace import Pace
from candor_hub.refusals import Refusals
from candor_hub.turns import Turns
from candor_hub.warden import check_member
from candor_hub.work import Work
from candor_proto.errors import CandorError, CertificateRefused, MalformedMessage, Unreachable, WrongRole
from candor_proto.ids import FederationName, NodeId
from candor_wire.codec import refuse_unknown_fields
from candor_wire.limits import CALL_DEADLINE_SECONDS, TRANSFER_DEADLINE_SECONDS
from candor_wire.status import ERROR_METADATA_KEY, to_status
from candor_wire.v1 import hub_pb2

log = structlog.get_logger(__name__)
# Texts, because these classes are generic in their stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# One look begins so long after the other, and as long while the process is busy: with a look for each of a
# hundred calls a second the database would have most of the interpreter.
LOOK_SECONDS, LOOK_SECONDS_WHILE_BUSY = 0.005, 0.025
# What a call that was refused counts as besides: who calls for nothing is served less.
REFUSED_COST = 2.0
_HUB = "/candor.v1.HubService/"
_ATTACH = _HUB + "Attach"
ROLES: Mapping[str, frozenset[Role]] = {
    _ATTACH: frozenset({Role.NODE}),
    _HUB + "Submit": frozenset({Role.NODE}),
    _HUB + "PutSegment": frozenset({Role.NODE}),
    _HUB + "GetSegment": frozenset({Role.NODE}),
    _HUB + "PutHead": frozenset({Role.NODE}),
    _HUB + "GetDirectory": frozenset({Role.NODE}),
    _HUB + "GetQuota": frozenset({Role.NODE}),
    _HUB + "RenewCertificate": frozenset({Role.NODE}),
    _HUB + "GetLog": frozenset({Role.NODE}),
    _HUB + "PutStatement": frozenset({Role.NODE}),
    # Whether the hub serves; `Watch` would hold a stream for nothing.
    "/grpc.health.v1.Health/Check": frozenset({Role.NODE}),
}
# How long a call may take on this side; a stream that is held open has no end.
MAX_SECONDS: Mapping[str, float | None] = {
    _ATTACH: None,
    _HUB + "PutSegment": TRANSFER_DEADLINE_SECONDS,
    _HUB + "GetSegment": TRANSFER_DEADLINE_SECONDS,
    _HUB + "GetDirectory": TRANSFER_DEADLINE_SECONDS,
    _HUB + "GetLog": TRANSFER_DEADLINE_SECONDS,
}


@dataclass(frozen=True)
class Caller:
    """The member behind a call, and the directory it was admitted by."""

    node: NodeId
    identity: PeerIdentity
    snapshot: Snapshot


_CALLER: ContextVar[Caller | None] = ContextVar("candor_hub_caller")


def caller() -> Caller:
    """Who makes the call that is being handled; set by `NodeGate` and nobody else."""
    found = _CALLER.get()
    assert found is not None  # `lasting_caller` was asked before
    return found


def lasting_caller() -> tuple[NodeId, PeerIdentity]:
    """As `caller`, of a call that may last for days, once: what it was admitted by is let go.

    A thousand streams that began under as many versions of the directory would keep all of them.
    """
    found = caller()
    _CALLER.set(None)
    return found.node, found.identity


# The member that calls, or None where nobody has a certificate.
Admit = Callable[[str, Context], Awaitable[NodeId | None]]


class _Looks:
    """Looks into the database for calls: one that comes while a look is under way shares the next one, and
    one look begins LOOK_SECONDS after the other.
    """

    def __init__(self, directory: DirectoryKeeper, turns: Turns, gauge: Gauge) -> None:
        self._directory = directory
        self._turns = turns
        self._gauge = gauge
        self._not_before = 0.0
        self._under_way: asyncio.Task[Snapshot] | None = None
        self._next: asyncio.Task[Snapshot] | None = None

    async def fresh(self) -> Snapshot:
        """The directory as of a moment after this was called; raises StoreUnusable."""
        if self._next is None:
            self._next = asyncio.create_task(self._look(self._under_way))
        # One caller's going away must not end the look of the others.
        return await asyncio.shield(self._next)

    async def _look(self, before: asyncio.Task[Snapshot] | None) -> Snapshot:
        if before is not None:
            await asyncio.wait({before})
        loop = asyncio.get_running_loop()
        pause = self._not_before - loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        self._not_before = loop.time() + (LOOK_SECONDS_WHILE_BUSY if self._gauge.busy else LOOK_SECONDS)
        self._under_way, self._next = self._next, None
        return await self._turns.run(self, self._directory.latest)


class NodeGate:
    """Admits active members with good certificates to the methods of their role."""

    def __init__(
        self,
        federation: FederationName,
        directory: DirectoryKeeper,
        issued: Issued,
        clock: Clock,
        turns: Turns,
        gauge: Gauge,
    ) -> None:
        """`turns` are those of the threads that look into the database for calls."""
        self._federation = federation
        self._turns = turns
        self._looks = _Looks(directory, turns, gauge)
        self._issued = issued
        self._clock = clock

    async def admit(self, method: str, context: Context) -> NodeId:
        """Who calls, as `caller()` says from now on.

        Raises what `identity_from_auth_context` does, NotAMember or MemberSuspended.
        """
        now = self._clock.now()
        snapshot = await self._looks.fresh()
        identity = identity_from_auth_context(
            context.auth_context(),
            federation=self._federation,
            now=now,
            deny_list=snapshot.deny_list(now),
            required_roles=ROLES.get(method, frozenset()),
        )
        node = identity.name.node
        if node is None:
            raise WrongRole("This certificate names no node.")
        check_member(snapshot, node)
        if not self._issued.knows(identity):
            await self._issued.check(identity, self._turns)
            self._issued.remember(identity)
        _CALLER.set(Caller(node, identity, snapshot))
        return node


async def admit_anybody(_method: str, context: Context) -> None:
    """For enrolment: the caller has no certificate yet, but the connection is as good as any."""
    if list(context.auth_context().get("ssl_tls_version", ())) != [TLS_VERSION]:
        raise CertificateRefused("The connection does not use TLS 1.3.")


class _Unreadable:
    """Stands for a request that is no protobuf message."""


def _empty_frame() -> Any:
    """Stands for a frame of a stream that is none: an empty one, which `codec` refuses as well."""
    return hub_pb2.AttachRequest()


class Gatekeeper(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server in turns, `admit`, strict reading, a deadline and the error table."""

    def __init__(
        self,
        admit: Admit,
        lines: Lines,
        work: Work,
        hold_off: HoldOff,
        pace: Pace | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`pace` is that of members' calls unless another is given; `observer` hears how each call ended."""
        self._admit = admit
        self._pace = pace or work.pace
        self._lines = lines
        self._work = work
        self._hold_off = hold_off
        self._observer = observer or Nobody()
        self._refusals = Refusals()
        # By method, of which there are as many as there are handlers.
        self._wrapped: dict[str, Handler] = {}
        self._unknown: Handler = grpc.stream_stream_rpc_method_handler(self._refuse_unknown)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            # gRPC would answer by itself, as often as it is asked.
            return self._unknown
        method = handler_call_details.method
        if method not in self._wrapped:
            self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Handler, method: str) -> Handler:
        behaviour: Any = (
            (handler.stream_stream if handler.request_streaming else handler.unary_stream)
            if handler.response_streaming
            else (handler.stream_unary if handler.request_streaming else handler.unary_unary)
        )
        if behaviour is None:
            raise TypeError(f"{method} has no handler.")
        run: Callable[[Any, Context], Awaitable[Any]] = behaviour
        if handler.response_streaming and inspect.isasyncgenfunction(behaviour):
            run = self._sending(behaviour)

        async def guarded(request: Any, context: Context) -> Any:
            began, code = loop_seconds(), ""
            end = self._observer.span(method)
            line = self._lines.of(context.peer())
            at_line(line)
            if handler.request_streaming:
                line.streams(1)
            elif isinstance(request, Message):
                line.took(request.ByteSize())
            try:
                result = await admitted(request, context, line)
                line.ended()
                return result
            except TimeoutError:
                code = Unreachable.code
                await self._abort(context, line, method, _took_too_long())
            except grpc.aio.AbortError:
                raise
            except asyncio.CancelledError:
                self._hold_off.given_up(line, loop_seconds() - began)
                raise
            except Exception as error:
                code = getattr(error, "code", CandorError.code)
                await self._abort(context, line, method, error)
            finally:
                if handler.request_streaming:
                    line.streams(-1)
                end()
                self._observer.called(method, code, loop_seconds() - began)

        async def admitted(request: Any, context: Context, line: Line) -> Any:
            seconds = MAX_SECONDS.get(method, CALL_DEADLINE_SECONDS)
            if line.node is None and line.shown is None:
                line.shown = shown_node(context.auth_context())
            who = line.who
            async with asyncio.timeout(CALL_DEADLINE_SECONDS):
                await (self._work.pace_of_streams if method == _ATTACH else self._pace).wait(who)
                self._hold_off.check(line)
                async with self._work.calls.place(who):
                    node = await self._admit(method, context)
            if node is not None:
                line.admitted(node)
                self._hold_off.check(line)
            checked = request
            if method != _ATTACH:
                checked = _each(request) if handler.request_streaming else _check(request)
            async with asyncio.timeout(seconds):
                return await run(checked, context)

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        # Whoever reads a frame of the stream refuses an unreadable one and unknown fields in it, and once is
        # enough for what comes a thousand times a second.
        read = _lenient(handler.request_deserializer, _empty_frame if method == _ATTACH else _Unreadable)
        return make(guarded, read, handler.response_serializer)

    def _sending(
        self, behaviour: Callable[[Any, Context], AsyncIterator[Any]]
    ) -> Callable[..., Awaitable[None]]:
        async def run(request: Any, context: Context) -> None:
            line = present_line()
            await self._work.downloads.send(
                line.who if line else None, behaviour(request, context), counted(context)
            )

        return run

    async def _refuse_unknown(self, _requests: Any, context: Context) -> None:
        """As gRPC would, at the caller's turn."""
        line, began = self._lines.of(context.peer()), loop_seconds()
        try:
            async with asyncio.timeout(CALL_DEADLINE_SECONDS):
                await self._pace.wait(line.who)
        except asyncio.CancelledError:
            self._hold_off.given_up(line, loop_seconds() - began)
            raise
        except TimeoutError:
            pass  # no turn came; it is told all the same
        self._hold_off.unknown_method(line)
        line.ended()
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "This hub has no such method.")

    async def _abort(self, context: Context, line: Line, method: str, error: Exception) -> None:
        status, details, code = to_status(error)
        if status is grpc.StatusCode.INTERNAL:
            log.error("failed", method=method, code=getattr(error, "code", code), exc_info=error)
        else:
            self._refusals.note(method, code, line.address)
            self._hold_off.refused(line, code)
            if method != _ATTACH:
                self._pace.charge(line.who, REFUSED_COST)
        line.ended()
        await context.abort(status, details, ((ERROR_METADATA_KEY, code),))


def counted(context: Context) -> Callable[[Any], Awaitable[None]]:
    """`context.write`, that counts what it writes for the connection of the call that is being handled."""
    line = present_line()

    async def write(response: Any) -> None:
        await context.write(response)
        if line is not None:
            line.wrote(response.ByteSize())

    return write


def _took_too_long() -> Unreachable:
    return Unreachable("The call took too long.", remedy="Try again.")


def _lenient(
    deserialise: Callable[[bytes], Any] | None, instead: Callable[[], Any]
) -> Callable[[bytes], Any] | None:
    """gRPC answers an unreadable request by itself, with a status of its own: let something else through."""
    if deserialise is None:
        return None

    def read(octets: bytes) -> Any:
        line = present_line()
        if line is not None:
            line.took(len(octets))
        try:
            return deserialise(octets)
        except DecodeError:
            return instead()

    return read


def _check(request: Any) -> Any:
    if not isinstance(request, Message):
        raise MalformedMessage("A request that is no message of this protocol.")
    refuse_unknown_fields(request)
    return request


async def _each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _check(request)
