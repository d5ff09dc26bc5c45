"""What a node keeps of the log that it follows: the SQL of §14 and §15.5.

Every function runs inside a transaction of `Store`. What `keep_progress` and `keep_changes` write belongs
together with what the entries were folded into, and stands in one transaction with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import LogInconsistent
from candor_proto.ids import NodeId
from candor_proto.merkle import CompactRange
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import DirectoryEntry, PolicyEntry, parse_entry
from candor_proto.tlog.note import VerifierKey, parse_vkey
from candor_proto.tlog.state import Changes, LogState, NodeRow, Shard

KEPT_DIRECTORIES = 5_000


@dataclass(frozen=True)
class FollowedShard:
    """A shard as far as it was read: `entries` is the compact range of what was folded.

    `signed` is the largest witnessed head that was taken up, `witnessed_at` its newest time of witness; none
    before the first. Heads of `refused_from` entries or more are refused for `refused_why`.
    """

    number: int
    keys: tuple[VerifierKey, VerifierKey]
    entries: CompactRange = CompactRange.EMPTY
    signed: SignedCheckpoint | None = field(default=None, repr=False)
    witnessed_at: datetime | None = None
    refused_from: int | None = None
    refused_why: str = ""

    @property
    def origin(self) -> str:
        return self.keys[0].name

    @property
    def seen_size(self) -> int:
        """No head of a lower size is taken up any more (§15.5)."""
        return self.signed.checkpoint.size if self.signed else self.entries.size

    @property
    def whole(self) -> bool:
        """Whether all entries of the head that was taken up are folded."""
        return self.entries.size == self.seen_size


_SHARD = (
    "SELECT shard, ed25519_key, ml_dsa_key, hashes, checkpoint, witnessed_at, refused_from, refused_why"
    " FROM tlog_shards"
)


def _shard(row: tuple[int, str, str, bytes, bytes | None, int | None, int | None, str]) -> FollowedShard:
    number, ed25519, ml_dsa, hashes, checkpoint, witnessed_at, refused_from, why = row
    return FollowedShard(
        number,
        (parse_vkey(ed25519), parse_vkey(ml_dsa)),
        CompactRange.decode(hashes),
        parse_checkpoint(checkpoint) if checkpoint else None,
        from_milliseconds(witnessed_at) if witnessed_at is not None else None,
        refused_from,
        why,
    )


def last_shard(db: Database) -> FollowedShard | None:
    """The shard that is followed now; None before the first head was taken up."""
    row = db.execute(f"{_SHARD} ORDER BY shard DESC LIMIT 1").fetchone()
    return _shard(row) if row else None


def shard_of(db: Database, origin: str) -> FollowedShard | None:
    """A shard by its origin."""
    row = db.execute(f"{_SHARD} WHERE origin = ?", [origin]).fetchone()
    return _shard(row) if row else None


def newest_head(db: Database) -> FollowedShard | None:
    """The newest shard of which a head was taken up whole: a further one may be only begun."""
    row = db.execute(f"{_SHARD} WHERE witnessed_at IS NOT NULL ORDER BY shard DESC LIMIT 1").fetchone()
    return _shard(row) if row else None


def whole_heads(db: Database) -> dict[int, SignedCheckpoint]:
    """Of each shard, by number, the head that it was read to; those on the way are left out."""
    shards = map(_shard, db.execute(f"{_SHARD} ORDER BY shard").fetchall())
    return {one.number: one.signed for one in shards if one.whole and one.signed is not None}


def keep_progress(db: Database, shard: FollowedShard) -> None:
    """How far a shard was read, under which head. The database refuses a head below what was read."""
    signed = shard.signed.encode() if shard.signed else None
    db.execute(
        "INSERT INTO tlog_shards (shard, origin, ed25519_key, ml_dsa_key, size, hashes, checkpoint,"
        " checkpoint_size, witnessed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (shard) DO UPDATE"
        " SET size = excluded.size, hashes = excluded.hashes, checkpoint = excluded.checkpoint,"
        " checkpoint_size = excluded.checkpoint_size, witnessed_at = excluded.witnessed_at",
        [
            shard.number,
            shard.origin,
            shard.keys[0].encode(),
            shard.keys[1].encode(),
            shard.entries.size,
            shard.entries.encode(),
            signed,
            shard.seen_size,
            to_milliseconds(shard.witnessed_at) if shard.witnessed_at else None,
        ],
    )


def refuse(db: Database, number: int, refused_from: int, why: str) -> None:
    """Heads of this shard with so many entries, or more, are known to break the rules."""
    db.execute(
        "UPDATE tlog_shards SET refused_from = min(?, coalesce(refused_from, ?)), refused_why = ?"
        " WHERE shard = ?",
        [refused_from, refused_from, why, number],
    )


# --- the state ---------------------------------------------------------------------------------------


class DatabaseCounts:
    """`candor_proto.tlog.state.RequestCounts` in rows; `db` is set for the transaction that folds."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self.db: Database | None = None

    def _database(self) -> Database:
        if self.db is None:
            raise AssertionError("entries are folded inside a transaction")
        return self.db

    def add(self, index: int, count: int) -> None:
        values = [self._shard, index, self.before(index) + count]
        self._database().execute("INSERT INTO tlog_requests VALUES (?, ?, ?)", values)

    def before(self, index: int) -> int:
        row = (
            self._database()
            .execute(
                "SELECT total FROM tlog_requests WHERE shard = ? AND position < ?"
                " ORDER BY position DESC LIMIT 1",
                [self._shard, index],
            )
            .fetchone()
        )
        return int(row[0]) if row else 0


