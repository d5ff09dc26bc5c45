"""Transferable evidence: what a party signed that contradicts itself or the log (docs/protocol.md §17.1).

Rules of this file:
- a piece of evidence names its accused and holds what that party alone can have signed, with what proves
  whose signature it is: whoever checks it believes nobody, not even who made it;
- each kind is a table of keys here and a check in `against_owner` or `against_others`; a check raises, and
  what it lets pass is misbehaviour that no party can be blamed for that keeps docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias, TypeVar

from candor_proto.accountability.file_form import (
    Fields,
    LoggedPart,
    Value,
    checkpoint_value,
    encode_file,
    logged_value,
    octets_list_value,
    parse_file,
    part_value,
)
from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SignedStatement
from candor_proto.tlog.base64lines import HASH_OCTETS, encode_octets
from candor_proto.tlog.checkpoint import SignedCheckpoint

T = TypeVar("T")

FORMAT = "candor-evidence/1"
HUB = "hub"
BLOB_ID_OCTETS, SECRET_OCTETS, OUTPUT_OCTETS = 16, 16, 64
MAX_COUNTER = 256


class Kind(Enum):
    """What was done; the value is the word in the file."""

    WRONG_KEY = "wrong-key"
    WRONG_EPOCH = "wrong-epoch"
    TWO_HEADS = "two-heads"
    MALFORMED_SEGMENT = "malformed-segment"
    MALFORMED_ENTRY = "malformed-entry"
    MALFORMED_BLOB = "malformed-blob"
    GARBAGE_SHARES = "garbage-shares"
    PHANTOM = "phantom"
    DROPPED_LOOKUP = "dropped-lookup"
    FORKED_LOG = "forked-log"
    ROLLED_BACK_LOG = "rolled-back-log"
    FALSE_DIRECTORY = "false-directory"
    TWO_DIRECTORIES = "two-directories"
    TWO_LOOKUPS = "two-lookups"
    TWO_COSIGNATURES = "two-cosignatures"


class Accused(Enum):
    """What kind of party a kind of evidence accuses."""

    NODE = "a member"
    HUB = "the hub"
    WITNESS = "a witness"


class Form(Enum):
    """What stands behind a key."""

    PART = "part"
    LOGGED = "logged part"
    OCTETS = "octets"
    OCTETS_OR_NULL = "octets or null"
    OCTETS_LIST = "list of octets"
    HASHES = "list of hashes"
    HASH = "hash"
    BLOB_ID = "blob id"
    OPENER = "16 octets that open a blob"
    OUTPUT = "output"
    COUNTER = "counter"
    CHECKPOINT = "checkpoint"
    NODE = "node id"


Item: TypeAlias = (
    SignedStatement | LoggedPart | SignedCheckpoint | NodeId | tuple[bytes, ...] | bytes | int | None
)

_LENGTHS = {
    Form.HASH: HASH_OCTETS,
    Form.BLOB_ID: BLOB_ID_OCTETS,
    Form.OPENER: SECRET_OCTETS,
    Form.OUTPUT: OUTPUT_OCTETS,
}
_PARTIES = {"asker_member": Form.LOGGED, "owner_member": Form.LOGGED}
_OWNER = {"owner_member": Form.LOGGED}

KEYS: Mapping[Kind, Mapping[str, Form]] = {
    Kind.WRONG_KEY: {
        "lookup": Form.PART,
        "answer": Form.PART,
        "head": Form.PART,
        "head_logged": Form.LOGGED,
        **_PARTIES,
    },
    Kind.WRONG_EPOCH: {"lookup": Form.PART, "answer": Form.PART, **_PARTIES},
    Kind.TWO_HEADS: {"first": Form.PART, "second": Form.PART, **_OWNER},
    Kind.MALFORMED_SEGMENT: {"head": Form.PART, "segment": Form.OCTETS, **_OWNER},
    Kind.MALFORMED_ENTRY: {
        "head": Form.PART,
        "segment": Form.OCTETS,
        "output": Form.OUTPUT,
        "counter": Form.COUNTER,
        **_OWNER,
    },
    Kind.MALFORMED_BLOB: {
        "head": Form.PART,
        "segment": Form.OCTETS,
        "blob": Form.BLOB_ID,
        "secret": Form.OPENER,
        **_OWNER,
    },
    Kind.GARBAGE_SHARES: {
        "head": Form.PART,
        "blob_segment": Form.OCTETS,
        "entry_segment": Form.OCTETS_OR_NULL,
        "blob": Form.BLOB_ID,
        "secret": Form.OPENER,
        "output": Form.OUTPUT,
        "counter": Form.COUNTER,
        **_OWNER,
    },
    Kind.PHANTOM: {
        "head": Form.PART,
        "segment": Form.OCTETS,
        "blob": Form.BLOB_ID,
        "secret": Form.OPENER,
        "request": Form.PART,
        "response": Form.PART,
        **_PARTIES,
    },
    Kind.DROPPED_LOOKUP: {
        "lookup": Form.PART,
        "owner": Form.NODE,
        "request_logged": Form.LOGGED,
        "heartbeat_logged": Form.LOGGED,
        "prefix": Form.HASHES,
        "entries": Form.OCTETS_LIST,
        "consistency": Form.HASHES,
        **_PARTIES,
    },
    Kind.FORKED_LOG: {
        "first": Form.CHECKPOINT,
        "second": Form.CHECKPOINT,
        "proof": Form.HASHES,
        "prefix_root": Form.HASH,
    },
    Kind.ROLLED_BACK_LOG: {"first": Form.CHECKPOINT, "second": Form.CHECKPOINT},
    Kind.FALSE_DIRECTORY: {
        "directory": Form.PART,
        "chain": Form.OCTETS_LIST,
        "directory_logged": Form.LOGGED,
    },
    Kind.TWO_DIRECTORIES: {"first": Form.PART, "second": Form.PART, "chain": Form.OCTETS_LIST},
    Kind.TWO_LOOKUPS: {"first": Form.PART, "second": Form.PART, "asker_member": Form.LOGGED},
    Kind.TWO_COSIGNATURES: {"first": Form.CHECKPOINT, "second": Form.CHECKPOINT},
}
_AGAINST_HUB = (
    Kind.DROPPED_LOOKUP,
    Kind.FORKED_LOG,
    Kind.ROLLED_BACK_LOG,
    Kind.FALSE_DIRECTORY,
    Kind.TWO_DIRECTORIES,
)
# What only somebody can have noticed whose lookup hit it (§7.6, §17.2).
LOCAL_FAILURES = frozenset({Kind.MALFORMED_ENTRY, Kind.MALFORMED_BLOB, Kind.GARBAGE_SHARES})


def accused_by(kind: Kind) -> Accused:
    """What kind of party `kind` accuses."""
    if kind is Kind.TWO_COSIGNATURES:
        return Accused.WITNESS
    return Accused.HUB if kind in _AGAINST_HUB else Accused.NODE


@dataclass(frozen=True)
class Evidence:
    """A parsed piece of evidence, nothing of it verified. `items` has the keys of its kind and no others."""

    kind: Kind
    federation: FederationName
    accused: str
    items: Mapping[str, Item] = field(repr=False)

    def encode(self) -> bytes:
        """The file; raises MalformedMessage where `items` are not those of the kind."""
        forms = KEYS[self.kind]
        if set(self.items) != set(forms):
            raise MalformedMessage(f"Evidence of {self.kind.value} has other keys.")
        named: dict[str, Value] = {
            "format": FORMAT,
            "kind": self.kind.value,
            "federation": str(self.federation),
            "accused": self.accused,
        }
        return encode_file(named | {name: write_item(self.items[name], form) for name, form in forms.items()})

    # --- items, by what they are ------------------------------------------------------------------------

    def part(self, name: str) -> SignedStatement:
        return _typed(self.items[name], SignedStatement)

    def logged(self, name: str) -> LoggedPart:
        return _typed(self.items[name], LoggedPart)

    def checkpoint(self, name: str) -> SignedCheckpoint:
        return _typed(self.items[name], SignedCheckpoint)

    def octets(self, name: str) -> bytes:
        return _typed(self.items[name], bytes)

    def octets_list(self, name: str) -> tuple[bytes, ...]:
        return _typed(self.items[name], tuple)

    def number(self, name: str) -> int:
        return _typed(self.items[name], int)

    def node(self, name: str) -> NodeId:
        return _typed(self.items[name], NodeId)


def _typed(item: object, kind: type[T]) -> T:
    if not isinstance(item, kind):
        raise MalformedMessage(f"An item of a piece of evidence is no {kind.__name__}.")
    return item


def parse_evidence(octets: bytes) -> Evidence:
    """Raises MalformedMessage, NotCanonical or LimitExceeded."""
    fields = parse_file(octets)
    fields.expect("format", FORMAT)
    kind, federation, accused = fields.choice("kind", Kind), fields.federation(), fields.text("accused", 300)
    items = {name: _read(fields, name, form) for name, form in KEYS[kind].items()}
    fields.finish()
    return Evidence(kind, federation, accused, items)


def read_item(value: object, form: Form) -> Item:
    """An item by itself, as `write_item` writes it."""
    return _read(Fields("an item", {"item": value}), "item", form)


def _read(fields: Fields, name: str, form: Form) -> Item:
    if form is Form.PART:
        return fields.part(name)
    if form is Form.LOGGED:
        return fields.logged(name)
    if form is Form.CHECKPOINT:
        return fields.checkpoint(name)
    if form is Form.NODE:
        return fields.node(name)
    if form is Form.COUNTER:
        return fields.number(name, MAX_COUNTER)
    if form is Form.OCTETS_OR_NULL:
        return fields.or_null(name, fields.octets)
    if form in (Form.OCTETS_LIST, Form.HASHES):
        return fields.octets_list(name, HASH_OCTETS if form is Form.HASHES else None)
    return fields.octets(name, _LENGTHS.get(form))


def write_item(item: Item, form: Form) -> Value:
    """The JSON value of an item; raises MalformedMessage for one of another form."""
    if form is Form.OCTETS_OR_NULL and item is None:
        return None
    if isinstance(item, SignedStatement):
        return part_value(item)
    if isinstance(item, LoggedPart):
        return logged_value(item)
    if isinstance(item, SignedCheckpoint):
        return checkpoint_value(item)
    if isinstance(item, NodeId):
        return str(item)
    if isinstance(item, tuple):
        return octets_list_value(item)
    if isinstance(item, bytes):
        return encode_octets(item)
    if isinstance(item, int):
        return item
    raise MalformedMessage("A piece of evidence lacks an item.")
