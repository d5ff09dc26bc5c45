"""Signed things that cannot all be of an honest log: kept for good, as what evidence is made of (§17.1).

Every function with a `db` runs inside a transaction of `Store`. Whoever accuses makes its own check of what
is kept here; nothing in it was said by anybody but the log's or the directory's keys.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_node.store import Database
from candor_node.tlog.files import LogFiles
from candor_proto import merkle
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.tiles import consistency_proof, prefix_root

# A hub that contradicts itself without end proves it no better, and must not fill the disk.
MAX_KEPT, MAX_OCTETS = 20, 64 * 1024 * 1024
FORKED, ROLLED_BACK = "forked-log", "rolled-back-log"
FALSE_DIRECTORY, TWO_DIRECTORIES = "false-directory", "two-directories"


@dataclass(frozen=True)
class Contradiction:
    """Two signed things. For checkpoints `first` and `second` are their octets, with all their signatures;
    of a directory body ‖ signature[64]; of a false one the second is the entry of the log."""

    kind: str
    origin: str
    first: bytes = field(repr=False)
    second: bytes = field(repr=False)
    extra: dict[str, object] = field(default_factory=dict, repr=False)
    number: int = 0
    at: datetime | None = None


def keep(db: Database, found: Contradiction, now: datetime) -> None:
    """Remember it; the same pair once, and of each kind no more than the limits above."""
    rows, octets = db.execute(
        "SELECT count(*), coalesce(sum(length(first) + length(second)), 0) FROM tlog_contradictions"
        " WHERE kind = ?",
        [found.kind],
    ).fetchone()
    if rows >= MAX_KEPT or (rows and octets + len(found.first) + len(found.second) > MAX_OCTETS):
        return
    db.execute(
        "INSERT INTO tlog_contradictions (kind, origin, first, second, extra, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [
            found.kind,
            found.origin,
            found.first,
            found.second,
            json.dumps(found.extra, sort_keys=True),
            to_milliseconds(now),
        ],
    )


def kept(db: Database) -> list[Contradiction]:
    """All of them, the oldest first."""
    rows = db.execute(
        "SELECT kind, origin, first, second, extra, number, at FROM tlog_contradictions ORDER BY number"
    ).fetchall()
    return [
        Contradiction(kind, origin, first, second, json.loads(extra), number, from_milliseconds(at))
        for kind, origin, first, second, extra, number, at in rows
    ]


def kinds(db: Database) -> list[tuple[str, datetime]]:
    """Kind and time of all of them, the oldest first."""
    rows = db.execute("SELECT kind, at FROM tlog_contradictions ORDER BY number").fetchall()
    return [(kind, from_milliseconds(at)) for kind, at in rows]


def two_roots(first: SignedCheckpoint, second: SignedCheckpoint) -> Contradiction | None:
    """One size, two roots; none for empty logs."""
    if first.checkpoint.size < 1 or first.checkpoint.root == second.checkpoint.root:
        return None
    return _forked(first, second, (), second.checkpoint.root)


async def forked(
    files: LogFiles, shard: int, first: SignedCheckpoint, second: SignedCheckpoint
) -> Contradiction | None:
    """Whether the larger head `second` provably continues another log than `first`, by the hub's own tiles.

    None when its tiles do not show it: then the hub has served something that proves nothing.
    """
    small, large = first.checkpoint, second.checkpoint
    if not 1 <= small.size < large.size:
        return None
    try:
        proof, prefix = await files.compute(
            shard,
            lambda reader: (
                consistency_proof(reader, small.size, large.size),
                prefix_root(reader, small.size, large.size),
            ),
        )
        merkle.verify_consistency(small.size, large.size, proof, prefix, large.root)
    except CandorError:
        return None
    return None if prefix == small.root else _forked(first, second, proof, prefix)


def _forked(
    first: SignedCheckpoint, second: SignedCheckpoint, proof: Sequence[bytes], prefix: bytes
) -> Contradiction:
    extra: dict[str, object] = {
        "proof": [base64.b64encode(piece).decode() for piece in proof],
        "prefix_root": base64.b64encode(prefix).decode(),
    }
    return Contradiction(FORKED, first.checkpoint.origin, first.encode(), second.encode(), extra)
