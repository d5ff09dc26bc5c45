"""SQLite, the embedded database: encrypted by SQLCipher, durable, one writer at a time.

Rules of this file:
- SQLite comes from sqlcipher3, never from Python: that one encrypts, and Debian's has the WAL-reset bug;
- the key is 32 raw octets and stands in no message, no log and no exception.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlcipher3 import dbapi2

from candor_hub.driver.done import Done
from candor_hub.driver.options import FOREIGN_KEYS_OFF, WRITES
from candor_proto.errors import StoreUnusable

KEY_OCTETS = 32
# The first version without the WAL-reset bug, which corrupts silently (RELIABILITY.md, finding 1).
OLDEST_SQLITE = (3, 51, 3)
BUSY_TIMEOUT_MILLISECONDS = 5_000

_PRAGMAS = (
    # Acknowledged means fsynced: WAL with NORMAL loses commits in a power cut (RELIABILITY.md, finding 2).
    "synchronous = FULL",
    "foreign_keys = ON",
    f"busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
)


def is_old() -> bool:
    """Whether that one can corrupt a database silently."""
    return bool(dbapi2.sqlite_version_info < OLDEST_SQLITE)


def sqlite_version() -> str:
    """The version of the SQLite inside the driver."""
    return str(dbapi2.sqlite_version)


def open_file(path: Path, key: bytes, *, create: bool) -> Engine:
    """The database in this file, which must exist unless `create`; raises StoreUnusable."""
    if len(key) != KEY_OCTETS:
        raise StoreUnusable(
            f"The database key must be {KEY_OCTETS} octets, not {len(key)}.", remedy="Check the key file."
        )
    if is_old():
        raise StoreUnusable(
            f"This machine's SQLCipher carries SQLite {dbapi2.sqlite_version}; versions before "
            f"{'.'.join(map(str, OLDEST_SQLITE))} can corrupt a database silently.",
            remedy="Install sqlcipher3 0.6.4 or newer.",
        )
    if not create and not path.is_file():
        raise StoreUnusable(f"There is no database at {path}.", remedy="Run `candor-hub init` first.")
    engine = sa.create_engine(
        f"sqlite:///{path}",
        module=dbapi2,
        connect_args={"check_same_thread": False},
        # What a statement holds does not belong into logs and exceptions.
        hide_parameters=True,
        pool_size=8,
        max_overflow=8,
    )
    event.listen(engine, "connect", _prepare(key))
    event.listen(engine, "begin", _begin)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT count(*) FROM sqlite_master")).scalar()
    except DBAPIError as error:
        engine.dispose()
        raise explain(error, engine) from None
    return engine


def _prepare(key: bytes) -> Any:
    def prepare(connection: Any, _record: object) -> None:
        # We say BEGIN ourselves (`_begin`): the driver would begin late, and deferred.
        connection.isolation_level = None
        # SQLCipher would write its own lines to standard error for every page that does not decrypt.
        connection.execute("PRAGMA cipher_log_level = NONE")
        connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a wrong key fails here
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchone()

    return prepare


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(FOREIGN_KEYS_OFF, False):
        # A table that a migration makes anew is dropped on the way: its rows must not take others along. The
        # pragma does nothing inside a transaction; `check_foreign_keys` comes before the commit.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    # A deferred transaction that turns into a writing one fails at once when another wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES, False) else "BEGIN")


class Changes:
    """Tells whether anybody has committed since, without opening a transaction. Safe to use from any thread.

    SQLite counts for each connection what *others* have committed. So this one is asked alone, and never
    writes: a number from another connection says nothing (https://www.sqlite.org/pragma.html#pragma_data_version).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Any = None
        self._connections = 0

    def mark(self) -> tuple[int, int]:
        """Two that are equal: nobody has committed anything between them. Raises DBAPIError."""
        with self._lock:
            if self._connection is None:
                self._connection = self._engine.raw_connection()
                self._connections += 1
            try:
                # All rows: a statement that is not at its end would hold an old state of the file.
                ((number,),) = self._connection.dbapi_connection.execute("PRAGMA data_version").fetchall()
            except dbapi2.Error as error:
                self._drop()
                raise DBAPIError.instance(None, None, error, dbapi2.Error, hide_parameters=True) from error
            return self._connections, number

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(dbapi2.Error):
                connection.invalidate()


def check_foreign_keys(connection: Connection) -> None:
    """Raises StoreUnusable when a row names another one that is not there."""
    found = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchone()
    if found is not None:
        raise StoreUnusable(
            f"A row of {found[0]} names a row of {found[2]} that is not there.",
            remedy="Restore the last backup; tell the developers if it says the same.",
        )


def copy_file(connection: Connection, target: Path) -> None:
    """A copy of the whole database, under the same key, at `target`, which must not exist; durable.

    `connection` must be in no transaction. Raises StoreUnusable, DBAPIError.
    """
    raw: Any = connection.connection.dbapi_connection
    try:
        raw.execute("VACUUM INTO ?", (str(target),))
        with open(target, "rb") as file:
            os.fsync(file.fileno())
        target.chmod(0o600)
    except dbapi2.Error as error:
        raise _wrapped(connection, error) from error
    except OSError as error:
        raise StoreUnusable(
            f"The copy {target} cannot be written: {error.strerror}.",
            remedy="Make room, or check the folder.",
        ) from None


def execute(connection: Connection, statement: str, values: tuple[object, ...]) -> Done:
    """Past SQLAlchemy, which makes a description of each result: that costs five times what SQLite does."""
    raw: Any = connection.connection.dbapi_connection
    try:
        cursor = raw.execute(statement, values)
        return Done(cursor.fetchall(), cursor.rowcount, cursor.lastrowid)
    except dbapi2.Error as error:
        raise _wrapped(connection, error) from error


def _wrapped(connection: Connection, error: Exception) -> Exception:
    wrapped: Exception = DBAPIError.instance(
        None, None, error, dbapi2.Error, hide_parameters=True, dialect=connection.dialect
    )
    return wrapped


# By primary result code of SQLite (https://www.sqlite.org/rescode.html): what happened, what to do.
_BUSY = ("Another process holds {name} locked.", "End the other process and try again.")
_SENTENCES = {
    5: _BUSY,
    6: _BUSY,
    8: (
        "{name} or its disk is read-only; nothing of this step was stored.",
        "Make the data folder writable for the user that runs candor-hub.",
    ),
    10: (
        "The disk with {name} reported an error.",
        "Check the disk and the system log before going on; then restart candor-hub.",
    ),
    11: ("The database {name} is damaged.", "Stop candor-hub and restore the last backup."),
    13: (
        "The disk with {name} is full; nothing of this step was stored.",
        "Free some space; the step can then be repeated.",
    ),
    14: ("{name} cannot be opened.", "Check that folder and file belong to the user that runs candor-hub."),
    26: (
        "The database key does not fit this database, or {name} is not a Candor database.",
        "Use the key it was made with, or restore the backup that belongs to the key.",
    ),
}


_REPORTED, _FULL = 10, 13


def _is_full(file: Path) -> bool:
    try:
        return os.statvfs(file.parent).f_bavail == 0
    except OSError:
        return False


def explain(error: SQLAlchemyError, engine: Engine) -> StoreUnusable:
    """The sentence for an error of the database; statements and parameters are left out of it."""
    name = engine.url.database or "the database"
    origin = getattr(error, "orig", None)
    code = (getattr(origin, "sqlite_errorcode", 0) or 0) & 0xFF
    if code == _REPORTED and _is_full(Path(name)):
        code = _FULL  # it could not even make the file that its readers share
    sentence = _SENTENCES.get(code)
    if sentence is None:
        return StoreUnusable(
            f"The database {name} refused a step ({type(origin or error).__name__}).",
            remedy="See the hub's log; `candor-hub doctor` checks the database.",
        )
    return StoreUnusable(sentence[0].format(name=name), remedy=sentence[1])
