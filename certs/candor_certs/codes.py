"""The codes under which a root authority's key lies: one for each person, so that none of them signs alone.

Rules of this file:
- a code is drawn here, never chosen: 80 random bits, in 16 letters and digits that are not mistaken for one
  another, and 4 more that find a slip of the pen;
- the key's passphrase is all codes in alphabetical order with a space between, so that it does not matter who
  types first, and any tool that opens PKCS #8 opens the key with it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable

from candor_proto.errors import InputInvalid

MAX_PERSONS = 5
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_DRAWN, _CHECKED, _GROUP = 16, 4, 4


def draw() -> str:
    """A new code: five groups of four."""
    return _written("".join(secrets.choice(_ALPHABET) for _ in range(_DRAWN)))


def parse(text: str) -> str:
    """The code that a person typed, in its one spelling; raises InputInvalid when a letter is wrong."""
    typed = re.sub(r"[\s-]", "", text).upper()
    drawn = typed[:_DRAWN]
    if len(typed) != _DRAWN + _CHECKED or set(typed) - set(_ALPHABET) or _check(drawn) != typed[_DRAWN:]:
        raise InputInvalid(
            "This is not a code as it was written down: a letter is missing or wrong.",
            remedy="A code has five groups of four, without 0, 1, I and O. Type it again.",
        )
    return _written(drawn)


def passphrase(codes: Iterable[str]) -> bytes:
    """What the key lies under."""
    return " ".join(sorted(codes)).encode()


def _check(drawn: str) -> str:
    digest = hashlib.sha256(drawn.encode()).digest()
    return "".join(_ALPHABET[octet % len(_ALPHABET)] for octet in digest[:_CHECKED])


def _written(drawn: str) -> str:
    whole = drawn + _check(drawn)
    return "-".join(whole[start : start + _GROUP] for start in range(0, len(whole), _GROUP))
