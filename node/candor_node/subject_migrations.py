"""The tables of the subject's rights: notices that are due or sent, and entries not shown yet.

A migration that was released is never changed. Times are milliseconds since 1970, dates ISO 8601 texts.
Nobody is named here: what a notice says is read from the record when it is written.
"""

from __future__ import annotations

from candor_node.driver import Database, Migrations

subject_migrations = Migrations("subject")

_TABLES = (
    # `changed` holds names of fields. Sent ones stay as long as the record's tombstone.
    """CREATE TABLE subject_notices (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        record_id BLOB NOT NULL REFERENCES record_heads (record_id),
        dcn TEXT NOT NULL REFERENCES records (dcn),
        record_kind TEXT NOT NULL,
        act TEXT NOT NULL,
        changed TEXT NOT NULL,
        done_on TEXT NOT NULL,
        due_on TEXT NOT NULL,
        sent_on TEXT,
        method TEXT NOT NULL DEFAULT '',
        by TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    "CREATE INDEX subject_notices_due ON subject_notices (due_on) WHERE sent_on IS NULL",
    "CREATE INDEX subject_notices_due_of_kind ON subject_notices (record_kind, due_on) WHERE sent_on IS NULL",
    "CREATE INDEX subject_notices_by_record ON subject_notices (record_id, number)",
    # `entry` is a search of this node's or a request of another's; why stands in the approval.
    """CREATE TABLE deferrals (
        entry BLOB NOT NULL,
        what TEXT NOT NULL CHECK (what IN ('SEARCH', 'REQUEST')),
        until TEXT NOT NULL,
        approval_id TEXT NOT NULL UNIQUE,
        proposed_by TEXT NOT NULL,
        decided_by TEXT NOT NULL,
        decided_at INTEGER NOT NULL,
        PRIMARY KEY (entry, decided_at)
    ) STRICT, WITHOUT ROWID""",
)


@subject_migrations()
def initial(db: Database) -> None:
    """Notices and deferrals."""
    for statement in _TABLES:
        db.execute(statement)
