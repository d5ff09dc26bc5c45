"""A backup in two parts: the pages of the database, and, with an expiry, the keys that open its records.

    records-20260302T120000000000Z.db      every page, but with zeros for each key of a record, a copy, an
    epoch records-20260302T120500000000Z.delta   the pages that changed since the file before it
    keys-20260302T120500000000Z.db         those keys, until `expires_at`

Rules of this file:
- the database's file holds still while it is copied (`Store.frozen`), by a process of its own; the node goes
  on;
- a page of a key table is copied with zeros for its keys (`candor_backup.trees`), and a page that is freed is
  overwritten (`secure_delete`), so no page of the first part can hold a key;
- keys are never older than the pages that they belong to. Newer they may be: a record whose key is not among
  them was destroyed after the backup;
- a folder holds the keys once: when a newer part is written the older ones are overwritten and deleted. When
  a key was destroyed here (an expungement, a recall, the end of an epoch) the keys in every known folder are
  written anew without it (`tidy`), so that what is forgotten here cannot be restored there. A part that has
  expired is deleted;
- what is written is read again and checked before it takes its name;
- a deleted file's octets may live on in a copy-on-write disk, and in copies that somebody made: for those
  there is the expiry alone, which `restore` enforces.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from candor_backup import chain, copier, folders
from candor_backup.changes import GENERATION_OCTETS, Account
from candor_backup.copying import Copy
from candor_backup.known import Known
from candor_node import backup_keys, ledger, schema
from candor_node.backup_keys import KEYS, Note
from candor_node.desk_migrations import key_tables
from candor_node.driver import Database, DatabaseError, explain, open_unchanging
from candor_node.logs import log
from candor_node.store import Store
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError, InputInvalid, StoreUnusable
from candor_proto.ids import NodeId

RECORDS = "records"
KEYS_LIVE = timedelta(days=7)
LONGEST_KEYS_LIVE = timedelta(days=90)
KEEP = timedelta(days=7)
# A new base is written when the changes have grown so large beside it, or it is so old: what was forgotten
# since leaves the folder with the generation before.
CHANGES_SHARE = 0.5
BASE_LIVES = timedelta(days=7)
MOST_CHANGES = 2_500
# Keys that did not change are written anew when so much of their time is over.
_RENEW_SHARE = 0.25
_SPARE_OCTETS = 8 << 20

Started = Callable[["subprocess.Popen[bytes]"], None]


@dataclass(frozen=True)
class Written:
    """A backup that was written and read again. `octets` is what was written now, `pages` what it consists
    of."""

    records: Path
    keys: Path
    expires_at: datetime
    filings: int
    keys_held: int
    whole: bool
    pages: int
    changed: int
    octets: int


@dataclass(frozen=True)
class _Seen:
    """What the database held at the moment when it began to hold still."""

    roots: tuple[int, ...]
    ledger: tuple[int, bytes]


def write(
    store: Store,
    node: NodeId,
    folder: Path,
    now: datetime,
    live: timedelta = KEYS_LIVE,
    keep: timedelta = KEEP,
    *,
    whole: bool = False,
    started: Started = lambda process: None,
) -> Written:
    """Write what changed since the last backup in `folder`, or all of it; blocks, so call it beside the loop.

    `started` hears of the process that copies. Raises InputInvalid or StoreUnusable; then nothing is left of
    it, and older backups are untouched.
    """
    if not timedelta() < live <= LONGEST_KEYS_LIVE:
        raise InputInvalid(
            f"Keys in a backup live between a moment and {LONGEST_KEYS_LIVE.days} days.",
            remedy="Say how long with --keys-expire-days; back up more often rather than keep keys longer.",
        )
    folder = folder.absolute()
    folders.make(folder)
    known_file = _known_file(store, folder)
    try:
        folders.clear_unfinished(folder)
        known = None if whole else _still_good(Known.read(known_file), folder, now)
        written = _write(store, node, folder, now, live, known, known_file, started)
        chain.prune(folder, RECORDS, store.database_key, now - keep)
    except OSError as error:
        raise folders.unusable(folder, error) from None
    finally:
        if folder.is_dir():
            _clear(folder)
    # While the file held still the log could not be cut: what was destroyed meanwhile goes now.
    store.checkpoint()
    return written


def _write(
    store: Store,
    node: NodeId,
    folder: Path,
    now: datetime,
    live: timedelta,
    known: Known | None,
    known_file: Path,
    started: Started,
) -> Written:
    whole = known is None
    _check_room(store, folder, known)
    moment = folders.moment(folder, RECORDS, now)
    base = folder / (known.base_name if known else folders.name(RECORDS, moment, folders.BASE))
    changes = folder / folders.name(RECORDS, moment, folders.CHANGES)
    base_part = folders.begin(base) if whole else None
    changes_part = folders.begin(changes)
    with store.frozen(_look) as seen:
        keys = _keys(store, node, folder, now, live)
        facts = _facts(seen, keys)
        generation = known.generation if known else secrets.token_bytes(GENERATION_OCTETS)
        wanted = Copy(
            store.path,
            store.database_key,
            seen.roots,
            str(node),
            generation,
            now,
            base.name,
            base_part,
            changes_part,
            known,
            facts,
        )
        account = copier.run(wanted, known_file, started)
    octets = changes_part.stat().st_size
    if base_part is not None:
        octets += base_part.stat().st_size
        check_whole(base_part, store.database_key, seen.ledger)
        folders.finish([(base_part, base)])
    if keys.part is not None:
        octets += keys.part.stat().st_size
        # Before the keys have a name that outlives this process, so that no folder with keys is forgotten.
        store.run_sync(partial(remember, folder=folder, note=keys.note, destructions=keys.destructions))
        folders.finish([(keys.part, keys.path)])
    # From here on the backup counts.
    folders.finish([(changes_part, changes)])
    known_file.with_suffix(".new").rename(known_file)
    _delete_others(folder, keys.path)
    return Written(
        base if whole else changes,
        keys.path,
        keys.expires_at,
        store.run_sync(lambda db: int(db.execute("SELECT count(*) FROM records").fetchone()[0])),
        keys.rows,
        whole,
        account.pages,
        account.changed,
        octets,
    )


def _look(db: Database) -> _Seen:
    tables = key_tables(db)
    marks = ", ".join("?" * len(tables))
    roots = db.execute(
        f"SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name IN ({marks})",  # noqa: S608
        tables,
    )
    return _Seen(tuple(int(row[0]) for row in roots), ledger.head(db))


def _facts(seen: _Seen, keys: _Keys) -> dict[str, Any]:
    number, digest = seen.ledger
    return {
        "ledger": [number, digest.hex()],
        "keys_at": to_milliseconds(keys.note.written_at),
        "pair": keys.note.pair.hex(),
    }


def _check_room(store: Store, folder: Path, known: Known | None) -> None:
    """Raises StoreUnusable when a whole backup has no room: half of one would fill the disk for nothing."""
    if known is not None:
        return
    needed, free = store.path.stat().st_size + _SPARE_OCTETS, chain.free_octets(folder)
    if free < needed:
        raise StoreUnusable(
            f"{folder} has room for {free >> 20:,} MiB, and a whole backup needs {needed >> 20:,}.",
            remedy="Make room there, or name another folder; the next backup tries again.",
        )


def check_whole(path: Path, key: bytes, head: tuple[int, bytes] | None = None) -> None:
    """Open a whole part under its key: every page's seal, the structure, and where its ledger ends.

    Raises StoreUnusable.
    """
    db = open_unchanging(path, key)
    with closing(db.conn):
        try:
            sound = db.conn.execute("PRAGMA cipher_integrity_check").fetchone() is None
            sound = sound and db.conn.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
            if not sound or (head is not None and ledger.head(db) != head):
                raise StoreUnusable(
                    f"{path} is damaged.",
                    remedy="Use another backup; check the disk, and the database itself.",
                )
        except (DatabaseError, MemoryError) as error:
            raise explain(error, path) from None


# --- what the next backup builds upon -----------------------------------------------------------------------


def _known_file(store: Store, folder: Path) -> Path:
    place = store.path.with_name("backup-known")
    place.mkdir(mode=0o700, exist_ok=True)
    return place / f"{sha256(str(folder).encode()).hexdigest()[:16]}.known"


def _still_good(known: Known | None, folder: Path, now: datetime) -> Known | None:
    """`known` if the folder still ends with what it is of, and it is no time for a new base."""
    if known is None or known.number >= MOST_CHANGES or now - known.based_at >= BASE_LIVES:
        return None
    if known.change_octets > CHANGES_SHARE * known.base_octets + _SPARE_OCTETS:
        return None
    last = folders.parts(folder, RECORDS, folders.CHANGES)
    if not last or not (folder / known.base_name).is_file():
        return None
    # The last file alone: that the others are there is for the drill to find out.
    with last[-1].open("rb") as file:
        file.seek(-len(known.previous), 2)
        return known if file.read() == known.previous else None


# --- keys ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Keys:
    """The keys that go with a state. `part` is what was written now; None when those in the folder still
    hold."""

    path: Path
    part: Path | None
    note: Note
    destructions: int
    rows: int

    @property
    def expires_at(self) -> datetime:
        if self.note.expires_at is None:
            raise AssertionError("keys expire")
        return self.note.expires_at


def _keys(store: Store, node: NodeId, folder: Path, now: datetime, live: timedelta) -> _Keys:
    """Read while the pages hold still or later, never before: they may be newer, and must not be older."""
    held = folders.parts(folder, KEYS, folders.BASE)
    pair = store.run_sync(backup_keys.lineage)
    print_now = store.run_sync(backup_keys.fingerprint)
    if held:
        found = backup_keys.read(held[-1], store.database_key)
        fresh = found is not None and found.note.pair == pair and found.fingerprint == print_now
        if found is not None and fresh and found.note.expires_at is not None:
            left = found.note.expires_at - now
            if left > live * (1 - _RENEW_SHARE) and left <= live:
                return _Keys(held[-1], None, found.note, print_now[0], found.rows)
    path = folder / folders.name(KEYS, folders.moment(folder, KEYS, now), folders.BASE)
    note = Note(pair, node, now, now + live)
    part = folders.begin(path)
    made = backup_keys.write(store, part, note)
    return _Keys(path, part, note, made.fingerprint[0], made.rows)


def tidy(store: Store, node: NodeId, now: datetime) -> int:
    """Let what was destroyed leave the disk: the write-ahead log is cut, and the keys in known folders are
    written anew; returns in how many. Blocks, so call it beside the event loop, every minute.

    A folder that cannot be reached (an unmounted disk) is tried again at the next call, and logged.
    """
    destroyed, cut = store.run_sync(
        lambda db: db.execute("SELECT number, cut FROM key_destructions").fetchone()
    )
    schema.tidy_copies(store.path, destroyed, now)
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


def _write_keys_anew(store: Store, node: NodeId, old: _Folder, now: datetime) -> None:
    if not old.path.is_dir():
        raise StoreUnusable(f"The folder {old.path} is not there.", remedy="Connect its disk.")
    try:
        path = old.path / folders.name(KEYS, folders.moment(old.path, KEYS, now), folders.BASE)
        part = folders.begin(path)
        note = Note(store.run_sync(backup_keys.lineage), node, now, old.expires_at)
        made = backup_keys.write(store, part, note)
        destructions = made.fingerprint[0]
        store.run_sync(partial(remember, folder=old.path, note=note, destructions=destructions))
        folders.finish([(part, path)])
    except OSError as error:
        raise folders.unusable(old.path, error) from None
    _delete_others(old.path, path)
    store.checkpoint()


def _delete_others(folder: Path, kept: Path | None) -> None:
    """Overwrite and delete every other part with keys; a file system may keep the old octets all the same."""
    try:
        for path in folders.parts(folder, KEYS, folders.BASE):
            if path != kept:
                folders.wipe(path)
        folders.sync(folder)
    except OSError as error:
        raise folders.unusable(folder, error) from None


def _clear(folder: Path) -> None:
    try:
        folders.clear_unfinished(folder)
    except OSError as error:
        log.warning("an unfinished backup is left", exc_info=error)


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


def describe(account: Account) -> str:
    """A state in a sentence for people."""
    return f"{account.written_at:%Y-%m-%d %H:%M:%S} UTC, change {account.number} of its generation"
