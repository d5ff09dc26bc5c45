"""Entries of the log, verified as such, become this node's state: inside the transaction that stores them.

Rules of this file:
- every entry goes through `LogState.apply`, in order, before anything else looks at it (§14.5);
- what the log says of this node itself is compared with what it remembers: an entry that it cannot have made
  is for a person to look into, and no reason to refuse the log (§14.5 says what is);
- commitments of long ago are not kept: nobody waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node.store import Database
from candor_node.tlog import log_store, watching
from candor_node.tlog.log_store import LoggedHead
from candor_proto.canonical import digest
from candor_proto.errors import LogInconsistent
from candor_proto.ids import NodeId
from candor_proto.merkle import leaf_hash
from candor_proto.signing import SignedStatement
from candor_proto.tlog.entries import (
    DirectoryEntry,
    Entry,
    HeadEntry,
    MemberEntry,
    PolicyEntry,
    Receipts,
    Requests,
    Statement,
)
from candor_proto.tlog.state import LogState
from candor_proto.tlog.statements import HEARTBEAT, parse_statement

# Called for every entry: database, now, shard, position, octets, what they say. They raise nothing.
Observer = Callable[[Database, datetime, int, int, bytes, Entry], None]


@dataclass(frozen=True)
class Self:
    """Whose node this is, and the keys that the log must name for it."""

    node: NodeId
    signing_key: bytes
    disclosure_key: bytes


class RuleBroken(Exception):
    """An entry that refuses the log: `refusal` says why, and heads of so many entries, or more, hold it."""

    def __init__(self, refusal: LogInconsistent, refused_from: int) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.refused_from = refused_from


def statement_digest(context: str, statement: SignedStatement) -> bytes:
    """Names a statement of this node in its own tables."""
    return digest("own-statement", context.encode(), statement.body, statement.signature)


def fold(
    db: Database,
    now: datetime,
    state: LogState,
    entries: Sequence[bytes],
    own: Self,
    observers: Sequence[Observer] = (),
) -> None:
    """Take up `entries`, the next ones of the shard that `state` is of; raises RuleBroken."""
    shard = state.shard.number
    for octets in entries:
        position = state.size
        try:
            entry = state.apply(position, octets)
            if isinstance(entry, PolicyEntry):
                log_store.keep_policy(db, shard, position, entry)
        except LogInconsistent as error:
            raise RuleBroken(error, position + 1) from None
        match entry:
            case Requests():
                if own.node in state.nodes:
                    watching.read_commitments(db, now, shard, position, entry.commitments, request=True)
            case Receipts():
                if _recent(state, now):
                    watching.read_commitments(db, now, shard, position, entry.commitments, request=False)
            case DirectoryEntry():
                log_store.keep_directory(db, shard, position, entry)
            case MemberEntry() if entry.node == own.node:
                _own_member(db, shard, position, entry, own)
            case HeadEntry() if entry.node == own.node:
                _own_head(db, shard, position, octets, entry)
            case Statement() if entry.context != HEARTBEAT:
                _own_statement(db, shard, position, entry, own)
            case _:
                pass
        for observer in observers:
            observer(db, now, shard, position, octets, entry)
    log_store.keep_changes(db, state.take_changes())


def _recent(state: LogState, now: datetime) -> bool:
    """Whether what stands here now may still be waited for: the newest directory is not older than that."""
    directory = state.directory
    return directory is None or now - directory.issued_at < 2 * watching.KEPT


def _own_member(db: Database, shard: int, position: int, entry: MemberEntry, own: Self) -> None:
    if (entry.signing_key, entry.disclosure_key) != (own.signing_key, own.disclosure_key):
        log_store.add_strange(
            db,
            shard,
            position,
            0,
            f"The log names other keys for this node than its own (entry {position} of shard {shard}): "
            "somebody else may be answering under its name. Call the hub's operator and the other members.",
        )


def _own_head(db: Database, shard: int, position: int, octets: bytes, entry: HeadEntry) -> None:
    leaf = leaf_hash(octets)
    log_store.keep_logged_head(db, LoggedHead(entry.sequence, entry.epoch, b"".join(entry.keys), leaf))
    if not log_store.is_own_head(db, leaf):
        log_store.add_strange(
            db,
            shard,
            position,
            entry.sequence,
            f"The log holds an index head {entry.sequence} of this node (entry {position}, shard {shard})"
            " that it does not remember signing. After a restore that is to be expected; otherwise somebody "
            "else publishes under its name: call the hub's operator.",
        )


def _own_statement(db: Database, shard: int, position: int, entry: Statement, own: Self) -> None:
    if parse_statement(entry.context, entry.signed.body).node == own.node:
        digest_ = statement_digest(entry.context, entry.signed)
        log_store.keep_own_statement(db, digest_, entry.context, shard, position)
