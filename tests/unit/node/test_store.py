"""One writer, whole transactions, errors a person can act on (RELIABILITY.md §7)."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from sqlcipher3 import dbapi2

from candor_node.driver import DatabaseError, OperationalError
from candor_node.store import Database, IntegrityError, Migrations, Store
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable
from tests.patience import PATIENCE_SECONDS

KEY = bytes(range(32))


def notes() -> Migrations:
    migrations = Migrations("notes")

    @migrations()
    def initial(db: Database) -> None:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT")

    return migrations


def write(text: str) -> Any:
    return lambda db: db.execute("INSERT INTO note (text) VALUES (?)", [text])


def read(db: Database) -> list[str]:
    return [row[0] for row in db.execute("SELECT text FROM note ORDER BY id")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "node.db", KEY, (notes(),)) as store:
        yield store


def in_child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    prelude = (
        "import os, sys\nfrom pathlib import Path\nfrom candor_node.store import Store, Migrations\n"
        "path, key = Path(sys.argv[1]), bytes(range(32))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prelude + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


# --- transactions ------------------------------------------------------------------------------------


def test_work_that_raises_leaves_nothing(store: Store) -> None:
    def work(db: Database) -> None:
        write("one")(db)
        db.table("note").insert({"text": "two"})
        raise InputInvalid("no")

    with pytest.raises(InputInvalid):
        store.run_sync(work)
    assert store.run_sync(read) == []
    store.run_sync(write("three"))
    assert store.run_sync(read) == ["three"]


def test_what_run_returned_from_survives_a_crash(tmp_path: Path, store: Store) -> None:
    store.close()
    code = "s = Store.open(path, key, ())\ns.run_sync(lambda db: db['note'].insert({'text': 'kept'}))\n"
    assert in_child(code + "os._exit(9)", tmp_path / "node.db").returncode == 9
    with Store.open(tmp_path / "node.db", KEY, (notes(),)) as again:
        assert again.run_sync(read) == ["kept"]


def test_work_runs_alone_and_on_one_thread(store: Store) -> None:
    store.run_sync(write("0"))
    threads: set[int] = set()

    def count_up(db: Database) -> None:
        threads.add(threading.get_ident())
        value = int(read(db)[0])
        db.execute("UPDATE note SET text = ?", [str(value + 1)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.run_sync(count_up), range(40)))
    assert store.run_sync(read) == ["40"]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_run_serves_the_event_loop(store: Store) -> None:
    async def both() -> list[str]:
        await asyncio.gather(store.run(write("a")), store.run(write("b")))
        return await store.run(read)

    assert asyncio.run(both()) == ["a", "b"]


def test_waiting_for_a_transaction_inside_one_is_refused(store: Store) -> None:
    with pytest.raises(AssertionError, match="cannot wait"):
        store.run_sync(lambda db: store.run_sync(read))


def test_constraint_reaches_the_caller_as_itself(store: Store) -> None:
    store.run_sync(write("once"))

    def twice(db: Database) -> None:
        write("before")(db)
        write("once")(db)

    with pytest.raises(IntegrityError):
        store.run_sync(twice)
    assert store.run_sync(read) == ["once"]


def test_swallowed_error_that_ended_the_transaction_is_not_success(store: Store) -> None:
    def work(db: Database) -> None:
        write("lost")(db)
        db.conn.execute("ROLLBACK")  # as SQLite does by itself when the disk is full

    with pytest.raises(StoreUnusable, match="was undone"):
        store.run_sync(work)
    assert store.run_sync(read) == []


def test_full_disk_is_one_sentence_and_heals(store: Store) -> None:
    def limit(db: Database, pages: int) -> None:
        db.execute(f"PRAGMA max_page_count = {pages}")

    pages = store.run_sync(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    store.run_sync(lambda db: limit(db, pages + 4))
    with pytest.raises(StoreUnusable, match="is full; nothing of this step was stored") as caught:
        store.run_sync(write("x" * 100_000))
    assert caught.value.remedy
    store.run_sync(lambda db: limit(db, 1_000_000))
    store.run_sync(write("fits"))
    assert store.run_sync(read) == ["fits"]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OperationalError("no such table"), dbapi2.InterfaceError("Error binding parameter 1")],
    ids=lambda error: type(error).__name__,
)
def test_what_an_error_left_in_a_connection_does_not_outlive_it(store: Store, error: Exception) -> None:
    """After one failed allocation SQLCipher calls a sound database damaged until the connection ends."""

    def poisoned(db: Database) -> None:
        db.conn.execute("PRAGMA query_only = ON")
        raise error

    with pytest.raises(StoreUnusable):
        store.run_sync(poisoned)
    store.run_sync(write("after"))
    assert store.run_sync(read) == ["after"]


def test_no_memory_is_one_sentence(tmp_path: Path, store: Store) -> None:
    store.close()
    done = in_child(
        "from candor_proto.errors import StoreUnusable\n"
        "with Store.open(path, key, ()) as store:\n"
        "    try:\n"
        "        store.run_sync(lambda db: db.execute('PRAGMA hard_heap_limit = 1').fetchone())\n"
        "        store.run_sync(lambda db: db.execute('SELECT hex(zeroblob(1000000))').fetchone())\n"
        "    except StoreUnusable as error:\n"
        "        print(error.message)\n",
        tmp_path / "node.db",
    )
    assert done.stdout.startswith("This machine has no memory left"), done.stderr


def test_read_only_database_is_one_sentence(store: Store) -> None:
    store.run_sync(lambda db: None)
    store._pool.submit(
        lambda: cast(Database, store._database).conn.execute("PRAGMA query_only = ON")
    ).result()
    with pytest.raises(StoreUnusable, match="is read-only"):
        store.run_sync(write("no"))


class FailingCommit:
    """A connection whose next COMMIT reports an error of the disk, before or after it took effect."""

    def __init__(self, connection: Any, *, takes_effect: bool) -> None:
        self._connection = connection
        self._takes_effect = takes_effect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *arguments: Any) -> Any:
        if sql != "COMMIT":
            return self._connection.execute(sql, *arguments)
        if self._takes_effect:
            self._connection.execute(sql)
        error: Any = OperationalError("disk I/O error")
        error.sqlite_errorcode = 10
        raise error


@pytest.mark.parametrize("takes_effect", [False, True])
def test_failed_commit_is_unknown_and_read_again_from_the_disk(store: Store, takes_effect: bool) -> None:
    store.run_sync(write("before"))
    database = cast(Database, store._database)
    connection = database.conn
    database.conn = cast(Any, FailingCommit(connection, takes_effect=takes_effect))
    with pytest.raises(StoreUnusable, match="not known") as caught:
        store.run_sync(write("perhaps"))
    assert "same id" in caught.value.remedy
    assert store.run_sync(read) == ["before", "perhaps"][: 1 + takes_effect]
    assert cast(Database, store._database).conn is not connection


def test_a_commit_that_changed_something_is_told_before_its_result(store: Store) -> None:
    told: list[list[str]] = []
    database = cast(Database, store._database)
    with store.telling(lambda: told.append(read(database))):
        store.run_sync(read)
        with pytest.raises(IntegrityError):
            store.run_sync(lambda db: [write("twice")(db), write("twice")(db)])
        assert told == []
        store.run_sync(write("a"))
        assert told == [["a"]]
        told.clear()
        store.run_sync(read)
        assert told == []
    store.run_sync(write("b"))
    assert told == []


@pytest.mark.parametrize("takes_effect", [False, True])
def test_a_commit_of_which_nobody_knows_is_told_too(store: Store, takes_effect: bool) -> None:
    told: list[None] = []
    database = cast(Database, store._database)
    database.conn = cast(Any, FailingCommit(database.conn, takes_effect=takes_effect))
    with store.telling(lambda: told.append(None)), pytest.raises(StoreUnusable):
        store.run_sync(write("perhaps"))
    assert told == [None]


# --- group commit ------------------------------------------------------------------------------------


class CountingCommits:
    """A connection that counts what is committed, and fails the commits it is told to."""

    def __init__(self, connection: Any, *, fail: bool = False) -> None:
        self._connection = connection
        self._fail = fail
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *arguments: Any) -> Any:
        if sql == "COMMIT":
            self.commits += 1
            if self._fail:
                error: Any = OperationalError("disk I/O error")
                error.sqlite_errorcode = 10
                raise error
        return self._connection.execute(sql, *arguments)


def together(store: Store, works: list[Any], *, fail: bool = False) -> tuple[list[Any], int]:
    """Outcomes of `works` that all waited when the writer came for them, and how many commits they took."""
    store.run_sync(read)
    database, hold = cast(Database, store._database), threading.Event()
    counting = CountingCommits(database.conn, fail=fail)
    database.conn = cast(Any, counting)
    store._pool.submit(hold.wait)
    futures = [store._enqueue(work) for work in works]
    hold.set()
    outcomes = [future.exception(10) or future.result() for future in futures]
    return outcomes, counting.commits


def test_what_waits_together_shares_one_commit(store: Store) -> None:
    outcomes, commits = together(store, [write(str(number)) for number in range(50)])
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    assert commits == 1
    assert store.run_sync(read) == [str(number) for number in range(50)]


def test_work_that_raises_does_not_undo_its_neighbours(store: Store) -> None:
    def fails(db: Database) -> None:
        write("half")(db)
        raise InputInvalid("no")

    outcomes, commits = together(store, [write("a"), fails, write("a"), write("b")])
    assert commits == 1
    assert isinstance(outcomes[1], InputInvalid)
    assert isinstance(outcomes[2], IntegrityError)
    assert store.run_sync(read) == ["a", "b"]


def test_a_failed_commit_is_told_to_all_who_shared_it(store: Store) -> None:
    outcomes, _ = together(store, [write("a"), write("b"), lambda db: 1 / 0], fail=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnusable, StoreUnusable, ZeroDivisionError]
    assert "not known" in str(outcomes[0])
    assert store.run_sync(read) == []


def test_a_transaction_that_undid_itself_is_told_to_all_who_shared_it(store: Store) -> None:
    outcomes, _ = together(store, [write("a"), lambda db: db.conn.execute("ROLLBACK"), write("b")])
    assert all(isinstance(outcome, StoreUnusable) for outcome in outcomes)
    assert store.run_sync(read) == []


def test_a_caller_that_gave_up_before_its_turn_gets_nothing_done(store: Store) -> None:
    async def give_up() -> None:
        hold = threading.Event()
        store._pool.submit(hold.wait)
        waiting = asyncio.ensure_future(store.run(write("never")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        hold.set()
        await store.run(write("kept"))

    asyncio.run(give_up())
    assert store.run_sync(read) == ["kept"]


# --- one process -------------------------------------------------------------------------------------


def test_second_process_is_told_who_has_the_database(store: Store) -> None:
    done = in_child("Store.open(path, key, ())", store.path)
    assert done.returncode != 0
    assert "candor-node run already has this database open" in done.stderr


def test_second_store_in_one_process_is_refused_too(store: Store) -> None:
    with pytest.raises(StoreUnusable, match="already has this database open"):
        Store.open(store.path, KEY, (notes(),))
    store.close()
    Store.open(store.path, KEY, (notes(),)).close()


def test_failed_open_frees_the_lock(store: Store) -> None:
    store.close()
    with pytest.raises(StoreUnusable, match="key does not fit"):
        Store.open(store.path, bytes(32), (notes(),))
    Store.open(store.path, KEY, (notes(),)).close()


def test_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreUnusable, match="was closed"):
        store.run_sync(read)
    with pytest.raises(StoreUnusable, match="was closed"):
        asyncio.run(store.run(read))


# --- create and open ---------------------------------------------------------------------------------


def test_create_makes_a_private_file_and_never_overwrites(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    for suffix in ("-wal", "-shm", ".lock"):
        assert stat.S_IMODE(Path(f"{store.path}{suffix}").stat().st_mode) == 0o600
    store.run_sync(write("mine"))
    store.close()
    with pytest.raises(AlreadyExists):
        Store.create(store.path, KEY, (notes(),))
    with Store.open(store.path, KEY, (notes(),)) as again:
        assert again.run_sync(read) == ["mine"]


def test_failed_create_leaves_no_half_database(tmp_path: Path) -> None:
    broken = Migrations("broken")

    @broken()
    def initial(db: Database) -> None:
        db.execute("CREATE TABLE a (b)")
        db.execute("CREATE TABLE a (b)")

    with pytest.raises(StoreUnusable):
        Store.create(tmp_path / "node.db", KEY, (broken,))
    assert not (tmp_path / "node.db").exists()
    Store.create(tmp_path / "node.db", KEY, (notes(),)).close()


def test_open_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="There is no database"):
        Store.open(tmp_path / "node.db", KEY, (notes(),))
    with pytest.raises(StoreUnusable, match=r"folder .* does not exist"):
        Store.open(tmp_path / "nowhere" / "node.db", KEY, (notes(),))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreUnusable, match="cannot be written"):
        Store.create(folder / "node.db", KEY, (notes(),))


def test_pending_migrations_are_applied_once(store: Store) -> None:
    store.run_sync(write("old"))
    store.close()
    newer = notes()

    @newer()
    def more(db: Database) -> None:
        db.execute("ALTER TABLE note ADD COLUMN kind TEXT")

    for _ in range(2):
        with Store.open(store.path, KEY, (newer,)) as again:
            rows = again.run_sync(lambda db: list(db.execute("SELECT text, kind FROM note")))
            assert rows == [("old", None)]


def test_failing_migration_changes_nothing(store: Store) -> None:
    store.close()
    newer = notes()

    @newer()
    def more(db: Database) -> None:
        db.execute("ALTER TABLE note ADD COLUMN kind TEXT")
        db.execute("ALTER TABLE absent ADD COLUMN kind TEXT")

    with pytest.raises(StoreUnusable):
        Store.open(store.path, KEY, (newer,))
    with Store.open(store.path, KEY, (notes(),)) as again:
        assert again.run_sync(lambda db: [column.name for column in db["note"].columns]) == ["id", "text"]


def test_schema_of_a_newer_version_is_refused(store: Store) -> None:
    store.close()
    newer = notes()
    newer(name="from the future")(lambda db: None)
    Store.open(store.path, KEY, (newer,)).close()
    with pytest.raises(StoreUnusable, match="written by a newer version"):
        Store.open(store.path, KEY, (notes(),))


def test_damage_is_noticed_at_start(store: Store) -> None:
    for number in range(200):
        store.run_sync(write(f"{number}" * 100))
    store.checkpoint()
    store.close()
    octets = bytearray(store.path.read_bytes())
    middle = len(octets) // 2 // 4096 * 4096
    octets[middle : middle + 64] = bytes(64)
    store.path.write_bytes(octets)
    with pytest.raises(StoreUnusable, match=r"damaged|key does not fit"):
        Store.open(store.path, KEY, (notes(),))


def test_key_is_not_printed(store: Store) -> None:
    assert KEY.hex() not in repr(store)
    with pytest.raises(StoreUnusable) as caught:
        store.run_sync(lambda db: db.execute("SELEC 1"))
    assert KEY.hex() not in repr(caught.value)
    assert issubclass(IntegrityError, DatabaseError)
