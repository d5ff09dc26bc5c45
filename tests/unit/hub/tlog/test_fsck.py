"""`candor-hub log fsck`: every change of every file is found, and only what can be made again is repaired."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.fsck import Report, fsck
from candor_hub.tlog.rotation import ask_for
from candor_proto.directory import MemberStatus
from tests.hub_members import FEDERATION
from tests.unit.hub.tlog.desks import LogDesk, log_desk

MEMBERS = ("alpha", "bravo", "charlie")


@dataclass
class Site:
    """A log of two shards, witnessed by three members, with all kinds of files."""

    desk: LogDesk

    @property
    def folder(self) -> Path:
        return self.desk.hub.config.log

    def check(self, *, repair: bool = False) -> Report:
        return fsck(self.desk.hub.store, LogFiles(self.folder), FEDERATION, repair=repair)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with log_desk(tmp_path_factory.mktemp("fsck")) as desk:
        grow(desk)
        yield Site(desk)


def grow(desk: LogDesk) -> None:
    hub = desk.hub
    members = desk.join(MEMBERS)
    for _ in range(70):
        for status in (MemberStatus.SUSPENDED, MemberStatus.ACTIVE):
            hub.directory.set_status(members[0].node, status, desk.now)
    hub.submit(members[0].lookup(members), members[0])
    desk.settle()
    with hub.store.write() as tx:
        ask_for(tx)
    desk.settle()
    hub.directory.set_status(members[0].node, MemberStatus.SUSPENDED, desk.now)
    desk.settle()


@pytest.fixture
def site(whole: Site, tmp_path: Path) -> Iterator[Site]:
    """The files may be changed: they are put back."""
    kept = tmp_path / "kept"
    shutil.copytree(whole.folder, kept)
    yield whole
    shutil.rmtree(whole.folder)
    shutil.copytree(kept, whole.folder)


def flipped(octets: bytes, at: int, bits: int = 1) -> bytes:
    return octets[:at] + bytes([octets[at] ^ bits]) + octets[at + 1 :]


def test_a_log_in_order_has_no_findings(site: Site) -> None:
    report = site.check()
    assert report.findings == []
    assert (report.shards, report.entries) == (2, sum(shard.size for shard in site.desk.shards()))
    assert report.entries > 256
    names = {path.relative_to(site.folder).parts[1] for path in site.files() if path.parent != site.folder}
    assert names == {"checkpoint", "signed", "tile", "policy", "draw"}


def test_every_single_octet_of_every_file_matters(site: Site) -> None:
    """Each file once at random places, small ones at many: a flipped bit, and a lost and an added octet."""
    draw = random.Random(7)
    tried = 0
    for path in site.files():
        octets = path.read_bytes()
        places = {0, len(octets) - 1} | {draw.randrange(len(octets)) for _ in range(4)}
        changes = [
            octets[:at] + bytes([octets[at] ^ 1 << draw.randrange(8)]) + octets[at + 1 :] for at in places
        ]
        changes += [octets[:-1], octets + b"\n", b""]
        for changed in changes:
            path.write_bytes(changed)
            assert not site.check().good, f"{path}: a change was not found"
            tried += 1
        path.write_bytes(octets)
    assert tried > 120
    assert site.check().good


def test_a_missing_file_is_found(site: Site) -> None:
    for path in site.files():
        octets = path.read_bytes()
        path.unlink()
        assert not site.check().good, path
        path.write_bytes(octets)


def test_two_files_in_each_others_place_are_found(site: Site) -> None:
    tiles = [path for path in site.files() if "tile" in path.parts and "entries" not in path.parts]
    first, second = tiles[0], tiles[-1]
    octets = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(octets)
    assert not site.check().good


def test_what_can_be_made_again_is_and_entries_never(site: Site) -> None:
    draw = random.Random(11)
    for path in site.files():
        octets = path.read_bytes()
        at = draw.randrange(len(octets))
        path.write_bytes(flipped(octets, at))
        entries = "entries" in path.parts
        report = site.check(repair=True)
        if entries:
            assert not report.good, path
            assert path.read_bytes() != octets
            path.write_bytes(octets)
        else:
            assert report.good, (path, report.findings)
        assert site.check().good, path


def test_tiles_are_not_made_of_entries_that_were_not_signed(site: Site) -> None:
    """Somebody changes an entry and its hash: neither is taken for the truth."""
    (bundle,) = site.folder.glob("2/tile/entries/000.p/*")
    octets = bundle.read_bytes()
    bundle.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
    (tile,) = site.folder.glob("2/tile/0/000.p/*")
    before = tile.read_bytes()
    report = site.check(repair=True)
    assert not report.good
    assert tile.read_bytes() == before


def test_leftovers_of_an_interrupted_append_are_removed(site: Site) -> None:
    leftovers = ["2/tile/0/000", "2/tile/0/000.p/255", "2/tile/entries/001.p/3", "2/.signed.new"]
    for name in leftovers:
        path = site.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert {finding.path for finding in site.check().findings} == set(leftovers)
    assert site.check(repair=True).good
    assert not any((site.folder / name).exists() for name in leftovers)


def test_a_file_that_somebody_put_there_is_found_and_left_to_the_operator(site: Site) -> None:
    for name in ("index.html", "1/notes.txt", "3/checkpoint"):
        path = site.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"hello")
        report = site.check(repair=True)
        assert [finding.path for finding in report.findings] == [name]
        assert path.exists()
        path.unlink()


def test_the_operator_is_told_of_a_database_that_says_something_else(site: Site) -> None:
    with site.desk.hub.store.write() as tx:
        tx.log._connection.exec_driver_sql(
            "UPDATE log_directories SET at_index = at_index + 1 WHERE shard = 2"
        )
    try:
        assert [finding.path for finding in site.check().findings] == ["database"] * 2
    finally:
        with site.desk.hub.store.write() as tx:
            tx.log._connection.exec_driver_sql(
                "UPDATE log_directories SET at_index = at_index - 1 WHERE shard = 2"
            )
