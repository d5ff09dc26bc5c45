"""Files of the form of §16.2: receipts, evidence, openings. Strict, and never believed by themselves.

JSON in one canonical form; each object has exactly the keys that its reader names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from candor_verify import entries, names
from candor_verify.checkpoint import Checkpoint, parse_checkpoint
from candor_verify.errors import IdentityMismatch, LimitExceeded, Malformed, NotCanonical, Refused
from candor_verify.heads import Member
from candor_verify.names import shard_of
from candor_verify.note import read_base64
from candor_verify.proof import Judge, LogProof, parse_proof
from candor_verify.statements import Part

MAX_FILE_OCTETS = 96 * 1024 * 1024
# Far above what a file of ours has; what is read of one must fit a small machine.
MAX_ITEMS, MAX_CONTAINERS = 2_000_000, 100_000
MAX_DEPTH = 16
_FORM = json.JSONEncoder(sort_keys=True, indent=1, ensure_ascii=True)


def encode(value: object) -> bytes:
    """The one form of §16.2."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def parse_file(octets: bytes) -> dict[str, object]:
    """The object in a file. Raises Malformed, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_FILE_OCTETS:
        raise LimitExceeded(f"A file of {len(octets)} octets; at most {MAX_FILE_OCTETS} are read.")
    if octets.count(b",") > MAX_ITEMS or octets.count(b"[") + octets.count(b"{") > MAX_CONTAINERS:
        raise LimitExceeded("A file with more items than any receipt, evidence or opening has.")
    _check_depth(octets)
    try:
        value = json.loads(
            octets.decode("ascii"),
            object_pairs_hook=_unique,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError):
        raise Malformed("The file is not JSON in ASCII.") from None
    if not isinstance(value, dict):
        raise Malformed("The file holds no object.")
    try:
        canonical = _is_form_of(octets, value)
    except (ValueError, RecursionError):
        raise Malformed("The file cannot be written in its one form.") from None
    if not canonical:
        raise NotCanonical("The file is not in the one form of its contents.")
    return value


def _is_form_of(octets: bytes, value: object) -> bool:
    """Whether `octets` are the one form, piece by piece: that of deep lists can be of any size."""
    at = 0
    for piece in _FORM.iterencode(value):
        if not octets.startswith(piece.encode("ascii"), at):
            return False
        at += len(piece)
    return octets[at:] == b"\n"


def _check_depth(octets: bytes) -> None:
    """Before anything recurses: the form indents each level by one more space."""
    deepest = b"\n" + b" " * (MAX_DEPTH + 1)
    if deepest in octets:
        raise Malformed("The file is nested too deeply.")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotCanonical("An object of the file has a key twice.")
    return found


def _refuse_number(_: str) -> object:
    raise Malformed("The file holds a number that is not whole.")


@dataclass(frozen=True)
class Logged:
    """An entry and its proof (§16.3); not verified yet."""

    entry: bytes
    proof: LogProof

    @property
    def place(self) -> str:
        """In words."""
        return f"{self.proof.checkpoint.origin}, entry {self.proof.index}"

    def verify(self, federation: str, judge: Judge) -> datetime:
        """That a log of this federation holds it; returns the time of witness.

        Raises IdentityMismatch, ProofInvalid, SignatureInvalid or LogUnwitnessed.
        """
        if shard_of(self.proof.checkpoint.origin)[0] != federation:
            raise IdentityMismatch("A proof is about another federation's log.")
        return self.proof.verify(self.entry, judge)

    def member(self, node: str, federation: str, judge: Judge) -> Member:
        """The logged member of this name. Raises as `verify`, or Malformed for an entry of another kind."""
        self.verify(federation, judge)
        entry = entries.parse_entry(self.entry)
        if not isinstance(entry, Member):
            raise Malformed(f"A logged entry is not the member entry of {node}.")
        if entry.node != node:
            raise IdentityMismatch(f"A logged entry is the member entry of {entry.node}, not of {node}.")
        return entry


class Fields:
    """One object of a file, read key by key; `done` wants every key to have been read."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(f"{where} is no object.")
        self._value: dict[str, object] = value
        self._where = where
        self._read: set[str] = set()

    def raw(self, key: str) -> object:
        """Raises Malformed if the key is missing."""
        if key not in self._value:
            raise Malformed(f"{self._where} has no “{key}”.")
        self._read.add(key)
        return self._value[key]

    def is_null(self, key: str) -> bool:
        return self.raw(key) is None

    def text(self, key: str) -> str:
        value = self.raw(key)
        if not isinstance(value, str):
            raise Malformed(f"“{key}” is no text.")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Malformed(f"“{key}” is no text.") from None
        return value

    def exactly(self, key: str, expected: str) -> None:
        if self.text(key) != expected:
            raise Malformed(f"“{key}” is not “{expected}”.")

    def federation(self) -> str:
        return names.check_federation(self.text("federation"))

    def node(self, key: str) -> str:
        return names.check_node(self.text(key))

    def number(self, key: str, limit: int) -> int:
        """0 ≤ number < limit."""
        value = self.raw(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
            raise Malformed(f"“{key}” is no number below {limit}.")
        return value

    def octets(self, key: str, length: int | None = None) -> bytes:
        value = read_base64(self.text(key))
        if length is not None and len(value) != length:
            raise Malformed(f"“{key}” has {len(value)} octets; it has {length}.")
        return value

    def list_of(self, key: str, limit: int) -> list[object]:
        value = self.raw(key)
        if not isinstance(value, list):
            raise Malformed(f"“{key}” is no list.")
        if len(value) > limit:
            raise LimitExceeded(f"“{key}” has {len(value)} items; at most {limit} are read.")
        return value

    def list_of_octets(self, key: str, limit: int, length: int | None = None) -> list[bytes]:
        found = []
        for item in self.list_of(key, limit):
            if not isinstance(item, str):
                raise Malformed(f"“{key}” holds something else than base64.")
            found.append(read_base64(item))
            if length is not None and len(found[-1]) != length:
                raise Malformed(f"An item of “{key}” has not {length} octets.")
        return found

    def object(self, key: str) -> Fields:
        return Fields(self.raw(key), f"“{key}”")

    def part(self, key: str) -> Part:
        inner = self.object(key)
        part = Part(inner.octets("body"), inner.octets("signature", 64))
        inner.done()
        return part

    def logged(self, key: str) -> Logged:
        inner = self.object(key)
        logged = Logged(inner.octets("entry"), parse_proof(inner.text("proof").encode()))
        inner.done()
        return logged

    def checkpoint(self, key: str) -> Checkpoint:
        return parse_checkpoint(self.text(key).encode())

    def done(self) -> None:
        """Raises Malformed if there is a key that nobody read: what nobody compared is not taken."""
        if self._value.keys() != self._read:
            raise Malformed(f"{self._where} has a key that does not belong there.")


def same(what: str, *values: object) -> None:
    """Raises IdentityMismatch unless all are equal."""
    if any(value != values[0] for value in values):
        raise IdentityMismatch(f"The parts do not belong together: {what}.")


def places_in(files: Iterable[bytes]) -> frozenset[tuple[str, int]]:
    """Where the entries stand that the files show; what is no file is passed over, to be refused later."""
    found: set[tuple[str, int]] = set()
    for octets in files:
        try:
            _gather(parse_file(octets), found)
        except Refused:
            continue
    return frozenset(found)


def _gather(value: object, found: set[tuple[str, int]]) -> None:
    if isinstance(value, dict):
        text = value.get("proof")
        if isinstance(text, str):
            try:
                proof = parse_proof(text.encode("utf-8", "replace"))
                found.add((proof.checkpoint.origin, proof.index))
            except Refused:
                pass
        for each in value.values():
            _gather(each, found)
    elif isinstance(value, list):
        for each in value:
            _gather(each, found)
