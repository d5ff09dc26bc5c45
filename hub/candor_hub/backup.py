"""Backups of an embedded hub: database, keys, log and segments of one moment (docs/backup.md, "The hub").

    hub-20260302T120000000000Z.db       the whole database, under its key, as of one moment
    hub-20260302T120000000000Z.sealed   settings, keys and authority, sealed; what belongs to the database
    log/…, segments/…                   files that never change, each copied once

Rules of this file:
- the database comes first and the files after it, so that everything which it vouches for is there; what the
  files have beyond it is cut off at the restore. Checkpoints are made again from the database;
- everything secret is sealed under a key derived from `database.key`, which is in no backup: keep it apart;
- what is written is read again: the database is opened and checked, and the log's right edge held against it;
- a backup counts from the moment at which its `.sealed` has its name, which comes last.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from candor_backup import folders
from candor_backup.sealing import derive, open_sealed, seal
from candor_hub.config import DEFAULT_FILE, Config
from candor_hub.places import database_key
from candor_hub.store import Store
from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.start import check_edges
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import InputInvalid, StoreUnusable

SORT, DATABASE, SEALED = "hub", ".db", ".sealed"
KEEP = 12
_SPARE_OCTETS = 8 << 20
_BOUND = b"candor-hub-backup/1"
# Made again from the database, or of no use elsewhere.
_NOT_COPIED = frozenset({"checkpoint", "signed", "shards", "lock"})


@dataclass(frozen=True)
class HubBackup:
    """One backup that is whole by its own word; `secrets` are files by their path below the data folder."""

    path: Path
    written_at: datetime
    federation: str
    database: bytes
    sizes: dict[int, int]
    secrets: dict[str, bytes]

    @property
    def database_path(self) -> Path:
        return self.path.with_suffix(DATABASE)


@dataclass(frozen=True)
class Written:
    """A backup that was written and read again."""

    path: Path
    octets: int
    sizes: dict[int, int]


def write(config: Config, store: Store, folder: Path, now: datetime, keep: int = KEEP) -> Written:
    """Back up into `folder`, beside a hub that runs or not. Raises InputInvalid or StoreUnusable."""
    if not config.embedded:
        raise InputInvalid(
            "This hub's data is in PostgreSQL: `candor-hub backup` is for the embedded database.",
            remedy="Use pg_basebackup and WAL archiving, and keep database.key apart (docs/backup.md).",
        )
    folder = folder.absolute()
    folders.make(folder)
    try:
        folders.clear_unfinished(folder)
        try:
            return _write(config, store, folder, now, keep)
        finally:
            folders.clear_unfinished(folder)
    except OSError as error:
        raise folders.unusable(folder, error) from None


def _write(config: Config, store: Store, folder: Path, now: datetime, keep: int) -> Written:
    key = database_key(config)
    for name in ("log", "segments"):
        folders.refuse_links(folder / name)
    path = folder / folders.name(SORT, folders.moment(folder, SORT, now), SEALED)
    database = path.with_suffix(DATABASE)
    source = Path(config.database.removeprefix("sqlite:///"))
    needed, free = source.stat().st_size + _SPARE_OCTETS, shutil.disk_usage(folder).free
    if free < needed:
        raise StoreUnusable(
            f"{folder} has room for {free >> 20:,} MiB, and a backup needs {needed >> 20:,}.",
            remedy="Make room there, or name another folder; the next backup tries again.",
        )
    part = database.with_name(database.name + folders.UNFINISHED)
    store.copy_to(part)
    octets = part.stat().st_size + _copy_new(config.log, folder / "log")
    octets += _copy_new(config.segments, folder / "segments")
    sizes = _check(part, key, folder, str(config.federation))
    backup = HubBackup(path, now, str(config.federation), _digest(part), sizes, _secrets(config))
    sealed = folders.begin(path)
    with folders.open_begun(sealed) as out:
        out.write(seal(derive(key, "hub"), _encode(backup), _BOUND))
        out.flush()
        os.fsync(out.fileno())
    folders.finish([(part, database), (sealed, path)])
    _prune(folder, keep)
    return Written(path, octets, sizes)


def _copy_new(source: Path, target: Path) -> int:
    """Copy the files that are not there yet; they never change, so one of the same length is the same."""
    octets = 0
    for place, _, names in os.walk(source):
        for name in sorted(names):
            origin = Path(place) / name
            copy = target / origin.relative_to(source)
            if name in _NOT_COPIED or name.startswith("."):
                continue
            try:
                size = origin.stat().st_size
                if copy.exists() and copy.stat().st_size == size:
                    continue
                copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                folders.copy(origin, copy)
            except FileNotFoundError:
                continue  # a narrower piece of the log, or a segment, that has had its day
            octets += size
    return octets


def _check(database: Path, key: bytes, folder: Path, federation: str) -> dict[int, int]:
    """Open the copy under its key, check it, and hold the files against it; the log's sizes by shard."""
    store = Store.open(f"sqlite:///{database}", key, federation)
    try:
        store.check()
        with store.read() as tx:
            shards = tx.log.shards()
        check_edges(LogFiles(folder / "log"), shards)
    finally:
        store.close()
        for end in ("-wal", "-shm"):
            Path(f"{database}{end}").unlink(missing_ok=True)
    return {shard.shard: shard.size for shard in shards}


