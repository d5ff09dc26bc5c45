"""Merkle trees as in RFC 6962 and RFC 9162, with SHA-256: roots, compact ranges, proofs.

Proofs are 32-octet hashes from the leaf to the root. Verification raises ProofInvalid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from candor_verify.errors import ProofInvalid

HASH = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """`SHA-256(0x00 ‖ entry)`."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """`SHA-256(0x01 ‖ left ‖ right)`."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The left border of a tree that grows: one hash for each set bit of its size, largest first."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Raises ProofInvalid if the number of hashes is not that of the size's set bits."""
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ProofInvalid(f"A tree of {size} entries has {size.bit_count()} border hashes.")

    def copy(self) -> CompactRange:
        return CompactRange(self.size, self.hashes)

    def append(self, leaf: bytes) -> None:
        """One more leaf, as its hash."""
        self.append_subtree(leaf, 0)

    def append_subtree(self, root: bytes, height: int) -> None:
        """A whole subtree of 2^height leaves; the size must be a multiple of that."""
        carry = root
        rest = self.size >> height
        while rest & 1:
            carry = node_hash(self.hashes.pop(), carry)
            rest >>= 1
        self.hashes.append(carry)
        self.size += 1 << height

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Leaves, as their hashes; whole tiles are hashed level by level."""
        start = 0
        while start < len(leaves):
            if self.size % 256 == 0 and len(leaves) - start >= 256:
                self.append_subtree(full_root(leaves[start : start + 256]), 8)
                start += 256
            else:
                self.append_subtree(leaves[start], 0)
                start += 1

    def root(self) -> bytes:
        """Of the tree as it is."""
        if not self.hashes:
            return EMPTY_ROOT
        result = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            result = node_hash(left, result)
        return result


def full_root(hashes: Sequence[bytes]) -> bytes:
    """Root over a power of two of hashes."""
    level = list(hashes)
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return level[0]


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root of a tree of whole entries."""
    border = CompactRange()
    for leaf in leaves:
        border.append(leaf_hash(leaf))
    return border.root()


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """That the entry with hash `leaf` stands at `index` of the tree (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofInvalid(f"Entry {index} does not exist in a tree of {size}.")
    place, last = index, size - 1
    result = leaf
    for step in proof:
        if last == 0:
            raise ProofInvalid("The proof of inclusion is too long.")
        if place & 1 or place == last:
            result = node_hash(step, result)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            result = node_hash(result, step)
        place >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("The proof of inclusion is too short.")
    if result != root:
        raise ProofInvalid("The proof of inclusion leads to another root.")


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """That the smaller tree is the beginning of the larger one (RFC 9162 §2.1.4.2).

    A tree of no entries is the beginning of every tree and proves nothing of any: `first` is at least 1.
    """
    if not 1 <= first <= second:
        raise ProofInvalid(f"No proof leads from a tree of {first} entries to one of {second}.")
    if first == second:
        if proof:
            raise ProofInvalid("A proof between trees of one size is empty.")
        if first_root != second_root:
            raise ProofInvalid("Two trees of one size have different roots.")
        return
    steps = list(proof)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)
    if not steps:
        raise ProofInvalid("The proof of consistency is too short.")
    place, last = first - 1, second - 1
    while place & 1:
        place >>= 1
        last >>= 1
    first_result = second_result = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofInvalid("The proof of consistency is too long.")
        if place & 1 or place == last:
            first_result = node_hash(step, first_result)
            second_result = node_hash(step, second_result)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            second_result = node_hash(second_result, step)
        place >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("The proof of consistency is too short.")
    if first_result != first_root or second_result != second_root:
        raise ProofInvalid("The proof of consistency leads to another root.")
