"""A log as a hub serves it, written to a folder: honest, and small enough to change every octet of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from candor_proto import merkle
from candor_proto.directory import Directory
from candor_proto.ids import Digest, NodeId
from candor_proto.signing import SignedStatement
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Rules,
    Statement,
    head_entry,
    log_origin,
    member_entry,
)
from candor_proto.tlog.policy import members_policy
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.state import LogState, state_of
from candor_proto.tlog.statements import Heartbeat, WitnessKeyStatement, received_bits, witness_name
from tests.log_scene import MemoryTiles
from tests.parties import FEDERATION, NOW, Parties

NAMES = ("alpha", "beta", "gamma")
MINUTE = timedelta(minutes=1)


class ServedLog:
    """Shards with three members who witness; everything an honest hub would keep, in `folder`."""

    def __init__(self, folder: Path, now: datetime = NOW, names: tuple[str, ...] = NAMES) -> None:
        self.folder = folder
        self.now = now
        self.names = names
        self.parties = Parties(*names)
        self.witnesses = [WitnessKeys.generate(witness_name(FEDERATION, NodeId(name))) for name in self.names]
        self.shard = 0
        self.sizes: list[tuple[str, int]] = []
        self.directory_version = 1
        self.policy_version = 0
        self.policy = b""
        self.denied: list[int] = []
        self.heads = {name: self.parties[name].signed_head() for name in self.names}
        self.beats = dict.fromkeys(self.names, (-1, 0))
        self._begin(LogKeys.generate(log_origin(FEDERATION, 1)))
        self.append([Opened(FEDERATION, 1, self.now).encode()])
        self.first_policy = self.make_policy(witnesses=0)
        self.rules()
        self._members()
        self.direct(self.directory_version)
        self.publish(witnesses=())

    # --- entries -------------------------------------------------------------------------------------------

    def _begin(self, keys: LogKeys, state: LogState | None = None) -> None:
        self.shard += 1
        self.keys = keys
        self.origin = log_origin(FEDERATION, self.shard)
        self.entries: list[bytes] = []
        self.tiles = MemoryTiles()
        self.state = state or LogState.first(FEDERATION)
        self.written = 0
        self.sizes.append((self.origin, 0))

    def append(self, entries: Iterable[bytes], *, judged: bool = True) -> None:
        """Entries, which the production code judges, too."""
        for entry in entries:
            if judged:
                self.state.apply(len(self.entries), entry)
            self.entries.append(entry)

    def make_policy(self, witnesses: int = 3, also: Sequence[LogKeys] = ()) -> bytes:
        keys = [key for each in (self.keys, *also) for key in each.verifier_keys]
        members = [
            (NodeId(name), witness.verifier_keys[1])
            for name, witness in zip(self.names[:witnesses], self.witnesses[:witnesses], strict=True)
        ]
        self.policy = members_policy(keys, members)
        self.policy_version += 1
        self.append([PolicyEntry(self.policy_version, self.now, self.policy).encode()])
        return self.policy

    def rules(self) -> None:
        self.append([Rules(self.now, {"quota_all": 40_000, "quota_w": 10_000}).encode()])

    def _members(self) -> None:
        for name, witness in zip(self.names, self.witnesses, strict=True):
            party = self.parties[name]
            keys = WitnessKeyStatement(
                FEDERATION, party.node, witness.verifier_keys[0].key, witness.verifier_keys[1].key, NOW
            )
            handed_in = party.signing.sign("witness-key", keys.encode())
            self.append([member_entry(party.member()).encode()])
            self.append([Statement("witness-key", handed_in).encode()])
            self.append([head_entry(self.heads[name]).encode()])

    def head(self, name: str) -> None:
        """The next head of a member."""
        party = self.parties[name]
        party.sequence += 1
        self.heads[name] = party.signed_head()
        self.append([head_entry(self.heads[name]).encode()])

    def deny(self, serial: int) -> None:
        self.denied.append(serial)
        self.append([Denied(serial, NodeId("beta"), self.now).encode()])

    def directory(self, version: int) -> Directory:
        members = [replace(self.parties[name].member(), head=self.heads[name]) for name in self.names]
        return Directory(
            FEDERATION, version, self.now, tuple(members), tuple(sorted(self.denied)), Digest(bytes(32))
        )

    def direct(self, version: int | None = None) -> None:
        self.directory_version = self.directory_version + 1 if version is None else version
        directory = self.directory(self.directory_version)
        self.append([DirectoryEntry(directory.version, self.now, bytes(32), state_of(directory)).encode()])

    def mail(self, lookups: int, others: int = 1) -> None:
        for make, number in ((Requests, lookups), (Receipts, others)):
            if number:
                commitments = tuple(sorted(secrets.token_bytes(32) for _ in range(number)))
                self.append([make(commitments).encode()])

    def beat(self, name: str, end: int, bits: Sequence[bool], **changes: object) -> None:
        number, start = self.beats[name]
        heartbeat = Heartbeat(
            FEDERATION, NodeId(name), self.origin, number + 1, start, end, received_bits(bits),
            5, 1, 10, bytes(32), self.now,
        )  # fmt: skip
        heartbeat = replace(heartbeat, **changes)  # type: ignore[arg-type]  # names checked at run time
        self.beats[name] = (number + 1, end)
        signed = self.parties[name].signing.sign("heartbeat", heartbeat.encode())
        self.append([Statement("heartbeat", signed).encode()])

    def adopt(self, name: str, statement: SignedStatement) -> None:
        self.append([Statement("pack-adoption", statement).encode()])

    # --- files ---------------------------------------------------------------------------------------------

    def write(self, path: str, octets: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(octets)

    def publish(self, witnesses: Sequence[int] = (0, 1, 2), minutes: int = 1) -> SignedCheckpoint:
        """Write tiles and bundles for what was appended, sign, have it witnessed, and show the head."""
        self.now += minutes * MINUTE
        size, before = len(self.entries), self.written
        grown = tiles.grown_tiles(
            self.tiles, before, [merkle.leaf_hash(entry) for entry in self.entries[before:]]
        )
        for level, index, width, octets in grown:
            self.tiles.held[level, index] = octets
            self.write(f"{self.shard}/{tiles.tile_path(level, index, width)}", octets)
            if level == 0:
                held = self.entries[256 * index : 256 * index + width]
                self.write(f"{self.shard}/{tiles.bundle_path(index, width)}", tiles.encode_bundle(held))
        self.written = size
        signed = self.sign(witnesses)
        self.show(signed)
        return signed

    def sign(self, witnesses: Sequence[int] = (0, 1, 2), size: int | None = None) -> SignedCheckpoint:
        entries = self.entries[:size]
        checkpoint = Checkpoint(self.origin, len(entries), merkle.root(entries))
        signed = self.keys.sign(checkpoint, self.now)
        for number in witnesses:
            signed = signed.with_signatures(self.witnesses[number].cosign(checkpoint, self.now))
        return signed

    def show(self, signed: SignedCheckpoint) -> None:
        self.write(f"{self.shard}/signed", signed.encode())
        self.write(f"{self.shard}/checkpoint", signed.encode())
        self.sizes[-1] = (self.origin, signed.checkpoint.size)
        self.write("shards", "".join(f"{origin} {size}\n" for origin, size in self.sizes).encode())

    def keep(self, path: str, signed: SignedCheckpoint) -> None:
        """Besides the newest: `policy/2`, `draw/2026-03`."""
        self.write(f"{self.shard}/{path}", signed.encode())

    def rotate(self) -> None:
        """End the shard, and open the next one."""
        keys = LogKeys.generate(log_origin(FEDERATION, self.shard + 1))
        self.make_policy(also=[keys])
        self.keep(f"policy/{self.policy_version}", self.publish())
        ed25519, ml_dsa = (key.key for key in keys.verifier_keys)
        self.append([Closed(self.now, log_origin(FEDERATION, self.shard + 1), ed25519, ml_dsa).encode()])
        self.publish()
        root, size = merkle.root(self.entries), len(self.entries)
        self._begin(keys, self.state.successor(root))
        previous = log_origin(FEDERATION, self.shard - 1)
        self.append([Opened(FEDERATION, self.shard, self.now, previous, size, root).encode()])
        self.append([PolicyEntry(self.policy_version, self.now, self.policy).encode()])
        self.rules()
        self._members()
        for serial in self.denied:
            self.append([Denied(serial, NodeId("beta"), self.now).encode()])
        self.direct(self.directory_version)
        self.beats = dict.fromkeys(self.names, (-1, 0))
        self.publish()


def tiny(folder: Path) -> ServedLog:
    """One member, no witnesses, eleven entries: small enough to try every change of it."""
    log = ServedLog(folder, names=("alpha",))
    log.mail(2)
    log.deny(7)
    log.keep("draw/2026-03", log.publish(witnesses=()))
    return log


def small(folder: Path) -> ServedLog:
    """Two shards, two policies, heartbeats, a denied certificate, a draw: fewer than a hundred entries."""
    log = ServedLog(folder)
    log.make_policy()
    log.keep("policy/2", log.publish(witnesses=()))
    log.mail(3)
    log.deny(0x1234)
    log.head("alpha")
    log.direct()
    log.keep("draw/2026-03", log.publish())
    log.beat("alpha", 18, [True, True, True])
    log.mail(2, 0)
    log.publish()
    log.rotate()
    log.mail(1)
    log.publish()
    return log
