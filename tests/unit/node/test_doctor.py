"""`candor-node doctor`: what is overdue, unread, or still to be forgotten is said, with what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import backup, doctor, lifecycle
from candor_node.store import Store
from candor_proto.errors import StoreUnusable
from candor_wire.v1 import local_pb2
from tests.desk import desk_store, doing, filed
from tests.records import NODE, NOW, STORE_KEY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


class _Config:
    """What doctor needs of the settings to look into a database."""

    def __init__(self, path: Path) -> None:
        self.database_file = path

    def database_key(self) -> bytes:
        return STORE_KEY


def test_doctor_says_what_is_overdue_and_which_recalls_nobody_has_read() -> None:
    quiet, loud = local_pb2.StatusResponse(policy="default 1"), local_pb2.StatusResponse(policy="arizona 1")
    loud.overdue, loud.recalls_unread = 3, 2
    assert asyncio.run(doctor._overdue(quiet)) == "Nothing is overdue under default 1."
    assert "waits" in asyncio.run(doctor._recalls(quiet))
    told = asyncio.run(doctor._overdue(loud))
    assert "3 things are overdue under arizona 1" in told
    assert "candor-node records due" in told
    assert "2 recalls" in asyncio.run(doctor._recalls(loud))


def test_doctor_names_the_backups_that_still_hold_what_was_destroyed(store: Store, tmp_path: Path) -> None:
    """Beside the node that has the database open."""
    config: Any = _Config(store.path)
    record, folder = filed(store), tmp_path / "backup"
    backup.write(store, NODE, folder, NOW)
    assert "No known backup" in asyncio.run(doctor._backups(config))
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(NOW, second="chief-2")))
    with pytest.raises(StoreUnusable, match=str(folder)):
        asyncio.run(doctor._backups(config))
    backup.tidy(store, NODE, NOW + timedelta(minutes=1))
    assert "No known backup" in asyncio.run(doctor._backups(config))
