"""Entries of the log (§14.3): what a leaf says, and what stands in it for a statement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from candor_verify import names
from candor_verify.errors import LimitExceeded, Malformed, NotCanonical
from candor_verify.heads import Directory, Member, head_statement, parse_head, read_member, read_serial
from candor_verify.merkle import leaf_hash
from candor_verify.octets import Reader, ascending, digest, domain_label, sized, text, u8, u32, u64
from candor_verify.policy import MAX_POLICY_OCTETS, parse_policy
from candor_verify.statements import Part

MAX_ENTRY_OCTETS = 65_535
MAX_COMMITMENTS = 256
MEMBER, INDEX_HEAD, REQUESTS, RECEIPTS = 3, 4, 10, 11
ANSWER_ENVELOPE = 2
CONTEXTS = ("witness-key", "heartbeat", "pack-adoption", "succession")
NO_HEAD = bytes(32)


@dataclass(frozen=True)
class Opened:
    """The first entry of a shard."""

    federation: str
    shard: int
    opened: int
    previous_origin: str
    previous_size: int
    previous_root: bytes


@dataclass(frozen=True)
class Closed:
    """The last entry of a shard."""

    closed: int
    next_origin: str
    next_ed25519: bytes
    next_ml_dsa: bytes


@dataclass(frozen=True)
class HeadEntry:
    """An index head was published."""

    node: str
    sequence: int
    epoch: int
    keys: tuple[bytes, bytes, bytes]
    threshold: int
    scheme: int
    segments: int
    octets: int
    root: bytes
    issued: int
    statement: bytes


@dataclass(frozen=True)
class Denied:
    """A certificate was denied; the node is empty for an authority's."""

    serial: bytes
    node: str
    denied: int


@dataclass(frozen=True)
class DirectoryEntry:
    """A version of the directory was made."""

    version: int
    issued: int
    chain_digest: bytes
    state: bytes


@dataclass(frozen=True)
class PolicyEntry:
    """A witness policy was made."""

    version: int
    issued: int
    text: bytes


@dataclass(frozen=True)
class Rules:
    """The federation's limits."""

    since: int
    limits: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Statement:
    """A member's own statement."""

    context: str
    part: Part


@dataclass(frozen=True)
class Requests:
    """Commitments to lookups."""

    commitments: tuple[bytes, ...]


@dataclass(frozen=True)
class Receipts:
    """Commitments to other envelopes."""

    commitments: tuple[bytes, ...]


Entry = (
    Opened
    | Closed
    | Member
    | HeadEntry
    | Denied
    | DirectoryEntry
    | PolicyEntry
    | Rules
    | Statement
    | Requests
    | Receipts
)
_LABEL = domain_label("log-entry")
_LIST_AT = len(_LABEL) + 1
_REQUESTS, _RECEIPTS = _LABEL + u8(REQUESTS), _LABEL + u8(RECEIPTS)


def parse_entry(octets: bytes) -> Entry:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    if octets.startswith(_REQUESTS):
        return Requests(_read_commitments(octets))
    if octets.startswith(_RECEIPTS):
        return Receipts(_read_commitments(octets))
    if len(octets) > MAX_ENTRY_OCTETS:
        raise LimitExceeded(f"An entry of {len(octets)} octets; at most {MAX_ENTRY_OCTETS} are read.")
    if not octets.startswith(_LABEL) or len(octets) == len(_LABEL):
        raise Malformed("An entry does not begin as one.")
    kind = octets[len(_LABEL)]
    reader = Reader(octets, "log-entry")
    reader.u8()
    if kind not in _READERS:
        raise Malformed(f"An entry is of kind {kind}, which is none.")
    entry = _READERS[kind](reader)
    reader.end()
    return entry


def _read_commitments(octets: bytes) -> tuple[bytes, ...]:
    """Most entries of a log are such lists, so they are read without a Reader."""
    count = int.from_bytes(octets[_LIST_AT : _LIST_AT + 4], "big")
    start = _LIST_AT + 4
    if not 0 < count <= MAX_COMMITMENTS:
        raise LimitExceeded(f"A list of {count} commitments; it has 1 to {MAX_COMMITMENTS}.")
    if len(octets) != start + 32 * count:
        raise Malformed("A list of commitments is of another length than it says.")
    commitments = [octets[at : at + 32] for at in range(start, len(octets), 32)]
    if count > 1 and sorted(set(commitments)) != commitments:
        raise NotCanonical("Commitments are not sorted and unique.")
    return tuple(commitments)


