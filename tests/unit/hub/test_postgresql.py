"""PostgreSQL: the primary alone, durable or not at all, one writer over all replicas (ADR 0030)."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from candor_hub.config import Config
from candor_hub.driver import open_engine, sa
from candor_hub.driver.postgresql import UNSAFE_FOR_TESTS, check_session, explain, parse_url
from candor_hub.store import Store, Transaction
from candor_hub.tables import meta
from candor_proto.errors import AlreadyExists, ConfigInvalid, StoreUnusable
from tests.hub_members import FEDERATION
from tests.postgres import PostgresServer, new_database, shared_server

KEY = b""
SECRET = "sentinel-of-a-password"


@pytest.fixture
def stores(postgresql_url: str) -> Iterator[tuple[Store, Store]]:
    """Two replicas of one hub."""
    first = Store.create(postgresql_url, KEY, "demo.example")
    second = Store.open(postgresql_url, KEY, "demo.example")
    yield first, second
    first.close()
    second.close()


def put(tx: Transaction, name: str) -> None:
    tx.members._connection.execute(sa.insert(meta).values(name=name, value=""))


def names(tx: Transaction) -> set[str]:
    found = tx.members._connection.execute(sa.select(meta.c.name)).scalars()
    return {name for name in found if name not in {"federation", "schema", "oldest_schema"}}


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


def until(what: Callable[[], object], unless: Future[Any] | None = None) -> None:
    deadline = time.monotonic() + 20
    while not what() and not (unless is not None and unless.done()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- where -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://candor@db.example.org/candor", "db.example.org:5432/candor"),
        ("postgres://candor@[::1]:6543/candor", "::1:6543/candor"),
        ("postgresql+psycopg://candor@a:1,b:2/candor", "a:1,b:2/candor"),
        ("postgresql://candor@a,b:2/candor", "a:5432,b:2/candor"),
        ("postgresql://candor@/candor?host=a:1&host=b", "a:1,b:5432/candor"),
        ("postgresql:///candor?host=/run/postgresql&sslmode=disable", "/run/postgresql:5432/candor"),
    ],
    ids=["one", "ipv6", "two", "default-port", "sqlalchemy", "socket"],
)
def test_a_url_is_read_as_libpq_reads_it(url: str, name: str) -> None:
    server = parse_url(url)
    assert server.name == name
    arguments = server.arguments()
    assert arguments["target_session_attrs"] == "read-write"
    assert arguments["tcp_user_timeout"] == "10000"
    assert "password" not in arguments


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://candor:{SECRET}@db.example.org/candor",
        f"postgresql://candor@db.example.org/candor?password={SECRET}",
        "postgresql://candor@db.example.org/candor?options=-c%20fsync%3Doff",
        "postgresql://candor@db.example.org/candor?target_session_attrs=any",
        "postgresql://candor@db.example.org/candor?nonsense=1",
    ],
    ids=["password", "query", "options", "standby", "unknown"],
)
def test_what_has_no_place_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        open_engine(url, KEY)
    assert SECRET not in f"{caught.value!r} {caught.value.message} {caught.value.remedy}"


def test_a_password_is_read_for_each_session_and_printed_by_none(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    config = Config(FEDERATION, "", "", tmp_path, tmp_path, database_password_file=file)
    server = parse_url("postgresql://candor@127.0.0.1:1/candor", config.database_password)
    assert server.arguments()["password"] == SECRET
    file.write_text("another")
    assert server.arguments()["password"] == "another"
    file.write_text(SECRET)
    assert SECRET not in repr(server) + repr(config)
    with pytest.raises(StoreUnusable) as caught:
        open_engine("postgresql://candor@127.0.0.1:1/candor", KEY, password=config.database_password)
    assert "127.0.0.1:1/candor" in caught.value.message
    assert SECRET not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
    file.chmod(0o640)
    with pytest.raises(StoreUnusable, match="other users"):
        server.arguments()


# --- which servers ---------------------------------------------------------------------------------------


class Answered:
    """A cursor with what a server says of itself."""

    def __init__(self, **changed: object) -> None:
        said: dict[str, object] = {
            "commit": "on",
            "fsync": "on",
            "full_pages": "on",
            "recovering": False,
            "read_only": "off",
            "encoding": "UTF8",
            "version": 150018,
        }
        assert set(changed) <= set(said)
        self._row = tuple({**said, **changed}.values())

    def nextset(self) -> None:
        return None

    def fetchone(self) -> tuple[object, ...]:
        return self._row


def test_a_sound_primary_is_taken() -> None:
    check_session(Answered(), "db")
    check_session(Answered(commit="remote_apply"), "db")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recovering": True}, "not the primary"),
        ({"read_only": "on"}, "not the primary"),
        ({"commit": "off"}, "synchronous_commit = off"),
        ({"commit": "local"}, "synchronous_commit = local"),
        ({"commit": "remote_write"}, "synchronous_commit = remote_write"),
        ({"fsync": "off"}, "fsync = off"),
        ({"full_pages": "off"}, "full_page_writes = off"),
        ({"encoding": "SQL_ASCII"}, "encoding SQL_ASCII"),
        ({"version": 130010}, "PostgreSQL 13"),
    ],
    ids=lambda value: "-".join(map(str, next(iter(value.items())))) if isinstance(value, dict) else "",
)
def test_another_server_is_refused(
    changed: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(UNSAFE_FOR_TESTS, raising=False)
    with pytest.raises(StoreUnusable) as caught:
        check_session(Answered(**changed), "db")
    assert said in caught.value.message
    assert caught.value.remedy


def test_a_server_that_would_lose_commits_is_refused(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of the tests does not sync."""
    monkeypatch.delenv(UNSAFE_FOR_TESTS)
    with pytest.raises(StoreUnusable, match="would lose what was accepted"):
        open_engine(postgresql_url, KEY)


