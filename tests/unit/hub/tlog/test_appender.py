"""Appending (docs/protocol.md §14.6): what waits is logged once, in order, and read by somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor_hub.tlog.files import Disk
from candor_proto.directory import MemberStatus
from candor_proto.errors import LogInconsistent, StoreUnusable, UnknownObject
from candor_proto.ids import NodeId
from candor_proto.segment import address
from candor_proto.signing import SignedStatement
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import (
    Denied,
    DirectoryEntry,
    HeadEntry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Statement,
)
from candor_proto.tlog.signatures import WitnessKeys, verify_log
from candor_proto.tlog.state import state_of
from candor_proto.tlog.tiles import tile_path
from tests.unit.hub.tlog.desks import log_desk


def test_a_federation_is_logged_as_it_grows(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        hub = desk.hub
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        segment = alpha.segment()
        hub.index.put_segment(address(segment), segment, alpha.node, desk.now)
        statement = alpha.signing_key.sign("index-head", alpha.head([segment]).encode())
        hub.index.put_head(statement, desk.entry(alpha), desk.now)
        lookup = alpha.lookup([alpha, bravo])
        hub.submit(lookup, alpha)
        hub.submit(bravo.answer(lookup), bravo)
        hub.directory.revoke(bravo.node, desk.now)
        desk.settle()
        reading = desk.read()
        kinds = [type(entry) for entry in reading.entries]
        assert kinds[:2] == [Opened, PolicyEntry]
        assert kinds.count(MemberEntry) == 3  # two joined, one was suspended
        assert kinds.count(HeadEntry) == 1
        assert kinds.count(Denied) == 1
        assert kinds.count(Requests) == kinds.count(Receipts) == 1
        latest = hub.directory.latest()
        entry = reading.last.state.directory
        assert isinstance(entry, DirectoryEntry)
        assert entry.version == latest.version
        assert entry.state == state_of(latest.view.directory)
        assert latest.view.member(bravo.node).status is MemberStatus.SUSPENDED
        assert desk.waiting() == 0


# --- what is signed ------------------------------------------------------------------------------------


class LyingDisk(Disk):
    """Says that it has written, and has written something else."""

    def __init__(self, part: str) -> None:
        self.part = part

    def write(self, path: Path, octets: bytes, *, durable: bool) -> None:
        lies = durable and self.part in str(path)
        super().write(path, octets[:-1] + bytes([octets[-1] ^ 1]) if lies else octets, durable=durable)


@pytest.mark.parametrize("part", ["tile/entries", "tile/0", "tile/1"])
def test_nothing_is_signed_that_was_not_read_back(tmp_path: Path, part: str) -> None:
    disk = LyingDisk("no such part")
    with log_desk(tmp_path, disk) as desk:
        desk.hub.join("alpha")
        desk.append()
        while (size := desk.shard().size) < 254:
            # Each appends an entry or two; many go into one append while there is room for them.
            for _ in range(max(1, (250 - size) // 2)):
                desk.hub.directory.set_status(NodeId("alpha"), MemberStatus.ACTIVE, desk.now)
            desk.append()
        before, disk.part = desk.shard(), part
        for status in (MemberStatus.SUSPENDED, MemberStatus.ACTIVE):
            desk.hub.directory.set_status(NodeId("alpha"), status, desk.now)
        waiting = desk.waiting()
        with pytest.raises(StoreUnusable, match="not what was written"):
            desk.append()
        assert (desk.shard().signed, desk.waiting()) == (before.signed, waiting)
        disk.part = "no such part"
        desk.settle()
        desk.read()


def test_a_tile_behind_the_signed_size_is_not_shown(tmp_path: Path) -> None:
    """An append that was interrupted may be made otherwise: a tile is for ever to whoever fetched it."""
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        size = desk.shard().size
        octets = desk.pages.get(f"1/{tile_path(0, 0, size)}").octets
        desk.files.write({f"1/{tile_path(0, 0, size + 1)}": octets + bytes(32)})
        with pytest.raises(UnknownObject):
            desk.pages.get(f"1/{tile_path(0, 0, size + 1)}")
        assert desk.pages.get(f"1/{tile_path(0, 0, size - 1)}").octets == octets[:-32]


def test_times_of_signing_never_go_back(tmp_path: Path) -> None:
    """A later time with a smaller size would be evidence against this hub (§17.1 rolled-back-log)."""
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.append()
        first = verify_log(parse_checkpoint(desk.shard().signed), desk.shard().verifier_keys)
        desk.hub.clock.advance(hours=-3)
        desk.hub.directory.set_status(NodeId("alpha"), MemberStatus.SUSPENDED, desk.now)
        desk.append()
        second = verify_log(parse_checkpoint(desk.shard().signed), desk.shard().verifier_keys)
        again = desk.appender.sign_again(desk.now)
        assert again is not None
        assert first <= second <= verify_log(again.signed, desk.shard().verifier_keys)


def test_a_checkpoint_is_signed_again_without_new_entries(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        assert desk.appender.sign_again(desk.now) is None
        desk.settle()
        before = desk.shard()
        desk.hub.clock.advance(minutes=10)
        again = desk.appender.sign_again(desk.now)
        assert again is not None
        assert again.signed.checkpoint == parse_checkpoint(before.signed).checkpoint
        assert desk.shard().signed_at > before.signed_at


# --- what is refused -----------------------------------------------------------------------------------


def test_a_statement_that_breaks_a_rule_stops_nothing(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        alpha = desk.hub.join("alpha")
        desk.settle()
        keys = WitnessKeys.generate("witness")
        bad = desk.witness_statement(alpha, keys)
        entry = Statement("witness-key", SignedStatement(bad.body, bytes(64))).encode()
        with desk.hub.store.write() as tx:
            tx.log.wait([(Statement.KIND, entry)], desk.now)
        desk.hub.join("bravo")
        desk.settle()
        reading = desk.read()
        assert reading.of(Statement) == []
        assert NodeId("bravo") in reading.last.state.nodes


def test_what_everybody_would_refuse_is_not_signed(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        before = desk.shard()
        false = DirectoryEntry(desk.hub.directory.latest().version + 1, desk.now, bytes(32), bytes(32))
        with desk.hub.store.write() as tx:
            tx.log.wait([(DirectoryEntry.KIND, false.encode())], desk.now)
        with pytest.raises(LogInconsistent):
            desk.append()
        assert desk.shard().signed == before.signed


def test_two_that_append_at_once_do_not_fork_the_log(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        shard = desk.shard()
        with pytest.raises(StoreUnusable, match="Somebody else"), desk.hub.store.write() as tx:
            tx.log.set_signed(1, shard.size - 1, shard.range, b"another", desk.now, False)
        assert desk.shard() == shard


def test_commitments_wait_for_company_and_not_for_long(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        alpha = desk.hub.join("alpha")
        desk.settle()
        for _ in range(3):
            desk.hub.submit(alpha.lookup([alpha]), alpha)
        assert desk.appender.append(desk.now) is None
        desk.hub.clock.advance(seconds=0.5)
        assert desk.appender.append(desk.now) is not None
        desk.settle()
        (entry,) = desk.read().of(Requests)
        assert len(entry.commitments) == 3  # type: ignore[union-attr]
        # A clock that was set back does not keep them for ever.
        desk.hub.submit(alpha.lookup([alpha]), alpha)
        desk.hub.clock.advance(hours=-1)
        assert desk.appender.append(desk.now) is not None
