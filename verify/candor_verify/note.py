"""Signed notes and verifier keys (C2SP signed-note), and signatures over checkpoints (C2SP tlog-cosignature).

A note is text, an empty line, and signature lines `— <key name> <base64 of key id ‖ payload>`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from candor_verify.errors import LimitExceeded, Malformed, NotCanonical, SignatureInvalid
from candor_verify.octets import u8, u64

MAX_NOTE_OCTETS = 512 * 1024
MAX_LINES = 64
ED25519 = 0x01
ED25519_COSIGNATURE = 0x04
ML_DSA_44 = 0x06
_KEY_OCTETS = {ED25519: 32, ED25519_COSIGNATURE: 32, ML_DSA_44: 1312}
_PAYLOAD_OCTETS = {ED25519: 64, ED25519_COSIGNATURE: 72, ML_DSA_44: 2428}
_P = 2**255 - 19
_SMALL_ORDER = {
    *(0, 1, _P - 1, _P, _P + 1),
    int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    ),
    int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    ),
}
_BEGIN = "— "
_UNFIT_FOR_NAMES = re.compile(r"[\s+]")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f]")


def read_base64(value: str) -> bytes:
    """Standard base64 with padding, in its one form. Raises Malformed or NotCanonical."""
    try:
        decoded = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise Malformed("What stands for base64 is none.") from None
    if base64.b64encode(decoded).decode() != value:
        raise NotCanonical("Base64 has padding bits that are not zero.")
    return decoded


def read_hash(value: str) -> bytes:
    """A base64 hash of 32 octets. Raises Malformed."""
    decoded = read_base64(value)
    if len(decoded) != 32:
        raise Malformed(f"A hash of {len(decoded)} octets; it has 32.")
    return decoded


def read_decimal(value: str) -> int:
    """A number below 2^63, without leading zeros. Raises Malformed."""
    if not (value.isascii() and value.isdigit()) or len(value) > 19 or (value[0] == "0" and value != "0"):
        raise Malformed("What stands for a number is none.")
    if int(value) >= 2**63:
        raise Malformed("A number is not below 2^63.")
    return int(value)


def check_key_name(name: str) -> str:
    """A key name: not empty, at most 255 octets, no space and no plus. Raises Malformed."""
    if not name or len(name.encode()) > 255 or _UNFIT_FOR_NAMES.search(name):
        raise Malformed("What stands for a key name is none.")
    return name


@dataclass(frozen=True)
class NoteSignature:
    """One signature line."""

    name: str
    key_id: bytes
    payload: bytes

    def encode(self) -> str:
        return f"{_BEGIN}{self.name} {base64.b64encode(self.key_id + self.payload).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text, which ends in a newline, and its signature lines."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        lines = "".join(signature.encode() for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()


@dataclass(frozen=True)
class VerifierKey:
    """A public key under its name and signature type."""

    name: str
    kind: int
    key: bytes

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + u8(self.kind) + self.key).digest()[:4]

    def encode(self) -> str:
        public = base64.b64encode(u8(self.kind) + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{public}"

    def made(self, signature: NoteSignature) -> bool:
        """Whether the line says that it is this key's."""
        return signature.name == self.name and signature.key_id == self.key_id


def parse_note(octets: bytes) -> Note:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_NOTE_OCTETS:
        raise LimitExceeded(f"A note of {len(octets)} octets; at most {MAX_NOTE_OCTETS} are read.")
    try:
        whole = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("A note is not UTF-8.") from None
    if _CONTROLS.search(whole):
        raise Malformed("A note holds control characters.")
    body, found, block = whole.rpartition("\n\n")
    if not found or not block.endswith("\n"):
        raise Malformed("A note has no signatures.")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_LINES:
        raise LimitExceeded(f"A note of {len(lines)} signature lines; at most {MAX_LINES} are read.")
    note = Note(body + "\n", tuple(map(_read_line, lines)))
    if note.encode() != octets:
        raise NotCanonical("A note is not in its one form.")
    if len({(line.name, line.key_id) for line in note.signatures}) != len(lines):
        raise NotCanonical("A note says the same key twice.")
    return note


