"""HPKE sealing with fixed sizes (docs/protocol.md §4.3; RFC 9180).

HPKE's base mode proves nothing about the sender: what is sealed is itself a signed statement.
`cryptography`'s single-shot interface has no associated data, so everything to be bound goes into
`info` as one digest; with another `info` the message does not open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.errors import LimitExceeded, MalformedMessage, SealedDataInvalid
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement

PUBLIC_KEY_OCTETS = 1216
PRIVATE_KEY_OCTETS = 96
OVERHEAD_OCTETS = 1136
# The longest statement that is sealed.
MAX_BODY_OCTETS = 65_000
_MLKEM_PUBLIC, _MLKEM_SEED = 1184, 64
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


class SealKind(Enum):
    """What is sealed: the text bound into `info`, and the padded size in octets."""

    REQUEST = ("disclosure-request", 8_192)
    RESPONSE = ("disclosure-response", 65_536)
    RECALL_NOTICE = ("recall-notice", 65_536)
    RECALL_ACK = ("recall-ack", 1_024)

    def __init__(self, text: str, padded_octets: int) -> None:
        self.text = text
        self.padded_octets = padded_octets

    @property
    def sealed_octets(self) -> int:
        return self.padded_octets + OVERHEAD_OCTETS


@dataclass(frozen=True)
class SealContext:
    """Everything a sealed message is bound to.

    `envelope_id` is the request's id in a request and a response, `binding` the request's digest in a
    response.
    """

    federation: FederationName
    kind: SealKind
    envelope_id: bytes
    sender: NodeId
    recipient: NodeId
    binding: bytes = b""

    def info(self) -> bytes:
        return digest(
            "seal",
            str(self.federation).encode(),
            self.kind.text.encode(),
            self.envelope_id,
            str(self.sender).encode(),
            str(self.recipient).encode(),
            self.binding,
        )


class DisclosureKey:
    """An MLKEM768-X25519 private key: ML-KEM seed (64 octets) ‖ X25519 private key (32). Never printed."""

    def __init__(self, octets: bytes) -> None:
        if len(octets) != PRIVATE_KEY_OCTETS:
            raise MalformedMessage(f"A disclosure key is {PRIVATE_KEY_OCTETS} octets.")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(octets[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(octets[_MLKEM_SEED:])
        self._octets = bytes(octets)
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> DisclosureKey:
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        return cls(mlkem.private_bytes_raw() + x25519.private_bytes_raw())

    def octets(self) -> bytes:
        """The private key, for storage only."""
        return self._octets

    def __repr__(self) -> str:
        return "DisclosureKey(<redacted>)"

    def decrypt(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed under `info`, padding included; raises SealedDataInvalid."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError):
            raise SealedDataInvalid("A sealed message that does not open for these parties.") from None

    def open(self, sealed: bytes, context: SealContext) -> bytes:
        """The statement inside; raises SealedDataInvalid, whatever is wrong with it."""
        if len(sealed) != context.kind.sealed_octets:
            raise SealedDataInvalid("A sealed message of the wrong size.")
        padded = self.decrypt(sealed, context.info())
        length = int.from_bytes(padded[:4], "big")
        if length > len(padded) - 4 or any(padded[4 + length :]):
            raise SealedDataInvalid("A sealed message with malformed padding.")
        return padded[4 : 4 + length]


def check_public_key(octets: bytes) -> bytes:
    """`octets` once it is known to be a usable public key; raises MalformedMessage."""
    _public_key(octets)
    return octets


def seal(statement: bytes, public_key: bytes, context: SealContext) -> bytes:
    """Seal `statement` to `public_key` (1,216 octets); the size depends on the kind alone.

    Raises LimitExceeded when the statement does not fit, MalformedMessage for an unusable key.
    """
    room = context.kind.padded_octets - 4
    if len(statement) > room:
        raise LimitExceeded(
            f"A {context.kind.text} holds at most {room} octets, this one has {len(statement)}."
        )
    padded = len(statement).to_bytes(4, "big") + statement + bytes(room - len(statement))
    return _SUITE.encrypt(padded, _public_key(public_key), info=context.info())


def seal_unpadded(octets: bytes, public_key: bytes, bound: Sequence[bytes]) -> bytes:
    """Seal something whose size may show; `bound` are the parts of `info` after its label (§4.3, §18.2)."""
    return _SUITE.encrypt(octets, _public_key(public_key), info=digest("seal", *bound))


def open_unpadded(sealed: bytes, key: DisclosureKey, bound: Sequence[bytes]) -> bytes:
    """Raises SealedDataInvalid, whatever is wrong with it."""
    return key.decrypt(sealed, digest("seal", *bound))


def seal_statement(statement: SignedStatement, public_key: bytes, context: SealContext) -> bytes:
    """Seal a signed statement: all that is ever sealed, for HPKE proves nothing about the sender."""
    octets = Writer().octets(statement.body).fixed(statement.signature, SIGNATURE_OCTETS).finish()
    return seal(octets, public_key, context)


def open_statement(sealed: bytes, key: DisclosureKey, context: SealContext) -> SignedStatement:
    """The statement inside, its signature still unchecked; raises SealedDataInvalid or MalformedMessage."""
    reader = Reader(key.open(sealed, context))
    statement = SignedStatement(reader.octets(MAX_BODY_OCTETS), reader.fixed(SIGNATURE_OCTETS))
    reader.finish()
    return statement


def _public_key(octets: bytes) -> MLKEM768X25519PublicKey:
    if len(octets) != PUBLIC_KEY_OCTETS:
        raise MalformedMessage(f"A disclosure key is {PUBLIC_KEY_OCTETS} octets.")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(octets[:_MLKEM_PUBLIC])
        x25519 = X25519PublicKey.from_public_bytes(octets[_MLKEM_PUBLIC:])
        # A point of low order gives a shared secret of zeros, which the library refuses: at the door.
        X25519PrivateKey.generate().exchange(x25519)
        return MLKEM768X25519PublicKey(mlkem, x25519)
    except ValueError:
        raise MalformedMessage("A disclosure key that is no valid public key.") from None
