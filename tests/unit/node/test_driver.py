"""The encrypted database opens as it must, or says in one sentence why not (STACK.md §4.1)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlcipher3
from sqlcipher3 import dbapi2

from candor_node.driver import Table, explain, open_database  # before sqlite_utils
from candor_proto.errors import StoreUnusable
from tests.patience import PATIENCE_SECONDS

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))


def new_file(folder: Path) -> Path:
    path = folder / "node.db"
    path.touch()
    return path


def filled(folder: Path) -> Path:
    path = new_file(folder)
    database = open_database(path, KEY)
    database.table("officer").insert({"name": "Quentin Placeholderson"})
    database.conn.close()
    return path


def test_sqlite_utils_works_on_sqlcipher(tmp_path: Path) -> None:
    assert vars(sys.modules["sqlite_utils.utils"])["sqlite3"] is sqlcipher3
    database = open_database(new_file(tmp_path), KEY)
    # What fails when the libraries' exceptions differ: adding a column on the way, dropping what is absent.
    database.table("t").insert({"a": 1})
    database.table("t").insert({"a": 2, "b": 3}, alter=True)
    Table(database, "absent").drop(ignore=True)
    assert database.table("t").count == 2


def test_driver_refuses_to_come_after_sqlite_utils() -> None:
    code = "import sqlite_utils\nimport candor_node.driver"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode != 0
    assert "must be imported before sqlite_utils" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("busy_timeout", 5000),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("secure_delete", 1),
        ("mmap_size", 0),
        ("temp_store", 0),
    ],
)
def test_pragma(tmp_path: Path, name: str, value: object) -> None:
    database = open_database(new_file(tmp_path), KEY)
    row = database.execute(f"PRAGMA {name}").fetchone()
    assert (row[0] if row else 0) == value


def test_nothing_stands_in_clear_on_the_disk(tmp_path: Path) -> None:
    path = new_file(tmp_path)
    database = open_database(path, KEY)
    database.table("officer").insert({"name": "Quentin Placeholderson"})
    files = [file.read_bytes() for file in tmp_path.iterdir()]
    assert sum(map(len, files)) > 4096
    for octets in files:
        assert b"SQLite format 3" not in octets
        assert b"Placeholderson" not in octets
        assert b"officer" not in octets


def test_wrong_key_is_one_sentence_and_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = filled(tmp_path)
    with pytest.raises(StoreUnusable) as caught:
        open_database(path, OTHER_KEY)
    assert caught.value.message.startswith("The database key does not fit this database")
    assert caught.value.remedy
    assert OTHER_KEY.hex() not in str(caught.value)
    assert caught.value.__cause__ is None
    out, err = capfd.readouterr()
    assert out + err == ""


def test_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(b"agency_record_id,record_kind\r\n" * 400)
    with pytest.raises(StoreUnusable, match="is not a Candor database"):
        open_database(path, KEY)


def test_plain_sqlite_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    connection = sqlcipher3.connect(str(path))
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(StoreUnusable, match="key does not fit"):
        open_database(path, KEY)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), b"0" * 64])
def test_key_is_32_octets(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(StoreUnusable, match="must be 32 octets"):
        open_database(new_file(tmp_path), key)


def test_sqlite_with_the_wal_reset_bug_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = new_file(tmp_path)
    monkeypatch.setattr(dbapi2, "sqlite_version_info", (3, 51, 2))
    with pytest.raises(StoreUnusable, match="can corrupt a database silently"):
        open_database(path, KEY)
    monkeypatch.setattr(dbapi2, "sqlite_version_info", (3, 51, 3))
    open_database(path, KEY).conn.close()


def test_missing_folder_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"folder .* does not exist"):
        open_database(tmp_path / "nowhere" / "node.db", KEY)
    with pytest.raises(StoreUnusable, match="There is no database") as caught:
        open_database(tmp_path / "node.db", KEY)
    assert "candor-node init" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


class Fault(Exception):
    """An error of the database library, which the tests cannot all cause for real."""

    def __init__(self, code: int) -> None:
        super().__init__("raw words of the library")
        self.sqlite_errorcode = code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (5, "holds .* locked"),
        (6, "holds .* locked"),
        (8, "is read-only"),
        (1032, "is read-only"),
        (10, "reported an error"),
        (1034, "reported an error"),
        (11, "is damaged"),
        (13, "is full"),
        (14, "cannot be opened"),
        (26, "key does not fit"),
    ],
)
def test_every_failure_of_the_disk_has_its_sentence(code: int, words: str) -> None:
    error = explain(Fault(code), Path("/data/node.db"))
    assert re.search(words, error.message)
    assert "raw words" not in error.message
    assert error.remedy


def test_a_full_disk_is_called_full_also_where_the_library_only_sees_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a database on a full disk fails as an error: the file that readers share is not made."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0))
    assert "is full" in explain(Fault(5130), tmp_path / "node.db").message
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1))
    assert "reported an error" in explain(Fault(5130), tmp_path / "node.db").message