def _secrets(config: Config) -> dict[str, bytes]:
    """Keys, certificates, authority and settings; `database.key` is not among them."""
    found = {}
    for folder, name in ((config.keys, "keys"), (config.issuing, "authority/issuing")):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.is_file() and path.name != "database.key" and not path.name.startswith("."):
                found[f"{name}/{path.relative_to(folder)}"] = path.read_bytes()
    settings = config.data / DEFAULT_FILE
    if settings.is_file():
        found[DEFAULT_FILE.name] = settings.read_bytes()
    return found


def _digest(path: Path) -> bytes:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def _encode(backup: HubBackup) -> bytes:
    values = {
        "written_at": to_milliseconds(backup.written_at),
        "federation": backup.federation,
        "database": backup.database.hex(),
        "sizes": {str(shard): size for shard, size in backup.sizes.items()},
        "secrets": {name: base64.b64encode(octets).decode() for name, octets in backup.secrets.items()},
    }
    return json.dumps(values, sort_keys=True).encode()


def newest(folder: Path, key: bytes) -> HubBackup:
    """The newest backup in `folder`, its database checked; raises InputInvalid, SealedDataInvalid,
    StoreUnusable."""
    found = folders.parts(folder, SORT, SEALED)
    if not found:
        raise InputInvalid(
            f"{folder} holds no backup of a hub.", remedy="Name the folder that the backup was written to."
        )
    backup = _read(found[-1], key)
    if not backup.database_path.is_file() or _digest(backup.database_path) != backup.database:
        raise StoreUnusable(
            f"{backup.database_path} is damaged or missing.", remedy="Use another backup; check the disk."
        )
    return backup


def _read(path: Path, key: bytes) -> HubBackup:
    try:
        sealed = path.read_bytes()
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be read: {error.strerror}.", remedy="Check the disk.") from None
    values = json.loads(open_sealed(derive(key, "hub"), sealed, _BOUND, str(path)))
    return HubBackup(
        path,
        from_milliseconds(values["written_at"]),
        values["federation"],
        bytes.fromhex(values["database"]),
        {int(shard): size for shard, size in values["sizes"].items()},
        {name: base64.b64decode(text) for name, text in values["secrets"].items()},
    )


def _prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep`; files of log and segments stay."""
    for sealed in folders.parts(folder, SORT, SEALED)[:-keep]:
        sealed.unlink(missing_ok=True)
        sealed.with_suffix(DATABASE).unlink(missing_ok=True)
