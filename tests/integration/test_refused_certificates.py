"""Who gets in, by a clock and a deny list that the test sets (docs/protocol.md §8.1, §8.2).

Two doors: gRPC's handshake (the call ends UNAVAILABLE, the interceptor never sees it) and the check on each
call (our error's code is the call's detail). Which door refuses what is part of what is asserted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc import aio

from candor_certs.mtls import (
    channel_credentials,
    client_options,
    enrolment_channel_credentials,
    rotating_server_credentials,
    server_credentials,
    server_options,
)
from candor_certs.names import Role
from candor_certs.peer import check_claimed_node, identity_from_auth_context
from candor_certs.revocation import DenyList
from candor_certs.store import TlsIdentity
from candor_proto.errors import CandorError
from candor_proto.ids import NodeId
from tests.certificates import (
    FEDERATION,
    NODE,
    OTHER_NODE,
    FlawedCertificates,
    Presented,
    federation_authority,
)
from tests.patience import PATIENCE_SECONDS

METHOD = "/candor.test.Door/Knock"
AUTHORITY = federation_authority()
FLAWED = FlawedCertificates(AUTHORITY)


class Guard(aio.ServerInterceptor):
    """The smallest interceptor that asks `identity_from_auth_context`; the request is the claimed node."""

    def __init__(self, denied: frozenset[int] = frozenset()) -> None:
        self.now = datetime.now(UTC)
        self.deny_list = DenyList(denied, issued_at=self.now)
        self.refusals: list[str] = []
        self.admitted: list[str] = []

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        async def knock(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
            try:
                identity = identity_from_auth_context(
                    context.auth_context(),
                    federation=FEDERATION,
                    now=self.now,
                    deny_list=self.deny_list,
                    required_roles=(Role.NODE,),
                )
                check_claimed_node(identity, NodeId(request.decode()))
            except CandorError as error:
                self.refusals.append(error.code)
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.code)
            self.admitted.append(identity.name.uri)
            return b"come in"

        return grpc.unary_unary_rpc_method_handler(knock)


def hub_credentials(hub: Presented) -> grpc.ServerCredentials:
    """The product's own, from a hub's key and chain."""
    return server_credentials(hub.key, hub.chain, [AUTHORITY.root])


@asynccontextmanager
async def serving(guard: Guard, credentials: grpc.ServerCredentials) -> AsyncIterator[int]:
    """A server with the hub's settings on a free port of 127.0.0.1."""
    server = aio.server(interceptors=[guard], options=server_options(nodes=5))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "candor.test.Door",
                {"Knock": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")},
            ),
        )
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def knock(port: int, credentials: grpc.ChannelCredentials, claimed: NodeId = NODE) -> bytes:
    async with aio.secure_channel(
        f"127.0.0.1:{port}", credentials, options=client_options(FEDERATION)
    ) as channel:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        return await call(claimed.value.encode(), timeout=PATIENCE_SECONDS)


def outcome(
    guard: Guard,
    credentials: grpc.ChannelCredentials,
    claimed: NodeId = NODE,
    server: grpc.ServerCredentials | None = None,
) -> tuple[grpc.StatusCode, str]:
    """Status and detail of one call to a hub (or to `server`)."""

    async def run() -> tuple[grpc.StatusCode, str]:
        async with serving(guard, server or hub_credentials(FLAWED.good_hub())) as port:
            try:
                reply = await knock(port, credentials, claimed)
            except aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return grpc.StatusCode.OK, reply.decode()

    return asyncio.run(run())


def node_credentials(shown: Presented) -> grpc.ChannelCredentials:
    return shown.channel_credentials(AUTHORITY.root)


# --- the good one -----------------------------------------------------------------------------------


def test_a_node_with_a_good_certificate_is_admitted() -> None:
    guard, good = Guard(), FLAWED.good()
    assert outcome(guard, channel_credentials(good.key, good.chain, [AUTHORITY.root])) == (
        grpc.StatusCode.OK,
        "come in",
    )
    assert guard.admitted == [f"spiffe://{FEDERATION}/node/{NODE}"]


# --- refused ------------------------------------------------------------------------------------------
# Each flaw of certificate and connection has its cell in test_tls_matrix.py, at a hub that runs.


