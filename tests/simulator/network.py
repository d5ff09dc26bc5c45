"""Between nodes and hub: calls and streams without sockets, and everything that can happen to them.

The hub's real handlers run behind its real gatekeeper, with the certificate that the node would have shown;
messages are serialised on one side and parsed on the other; errors cross as statuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError

from candor_certs.store import read_identity
from candor_hub.app import Hub
from candor_node.config import NodeConfig
from candor_proto.errors import CandorError, DenyListStale, LimitExceeded, Unreachable
from candor_wire.codec import MessageKind
from candor_wire.status import ERROR_METADATA_KEY, to_status
from candor_wire.v1 import hub_pb2, hub_pb2_grpc
from tests.simulator.faults import Plan, Trouble
from tests.simulator.mail import Part, parts_to_hub, parts_to_node, refusal_of

Write = Callable[[bytes], Awaitable[None]]
Put = Callable[[Any], Awaitable[None]]
AuthContext = dict[str, list[bytes]]
MAX_LATE_SECONDS = 20.0
PASSING_REASONS: tuple[type[CandorError], ...] = (Unreachable, DenyListStale, LimitExceeded)


def failure(
    code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


def unavailable() -> grpc.aio.AioRpcError:
    return failure(grpc.StatusCode.UNAVAILABLE, "the connection broke")


def refusal(error: CandorError) -> grpc.aio.AioRpcError:
    code, details, name = to_status(error)
    return failure(code, details, ((ERROR_METADATA_KEY, name),))


def auth_context(config: NodeConfig) -> AuthContext:
    """What gRPC would report of a connection that shows this node's certificate (candor_certs.peer)."""
    leaf, *above = (each.public_bytes(Encoding.PEM) for each in read_identity(config.tls_identity_file).chain)
    return {
        "transport_security_type": [b"ssl"],
        "ssl_tls_version": [b"TLSv1.3"],
        "x509_pem_cert": [leaf],
        "x509_pem_cert_chain": [b"".join(above)],
    }


# --- the hub's end -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Details:
    method: str
    invocation_metadata: tuple[()] = ()


