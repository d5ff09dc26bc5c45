"""A copy of the whole log in a folder, as the hub serves it (docs/succession.md).

Whoever has one can check the log when the hub is gone, and found a successor from it. Anybody may copy it
over HTTPS with any tool; a member gets it over its own connection.

Rules of this file:
- what is there already and cannot change is not fetched again: full bundles and tiles, ended shards' heads;
- the checkpoint comes last: a copy that was interrupted ends with the head before;
- entries are hashed and compared with the head, so that a copy that is written is a whole one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_node.tlog.files import Get, LogFiles
from candor_proto.errors import LogInconsistent, MalformedMessage, StoreUnusable, UnknownObject
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import Checkpoint, parse_checkpoint
from candor_proto.tlog.entries import Opened, PolicyEntry, parse_entry
from candor_proto.tlog.tiles import (
    TILE_WIDTH,
    bundle_path,
    decode_bundle,
    encode_bundle,
    new_tiles,
    tile_path,
)

CHECKPOINT, SIGNED, SHARDS = "checkpoint", "signed", "shards"


@dataclass(frozen=True)
class Copied:
    """What a copy holds now: shards, entries of all, files that were fetched this time."""

    shards: int
    entries: int
    fetched: int


class LogCopy:
    """Brings the copy in `folder` up to date."""

    def __init__(self, get: Get, folder: Path) -> None:
        self._files = LogFiles(get)
        self._folder = folder
        self._fetched = 0

    async def update(self, now: datetime) -> Copied:
        """Fetch what is new. Raises Unreachable, StoreUnusable, MalformedMessage or LogInconsistent."""
        self._fetched = 0
        shards, entries, lines = 0, 0, list[str]()
        while True:
            try:
                head = await self._files.checkpoint(shards + 1)
            except UnknownObject:
                break
            shards += 1
            size = await self._shard(shards, head, now)
            entries += size
            lines.append(f"{parse_checkpoint(head).checkpoint.origin} {size}\n")
        if not shards:
            raise MalformedMessage("The hub shows no log yet.")
        # Of what is here: the hub's own list may name sizes that it has reached since.
        self._write(SHARDS, "".join(lines).encode())
        return Copied(shards, entries, self._fetched)

    async def _shard(self, number: int, octets: bytes, now: datetime) -> int:
        head = parse_checkpoint(octets).checkpoint
        try:
            versions, opened_at = await self._entries(number, head, now)
        except (LogInconsistent, MalformedMessage):
            # Perhaps what was copied before was damaged here.
            await asyncio.to_thread(shutil.rmtree, self._folder / str(number) / "tile", ignore_errors=True)
            versions, opened_at = await self._entries(number, head, now)
        for level, index, width in new_tiles(0, head.size):
            place = tile_path(level, index, width)
            if not self._has(f"{number}/{place}"):
                self._write(f"{number}/{place}", await self._files.tile(number, level, index, width))
        names = [f"policy/{version}" for version in versions]
        names += [f"draw/{month}" for month in _months(opened_at, now)]
        for name in (*names, "draw/end"):
            if not self._has(f"{number}/{name}"):
                with suppress(UnknownObject):
                    await self._fetch(f"{number}/{name}")
        # The copy knows of no newer head than the one that it was compared with.
        for name in (SIGNED, CHECKPOINT):
            self._write(f"{number}/{name}", octets)
        return head.size

    async def _entries(self, number: int, head: Checkpoint, now: datetime) -> tuple[list[int], datetime]:
        """The policies among the entries up to a head, and when the shard was opened."""
        entered, versions, opened_at = CompactRange.EMPTY, list[int](), now
        for index in range(-(-head.size // TILE_WIDTH)):
            bundle = await self._bundle(number, index, min(TILE_WIDTH, head.size - index * TILE_WIDTH))
            entered = entered.extend([leaf_hash(one) for one in bundle])
            for entry in (parse_entry(one) for one in bundle):
                if isinstance(entry, PolicyEntry):
                    versions.append(entry.version)
                elif isinstance(entry, Opened):
                    opened_at = entry.opened_at
        if entered.root() != head.root:
            raise LogInconsistent(f"The entries of shard {number} are not those of its head.")
        return versions, opened_at

    async def _bundle(self, number: int, index: int, width: int) -> tuple[bytes, ...]:
        place = f"{number}/{bundle_path(index, width)}"
        if self._has(place):
            return decode_bundle((self._folder / place).read_bytes(), width)
        bundle = await self._files.bundle(number, index, width)
        self._write(place, encode_bundle(bundle))
        return bundle

    async def _fetch(self, path: str) -> None:
        self._write(path, await self._files.get(path))

    def _has(self, path: str) -> bool:
        return (self._folder / path).is_file()

    def _write(self, path: str, octets: bytes) -> None:
        place = self._folder / path
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
        self._fetched += 1


def _months(first: datetime, last: datetime) -> Iterable[str]:
    """The calendar months from `first` to `last`, such as 2026-11."""
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield f"{month // 12:04}-{month % 12 + 1:02}"
