"""What the database says of how a node fares: for `doctor`, and for the metrics of a running node.

Rules of this file:
- counts, ages and members; no record, no lookup, nobody;
- what came of lookups has no place here: metrics are made of this, and who reads those learns when a number
  changes (docs/leakage.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from candor_node import directory_store, reviews, rollback, users
from candor_node.config import NodeConfig
from candor_node.driver import DatabaseError, explain, open_database
from candor_node.founding import Keys
from candor_node.store import Database
from candor_node.tlog import log_store, witness_store
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.directory import Directory, IndexHead, Member, MemberStatus
from candor_proto.ids import NodeId

# What waits for less is on its way; told apart, a number would say when a message was written.
STUCK_AFTER = timedelta(minutes=5)


class OwnEntry(Enum):
    """What the directory says of this node."""

    NO_DIRECTORY = "no directory is held yet"
    MISSING = "the directory does not name this node"
    OTHER_SIGNING_KEY = "the directory names another signing key"
    OTHER_DISCLOSURE_KEY = "the directory names another disclosure key"
    SUSPENDED = "this node is suspended"
    GOOD = "the directory names this node with these keys"


@dataclass(frozen=True)
class Queue:
    """Messages that wait for longer than STUCK_AFTER, and since when the oldest of all waits."""

    stuck: int = 0
    since: datetime | None = None


@dataclass(frozen=True)
class Readings:
    """As of one transaction."""

    directory_version: int
    directory_received_at: datetime | None
    own_entry: OwnEntry
    own_index_issued_at: datetime | None
    own_index_confirmed: bool
    # Of every other active member: when it signed the newest head that was seen; None: it published none.
    others: Mapping[NodeId, datetime | None] = field(repr=False)
    log_origin: str
    log_size: int
    log_shard: int
    log_witnessed_at: datetime | None
    witness_signed_at: datetime | None
    outbox: Queue
    inbox: Queue
    dead_letters: int
    users: int
    reviews_due: tuple[str, ...]
    # Why nothing is shared; empty when it is.
    went_back: str = ""


def read(db: Database, config: NodeConfig, keys: Keys | None, now: datetime) -> Readings:
    """Inside a transaction, or on a connection of its own."""
    held = directory_store.kept(db)
    directory = Directory.decode(held.statement.body) if held else None
    members = {member.node: member for member in directory.members} if directory else {}
    index = db.execute("SELECT issued_at, confirmed FROM index_state").fetchone()
    head = log_store.newest_head(db)
    received = db.execute("SELECT received_at FROM directory_state").fetchone()
    return Readings(
        directory_version=directory.version if directory else 0,
        directory_received_at=from_milliseconds(received[0]) if received else None,
        own_entry=_own_entry(members.get(config.node_id), keys, held is not None),
        own_index_issued_at=from_milliseconds(index[0]) if index else None,
        own_index_confirmed=bool(index and index[1]),
        others={
            node: IndexHead.decode(member.head.body).issued_at if member.head else None
            for node, member in members.items()
            if node != config.node_id and member.status is MemberStatus.ACTIVE
        },
        log_origin=head.origin if head else "",
        log_size=head.signed.checkpoint.size if head and head.signed else 0,
        log_shard=head.number if head else 0,
        log_witnessed_at=head.witnessed_at if head else None,
        witness_signed_at=max((at for _, at in witness_store.all_cosigned(db)), default=None),
        outbox=_queue(db, "outbox", "created_at", "waiting", now),
        inbox=_queue(db, "inbox", "received_at", "new", now),
        dead_letters=db.execute("SELECT count(*) FROM outbox WHERE state = 'dead'").fetchone()[0],
        users=len(users.list_users(db)),
        reviews_due=tuple(reviews.due(db, now)),
        went_back=rollback.closed(back).message if (back := rollback.open_one(db)) else "",
    )


def _own_entry(member: Member | None, keys: Keys | None, held: bool) -> OwnEntry:
    if member is None:
        return OwnEntry.MISSING if held else OwnEntry.NO_DIRECTORY
    if keys is not None and member.signing_key != keys.signing.public:
        return OwnEntry.OTHER_SIGNING_KEY
    if keys is not None and member.disclosure_key != keys.disclosure.public:
        return OwnEntry.OTHER_DISCLOSURE_KEY
    return OwnEntry.GOOD if member.status is MemberStatus.ACTIVE else OwnEntry.SUSPENDED


def _queue(db: Database, table: str, at: str, state: str, now: datetime) -> Queue:
    stuck, since = db.execute(
        f"SELECT count(*) FILTER (WHERE {at} < ?), min({at}) FROM {table} WHERE state = ?",  # noqa: S608 - our own words
        (to_milliseconds(now - STUCK_AFTER), state),
    ).fetchone()
    return Queue(stuck, from_milliseconds(since) if since is not None else None)


def read_beside(config: NodeConfig, keys: Keys | None, now: datetime) -> Readings:
    """The same from the file, beside a running node or without it; raises StoreUnusable, ConfigInvalid."""
    db = open_database(config.database_file, config.database_key())
    with closing(db.conn):
        try:
            return read(db, config, keys, now)
        except DatabaseError as error:
            raise explain(error, config.database_file) from None
