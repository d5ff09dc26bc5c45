"""A folder that holds a log as the hub serves it: checkpoints, bundles, tiles (docs/protocol.md §14.6).

`LogCopy` fetches into one, `KeptLog` writes what this node has read into one. Whoever founds a successor, and
`candor-verify`, read it as it lies there.

Rules of this file:
- each file is whole, and on the disk, when it has its name;
- of a tile or bundle at the right edge the widest is enough: narrower ones go once a head needs them no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from candor_proto.errors import MalformedMessage, StoreUnusable, UnknownObject
from candor_proto.merkle import HASH_OCTETS
from candor_proto.tlog.checkpoint import Checkpoint, parse_checkpoint
from candor_proto.tlog.tiles import (
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    bundle_path,
    decode_bundle,
    tile_path,
)

CHECKPOINT, SIGNED, SHARDS = "checkpoint", "signed", "shards"


class LogFolder:
    """Files by the paths of the log: `<shard>/checkpoint`, `<shard>/tile/…`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, path: str) -> bool:
        return (self.folder / path).is_file()

    async def get(self, path: str) -> bytes:
        """As a hub would serve it; raises UnknownObject or StoreUnusable."""
        return self.read(path)

    def read(self, path: str) -> bytes:
        """Raises UnknownObject or StoreUnusable."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownObject(f"This copy of the log has no {path}.") from None
        except OSError as error:
            raise StoreUnusable(f"{self.folder / path} cannot be read: {error.strerror}.") from None

    def write(self, path: str, octets: bytes) -> None:
        """Whole and durable when it returns; raises StoreUnusable."""
        place = self.folder / path
        beside = place.with_name(f".{place.name}.new")
        try:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, place)
        except OSError as error:
            raise StoreUnusable(
                f"{place} cannot be written: {error.strerror}.", remedy="Make room, and copy again."
            ) from None

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is not there is gone already."""
        for path in paths:
            with suppress(OSError):
                (self.folder / path).unlink()

    # --- what it holds ------------------------------------------------------------------------------------

    def head(self, shard: int) -> Checkpoint | None:
        """The head that a shard ends with here; None for none, or one that cannot be read any more."""
        try:
            return parse_checkpoint(self.read(f"{shard}/{CHECKPOINT}")).checkpoint
        except (UnknownObject, MalformedMessage):
            return None

    def entries(self, shard: int) -> int:
        """How many entries of a shard lie here from its first one on, under a head or not."""
        index = 0
        while self.has(f"{shard}/{bundle_path(index)}"):
            index += 1
        return index * TILE_WIDTH + max(self._widths(f"{shard}/{bundle_path(index)}"), default=0)

    def bundle(self, shard: int, index: int, width: int) -> tuple[bytes, ...]:
        """The first `width` entries of a bundle; raises UnknownObject, MalformedMessage or StoreUnusable."""
        held, octets = self._piece(f"{shard}/{bundle_path(index)}", width)
        return decode_bundle(octets, held)[:width]

    def tile(self, shard: int, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile; raises as `bundle`."""
        held, octets = self._piece(f"{shard}/{tile_path(level, index)}", width)
        if len(octets) != held * HASH_OCTETS:
            raise MalformedMessage(f"{tile_path(level, index, held)} of shard {shard} is not {held} hashes.")
        return octets[: width * HASH_OCTETS]

    def _piece(self, path: str, width: int) -> tuple[int, bytes]:
        """The narrowest file of a full tile's path that is wide enough, and how much it holds."""
        wide = [each for each in self._widths(path) if each >= width]
        if not wide:
            return TILE_WIDTH, self.read(path)
        return min(wide), self.read(f"{path}.p/{min(wide)}")

    def _widths(self, path: str) -> list[int]:
        try:
            names = [each.name for each in (self.folder / f"{path}.p").iterdir()]
        except OSError:
            return []
        return [int(name) for name in names if name.isdecimal()]

    # --- what nobody needs any more -----------------------------------------------------------------------

    def prune(self, shard: int, before: int, size: int) -> None:
        """Remove partial files that the head with `size` entries does not need; `before` had the last one."""
        for level in range(MAX_LEVEL + 1):
            edge = before >> (TILE_HEIGHT * level)
            if not edge:
                return
            index, now = edge // TILE_WIDTH, size >> (TILE_HEIGHT * level)
            needed = min(TILE_WIDTH, now - index * TILE_WIDTH)
            paths = [tile_path(level, index), *([bundle_path(index)] if level == 0 else [])]
            for path in paths:
                self._prune(self.folder / f"{shard}/{path}.p", needed)

    def _prune(self, folder: Path, needed: int) -> None:
        with suppress(OSError):
            for each in folder.iterdir():
                if each.name.isdecimal() and int(each.name) < needed:
                    each.unlink()
        with suppress(OSError):
            folder.rmdir()
