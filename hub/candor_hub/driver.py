"""Opens the hub's database; the only module that knows which database it is (STACK.md §4.2).

Rules of this file:
- SQLite-only statements stand here and nowhere else: what `store` says works on PostgreSQL as well;
- SQLite comes from sqlcipher3, never from Python: that one encrypts, and Debian's has the WAL-reset bug;
- the key is 32 raw octets and stands in no message, no log and no exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, RowMapping, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlcipher3 import dbapi2

from candor_proto.errors import ConfigInvalid, StoreUnusable

__all__ = [
    "KEY_OCTETS",
    "Connection",
    "DBAPIError",
    "Engine",
    "IntegrityError",
    "RowMapping",
    "batches",
    "change_matching",
    "explain",
    "insert_many",
    "matching",
    "open_engine",
    "sa",
    "single",
    "sqlite_version",
    "writing",
]

KEY_OCTETS = 32
# The first version without the WAL-reset bug, which corrupts silently (RELIABILITY.md, finding 1).
OLDEST_SQLITE = (3, 51, 3)
BUSY_TIMEOUT_MILLISECONDS = 5_000
_WRITES = "candor_writes"
# A statement names at most so many keys, and inserts at most so many rows.
_BATCH = 512
_INSERTED = 256
T = TypeVar("T")

_PRAGMAS = (
    # Acknowledged means fsynced: WAL with NORMAL loses commits in a power cut (RELIABILITY.md, finding 2).
    "synchronous = FULL",
    "foreign_keys = ON",
    f"busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
)


def sqlite_version() -> str:
    """The version of the SQLite inside the driver."""
    return str(dbapi2.sqlite_version)


def open_engine(url: str, key: bytes, *, create: bool = False) -> Engine:
    """Connect to the database at `url`; the file of an embedded one must exist unless `create`.

    `key` is 32 octets and used by SQLite alone. Raises StoreUnusable or ConfigInvalid.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise ConfigInvalid(
            "database_url names no database that can be used here.",
            remedy="Leave it out for the embedded database, or write sqlite:////path/to/hub.db.",
        ) from None
    return _open_sqlite(Path(parsed.database or ""), key, create)


def _open_sqlite(path: Path, key: bytes, create: bool) -> Engine:
    if len(key) != KEY_OCTETS:
        raise StoreUnusable(
            f"The database key must be {KEY_OCTETS} octets, not {len(key)}.", remedy="Check the key file."
        )
    if dbapi2.sqlite_version_info < OLDEST_SQLITE:
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
    # A deferred transaction that turns into a writing one fails at once when another wrote in between.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock when they begin."""
    return engine.execution_options(**{_WRITES: True})


def batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """`items` in pieces that one statement can name."""
    return (items[at : at + _BATCH] for at in range(0, len(items), _BATCH))


# --- statements about many rows ----------------------------------------------------------------------------
#
# By hand, because SQLAlchemy takes up to a tenth of a millisecond for each key of a list, and about many rows
# at once, because SQLite gives the interpreter away and takes it back for every step of a statement: with a
# busy event loop beside it that costs more than the step. Texts come from this program only; what they are
# about are parameters. A text for each length would be prepared anew each time: lengths are powers of two.


@dataclass(frozen=True, slots=True)
class _Done:
    """What a statement brought: rows, or how many it met; `last` is the number of the last one added."""

    rows: Sequence[Any]
    count: int
    last: int | None


