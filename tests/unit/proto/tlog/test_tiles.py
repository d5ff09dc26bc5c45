"""Tiles, bundles and proofs out of them (C2SP tlog-tiles; docs/protocol.md §14.6)."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import merkle
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical, UnknownObject
from candor_proto.merkle import CompactRange
from candor_proto.tlog import tiles
from candor_proto.tlog.tiles import bundle_path, new_tiles, parse_path, tile_path, tile_width
from tests.log_scene import MemoryTiles
from tests.unit.proto.test_merkle import ENTRIES, LIMIT, NAIVE
from tests.unit.proto.tlog.changes import one_octet_changes

LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


def grown(*steps: int) -> MemoryTiles:
    held, size = MemoryTiles(), 0
    for step in steps:
        held.append(size, [_leaf(number) for number in range(size, size + step)])
        size += step
    return held


def _leaf(number: int) -> bytes:
    return LEAVES[number] if number < LIMIT else merkle.leaf_hash(number.to_bytes(4, "big"))


def test_paths_are_those_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(3, 5) == "tile/3/005"
    assert tile_path(0, 273, 112) == "tile/0/273.p/112"
    assert tile_path(63, 1000, 1) == "tile/63/x001/000.p/1"
    assert bundle_path(1234067) == "tile/entries/x001/x234/067"
    assert bundle_path(0, 255) == "tile/entries/000.p/255"


def test_a_log_of_70000_entries_has_the_tiles_that_the_specification_counts() -> None:
    found = new_tiles(0, 70_000)
    counts = {(level, width): 0 for level, _, width in found}
    for level, _, width in found:
        counts[level, width] += 1
    assert counts == {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    assert new_tiles(0, 256) == [(0, 0, 256), (1, 0, 1)]


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 2**55), st.integers(1, 256))
def test_a_path_parses_to_itself(level: int | None, index: int, width: int) -> None:
    path = bundle_path(index, width) if level is None else tile_path(level, index, width)
    assert parse_path(path) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/",
        "tile/0/1",
        "tile/0/0001",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/001",
        "tile/0/x001/x001",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001.p/",
        "tile/0/001\n",
        "tile/data/001",
        "/tile/0/001",
        "tile/0/../001",
        "tile/0/١٢٣",
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_path(path)


def test_no_tile_has_an_impossible_level_index_or_width() -> None:
    for level, index, width in ((-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(MalformedMessage):
            tile_path(level, index, width)


@given(st.integers(0, 300_000), st.integers(0, 300_000))
def test_new_tiles_are_those_that_change_and_no_other(first: int, second: int) -> None:
    before, after = sorted((first, second))
    expected = []
    for level in range(4):
        for index in range(-(-(after >> 8 * level) // 256)):
            width = tile_width(level, index, after)
            if width != tile_width(level, index, before):
                expected.append((level, index, width))
    assert new_tiles(before, after) == expected
    with pytest.raises(MalformedMessage):
        new_tiles(after + 1, after)


def test_tiles_hold_the_hashes_that_the_specification_defines() -> None:
    size = 70_000
    held = grown(size)
    assert {(level, index): width for level, index, width in new_tiles(0, size)} == {
        place: len(octets) // 32 for place, octets in held.held.items()
    }
    leaves = [_leaf(number) for number in range(size)]
    assert held.held[0, 273] == b"".join(leaves[273 * 256 :])
    full = CompactRange.EMPTY.extend(leaves[17 * 256 : 18 * 256]).root()
    assert held.held[1, 0][17 * 32 : 18 * 32] == full
    assert held.held[2, 0] == CompactRange.EMPTY.extend(leaves[:65_536]).root()


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_tiles_do_not_depend_on_the_steps_in_which_a_log_grew(steps: list[int]) -> None:
    size = sum(steps)
    held = grown(*steps)
    assert held.held == grown(size).held
    assert tiles.tree_root(held, size) == CompactRange.EMPTY.extend(map(_leaf, range(size))).root()


def test_growing_reads_the_right_edge_only() -> None:
    held = grown(70_000)
    held.reads.clear()
    held.append(70_000, [bytes(32)] * 400)
    assert held.reads == [(0, 273, 112), (1, 1, 17)]
    held.reads.clear()
    assert [place[:3] for place in tiles.grown_tiles(held, 70_400, [bytes(32)])] == [(0, 275, 1)]
    assert held.reads == []


def test_every_root_and_proof_up_to_300_is_the_naive_one() -> None:
    held = grown(LIMIT)
    for size in range(LIMIT + 1):
        assert tiles.tree_root(held, size) == NAIVE.root(0, size)
        for index in range(0, size, 1 if size > 290 or size < 20 else 7):
            assert list(tiles.inclusion_proof(held, index, size)) == NAIVE.path(index, 0, size)
        for first in range(1, size + 1, 1 if size > 290 or size < 20 else 7):
            assert list(tiles.consistency_proof(held, first, size)) == NAIVE.proof(first, size)
        assert tiles.consistency_proof(held, 0, size) == ()


@given(st.integers(1, 70_000), st.data())
def test_proofs_out_of_a_larger_log_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    root = tiles.tree_root(large(), size)
    merkle.verify_inclusion(_leaf(index), index, size, tiles.inclusion_proof(large(), index, size), root)
    old = tiles.tree_root(large(), first)
    merkle.verify_consistency(first, size, tiles.consistency_proof(large(), first, size), old, root)


@cache
def large() -> MemoryTiles:
    """Made when it is asked for: every worker collects every test."""
    return grown(70_000)


def test_a_proof_reads_each_tile_once_and_few_of_them() -> None:
    large().reads.clear()
    tiles.inclusion_proof(large(), 12_345, 70_000)
    assert len(large().reads) == len(set(large().reads)) <= 6


def test_a_tile_of_another_length_is_refused() -> None:
    class Short(MemoryTiles):
        def tile(self, level: int, index: int, width: int) -> bytes:
            return bytes(32 * width - 1)

    with pytest.raises(MalformedMessage):
        tiles.tree_root(Short(), 5)
    with pytest.raises(UnknownObject):
        tiles.tree_root(MemoryTiles(), 5)


def test_proofs_beyond_a_log_are_refused() -> None:
    for index, size in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(MalformedMessage):
            tiles.inclusion_proof(large(), index, size)
    for first, second in ((-1, 5), (6, 5)):
        with pytest.raises(MalformedMessage):
            tiles.consistency_proof(large(), first, second)


def test_every_change_of_one_octet_in_a_tile_changes_the_root_of_the_log() -> None:
    root = tiles.tree_root(large(), 70_000)
    held = MemoryTiles()
    for level, index in ((0, 273), (1, 1), (2, 0)):
        octets = large().held[level, index]
        for at in range(len(octets)):
            held.held = {
                **large().held,
                (level, index): octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :],
            }
            assert tiles.tree_root(held, 70_000) != root


@given(st.lists(st.binary(max_size=70), max_size=256))
def test_a_bundle_parses_to_itself(entries: list[bytes]) -> None:
    octets = tiles.encode_bundle(entries)
    assert tiles.decode_bundle(octets, len(entries)) == tuple(entries)
    for count in {0, len(entries) - 1} - {len(entries), -1}:
        with pytest.raises(NotCanonical):
            tiles.decode_bundle(octets, count)
    if len(entries) < 256:
        with pytest.raises(MalformedMessage):
            tiles.decode_bundle(octets, len(entries) + 1)


def test_a_bundle_is_length_prefixed_in_two_octets() -> None:
    assert tiles.encode_bundle([b"ab", b""]) == b"\0\x02ab\0\0"
    assert len(tiles.encode_bundle([bytes(65_535)])) == 65_537
    with pytest.raises(LimitExceeded):
        tiles.encode_bundle([bytes(65_536)])
    for count in (-1, 257):
        with pytest.raises(LimitExceeded):
            tiles.decode_bundle(b"", count)


def test_every_change_of_one_octet_in_a_bundle_is_refused_or_has_other_hashes() -> None:
    entries = (b"first", b"", b"third entry")
    octets = tiles.encode_bundle(entries)
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    for changed in one_octet_changes(octets):
        try:
            found = tiles.decode_bundle(changed, 3)
        except MalformedMessage:
            continue
        assert [merkle.leaf_hash(entry) for entry in found] != hashes


@given(st.binary(max_size=80), st.integers(-1, 260))
def test_reading_a_bundle_raises_nothing_else(octets: bytes, count: int) -> None:
    try:
        assert tiles.encode_bundle(tiles.decode_bundle(octets, count)) == octets
    except CandorError as error:
        assert isinstance(error, MalformedMessage | LimitExceeded)


def test_hashes_are_those_of_rfc_6962() -> None:
    held = MemoryTiles()
    held.append(0, [merkle.leaf_hash(b"x"), merkle.leaf_hash(b"y")])
    left, right = (hashlib.sha256(b"\0" + entry).digest() for entry in (b"x", b"y"))
    assert tiles.tree_root(held, 2) == hashlib.sha256(b"\x01" + left + right).digest()