def test_a_database_that_nobody_may_write_to_is_no_primary(postgresql_url: str) -> None:
    shared_server().execute(
        f"ALTER DATABASE {database_of(postgresql_url)} SET default_transaction_read_only = on"
    )
    with pytest.raises(StoreUnusable, match="read-only"):
        open_engine(postgresql_url, KEY)


def test_what_the_server_has_as_defaults_does_not_weaken_a_session(postgresql_url: str) -> None:
    name = database_of(postgresql_url)
    for setting in ("statement_timeout = '5s'", "lock_timeout = '5s'", "synchronous_commit = on"):
        shared_server().execute(f"ALTER DATABASE {name} SET {setting}")
    engine = open_engine(postgresql_url, KEY)

    def value(setting: str) -> object:
        with engine.connect() as connection:
            return connection.exec_driver_sql(f"SHOW {setting}").scalar()

    assert (value("statement_timeout"), value("lock_timeout")) == ("0", "0")
    assert value("idle_in_transaction_session_timeout") == "10s"
    assert value("client_connection_check_interval") == "1s"
    # Pinned in the session: what is changed and reloaded later does not reach it.
    with engine.connect() as connection:
        source = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
        assert connection.exec_driver_sql(source).scalar() == "session"
    engine.dispose()


def test_nothing_answers_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="cannot be reached") as caught:
        open_engine(f"postgresql://candor@/candor?host={tmp_path}", KEY)
    assert "docs" not in caught.value.message
    assert "pg_hba" in caught.value.remedy


def test_a_database_that_does_not_exist(postgresql_url: str) -> None:
    with pytest.raises(StoreUnusable, match="does not exist"):
        open_engine(f"{postgresql_url}_no", KEY)


# --- one writer ------------------------------------------------------------------------------------------


def test_one_replica_at_a_time_writes_and_sees_what_the_one_before_did(stores: tuple[Store, Store]) -> None:
    first, second = stores

    def other() -> set[str]:
        with second.write() as tx:
            return names(tx)

    with ThreadPoolExecutor(1) as pool, first.read() as reading:
        server, database = shared_server(), str(first.server and first.server.parameters["dbname"])
        with first.write() as tx:
            put(tx, "first")
            waiting = pool.submit(other)
            query = (
                "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                f" WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = '{database}'"
            )
            until(lambda: server.execute(query), waiting)
            assert not waiting.done()
            assert names(reading) == set()
        # What it judges by is of after the lock was had, not of when it asked for it.
        assert waiting.result(20) == {"first"}


def test_a_reader_sees_one_state_and_changes_nothing(stores: tuple[Store, Store]) -> None:
    first, second = stores
    with first.read() as tx:
        assert names(tx) == set()
        with second.write() as other:
            put(other, "later")
        assert names(tx) == set()
    with pytest.raises(StoreUnusable, match="lets nobody write"), first.read() as tx:
        put(tx, "refused")


def test_a_new_hub_is_not_made_over_another(stores: tuple[Store, Store], postgresql_url: str) -> None:
    with pytest.raises(AlreadyExists):
        Store.create(postgresql_url, KEY, "other.example")
    with stores[0].read() as tx:
        assert tx.facts.get("federation") == "demo.example"


def test_a_database_that_was_begun_is_refused_and_begun_anew(postgresql_url: str) -> None:
    begun = Store.begin(postgresql_url, KEY)
    with begun.write() as tx:
        put(tx, "left over")
    begun.close()
    with pytest.raises(StoreUnusable, match="not finished"):
        Store.open(postgresql_url, KEY, "demo.example", upgrade=True)
    made = Store.create(postgresql_url, KEY, "demo.example")
    with made.read() as tx:
        assert names(tx) == set()
    made.close()


