"""Signed notes and verifier keys (C2SP signed-note v1; docs/protocol.md §14.1).

A note is text and signature lines; nothing is known of it before a signature is verified. There is one
octet string for each value, and the parsers refuse every other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical, UnsupportedVersion
from candor_proto.signing import VerifyingKey
from candor_proto.tlog.base64lines import decode_octets, encode_octets

MAX_NOTE_OCTETS = 512 * 1024
MAX_SIGNATURES = 64
MAX_NAME_OCTETS = 255
KEY_ID_OCTETS = 4

ED25519 = 0x01
COSIGNATURE_ED25519 = 0x04
COSIGNATURE_ML_DSA_44 = 0x06
KEY_OCTETS = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_ML_DSA_44: 1312}

_DASH = "\N{EM DASH} "
_UNFIT_FOR_NAMES = re.compile(r"[\s\x00-\x1f+]")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f]")


def check_name(name: str) -> str:
    """`name` if it can be a key name: no spaces, plus or control characters, 1 to 255 octets."""
    if not 1 <= len(_utf8(name)) <= MAX_NAME_OCTETS:
        raise MalformedMessage(f"A key name is 1 to {MAX_NAME_OCTETS} octets.")
    if _UNFIT_FOR_NAMES.search(name):
        raise MalformedMessage("A key name holds a space, a control character or a plus.")
    return name


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedMessage("A text of a note has no UTF-8 form.") from None


@dataclass(frozen=True)
class VerifierKey:
    """A public key under a name and a signature type: 0x01, 0x04 or 0x06, and no other."""

    name: str
    kind: int
    key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in KEY_OCTETS:
            raise UnsupportedVersion(f"A key of signature type {self.kind} is not known here.")
        if len(self.key) != KEY_OCTETS[self.kind]:
            raise MalformedMessage(f"A key of signature type {self.kind} is {KEY_OCTETS[self.kind]} octets.")
        if self.kind != COSIGNATURE_ML_DSA_44:
            VerifyingKey(self.key)

    @cached_property
    def key_id(self) -> bytes:
        """The first 4 octets of SHA-256(name ‖ newline ‖ type ‖ key)."""
        return hashlib.sha256(_utf8(self.name) + b"\n" + bytes([self.kind]) + self.key).digest()[
            :KEY_ID_OCTETS
        ]

    def encode(self) -> str:
        """The vkey text: name, key id in hexadecimal and base64 of type and key, with a plus between."""
        return f"{self.name}+{self.key_id.hex()}+{encode_octets(bytes([self.kind]) + self.key)}"


def parse_vkey(text: str) -> VerifierKey:
    """Raises MalformedMessage, NotCanonical or UnsupportedVersion."""
    # The base64 alphabet has a plus of its own.
    name, _, rest = text.partition("+")
    _, _, material = rest.partition("+")
    octets = decode_octets(material)
    if not octets:
        raise MalformedMessage("A verifier key without a key.")
    key = VerifierKey(name, octets[0], octets[1:])
    if key.encode() != text:
        raise NotCanonical("A verifier key whose id is not that of its name and key.")
    return key


@dataclass(frozen=True)
class NoteSignature:
    """A signature line. `payload` is what follows the key id; who verified it is not known here."""

    name: str
    key_id: bytes
    payload: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key_id) != KEY_ID_OCTETS:
            raise MalformedMessage(f"A key id is {KEY_ID_OCTETS} octets.")
        if not self.payload:
            raise MalformedMessage("A signature line without a signature.")

    @property
    def sort_key(self) -> tuple[bytes, bytes]:
        """Name and key id as octets: the order in a proof (§16.1)."""
        return _utf8(self.name), self.key_id

    def line(self) -> str:
        """The signature line with its newline."""
        return f"{_DASH}{self.name} {encode_octets(self.key_id + self.payload)}\n"

    def is_by(self, key: VerifierKey) -> bool:
        """Whether name and key id are those of `key`; says nothing of the signature."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True)
class Note:
    """Text that ends in a newline, and 1 to 64 signatures, no two of one name and key id."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n"):
            raise MalformedMessage("The text of a note ends in a newline.")
        if _CONTROLS.search(self.text):
            raise MalformedMessage("The text of a note holds a control character.")
        _utf8(self.text)
        if not self.signatures:
            raise MalformedMessage("A note without signatures.")
        check_signatures(self.signatures)

    def encode(self) -> bytes:
        return _utf8(self.text + "\n" + "".join(signature.line() for signature in self.signatures))


def check_signatures(signatures: tuple[NoteSignature, ...]) -> None:
    """Raises LimitExceeded above 64, NotCanonical if two name the same key (§14.2)."""
    if len(signatures) > MAX_SIGNATURES:
        raise LimitExceeded(f"A note carries at most {MAX_SIGNATURES} signatures.")
    if len({signature.sort_key for signature in signatures}) != len(signatures):
        raise NotCanonical("A note carries two signatures of one key.")


def parse_signature_lines(text: str) -> tuple[NoteSignature, ...]:
    """Signature lines, each with its newline: of a note, or the body that a witness answers with."""
    if len(text) > MAX_NOTE_OCTETS:
        raise LimitExceeded(f"Signature lines are at most {MAX_NOTE_OCTETS} octets.")
    if not text.endswith("\n"):
        raise MalformedMessage("A signature line without a newline.")
    signatures = []
    for line in text[:-1].split("\n"):
        dash, name, material = line[:2], *_two(line[2:])
        octets = decode_octets(material)
        if dash != _DASH or len(octets) <= KEY_ID_OCTETS:
            raise MalformedMessage("A line that is no signature line.")
        signatures.append(NoteSignature(name, octets[:KEY_ID_OCTETS], octets[KEY_ID_OCTETS:]))
        if len(signatures) > MAX_SIGNATURES:
            raise LimitExceeded(f"A note carries at most {MAX_SIGNATURES} signatures.")
    found = tuple(signatures)
    check_signatures(found)
    return found


def _two(text: str) -> tuple[str, str]:
    first, _, second = text.partition(" ")
    return first, second


def parse_note(octets: bytes) -> Note:
    """Raises MalformedMessage, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_NOTE_OCTETS:
        raise LimitExceeded(f"A note is at most {MAX_NOTE_OCTETS} octets.")
    try:
        whole = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage("A note is not UTF-8.") from None
    text, separator, lines = whole.rpartition("\n\n")
    if not separator:
        raise MalformedMessage("A note without the empty line before its signatures.")
    note = Note(text + "\n", parse_signature_lines(lines))
    if note.encode() != octets:
        raise NotCanonical("A note that does not re-encode to itself.")
    return note
