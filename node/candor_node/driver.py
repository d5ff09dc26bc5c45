"""Opens the node's encrypted database (STACK.md §4.1, RELIABILITY.md §1 and §7).

Rules of this file:
- it is imported before `sqlite_utils`, which would otherwise settle on the standard `sqlite3` for good;
  everything else takes `Database`, `Migrations` and the error classes from here or from `store`;
- the key is 32 raw octets and stands in no message, no log and no exception;
- every error of the database library becomes one sentence that an operator can act on (`explain`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

import sqlcipher3
from sqlcipher3 import dbapi2

if "sqlite_utils" in sys.modules and sys.modules.get("pysqlite3") is not sqlcipher3:
    raise ImportError("candor_node.driver must be imported before sqlite_utils")
sys.modules["pysqlite3"], sys.modules["pysqlite3.dbapi2"] = sqlcipher3, dbapi2

from sqlite_utils import Database, Migrations  # noqa: E402
from sqlite_utils.db import Table  # noqa: E402

from candor_proto.errors import StoreUnusable  # noqa: E402

__all__ = [
    "KEY_OCTETS",
    "Database",
    "DatabaseError",
    "IntegrityError",
    "Migrations",
    "OperationalError",
    "Table",
    "explain",
    "is_old",
    "open_database",
    "open_unchanging",
    "sqlite_version",
]

# All errors of the library: without memory it also says InterfaceError, which is no dbapi2.DatabaseError.
DatabaseError: type[Exception] = dbapi2.Error
IntegrityError: type[Exception] = dbapi2.IntegrityError
OperationalError: type[Exception] = dbapi2.OperationalError

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
    # Destroyed record keys and epoch seeds are overwritten, not only unlinked.
    "secure_delete = ON",
    "mmap_size = 0",
)


def sqlite_version() -> str:
    """Of the SQLite that SQLCipher carries."""
    return str(dbapi2.sqlite_version)


def is_old() -> bool:
    """Whether that one can corrupt a database silently."""
    return bool(dbapi2.sqlite_version_info < OLDEST_SQLITE)


def open_database(path: Path, key: bytes) -> Database:
    """The database at `path`, which must exist (an empty file is a new database).

    `key` is 32 octets. The connection belongs to the calling thread. Raises StoreUnusable.
    """
    if len(key) != KEY_OCTETS:
        raise StoreUnusable(
            f"The database key must be {KEY_OCTETS} octets, not {len(key)}.",
            remedy="Check the key file, or the command that the configuration names for it.",
        )
    if is_old():
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnusable(
            f"This machine's SQLCipher carries SQLite {dbapi2.sqlite_version}; versions before {oldest} can "
            "corrupt a database silently.",
            remedy="Install sqlcipher3 0.6.4 or newer.",
        )
    if not path.parent.is_dir():
        raise StoreUnusable(
            f"The folder {path.parent} does not exist.", remedy="Check the data folder in the configuration."
        )
    if not path.is_file():
        raise StoreUnusable(f"There is no database at {path}.", remedy="Run `candor-node init` first.")
    try:
        connection = dbapi2.connect(str(path))
    except (DatabaseError, MemoryError) as error:
        raise explain(error, path) from None
    try:
        _unlock(connection, key)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreUnusable(
                f"The file system of {path} does not support the write-ahead log.",
                remedy="Put the database on a local disk, not on a network share.",
            )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        # Plug-ins of other installations have no business in this process.
        return Database(connection, execute_plugins=False)
    except (DatabaseError, MemoryError) as error:
        connection.close()
        raise explain(error, path) from None
    except BaseException:
        connection.close()
        raise


def _unlock(connection: dbapi2.Connection, key: bytes) -> None:
    # SQLCipher would write its own lines to standard error for every page that does not decrypt.
    connection.execute("PRAGMA cipher_log_level = NONE")
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a wrong key fails here


def open_unchanging(path: Path, key: bytes) -> Database:
    """A database file that nobody writes (a part of a backup), for reading; nothing is made beside it.

    The connection belongs to the calling thread. Raises StoreUnusable.
    """
    if not path.is_file():
        raise StoreUnusable(f"There is no file {path}.", remedy="Check the path.")
    try:
        connection = dbapi2.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
    except (DatabaseError, MemoryError) as error:
        raise explain(error, path) from None
    try:
        _unlock(connection, key)
        connection.execute("PRAGMA trusted_schema = OFF")
        return Database(connection, execute_plugins=False)
    except (DatabaseError, MemoryError) as error:
        connection.close()
        raise explain(error, path) from None
    except BaseException:
        connection.close()
        raise


# By primary result code of SQLite (https://www.sqlite.org/rescode.html): what happened, what to do.
_BUSY = ("Another process holds {path} locked.", "End the other process and try again.")
_SENTENCES = {
    5: _BUSY,
    6: _BUSY,
    8: (
        "{path} or its disk is read-only; nothing of this step was stored.",
        "Make the folder writable for the user that runs candor-node.",
    ),
    10: (
        "The disk with {path} reported an error.",
        "Check the disk and the system log before going on; then restart candor-node.",
    ),
    11: ("The database {path} is damaged.", "Stop candor-node and restore the last backup."),
    13: (
        "The disk with {path} is full; nothing of this step was stored.",
        "Free some space; the step can then be repeated.",
    ),
    14: (
        "{path} cannot be opened.",
        "Check that folder and file belong to the user that runs candor-node.",
    ),
    26: (
        "The database key does not fit this database, or {path} is not a Candor database.",
        "Use the key it was made with, or restore the backup that belongs to the key.",
    ),
}


_REPORTED, _FULL = 10, 13


def _is_full(file: Path) -> bool:
    try:
        return os.statvfs(file.parent).f_bavail == 0
    except OSError:
        return False


def explain(error: Exception, path: Path) -> StoreUnusable:
    """The sentence for an error of the database library, whose own text names no values of columns."""
    if isinstance(error, MemoryError):  # the library's way of saying SQLITE_NOMEM
        return StoreUnusable(
            "This machine has no memory left for the database; nothing of this step was stored.",
            remedy="End what uses the memory; the step can then be repeated.",
        )
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    if code == _REPORTED and _is_full(path):
        code = _FULL  # it could not even make the file that its readers share
    sentence = _SENTENCES.get(code)
    if sentence is None:
        return StoreUnusable(f"The database {path} refused a step: {error}.")
    return StoreUnusable(sentence[0].format(path=path), remedy=sentence[1])
