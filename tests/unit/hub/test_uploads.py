"""Segments on their way in: who is slow gives up his place when others wait, and nothing lies in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from candor_hub import uploads
from candor_hub.uploads import Uploads
from candor_proto.errors import LimitExceeded, MalformedMessage, StoreUnusable
from candor_proto.ids import NodeId
from candor_proto.segment import MAX_SEGMENT_OCTETS, address
from candor_wire.limits import CHUNK_BYTES
from candor_wire.v1 import hub_pb2

pytestmark = pytest.mark.anyio
ALPHA, BRAVO = NodeId("alpha"), NodeId("bravo")
Part = hub_pb2.PutSegmentRequest


async def parts(*chunks: bytes, until: asyncio.Event | None = None) -> AsyncIterator[Part]:
    """An address, and chunks; with `until` the end comes no sooner."""
    yield Part(address=address(b"".join(chunks)).value)
    for chunk in chunks:
        yield Part(chunk=chunk)
    if until is not None:
        await until.wait()


async def take(uploads: Uploads, node: NodeId, some: AsyncIterator[Part]) -> bytes:
    async with uploads.receive(node, some) as upload:
        octets = upload.read()
        assert upload.address == address(octets)
        return octets


async def test_what_was_sent_comes_out_and_leaves_no_file(tmp_path: Path) -> None:
    chunks = [bytes([number]) * CHUNK_BYTES for number in range(5)]
    assert await take(Uploads(tmp_path), ALPHA, parts(*chunks)) == b"".join(chunks)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Part(chunk=b"x")],
        lambda: [Part(address=bytes(32)), Part(address=bytes(32))],
        lambda: [Part(address=bytes(32)), Part(chunk=b"")],
        lambda: [Part(address=bytes(32)), Part(chunk=bytes(CHUNK_BYTES + 1))],
        lambda: [Part(address=bytes(31)), Part(chunk=b"x")],
        list,
    ],
    ids=["no address", "two addresses", "empty chunk", "large chunk", "short address", "nothing"],
)
async def test_what_is_no_upload_is_refused(make: Callable[[], list[Part]]) -> None:
    async def some() -> AsyncIterator[Part]:
        for part in make():
            yield part

    with pytest.raises(MalformedMessage):
        await take(Uploads(), ALPHA, some())


async def test_more_than_a_segment_may_have_is_refused_before_it_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "MAX_SEGMENT_OCTETS", 3 * CHUNK_BYTES)
    assert MAX_SEGMENT_OCTETS > 3 * CHUNK_BYTES
    with pytest.raises(LimitExceeded):
        await take(Uploads(), ALPHA, parts(*[bytes(CHUNK_BYTES)] * 4))


async def test_who_is_slow_keeps_his_place_until_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(uploads, "_LOOK_SECONDS", 0.02)
    one, never = Uploads(places=1), asyncio.Event()
    slow = asyncio.create_task(take(one, ALPHA, parts(b"x", until=never)))
    await asyncio.sleep(0.2)
    assert not slow.done()
    assert await take(one, BRAVO, parts(b"quick")) == b"quick"
    with pytest.raises(LimitExceeded, match="too slowly"):
        await slow


async def test_who_is_quick_enough_keeps_his_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(uploads, "_LOOK_SECONDS", 0.02)
    one, end = Uploads(places=1), asyncio.Event()
    quick = asyncio.create_task(take(one, ALPHA, parts(*[bytes(CHUNK_BYTES)] * 4, until=end)))
    waiting = asyncio.create_task(take(one, BRAVO, parts(b"next")))
    await asyncio.sleep(0.2)
    assert not quick.done()
    end.set()
    await asyncio.gather(quick, waiting)


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        await take(Uploads(tmp_path / "nowhere"), ALPHA, parts(b"x"))
