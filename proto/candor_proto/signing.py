"""Ed25519 over canonical octets with a context (docs/protocol.md §4.1; RFC 8032).

A signature made for one context does not verify in another. Verification raises; it returns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from candor_proto.canonical import Writer
from candor_proto.errors import MalformedMessage, SignatureInvalid

KEY_OCTETS = 32
SIGNATURE_OCTETS = 64
# Encodings of the points of order 1, 2, 4 and 8 without the sign bit, as libsodium's
# `ge25519_has_small_order` lists them.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@dataclass(frozen=True)
class VerifyingKey:
    """An Ed25519 public key, 32 octets."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != KEY_OCTETS:
            raise MalformedMessage("A signing key is 32 octets.")
        # Under a key of small order one signature verifies for every body: its holder could deny any.
        if self.value[:31] + bytes([self.value[31] & 0x7F]) in _SMALL_ORDER:
            raise MalformedMessage("A signing key of small order.")


class SigningKey:
    """An Ed25519 private key; never printed."""

    def __init__(self, seed: bytes) -> None:
        """`seed` is the 32-octet private key of RFC 8032 §5.1.5."""
        if len(seed) != KEY_OCTETS:
            raise MalformedMessage("A signing key seed is 32 octets.")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyingKey(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @classmethod
    def generate(cls) -> SigningKey:
        key = Ed25519PrivateKey.generate()
        return cls(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))

    def seed(self) -> bytes:
        """The private key, for storage only."""
        return self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    def sign(self, context: str, body: bytes) -> SignedStatement:
        return SignedStatement(body, self._key.sign(_signature_input(context, body)))

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.value.hex()[:16]}…, private=<redacted>)"


@dataclass(frozen=True)
class SignedStatement:
    """Canonical octets and their signature; nothing is known of them before `verify`."""

    body: bytes
    signature: bytes

    def verify(self, context: str, key: VerifyingKey, signer: str) -> bytes:
        """The body, once its signature is checked; raises SignatureInvalid.

        `signer` names who should have signed, for the message only.
        """
        if len(self.signature) != SIGNATURE_OCTETS:
            raise SignatureInvalid(f"The {context} of {signer} carries no Ed25519 signature.")
        try:
            Ed25519PublicKey.from_public_bytes(key.value).verify(
                self.signature, _signature_input(context, self.body)
            )
        except (InvalidSignature, ValueError):
            raise SignatureInvalid(f"The signature on the {context} of {signer} does not verify.") from None
        return self.body


def _signature_input(context: str, body: bytes) -> bytes:
    return Writer("signature").text(context).octets(body).finish()
