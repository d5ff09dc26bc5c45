"""The log of a hub as somebody reads it who trusts nobody: from the octets that are served, by public keys.

    reading = read_log(pages.get, policy)
    reading.entries, reading.state, reading.signed

Everything is checked on the way: signatures, quorum, every hash, every rule of docs/protocol.md §14.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from candor_hub.tlog.files import LogFiles
from candor_proto.errors import UnknownObject
from candor_proto.ids import FederationName
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import Closed, Entry, PolicyEntry
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState
from candor_proto.tlog.tiles import TILE_WIDTH, bundle_path, decode_bundle, tile_path, tree_root

Get = Callable[[str], bytes]


@dataclass
class Shard:
    """One shard, read and checked."""

    number: int
    signed: SignedCheckpoint
    octets: list[bytes]
    entries: list[Entry]
    state: LogState
    range: CompactRange


@dataclass
class Reading:
    """The whole log, shard after shard, and the policy that it ends with."""

    shards: list[Shard] = field(default_factory=list)
    policy: Policy | None = None
    time_of_witness: datetime | None = None

    @property
    def entries(self) -> list[Entry]:
        return [entry for shard in self.shards for entry in shard.entries]

    @property
    def last(self) -> Shard:
        return self.shards[-1]

    def of(self, kind: type) -> list[Entry]:
        return [entry for entry in self.entries if isinstance(entry, kind)]


class Tiles:
    """A TileReader over what is served."""

    def __init__(self, get: Get, shard: int) -> None:
        self._get = get
        self._shard = shard

    def tile(self, level: int, index: int, width: int) -> bytes:
        return self._get(f"{self._shard}/{tile_path(level, index, width)}")


def folder_get(folder: Path, texts: Mapping[str, bytes]) -> Get:
    """As it is served by a hub that has this folder, with `texts` in the place of files."""
    return files_get(LogFiles(folder), texts)


def files_get(files: LogFiles, texts: Mapping[str, bytes]) -> Get:
    """As `folder_get`, wherever the files are."""

    def get(path: str) -> bytes:
        shard, _, name = path.partition("/")
        if path in texts or not name.startswith("tile/"):
            return texts[path] if path in texts else files.read(path)
        return files.shard(int(shard)).get(name, 1 << 62)

    return get


def read_entries(get: Get, shard: int, size: int) -> list[bytes]:
    found: list[bytes] = []
    for index in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        found += decode_bundle(get(f"{shard}/{bundle_path(index, width)}"), width)
    return found


def read_log(get: Get, keys: tuple[VerifierKey, ...], now: datetime, name: str = "checkpoint") -> Reading:
    """Read every shard up to its file `name`; `keys` are those of shard 1, and all that is believed."""
    reading = Reading()
    federation = keys[0].name.removesuffix("/log/1")
    state = LogState.first(FederationName(federation))
    number = 1
    while True:
        try:
            signed = parse_checkpoint(get(f"{number}/{name}"))
        except UnknownObject:
            return reading
        verify_log(signed, keys)
        octets = read_entries(get, number, signed.checkpoint.size)
        range_ = CompactRange.EMPTY.extend(map(leaf_hash, octets))
        assert range_.root() == signed.checkpoint.root
        assert tree_root(Tiles(get, number), signed.checkpoint.size) == signed.checkpoint.root
        entries = [state.apply(index, entry) for index, entry in enumerate(octets)]
        for index, entry in enumerate(entries):
            if isinstance(entry, PolicyEntry):
                _take_policy(reading, get, number, index, entry, now)
        if name == "checkpoint":
            assert reading.policy is not None
            reading.time_of_witness = reading.policy.verify(signed, now)
        reading.shards.append(Shard(number, signed, octets, entries, state, range_))
        if not entries or not isinstance(entries[-1], Closed):
            return reading
        assert state.next_keys is not None
        keys = state.next_keys
        state = state.successor(range_.root())
        number += 1


def _take_policy(
    reading: Reading, get: Get, shard: int, index: int, entry: PolicyEntry, now: datetime
) -> None:
    """A policy is in force once a head covers it that satisfies the one before (§15.4)."""
    policy = parse_policy(entry.text)
    if reading.policy is not None and entry.text != reading.policy.text:
        try:
            kept = parse_checkpoint(get(f"{shard}/policy/{entry.version}"))
        except UnknownObject:
            return  # it waits for its quorum
        assert kept.checkpoint.size > index
        reading.policy.verify(kept, now)
    reading.policy = policy
