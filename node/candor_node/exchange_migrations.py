"""The tables of messages, lookups, disclosures and index copies. Never change a migration that was released.

Times are milliseconds since 1970. Everything here lies in the encrypted database.
"""

from __future__ import annotations

import json

from candor_node.driver import Database, Migrations

exchange_migrations = Migrations("exchange")


@exchange_migrations()
def initial(db: Database) -> None:
    for statement in _INITIAL:
        db.execute(statement)


@exchange_migrations()
def batches(db: Database) -> None:
    for statement in _BATCHES:
        db.execute(statement)


_BATCHES = (
    # Single lookups and batches stand in two lines (mail_store.unsettled).
    "ALTER TABLE inbox ADD COLUMN bulk INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX inbox_by_lane ON inbox (state, kind, bulk, sender, number)",
    # A search that is a row of a batch is carried out by a flight of it, not by lookups of its own.
    "ALTER TABLE searches ADD COLUMN batch_id BLOB",
    "CREATE INDEX searches_by_plain_case ON searches (lower(trim(case_number)))",
    "CREATE INDEX searches_single ON searches (created_at) WHERE batch_id IS NULL",
    # The same file with the same papers is the same batch, unless it is asked again on purpose (generation).
    """CREATE TABLE batches (
        batch_id BLOB PRIMARY KEY,
        digest BLOB NOT NULL,
        generation INTEGER NOT NULL,
        state TEXT NOT NULL,
        note TEXT NOT NULL DEFAULT '',
        purpose INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        columns TEXT NOT NULL,
        user_id TEXT NOT NULL DEFAULT '',
        wait_seconds REAL NOT NULL,
        created_at INTEGER NOT NULL,
        ended_at INTEGER,
        UNIQUE (digest, generation)
    ) STRICT""",
    # `cells` go out again as they came; `person` is what is asked, kept for audits like an opening.
    """CREATE TABLE batch_rows (
        batch_id BLOB NOT NULL REFERENCES batches (batch_id),
        row INTEGER NOT NULL,
        state TEXT NOT NULL,
        cells TEXT NOT NULL,
        person TEXT NOT NULL,
        case_number TEXT NOT NULL,
        consent TEXT NOT NULL,
        officer TEXT NOT NULL,
        search_id BLOB,
        results TEXT,
        PRIMARY KEY (batch_id, row)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX batch_rows_by_state ON batch_rows (batch_id, state, row)",
    "CREATE INDEX batch_rows_by_search ON batch_rows (search_id)",
    # One signed lookup about several rows; `first` is the flight whose moved targets this one asks again.
    """CREATE TABLE flights (
        lookup_id BLOB PRIMARY KEY,
        batch_id BLOB NOT NULL REFERENCES batches (batch_id),
        first BLOB,
        state TEXT NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        persons INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        directory_version INTEGER NOT NULL,
        missing TEXT NOT NULL,
        issued_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        shown_at INTEGER,
        closed INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    "CREATE INDEX flights_open ON flights (closed, batch_id)",
    "CREATE INDEX flights_by_time ON flights (issued_at)",
    # `secrets`: four salts, the filler seed, one blind a slot, 32 octets each. A filler person has no row.
    """CREATE TABLE flight_persons (
        lookup_id BLOB NOT NULL REFERENCES flights (lookup_id),
        position INTEGER NOT NULL,
        row INTEGER,
        plan_number INTEGER NOT NULL,
        secrets BLOB NOT NULL,
        PRIMARY KEY (lookup_id, position)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE flight_targets (
        lookup_id BLOB NOT NULL REFERENCES flights (lookup_id),
        node TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        index_issued_at INTEGER,
        answer_body BLOB,
        answer_signature BLOB,
        PRIMARY KEY (lookup_id, node)
    ) STRICT""",
    # What each node said last that it lets this one use (docs/protocol.md §11.3).
    """CREATE TABLE allowances (
        node TEXT PRIMARY KEY,
        total INTEGER NOT NULL,
        weak INTEGER NOT NULL,
        match INTEGER NOT NULL,
        code INTEGER NOT NULL,
        stated_at INTEGER NOT NULL
    ) STRICT""",
)


@exchange_migrations()
def standing_of_others(db: Database) -> None:
    """What keeps a hub from showing one thing today and another tomorrow (docs/protocol.md §10.2)."""
    for statement in _STANDING:
        db.execute(statement)


@exchange_migrations()
def bands(db: Database) -> None:
    """Hits found before bands say of a verdict which it would have been; what they weigh stays."""
    for row_id, text in db.execute("SELECT rowid, explanation FROM hits").fetchall():
        stored = json.loads(text)
        if "verdict" in stored:
            stored["band"] = _BANDS[stored.pop("verdict")]
            stored["centibits"] = round(100 * stored.pop("bits"))
            db.execute("UPDATE hits SET explanation = ? WHERE rowid = ?", (json.dumps(stored), row_id))


@exchange_migrations()
def amendments(db: Database) -> None:
    """Who answered when and in which index, what late answers changed, and who has looked (§7.7)."""
    for table in ("lookup_targets", "flight_targets"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN answered_at INTEGER")
        db.execute(f"ALTER TABLE {table} ADD COLUMN taken_at INTEGER")
        db.execute(f"ALTER TABLE {table} ADD COLUMN index_sequence INTEGER")
        db.execute(f"ALTER TABLE {table} ADD COLUMN late INTEGER NOT NULL DEFAULT 0")
    for statement in _AMENDMENTS:
        db.execute(statement)


_AMENDMENTS = (
    "ALTER TABLE searches ADD COLUMN revision INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE searches ADD COLUMN amended_at INTEGER",
    # The coverage of all rows of a flight.
    "ALTER TABLE flights ADD COLUMN result TEXT",
    # What a late answer changed of a result that had been shown. Numbers are never used again: exports of a
    # batch name the last one that they hold. With candidates it is an alarm until a person has seen them.
    """CREATE TABLE result_changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        search_id BLOB NOT NULL REFERENCES searches (search_id),
        revision INTEGER NOT NULL,
        at INTEGER NOT NULL,
        before TEXT NOT NULL,
        after TEXT NOT NULL,
        changes TEXT NOT NULL,
        answered INTEGER NOT NULL,
        asked INTEGER NOT NULL,
        candidates INTEGER NOT NULL,
        closed INTEGER NOT NULL,
        seen_at INTEGER,
        seen_by TEXT NOT NULL DEFAULT '',
        UNIQUE (search_id, revision)
    ) STRICT""",
    "CREATE INDEX result_changes_unseen ON result_changes (search_id)"
    " WHERE candidates > 0 AND seen_at IS NULL",
    # Who has looked at which revision of a result, last.
    """CREATE TABLE result_looks (
        search_id BLOB NOT NULL REFERENCES searches (search_id),
        user_id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (search_id, user_id)
    ) STRICT, WITHOUT ROWID""",
    # Up to which change each user has written a batch to a file.
    """CREATE TABLE batch_exports (
        batch_id BLOB NOT NULL REFERENCES batches (batch_id),
        user_id TEXT NOT NULL,
        change INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (batch_id, user_id)
    ) STRICT, WITHOUT ROWID""",
)


@exchange_migrations()
def evidence_of_failures(db: Database) -> None:
    """Under which head something failed (§7.6), and what opens the blob behind a hit: for evidence (§17)."""
    for statement in _EVIDENCE:
        db.execute(statement)


_EVIDENCE = (
    "ALTER TABLE failure_digest ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE failure_digest ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX failure_digest_by_time ON failure_digest (noticed_at)",
    "ALTER TABLE hits ADD COLUMN secret BLOB NOT NULL DEFAULT x''",
)

_BANDS = {"same person likely": "strong", "review": "review", "different person": "below threshold"}


_STANDING = (
    "ALTER TABLE seen_heads ADD COLUMN body BLOB",
    # The keys under which each member was seen first; a row is never changed.
    """CREATE TABLE member_keys (
        node TEXT PRIMARY KEY,
        signing_key BLOB NOT NULL,
        disclosure_key BLOB NOT NULL,
        seen_at INTEGER NOT NULL
    ) STRICT""",
)

_INITIAL = (
    # What the hub delivered. The digest is part of the key: a spoilt copy must not keep the good one out.
    """CREATE TABLE inbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        sender TEXT NOT NULL,
        kind INTEGER NOT NULL,
        envelope_id BLOB NOT NULL,
        digest BLOB NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        expires_at INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        note TEXT NOT NULL DEFAULT '',
        UNIQUE (sender, kind, envelope_id, digest)
    ) STRICT""",
    "CREATE INDEX inbox_by_state ON inbox (state, kind, number)",
    # What goes to the hub: written before sending, deleted on durable acceptance, dead when refused for good.
    """CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        envelope_id BLOB NOT NULL,
        kind INTEGER NOT NULL,
        recipient TEXT NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        expires_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        UNIQUE (kind, envelope_id, recipient)
    ) STRICT""",
    # Lookups of others that were accepted here: the replay cache.
    """CREATE TABLE answered_lookups (
        asker TEXT NOT NULL,
        lookup_id BLOB NOT NULL,
        inbox_number INTEGER NOT NULL,
        status INTEGER NOT NULL,
        answered INTEGER NOT NULL DEFAULT 0,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (asker, lookup_id)
    ) STRICT""",
    """CREATE TABLE quota_uses (
        asker TEXT NOT NULL,
        hour INTEGER NOT NULL,
        weak INTEGER NOT NULL,
        match INTEGER NOT NULL,
        code INTEGER NOT NULL,
        PRIMARY KEY (asker, hour)
    ) STRICT""",
    # One person asked about: one to three lookups, merged into one result.
    """CREATE TABLE searches (
        search_id BLOB PRIMARY KEY,
        purpose INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        case_number TEXT NOT NULL,
        consent TEXT NOT NULL,
        officer TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        plans INTEGER NOT NULL,
        incomplete INTEGER NOT NULL,
        directory_version INTEGER NOT NULL,
        missing TEXT NOT NULL,
        shown_at INTEGER,
        closed INTEGER NOT NULL DEFAULT 0,
        result TEXT,
        forgotten_at INTEGER
    ) STRICT""",
    "CREATE INDEX searches_by_case ON searches (case_number)",
    "CREATE INDEX searches_by_time ON searches (created_at)",
    "CREATE INDEX searches_kept ON searches (created_at) WHERE forgotten_at IS NULL",
    # The signed statement and its opening: inputs, blinds and paperwork, for audits (docs/protocol.md §7.10).
    """CREATE TABLE lookups (
        lookup_id BLOB PRIMARY KEY,
        search_id BLOB NOT NULL REFERENCES searches (search_id),
        plan_number INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        opening TEXT NOT NULL,
        issued_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX lookups_by_search ON lookups (search_id)",
    """CREATE TABLE lookup_targets (
        lookup_id BLOB NOT NULL REFERENCES lookups (lookup_id),
        node TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        index_issued_at INTEGER,
        answer_body BLOB,
        answer_signature BLOB,
        PRIMARY KEY (lookup_id, node)
    ) STRICT""",
    # `blob` is the octets behind the hit: evidence, should the record not open its commitment.
    """CREATE TABLE hits (
        search_id BLOB NOT NULL REFERENCES searches (search_id),
        number INTEGER NOT NULL,
        owner TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        blob_id BLOB NOT NULL,
        handle BLOB NOT NULL,
        com BLOB NOT NULL,
        kind INTEGER NOT NULL,
        tier INTEGER NOT NULL,
        expires_days INTEGER NOT NULL,
        labels TEXT NOT NULL,
        explanation TEXT NOT NULL,
        blob BLOB NOT NULL,
        marker BLOB NOT NULL,
        found_at INTEGER NOT NULL,
        PRIMARY KEY (search_id, number),
        UNIQUE (search_id, owner, epoch, blob_id)
    ) STRICT""",
    # Local failures (§7.6): for the calendar digest, shown nowhere.
    """CREATE TABLE failure_digest (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        search_id BLOB NOT NULL,
        node TEXT NOT NULL,
        blob_id BLOB NOT NULL,
        code TEXT NOT NULL,
        noticed_at INTEGER NOT NULL
    ) STRICT""",
    # Disclosure requests that this node sent; `reply_key` is sealed under the copy's key.
    """CREATE TABLE sent_requests (
        request_id BLOB PRIMARY KEY,
        search_id BLOB NOT NULL REFERENCES searches (search_id),
        hit_number INTEGER NOT NULL,
        owner TEXT NOT NULL,
        body BLOB NOT NULL,
        reply_key BLOB NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        confirmed_by TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        settled_at INTEGER,
        outcome INTEGER,
        evidence BLOB
    ) STRICT""",
    # One key for all that is held under one request; without its row here nothing of it opens, and backups
    # keep it apart like record_keys.
    """CREATE TABLE copy_keys (
        request_id BLOB PRIMARY KEY REFERENCES sent_requests (request_id),
        key BLOB NOT NULL CHECK (length(key) = 32)
    ) STRICT""",
    # What was said about the record: the response is number 0, recalls follow. `version`: it holds one.
    """CREATE TABLE copies (
        request_id BLOB NOT NULL REFERENCES sent_requests (request_id),
        number INTEGER NOT NULL,
        version INTEGER NOT NULL CHECK (version IN (0, 1)),
        sealed BLOB NOT NULL,
        PRIMARY KEY (request_id, number)
    ) STRICT, WITHOUT ROWID""",
    # Recalls of others that were applied here. Names nobody; what a recall said is in copies.
    """CREATE TABLE received_recalls (
        recall_id BLOB PRIMARY KEY,
        request_id BLOB NOT NULL REFERENCES sent_requests (request_id),
        owner TEXT NOT NULL,
        kind INTEGER NOT NULL,
        digest BLOB NOT NULL,
        changed TEXT NOT NULL,
        effective_at INTEGER NOT NULL,
        done INTEGER NOT NULL,
        acted_at INTEGER NOT NULL,
        read_at INTEGER,
        read_by TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    "CREATE INDEX received_recalls_by_request ON received_recalls (request_id, acted_at)",
    # Recalls of ours, one for each release. `body` is the notice, sealed under the record's key where it says
    # anything about the record; it is gone once the recall was acknowledged or overtaken.
    """CREATE TABLE recalls (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        recall_id BLOB NOT NULL UNIQUE,
        request_id BLOB NOT NULL REFERENCES received_requests (request_id),
        recipient TEXT NOT NULL,
        record_id BLOB NOT NULL,
        dcn TEXT NOT NULL,
        kind INTEGER NOT NULL,
        state TEXT NOT NULL,
        effective_at INTEGER NOT NULL,
        digest BLOB NOT NULL,
        body BLOB NOT NULL,
        envelope_id BLOB,
        sendings INTEGER NOT NULL DEFAULT 0,
        first_sent_at INTEGER,
        send_at INTEGER NOT NULL,
        done INTEGER,
        acted_at INTEGER,
        read_at INTEGER
    ) STRICT""",
    "CREATE INDEX recalls_unacknowledged ON recalls (send_at)"
    " WHERE state IN ('pending', 'sent', 'undeliverable')",
    "CREATE INDEX recalls_by_request ON recalls (request_id, number)",
    "CREATE INDEX recalls_by_record ON recalls (record_id, number)",
    # Disclosure requests that others sent here; `note` is sealed under the record's key.
    """CREATE TABLE received_requests (
        request_id BLOB PRIMARY KEY,
        requester TEXT NOT NULL,
        body BLOB NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        dcn TEXT NOT NULL DEFAULT '',
        received_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        settled_at INTEGER,
        settled_by TEXT NOT NULL DEFAULT '',
        note BLOB NOT NULL DEFAULT x''
    ) STRICT""",
    "CREATE INDEX received_requests_released ON received_requests (dcn) WHERE state = 'released'",
    # The last directory verified, and the highest sequence ever seen of each node (rollback protection).
    """CREATE TABLE directory_state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        version INTEGER NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        chain BLOB NOT NULL,
        received_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE TABLE seen_heads (node TEXT PRIMARY KEY, sequence INTEGER NOT NULL) STRICT",
)
