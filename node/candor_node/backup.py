"""A backup in two parts: the records, and, with an expiry, the keys that open them.

    records-20260302T120000Z.db   the whole database, but no key of a record, a copy or an epoch
    keys-20260302T120000Z.db      those keys, until `expires_at`

Rules of this file:
- both parts are written from one snapshot while the node runs, under the database key, verified by reading
  them again, and only then take their names. The key tables are never copied into the first part, so no
  deleted page of it can hold a key;
- a folder holds the keys once: when a newer part is written the older ones are deleted. When a key was
  destroyed here (an expungement, a recall, the end of an epoch) the keys in every known folder are written
  anew without it (`tidy`), so that what is forgotten here cannot be restored there. A part that has expired
  is deleted;
- a deleted file's octets may live on in a copy-on-write disk, and in copies that somebody made: for those
  there is the expiry alone, which `restore` enforces.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from candor_node.clock import Clock
from candor_node.desk_migrations import KEY_TABLES
from candor_node.driver import Database, DatabaseError, explain
from candor_node.logs import log
from candor_node.store import Store
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import AlreadyExists, CandorError, InputInvalid, StoreUnusable
from candor_proto.ids import NodeId

RECORDS, KEYS = "records", "keys"  # the sorts of parts, and the names under which they are attached
KEYS_LIVE = timedelta(days=7)
LONGEST_KEYS_LIVE = timedelta(days=90)
_STAMP = "%Y%m%dT%H%M%S%fZ"  # an expungement may follow a backup within the second
_NAME = re.compile(r"(records|keys)-[0-9]{8}T[0-9]{12}Z\.db\Z")
_PAIR_OCTETS = 16
_CREATE = re.compile(r"^CREATE (UNIQUE )?(TABLE|INDEX|TRIGGER|VIEW) ")


@dataclass(frozen=True)
class Note:
    """What a part says of itself. Both parts of a backup have the same `pair`; only keys expire."""

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
class Written:
    """A backup that was written and read again."""

    records: Path
    keys: Path
    expires_at: datetime
    filings: int
    keys_held: int


def parts(folder: Path, sort: str) -> list[Path]:
    """The parts of one sort in `folder`, oldest first. Raises InputInvalid when the folder cannot be read."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputInvalid(
            f"The folder {folder} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None
    return [folder / name for name in names if (known := _NAME.match(name)) and known[1] == sort]


def read_note(db: Database, schema: str) -> Note:
    """What the attached part `schema` says of itself; raises StoreUnusable."""
    row = db.execute(f"SELECT pair, node, written_at, expires_at FROM {schema}.backup_note").fetchone()  # noqa: S608
    if row is None:
        raise StoreUnusable("This file is no part of a backup.", remedy="Name the folder of a backup.")
    expires_at = from_milliseconds(row[3]) if row[3] is not None else None
    return Note(row[0], NodeId(row[1]), from_milliseconds(row[2]), expires_at)


def write(store: Store, node: NodeId, folder: Path, now: datetime, live: timedelta = KEYS_LIVE) -> Written:
    """Write both parts into `folder` and remember it; blocks, so call it beside the event loop.

    Raises InputInvalid, AlreadyExists or StoreUnusable; then nothing is left of it, and older backups are
    untouched.
    """
    if not timedelta() < live <= LONGEST_KEYS_LIVE:
        raise InputInvalid(
            f"Keys in a backup live between a moment and {LONGEST_KEYS_LIVE.days} days.",
            remedy="Say how long with --keys-expire-days; back up more often rather than keep keys longer.",
        )
    folder = folder.absolute()
    _make_folder(folder)
    pair, expires_at = secrets.token_bytes(_PAIR_OCTETS), now + live
    records = _Part(RECORDS, folder, Note(pair, node, now, None))
    keys = _Part(KEYS, folder, Note(pair, node, now, expires_at))
    _write_parts(store, (records, keys))
    _delete_others(folder, keys.path)
    # While the snapshot was open the log could not be cut: what was destroyed meanwhile goes now.
    store.checkpoint()
    return Written(records.path, keys.path, expires_at, records.rows["records"], sum(keys.rows.values()))


