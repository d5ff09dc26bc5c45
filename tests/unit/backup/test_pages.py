"""Pages and trees of an encrypted database, against databases that SQLCipher itself wrote."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from candor_backup import trees
from candor_backup.pages import PAGE_OCTETS, PageCipher
from candor_node.driver import Database, open_database, open_unchanging
from candor_proto.errors import StoreUnusable

KEY = bytes(range(32))
ROWS = 800


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A database with a table of keys of some depth, of which many rows came and went."""
    path = tmp_path_factory.mktemp("pages") / "some.db"
    path.touch()
    draw = random.Random(7)
    db = open_database(path, KEY)
    with closing(db.conn):
        db.conn.execute("CREATE TABLE held (name BLOB PRIMARY KEY, secret BLOB NOT NULL) STRICT")
        db.conn.execute("CREATE TABLE other (text TEXT) STRICT")
        db.conn.execute("BEGIN")
        secrets = [draw.randbytes(32) for _ in range(ROWS)]
        for secret in secrets:
            db.conn.execute("INSERT INTO held VALUES (?, ?)", [draw.randbytes(16), secret])
            db.conn.execute("INSERT INTO other VALUES (?)", ["words " * 20])
        db.conn.execute("COMMIT")
        for start, step in ((1, 3), (200, 1), (500, 2)):
            some = [start, start + 160, step]
            db.conn.execute("DELETE FROM held WHERE rowid BETWEEN ? AND ? AND rowid % ? = 0", some)
        db.conn.execute("COMMIT")
        db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path, secrets


def _pages(path: Path) -> tuple[PageCipher, list[bytes]]:
    octets = path.read_bytes()
    found = [octets[at : at + PAGE_OCTETS] for at in range(0, len(octets), PAGE_OCTETS)]
    return PageCipher(KEY, octets[:16]), found


def _root(db: Database) -> int:
    return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'held'").fetchone()[0])


def _held(path: Path) -> tuple[trees.TablePages, int]:
    cipher, found = _pages(path)
    db = open_unchanging(path, KEY)
    with closing(db.conn):
        root, rows = _root(db), int(db.execute("SELECT count(*) FROM held").fetchone()[0])
    return trees.pages_of(lambda number: cipher.open(number, found[number - 1]), [root]), rows


def test_every_page_opens_and_seals_to_what_it_was(database: tuple[Path, list[bytes]]) -> None:
    cipher, found = _pages(database[0])
    for number, page in enumerate(found, 1):
        clear = cipher.open(number, page)
        assert cipher.seal(number, clear, iv=page[-80:-64]) == page


@pytest.mark.parametrize("place", [0, 20, 4_000, 4_016, 4_095])
def test_a_page_with_another_octet_or_of_another_number_is_refused(
    database: tuple[Path, list[bytes]], place: int
) -> None:
    cipher, found = _pages(database[0])
    altered = bytearray(found[4])
    altered[place] ^= 1
    with pytest.raises(StoreUnusable, match="Page 5"):
        cipher.check(5, bytes(altered))
    with pytest.raises(StoreUnusable, match="Page 6"):
        cipher.check(6, found[4])


def test_the_pages_of_a_table_hold_all_of_its_secrets_and_no_other_page_does(
    database: tuple[Path, list[bytes]],
) -> None:
    """Freed pages and freed rows too: what was deleted is overwritten."""
    path, secrets = database
    table, rows = _held(path)
    cipher, found = _pages(path)
    seen = 0
    for number, page in enumerate(found, 1):
        inside = sum(secret in cipher.open(number, page) for secret in secrets)
        assert number in table.leaves or not inside
        seen += inside
    assert rows < ROWS
    assert seen == rows


def test_without_its_secrets_the_table_is_whole_and_holds_none(
    database: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    path, secrets = database
    table, rows = _held(path)
    cipher, found = _pages(path)
    for number in table.all:
        blank = trees.without_secrets(cipher.open(number, found[number - 1]), number)
        assert not any(secret in blank for secret in secrets)
        found[number - 1] = cipher.seal(number, blank)
    copy = tmp_path / "copy.db"
    copy.write_bytes(b"".join(found))
    db = open_unchanging(copy, KEY)
    with closing(db.conn):
        assert db.conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.conn.execute("PRAGMA cipher_integrity_check").fetchone() is None
        assert db.execute("SELECT count(*), count(DISTINCT name) FROM held").fetchone() == (rows, rows)
        assert db.execute("SELECT DISTINCT secret FROM held").fetchall() == [(bytes(32),)]


def test_a_page_that_is_no_page_of_keys_is_refused(database: tuple[Path, list[bytes]]) -> None:
    cipher, found = _pages(database[0])
    table, _ = _held(database[0])
    kinds = {cipher.open(number, page)[0] for number, page in enumerate(found, 1) if number not in table.all}
    assert 0x0A in kinds  # the index of the table itself
    refused = 0
    for number, page in enumerate(found, 1):
        clear = cipher.open(number, page)
        if number not in table.all and clear[0] in (0x02, 0x0A, 0x0D):
            with pytest.raises(StoreUnusable, match="not what a table of keys"):
                trees.without_secrets(clear, number)
            refused += 1
    assert refused > 10
