"""Statements about many rows, the same for both databases.

By hand, because SQLAlchemy takes up to a tenth of a millisecond for each key of a list, and about many rows
at once: SQLite gives the interpreter away and takes it back for every step of a statement, which with a busy
event loop beside it costs more than the step; and to PostgreSQL each statement is a journey. Texts come from
this program only; what they are about are parameters. A text for each length would be prepared anew each
time: lengths are powers of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from candor_hub.driver import sqlite
from candor_hub.driver.done import Done

# A statement names at most so many keys, and inserts at most so many rows.
_BATCH = 512
_INSERTED = 256
T = TypeVar("T")


def batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """`items` in pieces that one statement can name."""
    return (items[at : at + _BATCH] for at in range(0, len(items), _BATCH))


def _execute(connection: Connection, statement: str, values: tuple[object, ...]) -> Done:
    """Run a statement of this program's own in the transaction of `connection`."""
    if connection.dialect.name == "sqlite":
        return sqlite.execute(connection, statement, values)
    from candor_hub.driver import postgresql

    return postgresql.execute(connection, statement, values)


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
    values: tuple[object, ...] = (),
) -> Iterator[Any]:
    """The rows of `select … WHERE (columns) IN keys`, which are many; `end` follows.

    `?` in `select` stands for `values`.
    """
    for done in _about(connection, select, columns, keys, end, values):
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
) -> Iterator[Done]:
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
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[object, ...]],
    number: str = "",
) -> range | None:
    """Add the rows, in their order.

    `number` is the column whose numbers the database gives: the result is what it gave, in the order of the
    rows. They follow each other, for nobody else writes meanwhile; None where they do not.
    """
    given: list[int] = []
    returning = number if number and connection.dialect.name != "sqlite" else ""
    for some in _powers(rows):
        statement = _insert(table, tuple(columns), len(some), _mark(connection), returning)
        done = _execute(connection, statement, tuple(chain.from_iterable(some)))
        if returning:
            given += [row[0] for row in done.rows]
        elif number and done.last is not None:
            given += range(done.last - len(some) + 1, done.last + 1)
    if not number or not given:
        return None if rows or not number else range(0)
    found = range(given[0], given[0] + len(rows))
    return found if given == list(found) else None


@lru_cache(256)
def _insert(table: str, columns: tuple[str, ...], count: int, mark: str, returning: str) -> str:
    values = ", ".join([_marks(len(columns), mark)] * count)
    end = f" RETURNING {returning}" if returning else ""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}{end}"  # noqa: S608 - our own texts


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
