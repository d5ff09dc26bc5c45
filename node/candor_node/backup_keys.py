"""The part of a backup that holds keys: an encrypted database of its own, with an expiry (docs/backup.md)."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_backup import folders
from candor_node.desk_migrations import key_tables
from candor_node.driver import Database, DatabaseError, explain, open_unchanging
from candor_node.store import Store
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError, StoreUnusable
from candor_proto.ids import NodeId

KEYS = "keys"  # the sort of the part, and the name under which it is attached
_LINEAGE, _LINEAGE_OCTETS = "backup-lineage", 16

# How often a key was destroyed, and the last row number of each table: what tells whether keys have changed.
Fingerprint = tuple[int, ...]


@dataclass(frozen=True)
class Note:
    """What a part says of itself. `pair` names the database it is of; only keys expire."""

    pair: bytes
    node: NodeId
    written_at: datetime
    expires_at: datetime | None

    def check_live(self, now: datetime) -> None:
        """Raises StoreUnusable for keys whose time is over."""
        if self.expires_at is not None and now >= self.expires_at:
            raise StoreUnusable(
                f"The keys of this backup expired on {self.expires_at:%Y-%m-%d %H:%M} UTC.",
                remedy="Use a newer backup. Without its keys no record of this one can be opened by anybody.",
            )


@dataclass(frozen=True)
class KeyPart:
    """A part as it stands in a folder."""

    note: Note
    fingerprint: Fingerprint
    rows: int


def lineage(db: Database) -> bytes:
    """Names this database in its backups, so that parts of two are not put together; made at the first
    call."""
    row = db.execute("SELECT value FROM node_secrets WHERE name = ?", [_LINEAGE]).fetchone()
    if row is not None:
        return bytes(row[0])
    made = secrets.token_bytes(_LINEAGE_OCTETS)
    db.execute("INSERT INTO node_secrets VALUES (?, ?)", [_LINEAGE, made])
    return made


def fingerprint(db: Database) -> Fingerprint:
    """It changes with every key that comes or goes."""
    tables = key_tables(db)
    last = [db.execute(f'SELECT coalesce(max(rowid), 0) FROM "{table}"').fetchone()[0] for table in tables]  # noqa: S608
    return (int(db.execute("SELECT number FROM key_destructions").fetchone()[0]), *map(int, last))


def write(store: Store, part: Path, note: Note) -> KeyPart:
    """Write all keys of this moment into the empty file `part`, synced and read again. Raises
    StoreUnusable."""
    source = store.reader()
    with closing(source.conn):
        try:
            attach(source, part, store.database_key)
            source.conn.execute("BEGIN")
            made = KeyPart(note, fingerprint(source), 0)
            rows = {table: _copy(source, table) for table in key_tables(source)}
            _write_note(source, made)
            source.conn.execute("COMMIT")
            source.conn.execute(f"DETACH {KEYS}")
            folders.sync(part)
            attach(source, part, store.database_key)
            _verify(source, rows, part)
        except (DatabaseError, MemoryError) as error:
            raise explain(error, part) from None
    return KeyPart(note, made.fingerprint, sum(rows.values()))


def attach(db: Database, part: Path, key: bytes) -> None:
    """Attach a part under its name; raises an error of the database when the key is another."""
    # Said again: without it SQLCipher takes the first database's key together with its salt.
    db.conn.execute(f"ATTACH ? AS {KEYS} KEY \"x'{key.hex()}'\"", [str(part)])
    db.conn.execute(f"PRAGMA {KEYS}.journal_mode = OFF")
    db.conn.execute(f"PRAGMA {KEYS}.synchronous = OFF")  # synced as a whole afterwards


def _copy(db: Database, table: str) -> int:
    db.conn.execute(f'CREATE TABLE {KEYS}."{table}" AS SELECT * FROM main."{table}"')  # noqa: S608
    return int(db.conn.execute(f'SELECT count(*) FROM {KEYS}."{table}"').fetchone()[0])  # noqa: S608


def _write_note(db: Database, made: KeyPart) -> None:
    db.conn.execute(
        f"CREATE TABLE {KEYS}.backup_note (pair BLOB NOT NULL, node TEXT NOT NULL,"
        " written_at INTEGER NOT NULL, expires_at INTEGER, fingerprint TEXT NOT NULL DEFAULT '') STRICT"
    )
    note = made.note
    expires_at = to_milliseconds(note.expires_at) if note.expires_at else None
    db.conn.execute(
        f"INSERT INTO {KEYS}.backup_note VALUES (?, ?, ?, ?, ?)",  # noqa: S608
        [
            note.pair,
            str(note.node),
            to_milliseconds(note.written_at),
            expires_at,
            " ".join(map(str, made.fingerprint)),
        ],
    )


def _verify(db: Database, rows: dict[str, int], part: Path) -> None:
    check_attached(db, KEYS)
    for table, count in rows.items():
        if db.conn.execute(f'SELECT count(*) FROM {KEYS}."{table}"').fetchone()[0] != count:  # noqa: S608
            raise StoreUnusable(f"{part} was not written whole.", remedy="Check the disk; try again.")


def check_attached(db: Database, schema: str) -> None:
    """Check every page of an attached database against its seal; raises StoreUnusable."""
    sound = db.conn.execute(f"PRAGMA {schema}.quick_check(1)").fetchone()[0] == "ok"
    if not sound or db.conn.execute(f"PRAGMA {schema}.cipher_integrity_check").fetchone() is not None:
        raise StoreUnusable("A part of the backup is damaged.", remedy="Use another backup; check the disk.")


def read_note(db: Database, schema: str) -> Note:
    """What the attached part `schema` says of itself; raises StoreUnusable."""
    row = db.execute(f"SELECT pair, node, written_at, expires_at FROM {schema}.backup_note").fetchone()  # noqa: S608
    if row is None:
        raise StoreUnusable("This file is no part of a backup.", remedy="Name the folder of a backup.")
    expires_at = from_milliseconds(row[3]) if row[3] is not None else None
    return Note(row[0], NodeId(row[1]), from_milliseconds(row[2]), expires_at)


def read(path: Path, key: bytes) -> KeyPart | None:
    """A part as it stands in a folder; None when it cannot be read, or is of an older version."""
    try:
        db = open_unchanging(path, key)
        with closing(db.conn):
            note = read_note(db, "main")
            text = db.execute("SELECT fingerprint FROM backup_note").fetchone()[0]
            tables = set(db.table_names()) - {"backup_note"}
            rows = sum(db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables)  # noqa: S608
            return KeyPart(note, tuple(map(int, text.split())), rows)
    except (CandorError, DatabaseError, MemoryError):
        return None
