"""PostgreSQL for tests: real servers, started by the tests themselves (STACK.md §4.3).

    def test_something(postgresql_url): ...     an empty database with the newest schema, of its own
    pytestmark = pytest.mark.usefixtures("each_database")
                                                every test of the file on SQLite and on PostgreSQL

Each process of the tests starts at most one server, when the first test wants it, and ends it when it ends
itself. It does not sync: what tests assert of durability they assert with `Cluster`, which does. As root the
server runs as the user `postgres`, for PostgreSQL refuses root. Where it is not installed the tests skip.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from candor_hub.driver import open_engine
from candor_hub.driver.postgresql import UNSAFE_FOR_TESTS
from candor_hub.migrations import migrate

MISSING = "PostgreSQL is not installed: `apt-get install postgresql` (tools/debian_packages.sh does it)."
_TEMPLATE = "candor_template"
_UNSAFE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")
# As whom the server's programs run: PostgreSQL refuses root.
DROP: dict[str, Any] = (
    {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
)
_numbers = itertools.count(1)


def programs() -> Path:
    """The folder of the newest PostgreSQL's programs; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.skip(MISSING)
    return found[-1].parent


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(programs() / program), *arguments],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **DROP,
    )
    assert done.returncode == 0, f"{program}: status {done.returncode}: {done.stdout}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class PostgresServer:
    """One server on 127.0.0.1, its data in `folder`/data."""

    folder: Path
    port: int = field(default_factory=free_port)

    @classmethod
    def made(cls, *, sync: bool = False) -> PostgresServer:
        """A new, stopped one; without `sync` it does not even sync what initdb writes."""
        folder = Path(tempfile.mkdtemp(prefix="candor-pg-"))
        if DROP:
            shutil.chown(folder, "postgres", "postgres")
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        _run("initdb", "-D", f"{folder}/data", *options, *(() if sync else ("--no-sync",)))
        return cls(folder)

    def start(self, *settings: str) -> None:
        """Start with these settings, such as fsync=off; a given port is kept from start to start."""
        given = ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", *settings)
        options = " ".join([f"-p {self.port}", *(f"-c {setting}" for setting in given)])
        _run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "start", "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        _run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "stop")

    def kill(self) -> None:
        """As by an accident: SIGKILL to the server and all its processes."""
        postmaster = self.pid
        assert postmaster is not None, "it does not run"
        children = subprocess.run(
            ["pgrep", "-P", str(postmaster)], capture_output=True, text=True, check=False
        ).stdout.split()
        for process in (postmaster, *map(int, children)):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + 10
        while _alive(postmaster) and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def pid(self) -> int | None:
        """Of the postmaster; None when it was stopped, and still its own when it was killed."""
        try:
            return int((self.folder / "data/postmaster.pid").read_text().split()[0])
        except (OSError, IndexError):
            return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, outside of a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@cache
def shared_server() -> PostgresServer:
    """The server of this process, which holds a template with the newest schema."""
    server = PostgresServer.made()

    def end() -> None:
        server.stop()
        server.remove()

    server.start(*_UNSAFE, "max_connections=200", "shared_buffers=32MB", "max_wal_size=256MB")
    atexit.register(end)
    server.execute(f"CREATE DATABASE {_TEMPLATE}")
    with unsafe():
        engine = open_engine(server.url(_TEMPLATE), b"")
        migrate(engine)
        engine.dispose()
    return server


@contextmanager
def unsafe() -> Iterator[None]:
    """Let the hub use servers that do not sync."""
    before = os.environ.get(UNSAFE_FOR_TESTS)
    os.environ[UNSAFE_FOR_TESTS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[UNSAFE_FOR_TESTS]
        else:
            os.environ[UNSAFE_FOR_TESTS] = before


def new_database(template: str = _TEMPLATE) -> str:
    """The URL of a new database of this process's server; `template1` makes an empty one."""
    server = shared_server()
    name = f"t{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.url(name)


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """A database of its own for the test, with the newest schema and no hub in it."""
    with unsafe():
        yield new_database()


class _Chosen:
    """What `chosen_url` says while a test runs."""

    postgresql = False


def chosen_url() -> str:
    """The `database_url` of a new hub: empty for the embedded database, unless `each_database` says else."""
    return new_database() if _Chosen.postgresql else ""


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Hubs of this test are made on this database (`tests.unit.hub.offices`)."""
    if request.param == "sqlite":
        yield "sqlite"
        return
    with unsafe():
        _Chosen.postgresql = True
        try:
            yield "postgresql"
        finally:
            _Chosen.postgresql = False


@dataclass
class Cluster:
    """A primary and a standby that it waits for: what was acknowledged is on both disks."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def url(self) -> str:
        """Of both, for the hub takes the one that is the primary."""
        first, second = self.primary.port, self.standby.port
        return f"postgresql://postgres@127.0.0.1:{first},127.0.0.1:{second}/candor"

    @property
    def standby_first(self) -> str:
        """As `url`, the other way round."""
        first, second = self.standby.port, self.primary.port
        return f"postgresql://postgres@127.0.0.1:{first},127.0.0.1:{second}/candor"

    def promote(self) -> None:
        """Make the standby the primary; it waits for nobody."""
        self.standby.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        _run("pg_ctl", "-D", f"{self.standby.folder}/data", "-w", "promote")


@contextmanager
def synchronous_cluster(*, sync: bool = True) -> Iterator[Cluster]:
    """A primary with the empty database `candor`, and its synchronous standby.

    With `sync` both sync to the disk; without it they are for hubs that are `unsafe`.
    """
    primary = PostgresServer.made(sync=sync)
    standby: PostgresServer | None = None
    settings = ("max_connections=200", *(() if sync else ("fsync=off", "full_page_writes=off")))
    try:
        primary.start("wal_keep_size=1GB", *settings)
        standby = _standby_of(primary, *settings)
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 20
        while not primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.05)
        primary.execute("CREATE DATABASE candor")
        yield Cluster(primary, standby)
    finally:
        for server in (primary, standby):
            if server is not None:
                with suppress(AssertionError):  # the test has killed it
                    server.stop()
                server.remove()


def _standby_of(primary: PostgresServer, *settings: str) -> PostgresServer:
    folder = Path(tempfile.mkdtemp(prefix="candor-pg-"))
    if DROP:
        shutil.chown(folder, "postgres", "postgres")
    source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
    _run("pg_basebackup", "-D", f"{folder}/data", "-d", source, "-R", "-X", "stream", "-c", "fast")
    standby = PostgresServer(folder)
    standby.start(*settings)
    return standby
