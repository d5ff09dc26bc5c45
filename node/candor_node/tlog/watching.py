"""Where in the log a commitment stands: of own lookups, own answers, and lookups that arrived (§14.3, §14.8).

Every function runs inside a transaction of `Store`. Whoever stores a statement watches its commitment in the
same transaction; commitments of the last days are kept by place, so that one may be watched late: a message
that waited in the mailbox was logged before it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_node.store import Database
from candor_node.tlog import log_store
from candor_proto.canonical import to_milliseconds

# A lookup and its answers live for a day.
KEPT = timedelta(hours=48)
RECEIVED_KEPT = timedelta(days=3)
# Where a lookup or an answer stands is wanted as long as its receipt: two years, and a month for who is late.
WATCHED_KEPT = timedelta(days=2 * 365 + 31)


@dataclass(frozen=True)
class Place:
    """Entry `position` of a shard; `place` counts the commitments inside it, from 0."""

    shard: int
    position: int
    place: int


def watch(db: Database, commitment: bytes, now: datetime) -> None:
    """Remember where the log holds this commitment, or will hold it. A second call does nothing."""
    row = db.execute(
        "SELECT shard, position, place FROM tlog_commitments WHERE commitment = ? ORDER BY shard, position"
        " LIMIT 1",
        [commitment],
    ).fetchone()
    db.execute(
        "INSERT INTO tlog_watched VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [commitment, to_milliseconds(now), *(row or (None, None, None))],
    )


def place_of(db: Database, commitment: bytes) -> Place | None:
    """Where it stands; None while the log was not seen to hold it, or when nobody watches it."""
    row = db.execute(
        "SELECT shard, position, place FROM tlog_watched WHERE commitment = ? AND shard IS NOT NULL",
        [commitment],
    ).fetchone()
    return Place(*row) if row else None


def unplaced(db: Database, before: datetime) -> list[bytes]:
    """What is watched since before this moment and was not found in the log yet."""
    rows = db.execute(
        "SELECT commitment FROM tlog_watched WHERE shard IS NULL AND watched_at < ? LIMIT 10000",
        [to_milliseconds(before)],
    )
    return [row[0] for row in rows]


def read_commitments(
    db: Database,
    now: datetime,
    shard: int,
    position: int,
    commitments: Sequence[bytes],
    *,
    request: bool,
) -> None:
    """An entry with these commitments was read."""
    at = to_milliseconds(now)
    db.conn.executemany(
        "INSERT OR IGNORE INTO tlog_commitments VALUES (?, ?, ?, ?, ?, ?)",
        [
            (commitment, shard, position, place, int(request), at)
            for place, commitment in enumerate(commitments)
        ],
    )
    if request and log_store.restored_at(db) is not None:
        _receive_unknown(db, commitments, at)
    db.conn.executemany(
        "UPDATE tlog_watched SET shard = ?, position = ?, place = ? WHERE commitment = ? AND shard IS NULL",
        [(shard, position, place, commitment) for place, commitment in enumerate(commitments)],
    )


def received(db: Database, commitment: bytes, now: datetime) -> None:
    """A lookup with this commitment is stored here, or what became of it is."""
    db.execute(
        "INSERT INTO tlog_received VALUES (?, ?) ON CONFLICT DO NOTHING", [commitment, to_milliseconds(now)]
    )


def unknown_received(db: Database, now: datetime) -> None:
    """Of a database that went back: lookups that came since are not known, and none of them is denied.

    A bit that is wrongly 0 would accuse the hub of having dropped what it delivered (§17.1).
    """
    rows = db.execute("SELECT DISTINCT commitment FROM tlog_commitments WHERE request = 1").fetchall()
    _receive_unknown(db, [row[0] for row in rows], to_milliseconds(now))


def _receive_unknown(db: Database, commitments: Sequence[bytes], at: int) -> None:
    db.conn.executemany(
        "INSERT INTO tlog_received VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(commitment, at) for commitment in commitments],
    )


def first_request(db: Database, shard: int) -> int | None:
    """The first entry with lookups of this shard that is kept here."""
    row = db.execute(
        "SELECT min(position) FROM tlog_commitments WHERE request = 1 AND shard = ?", [shard]
    ).fetchone()
    return row[0]  # type: ignore[no-any-return]  # of a row of integers


def received_flags(db: Database, shard: int, start: int, end: int, limit: int) -> tuple[list[bool], int]:
    """Of each lookup in entries `start` ≤ position < `end`, in order, whether it is here; and the end.

    The end is lowered to an entry's edge when there are more than `limit` of them.
    """
    rows = db.execute(
        "SELECT position, EXISTS (SELECT 1 FROM tlog_received AS r WHERE r.commitment = c.commitment)"
        " FROM tlog_commitments AS c WHERE request = 1 AND shard = ? AND position >= ? AND position < ?"
        " ORDER BY position, place LIMIT ?",
        [shard, start, end, limit + 1],
    ).fetchall()
    if len(rows) > limit:
        end = rows[-1][0]
    return [bool(flag) for position, flag in rows if position < end], end


def forget_old(db: Database, now: datetime, covered: tuple[int, int] | None) -> None:
    """Drop what nobody needs any more; lookups stay until a heartbeat covers them.

    `covered` is the shard and the end of this node's newest heartbeat in it.
    """
    oldest = to_milliseconds(now - KEPT)
    shard, end = covered or (0, 0)
    db.execute(
        "DELETE FROM tlog_commitments WHERE read_at < ? AND (request = 0 OR shard < ? OR"
        " (shard = ? AND position < ?))",
        [oldest, shard, shard, end],
    )
    db.execute("DELETE FROM tlog_received WHERE received_at < ?", [to_milliseconds(now - RECEIVED_KEPT)])
    db.execute("DELETE FROM tlog_watched WHERE watched_at < ?", [to_milliseconds(now - WATCHED_KEPT)])