def state(db: Database) -> tuple[LogState, DatabaseCounts] | None:
    """The state of the shard that is followed, as it was stored last."""
    row = db.execute("SELECT value FROM tlog_state WHERE part = 'shard'").fetchone()
    if row is None:
        return None
    shard = Shard.decode(row[0])
    nodes = db.execute("SELECT key, value FROM tlog_state WHERE part = 'node'").fetchall()
    denied = db.execute("SELECT key FROM tlog_state WHERE part = 'denied'").fetchall()
    counts = DatabaseCounts(shard.number)
    rows = {NodeId(node): NodeRow.decode(octets) for node, octets in nodes}
    return LogState(shard, rows, (int(serial) for (serial,) in denied), counts), counts


def keep_changes(db: Database, changes: Changes) -> None:
    """What entries have changed; of another shard than the one stored it takes its whole place."""
    known = db.execute("SELECT value FROM tlog_state WHERE part = 'shard'").fetchone()
    if known is not None and Shard.decode(known[0]).number != Shard.decode(changes.shard).number:
        db.execute("DELETE FROM tlog_state")
        db.execute("DELETE FROM tlog_requests WHERE shard < ?", [Shard.decode(changes.shard).number])
    rows = [("shard", "", changes.shard)]
    rows += [("node", str(node), octets) for node, octets in changes.nodes.items()]
    rows += [("denied", str(serial), b"") for serial in changes.denied]
    db.conn.executemany("INSERT OR REPLACE INTO tlog_state VALUES (?, ?, ?)", rows)


def next_keys(db: Database) -> tuple[VerifierKey, VerifierKey] | None:
    """The keys of the shard after the one that was read to its `closed` entry."""
    row = db.execute("SELECT value FROM tlog_state WHERE part = 'shard'").fetchone()
    return LogState(Shard.decode(row[0])).next_keys if row else None


def node_row(db: Database, node: NodeId) -> NodeRow | None:
    """All that the followed shard says of one member so far."""
    row = db.execute("SELECT value FROM tlog_state WHERE part = 'node' AND key = ?", [str(node)]).fetchone()
    return NodeRow.decode(row[0]) if row else None


# --- directories and policies ------------------------------------------------------------------------