def _read_line(line: str) -> NoteSignature:
    if not line.startswith(_BEGIN):
        raise Malformed("A signature line does not begin as one.")
    name, found, encoded = line.removeprefix(_BEGIN).partition(" ")
    if not found:
        raise Malformed("A signature line has no signature.")
    signed = read_base64(encoded)
    if len(signed) < 5:
        raise Malformed("A signature line is too short.")
    return NoteSignature(check_key_name(name), signed[:4], signed[4:])


def parse_vkey(value: str) -> VerifierKey:
    """A verifier key in its text form. Raises Malformed or NotCanonical."""
    name, _, rest = value.partition("+")
    key_id, _, encoded = rest.partition("+")
    public = read_base64(encoded)
    if not public or _KEY_OCTETS.get(public[0]) != len(public) - 1:
        raise Malformed("A verifier key is of no known type, or not as long as its type.")
    key = VerifierKey(check_key_name(name), public[0], public[1:])
    if key.kind != ML_DSA_44:
        check_ed25519_key(key.key)
    if key_id != key.key_id.hex():
        raise Malformed("The id of a verifier key is not that of its name and octets.")
    if key.encode() != value:
        raise NotCanonical("A verifier key is not in its one form.")
    return key


def check_ed25519_key(key: bytes) -> bytes:
    """A public key that one signer alone can have signed under (§4.1). Raises Malformed."""
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    if len(key) != 32 or y in _SMALL_ORDER:
        raise Malformed("A public key has not 32 octets, or is of small order.")
    return key


def verify_ed25519(key: bytes, signature: bytes, message: bytes, who: str) -> None:
    """Raises SignatureInvalid, which names `who`, and Malformed for a key of small order."""
    check_ed25519_key(key)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(f"The signature of {who} does not verify.") from None


def verify_ml_dsa(key: bytes, signature: bytes, message: bytes, who: str) -> None:
    """ML-DSA-44 (FIPS 204) with an empty context. Raises SignatureInvalid."""
    try:
        MLDSA44PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(f"The signature of {who} does not verify.") from None
    except UnsupportedAlgorithm:
        raise SignatureInvalid("This machine's cryptography library has no ML-DSA-44.") from None


def subtree_message(name: str, seconds: int, origin: str, size: int, root: bytes) -> bytes:
    """The `cosigned_message` of tlog-cosignature for a whole tree.

    Raises Malformed for a name over 255 octets.
    """
    cosigner, log = name.encode(), origin.encode()
    if not (0 < len(cosigner) < 256 and 0 < len(log) < 256):
        raise Malformed("A key name or an origin is empty or longer than 255 octets.")
    return b"".join(
        (
            *(b"subtree/v1\n\0", u8(len(cosigner)), cosigner, u64(seconds), u8(len(log)), log),
            *(u64(0), u64(size), root),
        )
    )


def signed_octets(
    name: str, kind: int, text: str, origin: str, size: int, root: bytes, seconds: int
) -> bytes:
    """What a key of this type signs of a checkpoint; an Ed25519 key of type 1 states no time."""
    if kind == ED25519:
        return text.encode()
    if kind == ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {seconds}\n{text}".encode()
    return subtree_message(name, seconds, origin, size, root)


def verify_line(
    key: VerifierKey, signature: NoteSignature, text: str, origin: str, size: int, root: bytes
) -> int | None:
    """Check one line of a checkpoint; returns its POSIX time, None for a plain Ed25519 signature.

    Raises SignatureInvalid, and Malformed for a time that is zero or beyond the year 9999.
    """
    who = f"{key.name} (key {key.key_id.hex()})"
    if not key.made(signature) or len(signature.payload) != _PAYLOAD_OCTETS[key.kind]:
        raise SignatureInvalid(f"The signature of {who} does not verify.")
    seconds = 0 if key.kind == ED25519 else int.from_bytes(signature.payload[:8], "big")
    if key.kind != ED25519 and not 0 < seconds < 253_402_300_800:
        raise SignatureInvalid(f"The time in the signature of {who} is zero, or beyond the year 9999.")
    message = signed_octets(key.name, key.kind, text, origin, size, root, seconds)
    if key.kind == ML_DSA_44:
        verify_ml_dsa(key.key, signature.payload[8:], message, who)
    else:
        verify_ed25519(key.key, signature.payload[-64:], message, who)
    return None if key.kind == ED25519 else seconds


def find_line(key: VerifierKey, signatures: Iterable[NoteSignature]) -> NoteSignature | None:
    """The line that says it is this key's."""
    return next((signature for signature in signatures if key.made(signature)), None)
