"""The files of the log: bundles, hash tiles, checkpoints, a folder for each shard (docs/protocol.md §14.6).

    shards                      origin and witnessed size of each shard
    1/checkpoint, 1/signed      the newest witnessed head, the newest signed one
    1/tile/entries/000.p/17     the last bundle, of 17 entries; 1/tile/0/000.p/17 their hashes
    1/policy/2, 1/draw/2026-11

They lie in a folder (`folder`) or in the database (`rows`).

Rules of this file:
- a file is whole or absent, wherever it lies;
- of a partial tile only the widest and those that a head was shown for are kept; a narrower one is its
  beginning, and so is that of a tile that is full since;
- what is read here is trusted by nobody: whoever reads checks it against the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from candor_hub.store import Transaction
from candor_hub.tlog.folder import LOCK, Disk, Folder, Lock
from candor_proto.errors import LimitExceeded, MalformedMessage, UnknownObject
from candor_proto.merkle import HASH_OCTETS
from candor_proto.tlog.tiles import (
    TILE_WIDTH,
    bundle_path,
    decode_bundle,
    encode_bundle,
    parse_path,
    tile_path,
    tile_width,
)

__all__ = [
    "CHECKPOINT",
    "DRAW",
    "LOCK",
    "POLICY",
    "SHARDS",
    "SIGNED",
    "Disk",
    "Lock",
    "LogFiles",
    "Place",
    "ShardFiles",
    "is_known",
]

CHECKPOINT, SIGNED, SHARDS = "checkpoint", "signed", "shards"
POLICY, DRAW = "policy", "draw"
_OTHER = re.compile(r"checkpoint|signed|policy/[1-9][0-9]{0,9}|draw/(?:[0-9]{4}-[0-9]{2}|end)")
_PARTIAL = ".p"
# A partial file may go between being listed and being read, when a wider one has taken its place.
_LOOKS = 3


class Place(Protocol):
    """Where files lie, by paths such as `1/checkpoint`. Every method raises StoreUnusable."""

    def read(self, path: str) -> bytes:
        """The octets of a file; raises UnknownObject."""

    def names(self, folder: str) -> Iterable[str]:
        """What lies directly in this folder, files above all."""

    def folders(self) -> Iterable[str]:
        """What lies at the top, folders above all."""

    def all(self) -> Iterator[str]:
        """Every file there is."""

    def write(self, files: Mapping[str, bytes], *, durable: bool = True) -> None:
        """Put these files in their places, each whole; durable when this returns, if wanted."""

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is not there is gone already."""

    def within(self, tx: Transaction) -> Place:
        """The same place, where what is written belongs to `tx` if it can, and is read there."""


class LogFiles:
    """The files of a place; one thread at a time writes."""

    def __init__(self, place: Place | Path, disk: Disk | None = None) -> None:
        self._place = Folder(place, disk) if isinstance(place, Path) else place

    def within(self, tx: Transaction) -> LogFiles:
        """The same files as a part of an open writing transaction: `write` would begin one of its own."""
        return LogFiles(self._place.within(tx))

    # --- reading ----------------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """The octets of the file `path`, such as `1/checkpoint`; raises UnknownObject or StoreUnusable."""
        return self._place.read(path)

    def shards(self) -> tuple[int, ...]:
        """The shards that have any file."""
        return tuple(sorted(int(name) for name in self._place.folders() if name.isdecimal()))

    def widths(self, path: str) -> tuple[int, ...]:
        """Of which widths there are partial files of a full tile's path, narrowest first."""
        return tuple(sorted(int(name) for name in self._place.names(path + _PARTIAL) if name.isdecimal()))

    def unfinished(self, path: str) -> list[str]:
        """What was being written beside a full tile's path, or its partial files, and was not moved there."""
        folder, _, name = path.rpartition("/")
        return [
            f"{place}/{each}"
            for place, start in ((folder, f".{name}"), (path + _PARTIAL, "."))
            for each in self._place.names(place)
            if each.startswith(start) and each.endswith(".new")
        ]

    def piece(self, path: str, width: int) -> tuple[bytes, int]:
        """A file that holds the first `width` of a full tile's path, and how many it holds.

        Raises UnknownObject or StoreUnusable.
        """
        for _ in range(_LOOKS):
            for wider in self.widths(path):
                if wider >= width:
                    try:
                        return self.read(f"{path}{_PARTIAL}/{wider}"), wider
                    except UnknownObject:
                        break
            else:
                break
        return self.read(path), TILE_WIDTH

    def shard(self, shard: int) -> ShardFiles:
        return ShardFiles(self, shard)

    def all(self) -> Iterator[str]:
        """Every file there is."""
        return self._place.all()

    # --- writing ----------------------------------------------------------------------------------------

    def write(self, files: Mapping[str, bytes], *, durable: bool = True) -> None:
        """Put these files in their places, each whole; durable when this returns, if wanted.

        Raises StoreUnusable; then some may be in their places.
        """
        self._place.write(files, durable=durable)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is not there is gone already. Raises StoreUnusable."""
        self._place.remove(paths)


class ShardFiles:
    """One shard's tiles and bundles; a TileReader."""

    def __init__(self, files: LogFiles, shard: int) -> None:
        self._files = files
        self.shard = shard

    def path(self, name: str) -> str:
        return f"{self.shard}/{name}"

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes; raises UnknownObject, MalformedMessage or StoreUnusable."""
        octets, held = self._files.piece(self.path(tile_path(level, index)), width)
        if len(octets) != held * HASH_OCTETS:
            raise MalformedMessage(
                f"{tile_path(level, index, held)} of shard {self.shard} is not {held} hashes."
            )
        return octets[: width * HASH_OCTETS]

    def bundle(self, index: int, width: int) -> tuple[bytes, ...]:
        """The first `width` entries; raises UnknownObject, MalformedMessage or StoreUnusable."""
        octets, held = self._files.piece(self.path(bundle_path(index)), width)
        try:
            return decode_bundle(octets, held)[:width]
        except MalformedMessage as error:
            raise MalformedMessage(
                f"{bundle_path(index, held)} of shard {self.shard} is damaged: {error.message}"
            ) from None

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries start ≤ index < end; raises UnknownObject, MalformedMessage or StoreUnusable."""
        for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = index * TILE_WIDTH
            width = min(TILE_WIDTH, end - first)
            yield from self.bundle(index, width)[max(0, start - first) :]

    def get(self, name: str, size: int) -> bytes:
        """The octets of a tile or bundle by its path, of a log of `size` entries.

        Raises UnknownObject, also for what only a larger log has; MalformedMessage or StoreUnusable.
        """
        try:
            level, index, width = parse_path(name)
        except (MalformedMessage, LimitExceeded):
            raise UnknownObject(f"There is no {name} in the log.") from None
        if tile_width(level or 0, index, size) < width:
            raise UnknownObject(f"There is no {name} in the log.")
        if level is None:
            return self._bundle_octets(index, width)
        return self.tile(level, index, width)

    def _bundle_octets(self, index: int, width: int) -> bytes:
        octets, held = self._files.piece(self.path(bundle_path(index)), width)
        return octets if held == width else encode_bundle(decode_bundle(octets, held)[:width])


def is_known(name: str) -> bool:
    """Whether a shard can have a file of this name."""
    if _OTHER.fullmatch(name):
        return True
    try:
        parse_path(name)
    except (MalformedMessage, LimitExceeded):
        return False
    return True