def keep_directory(db: Database, shard: int, position: int, entry: DirectoryEntry) -> None:
    """Remember a `directory` entry, and forget those of long ago."""
    db.execute(
        "INSERT OR REPLACE INTO tlog_directories VALUES (?, ?, ?, ?)",
        [entry.version, shard, position, entry.encode()],
    )
    db.execute("DELETE FROM tlog_directories WHERE version <= ?", [entry.version - KEPT_DIRECTORIES])


def directory_entry(db: Database, version: int) -> DirectoryEntry | None:
    """The entry of this version of the directory, if the log holds it (or did not long ago)."""
    row = db.execute("SELECT entry FROM tlog_directories WHERE version = ?", [version]).fetchone()
    entry = parse_entry(row[0]) if row else None
    return entry if isinstance(entry, DirectoryEntry) else None


def newest_directory(db: Database) -> DirectoryEntry | None:
    """The newest `directory` entry that was read."""
    row = db.execute("SELECT max(version) FROM tlog_directories").fetchone()
    return directory_entry(db, row[0]) if row[0] is not None else None


def keep_policy(db: Database, shard: int, position: int, entry: PolicyEntry) -> None:
    """Remember a policy of the log, the first of all as in force (§15.4).

    Raises LogInconsistent when this version was read with another text, as a further shard must not have it.
    """
    row = db.execute("SELECT text FROM tlog_policies WHERE version = ?", [entry.version]).fetchone()
    if row is not None:
        if row[0] != entry.text:
            raise LogInconsistent(f"Policy version {entry.version} stands in the log with two texts.")
        return
    first = db.execute("SELECT NOT EXISTS (SELECT 1 FROM tlog_policies)").fetchone()[0]
    db.execute(
        "INSERT INTO tlog_policies VALUES (?, ?, ?, ?, ?)",
        [entry.version, entry.text, shard, position, first],
    )


@dataclass(frozen=True)
class KnownPolicy:
    """A policy that the log holds, and where."""

    version: int
    text: bytes = field(repr=False)
    shard: int
    position: int


_POLICY = "SELECT version, text, shard, position FROM tlog_policies WHERE"


def policy_in_force(db: Database) -> KnownPolicy | None:
    """The newest policy in force."""
    row = db.execute(f"{_POLICY} in_force = 1 ORDER BY version DESC LIMIT 1").fetchone()
    return KnownPolicy(*row) if row else None


def policy(db: Database, version: int) -> KnownPolicy | None:
    """A policy that was read, in force or not."""
    row = db.execute(f"{_POLICY} version = ?", [version]).fetchone()
    return KnownPolicy(*row) if row else None


def first_policy(db: Database) -> KnownPolicy | None:
    """The first policy of all: what members compare by another channel (§15.4)."""
    row = db.execute(f"{_POLICY} 1 ORDER BY version LIMIT 1").fetchone()
    return KnownPolicy(*row) if row else None


def policies_before(db: Database, shard: int, size: int) -> list[KnownPolicy]:
    """The two newest policies that stand before this size of a shard, the newest first."""
    rows = db.execute(
        f"{_POLICY} shard < ?1 OR (shard = ?1 AND position < ?2) ORDER BY version DESC LIMIT 2", [shard, size]
    ).fetchall()
    return [KnownPolicy(*row) for row in rows]


def enforce_policy(db: Database, version: int) -> None:
    """A head that the policy before satisfies covers this one's entry."""
    db.execute("UPDATE tlog_policies SET in_force = 1 WHERE version = ?", [version])


# --- what was witnessed, and when --------------------------------------------------------------------


def keep_witnessed(db: Database, shard: int, size: int, moment: datetime, oldest: datetime) -> None:
    """A head of this size has this time of witness; the earliest is kept, and none before `oldest`."""
    db.execute(
        "INSERT INTO tlog_witnessed VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [shard, size, to_milliseconds(moment)],
    )
    db.execute("DELETE FROM tlog_witnessed WHERE witnessed_at < ?", [to_milliseconds(oldest)])


