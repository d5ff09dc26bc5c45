"""Tiles and entry bundles, and every proof out of them (C2SP tlog-tiles; docs/protocol.md §14.6).

A tile holds 256 consecutive hashes of one level of the tree; level L + 1 holds the roots of the full
tiles of level L. Partial tiles exist at the right edge only. Paths are relative to the log's prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from candor_proto import merkle
from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.merkle import HASH_OCTETS, node_hash

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_LEVEL = 63
MAX_ENTRY_OCTETS = 65_535
ENTRIES = "entries"
_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?\Z")


def _path(level: str, index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise MalformedMessage("No tile has this index or width.")
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    number = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    return f"tile/{level}/{number}" + ("" if width == TILE_WIDTH else f".p/{width}")


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """`tile/<L>/<N>`, with `.p/<W>` behind it for a partial tile."""
    if not 0 <= level <= MAX_LEVEL:
        raise MalformedMessage("No tile has this level.")
    return _path(str(level), index, width)


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """`tile/entries/<N>`, with `.p/<W>` behind it for a partial bundle."""
    return _path(ENTRIES, index, width)


def parse_path(path: str) -> tuple[int | None, int, int]:
    """Level (None for an entry bundle), index and width of a path; raises MalformedMessage."""
    found = _PATH.match(path)
    if not found:
        raise MalformedMessage("Not the path of a tile or bundle.")
    level = None if found[1] == ENTRIES else int(found[1])
    index, width = int(found[2].replace("/", "").replace("x", "")), int(found[3] or TILE_WIDTH)
    if _path(found[1], index, min(width, TILE_WIDTH)) != path or (level or 0) > MAX_LEVEL:
        raise MalformedMessage("Not the path of a tile or bundle.")
    return level, index, width


def tile_width(level: int, index: int, size: int) -> int:
    """How many hashes this tile holds in a log of `size` entries; 0 if it does not exist."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def new_tiles(size_before: int, size_after: int) -> list[tuple[int, int, int]]:
    """Level, index and width of every tile that a log has at `size_after` and had not at `size_before`.

    Bundles are those of level 0. Lower levels come first, so that each can be made of those before it.
    """
    if not 0 <= size_before <= size_after:
        raise MalformedMessage("A log does not shrink.")
    found = []
    for level in range(MAX_LEVEL + 1):
        before, after = size_before >> (TILE_HEIGHT * level), size_after >> (TILE_HEIGHT * level)
        if before == after:
            break
        for index in range(before // TILE_WIDTH, -(-after // TILE_WIDTH)):
            found.append((level, index, tile_width(level, index, size_after)))
    return found


class TileReader(Protocol):
    """Where tiles come from; what is read is not trusted, the proofs made of it are checked."""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of this tile, 32 octets each; a full tile may stand in for a partial one.

        Raises UnknownObject.
        """


class _Tree:
    """A log of `size` entries over a reader; every tile is read once."""

    def __init__(self, reader: TileReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def _tile(self, level: int, index: int) -> bytes:
        octets = self._tiles.get((level, index))
        if octets is None:
            width = tile_width(level, index, self._size)
            octets = self._reader.tile(level, index, width)
            if len(octets) != width * HASH_OCTETS:
                raise MalformedMessage(f"{tile_path(level, index, width)} is not {width} hashes.")
            self._tiles[level, index] = octets
        return octets

    def _subtree(self, height: int, index: int) -> bytes:
        """The root of the `index`-th complete subtree of 2^`height` entries."""
        level, above = divmod(height, TILE_HEIGHT)
        # 2^above hashes of one tile lie below it; for above = 0 it is one of them.
        first = index << above
        octets = self._tile(level, first // TILE_WIDTH)
        start = first % TILE_WIDTH * HASH_OCTETS
        return _fold(octets[start : start + (HASH_OCTETS << above)])

    def root(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]), where `start` is a multiple of a power of two not below `end - start`."""
        if start == end:
            return merkle.EMPTY_ROOT
        pieces = []
        while start < end:
            height = (end - start).bit_length() - 1
            pieces.append(self._subtree(height, start >> height))
            start += 1 << height
        computed = pieces.pop()
        while pieces:
            computed = node_hash(pieces.pop(), computed)
        return computed


def _fold(octets: bytes) -> bytes:
    """The root over a power of two of concatenated hashes."""
    level = [octets[at : at + HASH_OCTETS] for at in range(0, len(octets), HASH_OCTETS)]
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def _split(count: int) -> int:
    """The largest power of two below `count` (RFC 6962 §2.1)."""
    return 1 << ((count - 1).bit_length() - 1)


def tree_root(reader: TileReader, size: int) -> bytes:
    """The root of the log of `size` entries, out of its tiles."""
    return _Tree(reader, size).root(0, size)


def prefix_root(reader: TileReader, first: int, size: int) -> bytes:
    """The root that the log had at `first` entries, out of the tiles that it has at `size`."""
    if not 0 <= first <= size:
        raise MalformedMessage("A log does not shrink.")
    return _Tree(reader, size).root(0, first)


def inclusion_proof(reader: TileReader, index: int, size: int) -> tuple[bytes, ...]:
    """The proof of entry `index` in the log of `size` entries (RFC 6962 §2.1.1)."""
    if not 0 <= index < size:
        raise MalformedMessage("A log does not hold an entry beyond its size.")
    tree, start, end = _Tree(reader, size), 0, size
    path = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(tree.root(middle, end))
            end = middle
        else:
            path.append(tree.root(start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_proof(reader: TileReader, first: int, second: int) -> tuple[bytes, ...]:
    """The proof that the log of `second` entries continues that of `first` (RFC 6962 §2.1.2).

    Empty for first = 0 and for equal sizes.
    """
    if not 0 <= first <= second:
        raise MalformedMessage("A log does not shrink.")
    if first in (0, second):
        return ()
    tree, start, end = _Tree(reader, second), 0, second
    path = []
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(tree.root(middle, end))
            end = middle
        else:
            path.append(tree.root(start, middle))
            start = middle
    # The subtree that the smaller log ends with; it is left out if it is that whole log.
    if start:
        path.append(tree.root(start, end))
    return tuple(reversed(path))


def grown_tiles(
    reader: TileReader, size_before: int, leaf_hashes: Sequence[bytes]
) -> list[tuple[int, int, int, bytes]]:
    """Level, index, width and octets of each of `new_tiles` when `leaf_hashes` follow `size_before` entries.

    Of what exists only the partial tiles at the right edge are read.
    """
    added, found = list(leaf_hashes), []
    size_after = size_before + len(added)
    for level in range(MAX_LEVEL + 1):
        before, after = size_before >> (TILE_HEIGHT * level), size_after >> (TILE_HEIGHT * level)
        if before == after:
            break
        first, width = divmod(before, TILE_WIDTH)
        octets = (reader.tile(level, first, width) if width else b"") + b"".join(added)
        added = []
        for index in range(first, -(-after // TILE_WIDTH)):
            start = (index - first) * TILE_WIDTH * HASH_OCTETS
            tile = octets[start : start + TILE_WIDTH * HASH_OCTETS]
            found.append((level, index, len(tile) // HASH_OCTETS, tile))
            if len(tile) == TILE_WIDTH * HASH_OCTETS:
                added.append(_fold(tile))
    return found


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries, each behind its length in two octets."""
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_OCTETS:
            raise LimitExceeded(f"A log entry is at most {MAX_ENTRY_OCTETS} octets.")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def decode_bundle(octets: bytes, count: int) -> tuple[bytes, ...]:
    """The first `count` entries, at most 256, and nothing behind them; raises MalformedMessage."""
    if not 0 <= count <= TILE_WIDTH:
        raise LimitExceeded(f"A bundle holds at most {TILE_WIDTH} entries.")
    entries, at = [], 0
    for _ in range(count):
        start = at + 2
        at = start + int.from_bytes(octets[at:start], "big")
        if start > len(octets) or at > len(octets):
            raise MalformedMessage("An entry bundle ends too early.")
        entries.append(octets[start:at])
    if at != len(octets):
        raise NotCanonical("Octets follow the last entry of a bundle.")
    return tuple(entries)
