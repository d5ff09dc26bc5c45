"""Files of the log as the hub serves them, unverified (C2SP tlog-tiles; docs/protocol.md §14.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from candor_proto.errors import LimitExceeded, MalformedMessage, UnknownObject
from candor_proto.merkle import HASH_OCTETS
from candor_proto.tlog.tiles import TILE_WIDTH, TileReader, bundle_path, decode_bundle, tile_path

Get = Callable[[str], Awaitable[bytes]]
T = TypeVar("T")
# A proof touches a few tiles a level; nobody's computation needs more.
MAX_TILES = 1_024


class _TileMissing(Exception):
    """The computation needs this tile."""

    def __init__(self, level: int, index: int, width: int) -> None:
        self.key = level, index, width


class _Fetched:
    """Tiles that were fetched so far; what is not among them interrupts the computation."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int, int], bytes] = {}

    def tile(self, level: int, index: int, width: int) -> bytes:
        try:
            return self.tiles[level, index, width]
        except KeyError:
            raise _TileMissing(level, index, width) from None


class LogFiles:
    """Fetches them by their paths; `get` raises UnknownObject for a file that is not there."""

    def __init__(self, get: Get) -> None:
        self.get = get

    async def checkpoint(self, shard: int) -> bytes:
        """The newest head with a quorum."""
        return await self.get(f"{shard}/checkpoint")

    async def signed(self, shard: int) -> bytes:
        """The newest head that was signed, with the cosignatures at hand."""
        return await self.get(f"{shard}/signed")

    async def policy(self, shard: int, version: int) -> bytes:
        """The head under which this policy came into force."""
        return await self.get(f"{shard}/policy/{version}")

    async def bundle(self, shard: int, index: int, width: int) -> tuple[bytes, ...]:
        """The first `width` entries of a bundle; raises MalformedMessage or LimitExceeded."""
        try:
            return decode_bundle(await self.get(f"{shard}/{bundle_path(index, width)}"), width)
        except UnknownObject:
            if width == TILE_WIDTH:
                raise
        # A partial bundle may go once the full one is there.
        return decode_bundle(await self.get(f"{shard}/{bundle_path(index)}"), TILE_WIDTH)[:width]

    async def tile(self, shard: int, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile; raises MalformedMessage."""
        try:
            octets = await self.get(f"{shard}/{tile_path(level, index, width)}")
        except UnknownObject:
            if width == TILE_WIDTH:
                raise
            octets = (await self.get(f"{shard}/{tile_path(level, index)}"))[: width * HASH_OCTETS]
        if len(octets) != width * HASH_OCTETS:
            raise MalformedMessage(f"A tile of the log is not {width} hashes.")
        return octets

    async def compute(self, shard: int, work: Callable[[TileReader], T]) -> T:
        """What `work` returns over the tiles of a shard, which are fetched as it asks for them.

        `work` is begun anew for each tile; it must be pure. Raises LimitExceeded beyond MAX_TILES.
        """
        reader = _Fetched()
        while True:
            try:
                return work(reader)
            except _TileMissing as missing:
                if len(reader.tiles) >= MAX_TILES:
                    raise LimitExceeded("A proof that needs more tiles than there are in one.") from None
                reader.tiles[missing.key] = await self.tile(shard, *missing.key)
