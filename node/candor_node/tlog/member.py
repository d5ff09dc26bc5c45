"""This node as a witness of the log that it follows (docs/protocol.md §15.2, §15.3).

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from candor_node.store import Database
from candor_node.tlog import log_store, succession_store, witness_store
from candor_proto.ids import FederationName, NodeId
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.statements import witness_name


def own_keys(db: Database, federation: FederationName, node: NodeId, now: datetime) -> WitnessKeys:
    """The keys under which this node cosigns, made at its first start and after a restore."""
    return witness_store.make_keys(db, witness_name(federation, node), now)


class MemberRules:
    """A member cosigns the log that it reads, and nothing that contradicts what it has read."""

    def keys_of(self, db: Database, origin: str) -> Sequence[VerifierKey]:
        """Of the shards that were read, and of the one that `closed`, or a consent of this node, names."""
        shard = log_store.shard_of(db, origin)
        if shard is not None:
            return shard.keys
        consent = succession_store.newest(db)
        for further in (log_store.next_keys(db), consent.keys if consent else None):
            if further and further[0].name == origin:
                return further
        return ()

    def seen(self, db: Database, origin: str) -> SignedCheckpoint | None:
        """The head that was taken up: what is cosigned continues it, also by keys that are new."""
        shard = log_store.shard_of(db, origin)
        return shard.signed if shard else None

    def refusal(self, db: Database, checkpoint: Checkpoint) -> str:
        """Heads over an entry that breaks the rules of the log (§14.5)."""
        shard = log_store.shard_of(db, checkpoint.origin)
        if shard is None or shard.refused_from is None or checkpoint.size < shard.refused_from:
            return ""
        return shard.refused_why
