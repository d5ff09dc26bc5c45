"""The octets of segments: files of a folder, rows of the database, or objects of a bucket.

A segment has up to 64 MiB, is written once, read whole by every member and dropped whole. It is sealed
anyway, so the database's encryption would add nothing. Beside an embedded database it is a file; several
replicas keep it in rows of at most 1 MiB, or in a bucket that they share (`segments_url`).

Rules of this file:
- an object is whole or absent: a reader never sees a part of it as all of it;
- each has a name that is given once, so that two replicas never write, or drop, the same one: its row says
  which name is the segment's;
- the object comes before the row and goes after it: a crash leaves at most an object that no row names
  (`sweep` of rows and bucket; a folder's file has its name by its address, and is written again).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from candor_hub.store import Store
from candor_hub.store.objects import PIECE_OCTETS, SEGMENTS
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import StoreUnusable, UnknownObject
from candor_proto.ids import Digest

_GONE = "There is no such segment."
_AGAIN = "Fetch the directory again."


class SegmentFiles(Protocol):
    """Octets of segments. Every method raises StoreUnusable."""

    def put(self, address: Digest, octets: bytes) -> str:
        """Store the octets durably; the name they have here."""

    def read(self, name: str, piece_octets: int) -> Iterator[bytes]:
        """The octets in pieces; raises UnknownObject, also between two pieces."""

    def remove(self, name: str) -> None:
        """Drop the object; one that is not there is gone already."""

    def names(self) -> Iterator[str]:
        """Every object there is."""


def new_name(address: Digest, now: datetime) -> str:
    """A name that was given to nobody else; it says when, so that what is being stored is not swept."""
    return f"{address.hex()}-{to_milliseconds(now)}-{secrets.token_hex(8)}"


def given_at(name: str) -> int | None:
    """When `new_name` gave this name, in milliseconds; None if it did not."""
    parts = name.split("-")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else None


class SegmentFolder:
    """Files by address below `folder`, for one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, address: Digest, octets: bytes) -> str:
        path = self._path(address.hex())
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
        return path.name

    def read(self, name: str, piece_octets: int) -> Iterator[bytes]:
        try:
            with open(self._path(name), "rb") as file:
                while piece := file.read(piece_octets):
                    yield piece
        except FileNotFoundError:
            raise UnknownObject(_GONE, remedy=_AGAIN) from None
        except OSError as error:
            raise _unusable(error) from None

    def remove(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(error) from None

    def names(self) -> Iterator[str]:
        for path in self._folder.glob("??/*"):
            if not path.name.startswith("."):
                yield path.name

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


class SegmentRows:
    """Rows of the database, for several replicas."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def put(self, address: Digest, octets: bytes) -> str:
        name = new_name(address, self._now())
        pieces = max(1, -(-len(octets) // PIECE_OCTETS))
        for piece in range(pieces):
            # A transaction for each: the one writer's lock is not held for as long as 64 MiB take.
            with self._store.write() as tx:
                part = octets[piece * PIECE_OCTETS : (piece + 1) * PIECE_OCTETS]
                tx.objects.add_piece(SEGMENTS, name, piece, pieces, part)
        return name

    def read(self, name: str, piece_octets: int) -> Iterator[bytes]:
        number, pieces = 0, 1
        while number < pieces:
            with self._store.read() as tx:
                found = tx.objects.piece(SEGMENTS, name, number)
            if found is None:
                raise UnknownObject(_GONE, remedy=_AGAIN)
            pieces, octets = found
            number += 1
            for at in range(0, len(octets), piece_octets):
                yield octets[at : at + piece_octets]

    def remove(self, name: str) -> None:
        with self._store.write() as tx:
            tx.objects.remove(SEGMENTS, [name])

    def names(self) -> Iterator[str]:
        after = ""
        while True:
            with self._store.read() as tx:
                some = tx.objects.names(SEGMENTS, after)
            if not some:
                return
            yield from some
            after = some[-1]


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
