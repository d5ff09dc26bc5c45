"""Merkle tree hashes and proofs (RFC 6962 §2.1, RFC 9162 §2.1): of index heads (docs/protocol.md §6.7)
and of the log (§14)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from candor_proto.errors import MalformedMessage, ProofInvalid

HASH_OCTETS = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """MTH of one leaf: SHA-256(0x00 ‖ entry); 32 octets."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n]) of RFC 6962 §2.1; of no entries SHA-256 of the empty string."""
    if not entries:
        return EMPTY_ROOT
    level = [leaf_hash(entry) for entry in entries]
    while len(level) > 1:
        # Pairing from the left and carrying an odd last hash up gives RFC 6962's split at the
        # largest power of two below n.
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) - len(level) % 2 :]
    return level[0]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that entry `index` of the log of `size` entries with head `root` has the hash `leaf_hash`.

    `proof` runs from the leaf's sibling to the root's child. Raises ProofInvalid. RFC 9162 §2.1.3.2.
    """
    if not 0 <= index < size:
        raise ProofInvalid("An inclusion proof for an entry that the log cannot hold.")
    at, last = index, size - 1
    computed = leaf_hash
    for sibling in proof:
        if not last:
            raise ProofInvalid("An inclusion proof with too many hashes.")
        if at & 1 or at == last:
            computed = node_hash(sibling, computed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofInvalid("An inclusion proof with too few hashes.")
    if computed != root:
        raise ProofInvalid("An inclusion proof that does not lead to the root of the log.")


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """Check that the log of `second` entries begins with the `first` entries that had `first_root`.

    An empty log begins every log: then, and for equal sizes, the proof is empty. Raises ProofInvalid.
    RFC 9162 §2.1.4.2.
    """
    if not 0 <= first <= second:
        raise ProofInvalid("A consistency proof from a larger log to a smaller one.")
    if first == second or not first:
        if proof:
            raise ProofInvalid("A consistency proof where none is needed.")
        if first_root != (second_root if first == second else EMPTY_ROOT):
            raise ProofInvalid("Two roots for one size of the log.")
        if not second and second_root != EMPTY_ROOT:
            raise ProofInvalid("An empty log with another root than that of no entries.")
        return
    # A log of a power of two of entries is itself a node of every later tree.
    path = [first_root, *proof] if not first & (first - 1) else list(proof)
    if not path:
        raise ProofInvalid("A consistency proof without hashes.")
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if not last:
            raise ProofInvalid("A consistency proof with too many hashes.")
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofInvalid("A consistency proof with too few hashes.")
    if old != first_root or new != second_root:
        raise ProofInvalid("The larger log does not continue the smaller one.")


@dataclass(frozen=True)
class CompactRange:
    """What must be remembered of a log to append to it: the roots of its complete subtrees.

    `hashes` run from left to right, the largest first, one for each bit that is set in `size`.
    """

    size: int
    hashes: tuple[bytes, ...]

    EMPTY: ClassVar[CompactRange]

    def __post_init__(self) -> None:
        if not 0 <= self.size < 1 << 63 or len(self.hashes) != self.size.bit_count():
            raise MalformedMessage("A compact range whose hashes do not fit its size.")
        if any(len(piece) != HASH_OCTETS for piece in self.hashes):
            raise MalformedMessage(f"A hash is {HASH_OCTETS} octets.")

    def extend(self, leaf_hashes: Iterable[bytes]) -> CompactRange:
        """The range of this log with further entries, given by their leaf hashes."""
        size, stack = self.size, list(self.hashes)
        sha256 = hashlib.sha256
        for leaf in leaf_hashes:
            at = size
            while at & 1:
                leaf = sha256(b"\x01" + stack.pop() + leaf).digest()
                at >>= 1
            stack.append(leaf)
            size += 1
        return CompactRange(size, tuple(stack))

    def root(self) -> bytes:
        """MTH of all entries; of none SHA-256 of the empty string."""
        if not self.hashes:
            return EMPTY_ROOT
        computed = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            computed = node_hash(left, computed)
        return computed

    def encode(self) -> bytes:
        """Size in 8 octets, then the hashes."""
        return self.size.to_bytes(8, "big") + b"".join(self.hashes)

    @classmethod
    def decode(cls, data: bytes) -> CompactRange:
        """Raises MalformedMessage."""
        if len(data) < 8 or (len(data) - 8) % HASH_OCTETS:
            raise MalformedMessage("Not a compact range.")
        pieces = tuple(data[at : at + HASH_OCTETS] for at in range(8, len(data), HASH_OCTETS))
        return cls(int.from_bytes(data[:8], "big"), pieces)


CompactRange.EMPTY = CompactRange(0, ())