def tidy(store: Store, node: NodeId, now: datetime) -> int:
    """Let what was destroyed leave the disk: the write-ahead log is cut, and the keys in known folders are
    written anew; returns in how many. Blocks, so call it beside the event loop, every minute.

    A folder that cannot be reached (an unmounted disk) is tried again at the next call, and logged.
    """
    destroyed, cut = store.run_sync(
        lambda db: db.execute("SELECT number, cut FROM key_destructions").fetchone()
    )
    if destroyed != cut and store.checkpoint():
        store.run_sync(lambda db: db.execute("UPDATE key_destructions SET cut = ?", [destroyed]))
    anew = 0
    for folder in store.run_sync(_folders):
        try:
            if now >= folder.expires_at:
                _delete_others(folder.path, None)
                store.run_sync(partial(_forget, folder.path))
            elif folder.behind:
                _write_keys_anew(store, node, folder, now)
                anew += 1
        except CandorError as error:
            log.error("the keys of a backup could not be brought up to date", code=error.code)
    return anew


def unreachable(db: Database) -> list[str]:
    """Folders whose keys hold something that was destroyed here since: for `doctor` to say so."""
    return [str(folder.path) for folder in _folders(db) if folder.behind]


class Backups:
    """One at a time: what tidies up would wait for what still reads. Belongs to the event loop."""

    def __init__(self, store: Store, node: NodeId, clock: Clock) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._one = asyncio.Lock()

    async def write(self, folder: Path, live: timedelta) -> Written:
        """`write`, beside the loop."""
        async with self._one:
            return await asyncio.to_thread(write, self._store, self._node, folder, self._clock.now(), live)

    async def tidy(self) -> None:
        """`tidy`, beside the loop."""
        async with self._one:
            await asyncio.to_thread(tidy, self._store, self._node, self._clock.now())


def _write_keys_anew(store: Store, node: NodeId, old: _Folder, now: datetime) -> None:
    part = _Part(KEYS, old.path, Note(old.pair, node, now, old.expires_at))
    if not old.path.is_dir():
        raise StoreUnusable(f"The folder {old.path} is not there.", remedy="Connect its disk.")
    _write_parts(store, (part,))
    _delete_others(old.path, part.path)
    store.checkpoint()


# --- parts --------------------------------------------------------------------------------------------------


class _Part:
    """A file being written. Its tables are attached under the name of its sort."""

    def __init__(self, sort: str, folder: Path, note: Note) -> None:
        self.sort, self.note = sort, note
        self.path = folder / f"{sort}-{note.written_at:{_STAMP}}.db"
        self.unfinished = self.path.with_suffix(".part")
        self.rows: dict[str, int] = {}

    def takes(self, table: str) -> bool:
        return (table in KEY_TABLES) == (self.sort == KEYS)

    def fill(self, source: Database) -> None:
        """Shapes and rows. The records have the shape of the key tables too, and no row of them."""
        made = source.conn.execute(
            "SELECT type, name, tbl_name, sql FROM main.sqlite_master WHERE sql IS NOT NULL "
            "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY type != 'table'"
        ).fetchall()
        for kind, name, table, sql in made:
            if kind == "table" and (self.sort == RECORDS or self.takes(name)):
                source.conn.execute(_CREATE.sub(rf"CREATE \1\2 {self.sort}.", sql, count=1))
            if kind == "table" and self.takes(name):
                copied = source.conn.execute(
                    f'INSERT INTO {self.sort}."{name}" SELECT * FROM main."{name}"'  # noqa: S608
                )
                self.rows[name] = copied.rowcount
            if kind != "table" and self.sort == RECORDS and table:
                source.conn.execute(_CREATE.sub(rf"CREATE \1\2 {self.sort}.", sql, count=1))
        if self.sort == RECORDS:
            # So that no number is given twice, although the rows that bore the last ones are gone.
            source.conn.execute("DELETE FROM records.sqlite_sequence")
            source.conn.execute("INSERT INTO records.sqlite_sequence SELECT * FROM main.sqlite_sequence")
        source.conn.execute(
            f"CREATE TABLE {self.sort}.backup_note (pair BLOB NOT NULL, node TEXT NOT NULL, "
            "written_at INTEGER NOT NULL, expires_at INTEGER) STRICT"
        )
        expires_at = self.note.expires_at
        source.conn.execute(
            f"INSERT INTO {self.sort}.backup_note VALUES (?, ?, ?, ?)",  # noqa: S608
            [
                self.note.pair,
                str(self.note.node),
                to_milliseconds(self.note.written_at),
                to_milliseconds(expires_at) if expires_at else None,
            ],
        )

    def verify(self, source: Database) -> None:
        """Raises StoreUnusable when what lies on the disk is not what was written."""
        check_whole(source, self.sort)
        for table, count in self.rows.items():
            if source.conn.execute(f'SELECT count(*) FROM {self.sort}."{table}"').fetchone()[0] != count:  # noqa: S608
                raise StoreUnusable(
                    f"{self.path} was not written whole.", remedy="Check the disk; try again."
                )


