"""The entries of the log, one value a kind (docs/protocol.md §14.3).

None of them holds anything that concerns a person or a case: lookups and envelopes stand in it as
commitments only, which whoever holds the statement recognises and nobody else can try.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import lt
from typing import ClassVar, TypeAlias

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.directory import MAX_SEGMENTS, Member, MemberStatus
from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import FederationName, NodeId, Ori
from candor_proto.sealing import PUBLIC_KEY_OCTETS
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement
from candor_proto.tlog.base64lines import HASH_OCTETS
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, ED25519, KEY_OCTETS
from candor_proto.tlog.policy import MAX_POLICY_OCTETS, parse_policy
from candor_proto.tlog.statements import CONTEXTS, MAX_ORIGIN_OCTETS, read_count, write_count
from candor_proto.tlog.tiles import MAX_ENTRY_OCTETS

LABEL = "log-entry"
MAX_COMMITMENTS = 256
MAX_RULES = 256
MAX_ORIS = 1_000
MAX_SERIAL_OCTETS = 20
NO_ROOT = bytes(HASH_OCTETS)
_RULE = re.compile(r"[a-z0-9_]{1,64}\Z")


def log_origin(federation: FederationName, shard: int) -> str:
    """`<federation>/log/<n>` (§14.1)."""
    return f"{federation}/log/{shard}"


def _writer(kind: int) -> Writer:
    return Writer(LABEL).integer(kind, 1)


@dataclass(frozen=True)
class Opened:
    """The first entry of a shard: which one it is, and where the one before it ended."""

    KIND: ClassVar[int] = 1
    federation: FederationName
    shard: int
    opened_at: datetime
    previous_origin: str = ""
    previous_size: int = 0
    previous_root: bytes = NO_ROOT

    def encode(self) -> bytes:
        writer = _writer(self.KIND).text(str(self.federation)).integer(self.shard, 4).time(self.opened_at)
        write_count(writer.text(self.previous_origin), self.previous_size)
        return writer.fixed(self.previous_root, HASH_OCTETS).finish()

    @classmethod
    def read(cls, reader: Reader) -> Opened:
        federation, shard, opened_at = FederationName(reader.text(64)), reader.integer(4), reader.time()
        origin, size, root = reader.text(MAX_ORIGIN_OCTETS), read_count(reader), reader.fixed(HASH_OCTETS)
        return cls(federation, shard, opened_at, origin, size, root)


@dataclass(frozen=True)
class Closed:
    """The last entry of a shard: the name and the keys of the next one."""

    KIND: ClassVar[int] = 2
    closed_at: datetime
    next_origin: str
    next_ed25519_key: bytes
    next_ml_dsa_key: bytes

    def encode(self) -> bytes:
        writer = _writer(self.KIND).time(self.closed_at).text(self.next_origin)
        writer.fixed(self.next_ed25519_key, KEY_OCTETS[ED25519])
        return writer.fixed(self.next_ml_dsa_key, KEY_OCTETS[COSIGNATURE_ML_DSA_44]).finish()

    @classmethod
    def read(cls, reader: Reader) -> Closed:
        closed_at, origin = reader.time(), reader.text(MAX_ORIGIN_OCTETS)
        return cls(
            closed_at,
            origin,
            reader.fixed(KEY_OCTETS[ED25519]),
            reader.fixed(KEY_OCTETS[COSIGNATURE_ML_DSA_44]),
        )


@dataclass(frozen=True)
class MemberEntry:
    """A member as the directory binds it, without its index head."""

    KIND: ClassVar[int] = 3
    node: NodeId
    name: str
    oris: tuple[Ori, ...]
    tls_subject: str
    signing_key: bytes
    disclosure_key: bytes = field(repr=False)
    status: MemberStatus
    joined_at: datetime
    answered_from: datetime

    def encode(self) -> bytes:
        writer = _writer(self.KIND).text(str(self.node)).text(self.name)
        writer.sequence(self.oris, lambda out, ori: out.text(str(ori))).text(self.tls_subject)
        writer.fixed(self.signing_key, 32).fixed(self.disclosure_key, PUBLIC_KEY_OCTETS)
        return writer.integer(self.status.value, 1).time(self.joined_at).time(self.answered_from).finish()

    @classmethod
    def read(cls, reader: Reader) -> MemberEntry:
        node, name = NodeId(reader.text(64)), reader.text(256)
        oris = reader.sequence(MAX_ORIS, lambda read: Ori(read.text(16)))
        if not oris or list(oris) != sorted(set(oris)):
            raise NotCanonical("The ORIs of a member are not sorted, not unique, or none.")
        tls_subject = reader.text(256)
        signing_key, disclosure_key = reader.fixed(32), reader.fixed(PUBLIC_KEY_OCTETS)
        status, joined_at, answered_from = reader.choice(1, MemberStatus), reader.time(), reader.time()
        return cls(
            node, name, oris, tls_subject, signing_key, disclosure_key, status, joined_at, answered_from
        )


@dataclass(frozen=True)
class HeadEntry:
    """What the log says of an index head; `statement` names it with its signature."""

    KIND: ClassVar[int] = 4
    node: NodeId
    sequence: int
    epoch: int
    keys: tuple[bytes, bytes, bytes]
    threshold: int
    scheme_version: int
    segments: int
    octets: int
    root: bytes
    issued_at: datetime
    statement: bytes

    def encode(self) -> bytes:
        writer = write_count(_writer(self.KIND).text(str(self.node)), self.sequence).integer(self.epoch, 4)
        for key in self.keys:
            writer.fixed(key, 32)
        writer.integer(self.threshold, 1).integer(self.scheme_version, 1).integer(self.segments, 4)
        write_count(writer, self.octets).fixed(self.root, HASH_OCTETS).time(self.issued_at)
        return writer.fixed(self.statement, HASH_OCTETS).finish()

    @classmethod
    def read(cls, reader: Reader) -> HeadEntry:
        node, sequence, epoch = NodeId(reader.text(64)), read_count(reader), reader.integer(4)
        keys = (reader.fixed(32), reader.fixed(32), reader.fixed(32))
        threshold, scheme_version, segments = reader.integer(1), reader.integer(1), reader.integer(4)
        octets, root, issued_at = read_count(reader), reader.fixed(HASH_OCTETS), reader.time()
        statement = reader.fixed(HASH_OCTETS)
        return cls(
            node,
            sequence,
            epoch,
            keys,
            threshold,
            scheme_version,
            segments,
            octets,
            root,
            issued_at,
            statement,
        )


@dataclass(frozen=True)
class Denied:
    """A certificate that counts no more; `node` is None for an authority's."""

    KIND: ClassVar[int] = 5
    serial: int
    node: NodeId | None
    denied_at: datetime

    def encode(self) -> bytes:
        writer = _writer(self.KIND).octets(serial_octets(self.serial))
        return writer.text(str(self.node) if self.node else "").time(self.denied_at).finish()

    @classmethod
    def read(cls, reader: Reader) -> Denied:
        raw = reader.octets(MAX_SERIAL_OCTETS)
        serial = int.from_bytes(raw, "big")
        if serial_octets(serial) != raw:
            raise NotCanonical("A serial number with leading zeros.")
        name = reader.text(64)
        return cls(serial, NodeId(name) if name else None, reader.time())


