"""Before the log goes on: whether database and files belong together (docs/protocol.md §14.6).

A database that is older than the files is refused. It would sign a second history of the same shard: the one
thing that a hub can do which everybody would hold against it for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from candor_hub.store.log import ShardRecord
from candor_hub.tlog.appender import MAX_ENTRIES, damaged
from candor_hub.tlog.files import CHECKPOINT, SIGNED, LogFiles
from candor_proto.errors import CandorError, LogInconsistent, StoreUnusable, UnknownObject
from candor_proto.merkle import leaf_hash
from candor_proto.tlog.checkpoint import Checkpoint, parse_checkpoint
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.tiles import TILE_WIDTH, bundle_path, new_tiles, tile_path, tile_width, tree_root

_RESTORE = (
    "Never begin anew and never delete the files: what they hold was signed and others have seen it. Restore "
    "the newest backup of the database and the keys, or the disk itself (docs/log.md, section 7)."
)


RESTORE = _RESTORE


def check_start(files: LogFiles, shards: Iterable[ShardRecord]) -> None:
    """Compare the files with what the database vouches for; raises StoreUnusable.

    Looks at the right edge only, however long the log is; `fsck` looks at everything.
    """
    known = {shard.shard: shard for shard in shards}
    for number in files.shards():
        if number not in known and _shown(files, number):
            raise StoreUnusable(
                f"The database knows nothing of shard {number} of the log, which was signed and shown.",
                remedy=_RESTORE,
            )
    for shard in known.values():
        for shown in _shown(files, shard.shard, shard):
            _check_not_older(shard, shown)
        if shard.size:
            _check_edge(files, shard)


def check_edges(files: LogFiles, shards: Iterable[ShardRecord]) -> None:
    """Whether the files hold what the database vouches for, whatever lies behind it. Raises StoreUnusable."""
    for shard in filter(lambda one: one.size, shards):
        _check_edge(files, shard)


def check_not_older(shard: ShardRecord, shown: Checkpoint) -> None:
    """Raises StoreUnusable when a head that was shown is beyond what the database knows, or another one."""
    _check_not_older(shard, shown)


def _check_not_older(shard: ShardRecord, shown: Checkpoint) -> None:
    if shown.size > shard.size:
        raise StoreUnusable(
            f"The database is older than the files of the log: it knows {shard.size:,} entries of "
            f"{shard.origin}, and a checkpoint of {shown.size:,} was signed and shown.",
            remedy=_RESTORE,
        )
    if shown.size == shard.size and shown.root != shard.range.root():
        raise StoreUnusable(
            f"The database and the files of the log have different histories: both know {shard.size:,} "
            f"entries of {shard.origin}, and their roots differ.",
            remedy=_RESTORE,
        )


def _check_edge(files: LogFiles, shard: ShardRecord) -> None:
    """The root over the tiles, and the last bundle under its tile."""
    reader, last = files.shard(shard.shard), (shard.size - 1) // TILE_WIDTH
    width = tile_width(0, last, shard.size)
    try:
        if tree_root(reader, shard.size) != shard.range.root():
            raise LogInconsistent(f"the tiles of {shard.origin} do not have the root that was signed.")
        hashes = b"".join(map(leaf_hash, reader.bundle(last, width)))
        if hashes != reader.tile(0, last, width):
            raise LogInconsistent(f"{bundle_path(last, width)} does not have the hashes of its tile.")
    except CandorError as error:
        raise damaged(error) from error


def _shown(files: LogFiles, number: int, shard: ShardRecord | None = None) -> list[Checkpoint]:
    """The checkpoints in files that are signed by this shard's keys, or that parse, if these are not known.

    One that does not parse was being written when the power failed: it is written again from the database.
    """
    found = []
    for name in (SIGNED, CHECKPOINT):
        with suppress(UnknownObject, CandorError):
            signed = parse_checkpoint(files.read(f"{number}/{name}"))
            if shard is not None:
                verify_log(signed, shard.verifier_keys)
            found.append(signed.checkpoint)
    return found


def tidy(files: LogFiles, shard: ShardRecord) -> None:
    """Remove what an interrupted append left behind the signed size: nobody has seen it."""
    leftovers: list[str] = []
    reader = files.shard(shard.shard)
    for level, index, _ in new_tiles(shard.size, shard.size + MAX_ENTRIES + TILE_WIDTH):
        held = tile_width(level, index, shard.size)
        paths = [reader.path(tile_path(level, index))]
        if level == 0:
            paths.append(reader.path(bundle_path(index)))
        for path in paths:
            if held < TILE_WIDTH:
                leftovers.append(path)
            leftovers += [f"{path}.p/{width}" for width in files.widths(path) if width > held]
            leftovers += files.unfinished(path)
    files.remove(leftovers)


def prune(files: LogFiles, shard: ShardRecord, before: int, after: int) -> None:
    """Remove partial files that neither the signed nor the witnessed size has, where the log grew.

    A narrower one is the beginning of a wider one, and is served from it (`files`).
    """
    sizes, gone = {shard.size, shard.witnessed_size}, list[str]()
    reader = files.shard(shard.shard)
    for level, index, _ in new_tiles(before, after):
        needed = {tile_width(level, index, size) for size in sizes}
        paths = [reader.path(tile_path(level, index))]
        if level == 0:
            paths.append(reader.path(bundle_path(index)))
        gone += [f"{path}.p/{width}" for path in paths for width in files.widths(path) if width not in needed]
    files.remove(gone)