def witnessed_before(db: Database, shard: int, moment: datetime) -> int | None:
    """The largest size that had been witnessed by then."""
    row = db.execute(
        "SELECT max(size) FROM tlog_witnessed WHERE shard = ? AND witnessed_at <= ?",
        [shard, to_milliseconds(moment)],
    ).fetchone()
    return row[0]  # type: ignore[no-any-return]  # of a row of integers


# --- of this node itself -----------------------------------------------------------------------------


@dataclass(frozen=True)
class LoggedHead:
    """The newest index head of this node that the log holds."""

    sequence: int
    epoch: int
    keys: bytes
    leaf: bytes


def logged_head(db: Database) -> LoggedHead | None:
    row = db.execute("SELECT sequence, epoch, keys, leaf FROM tlog_own_logged").fetchone()
    return LoggedHead(*row) if row else None


def keep_logged_head(db: Database, head: LoggedHead) -> None:
    """It never goes down: a further shard begins with the newest one once more."""
    db.execute(
        "INSERT INTO tlog_own_logged VALUES (1, ?, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET"
        " sequence = excluded.sequence, epoch = excluded.epoch, keys = excluded.keys, leaf = excluded.leaf"
        " WHERE excluded.sequence >= sequence",
        [head.sequence, head.epoch, head.keys, head.leaf],
    )


def signed_head(db: Database, leaf: bytes, sequence: int) -> None:
    """This node is about to let an index head go; `leaf` is the hash of its entry."""
    db.execute("INSERT INTO tlog_own_heads VALUES (?, ?) ON CONFLICT DO NOTHING", [leaf, sequence])


def is_own_head(db: Database, leaf: bytes) -> bool:
    return db.execute("SELECT 1 FROM tlog_own_heads WHERE leaf = ?", [leaf]).fetchone() is not None


def own_head_verified(db: Database, leaf: bytes, sequence: int) -> None:
    """A head of this node verifies under its key: it signed it, if perhaps before it was restored.

    What the log holds of it up to this one is explained by that.
    """
    if not is_own_head(db, leaf):
        signed_head(db, leaf, sequence)
        db.execute("DELETE FROM tlog_strange WHERE sequence BETWEEN 1 AND ?", [sequence])


def is_own_statement(db: Database, digest: bytes) -> bool:
    """Whether the log was seen to hold this statement of this node."""
    return db.execute("SELECT 1 FROM tlog_own_statements WHERE digest = ?", [digest]).fetchone() is not None


def keep_own_statement(db: Database, digest: bytes, context: str, shard: int, position: int) -> None:
    db.execute(
        "INSERT INTO tlog_own_statements VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [digest, context, shard, position],
    )


def is_logged(db: Database, context: str) -> bool:
    """Whether the log was seen to hold a statement of this node of this context."""
    row = db.execute("SELECT 1 FROM tlog_own_statements WHERE context = ?", [context]).fetchone()
    return row is not None


def add_strange(db: Database, shard: int, position: int, sequence: int, what: str) -> None:
    """The log says something of this node that it does not remember; `sequence` is 0 for a member entry."""
    db.execute("INSERT OR REPLACE INTO tlog_strange VALUES (?, ?, ?, ?)", [shard, position, sequence, what])


def strange(db: Database) -> list[str]:
    """Sentences about what the log says of this node, and it did not."""
    return [row[0] for row in db.execute("SELECT what FROM tlog_strange ORDER BY shard, position LIMIT 20")]


def restored(db: Database, at: datetime) -> None:
    """This database was put back from a backup at this moment."""
    db.execute("INSERT OR REPLACE INTO tlog_restored VALUES (1, ?)", [to_milliseconds(at)])


def restored_at(db: Database) -> datetime | None:
    """When it was, if no head witnessed after that was read yet."""
    row = db.execute("SELECT at FROM tlog_restored").fetchone()
    return from_milliseconds(row[0]) if row else None


def caught_up(db: Database, moment: datetime) -> None:
    """A head with this time of witness was read: what was before it is known again."""
    db.execute("DELETE FROM tlog_restored WHERE at < ?", [to_milliseconds(moment)])
