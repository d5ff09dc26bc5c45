"""Who is let in, and what errors look like outside (docs/protocol.md §8.1, §8.2, §12)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc

from candor_certs.mtls import client_options
from candor_certs.names import Role
from candor_hub import peer
from candor_proto.errors import (
    CertificateRefused,
    CertificateRevoked,
    MalformedMessage,
    NotAMember,
    WrongRole,
)
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement
from candor_wire.status import ERROR_METADATA_KEY
from candor_wire.v1 import hub_pb2, hub_pb2_grpc
from tests.certificates import FlawedCertificates, Presented
from tests.hubs import FEDERATION, MemberClient, RunningHub, enrol, from_rpc, running_hub
from tests.patience import PATIENCE_SECONDS

SERVICE = "/candor.v1.HubService/"
HEALTH = "/grpc.health.v1.Health/"


async def refusal(hub: RunningHub, presented: Presented) -> Exception:
    """What somebody with this certificate gets in answer to its first call."""
    async with grpc.aio.secure_channel(
        hub.address, presented.channel_credentials(hub.root), options=client_options(FEDERATION)
    ) as channel:
        stub = hub_pb2_grpc.HubServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetDirectory(hub_pb2.GetDirectoryRequest(), timeout=PATIENCE_SECONDS).read()
        return await from_rpc(caught.value)


def test_certificates_that_are_not_a_members_are_refused(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            flawed = FlawedCertificates(hub.hub.keys().authority)
            assert type(await refusal(hub, flawed.good(NodeId("stranger")))) is NotAMember
            assert type(await refusal(hub, flawed.wrong_role(Role.AUDITOR))) is WrongRole
            assert type(await refusal(hub, flawed.foreign_federation(alpha.node))) is CertificateRefused
            assert type(await refusal(hub, flawed.weak_rsa(alpha.node))) is CertificateRefused
            assert type(await refusal(hub, flawed.two_names(alpha.node))) is CertificateRefused
            await alpha.close()

    asyncio.run(act())


async def health(member: MemberClient, method: str = "Check", service: str = "") -> int:
    """What the hub's health service says to `member`; raises the typed error."""
    stub = health_pb2_grpc.HealthStub(member.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        if method == "Check":
            return int((await stub.Check(request, timeout=10)).status)
        return int((await anext(aiter(stub.Watch(request, timeout=10)))).status)
    except grpc.aio.AioRpcError as error:
        raise await from_rpc(error) from error


def test_health_is_told_to_members_and_to_nobody_else(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            serving = health_pb2.HealthCheckResponse.SERVING
            for service in ("", "candor.v1.HubService"):
                assert await health(alpha, service=service) == serving
            # A stream for each watcher would be a stream for nothing.
            with pytest.raises(WrongRole):
                await health(alpha, "Watch")
            # Without a certificate there is no connection at all.
            root = hub.root.public_bytes(Encoding.PEM)
            credentials = grpc.ssl_channel_credentials(root)
            options = client_options(FEDERATION)
            async with grpc.aio.secure_channel(hub.address, credentials, options=options) as channel:
                with pytest.raises(grpc.aio.AioRpcError):
                    await health_pb2_grpc.HealthStub(channel).Check(
                        health_pb2.HealthCheckRequest(), timeout=5
                    )
            await alpha.close()

    asyncio.run(act())


def test_every_method_is_refused_to_the_revoked(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            hub.hub.directory.revoke(alpha.node, hub.clock.now())
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: alpha.submit(alpha.lookup([alpha])),
                lambda: alpha.put_segment(alpha.segment()),
                lambda: alpha.get_segment(alpha.head([alpha.segment()]).segments[0].address),
                lambda: alpha.put_head(alpha.head()),
                lambda: alpha.directory(patient=False),
                lambda: attach(alpha),
                lambda: alpha.renew(),
                lambda: alpha.quota(),
                lambda: alpha.log_file("shards"),
                lambda: alpha.put_statement("heartbeat", SignedStatement(b"body", bytes(64))),
                lambda: health(alpha),
            ]
            assert len(calls) == len(peer.ROLES)
            for call in calls:
                with pytest.raises(CertificateRevoked):
                    await call()
            await alpha.close()

    async def attach(member: MemberClient) -> None:
        async with member.attached():
            pass

    asyncio.run(act())


def test_every_method_of_the_service_has_its_roles() -> None:
    methods = hub_pb2.DESCRIPTOR.services_by_name["HubService"].methods
    assert set(peer.ROLES) == {SERVICE + method.name for method in methods} | {HEALTH + "Check"}
    assert set(peer.ROLES.values()) == {frozenset({Role.NODE})}


def test_a_method_without_roles_may_be_called_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "ROLES", {})

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            with pytest.raises(WrongRole):
                await alpha.directory()
            await alpha.close()

    asyncio.run(act())


def test_unknown_fields_are_refused_in_every_arity(tmp_path: Path) -> None:
    unknown = b"\xa2\x06\x03new"  # field 100, length-delimited

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            raw: Any = alpha.channel
            for call in (
                raw.unary_unary(SERVICE + "Submit")(unknown, timeout=PATIENCE_SECONDS),
                raw.unary_unary(SERVICE + "PutHead")(unknown, timeout=PATIENCE_SECONDS),
                raw.unary_stream(SERVICE + "GetDirectory")(unknown, timeout=PATIENCE_SECONDS),
                raw.stream_unary(SERVICE + "PutSegment")(iter([unknown]), timeout=PATIENCE_SECONDS),
                raw.stream_stream(SERVICE + "Attach")(iter([unknown]), timeout=PATIENCE_SECONDS),
            ):
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert (ERROR_METADATA_KEY, MalformedMessage.code) in list(await call.trailing_metadata())
            await alpha.close()

    asyncio.run(act())


def test_unknown_fields_inside_are_refused(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            inner = alpha.lookup([alpha])
            from candor_wire.codec import write_envelope

            envelope = write_envelope(inner).SerializeToString() + b"\xa2\x06\x03new"
            request = b"\x0a" + _varint(len(envelope)) + envelope
            raw: Any = alpha.channel
            call = raw.unary_unary(SERVICE + "Submit")(request, timeout=PATIENCE_SECONDS)
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            await alpha.close()

    asyncio.run(act())


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes([*octets, value])


def test_what_is_no_message_is_malformed(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            raw: Any = alpha.channel
            call = raw.unary_unary(SERVICE + "Submit")(b"\x0a\xff", timeout=PATIENCE_SECONDS)
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert (ERROR_METADATA_KEY, MalformedMessage.code) in list(await call.trailing_metadata() or ())
            await alpha.close()

    asyncio.run(act())


def test_an_error_that_is_not_ours_is_withheld(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")

            def broken(*_: object) -> None:
                raise KeyError("sentinel")

            monkeypatch.setattr(hub.hub.relay, "submit_all", broken)
            with pytest.raises(Exception, match="its log says what") as caught:
                await alpha.submit(alpha.lookup([alpha]))
            assert "sentinel" not in str(caught.value)
            await alpha.close()

    asyncio.run(act())
    assert "sentinel" in capsys.readouterr().out  # the log


def test_an_interceptor_in_front_sees_every_call(tmp_path: Path) -> None:
    class Witness(grpc.aio.ServerInterceptor):
        def __init__(self) -> None:
            self.methods: list[str] = []

        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            self.methods.append(handler_call_details.method)
            return await continuation(handler_call_details)

    async def act() -> None:
        witness = Witness()
        async with running_hub(tmp_path / "hub", interceptors=[witness]) as hub:
            alpha = await enrol(hub, "alpha")
            await alpha.directory()
            await alpha.close()
        assert witness.methods == ["/candor.v1.EnrolmentService/Enrol", SERVICE + "GetDirectory"]

    asyncio.run(act())
