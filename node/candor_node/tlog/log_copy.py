"""A copy of the whole log in a folder, as the hub serves it (docs/succession.md).

Whoever has one can check the log when the hub is gone, and found a successor from it. Anybody may copy it
over HTTPS with any tool; a member gets it over its own connection.

Rules of this file:
- what is there already and cannot change is not fetched again: full bundles and tiles, ended shards' heads;
- the checkpoint comes last: a copy that was interrupted ends with the head before;
- entries are hashed and compared with the head, so that a copy that is written is a whole one;
- a copy never becomes shorter, and nothing under its head becomes another: a hub that serves less, or
  something else, changes nothing here.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_node.tlog.files import Get, LogFiles
from candor_node.tlog.log_folder import CHECKPOINT, SHARDS, SIGNED, LogFolder
from candor_proto.errors import LogInconsistent, MalformedMessage, Rollback, StoreUnusable, UnknownObject
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


@dataclass(frozen=True)
class Copied:
    """What a copy holds now: shards, entries of all, files that were fetched this time."""

    shards: int
    entries: int
    fetched: int


Head = Callable[[int], Awaitable[bytes]]


class LogCopy:
    """Brings the copy in `folder` up to date."""

    def __init__(self, get: Get, folder: Path, head: Head | None = None) -> None:
        """`head` says which head of a shard to copy to, and raises UnknownObject behind the last one; the
        newest of `get` by default."""
        self._files = LogFiles(get)
        self._head = head or self._files.checkpoint
        self._copy = LogFolder(folder)
        self._fetched = 0
        # What this attempt has put into the copy before it was compared with the head.
        self._unproven: list[str] = []

    async def update(self, now: datetime) -> Copied:
        """Fetch what is new. Raises Unreachable, Rollback, StoreUnusable, MalformedMessage or
        LogInconsistent."""
        self._fetched = 0
        shards, entries, lines = 0, 0, list[str]()
        while True:
            try:
                head = await self._head(shards + 1)
            except UnknownObject:
                break
            shards += 1
            size = await self._shard(shards, head, now)
            entries += size
            lines.append(f"{parse_checkpoint(head).checkpoint.origin} {size}\n")
        if not shards:
            raise MalformedMessage("The hub shows no log yet.")
        # Of what is here: the hub's own list may name sizes that it has reached since.
        await self._write(self._copy, SHARDS, "".join(lines).encode())
        return Copied(shards, entries, self._fetched)

    async def _shard(self, number: int, octets: bytes, now: datetime) -> int:
        head, held = parse_checkpoint(octets).checkpoint, self._copy.head(number)
        before = held.size if held else 0
        if head.size < before:
            raise Rollback(
                f"The copy in {self._copy.folder} holds {before} entries of shard {number}; the log where it "
                f"is copied from has {head.size}.",
                remedy="Keep this copy as it is, and tell the other members: theirs may be shorter.",
            )
        self._unproven.clear()
        try:
            versions, opened_at = await self._tiles(self._copy, number, head, held, now)
        except (LogInconsistent, MalformedMessage):
            self._copy.remove(self._unproven)
            # Perhaps what was copied before was damaged here. It stays until there is better.
            again = LogFolder(self._copy.folder / ".again")
            await asyncio.to_thread(shutil.rmtree, again.folder, ignore_errors=True)
            try:
                versions, opened_at = await self._tiles(again, number, head, held, now)
                await asyncio.to_thread(_instead, self._copy.folder, again.folder, number)
            finally:
                await asyncio.to_thread(shutil.rmtree, again.folder, ignore_errors=True)
        names = [f"policy/{version}" for version in versions]
        names += [f"draw/{month}" for month in _months(opened_at, now)]
        for name in (*names, "draw/end"):
            if not self._copy.has(f"{number}/{name}"):
                with suppress(UnknownObject):
                    await self._fetch(f"{number}/{name}")
        # The copy knows of no newer head than the one that it was compared with.
        for name in (SIGNED, CHECKPOINT):
            await self._write(self._copy, f"{number}/{name}", octets)
        self._copy.prune(number, before, head.size)
        return head.size

    async def _tiles(
        self, into: LogFolder, number: int, head: Checkpoint, held: Checkpoint | None, now: datetime
    ) -> tuple[list[int], datetime]:
        """Bundles and tiles up to a head. The policies among the entries, and when the shard was opened."""
        entered, versions, opened_at = CompactRange.EMPTY, list[int](), now
        for index in range(-(-head.size // TILE_WIDTH)):
            bundle = await self._bundle(into, number, index, min(TILE_WIDTH, head.size - index * TILE_WIDTH))
            hashes = [leaf_hash(one) for one in bundle]
            await asyncio.sleep(0)  # a node does other things beside it
            if held is not None and entered.size < held.size <= entered.size + len(hashes):
                _check_continues(number, held, entered.extend(hashes[: held.size - entered.size]))
            entered = entered.extend(hashes)
            for entry in (parse_entry(one) for one in bundle):
                if isinstance(entry, PolicyEntry):
                    versions.append(entry.version)
                elif isinstance(entry, Opened):
                    opened_at = entry.opened_at
        if entered.root() != head.root:
            raise LogInconsistent(f"The entries of shard {number} are not those of its head.")
        for level, index, width in new_tiles(0, head.size):
            place = f"{number}/{tile_path(level, index, width)}"
            if not into.has(place):
                await self._write(into, place, await self._files.tile(number, level, index, width))
        return versions, opened_at

    async def _bundle(self, into: LogFolder, number: int, index: int, width: int) -> tuple[bytes, ...]:
        place = f"{number}/{bundle_path(index, width)}"
        if into.has(place):
            return decode_bundle(into.read(place), width)
        bundle = await self._files.bundle(number, index, width)
        await self._write(into, place, encode_bundle(bundle))
        return bundle

    async def _fetch(self, path: str) -> None:
        await self._write(self._copy, path, await self._files.get(path))

    async def _write(self, into: LogFolder, path: str, octets: bytes) -> None:
        if into is self._copy:
            self._unproven.append(path)
        await asyncio.to_thread(into.write, path, octets)
        self._fetched += 1


def _check_continues(number: int, held: Checkpoint, entered: CompactRange) -> None:
    """Raises LogInconsistent when these are not the entries under the head that the copy has."""
    if entered.root() != held.root:
        raise LogInconsistent(
            f"The first {held.size} entries of shard {number} are not those that were copied before.",
            remedy="The copy stays as it was. The hub shows different logs: report it to the other members.",
        )


def _instead(copy: Path, again: Path, number: int) -> None:
    """Put the tiles that were fetched again in the place of the damaged ones; raises StoreUnusable."""
    place = copy / str(number) / "tile"
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        (again / str(number) / "tile").rename(place)
    except OSError as error:
        raise StoreUnusable(f"{place} cannot be written: {error.strerror}.") from None


def _months(first: datetime, last: datetime) -> Iterable[str]:
    """The calendar months from `first` to `last`, such as 2026-11."""
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield f"{month // 12:04}-{month % 12 + 1:02}"