def serial_octets(serial: int) -> bytes:
    """A serial number without leading zeros, one octet at least."""
    if serial < 0 or serial.bit_length() > 8 * MAX_SERIAL_OCTETS:
        raise MalformedMessage(f"A serial number is at most {MAX_SERIAL_OCTETS} octets.")
    return serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big")


@dataclass(frozen=True)
class DirectoryEntry:
    """That a version of the directory was made, and what it holds (§14.4)."""

    KIND: ClassVar[int] = 6
    version: int
    issued_at: datetime
    chain_digest: bytes
    state: bytes

    def encode(self) -> bytes:
        writer = write_count(_writer(self.KIND), self.version).time(self.issued_at)
        return writer.fixed(self.chain_digest, HASH_OCTETS).fixed(self.state, HASH_OCTETS).finish()

    @classmethod
    def read(cls, reader: Reader) -> DirectoryEntry:
        return cls(read_count(reader), reader.time(), reader.fixed(HASH_OCTETS), reader.fixed(HASH_OCTETS))


@dataclass(frozen=True)
class PolicyEntry:
    """A witness policy (§15.4); its text parses."""

    KIND: ClassVar[int] = 7
    version: int
    issued_at: datetime
    text: bytes

    def encode(self) -> bytes:
        parse_policy(self.text)
        return _writer(self.KIND).integer(self.version, 4).time(self.issued_at).octets(self.text).finish()

    @classmethod
    def read(cls, reader: Reader) -> PolicyEntry:
        return cls(reader.integer(4), reader.time(), reader.octets(MAX_POLICY_OCTETS))


