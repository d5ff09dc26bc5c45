"""Ending a shard and beginning the next one, so that the log can grow for decades (docs/protocol.md §14.7).

    asked for -> keys of the next shard -> a policy that names both, in force -> `closed` appended
    -> witnessed -> the next shard begins with the same state

Each arrow is one step; all that is needed to go on is in the database, so that a crash costs a repetition.
"""

from __future__ import annotations

from datetime import datetime

from candor_hub.store import Transaction, Transactions
from candor_hub.tlog import due
from candor_hub.tlog.appender import Appended, Appender, present_shard
from candor_hub.tlog.ring import KeyRing
from candor_proto.errors import WrongStanding
from candor_proto.ids import FederationName


def ask_for(tx: Transaction) -> int:
    """Have the present shard ended; its number. Raises WrongStanding when it holds nothing yet."""
    present = present_shard(tx)
    if present is None or not present.size:
        raise WrongStanding(
            "The log has no entries yet.", remedy="Start `candor-hub run`; rotate when it has grown."
        )
    tx.log.set_fact(due.ROTATION, str(present.shard))
    return present.shard


def is_under_way(tx: Transaction) -> bool:
    return bool(tx.log.fact(due.ROTATION))


class Rotation:
    """Takes the next step of a rotation that was asked for."""

    def __init__(
        self, store: Transactions, ring: KeyRing, appender: Appender, federation: FederationName
    ) -> None:
        self._store = store
        self._ring = ring
        self._appender = appender
        self._federation = federation

    def step(self, now: datetime) -> Appended | None:
        """The head with `closed`, if this step has signed it. Raises StoreUnusable."""
        with self._store.read() as tx:
            wanted = tx.log.fact(due.ROTATION)
            if not wanted:
                return None
            shards, present, policy = tx.log.shards(), present_shard(tx), tx.log.policy_in_force()
        if present is None or policy is None or str(present.shard) != wanted:
            with self._store.write() as tx:
                tx.log.set_fact(due.ROTATION, "")
            return None
        if present.closed:
            return None  # until its end is witnessed
        following = shards[-1]
        if following.shard == present.shard:
            keys = self._ring.make(present.shard + 1)
            with self._store.write() as tx:
                tx.log.add_shard(present.shard + 1, keys.verifier_keys, now)
                due.log_policy(tx, self._federation, now)
            return None
        if following.verifier_keys[0].encode().encode() not in policy.text:
            # A policy made before may have to come into force first.
            with self._store.write() as tx:
                due.log_policy(tx, self._federation, now)
            return None
        return self._appender.close(now)
