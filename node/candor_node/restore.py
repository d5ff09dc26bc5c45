"""Putting a backup together again: pages and keys, where no node runs on them.

Rules of this file:
- keys that have expired are refused; nothing is written over: where it goes there must be no database;
- the newest state that is there whole is taken; that a newer one is there in part is said;
- keys are never older than the pages, but may be newer: they were written anew when something was destroyed.
  A record whose key is not among them was destroyed after the backup, and is buried here too, and whoever had
  received it is told to destroy it: that they heard of it before is lost;
- every version that has a key is opened once, and the ledger's chain is checked, before the database takes
  its name. If anything does not open, nothing is restored;
- a restored database is one that has gone back: `rollback` says what it must not do again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_backup import chain, folders
from candor_backup.chain import Chain
from candor_node import backup, backup_keys, filings, ledger, rollback
from candor_node.backup_keys import KEYS, Note
from candor_node.desk_migrations import key_tables
from candor_node.driver import Database, DatabaseError, explain, open_database
from candor_node.founding import MIGRATIONS
from candor_node.journal_files import Place
from candor_node.rollback import Cause, Rollback
from candor_node.rollback_acts import bury
from candor_node.schema import refuse_newer
from candor_proto.canonical import from_milliseconds
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable
from candor_records.records import Standing

BY = "restore"
_AT_ONCE = 1_000
# Pages that are kept in memory, in KiB: indexes are gone through in no order.
_CACHE_KIB = 400_000
_KEY_COLUMNS = {
    "record_keys": ("record_id", "key"),
    "copy_keys": ("request_id", "key"),
    "epoch_seeds": ("epoch", "seed"),
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Restored:
    """What was restored. `destroyed` are records that were destroyed after the backup was written; `lost`
    says which newer states are there in part only; `rollback` what is known of the time since.
    """

    written_at: datetime
    records: int
    versions: int
    destroyed: int
    ledger_entries: int
    lost: tuple[str, ...]
    rollback: Rollback


def restore(
    folder: Path,
    to: Path,
    key: bytes,
    now: datetime,
    until: datetime | None = None,
    progress: Progress = lambda what, done, of: None,
    journals: Sequence[Path] = (),
) -> Restored:
    """Join the newest backup of `folder`, or the newest up to a moment, into a new database `to`.

    `journals` are folders besides that one that may know what was done since. Raises InputInvalid,
    AlreadyExists, SealedDataInvalid or StoreUnusable, and then leaves nothing behind.
    """
    if to.exists():
        raise AlreadyExists(
            f"There is a database at {to} already.", remedy="Restore into a new folder; nothing was changed."
        )
    unfinished = to.with_name(to.name + ".restoring")
    try:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(unfinished)
        try:
            places = [Place(each, key) for each in (folder, *journals)]
            restored = _restore(folder, unfinished, key, now, until, progress, places)
            unfinished.rename(to)
            folders.sync(to.parent)
        finally:
            _remove(unfinished)
    except OSError as error:
        raise StoreUnusable(
            f"{error.filename or to.parent} cannot be used: {error.strerror}.",
            remedy="Check its disk, the room on it, and its owner.",
        ) from None
    return restored


def _restore(
    folder: Path,
    unfinished: Path,
    key: bytes,
    now: datetime,
    until: datetime | None,
    progress: Progress,
    places: Sequence[Place],
) -> Restored:
    keys = _newest_keys(folder)
    if not folders.parts(folder, backup.RECORDS, folders.CHANGES):
        return _restore_pair(folder, keys, unfinished, key, now, places)
    found = chain.newest(folder, backup.RECORDS, key, until)
    chain.join(found, unfinished, lambda done, of: progress("pages", done, of))
    with _open(unfinished, key) as db:
        with _attached(db, keys[-1], key):
            note = _note_for(db, found, now)
            check_joined(db)
            _in_one(db, [_fill(table) for table in key_tables(db)])
        backed_up = _BackedUp(folder, note, found.account.written_at, found.lost)
        return _finish(db, backed_up, unfinished, now, progress, places)


def _newest_keys(folder: Path) -> list[Path]:
    found = folders.parts(folder, KEYS, folders.BASE)
    if not found:
        raise InputInvalid(
            f"{folder} holds no keys of a backup.",
            remedy="Name the folder that `candor-node backup` wrote to, with both of its parts.",
        )
    return found


def _note_for(db: Database, found: Chain, now: datetime) -> Note:
    """What the attached keys say of themselves, once they are known to belong to the pages."""
    backup_keys.check_attached(db, KEYS)
    note = backup_keys.read_note(db, KEYS)
    note.check_live(now)
    facts = found.account.facts
    if note.pair.hex() != facts["pair"] or str(note.node) != found.account.owner:
        raise StoreUnusable(
            "The keys in this folder are those of another database.", remedy="Name a folder with both parts."
        )
    if note.written_at < from_milliseconds(facts["keys_at"]):
        raise StoreUnusable(
            "The keys in this folder are older than its records: those that belong to them are missing.",
            remedy="Put back the newest keys-….db of this backup, or use another backup.",
        )
    return note


def check_joined(db: Database) -> None:
    """Raises StoreUnusable unless the database is sound, page by page and as a whole."""
    sound = db.conn.execute("PRAGMA main.cipher_integrity_check").fetchone() is None
    if not sound or db.conn.execute("PRAGMA main.quick_check(1)").fetchone()[0] != "ok":
        raise StoreUnusable("What was put together is damaged.", remedy="Use another backup; check the disk.")


def _fill(table: str) -> str:
    """Keys in place of the zeros; rows that have none now are those of what was destroyed since."""
    name, secret = _KEY_COLUMNS[table]
    return (
        f'UPDATE main."{table}" SET "{secret}" = held."{secret}" FROM {KEYS}."{table}" AS held'  # noqa: S608
        f' WHERE held."{name}" = main."{table}"."{name}";'
        f'DELETE FROM main."{table}" WHERE "{secret}" = zeroblob(32)'
    )


@dataclass(frozen=True)
class _BackedUp:
    """What was found in a folder."""

    folder: Path
    note: Note
    written_at: datetime
    lost: tuple[str, ...] = ()


def _finish(
    db: Database,
    found: _BackedUp,
    path: Path,
    now: datetime,
    progress: Progress,
    places: Sequence[Place],
) -> Restored:
    refuse_newer(db, MIGRATIONS, path)
    for migrations in MIGRATIONS:
        migrations.apply(db)
    db.conn.execute("PRAGMA foreign_keys = ON")
    db.conn.execute("BEGIN IMMEDIATE")
    # First of all, for it puts back entries of the ledger, which continue what is there.
    tail = rollback.missing(db, places)
    went_back = rollback.heal(db, now, Cause.RESTORED, tail)
    destroyed = _bury_keyless(db, now)
    backup.remember(db, found.folder.absolute(), found.note)
    ledger.append(db, now, "store.restored", {"user": BY}, {"destroyed": destroyed})
    db.conn.execute("COMMIT")
    records, versions = _open_all(db, progress)
    entries = ledger.verify(db)
    db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return Restored(found.written_at, records, versions, destroyed, entries, found.lost, went_back)


def _bury_keyless(db: Database, now: datetime) -> int:
    """Bury what has no key any more; how many records that were."""
    rows = db.execute(
        "SELECT record_id, dcn, standing FROM record_heads WHERE standing <> ? AND record_id NOT IN "
        "(SELECT record_id FROM record_keys)",
        [Standing.EXPUNGED.name],
    ).fetchall()
    for record_id, dcn, standing in rows:
        bury(db, record_id, dcn, Standing[standing], now)
    return len(rows)


def _open_all(db: Database, progress: Progress) -> tuple[int, int]:
    """Open every version; how many records and versions these are. Raises SealedDataInvalid."""
    records = int(db.execute("SELECT count(*) FROM record_keys").fetchone()[0])
    numbers = [str(row[0]) for row in db.execute("SELECT dcn FROM records ORDER BY rowid")]
    versions = 0
    for at in range(0, len(numbers), _AT_ONCE):
        for sealed in filings.sealed_versions(db, numbers[at : at + _AT_ONCE]):
            sealed.fields()
            versions += 1
        progress("records", at, len(numbers))
    return records, versions


# --- a backup of before pages were copied -------------------------------------------------------------------


def _restore_pair(
    folder: Path,
    keys: Sequence[Path],
    unfinished: Path,
    key: bytes,
    now: datetime,
    places: Sequence[Place],
) -> Restored:
    """Records and keys as two databases of one snapshot (`pair`), as they were written before pages were
    copied."""
    note = _of_pair(folder, keys[-1], unfinished, key, now)
    with _open(unfinished, key) as db:
        written_at = backup_keys.read_note(db, "main").written_at
        tables = key_tables(db)
        with _attached(db, keys[-1], key):
            _in_one(db, [f'INSERT INTO main."{table}" SELECT * FROM {KEYS}."{table}"' for table in tables])  # noqa: S608
        # Keys of what came to be after the records were written.
        strangers = [
            f'DELETE FROM "{table}" WHERE rowid IN ({", ".join(str(row[1]) for row in rows)})'  # noqa: S608
            for table in tables
            if (rows := db.conn.execute(f'PRAGMA foreign_key_check("{table}")').fetchall())
        ]
        _in_one(db, [*strangers, "DROP TABLE backup_note"])
        found = _BackedUp(folder, note, written_at)
        return _finish(db, found, unfinished, now, lambda what, done, of: None, places)


def _of_pair(folder: Path, keys: Path, copied: Path, key: bytes, now: datetime) -> Note:
    """Copy the records that belong to `keys`; what these say of themselves. Raises StoreUnusable."""
    for records in reversed(folders.parts(folder, backup.RECORDS, folders.BASE)):
        os.close(os.open(copied, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        shutil.copyfile(records, copied)
        with _open(copied, key) as db, _attached(db, keys, key):
            note = backup_keys.read_note(db, KEYS)
            note.check_live(now)
            if "backup_note" in db.table_names() and backup_keys.read_note(db, "main").pair == note.pair:
                backup_keys.check_attached(db, "main")
                backup_keys.check_attached(db, KEYS)
                return note
        _remove(copied)
    raise StoreUnusable(
        "The keys in this folder belong to none of its records.", remedy="Name a folder with both parts."
    )


# --- the database -------------------------------------------------------------------------------------------


def _in_one(db: Database, statements: Sequence[str]) -> None:
    db.conn.execute("BEGIN IMMEDIATE")
    for statement in statements:
        for one in statement.split(";"):
            db.conn.execute(one)
    db.conn.execute("COMMIT")


@contextmanager
def _open(path: Path, key: bytes) -> Iterator[Database]:
    db = open_database(path, key)
    with closing(db.conn):
        try:
            db.conn.execute("PRAGMA foreign_keys = OFF")
            db.conn.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            yield db
        except (DatabaseError, MemoryError) as error:
            raise explain(error, path) from None


@contextmanager
def _attached(db: Database, keys: Path, key: bytes) -> Iterator[None]:
    backup_keys.attach(db, keys, key)
    try:
        yield
    finally:
        db.conn.execute(f"DETACH {KEYS}")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