@dataclass(frozen=True)
class Rules:
    """The federation's limits, by name."""

    KIND: ClassVar[int] = 8
    stated_at: datetime
    values: Mapping[str, int]

    def encode(self) -> bytes:
        if not all(_RULE.match(name) for name in self.values):
            raise MalformedMessage("The name of a rule is 1 to 64 of a-z 0-9 _.")
        writer = _writer(self.KIND).time(self.stated_at)
        items = sorted(self.values.items())
        return writer.sequence(items, lambda out, item: write_count(out.text(item[0]), item[1])).finish()

    @classmethod
    def read(cls, reader: Reader) -> Rules:
        stated_at = reader.time()
        items = reader.sequence(MAX_RULES, lambda read: (read.text(64), read_count(read)))
        return cls(stated_at, dict(items))


@dataclass(frozen=True)
class Statement:
    """A member's own statement of a context that the log takes."""

    KIND: ClassVar[int] = 9
    context: str
    signed: SignedStatement

    def encode(self) -> bytes:
        writer = _writer(self.KIND).text(self.context).octets(self.signed.body)
        return writer.fixed(self.signed.signature, SIGNATURE_OCTETS).finish()

    @classmethod
    def read(cls, reader: Reader) -> Statement:
        context = reader.text(64)
        if context not in CONTEXTS:
            raise MalformedMessage(f"The log takes no statement of context {context[:40]!r}.")
        body = reader.octets(MAX_ENTRY_OCTETS)
        return cls(context, SignedStatement(body, reader.fixed(SIGNATURE_OCTETS)))


@dataclass(frozen=True)
class _Commitments:
    KIND: ClassVar[int]
    commitments: tuple[bytes, ...]

    def encode(self) -> bytes:
        check_commitments(self.commitments)
        writer = _writer(self.KIND).integer(len(self.commitments), 4)
        return writer.fixed(b"".join(self.commitments), HASH_OCTETS * len(self.commitments)).finish()


def check_commitments(commitments: tuple[bytes, ...]) -> None:
    """1 to 256, 32 octets each, sorted, unique; raises LimitExceeded, MalformedMessage or NotCanonical."""
    if not 1 <= len(commitments) <= MAX_COMMITMENTS:
        raise LimitExceeded(f"An entry holds 1 to {MAX_COMMITMENTS} commitments.")
    if any(len(commitment) != HASH_OCTETS for commitment in commitments):
        raise MalformedMessage(f"A commitment is {HASH_OCTETS} octets.")
    _check_sorted(commitments)


def _check_sorted(commitments: tuple[bytes, ...]) -> None:
    if not all(map(lt, commitments, commitments[1:])):
        raise NotCanonical("The commitments of an entry are not sorted, or not unique.")


@dataclass(frozen=True)
class Requests(_Commitments):
    """Lookups that were accepted."""

    KIND: ClassVar[int] = 10


@dataclass(frozen=True)
class Receipts(_Commitments):
    """Other envelopes that were accepted."""

    KIND: ClassVar[int] = 11


_KINDS_OF_COMMITMENTS: Mapping[bytes, type[Requests] | type[Receipts]] = {
    _writer(kind.KIND).finish(): kind for kind in (Requests, Receipts)
}
_KIND_ENDS = len(_writer(0).finish())


