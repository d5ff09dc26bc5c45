"""Index heads of members, and where the log holds them and their members: for receipts and evidence.

Rules of this file:
- every head that comes with a directory is kept for some days, whoever was asked about: what is kept does not
  depend on what a lookup found (§7.6);
- one head an epoch is kept for as long as receipts may be asked for, and those that something hangs on;
- every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_node.store import Database
from candor_node.tlog.watching import Place
from candor_proto.canonical import digest, to_milliseconds
from candor_proto.directory import IndexHead
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement
from candor_proto.tlog.entries import HeadEntry, MemberEntry

KEPT = timedelta(days=7)


@dataclass(frozen=True)
class HeldHead:
    """A head that came with a directory, its signature verified; `digest` names it in the log."""

    digest: bytes
    statement: SignedStatement


def head_digest(statement: SignedStatement) -> bytes:
    """What the log says of a head (§14.3)."""
    return digest("logged/index-head", statement.body, statement.signature)


def keep(db: Database, heads: Iterable[tuple[IndexHead, SignedStatement]], now: datetime) -> None:
    """Verified heads, with what their members signed."""
    rows = [
        (
            head_digest(statement),
            str(head.node),
            head.epoch,
            head.sequence,
            statement.body,
            statement.signature,
            to_milliseconds(now),
        )
        for head, statement in heads
    ]
    db.conn.executemany("INSERT OR IGNORE INTO held_heads VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


_HELD = "SELECT digest, body, signature FROM held_heads"


def find(db: Database, head: IndexHead) -> HeldHead | None:
    """The statement that a head was read from."""
    rows = db.execute(
        f"{_HELD} WHERE node = ? AND epoch = ? AND sequence = ?", [str(head.node), head.epoch, head.sequence]
    ).fetchall()
    octets = head.encode()
    return next(
        (HeldHead(name, SignedStatement(body, sig)) for name, body, sig in rows if body == octets), None
    )


def by_digest(db: Database, name: bytes) -> HeldHead | None:
    row = db.execute(f"{_HELD} WHERE digest = ?", [name]).fetchone()
    return HeldHead(row[0], SignedStatement(row[1], row[2])) if row else None


def of_node(db: Database, node: NodeId) -> list[HeldHead]:
    """All that are held of a member."""
    rows = db.execute(f"{_HELD} WHERE node = ? ORDER BY sequence", [str(node)]).fetchall()
    return [HeldHead(name, SignedStatement(body, signature)) for name, body, signature in rows]


def logged_of_epoch(db: Database, node: NodeId, epoch: int) -> tuple[HeldHead, Place] | None:
    """The first head held of a member's epoch that the log was seen to hold, and where."""
    row = db.execute(
        "SELECT h.digest, h.body, h.signature, l.shard, l.position FROM held_heads AS h"
        " JOIN logged_heads AS l USING (digest) WHERE h.node = ? AND h.epoch = ? ORDER BY h.sequence LIMIT 1",
        [str(node), epoch],
    ).fetchone()
    if row is None:
        return None
    name, body, signature, shard, position = row
    return HeldHead(name, SignedStatement(body, signature)), Place(shard, position, 0)


# --- what the log holds ------------------------------------------------------------------------------------


def head_read(db: Database, entry: HeadEntry, shard: int, position: int, now: datetime) -> None:
    """The log was read to hold a head. A further shard repeats it: the first place stays good."""
    db.execute(
        "INSERT OR IGNORE INTO logged_heads VALUES (?, ?, ?, ?)",
        [entry.statement, shard, position, to_milliseconds(now)],
    )


def head_place(db: Database, name: bytes) -> Place | None:
    row = db.execute("SELECT shard, position FROM logged_heads WHERE digest = ?", [name]).fetchone()
    return Place(row[0], row[1], 0) if row else None


def member_read(db: Database, entry: MemberEntry, octets: bytes, shard: int, position: int) -> None:
    db.execute(
        "INSERT OR REPLACE INTO logged_members VALUES (?, ?, ?, ?)",
        [str(entry.node), shard, position, octets],
    )


def member_place(db: Database, node: NodeId) -> tuple[Place, bytes] | None:
    """Where the newest entry of a member stands, and the entry."""
    row = db.execute(
        "SELECT shard, position, entry FROM logged_members WHERE node = ?", [str(node)]
    ).fetchone()
    return (Place(row[0], row[1], 0), row[2]) if row else None


# --- forgetting --------------------------------------------------------------------------------------------


def forget(db: Database, now: datetime, openings_from: datetime) -> None:
    """Drop heads that nothing can need any more.

    Of each epoch since `openings_from` the first one held that was logged stays; and all of the last days,
    those in which something failed that nobody has reviewed, and those that a record was asked from.
    """
    recent = to_milliseconds(now - KEPT)
    db.execute(
        "DELETE FROM held_heads WHERE seen_at < ?1 AND digest NOT IN (SELECT head FROM request_bases)"
        " AND NOT EXISTS (SELECT 1 FROM failure_digest AS f WHERE f.node = held_heads.node"
        "  AND f.epoch = held_heads.epoch AND f.sequence = held_heads.sequence)"
        " AND (seen_at < ?2 OR digest <> (SELECT h.digest FROM held_heads AS h LEFT JOIN logged_heads AS l"
        "  USING (digest) WHERE h.node = held_heads.node AND h.epoch = held_heads.epoch"
        "  ORDER BY l.digest IS NULL, h.sequence LIMIT 1))",
        [recent, to_milliseconds(openings_from)],
    )
    db.execute(
        "DELETE FROM logged_heads WHERE read_at < ? AND digest NOT IN (SELECT digest FROM held_heads)",
        [recent],
    )
