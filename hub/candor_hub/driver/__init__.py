"""Opens the hub's database, SQLite or PostgreSQL; nothing else knows which one it is (STACK.md §4.2).

Rules of this package:
- statements that only one of them understands stand here and nowhere else: what `store` says works on both;
- whoever writes holds the one writer's lock: SQLite's own, or an advisory lock over all replicas (ADR 0030);
- keys and passwords stand in no message, no log and no exception;
- psycopg is imported when a database at a server is opened: it is slow to import.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from candor_hub.driver import soundness, sqlite
from candor_hub.driver.options import FOREIGN_KEYS_OFF, POSTGRESQL_SCHEMES, WRITES
from candor_hub.driver.sqlite import KEY_OCTETS, is_old, sqlite_version
from candor_hub.driver.statements import batches, change_matching, insert_many, matching, single
from candor_proto.errors import ConfigInvalid, StoreUnusable

if TYPE_CHECKING:
    from candor_hub.driver.postgresql import Server

__all__ = [
    "FAILURES",
    "KEY_OCTETS",
    "Connection",
    "DBAPIError",
    "Engine",
    "IntegrityError",
    "RowMapping",
    "SQLAlchemyError",
    "batches",
    "change_matching",
    "changes_of",
    "commit",
    "discard",
    "explain",
    "insert_many",
    "is_embedded",
    "is_old",
    "matching",
    "migrating",
    "open_engine",
    "reading",
    "sa",
    "server_of",
    "single",
    "soundness",
    "sqlite_version",
    "writing",
]

# What a database can do to whoever uses it; anything else is a mistake in this program.
FAILURES = (DBAPIError, NoConnectionFree, MemoryError)


def open_engine(
    url: str, key: bytes, *, create: bool = False, password: Callable[[], str | None] = lambda: None
) -> Engine:
    """Connect to the database at `url`; the file of an embedded one must exist unless `create`.

    `key` is 32 octets and opens an embedded database; `password` says that of a server.
    Raises StoreUnusable or ConfigInvalid.
    """
    if url.partition("://")[0] in POSTGRESQL_SCHEMES:
        from candor_hub.driver import postgresql

        return postgresql.open_server(postgresql.parse_url(url, password))
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return sqlite.open_file(Path(parsed.database or ""), key, create=create)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        pass
    raise ConfigInvalid(
        "database_url names no database that can be used here.",
        remedy="Leave it out for the embedded database, or write postgresql://user@host:5432/name.",
    )


def is_embedded(engine: Engine) -> bool:
    """Whether it is a file of this machine, which one hub has for itself."""
    return engine.dialect.name == "sqlite"


def changes_of(engine: Engine) -> sqlite.Changes | None:
    """Tells whether anybody has committed; None for a server, which has no such number."""
    return sqlite.Changes(engine) if is_embedded(engine) else None


def server_of(engine: Engine) -> Server | None:
    """How to open further sessions; None for an embedded database."""
    if is_embedded(engine):
        return None
    from candor_hub.driver.postgresql import server_of as found

    return found(engine)


def reading(engine: Engine) -> Engine:
    """The same engine, whose transactions see one state of everything and change nothing."""
    if is_embedded(engine):
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the one writer's lock when they begin."""
    if is_embedded(engine):
        return engine.execution_options(**{WRITES: True})
    # Not REPEATABLE READ: its one view of everything would be that of before the lock was had.
    return engine.execution_options(**{WRITES: True}, isolation_level="READ COMMITTED")


def migrating(engine: Engine) -> Engine:
    """As `writing`, for steps that make tables anew; `connection.invalidate()` ends its use."""
    return writing(engine).execution_options(**{FOREIGN_KEYS_OFF: True})


def commit(connection: Connection) -> None:
    """Commit the transaction of `connection`.

    Raises StoreUnusable when the server cannot vouch for it, DBAPIError when it failed: both mean unknown.
    """
    if connection.dialect.name == "sqlite":
        connection.commit()
    else:
        from candor_hub.driver.postgresql import commit as checked

        checked(connection)


def discard(connection: Connection, error: BaseException) -> None:
    """After an error of the disk or the server nothing that a connection remembers is to be trusted.

    When the server has gone, so have the other connections of the pool.
    """
    gone = isinstance(error, DBAPIError) and error.connection_invalidated
    if not connection.invalidated:
        connection.invalidate()
    if gone and connection.dialect.name != "sqlite":
        connection.engine.dispose()


def explain(error: SQLAlchemyError | MemoryError, engine: Engine) -> StoreUnusable:
    """The sentence for an error of the database; statements and parameters are left out of it."""
    if isinstance(error, MemoryError):  # the library's way of saying SQLITE_NOMEM
        return StoreUnusable(
            "This machine has no memory left for the database; nothing of this step was stored.",
            remedy="End what uses the memory; the step can then be repeated.",
        )
    if is_embedded(engine):
        return sqlite.explain(error, engine)
    from candor_hub.driver.postgresql import explain as explained

    return explained(error, engine)
