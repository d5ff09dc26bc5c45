"""Brings a node's database to the schema of this program, after a copy of it; refuses one that is too new.

    <data>/upgrades/before-<steps>.db      the whole database as it was, under the same key

Rules of this file:
- a step (a migration of `Migrations`) is never changed once released, and runs once, in a transaction of its
  own: a program that dies between two goes on with the next one when it is started again;
- before the first step that a database with data needs, all of it is copied, the copy is read again, and only
  then takes its name. An upgrade that was interrupted keeps the copy from before its first step;
- a step that only adds what older programs need not know is marked `expansion`: these go on working with the
  database, so that an upgrade can be taken back with nothing lost. Any other unknown step is refused;
- a copy holds the keys of records. So it goes as soon as a key is destroyed here, and after seven days at the
  latest (docs/backup.md): what is forgotten must not be had again by going back.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from candor_node.driver import Database, DatabaseError, Migrations, explain, open_database
from candor_node.logs import log
from candor_proto.errors import StoreUnusable

COPIES_LIVE = timedelta(days=7)
FOLDER = "upgrades"
UNFINISHED = "unfinished"
_PREFIX = "before-"
# Room for the copy, and for what the steps write.
_ROOM = 2.2
_EXPANSIONS_TABLE = (
    "CREATE TABLE IF NOT EXISTS expansions (migrations TEXT NOT NULL, name TEXT NOT NULL) STRICT"
)

Step = Callable[[Database], None]


def expansion(migrations: Migrations) -> Callable[[Step], Step]:
    """Register a step that programs without it need not know: new tables, new columns with a default."""

    def register(step: Step) -> Step:
        def noted(db: Database) -> None:
            db.execute(_EXPANSIONS_TABLE)
            db.execute("INSERT INTO expansions VALUES (?, ?)", [migrations.name, step.__name__])
            step(db)

        noted.__name__ = step.__name__
        migrations()(noted)
        return step

    return register


def upgrade(database: Database, migrations: Sequence[Migrations], path: Path, key: bytes) -> int:
    """Apply what is missing; the number of steps. Raises StoreUnusable, and then nothing was begun."""
    refuse_newer(database, migrations, path)
    missing = sum(len(known.pending(database)) for known in migrations)
    if missing:
        steps = _steps_taken(database)
        if steps:
            _copy(database, path, key, steps)
        for known in migrations:
            known.apply(database)
        if steps:
            log.info("database upgraded", count=missing)
    _unfinished(path).unlink(missing_ok=True)
    return missing


def refuse_newer(database: Database, migrations: Sequence[Migrations], path: Path) -> None:
    """A schema that this program does not know might be read wrongly and written worse."""
    harmless = _expansions(database)
    for known in migrations:
        names = {step.name for step in known._migrations}
        unknown = {step.name for step in known.applied(database)} - names
        if unknown - harmless.get(known.name, set()):
            raise StoreUnusable(
                f"The database {path} was written by a newer version of candor-node.",
                remedy="Install that version again; or, if the upgrade just failed, put back the copy from "
                f"before it, in {_folder(path)} (docs/operations.md).",
            )


def tidy_copies(path: Path, destructions: int, now: datetime) -> int:
    """Delete copies that have expired, or that hold a key which was destroyed since; how many.

    `path` is the database's, `destructions` its count of destroyed keys (key_destructions).
    """
    gone = 0
    for copy in copies(path):
        made_at = datetime.fromtimestamp(copy.stat().st_mtime, UTC)
        if now - made_at >= COPIES_LIVE or _noted(copy) != destructions:
            copy.unlink()
            _note_of(copy).unlink(missing_ok=True)
            gone += 1
    if gone:
        log.info("copies from before an upgrade deleted", count=gone)
    return gone


def copies(path: Path) -> list[Path]:
    """The copies from before upgrades of the database at `path`."""
    return sorted(_folder(path).glob(f"{_PREFIX}*.db"))


# --- the copy -----------------------------------------------------------------------------------------


def _copy(database: Database, path: Path, key: bytes, steps: int) -> None:
    """Copy the database as it is, unless that was done by an upgrade that was interrupted."""
    folder, marker = _folder(path), _unfinished(path)
    copy = folder / f"{_PREFIX}{steps}.db"
    try:
        if marker.exists() and (folder / marker.read_text("utf-8")).exists():
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_room(path)
        beside = copy.with_suffix(".part")
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _write_copy(database, beside, key)
        _note_of(copy).write_text(json.dumps({"destructions": _destructions(database)}), "utf-8")
        beside.replace(copy)
        marker.write_text(copy.name, "utf-8")
        for name in (copy, _note_of(copy), marker, folder, folder.parent):
            _sync(name)
    except (DatabaseError, MemoryError) as error:
        raise explain(error, path) from None
    except OSError as error:
        raise StoreUnusable(
            f"The database cannot be copied before its upgrade: {folder}: {error.strerror or error}.",
            remedy="Check the disk. Nothing was changed; the version from before can go on with it.",
        ) from None
    log.info("database copied into the folder upgrades before its upgrade")


def _write_copy(database: Database, beside: Path, key: bytes) -> None:
    with closing(open_database(beside, key).conn) as target:
        # The write-ahead log of a copy would be a second file to keep.
        target.execute("PRAGMA journal_mode = DELETE")
        database.conn.backup(target)
        if not _is_whole(target):
            raise StoreUnusable(
                "The copy of the database from before its upgrade is damaged; nothing was changed.",
                remedy="Check the disk, then start again.",
            )


def _is_whole(connection: Any) -> bool:
    sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    return sound and connection.execute("PRAGMA cipher_integrity_check").fetchone() is None


def _check_room(path: Path) -> None:
    needed = int(_ROOM * sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*")))
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreUnusable(
            f"The upgrade of {path} needs {needed // 1_000_000 + 1} MB, for it is copied first; "
            f"{free // 1_000_000} MB are free.",
            remedy="Make room on that disk. Nothing was changed; the version from before can go on with it.",
        )


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# --- what is noted where --------------------------------------------------------------------------------


def _folder(path: Path) -> Path:
    return path.parent / FOLDER


def _unfinished(path: Path) -> Path:
    return _folder(path) / UNFINISHED


def _note_of(copy: Path) -> Path:
    return copy.with_suffix(".json")


def _noted(copy: Path) -> int | None:
    """How many keys had been destroyed when the copy was made; None if that is not to be had."""
    try:
        return int(json.loads(_note_of(copy).read_text("utf-8"))["destructions"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _has_table(database: Database, name: str) -> bool:
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [name]).fetchone())


def _steps_taken(database: Database) -> int:
    if not _has_table(database, Migrations.migrations_table):
        return 0
    return int(database.execute(f"SELECT count(*) FROM {Migrations.migrations_table}").fetchone()[0])  # noqa: S608


def _expansions(database: Database) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    if _has_table(database, "expansions"):
        for group, name in database.execute("SELECT migrations, name FROM expansions").fetchall():
            found.setdefault(group, set()).add(name)
    return found


def _destructions(database: Database) -> int:
    if not _has_table(database, "key_destructions"):
        return 0
    return int(database.execute("SELECT number FROM key_destructions").fetchone()[0])