class _Context:
    """The part of a servicer's context that the hub uses."""

    def __init__(self, auth: AuthContext, peer: str, write: Callable[[Any], Awaitable[None]]) -> None:
        self._auth = auth
        self._peer = peer
        self.write = write
        self.ended = unavailable()

    def auth_context(self) -> AuthContext:
        return self._auth

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def send_initial_metadata(self, metadata: object) -> None:
        """The nodes here are all of one version."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.ended = failure(code, details, trailing)
        raise grpc.aio.AbortError("aborted")


class HubEnd:
    """A hub's service as `Hub.start` builds it, called instead of listening."""

    def __init__(self, hub: Hub) -> None:
        self._handlers: dict[str, Any] = {}
        self._gatekeeper = hub.gatekeeper()
        self._calls: set[asyncio.Task[Any]] = set()
        hub_pb2_grpc.add_HubServiceServicer_to_server(hub.servicer(), self)  # type: ignore[arg-type]  # all that it calls

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The registered ones are the same."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def call(
        self, method: str, auth: AuthContext, payload: bytes | AsyncIterator[bytes], write: Write
    ) -> asyncio.Task[bytes | None]:
        """Begin a call; its task ends with the reply, None for a stream, AioRpcError, or is cancelled."""
        task = asyncio.get_running_loop().create_task(self._serve(method, auth, payload, write))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def stop(self) -> None:
        """All calls end, as they do when the process dies."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _find(self, details: Any) -> Any:
        return self._handlers.get(details.method)

    async def _serve(
        self, method: str, auth: AuthContext, payload: bytes | AsyncIterator[bytes], write: Write
    ) -> bytes | None:
        handler: Any = await self._gatekeeper.intercept_service(self._find, _Details(method))  # type: ignore[arg-type]  # all that it reads
        if handler is None:
            raise failure(grpc.StatusCode.UNIMPLEMENTED, method)

        async def send(message: Any) -> None:
            await write(handler.response_serializer(message))

        async def parsed(parts: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for part in parts:
                yield handler.request_deserializer(part)

        context = _Context(auth, "in-process:0", send)
        request = handler.request_deserializer(payload) if isinstance(payload, bytes) else parsed(payload)
        behaviour = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        try:
            response = await behaviour(request, context)
        except grpc.aio.AbortError:
            raise context.ended from None
        return None if handler.response_streaming else bytes(handler.response_serializer(response))


# --- the network ---------------------------------------------------------------------------------------


class Network:
    """Where every call passes. `hub` is None while there is none; nodes in `cut` neither hear nor are heard.

    `die` ends the hub at once, as a kill does.
    """

    def __init__(self, plan: Plan, die: Callable[[], Awaitable[None]]) -> None:
        self.plan = plan
        self.hub: HubEnd | None = None
        self.cut: set[str] = set()
        self.die = die
        # The streams that nodes hold, by who holds them.
        self.streams: dict[str, StreamCall] = {}

    # What a hub that is not honest would do otherwise (tests.byzantine).

    def from_node(self, party: str, frame: hub_pb2.AttachRequest) -> Iterable[hub_pb2.AttachRequest]:
        """What the hub hears in place of a frame of `party`."""
        return (frame,)

    def to_node(self, party: str, frame: hub_pb2.AttachResponse) -> Iterable[hub_pb2.AttachResponse]:
        """What `party` hears in place of a frame of the hub."""
        return (frame,)

    async def answer(
        self,
        party: str,
        method: str,
        parts: list[bytes],
        serve: Callable[[list[bytes]], Awaitable[list[bytes]]],
    ) -> list[bytes]:
        """The replies to a call of `party`; `serve` asks the hub."""
        return await serve(parts)

    async def call(
        self,
        party: str,
        point: str,
        method: str,
        auth: AuthContext,
        parts: list[bytes],
        streaming: bool,
        timeout: float | None,
    ) -> list[bytes]:
        """One call of a node: its replies, or AioRpcError."""
        try:
            async with asyncio.timeout(timeout):
                return await self._troubled(party, point, method, auth, parts, streaming)
        except TimeoutError:
            raise failure(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer") from None

    async def _troubled(
        self, party: str, point: str, method: str, auth: AuthContext, parts: list[bytes], streaming: bool
    ) -> list[bytes]:
        if party in self.cut:
            await silence()
        match self.plan.at("call", point, party):
            case Trouble.LOST_BEFORE:
                raise unavailable()
            case Trouble.SILENCE_BEFORE:
                await silence()
            case Trouble.REFUSED:
                raise refusal(self.plan.draw.choice(PASSING_REASONS)("Not now.", remedy="Try again."))
            case Trouble.HUB_DIES_BEFORE:
                await self.die()
                raise unavailable()
            case Trouble.LATE:
                await asyncio.sleep(self.plan.draw.random() * MAX_LATE_SECONDS)
            case Trouble.TWICE:
                first = asyncio.ensure_future(self._served(party, method, auth, parts, streaming))
                again = asyncio.ensure_future(self._served(party, method, auth, parts, streaming))
                await asyncio.wait({first, again})
                again.exception()
                return first.result()
            case Trouble.LOST_AFTER:
                await self._served(party, method, auth, parts, streaming)
                raise unavailable()
            case Trouble.SILENCE_AFTER:
                await self._served(party, method, auth, parts, streaming)
                await silence()
            case Trouble.HUB_DIES_AFTER:
                await self._served(party, method, auth, parts, streaming)
                await self.die()
                raise unavailable()
            case _:
                pass
        replies = await self._served(party, method, auth, parts, streaming)
        if party in self.cut:
            await silence()
        return replies

    async def _served(
        self, party: str, method: str, auth: AuthContext, parts: list[bytes], streaming: bool
    ) -> list[bytes]:
        async def serve(asked: list[bytes]) -> list[bytes]:
            return await self._asked(method, auth, asked, streaming)

        return await self.answer(party, method.rpartition("/")[2], parts, serve)

    async def _asked(
        self, method: str, auth: AuthContext, parts: list[bytes], streaming: bool
    ) -> list[bytes]:
        if self.hub is None:
            raise unavailable()
        replies: list[bytes] = []

        async def collect(octets: bytes) -> None:
            replies.append(octets)

        async def given() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        task = self.hub.call(method, auth, given() if streaming else parts[0], collect)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        if task.cancelled():
            raise unavailable()
        reply = task.result()
        return replies if reply is None else [reply]


async def silence() -> None:
    """Nothing happens until the caller has had enough."""
    await asyncio.get_running_loop().create_future()


# --- the node's end ------------------------------------------------------------------------------------


def _parsed(parse: Callable[[bytes], Any], octets: bytes) -> Any:
    """As gRPC does it: None in place of octets that are no message."""
    try:
        return parse(octets)
    except DecodeError:
        return None


class Channel:
    """Stands where a node's grpc.aio.Channel does."""

    def __init__(self, network: Network, party: str, auth: AuthContext, alive: Callable[[], None]) -> None:
        """`alive` raises when the node is dead: the dead do not call."""
        self.network = network
        self.party = party
        self.auth = auth
        self.alive = alive

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        async def call(request: Any, timeout: float | None = None) -> Any:
            (reply,) = await self._call(method, [request_serializer(request)], False, timeout, request)
            return _parsed(response_deserializer, reply)

        return call

    def stream_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        async def call(requests: AsyncIterator[Any], timeout: float | None = None) -> Any:
            parts = [request_serializer(request) async for request in requests]
            (reply,) = await self._call(method, parts, True, timeout)
            return _parsed(response_deserializer, reply)

        return call

    def unary_stream(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        async def call(request: Any, timeout: float | None = None) -> AsyncIterator[Any]:
            for reply in await self._call(method, [request_serializer(request)], False, timeout):
                yield _parsed(response_deserializer, reply)

        return call

    def stream_stream(
        self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any
    ) -> Any:
        def call(timeout: float | None = None, metadata: object = ()) -> StreamCall:
            # The hub here hears no metadata: its heartbeats are those for nodes that say nothing of silence.
            self.alive()
            return StreamCall(self, method, request_serializer, response_deserializer)

        return call

    async def _call(
        self, method: str, parts: list[bytes], streaming: bool, timeout: float | None, request: Any = None
    ) -> list[bytes]:
        self.alive()
        point = method.rpartition("/")[2]
        if isinstance(request, hub_pb2.SubmitRequest):
            point = f"{point} {MessageKind(request.envelope.kind).name}"
        replies = await self.network.call(self.party, point, method, self.auth, parts, streaming, timeout)
        self.alive()
        return replies

    async def close(self, grace: float | None = None) -> None:
        """Nothing is held."""


class StreamCall:
    """The node's side of a stream that is held open."""

    def __init__(self, channel: Channel, method: str, serialise: Any, parse: Any) -> None:
        self._channel = channel
        self._network = channel.network
        self._method = method
        self._serialise = serialise
        self._parse = parse
        self._to_hub: asyncio.Queue[bytes] = asyncio.Queue()
        self._to_node: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._late: set[asyncio.Task[None]] = set()
        # Of the submissions on this stream, by number: their kinds, and what goes wrong after the write.
        self._submitted: dict[int, str] = {}
        self._after: dict[int, Trouble] = {}
        self._ended: grpc.aio.AioRpcError | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    # --- as grpc.aio has it ------------------------------------------------------------------------------

    async def write(self, message: Any) -> None:
        self._channel.alive()
        if self._ended is not None:
            raise asyncio.InvalidStateError("the stream has ended")
        for frame in self._network.from_node(self._channel.party, message):
            await self._pass(list(parts_to_hub(frame)), self._serialise(frame), self._to_hub.put)

    async def read(self) -> Any:
        octets = None if self._ended is not None and self._to_node.empty() else await self._to_node.get()
        self._channel.alive()
        return grpc.aio.EOF if octets is None else _parsed(self._parse, octets)

    def cancel(self) -> bool:
        self._end(failure(grpc.StatusCode.CANCELLED, "cancelled"))
        return True

    async def code(self) -> grpc.StatusCode:
        return self._status().code()

    async def details(self) -> str:
        return self._status().details() or ""

    async def initial_metadata(self) -> Any:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> Any:
        return self._status().trailing_metadata()

    # --- for a hub that is not honest ----------------------------------------------------------------------

    async def say(self, frame: hub_pb2.AttachResponse) -> None:
        """Tell the node something of which its hub knows nothing."""
        self.say_octets(frame.SerializeToString())

    def say_soon(self, frame: hub_pb2.AttachResponse) -> None:
        """As `say`, without waiting."""
        self.say_octets(frame.SerializeToString())

    def say_octets(self, octets: bytes) -> None:
        """Something that may be no frame at all."""
        self._to_node.put_nowait(octets)

    # --- inside ------------------------------------------------------------------------------------------

    def _status(self) -> grpc.aio.AioRpcError:
        return self._ended or unavailable()

    def _end(self, error: grpc.aio.AioRpcError) -> None:
        if self._ended is None:
            self._ended = error
            self._to_node.put_nowait(None)
            for task in (self._task, *self._late):
                if task is not asyncio.current_task():
                    task.cancel()

    async def _run(self) -> None:
        network = self._network
        network.streams[self._channel.party] = self
        if self._channel.party in network.cut:
            await silence()
        match network.plan.at("call", "Attach", self._channel.party):
            case Trouble.REFUSED:
                reason = network.plan.draw.choice(PASSING_REASONS)
                self._end(refusal(reason("Not now.", remedy="Try again.")))
                return
            case Trouble.SILENCE_BEFORE | Trouble.SILENCE_AFTER:
                await silence()
            case None:
                pass
            case _:
                self._end(unavailable())
                return
        if network.hub is None:
            self._end(unavailable())
            return

        async def requests() -> AsyncIterator[bytes]:
            while True:
                yield await self._to_hub.get()

        task = network.hub.call(self._method, self._channel.auth, requests(), self._from_hub)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        if task.cancelled():
            self._end(unavailable())
            return
        error = task.exception()
        self._end(error if isinstance(error, grpc.aio.AioRpcError) else failure(grpc.StatusCode.OK, ""))

    async def _from_hub(self, octets: bytes) -> None:
        for frame in self._network.to_node(self._channel.party, hub_pb2.AttachResponse.FromString(octets)):
            await self._frame_from_hub(frame, frame.SerializeToString())

    async def _frame_from_hub(self, message: hub_pb2.AttachResponse, octets: bytes) -> None:
        parts = list(parts_to_node(message, self._submitted))
        # What was to go wrong once the hub has done it: its receipt says that it has.
        after = [None if part.number is None else self._after.pop(part.number, None) for part in parts]
        if Trouble.HUB_DIES_AFTER in after:
            await self._network.die()
        elif Trouble.BREAK_AFTER in after:
            self._end(unavailable())
        elif any(after):
            left = [part for part, trouble in zip(parts, after, strict=True) if trouble is None]
            await self._pass(left, b"", self._to_node.put)
        else:
            await self._pass(parts, octets, self._to_node.put)

    async def _pass(self, parts: list[Part], whole: bytes, put: Put) -> None:
        """One frame, and what becomes of its parts on the way; empty `whole`: it cannot pass as it is."""
        if self._channel.party in self._network.cut:
            return
        troubles = [self._trouble(part) for part in parts]
        if whole and not any(troubles):
            await put(whole)
            return
        for part, trouble in zip(parts, troubles, strict=True):
            await self._pass_part(part, trouble, put)
            if self._ended is not None:
                return

    def _trouble(self, part: Part) -> Trouble | None:
        if part.submits and part.number is not None:
            self._submitted[part.number] = part.kind
        group = "submission" if part.submits else "frame"
        return self._network.plan.at(group, part.point, self._channel.party)

    async def _pass_part(self, part: Part, trouble: Trouble | None, put: Put) -> None:
        match trouble:
            case Trouble.LOST_BEFORE:
                return
            case Trouble.BREAK:
                self._end(unavailable())
                return
            case Trouble.HUB_DIES_BEFORE:
                await self._network.die()
                return
            case Trouble.REFUSED if part.number is not None:
                reason = self._network.plan.draw.choice(PASSING_REASONS)
                refused = refusal_of(part.number, reason("Not now.", remedy="Try again."))
                await self._to_node.put(refused)
                return
            case Trouble.LOST_AFTER | Trouble.BREAK_AFTER | Trouble.HUB_DIES_AFTER if part.number is not None:
                self._after[part.number] = trouble
            case Trouble.TWICE:
                await put(part.octets)
            case Trouble.LATE:
                self._later(part.octets, put)
                return
            case _:
                pass
        await put(part.octets)

    def _later(self, octets: bytes, put: Put) -> None:
        async def later() -> None:
            await asyncio.sleep(self._network.plan.draw.random() * MAX_LATE_SECONDS)
            await put(octets)

        task = asyncio.get_running_loop().create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
