"""Appending (docs/protocol.md §14.6): what waits is logged once, in order, and read by somebody else."""

from __future__ import annotations

from pathlib import Path

from candor_proto.directory import MemberStatus
from candor_proto.segment import address
from candor_proto.tlog.entries import (
    Denied,
    DirectoryEntry,
    HeadEntry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
)
from candor_proto.tlog.state import state_of
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
