"""Values that stand for random ones: the same for the same name, and none of them a secret of anybody."""

from __future__ import annotations

import hashlib

from candor_proto.group import Scalar


def draw(name: str, octets: int) -> bytes:
    """SHAKE-256 of `candor-vectors/1 <name>`."""
    return hashlib.shake_256(f"candor-vectors/1 {name}".encode()).digest(octets)


def draw_scalar(name: str) -> Scalar:
    """32 such octets with the upper five bits cleared: below the group order, and not zero."""
    octets = draw(name, 32)
    return Scalar.parse_nonzero(octets[:31] + bytes([octets[31] & 0x07]))
