"""Where a log's files lie, and what is in them (C2SP tlog-tiles): paths, bundles, tiles."""

from __future__ import annotations

import re

from candor_verify.errors import LimitExceeded, Malformed
from candor_verify.merkle import HASH

WIDTH = 256
TILE_OCTETS = WIDTH * HASH
MAX_BUNDLE_OCTETS = WIDTH * (65_535 + 2)
MAX_LEVEL = 7  # 256^8 is beyond every size below 2^63
_PATH = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?\Z"
)


def tile_path(level: int | None, index: int, width: int = WIDTH) -> str:
    """Of a tile, or with level None of a bundle; relative to the shard's folder."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{'entries' if level is None else level}/{number}{partial}"


def parse_tile_path(path: str) -> tuple[int | None, int, int]:
    """Level (None for a bundle), index and width of the only path that says so. Raises Malformed."""
    found = _PATH.match(path)
    if not found or len(path) > 100:
        raise Malformed("A path is not that of a tile.")
    level = None if found[1] == "entries" else int(found[1])
    index = int(found[2].replace("/", "").replace("x", ""))
    width = int(found[3]) if found[3] else WIDTH
    if tile_path(level, index, width) != path or (found[3] and width >= WIDTH):
        raise Malformed("A path is not that of a tile.")
    return level, index, width


def width_of(level: int | None, index: int, size: int) -> int:
    """How wide that tile or bundle is in a tree of `size` entries; 0 if it is not in it."""
    hashes = size >> 8 * (level or 0)
    return max(0, min(WIDTH, hashes - index * WIDTH))


def decode_bundle(octets: bytes, count: int) -> list[bytes]:
    """The entries of a bundle, of which there must be `count`. Raises Malformed or LimitExceeded."""
    if count > WIDTH:
        raise LimitExceeded(f"A bundle of {count} entries; it has at most {WIDTH}.")
    found = []
    position, end = 0, len(octets)
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(octets[position:start], "big")
        if start > end or position > end:
            raise Malformed("A bundle ends in the middle of an entry, or holds too few.")
        found.append(octets[start:position])
    if position != end:
        raise Malformed("A bundle holds more than its entries.")
    return found


def decode_tile(octets: bytes, width: int) -> list[bytes]:
    """The hashes of a tile. Raises Malformed."""
    if len(octets) != width * HASH:
        raise Malformed(f"A tile of {len(octets)} octets; it has {width * HASH}.")
    return [octets[at : at + HASH] for at in range(0, len(octets), HASH)]
