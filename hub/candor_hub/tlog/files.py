"""The files of the log: bundles, hash tiles, checkpoints, a folder for each shard (docs/protocol.md §14.6).

    log/shards                      origin and witnessed size of each shard
    log/1/checkpoint, log/1/signed  the newest witnessed head, the newest signed one
    log/1/tile/entries/000.p/17     the last bundle, of 17 entries; log/1/tile/0/000.p/17 their hashes
    log/1/policy/2, log/1/draw/2026-11

Rules of this file:
- a file is whole or absent: written beside its place, fsynced, moved, the folder fsynced; what belongs
  together is written together, each folder fsynced once;
- of a partial tile only the widest and those that a head was shown for are kept; a narrower one is its
  beginning, and so is that of a tile that is full since;
- what is read here is trusted by nobody: whoever reads checks it against the database.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from candor_proto.errors import LimitExceeded, MalformedMessage, StoreUnusable, UnknownObject
from candor_proto.merkle import HASH_OCTETS
from candor_proto.tlog.tiles import (
    TILE_WIDTH,
    bundle_path,
    decode_bundle,
    encode_bundle,
    parse_path,
    tile_path,
    tile_width,
)

CHECKPOINT, SIGNED, SHARDS, LOCK = "checkpoint", "signed", "shards", "lock"
POLICY, DRAW = "policy", "draw"
_OTHER = re.compile(r"checkpoint|signed|policy/[1-9][0-9]{0,9}|draw/(?:[0-9]{4}-[0-9]{2}|end)")
_PARTIAL = ".p"


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


class LogFiles:
    """The files below one folder; one thread at a time writes."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()

    # --- reading ----------------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """The octets of the file `path`, such as `1/checkpoint`; raises UnknownObject or StoreUnusable."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise UnknownObject(f"There is no {path} in the log.") from None
        except OSError as error:
            raise _unusable(error) from None

    def widths(self, path: str) -> tuple[int, ...]:
        """Of which widths there are partial files of a full tile's path, narrowest first."""
        try:
            names = os.listdir(self.folder / (path + _PARTIAL))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise _unusable(error) from None
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def unfinished(self, path: str) -> list[str]:
        """What was being written beside a full tile's path, or its partial files, and was not moved there."""
        found = list[Path]()
        place = self.folder / path
        for folder, name in ((place.parent, place.name), (Path(f"{place}{_PARTIAL}"), "")):
            if folder.is_dir():
                found += folder.glob(f".{name}*.new")
        return [str(each.relative_to(self.folder)) for each in found]

    def piece(self, path: str, width: int) -> tuple[bytes, int]:
        """A file that holds the first `width` of a full tile's path, and how many it holds.

        Raises UnknownObject or StoreUnusable.
        """
        for wider in self.widths(path):
            if wider >= width:
                return self.read(f"{path}{_PARTIAL}/{wider}"), wider
        return self.read(path), TILE_WIDTH

    def shard(self, shard: int) -> ShardFiles:
        return ShardFiles(self, shard)

    def all(self) -> Iterator[str]:
        """Every file there is, as its path below the folder, in order."""
        for folder, folders, names in os.walk(self.folder):
            folders.sort()
            for name in sorted(names):
                yield str((Path(folder) / name).relative_to(self.folder))

    # --- writing ----------------------------------------------------------------------------------------

    def write(self, files: Mapping[str, bytes], *, durable: bool = True) -> None:
        """Put these files in their places, each whole; durable when this returns, if wanted.

        Raises StoreUnusable; then some may be in their places.
        """
        folders: set[Path] = set()
        moves: list[tuple[Path, Path]] = []
        try:
            for path, octets in files.items():
                place = self.folder / path
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
            raise _unusable(error) from None

    def _make_folders(self, folder: Path, touched: set[Path]) -> None:
        if folder.is_dir():
            return
        self._make_folders(folder.parent, touched)
        self._disk.make_folder(folder)
        touched.add(folder.parent)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is not there is gone already. Raises StoreUnusable."""
        try:
            for path in paths:
                self._disk.remove(self.folder / path)
        except OSError as error:
            raise _unusable(error) from None


class ShardFiles:
    """One shard's tiles and bundles; a TileReader."""

    def __init__(self, files: LogFiles, shard: int) -> None:
        self._files = files
        self.shard = shard

    def path(self, name: str) -> str:
        return f"{self.shard}/{name}"

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes; raises UnknownObject, MalformedMessage or StoreUnusable."""
        octets, held = self._files.piece(self.path(tile_path(level, index)), width)
        if len(octets) != held * HASH_OCTETS:
            raise MalformedMessage(
                f"{tile_path(level, index, held)} of shard {self.shard} is not {held} hashes."
            )
        return octets[: width * HASH_OCTETS]

    def bundle(self, index: int, width: int) -> tuple[bytes, ...]:
        """The first `width` entries; raises UnknownObject, MalformedMessage or StoreUnusable."""
        octets, held = self._files.piece(self.path(bundle_path(index)), width)
        try:
            return decode_bundle(octets, held)[:width]
        except MalformedMessage as error:
            raise MalformedMessage(
                f"{bundle_path(index, held)} of shard {self.shard} is damaged: {error.message}"
            ) from None

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries start ≤ index < end; raises UnknownObject, MalformedMessage or StoreUnusable."""
        for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = index * TILE_WIDTH
            width = min(TILE_WIDTH, end - first)
            yield from self.bundle(index, width)[max(0, start - first) :]

    def get(self, name: str, size: int) -> bytes:
        """The octets of a tile or bundle by its path, of a log of `size` entries.

        Raises UnknownObject, also for what only a larger log has; MalformedMessage or StoreUnusable.
        """
        try:
            level, index, width = parse_path(name)
        except (MalformedMessage, LimitExceeded):
            raise UnknownObject(f"There is no {name} in the log.") from None
        if tile_width(level or 0, index, size) < width:
            raise UnknownObject(f"There is no {name} in the log.")
        if level is None:
            return self._bundle_octets(index, width)
        return self.tile(level, index, width)

    def _bundle_octets(self, index: int, width: int) -> bytes:
        octets, held = self._files.piece(self.path(bundle_path(index)), width)
        return octets if held == width else encode_bundle(decode_bundle(octets, held)[:width])


def is_known(name: str) -> bool:
    """Whether a shard can have a file of this name."""
    if _OTHER.fullmatch(name):
        return True
    try:
        parse_path(name)
    except (MalformedMessage, LimitExceeded):
        return False
    return True


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
            raise _unusable(error) from None
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


def _unusable(error: OSError) -> StoreUnusable:
    remedy = "Make the folder `log` writable for the user that runs candor-hub."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "The disk is full: make room; the step is then repeated."
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    return StoreUnusable(f"The files of the log cannot be used: {reason}.", remedy=remedy)
