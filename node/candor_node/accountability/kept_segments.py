"""Segments that no head names any more, kept for a while beside those in use (docs/protocol.md §6.8, §17.2).

Rules of this file:
- every segment that goes out of use is kept for two days, whatever was found in it; only afterwards those
  stay that something hangs on, which a person has to look at first;
- what lies here is never read to make an index whole again: whether a segment is fetched anew must not depend
  on what was found in it (§7.6).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from candor_node.store import Database
from candor_proto.canonical import to_milliseconds
from candor_proto.directory import IndexHead
from candor_proto.segment import MAX_SEGMENT_OCTETS, address

KEPT = timedelta(days=2)
# What hangs on a digest that nobody reviews for longer is given up.
PINNED = timedelta(days=100)
MAX_PINNED_OCTETS = 2 << 30


class KeptSegments:
    """Files by address. `in_use` is the folder of the indexes that are looked up in."""

    def __init__(self, in_use: Path, folder: Path) -> None:
        self._in_use = in_use
        self._folder = folder

    def retire(self, path: Path) -> None:
        """A file of the folder in use that no head names any more."""
        try:
            os.replace(path, self._folder / path.name)
            os.utime(self._folder / path.name)
        except OSError:
            # Not to keep it is no reason to stop; to leave it would look like an index.
            path.unlink(missing_ok=True)

    def read(self, name: bytes) -> bytes | None:
        """A segment by its address, in use or kept; None when it is gone or spoilt."""
        for folder in (self._in_use, self._folder):
            path = folder / name.hex()
            try:
                octets = path.read_bytes() if path.stat().st_size <= MAX_SEGMENT_OCTETS else b""
            except OSError:
                continue
            if address(octets).value == name:
                return octets
        return None

    def prune(self, now: datetime, pinned: Iterable[bytes]) -> None:
        """Remove what was kept for two days and is not pinned; `pinned` runs from newest to oldest."""
        kept, room = set[str](), MAX_PINNED_OCTETS
        for name in pinned:
            with contextlib.suppress(OSError):
                room -= (self._folder / name.hex()).stat().st_size
                if room >= 0:
                    kept.add(name.hex())
        oldest = (now - KEPT).timestamp()
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in kept and path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)


def pinned(db: Database, now: datetime) -> list[bytes]:
    """Addresses that something hangs on, the newest first: unreviewed failures, and requests."""
    rows = db.execute(
        "SELECT h.body, max(f.noticed_at) FROM failure_digest AS f JOIN held_heads AS h"
        " ON h.node = f.node AND h.epoch = f.epoch AND h.sequence = f.sequence WHERE f.noticed_at > ?"
        " GROUP BY h.digest ORDER BY 2 DESC",
        [to_milliseconds(now - PINNED)],
    ).fetchall()
    found = [bytes(ref.address.value) for body, _ in rows for ref in IndexHead.decode(body).segments]
    asked = db.execute("SELECT address FROM request_bases").fetchall()
    return list(dict.fromkeys([*(name for (name,) in asked), *found]))


def forget_bases(db: Database) -> None:
    """Of requests that are settled, and that no recall or evidence has to do with any more."""
    db.execute(
        "DELETE FROM request_bases WHERE request_id NOT IN"
        " (SELECT request_id FROM sent_requests WHERE state IN ('sent', 'invalid'))"
    )
