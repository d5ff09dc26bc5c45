"""The tables of the office: users, approvals, traces of who was asked about, weekly reviews.

A migration that was released is never changed. Times are milliseconds since 1970. Nobody who was asked about
stands here by name: traces are HMAC-SHA-256 under a key of this database (`subjects`).
"""

from __future__ import annotations

import secrets

from candor_node.driver import Database, Migrations

office_migrations = Migrations("office")

_TABLES = (
    # A row is never deleted: while one exists, nobody acts without signing in.
    """CREATE TABLE users (
        user_id TEXT PRIMARY KEY,
        roles TEXT NOT NULL,
        token_digest BLOB NOT NULL UNIQUE CHECK (length(token_digest) = 32),
        full_name BLOB,
        surname BLOB,
        rarity TEXT NOT NULL,
        active_from INTEGER NOT NULL,
        active_until INTEGER,
        disabled_at INTEGER,
        locked_at INTEGER,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        changed_by TEXT NOT NULL,
        changed_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE sign_in_failures (
        user_id TEXT NOT NULL REFERENCES users (user_id),
        at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX sign_in_failures_by_user ON sign_in_failures (user_id, at)",
    # `sealed` holds reason and arguments, under the key of the record it is about if it is about one.
    """CREATE TABLE approvals (
        approval_id BLOB PRIMARY KEY CHECK (length(approval_id) = 8),
        operation TEXT NOT NULL,
        about TEXT NOT NULL,
        record_id BLOB,
        sealed BLOB NOT NULL,
        proposed_by TEXT NOT NULL,
        proposed_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        decided_by TEXT NOT NULL DEFAULT '',
        decided_at INTEGER,
        decision BLOB
    ) STRICT""",
    "CREATE INDEX approvals_by_state ON approvals (state, expires_at)",
    "CREATE INDEX approvals_by_time ON approvals (proposed_at)",
    # One row a search, single or row of a batch: whom it was about, as traces.
    """CREATE TABLE search_subjects (
        search_id BLOB PRIMARY KEY,
        user_id TEXT NOT NULL,
        at INTEGER NOT NULL,
        batch_id BLOB,
        person BLOB NOT NULL,
        full_name BLOB NOT NULL,
        surname BLOB NOT NULL,
        sex TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX search_subjects_by_time ON search_subjects (at)",
    "CREATE INDEX search_subjects_by_user ON search_subjects (user_id, at)",
    """CREATE TABLE search_traces (
        trace BLOB NOT NULL,
        search_id BLOB NOT NULL REFERENCES search_subjects (search_id),
        PRIMARY KEY (trace, search_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE sensitive_subjects (
        mark_id BLOB PRIMARY KEY CHECK (length(mark_id) = 8),
        reason TEXT NOT NULL,
        marked_by TEXT NOT NULL,
        marked_at INTEGER NOT NULL,
        removed_by TEXT NOT NULL DEFAULT '',
        removed_at INTEGER
    ) STRICT""",
    """CREATE TABLE sensitive_traces (
        trace BLOB NOT NULL,
        mark_id BLOB NOT NULL REFERENCES sensitive_subjects (mark_id),
        PRIMARY KEY (trace, mark_id)
    ) STRICT, WITHOUT ROWID""",
    # A lookup that a second person has allowed; it is sent once.
    """CREATE TABLE lookup_permits (
        approval_id BLOB PRIMARY KEY REFERENCES approvals (approval_id),
        expires_at INTEGER NOT NULL,
        search_id BLOB,
        trouble TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    """CREATE TABLE reviews (
        week TEXT PRIMARY KEY,
        signed_by TEXT NOT NULL,
        signed_at INTEGER NOT NULL,
        digest BLOB NOT NULL,
        note TEXT NOT NULL
    ) STRICT""",
)


@office_migrations()
def initial(db: Database) -> None:
    """Users, approvals, traces, reviews."""
    for statement in _TABLES:
        db.execute(statement)
    for name in ("subject-traces", "approvals"):
        db.execute("INSERT INTO node_secrets VALUES (?, ?)", [name, secrets.token_bytes(32)])
