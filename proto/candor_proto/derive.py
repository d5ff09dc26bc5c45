"""The one key-derivation function (docs/protocol.md §3.5): HKDF-SHA-256, RFC 5869.

Written with `hmac.digest` because the asker derives a tag for every slot, segment and node: the
general-purpose object costs ten times as much. Whoever derives much from one secret, as an owner from every
output, takes a `DerivingKey`. Both are checked against `cryptography`'s HKDF in the tests.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import NoReturn

from candor_proto.canonical import label_bytes

_HASH_OCTETS = 32
_MOST_OCTETS = 255 * _HASH_OCTETS
_OUT_OF_BOUNDS = "HKDF output length is a constant of ours"
_BLOCK_OCTETS = 64
# HMAC hashes its key, padded to a block, XOR these (RFC 2104 §2).
_INNER = int.from_bytes(b"\x36" * _BLOCK_OCTETS, "big")
_OUTER = int.from_bytes(b"\x5c" * _BLOCK_OCTETS, "big")

_sha256 = hashlib.sha256


@lru_cache(maxsize=64)
def _salt(label: str) -> bytes:
    return label_bytes(label)


def extract(ikm: bytes, label: str) -> bytes:
    """HKDF-Extract (RFC 5869 §2.2) of `ikm` with the domain label of `label` as salt; 32 octets."""
    return hmac.digest(_salt(label), ikm, "sha256")


def expand(prk: bytes, info: bytes, octets: int) -> bytes:
    """HKDF-Expand (RFC 5869 §2.3) of a pseudorandom key from `extract`; at most 255 × 32 octets."""
    if not 0 < octets <= _MOST_OCTETS:
        raise AssertionError(_OUT_OF_BOUNDS)
    block, output, counter = b"", b"", 0
    while len(output) < octets:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        output += block
    return output[:octets]


def derive(ikm: bytes, label: str, info: bytes, octets: int) -> bytes:
    """KDF(ikm, label, info, n) of docs/protocol.md §3.5."""
    return expand(extract(ikm, label), info, octets)


class DerivingKey:
    """KDF(ikm, label, ·, ·) of docs/protocol.md §3.5 for many infos, at less than half the price of `derive`.

    HMAC begins with two blocks that its key alone decides: here they are made once. As secret as `ikm`.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, ikm: bytes, label: str) -> None:
        salted_inner, salted_outer = _states(label)
        inner, outer = salted_inner.copy(), salted_outer.copy()
        inner.update(ikm)
        outer.update(inner.digest())
        self._inner, self._outer = _padded(outer.digest())

    def derive(self, info: bytes, octets: int) -> bytes:
        """`octets` octets for `info`; at most 255 × 32."""
        if not 0 < octets <= _MOST_OCTETS:
            raise AssertionError(_OUT_OF_BOUNDS)
        inner, outer = self._inner, self._outer
        output = block = _sha256(outer + _sha256(inner + info + b"\x01").digest()).digest()
        counter = 1
        while len(output) < octets:
            counter += 1
            block = _sha256(outer + _sha256(inner + block + info + bytes([counter])).digest()).digest()
            output += block
        return output[:octets]

    def __repr__(self) -> str:
        return "<DerivingKey redacted>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A DerivingKey is a secret and does not pickle.")


@lru_cache(maxsize=64)
def _states(label: str) -> tuple[hashlib._Hash, hashlib._Hash]:
    """Both hashes of HMAC under the salt of `label`, up to the message: copied, never updated."""
    inner, outer = _padded(_salt(label))
    return _sha256(inner), _sha256(outer)


def _padded(key: bytes) -> tuple[bytes, bytes]:
    """The first blocks of HMAC's two hashes under `key`, at most 64 octets; no table is indexed by a key."""
    number = int.from_bytes(key.ljust(_BLOCK_OCTETS, b"\0"), "big")
    return (number ^ _INNER).to_bytes(_BLOCK_OCTETS, "big"), (number ^ _OUTER).to_bytes(_BLOCK_OCTETS, "big")
