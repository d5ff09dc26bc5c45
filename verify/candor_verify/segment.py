"""The sealed index: segments, entries, blobs, shares (§6), as far as somebody without keys can judge them.

Over GF(2^128) with x^128 + x^7 + x^2 + x + 1; octets are big-endian, bit i is the coefficient of x^i.
"""

from __future__ import annotations

import hmac
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_verify import names
from candor_verify.errors import (
    CommitmentMismatch,
    GateClosed,
    LimitExceeded,
    Malformed,
    NotCanonical,
    SealedDataInvalid,
    UnknownObject,
)
from candor_verify.octets import Reader, derive, digest, text, u8, u16, u32

ENTRY_OCTETS, BLOB_OCTETS, MARKER_OCTETS = 96, 475, 16
BLOB_PLAIN_OCTETS = 411
MAX_SEGMENT_OCTETS = 64 * 1024 * 1024
MAX_ENTRIES, MAX_BLOBS, MAX_MARKERS = 524_288, 65_536, 65_536
LEAST = (256, 16, 8)
POSITIONS = 32
_REDUCTION = 0x87


@dataclass(frozen=True)
class Segment:
    """Header and sorted lists."""

    federation: str
    node: str
    epoch: int
    number: int
    entries: tuple[bytes, ...]
    blobs: tuple[bytes, ...]
    markers: tuple[bytes, ...]

    def blob(self, blob_id: bytes) -> bytes:
        """The blob of this id. Raises UnknownObject if there is none."""
        return _find(self.blobs, blob_id, "blob")

    def entry(self, tag: bytes) -> bytes:
        """The entry of this tag. Raises UnknownObject if there is none."""
        return _find(self.entries, tag, "entry")


@dataclass(frozen=True)
class Label:
    """What a blob says (§6.3)."""

    version: int
    handle: bytes
    kind: int
    tier: int
    expiry: int
    commitment: bytes
    presence: int
    field_tags: tuple[bytes, ...]


def address_of(octets: bytes) -> bytes:
    """The name of a segment (§6.6)."""
    return digest("segment-address", octets)


def parse_segment(octets: bytes) -> Segment:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_SEGMENT_OCTETS:
        raise LimitExceeded(f"A segment of {len(octets)} octets; at most {MAX_SEGMENT_OCTETS} are read.")
    reader = Reader(octets, "segment")
    federation, node, epoch, number = names.federation(reader), names.node(reader), reader.u32(), reader.u32()
    counts = (reader.u32(), reader.u32(), reader.u32())
    if any(count > limit for count, limit in zip(counts, (MAX_ENTRIES, MAX_BLOBS, MAX_MARKERS), strict=True)):
        raise LimitExceeded("A segment holds more entries, blobs or markers than it may.")
    if any(count != padded(count, least) for count, least in zip(counts, LEAST, strict=True)):
        raise NotCanonical("A segment is not padded as it has to be.")
    if ENTRY_OCTETS * counts[0] + BLOB_OCTETS * counts[1] + MARKER_OCTETS * counts[2] > MAX_SEGMENT_OCTETS:
        raise LimitExceeded(f"A segment of more than {MAX_SEGMENT_OCTETS} octets.")
    lengths = (ENTRY_OCTETS, BLOB_OCTETS, MARKER_OCTETS)
    lists = [
        tuple(reader.exactly(length) for _ in range(count))
        for count, length in zip(counts, lengths, strict=True)
    ]
    reader.end()
    if any(first >= second for each in lists for first, second in pairwise(each)):
        raise NotCanonical("A list of a segment is not sorted and unique.")
    return Segment(federation, node, epoch, number, lists[0], lists[1], lists[2])


def padded(count: int, least: int) -> int:
    """To how many a list of `count` is padded: a number that is one stays as it is (§6.6)."""
    if count <= least:
        return least
    if count <= 4_096:
        return 1 << (count - 1).bit_length()
    exponent = count.bit_length() - 1
    mask = (1 << exponent - exponent.bit_length()) - 1  # Padmé
    return (count + mask) & ~mask


def _find(items: tuple[bytes, ...], start: bytes, what: str) -> bytes:
    at = bisect_left(items, start)
    if at == len(items) or not items[at].startswith(start):
        raise UnknownObject(f"The segment holds no such {what}.")
    return items[at]


def blob_keys(
    secret: bytes, blob_id: bytes, federation: str, node: str, epoch: int
) -> tuple[bytes, bytes, bytes]:
    """Key, nonce and commitment of a blob (§6.3)."""
    derived = derive(secret, "label-key", blob_id + text(federation) + text(node) + u32(epoch), 76)
    return derived[:32], derived[32:44], derived[44:]


