"""RFC 9162: roots and proofs of every size up to 300, against a naive tree of the RFC's own definition."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from candor_verify.errors import ProofInvalid
from candor_verify.merkle import CompactRange, leaf_hash, root_of, verify_consistency, verify_inclusion

LEAVES = [bytes([number % 251, number // 251]) for number in range(300)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def naive(hashes: list[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1" + naive(hashes[:middle]) + naive(hashes[middle:])).digest()


def path(index: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    if index < middle:
        return [*path(index, hashes[:middle]), naive(hashes[middle:])]
    return [*path(index - middle, hashes[middle:]), naive(hashes[:middle])]


def growth(first: int, hashes: list[bytes], *, whole: bool = True) -> list[bytes]:
    if first == len(hashes):
        return [] if whole else [naive(hashes)]
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    if first <= middle:
        return [*growth(first, hashes[:middle], whole=whole), naive(hashes[middle:])]
    return [*growth(first - middle, hashes[middle:], whole=False), naive(hashes[:middle])]


def test_roots_of_every_size() -> None:
    border = CompactRange()
    for size in range(301):
        assert border.root() == naive(HASHES[:size])
        whole = CompactRange()
        whole.extend(HASHES[:size])
        assert whole.root() == border.root()
        assert len(border.hashes) == size.bit_count()
        if size < 300:
            border.append(HASHES[size])
    assert root_of(LEAVES) == naive(HASHES)


def test_inclusion_of_every_entry_of_every_size() -> None:
    chance = random.Random(2)
    for size in range(1, 301):
        root = naive(HASHES[:size])
        for index in {0, size - 1, *chance.sample(range(size), min(size, 6))}:
            proof = path(index, HASHES[:size])
            verify_inclusion(HASHES[index], index, size, proof, root)
            for other in _spoilt(proof, chance):
                with pytest.raises(ProofInvalid):
                    verify_inclusion(HASHES[index], index, size, other, root)
            with pytest.raises(ProofInvalid):
                verify_inclusion(HASHES[index], (index + 1) % size if size > 1 else 1, size, proof, root)


def test_consistency_of_every_pair_of_sizes() -> None:
    chance = random.Random(3)
    roots = [naive(HASHES[:size]) for size in range(301)]
    for second in range(1, 301):
        for first in {1, second, *chance.sample(range(1, second + 1), min(second, 6))}:
            proof = growth(first, HASHES[:second])
            verify_consistency(first, second, proof, roots[first], roots[second])
            for other in _spoilt(proof, chance):
                with pytest.raises(ProofInvalid):
                    verify_consistency(first, second, other, roots[first], roots[second])
            with pytest.raises(ProofInvalid):
                verify_consistency(first, second, proof, bytes(32), roots[second])


def _spoilt(proof: list[bytes], chance: random.Random) -> list[list[bytes]]:
    others = [[*proof, bytes(32)]]
    if proof:
        at = chance.randrange(len(proof))
        others += [proof[:-1], [*proof[:at], bytes(32), *proof[at + 1 :]]]
    return others


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 5), (6, 5), (-1, 5)])
def test_nothing_follows_from_an_empty_tree(first: int, second: int) -> None:
    """Else any root would pass for that of the beginning of an honest log (§17.1)."""
    with pytest.raises(ProofInvalid):
        verify_consistency(first, second, [], bytes(32), bytes(32))
