"""The octets of segments: one file each, named by its address, below one folder.

Files and not rows: a segment has up to 64 MiB, is written once, read whole by every member and dropped
whole; as a row it would pass twice through the write-ahead log and leave holes in the database. It is sealed
anyway, so the database's encryption would add nothing. Later the folder can be a bucket.

Rules of this file:
- a file is whole or absent: written beside its place, fsynced, moved, the folder fsynced;
- the file comes before the row and goes after it: a crash leaves at most a file that nobody names.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from candor_proto.errors import StoreUnusable, UnknownObject
from candor_proto.ids import Digest


class SegmentFiles:
    """Segments by address below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, address: Digest, octets: bytes) -> None:
        """Store the octets durably; raises StoreUnusable."""
        path = self._path(address)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(temporary, "xb") as file:
                    file.write(octets)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise _unusable(error) from None

    def read(self, address: Digest, piece_octets: int) -> Iterator[bytes]:
        """The octets in pieces; raises UnknownObject, or StoreUnusable."""
        try:
            with open(self._path(address), "rb") as file:
                while piece := file.read(piece_octets):
                    yield piece
        except FileNotFoundError:
            raise UnknownObject("There is no such segment.", remedy="Fetch the directory again.") from None
        except OSError as error:
            raise _unusable(error) from None

    def remove(self, address: Digest) -> None:
        """Raises StoreUnusable; a file that is not there is gone already."""
        try:
            self._path(address).unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(error) from None

    def _path(self, address: Digest) -> Path:
        name = address.hex()
        return self._folder / name[:2] / name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(error: OSError) -> StoreUnusable:
    remedy = "Make the folder writable for the user that runs candor-hub."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "The disk is full: make room; the step can then be repeated."
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    return StoreUnusable(f"The folder of segments cannot be used: {reason}.", remedy=remedy)