def open_blob(blob: bytes, secret: bytes, federation: str, node: str, epoch: int) -> Label:
    """Raises CommitmentMismatch, SealedDataInvalid, or Malformed for contents that are none (§6.3)."""
    blob_id, commitment, sealed = blob[:16], blob[16:48], blob[48:]
    key, nonce, committed = blob_keys(secret, blob_id, federation, node, epoch)
    if not hmac.compare_digest(committed, commitment):
        raise CommitmentMismatch("The secret is not the one that the blob commits to.")
    try:
        plain = AESGCM(key).decrypt(nonce, sealed, blob_id + commitment)
    except InvalidTag:
        raise SealedDataInvalid("The blob does not open under the secret that it commits to.") from None
    reader = Reader(plain)
    label = Label(
        version=reader.u8(),
        handle=reader.exactly(16),
        kind=reader.u8(),
        tier=reader.u8(),
        expiry=reader.u32(),
        commitment=reader.exactly(32),
        presence=reader.u32(),
        field_tags=tuple(reader.exactly(8) for _ in range(44)),
    )
    reader.end()
    if label.version != 1:
        raise Malformed("The blob opens to another version than 1.")
    if any(first > second for first, second in pairwise(label.field_tags)):
        raise NotCanonical("The blob opens to field tags that are not sorted.")
    return label


def entry_keys(
    output: bytes, federation: str, node: str, epoch: int, number: int, counter: int
) -> tuple[bytes, bytes, bytes]:
    """Tag, key and nonce of the entry that F (64 octets) has at this counter (§6.1)."""
    info = text(federation) + text(node) + u32(epoch) + u32(number) + u16(counter)
    derived = derive(output, "index-entry", info, 60)
    return derived[:16], derived[16:48], derived[48:]


def open_entry(segment: Segment, output: bytes, counter: int) -> tuple[bytes, tuple[bytes, ...]]:
    """Blob id and share slots of the entry under F.

    Raises UnknownObject if there is none, or SealedDataInvalid.
    """
    keys = entry_keys(output, segment.federation, segment.node, segment.epoch, segment.number, counter)
    return unseal_entry(segment.entry(keys[0]), keys)


def unseal_entry(entry: bytes, keys: tuple[bytes, bytes, bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    """Blob id and three share slots. Raises SealedDataInvalid."""
    tag, key, nonce = keys
    if len(entry) != ENTRY_OCTETS or entry[:16] != tag:
        raise SealedDataInvalid("The entry is not the one under the output.")
    try:
        plain = AESGCM(key).decrypt(nonce, entry[16:], tag)
    except InvalidTag:
        raise SealedDataInvalid("The entry does not open under the output.") from None
    return plain[:16], (plain[16:32], plain[32:48], plain[48:])


def check_threshold(threshold: int) -> None:
    """Raises LimitExceeded (§6.2)."""
    if not 3 <= threshold <= 8:
        raise LimitExceeded("A threshold is 3 to 8.")


def coefficients(secret: bytes, blob_id: bytes, threshold: int) -> list[int]:
    """Of f, the secret first (§6.2). Raises LimitExceeded."""
    check_threshold(threshold)
    further = (derive(secret, "share-coefficient", blob_id + u8(i), 16) for i in range(1, threshold))
    return [int.from_bytes(each, "big") for each in (secret, *further)]


def evaluate(polynomial: list[int], x: int) -> bytes:
    """f(x)."""
    value = 0
    for coefficient in reversed(polynomial):
        value = multiply(value, x) ^ coefficient
    return value.to_bytes(16, "big")


def multiply(a: int, b: int) -> int:
    """In GF(2^128)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        b >>= 1
        a <<= 1
        if a >> 128:
            a = a & (1 << 128) - 1 ^ _REDUCTION
    return product


def inverse(a: int) -> int:
    """1/a in GF(2^128), by Fermat. Raises Malformed for zero."""
    if a == 0:
        raise Malformed("Zero has no inverse.")
    result = 1
    for _ in range(127):
        a = multiply(a, a)
        result = multiply(result, a)
    return result


def interpolate(points: list[tuple[int, bytes]], threshold: int) -> bytes:
    """f(0) from the `threshold` points of lowest abscissa (§6.4). Raises GateClosed or Malformed."""
    check_threshold(threshold)
    chosen = sorted(points)[:threshold]
    if len({x for x, _ in points} | {0}) != len(points) + 1:
        raise Malformed("An abscissa stands there twice, or is zero.")
    if len(chosen) < threshold:
        raise GateClosed("There are fewer shares than the threshold.")
    secret = 0
    for x, value in chosen:
        term = int.from_bytes(value, "big")
        for other, _ in chosen:
            if other != x:
                term = multiply(term, multiply(other, inverse(x ^ other)))
        secret ^= term
    return secret.to_bytes(16, "big")


def first_shares(secret: bytes, blob_id: bytes, threshold: int) -> set[bytes]:
    """f(1 + 3p) for every position: what an honest entry's first slot can hold."""
    polynomial = coefficients(secret, blob_id, threshold)
    return {evaluate(polynomial, 1 + 3 * position) for position in range(POSITIONS)}
