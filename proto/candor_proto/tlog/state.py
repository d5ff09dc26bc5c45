"""What the entries of a shard add up to, and the rules that each keeps (docs/protocol.md §14.4, §14.5).

A fold: `apply` checks the next entry against everything before it, changes the state, and raises
LogInconsistent without a change when a rule is broken. The state is a few rows (`Changes`), so that a node
and the hub keep it in their databases and write what an entry touched.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.directory import Directory
from candor_proto.errors import (
    LimitExceeded,
    LogInconsistent,
    MalformedMessage,
    NotAMember,
    SignatureInvalid,
)
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import leaf_hash
from candor_proto.signing import VerifyingKey
from candor_proto.tlog.entries import (
    MAX_SERIAL_OCTETS,
    Closed,
    Denied,
    DirectoryEntry,
    Entry,
    HeadEntry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Requests,
    Statement,
    head_entry,
    log_origin,
    member_entry,
    parse_entry,
    serial_octets,
)
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, ED25519, VerifierKey
from candor_proto.tlog.rows import (
    NO_HEAD,
    Changes,
    HeadRow,
    HeartbeatRow,
    ListedCounts,
    NodeRow,
    RequestCounts,
    Shard,
)
from candor_proto.tlog.statements import (
    Heartbeat,
    WitnessKeyStatement,
    parse_statement,
)

# The rows are part of what a caller stores and gives back.
__all__ = [
    "Changes", "HeadRow", "HeartbeatRow", "ListedCounts", "LogState", "NodeRow", "RequestCounts", "Shard",
    "directory_state", "state_of",
]  # fmt: skip


def directory_state(
    member_hashes: Mapping[NodeId, bytes], head_hashes: Mapping[NodeId, bytes], denied: Iterable[int]
) -> bytes:
    """The state of §14.4: leaf hashes of the newest entries by node, and the serials denied; 32 octets."""
    rows = [member_hashes[node] + head_hashes.get(node, NO_HEAD) for node in sorted(member_hashes)]
    return _state(rows, _denied_octets(sorted(denied)))


def _state(rows: Iterable[bytes], denied: bytes) -> bytes:
    return digest("directory-state", *rows, denied)


def _denied_octets(serials: Sequence[int]) -> bytes:
    return Writer().sequence(serials, lambda out, serial: out.octets(serial_octets(serial))).finish()


def state_of(directory: Directory) -> bytes:
    """The state that the log must hold for this directory; raises MalformedMessage or LimitExceeded."""
    members = {member.node: leaf_hash(member_entry(member).encode()) for member in directory.members}
    heads = {
        member.node: leaf_hash(head_entry(member.head).encode())
        for member in directory.members
        if member.head is not None
    }
    return directory_state(members, heads, directory.denied_serials)


class LogState:
    """The state of one shard after `size` entries."""

    def __init__(
        self,
        shard: Shard,
        nodes: Mapping[NodeId, NodeRow] | None = None,
        denied: Iterable[int] = (),
        counts: RequestCounts | None = None,
    ) -> None:
        """From the rows that were kept; `first` and `successor` begin anew."""
        # What every entry changes is not kept in the row: a row is made when it is asked for.
        self._shard, self._size = shard, shard.size
        self.nodes: dict[NodeId, NodeRow] = dict(nodes or {})
        self.counts: RequestCounts = ListedCounts() if counts is None else counts
        self._order = sorted(self.nodes)
        self._denied = sorted(denied)
        self._denied_set = set(self._denied)
        self._denied_octets: bytes | None = None
        self._witness_keys = {
            key: node for node, row in self.nodes.items() for key in row.witness_key_digests
        }
        self._forget_changes()

    @classmethod
    def first(cls, federation: FederationName, counts: RequestCounts | None = None) -> LogState:
        """Shard 1 before its first entry."""
        return cls(Shard(federation, 1), counts=counts)

    def successor(self, root: bytes, counts: RequestCounts | None = None) -> LogState:
        """The shard after this one before its first entry; `root` is this one's. Raises LogInconsistent."""
        shard = self.shard
        if shard.closed is None:
            raise LogInconsistent(f"The log {shard.origin} goes on; no shard follows it yet.")
        following = Shard(
            shard.federation, shard.number + 1, shard.origin, shard.size, root,
            directory=shard.directory, policy_version=shard.policy_version,
            directory_carried=shard.directory is not None, policy_carried=shard.policy_version > 0,
        )  # fmt: skip
        return LogState(following, counts=counts)

    def succeeded(self, size: int, root: bytes, counts: RequestCounts | None = None) -> LogState:
        """A successor's shard before its first entry, which continues the first `size` entries (§19.2).

        `root` is theirs. Whoever calls has consents for it (`succession`).
        """
        shard = self.shard
        following = Shard(
            shard.federation, shard.number + 1, shard.origin, size, root,
            directory=shard.directory, policy_version=shard.policy_version,
            directory_carried=shard.directory is not None, policy_carried=False,
        )  # fmt: skip
        return LogState(following, counts=counts)

    @property
    def shard(self) -> Shard:
        """The row of this shard after the entries so far."""
        if self._shard.size != self._size:
            self._shard = replace(self._shard, size=self._size)
        return self._shard

    @property
    def size(self) -> int:
        return self._size

    @property
    def origin(self) -> str:
        return self._shard.origin

    @property
    def directory(self) -> DirectoryEntry | None:
        """The newest `directory` entry; when a further shard begins, the last one of the shard before."""
        return self._shard.directory

    @property
    def denied(self) -> tuple[int, ...]:
        """All serials denied, in order."""
        return tuple(self._denied)

    @property
    def next_keys(self) -> tuple[VerifierKey, VerifierKey] | None:
        """The keys of the next shard, once this one is closed."""
        closed = self.shard.closed
        if closed is None:
            return None
        return (
            VerifierKey(closed.next_origin, ED25519, closed.next_ed25519_key),
            VerifierKey(closed.next_origin, COSIGNATURE_ML_DSA_44, closed.next_ml_dsa_key),
        )

    def witness_keys(self) -> Mapping[NodeId, WitnessKeyStatement]:
        """The newest witness keys by member."""
        return {node: row.witness for node, row in self.nodes.items() if row.witness}

    def directory_state(self) -> bytes:
        """The state of §14.4 after the entries so far."""
        if self._denied_octets is None:
            self._denied_octets = _denied_octets(self._denied)
        return _state((self.nodes[node].leaves for node in self._order), self._denied_octets)

    def apply(self, index: int, entry: bytes) -> Entry:
        """Take up the entry at `index`; raises LogInconsistent, and then nothing has changed."""
        try:
            parsed = parse_entry(entry)
            self._take(index, entry, parsed)
        except (MalformedMessage, LimitExceeded, SignatureInvalid, NotAMember) as error:
            raise self._broken(index, error.message) from None
        return parsed

    def take_changes(self) -> Changes:
        """What entries have changed since this was asked last, as rows to be stored."""
        changes = Changes(
            self.shard.encode(),
            {node: self.nodes[node].encode() for node in sorted(self._touched)},
            tuple(self._new_denied),
            tuple(self._new_requests),
        )
        self._forget_changes()
        return changes

    def _forget_changes(self) -> None:
        self._touched: set[NodeId] = set()
        self._new_denied: list[int] = []
        self._new_requests: list[tuple[int, int]] = []

    def _broken(self, index: int, reason: str) -> LogInconsistent:
        return LogInconsistent(
            f"Entry {index} of the log {self.origin} breaks its rules: {reason}",
            remedy="Report it to the other members and to the hub operator; this node takes up nothing more.",
        )

    def _take(self, index: int, octets: bytes, entry: Entry) -> None:
        shard = self._shard
        if index != self._size:
            raise MalformedMessage(f"it is not the next one, which is {self._size}.")
        if shard.closed is not None:
            raise MalformedMessage("the shard is closed.")
        if isinstance(entry, Opened) != (index == 0):
            raise MalformedMessage("`opened` stands first in a shard, and nowhere else.")
        match entry:
            case Requests():
                count = len(entry.commitments)
                self.counts.add(index, count)
                self._new_requests.append((index, count))
            case HeadEntry():
                self._head(octets, entry)
            case MemberEntry():
                self._member(octets, entry)
            case Statement():
                self._statement(index, entry)
            case DirectoryEntry():
                self._shard = self._directory(shard, entry)
            case Denied():
                self._deny(entry)
            case PolicyEntry():
                self._shard = self._policy(shard, entry)
            case Opened():
                self._opened(entry)
            case Closed():
                if entry.next_origin != log_origin(shard.federation, shard.number + 1):
                    raise MalformedMessage("it names another log than the next shard.")
                self._shard = replace(shard, closed=entry)
            case _:
                pass
        self._size = index + 1

    def _opened(self, entry: Opened) -> None:
        shard = self._shard
        if (entry.federation, entry.shard) != (shard.federation, shard.number):
            raise MalformedMessage("it opens another shard, or that of another federation.")
        end = (entry.previous_origin, entry.previous_size, entry.previous_root)
        if end != (shard.previous_origin, shard.previous_size, shard.previous_root):
            raise MalformedMessage("it names another end of the shard before.")

    def _row(self, node: NodeId) -> NodeRow:
        row = self.nodes.get(node)
        if row is None:
            raise NotAMember(f"{node} is no member.")
        return row

    def _store(self, node: NodeId, row: NodeRow) -> None:
        if node not in self.nodes:
            insort(self._order, node)
        self.nodes[node] = row
        self._touched.add(node)

    def _member(self, octets: bytes, entry: MemberEntry) -> None:
        disclosure = hashlib.sha256(entry.disclosure_key).digest()
        row = NodeRow(leaf_hash(octets), entry.signing_key, disclosure, entry.joined_at)
        known = self.nodes.get(entry.node)
        if known is not None:
            pinned = (known.signing_key, known.disclosure_key_digest, known.joined_at)
            if pinned != (row.signing_key, row.disclosure_key_digest, row.joined_at):
                raise MalformedMessage(f"it changes a key of {entry.node}, or when it joined.")
            row = replace(known, member_leaf=row.member_leaf)
        self._store(entry.node, row)

    def _head(self, octets: bytes, entry: HeadEntry) -> None:
        row, keys = self._row(entry.node), b"".join(entry.keys)
        if row.head is not None:
            if entry.sequence <= row.head.sequence:
                raise MalformedMessage(f"an index head of {entry.node} that is not above its last one.")
            if entry.epoch < row.head.epoch:
                raise MalformedMessage(f"an index head of {entry.node} of an earlier epoch.")
            if entry.epoch == row.head.epoch and keys != row.head.keys:
                raise MalformedMessage(f"{entry.node} has other keys in the same epoch.")
        head = HeadRow(entry.sequence, entry.epoch, keys, leaf_hash(octets))
        self._store(entry.node, replace(row, head=head))

    def _deny(self, entry: Denied) -> None:
        if entry.serial in self._denied_set:
            raise MalformedMessage("a serial that is denied already.")
        self._denied_set.add(entry.serial)
        insort(self._denied, entry.serial)
        self._denied_octets = None
        self._new_denied.append(entry.serial)

    def _directory(self, shard: Shard, entry: DirectoryEntry) -> Shard:
        if shard.directory is None:
            # A federation may be older than its log: the first version there is free.
            if not entry.version:
                raise MalformedMessage("a directory of version 0.")
        elif entry.version != shard.directory.version + (not shard.directory_carried):
            last = shard.directory.version
            raise MalformedMessage(f"directory version {entry.version} does not follow version {last}.")
        if entry.state != self.directory_state():
            raise MalformedMessage(f"directory version {entry.version} is not what the log adds up to.")
        if shard.directory_carried and shard.directory and entry.state != shard.directory.state:
            raise MalformedMessage(
                "the shard does not begin with the members that the one before ended with."
            )
        return replace(shard, directory=entry, directory_carried=False)

    def _policy(self, shard: Shard, entry: PolicyEntry) -> Shard:
        last = shard.policy_version
        if entry.version != (last if shard.policy_carried else last + 1):
            raise MalformedMessage(f"policy version {entry.version} does not follow version {last}.")
        return replace(shard, policy_version=entry.version, policy_carried=False)

    def _statement(self, index: int, entry: Statement) -> None:
        statement = parse_statement(entry.context, entry.signed.body)
        node = statement.node
        row = self._row(node)
        entry.signed.verify(entry.context, VerifyingKey(row.signing_key), str(node))
        if statement.federation != self._shard.federation:
            raise MalformedMessage(f"a statement of {node} for another federation.")
        if isinstance(statement, Heartbeat):
            self._store(node, self._heartbeat(index, row, statement))
        elif isinstance(statement, WitnessKeyStatement):
            self._witness(row, statement)

    def _heartbeat(self, index: int, row: NodeRow, statement: Heartbeat) -> NodeRow:
        node, last = statement.node, row.heartbeat
        if statement.origin != self.origin or statement.end > index:
            raise MalformedMessage(f"a heartbeat of {node} about entries that are not before it.")
        if last is not None and (statement.number, statement.start) != (last.number + 1, last.end):
            raise MalformedMessage(f"a heartbeat of {node} that does not follow its last one.")
        statement.check_covers(self.counts.before(statement.end) - self.counts.before(statement.start))
        return replace(row, heartbeat=HeartbeatRow(statement.number, statement.end))

    def _witness(self, row: NodeRow, statement: WitnessKeyStatement) -> None:
        node = statement.node
        if row.witness is not None and statement.issued_at <= row.witness.issued_at:
            raise MalformedMessage(f"a witness key of {node} that is not younger than its last one.")
        digests = [hashlib.sha256(key).digest() for key in (statement.ed25519_key, statement.ml_dsa_key)]
        if any(self._witness_keys.get(key, node) != node for key in digests):
            raise MalformedMessage(f"{node} hands in a witness key of another member.")
        held = tuple(dict.fromkeys((*row.witness_key_digests, *digests)))
        self._witness_keys.update(dict.fromkeys(digests, node))
        self._store(node, replace(row, witness=statement, witness_key_digests=held))

    def encode(self) -> bytes:
        """All of it in one; only with `ListedCounts`."""
        if not isinstance(self.counts, ListedCounts):
            raise MalformedMessage("Counts that lie elsewhere are not part of this encoding.")
        writer = Writer("log-state-whole").octets(self.shard.encode())
        rows = [(node, self.nodes[node]) for node in self._order]
        writer.sequence(rows, lambda out, item: out.text(str(item[0])).octets(item[1].encode()))
        writer.sequence(self._denied, lambda out, serial: out.octets(serial_octets(serial)))
        return writer.sequence(
            self.counts.rows(), lambda out, item: out.integer(item[0], 8).integer(item[1], 8)
        ).finish()

    @classmethod
    def decode(cls, data: bytes) -> LogState:
        """Raises MalformedMessage."""
        reader = Reader(data, "log-state-whole")
        shard = Shard.decode(reader.octets())
        rows = reader.sequence(1 << 30, lambda read: (NodeId(read.text(64)), NodeRow.decode(read.octets())))
        denied = reader.sequence(1 << 30, lambda read: int.from_bytes(read.octets(MAX_SERIAL_OCTETS), "big"))
        counts = reader.sequence(1 << 30, lambda read: (read.integer(8), read.integer(8)))
        reader.finish()
        return cls(shard, dict(rows), denied, ListedCounts(counts))
