"""Reads a copy of a federation's log whole, and says what a successor begins with (docs/protocol.md §19.2).

Rules of this file:
- nothing is believed because of where it lies: every entry is hashed and judged by the rules of §14.5, every
  head verified under the keys of its shard, the last one against the quorum of the policy in force;
- what no directory held is left out: members, heads and denials are those of the last `directory` entry;
- the only thing that a copy cannot prove is that its first policy is the federation's: people compare its
  SHA-256 with what they were told when they joined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from candor_hub.tlog.files import CHECKPOINT, DRAW, POLICY, LogFiles, is_known
from candor_proto.errors import CandorError, InputInvalid, LogInconsistent, LogUnwitnessed, UnknownObject
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import (
    Denied,
    DirectoryEntry,
    Entry,
    HeadEntry,
    MemberEntry,
    PolicyEntry,
    Statement,
    log_origin,
    parse_entry,
)
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState
from candor_proto.tlog.statements import WITNESS_KEY, WitnessKeyStatement, parse_statement
from candor_proto.tlog.succession import (
    check_first_policy,
    check_opening,
    check_succeeds,
    read_successor,
)
from candor_proto.tlog.tiles import TILE_WIDTH

Keys = tuple[VerifierKey, VerifierKey]


@dataclass(frozen=True)
class CopiedShard:
    """A shard of the copy: its keys, the head that it ends with, and the range under it."""

    number: int
    keys: Keys
    head: bytes = field(repr=False)
    signed_at: datetime
    range: CompactRange = field(repr=False)
    draws: dict[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class CopiedPolicy:
    """A policy, where it stands, and the head that put it in force: the first one needs none."""

    version: int
    text: bytes = field(repr=False)
    made_at: datetime
    shard: int
    index: int
    checkpoint: bytes | None = field(repr=False)
    in_force: bool


@dataclass(frozen=True)
class CopiedLog:
    """What a copy holds: `members`, `heads` and `witnesses` are entries as they were logged, by node."""

    federation: FederationName
    shards: tuple[CopiedShard, ...]
    policies: tuple[CopiedPolicy, ...]
    directory: DirectoryEntry
    # Where each version stands: version, shard, index.
    directories: tuple[tuple[int, int, int], ...] = field(repr=False)
    members: dict[NodeId, tuple[bytes, MemberEntry]] = field(repr=False)
    heads: dict[NodeId, tuple[bytes, HeadEntry]] = field(repr=False)
    witnesses: dict[NodeId, tuple[Statement, WitnessKeyStatement]] = field(repr=False)
    denied: tuple[Denied, ...] = field(repr=False)
    state: LogState = field(repr=False)
    # Why the last head does not count by itself; empty when it has its quorum.
    unwitnessed: str

    @property
    def last(self) -> CopiedShard:
        return self.shards[-1]

    @property
    def first_policy_sha256(self) -> str:
        """What members compared when they joined."""
        return hashlib.sha256(self.policies[0].text).hexdigest()


@dataclass
class _Members:
    """What entries say of members and denials; `since` was said after the last directory."""

    members: dict[NodeId, tuple[bytes, MemberEntry]] = field(default_factory=dict)
    heads: dict[NodeId, tuple[bytes, HeadEntry]] = field(default_factory=dict)
    witnesses: dict[NodeId, tuple[Statement, WitnessKeyStatement]] = field(default_factory=dict)
    denied: list[Denied] = field(default_factory=list)
    since: list[tuple[bytes, Entry]] = field(default_factory=list)

    def take(self, octets: bytes, entry: Entry) -> None:
        match entry:
            case MemberEntry() | HeadEntry() | Denied():
                self.since.append((octets, entry))
            case DirectoryEntry():
                self._settle()
            case Statement(context=context) if context == WITNESS_KEY:
                said = parse_statement(context, entry.signed.body)
                if isinstance(said, WitnessKeyStatement):
                    self.witnesses[said.node] = (entry, said)
            case _:
                pass

    def _settle(self) -> None:
        """A directory holds what was said so far."""
        for octets, entry in self.since:
            match entry:
                case MemberEntry():
                    self.members[entry.node] = (octets, entry)
                case HeadEntry():
                    self.heads[entry.node] = (octets, entry)
                case Denied():
                    self.denied.append(entry)
                case _:
                    pass
        self.since.clear()


class LogCopy:
    """Reads one copy."""

    def __init__(self, files: LogFiles, federation: FederationName, now: datetime) -> None:
        self._files = files
        self._federation = federation
        self._now = now
        self._policies: list[CopiedPolicy] = []
        self._found = _Members()
        self._directory: DirectoryEntry | None = None
        self._directories: list[tuple[int, int, int]] = []

    def read(self) -> CopiedLog:
        """All of it. Raises InputInvalid when it is no whole copy, LogInconsistent when it breaks a rule."""
        number, shards = 1, list[CopiedShard]()
        first = parse_policy(self._first_policy(1).text)
        keys = _both(first.log_keys(log_origin(self._federation, 1)), 1)
        state = LogState.first(self._federation)
        while True:
            shard = self._shard(number, keys, state)
            shards.append(shard)
            if not self._has(f"{number + 1}/{CHECKPOINT}"):
                break
            keys, state = self._further(number + 1, shard, state)
            number += 1
        if self._directory is None:
            raise InputInvalid(
                "The log holds no directory: nobody had joined.", remedy="Found a new federation instead."
            )
        self._put_in_force(shards)
        found = self._found
        witnesses = {node: one for node, one in found.witnesses.items() if node in found.members}
        return CopiedLog(
            self._federation, tuple(shards), tuple(self._policies), self._directory,
            tuple(self._directories), found.members, found.heads, witnesses, tuple(found.denied), state,
            self._lack_of_quorum(shards[-1]),
        )  # fmt: skip

    # --- shards -----------------------------------------------------------------------------------------

    def _shard(self, number: int, keys: Keys, state: LogState) -> CopiedShard:
        """Read and judge the entries of a shard up to its head; they become `state`."""
        try:
            signed = parse_checkpoint(self._files.read(f"{number}/{CHECKPOINT}"))
            signed_at = verify_log(signed, keys)
        except UnknownObject:
            raise InputInvalid(
                f"The copy has no checkpoint of shard {number}.",
                remedy="Copy the log whole, or find another.",
            ) from None
        head, entered = signed.checkpoint, CompactRange.EMPTY
        for octets in self._entries(number, head.size):
            entry = state.apply(entered.size, octets)
            self._take(number, entered.size, octets, entry)
            entered = entered.extend((leaf_hash(octets),))
        if entered.root() != head.root:
            raise LogInconsistent(f"The entries of shard {number} are not those of its checkpoint.")
        return CopiedShard(number, keys, signed.encode(), signed_at, entered, self._draws(number, keys))

    def _entries(self, number: int, size: int) -> Iterator[bytes]:
        try:
            yield from self._files.shard(number).entries(0, size)
        except UnknownObject as error:
            raise InputInvalid(
                f"The copy is not whole: {error.message}", remedy="Copy the log whole, or find another."
            ) from None

    def _take(self, number: int, index: int, octets: bytes, entry: Entry) -> None:
        self._found.take(octets, entry)
        if isinstance(entry, DirectoryEntry):
            self._directory = entry
            self._directories.append((entry.version, number, index))
        elif isinstance(entry, PolicyEntry) and entry.version not in {one.version for one in self._policies}:
            self._policies.append(
                CopiedPolicy(entry.version, entry.text, entry.issued_at, number, index, None, False)
            )

    def _further(self, number: int, before: CopiedShard, state: LogState) -> tuple[Keys, LogState]:
        """Keys and state of the next shard: after `closed`, or of a successor that most members chose."""
        named = state.next_keys
        if named is not None:
            return named, state.successor(before.range.root())
        size = parse_checkpoint(self._files.read(f"{number}/{CHECKPOINT}")).checkpoint.size
        entries = [parse_entry(octets) for octets in self._entries(number, size)]
        successor = read_successor(self._federation, number, entries)
        check_first_policy(successor, state.shard.policy_version)
        if (successor.previous_size, successor.previous_root) != (before.range.size, before.range.root()):
            raise LogInconsistent(f"Shard {number} does not continue the head of the one before.")
        check_opening(successor, entries, state)
        check_succeeds(successor, entries, lambda node: _signing_key(state, node))
        return successor.keys, state.succeeded(before.range.size, before.range.root())

    # --- policies ---------------------------------------------------------------------------------------

    def _first_policy(self, number: int) -> PolicyEntry:
        """What a shard begins with, unverified."""
        size = parse_checkpoint(self._files.read(f"{number}/{CHECKPOINT}")).checkpoint.size
        for octets in self._entries(number, min(size, TILE_WIDTH)):
            entry = parse_entry(octets)
            if isinstance(entry, PolicyEntry):
                return entry
        raise LogInconsistent(f"Shard {number} does not begin with a policy.")

    def _put_in_force(self, shards: list[CopiedShard]) -> None:
        """Which policies came into force: each under a head that covers it and satisfies the one before."""
        by_number = {shard.number: shard for shard in shards}
        firsts = {1} | {
            self._first_policy(shard.number).version for shard in shards if self._succeeds(shard.number)
        }
        known: list[CopiedPolicy] = []
        for policy in self._policies:
            if policy.version in firsts:
                known.append(replace(policy, in_force=True))
                continue
            checkpoint = None
            if known and known[-1].in_force:
                checkpoint = self._covering(policy, parse_policy(known[-1].text), by_number[policy.shard])
            known.append(replace(policy, checkpoint=checkpoint, in_force=checkpoint is not None))
        self._policies = known

    def _succeeds(self, number: int) -> bool:
        """Whether a shard is a successor: it begins with a policy that no shard before has."""
        version = self._first_policy(number).version
        return number > 1 and not any(one.version == version and one.shard < number for one in self._policies)

    def _covering(self, policy: CopiedPolicy, before: Policy, shard: CopiedShard) -> bytes | None:
        """The head that put a policy in force; None if there is none that does."""
        try:
            octets = self._files.read(f"{policy.shard}/{POLICY}/{policy.version}")
            signed = parse_checkpoint(octets)
            verify_log(signed, shard.keys)
            before.verify(signed, self._now)
        except CandorError:
            return None
        return octets if signed.checkpoint.size > policy.index else None

    def _lack_of_quorum(self, shard: CopiedShard) -> str:
        """Why the last head does not count under the policy in force; empty when it does."""
        in_force = parse_policy(next(one for one in reversed(self._policies) if one.in_force).text)
        signed = parse_checkpoint(shard.head)
        try:
            in_force.verify(signed, self._now)
        except LogUnwitnessed as error:
            return error.message
        return ""

    def _draws(self, number: int, keys: Keys) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path in self._files.all():
            shard, _, name = path.partition("/")
            if shard == str(number) and name.startswith(f"{DRAW}/") and is_known(name):
                octets = self._files.read(path)
                # It is shown to everybody as this log's: what is no head of it founds nothing.
                verify_log(parse_checkpoint(octets), keys)
                found[name.removeprefix(f"{DRAW}/")] = octets
        return found

    def _has(self, path: str) -> bool:
        try:
            self._files.read(path)
        except UnknownObject:
            return False
        return True


def _both(keys: Iterable[VerifierKey], number: int) -> Keys:
    found = tuple(keys)
    if len(found) != 2:
        raise LogInconsistent(f"The first policy does not name both keys of shard {number}.")
    return found[0], found[1]


def _signing_key(state: LogState, node: NodeId) -> bytes | None:
    row = state.nodes.get(node)
    return row.signing_key if row else None
