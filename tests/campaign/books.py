"""What the databases say after a campaign, held against what people were told and against each other.

Every check is of the whole history: accepted things are there, exactly once, answered once, charged once;
the databases are whole and the ledgers verify. The federation is at rest when it is checked: all processes
have ended after everything that waited was delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from candor_certs.store import read_private
from candor_hub.config import Config as HubConfig
from candor_hub.driver import open_engine
from candor_hub.founding import open_store as open_hub_store
from candor_hub.keys import DATABASE_KEY
from candor_node import filings, ledger
from candor_node.app import open_store
from candor_node.config import NodeConfig
from candor_node.store import Database
from candor_proto.ids import KeyClass, LookupShape
from candor_proto.statements import SLOTS, AnswerStatus
from candor_wire.codec import MessageKind
from tests.campaign.operations import Claims

_DETAILED = SLOTS[LookupShape.DETAILED]
CHARGE = tuple(_DETAILED[key_class] for key_class in (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE))
Rows = list[tuple[Any, ...]]
# States in which an answer was taken in; all but the first make the result INCOMPLETE, never "no record".
HONEST = ("answered", "stale epoch", "stale index", "no index")


@dataclass
class NodeBooks:
    """What one node's database holds."""

    name: str
    wrong: list[str] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)
    versions: set[int] = field(default_factory=set)
    sequence: int = 0
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    lookups: dict[str, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    targets: dict[tuple[str, str], str] = field(default_factory=dict)
    answered: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    charged: dict[str, tuple[int, ...]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)
    received: dict[str, str] = field(default_factory=dict)


@dataclass
class HubBooks:
    """What the hub's database holds."""

    wrong: list[str] = field(default_factory=list)
    accepted: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    targets: dict[str, set[str]] = field(default_factory=dict)
    ledger: int = 0
    charged: dict[str, tuple[int, ...]] = field(default_factory=dict)
    waiting: int = 0
    sequences: dict[str, int] = field(default_factory=dict)


# --- reading -------------------------------------------------------------------------------------------


def read_node(config: NodeConfig) -> NodeBooks:
    """Open with the real store, check it whole, read everything; raises StoreUnusable."""
    with open_store(config) as store:
        return store.run_sync(lambda db: _node(db, config.node))


def _node(db: Database, name: str) -> NodeBooks:
    def rows(sql: str) -> Rows:
        return list(db.execute(sql).fetchall())

    books = NodeBooks(name)
    for (found,) in rows("PRAGMA integrity_check"):
        if found != "ok":
            books.wrong.append(f"{name}: integrity_check: {found}")
    if rows("PRAGMA foreign_key_check"):
        books.wrong.append(f"{name}: a row refers to nothing")
    ledger.verify(db)
    for sealed in filings.sealed_current(db):
        books.records[sealed.open().content.agency_record_id] += 1
    books.versions = {version for (version,) in rows("SELECT DISTINCT version FROM records")}
    books.sequence = next((number for (number,) in rows("SELECT sequence FROM index_state")), 0)
    for event, key in rows(
        "SELECT event, coalesce(refs ->> 'lookup_id', refs ->> 'request_id', refs ->> 'dcn', '') || '@' ||"
        " coalesce(refs ->> 'asker', '') FROM ledger"
    ):
        books.events[event, key] += 1
    books.lookups = dict(rows("SELECT lower(hex(lookup_id)), state FROM lookups"))
    books.shown = {key for (key,) in rows("SELECT lower(hex(search_id)) FROM searches WHERE result NOT NULL")}
    books.targets = {
        (key, node): state
        for key, node, state in rows("SELECT lower(hex(lookup_id)), node, state FROM lookup_targets")
    }
    books.answered = {
        (asker, key): (status, answered)
        for asker, key, status, answered in rows(
            "SELECT asker, lower(hex(lookup_id)), status, answered FROM answered_lookups"
        )
    }
    books.charged = {
        asker: tuple(amounts)
        for asker, *amounts in rows(
            "SELECT asker, sum(weak), sum(match), sum(code) FROM quota_uses GROUP BY asker"
        )
    }
    books.waiting = dict(
        rows(
            "SELECT 'inbox ' || state || ' ' || note, count(*) FROM inbox WHERE state <> 'done' GROUP BY 1"
            " UNION ALL SELECT 'outbox ' || state || ' ' || reason, count(*) FROM outbox GROUP BY 1"
        )
    )
    books.sent = dict(rows("SELECT lower(hex(request_id)), state FROM sent_requests"))
    books.received = dict(rows("SELECT lower(hex(request_id)), state FROM received_requests"))
    return books


def read_hub(config: HubConfig) -> HubBooks:
    """The same of the hub; raises StoreUnusable."""
    store = open_hub_store(config)
    try:
        store.check()
    finally:
        store.close()
    engine = open_engine(config.database, read_private(config.keys / DATABASE_KEY))
    books = HubBooks()
    try:
        with engine.connect() as connection:

            def rows(sql: str) -> Rows:
                return [tuple(row) for row in connection.exec_driver_sql(sql)]

            for (found,) in rows("PRAGMA integrity_check"):
                if found != "ok":
                    books.wrong.append(f"hub: integrity_check: {found}")
            if rows("PRAGMA foreign_key_check"):
                books.wrong.append("hub: a row refers to nothing")
            for sender, kind, key, recipient in rows(
                "SELECT sender, kind, lower(hex(envelope_id)), recipient FROM envelopes"
            ):
                books.accepted[sender, kind, key, recipient] += 1
            for key, node in rows(
                "SELECT lower(hex(envelope_id)), node FROM lookup_targets JOIN envelopes ON number = envelope"
            ):
                books.targets.setdefault(key, set()).add(node)
            books.ledger = rows("SELECT count(*) FROM ledger")[0][0]
            books.waiting = rows("SELECT count(*) FROM mailbox")[0][0]
            books.charged = {
                node: tuple(amounts)
                for node, *amounts in rows(
                    "SELECT node, sum(weak), sum(match), sum(code) FROM quota_uses GROUP BY node"
                )
            }
            books.sequences = dict(rows("SELECT node, sequence FROM heads"))
    finally:
        engine.dispose()
    return books


# --- checking ------------------------------------------------------------------------------------------


def audit(claims: Claims, hub: HubConfig, nodes: Sequence[NodeConfig]) -> list[str]:
    """Everything that is not as it must be, one sentence each; empty when all is well."""
    hub_books = read_hub(hub)
    books = {config.node: read_node(config) for config in nodes}
    return [
        *hub_books.wrong,
        *(sentence for one in books.values() for sentence in one.wrong),
        *_filed(claims, books),
        *_published(claims, hub_books, books),
        *_asked(claims, hub_books, books),
        *_answered(hub_books, books),
        *_disclosed(claims, hub_books, books),
        *_at_rest(hub_books, books),
    ]


def _filed(claims: Claims, books: dict[str, NodeBooks]) -> Iterator[str]:
    for name, record in sorted(claims.filed):
        if books[name].records[record] != 1:
            yield f"{name}: the acknowledged record {record} is there {books[name].records[record]} times"
    for name, one in books.items():
        known = {record for node, record in claims.filed | claims.tried_to_file if node == name}
        yield from (f"{name}: nobody filed {record}" for record in one.records.keys() - known)
        if not one.versions <= {1}:
            yield f"{name}: a record was filed twice: versions {sorted(one.versions)}"
        filed = sum(count for (event, _), count in one.events.items() if event == "record.filed")
        if filed != len(one.records):
            yield f"{name}: {filed} filings in the ledger, {len(one.records)} records"


def _published(claims: Claims, hub: HubBooks, books: dict[str, NodeBooks]) -> Iterator[str]:
    for name, sequence in claims.published.items():
        if books[name].sequence < sequence:
            yield f"{name}: published {sequence}, its database says {books[name].sequence}"
        if hub.sequences.get(name, 0) < sequence:
            yield f"hub: acknowledged head {sequence} of {name}, holds {hub.sequences.get(name)}"


def _asked(claims: Claims, hub: HubBooks, books: dict[str, NodeBooks]) -> Iterator[str]:
    for (name, search), overall in claims.shown.items():
        # Every agency holds a record of whom everybody asks about.
        if overall not in ("MATCH", "INCOMPLETE"):
            yield f"{name}: {search} was shown as {overall}, but there are records"
        if search not in books[name].shown:
            yield f"{name}: the result of {search} was shown and is gone"
    for name, one in books.items():
        for key in one.lookups:
            if (entries := one.events["lookup.sent", f"{key}@"]) != 1:
                yield f"{name}: lookup {key} stands {entries} times in the ledger"
        accepted = [key for sender, kind, key, _ in hub.accepted if (sender, kind) == (name, 1)]
        yield from (
            f"hub: accepted a lookup {key} that {name} does not know"
            for key in accepted
            if key not in one.lookups
        )
        yield from (
            f"{name}: the lookup {key} never reached the hub" for key in one.lookups.keys() - set(accepted)
        )
        due = tuple(len(accepted) * amount for amount in CHARGE)
        if (charged := hub.charged.get(name, (0, 0, 0))) != due:
            yield f"hub: charged {name} {charged} for {len(accepted)} lookups, due {due}"


def _answered(hub: HubBooks, books: dict[str, NodeBooks]) -> Iterator[str]:
    evaluated: Counter[tuple[str, str]] = Counter()
    for asker, kind, key, _ in hub.accepted:
        if kind != MessageKind.LOOKUP.value:
            continue
        for owner in hub.targets.get(key, ()):
            status, answered = books[owner].answered.get((asker, key), (-1, 0))
            entries = books[owner].events["lookup.answered", f"{key}@{asker}"]
            if not answered or entries != 1:
                yield f"{owner}: lookup {key} of {asker}: answered {answered}, {entries} ledger entries"
            if hub.accepted[owner, MessageKind.ANSWER.value, key, asker] != 1:
                yield f"hub: the answer of {owner} to {key} is not there"
            if status == AnswerStatus.EVALUATED.value:
                evaluated[owner, asker] += 1
            state = books[asker].targets.get((key, owner))
            if state not in HONEST:
                yield f"{asker}: the answer of {owner} to {key} is lost: {state}"
    for owner, one in books.items():
        for asker, charged in one.charged.items():
            due = tuple(evaluated[owner, asker] * amount for amount in CHARGE)
            if charged != due:
                yield f"{owner}: charged {asker} {charged} elements, due {due}"
        for (event, key), count in one.events.items():
            if event == "lookup.answered" and count != 1:
                yield f"{owner}: answered {key} {count} times"


def _disclosed(claims: Claims, hub: HubBooks, books: dict[str, NodeBooks]) -> Iterator[str]:
    for name, request in sorted(claims.requested):
        if request not in books[name].sent:
            yield f"{name}: the acknowledged request {request} is gone"
    for name, one in books.items():
        for request, state in one.sent.items():
            owners = [other.name for other in books.values() if request in other.received]
            if state != "opened" or len(owners) != 1:
                yield f"{name}: request {request} is {state}, received by {owners}"
            for event, where in (
                ("requested", one),
                ("opened", one),
                *((event, books[owner]) for owner in owners for event in ("received", "released")),
            ):
                if where.events[f"disclosure.{event}", f"{request}@"] != 1:
                    count = where.events[f"disclosure.{event}", f"{request}@"]
                    yield f"{where.name}: {request} stands {count} times as {event} in the ledger"


def _at_rest(hub: HubBooks, books: dict[str, NodeBooks]) -> Iterator[str]:
    for name, one in books.items():
        yield from (f"{name}: {count} left: {what}" for what, count in one.waiting.items())
    if hub.waiting:
        yield f"hub: {hub.waiting} deliveries wait at rest"
    if hub.ledger != sum(hub.accepted.values()):
        yield f"hub: {hub.ledger} ledger entries for {sum(hub.accepted.values())} acceptances"
