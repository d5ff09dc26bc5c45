"""Brings a database to the schema of this program; raises StoreUnusable for one that is newer.

    migrations/versions/r0001_baseline.py ...    one step each, Alembic's (docs/postgresql.md, section 6)

Rules of this package:
- steps are numbered, run once each and in order, and are never changed once released;
- all steps of one start are one transaction under the one writer's lock, on both databases: a crash leaves
  the old schema, and of several replicas that start at once one does it;
- a step that only adds what older programs need not know leaves `OLDEST` where it is: these go on with the
  database, so that replicas are replaced one by one and an upgrade can be taken back with nothing lost. A
  program that is older than the `OLDEST` of the newest refuses the database;
- of an embedded database with a hub in it a copy is made first, beside it and under the same key
  (`hub.db.before-0002`); the newest three are kept. A server's backup is its operator's.
"""

from __future__ import annotations

import os
from pathlib import Path

from candor_hub.driver import (
    FAILURES,
    Connection,
    Engine,
    commit,
    explain,
    is_embedded,
    migrating,
    reading,
    sa,
)
from candor_hub.driver.sqlite import check_foreign_keys, copy_file
from candor_proto.errors import StoreUnusable

# The newest step; a test compares it with the files.
HEAD = "0002"
# The oldest step whose programs may work with a database of HEAD. It moves when they must not any more.
OLDEST = "0001"
# What the program had before it used Alembic; databases of it are taken over by the first step.
LAST_BEFORE = 4
COPIES_KEPT = 3
_VERSIONS = "alembic_version"
_OLDEST = "oldest_schema"


def present_schema(connection: Connection) -> str:
    """The last step that this database has seen: such as 0001; `before-4` of the program that counted itself;
    empty for a database without tables of a hub.
    """
    inspector = sa.inspect(connection)
    if inspector.has_table(_VERSIONS):
        found = connection.execute(sa.text(f"SELECT version_num FROM {_VERSIONS}")).scalar()  # noqa: S608
        if found:
            return str(found)
    if not inspector.has_table("meta"):
        return ""
    counted = connection.execute(sa.text("SELECT value FROM meta WHERE name = 'schema'")).scalar()
    return f"before-{int(counted or 0)}"


def oldest_program(connection: Connection) -> str:
    """The schema that a program must at least know to work with this database; empty if that is not said."""
    if not sa.inspect(connection).has_table("meta"):
        return ""
    found = connection.execute(sa.text("SELECT value FROM meta WHERE name = :name"), {"name": _OLDEST})
    return str(found.scalar() or "")


def migrate(engine: Engine) -> bool:
    """Apply what is missing; whether anything was. Raises StoreUnusable."""
    try:
        with reading(engine).begin() as connection:
            present, oldest = present_schema(connection), oldest_program(connection)
        if not _needs_steps(present, oldest):
            return False
        with migrating(engine).connect() as connection:
            try:
                connection.begin()
                return _migrate(connection, engine)
            finally:
                # Its foreign keys are off; and what a failing step has left in it is nobody's.
                connection.invalidate()
    except FAILURES as error:
        raise explain(error, engine) from error


def _migrate(connection: Connection, engine: Engine) -> bool:
    # Again, for another replica may have done it before the lock was had.
    present = present_schema(connection)
    if not _needs_steps(present, oldest_program(connection)):
        return False
    if present and is_embedded(engine):
        _copy(engine)
    _run(connection)
    connection.execute(sa.text("DELETE FROM meta WHERE name = :name"), {"name": _OLDEST})
    connection.execute(
        sa.text("INSERT INTO meta (name, value) VALUES (:name, :value)"), {"name": _OLDEST, "value": OLDEST}
    )
    if is_embedded(engine):
        check_foreign_keys(connection)
    commit(connection)
    return True


def _run(connection: Connection) -> None:
    """Every step that is missing, in the transaction of `connection`."""
    # Here, because only who makes or upgrades a database needs it, and it is slow to import.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, HEAD)


def _copy(engine: Engine) -> None:
    """Copy the database as it is: the lock is held, and by a connection that has written nothing yet."""
    file = Path(engine.url.database or "")
    target = file.with_name(f"{file.name}.before-{HEAD}")
    beside = file.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    try:
        with engine.connect() as other:
            copy_file(other, beside)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    kept = sorted(file.parent.glob(f"{file.name}.before-*"), key=lambda path: path.name, reverse=True)
    for old in kept[COPIES_KEPT:]:
        old.unlink(missing_ok=True)


def check_schema(engine: Engine) -> None:
    """Raises StoreUnusable unless this program can work with the database as it is."""
    try:
        with reading(engine).begin() as connection:
            present, oldest = present_schema(connection), oldest_program(connection)
    except FAILURES as error:
        raise explain(error, engine) from None
    if not _needs_steps(present, oldest):
        return
    if not present:
        raise StoreUnusable(
            "The database holds no hub yet.",
            remedy="`candor-hub init --database-url` makes one, `candor-hub migrate-store` moves one there.",
        )
    raise StoreUnusable(
        f"The database has schema {present}, this program needs {HEAD}.",
        remedy="Start `candor-hub run` once; it brings the database up to date.",
    )


def _needs_steps(present: str, oldest: str) -> bool:
    """Whether the database is older than this program; raises StoreUnusable for one that is too new."""
    before = present.removeprefix("before-")
    newer = int(before) > LAST_BEFORE if before != present else present > HEAD
    if newer and (before != present or not oldest or oldest > HEAD):
        raise StoreUnusable(
            f"The database was written by a newer version (schema {present}, this program knows {HEAD}).",
            remedy="Install the newer version again, or restore the backup made before it.",
        )
    return present < HEAD or before != present
