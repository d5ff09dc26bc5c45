"""Upgrading a node's database: copied first, refused when too new, finished after a death in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor_node import schema
from candor_node.driver import Database, Migrations, open_database
from candor_node.schema import COPIES_LIVE, copies, expansion, tidy_copies
from candor_node.store import Store
from candor_proto.errors import StoreUnusable

KEY = bytes(range(32))


def earlier() -> Migrations:
    known = Migrations("things")

    @known()
    def first(db: Database) -> None:
        db.execute("CREATE TABLE things (name TEXT NOT NULL) STRICT")
        db.execute("CREATE TABLE key_destructions (number INTEGER NOT NULL, cut INTEGER NOT NULL) STRICT")
        db.execute("INSERT INTO key_destructions VALUES (0, 0)")

    return known


def later(*, harmless: bool = False) -> Migrations:
    known = earlier()

    def second(db: Database) -> None:
        db.execute("ALTER TABLE things ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")

    if harmless:
        expansion(known)(second)
    else:
        known()(second)

    @known()
    def third(db: Database) -> None:
        if "DIE" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        db.execute("CREATE TABLE others (name TEXT) STRICT")

    if harmless:
        known._migrations.pop()
    return known


def filled(path: Path) -> None:
    with Store.create(path, KEY, [earlier()]) as store:
        store.run_sync(lambda db: db.execute("INSERT INTO things VALUES ('lamp')"))


def rows(path: Path, migrations: Sequence[Migrations]) -> list[tuple[str, ...]]:
    with Store.open(path, KEY, migrations) as store:
        return store.run_sync(lambda db: db.execute("SELECT * FROM things").fetchall())


def read_copy(path: Path) -> list[tuple[str, ...]]:
    db = open_database(path, KEY)
    try:
        found: list[tuple[str, ...]] = db.execute("SELECT * FROM things").fetchall()
        return found
    finally:
        db.conn.close()


def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    Store.create(tmp_path / "node.db", KEY, [later()]).close()
    assert copies(tmp_path / "node.db") == []


def test_a_database_with_data_is_copied_before_its_first_step(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    filled(path)
    assert rows(path, [later()]) == [("lamp", "grey")]
    (copy,) = copies(path)
    assert copy.name == "before-1.db"
    assert copy.stat().st_mode & 0o077 == 0
    assert read_copy(copy) == [("lamp",)]
    assert rows(path, [later()]) == [("lamp", "grey")]  # and not again
    assert copies(path) == [copy]


def test_the_copy_takes_the_databases_place_for_the_version_from_before(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    filled(path)
    rows(path, [later()])
    with pytest.raises(StoreUnusable, match="written by a newer version") as refused:
        Store.open(path, KEY, [earlier()])
    assert "put back the copy" in refused.value.remedy
    copies(path)[0].replace(path)
    assert rows(path, [earlier()]) == [("lamp",)]


def test_a_step_that_only_adds_can_be_taken_back_with_everything_kept(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    filled(path)
    with Store.open(path, KEY, [later(harmless=True)]) as store:
        store.run_sync(lambda db: db.execute("INSERT INTO things VALUES ('chair', 'red')"))
    with Store.open(path, KEY, [earlier()]) as store:  # the version from before
        store.run_sync(lambda db: db.execute("INSERT INTO things (name) VALUES ('table')"))
    expected = [("lamp", "grey"), ("chair", "red"), ("table", "grey")]
    assert rows(path, [later(harmless=True)]) == expected


def test_an_upgrade_killed_in_the_middle_goes_on_and_keeps_the_first_copy(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    filled(path)
    code = (
        "from pathlib import Path; from tests.unit.node.test_schema import *\n"
        f"Store.open(Path({str(path)!r}), KEY, [later()])"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "DIE": "1"}, capture_output=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [copy.name for copy in copies(path)] == ["before-1.db"]
    assert read_copy(copies(path)[0]) == [("lamp",)]
    assert rows(path, [later()]) == [("lamp", "grey")]
    assert not (tmp_path / "upgrades" / schema.UNFINISHED).exists()


def test_without_room_for_the_copy_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.db"
    filled(path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(StoreUnusable, match="0 MB are free") as refused:
        Store.open(path, KEY, [later()])
    assert "Nothing was changed" in refused.value.remedy
    monkeypatch.undo()
    assert rows(path, [earlier()]) == [("lamp",)]


def test_a_damaged_copy_stops_the_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.db"
    filled(path)
    monkeypatch.setattr(schema, "_is_whole", lambda _: False)
    with pytest.raises(StoreUnusable, match="copy of the database from before its upgrade is damaged"):
        Store.open(path, KEY, [later()])
    monkeypatch.undo()
    assert copies(path) == []
    assert rows(path, [earlier()]) == [("lamp",)]


def test_a_copy_goes_when_a_key_is_destroyed_and_after_seven_days(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    filled(path)
    rows(path, [later()])
    now = datetime.now(UTC)
    assert tidy_copies(path, 0, now) == 0
    assert tidy_copies(path, 1, now) == 1
    assert list((tmp_path / "upgrades").iterdir()) == []
    other = tmp_path / "other" / "node.db"
    other.parent.mkdir()
    filled(other)
    rows(other, [later()])
    assert tidy_copies(other, 0, now + COPIES_LIVE - timedelta(minutes=1)) == 0
    assert tidy_copies(other, 0, now + COPIES_LIVE + timedelta(minutes=1)) == 1