def _parse_commitments(octets: bytes, kind: type[Requests] | type[Receipts]) -> Requests | Receipts:
    """Nearly all entries of a log are of these kinds: read by offsets, which leave nothing to re-encode."""
    start = _KIND_ENDS + 4
    count = int.from_bytes(octets[_KIND_ENDS:start], "big")
    if not 1 <= count <= MAX_COMMITMENTS:
        raise LimitExceeded(f"An entry holds 1 to {MAX_COMMITMENTS} commitments.")
    if len(octets) != start + HASH_OCTETS * count:
        raise MalformedMessage("An entry whose commitments are more or fewer than it says.")
    commitments = tuple([octets[at : at + HASH_OCTETS] for at in range(start, len(octets), HASH_OCTETS)])
    _check_sorted(commitments)
    return kind(commitments)


Entry: TypeAlias = (
    Opened
    | Closed
    | MemberEntry
    | HeadEntry
    | Denied
    | DirectoryEntry
    | PolicyEntry
    | Rules
    | Statement
    | Requests
    | Receipts
)
_READERS: Mapping[int, Callable[[Reader], Entry]] = {
    kind.KIND: kind.read
    for kind in (
        Opened, Closed, MemberEntry, HeadEntry, Denied, DirectoryEntry, PolicyEntry, Rules, Statement,
    )
}  # fmt: skip


def parse_entry(octets: bytes) -> Entry:
    """Parse strictly; raises MalformedMessage, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_ENTRY_OCTETS:
        raise LimitExceeded(f"A log entry is at most {MAX_ENTRY_OCTETS} octets.")
    commitments = _KINDS_OF_COMMITMENTS.get(octets[:_KIND_ENDS])
    if commitments is not None:
        return _parse_commitments(octets, commitments)
    reader = Reader(octets, LABEL)
    kind = reader.integer(1)
    read = _READERS.get(kind)
    if read is None:
        raise MalformedMessage(f"The log has no entries of kind {kind}.")
    entry = read(reader)
    reader.finish()
    if entry.encode() != octets:
        raise NotCanonical("A log entry that does not re-encode to itself.")
    return entry


def member_entry(member: Member) -> MemberEntry:
    """The entry of a member of the directory."""
    return MemberEntry(
        member.node,
        member.name,
        member.oris,
        member.tls_subject,
        member.signing_key.value,
        member.disclosure_key,
        member.status,
        member.joined_at,
        member.answered_from,
    )


def head_entry(statement: SignedStatement) -> HeadEntry:
    """The entry of a published index head.

    Reads its form only: a key or signature in it that is no good is its member's trouble alone (§10.2).
    Raises MalformedMessage or LimitExceeded.
    """
    reader = Reader(statement.body, "index-head")
    reader.text(64)
    node, sequence, epoch = NodeId(reader.text(64)), read_count(reader), reader.integer(4)
    keys = (reader.fixed(32), reader.fixed(32), reader.fixed(32))
    threshold, scheme_version = reader.integer(1), reader.integer(1)
    sizes = reader.sequence(MAX_SEGMENTS, _read_segment_octets)
    root, issued_at = reader.fixed(HASH_OCTETS), reader.time()
    reader.finish()
    return HeadEntry(
        node, sequence, epoch, keys, threshold, scheme_version, len(sizes), sum(sizes), root, issued_at,
        digest("logged/index-head", statement.body, statement.signature),
    )  # fmt: skip


def _read_segment_octets(reader: Reader) -> int:
    reader.fixed(4 + 32)
    return reader.integer(4)


def request_commitment(statement: SignedStatement) -> bytes:
    """What a `requests` entry says of a lookup; 32 octets."""
    return digest("logged/request", statement.body, statement.signature)


def receipt_commitment(kind: int, body: bytes, signature: bytes = b"") -> bytes:
    """What a `receipts` entry says of an envelope of `kind` (§8.3); 32 octets."""
    return digest("logged/receipt", Writer().integer(kind, 1).finish(), body, signature)
