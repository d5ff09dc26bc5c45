"""Members, index heads and the directory that binds them (docs/protocol.md §6.7, §10).

`DirectoryView` is the one seam through which everything reads members and keys: today a document
signed by the hub's directory key stands behind it, later the transparency log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from candor_proto import merkle
from candor_proto.canonical import Reader, Writer, digest
from candor_proto.errors import (
    CandorError,
    IdentityMismatch,
    KeyMismatch,
    MalformedMessage,
    MemberSuspended,
    NotAMember,
    NotCanonical,
    NotYetValid,
    Rollback,
)
from candor_proto.group import Element
from candor_proto.ids import Digest, FederationName, KeyClass, NodeId, Ori
from candor_proto.sealed_index import MAX_THRESHOLD, MIN_THRESHOLD
from candor_proto.sealing import PUBLIC_KEY_OCTETS
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_proto.statements import CLASSES, CLOCK_TOLERANCE

MAX_MEMBERS = 2_000
MAX_SEGMENTS = 4_096
MAX_HEAD_AGE = timedelta(hours=36)
MAX_SERIALS = 100_000


@dataclass(frozen=True)
class SegmentRef:
    """A segment as a head names it."""

    number: int
    address: Digest
    octets: int


@dataclass(frozen=True)
class IndexHead:
    """A node's statement of its current index: epoch, keys, segments (§6.7)."""

    federation: FederationName
    node: NodeId
    sequence: int
    epoch: int
    keys: Mapping[KeyClass, Element]
    threshold: int
    scheme_version: int
    segments: tuple[SegmentRef, ...]
    issued_at: datetime

    def root(self) -> bytes:
        """The RFC 6962 root over the segments' addresses."""
        return merkle.root([segment.address.value for segment in self.segments])

    def encode(self) -> bytes:
        writer = Writer("index-head").text(str(self.federation)).text(str(self.node))
        writer.integer(self.sequence, 8).integer(self.epoch, 4)
        for key_class in CLASSES:
            writer.fixed(self.keys[key_class].to_bytes(), 32)
        writer.integer(self.threshold, 1).integer(self.scheme_version, 1)
        writer.sequence(
            self.segments,
            lambda out, ref: out.integer(ref.number, 4).fixed(ref.address.value, 32).integer(ref.octets, 4),
        )
        return writer.fixed(self.root(), 32).time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> IndexHead:
        """Parse strictly; raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, "index-head")
        federation, node = FederationName(reader.text(64)), NodeId(reader.text(64))
        sequence, epoch = _count(reader), reader.integer(4)
        keys = {key_class: Element.parse(reader.fixed(32)) for key_class in CLASSES}
        threshold, scheme_version = reader.integer(1), reader.integer(1)
        if not MIN_THRESHOLD <= threshold <= MAX_THRESHOLD:
            raise MalformedMessage("An index head with a threshold outside its bounds.")
        # Any version will do: members of two versions live side by side, the asker says which of them it
        # knows (§7.7), and the hub needs to know none.
        if not scheme_version:
            raise MalformedMessage("An index head of no match-key scheme version.")
        segments = reader.sequence(
            MAX_SEGMENTS, lambda read: SegmentRef(read.integer(4), Digest(read.fixed(32)), read.integer(4))
        )
        numbers = [segment.number for segment in segments]
        if numbers != sorted(set(numbers)):
            raise NotCanonical("The segments of an index head are not in order.")
        stated_root = reader.fixed(32)
        issued_at = reader.time()
        reader.finish()
        head = cls(federation, node, sequence, epoch, keys, threshold, scheme_version, segments, issued_at)
        if head.root() != stated_root:
            raise NotCanonical("The root of an index head is not that of its segments.")
        return head

    def is_stale(self, now: datetime) -> bool:
        """Whether this head is too old to count as an answer (§6.7)."""
        return now - self.issued_at > MAX_HEAD_AGE


class MemberStatus(Enum):
    ACTIVE = 1
    SUSPENDED = 2


@dataclass(frozen=True)
class Member:
    """One enrolled node: the binding of names and keys that enrolment made (§10.1)."""

    node: NodeId
    name: str
    oris: tuple[Ori, ...]
    tls_subject: str
    signing_key: VerifyingKey
    disclosure_key: bytes = field(repr=False)
    status: MemberStatus
    joined_at: datetime
    answered_from: datetime
    head: SignedStatement | None = None


@dataclass(frozen=True)
class Directory:
    """The signed list of members: what everything else is checked against."""

    federation: FederationName
    version: int
    issued_at: datetime
    members: tuple[Member, ...]
    denied_serials: tuple[int, ...]
    chain_digest: Digest

    def encode(self) -> bytes:
        writer = Writer("directory").text(str(self.federation)).integer(self.version, 8).time(self.issued_at)
        writer.sequence(self.members, _write_member)
        writer.sequence(self.denied_serials, lambda out, serial: out.octets(_serial_octets(serial)))
        return writer.fixed(self.chain_digest.value, 32).finish()

    @classmethod
    def decode(cls, data: bytes) -> Directory:
        """Parse strictly; raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, "directory")
        federation, version, issued_at = FederationName(reader.text(64)), _count(reader), reader.time()
        members = reader.sequence(MAX_MEMBERS, _read_member)
        names = [member.node for member in members]
        if names != sorted(set(names)):
            raise NotCanonical("The members of a directory are not sorted, or not unique.")
        serials = reader.sequence(MAX_SERIALS, _read_serial)
        if list(serials) != sorted(set(serials)):
            raise NotCanonical("The denied serials of a directory are not sorted, or not unique.")
        chain_digest = Digest(reader.fixed(32))
        reader.finish()
        return cls(federation, version, issued_at, members, serials, chain_digest)


