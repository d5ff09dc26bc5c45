"""The database: encrypted, durable in one piece, refused when it is not ours."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from candor_hub.driver import explain, insert_many, open_engine, sa, sqlite
from candor_hub.store import Store
from candor_hub.tables import log_waiting
from candor_proto.errors import ConfigInvalid, StoreUnusable
from candor_proto.ids import NodeId
from tests.hub_members import ShiftedClock
from tests.unit.hub.offices import office

KEY = bytes(range(32))
NOW = ShiftedClock().now()


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'hub.db'}"


@pytest.fixture
def created(tmp_path: Path) -> Path:
    Store.create(url(tmp_path), KEY, "demo.example").close()
    return tmp_path


def test_a_database_opens_again(created: Path) -> None:
    Store.open(url(created), KEY, "demo.example").close()


def test_the_file_is_encrypted(created: Path) -> None:
    octets = (created / "hub.db").read_bytes()
    assert b"SQLite format 3" not in octets
    assert b"demo.example" not in octets
    assert b"mailbox" not in octets


def test_another_key_is_refused_in_words(created: Path) -> None:
    with pytest.raises(StoreUnusable) as caught:
        Store.open(url(created), secrets.token_bytes(32), "demo.example")
    assert "key does not fit" in caught.value.message
    assert caught.value.remedy
    with pytest.raises(StoreUnusable):
        Store.open(url(created), b"short", "demo.example")


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        Store.open(url(tmp_path), KEY, "demo.example")
    assert list(tmp_path.iterdir()) == []


def test_the_database_of_another_federation_is_refused(created: Path) -> None:
    with pytest.raises(StoreUnusable) as caught:
        Store.open(url(created), KEY, "other.example")
    assert "demo.example" in caught.value.message


@pytest.mark.usefixtures("each_database")
def test_an_exception_undoes_the_whole_transaction(tmp_path: Path) -> None:
    with office(tmp_path) as hub:
        hub.join("alpha")

        def interrupted() -> None:
            with hub.store.write() as tx:
                tx.members.set_revoked(NodeId("alpha"), NOW)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        with hub.store.read() as tx:
            assert not tx.members.is_revoked(NodeId("alpha"))


def test_what_an_error_left_in_a_connection_does_not_outlive_it(tmp_path: Path) -> None:
    """After one failed allocation SQLCipher calls a sound database damaged until the connection ends."""
    with office(tmp_path) as place:

        def poisoned(error: Exception) -> None:
            with place.store.write() as tx:
                tx.members._connection.exec_driver_sql("PRAGMA query_only = ON")
                raise error

        for error in (MemoryError(), sa.exc.OperationalError("", {}, Exception("a disk that failed"))):
            with pytest.raises(StoreUnusable):
                poisoned(error)
            with place.store.write() as tx:
                tx.members.set_seen([NodeId("alpha")], NOW)


def test_every_connection_is_durable_and_checks_foreign_keys(created: Path) -> None:
    engine = open_engine(url(created), KEY)
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
                assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


def test_a_mark_is_another_one_after_each_commit_of_whoever_it_was(created: Path) -> None:
    here, there = (Store.open(url(created), KEY, "demo.example") for _ in range(2))
    marks = [here.mark()]
    for writer in (here, there, here):
        with writer.write() as tx:
            tx.facts.put("something", str(len(marks)))
        marks.append(here.mark())
    assert len(set(marks)) == len(marks)
    here.close()
    there.close()


def test_a_mark_stays_while_nobody_commits(created: Path) -> None:
    store = Store.open(url(created), KEY, "demo.example")
    before = store.mark()
    with store.read() as tx:
        tx.facts.get("something")
    with pytest.raises(StoreUnusable):
        undo(store)
    assert store.mark() == before is not None
    store.close()


def undo(store: Store) -> None:
    with store.write() as tx:
        tx.facts.put("something", "undone")
        raise StoreUnusable("as a test wants it")


def test_a_mark_of_another_connection_is_never_taken_for_the_same(created: Path) -> None:
    """What a connection counts says nothing about what another one has counted."""
    store = Store.open(url(created), KEY, "demo.example")
    before = store.mark()
    assert store._changes is not None
    store._changes.close()  # as after an error of the disk
    with store.write() as tx:
        tx.facts.put("something", "new")
    assert store.mark() != before
    store.close()


def test_errors_name_neither_statement_nor_parameters(created: Path) -> None:
    engine = open_engine(url(created), KEY)
    with pytest.raises(sa.exc.DBAPIError) as caught, engine.connect() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere WHERE a = :a"), {"a": "sentinel"})
    said = str(explain(caught.value, engine))
    assert "sentinel" not in said
    assert "SELECT" not in said
    engine.dispose()


@pytest.mark.parametrize("text", ["nonsense", "unknown://host/db"])
def test_a_url_of_no_database_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        open_engine(text, KEY)


def test_the_check_passes_on_a_sound_database(created: Path) -> None:
    store = Store.open(url(created), KEY, "demo.example")
    store.check()
    store.close()


def torn(folder: Path, where: Path, *, keep_log: bool) -> Store:
    """The database as a power cut in the middle of a checkpoint leaves it: pages that the write-ahead log
    holds are half there in the file."""
    store = Store.open(url(folder), KEY, "demo.example")
    with store.write() as tx:
        tx.facts.put("something", "1")
    octets, log = bytearray((folder / "hub.db").read_bytes()), (folder / "hub.db-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    for at in range(32, len(log), 24 + page):
        end = int.from_bytes(log[at : at + 4], "big") * page
        octets[end - 512 : end] = bytes(min(512, len(octets) - end + 512))
    where.mkdir()
    (where / "hub.db").write_bytes(octets)
    if keep_log:
        (where / "hub.db-wal").write_bytes(log)
    store.close()
    return Store.open(url(where), KEY, "demo.example")


def test_a_page_torn_in_a_checkpoint_is_no_damage_while_the_log_has_it(created: Path) -> None:
    store = torn(created, created / "cut", keep_log=True)
    assert store.damage() == store.damage(deep=True) == ""
    store.check()
    store.close()


def test_a_page_that_the_log_does_not_have_is_damage(created: Path) -> None:
    with pytest.raises(StoreUnusable):
        torn(created, created / "cut", keep_log=False).check()


def test_an_sqlite_with_the_wal_reset_bug_is_refused(created: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(StoreUnusable, match="corrupt"):
        Store.open(url(created), KEY, "demo.example")


@pytest.mark.usefixtures("each_database")
def test_numbers_of_many_rows_are_those_that_the_database_gave(tmp_path: Path) -> None:
    with office(tmp_path) as hub, hub.store.write() as tx:
        connection = tx.log._connection
        columns = ("at", "opening", "kind", "entry")
        for count in (101, 103, 700):
            rows = [(number, 0, count, b"") for number in range(count)]
            given = insert_many(connection, "log_waiting", columns, rows, "number")
            found = sa.select(log_waiting.c.number, log_waiting.c.at).where(log_waiting.c.kind == count)
            assert given is not None
            rows_found = [tuple(row) for row in connection.execute(found)]
            assert sorted(rows_found) == list(zip(given, range(count), strict=True))
