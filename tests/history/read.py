"""Reads what the databases of a federation hold, for `check`.

    nodes = [read_node(config, record_ids) for config in configs]      a NodeConfig names file and key
    hub = read_hub(config)                                             so does the hub's Config

The parties may run, or have been killed a moment ago: each database is opened on a connection of its own and
read in one transaction. Where a damaged database cannot be read, the holding says so and is empty otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg

from candor_certs.store import read_private
from candor_hub.config import Config
from candor_hub.founding import open_store
from candor_hub.keys import DATABASE_KEY
from candor_hub.places import log_files
from candor_hub.tlog.files import LogFiles
from candor_node import cases, coverage, flight_store, ledger, lookup_store, record_digests
from candor_node.config import NodeConfig
from candor_node.driver import Database, DatabaseError, open_database
from candor_proto.budget import Quota
from candor_proto.canonical import digest
from candor_proto.directory import IndexHead
from candor_proto.errors import CandorError
from candor_proto.ids import LookupId, Ori
from candor_proto.statements import Answer, Lookup
from candor_proto.tlog.entries import Receipts, Requests, log_origin
from candor_proto.tlog.note import VerifierKey
from tests.history.holdings import (
    Decided,
    Entry,
    Envelope,
    HubHolding,
    Limits,
    Mail,
    NodeHolding,
    Recall,
    Request,
    Search,
    SentLookup,
    Target,
    Use,
)
from tests.logs import files_get, read_log

LOOKUP = 1
# Heads are read, not judged by their age.
FAR = datetime(9999, 1, 1, tzinfo=UTC)
# Kinds of recalls that destroy (docs/protocol.md §9.8).
DESTROYING = (3, 6, 7)
_MESSAGES = "event LIKE 'lookup.%' OR event LIKE 'disclosure.%' OR event LIKE 'recall.%'"
# What asks for quotas is a lookup as well, of which nothing is kept but the ledger's entry.
_QUESTION = "question"


def limits_of(quota: Quota) -> Limits:
    return Limits(quota.total, quota.weak, quota.match, quota.code, quota.day_share)


def damage(database: Database) -> str:
    """What SQLite's own checks find, empty when nothing."""
    found = [row[0] for row in database.execute("PRAGMA integrity_check(5)").fetchall()]
    found += [f"foreign key: {row}" for row in database.execute("PRAGMA foreign_key_check").fetchall()]
    # SQLCipher's own: every page against its keyed digest.
    found += [row[0] for row in database.execute("PRAGMA cipher_integrity_check").fetchall()]
    return "; ".join(each for each in found if each != "ok")


# --- a node --------------------------------------------------------------------------------------------


def read_node(config: NodeConfig, record_ids: Iterable[str] = ()) -> NodeHolding:
    """What the node with these settings holds; `record_ids` are the agency_record_ids to look for."""
    limits = limits_of(config.quota)
    try:
        with closing(open_database(config.database_file, config.database_key()).conn) as connection:
            return _node(config, Database(connection, execute_plugins=False), limits, tuple(record_ids))
    except (CandorError, DatabaseError) as error:
        return NodeHolding(config.node, limits, damage=f"it cannot be read: {error}")


def _node(config: NodeConfig, db: Database, limits: Limits, record_ids: tuple[str, ...]) -> NodeHolding:
    broken = damage(db)
    db.execute("BEGIN")
    try:
        ledger.verify(db)
        ledger_fault = ""
    except CandorError as error:
        ledger_fault = error.message
    sequence, confirmed = _head(db)
    return NodeHolding(
        node=config.node,
        limits=limits,
        damage=broken,
        ledger_fault=ledger_fault,
        searches=_searches(db),
        lookups=_lookups(db),
        decided=tuple(
            Decided(asker, lookup_id.hex(), status, bool(answered))
            for asker, lookup_id, status, answered in db.execute(
                "SELECT asker, lookup_id, status, answered FROM answered_lookups"
            )
        ),
        entries=tuple(
            Entry(at, event, json.loads(refs), json.loads(details))
            for at, event, refs, details in db.execute(
                f"SELECT at, event, refs, details FROM ledger WHERE {_MESSAGES} ORDER BY number"
            )
        ),
        uses=tuple(Use(*row) for row in db.execute("SELECT asker, hour, weak, match, code FROM quota_uses")),
        inbox=_mail(db, "sender", "inbox", "note"),
        outbox=_mail(db, "recipient", "outbox", "reason"),
        sent_requests=tuple(
            Request(request_id.hex(), owner, state, expires, search_id.hex(), hit)
            for request_id, owner, state, expires, search_id, hit in db.execute(
                "SELECT request_id, owner, state, expires_at, search_id, hit_number FROM sent_requests"
            )
        ),
        received_requests=tuple(
            Request(request_id.hex(), requester, state, expires)
            for request_id, requester, state, expires in db.execute(
                "SELECT request_id, requester, state, expires_at FROM received_requests"
            )
        ),
        recalls=tuple(
            Recall(recall_id.hex(), recipient, request_id.hex(), kind in DESTROYING, state)
            for recall_id, recipient, request_id, kind, state in db.execute(
                "SELECT recall_id, recipient, request_id, kind, state FROM recalls"
            )
        ),
        received_recalls=tuple(
            Recall(recall_id.hex(), owner, request_id.hex(), kind in DESTROYING)
            for recall_id, owner, request_id, kind in db.execute(
                "SELECT recall_id, owner, request_id, kind FROM received_recalls"
            )
        ),
        copies=frozenset(
            request_id.hex()
            for (request_id,) in db.execute(
                "SELECT request_id FROM copies UNION SELECT request_id FROM copy_keys"
            )
        ),
        records={each: _versions(db, Ori(config.oris[0]), each) for each in record_ids},
        rows_asked=_rows_asked(db),
        head_sequence=sequence,
        head_confirmed=confirmed,
    )