def _read_opened(reader: Reader) -> Opened:
    return Opened(
        federation=names.federation(reader),
        shard=reader.u32(),
        opened=reader.time(),
        previous_origin=reader.text(255),
        previous_size=reader.count(),
        previous_root=reader.exactly(32),
    )


def _read_closed(reader: Reader) -> Closed:
    return Closed(reader.time(), reader.text(255), reader.exactly(32), reader.exactly(1312))


def _read_head(reader: Reader) -> HeadEntry:
    return HeadEntry(
        node=names.node(reader),
        sequence=reader.count(),
        epoch=reader.u32(),
        keys=(reader.exactly(32), reader.exactly(32), reader.exactly(32)),
        threshold=reader.u8(),
        scheme=reader.u8(),
        segments=reader.u32(),
        octets=reader.count(),
        root=reader.exactly(32),
        issued=reader.time(),
        statement=reader.exactly(32),
    )


def _read_denied(reader: Reader) -> Denied:
    serial, node, denied = read_serial(reader), reader.text(40), reader.time()
    return Denied(serial, names.check_node(node) if node else "", denied)


def _read_policy(reader: Reader) -> PolicyEntry:
    entry = PolicyEntry(reader.u32(), reader.time(), reader.octets(MAX_POLICY_OCTETS))
    parse_policy(entry.text)
    return entry


def _read_rules(reader: Reader) -> Rules:
    since = reader.time()
    limits = reader.items(lambda each: (each.text(64), each.count()), 4_096)
    if not all(names.RULE_NAME.match(name) for name, _ in limits):
        raise Malformed("The name of a rule is none.")
    ascending(limits, "The rules", lambda limit: limit[0].encode())
    return Rules(since, tuple(limits))


def _read_statement(reader: Reader) -> Statement:
    context = reader.text(64)
    if context not in CONTEXTS:
        raise Malformed("The log holds no statements of this context.")
    return Statement(context, Part(reader.octets(MAX_ENTRY_OCTETS), reader.exactly(64)))


_READERS: dict[int, Callable[[Reader], Entry]] = {
    1: _read_opened,
    2: _read_closed,
    MEMBER: read_member,
    INDEX_HEAD: _read_head,
    5: _read_denied,
    6: lambda reader: DirectoryEntry(reader.count(), reader.time(), reader.exactly(32), reader.exactly(32)),
    7: _read_policy,
    8: _read_rules,
    9: _read_statement,
}


def request_commitment(part: Part) -> bytes:
    """What stands in the log for an accepted lookup (§14.3)."""
    return digest("logged/request", part.body, part.signature)


def receipt_commitment(kind: int, part: Part) -> bytes:
    """What stands in the log for another envelope (§14.3)."""
    return digest("logged/receipt", u8(kind), part.body, part.signature)


def member_entry(member: Member) -> bytes:
    """The entry that says what a directory says of a member."""
    oris = u32(len(member.oris)) + b"".join(map(text, member.oris))
    return b"".join(
        (
            *(_LABEL, u8(MEMBER), text(member.node), text(member.name), oris, text(member.tls_subject)),
            *(member.signing_key, member.disclosure_key, u8(member.status)),
            *(u64(member.joined), u64(member.answered_from)),
        )
    )


def head_entry(part: Part) -> bytes:
    """The entry about a signed head. Raises as `parse_head`."""
    head = parse_head(part.body)
    return b"".join(
        (
            *(_LABEL, u8(INDEX_HEAD), text(head.node), u64(head.sequence), u32(head.epoch), *head.keys),
            *(u8(head.threshold), u8(head.scheme), u32(len(head.segments)), u64(head.octets), head.root),
            *(u64(head.issued), head_statement(part)),
        )
    )


def denied_list(serials: list[bytes]) -> bytes:
    """`list<octets serial>` in ascending order of value (§14.4)."""
    ordered = sorted(serials, key=lambda serial: int.from_bytes(serial, "big"))
    return u32(len(ordered)) + b"".join(map(sized, ordered))


def directory_state(hashes: dict[str, tuple[bytes, bytes]], serials: list[bytes]) -> bytes:
    """`state` (§14.4) from each node's hashes of its newest member and head entry, and all denied serials."""
    members = (b"".join(hashes[node]) for node in sorted(hashes, key=str.encode))
    return digest("directory-state", *members, denied_list(serials))


def state_of(directory: Directory) -> bytes:
    """`state` of a directory in hand. Raises as `parse_head` for a head that does not parse."""
    hashes = {
        member.node: (
            leaf_hash(member_entry(member)),
            leaf_hash(head_entry(part)) if part is not None else NO_HEAD,
        )
        for member, part in directory.members
    }
    return directory_state(hashes, list(directory.denied))
