"""The tables of the followed log and of the witness. Never change a migration that was released.

Times are whole milliseconds since 1970. A row of `tlog_shards` is written together with everything that
was read up to its `size`: whoever finds one finds the state that belongs to it.
"""

from __future__ import annotations

from candor_node.driver import Database, Migrations
from candor_node.schema import expansion

tlog_migrations = Migrations("tlog")
witness_migrations = Migrations("witness")

_LOG = (
    # Each shard that was followed; the last one is followed now. `size` entries were read and folded, of
    # which `hashes` are the compact range; `checkpoint` is the largest witnessed head that was taken up,
    # never of a size below `size` (it is above it only while a long way is gone in pieces), with the time
    # of witness of its newest copy. Heads of `refused_from` entries or more contradict the rules (§14.5).
    """CREATE TABLE tlog_shards (
        shard INTEGER PRIMARY KEY,
        origin TEXT NOT NULL UNIQUE,
        ed25519_key TEXT NOT NULL,
        ml_dsa_key TEXT NOT NULL,
        size INTEGER NOT NULL,
        hashes BLOB NOT NULL,
        checkpoint BLOB,
        checkpoint_size INTEGER NOT NULL,
        witnessed_at INTEGER,
        refused_from INTEGER,
        refused_why TEXT NOT NULL DEFAULT '',
        CHECK (checkpoint_size >= size)
    ) STRICT""",
    # The policies of the log that were read; the newest with `in_force` is the one heads are judged by.
    """CREATE TABLE tlog_policies (
        version INTEGER PRIMARY KEY,
        text BLOB NOT NULL,
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        in_force INTEGER NOT NULL CHECK (in_force IN (0, 1))
    ) STRICT""",
    # What the state of the log is made of (§14.4, §14.5), of the last shard: `candor_proto.tlog.state`.
    # Parts are `shard`, `node` (by node id) and `denied` (by serial).
    """CREATE TABLE tlog_state (
        part TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (part, key)
    ) STRICT, WITHOUT ROWID""",
    # How many commitments the `requests` entries up to this position hold.
    """CREATE TABLE tlog_requests (
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        total INTEGER NOT NULL,
        PRIMARY KEY (shard, position)
    ) STRICT, WITHOUT ROWID""",
    # `directory` entries, the newest some thousand of them.
    """CREATE TABLE tlog_directories (
        version INTEGER PRIMARY KEY,
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        entry BLOB NOT NULL
    ) STRICT""",
    # Sizes that were witnessed, and since when: what a heartbeat may cover.
    """CREATE TABLE tlog_witnessed (
        shard INTEGER NOT NULL,
        size INTEGER NOT NULL,
        witnessed_at INTEGER NOT NULL,
        PRIMARY KEY (shard, size)
    ) STRICT, WITHOUT ROWID""",
    # Commitments of the last days, by place; those of lookups stay until a heartbeat covers them.
    """CREATE TABLE tlog_commitments (
        commitment BLOB NOT NULL CHECK (length(commitment) = 32),
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        place INTEGER NOT NULL,
        request INTEGER NOT NULL CHECK (request IN (0, 1)),
        read_at INTEGER NOT NULL,
        PRIMARY KEY (commitment, shard, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX tlog_commitments_requests ON tlog_commitments (shard, position, place) WHERE request = 1",
    "CREATE INDEX tlog_commitments_by_time ON tlog_commitments (read_at)",
    # Commitments that somebody here waits for; `shard` is null until the log was seen to hold it.
    """CREATE TABLE tlog_watched (
        commitment BLOB PRIMARY KEY CHECK (length(commitment) = 32),
        watched_at INTEGER NOT NULL,
        shard INTEGER,
        position INTEGER,
        place INTEGER
    ) STRICT, WITHOUT ROWID""",
    # Lookups that reached this node and are stored: the bits of its heartbeats (§14.8).
    """CREATE TABLE tlog_received (
        commitment BLOB PRIMARY KEY CHECK (length(commitment) = 32),
        received_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX tlog_received_by_time ON tlog_received (received_at)",
    # The newest index head of this node that the log holds, also while a further shard is only begun.
    """CREATE TABLE tlog_own_logged (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        sequence INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        keys BLOB NOT NULL,
        leaf BLOB NOT NULL
    ) STRICT""",
    # Leaf hashes of the index heads that this node signed, stored before they leave it.
    """CREATE TABLE tlog_own_heads (
        leaf BLOB PRIMARY KEY CHECK (length(leaf) = 32),
        sequence INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Digests of this node's own statements that the log holds.
    """CREATE TABLE tlog_own_statements (
        digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
        context TEXT NOT NULL,
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Lookups that this node answered since it was made, evaluated and refused (§14.8).
    """CREATE TABLE tlog_answered (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        evaluated INTEGER NOT NULL,
        refused INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO tlog_answered VALUES (1, 0, 0)",
    # A database that was restored: heads are signed again once a head witnessed after this moment was read.
    """CREATE TABLE tlog_restored (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        at INTEGER NOT NULL
    ) STRICT""",
    # Entries about this node that it cannot have made, as far as it remembers.
    """CREATE TABLE tlog_strange (
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        what TEXT NOT NULL,
        PRIMARY KEY (shard, position)
    ) STRICT, WITHOUT ROWID""",
    # Two signed checkpoints that cannot both be of an honest log, for evidence (§17.1). `extra` is JSON.
    """CREATE TABLE tlog_contradictions (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        origin TEXT NOT NULL,
        first BLOB NOT NULL,
        second BLOB NOT NULL,
        extra TEXT NOT NULL,
        at INTEGER NOT NULL,
        UNIQUE (kind, first, second)
    ) STRICT""",
    """CREATE TRIGGER tlog_contradictions_keep BEFORE DELETE ON tlog_contradictions
        BEGIN SELECT RAISE(ABORT, 'evidence is kept'); END""",
)

_WITNESS = (
    # The witness's own keys: the newest row counts. Those of a node that was restored are made anew.
    """CREATE TABLE witness_keys (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        ed25519_seed BLOB NOT NULL CHECK (length(ed25519_seed) = 32),
        ml_dsa_seed BLOB NOT NULL CHECK (length(ml_dsa_seed) = 32),
        made_at INTEGER NOT NULL
    ) STRICT""",
    # The newest checkpoint of each log that was cosigned, with the cosignatures that were answered.
    """CREATE TABLE witness_cosigned (
        origin TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        checkpoint BLOB NOT NULL,
        at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TRIGGER witness_cosigned_grows BEFORE UPDATE ON witness_cosigned WHEN NEW.size < OLD.size
        BEGIN SELECT RAISE(ABORT, 'a witness does not go back'); END""",
)


@tlog_migrations()
def initial(db: Database) -> None:
    """The followed log."""
    for statement in _LOG:
        db.execute(statement)


@tlog_migrations()
def successions(db: Database) -> None:
    """Consents to successors (§19), by the shard that they end; `published`: an index was sent since."""
    db.execute(
        """CREATE TABLE tlog_successions (
            shard INTEGER PRIMARY KEY,
            body BLOB NOT NULL,
            signature BLOB NOT NULL,
            made_at INTEGER NOT NULL,
            published INTEGER NOT NULL CHECK (published IN (0, 1))
        ) STRICT"""
    )


@expansion(tlog_migrations)
def watched_by_time(db: Database) -> None:
    """What is watched is forgotten by its age (`watching.forget_old`)."""
    db.execute("CREATE INDEX tlog_watched_by_time ON tlog_watched (watched_at)")


@witness_migrations()
def initial_witness(db: Database) -> None:
    """Keys and newest cosigned checkpoints."""
    for statement in _WITNESS:
        db.execute(statement)