def _searches(db: Database) -> tuple[Search, ...]:
    rows = db.execute("SELECT search_id, case_number, closed FROM searches WHERE batch_id IS NULL").fetchall()
    found = _batch_searches(db)
    for search_id, case, closed in rows:
        view = cases.load_view(db, LookupId(search_id))
        result, asks = view.result, lookup_store.asks(db, LookupId(search_id))
        states = [coverage.report(view.row, asks, node) for node in coverage.asked_nodes(asks)]
        found.append(
            Search(
                search_id.hex(),
                case,
                result.overall.value if result else "",
                result.coverage.answered if result else 0,
                result.coverage.asked if result else 0,
                sum(report.answered for report in states),
                bool(closed),
            )
        )
    return tuple(found)


def _batch_searches(db: Database) -> list[Search]:
    """Rows of batches that have results: what they say, and what the answers to their flights say."""
    rows = db.execute(
        "SELECT r.search_id, s.case_number, s.closed, json_extract(r.results, '$[0]'),"
        " (SELECT count(DISTINCT t.node) FROM flight_persons AS p JOIN flights AS f USING (lookup_id)"
        "  JOIN flight_targets AS t ON t.state = 'answered' AND t.lookup_id IN"
        "   (SELECT lookup_id FROM flights WHERE lookup_id = f.lookup_id OR first = f.lookup_id)"
        "  WHERE f.batch_id = r.batch_id AND p.row = r.row AND f.first IS NULL AND f.state <> 'denied')"
        " FROM batch_rows AS r JOIN searches AS s USING (search_id) WHERE s.result IS NOT NULL"
    ).fetchall()
    found = []
    for search_id, case, closed, overall, due in rows:
        row = lookup_store.search(db, LookupId(search_id))
        shown = flight_store.coverage_of(db, row) if row else None
        assert shown is not None
        found.append(Search(search_id.hex(), case, overall, shown.answered, shown.asked, due, bool(closed)))
    return found


def _rows_asked(db: Database) -> dict[tuple[str, int], int]:
    rows = db.execute(
        "SELECT f.batch_id, p.row, count(*) FROM flight_persons AS p JOIN flights AS f USING (lookup_id)"
        " WHERE p.row IS NOT NULL AND p.plan_number = 0 AND f.first IS NULL AND f.state <> 'denied'"
        " GROUP BY f.batch_id, p.row"
    ).fetchall()
    return {(batch.hex(), row): times for batch, row, times in rows}


def _lookups(db: Database) -> tuple[SentLookup, ...]:
    found = []
    for lookups, targets_of, search in (
        ("lookups", "lookup_targets", "search_id"),
        ("flights", "flight_targets", "batch_id"),
    ):
        rows = db.execute(f"SELECT lookup_id, {search}, state, body, expires_at FROM {lookups}").fetchall()
        for lookup_id, search_id, state, body, expires_at in rows:
            elements = sum(Lookup.decode(body).cost.values())
            targets = tuple(
                _target(node, target_state, answer)
                for node, target_state, answer in db.execute(
                    f"SELECT node, state, answer_body FROM {targets_of} WHERE lookup_id = ?", (lookup_id,)
                )
            )
            found.append(SentLookup(lookup_id.hex(), search_id.hex(), state, elements, expires_at, targets))
    for (refs,) in db.execute("SELECT refs FROM ledger WHERE event = 'quota.asked'").fetchall():
        found.append(SentLookup(json.loads(refs)["lookup_id"], "", _QUESTION, 1, 0, ()))
    return tuple(found)


def _target(node: str, state: str, answer: bytes | None) -> Target:
    if answer is None:
        return Target(node, state)
    try:
        status = Answer.decode(answer).status.value
    except CandorError:
        status = 0
    return Target(node, state, status, digest("envelope-body", answer).hex())


def _mail(db: Database, party: str, table: str, note: str) -> tuple[Mail, ...]:
    rows = db.execute(f"SELECT {party}, kind, envelope_id, state, expires_at, {note} FROM {table}")
    return tuple(
        Mail(name, kind, envelope_id.hex(), state, expires_at, words)
        for name, kind, envelope_id, state, expires_at, words in rows
    )


