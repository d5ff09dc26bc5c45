"""Every change of one octet, for the tests that refuse them all."""

from __future__ import annotations

from collections.abc import Iterator

FEW = (0x01, 0x20, 0x80, 0xFF)
SPARSE = (0x01, 0x80)


def one_octet_changes(octets: bytes, masks: tuple[int, ...] = tuple(range(1, 256))) -> Iterator[bytes]:
    """`octets` with one octet replaced, inserted doubled, or left out, at every place."""
    for at, octet in enumerate(octets):
        for mask in masks:
            yield octets[:at] + bytes([octet ^ mask]) + octets[at + 1 :]
        yield octets[:at] + octets[at + 1 :]
        yield octets[:at] + bytes([octet]) + octets[at:]
    yield octets + b"\n"
    yield octets + b"\0"
    yield b"\n" + octets
