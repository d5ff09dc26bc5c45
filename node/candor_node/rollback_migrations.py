"""The tables of a database that went back. Never change a migration that was released.

Times are whole milliseconds since 1970.
"""

from __future__ import annotations

from candor_node.driver import Database, Migrations
from candor_node.schema import expansion

rollback_migrations = Migrations("rollback")

_TABLES = (
    # Each time that this database was found to be older than what it had been: restored, copied back,
    # reverted. `state_of` is when the state was that it went back to. Until `confirmed_at` nothing is shared.
    """CREATE TABLE rollbacks (
        number INTEGER PRIMARY KEY,
        noticed_at INTEGER NOT NULL,
        cause TEXT NOT NULL,
        state_of INTEGER,
        known_until INTEGER,
        put_back INTEGER NOT NULL,
        confirmed_at INTEGER,
        confirmed_by TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    # What had been done since, as far as it is known: what became of it here, and what a person has to do.
    """CREATE TABLE rollback_acts (
        rollback INTEGER NOT NULL REFERENCES rollbacks (number),
        position INTEGER NOT NULL,
        at INTEGER NOT NULL,
        event TEXT NOT NULL,
        about TEXT NOT NULL,
        by TEXT NOT NULL,
        healed TEXT NOT NULL,
        PRIMARY KEY (rollback, position)
    ) STRICT, WITHOUT ROWID""",
    # Digests of entries of a ledger that cannot be continued any more, and were looked at: not found anew.
    """CREATE TABLE rollback_entries (
        digest BLOB PRIMARY KEY CHECK (length(digest) = 32)
    ) STRICT, WITHOUT ROWID""",
    # Numbers that were perhaps used: `sequence` and `epoch` go on above them.
    """CREATE TABLE number_floors (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
)


@expansion(rollback_migrations)
def initial(db: Database) -> None:
    """Rollbacks, and numbers that are not used again."""
    for statement in _TABLES:
        db.execute(statement)
