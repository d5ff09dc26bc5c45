"""Who gets in: every flaw a certificate can have, over a real connection (docs/protocol.md §8.1, §8.2).

Two doors: gRPC's handshake (the call ends UNAVAILABLE, the interceptor never sees it) and the check on each
call (our error's code is the call's detail). Which door refuses what is part of what is asserted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from candor_certs.authority import certificates_pem
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
from candor_proto.ids import FederationName, NodeId
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


# --- refused by the handshake -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(lambda: enrolment_channel_credentials([AUTHORITY.root]), id="no_certificate"),
        pytest.param(lambda: node_credentials(FLAWED.other_authority()), id="other_authority"),
        pytest.param(lambda: node_credentials(FLAWED.self_signed()), id="self_signed"),
        pytest.param(lambda: node_credentials(FLAWED.issued_by_a_member()), id="issued_by_a_member"),
        pytest.param(lambda: node_credentials(FLAWED.expired()), id="expired"),
        pytest.param(lambda: node_credentials(FLAWED.not_yet_valid()), id="not_yet_valid"),
        pytest.param(lambda: node_credentials(FLAWED.wrong_purpose()), id="wrong_purpose"),
        pytest.param(lambda: node_credentials(FLAWED.weak_curve()), id="weak_key_p192"),
    ],
)
def test_the_handshake_refuses(credentials: Callable[[], grpc.ChannelCredentials]) -> None:
    guard = Guard()
    status, _ = outcome(guard, credentials())
    assert status is grpc.StatusCode.UNAVAILABLE
    assert (guard.admitted, guard.refusals) == ([], [])


# --- accepted by the handshake, refused on the call ---------------------------------------------------


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(FLAWED.other_agency, "identity_mismatch", id="other_agency"),
        pytest.param(FLAWED.wrong_role, "wrong_role", id="wrong_role"),
        pytest.param(lambda: FLAWED.wrong_role(Role.HUB), "certificate_refused", id="hub_name_as_client"),
        pytest.param(FLAWED.weak_rsa, "certificate_refused", id="weak_key_rsa1024"),
        pytest.param(FLAWED.two_names, "certificate_refused", id="two_names"),
        pytest.param(FLAWED.no_name, "certificate_refused", id="no_name"),
        pytest.param(FLAWED.unknown_role, "certificate_refused", id="unknown_role"),
        pytest.param(FLAWED.foreign_federation, "certificate_refused", id="foreign_federation"),
        pytest.param(
            FLAWED.node_with_the_hubs_host_name, "certificate_refused", id="node_with_the_hubs_host_name"
        ),
        pytest.param(FLAWED.both_purposes, "certificate_refused", id="both_purposes"),
    ],
)
def test_the_call_is_refused(make: Callable[[], Presented], code: str) -> None:
    guard = Guard()
    assert outcome(guard, node_credentials(make())) == (grpc.StatusCode.UNAUTHENTICATED, code)
    assert (guard.admitted, guard.refusals) == ([], [code])


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


# --- TLS 1.2 ----------------------------------------------------------------------------------------


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _grpc_request(port: int, message: bytes) -> bytes:
    """A gRPC call as raw HTTP/2; headers as literals without indexing (RFC 7541 §6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": METHOD,
        ":authority": f"127.0.0.1:{port}",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
    return preface + _frame(1, 0x4, 1, block) + _frame(0, 0x1, 1, body)


def _raw_call(port: int, shown: Presented, maximum: ssl.TLSVersion, folder: Path) -> tuple[str | None, bytes]:
    """TLS version negotiated, and what the server sends until it ends the stream."""
    (folder / "identity.pem").write_bytes(shown.key_pem + shown.chain_pem)
    context = ssl.create_default_context(cadata=certificates_pem([AUTHORITY.root]).decode())
    context.load_cert_chain(folder / "identity.pem")
    context.maximum_version = maximum
    context.set_alpn_protocols(["h2"])
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=f"hub.{FEDERATION}") as connection,
    ):
        connection.sendall(_grpc_request(port, NODE.value.encode()))
        while chunk := connection.recv(65536):
            received += chunk
            if _stream_ended(received):
                break
        return connection.version(), received


def _stream_ended(data: bytes) -> bool:
    """Whether a frame of stream 1 with END_STREAM, or its RST_STREAM, is among the whole frames of `data`."""
    position = 0
    while position + 9 <= len(data):
        length = int.from_bytes(data[position : position + 3], "big")
        kind, flags = data[position + 3], data[position + 4]
        stream = int.from_bytes(data[position + 5 : position + 9], "big")
        if (
            stream == 1
            and (kind == 3 or (kind in (0, 1) and flags & 1))
            and position + 9 + length <= len(data)
        ):
            return True
        position += 9 + length
    return False


@pytest.mark.parametrize(
    ("maximum", "version", "refusals", "admitted"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_2, "TLSv1.2", ["certificate_refused"], 0, id="tls_1_2_refused"),
        pytest.param(ssl.TLSVersion.TLSv1_3, "TLSv1.3", [], 1, id="tls_1_3_admitted"),
    ],
)
def test_tls_version(
    maximum: ssl.TLSVersion, version: str, refusals: list[str], admitted: int, tmp_path: Path
) -> None:
    """gRPC cannot be told to refuse TLS 1.2, so the call is; the same bytes over TLS 1.3 are answered."""
    guard = Guard()

    async def run() -> tuple[str | None, bytes]:
        async with serving(guard, hub_credentials(FLAWED.good_hub())) as port:
            return await asyncio.to_thread(_raw_call, port, FLAWED.good(), maximum, tmp_path)

    negotiated, received = asyncio.run(run())
    assert negotiated == version
    assert (b"come in" in received) is bool(admitted)
    assert (guard.refusals, len(guard.admitted)) == (refusals, admitted)


# --- the client refuses the server ------------------------------------------------------------------


def _other_federations_hub() -> Presented:
    return FlawedCertificates(federation_authority()).good_hub()


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(_other_federations_hub, id="server_under_another_root"),
        pytest.param(FLAWED.good, id="node_as_server"),
        pytest.param(FLAWED.node_with_the_hubs_host_name, id="node_as_server_with_the_hubs_host_name"),
        pytest.param(FLAWED.self_signed, id="self_signed_server"),
        pytest.param(FLAWED.expired, id="expired_server"),
    ],
)
def test_the_client_refuses_the_server(server: Callable[[], Presented]) -> None:
    guard, good = Guard(), FLAWED.good()
    status, _ = outcome(
        guard,
        channel_credentials(good.key, good.chain, [AUTHORITY.root]),
        server=server().server_credentials(AUTHORITY.root),
    )
    assert status is grpc.StatusCode.UNAVAILABLE
    assert (guard.admitted, guard.refusals) == ([], [])


def test_the_client_refuses_the_hub_of_another_federation_even_under_a_root_it_trusts() -> None:
    other = FlawedCertificates(federation_authority(federation=FederationName("elsewhere.example")))
    guard, good = Guard(), FLAWED.good()
    status, _ = outcome(
        guard,
        channel_credentials(good.key, good.chain, [AUTHORITY.root, other.authority.root]),
        server=other.good_hub().server_credentials(AUTHORITY.root),
    )
    assert status is grpc.StatusCode.UNAVAILABLE
    assert (guard.admitted, guard.refusals) == ([], [])


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
