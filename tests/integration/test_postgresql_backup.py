"""The commands of docs/postgresql.md, section 4, as they stand there, at a real PostgreSQL.

The short form of tests/campaign/archive.py, which has a hub on it.
"""

from __future__ import annotations

from pathlib import Path

from tests.archives import archived_primary, block
from tests.postgres import unsafe


def test_what_is_acknowledged_after_the_base_backup_is_in_what_is_restored() -> None:
    with unsafe(), archived_primary() as (primary, archive):
        primary.execute("CREATE TABLE kept (number integer)")
        primary.execute("INSERT INTO kept VALUES (1)")
        archive.run(block("sh", "pg_basebackup"))
        primary.execute("INSERT INTO kept VALUES (2)")
        primary.kill()
        with archive.restored(Path(archive.folder, "backup")) as server:
            assert server.execute("SELECT number FROM kept ORDER BY 1") == [(1,), (2,)]
