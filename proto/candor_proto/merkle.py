"""Merkle tree hashes (RFC 6962 §2.1): the root that an index head states (docs/protocol.md §6.7)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(entry: bytes) -> bytes:
    """MTH of one leaf: SHA-256(0x00 ‖ entry); 32 octets."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n]) of RFC 6962 §2.1; of no entries SHA-256 of the empty string."""
    if not entries:
        return hashlib.sha256(b"").digest()
    level = [leaf_hash(entry) for entry in entries]
    while len(level) > 1:
        # Pairing from the left and carrying an odd last hash up gives RFC 6962's split at the
        # largest power of two below n.
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) - len(level) % 2 :]
    return level[0]
