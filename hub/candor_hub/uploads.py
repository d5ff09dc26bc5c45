"""Segments on their way in: bounded in number, size and time, whoever sends them.

Rules of this file:
- what has come lies in a file without a name, not in memory, until all of it is there;
- one at a time of each member, a few in all, and members take turns;
- whoever brings nothing for CHUNK_SECONDS loses his place; while others wait, whoever brings less than
  SLOWEST_OCTETS_PER_SECOND does, too.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from candor_hub.turns import Turns
from candor_proto.errors import LimitExceeded, MalformedMessage, StoreUnusable
from candor_proto.ids import Digest, NodeId
from candor_proto.segment import MAX_SEGMENT_OCTETS
from candor_wire.codec import read_address
from candor_wire.limits import CHUNK_BYTES
from candor_wire.v1 import hub_pb2

# Each may hold MAX_SEGMENT_OCTETS of disk.
MAX_UPLOADS = 32
CHUNK_SECONDS = 15.0
SLOWEST_OCTETS_PER_SECOND = 32 * 1024
GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.5

Parts = AsyncIterator[hub_pb2.PutSegmentRequest]


@dataclass(frozen=True)
class Upload:
    """A whole segment that came: the address it was sent under, and its octets."""

    address: Digest
    _file: BinaryIO

    def read(self) -> bytes:
        """All of it; blocks, and takes as much memory."""
        self._file.seek(0)
        return self._file.read()


class Uploads:
    """Receives segments. The event loop owns it."""

    def __init__(self, folder: Path | None = None, places: int = MAX_UPLOADS) -> None:
        """`folder` is where what has come lies; None: where temporary files lie."""
        self._folder = folder
        self._turns = Turns("uploads", places, each=1)

    @asynccontextmanager
    async def receive(self, node: NodeId, parts: Parts) -> AsyncIterator[Upload]:
        """What `node` sends, whole; nothing of it is checked but its size, and it is gone at the end.

        Raises MalformedMessage, LimitExceeded or StoreUnusable.
        """
        async with self._turns.place(node):
            with self._file() as file:
                yield Upload(await self._take(parts, file), file)

    def _file(self) -> BinaryIO:
        try:
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError as error:
            raise _unusable(error) from None

    async def _take(self, parts: Parts, file: BinaryIO) -> Digest:
        began, octets = time.monotonic(), 0
        first = await self._next(parts, began, octets)
        if first is None or first.WhichOneof("part") != "address":
            raise MalformedMessage("A segment is sent behind its address.")
        while (part := await self._next(parts, began, octets)) is not None:
            if part.WhichOneof("part") != "chunk":
                raise MalformedMessage("Behind the address of a segment come chunks only.")
            if not part.chunk or len(part.chunk) > CHUNK_BYTES:
                raise MalformedMessage("A chunk that is empty or too large.")
            octets += len(part.chunk)
            if octets > MAX_SEGMENT_OCTETS:
                raise LimitExceeded(f"A segment has at most {MAX_SEGMENT_OCTETS:,} octets.")
            try:
                await self._turns.aside(file.write, part.chunk)
            except OSError as error:
                raise _unusable(error) from None
        return read_address(first.address)

    async def _next(self, parts: Parts, began: float, octets: int) -> hub_pb2.PutSegmentRequest | None:
        coming = asyncio.ensure_future(anext(parts, None))
        asked = time.monotonic()
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=_LOOK_SECONDS)
                now = time.monotonic()
                if not coming.done() and now - asked > CHUNK_SECONDS:
                    raise LimitExceeded("The next part did not come in time.", remedy="Try again.")
                if self._turns.waiting and _is_slow(octets, now - began):
                    raise LimitExceeded(
                        "Others wait to send theirs, and this one comes too slowly.", remedy="Try again."
                    )
            return coming.result()
        except BaseException:
            coming.cancel()
            raise


def _is_slow(octets: int, seconds: float) -> bool:
    return seconds > GRACE_SECONDS and octets < SLOWEST_OCTETS_PER_SECOND * seconds


def _unusable(error: OSError) -> StoreUnusable:
    return StoreUnusable(
        f"What was sent could not be kept: {error.strerror}.",
        remedy="Make room on the disk; the step can then be repeated.",
    )
