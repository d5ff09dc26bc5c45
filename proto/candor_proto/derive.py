"""The one key-derivation function (docs/protocol.md §3.5): HKDF-SHA-256, RFC 5869.

Written with `hmac.digest` because the asker derives a tag for every slot, segment and node: the
general-purpose object costs ten times as much. Checked against `cryptography`'s HKDF in the tests.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from candor_proto.canonical import label_bytes

_HASH_OCTETS = 32


@lru_cache(maxsize=64)
def _salt(label: str) -> bytes:
    return label_bytes(label)


def extract(ikm: bytes, label: str) -> bytes:
    """HKDF-Extract (RFC 5869 §2.2) of `ikm` with the domain label of `label` as salt; 32 octets."""
    return hmac.digest(_salt(label), ikm, "sha256")


def expand(prk: bytes, info: bytes, octets: int) -> bytes:
    """HKDF-Expand (RFC 5869 §2.3) of a pseudorandom key from `extract`; at most 255 × 32 octets."""
    if not 0 < octets <= 255 * _HASH_OCTETS:
        raise AssertionError("HKDF output length is a constant of ours")
    block, output, counter = b"", b"", 0
    while len(output) < octets:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        output += block
    return output[:octets]


def derive(ikm: bytes, label: str, info: bytes, octets: int) -> bytes:
    """KDF(ikm, label, info, n) of docs/protocol.md §3.5."""
    return expand(extract(ikm, label), info, octets)
