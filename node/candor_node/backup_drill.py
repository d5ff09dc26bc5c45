"""A restore that is only tried: into a folder of its own, looked at, timed, and deleted again
(docs/backup.md).

Rules of this file:
- nothing of the running node is touched: the backup is read, the scratch folder is written, and what came of
  it is noted in `backup-state.json`;
- it is the very restore of a bad day, and besides it the head of the log that the database had taken up;
- the scratch database holds keys: it is overwritten before it is deleted. What a drill that was killed has
  left is deleted by the next one, and by the running node within a minute (`clear_left`): what is forgotten
  here shall not lie there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from candor_backup import chain, folders, state
from candor_node import backup
from candor_node.driver import DatabaseError, explain, open_database
from candor_node.restore import Progress, Restored, restore
from candor_node.tlog import log_store
from candor_proto.errors import CandorError, StoreUnusable
from candor_proto.tlog.signatures import verify_log

# A restored database, its log, and what is written while it is put together.
_ROOM = 1.25
_SPARE_OCTETS = 64 << 20
_PLACE, _HELD = "drill-", "held"


@dataclass(frozen=True)
class Drill:
    """What a drill showed; `log_size` is the size of the log's head in it, None of a node that read none."""

    restored: Restored
    seconds: float
    octets: int
    log_size: int | None

    def as_json(self) -> dict[str, object]:
        return {
            "held": True,
            "written_at": state.moment(self.restored.written_at),
            "records": self.restored.records,
            "versions": self.restored.versions,
            "destroyed_since": self.restored.destroyed,
            "ledger_entries": self.restored.ledger_entries,
            "entries_put_back": self.restored.rollback.put_back,
            "log_size": self.log_size,
            "octets": self.octets,
            "seconds": round(self.seconds, 1),
            "lost": list(self.restored.lost),
        }


def drill(
    folder: Path,
    scratch: Path,
    key: bytes,
    now: datetime,
    progress: Progress = lambda what, done, of: None,
    journals: tuple[Path, ...] = (),
) -> Drill:
    """Restore the newest backup of `folder` below `scratch`, look at it, and delete it.

    Raises what `restore` raises, also when a newer state is there in part only: on a bad day that would be
    lost.
    """
    place = scratch / f"{_PLACE}{secrets.token_hex(4)}"
    database = place / "node.db"
    began = time.monotonic()
    held = -1
    try:
        clear_left(scratch)
        _check_room(folder, scratch, key)
        held = _hold(place)
        restored = restore(folder, database, key, now, progress=progress, journals=journals)
        log_size = _look_at_log(database, key)
        seconds, octets = time.monotonic() - began, database.stat().st_size
    except OSError as error:
        raise folders.unusable(scratch, error) from None
    finally:
        _delete(place)
        if held >= 0:
            os.close(held)
    if restored.lost:
        raise StoreUnusable(
            f"The newest state of the backup is not whole: {restored.lost[0]} What is whole is of "
            f"{restored.written_at:%Y-%m-%d %H:%M:%S} UTC.",
            remedy="Make a whole backup now: `candor-node backup --whole`; and check that disk.",
        )
    return Drill(restored, seconds, octets, log_size)


def _check_room(folder: Path, scratch: Path, key: bytes) -> None:
    if not folders.parts(folder, backup.RECORDS, folders.CHANGES):
        return
    found = chain.newest(folder, backup.RECORDS, key)
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    needed = int(found.account.pages * 4096 * _ROOM) + _SPARE_OCTETS
    free = chain.free_octets(scratch)
    if free < needed:
        raise StoreUnusable(
            f"{scratch} has room for {free >> 20:,} MiB, and the drill needs {needed >> 20:,}.",
            remedy="Name another folder with --scratch.",
        )


def _look_at_log(database: Path, key: bytes) -> int | None:
    """Whether what was read of the federation's log is what its head says. Raises StoreUnusable."""
    db = open_database(database, key)
    with closing(db.conn):
        try:
            shard = log_store.last_shard(db)
        except DatabaseError as error:
            raise explain(error, database) from None
    if shard is None or shard.signed is None:
        return None
    verify_log(shard.signed, shard.keys)
    head = shard.signed.checkpoint
    if shard.whole and shard.entries.root() != head.root:
        raise StoreUnusable(
            "What the backup has read of the federation's log is not what its head says.",
            remedy="Use another backup; check the disk.",
        )
    return head.size


def _hold(place: Path) -> int:
    """Make the folder, and say that its drill lives, until the file that is returned is closed."""
    place.mkdir(mode=0o700, parents=True)
    held = os.open(place / _HELD, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def clear_left(scratch: Path) -> int:
    """Delete what drills that were killed have left in this folder; how many they were. Raises OSError."""
    count = 0
    for place in sorted(scratch.glob(f"{_PLACE}*")):
        try:
            held = os.open(place / _HELD, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue  # one that begins, or nothing of ours
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(place)
            count += 1
        except BlockingIOError:
            continue  # it lives
        finally:
            os.close(held)
    return count


def _delete(place: Path) -> None:
    # What says that somebody left it comes last: who is killed here, too, is cleared away the next time.
    for path in sorted(place.glob("*"), key=lambda one: one.name == _HELD) if place.is_dir() else []:
        folders.wipe(path)
    if place.is_dir():
        place.rmdir()


def note(data_folder: Path, now: datetime, found: Drill | None, error: CandorError | None) -> None:
    """Keep what came of it for `doctor` and metrics."""
    known = replace(
        state.read(data_folder),
        drilled_at=state.moment(now),
        drill_seconds=round(found.seconds, 1) if found else 0,
        drill_failure=error.message if error else "",
    )
    state.write(data_folder, known)
