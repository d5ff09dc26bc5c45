"""The Unix socket on which the node hears its own commands.

Rules of this file:
- whoever may open the socket is the node's own user: it is mode 0600 in a folder of mode 0700;
- every service on it stands in `SERVICES` with the operation of each method, and behind the doors (`doors`);
- every exception of a handler becomes a status by `candor_wire.status`, here and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from candor_node import (
    service,
    service_accountability,
    service_intake,
    service_office,
    service_packs,
    service_recalls,
    service_records,
    service_subject,
)
from candor_node.doors import Doors, methods
from candor_node.logs import log
from candor_node.service import Context, LocalServicer
from candor_node.service_accountability import AccountabilityServicer
from candor_node.service_intake import IntakeServicer
from candor_node.service_office import OfficeServicer
from candor_node.service_packs import PacksServicer
from candor_node.service_recalls import RecallServicer
from candor_node.service_records import RecordsServicer
from candor_node.service_subject import SubjectServicer
from candor_proto.errors import CandorError, StoreUnusable
from candor_records.roles import Operation
from candor_wire import limits
from candor_wire.codec import refuse_unknown_fields
from candor_wire.status import ERROR_METADATA_KEY, to_status
from candor_wire.v1 import (
    accountability_pb2,
    accountability_pb2_grpc,
    intake_pb2,
    intake_pb2_grpc,
    local_pb2,
    local_pb2_grpc,
    office_pb2,
    office_pb2_grpc,
    packs_pb2,
    packs_pb2_grpc,
    recall_local_pb2,
    recall_local_pb2_grpc,
    records_pb2,
    records_pb2_grpc,
    subject_pb2,
    subject_pb2_grpc,
)

if TYPE_CHECKING:
    from candor_node.app import Node


@dataclass(frozen=True)
class LocalService:
    """One service on the socket: its generated modules, its servicer, and the operation of each method."""

    name: str
    messages: ModuleType
    add: Callable[[Any, grpc.aio.Server], None]
    make: Callable[[Node], Any]
    operations: Mapping[str, Operation]


SERVICES = (
    LocalService(
        "AccountabilityService",
        accountability_pb2,
        accountability_pb2_grpc.add_AccountabilityServiceServicer_to_server,
        AccountabilityServicer,
        service_accountability.OPERATIONS,
    ),
    LocalService(
        "LocalService",
        local_pb2,
        local_pb2_grpc.add_LocalServiceServicer_to_server,
        LocalServicer,
        service.OPERATIONS,
    ),
    LocalService(
        "IntakeService",
        intake_pb2,
        intake_pb2_grpc.add_IntakeServiceServicer_to_server,
        IntakeServicer,
        service_intake.OPERATIONS,
    ),
    LocalService(
        "OfficeService",
        office_pb2,
        office_pb2_grpc.add_OfficeServiceServicer_to_server,
        OfficeServicer,
        service_office.OPERATIONS,
    ),
    LocalService(
        "PacksService",
        packs_pb2,
        packs_pb2_grpc.add_PacksServiceServicer_to_server,
        PacksServicer,
        service_packs.OPERATIONS,
    ),
    LocalService(
        "RecallService",
        recall_local_pb2,
        recall_local_pb2_grpc.add_RecallServiceServicer_to_server,
        RecallServicer,
        service_recalls.OPERATIONS,
    ),
    LocalService(
        "RecordsService",
        records_pb2,
        records_pb2_grpc.add_RecordsServiceServicer_to_server,
        RecordsServicer,
        service_records.OPERATIONS,
    ),
    LocalService(
        "SubjectService",
        subject_pb2,
        subject_pb2_grpc.add_SubjectServiceServicer_to_server,
        SubjectServicer,
        service_subject.OPERATIONS,
    ),
)


def all_operations() -> dict[str, Operation]:
    """The operation of every method on the socket, by full method name."""
    found: dict[str, Operation] = {}
    for each in SERVICES:
        found |= methods(each.operations, each.messages, each.name)
    return found


class LocalServer:
    """Serves them all on the socket of the node's settings."""

    def __init__(self, node: Node) -> None:
        self._path = node.config.socket
        self._server = grpc.aio.server(
            interceptors=[_Errors(), Doors(node.store, node.clock, all_operations())],
            options=[
                ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
            ],
        )
        for each in SERVICES:
            each.add(each.make(node), self._server)

    async def start(self) -> None:
        """Raises StoreUnusable when the socket cannot be made."""
        # The database's lock says that no other process of this node lives: what lies here is left over.
        self._path.unlink(missing_ok=True)
        try:
            self._server.add_insecure_port(f"unix:{self._path}")
            await self._server.start()
            self._path.chmod(0o600)
        except (RuntimeError, OSError):
            raise StoreUnusable(
                f"The socket {self._path} cannot be made.",
                remedy="Check its folder, or set another `socket`.",
            ) from None

    async def stop(self) -> None:
        await self._server.stop(grace=1.0)
        self._path.unlink(missing_ok=True)


class _Errors(grpc.aio.ServerInterceptor):
    """Turns every exception of a handler into its status; what is not ours is logged and withheld."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                _streaming(handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                _guarded(handler.stream_unary), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _guarded(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )


def _guarded(behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            if not inspect.isasyncgen(request) and not hasattr(request, "__aiter__"):
                refuse_unknown_fields(request)
            return await behaviour(request, context)
        except Exception as error:
            return await _abort(context, error)

    return guarded


def _streaming(
    behaviour: Callable[[Any, Context], AsyncIterator[Any]],
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            # A stream's parts are looked at by whoever takes them.
            if not hasattr(request, "__aiter__"):
                refuse_unknown_fields(request)
            async for response in behaviour(request, context):
                yield response
        except Exception as error:
            await _abort(context, error)

    return guarded


async def _abort(context: Context, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, CandorError):
        log.exception("a command failed")
    status, details, code = to_status(error)
    await context.abort(status, details, ((ERROR_METADATA_KEY, code),))
