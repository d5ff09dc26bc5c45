"""Index heads (§6.7) and directories (§10.1)."""

from __future__ import annotations

from dataclasses import dataclass

from candor_verify import merkle, names, ristretto
from candor_verify.errors import LimitExceeded, Malformed, NotCanonical
from candor_verify.note import check_ed25519_key
from candor_verify.octets import Reader, ascending, digest, u32
from candor_verify.statements import Part

MAX_SEGMENTS = 4_096
MAX_MEMBERS = 2_000
MAX_NAME_OCTETS = 256
MAX_ORIS = 1_000
MAX_DENIED = 100_000
MAX_SERIAL_OCTETS = 20
MAX_DIRECTORY_OCTETS = 512 * 1024 * 1024
DISCLOSURE_KEY_OCTETS = 1_216
ACTIVE, SUSPENDED = 1, 2


@dataclass(frozen=True)
class SegmentRef:
    """What a head says of one segment."""

    number: int
    address: bytes
    octets: int


@dataclass(frozen=True)
class IndexHead:
    """An owner's statement of its current index; `keys` are K_W, K_M, K_C."""

    federation: str
    node: str
    sequence: int
    epoch: int
    keys: tuple[bytes, bytes, bytes]
    threshold: int
    scheme: int
    segments: tuple[SegmentRef, ...]
    root: bytes
    issued: int

    @property
    def octets(self) -> int:
        """Of all segments."""
        return sum(segment.octets for segment in self.segments)


@dataclass(frozen=True)
class Member:
    """What a directory and a `member` entry say of a member (§10.1, §14.3)."""

    node: str
    name: str
    oris: tuple[str, ...]
    tls_subject: str
    signing_key: bytes
    disclosure_key: bytes
    status: int
    joined: int
    answered_from: int


@dataclass(frozen=True)
class Directory:
    """The members, each with its head if it has one, and the denied serials in the order given."""

    federation: str
    version: int
    issued: int
    members: tuple[tuple[Member, Part | None], ...]
    denied: tuple[bytes, ...]
    chain_digest: bytes


def parse_head(body: bytes) -> IndexHead:
    """Raises Malformed, NotCanonical, InvalidElement or LimitExceeded."""
    reader = Reader(body, "index-head")
    federation, node, sequence, epoch = (
        names.federation(reader),
        names.node(reader),
        reader.count(),
        reader.u32(),
    )
    keys = (reader.exactly(32), reader.exactly(32), reader.exactly(32))
    threshold = reader.choice(range(3, 9), "The threshold")
    scheme = reader.choice(range(1, 256), "The scheme version")
    segments = reader.items(lambda each: SegmentRef(each.u32(), each.exactly(32), each.u32()), MAX_SEGMENTS)
    root, issued = reader.exactly(32), reader.time()
    reader.end()
    ascending(segments, "The segments of a head", lambda segment: u32(segment.number))
    if merkle.root_of(segment.address for segment in segments) != root:
        raise NotCanonical("The root of a head is not that of its segments.")
    for key in keys:
        ristretto.decode(key)
    return IndexHead(
        federation=federation,
        node=node,
        sequence=sequence,
        epoch=epoch,
        keys=keys,
        threshold=threshold,
        scheme=scheme,
        segments=tuple(segments),
        root=root,
        issued=issued,
    )


def head_statement(part: Part) -> bytes:
    """By which an `index-head` entry names the signed head (§14.3)."""
    return digest("logged/index-head", part.body, part.signature)


def read_member(reader: Reader) -> Member:
    """The fields that directory and log share (§10.1). Raises Malformed, NotCanonical or LimitExceeded."""
    node, name = names.node(reader), reader.text(MAX_NAME_OCTETS)
    oris = reader.items(names.ori, MAX_ORIS)
    if not oris:
        raise Malformed("A member has no ORI.")
    ascending(oris, "The ORIs of a member", lambda ori: ori.encode())
    return Member(
        node=node,
        name=name,
        oris=tuple(oris),
        tls_subject=reader.text(MAX_NAME_OCTETS),
        signing_key=reader.exactly(32),
        disclosure_key=reader.exactly(DISCLOSURE_KEY_OCTETS),
        status=reader.choice((ACTIVE, SUSPENDED), "The status of a member"),
        joined=reader.time(),
        answered_from=reader.time(),
    )


def read_serial(reader: Reader) -> bytes:
    """A certificate's serial in its one form (§10.1)."""
    serial = reader.octets(MAX_SERIAL_OCTETS)
    if not serial:
        raise Malformed("A serial has no octets.")
    if serial[0] == 0 and len(serial) > 1:
        raise NotCanonical("A serial has zeros in front.")
    return serial


def parse_directory(body: bytes) -> Directory:
    """Raises Malformed, NotCanonical or LimitExceeded; heads are not looked into."""
    if len(body) > MAX_DIRECTORY_OCTETS:
        raise LimitExceeded(f"A directory of {len(body)} octets is too long.")
    reader = Reader(body, "directory")
    federation, version, issued = names.federation(reader), reader.count(), reader.time()
    members = reader.items(_read_listed, MAX_MEMBERS)
    denied = reader.items(read_serial, MAX_DENIED)
    chain_digest = reader.exactly(32)
    reader.end()
    ascending(members, "The members of a directory", lambda member: member[0].node.encode())
    ascending(denied, "The denied serials", lambda serial: serial.rjust(MAX_SERIAL_OCTETS, b"\0"))
    return Directory(federation, version, issued, tuple(members), tuple(denied), chain_digest)


def _read_listed(reader: Reader) -> tuple[Member, Part | None]:
    member = read_member(reader)
    check_ed25519_key(member.signing_key)
    body, signature = reader.octets(MAX_SEGMENTS * 40 + 512), reader.octets(64)
    if not body and not signature:
        return member, None
    if not body or len(signature) != 64:
        raise Malformed("A member's head lacks its body or its signature.")
    return member, Part(body, signature)
