"""The log that this node has read, kept in its data folder (docs/protocol.md §19.2, docs/succession.md).

    entries of a piece, verified -> the kept log -> folded and stored in the database -> the head

When the hub is gone this is what its successor is founded from. What a node has read it holds that successor
to (§19.4), so nothing may be read that is not kept: the files come before the transaction.

Rules of this file:
- only entries under a witnessed head come here, and no head is replaced by a smaller one;
- a disk that does not take them stops nobody: the node says so, and makes up for it later;
- what was read before there was a kept log, and draws, are copied from the hub, once a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from candor_node.logs import log
from candor_node.tlog.files import Get
from candor_node.tlog.log_copy import Copied, LogCopy
from candor_node.tlog.log_folder import CHECKPOINT, LogFolder
from candor_proto.errors import CandorError, LogInconsistent, UnknownObject
from candor_proto.merkle import leaf_hash
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.tiles import TILE_WIDTH, bundle_path, encode_bundle, grown_tiles, tile_path

TOPPED_UP_EVERY = timedelta(days=1)


class _Tiles:
    """A shard's tiles, for the ones that grow out of them."""

    def __init__(self, files: LogFolder, shard: int) -> None:
        self._files = files
        self._shard = shard

    def tile(self, level: int, index: int, width: int) -> bytes:
        return self._files.tile(self._shard, level, index, width)


class KeptLog:
    """Keeps it in `folder`. One task at a time uses it."""

    def __init__(self, folder: Path) -> None:
        self.files = LogFolder(folder)
        # Of each shard: the entries that lie here, and those under its head.
        self._sizes: dict[int, int] = {}
        self._headed: dict[int, int] = {}
        self._topped_up: datetime | None = None
        self.trouble: CandorError | None = None

    # --- as it is read --------------------------------------------------------------------------------------

    async def append(self, shard: int, start: int, entries: Sequence[bytes]) -> None:
        """Keep verified entries from position `start` on; does not raise."""
        await self._try(lambda: self._append(shard, start, entries))

    async def head(self, shard: int, signed: SignedCheckpoint) -> None:
        """Keep the head that a shard's entries were read to; does not raise."""
        await self._try(lambda: self._keep_head(shard, signed))

    async def policy(self, shard: int, version: int, signed: SignedCheckpoint) -> None:
        """Keep the head that put a policy in force; does not raise."""
        path = f"{shard}/policy/{version}"
        if not self.files.has(path):
            await self._try(lambda: self.files.write(path, signed.encode()))

    async def _try(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except CandorError as error:
            self._forget()
            self._failed(error)

    def _forget(self) -> None:
        """What lies here is looked at again."""
        self._sizes.clear()
        self._headed.clear()

    def _append(self, shard: int, start: int, entries: Sequence[bytes]) -> None:
        held = self._held(shard)
        if held < start:
            return  # something before is missing: it is copied from the hub
        self._check_same(shard, start, entries[: held - start])
        added = entries[held - start :]
        if not added:
            return
        first, rest = divmod(held, TILE_WIDTH)
        begun = list(self.files.bundle(shard, first, rest)) if rest else []
        grown = [*begun, *added]
        for at in range(0, len(grown), TILE_WIDTH):
            bundle = grown[at : at + TILE_WIDTH]
            place = bundle_path(first + at // TILE_WIDTH, len(bundle))
            self.files.write(f"{shard}/{place}", encode_bundle(bundle))
        hashes = [leaf_hash(one) for one in added]
        for level, index, width, octets in grown_tiles(_Tiles(self.files, shard), held, hashes):
            self.files.write(f"{shard}/{tile_path(level, index, width)}", octets)
        self._sizes[shard] = held + len(added)

    def _check_same(self, shard: int, start: int, entries: Sequence[bytes]) -> None:
        """A database that was restored reads once more what is here already. Raises LogInconsistent."""
        at = start
        while at < start + len(entries):
            index, first = divmod(at, TILE_WIDTH)
            width = min(TILE_WIDTH, start + len(entries) - index * TILE_WIDTH)
            held = self.files.bundle(shard, index, width)[first:]
            if held != tuple(entries[at - start : at - start + len(held)]):
                raise LogInconsistent(
                    f"The hub shows other entries of shard {shard}, from {at} on, than this node has kept in "
                    f"{self.files.folder}.",
                    remedy="Keep that folder, and report it to the hub operator and to the other members.",
                )
            at += len(held)

    def _keep_head(self, shard: int, signed: SignedCheckpoint) -> None:
        size, before = signed.checkpoint.size, self._under_head(shard)
        if self._held(shard) < size or before > size:
            return
        # The other files of a whole copy come when it is handed over.
        self.files.write(f"{shard}/{CHECKPOINT}", signed.encode())
        self._headed[shard] = size
        self.files.prune(shard, before, size)

    def _under_head(self, shard: int) -> int:
        if shard not in self._headed:
            head = self.files.head(shard)
            self._headed[shard] = head.size if head is not None else 0
        return self._headed[shard]

    def _held(self, shard: int) -> int:
        if shard not in self._sizes:
            self._sizes[shard] = self.files.entries(shard)
        return self._sizes[shard]

    # --- from the hub --------------------------------------------------------------------------------------

    async def top_up(self, get: Get, heads: Mapping[int, SignedCheckpoint], now: datetime) -> None:
        """Copy what is missing up to `heads`, those that this node has read its shards to.

        When something is missing, and once a day; does not raise.
        """
        if not heads:
            return
        try:
            await self._top_up(get, heads, now)
        except CandorError as error:
            self._failed(error)

    async def _top_up(self, get: Get, heads: Mapping[int, SignedCheckpoint], now: datetime) -> None:
        if all(self._under_head(shard) >= signed.checkpoint.size for shard, signed in heads.items()):
            at = self._topped_up = self._topped_up or now
            if timedelta(0) <= now - at < TOPPED_UP_EVERY:
                return

        async def head(shard: int) -> bytes:
            if shard > max(heads):
                raise UnknownObject("This node has read no further shard.")
            kept = self.files.head(shard)
            # A restored database has not read again yet; an operator's own policy knows no shards before.
            if kept is not None and (shard not in heads or kept.size > heads[shard].checkpoint.size):
                return self.files.read(f"{shard}/{CHECKPOINT}")
            return heads[shard].encode() if shard in heads else await get(f"{shard}/{CHECKPOINT}")

        try:
            copied = await LogCopy(get, self.files.folder, head).update(now)
        finally:
            self._forget()
        self._topped_up, self.trouble = now, None
        log.info("the log is kept", entries=copied.entries)

    def _failed(self, error: CandorError) -> None:
        if self.trouble is None or self.trouble.message != error.message:
            log.warning("the log is not kept", code=error.code, reason=error.message)
        self.trouble = error


async def hand_over(kept: Path, out: Path, now: datetime) -> Copied:
    """Copy what a node has kept to another folder, checked on the way.

    Raises UnknownObject when it keeps none, Rollback when `out` holds more already, LogInconsistent or
    MalformedMessage when it is damaged, StoreUnusable.
    """
    files = LogFolder(kept)
    if files.head(1) is None:
        raise UnknownObject(
            "This node has kept no copy of the log yet.", remedy="Ask another member for its copy."
        )
    return await LogCopy(files.get, out).update(now)
