"""Disclosure requests (§9.2), responses (§9.3) and the record that opens a commitment (§9.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from candor_verify import names
from candor_verify.errors import (
    CommitmentMismatch,
    LimitExceeded,
    Malformed,
    NotCanonical,
    UnsupportedVersion,
)
from candor_verify.octets import Reader, ascending, digest

_ML_KEM_MODULUS = 3_329
_ML_KEM_VECTOR = 1_152
MAX_LIFE = 30 * 24 * 3600 * 1000
MAX_BODY_OCTETS = 65_536
MAX_RECORD_OCTETS = 44_000
MAX_STATEMENT_OCTETS = 16_000
MAX_FIELDS = 200
MAX_VALUE_OCTETS = 16_384
RELEASED = 1
OUTCOMES = {1: "released", 2: "declined", 3: "not the same person"}


@dataclass(frozen=True)
class Request:
    """A request for the record behind a hit."""

    federation: str
    request_id: bytes
    requester: str
    owner: str
    epoch: int
    handle: bytes
    commitment: bytes
    purpose: int
    case: str
    consent: bytes
    officer: str
    lookup_id: bytes
    reply_key: bytes
    issued: int
    expires: int


@dataclass(frozen=True)
class Response:
    """The owner's response; `record` is not looked into."""

    federation: str
    request_id: bytes
    request_digest: bytes
    owner: str
    requester: str
    outcome: int
    salt: bytes
    record: bytes
    dispute_status: int
    subject_statement: str
    issued: int


def request_digest(body: bytes) -> bytes:
    """By which a response names its request."""
    return digest("disclosure-request", body)


def check_disclosure_key(key: bytes) -> bytes:
    """A public key that something can be sealed to (§4.3): ML-KEM-768 and X25519. Raises Malformed."""
    coefficients = (
        number
        for at in range(0, _ML_KEM_VECTOR, 3)
        for number in (
            key[at] | (key[at + 1] & 15) << 8,
            key[at + 1] >> 4 | key[at + 2] << 4,
        )
    )
    if any(number >= _ML_KEM_MODULUS for number in coefficients):
        raise Malformed("A disclosure key is no ML-KEM-768 key.")
    try:
        X25519PrivateKey.from_private_bytes(bytes(32)).exchange(X25519PublicKey.from_public_bytes(key[1184:]))
    except ValueError:
        raise Malformed("A disclosure key has an X25519 part of small order.") from None
    return key


def parse_request(body: bytes) -> Request:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    _check_length(body)
    reader = Reader(body, "disclosure-request")
    request = Request(
        federation=names.federation(reader),
        request_id=reader.exactly(16),
        requester=names.node(reader),
        owner=names.node(reader),
        epoch=reader.u32(),
        handle=reader.exactly(16),
        commitment=reader.exactly(32),
        purpose=reader.choice(range(1, 8), "The purpose"),
        case=_plain(reader.text(128)),
        consent=reader.exactly(32),
        officer=_plain(reader.text(256)),
        lookup_id=reader.exactly(16),
        reply_key=check_disclosure_key(reader.exactly(1216)),
        issued=reader.time(),
        expires=reader.time(),
    )
    reader.end()
    if not request.issued < request.expires <= request.issued + MAX_LIFE:
        raise Malformed("A disclosure request lives longer than 30 days, or not at all.")
    return request


def parse_response(body: bytes) -> Response:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    _check_length(body)
    reader = Reader(body, "disclosure-response")
    response = Response(
        federation=names.federation(reader),
        request_id=reader.exactly(16),
        request_digest=reader.exactly(32),
        owner=names.node(reader),
        requester=names.node(reader),
        outcome=reader.choice(range(1, 4), "The outcome"),
        salt=reader.exactly(32),
        record=reader.octets(MAX_RECORD_OCTETS),
        dispute_status=reader.choice(range(1, 5), "The dispute status"),
        subject_statement=reader.text(MAX_STATEMENT_OCTETS),
        issued=reader.time(),
    )
    reader.end()
    if response.outcome != RELEASED and (any(response.salt) or response.record):
        raise NotCanonical("A response that releases nothing holds a record or a salt.")
    return response


def parse_record(octets: bytes) -> tuple[int, int, Mapping[str, str]]:
    """Kind, tier and fields of a canonical record (§9.4). Raises Malformed, NotCanonical or LimitExceeded."""
    _check_length(octets)
    reader = Reader(octets, "record")
    if reader.u8() != 1:
        raise UnsupportedVersion("A record of another version than 1.")
    kind, tier = (
        reader.choice(range(1, 8), "The kind of a record"),
        reader.choice((1, 2), "The tier of a record"),
    )
    fields = reader.items(lambda each: (each.text(), each.text(MAX_VALUE_OCTETS)), MAX_FIELDS)
    reader.end()
    if not all(names.FIELD_NAME.match(name) for name, _ in fields):
        raise Malformed("The name of a field is none.")
    ascending(fields, "The fields of a record", lambda field: field[0].encode())
    return kind, tier, dict(fields)


def check_commitment(commitment: bytes, salt: bytes, record: bytes) -> None:
    """That the record opens `com` (§9.5). Raises CommitmentMismatch."""
    if len(salt) != 32 or hashlib.sha256(salt + record).digest() != commitment:
        raise CommitmentMismatch("The record does not open the commitment.")


def _check_length(body: bytes) -> None:
    if len(body) > MAX_BODY_OCTETS:
        raise LimitExceeded(f"A statement of {len(body)} octets; at most {MAX_BODY_OCTETS} are read.")


def _plain(value: str) -> str:
    """Without control characters (§13). Raises Malformed."""
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
        raise Malformed("A field holds control characters.")
    return value
