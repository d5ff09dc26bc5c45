"""Checkpoints of a federation's log (§14.2): canonical text, both signatures of the log, each key once."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import datetime

from candor_verify import note
from candor_verify.errors import LogInconsistent, Malformed, NotCanonical, SignatureInvalid
from candor_verify.merkle import EMPTY_ROOT
from candor_verify.names import at_seconds, shard_of
from candor_verify.note import NoteSignature, VerifierKey


@dataclass(frozen=True)
class Checkpoint:
    """Origin, size and root, and who signed them; nothing is verified yet."""

    origin: str
    size: int
    root: bytes
    signatures: tuple[NoteSignature, ...]

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def encode(self) -> bytes:
        return note.Note(self.text, self.signatures).encode()

    def verify(self, key: VerifierKey, signature: NoteSignature) -> int | None:
        """One signature line (`note.verify_line`)."""
        return note.verify_line(key, signature, self.text, self.origin, self.size, self.root)

    def without_cosignatures(self) -> Checkpoint:
        """The same, with the log's own signatures alone."""
        return replace(self, signatures=self.signatures[:2])


@dataclass(frozen=True)
class LogKeys:
    """The two keys of one shard (§14.1), both under its origin."""

    ed25519: VerifierKey
    ml_dsa: VerifierKey

    @classmethod
    def of(cls, origin: str, ed25519: bytes, ml_dsa: bytes) -> LogKeys:
        return cls(VerifierKey(origin, note.ED25519, ed25519), VerifierKey(origin, note.ML_DSA_44, ml_dsa))


def parse_checkpoint(octets: bytes) -> Checkpoint:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    signed = note.parse_note(octets)
    lines = signed.text.split("\n")
    if len(lines) != 4:
        raise Malformed("A checkpoint has three lines: origin, size, root.")
    origin, size, root, _ = lines
    if not origin:
        raise Malformed("A checkpoint has no origin.")
    checkpoint = Checkpoint(origin, note.read_decimal(size), note.read_hash(root), signed.signatures)
    if checkpoint.encode() != octets:
        raise NotCanonical("A checkpoint is not in its one form.")
    return checkpoint


def verify_log(checkpoint: Checkpoint, keys: LogKeys) -> datetime:
    """Both signatures of the log, in their places (§14.2); returns the time of signing.

    Raises SignatureInvalid, Malformed for an origin that is no shard's, and LogInconsistent for an empty
    log with another root than that of the empty tree.
    """
    shard_of(checkpoint.origin)
    if keys.ed25519.name != checkpoint.origin or keys.ml_dsa.name != checkpoint.origin:
        raise SignatureInvalid(f"There are no keys of the log {checkpoint.origin}.")
    if len(checkpoint.signatures) < 2:
        raise SignatureInvalid("A checkpoint does not carry both signatures of the log.")
    checkpoint.verify(keys.ed25519, checkpoint.signatures[0])
    seconds = checkpoint.verify(keys.ml_dsa, checkpoint.signatures[1])
    if seconds is None:
        raise SignatureInvalid("The log's second signature has no time.")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise LogInconsistent("A checkpoint of no entries has not the root of the empty tree.")
    return at_seconds(seconds)
