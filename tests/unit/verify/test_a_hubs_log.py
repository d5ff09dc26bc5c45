"""A hub's own log, read by the verifier: from its folder, and as it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from candor_hub.tlog.rotation import ask_for
from candor_proto.errors import UnknownObject
from candor_proto.tlog.entries import PolicyEntry
from candor_verify.log import check_log
from candor_verify.policy import parse_policy
from candor_verify.report import Report
from candor_verify.source import FolderSource, Source
from tests.unit.hub.tlog.desks import LogDesk, log_desk


class PagesSource:
    """What the hub shows to anybody."""

    where = "hub"
    live = True

    def __init__(self, desk: LogDesk) -> None:
        self._desk = desk

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            return self._desk.pages.get(path).octets[: limit + 1]
        except UnknownObject:
            return None

    def names(self, folder: str) -> list[str]:
        return []

    def files(self) -> Iterator[str]:
        return iter(())


def check(source: Source, desk: LogDesk) -> Report:
    report = Report("hub")
    entries = desk.read().entries
    policy = next(entry for entry in entries if isinstance(entry, PolicyEntry))
    check_log(source, parse_policy(policy.text), desk.now, report)
    return report


def test_a_hubs_log_verifies(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        hub = desk.hub
        members = desk.join(("alpha", "bravo", "carol"))
        lookup = members[0].lookup(members)
        hub.submit(lookup, members[0])
        hub.submit(members[1].answer(lookup), members[1])
        desk.settle()
        hub.directory.revoke(members[2].node, desk.now)
        desk.settle()
        for source in (FolderSource(hub.config.log), PagesSource(desk)):
            report = check(source, desk)
            assert report.findings == [], report.text()
            assert report.counts["lookups"] == 1


def test_a_hubs_log_of_several_shards_verifies(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        hub = desk.hub
        members = desk.join(("alpha", "bravo", "carol"))
        for shard in (2, 3):
            hub.submit(members[0].lookup(members), members[0])
            with hub.store.write() as tx:
                assert ask_for(tx) == shard - 1
            desk.settle()
            hub.submit(members[1].lookup(members), members[1])
            desk.settle()
        for source in (FolderSource(hub.config.log), PagesSource(desk)):
            report = check(source, desk)
            assert report.findings == [], report.text()
            assert report.counts["lookups"] == 4
            assert "Federation: demo-exchange.example; shards: 3" in report.text()
