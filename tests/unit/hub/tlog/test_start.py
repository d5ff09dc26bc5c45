"""§14.6: a hub whose database and files do not belong together does not start, and says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from candor_hub.founding import open_store
from candor_hub.store import Store
from candor_hub.tlog import start
from candor_hub.tlog.files import Lock
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.sequencer import open_log
from candor_hub.vault import FolderVault
from candor_proto.directory import MemberStatus
from candor_proto.errors import InputInvalid, StoreUnusable
from candor_proto.ids import NodeId
from tests.hub_members import FEDERATION
from tests.unit.hub.offices import office, opened
from tests.unit.hub.tlog.desks import LogDesk, desk_over, log_desk


def grow(desk: LogDesk) -> None:
    for status in (MemberStatus.SUSPENDED, MemberStatus.ACTIVE):
        desk.hub.directory.set_status(NodeId("alpha"), status, desk.now)
    desk.settle()


def test_a_database_older_than_the_files_is_refused(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        config, clock = desk.hub.config, desk.hub.clock
    backup = tmp_path / "backup"
    shutil.copytree(config.data, backup)
    with opened(config, clock) as hub:
        desk = desk_over(hub)
        desk.check_start()
        grow(desk)
    for file in config.data.glob("hub.db*"):
        file.unlink()
    for file in backup.glob("hub.db*"):
        shutil.copy(file, config.data)
    with opened(config, clock) as hub, hub.store.read() as tx:
        shards = tx.log.shards()
    with pytest.raises(StoreUnusable, match="older than the files") as caught:
        start.check_start(desk.files, shards)
    assert "Never begin anew" in caught.value.remedy


def test_another_history_of_the_same_length_is_refused(tmp_path: Path) -> None:
    """Restored from a backup, and grown otherwise than before: a fork if anybody signed it."""
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        config, clock = desk.hub.config, desk.hub.clock
    fork = tmp_path / "fork"
    shutil.copytree(config.data, fork)
    for _ in range(2):
        with opened(config, clock) as hub:
            desk = desk_over(hub)
            clock.advance(seconds=5)
            grow(desk)
            signed = desk.files.read("1/signed")
        shutil.rmtree(config.data)
        shutil.copytree(fork, config.data)
        if _ == 0:
            other = signed
    with opened(config, clock) as hub:
        desk = desk_over(hub)
        grow(desk)
        desk.files.write({"1/signed": other})
        with pytest.raises(StoreUnusable, match="different histories"):
            desk.check_start()


def test_a_shard_that_the_database_does_not_know_is_refused(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.settle()
        desk.files.write({"2/signed": desk.files.read("1/signed")})
        with pytest.raises(StoreUnusable, match="knows nothing of shard 2"):
            desk.check_start()


@pytest.mark.parametrize("name", ["tile/0/000.p/*", "tile/entries/000.p/*"])
@pytest.mark.parametrize("change", ["gone", "changed", "shorter"])
def test_files_that_lack_what_was_signed_are_refused(tmp_path: Path, name: str, change: str) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        (path,) = (desk.hub.config.log / "1").glob(name)
        octets = path.read_bytes()
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes(octets[:-1] + (b"" if change == "shorter" else bytes([octets[-1] ^ 1])))
        with pytest.raises(StoreUnusable, match="not what was written"):
            desk.check_start()
        # Nor is anything appended to them.
        desk.hub.directory.set_status(NodeId("alpha"), MemberStatus.SUSPENDED, desk.now)
        with pytest.raises(StoreUnusable, match="not what was written"):
            desk.append()
        assert desk.waiting() == 2


def test_checkpoints_that_were_being_written_are_written_again(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        right = {path: desk.files.read(path) for path in ("shards", "1/signed", "1/checkpoint")}
        for path, octets in right.items():
            (desk.hub.config.log / path).write_bytes(octets[: len(octets) // 2])
        desk.check_start()
        with desk.hub.store.read() as tx:
            desk_over(desk.hub)
        assert {path: desk.files.read(path) for path in right} == right
        assert tx is not None


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "log"), Lock(tmp_path / "log")
    first.take()
    with pytest.raises(StoreUnusable, match="Another candor-hub"):
        second.take()
    first.give_back()
    second.take()
    second.give_back()


def test_keys_of_another_log_are_refused(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        path = desk.hub.config.keys / "log-1.key"
        path.write_bytes(bytes(64))
        ring = KeyRing(FolderVault(desk.hub.config.keys), FEDERATION)
        with pytest.raises(InputInvalid, match="does not hold the keys"):
            ring.of(desk.shards()[0])
        path.write_bytes(bytes(10))
        with pytest.raises(StoreUnusable, match="damaged"):
            KeyRing(FolderVault(desk.hub.config.keys), FEDERATION).of(desk.shards()[0])


def test_a_hub_from_before_the_log_gets_one_with_all_its_members(tmp_path: Path) -> None:
    with office(tmp_path) as hub:
        for name in ("alpha", "bravo"):
            hub.join(name)
        version = hub.directory.latest().version
        config, clock = hub.config, hub.clock
        with hub.store.write() as tx:
            for table in ("log_waiting", "log_shards", "log_policies", "log_members", "log_denied"):
                tx.log._connection.exec_driver_sql(f"DELETE FROM {table}")
        (config.keys / "log-1.key").unlink()
    store: Store = open_store(config)
    store.close()
    with opened(config, clock) as hub:
        ring = KeyRing(FolderVault(config.keys), FEDERATION)
        for _ in range(2):  # the second time there is nothing to do
            open_log(hub.store, ring, FEDERATION, clock.now(), hub.directory.publish)
        desk = desk_over(hub)
        desk.settle()
        reading = desk.read()
        assert sorted(reading.last.state.nodes) == [NodeId("alpha"), NodeId("bravo")]
        assert reading.last.state.directory is not None
        assert reading.last.state.directory.version == version + 1 == hub.directory.latest().version
