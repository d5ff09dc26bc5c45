"""Checks of disks: how full, how fast they fill, whether they take what is written.

They read, but for `disk_write`, which writes one small file."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from candor_watch.findings import Figure, Finding, bad, good, unknown, warning
from candor_watch.sizes import size

MIB = 1 << 20
# Free octets below which a disk is nearly full, and below which a person should look.
DISK_BAD_OCTETS, DISK_WARNING_OCTETS = 256 * MIB, 1024 * MIB
DISK_BAD_SHARE, DISK_WARNING_SHARE = 0.02, 0.10
# A large disk is not nearly full because a fiftieth of it is left.
DISK_PLENTY_OCTETS = 50 * 1024 * MIB
DAYS_LEFT_BAD, DAYS_LEFT_WARNING = 7.0, 45.0
INODES_BAD, INODES_WARNING = 1_000, 10_000
# Growth is told of folders that are at least so old: the first days are no measure.
GROWTH_AFTER_DAYS = 7.0
MAX_FILES_WALKED = 200_000


def disk_space(key: str, folders: Sequence[Path], made: Path, now_seconds: float) -> Finding:
    """Free space and inodes of the disks that hold `folders`, also against what is written a day.

    `made` is a file as old as the installation; `now_seconds` is the time since 1970.
    """
    worst: tuple[int, Finding] | None = None
    for disk in _disks(folders):
        found = _one_disk(
            key, disk, [each for each in folders if _device(each) == _device(disk)], made, now_seconds
        )
        rank = ("good", "unknown", "warning", "bad").index(found.state.value)
        if worst is None or rank > worst[0]:
            worst = rank, found
    return worst[1] if worst else unknown(key, "None of the folders is there yet.")


def _disks(folders: Iterable[Path]) -> list[Path]:
    """One folder of each file system."""
    seen: dict[int, Path] = {}
    for folder in folders:
        if folder.exists():
            seen.setdefault(_device(folder), folder)
    return list(seen.values())


def _device(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError:
        return -1


def _one_disk(key: str, disk: Path, folders: Sequence[Path], made: Path, now_seconds: float) -> Finding:
    told = os.statvfs(disk)
    free, total = told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize
    share = free / total if total else 1.0
    used, growth = _growth(folders, made, now_seconds)
    days = free / growth if growth else None
    figures: dict[str, Figure] = {
        "free_octets": free,
        "free_share": round(share, 4),
        "used_octets": used,
        "growth_octets_a_day": None if growth is None else round(growth),
        "days_left": None if days is None else round(min(days, 1e6), 1),
        "free_inodes": told.f_favail if told.f_files else None,
    }
    detail = f"{size(free)} free ({share:.0%}) at {disk}; {size(used)} used here"
    if growth is not None and days is not None:
        detail += f", {size(growth)} more a day: full in {days:,.0f} days"
    detail += "."
    remedy = f"Free space on the disk of {disk}, or move the data to a larger one (docs/operations.md)."
    if told.f_flag & os.ST_RDONLY:
        return bad(key, f"The disk of {disk} is mounted read-only.", _READ_ONLY.format(path=disk), **figures)
    if told.f_files and told.f_favail < INODES_BAD:
        return bad(key, f"Only {told.f_favail} files can still be made at {disk}.", remedy, **figures)
    near = free < DISK_PLENTY_OCTETS
    if (
        free < DISK_BAD_OCTETS
        or (near and share < DISK_BAD_SHARE)
        or (days is not None and days < DAYS_LEFT_BAD)
    ):
        return bad(key, f"Nearly full: {detail}", remedy, **figures)
    if (
        free < DISK_WARNING_OCTETS
        or (near and share < DISK_WARNING_SHARE)
        or (days is not None and days < DAYS_LEFT_WARNING)
        or (told.f_files and told.f_favail < INODES_WARNING)
    ):
        return warning(key, f"Getting full: {detail}", remedy, **figures)
    return good(key, detail, **figures)


_READ_ONLY = "See the system's log for what its disk did (`dmesg`), then `mount -o remount,rw` for {path}."


def _growth(folders: Sequence[Path], made: Path, now_seconds: float) -> tuple[int, float | None]:
    """Octets in `folders`, and how many came a day: in the mean since `made`, or of late if that is more."""
    used = recent = 0
    for path in _files(folders):
        with contextlib.suppress(OSError):
            state = path.lstat()
            used += state.st_blocks * 512
            # Files that are written once, as those of the log and of indexes are.
            if now_seconds - state.st_mtime < GROWTH_AFTER_DAYS * 86_400 and path.suffix not in _REWRITTEN:
                recent += state.st_blocks * 512
    try:
        days = (now_seconds - made.stat().st_mtime) / 86_400
    except OSError:
        return used, None
    if days < GROWTH_AFTER_DAYS:
        return used, None
    return used, max(used / days, recent / GROWTH_AFTER_DAYS, 1.0)


_REWRITTEN = {".db", ".db-wal", ".db-shm"}


def _files(folders: Sequence[Path]) -> Iterable[Path]:
    walked = 0
    outer = [
        each for each in folders if not any(each != other and each.is_relative_to(other) for other in folders)
    ]
    for folder in dict.fromkeys(outer):
        for place, _, names in os.walk(folder):
            for name in names:
                walked += 1
                if walked > MAX_FILES_WALKED:
                    return
                yield Path(place, name)


def disk_write(key: str, folders: Sequence[Path]) -> Finding:
    """Whether each folder takes a small file, written through to the disk."""
    slowest = 0.0
    for folder in folders:
        if not folder.exists():
            continue
        began = time.monotonic()
        try:
            handle, name = tempfile.mkstemp(prefix=".doctor-", dir=folder)
            try:
                os.write(handle, b"candor doctor\n" * 64)
                os.fsync(handle)
            finally:
                os.close(handle)
                os.unlink(name)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            return bad(key, f"Nothing can be written in {folder}: {reason}.", _unwritable(error, folder))
        slowest = max(slowest, time.monotonic() - began)
    figures: dict[str, Figure] = {"seconds": round(slowest, 4)}
    if slowest > 1.0:
        told = f"Writing a small file through to the disk took {slowest:.1f} s."
        return warning(key, told, "See what else uses this disk; every message waits for it.", **figures)
    return good(key, f"A small file was written through to the disk in {slowest * 1000:.0f} ms.", **figures)


def _unwritable(error: OSError, folder: Path) -> str:
    if error.errno in (errno.EROFS,):
        return _READ_ONLY.format(path=folder)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"Free space (or raise the limit of this user) on the disk of {folder}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Run doctor as the user of the service, who must own {folder}."
    return f"Check the disk of {folder} and the system's log (`dmesg`)."
