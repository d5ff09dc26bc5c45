"""The form of receipts, evidence and openings: JSON of which there is one spelling (docs/protocol.md §16.2).

Rules of this file:
- a file is read only if it re-encodes to the very octets read, and holds the expected keys and no others;
- what its values mean, and that each is compared with something signed, is the business of whoever asked;
- readers raise MalformedMessage, NotCanonical or LimitExceeded and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement
from candor_proto.tlog.base64lines import decode_octets, encode_octets
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.proof import LogProof, parse_proof

T = TypeVar("T")

MAX_FILE_OCTETS = 96 * 1024 * 1024
# Far above what a file of ours has; what is read of one must fit a small machine.
MAX_ITEMS, MAX_CONTAINERS = 1 << 21, 100_000
MAX_TEXT_CHARACTERS = 4096
Value = None | str | int | Sequence["Value"] | Mapping[str, "Value"]


@dataclass(frozen=True)
class LoggedPart:
    """An entry of the log and the proof that it is one (§16.3)."""

    entry: bytes
    proof: LogProof


def encode_file(value: Mapping[str, Value]) -> bytes:
    """The one spelling; raises LimitExceeded for a file above 96 MiB."""
    octets = (_FORM.encode(value) + "\n").encode("ascii")
    if len(octets) > MAX_FILE_OCTETS:
        raise _too_large()
    return octets


def parse_file(octets: bytes) -> Fields:
    """The keys of a file, still to be read one by one."""
    if len(octets) > MAX_FILE_OCTETS:
        raise _too_large()
    if octets.count(b",") > MAX_ITEMS or octets.count(b"[") + octets.count(b"{") > MAX_CONTAINERS:
        raise LimitExceeded("A file with more items than any receipt, piece of evidence or opening has.")
    try:
        value = json.loads(octets.decode("ascii"))
        canonical = _is_form_of(octets, value)
    except (ValueError, RecursionError):
        raise MalformedMessage("The file is no JSON text in ASCII.") from None
    if not canonical:
        raise NotCanonical("The file does not re-encode to itself: it was changed, or is not of Candor.")
    return Fields("the file", value)


_FORM = json.JSONEncoder(sort_keys=True, indent=1, ensure_ascii=True)


def _is_form_of(octets: bytes, value: object) -> bool:
    """Whether `octets` are the one spelling, piece by piece: one of deep lists can be of any size."""
    at = 0
    for piece in _FORM.iterencode(value):
        if not octets.startswith(piece.encode("ascii"), at):
            return False
        at += len(piece)
    return octets[at:] == b"\n"


def _too_large() -> LimitExceeded:
    return LimitExceeded("A receipt, piece of evidence or opening is at most 96 MiB.")


class Fields:
    """The keys of one JSON object. Each is read once; `finish` refuses those that nobody asked for."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise MalformedMessage(f"Not an object: {where}.")
        self._where = where
        self._values: dict[str, object] = dict(value)

    def take(self, name: str) -> object:
        try:
            return self._values.pop(name)
        except KeyError:
            raise MalformedMessage(f"The key {name} is missing in {self._where}.") from None

    def expect(self, name: str, value: str) -> None:
        """A key that has one value only."""
        if self.take(name) != value:
            raise MalformedMessage(f"The key {name} of {self._where} is not {value}.")

    def text(self, name: str, max_characters: int = MAX_TEXT_CHARACTERS) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise self._wrong(name, "text")
        if len(value) > max_characters:
            raise LimitExceeded(f"The key {name} of {self._where} is too long.")
        return value

    def choice(self, name: str, kind: Callable[[str], T]) -> T:
        """A text that `kind`, an Enum class, maps to a member."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise self._wrong(name, "a word known here") from None

    def number(self, name: str, below: int) -> int:
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
            raise self._wrong(name, f"a number from 0 up to {below}")
        return value

    def octets(self, name: str, length: int | None = None) -> bytes:
        """`length` octets, or any number of them."""
        return self._octets(name, self.take(name), length)

    def octets_list(self, name: str, length: int | None = None) -> tuple[bytes, ...]:
        value = self.take(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return tuple(self._octets(name, item, length) for item in value)

    def list_of(self, name: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects."""
        value = self.take(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return tuple(self._whole(Fields(f"an item of {name}", item), read) for item in value)

    def fields(self, name: str, read: Callable[[Fields], T]) -> T:
        """An object inside this one."""
        return self._whole(Fields(f"{name} of {self._where}", self.take(name)), read)

    def or_null(self, name: str, read: Callable[[str], T]) -> T | None:
        """`read(name)`, or None where the file says null."""
        if name in self._values and self._values[name] is None:
            self.take(name)
            return None
        return read(name)

    def texts(self, name: str, keys: Collection[str]) -> dict[str, str]:
        """An object with exactly these keys and texts behind them."""
        return self.fields(name, lambda inside: {key: inside.text(key) for key in keys})

    # --- what files are made of ----------------------------------------------------------------------------

    def node(self, name: str) -> NodeId:
        return NodeId(self.text(name))

    def federation(self) -> FederationName:
        return FederationName(self.text("federation"))

    def part(self, name: str) -> SignedStatement:
        return self.fields(
            name,
            lambda inside: SignedStatement(
                inside.octets("body"), inside.octets("signature", SIGNATURE_OCTETS)
            ),
        )

    def logged(self, name: str) -> LoggedPart:
        return self.fields(
            name, lambda inside: LoggedPart(inside.octets("entry"), parse_proof(inside.utf8("proof")))
        )

    def checkpoint(self, name: str) -> SignedCheckpoint:
        return parse_checkpoint(self.utf8(name))

    def utf8(self, name: str) -> bytes:
        """A text of any length as octets."""
        try:
            return self.text(name, MAX_FILE_OCTETS).encode("utf-8")
        except UnicodeEncodeError:
            raise self._wrong(name, "text with a UTF-8 form") from None

    def finish(self) -> None:
        if self._values:
            raise MalformedMessage(
                f"Keys that have no place in {self._where}: {', '.join(sorted(self._values))[:80]}."
            )

    @staticmethod
    def _whole(inside: Fields, read: Callable[[Fields], T]) -> T:
        value = read(inside)
        inside.finish()
        return value

    def _octets(self, name: str, value: object, length: int | None) -> bytes:
        if not isinstance(value, str):
            raise self._wrong(name, "base64")
        octets = decode_octets(value)
        if length is not None and len(octets) != length:
            raise self._wrong(name, f"{length} octets")
        return octets

    def _wrong(self, name: str, kind: str) -> MalformedMessage:
        return MalformedMessage(f"The key {name} of {self._where} is not {kind}.")


# --- the other direction -----------------------------------------------------------------------------------


def part_value(statement: SignedStatement) -> Value:
    return {"body": encode_octets(statement.body), "signature": encode_octets(statement.signature)}


def logged_value(logged: LoggedPart) -> Value:
    return {"entry": encode_octets(logged.entry), "proof": logged.proof.encode().decode("utf-8")}


def checkpoint_value(signed: SignedCheckpoint) -> Value:
    return signed.encode().decode("utf-8")


def octets_list_value(items: Sequence[bytes]) -> Value:
    return [encode_octets(item) for item in items]
