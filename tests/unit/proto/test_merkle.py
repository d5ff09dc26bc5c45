"""RFC 6962 tree hashes, RFC 9162 proofs, compact ranges; against a tree written out naively here."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import merkle
from candor_proto.errors import CandorError, MalformedMessage, ProofInvalid
from candor_proto.merkle import CompactRange

LIMIT = 300
ENTRIES = [bytes([n % 251]) * (n % 7) + n.to_bytes(2, "big") for n in range(LIMIT)]


def _split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split


class Naive:
    """RFC 6962 §2.1 by its recursive definitions, each range hashed once."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.known: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        if (start, end) not in self.known:
            self.known[start, end] = self._root(start, end)
        return self.known[start, end]

    def _root(self, start: int, end: int) -> bytes:
        if start == end:
            return hashlib.sha256(b"").digest()
        if end - start == 1:
            return hashlib.sha256(b"\x00" + self.entries[start]).digest()
        middle = start + _split(end - start)
        return hashlib.sha256(b"\x01" + self.root(start, middle) + self.root(middle, end)).digest()

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        """PATH(m, D[n])."""
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self.path(index, start, middle), self.root(middle, end)]
        return [*self.path(index, middle, end), self.root(start, middle)]

    def proof(self, first: int, second: int) -> list[bytes]:
        """PROOF(m, D[n])."""
        return self._subproof(first, 0, second, True)

    def _subproof(self, first: int, start: int, end: int, whole: bool) -> list[bytes]:
        if first == end - start:
            return [] if whole else [self.root(start, end)]
        split = _split(end - start)
        if first <= split:
            return [*self._subproof(first, start, start + split, whole), self.root(start + split, end)]
        return [
            *self._subproof(first - split, start + split, end, False),
            self.root(start, start + split),
        ]


NAIVE = Naive(ENTRIES)


def test_the_empty_root_is_that_of_the_rfc() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_roots_follow_the_recursive_definition_for_all_sizes_up_to_300() -> None:
    for size in range(LIMIT + 1):
        assert merkle.root(ENTRIES[:size]) == NAIVE.root(0, size)


def test_a_leaf_cannot_pose_as_a_node() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


def test_every_entry_of_every_size_up_to_300_has_its_inclusion_proof() -> None:
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES]
    for size in range(1, LIMIT + 1):
        root = NAIVE.root(0, size)
        for index in range(size):
            merkle.verify_inclusion(leaves[index], index, size, NAIVE.path(index, 0, size), root)


def test_every_pair_of_sizes_up_to_300_has_its_consistency_proof() -> None:
    for second in range(LIMIT + 1):
        root = NAIVE.root(0, second)
        for first in range(1, second + 1):
            merkle.verify_consistency(first, second, NAIVE.proof(first, second), NAIVE.root(0, first), root)


