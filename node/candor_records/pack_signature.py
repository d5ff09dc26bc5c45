"""The detached signature of a policy pack: who stands for these very octets.

    candor-pack-signature 1
    issuer 64 hexadecimal digits
    signature 128 hexadecimal digits

Rules of this file:
- what is signed are the octets of the file, under a context of its own: no signature that an issuer makes for
  anything else passes for one of a pack;
- a good signature of somebody who is not trusted here is refused like a bad one;
- there is one way to write a signature down; everything else does not parse.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from candor_proto.errors import IdentityMismatch, InputInvalid
from candor_proto.signing import KEY_OCTETS, SIGNATURE_OCTETS, SignedStatement, SigningKey, VerifyingKey

CONTEXT = "policy-pack"
SUFFIX = ".sig"
_FIRST_LINE = "candor-pack-signature 1"
_LINES = re.compile(
    rf"{_FIRST_LINE}\n"
    rf"issuer ([0-9a-f]{{{2 * KEY_OCTETS}}})\n"
    rf"signature ([0-9a-f]{{{2 * SIGNATURE_OCTETS}}})\n\Z"
)


@dataclass(frozen=True)
class PackSignature:
    """An issuer's public key and what it signed with; nothing is known of it before `check_signature`."""

    issuer: VerifyingKey
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> PackSignature:
        """Raises InputInvalid, or MalformedMessage for a key that is none."""
        found = _LINES.match(text)
        if found is None:
            raise InputInvalid(
                "This is not the signature of a policy pack.",
                remedy="The signature of NAME.toml is the file NAME.toml.sig that came with it, unchanged.",
            )
        return cls(VerifyingKey(bytes.fromhex(found[1])), bytes.fromhex(found[2]))

    @property
    def text(self) -> str:
        return f"{_FIRST_LINE}\nissuer {self.issuer.value.hex()}\nsignature {self.signature.hex()}\n"


def sign_pack(key: SigningKey, octets: bytes) -> PackSignature:
    """The issuer's signature of a pack."""
    return PackSignature(key.public, key.sign(CONTEXT, octets).signature)


def check_signature(octets: bytes, signature: PackSignature, trusted: Collection[VerifyingKey]) -> None:
    """Whether a trusted issuer signed exactly these octets; raises IdentityMismatch or SignatureInvalid."""
    if signature.issuer not in trusted:
        raise IdentityMismatch(
            "Nobody whom this node trusts signed the policy pack.",
            remedy="If you know its issuer, add the issuer's key to `pack_issuers` in node.toml.",
        )
    SignedStatement(octets, signature.signature).verify(CONTEXT, signature.issuer, "its issuer")
