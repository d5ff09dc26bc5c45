"""The end of the ledger, kept once more outside of the database: files of sealed frames.

    journal-20260302T120000000000Z.log:  magic[16] ‖ id[16] ‖ (u32 length ‖ sealed frame) × n

A frame is JSON, sealed with AES-256-GCM under a key derived from the database key, bound to the file's id and
the frame's number. It holds entries of the ledger as they stand there, or none and says that there were none
until then. What the ledger says names nobody (`ledger`), so neither does this.

Rules of this file:
- frames are appended and never changed; half a frame at the end is one whose writer died: it was acknowledged
  to nobody, and is cut off before the next one is written;
- a file is left for the next one after an hour or 8 MiB; old ones are deleted after two days;
- nothing is written through a link that somebody put in a file's place.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from candor_backup import folders
from candor_backup.sealing import derive, open_sealed, seal
from candor_node.ledger import Raw
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError

SORT, SUFFIX = "journal", ".log"
MAGIC = b"candor-journal/1"
_ID_OCTETS = 16
_HEADER_OCTETS = len(MAGIC) + _ID_OCTETS
FILE_LIVES, FILE_OCTETS = timedelta(hours=1), 8 << 20
KEPT = timedelta(days=2)
_MAX_FRAME_OCTETS = 64 << 20
# Where a clock was ahead once, names are no measure of age.
MOST_FILES = 1_000


@dataclass(frozen=True)
class Frame:
    """What was shipped at a moment: entries, and where the ledger stood. `closed`: the node ended in order.

    `requests` are bodies of disclosure requests under which something was released, by id.
    """

    at: datetime
    ledger: tuple[int, bytes]
    rows: tuple[Raw, ...] = ()
    requests: tuple[tuple[bytes, bytes], ...] = ()
    closed: bool = False

    def encode(self) -> bytes:
        rows = [[row.number, row.at, row.event, row.refs, row.details, row.digest.hex()] for row in self.rows]
        values = {
            "at": to_milliseconds(self.at),
            "ledger": [self.ledger[0], self.ledger[1].hex()],
            "rows": rows,
            "requests": [[one.hex(), body.hex()] for one, body in self.requests],
            "closed": self.closed,
        }
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, octets: bytes) -> Frame:
        """What this program has sealed."""
        values = json.loads(octets)
        return cls(
            from_milliseconds(values["at"]),
            (values["ledger"][0], bytes.fromhex(values["ledger"][1])),
            tuple(
                Raw(number, at, event, refs, details, bytes.fromhex(own))
                for number, at, event, refs, details, own in values["rows"]
            ),
            tuple((bytes.fromhex(one), bytes.fromhex(body)) for one, body in values["requests"]),
            values["closed"],
        )


def read_file(path: Path, key: bytes) -> Iterator[Frame]:
    """The frames of one file, until its end or the first that does not open. Raises OSError."""
    for frame, _ in _read(path, derive(key, "journal")):
        yield frame


def _read(path: Path, key: bytes) -> Iterator[tuple[Frame, int]]:
    """Each frame and where the next one begins."""
    with path.open("rb") as file:
        header = file.read(_HEADER_OCTETS)
        if len(header) != _HEADER_OCTETS or not header.startswith(MAGIC):
            return
        number = 0
        while True:
            length = int.from_bytes(file.read(4), "big")
            if not 0 < length <= _MAX_FRAME_OCTETS:
                return
            sealed = file.read(length)
            try:
                plain = open_sealed(key, sealed, _bound(header, number), str(path))
            except CandorError:
                return
            yield Frame.decode(plain), file.tell()
            number += 1


def _bound(header: bytes, number: int) -> bytes:
    return header + number.to_bytes(8, "big")


class Place:
    """A folder that holds a journal. One process at a time writes."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder = folder
        self._key = derive(key, "journal")
        self._file: Path | None = None
        self._header = b""
        self._frames = 0
        self._octets = 0
        self._begun_at: datetime | None = None

    def frames_backwards(self) -> Iterator[Frame]:
        """All frames, newest first. Raises InputInvalid or OSError when the folder cannot be read."""
        for path in reversed(folders.parts(self.folder, SORT, SUFFIX)):
            yield from reversed([frame for frame, _ in _read(path, self._key)])

    def ends_whole(self) -> bool:
        """Whether its newest file is read to its last octet: what does not open there may say more. Raises
        InputInvalid or OSError."""
        held = folders.parts(self.folder, SORT, SUFFIX)
        if not held:
            return False
        ends = [end for _, end in _read(held[-1], self._key)]
        return ends[-1:] == [held[-1].stat().st_size]

    def append(self, frame: Frame, now: datetime) -> None:
        """Durable when this returns. Raises OSError, and then nothing of it counts."""
        if self._file is None or self._is_full(now):
            self._begin(now)
        assert self._file is not None
        sealed = seal(self._key, frame.encode(), _bound(self._header, self._frames))
        octets = len(sealed).to_bytes(4, "big") + sealed
        descriptor = os.open(self._file, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            # What a failed attempt has left behind the last whole frame goes first.
            os.ftruncate(descriptor, self._octets)
            os.lseek(descriptor, self._octets, os.SEEK_SET)
            view = memoryview(octets)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._octets += len(octets)
        self._frames += 1

    def _is_full(self, now: datetime) -> bool:
        assert self._begun_at is not None
        return self._octets >= FILE_OCTETS or abs(now - self._begun_at) >= FILE_LIVES

    def _begin(self, now: datetime) -> None:
        """A new file: one that another run has begun is never written on."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / folders.name(SORT, folders.moment(self.folder, SORT, now), SUFFIX)
        header = MAGIC + secrets.token_bytes(_ID_OCTETS)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, header)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folders.sync(self.folder)
        self._file, self._header, self._frames, self._octets = path, header, 0, len(header)
        self._begun_at = now
        oldest = folders.name(SORT, now - KEPT, SUFFIX)
        held = folders.parts(self.folder, SORT, SUFFIX)
        for left, old in zip(range(len(held), 0, -1), held, strict=True):
            if old.name < oldest or left > MOST_FILES:
                old.unlink(missing_ok=True)


def newest(places: Sequence[Place]) -> Frame | None:
    """The frame that was written last in any of these places; those that cannot be read are passed over."""
    found = []
    for place in places:
        try:
            frame = next(place.frames_backwards(), None)
        except (CandorError, OSError):
            continue
        if frame is not None:
            found.append(frame)
    return max(found, key=lambda frame: (frame.at, frame.ledger[0]), default=None)