def test_an_empty_log_begins_every_log_without_a_proof() -> None:
    merkle.verify_consistency(0, 5, [], merkle.EMPTY_ROOT, NAIVE.root(0, 5))
    merkle.verify_consistency(0, 0, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(0, 5, [bytes(32)], merkle.EMPTY_ROOT, NAIVE.root(0, 5))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(0, 5, [], bytes(32), NAIVE.root(0, 5))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(0, 0, [], bytes(32), bytes(32))


def test_one_size_has_one_root() -> None:
    merkle.verify_consistency(7, 7, [], NAIVE.root(0, 7), NAIVE.root(0, 7))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(7, 7, [], NAIVE.root(0, 7), bytes(32))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(7, 7, [bytes(32)], NAIVE.root(0, 7), NAIVE.root(0, 7))


def test_a_log_does_not_shrink() -> None:
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(7, 6, NAIVE.proof(6, 7), NAIVE.root(0, 7), NAIVE.root(0, 6))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(-1, 6, [], NAIVE.root(0, 7), NAIVE.root(0, 6))


def _changes(proof: list[bytes]) -> list[list[bytes]]:
    """A hash changed, left out, doubled, added at either end; two neighbours swapped."""
    made = [[*proof, bytes(32)], [bytes(32), *proof], proof[:-1], proof[1:]]
    for at, piece in enumerate(proof):
        changed = bytes([piece[0] ^ 1]) + piece[1:]
        made.append([*proof[:at], changed, *proof[at + 1 :]])
        made.append([*proof[:at], piece, piece, *proof[at + 1 :]])
        if at:
            made.append([*proof[: at - 1], piece, proof[at - 1], *proof[at + 1 :]])
    return [change for change in made if change != proof]


def test_no_changed_inclusion_proof_verifies() -> None:
    for size in (1, 2, 3, 7, 8, 9, 100):
        for index in range(size):
            leaf, root, proof = (
                merkle.leaf_hash(ENTRIES[index]),
                NAIVE.root(0, size),
                NAIVE.path(index, 0, size),
            )
            for change in _changes(proof):
                with pytest.raises(ProofInvalid):
                    merkle.verify_inclusion(leaf, index, size, change, root)
            for other in {0, size // 2, size - 1} - {index}:
                with pytest.raises(ProofInvalid):
                    merkle.verify_inclusion(leaf, other, size, proof, root)
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(merkle.leaf_hash(b"another"), index, size, proof, root)
            for outside in (-1, size):
                with pytest.raises(ProofInvalid):
                    merkle.verify_inclusion(leaf, outside, size, proof, root)


def test_an_inner_node_does_not_pose_as_the_root_of_a_log() -> None:
    for size in (2, 3, 7, 8, 100):
        for index in range(size):
            proof = NAIVE.path(index, 0, size)
            for cut in range(len(proof)):
                # What the hashes that are left lead to.
                inner = merkle.leaf_hash(ENTRIES[index])
                at, last = index, size - 1
                for sibling in proof[:cut]:
                    right = at & 1 or at == last
                    inner = merkle.node_hash(sibling, inner) if right else merkle.node_hash(inner, sibling)
                    while right and not at & 1 and at:
                        at, last = at >> 1, last >> 1
                    at, last = at >> 1, last >> 1
                with pytest.raises(ProofInvalid):
                    merkle.verify_inclusion(merkle.leaf_hash(ENTRIES[index]), index, size, proof[:cut], inner)


def test_no_changed_consistency_proof_verifies() -> None:
    for first, second in ((1, 2), (3, 7), (4, 8), (8, 9), (6, 8), (64, 100), (99, 100)):
        proof, old, new = NAIVE.proof(first, second), NAIVE.root(0, first), NAIVE.root(0, second)
        for change in _changes(proof):
            with pytest.raises(ProofInvalid):
                merkle.verify_consistency(first, second, change, old, new)
        with pytest.raises(ProofInvalid):
            merkle.verify_consistency(first, second, proof, bytes(32), new)
        with pytest.raises(ProofInvalid):
            merkle.verify_consistency(first, second, proof, old, bytes(32))


def test_a_proof_that_is_far_too_long_is_refused() -> None:
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(bytes(32), 0, 1, [bytes(32)] * 64, bytes(32))
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(1, 2, [bytes(32)] * 64, bytes(32), bytes(32))


@given(st.integers(0, LIMIT), st.integers(0, LIMIT))
def test_a_compact_range_grows_to_the_root_of_all_entries(first: int, second: int) -> None:
    first, second = sorted((first, second))
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES]
    before = CompactRange.EMPTY.extend(leaves[:first])
    after = before.extend(leaves[first:second])
    assert (before.size, before.root()) == (first, NAIVE.root(0, first))
    assert (after.size, after.root()) == (second, NAIVE.root(0, second))
    assert CompactRange.decode(after.encode()) == after
    assert len(after.hashes) == second.bit_count()


def test_every_compact_range_up_to_300_has_the_naive_root() -> None:
    grown = CompactRange.EMPTY
    for size, entry in enumerate(ENTRIES, start=1):
        grown = grown.extend([merkle.leaf_hash(entry)])
        assert grown.root() == NAIVE.root(0, size)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        bytes(7),
        (1).to_bytes(8, "big"),
        (1).to_bytes(8, "big") + bytes(31),
        (1).to_bytes(8, "big") + bytes(64),
        bytes(8 + 32),
        b"\xff" * 8 + bytes(64 * 32),
    ],
)
def test_what_is_no_compact_range_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CompactRange.decode(octets)


@given(st.binary(max_size=200))
def test_decoding_a_compact_range_raises_nothing_else(octets: bytes) -> None:
    try:
        assert CompactRange.decode(octets).encode() == octets
    except CandorError as error:
        assert isinstance(error, MalformedMessage)


def test_a_compact_range_refuses_hashes_of_another_length() -> None:
    with pytest.raises(MalformedMessage):
        CompactRange(1, (bytes(31),))
    with pytest.raises(MalformedMessage):
        CompactRange(2, (bytes(32), bytes(32)))