def _execute(connection: Connection, statement: str, values: tuple[object, ...]) -> _Done:
    """Run a statement of this program's own in the transaction of `connection`."""
    if connection.dialect.name != "sqlite":
        result = connection.exec_driver_sql(statement, values)
        return _Done(result.fetchall() if result.returns_rows else (), result.rowcount, None)
    # Past SQLAlchemy, which makes a description of each result: that costs five times what SQLite does.
    raw: Any = connection.connection.dbapi_connection
    try:
        cursor = raw.execute(statement, values)
        return _Done(cursor.fetchall(), cursor.rowcount, cursor.lastrowid)
    except dbapi2.Error as error:
        raise DBAPIError.instance(
            None, None, error, dbapi2.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def single(connection: Connection, statement: str) -> Any:
    """Run `statement`; the one value that it finds, or None."""
    rows = _execute(connection, statement, ()).rows
    return rows[0][0] if rows else None


def matching(
    connection: Connection,
    select: str,
    columns: Sequence[str],
    keys: Iterable[tuple[object, ...]],
    end: str = "",
) -> Iterator[Any]:
    """The rows of `select … WHERE (columns) IN keys`, which are many; `end` follows."""
    for done in _about(connection, select, columns, keys, end):
        yield from done.rows


def change_matching(
    connection: Connection,
    change: str,
    columns: Sequence[str],
    keys: Iterable[tuple[object, ...]],
    values: tuple[object, ...] = (),
) -> int:
    """`change … WHERE (columns) IN keys`, where `?` in `change` stands for `values`; how many rows it met."""
    return sum(done.count for done in _about(connection, change, columns, keys, "", values))


def _about(
    connection: Connection,
    start: str,
    columns: Sequence[str],
    keys: Iterable[tuple[object, ...]],
    end: str,
    values: tuple[object, ...] = (),
) -> Iterator[_Done]:
    for some in batches(list(keys)):
        # The same key twice changes nothing.
        padded = [*some, *[some[-1]] * (_rounded(len(some)) - len(some))]
        statement = _where_in(start, tuple(columns), len(padded), end, _mark(connection))
        yield _execute(connection, statement, values + tuple(chain.from_iterable(padded)))


@lru_cache(256)
def _where_in(start: str, columns: tuple[str, ...], count: int, end: str, mark: str) -> str:
    one = _marks(len(columns), mark)
    values = ", ".join([one] * count)
    return f"{start.replace('?', mark)} WHERE ({', '.join(columns)}) IN (VALUES {values}) {end}"


def insert_many(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> range | None:
    """Add the rows, in their order. The numbers that the database gave them, where it is known to give them
    one after the other: the table's key is a number that SQLite chooses, and nobody else writes.
    """
    given, begun = True, range(0)
    for some in _powers(rows):
        statement = _insert(table, tuple(columns), len(some), _mark(connection))
        last = _execute(connection, statement, tuple(chain.from_iterable(some))).last
        if last is None:
            given = False
        else:
            begun = range(begun.start if begun else last - len(some) + 1, last + 1)
    return begun if given and len(begun) == len(rows) else None


@lru_cache(256)
def _insert(table: str, columns: tuple[str, ...], count: int, mark: str) -> str:
    values = ", ".join([_marks(len(columns), mark)] * count)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}"  # noqa: S608 - our own texts


def _powers(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """`rows` in pieces whose lengths are powers of two, the longest first."""
    at = 0
    while at < len(rows):
        length = min(1 << (len(rows) - at).bit_length() - 1, _INSERTED)
        yield rows[at : at + length]
        at += length


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


def _marks(count: int, mark: str) -> str:
    return f"({', '.join([mark] * count)})"


def _rounded(count: int) -> int:
    return min(1 << (count - 1).bit_length(), _BATCH)


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


def explain(error: SQLAlchemyError | MemoryError, engine: Engine) -> StoreUnusable:
    """The sentence for an error of the database; statements and parameters are left out of it."""
    if isinstance(error, MemoryError):  # the library's way of saying SQLITE_NOMEM
        return StoreUnusable(
            "This machine has no memory left for the database; nothing of this step was stored.",
            remedy="End what uses the memory; the step can then be repeated.",
        )
    name = engine.url.database or "the database"
    origin = getattr(error, "orig", None)
    sentence = _SENTENCES.get((getattr(origin, "sqlite_errorcode", 0) or 0) & 0xFF)
    if sentence is None:
        return StoreUnusable(
            f"The database {name} refused a step ({type(origin or error).__name__}).",
            remedy="See the hub's log; `candor-hub doctor` checks the database.",
        )
    return StoreUnusable(sentence[0].format(name=name), remedy=sentence[1])
