"""Checkpoints: origin, size and root of a log, signed (C2SP tlog-checkpoint v1; docs/protocol.md §14.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from candor_proto.errors import MalformedMessage
from candor_proto.tlog.base64lines import HASH_OCTETS, MAX_COUNT, decode_count, decode_hash, encode_octets
from candor_proto.tlog.note import Note, NoteSignature, parse_note

MAX_ORIGIN_OCTETS = 255


@dataclass(frozen=True)
class Checkpoint:
    """The three lines that are signed; there are no extension lines."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if any(character < " " for character in self.origin):
            raise MalformedMessage("The origin of a checkpoint holds a control character.")
        try:
            octets = self.origin.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedMessage("The origin of a checkpoint has no UTF-8 form.") from None
        if not 1 <= len(octets) <= MAX_ORIGIN_OCTETS:
            raise MalformedMessage(f"The origin of a checkpoint is 1 to {MAX_ORIGIN_OCTETS} octets.")
        if not 0 <= self.size <= MAX_COUNT:
            raise MalformedMessage("The size of a checkpoint is below 2^63.")
        if len(self.root) != HASH_OCTETS:
            raise MalformedMessage(f"The root of a checkpoint is {HASH_OCTETS} octets.")

    def text(self) -> str:
        """The note text: three lines, each with its newline."""
        return f"{self.origin}\n{self.size}\n{encode_octets(self.root)}\n"


def parse_checkpoint_text(text: str) -> Checkpoint:
    """The three lines alone, as `Checkpoint.text` writes them; raises MalformedMessage or NotCanonical."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise MalformedMessage("A checkpoint has three lines and no extension lines.")
    return Checkpoint(lines[0], decode_count(lines[1]), decode_hash(lines[2]))


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint with its signature lines; what they are worth says `signatures` and `policy`."""

    checkpoint: Checkpoint
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        self._note()

    def _note(self) -> Note:
        return Note(self.checkpoint.text(), self.signatures)

    def encode(self) -> bytes:
        return self._note().encode()

    def with_signatures(self, more: Iterable[NoteSignature]) -> SignedCheckpoint:
        """This checkpoint with `more` behind its signatures; a key that signed already keeps its place.

        Of two signatures of one key the later one stays: a cosignature is renewed with a newer time.
        """
        lines = {signature.sort_key: signature for signature in self.signatures}
        lines.update((signature.sort_key, signature) for signature in more)
        return SignedCheckpoint(self.checkpoint, tuple(lines.values()))


def parse_checkpoint(octets: bytes) -> SignedCheckpoint:
    """Raises MalformedMessage, NotCanonical (also: a key twice) or LimitExceeded (512 KiB, 64 lines)."""
    note = parse_note(octets)
    return SignedCheckpoint(parse_checkpoint_text(note.text), note.signatures)
