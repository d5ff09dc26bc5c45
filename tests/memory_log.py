"""A federation's log in memory for tests of those who read it: honest, or anything else a test makes of it.

    log = Log("alpha", "bravo", "charlie")
    log.grow(3)                         # some commitments
    log.publish(NOW, "alpha", "bravo")  # a head that these two have cosigned
    octets = await log.get("1/checkpoint")

`files` goes before everything else: what a test puts there is served in a file's place, None as if absent.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from candor_proto import merkle
from candor_proto.directory import Directory, Member
from candor_proto.errors import UnknownObject
from candor_proto.ids import NodeId
from candor_proto.merkle import EMPTY_ROOT, leaf_hash
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import (
    Closed,
    DirectoryEntry,
    Opened,
    PolicyEntry,
    Requests,
    Rules,
    Statement,
    head_entry,
    log_origin,
    member_entry,
)
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.policy import members_policy
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.state import LogState
from candor_proto.tlog.statements import WITNESS_KEY, WitnessKeyStatement, witness_name
from candor_proto.tlog.tiles import TILE_WIDTH, encode_bundle, parse_path
from tests.parties import CHAIN_DIGEST, FEDERATION, NOW, Parties

__all__ = ["FEDERATION", "NOW", "Log", "lines"]


class Log:
    """Shard 1 begins with its policy and its members; further shards come with `rotate`."""

    def __init__(self, *names: str, now: datetime = NOW, quorum: bool = True) -> None:
        """`quorum`: the members have handed in witness keys, and policy 2 asks for most of them."""
        self.parties = Parties(*(names or ("alpha", "bravo", "charlie")))
        self.witnesses = {
            node: WitnessKeys.generate(witness_name(FEDERATION, node)) for node in self.parties.all
        }
        self.keys = [LogKeys.generate(log_origin(FEDERATION, 1))]
        self.state = LogState.first(FEDERATION)
        self.entries: list[list[bytes]] = [[]]
        self.policy_version = 0
        self.files: dict[str, bytes | None] = {}
        self.served: list[str] = []
        self.heads: dict[int, SignedCheckpoint] = {}
        self._drawn = 0
        self.append(Opened(FEDERATION, 1, now))
        self.policy_without_witnesses = self.add_policy(self._policy_text(witnesses=()), now)
        self.append(Rules(now, {"lookup_life_hours": 24}))
        for party in self.parties.all.values():
            self.append(member_entry(party.member()))
        self.add_directory(now, [replace(party.member(), head=None) for party in self.parties.all.values()])
        if quorum:
            self.hand_in_witness_keys(now)
            self.publish(now)
            self.add_policy(self._policy_text(), now)
        self.publish(now)

    def fork(self) -> Log:
        """The same log, from now on another one: same keys, same witnesses."""
        kept = (*self.keys, *self.witnesses.values(), self.parties)
        return copy.deepcopy(self, {id(one): one for one in kept})

    # --- entries -----------------------------------------------------------------------------------------

    @property
    def shard(self) -> int:
        return len(self.keys)

    @property
    def size(self) -> int:
        return len(self.entries[-1])

    def append(self, *values: Any) -> int:
        """Append entries that keep the rules; the index of the last one."""
        for value in values:
            octets = value.encode()
            self.state.apply(self.size, octets)
            self.entries[-1].append(octets)
        return self.size - 1

    def force(self, *octets: bytes) -> None:
        """Append what an honest hub would not."""
        self.entries[-1].extend(octets)

    def grow(self, count: int = 1) -> None:
        """Some lookups that nobody here knows."""
        for _ in range(count):
            self._drawn += 1
            self.append(Requests((hashlib.sha256(f"{id(self)} {self._drawn}".encode()).digest(),)))

    def request(self, *commitments: bytes) -> int:
        return self.append(Requests(tuple(sorted(commitments))))

    def hand_in_witness_keys(self, now: datetime) -> None:
        for node, keys in self.witnesses.items():
            ed25519, ml_dsa = (key.key for key in keys.verifier_keys)
            body = WitnessKeyStatement(FEDERATION, node, ed25519, ml_dsa, now).encode()
            self.append(Statement(WITNESS_KEY, self.parties.all[node].signing.sign(WITNESS_KEY, body)))

    def _policy_text(
        self, witnesses: Iterable[NodeId] | None = None, more: Iterable[VerifierKey] = ()
    ) -> bytes:
        chosen = self.witnesses if witnesses is None else list(witnesses)
        keys = [(node, self.witnesses[node].verifier_keys[1]) for node in chosen]
        return members_policy([*self.keys[-1].verifier_keys, *more], keys)

    def add_policy(self, text: bytes | None = None, now: datetime = NOW) -> bytes:
        self.policy_version += 1
        text = self._policy_text() if text is None else text
        self.append(PolicyEntry(self.policy_version, now, text))
        return text

    def policy_of(self, *names: str) -> bytes:
        """The text of a policy of these members."""
        return self._policy_text([NodeId(name) for name in names])

    def add_directory(self, now: datetime = NOW, members: list[Member] | None = None) -> Directory:
        """The next version of the directory, logged; the heads of `members` that are new are logged too."""
        listed = members or [party.member() for party in self.parties.all.values()]
        for member in listed:
            row = self.state.nodes[member.node]
            if member.head is None:
                continue
            entry = head_entry(member.head)
            if row.head is None or entry.sequence > row.head.sequence:
                self.append(entry)
        self.parties.version = (self.state.directory.version if self.state.directory else 0) + 1
        directory = Directory(
            FEDERATION, self.parties.version, now, tuple(listed), tuple(self.state.denied), CHAIN_DIGEST
        )
        self.append(DirectoryEntry(directory.version, now, CHAIN_DIGEST.value, self.state.directory_state()))
        return directory

    def rotate(self, now: datetime, *signers: str) -> None:
        """End the shard and begin the next, as §14.7 says."""
        following = LogKeys.generate(log_origin(FEDERATION, self.shard + 1))
        self.add_policy(self._policy_text(more=following.verifier_keys), now)
        self.publish(now, *signers)
        text = parse_policy_text(self.entries[-1])
        ed25519, ml_dsa = (key.key for key in following.verifier_keys)
        self.append(Closed(now, following.origin, ed25519, ml_dsa))
        self.publish(now, *signers)
        ended, members = self.heads[self.shard].checkpoint, list(self.parties.all.values())
        heads = {
            node: octets for octets in self.entries[-1] for node in [_head_node(octets)] if node is not None
        }
        self.state = self.state.successor(ended.root)
        self.keys.append(following)
        self.entries.append([])
        self.append(Opened(FEDERATION, self.shard, now, ended.origin, ended.size, ended.root))
        self.append(PolicyEntry(self.policy_version, now, text))
        for party in members:
            self.append(member_entry(party.member()))
            if party.node in heads:
                self.state.apply(self.size, heads[party.node])
                self.entries[-1].append(heads[party.node])
        directory = self.state.directory
        assert directory is not None
        self.append(directory)

    # --- heads -------------------------------------------------------------------------------------------

    def head(self, now: datetime, *signers: str, size: int | None = None, shard: int = 0) -> SignedCheckpoint:
        """A head of the newest shard, or `shard`, signed by the log and cosigned by these members."""
        number = shard or self.shard
        entries = self.entries[number - 1][: self.size if size is None and not shard else size]
        root = merkle.root(entries) if entries else EMPTY_ROOT
        keys = self.keys[number - 1]
        signed = keys.sign(Checkpoint(keys.origin, len(entries), root), now)
        for name in signers:
            signed = signed.with_signatures(self.witnesses[NodeId(name)].cosign(signed.checkpoint, now))
        return signed

    def publish(self, now: datetime, *signers: str, size: int | None = None) -> SignedCheckpoint:
        """Serve such a head; it is the one of each policy that has none yet."""
        signed = self.head(now, *signers, size=size)
        self.heads[self.shard] = signed
        for name in ("checkpoint", "signed"):
            self.files[f"{self.shard}/{name}"] = signed.encode()
        self.files.setdefault(f"{self.shard}/policy/{self.policy_version}", signed.encode())
        return signed

    # --- files -------------------------------------------------------------------------------------------

    async def get(self, path: str) -> bytes:
        """A file as the hub would serve it."""
        self.served.append(path)
        octets = self.files[path] if path in self.files else self.file(path)
        if octets is None:
            raise UnknownObject(f"There is no {path}.")
        return octets

    def file(self, path: str) -> bytes | None:
        number, _, rest = path.partition("/")
        if not number.isdecimal() or not rest.startswith("tile/") or int(number) > len(self.entries):
            return None
        entries = self.entries[int(number) - 1]
        level, index, width = parse_path(rest)
        if level is None:
            chosen = entries[index * TILE_WIDTH : index * TILE_WIDTH + width]
            return encode_bundle(chosen) if len(chosen) == width else None
        hashes = [leaf_hash(entry) for entry in entries]
        for _ in range(level):
            full = len(hashes) // TILE_WIDTH
            hashes = [_fold(hashes[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]) for at in range(full)]
        tile = hashes[index * TILE_WIDTH : index * TILE_WIDTH + width]
        return b"".join(tile) if len(tile) == width else None


def _fold(level: list[bytes]) -> bytes:
    while len(level) > 1:
        level = [merkle.node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def parse_policy_text(entries: list[bytes]) -> bytes:
    """The text of the newest policy in these entries."""
    from candor_proto.tlog.entries import parse_entry

    found = [entry.text for entry in map(parse_entry, entries) if isinstance(entry, PolicyEntry)]
    return found[-1]


def _head_node(octets: bytes) -> NodeId | None:
    from candor_proto.tlog.entries import HeadEntry, parse_entry

    entry = parse_entry(octets)
    return entry.node if isinstance(entry, HeadEntry) else None


def lines(octets: bytes) -> list[str]:
    return octets.decode().splitlines()


def later(**amount: float) -> datetime:
    return NOW + timedelta(**amount)
