"""The one call of a node that has no good certificate: to the hub's enrolment service (§8.5, §8.7).

Used to join, to join again with an invitation, and to come back because the operator said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from cryptography import x509

from candor_certs import mtls
from candor_node.clock import Clock, whose_clock
from candor_node.diagnosis import diagnose
from candor_node.proxy import Proxy, channel_options
from candor_proto.errors import ClockWrong, Unreachable
from candor_proto.ids import FederationName
from candor_wire.limits import CALL_DEADLINE_SECONDS
from candor_wire.status import from_status
from candor_wire.v1 import enrolment_pb2, enrolment_pb2_grpc


@dataclass(frozen=True)
class Door:
    """Where a hub takes enrolments, and how to get there.

    `shares_address`: members dial the same address, so that the name in the handshake leads to the right one.
    """

    federation: FederationName
    address: str
    shares_address: bool
    roots: Sequence[x509.Certificate]
    proxy: Proxy | None


async def enrol(door: Door, message: enrolment_pb2.EnrolRequest, clock: Clock) -> enrolment_pb2.EnrolResponse:
    """What the hub answers, unverified; raises what it refuses with, ClockWrong, or Unreachable in words."""
    server_name = mtls.enrolment_server_name(door.federation, shares_address=door.shares_address)
    async with grpc.aio.secure_channel(
        door.address,
        mtls.enrolment_channel_credentials(door.roots),
        options=[*mtls.named_options(server_name), *channel_options(door.proxy)],
    ) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        try:
            response = await stub.Enrol(message, timeout=CALL_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            trailing = [(str(key), value) for key, value in error.trailing_metadata() or ()]
            known = from_status(error.code(), error.details(), trailing)
            if isinstance(known, ClockWrong):
                # The hub's own words name both times; who keeps this clock, only this machine knows.
                known = ClockWrong(f"{known.message} {whose_clock()}", remedy=known.remedy)
            if isinstance(known, Unreachable):
                known = await diagnose(
                    door.address,
                    clock,
                    details=error.details() or "",
                    proxy=door.proxy,
                    federation=door.federation,
                    server_name=server_name,
                )
            raise known from None
    if not isinstance(response, enrolment_pb2.EnrolResponse):
        raise AssertionError("the stub returns what the service defines")
    return response
