"""Merkle trees, compact ranges, tiles and bundles (RFC 6962, RFC 9162, tlog-tiles; docs/protocol.md §14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from candor_proto import merkle
from candor_proto.merkle import CompactRange
from candor_proto.tlog.tiles import (
    bundle_path,
    consistency_proof,
    decode_bundle,
    encode_bundle,
    grown_tiles,
    inclusion_proof,
    new_tiles,
    parse_path,
    tile_path,
    tile_width,
    tree_root,
)
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.shapes import OCTETS, TEXT, U8, U16, U64, fields, fixed, listed, maybe

_PROOF = listed(OCTETS)


class HeldTiles:
    """Tiles in memory."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._tiles = {(level, index): octets for level, index, _, octets in grown_tiles(self, 0, leaves)}

    def tile(self, level: int, index: int, width: int) -> bytes:
        return self._tiles[level, index][: 32 * width]


def hashes(texts: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def _leaves(given: Given) -> list[bytes]:
    return [merkle.leaf_hash(entry) for entry in hashes(given["entries"])]


@operation(
    "merkle-root",
    "14.1",
    "leaf hashes and root of these entries, and the roots of their largest full subtrees, left to right",
    {"entries": listed(OCTETS)},
    {"leaves": listed(fixed(32)), "root": fixed(32), "compact": listed(fixed(32))},
)
def _merkle_root(given: Given) -> dict[str, Any]:
    entries, leaves = hashes(given["entries"]), _leaves(given)
    compact = CompactRange.EMPTY.extend(leaves)
    root = merkle.root(entries)
    assert compact.root() == root == tree_root(HeldTiles(leaves), len(leaves))
    return {
        "leaves": [leaf.hex() for leaf in leaves],
        "root": root.hex(),
        "compact": [piece.hex() for piece in compact.hashes],
    }


@operation(
    "inclusion-proof",
    "14.1",
    "the inclusion proof of the entry at `index`, from the leaf's sibling up",
    {"entries": listed(OCTETS), "index": U64},
    {"proof": listed(fixed(32))},
)
def _inclusion_proof(given: Given) -> dict[str, Any]:
    leaves = _leaves(given)
    proof = inclusion_proof(HeldTiles(leaves), int(given["index"]), len(leaves))
    return {"proof": [piece.hex() for piece in proof]}


@operation(
    "verify-inclusion",
    "14.1",
    "RFC 9162 §2.1.3.2",
    {"leaf": OCTETS, "index": U64, "size": U64, "proof": _PROOF, "root": OCTETS},
    {},
)
def _verify_inclusion(given: Given) -> dict[str, Any]:
    leaf, root = bytes.fromhex(given["leaf"]), bytes.fromhex(given["root"])
    merkle.verify_inclusion(leaf, int(given["index"]), int(given["size"]), hashes(given["proof"]), root)
    return {}


@operation(
    "consistency-proof",
    "14.1",
    "the proof that these entries continue the first `first` of them",
    {"entries": listed(OCTETS), "first": U64},
    {"proof": listed(fixed(32))},
)
def _consistency_proof(given: Given) -> dict[str, Any]:
    leaves = _leaves(given)
    proof = consistency_proof(HeldTiles(leaves), int(given["first"]), len(leaves))
    return {"proof": [piece.hex() for piece in proof]}


@operation(
    "verify-consistency",
    "14.1",
    "RFC 9162 §2.1.4.2; of an empty log, and of a log with itself, the proof is empty",
    {"first": U64, "second": U64, "proof": _PROOF, "first_root": OCTETS, "second_root": OCTETS},
    {},
)
def _verify_consistency(given: Given) -> dict[str, Any]:
    first, second = bytes.fromhex(given["first_root"]), bytes.fromhex(given["second_root"])
    merkle.verify_consistency(
        int(given["first"]), int(given["second"]), hashes(given["proof"]), first, second
    )
    return {}


@operation(
    "tile-path",
    "14.6",
    "where a tile lies; `level` null means the bundle of entries. Two-way",
    {"level": maybe(U8), "index": U64, "width": U16},
    {"path": TEXT},
)
def _tile_path(given: Given) -> dict[str, Any]:
    level, index, width = given["level"], int(given["index"]), given["width"]
    path = bundle_path(index, width) if level is None else tile_path(level, index, width)
    assert parse_path(path) == (level, index, width)
    return {"path": path}


@operation(
    "read-tile-path",
    "14.6",
    "which tile or bundle a path names",
    {"path": TEXT},
    {"level": maybe(U8), "index": U64, "width": U16},
)
def _read_tile_path(given: Given) -> dict[str, Any]:
    level, index, width = parse_path(given["path"])
    return {"level": level, "index": str(index), "width": width}


@operation(
    "tiles",
    "14.6",
    "every tile that a log of this size has, lowest level first, with how many hashes it holds",
    {"size": U64},
    {"tiles": listed(fields(level=U8, index=U64, width=U16))},
)
def _tiles(given: Given) -> dict[str, Any]:
    found = new_tiles(0, int(given["size"]))
    assert all(tile_width(level, index, int(given["size"])) == width for level, index, width in found)
    return {"tiles": [{"level": level, "index": str(index), "width": width} for level, index, width in found]}


@operation(
    "tile-hash",
    "14.6",
    "the hash that a full tile becomes one level up",
    {"tile": OCTETS},
    {"hash": fixed(32)},
)
def _tile_hash(given: Given) -> dict[str, Any]:
    octets = bytes.fromhex(given["tile"])
    leaves = [octets[at : at + 32] for at in range(0, len(octets), 32)]
    (_, _, _, above) = grown_tiles(HeldTiles([]), 0, leaves)[1]
    return {"hash": above.hex()}


@operation(
    "bundle",
    "14.6",
    "the octets of a bundle of entries. Two-way",
    {"entries": listed(OCTETS)},
    {"bundle": OCTETS},
)
def _bundle(given: Given) -> dict[str, Any]:
    entries = hashes(given["entries"])
    octets = encode_bundle(entries)
    assert list(decode_bundle(octets, len(entries))) == entries
    return {"bundle": octets.hex()}


@operation(
    "read-bundle",
    "14.6",
    "the `count` entries of a bundle",
    {"bundle": OCTETS, "count": U16},
    {"entries": listed(OCTETS)},
)
def _read_bundle(given: Given) -> dict[str, Any]:
    return {
        "entries": [entry.hex() for entry in decode_bundle(bytes.fromhex(given["bundle"]), given["count"])]
    }


# The tree of RFC 6962's reference tests: eight entries, and its root.
EIGHT = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
_ROOT_OF_EIGHT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def book() -> Book:
    found = Book(
        "merkle",
        "Merkle roots, compact ranges, proofs of inclusion and consistency, paths of tiles, bundles.",
        ("14.1", "14.6"),
        "The eight entries are those of the reference tests of RFC 6962 (certificate-transparency-go), whose "
        "root is known; "
        "proofs by candor_proto.tlog.tiles, cross-checked with a naive tree for all sizes up to 300 and with "
        "the wheel "
        "`tlog-scales` in the tests of that package. Paths follow C2SP tlog-tiles.",
    )
    for count in (0, 1, 2, 3, 5, 7, 8):
        made = found.case(
            f"root_of_{count}", "merkle-root", {"entries": [entry.hex() for entry in EIGHT[:count]]}
        )
    assert made["root"] == _ROOT_OF_EIGHT
    _proofs(found)
    _refused_proofs(found)
    _tiles_and_bundles(found)
    return found


def _proofs(found: Book) -> None:
    for size, index in ((1, 0), (2, 1), (3, 2), (7, 3), (7, 6), (8, 0), (8, 5), (8, 7)):
        entries = [entry.hex() for entry in EIGHT[:size]]
        made = found.case(
            f"inclusion_{index}_of_{size}", "inclusion-proof", {"entries": entries, "index": str(index)}
        )
        found.case(
            f"included_{index}_of_{size}",
            "verify-inclusion",
            {
                "leaf": merkle.leaf_hash(EIGHT[index]).hex(),
                "index": str(index),
                "size": str(size),
                "proof": made["proof"],
                "root": merkle.root(EIGHT[:size]).hex(),
            },
        )
    for first, second in (
        (0, 0),
        (0, 3),
        (1, 1),
        (1, 8),
        (2, 5),
        (3, 7),
        (4, 7),
        (4, 8),
        (6, 8),
        (7, 8),
        (8, 8),
    ):
        entries = [entry.hex() for entry in EIGHT[:second]]
        given = {"entries": entries, "first": str(first)}
        made = found.case(f"consistency_{first}_of_{second}", "consistency-proof", given)
        found.case(
            f"consistent_{first}_of_{second}",
            "verify-consistency",
            {
                "first": str(first),
                "second": str(second),
                "proof": made["proof"],
                "first_root": merkle.root(EIGHT[:first]).hex(),
                "second_root": merkle.root(EIGHT[:second]).hex(),
            },
        )


def _refused_proofs(found: Book) -> None:
    leaves = [merkle.leaf_hash(entry) for entry in EIGHT]
    proof = [piece.hex() for piece in inclusion_proof(HeldTiles(leaves[:7]), 3, 7)]
    base = {
        "leaf": leaves[3].hex(),
        "index": "3",
        "size": "7",
        "proof": proof,
        "root": merkle.root(EIGHT[:7]).hex(),
    }
    flaws: dict[str, dict[str, Any]] = {
        "another_leaf": {"leaf": leaves[4].hex()},
        "another_index": {"index": "2"},
        "another_size": {"size": "4"},
        "index_beyond_the_size": {"index": "7"},
        "empty_log": {"index": "0", "size": "0", "proof": []},
        "hash_too_few": {"proof": proof[:-1]},
        "hash_too_many": {"proof": [*proof, "00" * 32]},
        "hash_changed": {"proof": ["00" * 32, *proof[1:]]},
        "hashes_reversed": {"proof": proof[::-1]},
        "another_root": {"root": merkle.root(EIGHT).hex()},
        "no_proof": {"proof": []},
    }
    for flaw, change in flaws.items():
        found.case(f"included_not_{flaw}", "verify-inclusion", {**base, **change}, refuse="proof_invalid")
    proof = [piece.hex() for piece in consistency_proof(HeldTiles(leaves[:7]), 3, 7)]
    roots = {size: merkle.root(EIGHT[:size]).hex() for size in range(9)}
    base = {"first": "3", "second": "7", "proof": proof, "first_root": roots[3], "second_root": roots[7]}
    flaws = {
        "another_first_root": {"first_root": roots[4]},
        "another_second_root": {"second_root": roots[8]},
        "another_first_size": {"first": "4"},
        "another_second_size": {"second": "9"},
        "larger_first": {"first": "8"},
        "no_proof": {"proof": []},
        "hash_too_few": {"proof": proof[:-1]},
        "hash_too_many": {"proof": [*proof, "00" * 32]},
        "hash_changed": {"proof": [*proof[:-1], "00" * 32]},
        "equal_sizes_with_a_proof": {"first": "7", "first_root": roots[7]},
        "equal_sizes_two_roots": {"first": "7", "first_root": roots[6], "proof": []},
        "empty_log_with_a_proof": {"first": "0", "first_root": roots[0]},
        "empty_log_with_another_root": {"first": "0", "first_root": roots[1], "proof": []},
        "two_empty_logs_with_another_root": {
            "first": "0",
            "second": "0",
            "second_root": roots[1],
            "first_root": roots[1],
            "proof": [],
        },
    }
    for flaw, change in flaws.items():
        found.case(f"consistent_not_{flaw}", "verify-consistency", {**base, **change}, refuse="proof_invalid")


def _tiles_and_bundles(found: Book) -> None:
    for name, level, index, width in (
        ("first", 0, 0, 256),
        ("partial", 0, 0, 1),
        ("thousands", 0, 1_234_067, 256),
        ("a_thousand", 3, 1_000, 255),
        ("nine_hundred", 1, 999, 256),
        ("entries", None, 1_234_067, 256),
        ("entries_partial", None, 12, 7),
        ("high_level", 63, 0, 2),
    ):
        found.case(f"path_{name}", "tile-path", {"level": level, "index": str(index), "width": width})
    for flaw, path in {
        "level_64": "tile/64/000",
        "level_with_leading_zero": "tile/00/000",
        "index_of_two_digits": "tile/0/00",
        "index_without_x": "tile/0/001/234",
        "x_in_the_last_part": "tile/0/x001/x234",
        "leading_zero_part": "tile/0/x000/001",
        "width_0": "tile/0/000.p/0",
        "width_256": "tile/0/000.p/256",
        "width_with_leading_zero": "tile/0/000.p/01",
        "something_behind": "tile/0/000/",
        "another_folder": "tiles/0/000",
        "dots": "tile/0/../000",
        "newline_behind": "tile/0/000\n",
    }.items():
        found.case(f"path_{flaw}", "read-tile-path", {"path": path}, refuse="malformed_message")
    for size in (0, 1, 255, 256, 257, 513, 65_536):
        found.case(f"tiles_of_{size}", "tiles", {"size": str(size)})
    tile = b"".join(merkle.leaf_hash(number.to_bytes(2, "big")) for number in range(256))
    made = found.case("full_tile", "tile-hash", {"tile": tile.hex()})
    assert made["hash"] == merkle.root([number.to_bytes(2, "big") for number in range(256)]).hex()
    entries = [b"", b"\1", draw("bundled entry", 300)]
    octets = bytes.fromhex(
        found.case("bundle", "bundle", {"entries": [entry.hex() for entry in entries]})["bundle"]
    )
    found.case("bundle_of_none", "bundle", {"entries": []})
    for flaw, changed, count, refuse in (
        ("cut", octets[:-1], 3, "malformed_message"),
        ("one_entry_too_few", octets, 4, "malformed_message"),
        ("one_entry_too_many", octets, 2, "not_canonical"),
        ("half_a_length", octets + b"\0", 4, "malformed_message"),
        ("entries_257", bytes(2 * 257), 257, "limit_exceeded"),
    ):
        found.case(f"bundle_{flaw}", "read-bundle", {"bundle": changed.hex(), "count": count}, refuse=refuse)
