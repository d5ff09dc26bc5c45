"""The tables of records, ledger, epochs and publication.

A migration that was released is never changed: the next one is added below it. Times are whole
milliseconds since 1970, dates ISO 8601 texts.
"""

from __future__ import annotations

import secrets

from candor_node.driver import Database, Migrations

records_migrations = Migrations("records")

_TABLES = (
    # Keys of this database that never leave it, for example the one that agency_key is made with.
    "CREATE TABLE node_secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    # One row for each filing. What names a person stands in `sealed` only, under the row in record_keys.
    """CREATE TABLE records (
        dcn TEXT PRIMARY KEY,
        record_id BLOB NOT NULL CHECK (length(record_id) = 16),
        version INTEGER NOT NULL CHECK (version >= 1),
        previous_dcn TEXT REFERENCES records (dcn),
        report_type TEXT NOT NULL,
        current INTEGER NOT NULL CHECK (current IN (0, 1)),
        created_at INTEGER NOT NULL,
        content_mac BLOB NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (record_id, version)
    ) STRICT""",
    "CREATE UNIQUE INDEX records_current ON records (record_id) WHERE current = 1",
    # One row for each record: its current filing, and what changes without one. `matters` is sealed.
    """CREATE TABLE record_heads (
        record_id BLOB PRIMARY KEY CHECK (length(record_id) = 16),
        agency_key BLOB NOT NULL UNIQUE,
        person_key BLOB,
        dcn TEXT NOT NULL UNIQUE REFERENCES records (dcn),
        record_kind TEXT NOT NULL,
        tier TEXT NOT NULL,
        adjudication_status TEXT NOT NULL,
        reporting_agency TEXT NOT NULL,
        effective_on TEXT,
        filed_at INTEGER NOT NULL,
        standing TEXT NOT NULL,
        sharing TEXT NOT NULL,
        reviewed INTEGER NOT NULL CHECK (reviewed IN (0, 1)),
        sealed_by_order INTEGER NOT NULL CHECK (sealed_by_order IN (0, 1)),
        legal_hold INTEGER NOT NULL CHECK (legal_hold IN (0, 1)),
        matchable INTEGER NOT NULL CHECK (matchable IN (0, 1)),
        reasons TEXT NOT NULL,
        failed TEXT NOT NULL,
        recheck_on TEXT,
        review_on TEXT,
        expires_on TEXT,
        dispute_status TEXT NOT NULL,
        dispute_due_on TEXT,
        matters BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX record_heads_person ON record_heads (person_key) WHERE person_key IS NOT NULL",
    "CREATE INDEX record_heads_matchable ON record_heads (matchable)",
    "CREATE INDEX record_heads_recheck ON record_heads (recheck_on)",
    # One data key a record, backed up apart with an expiry: without its row here nothing of the record can
    # be opened by anybody, not its versions, nor its statement, nor why things were done.
    """CREATE TABLE record_keys (
        record_id BLOB PRIMARY KEY REFERENCES record_heads (record_id),
        key BLOB NOT NULL CHECK (length(key) = 32)
    ) STRICT""",
    # What happened to a record, for ever. `sealed` holds the reason that was given.
    """CREATE TABLE record_events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        record_id BLOB NOT NULL REFERENCES record_heads (record_id),
        dcn TEXT NOT NULL REFERENCES records (dcn),
        act TEXT NOT NULL,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        second TEXT NOT NULL,
        sealed BLOB
    ) STRICT""",
    "CREATE INDEX record_events_by_record ON record_events (record_id, number)",
    """CREATE TRIGGER record_events_keep BEFORE DELETE ON record_events
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
    """CREATE TRIGGER record_events_stay BEFORE UPDATE ON record_events
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
    """CREATE TRIGGER records_keep BEFORE DELETE ON records
        BEGIN SELECT RAISE(ABORT, 'a filing stays: its control number is never used again'); END""",
    """CREATE TABLE ledger (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        event TEXT NOT NULL,
        refs TEXT NOT NULL,
        details TEXT NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32)
    ) STRICT""",
    # The end of the chain once more, so that a cut-off tail shows.
    """CREATE TABLE ledger_head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        number INTEGER NOT NULL,
        digest BLOB NOT NULL
    ) STRICT""",
    """CREATE TRIGGER ledger_keeps BEFORE DELETE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER ledger_stays BEFORE UPDATE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    # ends_at is the plan; ended_at and grace_ends_at are set by the rotation itself.
    """CREATE TABLE epochs (
        number INTEGER PRIMARY KEY,
        starts_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL,
        ended_at INTEGER,
        grace_ends_at INTEGER,
        threshold INTEGER,
        scheme_version INTEGER
    ) STRICT""",
    """CREATE TABLE epoch_seeds (
        epoch INTEGER PRIMARY KEY REFERENCES epochs (number),
        seed BLOB NOT NULL CHECK (length(seed) = 32)
    ) STRICT""",
    """CREATE TABLE published (
        blob_id BLOB PRIMARY KEY CHECK (length(blob_id) = 16),
        epoch INTEGER NOT NULL REFERENCES epochs (number),
        segment INTEGER NOT NULL,
        dcn TEXT NOT NULL REFERENCES records (dcn),
        handle BLOB NOT NULL CHECK (length(handle) = 16),
        salt BLOB NOT NULL CHECK (length(salt) = 32),
        com BLOB NOT NULL CHECK (length(com) = 32),
        marker BLOB NOT NULL CHECK (length(marker) = 16),
        entries INTEGER NOT NULL,
        withdrawn_in INTEGER,
        UNIQUE (epoch, handle)
    ) STRICT""",
    "CREATE UNIQUE INDEX published_once ON published (epoch, dcn) WHERE withdrawn_in IS NULL",
    # `body` is kept until the hub has it.
    """CREATE TABLE segments (
        epoch INTEGER NOT NULL REFERENCES epochs (number),
        number INTEGER NOT NULL,
        address BLOB NOT NULL CHECK (length(address) = 32),
        octets INTEGER NOT NULL,
        body BLOB,
        PRIMARY KEY (epoch, number)
    ) STRICT""",
    """CREATE TABLE index_state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        sequence INTEGER NOT NULL,
        head BLOB NOT NULL,
        issued_at INTEGER NOT NULL,
        ticked_at INTEGER NOT NULL,
        confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1))
    ) STRICT""",
)


@records_migrations()
def initial(db: Database) -> None:
    """Records, ledger, epochs, publication."""
    for statement in _TABLES:
        db.execute(statement)
    db.execute("INSERT INTO node_secrets VALUES ('agency-key', ?)", [secrets.token_bytes(32)])
