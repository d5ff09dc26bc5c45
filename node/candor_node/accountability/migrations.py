"""The tables of receipts, evidence and audits. Never change a migration that was released.

Times are milliseconds since 1970. Everything here lies in the encrypted database.
"""

from __future__ import annotations

from candor_node.driver import Database, Migrations

accountability_migrations = Migrations("accountability")


@accountability_migrations()
def initial(db: Database) -> None:
    for statement in _INITIAL:
        db.execute(statement)


_INITIAL = (
    # Index heads that came with a directory; `digest` is what the log says of a head (§14.3).
    """CREATE TABLE held_heads (
        digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
        node TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        seen_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX held_heads_by_node ON held_heads (node, epoch, sequence)",
    # Where the log holds index heads and members: the first place that was read.
    """CREATE TABLE logged_heads (
        digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        read_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE logged_members (
        node TEXT PRIMARY KEY,
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        entry BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Own lookups by what the log says of them; `flight`: of a batch. Where they stand is in tlog_watched.
    """CREATE TABLE own_lookups (
        commitment BLOB PRIMARY KEY CHECK (length(commitment) = 32),
        lookup_id BLOB NOT NULL UNIQUE,
        flight INTEGER NOT NULL CHECK (flight IN (0, 1)),
        issued_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX own_lookups_by_time ON own_lookups (issued_at)",
    # Lookups of others that were answered, for as long as they live: a second one under their id shows.
    """CREATE TABLE seen_lookups (
        asker TEXT NOT NULL,
        lookup_id BLOB NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (asker, lookup_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX seen_lookups_by_time ON seen_lookups (expires_at)",
    # What the other side of a disclosure signed: at the requester the response, at the owner the request.
    # At the owner `body` is its own response, under the record's key if it released one (`sealed`).
    """CREATE TABLE disclosure_statements (
        request_id BLOB PRIMARY KEY,
        signature BLOB NOT NULL CHECK (length(signature) IN (0, 64)),
        body BLOB NOT NULL,
        sealed INTEGER NOT NULL CHECK (sealed IN (0, 1))
    ) STRICT, WITHOUT ROWID""",
    # From which index a record was asked for: should it turn out not to be the one committed to.
    """CREATE TABLE request_bases (
        request_id BLOB PRIMARY KEY,
        head BLOB NOT NULL,
        address BLOB NOT NULL,
        secret BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Misbehaviour that was noticed. `identity` keeps the same from being kept twice; `items` are the keys of
    # §17.1 that need no proof, as JSON, `wanted` says where the log holds the others.
    """CREATE TABLE evidence (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        identity BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        accused TEXT NOT NULL,
        state TEXT NOT NULL,
        noticed_at INTEGER NOT NULL,
        exported_at INTEGER,
        items TEXT NOT NULL,
        wanted TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE evidence_octets (
        number INTEGER NOT NULL REFERENCES evidence (number),
        name TEXT NOT NULL,
        octets BLOB NOT NULL,
        PRIMARY KEY (number, name)
    ) STRICT""",
    # The calendar digest of local failures (§7.6): a row a month, whether there were any or not.
    """CREATE TABLE digests (
        month TEXT PRIMARY KEY,
        made_at INTEGER NOT NULL,
        reviewed_at INTEGER,
        reviewed_by TEXT NOT NULL DEFAULT '',
        note TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID""",
)
