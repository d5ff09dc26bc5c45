"""The log as a hub that lies could have made it: its keys, the entries it wants, whoever witnesses for it.

    log = ForgedLog.of(world)              # the honest one so far
    log.force(entry)                       # an entry that an honest hub would not append
    log.publish(now, "bravo", "charlie")   # a head with these members' cosignatures
    log.serve(world, to="alpha")

What the hub's honest half has written is not touched: to others it goes on serving that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.ring import KeyRing
from candor_hub.vault import FolderVault
from candor_node.directory_store import FetchedDirectory
from candor_node.tlog import witness_store
from candor_proto import merkle
from candor_proto.directory import Directory
from candor_proto.errors import UnknownObject
from candor_proto.merkle import leaf_hash
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import DirectoryEntry, head_entry
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.state import state_of
from candor_wire import codec
from candor_wire.v1 import hub_pb2
from tests.byzantine.hub import Serve
from tests.byzantine.world import World
from tests.log_scene import MemoryTiles
from tests.simulator.network import refusal
from tests.simulator.template import FEDERATION

# A file of the log as it is served, by its path below the shard; None: there is none.
Alter = Callable[[str, bytes], bytes | None]


class ForgedLog:
    """Shard 1. `witnesses` are the members' keys: whoever's are used helps the hub."""

    def __init__(self, keys: LogKeys, entries: list[bytes], witnesses: dict[str, WitnessKeys]) -> None:
        self.keys = keys
        self.witnesses = witnesses
        self.entries: list[bytes] = []
        self.tiles = MemoryTiles()
        self.files: dict[str, bytes] = {}
        self.federation = FEDERATION
        self.alter: Alter = lambda path, octets: octets
        self.force(*entries)

    @classmethod
    def of(cls, world: World) -> ForgedLog:
        """The honest log up to its newest witnessed head."""
        config = world.hub.config
        files = LogFiles(config.log)
        head = witnessed(world)
        entries = list(files.shard(1).entries(0, head.checkpoint.size))
        keys = KeyRing(FolderVault(config.keys), config.federation)._read(1)
        witnesses = {}
        for party in world.fed.parties:
            found = party.node.store.run_sync(witness_store.keys)
            assert found is not None
            witnesses[party.name] = found
        return cls(keys, entries, witnesses)

    def fork(self) -> ForgedLog:
        """The same entries, from here on apart."""
        return ForgedLog(self.keys, list(self.entries), self.witnesses)

    # --- entries -----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return len(self.entries)

    def force(self, *entries: bytes) -> None:
        """Append these, whatever they are."""
        self.tiles.append(self.size, [leaf_hash(entry) for entry in entries])
        self.entries += entries

    def append(self, *values: Any) -> None:
        self.force(*(value.encode() for value in values))

    def hold(self, directory: Directory) -> None:
        """The entries of this directory: heads that are new in it, and its version."""
        held = set(self.entries)
        heads = [head_entry(member.head).encode() for member in directory.members if member.head]
        self.force(*(entry for entry in heads if entry not in held))
        chain, state = directory.chain_digest.value, state_of(directory)
        self.append(DirectoryEntry(directory.version, directory.issued_at, chain, state))

    # --- heads -------------------------------------------------------------------------------------------

    def head(self, now: datetime, *witnesses: str, size: int | None = None) -> SignedCheckpoint:
        """A head over the first `size` entries, signed by the log and cosigned by these members."""
        covered = self.entries[: self.size if size is None else size]
        signed = self.keys.sign(Checkpoint(self.keys.origin, len(covered), merkle.root(covered)), now)
        for name in witnesses:
            signed = signed.with_signatures(self.witnesses[name].cosign(signed.checkpoint, now))
        return signed

    def publish(self, now: datetime, *witnesses: str, size: int | None = None) -> SignedCheckpoint:
        """Serve such a head as the newest one."""
        signed = self.head(now, *witnesses, size=size)
        self.show(signed)
        return signed

    def show(self, signed: SignedCheckpoint) -> None:
        self.files["checkpoint"] = self.files["signed"] = signed.encode()

    # --- serving -----------------------------------------------------------------------------------------

    def serve(self, world: World, to: str = "alpha") -> None:
        """In place of the honest log, to one node (or all, if none is named)."""

        async def reply(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            path = hub_pb2.GetLogRequest.FromString(parts[0]).path
            if to not in ("", party) or not path.startswith("1/"):
                return await serve(parts)
            octets = self.file(path.removeprefix("1/"))
            if octets is None:
                # What is not forged is the honest one's: the heads of policies.
                return await serve(parts)
            altered = self.alter(path.removeprefix("1/"), octets)
            if altered is None:
                raise refusal(UnknownObject("There is no such file."))
            return [
                hub_pb2.GetLogResponse(chunk=chunk).SerializeToString() for chunk in codec.chunks(altered)
            ]

        world.lies.replies["GetLog"] = reply

    def file(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        if not path.startswith("tile/"):
            return None
        level, index, width = tiles.parse_path(path)
        if level is not None:
            return self.tiles.tile(level, index, width)
        return tiles.encode_bundle(self.entries[index * 256 : index * 256 + width])


async def logged_and_shown(world: World, fetched: FetchedDirectory) -> None:
    """To alpha: a directory, and a log that holds it, with what members were needed as witnesses."""
    log = ForgedLog.of(world)
    log.hold(Directory.decode(fetched.statement.body))
    log.publish(world.fed.clock.now(), "bravo", "charlie")
    log.serve(world)
    world.lies.show_directory(fetched, to="alpha")
    await world.follow()
    await world.refresh()


def witnessed(world: World) -> SignedCheckpoint:
    """The newest head that the hub shows."""
    return parse_checkpoint(world.hub.log.get("1/checkpoint").octets)


def altering(alter: Alter) -> Callable[[World], None]:
    """The honest log, with some of its files altered on the way to alpha."""

    def begin(world: World) -> None:
        async def reply(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            path = hub_pb2.GetLogRequest.FromString(parts[0]).path
            served = await serve(parts)
            if party != "alpha":
                return served
            octets = b"".join(hub_pb2.GetLogResponse.FromString(each).chunk for each in served)
            altered = alter(path.partition("/")[2], octets)
            if altered is None:
                raise refusal(UnknownObject("There is no such file."))
            return [
                hub_pb2.GetLogResponse(chunk=chunk).SerializeToString() for chunk in codec.chunks(altered)
            ]

        world.lies.replies["GetLog"] = reply

    return begin
