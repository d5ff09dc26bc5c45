"""Segments, heads and the directory over the wire (docs/protocol.md §6.7, §6.8, §10.2)."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import grpc
import pytest

from candor_hub import uploads
from candor_proto import segment
from candor_proto.errors import (
    IdentityMismatch,
    LimitExceeded,
    MalformedMessage,
    Rollback,
    SignatureInvalid,
    UnknownObject,
)
from candor_proto.ids import Digest, NodeId
from candor_proto.sealed_index import BLOB_OCTETS, ENTRY_OCTETS, IndexOwner
from candor_proto.signing import SigningKey
from candor_wire import limits
from candor_wire.v1 import hub_pb2
from tests.hubs import FEDERATION, enrol, running_hub
from tests.patience import PATIENCE_SECONDS


def test_an_index_reaches_every_member(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            owner = IndexOwner(FEDERATION, alpha.node, 1)
            entries = [secrets.token_bytes(ENTRY_OCTETS) for _ in range(9_000)]
            large = segment.build(owner, 2, entries, [secrets.token_bytes(BLOB_OCTETS)], [])
            assert len(large) > 3 * limits.CHUNK_BYTES
            parts = [alpha.segment(), large]
            for octets in parts:
                await alpha.put_segment(octets)
            head = alpha.head(parts)
            version = await alpha.put_head(head)
            directory = await bravo.directory()
            assert directory.version == version
            assert directory.head(alpha.node) == head
            for ref, octets in zip(head.segments, parts, strict=True):
                assert await bravo.get_segment(ref.address) == octets
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_transfers_that_are_not_in_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            octets = alpha.segment()
            named = segment.address(octets)
            with pytest.raises(MalformedMessage, match="address"):
                await alpha.put_segment(octets, Digest(secrets.token_bytes(32)))
            with pytest.raises(IdentityMismatch):
                await alpha.put_segment(alpha.segment(node=NodeId("bravo")))
            chunk = hub_pb2.PutSegmentRequest(chunk=octets)
            address = hub_pb2.PutSegmentRequest(address=named.value)
            for parts in ([], [chunk], [address, address], [address, hub_pb2.PutSegmentRequest(chunk=b"")]):
                with pytest.raises(MalformedMessage):
                    await alpha.put_parts(parts)
            oversized = hub_pb2.PutSegmentRequest(chunk=bytes(limits.CHUNK_BYTES + 1))
            with pytest.raises(MalformedMessage):
                await alpha.put_parts([address, oversized])
            monkeypatch.setattr(uploads, "MAX_SEGMENT_OCTETS", len(octets) - 1)
            with pytest.raises(LimitExceeded):
                await alpha.put_segment(octets)
            with pytest.raises(UnknownObject):
                await alpha.get_segment(named)
            await alpha.close()

    asyncio.run(act())


def test_a_message_over_the_limit_is_refused(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            too_large = hub_pb2.PutHeadRequest(body=bytes(limits.MAX_MESSAGE_BYTES + 1))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await alpha.stub.PutHead(too_large, timeout=PATIENCE_SECONDS)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await alpha.close()

    asyncio.run(act())


def test_one_segment_at_a_time_and_none_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            octets = alpha.segment()
            stalled = alpha.stub.PutSegment()
            await stalled.write(hub_pb2.PutSegmentRequest(address=segment.address(octets).value))
            await asyncio.sleep(0.2)
            second = asyncio.create_task(alpha.put_segment(octets))
            await bravo.put_segment(bravo.segment())
            assert not second.done()
            monkeypatch.setattr(uploads, "CHUNK_SECONDS", 0.3)
            await stalled.write(hub_pb2.PutSegmentRequest(chunk=octets[:9]))  # and not one more
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await stalled.code() is grpc.StatusCode.OUT_OF_RANGE
                await second
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_heads_that_do_not_verify_or_go_back_are_refused(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            await alpha.put_head(alpha.head(sequence=7))
            with pytest.raises(Rollback):
                await alpha.put_head(alpha.head(sequence=6))
            with pytest.raises(SignatureInvalid):
                await alpha.put_head(alpha.head(sequence=8), SigningKey.generate())
            with pytest.raises(SignatureInvalid):
                await bravo.put_head(alpha.head(sequence=8), alpha.signing_key)
            with pytest.raises(UnknownObject):
                await alpha.put_head(alpha.head([alpha.segment()], sequence=8))
            head = (await bravo.directory()).head(alpha.node)
            assert head is not None
            assert head.sequence == 7
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_directories_have_rising_versions(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            first = await alpha.directory()
            bravo = await enrol(hub, "bravo")
            second = await alpha.directory(seen_version=first.version)
            assert second.version == first.version + 1
            await alpha.close()
            await bravo.close()

    asyncio.run(act())
