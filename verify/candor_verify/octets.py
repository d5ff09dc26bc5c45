"""The canonical encoding, read strictly (§3): every value has one encoding, and nothing else is taken.

A value that was read by a `Reader` to its `end` re-encodes to the octets that were read: lengths are
explicit, texts are checked for their normal form, and orders are checked by whoever reads a list.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from candor_verify.errors import LimitExceeded, Malformed, NotCanonical

T = TypeVar("T")

MAX_TEXT_OCTETS = 64
MAX_MILLISECONDS = 253_402_300_799_999  # the end of the year 9999


def domain_label(label: str) -> bytes:
    """`u8 length ‖ "candor/v1/<label>"` (§3.2)."""
    named = b"candor/v1/" + label.encode("ascii")
    if len(named) > 255:
        raise Malformed("A label is too long.")
    return bytes([len(named)]) + named


def u8(value: int) -> bytes:
    """One octet."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """Two octets."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """Four octets."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Eight octets."""
    return value.to_bytes(8, "big")


def sized(value: bytes) -> bytes:
    """`octets` (§3.1)."""
    return u32(len(value)) + value


def text(value: str) -> bytes:
    """`text` (§3.1) of a string in NFC."""
    return sized(value.encode("utf-8"))


def digest(label: str, *parts: bytes) -> bytes:
    """`H(label, p1, p2, …)` (§3.3)."""
    return hashlib.sha256(domain_label(label) + b"".join(map(sized, parts))).digest()


def derive(ikm: bytes, label: str, info: bytes, length: int) -> bytes:
    """`KDF(ikm, label, info, n)` (§3.5): HKDF-SHA-256 with the domain label as salt."""
    key = hmac.digest(domain_label(label), ikm, "sha256")
    output = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        output += block
    return output[:length]


class Reader:
    """Reads one canonical encoding from front to back. Everything raises Malformed or a subclass."""

    def __init__(self, data: bytes, label: str | None = None) -> None:
        """`label`, if given, must stand in front (§3.2)."""
        self._data = data
        self._position = 0
        if label is not None and self.exactly(len(domain_label(label))) != domain_label(label):
            raise Malformed(f"Does not begin with the domain label of “{label}”.")

    @property
    def left(self) -> int:
        """Octets not read yet."""
        return len(self._data) - self._position

    def exactly(self, length: int) -> bytes:
        """`T[n]`."""
        end = self._position + length
        if end > len(self._data):
            raise Malformed("Ends in the middle of a field.")
        value = self._data[self._position : end]
        self._position = end
        return value

    def u8(self) -> int:
        """One octet."""
        return self.exactly(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.exactly(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.exactly(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.exactly(8), "big")

    def count(self) -> int:
        """A `u64` that is no time: below 2^63 (§14.3)."""
        value = self.u64()
        if value >= 2**63:
            raise Malformed("A number is not below 2^63.")
        return value

    def time(self) -> int:
        """Milliseconds since 1970, up to the end of the year 9999."""
        value = self.u64()
        if value > MAX_MILLISECONDS:
            raise Malformed("A time lies beyond the year 9999.")
        return value

    def octets(self, limit: int) -> bytes:
        """`octets` of at most `limit`."""
        length = self.u32()
        if length > limit:
            raise LimitExceeded(f"A field of {length} octets; at most {limit} are read.")
        return self.exactly(length)

    def text(self, limit: int = MAX_TEXT_OCTETS) -> str:
        """`text`: UTF-8 in NFC, of at most `limit` octets (64 where nothing is said, §3.4)."""
        return read_text(self.octets(limit))

    def choice(self, allowed: range | tuple[int, ...], what: str) -> int:
        """A `u8` that is one of `allowed`."""
        value = self.u8()
        if value not in allowed:
            raise Malformed(f"{what} {value} is none.")
        return value

    def items(self, read: Callable[[Reader], T], limit: int) -> list[T]:
        """`list<T>` of at most `limit` items."""
        count = self.u32()
        if count > limit:
            raise LimitExceeded(f"A list of {count}; at most {limit} are read.")
        return [read(self) for _ in range(count)]

    def end(self) -> None:
        """Nothing may follow (§3.4)."""
        if self.left:
            raise NotCanonical(f"{self.left} octets stand behind the last field.")


def read_text(value: bytes) -> str:
    """A string from UTF-8 in NFC."""
    try:
        decoded = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("A text is not UTF-8.") from None
    if not decoded.isascii() and unicodedata.normalize("NFC", decoded) != decoded:
        raise NotCanonical("A text is not in Unicode normal form C.")
    return decoded


def ascending(values: list[T], what: str, key: Callable[[T], bytes]) -> list[T]:
    """`values`, if each stands above the one before it. Raises NotCanonical."""
    keys = [key(value) for value in values]
    if any(first >= second for first, second in itertools.pairwise(keys)):
        raise NotCanonical(f"{what} are not sorted and unique.")
    return values