def test_an_empty_database_holds_no_hub(postgresql_url: str) -> None:
    with pytest.raises(StoreUnusable, match="holds no hub"):
        Store.open(new_database("template1"), KEY, "demo.example")


# --- what fails ------------------------------------------------------------------------------------------


def backend(tx: Transaction) -> int:
    number = tx.members._connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    assert isinstance(number, int)
    return number


def test_a_connection_that_is_cut_undoes_the_step_and_the_next_one_works(
    stores: tuple[Store, Store],
) -> None:
    first, _ = stores

    def cut() -> None:
        with first.write() as tx:
            put(tx, "lost")
            shared_server().execute(f"SELECT pg_terminate_backend({backend(tx)})")
            put(tx, "never")

    with first.read() as tx:
        pass  # another connection, which the pool keeps
    with pytest.raises(StoreUnusable, match="nobody knows"):
        cut()
    with first.write() as tx:
        put(tx, "kept")
    with first.read() as tx:
        assert names(tx) == {"kept"}


def test_a_replica_that_stands_still_in_a_transaction_loses_it(stores: tuple[Store, Store]) -> None:
    """Otherwise one that is stopped would keep all others from writing."""
    first, second = stores

    def stands_still() -> None:
        with first.write() as tx:
            tx.members._connection.exec_driver_sql("SET idle_in_transaction_session_timeout = '100ms'")
            put(tx, "lost")
            stopped = backend(tx)
            until(
                lambda: not shared_server().execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {stopped}")
            )

    with pytest.raises(StoreUnusable):
        stands_still()
    with second.write() as tx:
        assert names(tx) == set()


def test_a_commit_that_did_not_wait_for_its_standby_is_unknown(stores: tuple[Store, Store]) -> None:
    """PostgreSQL says "committed" with a warning when the wait is cancelled."""
    first, _ = stores
    server = shared_server()
    server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.execute("SELECT pg_reload_conf()")
    committing, failed = threading.Event(), list[StoreUnusable]()
    number = 0

    def commits() -> None:
        nonlocal number
        try:
            with first.write() as tx:
                put(tx, f"only here {secrets.token_hex(4)}")
                number = backend(tx)
                tx.members._connection.exec_driver_sql("SET synchronous_commit = on")
                committing.set()
        except StoreUnusable as error:
            failed.append(error)

    try:
        # The server takes new settings up when it comes to it: until then a commit waits for nobody.
        thread = threading.Thread(target=commits)
        thread.start()
        committing.wait(20)
        while not number or not server.execute(
            f"SELECT 1 FROM pg_stat_activity WHERE pid = {number} AND wait_event = 'SyncRep'"
        ):
            if not thread.is_alive():
                assert failed == []
                thread = threading.Thread(target=commits)
                thread.start()
        server.execute(f"SELECT pg_cancel_backend({number})")
        thread.join(20)
    finally:
        server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        server.execute("SELECT pg_reload_conf()")
    assert [error.message for error in failed] == [
        "The database server gave a warning while it stored a step: its standby may not have it. "
        "Nobody knows whether the step would survive the loss of the server."
    ]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("57P01", "nobody knows"),
        ("08006", "nobody knows"),
        ("53100", "is full"),
        ("53300", "no connection left"),
        ("42501", "lacks a permission"),
        ("3D000", "no such database"),
        ("25006", "lets nobody write"),
        ("25P03", "stood still"),
        ("XX001", "damaged"),
        ("58030", "reported an error"),
        ("40P01", "undid the step"),
        ("0A000", "refused a step"),
    ],
)
def test_each_kind_of_error_is_a_sentence_with_a_remedy(state: str, said: str) -> None:
    engine = sa.create_engine(
        "postgresql+psycopg://",
        execution_options={"candor_server": parse_url("postgresql://candor@db/candor")},
    )
    origin = psycopg.errors.lookup(state)(f"INSERT INTO meta VALUES ('{SECRET}')")
    found = explain(sa.exc.DBAPIError("INSERT", {"value": SECRET}, origin), engine)
    assert said in found.message
    assert "db:5432/candor" in found.message
    assert found.remedy
    assert SECRET not in f"{found.message} {found.remedy}"


# --- a standby -------------------------------------------------------------------------------------------


def test_of_several_hosts_the_primary_is_taken(postgresql_url: str) -> None:
    """The first does not answer, the second is no server at all, the third is the one."""
    server, name = shared_server(), database_of(postgresql_url)
    unused = PostgresServer(Path())
    url = f"postgresql://postgres@127.0.0.1:{unused.port},localhost:1,127.0.0.1:{server.port}/{name}"
    engine = open_engine(url, KEY)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()
    with suppress(StoreUnusable):
        open_engine(url.replace(f":{server.port}/", ":2/"), KEY)
        raise AssertionError