def _count(reader: Reader) -> int:
    """A sequence or version: databases hold 63 bits of it."""
    value = reader.integer(8)
    if value >= 1 << 63:
        raise MalformedMessage("A sequence or version that nobody can have reached.")
    return value


def _serial_octets(serial: int) -> bytes:
    return serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big")


def _read_serial(reader: Reader) -> int:
    raw = reader.octets(20)
    serial = int.from_bytes(raw, "big")
    if _serial_octets(serial) != raw:
        raise NotCanonical("A serial number with leading zeros.")
    return serial


def _write_member(writer: Writer, member: Member) -> None:
    writer.text(str(member.node)).text(member.name)
    writer.sequence(member.oris, lambda out, ori: out.text(str(ori))).text(member.tls_subject)
    writer.fixed(member.signing_key.value, 32).fixed(member.disclosure_key, PUBLIC_KEY_OCTETS)
    writer.integer(member.status.value, 1).time(member.joined_at).time(member.answered_from)
    writer.octets(member.head.body if member.head else b"")
    writer.octets(member.head.signature if member.head else b"")


def _read_member(reader: Reader) -> Member:
    node, name = NodeId(reader.text(64)), reader.text(256)
    oris = reader.sequence(1_000, lambda read: Ori(read.text(16)))
    if not oris or list(oris) != sorted(set(oris)):
        raise NotCanonical("The ORIs of a member are not sorted, not unique, or none.")
    tls_subject = reader.text(256)
    signing_key, disclosure_key = VerifyingKey(reader.fixed(32)), reader.fixed(PUBLIC_KEY_OCTETS)
    status, joined_at, answered_from = reader.choice(1, MemberStatus), reader.time(), reader.time()
    body, signature = reader.octets(512 * 1024), reader.octets(64)
    if bool(body) != bool(signature):
        raise NotCanonical("An index head without a signature, or the reverse.")
    head = SignedStatement(body, signature) if body else None
    return Member(
        node,
        name,
        oris,
        tls_subject,
        signing_key,
        disclosure_key,
        status,
        joined_at,
        answered_from,
        head,
    )


class DirectoryView(Protocol):
    """How everything reads members, keys and heads. What is returned has been verified."""

    @property
    def version(self) -> int: ...

    @property
    def federation(self) -> FederationName: ...

    def nodes(self) -> tuple[NodeId, ...]:
        """All active members, sorted."""

    def member(self, node: NodeId) -> Member:
        """The member; raises NotAMember."""

    def head(self, node: NodeId) -> IndexHead | None:
        """The member's index head, or None before its first publication."""


@dataclass(frozen=True)
class MemberKeys:
    """The keys by which a member is known; they are the same for as long as its node id is."""

    signing_key: VerifyingKey
    disclosure_key: bytes = field(repr=False)

    @classmethod
    def of(cls, member: Member) -> MemberKeys:
        return cls(member.signing_key, member.disclosure_key)


@dataclass(frozen=True)
class SeenHead:
    """The newest index head that was seen of a member; `body` is the digest of its octets, if kept."""

    sequence: int
    body: Digest | None = None


@dataclass(frozen=True)
class Seen:
    """What a receiver remembers of earlier directories: by it the next one is judged (§10.2)."""

    version: int = 0
    body: Digest | None = None
    heads: Mapping[NodeId, SeenHead] = field(default_factory=dict)
    keys: Mapping[NodeId, MemberKeys] = field(default_factory=dict)


def statement_digest(statement: SignedStatement) -> Digest:
    """Names a directory or head by its octets; the signature may differ for one and the same."""
    return Digest(digest("seen-statement", statement.body))


class VerifiedDirectory:
    """A directory of which signature, heads and progress were checked (§10.2).

    A head in `head_troubles` did not stand up and counts as none; `key_troubles` names members under whose
    node id the hub shows other keys than those seen first, which stay in force.
    """

    def __init__(
        self,
        directory: Directory,
        heads: Mapping[NodeId, IndexHead],
        head_troubles: Mapping[NodeId, CandorError],
        key_troubles: Mapping[NodeId, CandorError],
    ) -> None:
        """Only `verify_directory` calls this."""
        self.directory = directory
        self.head_troubles = head_troubles
        self.key_troubles = key_troubles
        self._members = {member.node: member for member in directory.members}
        self._heads = heads

    @property
    def version(self) -> int:
        return self.directory.version

    @property
    def federation(self) -> FederationName:
        return self.directory.federation

    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(member.node for member in self.directory.members if member.status is MemberStatus.ACTIVE)

    def member(self, node: NodeId) -> Member:
        try:
            return self._members[node]
        except KeyError:
            raise NotAMember(f"{node} is not a member of {self.federation}.") from None

    def head(self, node: NodeId) -> IndexHead | None:
        return self._heads.get(node)


