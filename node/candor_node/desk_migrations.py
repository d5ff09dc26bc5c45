"""The tables of the records desk: certificates of destruction, and where backups of keys lie.

Applied behind all others, for it watches tables of theirs. A migration that was released is never changed:
the next one is added below it. Times are whole milliseconds since 1970.
"""

from __future__ import annotations

from candor_node.driver import Database, Migrations

desk_migrations = Migrations("desk")

# The tables that hold keys: backed up apart, with an expiry (ARCHITECTURE: key backups with expiry).
KEY_TABLES = ("record_keys", "copy_keys", "epoch_seeds")

_TABLES = (
    # What was destroyed, under which rule, by whom: the signed octets as they were issued. Names nobody.
    """CREATE TABLE certificates (
        number INTEGER PRIMARY KEY,
        issued_at INTEGER NOT NULL,
        destroyed INTEGER NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL CHECK (length(signature) = 64)
    ) STRICT""",
    # How often a key was destroyed here, by whatever code: what backups of keys are measured by. `cut` is the
    # count when the write-ahead log was cut last: behind it a destroyed key may still lie in the log.
    """CREATE TABLE key_destructions (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        number INTEGER NOT NULL,
        cut INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO key_destructions VALUES (1, 0, 0)",
    # Folders that hold keys of this database: `destructions` is the count when they were written.
    """CREATE TABLE backup_folders (
        path TEXT PRIMARY KEY,
        pair BLOB NOT NULL CHECK (length(pair) = 16),
        written_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        destructions INTEGER NOT NULL
    ) STRICT""",
    # Lists come newest first. One condition has an index of its own; several are all read from the first.
    "CREATE INDEX record_heads_filed ON record_heads"
    " (filed_at, record_id, record_kind, standing, sharing, reporting_agency, failed)",
    "CREATE INDEX record_heads_kind ON record_heads (record_kind, filed_at, record_id)",
    "CREATE INDEX record_heads_standing ON record_heads (standing, filed_at, record_id, failed)",
    "CREATE INDEX record_heads_sharing ON record_heads (sharing, filed_at, record_id)",
    "CREATE INDEX record_heads_review ON record_heads (review_on, record_id, record_kind, standing)"
    " WHERE review_on IS NOT NULL",
    "CREATE INDEX record_heads_expires ON record_heads (expires_on, record_id, record_kind, standing)"
    " WHERE expires_on IS NOT NULL",
    "CREATE INDEX record_heads_dispute ON record_heads (dispute_due_on, record_id)"
    " WHERE dispute_due_on IS NOT NULL",
    "CREATE INDEX record_heads_appeal ON record_heads (recheck_on, record_id)"
    " WHERE instr(', ' || failed || ', ', ', final, ') > 0",
    "CREATE INDEX received_requests_by_dcn ON received_requests (dcn)",
    """CREATE TRIGGER certificates_stay BEFORE UPDATE ON certificates
        BEGIN SELECT RAISE(ABORT, 'a certificate of destruction is never changed'); END""",
    """CREATE TRIGGER certificates_keep BEFORE DELETE ON certificates
        BEGIN SELECT RAISE(ABORT, 'a certificate of destruction is never deleted'); END""",
)


def key_tables(db: Database) -> list[str]:
    """Those of `KEY_TABLES` that this database has."""
    known = set(db.table_names())
    return [table for table in KEY_TABLES if table in known]


@desk_migrations()
def initial(db: Database) -> None:
    """Certificates, folders with backups of keys."""
    for statement in _TABLES:
        db.execute(statement)
    for table in key_tables(db):
        db.execute(
            f"CREATE TRIGGER {table}_destroyed AFTER DELETE ON {table} "  # noqa: S608
            "BEGIN UPDATE key_destructions SET number = number + 1; END"
        )
