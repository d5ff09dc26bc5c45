"""A folder of backups: names, times in names, what is left over, what is wiped.

Rules of this file:
- a file has its name only when it was written whole, synced and checked; until then it ends in `.part`;
- names of one sort are in the order in which the files were made, whatever the clock said (`moment`);
- the folder may be on a machine of others, who may put links there: what is written, overwritten or copied is
  a file of this folder, and never what a link leads to;
- what errors of the system mean is said in one sentence with what to do.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from candor_proto.errors import InputInvalid, StoreUnusable

BASE, CHANGES, UNFINISHED = ".db", ".delta", ".part"
_STAMP = "%Y%m%dT%H%M%S%fZ"  # an expungement may follow a backup within the second
_STAMP_LETTERS = len("20260302T120000000000Z")
_NAME = re.compile(r"([a-z]+)-[0-9]{8}T[0-9]{12}Z(\.[a-z]+)\Z")
_WIPED_AT_ONCE = 1 << 20


def name(sort: str, moment: datetime, suffix: str) -> str:
    """Such as `records-20260302T120000000000Z.db`: names of one sort are in the order of their times."""
    return f"{sort}-{moment:{_STAMP}}{suffix}"


def moment(folder: Path, sort: str, now: datetime) -> datetime:
    """What a new file's name says: `now`, or right behind the newest name if the clock went back since.

    Raises InputInvalid when the folder cannot be read.
    """
    newest = max((_moment(path) for path in _of_sort(folder, sort)), default=None)
    return now if newest is None or newest < now else newest + timedelta(microseconds=1)


def _moment(path: Path) -> datetime:
    try:
        return datetime.strptime(path.name.partition("-")[2][:_STAMP_LETTERS], _STAMP).replace(tzinfo=UTC)
    except ValueError:  # digits that are no time
        return datetime.min.replace(tzinfo=UTC)


def parts(folder: Path, sort: str, suffix: str) -> list[Path]:
    """The files of one sort in `folder`, oldest first. Raises InputInvalid when the folder cannot be read."""
    return [path for path in _of_sort(folder, sort) if path.suffix == suffix]


def _of_sort(folder: Path, sort: str) -> list[Path]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputInvalid(
            f"The folder {folder} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None
    found = [(each, _NAME.match(each)) for each in names]
    return [folder / each for each, known in found if known and known[1] == sort]


def make(folder: Path) -> None:
    """Raises StoreUnusable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error) from None


def begin(path: Path) -> Path:
    """An empty file beside `path`, for its owner only, to be renamed when it is whole. Raises OSError."""
    beside = path.with_name(path.name + UNFINISHED)
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    return beside


def open_begun(path: Path) -> BinaryIO:
    """What `begin` has made, to be written and read. Raises OSError, also for a link that took its place."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b")


def copy(origin: Path, target: Path) -> None:
    """Copy a file beside its new place, sync it and move it there. Raises OSError."""
    beside = begin(target.with_name(f".{target.name}"))
    with origin.open("rb") as source, open_begun(beside) as out:
        shutil.copyfileobj(source, out)
        out.flush()
        os.fsync(out.fileno())
    beside.rename(target)
    sync(target.parent)


def refuse_links(folder: Path) -> None:
    """Raises StoreUnusable when anything below `folder`, or itself, leads elsewhere. Raises OSError."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if place.is_symlink():
            raise StoreUnusable(
                f"{place} is a link: what it leads to is no part of a backup.",
                remedy="Find out who put it there. Use another copy of the backup, or remove the link.",
            )
        if place.is_dir():
            with os.scandir(place) as entries:
                waiting += [Path(each.path) for each in entries if each.is_symlink() or each.is_dir()]


def finish(written: Iterable[tuple[Path, Path]]) -> None:
    """Give files their names, in this order, and make the names last. Raises OSError."""
    folder = None
    for beside, path in written:
        beside.rename(path)
        folder = path.parent
        sync(folder)


def clear_unfinished(folder: Path) -> None:
    """Remove what a backup that was interrupted has left. Raises OSError."""
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def wipe(path: Path) -> None:
    """Overwrite and delete; a file system may keep the old octets all the same. Raises OSError.

    A link is deleted, and what it leads to is left as it is.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        path.unlink()
        return
    with open_begun(path) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, _WIPED_AT_ONCE)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def sync(path: Path) -> None:
    """Make a file or the names in a folder last. Raises OSError."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def unusable(folder: Path, error: OSError) -> StoreUnusable:
    """What is told when a folder of backups cannot be used."""
    remedy = "Check its disk, and that the user of this program may write there."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "Make room there, or name another folder; the next backup tries again."
    elif error.errno in (errno.ENOENT, errno.ENOTCONN, errno.EIO, errno.ESTALE):
        remedy = "Connect its disk; the next backup tries again."
    return StoreUnusable(f"{folder} cannot be written: {error.strerror}.", remedy=remedy)
