"""A log in memory for tests of the core: keys, witnesses, a policy, tiles, checkpoints and proofs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_proto import merkle
from candor_proto.errors import UnknownObject
from candor_proto.ids import NodeId
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import log_origin
from candor_proto.tlog.policy import Policy, members_policy, parse_policy
from candor_proto.tlog.proof import LogProof
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.statements import witness_name
from tests.parties import FEDERATION, NOW

HASH = merkle.HASH_OCTETS


class MemoryTiles:
    """Tiles as files would hold them: the newest octets of each."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], bytes] = {}
        self.reads: list[tuple[int, int, int]] = []

    def tile(self, level: int, index: int, width: int) -> bytes:
        self.reads.append((level, index, width))
        octets = self.held.get((level, index), b"")
        if len(octets) < width * HASH:
            raise UnknownObject("No such tile.")
        return octets[: width * HASH]

    def append(self, size: int, leaf_hashes: Sequence[bytes]) -> None:
        for level, index, _, octets in tiles.grown_tiles(self, size, leaf_hashes):
            self.held[level, index] = octets


@dataclass
class LogScene:
    """A shard with three member witnesses, of which two make the quorum."""

    shard: int = 1
    names: tuple[str, ...] = ("alpha", "beta", "gamma")
    entries: list[bytes] = field(default_factory=list)
    tiles: MemoryTiles = field(default_factory=MemoryTiles)

    def __post_init__(self) -> None:
        self.origin = log_origin(FEDERATION, self.shard)
        self.keys = LogKeys.generate(self.origin)
        self.witnesses = [WitnessKeys.generate(witness_name(FEDERATION, NodeId(name))) for name in self.names]
        kept, self.entries = self.entries, []
        self.append(kept)

    @property
    def policy(self) -> Policy:
        members = [
            (NodeId(name), keys.verifier_keys[1])
            for name, keys in zip(self.names, self.witnesses, strict=True)
        ]
        return parse_policy(members_policy(self.keys.verifier_keys, members))

    def append(self, entries: Iterable[bytes]) -> None:
        added = list(entries)
        self.tiles.append(len(self.entries), [merkle.leaf_hash(entry) for entry in added])
        self.entries += added

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        covered = self.entries[: len(self.entries) if size is None else size]
        return Checkpoint(self.origin, len(covered), merkle.root(covered))

    def signed(self, size: int | None = None, now: datetime = NOW) -> SignedCheckpoint:
        """Signed by the log alone."""
        return self.keys.sign(self.checkpoint(size), now)

    def cosigned(
        self, size: int | None = None, now: datetime = NOW, witnesses: Sequence[int] | None = None
    ) -> SignedCheckpoint:
        """Signed by the log and, all or these of, its witnesses with both kinds of key."""
        signed = self.signed(size, now)
        for number in range(len(self.witnesses)) if witnesses is None else witnesses:
            signed = signed.with_signatures(self.witnesses[number].cosign(signed.checkpoint, now))
        return signed

    def proof(self, index: int, size: int | None = None, now: datetime = NOW) -> LogProof:
        signed = self.policy.knows(self.cosigned(size, now))
        return LogProof(index, tiles.inclusion_proof(self.tiles, index, signed.checkpoint.size), signed)
