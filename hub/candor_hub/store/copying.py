"""Copying every row of a database into another one, and comparing them (`candor_hub.moving`).

Rows go in batches, in the order of their keys, so that memory does not grow with the tables. A digest is over
every value of every row in that order: types, lengths and octets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from candor_hub.driver import insert_many, sa
from candor_hub.store import Transaction
from candor_hub.store.facts import FEDERATION, MOVED, MOVING, SCHEMA_FACTS
from candor_hub.tables import meta, metadata
from candor_proto.errors import StoreUnusable

_BATCH = 128
_NOT_COPIED = (*SCHEMA_FACTS, FEDERATION, MOVED, MOVING)
# What only replicas have, and what a folder held in place of rows: the target's own.
OWN_TABLES = ("objects", "secrets", "replicas")


@dataclass(frozen=True)
class TableSum:
    """How many rows a table has, and the digest of them."""

    table: str
    rows: int
    digest: str


def tables() -> list[sa.Table]:
    """Those that are copied, each behind the ones that it names."""
    return [table for table in metadata.sorted_tables if table.name not in OWN_TABLES]


def count(tx: Transaction) -> int:
    """How many rows there are to copy."""
    connection = tx.facts._connection
    return sum(
        connection.execute(sa.select(sa.func.count()).select_from(each)).scalar() or 0 for each in tables()
    )


def copy(source: Transaction, target: Transaction, done: Callable[[int], None]) -> list[TableSum]:
    """Copy every row, and have numbers go on above the highest that was ever given; sums of what was read."""
    sums = []
    for table in tables():
        names = [column.name for column in table.columns]
        sum_, quoted = _Sum(table), [_quoted(target, name) for name in names]
        batch: list[tuple[object, ...]] = []
        for row in _rows(source, table):
            sum_.add(row)
            batch.append(row)
            if len(batch) == _BATCH:
                insert_many(target.facts._connection, table.name, quoted, batch)
                done(len(batch))
                batch = []
        insert_many(target.facts._connection, table.name, quoted, batch)
        done(len(batch))
        _go_on(source, target, table)
        sums.append(sum_.made())
    return sums


def sums(tx: Transaction) -> list[TableSum]:
    """Of every table that is copied."""
    found = []
    for table in tables():
        sum_ = _Sum(table)
        for row in _rows(tx, table):
            sum_.add(row)
        found.append(sum_.made())
    return found


def compare(source: list[TableSum], target: list[TableSum]) -> None:
    """Raises StoreUnusable unless every table has the same rows."""
    for one, other in zip(source, target, strict=True):
        if one != other:
            raise StoreUnusable(
                f"The table {one.table} was not copied as it is: {one.rows} rows here, {other.rows} there.",
                remedy="The source is untouched. Try --again; tell the developers if it says the same.",
            )


class _Sum:
    def __init__(self, table: sa.Table) -> None:
        self._table = table.name
        self._count = 0
        self._digest = hashlib.sha256()

    def add(self, row: tuple[object, ...]) -> None:
        self._count += 1
        for value in row:
            self._digest.update(_octets(value))

    def made(self) -> TableSum:
        return TableSum(self._table, self._count, self._digest.hexdigest())


def _octets(value: object) -> bytes:
    match value:
        case None:
            return b"n"
        case int():
            octets, kind = str(value).encode(), b"i"
        case str():
            octets, kind = value.encode(), b"t"
        case bytes():
            octets, kind = value, b"b"
        case _:
            raise AssertionError(f"no column holds a {type(value).__name__}")
    return kind + len(octets).to_bytes(8, "big") + octets


def _rows(tx: Transaction, table: sa.Table) -> Iterator[tuple[object, ...]]:
    query = sa.select(table).order_by(*table.primary_key.columns)
    if table is meta:
        query = query.where(meta.c.name.not_in(_NOT_COPIED))
    options: dict[str, Any] = {"yield_per": _BATCH}
    for row in tx.facts._connection.execute(query, execution_options=options):
        yield tuple(row)


def _quoted(tx: Transaction, name: str) -> str:
    return tx.facts._connection.dialect.identifier_preparer.quote(name)


def _go_on(source: Transaction, target: Transaction, table: sa.Table) -> None:
    """The target's next number is above every one that the source has given, though its row be gone."""
    (key, *others) = table.primary_key.columns
    if others or not table.dialect_options["sqlite"]["autoincrement"]:
        return
    given = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    found = source.facts._connection.exec_driver_sql(given, (table.name,)).scalar()
    if found:
        sequence = sa.func.pg_get_serial_sequence(table.name, key.name)
        target.facts._connection.execute(sa.select(sa.func.setval(sequence, int(found))))