def check_whole(db: Database, schema: str) -> None:
    """Check every page of an attached database against its seal; raises StoreUnusable."""
    sound = db.conn.execute(f"PRAGMA {schema}.quick_check(1)").fetchone()[0] == "ok"
    if not sound or db.conn.execute(f"PRAGMA {schema}.cipher_integrity_check").fetchone() is not None:
        raise StoreUnusable("A part of the backup is damaged.", remedy="Use another backup; check the disk.")


def _write_parts(store: Store, written: Sequence[_Part]) -> None:
    """Write the parts from one snapshot, read them again, and give them their names; the last holds keys."""
    folder = written[-1].path.parent
    try:
        for left_over in folder.glob("*.part"):
            left_over.unlink()
        for part in written:
            if part.path.exists():
                raise AlreadyExists(
                    f"There is a backup of this very moment: {part.path}.", remedy="Try again."
                )
            os.close(os.open(part.unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _attached(store, written) as source:
            source.conn.execute("BEGIN")
            destructions = source.conn.execute("SELECT number FROM main.key_destructions").fetchone()[0]
            for part in written:
                part.fill(source)
            source.conn.execute("COMMIT")
        for part in written:
            _sync(part.unfinished)
        with _attached(store, written) as source:
            for part in written:
                part.verify(source)
        # Before the keys have a name that outlives this process, so that no folder with keys is forgotten.
        note = written[-1].note
        store.run_sync(partial(remember, folder=folder, note=note, destructions=destructions))
        for part in written:
            part.unfinished.rename(part.path)
        _sync(folder)
    except OSError as error:
        raise _no_folder(folder, error) from None
    finally:
        for part in written:
            part.unfinished.unlink(missing_ok=True)


@contextmanager
def _attached(store: Store, written: Sequence[_Part]) -> Iterator[Database]:
    """A connection of its own that reads the database, with the parts attached under the same key."""
    source = store.reader()
    with closing(source.conn):
        try:
            source.conn.execute("PRAGMA foreign_keys = OFF")
            for part in written:
                source.conn.execute(f"ATTACH ? AS {part.sort}", [str(part.unfinished)])
                source.conn.execute(f"PRAGMA {part.sort}.journal_mode = OFF")
                source.conn.execute(f"PRAGMA {part.sort}.synchronous = OFF")  # synced as a whole afterwards
            yield source
        except (DatabaseError, MemoryError) as error:
            raise explain(error, written[0].path) from None


# --- folders ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    """A folder that holds keys of this database; `behind` when some of them were destroyed here since."""

    path: Path
    pair: bytes
    expires_at: datetime
    behind: bool


def _folders(db: Database) -> list[_Folder]:
    rows = db.execute(
        "SELECT path, pair, expires_at, destructions < number FROM backup_folders, key_destructions "
        "ORDER BY path"
    )
    return [
        _Folder(Path(path), pair, from_milliseconds(expires_at), bool(behind))
        for path, pair, expires_at, behind in rows
    ]


def remember(db: Database, folder: Path, note: Note, destructions: int | None = None) -> None:
    """`folder` holds the keys that this database had after `destructions` (None: has now)."""
    assert note.expires_at is not None
    db.execute(
        "INSERT OR REPLACE INTO backup_folders SELECT ?, ?, ?, ?, coalesce(?, number) FROM key_destructions",
        [
            str(folder),
            note.pair,
            to_milliseconds(note.written_at),
            to_milliseconds(note.expires_at),
            destructions,
        ],
    )


def _forget(folder: Path, db: Database) -> None:
    db.execute("DELETE FROM backup_folders WHERE path = ?", [str(folder)])


def _delete_others(folder: Path, kept: Path | None) -> None:
    """Overwrite and delete every other part with keys; a file system may keep the old octets all the same."""
    try:
        for path in parts(folder, KEYS):
            if path != kept:
                with path.open("r+b") as file:
                    file.write(bytes(path.stat().st_size))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
        _sync(folder)
    except OSError as error:
        raise _no_folder(folder, error) from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(folder, error) from None


def _no_folder(folder: Path, error: OSError) -> StoreUnusable:
    return StoreUnusable(
        f"{folder} cannot be written: {error.strerror}.",
        remedy="Check its disk, and that the user of candor-node may write there.",
    )


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
