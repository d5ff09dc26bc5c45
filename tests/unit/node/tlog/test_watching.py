"""Where a commitment stands is kept for as long as its receipt, and then forgotten (§14.8)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from candor_node.tlog import watching
from tests.records import NOW, new_store


def test_what_is_watched_is_forgotten_with_its_receipt(tmp_path: Path) -> None:
    old, young = bytes(32), bytes([1]) * 32
    with new_store(tmp_path) as store:
        store.run_sync(lambda db: watching.watch(db, old, NOW))
        store.run_sync(lambda db: watching.watch(db, young, NOW + timedelta(days=60)))

        def left(days: int) -> set[bytes]:
            store.run_sync(lambda db: watching.forget_old(db, NOW + timedelta(days=days), None))
            return {
                row[0]
                for row in store.run_sync(
                    lambda db: db.execute("SELECT commitment FROM tlog_watched").fetchall()
                )
            }

        assert left(2 * 365 + 30) == {old, young}
        assert left(2 * 365 + 32) == {young}
