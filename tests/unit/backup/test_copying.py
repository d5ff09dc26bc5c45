"""What is copied while the database goes on, and what is found to have changed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from candor_backup import chain, copier, state
from candor_backup.known import Known
from candor_node import backup, filings
from candor_node.driver import open_unchanging
from candor_node.store import Store
from candor_proto.errors import StoreUnusable
from tests.desk import desk_store, filed
from tests.records import NODE, NOW, STORE_KEY

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


def _count(path: Path) -> int:
    db = open_unchanging(path, STORE_KEY)
    with closing(db.conn):
        return int(db.execute("SELECT count(*) FROM records").fetchone()[0])


def test_while_the_file_holds_still_work_goes_on_beside_it(store: Store) -> None:
    filed(store)
    with store.frozen(lambda db: db.execute("SELECT count(*) FROM records").fetchone()[0]) as seen:
        before = store.path.read_bytes()
        for number in range(40):
            filed(store, agency_record_id=f"F-{number}")
        # Neither a checkpoint that is asked for nor SQLite's own one (1,000 pages) writes into it.
        assert not store.checkpoint()
        assert store.path.read_bytes() == before
        assert seen == 1
        assert _count(store.path) == 1
    assert store.checkpoint()
    assert _count(store.path) == 41


def test_a_reader_that_stays_is_waited_for_and_then_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor_node.store.FREEZE_ATTEMPTS", 2)
    reader = store.reader()
    with closing(reader.conn):
        reader.conn.execute("BEGIN")
        reader.conn.execute("SELECT count(*) FROM records").fetchone()
        filed(store)
        with pytest.raises(StoreUnusable, match="does not hold still"), store.frozen(lambda db: None):
            pass
    with store.frozen(lambda db: None):
        pass


def test_what_is_filed_while_a_backup_is_written_is_in_the_next_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed(store)
    real = copier.run

    def slow(*arguments: object) -> object:
        filed(store, agency_record_id=f"M-{len(runs)}")
        runs.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    runs: list[int] = []
    monkeypatch.setattr(copier, "run", slow)
    first = backup.write(store, NODE, tmp_path / "backup", NOW)
    assert _count(first.records) == 1
    backup.write(store, NODE, tmp_path / "backup", LATER)
    chain.join(chain.newest(tmp_path / "backup", "records", STORE_KEY), tmp_path / "joined.db")
    assert _count(tmp_path / "joined.db") == 2


def test_what_is_put_together_from_changes_is_the_database_page_by_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the keys: the same file whether it was written at once or in steps, also where it shrank."""
    folder, real, own = tmp_path / "backup", copier.run, list[bytes]()

    def watched(*arguments: object) -> object:
        own.append(store.path.read_bytes())
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(copier, "run", watched)
    for step in range(4):
        filed(store, agency_record_id=f"S-{step}")
        if step == 2:
            store.run_sync(lambda db: db.execute("CREATE TABLE wide AS SELECT zeroblob(400000) AS filler"))
        if step == 3:
            store.run_sync(lambda db: db.execute("DROP TABLE wide"))
            reader = store.reader()
            with closing(reader.conn):
                reader.conn.execute("VACUUM")
        backup.write(store, NODE, folder, NOW + timedelta(minutes=step))
    found = chain.newest(folder, "records", STORE_KEY)
    assert [link.account.number for link in found.links] == [0, 1, 2, 3]
    chain.join(found, tmp_path / "joined.db")
    joined, last = (tmp_path / "joined.db").read_bytes(), own[-1]
    assert len(joined) == len(last) < len(own[-2])
    different = [at for at in range(0, len(last), 4096) if joined[at : at + 4096] != last[at : at + 4096]]
    assert len(different) == 3  # the tables of keys: records, copies, epochs


def test_a_copier_that_is_killed_leaves_nothing_and_the_next_backup_works(
    store: Store, tmp_path: Path
) -> None:
    filed(store)

    def kill(process: subprocess.Popen[bytes]) -> None:
        os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(StoreUnusable, match="ended early"):
        backup.write(store, NODE, tmp_path / "backup", NOW, started=kill)
    assert list((tmp_path / "backup").iterdir()) == []
    assert backup.write(store, NODE, tmp_path / "backup", LATER).whole


def test_without_what_is_known_of_the_last_backup_the_next_one_is_whole(store: Store, tmp_path: Path) -> None:
    filed(store)
    backup.write(store, NODE, tmp_path / "backup", NOW)
    known = next((tmp_path / "backup-known").iterdir())
    octets = known.read_bytes()
    known.write_bytes(octets[:-1])
    assert Known.read(known) is None
    assert backup.write(store, NODE, tmp_path / "backup", LATER).whole


def test_a_folder_that_lost_its_last_file_gets_a_whole_backup(store: Store, tmp_path: Path) -> None:
    filed(store)
    backup.write(store, NODE, tmp_path / "backup", NOW)
    backup.write(store, NODE, tmp_path / "backup", LATER).records.unlink()
    assert backup.write(store, NODE, tmp_path / "backup", LATER + timedelta(minutes=5)).whole


def test_a_whole_backup_without_room_is_not_begun(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "free_octets", lambda folder: 1_000)
    with pytest.raises(StoreUnusable, match="has room for 0 MiB"):
        backup.write(store, NODE, tmp_path / "backup", NOW)


def test_two_backups_at_a_time_wait_for_each_other_by_their_owner_alone(store: Store, tmp_path: Path) -> None:
    """`Backups` lets one through; whoever goes past it is told, and nothing is broken."""
    filed(store)
    with store.frozen(lambda db: None), pytest.raises(AssertionError, match="holds still"):
        backup.write(store, NODE, tmp_path / "backup", NOW)
    thread = threading.Thread(target=backup.write, args=(store, NODE, tmp_path / "backup", NOW))
    thread.start()
    thread.join()
    assert store.run_sync(filings.sealed_current)


def test_the_state_file_is_replaced_as_a_whole_and_a_broken_one_is_none(tmp_path: Path) -> None:
    assert state.read(tmp_path) == state.BackupState()
    state.write(tmp_path, state.BackupState(verified_at="2026-03-02T12:00:00Z", octets=7))
    assert state.read(tmp_path).octets == 7
    (tmp_path / state.FILE).write_text("{", "utf-8")
    assert state.read(tmp_path) == state.BackupState()
