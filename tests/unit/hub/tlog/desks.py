"""The hub's log over a real database and real files, without a network; `tests.logs` reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from candor_hub.places import log_files, vault
from candor_hub.store.log import ShardRecord
from candor_hub.tlog import start
from candor_hub.tlog.appender import Appended, Appender
from candor_hub.tlog.files import Disk, LogFiles
from candor_hub.tlog.pages import Pages
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.rotation import Rotation
from candor_hub.tlog.statements import Statements
from candor_hub.tlog.witnessed import Taken, Witnessed
from candor_proto.directory import Member as DirectoryMember
from candor_proto.signing import SignedStatement
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.statements import WITNESS_KEY, WitnessKeyStatement, witness_name
from tests.hub_members import FEDERATION, Member
from tests.logs import Reading, read_log
from tests.unit.hub.offices import Office, office


@dataclass
class LogDesk:
    """The parts of a sequencer, each step by hand; `witnesses` are the keys of members."""

    hub: Office
    files: LogFiles
    ring: KeyRing
    appender: Appender
    witnessed: Witnessed
    pages: Pages
    rotation: Rotation
    statements: Statements
    witnesses: dict[str, WitnessKeys] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.hub.clock.now()

    def shards(self) -> tuple[ShardRecord, ...]:
        with self.hub.store.read() as tx:
            return tx.log.shards()

    def shard(self) -> ShardRecord:
        """The one that was signed last."""
        return [shard for shard in self.shards() if shard.signed][-1]

    def append(self) -> Appended | None:
        """Append all that waits, and show it."""
        last = None
        while (appended := self.appender.append(self.now, all_of_it=True)) is not None:
            last = appended
            self.pages.show(self.shards())
        return last

    def cosigned(self, names: Sequence[str]) -> SignedCheckpoint:
        """The newest signed head with the cosignatures of these members."""
        signed = parse_checkpoint(self.shard().signed)
        lines = [line for name in names for line in self.witnesses[name].cosign(signed.checkpoint, self.now)]
        return signed.with_signatures(lines)

    def witness(self, *names: str) -> Taken | None:
        """Take up the newest head with the cosignatures of these members, or of all."""
        signed = self.cosigned(names or tuple(self.witnesses))
        taken = self.witnessed.take(self.shard().shard, signed, self.now)
        if taken is not None:
            self.pages.show(taken.shards, taken.kept)
        return taken

    def settle(self) -> None:
        """Append and witness until nothing is left to do."""
        while True:
            moved = self.append() is not None
            moved = self.rotation.step(self.now) is not None or moved
            self.pages.show(self.shards())
            before = self.progress()
            self.witness()
            if not moved and before == self.progress() and not self.waiting():
                break
        for shard in self.shards():
            start.prune(self.files, shard, 0, shard.size)

    def progress(self) -> list[tuple[int, int, bool]]:
        return [(shard.size, shard.witnessed_size, shard.closed) for shard in self.shards()]

    def waiting(self) -> int:
        with self.hub.store.read() as tx:
            return tx.log.waiting_count()

    def entry(self, member: Member) -> DirectoryMember:
        return self.hub.directory.latest().view.member(member.node)

    def join(self, names: Sequence[str]) -> list[Member]:
        """Members of these names, each of whom witnesses the log; all of it is appended."""
        members = [self.hub.join(name) for name in names]
        self.settle()
        for member in members:
            self.make_witness(member)
        self.settle()
        return members

    def make_witness(self, member: Member) -> WitnessKeys:
        """Hand in a witness key of `member`."""
        keys = WitnessKeys.generate(witness_name(FEDERATION, member.node))
        statement = self.witness_statement(member, keys)
        self.statements.put(WITNESS_KEY, statement, self.entry(member), self.now)
        self.witnesses[str(member.node)] = keys
        return keys

    def witness_statement(self, member: Member, keys: WitnessKeys) -> SignedStatement:
        ed25519, ml_dsa = (key.key for key in keys.verifier_keys)
        said = WitnessKeyStatement(FEDERATION, member.node, ed25519, ml_dsa, self.now)
        return member.signing_key.sign(WITNESS_KEY, said.encode())

    def read(self, name: str = "checkpoint") -> Reading:
        """All of it as it is served, checked by somebody who believes nothing but the keys of shard 1."""
        return read_log(
            lambda path: self.pages.get(path).octets, self.shards()[0].verifier_keys, self.now, name
        )

    def check_start(self) -> None:
        start.check_start(self.files, self.shards())


def desk_over(hub: Office, disk: Disk | None = None) -> LogDesk:
    """The log of a hub that is there."""
    files = log_files(hub.config, hub.store, disk=disk)
    ring = KeyRing(vault(hub.config, hub.store), hub.config.federation)
    appender = Appender(hub.store, files, ring, hub.config.federation)
    pages = Pages(files)
    with hub.store.read() as tx:
        pages.load(tx)
    return LogDesk(
        hub,
        files,
        ring,
        appender,
        Witnessed(hub.store, hub.config.federation),
        pages,
        Rotation(hub.store, ring, appender, hub.config.federation),
        Statements(hub.store, files, hub.config.federation),
    )


@contextmanager
def log_desk(folder: Path, disk: Disk | None = None) -> Iterator[LogDesk]:
    """A new hub in `folder`, and its log."""
    with office(folder) as hub:
        yield desk_over(hub, disk)
