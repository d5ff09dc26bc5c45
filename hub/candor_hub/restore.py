"""Puts a hub together again from a backup, in a folder that holds nothing yet (docs/backup.md, "The hub").

Rules of this file:
- nothing is written over, and nothing is left when it fails;
- what the files of the log have beyond the database is cut off, checkpoints are made again from it, and every
  entry is read and checked (`fsck`) before the hub is said to be there;
- a state older than a head that was witnessed is refused where that head is shown. Where it is not, the
  restored hub signs nothing before a quorum of its witnesses has signed its present head once more, as at
  every start (`tlog.confirmed`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_backup import folders
from candor_certs.store import make_private_folder, write_new_private
from candor_hub import backup
from candor_hub.backup import HubBackup
from candor_hub.store import Store
from candor_hub.store.log import ShardRecord
from candor_hub.tlog import confirmed, start
from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.fsck import fsck
from candor_proto.errors import AlreadyExists, StoreUnusable
from candor_proto.ids import FederationName
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.signatures import verify_log


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    written_at: datetime
    federation: str
    entries: int
    members: int


def restore(folder: Path, to: Path, key: bytes, now: datetime, witnessed: bytes | None = None) -> Restored:
    """Restore the newest backup of `folder` into the folder `to`; `witnessed` is the newest head anybody
    holds.

    Raises InputInvalid, AlreadyExists, SealedDataInvalid or StoreUnusable, and then leaves nothing behind.
    """
    if to.exists() and any(to.iterdir()):
        raise AlreadyExists(f"{to} is not empty.", remedy="Restore into a new folder; nothing was changed.")
    was_there = to.exists()
    found = backup.newest(folder, key)
    try:
        return _restore(found, folder, to, key, now, witnessed)
    except OSError as error:
        _remove(to, was_there)
        raise folders.unusable(to, error) from None
    except BaseException:
        _remove(to, was_there)
        raise


def _restore(
    found: HubBackup, folder: Path, to: Path, key: bytes, now: datetime, witnessed: bytes | None
) -> Restored:
    make_private_folder(to)
    for name, octets in found.secrets.items():
        path = to / name
        make_private_folder(path.parent)
        write_new_private(path, octets)
    write_new_private(to / "keys/database.key", key)
    os.close(os.open(to / "hub.db", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shutil.copyfile(found.database_path, to / "hub.db")
    for name in ("log", "segments"):
        # The log is shown to everybody: what a link leads to would be as well.
        folders.refuse_links(folder / name)
        if (folder / name).is_dir():
            shutil.copytree(folder / name, to / name)
    store = Store.open(f"sqlite:///{to / 'hub.db'}", key, found.federation, upgrade=True)
    try:
        store.check()
        return _check(store, LogFiles(to / "log"), found, now, witnessed)
    finally:
        store.close()


def _check(
    store: Store, files: LogFiles, found: HubBackup, now: datetime, witnessed: bytes | None
) -> Restored:
    with store.read() as tx:
        shards = tx.log.shards()
        members = tx.members.count()
    if witnessed is not None:
        _check_not_older(shards, witnessed)
    for shard in shards:
        start.tidy(files, shard)
    fsck(store, files, FederationName(found.federation), repair=True)
    report = fsck(store, files, FederationName(found.federation))
    if not report.good:
        raise StoreUnusable(
            f"The log of the backup is damaged: {report.findings[0].path}: {report.findings[0].what}",
            remedy="Put that file back from anybody who copied the log, or use another backup (docs/log.md, "
            "section 7).",
        )
    with store.write() as tx:
        confirmed.restore(tx, now)
    return Restored(found.written_at, found.federation, report.entries, members)


def _check_not_older(shards: tuple[ShardRecord, ...], witnessed: bytes) -> None:
    """Raises StoreUnusable when a head that somebody holds is beyond what the backup knows."""
    signed = parse_checkpoint(witnessed)
    head = signed.checkpoint
    shard = next((each for each in shards if each.origin == head.origin), None)
    if shard is None:
        raise StoreUnusable(
            f"The backup knows no log {head.origin}, of which a head was signed.", remedy=start.RESTORE
        )
    verify_log(signed, shard.verifier_keys)
    start.check_not_older(shard, head)


def _remove(to: Path, was_there: bool) -> None:
    if to.is_dir():
        for path in to.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not was_there:
            to.rmdir()
