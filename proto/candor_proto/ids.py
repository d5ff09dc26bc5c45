"""Names and numbers that identify things, validated on construction (docs/protocol.md §2).

Two identifiers of different kinds cannot be swapped by mistake: each is a type of its own.
Every `parse` raises MalformedMessage and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Self

from candor_proto.errors import MalformedMessage

# A host name, for the hub's certificate carries it: no empty part, none with a hyphen at its ends.
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_FEDERATION = re.compile(rf"(?=.{{3,63}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_NODE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
# RECORDS.md §2: characters 1-2 name the state, the ninth the agency type.
_ORI = re.compile(r"[A-Z]{2}[A-Z0-9]{6}[0-9ABCEGIJ]\Z")


@dataclass(frozen=True, order=True)
class FederationName:
    """The federation, and the SPIFFE trust domain: 3-63 of a-z 0-9 . -"""

    value: str

    def __post_init__(self) -> None:
        if not _FEDERATION.match(self.value):
            raise MalformedMessage(f"{self.value[:70]!r} is not a federation name (3-63 of a-z 0-9 . -).")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, order=True)
class NodeId:
    """A member node: 1-40 of a-z 0-9 -, stable for life."""

    value: str

    def __post_init__(self) -> None:
        if not _NODE.match(self.value):
            raise MalformedMessage(f"{self.value[:50]!r} is not a node id (1-40 of a-z 0-9 -).")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, order=True)
class Ori:
    """Originating Agency Identifier: nine characters, the ninth is the agency type."""

    value: str

    def __post_init__(self) -> None:
        if not _ORI.match(self.value):
            raise MalformedMessage(
                f"{self.value[:20]!r} is not an ORI: two letters, six letters or digits, "
                "then the agency type (0-9, A, B, C, E, G, I or J)."
            )

    def __str__(self) -> str:
        return self.value


class _Octets:
    """Base of the fixed-length byte identifiers; `LENGTH` octets each."""

    LENGTH: int = 16
    __slots__ = ("value",)
    value: bytes

    def __init__(self, value: bytes) -> None:
        if len(value) != self.LENGTH:
            raise MalformedMessage(f"{type(self).__name__} takes {self.LENGTH} octets, got {len(value)}.")
        object.__setattr__(self, "value", bytes(value))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the lower-case hexadecimal form."""
        if not re.fullmatch(r"[0-9a-f]*", text):
            raise MalformedMessage(f"{cls.__name__} is written in lower-case hexadecimal.")
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise MalformedMessage(f"{cls.__name__} is written in lower-case hexadecimal.") from None

    def hex(self) -> str:
        return self.value.hex()

    def __str__(self) -> str:
        return self.value.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value.hex()})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.value))

    def __lt__(self, other: Self) -> bool:
        return self.value < other.value


class LookupId(_Octets):
    """128 random bits chosen by the asker; never reused."""


class RequestId(_Octets):
    """128 random bits chosen by the requester of a disclosure; never reused."""


class RecallId(_Octets):
    """128 random bits drawn by the owner for what it tells one requester; never reused."""


class BlobId(_Octets):
    """128 random bits, fresh for each record in each epoch."""


class Handle(_Octets):
    """128 random bits by which a requester names a record to its owner; fresh in each epoch."""


class Digest(_Octets):
    """A SHA-256 digest."""

    LENGTH = 32


class KeyClass(Enum):
    """Classes of lookup elements, each with its own epoch key, slots, proof and quota (§5.2)."""

    WEAK = 1
    MATCH = 2
    CODE = 3

    @property
    def letter(self) -> str:
        return {1: "W", 2: "M", 3: "C"}[self.value]


class LookupShape(Enum):
    """The two public sizes of a lookup: 16 or 40 elements (§5.3)."""

    SCREENING = 1
    DETAILED = 2


class Purpose(Enum):
    """Purpose codes of a lookup or disclosure (RECORDS.md §5); the value is the wire code."""

    J_APPLICANT = 1
    J_CURRENT = 2
    J_TASKFORCE = 3
    CERTIFICATION = 4
    SUBJECT_ACCESS = 5
    AUDIT = 6
    C = 7

    @classmethod
    def parse(cls, text: str) -> Purpose:
        """Read the name of a purpose code, in any case."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            names = ", ".join(purpose.name for purpose in cls)
            raise MalformedMessage(f"{text[:40]!r} is not a purpose code; the codes are {names}.") from None
