"""The canonical record that is committed to and released (docs/protocol.md §9.4; RECORDS.md §3)."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from candor_proto.canonical import Reader, Writer
from candor_proto.errors import CommitmentMismatch, MalformedMessage, NotCanonical, UnsupportedVersion
from candor_proto.ids import Digest

_VERSION = 1
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
MAX_FIELDS = 200
MAX_VALUE_OCTETS = 16_384
SALT_OCTETS = 32


class RecordKind(Enum):
    """The seven record kinds; the value is the wire code (RECORDS.md §3.2)."""

    TERMINATION_FOR_CAUSE = 1
    SEPARATION_UNDER_INVESTIGATION = 2
    DECERTIFICATION = 3
    CRIMINAL_CONVICTION = 4
    CIVIL_JUDGMENT = 5
    SUSTAINED_FORCE_FINDING = 6
    COMMENDATION = 7


class Tier(Enum):
    """A completed decision, or the fact of a separation without one (RECORDS.md §3.6)."""

    ADJUDICATED = 1
    ADVISORY = 2


class DisputeStatus(Enum):
    """Travels with every release (RECORDS.md §4.2)."""

    NONE = 1
    OPEN = 2
    IN_RESOLUTION = 3
    RESOLVED = 4


@dataclass(frozen=True)
class CanonicalRecord:
    """A record as both parties see it: kind, tier and named text fields. Values are never printed."""

    kind: RecordKind
    tier: Tier
    fields: Mapping[str, str] = field(repr=False)

    def encode(self) -> bytes:
        """The one encoding; raises MalformedMessage for a name or value that cannot be encoded."""
        if len(self.fields) > MAX_FIELDS:
            raise MalformedMessage(f"A record has at most {MAX_FIELDS} fields.")
        writer = Writer("record").integer(_VERSION, 1).integer(self.kind.value, 1).integer(self.tier.value, 1)
        fields = [_encoded(name, value) for name, value in sorted(self.fields.items())]
        return writer.integer(len(fields), 4).finish() + b"".join(fields)

    @classmethod
    def decode(cls, data: bytes) -> CanonicalRecord:
        """Parse strictly; raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, "record")
        if reader.integer(1) != _VERSION:
            raise UnsupportedVersion("A record of an unknown version.")
        kind, tier = reader.choice(1, RecordKind), reader.choice(1, Tier)
        pairs = reader.sequence(MAX_FIELDS, _read_field)
        reader.finish()
        names = [name for name, _ in pairs]
        if names != sorted(set(names)):
            raise NotCanonical("The fields of a record are not sorted, or not unique.")
        return cls(kind, tier, dict(pairs))


def _encoded(name: str, value: str) -> bytes:
    """One field: two texts (§3)."""
    octets = value.encode("utf-8")
    if len(octets) > MAX_VALUE_OCTETS:
        raise MalformedMessage(f"The record field {name[:64]!r} cannot be encoded.")
    if not value.isascii():  # ASCII is in NFC
        octets = unicodedata.normalize("NFC", value).encode("utf-8")
    return _encoded_name(name) + len(octets).to_bytes(4, "big") + octets


@lru_cache(maxsize=MAX_FIELDS)
def _encoded_name(name: str) -> bytes:
    if not _NAME.match(name):
        raise MalformedMessage(f"The record field {name[:64]!r} cannot be encoded.")
    return Writer().text(name).finish()


def _read_field(reader: Reader) -> tuple[str, str]:
    name = reader.text(64)
    if not _NAME.match(name):
        raise MalformedMessage("A record field with a malformed name.")
    return name, reader.text(MAX_VALUE_OCTETS)


def commit(salt: bytes, record: bytes) -> Digest:
    """com of docs/protocol.md §6.3: SHA-256 over a 32-octet salt and the canonical record."""
    if len(salt) != SALT_OCTETS:
        raise MalformedMessage("A commitment salt is 32 octets.")
    return Digest(hashlib.sha256(salt + record).digest())


def open_commitment(commitment: Digest, salt: bytes, record: bytes) -> CanonicalRecord:
    """The record, once it is known to be the one committed to; raises CommitmentMismatch."""
    if not hmac.compare_digest(commit(salt, record).value, commitment.value):
        raise CommitmentMismatch(
            "The record that arrived is not the one its owner committed to in the index."
        )
    return CanonicalRecord.decode(record)