def verify_head(statement: SignedStatement, member: Member, federation: FederationName) -> IndexHead:
    """The index head of `member`; raises SignatureInvalid, IdentityMismatch or MalformedMessage."""
    head = IndexHead.decode(statement.verify("index-head", member.signing_key, str(member.node)))
    if head.node != member.node or head.federation != federation:
        raise IdentityMismatch(f"The index head of {member.node} names another node.")
    return head


def check_progress(head: IndexHead, seen: SeenHead, body: Digest | None = None) -> None:
    """Raises Rollback when `head` is older than the one seen or, by the digest `body`, its double."""
    if head.sequence < seen.sequence:
        raise Rollback(
            f"The index head of {head.node} has sequence {head.sequence}; {seen.sequence} was seen before.",
            remedy="The hub or the node serves an old state; report it to the hub operator.",
        )
    if head.sequence == seen.sequence and seen.body not in (None, body):
        raise Rollback(
            f"{head.node} has signed two index heads of sequence {head.sequence}.",
            remedy="It shows different indexes to different members; report it to the hub operator.",
        )


def verify_directory(
    statement: SignedStatement,
    key: VerifyingKey,
    chain_digest: Digest,
    federation: FederationName,
    now: datetime,
    seen: Seen | None = None,
) -> VerifiedDirectory:
    """Check signature, federation, progress, members' keys and every head (§10.2).

    `key` is the directory key out of a certificate chain verified up to the pinned root, whose digest
    is `chain_digest`. Raises SignatureInvalid, Rollback, NotYetValid, IdentityMismatch, MalformedMessage.
    What is wrong with one member concerns that member alone and stands in the result.
    """
    seen = seen or Seen()
    directory = Directory.decode(statement.verify("directory", key, "the hub"))
    if directory.federation != federation:
        raise IdentityMismatch("The directory belongs to another federation.")
    if directory.chain_digest != chain_digest:
        raise IdentityMismatch("The directory names another certificate chain than the one it came with.")
    if directory.version < seen.version:
        raise Rollback(
            f"The hub serves directory version {directory.version}, but {seen.version} was seen before.",
            remedy="Report it to the hub operator and to the other members.",
        )
    if directory.version == seen.version and seen.body not in (None, statement_digest(statement)):
        raise Rollback(
            f"The hub has signed two directories of version {directory.version}.",
            remedy="It may show different members to different nodes. Report it to the other members.",
        )
    if directory.issued_at > now + CLOCK_TOLERANCE:
        raise NotYetValid("The directory was issued in the future.", remedy="Check this machine's clock.")
    key_troubles: dict[NodeId, CandorError] = {}
    head_troubles: dict[NodeId, CandorError] = {}
    heads: dict[NodeId, IndexHead] = {}
    members = []
    for listed in directory.members:
        member = _with_keys_seen_first(listed, seen, key_troubles)
        members.append(member)
        if member.head is None:
            continue
        try:
            head = verify_head(member.head, member, federation)
            known = seen.heads.get(member.node, SeenHead(0))
            check_progress(head, known, statement_digest(member.head))
        except CandorError as error:
            # One member, or a hub that spoils its head, must not keep everybody from all the others.
            head_troubles[member.node] = error
        else:
            heads[member.node] = head
    return VerifiedDirectory(replace(directory, members=tuple(members)), heads, head_troubles, key_troubles)


def _with_keys_seen_first(member: Member, seen: Seen, troubles: dict[NodeId, CandorError]) -> Member:
    """A hub that puts a key of its own in a member's place reads and signs nothing by it."""
    keys = seen.keys.get(member.node)
    if keys is None or keys == MemberKeys.of(member):
        return member
    troubles[member.node] = KeyMismatch(
        f"The hub shows other keys for {member.node} than those seen first, which stay in use.",
        remedy=f"Under one node id keys never change: call {member.node}, then the hub's operator.",
    )
    return replace(member, signing_key=keys.signing_key, disclosure_key=keys.disclosure_key)


def check_standing(member: Member, now: datetime) -> None:
    """Whether `member`'s lookups are answered now; raises MemberSuspended or NotYetValid (§7.3)."""
    if member.status is not MemberStatus.ACTIVE:
        raise MemberSuspended(f"{member.node} is suspended by the hub operator.")
    if now < member.answered_from:
        raise NotYetValid(
            f"{member.node} joined recently; its lookups are answered from "
            f"{member.answered_from:%Y-%m-%d %H:%M} UTC."
        )