def test_a_caller_without_a_certificate_is_refused() -> None:
    guard = Guard()
    status, _ = outcome(guard, enrolment_channel_credentials([AUTHORITY.root]))
    assert status is grpc.StatusCode.UNAVAILABLE
    assert (guard.admitted, guard.refusals) == ([], [])


def test_a_message_in_the_name_of_another_member_is_refused() -> None:
    guard = Guard()
    refused = (grpc.StatusCode.UNAUTHENTICATED, "identity_mismatch")
    assert outcome(guard, node_credentials(FLAWED.other_agency())) == refused
    assert (guard.admitted, guard.refusals) == ([], ["identity_mismatch"])


def test_a_revoked_certificate_is_refused() -> None:
    guard = Guard(denied=frozenset({4711}))
    refused = (grpc.StatusCode.UNAUTHENTICATED, "certificate_revoked")
    assert outcome(guard, node_credentials(FLAWED.good(serial=4711))) == refused
    assert outcome(guard, node_credentials(FLAWED.good(serial=4712))) == (grpc.StatusCode.OK, "come in")


def test_everything_a_revoked_issuing_authority_certified_is_refused() -> None:
    guard = Guard(denied=frozenset({AUTHORITY.certificate.serial_number}))
    status, code = outcome(guard, node_credentials(FLAWED.good()))
    assert (status, code) == (grpc.StatusCode.UNAUTHENTICATED, "certificate_revoked")


def test_a_stale_deny_list_refuses_everybody() -> None:
    guard = Guard()
    guard.deny_list = DenyList(frozenset(), issued_at=guard.now - timedelta(minutes=6))
    status, code = outcome(guard, node_credentials(FLAWED.good()))
    assert (status, code) == (grpc.StatusCode.UNAUTHENTICATED, "deny_list_stale")


def test_a_connection_outlives_its_certificate_but_its_calls_do_not() -> None:
    """One connection, one handshake; the clock passes the certificate's end between two calls."""
    guard = Guard()

    async def run() -> None:
        async with (
            serving(guard, hub_credentials(FLAWED.good_hub())) as port,
            aio.secure_channel(
                f"127.0.0.1:{port}", node_credentials(FLAWED.good()), options=client_options(FEDERATION)
            ) as channel,
        ):
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            assert await call(NODE.value.encode(), timeout=PATIENCE_SECONDS) == b"come in"
            guard.now += timedelta(days=7, minutes=1)
            guard.deny_list = DenyList(frozenset(), issued_at=guard.now)
            with pytest.raises(aio.AioRpcError) as refused:
                await call(NODE.value.encode(), timeout=PATIENCE_SECONDS)
            assert refused.value.details() == "expired"

    asyncio.run(run())


# --- renewal and enrolment --------------------------------------------------------------------------


def test_a_renewed_hub_certificate_serves_new_connections_without_a_restart() -> None:
    first, second = FLAWED.good_hub(), FLAWED.good_hub()
    current = [TlsIdentity(first.key, first.chain)]
    credentials = rotating_server_credentials(lambda: current[-1], [AUTHORITY.root])

    def shown(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    async def run() -> list[str]:
        async with serving(Guard(), credentials) as port:
            before = await asyncio.to_thread(shown, port)
            current.append(TlsIdentity(second.key, second.chain))
            after = await asyncio.to_thread(shown, port)
            assert await knock(port, node_credentials(FLAWED.good())) == b"come in"
            return [before, after]

    seen = [ssl.PEM_cert_to_DER_cert(pem) for pem in asyncio.run(run())]
    assert seen == [first.chain_der[0], second.chain_der[0]]


def test_the_enrolment_port_admits_a_caller_without_a_certificate_but_gives_it_no_identity() -> None:
    hub, guard = FLAWED.good_hub(), Guard()
    server = server_credentials(hub.key, hub.chain, [AUTHORITY.root], require_client=False)
    status, code = outcome(guard, enrolment_channel_credentials([AUTHORITY.root]), OTHER_NODE, server)
    assert (status, code) == (grpc.StatusCode.UNAUTHENTICATED, "not_authenticated")
