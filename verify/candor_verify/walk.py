"""One pass over a shard's bundles and tiles, in constant memory, with the tree computed anew.

What is held: one bundle, and one tile of each level. Every file that does not fit its neighbours is named;
where a bundle and its tile disagree, the tile above (or the root) says which of them is damaged.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from hashlib import sha256

from candor_verify import tiles
from candor_verify.errors import FindingClass, Malformed
from candor_verify.merkle import HASH, CompactRange, full_root
from candor_verify.report import Report
from candor_verify.source import Source
from candor_verify.tiles import WIDTH, tile_path

MAX_MISSING = 16


class Walk:
    """Streams the entries of one shard.

    `marks` are (size, root, name) of signed heads; the roots that were computed at those sizes are compared
    as the walk comes by: `fitting` and `differing` hold their names, `unseen` those of sizes never reached.
    """

    def __init__(
        self, source: Source, shard: int, size: int, report: Report, take: Callable[[int, bytes], None]
    ) -> None:
        self._source = source
        self._prefix = f"{shard}/"
        self._report = report
        self._take = take
        self.size = size
        self.damaged = 0
        self.fitting: list[str] = []
        self.differing: list[str] = []
        self.unseen: list[str] = []
        self._marks: list[tuple[int, bytes, str]] = []
        self._border = CompactRange()
        self._levels: list[list[bytes]] = [[] for _ in range(tiles.MAX_LEVEL)]
        self._missing = 0

    def mark(self, size: int, root: bytes, name: str) -> None:
        """Compare the root of that size, which must not have been passed yet."""
        insort(self._marks, (size, root, name))

    @property
    def root(self) -> bytes:
        """Of what was walked over."""
        return self._border.root()

    def run(self) -> None:
        """To the end, or to where nothing is there any more."""
        self._compare_marks()
        for number in range(-(-self.size // WIDTH)):
            width = min(WIDTH, self.size - number * WIDTH)
            hashes = self._leaves(number, width)
            if hashes is None:
                if self._missing >= MAX_MISSING:
                    where = self._prefix + tile_path(None, number, width)
                    self._report.finding(
                        FindingClass.INCLUSION, where, "nothing follows: the log is cut off here"
                    )
                    break
                self._skip(number, width)
                continue
            self._grow(hashes)
            if width == WIDTH:
                self._level(1, number, full_root(hashes))
        self._finish()
        self.unseen += [name for _, _, name in self._marks]

    def _skip(self, number: int, width: int) -> None:
        """Go on behind what is lost, with what the tile above says of it."""
        above = self._believed_above(number, width) if width == WIDTH else None
        if above is None or len(above) != HASH:
            self._grow([bytes(HASH)] * width)
            above = full_root([bytes(HASH)] * WIDTH)
        else:
            self._border.append_subtree(above, 8)
            self._compare_marks()
        if width == WIDTH:
            self._level(1, number, above)

    def _leaves(self, number: int, width: int) -> list[bytes] | None:
        """The leaf hashes of one bundle, compared with those of its tile."""
        entries = self._bundle(number, width)
        stored = self._tile(0, number, width)
        kept = None if stored is None else tiles.decode_tile(stored, width)
        hashes = None if entries is None else [sha256(b"\x00" + entry).digest() for entry in entries]
        differ = hashes is not None and kept is not None and hashes != kept
        if differ and self._bundle_is_damaged(number, width, hashes or [], kept or []):
            entries = None
        believed = kept if entries is None else hashes
        if believed is not None:
            self._leftovers(0, number, believed)
            self._leftover_bundles(number, believed)
        for offset, entry in enumerate(entries or ()):
            self._take(number * WIDTH + offset, entry)
        return believed

    def _bundle_is_damaged(self, number: int, width: int, hashes: list[bytes], kept: list[bytes]) -> bool:
        """Name what is damaged where bundle and tile disagree; true if the tile is to be believed."""
        self.damaged += 1
        index = number * WIDTH + next(at for at in range(width) if hashes[at] != kept[at])
        above = self._believed_above(number, width)
        told = {"bundle": self._told(number, hashes), "tile": self._told(number, kept)}
        bundle, tile = (self._prefix + tile_path(level, number, width) for level in (None, 0))
        if above is not None and above == told["tile"]:
            what = f"damaged: entry {index} is not the one that {tile} and the tree above it hold"
            self._report.finding(FindingClass.INCLUSION, bundle, what)
            return True
        what = f"damaged: hash {index} is not that of the entry"
        if above is None or above != told["bundle"]:
            what = f"hash {index} is not that of the entry in {bundle}: one of the two is damaged"
        self._report.finding(FindingClass.INCLUSION, tile, what)
        return False

    def _believed_above(self, number: int, width: int) -> bytes | None:
        """What the tile above, or the signed root for a partial one, says of this tile."""
        if width == WIDTH:
            above, position = divmod(number, WIDTH)
            octets = self._read(1, above, tiles.width_of(1, above, self.size))
            return None if octets is None else octets[position * HASH : (position + 1) * HASH]
        return next((root for size, root, _ in self._marks if size == self.size), None)

    def _told(self, number: int, hashes: list[bytes]) -> bytes:
        if len(hashes) == WIDTH:
            return full_root(hashes)
        border = self._border.copy()
        border.extend(hashes)
        return border.root()

    def _bundle(self, number: int, width: int) -> list[bytes] | None:
        octets = self._read(None, number, width)
        if octets is None:
            self._lost(tile_path(None, number, width), "missing")
            return None
        try:
            return tiles.decode_bundle(octets, width)
        except Malformed as error:
            self._lost(tile_path(None, number, width), f"damaged: {error}")
            return None

    def _tile(self, level: int, number: int, width: int) -> bytes | None:
        octets = self._read(level, number, width)
        if octets is None:
            self._lost(tile_path(level, number, width), "missing")
        elif len(octets) != width * HASH:
            self._lost(tile_path(level, number, width), f"damaged: {len(octets)} octets, not {width * HASH}")
            return None
        return octets

    def _lost(self, path: str, what: str) -> None:
        self.damaged += 1
        self._missing += what == "missing"
        self._report.finding(FindingClass.INCLUSION, self._prefix + path, what)

    def _read(self, level: int | None, number: int, width: int) -> bytes | None:
        """A tile or bundle; of a partial one that is gone, the beginning of a wider or the full one."""
        limit = tiles.MAX_BUNDLE_OCTETS if level is None else tiles.TILE_OCTETS
        octets = self._source.read(self._prefix + tile_path(level, number, width), limit)
        if octets is not None or width == WIDTH:
            return octets
        wider = [each for each in self._partial_widths(level, number) if each > width]
        octets = self._source.read(self._prefix + tile_path(level, number, min(wider, default=WIDTH)), limit)
        if octets is None or level is not None:
            return None if octets is None else octets[: width * HASH]
        position = 0
        for _ in range(width):
            position += 2 + int.from_bytes(octets[position : position + 2], "big")
        return octets[:position]

    def _grow(self, hashes: list[bytes]) -> None:
        """Into the tree, with a stop at each size that a head was signed for."""
        at = 0
        while self._marks and self._marks[0][0] < self._border.size + len(hashes) - at:
            stop = at + self._marks[0][0] - self._border.size
            self._border.extend(hashes[at:stop])
            at = stop
            self._compare_marks()
        self._border.extend(hashes[at:] if at else hashes)
        self._compare_marks()

    def _compare_marks(self) -> None:
        while self._marks and self._marks[0][0] <= self._border.size:
            size, root, name = self._marks.pop(0)
            if size < self._border.size:
                self.unseen.append(name)
            else:
                (self.fitting if root == self._border.root() else self.differing).append(name)

    def _level(self, level: int, number: int, root: bytes) -> None:
        """One more hash of a tile of this level, which is compared when it is full."""
        row = self._levels[level - 1]
        row.append(root)
        if len(row) == WIDTH:
            self._compare_tile(level, number // WIDTH, row)
            whole = full_root(row)
            row.clear()
            if level < tiles.MAX_LEVEL:
                self._level(level + 1, number // WIDTH, whole)

    def _finish(self) -> None:
        """The tiles of the right border."""
        for level, row in enumerate(self._levels, 1):
            if row:
                self._compare_tile(level, self._border.size >> 8 * (level + 1), row)

    def _compare_tile(self, level: int, number: int, computed: list[bytes]) -> None:
        octets = self._tile(level, number, len(computed))
        if octets is None:
            return
        if octets != b"".join(computed):
            self.damaged += 1
            stored = tiles.decode_tile(octets, len(computed))
            position = next(at for at, hash_ in enumerate(computed) if hash_ != stored[at])
            self._report.finding(
                FindingClass.INCLUSION,
                self._prefix + tile_path(level, number, len(computed)),
                f"damaged: hash {position} is not that of the tile below it",
            )
        self._leftovers(level, number, computed)

    def _leftovers(self, level: int, number: int, hashes: list[bytes]) -> None:
        """Partial tiles of earlier sizes, where a folder still has them, are its beginning."""
        for earlier in self._earlier_widths(level, number, len(hashes)):
            path = self._prefix + tile_path(level, number, earlier)
            if self._source.read(path, tiles.TILE_OCTETS) != b"".join(hashes[:earlier]):
                self._lost(tile_path(level, number, earlier), "damaged: not the beginning of its tile")

    def _leftover_bundles(self, number: int, hashes: list[bytes]) -> None:
        for earlier in self._earlier_widths(None, number, len(hashes)):
            path = tile_path(None, number, earlier)
            try:
                octets = self._source.read(self._prefix + path, tiles.MAX_BUNDLE_OCTETS) or b""
                held = [sha256(b"\x00" + entry).digest() for entry in tiles.decode_bundle(octets, earlier)]
            except Malformed:
                held = []
            if held != hashes[:earlier]:
                self._lost(path, "damaged: not the beginning of its bundle")

    def _earlier_widths(self, level: int | None, number: int, width: int) -> list[int]:
        return [each for each in self._partial_widths(level, number) if each < width]

    def _partial_widths(self, level: int | None, number: int) -> list[int]:
        names = self._source.names(self._prefix + tile_path(level, number) + ".p")
        digits = [name for name in names if name.isascii() and name.isdigit() and name[0] != "0"]
        return [int(name) for name in digits if len(name) <= 3 and int(name) < WIDTH]
