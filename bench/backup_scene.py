"""A node's database with very many records, made fast: rows as filing makes them, written in bulk."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from candor_node import filings, ledger, lifecycle, record_digests
from candor_node.founding import MIGRATIONS
from candor_node.lifecycle import Doing
from candor_node.store import Database, Store
from candor_proto.canonical import to_milliseconds
from candor_records.gate import gate, gate_day
from candor_records.life import Act
from candor_records.policy import NoPack
from candor_records.records import Dcn, Record
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, STORE_KEY, make_content

AT_ONCE = 5_000
DOING = Doing(NOW, CONTRIBUTOR, NoPack())


def made(folder: Path, records: int) -> Store:
    """An open store in `folder` that holds so many records of one version."""
    store = Store.create(folder / "node.db", STORE_KEY, MIGRATIONS)
    first = store.run_sync(
        lambda db: lifecycle.file(db, make_content(agency_record_id="B-0"), ORI, NODE, DOING).after
    )
    left, number = records - 1, 1
    while left:
        some = min(left, AT_ONCE)
        store.run_sync(lambda db, number=number, some=some: add(db, first, number, some))  # type: ignore[misc]
        left, number = left - some, number + some
    store.checkpoint()
    return store


def add(db: Database, first: Record, number: int, count: int) -> None:
    """File so many more of the same kind as `first`, in one transaction."""
    db.conn.execute("PRAGMA cache_size = -200000")
    secret = record_digests.digest_secret(db)
    rows: list[tuple[Any, Any, list[bytes]]] = list(_rows(first, secret, number, count))
    for table, cells in (("records", [row[0] for row in rows]), ("record_heads", [row[1] for row in rows])):
        names, marks = ", ".join(cells[0]), ", ".join("?" * len(cells[0]))
        db.conn.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", [list(each.values()) for each in cells]
        )
    db.conn.executemany("INSERT INTO record_keys VALUES (?, ?)", [row[2] for row in rows])
    at = to_milliseconds(NOW)
    db.conn.executemany(
        "INSERT INTO record_events (record_id, dcn, act, at, by, second, sealed)"
        " VALUES (?, ?, ?, ?, ?, '', NULL)",
        [[row[2][0], row[0]["dcn"], Act.FILE.name, at, CONTRIBUTOR] for row in rows],
    )
    ledger.append_all(
        db,
        NOW,
        (
            lifecycle.account(
                Act.FILE, DOING, Dcn(str(row[0]["dcn"])), first.circumstances.standing, first.report_type
            )
            for row in rows
        ),
    )


def _rows(first: Record, secret: bytes, number: int, count: int) -> Iterator[tuple[Any, Any, list[bytes]]]:
    state = gate(first, gate_day(NOW), NoPack().gate_rules(first.kind)).state()
    for each in range(number, number + count):
        content = replace(first.content, agency_record_id=f"B-{each}")
        record = replace(first, dcn=Dcn.draw(), record_id=secrets.token_bytes(16), content=content)
        key = secrets.token_bytes(32)
        yield (
            filings.version_row(record, key, secret),
            filings.head_row(record, state, key, secret),
            [record.record_id, key],
        )
