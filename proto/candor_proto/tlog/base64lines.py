"""Numbers and octets as C2SP texts write them: one spelling each, every other refused (§14.1)."""

from __future__ import annotations

import base64
import binascii
import re

from candor_proto.errors import MalformedMessage, NotCanonical

MAX_COUNT = (1 << 63) - 1
HASH_OCTETS = 32
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


def encode_octets(octets: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(octets).decode("ascii")


def decode_octets(text: str) -> bytes:
    """Raises MalformedMessage, or NotCanonical for another spelling of the same octets."""
    try:
        octets = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage("Not base64.") from None
    if encode_octets(octets) != text:
        raise NotCanonical("Base64 with bits or padding that do not belong there.")
    return octets


def decode_hash(text: str) -> bytes:
    """A SHA-256 hash in base64, 32 octets."""
    octets = decode_octets(text)
    if len(octets) != HASH_OCTETS:
        raise MalformedMessage(f"A hash is {HASH_OCTETS} octets.")
    return octets


def decode_count(text: str) -> int:
    """A decimal number below 2^63 without sign and leading zeros."""
    if not _DECIMAL.match(text) or int(text) > MAX_COUNT:
        raise MalformedMessage("Not a decimal number below 2^63 without leading zeros.")
    return int(text)
