"""A hub is backed up beside its work and put together again; one that went back signs no second history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from candor_hub import backup
from candor_hub.config import load_config
from candor_hub.places import database_key
from candor_hub.restore import Restored, restore
from candor_hub.tlog import confirmed
from candor_hub.tlog.sequencer import Sequencer
from candor_proto.directory import MemberStatus
from candor_proto.errors import AlreadyExists, SealedDataInvalid, StoreUnusable
from candor_proto.ids import NodeId
from candor_proto.tlog.policy import MEMBER_PREFIX
from tests.unit.hub.offices import opened
from tests.unit.hub.tlog.desks import LogDesk, desk_over, log_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[LogDesk]:
    """A hub whose three members are the witnesses of its log."""
    with log_desk(tmp_path) as made:
        for name in ("alpha", "bravo", "charlie"):
            made.make_witness(made.hub.join(name))
            made.settle()
        yield made


def _act(desk: LogDesk) -> None:
    active = desk.hub.directory.latest().view.member(NodeId("alpha")).status is MemberStatus.ACTIVE
    desk.hub.directory.set_status(
        NodeId("alpha"), MemberStatus.SUSPENDED if active else MemberStatus.ACTIVE, desk.now
    )


def _write(desk: LogDesk, folder: Path, keep: int = 12) -> backup.Written:
    desk.hub.clock.advance(minutes=5)
    return backup.write(desk.hub.config, desk.hub.store, folder, desk.now, keep)


def _restore(desk: LogDesk, folder: Path, to: Path, witnessed: bytes | None = None) -> Restored:
    return restore(folder, to, database_key(desk.hub.config), desk.now, witnessed)


@contextmanager
def _again(desk: LogDesk, to: Path) -> Iterator[LogDesk]:
    with opened(load_config(to / "hub.toml"), desk.hub.clock) as hub:
        yield desk_over(hub)


def test_a_hub_comes_back_with_members_keys_log_and_nothing_of_a_later_time(
    desk: LogDesk, tmp_path: Path
) -> None:
    written = _write(desk, tmp_path / "backup")
    size, head = desk.shard().size, len(desk.read().entries)
    _act(desk)
    desk.settle()
    assert desk.shard().size > size
    _write_files_only(desk, tmp_path / "backup")
    found = _restore(desk, tmp_path / "backup", tmp_path / "new")
    assert written.sizes == {1: size}
    assert (found.members, found.entries) == (3, size)
    with _again(desk, tmp_path / "new") as again:
        assert again.shard().size == size
        assert len(again.read().entries) == head
        again.check_start()
    assert oct((tmp_path / "new/keys/directory.key").stat().st_mode)[-3:] == "600"


def _write_files_only(desk: LogDesk, folder: Path) -> None:
    """As a backup that was interrupted has left them: newer than the database."""
    backup._copy_new(desk.hub.config.log, folder / "log")


def test_no_file_of_a_backup_holds_a_key_or_a_member_in_clear(desk: LogDesk, tmp_path: Path) -> None:
    _write(desk, tmp_path / "backup")
    needles = [
        (desk.hub.config.keys / "database.key").read_bytes(),
        (desk.hub.config.keys / "log-1.key").read_bytes()[:32],
        b"PRIVATE KEY",
    ]
    for path in (tmp_path / "backup").glob("hub-*"):
        octets = path.read_bytes()
        assert not any(needle in octets for needle in (*needles, b"SQLite format", b"alpha")), path
    assert not list((tmp_path / "backup").rglob("database.key"))


def test_a_head_that_a_member_holds_and_the_backup_does_not_is_refused(desk: LogDesk, tmp_path: Path) -> None:
    _write(desk, tmp_path / "backup")
    _act(desk)
    desk.settle()
    with pytest.raises(StoreUnusable, match="older than the files"):
        _restore(desk, tmp_path / "backup", tmp_path / "new", desk.files.read("1/checkpoint"))
    assert not (tmp_path / "new").exists()


def test_a_restored_hub_signs_nothing_before_a_quorum_has_signed_its_head_once_more(
    desk: LogDesk, tmp_path: Path
) -> None:
    _write(desk, tmp_path / "backup")
    _restore(desk, tmp_path / "backup", tmp_path / "new")
    with _again(desk, tmp_path / "new") as again:
        again.witnesses = desk.witnesses
        hub = again.hub
        sequencer = Sequencer(hub.config, hub.store, again.ring, again.pages, hub.directory.publish)
        sequencer.begin(again.now)
        before = again.shard().signed
        _act(again)
        sequencer.work(again.now + timedelta(minutes=20))
        assert again.shard().signed == before
        with hub.store.read() as tx:
            assert confirmed.standing(tx).restored
        hub.clock.advance(seconds=2)
        sequencer.signed_by = frozenset({f"{MEMBER_PREFIX}alpha"})
        sequencer.work(again.now)
        assert again.shard().signed == before
        sequencer.signed_by |= {f"{MEMBER_PREFIX}bravo"}
        sequencer.work(again.now)
        assert again.shard().size > desk.shard().size - 1
        assert again.shard().signed != before
        with hub.store.read() as tx:
            assert confirmed.standing(tx) == confirmed.Standing()


@pytest.mark.parametrize("part", ["database", "sealed", "log"])
def test_one_flipped_octet_is_found_and_nothing_is_restored(desk: LogDesk, tmp_path: Path, part: str) -> None:
    written = _write(desk, tmp_path / "backup")
    path = {
        "database": written.path.with_suffix(".db"),
        "sealed": written.path,
        "log": next((tmp_path / "backup/log/1/tile/entries").rglob("0*/*"), None)
        or next((tmp_path / "backup/log/1/tile/entries").rglob("*.p/*")),
    }[part]
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    with pytest.raises((StoreUnusable, SealedDataInvalid)):
        _restore(desk, tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_link_in_the_folder_is_neither_written_through_nor_restored_into_the_public_log(
    desk: LogDesk, tmp_path: Path
) -> None:
    """Whoever looks after the machine with the backups may write there, and read nothing of the hub's."""
    folder = tmp_path / "backup"
    _write(desk, folder)
    secret = desk.hub.config.keys / "database.key"
    before = secret.read_bytes()
    _act(desk)
    desk.settle()
    for path in sorted(desk.hub.config.log.rglob("*")):
        copy = folder / "log" / path.relative_to(desk.hub.config.log)
        if path.is_file() and not copy.exists() and copy.parent.is_dir():
            (copy.parent / f".{path.name}.part").symlink_to(secret)
    backup._copy_new(desk.hub.config.log, folder / "log")
    assert secret.read_bytes() == before

    link = folder / "log/1/draw/2031-01"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(secret)
    with pytest.raises(StoreUnusable, match="is a link"):
        _restore(desk, folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(StoreUnusable, match="is a link"):
        _write(desk, folder)


def test_a_clock_that_was_ahead_once_does_not_hide_later_backups(desk: LogDesk, tmp_path: Path) -> None:
    ahead = desk.now + timedelta(days=365)
    backup.write(desk.hub.config, desk.hub.store, tmp_path / "backup", ahead, 12)
    _act(desk)
    desk.settle()
    written = _write(desk, tmp_path / "backup")
    found = _restore(desk, tmp_path / "backup", tmp_path / "new")
    assert found.entries == written.sizes[1]


def test_a_restore_writes_over_nothing(desk: LogDesk, tmp_path: Path) -> None:
    _write(desk, tmp_path / "backup")
    with pytest.raises(AlreadyExists):
        _restore(desk, tmp_path / "backup", desk.hub.config.data)


def test_another_key_opens_nothing(desk: LogDesk, tmp_path: Path) -> None:
    _write(desk, tmp_path / "backup")
    with pytest.raises(SealedDataInvalid, match="another database key"):
        restore(tmp_path / "backup", tmp_path / "new", bytes(32), desk.now)


def test_old_backups_are_deleted_and_files_are_copied_once(desk: LogDesk, tmp_path: Path) -> None:
    octets = [_write(desk, tmp_path / "backup", keep=2).octets for _ in range(4)]
    assert len(list((tmp_path / "backup").glob("hub-*.db"))) == 2
    assert len(list((tmp_path / "backup").glob("hub-*.sealed"))) == 2
    assert octets[1] < octets[0]
