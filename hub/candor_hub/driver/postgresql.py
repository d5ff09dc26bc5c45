"""PostgreSQL, for a hub of several replicas (docs/replicas.md, docs/postgresql.md).

Rules of this file:
- the primary only: a standby may show what is older, and quota, revocation and dedupe would be judged by it;
- a session whose commits would not be durable is refused (`synchronous_commit`, `fsync`, `full_page_writes`);
- one writer at a time over all replicas: a writing transaction begins with the advisory lock WRITER, at READ
  COMMITTED, so that it sees everything committed before the lock was had;
- nothing cancels a statement: a COMMIT that is cancelled while it waits for the standby reports success. A
  warning during COMMIT says the same, and makes the outcome unknown;
- a former primary that came back as one is refused: each promotion begins a timeline, and who has seen a
  newer one works on no older one (`Lineage`);
- no password stands in a URL, a message, a log or an exception.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from candor_hub.driver.done import Done
from candor_hub.driver.lineage import LINEAGE, FormerPrimary, Lineage, Primaries
from candor_hub.driver.options import POSTGRESQL_SCHEMES, SERVER, WRITES
from candor_proto.errors import ConfigInvalid, StoreUnusable

# Set to 1 by tests alone: accepts a server that would lose commits in a power cut, which is several times
# faster. In the environment and not in the settings, so that no configuration can come to hold it.
UNSAFE_FOR_TESTS = "CANDOR_UNSAFE_POSTGRESQL_FOR_TESTS"
OLDEST_SERVER = 14
# The advisory lock of the one writer; `replicas` has others beside it. "Candor" and a number.
WRITER = 0x43616E646F720001
POOLED, OVERFLOW = 10, 10

# A server that does not answer is given up after about ten seconds, by the client: it tries the next host.
_CLIENT = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# What a URL may not say: passwords are in files, and the rest is this module's to decide.
_REFUSED = ("password", "options", "target_session_attrs", "replication", "sslpassword")
_SESSION = (
    # Never cancelled: see above. A lock is waited for without an end, as the group before commits or dies.
    "SET statement_timeout = 0; SET lock_timeout = 0; "
    # A replica that stands still inside a transaction must not keep the others from writing. It ends a
    # session that waits for its client, never one that commits.
    "SET idle_in_transaction_session_timeout = '10s'; "
    # A replica that died while it waited must not be given the lock.
    "SET client_connection_check_interval = '1s'; "
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; "
    "SET tcp_user_timeout = '10s'; "
    # Pinned, so that a configuration that is reloaded does not weaken a session that was checked.
    "SELECT set_config('synchronous_commit', current_setting('synchronous_commit'), false), "
    "current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery(), "
    "current_setting('transaction_read_only'), current_setting('server_encoding'), "
    "current_setting('server_version_num')::int"
)
# What a URL may say of each host.
_OF_A_HOST = ("host", "hostaddr", "port")
# Weaker ones acknowledge before the standby has it on its disk.
_DURABLE = ("on", "remote_apply")


class Session(psycopg.Connection[Any]):
    """A connection that keeps the warnings of the server."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.warnings: list[str] = []
        self.add_notice_handler(self._heard)

    def _heard(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self.warnings.append(notice.message_primary or "")


@dataclass(frozen=True)
class Server:
    """Where the database is, and how a session is opened there."""

    parameters: Mapping[str, str] = field(repr=False)
    password: Callable[[], str | None] = field(default=lambda: None, repr=False)
    lineage: Lineage = field(default_factory=Lineage, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What messages call it: hosts, ports and database, no user."""
        hosts = (self.parameters.get("host") or "localhost").split(",")
        ports = (self.parameters.get("port") or "5432").split(",")
        if len(ports) < len(hosts):
            ports = [ports[0]] * len(hosts)
        places = ",".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=True))
        return f"{places}/{self.parameters.get('dbname') or self.parameters.get('user') or ''}"

    def each(self) -> tuple[Server, ...]:
        """Every server that is named, alone."""
        given = {name: self.parameters[name].split(",") for name in _OF_A_HOST if name in self.parameters}
        count = max(map(len, given.values()), default=1)
        if count == 1:
            return (self,)
        return tuple(
            Server(
                {**self.parameters, **{name: (some * count)[at] for name, some in given.items()}},
                self.password,
                self.lineage,
            )
            for at in range(count)
        )

    def primaries(self) -> Primaries:
        """Asks every server that is named, one after the other; none of them is written to."""
        found, silent = dict[tuple[int, str], str](), list[str]()
        for server in self.each():
            arguments = {**server.arguments(), "target_session_attrs": "any", "connect_timeout": "3"}
            try:
                with Session.connect(**arguments, autocommit=True) as session:  # type: ignore[arg-type]  # as below
                    _, timeline, started = session.execute(LINEAGE).fetchone() or ("", 0, "")
            except psycopg.Error:
                silent.append(server.name)
                continue
            if timeline:
                # One that is named twice is one.
                found.setdefault((timeline, started), server.name)
        return Primaries({name: timeline for (timeline, _), name in found.items()}, tuple(silent))

    def arguments(self) -> dict[str, str]:
        """For `connect` of psycopg, with the password if there is one: never to be printed."""
        found = {**_CLIENT, "application_name": f"candor-hub {socket.gethostname()}", **self.parameters}
        # The primary alone, of all hosts that are named.
        found["target_session_attrs"] = "read-write"
        password = self.password()
        return found if password is None else {**found, "password": password}

    def connect(self, *, autocommit: bool = False) -> Session:
        """A session on the primary, checked; the caller closes it.

        Raises StoreUnusable for a server that is none or loses commits, psycopg.Error for one that does not
        answer.
        """
        try:
            return self._connect(autocommit)
        except FormerPrimary:
            # libpq takes the first that may be written to.
            for server in self.each():
                if server is not self:
                    with suppress(StoreUnusable, psycopg.Error):
                        return server._connect(autocommit)
            raise

    def _connect(self, autocommit: bool) -> Session:
        session = Session.connect(**self.arguments())  # type: ignore[arg-type]  # texts are what libpq takes
        try:
            check_session(session.execute(_SESSION), self.name)
            self.lineage.check(session.execute(LINEAGE).fetchone(), self.name)
            session.commit()
            session.autocommit = autocommit
        except BaseException:
            session.close()
            raise
        return session


def check_session(cursor: Any, name: str) -> None:
    """Judge the answers to the settings of a session; raises StoreUnusable."""
    while cursor.nextset():
        pass
    commit, fsync, full_pages, recovering, read_only, encoding, version = cursor.fetchone()
    if recovering or read_only == "on":
        raise StoreUnusable(
            f"The database server {name} is not the primary: it does not let anybody write.",
            remedy="Name every server in `database_url`: the hub takes the one that is the primary.",
        )
    if version < OLDEST_SERVER * 10_000:
        raise StoreUnusable(
            f"The database server {name} is PostgreSQL {version // 10_000}, which is too old.",
            remedy=f"Use PostgreSQL {OLDEST_SERVER} or newer.",
        )
    if encoding != "UTF8":
        raise StoreUnusable(
            f"The database {name} has the encoding {encoding}.",
            remedy="Create it with ENCODING 'UTF8' (docs/postgresql.md).",
        )
    if os.environ.get(UNSAFE_FOR_TESTS) == "1":
        return
    weak = [
        f"{setting} = {value}"
        for setting, value, wanted in (
            ("synchronous_commit", commit, _DURABLE),
            ("fsync", fsync, ("on",)),
            ("full_page_writes", full_pages, ("on",)),
        )
        if value not in wanted
    ]
    if weak:
        raise StoreUnusable(
            f"The database server {name} has {', '.join(weak)}: it would lose what was accepted.",
            remedy="Set it to `on` (docs/postgresql.md); a hub whose commits are not durable must not run.",
        )


def parse_url(url: str, password: Callable[[], str | None] = lambda: None) -> Server:
    """`postgresql://user@host:port,host:port/name?sslmode=…` as libpq reads it; raises ConfigInvalid.

    `password` says the password, if there is one, for each session.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in POSTGRESQL_SCHEMES:
        raise ConfigInvalid("database_url is no URL of a PostgreSQL database.")
    try:
        parameters = {
            name: str(value)
            for name, value in conninfo_to_dict(f"postgresql://{rest}").items()
            if value is not None
        }
    except psycopg.Error:
        raise ConfigInvalid(
            "database_url cannot be read.",
            remedy="Write it as postgresql://user@host:5432/name; several hosts are divided by commas.",
        ) from None
    refused = [name for name in _REFUSED if name in parameters]
    if refused:
        raise ConfigInvalid(
            f"database_url holds {refused[0]}, which has no place there.",
            remedy="A password is in a file of its own: `database_password_file`, or PGPASSFILE.",
        )
    # SQLAlchemy's way of naming several hosts, which libpq would read as the last one of them.
    hosts = [value for name, value in parse_qsl(urlsplit(f"postgresql://{rest}").query) if name == "host"]
    if len(hosts) > 1:
        pairs = [host.rpartition(":") if ":" in host else (host, "", "5432") for host in hosts]
        parameters |= {"host": ",".join(host for host, _, _ in pairs)}
        parameters |= {"port": ",".join(port for _, _, port in pairs)}
    return Server(parameters, password)


def open_server(server: Server) -> Engine:
    """Connect; raises StoreUnusable."""
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=server.connect,
        hide_parameters=True,
        use_native_hstore=False,
        pool_size=POOLED,
        max_overflow=OVERFLOW,
        execution_options={SERVER: server},
    )
    event.listen(engine, "begin", _begin)
    try:
        engine.connect().close()
    except DBAPIError as error:
        engine.dispose()
        raise explain(error, engine) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def server_of(engine: Engine) -> Server:
    found = engine.get_execution_options()[SERVER]
    assert isinstance(found, Server)
    return found


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")


def commit(connection: Connection) -> None:
    """Commit; raises StoreUnusable when the server warns that it did so here and perhaps nowhere else."""
    session: Any = connection.connection.dbapi_connection
    session.warnings.clear()
    connection.commit()
    if session.warnings:
        raise StoreUnusable(
            "The database server gave a warning while it stored a step: its standby may not have it. "
            "Nobody knows whether the step would survive the loss of the server.",
            remedy="See the log of PostgreSQL. The step is safe to repeat.",
        )


def execute(connection: Connection, statement: str, values: tuple[object, ...]) -> Done:
    """Past SQLAlchemy, as on SQLite."""
    session: Any = connection.connection.dbapi_connection
    try:
        cursor = session.execute(statement, values, binary=True)
        return Done(cursor.fetchall() if cursor.description else (), cursor.rowcount)
    except psycopg.Error as error:
        raise DBAPIError.instance(
            None,
            None,
            error,
            psycopg.Error,
            hide_parameters=True,
            connection_invalidated=session.closed,
            dialect=connection.dialect,
        ) from error


_AGAIN = "The step can be repeated."
_ENDED = (
    "The connection to the database {name} ended; nobody knows whether the step under way was stored.",
    "candor-hub goes on by itself when a primary answers; the step is safe to repeat.",
)
# By SQLSTATE (PostgreSQL, appendix A), the longest beginning that fits: what happened, what to do.
_SENTENCES = {
    "08": _ENDED,
    "22": ("The database {name} refused a value.", "See the hub's log."),
    "25006": (
        "The database {name} lets nobody write: it is a standby, or was set to read-only.",
        "Name every server in `database_url`; the hub takes the primary.",
    ),
    "25P03": (
        "The database {name} ended a transaction that stood still for ten seconds; nothing of it was stored.",
        "Look why this machine stood still: suspended, out of memory, or overloaded. " + _AGAIN,
    ),
    "28": (
        "The database {name} refused the user or the password.",
        "Check user and `database_password_file` (or PGPASSFILE), and pg_hba.conf on the server.",
    ),
    "3D000": (
        "There is no such database on the server: {name}.",
        "Create it first: docs/postgresql.md, section 1.",
    ),
    "40": ("The database {name} undid the step.", _AGAIN),
    "42501": (
        "The user of the database {name} lacks a permission.",
        "Make it the owner of the database: docs/postgresql.md, section 1.",
    ),
    "42P01": (
        "The database {name} has not the tables of this program.",
        "Is it another database? `candor-hub init --database-url` makes a new hub in an empty one.",
    ),
    "53100": ("The disk of the database {name} is full; nothing was stored.", "Make room. " + _AGAIN),
    "53200": ("The database server {name} has no memory left.", "End what uses it. " + _AGAIN),
    "53300": (
        "The database server {name} has no connection left.",
        f"Raise max_connections: each replica may need {POOLED + OVERFLOW + 4}.",
    ),
    "53": ("The database server {name} lacks a resource.", "See the log of PostgreSQL. " + _AGAIN),
    "55": ("The database {name} is locked by somebody.", _AGAIN),
    "57": _ENDED,
    "58": (
        "The disk of the database {name} reported an error.",
        "See the log of PostgreSQL and of its system before going on.",
    ),
    "XX": (
        "The database {name} is damaged.",
        "Stop every replica, see the log of PostgreSQL, and fail over to the standby or restore a backup.",
    ),
}


# How a server without a connection left says so before there is a session, and with it a code.
_CROWDED = ("too many connections", "too many clients", "remaining connection slots")


def explain(error: SQLAlchemyError, engine: Engine) -> StoreUnusable:
    """The sentence for an error of the database; statements and parameters are left out of it."""
    server = server_of(engine)
    origin = getattr(error, "orig", None)
    if not isinstance(origin, psycopg.Error):
        if isinstance(error, sa.exc.TimeoutError):
            return StoreUnusable(
                "Every connection of this process to the database is in use.", remedy="Try again in a moment."
            )
        return _refused(server.name, error)
    state = origin.sqlstate or ""
    for length in (5, 2):
        sentence = _SENTENCES.get(state[:length])
        if sentence is not None:
            return StoreUnusable(sentence[0].format(name=server.name), remedy=sentence[1])
    if not state and isinstance(origin, psycopg.OperationalError):
        return _no_connection(server, origin)
    return _refused(server.name, origin)


def _refused(name: str, error: BaseException) -> StoreUnusable:
    return StoreUnusable(
        f"The database {name} refused a step ({type(error).__name__}).",
        remedy="See the hub's log; `candor-hub doctor` checks the database.",
    )


def _no_connection(server: Server, error: psycopg.OperationalError) -> StoreUnusable:
    """No session could be had, or it was lost; what libpq says of it names hosts, users and reasons."""
    said = " ".join(str(error).split())[:400]
    password = server.password()
    if password and password in said:
        said = "…"
    if any(words in said for words in _CROWDED):
        remedy = _SENTENCES["53300"][1]
    else:
        remedy = (
            "Check servers and network, user and `database_password_file` (or PGPASSFILE), pg_hba.conf; "
            "a step that was under way is safe to repeat."
        )
    return StoreUnusable(f"The database {server.name} cannot be reached: {said}", remedy=remedy)
