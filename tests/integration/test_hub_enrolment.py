"""Joining over the wire: real TLS, real tokens (docs/protocol.md §8.5)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from candor_certs.mtls import client_options, enrolment_channel_credentials
from candor_hub import attempts
from candor_proto.errors import (
    ClockWrong,
    InvitationInvalid,
    MalformedMessage,
    QuotaSpent,
)
from candor_proto.ids import NodeId, Ori
from candor_wire.v1 import enrolment_pb2, hub_pb2, hub_pb2_grpc
from tests.hub_members import FEDERATION, Member
from tests.hubs import enrol, enrolment_request, running_hub, send_enrolment
from tests.patience import PATIENCE_SECONDS


def test_a_node_joins_and_is_admitted(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            directory = await alpha.directory()
            assert directory.nodes() == (alpha.node,)
            assert directory.member(alpha.node).disclosure_key == alpha.disclosure_key.public
            await alpha.close()

    asyncio.run(act())


def test_a_bad_enrolment_is_refused_with_its_typed_error(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            with pytest.raises(ClockWrong, match="UTC"):
                await enrol(hub, "alpha", clock_error=timedelta(minutes=-6))
            with pytest.raises(InvitationInvalid):
                await enrol(hub, "bravo", request=enrolment_pb2.EnrolRequest(token=bytes(32)))
            with pytest.raises(InvitationInvalid):
                await enrol(hub, "charlie", request=enrolment_pb2.EnrolRequest(ori="NY0010000"))
            with pytest.raises(MalformedMessage):
                await enrol(hub, "delta", request=enrolment_pb2.EnrolRequest(certificate_request=b"none"))
            with pytest.raises(MalformedMessage):
                await enrol(hub, "echo", request=enrolment_pb2.EnrolRequest(token=b"short"))
            short = await asyncio.to_thread(hub.invite, "foxtrot", "CA0340000", timedelta(hours=1))
            hub.clock.advance(hours=2)
            with pytest.raises(InvitationInvalid):
                await enrol(hub, "foxtrot", "CA0340000", invitation=short)

    asyncio.run(act())


def test_a_token_admits_once(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            invitation = await asyncio.to_thread(hub.invite, None, "CA0340000")
            await (await enrol(hub, "alpha", "CA0340000", invitation=invitation)).close()
            with pytest.raises(InvitationInvalid):
                await enrol(hub, "bravo", "CA0340000", invitation=invitation)

    asyncio.run(act())


def test_a_lost_reply_is_given_again(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            member = Member(NodeId("alpha"), Ori("CA0340000"), hub.clock)
            message = enrolment_request(member, await asyncio.to_thread(hub.invite, "alpha", "CA0340000"))
            first = await send_enrolment(hub, message)
            assert await send_enrolment(hub, message) == first

    asyncio.run(act())


def test_guessing_is_slowed_down_and_keeps_nobody_from_joining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PAUSE_SECONDS", 0)

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            invitation = await asyncio.to_thread(hub.invite, "alpha", "CA0340000")
            guess = enrolment_pb2.EnrolRequest(token=bytes(32))
            for _ in range(10):
                with pytest.raises(InvitationInvalid):
                    await enrol(hub, "alpha", "CA0340000", invitation=invitation, request=guess)
            with pytest.raises(QuotaSpent):
                await enrol(hub, "alpha", "CA0340000", invitation=invitation, request=guess)
            await (await enrol(hub, "alpha", "CA0340000", invitation=invitation)).close()

    asyncio.run(act())


def test_the_enrolment_port_serves_enrolment_alone(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            credentials = enrolment_channel_credentials([hub.root])
            options = client_options(FEDERATION)
            async with grpc.aio.secure_channel(hub.enrolment_address, credentials, options=options) as open_:
                stub = hub_pb2_grpc.HubServiceStub(open_)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Submit(hub_pb2.SubmitRequest(), timeout=PATIENCE_SECONDS)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            async with grpc.aio.secure_channel(hub.address, credentials, options=options) as shut:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await hub_pb2_grpc.HubServiceStub(shut).Submit(
                        hub_pb2.SubmitRequest(), timeout=PATIENCE_SECONDS
                    )
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(act())
