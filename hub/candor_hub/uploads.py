"""Segments on their way in: bounded in number, size and time, whoever sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from candor_proto.errors import LimitExceeded, MalformedMessage
from candor_proto.ids import Digest, NodeId
from candor_proto.segment import MAX_SEGMENT_OCTETS
from candor_wire.codec import Assembler, read_address
from candor_wire.v1 import hub_pb2

# Each may hold MAX_SEGMENT_OCTETS in memory.
MAX_UPLOADS = 4
CHUNK_DEADLINE_SECONDS = 15.0


class Uploads:
    """Receives segments; one at a time from each node. The event loop owns it."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_UPLOADS)
        self._nodes: set[NodeId] = set()

    async def receive(
        self, node: NodeId, parts: AsyncIterator[hub_pb2.PutSegmentRequest]
    ) -> tuple[Digest, bytes]:
        """The stated address and the octets; nothing of them is checked but their number.

        Raises MalformedMessage or LimitExceeded.
        """
        if node in self._nodes:
            raise LimitExceeded("One segment at a time.", remedy="Wait for the one before to be stored.")
        self._nodes.add(node)
        try:
            async with self._places:
                return await _receive(parts)
        finally:
            self._nodes.discard(node)


async def _receive(parts: AsyncIterator[hub_pb2.PutSegmentRequest]) -> tuple[Digest, bytes]:
    first = await _next(parts)
    if first is None or first.WhichOneof("part") != "address":
        raise MalformedMessage("A segment is sent behind its address.")
    address, assembler = read_address(first.address), Assembler(MAX_SEGMENT_OCTETS)
    while (part := await _next(parts)) is not None:
        if part.WhichOneof("part") != "chunk":
            raise MalformedMessage("Behind the address of a segment come chunks only.")
        assembler.add(part.chunk)
    return address, assembler.finish()


async def _next(parts: AsyncIterator[hub_pb2.PutSegmentRequest]) -> hub_pb2.PutSegmentRequest | None:
    try:
        async with asyncio.timeout(CHUNK_DEADLINE_SECONDS):
            return await anext(parts, None)
    except TimeoutError:
        # A slow sender must not keep a place from the others.
        raise LimitExceeded("The next part of a segment did not come in time.", remedy="Try again.") from None
