"""A log in a folder, as an oracle reads it: written by our functions, a quorum of one witness."""

from __future__ import annotations

from pathlib import Path

from candor_proto import merkle
from candor_proto.errors import UnknownObject
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.tiles import bundle_path, encode_bundle, grown_tiles, tile_path
from tests.parties import NOW

ORIGIN = "test.candor.example/log/1"
KEYS = LogKeys(ORIGIN, b"\x01" * 32, b"\x02" * 32)
WITNESS = WitnessKeys("test.candor.example/witness/alpha", b"\x03" * 32, b"\x04" * 32)
# One tile and less, the edges of tiles, several tiles, and the second level.
SIZES = (1, 2, 255, 256, 257, 300, 511, 513, 1_000, 66_000)


def some_entries(size: int) -> list[bytes]:
    return [b"entry %d of the log" % number for number in range(size)]


def grows_to(size: int) -> list[int]:
    """The sizes at which a log of `size` entries was signed."""
    return sorted({max(1, size // 3), size // 2 or 1, size})


class Folder:
    """The folder of a log, ours or somebody else's."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tile(self, level: int, index: int, width: int) -> bytes:
        for path in (tile_path(level, index, width), tile_path(level, index)):
            if (self.root / path).exists():
                return (self.root / path).read_bytes()[: width * 32]
        raise UnknownObject(f"No {tile_path(level, index, width)}.")

    def write(self, path: str, octets: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(octets)

    def append(self, entries: list[bytes], before: int) -> None:
        """Bring a folder of `before` entries to all of `entries`."""
        hashes = [merkle.leaf_hash(entry) for entry in entries[before:]]
        for level, index, width, octets in grown_tiles(self, before, hashes):
            self.write(tile_path(level, index, width), octets)
        for index in range(before // 256, -(-len(entries) // 256)):
            bundle = entries[index * 256 : (index + 1) * 256]
            self.write(bundle_path(index, len(bundle)), encode_bundle(bundle))


def write_log(root: Path, size: int) -> SignedCheckpoint:
    """A log that grew in steps, signed by the log and one witness."""
    folder, entries, before = Folder(root), some_entries(size), 0
    for until in grows_to(size):
        folder.append(entries[:until], before)
        before = until
    signed = KEYS.sign(Checkpoint(ORIGIN, size, tiles.tree_root(folder, size)), NOW)
    signed = signed.with_signatures(WITNESS.cosign(signed.checkpoint, NOW))
    folder.write("checkpoint", signed.encode())
    return signed


def places(size: int) -> set[int]:
    """Indexes of entries worth a proof."""
    return {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size))


def check_entries(folder: Folder, entries: list[bytes]) -> None:
    """Every bundle holds these entries, and level 0 their hashes."""
    for index in range(-(-len(entries) // 256)):
        width = tiles.tile_width(0, index, len(entries))
        bundle = (folder.root / bundle_path(index, width)).read_bytes()
        found = tiles.decode_bundle(bundle, width)
        assert list(found) == entries[index * 256 : index * 256 + width]
        assert b"".join(map(merkle.leaf_hash, found)) == folder.tile(0, index, width)
