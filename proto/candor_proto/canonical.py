"""Unambiguous bytes for everything that is hashed or signed (docs/protocol.md §3).

One encoding, no options: integers big-endian of fixed width, octet strings and texts behind a 32-bit
length, lists behind a 32-bit count, fields in the order the specification gives. There is exactly one
encoding of a value, and `Reader` refuses every other; what follows the last field is refused as well.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar

from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_FIELD_BYTES = 16 * 1024 * 1024


def label_bytes(label: str) -> bytes:
    """The domain-separation prefix `candor/v1/<label>` behind one length octet (§3.2)."""
    text = f"candor/v1/{label}".encode("ascii")
    if len(text) > 255:
        raise MalformedMessage("A domain label is at most 255 octets.")
    return bytes([len(text)]) + text


def digest(label: str, *parts: bytes) -> bytes:
    """SHA-256 over the domain label and each part behind its 32-bit length; 32 octets (§3.3)."""
    state = hashlib.sha256(label_bytes(label))
    for part in parts:
        state.update(len(part).to_bytes(4, "big"))
        state.update(part)
    return state.digest()


def to_milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970 of an aware time (§3.1); finer digits are cut off."""
    if moment.tzinfo is None:
        raise MalformedMessage("A time without a zone cannot be encoded.")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    """The aware UTC time of `value` milliseconds since 1970; raises MalformedMessage beyond year 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        raise MalformedMessage("A time lies beyond the year 9999.") from None


class Writer:
    """Appends fields to a canonical encoding."""

    def __init__(self, label: str | None = None) -> None:
        """`label` (if given) opens the encoding as its domain-separation prefix."""
        self._parts: list[bytes] = [] if label is None else [label_bytes(label)]

    def integer(self, value: int, octets: int) -> Self:
        """An unsigned integer in `octets` big-endian octets."""
        if not 0 <= value < 1 << (8 * octets):
            raise MalformedMessage(f"{value} does not fit {octets} octets.")
        self._parts.append(value.to_bytes(octets, "big"))
        return self

    def fixed(self, value: bytes, octets: int) -> Self:
        """Exactly `octets` octets, without a length."""
        if len(value) != octets:
            raise MalformedMessage(f"Expected {octets} octets, got {len(value)}.")
        self._parts.append(bytes(value))
        return self

    def octets(self, value: bytes) -> Self:
        """An octet string behind its 32-bit length."""
        self._parts.append(len(value).to_bytes(4, "big"))
        self._parts.append(bytes(value))
        return self

    def text(self, value: str) -> Self:
        """A text in NFC, UTF-8, behind its 32-bit length."""
        return self.octets(unicodedata.normalize("NFC", value).encode("utf-8"))

    def time(self, moment: datetime) -> Self:
        """An aware time as whole milliseconds since 1970, 8 octets."""
        return self.integer(to_milliseconds(moment), 8)

    def sequence(self, items: Iterable[T], write: Callable[[Writer, T], object]) -> Self:
        """A list behind its 32-bit count; `write` appends one item."""
        known = list(items)
        self.integer(len(known), 4)
        for item in known:
            write(self, item)
        return self

    def finish(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Reads fields of a canonical encoding in order; raises MalformedMessage and nothing else."""

    def __init__(self, data: bytes, label: str | None = None) -> None:
        """`label`, if given, must open `data`."""
        self._data = data
        self._position = 0
        if label is not None:
            prefix = label_bytes(label)
            if self._take(len(prefix)) != prefix:
                raise MalformedMessage(f"Not a {label}: the domain label differs.")

    def _take(self, octets: int) -> bytes:
        end = self._position + octets
        if octets < 0 or end > len(self._data):
            raise MalformedMessage("Canonical encoding ends too early.")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def integer(self, octets: int) -> int:
        return int.from_bytes(self._take(octets), "big")

    def fixed(self, octets: int) -> bytes:
        return self._take(octets)

    def octets(self, max_octets: int = MAX_FIELD_BYTES) -> bytes:
        length = self.integer(4)
        if length > max_octets:
            raise LimitExceeded(f"A field of {length} octets is over its limit of {max_octets}.")
        return self._take(length)

    def text(self, max_octets: int = 4096) -> str:
        raw = self.octets(max_octets)
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedMessage("A text field is not UTF-8.") from None
        if not value.isascii() and unicodedata.normalize("NFC", value) != value:
            raise NotCanonical("A text field is not in Unicode NFC.")
        return value

    def time(self) -> datetime:
        return from_milliseconds(self.integer(8))

    def sequence(self, max_items: int, read: Callable[[Reader], T]) -> tuple[T, ...]:
        count = self.integer(4)
        if count > max_items:
            raise LimitExceeded(f"A list of {count} items is over its limit of {max_items}.")
        return tuple(read(self) for _ in range(count))

    def choice(self, octets: int, kind: Callable[[int], T]) -> T:
        """An integer that `kind` (an Enum class) maps to a member."""
        value = self.integer(octets)
        try:
            return kind(value)
        except ValueError:
            raise MalformedMessage(f"{value} is not a known code here.") from None

    def finish(self) -> None:
        """Refuse anything behind the last field."""
        if self._position != len(self._data):
            raise NotCanonical("Octets follow the last field.")
