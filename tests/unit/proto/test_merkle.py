"""RFC 6962 tree hashes."""

from __future__ import annotations

import hashlib

from candor_proto import merkle


def _naive(entries: list[bytes]) -> bytes:
    """MTH by the RFC's recursion."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    left, right = _naive(entries[:split]), _naive(entries[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_the_empty_root_is_that_of_the_rfc() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_roots_follow_the_recursive_definition_for_all_sizes_up_to_a_hundred() -> None:
    entries = [bytes([n]) * (n % 7) for n in range(100)]
    for size in range(101):
        assert merkle.root(entries[:size]) == _naive(entries[:size])


def test_a_leaf_cannot_pose_as_a_node() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
