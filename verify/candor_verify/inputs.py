"""Strings on the curve (§5.4) and the fillers of free slots (§5.5)."""

from __future__ import annotations

from collections.abc import Sequence

from candor_verify.errors import LimitExceeded, Malformed, UnsupportedVersion
from candor_verify.octets import Reader, read_text, u8, u16

FILLER = "filler"
CLASSES = "WMC"


def encode_input(version: int, label: str, values: Sequence[str]) -> bytes:
    """Raises LimitExceeded, or UnsupportedVersion for a version beyond an octet, or zero."""
    if not 1 <= version <= 255:
        raise UnsupportedVersion("A scheme version is 1 to 255.")
    name, texts = label.encode(), [value.encode() for value in values]
    if len(name) > 255 or len(texts) > 255 or any(len(each) > 65_535 for each in texts):
        raise LimitExceeded("A label, a value or their number is over its limit.")
    return b"".join(
        (u8(version), u8(len(name)), name, u8(len(texts)), *(u16(len(each)) + each for each in texts))
    )


def read_input(octets: bytes) -> tuple[int, str, tuple[str, ...]]:
    """Scheme version, label and values. Raises Malformed or NotCanonical."""
    reader = Reader(octets)
    version = reader.u8()
    if version == 0:
        raise UnsupportedVersion("A scheme version is 1 to 255.")
    label = read_text(reader.exactly(reader.u8()))
    values = tuple(read_text(reader.exactly(reader.u16())) for _ in range(reader.u8()))
    reader.end()
    if label != FILLER and label[:2] not in ("K:", "C:"):
        raise Malformed("A string on the curve has a label that is none.")
    return version, label, values


def filler(version: int, seed: bytes, class_letter: str, slot: int) -> bytes:
    """What stands in a free slot, counted from 0 within its class."""
    return encode_input(version, FILLER, (seed.hex(), class_letter, str(slot)))


def slots_of(widths: Sequence[int]) -> list[tuple[str, int]]:
    """Class letter and slot of each element of one person, in order."""
    return [(letter, slot) for letter, width in zip(CLASSES, widths, strict=False) for slot in range(width)]
