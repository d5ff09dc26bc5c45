"""The state that a log leads to, entry by entry, and the rules that every entry must keep (§14.4, §14.5).

`State.apply` raises LogInconsistent; what it has read by then is not to be used any further.
Memory grows with members, denied certificates and policies, never with entries: how many commitments
stand before an index, which heartbeats are measured by (§14.8), lies in a temporary file.
"""

from __future__ import annotations

import tempfile
from array import array
from dataclasses import dataclass, field

from candor_verify import entries
from candor_verify.checkpoint import LogKeys
from candor_verify.entries import NO_HEAD, Entry
from candor_verify.errors import LogInconsistent, Refused
from candor_verify.heads import Member
from candor_verify.merkle import leaf_hash
from candor_verify.names import origin_of
from candor_verify.note import ED25519_COSIGNATURE, ML_DSA_44, VerifierKey
from candor_verify.statements import (
    Heartbeat,
    PackAdoption,
    Succession,
    WitnessKey,
    parse_heartbeat,
    parse_pack_adoption,
    parse_succession,
    parse_witness_key,
)

NO_ROOT = bytes(32)


class Counts:
    """How many commitments of `requests` entries stand before each index of a shard."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the state
        self._written = 0
        self._waiting = array("Q")
        self._total = 0

    def append(self, commitments: int) -> None:
        """The next entry holds so many."""
        self._waiting.append(self._total)
        self._total += commitments
        if len(self._waiting) == 4_096:
            self._flush()

    def before(self, index: int) -> int:
        """Commitments before `index`, which is at most the number of entries appended."""
        self._flush()
        if index == self._written:
            return self._total
        self._file.seek(8 * index)
        return array("Q", self._file.read(8))[0]

    def _flush(self) -> None:
        self._file.seek(8 * self._written)
        self._file.write(self._waiting.tobytes())
        self._written += len(self._waiting)
        del self._waiting[:]

    def close(self) -> None:
        self._file.close()


@dataclass
class MemberState:
    """What the log says of one node; hashes are those of 14.4."""

    member: Member
    member_hash: bytes
    head: entries.HeadEntry | None = None
    head_hash: bytes = NO_HEAD
    witness_key: WitnessKey | None = None
    heartbeat: tuple[int, int] | None = None  # number, end


@dataclass(frozen=True)
class End:
    """Where a shard ended: what the next one must say of it, and take over."""

    shard: int
    origin: str
    size: int
    root: bytes
    next_keys: LogKeys
    directory_version: int | None
    state: bytes
    policy: entries.PolicyEntry | None
    # Not closed: a successor goes on from here (§19).
    succeeded: bool = False


@dataclass
class State:
    """Of one shard. `previous` is the end of the shard before it, None if that was not read."""

    federation: str
    shard: int
    previous: End | None = None
    size: int = 0
    members: dict[str, MemberState] = field(default_factory=dict)
    denied: set[bytes] = field(default_factory=set)
    opened: entries.Opened | None = None
    directory: entries.DirectoryEntry | None = None
    policy: entries.PolicyEntry | None = None
    closed: entries.Closed | None = None
    counts: Counts = field(default_factory=Counts)
    lookups: int = 0
    other_envelopes: int = 0
    tally: dict[str, int] = field(default_factory=dict)
    witness_keys: set[VerifierKey] = field(default_factory=set)  # of members, also those replaced since
    _handed_in: dict[bytes, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return origin_of(self.federation, self.shard)

    def apply(self, octets: bytes) -> Entry:
        """The next entry. Raises LogInconsistent, which names its index."""
        try:
            entry = entries.parse_entry(octets)
            self._judge(entry, octets)
        except Refused as error:
            raise LogInconsistent(f"entry {self.size} of {self.origin}: {error}") from None
        held = 0
        if isinstance(entry, entries.Requests):
            held = len(entry.commitments)
            self.lookups += held
        elif isinstance(entry, entries.Receipts):
            self.other_envelopes += len(entry.commitments)
        self.counts.append(held)
        self.size += 1
        return entry

    def _count(self, what: str, number: int = 1) -> None:
        self.tally[what] = self.tally.get(what, 0) + number

    def _judge(self, entry: Entry, octets: bytes) -> None:
        if self.closed is not None:
            raise LogInconsistent("something follows `closed`")
        if (self.size == 0) != isinstance(entry, entries.Opened):
            raise LogInconsistent("`opened` is the first entry of a shard, and no other")
        match entry:
            case entries.Opened():
                self._open(entry)
            case entries.Closed():
                if entry.next_origin != origin_of(self.federation, self.shard + 1):
                    raise LogInconsistent("`closed` names another origin than the next shard's")
                self.closed = entry
            case Member():
                self._member(entry, octets)
            case entries.HeadEntry():
                self._head(entry, octets)
            case entries.Denied():
                if entry.serial in self.denied:
                    raise LogInconsistent("a serial is denied twice")
                self.denied.add(entry.serial)
                self._count("denied certificates")
            case entries.DirectoryEntry():
                self._directory(entry)
            case entries.PolicyEntry():
                self._policy(entry)
            case entries.Statement():
                self._statement(entry)
            case entries.Rules():
                self._count("rules")
            case _:
                pass

    def _open(self, entry: entries.Opened) -> None:
        if (entry.federation, entry.shard) != (self.federation, self.shard):
            raise LogInconsistent("`opened` names another federation or shard")
        named = (entry.previous_origin, entry.previous_size, entry.previous_root)
        if self.shard == 1:
            fits = named == ("", 0, NO_ROOT)
        elif self.previous is None:
            fits = entry.previous_origin == origin_of(self.federation, self.shard - 1)
        else:
            fits = named == (self.previous.origin, self.previous.size, self.previous.root)
        if not fits:
            raise LogInconsistent("`opened` does not name the end of the shard before")
        self.opened = entry

    def _member(self, entry: Member, octets: bytes) -> None:
        known = self.members.get(entry.node)
        if known is None:
            self.members[entry.node] = MemberState(entry, leaf_hash(octets))
            self._count("members")
            return
        before = known.member
        for what in ("signing_key", "disclosure_key", "joined"):
            if getattr(before, what) != getattr(entry, what):
                raise LogInconsistent(f"the {what.replace('_', ' ')} of {entry.node} changed")
        known.member, known.member_hash = entry, leaf_hash(octets)
        self._count("changes of members")

    def _head(self, entry: entries.HeadEntry, octets: bytes) -> None:
        known = self._known(entry.node)
        before = known.head
        if before is not None:
            if entry.sequence <= before.sequence:
                raise LogInconsistent(f"a head of {entry.node} is not above the last one's sequence")
            if entry.epoch < before.epoch:
                raise LogInconsistent(f"a head of {entry.node} goes back to an earlier epoch")
            if entry.epoch == before.epoch and entry.keys != before.keys:
                raise LogInconsistent(f"{entry.node} has other keys in the same epoch")
        known.head, known.head_hash = entry, leaf_hash(octets)
        self._count("index heads")

    def _known(self, node: str) -> MemberState:
        known = self.members.get(node)
        if known is None:
            raise LogInconsistent(f"{node} is no member")
        return known

    def directory_state(self) -> bytes:
        """`state` (§14.4) as of the entries applied."""
        hashes = {node: (known.member_hash, known.head_hash) for node, known in self.members.items()}
        return entries.directory_state(hashes, list(self.denied))

    def _directory(self, entry: entries.DirectoryEntry) -> None:
        if self.directory is not None:
            expected = self.directory.version + 1
        else:
            expected = entry.version
            if self.previous is not None and self.previous.directory_version is not None:
                expected = self.previous.directory_version
                if entry.state != self.previous.state:
                    raise LogInconsistent("the state is not the one that the shard before ended with")
        if entry.version != expected or entry.version < 1:
            raise LogInconsistent(f"directory {entry.version} is not the next one, {expected}")
        if entry.state != self.directory_state():
            raise LogInconsistent(f"the state of directory {entry.version} is not that of the log")
        self.directory = entry
        self._count("directories")

    def _policy(self, entry: entries.PolicyEntry) -> None:
        if self.policy is not None:
            expected = self.policy.version + 1
        else:
            expected = 1 if self.shard == 1 else entry.version
            before = None if self.previous is None else self.previous.policy
            if before is not None:
                succeeded = self.previous is not None and self.previous.succeeded
                expected = before.version + 1 if succeeded else before.version
                if not succeeded and entry.text != before.text:
                    raise LogInconsistent(
                        "the first policy of the shard is not the last one of the shard before"
                    )
        if entry.version != expected:
            raise LogInconsistent(f"policy {entry.version} is not the next one, {expected}")
        self.policy = entry
        self._count("policies")

    def _statement(self, entry: entries.Statement) -> None:
        statement: WitnessKey | Heartbeat | PackAdoption | Succession
        match entry.context:
            case "witness-key":
                statement = parse_witness_key(entry.part.body)
            case "heartbeat":
                statement = parse_heartbeat(entry.part.body)
            case "succession":
                statement = parse_succession(entry.part.body)
            case _:
                statement = parse_pack_adoption(entry.part.body)
        if statement.federation != self.federation:
            raise LogInconsistent("a statement names another federation")
        known = self._known(statement.node)
        entry.part.verify(entry.context, known.member.signing_key, statement.node)
        if isinstance(statement, WitnessKey):
            self._witness_key(known, statement)
        elif isinstance(statement, Heartbeat):
            self._heartbeat(known, statement)
        elif isinstance(statement, Succession):
            self._count("consents to a successor")
        else:
            self._count("pack adoptions")

    def _witness_key(self, known: MemberState, statement: WitnessKey) -> None:
        if known.witness_key is not None and statement.issued <= known.witness_key.issued:
            raise LogInconsistent(f"a witness key of {statement.node} is not later than the last one")
        for key in (statement.ed25519, statement.ml_dsa):
            if self._handed_in.setdefault(key, statement.node) != statement.node:
                raise LogInconsistent(f"the witness key of {statement.node} is another member's")
        known.witness_key = statement
        name = f"{self.federation}/witness/{statement.node}"
        self.witness_keys.add(VerifierKey(name, ED25519_COSIGNATURE, statement.ed25519))
        self.witness_keys.add(VerifierKey(name, ML_DSA_44, statement.ml_dsa))
        self._count("witness keys")

    def _heartbeat(self, known: MemberState, statement: Heartbeat) -> None:
        who = f"a heartbeat of {statement.node}"
        if statement.origin != self.origin:
            raise LogInconsistent(f"{who} is about another shard")
        if known.heartbeat is not None and (statement.number, statement.start) != (
            known.heartbeat[0] + 1,
            known.heartbeat[1],
        ):
            raise LogInconsistent(f"{who} does not go on from the last one")
        if statement.end > self.size:
            raise LogInconsistent(f"{who} is about entries that were not there")
        bits = self.counts.before(statement.end) - self.counts.before(statement.start)
        statement.check_bits(bits)
        known.heartbeat = (statement.number, statement.end)
        self._count("heartbeats")

    def end(self, root: bytes) -> End | None:
        """Where the shard ended, None if it is not closed."""
        if self.closed is None:
            return None
        return End(
            shard=self.shard,
            origin=self.origin,
            size=self.size,
            root=root,
            next_keys=LogKeys.of(self.closed.next_origin, self.closed.next_ed25519, self.closed.next_ml_dsa),
            directory_version=None if self.directory is None else self.directory.version,
            state=self.directory_state(),
            policy=self.policy,
        )