def _versions(db: Database, ori: Ori, agency_record_id: str) -> tuple[int, int]:
    key = record_digests.agency_key(db, ori, agency_record_id)
    row = db.execute(
        "SELECT count(*), coalesce(sum(current), 0) FROM records JOIN record_heads USING (record_id) "
        "WHERE agency_key = ?",
        [key],
    ).fetchone()
    return row[0], row[1]


def _head(db: Database) -> tuple[int, bool]:
    row = db.execute("SELECT head, confirmed FROM index_state").fetchone()
    return (0, True) if row is None else (IndexHead.decode(row[0]).sequence, bool(row[1]))


# --- the hub -------------------------------------------------------------------------------------------


def read_hub(config: Config) -> HubHolding:
    """What the hub with these settings holds in its database, embedded or not."""
    limits = limits_of(config.quota)
    if not config.embedded:
        return _server(config, limits)
    path = Path(config.database.removeprefix("sqlite:///"))
    try:
        key = read_private(config.keys / DATABASE_KEY)
        with closing(open_database(path, key).conn) as connection:
            db = Database(connection, execute_plugins=False)
            broken = damage(db)
            db.execute("BEGIN")
            return _hub(db, limits, config, LogFiles(config.log), broken)
    except (CandorError, DatabaseError) as error:
        return HubHolding(limits, damage=f"it cannot be read: {error}")


def read_envelopes(config: Config) -> tuple[Envelope, ...]:
    """The messages alone, of an embedded database, and none that cannot be read: for whoever looks often."""
    path = Path(config.database.removeprefix("sqlite:///"))
    try:
        with closing(open_database(path, read_private(config.keys / DATABASE_KEY)).conn) as connection:
            return _envelopes(connection)
    except (CandorError, DatabaseError):
        return ()


def _server(config: Config, limits: Limits) -> HubHolding:
    """As one transaction of PostgreSQL has it; its pages are the server's business."""
    with closing(open_store(config)) as store, psycopg.connect(config.database) as connection:
        connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        return _hub(_Server(connection), limits, config, log_files(config, store))


class _Rows(Protocol):
    def execute(self, statement: str, /) -> Any: ...


class _Server:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, /) -> Any:
        return self._connection.execute(statement.encode())


def _hub(db: _Rows, limits: Limits, config: Config, files: LogFiles, broken: str = "") -> HubHolding:
    requests, receipts, fault = _logged(db, config, files)
    return HubHolding(
        limits=limits,
        damage=broken,
        envelopes=_envelopes(db),
        uses=tuple(Use(*row) for row in db.execute("SELECT node, hour, weak, match, code FROM quota_uses")),
        logged_lookups=requests,
        logged_others=receipts,
        log_fault=fault,
        heads=dict(db.execute("SELECT node, sequence FROM heads").fetchall()),
    )


def _logged(db: _Rows, config: Config, files: LogFiles) -> tuple[int, int, str]:
    """Commitments to lookups and to others, logged or waiting to be; what is wrong with the log."""
    shards = db.execute(
        "SELECT shard, signed, ed25519_key, ml_dsa_key FROM log_shards ORDER BY shard"
    ).fetchall()
    waiting = db.execute("SELECT kind, entry FROM log_waiting WHERE kind IN (10, 11)").fetchall()
    signed = {f"{shard}/signed": octets for shard, octets, _, _ in shards if octets}
    commitments = {kind: [entry for one, entry in waiting if one == kind] for kind in (10, 11)}
    if signed:
        _, _, ed25519, ml_dsa = shards[0]
        origin = log_origin(config.federation, 1)
        keys = (VerifierKey(origin, 0x01, ed25519), VerifierKey(origin, 0x06, ml_dsa))
        try:
            reading = read_log(files_get(files, signed), keys, FAR, "signed")
        except (CandorError, AssertionError) as error:
            return 0, 0, f"the log: {error}"
        for entry in reading.entries:
            if isinstance(entry, Requests | Receipts):
                commitments[entry.KIND] += entry.commitments
    for found in commitments.values():
        if len(set(found)) != len(found):
            return 0, 0, "a commitment is logged twice"
    return len(commitments[10]), len(commitments[11]), ""


def _envelopes(db: _Rows) -> tuple[Envelope, ...]:
    waiting: dict[int, list[str]] = {}
    for number, name in db.execute("SELECT envelope, recipient FROM mailbox"):
        waiting.setdefault(number, []).append(name)
    targets: dict[int, list[str]] = {}
    for number, name in db.execute("SELECT envelope, node FROM lookup_targets"):
        targets.setdefault(number, []).append(name)
    rows = db.execute(
        "SELECT number, sender, kind, envelope_id, recipient, body_digest, accepted_at, expires_at"
        " FROM envelopes"
    ).fetchall()
    return tuple(
        Envelope(
            sender,
            kind,
            envelope_id.hex(),
            body_digest.hex(),
            accepted_at,
            expires_at,
            tuple(sorted(targets.get(number, ()))) if kind == LOOKUP else (recipient,),
            tuple(sorted(waiting.get(number, ()))),
        )
        for number, sender, kind, envelope_id, recipient, body_digest, accepted_at, expires_at in rows
    )
