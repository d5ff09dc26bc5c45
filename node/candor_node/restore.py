"""Putting a backup together again: records and keys, where no node runs on them.

Rules of this file:
- keys that have expired are refused; nothing is written over: where it goes there must be no database;
- the witness keys of the backup are not used again, for what was cosigned since is not known; and no index
  head is signed before the log has said which ones were;
- both parts are of one backup (`pair`), but the keys may be newer: they were written anew when something was
  destroyed. A record whose key is not among them was destroyed after the backup, and is buried here too, and
  whoever had received it is told to destroy it: that they heard of it before is lost;
- every version that has a key is opened once, and the ledger's chain is checked, before the database takes
  its name. If anything does not open, nothing is restored.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_node import backup, filings, history, ledger, publisher, recalls
from candor_node.desk_migrations import key_tables
from candor_node.driver import Database, DatabaseError, explain, open_database
from candor_node.tlog import log_store, witness_store
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable
from candor_records.life import LIVE, Act
from candor_records.records import Dcn, Standing

BY = "restore"


@dataclass(frozen=True)
class Restored:
    """What was restored. `destroyed` are records that were destroyed after the backup was written."""

    written_at: datetime
    records: int
    versions: int
    destroyed: int
    ledger_entries: int


def restore(folder: Path, to: Path, key: bytes, now: datetime) -> Restored:
    """Join the newest backup of `folder` into a new database `to`.

    Raises InputInvalid, AlreadyExists, SealedDataInvalid or StoreUnusable, and then leaves nothing behind.
    """
    if to.exists():
        raise AlreadyExists(
            f"There is a database at {to} already.", remedy="Restore into a new folder; nothing was changed."
        )
    keys = _newest(folder, "keys")
    unfinished = to.with_name(to.name + ".restoring")
    try:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(unfinished)
        try:
            note = _of_pair(folder, keys[-1], unfinished, key, now)
            with _open(unfinished, key) as db:
                restored = _join(db, folder.absolute(), keys[-1], note, now)
            unfinished.rename(to)
        finally:
            _remove(unfinished)
    except OSError as error:
        raise StoreUnusable(
            f"{to.parent} cannot be written: {error.strerror}.", remedy="Check its disk and its owner."
        ) from None
    return restored


def _newest(folder: Path, sort: str) -> list[Path]:
    found = backup.parts(folder, sort)
    if not found:
        raise InputInvalid(
            f"{folder} holds no {sort} of a backup.",
            remedy="Name the folder that `candor-node backup` wrote to, with both of its parts.",
        )
    return found


def _of_pair(folder: Path, keys: Path, copied: Path, key: bytes, now: datetime) -> backup.Note:
    """Copy the records that belong to `keys`; what these say of themselves. Raises StoreUnusable."""
    for records in reversed(_newest(folder, "records")):
        os.close(os.open(copied, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        shutil.copyfile(records, copied)
        with _open(copied, key) as db, _attached(db, keys):
            note = backup.read_note(db, backup.KEYS)
            note.check_live(now)
            if backup.read_note(db, "main").pair == note.pair:
                backup.check_whole(db, "main")
                backup.check_whole(db, backup.KEYS)
                return note
        _remove(copied)
    raise StoreUnusable(
        "The keys in this folder belong to none of its records.", remedy="Name a folder with both parts."
    )


def _join(db: Database, folder: Path, keys: Path, note: backup.Note, now: datetime) -> Restored:
    written_at = backup.read_note(db, "main").written_at
    tables = key_tables(db)
    with _attached(db, keys):
        _in_one(db, [f'INSERT INTO main."{table}" SELECT * FROM {backup.KEYS}."{table}"' for table in tables])  # noqa: S608
    # Keys of what came to be after the records were written.
    strangers = [
        f'DELETE FROM "{table}" WHERE rowid IN ({", ".join(str(row[1]) for row in rows)})'  # noqa: S608
        for table in tables
        if (rows := db.conn.execute(f'PRAGMA foreign_key_check("{table}")').fetchall())
    ]
    _in_one(db, [*strangers, "DROP TABLE backup_note"])
    db.conn.execute("PRAGMA foreign_keys = ON")
    db.conn.execute("BEGIN IMMEDIATE")
    destroyed = _bury_keyless(db, now)
    backup.remember(db, folder, note)
    if "witness_keys" in db.table_names():  # a backup of an older version has none
        witness_store.forget(db)
        log_store.restored(db, now)
    ledger.append(db, now, "store.restored", {"user": BY}, {"destroyed": destroyed})
    db.conn.execute("COMMIT")
    records, versions = _open_all(db)
    entries = ledger.verify(db)
    db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return Restored(written_at, records, versions, destroyed, entries)


def _bury_keyless(db: Database, now: datetime) -> int:
    """Bury what has no key any more; how many records that were."""
    rows = db.execute(
        "SELECT record_id, dcn, standing FROM record_heads WHERE standing <> ? AND record_id NOT IN "
        "(SELECT record_id FROM record_keys)",
        [Standing.EXPUNGED.name],
    ).fetchall()
    for record_id, dcn, standing in rows:
        if Standing[standing] in LIVE:
            recalls.destroyed_since(db, record_id, dcn, now)
        history.append(db, record_id, Dcn(dcn), Act.DESTROY, now, BY, "", "")
        ledger.append(db, now, "record.destroy", {"dcn": dcn, "user": BY})
        filings.bury(db, record_id)
        publisher.forget_record(db, filings.control_numbers(db, record_id))
    return len(rows)


def _open_all(db: Database) -> tuple[int, int]:
    """Open every version; how many records and versions these are. Raises SealedDataInvalid."""
    record_ids = [row[0] for row in db.execute("SELECT record_id FROM record_keys")]
    return len(record_ids), sum(len(filings.versions(db, record_id)) for record_id in record_ids)


# --- the database -------------------------------------------------------------------------------------------


def _in_one(db: Database, statements: Sequence[str]) -> None:
    db.conn.execute("BEGIN IMMEDIATE")
    for statement in statements:
        db.conn.execute(statement)
    db.conn.execute("COMMIT")


@contextmanager
def _open(path: Path, key: bytes) -> Iterator[Database]:
    db = open_database(path, key)
    with closing(db.conn):
        try:
            db.conn.execute("PRAGMA foreign_keys = OFF")
            yield db
        except (DatabaseError, MemoryError) as error:
            raise explain(error, path) from None


@contextmanager
def _attached(db: Database, keys: Path) -> Iterator[None]:
    db.conn.execute(f"ATTACH ? AS {backup.KEYS}", [str(keys)])
    try:
        yield
    finally:
        db.conn.execute(f"DETACH {backup.KEYS}")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
