"""The rows in which the state of a shard is kept: by node, by shard, what changed (docs/protocol.md §14.4).

Local storage, not the wire: only the program that wrote a row reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from candor_proto.canonical import Reader, Writer
from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import HASH_OCTETS
from candor_proto.tlog.entries import NO_ROOT, Closed, DirectoryEntry, log_origin, parse_entry
from candor_proto.tlog.statements import WitnessKeyStatement, read_count, write_count

NO_HEAD = bytes(HASH_OCTETS)


class RequestCounts(Protocol):
    """How many commitments the `requests` entries before an index hold; rows in a database, or a list."""

    def add(self, index: int, count: int) -> None:
        """Entry `index`, above all before, holds `count` commitments."""

    def before(self, index: int) -> int:
        """The number of commitments in `requests` entries of a lower index."""


class ListedCounts:
    """`RequestCounts` in memory."""

    def __init__(self, rows: Iterable[tuple[int, int]] = ()) -> None:
        """`rows`: index and number of commitments up to and with it, in order."""
        self._indexes: list[int] = []
        self._totals: list[int] = []
        for index, total in rows:
            self._indexes.append(index)
            self._totals.append(total)

    def add(self, index: int, count: int) -> None:
        self._totals.append((self._totals[-1] if self._totals else 0) + count)
        self._indexes.append(index)

    def before(self, index: int) -> int:
        at = bisect_left(self._indexes, index)
        return self._totals[at - 1] if at else 0

    def rows(self) -> list[tuple[int, int]]:
        return list(zip(self._indexes, self._totals, strict=True))


@dataclass(frozen=True)
class HeadRow:
    """The newest index head of a node."""

    sequence: int
    epoch: int
    keys: bytes
    leaf: bytes


@dataclass(frozen=True)
class HeartbeatRow:
    """The newest heartbeat of a node: its number and the end of its range."""

    number: int
    end: int


@dataclass(frozen=True)
class NodeRow:
    """All that the log says of one member so far."""

    member_leaf: bytes
    signing_key: bytes
    disclosure_key_digest: bytes
    joined_at: datetime
    head: HeadRow | None = None
    witness: WitnessKeyStatement | None = None
    # Digests of every witness key that it handed in: nobody else can take one over.
    witness_key_digests: tuple[bytes, ...] = ()
    heartbeat: HeartbeatRow | None = None

    @property
    def leaves(self) -> bytes:
        """m_i of §14.4."""
        return self.member_leaf + (self.head.leaf if self.head else NO_HEAD)

    def encode(self) -> bytes:
        writer = Writer("log-state-node").fixed(self.member_leaf, 32).fixed(self.signing_key, 32)
        writer.fixed(self.disclosure_key_digest, 32).time(self.joined_at).integer(self.head is not None, 1)
        if self.head:
            write_count(writer, self.head.sequence).integer(self.head.epoch, 4)
            writer.fixed(self.head.keys, 96).fixed(self.head.leaf, 32)
        writer.octets(self.witness.encode() if self.witness else b"")
        writer.sequence(self.witness_key_digests, lambda out, item: out.fixed(item, 32))
        writer.integer(self.heartbeat is not None, 1)
        if self.heartbeat:
            write_count(write_count(writer, self.heartbeat.number), self.heartbeat.end)
        return writer.finish()

    @classmethod
    def decode(cls, data: bytes) -> NodeRow:
        """Raises MalformedMessage."""
        reader = Reader(data, "log-state-node")
        leaf, key, disclosure, joined = reader.fixed(32), reader.fixed(32), reader.fixed(32), reader.time()
        head = heartbeat = None
        if reader.integer(1):
            head = HeadRow(read_count(reader), reader.integer(4), reader.fixed(96), reader.fixed(32))
        statement = reader.octets()
        digests = reader.sequence(1 << 20, lambda read: read.fixed(32))
        if reader.integer(1):
            heartbeat = HeartbeatRow(read_count(reader), read_count(reader))
        reader.finish()
        witness = WitnessKeyStatement.decode(statement) if statement else None
        return cls(leaf, key, disclosure, joined, head, witness, digests, heartbeat)


@dataclass(frozen=True)
class Shard:
    """The part of the state that is one row: which shard, how far, and what stands once."""

    federation: FederationName
    number: int
    previous_origin: str = ""
    previous_size: int = 0
    previous_root: bytes = NO_ROOT
    size: int = 0
    closed: Closed | None = None
    directory: DirectoryEntry | None = None
    policy_version: int = 0
    # Whether `directory` and `policy_version` are still those of the shard before.
    directory_carried: bool = False
    policy_carried: bool = False

    @property
    def origin(self) -> str:
        return log_origin(self.federation, self.number)

    def encode(self) -> bytes:
        writer = Writer("log-state").text(str(self.federation)).integer(self.number, 4)
        write_count(writer.text(self.previous_origin), self.previous_size).fixed(self.previous_root, 32)
        write_count(writer, self.size).octets(self.closed.encode() if self.closed else b"")
        writer.octets(self.directory.encode() if self.directory else b"").integer(self.policy_version, 4)
        return writer.integer(self.directory_carried, 1).integer(self.policy_carried, 1).finish()

    @classmethod
    def decode(cls, data: bytes) -> Shard:
        """Raises MalformedMessage."""
        reader = Reader(data, "log-state")
        federation, number = FederationName(reader.text(64)), reader.integer(4)
        origin, size, root = reader.text(), read_count(reader), reader.fixed(32)
        here, closing, listing = read_count(reader), reader.octets(), reader.octets()
        policy_version, directory_carried, policy_carried = (reader.integer(octets) for octets in (4, 1, 1))
        reader.finish()
        closed = parse_entry(closing) if closing else None
        directory = parse_entry(listing) if listing else None
        if not isinstance(closed, Closed | None) or not isinstance(directory, DirectoryEntry | None):
            raise MalformedMessage("Not the state of a log.")
        return cls(
            federation, number, origin, size, root, here, closed, directory, policy_version,
            bool(directory_carried), bool(policy_carried),
        )  # fmt: skip


@dataclass(frozen=True)
class Changes:
    """The rows that differ since they were taken last."""

    shard: bytes
    nodes: Mapping[NodeId, bytes] = field(default_factory=dict)
    denied: tuple[int, ...] = ()
    # Index of a `requests` entry, number of commitments in it.
    requests: tuple[tuple[int, int], ...] = ()
