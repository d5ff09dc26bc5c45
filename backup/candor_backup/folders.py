"""A folder of backups: names, times in names, what is left over, what is wiped.

Rules of this file:
- a file has its name only when it was written whole, synced and checked; until then it ends in `.part`;
- what errors of the system mean is said in one sentence with what to do.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from candor_proto.errors import InputInvalid, StoreUnusable

BASE, CHANGES, UNFINISHED = ".db", ".delta", ".part"
_STAMP = "%Y%m%dT%H%M%S%fZ"  # an expungement may follow a backup within the second
_NAME = re.compile(r"([a-z]+)-[0-9]{8}T[0-9]{12}Z(\.[a-z]+)\Z")
_WIPED_AT_ONCE = 1 << 20


def name(sort: str, moment: datetime, suffix: str) -> str:
    """Such as `records-20260302T120000000000Z.db`: names of one sort are in the order of their times."""
    return f"{sort}-{moment:{_STAMP}}{suffix}"


def parts(folder: Path, sort: str, suffix: str) -> list[Path]:
    """The files of one sort in `folder`, oldest first. Raises InputInvalid when the folder cannot be read."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputInvalid(
            f"The folder {folder} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None
    found = [(each, _NAME.match(each)) for each in names]
    return [folder / each for each, known in found if known and (known[1], known[2]) == (sort, suffix)]


def make(folder: Path) -> None:
    """Raises StoreUnusable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error) from None


def begin(path: Path) -> Path:
    """An empty file beside `path`, for its owner only, to be renamed when it is whole. Raises OSError."""
    beside = path.with_name(path.name + UNFINISHED)
    os.close(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    return beside


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
    """Overwrite and delete; a file system may keep the old octets all the same. Raises OSError."""
    with path.open("r+b") as file:
        left = path.stat().st_size
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
