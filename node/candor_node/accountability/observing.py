"""What is remembered of the log as it is read: places of members and heads, lookups that never arrived."""

from __future__ import annotations

from datetime import datetime

from candor_node.accountability import held_heads, noticing
from candor_node.store import Database
from candor_proto.errors import CandorError
from candor_proto.ids import FederationName, NodeId
from candor_proto.tlog.entries import Entry, HeadEntry, MemberEntry, Statement
from candor_proto.tlog.statements import HEARTBEAT, Heartbeat


class Observing:
    """An observer of `candor_node.tlog.folding`, inside its transaction; raises nothing."""

    def __init__(self, federation: FederationName, own: NodeId) -> None:
        self._federation = federation
        self._own = own

    def __call__(
        self, db: Database, now: datetime, shard: int, position: int, octets: bytes, entry: Entry
    ) -> None:
        match entry:
            case MemberEntry():
                held_heads.member_read(db, entry, octets, shard, position)
            case HeadEntry():
                held_heads.head_read(db, entry, shard, position, now)
            case Statement() if entry.context == HEARTBEAT:
                try:
                    said = Heartbeat.decode(entry.signed.body)
                except CandorError:
                    return
                noticing.heartbeat(db, self._own, self._federation, said, shard, position, now)
            case _:
                pass
