"""The files of the log in a folder, as an embedded hub has them.

A file is whole or absent: written beside its place, fsynced, moved, the folder fsynced; what belongs together
is written together, each folder fsynced once. A lock on the folder says which process writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from candor_proto.errors import StoreUnusable, UnknownObject

LOCK = "lock"


class Disk:
    """What is done to files: the seam at which tests let the power fail."""

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)

    def write(self, path: Path, octets: bytes, *, durable: bool) -> None:
        """A new file, or what was left of one; on the disk when this returns if `durable`."""
        with open(path, "wb") as file:
            file.write(octets)
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def move(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def sync(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


class Folder:
    """A place for files below one folder; one thread at a time writes."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path = path
        self._disk = disk or Disk()

    def read(self, path: str) -> bytes:
        try:
            # Everybody reads the log: a link in it could show a file that nobody may read.
            with open(self.path / path, "rb", opener=_no_link) as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise UnknownObject(f"There is no {path} in the log.") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise StoreUnusable(
                    f"{self.path / path} is a link, and the log is files.",
                    remedy="Find out who put it there, and put the file itself in its place.",
                ) from None
            raise unusable(error) from None

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.path / folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unusable(error) from None

    def folders(self) -> list[str]:
        return self.names("")

    def all(self) -> Iterator[str]:
        for folder, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                yield str((Path(folder) / name).relative_to(self.path))

    def write(self, files: Mapping[str, bytes], *, durable: bool = True) -> None:
        """Also raises StoreUnusable when some are in their places and some are not."""
        folders: set[Path] = set()
        moves: list[tuple[Path, Path]] = []
        try:
            for path, octets in files.items():
                place = self.path / path
                self._make_folders(place.parent, folders)
                folders.add(place.parent)
                beside = place.with_name(f".{place.name}.new")
                self._disk.write(beside, octets, durable=durable)
                moves.append((beside, place))
            for beside, place in moves:
                self._disk.move(beside, place)
            if durable:
                for folder in sorted(folders):
                    self._disk.sync(folder)
        except OSError as error:
            raise unusable(error) from None

    def _make_folders(self, folder: Path, touched: set[Path]) -> None:
        if folder.is_dir():
            return
        self._make_folders(folder.parent, touched)
        self._disk.make_folder(folder)
        touched.add(folder.parent)

    def remove(self, paths: Iterable[str]) -> None:
        try:
            for path in paths:
                self._disk.remove(self.path / path)
        except OSError as error:
            raise unusable(error) from None

    def within(self, _tx: object) -> Folder:
        """Files are no part of a transaction."""
        return self


class Lock:
    """One process at a time writes the log."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor: int | None = None

    @property
    def taken(self) -> bool:
        """Whether it is ours."""
        return self._descriptor is not None

    def take(self) -> None:
        """Raises StoreUnusable when another process has it."""
        try:
            self._path.parent.mkdir(mode=0o755, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StoreUnusable(
                "Another candor-hub writes this log.", remedy="End it first: only one may."
            ) from None
        self._descriptor = descriptor

    def give_back(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def unusable(error: OSError) -> StoreUnusable:
    remedy = "Make the folder `log` writable for the user that runs candor-hub."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "The disk is full: make room; the step is then repeated."
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    return StoreUnusable(f"The files of the log cannot be used: {reason}.", remedy=remedy)
